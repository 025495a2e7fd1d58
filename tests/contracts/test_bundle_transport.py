"""What a relay expects of every convergence layer, over real loopback sockets."""

from __future__ import annotations

import datetime
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ground.adapters.node_certificate import node_ids, other_name
from ground.adapters.stream_transport import StreamTransport
from ground.adapters.tcpcl_transport import TcpclTransport
from ground.adapters.udp_transport import LtpTransport, UdpTransport
from ground.config import free_base_port
from ground.ports import (
    BundleArrived,
    BundleFailed,
    BundleSent,
    BundleTransport,
    LinkState,
    PeerDown,
    PeerUp,
)
from protocols.dtn.bundle import Bundle, CreationTimestamp, Primary, payload_block
from protocols.dtn.eid import eid, ipn
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import LtpParameters
from protocols.dtn.simple_layers import Framing, framed
from protocols.dtn.tcpcl import TcpclSettings, TlsPolicy
from protocols.errors import LocalError


@dataclass
class End:
    """One transport and what it said."""

    transport: BundleTransport
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    events: list[Any] = field(default_factory=list)
    accept: bool = True

    def __post_init__(self) -> None:
        self.transport.open(self.selector)

    def turn(self) -> None:
        for key, mask in self.selector.select(0.005):
            key.data(mask)
        for event in self.transport.events:
            self.events.append(event)
            if self.accept and isinstance(event, BundleArrived):
                self.transport.accept(event.receipt)
        self.transport.events.clear()
        self.transport.turn()

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def close(self) -> None:
        self.transport.close()
        self.selector.close()


def bundle(number: int, size: int) -> bytes:
    primary = Primary(0, 1, ipn(2, 1), ipn(1, 1), ipn(1, 0), CreationTimestamp(10**11, number), 1)
    return Bundle(primary, (payload_block(bytes((number,)) * size),)).build()


def until(ends: list[End], condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, [end.events[-3:] for end in ends]
        for end in ends:
            end.turn()


Make = Callable[[int, int, Path], BundleTransport]


def tcpcl(number: int, port: int, directory: Path) -> BundleTransport:
    settings = TcpclSettings(node_id=f"ipn:{number}.0", segment_octets=10_000, window=8)
    if number == 1:
        return TcpclTransport(settings, connect=[("127.0.0.1", port)])
    return TcpclTransport(settings, listen=("127.0.0.1", port))


def tcpcl_tls(number: int, port: int, directory: Path) -> BundleTransport:
    settings = TcpclSettings(node_id=f"ipn:{number}.0", tls=TlsPolicy.REQUIRE, window=8)
    if number == 1:
        client = context(directory, "ipn:1.0", server=False)
        return TcpclTransport(settings, connect=[("127.0.0.1", port)], tls_client=client)
    server = context(directory, "ipn:2.0", server=True)
    return TcpclTransport(settings, listen=("127.0.0.1", port), tls_server=server)


def ltp(number: int, port: int, directory: Path) -> BundleTransport:
    # As over a lossy network: checkpoints and reports come soon, and again.
    engine = LtpEngine(
        number, 3 - number, LtpParameters(margin_s=0.2), entropy=bytes([number]) * 32
    )
    own, other = (("127.0.0.1", port + i) for i in (number, 3 - number))
    return LtpTransport(engine, 3 - number, own, other)


def stream(framing: Framing) -> Make:
    def make(number: int, port: int, directory: Path) -> BundleTransport:
        own, other = (("127.0.0.1", port + i) for i in (number, 3 - number))
        return StreamTransport(framing, listen=own, connect={3 - number: other})

    return make


def udp(number: int, port: int, directory: Path) -> BundleTransport:
    own, other = (("127.0.0.1", port + i) for i in (number, 3 - number))
    return UdpTransport(own, {3 - number: other})


#: Those that tell the sender when the receiver has a bundle on disk.
TRANSPORTS: dict[str, Make] = {"tcpcl": tcpcl, "tcpcl with TLS": tcpcl_tls}
ACKNOWLEDGED: dict[str, Make] = {**TRANSPORTS, "ltp": ltp}
#: Those that tell only that it is gone.
UNACKNOWLEDGED: dict[str, Make] = {
    "stcp": stream(Framing.STCP),
    "mtcp": stream(Framing.MTCP),
    "udp": udp,
}


def context(directory: Path, node: str, *, server: bool) -> ssl.SSLContext:
    """Of a node whose certificate one authority signed."""
    certificate, key, authority = certified(directory, node)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_cert_chain(certificate, key)
    made.load_verify_locations(authority)
    return made


def certified(directory: Path, node: str) -> tuple[Path, Path, Path]:
    """PEM files: certificate and key of a node, and the authority's certificate."""
    authority_path, authority_key_path = directory / "authority.pem", directory / "authority.key"
    if not authority_path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = signed("authority", key, key, "authority", None)
        authority_path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        authority_key_path.write_bytes(private(key))
    authority_key = serialization.load_pem_private_key(authority_key_path.read_bytes(), None)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = signed(node, key, authority_key, "authority", node)
    path = directory / f"{node.replace(':', '-')}.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(private(key))
    return path, path.with_suffix(".key"), authority_path


def private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def signed(subject: str, key: Any, issuer_key: Any, issuer: str, node: str | None) -> Any:
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=node is None, path_length=None), critical=True)
    )
    if node is not None:
        names = x509.SubjectAlternativeName([other_name(node), x509.DNSName("relay.example")])
        builder = builder.add_extension(names, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture(params=TRANSPORTS)
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[End, End]]:
    yield from connected(TRANSPORTS[request.param], tmp_path)


