"""The simulator as a process: files that come out the same, a link that outlives connections."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

from protocols.bus.link import (
    LINK_VERSION,
    Chunk,
    State,
    build_acknowledge,
    build_hello,
    build_uplink,
    parse_downlink,
)
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.coding.randomiser import randomise
from protocols.dictionary.l4 import DICTIONARY
from protocols.frames.index import index_frames
from protocols.packets.extraction import PacketExtractor
from protocols.timecodes.tai import tai_ns_from_unix_ns
from spacecraft_sim import scenario as scenarios

COMMAND = [sys.executable, "-W", "error", "-m", "spacecraft_sim"]
CADU = 4 + 1275


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120)


def test_help_names_scenarios_and_examples() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "conjunction, lost_station, nominal, optical, safe_mode, storm" in " ".join(
        done.stdout.split()
    )
    assert "examples:" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of --link, --output, --tracking, --iq is wanted"),
        (["--output", "x.cadu"], "--output, --tracking and --iq need --duration"),
        (["--output", "x.cadu", "--duration", "1", "--scenario", "nix"], "neither a file nor"),
        (["--link", "carrier-pigeon://x", "--light-time", "0"], "spacecraft_sim: "),
        (["--link", "tcp://127.0.0.1:*", "--light-time", "-4"], "0..100000 s allowed"),
        (["--link", "tcp://127.0.0.1:*", "--speed", "0"], "speed 0.0; above 0"),
    ],
)
def test_wrong_commands_are_told(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_file_output_is_whole_and_says_its_counts(tmp_path: Path) -> None:
    file = tmp_path / "some.cadu"
    done = run("--output", str(file), "--duration", "100", "--seed", "4", "--json")
    assert done.returncode == 0, done.stderr
    counts: dict[str, Any] = json.loads(done.stdout)
    octets = file.read_bytes()
    assert len(octets) == counts["octets"] == counts["frames"] * CADU
    assert counts["frames"] == -(-100 * 16_000 // (1115 * 8))
    assert hashlib.sha256(octets).hexdigest() == counts["sha256"]
    assert all(octets[at : at + 4].hex() == "1acffc1d" for at in range(0, len(octets), CADU))
    bare = tmp_path / "bare.frames"
    done = run("--output", str(bare), "--duration", "100", "--seed", "4", "--content", "frames")
    assert done.returncode == 0, done.stderr
    assert len(bare.read_bytes()) == counts["frames"] * 1115
    assert not list(tmp_path.glob("*.part"))


class Ground:
    """A client as `receive` is one, by hand."""

    def __init__(self, endpoint: str) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._endpoint = endpoint
        self.states: list[State] = []
        self.chunks: list[Chunk] = []
        self.radiated: list[RadiatedMessage] = []
        self.reconnect()

    def reconnect(self) -> None:
        if self.chunks is not None and hasattr(self, "socket"):
            self.socket.close()
        self.socket = self._context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(self._endpoint)
        resume = {self.chunks[-1].stream: self.chunks[-1].sequence} if self.chunks else {}
        self.socket.send_multipart(build_hello(LINK_VERSION, resume))

    def take(self, count: int, *, acknowledge: bool = True, within_s: float = 60.0) -> None:
        """Until so many more chunks are there."""
        wanted = len(self.chunks) + count
        end = time.monotonic() + within_s
        while len(self.chunks) < wanted:
            assert time.monotonic() < end, f"{len(self.chunks)} chunks of {wanted}"
            if not self.socket.poll(100):
                continue
            message = parse_downlink(self.socket.recv_multipart())
            if isinstance(message, State):
                self.states.append(message)
                continue
            if isinstance(message, RadiatedMessage):
                self.radiated.append(message)
                continue
            if self.chunks and message.sequence <= self.chunks[-1].sequence:
                continue
            self.chunks.append(message)
            if acknowledge:
                self.socket.send_multipart(build_acknowledge(message.stream, message.sequence))

    def close(self) -> None:
        self.socket.close()
        self._context.term()


class Simulator:
    """The process on a free port, its endpoint read from what it says."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--link", "tcp://127.0.0.1:*", *arguments], stderr=subprocess.PIPE, text=True
        )
        self.said: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if "station at " in line:
                self.endpoint = line.split("station at ")[1].split(",")[0]
                return
        pytest.fail(f"the simulator did not start: {self.said}")

    def stop(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=20)
        return self.process.returncode, rest


