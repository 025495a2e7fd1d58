"""Targets: two-line elements against skyfield, messages against what they were made from, L4."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ground.scheduling.look import Conditions, Geometry
from ground.scheduling.sky import Sky
from ground.scheduling.stations import load_stations
from ground.scheduling.targets import TleTarget, target_named
from ground.scheduling.visibility import find_passes
from protocols.errors import LocalError, RemoteError
from protocols.navigation.oem import Oem, OemSegment, build_oem
from protocols.timecodes.tai import tai_ns_from_utc_iso

STATIONS = load_stations()
S = 10**9
DAY_NS = 86_400 * S
# Elements of AIAA 2006-6753's and skyfield's own examples: a low, a Molniya and a stationary orbit.
ELEMENTS = {
    "ISS": (
        "1 25544U 98067A   14020.93268519  .00009878  00000-0  18200-3 0  5082",
        "2 25544  51.6498 109.4756 0003572  55.9686 274.8005 15.49815350868473",
    ),
    "MOLNIYA": (
        "1 08195U 75081A   06176.33215444  .00000099  00000-0  11873-3 0   813",
        "2 08195  64.1586 279.0717 6877146 264.7651  20.2257  2.00491383225656",
    ),
    "STATIONARY": (
        "1 28626U 05008A   06176.46683397 -.00000205  00000-0  10000-3 0  2190",
        "2 28626   0.0019 286.9433 0000335  13.7918  55.6504  1.00270176  4891",
    ),
}
EPOCHS = {"ISS": "2014-01-21", "MOLNIYA": "2006-06-26", "STATIONARY": "2006-06-26"}


def sky_at(name: str, days: int) -> Sky:
    start = tai_ns_from_utc_iso(EPOCHS[name])
    return Sky(start, start + days * DAY_NS)


@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("station", ["DSS-14", "YEOJU", "DSS-43", "CEB"])
def test_elements_are_seen_where_skyfield_sees_them(name: str, station: str) -> None:
    """skyfield's own satellite, topos and rotation; geometric, so our light time is put back."""
    from skyfield.api import EarthSatellite, wgs84

    sky = sky_at(name, 2)
    target = TleTarget(name, *ELEMENTS[name])
    ours = Geometry(sky, [STATIONS[station]], target, Conditions(refraction=False))
    t_s = np.random.default_rng(3).uniform(0, sky.length_s, 300)
    seen = ours.look(np.zeros(len(t_s), np.int64), t_s)
    satellite = EarthSatellite(*ELEMENTS[name], name, sky.timescale)
    lat, lon, height = STATIONS[station].geodetic
    topos = wgs84.latlon(lat, lon, elevation_m=height)
    # Where it was when the light left, from where the station was: both move on the rotating Earth.
    t, before = sky.time(t_s), sky.time(t_s - seen.light_time_s)
    difference = satellite.at(before).position.km - topos.at(before).position.km
    rotation = np.moveaxis(topos.rotation_at(t), 2, 0)
    line = np.einsum("nij,jn->ni", rotation, difference)
    elevation = np.degrees(np.arctan2(line[:, 2], np.hypot(line[:, 0], line[:, 1])))
    azimuth = np.degrees(np.arctan2(line[:, 1], line[:, 0])) % 360
    np.testing.assert_allclose(seen.elevation_deg, elevation, atol=0.001)
    across = (seen.azimuth_deg - azimuth + 180) % 360 - 180
    np.testing.assert_allclose(across * np.cos(np.radians(elevation)), 0, atol=0.001)
    path = satellite.at(before).position.km - topos.at(t).position.km
    np.testing.assert_allclose(seen.range_km, np.linalg.norm(path, axis=0), atol=0.001)


@pytest.mark.parametrize("name", ["ISS", "MOLNIYA"])
def test_passes_of_elements_are_those_of_skyfields_elevation(name: str) -> None:
    """Every ten seconds of five days.  (skyfield's find_events leaves one of the Molniya out.)"""
    from skyfield.api import EarthSatellite, wgs84

    sky = sky_at(name, 5)
    station = STATIONS["YEOJU"]
    passes = find_passes(
        [station],
        TleTarget(name, *ELEMENTS[name]),
        sky,
        Conditions(least_elevation_deg=10.0, refraction=False),
    )
    satellite = EarthSatellite(*ELEMENTS[name], name, sky.timescale)
    lat, lon, height = station.geodetic
    t_s = np.arange(0, sky.length_s, 10.0)
    difference = satellite - wgs84.latlon(lat, lon, elevation_m=height)
    margin = difference.at(sky.time(t_s)).altaz()[0].degrees - 10.0
    for rising, ours, cut in (
        (True, passes.aos_ns, passes.aos_limit),
        (False, passes.los_ns, passes.los_limit),
    ):
        at = np.flatnonzero(((margin[1:] > 0) != (margin[:-1] > 0)) & ((margin[1:] > 0) == rising))
        theirs = t_s[at] + 10 * margin[at] / (margin[at] - margin[at + 1])
        # Light time, 10 ms for the low orbit and 130 ms for the high one, which moves little faster
        # than the station; and the chord over ten seconds, worst in low passes.
        np.testing.assert_allclose((ours[cut == 1] - sky.start_ns) / S, theirs, atol=0.4)
    assert len(passes) >= 5


