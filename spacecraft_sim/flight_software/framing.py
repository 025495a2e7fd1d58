"""Data zones to transfer frames to channel access data units, many at once."""

from __future__ import annotations

from collections import defaultdict
from typing import cast

import numpy as np
import numpy.typing as npt

from protocols.coding.randomiser import RandomiserKind, randomise
from protocols.coding.reed_solomon import Basis, ReedSolomon
from protocols.dictionary.l4_link import DOWNLINK_SECURITY, downlink_sender
from protocols.frames import aos, tm, uslp
from protocols.frames.sdls import SecurityEndpoint
from protocols.frames.sdls_frames import secure_frame
from protocols.identifiers import SCID_L4_RELAY, VirtualChannel
from spacecraft_sim.downlink import Downlink
from spacecraft_sim.flight_software.idle_data import IdleData
from spacecraft_sim.flight_software.multiplexer import FrameContent

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: 732.1-B-3 §4.1.2.10: octets of the virtual channel frame count; three, as AOS has.
USLP_COUNT_LENGTH = 3
#: TM has eight virtual channels and no reserved idle one (132.0-B-3 §4.2.4.4): the last is ours.
TM_IDLE_VCID = 7
_OCF_OCTETS = 4


def idle_vcid(downlink: Downlink) -> int:
    return TM_IDLE_VCID if downlink.frame_kind == "tm" else int(VirtualChannel.IDLE)


def zone_length(downlink: Downlink) -> int:
    """Octets of packets in each frame."""
    parameters = downlink.plain_parameters
    overhead = parameters.header_length + parameters.fecf_length + parameters.insert_zone_length
    overhead += _OCF_OCTETS if parameters.ocf else 0
    # AOS: M_PDU header; USLP: TFDF header with pointer, and the frame count.
    overhead += {"tm": 0, "aos": 2, "uslp": 3 + USLP_COUNT_LENGTH}[parameters.kind]
    return parameters.frame_length - overhead


class Framer:
    """Counts and builds transfer frames; start_s: when (TAI), for an encrypted downlink."""

    def __init__(self, downlink: Downlink, start_s: int) -> None:
        self._parameters = downlink.plain_parameters
        self._security = None
        if downlink.secured:
            self._security = downlink_sender(bytes.fromhex(downlink.security_key), start_s)
        self._zone_length = zone_length(downlink)
        self._idle_vcid = idle_vcid(downlink)
        self._idle_data = IdleData()
        self._vc_count: defaultdict[int, int] = defaultdict(int)
        self.frames = 0
        self.idle_frames = 0

    def build(self, contents: list[FrameContent], ocf: npt.NDArray[np.uint32]) -> U8:
        """Frames in the order of `contents`, uint8 [n, frame_length]; ocf: [n]."""
        parameters = self._parameters
        n = len(contents)
        zones = np.empty((n, self._zone_length), np.uint8)
        vcid = np.empty(n, np.int64)
        pointer = np.empty(n, np.int32)
        for row, content in enumerate(contents):
            vcid[row] = content.vcid
            pointer[row] = content.first_header_pointer
            if content.zone:
                zones[row] = np.frombuffer(content.zone, np.uint8)
            else:
                zones[row] = self._idle_data.take(self._zone_length)
        mc_count = np.arange(self.frames, self.frames + n)
        self.frames += n
        frames = np.empty((n, parameters.frame_length), np.uint8)
        for channel in np.unique(vcid).tolist():
            rows = np.flatnonzero(vcid == channel)
            first = self._vc_count[channel]
            self._vc_count[channel] += len(rows)
            if channel == self._idle_vcid:
                self.idle_frames += len(rows)
            count = np.arange(first, first + len(rows))
            which_ocf = ocf[rows] if parameters.ocf else None
            if parameters.kind == "tm":
                built = tm.build_frames(
                    zones[rows],
                    parameters,
                    scid=SCID_L4_RELAY,
                    vcid=channel,
                    mc_count=mc_count[rows],
                    vc_count=count,
                    first_header_pointer=pointer[rows],
                    ocf=which_ocf,
                )
            elif parameters.kind == "aos":
                built = aos.build_frames(
                    zones[rows],
                    parameters,
                    scid=SCID_L4_RELAY,
                    vcid=channel,
                    vc_count=count,
                    first_header_pointer=pointer[rows],
                    ocf=which_ocf,
                )
            else:
                built = uslp.build_frames(
                    zones[rows],
                    parameters,
                    scid=SCID_L4_RELAY,
                    vcid=channel,
                    vc_count=count,
                    first_header_pointer=pointer[rows],
                    vc_count_length=USLP_COUNT_LENGTH,
                    ocf=which_ocf,
                )
            frames[rows] = built
        return frames if self._security is None else self._secured(frames, self._security)

    def _secured(self, frames: U8, security: SecurityEndpoint) -> U8:
        spi, parameters = DOWNLINK_SECURITY.spi, self._parameters
        octets = [secure_frame(security, spi, frame.tobytes(), parameters) for frame in frames]
        return np.frombuffer(b"".join(octets), np.uint8).reshape(
            len(frames), parameters.frame_length + DOWNLINK_SECURITY.overhead
        )


