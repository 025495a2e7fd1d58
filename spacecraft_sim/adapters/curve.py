"""CURVE at the station's socket: its keys, and which receive may connect.

The ground's `curve.py` is the other end; both read the key files of `protocols.bus.access`, and
neither imports the other.  A key that is taken up, or trusted no more, counts from the next turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

import zmq
from zmq.utils import z85

from protocols.bus.access import ROLES, Door, Holder, Key, holder_of, is_loopback_endpoint
from protocols.bus.zap import CURVE, ENDPOINT, OK, TRY_AGAIN, ZapRequest, build_reply
from protocols.errors import LocalError, RemoteError

NAME: Final = "spacecraft_sim"
#: Key files are looked at so often.
LOOK_S: Final = 0.5
#: A key file is some hundred octets.
MAX_KEY_FILE_OCTETS: Final = 16_384
#: What the machine lacks, for now: it says nothing about a file.
_SHORT: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
#: Refusals that are told of, each key once.
MAX_TOLD: Final = 256


def require_loopback(endpoint: str) -> None:
    """LocalError: without keys the station would serve, and obey, anybody who reaches it."""
    if is_loopback_endpoint(endpoint):
        return
    raise LocalError(
        f"--link {endpoint} is not a loopback address, and nothing protects it: --keys DIR, "
        f"with keys of `l4 keys new {NAME}`, wanted"
    )


def _checked(path: Path, found: os.stat_result, refused: int) -> None:
    if found.st_uid not in (0, os.geteuid()):
        raise LocalError(f"{path}: its owner is user {found.st_uid}, who can change it")
    if stat.S_IMODE(found.st_mode) & refused:
        raise LocalError(f"{path}: others can read or change it; `chmod go-rwx` or `go-w`")


def _read(path: Path, refused: int) -> Holder:
    """OSError; LocalError: no key file, or others than we and root can have to do with it."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise LocalError(f"{path}: no file")
        _checked(path, found, refused)
        text = file.read(MAX_KEY_FILE_OCTETS).decode("ascii", "replace")
    try:
        return Holder.parse(text)
    except LocalError as error:
        raise LocalError(f"{path}: {error}") from None


