"""kill -9 of each service in turn, under traffic: nothing that reached the link is lost or doubled.

Real processes, the simulated spacecraft at 60 times real time, one run for all services.  What must
come out is worked out from the capture alone, by one chain in one go.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.journal import FileJournal
from ground.archive.store import ArchiveStore
from ground.config import (
    ARCHIVE,
    BUS,
    MONITOR,
    RECEIVE,
    SERVICES,
    RunSettings,
    free_base_port,
    prepare_run_directory,
)
from ground.receive.capture import CaptureReader
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.bus.messages import (
    PacketsMessage,
    ParametersMessage,
    parse,
)
from protocols.bus.replay import parse_record
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from tests.end_to_end.site import Site


def wait_until_still(site: Site) -> None:
    """Until everybody has everything."""
    still = 0
    before: object = None

    def done() -> bool:
        nonlocal still, before
        for _ in range(9):
            site.look()
        taken = {
            name: site.status[name].counters["packets"] for name in (RECEIVE, MONITOR, ARCHIVE)
        }
        still = still + 1 if taken == before and len(set(taken.values())) == 1 else 0
        before = taken
        return still >= 4

    site.wait_for(done)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = prepare_run_directory(
        tmp_path, speed=60, base_port=free_base_port(), mission="l4_relay", snapshot_octets=1 << 20
    )
    site = Site(settings)
    yield site
    site.close()


@pytest.mark.timeout(900)
def test_each_service_killed_in_turn_loses_and_doubles_nothing(site: Site) -> None:
    for name in SERVICES:
        site.start(name)
    # Of telemetry every packet gives parameters; what is relayed gives none (test_relay.py).
    scenario = site.settings.run_dir / "telemetry.toml"
    scenario.write_text("[mars]\npresent = false\n")
    site.start_spacecraft(0, str(scenario))
    for name in (RECEIVE, MONITOR, ARCHIVE):
        site.wait_for_more(name, 300, "packets")
    for victim, counter in (
        (RECEIVE, "packets"),
        (MONITOR, "packets"),
        (ARCHIVE, "packets"),
        (BUS, "messages"),
    ):
        site.kill(victim)
        time.sleep(0.3)
        site.start(victim)
        site.wait_for_more(victim, 30, counter)
    # receive once more, so soon again that it may die while it recovers.
    site.kill(RECEIVE)
    site.start(RECEIVE)
    time.sleep(2.0)
    site.kill(RECEIVE)
    site.start(RECEIVE)
    site.wait_for_more(RECEIVE, 100, "packets")
    for name in (MONITOR, ARCHIVE):
        site.wait_for_more(name, 100, "packets")
    assert site.end("spacecraft") == 0
    wait_until_still(site)
    for name in reversed(SERVICES):
        assert site.end(name) == 0, site.logs()

    expected = packets_in_capture(site.settings)
    assert len(expected) > 3000
    assert_packets_told(site.settings, expected)
    assert_parameters_told(site.settings, expected)
    assert_archived(site.settings, expected)


def packets_in_capture(settings: RunSettings) -> PacketBatch:
    """What one chain makes of the whole capture, whose chunks are complete and each there once."""
    chain = ReceiveChain(load_profile(settings.mission))
    batches: list[PacketBatch] = []
    streams: dict[str, int] = {}
    for _position, chunk in CaptureReader(settings.capture_dir).read():
        assert chunk.sequence == streams.get(chunk.stream, -1) + 1
        streams[chunk.stream] = chunk.sequence
        batches.append(chain.push(chunk.octets, chunk.ert_ns).packets)
    assert len(streams) == 1
    packets = PacketBatch.concatenate(batches)
    packets = packets.select(~packets.is_idle)
    # The nominal scenario loses nothing on the way, so each APID's counts run without a gap:
    # this does not depend on our own chain being right.
    for apid in np.unique(packets.apid):
        counts = packets.sequence_count[packets.apid == apid].astype(np.int64)
        assert set(np.diff(counts) % 16384) <= {1}, apid
    return packets


def assert_packets_told(settings: RunSettings, expected: PacketBatch) -> None:
    told: list[PacketBatch] = []
    count = 0
    for body in bodies(settings, RECEIVE, Topic.PACKETS):
        message = parse(PacketsMessage, body)
        assert message.first_packet == count
        count += len(message.packets)
        told.append(message.packets)
    packets = PacketBatch.concatenate(told)
    assert packets.offsets.tolist() == expected.offsets.tolist()
    assert packets.octets.tobytes() == expected.octets.tobytes()
    assert packets.vcid.tolist() == expected.vcid.tolist()
    assert packets.ert_ns.tolist() == expected.ert_ns.tolist()


def assert_parameters_told(settings: RunSettings, expected: PacketBatch) -> None:
    rows = 0
    seen: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    last = -1
    for body in bodies(settings, MONITOR, Topic.PARAMETERS):
        message = parse(ParametersMessage, body)
        # Each is of the messages of receive since the one before.
        assert message.sequence > last
        assert message.first_row == rows
        last = message.sequence
        rows += message.rows
        seen += [table.packet for table in message.tables]
        # And within the message nothing is missing: its packets follow the last message's.
        together = np.sort(np.concatenate([table.packet for table in message.tables]))
        assert together.tolist() == list(range(rows - message.rows, rows))
    assert last == len(list(bodies(settings, RECEIVE, Topic.PACKETS))) - 1
    # Every packet of the nominal scenario has a definition, so every one gave its parameters once.
    assert np.sort(np.concatenate(seen)).tolist() == list(range(len(expected)))


def assert_archived(settings: RunSettings, expected: PacketBatch) -> None:
    store = ArchiveStore.open(settings.archive_file, read_only=True)
    try:
        stored = Counter(packet.octets for packet in store.packets())
    finally:
        store.close()
    assert stored == Counter(expected)


def bodies(settings: RunSettings, service: str, topic: str) -> Iterator[bytes]:
    journal = FileJournal(settings.journal_dir(service, topic))
    try:
        for record in journal.read(0, max_octets=1 << 40):
            yield parse_record(record.payload)[1]
        assert journal.damaged == 0
    finally:
        journal.close()
