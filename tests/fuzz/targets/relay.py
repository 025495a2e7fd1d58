"""What comes from other nodes and engines: bundles, their layers, LTP, CFDP, contact plans."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

from protocols.dtn.bpsec import SecurityBlock, check_operations
from protocols.dtn.bpsec_contexts import Keys, accept_confidentiality, accept_integrity
from protocols.dtn.bundle import BlockType, Bundle, Primary, parse_bundle, payload_block
from protocols.dtn.bundle_extensions import BUNDLE_AGE, HOP_COUNT, PREVIOUS_NODE
from protocols.dtn.bundle_fragments import Reassembly
from protocols.dtn.bundle_reports import StatusReport
from protocols.dtn.cbor import ANY, UINT
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.contact_plan_formats import build_hdtn, build_ion, read_hdtn, read_ion
from protocols.dtn.eid import eid, ipn
from protocols.dtn.ltp_blocks import split_block
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import LtpParameters
from protocols.dtn.ltp_segments import build_segment, parse_segment
from protocols.dtn.node import Node
from protocols.dtn.node_settings import MemoryStore, NodeSettings
from protocols.dtn.routing import Router
from protocols.dtn.simple_layers import Framing, StreamFramer, framed
from protocols.dtn.space_frames import FrameReceiver, FrameSender
from protocols.dtn.tcpcl import Arrived, Established, State, TcpclSession, TcpclSettings
from protocols.dtn.tcpcl_messages import read_extensions
from protocols.errors import LocalError, RemoteError
from protocols.files import records
from protocols.files.entity import FileEntity, new_peer
from protocols.files.pdus import parse_pdu
from protocols.files.proxy import read as read_proxy
from protocols.packets.encapsulation import EncapsulationPacket, build_packet
from tests import strategies
from tests.fuzz.target import Target, examples, joined, parts, pieces, streamed

CAPTURES: Final = Path(__file__).resolve().parents[2] / "captures"
S: Final = 1_000_000_000
T0: Final = 2_000_000_000 * S
KEYS: Final = Keys(bytes(range(16)), bytes(range(16)))


@cache
def bundles() -> list[bytes]:
    """Of ION, pyD3TN, the RFCs; and our own."""
    entries = tomllib.loads((CAPTURES / "bundles.toml").read_text())["bundle"]
    recorded = [bytes.fromhex(one["octets"]) for one in entries]
    return recorded + [one.build() for one in examples(strategies.bundles(40), 12)]


def bundle(octets: bytes) -> None:
    """With and without its checksums; what is read is built and read again as the same."""
    for check in (False, True):
        found = parse_bundle(octets, check_crc=check)
        again = parse_bundle(found.build(), check_crc=False)
        assert again.primary == found.primary
        assert bytes(again.payload) == bytes(found.payload)
        for extension in (PREVIOUS_NODE, BUNDLE_AGE, HOP_COUNT):
            extension.find(found)


@cache
def plan() -> ContactPlan:
    pairs = [(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b]
    contacts = [Contact(T0, T0 + 86_400 * S, a, b, 80_000) for a, b in pairs]
    ranges = [Range(T0, T0 + 86_400 * S, a, b, S) for a, b in pairs if a < b]
    return ContactPlan(tuple(contacts), tuple(ranges))


def node(octets: bytes) -> None:
    """Bundles from neighbours, whatever they are; then everything is sent on, or not."""
    settings = NodeSettings(node=ipn(2, 0), quota_octets=1 << 20, quota_bundles=50)
    here = Node(settings, Router(2, plan()), MemoryStore(), T0)
    here.register(ipn(2, 1))
    here.link(1, True, T0)
    for count, one in enumerate(parts(octets, 8)):
        here.offer(T0 + count * S, one, count % 3)
    now_ns = T0 + 20 * S
    for _ in range(20):
        copy = here.take(1, now_ns)
        if copy is None:
            break
        b"".join(here.outgoing(copy, now_ns))
        here.sent(copy, now_ns)
    for ref in list(here.deliveries(ipn(2, 1), 10)):
        here.delivered(ref.ref, now_ns)
    here.turn(now_ns + 90_000 * S)
    here.listing()


def security(octets: bytes) -> None:
    found = parse_bundle(octets, check_crc=False)
    check_operations(found)
    for block in found.blocks:
        if block.type == BlockType.INTEGRITY:
            accept_integrity(found, block.number, KEYS)
        elif block.type == BlockType.CONFIDENTIALITY:
            accept_confidentiality(found, block.number, KEYS)


def fragments(octets: bytes) -> None:
    whole = Reassembly(longest=1 << 16)
    for one in parts(octets, 6):
        whole.push(parse_bundle(one, check_crc=False))


def fragment_seeds() -> list[bytes]:
    from protocols.dtn.bundle_fragments import fragment

    source = Bundle(
        Primary(0, 2, eid("ipn:2.1"), eid("ipn:1.1"), eid("ipn:1.0"), (800_000_000_000, 1), 10**7),  # type: ignore[arg-type]
        (payload_block(bytes(range(200))),),
    )
    one, two = fragment(source, 80)
    return [joined([one.build(), two.build()]), joined([two.build(), one.build(), two.build()])]


# Convergence layers ------------------------------------------------------------------------------


def tcpcl(*, active: bool) -> Callable[[bytes], None]:
    """A session with a peer that says anything, in any pieces: it may end, no more than that."""

    def run(octets: bytes) -> None:
        settings = TcpclSettings(node_id="ipn:2.0", transfer_mru=1 << 20)
        session = TcpclSession(settings, active=active)
        session.connected(0)
        now_ns = 0
        for piece in pieces(octets):
            now_ns += S
            for event in session.receive(now_ns, piece):
                if isinstance(event, Arrived):
                    session.accept(event.transfer)
                elif isinstance(event, Established) and session.window:
                    session.send(now_ns, [b"a bundle"])
            session.settle()
            deadline_ns = session.next_deadline_ns
            if deadline_ns is not None and deadline_ns <= now_ns:
                session.timeout(now_ns)
            assert sum(map(len, session.take_output())) <= 1 << 16
        session.terminate(now_ns)
        session.lost("the end")
        assert session.state is State.CLOSED

    return run


def conversation(*, active: bool) -> bytes:
    """What the other side says in a session with two transfers that ends well."""
    ours = TcpclSession(TcpclSettings(node_id="ipn:2.0"), active=active)
    theirs = TcpclSession(TcpclSettings(node_id="ipn:1.0", segment_octets=50), active=not active)
    heard = b""
    ours.connected(0)
    theirs.connected(0)
    sent = False
    for _ in range(12):
        theirs.receive(0, b"".join(ours.take_output()))
        if theirs.state is State.ESTABLISHED and not sent:
            theirs.send(0, [b"first bundle" * 8])
            theirs.send(0, [b"second bundle"])
            sent = True
        octets = b"".join(theirs.take_output())
        heard += octets
        for event in ours.receive(0, octets):
            if isinstance(event, Arrived):
                ours.accept(event.transfer)
    theirs.terminate(0)
    return heard + b"".join(theirs.take_output())


def stream(framing: Framing) -> Callable[[bytes], None]:
    def run(octets: bytes) -> None:
        cut, whole = StreamFramer(framing, 1 << 16), StreamFramer(framing, 1 << 16)
        found: list[bytes] = []
        try:
            for piece in pieces(octets):
                found += cut.push(piece)
        except RemoteError:
            pass
        try:
            assert found[:1] == whole.push(octets[2:])[:1]
        except RemoteError:
            assert not found

    return run


# LTP ---------------------------------------------------------------------------------------------

PARAMETERS: Final = LtpParameters(one_way_light_time_s=10.0, margin_s=2.0, segment_size=96)


def segment(octets: bytes) -> None:
    found = parse_segment(octets)
    assert parse_segment(build_segment(found)) == found


def ltp_engine(octets: bytes) -> None:
    """An engine that sends and receives hears whatever segments; then time passes."""
    engine = LtpEngine(2, 1, PARAMETERS, entropy=b"fuzz")
    engine.send(bytes(200), red_length=150, client_service=1)
    now_ns = 0
    for one in parts(octets, 20):
        now_ns += S
        engine.take(now_ns)
        engine.receive(now_ns, one)
        engine.notices()
    for _ in range(40):
        deadline_ns = engine.next_deadline_ns
        if deadline_ns is None:
            break
        now_ns = max(now_ns, deadline_ns)
        engine.timeout(now_ns)
        engine.take(now_ns)
        engine.notices()
    assert engine.statistics().receive_buffer <= PARAMETERS.receive_buffer


def ltp_exchange() -> list[bytes]:
    """What engine 1 says to engine 2: a block that loses a segment, and answers to ours."""
    one = LtpEngine(1, 2, PARAMETERS, entropy=b"one")
    two = LtpEngine(2, 1, PARAMETERS, entropy=b"fuzz")
    two.send(bytes(200), red_length=150, client_service=1)
    one.send(bytes(range(250)), red_length=250, client_service=1)
    said: list[bytes] = []
    for turn in range(8):
        now_ns = turn * 12 * S
        for number, octets in enumerate(two.take(now_ns)):
            if (turn, number) != (0, 1):
                one.receive(now_ns, octets)
        for number, octets in enumerate(one.take(now_ns)):
            said.append(octets)
            if (turn, number) != (0, 1):
                two.receive(now_ns, octets)
    return said


def ltp_link(octets: bytes) -> None:
    link = LtpLink(LtpEngine(2, 1, PARAMETERS, entropy=b"fuzz"), 1_000_000)
    for count, one in enumerate(parts(octets, 20)):
        link.receive(count * S, one)
        link.take(count * S)
    link.bundles()
    link.outcomes()


def carrier(octets: bytes) -> None:
    receiver = FrameReceiver()
    for piece in pieces(octets):
        receiver.receive(piece)


def carrier_seeds() -> list[bytes]:
    sender = FrameSender()
    made = [build_packet(EncapsulationPacket(1, one)) for one in ltp_exchange()]
    return [streamed(sender.send(made), (255, 255))]


# Files -------------------------------------------------------------------------------------------


def file_entity(number: int) -> FileEntity:
    store = records.MemoryStore(Path)
    store.files["sent.bin"] = bytes(range(256)) * 3
    peer = new_peer(30 - number, owlt_ns=10 * S, longest_pdu=300)
    return FileEntity(number, [peer], store, 0)


def cfdp(octets: bytes) -> None:
    """The ground's entity, with a file under way, hears whatever PDUs; then days pass."""
    entity = file_entity(10)
    entity.put(0, "sent.bin", "there.bin", peer=20)
    now_ns = 0
    for one in parts(octets, 20):
        now_ns += S
        entity.take(now_ns, 2_000)
        entity.hear(now_ns, [one])
        entity.notices()
    for _ in range(30):
        deadline_ns = entity.next_deadline_ns
        if deadline_ns is None:
            break
        now_ns = max(now_ns, deadline_ns)
        entity.timeout(now_ns)
        entity.take(now_ns, 2_000)
        entity.notices()
    entity.records()


