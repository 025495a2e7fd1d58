"""`l4 schedule solve`: from requests to a schedule."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.schedule_files import (
    DEFAULT_STORE,
    Agency,
    AsJson,
    Maintenance,
    Out,
    Source,
    Store,
    Week,
    late_handovers,
    load,
    load_problem,
    load_schedule,
    print_json,
    requests_version,
    save_schedule,
)
from ground.schedule_texts import handover_dict, metrics_dict, metrics_text
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.model import Problem, Schedule
    from ground.scheduling.solve import Solution

EPILOG = (
    "Examples:\n\n"
    "`l4 schedule solve week.toml --seconds 20 --out week.json`\n\n"
    "`l4 schedule solve problems.json --week W10_2018 --maintenance maintenance.csv "
    "--objective fairness`\n\n"
    "`l4 schedule solve week.toml --objective satisfied,u_max,hours`\n\n"
    "`l4 schedule solve week.toml --start week.json --objective hours=1,change=2`"
)


def solve(
    source: Source,
    week: Week = "",
    maintenance: Maintenance = None,
    objective: Annotated[
        str,
        typer.Option(
            help="hours, satisfied, fairness, least-change; terms in a strict order: "
            "satisfied,u_max,hours; or weights: hours=1,u_max=20. Terms: hours, satisfied, "
            "u_square and u_max (unsatisfied fractions of missions), agency_square, agency_max, "
            "change (published tracks moved)."
        ),
    ] = "hours",
    seconds: Annotated[
        float | None, typer.Option(min=0, help="Search so long (60 if no --steps).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Search so many steps: the same answer every time.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed, another search.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    bound_seconds: Annotated[
        float, typer.Option(min=0, help="Prove a bound beside it, so long; 0: none.")
    ] = 0.0,
    start: Annotated[Path | None, typer.Option(help="Begin with this schedule (JSON).")] = None,
    out: Out = None,
    agency: Agency = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Make a schedule: a first answer at once, better ones until the time is up.

    On a machine's first run kernels are compiled after that answer; that is not counted.
    """
    begin = time.monotonic()
    from ground.scheduling.bounding import BoundProcess

    if seconds is not None and steps is not None:
        raise LocalError("--seconds and --steps: one of the two wanted")
    if steps is None:
        seconds = seconds or 60.0
    search, kind = search_of(objective)
    problem, initial, version = _problem(source, week, maintenance, start, store, agency)
    bounds: BoundProcess | None = None
    first_s: float | None = None
    show = _progress(begin)

    def on_progress(progress: Any) -> None:
        nonlocal bounds, first_s
        show(progress)
        if first_s is None:
            first_s = time.monotonic() - begin
            # Only now: its imports and its compiling would take a core from the first answer.
            if bound_seconds > 0:
                bounds = BoundProcess(problem, kind, bound_seconds)

    try:
        solution = search(
            problem,
            seconds=seconds,
            steps=steps,
            seed=seed,
            workers=workers,
            initial=initial,
            on_progress=on_progress,
        )
        proven = {}
        if bounds:
            proven = bounds.latest() if solution.interrupted else bounds.finish()
    finally:
        if bounds:
            bounds.close()
    if out is not None:
        save_schedule(problem, solution.schedule, out, version)
    late = late_handovers(source, week, problem, solution.schedule)
    if as_json:
        print_json(
            {
                "problem": problem.name,
                **metrics_dict(solution.metrics),
                "proven_optimal": solution.optimal,
                "interrupted": solution.interrupted,
                "bounds": proven,
                "trivial_bounds": sorted(bounds.trivial) if bounds else [],
                "first_answer_s": round(first_s or 0.0, 3),
                "first_answer_hours": round(solution.curve[0].metrics.hours, 4),
                "prepared_s": round(solution.prepared_s, 2),
                "seconds": round(solution.elapsed_s, 2),
                "steps": solution.steps,
                "late_slews": None if late is None else [handover_dict(one) for one in late],
            }
        )
    else:
        best = ", proven best" if solution.optimal else ", interrupted" * solution.interrupted
        most = ("hours", "satisfied")
        print(f"{problem.name}: {metrics_text(solution.metrics)}{best}")
        for name, bound in proven.items():
            trivial = " (by what is asked alone)" * (bounds is not None and name in bounds.trivial)
            side = "above" if name in most else "below"
            print(f"  proven: {name} not {side} {bound:.4g}{trivial}")
        for one in late or ():
            print(f"  warning: {one.text}")


def _problem(
    source: str,
    week: str,
    maintenance: Path | None,
    start: Path | None,
    store: Path,
    agency: str,
) -> tuple[Problem, Schedule | None, int]:
    """The problem, where to begin (the file given, or what stands in the store), the version."""
    if Path(source).exists():
        problem = load_problem(source, week, maintenance)
        initial = load_schedule(problem, start) if start else None
        return problem, initial, requests_version(source, week)
    return load(source, week, maintenance, start, store, agency)


def search_of(text: str) -> tuple[Callable[..., Solution], str]:
    """`hours`, …, `satisfied,hours` or `hours=1,change=2`: the search, and which bound it wants."""
    from ground.scheduling.lexicographic import solve_in_order
    from ground.scheduling.objective import OBJECTIVES, TERMS, Objective
    from ground.scheduling.solve import solve

    parts = [part.strip() for part in text.split(",")]
    if text in OBJECTIVES:
        return partial(solve, objective=OBJECTIVES[text]), _bound(text)
    if "," in text and set(parts) <= set(TERMS):
        return partial(solve_in_order, terms=parts), _bound(parts[0])
    weights: dict[str, float] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or name.strip() not in TERMS:
            raise LocalError(
                f"--objective {text!r}: {', '.join(OBJECTIVES)}, or weights of "
                f"{', '.join(TERMS)} wanted, as hours=1,u_max=20, or some of them in their order, "
                "as satisfied,hours"
            )
    return partial(solve, objective=Objective(**weights)), "hours"


def _bound(first: str) -> str:
    if first == "fairness" or first in ("u_square", "u_max"):
        return "fairness"
    return "satisfied" if first == "satisfied" else "hours"


def _progress(begin: float):
    """Lines on a terminal, at most one a second: stdout is for the answer."""
    last = 0.0

    def show(progress: Any) -> None:
        nonlocal last
        if not sys.stderr.isatty():
            return
        if progress.phase == "compiling":
            print(
                "          loading the kernels; a machine's first run compiles them, some 10 s",
                file=sys.stderr,
            )
        elif not last or time.monotonic() - last > 1:
            at_s = progress.elapsed_s if last else time.monotonic() - begin
            last = time.monotonic()
            line = f"{at_s:6.1f} s  {progress.phase}: {metrics_text(progress.metrics)}"
            print(line, file=sys.stderr)

    return show
