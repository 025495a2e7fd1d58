"""The index of many frames: header fields as arrays, one row a frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.frames.parameters import Content, FrameParameters

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

#: No packet starts in this data zone: all of it continues one (TM, AOS 0x7FF; USLP 0xFFFF).
FHP_NONE = -1
#: The data zone is idle (TM, AOS 0x7FE; AOS and USLP VCID 63; USLP UPID 31).
FHP_IDLE = -2
#: The data zone does not hold packets (TM synchronisation flag 1, AOS B_PDU and VCA, USLP MAPA).
FHP_NOT_PACKETS = -3


@dataclass(frozen=True, eq=False)
class FrameIndex:
    """Where everything is in `n` frames.

    version: uint8 [n], transfer frame version number.
    scid: uint16 [n]; vcid: uint8 [n]; map_id: uint8 [n] (USLP, else 0).
    mc_count: int32 [n], master channel frame count (TM), −1 if none.
    vc_count: int64 [n], virtual channel frame count, −1 if none; it counts modulo
    vc_count_modulus: int64 [n] (2^8 TM, 2^24 or 2^28 AOS, 2^(8·length) USLP, 0 if none).
    first_header_pointer: int32 [n], octets from zone_start, or FHP_NONE, FHP_IDLE, FHP_NOT_PACKETS.
    zone_start, zone_end: int32 [n], the octets of the frame that are the user's.
    crc_ok: bool [n], FECF agrees (true where there is none).
    foreign: bool [n], version or SCID not the expected one.
    malformed: bool [n], the header contradicts the frame's length, or its own (10,6) code.
    ocf: uint32 [n], 0 where has_ocf: bool [n] is false.
    signalling: uint16 [n], the flags as received: TM data field status; AOS signalling octet;
        USLP header octet 6 in the upper and TFDF header octet in the lower half.
    channel: int64 [n], one number for each sequence of packets: SCID, VCID, MAP ID and (USLP) the
        sequence control flag; `counter_channel`: the same for each frame counter.
    """

    version: U8
    scid: npt.NDArray[np.uint16]
    vcid: U8
    map_id: U8
    mc_count: I32
    vc_count: I64
    vc_count_modulus: I64
    first_header_pointer: I32
    zone_start: I32
    zone_end: I32
    crc_ok: Bool
    foreign: Bool
    malformed: Bool
    ocf: npt.NDArray[np.uint32]
    has_ocf: Bool
    signalling: npt.NDArray[np.uint16]
    channel: I64

    def __len__(self) -> int:
        return len(self.version)

    @property
    def usable(self) -> Bool:
        """Frames that take part in reassembly: intact, ours, well formed."""
        return self.crc_ok & ~self.foreign & ~self.malformed


def channel_key(scid: I64, vcid: I64, map_id: I64 | int = 0, expedited: I64 | int = 0) -> I64:
    """The number that names a packet sequence: SCID, VCID, MAP ID, expedited flag."""
    return (scid << 11) | (vcid << 5) | (map_id << 1) | expedited


def counter_key(channel: I64) -> I64:
    """The frame counter that a channel shares: all MAPs of a VC count together."""
    return channel & ~np.int64(0x1E)  # bits 1..4: the MAP ID


def key_scid_vcid(channel: int) -> tuple[int, int]:
    return channel >> 11, (channel >> 5) & 0x3F


def big_endian(frames: U8, at: int, octets: int) -> I64:
    """Field of `octets` octets at column `at` of every frame, int64 [n]."""
    value = frames[:, at].astype(np.int64)
    for column in range(at + 1, at + octets):
        value = (value << 8) | frames[:, column]
    return value


def content_masks(vcid: I64, parameters: FrameParameters) -> Iterator[tuple[Content, Bool]]:
    """Which frames [n] are of channels that do not hold packets found by pointer."""
    for channel, content in parameters.vc_content.items():
        if content != "packets":
            yield content, vcid == channel
    if parameters.content != "packets":
        rest = np.ones(len(vcid), np.bool_)
        for channel in parameters.vc_content:
            rest &= vcid != channel
        yield parameters.content, rest
