"""The correlation against the simulator's clock, which drifts, ages, warms up and is set."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ground.timing.correlation import Correlation, Fate, Report, Uncertainty
from protocols.dictionary.l4_fields import TIME_FORMAT
from protocols.errors import LocalError
from protocols.timecodes.tai import unix_ns_from_tai_ns
from spacecraft_sim.flight_software.onboard_clock import OnBoardClock, Wander

S = 1_000_000_000
T0 = 2_170_000_000 * S
DAY_S = 86_400
STEP_S = 64


def shown(clock: OnBoardClock, t_ns: int) -> int:
    """The clock as its time code says it."""
    return int(TIME_FORMAT.decode(TIME_FORMAT.encode(np.array([clock.read(t_ns)])))[0])


@dataclass
class Trial:
    """Days of a clock; light time known to 15 ns, so that what is stated is the filter's own."""

    seed: int
    drift_ppm: float = 0.08
    jumps: dict[int, int] = field(default_factory=dict)
    dark: tuple[tuple[float, float], ...] = ()
    loss: float = 0.2
    outliers: float = 0.01

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.clock = OnBoardClock(T0, self.drift_ppm, 12_345_678, Wander(0.3, 2.0, self.seed))
        self.correlation = Correlation(Uncertainty(bias_ns=0.0))
        #: (TAI, clock) at each step, and whether the estimate of that moment held.
        self.truth: list[tuple[int, int]] = []
        self.held: list[bool] = []
        self.errors: list[float] = []

    def run(self, first: int, last: int, *, restart: bool = False) -> Trial:
        for number in range(first, last):
            t_ns = T0 + number * STEP_S * S
            self.clock.adjust(self.jumps.get(number, 0))
            if self._heard(number * STEP_S / DAY_S):
                onboard_ns = shown(self.clock, t_ns)
                if self.random.random() < self.outliers:
                    onboard_ns += round(self.random.gauss(0, 1e6))
                emission_ns = t_ns + round(self.random.gauss(0, 15))
                self.correlation.push(Report(onboard_ns, emission_ns, emission_ns + 499 * S))
            if restart and number % 500 == 0:
                saved = json.dumps(self.correlation.snapshot())
                self.correlation = Correlation(Uncertainty(bias_ns=0.0))
                self.correlation.restore(json.loads(saved))
            if self.correlation.segments:
                truth_ns = self.clock.read(t_ns)
                self.truth.append((t_ns, truth_ns))
                found_ns, error_ns = self.correlation.onboard_of(t_ns)
                self.held.append(abs(found_ns - truth_ns) <= error_ns)
                self.errors.append(error_ns)
        return self

    def _heard(self, day: float) -> bool:
        """A pass of 14 hours each day, but for the times in the dark."""
        if any(begin <= day < end for begin, end in self.dark) or not 0.25 <= day % 1 < 0.83:
            return False
        return self.random.random() >= self.loss


