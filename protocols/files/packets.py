"""PDUs in space packets, one in each: no secondary header, the PDU says all about itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from protocols.identifiers import Apid
from protocols.packets.space_packet import (
    HEADER_LENGTH,
    SEQUENCE_MODULUS,
    SpacePacket,
    build_packet,
)

#: What a packet adds to a PDU.
PACKET_OVERHEAD: Final = HEADER_LENGTH


class PacketWriter:
    """One way of the link; `telecommand`: up."""

    def __init__(self, *, telecommand: bool, count: int = 0) -> None:
        self.telecommand = telecommand
        self.count = count

    def write(self, pdus: Iterable[bytes]) -> list[bytes]:
        return [self._packet(pdu) for pdu in pdus]

    def _packet(self, pdu: bytes) -> bytes:
        packet = SpacePacket(int(Apid.FILES), pdu, self.count, telecommand=self.telecommand)
        self.count = (self.count + 1) % SEQUENCE_MODULUS
        return build_packet(packet)


def pdu_of(packet: bytes) -> bytes | None:
    """The PDU in a whole space packet; None: it is one of another application."""
    head = int.from_bytes(packet[:2], "big")
    return packet[HEADER_LENGTH:] if head & 0xE7FF == Apid.FILES else None
