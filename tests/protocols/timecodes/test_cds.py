"""CDS: against spacepackets, batch against declaration, and through leap seconds."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spacepackets.ccsds.time import CdsShortTimestamp

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.tai import (
    NS_PER_MS,
    TIME_INVALID_NS,
    tai_ns_from_utc_iso,
    unix_ns_from_tai_ns,
)

EPOCH_2000 = tai_ns_from_utc_iso("2000-01-01T00:00:00Z")
FORMATS = st.one_of(
    st.builds(
        CdsFormat,
        day_octets=st.sampled_from([2, 3]),
        submillisecond_octets=st.sampled_from([0, 2, 4]),
        epoch_tai_ns=st.sampled_from([0, EPOCH_2000]),
        p_field=st.booleans(),
    ),
    st.builds(
        CdsFormat,
        submillisecond_octets=st.sampled_from([0, 2, 4]),
        epoch_tai_ns=st.sampled_from([0, 1, EPOCH_2000]),
        scale=st.just("tai"),
    ),
)
LEAP_DAY = (datetime(2016, 12, 31) - datetime(1958, 1, 1)).days


@st.composite
def formats_with_octets(draw: st.DrawFn) -> tuple[CdsFormat, list[bytes]]:
    agreed = draw(FORMATS)
    lead = agreed.p_field_octets if agreed.p_field else b""
    day = st.one_of(
        st.integers(0, 40_000), st.just(LEAP_DAY), st.integers(0, 256**agreed.day_octets - 1)
    )
    ms = st.one_of(st.integers(0, 86_399_999), st.integers(86_399_999, 86_401_001))
    sub = st.one_of(st.integers(0, 999), st.integers(0, 256**agreed.submillisecond_octets - 1))
    row = st.builds(
        lambda d, m, s: lead + d.to_bytes(agreed.day_octets, "big") + m.to_bytes(4, "big")
        + (s % 256**agreed.submillisecond_octets).to_bytes(agreed.submillisecond_octets, "big"),
        day, ms, sub,
    )  # fmt: skip
    garbage = st.binary(min_size=agreed.size, max_size=agreed.size)
    return agreed, draw(st.lists(st.one_of(row, garbage), min_size=1, max_size=8))


@given(formats_with_octets())
def test_batch_equals_declaration(case: tuple[CdsFormat, list[bytes]]):
    agreed, rows = case
    expected: list[int] = []
    for row in rows:
        try:
            expected.append(agreed.parse(row))
        except RemoteError:
            expected.append(TIME_INVALID_NS)
        else:
            if agreed.submillisecond_octets < 4:
                assert agreed.build(expected[-1]) == row
    array = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), agreed.size)
    assert agreed.decode(array).tolist() == expected


@given(FORMATS, st.lists(st.integers(0, 65_530 * 86_400 * 10**9), min_size=1, max_size=8))
def test_build_and_encode(agreed: CdsFormat, since: list[int]):
    # Ten seconds on: the CCSDS epoch day begins at TAI 10 s (protocols/timecodes/tai.py).
    times = [agreed.epoch_tai_ns + s + 10**10 for s in since]
    built = [agreed.build(t) for t in times]
    assert agreed.encode(np.array(times, np.int64)).tobytes() == b"".join(built)
    step_ns = {0: NS_PER_MS, 2: 1_000, 4: 1}[agreed.submillisecond_octets]
    assert all(
        2 * abs(agreed.parse(o) - t) <= (step_ns if step_ns > 1 else 0)
        for t, o in zip(times, built, strict=True)
    )


@given(st.integers(0, 65_535), st.integers(0, 86_399_999))
def test_spacepackets_agrees(day: int, ms: int):
    theirs = CdsShortTimestamp(day, ms)
    agreed = CdsFormat(p_field=True)
    tai_ns = agreed.parse(theirs.pack())
    assert agreed.build(tai_ns) == theirs.pack()
    unix_ms = unix_ns_from_tai_ns(tai_ns) // NS_PER_MS
    # spacepackets computes in floating point, and wrongly before 1970.
    if day >= 4383:
        assert unix_ms == round(theirs.as_unix_seconds() * 1000)


def test_jpss_day_is_a_utc_day():
    """An epoch of 1958 and days of UTC, as JPSS has them: 2021-04-09 is day 23,109."""
    moment = datetime(2021, 4, 9, 6, 30, tzinfo=UTC)
    octets = (
        (23_109).to_bytes(2, "big") + (23_400_000).to_bytes(4, "big") + (250).to_bytes(2, "big")
    )
    tai_ns = CdsFormat(submillisecond_octets=2).parse(octets)
    assert unix_ns_from_tai_ns(tai_ns) == int(moment.timestamp()) * 10**9 + 250_000


def test_leap_second_has_its_own_milliseconds():
    agreed = CdsFormat()
    last = LEAP_DAY.to_bytes(2, "big") + (86_400_999).to_bytes(4, "big")
    tai_ns = agreed.parse(last)
    assert tai_ns + NS_PER_MS == tai_ns_from_utc_iso("2017-01-01T00:00:00Z")
    assert agreed.build(tai_ns) == last
    # Half a millisecond more rounds into the next day.
    assert agreed.build(tai_ns + NS_PER_MS // 2) == (LEAP_DAY + 1).to_bytes(2, "big") + bytes(4)
    # The day after has no such millisecond.
    with pytest.raises(RemoteError, match="86400000"):
        agreed.parse((LEAP_DAY + 1).to_bytes(2, "big") + (86_400_000).to_bytes(4, "big"))


@pytest.mark.parametrize(
    ("agreed", "p_field"),
    [
        (CdsFormat(), "40"),
        (CdsFormat(3), "44"),
        (CdsFormat(2, 2), "41"),
        (CdsFormat(2, 4), "42"),
        (CdsFormat(3, 4, EPOCH_2000), "4e"),
    ],
)
def test_p_field(agreed: CdsFormat, p_field: str):
    """301.0-B-4 §3.3.2, bit by bit by hand."""
    assert agreed.p_field_octets.hex() == p_field
    told = CdsFormat.from_p_field(agreed.p_field_octets, agreed.epoch_tai_ns)
    assert (told.day_octets, told.submillisecond_octets, told.epoch_tai_ns) == (
        agreed.day_octets, agreed.submillisecond_octets, agreed.epoch_tai_ns,
    )  # fmt: skip


@pytest.mark.parametrize("octets", ["", "43", "c0", "1f"])
def test_p_field_that_is_none(octets: str):
    with pytest.raises(RemoteError):
        CdsFormat.from_p_field(bytes.fromhex(octets))


def test_refusals_name_the_culprit():
    for tai_ns in (0, 65_536 * 86_400 * 10**9 + 40 * 10**9):
        with pytest.raises(LocalError, match=str(tai_ns)):
            CdsFormat().build(tai_ns)
        with pytest.raises(LocalError, match=str(tai_ns)):
            CdsFormat().encode(np.array([10**18, tai_ns]))
    with pytest.raises(LocalError, match="midnight"):
        CdsFormat(epoch_tai_ns=1)
    with pytest.raises(LocalError, match="day_octets"):
        CdsFormat(day_octets=4)
    with pytest.raises(LocalError, match="submillisecond"):
        CdsFormat(submillisecond_octets=3)
    with pytest.raises(RemoteError, match="octets"):
        CdsFormat().parse(bytes(5))


def test_agency_epoch_has_to_be_given():
    with pytest.raises(LocalError, match="48 names an agency epoch"):
        CdsFormat.from_p_field(bytes.fromhex("48"))
    told = CdsFormat.from_p_field(bytes.fromhex("48"), EPOCH_2000)
    assert told.parse(bytes.fromhex("48" + "0000" + "000003e8")) == EPOCH_2000 + 1_000_000_000
