"""The file journal: torn writes, damage, retention, and kill -9."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ground.adapters.journal import HEADER_OCTETS, SEGMENT_HEADER, FileJournal
from protocols.errors import LocalError


def read_all(journal: FileJournal, sequence: int = 0) -> list[tuple[int, bytes]]:
    return [(r.sequence, r.payload) for r in journal.read(sequence, max_octets=1 << 30)]


def test_a_file_cut_at_any_octet_keeps_every_whole_record(tmp_path: Path) -> None:
    payloads = [b"", b"a", b"bcd" * 9, bytes(40), b"end"]
    whole = FileJournal(tmp_path / "whole")
    whole.append(payloads)
    whole.close()
    octets = (tmp_path / "whole" / f"{0:020d}.journal").read_bytes()
    ends = [SEGMENT_HEADER.size]
    for payload in payloads:
        ends.append(ends[-1] + HEADER_OCTETS + len(payload))
    assert ends[-1] == len(octets)

    directory = tmp_path / "cut"
    directory.mkdir()
    (directory / "identity").write_text((tmp_path / "whole" / "identity").read_text())
    segment = directory / f"{0:020d}.journal"
    for cut in range(len(octets) + 1):
        segment.write_bytes(octets[:cut])
        journal = FileJournal(directory)
        kept = sum(end <= cut for end in ends[1:])
        assert journal.next_sequence == kept, cut
        assert [payload for _, payload in read_all(journal)] == payloads[:kept]
        assert journal.torn_octets == cut - max([0, *(end for end in ends if end <= cut)])
        # It goes on, and what is appended is there the next time.
        assert journal.append([b"new"]) == kept
        journal.close()
        again = FileJournal(directory)
        assert read_all(again)[-1] == (kept, b"new")
        assert again.torn_octets == 0
        again.close()


@pytest.mark.parametrize("tail", [bytes(100), b"\xff" * 100, b"\x00\x00\x00\x04" + bytes(20)])
def test_a_tail_that_is_no_record_is_cut_off_and_kept_aside(tmp_path: Path, tail: bytes) -> None:
    journal = FileJournal(tmp_path)
    journal.append([b"one", b"two"])
    journal.close()
    with (tmp_path / f"{0:020d}.journal").open("ab") as file:
        file.write(tail)
    journal = FileJournal(tmp_path)
    assert journal.next_sequence == 2
    assert journal.torn_octets == len(tail)
    assert (tmp_path / f"{0:020d}.torn").read_bytes() == tail
    journal.close()


def test_a_record_repeated_after_itself_is_not_taken_for_the_next(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    journal.append([b"one"])
    journal.close()
    path = tmp_path / f"{0:020d}.journal"
    with path.open("ab") as file:
        file.write(path.read_bytes()[SEGMENT_HEADER.size :])
    journal = FileJournal(tmp_path)
    assert journal.next_sequence == 1
    journal.close()


def test_every_flipped_bit_in_an_older_segment_is_seen(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, segment_octets=120)
    journal.append([b"first" * 4])
    journal.append([b"second" * 4])
    journal.append([b"third" * 20])
    journal.close()
    path = min(tmp_path.glob("*.journal"))
    octets = path.read_bytes()
    for bit in range(SEGMENT_HEADER.size * 8, len(octets) * 8):
        damaged = bytearray(octets)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        journal = FileJournal(tmp_path, segment_octets=120)
        read = read_all(journal)
        # Nothing wrong is given out, and what follows in other segments is.
        assert set(read) < {(0, b"first" * 4), (1, b"second" * 4), (2, b"third" * 20)}
        assert (2, b"third" * 20) in read
        assert journal.damaged == 1
        journal.close()


def test_retention_forgets_the_oldest_segments_and_never_the_last_record(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path, segment_octets=1000, retain_octets=3000)
    for i in range(100):
        journal.append([bytes([i]) * 300])
        assert journal.octets <= 3000 + 1000
        last = journal.last()
        assert last is not None
        assert last.sequence == i
    assert journal.first_sequence > 80
    assert [sequence for sequence, _ in read_all(journal, 5)] == list(
        range(journal.first_sequence, 100)
    )
    first = journal.first_sequence
    journal.close()
    journal = FileJournal(tmp_path, segment_octets=1000, retain_octets=3000)
    assert (journal.first_sequence, journal.next_sequence) == (first, 100)
    journal.close()


def test_what_somebody_needs_is_kept_beyond_that_and_to_an_end(tmp_path: Path) -> None:
    bounds = {"segment_octets": 1000, "retain_octets": 3000, "most_octets": 20_000}
    # The last of the disk is for what comes off the link.
    full = FileJournal(tmp_path / "full", **bounds, reserve_octets=1 << 62)
    full.needed = 0
    for i in range(40):
        full.append([bytes([i]) * 300])
    assert full.octets <= 3000 + 1000
    full.close()
    journal = FileJournal(tmp_path / "kept", **bounds, reserve_octets=0)
    journal.needed = 7
    for i in range(40):
        journal.append([bytes([i]) * 300])
    assert journal.first_sequence <= 7
    # What was handed over last may not be finished: never to the very record.
    journal.needed = 35
    for i in range(3):
        journal.append([bytes([i]) * 300])
    assert 25 < journal.first_sequence <= 33
    # Whoever does not come back does not fill the disk.
    for i in range(100):
        journal.append([bytes([i]) * 300])
        assert journal.octets <= 20_000 + 1000
    assert journal.first_sequence > 35
    journal.close()


def test_a_journal_has_one_owner(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path)
    with pytest.raises(LocalError, match="another process"):
        FileJournal(tmp_path)
    journal.close()
    FileJournal(tmp_path).close()


def test_a_segment_of_another_journal_is_refused(tmp_path: Path) -> None:
    one, other = FileJournal(tmp_path / "one"), FileJournal(tmp_path / "other")
    one.append([b"x"])
    one.close()
    other.close()
    name = f"{0:020d}.journal"
    (tmp_path / "other" / name).write_bytes((tmp_path / "one" / name).read_bytes())
    with pytest.raises(LocalError, match="does not belong"):
        FileJournal(tmp_path / "other")


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path: Path) -> None:
    import resource

    journal = FileJournal(tmp_path)
    journal.append([b"before"])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(OSError, match="large"):
            journal.append([bytes(500), bytes(5000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.append([b"after"]) == 1
    assert read_all(journal) == [(0, b"before"), (1, b"after")]
    journal.close()
    journal = FileJournal(tmp_path)
    assert read_all(journal) == [(0, b"before"), (1, b"after")]
    journal.close()


WRITER = """
import sys
from pathlib import Path
from ground.adapters.journal import FileJournal
journal = FileJournal(Path(sys.argv[1]), segment_octets=20_000)
number = journal.next_sequence
while True:
    journal.append([number.to_bytes(4, "big") * (1 + number % 300)] * 1)
    number += 1
    # Told to the world after it is in the journal: from then on it must never be missing.
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def test_kill_9_loses_nothing_that_was_told(tmp_path: Path) -> None:
    chance = random.Random(4)
    for _round in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(chance.uniform(0.01, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        told = int(process.stdout.read().split(b"\n")[-2])
        process.stdout.close()
        process.wait()
        journal = FileJournal(tmp_path, segment_octets=20_000)
        assert journal.next_sequence >= told
        records = read_all(journal)
        assert [sequence for sequence, _ in records] == list(range(journal.next_sequence))
        assert all(
            payload == sequence.to_bytes(4, "big") * (1 + sequence % 300)
            for sequence, payload in records
        )
        journal.close()


def test_after_a_power_failure_what_is_sound_has_another_identity(tmp_path: Path) -> None:
    here, lost = tmp_path / "here", tmp_path / "lost"
    journal = FileJournal(here, segment_octets=120)
    journal.append([bytes([i]) * 40 for i in range(5)])
    kept = read_all(journal)
    # As the disk may have it: a record is torn, and nobody closed the journal.
    shutil.copytree(here, lost)
    last = max(lost.glob("*.journal"))
    os.truncate(last, last.stat().st_size - 1)
    (lost / "open").write_text("another boot")
    again = FileJournal(lost, segment_octets=120)
    assert again.identity != journal.identity
    assert read_all(again) == kept[:-1]
    assert again.append([b"new"]) == 4
    again.close()
    # Closed, or killed in the same boot, it is the same journal.
    for _ in range(2):
        same = FileJournal(lost, segment_octets=120)
        assert same.identity == again.identity
        assert read_all(same) == [*kept[:-1], (4, b"new")]
        fcntl.flock(same._lock, fcntl.LOCK_UN)
    journal.close()
    assert FileJournal(here).identity == journal.identity
