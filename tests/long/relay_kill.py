"""kill -9 at random instants on any node of a four-node chain, with traffic through all of it.

    make trial-relay-kill                    # 1,000 kills
    make trial-relay-kill ARGS="--kills 20 --seed 3"

An application at node 1 sends, one at node 4 takes; each node is a process of its own with its
store on disk.  The sender counts a bundle when its node says that it is stored; at the end the
taker must have each of these once, and none that was never sent.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from ground.config import free_base_port
from ground.relay.client import BundleClient
from protocols.errors import LocalError

NODES = (1, 2, 3, 4)


@dataclass
class Result:
    """promised: payloads that node 1 said it has stored; taken: how often each came."""

    kills: int = 0
    promised: set[bytes] = field(default_factory=set[bytes])
    sent: set[bytes] = field(default_factory=set[bytes])
    taken: Counter[bytes] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def lost(self) -> set[bytes]:
        return self.promised - set(self.taken)

    @property
    def doubled(self) -> set[bytes]:
        return {payload for payload, times in self.taken.items() if times > 1}

    @property
    def invented(self) -> set[bytes]:
        return set(self.taken) - self.sent


def run(path: Path, log: Path) -> None:
    """A node, as `l4 relay node` runs it."""
    from ground.relay.settings import load_relay_settings
    from ground.wiring_node import run_node

    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        run_node(
            load_relay_settings(path), lambda: False, said=lambda text: print(text, flush=True)
        )


#: A process that has imported and warmed everything and is forked for each start: what takes
#: seconds of a start is Python's imports and kernels, in which a kill finds nothing to break.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "ground.wiring",
        "ground.relay.loop",
        "ground.relay.agents",
        "ground.relay.settings",
        "ground.adapters.bundle_log",
        "ground.adapters.tcpcl_transport",
        "ground.adapters.clock",
        "tests.long.relay_warmed",
    ]
)


class Chain:
    """Processes of nodes 1 to 4 in a row; every one connects to the next."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        # Below the ports that connections get: a connection that is tried again and again while
        # nobody listens can otherwise meet itself.
        base = free_base_port()
        ports = list(range(base, base + 2 * len(NODES)))
        self.tcp = dict(zip(NODES, ports, strict=False))
        self.agents = {n: f"tcp://127.0.0.1:{ports[len(NODES) + n - 1]}" for n in NODES}
        self.processes: dict[int, BaseProcess] = {}
        plan = ""
        always = "2020/01/01-00:00:00 2060/01/01-00:00:00"
        for a in NODES[:-1]:
            plan += f"a contact {always} {a} {a + 1} 100000000\n"
            plan += f"a contact {always} {a + 1} {a} 100000000\n"
            plan += f"a range {always} {a} {a + 1} 0\n"
        (directory / "plan.ionrc").write_text(plan)
        for n in NODES:
            text = (
                f'node = "ipn:{n}.0"\nstore = "store{n}"\napplications = "{self.agents[n]}"\n'
                f'listen = "127.0.0.1:{self.tcp[n]}"\nplan = "plan.ionrc"\n'
            )
            if n + 1 in NODES:
                text += (
                    f'[[neighbour]]\nnode = "ipn:{n + 1}.0"\n'
                    f'connect = "127.0.0.1:{self.tcp[n + 1]}"\n'
                )
            (directory / f"{n}.toml").write_text(text)

    def start(self, n: int) -> None:
        files = self._directory / f"{n}.toml", self._directory / f"{n}.log"
        process = FORKS.Process(target=run, args=files, daemon=True)
        process.start()
        self.processes[n] = process

    def kill(self, n: int) -> None:
        process = self.processes[n]
        if process.exitcode is not None:
            log = (self._directory / f"{n}.log").read_text()[-2_000:]
            raise AssertionError(f"node {n} ended by itself, status {process.exitcode}:\n{log}")
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()

    def stop(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.join()


def trial(
    directory: Path, kills: int, seed: int, *, pace_s: float = 1.0, quiet: bool = True
) -> Result:
    """`kills` kills, each up to twice pace_s after the one before; then all must come to rest."""
    rng = random.Random(seed)
    chain = Chain(directory)
    result = Result()
    done = threading.Event()
    began = time.monotonic()

    def send() -> None:
        traffic = random.Random(seed + 1)
        with BundleClient(chain.agents[1], timeout_s=120) as client:
            client.register("ipn:1.7")
            number = 0
            while not done.is_set():
                payload = b"%d " % number + traffic.randbytes(traffic.choice((10, 500, 20_000)))
                number += 1
                result.sent.add(payload)
                try:
                    client.send("ipn:4.7", payload, source="ipn:1.7")
                except LocalError as error:
                    if "full" not in str(error):
                        raise
                    continue
                result.promised.add(payload)
                time.sleep(0.01)

    def take(client: BundleClient, timeout_s: float) -> int:
        found = client.receive(timeout_s)
        for delivery in found:
            result.taken[delivery.payload] += 1
            client.acknowledge(delivery)
        return len(found)

    sender = threading.Thread(target=send)
    try:
        for n in NODES:
            chain.start(n)
        sender.start()
        with BundleClient(chain.agents[4], timeout_s=120) as taker:
            taker.register("ipn:4.7")
            while result.kills < kills:
                until = time.monotonic() + rng.uniform(0, 2 * pace_s)
                while (left := until - time.monotonic()) > 0:
                    take(taker, left)
                victim = rng.choice(NODES)
                chain.kill(victim)
                result.kills += 1
                chain.start(victim)
                if not quiet and result.kills % 20 == 0:
                    print(
                        f"{result.kills} kills, {len(result.promised):,} promised, "
                        f"{len(result.taken):,} taken, {time.monotonic() - began:.0f} s",
                        file=sys.stderr,
                        flush=True,
                    )
            done.set()
            sender.join(180)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline and result.lost:
                take(taker, 1.0)
            # What would come twice has had its time to come.
            while take(taker, 3.0):
                pass
    finally:
        done.set()
        chain.stop()
    result.seconds = time.monotonic() - began
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pace", type=float, default=1.0, help="mean seconds between kills")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        result = trial(Path(name), options.kills, options.seed, pace_s=options.pace, quiet=False)
    about = {
        "kills": result.kills,
        "promised": len(result.promised),
        "taken": len(result.taken),
        "lost": len(result.lost),
        "doubled": len(result.doubled),
        "invented": len(result.invented),
        "seconds": round(result.seconds, 1),
    }
    print(json.dumps(about))
    return bool(result.lost or result.doubled or result.invented)


if __name__ == "__main__":
    raise SystemExit(main())
