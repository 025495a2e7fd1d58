"""Bounds hold: against exact optima of small problems, and schedules known for real weeks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from ground.scheduling.bound import (
    lower_bound_u_max,
    lower_bound_u_rms,
    lower_bound_unfairness,
    upper_bound_hours,
    upper_bound_requests,
    upper_bound_weighted_hours,
)
from ground.scheduling.bound_fairness import attainable
from ground.scheduling.metrics import measure
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Request,
    ViewPeriod,
)
from ground.scheduling.rules import violations
from ground.scheduling.satnet import read_problem
from protocols.errors import LocalError
from tests.ground.scheduling.exact import optimum, random_problem

SATNET = Path(__file__).parents[4] / "shared" / "satnet"
LONG = 600.0  # seconds that no small problem needs: the descent ends by itself

# Hours and U_RMS of schedules that an independent checker found valid (earlier solvers').
KNOWN = {
    "W10_2018": (1076.0, 0.092, 0.206),
    "W20_2018": (1273.0, 0.090, 0.464),
    "W50_2018": (1062.0, 0.171, 0.531),
}


def seconds_of(bound):
    # One float division away from exact.
    return bound.value * 3600 + 1e-6


@pytest.mark.parametrize("seed", range(30))
def test_hours_are_never_below_the_optimum(seed):
    problem = random_problem(seed)
    best, schedule = optimum(problem, "seconds")
    assert violations(problem, schedule) == []
    assert measure(problem, schedule).tracking_s == best
    reported = []
    bound = upper_bound_hours(problem, seconds=LONG, on_progress=reported.append)
    assert bound.converged
    assert bound.proven
    assert seconds_of(bound) >= best
    assert all(seconds_of(b) >= best for b in reported)
    values = [b.value for b in reported]
    assert values == sorted(values, reverse=True)
    assert values[-1] == bound.value


@pytest.mark.parametrize("seed", range(100, 108))
def test_coarse_grids_seek_and_seconds_prove(seed):
    """With 240 s to a unit the descent runs on steps of 5 and 1 s; the proof must not notice."""
    problem = random_problem(seed, unit_s=240)
    best, _ = optimum(problem, "seconds", unit_s=240)
    assert seconds_of(upper_bound_hours(problem, seconds=LONG)) >= best


@pytest.mark.parametrize("seed", range(200, 210))
def test_requests(seed):
    problem = random_problem(seed)
    best, _ = optimum(problem, "requests")
    bound = upper_bound_requests(problem, seconds=LONG)
    assert best <= bound.value <= len(problem.requests)
    assert bound.value == int(bound.value)


@pytest.mark.parametrize("seed", range(300, 310))
def test_unfairness_from_below(seed):
    problem = random_problem(seed)
    missions = len({r.mission for r in problem.requests})
    rms, worst = lower_bound_unfairness(problem, seconds=2 * LONG)
    squares, _ = optimum(problem, "u_rms_square")
    # The optimum's table is rounded down by less than 1e-6 an entry.
    assert rms.value <= math.sqrt(squares / missions + 1e-6)
    greatest, _ = optimum(problem, "u_max")
    assert worst.value <= greatest + 1e-6


def test_attainable_sums():
    requests = [(2, 3), (10, 10)]
    assert attainable(requests, 13) == [(0, 0), (2, 3), (10, 10), (12, 13)]
    assert attainable(requests, 12) == [(0, 0), (2, 3), (10, 10), (12, 12)]
    assert attainable(requests, 9) == [(0, 0), (2, 3)]
    assert attainable([(4, 6), (5, 9)], 15) == [(0, 0), (4, 15)]


def test_what_cannot_be_given_in_part_bounds_fairness():
    """Three missions, room for two: one has nothing at all, not each a third too little."""
    request = one_request().requests[0]
    fixed = replace(request, duration_s=2, minimum_s=2, setup_s=1)
    requests = tuple(replace(fixed, id=m, mission=m) for m in "mno")
    problem = one_request(missions=tuple(Mission(m) for m in "mno"), requests=requests)
    worst = lower_bound_u_max(problem, seconds=LONG).value
    mean = lower_bound_u_rms(problem, seconds=LONG).value
    # As fractions of a request the missions would share the loss: 1/3 each.
    assert 0.9 <= worst <= 1
    assert 0.5 <= mean <= math.sqrt(1 / 3)


def test_bounds_are_near_the_optimum():
    """Valid is not enough: over the random problems the gap is small on the whole."""
    best = bounded = 0.0
    for seed in range(30):
        problem = random_problem(seed)
        best += optimum(problem, "seconds")[0]
        bounded += upper_bound_hours(problem, seconds=LONG).value * 3600
    assert best <= bounded <= 1.06 * best


def test_stopped_at_once_is_proven_still():
    problem = random_problem(3)
    best, _ = optimum(problem, "seconds")
    early = upper_bound_hours(problem, seconds=0)
    assert not early.converged
    assert seconds_of(early) >= best
    assert early.value >= upper_bound_hours(problem, seconds=LONG).value
    assert 0.0 <= lower_bound_u_rms(problem, seconds=0).value <= 1.0


def test_same_values_again():
    problem = random_problem(5)
    runs = []
    for _ in range(2):
        reported = []
        upper_bound_hours(problem, seconds=LONG, on_progress=reported.append)
        runs.append([(b.steps, b.value) for b in reported])
    assert runs[0] == runs[1]


def one_request(**changes):
    request = Request(
        id="r", mission="m", duration_s=5, minimum_s=5,
        choices=(Choice(("A",), (ViewPeriod(S_NS // 2, 11 * S_NS // 2),)),),
    )  # fmt: skip
    problem = Problem(
        name="one",
        horizon=Interval(0, 20 * S_NS),
        antennas=(Antenna("A"),),
        missions=(Mission("m"),),
        requests=(request,),
    )
    return replace(problem, **changes)


def test_instants_between_seconds_are_rounded_outwards():
    """Tracking [0.5 s, 5.5 s), next to maintenance from 5.5 s on: it fits, so 5 s are possible."""
    shut = Commitment("A", Interval(11 * S_NS // 2, 19 * S_NS))
    bound = upper_bound_hours(one_request(commitments=(shut,)), seconds=LONG)
    assert seconds_of(bound) >= 5


def test_no_room_gives_nothing():
    shut = Commitment("A", Interval(0, 20 * S_NS))
    problem = one_request(commitments=(shut,))
    assert upper_bound_hours(problem, seconds=LONG).value == pytest.approx(0, abs=1e-3)
    assert lower_bound_u_max(problem, seconds=LONG).value == pytest.approx(1, abs=1e-3)


def test_no_requests():
    problem = one_request(requests=())
    assert upper_bound_hours(problem, seconds=1).value == 0
    assert lower_bound_u_rms(problem, seconds=1).value == 0


def test_spacecraft_in_one_beam_share_an_antenna():
    """Two at once through one antenna of `mspa` 2: the bound must not count its time twice."""
    beam = one_request().requests[0]
    both = (replace(beam, beam="mars"), replace(beam, id="s", mission="n", beam="mars"))
    missions = (Mission("m"), Mission("n"))
    shared = one_request(antennas=(Antenna("A", mspa=2),), missions=missions, requests=both)
    assert seconds_of(upper_bound_hours(shared, seconds=LONG)) >= 10
    alone = one_request(missions=missions, requests=both)
    assert seconds_of(upper_bound_hours(alone, seconds=LONG)) < 5.1


def test_priorities_weigh_hours():
    request = one_request().requests[0]
    problem = one_request(requests=(replace(request, priority=3.0),))
    assert upper_bound_weighted_hours(problem, seconds=LONG).value * 3600 >= 15 - 1e-6


def test_a_price_is_what_a_request_displaces():
    """Two requests for the only window: either is given at the price of the other."""
    request = one_request().requests[0]
    missions = (Mission("m"), Mission("n"))
    both = (request, replace(request, id="s", mission="n"))
    bound = upper_bound_hours(one_request(missions=missions, requests=both), seconds=LONG)
    assert set(bound.prices) == {"r", "s"}
    assert sum(bound.prices.values()) + bound.antennas["A"] == pytest.approx(bound.value, rel=1e-2)


def test_negative_seconds_are_refused():
    with pytest.raises(LocalError, match="seconds -1"):
        upper_bound_hours(one_request(), seconds=-1)


@pytest.mark.skipif(not SATNET.exists(), reason="../shared/satnet: the real weeks are not here")
@pytest.mark.parametrize(
    "week",
    [
        "W20_2018",
        pytest.param("W10_2018", marks=pytest.mark.long),
        pytest.param("W50_2018", marks=pytest.mark.long),
    ],
)
def test_real_weeks(week):
    problem = read_problem(SATNET / "problems.json", SATNET / "maintenance.csv", week)
    hours, rms, worst = KNOWN[week]
    bound = upper_bound_hours(problem, seconds=LONG, steps=400)
    assert hours <= bound.value <= 1.05 * hours
    # The steps after which there is a bound above 0 at all.
    steps = 400 if week == "W10_2018" else 120
    assert 0 < lower_bound_u_rms(problem, seconds=LONG, steps=steps).value <= rms
    assert 0 < lower_bound_u_max(problem, seconds=LONG, steps=steps).value <= worst
