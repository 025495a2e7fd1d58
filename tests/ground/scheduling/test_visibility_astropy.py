"""Rise, set, azimuth and elevation against astropy, which shares nothing but the ephemeris file.

astropy has its own precession-nutation (ERFA), Earth orientation (astropy-iers-data), aberration,
light time and geodesy.  The promise: 1 s in rise and set, 0.01° in azimuth and elevation.  The
dates are those of final Earth orientation; what its prediction costs, `sky.py` says.  astropy's
Moon is up to 0.0007° off skyfield's, ours is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station, load_stations
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import Conditions, Geometry, find_passes
from protocols.navigation.geometry import SPEED_OF_LIGHT_KM_S
from protocols.timecodes.tai import tai_ns_from_utc_iso, unix_ns_from_tai_ns

DAY_NS = 86_400 * 10**9
STATIONS = load_stations()
PLACES = ["DSS-14", "DSS-36", "DSS-63", "YEOJU", "NNO", "MLG", "OGS"]
TARGETS = ["l4", "moon", "mars", "sun", "venus", "jupiter", "neptune"]


@pytest.fixture(scope="module", autouse=True)
def _no_download() -> Iterator[None]:
    from astropy.utils import iers

    with iers.conf.set_temp("auto_download", False), iers.conf.set_temp("auto_max_age", None):
        yield


@pytest.fixture(scope="module")
def kernel() -> str:
    import warnings

    import skyfield_data

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return f"{skyfield_data.get_skyfield_data_path()}/de421.bsp"


def astropy_times(t_tai_ns: np.ndarray) -> Any:
    from astropy.time import Time

    unix = unix_ns_from_tai_ns(t_tai_ns)
    return Time(unix // 10**9, (unix % 10**9) / 1e9, format="unix", scale="utc")


def place(station: Station) -> Any:
    import astropy.units as u
    from astropy.coordinates import EarthLocation

    return EarthLocation.from_geocentric(*station.itrf_km, unit=u.km)


def l4(t: Any, location: Any, kernel: str) -> Any:
    """L4's retarded place by vectors of its own: r cos 60° + (n × r) sin 60° about the Sun."""
    import astropy.units as u
    from astropy.coordinates import (
        ICRS,
        CartesianRepresentation,
        SkyCoord,
        get_body_barycentric,
        get_body_barycentric_posvel,
    )

    def at(time: Any) -> np.ndarray:
        sun, sun_v = get_body_barycentric_posvel("sun", time, ephemeris=kernel)
        emb, emb_v = get_body_barycentric_posvel("earth-moon-barycenter", time, ephemeris=kernel)
        r = (emb.xyz - sun.xyz).to_value(u.km).T
        v = (emb_v.xyz - sun_v.xyz).to_value(u.km / u.s).T
        n = np.cross(r, v)
        n /= np.linalg.norm(n, axis=1, keepdims=True)
        return r / 2 + np.cross(n, r) * math.sqrt(3) / 2 + sun.xyz.to_value(u.km).T

    earth = get_body_barycentric("earth", t, ephemeris=kernel).xyz.to_value(u.km).T
    earth = earth + location.get_gcrs(t).cartesian.xyz.to_value(u.km).T
    light_s = np.full(len(t), 499.0)
    for _ in range(4):
        far = at(t - light_s * u.s)
        light_s = np.linalg.norm(far - earth, axis=1) / SPEED_OF_LIGHT_KM_S
    return SkyCoord(ICRS(CartesianRepresentation(far.T * u.km)))


def altaz(
    name: str, station: Station, t_tai_ns: np.ndarray, kernel: str, **air: Any
) -> tuple[np.ndarray, np.ndarray]:
    from astropy.coordinates import AltAz, get_body

    t, location = astropy_times(t_tai_ns), place(station)
    if name == "l4":
        body = l4(t, location, kernel)
    else:
        # DE421 has the giants' barycentres only, and astropy looks those up by these names.
        body = get_body(name, t, location, ephemeris=kernel)
    seen = body.transform_to(AltAz(obstime=t, location=location, **air))
    return seen.az.deg, seen.alt.deg


def window(rng: np.random.Generator, days: int) -> tuple[int, int]:
    first = tai_ns_from_utc_iso("2012-01-01T00:00:00Z")
    start = first + int(rng.integers(0, 13 * 365)) * DAY_NS
    return start, start + days * DAY_NS


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("seed", range(2))
def test_azimuth_and_elevation_within_a_hundredth_of_a_degree(
    target: str, seed: int, kernel: str
) -> None:
    rng = np.random.default_rng([seed, *target.encode()])
    sky = Sky(*window(rng, 20))
    stations = [STATIONS[name] for name in PLACES]
    geometry = Geometry(sky, stations, target_named(target), Conditions(refraction=False))
    t_s = rng.uniform(0, sky.length_s, 40)
    for i, station in enumerate(stations):
        ours = geometry.look(np.full(len(t_s), i), t_s)
        azimuth, elevation = altaz(target, station, sky.tai_ns(t_s), kernel)
        np.testing.assert_allclose(ours.elevation_deg, elevation, atol=0.001)
        # On the sky: near the zenith a degree of azimuth is nothing.
        across = (ours.azimuth_deg - azimuth + 180) % 360 - 180
        np.testing.assert_allclose(across * np.cos(np.radians(elevation)), 0, atol=0.001)


