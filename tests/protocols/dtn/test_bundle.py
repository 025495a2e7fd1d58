"""Bundle codec: both directions, CRCs, endpoint identifiers, what is refused."""

from __future__ import annotations

import contextlib
import random
import tomllib
from dataclasses import replace
from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.coding.crc import crc16_x25, crc32c
from protocols.dtn import cbor
from protocols.dtn.bundle import (
    MOST_BLOCKS,
    Block,
    BlockType,
    Bundle,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
    read_bundle,
)
from protocols.dtn.bundle_extensions import HOP_COUNT
from protocols.dtn.eid import EID, Eid, eid
from protocols.errors import LocalError, RemoteError
from tests.strategies import bundles, eids

CAPTURES = Path(__file__).parents[2] / "captures"
PRIMARY = Primary(
    0,
    CrcType.CRC32C,
    eid("ipn:2.1"),
    eid("ipn:1.1"),
    eid("dtn:none"),
    CreationTimestamp(848_689_507_005, 7),
    300_000,
)
BUNDLE = Bundle(
    PRIMARY,
    (HOP_COUNT.block(HOP_COUNT.read(Block(10, 2, 0, 0, b"\x82\x0a\x00")), 2), payload_block(b"L4")),
)


@given(bundles())
def test_round_trip(bundle: Bundle) -> None:
    octets = bundle.build()
    parsed = parse_bundle(octets)
    assert parsed == bundle
    assert parsed.build() == octets
    # Encoded anew, without the octets that were kept.
    anew = Bundle(replace(parsed.primary), tuple(replace(block) for block in parsed.blocks))
    assert anew.build() == octets
    assert b"".join(parsed.segments()) == octets


@given(bundles())
def test_cbor2_reads_the_same(bundle: Bundle) -> None:
    """The layout as an independent CBOR codec sees it, and CRCs over what it encodes."""
    primary, *blocks = cbor2.loads(bundle.build())
    ours = bundle.primary
    names = [
        ours.flags,
        ours.crc_type,
        *(cbor2.loads(e.octets) for e in (ours.destination, ours.source, ours.report_to)),
        list(ours.creation),
        ours.lifetime_ms,
    ]
    if ours.is_fragment:
        names += [ours.fragment_offset, ours.total_length]
    assert primary[: 1 + len(names)] == [7, *names]
    for mine, theirs in zip(bundle.blocks, blocks, strict=True):
        assert theirs[:5] == [mine.type, mine.number, mine.flags, mine.crc_type, mine.data]
    for block, crc_type in ((primary, primary[2]), *((b, b[3]) for b in blocks)):
        if crc_type:
            size = 2 * crc_type
            zeroed = cbor2.dumps([*block[:-1], bytes(size)])
            crc = (crc16_x25 if crc_type == 1 else crc32c)(zeroed)
            assert block[-1] == crc.to_bytes(size, "big")


@given(bundles(), st.data())
def test_every_changed_octet_of_a_checked_block_is_found(
    bundle: Bundle, data: st.DataObject
) -> None:
    primary = replace(bundle.primary, crc_type=data.draw(st.integers(1, 2)))
    blocks = [replace(block, crc_type=data.draw(st.integers(1, 2))) for block in bundle.blocks]
    octets = bytearray(Bundle(primary, tuple(blocks)).build())
    at = data.draw(st.integers(0, len(octets) - 1))
    octets[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(RemoteError):
        parse_bundle(bytes(octets))


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda b: b"\x9f\x88\x07" + b))
def test_arbitrary_octets_raise_only_remote_errors(octets: bytes) -> None:
    with contextlib.suppress(RemoteError):
        parse_bundle(octets, check_crc=False)


@given(bundles(), st.data())
def test_truncated_and_damaged_bundles(bundle: Bundle, data: st.DataObject) -> None:
    octets = bundle.build()
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(RemoteError):
        parse_bundle(octets[:cut])
    changed = bytearray(octets)
    changed[cut] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RemoteError):
        assert parse_bundle(bytes(changed), check_crc=False).build() == changed
    with pytest.raises(RemoteError, match="after the bundle"):
        parse_bundle(octets + b"\0")


def test_several_bundles_one_after_another() -> None:
    octets = BUNDLE.build()
    first, at = read_bundle(octets * 2)
    second, end = read_bundle(octets * 2, at)
    assert first == second == BUNDLE
    assert (at, end) == (len(octets), 2 * len(octets))


