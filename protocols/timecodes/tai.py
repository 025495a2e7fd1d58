"""Internal time (integer TAI nanoseconds since 1958-01-01T00:00:00 TAI) to and from UTC.

Leap seconds.  The difference TAI − UTC is a whole number of seconds since 1972-01-01;
`LEAP_SECONDS` is the IERS table (leap-seconds.list after Bulletin C; the issue that expires
on 2026-06-28 has none after 2017-01-01).
Before 1972 UTC was defined otherwise; here the difference is held at 10 s, so that conversion stays
a bijection on days and an on-board clock that starts at its epoch still has a UTC date.

During a leap second, written 23:59:60:
- Unix time repeats itself, as POSIX defines: the second has the numbers of the one that follows it.
  `tai_ns_from_unix_ns` gives, for these numbers, the second time round (00:00:00 of the next day).
- ISO text and CDS say 60 and are exact in both directions.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from datetime import date
from typing import Final, overload

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

I64 = npt.NDArray[np.int64]

NS_PER_SECOND: Final = 1_000_000_000
NS_PER_MS: Final = 1_000_000
SECONDS_PER_DAY: Final = 86_400
NS_PER_DAY: Final = SECONDS_PER_DAY * NS_PER_SECOND

#: Stands where received octets hold no time that int64 nanoseconds can say.
TIME_INVALID_NS: Final = -(2**63)

#: Until when the table below is known to be whole.
LEAP_SECONDS_EXPIRE: Final = "2026-06-28"
#: (first UTC day, TAI − UTC in seconds from then on); IERS leap-seconds.list.
LEAP_SECONDS: Final = tuple(
    (date.fromisoformat(day), offset)
    for offset, day in enumerate(
        (
            "1972-01-01", "1972-07-01", "1973-01-01", "1974-01-01", "1975-01-01", "1976-01-01",
            "1977-01-01", "1978-01-01", "1979-01-01", "1980-01-01", "1981-07-01", "1982-07-01",
            "1983-07-01", "1985-07-01", "1988-01-01", "1990-01-01", "1991-01-01", "1992-07-01",
            "1993-07-01", "1994-07-01", "1996-01-01", "1997-07-01", "1999-01-01", "2006-01-01",
            "2009-01-01", "2012-07-01", "2015-07-01", "2017-01-01",
        ),
        start=10,
    )
)  # fmt: skip

_DAY_1958: Final = date(1958, 1, 1).toordinal()
_DAYS_1958_TO_1970: Final = date(1970, 1, 1).toordinal() - _DAY_1958
UNIX_EPOCH_DAY: Final = _DAYS_1958_TO_1970

# Steps of TAI − UTC after the first entry, which only starts the table.
_LEAP_DAY: Final = [day.toordinal() - _DAY_1958 for day, _ in LEAP_SECONDS[1:]]
_LEAP_DAY_ARRAY: Final = np.array(_LEAP_DAY, np.int64)
_FIRST_OFFSET: Final = LEAP_SECONDS[0][1]
#: TAI at which each new offset begins: midnight UTC, after the leap second.
_LEAP_TAI_NS: Final = [
    (day * SECONDS_PER_DAY + _FIRST_OFFSET + 1 + index) * NS_PER_SECOND
    for index, day in enumerate(_LEAP_DAY)
]
_LEAP_TAI_ARRAY: Final = np.array(_LEAP_TAI_NS, np.int64)


def day_start_tai_ns(day: int) -> int:
    """TAI of 00:00:00 UTC on the day `day` days after 1958-01-01 (negative before it)."""
    offset = _FIRST_OFFSET + bisect_right(_LEAP_DAY, day)
    return (day * SECONDS_PER_DAY + offset) * NS_PER_SECOND


def day_start_tai_ns_array(day: I64) -> I64:
    """`day_start_tai_ns` of each day; the caller sees to the range of int64."""
    offset = _FIRST_OFFSET + np.searchsorted(_LEAP_DAY_ARRAY, day, side="right")
    return (day * SECONDS_PER_DAY + offset) * NS_PER_SECOND


def day_length_s(day: int) -> int:
    """86,401 on a day that ends with a leap second, else 86,400."""
    index = bisect_right(_LEAP_DAY, day)
    return SECONDS_PER_DAY + (index < len(_LEAP_DAY) and _LEAP_DAY[index] == day + 1)


def day_length_s_array(day: I64) -> I64:
    return SECONDS_PER_DAY + np.isin(day + 1, _LEAP_DAY_ARRAY).astype(np.int64)


def utc_day_of_tai_ns(tai_ns: int) -> tuple[int, int]:
    """(days since 1958-01-01, ns of that UTC day); the latter passes 86,400 s in a leap second."""
    index = bisect_right(_LEAP_TAI_NS, tai_ns)
    day, of_day = divmod(tai_ns - (_FIRST_OFFSET + index) * NS_PER_SECOND, NS_PER_DAY)
    if index < len(_LEAP_DAY) and day == _LEAP_DAY[index]:
        # Past midnight by the old offset, not by the new one: leap second of the day before.
        return day - 1, of_day + NS_PER_DAY
    return day, of_day


def utc_day_of_tai_ns_array(tai_ns: I64) -> tuple[I64, I64]:
    index = np.searchsorted(_LEAP_TAI_ARRAY, tai_ns, side="right")
    day, of_day = np.divmod(tai_ns - (_FIRST_OFFSET + index) * NS_PER_SECOND, NS_PER_DAY)
    next_leap = np.append(_LEAP_DAY_ARRAY, np.iinfo(np.int64).max)[index]
    in_leap = day == next_leap
    return day - in_leap, of_day + in_leap * NS_PER_DAY


@overload
def tai_ns_from_unix_ns(unix_ns: int) -> int: ...
@overload
def tai_ns_from_unix_ns(unix_ns: I64) -> I64: ...
def tai_ns_from_unix_ns(unix_ns: int | I64) -> int | I64:
    """TAI ns of Unix ns; int (any size) or int64 array of any shape.

    >>> tai_ns_from_unix_ns(0)
    378691210000000000
    """
    if isinstance(unix_ns, np.ndarray):
        day, of_day = np.divmod(unix_ns, NS_PER_DAY)
        return day_start_tai_ns_array(day + UNIX_EPOCH_DAY) + of_day
    day_number, ns = divmod(int(unix_ns), NS_PER_DAY)
    return day_start_tai_ns(day_number + UNIX_EPOCH_DAY) + ns


@overload
def unix_ns_from_tai_ns(tai_ns: int) -> int: ...
@overload
def unix_ns_from_tai_ns(tai_ns: I64) -> I64: ...
def unix_ns_from_tai_ns(tai_ns: int | I64) -> int | I64:
    """Unix ns of TAI ns; int (any size) or int64 array of any shape.

    A leap second has the numbers of the second after it (module docstring).
    """
    if isinstance(tai_ns, np.ndarray):
        day, of_day = utc_day_of_tai_ns_array(tai_ns)
        return (day - UNIX_EPOCH_DAY) * NS_PER_DAY + of_day
    day_number, ns = utc_day_of_tai_ns(int(tai_ns))
    return (day_number - UNIX_EPOCH_DAY) * NS_PER_DAY + ns


_ISO: Final = re.compile(
    r"(\d{4})-(?:(\d\d)-(\d\d)|(\d{3}))(?:T(\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?(?:Z|\+00:00)?",
    re.ASCII,
)


def tai_ns_from_utc_iso(text: str) -> int:
    """TAI ns of a UTC date and time as text: ASCII time code A or B (301.0-B-4 §3.5).

    The time may be cut off on the right; digits beyond the nanosecond are dropped.  Second 60 is
    taken on days that have one.  Raises LocalError, which quotes the text.

    >>> tai_ns_from_utc_iso("2016-12-31T23:59:60.5Z")
    1861920036500000000
    >>> tai_ns_from_utc_iso("2017-001T00:00:00Z")
    1861920037000000000
    """
    match = _ISO.fullmatch(text.strip())
    if match is None:
        raise LocalError(f"{text!r} is not a UTC time like 2026-11-22T21:00:00.5Z")
    year, month, day_of_month, day_of_year, hour, minute, second, fraction = match.groups()
    try:
        if day_of_year is None:
            ordinal = date(int(year), int(month), int(day_of_month)).toordinal()
        else:
            ordinal = date(int(year), 1, 1).toordinal() + int(day_of_year) - 1
            if date.fromordinal(ordinal).year != int(year) or day_of_year == "000":
                raise ValueError(f"day {day_of_year} is not in {year}")
    except (ValueError, OverflowError) as error:
        raise LocalError(f"{text!r}: {error}") from error
    day = ordinal - _DAY_1958
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    last_second = 59
    if (h, m) == (23, 59):
        last_second += day_length_s(day) - SECONDS_PER_DAY
    if h > 23 or m > 59 or s > last_second:
        raise LocalError(f"{text!r}: no such time on that day")
    ns = int((fraction or "0")[:9].ljust(9, "0"))
    return day_start_tai_ns(day) + (h * 3600 + m * 60 + s) * NS_PER_SECOND + ns


def utc_iso_from_tai_ns(tai_ns: int, decimals: int = 3) -> str:
    """UTC as `YYYY-MM-DDThh:mm:ss.ddd…Z`; truncated, so that text never runs ahead of the clock.

    `decimals` 0–9.  Raises LocalError outside the years 1–9999.

    >>> utc_iso_from_tai_ns(1861920036500000000, decimals=1)
    '2016-12-31T23:59:60.5Z'
    """
    if not 0 <= decimals <= 9:
        raise LocalError(f"decimals is {decimals}, 0 to 9 wanted")
    day, of_day = utc_day_of_tai_ns(int(tai_ns))
    try:
        calendar = date.fromordinal(day + _DAY_1958).isoformat()
    except (ValueError, OverflowError) as error:
        raise LocalError(f"TAI {tai_ns} ns is outside the years 1 to 9999") from error
    seconds, ns = divmod(of_day, NS_PER_SECOND)
    # Second 86,400 of the day is written 23:59:60.
    minutes = min(seconds // 60, 1439)
    text = f"{calendar}T{minutes // 60:02d}:{minutes % 60:02d}:{seconds - minutes * 60:02d}"
    if decimals:
        text += f".{ns:09d}"[: decimals + 1]
    return text + "Z"
