"""LTP between two engines: within one process, and over UDP sockets between two processes' worth.

ION 4.1.3 on such a machine: 690 Mbit/s for blocks of 100 kB over UDP on loopback (both engines and
all of ION's processes on all cores).  Ours runs on one core, both ends.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

from ground.adapters.udp_batches import UdpBatches
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import LtpParameters, RedPartReceived, TransmissionComplete
from tests.benchmarks.harness import Case

BLOCK = bytes(range(256)) * 390 + bytes(160)
assert len(BLOCK) == 100_000
BLOCKS = 200
ION_MBIT_S = 690.0
#: Open at once: what is under way stays below the socket's buffer.
WINDOW_OCTETS = 1_500_000
PATIENCE_S = 20.0


def _engines(segment_size: int) -> tuple[LtpEngine, LtpEngine]:
    parameters = LtpParameters(segment_size=segment_size, margin_s=0.2)
    return (
        LtpEngine(1, 2, parameters, entropy=b"one"),
        LtpEngine(2, 1, parameters, entropy=b"two"),
    )


def in_process(segment_size: int, blocks: int = BLOCKS) -> int:
    """Segments handed over as they are; the octets that arrived."""
    sender, receiver = _engines(segment_size)
    arrived = done = opened = now_ns = 0
    while done < blocks:
        now_ns += 1_000
        while opened < blocks and opened - done < 8:
            sender.send(BLOCK)
            opened += 1
        for segment in sender.take(now_ns):
            receiver.receive(now_ns, segment)
        for segment in receiver.take(now_ns):
            sender.receive(now_ns, segment)
        arrived += sum(len(n.data) for n in receiver.notices() if isinstance(n, RedPartReceived))
        done += sum(isinstance(n, TransmissionComplete) for n in sender.notices())
    return arrived


class UdpPair:
    """Two bound sockets on loopback with room for the window."""

    def __init__(self) -> None:
        self.sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for own in self.sockets:
            own.bind(("127.0.0.1", 0))
            own.setblocking(False)
            own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        first, second = self.sockets
        first.connect(second.getsockname())
        second.connect(first.getsockname())
        self.ends = [UdpBatches(own) for own in self.sockets]

    def close(self) -> None:
        for own in self.sockets:
            own.close()


def _drain(own: UdpBatches, engine: LtpEngine, now_ns: int) -> int:
    datagrams = own.receive()
    for datagram in datagrams:
        engine.receive(now_ns, datagram)
    return len(datagrams)


def over_udp(pair: UdpPair, segment_size: int, blocks: int = BLOCKS) -> int:
    """Real datagrams, one a segment; the octets that arrived, each block once."""
    sender, receiver = _engines(segment_size)
    ends = list(zip(pair.ends, (sender, receiver), strict=True))
    buffer = pair.sockets[1].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    # The kernel counts a datagram with its own overhead: a small one costs some 2 kB.
    window = int(min(WINDOW_OCTETS, buffer / (1 if segment_size > 10_000 else 3)))
    at_once = max(1, window // len(BLOCK))
    arrived = done = opened = 0
    begin = time.monotonic()
    while done < blocks:
        while opened < blocks and opened - done < at_once:
            sender.send(BLOCK)
            opened += 1
        now_ns = time.monotonic_ns()
        moved = 0
        for own, engine in ends:
            own.send(engine.take(now_ns))
            moved += _drain(own, engine, now_ns)
        if not moved:
            for _, engine in ends:
                engine.timeout(now_ns)
            if time.monotonic() - begin > PATIENCE_S:
                raise AssertionError(f"{done} of {blocks} blocks: {receiver.statistics()}")
        arrived += sum(len(n.data) for n in receiver.notices() if isinstance(n, RedPartReceived))
        done += sum(isinstance(n, TransmissionComplete) for n in sender.notices())
    for own, engine in ends:
        _drain(own, engine, time.monotonic_ns())
    return arrived


def cases() -> Iterable[Case]:
    pair = UdpPair()
    for size, octets in (("1.4 kB", 1_400), ("63 kB", 64_000)):
        yield Case(
            name=f"LTP, 100 kB blocks, {size} segments, engines in one process",
            units=8.0 * BLOCKS * len(BLOCK),
            unit="Mbit/s",
            ours=lambda octets=octets: in_process(octets),
        )
        yield Case(
            name=f"LTP, 100 kB blocks, {size} segments, UDP on loopback, both ends on one core",
            units=8.0 * BLOCKS * len(BLOCK),
            unit="Mbit/s",
            ours=lambda octets=octets: over_udp(pair, octets),
            goal_rate=1.5 * ION_MBIT_S,
        )
    pair.close()
