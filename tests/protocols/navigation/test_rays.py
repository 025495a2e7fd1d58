"""Rays against Skyfield and closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ground.scheduling.sky import Sky
from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM, SPEED_OF_LIGHT_KM_S
from protocols.navigation.rays import RADII_KM, Rays, doppler_factor, rays_received, rays_sent
from protocols.timecodes.tai import tai_ns_from_utc_iso

START = tai_ns_from_utc_iso("2028-01-01T00:00:00Z")
T_S = np.arange(0.0, 400 * 86_400.0, 3 * 86_400.0)


@pytest.fixture(scope="module")
def sky() -> Sky:
    return Sky(START, START + 402 * 86_400 * 10**9)


def test_angle_at_the_receiver_is_skyfields_separation(sky: Sky) -> None:
    rays = rays_received(lambda t: sky.body_km("mars", t), sky.earth_km, T_S)
    here = sky.ephemeris["earth"].at(sky.time(T_S))
    mars, sun = (here.observe(sky.ephemeris[name]) for name in ("mars", "sun"))
    ours = np.degrees(rays.angle_rad("receiver", lambda t: sky.body_km("sun", t)))
    np.testing.assert_allclose(ours, mars.separation_from(sun).degrees, atol=1e-6)
    np.testing.assert_allclose(rays.light_time_s, mars.light_time * 86_400, atol=1e-6)


def test_angle_at_the_emitter_is_skyfields_view_from_mars(sky: Sky) -> None:
    # Seen from Mars as it transmits: the Earth not where it is seen but where it will be met.
    rays = rays_sent(lambda t: sky.body_km("mars", t), sky.earth_km, T_S)
    ours = np.degrees(rays.angle_rad("emitter", lambda t: sky.body_km("sun", t)))
    here = sky.ephemeris["mars"].at(sky.time(T_S))
    sun = here.observe(sky.ephemeris["sun"]).position.km.T
    ahead = sky.earth_km(T_S + rays.light_time_s) - sky.body_km("mars", T_S)
    cosine = np.einsum("ni,ni->n", sun, ahead)
    cosine /= np.linalg.norm(sun, axis=1) * np.linalg.norm(ahead, axis=1)
    np.testing.assert_allclose(ours, np.degrees(np.arccos(cosine)), atol=1e-5)


def fixed(*place: float) -> Any:
    return lambda t: np.broadcast_to(np.array(place), (len(t), 3))


def test_miss_distance_of_a_body_that_crosses_the_ray() -> None:
    au = ASTRONOMICAL_UNIT_KM
    crossing_s = au / SPEED_OF_LIGHT_KM_S

    def moon(t: np.ndarray) -> np.ndarray:
        # On the way's middle, 5,000 km beside it, just as the ray gets there.
        return np.stack([au + 0 * t, 1.0 * (t - crossing_s), 5_000 + 0 * t], axis=1)

    ray = rays_sent(fixed(0, 0, 0), fixed(2 * au, 0, 0), np.array([0.0, 3_000.0]))
    np.testing.assert_allclose(ray.miss_km(moon), [5_000, np.hypot(3_000, 5_000)], rtol=1e-6)
    # What lies beyond an end is as far as that end.
    np.testing.assert_allclose(ray.miss_km(fixed(-300, 400, 0)), 500, rtol=1e-9)


def test_the_sun_is_missed_by_its_angle(sky: Sky) -> None:
    rays = rays_received(lambda t: sky.body_km("mars", t), sky.earth_km, T_S)
    sun = lambda t: sky.body_km("sun", t)  # noqa: E731
    angle = rays.angle_rad("receiver", sun)
    behind = np.degrees(angle) < 60
    away = np.linalg.norm(sun(T_S) - rays.receiver_km, axis=1)
    np.testing.assert_allclose(
        rays.miss_km(sun)[behind], (away * np.sin(angle))[behind], atol=0.001 * RADII_KM["sun"]
    )


def test_doppler_is_the_derivative_of_light_time(sky: Sky) -> None:
    def mars(t: np.ndarray) -> np.ndarray:
        return sky.body_km("mars", t)

    at = T_S[5:20]
    h = 50.0
    tau = [rays_sent(mars, sky.earth_km, at + k * h).light_time_s for k in (-1, 1)]
    rays = rays_sent(mars, sky.earth_km, at)
    rate = rays.light_time_rate((mars(at + 1) - mars(at - 1)) / 2, sky.earth_km_s(rays.reception_s))
    np.testing.assert_allclose(rate, (tau[1] - tau[0]) / (2 * h), atol=2e-9)
    # A pulse a second apart is received that much further apart.
    np.testing.assert_allclose(1 / doppler_factor(rate), 1 + (tau[1] - tau[0]) / (2 * h), atol=2e-9)


def test_rays_sent_and_received_are_the_same_rays(sky: Sky) -> None:
    def mars(t: np.ndarray) -> np.ndarray:
        return sky.body_km("mars", t)

    sent = rays_sent(mars, sky.earth_km, T_S)
    back: Rays = rays_received(mars, sky.earth_km, sent.reception_s)
    np.testing.assert_allclose(back.emission_s, sent.emission_s, atol=1e-6)
