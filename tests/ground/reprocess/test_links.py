"""Links of every coding, secured, on several carriers, damaged: in parts as in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from construct import Int32ub

from ground.archive.decoding import Decoder
from ground.archive.parquet_sink import ParquetSink
from ground.ports import LinkChunk
from ground.receive.capture import CaptureReader, CaptureWriter
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.replay import replay
from ground.reprocess import plan
from ground.reprocess.cluster import Here
from ground.reprocess.run import reprocess
from ground.wiring import open_dictionaries
from protocols.frames.error_control import append_fecf_batch
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter
from protocols.telemetry.xtce import export_xtce
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.ground.receive import test_carriers as carriers
from tests.ground.receive import test_link_security as security
from tests.ground.reprocess.test_reprocess import tables

NOON = tai_ns_from_utc_iso("2027-01-01T12:00:00Z")
S = 10**9
FIELDS = tuple(Parameter(f"F{i}", Int32ub) for i in range(9))
NUMBERED = Dictionary(
    "N", (PacketDefinition("NUMBERED", 5, (Parameter("NUMBER", Int32ub), *FIELDS)),)
)
#: Flags of a link, channels it has.
LINKS: dict[str, dict[str, Any]] = {
    "turbo 1/3": {"turbo": "1/3", "frame_length": 223},
    "AR4JA 1/2": {"ldpc": "AR4JA 1/2 1024", "frame_length": 128},
    "AR4JA 4/5, sliced": {
        "ldpc": "AR4JA 4/5 1024", "ldpc_slice": 3, "frame_length": 300, "csm": "034776c7272895b0",
    },
    "C2, sliced": {"ldpc": "C2", "ldpc_slice": 1, "frame_length": 250},
}  # fmt: skip


def once(
    capture: Path, profile: LinkProfile, out: Path
) -> tuple[dict[str, pa.Table], dict[str, int]]:
    """Tables, and counts by stage, of one process that reads on."""
    with ParquetSink(out, Decoder(open_dictionaries(profile.dictionary))) as sink:
        found = replay(capture, profile, digests=False, sinks=[sink])
    counts = {
        f"{stage}.{name}": count
        for stage, counted in found.statistics.counts.items()
        for name, count in counted.items()
    }
    return {
        path.stem: pq.ParquetFile(path).read().drop_columns(["packet"]) for path in out.iterdir()
    }, counts


def in_parts(
    capture: Path, profile: LinkProfile, tmp_path: Path, part: int, overlap: int, stretch: int
) -> dict[str, Any]:
    """Compared column by column with `once`; the summary."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STRETCH_OCTETS", stretch)
        found = reprocess(
            [capture], tmp_path / "out", profile, Here(), part_octets=part, overlap=overlap
        )
    wanted, counts = once(capture, profile, tmp_path / "once")
    assert wanted
    got = tables(tmp_path / "out")
    assert set(got) == set(wanted)
    for name, table in wanted.items():
        assert got[name].equals(table), name
    for name in ("frames.frames", "frames.good", "packets.packets", "packets.octets"):
        assert found["counts"][name] == counts[name], name
    return found


def write(directory: Path, octets: bytes, step: int, every_ns: int, begin_ns: int = NOON) -> Path:
    with CaptureWriter(directory, link="x", rotate_octets=40_000) as writer:
        for number, at in enumerate(range(0, len(octets), step)):
            ert_ns = begin_ns + number * every_ns
            writer.append([LinkChunk("run", number, ert_ns, octets[at : at + step])])
    return directory