class StationKeys:
    """Of a keys directory.  LocalError: no key of the station there, or others may read it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stamp = self._stamps()
        self._problems: list[str] = []
        self._own = self._read_own()
        self._trusted = self._read_trusted(self._problems)
        self._used = self._own.in_force(time.time())
        self._looked_s = time.monotonic()
        self._lock = threading.Lock()
        #: Who was let in, by name, role and key.
        self._admitted: set[tuple[str, str, str]] = set()
        self._told: set[str] = set()
        self._authenticator: threading.Thread | None = None
        self._say(*self._problems)

    def _read_own(self) -> Holder:
        path = self._directory / f"{NAME}.key"
        try:
            self._check_directory()
            own = _read(path, 0o037)
        except OSError as error:
            raise LocalError(f"{error.filename}: {error.strerror}") from None
        if own.name != NAME or not all(key.secret for key in own.keys):
            raise LocalError(f"{path}: not the secret keys of {NAME}")
        return own

    def _check_directory(self) -> None:
        for path in (self._directory, self._directory / "trusted"):
            with contextlib.suppress(FileNotFoundError):
                _checked(path, path.stat(), 0o022)

    def _public_files(self) -> list[Path]:
        # Not Path.glob, which from Python 3.13 on finds nothing where it cannot be read.
        trusted = self._directory / "trusted"
        names = os.listdir(trusted) if trusted.is_dir() else []
        return sorted(
            trusted / name for name in names if name.endswith(".pub") and not name.startswith(".")
        )

    def _read_trusted(self, problems: list[str]) -> dict[str, Holder]:
        """By name; a file that cannot be read, or believed, is trusted in nobody's name."""
        found: dict[str, Holder] = {}
        for file in self._public_files():
            try:
                holder = _read(file, 0o022)
            except OSError as error:
                if error.errno in _SHORT:
                    raise
                problems.append(f"{file}: {error.strerror}")
                continue
            except LocalError as error:
                problems.append(str(error))
                continue
            if holder.name == file.stem:
                found[holder.name] = holder
            else:
                problems.append(f"{file}: keys of {holder.name}")
        return found

    def _stamps(self) -> list[tuple[str, int, int]]:
        own, trusted = self._directory / f"{NAME}.key", self._directory / "trusted"
        stamps: list[tuple[str, int, int]] = []
        for file in (self._directory, trusted, own, *self._public_files()):
            with contextlib.suppress(OSError):
                stamps.append((str(file), file.stat().st_ctime_ns, file.stat().st_ino))
        return stamps

    def _reread(self) -> None:
        with self._lock:
            problems: list[str] = []
            try:
                stamp = self._stamps()
                if stamp == self._stamp:
                    return
                self._own, self._trusted = self._read_own(), self._read_trusted(problems)
                self._stamp = stamp
            except (LocalError, OSError) as error:
                problems.append(f"{error}; what was known before counts")
            fresh = [problem for problem in problems if problem not in self._problems]
            self._problems = problems
        self._say(*fresh)

    @staticmethod
    def _say(*texts: str) -> None:
        for text in texts:
            print(f"{NAME}: keys: {text}", file=sys.stderr, flush=True)

    def secure(self, context: zmq.Context[Any], socket: zmq.Socket[Any]) -> None:
        """Before it is bound."""
        self._apply(socket)
        asked = context.socket(zmq.ROUTER)
        asked.bind(ENDPOINT)
        self._authenticator = threading.Thread(
            target=self._authenticate, args=(asked,), name="zap", daemon=True
        )
        self._authenticator.start()

    def _apply(self, socket: zmq.Socket[Any]) -> None:
        self._used = self._own.in_force(time.time())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._used.secret.encode())
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        # One who is not trusted waits so long and tries again; one who says nothing is dropped.
        socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)
        socket.setsockopt(zmq.ZAP_DOMAIN, Door.LINK.encode())
        # Otherwise all are let in where nobody answers for the authenticator.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def changed(self) -> bool:
        """Whether the socket is to be renewed.  RuntimeError: the authenticator has failed."""
        if time.monotonic() - self._looked_s < LOOK_S:
            return False
        self._looked_s = time.monotonic()
        if self._authenticator is not None and not self._authenticator.is_alive():
            raise RuntimeError("who decides on who is let in has ended: nobody new is")
        self._reread()
        with self._lock:
            listed = {
                (holder.name, holder.role, key.public)
                for holder in self._trusted.values()
                for key in holder.keys
            }
            return self._own.in_force(time.time()) != self._used or not self._admitted <= listed

    def renew(self, socket: zmq.Socket[Any], endpoint: str) -> None:
        """Bind anew, with the key in force."""
        socket.unbind(endpoint)
        with self._lock:
            self._admitted.clear()
        self._apply(socket)
        deadline = time.monotonic() + 5
        while True:
            try:
                socket.bind(endpoint)
                return
            except zmq.ZMQError as error:
                # The old listener is closed by another thread, in its time.
                if error.errno != zmq.EADDRINUSE or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def trusts(self, frame: zmq.Frame) -> bool:
        """Whether who sent it is let in now: what it sent before it was cut off comes after."""
        try:
            holder = self._trusted.get(str(frame.get("User-Id")))
        except zmq.ZMQError:
            return False
        return holder is not None and Door.LINK in ROLES[holder.role].doors

    def _authenticate(self, socket: zmq.Socket[Any]) -> None:
        with contextlib.suppress(zmq.ContextTerminated), contextlib.closing(socket):
            while True:
                frames = socket.recv_multipart()
                at = frames.index(b"") + 1 if b"" in frames else 0
                with contextlib.suppress(RemoteError):
                    request = ZapRequest.parse(frames[at:])
                    socket.send_multipart([*frames[:at], *self._decided(request)])

    def _decided(self, request: ZapRequest) -> list[bytes]:
        public = z85.encode(request.key).decode() if request.mechanism == CURVE else ""
        self._reread()
        with self._lock:
            holders = list(self._trusted.values())
            holder = holder_of(holders, public, request.domain, time.time()) if public else None
            if holder is not None:
                self._admitted.add((holder.name, holder.role, public))
                return build_reply(request.number, OK, "", holder.name)
        if public not in self._told and len(self._told) < MAX_TOLD:
            self._told.add(public)
            who = Key(public, 0).fingerprint if public else "none"
            self._say(f"refused key {who} from {request.address}: not trusted")
        return build_reply(request.number, TRY_AGAIN, "not trusted here")
