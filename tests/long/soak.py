"""A day of the site in ten minutes: full load, memory flat, no gap that is not accounted for.

    make soak                                        # 24 world hours in ten minutes, 300 Mbit/s
    make soak ARGS="--minutes 2 --mbit 100 --hours 4"

The station sends the simulated spacecraft's housekeeping (`tests/benchmarks/system_source`, 15
parameters in each packet) at a steady rate to bus, receive, monitor and archive, whose clock runs
so much faster that the time asked for passes.  Each second the memory of every process that is
its own (resident less shared: of mapped capture files nobody is short) is noted.

At the end the archive must hold every packet and every sample that was sent, and a straight line
through each process's memory, after a fifth of the run and at least a minute, must not rise by more
than a tenth of it (or 32 MiB) until the end.

DIR/soak.json has all that was noted, DIR/soak.png a picture of it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ground.config import ARCHIVE, BUS, MIB, MONITOR, RECEIVE
from tests.benchmarks.system import STATION, Site, Watch, audit
from tests.benchmarks.system_source import CADU_OCTETS, Order, write_cadus

#: Kernels, caches (SQLite's of the archive takes 64 MiB) and buffers are filled by then: share of
#: the run, and at least so many seconds.
WARM, WARM_S = 0.2, 60.0
#: What may be gained from there to the end: share of the median, or so much.
MOST_GROWTH, MOST_GROWTH_OCTETS = 0.1, 32 * MIB
PATIENCE_S = 120.0
JUDGED = (BUS, RECEIVE, MONITOR, ARCHIVE)


@dataclass
class Soak:
    """memory: by process, octets, one a second; growth: of the fitted line, from the warm part's
    beginning to its end."""

    hours: float
    seconds: float
    mbit_s: float
    memory: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    at_s: list[float] = field(default_factory=list[float])
    behind: list[int] = field(default_factory=list[int])
    growth: dict[str, int] = field(default_factory=dict[str, int])
    audit: dict[str, Any] = field(default_factory=dict[str, Any])
    packets: int = 0
    problems: list[str] = field(default_factory=list[str])
    load: float = 0.0


def soak(directory: Path, *, hours: float, seconds: float, mbit_s: float) -> Soak:
    result = Soak(hours, seconds, mbit_s)
    cadus = directory / "soak.cadus"
    sent = write_cadus(cadus, max(64, round(mbit_s * 1e6 / 8 / CADU_OCTETS * seconds)))
    result.packets = sent.packets
    order = Order(str(directory / "run"), str(cadus), mbit_s, chunk_frames=8, stream="soak")
    # Journals forget, as they do in years.
    journals = {"journal_octets": 256 * MIB, "journal_segment_octets": 32 * MIB}
    site = Site(directory / "run", order, {"speed": hours * 3600 / seconds, **journals})
    watch = Watch(site, sent, latency=False)
    try:
        _until(watch, lambda: len(watch.status) >= len(JUDGED) and all(
            one.state == "running" for one in watch.status.values()
        ), "all run")  # fmt: skip
        site.start_station()
        _until(watch, lambda: bool(watch.station), "the station sends")
        began = time.monotonic()
        moved_s, before = began, 0.0
        while min(watch.done().values()) < 1.0:
            watch.look(0.2)
            now = time.monotonic()
            if now - began >= len(result.at_s) + 1:
                _note(site, watch, result, now - began)
            done = sum(watch.done().values())
            moved_s, before = (now, done) if done != before else (moved_s, before)
            if now - moved_s > PATIENCE_S:
                missed = {name: s.counters.get("bus_lost", 0) for name, s in watch.status.items()}
                result.problems.append(f"nothing moves: {watch.done()}; missed: {missed}")
                break
        result.load = os.getloadavg()[0]
    finally:
        site.close()
        for process in site.processes.values():
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
    result.audit = audit(site.settings.archive_file, sent, watch, sampled=False)
    _judge(result)
    return result


def _until(watch: Watch, done: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        watch.look(0.1)
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {PATIENCE_S:.0f} s: {watch.status}")


def _note(site: Site, watch: Watch, result: Soak, at_s: float) -> None:
    result.at_s.append(round(at_s, 2))
    result.behind.append(sum(p.lag for s in watch.status.values() for p in s.positions))
    for name, process in site.seen.items():
        if name != STATION:
            info = process.memory_info()
            result.memory.setdefault(name, []).append(info.rss - getattr(info, "shared", 0))


def _judge(result: Soak) -> None:
    for name, wanted in (
        ("packets_missing", 0), ("octets_missing", 0), ("samples_missing", 0),
        ("chunks_lost_at_station", 0), ("every_apid_equal", True), ("sequence_counts_wrong", 0),
    ):  # fmt: skip
        if result.audit[name] != wanted:
            result.problems.append(f"{name}: {result.audit[name]}, {wanted} wanted")
    at = np.array(result.at_s)
    warm = at >= max(WARM * at[-1], WARM_S) if len(at) else np.zeros(0, np.bool_)
    if np.count_nonzero(warm) < 4:
        return
    for name, octets in result.memory.items():
        values = np.array(octets, np.float64)[warm]
        slope = float(np.polyfit(at[warm], values, 1)[0])
        growth = slope * float(at[warm][-1] - at[warm][0])
        result.growth[name] = round(growth)
        most = max(MOST_GROWTH * float(np.median(values)), MOST_GROWTH_OCTETS)
        if growth > most:
            result.problems.append(
                f"{name}: memory grows by {growth / MIB:.0f} MiB in {at[-1]:.0f} s, at most "
                f"{most / MIB:.0f} wanted"
            )


def draw(result: Soak, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    hours = np.array(result.at_s) * result.hours / result.seconds
    for name, octets in result.memory.items():
        axes.plot(hours, np.array(octets) / MIB, label=name)
    axes.set(
        xlabel="world hours", ylabel="MiB of its own", ylim=(0, None),
        title=f"{result.mbit_s:g} Mbit/s, {result.packets:,} packets",
    )  # fmt: skip
    axes.legend()
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24.0, help="world time that passes")
    parser.add_argument("--minutes", type=float, default=10.0, help="wall time that it is given")
    parser.add_argument("--mbit", type=float, default=300.0, help="rate of the link, wall clock")
    parser.add_argument("--dir", type=Path, help="for the result, and the run while it lasts")
    options = parser.parse_args()
    directory = options.dir or Path(tempfile.mkdtemp(prefix="soak-"))
    directory.mkdir(parents=True, exist_ok=True)
    # What is sent, what is captured, journals and archive.
    wanted = round(2.3 * options.mbit * 1e6 / 8 * options.minutes * 60) + (1 << 30)
    if (free := shutil.disk_usage(directory).free) < wanted:
        parser.error(
            f"{directory}: {wanted / 1e9:.0f} GB wanted, {free / 1e9:.0f} GB free: "
            "--dir elsewhere, or a lower --mbit"
        )
    result = soak(directory, hours=options.hours, seconds=options.minutes * 60, mbit_s=options.mbit)
    for name in ("run", "soak.cadus"):
        path = directory / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (directory / "soak.json").write_text(json.dumps(vars(result), default=str) + "\n")
    draw(result, directory / "soak.png")
    told = {
        "packets": result.packets,
        "seconds": result.at_s[-1] if result.at_s else 0,
        "growth_mib": {name: round(o / MIB, 1) for name, o in result.growth.items()},
        "memory_mib": {name: round(o[-1] / MIB) for name, o in result.memory.items() if o},
        "most_behind": max(result.behind, default=0),
        "audit": result.audit,
        "load": round(result.load, 1),
        "problems": result.problems,
    }
    print(json.dumps(told, indent=1))
    print(f"{directory}/soak.json, soak.png", file=sys.stderr)
    return bool(result.problems)


if __name__ == "__main__":
    raise SystemExit(main())
