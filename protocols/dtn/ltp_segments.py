"""LTP segments, RFC 5326 §3 with erratum 1657, CCSDS 734.1-B: octets to objects and back.

A segment is a header, content that is a row of self-delimiting numeric values (SDNV) by the
segment's type, then for data its octets, and trailer extensions.  `CONTENT` is the one declaration
of those rows; parsing and building both walk it.  (construct would need some 20 µs for each SDNV;
a block of 100 kB at 1 Gbit/s leaves 800 µs for everything.)
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from protocols.errors import LocalError, RemoteError

LTP_VERSION: Final = 0
#: SDNVs up to 64 bits (CCSDS 734.1-B asks for less): ten octets, so that none eats a segment.
SDNV_LIMIT: Final = 1 << 64
SDNV_OCTETS: Final = 10
#: 734.1-B: checkpoint and report serial numbers, and session numbers, have 32 bits.
SERIAL_LIMIT: Final = 1 << 32
#: The counts of header and trailer extensions have 4 bits each, §3.1.
EXTENSIONS: Final = 15
#: UDP port of LTP (RFC 7122); a datagram holds one segment.
LTP_UDP_PORT: Final = 1113


class SegmentType(IntEnum):
    """Segment type flags, §3.1.1 with erratum 1657; 5, 6, 10 and 11 are undefined."""

    RED = 0
    RED_CHECKPOINT = 1
    #: End of red part (EORP), always a checkpoint.
    RED_EORP = 2
    #: End of red part and of block (EOB).
    RED_EOB = 3
    GREEN = 4
    GREEN_EOB = 7
    REPORT = 8
    REPORT_ACK = 9
    CANCEL_BY_SENDER = 12
    CANCEL_ACK_TO_SENDER = 13
    CANCEL_BY_RECEIVER = 14
    CANCEL_ACK_TO_RECEIVER = 15


class ClientService(IntEnum):
    """Client service identifiers (SANA registry)."""

    BUNDLE = 1
    #: CCSDS 734.1-B: several client data units in one block, each after its own identifier.
    AGGREGATION = 2


class CancelReason(IntEnum):
    """Reasons of a cancel segment, §3.2.4."""

    USER_CANCELLED = 0
    UNREACHABLE = 1
    RETRANSMISSION_LIMIT = 2
    MISCOLORED = 3
    SYSTEM_CANCELLED = 4
    RETRANSMISSION_CYCLES = 5


class ExtensionTag(IntEnum):
    """Extension tags, §3.1.4 and RFC 5327."""

    AUTHENTICATION = 0
    COOKIE = 1


class SessionId(NamedTuple):
    """Engine that sends the block, and its number for the session."""

    originator: int
    number: int


class Extension(NamedTuple):
    tag: int
    value: bytes


class Claim(NamedTuple):
    """Octets received: `offset` counts from the report's lower bound, §3.2.2."""

    offset: int
    length: int


class DataSegment(NamedTuple):
    """`checkpoint_serial` and `report_serial` stand in checkpoints alone (types 1 to 3)."""

    kind: SegmentType
    session: SessionId
    client_service: int
    offset: int
    data: bytes
    checkpoint_serial: int = 0
    report_serial: int = 0
    header_extensions: tuple[Extension, ...] = ()
    trailer_extensions: tuple[Extension, ...] = ()


class ReportSegment(NamedTuple):
    """`checkpoint_serial` 0: the report answers no checkpoint (asynchronous)."""

    session: SessionId
    report_serial: int
    checkpoint_serial: int
    upper_bound: int
    lower_bound: int
    claims: tuple[Claim, ...]
    header_extensions: tuple[Extension, ...] = ()
    trailer_extensions: tuple[Extension, ...] = ()


class ReportAckSegment(NamedTuple):
    session: SessionId
    report_serial: int
    header_extensions: tuple[Extension, ...] = ()
    trailer_extensions: tuple[Extension, ...] = ()


