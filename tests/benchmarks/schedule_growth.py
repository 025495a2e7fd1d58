"""How antenna scheduling grows: generated weeks of 1, 2, 5, 10 times the DSN.

    python -m tests.benchmarks.schedule_growth --scales 1 10 --seconds 120 --bound-seconds 60

One line a size: greedy, best schedule after the seconds, when it came within 10 % of the bound
(proven after the search, on its own), and the gap at the end.  Each schedule is checked by
`rules.violations` first.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

from ground.scheduling.bound import upper_bound_hours
from ground.scheduling.generator import generate
from ground.scheduling.objective import HOURS
from ground.scheduling.rules import violations
from ground.scheduling.solve import solve
from ground.scheduling.worker import warm


def measure(scale: int, seconds: float, bound_seconds: float, workers: int) -> dict[str, Any]:
    problem = generate(scale, seed=1)
    warm(problem, HOURS)
    solution = solve(problem, HOURS, seconds=seconds, workers=workers)
    broken = violations(problem, solution.schedule)
    if broken:
        raise SystemExit(f"scale {scale}: {broken[0]}")
    begin = time.monotonic()
    bound = upper_bound_hours(problem, seconds=bound_seconds)
    metrics, curve = solution.metrics, solution.curve
    within = [p.elapsed_s for p in curve if p.metrics.hours >= 0.9 * bound.value]
    return {
        "scale": scale,
        "antennas": len(problem.antennas),
        "requests": len(problem.requests),
        "asked_h": metrics.requested_hours,
        "greedy_h": curve[0].metrics.hours,
        "greedy_s": curve[0].elapsed_s,
        "hours": metrics.hours,
        "seconds": solution.elapsed_s,
        "steps": solution.steps,
        "bound_h": bound.value,
        "bound_s": time.monotonic() - begin,
        "within_10_percent_s": within[0] if within else None,
        "gap": 1 - metrics.hours / bound.value,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scales", type=int, nargs="+", default=[1, 2, 5, 10])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--bound-seconds", type=float, default=60)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    print("| antennas | requests | asked h | greedy h (s) | best h | bound h (s) | gap | in 10 % |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for scale in arguments.scales:
        row = measure(scale, arguments.seconds, arguments.bound_seconds, arguments.workers)
        rows.append(row)
        within = row["within_10_percent_s"]
        print(
            f"| {row['antennas']} | {row['requests']:,} | {row['asked_h']:,.0f} "
            f"| {row['greedy_h']:,.0f} ({row['greedy_s']:.2f}) | {row['hours']:,.1f} "
            f"| {row['bound_h']:,.1f} ({row['bound_s']:.0f}) | {row['gap']:.2%} "
            f"| {'never' if within is None else f'{within:.1f} s'} |",
            flush=True,
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
