"""The link's thread captures and acknowledges whatever the decoder does, which misses nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ground.adapters.loopback import LoopbackLink, LoopbackStation
from ground.ports import LinkChunk
from ground.receive.capture import CapturedChunk, CaptureReader, CaptureWriter
from ground.receive.intake import Intake

#: Rotates after a few dozen chunks.
FILE_OCTETS = 1 << 15


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def _begin(directory: Path, link: LoopbackLink, held_octets: int) -> Intake:
    writer = CaptureWriter(directory, link="downlink", rotate_octets=FILE_OCTETS)
    link.open(dict(writer.resume))
    intake = Intake(link, writer, CaptureReader(directory), sync=True, held_octets=held_octets)
    intake.start()
    return intake


def _put(station: LoopbackStation, count: int, chance: random.Random) -> list[bytes]:
    octets = [chance.randbytes(chance.choice([1, 300, 1279, 4000])) for _ in range(count)]
    for number, some in enumerate(octets):
        station.put(some, ert_ns=number)
    return octets


def _drained(intake: Intake) -> list[CapturedChunk]:
    found: list[CapturedChunk] = []
    while intake.behind_octets:
        found += intake.take(0.01)
    return found


def test_a_decoder_that_takes_nothing_does_not_hold_up_the_link(tmp_path: Path) -> None:
    station = LoopbackStation("run")
    intake = _begin(tmp_path, LoopbackLink("downlink", station), held_octets=5000)
    octets = _put(station, 300, random.Random(1))
    _until(lambda: not station.held)
    _until(lambda: intake.behind_octets == sum(map(len, octets)))
    intake.stop()
    assert [c.chunk.octets for c in _drained(intake)] == octets
    assert intake.take(0) == []


@pytest.mark.parametrize("held_octets", [0, 5000, 1 << 20])
def test_each_chunk_comes_once_and_in_order_however_the_two_threads_run(
    tmp_path: Path, held_octets: int
) -> None:
    chance = random.Random(held_octets)
    station = LoopbackStation("run")
    intake = _begin(tmp_path, LoopbackLink("downlink", station), held_octets)
    sent: list[bytes] = []
    taken: list[CapturedChunk] = []
    for _ in range(60):
        sent += _put(station, chance.randrange(12), chance)
        if chance.random() < 0.3:
            _until(lambda: not station.held)
        if chance.random() < 0.6:
            taken += intake.take(0.001)
    _until(lambda: not station.held)
    intake.stop()
    taken += _drained(intake)
    assert [chunk.octets for _, chunk in taken] == sent
    # Positions are those that a reader of the capture finds, whichever way the chunks came.
    assert taken == list(CaptureReader(tmp_path).read())
    assert taken[-1].position.file > 1


class _FullDisk(LoopbackLink):
    def receive(self, timeout_s: float) -> list[LinkChunk]:
        if self._counts["chunks_in"]:
            raise OSError("no space left on device")
        return super().receive(timeout_s)


def test_what_ends_the_link_s_thread_is_raised_behind_what_it_captured(tmp_path: Path) -> None:
    station = LoopbackStation("run")
    octets = _put(station, 5, random.Random(3))
    intake = _begin(tmp_path, _FullDisk("downlink", station), 1 << 20)
    taken: list[CapturedChunk] = []
    while len(taken) < len(octets):
        taken += intake.take(1)
    with pytest.raises(OSError, match="no space"):
        intake.take(30)
    assert [chunk.octets for _, chunk in taken] == octets
    intake.stop()


def test_following_a_capture_goes_on_where_it_ended(tmp_path: Path) -> None:
    chance = random.Random(5)
    with CaptureWriter(tmp_path, link="downlink", rotate_octets=FILE_OCTETS) as writer:
        reading = CaptureReader(tmp_path).follow()
        assert next(reading) is None
        number = 0
        for _ in range(40):
            chunks = [
                LinkChunk("run", number + i, number, chance.randbytes(1500))
                for i in range(chance.randrange(1, 5))
            ]
            number += len(chunks)
            written = writer.append(chunks)
            found = [next(reading) for _ in chunks]
            assert found == written
            assert next(reading) is None
    assert writer.position.file > 1