class CancelSegment(NamedTuple):
    """`by_sender`: the block's sender cancels (else its receiver); a reason may be unknown."""

    session: SessionId
    by_sender: bool
    reason: int
    header_extensions: tuple[Extension, ...] = ()
    trailer_extensions: tuple[Extension, ...] = ()


class CancelAckSegment(NamedTuple):
    """`to_sender`: acknowledges a cancellation by the block's sender."""

    session: SessionId
    to_sender: bool
    header_extensions: tuple[Extension, ...] = ()
    trailer_extensions: tuple[Extension, ...] = ()


Segment = DataSegment | ReportSegment | ReportAckSegment | CancelSegment | CancelAckSegment

_DATA = ("client service", "offset", "length")
_CHECKPOINT = (*_DATA, "checkpoint serial number", "report serial number")
#: The SDNVs that begin the content of each type, §3.2.  A cancel segment's reason is an octet.
CONTENT: Final[dict[int, tuple[str, ...]]] = {
    SegmentType.RED: _DATA,
    SegmentType.RED_CHECKPOINT: _CHECKPOINT,
    SegmentType.RED_EORP: _CHECKPOINT,
    SegmentType.RED_EOB: _CHECKPOINT,
    SegmentType.GREEN: _DATA,
    SegmentType.GREEN_EOB: _DATA,
    SegmentType.REPORT: (
        "report serial number",
        "checkpoint serial number",
        "upper bound",
        "lower bound",
        "claim count",
    ),
    SegmentType.REPORT_ACK: ("report serial number",),
    SegmentType.CANCEL_BY_SENDER: (),
    SegmentType.CANCEL_ACK_TO_SENDER: (),
    SegmentType.CANCEL_BY_RECEIVER: (),
    SegmentType.CANCEL_ACK_TO_RECEIVER: (),
}
_TYPES: Final = {int(kind): kind for kind in SegmentType}


def build_sdnv(value: int) -> bytes:
    """A self-delimiting numeric value, RFC 6256: seven bits an octet, most significant first.

    >>> build_sdnv(0xABC).hex(), build_sdnv(0x7F).hex(), build_sdnv(0).hex()
    ('953c', '7f', '00')
    """
    if 0 <= value < 0x80:
        return value.to_bytes(1, "big")
    if not 0 <= value < SDNV_LIMIT:
        raise LocalError(f"SDNV of {value}: 0 to 2^64 - 1 wanted")
    octets = bytearray((value & 0x7F,))
    value >>= 7
    while value:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.reverse()
    return bytes(octets)


def parse_sdnvs(octets: bytes, at: int, count: int) -> tuple[list[int], int]:
    """`count` SDNVs from octet `at` on, and the octet after them.  Raises RemoteError."""
    values: list[int] = []
    try:
        for _ in range(count):
            octet = octets[at]
            at += 1
            value = octet & 0x7F
            if octet & 0x80:
                begin = at - 1
                while octet & 0x80:
                    octet = octets[at]
                    at += 1
                    value = value << 7 | octet & 0x7F
                    if at - begin > SDNV_OCTETS:
                        raise RemoteError("SDNV longer than 10 octets", data=octets, offset=begin)
                if value >= SDNV_LIMIT:
                    raise RemoteError(f"SDNV of {value} above 64 bits", data=octets, offset=begin)
            values.append(value)
    except IndexError:
        raise RemoteError("LTP segment cut short in a number", data=octets, offset=at) from None
    return values, at


def _parse_extensions(octets: bytes, at: int, count: int) -> tuple[tuple[Extension, ...], int]:
    found: list[Extension] = []
    for _ in range(count):
        (length,), begin = parse_sdnvs(octets, at + 1, 1)
        at_tag, at = at, begin + length
        if at > len(octets):
            raise RemoteError("LTP extension cut short", data=octets, offset=at_tag)
        found.append(Extension(octets[at_tag], octets[begin:at]))
    return tuple(found), at


