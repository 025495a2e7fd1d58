"""The whole system through its real processes: station → receive → monitor, archive.

    make bench-system ARGS="sustained latency burst --seconds 30 --json FILE"

Each case starts bus, receive, monitor and archive (`python -m ground SERVICE --run-dir D`) and a
station (`system_source.py`) in a directory of their own, watches their status on the bus as an
operator would, and at the end audits the archive against what was sent.

    sustained   CADUs as fast as receive takes them
    burst       faster than the archive for ten seconds, then nothing: the lag goes back to zero
    latency     10 Mbit/s: from a frame handed to the link to its parameters at a subscriber
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from ground.archive.database import SqliteDatabase
from ground.archive.packet_groups import read_group
from ground.archive.schema import connect_reader
from ground.archive.store import ArchiveStore
from ground.config import ARCHIVE, MONITOR, RECEIVE, SERVICES, free_base_port, prepare_run_directory
from ground.supervisor import EXIT_WITH_STDIN
from ground.wiring import open_clock, open_viewer
from protocols.bus.messages import (
    LinkMessage,
    PacketsMessage,
    ParametersMessage,
    StatusMessage,
    parse,
)
from protocols.identifiers import Topic
from tests.benchmarks.system_source import Order, Sent, order_arguments, write_cadus

ROOT = Path(__file__).resolve().parents[2]
STATION = "station"
SEQUENCE_COUNTS = 1 << 14
#: Nothing has come forward for so long: something is stuck, and the case ends as it is.
PATIENCE_S = 120.0
#: Ages of a frame, in order, the last of them what a subscriber waits for.
AGES = (
    "packets decoded",
    "packets heard",
    "parameters judged",
    "parameters heard",
    "parameters read",
)
STAGES = ("link", "capture", RECEIVE, MONITOR, ARCHIVE)


@dataclass
class Sample:
    """One second.  done: by stage, share of all that was sent; behind: by service, messages of the
    journals it follows that it has yet to finish; rss, cpu: by process, octets and share of a
    core."""

    seconds: float
    done: dict[str, float]
    behind: dict[str, int]
    rss: dict[str, int]
    cpu: dict[str, float]

    def seconds_behind(self, stage: str, outcome: Outcome) -> float:
        """Link time between what the station has given and what the stage has finished."""
        given_s = self.done["link"] * outcome.finished_s.get("link", 0.0)
        return max(0.0, given_s - self.done[stage] * outcome.finished_s.get("link", 0.0))


@dataclass
class Outcome:
    """finished_s: when each stage had all that was sent; cpu_s: by process, since it was RUNNING
    (loading Numba is no part of it)."""

    case: str
    what: str
    sent: Sent
    samples: list[Sample] = field(default_factory=list)
    finished_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)
    audit: dict[str, Any] = field(default_factory=dict)
    load: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def rate(self, stage: str) -> float:
        """Mbit/s on the link that the stage kept up with from first octet to last."""
        seconds = self.finished_s.get(stage)
        return self.sent.wire_bits / seconds / 1e6 if seconds else 0.0


class Site:
    """The processes of one case."""

    def __init__(self, directory: Path, order: Order, settings: dict[str, Any]) -> None:
        self.settings = prepare_run_directory(
            directory, base_port=free_base_port(), mission="l4_relay", **settings
        )
        order.run_dir = str(directory)
        self._order = order
        self.processes: dict[str, subprocess.Popen[str]] = {}
        self.seen: dict[str, psutil.Process] = {}
        self.topics = [Topic.STATUS, Topic.LINK]
        self.viewer = open_viewer(self.settings, "bench", self.topics)
        for name in SERVICES:
            self._start(name, [sys.executable, "-m", "ground", name, "--run-dir", str(directory)])

    def start_station(self) -> None:
        self._start(STATION, order_arguments(self._order))

    def _start(self, name: str, command: list[str]) -> None:
        with (self.settings.run_dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if name == STATION else log,
                stderr=log,
                text=True,
                env=os.environ | {EXIT_WITH_STDIN: "1"},
            )
        self.seen[name] = psutil.Process(self.processes[name].pid)
        if name == STATION:
            out = self.processes[name].stdout
            assert out is not None
            os.set_blocking(out.fileno(), False)

    def cpu_s(self) -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in self.seen.items()}
        return {name: both.user + both.system for name, both in times.items()}

    def close(self) -> None:
        self.viewer.close()
        for name in (STATION, *reversed(SERVICES)):
            process = self.processes.get(name)
            if process is None:
                continue
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Watch:
    """What the services say of themselves, and what the system says of them."""

    def __init__(self, site: Site, sent: Sent, *, latency: bool, stages: bool = False) -> None:
        self._site = site
        self._sent = sent
        self._clock = open_clock(site.settings)
        self._latency = latency
        # From the link to: packets decoded, the same heard here, parameters decoded and judged,
        # heard, opened.  (All by the clock that the processes share.)
        self.ages_ns: dict[str, list[np.ndarray]] = {name: [] for name in AGES}
        self.status: dict[str, StatusMessage] = {}
        self.link: LinkMessage | None = None
        self.station: dict[str, float] = {}
        self._said = b""
        self._cpu_before: dict[str, float] = {}
        self._before_s = time.monotonic()
        if latency:
            site.viewer.subscribe(Topic.PARAMETERS)
        if latency and stages:
            # Its reading delays that of the parameters: not for the figures.
            site.viewer.subscribe(Topic.PACKETS)

    def look(self, timeout_s: float) -> None:
        messages = self._site.viewer.receive(timeout_s)
        heard_ns = self._clock.now_ns()
        for message in messages:
            if message.topic == Topic.PACKETS:
                packets = parse(PacketsMessage, message.body).packets
                self.ages_ns["packets heard"].append(heard_ns - packets.ert_ns)
            elif message.topic == Topic.PARAMETERS:
                # Opened as a subscriber would, then the clock is read.
                body = parse(ParametersMessage, message.body)
                told_ns = {
                    "packets decoded": body.reception_ns,
                    "parameters judged": message.time_ns,
                    "parameters heard": heard_ns,
                    "parameters read": self._clock.now_ns(),
                }
                for name, now_ns in told_ns.items():
                    self.ages_ns[name] += [now_ns - table.ert_ns for table in body.tables]
            elif message.topic == Topic.LINK:
                self.link = parse(LinkMessage, message.body)
            elif message.topic.startswith(Topic.STATUS):
                status = parse(StatusMessage, message.body)
                self.status[status.service] = status
        station = self._site.processes.get(STATION)
        if station is not None and station.stdout is not None:
            # Not `readline`: on a pipe that does not block it may give half a line.
            with contextlib.suppress(BlockingIOError):
                self._said += os.read(station.stdout.fileno(), 1 << 16)
            *lines, self._said = self._said.split(b"\n")
            if lines:
                self.station = json.loads(lines[-1])

    def done(self) -> dict[str, float]:
        """Share of what was sent that each stage has finished."""
        total = self._sent.wire_bits / 8
        counters = {name: status.counters for name, status in self.status.items()}
        packets = {
            name: counters.get(name, {}).get("packets", 0) / self._sent.packets
            for name in (RECEIVE, MONITOR, ARCHIVE)
        }
        return {
            "link": self.station.get("given", 0) / total,
            "capture": self.station.get("on_disk", 0) / total,
            **packets,
        }

    def sample(self, begin_s: float) -> Sample:
        now_s = time.monotonic()
        rss: dict[str, int] = {}
        cpu: dict[str, float] = {}
        for name, process in self._site.seen.items():
            with process.oneshot():
                rss[name] = process.memory_info().rss
                times = process.cpu_times()
            total = times.user + times.system
            cpu[name] = (total - self._cpu_before.get(name, total)) / (now_s - self._before_s)
            self._cpu_before[name] = total
        self._before_s = now_s
        behind = {
            name: sum(position.lag for position in status.positions)
            for name, status in self.status.items()
        }
        return Sample(now_s - begin_s, self.done(), behind, rss, cpu)


def run(
    case: str,
    what: str,
    order: Order,
    sent: Sent,
    keep: bool,
    stages: bool = False,
    **settings: Any,
) -> Outcome:
    """One case from the first process to the audit."""
    directory = Path(tempfile.mkdtemp(prefix="bench-system-"))
    site = Site(directory, order, settings)
    outcome = Outcome(case, what, sent)
    watch = Watch(site, sent, latency=case == "latency", stages=stages)
    try:
        _wait_until_running(watch)
        site.start_station()
        while not watch.station:
            watch.look(0.02)
        idle_cpu_s = site.cpu_s()
        # The station counts from its first chunk.
        begin = time.monotonic() - watch.station["seconds"]
        watch.sample(begin)
        _follow(watch, outcome, begin)
        outcome.cpu_s = {name: cpu_s - idle_cpu_s[name] for name, cpu_s in site.cpu_s().items()}
    finally:
        site.close()
        outcome.load = os.getloadavg()
    outcome.audit = audit(
        site.settings.archive_file, sent, watch, sampled=bool(site.settings.sample_hz)
    )
    for name, ages_ns in watch.ages_ns.items():
        if not ages_ns:
            continue
        ages = np.concatenate(ages_ns) / 1e6
        # The first tenth warms caches.
        ages = ages[len(ages) // 10 :]
        shares = {"median": 50.0, "99 %": 99.0, "99.9 %": 99.9, "longest": 100.0}
        outcome.latency_ms[name] = {k: float(np.percentile(ages, v)) for k, v in shares.items()}
    if not keep:
        shutil.rmtree(directory, ignore_errors=True)
    return outcome


def _wait_until_running(watch: Watch) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while set(watch.status) < set(SERVICES) or any(
        status.state != "running" for status in watch.status.values()
    ):
        watch.look(0.1)
        assert time.monotonic() < deadline, watch.status


def _follow(watch: Watch, outcome: Outcome, begin: float) -> None:
    moved_s, before = time.monotonic(), {}
    next_s = begin + 1.0
    while len(outcome.finished_s) < len(STAGES):
        watch.look(max(0.0, min(0.05, next_s - time.monotonic())))
        now = time.monotonic()
        done = watch.done()
        for stage, share in done.items():
            if share >= 1.0 and stage not in outcome.finished_s:
                outcome.finished_s[stage] = now - begin
        if done != before:
            moved_s, before = now, done
        if now - moved_s > PATIENCE_S:
            return
        if now >= next_s:
            outcome.samples.append(watch.sample(begin))
            next_s += 1.0
    outcome.samples.append(watch.sample(begin))


def audit(archive: Path, sent: Sent, watch: Watch, *, sampled: bool) -> dict[str, Any]:
    """The archive's own rows against what was sent; where parameters are sampled, how many came."""
    with ArchiveStore.open(archive, read_only=True) as store:
        counters = store.counters()
    with closing(connect_reader(archive)) as connection:
        counts, octets = _stored(connection)
    by_apid = {apid: int(found.sum()) for apid, found in counts.items()}
    link = watch.link.counts if watch.link else {}
    return {
        "packets_missing": sum(sent.by_apid.values()) - sum(by_apid.values()),
        "every_apid_equal": by_apid == sent.by_apid,
        # One packet twice and another not at all would not show in a sum.
        "sequence_counts_wrong": sum(
            int(np.abs(found - _counted(int(found.sum()))).sum()) for found in counts.values()
        ),
        "octets_missing": sent.packet_octets - octets,
        **(
            {"samples": counters.get("samples", 0), "of": sent.values}
            if sampled
            else {"samples_missing": sent.values - counters.get("samples", 0)}
        ),
        "chunks_lost_at_station": watch.station.get("lost_chunks", -1),
        "frames_missing": link.get("frames", {}).get("frames", 0) - sent.frames,
        "archive_octets": archive.stat().st_size,
    }


