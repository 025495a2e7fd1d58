"""Reports in parts: whole again, in any batches, and counted where a part is missing."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from protocols.packets.batch import PacketBatch
from protocols.packets.large_reports import MOST_TRANSFERS, LargeReports
from protocols.packets.pus import Report, build_report

APID = 100


def small(count: int, apid: int = APID) -> bytes:
    return build_report(Report(apid, 17, 2, 10**9, sequence_count=count))


def large(octets: int, seed: int = 1) -> bytes:
    data = random.Random(seed).randbytes(octets)
    return build_report(Report(APID, 20, 2, 10**9, data, sequence_count=7))


def parts(packet: bytes, transfer: int = 1, size: int = 900, apid: int = APID) -> list[bytes]:
    cut = [packet[i : i + size] for i in range(0, len(packet), size)]
    out: list[bytes] = []
    for number, part in enumerate(cut, 1):
        subtype = 1 if number == 1 else 3 if number == len(cut) else 2
        data = transfer.to_bytes(2, "big") + number.to_bytes(2, "big") + part
        out.append(build_report(Report(apid, 13, subtype, 10**9, data)))
    return out


def joined(large_reports: LargeReports, packets: list[bytes], vcid: int = 0) -> list[bytes]:
    return list(large_reports.push(PacketBatch.from_packets(packets, vcid=vcid, ert_ns=5)))


def test_a_report_comes_out_behind_its_last_part() -> None:
    whole = large(2_500)
    first, second, third = parts(whole)
    found = LargeReports([APID]).push(
        PacketBatch.from_packets(
            [small(1), first, small(2), second, third, small(3)],
            vcid=[0, 3, 0, 3, 3, 0],
            ert_ns=[1, 2, 3, 4, 5, 6],
        )
    )
    assert list(found) == [small(1), first, small(2), second, third, whole, small(3)]
    assert found.vcid.tolist() == [0, 3, 0, 3, 3, 3, 0]
    assert found.ert_ns.tolist() == [1, 2, 3, 4, 5, 5, 6]


def test_however_they_are_cut_into_batches_and_wherever_it_is_restored() -> None:
    stream: list[bytes] = []
    for transfer in range(1, 9):
        stream += [*parts(large(1_000 * transfer, transfer), transfer), small(transfer)]
    expected = joined(LargeReports([APID]), stream)
    assert len(expected) == len(stream) + 8
    rng = random.Random(3)
    for _ in range(10):
        reports, found, at = LargeReports([APID]), list[bytes](), 0
        while at < len(stream):
            step = rng.randrange(1, 5)
            found += joined(reports, stream[at : at + step])
            at += step
            kept = reports.snapshot()
            reports = LargeReports([APID])
            reports.restore(kept)
        assert found == expected


def test_transfers_of_channels_and_numbers_do_not_mix() -> None:
    one, other = large(1_500, 1), large(1_500, 2)
    reports = LargeReports([APID])
    (first, last), (other_first, other_last) = parts(one, 1), parts(other, 2)
    assert joined(reports, [first, other_first, last, other_last])[2:] == [
        *(last, one, other_last, other),
    ]
    # The same transfer, live and played back at once.
    assert joined(reports, [first], vcid=0) == [first]
    assert joined(reports, [first], vcid=3) == [first]
    assert joined(reports, [last], vcid=3) == [last, one]
    assert joined(reports, [last], vcid=0) == [last, one]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda p: p[1:], {"joined": 0, "incomplete": 0}),
        (lambda p: [p[0], p[2]], {"joined": 0, "incomplete": 1}),
        (lambda p: p[:2], {"joined": 0, "incomplete": 0}),
        (lambda p: [p[0], *p], {"joined": 1, "incomplete": 1}),
        (lambda p: [p[0], p[2], p[1]], {"joined": 0, "incomplete": 1}),
        (lambda p: [p[0], p[1][:-1] + bytes([p[1][-1] ^ 1]), p[2]], {"joined": 0, "damaged": 1}),
    ],
)
def test_a_missing_part_is_counted_and_nothing_is_made_up(
    change: Callable[[list[bytes]], list[bytes]], counts: dict[str, int]
) -> None:
    reports = LargeReports([APID])
    stream = change(parts(large(2_500)))
    found = joined(reports, stream)
    assert len(found) == len(stream) + counts["joined"]
    for name, count in counts.items():
        assert reports.statistics[name] == count
    # The next one is whole.
    whole = large(2_500, 9)
    assert joined(reports, parts(whole, 2))[-1] == whole


def test_what_was_put_together_has_to_be_a_packet() -> None:
    reports = LargeReports([APID])
    wrong = bytearray(large(2_500))
    wrong[100] ^= 1
    assert len(joined(reports, parts(bytes(wrong)))) == 3
    assert len(joined(reports, parts(b"nonsense" * 300, 2))) == 3
    assert reports.statistics["damaged"] == 2


def test_other_packets_pass_untouched() -> None:
    reports = LargeReports([APID])
    batch = PacketBatch.from_packets([*parts(large(1_500), apid=99), small(1), b"\x00" * 7])
    assert reports.push(batch) is batch
    assert reports.push(PacketBatch.empty()).offsets.tolist() == [0]
    for transfer in range(1, MOST_TRANSFERS + 10):
        joined(reports, parts(large(1_500), transfer)[:1])
    assert reports.statistics["incomplete"] == 9
