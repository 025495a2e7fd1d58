"""What the services know of the outside world: four interfaces and the values that cross them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Clock(Protocol):
    """Ground time.  With `--speed N` the whole world, this clock included, runs N times faster."""

    def now_ns(self) -> int:
        """Integer TAI nanoseconds since 1958-01-01."""
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
    """A link's face to the operator; the same for every adapter."""

    name: str
    state: LinkState
    detail: str
    chunks_in: int = 0
    octets_in: int = 0
    chunks_out: int = 0
    octets_out: int = 0
    reconnects: int = 0
    last_ert_ns: int = 0


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
    """Downlink side of a station: delivers chunks, each until it is acknowledged."""

    def open(self, resume: dict[str, int]) -> None:
        """Connect; `resume` maps each known stream to the last sequence already on disk."""
        ...

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        """New chunks in order, each at most once; empty when the time has passed."""
        ...

    def acknowledge(self, stream: str, sequence: int) -> None:
        """All chunks up to `sequence` are on disk: the sender may forget them."""
        ...

    def statistics(self) -> LinkStatistics: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the bus.

    source: the publishing service; journal: identity of the source's journal (empty if the topic
    is not journaled); sequence: counts the journal's messages from 0, or -1 if not journaled.
    """

    topic: str
    source: str
    journal: str
    sequence: int
    time_ns: int
    body: bytes


class Bus(Protocol):
    """Publish and subscribe.  Journaled topics are delivered exactly once and in order to a
    subscriber that remembers its position; the others are best effort, newest last."""

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> None:
        """Publish at once; on a journaled topic the message is in the journal before it is sent."""
        ...

    def subscribe(self, topic_prefix: str) -> None:
        """Receive a live topic (best effort, last value first for late joiners)."""
        ...

    def follow(self, topic: str, source: str, journal: str, sequence: int) -> None:
        """Receive a journaled topic of one source from after (`journal`, `sequence`); -1: from
        the start.  Gaps are filled from the source's journal before later messages are given."""
        ...

    def receive(self, timeout_s: float) -> list[Message]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class JournalRecord:
    sequence: int
    payload: bytes


class Journal(Protocol):
    """Append-only log on disk that survives kill -9; a torn tail is cut off at opening."""

    identity: str

    @property
    def first_sequence(self) -> int: ...

    @property
    def next_sequence(self) -> int: ...

    def append(self, payloads: Sequence[bytes], *, sync: bool = False) -> int:
        """Append, return the sequence of the first; `sync` waits until the disk has it."""
        ...

    def read(self, sequence: int, *, max_octets: int) -> Iterable[JournalRecord]: ...

    def close(self) -> None: ...
