"""Packets counted in one walk, against the same counts kept packet by packet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ground.receive.counting import Of, PacketCounts
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet, parse_packet

SPACE = st.builds(
    lambda apid, octets, count, flags, tc, header: build_packet(
        SpacePacket(
            apid,
            bytes(octets),
            sequence_count=count,
            sequence_flags=flags,
            telecommand=tc,
            secondary_header_flag=header,
        )
    ),
    st.integers(0, 5) | st.integers(0, 2047),
    st.integers(1, 30),
    st.sampled_from([0, 1, 2, 16383]) | st.integers(0, 16383),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
# An idle encapsulation packet is one octet, shorter than what names an APID.
PACKETS = st.lists(st.tuples(st.integers(0, 63), SPACE | st.just(b"\xe0")), max_size=60)


def batch(packets: list[tuple[int, bytes]]) -> PacketBatch:
    return PacketBatch.from_packets(
        [octets for _, octets in packets], vcid=[vcid for vcid, _ in packets]
    )


def plainly(packets: list[tuple[int, bytes]]) -> tuple[dict[tuple[int, int], dict[Of, int]], int]:
    found: dict[tuple[int, int], dict[Of, int]] = {}
    others = 0
    for vcid, octets in packets:
        if octets[0] >> 5:
            others += 1
            continue
        packet = parse_packet(octets)
        mine = found.setdefault((vcid, packet.apid), dict.fromkeys(Of, 0))
        if mine[Of.COUNT]:
            expected = (mine[Of.LAST_SEQUENCE] + 1) % 16384
            mine[Of.DISCONTINUITIES] += packet.sequence_count != expected
        mine[Of.LAST_SEQUENCE] = packet.sequence_count
        mine[Of.SHORTEST] = min(mine[Of.SHORTEST] or len(octets), len(octets))
        mine[Of.LONGEST] = max(mine[Of.LONGEST], len(octets))
        mine[Of.COUNT] += 1
        mine[Of.OCTETS] += len(octets)
        mine[Of.SECONDARY_HEADER] |= 1 << packet.secondary_header_flag
        mine[Of.TYPES] |= 1 << packet.telecommand
        mine[Of.FLAGS] |= 1 << packet.sequence_flags
    return found, others


@given(PACKETS, st.integers(0, 60))
def test_counts_are_those_of_a_plain_count_however_cut_and_restored(
    packets: list[tuple[int, bytes]], cut: int
) -> None:
    counts = PacketCounts()
    counts.add(batch(packets[:cut]))
    saved = counts.snapshot()
    counts = PacketCounts()
    counts.add(batch(packets))
    counts.restore(saved["apids"], saved["others"])
    counts.add(batch(packets[cut:]))
    wanted, others = plainly(packets)
    assert {
        (vcid, apid): dict(zip(Of, row, strict=True)) for vcid, apid, row in counts.rows()
    } == wanted
    assert sum(number for number, _ in counts.others().values()) == others
    assert counts.packets == len(packets)
    assert counts.octets == sum(len(octets) for _, octets in packets)


def test_more_apids_than_there_was_room_for() -> None:
    packets = [
        (vcid, build_packet(SpacePacket(apid, b"x"))) for apid in range(200) for vcid in (3, 60)
    ]
    counts = PacketCounts()
    counts.add(batch(packets))
    assert [(vcid, apid, row[Of.COUNT]) for vcid, apid, row in counts.rows()] == [
        (vcid, apid, 1) for vcid in (3, 60) for apid in range(200)
    ]
