from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet, idle_packet
from tests.strategies import space_packets

packet_lists = st.lists(space_packets(30).map(build_packet), max_size=10)


@given(packet_lists, packet_lists)
def test_concatenation_is_the_lists(first: list[bytes], second: list[bytes]) -> None:
    batch = PacketBatch.concatenate(
        [
            PacketBatch.from_packets(first, vcid=1, ert_ns=5),
            PacketBatch.empty(),
            PacketBatch.from_packets(second, vcid=2, ert_ns=6),
        ]
    )
    assert list(batch) == first + second
    assert batch.vcid.tolist() == [1] * len(first) + [2] * len(second)
    assert batch.ert_ns.tolist() == [5] * len(first) + [6] * len(second)


@settings(max_examples=60, deadline=None)
@given(packet_lists, st.data())
def test_slice_and_select_are_the_lists(packets: list[bytes], data: st.DataObject) -> None:
    batch = PacketBatch.from_packets(packets, ert_ns=list(range(len(packets))))
    start = data.draw(st.integers(0, len(packets)))
    stop = data.draw(st.integers(start, len(packets)))
    part = batch.slice(start, stop)
    assert list(part) == packets[start:stop]
    assert part.ert_ns.tolist() == list(range(start, stop))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(batch), max_size=len(batch))))
    mask = mask.astype(np.bool_)
    assert list(batch.select(mask)) == [p for p, keep in zip(packets, mask, strict=True) if keep]
    if packets:
        rows = data.draw(st.lists(st.integers(0, len(packets) - 1), max_size=12))
        chosen = batch.select(np.array(rows, np.int64))
        assert list(chosen) == [packets[row] for row in rows]
        assert chosen.ert_ns.tolist() == rows


def test_columns_that_disagree_are_our_mistake() -> None:
    with pytest.raises(LocalError, match="columns disagree"):
        PacketBatch(
            np.zeros(7, np.uint8), np.array([0, 7]), np.zeros(2, np.uint8), np.zeros(1, np.int64)
        )
    with pytest.raises(LocalError, match="offsets run"):
        PacketBatch(
            np.zeros(8, np.uint8), np.array([0, 7]), np.zeros(1, np.uint8), np.zeros(1, np.int64)
        )


def test_idle_is_told_for_both_kinds_of_packets_and_one_octet_reads_as_no_apid() -> None:
    space = build_packet(SpacePacket(apid=20, data=b"L4"))
    batch = PacketBatch.from_packets([space, idle_packet(9), b"\xe0", b"\xf1\x03x", b"\xe0"])
    assert batch.is_idle.tolist() == [False, True, True, False, True]
    assert batch.apid.tolist()[:2] == [20, 0x7FF]
    assert batch.apid.tolist()[4] == 0
