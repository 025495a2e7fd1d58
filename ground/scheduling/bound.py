"""Proven bounds: no schedule gives more hours or requests, none is fairer.

    bound = upper_bound_hours(problem, seconds=60, on_progress=print)
    bound.value        hours: no schedule that keeps the rules has more

The bound is the dual function of `bound_relaxation.py` at prices found by descent: it holds at any
prices, so the search may be stopped, or killed, at any time, and what it reported last is proven.
Every reported value was computed in whole numbers, to the second; floating point only seeks.

Fairness has its own proof in `bound_fairness.py`.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from ground.scheduling.bound_descent import Bound, Hours, Progress, Requests, Target, search
from ground.scheduling.bound_fairness import GreatestUnfairness, MeanUnfairness, attainable
from ground.scheduling.bound_relaxation import UNIT, Prices, Relaxation
from ground.scheduling.model import Problem

# Of the seconds for fairness, those for what each mission could get if it were alone.
_ALONE = 0.25
_ALONE_STEPS = 300


def _as_whole(values: np.ndarray) -> np.ndarray:
    return np.rint(values * UNIT).astype(np.int64)


def upper_bound_hours(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """No schedule has more tracking hours (an array counts once) than the bound's value.

    seconds      to stop after; a proof under way is finished (0.2 s for a week of the DSN)
    steps        or after so many steps of the descent: the same answer on every machine
    on_progress  called with every better bound, the first one at once
    """

    def target(relaxation: Relaxation) -> Target:
        ones = np.ones(len(relaxation.most))
        return Hours(relaxation, _as_whole(ones), _as_whole(0 * ones), 3600)

    bound, relaxation, prices = search(problem, target, "hours", seconds, steps, on_progress)
    return _with_prices(bound, relaxation, prices)


def upper_bound_weighted_hours(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """As `upper_bound_hours`, with every hour times the priority of its request."""

    def target(relaxation: Relaxation) -> Target:
        # Rounded up: the worth may be too high, never too low.
        worth = np.array([math.ceil(r.priority * UNIT) for r in problem.requests], np.int64)
        return Hours(relaxation, worth, 0 * worth, 3600)

    return search(problem, target, "weighted hours", seconds, steps, on_progress)[0]


def upper_bound_requests(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """No schedule satisfies more requests (each with at least its minimum)."""

    def target(relaxation: Relaxation) -> Target:
        # An hour's worth each, so that prices are of the size that they have with hours.
        bonus = _as_whole(np.full(len(relaxation.most), 3600.0))
        return Requests(relaxation, 0 * bonus, bonus, 3600)

    return search(problem, target, "requests", seconds, steps, on_progress)[0]


def lower_bound_u_rms(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """No schedule has a lower root mean square of the missions' unsatisfied fractions."""
    return _unfairness(problem, MeanUnfairness, "U_RMS", seconds, steps, on_progress)


def lower_bound_u_max(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """Every schedule has a mission with at least this fraction of its hours unsatisfied."""
    return _unfairness(problem, GreatestUnfairness, "U_MAX", seconds, steps, on_progress)


def lower_bound_unfairness(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> tuple[Bound, Bound]:
    """Bounds for (U_RMS, U_MAX), half of the seconds and so many steps each."""
    begin = time.monotonic()
    rms = lower_bound_u_rms(problem, seconds=seconds / 2, steps=steps, on_progress=on_progress)
    left_s = max(0.0, seconds - (time.monotonic() - begin))
    worst = lower_bound_u_max(problem, seconds=left_s, steps=steps, on_progress=on_progress)
    return rms, worst


def _unfairness(
    problem: Problem,
    kind: type[MeanUnfairness | GreatestUnfairness],
    method: str,
    seconds: float,
    steps: int | None,
    on_progress: Progress | None,
) -> Bound:
    begin = time.monotonic()

    def target(relaxation: Relaxation) -> Target:
        sets = []
        for mission in problem.missions:
            requests = tuple(r for r in problem.requests if r.mission == mission.name)
            left_s = _ALONE * seconds - (time.monotonic() - begin)
            most_s = _alone_s(problem, requests, left_s, steps)
            sets.append(attainable([(r.minimum_s, r.duration_s) for r in requests], most_s))
        return kind(relaxation, sets)

    return search(problem, target, method, seconds, steps, on_progress)[0]


def _alone_s(problem: Problem, requests: tuple, seconds: float, steps: int | None) -> int:
    """Seconds that these requests cannot exceed, even with all antennas to themselves."""
    if len(requests) < 2 or seconds <= 0:
        return sum(r.duration_s for r in requests)
    alone = replace(problem, requests=requests, gaps=(), quotas=(), locks=(), published=None)
    most_steps = _ALONE_STEPS if steps is None else min(steps, _ALONE_STEPS)
    bound = upper_bound_hours(alone, seconds=seconds, steps=most_steps)
    return math.floor(bound.value * 3600 + 1e-6)


def _with_prices(bound: Bound, relaxation: Relaxation, prices: Prices) -> Bound:
    if not len(relaxation.most):
        return bound
    ones = np.ones(len(relaxation.most))
    relaxation.evaluate(prices, ones, 0 * ones, relaxation.fine, relaxation.prices())
    names = [antenna.name for antenna in relaxation.problem.antennas]
    earned = relaxation.earned[: len(names)] / 3600
    return replace(
        bound,
        prices={
            request.id: float(price) / 3600
            for request, price in zip(relaxation.problem.requests, prices.phi, strict=True)
        },
        antennas=dict(zip(names, earned.tolist(), strict=True)),
    )
