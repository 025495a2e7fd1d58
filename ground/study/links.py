"""When a link between two trajectories is open: clear of the Sun, and of bodies in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM, F64
from protocols.navigation.interpolation import I64, UniformTable
from protocols.navigation.rays import RADII_KM, Rays, rays_received, rays_sent


@dataclass(frozen=True, eq=False)
class Aspects:
    """What limits are compared with, float64 [n] each, degrees.

    emitter_deg, receiver_deg  angle at that end between the other one and the Sun
    clear_deg   how far the ray passes the nearest body's edge, as an angle from 1 au away
    """

    emitter_deg: F64
    receiver_deg: F64
    clear_deg: F64


@dataclass(frozen=True, eq=False)
class LinkPath:
    """One direction of a link.

    emitter_limit_deg, receiver_limit_deg  least angle at that end between the other one and the Sun
    blockers   bodies that may stand in the way besides the Sun, by name (of `RADII_KM`)
    """

    emitter: UniformTable
    receiver: UniformTable
    sun: UniformTable
    emitter_limit_deg: float = 0.0
    receiver_limit_deg: float = 0.0
    blockers: Mapping[str, UniformTable] = field(default_factory=dict)

    def sent(self, emission_s: F64) -> Rays:
        return rays_sent(self.emitter, self.receiver, emission_s)

    def received(self, reception_s: F64) -> Rays:
        return rays_received(self.emitter, self.receiver, reception_s)

    def aspects(self, rays: Rays) -> Aspects:
        clear = [
            np.degrees((rays.miss_km(place) - RADII_KM[name]) / ASTRONOMICAL_UNIT_KM)
            for name, place in {"sun": self.sun, **self.blockers}.items()
        ]
        return Aspects(
            np.degrees(rays.angle_rad("emitter", self.sun)),
            np.degrees(rays.angle_rad("receiver", self.sun)),
            np.min(clear, axis=0),
        )

    def margin_deg(self, aspects: Aspects) -> F64:
        """By how much the tightest condition is met, [n]; continuous, negative while closed."""
        margin = np.minimum(
            aspects.emitter_deg - self.emitter_limit_deg,
            aspects.receiver_deg - self.receiver_limit_deg,
        )
        return np.minimum(margin, aspects.clear_deg)

    def margin_sent(self, series: I64, emission_s: F64) -> F64:
        """As `protocols.navigation.crossings` asks for it."""
        return self.margin_deg(self.aspects(self.sent(emission_s)))
