"""Virtual channels: packets queue on each, frames are filled in order of priority."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from protocols.frames.index import FHP_IDLE, FHP_NONE
from protocols.identifiers import VirtualChannel
from protocols.packets.space_packet import idle_packet

#: Highest priority first: an event must not wait behind a playback.
PRIORITY = (
    VirtualChannel.EVENTS,
    VirtualChannel.HOUSEKEEPING,
    VirtualChannel.SCIENCE,
    VirtualChannel.RELAY,
    VirtualChannel.FILES,
    VirtualChannel.PLAYBACK,
)
#: 133.0-B-2 §4.1.2.2: the shortest packet, primary header and one octet.
_SHORTEST_PACKET = 7


@dataclass(slots=True)
class FrameContent:
    """One data zone to be framed."""

    vcid: int
    first_header_pointer: int
    zone: bytes


@dataclass(slots=True)
class _Queue:
    """Octets of one virtual channel that wait; positions count octets since the start.

    starts: where packets begin; since: (position of the packet's end, time it came).
    """

    latency_ns: int
    octets: bytearray = field(default_factory=bytearray)
    head: int = 0
    starts: deque[int] = field(default_factory=deque)
    since: deque[tuple[int, int]] = field(default_factory=deque)

    def put(self, packet: bytes, t_ns: int) -> None:
        tail = self.head + len(self.octets)
        self.starts.append(tail)
        self.octets += packet
        self.since.append((tail + len(packet), t_ns))

    def due(self, length: int, t_ns: int) -> bool:
        if len(self.octets) >= length:
            return True
        return bool(self.since) and t_ns - self.since[0][1] >= self.latency_ns

    def take(self, length: int, t_ns: int) -> tuple[bytes, int]:
        """A zone of `length` octets and its first header pointer; idle packets fill it up."""
        missing = length - len(self.octets)
        if missing > 0:
            # An idle packet longer than what is missing ends in the channel's next frame.
            self.put(idle_packet(max(missing, _SHORTEST_PACKET)), t_ns)
        end = self.head + length
        first = self.starts[0] - self.head if self.starts and self.starts[0] < end else FHP_NONE
        zone = bytes(self.octets[:length])
        del self.octets[:length]
        self.head = end
        while self.starts and self.starts[0] < end:
            self.starts.popleft()
        while self.since and self.since[0][0] <= end:
            self.since.popleft()
        # The rest of an idle packet alone is in no hurry.
        if missing > 0 and self.since:
            self.since.clear()
        return zone, first


class Multiplexer:
    """Decides what each frame carries.

    zone_length: octets of a frame's data zone; latency_ns: by virtual channel, how long a packet
    may wait for a frame to fill.
    """

    def __init__(self, zone_length: int, latency_ns: dict[VirtualChannel, int], idle: int) -> None:
        self._zone_length = zone_length
        self._queues = {vc: _Queue(latency_ns[vc]) for vc in PRIORITY}
        self._idle_vcid = idle

    def put(self, vc: VirtualChannel, packet: bytes, t_ns: int) -> None:
        self._queues[vc].put(packet, t_ns)

    def put_now(self, vc: VirtualChannel, packet: bytes, t_ns: int) -> None:
        """A packet for which the next frame of its channel does not wait to fill."""
        queue = self._queues[vc]
        queue.put(packet, t_ns)
        queue.since.appendleft((queue.since.pop()[0], t_ns - queue.latency_ns))

    def waiting(self, vc: VirtualChannel) -> int:
        """Octets that wait on a virtual channel."""
        return len(self._queues[vc].octets)

    def next_frame(self, t_ns: int) -> FrameContent:
        """Content of the frame that begins at `t_ns`; its zone is empty for an idle frame."""
        for vc, queue in self._queues.items():
            if queue.due(self._zone_length, t_ns):
                zone, first = queue.take(self._zone_length, t_ns)
                return FrameContent(vc, first, zone)
        return FrameContent(self._idle_vcid, FHP_IDLE, b"")
