"""TCPCL version 4 (RFC 9174) on the wire: contact header and messages, both ways, as construct.

Transfer segments and their acknowledgements pass ten thousand times a second: `segment_head`,
`segment_acknowledgement` and the session's scanner use the structs below, whose agreement with the
declaration is tested.
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

from construct import (
    Bytes,
    Const,
    GreedyBytes,
    If,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Prefixed,
    Struct,
    this,
)
from construct.core import ConstructError

from protocols.errors import LocalError, RemoteError

VERSION: Final = 4
MAGIC: Final = b"dtn!"
#: §4.2: magic, version, flags.
CONTACT_HEADER_OCTETS: Final = 6


class ContactFlags:
    """§4.2."""

    CAN_TLS: Final = 0x01


class MessageType(IntEnum):
    """§9.2."""

    XFER_SEGMENT = 0x01
    XFER_ACK = 0x02
    XFER_REFUSE = 0x03
    KEEPALIVE = 0x04
    SESS_TERM = 0x05
    MSG_REJECT = 0x06
    SESS_INIT = 0x07


class SegmentFlags:
    """§5.2.2."""

    END: Final = 0x01
    START: Final = 0x02


class TermFlags:
    """§6.1."""

    REPLY: Final = 0x01


class ExtensionFlags:
    """§4.8, §5.2.5."""

    CRITICAL: Final = 0x01


#: §9.4: the one transfer extension defined, the transfer's whole length.
TRANSFER_LENGTH: Final = 0x0001


class TermReason(IntEnum):
    """§9.6."""

    UNKNOWN = 0
    IDLE_TIMEOUT = 1
    VERSION_MISMATCH = 2
    BUSY = 3
    CONTACT_FAILURE = 4
    RESOURCE_EXHAUSTION = 5


class RefuseReason(IntEnum):
    """§9.5."""

    UNKNOWN = 0
    COMPLETED = 1
    NO_RESOURCES = 2
    RETRANSMIT = 3
    NOT_ACCEPTABLE = 4
    EXTENSION_FAILURE = 5
    SESSION_TERMINATING = 6


class RejectReason(IntEnum):
    """§9.7."""

    TYPE_UNKNOWN = 1
    UNSUPPORTED = 2
    UNEXPECTED = 3


#: §4.8, §5.2.5.
EXTENSION_ITEM: Final = Struct(
    "flags" / Int8ub, "type" / Int16ub, "value" / Prefixed(Int16ub, GreedyBytes)
)

#: §4.2.
CONTACT_HEADER: Final = Struct("magic" / Const(MAGIC), "version" / Int8ub, "flags" / Int8ub)
#: §4.6, behind the message type.
SESS_INIT: Final = Struct(
    "keepalive_s" / Int16ub,
    "segment_mru" / Int64ub,
    "transfer_mru" / Int64ub,
    "node_id" / Prefixed(Int16ub, GreedyBytes),
    "extensions" / Prefixed(Int32ub, GreedyBytes),
)
#: §5.2.2, behind the message type; the data follow.
XFER_SEGMENT: Final = Struct(
    "flags" / Int8ub,
    "transfer_id" / Int64ub,
    "extensions" / If(this.flags & SegmentFlags.START, Prefixed(Int32ub, GreedyBytes)),
    "length" / Int64ub,
)
#: §5.2.3.
XFER_ACK: Final = Struct("flags" / Int8ub, "transfer_id" / Int64ub, "acknowledged" / Int64ub)
#: §5.2.4.
XFER_REFUSE: Final = Struct("reason" / Int8ub, "transfer_id" / Int64ub)
#: §6.1.
SESS_TERM: Final = Struct("flags" / Int8ub, "reason" / Int8ub)
#: §5.1.2.
MSG_REJECT: Final = Struct("reason" / Int8ub, "header" / Int8ub)
MESSAGES: Final[dict[int, Any]] = {
    MessageType.XFER_SEGMENT: XFER_SEGMENT,
    MessageType.XFER_ACK: XFER_ACK,
    MessageType.XFER_REFUSE: XFER_REFUSE,
    MessageType.KEEPALIVE: Bytes(0),
    MessageType.SESS_TERM: SESS_TERM,
    MessageType.MSG_REJECT: MSG_REJECT,
    MessageType.SESS_INIT: SESS_INIT,
}

# The same heads as structs, for the messages of which there are many.
#: type, flags, transfer
SEGMENT_BEGINNING: Final = struct.Struct(">BBQ")
#: type, flags, transfer, length: a segment that begins no transfer
SEGMENT_HEAD: Final = struct.Struct(">BBQQ")
#: type, flags, transfer, octets of items, the item's flags, type, size and transfer length; length
START_HEAD: Final = struct.Struct(">BBQIBHHQQ")
_START_EXTENSIONS: Final = 13
#: type, flags, transfer, octets acknowledged
ACK: Final = struct.Struct(">BBQQ")


@dataclass(frozen=True, slots=True)
class ExtensionItem:
    """Of a session or a transfer."""

    flags: int
    type: int
    value: bytes

    @property
    def critical(self) -> bool:
        """Whoever does not know it must not go on."""
        return bool(self.flags & ExtensionFlags.CRITICAL)


def read_extensions(octets: bytes) -> list[ExtensionItem]:
    """Items of a session or a transfer.  Raises RemoteError for what is cut short."""
    items: list[ExtensionItem] = []
    at = 0
    while at < len(octets):
        try:
            item = EXTENSION_ITEM.parse(octets[at:])
        except ConstructError as error:
            raise RemoteError(f"extension item cut short: {error}", data=octets) from error
        items.append(ExtensionItem(item.flags, item.type, item.value))
        at += 5 + len(item.value)
    return items


def contact_header(*, can_tls: bool) -> bytes:
    """§4.2."""
    flags = ContactFlags.CAN_TLS if can_tls else 0
    return CONTACT_HEADER.build({"version": VERSION, "flags": flags})


def message(kind: MessageType, **fields: object) -> bytes:
    """Any message.  Raises LocalError for a value that its field cannot hold.

    >>> message(MessageType.XFER_REFUSE, reason=2, transfer_id=7).hex(" ")
    '03 02 00 00 00 00 00 00 00 07'
    """
    try:
        return bytes((kind,)) + MESSAGES[kind].build(fields or b"")
    except ConstructError as error:
        raise LocalError(f"{kind.name} of {fields}: {error}") from error


def segment_head(transfer_id: int, length: int, *, start: bool, end: bool, total: int) -> bytes:
    """Head of a segment of `length` octets; with the transfer's length where it begins."""
    flags = (SegmentFlags.START if start else 0) | (SegmentFlags.END if end else 0)
    if not start:
        return SEGMENT_HEAD.pack(MessageType.XFER_SEGMENT, flags, transfer_id, length)
    return START_HEAD.pack(
        1, flags, transfer_id, _START_EXTENSIONS, 0, TRANSFER_LENGTH, 8, total, length
    )
