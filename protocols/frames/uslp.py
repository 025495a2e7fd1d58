"""USLP transfer frames, CCSDS 732.1-B-3."""

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
from construct import (
    BitsInteger,
    BitStruct,
    BytesInteger,
    Flag,
    If,
    Padding,
    Struct,
    this,
)
from construct.core import ConstructError

from protocols.errors import LocalError, RemoteError
from protocols.frames.columns import (
    FHP_IDLE,
    FHP_NONE,
    FHP_NOT_PACKETS,
    I32,
    I64,
    U8,
    U32,
    FrameIndex,
    big_endian,
    channel_key,
    content_masks,
)
from protocols.frames.error_control import append_fecf, append_fecf_batch, check_fecf, fecf_ok
from protocols.frames.parameters import FrameParameters

USLP_VERSION = 12
#: 732.1-B-3 §4.1.2: frames of only idle data.
USLP_IDLE_VCID = 63
#: Pointer of a zone in which no packet starts, or no MAPA_SDU ends (§4.1.4.2).
USLP_POINTER_NONE = 0xFFFF

#: The first four octets, and all of a truncated frame's header (§4.1.2, annex D).
USLP_IDENTIFICATION = BitStruct(
    "version" / BitsInteger(4),
    "scid" / BitsInteger(16),
    "destination_flag" / Flag,
    "vcid" / BitsInteger(6),
    "map_id" / BitsInteger(4),
    "truncated" / Flag,
)
_USLP_LENGTH_AND_FLAGS = BitStruct(
    "frame_length" / BitsInteger(16),
    "bypass_flag" / Flag,
    "protocol_control_flag" / Flag,
    Padding(2),
    "ocf_flag" / Flag,
    "vc_count_length" / BitsInteger(3),
)
#: Transfer frame primary header, §4.1.2; frame_length is the frame's octets − 1 (§4.1.2).
USLP_PRIMARY_HEADER = Struct(
    "identification" / USLP_IDENTIFICATION,
    "rest"
    / If(
        lambda context: not context.identification.truncated,
        Struct(
            "flags" / _USLP_LENGTH_AND_FLAGS,
            "vc_count"
            / If(this.flags.vc_count_length > 0, BytesInteger(this.flags.vc_count_length)),
        ),
    ),
)
#: Transfer frame data field header, §4.1.4.2.
TFDF_RULE_AND_PROTOCOL = BitStruct(
    "construction_rule" / BitsInteger(3), "protocol_id" / BitsInteger(5)
)
TFDF_POINTER = BytesInteger(2)


class ConstructionRule(IntEnum):
    """TFDZ construction rules, 732.1-B-3 §4.1.4.2; the first three are for fixed length."""

    PACKETS_SPANNING_FRAMES = 0
    MAPA_SDU_START = 1
    MAPA_SDU_CONTINUATION = 2
    OCTET_STREAM = 3
    SEGMENT_START = 4
    SEGMENT_CONTINUATION = 5
    SEGMENT_LAST = 6
    NO_SEGMENTATION = 7


class ProtocolId(IntEnum):
    """USLP protocol identifiers (SANA registry `uslp_protocol_id`); those used here."""

    PACKETS = 0
    COP_1 = 1
    COP_P = 2
    SDLS = 3
    OCTET_STREAM = 4
    MISSION_SPECIFIC = 5
    IDLE = 31


@dataclass(frozen=True, slots=True)
class UslpFrame:
    """One USLP transfer frame.

    vc_count_length 0..7 octets; vc_count is −1 where it is 0.  pointer: first header pointer (rule
    0) or last valid octet pointer (rules 1, 2); None for the other rules, which have none.
    A truncated frame has no length, flags, count, insert zone, pointer, OCF and FECF (annex D).
    """

    scid: int
    vcid: int
    data: bytes
    map_id: int = 0
    vc_count: int = -1
    vc_count_length: int = 0
    construction_rule: int = ConstructionRule.PACKETS_SPANNING_FRAMES
    protocol_id: int = ProtocolId.PACKETS
    pointer: int | None = None
    destination_flag: bool = False
    bypass_flag: bool = False
    protocol_control_flag: bool = False
    insert_zone: bytes = b""
    ocf: bytes | None = None
    truncated: bool = False
    version: int = USLP_VERSION


def _has_pointer(construction_rule: int, truncated: bool) -> bool:
    return construction_rule <= ConstructionRule.MAPA_SDU_CONTINUATION and not truncated


