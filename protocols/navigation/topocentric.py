"""What an antenna on the Earth's surface sees: geodetic places, azimuth and elevation, refraction.

Earth-fixed vectors are float64 [..., 3] in ITRF, kilometres.  Angles that people read are degrees.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64

#: WGS 84 (NIMA TR8350.2 §3.2): equatorial radius, flattening.  ITRF's own ellipsoid, GRS80,
#: differs from it by 0.1 mm at the pole.
WGS84_RADIUS_KM: Final = 6378.137
WGS84_FLATTENING: Final = 1 / 298.257_223_563
_E2: Final = WGS84_FLATTENING * (2 - WGS84_FLATTENING)

#: Nominal rotation rate of the Earth, rad/s (IERS Conventions 2010, table 1.2).
EARTH_RATE_RAD_S: Final = 7.292_115e-5


def itrf_from_geodetic_km(latitude_deg: float, longitude_deg: float, height_m: float) -> F64:
    """Earth-fixed position of a place on WGS 84, float64 [3], km; longitude positive to the east.

    >>> itrf_from_geodetic_km(0.0, 90.0, 1000.0).round(6)
    array([   0.   , 6379.137,    0.   ])

    Raises LocalError for a latitude beyond ±90° or a longitude beyond ±360°.
    """
    if not -90 <= latitude_deg <= 90:
        raise LocalError(f"latitude {latitude_deg}°: −90 to 90 wanted")
    if not -360 <= longitude_deg <= 360:
        raise LocalError(f"longitude {longitude_deg}°: −360 to 360 wanted, east positive")
    phi, lam, h = math.radians(latitude_deg), math.radians(longitude_deg), height_m / 1e3
    n = WGS84_RADIUS_KM / math.sqrt(1 - _E2 * math.sin(phi) ** 2)
    return np.array(
        [
            (n + h) * math.cos(phi) * math.cos(lam),
            (n + h) * math.cos(phi) * math.sin(lam),
            (n * (1 - _E2) + h) * math.sin(phi),
        ]
    )


def geodetic_from_itrf_km(position_km: F64) -> tuple[float, float, float]:
    """(latitude_deg, longitude_deg, height_m) on WGS 84 of an Earth-fixed position [3].

    Bowring's formula, iterated: better than a micrometre from the deep sea to the Moon.

    >>> [round(x, 6) for x in geodetic_from_itrf_km(itrf_from_geodetic_km(-35.4, 148.98, 690.0))]
    [-35.4, 148.98, 690.0]
    """
    x, y, z = (float(c) for c in position_km)
    rho = math.hypot(x, y)
    # Parametric latitude; the first guess is exact on the ellipsoid.
    beta = math.atan2(z, (1 - WGS84_FLATTENING) * rho)
    polar_km = WGS84_RADIUS_KM * (1 - WGS84_FLATTENING)
    phi = 0.0
    for _ in range(4):
        phi = math.atan2(
            z + _E2 / (1 - _E2) * polar_km * math.sin(beta) ** 3,
            rho - _E2 * WGS84_RADIUS_KM * math.cos(beta) ** 3,
        )
        beta = math.atan2((1 - WGS84_FLATTENING) * math.sin(phi), math.cos(phi))
    n = WGS84_RADIUS_KM / math.sqrt(1 - _E2 * math.sin(phi) ** 2)
    height_km = rho * math.cos(phi) + z * math.sin(phi) - n * (1 - _E2 * math.sin(phi) ** 2)
    return math.degrees(phi), math.degrees(math.atan2(y, x)), height_km * 1e3


def east_north_up(latitude_deg: float, longitude_deg: float) -> F64:
    """Rows are the unit vectors east, north and up (normal to the ellipsoid); float64 [3, 3]."""
    phi, lam = math.radians(latitude_deg), math.radians(longitude_deg)
    return np.array(
        [
            [-math.sin(lam), math.cos(lam), 0.0],
            [-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)],
            [math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)],
        ]
    )


def azimuth_elevation_deg(enu: F64) -> tuple[F64, F64]:
    """Azimuth 0..360 from north through east, and elevation −90..90, of vectors [..., 3].

    >>> azimuth_elevation_deg(np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]))
    (array([  0., 270.]), array([ 0., 45.]))
    """
    east, north, up = enu[..., 0], enu[..., 1], enu[..., 2]
    azimuth = np.degrees(np.arctan2(east, north)) % 360.0
    return azimuth, np.degrees(np.arctan2(up, np.hypot(east, north)))


def radio_refractivity(pressure_hpa: float, temperature_c: float, humidity: float) -> float:
    """N = (n − 1)·10⁶ of radio waves at the ground; humidity 0..1 (ITU-R P.453-14 §1).

    >>> round(radio_refractivity(1013.25, 15.0, 0.5))
    311
    """
    t, kelvin = temperature_c, temperature_c + 273.15
    # ITU-R P.453-14 eq. (9), water: saturation vapour pressure in hPa.
    enhancement = 1 + 1e-4 * (7.2 + pressure_hpa * (0.0320 + 5.9e-6 * t * t))
    saturation = enhancement * 6.1121 * math.exp((18.678 - t / 234.5) * t / (t + 257.14))
    vapour = humidity * saturation
    dry = 77.6 * (pressure_hpa - vapour) / kelvin
    return dry + 72 * vapour / kelvin + 3.75e5 * vapour / kelvin**2


def optical_refractivity(pressure_hpa: float, temperature_c: float) -> float:
    """N of near-infrared light, as used by optical links; water vapour hardly counts.

    77.6·P/T is the dispersion-free part (Smith and Weintraub); at 1.55 µm the air's dispersion
    adds less than half a percent, 0.0005° at 5° elevation.
    """
    return 77.6 * pressure_hpa / (temperature_c + 273.15)


#: N at which Sæmundsson's formula below was fitted: 1010 hPa, 10 °C, yellow light.
_FITTED_N: Final = 281.0


def refraction_deg(elevation_deg: F64, refractivity: float | F64) -> F64:
    """How much higher than `elevation_deg` (geometric, airless) a source appears; float64 [...].

    Sæmundsson 1986 (Meeus, Astronomical Algorithms eq. 16.4), scaled by the refractivity N at the
    ground: within 0.003° above 5°.  Below −1° elevation the value there is kept: nothing tracks it.
    """
    h = np.maximum(elevation_deg, -1.0)
    return 1.02 / 60 / np.tan(np.radians(h + 10.3 / (h + 5.11))) * (refractivity / _FITTED_N)


def geometric_elevation_deg(apparent_deg: F64, refractivity: float | F64) -> F64:
    """The airless elevation of what appears at `apparent_deg`: the inverse of the above.

    >>> true = np.array([0.0, 5.0, 10.0, 60.0])
    >>> seen = true + refraction_deg(true, 320.0)
    >>> bool(np.abs(geometric_elevation_deg(seen, 320.0) - true).max() < 1e-7)
    True
    """
    apparent = np.asarray(apparent_deg, np.float64)
    true = apparent
    # The refraction falls by at most 0.2° a degree near the horizon: a digit and a half a turn.
    for _ in range(14):
        true = apparent - refraction_deg(true, refractivity)
    return true
