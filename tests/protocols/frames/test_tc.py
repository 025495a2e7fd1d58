"""TC frames: published octets, both directions, what is refused; segmentation on MAPs."""

from __future__ import annotations

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.crc import crc16
from protocols.errors import LocalError, RemoteError
from protocols.frames import tc
from protocols.frames.tc import FrameType, SequenceFlags, SetVr, TcFrame, TcParameters, Unlock
from protocols.frames.tc_segments import MapMultiplexer, MapReassembler, Segment, block, segments
from tests.strategies import tc_frames, tc_parameters

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
PUBLISHED = tomllib.loads((CAPTURES / "tc.toml").read_text())
LINK = TcParameters(scid=0x4C)


def test_published_octets() -> None:
    wanted = PUBLISHED["frame"]
    octets = bytes.fromhex(wanted["octets"])
    # The vector's bypass flag of 1 is of a type-B frame, whose number 232.0-B-4 §4.1.2.8.3 wants
    # zero: the same header without the flag.
    octets = bytes([octets[0] & ~0x20]) + octets[1:]
    link = TcParameters(scid=wanted["scid"], fecf=False, without_segment_header=frozenset({5}))
    frame = TcFrame(5, b"\xaa\xbb\xcc", sequence_number=wanted["sequence_number"])
    assert tc.build(frame, link) == octets
    assert tc.parse(octets, link) == frame
    commands = PUBLISHED["commands"]
    assert Unlock().build().hex() == commands["unlock"]
    assert SetVr(219).build().hex() == commands["set_vr_219"]
    header = tc.TC_SEGMENT_HEADER.build({"sequence_flags": SequenceFlags.LAST, "map_id": 42})
    assert header.hex() == commands["segment_header_last_map_42"]


@given(st.data())
def test_round_trip(data: st.DataObject) -> None:
    link = data.draw(tc_parameters())
    frame = data.draw(tc_frames(link))
    octets = tc.build(frame, link)
    assert tc.parse(octets, link) == frame
    assert tc.build(tc.parse(octets, link), link) == octets


@given(st.binary(max_size=40), st.booleans())
def test_arbitrary_octets(octets: bytes, fecf: bool) -> None:
    link = TcParameters(scid=0, fecf=fecf)
    try:
        kept = tc.build(tc.parse(octets, link), link)
    except RemoteError as error:
        kept = error.data
    assert kept == octets


@given(st.data())
def test_every_changed_bit_is_found(data: st.DataObject) -> None:
    frame = data.draw(tc_frames(LINK, longest_data=30))
    octets = bytearray(tc.build(frame, LINK))
    at = data.draw(st.integers(0, 8 * len(octets) - 1))
    octets[at // 8] ^= 0x80 >> at % 8
    with pytest.raises(RemoteError):
        tc.parse(bytes(octets), LINK)


def with_fecf(octets: bytes) -> bytes:
    return octets + crc16(octets).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (with_fecf(bytes.fromhex("404c000a00c0010203")), "version 1"),
        (with_fecf(bytes.fromhex("104c000a00c0010203")), "reserved bits"),  # (0, 1)
        (with_fecf(bytes.fromhex("084c000a00c0010203")), "reserved bits"),  # spare
        (with_fecf(bytes.fromhex("004d000a00c0010203")), "scid 77, 76"),
        (with_fecf(bytes.fromhex("004c000b00c0010203")), "says 12 octets and has 11"),
        (with_fecf(bytes.fromhex("204c000a01c0010203")), "sequence number in a type-B"),
        (with_fecf(bytes.fromhex("004c000700c0")), "without data"),
        (with_fecf(bytes.fromhex("004c280a00c0010203")), "vcid 10 is not in use"),
        (bytes(7), "7 octets"),
        (with_fecf(bytes(1030)), "1032 octets"),
    ],
)
def test_refused_frames(octets: bytes, says: str) -> None:
    link = TcParameters(scid=0x4C, vcids=frozenset(range(8)))
    with pytest.raises(RemoteError, match=says):
        tc.parse(octets, link)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: TcParameters(scid=1024),
        lambda: TcParameters(scid=1, longest=1025),
        lambda: TcParameters(scid=1, longest=8),
        lambda: TcParameters(scid=1, vcids=frozenset({64})),
        lambda: TcParameters(scid=1, vcids=frozenset()),
        lambda: tc.build(TcFrame(1, bytes(1017)), LINK),
        lambda: tc.build(TcFrame(1, b""), LINK),
        lambda: tc.build(TcFrame(1, b"x", map_id=64), LINK),
        lambda: tc.build(TcFrame(1, b"x", FrameType.BD, sequence_number=1), LINK),
        lambda: tc.build(TcFrame(3, b"x"), TcParameters(scid=1, vcids=frozenset({1}))),
        lambda: SetVr(256).build(),
        lambda: MapMultiplexer(0),
        lambda: MapMultiplexer(5).push(64, b"x"),
        lambda: MapMultiplexer(5).push(0, b""),
        lambda: MapReassembler(0),
    ],
)
def test_mistakes_are_named(wrong: object) -> None:
    with pytest.raises(LocalError):
        wrong()  # type: ignore[operator]