def parse(frame: bytes, parameters: FrameParameters) -> UslpFrame:
    """One USLP transfer frame; its own length field decides, `parameters.frame_length` bounds it.

    Raises RemoteError for a wrong version, a length field or truncation that does not agree with
    the octets given, a FECF that does not agree, fields that leave no room for data.
    """
    if len(frame) > parameters.frame_length:
        raise RemoteError(
            f"USLP frame of {len(frame)} octets, {parameters.frame_length} at most", data=frame
        )
    try:
        header: Any = USLP_PRIMARY_HEADER.parse(frame)
    except ConstructError as error:
        raise RemoteError(f"USLP header cut short: {error}", data=frame) from error
    name = header.identification
    if name.version != USLP_VERSION:
        raise RemoteError(f"transfer frame version {name.version}, 12 (USLP) wanted", data=frame)
    if name.truncated:
        if len(frame) != parameters.truncated_length:
            raise RemoteError(
                f"truncated USLP frame of {len(frame)} octets, "
                f"{parameters.truncated_length or 'none'} agreed",
                data=frame,
            )
    elif header.rest.flags.frame_length + 1 != len(frame):
        raise RemoteError(
            f"USLP length field says {header.rest.flags.frame_length + 1} octets of {len(frame)}",
            data=frame,
            offset=4,
        )
    end = len(frame)
    if not name.truncated:
        check_fecf(frame, parameters)
        end -= parameters.fecf_length
    ocf, insert_zone, vc_count, count_length = None, b"", -1, 0
    start = 4
    if not name.truncated:
        count_length = header.rest.flags.vc_count_length
        vc_count = header.rest.vc_count if count_length else -1
        start = 7 + count_length
        insert_zone = frame[start : start + parameters.insert_zone_length]
        start += parameters.insert_zone_length
        if header.rest.flags.ocf_flag:
            ocf = frame[end - 4 : end]
            end -= 4
    if start >= end:
        raise RemoteError("USLP frame without a data field", data=frame, offset=start)
    tfdf: Any = TFDF_RULE_AND_PROTOCOL.parse(frame[start:end])
    start += 1
    pointer = None
    if _has_pointer(tfdf.construction_rule, bool(name.truncated)):
        if start + 2 > end:
            raise RemoteError("USLP data field header cut short", data=frame, offset=start)
        pointer = TFDF_POINTER.parse(frame[start : start + 2])
        start += 2
    flags = None if name.truncated else header.rest.flags
    return UslpFrame(
        scid=name.scid,
        vcid=name.vcid,
        data=frame[start:end],
        map_id=name.map_id,
        vc_count=vc_count,
        vc_count_length=count_length,
        construction_rule=tfdf.construction_rule,
        protocol_id=tfdf.protocol_id,
        pointer=pointer,
        destination_flag=bool(name.destination_flag),
        bypass_flag=bool(flags and flags.bypass_flag),
        protocol_control_flag=bool(flags and flags.protocol_control_flag),
        insert_zone=insert_zone,
        ocf=ocf,
        truncated=bool(name.truncated),
        version=name.version,
    )


