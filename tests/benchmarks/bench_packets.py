"""Packets out of a stream, and frames to packets, beside named peers."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import numpy as np

from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import PacketExtractor
from protocols.packets.space_packet import split
from tests.benchmarks.harness import Case, PeerMissing

#: Packets given to the slow peers.
FEW = 20_000
#: Frames pushed at a time, as a receiver does.
CHUNK = 8192


def packets_of(lengths: np.ndarray) -> PacketBatch:
    """Packets of the given lengths on four APIDs, vectorised: building is not what is measured."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    octets = np.random.default_rng(4).integers(0, 256, offsets[-1], np.uint8)
    start = offsets[:-1]
    count = np.arange(len(lengths))
    octets[start] = 0x08
    octets[start + 1] = count % 4
    octets[start + 2] = 0xC0 | (count >> 8 & 0x3F)
    octets[start + 3] = count & 0xFF
    octets[start + 4] = (lengths - 7) >> 8
    octets[start + 5] = (lengths - 7) & 0xFF
    n = len(lengths)
    return PacketBatch(octets, offsets, np.zeros(n, np.uint8), np.zeros(n, np.int64))


def space_packet_parser_peer(data: bytes) -> Callable[[], list[bytes]]:
    try:
        from space_packet_parser.generators import ccsds_generator
    except ImportError as error:
        raise PeerMissing("pip install space-packet-parser") from error
    return lambda: [bytes(packet) for packet in ccsds_generator(io.BytesIO(data))]


def spacepackets_peer(data: bytes) -> Callable[[], list[bytes]]:
    try:
        from spacepackets import SpacePacketHeader
    except ImportError as error:
        raise PeerMissing("pip install spacepackets") from error

    def run() -> list[bytes]:
        out: list[bytes] = []
        at = 0
        while at < len(data):
            header = SpacePacketHeader.unpack(data[at : at + 6])
            out.append(data[at : at + header.packet_len])
            at += header.packet_len
        return out

    return run


def fast_ccsds_parser_peer(data: bytes) -> Callable[[], object]:
    try:
        from fast_ccsds_parser import scan_bytes
    except ImportError as error:
        raise PeerMissing("pip install fast-ccsds-parser") from error
    return lambda: scan_bytes(data)


def same_packets(ours: object, peer: object) -> bool:
    """The peer saw the first packets of the same stream, or all of it as a table of offsets."""
    packets: PacketBatch = ours.packets  # type: ignore[attr-defined]
    if isinstance(peer, list):
        return list(packets.slice(0, len(peer))) == peer
    return np.array_equal(np.asarray(peer.offset), packets.offsets[:-1])  # type: ignore[attr-defined]


def splitting() -> Iterator[Case]:
    random = np.random.default_rng(5)
    for name, lengths in (
        ("71 octets each", np.full(2_000_000, 71)),
        ("12..130 octets", random.integers(12, 130, 2_000_000)),
        ("12..500 octets", random.integers(12, 500, 500_000)),
    ):
        batch = packets_of(lengths)
        data = batch.octets.tobytes()
        few = batch.slice(0, FEW).octets.tobytes()
        yield Case(
            name=f"packets split and indexed, {name}",
            units=len(batch),
            unit="Mpacket/s",
            ours=lambda octets=batch.octets: split(octets),
            peers={
                "fast-ccsds-parser": lambda data=data: fast_ccsds_parser_peer(data),
                "space-packet-parser": lambda few=few: space_packet_parser_peer(few),
                "spacepackets": lambda few=few: spacepackets_peer(few),
            },
            equal=same_packets,
            peer_units={"space-packet-parser": FEW, "spacepackets": FEW},
            goals={"fast-ccsds-parser": 25} if name != "12..500 octets" else {},
        )


def mixed_frames(parameters: FrameParameters, packet: int) -> tuple[np.ndarray, int]:
    """Frames of four virtual channels in random order, and the packets in them; checked."""
    multiplexer = FrameMultiplexer(parameters)
    rng = np.random.default_rng(6)
    n = 64_000_000 // packet // 4
    sent = {
        vcid: packets_of(rng.integers(packet // 2, packet * 3 // 2, n)) for vcid in (0, 1, 2, 3)
    }
    for vcid, batch in sent.items():
        multiplexer.push(vcid, batch)
    frames = multiplexer.take(fill=True)
    # Channels interleave on a real link; the order within each must stay.
    channel = index_frames(frames, parameters).vcid
    slots = channel[np.argsort(rng.random(len(frames)), kind="stable")]
    mixed = np.empty_like(frames)
    for vcid in range(4):
        mixed[slots == vcid] = frames[channel == vcid]
    index = index_frames(mixed, parameters)
    got = PacketExtractor().push(mixed, index, np.arange(len(mixed))).packets
    for vcid, batch in sent.items():
        mine = got.select((got.vcid == vcid) & ~got.is_idle)
        assert np.array_equal(mine.octets, batch.octets)
        assert np.array_equal(mine.offsets, batch.offsets)
    return mixed, len(got)


def extraction() -> Iterator[Case]:
    for kind, fecf, length in (
        ("tm", "crc16", 1115),
        ("aos", "crc16", 1115),
        ("aos", "absent", 220),
        ("uslp", "crc16", 1115),
    ):
        parameters = FrameParameters(kind, length, fecf=fecf, ocf=True, scid=76)  # type: ignore[arg-type]
        frames, _ = mixed_frames(parameters, 200)
        times = np.arange(len(frames))

        def run(
            frames: np.ndarray = frames,
            times: np.ndarray = times,
            parameters: FrameParameters = parameters,
        ) -> None:
            extractor = PacketExtractor()
            for low in range(0, len(frames), CHUNK):
                part = frames[low : low + CHUNK]
                extractor.push(part, index_frames(part, parameters), times[low : low + CHUNK])

        yield Case(
            name=f"{kind} frames of {length} octets, fecf {fecf}, to packets of about 200",
            units=8 * frames.size,
            unit="Gbit/s",
            ours=run,
            scale=1e9,
        )


def cases() -> Iterator[Case]:
    yield from splitting()
    yield from extraction()
