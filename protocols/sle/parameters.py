"""Parameters of a service instance, as GET-PARAMETER returns them; by service and version.

A parameter's alternative in the CHOICE says its name a second time; one whose names differ is
refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Final

from protocols.errors import LocalError, RemoteError
from protocols.sle.ber import (
    Enumerated,
    Integer,
    OrNull,
    Sequence,
    SequenceOf,
    SetOf,
    Type,
    Untagged,
    VisibleString,
)
from protocols.sle.common import (
    CREDENTIALS,
    INVOKE_ID,
    POSITIVE_LONG,
    POSITIVE_SHORT,
    REPORTING_CYCLE,
    TIMEOUT_PERIOD,
    UNSIGNED_LONG,
    UNSIGNED_SHORT,
    Refused,
    Result,
    ServiceType,
)


class Name(IntEnum):
    """ParameterName of COMMON-TYPES; those of the services that are done here."""

    BIT_LOCK_REQUIRED = 3
    BUFFER_SIZE = 4
    DELIVERY_MODE = 6
    EXPECTED_EVENT_INVOCATION_ID = 9
    EXPECTED_CLTU_ID = 10
    LATENCY_LIMIT = 15
    MAXIMUM_CLTU_LENGTH = 21
    MODULATION_FREQUENCY = 22
    MODULATION_INDEX = 23
    PERMITTED_CHANNELS = 24
    PLOP_IN_EFFECT = 25
    REPORTING_CYCLE = 26
    REQUESTED_FRAME_QUALITY = 27
    REQUESTED_CHANNEL = 28
    RETURN_TIMEOUT = 29
    RF_AVAILABLE_REQUIRED = 31
    SUBCARRIER_TO_BIT_RATE_RATIO = 34
    ACQUISITION_SEQUENCE_LENGTH = 201
    CLCW_CHANNEL = 202
    CLCW_PHYSICAL_CHANNEL = 203
    MINIMUM_DELAY_TIME = 204
    NOTIFICATION_MODE = 205
    PLOP_1_IDLE_LENGTH = 206
    PROTOCOL_ABORT_MODE = 207
    MINIMUM_REPORTING_CYCLE = 301
    PERMITTED_FRAME_QUALITIES = 302


class DeliveryMode(IntEnum):
    TIMELY_ONLINE = 0
    COMPLETE_ONLINE = 1
    OFFLINE = 2
    FORWARD_ONLINE = 3
    FORWARD_OFFLINE = 4


@dataclass(frozen=True, slots=True)
class Channel:
    """A global virtual channel (GVCID).  version: transfer frame version number, 0 for TM, 1 for
    AOS; vcid None: the whole master channel."""

    scid: int
    version: int
    vcid: int | None = None

    def __str__(self) -> str:
        return f"{self.version}.{self.scid}" + ("" if self.vcid is None else f".{self.vcid}")


@dataclass(frozen=True, slots=True)
class MasterChannel:
    """vcids: those of it that are permitted, None: all of it."""

    scid: int
    version: int
    vcids: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Parameter:
    name: Name
    value: Any


@dataclass(frozen=True, slots=True)
class GetParameterReturn:
    credentials: bytes | None
    invoke_id: int
    result: Parameter | Refused


_SCID: Final = Integer(0, 1023)
_TFVN: Final = Integer(0, 3)
_VCID: Final = Integer(0, 63)
CHANNEL: Final = Sequence(Channel, _SCID, _TFVN, OrNull(0, 1, _VCID))
_CHANNELS: Final = SetOf(
    Sequence(MasterChannel, _SCID, _TFVN, OrNull(0, 1, SetOf(_VCID, 64))), 1024
)
_CHANNELS_TO_V4: Final = SequenceOf(
    Sequence(MasterChannel, _SCID, _TFVN, OrNull(0, 1, SequenceOf(_VCID, 64))), 1024
)
_MODE: Final = Enumerated(DeliveryMode)
#: Seconds; None for the offline mode.
_LATENCY: Final = OrNull(1, 0, POSITIVE_SHORT)
#: Seconds; None: no periodic reports.
_CYCLE: Final = OrNull(0, 1, REPORTING_CYCLE)
_SECONDS: Final = Integer(1, 600)
#: 0 yes, 1 no; 0 deferred, 1 immediate; 0 abort, 1 continue; PLOP-1 is 0, PLOP-2 is 1.
_ONE_OF_TWO: Final = Integer(0, 1)
_QUALITY: Final = Integer(0, 3)

_Table = Mapping[int, tuple[Name, Type]]

_RAF: Final[_Table] = {
    0: (Name.BUFFER_SIZE, POSITIVE_SHORT),
    1: (Name.DELIVERY_MODE, _MODE),
    2: (Name.LATENCY_LIMIT, _LATENCY),
    3: (Name.REPORTING_CYCLE, _CYCLE),
    4: (Name.REQUESTED_FRAME_QUALITY, _QUALITY),
    5: (Name.RETURN_TIMEOUT, TIMEOUT_PERIOD),
    6: (Name.PERMITTED_FRAME_QUALITIES, SetOf(_QUALITY, 3)),
    7: (Name.MINIMUM_REPORTING_CYCLE, _SECONDS),
}
_RCF: Final[_Table] = {
    0: (Name.BUFFER_SIZE, POSITIVE_SHORT),
    1: (Name.DELIVERY_MODE, _MODE),
    2: (Name.LATENCY_LIMIT, _LATENCY),
    3: (Name.PERMITTED_CHANNELS, _CHANNELS),
    4: (Name.REPORTING_CYCLE, _CYCLE),
    5: (Name.REQUESTED_CHANNEL, OrNull(1, 0, CHANNEL)),
    6: (Name.RETURN_TIMEOUT, TIMEOUT_PERIOD),
    7: (Name.MINIMUM_REPORTING_CYCLE, _SECONDS),
}
_RCF_TO_V4: Final[_Table] = {
    **_RCF,
    3: (Name.PERMITTED_CHANNELS, _CHANNELS_TO_V4),
    5: (Name.REQUESTED_CHANNEL, CHANNEL),
}
_CLTU: Final[_Table] = {
    0: (Name.ACQUISITION_SEQUENCE_LENGTH, UNSIGNED_SHORT),
    1: (Name.BIT_LOCK_REQUIRED, _ONE_OF_TWO),
    2: (Name.CLCW_CHANNEL, OrNull(1, 0, CHANNEL)),
    3: (Name.CLCW_PHYSICAL_CHANNEL, OrNull(1, 0, VisibleString(1, 32))),
    4: (Name.DELIVERY_MODE, _MODE),
    5: (Name.EXPECTED_CLTU_ID, UNSIGNED_LONG),
    6: (Name.EXPECTED_EVENT_INVOCATION_ID, UNSIGNED_LONG),
    7: (Name.MAXIMUM_CLTU_LENGTH, Integer(12, 4096)),
    8: (Name.MINIMUM_DELAY_TIME, UNSIGNED_LONG),
    9: (Name.MODULATION_FREQUENCY, POSITIVE_LONG),
    10: (Name.MODULATION_INDEX, POSITIVE_SHORT),
    11: (Name.NOTIFICATION_MODE, _ONE_OF_TWO),
    12: (Name.PLOP_1_IDLE_LENGTH, UNSIGNED_SHORT),
    13: (Name.PLOP_IN_EFFECT, _ONE_OF_TWO),
    14: (Name.PROTOCOL_ABORT_MODE, _ONE_OF_TWO),
    15: (Name.REPORTING_CYCLE, _CYCLE),
    16: (Name.RETURN_TIMEOUT, TIMEOUT_PERIOD),
    17: (Name.RF_AVAILABLE_REQUIRED, _ONE_OF_TWO),
    18: (Name.SUBCARRIER_TO_BIT_RATE_RATIO, POSITIVE_SHORT),
    19: (Name.MINIMUM_REPORTING_CYCLE, _SECONDS),
}
_CLTU_V4: Final[_Table] = {
    **{number: entry for number, entry in _CLTU.items() if number != 19},
    2: (Name.CLCW_CHANNEL, CHANNEL),
    3: (Name.CLCW_PHYSICAL_CHANNEL, VisibleString(1, 32)),
}
_CLTU_TO_V3: Final[_Table] = {
    0: (Name.BIT_LOCK_REQUIRED, _ONE_OF_TWO),
    1: (Name.EXPECTED_CLTU_ID, UNSIGNED_LONG),
    2: (Name.EXPECTED_EVENT_INVOCATION_ID, UNSIGNED_LONG),
    3: (Name.SUBCARRIER_TO_BIT_RATE_RATIO, POSITIVE_SHORT),
    4: (Name.DELIVERY_MODE, _MODE),
    5: (Name.MAXIMUM_CLTU_LENGTH, Integer(12, 4098)),
    6: (Name.MODULATION_FREQUENCY, POSITIVE_LONG),
    7: (Name.MODULATION_INDEX, POSITIVE_SHORT),
    8: (Name.PLOP_IN_EFFECT, _ONE_OF_TWO),
    9: (Name.REPORTING_CYCLE, _CYCLE),
    10: (Name.RETURN_TIMEOUT, TIMEOUT_PERIOD),
    11: (Name.RF_AVAILABLE_REQUIRED, _ONE_OF_TWO),
}


def table(service: ServiceType, version: int) -> _Table:
    """Alternatives of the parameters of a service, by tag."""
    if service is ServiceType.RAF:
        return _RAF
    if service is ServiceType.RCF:
        return _RCF if version > 4 else _RCF_TO_V4
    return _CLTU if version > 4 else _CLTU_V4 if version == 4 else _CLTU_TO_V3


class _ParameterType(Untagged):
    """CHOICE of the parameters: each a SEQUENCE of its name and its value."""

    def __init__(self, of: _Table) -> None:
        self._types = {
            name: Sequence(Parameter, UNSIGNED_SHORT, value).tagged(number)
            for number, (name, value) in of.items()
        }

    def read(self, data: bytes, at: int, end: int) -> tuple[Parameter, int]:
        for name, of in self._types.items():
            if of.fits(data, at):
                found, at = of.read(data, at, end)
                if found.name != name:
                    raise RemoteError(f"{name.name}, but its name is {found.name}", data=data)
                return Parameter(name, found.value), at
        raise RemoteError("BER: a parameter wanted", data=data, offset=at)

    def build(self, value: Parameter) -> bytes:
        if value.name not in self._types:
            raise LocalError(f"this service has no {value.name.name}")
        return self._types[value.name].build(value)


@cache
def get_parameter_return(service: ServiceType, version: int) -> Sequence:
    """The return's type in a version of a service."""
    return Sequence(
        GetParameterReturn,
        CREDENTIALS,
        INVOKE_ID,
        Result({0: "unknown parameter"}, positive=_ParameterType(table(service, version))),
    )


__all__ = [
    "CHANNEL",
    "Channel",
    "DeliveryMode",
    "GetParameterReturn",
    "MasterChannel",
    "Name",
    "Parameter",
    "get_parameter_return",
    "table",
]
