"""`l4 schedule benchmark` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def l4(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ground.cli", "schedule", "benchmark", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=250)


@pytest.fixture(scope="module")
def week(shared: Path) -> list[object]:
    folder = shared / "satnet"
    return [folder / "problems.json", "--maintenance", folder / "maintenance.csv"]


@pytest.mark.parametrize("objective", ["hours", pytest.param("fairness", marks=pytest.mark.long)])
def test_solves_a_week_and_proves_a_bound(
    week: list[object], shared: Path, tmp_path: Path, objective: str
) -> None:
    out = tmp_path / "schedule.json"
    options = ["--week", "W10_2018", "--objective", objective, "--seconds", 4, "--workers", 2]
    done = l4(*week, *options, "--bound-seconds", 3, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    check = [sys.executable, shared / "satnet" / "check.py", week[0], week[2], "W10_2018", out]
    checked = json.loads(
        subprocess.run([*map(str, check), "--json"], capture_output=True, check=True).stdout
    )
    assert checked["valid"]
    for name in ("hours", "satisfied", "u_rms", "u_max"):
        assert report[name] == pytest.approx(checked[name])
    if objective == "hours":
        assert report["hours"] < report["bounds"]["hours"] <= report["requested_hours"]
    else:
        assert 0 <= report["bounds"]["u_rms"] < report["u_rms"]
        assert 0 <= report["bounds"]["u_max"] < report["u_max"]
    assert report["curve"][0]["phase"] == "greedy"


def test_table_names_value_and_bound(week: list[object]) -> None:
    done = l4(*week, "--week", "W20_2018", "--steps", 500, "--bound-seconds", 1, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "tracking hours" in done.stdout
    assert "1,406.5" in done.stdout
    assert "≤" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--week", "W30_2018"], "holds W10_2018, W20_2018, W50_2018"),
        (["--week", "W10_2018", "--objective", "beauty"], "one of hours, satisfied, fairness"),
        (["--week", "W10_2018", "--seconds", 2, "--steps", 2], "one of the two"),
    ],
)
def test_bad_options_are_one_line(week: list[object], options: list, message: str) -> None:
    done = l4(*week, *options)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
