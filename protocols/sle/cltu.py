"""Forward CLTU (912.1-B): its PDUs, annex A."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.sle.ber import (
    Choice,
    Chosen,
    Enumerated,
    Null,
    OctetString,
    OrNull,
    Sequence,
)
from protocols.sle.common import (
    CONDITIONAL_TIME,
    CREDENTIALS,
    INVOKE_ID,
    POSITIVE_SHORT,
    SPACE_LINK_DATA_UNIT,
    TIME,
    UNSIGNED_LONG,
    Refused,
    Result,
)


class CltuProduction(IntEnum):
    OPERATIONAL = 0
    CONFIGURED = 1
    INTERRUPTED = 2
    HALTED = 3


class Uplink(IntEnum):
    NOT_AVAILABLE = 0
    NO_RF = 1
    NO_BIT_LOCK = 2
    NOMINAL = 3


class CltuStatus(IntEnum):
    """ForwardDuStatus; of CLTUs: neither acknowledged nor of an unsupported mode."""

    RADIATED = 0
    EXPIRED = 1
    INTERRUPTED = 2
    RADIATION_STARTED = 4
    RADIATION_NOT_STARTED = 5


class TransferDiagnostic(IntEnum):
    UNABLE_TO_PROCESS = 0
    UNABLE_TO_STORE = 1
    OUT_OF_SEQUENCE = 2
    INCONSISTENT_TIME_RANGE = 3
    INVALID_TIME = 4
    LATE = 5
    INVALID_DELAY_TIME = 6
    CLTU_ERROR = 7


class StartDiagnostic(IntEnum):
    OUT_OF_SERVICE = 0
    UNABLE_TO_COMPLY = 1
    PRODUCTION_TIME_EXPIRED = 2
    INVALID_CLTU_ID = 3


class EventDiagnostic(IntEnum):
    OPERATION_NOT_SUPPORTED = 0
    EVENT_INVOCATION_ID_OUT_OF_SEQUENCE = 1
    NO_SUCH_EVENT = 2


class SlduNotification(IntEnum):
    """Whether the end of a CLTU's radiation is to be told."""

    PRODUCE = 0
    DO_NOT_PRODUCE = 1


@dataclass(frozen=True, slots=True)
class CltuStart:
    credentials: bytes | None
    invoke_id: int
    first_cltu: int


@dataclass(frozen=True, slots=True)
class RadiationTimes:
    """start_ns: from when on CLTUs are radiated; stop_ns: until when, None: not known."""

    start_ns: int
    stop_ns: int | None


@dataclass(frozen=True, slots=True)
class CltuStartReturn:
    credentials: bytes | None
    invoke_id: int
    result: RadiationTimes | Refused


@dataclass(frozen=True, slots=True)
class TransferData:
    """earliest_ns, latest_ns: of the begin of radiation, None: any; delay_us: pause after it."""

    credentials: bytes | None
    invoke_id: int
    cltu: int
    earliest_ns: int | None
    latest_ns: int | None
    delay_us: int
    notification: SlduNotification
    data: bytes


@dataclass(frozen=True, slots=True)
class TransferDataReturn:
    """cltu: the id that is expected next; buffer: octets that are free."""

    credentials: bytes | None
    invoke_id: int
    cltu: int
    buffer: int
    result: Refused | None = None


@dataclass(frozen=True, slots=True)
class ThrowEvent:
    """invocation: counts events; event: which, with its qualifier."""

    credentials: bytes | None
    invoke_id: int
    invocation: int
    event: int
    qualifier: bytes


@dataclass(frozen=True, slots=True)
class ThrowEventReturn:
    """invocation: the one that is expected next."""

    credentials: bytes | None
    invoke_id: int
    invocation: int
    result: Refused | None = None


@dataclass(frozen=True, slots=True)
class LastProcessed:
    cltu: int
    start_ns: int | None
    status: CltuStatus


