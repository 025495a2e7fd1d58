from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.packets import encapsulation
from protocols.packets.encapsulation import EncapsulationPacket
from protocols.packets.space_packet import (
    SPACE_PACKET_HEADER,
    SpacePacket,
    build_packet,
    idle_packet,
    parse_packet,
    split,
)
from tests.strategies import encapsulation_packets, space_packets


@given(space_packets())
def test_parse_of_build(packet: SpacePacket) -> None:
    octets = build_packet(packet)
    assert parse_packet(octets) == packet
    assert build_packet(parse_packet(octets)) == octets


@given(st.binary(max_size=40))
def test_any_octets(octets: bytes) -> None:
    try:
        packet = parse_packet(octets)
    except RemoteError as error:
        kept = error.data
    else:
        kept = build_packet(packet)
    assert kept == octets


@given(encapsulation_packets())
def test_encapsulation_parse_of_build(packet: EncapsulationPacket) -> None:
    octets = encapsulation.build_packet(packet)
    assert encapsulation.parse_packet(octets) == packet
    assert len(octets) == (1, 2, 4, 8)[packet.length_of_length or 0] + len(packet.data)


@given(st.binary(max_size=20).map(lambda b: bytes([b[0] | 0xE0]) + b[1:] if b else b))
def test_encapsulation_any_octets(octets: bytes) -> None:
    try:
        packet = encapsulation.parse_packet(octets)
    except RemoteError as error:
        kept = error.data
    else:
        kept = encapsulation.build_packet(packet)
    assert kept == octets


def test_encapsulation_chooses_the_shortest_header() -> None:
    starts = {
        0xF1: EncapsulationPacket(4, bytes(253)),
        0xF2: EncapsulationPacket(4, bytes(254)),
        0xF3: EncapsulationPacket(4, bytes(65532)),
        0xE5: EncapsulationPacket(1, b"ltp"),
        0xFA: EncapsulationPacket(6, b"x", protocol_extension=3),
        0xE0: EncapsulationPacket(0),
    }
    for start, packet in starts.items():
        assert encapsulation.build_packet(packet)[0] == start


def test_encapsulation_refuses_what_a_header_cannot_say() -> None:
    with pytest.raises(LocalError, match="length of length 1 cannot"):
        encapsulation.build_packet(EncapsulationPacket(4, bytes(254), length_of_length=1))
    with pytest.raises(LocalError, match="length of length 0 cannot"):
        encapsulation.build_packet(EncapsulationPacket(4, b"", length_of_length=0))
    with pytest.raises(RemoteError, match="lacks the extension"):
        encapsulation.parse_packet(b"\xf9\x02")


@pytest.mark.parametrize("length", [1, 2, 3, 255, 256, 65535, 65536, 70000])
def test_idle_encapsulation_packets_of_any_length(length: int) -> None:
    octets = encapsulation.idle_packet(length)
    assert len(octets) == length
    assert encapsulation.parse_packet(octets).protocol_id == 0


@pytest.mark.parametrize("length", [7, 8, 65542])
def test_idle_packets(length: int) -> None:
    octets = idle_packet(length, sequence_count=5)
    packet = parse_packet(octets)
    assert (len(octets), packet.apid, packet.sequence_count) == (length, 2047, 5)


@pytest.mark.parametrize("length", [6, 65543])
def test_lengths_that_no_packet_has(length: int) -> None:
    with pytest.raises(LocalError):
        idle_packet(length)


@given(st.lists(space_packets(), max_size=12))
def test_split_gives_the_packets_and_batch_columns_equal_the_declaration(
    packets: list[SpacePacket],
) -> None:
    octets = b"".join(build_packet(packet) for packet in packets)
    found = split(octets, vcid=3, ert_ns=12)
    assert [parse_packet(p) for p in found.packets] == packets
    assert (found.reason, len(found.remainder)) == ("", 0)
    batch = found.packets
    for i, packet in enumerate(packets):
        header = SPACE_PACKET_HEADER.parse(batch.packet(i))
        assert batch.version[i] == header.version
        assert batch.apid[i] == header.apid == packet.apid
        assert batch.has_secondary_header[i] == header.secondary_header_flag
        assert batch.sequence_flags[i] == header.sequence_flags
        assert batch.sequence_count[i] == header.sequence_count
        assert batch.length[i] == header.data_length + 7
        assert batch.is_idle[i] == (packet.apid == 2047)
    assert (batch.vcid == 3).all()
    assert (batch.ert_ns == 12).all()


def reference_split(octets: bytes) -> tuple[list[bytes], str]:
    packets = []
    while octets:
        if len(octets) >= 6 and octets[0] >> 5 == 0:
            length = 7 + int.from_bytes(octets[4:6], "big")
            if length <= len(octets):
                packets.append(octets[:length])
                octets = octets[length:]
                continue
        return packets, "bad_pvn" if len(octets) >= 6 and octets[0] >> 5 else "truncated"
    return packets, ""


@settings(max_examples=200, deadline=None)
@given(
    st.lists(space_packets(40).map(build_packet) | st.binary(max_size=9), max_size=8).map(b"".join),
    st.integers(0, 8),
)
def test_split_takes_any_octets(octets: bytes, cut: int) -> None:
    octets = octets[: max(0, len(octets) - cut)]
    found = split(octets)
    packets, reason = reference_split(octets)
    assert list(found.packets) == packets
    assert found.reason == reason
    assert b"".join(found.packets) + found.remainder.tobytes() == octets


@settings(max_examples=100, deadline=None)
@given(st.lists(space_packets(40) | encapsulation_packets(40), max_size=10))
def test_split_of_both_kinds(packets: list[SpacePacket | EncapsulationPacket]) -> None:
    whole = [
        build_packet(p) if isinstance(p, SpacePacket) else encapsulation.build_packet(p)
        for p in packets
    ]
    found = split(b"".join(whole), accept_encapsulation=True)
    assert list(found.packets) == whole
    assert found.reason == ""


def test_split_of_many_packets_of_mixed_sizes() -> None:
    """Long enough for reading ahead, with sizes on both sides of where it sets in."""
    rng = np.random.default_rng(3)
    sizes = np.concatenate([rng.integers(1, 60, 900), rng.integers(100, 700, 900), [65536, 1]])
    packets = [build_packet(SpacePacket(1, bytes(int(size)))) for size in sizes]
    found = split(b"".join(packets))
    assert list(found.packets) == packets


def test_split_refuses_lengths_beyond_the_bound() -> None:
    octets = encapsulation.build_packet(EncapsulationPacket(4, bytes(5000)))
    found = split(octets, accept_encapsulation=True, longest_packet=4000)
    assert (len(found.packets), found.reason, len(found.remainder)) == (0, "bad_length", 5004)
    shorter_than_its_header = b"\xf3\0\0\0\0\0\0\7" + bytes(8)
    assert split(shorter_than_its_header, accept_encapsulation=True).reason == "bad_length"
