"""Fairness from below: no schedule leaves the missions a smaller U_RMS, or a smaller U_MAX.

U_m = 1 - h_m / D_m is linear in the hours h_m of mission m, so for weights w_m >= 0 every schedule
has sum w_m U_m >= c(w) = sum w_m - (most that hours worth w_m / D_m each can make).  The latter is
the dual function of `bound_relaxation.py`.  The weights are further variables of the descent.

Requests are given from their minimum on or not at all, so U_m takes values of a set A_m only: a
mission with one request of fixed length has 0 or 1.  A_m is known exactly (`attainable`), cut at
what the mission could get if it were alone.

    U_RMS   sum U_m^2 >= sum min over u in A_m of (u^2 - w_m u), + c(w)
    U_MAX   a schedule with no U_m above t has sum w_m (largest u in A_m up to t) >= c(w):
            where that fails, U_MAX is above t

c(w) is proven in whole numbers; the few sums after that are floats, with a margin of 1e-9.
"""

from __future__ import annotations

import math

import numpy as np

from ground.scheduling.bound_descent import Target
from ground.scheduling.bound_relaxation import UNIT, Prices, Relaxation

_MARGIN = 1e-9
_MOST_INTERVALS = 4096


def attainable(requests: list[tuple[int, int]], most_s: int) -> list[tuple[int, int]]:
    """Sums of seconds that requests of (minimum, duration) can be given, as closed intervals.

    Ascending and apart; none begins above `most_s`.  Very many intervals are joined: a larger set.
    """
    found = [(0, 0)]
    for least, most in requests:
        both = sorted(found + [(a + least, b + most) for a, b in found])
        found = [both[0]]
        for a, b in both[1:]:
            if a <= found[-1][1]:
                found[-1] = (found[-1][0], max(b, found[-1][1]))
            else:
                found.append((a, b))
        if len(found) > _MOST_INTERVALS:
            found = [(found[0][0], found[-1][1])]
    return [(a, min(b, most_s)) for a, b in found if a <= most_s]


class _Unfairness(Target):
    upper = False

    def __init__(self, relaxation: Relaxation, sets: list[list[tuple[int, int]]]) -> None:
        self.asking = np.flatnonzero(relaxation.requested > 0)
        self.missions = len(self.asking)
        self.requested = np.where(relaxation.requested > 0, relaxation.requested, 1.0)
        self.mission = relaxation.mission
        self.bonus = np.zeros(len(self.mission))
        # Unsatisfied fractions [low, high], ascending; padded with the last, for all missions.
        width = max((len(sets[m]) for m in self.asking), default=1)
        self.low = np.zeros((self.missions, width))
        self.high = np.zeros((self.missions, width))
        for i, m in enumerate(self.asking):
            asked = relaxation.requested[m]
            those = [(1 - b / asked, 1 - a / asked) for a, b in reversed(sets[m])]
            those += [those[-1]] * (width - len(those))
            self.low[i], self.high[i] = np.array(those).T
        self.mean_s = float(relaxation.requested.sum() / max(self.missions, 1))
        self.scale = 1.0

    def worth(self, prices: Prices) -> tuple[np.ndarray, np.ndarray]:
        return (self.scale * prices.weight / self.requested)[self.mission], self.bonus

    def figure(self, weights: np.ndarray, least: float) -> float:
        """The bound, from sum weights x U >= least."""
        raise NotImplementedError

    def loss(self, total: float, prices: Prices) -> float:
        weights = prices.weight[self.asking]
        return -self.figure(weights, float(weights.sum()) - total / self.scale)

    def fractions(self, given: np.ndarray) -> np.ndarray:
        hours = np.bincount(self.mission, given, len(self.requested)) / self.requested
        return hours[self.asking]

    def proven(self, relaxation: Relaxation, prices: Prices) -> float:
        value = np.rint(self.scale * prices.weight / self.requested * UNIT).astype(np.int64)
        # Whole numbers up to here: worth_m x D_m, and the most that such hours make.
        whole = [int(value[m]) * int(relaxation.requested[m]) for m in self.asking]
        bonus = np.zeros(len(self.mission), np.int64)
        least = sum(whole) - relaxation.prove(prices, value[self.mission], bonus)
        unit = UNIT * self.scale
        return self.figure(np.array(whole, float) / unit, least / unit - _MARGIN)


class MeanUnfairness(_Unfairness):
    """Root mean square of the missions' unsatisfied fractions."""

    def __init__(self, relaxation: Relaxation, sets: list[list[tuple[int, int]]]) -> None:
        super().__init__(relaxation, sets)
        # Weights are about 2 U; this makes a second worth about 1, as it is with hours.
        self.scale = 2.5 * self.mean_s
        squares = float((self.low[:, 0] ** 2).sum()) / max(self.missions, 1)
        self.trivial = math.sqrt(max(0.0, squares - _MARGIN))

    def start(self, prices: Prices) -> None:
        prices.weight[self.asking] = 2 * np.maximum(self.low[:, 0], 0.1)

    def _nearest(self, weights: np.ndarray) -> np.ndarray:
        """The u of each A_m with the least u^2 - w u: the one nearest to w / 2."""
        middle = weights[:, None] / 2
        inside = np.clip(middle, self.low, self.high)
        best = np.abs(inside - middle).argmin(1)
        return inside[np.arange(self.missions), best]

    def figure(self, weights: np.ndarray, least: float) -> float:
        u = self._nearest(weights)
        squares = float((u * u - weights * u).sum()) + least
        return math.sqrt(max(0.0, squares / self.missions))

    def slope(self, given: np.ndarray, prices: Prices) -> np.ndarray:
        slope = np.zeros(len(self.requested))
        u = self._nearest(prices.weight[self.asking])
        slope[self.asking] = self.fractions(given) - 1 + u
        return slope


class GreatestUnfairness(_Unfairness):
    """Greatest of the missions' unsatisfied fractions; the weights add up to a half."""

    def __init__(self, relaxation: Relaxation, sets: list[list[tuple[int, int]]]) -> None:
        super().__init__(relaxation, sets)
        self.scale = 0.5 * max(self.missions, 1) * self.mean_s
        self.trivial = max(0.0, float(self.low[:, 0].max(initial=0.0)) - _MARGIN)
        self.reached = self.trivial

    def start(self, prices: Prices) -> None:
        # Half of it where a mission alone shows most.
        prices.weight[self.asking] = 0.25 / self.missions
        prices.weight[self.asking[self.low[:, 0].argmax()]] += 0.25

    def settle(self, prices: Prices) -> None:
        total = float(prices.weight.sum())
        if total > 0:
            prices.weight[:] *= 0.5 / total

    def _up_to(self, t: float) -> np.ndarray:
        """The largest u of each A_m that is not above t; the smallest of all if none is."""
        place = np.maximum((self.low <= t).sum(1) - 1, 0)
        rows = np.arange(self.missions)
        return np.clip(t, self.low[rows, place], self.high[rows, place])

    def figure(self, weights: np.ndarray, least: float) -> float:
        proven, open_ = 0.0, 1.0
        if float(weights @ self._up_to(0.0)) >= least:
            return 0.0
        for _ in range(24):
            t = (proven + open_) / 2
            if float(weights @ self._up_to(t)) < least:
                proven = t
            else:
                open_ = t
        self.reached = max(self.reached, proven)
        return proven

    def slope(self, given: np.ndarray, prices: Prices) -> np.ndarray:
        slope = np.zeros(len(self.requested))
        # At a little more than was reached: towards weights that refute that as well.
        slope[self.asking] = self.fractions(given) - 1 + self._up_to(self.reached + 1e-3)
        return slope
