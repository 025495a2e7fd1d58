"""One hypothesis strategy for each codec: objects that the codec can build."""

from __future__ import annotations

from hypothesis import strategies as st

from protocols.dtn.bundle import (
    Block,
    Bundle,
    BundleFlags,
    CreationTimestamp,
    Primary,
    payload_block,
)
from protocols.dtn.bundle_reports import Status, StatusReport
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.eid import NULL_ENDPOINT, Eid, eid, ipn
from protocols.dtn.ltp_segments import (
    CancelAckSegment,
    CancelSegment,
    Claim,
    DataSegment,
    Extension,
    ReportAckSegment,
    ReportSegment,
    Segment,
    SegmentType,
    SessionId,
)
from protocols.frames.aos import AosFrame
from protocols.frames.clcw import CLCW
from protocols.frames.parameters import FrameParameters
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, TcParameters
from protocols.frames.tm import TmFrame
from protocols.frames.uslp import UslpFrame
from protocols.packets.encapsulation import EncapsulationPacket, EncapsulationProtocol
from protocols.packets.space_packet import SpacePacket
from protocols.physical.sample_block import SampleBlock
from protocols.physical.samples import SAMPLE_FORMATS
from protocols.timecodes.tai import NS_PER_SECOND

octets = st.integers(0, 255)


def space_packets(longest_data: int = 300) -> st.SearchStrategy[SpacePacket]:
    return st.builds(
        SpacePacket,
        apid=st.integers(0, 2047),
        data=st.binary(min_size=1, max_size=longest_data),
        sequence_count=st.integers(0, 16383),
        sequence_flags=st.integers(0, 3),
        telecommand=st.booleans(),
        secondary_header_flag=st.booleans(),
    )


@st.composite
def encapsulation_packets(draw: st.DrawFn, longest_data: int = 300) -> EncapsulationPacket:
    """Packets with the length of length given, so that parsing gives them back."""
    code = draw(st.integers(0, 3))
    if code == 0:
        return EncapsulationPacket(EncapsulationProtocol.IDLE, length_of_length=0)
    protocols = [p for p in range(8) if code >= 2 or p != EncapsulationProtocol.EXTENDED]
    return EncapsulationPacket(
        protocol_id=draw(st.sampled_from(protocols)),
        data=draw(st.binary(max_size=min(longest_data, 253 if code == 1 else longest_data))),
        user_defined=draw(st.integers(0, 15)) if code >= 2 else 0,
        protocol_extension=draw(st.integers(0, 15)) if code >= 2 else 0,
        ccsds_defined=draw(st.binary(min_size=2, max_size=2)) if code == 3 else b"\0\0",
        length_of_length=code,
    )


clcws = st.builds(
    CLCW,
    vcid=st.integers(0, 63),
    report_value=octets,
    cop_in_effect=st.integers(0, 3),
    status=st.integers(0, 7),
    no_rf_available=st.booleans(),
    no_bit_lock=st.booleans(),
    lockout=st.booleans(),
    wait=st.booleans(),
    retransmit=st.booleans(),
    farm_b_counter=st.integers(0, 3),
    spare_1=st.integers(0, 3),
    spare_2=st.integers(0, 1),
    version=st.integers(0, 3),
)


@st.composite
def frame_parameters(draw: st.DrawFn, kind: str | None = None) -> FrameParameters:
    """Physical channels with short frames, so that packets span many of them."""
    kind = kind or draw(st.sampled_from(["tm", "aos", "uslp"]))
    vcids = st.integers(0, 7 if kind == "tm" else 63)
    contents = ["packets", "aligned-packets", "opaque"] + ["bitstream"] * (kind == "aos")
    return FrameParameters(
        kind=kind,  # type: ignore[arg-type]
        frame_length=draw(st.integers(60, 140)),
        fecf=draw(st.sampled_from(["absent", "crc16"] + ["crc32"] * (kind == "uslp"))),
        ocf=draw(st.booleans()),
        insert_zone_length=0 if kind == "tm" else draw(st.integers(0, 9)),
        scid=draw(st.none() | st.integers(0, 1023)),
        frame_header_error_control=kind == "aos" and draw(st.booleans()),
        frame_count_cycle=kind == "aos" and draw(st.booleans()),
        vc_content=draw(st.dictionaries(vcids, st.sampled_from(contents), max_size=3)),
        truncated_length=draw(st.sampled_from([0, 20])) if kind == "uslp" else 0,
    )


