"""`l4 radio`, as it is typed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ground.adapters.radio import datagrams
from ground.adapters.radio.adapter import Block, Signal
from ground.adapters.radio.registry import schemes
from ground.adapters.radio.sigmf_file import SigMFWriter, read_recording
from ground.adapters.radio.udp import UdpAdapter, free_udp_address
from ground.cli import app
from protocols.errors import LocalError
from protocols.physical.samples import sample_format

FRAMES = bytes(range(250)) * 4


def l4(*words: str) -> Result:
    return CliRunner().invoke(app, ["radio", *words])


@pytest.fixture
def frames(tmp_path: Path) -> str:
    path = tmp_path / "frames.u8"
    path.write_bytes(FRAMES)
    return f"file:{path}?frame_length=250"


def test_adapters_and_their_options_are_listed() -> None:
    listed = json.loads(l4("adapters", "--json").stdout)
    assert [each["adapter"] for each in listed] == schemes()
    assert all(each["summary"] and each["address"] and not each["why_not"] for each in listed)
    assert "frame_length" in l4("adapters", "udp").stdout
    options = json.loads(l4("adapters", "rtl-tcp", "--json").stdout)
    assert {"option": "rate", "default": "2048000", "help": "samples a second"} in options


def test_probe_says_what_comes(frames: str) -> None:
    found = l4("probe", frames, "--seconds", "0.5", "--json")
    assert found.exit_code == 0
    report = json.loads(found.stdout)
    assert (report["blocks"], report["octets"], report["block_lengths"]) == (4, 1000, [250])
    assert report["begins"] == bytes(range(16)).hex(" ")


def test_probe_of_samples_says_how_strong_they_are(tmp_path: Path) -> None:
    path = tmp_path / "x.sigmf-meta"
    writer = SigMFWriter(path, Signal(sample_format("ci8"), 1e6, 1e9))
    writer.write([Block(bytes([64, 0]) * 1000, 1000)])
    writer.close()
    found = l4("probe", f"sigmf:{path}", "--seconds", "0.5")
    assert found.exit_code == 0, found.exception
    # Half of full scale.
    assert "level db        -6.02" in found.stdout
    assert "sample rate hz  1,000,000" in found.stdout


def test_probe_of_nobody_is_not_well() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{nobody.getsockname()[1]}"
        found = l4("probe", address, "--seconds", "0.2")
    assert found.exit_code == 1
    assert "refused" in found.stdout


def test_octets_are_recorded_and_nothing_is_written_over(frames: str, tmp_path: Path) -> None:
    out = tmp_path / "out.u8"
    found = l4("record", frames, "-o", str(out), "--json")
    assert found.exit_code == 0
    assert out.read_bytes() == FRAMES
    assert json.loads(found.stdout)["files"] == [str(out)]
    again = l4("record", frames, "-o", str(out))
    assert isinstance(again.exception, LocalError)
    assert "is there already" in str(again.exception)
    assert l4("record", frames, "-o", str(out), "--replace").exit_code == 0


def test_samples_want_a_name_of_sigmf(tmp_path: Path) -> None:
    found = l4("record", "rtl-tcp://127.0.0.1:1", "-o", str(tmp_path / "x.raw"))
    assert "NAME.sigmf-meta" in str(found.exception)


def test_the_contract_is_run_by_name() -> None:
    found = l4("test", "loopback", "--json")
    assert found.exit_code == 0
    report = json.loads(found.stdout)
    assert report["ok"]
    assert {check["outcome"] for check in report["checks"]} == {"passed", "not run"}
    assert isinstance(l4("test", "no-such-radio").exception, LocalError)


@pytest.fixture
def sender() -> Iterator[tuple[str, int]]:
    """Datagrams of 100 octets, again and again."""
    address = free_udp_address()
    ended = threading.Event()

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            while not ended.wait(0.002):
                own.sendto(bytes(100), address)

    thread = threading.Thread(target=send)
    thread.start()
    yield address
    ended.set()
    thread.join()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_recording_that_is_ended_or_killed_is_there(
    how: signal.Signals, sender: tuple[str, int], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    host, port = sender
    command = ["radio", "record", f"udp://{host}:{port}", "-o", str(out), "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "ground.cli", *command], stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not out.exists() or out.stat().st_size < 1000:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, how)
        told, _ = process.communicate(timeout=30)
    size = out.stat().st_size
    assert size % 100 == 0
    if how is signal.SIGKILL:
        assert process.returncode == -how
    else:
        assert process.returncode == 0
        assert json.loads(told)["octets"] == size


def test_a_recording_is_whole_at_any_instant(tmp_path: Path) -> None:
    """Read while it is written: what stands in the metadata, the data has."""
    path = tmp_path / "x.sigmf-meta"
    writer = SigMFWriter(path, Signal(sample_format("cu8"), 1e6, 1e9))
    assert read_recording(path)[0].sample_rate_hz == 1e6
    writer.write([Block(bytes(20), 1000), Block(bytes(20), 2000, lost=5)])
    recording, data = read_recording(path)
    segments = [(each.start, each.index, each.ert_ns) for each in recording.segments]
    assert segments == [(0, 0, 1000), (10, 15, 2000)]
    assert data.stat().st_size == 40
    writer.retune(Signal(sample_format("cu8"), 1e6, 2e9))
    writer.write([Block(bytes(2), 3000)])
    with pytest.raises(LocalError, match="ci8 at 1e"):
        writer.retune(Signal(sample_format("ci8"), 1e6, 2e9))
    writer.close()
    segments = read_recording(path)[0].segments
    assert [(s.centre_hz, s.ert_ns) for s in segments] == [(1e9, 1000), (1e9, 2000), (2e9, 3000)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what a socket has dropped")
def test_what_the_kernel_dropped_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagrams, "BUFFER_OCTETS", 20_000)
    host, port = free_udp_address()
    adapter = UdpAdapter(f"udp://{host}:{port}")
    # Not opened: nobody reads while it is flooded.
    adapter.connect()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        for _ in range(500):
            own.sendto(bytes(1000), (host, port))
        results = []
        while found := adapter.read(0.05):
            results += found
        # What was dropped after the last that came, the next one says.
        own.sendto(bytes(1000), (host, port))
        results += adapter.read(1)
    adapter.disconnect()
    blocks = [result for result in results if isinstance(result, Block)]
    lost = sum(result.count for result in results if not isinstance(result, Block))
    assert lost > 0
    assert len(blocks) + lost == 501
