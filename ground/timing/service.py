"""timing: follows `receive`'s packets; keeps the correlation, publishes it on topic `time`.

The correlation is a function of the time reports and of the light time that held when they came;
both its state and the position in `receive`'s journal are in one snapshot, so that a restart takes
each report once.
"""

from __future__ import annotations

import time
from typing import Final, Protocol

import numpy as np

from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.status import COMPILING, StatusReporter
from ground.timing.correlation import Correlation, Report
from ground.timing.light_time import I64
from ground.timing.reports import time_reports
from protocols.bus.messages import (
    LinkMessage,
    PacketsMessage,
    ServiceState,
    TimeMessage,
    parse,
)
from protocols.errors import RemoteError
from protocols.identifiers import Topic

#: Longest wait for a message, wall seconds: the time it takes to notice a stop.
TURN_S: Final = 0.2
#: Between snapshots, and between messages while no report comes, wall seconds.
SNAPSHOT_S: Final = 5.0
REPEAT_S: Final = 1.0

STATE_VERSION: Final = 1


class LightTime(Protocol):
    def before_reception_ns(self, ert_ns: I64) -> I64: ...

    def hear(self, owlt_s: float, last_ert_ns: int) -> None: ...


class TimingService:
    """delay_ns: between the clock's reading and the antenna on board, and between the antenna and
    where the ERT is taken on the ground, together."""

    def __init__(
        self,
        correlation: Correlation,
        light_time: LightTime,
        bus: Bus,
        clock: Clock,
        state: StateStore,
        *,
        service: str,
        source: str,
        delay_ns: int = 0,
    ) -> None:
        self._correlation = correlation
        self._light_time = light_time
        self._bus = bus
        self._clock = clock
        self._state = state
        self._source = source
        self._delay_ns = delay_ns
        self._status = StatusReporter(service, clock, bus)
        self._position = ("", -1)
        self._newest_ns: int | None = None
        self._malformed = 0
        self._saved_s = self._told_s = 0.0

    def run(self, stop: Stop) -> None:
        self._status.announce(ServiceState.RECOVERING, COMPILING)
        state = self._state.load()
        if state and state.get("version") == STATE_VERSION:
            self._correlation.restore(state["correlation"])
            self._position = (state["journal"], state["sequence"])
        # Compiled, loaded and known to work before reports wait for it.
        self._light_time.before_reception_ns(np.array([self._clock.now_ns()], np.int64))
        self._bus.subscribe(Topic.LINK)
        self._bus.follow(Topic.PACKETS, self._source, *self._position)
        while not stop():
            for message in self._bus.receive(TURN_S):
                self._take(message)
            if not sum(position.lag for position in self._bus.positions()):
                self._status.state = ServiceState.RUNNING
            wall_s = time.monotonic()
            if wall_s - self._told_s >= REPEAT_S:
                self._told_s = wall_s
                self._tell()
            if wall_s - self._saved_s >= SNAPSHOT_S:
                self._save(wait=False)
            self._tick()
        self._save(wait=True)
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    def _take(self, message: Message) -> None:
        try:
            if message.topic == Topic.LINK:
                link = parse(LinkMessage, message.body)
                self._light_time.hear(link.owlt_s, link.last_ert_ns)
            elif message.topic == Topic.PACKETS:
                self._packets(parse(PacketsMessage, message.body))
                self._position = (message.journal, message.sequence)
        except RemoteError:
            # A version that we do not know: counted and stepped over, the journal keeps it.
            self._malformed += 1
            if message.topic == Topic.PACKETS:
                self._position = (message.journal, message.sequence)

    def _packets(self, packets: PacketsMessage) -> None:
        self._newest_ns = packets.reception_ns
        onboard_ns, ert_ns = time_reports(packets)
        if not len(ert_ns):
            return
        emission_ns = ert_ns - self._light_time.before_reception_ns(ert_ns) - self._delay_ns
        for values in zip(onboard_ns.tolist(), emission_ns.tolist(), ert_ns.tolist(), strict=True):
            self._correlation.push(Report(*values))
        self._tell()

    def _tell(self) -> None:
        message = describe(self._correlation, self._clock.now_ns())
        if message is not None:
            self._bus.publish(Topic.TIME, message.build(), time_ns=message.time_ns)

    def _save(self, *, wait: bool) -> None:
        self._saved_s = time.monotonic()
        if self._position[1] < 0:
            return
        journal, sequence = self._position
        self._state.save(
            {
                "version": STATE_VERSION,
                "journal": journal,
                "sequence": sequence,
                "correlation": self._correlation.snapshot(),
            },
            wait=wait,
        )

    def _tick(self, *, now: bool = False) -> None:
        if not (now or self._status.due):
            return
        counts = self._correlation.counts
        counters = {
            **{f"reports_{fate}": number for fate, number in counts.items()},
            "segments": len(self._correlation.segments),
            "malformed": self._malformed,
        }
        message = describe(self._correlation, self._clock.now_ns())
        if message is not None:
            self._status.detail = (
                f"on-board clock {message.offset_ns / 1e6:+,.3f} ms ± {message.error_ns / 1e3:,.1f}"
                f" µs, drift {message.drift_ppb:+.2f} ppb"
            )
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)


def load_correlation(state: StateStore) -> Correlation | None:
    """What the service saved last; None: nothing, or another version did."""
    saved = state.load()
    if not saved or saved.get("version") != STATE_VERSION or not saved["correlation"]["segments"]:
        return None
    correlation = Correlation()
    correlation.restore(saved["correlation"])
    return correlation


def describe(correlation: Correlation, now_ns: int) -> TimeMessage | None:
    """The clock at an instant of the ground, TAI; None before the first report."""
    if not correlation.segments:
        return None
    segment = correlation.segments[-1]
    newest = segment.states[-1]
    offset_ns, sigma_ns, error_ns = correlation.offset(now_ns)
    state = newest.at(now_ns, correlation.uncertainty.oscillator.walk)
    counts = correlation.counts
    return TimeMessage(
        time_ns=now_ns,
        offset_ns=round(offset_ns),
        drift_ppb=state.drift_ppb,
        drift_sigma_ppb=state.var_drift**0.5,
        sigma_ns=sigma_ns,
        error_ns=error_ns,
        last_report_ns=newest.tai_ns,
        segment_start_ns=segment.start_ns,
        segments=len(correlation.segments),
        reports=sum(one.reports for one in correlation.segments),
        outliers=counts["outliers"],
        suspected=correlation.suspected,
    )
