"""When a link between two trajectories is open: clear of the Sun, and of bodies in its way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM, F64
from protocols.navigation.interpolation import I64, UniformTable
from protocols.navigation.rays import RADII_KM, Rays, rays_received, rays_sent


@dataclass(frozen=True, eq=False)
class LinkPath:
    """One direction of a link.

    emitter_limit_deg, receiver_limit_deg  least angle at that end between the other one and the Sun
    blockers   bodies that may stand in the way, by name (of `RADII_KM`)
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

    def margin_deg(self, rays: Rays) -> F64:
        """By how much the tightest condition is met, [n]; continuous, negative while closed."""
        margin = np.minimum(
            np.degrees(rays.angle_rad("emitter", self.sun)) - self.emitter_limit_deg,
            np.degrees(rays.angle_rad("receiver", self.sun)) - self.receiver_limit_deg,
        )
        for name, place in {"sun": self.sun, **self.blockers}.items():
            # As an angle from one astronomical unit away; only its sign has a meaning.
            clear = np.degrees((rays.miss_km(place) - RADII_KM[name]) / ASTRONOMICAL_UNIT_KM)
            np.minimum(margin, clear, out=margin)
        return margin

    def margin_sent(self, series: I64, emission_s: F64) -> F64:
        """As `protocols.navigation.crossings` asks for it."""
        return self.margin_deg(self.sent(emission_s))
