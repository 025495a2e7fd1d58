"""Clouds over an optical ground station: clear and cloudy spells that take turns; seeded.

A Markov process of two states: spells of either kind last exponentially long, on average so that
clouds take their fraction of the time, and that the sky is forgotten with the correlation time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

I64 = npt.NDArray[np.int64]
_S = 10**9


class Clouds:
    """fraction: of the time, 0 to 1; correlation_s: the autocorrelation is e^(−t/correlation_s).
    name and seed determine the sky from `start_ns` on, whenever it is asked about."""

    def __init__(
        self, name: str, fraction: float, correlation_s: float, *, seed: int, start_ns: int
    ) -> None:
        if not 0 <= fraction <= 1 or correlation_s <= 0:
            raise LocalError(
                f"clouds over {name}: fraction {fraction}, correlation time {correlation_s} s; "
                "0 to 1, and above 0, wanted"
            )
        self._random = np.random.default_rng([seed, *b"clouds", *name.encode()])
        self._cloudy_first = bool(self._random.random() < fraction)
        #: Mean lengths: the two rates add up to 1 / correlation time.
        self._mean_s = {
            True: correlation_s / (1 - fraction) if fraction < 1 else np.inf,
            False: correlation_s / fraction if fraction > 0 else np.inf,
        }
        #: When spells begin; every other one is of the first one's kind.
        self._begins = [start_ns]

    def _reach(self, t_ns: int) -> None:
        while self._begins[-1] <= t_ns:
            cloudy = self._cloudy_first ^ (len(self._begins) % 2 == 0)
            # Always drawn, so that a fraction of 0 or 1 is no other case.
            length_s = self._random.standard_exponential() * self._mean_s[cloudy]
            self._begins.append(self._begins[-1] + max(1, int(min(length_s, 1e9) * _S)))

    def clear(self, t_ns: I64) -> npt.NDArray[np.bool_]:
        """At these instants, int64 [n]; before the start as at the start."""
        if not len(t_ns):
            return np.zeros(0, np.bool_)
        self._reach(int(t_ns.max()))
        spell = np.searchsorted(np.array(self._begins, np.int64), t_ns, side="right") - 1
        cloudy = (np.maximum(spell, 0) % 2 == 1) ^ self._cloudy_first
        return ~cloudy

    def spells(self, until_ns: int) -> list[tuple[int, int]]:
        """Cloudy spells that begin before `until_ns`, as [begin, end)."""
        self._reach(until_ns)
        first = 0 if self._cloudy_first else 1
        return [
            (self._begins[i], self._begins[i + 1])
            for i in range(first, len(self._begins) - 1, 2)
            if self._begins[i] < until_ns
        ]
