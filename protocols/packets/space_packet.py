"""Space packets, CCSDS 133.0-B-2: one as an object, many as a batch."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false
from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from construct import BitsInteger, BitStruct, Flag
from construct.core import ConstructError

from protocols.errors import LocalError, RemoteError
from protocols.frames.columns import U8
from protocols.packets import kernels
from protocols.packets.batch import PacketBatch

#: Packet primary header, 133.0-B-2 §4.1.3; data_length is the data field's octets − 1.
SPACE_PACKET_HEADER = BitStruct(
    "version" / BitsInteger(3),
    "telecommand" / Flag,
    "secondary_header_flag" / Flag,
    "apid" / BitsInteger(11),
    "sequence_flags" / BitsInteger(2),
    "sequence_count" / BitsInteger(14),
    "data_length" / BitsInteger(16),
)
HEADER_LENGTH = kernels.HEADER_LENGTH
SHORTEST_PACKET = kernels.SHORTEST_PACKET
LONGEST_PACKET = kernels.LONGEST_SPACE_PACKET
SPACE_PACKET_VERSION = 0
#: §4.1.3.3.4.4: APID all ones marks idle packets.
IDLE_APID = 0x7FF
SEQUENCE_MODULUS = 1 << 14


class SequenceFlags(IntEnum):
    """§4.1.3.4.2.2."""

    CONTINUATION = 0
    FIRST = 1
    LAST = 2
    UNSEGMENTED = 3


@dataclass(frozen=True, slots=True)
class SpacePacket:
    """One space packet; `data` is the packet data field, secondary header included.

    sequence_count is the packet name where a telecommand uses it so (§4.1.3.4.3.4).
    """

    apid: int
    data: bytes
    sequence_count: int = 0
    sequence_flags: int = SequenceFlags.UNSEGMENTED
    telecommand: bool = False
    secondary_header_flag: bool = False


@dataclass(frozen=True, eq=False)
class SplitPackets:
    """Back-to-back packets as a batch, and what is left over.

    remainder: the octets from the first that does not belong to a whole packet on.
    reason: why there is a remainder: ``""`` (there is none), ``truncated``, ``bad_pvn``,
        ``bad_length``.
    """

    packets: PacketBatch
    remainder: U8
    reason: str


def parse_packet(octets: bytes) -> SpacePacket:
    """One space packet, exactly.

    Raises RemoteError for a version other than 0 and for octets missing or left over.
    """
    try:
        header: Any = SPACE_PACKET_HEADER.parse(octets)
    except ConstructError as error:
        raise RemoteError(
            f"space packet header cut short: {len(octets)} of 6 octets", data=octets
        ) from error
    if header.version != SPACE_PACKET_VERSION:
        raise RemoteError(f"packet version {header.version}, 0 (space packet) wanted", data=octets)
    length = HEADER_LENGTH + header.data_length + 1
    if len(octets) != length:
        raise RemoteError(
            f"space packet says {length} octets, there are {len(octets)}",
            data=octets,
            offset=min(length, len(octets)),
        )
    return SpacePacket(
        apid=header.apid,
        data=octets[HEADER_LENGTH:],
        sequence_count=header.sequence_count,
        sequence_flags=header.sequence_flags,
        telecommand=bool(header.telecommand),
        secondary_header_flag=bool(header.secondary_header_flag),
    )


def build_packet(packet: SpacePacket) -> bytes:
    """Octets of a space packet.  Raises LocalError for a value outside its field.

    >>> build_packet(SpacePacket(apid=20, data=b"L4", sequence_count=7)).hex(" ")
    '00 14 c0 07 00 01 4c 34'
    """
    if not 1 <= len(packet.data) <= 65536:
        raise LocalError(f"packet data field of {len(packet.data)} octets, 1..65536 wanted")
    try:
        header = SPACE_PACKET_HEADER.build(
            {
                "version": SPACE_PACKET_VERSION,
                "telecommand": packet.telecommand,
                "secondary_header_flag": packet.secondary_header_flag,
                "apid": packet.apid,
                "sequence_flags": packet.sequence_flags,
                "sequence_count": packet.sequence_count,
                "data_length": len(packet.data) - 1,
            }
        )
    except ConstructError as error:
        raise LocalError(f"space packet header: {error}") from error
    return header + packet.data


def idle_packet(length: int, *, sequence_count: int = 0, fill: int = 0x55) -> bytes:
    """Idle packet of `length` octets in all, 7..65542 (§4.1.3.3.4.4: no secondary header).

    Raises LocalError for a length that no packet can have.
    """
    if not SHORTEST_PACKET <= length <= LONGEST_PACKET:
        raise LocalError(f"idle packet of {length} octets, {SHORTEST_PACKET}..{LONGEST_PACKET}")
    return build_packet(
        SpacePacket(IDLE_APID, bytes([fill]) * (length - HEADER_LENGTH), sequence_count)
    )


def split(
    octets: bytes | U8,
    *,
    vcid: int = 0,
    ert_ns: int = 0,
    accept_encapsulation: bool = False,
    longest_packet: int = LONGEST_PACKET,
) -> SplitPackets:
    """Packets that stand back to back in `octets`, without copying them.

    Whatever the octets are, nothing is raised: from the first that is not a whole packet of an
    accepted version on, they are the remainder.  (A version other than 0 has no known length, so
    nothing tells where the next packet starts.)
    """
    source = np.frombuffer(octets, np.uint8) if isinstance(octets, bytes) else octets
    shortest = 1 if accept_encapsulation else SHORTEST_PACKET
    offsets = np.empty(len(source) // shortest + 2, np.int64)
    n, code, _ = kernels.walk(
        kernels.unwritable(source), accept_encapsulation, longest_packet, offsets
    )
    offsets = offsets[: n + 1]
    end = int(offsets[n])
    packets = PacketBatch(
        source[:end],
        offsets,
        np.full(n, vcid, np.uint8),
        np.full(n, ert_ns, np.int64),
    )
    reason = {1: "", 0: "truncated", -1: "bad_pvn", -2: "bad_length"}[int(code)]
    return SplitPackets(packets, source[end:], reason)
