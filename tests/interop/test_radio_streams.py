"""Radio adapters against other people's programs: GNU Radio, the sigmf package, an rtl_tcp of the
protocol's description that shares no code with ours."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import sigmf

from ground.adapters.radio.adapter import Block, State
from ground.adapters.radio.recording import record
from ground.adapters.radio.registry import open_adapter
from ground.adapters.radio.rtl_tcp import RtlTcpAdapter
from protocols.physical.rtl_tcp import Command

PATIENCE_S = 30.0


def take(adapter, octets: int) -> bytes:
    found: list[Block] = []
    deadline = time.monotonic() + PATIENCE_S
    while sum(len(block.octets) for block in found) < octets:
        assert time.monotonic() < deadline, adapter.statistics()
        found += adapter.receive(0.1)
    return b"".join(block.octets for block in found)


# ---------------------------------------------------------------- GNU Radio

SYSTEM_PYTHON = "/usr/bin/python3"
#: Sends a file's samples through a ZMQ sink once somebody listens; or writes what a source takes.
FLOW = """
import os, sys, time
from gnuradio import blocks, gr, zeromq
what, address, path, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
flow = gr.top_block()
size = gr.sizeof_gr_complex
if what == "pull":
    file = blocks.file_sink(size, path)
    file.set_unbuffered(True)
    flow.connect(zeromq.pull_source(size, 1, address), file)
else:
    sink = {"pub": zeromq.pub_sink, "push": zeromq.push_sink}[what](size, 1, address)
    flow.connect(blocks.file_source(size, path), sink)
print("ready", flush=True)
if what != "pull":
    sys.stdin.readline()
flow.start()
if what == "pull":
    # A ZMQ source never ends, nor does a head behind it.
    while os.path.getsize(path) < count * size:
        time.sleep(0.05)
    flow.stop()
flow.wait()
if what != "pull":
    sys.stdin.readline()
"""


def gnu_radio(module: str = "zeromq") -> None:
    found = shutil.which(SYSTEM_PYTHON) and subprocess.run(
        [SYSTEM_PYTHON, "-c", f"from gnuradio import {module}"], capture_output=True, check=False
    )
    if not found or found.returncode:
        pytest.skip("program gnuradio (python3 module) is missing")


@pytest.fixture
def samples(tmp_path: Path) -> tuple[Path, bytes]:
    octets = np.random.default_rng(1).normal(size=2 * 50_000).astype("<f4").tobytes()
    path = tmp_path / "samples.cf32"
    path.write_bytes(octets)
    return path, octets


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def flow(what: str, port: int, path: Path, count: int = 0) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [SYSTEM_PYTHON, "-c", FLOW, what, f"tcp://127.0.0.1:{port}", str(path), str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


@pytest.mark.parametrize(("sink", "pattern"), [("pub", "sub"), ("push", "pull")])
def test_samples_of_gnu_radio_come_bit_for_bit(
    sink: str, pattern: str, samples: tuple[Path, bytes]
) -> None:
    gnu_radio()
    path, octets = samples
    port = free_port()
    with flow(sink, port, path) as sender:
        with open_adapter(f"zmq-iq://127.0.0.1:{port}?pattern={pattern}&rate=1e6") as adapter:
            assert adapter.wait_until(State.RUNNING, timeout_s=PATIENCE_S)
            time.sleep(1)  # PUB drops until the subscription has arrived, and nobody can see it
            assert sender.stdin is not None
            sender.stdin.write("go\n")
            sender.stdin.flush()
            assert take(adapter, len(octets)) == octets
            sender.stdin.write("end\n")
            sender.stdin.flush()
        assert sender.wait(PATIENCE_S) == 0


def test_gnu_radio_takes_our_samples_bit_for_bit(
    tmp_path: Path, samples: tuple[Path, bytes]
) -> None:
    gnu_radio()
    _, octets = samples
    port, out, back = free_port(), free_port(), tmp_path / "back.cf32"
    uri = f"zmq-iq://127.0.0.1:{port}?bind=yes&out=127.0.0.1:{out}"
    with flow("pull", out, back, len(octets) // 8) as receiver, open_adapter(uri) as adapter:
        assert adapter.wait_until(State.RUNNING, timeout_s=PATIENCE_S)
        for at in range(0, len(octets), 8000):
            deadline = time.monotonic() + PATIENCE_S
            while not adapter.send(octets[at : at + 8000]):
                assert time.monotonic() < deadline
                time.sleep(0.01)
        assert receiver.wait(PATIENCE_S) == 0
    assert back.read_bytes() == octets


# ---------------------------------------------------------------- rtl_tcp


class RtlTcpServer:
    """As librtlsdr's rtl_tcp.c: 12 octets of header, samples without an end, commands of 5 octets;
    all numbers are big-endian."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.commands: list[tuple[int, int]] = []
        self.samples = np.arange(2 * 100_000, dtype=np.uint8).tobytes()
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        client = self._listener.accept()[0]
        reader = threading.Thread(target=self._read, args=(client,), daemon=True)
        self._threads.append(reader)
        reader.start()
        client.sendall(struct.pack(">4sII", b"RTL0", 5, 29))
        # Cut anywhere, between I and Q as well.
        for at in range(0, len(self.samples), 777):
            client.sendall(self.samples[at : at + 777])
        reader.join()
        client.close()

    def _read(self, client: socket.socket) -> None:
        rest = b""
        while octets := client.recv(1000):
            rest += octets
            while len(rest) >= 5:
                self.commands.append(struct.unpack(">BI", rest[:5]))
                rest = rest[5:]

    def close(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE_S)
        self._listener.close()


