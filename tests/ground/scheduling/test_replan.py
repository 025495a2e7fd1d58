"""Replanning: least change after a lost antenna, the past frozen, locks held, new requests in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ground.scheduling import satnet
from ground.scheduling.compiled import Compiled
from ground.scheduling.diff import diff
from ground.scheduling.greedy import greedy
from ground.scheduling.metrics import measure
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Gap,
    Interval,
    Mission,
    Problem,
    Quota,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.replan import replan, with_commitment
from ground.scheduling.rules import violations
from ground.scheduling.solve import solve
from protocols.errors import LocalError

HOUR = 3600 * S_NS
HORIZON = Interval(0, 48 * HOUR)


def request(name: str, antennas: str = "AB", hours: float = 4, **other) -> Request:
    views = (ViewPeriod(0, 48 * HOUR),)
    seconds = round(hours * 3600)
    other = {"minimum_s": seconds, **other}
    choices = tuple(Choice((a,), views) for a in antennas)
    return Request(name, f"m-{name}", seconds, choices=choices, **other)


def problem(*requests: Request, **other) -> Problem:
    missions = tuple(Mission(r.mission) for r in requests)
    return Problem("two days", HORIZON, (Antenna("A"), Antenna("B")), missions, requests, **other)


def track(given: Request, antenna: str, on: float, off: float) -> Track:
    return track_of(given, (antenna,), round(on * HOUR), round(off * HOUR))


def test_a_lost_antennas_track_goes_into_free_time_and_nothing_else_moves() -> None:
    x, y, z = request("x"), request("y"), request("z", "B")
    published = Schedule((track(x, "A", 1, 5), track(y, "A", 30, 34), track(z, "B", 28, 32)))
    lost = with_commitment(problem(x, y, z), "A", Interval(24 * HOUR, 48 * HOUR))
    result = replan(lost, published, now_ns=24 * HOUR)
    assert violations(lost, result.schedule) == []
    assert result.broken == (track(y, "A", 30, 34),)
    assert result.moved == ()
    (moved,) = result.schedule.by_request["y"]
    assert moved.antennas == ("B",)
    assert moved.on_ns >= 24 * HOUR
    assert moved.length_s == 4 * 3600


def test_a_neighbour_gives_way_only_where_that_wins_more_than_a_change_costs() -> None:
    day = problem(x := request("x", "B", 10), y := request("y", "AB", 20))
    published = Schedule((track(x, "B", 30, 40), track(y, "A", 24, 44)))
    lost = with_commitment(day, "A", Interval(20 * HOUR, 48 * HOUR))
    moved = replan(lost, published, now_ns=16 * HOUR)
    assert measure(lost, moved.schedule).hours == 30
    assert [t.request for t in moved.moved] == ["x"]
    dear = replan(lost, published, now_ns=16 * HOUR, change_h=25)
    assert dear.moved == ()
    assert measure(lost, dear.schedule).hours == 10


def test_a_track_in_progress_is_cut_short_where_its_minimum_is_done() -> None:
    x = request("x", "A", 10, minimum_s=4 * 3600)
    published = Schedule((track(x, "A", 2, 12),))
    lost = with_commitment(problem(x), "A", Interval(8 * HOUR, 48 * HOUR))
    result = replan(lost, published, now_ns=8 * HOUR)
    assert result.schedule.tracks == (track(x, "A", 2, 8),)
    assert violations(lost, result.schedule) == []


def test_the_past_stays_and_the_rest_of_a_split_request_is_sought() -> None:
    split = {"segments": 3, "segment_minimum_s": 2 * 3600}
    x = request("x", "AB", 8, minimum_s=8 * 3600, **split)
    y = request("y", "B", 30)
    published = Schedule((track(x, "A", 1, 5), track(x, "A", 20, 24), track(y, "B", 12, 42)))
    lost = with_commitment(problem(x, y), "A", Interval(10 * HOUR, 48 * HOUR))
    result = replan(lost, published, now_ns=10 * HOUR)
    assert violations(lost, result.schedule) == []
    first, second = result.schedule.by_request["x"]
    assert first == track(x, "A", 1, 5)
    assert second.on_ns >= 42 * HOUR
    assert result.kept == (track(x, "A", 1, 5), track(y, "B", 12, 42))


def test_what_falls_below_its_minimum_is_given_up_and_named() -> None:
    split = {"segments": 2, "segment_minimum_s": 2 * 3600}
    x = request("x", "A", 8, minimum_s=8 * 3600, **split)
    published = Schedule((track(x, "A", 1, 5), track(x, "A", 20, 24)))
    lost = with_commitment(problem(x), "A", Interval(10 * HOUR, 48 * HOUR))
    result = replan(lost, published, now_ns=10 * HOUR)
    assert result.abandoned == ("x",)
    assert result.schedule.tracks == ()


def test_a_new_request_is_fitted_in() -> None:
    x, new = request("x"), request("new", "A", 6)
    published = Schedule((track(x, "A", 20, 24),))
    result = replan(problem(x, new), published, wanted=["new"])
    assert result.moved == ()
    assert measure(problem(x, new), result.schedule).hours == 10


def test_locks_are_held_or_the_one_in_the_way_is_named() -> None:
    x, y = request("x"), request("y", "B", 40)
    locked = track(x, "B", 30, 34)
    published = Schedule((locked,))
    given = problem(x, y, locks=(locked,))
    held = replan(given, published, wanted=["y"])
    assert locked in held.schedule.tracks
    lost = with_commitment(given, "B", Interval(24 * HOUR, 48 * HOUR))
    with pytest.raises(LocalError, match="lock: x on B cannot be held: outage of B; unlock it"):
        replan(lost, published)


def test_whatever_rule_a_change_breaks_is_kept_again() -> None:
    x, y, z = request("x", minimum_s=3600), request("y"), request("z", "B")
    published = Schedule((track(x, "A", 1, 5), track(y, "A", 30, 34), track(z, "B", 31, 35)))
    day = problem(x, y, z)
    agencies = tuple(Mission(m.name, "NASA") for m in day.missions)
    changes = {
        "quota": {"missions": agencies, "quotas": (Quota("NASA", 8 * 3600),)},
        "gap": {"gaps": (Gap("x", "y", 0, 10 * 3600),)},
        "links": {"requests": (x, y, replace(z, mission="m-y"))},
        "split": {"requests": (replace(x, duration_s=2 * 3600), y, z)},
    }
    for what, changed in changes.items():
        after = replace(day, **changed)
        assert violations(after, published), what
        result = replan(after, published)
        assert violations(after, result.schedule) == [], what
        assert len(result.kept) >= 2, what


def test_segments_are_as_the_request_now_allows_them() -> None:
    two = {"segments": 2, "segment_minimum_s": 3600, "minimum_s": 3600}
    x = request("x", "A", 6, **two)
    published = Schedule((track(x, "A", 1, 4), track(x, "A", 10, 13)))
    whole = problem(replace(x, segments=1, segment_minimum_s=0))
    (one,) = replan(whole, published).schedule.tracks
    assert one.length_s == 6 * 3600
    (one,) = solve(whole, steps=10, initial=published).schedule.tracks
    assert one.length_s == 6 * 3600


def test_what_cannot_be_replanned() -> None:
    given = problem(request("x"))
    with pytest.raises(LocalError, match="'z' is not one of"):
        replan(given, Schedule(), wanted=["z"])
    with pytest.raises(LocalError, match="antenna C is not one of"):
        with_commitment(given, "C", HORIZON)
    with pytest.raises(LocalError, match="outside the horizon"):
        with_commitment(given, "A", Interval(48 * HOUR, 50 * HOUR))


@pytest.mark.parametrize("antenna", ["DSS-25", "DSS-63"])
def test_an_outage_on_wednesday_noon_of_a_real_week(shared: Path, antenna: str) -> None:
    """What the benchmark times (python -m tests.benchmarks.replan), here for its rules only."""
    folder = shared / "satnet"
    week = satnet.read_problem(folder / "problems.json", folder / "maintenance.csv", "W20_2018")
    compiled = Compiled(week)
    published = compiled.schedule(greedy(compiled))
    noon_ns = week.horizon.start_ns + 60 * HOUR
    lost = with_commitment(week, antenna, Interval(noon_ns, week.horizon.end_ns))
    result = replan(lost, published, now_ns=noon_ns, seconds=3)
    assert violations(lost, result.schedule) == []
    assert result.broken
    assert result.unmoved >= 0.95
    before = {t for t in published.tracks if t.start_ns < noon_ns} - set(result.broken)
    assert before - {t for t in before if t.request in result.abandoned} <= set(
        result.schedule.tracks
    )
    difference = diff(week, published, lost, result.schedule)
    assert difference.unchanged == len(result.kept)
    untouched = replace(lost, commitments=week.commitments)
    kept = Schedule(result.kept)
    assert measure(untouched, result.schedule).hours >= measure(untouched, kept).hours
