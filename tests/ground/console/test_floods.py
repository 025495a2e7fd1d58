"""Strangers who take all they can get, by real sockets: whoever is signed in is served all the
same.

Floods come from another address of the loopback network than the good client.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
import uvicorn
from argon2 import PasswordHasher
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ground.console.accounts import ADDRESS_ATTEMPTS, ATTEMPTS
from ground.console.app import COOKIE, STRANGERS_LINES
from ground.console.limits import (
    MAX_BODY_OCTETS,
    BoundedSocket,
    HttpLimits,
    Rate,
    Room,
    bounded_loop,
    bounded_sockets,
)
from ground.console.listener import Listener
from ground.console.service import server_config
from tests.certificates import Certificate, for_localhost
from tests.ground.console.site import PASSWORD, Console

LIMITS = HttpLimits(
    connections=40, per_address=16, handshake_s=0.6, head_s=0.6, body_s=1.2, stalled_s=1.0
)
#: Of a test with what must come: a busy machine is slow.
PATIENCE_S = 40.0
GOOD, BAD = "127.0.0.1", "127.0.0.2"

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="127.0.0.2 wants an alias elsewhere"
)


def until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


class Served:
    def __init__(
        self,
        console: Console,
        certificate: Certificate | None = None,
        limits: HttpLimits = LIMITS,
    ) -> None:
        self.console = console
        self._limits = limits
        (self._socket,) = bounded_sockets("127.0.0.1", 0, limits)
        self.port = self._socket.getsockname()[1]
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        self.trust = ssl.create_default_context(cafile=certificate and certificate.certificate)
        files = [str(path) for path in certificate or ("", "")]
        listener = Listener("127.0.0.1", self.port, "", files[0], files[1])
        self._server = uvicorn.Server(server_config(console.app, listener, limits, lifespan="off"))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: bounded_loop(self._limits)) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    @property
    def room(self) -> Room:
        assert isinstance(self._socket, BoundedSocket)
        return self._socket.room

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    @property
    def held(self) -> int:
        """Connections that take a place."""
        return sum(one.fileno() != -1 for one, _ in self.room._open)

    def open(self, octets: bytes = b"", source: str = BAD) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port), 5, (source, 0))
        made.sendall(octets)
        return made

    def asks(self, limit_s: float = PATIENCE_S) -> float:
        """A good client's question, of a route that wants a database and a thread; how long."""
        session = self.console.session("viewer")
        began_s = time.monotonic()
        with httpx.Client(
            base_url=self.url, cookies={COOKIE: session.token}, verify=self.trust
        ) as client:
            assert client.get("/api/v1/session", timeout=limit_s).json()["name"] == "viewer"
        return time.monotonic() - began_s

    def gone(self, socks: list[socket.socket], within_s: float) -> None:
        """All of them are closed by the server in that time."""
        end_s = time.monotonic() + within_s
        for one in socks:
            one.settimeout(max(end_s - time.monotonic(), 0.01))
            try:
                while one.recv(4096):
                    pass
            except ConnectionResetError:
                pass
            one.close()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    console = Console(tmp_path)
    one = Served(console)
    one.asks()
    # Its place is free again when TLS has said goodbye: one of those that come now would have none.
    until(lambda: not one.held)
    yield one
    one.close()
    console.close()


@contextmanager
def trickling(socks: list[socket.socket], octet: bytes) -> Iterator[None]:
    """Each says an octet now and then, so that none is idle."""
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.05):
            for one in socks:
                try:
                    one.sendall(octet)
                except OSError:
                    continue

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


HEAD = b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("octets", "trickle"),
    [
        pytest.param(b"", b"", id="nothing at all"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"a", id="headers, slowly"),
        pytest.param(HEAD + b"Content-Length: 1000\r\n\r\n", b" ", id="a body, slowly"),
        pytest.param(
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", id="chunks, slowly"
        ),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET", b" ", id="a second request, slowly"),
    ],
)
def test_slow_requests_end_and_nobody_else_waits(
    served: Served, octets: bytes, trickle: bytes
) -> None:
    socks = [served.open(octets) for _ in range(LIMITS.per_address)]
    with trickling(socks, trickle) if trickle else ExitStack():
        served.asks()
        # An octet each twentieth of a second never makes a connection idle: their time ends it.
        served.gone(socks, PATIENCE_S)


