"""`l4 schedule check | explain | replan | diff`: a schedule that is there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    late_handovers,
    load,
    load_problem,
    load_schedule,
    open_store,
    print_json,
    save_schedule,
    utc,
)
from ground.schedule_solve_command import EPILOG as SOLVE_EPILOG
from ground.schedule_solve_command import solve
from ground.schedule_texts import (
    difference_dict,
    handover_dict,
    metrics_dict,
    metrics_text,
    print_difference,
    print_explanations,
)
from protocols.errors import LocalError

if TYPE_CHECKING:
    pass

RequestIds = Annotated[
    list[str] | None, typer.Option("--request", "-r", help="Only this request; repeat for more.")
]


def check(
    source: Source,
    schedule: ScheduleFile = None,
    week: Week = "",
    maintenance: Maintenance = None,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Whether a schedule keeps every rule, and what it is worth. Exit status 1 if it does not.

    Of a request file also whether the antennas get from track to track in time, cable wrap and all;
    what does not fit is a warning: set-ups are what people say they are.
    """
    from ground.scheduling.metrics import measure
    from ground.scheduling.rules import violations

    problem, tracks, _ = load(source, week, maintenance, schedule, store)
    broken = violations(problem, tracks)
    metrics = measure(problem, tracks)
    late = late_handovers(source, week, problem, tracks)
    if as_json:
        print_json(
            {
                "valid": not broken,
                "violations": broken,
                "late_slews": None if late is None else [handover_dict(one) for one in late],
                **metrics_dict(metrics),
            }
        )
    else:
        for line in broken:
            print(line)
        for one in late or ():
            print(f"warning: {one.text}")
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
    (solve, SOLVE_EPILOG),
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
