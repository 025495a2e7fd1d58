"""`l4 replay` of a capture of 1 GB into Parquet, as the whole command: start-up included.

The peers are scripts as one writes them with the library, run by the same Python; a slow one gets
a part that takes it seconds, so that its start-up does not count against it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.frames.parameters import FrameParameters
from protocols.packets.assembly import FrameMultiplexer
from protocols.telemetry.declaration import Dictionary
from protocols.telemetry.xtce import export_xtce
from tests.benchmarks import bench_chain, bench_telemetry
from tests.benchmarks.harness import Case, PeerMissing

ROOT = Path(__file__).resolve().parents[2]
OCTETS = 1_000_000_000
FEW = 200_000
#: Frames that the peer of the CADUs is given.
FEW_FRAMES = 30_000
FRAMES_ONCE = 12_000

FIXED_SCRIPT = """
import sys, warnings
import ccsdspy, pyarrow as pa, pyarrow.parquet as pq
warnings.simplefilter("ignore")
kinds = {"B": ("uint", 8), "H": ("uint", 16), "L": ("uint", 32), "f": ("float", 32)}
names = [field.split(":") for field in sys.argv[3].split()]
found = ccsdspy.FixedLength([
    ccsdspy.PacketField(name=name, data_type=kinds[code][0], bit_length=kinds[code][1])
    for name, code in names
]).load(sys.argv[1])
def native(column):
    return column.astype(column.dtype.newbyteorder("="), copy=False)
pq.write_table(pa.table({name: native(found[name]) for name, _ in names}), sys.argv[2])
"""

VARIABLE_SCRIPT = """
import sys, warnings
import ccsdspy, pyarrow as pa, pyarrow.parquet as pq
warnings.simplefilter("ignore")
from tests.benchmarks.bench_telemetry import ccsdspy_variable_packet
found = ccsdspy_variable_packet().load(sys.argv[1])
def native(column):
    return column.astype(column.dtype.newbyteorder("="), copy=False)
single = {name: native(found[name]) for name in "ABCDN"}
samples = pa.array([native(row) for row in found["X"]])
pq.write_table(pa.table(single | {"X": samples}), sys.argv[2])
"""

XTCE_SCRIPT = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
from space_packet_parser.generators import ccsds_generator
from space_packet_parser.xtce.definitions import XtcePacketDefinition
definition = XtcePacketDefinition.from_xtce(sys.argv[3])
names = sys.argv[4].split()
columns = {name: [] for name in names}
with open(sys.argv[1], "rb") as file:
    for packet in ccsds_generator(file):
        found = definition.parse_bytes(packet)
        for name in names:
            columns[name].append(found[name])
pq.write_table(pa.table({name: pa.array([v.raw_value for v in c]) for name, c in columns.items()}),
               sys.argv[2])
"""

CADU_SCRIPT = (
    """
import sys
import numpy as np
from tests.benchmarks import bench_chain
cadus = np.fromfile(sys.argv[1], np.uint8).reshape(-1, 1279)
with open(sys.argv[2] + ".packets", "wb") as file:
    file.write(b"".join(bench_chain._numpy_and_libfec(cadus)()))
sys.argv[1] = sys.argv[2] + ".packets"
"""
    + FIXED_SCRIPT
)


class Scratch:
    """A folder for captures and what is made of them."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="bench-replay-"))
        atexit.register(shutil.rmtree, self.path, ignore_errors=True)

    def run(self, *arguments: str) -> None:
        # A user's Python keeps its byte code.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT
        )
        if done.returncode:
            raise RuntimeError(done.stderr)

    def peer(self, package: str, script: str, name: str, *arguments: str) -> Callable[[], object]:
        try:
            self.run("-c", f"import {package}")
        except RuntimeError as error:
            raise PeerMissing(package) from error
        target = str(self.path / f"{name}.parquet")

        def work() -> Path:
            self.run("-c", script, arguments[0], target, *arguments[1:])
            return Path(target)

        return work


def _same(ours: object, peer: object) -> bool:
    """The peer's rows are our first ones, column by column."""
    theirs = pq.read_table(str(peer))
    (file, *others) = sorted(Path(str(ours)).glob("*.parquet"), key=lambda path: len(path.name))
    mine = pq.ParquetFile(file)
    wanted = [name for name in theirs.column_names if name != "X"]
    columns = mine.read(columns=wanted).slice(0, len(theirs)) if wanted else None
    assert columns is not None
    for name in wanted:
        a, b = columns[name].to_numpy(), theirs[name].to_numpy()
        if len(b) < 1000 or not np.array_equal(a, b, equal_nan=b.dtype.kind == "f"):
            return False
    if "X" in theirs.column_names:
        flat = theirs["X"].combine_chunks()
        assert isinstance(flat, pa.ListArray)
        values = flat.flatten().to_numpy()
        return np.array_equal(pq.read_table(others[0])["X"].to_numpy()[: len(values)], values)
    return True


