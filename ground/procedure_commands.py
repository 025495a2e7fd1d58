"""`l4 procedure …`: operators' procedures, checked and shown.  Heavy imports stay inside."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ground.command.procedures.library import Library
    from ground.command.procedures.procedure import Procedure

procedure_app = typer.Typer(
    help="Operators' procedures: what there is, runs of them, and whether a file is one.",
    epilog="`l4 procedure dictionary` lists them; docs/howto/write-a-procedure.md tells how to "
    "write one; `l4 procedure check FILE` says what is wrong with it, and what it will do.",
    no_args_is_help=True,
)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
LightTime = Annotated[
    float, typer.Option("--light-time", min=0, help="One-way, seconds: for expected durations.")
]
#: Of the relay: L4 is as far from the Earth as the Sun is.
_OWLT_S = 499.0


@procedure_app.command(
    epilog="""
Examples:

`l4 procedure check recovery.yaml` — everything that is wrong with it, or its steps

`l4 procedure check retrieve.py FROM=2026-11-22T21:00:00Z` — Python: taken to its end
"""
)
def check(
    file: Annotated[Path, typer.Argument(help="YAML or Python file.", exists=True, dir_okay=False)],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="NAME=VALUE: go through it where all goes well, with these."),
    ] = None,
    light_time: LightTime = _OWLT_S,
    json_: Json = False,
) -> None:
    """Check a procedure against the relay's commands and parameters; list its steps.

    Needs no run. Calls are looked for beside the file and in the package. Exit status 1 and a line
    for each mistake, with file, line and column, if there is any.
    """
    library = _library(file)
    wrong = [one for one in library.problems if one.file == str(file)]
    found = next((p for name, p in library.items() if library.files[name] == file), None)
    if wrong or found is None:
        if json_:
            print(
                json.dumps({"valid": False, "problems": [_problem(one) for one in wrong]}, indent=2)
            )
        else:
            for one in wrong:
                typer.echo(str(one), err=True)
        raise typer.Exit(1)
    _show(found, library, given(arguments), light_time, as_json=json_)


@procedure_app.command(
    epilog="Examples: l4 procedure dictionary · l4 procedure dictionary storm_recovery"
)
def dictionary(
    name: Annotated[str, typer.Argument(help="A procedure; without: all of them.")] = "",
    light_time: LightTime = _OWLT_S,
    json_: Json = False,
) -> None:
    """The relay's procedures: arguments with ranges, and steps."""
    library = _library()
    if name:
        _show(library.procedure(name), library, {}, light_time, as_json=json_)
        return
    if json_:
        print(json.dumps([_described(one) for one in library.values()], indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("procedure", "arguments", "what it does"):
        table.add_column(title, no_wrap=title == "procedure")
    for one in library.values():
        names = " ".join(argument.name for argument in one.arguments)
        table.add_row(one.name, names, one.description)
    Console().print(table)


def _library(*files: Path) -> Library:
    """The file, those beside it that it may call, those of the package."""
    from ground.command.procedures.definitions import Definitions
    from ground.command.procedures.library import Library, shipped
    from protocols.dictionary.l4_commands import COMMANDS
    from protocols.dictionary.l4_reports import EVERYTHING

    beside = [file.parent for file in files]
    return Library(Definitions(COMMANDS, EVERYTHING.parameters), [*files, *beside, shipped()])


def given(texts: list[str] | None) -> dict[str, str]:
    """Arguments as they are typed; LocalError for what is not NAME=VALUE."""
    from protocols.errors import LocalError

    found: dict[str, str] = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not equals:
            raise LocalError(f"argument {text!r}; NAME=VALUE wanted")
        found[name] = value
    return found


def _problem(one: Any) -> dict[str, Any]:
    return {"file": one.file, "line": one.line, "column": one.column, "message": one.message}


def _described(procedure: Procedure) -> dict[str, Any]:
    return {
        "procedure": procedure.name,
        "description": procedure.description,
        "arguments": [
            {
                "name": one.name,
                "description": one.description,
                "allowed": one.allowed,
                "unit": one.unit,
                "default": one.default,
            }
            for one in procedure.arguments
        ],
    }


def _show(
    procedure: Procedure,
    library: Library,
    values: Mapping[str, str],
    light_time_s: float,
    *,
    as_json: bool,
) -> None:
    steps = _outlined(procedure, light_time_s)
    rehearsed = steps is None or bool(values)
    missing = [
        one.name for one in procedure.arguments if one.name not in values and one.default is None
    ]
    if rehearsed and not (missing and not values):
        steps = _rehearsed(procedure, library, values, light_time_s)
    if as_json:
        print(json.dumps({"valid": True, **_described(procedure), "steps": steps}, indent=2))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    print(f"{procedure.name}: {procedure.description}")
    for one in procedure.arguments:
        default = "" if one.default is None else f", {one.default} if not given"
        print(f"  {one.name:<12}{one.description} ({one.allowed}{default})")
    if steps is None:
        print(f"steps: give {' '.join(f'{name}=…' for name in missing)} to see them")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("line", justify="right", no_wrap=True)
    table.add_column("step")
    table.add_column("begins" if rehearsed else "takes", justify="right", no_wrap=True)
    table.add_column("takes" if rehearsed else "time-out", justify="right", no_wrap=True)
    for step in steps:
        line = step["place"].rpartition(":")[2]
        text = escape("  " * step.get("depth", 0) + step["text"])
        if rehearsed:
            table.add_row(line, text, _clock(step["begins_s"]), _clock(step["takes_s"]) or "")
            continue
        takes = "operator" if step["by_operator"] else _clock(step["takes_s"])
        table.add_row(line, text, takes, _clock(step["timeout_s"]))
    Console().print(table)
    if rehearsed:
        print("where all goes well and every question gets its first choice")


def _outlined(procedure: Procedure, light_time_s: float) -> list[dict[str, Any]] | None:
    if procedure.outline is None:
        return None
    return [
        {
            "place": one.place,
            "depth": one.depth,
            "text": one.text,
            "takes_s": one.least_s + 2 * light_time_s * one.round_trips,
            "timeout_s": one.most_s,
            "by_operator": one.by_operator,
        }
        for one in procedure.outline
    ]


def _rehearsed(
    procedure: Procedure, library: Library, given: Mapping[str, Any], light_time_s: float
) -> list[dict[str, Any]]:
    from ground.command.procedures.rehearsal import rehearse
    from protocols.timecodes.tai import tai_ns_from_unix_ns

    steps = rehearse(
        procedure,
        given,
        library.definitions,
        library,
        start_ns=tai_ns_from_unix_ns(time.time_ns()),
        owlt_s=light_time_s,
    )
    return [
        {"place": s.place, "text": s.text, "begins_s": s.begun_s, "takes_s": s.lasted_s}
        for s in steps
    ]


def _clock(seconds: float | None) -> str:
    """1:02:03; nothing for what takes no time."""
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
