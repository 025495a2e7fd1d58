"""A link whose other end is a recording: every capture can be received as if it came in now."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable
from dataclasses import replace

from ground.ports import LinkChunk, LinkState, LinkStatistics
from protocols.bus.messages import RadiatedMessage, UplinkMessage

#: Chunks given at a time: the receiver writes, synchronises and acknowledges them together.
BATCH_CHUNKS = 64
#: Pieces read ahead: a paced recording waits in the reader, never in the receiver.
AHEAD = 64


class FileLink:
    """Chunks from an iterable of (octets, ert_ns), which may wait as long as its pace asks for.

    stream: names the recording; a receiver that holds its first n chunks is given the rest.
    """

    def __init__(self, name: str, stream: str, pieces: Iterable[tuple[bytes, int]]) -> None:
        self._stream = stream
        self._pieces = pieces
        self._queue: queue.Queue[LinkChunk | BaseException | None] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._enabled = True
        self._at_end = False
        self._statistics = LinkStatistics(name, LinkState.UNAVAILABLE, "not opened")

    @property
    def at_end(self) -> bool:
        """Everything has been given out."""
        return self._at_end

    def open(self, resume: dict[str, int]) -> None:
        first = resume.get(self._stream, -1) + 1
        threading.Thread(target=self._read, args=(first,), daemon=True).start()
        self._say(LinkState.OK, f"replaying {self._stream}")

    def _read(self, first: int) -> None:
        last: BaseException | None = None
        try:
            for sequence, (octets, ert_ns) in enumerate(self._pieces):
                if sequence >= first:
                    self._put(LinkChunk(self._stream, sequence, ert_ns, octets))
                if self._closed.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - raised again in the receiver's thread
            last = error
        self._put(last)

    def _put(self, item: LinkChunk | BaseException | None) -> None:
        while not self._closed.is_set():
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
        return None

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        chunks: list[LinkChunk] = []
        if not self._enabled or self._at_end:
            time.sleep(timeout_s)
            return chunks
        try:
            item = self._queue.get(timeout=timeout_s)
            while True:
                if not isinstance(item, LinkChunk):
                    self._end(item)
                    break
                chunks.append(item)
                if len(chunks) == BATCH_CHUNKS:
                    break
                item = self._queue.get_nowait()
        except queue.Empty:
            pass
        if chunks:
            self._statistics = replace(
                self._statistics,
                chunks_in=self._statistics.chunks_in + len(chunks),
                octets_in=self._statistics.octets_in + sum(len(c.octets) for c in chunks),
                last_ert_ns=chunks[-1].ert_ns,
                carrier=True,
            )
        return chunks

    def _end(self, error: BaseException | None) -> None:
        self._at_end = True
        if error is None:
            self._say(LinkState.OK, "end of the recording")
        else:
            self._say(LinkState.FAILED, str(error))

    def last(self) -> list[LinkChunk]:
        return []

    def acknowledge(self, stream: str, sequence: int) -> None:
        """A recording forgets nothing."""

    def send(self, uplink: UplinkMessage) -> bool:
        return False

    def radiated(self) -> list[RadiatedMessage]:
        return []

    def enable(self) -> None:
        self._enabled = True
        self._say(LinkState.OK, f"replaying {self._stream}")

    def disable(self) -> None:
        self._enabled = False
        self._say(LinkState.DISABLED, "disabled by the operator")

    def statistics(self) -> LinkStatistics:
        return self._statistics

    def close(self) -> None:
        self._closed.set()
        self._say(LinkState.UNAVAILABLE, "closed")

    def _say(self, state: LinkState, detail: str) -> None:
        self._statistics = replace(self._statistics, state=state, detail=detail)
