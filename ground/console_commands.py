"""`l4 console …`: who may sign in, scripts' tokens, and the audit."""

from __future__ import annotations

import getpass
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ground.terminal import display

if TYPE_CHECKING:
    from ground.config import RunSettings
    from ground.console.accounts import Accounts

console_app = typer.Typer(
    help="Who may use the console: tokens for scripts.",
    epilog="""
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
            known = ", ".join(people) or "nobody yet: open the link in console/setup-link"
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
    from rich.table import Table

    table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
    for title in rows[0]:
        table.add_column(title)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    display(table)