@pytest.fixture
def server() -> Iterator[RtlTcpServer]:
    started = RtlTcpServer()
    yield started
    started.close()


def test_an_rtl_tcp_server_is_set_up_and_read(server: RtlTcpServer) -> None:
    uri = f"rtl-tcp://127.0.0.1:{server.port}?rate=2400000&freq=137.1e6&gain=29.7&ppm=-3"
    with open_adapter(uri) as adapter:
        assert take(adapter, len(server.samples)) == server.samples
        assert isinstance(adapter, RtlTcpAdapter)
        assert adapter.dongle is not None
        assert (adapter.dongle.tuner_name, adapter.dongle.gains) == ("R820T", 29)
        assert adapter.signal is not None
        assert (adapter.signal.format.name, adapter.signal.sample_rate_hz) == ("cu8", 2.4e6)
        assert adapter.tune(Command.FREQUENCY, 137_912_500)
        deadline = time.monotonic() + PATIENCE_S
        while (0x01, 137_912_500) not in server.commands:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    # rtl_tcp.c: 1 frequency, 2 rate, 3 manual gain, 4 gain in tenths, 5 ppm, 8 AGC, 14 bias tee.
    assert server.commands[:-1] == [
        (0x02, 2_400_000),
        (0x01, 137_100_000),
        (0x05, 2**32 - 3),
        (0x03, 1),
        (0x08, 0),
        (0x0E, 0),
        (0x04, 297),
    ]


def test_who_is_no_rtl_tcp_is_said() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        client = listener.accept()[0]
        client.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        client.close()

    thread = threading.Thread(target=greet, daemon=True)
    thread.start()
    with open_adapter(f"rtl-tcp://127.0.0.1:{listener.getsockname()[1]}") as adapter:
        assert adapter.wait_until(State.WAITING, timeout_s=PATIENCE_S)
        assert "no rtl_tcp: it begins 53 53 48" in adapter.statistics().detail
    thread.join()
    listener.close()


# ---------------------------------------------------------------- SigMF


def test_what_is_recorded_is_read_by_the_sigmf_package(
    tmp_path: Path, server: RtlTcpServer
) -> None:
    path = tmp_path / "pass.sigmf-meta"
    uri = f"rtl-tcp://127.0.0.1:{server.port}?rate=2400000&freq=137.1e6"
    seen = 0

    def enough() -> bool:
        return seen >= len(server.samples)

    def progress(told) -> None:
        nonlocal seen
        seen = told.statistics.octets_in

    report = record(uri, path, stop=enough, progress=progress, description="a test")
    assert (report["units"], report["unit"]) == (len(server.samples) // 2, "samples")
    theirs = sigmf.fromfile(str(path))
    theirs.validate()
    assert theirs.get_global_field("core:datatype") == "cu8"
    assert theirs.get_global_field("core:sample_rate") == 2.4e6
    assert theirs.get_captures()[0]["core:frequency"] == 137.1e6
    codes = np.rint(theirs.read_samples().view(np.float32) * 128 + 128).astype(np.uint8)
    assert codes.tobytes() == server.samples
    with open_adapter(f"sigmf:{path}") as adapter:
        assert take(adapter, len(server.samples)) == server.samples
