"""Types and operations that all SLE transfer services share: association, stop, status reports.

After the modules COMMON-TYPES, BIND-TYPES, COMMON-PDUS and SERVICE-INSTANCE-ID that annex A of
911.1-B, 911.2-B and 912.1-B has.  Times are integer TAI nanoseconds; where the standard has a
CHOICE of NULL and something, a value is None or that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.sle.ber import (
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    OrNull,
    Sequence,
    SequenceOf,
    SetOf,
    Type,
    Untagged,
    VisibleString,
)
from protocols.timecodes.cds import CdsFormat

#: Versions of the services whose PDUs are known here; version 1 had other object identifiers.
VERSIONS: Final = range(2, 6)

UNSIGNED_LONG: Final = Integer(0, 0xFFFF_FFFF)
POSITIVE_LONG: Final = Integer(1, 0xFFFF_FFFF)
UNSIGNED_SHORT: Final = Integer(0, 0xFFFF)
POSITIVE_SHORT: Final = Integer(1, 0xFFFF)
INVOKE_ID: Final = UNSIGNED_SHORT
CREDENTIALS: Final = OrNull(0, 1, OctetString(8, 256))
SPACE_LINK_DATA_UNIT: Final = OctetString(1, 65_536)
#: Seconds.
REPORTING_CYCLE: Final = Integer(2, 600)
TIMEOUT_PERIOD: Final = Integer(1, 600)


class TimeType(Untagged):
    """Time: [0] CDS to the microsecond, [1] to the picosecond; TAI ns.

    Whole microseconds are built as [0], others as [1], so that nothing is lost.
    """

    _CODES: Final = tuple(CdsFormat(submillisecond_octets=octets) for octets in (2, 4))
    _TYPES: Final = tuple(
        OctetString(code.size, code.size).tagged(number) for number, code in enumerate(_CODES)
    )

    def read(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        for of, code in zip(self._TYPES, self._CODES, strict=True):
            if of.fits(data, at):
                octets, at = of.read(data, at, end)
                return code.parse(octets), at
        raise RemoteError("BER: a time wanted", data=data, offset=at)

    def build(self, value: int) -> bytes:
        number = 1 if value % 1_000 else 0
        return self._TYPES[number].build(self._CODES[number].build(value))


TIME: Final = TimeType()
CONDITIONAL_TIME: Final = OrNull(0, 1, TIME)


# ---------------------------------------------------------------- results


@dataclass(frozen=True, slots=True)
class Refused:
    """A negative result.  specific: to the operation; else a diagnostic common to all."""

    code: int
    specific: bool = True
    reason: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.reason or f"diagnostic {self.code}"


#: COMMON-TYPES, Diagnostics.
_COMMON: Final = {100: "duplicate invoke id", 127: "other reason"}
OTHER_REASON: Final = 127


class Result(Untagged):
    """CHOICE of a positive result [0] and a diagnostic [1]: `Refused`, or the positive's value.

    common: the diagnostic is one common to all operations; else a CHOICE of that and a specific.
    """

    def __init__(
        self, reasons: Mapping[int, str], *, positive: Type | None = None, plain: bool = False
    ) -> None:
        """reasons: names of diagnostics.  plain: they stand without a CHOICE around them."""
        self._reasons = reasons
        self._positive = (positive or Null()).tagged(0)
        self._diagnostic = Integer(0, 0xFFFF)
        self._plain = plain
        self._negative = self._diagnostic.tagged(1) if plain else _DiagnosticType(reasons).tagged(1)

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        if self._positive.fits(data, at):
            return self._positive.read(data, at, end)
        value, at = self._negative.read(data, at, end)
        if self._plain:
            value = Refused(value, reason=self._reasons.get(value, ""))
        return value, at

    def build(self, value: Any) -> bytes:
        if not isinstance(value, Refused):
            return self._positive.build(value)
        return self._negative.build(value.code if self._plain else value)


class _DiagnosticType(Untagged):
    def __init__(self, reasons: Mapping[int, str]) -> None:
        self._reasons = {False: _COMMON, True: reasons}
        self._types = {False: Integer(0, 0xFFFF).tagged(0), True: Integer(0, 0xFFFF).tagged(1)}

    def read(self, data: bytes, at: int, end: int) -> tuple[Refused, int]:
        specific = self._types[True].fits(data, at)
        code, at = self._types[specific].read(data, at, end)
        return Refused(code, specific, self._reasons[specific].get(code, "")), at

    def build(self, value: Refused) -> bytes:
        return self._types[value.specific].build(value.code)


# ---------------------------------------------------------------- service instances

#: SERVICE-INSTANCE-ID: attributes by the last number of their object identifier.
_ATTRIBUTES: Final = {
    "sagr": 52,
    "spack": 53,
    "fsl-fg": 14,
    "rsl-fg": 38,
    "cltu": 7,
    "fsp": 10,
    "raf": 22,
    "rcf": 46,
    "rcfsh": 44,
    "rocf": 49,
    "rsp": 40,
    "tcf": 12,
    "tcva": 16,
}
_NAMES: Final = {number: name for name, number in _ATTRIBUTES.items()}
#: iso(1) identified-organization(3) standards-producing-organization(112) ccsds(4)
#: space-link-extension(3) sle-transfer-services(1) 2
_ARC: Final = (1, 3, 112, 4, 3, 1, 2)


@dataclass(frozen=True, slots=True)
class _Attribute:
    identifier: tuple[int, ...]
    value: str


class InstanceIdentifierType(Type):
    """ServiceInstanceIdentifier, as text: sagr=1.spack=PASS-7.rsl-fg=1.raf=onlc1."""

    _TYPE: Final = SequenceOf(
        SetOf(Sequence(_Attribute, ObjectIdentifier(), VisibleString(1, 256)), 1), 16
    )
    identifier = _TYPE.identifier

    def content(self, data: bytes, start: int, stop: int) -> str:
        parts: list[str] = []
        for attributes in self._TYPE.content(data, start, stop):
            for attribute in attributes:
                *arc, last = attribute.identifier
                if tuple(arc) != _ARC or last not in _NAMES or "." in attribute.value:
                    raise RemoteError(f"service instance attribute {attribute}", data=data)
                parts.append(f"{_NAMES[last]}={attribute.value}")
        if not parts:
            raise RemoteError("a service instance without attributes", data=data)
        return ".".join(parts)

    def octets(self, value: str) -> bytes:
        attributes: list[tuple[_Attribute]] = []
        for part in value.split("."):
            name, equals, text = part.partition("=")
            if not equals or not text or name not in _ATTRIBUTES:
                raise LocalError(
                    f"service instance {value!r}: NAME=VALUE between dots wanted, names "
                    f"{', '.join(_ATTRIBUTES)}"
                )
            attributes.append((_Attribute((*_ARC, _ATTRIBUTES[name]), text),))
        return self._TYPE.octets(tuple(attributes))


INSTANCE_IDENTIFIER: Final = InstanceIdentifierType()


# ---------------------------------------------------------------- association


class ServiceType(IntEnum):
    """ApplicationIdentifier; those that are done here."""

    RAF = 0
    RCF = 2
    CLTU = 16


class BindDiagnostic(IntEnum):
    ACCESS_DENIED = 0
    SERVICE_TYPE_NOT_SUPPORTED = 1
    VERSION_NOT_SUPPORTED = 2
    NO_SUCH_SERVICE_INSTANCE = 3
    ALREADY_BOUND = 4
    NOT_ACCESSIBLE_TO_THIS_INITIATOR = 5
    INCONSISTENT_SERVICE_TYPE = 6
    INVALID_TIME = 7
    OUT_OF_SERVICE = 8
    OTHER_REASON = 127


class AbortDiagnostic(IntEnum):
    """PeerAbortDiagnostic; from 128 on those of ISP1 (913.1-B)."""

    ACCESS_DENIED = 0
    UNEXPECTED_RESPONDER_ID = 1
    OPERATIONAL_REQUIREMENT = 2
    PROTOCOL_ERROR = 3
    COMMUNICATIONS_FAILURE = 4
    ENCODING_ERROR = 5
    RETURN_TIMEOUT = 6
    END_OF_SERVICE_PROVISION_PERIOD = 7
    UNSOLICITED_INVOKE_ID = 8
    OTHER_REASON = 127
    TML_PROTOCOL_ERROR = 128
    TML_BAD_FORMAT = 129
    TML_HEARTBEAT_PARAMETERS = 130
    TML_ASSOCIATION_TIMEOUT = 131
    TML_HEARTBEAT_TIMEOUT = 132
    TML_DISCONNECTED = 133
    TML_DISCONNECTED_DURING_ABORT = 134
    TML_OTHER_REASON = 199


def words(diagnostic: int, of: type[IntEnum]) -> str:
    """A diagnostic for people.

    >>> words(6, AbortDiagnostic), words(200, AbortDiagnostic)
    ('return timeout', 'diagnostic 200')
    """
    try:
        return of(diagnostic).name.lower().replace("_", " ")
    except ValueError:
        return f"diagnostic {diagnostic}"


class UnbindReason(IntEnum):
    END = 0
    SUSPEND = 1
    VERSION_NOT_SUPPORTED = 2
    OTHER = 127


@dataclass(frozen=True, slots=True)
class BindInvocation:
    credentials: bytes | None
    initiator: str
    responder_port: str
    service: int
    version: int
    instance: str


@dataclass(frozen=True, slots=True)
class BindReturn:
    """result: the version, or why not (`BindDiagnostic`)."""

    credentials: bytes | None
    responder: str
    result: int | Refused


@dataclass(frozen=True, slots=True)
class UnbindInvocation:
    credentials: bytes | None
    reason: UnbindReason


@dataclass(frozen=True, slots=True)
class UnbindReturn:
    credentials: bytes | None
    result: None = None


@dataclass(frozen=True, slots=True)
class PeerAbort:
    """As a PDU, which over ISP1 is nothing but one octet of urgent data (see `tml`)."""

    diagnostic: int


class _PeerAbortType(Integer):
    def content(self, data: bytes, start: int, stop: int) -> PeerAbort:
        return PeerAbort(super().content(data, start, stop))


_AUTHORITY: Final = VisibleString(3, 16)
BIND_INVOCATION: Final = Sequence(
    BindInvocation,
    CREDENTIALS,
    _AUTHORITY,
    VisibleString(1, 128),
    Integer(0, 127),
    POSITIVE_SHORT,
    INSTANCE_IDENTIFIER,
)
_BIND_REASONS: Final = {code.value: words(code, BindDiagnostic) for code in BindDiagnostic}
BIND_RETURN: Final = Sequence(
    BindReturn, CREDENTIALS, _AUTHORITY, Result(_BIND_REASONS, positive=POSITIVE_SHORT, plain=True)
)
UNBIND_INVOCATION: Final = Sequence(UnbindInvocation, CREDENTIALS, Enumerated(UnbindReason))
UNBIND_RETURN: Final = Sequence(UnbindReturn, CREDENTIALS, Result({}, plain=True))
PEER_ABORT: Final = _PeerAbortType(0, 255)

# ---------------------------------------------------------------- operations of all services


@dataclass(frozen=True, slots=True)
class StopInvocation:
    credentials: bytes | None
    invoke_id: int


@dataclass(frozen=True, slots=True)
class StopReturn:
    credentials: bytes | None
    invoke_id: int
    result: Refused | None = None


#: ReportRequestType: seconds between reports, or one of these.
IMMEDIATELY: Final = -1
STOP_REPORTS: Final = 0


class _ReportRequestType(Untagged):
    """immediately [0], periodically [1] so many seconds, stop [2]."""

    _IMMEDIATELY: Final = Null().tagged(0)
    _CYCLE: Final = REPORTING_CYCLE.tagged(1)
    _STOP: Final = Null().tagged(2)

    def read(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        for of, value in ((self._IMMEDIATELY, IMMEDIATELY), (self._STOP, STOP_REPORTS)):
            if of.fits(data, at):
                return value, of.read(data, at, end)[1]
        return self._CYCLE.read(data, at, end)

    def build(self, value: int) -> bytes:
        if value in (IMMEDIATELY, STOP_REPORTS):
            return (self._IMMEDIATELY if value == IMMEDIATELY else self._STOP).build(None)
        return self._CYCLE.build(value)


@dataclass(frozen=True, slots=True)
class ScheduleStatusReport:
    """request: seconds between reports, `IMMEDIATELY` or `STOP_REPORTS`."""

    credentials: bytes | None
    invoke_id: int
    request: int


@dataclass(frozen=True, slots=True)
class ScheduleStatusReportReturn:
    credentials: bytes | None
    invoke_id: int
    result: Refused | None = None


@dataclass(frozen=True, slots=True)
class GetParameter:
    """name: a number of `parameters.Name`."""

    credentials: bytes | None
    invoke_id: int
    name: int


STOP_INVOCATION: Final = Sequence(StopInvocation, CREDENTIALS, INVOKE_ID)
STOP_RETURN: Final = Sequence(StopReturn, CREDENTIALS, INVOKE_ID, Result(_COMMON, plain=True))
SCHEDULE_STATUS_REPORT: Final = Sequence(
    ScheduleStatusReport, CREDENTIALS, INVOKE_ID, _ReportRequestType()
)
SCHEDULE_STATUS_REPORT_RETURN: Final = Sequence(
    ScheduleStatusReportReturn,
    CREDENTIALS,
    INVOKE_ID,
    Result({0: "not in this delivery mode", 1: "already stopped", 2: "invalid reporting cycle"}),
)
GET_PARAMETER: Final = Sequence(GetParameter, CREDENTIALS, INVOKE_ID, UNSIGNED_SHORT)

#: PDUs of the association, by tag, either way.
ASSOCIATION_TO_PROVIDER: Final[Mapping[int, Type]] = {
    100: BIND_INVOCATION,
    102: UNBIND_INVOCATION,
    104: PEER_ABORT,
}
ASSOCIATION_TO_USER: Final[Mapping[int, Type]] = {
    101: BIND_RETURN,
    103: UNBIND_RETURN,
    104: PEER_ABORT,
}
