"""Where the relay is and what it sees: pure functions over Cartesian states.

Vectors are float64 [..., 3] in one common inertial frame, kilometres and kilometres per second;
who calls brings the ephemeris, so that nothing here opens a file.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

#: Exact by definition of the metre.
SPEED_OF_LIGHT_KM_S: Final = 299_792.458
#: Exact: IAU 2012 resolution B2.
ASTRONOMICAL_UNIT_KM: Final = 149_597_870.7
#: L4 leads the planet by this angle, L5 trails it by as much.
TRIANGULAR_POINT_ANGLE_RAD: Final = math.pi / 3


def _dot(a: F64, b: F64) -> F64:
    return np.einsum("...i,...i->...", a, b)


def _norm(a: F64) -> F64:
    return np.sqrt(_dot(a, a))


def rotate_about(axis: F64, vector: F64, angle_rad: float) -> F64:
    """Rotate `vector` right-handedly about `axis` (any length but zero); Rodrigues' formula."""
    unit = axis / _norm(axis)[..., np.newaxis]
    along = _dot(unit, vector)[..., np.newaxis] * unit
    return (
        along
        + (vector - along) * math.cos(angle_rad)
        + np.cross(unit, vector) * math.sin(angle_rad)
    )


def triangular_point(
    position_km: F64, velocity_km_s: F64, angle_rad: float = TRIANGULAR_POINT_ANGLE_RAD
) -> tuple[F64, F64]:
    """State of L4 (angle +60°) or L5 (−60°) from the secondary's state, both about the primary.

    The whole state is turned about the orbit normal, so the point has the secondary's distance
    and speed at every instant: the elliptic L4, which breathes with the orbit's eccentricity.

    >>> p, v = triangular_point(np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
    >>> p.round(3), v.round(3)
    (array([0.5  , 0.866, 0.   ]), array([-0.866,  0.5  ,  0.   ]))
    """
    normal = np.cross(position_km, velocity_km_s)
    return (
        rotate_about(normal, position_km, angle_rad),
        rotate_about(normal, velocity_km_s, angle_rad),
    )


def distance_km(a_km: F64, b_km: F64) -> F64:
    """Distance between two positions, float64 [...]."""
    return _norm(b_km - a_km)


def range_rate_km_s(observer_km: F64, observer_km_s: F64, target_km: F64, target_km_s: F64) -> F64:
    """Rate of change of the distance between both, positive while it grows; float64 [...]."""
    line = target_km - observer_km
    return _dot(line, target_km_s - observer_km_s) / _norm(line)


def angle_at_rad(vertex_km: F64, a_km: F64, b_km: F64) -> F64:
    """Angle a–vertex–b in radians, 0..π; by atan2, exact also near 0 and π where acos is not.

    Sun–Earth–probe angle: `angle_at_rad(earth, sun, probe)`; Sun–probe–Earth angle:
    `angle_at_rad(probe, sun, earth)`.
    """
    a, b = a_km - vertex_km, b_km - vertex_km
    return np.arctan2(_norm(np.cross(a, b)), _dot(a, b))


#: J2000.0 (TT) in TAI nanoseconds since 1958-01-01: 15340.5 days less TT − TAI = 32.184 s.
J2000_TAI_NS: Final = (15_340 * 86_400 + 43_200) * 10**9 - 32_184_000_000


def earth_sun_distance_au(t_tai_ns: int) -> float:
    """Earth–Sun distance, which is also L4's; within 1e-4 au in 1950–2050.

    The Astronomical Almanac's low-precision formula: good enough for what a solar array
    gathers, and it needs no ephemeris.

    >>> round(earth_sun_distance_au(0), 4)  # 1958-01-01, two days before perihelion
    0.9833
    """
    days = (t_tai_ns - J2000_TAI_NS) / 86_400e9
    anomaly = math.radians(357.528 + 0.985_600_3 * days)
    return 1.000_14 - 0.016_71 * math.cos(anomaly) - 0.000_14 * math.cos(2 * anomaly)