def parse_segment(octets: bytes) -> Segment:
    """One segment, exactly: the datagram or packet that carried it holds nothing else.

    Raises RemoteError for another version, an undefined type, a segment cut short or followed by
    more, serial numbers of 0 where §3.2 forbids them, and claims outside of their report.
    """
    if len(octets) < 4:
        raise RemoteError(f"LTP segment of {len(octets)} octets", data=octets)
    first = octets[0]
    if first >> 4 != LTP_VERSION:
        raise RemoteError(f"LTP version {first >> 4}, 0 wanted", data=octets)
    kind = _TYPES.get(first & 15)
    if kind is None:
        raise RemoteError(f"LTP segment type {first & 15} is undefined", data=octets)
    (originator, number), at = parse_sdnvs(octets, 1, 2)
    session = SessionId(originator, number)
    if at >= len(octets):
        raise RemoteError("LTP header cut short", data=octets, offset=at)
    counts = octets[at]
    at += 1
    header: tuple[Extension, ...] = ()
    if counts >> 4:
        header, at = _parse_extensions(octets, at, counts >> 4)
    begin = at
    values, at = parse_sdnvs(octets, at, len(CONTENT[kind]))

    data, claims, reason = b"", (), 0
    if kind <= SegmentType.GREEN_EOB:
        end = at + values[2]
        if end > len(octets):
            raise RemoteError(
                f"LTP data segment says {values[2]} octets, has {len(octets) - at}",
                data=octets,
                offset=at,
            )
        if values[1] + values[2] >= SDNV_LIMIT:
            raise RemoteError("LTP data segment ends beyond 2^64", data=octets, offset=begin)
        if len(values) > 3 and not values[3]:
            raise RemoteError("LTP checkpoint serial number 0", data=octets, offset=begin)
        data, at = octets[at:end], end
    elif kind is SegmentType.REPORT:
        claims, at = _parse_claims(octets, at, values)
    elif kind in (SegmentType.CANCEL_BY_SENDER, SegmentType.CANCEL_BY_RECEIVER):
        if at >= len(octets):
            raise RemoteError("LTP cancel segment lacks its reason", data=octets, offset=at)
        reason = octets[at]
        at += 1
    if kind in (SegmentType.REPORT, SegmentType.REPORT_ACK) and not values[0]:
        raise RemoteError("LTP report serial number 0", data=octets, offset=begin)

    trailer: tuple[Extension, ...] = ()
    if counts & 15:
        trailer, at = _parse_extensions(octets, at, counts & 15)
    if at != len(octets):
        raise RemoteError(
            f"{len(octets) - at} octets after the LTP segment's end", data=octets, offset=at
        )
    if kind <= SegmentType.GREEN_EOB:
        serials = (values[3], values[4]) if len(values) > 3 else (0, 0)
        return DataSegment(kind, session, values[0], values[1], data, *serials, header, trailer)
    if kind is SegmentType.REPORT:
        report_serial, checkpoint_serial, upper, lower, _ = values
        return ReportSegment(
            session, report_serial, checkpoint_serial, upper, lower, claims, header, trailer
        )
    if kind is SegmentType.REPORT_ACK:
        return ReportAckSegment(session, values[0], header, trailer)
    if kind in (SegmentType.CANCEL_BY_SENDER, SegmentType.CANCEL_BY_RECEIVER):
        by_sender = kind is SegmentType.CANCEL_BY_SENDER
        return CancelSegment(session, by_sender, reason, header, trailer)
    return CancelAckSegment(session, kind is SegmentType.CANCEL_ACK_TO_SENDER, header, trailer)


def _parse_claims(octets: bytes, at: int, values: list[int]) -> tuple[tuple[Claim, ...], int]:
    _, _, upper, lower, count = values
    if lower > upper:
        raise RemoteError(f"LTP report from {lower} to {upper}", data=octets, offset=at)
    # A claim has two octets at least: a larger count cannot be true, and is not walked.
    if count > (len(octets) - at) // 2:
        raise RemoteError(f"LTP report of {count} claims is too short", data=octets, offset=at)
    numbers, end = parse_sdnvs(octets, at, 2 * count)
    claims = tuple(map(Claim, numbers[::2], numbers[1::2]))
    for offset, length in claims:
        if not length or lower + offset + length > upper:
            raise RemoteError(
                f"LTP claim of {length} octets at {offset} outside of its report's {upper - lower}",
                data=octets,
                offset=at,
            )
    return claims, end


