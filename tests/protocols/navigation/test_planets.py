"""Mean elements against JPL's DE421, which is none of theirs."""

from __future__ import annotations

import math

import numpy as np

from protocols.navigation import planets
from protocols.navigation.geometry import (
    ASTRONOMICAL_UNIT_KM,
    J2000_TAI_NS,
    SPEED_OF_LIGHT_KM_S,
    triangular_point,
)
from spacecraft_sim.channel import open_ephemeris

DAY_NS = 86_400 * 10**9


def test_light_time_from_mars_and_its_distance_from_the_sun_in_the_sky() -> None:
    ephemeris, timescale = open_ephemeris()
    try:
        days = np.arange(9_500, 17_000, 90)  # 2026 to 2046
        t = timescale.tai_jd(2_451_545.0 - 32.184 / 86_400 + days)
        sun, barycentre, mars, earth = (
            ephemeris[name].at(t) for name in ("sun", "earth barycenter", "mars", "earth")
        )
        l4, _ = triangular_point(
            (barycentre.position.km - sun.position.km).T,
            (barycentre.velocity.km_per_s - sun.velocity.km_per_s).T,
        )
        from_sun = (mars.position.km - sun.position.km).T
        light_time_s = np.linalg.norm(from_sun - l4, axis=1) / SPEED_OF_LIGHT_KM_S
        to_sun = (sun.position.km - earth.position.km).T
        to_mars = (mars.position.km - earth.position.km).T
        cosine = np.sum(to_sun * to_mars, axis=1) / (
            np.linalg.norm(to_sun, axis=1) * np.linalg.norm(to_mars, axis=1)
        )
    finally:
        ephemeris.close()
    for day, owlt_s, angle in zip(days.tolist(), light_time_s, np.arccos(cosine), strict=True):
        t_ns = J2000_TAI_NS + day * DAY_NS
        assert abs(planets.mars_l4_light_time_ns(t_ns) / 1e9 - owlt_s) < 0.2
        assert abs(math.degrees(planets.sun_earth_mars_angle_rad(t_ns) - angle)) < 0.05
    # The relay's and the Earth's distance from the Sun are the same but for the Moon.
    assert math.hypot(*planets.l4_position_au(J2000_TAI_NS)) * ASTRONOMICAL_UNIT_KM > 1.46e8
