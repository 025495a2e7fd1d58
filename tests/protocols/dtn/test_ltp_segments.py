"""LTP codec: both directions, every type, and octets that are nothing."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protocols.dtn.ltp_segments import (
    CONTENT,
    CancelSegment,
    Claim,
    DataSegment,
    Extension,
    ReportAckSegment,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
    build_sdnv,
    build_segment,
    parse_sdnvs,
    parse_segment,
)
from protocols.dtn.ltp_spans import Spans
from protocols.errors import LocalError, RemoteError
from tests.strategies import ltp_segments

SESSION = SessionId(1, 2)


@given(ltp_segments())
def test_parse_gives_back_what_build_was_given(segment: Segment) -> None:
    octets = build_segment(segment)
    parsed = parse_segment(octets)
    assert parsed == segment
    assert type(parsed) is type(segment)
    assert build_segment(parsed) == octets


@given(ltp_segments(longest_data=40), st.data())
def test_a_segment_cut_short_or_followed_by_more_is_refused(
    segment: Segment, data: st.DataObject
) -> None:
    octets = build_segment(segment)
    with pytest.raises(RemoteError):
        parse_segment(octets[: data.draw(st.integers(0, len(octets) - 1))])
    with pytest.raises(RemoteError):
        parse_segment(octets + b"\0")


@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda b: b"\x08\1\1\0" + b)))
@example(b"\x08\1\1\0\1\1\1\0\xff\xff\xff\x7f")
def test_arbitrary_octets_raise_remote_error_alone(octets: bytes) -> None:
    try:
        segment = parse_segment(octets)
    except RemoteError:
        return
    assert parse_segment(build_segment(segment)) == segment


@given(ltp_segments(longest_data=40), st.integers(0, 10_000), st.integers(1, 255))
def test_a_damaged_octet_raises_remote_error_alone(segment: Segment, at: int, flip: int) -> None:
    octets = bytearray(build_segment(segment))
    octets[at % len(octets)] ^= flip
    with suppress(RemoteError):
        parse_segment(bytes(octets))


@pytest.mark.parametrize(
    ("value", "octets"),
    [(0, "00"), (127, "7f"), (0x80, "8100"), (0xABC, "953c"), (0x1234, "a434"), (0x4234, "818434")],
)
def test_sdnv_examples_of_rfc_6256(value: int, octets: str) -> None:
    assert build_sdnv(value).hex() == octets
    assert parse_sdnvs(bytes.fromhex(octets), 0, 1) == ([value], len(octets) // 2)


def test_sdnvs_are_bounded() -> None:
    largest = (1 << 64) - 1
    assert parse_sdnvs(build_sdnv(largest), 0, 1)[0] == [largest]
    with pytest.raises(RemoteError, match="64 bits"):
        parse_sdnvs(b"\x83" + b"\x80" * 8 + b"\0", 0, 1)
    with pytest.raises(RemoteError, match="longer"):
        parse_sdnvs(b"\x80" * 1000 + b"\0", 0, 1)
    with pytest.raises(LocalError, match="SDNV of -1"):
        build_sdnv(-1)


def test_types_and_flags_as_erratum_1657_reads_them() -> None:
    """CTRL, EXC, flag 1, flag 0; a checkpoint is flag 0 or flag 1 of red data."""
    for kind in SegmentType:
        control, exception, flag_1, flag_0 = (kind >> bit & 1 for bit in (3, 2, 1, 0))
        if not control:
            assert kind.name.startswith("GREEN") == bool(exception)
            if not exception:
                assert ("checkpoint serial number" in CONTENT[kind]) == bool(flag_1 or flag_0)
            assert kind.name.endswith("EOB") == bool(flag_1 and flag_0)
        elif not exception:
            assert kind.name == ("REPORT_ACK" if flag_0 else "REPORT")
        else:
            assert ("ACK" in kind.name) == bool(flag_0)
            assert kind.name.endswith("RECEIVER") == bool(flag_1)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("1001010001000161", "version 1"),
        ("0501010001000161", "type 5"),
        ("0b01010001000161", "type 11"),
        ("010101000100016100", "cut short|says"),
        ("0101010001000100" + "00" + "61", "serial number 0"),
        ("0801010000" + "01010000", "serial number 0"),
        ("0801010001" + "01000500", "from 5 to 0"),
        ("0801010001" + "01050001" + "0006", "outside"),
        ("0801010001" + "01050001" + "0100", "outside"),
        ("0901010000", "serial number 0"),
        ("0c010100", "reason"),
    ],
)
def test_what_the_rfc_forbids_is_refused(octets: str, why: str) -> None:
    with pytest.raises(RemoteError, match=why):
        parse_segment(bytes.fromhex(octets))


@pytest.mark.parametrize(
    "segment",
    [
        DataSegment(SegmentType.RED_EOB, SESSION, 1, 0, b"x"),
        DataSegment(SegmentType.REPORT, SESSION, 1, 0, b"x"),
        ReportSegment(SESSION, 0, 1, 10, 0, ()),
        ReportSegment(SESSION, 1, 1, 0, 10, ()),
        ReportSegment(SESSION, 1, 1, 10, 0, (Claim(5, 6),)),
        ReportAckSegment(SESSION, 0),
        CancelSegment(SESSION, True, 256),
        CancelSegment(SESSION, True, 0, (Extension(256, b""),)),
        CancelSegment(SESSION, True, 0, (Extension(1, b""),) * 16),
    ],
)
def test_build_refuses_what_cannot_be_said(segment: Segment) -> None:
    with pytest.raises(LocalError):
        build_segment(segment)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=20))
def test_spans_are_a_set_of_octets(ranges: list[tuple[int, int]]) -> None:
    spans, octets = Spans(), set[int]()
    for a, b in ranges:
        new = spans.add(a, b)
        assert {i for x, y in new for i in range(x, y)} == set(range(a, b)) - octets
        octets |= set(range(a, b))
        assert spans.octets == len(octets)
        assert spans.stop == max(octets, default=-1) + 1
        listed = list(spans)
        assert {i for x, y in listed for i in range(x, y)} == octets
        assert all(y < z for (_, y), (z, _) in pairwise(listed))
        assert spans.covers(a, b)
        assert {i for x, y in spans.gaps(10, 50) for i in range(x, y)} == set(
            range(10, 50)
        ) - octets
        assert {i for x, y in spans.within(10, 50) for i in range(x, y)} == octets & set(
            range(10, 50)
        )
        assert spans.covers(10, 50) == (set(range(10, 50)) <= octets)
