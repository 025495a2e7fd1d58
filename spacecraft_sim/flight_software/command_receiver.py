"""From the receiver's octets to packets: CLTU, frame, FARM-1, link security, segments, packets."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from protocols.coding.cltu import CltuDecoder
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    FILE_VCID,
    TC_MANAGEMENT_MAP,
    TC_PARAMETERS,
    TC_VCID,
)
from protocols.errors import RemoteError
from protocols.frames.clcw import CLCW
from protocols.frames.farm import Farm
from protocols.frames.sdls import Processed, SecurityEndpoint
from protocols.frames.sdls_frames import process_tc
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, delimit, parse
from protocols.frames.tc_segments import MapReassembler
from protocols.packets.space_packet import split


@dataclass(frozen=True, slots=True)
class Received:
    """A packet, and the association that authenticated its last frame.

    management: it came on the MAP that manages link security; file: on the files' channel.
    """

    packet: bytes
    spi: int
    management: bool = False
    file: bool = False


@dataclass(slots=True)
class ReceiverStatistics:
    """CLTUs, and frames by what became of them.

    malformed: CLTUs without a frame, frames that validation refused; discarded: by FARM-1;
    insecure: by link security, `refusals` says why.
    """

    cltus: int = 0
    malformed: int = 0
    discarded: int = 0
    insecure: int = 0
    accepted: int = 0
    refusals: Counter[str] = field(default_factory=Counter[str])

    @property
    def rejected(self) -> int:
        return self.malformed + self.insecure + self.discarded


class CommandReceiver:
    """One command link; nothing comes out of it that `security` has not authenticated, and nothing
    of its files' channel that `files` has not."""

    def __init__(self, security: SecurityEndpoint, files: SecurityEndpoint) -> None:
        self.security = security
        self._file_security = files
        self._decoder = CltuDecoder(CLTU_CODING)
        self._farm = Farm(TC_VCID)
        self._segments = MapReassembler()
        self.statistics = ReceiverStatistics()

    def push(self, octets: bytes) -> list[Received]:
        """Packets of the frames that are accepted, in order.  Never raises on what arrives."""
        packets: list[Received] = []
        for cltu in self._decoder.push(octets):
            self.statistics.cltus += 1
            found = delimit(cltu.data, TC_PARAMETERS)
            self.statistics.malformed += bool(found.reason)
            for frame in found.frames:
                packets += self._frame(frame)
        return packets

    def clcw(self, *, no_rf_available: bool, no_bit_lock: bool) -> CLCW:
        """FARM-1's report with the receiver's flags."""
        return self._farm.clcw(no_rf_available=no_rf_available, no_bit_lock=no_bit_lock)

    def _frame(self, octets: bytes) -> list[Received]:
        try:
            frame = parse(octets, TC_PARAMETERS)
        except RemoteError:
            self.statistics.malformed += 1
            self._farm.invalid_frame()
            return []
        if frame.vcid == FILE_VCID:
            return self._file(frame)
        commands = self._farm.statistics.control_commands
        accepted = self._farm.receive(frame)
        if frame.frame_type is FrameType.BC:
            # A frame that says it is one and holds neither Unlock nor Set V(R) is invalid.
            known = self._farm.statistics.control_commands > commands
            self.statistics.accepted += known
            self.statistics.malformed += not known
            return []
        if accepted is None:
            self.statistics.discarded += 1
            return []
        processed = self._processed(self.security, frame)
        if processed.data is None:
            return []
        unit = self._segments.push(replace(frame, data=processed.data))
        if unit is None:
            return []
        assert processed.spi is not None
        management = frame.map_id == TC_MANAGEMENT_MAP
        return [Received(bytes(p), processed.spi, management) for p in split(unit).packets]

    def _file(self, frame: TcFrame) -> list[Received]:
        """BD frames only, each with whole packets: CFDP does what FARM-1 does for commands."""
        if (
            frame.frame_type is not FrameType.BD
            or frame.sequence_flags is not SequenceFlags.UNSEGMENTED
        ):
            self.statistics.discarded += 1
            return []
        processed = self._processed(self._file_security, frame)
        if processed.data is None:
            return []
        assert processed.spi is not None
        packets = split(processed.data).packets
        return [Received(bytes(packet), processed.spi, file=True) for packet in packets]

    def _processed(self, security: SecurityEndpoint, frame: TcFrame) -> Processed:
        """Without link security; refusals are counted."""
        processed = process_tc(security, frame, TC_PARAMETERS)
        if processed.data is None:
            self.statistics.insecure += 1
            assert processed.refusal is not None
            self.statistics.refusals[processed.refusal.value] += 1
        else:
            self.statistics.accepted += 1
        return processed
