"""Geometry and light time against Skyfield's own, and against closed forms."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.navigation import geometry, light_time

C = geometry.SPEED_OF_LIGHT_KM_S
YEAR_S = 365.25 * 86_400


@pytest.fixture(scope="module")
def sky() -> Any:
    """(ephemeris, timescale) of Skyfield; its data's age is no matter for these tests."""
    import skyfield_data
    from skyfield.api import Loader

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        path = skyfield_data.get_skyfield_data_path()
    load = Loader(path, verbose=False)
    ephemeris = load("de421.bsp")
    yield ephemeris, load.timescale(builtin=True)
    ephemeris.close()


def states(sky: Any, name: str, t: Any) -> tuple[np.ndarray, np.ndarray]:
    at = sky[0][name].at(t)
    return at.position.km.T, at.velocity.km_per_s.T


def test_l4_leads_by_sixty_degrees_at_the_planets_distance(sky: Any) -> None:
    t = sky[1].tdb_jd(2461400.5 + np.arange(0, 365, 7.0))
    earth, earth_v = states(sky, "earth barycenter", t)
    sun, sun_v = states(sky, "sun", t)
    p, _ = geometry.triangular_point(earth - sun, earth_v - sun_v)
    zero = np.zeros_like(p)
    np.testing.assert_allclose(geometry.angle_at_rad(zero, p, earth - sun), math.pi / 3, rtol=1e-12)
    np.testing.assert_allclose(
        geometry.distance_km(zero, p), geometry.distance_km(sun, earth), rtol=1e-13
    )
    # Equilateral triangle: the relay is as far from the Earth as the Sun is.
    np.testing.assert_allclose(
        geometry.distance_km(p, earth - sun), geometry.distance_km(sun, earth), rtol=1e-12
    )
    # It leads: sixty degrees later in the orbit, about a sixth of a year, the Earth is there.
    later = sky[1].tdb_jd(t.tdb + 365.25 / 6)
    earth_later = states(sky, "earth barycenter", later)[0] - states(sky, "sun", later)[0]
    assert np.degrees(geometry.angle_at_rad(zero, p, earth_later)).max() < 3


def test_l4_velocity_is_the_derivative_of_its_position(sky: Any) -> None:
    h = 600.0
    jd = 2461400.5 + np.arange(0, 365, 29.0)

    def at(offset_s: float) -> tuple[np.ndarray, np.ndarray]:
        t = sky[1].tdb_jd(jd + offset_s / 86_400)
        e, ev = states(sky, "earth barycenter", t)
        s, sv = states(sky, "sun", t)
        return geometry.triangular_point(e - s, ev - sv)

    numeric = (at(h)[0] - at(-h)[0]) / (2 * h)
    # The orbit plane itself turns a little (perturbations): 1 m/s of 30 km/s.
    np.testing.assert_allclose(numeric, at(0.0)[1], atol=1e-3)


@pytest.mark.parametrize("planet", ["mars barycenter", "venus", "moon"])
def test_light_time_equals_skyfields(sky: Any, planet: str) -> None:
    ephemeris, ts = sky
    epoch = 2461400.5

    def of(name: str) -> light_time.Trajectory:
        return lambda t_s: ephemeris[name].at(ts.tdb_jd(epoch, t_s / 86_400)).position.km.T

    t_s = np.arange(0.0, 40 * 86_400.0, 5 * 86_400.0)
    tau = light_time.light_time_before_reception_s(of(planet), of("earth"), t_s)
    observed = ephemeris["earth"].at(ts.tdb_jd(epoch, t_s / 86_400)).observe(ephemeris[planet])
    np.testing.assert_allclose(tau, observed.light_time * 86_400, rtol=0, atol=2e-8)
    # What leaves then arrives now, solved from the other end.
    back = light_time.light_time_after_emission_s(of(planet), of("earth"), t_s - tau)
    np.testing.assert_allclose(back, tau, rtol=0, atol=2e-8)


