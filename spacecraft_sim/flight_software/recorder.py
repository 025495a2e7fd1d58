"""On-board recorder: keeps sent packets, oldest forgotten first, for playback."""

from __future__ import annotations

from collections import deque


class Recorder:
    """Bounded by octets: `capacity` is what the flash of the scenario's spacecraft holds."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._packets: deque[tuple[int, bytes]] = deque()
        self._octets = 0

    def __len__(self) -> int:
        return len(self._packets)

    def record(self, t_ns: int, packet: bytes) -> None:
        self._packets.append((t_ns, packet))
        self._octets += len(packet)
        while self._octets > self._capacity:
            self._octets -= len(self._packets.popleft()[1])

    def between(self, from_ns: int, to_ns: int) -> list[bytes]:
        """Packets generated in from..to, oldest first."""
        return [packet for t_ns, packet in self._packets if from_ns <= t_ns <= to_ns]
