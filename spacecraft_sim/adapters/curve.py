"""CURVE at the station's socket: its keys, and which receive may connect.

The ground's `curve.py` is the other end; both read the key files of `protocols.bus.access`, and
neither imports the other.  A key that is taken up, or trusted no more, counts from the next turn.
"""

from __future__ import annotations

import contextlib
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import zmq
from zmq.utils import z85

from protocols.bus.access import Door, Holder, holder_of, is_loopback_host
from protocols.bus.zap import CURVE, ENDPOINT, OK, TRY_AGAIN, ZapRequest, build_reply
from protocols.errors import LocalError, RemoteError

NAME: Final = "spacecraft_sim"
#: Key files are looked at so often.
LOOK_S: Final = 0.5


def require_loopback(endpoint: str) -> None:
    """LocalError: without keys the station would serve, and obey, anybody who reaches it."""
    if is_loopback_host(urlsplit(endpoint).hostname or ""):
        return
    raise LocalError(
        f"--link {endpoint} is not a loopback address, and nothing protects it: --keys DIR, "
        f"with keys of `l4 keys new {NAME}`, wanted"
    )


class StationKeys:
    """Of a keys directory.  LocalError: no key of the station there, or others may read it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._own, self._trusted = self._read()
        self._used = self._own.in_force(time.time())
        self._stamp = self._stamps()
        self._looked_s = time.monotonic()
        self._lock = threading.Lock()
        self._admitted: set[str] = set()

    def _read(self) -> tuple[Holder, list[Holder]]:
        path = self._directory / f"{NAME}.key"
        try:
            if stat.S_IMODE(path.stat().st_mode) & 0o037:
                raise LocalError(f"{path}: others can read or change it; `chmod 600`")
            own = Holder.parse(path.read_text())
            files = sorted((self._directory / "trusted").glob("*.pub"))
            trusted = [Holder.parse(file.read_text()) for file in files]
        except OSError as error:
            raise LocalError(f"{error.filename}: {error.strerror}") from None
        except UnicodeDecodeError:
            raise LocalError(f"{self._directory}: a key file is no text") from None
        if own.name != NAME or not all(key.secret for key in own.keys):
            raise LocalError(f"{path}: not the secret keys of {NAME}")
        return own, trusted

    def _stamps(self) -> list[tuple[str, int, int]]:
        files = [*self._directory.glob("*.key"), *(self._directory / "trusted").glob("*.pub")]
        stamps: list[tuple[str, int, int]] = []
        for file in sorted(files):
            with contextlib.suppress(OSError):
                stamps.append((str(file), file.stat().st_mtime_ns, file.stat().st_ino))
        return stamps

    def secure(self, context: zmq.Context[Any], socket: zmq.Socket[Any]) -> None:
        """Before it is bound."""
        self._apply(socket)
        asked = context.socket(zmq.ROUTER)
        asked.bind(ENDPOINT)
        threading.Thread(target=self._authenticate, args=(asked,), name="zap", daemon=True).start()

    def _apply(self, socket: zmq.Socket[Any]) -> None:
        self._used = self._own.in_force(time.time())
        socket.setsockopt(zmq.CURVE_SECRETKEY, self._used.secret.encode())
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        # One who is not trusted waits so long and tries again; one who says nothing is dropped.
        socket.setsockopt(zmq.HANDSHAKE_IVL, 2_000)
        socket.setsockopt(zmq.ZAP_DOMAIN, Door.LINK.encode())

    def changed(self) -> bool:
        """Whether the socket is to be renewed.  Files that cannot be read change nothing."""
        if time.monotonic() - self._looked_s < LOOK_S:
            return False
        self._looked_s = time.monotonic()
        stamp = self._stamps()
        if stamp != self._stamp:
            self._stamp = stamp
            try:
                own, trusted = self._read()
            except LocalError as error:
                print(f"spacecraft_sim: keys: {error}", file=sys.stderr, flush=True)
            else:
                with self._lock:
                    self._own, self._trusted = own, trusted
        with self._lock:
            listed = {key.public for holder in self._trusted for key in holder.keys}
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

    def _authenticate(self, socket: zmq.Socket[Any]) -> None:
        with contextlib.suppress(zmq.ContextTerminated):
            while True:
                frames = socket.recv_multipart()
                at = frames.index(b"") + 1 if b"" in frames else 0
                with contextlib.suppress(RemoteError):
                    request = ZapRequest.parse(frames[at:])
                    socket.send_multipart([*frames[:at], *self._decided(request)])
        socket.close(linger=0)

    def _decided(self, request: ZapRequest) -> list[bytes]:
        public = z85.encode(request.key).decode() if request.mechanism == CURVE else ""
        with self._lock, contextlib.suppress(LocalError):
            if public:
                self._trusted = self._read()[1]
                holder = holder_of(self._trusted, public, request.domain, time.time())
                if holder is not None:
                    self._admitted.add(public)
                    return build_reply(request.number, OK, "", holder.name)
        return build_reply(request.number, TRY_AGAIN, "not trusted here")
