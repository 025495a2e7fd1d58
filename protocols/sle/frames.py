"""Return all frames (911.1-B) and return channel frames (911.2-B): PDUs of both, annex A.

They differ in what START asks for, in the quality that RAF says with each frame, and in the count
of good frames of its status report.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from protocols.sle.ber import (
    Choice,
    Chosen,
    Enumerated,
    Integer,
    Null,
    ObjectIdentifier,
    OctetString,
    OneOf,
    OrNull,
    Sequence,
    SequenceOf,
)
from protocols.sle.common import (
    CONDITIONAL_TIME,
    CREDENTIALS,
    INVOKE_ID,
    SPACE_LINK_DATA_UNIT,
    TIME,
    UNSIGNED_LONG,
    Refused,
    Result,
)
from protocols.sle.parameters import CHANNEL, Channel

#: Of the first frame after the start of production nobody knows what came before it.
FIRST_FRAME: Final = -1
#: Frames and notifications of a transfer buffer believed: parBufferSize is an IntPosShort.
MOST_IN_BUFFER: Final = 65_535


class RequestedQuality(IntEnum):
    GOOD = 0
    ERRED = 1
    ALL = 2


class Quality(IntEnum):
    GOOD = 0
    ERRED = 1
    UNDETERMINED = 2


class Lock(IntEnum):
    IN_LOCK = 0
    OUT_OF_LOCK = 1
    NOT_IN_USE = 2
    UNKNOWN = 3


class Production(IntEnum):
    RUNNING = 0
    INTERRUPTED = 1
    HALTED = 2


@dataclass(frozen=True, slots=True)
class RafStart:
    """start_ns, stop_ns: Earth receive times, None: not bounded."""

    credentials: bytes | None
    invoke_id: int
    start_ns: int | None
    stop_ns: int | None
    quality: RequestedQuality


@dataclass(frozen=True, slots=True)
class RcfStart:
    credentials: bytes | None
    invoke_id: int
    start_ns: int | None
    stop_ns: int | None
    channel: Channel


@dataclass(frozen=True, slots=True)
class FramesStartReturn:
    credentials: bytes | None
    invoke_id: int
    result: Refused | None = None


@dataclass(frozen=True, slots=True)
class AnnotatedFrame:
    """RAF-TRANSFER-DATA.  ert_ns: Earth receive time, TAI; antenna: octets of a local name, or an
    object identifier; continuity: frames missed since the last one, 0 none, `FIRST_FRAME`;
    annotation: the provider's own."""

    credentials: bytes | None
    ert_ns: int
    antenna: Chosen
    continuity: int
    quality: Quality
    annotation: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class ChannelFrame:
    """RCF-TRANSFER-DATA: frames of good quality alone."""

    credentials: bytes | None
    ert_ns: int
    antenna: Chosen
    continuity: int
    annotation: bytes | None
    data: bytes


@dataclass(frozen=True, slots=True)
class LockReport:
    """Of a loss of frame synchronisation: when, and what else is locked."""

    time_ns: int
    carrier: Lock
    subcarrier: Lock
    symbol: Lock


@dataclass(frozen=True, slots=True)
class SyncNotify:
    """notification: "lost_frame_sync" with a `LockReport`, "production" with its status,
    "backlog" (data were discarded) or "end_of_data"."""

    credentials: bytes | None
    notification: Chosen


@dataclass(frozen=True, slots=True)
class RafStatusReport:
    """Frames since the production began: free of errors, and delivered."""

    credentials: bytes | None
    good_frames: int
    delivered_frames: int
    frame_sync: Lock
    symbol: Lock
    subcarrier: Lock
    carrier: Lock
    production: Production


@dataclass(frozen=True, slots=True)
class RcfStatusReport:
    credentials: bytes | None
    delivered_frames: int
    frame_sync: Lock
    symbol: Lock
    subcarrier: Lock
    carrier: Lock
    production: Production


def local_antenna(name: bytes) -> Chosen:
    """An antenna by its local name, 1 to 16 octets."""
    return Chosen("local", name)


_LOCK: Final = Enumerated(Lock)
_PRODUCTION: Final = Enumerated(Production)
_ANTENNA: Final = Choice(
    **{"global": (0, ObjectIdentifier()), "local": (1, OctetString(1, 16))},
)
_CONTINUITY: Final = Integer(FIRST_FRAME, 16_777_215)
_ANNOTATION: Final = OrNull(0, 1, OctetString(1, 128))
_SYNC_NOTIFY: Final = Sequence(
    SyncNotify,
    CREDENTIALS,
    Choice(
        lost_frame_sync=(0, Sequence(LockReport, TIME, _LOCK, _LOCK, _LOCK)),
        production=(1, _PRODUCTION),
        backlog=(2, Null()),
        end_of_data=(3, Null()),
    ),
)
_START_REASONS: Final = {
    0: "out of service",
    1: "unable to comply",
    2: "invalid start time",
    3: "invalid stop time",
    4: "missing time value",
    5: "invalid channel",
}

RAF_START: Final = Sequence(
    RafStart,
    CREDENTIALS,
    INVOKE_ID,
    CONDITIONAL_TIME,
    CONDITIONAL_TIME,
    Enumerated(RequestedQuality),
)
RCF_START: Final = Sequence(
    RcfStart, CREDENTIALS, INVOKE_ID, CONDITIONAL_TIME, CONDITIONAL_TIME, CHANNEL
)
START_RETURN: Final = Sequence(FramesStartReturn, CREDENTIALS, INVOKE_ID, Result(_START_REASONS))
_RAF_FRAME: Final = Sequence(
    AnnotatedFrame,
    CREDENTIALS,
    TIME,
    _ANTENNA,
    _CONTINUITY,
    Enumerated(Quality),
    _ANNOTATION,
    SPACE_LINK_DATA_UNIT,
)
_RCF_FRAME: Final = Sequence(
    ChannelFrame, CREDENTIALS, TIME, _ANTENNA, _CONTINUITY, _ANNOTATION, SPACE_LINK_DATA_UNIT
)


@dataclass(frozen=True, slots=True)
class TransferBuffer:
    """What came together: `AnnotatedFrame` or `ChannelFrame`, and `SyncNotify`, in order."""

    content: tuple[AnnotatedFrame | ChannelFrame | SyncNotify, ...]


class _BufferType(Sequence):
    """SEQUENCE OF FrameOrNotification, as one object."""

    def __init__(self, frame: Sequence) -> None:
        super().__init__(TransferBuffer)
        self._buffer = SequenceOf(OneOf({0: frame, 1: _SYNC_NOTIFY}), MOST_IN_BUFFER)

    def content(self, data: bytes, start: int, stop: int) -> TransferBuffer:
        return TransferBuffer(self._buffer.content(data, start, stop))

    def octets(self, value: TransferBuffer) -> bytes:
        return self._buffer.octets(value.content)


RAF_BUFFER: Final = _BufferType(_RAF_FRAME)
RCF_BUFFER: Final = _BufferType(_RCF_FRAME)
_STATUS: Final = (UNSIGNED_LONG, _LOCK, _LOCK, _LOCK, _LOCK, _PRODUCTION)
RAF_STATUS: Final = Sequence(RafStatusReport, CREDENTIALS, UNSIGNED_LONG, *_STATUS)
RCF_STATUS: Final = Sequence(RcfStatusReport, CREDENTIALS, *_STATUS)