STEPS = 5 * DAY_S // STEP_S
#: Set back by 1.5 s in the third day's pass, forward by 40 µs in the fifth's.
JUMPS = {int(2.4 * DAY_S) // STEP_S: -1_500_000_000, int(4.5 * DAY_S) // STEP_S: 40_000}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_over_days_the_error_is_within_what_is_stated(seed: int) -> None:
    """Temperature and age, a fifth of the reports lost, one in a hundred wrong, nights without
    contact, a day without, the clock set twice."""
    trial = Trial(seed, jumps=JUMPS, dark=((3.2, 4.3),)).run(0, STEPS)
    assert sum(trial.held) >= 0.99 * len(trial.held)
    # What is stated is not so much that anything would be within it.
    assert sorted(trial.errors)[len(trial.errors) // 4] < 400
    assert len(trial.correlation.segments) == 3
    assert trial.correlation.counts[Fate.JUMP] == 2
    found = [trial.correlation.tai_of(clock_ns, near_ns=t_ns) for t_ns, clock_ns in trial.truth]
    held = [abs(tai - t) <= e for (tai, e), (t, _) in zip(found, trial.truth, strict=True)]
    assert sum(held) >= 0.99 * len(held)
    assert sorted(e for _, e in found)[len(found) // 4] < 400


def test_a_restart_changes_nothing() -> None:
    whole = Trial(4, jumps=JUMPS).run(0, STEPS)
    often = Trial(4, jumps=JUMPS).run(0, STEPS, restart=True)
    assert often.correlation.snapshot() == whole.correlation.snapshot()


def test_the_error_grows_while_nothing_is_heard() -> None:
    trial = Trial(5, loss=0.0, outliers=0.0).run(0, int(0.83 * DAY_S) // STEP_S)
    end_ns = trial.correlation.segments[-1].end_ns
    hours = [1, 2, 4, 8, 16, 32, 64]
    stated = [trial.correlation.onboard_of(end_ns + h * 3600 * S) for h in hours]
    errors = [error for _, error in stated]
    assert errors == sorted(errors)
    assert errors[0] < 20_000
    assert errors[-1] > 100 * errors[0]
    for hour, (found, error) in zip(hours, stated, strict=True):
        assert abs(found - trial.clock.read(end_ns + hour * 3600 * S)) <= error


def pushed(
    correlation: Correlation, clock: OnBoardClock, *steps: int, wrong: int = 0
) -> list[Fate]:
    fates: list[Fate] = []
    for step in steps:
        t_ns = T0 + step * STEP_S * S
        fates.append(correlation.push(Report(shown(clock, t_ns) + wrong, t_ns, t_ns + 499 * S)))
    return fates


def test_one_wrong_report_is_set_aside_and_widens_the_error_until_it_is_explained() -> None:
    correlation, clock = Correlation(), OnBoardClock(T0, 0.5)
    pushed(correlation, clock, *range(20))
    before = correlation.onboard_of(T0 + 20 * STEP_S * S)
    assert pushed(correlation, clock, 20, wrong=-3_000_000) == [Fate.SET_ASIDE]
    assert correlation.suspected
    # It may have been set: what is stated holds for both.
    assert correlation.onboard_of(T0 + 21 * STEP_S * S)[1] > 3_000_000 > before[1]
    assert pushed(correlation, clock, 21) == [Fate.USED]
    assert (correlation.suspected, correlation.counts["outliers"]) == (False, 1)
    assert correlation.onboard_of(T0 + 21 * STEP_S * S)[1] == pytest.approx(before[1], rel=0.1)


def test_a_clock_that_was_set_begins_a_segment() -> None:
    correlation, clock = Correlation(), OnBoardClock(T0, 0.5)
    pushed(correlation, clock, *range(20))
    clock.adjust(-10 * S)
    fates = pushed(correlation, clock, 20, 21, 22)
    assert fates == [Fate.SET_ASIDE, Fate.SET_ASIDE, Fate.JUMP]
    before, after = correlation.segments
    assert after.start_ns == T0 + 20 * STEP_S * S
    assert correlation.counts["outliers"] == 0
    # Its drift is known at once.
    assert after.states[-1].drift_ppb == pytest.approx(500, abs=1)
    # It showed ten seconds twice: whoever knows about when is told which.
    t_ns = before.end_ns - 5 * S
    twice_ns = OnBoardClock(T0, 0.5).read(t_ns)
    near, error = correlation.tai_of(twice_ns, near_ns=t_ns)
    assert abs(near - t_ns) <= error
    # In between nobody knows when it was set.
    assert correlation.onboard_of(before.end_ns + 30 * S)[1] > 10 * S


def test_another_oscillator_is_followed_too() -> None:
    correlation, clock = Correlation(), OnBoardClock(T0, 0.5)
    pushed(correlation, clock, *range(20))
    spare = OnBoardClock(T0, -30.0, 77 * S)
    assert pushed(correlation, spare, *range(20, 40))[-1] == Fate.USED
    assert correlation.segments[-1].states[-1].drift_ppb == pytest.approx(-30_000, abs=2)
    t_ns = T0 + 45 * STEP_S * S
    found, error = correlation.onboard_of(t_ns)
    assert abs(found - spare.read(t_ns)) <= error < 3_000


def test_what_comes_late_or_twice_is_left_out() -> None:
    correlation, clock = Correlation(), OnBoardClock(T0)
    assert pushed(correlation, clock, 0, 1, 1, 0) == [Fate.USED, Fate.USED, Fate.LATE, Fate.LATE]


def test_before_the_first_report_nothing_is_known() -> None:
    with pytest.raises(LocalError, match="no time report"):
        Correlation().tai_of(T0)


@given(st.integers(-100 * S, 10**6 * S), st.floats(-90, 90), st.integers(-(10**6), 10**6))
def test_both_ways_are_one(after_ns: int, drift_ppm: float, offset_s: int) -> None:
    correlation, clock = Correlation(), OnBoardClock(T0, drift_ppm, offset_s * S)
    pushed(correlation, clock, *range(5))
    t_ns = T0 + after_ns
    onboard_ns, _ = correlation.onboard_of(t_ns)
    again_ns, _ = correlation.tai_of(onboard_ns)
    assert abs(again_ns - t_ns) <= 2
    unix_ns, _ = correlation.utc_of(onboard_ns)
    assert (unix_ns, correlation.onboard_of_utc(unix_ns)[0]) == (
        unix_ns_from_tai_ns(again_ns), correlation.onboard_of(again_ns)[0]
    )  # fmt: skip