@st.composite
def tm_frames(draw: st.DrawFn, parameters: FrameParameters) -> TmFrame:
    secondary = draw(st.none() | st.binary(min_size=0, max_size=20))
    ocf = draw(st.none() | st.binary(min_size=4, max_size=4))
    size = parameters.frame_length - parameters.fecf_length - 6
    size -= (0 if secondary is None else 1 + len(secondary)) + (0 if ocf is None else 4)
    return TmFrame(
        scid=draw(st.integers(0, 1023)) if parameters.scid is None else parameters.scid,
        vcid=draw(st.integers(0, 7)),
        mc_count=draw(octets),
        vc_count=draw(octets),
        first_header_pointer=draw(st.integers(0, 2047)),
        data=draw(st.binary(min_size=size, max_size=size)),
        ocf=ocf,
        secondary_header=secondary,
        sync_flag=draw(st.booleans()),
        packet_order_flag=draw(st.booleans()),
        segment_length_id=draw(st.integers(0, 3)),
    )


@st.composite
def aos_frames(draw: st.DrawFn, parameters: FrameParameters) -> AosFrame:
    vcid = draw(st.integers(0, 63) | st.sampled_from([0, *parameters.vc_content]))
    content = parameters.content_of(vcid)
    pointer = None
    if content != "opaque":
        pointer = draw(st.integers(0, 16383 if content == "bitstream" else 2047))
    size = parameters.frame_length - parameters.fecf_length - parameters.header_length
    size -= parameters.insert_zone_length + (0 if pointer is None else 2) + 4 * parameters.ocf
    insert = parameters.insert_zone_length
    return AosFrame(
        scid=draw(st.integers(0, 1023)) if parameters.scid is None else parameters.scid,
        vcid=vcid,
        vc_count=draw(st.integers(0, (1 << 24) - 1)),
        data=draw(st.binary(min_size=size, max_size=size)),
        pointer=pointer,
        replay_flag=draw(st.booleans()),
        count_cycle_flag=draw(st.booleans()),
        count_cycle=draw(st.integers(0, 15)),
        insert_zone=draw(st.binary(min_size=insert, max_size=insert)),
        ocf=draw(st.binary(min_size=4, max_size=4)) if parameters.ocf else None,
    )


@st.composite
def uslp_frames(draw: st.DrawFn, parameters: FrameParameters, *, fixed: bool = False) -> UslpFrame:
    """Frames of the agreed length if `fixed`; else also shorter and truncated ones."""
    truncated = not fixed and bool(parameters.truncated_length) and draw(st.booleans())
    rule = draw(st.integers(0, 7))
    pointer = draw(st.integers(0, 65535)) if rule <= 2 and not truncated else None
    count_length = 0 if truncated else draw(st.integers(0, 7))
    insert = 0 if truncated else parameters.insert_zone_length
    ocf = None if truncated else draw(st.none() | st.binary(min_size=4, max_size=4))
    room = parameters.truncated_length if truncated else parameters.frame_length
    room -= (4 if truncated else 7 + count_length) + insert + (1 if pointer is None else 3)
    room -= (0 if ocf is None else 4) + (0 if truncated else parameters.fecf_length)
    least = room if truncated or fixed else 0
    return UslpFrame(
        scid=draw(st.integers(0, 65535)) if parameters.scid is None else parameters.scid,
        vcid=draw(st.integers(0, 63)),
        data=draw(st.binary(min_size=least, max_size=room)),
        map_id=draw(st.integers(0, 15)),
        vc_count=draw(st.integers(0, (1 << 8 * count_length) - 1)) if count_length else -1,
        vc_count_length=count_length,
        construction_rule=rule,
        protocol_id=draw(st.integers(0, 31)),
        pointer=pointer,
        destination_flag=draw(st.booleans()),
        bypass_flag=not truncated and draw(st.booleans()),
        protocol_control_flag=not truncated and draw(st.booleans()),
        insert_zone=draw(st.binary(min_size=insert, max_size=insert)),
        ocf=ocf,
        truncated=truncated,
    )