@pytest.mark.parametrize("target", ["moon", "mars", "sun", "venus"])
def test_apparent_places_are_skyfields_to_a_hundredth_of_an_arc_second(target: str) -> None:
    """Its vectors, light time, aberration and rotations, each computed at the instant itself."""
    from skyfield.api import wgs84

    rng = np.random.default_rng([3, *target.encode()])
    for name in ("YEOJU", "DSS-43"):
        sky, station = Sky(*window(rng, 30)), STATIONS[name]
        t_s = rng.uniform(0, sky.length_s, 60)
        geometry = Geometry(sky, [station], target_named(target), Conditions(refraction=False))
        ours = geometry.look(np.zeros(60, np.int64), t_s)
        latitude, longitude, height = station.geodetic
        observer = sky.ephemeris["earth"] + wgs84.latlon(latitude, longitude, elevation_m=height)
        seen = observer.at(sky.time(t_s)).observe(sky.ephemeris[target])
        elevation, azimuth, distance = seen.apparent(deflectors=()).altaz()
        np.testing.assert_allclose(ours.elevation_deg, elevation.degrees, atol=3e-6)
        across = (ours.azimuth_deg - azimuth.degrees + 180) % 360 - 180
        np.testing.assert_allclose(across * np.cos(elevation.radians), 0, atol=3e-6)
        np.testing.assert_allclose(ours.range_km, distance.km, atol=1.5)
        np.testing.assert_allclose(ours.light_time_s, seen.light_time * 86_400, atol=5e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_rise_and_set_within_a_second(target: str, kernel: str) -> None:
    rng = np.random.default_rng([7, *target.encode()])
    seen = 0
    for _ in range(3):
        sky = Sky(*window(rng, 6))
        mask = float(rng.uniform(7, 25))
        stations = [STATIONS[name] for name in PLACES[:-1]]
        passes = find_passes(
            stations,
            target_named(target),
            sky,
            Conditions(least_elevation_deg=mask, refraction=False),
        )
        for i, station in enumerate(stations):
            mine = passes.station == i
            for end in ("aos", "los"):
                by_mask = mine & (getattr(passes, f"{end}_limit") == 1)
                t = getattr(passes, f"{end}_ns")[by_mask]
                if not len(t):
                    continue
                second = 10**9
                _, before = altaz(target, station, t - second, kernel)
                _, after = altaz(target, station, t + second, kernel)
                # astropy's own crossing of the mask lies within this second either way.
                assert np.all((before - mask) * (after - mask) < 0), station.name
                late_s = (before - mask) / (before - after) * 2 - 1
                assert np.abs(late_s).max() < (0.3 if target == "moon" else 0.01), station.name
                seen += len(t)
    assert seen > 100


def test_no_pass_is_missed_and_none_invented(kernel: str) -> None:
    """Every five minutes of two weeks: above astropy's mask exactly when a pass says so."""
    start = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    sky = Sky(start, start + 14 * DAY_NS)
    t = np.arange(sky.start_ns, sky.end_ns, 300 * 10**9)
    for target in ("l4", "moon"):
        for name in ("YEOJU", "DSS-43"):
            station = STATIONS[name]
            passes = find_passes(
                [station], target_named(target), sky, Conditions(10.0, refraction=False)
            )
            inside = np.zeros(len(t), np.bool_)
            for a, b in zip(passes.aos_ns, passes.los_ns, strict=True):
                inside |= (t >= a) & (t < b)
            _, elevation = altaz(target, station, t, kernel)
            clear = np.abs(elevation - 10) > 0.01
            assert np.array_equal(inside[clear], elevation[clear] > 10)


@pytest.mark.parametrize("name", ["YEOJU", "DSS-14"])
def test_radio_refraction_agrees_with_erfas(name: str, kernel: str) -> None:
    """ERFA's refraction at 8.4 GHz for the same air: 0.01° from 6° elevation up."""
    import astropy.units as u

    station = STATIONS[name]
    start = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    sky = Sky(start, start + DAY_NS)
    geometry = Geometry(sky, [station], target_named("l4"), Conditions())
    t_s = np.arange(0, sky.length_s, 300.0)
    ours = geometry.look(np.zeros(len(t_s), np.int64), t_s)
    _, elevation = altaz(
        "l4",
        station,
        sky.tai_ns(t_s),
        kernel,
        pressure=1013.25 * (1 - 2.25577e-5 * station.geodetic[2]) ** 5.25588 * u.hPa,
        temperature=station.temperature_c * u.deg_C,
        relative_humidity=station.humidity,
        obswl=3.57 * u.cm,
    )
    high = elevation > 6
    assert high.sum() > 100
    assert np.abs(ours.elevation_deg - elevation)[high].max() < 0.01


def test_optical_refraction_agrees_with_erfas(kernel: str) -> None:
    import astropy.units as u

    station = STATIONS["OGS"]
    start = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    sky = Sky(start, start + DAY_NS)
    geometry = Geometry(sky, [station], target_named("moon"), Conditions())
    t_s = np.arange(0, sky.length_s, 300.0)
    ours = geometry.look(np.zeros(len(t_s), np.int64), t_s)
    _, elevation = altaz(
        "moon",
        station,
        sky.tai_ns(t_s),
        kernel,
        pressure=1013.25 * (1 - 2.25577e-5 * station.geodetic[2]) ** 5.25588 * u.hPa,
        temperature=station.temperature_c * u.deg_C,
        relative_humidity=station.humidity,
        obswl=1.55 * u.micron,
    )
    high = elevation > 6
    assert high.sum() > 100
    assert np.abs(ours.elevation_deg - elevation)[high].max() < 0.01
