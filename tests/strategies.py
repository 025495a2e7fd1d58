"""One hypothesis strategy for each codec: objects that the codec can build."""

from __future__ import annotations

from hypothesis import strategies as st

from protocols.frames.aos import AosFrame
from protocols.frames.clcw import CLCW
from protocols.frames.parameters import FrameParameters
from protocols.frames.tm import TmFrame
from protocols.frames.uslp import UslpFrame
from protocols.packets.encapsulation import EncapsulationPacket, EncapsulationProtocol
from protocols.packets.space_packet import SpacePacket

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
