"""The search for prices: descent of the dual function, with a proof every now and then."""

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


class Target:
    """What is bounded: the worth of a second, from which the dual function is made, and the figure.

    upper    the figure is an upper bound, and a smaller one is better
    trivial  the figure before any step
    """

    upper = True
    trivial = 0.0

    def start(self, prices: Prices) -> None:
        """Sets the weights that the descent begins with."""

    def worth(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        """float64[requests]: of a second of tracking, and of being given at all."""
        raise NotImplementedError

    def loss(self, total: float, prices: Prices) -> float:
        """What the descent makes small, from the dual function."""
        return total

    def slope(self, given: np.ndarray, prices: Prices) -> np.ndarray | float:
        """Of the loss, by the weights; `given`: seconds that the best paths give each request."""
        return 0.0

    def settle(self, prices: Prices) -> None:
        """Scales the weights after a step."""

    def proven(self, relaxation: Relaxation, prices: Prices) -> float:
        raise NotImplementedError


class Hours(Target):
    """Sum of worth x seconds and bonuses, int64[requests] in 1 / UNIT, in units of `unit`."""

    def __init__(
        self, relaxation: Relaxation, worth: np.ndarray, bonus: np.ndarray, unit: int
    ) -> None:
        self.whole_worth, self.whole_bonus, self.unit = worth, bonus, unit
        self.float_worth, self.float_bonus = worth / UNIT, bonus / UNIT
        self.trivial = self.figure(int(worth @ relaxation.most.astype(np.int64) + bonus.sum()))

    def worth(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        return self.float_worth, self.float_bonus

    def figure(self, total: int) -> float:
        return total / (UNIT * self.unit)

    def proven(self, relaxation: Relaxation, prices: Prices) -> float:
        return self.figure(relaxation.prove(prices, self.whole_worth, self.whole_bonus))


class Requests(Hours):
    """How many requests get anything: whole, so its bound is rounded down."""

    def figure(self, total: int) -> float:
        return float(total // (UNIT * self.unit))


def _descent(relaxation: Relaxation, target: Target) -> Iterator[tuple[int, bool, Prices]]:
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
            target.settle(prices)
            yield taken, taken in _FIRST_PROOFS or step + 1 == steps, best
        prices = best.copy(relaxation)


def search(
    problem: Problem, target_of: Callable[[Relaxation], Target], method: str,
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
