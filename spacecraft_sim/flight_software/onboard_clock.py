"""On-board clock: an oscillator's counter that drifts, and that can be set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from protocols.errors import LocalError

#: What moves the oven's temperature: loads, the day's passes, the Sun's rotation.  Seconds, and
#: which part of the wander.
_RHYTHMS: Final = ((31_000.0, 0.5), (93_000.0, 0.3), (2_300_000.0, 0.2))
_DAY_S: Final = 86_400.0


@cache
def _phases(seed: int) -> tuple[float, ...]:
    return tuple(np.random.default_rng([seed, *b"clock"]).random(len(_RHYTHMS)).tolist())


@dataclass(frozen=True, slots=True)
class Wander:
    """How a crystal's drift changes: by age, ppb a day, and by temperature, up to ppb either way,
    with phases drawn from `seed`.

    The time that it makes is a closed expression, so a reading does not depend on those before.
    """

    ageing_ppb_day: float = 0.0
    temperature_ppb: float = 0.0
    seed: int = 0

    def ns(self, elapsed_ns: int) -> int:
        """By how much the clock is ahead after so long, beside its steady drift.

        >>> Wander(ageing_ppb_day=0.5).ns(86_400 * 10**9)
        21600
        """
        t_s = elapsed_ns / 1e9
        ahead = 0.5 * self.ageing_ppb_day / _DAY_S * t_s**2
        if self.temperature_ppb:
            for (period_s, part), phase in zip(_RHYTHMS, _phases(self.seed), strict=True):
                turn = 2 * math.pi / period_s
                start = 2 * math.pi * phase
                swing = self.temperature_ppb * part / turn
                ahead += swing * (math.cos(start) - math.cos(start + turn * t_s))
        return round(ahead)


class OnBoardClock:
    """Reads TAI, plus an offset, plus a drift that grows from `start_ns` on.

    drift_ppm: how much too fast the oscillator is; offset_ns: at the start; wander: how that
    changes.
    """

    def __init__(
        self,
        start_ns: int,
        drift_ppm: float = 0.0,
        offset_ns: int = 0,
        wander: Wander | None = None,
    ) -> None:
        if not -1000.0 <= drift_ppm <= 1000.0:
            raise LocalError(f"clock drift {drift_ppm} ppm; -1000..1000 allowed")
        self._start_ns = start_ns
        # In thousandths of a ppb: integers, so that no reading depends on a rounding before it.
        self._drift = round(drift_ppm * 1_000_000)
        self._offset_ns = offset_ns
        self._wander = wander

    def read(self, t_ns: int) -> int:
        """The clock at TAI `t_ns`.

        >>> OnBoardClock(0, drift_ppm=0.5).read(10**15) - 10**15
        500000000
        """
        elapsed_ns = t_ns - self._start_ns
        steady_ns = t_ns + self._offset_ns + elapsed_ns * self._drift // 10**12
        return steady_ns if self._wander is None else steady_ns + self._wander.ns(elapsed_ns)

    def adjust(self, by_ns: int) -> None:
        """Set it forward (or back) by so much."""
        self._offset_ns += by_ns
