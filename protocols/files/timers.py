"""Time for cfdp-py's procedures: the caller's, and it can stand still.

cfdp-py measures time with `spacepackets.countdown.Countdown`, which asks the wall clock.  `Timer`
is one that asks a `TransactionClock` instead; `Source` and `Destination` put it wherever cfdp-py
would make its own.
"""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cfdppy.mib import CheckTimerProvider, EntityType
from spacepackets.countdown import Countdown
from spacepackets.util import UnsignedByteField

from protocols.errors import LocalError

_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Timing:
    """How long an answer may take: nanoseconds.

    margin_ns: beyond twice the light time; it covers queues at both ends.  pause_ns: the longest
    between passes, which is no fault of the peer's.
    """

    owlt_ns: int
    margin_ns: int = 60 * _S
    pause_ns: int = 24 * 3600 * _S

    def __post_init__(self) -> None:
        for name, least in (("owlt_ns", 0), ("margin_ns", 1_000_000), ("pause_ns", 0)):
            if getattr(self, name) < least:
                raise LocalError(f"{name} {getattr(self, name)}: {least} or more wanted")

    @property
    def interval_ns(self) -> int:
        """Of the positive acknowledgement and NAK timers (727.0-B §4.7, §4.6.4): there and back."""
        return 2 * self.owlt_ns + self.margin_ns

    @property
    def inactivity_ns(self) -> int:
        """Nothing heard for so long is a fault."""
        return self.interval_ns + self.pause_ns

    @property
    def limit(self) -> int:
        """Times that a timer may expire: so often that a peer is given up after three pauses."""
        return max(5, -(-3 * self.inactivity_ns // self.interval_ns))


class TransactionClock:
    """The time of one transaction: it stands still while that is suspended or the link is down."""

    def __init__(self, now_ns: int) -> None:
        self._now_ns = now_ns
        self._behind_ns = 0
        self._running = True

    @property
    def running(self) -> bool:
        return self._running

    @property
    def now_ns(self) -> int:
        return self._now_ns - self._behind_ns

    def advance(self, now_ns: int) -> None:
        if not self._running:
            self._behind_ns += now_ns - self._now_ns
        self._now_ns = now_ns

    def run(self, now_ns: int, *, running: bool) -> None:
        """Go on, or stand still, from `now_ns` on."""
        self.advance(now_ns)
        self._running = running

    def outside_ns(self, instant_ns: int) -> int:
        """When an instant of this clock is, if it goes on running."""
        return instant_ns + self._behind_ns


class Timer(Countdown):
    """cfdp-py's countdown on a `TransactionClock`."""

    def __init__(self, clock: TransactionClock, duration_ns: int) -> None:
        # Without a time-out the base class does not ask the wall clock.
        super().__init__(None)
        self._clock = clock
        self._duration_ns = duration_ns
        self._begun_ns = clock.now_ns

    @property
    def deadline_ns(self) -> int:
        return self._begun_ns + self._duration_ns

    def timed_out(self) -> bool:
        return self._clock.now_ns >= self.deadline_ns

    def start(self) -> None:
        self._begun_ns = self._clock.now_ns

    def reset(self, new_timeout: timedelta | None = None) -> None:
        if new_timeout is not None:
            self._duration_ns = round(new_timeout.total_seconds() * _S)
        self.start()

    def time_out(self) -> None:
        self._begun_ns = self._clock.now_ns - self._duration_ns

    def remaining_time(self) -> timedelta:
        return timedelta(microseconds=max(0, self.deadline_ns - self._clock.now_ns) // 1000)


class CheckTimers(CheckTimerProvider):
    """Check timers of class 1 (§4.6.3.3): data that comes after its EOF."""

    def __init__(self, clock: TransactionClock, duration_ns: int) -> None:
        self._clock = clock
        self._duration_ns = duration_ns

    def provide_check_timer(
        self,
        local_entity_id: UnsignedByteField,
        remote_entity_id: UnsignedByteField,
        entity_type: EntityType,
    ) -> Countdown:
        return Timer(self._clock, self._duration_ns)
