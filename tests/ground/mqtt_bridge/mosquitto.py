"""A mosquitto of our own, started and killed at will, and mosquitto_sub beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import PROGRAM_PATH

PATIENCE_S = 60.0


def program(name: str) -> str:
    found = shutil.which(name, path=PROGRAM_PATH)
    assert found is not None, name
    return found


class Heard(NamedTuple):
    topic: str
    retained: bool
    body: dict[str, Any]


class Mosquitto:
    """lines: of the configuration, in the listener's part.  persistent: it saves its store at each
    change, and loses nothing by a kill."""

    def __init__(self, directory: Path, *lines: str, persistent: bool = True) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.directory = directory
        self._configuration = directory / "mosquitto.conf"
        settings = [
            # Started as root, it would become another user, who cannot write here.
            "user root",
            f"persistence {str(persistent).lower()}",
            f"persistence_location {directory}/",
            "autosave_on_changes true",
            "autosave_interval 1",
            "max_queued_messages 0",
            f"listener {self.port} 127.0.0.1",
            *(lines or ("allow_anonymous true",)),
        ]
        self._configuration.write_text("\n".join(settings) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with (self.directory / "mosquitto.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program("mosquitto"), "-c", str(self._configuration)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            assert time.monotonic() < deadline
            assert self._process.poll() is None, (self.directory / "mosquitto.log").read_text()
            time.sleep(0.02)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def command(self, name: str, *arguments: str) -> list[str]:
        return [program(name), "-h", "localhost", "-p", str(self.port), *arguments]

    @contextlib.contextmanager
    def subscriber(self, topic: str, *arguments: str) -> Iterator[Path]:
        """mosquitto_sub with a session, QoS 1; the file into which it writes what it hears."""
        path = self.directory / f"heard-{time.monotonic_ns()}"
        session = ("-c", "-i", path.name, "-q", "1", "-F", "%t %r %p", "-t", topic)
        with path.open("wb") as file:
            process = subprocess.Popen(
                self.command("mosquitto_sub", *session, *arguments), stdout=file
            )
        try:
            yield path
        finally:
            process.kill()
            process.wait()

    def retained(self, topic: str, *arguments: str, count: int = 0) -> list[Heard]:
        """What a newcomer is told at once: `count` messages, or those of two seconds."""
        ends = ("-C", str(count), "-W", "30") if count else ("-W", "2")
        command = self.command("mosquitto_sub", "--retained-only", *ends, "-F", "%t %r %p")
        done = subprocess.run([*command, "-t", topic, *arguments], capture_output=True, text=True)
        return heard(done.stdout)


def heard(lines: str) -> list[Heard]:
    found: list[Heard] = []
    for line in lines.splitlines(keepends=True):
        if line.endswith("\n"):
            topic, retained, body = line.split(" ", 2)
            found.append(Heard(topic, retained == "1", json.loads(body)))
    return found
