"""Decoded in parts, in any order, again and again: what one process gets that goes through once."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ground.archive.decoding import Decoder
from ground.archive.parquet_sink import ParquetSink
from ground.ports import LinkChunk
from ground.receive.capture import CaptureReader, CaptureWriter
from ground.receive.profile import load_profile
from ground.receive.replay import replay
from ground.reprocess import plan
from ground.reprocess.cluster import Here
from ground.reprocess.part import PacketDigest
from ground.reprocess.run import reprocess
from protocols.dictionary.l4_structures import KnownStructures
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso
from spacecraft_sim.scenario import Mars, Scenario
from tests.spacecraft_sim.commanding import flight

EVENING = tai_ns_from_utc_iso("2027-01-01T22:00:00Z")
PROFILE = load_profile("l4_relay")


def downlink() -> bytes:
    """One in which a report comes in parts, and a structure is made that later packets have."""
    craft = flight(Scenario(mars=Mars(present=False)))
    told = craft.run(30).octets
    report = craft.sender.packet("PARAMETER_REPORT", {"PARAMETERS": ["SC_MODE"] * 200})
    told += craft.run(40, craft.sender.uplink(report)).octets
    for name, arguments in (
        ("HK_CREATE", {"STRUCTURE": 7, "INTERVAL": 4, "PARAMETERS": ["PWR_BUS_VOLTAGE"]}),
        ("HK_REPORT_STRUCTURES", {"STRUCTURES": [7]}),
        ("HK_ENABLE", {"STRUCTURES": [7]}),
    ):
        asked = craft.sender.packet(name, arguments)
        told += craft.run(20, craft.sender.uplink(asked)).octets
    return told + craft.run(90).octets


def capture(directory: Path, octets: bytes, step: int, every_s: int = 30) -> Path:
    """Chunks of so many octets, some seconds apart: over days, in several files."""
    with CaptureWriter(directory, link="downlink", rotate_octets=1 << 17) as writer:
        for sequence, at in enumerate(range(0, len(octets), step)):
            ert_ns = EVENING + sequence * every_s * 10**9
            writer.append([LinkChunk("run", sequence, ert_ns, octets[at : at + step])])
    return directory


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return read_at_once(tmp_path_factory.mktemp("truth"), downlink())


def read_at_once(home: Path, octets: bytes) -> Any:
    """A capture, the digest of its packets, and its tables, by one process that reads on."""
    made = capture(home / "capture", octets, 997, 2 * 86_400 * 997 // len(octets))
    whole = PacketDigest()

    class Packets:
        def take(self, output: Any, chain: Any) -> None:
            whole.add(output)

        def finish(self, chain: Any) -> None: ...

    with ParquetSink(home / "once", Decoder(KnownStructures())) as sink:
        replay(made, PROFILE, digests=False, sinks=[sink, Packets()])
    assert {"HK_7", "PARAMETER_VALUES"} <= {path.stem for path in (home / "once").iterdir()}
    return made, whole, home / "once"


def tables(out: Path) -> dict[str, pa.Table]:
    """By definition, its parts in order; a packet's number counts within its part."""
    found: dict[str, list[pa.Table]] = {}
    for part in sorted(out.glob("day=*/part-*")):
        for file in sorted(part.glob("*.parquet")):
            table = pq.ParquetFile(file).read().drop_columns(["packet"])
            found.setdefault(file.stem, []).append(table)
    return {name: pa.concat_tables(parts) for name, parts in found.items()}


def is_the_truth(out: Path, truth: Any) -> None:
    _, whole, once = truth
    found = tables(out)
    assert set(found) == {path.stem for path in once.iterdir()}
    for name, table in found.items():
        wanted = pq.ParquetFile(once / f"{name}.parquet").read().drop_columns(["packet"])
        assert table.equals(wanted), name
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["packets"] == whole.packets
    assert manifest["packet_octets"] == whole.octets


@settings(max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    part=st.integers(60_000, 200_000),
    stretch=st.integers(1_000, 30_000),
    overlap=st.sampled_from([2_000, 20_000, 10**9]),
)
def test_parts_of_any_size_give_what_one_process_gets(
    part: int, stretch: int, overlap: int, truth: Any, tmp_path: Path
):
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "STRETCH_OCTETS", stretch)
        found = reprocess(
            [truth[0]], tmp_path / "out", PROFILE, Here(), part_octets=part, overlap=overlap
        )
    assert list(found["days"]) == ["2027-01-01", "2027-01-02", "2027-01-03"]
    is_the_truth(tmp_path / "out", truth)