def _stored(connection: SqliteDatabase) -> tuple[dict[int, np.ndarray], int]:
    """By APID how many packets have each sequence count, and octets of all: group by group, since
    one by one hundreds of millions take an hour."""
    apids = dict(connection.execute("SELECT id, apid FROM channel"))
    counts = {apid: np.zeros(SEQUENCE_COUNTS, np.int64) for apid in apids.values()}
    octets = 0
    for (number,) in connection.execute("SELECT id FROM packet_group").fetchall():
        group = read_group(connection, number)
        counts[apids[group.channel]] += np.bincount(group.sequence, minlength=SEQUENCE_COUNTS)
        octets += len(group.octets)
    for channel, sequence, length in connection.execute(
        "SELECT channel, sequence_count, length(octets) FROM packet"
    ):
        counts[apids[channel]][sequence] += 1
        octets += length
    return counts, octets


def _counted(packets: int) -> np.ndarray:
    """How often each sequence count comes that begins with zero."""
    return packets // SEQUENCE_COUNTS + (np.arange(SEQUENCE_COUNTS) < packets % SEQUENCE_COUNTS)


def show(console: Console, outcome: Outcome) -> None:
    sent = outcome.sent
    table = Table(title=f"{outcome.case}: {outcome.what}", title_justify="left")
    table.add_column("stage")
    for name in ("Mbit/s", "finished s", "CPU s", "MB first → largest → last", "most behind, s"):
        table.add_column(name, justify="right")
    for stage in ("link", "capture", "bus", RECEIVE, MONITOR, ARCHIVE):
        process = {"link": STATION, "capture": None}.get(stage, stage)
        sizes = [s.rss[process] / 1e6 for s in outcome.samples if process in s.rss]
        follows = stage in (RECEIVE, MONITOR, ARCHIVE)
        behind = [s.seconds_behind(stage, outcome) for s in outcome.samples] if follows else []
        table.add_row(
            stage,
            f"{outcome.rate(stage):,.0f}" if stage in STAGES else "",
            f"{outcome.finished_s.get(stage, float('nan')):.1f}" if stage in STAGES else "",
            f"{outcome.cpu_s.get(process, 0):.1f}" if process else "in receive",
            f"{sizes[0]:,.0f} → {max(sizes):,.0f} → {sizes[-1]:,.0f}" if sizes else "",
            f"{max(behind):.1f}" if behind else "",
        )
    console.print(table)
    console.print(
        f"  {sent.frames:,} CADUs, {sent.packets:,} packets of {sent.packet_octets:,} octets, "
        f"{sent.values:,} parameter samples; load of the machine {outcome.load[0]:.1f}"
    )
    for name, figures in outcome.latency_ms.items():
        told = ", ".join(f"{share} {value:.2f} ms" for share, value in figures.items())
        console.print(f"  frame handed to the link → {name}: {told}")
    console.print(f"  audit: {outcome.audit}\n")


