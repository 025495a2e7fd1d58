"""The relay's radio links: encapsulation packets in AOS frames, frames in CADUs; both halves.

Up to the payload and between Mars and L4 the same frames go: uncoded but for the frame error
control, randomised, behind the attached sync marker.  (Down to the Earth the packets share the
spacecraft's own frames, in virtual channel `VirtualChannel.RELAY`.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from protocols.coding.randomiser import randomise
from protocols.coding.sync import ASM, FrameSynchroniser
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.identifiers import SCID_L4_RELAY, VirtualChannel
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.extraction import PacketExtractor

#: 732.0-B-4, M_PDU; the frame error control alone tells a damaged frame, LTP sends again.
RELAY_FRAMES: Final = FrameParameters(
    kind="aos", frame_length=1115, fecf="crc16", scid=SCID_L4_RELAY
)
#: One frame as it is sent.
CADU_OCTETS: Final = len(ASM) + RELAY_FRAMES.frame_length
#: Segments up to this fill a frame without rest: zone less encapsulation header.
_ZONE_OCTETS: Final = RELAY_FRAMES.frame_length - RELAY_FRAMES.header_length - 2 - 2
SEGMENT_OCTETS: Final = _ZONE_OCTETS - 4


class FrameSender:
    """Packets in, octets for the carrier out: always whole CADUs, closed with an idle packet."""

    def __init__(self, vcid: int = VirtualChannel.RELAY) -> None:
        self._vcid = vcid
        self._multiplexer = FrameMultiplexer(RELAY_FRAMES)
        self.frames = 0

    def send(self, packets: Iterable[bytes]) -> bytes:
        """CADUs back to back that carry these packets; empty for none."""
        for packet in packets:
            self._multiplexer.push(self._vcid, packet)
        frames = self._multiplexer.take(fill=True)
        if not len(frames):
            return b""
        self.frames += len(frames)
        cadus = np.empty((len(frames), CADU_OCTETS), np.uint8)
        cadus[:, : len(ASM)] = np.frombuffer(ASM, np.uint8)
        cadus[:, len(ASM) :] = randomise(frames, "ccsds")
        return cadus.tobytes()


class FrameReceiver:
    """The carrier's octets in, however cut; packets out, idle ones left out."""

    def __init__(self, vcid: int = VirtualChannel.RELAY) -> None:
        self._vcid = vcid
        self._synchroniser = FrameSynchroniser(
            marker=ASM, frame_length=RELAY_FRAMES.frame_length, bit_aligned=False
        )
        self._extractor = PacketExtractor(accept_encapsulation=True)
        self.frames = 0
        self.damaged = 0

    def receive(self, octets: bytes) -> list[bytes]:
        frames = self._synchroniser.push(np.frombuffer(octets, np.uint8)).frames
        # What is sent in one go is followed by silence, so no marker need be waited for.
        frames = np.concatenate([frames, self._synchroniser.finish().frames])
        if not len(frames):
            return []
        frames = randomise(frames, "ccsds")
        index = index_frames(frames, RELAY_FRAMES)
        self.frames += len(frames)
        self.damaged += int(np.count_nonzero(~index.usable))
        packets = self._extractor.push(frames, index, np.zeros(len(frames), np.int64)).packets
        wanted = packets.select((packets.vcid == self._vcid) & ~packets.is_idle)
        return list(wanted)