class ChannelEncoder:
    """Frames to CADUs: code, randomiser, marker (131.0-B-5 figure 2-2); of a sliced stream
    (§8) to codeblocks."""

    def __init__(self, downlink: Downlink) -> None:
        self._downlink = downlink
        self._marker = np.frombuffer(downlink.marker, np.uint8)
        self._randomiser: str = downlink.randomiser
        self._codeblocks = downlink.codeblocks
        self._code = None
        if downlink.reed_solomon_parity:
            self._code = ReedSolomon(
                parity=downlink.reed_solomon_parity,
                interleave=downlink.interleave,
                virtual_fill=downlink.virtual_fill,
                basis=cast(Basis, downlink.basis),
            )
        #: Of a sliced stream: what no codeblock has taken yet, and codeblocks so far.
        self._waiting = np.empty(0, np.uint8)
        self._sliced = 0

    def push(self, frames: U8, elapsed_ns: I64, until_ns: int) -> tuple[U8, I64]:
        """Frames that begin at `elapsed_ns` [n] after the start, the next ones of the downlink:
        CADUs that begin up to `until_ns`, uint8 [m, cadu_length], and when each does, [m]."""
        coding = self._codeblocks
        if coding is None or not coding.sliced:
            return self.encode(frames), elapsed_ns
        self._waiting = np.concatenate([self._waiting, self._marked(frames).reshape(-1)])
        begun = self._downlink.cadus_before_ns(until_ns + 1) - self._sliced
        size = coding.data_length
        taken = self._waiting[: begun * size].reshape(begun, size)
        self._waiting = self._waiting[begun * size :].copy()
        numbers = range(self._sliced, self._sliced + begun)
        self._sliced += begun
        times = np.array([self._downlink.cadu_time_ns(one) for one in numbers], np.int64)
        return np.packbits(coding.encode(taken), axis=1), times

    def encode(self, frames: U8) -> U8:
        """Where a frame is a CADU: uint8 [n, frame_length] → uint8 [n, cadu_length]."""
        if self._codeblocks is not None:
            return np.packbits(self._codeblocks.encode(frames), axis=1)
        blocks = frames if self._code is None else self._code.encode(frames)
        if self._randomiser != "none":
            blocks = randomise(blocks, cast(RandomiserKind, self._randomiser))
        return self._marked(blocks)

    def _marked(self, blocks: U8) -> U8:
        marked = np.empty((len(blocks), len(self._marker) + blocks.shape[1]), np.uint8)
        marked[:, : len(self._marker)] = self._marker
        marked[:, len(self._marker) :] = blocks
        return marked
