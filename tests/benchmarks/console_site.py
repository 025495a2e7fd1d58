"""Bus and console as processes, and somebody who is signed in, for the console's benchmarks."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from ground.config import BUS, CONSOLE, free_base_port, prepare_run_directory
from ground.supervisor import EXIT_WITH_STDIN

ROOT = Path(__file__).resolve().parents[2]
NAME, PASSWORD = "bench", "correct horse battery"
PATIENCE_S = 60.0


class ConsoleSite:
    """In a run directory of its own; `archive.sqlite` may have been put there before."""

    def __init__(self, directory: Path) -> None:
        self.settings = prepare_run_directory(directory, base_port=free_base_port(), console=True)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.began_s = time.monotonic()
        for name in (BUS, CONSOLE):
            self.start(name, "ground", name, "--run-dir", str(directory))
        self.origin = f"http://127.0.0.1:{self.settings.console_port}"
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", self.settings.console_port, timeout=PATIENCE_S
        )
        self.cookie = self._sign_in()
        #: Until somebody was signed in, the processes' start included.
        self.ready_s = time.monotonic() - self.began_s

    def start(self, name: str, *command: str) -> psutil.Process:
        """`python -m command`; it ends with this process."""
        with (self.settings.run_dir / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {EXIT_WITH_STDIN: "1"},
            )
        return psutil.Process(self.processes[name].pid)

    def process(self, name: str) -> psutil.Process:
        return psutil.Process(self.processes[name].pid)

    def get(self, path: str, *, encoding: str = "gzip") -> tuple[bytes, http.client.HTTPResponse]:
        """Octets as they came."""
        headers = {"Cookie": self.cookie, "Accept-Encoding": encoding}
        self._connection.request("GET", path, headers=headers)
        answer = self._connection.getresponse()
        octets = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {octets[:200]!r}")
        return octets, answer

    def close(self) -> None:
        self._connection.close()
        for process in reversed(self.processes.values()):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _post(self, path: str, body: dict[str, Any]) -> http.client.HTTPResponse:
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", f"/api/v1{path}", json.dumps(body), headers)
        answer = self._connection.getresponse()
        octets = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {octets[:200]!r}")
        return answer

    def _sign_in(self) -> str:
        link = self.settings.console_dir / "setup-link"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                token = link.read_text().strip().partition("#")[2]
                if token:
                    self._post("/setup", {"token": token, "name": NAME, "password": PASSWORD})
                    break
            except OSError:
                # The link is there before the server listens.
                self._connection.close()
            if time.monotonic() > deadline:
                log = (self.settings.run_dir / f"{CONSOLE}.log").read_text()
                raise RuntimeError(f"the console does not answer: {log}")
            time.sleep(0.05)
        answer = self._post("/session", {"name": NAME, "password": PASSWORD})
        return (answer.getheader("Set-Cookie") or "").partition(";")[0]