@given(st.data(), st.lists(st.binary(min_size=1, max_size=20), max_size=5), st.integers(0, 9))
def test_frames_of_a_cltu(data: st.DataObject, contents: list[bytes], fill: int) -> None:
    frames = [tc.build(TcFrame(0, content), LINK) for content in contents]
    octets = b"".join(frames) + b"\x55" * fill
    found = tc.delimit(octets, LINK)
    assert (list(found.frames), found.rest, found.reason) == (frames, b"\x55" * fill, "")
    if frames:
        cut = data.draw(st.integers(1, len(frames[-1]) - 1))
        found = tc.delimit(b"".join(frames)[:-cut], LINK)
        assert list(found.frames) == frames[:-1]
        assert found.reason.startswith("cut") or not found.rest
    assert tc.delimit(octets + b"\xc0", LINK).reason == "not fill"


@given(st.binary(max_size=200))
def test_any_octets_are_delimited(octets: bytes) -> None:
    found = tc.delimit(octets, LINK)
    assert b"".join(found.frames) + found.rest == octets


@given(st.binary(max_size=5))
def test_control_commands(octets: bytes) -> None:
    try:
        command = tc.parse_control_command(octets)
    except RemoteError:
        assert octets != b"\x00"
        assert octets[:2] != b"\x82\x00" or len(octets) != 3
    else:
        assert command.build() == octets


units = st.lists(st.tuples(st.integers(0, 63), st.binary(min_size=1, max_size=60)), max_size=12)


@given(units, st.integers(1, 20))
def test_units_come_out_as_they_went_in(pushed: list[tuple[int, bytes]], room: int) -> None:
    multiplexer = MapMultiplexer(room)
    for map_id, unit in pushed:
        multiplexer.push(map_id, unit)
    sent = multiplexer.take_all()
    assert all(0 < len(segment.data) <= room for segment in sent)
    reassembler = MapReassembler()
    out: dict[int, list[bytes]] = {}
    for segment in sent:
        unit = reassembler.push(segment)
        if unit is not None:
            out.setdefault(segment.map_id, []).append(unit)
    wanted: dict[int, list[bytes]] = {}
    for map_id, unit in pushed:
        wanted.setdefault(map_id, []).append(unit)
    assert out == wanted
    assert reassembler.statistics.units == len(pushed)


def test_maps_take_turns() -> None:
    multiplexer = MapMultiplexer(1)
    multiplexer.push(1, b"abc")
    multiplexer.push(2, b"xy")
    assert b"".join(s.data for s in multiplexer.take_all()) == b"axbyc"


def test_broken_units_are_counted_and_bounded() -> None:
    reassembler = MapReassembler(longest=6)
    first, middle, last = segments(3, b"abcdef", 2)
    assert reassembler.push(middle) is None
    assert reassembler.push(last) is None
    assert reassembler.statistics.stray == 2
    assert reassembler.push(first) is None
    assert reassembler.push(Segment(3, SequenceFlags.UNSEGMENTED, b"new")) == b"new"
    assert reassembler.statistics.superseded == 1
    for segment in (first, middle, middle, middle):
        assert reassembler.push(segment) is None
    assert reassembler.statistics.too_long == 1
    assert reassembler.push(last) is None
    assert reassembler.statistics.stray == 3
    for segment in (first, middle):
        assert reassembler.push(segment) is None
    assert reassembler.push(last) == b"abcdef"


@settings(max_examples=50)
@given(st.lists(st.binary(min_size=1, max_size=12), max_size=10), st.integers(1, 20))
def test_blocking(packets: list[bytes], room: int) -> None:
    blocks = block(packets, room)
    assert b"".join(blocks) == b"".join(packets)
    assert all(len(b) <= room or b in packets for b in blocks)
    # No two could have been one.
    assert all(len(a) + len(b) > room for a, b in pairwise(blocks))
