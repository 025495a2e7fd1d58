"""Objectives in an order: no later one is ever bought with an earlier one.

    solution = solve_in_order(problem, ("satisfied", "u_max", "hours"), seconds=60)

Weights do it, where they are made for the problem.  Let term k have the range R_k (its greatest
less its least value over all schedules) and the step S_k below which a difference of it is none.
From the last term upwards

    w_n = 1,   w_k = (1 + w_(k+1) R_(k+1) + ... + w_n R_n) / S_k

Two schedules are ranked by the first term in which they differ by a step or more: say it is k, and
the second loses there d >= S_k.  What it can win in the terms behind k is at most their
w R together, which is w_k S_k - 1 < w_k d.  So the sum ranks it lower, whatever it wins there.
Requests and moved tracks are counted, so that the order is exact for them (S = 1); of hours and
fractions, which are as good as continuous, a difference below the step may be traded, and only
that.  Fixed weights prove nothing: 10 a request against 0.01 an hour breaks at 1,000 hours.

Such weights alone would make a poor search: what is warm for requests is boiling for hours.  So
there is a part of the run for each term, at that term's temperature, all under the same weights;
what the earlier parts won the later ones cannot lose.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ground.scheduling.compiled import Compiled
from ground.scheduling.model import Problem, Schedule
from ground.scheduling.objective import TERMS, Judge, Objective
from ground.scheduling.solve import OnProgress, Progress, Solution, solve
from protocols.errors import LocalError

#: Differences below these do not rank two schedules; hours: a minute of tracking of priority 1.
STEP = {
    "hours": 1 / 60,
    "satisfied": 1.0,
    "change": 1.0,
    "u_square": 0.001,
    "u_max": 0.001,
    "agency_square": 0.001,
    "agency_max": 0.001,
}
#: Of the sum: up to here a second of tracking is more than its rounding as a float, also after
#: hundreds of steps, and CP-SAT's integers (3.6 million times as large) have room.
MOST = 1e10


def in_order(problem: Problem, terms: Sequence[str]) -> Objective:
    """Weights by which no loss of a step in a term is made good by the terms behind it.

    Raises LocalError for a term that is unknown, twice there or (`change`) without anything
    published, and for more terms than a problem of this size has numbers for.
    """
    if not terms or len(set(terms)) < len(terms) or not set(terms) <= set(TERMS):
        raise LocalError(f"order {', '.join(terms)!r}: of {', '.join(TERMS)}, each once, wanted")
    ranges = _ranges(problem)
    if "change" in terms and not ranges["change"]:
        raise LocalError(f"order {', '.join(terms)!r}: {problem.name} has nothing published")
    weights: dict[str, float] = {terms[-1]: 1.0}
    below = ranges[terms[-1]]
    for term in reversed(terms[:-1]):
        weights[term] = (1.0 + below) / STEP[term]
        below += weights[term] * ranges[term]
    if below > MOST:
        raise LocalError(
            f"order {', '.join(terms)!r}: too long for {problem.name}: its weights reach "
            f"{below:.1e}, {MOST:.0e} at most; leave out the last terms"
        )
    return Objective(**weights)


def _ranges(problem: Problem) -> dict[str, float]:
    asked = {request.mission for request in problem.requests if request.duration_s}
    agencies = {problem.mission_by_name[mission].agency for mission in asked}
    return {
        "hours": sum(request.priority * request.duration_s for request in problem.requests) / 3600,
        "satisfied": float(len(problem.requests)),
        "change": float(len(problem.published.tracks)) if problem.published else 0.0,
        "u_square": float(len(asked)),
        "u_max": 1.0,
        "agency_square": float(len(agencies)),
        "agency_max": 1.0,
    }


def solve_in_order(
    problem: Problem,
    terms: Sequence[str],
    *,
    seconds: float | None = None,
    steps: int | None = None,
    initial: Schedule | None = None,
    on_progress: OnProgress | None = None,
    **options: Any,
) -> Solution:
    """As `solve`, by `terms` in their order, each with its part of `seconds` or `steps`."""
    objective = in_order(problem, terms)
    compiled, ranges = Compiled(problem), _ranges(problem)
    curve: list[Progress] = []
    elapsed_s = prepared_s = 0.0
    done = 0
    solution: Solution | None = None
    for term in terms:
        unit = Judge(compiled, Objective(**{term: getattr(objective, term)})).unit
        if term == "change":
            # The temperatures know no change: an hour is worth the tracks that stand in it.
            unit = objective.change * ranges["change"] / max(1.0, ranges["hours"])
        solution = solve(
            problem,
            replace(objective, unit=unit),
            seconds=seconds and seconds / len(terms),
            steps=steps and max(1, steps // len(terms)),
            initial=initial if solution is None else solution.schedule,
            on_progress=_later(on_progress, curve, elapsed_s, done),
            **options,
        )
        elapsed_s += solution.elapsed_s
        prepared_s += solution.prepared_s
        done += solution.steps
        if solution.optimal or solution.interrupted:
            break
    assert solution is not None, "there is a term"
    return replace(
        solution, curve=tuple(curve), elapsed_s=elapsed_s, prepared_s=prepared_s, steps=done
    )


def _later(
    on_progress: OnProgress | None, curve: list[Progress], elapsed_s: float, steps: int
) -> Callable[[Progress], None]:
    """Keeps and passes on what is better than all before: each part begins with greedy again."""

    def show(progress: Progress) -> None:
        if progress.phase != "compiling" and curve and progress.value <= curve[-1].value + 1e-9:
            return
        progress = replace(
            progress, elapsed_s=progress.elapsed_s + elapsed_s, steps=progress.steps + steps
        )
        if progress.phase != "compiling":
            curve.append(progress)
        elif elapsed_s:
            return
        if on_progress is not None:
            on_progress(progress)

    return show