def test_connections_of_one_address_leave_room_for_others(served: Served) -> None:
    # Nobody's time is over before all have come, however slow the machine is.
    protocol: Any = served._server.config.http_protocol_class
    protocol.limits = replace(LIMITS, head_s=10 * PATIENCE_S)
    held = [served.open(b"GET / HTTP/1.1\r\n") for _ in range(LIMITS.per_address)]
    more = [served.open() for _ in range(60)]
    served.gone(more, PATIENCE_S)
    assert served.connections <= LIMITS.per_address
    served.asks()
    # As many as there may be in all: the next is closed, whoever it is.
    sources = [f"127.0.0.{3 + n // LIMITS.per_address}" for n in range(LIMITS.connections)]
    everything = [served.open(source=source) for source in sources]
    until(lambda: served.connections >= LIMITS.connections)
    with pytest.raises(httpx.HTTPError):
        served.asks()
    for one in (*held, *everything):
        one.close()
    until(lambda: served.connections == 0)
    served.asks()


@contextmanager
def served_by_tls(directory: Path, limits: HttpLimits = LIMITS) -> Iterator[Served]:
    console = Console(directory)
    one = Served(console, for_localhost(directory), limits)
    one.asks()
    # Its place is free again when TLS has said goodbye: one of those that come now would have none.
    until(lambda: not one.held)
    yield one
    one.close()
    console.close()


#: A record of the handshake that announces 512 octets of ClientHello, and none of them.
HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


@pytest.mark.parametrize(
    ("octets", "trickle"), [(b"", b""), (HELLO, b""), (HELLO, b"a"), (b"GET / HTTP/1.1\r\n", b"")]
)
def test_handshakes_that_do_not_end_are_ended(
    tmp_path: Path, octets: bytes, trickle: bytes
) -> None:
    """Python's own patience is a minute, and nothing counts who waits there."""
    with served_by_tls(tmp_path) as served:
        socks = [served.open(octets) for _ in range(LIMITS.per_address)]
        with trickling(socks, trickle) if trickle else ExitStack():
            served.asks()
            began_s = time.monotonic()
            served.gone(socks, PATIENCE_S)
            assert time.monotonic() - began_s < 30
        served.asks()


def test_half_done_handshakes_of_many_addresses_are_bounded_together(tmp_path: Path) -> None:
    # Nobody's time is over before all have come.
    with served_by_tls(tmp_path, replace(LIMITS, handshake_s=10 * PATIENCE_S)) as served:
        held = [served.open(HELLO, f"127.0.1.{1 + n}") for n in range(LIMITS.connections)]
        until(lambda: len(served.room._open) >= LIMITS.connections)
        more = [served.open(b"", f"127.0.2.{1 + n}") for n in range(120)]
        served.gone(more, PATIENCE_S)
        assert len(served.room._open) <= LIMITS.connections
        for one in held:
            one.close()
        until(lambda: not served.held)
        served.asks()


