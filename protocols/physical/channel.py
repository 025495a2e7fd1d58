"""What happens to I/Q samples on their way: Doppler, noise, a receiver's own faults.

Arrays in, arrays out; all randomness comes from the generator that is given.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

C64 = npt.NDArray[np.complex64]
F64 = npt.NDArray[np.float64]


def phase_turns(coefficients: Sequence[float], t: F64) -> F64:
    """Phase, in turns, of a frequency Σ cᵢ tⁱ Hz at the instants t, in seconds; 0 at t = 0."""
    phase = np.zeros_like(t)
    for i in range(len(coefficients) - 1, -1, -1):
        phase = (phase + coefficients[i] / (i + 1)) * t
    return phase


def rotate(samples: C64, first: int, sample_rate: float, coefficients: Sequence[float]) -> C64:
    """Samples, the first of them number `first`, shifted by a frequency Σ cᵢ tⁱ Hz."""
    t = (np.arange(len(samples)) + first) / sample_rate
    turns = phase_turns(coefficients, t)
    return (samples * np.exp(2j * np.pi * (turns - np.floor(turns)))).astype(np.complex64)


def noise_deviation(esn0_db: float, samples_per_symbol: float) -> float:
    """Standard deviation of each of I and Q beside a signal of mean power 1."""
    return float(np.sqrt(samples_per_symbol * 10 ** (-esn0_db / 10) / 2))


def noise(count: int, deviation: float, rng: np.random.Generator) -> C64:
    """White Gaussian noise, complex64 [count], of that deviation in each of I and Q."""
    values = rng.standard_normal(2 * count, np.float32)
    values *= np.float32(deviation)
    return values.view(np.complex64)


class PhaseNoise:
    """An oscillator's wandering phase, with white frequency noise: a slope of −20 dB a decade.

    dbc_hz_at_1khz: single-sideband density 1 kHz from the carrier, dBc/Hz.
    """

    def __init__(self, dbc_hz_at_1khz: float, sample_rate: float, rng: np.random.Generator) -> None:
        # A random walk of phase with variance s a second has a density of s / (4 π² f²).
        a_second = 4 * np.pi**2 * 1e6 * 10 ** (dbc_hz_at_1khz / 10)
        self._step = float(np.sqrt(a_second / sample_rate))
        self._rng = rng
        self._phase = 0.0

    def apply(self, samples: C64) -> C64:
        """The next samples of the stream."""
        steps = self._rng.standard_normal(len(samples)) * self._step
        phase = self._phase + np.cumsum(steps)
        if len(phase):
            self._phase = float(phase[-1] % (2 * np.pi))
        return (samples * np.exp(1j * phase)).astype(np.complex64)
