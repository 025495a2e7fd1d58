"""`make trial-reprocess`: killed again and again; on a Dask cluster; one worker and two.

--rounds N     kills (half of them of clients), then the results against one process's
--cluster      worker, scheduler and client of a cluster killed; a second client
--minutes N    length of the simulated downlink that is timed with one worker and with two
--runs N       of each, in turn; medians are told
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from ground.ports import LinkChunk
from ground.receive.capture import CaptureWriter
from tests.ground.reprocess.test_cluster import dask_site, result
from tests.ground.reprocess.test_reprocess import (
    EVENING,
    begin,
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


def cluster(home: Path) -> None:
    """A scheduler and workers in processes of their own, over TLS; what dies is started anew."""
    truth = read_at_once(home, downlink())
    with dask_site(home) as site:
        out, begun = home / "by-cluster", time.monotonic()
        workers = [site.worker("--memory-limit", "700MB", "--no-nanny") for _ in range(2)]
        process = site.client(truth[0], out)
        until(lambda: parts(out) >= 2, process)
        process.send_signal(signal.SIGSTOP)
        code, _, said = result(site.client(truth[0], out))
        assert "another `l4 reprocess` is at work here" in said, said
        workers[0].kill()
        process.send_signal(signal.SIGCONT)
        code, told, said = result(process)
        assert code == 0, said
        is_the_truth(out, truth)
        print(f"a second client refused, one of two workers killed: the same ({since(begun)})")
        shutil.rmtree(out)
        process = site.client(truth[0], out)
        until(lambda: parts(out) >= 2, process)
        process.kill()
        process.communicate()
        code, told, said = result(site.client(truth[0], out))
        assert code == 0, said
        is_the_truth(out, truth)
        print(f"the client killed, another begun: {json.loads(told)['kept']} kept ({since(begun)})")
        shutil.rmtree(out)
        process = site.client(truth[0], out)
        until(lambda: parts(out) >= 2, process)
        workers[1].send_signal(signal.SIGSTOP)
        died = time.monotonic()
        site.scheduler.kill()
        code, _, said = result(process)
        assert "the cluster gave up (its scheduler is gone)" in said, said
        assert "Traceback" not in said, said
        workers[1].kill()
        print(f"the scheduler killed: said after {since(died)}: {said[-160:]}")
    (home / "scheduler.json").unlink()
    with dask_site(home) as site:
        site.worker()
        code, told, said = result(site.client(truth[0], out))
        assert code == 0, said
        is_the_truth(out, truth)
        print(f"another scheduler: {json.loads(told)['kept']} kept, the same ({since(begun)})")


def since(begun: float) -> str:
    return f"{time.monotonic() - begun:.0f} s"


def scaling(home: Path, minutes: int, runs: int) -> None:
    """One process's replay, one worker, two workers, in turn: wall clock of the work alone, start
    of the processes apart, and CPU seconds."""
    octets = home / "downlink.cadu"
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "spacecraft_sim", "--seed", "1", "--duration", str(minutes * 60),
         "--start-utc", "2027-01-01T00:00:00Z", "--output", str(octets)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    # The same downlink on several days: the simulator takes longer than what is measured.
    data = octets.read_bytes()
    made, days = home / "long", 8
    # Many files, as years have: they are looked through in parallel, too.
    with CaptureWriter(made, link="downlink", rotate_octets=32 << 20) as writer:
        for sequence, at in enumerate(range(0, days * len(data), 1279)):
            ert_ns = EVENING + sequence * (days * 86_400 * 10**9 // (days * len(data) // 1279))
            low = at % len(data)
            writer.append([LinkChunk("run", sequence, ert_ns, data[low : low + 1279])])
    size = sum(path.stat().st_size for path in made.glob("*.pcapng"))
    print(f"{size / 1e6:.0f} MB of capture made in {since(begun)}; load {os.getloadavg()[0]:.1f}")
    replay = [
        sys.executable,
        "-m",
        "ground.cli",
        "replay",
        str(made),
        "-m",
        "l4_relay",
        "--parquet",
    ]
    took: dict[str, list[dict[str, float]]] = {}
    for run in range(runs):
        order = ["l4 replay --parquet", "1", "2"]
        for what in order if run % 2 == 0 else reversed(order):
            out = home / "timed"
            children = resource.getrusage(resource.RUSAGE_CHILDREN)
            began = time.monotonic()
            if what in ("1", "2"):
                told = subprocess.run(
                    [sys.executable, "-m", "ground.cli", "reprocess", str(made), "--out", str(out),
                     "--workers", what, "--part-mib", str(max(1, size // days // 2 >> 20)),
                     "--overlap-mib", "1", "--json"],
                    check=True, stdout=subprocess.PIPE,
                ).stdout  # fmt: skip
                found = json.loads(told)
                wall, parts_of_it = found["seconds"], len(found["parts"])
                work = found["working_seconds"]
            else:
                subprocess.run([*replay, str(out)], check=True, stdout=subprocess.DEVNULL)
                wall = work = time.monotonic() - began
                parts_of_it = 1
            now = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
            took.setdefault(what, []).append(
                {"wall": wall, "work": work, "cpu": cpu, "parts": parts_of_it}
            )
            shutil.rmtree(out)

    def median(what: str, name: str) -> float:
        return statistics.median(one[name] for one in took[what])

    print(f"\nload {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores, medians of {runs}\n")
    print("| | parts | work | with start | CPU | Mbit/s a worker | against one worker |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    one = median("1", "work")
    for what in took:
        workers = int(what) if what in ("1", "2") else 1
        name = f"{what} worker{'s' if what == '2' else ''}" if what in ("1", "2") else f"`{what}`"
        work = median(what, "work")
        ratio = f"{one / work:.2f}×, efficiency {one / work / workers:.0%}"
        print(
            f"| {name} | {median(what, 'parts'):.0f} | {work:.1f} s | {median(what, 'wall'):.1f} s "
            f"| {median(what, 'cpu'):.1f} s | {len(data) * days * 8e-6 / work / workers:.0f} "
            f"| {ratio if what in ('1', '2') else '–'} |"
        )
    print()
    for what, runs_of_it in took.items():
        print(f"{what}: work {', '.join(format(r['work'], '.1f') for r in runs_of_it)} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--cluster", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--minutes", type=int, default=400)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="l4-reprocess-") as home:
        if arguments.rounds:
            kills(Path(home), arguments.rounds)
    with tempfile.TemporaryDirectory(prefix="l4-reprocess-") as home:
        if arguments.cluster:
            cluster(Path(home))
    with tempfile.TemporaryDirectory(prefix="l4-reprocess-") as home:
        if arguments.minutes:
            scaling(Path(home), arguments.minutes, arguments.runs)


if __name__ == "__main__":
    main()
