"""`l4 command …`: commands to the spacecraft, from the stack to their last report."""

from __future__ import annotations

import getpass
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.terminal import display, follow_until_ended

if TYPE_CHECKING:
    from ground.command.client import CommandClient

command_app = typer.Typer(
    help="Command the spacecraft: stack, arm, approve, send, and where each command is.",
    epilog="""
Two steps, and for hazardous commands a second person between them:

`l4 command add MODE_SET MODE=NOMINAL` puts request 1 on the stack · `l4 command arm 1`
· `l4 command approve 1 --as bob` if it is hazardous · `l4 command send 1 --follow`

`l4 command dictionary` lists what there is, `l4 command dictionary MODE_SET` explains one.
""",
    no_args_is_help=True,
)

RunDir = Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Actor = Annotated[
    str, typer.Option("--as", envvar="L4_ACTOR", help="Who you are; default: your login name.")
]
Number = Annotated[int, typer.Argument(help="Request, as `l4 command list` numbers them.")]
Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        help="NAME=VALUE. Lists with commas, times as UTC or +2h, a request within a request as "
        "COMMAND(ARG=VALUE)."
    ),
]
_RUN = Path("var/run")
#: For a service that is being started again.
_PATIENCE_S = 6.0
#: States after which nothing happens by itself, or perhaps never.
_ENDED = ("completed", "failed", "expired", "removed", "unknown", "held")


@contextmanager
def client(run_dir: Path, actor: str = "") -> Iterator[CommandClient]:
    """That of a run's command service.  Raises FileNotFoundError, LocalError."""
    from ground.asking import NoAnswer
    from ground.command.client import CommandClient
    from ground.config import load_settings
    from ground.wiring import open_person
    from protocols.errors import LocalError

    if not (run_dir / "run.toml").is_file():
        raise FileNotFoundError(2, "no run here; `l4 run` starts one", str(run_dir / "run.toml"))
    settings = load_settings(run_dir)
    if not settings.command:
        raise LocalError(f"the run in {run_dir} commands nothing")
    keyring = open_person(settings)
    who = actor or (keyring.name if keyring is not None else getpass.getuser())
    at = settings.command_endpoint
    try:
        with CommandClient(at, actor=who, timeout_s=_PATIENCE_S, keyring=keyring) as one:
            yield one
    except NoAnswer as error:
        log = run_dir / "log" / "command.log"
        raise NoAnswer(f"{error}; `l4 status` says how it is, {log} why") from error


def show_json(value: Any) -> None:
    """Print it."""
    from ground.command_texts import as_json

    print(json.dumps(as_json(value), indent=2))


def now_ns(run_dir: Path) -> int:
    """By the run's clock."""
    from ground.config import load_settings
    from ground.wiring import open_clock

    return open_clock(load_settings(run_dir)).now_ns()


def _shown(request: dict[str, Any], run_dir: Path, *, as_json: bool) -> None:
    from ground.command_texts import requests_table

    if as_json:
        show_json(request)
        return
    display(requests_table([request], now_ns(run_dir)))
    for text in request["violations"]:
        print(f"now it would be held: {text}")


@command_app.command(
    epilog="Examples: l4 command dictionary · l4 command dictionary PROPULSION_BURN --json"
)
def dictionary(
    name: Annotated[str, typer.Argument(help="A command; without: all of them.")] = "",
    json_: Json = False,
) -> None:
    """The commands there are: arguments with ranges, hazards, constraints, reports to expect."""
    from rich.table import Table

    from protocols.dictionary.l4_commands import COMMANDS

    found = [COMMANDS.command(name.upper())] if name else list(COMMANDS.commands)
    if json_:
        show_json([one.described for one in found])
        return
    if name:
        for label, text in _described_lines(found[0]):
            print(f"{label:<12}{text}")
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("command", "", "arguments", "what it does"):
        table.add_column(title, no_wrap=title == "command")
    for one in found:
        hazard = "[bold red]![/]" if one.hazardous else ""
        arguments = " ".join(argument.name for argument in one.given)
        table.add_row(one.name, hazard, arguments, one.description)
    display(table)
    print("! hazardous: a second person approves")


def _described_lines(command: Any) -> Iterator[tuple[str, str]]:
    yield command.name, f"TC[{command.service},{command.subtype}]  {command.description}"
    if command.hazard:
        yield "HAZARD", command.hazard
    for one in command.given:
        default = "" if one.default is None else f", default {one.default}"
        many = " (list)" if one.name in command.repeated else ""
        yield f"  {one.name}", f"{one.description}{many}: {one.allowed}{default}"
    for one in command.constraints:
        yield "only if", f"{one}, at most {one.within_s:.0f} s old"
    yield "reports", ", ".join(one.value for one in command.stages) or "none"
    yield "takes", f"up to {command.execution_s:.0f} s on board"


