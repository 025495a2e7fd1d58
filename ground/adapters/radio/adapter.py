"""Radio adapters: this class owns the policy, each adapter only its wire.

An adapter says how to connect, read, write and disconnect; here is all the rest, once:

- its life as a table of states (`STATES`), in a thread of its own: connections that are lost are
  made again, after a pause that doubles up to `Policy.longest_retry_s`;
- *time-outs, losses and nonsense are results*, not exceptions: a read that brings nothing, a `Loss`
  (an overflow in the device, a gap in the numbers), a `Malformed` are counted, and reading goes on;
- *capture first*: what was read is given to `capture` before anybody else can take it;
- *back-pressure*: what nobody takes is held up to `Policy.queue_octets`; then a wire that `waits`
  is not read (TCP holds the other end back), and of one that does not the newest is dropped and
  counted, and the next block says how much is missing before it.

What an adapter raises says what becomes of it.  OSError, RemoteError: the connection is lost and
is made again.  EOFError: that was all, for ever (a file).  LocalError: it cannot work as set up,
nothing is tried again; so with any other exception, which is a bug in the adapter.

A few lines above 600: whoever writes an adapter reads this one file, policy and vocabulary.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

from ground.adapters.clock import ScaledClock
from ground.adapters.radio.address import Address, Option, parse_address
from protocols.errors import LocalError, RemoteError

# In `Block.lost` and `Loss.count`: something is missing, nobody knows how much.
from protocols.physical.sample_block import UNKNOWN
from protocols.physical.samples import SampleFormat

if TYPE_CHECKING:
    from ground.adapters.radio.peer import Peer

#: Longest read: the time in which an adapter notices that it is to end.
TURN_S: Final = 0.05
#: Octets given out at once, a block more at most.
TAKEN_OCTETS: Final = 4 << 20


class Face(StrEnum):
    """What crosses an adapter: octets of frames, or I/Q samples."""

    OCTETS = "octets"
    SAMPLES = "samples"


class State(StrEnum):
    CLOSED = "CLOSED"
    CONNECTING = "CONNECTING"
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    ENDED = "ENDED"
    DISABLED = "DISABLED"
    FAILED = "FAILED"


class Event(StrEnum):
    OPEN = "open"
    CONNECTED = "connected"
    LOST = "connection lost"
    RETRY = "pause over"
    END = "end of the data"
    REFUSED = "cannot work"
    DISABLE = "disable"
    ENABLE = "enable"
    CLOSE = "close"


#: What an event makes of a state; where it is not named it changes nothing.
STATES: Final[dict[State, dict[Event, State]]] = {
    State.CLOSED: {Event.OPEN: State.CONNECTING},
    State.CONNECTING: {
        Event.CONNECTED: State.RUNNING,
        Event.LOST: State.WAITING,
        Event.END: State.ENDED,
        Event.REFUSED: State.FAILED,
        Event.DISABLE: State.DISABLED,
        Event.CLOSE: State.CLOSED,
    },
    State.RUNNING: {
        Event.LOST: State.WAITING,
        Event.END: State.ENDED,
        Event.REFUSED: State.FAILED,
        Event.DISABLE: State.DISABLED,
        Event.CLOSE: State.CLOSED,
    },
    State.WAITING: {
        Event.RETRY: State.CONNECTING,
        Event.DISABLE: State.DISABLED,
        Event.CLOSE: State.CLOSED,
    },
    State.ENDED: {Event.DISABLE: State.DISABLED, Event.CLOSE: State.CLOSED},
    State.FAILED: {Event.DISABLE: State.DISABLED, Event.CLOSE: State.CLOSED},
    State.DISABLED: {Event.ENABLE: State.CONNECTING, Event.CLOSE: State.CLOSED},
}


@dataclass(frozen=True, slots=True)
class Signal:
    """What the samples of an adapter are; 0: not known.

    sample_rate_hz: complex samples a second; centre_hz: the frequency that stands at 0 Hz.
    """

    format: SampleFormat
    sample_rate_hz: float = 0.0
    centre_hz: float = 0.0


@dataclass(frozen=True, slots=True)
class Block:
    """Octets as they came off the wire, in the wire's format.

    ert_ns: Earth receive time of the first of them, TAI ns; 0: when it was read.
    lost: units (see `Adapter.units`) missing before it, `UNKNOWN` if nobody knows how many.
    signal: what they are, if they are samples; None: the adapter's of the moment.
    """

    octets: bytes
    ert_ns: int = 0
    lost: int = 0
    signal: Signal | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Something that should have come has not.  overflow: it was dropped on this side or in the
    device since it was not taken in time; gap: the wire's own numbers or times have a hole."""

    why: Literal["overflow", "gap"]
    count: int = UNKNOWN


