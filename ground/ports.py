"""What the services know of the outside world: four interfaces and the values that cross them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from selectors import BaseSelector
from typing import TYPE_CHECKING, Any, Protocol

from protocols.bus.envelope import Envelope as Message
from protocols.bus.messages import Position, RadiatedMessage, UplinkMessage

if TYPE_CHECKING:
    from protocols.packets.batch import PacketBatch
    from protocols.telemetry.declaration import Dictionary

#: Asked by every service loop at each turn: True means finish and return.
Stop = Callable[[], bool]


class Clock(Protocol):
    """Ground time.  With `--speed N` the whole world, this clock included, runs N times faster."""

    def now_ns(self) -> int:
        """Integer TAI nanoseconds since 1958-01-01; never runs backwards."""
        ...

    def wall_seconds(self, world_seconds: float) -> float:
        """How long, on the wall, an interval of this clock lasts."""
        ...


class LinkState(StrEnum):
    OK = "OK"
    UNAVAILABLE = "UNAVAILABLE"
    DISABLED = "DISABLED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """A link's face to the operator; the same for every adapter.

    lost_chunks: chunks that the sending end says it had to forget before we acknowledged them;
    repeated_chunks: came again and were dropped; gaps: times the sender was asked to go back;
    owlt_s: one-way light time, −1 if the sending end does not say; transmits: what is sent now goes
    up, as far as the sending end says.
    """

    name: str
    state: LinkState
    detail: str
    chunks_in: int = 0
    octets_in: int = 0
    chunks_out: int = 0
    octets_out: int = 0
    reconnects: int = 0
    last_ert_ns: int = 0
    repeated_chunks: int = 0
    lost_chunks: int = 0
    gaps: int = 0
    malformed: int = 0
    carrier: bool = False
    owlt_s: float = -1.0
    transmits: bool = True


@dataclass(frozen=True, slots=True)
class LinkChunk:
    """Octets as they came off a link, in whatever pieces the link delivers.

    stream: names one run of the sending end; sequence counts its chunks from 0 without a gap.
    ert_ns: Earth receive time (TAI ns) of the chunk's first octet.
    """

    stream: str
    sequence: int
    ert_ns: int
    octets: bytes


class Link(Protocol):
    """A station: delivers downlink chunks, each until it is acknowledged, and takes uplink."""

    def open(self, resume: dict[str, int]) -> None:
        """Connect; `resume` maps each known stream to the last sequence already on disk."""
        ...

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        """New chunks in order, each at most once; empty when the time has passed."""
        ...

    def last(self) -> list[LinkChunk]:
        """Nothing more is going to be received: what is still held of a wire that does not give it
        a second time.  Acknowledging goes on."""
        ...

    def acknowledge(self, stream: str, sequence: int) -> None:
        """All chunks up to `sequence` are on disk: the sender may forget them."""
        ...

    def send(self, uplink: UplinkMessage) -> bool:
        """Hand it to the station, which radiates it once however often it is handed over; False if
        the link cannot take it now (nothing is queued)."""
        ...

    def radiated(self) -> list[RadiatedMessage]:
        """What the station said of uplink since the last call, as `receive` came upon it."""
        ...

    def enable(self) -> None: ...

    def disable(self) -> None:
        """Stop taking chunks, without forgetting what has been taken; the state is DISABLED."""
        ...

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class BusStatistics:
    """Counts since the start of the process, in messages.

    repeated: came twice and were dropped; gaps: times that a followed journal ran ahead of what
    the live bus brought; recovered: pulled from the source's journal; lost: no longer held by it;
    malformed: parts that were no message; replayed: given out of our own journals.
    """

    published: int = 0
    published_octets: int = 0
    received: int = 0
    repeated: int = 0
    gaps: int = 0
    recovered: int = 0
    lost: int = 0
    malformed: int = 0
    replayed: int = 0


class Bus(Protocol):
    """Publish and subscribe.  Journaled topics are delivered exactly once and in order to a
    subscriber that remembers its position; the others are best effort, newest last.

    `receive` also serves the other services that ask for ranges of our journals: a service calls
    it at least several times a second, with a time-out of 0 if it has nothing to wait for.
    """

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> int:
        """Publish at once; on a journaled topic the message is in the journal before it is sent.
        Its sequence, −1 on other topics."""
        ...

    def subscribe(self, topic_prefix: str) -> None:
        """Receive a live topic (best effort, last value first for late joiners)."""
        ...

    def follow(self, topic: str, source: str, journal: str, sequence: int) -> None:
        """Receive a journaled topic of one source from after (`journal`, `sequence`); "" and −1:
        from the start.  Gaps are filled from the source's journal before later messages are given;
        if the journal's identity is another than ours it is given from its start."""
        ...

    def receive(self, timeout_s: float) -> list[Message]:
        """Messages that have come; empty when the time has passed."""
        ...

    def last(self, topic: str) -> Message | None:
        """Last message of our own journal of this topic; None if it is empty."""
        ...

    def history(self, topic: str, sequence: int) -> Iterator[Message]:
        """Our own journal of this topic from `sequence` on (or from the first it still holds)."""
        ...

    def sync(self) -> None:
        """Wait until the disk has what our journals hold, if the run is to outlive a power failure.
        What is remembered of a journal elsewhere is written after this."""
        ...

    def positions(self) -> tuple[Position, ...]:
        """How far each followed journal has been given out, and how far it goes."""
        ...

    def statistics(self) -> BusStatistics: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class JournalRecord:
    sequence: int
    payload: bytes


