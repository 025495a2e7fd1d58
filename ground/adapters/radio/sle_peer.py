"""An SLE provider on a socket: the contract's other end, and for whoever wants to try an adapter.

One thread serves all connections and all services; the owner's calls take its lock.
"""

from __future__ import annotations

import secrets
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar
from urllib.parse import quote

from ground.adapters.clock import ScaledClock
from ground.adapters.radio.peer import Peer
from ground.adapters.sockets import listening
from protocols.errors import RemoteError
from protocols.sle.cltu_service import CltuService
from protocols.sle.common import ServiceType
from protocols.sle.credentials import RANDOM_BELOW, Level, Security
from protocols.sle.frame_service import FrameService
from protocols.sle.frames import Quality
from protocols.sle.provider import Provider, Service, State

_TURN_S: Final = 0.02
_READ_OCTETS: Final = 1 << 16
#: Octets that a connection may be behind before no frames are taken for it.
_BEHIND: Final = 1 << 20
_T = TypeVar("_T")


class _Connection:
    def __init__(self, own: socket.socket, provider: Provider) -> None:
        self.socket = own
        self.provider = provider
        self.output = bytearray()
        self.done = False


class ProviderServer:
    """Serves services at an address until it is closed; `pause` lets go of it for a while."""

    def __init__(
        self,
        services: Sequence[Service],
        users: Mapping[str, Security],
        *,
        identifier: str,
        port_name: str = "",
        address: tuple[str, int] = ("127.0.0.1", 0),
        told: Callable[[Any], None] = lambda pdu: None,
        now_ns: Callable[[], int] | None = None,
    ) -> None:
        """told: of every PDU that was accepted, by the server's thread, which holds the lock."""
        self.services = list(services)
        self.lock = threading.RLock()
        self.refused: list[str] = []
        self._users = users
        self._identifier = identifier
        self._port_name = port_name
        self._told = told
        self._now_ns = now_ns or ScaledClock.wall().now_ns
        self._listener: socket.socket | None = listening("sle", address)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        self._connections: list[_Connection] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sle-provider", daemon=True)
        self._thread.start()

    def call(self, operation: Callable[[int], _T]) -> _T:
        """Something of a service's, given the time; what it sends is on its way at once."""
        with self.lock:
            done = operation(self._now_ns())
            self._send_all()
            return done

    def behind(self) -> bool:
        """More waits for the network than should."""
        with self.lock:
            return any(len(one.output) > _BEHIND for one in self._connections)

    def pause(self) -> None:
        """Close all connections, and listen no more."""
        with self.lock:
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            self._drop(self._connections)

    def go_on(self) -> None:
        with self.lock:
            self._listener = listening("sle", self.address)

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.pause()

    def raw(self, octets: bytes) -> None:
        """Octets on the wire of every connection."""
        with self.lock:
            for one in self._connections:
                one.output += octets
            self._send_all()

    # ------------------------------------------------------------ the thread

    def _run(self) -> None:
        while not self._ended.is_set():
            with self.lock:
                sockets = [one.socket for one in self._connections]
                listener = self._listener
                waiting = [one.socket for one in self._connections if one.output]
            try:
                readable, _, urgent = select.select(
                    [*sockets, *([listener] if listener else [])], waiting, sockets, _TURN_S
                )
            except (OSError, ValueError):
                continue  # one of them has been closed in the meantime
            with self.lock:
                # Old connections before new ones: what has gone frees its service instance.
                for one in self._connections:
                    if one.socket in readable or one.socket in urgent:
                        self._read(one, one.socket in urgent)
                    with suppress(RemoteError):
                        one.provider.timeout(self._now_ns())
                self._send_all()
                self._drop([one for one in self._connections if one.done])
                if self._listener is not None and self._listener in readable:
                    self._accept(self._listener)

    def _accept(self, listener: socket.socket) -> None:
        own = listener.accept()[0]
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        provider = Provider(
            self.services, self._users, identifier=self._identifier, port=self._port_name
        )
        provider.connected(self._now_ns())
        self._connections.append(_Connection(own, provider))

    def _read(self, one: _Connection, urgent: bool) -> None:
        try:
            if urgent:
                raise one.provider.aborted(one.socket.recv(1, socket.MSG_OOB)[0])
            octets = one.socket.recv(_READ_OCTETS)
            if not octets:
                raise ConnectionResetError("the user has closed the connection")
            for pdu in one.provider.receive(self._now_ns(), octets):
                self._told(pdu)
        except BlockingIOError:
            return
        except (OSError, RemoteError) as error:
            self.refused.append(str(error))
            one.done = True

    def _send_all(self) -> None:
        for one in self._connections:
            for octets in one.provider.take_output():
                one.output += octets
            try:
                if one.output:
                    del one.output[: one.socket.send(one.output)]
                if one.provider.urgent is not None:
                    one.socket.send(bytes([one.provider.urgent]), socket.MSG_OOB)
                    one.done = True
            except BlockingIOError:
                continue
            except OSError:
                one.done = True

    def _drop(self, connections: Sequence[_Connection]) -> None:
        for one in list(connections):
            one.provider.lost()
            one.socket.close()
            self._connections.remove(one)


