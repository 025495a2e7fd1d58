"""What the whole-system benchmark sends: CADUs of the L4 relay's link, and their station.

The packets are the simulated spacecraft's own housekeeping (an hour of the nominal scenario), again
and again with new times and sequence counts, so that no two are the same and their values change
as telemetry does.  `python -m tests.benchmarks.system_source ORDER` is the station's process: it
speaks through the simulator's own `ZmqStation` and `StationBuffer`.
"""

from __future__ import annotations

import json
import mmap
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ground.config import load_settings
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.wiring import open_clock
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.sync import ASM
from protocols.dictionary.l4 import DICTIONARY, TIME_FORMAT
from protocols.frames.parameters import FrameParameters
from protocols.identifiers import SCID_L4_RELAY, VirtualChannel
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.telemetry.calibration import Text
from protocols.telemetry.tables import Ragged
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.scenario import load
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_buffer import StationBuffer

CADU_OCTETS = 1279
FRAME_OCTETS = 1115
#: Packets of a store-and-forward relay's payload: no definition, archived as they are.
BULK_APID = 200
BULK_OCTETS = 1024
#: Where the packets' time code stands, behind the primary header.
SCET_AT = 6
BLOCK_FRAMES = 8192
SECOND_NS = 1_000_000_000
#: What the station holds ahead of the ground when it sends as fast as it is taken.
GREEDY_OCTETS = 32 << 20


@dataclass
class Sent:
    """What is in the file of CADUs: the auditor's side of the books.

    values: parameter samples that the archive must hold (time codes are not samples).
    """

    frames: int
    packets: int
    packet_octets: int
    values: int
    by_apid: dict[int, int]

    @property
    def wire_bits(self) -> int:
        return 8 * CADU_OCTETS * self.frames


def simulated(*, natural: bool) -> PacketBatch:
    """An hour of the nominal scenario: its housekeeping channel, or all that it sends (`natural`:
    half of the octets are housekeeping, half science in packets of variable length)."""
    start_ns = 2_170_000_000 * SECOND_NS
    spacecraft = Spacecraft(load("nominal"), seed=1, start_ns=start_ns)
    downlink = spacecraft.step(start_ns + 3600 * SECOND_NS, b"")
    packets = ReceiveChain(load_profile("l4_relay")).push(downlink.cadus.tobytes(), 0).packets
    # Encapsulation packets, in which bundles travel, have no time and no count to be made new.
    wanted = (natural & (packets.version == 0)) | (packets.vcid == VirtualChannel.HOUSEKEEPING)
    return packets.select(wanted & ~packets.is_idle)


def _values(packets: PacketBatch) -> int:
    """Samples in packets; an element of a repeat is one, a text is one, the time code none."""
    found = 0
    for table in DICTIONARY.decode(packets):
        for name, column in table.raw.items():
            if isinstance(table.definition.parameters[name].calibration, Text):
                found += len(table)
            elif name != table.definition.time:
                found += (column.values if isinstance(column, Ragged) else column).size
    return found


class Traffic:
    """Endless packets: `more()` is the template once more, with new times and counts."""

    def __init__(self, start_ns: int, bulk_share: float, *, natural: bool) -> None:
        self._template = simulated(natural=natural)
        lengths = self._template.length
        self._starts = self._template.offsets[:-1]
        self._next_ns = start_ns
        self._counts: dict[int, int] = {}
        bulk = bulk_share / (1 - bulk_share) * int(lengths.sum()) / BULK_OCTETS
        self._bulk = round(bulk)
        self._random = np.random.default_rng(1)
        self.values = _values(self._template)

    def more(self) -> tuple[PacketBatch, list[bytes]]:
        template = self._template
        n = len(template)
        octets = template.octets.copy()
        # Some microseconds apart: they come as fast as the link carries them.
        times = self._next_ns + np.arange(n, dtype=np.int64) * 1000
        self._next_ns = int(times[-1]) + 1000
        code = TIME_FORMAT.encode(times)
        octets[self._starts[:, None] + SCET_AT + np.arange(code.shape[1])] = code
        for apid in np.unique(template.apid).tolist():
            mine = np.flatnonzero(template.apid == apid)
            count = (self._counts.get(apid, 0) + np.arange(len(mine))) % 16384
            self._counts[apid] = self._counts.get(apid, 0) + len(mine)
            word = 0xC000 | count
            octets[self._starts[mine] + 2] = word >> 8
            octets[self._starts[mine] + 3] = word & 0xFF
        first = self._counts.get(BULK_APID, 0)
        self._counts[BULK_APID] = first + self._bulk
        # As compressed images and encrypted bundles are: nothing in it can be made smaller.
        bulk = [
            build_packet(
                SpacePacket(
                    BULK_APID,
                    self._random.bytes(BULK_OCTETS - 6),
                    sequence_count=(first + i) % 16384,
                )
            )
            for i in range(self._bulk)
        ]
        return PacketBatch(octets, template.offsets, template.vcid, template.ert_ns), bulk


