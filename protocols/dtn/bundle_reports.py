"""Administrative records and bundle status reports, RFC 9171 §6.1."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from protocols.dtn import cbor
from protocols.dtn.bundle import TIMESTAMP, Bundle, BundleFlags, CreationTimestamp
from protocols.dtn.cbor import ANY, ARRAY, BOOLEAN, UINT, array, head, items, malformed
from protocols.dtn.eid import EID, Eid
from protocols.errors import LocalError, RemoteError

#: §6.1: the only type that RFC 9171 defines.
STATUS_REPORT: Final = 1


class Reason(IntEnum):
    """§6.1.1 table 1, and RFC 9172 §11.2."""

    NO_INFORMATION = 0
    LIFETIME_EXPIRED = 1
    UNIDIRECTIONAL_LINK = 2
    TRANSMISSION_CANCELED = 3
    DEPLETED_STORAGE = 4
    DESTINATION_UNAVAILABLE = 5
    NO_ROUTE = 6
    NO_TIMELY_CONTACT = 7
    BLOCK_UNINTELLIGIBLE = 8
    HOP_LIMIT_EXCEEDED = 9
    TRAFFIC_PARED = 10
    BLOCK_UNSUPPORTED = 11
    MISSING_SECURITY_OPERATION = 12
    UNKNOWN_SECURITY_OPERATION = 13
    UNEXPECTED_SECURITY_OPERATION = 14
    FAILED_SECURITY_OPERATION = 15
    CONFLICTING_SECURITY_OPERATION = 16


class Status(IntEnum):
    """§6.1.1: the assertions in their order, and the flag that requests each."""

    RECEIVED = 0
    FORWARDED = 1
    DELIVERED = 2
    DELETED = 3

    @property
    def flag(self) -> int:
        """Bundle processing control flag that asks for it."""
        return (
            BundleFlags.REPORT_RECEPTION,
            BundleFlags.REPORT_FORWARDING,
            BundleFlags.REPORT_DELIVERY,
            BundleFlags.REPORT_DELETION,
        )[self]


#: Type code and content of any administrative record.
ADMINISTRATIVE_RECORD: Final = array("administrative record", UINT, ANY)
_SUBJECT = items("status report's subject", UINT, EID, TIMESTAMP)
_FRAGMENT = items("status report's fragment", UINT, UINT)
_ASSERTED, _ASSERTED_AT = array("status", BOOLEAN), array("status", BOOLEAN, UINT)


@dataclass(frozen=True, slots=True)
class StatusReport:
    """What became of a bundle.

    times_ms: status asserted → DTN time, None where the report gives none.
    reason: a `Reason`, or a number that the registry got later.
    fragment_offset, fragment_length: of a subject that is a fragment.
    """

    times_ms: dict[Status, int | None]
    reason: int
    source: Eid
    creation: CreationTimestamp
    fragment_offset: int | None = None
    fragment_length: int | None = None

    @classmethod
    def about(
        cls, bundle: Bundle, status: Status, reason: int = Reason.NO_INFORMATION, time_ms: int = 0
    ) -> StatusReport:
        """Report on a bundle; the time is given only if the bundle asks for it."""
        source, creation, offset, length = bundle.id
        timed = bundle.primary.flags & BundleFlags.STATUS_TIME_REQUESTED
        return cls({status: time_ms if timed else None}, reason, source, creation, offset, length)

    def build(self) -> bytes:
        """Payload of the bundle that carries it.  Raises LocalError for a value out of range."""
        states: list[bytes] = []
        for status in Status:
            time_ms = self.times_ms.get(status)
            if time_ms is None:
                states.append(_ASSERTED.write((status in self.times_ms,)))
            else:
                states.append(_ASSERTED_AT.write((True, time_ms)))
        fragment = b""
        if (self.fragment_offset is None) != (self.fragment_length is None):
            raise LocalError("fragment_offset without fragment_length, or the other way round")
        if self.fragment_offset is not None:
            fragment = _FRAGMENT.write((self.fragment_offset, self.fragment_length))
        report = (
            head(ARRAY, 6 if fragment else 4)
            + head(ARRAY, len(states))
            + b"".join(states)
            + _SUBJECT.write((self.reason, self.source, self.creation))
            + fragment
        )
        return ADMINISTRATIVE_RECORD.write((STATUS_REPORT, report))

    @classmethod
    def parse(cls, payload: bytes | memoryview) -> StatusReport:
        """Raises RemoteError for anything else, records of other types among it.

        Assertions after the fourth, which §6.1.1 leaves room for, are passed over.
        """
        code, data = ADMINISTRATIVE_RECORD.parse(payload)
        if code != STATUS_REPORT:
            raise RemoteError(f"administrative record of type {code}, 1 (status report) wanted")
        count, at = cbor.read_count(data, 0)
        if count not in (4, 6):
            raise malformed(f"status report of {count} items, 4 or 6 wanted", data, 0)
        assertions, at = cbor.read_count(data, at)
        if assertions < len(Status):
            raise malformed(f"{assertions} status assertions, 4 wanted", data, at)
        times_ms: dict[Status, int | None] = {}
        for i in range(assertions):
            if i >= len(Status):
                at = cbor.skip(data, at)
                continue
            size, after = cbor.read_count(data, at)
            if size not in (1, 2):
                raise malformed(f"status of {size} items, 1 or 2 wanted", data, at)
            asserted, at = BOOLEAN.read(data, after)
            time_ms = None
            if size == 2:
                time_ms, at = cbor.read_unsigned(data, at)
            if asserted:
                times_ms[Status(i)] = time_ms
        subject: tuple[Any, ...]
        subject, at = _SUBJECT.read(data, at)
        fragment: tuple[Any, ...] = ()
        if count == 6:
            fragment, at = _FRAGMENT.read(data, at)
        if at != len(data):
            raise malformed("octets after the status report", data, at)
        return cls(times_ms, *subject, *fragment)
