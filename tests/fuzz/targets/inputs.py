"""Captures and logs as they are found on a disk, and what radios send."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Final

from ground.adapters.bundle_log import BundleLog
from ground.adapters.journal import FileJournal
from ground.adapters.radio.tcp import TcpFramesAdapter
from ground.adapters.state_file import StateFile
from ground.ports import LinkChunk
from ground.receive.capture import CaptureReader, CaptureWriter
from ground.receive.chain import ReceiveChain
from ground.receive.inputs import open_input
from ground.receive.profile import load_profile
from protocols.dtn.node_settings import Seen, Stored
from protocols.errors import LocalError, ProtocolError
from protocols.physical.difi import (
    ContextPacket,
    DataPacket,
    build_packet,
    parse_packet,
    unpack_samples,
)
from protocols.physical.rtl_tcp import parse_command, parse_dongle_info
from protocols.physical.sample_block import (
    UNKNOWN,
    SampleBlock,
    build_sample_block,
    parse_sample_block,
)
from protocols.physical.samples import sample_format
from tests.fuzz.target import Target, pieces, streamed
from tests.fuzz.targets.documents import directory, in_file
from tests.fuzz.targets.link import cadus, packets
from tests.ground.receive.test_inputs import LINK_LAYERS, ipv4, ipv6, pcap, udp

T0: Final = 2_000_000_000 * 10**9


def network(octets: bytes) -> None:
    """A file, and the same as a pipe: opened by what it is, read to its end."""
    profile = load_profile(frames="aos", frame_length=60, fecf="absent", ocf="absent")
    opened = open_input(io.BytesIO(octets), profile)
    for piece in opened.pieces:
        assert piece.consumed <= max(len(octets), 64)


def whole_replay(octets: bytes) -> None:
    opened = open_input(io.BytesIO(octets), choice="packets")
    chain = ReceiveChain(load_profile(input="packets"), input="packets")
    for piece in opened.pieces:
        chain.push(piece.octets, max(piece.ert_ns, 0))
    chain.finish()


def network_captures() -> list[bytes]:
    payloads = [bytes([n]) * 60 for n in range(4)]
    found: list[bytes] = []
    for link_type, wrap in LINK_LAYERS.values():
        for order in "<>":
            found.append(
                pcap([wrap(ipv4(udp(one)), 0x800) for one in payloads], link_type, order=order)
            )
        found.append(pcap([wrap(ipv6(udp(one)), 0x86DD) for one in payloads], link_type))
    return [*found, *own_captures()]


def own_captures() -> list[bytes]:
    made = directory() / "own-capture"
    if not made.exists():
        with CaptureWriter(made, link="station") as writer:
            writer.append([LinkChunk("s", n, T0 + n, cadus()[n * 50 :][:50]) for n in range(5)])
    return [path.read_bytes() for path in sorted(made.glob("*.pcapng"))]


def capture(path: Path) -> None:
    reader = CaptureReader(path)
    for _, chunk in reader.read():
        assert len(chunk.octets) <= path.stat().st_size


def resumed(octets: bytes) -> None:
    """A capture that was found so is gone on with, or left alone for a new file."""
    place = directory() / "resumed"
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    (place / CAPTURE_NAME).write_bytes(octets)
    with CaptureWriter(place, link="station") as writer:
        writer.append([LinkChunk("fuzz", 10, T0, b"one more")])
    assert b"one more" in [chunk.octets for _, chunk in CaptureReader(place).read()]


#: Of the first file of a capture.
CAPTURE_NAME: Final = "capture-000000.pcapng"


def log_directory(name: str, given: dict[str, bytes]) -> Path:
    place = directory() / name
    place.mkdir(exist_ok=True)
    for old in place.iterdir():
        old.unlink()
    for file, octets in given.items():
        (place / file).write_bytes(octets)
    return place


IDENTITY: Final = "00112233445566ff"


def journal(octets: bytes) -> None:
    """A segment as it was found; what is sound is read, and what is appended comes behind it."""
    name = f"{0:020d}.journal"
    place = log_directory("journal", {"identity": IDENTITY.encode(), name: octets})
    made = FileJournal(place)
    try:
        before = list(made.read(0, max_octets=1 << 20))
        made.append([b"appended"])
        after = list(made.read(0, max_octets=1 << 20))
        assert len(after) == len(before) + 1
    finally:
        made.close()


def journal_segments() -> list[bytes]:
    place = log_directory("journal-made", {"identity": IDENTITY.encode()})
    made = FileJournal(place)
    made.append([b"first", b"second" * 20, b""])
    made.close()
    return [next(place.glob("*.journal")).read_bytes()]


def bundle_log(octets: bytes) -> None:
    place = log_directory("bundles", {f"{1:012d}.bundles": octets})
    made = BundleLog(place, sync=False)
    try:
        for stored in made.recovered():
            made.get(stored.ref)
        list(made.seen(0))
    finally:
        made.close()


def bundle_segments() -> list[bytes]:
    place = log_directory("bundles-made", {})
    made = BundleLog(place, sync=False)
    for ref in (1, 2, 3):
        made.put(Stored(ref, T0, 1, b"bundle %d" % ref))
    made.remove(2, Seen(bytes(16), T0))
    made.begin_commit().write()
    made.close()
    return [path.read_bytes() for path in sorted(place.glob("*.bundles"))]


def state(path: Path) -> None:
    StateFile(path).load()


def states() -> list[bytes]:
    place = directory() / "made.state"
    StateFile(place).save({"version": 1, "map": {1: [2, b"x"]}})
    return [place.read_bytes()]


# Radios ------------------------------------------------------------------------------------------


def difi(octets: bytes) -> None:
    found = parse_packet(octets)
    if isinstance(found, DataPacket):
        for bits in (4, 8, 12, 16):
            assert len(unpack_samples(found.samples, bits)) % 2 == 0


def difi_packets() -> list[bytes]:
    return [
        build_packet(DataPacket(0x1234, 9, T0, bytes(range(32)), 7)),
        build_packet(ContextPacket(0x1234, 4, T0, 2e6, 8.42e9, 1.6e6, 12, -30.0, 10.5)),
    ]


def sample_block(octets: bytes) -> None:
    block = parse_sample_block(octets)
    assert len(block.samples()) * block.format.octets == len(block.octets)


def sample_blocks() -> list[bytes]:
    return [
        build_sample_block(SampleBlock(sample_format("cu8"), 2.4e6, 8.42e9, 17, bytes(range(64)))),
        build_sample_block(SampleBlock(sample_format("ci16_be"), 1.0, 0.0, UNKNOWN, b"")),
    ]


class _Octets:
    """A TCP stream that says what it is given."""

    def __init__(self, chunks: list[bytes]) -> None:
        self.chunks = chunks

    def read(self, timeout_s: float) -> bytes:
        return self.chunks.pop(0)

    def close(self) -> None:
        pass


def tcp_frames(octets: bytes) -> None:
    from ground.adapters.radio.address import parse_address

    adapter = TcpFramesAdapter(parse_address("tcp-frames://127.0.0.1:9?longest=600"))
    adapter._rest, adapter._lost_way = bytearray(), False
    chunks = list(pieces(octets))
    adapter._stream = _Octets(chunks)  # type: ignore[assignment]
    while chunks:
        adapter.read(0)
        assert len(adapter._rest) <= 600 + 4 + 256


def rtl_tcp(octets: bytes) -> None:
    if len(octets) == 5:
        parse_command(octets)
    else:
        parse_dongle_info(octets)


TARGETS: Final = [
    Target("capture-file", "ground.receive.inputs.open_input", network, network_captures,
           refuses=(ProtocolError,), short=60),
    Target("packet-file", "ground.receive.inputs.open_input", whole_replay,
           lambda: [b"".join(packets()[:8])], refuses=(ProtocolError,), short=20),
    Target("own-capture", "ground.receive.capture.CaptureReader", in_file("found.pcapng", capture),
           own_captures, refuses=(ProtocolError,), short=60),
    Target("capture-resumed", "ground.receive.capture.CaptureWriter", resumed, own_captures,
           refuses=(LocalError,), short=30),
    Target("journal", "ground.adapters.journal.FileJournal", journal, journal_segments,
           refuses=(LocalError,), short=30),
    Target("bundle-log", "ground.adapters.bundle_log.BundleLog", bundle_log, bundle_segments,
           refuses=(LocalError,), short=30),
    Target("state-file", "ground.adapters.state_file.StateFile", in_file("found.state", state),
           states, refuses=(), short=60),
    Target("difi", "protocols.physical.difi.parse_packet", difi, difi_packets),
    Target("sample-block", "protocols.physical.sample_block.parse_sample_block", sample_block,
           sample_blocks),
    Target("rtl-tcp", "protocols.physical.rtl_tcp.parse_dongle_info", rtl_tcp,
           lambda: [b"RTL0" + bytes([0, 0, 0, 5, 0, 0, 0, 29]), b"\x01\0\0\0\x05"]),
    Target("tcp-frames", "ground.adapters.radio.tcp.TcpFramesAdapter.read", tcp_frames,
           lambda: [streamed(b"".join(struct.pack(">I", n) + bytes(n) for n in (5, 60, 599)))]),
]  # fmt: skip
