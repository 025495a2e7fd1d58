"""Strangers at the listeners of links and services, by real sockets: whoever is meant is served.

docs/limits.md lists what each may take.  Strangers come from another address of the loopback
network.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import zmq

from ground.adapters import stream_transport, tcpcl_transport
from ground.adapters.exposition import MAX_CLIENTS, PER_ADDRESS, Exposition, Page
from ground.adapters.radio import tcp
from ground.adapters.radio.adapter import Block, Malformed
from ground.adapters.radio.address import parse_address
from ground.adapters.radio.udp import UdpAdapter
from ground.adapters.radio.zmq_stream import ZmqAdapter
from ground.adapters.stream_transport import StreamTransport
from ground.adapters.tcpcl_transport import TcpclTransport
from ground.adapters.zmq_broker import MAX_RETAINED, Broker
from ground.answering import CALLS_A_TURN, MAX_CALL_OCTETS, CallServer
from ground.config import free_base_port
from ground.ports import BundleArrived, BundleSent, PeerUp
from protocols.bus.calls import Answer, Call
from protocols.dtn.simple_layers import Framing
from protocols.dtn.tcpcl import TcpclSettings, TlsPolicy
from tests.contracts.test_bundle_transport import End, bundle, context, until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 wants an alias there")
BAD = "127.0.0.2"


def stranger(port: int, octets: bytes = b"", source: str = BAD) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), 5, (source, 0))
    if octets:
        made.sendall(octets)
    return made


def are_gone(socks: list[socket.socket]) -> bool:
    """Closed by the other end; none is waited for."""
    for one in list(socks):
        one.setblocking(False)
        try:
            ended = one.recv(65_536) == b""
        except BlockingIOError:
            continue
        except OSError:
            ended = True
        if ended:
            one.close()
            socks.remove(one)
    return not socks


@contextmanager
def closing(*ends: End) -> Iterator[None]:
    try:
        yield
    finally:
        for end in ends:
            end.close()


def tcpcl_ends(port: int) -> tuple[End, End]:
    listening = TcpclTransport(
        TcpclSettings(node_id="ipn:2.0", patience_s=0.5), listen=("127.0.0.1", port)
    )
    return End(listening), End(
        TcpclTransport(TcpclSettings(node_id="ipn:1.0"), connect=[("127.0.0.1", port)])
    )


def stcp_ends(port: int) -> tuple[End, End]:
    return (
        End(StreamTransport(Framing.STCP, listen=("127.0.0.1", port))),
        End(StreamTransport(Framing.STCP, connect={2: ("127.0.0.1", port)})),
    )


HELLO = b"dtn!\x04\x00"


@pytest.mark.parametrize(
    ("make", "octets", "per_address"),
    [
        pytest.param(tcpcl_ends, b"", tcpcl_transport._PER_ADDRESS, id="tcpcl, silent"),
        pytest.param(tcpcl_ends, HELLO + b"\x07", tcpcl_transport._PER_ADDRESS, id="tcpcl, slow"),
        pytest.param(stcp_ends, b"", stream_transport._PER_ADDRESS, id="stcp, silent"),
        pytest.param(stcp_ends, b"\0\0\0", stream_transport._PER_ADDRESS, id="stcp, slow"),
    ],
)
def test_bundles_arrive_while_strangers_hold_what_they_can(
    make: Callable[[int], tuple[End, End]], octets: bytes, per_address: int
) -> None:
    port = free_base_port()
    here, good = make(port)
    with closing(here, good):
        flood: list[socket.socket] = []
        for n in range(200):
            flood.append(stranger(port, octets))
            if n % 20 == 0:
                here.turn()
        until([here], lambda: not are_gone(flood) and len(flood) <= per_address)
        until([here, good], lambda: good.of(PeerUp))
        good.transport.send(2, 7, [bundle(7, 5_000)])
        until([here, good], lambda: here.of(BundleArrived) and good.of(BundleSent))
        # A session must begin in its time; a stream of STCP may be silent between bundles.
        if make is tcpcl_ends:
            until([here], lambda: are_gone(flood), 5)
        for one in flood:
            one.close()


def test_half_done_handshakes_of_many_addresses_are_bounded_together(tmp_path: Path) -> None:
    """TCPCL: those that have not said who they are, in the middle of TLS, too."""
    server = context(tmp_path, "ipn:2.0", server=True)
    port = free_base_port()
    settings = TcpclSettings(node_id="ipn:2.0", patience_s=2.0, tls=TlsPolicy.REQUIRE)
    here = End(TcpclTransport(settings, listen=("127.0.0.1", port), tls_server=server))
    with closing(here):
        flood: list[socket.socket] = []
        for n in range(300):
            # A contact header that can TLS, and the beginning of a ClientHello.
            octets = b"dtn!\x04\x01" + b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
            flood.append(stranger(port, octets, f"127.0.4.{1 + n % 250}"))
            if n % 20 == 0:
                here.turn()
        held = here.transport._connections  # type: ignore[attr-defined]
        most = tcpcl_transport._STRANGERS
        until([here], lambda: not are_gone(flood) and len(flood) <= most)
        assert len(held) <= most
        assert any(connection.shaking for connection in held)
        until([here], lambda: are_gone(flood), 10)
        assert not held


def test_messages_to_a_radio_that_have_no_end_are_not_waited_for() -> None:
    port = free_base_port()
    adapter = ZmqAdapter(parse_address(f"zmq://127.0.0.1:{port}?pattern=pull&bind=yes"))
    adapter.connect()
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL".ljust(22, b"\0") + bytes(33)
    ready = b"\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04PUSH"
    with zmq.Context() as zeromq, zeromq.socket(zmq.PUSH) as good:
        good.setsockopt(zmq.LINGER, 0)
        # Announced: a gibibyte.
        bad = stranger(port, greeting + ready + b"\x02" + (1 << 30).to_bytes(8, "big") + bytes(99))
        try:
            good.connect(f"tcp://127.0.0.1:{port}")
            good.send(b"frame")
            got: list[object] = []
            deadline = time.monotonic() + 20
            while not (got and are_gone([bad])):
                got += adapter.read(0.05)
                assert time.monotonic() < deadline
            assert got == [Block(b"frame")]
        finally:
            bad.close()
            adapter.disconnect()


def test_a_listener_that_is_full_lets_the_longest_silent_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_transport, "_STALLED_S", 0.3)
    port = free_base_port()
    here, good = stcp_ends(port)
    with closing(here, good):
        flood = [stranger(port, source=f"127.0.0.{3 + n // 16}") for n in range(64)]
        until([here], lambda: len(here.transport.statistics()) == 64)
        end_s = time.monotonic() + 0.4
        until([here], lambda: time.monotonic() > end_s)
        good.transport.turn()
        until([here, good], lambda: good.of(PeerUp))
        good.transport.send(2, 7, [bundle(7, 500)])
        until([here, good], lambda: here.of(BundleArrived))
        # In the middle of a bundle nobody may be silent.
        slow = stranger(port, struct.pack(">I", 1000) + b"half of it", "127.0.0.9")
        until([here], lambda: are_gone([slow]), 5)
        for one in flood:
            one.close()


@pytest.mark.parametrize("layer", ["stcp", "tcpcl"])
def test_bundles_that_are_not_whole_take_so_much_memory_together(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = stream_transport if layer == "stcp" else tcpcl_transport
    monkeypatch.setattr(module, "_INCOMING_OCTETS", 1 << 20)
    port = free_base_port()
    here, good = stcp_ends(port) if layer == "stcp" else tcpcl_ends(port)
    with closing(here, good):
        if layer == "stcp":
            begins = struct.pack(">I", 1 << 29)
        else:
            init = struct.pack(">BHQQH", 7, 0, 1 << 20, 1 << 30, 7) + b"ipn:9.0" + bytes(4)
            begins = HELLO + init + struct.pack(">BBQIQ", 1, 2, 1, 0, 1 << 24)
        greedy = stranger(port, begins)
        until([here, good], lambda: good.of(PeerUp))
        sent = 0
        greedy.setblocking(False)
        end_s = time.monotonic() + 10
        while sent < 8 << 20 and time.monotonic() < end_s:
            here.turn()
            with suppress(BlockingIOError):
                try:
                    sent += greedy.send(bytes(65_536))
                except OSError:
                    break
        until([here, good], lambda: are_gone([greedy]))
        good.transport.send(2, 7, [bundle(7, 50_000)])
        until([here, good], lambda: here.of(BundleArrived))


def test_a_silent_end_gives_its_place_to_one_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tcp, "SILENT_S", 0.2)
    port = free_base_port()
    stream = tcp.Stream(("127.0.0.1", port), listen=True)
    first = stranger(port)
    assert stream.read(1.0) == b""
    antenna = stranger(port, b"frames", "127.0.0.1")
    assert stream.read(0.05) == b""
    end_s, found = time.monotonic() + 5, b""
    while not found and time.monotonic() < end_s:
        found = stream.read(0.05)
    assert found == b"frames"
    assert are_gone([first])
    # One that speaks keeps its place.
    other = stranger(port)
    for _ in range(5):
        antenna.sendall(b"more")
        assert stream.read(0.1) == b"more"
    other.close()
    antenna.close()
    stream.close()


def test_a_flood_of_calls_leaves_the_service_its_turn_and_others_their_answers() -> None:
    endpoint = f"tcp://127.0.0.1:{free_base_port()}"
    server = CallServer(endpoint)
    context: zmq.Context[Any] = zmq.Context()
    flooding, good = context.socket(zmq.DEALER), context.socket(zmq.DEALER)
    for one in (flooding, good):
        one.setsockopt(zmq.LINGER, 0)
        one.connect(endpoint)
    try:
        for n in range(900):
            flooding.send(Call(f"flood-{n}", "x", {}).build())
        good.send(Call("good", "x", {}).build())
        time.sleep(0.2)
        answered: list[str] = []

        def handle(key: str, operation: str, arguments: dict[str, Any]) -> str:
            answered.append(key)
            return "yes"

        end_s = time.monotonic() + 40
        while "good" not in answered:
            assert time.monotonic() < end_s
            before = len(answered)
            server.turn(handle)
            assert len(answered) - before <= CALLS_A_TURN
        assert good.poll(40_000)
        assert Answer.parse(good.recv()) == Answer("good", "yes")
        # What is too long ends the connection of whoever said it, and no other.
        flooding.send(bytes(MAX_CALL_OCTETS + 1))
        flooding.send(b"\xc1 no call")
        good.send(Call("again", "x", {}).build())
        end_s = time.monotonic() + 40
        while not good.poll(20):
            server.turn(handle)
            assert time.monotonic() < end_s
        assert Answer.parse(good.recv()).key == "again"
    finally:
        context.destroy(linger=0)
        server.close()


def test_metrics_are_told_while_strangers_hold_what_they_can() -> None:
    one = Exposition("127.0.0.1", 0, {"/metrics": lambda: Page(200, "text/plain", "l4_up 1\n")})
    assert PER_ADDRESS < MAX_CLIENTS
    flood = [stranger(one.port, b"GET /metrics HT") for _ in range(60)]
    try:
        with stranger(one.port, b"GET /metrics HTTP/1.1\r\n\r\n", "127.0.0.1") as good:
            good.settimeout(40)
            answer = b""
            while octets := good.recv(4096):
                answer += octets
        assert answer.endswith(b"l4_up 1\n")
        are_gone(flood)
        assert len(flood) <= PER_ADDRESS
    finally:
        for sock in flood:
            sock.close()
        one.close()


def test_frames_are_received_among_a_strangers_datagrams() -> None:
    port = free_base_port()
    adapter = UdpAdapter(parse_address(f"udp://127.0.0.1:{port}?frame_length=100"))
    adapter.connect()
    bad, good = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    bad.bind((BAD, 0))
    frames: list[bytes] = []
    nonsense = 0
    try:
        for n in range(100):
            for length in (0, 1, 99, 101, 9_000):
                bad.sendto(bytes(length), ("127.0.0.1", port))
            good.sendto(bytes([n]) * 100, ("127.0.0.1", port))
            for one in adapter.read(0.01):
                if isinstance(one, Block):
                    frames.append(one.octets)
                else:
                    assert isinstance(one, Malformed)
                    nonsense += 1
    finally:
        adapter.disconnect()
        bad.close()
        good.close()
    assert frames == [bytes([n]) * 100 for n in range(100)]
    assert nonsense == 500


def test_topics_that_somebody_invents_are_not_kept_and_others_hear_the_bus() -> None:
    ports = free_base_port()
    bus_in, bus_out = f"tcp://127.0.0.1:{ports}", f"tcp://127.0.0.1:{ports + 1}"
    broker = Broker(bus_in, bus_out)
    context: zmq.Context[Any] = zmq.Context()
    flooding, good, hears = (context.socket(kind) for kind in (zmq.PUB, zmq.PUB, zmq.SUB))
    try:
        hears.subscribe(b"events")
        hears.connect(bus_out)
        for one in (flooding, good):
            one.set_hwm(0)
            one.connect(bus_in)
        for _ in range(30):
            broker.turn(0.01)
        for n in range(4 * MAX_RETAINED):
            flooding.send_multipart([b"status.invented%d" % n, b"header", b"body"])
            if n % 50 == 0:
                flooding.send_multipart([b"x" * 300, b"", b""])
                flooding.send(b"one part")
                good.send_multipart([b"events", b"header", b"%d" % n])
        heard: list[bytes] = []
        end_s = time.monotonic() + 10
        while len(heard) < -(-4 * MAX_RETAINED // 50) and time.monotonic() < end_s:
            broker.turn(0.01)
            while hears.poll(0):
                heard.append(hears.recv_multipart()[2])
        assert heard == [b"%d" % n for n in range(0, 4 * MAX_RETAINED, 50)]
        end_s = time.monotonic() + 10
        while broker.counts["malformed"] < 100 and time.monotonic() < end_s:
            broker.turn(0.01)
        assert broker.retained == MAX_RETAINED
    finally:
        context.destroy(linger=0)
        broker.close()