@dataclass(frozen=True, slots=True)
class Malformed:
    """What came is not what this wire carries."""

    octets: bytes
    why: str


Result = Block | Loss | Malformed


@dataclass(frozen=True, slots=True)
class Policy:
    """first_retry_s, longest_retry_s: pauses before a lost connection is made again; queue_octets:
    what is held for whoever takes it."""

    first_retry_s: float = 0.1
    longest_retry_s: float = 10.0
    queue_octets: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 < self.first_retry_s <= self.longest_retry_s:
            raise LocalError(
                f"first_retry_s {self.first_retry_s}, longest_retry_s {self.longest_retry_s}: "
                "above 0, the first at most the longest wanted"
            )
        if self.queue_octets < 1:
            raise LocalError(f"queue_octets {self.queue_octets}: at least 1 wanted")


@dataclass(frozen=True, slots=True)
class AdapterStatistics:
    """An adapter's face to the operator; the same for every one.  Counts since it was made.

    timeouts: reads that brought nothing; overflows, gaps: how often something was missing, lost:
    units of it as far as anybody knows; refused_out: blocks that the wire would not take;
    reconnects: connections after the first.
    """

    name: str
    state: State
    detail: str
    blocks_in: int = 0
    octets_in: int = 0
    blocks_out: int = 0
    octets_out: int = 0
    refused_out: int = 0
    timeouts: int = 0
    overflows: int = 0
    gaps: int = 0
    lost: int = 0
    malformed: int = 0
    connections: int = 0
    reconnects: int = 0
    last_ert_ns: int = 0


_COUNTS: Final = (
    *("blocks_in", "octets_in", "blocks_out", "octets_out", "refused_out", "timeouts"),
    *("overflows", "gaps", "lost", "malformed", "connections"),
)

Capture = Callable[[Sequence[Block]], None]


class Unsendable(LocalError):
    """The wire will never take this block; others it may."""


