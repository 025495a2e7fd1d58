"""Everything that may happen to a site under load, and proof after each that nothing was lost.

    make trial-crash                                     # 1,000 kills, then the other faults
    make trial-crash ARGS="--kills 50 --only kill --seed 3"
    make trial-crash ARGS="--only disk,clock,bus"

The site is a real one: all processes of `l4 run` at 60 times real time, with clients that command,
send files and bundles, start procedures, publish passes and acknowledge alarms, and note what they
were answered.  Round after round, each in a fresh directory:

    kill    kill -9 at seeded random instants of a service chosen at random, again and again
    disk    the disk is full (a small file system of our own), and has room again
    clock   the ground's clock steps an hour back and forth, as services are started again
    leap    the same through an inserted second (2016-12-31T23:59:60Z)
    bus     messages between services and broker are delayed, doubled, and cut off for seconds
    backup  it is backed up under load; restored elsewhere it goes on, and holds what it should

Then the site comes to rest and `l4 audit` proves, from the capture, that archive, command history,
bundles, files, passes and alarms hold what was promised, each once; a listener at a broker has
heard all that the MQTT bridge was to tell.  What is done is kept in DIR/rounds.jsonl: started again
with the same --dir it goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ground.config import load_settings
from ground.recovery.backup import back_up, restore
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.conftest import PROGRAM_PATH
from tests.long.crash_bus import BadNetwork
from tests.long.crash_load import Load, make_operators
from tests.long.crash_mqtt import Broker
from tests.long.crash_site import TrialSite, audit

KINDS = ("kill", "disk", "clock", "leap", "bus", "backup")
#: Kills of one round: more rounds audit more often, fewer lose less time with starts.
KILLS_A_ROUND = 50
#: Set where a small file system is mounted for us (`in_own_namespace`).
SMALL = "L4_TRIAL_SMALL_DISK"
SMALL_OCTETS = 400 << 20


@dataclass
class Round:
    """problems: what the audit, the clients and the supervisor found; empty is what is wanted."""

    kind: str
    seed: int
    kills: int = 0
    by_service: dict[str, int] = field(default_factory=dict[str, int])
    answered: dict[str, int] = field(default_factory=dict[str, int])
    unanswered: dict[str, int] = field(default_factory=dict[str, int])
    refused: dict[str, int] = field(default_factory=dict[str, int])
    counts: dict[str, int] = field(default_factory=dict[str, int])
    notes: dict[str, Any] = field(default_factory=dict[str, Any])
    problems: list[str] = field(default_factory=list[str])
    seconds: float = 0.0


def run_round(
    kind: str,
    directory: Path,
    seed: int,
    *,
    kills: int,
    pace_s: float,
    steps: int = 3,
    whole: bool = True,
) -> Round:
    """One site from start to audit; its directory is left.

    whole: with scheduling and timing, whose ephemerides take seconds of a processor to load."""
    result = Round(kind, seed)
    began = time.monotonic()
    rng = random.Random(seed)
    leap = tai_ns_from_utc_iso("2016-12-31T23:50:00Z") if kind == "leap" else None
    promises = directory / "promises.jsonl"
    with ExitStack() as stack:
        broker = None
        if shutil.which("mosquitto", path=PROGRAM_PATH):
            broker = stack.enter_context(Broker(_beside(directory, "mqtt")))
        else:
            result.notes["MQTT"] = "no mosquitto here: the bridge is left out"
        site = TrialSite(
            directory, seed, origin_tai_ns=leap, mqtt=broker.address if broker else "",
            network=kind == "bus", whole=whole,
        )  # fmt: skip
        promises.touch()
        load = Load(site.settings, make_operators(site.settings), promises, seed)
        network = None
        if site.broker is not None:
            here, there = site.settings, site.broker
            network = stack.enter_context(
                BadNetwork(
                    listen=(here.bus_in, here.bus_out),
                    broker=(there.bus_in, there.bus_out),
                    seed=seed,
                )
            )
        try:
            site.start()
            load.start()
            if kind == "disk":
                _fill_disk(site, result, rng, pace_s, steps)
            elif kind == "clock":
                _step_clock(site, result, rng, pace_s, steps)
            elif kind == "backup":
                _back_up(site, result, directory, pace_s)
            elif network is not None:
                _cut_bus(network, result, rng, pace_s, steps)
            else:
                _kill(site, result, rng, kills, pace_s)
            load.stop()
            site.settle()
            told = broker.audit(site.settings) if broker else ({}, [])
        finally:
            site.stop()
    found = audit(site.settings, promises)
    result.answered, result.unanswered = dict(load.answered), dict(load.unanswered)
    result.refused = dict(load.refused)
    result.counts = found["counts"] | told[0]
    result.problems = [*told[1], *load.failed, *site.unwanted, *site.tracebacks()]
    result.problems += found["problems"]
    if kind == "backup":
        _restore(result, directory, seed)
    result.seconds = round(time.monotonic() - began, 1)
    return result


def _kill(site: TrialSite, result: Round, rng: random.Random, kills: int, pace_s: float) -> None:
    by_service: Counter[str] = Counter()
    while result.kills < kills:
        time.sleep(rng.uniform(0, 2 * pace_s))
        victim = rng.choice(site.services)
        if site.kill(victim):
            result.kills += 1
            by_service[victim] += 1
    result.by_service = dict(by_service)


def _fill_disk(
    site: TrialSite, result: Round, rng: random.Random, pace_s: float, steps: int
) -> None:
    """A ballast takes all that is left; a service that ends is started again and again."""
    directory = site.settings.run_dir
    if not os.environ.get(SMALL):
        raise SystemExit("disk: no small file system here; see in_own_namespace")
    ballast = directory / "ballast"
    full_s = []
    for _ in range(steps):
        time.sleep(rng.uniform(5, 5 + 5 * pace_s))
        site.end_by_themselves(True)
        with ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        began = time.monotonic()
        time.sleep(rng.uniform(8, 15))
        ballast.unlink()
        full_s.append(round(time.monotonic() - began, 1))
        time.sleep(10)
        site.end_by_themselves(False)
    result.notes["disk full, seconds"] = full_s
    ends = Counter(site.status[name].state for name in site.status)
    result.notes["states after"] = dict(ends)


def _step_clock(
    site: TrialSite, result: Round, rng: random.Random, pace_s: float, steps: int
) -> None:
    stepped: list[float] = []
    for _ in range(steps):
        seconds = rng.choice((-3600.0, -60.0, 60.0, 3600.0))
        stepped.append(seconds)
        site.shift_clock(seconds)
        # As when they are restarted one after the other, the clock being wrong meanwhile.
        for victim in rng.sample(site.services, k=len(site.services) // 2):
            time.sleep(rng.uniform(0, pace_s))
            if site.kill(victim):
                result.kills += 1
        time.sleep(5)
    site.shift_clock(-sum(stepped))
    result.notes["clock steps, world seconds"] = stepped


def _cut_bus(
    network: BadNetwork, result: Round, rng: random.Random, pace_s: float, steps: int
) -> None:
    for _ in range(steps):
        time.sleep(rng.uniform(3, 3 + 5 * pace_s))
        network.cut_s = rng.uniform(0.2, 8)
        while network.cut_s:
            time.sleep(0.1)
    result.notes |= {
        "cuts": network.cuts,
        "passed": sum(way.passed for way in network.ways),
        "doubled": sum(way.doubled for way in network.ways),
        "delayed": sum(way.delayed for way in network.ways),
    }


def _back_up(site: TrialSite, result: Round, directory: Path, pace_s: float) -> None:
    """What had been answered before it began must be in it."""
    time.sleep(10 + 5 * pace_s)
    kinds = ("request", "run", "file", "bundle")
    lines = (directory / "promises.jsonl").read_text().splitlines(keepends=True)
    before = [line for line in lines if json.loads(line)["kind"] in kinds]
    began = time.monotonic()
    made = back_up(site.settings, _beside(directory, "backup"))
    result.notes["backup"] = {
        "seconds": round(time.monotonic() - began, 2), "octets": made.octets,
        "promises": len(before),
    }  # fmt: skip
    _beside(directory, "promises").write_text("".join(before))
    time.sleep(5)


def _restore(result: Round, directory: Path, seed: int) -> None:
    backup, promises = _beside(directory, "backup"), _beside(directory, "promises")
    found = audit(load_settings(backup), promises)
    result.problems += [f"backup: {text}" for text in found["problems"]]
    restore(backup, _beside(directory, "restored"))
    site = TrialSite(_beside(directory, "restored"), seed + 1)
    before = found["counts"].get("packets", 0)
    try:
        site.start()
        time.sleep(15)
        site.settle()
    finally:
        site.stop()
    found = audit(site.settings, promises)
    after = found["counts"].get("packets", 0)
    result.notes["packets in the backup, after going on"] = [before, after]
    result.problems += [f"restored: {text}" for text in [*found["problems"], *site.unwanted]]
    if after <= before:
        result.problems.append(f"restored: {before} packets, after going on {after}")


def _remove(directory: Path) -> None:
    """A round's, with what is beside it."""
    for what in ("backup", "restored", "mqtt"):
        shutil.rmtree(_beside(directory, what), ignore_errors=True)
    _beside(directory, "promises").unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _beside(directory: Path, what: str) -> Path:
    return directory.with_name(f"{directory.name}-{what}")