_sdnvs = st.one_of(st.integers(0, 300), st.integers(0, (1 << 64) - 1))
_serials = st.one_of(st.integers(1, 300), st.integers(1, (1 << 32) - 1))
_ltp_extensions = st.lists(st.builds(Extension, octets, st.binary(max_size=20)), max_size=15).map(
    tuple
)


@st.composite
def ltp_segments(draw: st.DrawFn, longest_data: int = 300) -> Segment:
    """Every type of LTP segment."""
    session = SessionId(draw(_sdnvs), draw(_sdnvs))
    kind = draw(st.sampled_from(SegmentType))
    header, trailer = draw(_ltp_extensions), draw(_ltp_extensions)
    if kind <= SegmentType.GREEN_EOB:
        data = draw(st.binary(max_size=longest_data))
        checkpoint = SegmentType.RED_CHECKPOINT <= kind <= SegmentType.RED_EOB
        return DataSegment(
            kind,
            session,
            draw(_sdnvs),
            draw(st.integers(0, (1 << 64) - 1 - longest_data)),
            data,
            draw(_serials) if checkpoint else 0,
            draw(_sdnvs) if checkpoint else 0,
            header,
            trailer,
        )
    if kind is SegmentType.REPORT:
        lower = draw(st.integers(0, 1 << 40))
        edges = sorted(draw(st.sets(st.integers(0, 1 << 40), max_size=12)))
        pairs = zip(edges[::2], edges[1::2], strict=False)
        claims = tuple(Claim(a, b - a) for a, b in pairs)
        upper = lower + (edges[-1] if edges else 0) + draw(st.integers(0, 1000))
        return ReportSegment(
            session, draw(_serials), draw(_sdnvs), upper, lower, claims, header, trailer
        )
    if kind is SegmentType.REPORT_ACK:
        return ReportAckSegment(session, draw(_serials), header, trailer)
    if kind in (SegmentType.CANCEL_BY_SENDER, SegmentType.CANCEL_BY_RECEIVER):
        by_sender = kind is SegmentType.CANCEL_BY_SENDER
        return CancelSegment(session, by_sender, draw(octets), header, trailer)
    return CancelAckSegment(session, kind is SegmentType.CANCEL_ACK_TO_SENDER, header, trailer)


numbers_64 = st.integers(0, 2**64 - 1) | st.sampled_from([23, 24, 255, 256, 65535, 65536, 2**32])


@st.composite
def eids(draw: st.DrawFn) -> Eid:
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return NULL_ENDPOINT
    if kind == 1:
        name = draw(st.text("abc.-_0123456789", min_size=1, max_size=9))
        return eid(f"dtn://{name}/{draw(st.text('az~/.#', max_size=9))}")
    return ipn(draw(numbers_64 if kind == 2 else st.integers(1, 9)), draw(numbers_64))


@st.composite
def bundles(draw: st.DrawFn, longest_payload: int = 300) -> Bundle:
    """Bundles of blocks known and unknown, fragments and not; content is right, use is any."""
    fragment = draw(st.booleans())
    payload = draw(st.binary(max_size=longest_payload))
    offset = draw(st.integers(0, 2**40)) if fragment else None
    flags = draw(numbers_64) & ~BundleFlags.IS_FRAGMENT
    primary = Primary(
        flags=flags | fragment,
        crc_type=draw(st.integers(0, 2)),
        destination=draw(eids()),
        source=draw(eids()),
        report_to=draw(eids()),
        creation=CreationTimestamp(draw(numbers_64), draw(numbers_64)),
        lifetime_ms=draw(numbers_64),
        fragment_offset=offset,
        total_length=None if offset is None else offset + len(payload) + draw(st.integers(0, 99)),
    )
    numbers = draw(st.lists(st.integers(2, 2**40), unique=True, max_size=5))
    blocks = [
        Block(
            draw(st.sampled_from([2, 6, 7, 8, 10, 13, 192, 2**32])),
            number,
            # What the RFC assigns, and bits that readers are to ignore.
            draw(st.integers(0, 0xFF)),
            draw(st.integers(0, 2)),
            draw(st.binary(max_size=30)),
        )
        for number in numbers
    ]
    last = payload_block(
        payload, flags=draw(st.integers(0, 0xFF)), crc_type=draw(st.integers(0, 2))
    )
    return Bundle(primary, (*blocks, last))


