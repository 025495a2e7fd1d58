"""HTTP for machines that watch: a few pages, GET only, in a thread of its own.

Python's http.server has no bound on how long a client may take for its request; here all clients
share one selector, and each has `PATIENCE_S` from connecting to the last octet of its answer.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ground.adapters.sockets import address_of, listening

#: From a client's connecting to the last octet of its answer, wall seconds.
PATIENCE_S = 5.0
#: A request's first lines are far shorter; bodies are none of ours.
MAX_REQUEST_OCTETS = 8192
#: Connections at a time; those beyond wait in the listener's backlog.
MAX_CLIENTS = 16
#: Of one address; for more its oldest is let go, so that none takes the room of others.
PER_ADDRESS = 8

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
            500: "Internal Server Error", 503: "Service Unavailable"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    status: int
    content_type: str
    text: str


@dataclass(slots=True)
class _Client:
    deadline_s: float
    host: str
    heard: bytearray = field(default_factory=bytearray)
    answer: bytes = b""


class Exposition:
    """`pages`: path → what makes the page, called in our thread.  LocalError: the port is taken."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._listener = listening("metrics", (host, port))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._woken, self._waking = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._clients: dict[socket.socket, _Client] = {}
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._waking.send(b"x")
        self._thread.join()
        for sock in [*self._clients, self._listener, self._woken, self._waking]:
            sock.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select(1.0 if self._clients else None):
                if key.fileobj is self._woken:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                # One that had to make room in this very round is ready no more.
                elif key.fileobj in self._clients:
                    self._turn(key.fileobj)  # type: ignore[arg-type]
            now_s = time.monotonic()
            for sock in [one for one, c in self._clients.items() if now_s >= c.deadline_s]:
                self._drop(sock)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:
            return  # it has gone before we came
        host = address_of(sock)
        same = [one for one, client in self._clients.items() if client.host == host]
        if len(same) >= PER_ADDRESS:
            self._drop(same[0])
        sock.setblocking(False)
        self._clients[sock] = _Client(time.monotonic() + PATIENCE_S, host)
        self._selector.register(sock, selectors.EVENT_READ)
        if len(self._clients) >= MAX_CLIENTS:
            self._selector.unregister(self._listener)

    def _drop(self, sock: socket.socket) -> None:
        if len(self._clients) >= MAX_CLIENTS:
            self._selector.register(self._listener, selectors.EVENT_READ)
        del self._clients[sock]
        self._selector.unregister(sock)
        sock.close()

    def _turn(self, sock: socket.socket) -> None:
        client = self._clients[sock]
        try:
            if client.answer:
                client.answer = client.answer[sock.send(client.answer) :]
                if not client.answer:
                    self._drop(sock)
                return
            octets = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            octets = b""
        if not octets:
            self._drop(sock)
            return
        client.heard += octets
        if b"\r\n\r\n" in client.heard:
            page, head = self._answer(bytes(client.heard))
        elif len(client.heard) > MAX_REQUEST_OCTETS:
            page, head = Page(400, "text/plain", "request too long\n"), False
        else:
            return
        body = page.text.encode()
        lines = (
            f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\n"
            f"Content-Type: {page.content_type}\r\nContent-Length: {len(body)}\r\n"
            "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        client.answer = lines.encode() + (b"" if head else body)
        self._selector.modify(sock, selectors.EVENT_WRITE)

    def _answer(self, request: bytes) -> tuple[Page, bool]:
        """The page, and whether its head alone is wanted."""
        words = request.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return Page(400, "text/plain", "not a request of HTTP/1.1\n"), False
        if words[0] not in ("GET", "HEAD"):
            return Page(405, "text/plain", f"{words[0][:16]}: GET wanted\n"), False
        make = self._pages.get(words[1].partition("?")[0])
        if make is None:
            return Page(404, "text/plain", f"{', '.join(self._pages)} are here\n"), False
        try:
            return make(), words[0] == "HEAD"
        except OSError as error:  # the run directory has gone, say
            return Page(500, "text/plain", f"{error}\n"), False
