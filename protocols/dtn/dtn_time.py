"""DTN time (RFC 9171 §4.2.6): milliseconds since 2000-01-01 UTC that no leap second affects."""

from __future__ import annotations

from typing import Final

from protocols.timecodes.tai import NS_PER_MS, tai_ns_from_unix_ns, unix_ns_from_tai_ns

#: 2000-01-01T00:00:00Z as Unix time.
DTN_EPOCH_UNIX_NS: Final = 946_684_800 * 1_000_000_000
#: Later than any time that int64 nanoseconds can say; a lifetime may well end after it.
NEVER_NS: Final = 2**63 - 1
#: More than what internal time is ahead of Unix time (twelve years and the leap seconds).
_MARGIN_NS: Final = 2 * 10**18


def dtn_ms_from_tai_ns(t_tai_ns: int) -> int:
    """DTN time of internal time, rounded down; 0 (unknown) before 2000.

    >>> from protocols.timecodes.tai import tai_ns_from_utc_iso
    >>> dtn_ms_from_tai_ns(tai_ns_from_utc_iso("2027-01-01T00:00:00Z"))
    852076800000
    """
    return max((unix_ns_from_tai_ns(t_tai_ns) - DTN_EPOCH_UNIX_NS) // NS_PER_MS, 0)


def tai_ns_from_dtn_ms(time_ms: int) -> int:
    """Internal time of a DTN time; `NEVER_NS` for one that internal time cannot say."""
    unix_ns = time_ms * NS_PER_MS + DTN_EPOCH_UNIX_NS
    return NEVER_NS if unix_ns > NEVER_NS - _MARGIN_NS else tai_ns_from_unix_ns(unix_ns)
