"""What radio adapters take from their wires on loopback: octets a second, and a CPU second.

    python -m tests.benchmarks.radio_adapters

Streams (tcp, rtl-tcp, zmq-iq) with their other end in a thread of this process, its time included;
datagrams (udp, difi) in bursts that fit into the socket's buffer, the time of `read` alone; SLE's
two ends without sockets, the time of each.
"""

from __future__ import annotations

import socket
import threading
import time

from ground.adapters.radio.adapter import Block, State
from ground.adapters.radio.difi import DifiAdapter
from ground.adapters.radio.registry import adapter_class
from ground.adapters.radio.udp import UdpAdapter, free_udp_address
from protocols.physical.difi import DataPacket, build_packet
from protocols.sle.common import ServiceType
from protocols.sle.credentials import Level, Security
from protocols.sle.frame_service import FrameService
from protocols.sle.provider import Provider
from protocols.sle.user import Binding, User

STREAM_OCTETS = 256 << 20
PIECE = bytes(1 << 16)
BURSTS, BURST = 60, 100


def stream(scheme: str) -> None:
    kind = adapter_class(scheme)
    peer = kind.peer()
    assert peer is not None
    with kind(peer.uri) as adapter:
        assert adapter.wait_until(State.RUNNING, timeout_s=5)
        pieces = STREAM_OCTETS // len(PIECE)
        sender = threading.Thread(target=lambda: peer.send([PIECE] * pieces))
        began, cpu = time.monotonic(), time.process_time()
        sender.start()
        got = 0
        while got < pieces * len(PIECE):
            got += sum(len(block.octets) for block in adapter.receive(0.1))
        elapsed, cpu = time.monotonic() - began, time.process_time() - cpu
        sender.join()
        lost = adapter.statistics().lost
    peer.close()
    print(
        f"{scheme:8} {got / elapsed / 1e6:8.0f} MB/s {got / cpu / 1e6:8.0f} MB a CPU second, "
        f"{lost} lost"
    )


def datagrams(scheme: str, octets: int) -> None:
    host, port = free_udp_address()
    kind = {"difi": DifiAdapter, "udp": UdpAdapter}[scheme]
    adapter = kind(f"{scheme}://{host}:{port}" + ("?rate=1e7" if scheme == "difi" else ""))
    adapter.connect()
    cpu, blocks, other, number = 0.0, 0, 0, 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(BURSTS):
            burst: list[bytes] = []
            for _ in range(BURST):
                ert_ns = 2 * 10**18 + number * (octets // 4) * 100
                burst.append(build_packet(DataPacket(0, number % 16, ert_ns, bytes(octets))))
                number += 1
            for datagram in burst:
                sender.sendto(datagram, (host, port))
            while True:
                before = time.process_time()
                results = adapter.read(0.02)
                cpu += time.process_time() - before
                if not results:
                    break
                blocks += sum(isinstance(result, Block) for result in results)
                other += sum(not isinstance(result, Block) for result in results)
    adapter.disconnect()
    print(
        f"{scheme:8} {octets:6} octets: {cpu / blocks * 1e6:5.1f} µs a datagram, "
        f"{blocks * octets / cpu / 1e6:6.0f} MB a CPU second, {other} losses"
    )


def sle(level: Level, frames: int = 5_000, now_ns: int = 2 * 10**18) -> None:
    """Frames of 1,115 octets, fifty in a transfer buffer."""
    service = FrameService(ServiceType.RAF, "sagr=1.raf=onlc1", buffer_size=50)
    ours = Security("L4RG", b"ours", "STATION", b"theirs", level=level)
    theirs = Security("STATION", b"theirs", "L4RG", b"ours", level=level)
    provider = Provider([service], {"L4RG": theirs}, identifier="STATION")
    user = User(ServiceType.RAF, Binding(instance=service.identifier, port="SLE"), ours)
    provider.connected(now_ns)
    user.connected(now_ns)
    for _ in range(2):
        provider.receive(now_ns, b"".join(user.take_output()))
        if user.receive(now_ns, b"".join(provider.take_output())) and user.state == "ready":
            user.start_raf(now_ns)
    began = time.process_time()
    for number in range(frames):
        assert service.deliver(now_ns, bytes(1115), now_ns + number)
    octets = b"".join(provider.take_output())
    sent = time.process_time()
    got = 0
    for at in range(0, len(octets), 1 << 16):
        got += len(user.receive(now_ns, octets[at : at + (1 << 16)]))
    received = time.process_time()
    assert got == frames
    print(
        f"sle, credentials {level:5}: provider {(sent - began) / frames * 1e6:5.1f}, "
        f"user {(received - sent) / frames * 1e6:5.1f} µs a frame"
    )


def main() -> None:
    for level in (Level.NONE, Level.ALL):
        sle(level)
    for scheme in ("tcp", "rtl-tcp", "zmq-iq"):
        stream(scheme)
    for octets in (1408, 8192):
        for scheme in ("udp", "difi"):
            datagrams(scheme, octets)


if __name__ == "__main__":
    main()