def test_what_is_finished_is_kept(truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plan, "STRETCH_OCTETS", 5_000)
    out, grown = tmp_path / "out", tmp_path / "capture"
    shutil.copytree(truth[0], grown)
    last = CaptureReader(grown).files()[-1][1]
    held = last.read_bytes()
    last.unlink()

    def again() -> tuple[int, int]:
        found = reprocess([grown], out, PROFILE, Here(), part_octets=50_000, overlap=30_000)
        return found["kept"], len(found["parts"])

    kept, parts = again()
    assert kept == 0
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("day=*/part-*/part.json")}
    assert again() == (parts, parts)
    assert stamps == {p: p.stat().st_mtime_ns for p in out.glob("day=*/part-*/part.json")}
    # A part that is damaged is made anew, and so is what has come since.
    victim = sorted(out.glob("day=*/part-*"))[1]
    (victim / "SW_HK.parquet").unlink(missing_ok=True)
    next(victim.glob("*.parquet")).write_bytes(b"")
    last.write_bytes(held)
    kept, now = again()
    # The last one had been the end of the capture, and is no more.
    assert kept == parts - 2
    assert now >= parts
    is_the_truth(out, truth)
    with pytest.raises(LocalError, match="made with other settings"):
        reprocess([grown], out, load_profile("l4_relay", large_reports=(9,)), Here())


def test_what_cannot_be_done_is_said(truth: Any, tmp_path: Path):
    golden = Path(__file__).parents[2] / "captures" / "l4_relay_nominal_aos.cadu"
    with pytest.raises(LocalError, match="captures of `receive`"):
        reprocess([golden], tmp_path / "a", PROFILE, Here())
    asked = load_profile(frame_length=1115)
    with pytest.raises(LocalError, match="must be given"):
        reprocess([truth[0]], tmp_path / "b", asked, Here())


def test_what_the_how_to_reads(truth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece of Python in it whose packages are installed."""
    reprocess([truth[0]], tmp_path / "years", PROFILE, Here())
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[3] / "docs" / "howto" / "reprocess-years.md").read_text()
    ran: dict[str, Any] = {}
    for piece in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        package = re.findall(r"^import (\w+)", piece, re.MULTILINE)[0]
        if importlib.util.find_spec(package):
            exec(piece.replace(".plot()", ""), found := {})
            ran[package] = found
    frame = ran["pyarrow"]["frame"]
    assert sorted(set(frame["day"])) == ["2027-01-01", "2027-01-02", "2027-01-03"]
    once = pq.ParquetFile(truth[2] / "POWER.parquet").read()
    assert frame["PWR_BUS_VOLTAGE"].tolist() == once["PWR_BUS_VOLTAGE"].to_pylist()


def test_killed_and_started_again(truth: Any, tmp_path: Path):
    """By one process; with Dask's, which are killed as well: `make trial-reprocess`."""
    out = tmp_path / "out"
    first = begin(truth[0], out, 0)
    until(lambda: parts(out) >= 2, first)
    first.kill()
    first.communicate()
    had = parts(out)
    second = begin(truth[0], out, 0)
    told, said = second.communicate(timeout=120)
    assert second.returncode == 0, said.decode()
    assert json.loads(told)["kept"] >= had
    is_the_truth(out, truth)


def begin(made: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    """`l4 reprocess`, in a process of its own."""
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(made), "--out", str(out)]
    command += ["--workers", str(workers), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def parts(out: Path) -> int:
    return len(list(out.glob("day=*/part-*/part.json")))


#: Small cuts, so that there is something to interrupt.
RUN = """
import sys
from ground.reprocess import plan, run
plan.STRETCH_OCTETS, run.MIB = 4_000, 30_000
from ground.cli import main
sys.argv = ["l4", "reprocess", *sys.argv[1:], "--part-mib", "1", "--overlap-mib", "1"]
main()
"""


def until(true: Any, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 240
    while not true():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
