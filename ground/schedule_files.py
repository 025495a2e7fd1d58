"""What the commands of `l4 schedule` share: options, and problems and schedules from files."""

from __future__ import annotations

import getpass
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.handover import Handover
    from ground.scheduling.model import Problem, Schedule
    from ground.scheduling.store import ScheduleStore
    from ground.scheduling.versions import Actor

#: A key that SatNet's rows do not have, and that its readers leave alone.
_VERSION = "VERSION"
DEFAULT_STORE = Path("var/schedule.sqlite")

Source = Annotated[
    str,
    typer.Argument(
        help="Request file (TOML, JSON), SatNet problems (with --week), or a branch or version "
        "number of the --store."
    ),
]
Week = Annotated[
    str, typer.Option(help="Week of a SatNet problem file, as W10_2018.", show_default=False)
]
Maintenance = Annotated[
    Path | None, typer.Option(help="SatNet's maintenance file (CSV), with --week.")
]
ScheduleFile = Annotated[
    Path | None,
    typer.Option(
        "--schedule",
        "-s",
        help="Schedule of the requests: JSON, as `solve` writes it, or CCSDS 902.1 (.xml).",
    ),
]
Store = Annotated[Path, typer.Option(help="Store of published schedules and branches.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the schedule (JSON) here.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
ActorName = Annotated[
    str,
    typer.Option("--actor", envvar="L4_ACTOR", help="Who you are. [default: your login name]"),
]
Agency = Annotated[
    str,
    typer.Option(envvar="L4_AGENCY", help="Your agency: its requests alone are seen and edited."),
]


def actor_of(name: str, agency: str) -> Actor:
    from ground.scheduling.versions import Actor

    return Actor(name or getpass.getuser(), agency)


def clock_ns() -> int:
    from protocols.timecodes.tai import tai_ns_from_unix_ns

    return tai_ns_from_unix_ns(time.time_ns())


@contextmanager
def open_store(path: Path, must_exist: bool = True):
    from ground.scheduling.store import ScheduleStore

    if must_exist and not path.is_file():
        raise FileNotFoundError(2, "no store here; `l4 schedule begin` makes one", str(path))
    store: ScheduleStore
    with ScheduleStore.open(path) as store:
        yield store


def load_problem(source: str, week: str, maintenance: Path | None) -> Problem:
    """Of a request file, or of SatNet's with `week`."""
    path = Path(source)
    if week:
        from ground.scheduling.satnet import read_problem

        return read_problem(path, maintenance, week)
    if maintenance is not None:
        raise LocalError("--maintenance: only with --week (a request file has [[commitment]])")
    from ground.scheduling.requests_views import read_problem

    return read_problem(path)


def late_handovers(
    source: str, week: str, problem: Problem, schedule: Schedule
) -> list[Handover] | None:
    """Slews that do not fit; None where nothing says what is pointed at (SatNet, the store)."""
    if week or not Path(source).exists():
        return None
    from ground.scheduling.handover import late_handovers
    from ground.scheduling.requests_views import read_pointing

    return late_handovers(problem, schedule, *read_pointing(Path(source)))


class Loaded(NamedTuple):
    """`version` of the store that it was read from; 0: of files that say none."""

    problem: Problem
    schedule: Schedule
    version: int


def load(
    source: str,
    week: str,
    maintenance: Path | None,
    schedule: Path | None,
    store: Path,
    agency: str = "",
) -> Loaded:
    """Problem and schedule, of files or of the store, and then as the agency sees them."""
    if not Path(source).exists():
        if store.is_file():
            with open_store(store) as opened:
                version = opened.read(source, actor_of("", agency) if agency else None)
            tracks = load_schedule(version.problem, schedule) if schedule else version.schedule
            return Loaded(version.problem, tracks, version.info.id)
        raise LocalError(f"{source!r}: no such file, and no store {store} with such a branch")
    problem = load_problem(source, week, maintenance)
    if schedule is None:
        raise LocalError(f"--schedule: the schedule of {source} wanted, as `solve --out` writes it")
    return Loaded(problem, load_schedule(problem, schedule), requests_version(source, week))


def requests_version(source: str | Path, week: str = "") -> int:
    """The version that a request file says it was written from; 0: none."""
    if week:
        return 0
    from ground.scheduling.requests import read_requests

    return read_requests(Path(source)).header.version


def schedule_version(path: Path) -> int:
    """The version that the tracks of a schedule file were made from; 0: none said.

    Raises RemoteError if they are of several: of which nobody could say what they replace.
    """
    from protocols.errors import RemoteError

    if path.suffix == ".xml":
        return 0
    found = {row.get(_VERSION, 0) for row in _schedule_rows(path)}
    if len(found) > 1 or not all(isinstance(number, int) for number in found):
        raise RemoteError(f"{path}: {_VERSION}: one whole number for all tracks wanted")
    return found.pop() if found else 0


def load_schedule(problem: Problem, path: Path) -> Schedule:
    """SatNet's rows, as `solve --out` writes them, or (.xml) CCSDS 902.1 Simple Schedule Format."""
    if path.suffix == ".xml":
        from ground.scheduling.export.simple_schedule import read

        return read(problem, path)
    from ground.scheduling.satnet import read_schedule

    return read_schedule(problem, _schedule_rows(path))


def _schedule_rows(path: Path) -> list[dict[str, Any]]:
    from ground.documents import json_of
    from protocols.errors import RemoteError

    try:
        rows = json_of(path.read_bytes())
    except ValueError as error:
        raise RemoteError(f"{path}: not JSON: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise RemoteError(f"{path}: a list of tracks wanted, as `l4 schedule solve --out` writes")
    return rows


def save_schedule(problem: Problem, schedule: Schedule, path: Path, version: int = 0) -> None:
    """SatNet's rows, each with the `version` that it was made from, if there is one."""
    from ground.scheduling.satnet import write_schedule

    rows = write_schedule(problem, schedule)
    if version:
        rows = [{**row, _VERSION: version} for row in rows]
    path.write_text(json.dumps(rows, indent=1) + "\n")


def print_json(values: Any) -> None:
    json.dump(values, sys.stdout, indent=1)
    print()


def utc(text: str, option: str) -> int:
    from protocols.timecodes.tai import tai_ns_from_utc_iso

    try:
        return tai_ns_from_utc_iso(text)
    except LocalError as error:
        raise LocalError(f"{option}: {error}") from error