def test_blocks_of_indefinite_length() -> None:
    """RFC 9171 §4.1 does not forbid them, and §4.3.1 takes the break into the CRC."""
    for crc_type, function, size in ((1, crc16_x25, 2), (2, crc32c, 4)):
        fields = cbor.items("", *(cbor.UINT,) * 4, cbor.OCTETS).write((1, 1, 0, crc_type, b"L4"))
        zeroed = b"\x9f" + fields + bytes([0x40 | size]) + bytes(size) + b"\xff"
        crc = function(zeroed).to_bytes(size, "big")
        octets = b"\x9f" + PRIMARY.encode() + zeroed[: -1 - size] + crc + b"\xff\xff"
        parsed = parse_bundle(octets)
        assert parsed.build() == octets
        assert replace(parsed.blocks[0]).encode()[:1] == b"\x86"
        with pytest.raises(RemoteError, match="CRC"):
            parse_bundle(octets[:-4] + bytes([octets[-4] ^ 1]) + octets[-3:])


def encoded(*blocks: bytes) -> bytes:
    return b"\x9f" + PRIMARY.encode() + b"".join(blocks) + b"\xff"


PAYLOAD = payload_block(b"L4").encode()
OTHER = Block(192, 2, 0, 0, b"").encode()


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"", "begin"),
        (b"\x83" + encoded(PAYLOAD)[1:], "begin"),
        (encoded(), "without payload"),
        (encoded(OTHER), "without payload"),
        (encoded(PAYLOAD, OTHER), "after the payload"),
        (encoded(PAYLOAD, PAYLOAD), "after the payload"),
        (encoded(OTHER, OTHER, PAYLOAD), "number 2"),
        (encoded(Block(192, 0, 0, 0, b"").encode(), PAYLOAD), "number 0"),
        (encoded(Block(192, 1, 0, 0, b"").encode(), PAYLOAD), "number 1"),
        (encoded(Block(1, 2, 0, 0, b"").encode()), "number 2"),
        (encoded(b"\x85\xc0\x02\0\0\x40", PAYLOAD), "unsigned integer"),
        (encoded(b"\x85\x18\x02\x02\0\0\x40", PAYLOAD), "shortest"),
        (encoded(b"\x85\x07\x02\0\x03\x40", PAYLOAD), "CRC type 3"),
        (encoded(b"\x86\x07\x02\0\x03\x40\x42\0\0", PAYLOAD), "CRC type 3"),
        (encoded(b"\x86\x07\x02\0\0\x40\x42\0\0", PAYLOAD), "CRC type 0"),
        (encoded(b"\x86\x07\x02\0\x01\x40\x44\0\0\0\0", PAYLOAD), "CRC of 2"),
        (encoded(b"\x85\x07\x02\0\0\x5f\x41\0\xff", PAYLOAD), "no definite item"),
        (encoded(b"\x85\x07\x02\0\0\x5b" + b"\xff" * 8), "octets"),
        (b"\x9f\x88\x06" + encoded(PAYLOAD)[3:], "version 6"),
        (b"\x9f\x88\x07\x01" + encoded(PAYLOAD)[4:], "unsigned integer"),
    ],
)
def test_malformed_bundles(octets: bytes, message: str) -> None:
    with pytest.raises(RemoteError, match=message):
        parse_bundle(octets)


def test_size_bombs_are_refused_at_once() -> None:
    with pytest.raises(RemoteError, match="18446744073709551615 octets"):
        parse_bundle(encoded(b"\x85\x01\x01\0\0\x5b" + b"\xff" * 8))
    many = (Block(192, n + 2, 0, 0, b"").encode() for n in range(MOST_BLOCKS + 1))
    with pytest.raises(RemoteError, match="more than 256 blocks"):
        parse_bundle(encoded(*many))
    nested = b"\x82\x03" + b"\x81" * 500 + b"\0"
    with pytest.raises(RemoteError, match="deep"):
        EID.parse(nested)
    with pytest.raises(RemoteError, match="endpoint identifier of"):
        EID.parse(b"\x82\x01\x79\x20\x00" + b"//" + b"x" * 0x1FFD + b"/")


def test_wrong_values_of_ours_are_refused() -> None:
    payload = payload_block(b"")
    for blocks in ((), (payload, payload), (Block(7, 1, 0, 0, b"\0"),), (Block(1, 2, 0, 0, b""),)):
        with pytest.raises(LocalError):
            Bundle(PRIMARY, blocks).build()
    for block in (Block(7, 0, 0, 0, b""), Block(7, 2, -1, 0, b""), Block(7, 2, 0, 3, b"")):
        with pytest.raises(LocalError):
            Bundle(PRIMARY, (block, payload)).build()
    for changed in (
        {"flags": 1},
        {"fragment_offset": 0},
        {"lifetime_ms": 2**64},
        {"crc_type": 7},
    ):
        with pytest.raises(LocalError):
            Bundle(replace(PRIMARY, **changed), (payload,)).build()