# ---------------------------------------------------------------- the contract's

_INSTANCES: Final = {
    "sle-raf": "sagr=1.spack=BENCH.rsl-fg=1.raf=onlc1",
    "sle-rcf": "sagr=1.spack=BENCH.rsl-fg=1.rcf=onlc1",
    "sle-cltu": "sagr=1.spack=BENCH.fsl-fg=1.cltu=cltu1",
}
_PASSWORDS: Final = ("bench user", "bench provider")


class _Everything(FrameService):
    """Blocks of the contract are no frames of any channel."""

    def _wanted(self, frame: bytes, ert_ns: int, quality: Quality) -> bool:
        return True


class SlePeer(Peer):
    """A provider that authenticates all PDUs."""

    can_leave = True
    can_gap = True
    can_garble = True

    def __init__(self, scheme: str) -> None:
        self._directory = TemporaryDirectory()
        secret = Path(self._directory.name) / "sle.toml"
        secret.touch(0o600)
        secret.write_text('password = "{}"\nprovider_password = "{}"\n'.format(*_PASSWORDS))
        instance = _INSTANCES["sle-raf" if scheme == "sle-cltu" else scheme]
        kind = ServiceType.RCF if scheme == "sle-rcf" else ServiceType.RAF
        self._frames = _Everything(kind, instance, buffer_size=4, latency_s=0)
        self._cltus = CltuService(_INSTANCES["sle-cltu"])
        security = Security(
            "BENCH",
            _PASSWORDS[1].encode(),
            "L4RG",
            _PASSWORDS[0].encode(),
            level=Level.ALL,
            entropy=lambda: secrets.randbelow(RANDOM_BELOW),
        )
        self._received = bytearray()
        self._missing = 0
        self._server = ProviderServer(
            [self._frames, self._cltus],
            {"L4RG": security},
            identifier="BENCH",
            told=self._told,
        )
        host, port = self._server.address
        agreed = f"provider=BENCH&auth=all&credentials={quote(str(secret))}"
        self.uri = f"{scheme}://{host}:{port}?{agreed}&instance="
        if scheme == "sle-cltu":
            self.uri += _INSTANCES[scheme]
            self.can_gap = self.can_garble = False
            return
        self.uri += instance
        if scheme == "sle-rcf":
            self.uri += "&channel=0.1"
        self.out_uri = f"{self.uri}&cltu={_INSTANCES['sle-cltu']}"

    def _told(self, pdu: Any) -> None:
        for ident in list(self._cltus.waiting):
            self._received += self._cltus.waiting[ident].data
            now_ns = ScaledClock.wall().now_ns()
            now_ns -= now_ns % 1_000
            self._cltus.radiated(now_ns, ident, now_ns, now_ns)

    def send(self, blocks: Sequence[bytes]) -> None:
        deadline = time.monotonic() + 5
        while self._frames.state is not State.ACTIVE or self._server.behind():
            if time.monotonic() > deadline:
                raise TimeoutError("nobody has started")
            time.sleep(0.005)
        for block in blocks:
            missing, self._missing = self._missing, 0
            self._server.call(
                lambda now, block=block, missing=missing: self._frames.deliver(
                    now, block, now, continuity=missing
                )
            )
        self._server.call(self._frames.flush)

    def received(self) -> bytes:
        with self._server.lock:
            return bytes(self._received)

    def leave(self) -> None:
        self._server.pause()

    def come_back(self) -> None:
        self._server.go_on()

    def gap(self) -> None:
        self._missing = 3

    def garbage(self) -> None:
        """A PDU that is none."""
        self._server.raw(bytes.fromhex("01000000 00000004") + b"\x99junk"[:4])
        deadline = time.monotonic() + 5
        while self._frames.state is State.ACTIVE and time.monotonic() < deadline:
            time.sleep(0.005)

    def close(self) -> None:
        self._server.close()
        self._directory.cleanup()


__all__ = ["ProviderServer", "SlePeer"]
