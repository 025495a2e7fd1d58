"""A run with two antennas is proven from both captures: the archive is what they heard, once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.clock import ScaledClock
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.answering import Handler
from ground.archive.store import ArchiveStore
from ground.config import MONITOR, RECEIVE, RunSettings, load_settings, prepare_run_directory
from ground.ports import LinkChunk
from ground.receive import merge
from ground.receive.capture import CaptureWriter
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.recovery.audit import audit
from ground.recovery.backup import back_up, restore
from ground.recovery.repair import repair
from protocols.bus.messages import PacketsMessage, parse
from protocols.bus.replay import build_record, parse_record
from protocols.errors import LocalError
from protocols.identifiers import Topic
from spacecraft_sim.scenario import load
from spacecraft_sim.spacecraft import Spacecraft
from tests.ground.recovery.small_run import CHUNKS, START_NS, S, _archive

LATER_NS = {"a": 0, "b": 11_000_000}
#: Frames that each alone has missed.
MISSED = {"a": range(60, 90), "b": range(20, 40)}


class NoCalls:
    def turn(self, handle: Handler) -> None: ...


def hear(settings: RunSettings, antenna: str, cadus: np.ndarray, bus: LoopbackBus) -> None:
    """Its capture, and what its receiver tells."""
    chain = ReceiveChain(load_profile(settings.mission))
    heard = [n for n in range(len(cadus)) if n not in MISSED[antenna]]
    told = 0
    directory = settings.capture_of(f"{RECEIVE}.{antenna}")
    with CaptureWriter(directory, link=antenna, rotate_octets=1 << 18) as capture:
        for first in range(0, len(heard), CHUNKS):
            chunks = [
                LinkChunk(
                    antenna,
                    first + i,
                    START_NS + n * S // 8 + LATER_NS[antenna],
                    cadus[n].tobytes(),
                )
                for i, n in enumerate(heard[first : first + CHUNKS])
            ]
            capture.append(chunks)
            packets = chain.push_chunks([(c.octets, c.ert_ns) for c in chunks]).packets
            packets = packets.select(~packets.is_idle)
            if len(packets):
                stored = np.zeros(len(packets), np.bool_)
                at_ns = chunks[-1].ert_ns + S
                message = PacketsMessage(antenna, packets, stored, at_ns, told)
                bus.publish(Topic.PACKETS, message.build(), time_ns=at_ns)
                told += len(packets)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = prepare_run_directory(tmp_path_factory.mktemp("run") / "run", receivers="a,b")
    cadus = Spacecraft(load("nominal"), seed=1, start_ns=START_NS).step(START_NS + 40 * S).cadus
    exchange = LoopbackExchange()

    def bus(name: str) -> LoopbackBus:
        topics = (Topic.PACKETS, Topic.OPAQUE)
        journals = {
            str(t): FileJournal(settings.journal_dir(name, t), segment_octets=1 << 14)
            for t in topics
        }
        return LoopbackBus(name, exchange, journals)

    receivers = [bus(name) for name in settings.antenna_receivers]
    for antenna, one in zip(settings.antennas, receivers, strict=True):
        hear(settings, antenna, cadus, one)
    merging = bus(RECEIVE)
    left = iter([False] * 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "TURN_S", 0.0)
        merge.MergeService(
            *(settings.antenna_receivers, merging, ScaledClock.wall()),
            *(StateFile(settings.state_file(RECEIVE)), settings, NoCalls()),
            service=RECEIVE,
        ).run(lambda: next(left, True))
    for one in (*receivers, merging):
        one.close()
    archive(settings)
    return settings.run_dir


def archive(settings: RunSettings) -> None:
    settings.archive_file.unlink(missing_ok=True)
    journal = FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS), segment_octets=1 << 14)
    events = FileJournal(settings.journal_dir(MONITOR, Topic.EVENTS))
    _archive(settings, journal, events)
    journal.close()
    events.close()


@pytest.fixture
def run(made: Path, tmp_path: Path) -> RunSettings:
    """A copy to be damaged."""
    shutil.copytree(made, tmp_path / "run")
    return load_settings(tmp_path / "run")


def told(settings: RunSettings) -> list[PacketsMessage]:
    journal = FileJournal(settings.journal_dir(RECEIVE, Topic.PACKETS))
    try:
        records = list(journal.read(0, max_octets=1 << 40))
        return [parse(PacketsMessage, parse_record(r.payload)[1]) for r in records]
    finally:
        journal.close()


def tell(settings: RunSettings, messages: list[PacketsMessage]) -> None:
    """In the journal's place; the archive follows it."""
    directory = settings.journal_dir(RECEIVE, Topic.PACKETS)
    shutil.rmtree(directory)
    journal = FileJournal(directory, segment_octets=1 << 14)
    for message in messages:
        journal.append([build_record(0, message.build())])
    journal.close()
    archive(settings)