@pytest.fixture
def simulator(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    started = Simulator(*getattr(request, "param", ()))
    yield started
    if started.process.poll() is None:
        started.process.kill()
    started.process.communicate()


@pytest.mark.parametrize(
    "simulator", [("--speed", "200", "--light-time", "0", "--stream", "s")], indirect=True
)
def test_chunks_arrive_once_in_order_over_reconnections(simulator: Simulator) -> None:
    ground = Ground(simulator.endpoint)
    try:
        ground.take(100)
        # Taken and not acknowledged, connection lost: the resume position counts.
        ground.take(150, acknowledge=False)
        ground.reconnect()
        ground.take(300)
        assert [chunk.sequence for chunk in ground.chunks] == list(range(550))
        assert {chunk.stream for chunk in ground.chunks} == {"s"}
        assert all(len(chunk.octets) == CADU for chunk in ground.chunks)
        arrivals = [chunk.ert_ns for chunk in ground.chunks]
        gaps = {b - a for a, b in pairwise(arrivals)}
        assert gaps == {557_500_000}
        while not ground.states:
            ground.take(1)
        assert ground.states
        assert ground.states[-1].lost_chunks == 0
        assert ground.states[-1].carrier
    finally:
        ground.close()
    status, said = simulator.stop(signal.SIGTERM)
    assert status == 0
    assert "stopped" in said


def test_light_time_is_true_and_frames_are_in_flight_at_the_start(simulator: Simulator) -> None:
    """Real time: octets come at once, although light takes more than eight minutes."""
    before_ns = int(tai_ns_from_unix_ns(time.time_ns()))
    ground = Ground(simulator.endpoint)
    try:
        ground.take(20, within_s=20)
        while not ground.states:
            ground.take(1)
        assert 480 < ground.states[-1].owlt_s < 510
        # What had arrived when the simulator began is the warm-up, no older.
        assert before_ns - 60 * 10**9 < ground.chunks[0].ert_ns < before_ns + 2 * 10**9
    finally:
        ground.close()
    assert all("Warning" not in line for line in simulator.said)
    status, _ = simulator.stop(signal.SIGINT)
    assert status == 0


@pytest.mark.parametrize(
    "simulator", [("--speed", "60", "--light-time", "5", "--stream", "up")], indirect=True
)
def test_uplink_reaches_the_spacecraft_and_is_seen_two_light_times_later(
    simulator: Simulator,
) -> None:
    ground = Ground(simulator.endpoint)
    try:
        ground.take(50)
        sent_at = ground.chunks[-1].ert_ns
        message = UplinkMessage("a", "command", "command", bytes(33), 0, sent_at + 600 * 10**9)
        # Said twice, it goes up once.
        for _ in range(2):
            ground.socket.send_multipart(build_uplink(message))
        # Garbage from a client is counted, not obeyed.
        ground.socket.send_multipart([b"NOISE"])
        ground.take(700)
    finally:
        ground.close()
    cadus = np.stack([np.frombuffer(chunk.octets, np.uint8) for chunk in ground.chunks])
    frames = np.ascontiguousarray(randomise(cadus[:, 4:], "ccsds")[:, :1115])
    index = index_frames(frames, scenarios.load("nominal").downlink.frame_parameters)
    ert = np.array([chunk.ert_ns for chunk in ground.chunks], np.int64)
    packets = PacketExtractor().push(frames, index, ert).packets
    table = DICTIONARY.decode(packets).table("TRANSPONDER")
    assert table is not None
    octets = table.raw["TRX_UPLINK_OCTETS"]
    assert sorted(set(octets.tolist())) == [0, 33]
    seen = table.scet_ns[np.flatnonzero(octets == 33)[0]]
    # Sent after `sent_at` was heard, under way for 5 s; the packet comes every 4 s.
    assert seen >= sent_at + 5e9
    first = ground.radiated[0]
    assert first.start_ns >= sent_at
    assert first.end_ns == first.start_ns + 33 * 8 * 10**9 // 16_000
    assert all(fate == first for fate in ground.radiated)
    assert seen >= first.end_ns + 5 * 10**9


@pytest.mark.parametrize("suffix", ["json", "toml"])
def test_the_clock_file_sets_the_worlds_time(suffix: str, tmp_path: Path) -> None:
    origin_tai_ns = 2_300_000_000 * 10**9
    values = {"origin_tai_ns": origin_tai_ns, "origin_unix_ns": time.time_ns(), "speed": 50.0}
    file = tmp_path / f"clock.{suffix}"
    if suffix == "json":
        file.write_text(json.dumps(values))
    else:
        file.write_text("\n".join(f"{name} = {value}" for name, value in values.items()))
    simulator = Simulator("--clock-file", str(file), "--light-time", "0")
    ground = Ground(simulator.endpoint)
    try:
        ground.take(5)
        assert origin_tai_ns - 31 * 10**9 <= ground.chunks[0].ert_ns < origin_tai_ns + 2000 * 10**9
    finally:
        ground.close()
        status, _ = simulator.stop(signal.SIGTERM)
    assert status == 0


def test_a_broken_clock_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "clock.json"
    file.write_text('{"speed": 2}')
    done = run("--link", "tcp://127.0.0.1:*", "--light-time", "0", "--clock-file", str(file))
    assert done.returncode == 2
    assert "origin_tai_ns" in done.stderr
