"""The header fields of many AOS frames in one walk; `aos.py` says where they stand."""

# numba ships no types: the arguments say here what they are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.frames.columns import FHP_IDLE, FHP_NONE, FHP_NOT_PACKETS

U8 = npt.NDArray[np.uint8]

VERSION = 1
IDLE_VCID = 63
POINTER_NONE = 0x7FF
POINTER_IDLE = 0x7FE
#: All of a bitstream zone is data, or none of it.
BITSTREAM_ALL = 0x3FFF
BITSTREAM_IDLE = 0x3FFE
#: What a virtual channel holds, as the kernel is told.
PACKETS, ALIGNED_PACKETS, OPAQUE, BITSTREAM = range(4)


@njit(cache=True, nogil=True)
def index(
    flat: U8,
    stride: int,
    headers: U8,
    header_stride: int,
    zone: int,
    last: int,
    with_ocf: bool,
    with_cycle: bool,
    wanted_scid: int,
    contents: U8,
    version: Any,
    scid: Any,
    vcid: Any,
    vc_count: Any,
    modulus: Any,
    pointer: Any,
    start: Any,
    end: Any,
    foreign: Any,
    malformed: Any,
    ocf: Any,
    signalling: Any,
    channel: Any,
) -> None:
    """Fill the columns of a `FrameIndex`, each [n].

    flat, stride: the frames; headers, header_stride: their first six octets, repaired where they
    have an error control of their own.  zone, last: where pointer or data begin, and where the
    data end.  wanted_scid: −1 for any; contents: uint8 [64], of each virtual channel.
    malformed: set where the header could not be repaired; others are added.
    """
    for i in range(len(version)):
        h = headers[i * header_stride :]
        here_version = h[0] >> 6
        here_vcid = h[1] & 0x3F
        # 732.0-B-5 §4.1.2.5.4: the upper bits of the SCID.
        here_scid = (
            (np.int64(h[0] & 0x3F) << 2) | (np.int64(h[1]) >> 6) | (np.int64(h[5] & 0x30) << 4)
        )
        count = (np.int64(h[2]) << 16) | (np.int64(h[3]) << 8) | np.int64(h[4])
        modulus[i] = 1 << 24
        if with_cycle and h[5] & 0x40:
            # §4.1.2.5: the cycle extends the count only where the usage flag says so.
            count |= np.int64(h[5] & 0x0F) << 24
            modulus[i] = 1 << 28
        version[i] = here_version
        scid[i] = here_scid
        vcid[i] = here_vcid
        vc_count[i] = count
        signalling[i] = h[5]
        foreign[i] = here_version != VERSION or (wanted_scid >= 0 and here_scid != wanted_scid)
        channel[i] = (here_scid << 11) | (np.int64(here_vcid) << 5)

        frame = flat[i * stride :]
        content = contents[here_vcid]
        begin, stop = zone + 2, last
        word = (np.int64(frame[zone]) << 8) | np.int64(frame[zone + 1])
        fhp = word & 0x7FF
        if content == OPAQUE:
            begin = zone
            fhp = FHP_NOT_PACKETS
        elif content == BITSTREAM:
            bits = word & 0x3FFF
            fhp = FHP_IDLE if bits == BITSTREAM_IDLE else FHP_NOT_PACKETS
            if bits < BITSTREAM_IDLE:
                stop = begin + ((bits + 8) >> 3)
                if stop > last:
                    malformed[i] = True
                    stop = last
        elif content == ALIGNED_PACKETS:
            fhp = 0
        elif fhp == POINTER_NONE:
            fhp = FHP_NONE
        elif fhp == POINTER_IDLE:
            fhp = FHP_IDLE
        # §4.1.2.3: whatever stands in these frames is idle, also where it looks like a pointer.
        if here_vcid == IDLE_VCID:
            fhp = FHP_IDLE
        pointer[i], start[i], end[i] = fhp, begin, stop
        ocf[i] = 0
        if with_ocf:
            o = frame[last : last + 4]
            ocf[i] = (
                (np.uint32(o[0]) << 24) | (np.uint32(o[1]) << 16) | (np.uint32(o[2]) << 8) | o[3]
            )