def in_own_namespace(arguments: list[str], directory: Path) -> int | None:
    """This program again, where `directory` is a small file system: a mount that nobody else sees
    and that ends with it; without root where user namespaces are allowed.  None: not possible."""
    directory.mkdir(parents=True, exist_ok=True)
    unshare = shutil.which("unshare")
    for how in (["-m"], ["-Urm"]) if unshare else ():
        if subprocess.run(
            [str(unshare), *how, "true"], capture_output=True, check=False
        ).returncode:
            continue
        script = f'mount -t tmpfs -o size={SMALL_OCTETS} tmpfs "$0" && shift 0 && exec "$@"'
        command = [str(unshare), *how, "sh", "-c", script, str(directory), sys.executable, "-m"]
        environment = os.environ | {SMALL: str(directory)}
        return subprocess.run(
            [*command, "tests.long.crash", *arguments], check=False, env=environment
        ).returncode
    return None


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=1_000, help="in all rounds together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=1.5, help="mean seconds between kills")
    parser.add_argument("--only", default=",".join(KINDS), help="kinds of faults, with commas")
    parser.add_argument("--rounds", type=int, default=1, help="of each kind but kill")
    parser.add_argument("--dir", type=Path, help="results and, where something was wrong, sites")
    options = parser.parse_args()
    kinds = options.only.split(",")
    if unknown := set(kinds) - set(KINDS):
        parser.error(f"--only {', '.join(sorted(unknown))}: {', '.join(KINDS)} are known")
    base = options.dir or Path(tempfile.mkdtemp(prefix="crash-"))
    base.mkdir(parents=True, exist_ok=True)
    log = base / "rounds.jsonl"
    done = (
        [Round(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    )
    plan: list[tuple[str, int, int]] = []
    left = options.kills if "kill" in kinds else 0
    seed = options.seed
    while left > 0:
        plan.append(("kill", seed, min(left, KILLS_A_ROUND)))
        left -= KILLS_A_ROUND
        seed += 1
    plan += [(kind, options.seed + i, 0) for kind in KINDS[1:] if kind in kinds
             for i in range(options.rounds)]  # fmt: skip
    known = {(one.kind, one.seed) for one in done}
    for number, (kind, at, kills) in enumerate(plan, 1):
        if (kind, at) in known:
            continue
        directory = base / f"{kind}-{at}"
        if kind == "disk" and not os.environ.get(SMALL):
            arguments = ["--only", "disk", "--seed", str(at), "--dir", str(base)]
            arguments += ["--pace", str(options.pace)]
            if in_own_namespace(arguments, directory) is None:
                print("disk: neither root nor user namespaces: left out", file=sys.stderr)
            continue
        if kind != "disk":
            _remove(directory)
        if kind == "leap":
            kills = 20
        result = run_round(kind, directory, at, kills=kills, pace_s=options.pace)
        with log.open("a") as file:
            file.write(json.dumps(asdict(result)) + "\n")
        done.append(result)
        if result.problems:
            if kind == "disk":
                # The file system ends with us.
                shutil.copytree(directory, base / f"disk-{at}-kept", dirs_exist_ok=True)
        elif kind != "disk":
            _remove(directory)
        print(
            f"{number}/{len(plan)} {kind} {at}: {result.kills} kills, "
            f"{sum(result.answered.values())} promises, {len(result.problems)} problems, "
            f"{result.seconds:.0f} s",
            file=sys.stderr,
            flush=True,
        )
        for problem in result.problems[:12]:
            print(f"    {problem}"[:600], file=sys.stderr, flush=True)
    done = (
        [Round(**json.loads(line)) for line in log.read_text().splitlines()] if log.exists() else []
    )
    told = {
        "rounds": len(done),
        "kills": sum(one.kills for one in done),
        "promises": sum(sum(one.answered.values()) for one in done),
        "packets": sum(one.counts.get("packets", 0) for one in done),
        "problems": sum(len(one.problems) for one in done),
        "seconds": round(sum(one.seconds for one in done), 1),
        "results": str(log),
    }
    print(json.dumps(told))
    return bool(told["problems"])


if __name__ == "__main__":
    with closing(sys.stdout):
        raise SystemExit(main())
