"""Where Mars and L4 are without an ephemeris: mean elements, good to a fifth of a light-second.

E. M. Standish, "Keplerian elements for approximate positions of the major planets" (JPL), table 1,
for 1800 to 2050: within 25,000 km and 40″ for Mars, 6,000 km and 20″ for the Earth–Moon barycentre.
For a simulated spacecraft's own view of the sky; the ground computes with JPL's DE.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from protocols.navigation.geometry import (
    ASTRONOMICAL_UNIT_KM,
    J2000_TAI_NS,
    SPEED_OF_LIGHT_KM_S,
    TRIANGULAR_POINT_ANGLE_RAD,
)

_CENTURY_NS: Final = 36_525 * 86_400 * 10**9

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class MeanElements:
    """At J2000 and change a Julian century: au, degrees; ecliptic and equinox of J2000."""

    axis_au: tuple[float, float]
    eccentricity: tuple[float, float]
    inclination_deg: tuple[float, float]
    longitude_deg: tuple[float, float]
    perihelion_deg: tuple[float, float]
    node_deg: tuple[float, float]

    def position_au(self, t_tai_ns: int, ahead_rad: float = 0.0) -> Vector:
        """Heliocentric, ecliptic of J2000; turned by `ahead_rad` along the orbit's plane."""
        t = (t_tai_ns - J2000_TAI_NS) / _CENTURY_NS

        def at(element: tuple[float, float]) -> float:
            return element[0] + element[1] * t

        axis, e = at(self.axis_au), at(self.eccentricity)
        tilt, node = math.radians(at(self.inclination_deg)), math.radians(at(self.node_deg))
        perihelion = math.radians(at(self.perihelion_deg))
        mean = math.radians(at(self.longitude_deg)) - perihelion
        # Newton's iteration of Kepler's equation: quadratic, and e is below 0.1.
        anomaly = mean + e * math.sin(mean)
        for _ in range(4):
            anomaly -= (anomaly - e * math.sin(anomaly) - mean) / (1 - e * math.cos(anomaly))
        x = axis * (math.cos(anomaly) - e)
        y = axis * math.sqrt(1 - e * e) * math.sin(anomaly)
        radius = math.hypot(x, y)
        from_node = math.atan2(y, x) + perihelion - node + ahead_rad
        u, v = radius * math.cos(from_node), radius * math.sin(from_node)
        return (
            u * math.cos(node) - v * math.cos(tilt) * math.sin(node),
            u * math.sin(node) + v * math.cos(tilt) * math.cos(node),
            v * math.sin(tilt),
        )


MARS: Final = MeanElements(
    (1.52371034, 0.00001847),
    (0.09339410, 0.00007882),
    (1.84969142, -0.00813131),
    (-4.55343205, 19140.30268499),
    (-23.94362959, 0.44441088),
    (49.55953891, -0.29257343),
)
EARTH_MOON: Final = MeanElements(
    (1.00000261, 0.00000562),
    (0.01671123, -0.00004392),
    (-0.00001531, -0.01294668),
    (100.46457166, 35999.37244981),
    (102.93768193, 0.32327364),
    (0.0, 0.0),
)


def l4_position_au(t_tai_ns: int) -> Vector:
    """The relay, 60° ahead of the Earth–Moon barycentre."""
    return EARTH_MOON.position_au(t_tai_ns, TRIANGULAR_POINT_ANGLE_RAD)


@lru_cache(maxsize=16)
def mars_l4_light_time_ns(t_tai_ns: int) -> int:
    """One way, for what is received at this instant: the sender's motion meanwhile (14,000 km,
    0.05 s) is left out, being within what the elements are good to."""
    distance_km = ASTRONOMICAL_UNIT_KM * math.dist(
        MARS.position_au(t_tai_ns), l4_position_au(t_tai_ns)
    )
    return round(distance_km / SPEED_OF_LIGHT_KM_S * 1e9)


def sun_earth_mars_angle_rad(t_tai_ns: int) -> float:
    """How far Mars stands from the Sun as the Earth sees it."""
    earth, mars = EARTH_MOON.position_au(t_tai_ns), MARS.position_au(t_tai_ns)
    to_sun = tuple(-x for x in earth)
    to_mars = tuple(m - e for m, e in zip(mars, earth, strict=True))
    product = sum(a * b for a, b in zip(to_sun, to_mars, strict=True))
    return math.acos(product / (math.hypot(*to_sun) * math.hypot(*to_mars)))
