"""Spans of years as people write them."""

from __future__ import annotations

import re

from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso


def span_ns(start: str, end: str) -> tuple[int, int]:
    """TAI ns from the begin of the first to the end of the last; a year stands for all of it.

    >>> first, last = span_ns("2026", "2026")
    >>> (last - first) // (86_400 * 10**9)
    365
    >>> span_ns("2026-03-01", "2026-03-02T12:00:00")[1] == span_ns("2026", "2026-03-02T12:00")[1]
    True

    Raises LocalError, which names the option.
    """
    return instant_ns(start, "--from", 0), instant_ns(end, "--to", 1)


def instant_ns(text: str, option: str, years_on: int) -> int:
    if re.fullmatch(r"\d{4}", text.strip()):
        text = f"{int(text) + years_on:04d}-01-01"
    try:
        return tai_ns_from_utc_iso(text)
    except LocalError as error:
        raise LocalError(f"{option} {error}") from None
