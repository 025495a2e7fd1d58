"""The bundle log: what is committed is there after any end; segments go when they hold nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ground.adapters.bundle_log import BundleLog
from protocols.dtn.node_settings import Seen, Stored
from protocols.errors import LocalError

T0 = 2_000_000_000_000_000_000
FAR = T0 * 2


def stored(ref: int, size: int = 100) -> Stored:
    return Stored(ref, T0 + ref, ref % 3, random.Random(ref).randbytes(size))


def seen(ref: int, until_ns: int = FAR) -> Seen:
    return Seen(ref.to_bytes(16, "big"), until_ns)


def reopened(log: BundleLog, **options: object) -> BundleLog:
    log.close()
    return BundleLog(log.directory, **options)  # type: ignore[arg-type]


def test_what_was_put_is_there_again_and_what_was_removed_is_not(tmp_path: Path) -> None:
    log = BundleLog(tmp_path)
    for ref in range(1, 21):
        log.put(stored(ref))
        assert log.get(ref) == stored(ref).octets
    log.commit(T0)
    for ref in range(1, 21, 2):
        log.remove(ref, seen(ref))
    log.remove(2, None)
    log.commit(T0)
    log = reopened(log)
    assert list(log.recovered()) == [stored(ref) for ref in range(4, 21, 2)]
    assert list(log.seen(T0)) == [seen(ref) for ref in range(1, 21, 2)]
    assert list(log.seen(FAR)) == []
    assert log.next_ref == 21
    with pytest.raises(KeyError):
        log.get(1)
    log.close()


def test_octets_come_from_disk_when_memory_has_no_room_for_them(tmp_path: Path) -> None:
    log = BundleLog(tmp_path, cache_octets=1_000)
    for ref in range(1, 40):
        log.put(stored(ref, 500))
    log.commit(T0)
    assert log._cached <= 1_000
    assert [log.get(ref) for ref in range(1, 40)] == [stored(r, 500).octets for r in range(1, 40)]
    log.close()


def test_one_process_has_it(tmp_path: Path) -> None:
    log = BundleLog(tmp_path)
    with pytest.raises(LocalError, match="in use by another node"):
        BundleLog(tmp_path)
    log.close()


@pytest.mark.parametrize("cut", [1, 3, 16, 17, 40, 130])
def test_a_torn_end_is_cut_off(tmp_path: Path, cut: int) -> None:
    log = BundleLog(tmp_path)
    for ref in (1, 2, 3):
        log.put(stored(ref))
    log.commit(T0)
    log.close()
    (path,) = tmp_path.glob("*.bundles")
    os.truncate(path, path.stat().st_size - cut)
    log = BundleLog(tmp_path)
    whole = 2 if cut <= 133 else 1
    assert [one.ref for one in log.recovered()] == list(range(1, whole + 1))
    assert log.torn_octets > 0
    # What is put next stands where the torn record stood.
    log.put(stored(9))
    log.commit(T0)
    log = reopened(log)
    assert [one.ref for one in log.recovered()] == [*range(1, whole + 1), 9]
    log.close()


def test_damage_inside_is_counted_and_kept(tmp_path: Path) -> None:
    log = BundleLog(tmp_path, segment_octets=1_000)
    for ref in range(1, 31):
        log.put(stored(ref))
    log.commit(T0)
    log.close()
    first = min(tmp_path.glob("*.bundles"))
    octets = bytearray(first.read_bytes())
    octets[200] ^= 1
    first.write_bytes(octets)
    log = BundleLog(tmp_path, segment_octets=1_000)
    assert log.damaged > 0
    assert first.with_suffix(".damaged").stat().st_size == log.damaged
    refs = [one.ref for one in log.recovered()]
    assert refs[0] == 1
    assert refs[-1] == 30
    log.close()


def test_segments_go_when_their_bundles_have_gone(tmp_path: Path) -> None:
    log = BundleLog(tmp_path, segment_octets=2_000, slack_octets=10_000)
    rng = random.Random(4)
    held: set[int] = set()
    for ref in range(1, 2_001):
        log.put(stored(ref))
        held.add(ref)
        while len(held) > 20:
            gone = rng.choice(sorted(held))
            held.discard(gone)
            log.remove(gone, seen(gone, T0 + 1 if gone % 2 else FAR))
        if ref % 7 == 0:
            log.commit(T0 + 2)
        assert log.octets < 200_000
    log.commit(T0 + 2)
    assert len(list(tmp_path.glob("*.bundles"))) < 80
    log = reopened(log, segment_octets=2_000, slack_octets=10_000)
    assert list(log.recovered()) == [stored(ref) for ref in sorted(held)]
    remembered = {one.digest for one in log.seen(T0 + 2)}
    assert remembered == {
        seen(ref).digest for ref in range(1, 2_001) if ref not in held and ref % 2 == 0
    }
    log.close()


def test_identifiers_carried_on_are_bounded(tmp_path: Path) -> None:
    log = BundleLog(tmp_path, segment_octets=1_000, slack_octets=0, remembered=50)
    for ref in range(1, 501):
        log.put(stored(ref))
        log.remove(ref, seen(ref))
        log.commit(T0)
    assert len(list(log.seen(T0))) <= 120
    assert seen(500) in list(log.seen(T0))
    log.close()


def test_identifiers_outlive_their_segment_and_are_written_once(tmp_path: Path) -> None:
    options = {"segment_octets": 2_000, "slack_octets": 0, "remembered": 1_000}
    log = BundleLog(tmp_path, **options)  # type: ignore[arg-type]
    for ref in range(1, 301):
        log.put(stored(ref))
        log.remove(ref, seen(ref))
        log.commit(T0)
    log.commit(T0)
    # Each identifier once: in the file of its own segment, or still in that.
    assert log.written_octets < 300 * (17 + 16 + 100 + 17 + 24 + 100)
    assert len(list(tmp_path.glob("*.bundles"))) <= 2
    assert len(list(tmp_path.glob("*.seen"))) > 10
    log = reopened(log, **options)
    assert list(log.seen(T0)) == [seen(ref) for ref in range(1, 301)]
    log.put(stored(301))
    log = reopened(log, **options)
    assert [one.ref for one in log.recovered()] == [301]
    log.close()


def test_a_segment_stays_until_what_emptied_it_is_on_disk(tmp_path: Path) -> None:
    log = BundleLog(tmp_path, segment_octets=1_000, slack_octets=0)
    for ref in range(1, 30):
        log.put(stored(ref))
    log.commit(T0)
    first = min(tmp_path.glob("*.bundles"))
    log.put(stored(30))
    commit = log.begin_commit()
    for ref in range(1, 9):
        log.remove(ref, seen(ref))
    commit.write()
    log.end_commit(commit, T0)
    assert first.exists()
    commit = log.begin_commit()
    commit.write()
    assert not first.exists()
    log.end_commit(commit, T0)
    log = reopened(log)
    assert {one.digest for one in log.seen(T0)} == {seen(ref).digest for ref in range(1, 9)}
    assert [one.ref for one in log.recovered()] == list(range(9, 31))
    log.close()


@pytest.mark.parametrize("cut", [0, 5, 30])
def test_killed_between_identifiers_and_their_segment(tmp_path: Path, cut: int) -> None:
    log = BundleLog(tmp_path, segment_octets=1_000, slack_octets=0)
    for ref in range(1, 10):
        log.put(stored(ref))
        log.remove(ref, seen(ref))
    log.commit(T0)
    first = min(tmp_path.glob("*.bundles"))
    segment = first.read_bytes()
    log.commit(T0)
    log.close()
    # As if the file were half written, and its segment not yet deleted.
    first.write_bytes(segment)
    left = first.with_suffix(".seen")
    left.write_bytes(left.read_bytes()[: -cut or None])
    log = BundleLog(tmp_path)
    assert {one.digest for one in log.seen(T0)} == {seen(ref).digest for ref in range(1, 10)}
    assert list(log.recovered()) == []
    log.close()


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.ground.relay.test_bundle_log import *
log = BundleLog(Path(sys.argv[1]), segment_octets=5_000, slack_octets=20_000)
ref = log.next_ref
while True:
    for _ in range(5):
        log.put(stored(ref)); ref += 1
    if ref > 40:
        log.remove(ref - 40, seen(ref - 40)) if ref - 40 in log._places else None
    log.commit(T0)
    print(ref - 1, flush=True)
"""


@pytest.mark.parametrize("seed", range(4))
def test_kill_9_loses_nothing_committed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    told = 0
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parents[3])],
            stdout=subprocess.PIPE,
            text=True,
        ) as child:
            assert child.stdout is not None
            for _ in range(rng.randrange(1, 60)):
                told = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                if line.endswith("\n"):
                    told = int(line)
    log = BundleLog(tmp_path)
    found = {one.ref: one for one in log.recovered()}
    forgotten = {int.from_bytes(one.digest, "big") for one in log.seen(T0)}
    assert set(found) | forgotten >= set(range(1, told + 1))
    assert not set(found) & forgotten
    assert all(one == stored(ref) for ref, one in found.items())
    log.close()