def test_light_time_in_uniform_motion_has_a_closed_form() -> None:
    speed = 30.0
    tau = light_time.light_time_after_emission_s(
        lambda t: np.zeros((len(t), 3)),
        lambda t: np.stack([1.5e8 + speed * t, 0 * t, 0 * t], axis=1),
        np.array([0.0, 10.0]),
    )
    np.testing.assert_allclose(
        tau, (1.5e8 + speed * np.array([0.0, 10.0])) / (C - speed), rtol=1e-14
    )


def test_shapiro_delay_between_earth_and_l4_is_ten_microseconds() -> None:
    sun, earth = np.zeros(3), np.array([geometry.ASTRONOMICAL_UNIT_KM, 0, 0])
    l4, _ = geometry.triangular_point(earth, np.array([0.0, 29.8, 0.0]))
    # 2GM/c³ = 9.851 µs, times ln 3 in an equilateral triangle.
    assert light_time.shapiro_delay_s(sun, l4, earth) == pytest.approx(10.822e-6, rel=1e-3)


def test_nothing_outruns_light() -> None:
    with pytest.raises(LocalError, match="light time still changes"):
        light_time.light_time_after_emission_s(
            lambda t: np.zeros((len(t), 3)),
            lambda t: np.stack([1e6 + 2 * C * t, 0 * t, 0 * t], axis=1),
            np.zeros(1),
        )


def test_rates_are_derivatives(sky: Any) -> None:
    def emitter(t: np.ndarray) -> np.ndarray:
        return np.stack([1.5e8 - 12.0 * t, 29.0 * t, 3.0 * t], axis=1)

    def receiver(t: np.ndarray) -> np.ndarray:
        return np.stack([0.4 * t, 0.2 * t, 0 * t], axis=1)

    h = 10.0
    tau = light_time.light_time_after_emission_s(emitter, receiver, np.array([-h, 0.0, h]))
    rate = light_time.light_time_rate(
        emitter(np.zeros(1)),
        np.array([[-12.0, 29.0, 3.0]]),
        receiver(tau[1:2]),
        np.array([[0.4, 0.2, 0.0]]),
    )
    assert rate[0] == pytest.approx((tau[2] - tau[0]) / (2 * h), abs=1e-12)
    d = [geometry.distance_km(receiver(np.array([t])), emitter(np.array([t])))[0] for t in (-h, h)]
    assert geometry.range_rate_km_s(
        receiver(np.zeros(1))[0],
        np.array([0.4, 0.2, 0.0]),
        emitter(np.zeros(1))[0],
        np.array([-12.0, 29.0, 3.0]),
    ) == pytest.approx((d[1] - d[0]) / (2 * h), abs=1e-6)


def test_sun_distance_follows_the_ephemeris(sky: Any) -> None:
    ephemeris, ts = sky
    jd = np.arange(2458849.5, 2470000.5, 11.0)
    t = ts.tai_jd(jd)
    true_au = (ephemeris["earth"] - ephemeris["sun"]).at(t).distance().au
    tai_ns = [round((x - 2436204.5) * 86_400) * 10**9 for x in jd]
    ours = [geometry.earth_sun_distance_au(x) for x in tai_ns]
    np.testing.assert_allclose(ours, true_au, atol=1e-4)


finite = st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: abs(x) > 1e-3)
vectors = st.tuples(finite, finite, finite).map(np.array)


@settings(max_examples=100)
@given(vectors, vectors, st.floats(-7, 7))
def test_rotation_keeps_lengths_and_turns_back(axis: Any, vector: Any, angle: float) -> None:
    turned = geometry.rotate_about(axis, vector, angle)
    np.testing.assert_allclose(np.linalg.norm(turned), np.linalg.norm(vector), rtol=1e-9)
    back = geometry.rotate_about(axis, turned, -angle)
    np.testing.assert_allclose(back, vector, atol=1e-9 * np.linalg.norm(vector))
