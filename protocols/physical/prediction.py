"""What a receiver is told of its carrier's frequency: a polynomial, counted from some sample on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.physical.channel import phase_turns

C64 = npt.NDArray[np.complex64]
F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """Σ cᵢ tⁱ Hz, t in seconds since sample number `epoch`; none: 0 Hz.

    It holds on both sides of its epoch: another takes its place before it is wrong.
    """

    coefficients: tuple[float, ...]
    sample_rate: float
    epoch: int = 0

    @cached_property
    def turns_a_sample(self) -> F64:
        """Coefficients, float64, as the kernels take them."""
        return np.array(self.coefficients, np.float64) / self.sample_rate

    def turns(self, samples: npt.ArrayLike) -> F64:
        """Phase at samples of these numbers, 0 at the epoch."""
        t = (np.asarray(samples, np.float64) - self.epoch) / self.sample_rate
        return phase_turns(self.coefficients, t)

    def hz(self, sample: float) -> float:
        t = (sample - self.epoch) / self.sample_rate
        return float(sum(c * t**i for i, c in enumerate(self.coefficients)))

    def hz_s(self, sample: float) -> float:
        """Its growth."""
        t = (sample - self.epoch) / self.sample_rate
        return float(sum(i * c * t ** (i - 1) for i, c in enumerate(self.coefficients) if i))

    def taken_off(self, samples: C64, first: int) -> C64:
        """Samples, the first of them number `first`, turned back by what is predicted."""
        if not self.coefficients:
            return samples
        turns = self.turns(np.arange(len(samples)) + first)
        return (samples * np.exp(-2j * np.pi * (turns - np.floor(turns)))).astype(np.complex64)

    def snapshot(self) -> dict[str, Any]:
        return {"coefficients": list(self.coefficients), "epoch": self.epoch}

    def restored(self, state: dict[str, Any]) -> Prediction:
        """That of a snapshot, at this sample rate."""
        return Prediction(tuple(state["coefficients"]), self.sample_rate, state["epoch"])
