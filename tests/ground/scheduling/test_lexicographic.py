"""Objectives in an order: exact against an oracle, also where fixed weights fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ground.scheduling.lexicographic import in_order, solve_in_order
from ground.scheduling.model import Interval, Problem, Schedule
from ground.scheduling.objective import OBJECTIVES
from ground.scheduling.rules import violations
from ground.scheduling.solve import Progress, solve
from protocols.errors import LocalError
from tests.ground.scheduling.exact import optimum, random_problem
from tests.ground.scheduling.test_solve import interval, one_link, problem_of, request


@pytest.mark.parametrize("seed", range(8))
def test_the_order_is_kept_exactly(seed: int) -> None:
    problem = random_problem(seed, unit_s=60)
    most_s, _ = optimum(problem, "requests, seconds", unit_s=60)
    first = solve_in_order(problem, ("satisfied", "hours"), steps=1000)
    assert first.metrics.satisfied == optimum(problem, "requests", unit_s=60)[0]
    assert first.metrics.tracking_s == round(most_s)
    other = solve_in_order(problem, ("hours", "satisfied"), steps=1000)
    assert other.metrics.tracking_s == round(optimum(problem, "seconds", unit_s=60)[0])
    assert other.metrics.satisfied == optimum(problem, "seconds, requests", unit_s=60)[0]
    assert violations(problem, first.schedule) == violations(problem, other.schedule) == []


def long_or_many() -> Problem:
    """One antenna: 2,000 hours of one mission, or an hour each of two others."""
    long_h = 2000.0
    problem = problem_of(
        request("long", "m0", "A", long_h, view=(0, long_h)),
        request("one", "m1", "A", 1, view=(0, 1)),
        request("two", "m2", "A", 1, view=(long_h - 1, long_h)),
    )
    return replace(problem, horizon=interval(Interval, 0, long_h))


def test_two_requests_are_more_than_any_hours_of_one() -> None:
    problem = long_or_many()
    assert solve(problem, OBJECTIVES["satisfied"], steps=1000).metrics.satisfied == 1
    assert solve_in_order(problem, ("satisfied", "hours"), steps=1000).metrics.satisfied == 2
    assert solve_in_order(problem, ("hours", "satisfied"), steps=1000).metrics.satisfied == 1


@pytest.mark.parametrize("seed", range(2))
def test_the_search_keeps_the_order_too(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CP-SAT on the whole: a later part of the run takes nothing from an earlier one."""
    monkeypatch.setattr("ground.scheduling.solve.SMALL", 0)
    problem = one_link(random_problem(seed, unit_s=60))
    found: list[Progress] = []
    solution = solve_in_order(
        problem, ("satisfied", "u_max", "hours"), steps=60_000, on_progress=found.append
    )
    assert solution.metrics.satisfied == optimum(problem, "requests", unit_s=60)[0]
    assert [p.value for p in solution.curve] == sorted(p.value for p in solution.curve)
    assert [p.phase for p in found].count("compiling") == 1
    assert solution.curve[-1].metrics == solution.metrics


def test_what_stays_as_published_comes_first() -> None:
    problem = long_or_many()
    published = solve_in_order(problem, ("satisfied", "hours"), steps=1000).schedule
    problem = replace(problem, published=published)
    assert solve_in_order(problem, ("change", "hours"), steps=1000).schedule == published
    freed = solve_in_order(problem, ("hours", "change"), steps=1000).schedule
    assert freed.by_request.keys() == {"long"}


def test_orders_that_cannot_be_kept_are_refused() -> None:
    problem = long_or_many()
    for terms in ((), ("hours", "hours"), ("speed",)):
        with pytest.raises(LocalError, match="each once, wanted"):
            in_order(problem, terms)
    with pytest.raises(LocalError, match="has nothing published"):
        in_order(problem, ("change", "hours"))
    with pytest.raises(LocalError, match="leave out the last terms"):
        in_order(problem, ("u_square", "u_max", "agency_max", "hours"))
    assert in_order(replace(problem, published=Schedule(())), ("hours",)).hours == 1.0