def build(frame: UslpFrame, parameters: FrameParameters) -> bytes:
    """Octets of a USLP frame, length and FECF computed.  Raises LocalError for what does not fit.

    The frame may be shorter than `parameters.frame_length` (variable-length frames).
    """
    if (frame.pointer is not None) != _has_pointer(frame.construction_rule, frame.truncated):
        raise LocalError(
            f"construction rule {frame.construction_rule}: pointer {frame.pointer} does not fit"
        )
    if frame.truncated and (frame.insert_zone or frame.ocf or frame.vc_count_length):
        raise LocalError("a truncated USLP frame has no count, insert zone and OCF (annex D)")
    if not frame.truncated and len(frame.insert_zone) != parameters.insert_zone_length:
        raise LocalError(
            f"insert zone of {len(frame.insert_zone)} octets, "
            f"{parameters.insert_zone_length} agreed"
        )
    if frame.ocf is not None and len(frame.ocf) != 4:
        raise LocalError(f"OCF of {len(frame.ocf)} octets, 4 wanted")
    length = (
        (4 if frame.truncated else 7 + frame.vc_count_length)
        + len(frame.insert_zone)
        + (3 if frame.pointer is not None else 1)
        + len(frame.data)
        + len(frame.ocf or b"")
        + (0 if frame.truncated else parameters.fecf_length)
    )
    allowed = parameters.truncated_length if frame.truncated else parameters.frame_length
    if length > allowed or (frame.truncated and length != allowed):
        raise LocalError(f"USLP frame of {length} octets, {allowed} agreed")
    try:
        octets = USLP_PRIMARY_HEADER.build(
            {
                "identification": {
                    "version": frame.version,
                    "scid": frame.scid,
                    "destination_flag": frame.destination_flag,
                    "vcid": frame.vcid,
                    "map_id": frame.map_id,
                    "truncated": frame.truncated,
                },
                "rest": {
                    "flags": {
                        "frame_length": length - 1,
                        "bypass_flag": frame.bypass_flag,
                        "protocol_control_flag": frame.protocol_control_flag,
                        "ocf_flag": frame.ocf is not None,
                        "vc_count_length": frame.vc_count_length,
                    },
                    "vc_count": frame.vc_count,
                },
            }
        )
        octets += frame.insert_zone
        octets += TFDF_RULE_AND_PROTOCOL.build(
            {"construction_rule": frame.construction_rule, "protocol_id": frame.protocol_id}
        )
        if frame.pointer is not None:
            octets += TFDF_POINTER.build(frame.pointer)
    except (ConstructError, OverflowError) as error:
        raise LocalError(f"USLP frame header: {error}") from error
    octets = b"".join([octets, frame.data, frame.ocf or b""])
    return octets if frame.truncated else append_fecf(octets, parameters)


def index(frames: U8, parameters: FrameParameters) -> FrameIndex:
    """Header fields of many frames of one length, uint8 [n, L]; property-tested equal to `parse`.

    L is the frame length, or the truncated length where every frame is truncated.
    """
    n, length = frames.shape
    # Columns are read for every frame, also where a header is longer than a garbled frame.
    wide = frames
    needed = 4 + 3 + 7 + parameters.insert_zone_length + 3
    if length < needed:
        wide = np.zeros((n, needed), np.uint8)
        wide[:, :length] = frames
    rows = np.arange(n)
    name = big_endian(wide, 0, 4)
    version, scid = name >> 28, (name >> 12) & 0xFFFF
    vcid, map_id = (name >> 5) & 0x3F, (name >> 1) & 0xF
    truncated = (name & 1) != 0
    flags = np.where(truncated, 0, wide[:, 6]).astype(np.int64)
    unprotected = truncated & (parameters.truncated_length == length)
    malformed = np.where(truncated, ~unprotected, big_endian(wide, 4, 2) + 1 != length)
    count_length = flags & 7
    vc_count = np.zeros(n, np.int64)
    for octet in range(7):
        vc_count = np.where(count_length > octet, vc_count << 8 | wide[:, 7 + octet], vc_count)
    vc_count[count_length == 0] = -1
    modulus = np.where(count_length > 0, np.int64(1) << (8 * count_length), 0)
    has_ocf = (flags & 0x08) != 0

    end = length - np.where(truncated, 0, parameters.fecf_length) - 4 * has_ocf.astype(np.int64)
    tfdf = np.where(truncated, 4, 7 + count_length + parameters.insert_zone_length)
    header = wide[rows, tfdf].astype(np.int64)
    rule, protocol_id = header >> 5, header & 0x1F
    pointed = (rule <= ConstructionRule.MAPA_SDU_CONTINUATION) & ~truncated
    pointer = wide[rows, tfdf + 1].astype(np.int64) << 8 | wide[rows, tfdf + 2]
    start = tfdf + np.where(pointed, 3, 1)
    malformed |= start > end
    start = np.minimum(start, np.maximum(end, 0))

    packets = protocol_id == ProtocolId.PACKETS
    spanning = packets & (rule == ConstructionRule.PACKETS_SPANNING_FRAMES) & ~truncated
    whole = packets & (rule == ConstructionRule.NO_SEGMENTATION)
    fhp = np.where(spanning, pointer, np.where(whole, 0, FHP_NOT_PACKETS))
    fhp[spanning & (pointer == USLP_POINTER_NONE)] = FHP_NONE
    # Rules 1 and 2: what follows the last valid octet is fill (§4.1.4.2).
    ends = pointed & (rule != 0) & (pointer != USLP_POINTER_NONE)
    malformed |= ends & (start + pointer + 1 > end)
    end = np.where(ends, np.minimum(start + pointer + 1, end), end)
    for content, here in content_masks(vcid, parameters):
        fhp[here] = 0 if content == "aligned-packets" else FHP_NOT_PACKETS
    fhp[(vcid == USLP_IDLE_VCID) | (protocol_id == ProtocolId.IDLE)] = FHP_IDLE

    foreign = version != USLP_VERSION
    if parameters.scid is not None:
        foreign |= scid != parameters.scid
    ocf_at = length - parameters.fecf_length - 4
    ocf = np.where(has_ocf, big_endian(wide, max(ocf_at, 0), 4), 0)
    return FrameIndex(
        version=version.astype(np.uint8),
        scid=scid.astype(np.uint16),
        vcid=vcid.astype(np.uint8),
        map_id=map_id.astype(np.uint8),
        mc_count=np.full(n, -1, np.int32),
        vc_count=vc_count,
        vc_count_modulus=modulus,
        first_header_pointer=fhp.astype(np.int32),
        zone_start=start.astype(np.int32),
        zone_end=np.maximum(end, start).astype(np.int32),
        # Annex D: a truncated frame has none; one that nobody agreed on is a garbled header.
        crc_ok=fecf_ok(frames, parameters) | unprotected,
        foreign=foreign,
        malformed=malformed,
        ocf=ocf.astype(np.uint32),
        has_ocf=has_ocf,
        signalling=(flags << 8 | header).astype(np.uint16),
        channel=channel_key(scid, vcid, map_id, flags >> 7),
    )


