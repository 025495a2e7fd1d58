"""Request files: round trips of files and problems, what each key makes, and what errors say."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ground.scheduling import satnet
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
from ground.scheduling.requests import build_problem, request_file
from ground.scheduling.requests_fields import duration_s, duration_text, utc_ns, utc_text
from ground.scheduling.requests_file import MissionRow, parse_requests, write_requests
from protocols.errors import LocalError

HOUR_NS = 3600 * S_NS
BEGIN_NS = utc_ns("2026-12-07")

HEAD = """
name = "week"
start = 2026-12-07T00:00:00Z
end = "2026-12-14"
[sets]
"big ones" = ["DSS-14", "any 34 m at Madrid"]
[[antenna]]
name = "DSS-14"
complex = "Goldstone"
diameter_m = 70
[[antenna]]
name = "DSS-25"
complex = "Goldstone"
agency = "NASA"
diameter_m = 34
[[antenna]]
name = "DSS-26"
complex = "Goldstone"
diameter_m = 34
mspa = 2
[[antenna]]
name = "DSS-55"
complex = "Madrid"
diameter_m = 34
[[mission]]
name = "Relay"
agency = "KASA"
target = "l4"
[[mission]]
name = "MRO"
agency = "NASA"
links = 2
target = "mars"
"""


def always(mission: MissionRow, antenna: str, span: Interval) -> list[Interval]:
    """Every day from 06:00 to 18:00 at Goldstone, from 00:00 to 12:00 at Madrid."""
    hour = 0 if antenna == "DSS-55" else 6
    days = range((span.end_ns - span.start_ns) // (24 * HOUR_NS))
    starts = [span.start_ns + (24 * day + hour) * HOUR_NS for day in days]
    return [Interval(s, s + 12 * HOUR_NS) for s in starts]


def problem_of(body: str) -> Problem:
    return build_problem(parse_requests(HEAD + body, "week.toml"), always)


def names(problem: Problem) -> list[str]:
    return [choice.name for choice in problem.requests[0].choices]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("DSS-25", ["DSS-25"]),
        ("DSS-26 + DSS-25", ["DSS-25_DSS-26"]),
        ("any 34 m at Goldstone", ["DSS-25", "DSS-26"]),
        ("any 34m", ["DSS-25", "DSS-26", "DSS-55"]),
        ("any of NASA", ["DSS-25"]),
        ("big ones", ["DSS-14", "DSS-55"]),
        ("any 34 m at Goldstone + any at Madrid", ["DSS-25_DSS-55", "DSS-26_DSS-55"]),
        ("any 34 m at Goldstone + any 34 m at Goldstone", ["DSS-25_DSS-26"]),
    ],
)
def test_antenna_choices(expression: str, expected: list[str]) -> None:
    body = f'[[request]]\nid="x"\nmission="MRO"\nduration="2h"\nantennas=["{expression}"]'
    assert names(problem_of(body)) == expected


def test_a_baseline_sees_when_both_of_its_antennas_see() -> None:
    body = '[[request]]\nid="x"\nmission="MRO"\nduration="2h"\nantennas=["DSS-25 + DSS-55"]'
    periods = problem_of(body).requests[0].choices[0].view_periods
    assert len(periods) == 7
    assert {p.length_s for p in periods} == {6 * 3600}


def test_a_periodic_request_is_one_a_period_with_gaps() -> None:
    problem = problem_of(
        """
[[request]]
id = "daily"
mission = "Relay"
duration = "8h"
minimum = "6h"
antennas = ["any 34 m"]
every = "24h"
gap = ["12h", "20h"]
"""
    )
    assert [r.id for r in problem.requests] == [f"daily.{n}" for n in range(1, 8)]
    assert problem.gaps == tuple(
        Gap(a.id, b.id, 12 * 3600, 20 * 3600) for a, b in pairwise(problem.requests)
    )
    for first, second in pairwise(problem.requests):
        assert first.window is not None
        assert second.window is not None
        assert first.window.end_ns == second.window.start_ns


def test_windows_cut_view_periods() -> None:
    problem = problem_of(
        """
