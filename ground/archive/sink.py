"""Replayed captures into a store: the archive's end of `l4 replay --archive`."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from ground.archive.decoding import Decoder
from ground.archive.model import Store

#: Packets gathered before a transaction: a capture's many small pieces share one.
COMMIT_OCTETS = 8 << 20


class ArchiveSink:
    """Fits the receive chain's replay (`take`, `finish`); one transaction a group of batches.

    stream: names the capture; replaying the same one again finds its packets there already.
    playback: virtual channels that carry stored data.
    """

    def __init__(
        self,
        store: Store,
        decoder: Decoder,
        stream: str,
        now_ns: Callable[[], int],
        *,
        playback: Collection[int] = (),
    ) -> None:
        self._store = store
        self._decoder = decoder
        self._stream = stream
        self._now_ns = now_ns
        self._playback = np.array(sorted(playback), np.uint8)
        self._pending: list[Any] = []
        self._octets = 0

    def take(self, output: Any, chain: Any) -> None:
        packets = output.packets
        packets = packets.select(~packets.is_idle) if packets.is_idle.any() else packets
        if len(packets):
            self._pending.append(packets)
            self._octets += len(packets.octets)
        if self._octets >= COMMIT_OCTETS:
            self._commit()

    def finish(self, chain: Any) -> None:
        self._commit()

    def _commit(self) -> None:
        if not self._pending:
            return
        packets = type(self._pending[0]).concatenate(self._pending)
        self._pending, self._octets = [], 0
        decoded = self._decoder.decode(packets)
        self._store.append(
            None,
            packets,
            stream=self._stream,
            scet_ns=decoded.scet_ns,
            reception_ns=self._now_ns(),
            playback=np.isin(packets.vcid, self._playback),
            tables=decoded.tables,
        )
