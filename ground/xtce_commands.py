"""`l4 xtce …`: the dictionary for other people's tools, and theirs for ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

xtce_app = typer.Typer(help="Telemetry dictionaries as XTCE.", no_args_is_help=True)


@xtce_app.command(epilog="Example: l4 xtce export l4.xml")
def export(
    target: Annotated[Path, typer.Argument(help="File to write.")],
    dictionary: Annotated[str, typer.Option(help="l4, or an XTCE file to normalise.")] = "l4",
) -> None:
    """Write a dictionary as XTCE 1.2."""
    from ground.wiring import open_dictionary
    from protocols.telemetry.xtce import export_xtce

    opened = open_dictionary(dictionary)
    assert opened is not None
    target.write_bytes(export_xtce(opened))
    print(f"{target}: {len(opened.definitions)} packets, {len(opened.parameters)} parameters")


@xtce_app.command(epilog="Example: l4 xtce check jpss1_geolocation_xtce_v1.xml")
def check(file: Annotated[Path, typer.Argument(help="XTCE file.")]) -> None:
    """Say what an XTCE file declares; what we cannot do is refused by name (exit status 2)."""
    from rich.console import Console
    from rich.table import Table

    from protocols.telemetry.xtce import import_xtce

    dictionary = import_xtce(file.read_bytes())
    table = Table(box=None, header_style="dim")
    table.add_column("packet")
    table.add_column("APID", justify="right")
    table.add_column("parameters", justify="right")
    for definition in dictionary.definitions:
        apid = "any" if definition.apid is None else str(definition.apid)
        table.add_row(definition.name, apid, str(len(definition.parameters)))
    Console().print(table)