class Journal(Protocol):
    """Append-only log on disk that survives kill -9; a torn tail is cut off at opening.

    needed: first sequence that somebody has yet to finish, and that is kept as long as the disk is
    given for it; None: nobody is waited for.
    """

    identity: str
    needed: int | None

    @property
    def first_sequence(self) -> int:
        """First sequence still held; equals `next_sequence` if nothing is."""
        ...

    @property
    def next_sequence(self) -> int: ...

    def append(self, payloads: Sequence[bytes], *, sync: bool = False) -> int:
        """Append, return the sequence of the first; `sync` waits until the disk has it."""
        ...

    def read(self, sequence: int, *, max_octets: int) -> Iterable[JournalRecord]:
        """Records from `sequence` on, at least one if there is any, payloads up to `max_octets`."""
        ...

    def sync(self) -> None:
        """Wait until the disk has everything appended; any thread may call it."""
        ...

    def close(self) -> None: ...


class StateStore(Protocol):
    """A service's snapshot: the whole old one or the whole new one, whenever the power goes."""

    def load(self) -> dict[str, Any] | None:
        """The last one saved; None if there is none or it is damaged."""
        ...

    def save(self, state: dict[str, Any], *, wait: bool = True) -> None:
        """Replace it by `state`, made of what msgpack can say, as it is now.  `wait`: on disk when
        this returns, else soon; OSError of the disk, if need be at the next call."""
        ...


# ---------------------------------------------------------------- bundles


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A neighbour can be sent bundles."""

    neighbour: int


@dataclass(frozen=True, slots=True)
class PeerDown:
    neighbour: int
    why: str


@dataclass(frozen=True, slots=True)
class BundleArrived:
    """From a neighbour, which waits for `accept` or `refuse` of the receipt."""

    neighbour: int
    octets: bytes
    receipt: Any


@dataclass(frozen=True, slots=True)
class BundleSent:
    """The neighbour has it, as far as this layer can know."""

    token: Any


@dataclass(frozen=True, slots=True)
class BundleFailed:
    """It did not get there.  refused: the neighbour does not want it."""

    token: Any
    refused: bool


TransportEvent = PeerUp | PeerDown | BundleArrived | BundleSent | BundleFailed


class BundleTransport(Protocol):
    """A convergence layer: carries whole bundles to and from neighbours, over sockets it owns.

    All in one thread: the owner's loop waits on `selector`, calls what a ready socket's key has as
    data with the mask, calls `turn`, and takes `events`.
    """

    name: str
    events: list[TransportEvent]

    def open(self, selector: BaseSelector) -> None:
        """Listen and connect.  LocalError: it cannot, as configured."""
        ...

    def window(self, neighbour: int) -> int:
        """Bundles that it takes for a neighbour now."""
        ...

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        """One bundle while there is window; an event will tell what became of its token."""
        ...

    def accept(self, receipt: Any) -> None:
        """The bundle is on disk: say so to the neighbour."""
        ...

    def refuse(self, receipt: Any) -> None:
        """There is no room for it."""
        ...

    def pause(self, neighbour: int, paused: bool) -> None:
        """Read no more from a neighbour, or go on: TCP then holds it back."""
        ...

    def turn(self) -> None:
        """Write what waits; do what time asks for."""
        ...

    def wait_s(self) -> float | None:
        """How long, on the wall, `turn` can wait if nothing happens before."""
        ...

    def statistics(self) -> tuple[LinkStatistics, ...]:
        """One a neighbour or address."""
        ...

    def close(self) -> None: ...


__all__ = [
    "BundleArrived",
    "BundleFailed",
    "BundleSent",
    "BundleTransport",
    "Bus",
    "BusStatistics",
    "Clock",
    "Journal",
    "JournalRecord",
    "Link",
    "LinkChunk",
    "LinkState",
    "LinkStatistics",
    "Message",
    "PeerDown",
    "PeerUp",
    "Position",
    "StateStore",
    "Stop",
    "TransportEvent",
]


class Dictionaries(Protocol):
    """A dictionary that packets may change; `dictionary` is the one now in force."""

    @property
    def dictionary(self) -> Dictionary: ...

    def pieces(self, batch: PacketBatch) -> Iterator[tuple[int, int, Dictionary]]: ...

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, snapshot: Mapping[str, Any]) -> None: ...
