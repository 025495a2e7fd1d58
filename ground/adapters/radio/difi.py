"""`difi://HOST:PORT`: digitised IF of DIFI devices (IEEE-ISTO 4900-2021, VITA 49.2) over UDP."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ground.adapters.radio.adapter import (
    UNKNOWN,
    Adapter,
    Block,
    Face,
    Loss,
    Malformed,
    Result,
    Signal,
)
from ground.adapters.radio.address import Option, count, number, options
from ground.adapters.radio.datagrams import DatagramSocket
from ground.adapters.radio.peer import Peer
from ground.adapters.radio.udp import free_udp_address, host_and_port
from ground.adapters.sockets import family_of
from protocols.errors import LocalError, RemoteError
from protocols.physical.difi import (
    HEADER_OCTETS,
    ContextPacket,
    DataPacket,
    build_packet,
    pack_samples,
    parse_packet,
    unpack_samples,
)
from protocols.physical.samples import sample_format

CI16: Final = sample_format("ci16_be")
#: A time that differs from what the samples before it say by less than this is no gap: senders'
#: clocks are steered.
TIME_TOLERANCE_SAMPLES: Final = 0.5


def _bits(text: str) -> int:
    bits = count(text)
    if not 4 <= bits <= 16:
        raise ValueError(text)
    return bits


class DifiAdapter(Adapter):
    """Samples come out as ci16_be whatever their size on the wire; full scale stays full scale.

    A stream's context packets say its rate, frequency and size; until one has come they are what
    the address says.  Packets are numbered modulo 16 only: with a rate the times in them say how
    many samples a gap has.
    """

    SUMMARY = "DIFI / VITA 49 signal packets over UDP"
    ADDRESS = "difi://LISTEN_HOST:PORT"
    FACE = Face.SAMPLES
    OPTIONS = options(
        stream=Option(count, None, "stream identifier to take; none: the first that comes"),
        rate=Option(number, 0.0, "samples a second, where no context packet says it"),
        freq=Option(number, 0.0, "centre frequency, where no context packet says it, Hz"),
        bits=Option(_bits, 16, "of I and of Q, 4 to 16, where no context packet says it"),
        to=Option(host_and_port, None, "HOST:PORT that is sent to; none: only receives"),
        octets=Option(count, 1408, "of samples in a packet that is sent"),
    )
    TRANSMITS = True

    _socket: DatagramSocket | None = None
    _out: socket.socket | None = None

    @property
    def transmits(self) -> bool:
        return self.options["to"] is not None

    def connect(self) -> None:
        chosen = self.options
        self._stream: int | None = chosen["stream"]
        self._bits: int = chosen["bits"]
        self._sequence = self._contexts = -1
        self._due_ns = 0.0
        self._pending: list[bytes] = []
        self.signal = Signal(CI16, chosen["rate"], chosen["freq"])
        self._socket = DatagramSocket(*self.address.host_and_port())
        if chosen["to"] is not None:
            if chosen["octets"] % (8 * self._bits):
                raise LocalError(
                    f"{self.address.text}: octets={chosen['octets']}: a multiple of "
                    f"{8 * self._bits} wanted, for whole words of {self._bits}-bit samples"
                )
            self._out = socket.socket(family_of(chosen["to"]), socket.SOCK_DGRAM)
            self._out.connect(chosen["to"])
            self._sent = 0
            self._sent_samples = 0
            self._sent_from_ns = 0

    def disconnect(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._out is not None:
            self._out.close()
            self._out = None

    # ------------------------------------------------------------ receiving

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._socket is not None
        results: list[Result] = []
        if not self._pending:
            self._pending, dropped = self._socket.receive(timeout_s)
            if dropped:
                # How many samples they held, the numbers and times of the next will tell.
                results.append(Loss("overflow"))
        for number_, datagram in enumerate(self._pending):
            try:
                packet = parse_packet(datagram)
            except RemoteError as error:
                results.append(Malformed(datagram, str(error)))
                continue
            if packet is None or not self._is_ours(packet.stream):
                continue
            if isinstance(packet, DataPacket):
                results += self._data(packet)
            elif self._context(packet):
                # What was read so far is of the signal as it was.
                del self._pending[: number_ + 1]
                return results
        self._pending = []
        return results

    def _is_ours(self, stream: int) -> bool:
        if self._stream is None:
            self._stream = stream
        return stream == self._stream

    def _context(self, packet: ContextPacket) -> bool:
        """Whether the signal has changed."""
        before = (self.signal, self._bits)
        self._bits = packet.bits
        self.signal = Signal(CI16, packet.sample_rate_hz, packet.centre_hz)
        return before != (self.signal, self._bits)

    def _data(self, packet: DataPacket) -> list[Result]:
        octets = unpack_samples(packet.samples, self._bits)
        samples = len(octets) // CI16.octets
        if not samples:
            return [Malformed(packet.samples, "a packet without samples")]
        results: list[Result] = []
        assert self.signal is not None
        rate = self.signal.sample_rate_hz
        missing = (packet.sequence - self._sequence) % 16 if self._sequence >= 0 else 0
        late = (packet.ert_ns - self._due_ns) * rate / 1e9 if self._due_ns else 0.0
        if rate and late > TIME_TOLERANCE_SAMPLES:
            results.append(Loss("gap", round(late)))
        elif missing:
            results.append(Loss("gap", UNKNOWN if rate else missing * samples))
        self._sequence = (packet.sequence + 1) % 16
        self._due_ns = packet.ert_ns + samples * 1e9 / rate if rate else 0
        results.append(Block(octets, packet.ert_ns))
        return results

    # ------------------------------------------------------------ transmitting

    def write(self, octets: bytes) -> bool:
        """Samples as ci16_be; their times follow from the first's and the rate."""
        assert self._out is not None
        assert self.signal is not None
        size = self.options["octets"] * 16 // self._bits
        if len(octets) % (CI16.octets * 8):
            raise LocalError(f"{len(octets)} octets; whole groups of 8 samples wanted")
        for at in range(0, len(octets), size):
            self._send(octets[at : at + size])
        return True

    def _send(self, octets: bytes) -> None:
        assert self._out is not None
        assert self.signal is not None
        rate = self.signal.sample_rate_hz
        if not self._sent_samples:
            self._sent_from_ns = self._now_ns()
        ert_ns = self._sent_from_ns
        if rate:
            ert_ns += round(self._sent_samples * 1e9 / rate)
        stream = self._stream or 0
        if self._sent % 256 == 0:
            self._contexts += 1
            context = ContextPacket(
                stream,
                self._contexts % 16,
                ert_ns,
                rate,
                self.signal.centre_hz,
                rate,
                self._bits,
                changed=self._sent == 0,
            )
            self._out.send(build_packet(context))
        packet = DataPacket(stream, self._sent % 16, ert_ns, pack_samples(octets, self._bits))
        self._out.send(build_packet(packet))
        self._sent += 1
        self._sent_samples += len(octets) // CI16.octets

    @classmethod
    def peer(cls) -> Peer:
        return DifiPeer()


