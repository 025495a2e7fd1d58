"""`make bench`: every benchmark, one table of ratios; `ARGS="--only NAME --json FILE"`."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.harness import (
    RUNS,
    Case,
    Result,
    keep_freed_memory,
    measure,
    one_core,
    verdict,
)

HERE = Path(__file__).resolve().parent
MACHINE = (
    f"{platform.machine().replace('_', '-')}, {os.cpu_count()} cores, "
    f"Python {platform.python_version()}"
)


def _cases(only: str) -> Iterator[Case]:
    """One at a time: what a case has laid out is given up before the next is made."""
    for path in _modules(only):
        module = importlib.import_module(f"tests.benchmarks.{path.stem}")
        for case in module.cases():
            if only in _spoken(path) or only in path.stem or only in case.name:
                yield case


def _modules(only: str) -> list[Path]:
    """Those that can have a matching case; making the cases of all takes minutes (years of samples,
    whole sites), and only then are they called something."""
    paths = sorted(HERE.glob("bench_*.py"))
    return (
        [path for path in paths if only in _spoken(path) or only in path.stem]
        or [path for path in paths if only in path.read_text()]
        # A name that is put together of numbers.
        or paths
    )


def _spoken(path: Path) -> str:
    return path.stem.replace("_", " ")


def _row(table: Table, result: Result) -> None:
    case = result.case
    peers = [
        f"{name} {rate / case.scale:,.3g} ({result.ratios[name]:,.3g}×"
        f"{', equal' if name in result.checked else ''})"
        for name, rate in result.peers.items()
    ]
    peers += [f"{name}: missing, {why}" for name, why in result.missing.items()]
    goals = [
        f"[{'green' if met else 'bold red'}]{'met' if met else 'MISSED'}[/] "
        f"≥ {wanted:g} {goal}, {reached:,.3g}"
        for goal, wanted, reached, met in verdict(result)
    ]
    table.add_row(
        case.name,
        f"{result.rate / case.scale:,.4g} {case.unit}",
        "\n".join(peers),
        "\n".join(goals),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", default="", help="benchmarks whose file or case name contains this"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="timed runs (median is shown)")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--markdown", type=Path, help="only show this kept file as a table")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(_markdown(arguments.markdown))
        return 0
    keep_freed_memory("tests.benchmarks")
    one_core()
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("work", "ours", "peers (our ratio)", "goals", show_lines=True)
    report: list[dict[str, Any]] = []
    for case in _cases(arguments.only):
        print(case.name, file=sys.stderr, flush=True)
        result = measure(case, arguments.runs)
        _row(table, result)
        report.append(
            {
                "name": case.name,
                "unit": case.unit,
                "rate": result.rate / case.scale,
                "peers": {name: rate / case.scale for name, rate in result.peers.items()},
                "ratios": result.ratios,
                "missing": result.missing,
                "outputs_checked_equal": result.checked,
                "goals": [
                    {"goal": goal, "wanted": wanted, "reached": reached, "met": met}
                    for goal, wanted, reached, met in verdict(result)
                ],
            }
        )
    console.print(table)
    console.print(
        f"{MACHINE}; one core for ours and for peers, medians of {arguments.runs}; "
        "freed memory is kept (glibc), for ours and for peers"
    )
    if arguments.json:
        _keep(arguments.json, report)
    return 0


def _keep(file: Path, report: list[dict[str, Any]]) -> None:
    """Rows of the same work are replaced, others stay: the whole can be measured in parts."""
    kept = json.loads(file.read_text()) if file.exists() else []
    rows = {row["name"]: row for row in kept} | {row["name"]: row for row in report}
    file.write_text(json.dumps(list(rows.values()), indent=2) + "\n")


def _markdown(file: Path) -> str:
    """A kept file as the table of docs/performance.md."""
    lines = ["| work | ours | peers: rate, our ratio | goals |", "| --- | --- | --- | --- |"]
    for row in json.loads(file.read_text()):
        peers = [
            f"{name} {rate:,.3g}, {row['ratios'][name]:,.3g}×"
            for name, rate in row["peers"].items()
        ]
        peers += [f"{name}: missing ({why})" for name, why in row["missing"].items()]
        goals = [
            f"{'met' if goal['met'] else '**missed**'} ≥ {goal['wanted']:g} {goal['goal']}"
            for goal in row["goals"]
        ]
        ours = f"{row['rate']:,.4g} {row['unit']}"
        lines.append(f"| {row['name']} | {ours} | {'; '.join(peers)} | {'; '.join(goals)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
