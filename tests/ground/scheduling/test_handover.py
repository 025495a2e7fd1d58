"""Slews against set-ups: what does not fit is found, what fits is not, nothing is guessed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ground.scheduling.handover import late_handovers
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Interval,
    Mission,
    Problem,
    Request,
    Schedule,
    ViewPeriod,
    track_of,
)
from ground.scheduling.sky import Sky
from ground.scheduling.stations import load_stations
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import find_passes
from protocols.timecodes.tai import tai_ns_from_utc_iso

YEOJU = load_stations()["YEOJU"]
TARGETS = {"relay": target_named("l4"), "lunar": target_named("moon")}
DAY = Interval(
    tai_ns_from_utc_iso("2026-12-07T00:00:00Z"), tai_ns_from_utc_iso("2026-12-09T00:00:00Z")
)


def common() -> Interval:
    """Three hours in which Yeoju sees both."""
    sky = Sky(DAY.start_ns, DAY.end_ns)
    seen = [
        [Interval(p.aos_ns, p.los_ns) for p in find_passes([YEOJU], target, sky)]
        for target in TARGETS.values()
    ]
    both = (a.intersection(b) for a in seen[0] for b in seen[1])
    begin_ns = next(i.start_ns for i in both if i and i.length_s > 3 * 3600)
    begin_ns += -begin_ns % S_NS
    return Interval(begin_ns, begin_ns + 3 * 3600 * S_NS)


def two_tracks(setup_s: int, gap_s: int, **more) -> tuple[Problem, Schedule]:
    """An hour of each, one after the other."""
    span = common()
    view = (ViewPeriod(span.start_ns, span.end_ns),)
    requests = tuple(
        Request(name, name, 3600, 3600, (Choice(("YEOJU",), view),), setup_s=setup_s, **more)
        for name in TARGETS
    )
    problem = Problem(
        "two", DAY, (Antenna("YEOJU", mspa=2),), tuple(Mission(n) for n in TARGETS), requests
    )
    first_ns = span.start_ns
    second_ns = first_ns + (3600 + gap_s) * S_NS
    tracks = (
        track_of(requests[0], ("YEOJU",), first_ns, first_ns + 3600 * S_NS),
        track_of(requests[1], ("YEOJU",), second_ns, second_ns + 3600 * S_NS),
    )
    return problem, Schedule(tracks)


def test_a_slew_that_does_not_fit_is_said() -> None:
    problem, schedule = two_tracks(setup_s=0, gap_s=0)
    (late,) = late_handovers(problem, schedule, {"YEOJU": YEOJU}, TARGETS)
    assert (late.antenna, late.available_s, late.interrupted) == ("YEOJU", 0, False)
    assert late.slew_s > 10
    assert "the slew from relay takes" in late.text
    # In its time it fits; in less it does not (the Moon goes on, so that the slew is another one).
    for gap_s, count in ((round(late.slew_s * 1.1), 0), (round(late.slew_s * 0.9), 1)):
        problem, schedule = two_tracks(setup_s=gap_s, gap_s=gap_s)
        assert len(late_handovers(problem, schedule, {"YEOJU": YEOJU}, TARGETS)) == count
    slower = replace(YEOJU, slew_deg_s=tuple(rate / 2 for rate in YEOJU.slew_deg_s))
    (twice,) = late_handovers(*two_tracks(0, 0), {"YEOJU": slower}, TARGETS)
    assert twice.slew_s == pytest.approx(2 * late.slew_s)


def test_a_track_that_no_wrap_holds_is_said() -> None:
    sky = Sky(DAY.start_ns, DAY.end_ns)
    top_ns = next(iter(find_passes([YEOJU], TARGETS["relay"], sky))).culmination_ns
    south = Interval(top_ns - 3600 * S_NS, top_ns + 3600 * S_NS)
    problem, _ = two_tracks(setup_s=0, gap_s=0)
    schedule = Schedule((track_of(problem.requests[0], ("YEOJU",), south.start_ns, south.end_ns),))
    # An axis that ends in the south, and one that ends beyond it.
    ends, goes_on = (replace(YEOJU, wrap_deg=wrap) for wrap in ((-180.0, 180.0), (-270.0, 270.0)))
    (late,) = late_handovers(problem, schedule, {"YEOJU": ends}, TARGETS)
    assert (late.before, late.interrupted) == (None, True)
    assert late.text.endswith(
        "relay: no wrap position holds the whole track: it is interrupted to unwrap"
    )
    assert late_handovers(problem, schedule, {"YEOJU": goes_on}, TARGETS) == []


def test_nothing_is_said_of_what_is_not_known() -> None:
    problem, schedule = two_tracks(setup_s=0, gap_s=0)
    assert late_handovers(problem, schedule, {}, TARGETS) == []
    only = {"relay": TARGETS["relay"]}
    assert late_handovers(problem, schedule, {"YEOJU": YEOJU}, only) == []


def test_one_beam_is_no_handover() -> None:
    problem, schedule = two_tracks(setup_s=0, gap_s=-1800, beam="L4")
    assert late_handovers(problem, schedule, {"YEOJU": YEOJU}, TARGETS) == []
