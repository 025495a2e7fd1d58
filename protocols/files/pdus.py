"""PDUs as octets: what is one, whose it is, and the agreed part of them."""

# cfdp-py and spacepackets are annotated, but without py.typed.
# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import Final

from cfdppy.handler.common import PacketDestination, get_packet_destination
from cfdppy.mib import RemoteEntityConfig
from spacepackets.cfdp.defs import (
    ChecksumType,
    ConditionCode,
    InvalidCrcError,
    TransmissionMode,
    UnsupportedCfdpVersionError,
)
from spacepackets.cfdp.pdu import AckPdu, EofPdu, FinishedPdu, PduFactory, TransactionStatus
from spacepackets.cfdp.pdu.helper import GenericPduPacket
from spacepackets.exceptions import InvalidCrcCcitt16Error
from spacepackets.util import ByteFieldU8

from protocols.errors import LocalError, RemoteError
from protocols.files.records import Key
from protocols.files.timers import Timing

#: Entity identifiers of one octet are enough here; longer ones are understood.
HIGHEST_ENTITY: Final = 255
_NS: Final = 1_000_000_000


class Half(Enum):
    """Which of an entity's machines a PDU is for (§4.5.3)."""

    SENDER = PacketDestination.SOURCE_HANDLER
    RECEIVER = PacketDestination.DEST_HANDLER


def parse_pdu(octets: bytes) -> GenericPduPacket:
    """Raises RemoteError for anything that is no whole PDU, or whose CRC is wrong."""
    try:
        pdu = PduFactory.from_raw(octets)
        if pdu is None:
            raise RemoteError(f"no known PDU in {len(octets)} octets", data=octets)
        if pdu.packet_len != len(octets):
            raise RemoteError(f"PDU says {pdu.packet_len} octets, not {len(octets)}", data=octets)
        get_packet_destination(pdu)
        if isinstance(pdu, EofPdu) and pdu.condition_code.__class__ is int:
            # spacepackets 0.32 leaves it in the upper half of its octet.
            pdu.condition_code = ConditionCode(pdu.condition_code >> 4)
    except RemoteError:
        raise
    except (
        ValueError,
        IndexError,
        TypeError,
        struct.error,
        AssertionError,
        InvalidCrcError,
        InvalidCrcCcitt16Error,
        UnsupportedCfdpVersionError,
    ) as error:
        raise RemoteError(f"no CFDP PDU: {error!r}", data=octets) from error
    return pdu


def half(pdu: GenericPduPacket) -> Half:
    return Half(get_packet_destination(pdu))


def key_of(pdu: GenericPduPacket) -> Key:
    return pdu.source_entity_id.value, pdu.transaction_seq_num.value


def entity_id(number: int) -> ByteFieldU8:
    """Raises LocalError for a number that is none of an entity here."""
    if not 0 <= number <= HIGHEST_ENTITY:
        raise LocalError(f"CFDP entity {number}: 0..{HIGHEST_ENTITY} allowed")
    return ByteFieldU8(number)


def acknowledgement(pdu: EofPdu | FinishedPdu, status: TransactionStatus) -> bytes:
    """Of a PDU whose transaction is not active here (§4.7.2)."""
    condition = (
        pdu.condition_code if isinstance(pdu, EofPdu) else pdu.finished_params.condition_code
    )
    acknowledged = AckPdu(pdu.pdu_header.pdu_conf, pdu.directive_type, condition, status)
    return bytes(acknowledged.pack())


@dataclass(slots=True)
class Peer:
    """Another entity as management sees it (§8.3).

    longest_pdu: octets that the link takes in one piece.  immediate_nak: gaps are asked for when
    they are seen, not only at the end (§4.6.4): worth it where a file takes longer than light.
    """

    number: int
    timing: Timing
    longest_pdu: int
    immediate_nak: bool = True

    def configuration(self) -> RemoteEntityConfig:
        timing = self.timing
        interval_s = timing.interval_ns / _NS
        return RemoteEntityConfig(
            entity_id=entity_id(self.number),
            max_file_segment_len=None,
            max_packet_len=self.longest_pdu,
            closure_requested=False,
            crc_on_transmission=True,
            default_transmission_mode=TransmissionMode.ACKNOWLEDGED,
            crc_type=ChecksumType.CRC_32,
            positive_ack_timer_interval_seconds=interval_s,
            positive_ack_timer_expiration_limit=timing.limit,
            check_limit=2,
            disposition_on_cancellation=True,
            immediate_nak_mode=self.immediate_nak,
            nak_timer_interval_seconds=interval_s,
            nak_timer_expiration_limit=timing.limit,
        )