@command_app.command(
    epilog="Examples: l4 command add TEST_CONNECTION · l4 command add ARRAY_TURN ANGLE=12.5 --at "
    "+10min · l4 command add SCHEDULE_INSERT RELEASE_TIME=+3h REQUEST='MODE_SET(MODE=SAFE)'"
)
def add(
    name: Annotated[str, typer.Argument(help="Command, as `l4 command dictionary` lists them.")],
    arguments: Arguments = None,
    at: Annotated[
        str, typer.Option("--at", help="Leaves no earlier: UTC, or +90s, +5min, +2h.")
    ] = "",
    at_spacecraft: Annotated[
        str, typer.Option(help="The same, as the time of its arrival at the spacecraft.")
    ] = "",
    before: Annotated[str, typer.Option(help="Leaves no later, else it expires.")] = "",
    expedited: Annotated[
        bool,
        typer.Option(help="Type BD: at once, unnumbered, not repeated; for when COP-1 is locked."),
    ] = False,
    comment: Annotated[str, typer.Option(help="Why; kept in its history.")] = "",
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Put a command on the stack. Nothing leaves before it is armed and sent."""
    from ground.command.arguments import parse_arguments, parse_time
    from protocols.dictionary.l4_commands import COMMANDS
    from protocols.errors import LocalError

    if at and at_spacecraft:
        raise LocalError("--at and --at-spacecraft: one of them wanted")
    with client(run_dir, actor) as asked:
        now = now_ns(run_dir)
        earliest_ns = parse_time(at, now_ns=now) if at else 0
        if at_spacecraft:
            owlt_ns = asked.status()["owlt_ns"]
            earliest_ns = parse_time(at_spacecraft, now_ns=now) - owlt_ns
        request = asked.add(
            name.upper(),
            parse_arguments(COMMANDS, name.upper(), arguments or (), now_ns=now),
            earliest_ns=earliest_ns,
            latest_ns=parse_time(before, now_ns=now) if before else 0,
            expedited=expedited,
            comment=comment,
        )
    _shown(request, run_dir, as_json=json_)


@command_app.command(
    epilog="Example: l4 command check ARRAY_TURN ANGLE=70 — nothing is put on the stack"
)
def check(
    name: Annotated[str, typer.Argument(help="Command.")],
    arguments: Arguments = None,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Whether a command could leave now: its packet, and constraints that do not hold.

    Exit status 1 if it would be held.
    """
    from ground.command.arguments import parse_arguments
    from protocols.dictionary.l4_commands import COMMANDS

    with client(run_dir) as asked:
        given = parse_arguments(COMMANDS, name.upper(), arguments or (), now_ns=now_ns(run_dir))
        found = asked.check(name.upper(), given)
    if json_:
        show_json(found)
    else:
        print(f"packet   {found['octets'].hex(' ')}")
        if found["hazard"]:
            print(f"HAZARD   {found['hazard']}")
        for text in found["violations"]:
            print(f"held     {text}")
        if not found["violations"]:
            print("nothing holds it")
    raise typer.Exit(1 if found["violations"] else 0)


def _step(operation: str, help_: str, epilog: str) -> None:
    """A command that does one thing to requests."""

    def step(
        numbers: Annotated[list[int], typer.Argument(help="Requests.")],
        actor: Actor = "",
        run_dir: RunDir = _RUN,
        json_: Json = False,
    ) -> None:
        with client(run_dir, actor) as asked:
            for number in numbers:
                _shown(asked.call(operation, number=number), run_dir, as_json=json_)

    command_app.command(name=operation, help=help_, epilog=epilog)(step)


_step(
    "arm",
    "First of two steps: you have checked it. It falls back after five minutes.",
    "Example: l4 command arm 7",
)
_step("disarm", "Back to the stack.", "Example: l4 command disarm 7")
_step(
    "approve",
    "A second person's word for a hazardous command that is armed.",
    "Example: l4 command approve 7 --as bob",
)
_step("remove", "Take one back that has not left.", "Example: l4 command remove 7")
_step("repeat", "The same command again, as a new request on the stack.", "l4 command repeat 7")


@command_app.command(epilog="Example: l4 command reject 7 --reason 'wrong duration' --as bob")
def reject(
    number: Number,
    reason: Annotated[str, typer.Option(help="For whoever armed it.")] = "",
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Do not approve: back to the stack, with the reason."""
    with client(run_dir, actor) as asked:
        _shown(asked.reject(number, reason), run_dir, as_json=json_)


@command_app.command(
    epilog="Example: l4 command close 7 --reason 'telemetry shows that it was not executed'"
)
def close(
    number: Number,
    reason: Annotated[str, typer.Option(help="What is known of it; kept in its history.")],
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """End a request whose fate is unknown and will stay so."""
    with client(run_dir, actor) as asked:
        _shown(asked.close_request(number, reason), run_dir, as_json=json_)


@command_app.command(epilog="Examples: l4 command send 7 · l4 command send 7 --follow")
def send(
    number: Number,
    follow_: Annotated[
        bool, typer.Option("--follow", "-f", help="Stay, and show where it is until its end.")
    ] = False,
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Second of two steps: it leaves when its time, an uplink window and telemetry allow."""
    with client(run_dir, actor) as asked:
        request = asked.send(number)
    if follow_:
        follow(number, run_dir=run_dir)
    else:
        _shown(request, run_dir, as_json=json_)


@command_app.command(
    name="list", epilog="Examples: l4 command list --active · l4 command list --last 100 --json"
)
def list_(
    active: Annotated[bool, typer.Option(help="Only what has not ended.")] = False,
    last: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 20,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Requests, oldest first: where each is and what comes next."""
    from ground.command_texts import requests_table

    with client(run_dir) as asked:
        found = asked.list(last=last, active=active)
    if json_:
        show_json(found)
    elif found:
        display(requests_table(found, now_ns(run_dir)))
    else:
        print("no requests; `l4 command add` makes one")


@command_app.command(epilog="Example: l4 command show 7 --json | jq '.stages'")
def show(number: Number, run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """All of a request: octets, stages with their windows, who did what and when."""
    from ground.command_texts import request_view

    with client(run_dir) as asked:
        found = asked.show(number)
    if json_:
        show_json(found)
    else:
        display(request_view(found, now_ns(run_dir)))


@command_app.command(epilog="Example: l4 command follow 7 — ends with the request")
def follow(number: Number, run_dir: RunDir = _RUN) -> None:
    """Watch a request on its way: counts down to spacecraft and reply. Exit status 1: it failed, is
    held, or its end is not known."""
    from ground.command_texts import request_view
    from ground.config import load_settings
    from ground.wiring import open_clock

    clock = open_clock(load_settings(run_dir))
    found: dict[str, Any] = {}

    with client(run_dir) as asked:

        def look() -> tuple[Any, bool]:
            found.update(asked.show(number))
            return request_view(found, clock.now_ns()), found["state"] in _ENDED

        if not follow_until_ended(look):
            return
    raise typer.Exit(0 if found["state"] == "completed" else 1)


@command_app.command(epilog="Example: l4 command history --last 500 --json")
def history(
    last: Annotated[int, typer.Option(min=1, help="So many of the newest.")] = 50,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Who did what and what happened, over all requests."""
    from rich.table import Table

    from ground.command_texts import utc

    with client(run_dir) as asked:
        found = asked.history(last)
    if json_:
        show_json(found)
        return
    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in ("UTC", "#", "who", "what", "then", ""):
        table.add_column(title)
    for one in found:
        number = str(one["request"]) if one["request"] else ""
        table.add_row(
            *(utc(one["time_ns"], date=True), number, one["actor"], one["event"], one["state"]),
            one["text"],
        )
    display(table)


@command_app.command(epilog="Example: l4 command status --json | jq '.reply_utc'")
def status(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """The four clocks, the uplink window, and COP-1."""
    from ground.command_texts import status_view

    with client(run_dir) as asked:
        found = asked.status()
    if json_:
        show_json(found)
    else:
        display(status_view(found))


@command_app.command(
    epilog="Key rollover: security otar 10 · verify 10 · activate 10 · rekey 3 10 · start 3 · "
    "use 0 3 · stop 1 · expire 1 · deactivate 1, each armed, approved and sent in turn"
)
def security(
    action: Annotated[
        str,
        typer.Argument(
            help="otar, verify, activate, deactivate, destroy KEY…; start, stop, expire, status, "
            "read_number SPI; rekey SPI KEY; set_number, set_window SPI N; inventory, ping, "
            "reset_alarm; use MAP SPI. Without: the keys there are."
        ),
    ] = "",
    numbers: Annotated[list[int] | None, typer.Argument(help="Key ids, or SPI and number.")] = None,
    actor: Actor = "",
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Keys and security associations of the command link (CCSDS 355.1-B), by number alone."""
    with client(run_dir, actor) as asked:
        if action and action != "use":
            _shown(asked.security(action, *(numbers or ())), run_dir, as_json=json_)
            return
        if action:
            print(asked.security(action, *(numbers or ()))["text"])
        found = asked.keys()
    if json_:
        show_json(found)
        return
    for one in found["keys"]:
        print(f"key {one['id']}: {one['state'].lower()}")
    for one in found["associations"]:
        used = [str(route["map"]) for route in found["routes"] if route["spi"] == one["spi"]]
        maps = f", protects MAP {', '.join(used)}" if used else ""
        key = f" with key {one['key']}" if one["key"] is not None else ""
        print(f"SPI {one['spi']}: {one['state'].lower()}{key}{maps}")


@command_app.command(epilog="Examples: l4 command link unlock · l4 command link set-vr 12")
def link(
    directive: Annotated[
        str, typer.Argument(help="initiate, unlock, set-vr, terminate; in-step, resync.")
    ],
    value: Annotated[int | None, typer.Argument(help="V(R), for set-vr.")] = None,
    actor: Actor = "",
    run_dir: RunDir = _RUN,
) -> None:
    """A directive of COP-1. FOP-1 initiates itself; a lockout waits for `unlock`.

    After `l4 restore`, where the spacecraft does not answer: `resync` asks it again, `in-step` says
    that you have brought ground and spacecraft in step yourself.
    """
    with client(run_dir, actor) as asked:
        print(asked.link(directive, value))
