"""A whole site as `l4 run` starts it, with its supervisor, to be mistreated."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from ground.config import (
    ARCHIVE,
    BUS,
    MONITOR,
    PORTS,
    RECEIVE,
    SIMULATOR,
    TIMING,
    RunSettings,
    free_base_port,
    load_settings,
    port_range_free,
    prepare_run_directory,
)
from ground.run import RunOptions, prepare_site, site_commands
from ground.supervisor import Supervisor, python_module
from ground.wiring import open_viewer
from protocols.bus.messages import StatusMessage, parse
from protocols.identifiers import Topic

#: World seconds a second.
SPEED = 60.0
#: Bundles and particles enough that there is something to be lost.
SCENARIO = """
title = "Trial"
[mars]
science_period_s = 10
science_octets = 1_000
bulletin_period_s = 60
[[mars.storm]]
start_s = -400
rise_s = 60
shock_s = 1e6
[[storm]]
start_s = 120
rise_s = 300
decay_s = 1800
peak = 1.0
shock_s = 600
shock = 1.0
shock_decay_s = 1200
"""
READY_S = 240.0
#: After the last fault: until everything that is on its way is there.
SETTLE_S = 240.0


class TrialSite:
    """`start`, mistreat `services`, `rest`; problems are sentences.

    network: the services' bus goes through a broker of another directory (`crash_bus`).
    """

    def __init__(
        self,
        directory: Path,
        seed: int,
        *,
        origin_tai_ns: int | None = None,
        mqtt: str = "",
        network: bool = False,
        whole: bool = True,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        scenario = directory / "trial.toml"
        scenario.write_text(SCENARIO)
        self._options = RunOptions(
            speed=SPEED,
            scenario=str(scenario),
            light_time_s=30.0,
            seed=seed,
            run_dir=directory,
            base_port=None,
            duration_s=None,
            view=False,
            as_json=False,
            mqtt=mqtt,
            passes=whole,
        )
        # The broker's own ports first, so that both ranges are free when the site starts.
        self.broker: RunSettings | None = None
        if network:
            self.broker = prepare_run_directory(
                directory / "broker", base_port=free_base_port(), speed=SPEED
            )
        base = free_base_port()
        if self.broker is not None:
            base = self.broker.base_port + PORTS
            while not port_range_free(base):
                base += PORTS
        if origin_tai_ns is not None:
            prepare_run_directory(
                directory, speed=SPEED, base_port=base, origin_tai_ns=origin_tai_ns
            )
        self.settings = prepare_site(self._options, base)
        commands = site_commands(self.settings, self._options)
        if not whole:
            del commands[TIMING]
        if self.broker is not None:
            commands[BUS] = python_module("ground", BUS, "--run-dir", str(self.broker.run_dir))
        self.supervisor = Supervisor(commands, directory / "log", longest_backoff_s=0.2)
        self.status: dict[str, StatusMessage] = {}
        self.unwanted: list[str] = []
        self._wanted: dict[str, int] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)

    @property
    def services(self) -> list[str]:
        return [name for name in self.supervisor.commands if name != SIMULATOR]

    def start(self) -> None:
        self.supervisor.start()
        self._thread.start()
        self._wait("start", lambda: all(
            self.status.get(name) is not None and self.status[name].state == "running"
            for name in (RECEIVE, MONITOR, ARCHIVE, *self._serving())
        ), READY_S)  # fmt: skip

    def _serving(self) -> list[str]:
        return [name for name in self.services if name != BUS]

    def _supervise(self) -> None:
        viewer = open_viewer(self.settings, "trial", [Topic.STATUS])
        try:
            while not self._stopping.is_set():
                with self._lock:
                    for child in self.supervisor.poll():
                        self._judge(child.name, child.last_exit or 0)
                for message in viewer.receive(0.05):
                    status = parse(StatusMessage, message.body)
                    self.status[status.service] = status
        finally:
            viewer.close()

    def _judge(self, name: str, status: int) -> None:
        """What nobody killed should not have died."""
        if self._wanted.get(name):
            self._wanted[name] -= 1
        else:
            self.unwanted.append(
                f"{name} ended by itself, status {status}: {self.supervisor.log_tail(name, 3)}"
            )

    def kill(self, name: str) -> bool:
        """-9; False if it is not there just now."""
        with self._lock:
            child = self.supervisor.children[name]
            if not child.running or child.pid is None:
                return False
            self._wanted[name] = self._wanted.get(name, 0) + 1
            os.kill(child.pid, signal.SIGKILL)
            return True

    def end_by_themselves(self, allowed: bool) -> None:
        """While the disk is full services may stop, with a clear error."""
        with self._lock:
            self._wanted = dict.fromkeys(self.services, 10**9 if allowed else 0)

    def shift_clock(self, seconds: float) -> None:
        """As a step of the wall's clock: whoever starts from now on reads it."""
        path = self.settings.clock_file
        origin = json.loads(path.read_text())
        origin["origin_tai_ns"] += round(seconds * 1e9)
        fresh = path.with_name("clock.json.step")
        fresh.write_text(json.dumps(origin))
        fresh.replace(path)

    def _wait(self, what: str, done: object, patience_s: float) -> bool:
        assert callable(done)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if done():
                return True
            time.sleep(0.2)
        states = {name: (s.state, s.detail) for name, s in self.status.items()}
        self.unwanted.append(f"{what}: not within {patience_s:.0f} s: {states}")
        return False

    def settle(self) -> None:
        """All run again, and the spacecraft goes on; then it falls silent and all is stored."""
        began_ns = {name: s.time_ns for name, s in self.status.items()}
        self._wait("all run again", lambda: all(
            name in self.status and self.status[name].time_ns > began_ns.get(name, 0)
            and self.status[name].state in ("running", "waiting")
            for name in self._serving()
        ), SETTLE_S)  # fmt: skip
        time.sleep(5)
        with self._lock:
            # No longer the supervisor's: it would be started again.
            child = self.supervisor.children.pop(SIMULATOR)
        spacecraft = child.process
        assert spacecraft is not None
        spacecraft.terminate()
        spacecraft.wait(60)
        if spacecraft.stdin is not None:
            spacecraft.stdin.close()
        if child._socket is not None:
            child._socket.close()
        taken: list[list[int | None]] = []

        def rest() -> bool:
            taken.append(
                [self.status[n].counters.get("packets") for n in (RECEIVE, MONITOR, ARCHIVE)]
            )
            lag = sum(p.lag for s in self.status.values() for p in s.positions)
            return not lag and len(taken) > 20 and all(one == taken[-1] for one in taken[-20:])

        self._wait("rest", rest, SETTLE_S)

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        killed = self.supervisor.stop(60.0)
        self.unwanted += [f"{name} did not end when told to" for name in killed]

    def tracebacks(self) -> list[str]:
        """By service, the last line of each: what is foreseen is one line, not a stack."""
        found: list[str] = []
        for name in self.services:
            path = self.settings.log_file(name)
            text = path.read_text(errors="replace") if path.exists() else ""
            for part in text.split("Traceback (most recent call last):")[1:]:
                ends = [line for line in part.splitlines()[1:] if line[:1].strip()]
                found.append(f"{name}: {ends[0] if ends else part[-300:]}")
        return found


def audit(settings: RunSettings, promises: Path) -> dict[str, Any]:
    """By the command that an operator would use, in a process of its own."""
    command = [
        *(sys.executable, "-m", "ground.cli", "audit", str(settings.run_dir)),
        *("--promises", str(promises), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return json.loads(done.stdout)
    except ValueError:
        return {"ok": False, "problems": [done.stdout[-500:] + done.stderr[-2000:]], "counts": {}}


__all__ = ["SPEED", "TrialSite", "audit", "load_settings"]
