"""A link whose other end is a recording: every capture can be received as if it came in now."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ground.ports import LinkChunk, LinkState, LinkStatistics

#: Chunks given at a time: the receiver writes, synchronises and acknowledges them together.
BATCH_CHUNKS = 64


class FileLink:
    """Chunks from an iterable of (octets, ert_ns), which may wait as long as its pace asks for.

    stream: names the recording; a receiver that holds its first n chunks is given the rest.
    """

    def __init__(self, name: str, stream: str, pieces: Iterable[tuple[bytes, int]]) -> None:
        self._stream = stream
        self._pieces: Iterator[tuple[bytes, int]] = iter(pieces)
        self._next = 0
        self._skip = 0
        self._enabled = True
        self._statistics = LinkStatistics(name, LinkState.UNAVAILABLE, "not opened")

    @property
    def at_end(self) -> bool:
        """Everything has been given out."""
        return self._statistics.detail == "end of the recording"

    def open(self, resume: dict[str, int]) -> None:
        self._skip = resume.get(self._stream, -1) + 1
        self._say(LinkState.OK, f"replaying {self._stream}")

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        chunks: list[LinkChunk] = []
        if not self._enabled or self.at_end:
            time.sleep(timeout_s)
            return chunks
        deadline = time.monotonic() + timeout_s
        while len(chunks) < BATCH_CHUNKS and time.monotonic() < deadline:
            piece = next(self._pieces, None)
            if piece is None:
                self._say(LinkState.OK, "end of the recording")
                break
            octets, ert_ns = piece
            sequence, self._next = self._next, self._next + 1
            if sequence >= self._skip:
                chunks.append(LinkChunk(self._stream, sequence, ert_ns, octets))
        if chunks:
            self._statistics = replace(
                self._statistics,
                chunks_in=self._statistics.chunks_in + len(chunks),
                octets_in=self._statistics.octets_in + sum(len(c.octets) for c in chunks),
                last_ert_ns=chunks[-1].ert_ns,
                carrier=True,
            )
        return chunks

    def acknowledge(self, stream: str, sequence: int) -> None:
        """A recording forgets nothing."""

    def send(self, octets: bytes) -> bool:
        return False

    def enable(self) -> None:
        self._enabled = True
        self._say(LinkState.OK, f"replaying {self._stream}")

    def disable(self) -> None:
        self._enabled = False
        self._say(LinkState.DISABLED, "disabled by the operator")

    def statistics(self) -> LinkStatistics:
        return self._statistics

    def close(self) -> None:
        self._say(LinkState.UNAVAILABLE, "closed")

    def _say(self, state: LinkState, detail: str) -> None:
        self._statistics = replace(self._statistics, state=state, detail=detail)