def show_lag(console: Console, outcome: Outcome) -> None:
    table = Table(title="  how far each stage is, per cent; messages behind, by their own status")
    names = ("s", *STAGES, f"{MONITOR} behind", f"{ARCHIVE} behind")
    for name in names:
        table.add_column(name, justify="right")
    step = max(1, len(outcome.samples) // 20)
    for sample in outcome.samples[::step]:
        behind = [str(sample.behind.get(name, 0)) for name in (MONITOR, ARCHIVE)]
        shares = [f"{100 * sample.done[name]:.1f}" for name in STAGES]
        table.add_row(f"{sample.seconds:.0f}", *shares, *behind)
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", default=["sustained", "burst", "latency"])
    parser.add_argument("--seconds", type=float, default=30.0, help="link time of the long cases")
    parser.add_argument("--mbit", type=float, default=0.0, help="rate that the file is sized for")
    parser.add_argument("--bulk", type=float, default=0.0, help="share of octets not declared")
    parser.add_argument("--natural", action="store_true", help="science, too, as `l4 run` sends it")
    parser.add_argument("--chunk", type=int, default=32, help="CADUs in a chunk at high rate")
    parser.add_argument(
        "--stages", action="store_true", help="latency: listen to the packets on their way, too"
    )
    parser.add_argument("--keep", action="store_true", help="keep the run directories")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    arguments = parser.parse_args()
    settings = {name: json.loads(v) for name, _, v in (s.partition("=") for s in arguments.set)}
    console = Console(width=None if sys.stdout.isatty() else 130)
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="bench-system-") as scratch:
        for case in arguments.cases:
            mbit, seconds, sends, chunk = {
                "sustained": (arguments.mbit or 300.0, arguments.seconds, 0.0, arguments.chunk),
                "burst": (arguments.mbit or 300.0, 10.0, arguments.mbit or 300.0, arguments.chunk),
                "latency": (10.0, arguments.seconds, 10.0, 1),
            }[case]
            path = Path(scratch) / f"{case}.cadu"
            frames = round(mbit * 1e6 * seconds / 8 / 1279)
            sent = write_cadus(path, frames, bulk_share=arguments.bulk, natural=arguments.natural)
            what = {
                "sustained": "as fast as it is taken",
                "burst": f"{mbit:.0f} Mbit/s for 10 s",
                "latency": "10 Mbit/s, a CADU a chunk",
            }[case]
            if arguments.bulk:
                what += f", {100 * arguments.bulk:.0f} % of the octets without definition"
            if arguments.natural:
                what += ", the simulator's own mix of packets"
            order = Order("", str(path), sends, chunk)
            outcome = run(case, what, order, sent, arguments.keep, arguments.stages, **settings)
            path.unlink()
            show(console, outcome)
            if case == "burst":
                show_lag(console, outcome)
            outcomes.append(outcome)
    console.print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    if arguments.json:
        rates = [{s: o.rate(s) for s in STAGES} for o in outcomes]
        report = [asdict(o) | {"mbit_s": r} for o, r in zip(outcomes, rates, strict=True)]
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
