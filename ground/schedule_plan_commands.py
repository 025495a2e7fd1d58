"""`l4 schedule solve | check | explain | replan | diff`: from requests to a schedule."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.schedule_files import (
    DEFAULT_STORE,
    ActorName,
    Agency,
    AsJson,
    Maintenance,
    Out,
    ScheduleFile,
    Source,
    Store,
    Week,
    actor_of,
    clock_ns,
    load,
    load_problem,
    load_schedule,
    open_store,
    print_json,
    requests_version,
    save_schedule,
    utc,
)
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.diff import Difference
    from ground.scheduling.explain import Explanation
    from ground.scheduling.metrics import Metrics
    from ground.scheduling.model import Problem, Schedule
    from ground.scheduling.proposals import Proposal

RequestIds = Annotated[
    list[str] | None, typer.Option("--request", "-r", help="Only this request; repeat for more.")
]


def metrics_dict(metrics: Metrics) -> dict[str, Any]:
    return {
        "hours": round(metrics.hours, 4),
        "requested_hours": round(metrics.requested_hours, 4),
        "requests": metrics.requests,
        "satisfied": metrics.satisfied,
        "tracks": metrics.tracks,
        "u_rms": round(metrics.u_rms, 5),
        "u_max": round(metrics.u_max, 5),
        "agency_u_rms": round(metrics.agency_u_rms, 5),
        "agency_u_max": round(metrics.agency_u_max, 5),
    }


def metrics_text(metrics: Metrics) -> str:
    return (
        f"{metrics.hours:.1f} of {metrics.requested_hours:.1f} h, {metrics.satisfied} of "
        f"{metrics.requests} requests, {metrics.tracks} tracks, U_RMS {metrics.u_rms:.3f}, "
        f"U_MAX {metrics.u_max:.3f}"
    )


def difference_dict(difference: Difference) -> dict[str, Any]:
    return {
        "count": difference.count,
        "unchanged": difference.unchanged,
        "mission_hours": difference.mission_hours,
        "agency_hours": difference.agency_hours,
        "requests": [asdict(change) for change in difference.requests],
        "parts": list(difference.parts),
        "changes": [
            {
                "kind": change.kind,
                "request": change.request,
                "mission": change.mission,
                "agency": change.agency,
                "before": _track(change.before),
                "after": _track(change.after),
            }
            for change in difference.changes
        ],
    }


def _track(track: Any) -> dict[str, Any] | None:
    from ground.scheduling.requests_fields import utc_text

    if track is None:
        return None
    times = {name: utc_text(getattr(track, f"{name}_ns")) for name in ("start", "on", "off", "end")}
    return {"antennas": list(track.antennas), **times}


def print_difference(difference: Difference) -> None:
    for change in difference.changes:
        print(change.text)
    for change in difference.requests:
        print(change.text)
    if difference.parts:
        print(f"also changed: {', '.join(difference.parts)}")
    print(f"{difference.count_text}; {difference.unchanged} tracks unchanged")
    for label, hours in (
        ("mission", difference.mission_hours),
        ("agency", difference.agency_hours),
    ):
        for name, (before, after) in hours.items():
            if abs(after - before) > 1e-6:
                print(f"  {label} {name or '-'}: {before:.1f} -> {after:.1f} h")


def solve(
    source: Source,
    week: Week = "",
    maintenance: Maintenance = None,
    objective: Annotated[
        str,
        typer.Option(help="hours, satisfied, fairness, least-change; or weights: hours=1,u_max=20"),
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
    from ground.scheduling.solve import solve as solve_problem

    if seconds is not None and steps is not None:
        raise LocalError("--seconds and --steps: one of the two wanted")
    if steps is None:
        seconds = seconds or 60.0
    aim = objective_of(objective)
    problem, initial, version = _problem(source, week, maintenance, start, store, agency)
    kind = objective if objective in ("satisfied", "fairness") else "hours"
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
        solution = solve_problem(
            problem,
            aim,
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


def objective_of(text: str):
    """`hours`, …, or `hours=1,change=2`."""
    from dataclasses import fields

    from ground.scheduling.objective import OBJECTIVES, Objective

    if text in OBJECTIVES:
        return OBJECTIVES[text]
    terms = [f.name for f in fields(Objective)]
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        try:
            weights[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or name.strip() not in terms:
            raise LocalError(
                f"--objective {text!r}: {', '.join(OBJECTIVES)}, or weights of "
                f"{', '.join(terms)} wanted, as hours=1,u_max=20"
            )
    return Objective(**weights)


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


def check(
    source: Source,
    schedule: ScheduleFile = None,
    week: Week = "",
    maintenance: Maintenance = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Whether a schedule keeps every rule, and what it is worth. Exit status 1 if it does not."""
    from ground.scheduling.metrics import measure
    from ground.scheduling.rules import violations

    problem, tracks, _ = load(source, week, maintenance, schedule, store)
    broken = violations(problem, tracks)
    metrics = measure(problem, tracks)
    if as_json:
        print_json({"valid": not broken, "violations": broken, **metrics_dict(metrics)})
    else:
        for line in broken:
            print(line)
        print(f"{'INVALID' if broken else 'VALID'}: {metrics_text(metrics)}")
    raise typer.Exit(1 if broken else 0)


