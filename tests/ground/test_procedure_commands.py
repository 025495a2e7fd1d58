"""`l4 procedure`: what it prints, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.command.procedures.library import shipped

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
