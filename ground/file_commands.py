"""`l4 file …`: files to and from the spacecraft."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.command_commands import Actor, Json, RunDir, client, show_json
from ground.terminal import LOOK_S, display

if TYPE_CHECKING:
    from rich.table import Table

file_app = typer.Typer(
    help="Send files to the spacecraft and have it send files, by CFDP.",
    epilog="""
`l4 file put limits.bin tables/limits.bin --follow` sends one · `l4 file get log/events.txt` asks
for what happened on board · `l4 file list` tells where each is and where it arrived.

Light takes 499 s each way: the first octet of an answer is here after 17 minutes.
""",
    no_args_is_help=True,
)

Class = Annotated[
    int,
    typer.Option("--class", min=1, max=2, help="2: acknowledged, bit-exact; 1: sent once."),
]
Follow = Annotated[
    bool, typer.Option("--follow", "-f", help="Stay, and show how far it is until its end.")
]
Id = Annotated[str, typer.Argument(help="Transfer, as `l4 file list` names them.")]
_RUN = Path("var/run")
_ENDED = ("complete", "cancelled", "failed")


@file_app.command(
    epilog="Examples: l4 file put limits.bin · l4 file put image.bin boot/image.bin --class 1"
)
def put(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="File to send.")],
    name: Annotated[str, typer.Argument(help="Its name on board; without: as it is here.")] = "",
    class_: Class = 2,
    follow: Follow = False,
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Send a file as it is now; what is done to it later is not sent."""
    arguments = {"path": str(path.absolute()), "name": name, "class": class_}
    _operate("file-put", arguments, actor, run_dir, follow=follow, as_json=json_)


@file_app.command(
    epilog="Examples: l4 file get log/events.txt · l4 file get log/events.txt events/today.txt"
)
def get(
    name: Annotated[str, typer.Argument(help="Its name on board.")],
    as_: Annotated[
        str, typer.Argument(metavar="[AS]", help="Its name here; without: as on board.")
    ] = "",
    class_: Class = 2,
    follow: Follow = False,
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Ask the spacecraft for a file. Where it arrives `l4 file list` tells."""
    arguments = {"name": name, "as": as_, "class": class_}
    _operate("file-get", arguments, actor, run_dir, follow=follow, as_json=json_)


@file_app.command(name="list", epilog="Example: l4 file list --json | jq '.[].path'")
def list_(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Transfers, the newest first: state, progress, and where files are."""
    with client(run_dir) as asked:
        found = asked.call("file-list")
    if json_:
        show_json(found)
    elif found:
        display(_table(found))
    else:
        print("no transfers; `l4 file put` and `l4 file get` make one")


@file_app.command(epilog="Example: l4 file cancel 10:3")
def cancel(id: Id, actor: Actor = "", run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """End a transfer; the spacecraft is told. What has arrived of it is thrown away."""
    _operate("file-cancel", {"id": id}, actor, run_dir, as_json=json_)


@file_app.command(epilog="Example: l4 file suspend 10:3 — until `l4 file resume 10:3`")
def suspend(id: Id, actor: Actor = "", run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Send nothing of it for now; its time stands still."""
    _operate("file-suspend", {"id": id}, actor, run_dir, as_json=json_)


@file_app.command(epilog="Example: l4 file resume 10:3")
def resume(id: Id, actor: Actor = "", run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Go on with a transfer that was suspended."""
    _operate("file-resume", {"id": id}, actor, run_dir, as_json=json_)


def _operate(
    operation: str,
    arguments: dict[str, Any],
    actor: str,
    run_dir: Path,
    *,
    follow: bool = False,
    as_json: bool,
) -> None:
    with client(run_dir, actor) as asked:
        found = asked.call(operation, **arguments)
        if follow:
            found = _followed(asked, found["id"])
    if as_json:
        show_json(found)
    else:
        display(_table([found]))
    if follow and found["state"] != "complete":
        raise typer.Exit(1)


def _followed(asked: Any, transfer: str) -> dict[str, Any]:
    """Until it has ended, or Ctrl-C: the transfer goes on."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        while True:
            found = next(one for one in asked.call("file-list") if one["id"] == transfer)
            progress.update(
                task,
                description=f"{transfer} {found['state']}",
                total=max(found["size"], 0) or None,
                completed=found["progress"],
            )
            if found["state"] in _ENDED:
                return found
            time.sleep(LOOK_S)


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("id", "", "on the ground", "on board", "state", "octets", "what became of it"):
        table.add_column(title)
    for one in found:
        state = f"{one['state']}, suspended" if one["suspended"] else one["state"]
        size = "?" if one["size"] < 0 else one["size"]
        condition = one["condition"].replace("_", " ")
        table.add_row(
            one["id"],
            one["what"],
            one["ground_name"],
            one["space_name"],
            state,
            f"{one['progress']} of {size}",
            one["path"] or ("" if condition == "no error" else condition),
        )
    return table
