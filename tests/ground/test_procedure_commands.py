"""`l4 procedure`: what it prints, and how it ends."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from ground.answering import CallServer
from ground.cli import app
from ground.command.procedures.library import shipped
from ground.config import free_base_port, prepare_run_directory
from protocols.errors import LocalError
from tests.ground.command.world import World

L4 = CliRunner()


def test_a_wrong_file_is_told_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("procedure: x\ndescription: y\nsteps:\n  - send: MODE_SAVE\n  - wait: 30\n")
    # What lies beside it is not run.
    (tmp_path / "other.py").write_text("raise SystemExit(7)\n")
    shown = L4.invoke(app, ["procedure", "check", str(file)])
    assert shown.exit_code == 1
    assert [one.removeprefix(str(file)) for one in shown.stderr.splitlines()] == [
        ":4:11: no command 'MODE_SAVE'; nearest: MODE_SET, MODE_RECOVER",
        ":5:11: duration 30; a number and s, min, h or d wanted, as 30 min",
    ]
    found = json.loads(L4.invoke(app, ["procedure", "check", str(file), "--json"]).stdout)
    assert not found["valid"]
    assert [(one["line"], one["column"]) for one in found["problems"]] == [(4, 11), (5, 11)]


def test_expected_durations_are_light_time_and_execution() -> None:
    file = str(shipped() / "storm_recovery.yaml")
    shown = L4.invoke(app, ["procedure", "check", file, "--json", "--light-time", "100"])
    takes = {one["text"]: one["takes_s"] for one in json.loads(shown.stdout)["steps"]}
    assert takes["send MEMORY_SCRUB, wait for completion"] == 2 * 100 + 240
    assert takes["wait 3 h"] == 10_800


def test_python_is_taken_to_its_end() -> None:
    file = str(shipped() / "retrieve_in_parts.py")
    shown = L4.invoke(app, ["procedure", "check", file])
    assert "give FROM=… to see them" in shown.stdout
    shown = L4.invoke(
        app, ["procedure", "check", file, "FROM=2026-11-22T21:00:00Z", "HOURS=2.5", "--json"]
    )
    steps = json.loads(shown.stdout)["steps"]
    sent = [one["text"] for one in steps if one["text"].startswith("send")]
    assert len(sent) == 3
    assert sent[2].endswith("FROM=2026-11-22T23:00:00Z TO=2026-11-22T23:30:00Z")
    # The second part is asked for while the first is under way.
    assert steps[-1]["begins_s"] == pytest.approx(2 * (2 * 499 + 5))


def test_all_that_come_with_the_package_are_listed() -> None:
    shown = L4.invoke(app, ["procedure", "dictionary", "--json"])
    names = [one["procedure"] for one in json.loads(shown.stdout)]
    assert {"storm_recovery", "start_of_pass", "instruments_on"} <= set(names)
    for name in names:
        assert L4.invoke(app, ["procedure", "dictionary", name]).exit_code == 0


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[str]:
    """A run whose command service is a thread: engine, store and socket are the real ones."""
    settings = prepare_run_directory(tmp_path, base_port=free_base_port(), command=True)
    stop = threading.Event()

    def serve() -> None:
        world = World()
        server = CallServer(settings.command_endpoint)
        while not stop.wait(0.01):
            server.turn(lambda *call: world.engine.operate(world.now_ns, *call))
            world.engine.turn(world.now_ns)
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield str(tmp_path)
    stop.set()
    thread.join()


def test_a_run_is_operated_by_commands(run_dir: str) -> None:
    def l4(*arguments: str) -> Result:
        return L4.invoke(app, ["procedure", *arguments, "--run-dir", run_dir])

    def state() -> str:
        return json.loads(l4("list", "--json").stdout)[-1]["state"]

    assert "no runs" in l4("list").stdout
    span = ("FROM=2026-11-22T21:00:00Z", "TO=2026-11-22T22:00:00Z")
    started = json.loads(
        l4("run", "retrieve_telemetry", *span, "STORE=1", "--as", "ann", "--json").stdout
    )
    number = str(started["number"])
    assert (started["actor"], started["arguments"]["STORE"]) == ("ann", 1)
    while state() != "waiting":
        pass
    listed = l4("list").stdout
    assert "STORE_SUMMARY" in listed
    refused = l4("answer", number, "go")
    assert isinstance(refused.exception, LocalError)
    assert "cannot answer; pause, abort possible" in str(refused.exception)
    for command, after in (("pause", "paused"), ("step", "waiting"), ("pause", "paused")):
        assert l4(command, number, "--as", "bob").exit_code == 0
        while state() != after:
            pass
    assert l4("resume", number).exit_code == 0
    assert l4("abort", number, "--reason", "wrong span", "--as", "bob").exit_code == 0
    shown = l4("show", number).stdout
    assert "wrong span" in shown
    assert "bob" in shown
    followed = l4("follow", number)
    assert followed.exit_code == 1
    assert followed.stdout.endswith("\n")
    missing = l4("run", "storm_recovery", "CHARGE=300")
    assert "CHARGE: 300; 45..100 % allowed" in str(missing.exception)
