"""Random numbers by the block: a scalar draw from a NumPy generator costs ten of these."""

from __future__ import annotations

import math

import numpy as np

_BLOCK = 4096


class Noise:
    """Seeded normal and uniform deviates for one subsystem.

    Each subsystem has its own stream (`seed`, `name`), so that a draw more in one changes no
    other's figures.
    """

    def __init__(self, seed: int, name: str) -> None:
        self._generator = np.random.default_rng([seed, *name.encode()])
        self._normal: list[float] = []
        self._uniform: list[float] = []

    def normal(self, sigma: float = 1.0) -> float:
        if not self._normal:
            self._normal = self._generator.standard_normal(_BLOCK).tolist()
        return self._normal.pop() * sigma

    def uniform(self) -> float:
        """In [0, 1)."""
        if not self._uniform:
            self._uniform = self._generator.random(_BLOCK).tolist()
        return self._uniform.pop()

    def octets(self, count: int) -> bytes:
        return self._generator.bytes(count)

    def poisson(self, mean: float) -> int:
        """Counts; above 20 by the normal approximation, far closer than the counts scatter."""
        if mean > 20.0:
            return max(0, round(mean + self.normal(math.sqrt(mean))))
        # Knuth's product of uniforms.
        limit, product, count = math.exp(-mean), self.uniform(), 0
        while product > limit:
            product *= self.uniform()
            count += 1
        return count


class Drift:
    """Ornstein–Uhlenbeck process: noise with a memory of `time_constant_s`, stationary σ."""

    def __init__(self, noise: Noise, sigma: float, time_constant_s: float) -> None:
        self._noise = noise
        self._keep = math.exp(-1.0 / time_constant_s)
        self._kick = sigma * math.sqrt(1.0 - self._keep * self._keep)
        self.value = noise.normal(sigma)

    def step(self) -> float:
        """Advance one second."""
        self.value = self.value * self._keep + self._noise.normal(self._kick)
        return self.value