@st.composite
def status_reports(draw: st.DrawFn) -> StatusReport:
    fragment = draw(st.none() | st.tuples(numbers_64, numbers_64)) or (None, None)
    return StatusReport(
        draw(st.dictionaries(st.sampled_from(Status), st.none() | numbers_64)),
        draw(st.integers(0, 300)),
        draw(eids()),
        CreationTimestamp(draw(numbers_64), draw(numbers_64)),
        *fragment,
    )


@st.composite
def contact_plans(draw: st.DrawFn, nodes: int = 4, most: int = 6) -> ContactPlan:
    """Whole seconds and octets, as ION and HDTN can say them."""
    begin_ns = draw(st.integers(1_000_000_000, 2_500_000_000)) * NS_PER_SECOND
    contacts: list[Contact] = []
    ranges: list[Range] = []
    pairs = [(a, b) for a in range(1, nodes + 1) for b in range(1, nodes + 1) if a != b]
    seconds = st.tuples(st.integers(0, 30), st.integers(1, 40))
    for one, other in draw(st.lists(st.sampled_from(pairs), unique=True, max_size=len(pairs))):
        owlt_ns = draw(st.integers(0, 1500)) * NS_PER_SECOND
        ns = begin_ns
        for gap, length in draw(st.lists(seconds, max_size=most)):
            start_ns = ns + gap * NS_PER_SECOND
            ns = start_ns + length * NS_PER_SECOND
            rate = 8 * draw(st.integers(1, 10**9))
            confidence = draw(st.sampled_from((1.0, 1.0, 0.25)))
            contacts.append(Contact(start_ns, ns, one, other, rate, confidence))
        if draw(st.integers(0, 9)):
            ranges.append(Range(begin_ns, ns + NS_PER_SECOND, one, other, owlt_ns))
    return ContactPlan(tuple(contacts), tuple(ranges))


@st.composite
def tc_parameters(draw: st.DrawFn) -> TcParameters:
    return TcParameters(
        scid=draw(st.integers(0, 1023)),
        longest=draw(st.integers(20, 1024)),
        fecf=draw(st.booleans()),
        without_segment_header=draw(st.frozensets(st.integers(0, 63))),
    )


@st.composite
def tc_frames(draw: st.DrawFn, parameters: TcParameters, longest_data: int = 1024) -> TcFrame:
    """What comes back from parsing: fields that a frame does not have are as the defaults are."""
    frame_type = draw(st.sampled_from(FrameType))
    vcid = draw(st.integers(0, 63))
    room = min(parameters.room(vcid), longest_data)
    data = draw(st.binary(min_size=1, max_size=min(room, 64)) | st.just(bytes(room)))
    segmented = frame_type is not FrameType.BC and parameters.has_segment_header(vcid)
    return TcFrame(
        vcid,
        data,
        frame_type,
        draw(octets) if frame_type is FrameType.AD else 0,
        draw(st.integers(0, 63)) if segmented else 0,
        draw(st.sampled_from(SequenceFlags)) if segmented else SequenceFlags.UNSEGMENTED,
    )


# ---------------------------------------------------------------- I/Q samples


@st.composite
def sample_blocks(draw: st.DrawFn) -> SampleBlock:
    known = draw(st.sampled_from(list(SAMPLE_FORMATS.values())))
    count = draw(st.integers(0, 20))
    return SampleBlock(
        known,
        draw(st.floats(1e-3, 1e12)),
        draw(st.floats(-1e12, 1e12)),
        draw(st.integers(-1, 2**63 - 1)),
        draw(st.binary(min_size=count * known.octets, max_size=count * known.octets)),
    )
