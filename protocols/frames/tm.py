"""TM transfer frames, CCSDS 132.0-B-3."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from construct import BitsInteger, BitStruct, Bytes, Flag, Struct, this
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

#: Transfer frame primary header, 132.0-B-3 §4.1.2.
TM_PRIMARY_HEADER = BitStruct(
    "version" / BitsInteger(2),
    "scid" / BitsInteger(10),
    "vcid" / BitsInteger(3),
    "ocf_flag" / Flag,
    "mc_count" / BitsInteger(8),
    "vc_count" / BitsInteger(8),
    "secondary_header_flag" / Flag,
    "sync_flag" / Flag,
    "packet_order_flag" / Flag,
    "segment_length_id" / BitsInteger(2),
    "first_header_pointer" / BitsInteger(11),
)
#: Transfer frame secondary header, §4.1.3; the length field is the total length − 1, and so the
#: length of the data field.
TM_SECONDARY_HEADER = Struct(
    "id" / BitStruct("version" / BitsInteger(2), "length" / BitsInteger(6)),
    "data" / Bytes(this.id.length),
)
TM_VERSION = 0
#: §4.1.2.7.6: no packet starts in this data field.
TM_FHP_NONE = 0x7FF
#: §4.1.2.7.6: only idle data.
TM_FHP_IDLE = 0x7FE


@dataclass(frozen=True, slots=True)
class TmFrame:
    """One TM transfer frame.

    first_header_pointer holds the 11 bits as they stand; with sync_flag they have no meaning.
    secondary_header is its data field without the identification octet; None where there is none.
    """

    scid: int
    vcid: int
    mc_count: int
    vc_count: int
    first_header_pointer: int
    data: bytes
    ocf: bytes | None = None
    secondary_header: bytes | None = None
    sync_flag: bool = False
    packet_order_flag: bool = False
    #: §4.1.2.7.5: 11 where the synchronisation flag is 0.
    segment_length_id: int = 3
    version: int = TM_VERSION


def parse(frame: bytes, parameters: FrameParameters) -> TmFrame:
    """One TM transfer frame.

    Raises RemoteError for a frame of the wrong length or version, a FECF that does not agree, and
    a secondary header that leaves no room for data.
    """
    if len(frame) != parameters.frame_length:
        raise RemoteError(
            f"TM frame of {len(frame)} octets, {parameters.frame_length} agreed", data=frame
        )
    check_fecf(frame, parameters)
    header: Any = TM_PRIMARY_HEADER.parse(frame)
    if header.version != TM_VERSION:
        raise RemoteError(f"transfer frame version {header.version}, 0 (TM) wanted", data=frame)
    start = 6
    secondary = None
    if header.secondary_header_flag:
        try:
            secondary = bytes(TM_SECONDARY_HEADER.parse(frame[6:]).data)
        except ConstructError as error:
            raise RemoteError("TM secondary header runs past the frame", data=frame) from error
        start += 1 + len(secondary)
    end = len(frame) - parameters.fecf_length
    ocf = None
    if header.ocf_flag:
        ocf = frame[end - 4 : end]
        end -= 4
    if start > end:
        raise RemoteError("TM secondary header leaves no data field", data=frame, offset=start)
    return TmFrame(
        scid=header.scid,
        vcid=header.vcid,
        mc_count=header.mc_count,
        vc_count=header.vc_count,
        first_header_pointer=header.first_header_pointer,
        data=frame[start:end],
        ocf=ocf,
        secondary_header=secondary,
        sync_flag=bool(header.sync_flag),
        packet_order_flag=bool(header.packet_order_flag),
        segment_length_id=header.segment_length_id,
        version=header.version,
    )


def build(frame: TmFrame, parameters: FrameParameters) -> bytes:
    """Octets of a TM transfer frame, FECF computed.  Raises LocalError for what does not fit."""
    try:
        parts = [
            TM_PRIMARY_HEADER.build(
                {
                    "version": frame.version,
                    "scid": frame.scid,
                    "vcid": frame.vcid,
                    "ocf_flag": frame.ocf is not None,
                    "mc_count": frame.mc_count,
                    "vc_count": frame.vc_count,
                    "secondary_header_flag": frame.secondary_header is not None,
                    "sync_flag": frame.sync_flag,
                    "packet_order_flag": frame.packet_order_flag,
                    "segment_length_id": frame.segment_length_id,
                    "first_header_pointer": frame.first_header_pointer,
                }
            )
        ]
        if frame.secondary_header is not None:
            parts.append(
                TM_SECONDARY_HEADER.build(
                    {
                        "id": {"version": 0, "length": len(frame.secondary_header)},
                        "data": frame.secondary_header,
                    }
                )
            )
    except ConstructError as error:
        raise LocalError(f"TM frame header: {error}") from error
    parts += [frame.data, frame.ocf or b""]
    octets = b"".join(parts)
    wanted = parameters.frame_length - parameters.fecf_length
    if len(octets) != wanted or (frame.ocf is not None and len(frame.ocf) != 4):
        raise LocalError(f"TM frame of {len(octets)} octets before the FECF, {wanted} agreed")
    return append_fecf(octets, parameters)


def index(frames: U8, parameters: FrameParameters) -> FrameIndex:
    """Header fields of many frames, uint8 [n, frame_length]; property-tested equal to `parse`."""
    n = len(frames)
    identification = big_endian(frames, 0, 2)
    status = big_endian(frames, 4, 2)
    scid = (identification >> 4) & 0x3FF
    vcid = (identification >> 1) & 0x7
    version = identification >> 14
    has_ocf = (identification & 1) != 0

    pointer = status & 0x7FF
    fhp = np.where(pointer == TM_FHP_NONE, FHP_NONE, pointer)
    fhp[pointer == TM_FHP_IDLE] = FHP_IDLE
    for content, here in content_masks(vcid, parameters):
        fhp[here] = 0 if content == "aligned-packets" else FHP_NOT_PACKETS
    fhp[(status & 0x4000) != 0] = FHP_NOT_PACKETS

    secondary = (status & 0x8000) != 0
    # The identification octet lies in the data field where the flag is 0: mask it out.
    start = 6 + np.where(secondary, (frames[:, 6] & 0x3F).astype(np.int64) + 1, 0)
    end = parameters.frame_length - parameters.fecf_length - 4 * has_ocf.astype(np.int64)
    malformed = start > end
    ocf_at = parameters.frame_length - parameters.fecf_length - 4
    ocf = np.where(has_ocf, big_endian(frames, ocf_at, 4), 0) if ocf_at >= 6 else np.zeros(n)
    foreign = version != TM_VERSION
    if parameters.scid is not None:
        foreign |= scid != parameters.scid
    return FrameIndex(
        version=version.astype(np.uint8),
        scid=scid.astype(np.uint16),
        vcid=vcid.astype(np.uint8),
        map_id=np.zeros(n, np.uint8),
        mc_count=frames[:, 2].astype(np.int32),
        vc_count=frames[:, 3].astype(np.int64),
        vc_count_modulus=np.full(n, 256, np.int64),
        first_header_pointer=fhp.astype(np.int32),
        zone_start=np.minimum(start, end).astype(np.int32),
        zone_end=end.astype(np.int32),
        crc_ok=fecf_ok(frames, parameters),
        foreign=foreign,
        malformed=malformed,
        ocf=ocf.astype(np.uint32),
        has_ocf=has_ocf,
        signalling=status.astype(np.uint16),
        channel=channel_key(scid, vcid),
    )


def build_frames(
    zones: U8,
    parameters: FrameParameters,
    *,
    scid: int,
    vcid: int,
    mc_count: I64,
    vc_count: I64,
    first_header_pointer: I32,
    ocf: U32 | None = None,
    secondary_header: U8 | None = None,
    sync_flag: bool = False,
) -> U8:
    """Many frames of one virtual channel.

    zones: uint8 [n, zone length]; mc_count, vc_count, first_header_pointer: [n], the pointer as
    FHP_NONE, FHP_IDLE or octets; ocf: uint32 [n]; secondary_header: uint8 [n, m] data fields.
    Result uint8 [n, frame_length].  Property-tested equal to `build`.
    """
    n = len(zones)
    out = np.zeros((n, parameters.frame_length), np.uint8)
    identification = (TM_VERSION << 14) | (scid << 4) | (vcid << 1) | (ocf is not None)
    out[:, 0] = identification >> 8
    out[:, 1] = identification & 0xFF
    out[:, 2] = mc_count & 0xFF
    out[:, 3] = vc_count & 0xFF
    pointer = np.where(first_header_pointer == FHP_NONE, TM_FHP_NONE, first_header_pointer)
    pointer = np.where(first_header_pointer == FHP_IDLE, TM_FHP_IDLE, pointer) & 0x7FF
    status = pointer | 0x1800
    if sync_flag:
        status = np.full(n, 0x4000)
    if secondary_header is not None:
        status = status | 0x8000
    out[:, 4] = status >> 8
    out[:, 5] = status & 0xFF
    at = 6
    if secondary_header is not None:
        out[:, at] = secondary_header.shape[1]
        out[:, at + 1 : at + 1 + secondary_header.shape[1]] = secondary_header
        at += 1 + secondary_header.shape[1]
    end = at + zones.shape[1]
    if end + (4 if ocf is not None else 0) + parameters.fecf_length != parameters.frame_length:
        raise LocalError(
            f"zone of {zones.shape[1]} octets does not fill a frame of {parameters.frame_length}"
        )
    out[:, at:end] = zones
    if ocf is not None:
        out[:, end : end + 4] = ocf.astype(">u4").view(np.uint8).reshape(n, 4)
    return append_fecf_batch(out, parameters)
