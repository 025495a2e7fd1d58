"""Packet utilisation standard, ECSS-E-ST-70-41C §7.4: secondary headers of both directions.

A request (telecommand) and a report (telemetry) are space packets with a secondary header and, at
the end, packet error control: the CRC-16 of frames over everything before it.
"""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Final

from construct import BitsInteger, BitStruct
from construct.core import ConstructError

from protocols.coding.crc import crc16
from protocols.errors import LocalError, RemoteError
from protocols.packets.space_packet import HEADER_LENGTH, SpacePacket, build_packet, parse_packet
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat

#: §7.4.3.1, §7.4.4.1: 2 is ECSS-E-ST-70-41C; 1 was ECSS-E-70-41A.
PUS_VERSION: Final = 2

#: §7.4.4.1, a request's secondary header without its spare field.
TC_FIELDS: Final = (
    "version" / BitsInteger(4),
    "acknowledgement" / BitsInteger(4),
    "service" / BitsInteger(8),
    "subtype" / BitsInteger(8),
    "source_id" / BitsInteger(16),
)
#: §7.4.3.1, a report's secondary header up to its time field.
TM_FIELDS: Final = (
    "version" / BitsInteger(4),
    "time_status" / BitsInteger(4),
    "service" / BitsInteger(8),
    "subtype" / BitsInteger(8),
    "message_count" / BitsInteger(16),
    "destination_id" / BitsInteger(16),
)
TC_HEADER: Final = BitStruct(*TC_FIELDS)
TM_HEADER: Final = BitStruct(*TM_FIELDS)
CRC_OCTETS: Final = 2


class Acknowledgement(IntFlag):
    """§7.4.4.1: which successes are to be reported; failures always are."""

    NONE = 0
    ACCEPTANCE = 1
    START = 2
    PROGRESS = 4
    COMPLETION = 8
    ALL = 15


@dataclass(frozen=True, slots=True)
class PusFormat:
    """What §7.4 leaves to a mission: the time field and the spare octets of both headers."""

    time: CucFormat | CdsFormat = field(default_factory=CucFormat)
    tc_spare_octets: int = 0
    tm_spare_octets: int = 0

    def __post_init__(self) -> None:
        for name in ("tc_spare_octets", "tm_spare_octets"):
            if not 0 <= getattr(self, name) <= 255:
                raise LocalError(f"PUS {name} is {getattr(self, name)}, 0 to 255 allowed")


#: CUC of four and three octets, nothing spare.
PUS_FORMAT: Final = PusFormat()


@dataclass(frozen=True, slots=True)
class Request:
    """A telecommand packet; `data` is the application data field."""

    apid: int
    service: int
    subtype: int
    data: bytes = b""
    sequence_count: int = 0
    source_id: int = 0
    acknowledgement: int = Acknowledgement.ALL


@dataclass(frozen=True, slots=True)
class Report:
    """A telemetry packet; time_ns: TAI ns by the on-board clock; `data`: the source data field.

    message_count: of this type to this destination (§7.4.3.1); time_status: of the time
    reference, mission-defined, 0 where a mission says nothing.
    """

    apid: int
    service: int
    subtype: int
    time_ns: int
    data: bytes = b""
    sequence_count: int = 0
    message_count: int = 0
    destination_id: int = 0
    time_status: int = 0


@dataclass(frozen=True, slots=True)
class RequestId:
    """§8.1.2.1: a request's first two header words, which verification reports repeat.

    packet_id: version, type, secondary header flag and APID; sequence: flags and count.

    >>> RequestId.of(build_request(Request(100, 17, 1, sequence_count=7)))
    RequestId(packet_id=6244, sequence=49159)
    """

    packet_id: int
    sequence: int

    @classmethod
    def of(cls, packet: bytes) -> RequestId:
        """Of a packet's octets; RemoteError if there are fewer than four."""
        if len(packet) < 4:
            raise RemoteError(f"request of {len(packet)} octets has no identifier", data=packet)
        return cls(int.from_bytes(packet[:2], "big"), int.from_bytes(packet[2:4], "big"))

    @property
    def apid(self) -> int:
        return self.packet_id & 0x7FF

    @property
    def sequence_count(self) -> int:
        return self.sequence & 0x3FFF

    def build(self) -> bytes:
        return self.packet_id.to_bytes(2, "big") + self.sequence.to_bytes(2, "big")


def with_error_control(packet: bytes) -> bytes:
    """The packet with its last two octets set to the CRC of those before."""
    body = packet[:-CRC_OCTETS]
    return body + crc16(body).to_bytes(CRC_OCTETS, "big")


