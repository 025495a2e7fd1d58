"""Cost as work grows: time and peak memory against packets, definitions and virtual channels.

    make bench-growth ARGS="--json FILE"

Every point is a process of its own, with the memory policy that a service has (the C library's
own), on one core; its peak is that of the whole process, Python and Numba included.  At the end
each stage of the path stands beside what copying memory does in the same run.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import one_core

ROOT = Path(__file__).resolve().parents[2]
#: Points of each curve.
PACKETS = tuple(10**n for n in range(3, 9))
DEFINITIONS = (1, 10, 100, 1_000)
CHANNELS = (1, 4, 16, 64)
#: Octets of packets decoded together: what `receive` publishes at most, what archive and replay
#: gather.
BATCHES = {"1 MiB": 1 << 20, "8 MiB": 8 << 20}
#: Decoded for each point of the definitions.
DECODED = 250_000
PUSH_OCTETS = 1 << 20
#: A multiple of 256, where the frame counters come round, and of 71, so that the last packet ends
#: with the last frame: the same CADUs again and again are one faultless stream.
TILE_FRAMES = 256 * 71
CHANNEL_FRAMES = 24 * 1024
PACKET_OCTETS = 71
RUNS = 7


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _timed(work: Callable[[], object], runs: int) -> float:
    took: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        took.append(time.perf_counter() - start)
    return statistics.median(took)


def _profile() -> Any:
    from ground.receive.profile import load_profile

    return load_profile(
        "l4_relay", frames="tm", frame_length=1115, fecf="present", ocf="present", scid="76"
    )


def _cadus(frames: Any) -> Any:
    import numpy as np

    from protocols.coding.randomiser import randomise
    from protocols.coding.reed_solomon import ReedSolomon
    from tests.benchmarks.bench_chain import MARKER

    blocks = randomise(ReedSolomon(interleave=5).encode(frames), "ccsds")
    marker = np.broadcast_to(np.frombuffer(MARKER, np.uint8), (len(blocks), 4))
    return np.ascontiguousarray(np.concatenate([marker, blocks], axis=1))


def _tile() -> Any:
    """CADUs of one turn of the counters, uint8 [TILE_FRAMES, 1279]."""
    from protocols.packets.assembly import FrameMultiplexer
    from tests.benchmarks import bench_telemetry

    parameters = _profile().frame_parameters()
    count = TILE_FRAMES * (1115 - 6 - 4 - 2) // PACKET_OCTETS
    multiplexer = FrameMultiplexer(parameters)
    multiplexer.push(0, bench_telemetry._packets().slice(0, count))
    frames = multiplexer.take()
    assert len(frames) == TILE_FRAMES
    return _cadus(frames)


def packets(count: int) -> dict[str, float]:
    """CADUs of `count` packets through the receive chain and the archive's decoder."""
    from ground.archive.decoding import Decoder
    from ground.receive.chain import ReceiveChain
    from tests.benchmarks import bench_telemetry

    stream = _tile().reshape(-1)
    decoder = Decoder(bench_telemetry._dictionary())
    each_tile = TILE_FRAMES * 1103 // PACKET_OCTETS

    def through(count: int) -> None:
        chain = ReceiveChain(_profile())
        found = 0
        tiles, rest = divmod(count, each_tile)
        ends = [len(stream)] * tiles
        if rest:
            # One more frame than the packets fill: the synchroniser wants to see what follows.
            ends.append(min(-(-rest * PACKET_OCTETS // 1103) + 1, TILE_FRAMES) * 1279)
        for end in ends:
            for at in range(0, end, PUSH_OCTETS):
                batch = chain.push(stream[at : min(at + PUSH_OCTETS, end)], 0).packets
                decoder.decode(batch)
                found += len(batch)
        batch = chain.finish().packets
        decoder.decode(batch)
        found += len(batch)
        assert found >= count, (found, count)
        assert chain.statistics().counts["frames"]["crc_fail"] == 0

    through(min(count, 10**5))  # kernels are loaded
    seconds = _timed(lambda: through(count), RUNS if count <= 10**6 else 1)
    return {"seconds": seconds, "peak_mb": _peak_mb()}


def _many_definitions(count: int) -> tuple[Any, Any]:
    """Definitions as of the simulator's housekeeping, and packets of all of them in turn."""
    import numpy as np

    from protocols.packets.batch import PacketBatch
    from protocols.telemetry.declaration import Dictionary, PacketDefinition
    from tests.benchmarks import bench_telemetry

    fields = bench_telemetry.limited_dictionary().definitions[0].fields
    dictionary = Dictionary(
        "MANY", tuple(PacketDefinition(f"D{n}", n, fields) for n in range(count))
    )
    batch = bench_telemetry._packets().slice(0, DECODED)
    octets = batch.octets.copy().reshape(-1, PACKET_OCTETS)
    # In no order, as packets of many sources come.
    apid = np.random.default_rng(5).integers(0, count, len(octets))
    octets[:, 0] = octets[:, 0] & 0xF8 | apid >> 8
    octets[:, 1] = apid & 0xFF
    return dictionary, PacketBatch(octets.reshape(-1), batch.offsets, batch.vcid, batch.ert_ns)


def definitions(count: int, octets: int) -> dict[str, float]:
    """Packets of `count` definitions decoded, calibrated and judged."""
    dictionary, batch = _many_definitions(count)
    step = octets // PACKET_OCTETS

    def work() -> None:
        found = 0
        for low in range(0, len(batch), step):
            for table in dictionary.decode(batch.slice(low, min(low + step, len(batch)))):
                for name in table.raw:
                    table.limit_state(name)
                    table.engineering(name)
                found += len(table)
        assert found == len(batch)

    work()
    return {"seconds": _timed(work, 3), "peak_mb": _peak_mb()}


def channels(count: int) -> dict[str, float]:
    """CADUs whose frames take turns on `count` virtual channels, to packets."""
    import numpy as np

    from ground.receive.chain import ReceiveChain
    from ground.receive.profile import load_profile
    from protocols.frames.index import index_frames
    from protocols.packets.assembly import FrameMultiplexer
    from tests.benchmarks import bench_telemetry

    profile = replace(load_profile("l4_relay"), vc_content={})
    parameters = profile.frame_parameters()
    multiplexer = FrameMultiplexer(parameters)
    # 63 is the channel of idle frames: "64" are all of them, one without packets.
    used = min(count, 63)
    total = CHANNEL_FRAMES * 1095 // PACKET_OCTETS
    batch = bench_telemetry._packets()
    for vcid in range(used):
        multiplexer.push(vcid, batch.slice(vcid, vcid + total // used))
    frames = multiplexer.take()
    vcid = index_frames(frames, parameters).vcid
    place = np.empty(len(frames), np.int64)
    for channel in range(used):
        mine = np.flatnonzero(vcid == channel)
        place[mine] = np.arange(len(mine)) * used + channel
    stream = _cadus(frames[np.argsort(place, kind="stable")]).reshape(-1)
    assert len(np.unique(vcid)) == used

    def work() -> int:
        chain = ReceiveChain(profile)
        found = 0
        for at in range(0, len(stream), PUSH_OCTETS):
            found += len(chain.push(stream[at : at + PUSH_OCTETS], 0).packets)
        return found + len(chain.finish().packets)

    found = work()
    assert found > 0.98 * total, (found, total)
    return {"seconds": _timed(work, 3), "peak_mb": _peak_mb(), "packets": found}


def stages() -> dict[str, float]:
    """GB/s of each stage's own input, and of copying memory."""
    import numpy as np

    from protocols.coding.crc import crc16_batch
    from protocols.coding.randomiser import randomise
    from protocols.coding.reed_solomon import ReedSolomon
    from protocols.coding.sync import ASM, FrameSynchroniser
    from protocols.frames.index import index_frames
    from protocols.packets.extraction import PacketExtractor
    from protocols.packets.space_packet import split
    from tests.benchmarks import bench_telemetry

    source = np.ones(256 << 20, np.uint8)
    target = np.empty_like(source)
    # Portions as the chain takes them: they stay in the cache from stage to stage.
    cadus = _tile()[: PUSH_OCTETS // 1279]
    code = ReedSolomon(interleave=5)
    parameters = _profile().frame_parameters()
    blocks = np.ascontiguousarray(cadus[:, 4:])
    coded = randomise(blocks, "ccsds")
    frames = np.ascontiguousarray(code.decode(coded).data)
    index = index_frames(frames, parameters)
    times = np.arange(len(frames))
    octets = bench_telemetry._packets().octets[: PUSH_OCTETS // 71 * 71]
    batch = split(octets).packets
    dictionary, limited = bench_telemetry._dictionary(), bench_telemetry.limited_dictionary()

    def judged() -> None:
        for table in limited.decode(batch):
            for name in table.raw:
                table.limit_state(name)

    works: dict[str, tuple[float, Callable[[], object]]] = {
        "synchronise": (
            cadus.nbytes,
            lambda: FrameSynchroniser(ASM, 1275).push(cadus.reshape(-1)),
        ),
        "derandomise": (blocks.nbytes, lambda: randomise(blocks, "ccsds")),
        "Reed–Solomon check": (coded.nbytes, lambda: code.decode(coded)),
        "CRC-16": (frames.nbytes, lambda: crc16_batch(frames)),
        "frame index with CRC": (frames.nbytes, lambda: index_frames(frames, parameters)),
        "extract packets": (frames.nbytes, lambda: PacketExtractor().push(frames, index, times)),
        "split a packet file": (octets.nbytes, lambda: split(octets)),
        "packets to columns": (octets.nbytes, lambda: dictionary.decode(batch)),
        "the same, calibrated and judged": (octets.nbytes, judged),
    }
    found = {}
    np.copyto(target, source)
    found["copy 256 MiB"] = source.nbytes / _timed(lambda: np.copyto(target, source), RUNS) / 1e9
    for name, (size, work) in works.items():
        work()
        found[name] = size / _timed(work, 20 * RUNS) / 1e9
    return found


# ---------------------------------------------------------------- parent


POINTS: dict[str, Callable[..., dict[str, float]]] = {
    "packets": packets,
    "definitions": definitions,
    "channels": channels,
    "stages": stages,
}


def _points(only: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    wanted: list[tuple[str, tuple[int, ...]]] = [
        *(("packets", (n,)) for n in PACKETS),
        *(("definitions", (n, octets)) for octets in BATCHES.values() for n in DEFINITIONS),
        *(("channels", (n,)) for n in CHANNELS),
        ("stages", ()),
    ]
    yield from (point for point in wanted if only in point[0])


def _measure(name: str, arguments: tuple[int, ...]) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.growth", "--point", name]
    done = subprocess.run(
        [*command, *map(str, arguments)], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def _line(name: str, arguments: tuple[int, ...], found: dict[str, float]) -> list[str]:
    """A row of the table: work, time, rate, time for each piece, peak memory."""
    seconds = found["seconds"]
    if name == "packets":
        count, what = arguments[0], f"{arguments[0]:,} packets, CADUs to columns"
    elif name == "channels":
        count = int(found["packets"])
        what = f"{arguments[0]} virtual channels, CADUs to packets"
    else:
        label = next(key for key, octets in BATCHES.items() if octets == arguments[1])
        count, what = DECODED, f"{arguments[0]:,} definitions, batches of {label}"
    nanoseconds = seconds / count * 1e9
    return [
        what,
        f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s",
        f"{count / seconds / 1e6:,.2f}",
        f"{nanoseconds:,.0f}",
        f"{found['peak_mb']:,.0f}",
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help=f"one of {', '.join(POINTS)}")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--point", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    one_core()
    if arguments.point:
        name, *numbers = arguments.point
        print(json.dumps(POINTS[name](*map(int, numbers))))
        return 0
    rows = [
        "| work | time | Mpacket/s | ns a packet | peak MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    report: list[dict[str, object]] = []
    for name, numbers in _points(arguments.only):
        found = _measure(name, numbers)
        report.append({"curve": name, "point": numbers, **found})
        if name == "stages":
            copy = found["copy 256 MiB"]
            rows += ["", "| stage | GB/s of its input | of a memory copy |", "| --- | --- | --- |"]
            rows += [f"| {k} | {v:,.2f} | {v / copy:.2f} |" for k, v in found.items()]
        else:
            rows.append("| " + " | ".join(_line(name, numbers, found)) + " |")
        print(rows[-1], file=sys.stderr, flush=True)
    print("\n".join(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
