"""`l4 schedule begin | branch | commit | lock | publish | roll | log | audit | show`, conflicts."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
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
    schedule_version,
    utc,
)
from ground.schedule_texts import difference_dict, print_difference, print_explanations
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.diff import Difference
    from ground.scheduling.model import Problem
    from ground.scheduling.store import VersionInfo

Why = Annotated[str, typer.Option(help="Why: it stands in the log and the audit.")]
BranchName = Annotated[str, typer.Argument(help="What-if branch.")]


def _info(info: VersionInfo) -> dict[str, Any]:
    from ground.scheduling.requests_fields import utc_text

    return {
        "version": info.id,
        "parent": info.parent,
        "branch": info.branch,
        "time": utc_text(info.time_ns)[:19] + "Z",
        "actor": info.actor.name,
        "agency": info.actor.agency,
        "why": info.why,
    }


def _print_info(info: VersionInfo, as_json: bool, what: str) -> None:
    if as_json:
        print_json(_info(info))
    else:
        print(f"{what}: version {info.id} on {info.branch}, by {info.actor}")


def _print_changed(info: VersionInfo, difference: Difference, as_json: bool, what: str) -> None:
    if as_json:
        print_json({**_info(info), "difference": difference_dict(difference)})
    else:
        print_difference(difference)
        _print_info(info, False, what)


def begin(
    source: Source,
    schedule: ScheduleFile = None,
    week: Week = "",
    maintenance: Maintenance = None,
    actor: ActorName = "",
    agency: Agency = "",
    why: Why = "first schedule",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Publish the first schedule in a new store."""
    problem = load_problem(source, week, maintenance)
    if schedule is None:
        raise LocalError("--schedule: the schedule to publish, as `solve --out` writes it")
    tracks = load_schedule(problem, schedule)
    with open_store(store, must_exist=False) as opened:
        info = opened.create(problem, tracks, actor_of(actor, agency), why, clock_ns())
    _print_info(info, as_json, "published")


def branch(
    name: BranchName,
    source: Annotated[str, typer.Option("--from", help="Branch or version.")] = "published",
    actor: ActorName = "",
    agency: Agency = "",
    why: Why = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Begin a what-if branch; nobody else's schedule changes until it is published."""
    with open_store(store) as opened:
        info = opened.branch(name, actor_of(actor, agency), why, clock_ns(), source)
    if as_json:
        print_json({**_info(info), "branch": name})
    else:
        print(f"branch {name} begins at version {info.id}")


def commit(
    name: BranchName,
    requests: Annotated[
        Path | None, typer.Option(help="Request file, as `show --requests` wrote it, edited.")
    ] = None,
    schedule: ScheduleFile = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="Mission of which --requests leaves out everything, as is meant."),
    ] = None,
    parent: Annotated[
        int | None,
        typer.Option(min=1, help="Version that this replaces. [default: as the files say]"),
    ] = None,
    actor: ActorName = "",
    agency: Agency = "",
    why: Why = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Put edited requests, a schedule, or both on a branch. An agency brings in its own only.

    Refused if somebody else has changed on the branch what the files replace: they say the version
    that `show`, `solve` or `replan` made them from.
    """
    who = actor_of(actor, agency)
    if parent is None:
        parent = _parent(requests, schedule)
    with open_store(store) as opened:
        seen = opened.read(name, who)
        problem = seen.problem
        if requests is not None:
            problem = load_problem(str(requests), "", None)
            _refuse_to_empty(requests, seen.problem, problem, drop or ())
        tracks = load_schedule(problem, schedule) if schedule else _kept(problem, seen.schedule)
        info = opened.commit(
            name, problem, tracks, who, why, clock_ns(), parent=parent or seen.info.id
        )
        difference = opened.diff(str(info.parent), str(info.id))
    _print_changed(info, difference, as_json, "committed")


def _parent(requests: Path | None, schedule: Path | None) -> int:
    """The version that the files were made from; 0: none of them says one."""
    versions = {
        path: version
        for path, version in (
            (requests, requests_version(requests) if requests else 0),
            (schedule, schedule_version(schedule) if schedule else 0),
        )
        if version
    }
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{path} of version {version}" for path, version in versions.items())
        raise LocalError(f"{said}: --parent VERSION wanted, the one that both shall replace")
    return next(iter(versions.values()), 0)


def _refuse_to_empty(path: Path, before: Problem, after: Problem, drop: Sequence[str]) -> None:
    """An agency's own file, brought in by a scheduler of the network (who forgot --agency), would
    take away the requests of all other agencies."""
    gone = {r.mission for r in before.requests} - {r.mission for r in after.requests} - set(drop)
    if gone:
        raise LocalError(
            f"{path}: no request of {', '.join(sorted(gone))}, which the branch has. An agency's "
            "own file? --agency AGENCY brings in that agency's only. If they shall go: "
            + " ".join(f"--drop {shlex.quote(mission)}" for mission in sorted(gone))
        )


def _kept(problem: Any, schedule: Any) -> Any:
    from ground.scheduling.model import Schedule

    return Schedule(tuple(t for t in schedule.tracks if t.request in problem.request_by_id))


def lock(
    name: BranchName,
    request: Annotated[str, typer.Argument(help="Request whose tracks are locked as they stand.")],
    unlock: Annotated[bool, typer.Option("--unlock", help="The other way round.")] = False,
    actor: ActorName = "",
    agency: Agency = "",
    why: Why = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Lock a request's tracks on a branch: solve and replan hold them exactly."""
    with open_store(store) as opened:
        who = actor_of(actor, agency)
        info = opened.lock(name, request, who, why, clock_ns(), locked=not unlock)
    _print_info(info, as_json, f"{'unlocked' if unlock else 'locked'} {request}")


