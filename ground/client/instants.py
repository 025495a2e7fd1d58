"""Times as people write them, to TAI nanoseconds and to the API's milliseconds."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import numpy as np

from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns, tai_ns_from_utc_iso, unix_ns_from_tai_ns

#: int: TAI ns since 1958; text: UTC like 2026-11-22T21:00:00Z, or 10min, 3h, 30d back from now;
#: datetime with its time zone; datetime64: UTC.
Instant = int | str | datetime | np.datetime64

_BACK: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")
_UNIT_NS: Final = {"s": 10**9, "min": 60 * 10**9, "h": 3_600 * 10**9, "d": 86_400 * 10**9}


def tai_ns(instant: Instant, now_ns: Callable[[], int]) -> int:
    """now_ns: asked where an instant is so long back.  LocalError for what is none.

    >>> tai_ns("2017-01-01T00:00:00Z", lambda: 0) == tai_ns(np.datetime64("2017-01-01"), lambda: 0)
    True
    >>> tai_ns("2h", lambda: 10**18)
    999992800000000000
    """
    if isinstance(instant, str):
        if back := _BACK.fullmatch(instant.strip()):
            return now_ns() - round(float(back[1]) * _UNIT_NS[back[2]])
        try:
            return tai_ns_from_utc_iso(instant)
        except LocalError:
            raise LocalError(
                f"time {instant[:80]!r}: UTC like 2026-11-22T21:00:00Z, or 10min, 3h, 30d back, "
                "wanted"
            ) from None
    if isinstance(instant, datetime):
        if instant.tzinfo is None:
            raise LocalError(f"time {instant!r} has no time zone; datetime(…, tzinfo=UTC) wanted")
        since = instant - datetime(1970, 1, 1, tzinfo=UTC)
        micro = (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds
        return int(tai_ns_from_unix_ns(micro * 1_000))
    if isinstance(instant, np.datetime64):
        if np.isnat(instant):
            raise LocalError("time NaT: an instant wanted")
        return int(tai_ns_from_unix_ns(int(instant.astype("datetime64[ns]").astype(np.int64))))
    return int(instant)


def unix_ms(instant: Instant, now_ns: Callable[[], int]) -> float:
    """As the API's routes for people take it."""
    return int(unix_ns_from_tai_ns(tai_ns(instant, now_ns))) / 1e6
