"""The page for machines over real sockets: answers, refusals, slow and greedy clients."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from ground.adapters import exposition
from ground.adapters.exposition import Exposition, Page
from protocols.errors import LocalError


def gone() -> Page:
    raise FileNotFoundError("run directory")


@pytest.fixture
def server() -> Iterator[Exposition]:
    pages = {"/metrics": lambda: Page(200, "text/plain", "x 1\n"), "/gone": gone}
    with closing(Exposition("127.0.0.1", 0, pages)) as one:
        yield one


def ask(server: Exposition, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_what_is_asked_for_and_what_is_not_there(server: Exposition) -> None:
    assert ask(server, "GET", "/metrics") == (200, "x 1\n")
    assert ask(server, "GET", "/metrics?x=1") == (200, "x 1\n")
    assert ask(server, "HEAD", "/metrics") == (200, "")
    assert ask(server, "GET", "/")[0] == 404
    assert ask(server, "POST", "/metrics")[0] == 405
    assert ask(server, "GET", "/gone")[0] == 500


def raw(server: Exposition, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as sock:
        for piece in pieces:
            sock.sendall(piece)
        heard = b""
        while octets := sock.recv(4096):
            heard += octets
        return heard


def test_any_chunking_and_nonsense(server: Exposition) -> None:
    request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(server, *(bytes([one]) for one in request)).endswith(b"x 1\n")
    assert raw(server, b"\x16\x03\x01\x00\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(server, b"GET /metrics\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert raw(server, b"G" * (exposition.MAX_REQUEST_OCTETS + 1)).startswith(b"HTTP/1.1 400")


def test_slow_clients_are_dropped_and_do_not_keep_others_out(
    server: Exposition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition, "PATIENCE_S", 0.5)
    address = ("127.0.0.1", server.port)
    crowd = [socket.create_connection(address, timeout=10) for _ in range(40)]
    try:
        for sock in crowd:
            # Of one address the oldest have had to go already.
            with suppress(OSError):
                sock.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        began = time.monotonic()
        assert ask(server, "GET", "/metrics")[0] == 200
        assert time.monotonic() - began < 8
        for sock in crowd:
            with suppress(ConnectionResetError):
                assert sock.recv(10) == b""
    finally:
        for sock in crowd:
            sock.close()


def test_a_taken_port_is_named(server: Exposition) -> None:
    with pytest.raises(LocalError, match=str(server.port)):
        Exposition("127.0.0.1", server.port, {})