def _ours(scratch: Scratch, capture: Path, *flags: str) -> Path:
    target = scratch.path / f"{capture.stem}-ours"
    scratch.run(
        *("-m", "ground.cli", "replay", str(capture), "--parquet", str(target)),
        *("--summary", "none", "--no-progress", *flags),
    )
    return target


def _tiled(scratch: Scratch, name: str, once: np.ndarray) -> Path:
    path = scratch.path / name
    octets = once.tobytes()
    with path.open("wb") as file:
        for _ in range(-(-OCTETS // len(octets))):
            file.write(octets)
    return path


def _part(whole: Path, octets: int) -> str:
    path = whole.with_name(f"few-{whole.name}")
    with whole.open("rb") as file:
        path.write_bytes(file.read(octets))
    return str(path)


def _xtce(scratch: Scratch, dictionary: Dictionary) -> str:
    path = scratch.path / f"{dictionary.definitions[0].name}.xml"
    path.write_bytes(export_xtce(dictionary))
    return str(path)


def packets(scratch: Scratch) -> Iterator[Case]:
    batch = bench_telemetry._packets()
    dictionary = _xtce(scratch, bench_telemetry._dictionary())
    flags = ("--input", "packets", "--dictionary", dictionary)
    capture = _tiled(scratch, "fixed.pkt", batch.octets)
    size = capture.stat().st_size
    names = " ".join(name for name, _ in bench_telemetry.SPLIT)
    few = _part(capture, 71 * FEW)
    yield Case(
        "l4 replay into Parquet: 1 GB of packets of one fixed length",
        size,
        "MB/s",
        lambda: _ours(scratch, capture, *flags),
        {
            "ccsdspy FixedLength, pyarrow": lambda: scratch.peer(
                "ccsdspy", FIXED_SCRIPT, "ccsdspy", str(capture), bench_telemetry.FIELDS
            ),
            "space-packet-parser, pyarrow": lambda: scratch.peer(
                "space_packet_parser", XTCE_SCRIPT, "spp", few, dictionary, names
            ),
        },
        equal=_same,
        peer_units={"space-packet-parser, pyarrow": 71 * FEW},
        goals={"ccsdspy FixedLength, pyarrow": 10, "space-packet-parser, pyarrow": 10},
    )
    capture.unlink()


def variable(scratch: Scratch) -> Iterator[Case]:
    dictionary, batch = bench_telemetry.counted_packets(1_000_000)
    document = _xtce(scratch, dictionary)
    capture = _tiled(scratch, "variable.pkt", batch.octets)
    size = capture.stat().st_size
    few = _part(capture, int(batch.offsets[FEW]))
    yield Case(
        "l4 replay into Parquet: 1 GB of packets of many lengths",
        size,
        "MB/s",
        lambda: _ours(scratch, capture, "--input", "packets", "--dictionary", document),
        {
            "ccsdspy VariableLength, pyarrow": lambda: scratch.peer(
                "ccsdspy", VARIABLE_SCRIPT, "ccsdspy-variable", few
            )
        },
        equal=_same,
        peer_units={"ccsdspy VariableLength, pyarrow": float(batch.offsets[FEW])},
        goals={"ccsdspy VariableLength, pyarrow": 10},
    )
    capture.unlink()


def cadus(scratch: Scratch) -> Iterator[Case]:
    """The packets in CADUs of the L4 relay's link; no peer reads them but by hand."""
    batch = bench_telemetry._packets().slice(0, FRAMES_ONCE * 1099 // 71)
    dictionary = _xtce(scratch, bench_telemetry._dictionary())
    parameters = FrameParameters(kind="aos", frame_length=1115, fecf="crc16", ocf=True, scid=0x4C)
    multiplexer = FrameMultiplexer(parameters)
    multiplexer.push(1, batch)
    blocks = randomise(ReedSolomon(interleave=5).encode(multiplexer.take()), "ccsds")
    marker = np.broadcast_to(np.frombuffer(bench_chain.MARKER, np.uint8), (len(blocks), 4))
    once = np.ascontiguousarray(np.concatenate([marker, blocks], axis=1))
    capture = _tiled(scratch, "link.cadu", once)
    few = _part(capture, 1279 * min(FEW_FRAMES, len(once)))
    yield Case(
        "l4 replay into Parquet: 1 GB of CADUs (RS I=5, randomised, FECF)",
        capture.stat().st_size,
        "MB/s",
        lambda: _ours(
            scratch, capture, "-m", "l4_relay", "--dictionary", dictionary, "--input", "cadu"
        ),
        {
            "NumPy, libfec, crcmod, ccsdspy, pyarrow": lambda: scratch.peer(
                "ccsdspy", CADU_SCRIPT, "cadu", few, bench_telemetry.FIELDS
            )
        },
        equal=_same,
        peer_units={"NumPy, libfec, crcmod, ccsdspy, pyarrow": float(Path(few).stat().st_size)},
        goals={"NumPy, libfec, crcmod, ccsdspy, pyarrow": 10},
    )
    capture.unlink()


def cases() -> Iterator[Case]:
    scratch = Scratch()
    yield from packets(scratch)
    yield from variable(scratch)
    yield from cadus(scratch)
