"""On-board recorder: keeps sent packets, oldest forgotten first, for playback."""

from __future__ import annotations

from collections import deque


class Recorder:
    """Bounded by octets: `capacity` is what the flash of the scenario's spacecraft holds."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._packets: deque[tuple[int, bytes]] = deque()
        #: Held.
        self.octets = 0

    def __len__(self) -> int:
        return len(self._packets)

    @property
    def span(self) -> tuple[int, int]:
        """Times of the first and the last packet; zeros if there is none."""
        return (self._packets[0][0], self._packets[-1][0]) if self._packets else (0, 0)

    def record(self, t_ns: int, packet: bytes) -> None:
        """A packet and its time by the on-board clock."""
        self._packets.append((t_ns, packet))
        self.octets += len(packet)
        while self.octets > self.capacity:
            self.octets -= len(self._packets.popleft()[1])

    def forget(self, until_ns: int) -> None:
        """Packets from the beginning on that were generated up to then."""
        while self._packets and self._packets[0][0] <= until_ns:
            self.octets -= len(self._packets.popleft()[1])

    def between(self, from_ns: int, to_ns: int) -> list[bytes]:
        """Packets generated in from..to, oldest first."""
        return [packet for t_ns, packet in self._packets if from_ns <= t_ns <= to_ns]
