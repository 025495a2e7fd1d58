"""`loopback:NAME`: what one adapter of this process sends, another of the same name receives.

For tests, and to see what an adapter is: nothing here but the wire.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Sequence
from typing import ClassVar

from ground.adapters.radio.adapter import Adapter, Block, Malformed, Result
from ground.adapters.radio.peer import Peer

#: Blocks on their way; more are refused.
MOST_BLOCKS = 4096


class _Channel:
    """Named, in memory; broken while `there` is not set."""

    def __init__(self) -> None:
        self.down: queue.Queue[bytes] = queue.Queue(MOST_BLOCKS)
        self.up: queue.Queue[bytes] = queue.Queue(MOST_BLOCKS)
        self.there = threading.Event()
        self.there.set()


_channels: dict[str, _Channel] = {}


def channel(name: str) -> _Channel:
    """The one of that name, made when it is first asked for."""
    return _channels.setdefault(name, _Channel())


class LoopbackAdapter(Adapter):
    """Blocks through memory; `loopback:NAME/far` is the other end of `loopback:NAME`."""

    SUMMARY = "blocks between two adapters of one process"
    ADDRESS = "loopback:NAME, its other end loopback:NAME/far"
    TRANSMITS = True
    FRAMED = True
    WAITS = True

    def connect(self) -> None:
        name = self.address.rest
        self._channel = channel(name.removesuffix("/far"))
        self._in, self._out = self._channel.down, self._channel.up
        if name.endswith("/far"):
            self._in, self._out = self._out, self._in
        if not self._channel.there.is_set():
            raise ConnectionRefusedError(f"nobody at {self.address.text}")

    def disconnect(self) -> None:
        """There is nothing to let go of."""

    def read(self, timeout_s: float) -> Sequence[Result]:
        if not self._channel.there.is_set():
            raise ConnectionResetError("the other end has left")
        try:
            octets = self._in.get(timeout=timeout_s)
        except queue.Empty:
            return ()
        return (Block(octets) if octets else Malformed(octets, "an empty block"),)

    def write(self, octets: bytes) -> bool:
        try:
            self._out.put_nowait(octets)
        except queue.Full:
            return False
        return True

    @classmethod
    def peer(cls) -> Peer:
        return LoopbackPeer()


class LoopbackPeer(Peer):
    can_leave = can_garble = True

    _names: ClassVar[itertools.count[int]] = itertools.count()

    def __init__(self) -> None:
        self._name = f"peer-{next(self._names)}"
        self.uri = f"loopback:{self._name}"
        self._channel = channel(self._name)
        self._received = bytearray()

    def send(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            self._channel.down.put(block)

    def received(self) -> bytes:
        while not self._channel.up.empty():
            self._received += self._channel.up.get_nowait()
        return bytes(self._received)

    def leave(self) -> None:
        self._channel.there.clear()

    def come_back(self) -> None:
        self._channel.there.set()

    def garbage(self) -> None:
        self._channel.down.put(b"")

    def close(self) -> None:
        _channels.pop(self._name, None)


__all__ = ["LoopbackAdapter", "LoopbackPeer", "channel"]
