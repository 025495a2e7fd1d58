"""Visibility beside skyfield's own searches.

    .venv/bin/python -m tests.benchmarks --only bench_visibility
    .venv/bin/python tests/benchmarks/bench_visibility.py

The peers are skyfield's `almanac.find_risings` and `find_settings` at the station's mask (the
quickest that it has) and its satellites' `find_events`, both with one station and target a call, as
their users do; they do one of the pairs, or a part of the year, where all would take minutes.  The
passes are compared first: the same ones, to a second (skyfield's search is good to that).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from ground.scheduling.look import Conditions, sun_table
from ground.scheduling.sky import Sky, open_ephemeris
from ground.scheduling.stations import Station, load_stations
from ground.scheduling.targets import BODIES, TleTarget, target_named
from ground.scheduling.visibility import find_passes
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.benchmarks.harness import Case, measure

DAY_NS = 86_400 * 10**9
START = tai_ns_from_utc_iso("2025-01-01T00:00:00Z")
AIRLESS = Conditions(least_elevation_deg=10.0, refraction=False)
ISS = (
    "1 25544U 98067A   14020.93268519  .00009878  00000-0  18200-3 0  5082",
    "2 25544  51.6498 109.4756 0003572  55.9686 274.8005 15.49815350868473",
)
ISS_START = tai_ns_from_utc_iso("2014-01-21T00:00:00Z")


def _topos(station: Station) -> object:
    from skyfield.api import wgs84

    latitude, longitude, height = station.geodetic
    return wgs84.latlon(latitude, longitude, elevation_m=height)


def _seconds(times: object, start_ns: int) -> np.ndarray:
    timescale = open_ephemeris()[1]
    days, rest = divmod(start_ns, DAY_NS)
    first = timescale.tai_jd(2_436_204.5 + days, rest / 8.64e13)
    return np.array([86_400 * (t - first) for t in times])  # type: ignore[attr-defined]


def _same(ours: object, theirs: object) -> bool:
    """Rise and set, each to a second; those within a minute of the window's ends are anybody's."""
    for a, b in zip(ours, theirs, strict=True):  # type: ignore[call-overload]
        if len(a) != len(b) or np.abs(a - b).max(initial=0) > 1.0:
            return False
    return True


def one_pair() -> Iterable[Case]:
    days, station = 90, load_stations()["DSS-14"]
    end = START + days * DAY_NS

    def ours() -> object:
        passes = find_passes([station], target_named("mars"), Sky(START, end), AIRLESS)
        return [
            (ns[limit == 1] - START) / 1e9
            for ns, limit in (
                (passes.aos_ns, passes.aos_limit),
                (passes.los_ns, passes.los_limit),
            )
        ]

    def skyfield() -> Callable[[], object]:
        from skyfield import almanac

        ephemeris = open_ephemeris()[0]
        sky = Sky(START, end)

        def search() -> object:
            observer = ephemeris["earth"] + _topos(station)
            t0, t1 = sky.time(np.array(0.0)), sky.time(np.array(sky.length_s))
            found = []
            for find in (almanac.find_risings, almanac.find_settings):
                times, real = find(observer, ephemeris["mars"], t0, t1, horizon_degrees=10.0)
                found.append(_seconds(times[real], START))
            return found

        return search

    yield Case(
        f"Mars from DSS-14, rise and set in {days} days",
        days,
        "antenna-target-days/s",
        ours,
        {"skyfield find_risings": skyfield},
        scale=1.0,
        equal=_same,
    )


def a_year() -> Iterable[Case]:
    stations = [s for s in load_stations().values() if s.kind == "radio"][:20]
    names = ["l4", "l5", *BODIES]
    targets = [target_named(names[i % len(names)]) for i in range(30)]
    days = 365

    def ours() -> object:
        sky = Sky(START, START + days * DAY_NS)
        sun = sun_table(sky)
        return sum(len(find_passes(stations, target, sky, AIRLESS, sun=sun)) for target in targets)

    def skyfield() -> Callable[[], object]:
        from skyfield import almanac

        ephemeris = open_ephemeris()[0]
        sky = Sky(START, START + days * DAY_NS)

        def search() -> object:
            observer = ephemeris["earth"] + _topos(stations[0])
            t0, t1 = sky.time(np.array(0.0)), sky.time(np.array(sky.length_s))
            almanac.find_risings(observer, ephemeris["mars"], t0, t1, horizon_degrees=10.0)
            return almanac.find_settings(observer, ephemeris["mars"], t0, t1, horizon_degrees=10.0)

        return search

    yield Case(
        "a year, 20 antennas × 30 targets: rise, set, culmination, look angles, Sun",
        days * len(stations) * len(targets),
        "antenna-target-days/s",
        ours,
        {"skyfield find_risings, one pair": skyfield},
        scale=1.0,
        peer_units={"skyfield find_risings, one pair": days},
        # "In seconds": under ten of them.
        goal_rate=days * 600 / 10,
    )


def satellite() -> Iterable[Case]:
    days, station = 30, load_stations()["YEOJU"]
    end = ISS_START + days * DAY_NS

    def ours() -> object:
        passes = find_passes([station], TleTarget("ISS", *ISS), Sky(ISS_START, end), AIRLESS)
        return [
            (ns[limit == 1] - ISS_START) / 1e9
            for ns, limit in (
                (passes.aos_ns, passes.aos_limit),
                (passes.los_ns, passes.los_limit),
            )
        ]

    def skyfield() -> Callable[[], object]:
        from skyfield.api import EarthSatellite

        timescale = open_ephemeris()[1]
        sky = Sky(ISS_START, end)

        def search() -> object:
            found = EarthSatellite(*ISS, "ISS", timescale).find_events(
                _topos(station),
                sky.time(np.array(0.0)),
                sky.time(np.array(sky.length_s)),
                altitude_degrees=10.0,
            )
            seconds = _seconds(found[0], ISS_START)
            return [seconds[found[1] == kind] for kind in (0, 2)]

        return search

    yield Case(
        f"ISS from Yeoju, passes in {days} days",
        days,
        "antenna-target-days/s",
        ours,
        {"skyfield find_events": skyfield},
        scale=1.0,
        equal=_same,
    )


def cases() -> Iterable[Case]:
    yield from one_pair()
    yield from satellite()
    yield from a_year()


if __name__ == "__main__":
    for case in cases():
        print(case.name, measure(case, runs=3))
