"""`l4 procedure run …`: procedures in the command service of a running site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.command_commands import Actor, Json, RunDir, client, now_ns, show_json
from ground.procedure_commands import given, procedure_app
from ground.terminal import display, follow_until_ended

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

Run = Annotated[int, typer.Argument(help="Run, as `l4 procedure list` numbers them.")]
_RUN_DIR = Path("var/run")
_ENDED = ("completed", "failed", "aborted", "broken", "ended")
_STYLES = {
    "running": "cyan",
    "waiting": "cyan",
    "asking": "bold black on yellow",
    "paused": "bold yellow",
    "completed": "green",
    "failed": "bold white on red",
    "broken": "bold white on red",
    "aborted": "yellow",
}


@procedure_app.command(
    epilog="""
Examples:

`l4 procedure run start_of_pass --follow`

`l4 procedure run storm_recovery CHARGE=60 --step` — pauses after its first step
"""
)
def run(
    name: Annotated[str, typer.Argument(help="As `l4 procedure dictionary` lists them.")],
    arguments: Annotated[list[str] | None, typer.Argument(help="NAME=VALUE")] = None,
    step_: Annotated[bool, typer.Option("--step", help="Pause after the first step.")] = False,
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and show where it is until its end.")
    ] = False,
    actor: Actor = "",
    run_dir: RunDir = _RUN_DIR,
    json_: Json = False,
) -> None:
    """Start a procedure. Its commands are armed and sent in your name; hazardous ones wait for a
    second person (`l4 command approve`). Closing the terminal does not stop it."""
    with client(run_dir, actor) as asked:
        values = given(arguments)
        found = asked.start_run(name, values, step=step_)
    if follow_:
        follow(found["number"], run_dir=run_dir)
    else:
        _shown(found, run_dir, as_json=json_)


@procedure_app.command(name="list", epilog="Example: l4 procedure list --last 50 --json")
def list_(
    last: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
    run_dir: RunDir = _RUN_DIR,
    json_: Json = False,
) -> None:
    """Runs, oldest first: what each does, and what it waits for."""
    with client(run_dir) as asked:
        found = asked.runs(last)
    if json_:
        show_json(found)
    elif found:
        display(_table(found, now_ns(run_dir)))
    else:
        print("no runs; `l4 procedure run` starts one")


@procedure_app.command(epilog="Example: l4 procedure show 3 --json | jq '.records'")
def show(number: Run, run_dir: RunDir = _RUN_DIR, json_: Json = False) -> None:
    """A run with everything that has happened in it."""
    with client(run_dir) as asked:
        found = asked.show_run(number)
    if json_:
        show_json(found)
    else:
        display(_view(found, now_ns(run_dir)))


@procedure_app.command(epilog="Example: l4 procedure follow 3 — ends with the run")
def follow(number: Run, run_dir: RunDir = _RUN_DIR) -> None:
    """Watch a run, its time-outs counting down. Exit status 1: it did not complete."""
    from ground.config import load_settings
    from ground.wiring import open_clock

    clock = open_clock(load_settings(run_dir))
    found: dict[str, Any] = {}

    with client(run_dir) as asked:

        def look() -> tuple[Any, bool]:
            found.update(asked.show_run(number))
            return _view(found, clock.now_ns()), found["state"] in _ENDED

        if not follow_until_ended(look):
            return
    raise typer.Exit(0 if found["state"] == "completed" else 1)


@procedure_app.command(epilog="Example: l4 procedure pause 3")
def pause(number: Run, actor: Actor = "", run_dir: RunDir = _RUN_DIR, json_: Json = False) -> None:
    """Hold a run where it is. Its step's own time-out stands still; what it has sent goes on."""
    _operate("pause_run", number, actor, run_dir, as_json=json_)


@procedure_app.command(epilog="Example: l4 procedure resume 3")
def resume(number: Run, actor: Actor = "", run_dir: RunDir = _RUN_DIR, json_: Json = False) -> None:
    """Let a paused run go on."""
    _operate("resume_run", number, actor, run_dir, as_json=json_)


@procedure_app.command(epilog="Example: l4 procedure step 3")
def step(number: Run, actor: Actor = "", run_dir: RunDir = _RUN_DIR, json_: Json = False) -> None:
    """Let a paused run go on for one step."""
    _operate("step_run", number, actor, run_dir, as_json=json_)


@procedure_app.command(epilog="Example: l4 procedure abort 3 --reason 'wrong pass'")
def abort(
    number: Run,
    reason: Annotated[str, typer.Option(help="Kept in its record.")] = "",
    actor: Actor = "",
    run_dir: RunDir = _RUN_DIR,
    json_: Json = False,
) -> None:
    """End a run for ever. Commands of it that have not left are taken back, as at its failure; what
    has left has left."""
    _operate("abort_run", number, actor, run_dir, as_json=json_, reason=reason)


@procedure_app.command(epilog="Example: l4 procedure answer 3 recover")
def answer(
    number: Run,
    choice: Annotated[str, typer.Argument(help="One of the choices that it gives.")],
    actor: Actor = "",
    run_dir: RunDir = _RUN_DIR,
    json_: Json = False,
) -> None:
    """Answer what a run asks."""
    _operate("answer_run", number, actor, run_dir, as_json=json_, choice=choice)


def _operate(
    operation: str, number: int, actor: str, run_dir: Path, *, as_json: bool, **more: str
) -> None:
    with client(run_dir, actor) as asked:
        _shown(asked.call(operation, run=number, **more), run_dir, as_json=as_json)


def _shown(found: Mapping[str, Any], run_dir: Path, *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    display(_table([found], now_ns(run_dir)))


def _table(runs: Sequence[Mapping[str, Any]], now_ns: int) -> Table:
    """One line a run."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("#", justify="right")
    for title in ("procedure", "state", "step", "what it does", "by"):
        table.add_column(title)
    for one in runs:
        style = _STYLES.get(one["state"], "")
        state = f"[{style}]{one['state']}[/]" if style else one["state"]
        at = f"{one['step']} {one.get('place', '')}".strip() if one["step"] else ""
        doing = escape("\n".join(_doing(one, now_ns)))
        table.add_row(str(one["number"]), one["procedure"], state, at, doing, one["actor"])
    return table


def _doing(one: Mapping[str, Any], now_ns: int) -> list[str]:
    """What a run does, since when, and what is left of its time."""
    from ground.command_texts import left

    if one.get("question"):
        return [f"{one['question']} ({' | '.join(one['choices'])})"]
    if one["state"] in _ENDED:
        return [str(one.get("reason", ""))]
    lines = [str(one.get("doing", ""))]
    if one.get("waits_for"):
        since = f", since {left(one['since_ns'], now_ns)}" if one.get("since_ns") else ""
        until = f", time-out {left(one['deadline_ns'], now_ns)}" if one.get("deadline_ns") else ""
        lines.append(f"{one['waits_for']}{since}{until}")
    return lines + list(one.get("notes", ()))


def _view(one: Mapping[str, Any], now_ns: int) -> Group:
    """A run with its records, the newest last."""
    from rich.console import Group
    from rich.text import Text

    from ground.command_texts import arguments_text

    head = Text(f"arguments: {arguments_text(one.get('arguments', {})) or 'none'}", style="dim")
    requests = ", ".join(map(str, one.get("requests", ())))
    lines = [Text(text) for text in one.get("records", ())]
    sent = [Text(f"requests: {requests}", style="dim")] if requests else []
    return Group(*lines, _table([one], now_ns), head, *sent)