@given(eids())
def test_endpoint_identifiers(value: Eid) -> None:
    assert EID.parse(value.octets) == value
    assert eid(str(value)) == value
    assert eid(str(value)).octets == value.octets
    assert value.node.node == value.node
    assert cbor2.loads(value.octets)[0] == value.scheme


@pytest.mark.parametrize(
    ("text", "octets", "again"),
    [
        ("dtn:none", "820100", "dtn:none"),
        ("dtn://node1/service", "82016f2f2f6e6f6465312f73657276696365", "dtn://node1/service"),
        ("ipn:1.2", "8202820102", "ipn:1.2"),
        ("ipn:0.1.2", "8202820102", "ipn:1.2"),
        # RFC 9758 §6.1.1 and §6.1.2: both spellings of one identifier.
        ("ipn:977000.100.1", "8202831a000ee868186401", "ipn:977000.100.1"),
        ("ipn:4196183048192100.1", "8202831a000ee868186401", "ipn:977000.100.1"),
        ("ipn:!.7", "8202821affffffff07", "ipn:!.7"),
    ],
)
def test_spelling_of_endpoint_identifiers(text: str, octets: str, again: str) -> None:
    assert eid(text).octets.hex() == octets
    assert str(eid(text)) == again


def test_both_ipn_spellings_are_one_identifier_and_keep_their_octets() -> None:
    two = bytes.fromhex("8202821b000ee8680000006401")
    three = bytes.fromhex("8202831a000ee868186401")
    zero = bytes.fromhex("820283000102")
    assert EID.parse(two) == EID.parse(three)
    assert hash(EID.parse(two)) == hash(EID.parse(three))
    assert EID.parse(zero) == eid("ipn:1.2")
    for octets in (two, three, zero):
        assert EID.parse(octets).octets == octets


def test_other_schemes_pass_through() -> None:
    octets = bytes.fromhex("82188182624c3401")
    value = EID.parse(octets)
    assert (value.scheme, value.octets, value.node) == (0x81, octets, value)
    assert str(value) == "scheme 129:82624c3401"


@pytest.mark.parametrize(
    "text",
    [
        *("", "ipn:1", "ipn:01.2", "ipn:1.2.3.4", "ipn:1.-2", "ipn:4294967296.1.1", "imc:1.1"),
        *("dtn:mars", "dtn://mars", "dtn:///x", "dtn://mars/ ü", f"dtn://{'x' * 1100}/"),
    ],
)
def test_what_is_no_endpoint_identifier(text: str) -> None:
    with pytest.raises(LocalError, match="endpoint"):
        eid(text)


@pytest.mark.parametrize(
    "octets",
    [
        *("8101", "83010000", "820101", "8201646e6f6e65", "820163c3bc2f", "82028101", "82", ""),
        *("8202840001020304", "8202831b00000001000000000102", "8202820118", "8202826101", "a10203"),
    ],
)
def test_malformed_endpoint_identifiers(octets: str) -> None:
    with pytest.raises(RemoteError):
        EID.parse(bytes.fromhex(octets))


def test_golden_bundles() -> None:
    """Octets of ION and pyD3TN, and of RFC 9173's examples, as `bundles.toml` expects them."""
    golden = tomllib.loads((CAPTURES / "bundles.toml").read_text())
    for case in golden["bundle"]:
        octets = bytes.fromhex(case["octets"])
        bundle = parse_bundle(octets)
        primary = bundle.primary
        assert bundle.build() == octets
        assert {
            "flags": primary.flags,
            "crc_type": primary.crc_type,
            "destination": str(primary.destination),
            "source": str(primary.source),
            "report_to": str(primary.report_to),
            "creation": list(primary.creation),
            "lifetime_ms": primary.lifetime_ms,
            "blocks": [[b.type, b.number, b.flags, b.crc_type] for b in bundle.blocks],
            "payload_octets": len(bundle.payload),
        } == case["expected"], case["origin"]
    assert {case["origin"] for case in golden["bundle"]} >= {"ION 4.1.3", "pyD3TN"}


def test_crc_types_are_those_of_the_catalogue() -> None:
    assert crc16_x25(b"123456789") == 0x906E
    assert crc32c(b"123456789") == 0xE3069283
    # RFC 7143 appendix A.4, which RFC 9171 §4.2.1 points to.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E


@pytest.mark.parametrize("length", [16383, 16384, 16385, 40_000])
def test_the_kernel_for_long_payloads_is_the_same_crc(length: int) -> None:
    data = random.Random(length).randbytes(length)
    in_pieces = 0x1234
    for at in range(0, length, 1000):
        in_pieces = crc16_x25(data[at : at + 1000], in_pieces)
    assert crc16_x25(data, 0x1234) == in_pieces


def test_block_types_are_the_registry() -> None:
    assert [int(code) for code in BlockType] == [1, 6, 7, 10, 11, 12]
