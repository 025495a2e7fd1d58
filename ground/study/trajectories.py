"""Bodies and spacecraft over a span as tables that many links read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ground.scheduling.sky import NODE_S, Sky
from ground.scheduling.targets import BarycentricTarget, Target, target_named
from protocols.errors import LocalError
from protocols.navigation.geometry import F64, J2000_TAI_NS
from protocols.navigation.interpolation import UniformTable

#: GM of Mars, km³/s² (DE421), and its pole at J2000.0 (IAU WGCCRE 2009).
_MARS_GM: Final = 42_828.375
_MARS_POLE_RAD: Final = (np.radians(317.68143), np.radians(52.88650))


@dataclass(frozen=True)
class Earth(BarycentricTarget):
    """The Earth's centre."""

    name: str = "earth"

    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        return sky.earth_km(t_s)


@dataclass(frozen=True)
class MarsOrbiter(BarycentricTarget):
    """On a circular orbit about Mars, by its radius and its plane in Mars' equator of J2000.0.

    phase_deg: from the ascending node, at J2000.0.  A plan's stand-in for an orbiter of which no
    OEM is at hand: the plane does not turn, which holds for a few weeks.
    """

    name: str = "mars-orbiter"
    radius_km: float = 20_428.0
    inclination_deg: float = 0.0
    node_deg: float = 0.0
    phase_deg: float = 0.0

    def __post_init__(self) -> None:
        if not 3_400.0 < self.radius_km < 577_000.0:
            raise LocalError(
                f"{self.name}: radius {self.radius_km} km: above the ground (3,400 km) and inside "
                "Mars' sphere of influence (577,000 km) wanted"
            )

    @property
    def motion_rad_s(self) -> float:
        return float(np.sqrt(_MARS_GM / self.radius_km**3))

    @property
    def step_s(self) -> float:
        return float(min(super().step_s, 2 * np.pi / self.motion_rad_s / 60))

    @property
    def node_s(self) -> float:
        return self.step_s

    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        alpha, delta = _MARS_POLE_RAD
        # Mars' equator: x to its ascending node on the ICRF equator, z to the pole.
        x = np.array([-np.sin(alpha), np.cos(alpha), 0.0])
        z = np.array([np.cos(delta) * np.cos(alpha), np.cos(delta) * np.sin(alpha), np.sin(delta)])
        y = np.cross(z, x)
        node, tilt = np.radians(self.node_deg), np.radians(self.inclination_deg)
        p = np.cos(node) * x + np.sin(node) * y
        q = np.cos(tilt) * (np.cos(node) * y - np.sin(node) * x) + np.sin(tilt) * z
        # Whole turns are taken off in exact arithmetic: 1e9 s times the motion is not small.
        phase = np.radians(self.phase_deg) + self.motion_rad_s * (
            (sky.start_ns - J2000_TAI_NS) / 1e9 + t_s
        )
        around = np.cos(phase)[:, np.newaxis] * p + np.sin(phase)[:, np.newaxis] * q
        return sky.body_km("mars", t_s) + self.radius_km * around


def place_named(text: str) -> Target:
    """`earth`, its centre, or what `target_named` knows."""
    return Earth() if text.strip().lower() == "earth" else target_named(text)


def table(sky: Sky, target: Target) -> UniformTable:
    """Barycentric places of all of the sky's span, and a little beyond, km.

    Raises LocalError for a target without a barycentric place, and outside of its span.
    """
    if not isinstance(target, BarycentricTarget):
        raise LocalError(f"{target.name}: a body, a libration point or an OEM wanted, no TLE")
    target.check_span(sky)
    step_s = min(target.node_s, NODE_S)
    nodes_s = sky.nodes_s(step_s)
    return UniformTable(float(nodes_s[0]), step_s, target.barycentric_km(sky, nodes_s))
