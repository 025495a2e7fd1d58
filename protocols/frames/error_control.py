"""The frame error control field, the same in TM, AOS and USLP: checked, appended."""

from __future__ import annotations

import numpy as np

from protocols.coding.crc import crc16, crc16_batch, crc32, crc32_batch
from protocols.errors import RemoteError
from protocols.frames.columns import U8, Bool
from protocols.frames.parameters import FrameParameters


def fecf_ok(frames: U8, parameters: FrameParameters) -> Bool:
    """Which frames have a FECF that agrees, bool [n]; all where there is no FECF.

    132.0-B-3 §4.1.6.3: the CRC over the whole frame, FECF included, leaves no remainder.
    """
    if parameters.fecf == "absent":
        return np.ones(len(frames), np.bool_)
    if parameters.fecf == "crc16":
        return crc16_batch(frames) == 0
    return crc32_batch(frames) == 0


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
