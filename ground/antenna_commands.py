"""`l4 antenna …`: several antennas' receivers, and which of them transmits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

antenna_app = typer.Typer(
    help="Several antennas of one site: how each is, and which transmits.",
    epilog="`l4 run --antenna yeoju --antenna dsn` runs a site with two; docs/howto/operate.md.",
    no_args_is_help=True,
)

RunDir = Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
_RUN = Path("var/run")


@antenna_app.command("list", epilog="Example: `l4 antenna list --json | jq .transmitter`")
def list_(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Each antenna: whether its receiver lives, hears, can transmit, and whose link is shown."""
    _show(_ask(run_dir, "list"), json_)


@antenna_app.command(epilog="Example: `l4 antenna transmit dsn`, when yeoju is to be serviced")
def transmit(
    antenna: Annotated[str, typer.Argument(help="Its name, as `l4 antenna list` says it.")],
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Have this antenna transmit from now on.

    It begins when all that the one before was given is over: two never transmit at once. One that
    is lost is replaced without being asked for; whoever took its place keeps it.
    """
    _show(_ask(run_dir, "transmit", antenna=antenna), json_)


def _ask(run_dir: Path, operation: str, **arguments: Any) -> dict[str, Any]:
    from ground.asking import CallClient
    from ground.config import RECEIVE
    from ground.run import existing
    from ground.wiring import open_person
    from protocols.errors import LocalError

    settings = existing(run_dir)
    if not settings.antennas:
        raise LocalError(f"{run_dir}: a site with one receiver; `l4 run --antenna` names several")
    with CallClient(
        settings.antennas_endpoint,
        name="receive",
        timeout_s=5,
        server=RECEIVE,
        keyring=open_person(settings),
    ) as client:
        return client.call(operation, **arguments)


def _show(said: dict[str, Any], json_: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    if json_:
        print(json.dumps(said, indent=2))
        return
    table = Table(box=None, header_style="dim")
    for title in ("antenna", "link", "hears", "last frame, UTC", "", "detail"):
        table.add_column(title)
    for one in said["antennas"]:
        roles = {"shown": one["used"], "transmits": one["transmits"]}
        at_ns = one["last_ert_ns"]
        table.add_row(
            one["antenna"],
            one["state"],
            "yes" if one["hears"] else "no",
            utc_iso_from_tai_ns(at_ns, decimals=0) if at_ns else "",
            ", ".join(role for role, has in roles.items() if has),
            one["detail"],
        )
    console = Console()
    console.print(table)
    if said["state"] != "transmits":
        until = utc_iso_from_tai_ns(said["over_ns"], decimals=0) if said["over_ns"] else "now"
        whom = said["wanted"] or "whoever can"
        console.print(
            f"nothing goes up: what {said['transmitter']} was given is over at {until}, then "
            f"{whom} transmits",
            style="yellow",
        )
