"""`udp://HOST:PORT`: one frame a datagram, as Yamcs' UdpTmFrameLink and most test equipment."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from ground.adapters.radio.adapter import Adapter, Block, Loss, Malformed, Result
from ground.adapters.radio.address import Option, count, options, parse_address
from ground.adapters.radio.datagrams import DatagramSocket
from ground.adapters.radio.octets import CARRIES, FRAME_LENGTH
from ground.adapters.radio.peer import Peer
from ground.adapters.sockets import Address as SocketAddress
from ground.adapters.sockets import family_of


def host_and_port(text: str) -> SocketAddress:
    """An option's value, as HOST:PORT.  LocalError if it is none."""
    return parse_address(f"udp://{text}").host_and_port()


class UdpAdapter(Adapter):
    """Receives at its address (a multicast group is joined), transmits to `to`."""

    SUMMARY = "one frame a datagram (as Yamcs' UdpTmFrameLink); multicast groups are joined"
    ADDRESS = "udp://LISTEN_HOST:PORT"
    OPTIONS = options(
        frame_length=FRAME_LENGTH,
        carries=CARRIES,
        to=Option(host_and_port, None, "HOST:PORT of whoever is sent to; none: only receives"),
        skip=Option(count, 0, "octets of a header of the sender's own before each frame"),
    )
    TRANSMITS = True
    FRAMED = True

    @property
    def transmits(self) -> bool:
        return self.options["to"] is not None

    def connect(self) -> None:
        self._socket = DatagramSocket(*self.address.host_and_port())
        to = self.options["to"]
        self._out = None
        if to is not None:
            self._out = socket.socket(family_of(to), socket.SOCK_DGRAM)
            self._out.setblocking(False)
            self._out.connect(to)

    def disconnect(self) -> None:
        for end in (getattr(self, "_socket", None), getattr(self, "_out", None)):
            if end is not None:
                end.close()

    def read(self, timeout_s: float) -> Sequence[Result]:
        datagrams, dropped = self._socket.receive(timeout_s)
        results: list[Result] = [Loss("overflow", dropped)] if dropped else []
        wanted, skip = self.options["frame_length"], self.options["skip"]
        for datagram in datagrams:
            frame = datagram[skip:]
            if not frame or (wanted and len(frame) != wanted):
                why = f"a datagram with a frame of {len(frame)} octets, {wanted or 'some'} wanted"
                results.append(Malformed(datagram, why))
            else:
                results.append(Block(frame))
        return results

    def write(self, octets: bytes) -> bool:
        assert self._out is not None
        try:
            self._out.send(octets)
        except (BlockingIOError, ConnectionRefusedError):
            # Refused: nobody listened to an earlier one, which says nothing about the next.
            return False
        return True

    @classmethod
    def peer(cls) -> Peer:
        return UdpPeer()


class UdpPeer(Peer):
    can_garble = True

    def __init__(self) -> None:
        self._in = DatagramSocket("127.0.0.1", 0)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = free_udp_address()
        back = self._in.socket.getsockname()
        self.uri = (
            f"udp://{self._to[0]}:{self._to[1]}"
            f"?frame_length={self.block_octets}&to={back[0]}:{back[1]}"
        )
        self._received = bytearray()

    def send(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            self._out.sendto(block, self._to)

    def received(self) -> bytes:
        self._received += b"".join(self._in.receive(0)[0])
        return bytes(self._received)

    def garbage(self) -> None:
        self._out.sendto(b"too short", self._to)

    def close(self) -> None:
        self._in.close()
        self._out.close()


def free_udp_address() -> SocketAddress:
    """On this machine, free a moment ago."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()


__all__ = ["UdpAdapter", "UdpPeer", "free_udp_address", "host_and_port"]
