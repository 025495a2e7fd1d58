"""`make trial-reprocess`: clients and Dask workers killed again and again; one worker and two.

--rounds N     kills (half of them of clients), then the results against one process's
--minutes N    length of the simulated downlink that is timed with one worker and with two
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from tests.ground.reprocess.test_reprocess import (
    begin,
    capture,
    downlink,
    is_the_truth,
    parts,
    read_at_once,
    until,
)


def workers_of(parent: int) -> list[int]:
    """Processes below it that hold a Dask worker."""
    return [
        child.pid
        for child in psutil.Process(parent).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]


def kills(home: Path, rounds: int) -> None:
    truth = read_at_once(home, downlink())
    chance, out = random.Random(1), home / "out"
    for number in range(rounds):
        had = parts(out)
        process = begin(truth[0], out, 2)
        until(lambda had=had: parts(out) > had, process)
        time.sleep(chance.random() / 2)
        if number % 2:
            for worker in workers_of(process.pid)[:1]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            told, said = process.communicate(timeout=300)
            assert process.returncode == 0, said.decode()
            found = json.loads(told)
            is_the_truth(out, truth)
            print(f"round {number}: a worker killed, {found['kept']} of {len(found['parts'])} kept")
            shutil.rmtree(out)
        else:
            process.kill()
            process.communicate()
            print(f"round {number}: the client killed with {parts(out)} parts in place")


def scaling(home: Path, minutes: int, runs: int) -> None:
    octets = home / "downlink.cadu"
    subprocess.run(
        [sys.executable, "-m", "spacecraft_sim", "--seed", "1", "--duration", str(minutes * 60),
         "--start-utc", "2027-01-01T00:00:00Z", "--output", str(octets)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    data = octets.read_bytes()
    made = capture(home / "long", data, 1279, 4 * 86_400 * 1279 // len(data))
    took: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(runs):
        for workers, times in took.items():
            out = home / "timed"
            began = time.monotonic()
            subprocess.run(
                ["l4", "reprocess", str(made), "--out", str(out), "--workers", str(workers),
                 "--part-mib", "2", "--overlap-mib", "1", "--json"],
                check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            times.append(time.monotonic() - began)
            shutil.rmtree(out)
    medians = {workers: statistics.median(times) for workers, times in took.items()}
    print(f"{len(data) / 1e6:.1f} MB; load {os.getloadavg()[0]:.1f}; seconds by workers: {took}")
    print(f"medians {medians}; {medians[1] / medians[2]:.2f} times as fast by two")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l4-reprocess-") as home:
        if arguments.rounds:
            kills(Path(home), arguments.rounds)
        if arguments.minutes:
            scaling(Path(home), arguments.minutes, arguments.runs)


if __name__ == "__main__":
    main()
