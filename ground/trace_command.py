"""`l4 trace`.  Heavy imports stay inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """
Examples:

`l4 trace PWR_BUS_VOLTAGE` — the newest event of that parameter, and all that it came from

`l4 trace 1042` — the event with that number, as the logs say it (`event=1042`)

`l4 trace BOOT --json | jq .capture`
"""


def trace(
    event: Annotated[
        str, typer.Argument(help="Number of an event, or name of a parameter, alarm or event.")
    ],
    run_dir: Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")] = Path(
        "var/run"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
) -> None:
    """From an event or alarm back to parameter, packet, frame and the octets captured.

    Reads journals and capture; the run may go on, or have ended. What the journals have forgotten
    is left out.
    """
    from ground.config import load_settings
    from ground.trace import trace as work

    found = work(load_settings(run_dir), event)
    if json_:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for part, values in found.items():
        said = (
            "–"
            if values is None
            else "  ".join(
                f"{name} {value}" for name, value in values.items() if value not in ("", None)
            )
        )
        console.print(Text.assemble((f"{part:10}", "bold"), said), soft_wrap=True)
