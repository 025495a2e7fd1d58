"""What blocks hold, and what carries segments: CCSDS 734.1-B.

A block of the bundle client holds one bundle when we send it; ION puts several into one, one after
another, so that is accepted.  The aggregation client says for each what it is (734.1-B, service
data aggregation): identifier of its client service as an SDNV, then the data unit itself, whose
own encoding must say where it ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocols.dtn.cbor import BREAK, INDEFINITE_ARRAY, skip
from protocols.dtn.ltp_segments import ClientService, build_sdnv, parse_sdnvs
from protocols.errors import LocalError, RemoteError
from protocols.packets.encapsulation import (
    EncapsulationPacket,
    EncapsulationProtocol,
    build_packet,
    parse_packet,
)

#: Data units of one block: a block of nothing but two-octet arrays is no traffic.
UNITS_IN_BLOCK: Final = 100_000


@dataclass(frozen=True, slots=True)
class DataUnit:
    """What one client handed over, or is to get."""

    client_service: int
    data: bytes


@dataclass(frozen=True, slots=True)
class BlockContent:
    """`damage`: why what follows the units could not be told apart, None: nothing follows."""

    units: tuple[DataUnit, ...]
    damage: RemoteError | None = None


def _bundle_end(octets: bytes, at: int) -> int:
    """Where a bundle (a CBOR array of indefinite length, RFC 9171 §4.1) ends."""
    start = at
    if octets[at] != INDEFINITE_ARRAY:
        raise RemoteError(f"no bundle at octet {at} of the block", data=octets, offset=at)
    at += 1
    while True:
        if at >= len(octets):
            raise RemoteError("bundle cut short by its block", data=octets, offset=start)
        if octets[at] == BREAK:
            return at + 1
        at = skip(octets, at)


def split_block(client_service: int, octets: bytes) -> BlockContent:
    """Data units of a received block.  Never raises: the units before the damage are good."""
    if client_service not in (ClientService.BUNDLE, ClientService.AGGREGATION):
        return BlockContent((DataUnit(client_service, octets),))
    units: list[DataUnit] = []
    at = 0
    own = client_service
    try:
        while at < len(octets):
            if len(units) == UNITS_IN_BLOCK:
                raise RemoteError(f"block of more than {UNITS_IN_BLOCK} data units", data=octets)
            if client_service == ClientService.AGGREGATION:
                (own,), at = parse_sdnvs(octets, at, 1)
                if own != ClientService.BUNDLE:
                    raise RemoteError(
                        f"aggregated data of client service {own}, whose length nothing says",
                        data=octets,
                        offset=at,
                    )
                if at == len(octets):
                    raise RemoteError("aggregated data missing", data=octets, offset=at)
            end = _bundle_end(octets, at)
            units.append(DataUnit(own, octets[at:end]))
            at = end
    except RemoteError as error:
        return BlockContent(tuple(units), error)
    return BlockContent(tuple(units))


def aggregate(units: Iterable[DataUnit]) -> bytes:
    """A block for the aggregation client.  Raises LocalError for what could not be split again.

    For peers that are known to split: others (HDTN 1.3) take one bundle a block.
    """
    block = b"".join(build_sdnv(unit.client_service) + unit.data for unit in units)
    content = split_block(ClientService.AGGREGATION, block)
    if content.damage is not None:
        raise LocalError(f"data units that cannot be aggregated: {content.damage}")
    return block


def packet_from_segment(segment: bytes) -> bytes:
    """One segment in one encapsulation packet, protocol 1 (133.1-B, 734.1-B).

    >>> packet_from_segment(bytes.fromhex("0901822c0007")).hex(" ")
    'e5 08 09 01 82 2c 00 07'
    """
    return build_packet(EncapsulationPacket(EncapsulationProtocol.LTP, segment))


def segment_from_packet(packet: bytes) -> bytes:
    """The segment in an encapsulation packet.  Raises RemoteError for another protocol's."""
    parsed = parse_packet(packet)
    if parsed.protocol_id != EncapsulationProtocol.LTP:
        raise RemoteError(
            f"encapsulation packet of protocol {parsed.protocol_id}, 1 (LTP) wanted", data=packet
        )
    return parsed.data
