"""TAI, Unix and UTC against skyfield's table and Python's calendar, and inside leap seconds."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skyfield.api import load

from protocols.errors import LocalError
from protocols.timecodes.tai import (
    LEAP_SECONDS,
    NS_PER_SECOND,
    tai_ns_from_unix_ns,
    tai_ns_from_utc_iso,
    unix_ns_from_tai_ns,
    utc_iso_from_tai_ns,
)

# Years 1 to 9999 do not fit int64 nanoseconds; 1678 to 2225 do.
TIMES = st.integers(-(2**63) + 10**18, 2**63 - 10**18)
NEAR_LEAPS = st.builds(
    lambda entry, ns: tai_ns_from_utc_iso(entry[0].isoformat()) + ns,
    st.sampled_from(LEAP_SECONDS),
    st.integers(-3 * NS_PER_SECOND, 3 * NS_PER_SECOND),
)
ANY_TIME = st.one_of(TIMES, NEAR_LEAPS)


def test_leap_seconds_agree_with_skyfield():
    timescale = load.timescale(builtin=True)
    table = {
        float(jd): int(s)
        for jd, s in zip(timescale.leap_dates, timescale.leap_offsets, strict=True)
    }
    ours = {day.toordinal() + 1721424.5: offset for day, offset in LEAP_SECONDS if offset > 10}
    assert ours == table


@pytest.mark.parametrize(
    ("text", "tai_minus_unix_s"),
    [("1972-01-01", 10), ("1972-06-30T23:59:59", 10), ("1972-07-01", 11),
     ("2016-12-31T23:59:59", 36), ("2017-01-01", 37), ("2026-11-22T21:00:00Z", 37),
     ("1958-01-01", 10)],
)  # fmt: skip
def test_offset_from_utc(text: str, tai_minus_unix_s: int):
    moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
    since_1958 = int((moment - datetime(1958, 1, 1, tzinfo=UTC)).total_seconds())
    assert tai_ns_from_utc_iso(text) == (since_1958 + tai_minus_unix_s) * NS_PER_SECOND
    unix_ns = int(moment.timestamp()) * NS_PER_SECOND
    assert tai_ns_from_unix_ns(unix_ns) == tai_ns_from_utc_iso(text)


def test_through_a_leap_second():
    """TAI runs on; Unix time says the same second twice; the text says 60."""
    midnight = tai_ns_from_utc_iso("2017-01-01T00:00:00Z")
    seconds = [midnight + s * NS_PER_SECOND for s in (-2, -1, 0, 1)]
    assert [utc_iso_from_tai_ns(t, 0) for t in seconds] == [
        "2016-12-31T23:59:59Z", "2016-12-31T23:59:60Z",
        "2017-01-01T00:00:00Z", "2017-01-01T00:00:01Z",
    ]  # fmt: skip
    unix = [unix_ns_from_tai_ns(t) // NS_PER_SECOND - 1_483_228_800 for t in seconds]
    assert unix == [-1, 0, 0, 1]
    assert tai_ns_from_unix_ns(1_483_228_800 * NS_PER_SECOND) == midnight


@given(ANY_TIME)
def test_iso_round_trip(tai_ns: int):
    assert tai_ns_from_utc_iso(utc_iso_from_tai_ns(tai_ns, 9)) == tai_ns


@given(st.lists(ANY_TIME, max_size=20))
def test_arrays_equal_scalars(times: list[int]):
    array = np.array(times, np.int64)
    unix = unix_ns_from_tai_ns(array)
    assert unix.dtype == np.int64
    assert unix.tolist() == [unix_ns_from_tai_ns(t) for t in times]
    assert tai_ns_from_unix_ns(unix).tolist() == [tai_ns_from_unix_ns(int(u)) for u in unix]


@given(TIMES)
def test_unix_round_trip(unix_ns: int):
    assert unix_ns_from_tai_ns(tai_ns_from_unix_ns(unix_ns)) == unix_ns


@given(ANY_TIME, st.integers(0, 9))
def test_text_is_truncated(tai_ns: int, decimals: int):
    text = utc_iso_from_tai_ns(tai_ns, decimals)
    assert 0 <= tai_ns - tai_ns_from_utc_iso(text) < 10 ** (9 - decimals)


@given(st.datetimes(datetime(1972, 1, 1), datetime(2200, 1, 1)))
def test_day_of_year_form(moment: datetime):
    a, b = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), moment.strftime("%Y-%jT%H:%M:%S.%fZ")
    assert tai_ns_from_utc_iso(a) == tai_ns_from_utc_iso(b)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-02-29", "2026-366T00:00", "2026-000", "2026-01-01T24:00", "2026-01-01T00:60",
     "2026-12-31T23:59:60Z", "2016-12-31T23:58:60", "2016-12-31T23:59:61",
     "2026-01-01T00:00:00+01:00",
     "2026-01-01 00:00", "0000-01-01", "２０２６-01-01"],
)  # fmt: skip
def test_what_is_not_a_utc_time(text: str):
    with pytest.raises(LocalError, match=r"utc|UTC|day|year|month|no such|range"):
        tai_ns_from_utc_iso(text)


def test_text_has_borders():
    with pytest.raises(LocalError, match="decimals"):
        utc_iso_from_tai_ns(0, 10)
    with pytest.raises(LocalError, match="9999"):
        utc_iso_from_tai_ns(10**21)