class Adapter(ABC):
    """`open`, then `receive` and `send` again and again, then `close`; or as a context manager.

    A subclass declares the class variables below and defines `connect`, `disconnect` and `read`,
    `write` if it transmits.  They are called by one thread at a time, but for `write`, which may be
    called while another thread reads.
    """

    #: One line for `l4 radio adapters`, and the form of an address.
    SUMMARY: ClassVar[str] = ""
    ADDRESS: ClassVar[str] = ""
    OPTIONS: ClassVar[Mapping[str, Option]] = {}
    FACE: ClassVar[Face] = Face.OCTETS
    RECEIVES: ClassVar[bool] = True
    TRANSMITS: ClassVar[bool] = False
    #: Blocks are units of the wire (a datagram is a frame); else they are cut anywhere.
    FRAMED: ClassVar[bool] = False
    #: The other end waits while we do not read.
    WAITS: ClassVar[bool] = False
    #: Opened again it gives the same blocks from the first on: a recording.
    REPEATS: ClassVar[bool] = False

    def __init__(
        self,
        address: Address | str,
        *,
        now_ns: Callable[[], int] | None = None,
        policy: Policy | None = None,
        capture: Capture | None = None,
    ) -> None:
        """now_ns: TAI, the wall's unless given.  capture: takes blocks before they are given out;
        an exception of it (the disk is full) ends the adapter.  LocalError: address or options."""
        self.address = parse_address(address) if isinstance(address, str) else address
        self.options: dict[str, Any] = self.address.options(self.OPTIONS)
        #: Of samples: what is known by now; a wire that says more while it runs replaces it.
        self.signal: Signal | None = None
        self._now_ns = now_ns or ScaledClock.wall().now_ns
        self._policy = policy or Policy()
        self._capture = capture
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._write_lock = threading.Lock()
        self._connected = False
        self._retry_s = self._policy.first_retry_s
        # Of a recording: blocks that have been given, and those that come before the next new one.
        self._passed = self._again = 0
        # Below: under the condition's lock.
        self._state = State.CLOSED
        self._detail = self._failure = ""
        self._counts: Counter[str] = Counter()
        self._last_ert_ns = 0
        self._queue: deque[Block] = deque()
        self._queue_octets = 0
        # Missing before the next block read, and before the next one queued.
        self._lost_on_wire = self._lost_in_queue = 0

    # ------------------------------------------------------------ the wire: the adapter's own

    @classmethod
    def peer(cls) -> Peer | None:
        """The other end of this wire, for the contract; without one, less of it can be checked."""
        return None

    @abstractmethod
    def connect(self) -> None:
        """Make the connection, or find the device; waits a few seconds at most."""

    @abstractmethod
    def disconnect(self) -> Sequence[Result] | None:
        """Let go of everything; also called after a `connect` that has raised.  What came while it
        took its leave, of a wire that does."""

    @abstractmethod
    def read(self, timeout_s: float) -> Sequence[Result]:
        """What has come, as soon as something has; empty when the time has passed."""

    def attend(self) -> None:
        """Called often while `read` is not: nobody takes what has come, or it only transmits.  What
        the wire wants of us all the same (heartbeats, answers); returns at once.  Raises as `read`.
        """
        return

    def write(self, octets: bytes) -> bool:
        """Hand one block to the wire; False: it takes none now, and nothing of it has been sent.
        Unsendable: never this one."""
        raise NotImplementedError

    # ------------------------------------------------------------ for whoever uses it

    @property
    def state(self) -> State:
        return self._state

    @property
    def last_failure(self) -> str:
        """What made it FAILED, also after it was closed; empty: nothing has."""
        return self._failure

    @property
    def ended(self) -> bool:
        """Nothing more will come, and all that came has been taken."""
        with self._changed:
            return self._state in (State.ENDED, State.FAILED) and not self._queue

    @property
    def receives(self) -> bool:
        """Whether this one does, as its address says."""
        return self.RECEIVES

    @property
    def transmits(self) -> bool:
        return self.TRANSMITS

    @property
    def waits(self) -> bool:
        """Whether the other end waits while we do not read: then nothing is dropped here."""
        return self.WAITS

    def recording(self) -> Sequence[Path]:
        """Of one that `REPEATS`: the files that it is known again by."""
        return (Path(self.address.rest),)

    def units(self, octets: int) -> int:
        """How losses are counted: in blocks of a framed wire, in samples, or in octets."""
        if self.FRAMED:
            return 1
        if self.FACE is Face.SAMPLES and self.signal is not None:
            return octets // self.signal.format.octets
        return octets

    def takes(self, octets: int) -> bool:
        """Whether there is any use in `send` now, as far as is known without asking the wire."""
        return self._state is State.RUNNING

    def open(self, *, skip: int = 0) -> None:
        """Begin: the connection is made, and made again, in the adapter's own thread.

        skip: blocks of a recording (`REPEATS`) that are not to be given: somebody has them.
        LocalError: it is open already."""
        if self._thread is not None:
            raise LocalError(f"{self.address.text} is open already")
        self._passed = skip
        self._go(Event.OPEN)
        self._thread = threading.Thread(
            target=self._run, name=f"radio-{self.address.scheme}", daemon=True
        )
        self._thread.start()

    def receive(self, timeout_s: float) -> list[Block]:
        """Blocks in order, each once; empty when the time has passed."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._state is State.CLOSED, timeout_s)
            taken: list[Block] = []
            octets = 0
            while self._queue and octets < TAKEN_OCTETS:
                taken.append(self._queue.popleft())
                octets += len(taken[-1].octets)
            self._queue_octets -= octets
            self._changed.notify_all()
        return taken

    def send(self, octets: bytes) -> bool:
        """One block out; False if the wire does not take it now (nothing is queued here).
        LocalError: this adapter does not transmit; Unsendable: it never takes this one."""
        if not self.transmits:
            raise LocalError(f"{self.address.text} does not transmit")
        with self._write_lock:
            sent = False
            if self._state is State.RUNNING and self._connected:
                sent = bool(self._on_wire(lambda: self.write(octets)))
        with self._changed:
            self._counts["blocks_out" if sent else "refused_out"] += 1
            self._counts["octets_out"] += len(octets) if sent else 0
        return sent

    def enable(self) -> None:
        self._go(Event.ENABLE)

    def disable(self) -> None:
        """Let go of the wire until enabled; what has come can still be taken."""
        self._go(Event.DISABLE, "by the operator")
        with self._changed:
            self._changed.wait_for(lambda: not self._connected, 2.0)

    def wait_until(self, *states: State, timeout_s: float) -> bool:
        """Whether it was in one of these states before the time had passed."""
        with self._changed:
            return bool(self._changed.wait_for(lambda: self._state in states, timeout_s))

    def statistics(self) -> AdapterStatistics:
        with self._changed:
            return AdapterStatistics(
                name=self.address.text,
                state=self._state,
                detail=self._detail,
                last_ert_ns=self._last_ert_ns,
                reconnects=max(self._counts["connections"] - 1, 0),
                **{name: self._counts[name] for name in _COUNTS},
            )

    def close(self) -> None:
        """End; what has come can still be taken.  Also if it was never opened, and twice."""
        self._go(Event.CLOSE)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Adapter:
        self.open()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    # ------------------------------------------------------------ policy

    def _go(self, event: Event, detail: str = "") -> bool:
        """Whether the event means anything in the present state."""
        with self._changed:
            following = STATES[self._state].get(event)
            if following is None:
                return False
            self._state, self._detail = following, detail
            if following is State.FAILED:
                self._failure = detail
            self._changed.notify_all()
            return True

    def _on_wire(self, call: Callable[[], Any]) -> Any:
        """Call into the adapter; what it raises is an event, and None its result."""
        try:
            return call()
        except Unsendable:
            raise
        except EOFError as error:
            self._go(Event.END, str(error) or "end of the data")
        except LocalError as error:
            self._go(Event.REFUSED, str(error))
        except (OSError, RemoteError) as error:
            self._go(Event.LOST, str(error) or type(error).__name__)
        except Exception as error:  # noqa: BLE001 - an adapter's bug must not end the service
            self._go(Event.REFUSED, f"{type(error).__name__} in the adapter: {error}")
        return None

    def _run(self) -> None:
        while True:
            state = self._state
            if self._connected and state is not State.RUNNING:
                self._disconnect()
            if state is State.CLOSED:
                return
            if state is State.CONNECTING:
                self._connect()
            elif state is State.RUNNING:
                self._read()
            elif state is State.WAITING:
                with self._changed:
                    left = self._changed.wait_for(
                        lambda: self._state is not State.WAITING, self._retry_s
                    )
                if not left:
                    self._retry_s = min(2 * self._retry_s, self._policy.longest_retry_s)
                    self._go(Event.RETRY, self._detail)
            else:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._state not in (State.ENDED, State.DISABLED, State.FAILED)
                    )

    def _connect(self) -> None:
        def connect() -> bool:
            self.connect()
            return True

        with self._write_lock:
            self._connected = True
            self._again = self._passed if self.REPEATS else 0
            if self._on_wire(connect):
                with self._changed:
                    if self._counts["connections"] and not self.REPEATS:
                        # Whatever came while there was no connection.
                        self._lost_on_wire = UNKNOWN
                    self._counts["connections"] += 1
                self._go(Event.CONNECTED)

    def _disconnect(self) -> None:
        last: Sequence[Result] | None = None
        with self._write_lock:
            try:
                last = self.disconnect()
            except Exception as error:  # noqa: BLE001 - it is gone in any case
                with self._changed:
                    self._detail = f"{self._detail}; at disconnecting: {error}"
            with self._changed:
                self._connected = False
                self._changed.notify_all()
        if last:
            self._pass_on(last)

    def _read(self) -> None:
        if not self.receives:
            with self._changed:
                self._changed.wait_for(lambda: self._state is not State.RUNNING, TURN_S)
            if self._state is State.RUNNING:
                self._on_wire(self.attend)
            return
        results = self._on_wire(lambda: self.read(TURN_S))
        if results is not None and self._pass_on(results):
            self._retry_s = self._policy.first_retry_s

    def _pass_on(self, results: Sequence[Result]) -> bool:
        """To the capture and to whoever takes; whether there were blocks among them."""
        blocks = self._take(results)
        if blocks and self._capture is not None:
            capture = self._capture
            try:
                capture(blocks)
            except Exception as error:  # noqa: BLE001 - nothing goes on without its capture
                self._go(Event.REFUSED, f"capture: {error}")
                return False
        for block in blocks:
            self._give(block)
        return bool(blocks)

    def _take(self, results: Sequence[Result]) -> list[Block]:
        """Count; stamp; the blocks among them."""
        blocks: list[Block] = []
        with self._changed:
            if not results:
                self._counts["timeouts"] += 1
            for result in results:
                if self._again:
                    # Of a recording: given before, with what was missing before it.
                    self._again -= isinstance(result, Block)
                elif isinstance(result, Block):
                    self._passed += 1
                    block = replace(
                        result,
                        ert_ns=result.ert_ns or self._now_ns(),
                        lost=_more(result.lost, self._lost_on_wire),
                        signal=result.signal or self.signal,
                    )
                    self._lost_on_wire = 0
                    self._counts["blocks_in"] += 1
                    self._counts["octets_in"] += len(block.octets)
                    self._last_ert_ns = block.ert_ns
                    blocks.append(block)
                elif isinstance(result, Loss):
                    self._count_loss(result)
                    self._lost_on_wire = _more(self._lost_on_wire, result.count)
                else:
                    self._counts["malformed"] += 1
                    self._detail = f"{result.why}: {result.octets[:16].hex(' ')}"
        return blocks

    def _give(self, block: Block) -> None:
        room = self._policy.queue_octets - len(block.octets)
        while self.waits:
            with self._changed:
                # Told to end in the meantime, it is given all the same: it has been taken.
                taken = self._changed.wait_for(
                    lambda: (
                        self._queue_octets <= room
                        or not self._queue
                        or self._state is not State.RUNNING
                    ),
                    TURN_S,
                )
            if taken:
                break
            self._on_wire(self.attend)
        with self._changed:
            if not self.waits and self._queue and self._queue_octets > room:
                missing = self.units(len(block.octets))
                self._count_loss(Loss("overflow", missing))
                self._lost_in_queue = _more(self._lost_in_queue, _more(missing, block.lost))
                return
            if self._lost_in_queue:
                block = replace(block, lost=_more(block.lost, self._lost_in_queue))
                self._lost_in_queue = 0
            self._queue.append(block)
            self._queue_octets += len(block.octets)
            self._changed.notify_all()

    def say(self, detail: str) -> None:
        """For the adapter: what its wire says of itself, shown until something else is said."""
        with self._changed:
            if self._state is State.RUNNING:
                self._detail = detail

    def _count_loss(self, loss: Loss) -> None:
        self._counts["overflows" if loss.why == "overflow" else "gaps"] += 1
        self._counts["lost"] += max(loss.count, 0)


def _more(lost: int, more: int) -> int:
    """Two losses in a row are one."""
    return UNKNOWN if UNKNOWN in (lost, more) else lost + more


__all__ = [
    "STATES",
    "UNKNOWN",
    "Adapter",
    "AdapterStatistics",
    "Block",
    "Capture",
    "Event",
    "Face",
    "Loss",
    "Malformed",
    "Policy",
    "Result",
    "Signal",
    "State",
    "Unsendable",
]
