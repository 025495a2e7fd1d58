"""AOS transfer frames, CCSDS 732.0-B-4, with the spacecraft identifier of issue 5."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false, reportUnknownLambdaType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from construct import BitsInteger, BitStruct, BytesInteger, Flag, Padding
from construct.core import ConstructError

from protocols.coding.rows import flat_rows
from protocols.errors import LocalError, RemoteError
from protocols.frames import aos_kernels as kernels
from protocols.frames.columns import (
    FHP_IDLE,
    FHP_NONE,
    I32,
    I64,
    U8,
    U32,
    FrameIndex,
    big_endian,
)
from protocols.frames.error_control import append_fecf, append_fecf_batch, check_fecf, fecf_ok
from protocols.frames.header_error_control import correct_header, header_parity
from protocols.frames.parameters import FrameParameters

#: Transfer frame primary header without error control, 732.0-B §4.1.2.  The two bits after the
#: usage flag are spare (00) up to issue 4 and the upper bits of the SCID from issue 5 on
#: (732.0-B-5 §4.1.2.5.4), so one reading serves all issues.
AOS_PRIMARY_HEADER = BitStruct(
    "version" / BitsInteger(2),
    "scid" / BitsInteger(8),
    "vcid" / BitsInteger(6),
    "vc_count" / BitsInteger(24),
    "replay_flag" / Flag,
    "count_cycle_flag" / Flag,
    "scid_upper" / BitsInteger(2),
    "count_cycle" / BitsInteger(4),
)
FRAME_HEADER_ERROR_CONTROL = BytesInteger(2)
#: §4.1.4.2.2: 5 spare bits, first header pointer.
M_PDU_HEADER = BitStruct(Padding(5), "first_header_pointer" / BitsInteger(11))
#: §4.1.4.3.2: 2 spare bits, bitstream data pointer (bits of data − 1).
B_PDU_HEADER = BitStruct(Padding(2), "bitstream_data_pointer" / BitsInteger(14))
AOS_VERSION = kernels.VERSION
#: §4.1.2.3: frames of only idle data.
AOS_IDLE_VCID = kernels.IDLE_VCID
AOS_FHP_NONE = kernels.POINTER_NONE
AOS_FHP_IDLE = kernels.POINTER_IDLE
#: §4.1.4.3.3: the whole zone is data, or none of it.
BITSTREAM_ALL = kernels.BITSTREAM_ALL
BITSTREAM_IDLE = kernels.BITSTREAM_IDLE


@dataclass(frozen=True, slots=True)
class AosFrame:
    """One AOS transfer frame.

    pointer: the M_PDU's first header pointer or the B_PDU's bitstream data pointer, as its bits
    stand; None where the channel holds neither (VCA_SDU).  data: the zone after it.
    header_corrected: the header error control repaired the header when it was parsed.
    """

    scid: int
    vcid: int
    vc_count: int
    data: bytes
    pointer: int | None = None
    replay_flag: bool = False
    count_cycle_flag: bool = False
    count_cycle: int = 0
    insert_zone: bytes = b""
    ocf: bytes | None = None
    version: int = AOS_VERSION
    header_corrected: bool = False


def _has_pointer(vcid: int, parameters: FrameParameters) -> bool:
    return parameters.content_of(vcid) != "opaque"


def parse(frame: bytes, parameters: FrameParameters) -> AosFrame:
    """One AOS transfer frame.

    Raises RemoteError for a frame of the wrong length or version, a FECF that does not agree and a
    header that its error control cannot repair.
    """
    if len(frame) != parameters.frame_length:
        raise RemoteError(
            f"AOS frame of {len(frame)} octets, {parameters.frame_length} agreed", data=frame
        )
    check_fecf(frame, parameters)
    octets = frame[:6]
    corrected = False
    if parameters.frame_header_error_control:
        protected = np.array([int.from_bytes(frame[:2] + frame[5:6], "big")], np.int64)
        received = np.array([FRAME_HEADER_ERROR_CONTROL.parse(frame[6:8])], np.int64)
        repaired, failed = correct_header(protected, received)
        if failed[0]:
            raise RemoteError("AOS frame header beyond repair (§4.1.2.6)", data=frame)
        corrected = bool(repaired[0] != protected[0])
        word = int(repaired[0]).to_bytes(3, "big")
        octets = word[:2] + frame[2:5] + word[2:]
    header: Any = AOS_PRIMARY_HEADER.parse(octets)
    if header.version != AOS_VERSION:
        raise RemoteError(f"transfer frame version {header.version}, 1 (AOS) wanted", data=frame)
    start = parameters.header_length
    insert_zone = frame[start : start + parameters.insert_zone_length]
    start += parameters.insert_zone_length
    end = len(frame) - parameters.fecf_length
    ocf = None
    if parameters.ocf:
        ocf = frame[end - 4 : end]
        end -= 4
    pointer = None
    if _has_pointer(header.vcid, parameters):
        if parameters.content_of(header.vcid) == "bitstream":
            pointer = B_PDU_HEADER.parse(frame[start : start + 2]).bitstream_data_pointer
        else:
            pointer = M_PDU_HEADER.parse(frame[start : start + 2]).first_header_pointer
        start += 2
    return AosFrame(
        scid=header.scid | header.scid_upper << 8,
        vcid=header.vcid,
        vc_count=header.vc_count,
        data=frame[start:end],
        pointer=pointer,
        replay_flag=bool(header.replay_flag),
        count_cycle_flag=bool(header.count_cycle_flag),
        count_cycle=header.count_cycle,
        insert_zone=insert_zone,
        ocf=ocf,
        version=header.version,
        header_corrected=corrected,
    )


def build(frame: AosFrame, parameters: FrameParameters) -> bytes:
    """Octets of an AOS frame, error controls computed.  Raises LocalError for what does not fit."""
    if (frame.pointer is not None) != _has_pointer(frame.vcid, parameters):
        raise LocalError(
            f"VC {frame.vcid} holds {parameters.content_of(frame.vcid)}: "
            f"pointer {frame.pointer} does not fit"
        )
    try:
        header = AOS_PRIMARY_HEADER.build(
            {
                "version": frame.version,
                "scid": frame.scid & 0xFF,
                "scid_upper": frame.scid >> 8,
                "vcid": frame.vcid,
                "vc_count": frame.vc_count,
                "replay_flag": frame.replay_flag,
                "count_cycle_flag": frame.count_cycle_flag,
                "count_cycle": frame.count_cycle,
            }
        )
        pdu_header = b""
        if frame.pointer is not None:
            if parameters.content_of(frame.vcid) == "bitstream":
                pdu_header = B_PDU_HEADER.build({"bitstream_data_pointer": frame.pointer})
            else:
                pdu_header = M_PDU_HEADER.build({"first_header_pointer": frame.pointer})
    except ConstructError as error:
        raise LocalError(f"AOS frame header: {error}") from error
    if parameters.frame_header_error_control:
        protected = np.array([int.from_bytes(header[:2] + header[5:6], "big")], np.int64)
        header += FRAME_HEADER_ERROR_CONTROL.build(int(header_parity(protected)[0]))
    octets = b"".join([header, frame.insert_zone, pdu_header, frame.data, frame.ocf or b""])
    wanted = parameters.frame_length - parameters.fecf_length
    if (
        len(octets) != wanted
        or len(frame.insert_zone) != parameters.insert_zone_length
        or (frame.ocf is not None) != parameters.ocf
        or len(frame.ocf or b"0000") != 4
    ):
        raise LocalError(
            f"AOS frame of {len(octets)} octets before the FECF, {wanted} agreed, "
            f"with insert zone of {parameters.insert_zone_length} and "
            f"OCF {'present' if parameters.ocf else 'absent'}"
        )
    return append_fecf(octets, parameters)


def index(frames: U8, parameters: FrameParameters) -> FrameIndex:
    """Header fields of many frames, uint8 [n, frame_length]; property-tested equal to `parse`."""
    n = len(frames)
    flat, stride = flat_rows(frames)
    headers, header_stride = flat, stride
    malformed = np.zeros(n, np.bool_)
    if parameters.frame_header_error_control:
        protected, malformed = correct_header(
            big_endian(frames, 0, 2) << 8 | frames[:, 5], big_endian(frames, 6, 2)
        )
        repaired = frames[:, :6].copy()
        repaired[:, 0] = protected >> 16
        repaired[:, 1] = (protected >> 8) & 0xFF
        repaired[:, 5] = protected & 0xFF
        headers, header_stride = flat_rows(repaired)
    zone = parameters.header_length + parameters.insert_zone_length
    last = parameters.frame_length - parameters.fecf_length - (4 if parameters.ocf else 0)
    found = FrameIndex(
        version=np.empty(n, np.uint8),
        scid=np.empty(n, np.uint16),
        vcid=np.empty(n, np.uint8),
        map_id=np.zeros(n, np.uint8),
        mc_count=np.full(n, -1, np.int32),
        vc_count=np.empty(n, np.int64),
        vc_count_modulus=np.empty(n, np.int64),
        first_header_pointer=np.empty(n, np.int32),
        zone_start=np.empty(n, np.int32),
        zone_end=np.empty(n, np.int32),
        crc_ok=fecf_ok(frames, parameters),
        foreign=np.empty(n, np.bool_),
        malformed=malformed,
        ocf=np.empty(n, np.uint32),
        has_ocf=np.full(n, parameters.ocf),
        signalling=np.empty(n, np.uint16),
        channel=np.empty(n, np.int64),
    )
    kernels.index(
        flat,
        stride,
        headers,
        header_stride,
        zone,
        last,
        parameters.ocf,
        parameters.frame_count_cycle,
        -1 if parameters.scid is None else parameters.scid,
        _contents(parameters),
        found.version,
        found.scid,
        found.vcid,
        found.vc_count,
        found.vc_count_modulus,
        found.first_header_pointer,
        found.zone_start,
        found.zone_end,
        found.foreign,
        found.malformed,
        found.ocf,
        found.signalling,
        found.channel,
    )
    return found


_ALL_PACKETS = np.full(64, kernels.PACKETS, np.uint8)
_CODES = {
    "packets": kernels.PACKETS,
    "aligned-packets": kernels.ALIGNED_PACKETS,
    "opaque": kernels.OPAQUE,
    "bitstream": kernels.BITSTREAM,
}


def _contents(parameters: FrameParameters) -> U8:
    """uint8 [64]: what each virtual channel holds, in the kernel's codes."""
    if parameters.content == "packets" and not parameters.vc_content:
        return _ALL_PACKETS
    return np.array([_CODES[parameters.content_of(vcid)] for vcid in range(64)], np.uint8)


