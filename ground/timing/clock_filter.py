"""Offset and drift of an oscillator, estimated from readings: a Kalman filter of two states.

The clock's drift wanders with temperature and age; it is modelled as a random walk (random-walk
frequency noise), which a sinusoid never outruns if the walk is as fast as `Oscillator` says.  So
the error that the filter states holds through gaps too, where it grows with the power of 3/2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocols.errors import LocalError

_NS: int = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Oscillator:
    """What its maker promises.

    drift_ppb: greatest drift from nominal, ns/s; wander_ppb: how far temperature and age take the
    drift from its mean, within about wander_s seconds.
    """

    drift_ppb: float = 100_000.0
    wander_ppb: float = 3.0
    wander_s: float = 20_000.0

    def __post_init__(self) -> None:
        for name in ("drift_ppb", "wander_ppb", "wander_s"):
            if not getattr(self, name) > 0:
                raise LocalError(f"oscillator: {name} {getattr(self, name)}; above 0 wanted")

    @property
    def walk(self) -> float:
        """Variance that the drift gains a second, ns²/s³: such that over wander_s three standard
        deviations, 3·√(q·T³/3), are what a drift off by twice wander_ppb makes, 2·A·T."""
        return 4.0 / 3.0 * self.wander_ppb**2 / self.wander_s


@dataclass(frozen=True, slots=True)
class ClockState:
    """The clock at TAI `tai_ns`: offset (on-board − TAI) in ns, drift in ns/s, covariance."""

    tai_ns: int
    offset_ns: float
    drift_ppb: float
    var_offset: float
    covariance: float
    var_drift: float

    @staticmethod
    def first(tai_ns: int, offset_ns: float, noise_ns: float, drift_ppb: float) -> ClockState:
        """From one reading; drift_ppb: how much it may be."""
        return ClockState(tai_ns, offset_ns, 0.0, noise_ns**2, 0.0, drift_ppb**2)

    def at(self, tai_ns: int, walk: float) -> ClockState:
        """Predicted, or (before `tai_ns`) extrapolated back, with the error that this costs."""
        dt = (tai_ns - self.tai_ns) / _NS
        far = abs(dt)
        return ClockState(
            tai_ns,
            self.offset_ns + self.drift_ppb * dt,
            self.drift_ppb,
            self.var_offset + 2 * self.covariance * dt + self.var_drift * dt**2 + walk * far**3 / 3,
            self.covariance + self.var_drift * dt + walk * dt * far / 2,
            self.var_drift + walk * far,
        )

    def updated(self, offset_ns: float, noise_ns: float) -> ClockState:
        """With a reading of the same instant."""
        total = self.var_offset + noise_ns**2
        gain, gain_drift = self.var_offset / total, self.covariance / total
        residual = offset_ns - self.offset_ns
        return ClockState(
            self.tai_ns,
            self.offset_ns + gain * residual,
            self.drift_ppb + gain_drift * residual,
            # Not P − K·S·Kᵀ: what is left must not come out negative.
            max((1 - gain) * self.var_offset, 1e-6),
            (1 - gain) * self.covariance,
            max(self.var_drift - gain_drift * self.covariance, 1e-12),
        )

    @property
    def sigma_ns(self) -> float:
        return math.sqrt(self.var_offset)


def between(a: ClockState, b: ClockState, tai_ns: int, walk: float) -> tuple[float, float]:
    """Offset at an instant between two states of one segment, with its standard deviation: the
    cubic through both, and a walk that is pinned at both ends."""
    span = (b.tai_ns - a.tai_ns) / _NS
    x = (tai_ns - a.tai_ns) / (b.tai_ns - a.tai_ns)
    rise = b.offset_ns - a.offset_ns
    # In differences from the line, to keep digits.
    bend_a, bend_b = a.drift_ppb * span - rise, rise - b.drift_ppb * span
    offset = a.offset_ns + rise * x + x * (1 - x) * ((1 - x) * bend_a + x * bend_b)
    drift = max(a.var_drift, b.var_drift) * span**2 * (x * (1 - x)) ** 2
    bridge = walk * span**3 * (x * (1 - x)) ** 3 / 3
    return offset, math.sqrt(max(a.var_offset, b.var_offset) + drift + bridge)
