"""Each rule finds the schedule that breaks it, and only that rule is named."""

from __future__ import annotations

from dataclasses import replace

import pytest

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
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.rules import violations
from protocols.errors import LocalError

H_NS = 3600 * S_NS
SEE = (ViewPeriod(2 * H_NS, 20 * H_NS),)
CHOICES = (Choice(("A",), SEE), Choice(("A", "B"), SEE), Choice(("C",), SEE))


def request(name: str, mission: str, **more) -> Request:
    given = {"duration_s": 8 * 3600, "minimum_s": 6 * 3600, "setup_s": 3600, "teardown_s": 900}
    given |= {"segment_minimum_s": 4 * 3600, "segments": 2} | more
    return Request(name, mission, choices=CHOICES, **given)


LONG, OTHER = request("long", "m"), request("other", "m")
WHOLE = request("whole", "n", segments=1, segment_minimum_s=0)
PROBLEM = Problem(
    "rules",
    Interval(0, 24 * H_NS),
    (Antenna("A"), Antenna("B"), Antenna("C"), Antenna("D")),
    (Mission("m", "X"), Mission("n", "Y")),
    (LONG, OTHER, WHOLE),
    commitments=(Commitment("B", Interval(12 * H_NS, 14 * H_NS)),),
)


def track(of: Request, antennas: str, on_h: float, off_h: float) -> Track:
    return track_of(of, tuple(antennas), round(on_h * H_NS), round(off_h * H_NS))


GOOD = (track(LONG, "AB", 2, 9), track(WHOLE, "C", 3, 9))


def rules(problem: Problem, *tracks: Track) -> set[str]:
    return {line.split()[0] for line in violations(problem, Schedule(tracks))}


def test_allowed() -> None:
    assert rules(PROBLEM, *GOOD) == set()
    assert rules(PROBLEM, track(LONG, "A", 2, 6), track(LONG, "C", 6, 10)) == set()


@pytest.mark.parametrize(
    ("rule", "tracks"),
    [
        ("R2", [track(LONG, "A", 1.5, 8)]),
        ("R2", [track(LONG, "D", 2, 8)]),
        ("R2", [track(replace(LONG, id="nobody"), "A", 2, 8)]),
        ("R3", [replace(track(LONG, "A", 3, 9), start_ns=H_NS)]),
        ("R3", [replace(track(LONG, "A", 3, 9), end_ns=10 * H_NS)]),
        ("R4", [track(LONG, "A", 2, 9), track(WHOLE, "A", 10, 16)]),
        ("R5", [track(LONG, "AB", 6, 11.9)]),
        ("R6", [track(LONG, "A", 2, 9), track(OTHER, "C", 8, 14)]),
        ("R7", [track(LONG, "A", 2, 5), track(LONG, "C", 5, 9)]),
        ("R7", [track(WHOLE, "A", 2, 6), track(WHOLE, "C", 6, 9)]),
        ("R8", [track(LONG, "A", 2, 7)]),
        ("R9", [track(LONG, "A", 2, 10.5)]),
    ],
)
def test_broken(rule: str, tracks: list[Track]) -> None:
    assert rule in rules(PROBLEM, *tracks)


def test_horizon() -> None:
    problem = replace(PROBLEM, horizon=Interval(2 * H_NS, 24 * H_NS))
    assert rules(problem, *GOOD) == {"R1"}


def test_gap_quota_lock_links_and_beam() -> None:
    two = (track(LONG, "A", 2, 9), track(OTHER, "C", 9, 16))
    assert rules(PROBLEM, *two) == set()
    for gap in (Gap("long", "other", 60, 3600), Gap("other", "long", 0, 3600)):
        assert rules(replace(PROBLEM, gaps=(gap,)), *two) == {"R10"}
    used_s = 2 * (7 * 3600 + 4500)
    assert rules(replace(PROBLEM, quotas=(Quota("X", used_s),)), *two) == set()
    assert rules(replace(PROBLEM, quotas=(Quota("X", used_s - 1),)), *two) == {"R11"}
    assert rules(replace(PROBLEM, quotas=(Quota("X", used_s - 1, ("A",)),)), *two) == set()
    assert rules(replace(PROBLEM, locks=(GOOD[1],)), *two) == {"R12"}

    both = (track(LONG, "A", 2, 9), track(OTHER, "C", 4, 11))
    linked = replace(PROBLEM, missions=(Mission("m", "X", links=2), Mission("n", "Y")))
    assert rules(PROBLEM, *both) == {"R6"}
    assert rules(linked, *both) == set()

    beams = tuple(replace(r, beam="Mars") for r in PROBLEM.requests)
    shared = (track(LONG, "A", 2, 9), track(WHOLE, "A", 4, 11))
    place = (Antenna("A", mspa=2), *PROBLEM.antennas[1:])
    assert rules(replace(PROBLEM, requests=beams, antennas=place), *shared) == set()
    assert rules(replace(PROBLEM, requests=beams), *shared) == {"R4"}
    assert rules(replace(PROBLEM, antennas=place), *shared) == {"R4"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Interval(5, 5), "end must lie after"),
        (lambda: Antenna("A", mspa=0), "mspa 0"),
        (lambda: Antenna("MY_DISH"), "a name without _ and"),
        (lambda: Antenna("A + B"), "a name without _ and"),
        (lambda: Mission("m", links=0), "links 0"),
        (lambda: Choice(("B", "A"), SEE), "sorted order"),
        (lambda: request("r", "m", minimum_s=9 * 3600), "minimum_s 32400"),
        (lambda: request("r", "m", setup_s=0.5), "setup_s 0.5"),
        (lambda: request("r", "m", segment_minimum_s=0), "need a segment_minimum_s"),
        (lambda: request("r", "m", window=Interval(0, 3 * H_NS)), "outside the request's window"),
        (lambda: replace(PROBLEM, requests=(LONG, LONG)), "request stands twice: long"),
        (lambda: replace(PROBLEM, missions=(Mission("m"),)), "mission n is not one of"),
        (lambda: replace(PROBLEM, antennas=(Antenna("A"),)), "antenna B is not one of"),
        (lambda: replace(PROBLEM, gaps=(Gap("long", "x", 0, 1),)), "request x is not one of"),
    ],
)
def test_bad_values_are_named(make, message: str) -> None:
    with pytest.raises(LocalError, match=message):
        make()
