"""`l4 audit`, `l4 archive rebuild`, `l4 backup`, `l4 restore`: whether a run holds what it should,
and what to do if it does not."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Run = Annotated[Path, typer.Argument(help="Directory of the run.")]

DEFAULT_RUN_DIR = Path("var/run")

AUDIT_EPILOG = """
Examples:

`l4 audit` — after `l4 run` has ended: exit status 0 if all is there

`l4 audit backup-1 --json` — of a backup, while the run goes on

`l4 audit --promises promises.jsonl` — and what clients noted that they were answered
"""
REBUILD_EPILOG = """
Examples:

`l4 archive rebuild` — of a run that has ended; the old archive is kept beside the new one

`l4 archive rebuild --check` — says what is damaged, changes nothing; exit status 1 if anything is
"""

BACKUP_EPILOG = """
Examples:

`l4 backup ../backup-monday` — while the run goes on

`l4 audit ../backup-monday` — and it holds what it should
"""
RESTORE_EPILOG = """
Examples:

`l4 restore ../backup-monday --check` — is every octet as it was?

`l4 restore ../backup-monday --run-dir var/run && l4 run`

`l4 restore ../backup-monday --archive postgresql://l4@db.example/relay` — into an empty database

`l4 restore ../backup-monday --only command` — of a run that rests, this directory alone
"""


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def audit(
    run_dir: Run = DEFAULT_RUN_DIR,
    promises: Annotated[
        Path | None, typer.Option(help="What clients were answered: a line of JSON each.")
    ] = None,
    json_: Json = False,
) -> None:
    """Prove that a run holds what it promised: decode the capture anew and compare everything.

    Packets one by one, parameters sample by sample, events, the command history with what the
    spacecraft reported, bundles, files, passes. Changes nothing. Exit status 1: something is not
    as it should be.
    """
    from ground.config import load_settings
    from ground.recovery.audit import audit as work
    from ground.recovery.promises import read_promises
    from ground.run import at_rest

    with at_rest(run_dir), _progress("audit") as progress:
        asked = [] if promises is None else list(read_promises(promises))
        found = work(load_settings(run_dir), asked, progress)
    if json_:
        told = {"ok": found.ok, "problems": found.problems, "counts": found.counts}
        print(json.dumps(told | {"promises": dict(found.promises)}, indent=2))
    else:
        for name, value in found.counts.items():
            print(f"{name:<34}{value:>16,}")
        for kind, value in found.promises.items():
            print(f"{'answered: ' + kind:<34}{value:>16,}")
        print("\n".join(found.problems) or "all that was promised is there, once")
    raise typer.Exit(0 if found.ok else 1)


def rebuild(
    run_dir: Run = DEFAULT_RUN_DIR,
    check: Annotated[
        bool, typer.Option("--check", help="Only compare with the capture; change nothing.")
    ] = False,
    json_: Json = False,
) -> None:
    """Make the archive again from the capture, and put it in the old one's place in one step.

    For an archive that is damaged (`l4 archive check`) or lost. Packets and parameters come from
    the capture, events from the monitor's journal; the archive service goes on from there.
    """
    from ground.config import load_settings
    from ground.recovery.repair import repair
    from ground.run import at_rest

    with at_rest(run_dir), _progress("rebuild") as progress:
        done = repair(load_settings(run_dir), check=check, progress=progress)
    if json_:
        print(json.dumps(done.plain(), indent=2))
    else:
        print("\n".join(done.said))
    raise typer.Exit(1 if (check and done.differences) or done.incomplete else 0)


def backup(
    target: Annotated[Path, typer.Argument(help="New directory for the copy.")],
    run_dir: Annotated[Path, typer.Option("--run-dir", help="The run.")] = DEFAULT_RUN_DIR,
    json_: Json = False,
) -> None:
    """Copy a run while it goes on: databases, journals, bundles, files, captures, with a manifest.

    The copy is what a kill of all services at one instant could have left: it can be audited, and
    restored. Keys and accounts are in it: keep it as safe as the run itself.
    """
    from ground.config import load_settings
    from ground.recovery.backup import back_up
    from ground.run import existing

    existing(run_dir)
    with _copying("backup") as progress:
        made = back_up(load_settings(run_dir), target, progress)
    if json_:
        print(json.dumps(made.plain(), indent=2))
    else:
        print(f"{made.directory}: {len(made.files):,} files, {made.octets:,} octets")


def restore(
    source: Annotated[Path, typer.Argument(help="Directory of a backup.")],
    run_dir: Annotated[Path, typer.Option("--run-dir", help="New directory.")] = DEFAULT_RUN_DIR,
    archive: Annotated[
        str,
        typer.Option(help="Put the archive into this empty database: postgresql://USER@HOST/NAME."),
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Only check the backup.")] = False,
    only: Annotated[
        str, typer.Option(help="Into a run that rests: this directory of it, moved away before.")
    ] = "",
    json_: Json = False,
) -> None:
    """Make a run directory from a backup, after every octet of it has been checked.

    `l4 run --run-dir …` goes on in it. What was commanded after the backup is not in it: what was
    on the stack then is held, and the command service asks the spacecraft for its numbers before it
    commands anything else (`l4 command status`, `l4 doctor`; docs/durability.md).
    """
    from ground.config import load_settings
    from ground.recovery.backup import check_backup, put_on_server, require_empty
    from ground.recovery.backup import restore as work
    from ground.run import at_rest

    if archive and only:
        raise typer.BadParameter("one directory, or the archive into a database; not both")
    if archive:
        require_empty(archive)
    rests = at_rest(run_dir) if only and not check else nullcontext()
    with rests, _copying("restore") as progress:
        if check:
            made = check_backup(source, progress)
        else:
            made = work(source, run_dir, progress, only=only)
        if archive and not check:
            put_on_server(load_settings(run_dir), archive, progress)
    if json_:
        print(json.dumps(made.plain(), indent=2))
    else:
        what = "is sound" if check else "is restored"
        print(f"{made.directory} {what}: {len(made.files):,} files, {made.octets:,} octets")
        if archive and not check:
            print(f"its archive is in {archive}: say so to `l4 run --archive` as well")
        elif made.archive:
            print(
                f"its archive was on {made.archive}, and is a file in it (--archive says where to)"
            )


@contextmanager
def _copying(what: str) -> Iterator[Callable[[int, str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[file]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None, file="")
        yield lambda octets, name: bar.update(task, completed=octets, file=name)


__all__ = [
    "AUDIT_EPILOG",
    "BACKUP_EPILOG",
    "REBUILD_EPILOG",
    "RESTORE_EPILOG",
    "audit",
    "backup",
    "rebuild",
    "restore",
]