def explain(
    source: Source,
    schedule: ScheduleFile = None,
    request: RequestIds = None,
    proposals: Annotated[
        bool | None,
        typer.Option(help="Look for changes that make it fit, each proved; default: with -r."),
    ] = None,
    week: Week = "",
    maintenance: Maintenance = None,
    agency: Agency = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Why requests get nothing or too little: which rule, which competitors, what would help."""
    from ground.scheduling.explain import explain as explain_all

    problem, tracks, _ = load(source, week, maintenance, schedule, store, agency)
    wanted = bool(request) if proposals is None else proposals
    found = explain_all(problem, tracks, request or ())
    which = ", ".join(request) if request else "Every request"
    print_explanations(problem, tracks, found, wanted, as_json, f"{which} gets all it asks for.")


def print_explanations(
    problem: Problem,
    schedule: Schedule,
    found: Sequence[Explanation],
    with_proposals: bool,
    as_json: bool,
    if_none: str,
) -> None:
    from ground.scheduling.proposals import propose

    rows = []
    for explanation in found:
        locked = any(t.request == explanation.request.id for t in problem.locks)
        proposals = (
            propose(problem, schedule, explanation.request.id)
            if with_proposals and not locked
            else []
        )
        if as_json:
            rows.append(_explanation_dict(explanation, proposals))
            continue
        print(explanation.text)
        for proposal in proposals:
            cost = f" (others lose {proposal.lost_s / 3600:.1f} h)" if proposal.lost_s else ""
            print(f"  -> {proposal.kind}: {proposal.text}{cost}")
            for change in proposal.changes:
                print(f"       {change}")
        if with_proposals and not proposals:
            print("  -> nothing that was tried makes it fit")
    if as_json:
        print_json(rows)
    elif not found:
        print(if_none)


def _explanation_dict(explanation: Explanation, proposals: Sequence[Proposal]) -> dict[str, Any]:
    from ground.scheduling.requests_fields import interval_texts

    request = explanation.request
    return {
        "request": request.id,
        "mission": request.mission,
        "given_s": explanation.given_s,
        "minimum_s": request.minimum_s,
        "duration_s": request.duration_s,
        "cause": explanation.cause,
        "longest_s": {name: reach.seconds for name, reach in explanation.reach.items()},
        "blocking": list(explanation.blocking),
        "competitors": [
            {
                "request": c.request,
                "mission": c.mission,
                "agency": c.agency,
                "priority": c.priority,
                "antenna": c.antenna,
                "interval": interval_texts(c.interval),
                "blocked_s": c.blocked_s,
            }
            for c in explanation.competitors
        ],
        "proposals": [
            {
                "kind": p.kind,
                "text": p.text,
                "given_s": p.given_s,
                "others_lose_s": p.lost_s,
                "changes": list(p.changes),
            }
            for p in proposals
        ],
    }


def replan(
    source: Source,
    schedule: ScheduleFile = None,
    lost: Annotated[
        list[str] | None, typer.Option("--lost", help="Antenna that is lost; repeat for more.")
    ] = None,
    begin: Annotated[str, typer.Option("--from", help="UTC from which it is lost.")] = "",
    end: Annotated[str, typer.Option("--to", help="UTC until which; default: to the end.")] = "",
    now: Annotated[
        str, typer.Option(help="UTC now: what has begun stays. Default: --from, else the begin.")
    ] = "",
    want: Annotated[
        list[str] | None, typer.Option("--want", help="Request to fit in besides; repeat for more.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Search so long at most.")] = 2.5,
    change: Annotated[
        float, typer.Option(min=0, help="Move a pass only where that wins more than so many hours.")
    ] = 0.5,
    week: Week = "",
    maintenance: Maintenance = None,
    out: Out = None,
    branch: Annotated[
        str, typer.Option(help="Keep the result on this new branch of the --store.")
    ] = "",
    actor: ActorName = "",
    agency: Agency = "",
    why: Annotated[str, typer.Option(help="Why, for the audit.")] = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """An antenna is lost, or a request is new: the schedule that differs least, in seconds."""
    from ground.scheduling.diff import diff as difference_of
    from ground.scheduling.metrics import measure
    from ground.scheduling.model import Interval
    from ground.scheduling.replan import replan as replan_schedule
    from ground.scheduling.replan import with_commitment

    if branch and Path(source).exists():
        raise LocalError(f"--branch {branch}: of a branch or version of the store, not of {source}")
    problem, published, version = load(source, week, maintenance, schedule, store, agency)
    if lost and not begin:
        raise LocalError("--lost: --from UTC wanted, since when it is lost")
    changed = problem
    begin_ns = utc(begin, "--from") if begin else problem.horizon.start_ns
    end_ns = utc(end, "--to") if end else problem.horizon.end_ns
    if lost and end_ns <= begin_ns:
        raise LocalError(f"--from {begin}: before --to ({end or 'the end of the horizon'}) wanted")
    for antenna in lost or ():
        changed = with_commitment(changed, antenna, Interval(begin_ns, end_ns))
    now_ns = utc(now, "--now") if now else begin_ns
    result = replan_schedule(
        changed, published, now_ns=now_ns, wanted=want or (), seconds=seconds, change_h=change
    )
    if out is not None:
        save_schedule(changed, result.schedule, out, version)
    if branch:
        who = actor_of(actor, agency)
        with open_store(store) as opened:
            # The branch begins at what was replanned, whatever was committed meanwhile.
            opened.commit(
                branch,
                changed,
                result.schedule,
                who,
                why or "replan",
                clock_ns(),
                parent=version,
                begin=True,
            )
    difference = difference_of(problem, published, changed, result.schedule)
    metrics = measure(changed, result.schedule)
    if as_json:
        print_json(
            {
                **metrics_dict(metrics),
                "seconds": round(result.seconds, 3),
                "broken": len(result.broken),
                "unmoved": round(result.unmoved, 5),
                "abandoned": list(result.abandoned),
                "difference": difference_dict(difference),
            }
        )
        return
    print_difference(difference)
    for name in result.abandoned:
        print(f"{name}: what it had before falls below its minimum; it is given up")
    print(
        f"{len(result.broken)} tracks broken, {result.unmoved:.1%} of the others unmoved, "
        f"{result.seconds:.1f} s: {metrics_text(metrics)}"
    )


def diff(
    before: Annotated[str, typer.Argument(help="Schedule (JSON), or branch or version.")],
    after: Annotated[str, typer.Argument(help="Schedule (JSON), or branch or version.")],
    requests: Annotated[
        str, typer.Option(help="Request file of two schedule files (SatNet: with --week).")
    ] = "",
    week: Week = "",
    maintenance: Maintenance = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Requests changed, tracks moved, added, dropped, shortened, past; and hours of whom."""
    if requests:
        from ground.scheduling.diff import diff as difference_of

        problem = load_problem(requests, week, maintenance)
        one, other = (load_schedule(problem, Path(name)) for name in (before, after))
        difference = difference_of(problem, one, problem, other)
    else:
        with open_store(store) as opened:
            difference = opened.diff(before, after)
    if as_json:
        print_json(difference_dict(difference))
    else:
        print_difference(difference)


#: Command and its examples, in the order of the help.
COMMANDS = (
    (
        solve,
        "Examples:\n\n"
        "`l4 schedule solve week.toml --seconds 20 --out week.json`\n\n"
        "`l4 schedule solve problems.json --week W10_2018 --maintenance maintenance.csv "
        "--objective fairness`\n\n"
        "`l4 schedule solve week.toml --start week.json --objective hours=1,change=2`",
    ),
    (check, "Example: l4 schedule check week.toml -s week.json"),
    (
        explain,
        "Examples:\n\n"
        "`l4 schedule explain week.toml -s week.json`\n\n"
        "`l4 schedule explain published -r perijove --json`",
    ),
    (
        replan,
        "Examples:\n\n"
        "`l4 schedule replan week.toml -s week.json --lost DSS-25 "
        "--from 2026-12-09T12:00:00Z --out new.json`\n\n"
        "`l4 schedule replan published --lost DSS-25 "
        "--from 2026-12-09T12:00:00Z --branch dss-25-lost --why 'gearbox'`",
    ),
    (
        diff,
        "Examples:\n\n"
        "`l4 schedule diff published dss-25-lost`\n\n"
        "`l4 schedule diff week.json new.json --requests week.toml`",
    ),
)
