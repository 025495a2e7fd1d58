"""A bundle's way from the orbiter of Mars to its mission centre, through the real processes.

The ground's relay and the receiver are killed on the way.  What the payload has forgotten, because
it was told that it had arrived, must be in the journal; and nothing must be there twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ground.adapters.journal import FileJournal
from ground.config import (
    BUS,
    MISSION_CENTRE,
    RECEIVE,
    RELAY,
    free_base_port,
    prepare_run_directory,
)
from protocols.bus.messages import (
    BundlesMessage,
    DeliveredBundle,
    PacketsMessage,
    RadiatedMessage,
    UplinkMessage,
    parse,
)
from protocols.bus.replay import parse_record
from protocols.dictionary.l4 import DICTIONARY
from protocols.dtn.bundle import parse_bundle
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from tests.end_to_end.site import Site

#: Mars as in the nominal scenario, talking faster so that there is something to be lost.
SCENARIO = """
[mars]
science_period_s = 5
science_octets = 1_000
bulletin_period_s = 60
[[mars.storm]]
start_s = -400
rise_s = 60
shock_s = 1e6
"""


class RelaySite(Site):
    """With what the way up was asked and what became of it."""

    @property
    def asked(self) -> list[UplinkMessage]:
        return [parse(UplinkMessage, m.body) for m in self.messages if m.topic == Topic.UPLINK]

    @property
    def radiated(self) -> list[RadiatedMessage]:
        return [parse(RadiatedMessage, m.body) for m in self.messages if m.topic == Topic.RADIATED]

    def wait_for_bundles(self, more: int) -> None:
        """Until this very relay has delivered so many more."""
        self.wait_for_more(MISSION_CENTRE, more, "bundles")

    def bodies(self, service: str, topic: str) -> Iterator[bytes]:
        journal = FileJournal(self.settings.journal_dir(service, topic))
        try:
            for record in journal.read(0, max_octets=1 << 40):
                yield parse_record(record.payload)[1]
            assert journal.damaged == 0
        finally:
            journal.close()

    def delivered(self) -> list[DeliveredBundle]:
        found: list[DeliveredBundle] = []
        for body in self.bodies(MISSION_CENTRE, Topic.BUNDLES):
            message = parse(BundlesMessage, body)
            assert message.first_bundle == len(found)
            found += message.bundles
        return found

    def forwarded(self) -> list[int]:
        """How many bundles the payload knew to have arrived, as its telemetry says."""
        batches = [
            parse(PacketsMessage, body).packets for body in self.bodies(RECEIVE, Topic.PACKETS)
        ]
        packets = PacketBatch.concatenate(batches)
        table = DICTIONARY.decode(packets.select(packets.version == 0)).table("RELAY")
        assert table is not None
        return [int(value) for value in table.raw["RLY_BUNDLES_FORWARDED"]]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[RelaySite]:
    settings = prepare_run_directory(
        tmp_path, speed=60, base_port=free_base_port(), snapshot_octets=1 << 20, relay=True
    )
    site = RelaySite(settings, Topic.RADIATED, Topic.UPLINK)
    yield site
    site.close()


def test_what_the_payload_forgets_is_here_whoever_is_killed(site: RelaySite) -> None:
    (site.settings.run_dir / "mars.toml").write_text(SCENARIO)
    for name in (BUS, RECEIVE, MISSION_CENTRE, RELAY):
        site.start(name)
    site.start_spacecraft(30, str(site.settings.run_dir / "mars.toml"))
    site.wait_for_bundles(30)
    for victim in (RELAY, MISSION_CENTRE, RECEIVE):
        site.kill(victim)
        time.sleep(0.3)
        site.start(victim)
        site.wait_for_bundles(15)
    for name in ("spacecraft", RELAY, MISSION_CENTRE, RECEIVE, BUS):
        assert site.end(name) == 0, site.logs()

    delivered = site.delivered()
    bundles = [parse_bundle(one.octets) for one in delivered]
    assert len({bundle.id for bundle in bundles}) == len(bundles)
    forwarded = site.forwarded()
    assert forwarded == sorted(forwarded)
    assert 20 < forwarded[-1] <= len(bundles)
    # The orbiter numbers its observations: of what was sent until the first acknowledgements none
    # is missing, so that equal counts do not hide a loss behind a surplus.
    science = [b for b in bundles if b.primary.source.service_number == 1]
    numbers = sorted(int(bytes(b.payload).split()[3].rstrip(b",")) for b in science)
    assert numbers[: forwarded[-1] // 2] == list(range(1, forwarded[-1] // 2 + 1))
    alerts = [json.loads(bytes(b.payload)) for b in bundles if b not in science]
    assert "alert" in {alert["state"] for alert in alerts}
    assert {one.destination for one in delivered} == {"ipn:100.1", "ipn:100.2"}
    # Each radiation asked for has a name of its own, and what was told of it is always the same.
    names = {message.id for message in site.asked}
    fates = {fate.id: fate for fate in site.radiated}
    assert len(names) == len(site.asked) > 20
    assert all(fates[fate.id] == fate for fate in site.radiated)
