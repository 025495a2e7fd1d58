"""One carrier down: packets queue on its virtual channels, frames leave at its rate, coded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.identifiers import VirtualChannel
from spacecraft_sim.downlink import Downlink
from spacecraft_sim.flight_software.framing import ChannelEncoder, Framer, idle_vcid, zone_length
from spacecraft_sim.flight_software.multiplexer import FrameContent, Multiplexer
from spacecraft_sim.scenario import Latency
from spacecraft_sim.subsystems.common import TICK_NS

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class CarrierFrames:
    """Of one carrier, what began to leave in one step.

    frames: uint8 [n, frame_length]; emission_ns: int64 [n], TAI ns at which each began to leave.
    cadus: uint8 [m, cadu_length]; cadu_ns: int64 [m], when the first octet (of the marker) left
    the antenna: n and `emission_ns`, but for a sliced stream, whose codeblocks are no frames'.
    """

    frames: U8
    cadus: U8
    emission_ns: I64
    cadu_ns: I64

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def octets(self) -> bytes:
        return self.cadus.tobytes()


class Transmitter:
    """start_ns: when frame 0 begins."""

    def __init__(self, downlink: Downlink, latency: Latency, start_ns: int) -> None:
        self.downlink = downlink
        self.multiplexer = Multiplexer(
            zone_length(downlink),
            {
                VirtualChannel.EVENTS: int(latency.events * 1e9),
                VirtualChannel.HOUSEKEEPING: int(latency.housekeeping * 1e9),
                VirtualChannel.SCIENCE: int(latency.science * 1e9),
                VirtualChannel.RELAY: int(latency.relay * 1e9),
                VirtualChannel.FILES: int(latency.files * 1e9),
                VirtualChannel.PLAYBACK: int(latency.playback * 1e9),
            },
            idle_vcid(downlink),
        )
        self._framer = Framer(downlink, start_ns // TICK_NS)
        self._encoder = ChannelEncoder(downlink)
        self._start_ns = start_ns
        self._frame = 0

    def until(self, end_ns: int, prepare: Callable[[int, int], int | None]) -> CarrierFrames:
        """What begins to leave up to `end_ns`.  prepare: called with number and time of each frame
        before it is filled; gives its operational control field, or None: it is not sent."""
        contents: list[FrameContent] = []
        ocf: list[int] = []
        emission: list[int] = []
        while (t_ns := self._start_ns + self.downlink.frame_time_ns(self._frame)) <= end_ns:
            word = prepare(self._frame, t_ns)
            self._frame += 1
            if word is None:
                continue
            contents.append(self.multiplexer.next_frame(t_ns))
            ocf.append(word)
            emission.append(t_ns)
        frames = self._framer.build(contents, np.array(ocf, np.uint32))
        emission_ns = np.array(emission, np.int64)
        cadus, elapsed_ns = self._encoder.push(
            frames, emission_ns - self._start_ns, end_ns - self._start_ns
        )
        return CarrierFrames(frames, cadus, emission_ns, elapsed_ns + self._start_ns)
