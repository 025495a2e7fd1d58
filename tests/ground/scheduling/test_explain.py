"""Explanations and proposals: each cause made on purpose, each proposal proved by the rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ground.scheduling import satnet
from ground.scheduling.compiled import Compiled
from ground.scheduling.explain import CAUSES, explain
from ground.scheduling.greedy import greedy
from ground.scheduling.metrics import allocated_s
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Gap,
    Interval,
    Mission,
    Problem,
    Quota,
    Request,
    Schedule,
    ViewPeriod,
    track_of,
)
from ground.scheduling.proposals import propose
from ground.scheduling.rules import violations
from protocols.errors import LocalError

HOUR = 3600 * S_NS


def views(*hours: tuple[float, float]) -> tuple[ViewPeriod, ...]:
    return tuple(ViewPeriod(round(a * HOUR), round(b * HOUR)) for a, b in hours)


def request(name: str, mission: str, *choices: Choice, hours: float = 4, **other) -> Request:
    seconds = round(hours * 3600)
    return Request(name, mission, seconds, seconds, choices, **other)


def problem(*requests: Request, **other) -> Problem:
    return Problem(
        "day",
        Interval(0, 24 * HOUR),
        (Antenna("A"), Antenna("B")),
        (Mission("relay", "KARI"), Mission("mro", "NASA")),
        requests,
        **other,
    )


def only(given: Problem, schedule: Schedule = Schedule()):  # noqa: B008
    (found,) = explain(given, schedule, ["x"])
    return found


def kinds(given: Problem, schedule: Schedule = Schedule()) -> set[str]:  # noqa: B008
    proposals = propose(given, schedule, "x")
    before = allocated_s(given, schedule)["x"]
    for proposal in proposals:
        assert violations(proposal.problem, proposal.schedule) == []
        assert allocated_s(proposal.problem, proposal.schedule)["x"] == proposal.given_s > before
    return {p.kind for p in proposals}


def test_a_target_that_is_never_seen() -> None:
    given = problem(request("x", "relay", Choice(("A",), ())))
    assert only(given).cause == "no-view"
    assert kinds(given) == set()


def test_a_window_that_cuts_a_pass() -> None:
    """As midnight does, where periods are counted from it."""
    window = Interval(8 * HOUR, 11 * HOUR)
    x = replace(
        request("x", "relay", Choice(("A",), views((8, 11))), window=window), minimum_s=2 * 3600
    )
    after = request("y", "relay", Choice(("A",), views((11, 15))))
    given = problem(x, after)
    schedule = Schedule((track_of(x, ("A",), 8 * HOUR, 11 * HOUR),))
    found = only(given, schedule)
    assert found.cause == "view-too-short"
    assert "minimum 2h, window 1958-01-01T0" in found.text
    (proposal,) = (p for p in propose(given, schedule, "x") if p.kind == "window")
    assert proposal.given_s == x.duration_s
    assert "ends later by 1h" in proposal.text


def test_view_periods_too_short() -> None:
    given = problem(request("x", "relay", Choice(("A",), views((1, 4), (8, 11)))))
    assert only(given).cause == "view-too-short"
    assert kinds(given) == {"minimum"}


def test_the_horizon_cuts_set_up_off() -> None:
    given = problem(request("x", "relay", Choice(("A",), views((0, 4.5))), setup_s=3600))
    assert only(given).cause == "horizon"


def test_maintenance() -> None:
    given = problem(
        request("x", "relay", Choice(("A",), views((2, 8)))),
        commitments=(Commitment("A", Interval(5 * HOUR, 6 * HOUR), "maintenance", "gearbox"),),
    )
    explanation = only(given)
    assert explanation.cause == "commitment"
    assert "gearbox" in explanation.text
    assert explanation.reach["commitments"].seconds == 3 * 3600
    assert kinds(given) == {"minimum", "commitment"}


def test_the_missions_own_track() -> None:
    own = request("own", "relay", Choice(("B",), views((0, 24))), hours=6)
    given = problem(own, request("x", "relay", Choice(("A",), views((2, 8)))))
    schedule = Schedule((track_of(own, ("B",), 2 * HOUR, 8 * HOUR),))
    assert only(given, schedule).cause == "own-tracks"
    assert kinds(given, schedule) == {"links", "antenna", "exchange"}


def test_a_gap() -> None:
    own = request("own", "relay", Choice(("B",), views((0, 24))), hours=2)
    given = problem(
        own,
        request("x", "relay", Choice(("A",), views((6, 12)))),
        gaps=(Gap("own", "x", 10 * 3600, 20 * 3600),),
    )
    schedule = Schedule((track_of(own, ("B",), 2 * HOUR, 4 * HOUR),))
    assert only(given, schedule).cause == "own-tracks"
    assert "gap" in kinds(given, schedule)


def test_a_gap_that_is_too_long_already() -> None:
    """A pass in which the request fits begins later than the gap allows: that is no room."""
    own = request("own", "relay", Choice(("B",), views((0, 24))), hours=2)
    x = request("x", "relay", Choice(("A",), views((3, 6), (12, 20))))
    given = problem(own, x, gaps=(Gap("own", "x", 0, 4 * 3600),))
    schedule = Schedule((track_of(own, ("B",), 0, 2 * HOUR),))
    assert only(given, schedule).cause == "own-tracks"
    late = replace(given, gaps=(Gap("x", "own", 0, 4 * 3600),))
    after = Schedule((track_of(own, ("B",), 22 * HOUR, 24 * HOUR),))
    assert only(late, after).cause == "open"
    early = replace(late, gaps=(Gap("x", "own", 0, 3600),))
    assert only(early, after).cause == "own-tracks"
    # A split one may begin in time and go on later.
    split = replace(x, duration_s=7 * 3600, minimum_s=7 * 3600, segments=2, segment_minimum_s=3600)
    assert only(replace(given, requests=(own, split)), schedule).cause == "open"


def test_a_quota() -> None:
    given = problem(
        request("x", "relay", Choice(("A",), views((2, 8))), setup_s=1800),
        quotas=(Quota("KARI", 3 * 3600),),
    )
    explanation = only(given)
    assert explanation.cause == "quota"
    assert explanation.reach["quota"].seconds == round(2.5 * 3600)
    assert "quota" in kinds(given)


def test_competitors_and_an_exchange() -> None:
    other = request("y", "mro", *(Choice((a,), views((0, 24))) for a in "AB"), hours=6, priority=2)
    given = problem(other, request("x", "relay", Choice(("A",), views((2, 8)))))
    schedule = Schedule((track_of(other, ("A",), 3 * HOUR, 9 * HOUR),))
    explanation = only(given, schedule)
    assert explanation.cause == "competitors"
    (competitor,) = explanation.competitors
    assert (competitor.request, competitor.agency, competitor.priority) == ("y", "NASA", 2)
    assert competitor.blocked_s == 5 * 3600
    assert kinds(given, schedule) == {"minimum", "exchange"}
    exchange = next(p for p in propose(given, schedule, "x") if p.kind == "exchange")
    assert exchange.lost_s == 0
    assert exchange.changes[0].startswith("move y (mro, NASA) to")


def test_a_shifted_window_and_another_antenna() -> None:
    seen = request("seen", "relay", Choice(("A",), views((10, 20))), Choice(("B",), views((2, 7))))
    other = request("y", "mro", Choice(("A",), views((0, 24))), hours=12)
    wanted = request(
        "x", "relay", Choice(("A",), views((10, 14))), window=Interval(2 * HOUR, 14 * HOUR)
    )
    given = problem(seen, other, wanted)
    schedule = Schedule((track_of(other, ("A",), 0, 12 * HOUR),))
    proposals = {p.kind: p for p in propose(given, schedule, "x")}
    assert set(proposals) >= {"window", "antenna", "minimum"}
    assert "ends later by 2h:" in proposals["window"].text
    assert "B as well" in proposals["antenna"].text
    assert kinds(given, schedule) == set(proposals)


def test_room_that_is_there() -> None:
    given = problem(request("x", "relay", Choice(("A",), views((2, 8)))))
    assert only(given).cause == "open"
    assert kinds(given) == {"room"}


def test_what_cannot_be_explained() -> None:
    given = problem(request("x", "relay", Choice(("A",), views((2, 8)))))
    with pytest.raises(LocalError, match="'z' is not one of day"):
        explain(given, Schedule(), ["z"])
    with pytest.raises(LocalError, match="'z' is not one of day"):
        propose(given, Schedule(), "z")
    full = Schedule((track_of(given.requests[0], ("A",), 2 * HOUR, 6 * HOUR),))
    assert explain(given, full) == []
    with pytest.raises(LocalError, match="unlock"):
        propose(replace(given, locks=full.tracks), full, "x")


def test_a_real_week(shared: Path) -> None:
    folder = shared / "satnet"
    week = satnet.read_problem(folder / "problems.json", folder / "maintenance.csv", "W10_2018")
    compiled = Compiled(week)
    schedule = compiled.schedule(greedy(compiled))
    given = allocated_s(week, schedule)
    found = explain(week, schedule)
    assert {e.request.id for e in found} == {
        r.id for r in week.requests if given[r.id] < r.duration_s
    }
    for explanation in found:
        assert explanation.cause in CAUSES
        steps = [reach.seconds for reach in explanation.reach.values()]
        # What stands in the way of others' tracks can be told only where somebody has some.
        assert (explanation.cause == "competitors") <= bool(explanation.competitors)
        assert steps[-1] <= steps[0] or explanation.request.segments > 1
    nothing = [e.request.id for e in found if not e.given_s]
    proposed = 0
    for name in nothing[:3]:
        for proposal in propose(week, schedule, name):
            proposed += 1
            assert violations(proposal.problem, proposal.schedule) == []
            then = allocated_s(proposal.problem, proposal.schedule)
            assert then[name] == proposal.given_s > 0
    assert proposed