class DifiPeer(Peer):
    """A digitiser that numbers and times its packets."""

    can_gap = can_garble = True
    _RATE_HZ = 1e6

    def __init__(self) -> None:
        self._in = DatagramSocket("127.0.0.1", 0)
        self._out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._to = free_udp_address()
        back = self._in.socket.getsockname()
        self.uri = (
            f"difi://{self._to[0]}:{self._to[1]}?to={back[0]}:{back[1]}&rate={self._RATE_HZ:g}"
        )
        self._packet = DataPacket(0, 0, 2_000_000_000 * 10**9, b"")
        self._received = bytearray()

    def _next(self, samples: bytes) -> bytes:
        packet = replace(self._packet, samples=samples)
        self._packet = replace(
            self._packet,
            sequence=(packet.sequence + 1) % 16,
            ert_ns=packet.ert_ns + round(len(samples) // CI16.octets * 1e9 / self._RATE_HZ),
        )
        return build_packet(packet)

    def send(self, blocks: Sequence[bytes]) -> None:
        for block in blocks:
            self._out.sendto(self._next(block), self._to)

    def received(self) -> bytes:
        for datagram in self._in.receive(0)[0]:
            if isinstance(parse_packet(datagram), DataPacket):
                self._received += datagram[HEADER_OCTETS:]
        return bytes(self._received)

    def gap(self) -> None:
        self._next(bytes(self.block_octets))

    def garbage(self) -> None:
        self._out.sendto(b"no VITA 49 packet, though it is long enough", self._to)

    def close(self) -> None:
        self._in.close()
        self._out.close()


__all__ = ["DifiAdapter", "DifiPeer"]