@pytest.mark.parametrize("name", LINKS)
def test_a_coded_link(name: str, tmp_path: Path) -> None:
    (tmp_path / "n.xml").write_bytes(export_xtce(NUMBERED))
    profile = load_profile(
        frames="aos", fecf="present", ocf="absent", scid=77, content="packets",
        randomiser="ccsds", dictionary=str(tmp_path / "n.xml"), **LINKS[name],
    )  # fmt: skip
    rng = np.random.default_rng(2)
    multiplexer = FrameMultiplexer(profile.frame_parameters())
    for number in range(700):
        data = number.to_bytes(4, "big") + rng.bytes(36)
        # Several channels, one of which is silent for long and then in the middle of its packet.
        channel = 2 if 250 < number < 600 else 2 + number % 3
        multiplexer.push(channel, build_packet(SpacePacket(5, data, sequence_count=number)))
    information = multiplexer.take(fill=True)
    coding = profile.coding.codeblocks
    assert coding is not None
    if coding.sliced:
        marker = np.frombuffer(bytes.fromhex("1acffc1d"), np.uint8)
        stream = np.concatenate([np.concatenate([marker, frame]) for frame in information])
        information = np.pad(stream, (0, -len(stream) % coding.data_length))
        information = information.reshape(-1, coding.data_length)
    bits = coding.encode(information).ravel()
    bits = bits ^ (rng.random(bits.size) < 0.001)
    octets = np.packbits(np.concatenate([rng.integers(0, 2, 301, np.uint8), bits])).tobytes()
    capture = write(tmp_path / "c", octets, 257, 200 * S)
    found = in_parts(capture, profile, tmp_path, 12_000, 6_000, 3_000)
    assert len(found["parts"]) > 3
    assert found["packets"] > 600


def test_a_secured_link(tmp_path: Path) -> None:
    profile = load_profile(security.mission_file(tmp_path))
    frames = security.downlink(security.SECURED, 300)
    # A frame changed, one repeated later, some missing: refused, or a gap, the same in parts.
    frames = np.concatenate([frames[:60], frames[70:90], frames[30:31], frames[90:]])
    frames[20, 100] ^= 1
    append_fecf_batch(frames, profile.frame_parameters())
    capture = write(tmp_path / "c", security.cadus(frames), 1279, 600 * S)
    found = in_parts(capture, profile, tmp_path, 100_000, 40_000, 20_000)
    assert len(found["parts"]) > 3
    assert any("link security refused" in one for one in found["warnings"])


def test_of_several_carriers_one_is_decoded(tmp_path: Path) -> None:
    with CaptureWriter(tmp_path / "c", link="x", rotate_octets=40_000) as writer:
        for chunk in carriers.chunks():
            writer.append([chunk])
    found = in_parts(tmp_path / "c", carriers.PROFILE, tmp_path, 100_000, 40_000, 20_000)
    assert len(found["parts"]) > 1
    assert any("chunks of carrier optical left out" in one for one in found["warnings"])


def test_noise_gaps_and_damaged_files(tmp_path: Path) -> None:
    frames = security.downlink(security.PLAIN, 400)
    octets = np.frombuffer(security.cadus(frames), np.uint8).copy()
    rng = np.random.default_rng(3)
    wrong = rng.integers(0, len(octets), 2_000)
    octets[wrong] ^= rng.integers(1, 256, 2_000, np.uint8)
    # Nothing but noise for longer than the overlap, then on with what follows 3 days later.
    noise = rng.integers(0, 256, 90_000, np.uint8)
    half = len(octets) // 2
    stream = b"".join((octets[:half].tobytes(), noise.tobytes(), octets[half + 5_000 :].tobytes()))
    capture = write(tmp_path / "c", stream, 1_013, 600 * S)
    files = [path for _, path in CaptureReader(capture).files()]
    # A block with a bad length in the middle, one with octets that are none, a torn tail.
    for path, at, replaced in (
        (files[2], 20_000, b"\xff" * 8),
        (files[4], 9_000, bytes(2_000)),
    ):
        held = bytearray(path.read_bytes())
        held[at : at + len(replaced)] = replaced
        path.write_bytes(held)
    files[-1].write_bytes(files[-1].read_bytes()[:-7])
    found = in_parts(capture, load_profile("l4_relay"), tmp_path, 50_000, 30_000, 10_000)
    [told] = found["captures"].values()
    assert told["damaged_octets"] > 0
    assert told["torn_octets"] > 0
    assert any("octets of damage" in one for one in found["warnings"])
    assert any("frames are missing" in one for one in found["warnings"])
