"""Encapsulation packets, CCSDS 133.1-B-3: other protocols' units in packets of version 7."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false
from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from construct import BitsInteger, BitStruct, Bytes, BytesInteger, If, Struct, this
from construct.core import ConstructError

from protocols.errors import LocalError, RemoteError

ENCAPSULATION_VERSION = 7


class EncapsulationProtocol(IntEnum):
    """Protocol identifiers (SANA registry `protocol_id`)."""

    IDLE = 0
    LTP = 1
    IPE = 2
    CFDP = 3
    BUNDLE = 4
    #: The protocol stands in the extension field, which the header then must have.
    EXTENDED = 6
    MISSION_SPECIFIC = 7


#: Packet header, 133.1-B-3 §4.1.2: 1, 2, 4 or 8 octets, as the length of length says; the length
#: counts the header.  Headers of 4 and 8 octets hold the user-defined and the extension field,
#: those of 8 the CCSDS-defined field.
ENCAPSULATION_HEADER = Struct(
    "start"
    / BitStruct(
        "version" / BitsInteger(3),
        "protocol_id" / BitsInteger(3),
        "length_of_length" / BitsInteger(2),
    ),
    "extension"
    / If(
        this.start.length_of_length >= 2,
        BitStruct("user_defined" / BitsInteger(4), "protocol_extension" / BitsInteger(4)),
    ),
    "ccsds_defined" / If(this.start.length_of_length == 3, Bytes(2)),
    "length"
    / If(
        this.start.length_of_length > 0,
        BytesInteger(lambda context: 1 << (context.start.length_of_length - 1)),
    ),
)
_HEADER_LENGTH = (1, 2, 4, 8)


@dataclass(frozen=True, slots=True)
class EncapsulationPacket:
    """One encapsulation packet.

    length_of_length: 0, 1, 2 or 3 for headers of 1, 2, 4 or 8 octets; None: the shortest that
    will do.  A packet with 0 has no data and must be idle (§4.1.2).
    """

    protocol_id: int
    data: bytes = b""
    user_defined: int = 0
    protocol_extension: int = 0
    ccsds_defined: bytes = b"\0\0"
    length_of_length: int | None = None


def parse_packet(octets: bytes) -> EncapsulationPacket:
    """One encapsulation packet, exactly.

    Raises RemoteError for another version, a length that is not the octets', and a header that
    contradicts its protocol.
    """
    try:
        header: Any = ENCAPSULATION_HEADER.parse(octets)
    except ConstructError as error:
        raise RemoteError("encapsulation packet header cut short", data=octets) from error
    start = header.start
    if start.version != ENCAPSULATION_VERSION:
        raise RemoteError(f"packet version {start.version}, 7 (encapsulation) wanted", data=octets)
    code = start.length_of_length
    header_length = _HEADER_LENGTH[code]
    length = header.length if code else 1
    if length != len(octets) or length < header_length:
        raise RemoteError(
            f"encapsulation packet says {length} octets with a header of {header_length}, "
            f"there are {len(octets)}",
            data=octets,
        )
    if code == 0 and start.protocol_id != EncapsulationProtocol.IDLE:
        raise RemoteError(
            f"encapsulation packet of one octet with protocol {start.protocol_id}", data=octets
        )
    if code < 2 and start.protocol_id == EncapsulationProtocol.EXTENDED:
        raise RemoteError("encapsulation packet lacks the extension it names", data=octets)
    return EncapsulationPacket(
        protocol_id=start.protocol_id,
        data=octets[header_length:],
        user_defined=header.extension.user_defined if code >= 2 else 0,
        protocol_extension=header.extension.protocol_extension if code >= 2 else 0,
        ccsds_defined=bytes(header.ccsds_defined) if code == 3 else b"\0\0",
        length_of_length=code,
    )


def _shortest_code(packet: EncapsulationPacket) -> int:
    if packet.ccsds_defined != b"\0\0":
        return 3
    needs_extension = (
        packet.user_defined
        or packet.protocol_extension
        or packet.protocol_id == EncapsulationProtocol.EXTENDED
    )
    size = len(packet.data)
    if not needs_extension:
        if not size and packet.protocol_id == EncapsulationProtocol.IDLE:
            return 0
        if size <= 0xFF - 2:
            return 1
    return 2 if size <= 0xFFFF - 4 else 3


def build_packet(packet: EncapsulationPacket) -> bytes:
    """Octets of an encapsulation packet.  Raises LocalError for what its header cannot say.

    >>> build_packet(EncapsulationPacket(EncapsulationProtocol.BUNDLE, b"\\x9f")).hex(" ")
    'f1 03 9f'
    """
    code = packet.length_of_length
    if code is None:
        code = _shortest_code(packet)
    if code not in range(4):
        raise LocalError(f"length of length {code}: 0..3 wanted")
    if code < _shortest_code(packet):
        raise LocalError(
            f"encapsulation packet of {len(packet.data)} octets, protocol {packet.protocol_id}: "
            f"length of length {code} cannot say it, {_shortest_code(packet)} can"
        )
    try:
        header = ENCAPSULATION_HEADER.build(
            {
                "start": {
                    "version": ENCAPSULATION_VERSION,
                    "protocol_id": packet.protocol_id,
                    "length_of_length": code,
                },
                "extension": {
                    "user_defined": packet.user_defined,
                    "protocol_extension": packet.protocol_extension,
                },
                "ccsds_defined": packet.ccsds_defined,
                "length": _HEADER_LENGTH[code] + len(packet.data),
            }
        )
    except ConstructError as error:
        raise LocalError(f"encapsulation packet header: {error}") from error
    return header + packet.data


def idle_packet(length: int, *, fill: int = 0x55) -> bytes:
    """Idle encapsulation packet of `length` octets in all, from 1 on (§4.1.2)."""
    if length < 1:
        raise LocalError(f"idle encapsulation packet of {length} octets, 1 or more wanted")
    if length == 1:
        return build_packet(EncapsulationPacket(EncapsulationProtocol.IDLE, length_of_length=0))
    code = 1 if length <= 0xFF else 2 if length <= 0xFFFF else 3
    data = bytes([fill]) * (length - _HEADER_LENGTH[code])
    return build_packet(
        EncapsulationPacket(EncapsulationProtocol.IDLE, data, length_of_length=code)
    )