[[request]]
id = "x"
mission = "Relay"
duration = "2h"
antennas = ["DSS-25"]
windows = [["2026-12-07T04:00:00Z", "2026-12-07T08:30:00Z"], [2026-12-09, 2026-12-09T07:00:00Z]]
"""
    )
    (choice,) = problem.requests[0].choices
    assert [p.length_s / 3600 for p in choice.view_periods] == [2.5, 1]


def test_commitments_and_shares() -> None:
    problem = problem_of(
        """
[[request]]
id = "x"
mission = "Relay"
duration = "2h"
antennas = ["DSS-25"]
[[commitment]]
antenna = "any at Goldstone"
start = 2026-12-08T00:00:00Z
end = 2026-12-09T00:00:00Z
kind = "outage"
[[quota]]
agency = "KASA"
share = 0.25
antennas = ["DSS-25"]
"""
    )
    assert [c.antenna for c in problem.commitments] == ["DSS-14", "DSS-25", "DSS-26"]
    assert problem.quotas == (Quota("KASA", 6 * 86_400 // 4, ("DSS-25",)),)


REQUEST = '\n[[request]]\nid = "x"\nmission = "Relay"\nduration = "2h"\nantennas = ["DSS-25"]\n'


@pytest.mark.parametrize(
    ("body", "parts"),
    [
        ('duration = "eight"', ["request 1 (x)", "duration = 'eight'", "8h, 45m"]),
        ("duration = 8", ["request 1 (x)", "duration = 8", "8h, 45m"]),
        ('mission = "Rely"', ["request 1 (x)", "'Rely'", "Relay meant?", "Relay, MRO"]),
        ('antennas = ["DSS-24"]', ["request 1 (x)", "'DSS-24'", "DSS-26 meant?", "big ones"]),
        ('antennas = ["any 35 m at Madrid"]', ["any 35 m at Madrid", "34 m"]),
        ('antennas = ["any at Yeoju"]', ["'Yeoju'", "Goldstone, Madrid"]),
        ('antennas = ["DSS-25 + DSS-25"]', ["same antenna twice"]),
        ('setup_time = "1h"', ["setup_time: no such key", "setup meant?", "teardown"]),
        ('minimum = "3h"', ["request x", "minimum_s 10800", "7200"]),
        ("segments = 2", ["request x", "segment_minimum_s"]),
        ('gap = ["1h", "2h"]', ["gap", "every"]),
        ('every = "24h"\ngap = ["2h", "1h"]', ["gap = ['2h', '1h']", '["12h", "20h"]']),
        ('every = "0h"', ["every = '0h'", "above 0"]),
        ("priority = 0", ["priority = 0", "above 0"]),
        (
            'window = ["2026-12-07", "2026-12-06"]',
            ["window", "2026-12-07T00:00:00Z … 2026-12-06T00:00:00Z: its end"],
        ),
        ('window = ["2027-12-07", "2027-12-08"]', ["request 1 (x)", "outside of the plan", "2026"]),
        ('[[request]]\nid = "y"\nmission = "Relay"', ["request 2 (y)", "duration is missing"]),
        (REQUEST, ["request stands twice: x"]),
        ('[[quota]]\nagency = "ESA"\nshare = 0.1', ["quota 1 (ESA)", "KASA, NASA"]),
        ('[[quota]]\nagency = "NASA"', ["maximum or share"]),
        ('[[lock]]\nrequest = "z"\nantennas = []\non = 2026-12-07\noff = 2026-12-08', ["'z'"]),
        ("[[reqest]]", ["reqest", "[[request]] meant?"]),
    ],
)
def test_errors_name_file_table_key_value_and_what_is_allowed(body: str, parts: list[str]) -> None:
    key = body.split(" =")[0]
    kept = "" if body.startswith("[[") or body == REQUEST else key
    text = REQUEST if not kept else re.sub(rf"(?m)^{key} = .*\n", "", REQUEST)
    with pytest.raises(LocalError) as caught:
        problem_of(text + body)
    for part in ["week.toml", *parts]:
        assert part in str(caught.value)


@given(st.integers(0, 10**7))
def test_durations_round_trip(seconds: int) -> None:
    assert duration_s(duration_text(seconds)) == seconds


@given(st.integers(0, 2**62))
def test_times_round_trip(tai_ns: int) -> None:
    assert utc_ns(utc_text(tai_ns)) == tai_ns


@pytest.mark.parametrize("text", ["", " ", "8", "h", "1.3333h", "8h 30", "-1h", "8 hours"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        duration_s(text)


ANTENNAS = tuple(Antenna(f"DSS-{n}", "Goldstone" * (n % 2), "NASA", n % 3 + 1) for n in range(4))
MISSIONS = (Mission("A", "NASA"), Mission("B b", "ESA", 2), Mission('"C"', ""))


@st.composite
def requests(draw: st.DrawFn, number: int) -> Request:
    sets = draw(
        st.lists(
            st.sets(st.sampled_from([a.name for a in ANTENNAS]), min_size=1).map(
                lambda s: tuple(sorted(s))
            ),
            unique=True,
            max_size=3,
        )
    )
    edges = st.lists(st.integers(0, 10**15), unique=True, max_size=6).map(sorted)
    duration = draw(st.integers(1, 10**5))
    return Request(
        id=f"r{number}",
        mission=draw(st.sampled_from([m.name for m in MISSIONS])),
        duration_s=duration,
        minimum_s=draw(st.integers(1, duration)),
        choices=tuple(
            Choice(
                those,
                tuple(ViewPeriod(BEGIN_NS + a, BEGIN_NS + b) for a, b in pairwise(draw(edges))),
            )
            for those in sets
        ),
        setup_s=draw(st.integers(0, 9999)),
        teardown_s=draw(st.integers(0, 9999)),
        segment_minimum_s=draw(st.integers(1, 9999)),
        segments=draw(st.integers(1, 4)),
        priority=draw(st.floats(0.001, 1000)),
        beam=draw(st.sampled_from(["", "mars"])),
        window=draw(st.sampled_from([None, Interval(BEGIN_NS, BEGIN_NS + 10**15)])),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    made = tuple(draw(requests(n)) for n in range(draw(st.integers(0, 3))))
    tracks = tuple(
        track_of(r, c.antennas, p.start_ns, p.end_ns)
        for r in made
        for c in r.choices[:1]
        for p in c.view_periods[:1]
    )
    ids = [r.id for r in made]
    return Problem(
        name=draw(st.text(min_size=1)),
        horizon=Interval(BEGIN_NS, BEGIN_NS + draw(st.integers(1, 10**15))),
        antennas=ANTENNAS,
        missions=MISSIONS,
        requests=made,
        commitments=tuple(
            Commitment(name, Interval(BEGIN_NS, BEGIN_NS + 5), kind, draw(st.text()))
            for name, kind in (("DSS-1", "maintenance"), ("DSS-2", "outage"))
        ),
        gaps=tuple(Gap(a, b, 0, draw(st.integers(0, 10**6))) for a, b in pairwise(ids)),
        quotas=(Quota("ESA", draw(st.integers(0, 10**6)), ("DSS-0", "DSS-1")),),
        locks=tracks[:1],
        published=Schedule(tracks) if tracks else None,
    )


@pytest.mark.parametrize("form", ["toml", "json"])
@given(problems())
def test_a_problem_written_and_read_is_the_same(form: str, problem: Problem) -> None:
    file = replace(request_file(problem), source=f"x.{form}")
    again = parse_requests(write_requests(file, form), file.source)
    assert again == file
    assert build_problem(again) == problem


@pytest.mark.parametrize("form", ["toml", "json"])
@pytest.mark.parametrize("week", ["W10_2018", "W20_2018", "W50_2018"])
def test_real_weeks_round_trip(shared: Path, week: str, form: str) -> None:
    folder = shared / "satnet"
    problem = satnet.read_problem(folder / "problems.json", folder / "maintenance.csv", week)
    text = write_requests(request_file(problem), form)
    assert build_problem(parse_requests(text, f"week.{form}")) == problem
