"""Starts the processes of a site, restarts what dies or hangs, stops everything.

Every child is given a pipe as standard input and ends when it closes, so that nothing is left
behind however the supervisor ends (docs/decisions/0003-cli-and-supervisor.md).  It is given a
socket, too, on which it tells in systemd's protocol that its loop turns (`ground/observed.py`); who
has said READY=1 and then nothing for `watchdog_s` is ended with SIGABRT, so that it leaves in its
log where it hung, and started again.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Exit status of a child that cannot start as configured.
CANNOT_START = 2

#: Set for every child: end when standard input closes.
EXIT_WITH_STDIN = "L4_EXIT_WITH_STDIN"

#: A child that dies again within this time waits as long before its next start, doubling each time.
_FIRST_BACKOFF_S = 0.2
_LONG_ENOUGH_S = 30.0
#: Silence of a child that was ready, wall seconds.  Long: a kernel that is compiled for the first
#: time, or a disk that is very busy, is no reason to kill.
WATCHDOG_S = 120.0
#: A log that has become longer is moved to NAME.log.1, over what was there, and begins anew: looked
#: after so often, wall seconds.
LOG_OCTETS = 16 << 20
LOG_LOOK_S = 5.0
#: After SIGABRT, for the log.
_DUMPING_S = 5.0


@dataclass(slots=True)
class Child:
    """One supervised process and its history."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    last_exit: int | None = None
    _started: float = 0.0
    _backoff_s: float = _FIRST_BACKOFF_S
    _not_before: float = 0.0
    #: It has told on this socket; when last, once it was ready.
    _socket: socket.socket | None = None
    _heard: float = math.inf
    #: Told to end because it hung, at this time.
    _aborted: float = math.inf
    hangs: int = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None


@dataclass
class Supervisor:
    """`commands`: name → argument list, started in that order and stopped in reverse."""

    commands: Mapping[str, Sequence[str]]
    log_dir: Path
    children: dict[str, Child] = field(default_factory=dict)
    #: Child that said at its first start that it cannot start as configured (exit status 2).
    refused: Child | None = None
    watchdog_s: float = WATCHDOG_S
    #: The wait before a start doubles up to this, seconds.
    longest_backoff_s: float = 10.0
    _sockets: Path | None = None
    _looked: float = 0.0

    def start(self) -> None:
        self.log_dir.mkdir(parents=True, exist_ok=True)
        # Not in the run directory: the path of a Unix socket has at most 103 octets (macOS).
        self._sockets = Path(tempfile.mkdtemp(prefix="l4-"))
        for name, command in self.commands.items():
            child = self.children[name] = Child(name, command)
            child._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            child._socket.setblocking(False)
            child._socket.bind(str(self._sockets / name))
            self._spawn(child)

    def _spawn(self, child: Child) -> None:
        now = time.monotonic()
        assert self._sockets is not None
        environment = os.environ | {
            EXIT_WITH_STDIN: "1",
            "PYTHONUNBUFFERED": "1",
            "NOTIFY_SOCKET": str(self._sockets / child.name),
        }
        self._listen(child)  # what the one before it has said last
        child._heard = child._aborted = math.inf
        with (self.log_dir / f"{child.name}.log").open("ab") as log:
            child.process = subprocess.Popen(
                list(child.command),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # Ctrl-C reaches the whole foreground group: the supervisor alone decides the order
                # in which children stop, so they live in groups of their own.
                start_new_session=True,
            )
        child.starts += 1
        child._started = now

    def poll(self) -> list[Child]:
        """Restart what has died; returns the children found dead in this call."""
        now = time.monotonic()
        if now - self._looked >= LOG_LOOK_S:
            self._looked = now
            self._bound_logs()
        dead: list[Child] = []
        for child in self.children.values():
            self._watch(child, now)
            if child.process is not None and child.process.poll() is not None:
                child.last_exit = child.process.returncode
                self._close(child)
                if child.last_exit == CANNOT_START and child.starts == 1:
                    # Started again it would say the same for ever.
                    self.refused = child
                    child._not_before = math.inf
                    dead.append(child)
                    continue
                if now - child._started > _LONG_ENOUGH_S:
                    child._backoff_s = _FIRST_BACKOFF_S
                child._not_before = now + child._backoff_s
                child._backoff_s = min(2 * child._backoff_s, self.longest_backoff_s)
                dead.append(child)
            if child.process is None and now >= child._not_before:
                self._spawn(child)
        return dead

    def _bound_logs(self) -> None:
        """The children hold their logs open for appending, so they are copied and cut; what is
        written in between, microseconds long, is lost."""
        for name in self.children:
            log = self.log_dir / f"{name}.log"
            try:
                if log.stat().st_size > LOG_OCTETS:
                    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                    os.truncate(log, 0)
            except OSError:
                continue  # moved away by somebody, or no room for a copy: another time

    @staticmethod
    def _listen(child: Child) -> None:
        while child._socket is not None:
            try:
                lines = child._socket.recv(4096).split(b"\n")
            except BlockingIOError:
                return
            if b"READY=1" in lines or (b"WATCHDOG=1" in lines and child._heard < math.inf):
                child._heard = time.monotonic()

    def _watch(self, child: Child, now: float) -> None:
        self._listen(child)
        if child.process is None or now - child._heard < self.watchdog_s:
            return
        if child._aborted == math.inf:
            child._aborted = now
            child.hangs += 1
            child.process.send_signal(signal.SIGABRT)
        elif now - child._aborted > _DUMPING_S:
            child.process.kill()

    @staticmethod
    def _close(child: Child) -> None:
        if child.process is not None and child.process.stdin is not None:
            child.process.stdin.close()
        child.process = None

    def stop(self, patience_s: float = 15.0) -> list[str]:
        """SIGTERM in reverse order, then SIGKILL; returns the names that had to be killed."""
        order = list(reversed(self.children.values()))
        for child in order:
            if child.running and child.process is not None:
                child.process.send_signal(signal.SIGTERM)
        killed: list[str] = []
        deadline = time.monotonic() + patience_s
        for child in order:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.05, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                killed.append(child.name)
            child.last_exit = child.process.returncode
            self._close(child)
        for child in order:
            if child._socket is not None:
                child._socket.close()
                child._socket = None
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
        return killed

    def log_tail(self, name: str, lines: int = 5) -> str:
        """The last lines that a child printed: what an operator wants to see when it died."""
        path = self.log_dir / f"{name}.log"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 8192))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def python_module(*arguments: str) -> list[str]:
    """Command that runs one of our modules with this very interpreter."""
    return [sys.executable, "-m", *arguments]
