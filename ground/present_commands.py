"""The present, by the console's API: `l4 telemetry`, `events`, `alarm …`, `pass …`, `terminal`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.console_commands import show_rows

if TYPE_CHECKING:
    from ground.client import Ground

RunDir = Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
_RUN = Path("var/run")
_SIGNED_IN = (
    "Signs in with the token that `l4 console token NAME --keep` left in the run's directory, or "
    "$L4_TOKEN; $L4_URL names a console elsewhere."
)

alarm_app = typer.Typer(
    help="Alarms: what calls for somebody, until somebody has seen it.",
    epilog=_SIGNED_IN,
    no_args_is_help=True,
)
pass_app = typer.Typer(
    help="Passes of the site: what is published, what is free, what if, and publishing one.",
    epilog=_SIGNED_IN,
    no_args_is_help=True,
)
Name = Annotated[str, typer.Argument(help="Alarm, as `l4 alarm list` names them.")]


def ground(run_dir: Path) -> Ground:
    """Signed in.  Raises FileNotFoundError, LocalError with what to do."""
    from ground.client import Ground

    return Ground.of_run(run_dir)


def terminal(run_dir: RunDir = _RUN) -> None:
    """The console in a terminal: telemetry, alarms, passes, commands, events, by keys alone.

    For SSH, from 80×24 characters on. What is old says so; a console that is gone is waited for.
    """
    from ground.terminal_console.app import TerminalConsole

    with ground(run_dir) as one:
        # What is wrong with a token is said here, in one line, not on a screen.
        one.session()
        app = TerminalConsole(one)
        app.run()
    raise typer.Exit(app.return_code or 0)


TERMINAL_EPILOG = (
    "Examples: l4 terminal · ssh ground l4 terminal · "
    "L4_URL=http://127.0.0.1:8007 L4_TOKEN=l4_… l4 terminal\n\n" + _SIGNED_IN
)
TELEMETRY_EPILOG = "Examples: l4 telemetry · l4 telemetry BATTERY · l4 telemetry --bad --json"
EVENTS_EPILOG = "Examples: l4 events · l4 events --from 3h --json"


def telemetry(
    part: Annotated[str, typer.Argument(help="Of a parameter's or packet's name.")] = "",
    bad: Annotated[bool, typer.Option("--bad", help="Only what is out of limits.")] = False,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Newest live value of each parameter, its limits, and how old it is by ERT."""
    from ground.terminal_console.views import clock, number, span

    with ground(run_dir) as one:
        found, now = one.telemetry(), one.now()["now_ms"]
    rows = [
        {
            "parameter": name,
            "value": value if json_ else number(value),
            "unit": unit,
            "limits": state,
            "packet": packet,
            "ert": block["ert"] if json_ else clock(block["ert"]),
            "age": (now - block["ert"]) / 1e3 if json_ else span(now - block["ert"]),
            "stale": block["stale"] if json_ else "STALE" if block["stale"] else "",
        }
        for packet, block in found.items()
        for name, (value, unit, state, _) in block["values"].items()
        if part.upper() in name.upper() or part.upper() in packet.upper()
        if not bad or state not in ("", "NOMINAL")
    ]
    show_rows(rows, as_json=json_, none="no such values are known now")