@pytest.fixture(params=ACKNOWLEDGED)
def acknowledged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[End, End]]:
    yield from connected(ACKNOWLEDGED[request.param], tmp_path)


@pytest.fixture(params=UNACKNOWLEDGED)
def unacknowledged(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[End, End]]:
    yield from connected(UNACKNOWLEDGED[request.param], tmp_path)


def connected(make: Make, tmp_path: Path) -> Iterator[tuple[End, End]]:
    port = free_base_port()
    ends = [End(make(2, port, tmp_path)), End(make(1, port, tmp_path))]
    until(ends, lambda: all(end.of(PeerUp) for end in ends))
    yield ends[1], ends[0]
    for end in ends:
        end.close()


def test_neighbours_are_known_by_their_node(acknowledged: tuple[End, End]) -> None:
    left, right = acknowledged
    assert left.of(PeerUp) == [PeerUp(2)]
    assert right.of(PeerUp) == [PeerUp(1)]
    for end, number in ((left, 2), (right, 1)):
        assert end.transport.window(number) > 0
        assert end.transport.window(99) == 0
        (statistics,) = end.transport.statistics()
        assert statistics.state is LinkState.OK


def test_bundles_arrive_whole_and_are_told_of_once(acknowledged: tuple[End, End]) -> None:
    left, right = acknowledged
    wanted = [bundle(n, size) for n, size in enumerate((1, 1_000, 300_000, 2_000_000, 7))]
    for n, octets in enumerate(wanted):
        left.transport.send(2, n, (octets[:1], octets[1:]))
        right.transport.send(1, -n, (octets,))
    until([left, right], lambda: all(len(e.of(BundleSent)) == 5 for e in (left, right)))
    for end, neighbour, sign in ((left, 2, 1), (right, 1, -1)):
        found = [event.octets for event in end.of(BundleArrived)]
        assert sorted(found, key=len) == sorted(wanted, key=len)
        assert {event.neighbour for event in end.of(BundleArrived)} == {neighbour}
        assert {event.token for event in end.of(BundleSent)} == {sign * n for n in range(5)}
        assert len(end.of(BundleSent)) == 5


def test_what_has_no_room_is_kept_by_a_layer_that_cannot_give_it_back(
    tmp_path: Path,
) -> None:
    """LTP and streams have no refusal: the bundle is offered again, and nothing is lost."""
    for make in (ltp, stream(Framing.STCP)):
        for left, right in connected(make, tmp_path):
            right.accept = False
            left.transport.send(2, "one", (bundle(1, 10),))
            until([left, right], lambda right=right: right.of(BundleArrived))
            right.transport.refuse(right.of(BundleArrived)[0].receipt)
            right.accept = True
            until([left, right], lambda right=right: len(right.of(BundleArrived)) == 2)
            first, again = right.of(BundleArrived)
            assert first.octets == again.octets
            until([left, right], lambda left=left: left.of(BundleSent))