def test_l4_is_sixty_degrees_from_the_sun_and_where_the_simulator_has_it() -> None:
    from spacecraft_sim.channel import EphemerisLightTime, open_ephemeris

    start = tai_ns_from_utc_iso("2026-03-01T00:00:00Z")
    sky = Sky(start, start + 30 * DAY_NS)
    target: Any = target_named("L4")
    ephemeris, timescale = open_ephemeris()
    with contextlib.closing(ephemeris):
        simulated = EphemerisLightTime(ephemeris, timescale)
        for day in (0, 11, 29):
            ours = target.barycentric_km(sky, np.array([day * 86_400.0]))[0]
            theirs, _ = simulated.state_km(start + day * DAY_NS)
            np.testing.assert_allclose(ours, theirs, atol=1e-3)
    l5: Any = target_named("l5")
    both = [one.barycentric_km(sky, np.array([0.0]))[0] for one in (target, l5)]
    sun = sky.body_km("sun", np.array([0.0]))[0]
    a, b = (one - sun for one in both)
    assert np.degrees(np.arccos(a @ b / np.linalg.norm(a) / np.linalg.norm(b))) == pytest.approx(
        120
    )


def message(frame: str, centre: str, system: str = "TAI") -> Oem:
    """The Moon's own orbit as a message, from the ephemeris."""
    from skyfield.framelib import ICRS_to_J2000

    start = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    sky = Sky(start, start + 12 * DAY_NS)
    t_s = np.arange(0, 12 * 86_400 + 1, 3600.0)
    moon = sky.ephemeris["moon"].at(sky.time(t_s))
    origin = (
        None
        if centre == "SOLAR SYSTEM BARYCENTER"
        else sky.ephemeris[centre.lower()].at(sky.time(t_s))
    )
    place = moon.position.km.T - (0 if origin is None else origin.position.km.T)
    speed = moon.velocity.km_per_s.T - (0 if origin is None else origin.velocity.km_per_s.T)
    if frame == "EME2000":
        place, speed = place @ ICRS_to_J2000.T, speed @ ICRS_to_J2000.T
    epochs = sky.tai_ns(t_s)
    return Oem(
        (
            OemSegment(
                "MOON", "301", centre, frame, system, epochs, np.hstack([place, speed]),
                (int(epochs[0]), int(epochs[-1])),
            ),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "centre"),
    [("ICRF", "EARTH"), ("EME2000", "EARTH"), ("ICRF", "SOLAR SYSTEM BARYCENTER"), ("ICRF", "SUN")],
)
def test_a_message_of_the_moon_is_the_moon(tmp_path: Path, frame: str, centre: str) -> None:
    path = tmp_path / "moon.oem"
    path.write_bytes(build_oem(message(frame, centre)))
    start = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    # The whole of the message: its ends too.
    sky = Sky(start, start + 12 * DAY_NS)
    stations = [STATIONS["YEOJU"], STATIONS["DSS-14"]]
    looks = []
    t_s = np.linspace(0, sky.length_s, 500)
    for name in (str(path), "moon"):
        geometry = Geometry(sky, stations, target_named(name), Conditions())
        looks.append(geometry.look(np.arange(500) % 2, t_s))
    np.testing.assert_allclose(looks[0].elevation_deg, looks[1].elevation_deg, atol=1e-5)
    np.testing.assert_allclose(looks[0].azimuth_deg, looks[1].azimuth_deg, atol=1e-4)
    np.testing.assert_allclose(looks[0].range_km, looks[1].range_km, atol=0.05)


def test_a_window_beyond_the_message_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "moon.oem"
    path.write_bytes(build_oem(message("ICRF", "EARTH")))
    start = tai_ns_from_utc_iso("2026-12-10T00:00:00Z")
    with pytest.raises(LocalError, match=r"cover 2026-12-01T00:00:00Z to 2026-12-13T00:00:00Z"):
        find_passes([STATIONS["YEOJU"]], target_named(str(path)), Sky(start, start + 9 * DAY_NS))


def test_frames_and_centres_we_do_not_know_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.oem"
    octets = build_oem(message("ICRF", "EARTH"))
    path.write_bytes(octets.replace(b"REF_FRAME = ICRF", b"REF_FRAME = TEME"))
    with pytest.raises(LocalError, match="REF_FRAME TEME: one of ICRF"):
        target_named(str(path))
    path.write_bytes(octets.replace(b"CENTER_NAME = EARTH", b"CENTER_NAME = CERES"))
    with pytest.raises(LocalError, match="CENTER_NAME CERES: one of SUN"):
        target_named(str(path))
    path.write_bytes(octets.replace(b"META_START", b"META", 1))
    with pytest.raises(RemoteError, match="OEM line"):
        target_named(str(path))


def test_satellites_of_a_file_go_by_name(tmp_path: Path) -> None:
    path = tmp_path / "some.tle"
    path.write_text("".join(f"{name}\n{a}\n{b}\n" for name, (a, b) in ELEMENTS.items()))
    assert target_named(f"{path}:MOLNIYA") == TleTarget("MOLNIYA", *ELEMENTS["MOLNIYA"])
    with pytest.raises(LocalError, match=r"which satellite\? It has ISS, MOLNIYA, STATIONARY"):
        target_named(str(path))
    with pytest.raises(LocalError, match="no 'HUBBLE'"):
        target_named(f"{path}:HUBBLE")
    path.write_text("\n".join(ELEMENTS["ISS"]))
    assert target_named(str(path)).name == "25544U"[:5]


def test_nonsense_is_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="neither one of l4, l5, l4-orbit, sun, moon"):
        target_named("vulcan")
    line1, line2 = ELEMENTS["ISS"]
    with pytest.raises(LocalError, match="not a two-line element set"):
        TleTarget("bad", line1[:-1] + "9", line2)
    path = tmp_path / "empty.txt"
    path.write_text("hello")
    with pytest.raises(LocalError, match="no two-line elements"):
        target_named(str(path))


def test_times_outside_the_ephemeris_are_refused() -> None:
    start = tai_ns_from_utc_iso("2060-01-01T00:00:00Z")
    with pytest.raises(LocalError, match=r"1900 … 2053 wanted"):
        Sky(start, start + DAY_NS)