def build_frames(
    zones: U8,
    parameters: FrameParameters,
    *,
    scid: int,
    vcid: int,
    vc_count: I64,
    first_header_pointer: I32,
    map_id: int = 0,
    vc_count_length: int = 3,
    ocf: U32 | None = None,
    insert_zone: U8 | None = None,
) -> U8:
    """Many fixed-length frames of one MAP: packets by construction rule 000; a MAPA_SDU of the
    zone's length by rule 001 where the pointer is FHP_NOT_PACKETS, idle data where it is FHP_IDLE.

    zones: uint8 [n, zone length]; vc_count, first_header_pointer: [n], the pointer as FHP_NONE,
    FHP_IDLE, FHP_NOT_PACKETS or octets; ocf: uint32 [n]; insert_zone: uint8 [n, length], or zeros.
    Result uint8 [n, frame_length].  Property-tested equal to `build`.
    """
    n = len(zones)
    length = parameters.frame_length
    out = np.zeros((n, length), np.uint8)
    name = USLP_VERSION << 28 | scid << 12 | vcid << 5 | map_id << 1
    out[:, 0:4] = np.frombuffer(name.to_bytes(4, "big"), np.uint8)
    out[:, 4:6] = np.frombuffer((length - 1).to_bytes(2, "big"), np.uint8)
    out[:, 6] = (ocf is not None) << 3 | vc_count_length
    for octet in range(vc_count_length):
        out[:, 7 + octet] = (vc_count >> (8 * (vc_count_length - 1 - octet))) & 0xFF
    at = 7 + vc_count_length
    if insert_zone is not None:
        out[:, at : at + parameters.insert_zone_length] = insert_zone
    at += parameters.insert_zone_length
    idle = first_header_pointer == FHP_IDLE
    sdu = first_header_pointer == FHP_NOT_PACKETS
    out[:, at] = ConstructionRule.PACKETS_SPANNING_FRAMES << 5 | ProtocolId.PACKETS
    out[sdu, at] = ConstructionRule.MAPA_SDU_START << 5 | ProtocolId.MISSION_SPECIFIC
    # §4.1.4.1.9: idle data is one SDU that fills the zone.
    out[idle, at] = ConstructionRule.MAPA_SDU_START << 5 | ProtocolId.IDLE
    pointer = np.where(first_header_pointer == FHP_NONE, USLP_POINTER_NONE, first_header_pointer)
    pointer = np.where(sdu | idle, zones.shape[1] - 1, pointer)
    out[:, at + 1] = (pointer >> 8) & 0xFF
    out[:, at + 2] = pointer & 0xFF
    at += 3
    end = at + zones.shape[1]
    if end + (4 if ocf is not None else 0) + parameters.fecf_length != length:
        raise LocalError(f"zone of {zones.shape[1]} octets does not fill a frame of {length}")
    out[:, at:end] = zones
    if ocf is not None:
        out[:, end : end + 4] = ocf.astype(">u4").view(np.uint8).reshape(n, 4)
    return append_fecf_batch(out, parameters)
