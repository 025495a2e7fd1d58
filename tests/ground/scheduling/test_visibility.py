"""Passes: limits, terrain, Sun, uplink, wrap, weather, slews, and the command."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.scheduling.look import Conditions, Geometry
from ground.scheduling.model import Interval, ViewPeriod
from ground.scheduling.sky import Sky
from ground.scheduling.slewing import turns
from ground.scheduling.stations import load_stations
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import Passes, find_passes
from ground.scheduling.weather import clear_fraction, clear_spells, clear_view_periods
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

STATIONS = load_stations()
S = 10**9
DAY_NS = 86_400 * S
START = tai_ns_from_utc_iso("2025-12-01T12:00:00Z")
L4 = target_named("l4")


def sky(days: int, start: str = "2025-12-01T12:00:00Z") -> Sky:
    first = tai_ns_from_utc_iso(start)
    return Sky(first, first + days * DAY_NS)


def test_a_pass_is_inside_its_mask_and_culminates_at_its_top() -> None:
    span = sky(20)
    stations = [STATIONS[name] for name in ("YEOJU", "DSS-43", "MLG")]
    passes = find_passes(stations, L4, span)
    assert len(passes) >= 60
    for i, one in enumerate(passes):
        assert one.aos_ns < one.culmination_ns < one.los_ns or "window" in (
            one.aos_limit,
            one.los_limit,
        )
        assert passes.culmination.elevation_deg[i] >= passes.aos.elevation_deg[i]
        assert one.view_period == ViewPeriod(one.aos_ns, one.los_ns)
        floor = passes.stations[passes.station[i]].elevation_deg[0]
        for look, limit in ((passes.aos, one.aos_limit), (passes.los, one.los_limit)):
            if limit == "mask":
                # The search takes refraction off the mask, the look puts it on the sight again.
                assert look.elevation_deg[i] == pytest.approx(floor, abs=1e-4)
            else:
                assert limit == "window"
    # The true top: elevation a minute to either side is lower.
    geometry = Geometry(span, stations, L4, Conditions())
    whole = (passes.aos_limit > 0) & (passes.los_limit > 0)
    top_s = (passes.culmination_ns[whole] - span.start_ns) / S
    here = geometry.elevation(passes.station[whole], top_s)
    for minutes in (-1, 1):
        beside = geometry.elevation(passes.station[whole], top_s + 60 * minutes)
        assert np.all(beside < here)


def test_a_window_cuts_passes_without_moving_the_others() -> None:
    whole = find_passes([STATIONS["YEOJU"]], L4, sky(4))
    later = find_passes([STATIONS["YEOJU"]], L4, sky(2, "2025-12-02T21:00:00Z"))
    assert later.aos_limit[0] == 0
    assert later.aos_ns[0] == tai_ns_from_utc_iso("2025-12-02T21:00:00Z")
    for end in set(later.los_ns.tolist()[:-1]):
        assert np.abs(whole.los_ns - end).min() < S // 10


def test_terrain_ends_a_pass_where_it_rises_above_the_mask() -> None:
    flat = STATIONS["YEOJU"]
    hills = replace(flat, horizon=((0.0, 0.0), (170.0, 0.0), (180.0, 25.0), (359.0, 25.0)))
    with_hills, without = (find_passes([s], L4, sky(6)) for s in (hills, flat))
    one, other = (list(p)[2] for p in (with_hills, without))
    assert (one.aos_limit, one.los_limit, other.los_limit) == ("mask", "terrain", "mask")
    assert abs(one.aos_ns - other.aos_ns) < S // 10
    assert one.los_ns < other.los_ns
    assert with_hills.los.elevation_deg[2] == pytest.approx(25, abs=0.01)


def test_a_ridge_splits_a_pass_in_two() -> None:
    ridge = ((0.0, 0.0), (139.0, 0.0), (140.0, 70.0), (142.0, 70.0), (143.0, 0.0))
    split = replace(STATIONS["YEOJU"], horizon=ridge)
    parts, whole = (find_passes([s], L4, sky(6)) for s in (split, STATIONS["YEOJU"]))
    assert len(parts) == 2 * len(whole)
    limits = [(p.aos_limit, p.los_limit) for p in parts][2:4]
    assert limits == [("mask", "terrain"), ("terrain", "mask")]


def test_stations_together_are_stations_alone() -> None:
    """Also when the grid is cut into groups of stations."""
    span = sky(3)
    chosen = [STATIONS[name] for name in ("YEOJU", "OGS", "DSS-14", "CEB")]
    together = find_passes(chosen, L4, span, uplink=True, wrap=True)
    rows: list[object] = []
    for station in chosen:
        rows += list(find_passes([station], L4, span, uplink=True, wrap=True))
    assert [repr(p) for p in together] == [repr(p) for p in rows]
    import ground.scheduling.visibility as module

    module_cells, module._MOST_CELLS = module._MOST_CELLS, 1000
    try:
        grouped = find_passes(chosen, L4, span, uplink=True, wrap=True)
    finally:
        module._MOST_CELLS = module_cells
    assert [repr(p) for p in grouped] == [repr(p) for p in together]


def test_an_uplink_arrives_one_light_time_later_and_needs_the_transmitters_elevation() -> None:
    passes = find_passes([STATIONS["DSS-14"]], L4, sky(5), uplink=True)
    assert isinstance(passes, Passes)
    for one in passes:
        for up in one.uplink:
            assert one.aos_ns <= up.start_ns < up.end_ns <= one.los_ns
            for sent, arrives in (
                (up.start_ns, up.arrival_start_ns),
                (up.end_ns, up.arrival_end_ns),
            ):
                assert (arrives - sent) / S == pytest.approx(one.light_time_s, abs=0.2)
    whole = [p for p in passes if p.aos_limit == p.los_limit == "mask"]
    assert len(whole) >= 4
    for one in whole:
        # From 6° to 10°: a good quarter of an hour.
        assert 900 < (one.uplink[0].start_ns - one.aos_ns) / S < 2400


def test_the_direction_to_send_leads_the_direction_to_receive() -> None:
    """Twice the aberration: the target moves on for two light times, 30 km/s across the line."""
    span = sky(1)
    t_s = np.linspace(0, span.length_s, 50)
    series = np.zeros(50, np.int64)
    down, up = (
        Geometry(span, [STATIONS["YEOJU"]], L4, Conditions(), uplink=uplink).look(series, t_s)
        for uplink in (False, True)
    )
    apart = np.hypot(
        (up.azimuth_deg - down.azimuth_deg + 180) % 360 - 180, up.elevation_deg - down.elevation_deg
    )
    assert 0.001 < apart.max() < 0.03
    np.testing.assert_allclose(up.light_time_s, down.light_time_s, atol=0.1)


def test_conjunction_is_flagged_and_excluded_on_demand() -> None:
    # Mars and Sun: conjunction on 2026-01-09, within a degree.
    span = sky(4, "2026-01-08T00:00:00Z")
    station, mars = STATIONS["YEOJU"], target_named("mars")
    flagged = find_passes([station], mars, span)
    assert all("sun" in p.flags for p in flagged)
    assert flagged.sun_angle_deg.max() < 2
    assert len(find_passes([station], mars, span, Conditions(exclude_sun=True))) == 0
    # It leaves the Sun's neighbourhood in sight of one complex or another.
    later = sky(14, "2026-01-10T00:00:00Z")
    around = [STATIONS[name] for name in ("YEOJU", "NNO", "CEB", "MLG", "DSS-14", "DSS-43")]
    cut = find_passes(around, mars, later, Conditions(exclude_sun=True))
    begins = [p for p in cut if p.aos_limit == "sun angle"]
    assert begins
    assert all(p.sun_angle_deg == pytest.approx(2.0, abs=1e-3) for p in begins)
    assert min(p.sun_angle_deg for p in cut) >= station.sun_angle_deg - 1e-4
    assert not any(p.flags for p in find_passes([station], target_named("sun"), span))


def test_optical_passes_are_by_night_and_away_from_the_sun() -> None:
    ogs = STATIONS["OGS"]
    span = sky(30)
    passes = find_passes([ogs], target_named("jupiter"), span)
    limits = {p.aos_limit for p in passes} | {p.los_limit for p in passes}
    assert "daylight" in limits
    sun = Geometry(span, [ogs], target_named("sun"), Conditions(refraction=False))
    for one in passes:
        t_s = (np.linspace(one.aos_ns, one.los_ns, 30) - span.start_ns) / S
        night = sun.elevation(np.zeros(30, np.int64), t_s)
        assert night.max() <= ogs.sun_elevation_deg + 0.01  # type: ignore[operator]


def test_a_track_beyond_the_wrap_is_flagged() -> None:
    tight = replace(STATIONS["YEOJU"], wrap_deg=(-180.0, 180.0))
    ok, flagged = (
        list(find_passes([s], L4, sky(3), wrap=True)) for s in (STATIONS["YEOJU"], tight)
    )
    assert not any("wrap" in p.flags for p in ok)
    assert all("wrap" in p.flags for p in flagged if p.aos_limit == p.los_limit == "mask")


def test_slews_take_turns_within_the_wrap() -> None:
    span = sky(3)
    station = STATIONS["YEOJU"]
    tracks = []
    for name in ("l4", "moon"):
        for one in find_passes([station], target_named(name), span):
            tracks.append((target_named(name), Interval(one.aos_ns, one.aos_ns + 3600 * S)))
    tracks.sort(key=lambda track: track[1])
    moves = turns(station, tracks, span)
    assert len(moves) == len(tracks)
    for move in moves:
        least, most = station.wrap_deg
        assert least <= min(move.axis_deg) <= max(move.axis_deg) <= most
        assert 0 < move.slew_s < 480 / 0.4
        assert not move.interrupted
    # From the end of the one to the begin of the next: the axis has turned as long as it says.
    for before, after in pairwise(moves):
        turn = abs(after.axis_deg[0] - before.axis_deg[1])
        assert after.slew_s >= turn / 0.4 - 1e-6
    with pytest.raises(LocalError, match="out of order"):
        turns(station, tracks[::-1], span)


def test_weather_keeps_the_climatologys_odds_and_spells() -> None:
    station = STATIONS["OCTL"]
    window = Interval(
        tai_ns_from_utc_iso("2030-07-01T00:00:00Z"), tai_ns_from_utc_iso("2030-08-01T00:00:00Z")
    )
    share, lengths = [], []
    for seed in range(60):
        spells = clear_spells(station, window, seed)
        share.append(sum(s.length_s for s in spells) / window.length_s)
        lengths += [s.length_s / 3600 for s in spells]
    assert np.mean(share) == pytest.approx(station.clear_sky[6], abs=0.04)
    # Cut off at the window's ends, so a little shorter than in the station's entry.
    assert 0.75 * 36 < np.mean(lengths) < 1.1 * 36
    assert clear_fraction(station, window.start_ns) == station.clear_sky[6]


def test_weather_is_the_same_in_every_window_of_a_seed() -> None:
    station = STATIONS["OGS"]
    start = tai_ns_from_utc_iso("2026-12-20T00:00:00Z")
    whole = clear_spells(station, Interval(start, start + 30 * DAY_NS), 5)
    part = Interval(start + 9 * DAY_NS, start + 16 * DAY_NS)  # over the turn of the year
    expected = [cut for s in whole if (cut := s.intersection(part))]
    assert clear_spells(station, part, 5) == expected
    assert clear_spells(station, part, 6) != expected
    period = ViewPeriod(part.start_ns, part.end_ns)
    assert [Interval(p.start_ns, p.end_ns) for p in clear_view_periods(station, (period,), 5)] == (
        expected
    )
    assert clear_view_periods(STATIONS["YEOJU"], (period,), 5) == (period,)
    with pytest.raises(LocalError, match="no clear_sky"):
        clear_spells(STATIONS["YEOJU"], part, 5)


# ---- the command --------------------------------------------------------------------------------


def run(*arguments: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["schedule", "visibility", *arguments])
    assert result.exit_code == status, result.output
    return result.stdout


BASIC = ("--station", "YEOJU", "--target", "l4", "--from", "2025-12-01T12:00", "--days", "3")


def test_the_table_has_a_line_for_each_pass() -> None:
    lines = run(*BASIC).splitlines()
    assert lines[0].startswith("l4 from YEOJU, UTC")
    assert len([line for line in lines if "60°" in line]) == 3


def test_json_and_csv_say_what_the_api_says() -> None:
    report = json.loads(run(*BASIC, "--json"))
    rows = list(csv.DictReader(io.StringIO(run(*BASIC, "--csv"))))
    passes = list(find_passes([STATIONS["YEOJU"]], L4, sky(3), uplink=True))
    assert len(report["passes"]) == len(rows) == len(passes)
    for record, row, one in zip(report["passes"], rows, passes, strict=True):
        for text in (record["aos"], row["aos"]):
            assert abs(tai_ns_from_utc_iso(text) - one.aos_ns) < 10**7
        assert float(row["max_elevation_deg"]) == record["max_elevation_deg"]
        assert record["uplink"][0]["arrival_end"] == row["arrival_end"]


def test_the_plot_names_its_series() -> None:
    picture = run(*BASIC, "--plot", "--mask", "10")
    assert "YEOJU l4" in picture
    assert "Elevation in degrees" in picture


def test_weather_is_shown_for_optical_stations() -> None:
    arguments = ("-s", "OGS", "-t", "jupiter", "--from", "2025-12-01", "--days", "2", "--json")
    for one in json.loads(run(*arguments, "--weather-seed", "3"))["passes"]:
        assert 0 < one["clear_sky_probability"] < 1
        assert all(one["aos"] <= a < b <= one["los"] for a, b in one["clear_sky"])


def test_a_station_file_adds_stations(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        '[antennas.MINE]\nsite = "yeoju"\ntype = "esa-35m"\n'
        "latitude_deg = 80.0\nlongitude_deg = 0.0\nheight_m = 0.0\n"
    )
    out = run(
        "-s", "MINE", "-t", "l4", "--from", "2025-02-20", "--stations-file", str(path), status=1
    )
    assert "nothing is visible" in out


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("-s", "YEOJU", "-t", "vulcan"), "target 'vulcan': neither one of l4"),
        (("-s", "DSS-41", "-t", "l4"), "station 'DSS-41': not known"),
        (("-s", "YEOJU", "-t", "l4", "--days", "0"), "--days 0: above 0"),
        (("-s", "YEOJU", "-t", "l4", "--from", "soon"), "--from 'soon' is not a UTC time"),
        (("-s", "YEOJU", "-t", "l4", "--mask", "95"), "mask 95.0°"),
        (("-s", "YEOJU", "-t", "l4", "--json", "--csv"), "one of --json, --csv"),
        (("-s", "YEOJU", "-t", "l4", "--from", "2070-01-01"), "1900 … 2053"),
    ],
)
def test_mistakes_on_the_command_line_are_told(arguments: tuple[str, ...], why: str) -> None:
    result = CliRunner().invoke(app, ["schedule", "visibility", *arguments])
    assert isinstance(result.exception, LocalError)
    assert why in str(result.exception)