def test_layers_without_acknowledgements_carry_bundles_too(
    unacknowledged: tuple[End, End],
) -> None:
    left, right = unacknowledged
    # The largest is what a datagram takes.
    wanted = [bundle(n, size) for n, size in enumerate((1, 1_000, 60_000, 7))]
    for n, octets in enumerate(wanted):
        left.transport.send(2, n, (octets[:1], octets[1:]))
        right.transport.send(1, n, (octets,))
    ends = [left, right]
    until(ends, lambda: all(len(e.of(BundleArrived)) == 4 for e in ends))
    for end in ends:
        assert [event.octets for event in end.of(BundleArrived)] == wanted
        assert [event.token for event in end.of(BundleSent)] == [0, 1, 2, 3]
        # They do not say who speaks.
        assert {event.neighbour for event in end.of(BundleArrived)} == {0}
        assert sum(one.chunks_out for one in end.transport.statistics()) == 4


def test_a_bundle_larger_than_a_datagram_fails_for_good(tmp_path: Path) -> None:
    for left, _ in connected(udp, tmp_path):
        left.transport.send(2, "large", (bytes(70_000),))
        left.turn()
        assert left.of(BundleFailed) == [BundleFailed("large", True)]


def test_a_stream_that_is_none_is_closed_and_counted(tmp_path: Path) -> None:
    port = free_base_port()
    end = End(StreamTransport(Framing.MTCP, listen=("127.0.0.1", port)))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(b"\xffGET / HTTP/1.1")
        until([end], lambda: end.transport.damaged)  # type: ignore[attr-defined]
        peer.settimeout(5)
        assert peer.recv(10) == b""
    assert end.of(BundleArrived) == []
    end.close()


def test_pyd3tns_mtcp_is_ours_both_ways(tmp_path: Path) -> None:
    from pyd3tn.mtcp import MTCPSocket

    port = free_base_port()
    with socket.create_server(("127.0.0.1", port + 1)) as server:
        end = End(
            StreamTransport(
                Framing.MTCP, listen=("127.0.0.1", port), connect={2: ("127.0.0.1", port + 1)}
            )
        )
        wanted = [bundle(n, size) for n, size in enumerate((1, 20, 250, 70_000))]
        with socket.create_connection(("127.0.0.1", port)) as peer:
            for octets in wanted:
                MTCPSocket(peer).send_bundle(octets)
            until([end], lambda: len(end.of(BundleArrived)) == 4)
        assert [event.octets for event in end.of(BundleArrived)] == wanted
        until([end], lambda: end.of(PeerUp))
        reader, _ = server.accept()
        with reader:
            for n, octets in enumerate(wanted):
                end.transport.send(2, n, (octets,))
            until([end], lambda: len(end.of(BundleSent)) == 4)
            theirs = MTCPSocket(reader, timeout=5)
            assert [theirs.recv_bundle() for _ in wanted] == wanted
        end.close()


def test_nothing_counts_as_sent_before_it_is_accepted(pair: tuple[End, End]) -> None:
    left, right = pair
    right.accept = False
    left.transport.send(2, "one", (b"1",))
    left.transport.send(2, "two", (b"2",))
    until([left, right], lambda: len(right.of(BundleArrived)) == 2)
    for _ in range(10):
        left.turn()
        right.turn()
    assert left.of(BundleSent) == []
    one, two = right.of(BundleArrived)
    right.transport.refuse(one.receipt)
    right.transport.accept(two.receipt)
    until([left, right], lambda: left.of(BundleSent) and left.of(BundleFailed))
    assert left.of(BundleSent) == [BundleSent("two")]
    assert left.of(BundleFailed)[0].token == "one"
    # A peer without room is left alone for a while.
    assert left.transport.window(2) == 0
    assert left.of(BundleFailed)[0].refused is False


