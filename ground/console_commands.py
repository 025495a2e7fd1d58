"""`l4 console …`: who may sign in, scripts' tokens, and the audit."""

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ground.client import Ground
    from ground.config import RunSettings
    from ground.console.accounts import Accounts

console_app = typer.Typer(
    help="Who may use the console: people, tokens for scripts, layouts, the audit.",
    epilog="""
`l4 console set-up ann` — the first administrator, without a browser

`l4 console token ann --keep` — for `l4 alarm`, `l4 telemetry` … on this machine

Elsewhere: L4_URL=http://HOST:PORT L4_TOKEN=l4_… l4 alarm list
""",
    no_args_is_help=True,
)

RunDir = Annotated[Path, typer.Option("--run-dir", help="Directory of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
_RUN = Path("var/run")


@contextmanager
def _accounts(run_dir: Path) -> Iterator[tuple[RunSettings, Accounts]]:
    """The file itself: whoever may write it needs nobody's leave.  Raises FileNotFoundError."""
    from ground.config import load_settings
    from ground.console.accounts import Accounts

    if not (run_dir / "run.toml").is_file():
        raise FileNotFoundError(2, "no run here; `l4 run` starts one", str(run_dir / "run.toml"))
    settings = load_settings(run_dir)
    accounts = Accounts.open(settings.console_dir / "accounts.sqlite")
    try:
        yield settings, accounts
    finally:
        accounts.close()


def _audit(accounts: Accounts, action: str, detail: str) -> None:
    accounts.audit(time.time(), getpass.getuser(), "this machine", action, "done", detail)


@console_app.command(
    epilog='Examples: l4 console token ann --role operator --label "nightly report" '
    "· l4 console token ann --keep"
)
def token(
    name: Annotated[str, typer.Argument(help="Whose: somebody who may sign in.")],
    role: Annotated[
        str, typer.Option(help="viewer, operator, approver or admin; at most their own.")
    ] = "",
    days: Annotated[int, typer.Option(help="It ends after so many.")] = 90,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    keep: Annotated[
        bool, typer.Option("--keep", help="For `l4` on this machine, instead of printing it.")
    ] = False,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Make a token for scripts; it is told this once. Of a run on this machine, by its file."""
    from ground.console.accounts import Role
    from protocols.errors import LocalError

    with _accounts(run_dir) as (settings, accounts):
        people = accounts.people()
        if name not in people:
            known = (
                ", ".join(people)
                or "nobody yet: `l4 console set-up NAME`, or the link in console/setup-link"
            )
            raise LocalError(f"nobody is called {name!r}; there is {known}")
        if role and role.upper() not in Role.__members__:
            raise LocalError(f"--role {role!r}: viewer, operator, approver or admin wanted")
        wanted = Role[role.upper()] if role else people[name]
        label = label or ("l4 on this machine" if keep else "made by l4 console token")
        made = accounts.tokens.make(name, wanted, label, days=days, now_s=time.time())
        _audit(accounts, "l4 console token", f"{made.number} of {name}, {wanted.name.lower()}")
        if keep:
            settings.kept_token.touch(mode=0o600)
            settings.kept_token.write_text(made.secret + "\n")
    if json_:
        told = {"number": made.number, "name": name, "role": wanted.name.lower()}
        print(json.dumps({**told, "token": made.secret}, indent=2))
    elif keep:
        print(f"token {made.number} of {name} ({wanted.name.lower()}) kept in {run_dir}")
    else:
        print(made.secret)


@console_app.command(epilog="Example: l4 console tokens --json")
def tokens(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Tokens there are: whose, for what, until when, when they were used last."""
    with _accounts(run_dir) as (_, accounts):
        found = accounts.tokens.all()
    rows = [
        {
            "number": one.number,
            "name": one.name,
            "role": one.role.name.lower(),
            "label": one.label,
            "until": _day(one.until_s),
            "used": _day(one.used_s) if one.used_s else "never",
        }
        for one in found
    ]
    show_rows(rows, as_json=json_, none="no tokens")


@console_app.command(epilog="Example: l4 console revoke 3")
def revoke(
    number: Annotated[int, typer.Argument(help="Token, as `l4 console tokens` numbers them.")],
    run_dir: RunDir = _RUN,
) -> None:
    """A token is of no use from now on."""
    with _accounts(run_dir) as (_, accounts):
        accounts.tokens.revoke(number)
        _audit(accounts, "l4 console revoke", str(number))
    print(f"token {number} is revoked")


@console_app.command(
    "set-up", epilog="Example: l4 console set-up ann — asks for a password; or from standard input"
)
def set_up(
    name: Annotated[str, typer.Argument(help="The first administrator.")], run_dir: RunDir = _RUN
) -> None:
    """The first administrator of a run on this machine, without a browser."""
    with _accounts(run_dir) as (settings, accounts):
        link = accounts.setup_token(time.time())
        if link is None:
            from protocols.errors import LocalError

            raise LocalError("there is somebody already; `l4 console add` adds people")
        accounts.set_up(link, name, _password(), time.time())
        _audit(accounts, "l4 console set-up", name)
        settings.setup_link.unlink(missing_ok=True)
    where = "" if run_dir == _RUN else f" --run-dir {run_dir}"
    print(f"{name} is the administrator; `l4 console token {name} --keep{where}` signs `l4` in")


@console_app.command(epilog="Example: l4 console people --json")
def people(run_dir: RunDir = _RUN, json_: Json = False) -> None:
    """Who may sign in, as what."""
    with _ground(run_dir) as ground:
        show_rows(ground.people(), as_json=json_, none="nobody")


Person = Annotated[str, typer.Argument(help="Who.")]
RoleName = Annotated[str, typer.Argument(help="viewer, operator, approver or admin.")]


@console_app.command(epilog="Example: l4 console add bob approver")
def add(name: Person, role: RoleName, run_dir: RunDir = _RUN) -> None:
    """Somebody more; asks for a password, or takes it from standard input."""
    with _ground(run_dir) as ground:
        ground.add_person(name, role, _password())  # pyright: ignore[reportArgumentType]
    print(f"{name} may sign in as {role}")


@console_app.command(epilog="Example: l4 console role bob operator")
def role(name: Person, role: RoleName, run_dir: RunDir = _RUN) -> None:
    """Another role for somebody."""
    with _ground(run_dir) as ground:
        ground.set_person_role(name, role)  # pyright: ignore[reportArgumentType]
    print(f"{name} is {role}")


@console_app.command(epilog="Example: l4 console password bob")
def password(name: Person, run_dir: RunDir = _RUN) -> None:
    """Another password for somebody, whose sessions end."""
    with _ground(run_dir) as ground:
        ground.set_person_password(name, _password())
    print(f"{name} has another password")


@console_app.command(epilog="Example: l4 console remove bob")
def remove(name: Person, run_dir: RunDir = _RUN) -> None:
    """Somebody less, with their sessions and tokens."""
    with _ground(run_dir) as ground:
        ground.remove_person(name)
    print(f"{name} is removed")


@console_app.command(epilog="Examples: l4 console audit · l4 console audit --last 500 --json")
def audit(
    last: Annotated[int, typer.Option(help="So many of the newest.")] = 50,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Who did what, or was refused it; newest first."""
    with _ground(run_dir) as ground:
        found = ground.audit(last)
    if json_:
        print(json.dumps(found, indent=2))
        return
    rows = [{**one, "time_s": _day(one["time_s"])} for one in found]
    show_rows(rows, as_json=False, none="nothing yet")


@console_app.command(
    epilog="Examples: l4 console layouts · l4 console layouts storm > storm.json · "
    "l4 console layouts storm --save storm.json"
)
def layouts(
    name: Annotated[str, typer.Argument(help="Print this one; without: list all.")] = "",
    save: Annotated[Path | None, typer.Option(help="Save this file under the name.")] = None,
    run_dir: RunDir = _RUN,
    json_: Json = False,
) -> None:
    """Saved layouts of the page."""
    from protocols.errors import LocalError

    with _ground(run_dir) as ground:
        if save is not None:
            if not name:
                raise LocalError("--save: a name for it wanted")
            ground.save_layout(name, save.read_text())
            print(f"layout {name} is saved")
            return
        found = ground.layouts()
    if name:
        if name not in found:
            raise LocalError(f"no layout {name!r}; there is {', '.join(found) or 'none'}")
        print(found[name]["body"])
        return
    rows = [{"name": each, "owner": one["owner"]} for each, one in found.items()]
    show_rows(rows, as_json=json_, none="no layouts")


def _ground(run_dir: Path) -> Ground:
    from ground.client import Ground

    return Ground.of_run(run_dir)


def _password() -> str:
    """Asked for twice on a terminal; else a line of standard input."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return typer.prompt("password", hide_input=True, confirmation_prompt=True)


def _day(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_s))


def show_rows(rows: list[dict[str, Any]], *, as_json: bool, none: str) -> None:
    """JSON for scripts; a table for people, whose columns are the first row's names."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        print(none)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in rows[0]:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    # Names are there to be copied: on a narrow screen lines wrap, nothing is shortened.
    console = Console(width=max(Console().width, 300), soft_wrap=True)
    with console.capture() as text:
        console.print(table, crop=False)
    # The spaces behind the last column would wrap into lines of nothing.
    print("\n".join(line.rstrip() for line in text.get().splitlines()))
