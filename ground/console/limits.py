"""What strangers may take of the console: connections, time, attempts.  docs/limits.md lists them.

Whoever is refused here costs no thread, no database and no line of the audit.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Of a body, where its route says no other: a command with its octets, a layout.
MAX_BODY_OCTETS: Final = 256 * 1024
#: Of a request's line and headers, before they are whole.
MAX_HEAD_OCTETS: Final = 64 * 1024
#: Of a message to the live stream, when it is decompressed.
MAX_SOCKET_OCTETS: Final = 64 * 1024
#: Connections that the system holds until they are accepted.
BACKLOG: Final = 256
#: Sign-ins that are being checked at a time: each takes 64 MiB and a tenth of a second of a core.
HASHES: Final = 2
#: Sign-ins that wait for that; more are turned away.
WAITING: Final = 20


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """connections: of all, streams and half-done TLS handshakes among them; above them a new one
    is closed at once.
    per_address: of one address, 0: of any number (behind a proxy all have the proxy's).
    handshake_s: until TLS is agreed, however slowly octets come; until its end is, too.
    head_s, body_s: until a request's head, and all of it, must be here; from the connection's
    beginning, or the request's first octet.
    stalled_s: a client that takes nothing for so long is gone."""

    connections: int = 400
    per_address: int = 64
    handshake_s: float = 10.0
    head_s: float = 10.0
    body_s: float = 60.0
    stalled_s: float = 30.0


class BoundedHttp(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a request as long as its sender likes, with an end to
    it.  Streams go on in uvicorn's own WebSocket protocol, on the same socket."""

    limits = HttpLimits()
    _late: asyncio.TimerHandle | None = None
    _receiving = ""
    _stream = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limits = self.limits
        own = transport.get_extra_info("socket")
        if own is not None and own.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Linux: also where the other end acknowledges, but has no room.
            own.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limits.stalled_s * 1000)
            )
        self._expect("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._stream:
            return  # to h11 its request goes on for ever
        state = self.conn.their_state
        self._expect({h11.IDLE: "head", h11.SEND_BODY: "body"}.get(state, ""))

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect("")
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._stream = True
        self._expect("")
        super().handle_websocket_upgrade(event)

    def _expect(self, what: str) -> None:
        """What of a request is to come; its time runs from when it was first expected."""
        if what == self._receiving:
            return
        self._receiving = what
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if what:
            wait_s = self.limits.head_s if what == "head" else self.limits.body_s
            self._late = self.loop.call_later(wait_s, self.transport.abort)


def bounded_http(limits: HttpLimits) -> type[BoundedHttp]:
    """For `uvicorn.Config(http=…)`."""
    return type("BoundedHttp", (BoundedHttp,), {"limits": limits})


class Room:
    """Connections to all of a server's addresses, from when the system has accepted them."""

    def __init__(self, limits: HttpLimits) -> None:
        self._limits = limits
        self._open: list[tuple[socket.socket, str]] = []

    def take(self, accepted: socket.socket, host: str) -> bool:
        """Whether there is room for one more."""
        self._open = [one for one in self._open if one[0].fileno() != -1]
        same = sum(one[1] == host for one in self._open)
        if len(self._open) >= self._limits.connections or 0 < self._limits.per_address <= same:
            return False
        self._open.append((accepted, host))
        return True


class BoundedSocket(socket.socket):
    """Listens.  One for which there is no room is closed before TLS costs anything; asyncio tells
    its protocols of a connection only when that is agreed, and does not count it until then."""

    room: Room

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        host = str(address[0]) if isinstance(address, tuple) else ""
        if not self.room.take(accepted, host):
            accepted.close()
            raise ConnectionAbortedError(f"{host}: no room")
        return accepted, address


def bounded_sockets(host: str, port: int, limits: HttpLimits) -> list[socket.socket]:
    """At all addresses that a host name means.  OSError: one cannot be had."""
    room = Room(limits)
    made: list[socket.socket] = []
    flags = socket.AI_PASSIVE
    for family, kind, number, _, address in dict.fromkeys(
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    ):
        one = BoundedSocket(family, kind, number)
        made.append(one)
        one.room = room
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind(address)
            one.listen(BACKLOG)
            one.setblocking(False)
        except OSError:
            for other in made:
                other.close()
            raise
    return made


class _BoundedLoop(asyncio.SelectorEventLoop):
    """Whose TLS servers do not wait for a minute, as Python's do, for a handshake."""

    handshake_s = HttpLimits().handshake_s

    async def create_server(self, *given: Any, **more: Any) -> Any:  # type: ignore[override]
        if more.get("ssl") is not None:
            more |= {
                "ssl_handshake_timeout": self.handshake_s,
                "ssl_shutdown_timeout": self.handshake_s,
            }
        return await super().create_server(*given, **more)


def bounded_loop(limits: HttpLimits) -> asyncio.AbstractEventLoop:
    """For `asyncio.Runner(loop_factory=…)`."""
    loop = _BoundedLoop()
    loop.handshake_s = limits.handshake_s
    return loop


class Rate:
    """So many in so many seconds for each key.  Keys that have been quiet longest are forgotten
    where there are more than `keys`."""

    def __init__(self, most: int, seconds: float, keys: int = 10_000) -> None:
        self.most, self.seconds = most, seconds
        self._keys = keys
        self._times: OrderedDict[Any, deque[float]] = OrderedDict()

    def take(self, key: Any, now_s: float) -> bool:
        """Whether it is one of them; then it counts."""
        if self.full(key, now_s):
            return False
        self._times.setdefault(key, deque(maxlen=self.most)).append(now_s)
        self._times.move_to_end(key)
        while len(self._times) > self._keys:
            self._times.popitem(last=False)
        return True

    def full(self, key: Any, now_s: float) -> bool:
        times = self._times.get(key)
        return times is not None and len(times) == self.most and now_s - times[0] < self.seconds

    def forget(self, key: Any) -> None:
        self._times.pop(key, None)


__all__ = [
    "HASHES",
    "MAX_BODY_OCTETS",
    "MAX_HEAD_OCTETS",
    "MAX_SOCKET_OCTETS",
    "WAITING",
    "BoundedHttp",
    "BoundedSocket",
    "HttpLimits",
    "Rate",
    "Room",
    "bounded_http",
    "bounded_loop",
    "bounded_sockets",
]
