"""Places, directions, refraction, tables, crossings and slews: held against skyfield."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.navigation import pointing, topocentric
from protocols.navigation.crossings import positive_spans
from protocols.navigation.interpolation import UniformTable


@given(st.floats(-90, 90), st.floats(-180, 180), st.floats(-400, 9000))
def test_geodetic_places_agree_with_skyfield(lat: float, lon: float, height_m: float) -> None:
    from skyfield.api import wgs84

    ours = topocentric.itrf_from_geodetic_km(lat, lon, height_m)
    np.testing.assert_allclose(ours, wgs84.latlon(lat, lon, height_m).itrs_xyz.km, atol=1e-9)
    again = topocentric.geodetic_from_itrf_km(ours)
    assert again[0] == pytest.approx(lat, abs=1e-9)
    assert again[2] == pytest.approx(height_m, abs=1e-5)
    if abs(lat) < 89.999:
        assert (again[1] - lon + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)


def test_axes_are_orthonormal_and_up_is_the_ellipsoids_normal() -> None:
    axes = topocentric.east_north_up(37.2, 127.6)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-15)
    low, high = (topocentric.itrf_from_geodetic_km(37.2, 127.6, h) for h in (0.0, 1000.0))
    np.testing.assert_allclose(high - low, axes[2], atol=1e-12)


@pytest.mark.parametrize("elevation", [5.0, 8.0, 15.0, 30.0, 60.0, 85.0])
def test_refraction_agrees_with_skyfields_bennett(elevation: float) -> None:
    from skyfield.earthlib import refract, refraction

    pressure, temperature = 1005.0, 8.0
    n = topocentric._FITTED_N * pressure / 1010 * 283 / (273 + temperature)
    apparent = refract(elevation, temperature, pressure)
    ours = topocentric.refraction_deg(np.array(elevation), n)
    assert ours == pytest.approx(apparent - elevation, abs=0.003)
    back = topocentric.geometric_elevation_deg(np.array(apparent), n)
    assert back == pytest.approx(apparent - refraction(apparent, temperature, pressure), abs=0.003)


def test_radio_refracts_more_than_light_by_the_waters_share() -> None:
    radio = topocentric.radio_refractivity(1013.25, 20.0, 0.7)
    dry = topocentric.radio_refractivity(1013.25, 20.0, 0.0)
    assert dry == pytest.approx(topocentric.optical_refractivity(1013.25, 20.0))
    assert 60 < radio - dry < 80


@pytest.mark.parametrize(("lat", "lon"), [(91.0, 0.0), (0.0, 400.0)])
def test_places_off_the_map_are_refused(lat: float, lon: float) -> None:
    with pytest.raises(LocalError, match="wanted"):
        topocentric.itrf_from_geodetic_km(lat, lon, 0.0)


def test_a_table_gives_back_polynomials_of_degree_seven_exactly() -> None:
    nodes = 10.0 + 2.5 * np.arange(20)
    coefficients = np.random.default_rng(1).normal(size=8)

    def f(t: np.ndarray) -> np.ndarray:
        return np.polyval(coefficients, (t - 30) / 20)

    table = UniformTable(10.0, 2.5, np.column_stack([f(nodes), nodes]))
    t = np.linspace(8.0, 59.0, 400)
    np.testing.assert_allclose(table(t)[:, 0], f(t), atol=1e-9)
    np.testing.assert_allclose(table(t)[:, 1], t, atol=1e-10)
    np.testing.assert_allclose(table(nodes)[:, 1], nodes, rtol=1e-15)
    np.testing.assert_allclose(table.rate(t)[:, 1], 1, atol=1e-9)


def test_too_short_a_table_is_refused() -> None:
    with pytest.raises(LocalError, match="at least 8"):
        UniformTable(0.0, 1.0, np.zeros((7, 1)))


@given(st.integers(0, 10_000))
def test_spans_are_those_of_a_fine_scan(seed: int) -> None:
    """Sums of sines on a coarse grid: what a grid 200 times finer sees, and nothing else."""
    rng = np.random.default_rng(seed)
    rows, step = 3, 1.0
    grid = np.arange(0.0, 100.0, step)
    omega = rng.uniform(0.05, 0.35, (rows, 3))
    phase, size = rng.uniform(0, 6.3, (rows, 3)), rng.uniform(0.2, 1, (rows, 3))
    level = rng.uniform(-1, 1, rows)

    def margin(series: np.ndarray, t: np.ndarray) -> np.ndarray:
        waves = size[series] * np.sin(omega[series] * t[:, np.newaxis] + phase[series])
        return waves.sum(axis=1) + level[series]

    values = np.array([margin(np.full(len(grid), i), grid) for i in range(rows)])
    spans = positive_spans(grid, values, margin, within_s=1e-4)
    fine = np.linspace(0.0, grid[-1], 20_000, endpoint=False)
    for i in range(rows):
        here = spans.series == i
        inside = np.zeros(len(fine), np.bool_)
        for a, b in zip(spans.start_s[here], spans.end_s[here], strict=True):
            inside |= (fine >= a) & (fine < b)
        f = margin(np.full(len(fine), i), fine)
        # A graze of less than a hundredth is nobody's pass.
        clear = np.abs(f) > 0.01
        assert np.array_equal(inside[clear], f[clear] > 0)
        assert np.all(np.diff(spans.start_s[here]) > 0)
    closed = ~spans.open_end
    ends = margin(spans.series[closed], spans.end_s[closed])
    assert np.abs(ends).max(initial=0) < 1e-3


def test_a_drive_that_cannot_go_round_is_refused() -> None:
    with pytest.raises(LocalError, match="360° or more"):
        pointing.Drive(0.5, 0.5, (-170.0, 170.0))
    with pytest.raises(LocalError, match="above 0"):
        pointing.Drive(0.0, 0.5)


@given(
    st.lists(st.floats(-170, 170), min_size=2, max_size=12),
    st.floats(0, 360),
    st.floats(180, 360),
)
def test_every_start_keeps_the_axis_within_its_wrap(
    moves: list[float], first: float, half: float
) -> None:
    drive = pointing.Drive(0.5, 0.5, (-half, half))
    true = first + np.cumsum([0.0, *moves])
    starts = pointing.axis_starts_deg(drive, true % 360)
    history = true - true[0]
    for start in starts:
        assert -half - 1e-6 <= (start + history).min()
        assert (start + history).max() <= half + 1e-6
        assert (start - first) % 360 == pytest.approx(0, abs=1e-6) or (
            start - first
        ) % 360 == pytest.approx(360, abs=1e-6)
    # None is forgotten.
    possible = [
        first + 360 * k
        for k in range(-9, 10)
        if (first + 360 * k + history).min() >= -half + 1e-6
        and (first + 360 * k + history).max() <= half - 1e-6
    ]
    assert len(starts) >= len(possible)
