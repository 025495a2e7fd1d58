"""What strangers may take of the console: connections, time, attempts.  docs/limits.md lists them.

Whoever is refused here costs no thread, no database and no line of the audit.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Any, Final, cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Of a body, where its route says no other: a command with its octets, a layout.
MAX_BODY_OCTETS: Final = 256 * 1024
#: Of a request's line and headers, before they are whole.
MAX_HEAD_OCTETS: Final = 64 * 1024
#: Of a message to the live stream, when it is decompressed.
MAX_SOCKET_OCTETS: Final = 64 * 1024
#: Sign-ins that are being checked at a time: each takes 64 MiB and a tenth of a second of a core.
HASHES: Final = 2
#: Sign-ins that wait for that; more are turned away.
WAITING: Final = 20


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """connections: of all, streams among them; above them a new one is closed at once.
    per_address: of one address, 0: of any number (behind a proxy all have the proxy's).
    head_s, body_s: until a request's head, and all of it, must be here; from the connection's
    beginning, or the request's first octet.
    stalled_s: a client that takes nothing for so long is gone."""

    connections: int = 400
    per_address: int = 64
    head_s: float = 10.0
    body_s: float = 60.0
    stalled_s: float = 30.0


class BoundedHttp(H11Protocol):
    """uvicorn's HTTP/1.1, which waits for a request as long as its sender likes, with an end to
    it.  Streams go on in uvicorn's own WebSocket protocol, on the same socket."""

    limits = HttpLimits()
    _late: asyncio.TimerHandle | None = None
    _receiving = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        limits, address = self.limits, self.client and self.client[0]
        # HTTP and streams alike; both kinds of uvicorn's protocols know their client.
        others = [cast(H11Protocol, one).client for one in self.connections]
        same = sum(one is not None and one[0] == address for one in others)
        if len(self.connections) > limits.connections or 0 < limits.per_address < same:
            transport.abort()
            return
        own = transport.get_extra_info("socket")
        if own is not None and own.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
            # Linux: also where the other end acknowledges, but has no room.
            own.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(limits.stalled_s * 1000)
            )
        self._expect("head")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        state = self.conn.their_state
        self._expect({h11.IDLE: "head", h11.SEND_BODY: "body"}.get(state, ""))

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect("")
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
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
    "HttpLimits",
    "Rate",
    "bounded_http",
]
