"""A service whose link gives I/Q samples: raw samples are let go of, packets are not."""

from __future__ import annotations

import itertools
from pathlib import Path

from ground.adapters.clock import ScaledClock
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange, LoopbackLink, LoopbackStation
from ground.adapters.state_file import StateFile
from ground.config import RunSettings
from ground.ports import LinkChunk
from ground.receive.capture import CaptureReader
from ground.receive.sample_chain import SampleChain
from ground.receive.service import ReceiveService
from protocols.bus.messages import PacketsMessage, RadioMessage, parse
from protocols.bus.replay import parse_record
from protocols.identifiers import Topic
from tests.ground.receive.test_sample_chain import chunks, profile, wave

KEPT = 3 << 18


class SlowLink(LoopbackLink):
    """Gives a few chunks at a time, as a radio does."""

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        held = self._station.held
        later = [held.pop() for _ in range(len(held) - 3)]
        chunks = super().receive(0)
        held.extend(reversed(later))
        return chunks


def run(
    settings: RunSettings, station: LoopbackStation, some: list[tuple[bytes, int]]
) -> list[RadioMessage]:
    """Until the station has nothing left; what was said of the radio."""
    for octets, ert_ns in some:
        station.put(octets, ert_ns=ert_ns)
    directory = settings.journal_dir("receive", Topic.PACKETS)
    journals = {
        Topic.PACKETS: FileJournal(directory),
        Topic.OPAQUE: FileJournal(settings.journal_dir("receive", Topic.OPAQUE)),
    }
    exchange = LoopbackExchange()
    bus = LoopbackBus("receive", exchange, journals)
    viewer = LoopbackBus("test", exchange, {})
    viewer.subscribe(Topic.RADIO)
    turns = itertools.count()
    ReceiveService(
        profile(),
        SlowLink("downlink", station),
        bus,
        ScaledClock.wall(),
        StateFile(settings.state_file("receive")),
        settings,
    ).run(lambda: next(turns) > 10_000 or not station.held)
    heard = [parse(RadioMessage, message.body) for message in viewer.receive(0)]
    bus.close()
    viewer.close()
    return heard


def told(settings: RunSettings) -> list[bytes]:
    journal = FileJournal(settings.journal_dir("receive", Topic.PACKETS))
    try:
        messages = [
            parse(PacketsMessage, parse_record(record.payload)[1])
            for record in journal.read(0, max_octets=1 << 30)
        ]
    finally:
        journal.close()
    counts = [0, *itertools.accumulate(len(message.packets) for message in messages)]
    assert [message.first_packet for message in messages] == counts[:-1]
    return [packet for message in messages for packet in message.packets]


def test_old_samples_go_and_a_snapshot_lost_with_them_costs_no_packet(tmp_path: Path) -> None:
    samples, rate = wave(6.0)
    parts = chunks(samples, rate, 2_500)
    settings = RunSettings(
        tmp_path,
        capture_octets=1 << 16,
        snapshot_octets=1 << 16,
        keep_samples_octets=KEPT,
        sync=False,
    )
    station = LoopbackStation("pass")

    heard = run(settings, station, parts[:-60])
    assert heard[-1].symbol_lock
    assert heard[-1].receiver == "downlink"
    assert len(heard[-1].spectrum) == 512
    files = CaptureReader(settings.capture_dir).files()
    assert files[0][0] > 0
    assert KEPT // 2 < sum(path.stat().st_size for _, path in files) < KEPT + (1 << 18)
    whole = SampleChain(profile())
    expected = whole.push_chunks(parts).packets
    expected = list(expected.select(~expected.is_idle))
    assert 0 < len(told(settings)) < len(expected)
    # Ended, started again: as if nothing had been.  And then without its snapshot.
    run(settings, station, parts[-60:-40])
    settings.state_file("receive").unlink()
    run(settings, station, parts[-40:])
    assert told(settings) == expected
