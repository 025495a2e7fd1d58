"""The frame error control field, the same in TM, AOS and USLP: checked, appended."""

from __future__ import annotations

import crcmod
import numpy as np

from protocols.errors import RemoteError
from protocols.frames.columns import U8, Bool
from protocols.frames.parameters import FrameParameters

# Until protocols.coding.crc is there.
crc16 = crcmod.mkCrcFun(0x11021, initCrc=0xFFFF, rev=False)
crc32 = crcmod.mkCrcFun(0x100A00805, initCrc=0, rev=False)


def crc16_batch(frames: U8) -> np.ndarray:
    return np.array([crc16(bytes(frame)) for frame in frames], np.uint16)


def crc32_batch(frames: U8) -> np.ndarray:
    return np.array([crc32(bytes(frame)) for frame in frames], np.uint32)


def fecf_ok(frames: U8, parameters: FrameParameters) -> Bool:
    """Which frames have a FECF that agrees, bool [n]; all where there is no FECF.

    132.0-B-3 §4.1.6.3: the CRC over the whole frame, FECF included, leaves no remainder; here the
    CRC over what precedes the field is compared with it, which is the same.
    """
    if parameters.fecf == "absent":
        return np.ones(len(frames), np.bool_)
    if parameters.fecf == "crc16":
        found = (frames[:, -2].astype(np.uint16) << 8) | frames[:, -1]
        return crc16_batch(frames[:, :-2]) == found
    found = np.ascontiguousarray(frames[:, -4:]).view(">u4")[:, 0]
    return crc32_batch(frames[:, :-4]) == found


def check_fecf(frame: bytes, parameters: FrameParameters) -> None:
    """Raises RemoteError where the FECF of one frame does not agree."""
    octets = parameters.fecf_length
    if not octets:
        return
    found = int.from_bytes(frame[-octets:], "big")
    wanted = (crc16 if octets == 2 else crc32)(frame[:-octets])
    if found != wanted:
        raise RemoteError(f"FECF {found:#x}, computed {wanted:#x}", data=frame)


def append_fecf(octets: bytes, parameters: FrameParameters) -> bytes:
    """A frame without its FECF, completed."""
    if parameters.fecf == "crc16":
        return octets + crc16(octets).to_bytes(2, "big")
    if parameters.fecf == "crc32":
        return octets + crc32(octets).to_bytes(4, "big")
    return octets


def append_fecf_batch(frames: U8, parameters: FrameParameters) -> U8:
    """Fill the last octets of frames [n, frame_length] with their FECF, in place."""
    if parameters.fecf == "crc16":
        crc = crc16_batch(frames[:, :-2])
        frames[:, -2] = crc >> 8
        frames[:, -1] = crc & 0xFF
    elif parameters.fecf == "crc32":
        crc = crc32_batch(frames[:, :-4]).astype(">u4")
        frames[:, -4:] = crc.view(np.uint8).reshape(len(frames), 4)
    return frames