def _build_extensions(extensions: tuple[Extension, ...]) -> bytes:
    if len(extensions) > EXTENSIONS:
        raise LocalError(f"{len(extensions)} LTP extensions, 15 at most can be said")
    built: list[bytes] = []
    for tag, value in extensions:
        if not 0 <= tag <= 255:
            raise LocalError(f"LTP extension tag {tag}: 0 to 255 wanted")
        built += (bytes((tag,)), build_sdnv(len(value)), value)
    return b"".join(built)


def build_header(kind: int, session: SessionId, extension_counts: int = 0) -> bytes:
    """Header without extensions, §3.1; `extension_counts` holds header's and trailer's."""
    return b"%c%b%b%c" % (
        LTP_VERSION << 4 | kind,
        build_sdnv(session.originator),
        build_sdnv(session.number),
        extension_counts,
    )


def _content(segment: Segment) -> tuple[SegmentType, tuple[int, ...], bytes]:
    """Type, the SDNVs of `CONTENT`, and the octets after them."""
    if isinstance(segment, DataSegment):
        numbers = (segment.client_service, segment.offset, len(segment.data))
        if segment.kind > SegmentType.GREEN_EOB:
            raise LocalError(f"data segment of type {segment.kind.name}")
        if len(CONTENT[segment.kind]) > 3:
            if not segment.checkpoint_serial:
                raise LocalError("checkpoint with serial number 0")
            numbers += (segment.checkpoint_serial, segment.report_serial)
        return segment.kind, numbers, segment.data
    if isinstance(segment, ReportSegment):
        if not segment.report_serial:
            raise LocalError("report with serial number 0")
        if not 0 <= segment.lower_bound <= segment.upper_bound:
            raise LocalError(f"report from {segment.lower_bound} to {segment.upper_bound}")
        numbers = (
            segment.report_serial,
            segment.checkpoint_serial,
            segment.upper_bound,
            segment.lower_bound,
            len(segment.claims),
        )
        scope = segment.upper_bound - segment.lower_bound
        for offset, length in segment.claims:
            if length < 1 or offset + length > scope:
                raise LocalError(f"claim of {length} at {offset} outside of a report of {scope}")
        claims = b"".join(build_sdnv(number) for claim in segment.claims for number in claim)
        return SegmentType.REPORT, numbers, claims
    if isinstance(segment, ReportAckSegment):
        if not segment.report_serial:
            raise LocalError("report acknowledgement with serial number 0")
        return SegmentType.REPORT_ACK, (segment.report_serial,), b""
    if isinstance(segment, CancelSegment):
        kind = SegmentType.CANCEL_BY_SENDER if segment.by_sender else SegmentType.CANCEL_BY_RECEIVER
        if not 0 <= segment.reason <= 255:
            raise LocalError(f"cancel reason {segment.reason}: 0 to 255 wanted")
        return kind, (), bytes((segment.reason,))
    kind = (
        SegmentType.CANCEL_ACK_TO_SENDER
        if segment.to_sender
        else SegmentType.CANCEL_ACK_TO_RECEIVER
    )
    return kind, (), b""


def build_segment(segment: Segment) -> bytes:
    """Octets of a segment.  Raises LocalError for what §3 cannot say.

    >>> build_segment(ReportAckSegment(SessionId(1, 300), 7)).hex(" ")
    '09 01 82 2c 00 07'
    """
    kind, numbers, rest = _content(segment)
    header, trailer = segment.header_extensions, segment.trailer_extensions
    if not (header or trailer):
        numbers_built = b"".join(map(build_sdnv, numbers))
        return b"".join((build_header(kind, segment.session), numbers_built, rest))
    header_built, trailer_built = _build_extensions(header), _build_extensions(trailer)
    return b"".join(
        (
            build_header(kind, segment.session, len(header) << 4 | len(trailer)),
            header_built,
            *map(build_sdnv, numbers),
            rest,
            trailer_built,
        )
    )
