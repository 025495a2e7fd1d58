"""Replanning of real weeks: `python -m tests.benchmarks.replan SHARED/satnet [--seconds 60]`.

An antenna is lost on Wednesday noon until the week's end, each antenna of each week in turn.  The
published schedule and the full re-solve (of the whole week with the outage known from the start,
which is more freedom than a Wednesday has) come from the solver with the same seconds each.  The
time is a whole process: start, import, reading the files, replanning, writing the schedule.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ground.schedule_files import save_schedule
from ground.scheduling.metrics import measure
from ground.scheduling.model import S_NS, Interval, Problem, Schedule
from ground.scheduling.replan import with_commitment
from ground.scheduling.requests_fields import utc_text
from ground.scheduling.rules import violations
from ground.scheduling.satnet import read_problem, read_schedule
from ground.scheduling.solve import solve

WEEKS = ("W10_2018", "W20_2018", "W50_2018")
NOON_S = 60 * 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="with problems.json and maintenance.csv")
    parser.add_argument("--weeks", nargs="*", default=WEEKS)
    parser.add_argument("--antennas", nargs="*", help="only these")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each solve")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--published", type=Path, help="folder with WEEK.json to begin with")
    given = parser.parse_args()
    print("| week | antenna | broken | seconds | unmoved | hours | re-solved | loss |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for week in given.weeks:
        problem = read_problem(
            given.folder / "problems.json", given.folder / "maintenance.csv", week
        )
        if given.published:
            rows = json.loads((given.published / f"{week}.json").read_text())
            published = read_schedule(problem, rows)
        else:
            published = solve(problem, seconds=given.seconds, workers=given.workers).schedule
        for antenna in given.antennas or [a.name for a in problem.antennas]:
            row = _outage(given, problem, published, antenna)
            print(f"| {week} | {antenna} | {row} |", flush=True)


def _outage(given: argparse.Namespace, problem: Problem, published: Schedule, antenna: str) -> str:
    noon_ns = problem.horizon.start_ns + NOON_S * S_NS
    lost = with_commitment(problem, antenna, Interval(noon_ns, problem.horizon.end_ns))
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.json", Path(folder) / "after.json"
        save_schedule(problem, published, before)
        begin = time.monotonic()
        told = subprocess.run(
            [
                sys.executable, "-m", "ground.cli", "schedule", "replan",
                str(given.folder / "problems.json"), "--week", problem.name,
                "--maintenance", str(given.folder / "maintenance.csv"), "--schedule", str(before),
                "--lost", antenna, "--from", utc_text(noon_ns), "--out", str(after), "--json",
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        seconds = time.monotonic() - begin
        schedule = read_schedule(problem, json.loads(after.read_text()))
    if broken := violations(lost, schedule):
        raise SystemExit(f"{problem.name} {antenna}: {broken[0]}")
    report = json.loads(told.stdout)
    hours = measure(lost, schedule).hours
    again = solve(lost, seconds=given.seconds, workers=given.workers).metrics.hours
    return (
        f"{report['broken']} | {seconds:.1f} | {report['unmoved']:.1%} | {hours:.1f} | "
        f"{again:.1f} | {1 - hours / again:.2%}"
    )


if __name__ == "__main__":
    main()