def check_error_control(packet: bytes) -> None:
    """RemoteError if the last two octets are not the CRC of those before."""
    said = int.from_bytes(packet[-CRC_OCTETS:], "big")
    computed = crc16(packet[:-CRC_OCTETS])
    if len(packet) < CRC_OCTETS or said != computed:
        raise RemoteError(
            f"packet error control {said:#06x}, {computed:#06x} computed", data=packet
        )


def build_request(request: Request, form: PusFormat = PUS_FORMAT) -> bytes:
    """Octets of a request.  Raises LocalError for a value outside its field.

    >>> build_request(Request(apid=100, service=17, subtype=1)).hex(" ")
    '18 64 c0 00 00 06 2f 11 01 00 00 9f 7a'
    """
    header = {
        "version": PUS_VERSION,
        "acknowledgement": int(request.acknowledgement),
        "service": request.service,
        "subtype": request.subtype,
        "source_id": request.source_id,
    }
    zone = _built(TC_HEADER, header, "request") + bytes(form.tc_spare_octets) + request.data
    return _packet(request.apid, request.sequence_count, zone, telecommand=True)


def parse_request(octets: bytes, form: PusFormat = PUS_FORMAT) -> Request:
    """A request from exactly its octets.

    Raises RemoteError for telemetry, another PUS version, a wrong CRC, octets missing or over.
    """
    packet, zone = _zone(octets, telecommand=True)
    header, data = _split(TC_HEADER, zone, form.tc_spare_octets, octets)
    return Request(
        packet.apid,
        header.service,
        header.subtype,
        data,
        packet.sequence_count,
        header.source_id,
        header.acknowledgement,
    )


def build_report(report: Report, form: PusFormat = PUS_FORMAT) -> bytes:
    """Octets of a report.  Raises LocalError for a value outside its field.

    >>> build_report(Report(apid=100, service=17, subtype=2, time_ns=10**9)).hex(" ")
    '08 64 c0 00 00 0f 20 11 02 00 00 00 00 00 00 00 01 00 00 00 5f c4'
    """
    header = {
        "version": PUS_VERSION,
        "time_status": report.time_status,
        "service": report.service,
        "subtype": report.subtype,
        "message_count": report.message_count,
        "destination_id": report.destination_id,
    }
    zone = _built(TM_HEADER, header, "report") + form.time.build(report.time_ns)
    zone += bytes(form.tm_spare_octets) + report.data
    return _packet(report.apid, report.sequence_count, zone, telecommand=False)


def parse_report(octets: bytes, form: PusFormat = PUS_FORMAT) -> Report:
    """A report from exactly its octets; RemoteError as `parse_request`, and for a bad time code."""
    packet, zone = _zone(octets, telecommand=False)
    header, rest = _split(TM_HEADER, zone, form.time.size + form.tm_spare_octets, octets)
    start = TM_HEADER.sizeof()
    return Report(
        packet.apid,
        header.service,
        header.subtype,
        form.time.parse(zone[start : start + form.time.size]),
        rest,
        packet.sequence_count,
        header.message_count,
        header.destination_id,
        header.time_status,
    )


def _built(header: Any, values: dict[str, int], what: str) -> bytes:
    try:
        return bytes(header.build(values))
    except ConstructError as error:
        raise LocalError(f"{what} header: {error}") from error


def _packet(apid: int, sequence_count: int, zone: bytes, *, telecommand: bool) -> bytes:
    return with_error_control(
        build_packet(
            SpacePacket(
                apid,
                zone + bytes(CRC_OCTETS),
                sequence_count,
                telecommand=telecommand,
                secondary_header_flag=True,
            )
        )
    )


def _zone(octets: bytes, *, telecommand: bool) -> tuple[SpacePacket, bytes]:
    """The packet and what stands between primary header and error control."""
    packet = parse_packet(octets)
    if packet.telecommand != telecommand or not packet.secondary_header_flag:
        wanted = "telecommand" if telecommand else "telemetry"
        raise RemoteError(f"packet is no PUS {wanted} packet", data=octets)
    check_error_control(octets)
    return packet, packet.data[:-CRC_OCTETS]


def _split(header: Any, zone: bytes, more: int, octets: bytes) -> tuple[Any, bytes]:
    size = int(header.sizeof())
    if len(zone) < size + more:
        raise RemoteError(
            f"PUS header cut short: {len(zone)} of {size + more} octets",
            data=octets,
            offset=HEADER_LENGTH + len(zone),
        )
    values: Any = header.parse(zone)
    if values.version != PUS_VERSION:
        raise RemoteError(
            f"PUS version {values.version}, {PUS_VERSION} wanted", data=octets, offset=HEADER_LENGTH
        )
    return values, zone[size + more :]
