"""`tcp://` a stream of octets (CADUs), `tcp-frames://` frames with their length before them."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from typing import Final

from ground.adapters.radio.adapter import Adapter, Block, Malformed, Result
from ground.adapters.radio.address import Option, choice, count, options
from ground.adapters.radio.octets import CARRIES, CARRIES_CADU, FRAME_LENGTH
from ground.adapters.radio.peer import Peer
from ground.adapters.sockets import listening
from protocols.errors import RemoteError

CONNECT_S: Final = 3.0
#: A peer that takes nothing for so long is gone.
WRITE_S: Final = 5.0
READ_OCTETS: Final = 1 << 16
#: Where we wait at an address: an end that was silent for so long gives way to one that waits.
SILENT_S: Final = 10.0

_LISTEN: Final = Option(
    choice("yes", "no"), "no", "yes: wait at this address for the other end to connect"
)


class Stream:
    """A TCP connection, made or waited for; one other end at a time.  OSError: it is gone."""

    def __init__(self, address: tuple[str, int], *, listen: bool) -> None:
        self._listener: socket.socket | None = None
        self._socket: socket.socket | None = None
        self._heard_s = 0.0
        if listen:
            self._listener = listening("tcp", address)
        else:
            self._use(socket.create_connection(address, CONNECT_S))

    def _use(self, own: socket.socket) -> None:
        own.setblocking(False)
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A host that has gone without a word is noticed after 10 + 3 · 5 s (Linux's names).
        for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                own.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        self._socket = own
        self._heard_s = time.monotonic()

    def read(self, timeout_s: float) -> bytes:
        """What has come; empty when the time has passed."""
        waiting = self._socket or self._listener
        if waiting is None:
            raise ConnectionResetError("closed")
        if not select.select([waiting], [], [], timeout_s)[0]:
            self._give_way()
            return b""
        if self._socket is None:
            assert self._listener is not None
            self._use(self._listener.accept()[0])
            return b""
        octets = self._socket.recv(READ_OCTETS)
        if not octets:
            raise ConnectionResetError("the other end has closed the connection")
        self._heard_s = time.monotonic()
        return octets

    def _give_way(self) -> None:
        """Whoever came first and is silent must not keep the antenna from its place."""
        listener, own = self._listener, self._socket
        if listener is None or own is None or time.monotonic() - self._heard_s < SILENT_S:
            return
        if select.select([listener], [], [], 0)[0]:
            self._use(listener.accept()[0])
            own.close()

    def write(self, octets: bytes) -> bool:
        """All or, while there is no room or nobody, nothing."""
        own = self._socket
        if own is None or not select.select([], [own], [], 0)[1]:
            return False
        left = memoryview(octets)
        deadline = time.monotonic() + WRITE_S
        while left:
            if not select.select([], [own], [], max(deadline - time.monotonic(), 0))[1]:
                raise TimeoutError(f"the other end has taken nothing for {WRITE_S:g} s")
            left = left[own.send(left) :]
        return True

    def close(self) -> None:
        for end in (self._socket, self._listener):
            if end is not None:
                end.close()


class TcpAdapter(Adapter):
    """A stream: blocks are whatever came together."""

    SUMMARY = "a stream of octets: CADUs with sync markers"
    ADDRESS = "tcp://HOST:PORT"
    OPTIONS = options(carries=CARRIES_CADU, listen=_LISTEN)
    TRANSMITS = True
    WAITS = True

    _stream: Stream | None = None

    def connect(self) -> None:
        listen = self.options["listen"] == "yes"
        self._stream = Stream(self.address.host_and_port(), listen=listen)

    def disconnect(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._stream is not None
        octets = self._stream.read(timeout_s)
        return (Block(octets),) if octets else ()

    def write(self, octets: bytes) -> bool:
        assert self._stream is not None
        return self._stream.write(octets)

    @classmethod
    def peer(cls) -> Peer:
        return TcpPeer(cls.ADDRESS.partition(":")[0])


class TcpFramesAdapter(TcpAdapter):
    """Each frame after its length, big-endian."""

    SUMMARY = "frames, each after its length (big-endian)"
    ADDRESS = "tcp-frames://HOST:PORT"
    OPTIONS = options(
        frame_length=FRAME_LENGTH,
        carries=CARRIES,
        listen=_LISTEN,
        prefix=Option(lambda text: int(choice("2", "4")(text)), 4, "octets of the length: 2, 4"),
        longest=Option(count, 65_542, "octets of a frame; a longer one is no frame"),
    )
    FRAMED = True

    def connect(self) -> None:
        self._rest = bytearray()
        self._lost_way = False
        super().connect()

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._stream is not None
        if self._lost_way:
            raise RemoteError("a length made no sense: where the next frame begins is not known")
        self._rest += self._stream.read(timeout_s)
        prefix, wanted = self.options["prefix"], self.options["frame_length"]
        results: list[Result] = []
        at = 0
        while len(self._rest) - at >= prefix:
            length = int.from_bytes(self._rest[at : at + prefix])
            frame = bytes(self._rest[at + prefix : at + prefix + length])
            if not 0 < length <= self.options["longest"]:
                results.append(Malformed(bytes(self._rest[at:]), f"a frame of {length} octets"))
                self._lost_way = True
                break
            if len(frame) < length:
                break
            at += prefix + length
            if wanted and length != wanted:
                why = f"a frame of {length} octets, {wanted} wanted"
                results.append(Malformed(frame, why))
            else:
                results.append(Block(frame))
        del self._rest[:at]
        return results

    def write(self, octets: bytes) -> bool:
        return super().write(len(octets).to_bytes(self.options["prefix"]) + octets)


class TcpPeer(Peer):
    """A server; `scheme` says whether frames stand after their lengths."""

    can_leave = True

    def __init__(self, scheme: str) -> None:
        self._framed = scheme == "tcp-frames"
        self._listener = listening("peer", ("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        self._socket: socket.socket | None = None
        self.uri = f"{scheme}://{self._address[0]}:{self._address[1]}"
        if self._framed:
            self.uri += f"?frame_length={self.block_octets}"
            self.can_garble = True
        self._received = bytearray()

    def _connected(self) -> socket.socket:
        # The newest: an adapter that has reconnected has left the one before.
        self._listener.settimeout(5 if self._socket is None else 0)
        try:
            while True:
                accepted = self._listener.accept()[0]
                if self._socket is not None:
                    self._socket.close()
                self._socket = accepted
                self._listener.settimeout(0)
        except (BlockingIOError, TimeoutError):
            if self._socket is None:
                raise
        self._socket.setblocking(True)
        return self._socket

    def send(self, blocks: Sequence[bytes]) -> None:
        own = self._connected()
        for block in blocks:
            own.sendall((len(block).to_bytes(4) if self._framed else b"") + block)

    def received(self) -> bytes:
        own = self._connected()
        while select.select([own], [], [], 0)[0]:
            octets = own.recv(READ_OCTETS)
            if not octets:
                break
            self._received += octets
        if not self._framed:
            return bytes(self._received)
        frames, at = bytearray(), 0
        while len(self._received) - at >= 4:
            length = int.from_bytes(self._received[at : at + 4])
            if len(self._received) - at - 4 < length:
                break
            frames += self._received[at + 4 : at + 4 + length]
            at += 4 + length
        return bytes(frames)

    def leave(self) -> None:
        self._connected().close()
        self._socket = None
        self._listener.close()

    def come_back(self) -> None:
        self._listener = listening("peer", self._address)

    def garbage(self) -> None:
        self._connected().sendall((5).to_bytes(4) + b"short")

    def close(self) -> None:
        self._listener.close()
        if self._socket is not None:
            self._socket.close()


__all__ = ["Stream", "TcpAdapter", "TcpFramesAdapter", "TcpPeer"]
