"""`l4` commands that ask the console, against one behind a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.config import prepare_run_directory
from ground.console.accounts import Accounts, Role
from protocols.errors import LocalError
from tests.ground.client.served import Served, served
from tests.ground.console.site import PASSWORD, Console


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with served(Console(tmp_path)) as one:
        monkeypatch.setenv("L4_URL", one.url)
        monkeypatch.setenv("L4_TOKEN", one.token("admin"))
        yield one


def run(*words: str, text: str = "") -> tuple[int, str]:
    found = CliRunner().invoke(app, list(words), input=text)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return found.exit_code, found.output


def test_alarms(site: Served) -> None:
    assert run("alarm", "list") == (0, "no alarms\n")
    site.console.raise_alarm()
    site.console.raise_alarm("THM_X")
    status, text = run("alarm", "list", "--json")
    assert (status, {one["name"] for one in json.loads(text)}) == (1, {"PWR_BUS_VOLTAGE", "THM_X"})
    assert "shelved" in run("alarm", "shelve", "THM_X", "--why", "heater test")[1]
    assert "unacknowledged" in run("alarm", "unshelve", "THM_X")[1]
    assert "acknowledged" in run("alarm", "acknowledge", "--all")[1]
    assert run("alarm", "list")[0] == 0
    with pytest.raises(LocalError, match="no alarm 'NONE'"):
        run("alarm", "acknowledge", "NONE")
    with pytest.raises(LocalError, match="name or --all"):
        run("alarm", "acknowledge")


def test_people_layouts_and_audit(site: Served, tmp_path: Path) -> None:
    assert run("console", "add", "bob", "operator", text=PASSWORD + "\n")[0] == 0
    run("console", "role", "bob", "approver")
    assert {"name": "bob", "role": "approver"} in json.loads(run("console", "people", "--json")[1])
    run("console", "remove", "bob")
    with pytest.raises(LocalError, match="nobody is called 'bob'"):
        run("console", "role", "bob", "viewer")
    layout = tmp_path / "storm.json"
    layout.write_text('{"views": []}')
    run("console", "layouts", "storm", "--save", str(layout))
    assert run("console", "layouts", "storm")[1].strip() == layout.read_text()
    newest = json.loads(run("console", "audit", "--json")[1])
    assert [one["outcome"] for one in newest[:2]] == ["done", "409"]
    assert PASSWORD not in json.dumps(newest)


def test_the_present(site: Served) -> None:
    assert run("telemetry", "BATTERY") == (0, "no such values are known now\n")
    assert run("events", "--json")[1].strip() == "[]"
    assert run("pass", "list") == (0, "no passes\n")


def test_views_are_a_table_for_people(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = json.loads(run("pass", "views", "--json")[1])
    head, *lines, last = run("pass", "views")[1].splitlines()
    assert head.split() == ["antenna", "complex", "AOS", "LOS", "highest", "free", "held", "by"]
    assert [line.split()[0] for line in lines] == [one["antenna"] for one in told["views"]] != []
    assert last.startswith("version ")
    assert not [line for line in lines if line != line.rstrip() or "_utc" in line]


def test_a_run_on_this_machine_is_set_up_and_signed_in_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("L4_URL", raising=False)
    monkeypatch.delenv("L4_TOKEN", raising=False)
    settings = prepare_run_directory(tmp_path, speed=1, base_port=40_000, console=True)
    here = ("--run-dir", str(tmp_path))
    with pytest.raises(LocalError, match="l4 console token NAME --keep"):
        run("alarm", "list", *here)
    with pytest.raises(LocalError, match="nobody is called 'ann'"):
        run("console", "token", "ann", *here)
    run("console", "set-up", "ann", *here, text=PASSWORD + "\n")
    with pytest.raises(LocalError, match="somebody already"):
        run("console", "set-up", "eve", *here, text=PASSWORD + "\n")
    assert "kept" in run("console", "token", "ann", "--keep", *here)[1]
    assert settings.kept_token.stat().st_mode & 0o077 == 0
    made = json.loads(run("console", "token", "ann", "--role", "viewer", "--json", *here)[1])
    accounts = Accounts.open(settings.console_dir / "accounts.sqlite")
    assert accounts.tokens.session(made["token"], 0.0).role is Role.VIEWER
    assert len(json.loads(run("console", "tokens", "--json", *here)[1])) == 2
    run("console", "revoke", "1", *here)
    assert [one.number for one in accounts.tokens.all()] == [made["number"]]
    assert [one.action for one in accounts.audited(2)] == ["l4 console revoke", "l4 console token"]
    accounts.close()
    with pytest.raises(LocalError, match="no console answers"):
        run("alarm", "list", *here)