def write_cadus(path: Path, frames: int, *, bulk_share: float = 0.0, natural: bool = False) -> Sent:
    """A file of CADUs back to back; `bulk_share` of the packets' octets are without definition."""
    parameters = FrameParameters(
        kind="aos", frame_length=FRAME_OCTETS, fecf="crc16", ocf=True, scid=SCID_L4_RELAY
    )
    multiplexer = FrameMultiplexer(parameters)
    traffic = Traffic(2_200_000_000 * SECOND_NS, bulk_share, natural=natural)
    code = ReedSolomon(interleave=5)
    marker = np.frombuffer(ASM, np.uint8)
    sent = Sent(0, 0, 0, 0, {})

    def note(apid: int, packets: int, octets: int) -> None:
        sent.by_apid[apid] = sent.by_apid.get(apid, 0) + packets
        sent.packets += packets
        sent.packet_octets += octets

    def put(frames: np.ndarray) -> None:
        cadus = np.empty((len(frames), CADU_OCTETS), np.uint8)
        cadus[:, :4] = marker
        cadus[:, 4:] = randomise(code.encode(frames), "ccsds")
        file.write(cadus.data)
        sent.frames += len(frames)

    with path.open("wb") as file:
        while sent.frames < frames:
            packets, bulk = traffic.more()
            for vcid in np.unique(packets.vcid).tolist():
                multiplexer.push(vcid, packets.select(packets.vcid == vcid))
            sent.values += traffic.values
            for apid in np.unique(packets.apid).tolist():
                mine = packets.apid == apid
                note(apid, int(mine.sum()), int(packets.length[mine].sum()))
            if bulk:
                multiplexer.push(VirtualChannel.RELAY, PacketBatch.from_packets(bulk))
                note(BULK_APID, len(bulk), len(bulk) * BULK_OCTETS)
            put(_mixed(multiplexer.take()))
        put(multiplexer.take(fill=True))
        # An idle frame behind the last: a synchroniser believes a frame when it sees the next.
        put(multiplexer.take(3, fill=True))
    return sent


def _mixed(frames: np.ndarray) -> np.ndarray:
    """Channels in turn, as a spacecraft sends them, not one after the other."""
    vcid = frames[:, 1] & 0x3F
    rank = np.empty(len(frames))
    for one in np.unique(vcid):
        mine = np.flatnonzero(vcid == one)
        rank[mine] = np.arange(len(mine)) / len(mine)
    return frames[np.argsort(rank, kind="stable")]


@dataclass
class Order:
    """What the station process is to do.

    mbit_s: rate of the link, 0: as fast as it is taken; chunk_frames: CADUs in one chunk.
    """

    run_dir: str
    cadus: str
    mbit_s: float = 0.0
    chunk_frames: int = 1
    stream: str = "bench"


def station(order: Order) -> None:
    """Send the file; each second a line of JSON: seconds, octets handed over, octets on disk."""
    settings = load_settings(order.run_dir)
    clock = open_clock(settings)
    buffer = StationBuffer(order.stream)
    link = ZmqStation(settings.link_endpoint, buffer)
    with open(order.cadus, "rb") as file:
        view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    chunk = order.chunk_frames * CADU_OCTETS
    chunks = -(-len(view) // chunk)
    while not link.connected:
        link.exchange(0.05)
    begin = shown = time.monotonic()
    per_second = order.mbit_s * 1e6 / 8 / chunk
    largest = 0

    def report() -> None:
        done = min(len(view), chunk * (buffer.acknowledged + 1))
        told = {
            "seconds": time.monotonic() - begin,
            "given": min(len(view), chunk * buffer.stored),
            "on_disk": done,
            "held": largest,
            "lost_chunks": buffer.lost,
        }
        print(json.dumps(told), flush=True)

    while buffer.acknowledged < chunks - 1:
        now = time.monotonic()
        if per_second:
            due = min(chunks, int((now - begin) * per_second))
        else:
            due = min(chunks, buffer.stored + max(0, (GREEDY_OCTETS - buffer.octets) // chunk))
        while buffer.stored < due:
            at = buffer.stored * chunk
            buffer.put(clock.now_ns(), bytes(view[at : at + chunk]))
        largest = max(largest, buffer.octets)
        link.exchange(0.001 if per_second and due < chunks else 0.005)
        if now - shown >= 1.0:
            shown = now
            link.send_state(carrier=True, owlt_s=0.0)
            report()
            largest = 0
    report()
    # The end of the run is the benchmark's: until then the link stays up.
    while True:
        link.exchange(0.2)
        if time.monotonic() - shown >= 1.0:
            shown = time.monotonic()
            link.send_state(carrier=True, owlt_s=0.0)


def order_arguments(order: Order) -> list[str]:
    return [sys.executable, "-m", "tests.benchmarks.system_source", json.dumps(asdict(order))]


if __name__ == "__main__":
    station(Order(**json.loads(sys.argv[1])))
