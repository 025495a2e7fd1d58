"""Proven bounds: no schedule gives more hours or requests, none is fairer.

    bound = upper_bound_hours(problem, seconds=60, on_progress=print)
    bound.value        hours: no schedule that keeps the rules has more

The bound is the dual function of `bound_relaxation.py` at prices found by descent: it holds at any
prices, so the search may be stopped, or killed, at any time, and what it reported last is proven.
Every reported value was computed in whole numbers, to the second; floating point only seeks.

Fairness.  U_m = 1 - h_m / D_m is linear in the hours of mission m.  For weights w_m >= 0
Cauchy-Schwarz gives sqrt(sum U^2 / n) >= sum w_m U_m / (sqrt(n) |w|), and max U >= sum w_m U_m /
sum w_m.  Least over schedules, sum w_m U_m is sum w_m less the most that hours worth w_m / D_m can
make: the same dual function, with the weights as further variables of the descent.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ground.scheduling.bound_kernels import descend
from ground.scheduling.bound_relaxation import UNIT, Grid, Prices, Relaxation
from ground.scheduling.model import Problem
from protocols.errors import LocalError

# (grid, steps, length of the first and the last step).  More steps at the end bring 0.1 % more.
_PHASES = (
    ("coarse", 900, 1.0, 0.03),
    ("fine", 400, 0.1, 0.02),
    ("fine", 1200, 0.03, 0.004),
)
_FIRST_PROOFS = (40, 120, 300, 600)


@dataclass(frozen=True)
class Bound:
    """A proven bound.

    value      hours (upper), requests (upper), or a fraction 0 … 1 (U_RMS and U_MAX, lower)
    elapsed_s  when it was found, from the call
    steps      of the descent, at which it was found
    converged  the descent has ended: more seconds would not change it
    prices     hours of tracking elsewhere that giving the request takes away, by request; only
               with upper_bound_hours
    antennas   hours that the antenna alone makes at these prices: its worth to the network
    """

    value: float
    elapsed_s: float
    steps: int
    method: str
    converged: bool = False
    prices: Mapping[str, float] = field(default_factory=dict, repr=False)
    antennas: Mapping[str, float] = field(default_factory=dict, repr=False)

    @property
    def proven(self) -> bool:
        """Always: at every moment it is stopped."""
        return True


Progress = Callable[[Bound], None]


class _Hours:
    """Sum of worth x seconds and bonuses, given beforehand; per `unit`."""

    upper = True

    def __init__(
        self, relaxation: Relaxation, worth: np.ndarray, bonus: np.ndarray, unit: int
    ) -> None:
        self.whole_worth, self.whole_bonus, self.unit = worth, bonus, unit
        self.float_worth, self.float_bonus = worth / UNIT, bonus / UNIT
        self.trivial = self.figure(int(worth @ relaxation.most.astype(np.int64) + bonus.sum()))

    def start(self, prices: Prices) -> None:
        pass

    def worth(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        return self.float_worth, self.float_bonus

    def loss(self, total: float, prices: Prices) -> float:
        return total

    def slope(self, given: np.ndarray, prices: Prices) -> np.ndarray | float:
        return 0.0

    def figure(self, total: int) -> float:
        return total / (UNIT * self.unit)

    def proven(self, relaxation: Relaxation, prices: Prices) -> float:
        return self.figure(relaxation.prove(prices, self.whole_worth, self.whole_bonus))


class _Requests(_Hours):
    """How many requests get anything: whole, so its bound is rounded down."""

    def figure(self, total: int) -> float:
        return float(total // (UNIT * self.unit))


class _Unfairness:
    """Root mean square (or greatest) of the missions' unsatisfied fractions, from below."""

    upper = False
    trivial = 0.0

    def __init__(self, relaxation: Relaxation, square: bool) -> None:
        self.square = square
        self.asking = relaxation.requested > 0
        self.missions = int(self.asking.sum())
        self.requested = np.where(self.asking, relaxation.requested, 1.0)
        self.mission = relaxation.mission
        # Weights are about U in size; this makes a second worth about 1, as it is with hours.
        self.mean = float(relaxation.requested.sum() / max(self.missions, 1))
        self.scale = (5.0 if square else 0.5 * self.missions) * self.mean
        self.bonus = np.zeros(len(self.mission))

    def start(self, prices: Prices) -> None:
        prices.weight[self.asking] = 0.1 if self.square else 0.5 / self.missions

    def worth(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        return (self.scale * prices.weight / self.requested)[self.mission], self.bonus

    def loss(self, total: float, prices: Prices) -> float:
        weights = float(prices.weight.sum())
        if weights <= 0:
            return 0.0
        norm = math.sqrt(self.missions * float(prices.weight @ prices.weight))
        return (total / self.scale - weights) / (norm if self.square else weights)

    def slope(self, given: np.ndarray, prices: Prices) -> np.ndarray:
        fraction = np.bincount(self.mission, given, len(self.requested)) / self.requested
        pull = prices.weight if self.square else prices.weight.sum()
        return np.where(self.asking, fraction - 1.0 + pull, 0.0)

    def proven(self, relaxation: Relaxation, prices: Prices) -> float:
        value = np.rint(self.scale * prices.weight / self.requested * UNIT).astype(np.int64)
        weights = [
            int(v) * int(d) for v, d in zip(value, relaxation.requested, strict=True) if d > 0
        ]
        if not any(weights):
            return 0.0
        bonus = np.zeros(len(self.mission), np.int64)
        missing = sum(weights) - relaxation.prove(prices, value[self.mission], bonus)
        if self.square:
            # Rounded so that the root, a float, is not above the true one.
            norm = math.isqrt(self.missions * sum(w * w for w in weights)) + 1
        else:
            norm = sum(weights)
        return max(0.0, missing / norm * (1 - 1e-12))


def _descent(
    relaxation: Relaxation, target: _Hours | _Unfairness
) -> Iterator[tuple[int, bool, Prices]]:
    """Steps taken so far, whether a proof is due, and the best prices up to here."""
    prices, slope = relaxation.prices(), relaxation.prices()
    target.start(prices)
    worth, bonus = target.worth(prices)
    level = float((worth * relaxation.most + bonus).sum() / relaxation.most.sum())
    prices.phi[:] = 0.3 * (worth * relaxation.most + bonus)
    scale = relaxation.prices()
    mean_s = float(relaxation.most.mean())
    scale.phi[:] = 0.11 * level * mean_s
    scale.delta[:] = 0.035 * level * mean_s
    scale.lam[:] = 0.1 * level
    for part in (scale.sigma, scale.pi, scale.tau):
        part[...] = 0.05 * level
    scale.weight[:] = 0.02
    mean, square = np.zeros_like(prices.x), np.zeros_like(prices.x)
    taken = 0
    for name, steps, first, last in _PHASES:
        grid: Grid = getattr(relaxation, name)
        best, best_loss = prices.copy(relaxation), math.inf
        for step in range(steps):
            worth, bonus = target.worth(prices)
            total, given = relaxation.evaluate(prices, worth, bonus, grid, slope)
            slope.weight[:] = target.slope(given, prices)
            loss = target.loss(total, prices)
            if loss < best_loss:
                best, best_loss = prices.copy(relaxation), loss
            taken += 1
            descend(
                prices.x, slope.x, mean, square, scale.x, first * (last / first) ** (step / steps),
                1 - 0.9**taken, 1 - 0.99**taken, relaxation.positive,
            )  # fmt: skip
            relaxation.balance(prices)
            yield taken, taken in _FIRST_PROOFS or step + 1 == steps, best
        prices = best.copy(relaxation)


def _search(
    problem: Problem, target_of: Callable[[Relaxation], _Hours | _Unfairness], method: str,
    seconds: float, most_steps: int | None, on_progress: Progress | None,
) -> tuple[Bound, Relaxation, Prices]:  # fmt: skip
    if seconds < 0:
        raise LocalError(f"seconds {seconds}: 0 or more wanted")
    begin = time.monotonic()
    relaxation = Relaxation(problem)
    target = target_of(relaxation)
    kept = relaxation.prices()
    bound = Bound(target.trivial, time.monotonic() - begin, 0, method)
    if on_progress:
        on_progress(bound)
    if not len(relaxation.most):
        return bound, relaxation, kept

    def prove(steps: int, prices: Prices) -> bool:
        nonlocal bound, kept
        value = target.proven(relaxation, prices)
        better = value < bound.value if target.upper else value > bound.value
        if better:
            bound, kept = Bound(value, time.monotonic() - begin, steps, method), prices
            if on_progress:
                on_progress(bound)
        return better

    steps, latest = 0, kept
    for steps, due, latest in _descent(relaxation, target):
        late = time.monotonic() - begin > seconds or steps == most_steps
        if due or late:
            prove(steps, latest.copy(relaxation))
        if late:
            return bound, relaxation, kept
    return replace(bound, converged=True), relaxation, kept


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

    def target(relaxation: Relaxation) -> _Hours:
        ones = np.ones(len(relaxation.most))
        return _Hours(relaxation, _as_whole(ones), _as_whole(0 * ones), 3600)

    bound, relaxation, prices = _search(problem, target, "hours", seconds, steps, on_progress)
    return _with_prices(bound, relaxation, prices)


def upper_bound_weighted_hours(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """As `upper_bound_hours`, with every hour times the priority of its request."""

    def target(relaxation: Relaxation) -> _Hours:
        # Rounded up: the worth may be too high, never too low.
        worth = np.array([math.ceil(r.priority * UNIT) for r in problem.requests], np.int64)
        return _Hours(relaxation, worth, 0 * worth, 3600)

    return _search(problem, target, "weighted hours", seconds, steps, on_progress)[0]


def upper_bound_requests(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """No schedule satisfies more requests (each with at least its minimum)."""

    def target(relaxation: Relaxation) -> _Hours:
        # An hour's worth each, so that prices are of the size that they have with hours.
        bonus = _as_whole(np.full(len(relaxation.most), 3600.0))
        return _Requests(relaxation, 0 * bonus, bonus, 3600)

    return _search(problem, target, "requests", seconds, steps, on_progress)[0]


def lower_bound_u_rms(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """No schedule has a lower root mean square of the missions' unsatisfied fractions."""
    found = _search(problem, lambda r: _Unfairness(r, True), "U_RMS", seconds, steps, on_progress)
    return found[0]


def lower_bound_u_max(
    problem: Problem,
    *,
    seconds: float,
    steps: int | None = None,
    on_progress: Progress | None = None,
) -> Bound:
    """Every schedule has a mission with at least this fraction of its hours unsatisfied."""
    found = _search(problem, lambda r: _Unfairness(r, False), "U_MAX", seconds, steps, on_progress)
    return found[0]


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