def test_a_window_is_kept_and_opens_again(pair: tuple[End, End]) -> None:
    left, right = pair
    right.accept = False
    n = left.transport.window(2)
    for token in range(n):
        left.transport.send(2, token, (b"x",))
    assert left.transport.window(2) == 0
    until([left, right], lambda: len(right.of(BundleArrived)) == n)
    for event in right.of(BundleArrived):
        right.transport.accept(event.receipt)
    until([left, right], lambda: len(left.of(BundleSent)) == n)
    assert left.transport.window(2) == n


def test_a_paused_neighbour_is_not_read(pair: tuple[End, End]) -> None:
    left, right = pair
    right.transport.pause(1, True)
    right.turn()
    left.transport.send(2, 0, (bytes(100_000),))
    for _ in range(40):
        left.turn()
        right.turn()
    assert right.of(BundleArrived) == []
    right.transport.pause(1, False)
    until([left, right], lambda: left.of(BundleSent))


def test_a_peer_that_goes_fails_what_was_under_way_and_is_found_again(
    tmp_path: Path, pair: tuple[End, End]
) -> None:
    left, right = pair
    right.accept = False
    left.transport.send(2, "lost", (b"x",))
    until([left, right], lambda: right.of(BundleArrived))
    port = right.transport.listening[1]  # type: ignore[attr-defined]
    tls = right.transport.settings.tls is TlsPolicy.REQUIRE  # type: ignore[attr-defined]
    right.close()
    until([left], lambda: left.of(PeerDown))
    assert left.of(BundleFailed) == [BundleFailed("lost", False)]
    assert left.transport.statistics()[0].state is LinkState.UNAVAILABLE
    again = End((tcpcl_tls if tls else tcpcl)(2, port, tmp_path))
    try:
        until([left, again], lambda: len(left.of(PeerUp)) == 2)
        left.transport.send(2, "found", (b"y",))
        until([left, again], lambda: left.of(BundleSent))
    finally:
        again.close()
        right.transport = TcpclTransport(TcpclSettings(node_id="ipn:2.0"))
        right.selector = selectors.DefaultSelector()


def test_a_certificate_of_another_node_ends_the_session(tmp_path: Path) -> None:
    port = free_base_port()
    server = TcpclTransport(
        TcpclSettings(node_id="ipn:2.0", tls=TlsPolicy.REQUIRE),
        listen=("127.0.0.1", port),
        tls_server=context(tmp_path, "ipn:2.0", server=True),
    )
    client = TcpclTransport(
        TcpclSettings(node_id="ipn:1.0", tls=TlsPolicy.REQUIRE),
        connect=[("127.0.0.1", port)],
        tls_client=context(tmp_path, "ipn:66.0", server=False),
    )
    ends = [End(server), End(client)]
    until(ends, lambda: ends[1].transport.statistics()[0].reconnects)
    for _ in range(20):
        for end in ends:
            end.turn()
    assert not ends[0].of(PeerUp)
    for end in ends:
        end.close()


def test_names_in_certificates_are_read_back(tmp_path: Path) -> None:
    certificate, _, _ = certified(tmp_path, "ipn:977000.5.0")
    der = x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(
        serialization.Encoding.DER
    )
    assert node_ids(der) == {eid("ipn:977000.5.0")}


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"cannot listen at 127.0.0.1:{port}"):
            End(tcpcl(2, port, tmp_path))


def both_ways(number: int, port: int) -> End:
    return End(
        TcpclTransport(
            TcpclSettings(node_id=f"ipn:{number}.0"),
            listen=("127.0.0.1", port + number),
            connect=[("127.0.0.1", port + 3 - number)],
        )
    )


def test_two_nodes_that_connect_to_each_other_keep_one_session(tmp_path: Path) -> None:
    port = free_base_port()
    ends = [both_ways(1, port), both_ways(2, port)]
    until(ends, lambda: all(end.of(PeerUp) for end in ends))
    # Long enough for the other's connection, and for a second attempt if there were one.
    ended = time.monotonic() + 1.6
    until(ends, lambda: time.monotonic() > ended)
    ups = [len(end.of(PeerUp)) for end in ends]
    assert max(ups) <= 2
    for n, end in enumerate(ends):
        end.transport.send(2 - n, "x", (b"x",))
        assert [s.state for s in end.transport.statistics()] == [LinkState.OK]
    until(ends, lambda: all(end.of(BundleSent) for end in ends))
    # Whichever goes, the other finds it again.
    ends[0].close()
    until(ends[1:], lambda: ends[1].of(PeerDown))
    ends[0] = both_ways(1, port)
    until(ends, lambda: ends[0].of(PeerUp) and len(ends[1].of(PeerUp)) > ups[1])
    for end in ends:
        end.close()