@dataclass(frozen=True, slots=True)
class LastOk:
    """The last CLTU that was radiated, and when its radiation ended."""

    cltu: int
    stop_ns: int


@dataclass(frozen=True, slots=True)
class AsyncNotify:
    """notification: "cltu_radiated", "expired", "interrupted", "halted", "operational",
    "buffer_empty", or with the invocation of an event "actions_completed",
    "actions_not_completed", "condition_false"."""

    credentials: bytes | None
    notification: Chosen
    last_processed: LastProcessed | None
    last_ok: LastOk | None
    production: CltuProduction
    uplink: Uplink


@dataclass(frozen=True, slots=True)
class CltuStatusReport:
    """buffer: octets that are free."""

    credentials: bytes | None
    last_processed: LastProcessed | None
    last_ok: LastOk | None
    production: CltuProduction
    uplink: Uplink
    received: int
    processed: int
    radiated: int
    buffer: int


def _reasons(of: type[IntEnum]) -> dict[int, str]:
    return {code.value: code.name.lower().replace("_", " ") for code in of}


_CLTU_ID: Final = UNSIGNED_LONG
_EVENT_ID: Final = UNSIGNED_LONG
_BUFFER: Final = UNSIGNED_LONG
_LAST_PROCESSED: Final = OrNull(
    0, 1, Sequence(LastProcessed, _CLTU_ID, CONDITIONAL_TIME, Enumerated(CltuStatus))
)
_LAST_OK: Final = OrNull(0, 1, Sequence(LastOk, _CLTU_ID, TIME))
_STATE: Final = (Enumerated(CltuProduction), Enumerated(Uplink))

CLTU_START: Final = Sequence(CltuStart, CREDENTIALS, INVOKE_ID, _CLTU_ID)
CLTU_START_RETURN: Final = Sequence(
    CltuStartReturn,
    CREDENTIALS,
    INVOKE_ID,
    Result(_reasons(StartDiagnostic), positive=Sequence(RadiationTimes, TIME, CONDITIONAL_TIME)),
)
TRANSFER_DATA: Final = Sequence(
    TransferData,
    CREDENTIALS,
    INVOKE_ID,
    _CLTU_ID,
    CONDITIONAL_TIME,
    CONDITIONAL_TIME,
    UNSIGNED_LONG,
    Enumerated(SlduNotification),
    SPACE_LINK_DATA_UNIT,
)
TRANSFER_DATA_RETURN: Final = Sequence(
    TransferDataReturn,
    CREDENTIALS,
    INVOKE_ID,
    _CLTU_ID,
    _BUFFER,
    Result(_reasons(TransferDiagnostic)),
)
THROW_EVENT: Final = Sequence(
    ThrowEvent, CREDENTIALS, INVOKE_ID, _EVENT_ID, POSITIVE_SHORT, OctetString(1, 1024)
)
THROW_EVENT_RETURN: Final = Sequence(
    ThrowEventReturn, CREDENTIALS, INVOKE_ID, _EVENT_ID, Result(_reasons(EventDiagnostic))
)
ASYNC_NOTIFY: Final = Sequence(
    AsyncNotify,
    CREDENTIALS,
    Choice(
        cltu_radiated=(0, Null()),
        expired=(1, Null()),
        interrupted=(2, Null()),
        halted=(3, Null()),
        operational=(4, Null()),
        buffer_empty=(5, Null()),
        actions_completed=(6, _EVENT_ID),
        actions_not_completed=(7, _EVENT_ID),
        condition_false=(8, _EVENT_ID),
    ),
    _LAST_PROCESSED,
    _LAST_OK,
    *_STATE,
)
CLTU_STATUS: Final = Sequence(
    CltuStatusReport,
    CREDENTIALS,
    _LAST_PROCESSED,
    _LAST_OK,
    *_STATE,
    UNSIGNED_LONG,
    UNSIGNED_LONG,
    UNSIGNED_LONG,
    _BUFFER,
)