def test_whoever_takes_nothing_is_let_go(served: Served) -> None:
    """Requests whose answers nobody reads: the system's buffers fill, then the connection ends."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.bind((BAD, 0))
    sock.connect(("127.0.0.1", served.port))
    sock.settimeout(0.2)
    request = b"GET /static/vendor/uplot.js HTTP/1.1\r\nHost: x\r\n\r\n"
    end_s = time.monotonic() + PATIENCE_S
    while served.connections and time.monotonic() < end_s:
        with suppress(OSError):
            sock.sendall(request)
        time.sleep(0.05)
    assert served.connections == 0
    sock.close()


def test_guessing_passwords_shuts_out_the_guesser_alone(served: Served) -> None:
    def guess(name: str, password: str, source: str) -> int:
        transport = httpx.HTTPTransport(local_address=source)
        with httpx.Client(base_url=served.url, transport=transport) as client:
            body = {"name": name, "password": password}
            return client.post("/api/v1/session", json=body, timeout=PATIENCE_S).status_code

    for n in range(ATTEMPTS):
        assert guess("admin", f"wrong {n}", BAD) == 401
    assert guess("admin", PASSWORD, BAD) == 401
    assert guess("admin", PASSWORD, GOOD) == 200
    # Names by the thousand: no more than so many are even looked up.
    accounts = served.console.accounts
    counting = _Counting(accounts._hasher)
    accounts._hasher = counting  # type: ignore[assignment]
    for n in range(2 * ADDRESS_ATTEMPTS):
        assert guess(f"name{n}", "wrong", BAD) == 401
    assert counting.hashed <= ADDRESS_ATTEMPTS
    served.asks()


class _Counting:
    """A hasher that says how much it was made to do."""

    def __init__(self, hasher: PasswordHasher) -> None:
        self._own = hasher
        self.hashed = 0

    def verify(self, hashed: str, password: str) -> bool:
        self.hashed += 1
        return self._own.verify(hashed, password)

    def hash(self, password: str) -> str:
        return self._own.hash(password)


def test_refusals_of_strangers_do_not_fill_the_audit(served: Served) -> None:
    # As it is, of fewer lines, since each is on disk before it is answered.
    strangers = served.console.app.state.strangers
    assert strangers.most == STRANGERS_LINES
    strangers.most = 8
    before = len(served.console.accounts.audited(1_000))
    with httpx.Client(base_url=served.url) as client:
        for _ in range(8 + 40):
            assert client.post("/api/v1/requests/1/arm").status_code == 401
        assert len(served.console.accounts.audited(1_000)) - before == 8
        served.console.wall_s += 61
        client.post("/api/v1/requests/1/arm")
    newest = served.console.accounts.audited(1)[0]
    assert "40 refusals before it" in newest.detail


def test_streams_without_a_session_are_closed_and_the_good_one_goes_on(served: Served) -> None:
    session = served.console.session("viewer")
    url = f"ws://127.0.0.1:{served.port}/api/v1/live"
    with connect(url, additional_headers={"Cookie": f"{COOKIE}={session.token}"}) as good:
        assert json.loads(good.recv(timeout=PATIENCE_S))["kind"] == "snapshot"
        for _ in range(30):
            with (
                suppress(InvalidStatus),
                connect(url, source_address=(BAD, 0)) as stranger,  # type: ignore[arg-type]
                pytest.raises(ConnectionClosed),
            ):
                stranger.recv(timeout=PATIENCE_S)
        served.console.app.state.hub.tell({"events": [1]})
        assert json.loads(good.recv(timeout=PATIENCE_S))["events"] == [1]


def test_a_stream_is_no_request_that_must_end(served: Served) -> None:
    """Its time is not that of a request's body, which it was: each was cut after a minute."""
    session = served.console.session("viewer")
    url = f"ws://127.0.0.1:{served.port}/api/v1/live"
    with connect(url, additional_headers={"Cookie": f"{COOKIE}={session.token}"}) as good:
        assert json.loads(good.recv(timeout=PATIENCE_S))["kind"] == "snapshot"
        end_s = time.monotonic() + max(LIMITS.head_s, LIMITS.body_s) + 0.5
        while time.monotonic() < end_s:
            good.recv(timeout=PATIENCE_S)


def test_compressed_messages_and_bodies_are_measured_when_they_are_large(served: Served) -> None:
    session = served.console.session("viewer")
    url = f"ws://127.0.0.1:{served.port}/api/v1/live"
    with connect(url, additional_headers={"Cookie": f"{COOKIE}={session.token}"}) as one:
        one.recv(timeout=PATIENCE_S)
        # 32 MiB of zeros are 32 KiB compressed.
        one.send("0" * (32 << 20))
        with suppress(ConnectionClosed):
            while one.recv(timeout=PATIENCE_S):
                pass
        assert one.close_code == 1009
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    with httpx.Client(base_url=served.url) as client:
        bomb = gzip.compress(b"0" * (32 << 20))
        # Nothing is decompressed: what is said to be so is no JSON.
        assert client.post("/api/v1/session", content=bomb, headers=headers).status_code == 400
        long = client.post("/api/v1/session", content=b" " * (MAX_BODY_OCTETS + 1))
        assert long.status_code == 413
        deep = b'{"name": ' + b"[" * 100_000
        assert client.post("/api/v1/session", content=deep).status_code == 400
    served.asks()


def test_heads_that_do_not_end_are_refused(served: Served) -> None:
    sock = served.open(b"GET / HTTP/1.1\r\nX: ")
    sent = 0
    with suppress(OSError):
        while sent < 1 << 22:
            sent += sock.send(b"a" * 65_536)
            time.sleep(0.01)
    assert sent < 1 << 22
    sock.close()
    served.asks()


def test_rates_count_in_their_time_and_forget_who_was_quiet_longest() -> None:
    rate = Rate(2, 10.0, keys=2)
    assert [rate.take("a", now_s) for now_s in (0.0, 1.0, 2.0, 9.9, 10.0)] == [
        True, True, False, False, True,
    ]  # fmt: skip
    assert rate.take("b", 10.0)
    assert rate.take("c", 10.0)
    assert rate.take("a", 10.5)