def publish(
    name: BranchName,
    why: Annotated[str, typer.Option(help="Why: everybody reads it.")],
    frozen: Annotated[
        str, typer.Option(help="UTC: what has begun by then must stay. [default: now]")
    ] = "",
    actor: ActorName = "",
    agency: Agency = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Make a branch the common schedule: rules kept, past unchanged, nobody overwritten."""
    with open_store(store) as opened:
        before = opened.read().info.id
        frozen_ns = utc(frozen, "--frozen") if frozen else None
        info = opened.publish(name, actor_of(actor, agency), why, clock_ns(), frozen_ns)
        difference = opened.diff(str(before), str(info.id))
    _print_changed(info, difference, as_json, "published")


def roll(
    name: BranchName,
    requests: Annotated[
        Path, typer.Argument(help="Request file of the next plan; begun requests still in it.")
    ],
    now: Annotated[
        str, typer.Option(help="UTC: what has begun by then is locked. [default: now]")
    ] = "",
    actor: ActorName = "",
    agency: Agency = "",
    why: Why = "next plan",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Begin the next plan on a new branch, on top of what is published.

    Published tracks stay, those that have begun are locked, and tracks that are over leave as past.
    Solve the branch, commit and publish it.
    """
    from ground.scheduling.model import Schedule
    from ground.scheduling.versions import NotAllowedError, roll_forward

    who = actor_of(actor, agency)
    if who.agency:
        raise NotAllowedError(f"{who}: the horizon is a network scheduler's to roll")
    problem = load_problem(str(requests), "", None)
    with open_store(store) as opened:
        base = opened.read()
        now_ns = utc(now, "--now") if now else clock_ns()
        rolled = roll_forward(problem, base.problem, base.schedule, now_ns)
        tracks = rolled.published or Schedule()
        info = opened.commit(
            name, rolled, tracks, who, why, clock_ns(), parent=base.info.id, begin=True
        )
        difference = opened.diff(str(base.info.id), str(info.id))
    _print_changed(info, difference, as_json, "rolled forward")


def log(
    name: Annotated[str, typer.Argument(help="Branch or version.")] = "published",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Versions of a branch, latest first, with who and why; and which branches there are."""
    with open_store(store) as opened:
        rows = [_info(info) for info in opened.log(name)]
        branches = {name: info.id for name, info in opened.branches().items()}
    if as_json:
        print_json({"versions": rows, "branches": branches})
        return
    for row in rows:
        agency = f" ({row['agency']})" if row["agency"] else ""
        print(
            f"{row['version']:>4}  {row['time']}  {row['branch']:<14} {row['actor']}{agency}: "
            f"{row['why']}"
        )
    print("branches: " + ", ".join(f"{name} at {number}" for name, number in branches.items()))


def audit(
    request: Annotated[str, typer.Option("--request", "-r", help="Of this request only.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="So many entries, latest first.")] = 50,
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Who moved what, when and why."""
    from ground.scheduling.requests_fields import utc_text

    with open_store(store) as opened:
        entries = opened.audit(request, limit)
    if as_json:
        print_json(
            [
                {
                    "time": utc_text(e.time_ns)[:19] + "Z",
                    "actor": e.actor.name,
                    "agency": e.actor.agency,
                    "branch": e.branch,
                    "version": e.version,
                    "action": e.action,
                    "request": e.request,
                    "detail": e.detail,
                    "why": e.why,
                }
                for e in entries
            ]
        )
        return
    if not entries:
        print(f"nothing was ever done to request {request}" if request else "nothing was done yet")
    for e in entries:
        why = f" ({e.why})" if e.why else ""
        what = f"{e.request} {e.detail}" if e.action == "request" else e.detail
        print(
            f"{utc_text(e.time_ns)[:19]}Z  {e.actor} on {e.branch}, version {e.version}: "
            f"{e.action} {what}{why}"
        )


def show(
    name: Annotated[str, typer.Argument(help="Branch or version.")] = "published",
    requests: Annotated[
        Path | None, typer.Option(help="Write the requests here (TOML, or JSON by the ending).")
    ] = None,
    out: Out = None,
    actor: ActorName = "",
    agency: Agency = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """A version's passes; write its requests and schedule to files, to edit, solve and commit."""
    from ground.scheduling.requests import request_file, write_requests
    from ground.scheduling.requests_fields import utc_text
    from ground.scheduling.satnet import write_schedule

    with open_store(store) as opened:
        version = opened.read(name, actor_of(actor, agency))
    problem, schedule = version.problem, version.schedule
    if requests is not None:
        form = "json" if requests.suffix == ".json" else "toml"
        file = request_file(problem, version.info.id)
        requests.write_text(write_requests(file, form))
    if out is not None:
        save_schedule(problem, schedule, out, version.info.id)
    if as_json:
        print_json({**_info(version.info), "tracks": write_schedule(problem, schedule)})
        return
    for track in schedule.tracks:
        mission = problem.request_by_id[track.request].mission
        print(
            f"{utc_text(track.on_ns)[:19]}Z … {utc_text(track.off_ns)[:19]}Z  "
            f"{' + '.join(track.antennas):<18} {mission}  {track.request}"
        )
    print(f"{len(schedule.tracks)} passes of version {version.info.id}, by {version.info.actor}")


def conflicts(
    source: Source = "published",
    schedule: ScheduleFile = None,
    proposals: Annotated[
        bool, typer.Option(help="Look for changes that resolve each, proved.")
    ] = True,
    limit: Annotated[int, typer.Option(min=1, help="So many unsatisfied requests.")] = 10,
    week: Week = "",
    maintenance: Maintenance = None,
    agency: Agency = "",
    store: Store = DEFAULT_STORE,
    as_json: AsJson = False,
) -> None:
    """Rules that are broken, and requests that get nothing, each with what would resolve it."""
    from ground.scheduling.explain import explain
    from ground.scheduling.rules import violations

    problem, tracks, _ = load(source, week, maintenance, schedule, store, agency)
    broken = violations(problem, tracks)
    if broken:
        # Nothing can be proved on top of a schedule that breaks rules: replan comes first.
        if as_json:
            print_json({"violations": broken, "unsatisfied": []})
        else:
            for line in broken:
                print(line)
            print("-> l4 schedule replan resolves these with the least change")
        raise typer.Exit(1)
    found = [e for e in explain(problem, tracks) if not e.given_s][:limit]
    none = "No rule is broken, and no request gets nothing (which get too little: explain)."
    print_explanations(problem, tracks, found, proposals, as_json, none)


#: Command and its examples, in the order of the help.
COMMANDS = (
    (begin, "Example: l4 schedule begin week.toml -s week.json --actor Ada"),
    (branch, "Example: l4 schedule branch dss-25-lost --why 'what if it stays down'"),
    (
        commit,
        "Examples:\n\n"
        "`l4 schedule commit longer-pass --requests mine.toml -s mine.json "
        "--actor Kim --agency KARI`\n\n"
        "`l4 schedule commit dss-25-lost -s better.json --why tuned`",
    ),
    (lock, "Example: l4 schedule lock dss-25-lost perijove --why 'no second chance'"),
    (publish, "Example: l4 schedule publish dss-25-lost --why 'DSS-25 is down until Sunday'"),
    (roll, "Example: l4 schedule roll week-51 week-51.toml"),
    (log, "Example: l4 schedule log --json"),
    (audit, "Example: l4 schedule audit -r relay-daily.3"),
    (
        show,
        "Example: l4 schedule show published --agency KARI --requests mine.toml --out mine.json",
    ),
    (conflicts, "Example: l4 schedule conflicts dss-25-lost"),
)
