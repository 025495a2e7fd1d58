"""The integrator against closed forms: Kepler, Jacobi's constant, Mercury's perihelion."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.errors import LocalError
from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM, SPEED_OF_LIGHT_KM_S
from protocols.navigation.nbody import gravity, integrate, stage_times_s

SUN = 132_712_440_040.944
DAY = 86_400.0


def kepler(a_km: float, e: float, gm: float, t_s: np.ndarray) -> np.ndarray:
    """Positions in the orbit's plane, from pericentre on: [n, 2]."""
    mean = math.sqrt(gm / a_km**3) * t_s
    eccentric = mean.copy()
    for _ in range(60):
        slope = 1 - e * np.cos(eccentric)
        eccentric = eccentric - (eccentric - e * np.sin(eccentric) - mean) / slope
    y = math.sqrt(1 - e * e) * np.sin(eccentric)
    return a_km * np.stack([np.cos(eccentric) - e, y], axis=1)


def pericentre(a_km: float, e: float, gm: float) -> np.ndarray:
    speed = math.sqrt(gm / a_km * (1 + e) / (1 - e))
    return np.array([[a_km * (1 - e), 0.0, 0.0, 0.0, speed, 0.0]])


@pytest.mark.parametrize("e", [0.0, 0.0167, 0.3])
def test_twenty_five_years_on_an_ellipse_end_within_a_metre(e: float) -> None:
    step_s, steps = 16 * DAY, 570
    force = gravity(np.array([SUN]), np.zeros((len(stage_times_s(0, step_s, steps)), 1, 3)))
    path = integrate(force, pericentre(ASTRONOMICAL_UNIT_KM, e, SUN), step_s, steps)[:, 0]
    true = kepler(ASTRONOMICAL_UNIT_KM, e, SUN, step_s * np.arange(steps + 1.0))
    assert np.abs(path[:, :2] - true).max() < 1e-3
    energy = (path[:, 3:] ** 2).sum(axis=1) / 2 - SUN / np.linalg.norm(path[:, :3], axis=1)
    np.testing.assert_allclose(energy, energy[0], rtol=1e-14)


def test_backwards_leads_home() -> None:
    step_s, steps = 10 * DAY, 100
    force = gravity(np.array([SUN]), np.zeros((8 * steps, 1, 3)))
    start = pericentre(ASTRONOMICAL_UNIT_KM, 0.1, SUN)
    end = integrate(force, start, step_s, steps)[-1]
    np.testing.assert_allclose(integrate(force, end, -step_s, steps)[-1], start, atol=1e-4)


def circling_pair(mass_ratio: float, t_s: np.ndarray) -> np.ndarray:
    """Sun and planet on circles about their barycentre: [n, 2, 3]."""
    angle = math.sqrt(SUN / ASTRONOMICAL_UNIT_KM**3) * t_s
    unit = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    pair = np.stack([-mass_ratio * unit, (1 - mass_ratio) * unit], axis=1)
    return ASTRONOMICAL_UNIT_KM * pair


def test_tadpole_about_l4_keeps_jacobis_constant_and_librates_in_the_known_period() -> None:
    # Circular restricted problem; period of the slow libration 2π / (n √(27/4 μ)), to first
    # order in μ (Murray and Dermott, Solar System Dynamics §3.8): for μ = 1e-3, 12.2 revolutions.
    mu, r = 1e-3, ASTRONOMICAL_UNIT_KM
    n = math.sqrt(SUN / r**3)
    step_s, steps = 12 * DAY, 1200
    force = gravity(
        np.array([(1 - mu) * SUN, mu * SUN]), circling_pair(mu, stage_times_s(0, step_s, steps))
    )
    l4 = r * np.array([0.5 - mu, math.sqrt(0.75), 0.0])
    spin = np.array([0.0, 0.0, n])
    at_rest = np.concatenate([l4, np.cross(spin, l4)])
    aside = l4 + 0.005 * r * np.array([-math.sqrt(0.75), 0.5, 0.0])
    moved = np.concatenate([aside, np.cross(spin, aside)])
    t_s = step_s * np.arange(steps + 1.0)
    path = integrate(force, np.stack([at_rest, moved]), step_s, steps)
    # Into the frame that turns with the pair.
    c, s = np.cos(n * t_s)[:, np.newaxis], np.sin(n * t_s)[:, np.newaxis]
    x, y = c * path[..., 0] + s * path[..., 1], c * path[..., 1] - s * path[..., 0]
    # L4 itself is an equilibrium.
    assert np.hypot(x[:, 0] - l4[0], y[:, 0] - l4[1]).max() < 10.0
    away1 = np.hypot(x + mu * r, y)
    away2 = np.hypot(x - (1 - mu) * r, y)
    relative = path[..., 3:] - np.cross(spin, path[..., :3])
    jacobi = (
        n * n * (x * x + y * y)
        + 2 * SUN * ((1 - mu) / away1 + mu / away2)
        - (relative**2).sum(axis=-1)
    )
    np.testing.assert_allclose(jacobi, jacobi[[0]] * np.ones((steps + 1, 1)), rtol=1e-13)
    longitude = np.degrees(np.arctan2(y[:, 1], x[:, 1] + mu * r)) - 60
    # Upward passages of the mean, smoothed over the year that the epicycle lasts.
    year = round(2 * math.pi / n / step_s)
    slow = np.convolve(longitude, np.ones(year) / year, "valid")
    up = np.flatnonzero((slow[:-1] < 0) & (slow[1:] >= 0))
    period_revolutions = np.diff(up).mean() * step_s * n / (2 * math.pi)
    assert period_revolutions == pytest.approx(1 / math.sqrt(27 / 4 * mu), rel=0.03)


def test_mercurys_perihelion_advances_by_43_seconds_a_century() -> None:
    a, e = 0.387_098_31 * ASTRONOMICAL_UNIT_KM, 0.205_630
    step_s, steps = 2 * DAY, 4400
    force = gravity(np.array([SUN]), np.zeros((8 * steps, 1, 3)), relativity_of=0)
    path = integrate(force, pericentre(a, e, SUN), step_s, steps)[:, 0]
    r, v = path[:, :3], path[:, 3:]
    runge = np.cross(v, np.cross(r, v)) / SUN - r / np.linalg.norm(r, axis=1)[:, np.newaxis]
    # The pericentre also nods within a revolution: the secular part is a line through all.
    t_s = step_s * np.arange(steps + 1.0)
    slope = np.polyfit(t_s, np.arctan2(runge[:, 1], runge[:, 0]), 1)[0]
    advance = 6 * math.pi * SUN / (SPEED_OF_LIGHT_KM_S**2 * a * (1 - e * e))
    per_s = advance * math.sqrt(SUN / a**3) / (2 * math.pi)
    assert slope == pytest.approx(per_s, rel=0.01)
    assert math.degrees(slope) * 3600 * 36_525 * DAY == pytest.approx(42.98, rel=0.01)


def test_a_step_that_is_too_long_is_said() -> None:
    force = gravity(np.array([SUN]), np.zeros((8, 1, 3)))
    with pytest.raises(LocalError, match="a shorter step is wanted"):
        integrate(force, pericentre(ASTRONOMICAL_UNIT_KM, 0.0, SUN), 400 * DAY, 1)