def build_frames(
    zones: U8,
    parameters: FrameParameters,
    *,
    scid: int,
    vcid: int,
    vc_count: I64,
    first_header_pointer: I32,
    ocf: U32 | None = None,
    insert_zone: U8 | None = None,
    replay_flag: bool = False,
) -> U8:
    """Many frames of one virtual channel with M_PDUs, or VCA_SDUs where the channel is opaque.

    zones: uint8 [n, zone length]; vc_count, first_header_pointer: [n], the pointer as FHP_NONE,
    FHP_IDLE or octets; ocf: uint32 [n]; insert_zone: uint8 [n, length], zeros if None.
    Result uint8 [n, frame_length].  Property-tested equal to `build`.
    """
    n = len(zones)
    out = np.zeros((n, parameters.frame_length), np.uint8)
    identification = (AOS_VERSION << 14) | (scid & 0xFF) << 6 | vcid
    signalling = np.full(n, (replay_flag << 7) | (scid >> 8) << 4, np.int64)
    if parameters.frame_count_cycle:
        signalling |= 0x40 | ((vc_count >> 24) & 0xF)
    out[:, 0] = identification >> 8
    out[:, 1] = identification & 0xFF
    for column, shift in ((2, 16), (3, 8), (4, 0)):
        out[:, column] = (vc_count >> shift) & 0xFF
    out[:, 5] = signalling
    at = parameters.header_length
    if parameters.frame_header_error_control:
        parity = header_parity(identification << 8 | signalling)
        out[:, 6] = parity >> 8
        out[:, 7] = parity & 0xFF
    if insert_zone is not None:
        out[:, at : at + parameters.insert_zone_length] = insert_zone
    at += parameters.insert_zone_length
    if _has_pointer(vcid, parameters):
        pointer = np.where(first_header_pointer == FHP_NONE, AOS_FHP_NONE, first_header_pointer)
        pointer = np.where(first_header_pointer == FHP_IDLE, AOS_FHP_IDLE, pointer) & 0x7FF
        out[:, at] = pointer >> 8
        out[:, at + 1] = pointer & 0xFF
        at += 2
    end = at + zones.shape[1]
    if end + (4 if parameters.ocf else 0) + parameters.fecf_length != parameters.frame_length:
        raise LocalError(
            f"zone of {zones.shape[1]} octets does not fill a frame of {parameters.frame_length}"
        )
    out[:, at:end] = zones
    if parameters.ocf and ocf is not None:
        out[:, end : end + 4] = ocf.astype(">u4").view(np.uint8).reshape(n, 4)
    return append_fecf_batch(out, parameters)
