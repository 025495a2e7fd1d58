"""TCPCL sessions against each other: whole lives, every chunking, what breaks the protocol."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dtn.tcpcl import (
    STATES,
    TRANSFER_MRU,
    Arrived,
    Closed,
    Established,
    Event,
    Failed,
    Sent,
    SessionEvent,
    StartTls,
    State,
    TcpclSession,
    TcpclSettings,
    TlsPolicy,
)
from protocols.dtn.tcpcl_messages import (
    ACK,
    MESSAGES,
    SEGMENT_HEAD,
    XFER_ACK,
    XFER_SEGMENT,
    MessageType,
    RefuseReason,
    RejectReason,
    contact_header,
    message,
    segment_head,
)
from protocols.errors import LocalError

S = 1_000_000_000


class Pair:
    """Two sessions and the octets between them, in pieces of `chunk` octets."""

    def __init__(self, chunk: int = 1 << 20, **different: object) -> None:
        self.chunk = chunk
        self.now_ns = 0
        self.sides = (
            TcpclSession(settings_of("ipn:1.0", **different), active=True),
            TcpclSession(settings_of("ipn:2.0", **different), active=False),
        )
        self.events: tuple[list[SessionEvent], list[SessionEvent]] = ([], [])
        for side in self.sides:
            side.connected(0)

    def run(self, accept: bool = True) -> None:
        """Carry octets until both have nothing to say."""
        while any(self.carry(i, accept) for i in (0, 1)):
            pass

    def carry(self, i: int, accept: bool = True) -> bool:
        octets = b"".join(self.sides[i].take_output())
        there = self.sides[1 - i]
        for at in range(0, len(octets), self.chunk):
            events = there.receive(self.now_ns, octets[at : at + self.chunk])
            self.events[1 - i].extend(events)
            for event in events:
                if accept and isinstance(event, Arrived):
                    there.accept(event.transfer)
        self.events[1 - i].extend(there.settle())
        return bool(octets)

    def of(self, i: int, kind: type) -> list:
        return [event for event in self.events[i] if isinstance(event, kind)]


def settings_of(node: str, **different: object) -> TcpclSettings:
    return TcpclSettings(node_id=node, **different)  # type: ignore[arg-type]


def established(**different: object) -> Pair:
    pair = Pair(**different)  # type: ignore[arg-type]
    pair.run()
    return pair


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1 << 20])
def test_bundles_both_ways_whatever_the_pieces(chunk: int) -> None:
    pair = established(chunk=chunk, segment_octets=1_000)
    assert pair.of(0, Established) == [Established("ipn:2.0")]
    assert pair.of(1, Established) == [Established("ipn:1.0")]
    rng = random.Random(chunk)
    wanted = [rng.randbytes(size) for size in (0, 1, 999, 1_000, 1_001, 5_000)]
    for i in (0, 1):
        for octets in wanted:
            pair.sides[i].send(0, (octets[:10], octets[10:]))
    pair.run()
    for i in (0, 1):
        assert [event.octets for event in pair.of(i, Arrived)] == wanted
        assert [event.transfer for event in pair.of(i, Sent)] == list(range(len(wanted)))


def test_nothing_is_acknowledged_before_it_is_accepted() -> None:
    pair = established(segment_octets=100)
    transfer = pair.sides[0].send(0, (bytes(250),))
    pair.run(accept=False)
    assert len(pair.of(1, Arrived)) == 1
    assert pair.of(0, Sent) == []
    pair.sides[1].accept(pair.of(1, Arrived)[0].transfer)
    pair.run()
    assert pair.of(0, Sent) == [Sent(transfer)]


def test_a_refusal_says_why_and_the_session_goes_on() -> None:
    pair = established()
    first = pair.sides[0].send(0, (b"no",))
    pair.run(accept=False)
    pair.sides[1].refuse(pair.of(1, Arrived)[0].transfer)
    pair.run()
    assert pair.of(0, Failed) == [Failed(first, RefuseReason.NO_RESOURCES)]
    second = pair.sides[0].send(0, (b"yes",))
    pair.run()
    assert pair.of(0, Sent) == [Sent(second)]


def test_what_is_too_large_is_not_begun_or_refused_where_it_begins() -> None:
    pair = established(transfer_mru=1_000)
    assert pair.sides[0].send(0, (bytes(1_001),)) is None
    session = pair.sides[1]
    head = segment_head(0, 10, start=True, end=False, total=5_000)
    assert session.receive(0, head + bytes(10)) == []
    refusal = message(MessageType.XFER_REFUSE, reason=RefuseReason.NOT_ACCEPTABLE, transfer_id=0)
    assert session.take_output() == [refusal]
    # The rest of it is passed over, and the next one is taken.
    rest = SEGMENT_HEAD.pack(1, 1, 0, 4) + bytes(4)
    following = segment_head(1, 2, start=True, end=True, total=2) + b"ok"
    assert session.receive(0, rest + following) == [Arrived(1, b"ok")]
    # A peer that heard it may leave the rest out.
    assert session.receive(0, segment_head(2, 10, start=True, end=False, total=5_000)) == []
    following = segment_head(3, 2, start=True, end=True, total=2) + b"ok"
    assert session.receive(0, bytes(10) + following) == [Arrived(3, b"ok")]


def test_a_transfer_refused_for_the_end_does_not_hold_it_up() -> None:
    left, right = established().sides
    right.terminate(0)
    # Begun before the peer read that the session ends; the rest never comes.
    right.receive(0, segment_head(0, 5, start=True, end=False, total=10) + bytes(5))
    left.receive(0, b"".join(right.take_output()))
    (closed,) = right.receive(0, b"".join(left.take_output()))
    assert closed == Closed("ended in good order")


def test_window_bounds_what_is_under_way() -> None:
    pair = established(window=3)
    for _ in range(3):
        pair.sides[0].send(0, (b"x",))
    assert pair.sides[0].window == 0
    with pytest.raises(LocalError, match="3 under way"):
        pair.sides[0].send(0, (b"x",))
    pair.run()
    assert pair.sides[0].window == 3


def test_an_end_in_good_order_lets_transfers_finish() -> None:
    pair = established()
    transfer = pair.sides[0].send(0, (b"last words",))
    pair.sides[0].terminate(0)
    pair.run()
    assert pair.of(0, Sent) == [Sent(transfer)]
    for i in (0, 1):
        assert pair.of(i, Closed) == [Closed("ended in good order")]
        assert pair.sides[i].state is State.CLOSED


def test_a_lost_connection_fails_what_was_under_way() -> None:
    pair = established()
    transfer = pair.sides[0].send(0, (b"x",))
    assert pair.sides[0].lost("cable") == [Failed(transfer, None), Closed("cable")]
    assert pair.sides[0].lost("again") == []
    # What the owner still says of it goes nowhere.
    pair.sides[0].accept(0)
    assert pair.sides[0].next_deadline_ns is None


def test_keepalives_go_both_ways_and_silence_ends_it() -> None:
    pair = established(keepalive_s=10)
    left, right = pair.sides
    for t in range(0, 100, 5):
        pair.now_ns = t * S
        for i in (0, 1):
            side = pair.sides[i]
            if (side.next_deadline_ns or 0) <= pair.now_ns:
                pair.events[i].extend(side.timeout(pair.now_ns))
        pair.run()
    assert not pair.of(0, Closed)
    (closed,) = [e for e in left.timeout(200 * S) if isinstance(e, Closed)]
    assert "silent" in closed.why
    assert right.state is State.ESTABLISHED


def test_a_peer_that_says_nothing_is_given_up() -> None:
    session = TcpclSession(settings_of("ipn:1.0", patience_s=5.0), active=True)
    session.connected(0)
    assert session.next_deadline_ns == 5 * S
    assert session.timeout(5 * S) == [Closed("no answer while contact header awaited")]


@pytest.mark.parametrize(
    ("ours", "theirs", "outcome"),
    [
        (TlsPolicy.ALLOW, TlsPolicy.ALLOW, "tls"),
        (TlsPolicy.REQUIRE, TlsPolicy.ALLOW, "tls"),
        (TlsPolicy.ALLOW, TlsPolicy.REFUSE, "clear"),
        (TlsPolicy.REFUSE, TlsPolicy.REFUSE, "clear"),
        (TlsPolicy.REQUIRE, TlsPolicy.REFUSE, "closed"),
    ],
)
def test_tls_is_used_if_both_can(ours: TlsPolicy, theirs: TlsPolicy, outcome: str) -> None:
    pair = Pair()
    pair.sides = (
        TcpclSession(settings_of("ipn:1.0", tls=ours), active=True),
        TcpclSession(settings_of("ipn:2.0", tls=theirs), active=False),
    )
    for side in pair.sides:
        side.connected(0)
    pair.run()
    if outcome == "tls":
        assert pair.events == ([StartTls(True)], [StartTls(False)])
        for side in pair.sides:
            side.secured(0)
        pair.run()
        assert pair.of(0, Established)
        assert pair.sides[0].secure
    elif outcome == "clear":
        assert pair.of(1, Established)
    else:
        assert "TLS" in pair.of(0, Closed)[0].why


BROKEN: list[tuple[bytes, str]] = [
    (b"GET / HTTP/1.1\r\n", "no TCPCL"),
    (b"dtn!\x03\x00", "version 3"),
    (contact_header(can_tls=False) + b"\x63", "unknown type 0x63"),
    (contact_header(can_tls=False) + message(MessageType.KEEPALIVE), "before the session"),
    (
        contact_header(can_tls=False)
        + message(
            MessageType.SESS_INIT,
            keepalive_s=0,
            segment_mru=0,
            transfer_mru=1,
            node_id=b"ipn:1.0",
            extensions=b"",
        ),
        "segment MRU 0",
    ),
    (
        contact_header(can_tls=False)
        + message(
            MessageType.SESS_INIT,
            keepalive_s=0,
            segment_mru=9,
            transfer_mru=9,
            node_id=b"ipn:1.0",
            extensions=bytes.fromhex("01abcd0000"),
        ),
        "critical session extension 0xabcd",
    ),
    (contact_header(can_tls=False) + b"\x07" + bytes(18) + b"\xff\xff", "SESS_INIT of 655"),
]


@pytest.mark.parametrize(("octets", "words"), BROKEN)
def test_what_breaks_the_protocol_ends_the_session(octets: bytes, words: str) -> None:
    session = TcpclSession(settings_of("ipn:2.0"), active=False)
    session.connected(0)
    (closed,) = session.receive(0, octets + bytes(8))
    assert isinstance(closed, Closed)
    assert words in closed.why
    assert session.receive(0, b"more") == []


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (SEGMENT_HEAD.pack(1, 0, 9, 1) + b"x", "has not begun"),
        (
            segment_head(0, 1, start=True, end=False, total=2)
            + b"x"
            + segment_head(1, 1, start=True, end=True, total=1),
            "begins within",
        ),
        (segment_head(0, 1 << 40, start=True, end=True, total=1 << 40), "at most"),
        (message(MessageType.MSG_REJECT, reason=1, header=1), "rejects message 0x01"),
    ],
)
def test_what_breaks_a_transfer_ends_the_session(octets: bytes, words: str) -> None:
    session = established().sides[1]
    closed = session.receive(0, octets)[-1]
    assert isinstance(closed, Closed)
    assert words in closed.why


def test_acknowledgements_of_nothing_are_rejected_and_too_much_ends_it() -> None:
    pair = established()
    session = pair.sides[0]
    assert session.receive(0, ACK.pack(2, 3, 77, 1)) == []
    assert session.take_output() == [
        message(MessageType.MSG_REJECT, reason=RejectReason.UNEXPECTED, header=2)
    ]
    session.send(0, (b"ab",))
    *_, closed = session.receive(0, ACK.pack(2, 3, 0, 3))
    assert "3 octets of transfer 0 acknowledged, 2 sent" in closed.why


def test_the_structs_of_the_hot_path_are_the_declaration() -> None:
    for start in (True, False):
        head = segment_head(7, 20, start=start, end=True, total=20)
        fields = XFER_SEGMENT.parse(head[1:])
        assert (head[0], fields.transfer_id, fields.length) == (1, 7, 20)
        assert fields.flags == (3 if start else 1)
        if start:
            assert fields.extensions == bytes.fromhex("0000010008") + (20).to_bytes(8, "big")
        assert XFER_SEGMENT.build(fields) == head[1:]
    assert XFER_ACK.parse(ACK.pack(2, 1, 7, 20)[1:]).acknowledged == 20


def test_every_state_knows_how_it_ends() -> None:
    assert set(STATES) == set(State)
    assert {event for row in STATES.values() for event in row} == set(Event)
    assert all(Event.LOST in row for state, row in STATES.items() if state is not State.CLOSED)
    assert set(MESSAGES) == set(MessageType)
    # HDTN ends a session that offers more than it can count.
    assert TRANSFER_MRU < 2**63


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=200), st.booleans())
def test_any_octets_end_a_session_at_the_worst(octets: bytes, begun: bool) -> None:
    if begun:
        session = established().sides[1]
    else:
        session = TcpclSession(settings_of("ipn:2.0"), active=False)
        session.connected(0)
    events = session.receive(0, octets)
    assert all(isinstance(e, Arrived | Closed | Established | Failed) for e in events)
    assert len(session.take_input()) <= 1 << 17


def damaged(seed: int) -> Callable[[bytes], bytes]:
    rng = random.Random(seed)

    def damage(octets: bytes) -> bytes:
        changed = bytearray(octets)
        for _ in range(rng.randrange(1, 4)):
            changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        return bytes(changed)

    return damage


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_stream_never_raises(seed: int) -> None:
    pair = established(segment_octets=50)
    for n in range(4):
        pair.sides[0].send(0, (bytes(n * 40 + 1),))
    octets = damaged(seed)(b"".join(pair.sides[0].take_output()))
    pair.sides[1].receive(0, octets)
