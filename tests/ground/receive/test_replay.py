"""Replay: into sinks, at any pace, out of every container; the survey says what it settled.

Frames recorded and published by Daniel Estévez, CC BY 4.0 (see the README of the shared captures).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest

from ground.ports import LinkChunk
from ground.receive.capture import CaptureWriter
from ground.receive.chain import ReceiveChain
from ground.receive.inputs import open_input
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.replay import LONGEST_PAUSE_S, Progress, replay
from protocols.coding.randomiser import randomise
from protocols.errors import LocalError

MARS = "Mars2020__mars2020_frames.u8"
T0 = 2 * 10**18


class Collect:
    """A sink that keeps everything."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.ert_ns: list[int] = []
        self.finished = 0

    def take(self, output: ChainOutput, chain: ReceiveChain) -> None:
        assert not self.finished
        self.packets += list(output.packets)
        self.ert_ns += output.packets.ert_ns.tolist()

    def finish(self, chain: ReceiveChain) -> None:
        self.finished += 1


@pytest.fixture(scope="module")
def frames(shared: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.fromfile(shared / "captures" / MARS, np.uint8).reshape(-1, 1115)


@pytest.fixture(scope="module")
def coded(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> tuple[bytes, LinkProfile]:
    """The first 100 frames as CADUs of the L4 relay's code."""
    profile = load_profile("l4_relay", scid=168, ocf="absent")
    assert profile.coding.reed_solomon is not None
    blocks = randomise(profile.coding.reed_solomon.encode(frames[:100]), "ccsds")
    marker = np.broadcast_to(np.frombuffer(profile.coding.asm, np.uint8), (100, 4))
    return np.concatenate([marker, blocks], axis=1).tobytes(), profile


def truth_of(frames: np.ndarray[Any, np.dtype[np.uint8]], count: int) -> dict[str, Any]:
    return replay(io.BytesIO(frames[:count].tobytes()), load_profile("mars2020")).summary["vcs"]


def test_capture_cadus_and_frames_give_the_same(
    tmp_path: Path, frames: np.ndarray[Any, np.dtype[np.uint8]], coded: tuple[bytes, LinkProfile]
) -> None:
    """One stream, four containers: file, pipe, capture directory, capture file."""
    stream, _profile = coded
    wanted = truth_of(frames, 100)
    (tmp_path / "cadus.bin").write_bytes(stream)
    sizes = np.random.default_rng(1).integers(1, 3000, 100).tolist()
    with CaptureWriter(tmp_path / "capture", link="x", rotate_octets=40_000) as writer:
        at = 0
        for i, size in enumerate([*sizes, len(stream)]):
            writer.append([LinkChunk("run1", i, T0 + i, stream[at : at + size])])
            at += size
    (tmp_path / "one").mkdir()
    with CaptureWriter(tmp_path / "one", link="x") as writer:
        writer.append([LinkChunk("run1", 0, T0, stream)])
        one = writer.path
    profile_unsaid = load_profile("l4_relay", scid=168, ocf="absent")
    for source in (tmp_path / "cadus.bin", tmp_path / "capture", one, io.BytesIO(stream)):
        result = replay(source, profile_unsaid)
        assert result.summary["vcs"] == wanted
        assert result.summary["frames"] == 100
        assert "skipped" not in result.summary


def test_markers_are_found_where_nobody_said_what_it_is(
    coded: tuple[bytes, LinkProfile], frames: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    stream, _profile = coded
    flags = {"frames": "aos", "frame_length": 1115, "fecf": "present", "scid": 168}
    profile = load_profile(
        **flags, randomiser="ccsds", rs_parity=32, rs_interleave=5, content="packets"
    )
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))
    shifted = np.packbits(np.concatenate([np.ones(3, np.uint8), bits])).tobytes()
    for octets in (stream, shifted, bytes(b ^ 0xFF for b in shifted)):
        opened = open_input(io.BytesIO(octets), profile)
        assert opened.kind == "cadu"
        assert "sync markers" in opened.statement
        assert replay(io.BytesIO(octets), profile).summary["vcs"] == truth_of(frames, 100)
    # Frames that were decoded already are not taken for coded ones, though the profile has a code.
    decoded = frames[:100].tobytes()
    assert open_input(io.BytesIO(decoded), profile).kind == "frames"
    assert replay(io.BytesIO(decoded), profile).summary["vcs"] == truth_of(frames, 100)


def test_sinks_get_everything_once_and_progress_reaches_the_end(
    shared: Path, frames: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    path = shared / "captures" / MARS
    first, second = Collect(), Collect()
    seen: list[Progress] = []
    profile = load_profile("mars2020", bit_rate=8e6)
    result = replay(path, profile, ert_ns=T0, sinks=[first, second], progress=seen.append)
    assert first.packets == second.packets
    assert len(first.packets) == result.summary["vcs"]["0"]["space_packets"] == 813
    assert first.finished == second.finished == 1
    assert [p.octets for p in seen] == sorted(p.octets for p in seen)
    assert (seen[-1].octets, seen[-1].total_octets) == (frames.size, frames.size)
    assert (seen[-1].frames, seen[-1].packets) == (950, 813)
    # 8 Mbit/s: a frame lasts 1115 µs, and a packet has the time of the frame it began in.
    assert {(ert - T0) % 1_115_000 for ert in first.ert_ns} == {0}
    assert 0 <= min(first.ert_ns) - T0 < max(first.ert_ns) - T0 < 950 * 1_115_000


@pytest.mark.parametrize("pace", [1.0, 20.0])
def test_pace_waits_as_long_as_the_link_did(
    pace: float, tmp_path: Path, frames: np.ndarray[Any, np.dtype[np.uint8]]
) -> None:
    """By a clock of the test's own: nobody sleeps."""
    with CaptureWriter(tmp_path, link="x") as writer:
        for i in range(20):
            at = T0 + i * 2_000_000_000 + (3_600_000_000_000 if i >= 10 else 0)
            writer.append([LinkChunk("run1", i, at, frames[i].tobytes())])
    wall = Wall()
    sink, unpaced = Collect(), Collect()
    profile = load_profile("mars2020")
    replay(tmp_path, profile, pace=pace, sinks=[sink], sleep=wall.sleep, monotonic=wall.now)
    replay(tmp_path, profile, sinks=[unpaced])
    assert sink.packets == unpaced.packets
    # 18 steps of 2 s and one gap of an hour, which is not waited for.
    assert wall.time == pytest.approx(18 * 2.0 / pace + LONGEST_PAUSE_S)
    # Decoding that takes as long as the link leaves nothing to wait for.
    slow = Wall(step=2.0)
    replay(tmp_path, profile, pace=1.0, sleep=slow.sleep, monotonic=slow.now)
    assert slow.slept < LONGEST_PAUSE_S


class Wall:
    """A clock that goes on when somebody sleeps, and by `step` when somebody looks."""

    def __init__(self, step: float = 0.0) -> None:
        self.time = self.slept = 0.0
        self.step = step

    def now(self) -> float:
        self.time += self.step
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self.slept += seconds


def test_pace_of_a_file_follows_its_bit_rate(shared: Path) -> None:
    wall = Wall()
    profile = load_profile("mars2020", bit_rate=1e6)
    path = shared / "captures" / MARS
    replay(path, profile, pace=10.0, sleep=wall.sleep, monotonic=wall.now)
    # The last tenth of a second is given out when it begins.
    assert wall.time == pytest.approx(1059250 * 8 / 1e6 / 10, abs=0.02)
    with pytest.raises(LocalError, match="above 0"):
        replay(path, profile, pace=0)
    with pytest.raises(LocalError, match=r"no times.*--bit-rate"):
        replay(path, load_profile("mars2020"), pace=1.0)


def test_state_does_not_grow_with_the_stream(shared: Path) -> None:
    """Noise in small chunks with a time each: what the chain remembers stays within its bound."""
    noise = np.random.default_rng(3)
    chain = ReceiveChain(load_profile("l4_relay"))
    sizes: list[int] = []
    for i in range(3000):
        chain.push(noise.bytes(40), T0 + i)
        if i % 500 == 499:
            sizes.append(len(msgpack.packb(chain.snapshot())))
    # Five blocks of 1279 octets: their octets, and 9 octets for each of the times and their places.
    assert max(sizes) < 5 * 1279 + 2 * 9 * 5 * 1279 / 40 + 4000
    assert chain.statistics().counts["frames"]["frames"] < 5


def test_garbage_before_good_frames_does_not_decide_the_survey(
    frames: np.ndarray[Any, np.dtype[np.uint8]],
) -> None:
    """A few broken frames at the beginning, as real captures have them."""
    noise = np.random.default_rng(5).integers(0, 256, (5, 1115), np.uint8)
    octets = np.concatenate([noise, frames[:200]]).tobytes()
    result = replay(io.BytesIO(octets), load_profile(frame_length=1115))
    assert result.profile.scid == 168
    assert result.summary["fecf"] == "included"
    assert result.summary["crc_fail"] == 5
    assert result.summary["vcs"] == truth_of(frames, 200)
    assert any("59 of the first 64" in note for note in result.notes)
