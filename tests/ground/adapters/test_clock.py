"""The ground clock: one origin, N times as fast, never backwards."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from ground.adapters.clock import ScaledClock, open_clock_file
from ground.config import write_clock_file
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns

S = 1_000_000_000


def test_without_a_file_it_is_the_walls_time(tmp_path: Path) -> None:
    clock = open_clock_file(tmp_path / "clock.json")
    now = int(tai_ns_from_unix_ns(time.time_ns()))
    assert abs(clock.now_ns() - now) < S
    assert clock.wall_seconds(7.0) == 7.0


@pytest.mark.parametrize("speed", [0.5, 1, 60, 1000.5])
def test_all_processes_share_origin_and_speed(tmp_path: Path, speed: float) -> None:
    path = tmp_path / "clock.json"
    began = time.time_ns()
    path.write_text(
        json.dumps({"origin_tai_ns": 5000 * S, "origin_unix_ns": began - 100 * S, "speed": speed})
    )
    one, other = open_clock_file(path), open_clock_file(path)
    ahead = (other.now_ns() - one.now_ns()) / S
    assert abs(ahead) < 0.5 * speed
    elapsed = (time.time_ns() - began) / S + 100
    assert one.now_ns() / S == pytest.approx(5000 + elapsed * speed, abs=speed)
    assert one.wall_seconds(speed) == pytest.approx(1.0)


def test_it_runs_as_fast_as_it_says_and_never_backwards() -> None:
    clock = ScaledClock(0, time.time_ns(), 1000.0)
    times = [clock.now_ns() for _ in range(1000)]
    assert times == sorted(times)
    first, wall = clock.now_ns(), time.monotonic_ns()
    time.sleep(0.05)
    assert (clock.now_ns() - first) / (time.monotonic_ns() - wall) == pytest.approx(1000, rel=0.1)


def test_a_run_taken_up_again_goes_on_in_its_own_time(tmp_path: Path) -> None:
    path = tmp_path / "clock.json"
    write_clock_file(path, speed=60, origin_tai_ns=1000 * S)
    first = json.loads(path.read_text())
    write_clock_file(path, speed=60)
    assert json.loads(path.read_text()) == first
    before = open_clock_file(path).now_ns()
    write_clock_file(path, speed=2)
    after = open_clock_file(path)
    assert after.speed == 2
    assert 0 <= after.now_ns() - before < 60 * S


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"origin_tai_ns": 1, "origin_unix_ns": "x", "speed": 1}',
     '{"origin_tai_ns": 1, "origin_unix_ns": 1, "speed": 0}'],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clock.json"
    path.write_text(text)
    with pytest.raises(LocalError, match="clock"):
        open_clock_file(path)


@pytest.mark.parametrize("speed", [0, -1, 1e7])
def test_impossible_speeds_are_refused(tmp_path: Path, speed: float) -> None:
    with pytest.raises(LocalError, match="speed"):
        write_clock_file(tmp_path / "clock.json", speed=speed)