def test_what_the_archive_holds_is_what_both_heard_once(run: RunSettings) -> None:
    found = audit(run)
    assert found.problems == []
    # Neither antenna has heard all of it.
    assert {message.origin for message in told(run)} == {"receive.a", "receive.b"}
    assert found.counts["packets"] == found.counts["archive packets"] > 150
    assert found.counts["packets the archive will follow"] == 0
    assert repair(run, check=True).differences == []


def test_an_archive_is_made_again_of_both_captures(run: RunSettings) -> None:
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        before = sorted((p.ert_ns, p.octets) for p in store.packets())
    run.archive_file.unlink()
    assert repair(run).replaced
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        assert sorted((p.ert_ns, p.octets) for p in store.packets()) == before
    assert audit(run).problems == []


def test_without_its_journal_the_captures_give_the_same_packets(run: RunSettings) -> None:
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        before = sorted(p.octets for p in store.packets())
    shutil.rmtree(run.journal_dir(RECEIVE, Topic.PACKETS))
    run.archive_file.unlink()
    assert repair(run).replaced
    with ArchiveStore.open(run.archive_file, read_only=True) as store:
        assert sorted(p.octets for p in store.packets()) == before


def test_packets_that_were_passed_over_are_missed(run: RunSettings) -> None:
    messages = told(run)
    lost = next(n for n, m in enumerate(messages[1:], 1) if m.origin == messages[-1].origin)
    tell(run, [*messages[:lost], *messages[lost + 1 :]])
    problems = audit(run).problems
    assert any("were never told, and later ones were" in one for one in problems), problems


def test_what_was_told_twice_is_noticed(run: RunSettings) -> None:
    messages = told(run)
    first = messages[0]
    other = "receive.b" if first.origin == "receive.a" else "receive.a"
    copy_ns = LATER_NS[other[-1]] - LATER_NS[first.origin[-1]]
    packets = first.packets
    copy = PacketsMessage(
        first.link,
        type(packets).from_packets(
            list(packets), vcid=packets.vcid, ert_ns=packets.ert_ns + copy_ns
        ),
        *(first.playback, first.reception_ns, first.first_packet),
        origin=other,
        origin_journal="x",
        origin_sequence=0,
    )
    tell(run, [first, copy, *messages[1:]])
    problems = audit(run).problems
    assert any("that two antennas heard are told twice" in one for one in problems), problems


def test_what_no_capture_gives_is_noticed(run: RunSettings) -> None:
    messages = told(run)
    packets = messages[-1].packets
    parts = list(packets)
    parts[0] = parts[0][:-1] + bytes([parts[0][-1] ^ 1])
    changed = type(packets).from_packets(parts, vcid=packets.vcid, ert_ns=packets.ert_ns)
    tell(run, [*messages[:-1], replace(messages[-1], packets=changed)])
    problems = audit(run).problems
    assert any("that its capture does not give" in one for one in problems), problems


def test_a_capture_on_another_host_is_asked_for(run: RunSettings) -> None:
    shutil.rmtree(run.capture_of("receive.b"))
    with pytest.raises(LocalError, match=r"no capture of receive\.b; copy it here from 127"):
        audit(run)


def test_a_backup_has_both_captures(run: RunSettings, tmp_path: Path) -> None:
    back_up(run, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    assert audit(load_settings(tmp_path / "again")).problems == []
