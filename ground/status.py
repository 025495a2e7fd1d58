"""What every service says about itself, about once a second."""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from pathlib import Path

from ground.ports import Bus, Clock
from protocols.bus.messages import ServiceState, StatusMessage
from protocols.identifiers import Topic

INTERVAL_S = 1.0
#: Until a new connection to the broker takes messages; what is sent before goes nowhere.
CONNECTING_S = 0.3
#: What a service says before its first work, which may keep it silent for a while.
COMPILING = "catching up; the first run on a machine also compiles"


class StatusReporter:
    """Publishes `status.<service>`; set `state` and `detail`, call `tick` at each turn of the loop.

    The interval is the wall's: an operator looks at it, however fast the world runs.
    """

    def __init__(self, service: str, clock: Clock, bus: Bus | None = None) -> None:
        self.service = service
        self.state = ServiceState.STARTING
        self.detail = ""
        self._clock = clock
        self._bus = bus
        self._started_ns = clock.now_ns()
        self._due_s = 0.0
        self._lost = 0

    @property
    def topic(self) -> str:
        return f"{Topic.STATUS}.{self.service}"

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._due_s

    def message(self, counters: dict[str, int], *, newest_ns: int | None = None) -> StatusMessage:
        """`newest_ns`: time of the newest input finished, for `lag_ns`."""
        self._due_s = time.monotonic() + INTERVAL_S
        now_ns = self._clock.now_ns()
        return StatusMessage(
            service=self.service,
            state=self.state,
            time_ns=now_ns,
            started_ns=self._started_ns,
            pid=os.getpid(),
            rss_octets=resident_octets(),
            detail="; ".join(filter(None, (self.detail, self._told_of_losses()))),
            lag_ns=-1 if newest_ns is None else max(0, now_ns - newest_ns),
            positions=self._bus.positions() if self._bus else (),
            counters=counters,
        )

    def _told_of_losses(self) -> str:
        """What this process has missed of journals that it follows; logged when it becomes more."""
        lost = self._bus.statistics().lost if self._bus else 0
        if not lost:
            return ""
        told = f"{lost} messages missed that journals no longer held"
        if lost > self._lost:
            logging.getLogger(f"l4.{self.service}").error(
                "%s: `l4 archive rebuild` takes them from the capture", told
            )
        self._lost = lost
        return told

    def announce(self, state: ServiceState, detail: str) -> None:
        """Say at the very start what is going on, before long work keeps the loop from turning.
        To be called before anything is followed or subscribed."""
        self.state, self.detail = state, detail
        if self._bus is not None:
            self._bus.receive(CONNECTING_S)
        self.tick({}, now=True)

    def tick(
        self, counters: dict[str, int], *, newest_ns: int | None = None, now: bool = False
    ) -> None:
        """Publish if a second has passed, or `now`."""
        if self._bus is None or not (now or self.due):
            return
        message = self.message(counters | bus_counters(self._bus), newest_ns=newest_ns)
        self._bus.publish(self.topic, message.build(), time_ns=message.time_ns)


def bus_counters(bus: Bus) -> dict[str, int]:
    """The bus's counts, as a service's status shows them."""
    counts = bus.statistics()
    return {f"bus_{name}": getattr(counts, name) for name in counts.__dataclass_fields__}


def resident_octets() -> int:
    """Memory of this process that is in RAM."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        # No /proc: the peak is the next best; in octets on macOS, in KiB elsewhere.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