def events(
    start: Annotated[
        str, typer.Option("--from", help="Of the archive since: UTC, or 10min, 3h, 30d back.")
    ] = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """The newest events, newest last; with --from those of the archive."""
    from ground.terminal_console.views import clock

    with ground(run_dir) as one:
        found = one.archived_events(start, "0s") if start else one.events()
    if json_:
        print(json.dumps(found, indent=2))
        return
    rows = [
        {
            "SCET": clock(event["scet"], date=True),
            "severity": event["severity"],
            "": "stored" if event["playback"] else "",
            "event": event["text"],
        }
        for event in found
    ]
    show_rows(rows, as_json=False, none="no events")


@alarm_app.command("list", epilog="Example: l4 alarm list --json | jq '.[].name'")
def alarm_list(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Alarms that are not normal, worst first. Exit status 1 if one waits to be acknowledged."""
    with ground(run_dir) as one:
        found = one.alarms()
    _show_alarms(found, as_json=json_)
    if any(alarm["state"] in ("unacknowledged", "returned") for alarm in found):
        raise typer.Exit(1)


@alarm_app.command(
    epilog="Examples: l4 alarm acknowledge PWR_BUS_VOLTAGE · l4 alarm acknowledge --all"
)
def acknowledge(
    name: Annotated[str, typer.Argument(help="Alarm, as `l4 alarm list` names them.")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Whatever waits for it.")] = False,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Somebody has seen it: you."""
    from protocols.errors import LocalError

    if bool(name) == all_:
        raise LocalError("an alarm's name or --all wanted")
    with ground(run_dir) as one:
        waiting = [a["name"] for a in one.alarms() if a["state"] in ("unacknowledged", "returned")]
        found = [
            alarm for each in (waiting if all_ else [name]) for alarm in one.acknowledge_alarm(each)
        ]
    _show_alarms(found, as_json=json_)


@alarm_app.command(
    epilog='Example: l4 alarm shelve THM_TANK_TEMPERATURE --minutes 90 --why "heater test"'
)
def shelve(
    name: Name,
    why: Annotated[str, typer.Option(help="Kept with it.")],
    minutes: Annotated[int, typer.Option(help="1 to 1440.")] = 60,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Put an alarm aside for a while."""
    with ground(run_dir) as one:
        _show_alarms(one.shelve_alarm(name, minutes, why), as_json=json_)


@alarm_app.command(epilog="Example: l4 alarm unshelve THM_TANK_TEMPERATURE")
def unshelve(name: Name, run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Back before its time."""
    with ground(run_dir) as one:
        _show_alarms(one.unshelve_alarm(name), as_json=json_)


def _show_alarms(found: list[Any], *, as_json: bool) -> None:
    from ground.terminal_console.views import clock

    if as_json:
        print(json.dumps(found, indent=2))
        return
    rows = [
        {
            "severity": one["severity"],
            "state": one["state"],
            "name": one["name"],
            "since": clock(one["since"], date=True),
            "what": one["text"],
            "who": one["acknowledged_by"] or one["shelved_by"],
        }
        for one in found
    ]
    show_rows(rows, as_json=False, none="no alarms")


@pass_app.command("list", epilog="Example: l4 pass list --json")
def pass_list(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Published passes that are or come."""
    from ground.terminal_console.views import clock

    with ground(run_dir) as one:
        found, now = one.passes(), one.now()["now_ms"]
    if json_:
        print(json.dumps(found, indent=2))
        return
    rows = [
        {
            "pass": each["id"],
            "mission": each["mission"],
            "place": each["place"],
            "AOS": clock(each["aos"], date=True),
            "LOS": clock(each["los"], date=True),
            "uplink": f"{clock(each['uplink_from'])}–{clock(each['uplink_to'])}",
        }
        for each in (found or {}).get("passes", ())
        if each["los"] > now
    ]
    show_rows(rows, as_json=False, none="no passes")


@pass_app.command(epilog="Example: l4 pass views --json")
def views(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """When antennas see the spacecraft, and what is free of that."""
    if json_:
        _shown(run_dir, lambda one: one.passes_views(), as_json=True)
        return
    with ground(run_dir) as one:
        found = one.passes_views()
    show_rows([_view(each) for each in found["views"]], as_json=False, none="no views")
    print(f"version {found['version']} of the passes; planned until {found['horizon_end_utc']}")


def _view(one: dict[str, Any]) -> dict[str, str]:
    from ground.terminal_console.views import clock

    free = [f"{clock(span['from_ms'])}–{clock(span['to_ms'])}" for span in one["free"]]
    return {
        "antenna": one["antenna"],
        "complex": one["complex"],
        "AOS": clock(one["aos_ms"], date=True),
        "LOS": clock(one["los_ms"], date=True),
        "highest": f"{one['elevation_deg']:.0f}°",
        "free": ", ".join(free) or "–",
        "held by": ", ".join(sorted({each["who"] or each["kind"] for each in one["held"]})),
    }


Antenna = Annotated[str, typer.Argument(help="As `l4 pass views` names them.")]
Begin = Annotated[str, typer.Argument(help="UTC at the ground.")]
End = Annotated[str, typer.Argument(help="UTC at the ground.")]


@pass_app.command(
    "try", epilog="Example: l4 pass try YEOJU 2026-11-29T20:00:00Z 2026-11-29T22:00:00Z"
)
def try_(
    antenna: Antenna, begin: Begin, end: End, run_dir: RunDir = _RUN, json_: Json = False
) -> None:
    """What if there were this pass: light time, windows, conflicts. Nothing is written."""
    _shown(run_dir, lambda one: one.try_pass(antenna, begin, end), as_json=json_)


@pass_app.command(
    epilog="Example: l4 pass publish YEOJU 2026-11-29T20:00:00Z 2026-11-29T22:00:00Z "
    '--version 3 --why "tank test"'
)
def publish(
    antenna: Antenna,
    begin: Begin,
    end: End,
    why: Annotated[str, typer.Option(help="Kept in the history.")],
    version: Annotated[int, typer.Option(help="Of the pass list that it was tried on.")],
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Publish a pass."""
    _shown(run_dir, lambda one: one.publish_pass(antenna, begin, end, version, why), as_json=json_)


def _shown(run_dir: Path, ask: Callable[[Ground], Any], *, as_json: bool) -> None:
    """An answer as it came, or as a table where it is a list of like things."""
    with ground(run_dir) as one:
        found = ask(one)
    print(json.dumps(found, indent=2)) if as_json else _lines(found, "")


def _lines(found: Any, indent: str) -> None:
    """Names and values, one a line; `…_ms` go, which stand beside the same as `…_utc`."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name.endswith("_ms"):
                continue
            if isinstance(value, dict | list) and value:
                print(f"{indent}{name}:")
                _lines(value, indent + "  ")
            elif value not in (None, [], {}):
                print(f"{indent}{name}: {value}")
    elif isinstance(found, list):
        for one in found:
            if isinstance(one, dict):
                plain = {n: v for n, v in one.items() if not n.endswith("_ms")}
                print(
                    indent + "  ".join(f"{n}={v}" for n, v in plain.items() if v not in (None, ""))
                )
            else:
                print(f"{indent}{one}")
    else:
        print(f"{indent}{found}")
