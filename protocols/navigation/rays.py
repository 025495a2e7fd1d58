"""Signals between two moving ends, and how near to the Sun or a body they pass.

A ray leaves its emitter at one instant and meets its receiver at a later one; each end sees the Sun
where the Sun's light comes from then.  Everything is an array over many signals at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from protocols.navigation.geometry import (
    F64,
    SPEED_OF_LIGHT_KM_S,
    angle_at_rad,
    distance_km,
)
from protocols.navigation.light_time import (
    Trajectory,
    light_time_after_emission_s,
    light_time_before_reception_s,
    light_time_rate,
)

#: Mean radii, km: Sun's nominal (IAU 2015 resolution B3), planets and Moon (IAU WGCCRE 2015).
RADII_KM: Final = {
    "sun": 695_700.0, "mercury": 2_439.4, "venus": 6_051.8, "earth": 6_371.0084,
    "moon": 1_737.4, "mars": 3_389.50,
}  # fmt: skip
#: Last change of the iterated light time; the error left is under a millimetre.
_LIGHT_TIME_S: Final = 1e-8


@dataclass(frozen=True, eq=False)
class Rays:
    """emission_s, reception_s float64 [n]; emitter_km, receiver_km float64 [n, 3], at these."""

    emission_s: F64
    reception_s: F64
    emitter_km: F64
    receiver_km: F64

    @property
    def light_time_s(self) -> F64:
        return self.reception_s - self.emission_s

    def angle_rad(self, end: Literal["emitter", "receiver"], body: Trajectory) -> F64:
        """Angle at an end between the other one and where the body is seen, [n].

        Of a downlink, with the Sun: the Sun-Earth-probe angle at the receiver, the
        Sun-probe-Earth angle at the emitter.
        """
        if end == "receiver":
            here_km, there_km, t_s = self.receiver_km, self.emitter_km, self.reception_s
        else:
            here_km, there_km, t_s = self.emitter_km, self.receiver_km, self.emission_s
        # One step of the light-time equation: the body's own speed over c is the error of it.
        seen_s = t_s - distance_km(here_km, body(t_s)) / SPEED_OF_LIGHT_KM_S
        return angle_at_rad(here_km, body(seen_s), there_km)

    def miss_km(self, body: Trajectory) -> F64:
        """Least distance of the ray from a body's centre, taken where it is as the ray passes."""
        line = self.receiver_km - self.emitter_km
        square = np.einsum("ni,ni->n", line, line)
        place = body(self.emission_s + 0.5 * self.light_time_s)
        # The body's motion over the light time moves the foot by v/c of the way: two rounds do.
        for _ in range(2):
            share = self._foot(place, line, square)
            place = body(self.emission_s + share * self.light_time_s)
        share = self._foot(place, line, square)
        return distance_km(self.emitter_km + share[:, np.newaxis] * line, place)

    def _foot(self, place_km: F64, line_km: F64, square: F64) -> F64:
        """Share of the way at which the ray is nearest to a place."""
        along = np.einsum("ni,ni->n", place_km - self.emitter_km, line_km) / square
        return np.clip(along, 0.0, 1.0)

    def light_time_rate(self, emitter_km_s: F64, receiver_km_s: F64) -> F64:
        """Seconds of light time gained per second of emission, [n]: `light_time_rate`."""
        return light_time_rate(self.emitter_km, emitter_km_s, self.receiver_km, receiver_km_s)


def doppler_factor(rate: F64) -> F64:
    """Received over sent frequency, for a `light_time_rate`; without relativity (1e-8 of it).

    >>> doppler_factor(np.array([1e-4])).round(8)
    array([0.99990001])
    """
    return 1.0 / (1.0 + rate)


def rays_received(emitter: Trajectory, receiver: Trajectory, reception_s: F64) -> Rays:
    """Those that arrive at these instants, float64 [n]."""
    tau = light_time_before_reception_s(emitter, receiver, reception_s, tolerance_s=_LIGHT_TIME_S)
    sent_s = reception_s - tau
    return Rays(sent_s, reception_s, emitter(sent_s), receiver(reception_s))


def rays_sent(emitter: Trajectory, receiver: Trajectory, emission_s: F64) -> Rays:
    """Those that leave at these instants, float64 [n]."""
    tau = light_time_after_emission_s(emitter, receiver, emission_s, tolerance_s=_LIGHT_TIME_S)
    met_s = emission_s + tau
    return Rays(emission_s, met_s, emitter(emission_s), receiver(met_s))
