"""What the station keeps until the ground has it: chunks by number, bounded, oldest given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from protocols.bus.link import WINDOW, Chunk
from protocols.errors import LocalError

#: A day and a half of 16 kbit/s: the recorder of a ground antenna outlasts any restart.
DEFAULT_CAPACITY_OCTETS = 256 * 2**20


class StationBuffer:
    """Chunks of one stream; no sockets, no clock.

    Every chunk is kept until acknowledged.  When the buffer is full the oldest is given up and
    counted in `lost`.
    """

    def __init__(self, stream: str, capacity: int = DEFAULT_CAPACITY_OCTETS) -> None:
        if capacity < 1:
            raise LocalError(f"station buffer of {capacity} octets; 1 or more wanted")
        self.stream = stream
        self.lost = 0
        self.acknowledged = -1
        self._capacity = capacity
        self._chunks: deque[Chunk] = deque()
        self._octets = 0
        #: Number of the next chunk to be stored, and of the next to be sent.
        self._next = 0
        self._unsent = 0

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def octets(self) -> int:
        return self._octets

    @property
    def stored(self) -> int:
        """Chunks ever put in."""
        return self._next

    @property
    def _first(self) -> int:
        return self._next - len(self._chunks)

    def put(self, ert_ns: int, octets: bytes) -> None:
        self._chunks.append(Chunk(self.stream, self._next, ert_ns, octets))
        self._next += 1
        self._octets += len(octets)
        while self._octets > self._capacity:
            self._forget()
            self.lost += 1

    def _forget(self) -> None:
        self._octets -= len(self._chunks.popleft().octets)
        self._unsent = max(self._unsent, self._first)

    def acknowledge(self, sequence: int) -> None:
        """All up to `sequence` are on the ground's disk; numbers never sent are not believed."""
        if sequence >= self._unsent:
            return
        self.acknowledged = max(self.acknowledged, sequence)
        while self._chunks and self._first <= sequence:
            self._forget()

    def resume(self, sequence: int | None) -> None:
        """The ground is (again) there and has everything up to `sequence`, None: nothing."""
        if sequence is not None and -1 <= sequence < self._next:
            self._unsent = max(self._unsent, sequence + 1)
            self.acknowledge(sequence)
        # What was under way may be lost: all of it goes again.
        self._unsent = self._first

    def unsent(self) -> Iterator[Chunk]:
        """Chunks to send now, at most `WINDOW` beyond the last that was acknowledged."""
        while self._unsent < self._next and self._unsent - self._first < WINDOW:
            chunk = self._chunks[self._unsent - self._first]
            self._unsent += 1
            yield chunk

    def put_back(self) -> None:
        """The chunk that `unsent` gave last could not be sent: it comes first again."""
        self._unsent = max(self._first, self._unsent - 1)
