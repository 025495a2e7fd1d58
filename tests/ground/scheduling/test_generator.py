"""Generated weeks look like the real ones."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from ground.scheduling.generator import generate
from ground.scheduling.model import Problem
from ground.scheduling.rules import violations
from ground.scheduling.satnet import read_problem
from ground.scheduling.solve import solve
from protocols.errors import LocalError

WEEK_H = 180


def figures(problem: Problem) -> dict[str, float]:
    requests, antenna_h = problem.requests, len(problem.antennas) * WEEK_H
    sets = [len(r.choices) for r in requests]
    periods = [p.length_s / 3600 for r in requests for c in r.choices for p in c.view_periods]
    blocked_s = sum(c.interval.length_s for c in problem.commitments)
    return {
        "requests an antenna": len(requests) / len(problem.antennas),
        "missions an antenna": len(problem.missions) / len(problem.antennas),
        "asked": sum(r.duration_s for r in requests) / 3600 / antenna_h,
        "load": sum(r.duration_s + r.setup_s + r.teardown_s for r in requests) / 3600 / antenna_h,
        "sets": statistics.mean(sets),
        "view periods a set": len(periods) / sum(sets),
        "median view period": statistics.median(periods),
        "split": sum(r.splittable for r in requests) / len(requests),
        "maintenance": blocked_s / 3600 / antenna_h,
    }


def test_statistics_are_those_of_the_real_weeks(shared: Path) -> None:
    folder = shared / "satnet"
    real = [
        figures(read_problem(folder / "problems.json", folder / "maintenance.csv", week))
        for week in ("W10_2018", "W20_2018", "W50_2018")
    ]
    made = figures(generate(scale=5, seed=1))
    for name, value in made.items():
        low, high = min(r[name] for r in real), max(r[name] for r in real)
        assert 0.8 * low <= value <= 1.2 * high, name


def test_same_for_a_seed_and_connected() -> None:
    assert generate(2, seed=3) == generate(2, seed=3)
    assert generate(2, seed=3) != generate(2, seed=4)
    problem = generate(4, seed=1)
    # One large week, not four small ones: missions link (nearly) all antennas.
    group = {antenna.name: {antenna.name} for antenna in problem.antennas}
    for request in problem.requests:
        joined = set().union(*(group[a] for c in request.choices for a in c.antennas))
        for name in joined:
            group[name] = joined
    assert max(len(those) for those in group.values()) >= 0.9 * len(problem.antennas)


def test_is_solved() -> None:
    problem = generate(2, seed=5)
    solution = solve(problem, steps=20_000)
    assert violations(problem, solution.schedule) == []
    assert solution.metrics.hours >= 0.85 * solution.metrics.requested_hours


def test_scale_is_checked() -> None:
    with pytest.raises(LocalError, match="scale 0"):
        generate(0)
