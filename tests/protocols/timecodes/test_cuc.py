"""CUC: every layout, batch against declaration, P-field octets of the standard."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.cuc import CucFormat
from protocols.timecodes.tai import NS_PER_SECOND, TIME_INVALID_NS, tai_ns_from_utc_iso

EPOCH_2000 = tai_ns_from_utc_iso("2000-01-01T12:00:00Z")
FORMATS = st.builds(
    CucFormat,
    coarse_octets=st.integers(1, 7),
    fine_octets=st.integers(0, 10),
    epoch_tai_ns=st.sampled_from([0, EPOCH_2000, -1, 123_456_789]),
    p_field=st.booleans(),
)


@st.composite
def formats_with_octets(draw: st.DrawFn) -> tuple[CucFormat, list[bytes]]:
    agreed = draw(FORMATS)
    small = min(agreed.coarse_octets, 4)
    lead = agreed.p_field_octets if agreed.p_field else b""
    row = st.one_of(
        st.binary(min_size=agreed.size, max_size=agreed.size),
        # Random coarse octets are mostly beyond int64 when there are five or more.
        st.builds(
            lambda t: lead + bytes(agreed.coarse_octets - small) + t,
            st.binary(min_size=small + agreed.fine_octets, max_size=small + agreed.fine_octets),
        ),
    )  # fmt: skip
    return agreed, draw(st.lists(row, min_size=1, max_size=8))


@given(formats_with_octets())
def test_batch_equals_declaration(case: tuple[CucFormat, list[bytes]]):
    agreed, rows = case
    expected: list[int] = []
    for row in rows:
        try:
            expected.append(agreed.parse(row))
        except RemoteError:
            expected.append(TIME_INVALID_NS)
    array = np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), agreed.size)
    assert agreed.decode(array).tolist() == expected


@given(FORMATS, st.data())
def test_build_and_encode(agreed: CucFormat, data: st.DataObject):
    # Of what int64 nanoseconds can say, the epochs take 1.3e9 s.
    room = (
        min(256**agreed.coarse_octets, 2**63 // NS_PER_SECOND - 2 * 10**9) * NS_PER_SECOND
        - NS_PER_SECOND
    )
    since = data.draw(st.lists(st.integers(0, room), min_size=1, max_size=8))
    times = [s + agreed.epoch_tai_ns for s in since]
    built = [agreed.build(t) for t in times]
    assert agreed.encode(np.array(times, np.int64)).tobytes() == b"".join(built)
    step_ns = NS_PER_SECOND / 256**agreed.fine_octets
    for time, octets in zip(times, built, strict=True):
        assert abs(agreed.parse(octets) - time) <= step_ns / 2 + 0.5
        if agreed.fine_octets >= 4:
            assert agreed.parse(octets) == time
        else:
            assert agreed.build(agreed.parse(octets)) == octets


@given(FORMATS)
def test_p_field_tells_the_format(agreed: CucFormat):
    told = CucFormat.from_p_field(agreed.p_field_octets + b"\x00", agreed.epoch_tai_ns)
    assert (told.coarse_octets, told.fine_octets, told.epoch_tai_ns, told.p_field) == (
        agreed.coarse_octets, agreed.fine_octets, agreed.epoch_tai_ns, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("agreed", "p_field"),
    [
        # ECSS-E-ST-70-41C's usual 4 + 3 octets is P-field 2F with an agency epoch, 1F without.
        (CucFormat(4, 3), "1f"),
        (CucFormat(4, 3, EPOCH_2000), "2f"),
        (CucFormat(4, 2), "1e"),
        (CucFormat(1, 0), "10"),
        (CucFormat(5, 3), "9f20"),
        (CucFormat(4, 10), "9f1c"),
        (CucFormat(7, 10, EPOCH_2000), "af7c"),
        (CucFormat(1, 4), "9304"),
    ],
)
def test_p_field_octets(agreed: CucFormat, p_field: str):
    """301.0-B-4 §3.2.2, bit by bit by hand."""
    assert agreed.p_field_octets.hex() == p_field


def test_known_values():
    # 2³¹ s and half a second, and the last fraction before the next second.
    assert (
        CucFormat(4, 2).parse(bytes.fromhex("800000008000")) == 2**31 * NS_PER_SECOND + 500_000_000
    )
    assert CucFormat(4, 3).parse(bytes.fromhex("00000000ffffff")) == 999_999_940
    # A fraction that rounds up to the whole second carries.
    assert CucFormat(4, 1).build(999_999_999).hex() == "0000000100"
    assert CucFormat(4, 10).parse(bytes.fromhex("00000000" + "ff" * 10)) == NS_PER_SECOND


def test_other_p_field_that_says_the_same():
    """3 + 1 coarse octets are four; mission-defined bits are not ours to judge."""
    agreed = CucFormat(5, 3, p_field=True)
    row = bytes.fromhex("9b43") + bytes(8)
    assert agreed.parse(row) == 0
    assert agreed.decode(np.frombuffer(row, np.uint8).reshape(1, -1)).tolist() == [0]


@pytest.mark.parametrize("p_field", ["9e00", "9c08", "9260", "9f20"])
def test_second_octet_of_the_p_field_counts_though_it_need_not_be_there(p_field: str):
    """301.0-B-4 §3.2.2: the extension flag alone says whether the octet is there."""
    octets = bytes.fromhex(p_field)
    agreed = CucFormat.from_p_field(octets)
    fine = 3 if p_field == "9f20" else 2
    code = octets + (7).to_bytes(agreed.coarse_octets, "big") + b"\x80".ljust(fine, b"\0")
    assert (agreed.fine_octets, agreed.size) == (fine, len(code))
    assert agreed.parse(code) == 7_500_000_000
    assert agreed.decode(np.frombuffer(code, np.uint8).reshape(1, -1)).tolist() == [7_500_000_000]
    assert len(agreed.build(7_500_000_000)) == len(code)
    assert agreed.parse(agreed.build(7_500_000_000)) == 7_500_000_000


@pytest.mark.parametrize(
    "octets", ["", "30", "9f", "1f" + "00" * 6, "2f" + "00" * 7, "00" * 8, "9fa0" + "00" * 6]
)
def test_received_octets_that_are_refused(octets: str):
    with pytest.raises(RemoteError):
        CucFormat(4, 3, p_field=True).parse(bytes.fromhex(octets))


def test_agency_epoch_has_to_be_given():
    with pytest.raises(LocalError, match="2f names an agency epoch"):
        CucFormat.from_p_field(bytes.fromhex("2f"))
    assert CucFormat.from_p_field(bytes.fromhex("2f"), EPOCH_2000).parse(
        bytes.fromhex("2f00000001000000")
    ) == (EPOCH_2000 + NS_PER_SECOND)


def test_p_field_that_is_none():
    for octets in ("", "41", "9f", "9f80"):
        with pytest.raises(RemoteError):
            CucFormat.from_p_field(bytes.fromhex(octets))


@pytest.mark.parametrize("tai_ns", [-1, 256 * NS_PER_SECOND, 256 * NS_PER_SECOND - 1])
def test_times_that_do_not_fit(tai_ns: int):
    agreed = CucFormat(1, 1)
    with pytest.raises(LocalError, match=str(tai_ns)):
        agreed.build(tai_ns)
    with pytest.raises(LocalError, match=str(tai_ns)):
        agreed.encode(np.array([0, tai_ns]))


@pytest.mark.parametrize(("coarse", "fine"), [(0, 0), (8, 0), (4, -1), (4, 11)])
def test_layouts_that_do_not_exist(coarse: int, fine: int):
    with pytest.raises(LocalError, match="allowed"):
        CucFormat(coarse, fine)
    with pytest.raises(LocalError, match="wanted"):
        CucFormat().decode(np.zeros((2, 3), np.uint8))
