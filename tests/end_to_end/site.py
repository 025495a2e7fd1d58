"""A site of real processes, started, killed and watched one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ground.config import RunSettings
from ground.ports import Bus, Message
from ground.supervisor import EXIT_WITH_STDIN
from ground.wiring import open_viewer
from protocols.bus.messages import StatusMessage, parse
from protocols.identifiers import Topic

ROOT = Path(__file__).parents[2]
#: For one step; on an idle machine each takes a second or two, on a fresh one kernels compile.
PATIENCE_S = 120.0


class Site:
    """Processes of one run, watched over the bus: `messages` besides their status."""

    def __init__(self, settings: RunSettings, *topics: str) -> None:
        self.settings = settings
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.status: dict[str, StatusMessage] = {}
        self.messages: list[Message] = []
        self._viewer: Bus = open_viewer(settings, "test", [Topic.STATUS, *topics])

    def start(self, name: str, *command: str) -> None:
        """A service, or a command under a name."""
        arguments = command or ("ground", name, "--run-dir", str(self.settings.run_dir))
        with (self.settings.run_dir / f"{name}.log").open("ab") as log:
            # A child ends when this process does, however that ends.
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {EXIT_WITH_STDIN: "1"},
            )

    def start_spacecraft(self, light_time_s: float, scenario: str = "nominal") -> None:
        """scenario: a name, or the path of a file."""
        self.start(
            "spacecraft",
            *("spacecraft_sim", "--light-time", str(light_time_s), "--seed", "7"),
            *("--scenario", scenario),
            *("--link", self.settings.link_endpoint),
            *("--clock-file", str(self.settings.clock_file)),
        )

    def end(self, name: str, how: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        process = self.processes.pop(name)
        process.send_signal(how)
        assert process.stdin is not None
        process.stdin.close()
        return process.wait(PATIENCE_S)

    def kill(self, name: str) -> None:
        self.end(name, signal.SIGKILL)

    def look(self) -> None:
        """Take what the bus says."""
        for message in self._viewer.receive(0.05):
            if message.topic.startswith(Topic.STATUS):
                status = parse(StatusMessage, message.body)
                self.status[status.service] = status
            else:
                self.messages.append(message)

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Until it is so."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, (self.status, self.logs())
            self.look()

    def wait_for_more(self, name: str, more: int, counter: str) -> None:
        """Until this very process runs and has counted so many more than now."""
        pid = self.processes[name].pid
        first: list[int] = []

        def done() -> bool:
            status = self.status.get(name)
            if status is None or status.pid != pid or counter not in status.counters:
                return False
            if status.state != "running":
                return False
            first.append(status.counters[counter])
            return first[-1] >= first[0] + more

        self.wait_for(done)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.settings.run_dir.glob("*.log"))

    def close(self) -> None:
        self._viewer.close()
        for name in list(self.processes):
            self.kill(name)
