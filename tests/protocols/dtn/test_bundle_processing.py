"""What RFC 9171 §5 and §6 ask of a node: unknown blocks, forwarding, expiry, fragments, reports."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dtn.bpsec_contexts import Keys, add_integrity
from protocols.dtn.bundle import (
    Block,
    BlockFlags,
    Bundle,
    BundleFlags,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
)
from protocols.dtn.bundle_extensions import BUNDLE_AGE, HOP_COUNT, PREVIOUS_NODE, HopCount
from protocols.dtn.bundle_fragments import Reassembly, fragment
from protocols.dtn.bundle_processing import (
    expiry_ns,
    forwarded,
    hop_limit_exceeded,
    receive,
    violations,
)
from protocols.dtn.bundle_reports import ADMINISTRATIVE_RECORD, Reason, Status, StatusReport
from protocols.dtn.dtn_time import NEVER_NS, dtn_ms_from_tai_ns, tai_ns_from_dtn_ms
from protocols.dtn.eid import NULL_ENDPOINT, eid
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.strategies import bundles, numbers_64, status_reports

NODE = eid("ipn:4.0")
PRIMARY = Primary(
    0,
    CrcType.CRC32C,
    eid("ipn:2.1"),
    eid("ipn:1.1"),
    eid("ipn:1.0"),
    CreationTimestamp(848_689_507_005, 7),
    300_000,
)


def bundle_of(*blocks: Block, payload: bytes = b"L4", **changed: object) -> Bundle:
    return Bundle(replace(PRIMARY, **changed), (*blocks, payload_block(payload)))  # type: ignore[arg-type]


# Bundles that implementations have disagreed on; the captures' README has them too.
UNKNOWN_BLOCK = (
    "9f88070000820282030182028201018202820100821b000000bb0e20b4ea001a000927c0"
    "8508020100410086010100014d48656c6c6f2c20576f726c64214254b3ff"
)
FRAGMENT_WITHOUT_FIELDS = (
    "9f88070f00820282020182028201018202820100821b000000bb0e20b4ea001a000927c0"
    "8507020100410086010100014d48656c6c6f2c20576f726c64214254b3ff"
)
RESERVED_FLAGS = (
    "9f89071844018202820301820100820100821b000000b5998c982b011a000493e042c9f6"
    "8506021000458202820200850704010042183485010118f9004454455354ff"
)
NO_PRIMARY_CRC = (
    "9f88071844008202820301820100820100821b000000b5998c982b011a000493e0"
    "8506021000458202820200850704010042183485010101004454455354ff"
)


def test_an_unknown_block_passes_through() -> None:
    """Type 8 asks for nothing (flags 1: replicate), so it is kept octet for octet."""
    octets = bytes.fromhex(UNKNOWN_BLOCK)
    bundle = parse_bundle(octets)
    assert receive(bundle).bundle.build() == octets
    assert (receive(bundle).report, receive(bundle).delete) == (False, False)
    assert violations(bundle) == ["primary block without CRC, and no BIB has it as target (§4.3.1)"]


def test_a_fragment_needs_its_fields() -> None:
    with pytest.raises(RemoteError):
        parse_bundle(bytes.fromhex(FRAGMENT_WITHOUT_FIELDS))


def test_reserved_flags_are_ignored() -> None:
    bundle = parse_bundle(bytes.fromhex(RESERVED_FLAGS))
    assert violations(bundle) == []
    assert receive(bundle).bundle is bundle
    assert bundle.build().hex() == RESERVED_FLAGS


def test_a_primary_block_without_crc_is_told() -> None:
    bundle = parse_bundle(bytes.fromhex(NO_PRIMARY_CRC))
    assert violations(bundle) == ["primary block without CRC, and no BIB has it as target (§4.3.1)"]
    signed = add_integrity(bundle, [0], Keys(b"key"), NODE)
    assert violations(signed) == []


@pytest.mark.parametrize("flags", range(0x20))
def test_unknown_blocks_by_their_flags(flags: int) -> None:
    bundle = bundle_of(Block(192, 2, flags, 0, b""), HOP_COUNT.block(HopCount(3, 0), 3))
    result = receive(bundle)
    assert result.report == bool(flags & 0x02)
    assert result.delete == bool(flags & 0x04)
    kept = [block.type for block in result.bundle.blocks]
    assert kept == ([10, 1] if flags & 0x10 and not flags & 0x04 else [192, 10, 1])
    known = receive(bundle, {1, 10, 192})
    assert (known.bundle, known.report, known.delete) == (bundle, False, False)


@pytest.mark.parametrize(
    ("bundle", "clause"),
    [
        (bundle_of(flags=0x4002), "4.2.3"),
        (bundle_of(source=NULL_ENDPOINT), "may be fragmented"),
        (bundle_of(source=NULL_ENDPOINT, flags=0x4004), "requests status reports"),
        (bundle_of(Block(192, 2, 2, 0, b""), flags=2), "4.2.4"),
        (bundle_of(source=eid("ipn:!.1")), "9758"),
        (bundle_of(source=eid("dtn://a/~group")), "no node"),
        (bundle_of(flags=1, fragment_offset=9, total_length=10), "fragment at 9"),
        (bundle_of(BUNDLE_AGE.block(1, 2), BUNDLE_AGE.block(2, 3)), "2 blocks of type 7"),
        (bundle_of(Block(7, 2, 0, 0, b"\x20")), "block 2"),
        (bundle_of(Block(10, 2, 0, 0, b"\x82\x00\x00")), "hop limit 0"),
        (bundle_of(Block(10, 2, 0, 0, b"\x82\x19\x01\x00\x00")), "hop limit 256"),
        (bundle_of(Block(6, 2, 0, 0, b"\x01")), "block 2"),
        (bundle_of(Block(11, 2, 0, 0, b"\x80")), "RFC 9172"),
        (bundle_of(creation=CreationTimestamp(0, 1)), "creation time 0"),
    ],
)
def test_violations(bundle: Bundle, clause: str) -> None:
    found = violations(bundle)
    assert len(found) == 1
    assert clause in found[0]


def test_a_bundle_without_fault() -> None:
    blocks = (
        PREVIOUS_NODE.block(NODE, 2),
        BUNDLE_AGE.block(1, 3),
        HOP_COUNT.block(HopCount(9, 1), 4),
    )
    assert violations(bundle_of(*blocks)) == []
    assert violations(bundle_of(BUNDLE_AGE.block(0, 2), creation=CreationTimestamp(0, 1))) == []


def test_forwarding_changes_its_three_blocks_alone() -> None:
    sent = bundle_of(
        Block(192, 7, 0x10, CrcType.X25, b"kept"),
        PREVIOUS_NODE.block(eid("ipn:3.0"), 2, crc_type=CrcType.CRC32C),
        BUNDLE_AGE.block(100, 3, crc_type=CrcType.X25),
        HOP_COUNT.block(HopCount(2, 1), 4),
    )
    received = parse_bundle(sent.build())
    gone = forwarded(received, NODE, 499_000)
    arrived = parse_bundle(b"".join(gone.segments()))
    assert PREVIOUS_NODE.find(arrived) == NODE
    assert BUNDLE_AGE.find(arrived) == 499_100
    assert HOP_COUNT.find(arrived) == (2, 2)
    assert [block.crc_type for block in arrived.blocks] == [2, 1, 1, 0, 2]
    assert arrived.primary == received.primary
    assert arrived.block(7) == received.block(7)
    # The payload is the very memory that was received.
    assert gone.blocks[-1].octets is received.blocks[-1].octets
    assert not hop_limit_exceeded(arrived)
    assert hop_limit_exceeded(forwarded(arrived, NODE, 0))
    assert PREVIOUS_NODE.find(forwarded(arrived, None, 0)) is None
    first = forwarded(bundle_of(HOP_COUNT.block(HopCount(2, 0), 2)), NODE, 5, hop=False)
    assert HOP_COUNT.find(first) == (2, 0)
    assert [block.number for block in first.blocks] == [3, 2, 1]


def test_expiry() -> None:
    created = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")
    timed = bundle_of(creation=CreationTimestamp(dtn_ms_from_tai_ns(created), 0))
    assert expiry_ns(timed, created + 1) == created + 300_000_000_000
    aged = bundle_of(BUNDLE_AGE.block(100_000, 2), creation=CreationTimestamp(0, 0))
    assert expiry_ns(aged, 7) == 7 + 200_000_000_000
    both = bundle_of(BUNDLE_AGE.block(100_000, 2))
    assert expiry_ns(both, 7, clock=False) == 7 + 200_000_000_000
    assert expiry_ns(bundle_of(lifetime_ms=2**64 - 1), 7) == NEVER_NS
    old = bundle_of(BUNDLE_AGE.block(2**64 - 1, 2), creation=CreationTimestamp(0, 0))
    assert expiry_ns(old, 7) < 0


def test_dtn_time_of_the_leap_second_and_of_the_end() -> None:
    before = tai_ns_from_utc_iso("2016-12-31T23:59:59Z")
    after = tai_ns_from_utc_iso("2017-01-01T00:00:00Z")
    assert after - before == 2_000_000_000
    assert dtn_ms_from_tai_ns(after) - dtn_ms_from_tai_ns(before) == 1000
    assert tai_ns_from_dtn_ms(dtn_ms_from_tai_ns(after)) == after
    assert dtn_ms_from_tai_ns(0) == 0
    assert tai_ns_from_dtn_ms(2**64 - 1) == NEVER_NS


@given(bundles(longest_payload=60), st.randoms(use_true_random=False))
def test_fragments_reassemble_in_any_order(bundle: Bundle, rng: random.Random) -> None:
    primary = replace(bundle.primary, flags=bundle.primary.flags & ~BundleFlags.MUST_NOT_FRAGMENT)
    if primary.is_fragment:
        primary = replace(
            primary, flags=primary.flags & ~1, fragment_offset=None, total_length=None
        )
    bundle = Bundle(primary, bundle.blocks)
    if len(bundle.payload) < 2:
        with pytest.raises(LocalError):
            fragment(bundle, 1)
        return
    # Two nodes cut differently, so extents overlap.
    pieces: list[Bundle] = []
    for _ in range(2):
        parts = [bundle]
        for _ in range(rng.randrange(1, 6)):
            whole = parts.pop(rng.randrange(len(parts)))
            if len(whole.payload) > 1:
                parts += fragment(whole, rng.randrange(1, len(whole.payload)))
            else:
                parts.append(whole)
        pieces += [parse_bundle(part.build()) for part in parts if part.primary.is_fragment]
    rng.shuffle(pieces)
    for piece in pieces:
        flagged = {b.number for b in bundle.blocks[:-1] if b.flags & BlockFlags.REPLICATE}
        numbers = {b.number for b in piece.blocks[:-1]}
        assert numbers >= flagged
        if piece.primary.fragment_offset == 0:
            assert numbers == {b.number for b in bundle.blocks[:-1]}
    reassembly = Reassembly()
    done = [whole for piece in pieces if (whole := reassembly.push(piece)) is not None]
    assert done
    assert all(whole == bundle for whole in done)
    assert parse_bundle(done[0].build()) == bundle
    assert reassembly.octets == len(bundle.payload)


def test_reassembly_refuses_what_does_not_fit() -> None:
    def part(offset: int, total: int, payload: bytes = b"12345") -> Bundle:
        return bundle_of(payload=payload, flags=1, fragment_offset=offset, total_length=total)

    reassembly = Reassembly(longest=100)
    with pytest.raises(RemoteError, match="no fragment"):
        reassembly.push(bundle_of())
    with pytest.raises(RemoteError, match="100 at most"):
        reassembly.push(part(0, 2**60))
    with pytest.raises(RemoteError, match="fragment at 6"):
        reassembly.push(part(6, 10))
    assert reassembly.push(part(0, 10)) is None
    with pytest.raises(RemoteError, match="10 before"):
        reassembly.push(part(5, 11))
    assert reassembly.push(part(0, 10)) is None
    whole = reassembly.push(part(5, 10))
    assert whole is not None
    assert whole.payload == b"1234512345"
    with pytest.raises(LocalError, match="must not"):
        fragment(bundle_of(flags=4, payload=b"12"), 1)


@given(status_reports())
def test_status_reports(report: StatusReport) -> None:
    octets = report.build()
    assert StatusReport.parse(octets) == report
    code, content = cbor2.loads(octets)
    assert code == 1
    assert content[1] == report.reason
    assert content[3] == list(report.creation)
    assert [item[0] for item in content[0]] == [status in report.times_ms for status in Status]


@given(st.binary(max_size=60), status_reports(), st.data())
def test_damaged_status_reports(noise: bytes, report: StatusReport, data: st.DataObject) -> None:
    octets = bytearray(report.build())
    octets[data.draw(st.integers(0, len(octets) - 1))] ^= data.draw(st.integers(1, 255))
    for damaged in (noise, bytes(octets), bytes(octets)[: len(octets) // 2]):
        with contextlib.suppress(RemoteError):
            StatusReport.parse(damaged)


def test_a_report_about_a_bundle() -> None:
    bundle = bundle_of(flags=BundleFlags.REPORT_DELETION)
    report = StatusReport.about(bundle, Status.DELETED, Reason.HOP_LIMIT_EXCEEDED, 99)
    assert report.times_ms == {Status.DELETED: None}
    assert cbor2.loads(report.build()) == [
        1,
        [[[False], [False], [False], [True]], 9, [2, [1, 1]], [848_689_507_005, 7]],
    ]
    timed = bundle_of(flags=0x41, fragment_offset=3, total_length=9)
    report = StatusReport.about(timed, Status.RECEIVED, time_ms=99)
    assert (report.fragment_offset, report.fragment_length) == (3, 2)
    assert cbor2.loads(report.build())[1][0][0] == [True, 99]
    assert [status.flag for status in Status] == [0x4000, 0x10000, 0x20000, 0x40000]


def test_reports_with_more_assertions_are_read() -> None:
    """§6.1.1: at least four."""
    content = [[[True, 5], [False], [False], [False], [True]], 0, [2, [1, 1]], [1, 2]]
    report = StatusReport.parse(cbor2.dumps([1, content]))
    assert report.times_ms == {Status.RECEIVED: 5}
    for broken in ([2, content], [1, content[:3]], [1, [[[True]] * 3, *content[1:]]]):
        with pytest.raises(RemoteError):
            StatusReport.parse(cbor2.dumps(broken))
    assert ADMINISTRATIVE_RECORD.parse(cbor2.dumps([7, b"x"])) == (7, b"\x41x")


@given(numbers_64)
def test_numbers_are_encoded_as_cbor2_does(number: int) -> None:
    assert BUNDLE_AGE.block(number, 2).data == cbor2.dumps(number)
    assert BUNDLE_AGE.read(Block(7, 2, 0, 0, cbor2.dumps(number))) == number
