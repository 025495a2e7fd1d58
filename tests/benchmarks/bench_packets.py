"""Frames to packets, and packets out of a stream, beside named peers; outputs are compared first.

    .venv/bin/python tests/benchmarks/bench_packets.py

Medians of seven runs on one core; the ratio to the peer, measured in the same run, is what counts.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.extraction import PacketExtractor
from protocols.packets.space_packet import split

RUNS = 7


def median_s(run: Callable[[], Any]) -> float:
    run()
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


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


def bench_split() -> None:
    import space_packet_parser
    import spacepackets

    for name, lengths in (
        ("71 octets each", np.full(2_000_000, 71)),
        ("12..130 octets", np.random.default_rng(5).integers(12, 130, 2_000_000)),
        ("12..500 octets", np.random.default_rng(5).integers(12, 500, 500_000)),
        ("12..3000 octets", np.random.default_rng(5).integers(12, 3000, 50_000)),
    ):
        batch = packets_of(lengths)
        found = split(batch.octets)
        assert np.array_equal(found.packets.offsets, batch.offsets)
        assert found.reason == ""
        ours = len(batch) / median_s(lambda octets=batch.octets: split(octets))

        few = batch.slice(0, 20_000)
        data = few.octets.tobytes()

        def peer_spp(data: bytes = data) -> list[bytes]:
            return [
                bytes(p) for p in space_packet_parser.generators.ccsds_generator(io.BytesIO(data))
            ]

        def peer_spacepackets(data: bytes = data) -> list[bytes]:
            out, at = [], 0
            while at < len(data):
                header = spacepackets.SpacePacketHeader.unpack(data[at : at + 6])
                out.append(data[at : at + header.packet_len])
                at += header.packet_len
            return out

        assert peer_spp() == list(few)
        assert peer_spacepackets() == list(few)
        print(f"split, {name}: {ours / 1e6:.1f} M packets/s")
        for peer, run in (("space-packet-parser", peer_spp), ("spacepackets", peer_spacepackets)):
            rate = len(few) / median_s(run)
            print(f"  beside {peer} {rate / 1e3:.0f} k packets/s: ×{ours / rate:.0f}")


def bench_frames(kind: str, fecf: str, frame_length: int, packet: int) -> None:
    parameters = FrameParameters(kind, frame_length, fecf=fecf, ocf=True, scid=76)  # type: ignore[arg-type]
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
    order = np.argsort(rng.random(len(frames)), kind="stable")
    slots = channel[order]
    mixed = np.empty_like(frames)
    for vcid in range(4):
        mixed[slots == vcid] = frames[channel == vcid]
    frames = mixed
    times = np.arange(len(frames))
    index = index_frames(frames, parameters)
    got = PacketExtractor().push(frames, index, times).packets
    for vcid, batch in sent.items():
        mine = got.select((got.vcid == vcid) & ~got.is_idle)
        assert np.array_equal(mine.octets, batch.octets)
        assert np.array_equal(mine.offsets, batch.offsets)

    chunk = 8192

    def extract() -> None:
        extractor = PacketExtractor()
        extractor.push(frames, index, times)

    def both() -> None:
        extractor = PacketExtractor()
        for low in range(0, len(frames), chunk):
            part = frames[low : low + chunk]
            extractor.push(part, index_frames(part, parameters), times[low : low + chunk])

    bits = 8 * frames.size
    only = median_s(extract)
    whole = median_s(both)
    indexing = median_s(lambda: index_frames(frames, parameters))
    print(
        f"{kind} {frame_length} octets, fecf {fecf}, packets of about {packet}: "
        f"extraction {bits / only / 1e9:.1f} Gbit/s ({len(got) / only / 1e6:.1f} M packets/s), "
        f"index with FECF {bits / indexing / 1e9:.1f} Gbit/s, "
        f"both in pushes of {chunk} {bits / whole / 1e9:.1f} Gbit/s"
    )


if __name__ == "__main__":
    bench_split()
    bench_frames("tm", "crc16", 1115, 200)
    bench_frames("aos", "absent", 1113, 200)
    bench_frames("aos", "crc16", 1115, 200)
    bench_frames("aos", "absent", 1113, 32)
    bench_frames("aos", "absent", 220, 200)
    bench_frames("uslp", "crc16", 1115, 200)
