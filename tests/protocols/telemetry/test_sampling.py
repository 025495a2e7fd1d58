"""A sample is bounded, even, of every definition, and does not depend on the cuts."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from construct import Int8ub, Int16ub
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.telemetry.declaration import Condition, Dictionary, PacketDefinition, Parameter
from protocols.telemetry.sampling import Sampler, sampling_counts, sampling_text

S = 1_000_000_000
NUMBER, VALUE = Parameter("number", Int8ub), Parameter("value", Int16ub)
#: Two definitions share an APID, so that nobody can sample by APID alone; LOG is never sampled.
DICTIONARY = Dictionary(
    "test",
    (
        PacketDefinition("A", 10, (NUMBER, VALUE), conditions=(Condition("number", 1),)),
        PacketDefinition("B", 10, (NUMBER, VALUE), conditions=(Condition("number", 2),)),
        PacketDefinition("LOG", 11, (VALUE,)),
    ),
)
PACKETS = {
    "A": build_packet(SpacePacket(10, b"\1\0\0")),
    "B": build_packet(SpacePacket(10, b"\2\0\0")),
    "LOG": build_packet(SpacePacket(11, b"\0\0")),
    "none": build_packet(SpacePacket(12, b"\0")),
}

Sent = list[tuple[str, int, int]]


def batch(sent: Sent) -> PacketBatch:
    return PacketBatch.from_packets(
        [PACKETS[name] for name, _, _ in sent],
        vcid=[vcid for _, vcid, _ in sent],
        ert_ns=[ert_ns for _, _, ert_ns in sent],
    )


def chosen(sampler: Sampler, sent: Sent) -> list[int]:
    """Numbers of the packets that were decoded."""
    found = DICTIONARY.decode(batch(sent), sampler)
    return sorted(row for table in found for row in table.rows.tolist())


def plainly(sent: Sent, hz: int) -> list[int]:
    last: dict[tuple[str, int], int] = {}
    found: list[int] = []
    for number, (name, vcid, ert_ns) in enumerate(sent):
        slot = ert_ns // (S // hz)
        if name == "LOG" or (name != "none" and last.get((name, vcid)) != slot):
            found.append(number)
        last[name, vcid] = slot
    return found


STREAM = st.lists(
    st.tuples(st.sampled_from(list(PACKETS)), st.integers(0, 2), st.integers(0, S // 4)),
    max_size=80,
).map(
    lambda steps: [
        (name, vcid, 2_200_000_000 * S + sum(step for _, _, step in steps[: i + 1]))
        for i, (name, vcid, _) in enumerate(steps)
    ]
)


@given(STREAM, st.sampled_from([1, 3, 10, 1000]), st.integers(0, 80))
def test_the_first_packet_of_each_slot_however_cut(sent: Sent, hz: int, cut: int) -> None:
    wanted = plainly(sent, hz)
    whole = Sampler(hz, always=["LOG"])
    assert chosen(whole, sent) == wanted
    assert whole.chosen == len(wanted)
    assert whole.offered == sum(name != "none" for name, _, _ in sent)
    first = Sampler(hz, always=["LOG"])
    found = chosen(first, sent[:cut])
    second = Sampler(hz, always=["LOG"])
    second.restore(first.snapshot())
    found += [number + len(sent[:cut]) for number in chosen(second, sent[cut:])]
    assert found == wanted
    assert second.snapshot() == whole.snapshot()


def test_every_definition_and_channel_is_seen_so_often_on_a_fast_link() -> None:
    sent = [
        (name, vcid, 5 * S + number * 1_000_000)
        for number in range(4000)
        for name in ("A", "B")
        for vcid in (0, 5)
    ]
    rows = chosen(Sampler(10), sent)
    assert Counter(sent[row][:2] for row in rows) == dict.fromkeys(
        [("A", 0), ("A", 5), ("B", 0), ("B", 5)], 40
    )


def test_a_batch_of_one_definition_is_sampled_too() -> None:
    sent = [("A", 0, 7 * S + number) for number in range(100)]
    assert chosen(Sampler(1), sent) == [0]
    assert len(chosen(Sampler(1), [])) == 0


def test_it_says_what_it_leaves_out() -> None:
    sampler = Sampler(5)
    chosen(sampler, [("A", 0, S)])
    assert sampling_text(sampler) == ""
    chosen(sampler, [("A", 0, S + i) for i in range(1, 10)])
    assert sampling_text(sampler) == (
        "parameters sampled: 1 packet in 10.0, at most 5 a second of a kind"
    )
    assert sampling_counts(sampler) == {"packets_offered": 10, "packets_sampled": 1}
    assert sampling_text(None) == ""
    assert sampling_counts(None) == {}


def test_a_snapshot_of_another_rate_is_not_taken_up() -> None:
    sampler = Sampler(5)
    chosen(sampler, [("A", 0, S)])
    other = Sampler(6)
    other.restore(sampler.snapshot())
    other.restore(None)
    assert other.snapshot() == Sampler(6).snapshot()


@pytest.mark.parametrize("hz", [0, -1, 1001])
def test_rates_that_are_none(hz: int) -> None:
    with pytest.raises(LocalError, match=f"sample of {hz} packets"):
        Sampler(hz)


def test_tables_are_those_of_all_packets_at_the_rows_chosen() -> None:
    sent = [("A", 0, 9 * S + i * S // 7) for i in range(30)]
    whole = next(iter(DICTIONARY.decode(batch(sent))))
    table = next(iter(DICTIONARY.decode(batch(sent), Sampler(2))))
    assert 1 < len(table) < len(whole)
    for name in whole.raw:
        assert np.array_equal(np.asarray(table.raw[name]), np.asarray(whole.raw[name])[table.rows])
    assert np.array_equal(table.ert_ns, whole.ert_ns[table.rows])
