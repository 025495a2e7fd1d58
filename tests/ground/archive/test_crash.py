"""kill -9 at random moments: the file opens, and holds exactly what was acknowledged, once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np

from ground.archive.model import Position, TableColumns
from ground.archive.store import ArchiveStore
from protocols.packets.batch import PacketBatch

T0 = 2_170_000_000 * 10**9

#: Appends numbered batches after the stored position, and says each number when it is stored.
CHILD = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("crash", sys.argv[1])
crash = importlib.util.module_from_spec(spec)
spec.loader.exec_module(crash)
crash.child(sys.argv[2])
"""


@cache
def batch(number: int) -> tuple[PacketBatch, np.ndarray, TableColumns]:
    """Batch by number: between 1 and 40 packets, every third one late."""
    n = 1 + number * 7 % 40
    first = number * 40
    octets = [
        b"\x00\x10"
        + (0xC000 | (first + i) % 16384).to_bytes(2, "big")
        + b"\x00\x07"
        + (first + i).to_bytes(8, "big")
        for i in range(n)
    ]
    packets = PacketBatch.from_packets(octets, vcid=1, ert_ns=T0 + number)
    late = 10**12 if number % 3 == 0 else 0
    scet = T0 + (first + np.arange(n)) * 10**9 - late
    columns = {"NUMBER": np.full(n, number), "VALUE": first + np.arange(n) * 0.5}
    return packets, scet, TableColumns("P", np.arange(n), scet, columns)


def small_runs() -> None:
    """Every form of storage must occur among a few hundred batches."""
    from ground.archive import segments

    segments.TAIL_ROWS, segments.SEGMENT_ROWS, segments.FAN = 150, 400, 3


def child(where: str) -> None:
    small_runs()
    with ArchiveStore.open(where) as store:
        stored = store.position("packets", "receive")
        number = -1 if stored is None else stored.sequence
        while True:
            number += 1
            packets, scet, table = batch(number)
            with store.group():
                store.append(
                    Position("packets", "receive", "j", number),
                    packets,
                    stream="s",
                    scet_ns=scet,
                    reception_ns=number,
                    tables=[table],
                )
            if number % 20 == 19:
                store.compact(1)
            os.write(1, f"{number}\n".encode())


def test_kill_at_random_moments(tmp_path: Path):
    assert killed_again_and_again(str(tmp_path / "archive.sqlite"), 5) > 10


def killed_again_and_again(where: str, times: int) -> int:
    """The writer of an archive, and what it holds after each time; the last number stored."""
    chance = random.Random(2)
    acknowledged = -1
    for _ in range(times):
        process = subprocess.Popen(
            [sys.executable, "-c", CHILD, __file__, where], stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        # From its first word on: before, there is little to lose.
        first = process.stdout.readline()
        assert int(first) == acknowledged + 1, "nothing stored is done again, or left out"
        time.sleep(chance.random() * 0.15)
        os.kill(process.pid, signal.SIGKILL)
        said = (first + process.stdout.read()).split()
        process.wait()
        process.stdout.close()
        acknowledged = holds_what_was_said(where, int(said[-1]))
    return acknowledged


def holds_what_was_said(where: str, acknowledged: int) -> int:
    """Each batch up to the stored position, which is returned, once."""
    with ArchiveStore.open(where) as store:
        assert store.integrity().problems == ()
        position = store.position("packets", "receive")
        assert position is not None
        # The transaction may have ended without the word of it being out.
        assert acknowledged <= position.sequence <= acknowledged + 1
        numbers = range(position.sequence + 1)
        wanted = np.concatenate([batch(n)[2].columns["VALUE"] for n in numbers])
        scet = np.concatenate([batch(n)[1] for n in numbers])
        found = store.query("VALUE")
        order = np.lexsort((np.arange(len(scet)), scet))
        np.testing.assert_array_equal(found.scet_ns, scet[order])
        np.testing.assert_array_equal(found.values, wanted[order])
        octets = b"".join(packet.octets for packet in store.packets())
        assert octets == b"".join(batch(n)[0].octets.tobytes() for n in numbers)
        assert store.counters()["duplicates"] == 0
        return position.sequence
