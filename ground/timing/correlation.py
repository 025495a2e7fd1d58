"""The on-board clock's life in segments: within one it drifts, from one to the next it was set.

    correlation = Correlation(Uncertainty(...))
    correlation.push(Report(onboard_ns, emission_ns, ert_ns))
    correlation.tai_of(onboard_ns)      -> (TAI ns, greatest error in ns)
    correlation.onboard_of(tai_ns)      -> (on-board ns, greatest error in ns)

A report that does not fit is set aside.  If the next ones fit the estimate, it was an outlier; if
`CONFIRMING` of them fit each other, the clock has jumped, and a new segment begins with the first
of them.  No clock and no bus here: the same reports give the same correlation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from ground.timing.clock_filter import ClockState, Oscillator, between
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns, unix_ns_from_tai_ns

#: Reports that agree with each other and not with the estimate: a jump.
CONFIRMING: Final = 3
#: Standard deviations that a report may be off, and beyond which nothing is to be expected.
GATE: Final = 6.0
BOUND: Final = 3.0
#: Distance of states that are kept, and how many at most: a month of reports.
KNOT_NS: Final = 900 * 10**9
MOST_KNOTS: Final = 3_000
#: Residuals that are kept, for people.
MOST_RESIDUALS: Final = 2_000
#: Set aside at most: of more than these none confirms another.
_MOST_SUSPECTS: Final = 8


class Fate(StrEnum):
    """What became of a report."""

    USED = "used"
    SET_ASIDE = "set_aside"
    JUMP = "jump"
    LATE = "late"


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """resolution_ns: of the clock's reading, which is rounded to it; jitter_ns: standard
    deviation of light time and ERT from one report to the next; bias_ns: greatest error that all
    reports share: light time, and delays on board and in the station."""

    oscillator: Oscillator = field(default_factory=Oscillator)
    resolution_ns: float = 1e9 / (1 << 24)
    jitter_ns: float = 20.0
    bias_ns: float = 2_000.0

    @property
    def noise_ns(self) -> float:
        return (self.resolution_ns**2 / 12 + self.jitter_ns**2) ** 0.5


@dataclass(frozen=True, slots=True)
class Report:
    """onboard_ns: what the clock showed; emission_ns: when, TAI: ERT less light time and delays."""

    onboard_ns: int
    emission_ns: int
    ert_ns: int

    @property
    def offset_ns(self) -> int:
        return self.onboard_ns - self.emission_ns


@dataclass(slots=True)
class Segment:
    """states: in order of time, KNOT_NS apart, the last one the newest."""

    states: list[ClockState]
    reports: int = 0

    @property
    def start_ns(self) -> int:
        return self.states[0].tai_ns

    @property
    def end_ns(self) -> int:
        return self.states[-1].tai_ns

    def add(self, state: ClockState, walk: float) -> None:
        states = self.states
        first = states[0]
        if len(states) <= 2:
            # When the segment began nothing was known of the drift: now there is.
            var_drift = state.var_drift + walk * (state.tai_ns - first.tai_ns) / 1e9
            if var_drift < first.var_drift:
                states[0] = replace(first, drift_ppb=state.drift_ppb, var_drift=var_drift)
        # Only inside a contact: both ends of a gap stay.
        if len(states) > 1 and state.tai_ns - states[-2].tai_ns < KNOT_NS:
            states[-1] = state
        else:
            states.append(state)

    def offset(self, tai_ns: int, walk: float) -> tuple[float, float]:
        """(offset, standard deviation), ns, at any instant."""
        states = self.states
        if not states[0].tai_ns < tai_ns < states[-1].tai_ns:
            near = states[0] if tai_ns <= states[0].tai_ns else states[-1]
            state = near.at(tai_ns, walk)
            return state.offset_ns, state.sigma_ns
        low, high = 0, len(states) - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if states[middle].tai_ns <= tai_ns else (low, middle)
        return between(states[low], states[high], tai_ns, walk)


@dataclass(frozen=True, slots=True)
class Residual:
    """Of a report against the estimate before it; error_ns: the greatest that was expected."""

    emission_ns: int
    residual_ns: float
    error_ns: float
    fate: str


@dataclass(slots=True)
class Correlation:
    """counts: reports by `Fate`, and `outliers`: those set aside that no jump explained."""

    uncertainty: Uncertainty = field(default_factory=Uncertainty)
    segments: list[Segment] = field(default_factory=list[Segment])
    residuals: list[Residual] = field(default_factory=list[Residual])
    counts: Counter[str] = field(default_factory=Counter[str])
    _suspects: list[Report] = field(default_factory=list[Report])

    @property
    def _walk(self) -> float:
        return self.uncertainty.oscillator.walk

    @property
    def suspected(self) -> bool:
        """Whether the last report did not fit."""
        return bool(self._suspects)

    # ------------------------------------------------------------ reports

    def push(self, report: Report) -> Fate:
        fate = self._take(report)
        self.counts[fate] += 1
        return fate

    def _take(self, report: Report) -> Fate:
        if not self.segments:
            self.segments.append(Segment([self._first(report)], 1))
            return self._noted(report, 0.0, 0.0, Fate.USED)
        segment = self.segments[-1]
        last_ns = self._suspects[-1].emission_ns if self._suspects else segment.end_ns
        if report.emission_ns <= last_ns:
            return Fate.LATE
        expected = segment.states[-1].at(report.emission_ns, self._walk)
        residual_ns = report.offset_ns - expected.offset_ns
        error_ns = GATE * (expected.var_offset + self.uncertainty.noise_ns**2) ** 0.5
        if abs(residual_ns) <= error_ns:
            self.counts["outliers"] += len(self._suspects)
            self._suspects.clear()
            self._use(segment, report)
            return self._noted(report, residual_ns, error_ns, Fate.USED)
        self._suspects.append(report)
        if self._jumped():
            self._begin(segment.states[-1])
            return self._noted(report, residual_ns, error_ns, Fate.JUMP)
        if len(self._suspects) > _MOST_SUSPECTS:
            del self._suspects[0]
            self.counts["outliers"] += 1
        return self._noted(report, residual_ns, error_ns, Fate.SET_ASIDE)

    def _first(self, report: Report) -> ClockState:
        return ClockState.first(
            report.emission_ns,
            report.offset_ns,
            self.uncertainty.noise_ns,
            self.uncertainty.oscillator.drift_ppb,
        )

    def _use(self, segment: Segment, report: Report) -> None:
        state = segment.states[-1].at(report.emission_ns, self._walk)
        segment.add(state.updated(report.offset_ns, self.uncertainty.noise_ns), self._walk)
        segment.reports += 1
        self._forget()

    def _line(self) -> float:
        """Drift from the first to the last of those that may confirm each other, ns/s."""
        first, last = self._suspects[-CONFIRMING], self._suspects[-1]
        return 1e9 * (last.offset_ns - first.offset_ns) / (last.emission_ns - first.emission_ns)

    def _jumped(self) -> bool:
        """Whether the newest of those set aside are on one line that a clock could draw."""
        if len(self._suspects) < CONFIRMING:
            return False
        first, *between_them, last = self._suspects[-CONFIRMING:]
        drift_ppb = self._line()
        span_s = (last.emission_ns - first.emission_ns) / 1e9
        error_ns = GATE * (2 * self.uncertainty.noise_ns**2 + self._walk * span_s**3 / 3) ** 0.5
        return abs(drift_ppb) <= self.uncertainty.oscillator.drift_ppb and all(
            abs(one.offset_ns - first.offset_ns - drift_ppb * _s(first, one)) <= error_ns
            for one in between_them
        )

    def _begin(self, before: ClockState) -> None:
        """A new segment of the reports that confirmed each other.  A clock that was set drifts as
        before; another one, after a failure, does not."""
        drift_ppb = self._line()
        self.counts["outliers"] += len(self._suspects) - CONFIRMING
        jumped, self._suspects = self._suspects[-CONFIRMING:], []
        state = self._first(jumped[0])
        expected = before.at(state.tai_ns, self._walk)
        span_s = _s(jumped[0], jumped[-1])
        error = expected.var_drift + 2 * self.uncertainty.noise_ns**2 / span_s**2
        if abs(drift_ppb - expected.drift_ppb) <= GATE * error**0.5:
            state = replace(
                state, drift_ppb=expected.drift_ppb, var_drift=max(expected.var_drift, error)
            )
        segment = Segment([state], 1)
        self.segments.append(segment)
        for one in jumped[1:]:
            self._use(segment, one)

    def _noted(self, report: Report, residual_ns: float, error_ns: float, fate: Fate) -> Fate:
        self.residuals.append(Residual(report.emission_ns, residual_ns, error_ns, fate))
        if len(self.residuals) > MOST_RESIDUALS:
            del self.residuals[: MOST_RESIDUALS // 10]
        return fate

    def _forget(self) -> None:
        while sum(len(segment.states) for segment in self.segments) > MOST_KNOTS:
            oldest = self.segments[0]
            if len(self.segments) > 1 and len(oldest.states) <= 2:
                del self.segments[0]
            else:
                del oldest.states[0]

    # ------------------------------------------------------------ answers

    def _bound(self, sigma_ns: float) -> float:
        own_ns = self.uncertainty.resolution_ns / 2 + self.uncertainty.bias_ns
        return BOUND * sigma_ns + own_ns

    def _segment_at(self, tai_ns: int) -> int:
        """Index of the segment that an instant belongs to; LocalError before the first report."""
        if not self.segments:
            raise LocalError("no time report has been received: nothing is known of the clock")
        found = 0
        for index, segment in enumerate(self.segments):
            if segment.start_ns <= tai_ns:
                found = index
        return found

    def offset(self, tai_ns: int) -> tuple[float, float, float]:
        """(on-board − TAI, its standard deviation, its greatest error) at an instant, ns."""
        return self._offset_in(self._segment_at(tai_ns), tai_ns)

    def _offset_in(self, index: int, tai_ns: int) -> tuple[float, float, float]:
        segment = self.segments[index]
        offset_ns, sigma_ns = segment.offset(tai_ns, self._walk)
        bound_ns = self._bound(sigma_ns)
        newest = index == len(self.segments) - 1
        if tai_ns > segment.end_ns and not newest:
            # When, between two reports, the clock was set nobody knows: either may hold.
            other_ns, other_sigma_ns = self.segments[index + 1].offset(tai_ns, self._walk)
            bound_ns = max(bound_ns, abs(other_ns - offset_ns) + self._bound(other_sigma_ns))
        if newest and self._suspects and tai_ns > segment.end_ns:
            suspect = self._suspects[-1]
            expected = segment.states[-1].at(suspect.emission_ns, self._walk)
            bound_ns += abs(suspect.offset_ns - expected.offset_ns)
        return offset_ns, sigma_ns, bound_ns

    def onboard_of(self, tai_ns: int) -> tuple[int, int]:
        """What the clock showed, or will show, at an instant, and by how much that may be wrong.
        LocalError before the first report."""
        offset_ns, _, bound_ns = self.offset(tai_ns)
        return tai_ns + round(offset_ns), math.ceil(bound_ns)

    def tai_of(self, onboard_ns: int, near_ns: int | None = None) -> tuple[int, int]:
        """The instant, TAI, at which the clock showed this, and by how much that may be wrong.

        near_ns: about when, TAI, such as a packet's ERT less light time: a clock that was set back
        shows the same twice, and without it the later time is meant.  LocalError before the first
        report.
        """
        index = self._segment_at(0 if near_ns is None else near_ns)
        if near_ns is None:
            for number, segment in enumerate(self.segments):
                first = segment.states[0]
                if first.tai_ns + first.offset_ns <= onboard_ns:
                    index = number
        tai_ns = onboard_ns - round(self.segments[index].states[-1].offset_ns)
        # The offset moves by the drift over what the guess was off: the third pass is exact.
        for _ in range(3):
            tai_ns = onboard_ns - round(self._offset_in(index, tai_ns)[0])
        return tai_ns, math.ceil(self._offset_in(index, tai_ns)[2])

    def utc_of(self, onboard_ns: int, near_ns: int | None = None) -> tuple[int, int]:
        """`tai_of` as UTC, in Unix nanoseconds."""
        tai_ns, error_ns = self.tai_of(onboard_ns, near_ns)
        return unix_ns_from_tai_ns(tai_ns), error_ns

    def onboard_of_utc(self, unix_ns: int) -> tuple[int, int]:
        """`onboard_of` of UTC, in Unix nanoseconds."""
        return self.onboard_of(tai_ns_from_unix_ns(unix_ns))

    # ------------------------------------------------------------ over a restart

    def snapshot(self) -> dict[str, Any]:
        """Everything, of types that msgpack and JSON can store."""
        return {
            "segments": [
                {"reports": one.reports, "states": [list(astuple(state)) for state in one.states]}
                for one in self.segments
            ],
            "residuals": [
                [one.emission_ns, one.residual_ns, one.error_ns, one.fate] for one in self.residuals
            ],
            "suspects": [list(astuple(one)) for one in self._suspects],
            "counts": dict(self.counts),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.segments = [
            Segment([ClockState(*state) for state in one["states"]], one["reports"])
            for one in snapshot["segments"]
        ]
        self.residuals = [Residual(*one) for one in snapshot["residuals"]]
        self._suspects = [Report(*one) for one in snapshot["suspects"]]
        self.counts = Counter(snapshot["counts"])


def _s(a: Report, b: Report) -> float:
    return (b.emission_ns - a.emission_ns) / 1e9