@cache
def cfdp_exchange() -> list[bytes]:
    """What the spacecraft's entity says while a file goes up and one comes down by proxy."""
    ground, space = file_entity(10), file_entity(20)
    ground.put(0, "sent.bin", "there.bin", peer=20)
    ground.get(0, "sent.bin", "here.bin", peer=20)
    said: list[bytes] = []
    for turn in range(12):
        now_ns = turn * 10 * S
        up = ground.take(now_ns, 5_000)
        space.hear(now_ns, up[:1] + up[2:] if turn == 0 else up)
        down = space.take(now_ns, 5_000)
        said += down
        ground.hear(now_ns, down)
    return said


# Texts -------------------------------------------------------------------------------------------


def plans(build: Callable[[ContactPlan], str | bytes]) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        made = [build(one) for one in [plan(), *examples(strategies.contact_plans(3, 2), 5)]]
        return [one.encode() if isinstance(one, str) else one for one in made]

    return seeds


def ion_plan(octets: bytes) -> None:
    read_ion(octets.decode("utf-8", "replace"), reference_ns=T0)


def endpoint(octets: bytes) -> None:
    found = eid(octets.decode("utf-8", "replace"))
    assert eid(str(found)) == found


TARGETS: Final = [
    Target("cbor", "protocols.dtn.cbor", lambda octets: (ANY.parse(octets), UINT.read(octets, 0)),
           lambda: [bytes.fromhex("00"), bytes.fromhex("1903e8")]),
    Target("bundle", "protocols.dtn.bundle.parse_bundle", bundle, bundles),
    Target("bundle-node", "protocols.dtn.node.Node.offer", node,
           lambda: [joined([one]) for one in bundles()] + [joined(bundles()[:5])], short=60),
    Target("bpsec", "protocols.dtn.bpsec, bpsec_contexts", security, bundles,
           refuses=(RemoteError, LocalError)),
    Target("bpsec-block", "protocols.dtn.bpsec.SecurityBlock.parse", SecurityBlock.parse,
           lambda: [bytes(block.data) for one in bundles()
                    for block in parse_bundle(one, check_crc=False).blocks
                    if block.type in (BlockType.INTEGRITY, BlockType.CONFIDENTIALITY)
                    and len(block.data) > 30]),
    Target("bundle-fragments", "protocols.dtn.bundle_fragments.Reassembly", fragments,
           fragment_seeds),
    Target("status-report", "protocols.dtn.bundle_reports.StatusReport.parse", StatusReport.parse,
           lambda: [one.build() for one in examples(strategies.status_reports(), 10)]),
    Target("endpoint", "protocols.dtn.eid.eid", endpoint,
           lambda: [b"ipn:2.1", b"dtn://node/app", b"dtn:none", b"ipn:1.2.3"],
           refuses=(LocalError, RemoteError)),
    Target("tcpcl-passive", "protocols.dtn.tcpcl.TcpclSession", tcpcl(active=False),
           lambda: [streamed(conversation(active=False)),
                    streamed(conversation(active=False), (0, 4))], short=60),
    Target("tcpcl-active", "protocols.dtn.tcpcl.TcpclSession", tcpcl(active=True),
           lambda: [streamed(conversation(active=True))], short=60),
    Target("tcpcl-extensions", "protocols.dtn.tcpcl_messages.read_extensions", read_extensions,
           lambda: [bytes.fromhex("0100010008000000000000000a")]),
    Target("stcp", "protocols.dtn.simple_layers.StreamFramer", stream(Framing.STCP),
           lambda: [streamed(framed(Framing.STCP, 5) + b"hello" + bytes(4) +
                             framed(Framing.STCP, 300) + bytes(300))]),
    Target("mtcp", "protocols.dtn.simple_layers.StreamFramer", stream(Framing.MTCP),
           lambda: [streamed(framed(Framing.MTCP, 5) + b"hello" +
                             framed(Framing.MTCP, 300) + bytes(300))]),
    Target("ltp-segment", "protocols.dtn.ltp_segments.parse_segment", segment,
           lambda: [build_segment(one) for one in examples(strategies.ltp_segments(40), 20)]),
    Target("ltp-engine", "protocols.dtn.ltp_engine.LtpEngine", ltp_engine,
           lambda: [joined(ltp_exchange())] + [joined([one]) for one in ltp_exchange()],
           short=60),
    Target("ltp-block", "protocols.dtn.ltp_blocks.split_block",
           lambda octets: split_block(1 + octets[:1].count(4) * 3, octets),
           lambda: [b"".join(bundles()[:3]), b"\x04\x01" + bundles()[0]]),
    Target("ltp-link", "protocols.dtn.ltp_link.LtpLink", ltp_link,
           lambda: [joined([build_packet(EncapsulationPacket(1, one)) for one in ltp_exchange()])],
           short=60),
    Target("relay-frames", "protocols.dtn.space_frames.FrameReceiver", carrier, carrier_seeds,
           longest=8192, short=20),
    Target("cfdp-pdu", "protocols.files.pdus.parse_pdu", parse_pdu, cfdp_exchange),
    Target("cfdp-entity", "protocols.files.entity.FileEntity.hear", cfdp,
           lambda: [joined(cfdp_exchange()[:18])] + [joined([one]) for one in cfdp_exchange()],
           short=40),
    Target("cfdp-proxy", "protocols.files.proxy.read", lambda octets: read_proxy(parts(octets)),
           lambda: [joined([b"cfdp\x00\x01\x14\x04name\x04name"]),
                    joined([b"cfdp\x0b", b"cfdp\x07\x00"])]),
    Target("ion-plan", "protocols.dtn.contact_plan_formats.read_ion", ion_plan, plans(build_ion),
           tokens=(b"a contact ", b"a range ", b"+0 ", b"@ ", b"2027/01/01-00:00:00", b"-1",
                   b"1e999", b"d contact ", b"* ")),
    Target("hdtn-plan", "protocols.dtn.contact_plan_formats.read_hdtn", read_hdtn,
           plans(build_hdtn),
           tokens=(b"1e400", b"NaN", b"Infinity", b"9" * 400, b"[" * 60, b"null", b"-1", b"{}")),
]  # fmt: skip