def test_what_a_peer_left_that_has_gone_is_offered_again(tmp_path: Path) -> None:
    port = free_base_port()
    end = End(StreamTransport(Framing.STCP, listen=("127.0.0.1", port)), accept=False)
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(framed(Framing.STCP, 3) + b"abc")
    until([end], lambda: end.of(BundleArrived) and not end.selector.select(0))
    for _ in range(5):
        end.turn()
    end.transport.refuse(end.of(BundleArrived)[0].receipt)
    until([end], lambda: len(end.of(BundleArrived)) == 2)
    assert end.of(BundleArrived)[1].octets == b"abc"
    end.turn()
    end.turn()
    assert end.transport.statistics() == ()
    end.close()


def test_bundles_before_the_damage_of_a_stream_are_taken(tmp_path: Path) -> None:
    port = free_base_port()
    end = End(StreamTransport(Framing.MTCP, listen=("127.0.0.1", port)))
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.sendall(framed(Framing.MTCP, 3) + b"abc" + b"\xff")
        until([end], lambda: end.of(BundleArrived))
        peer.settimeout(5)
        assert peer.recv(1) == b""
    assert end.transport.damaged == 1  # type: ignore[attr-defined]
    end.close()


UNKNOWN = "no-such-host.invalid"


def test_a_name_that_nobody_knows_is_told_and_tried_again(tmp_path: Path) -> None:
    for transport in (
        TcpclTransport(TcpclSettings(node_id="ipn:1.0"), connect=[(UNKNOWN, 4556)]),
        StreamTransport(Framing.STCP, connect={2: (UNKNOWN, 4556)}),
    ):
        end = End(transport)
        end.turn()
        (statistics,) = transport.statistics()
        assert statistics.state is LinkState.UNAVAILABLE
        assert UNKNOWN in statistics.detail
        assert (transport.wait_s() or 0) > 0.5
        end.close()
    with pytest.raises(LocalError, match=UNKNOWN):
        End(UdpTransport(("127.0.0.1", 0), {2: (UNKNOWN, 4556)}))


def test_datagrams_that_the_kernel_does_not_take_are_lost_and_nothing_else(
    tmp_path: Path,
) -> None:
    # Without leave to broadcast it refuses them, with another error than "nobody listens".
    nowhere = ("127.255.255.255", 9)
    end = End(UdpTransport(("127.0.0.1", 0), {2: nowhere}))
    end.transport.send(2, "x", (b"x",))
    end.turn()
    assert end.of(BundleFailed) == [BundleFailed("x", False)]
    assert end.transport.window(2) == 0
    end.close()
    for left, right in connected(ltp, tmp_path):
        # As if the interface went: LTP's timers send again.
        sock = left.transport._sock  # type: ignore[attr-defined]
        there = sock.getpeername()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.connect(nowhere)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 0)
        left.transport.send(2, "y", (b"y",))
        left.turn()
        sock.connect(there)
        until([left, right], lambda left=left: left.of(BundleSent))


def test_a_damaged_tls_record_ends_the_session_alone(tmp_path: Path) -> None:
    for left, right in connected(tcpcl_tls, tmp_path):
        right.accept = False
        left.transport.send(2, "x", (b"x",))
        until([left, right], lambda right=right: right.of(BundleArrived))
        (connection,) = left.transport._connections  # type: ignore[attr-defined]
        connection.sock.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
        # An acknowledgement waits while the damage is read.
        right.transport.accept(right.of(BundleArrived)[0].receipt)
        until([left, right], lambda right=right: right.of(PeerDown))
        until([left, right], lambda left=left: len(left.of(PeerUp)) == 2)
