"""The relay payload and the orbiter of Mars, with a ground station's LTP at the other end."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from protocols.dtn.bundle import Bundle, parse_bundle
from protocols.dtn.bundle_extensions import HOP_COUNT, PREVIOUS_NODE
from protocols.dtn.bundle_processing import violations
from protocols.dtn.dtn_time import tai_ns_from_dtn_ms
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.space_frames import SEGMENT_OCTETS, FrameSender
from protocols.frames.index import index_frames
from protocols.identifiers import BundleNode, Carrier, VirtualChannel
from protocols.navigation.planets import mars_l4_light_time_ns
from protocols.packets.extraction import PacketExtractor
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.flight_software.space_node import BULLETIN, SCIENCE
from spacecraft_sim.scenario import Mars, Periods, Scenario, Storm, TimelineEntry
from spacecraft_sim.spacecraft import DownlinkFrames, Spacecraft
from spacecraft_sim.subsystems.common import Uplink

START_NS = 2_177_452_837 * 10**9
S = 10**9
OWLT_S = 499


@dataclass
class Site:
    """LTP of the ground's relay, across the light time in steps of some seconds."""

    spacecraft: Spacecraft
    parameters: Any
    step_s: int = 10
    lose_every: int = 0
    bundles: list[tuple[int, Bundle]] = field(default_factory=list)

    def __post_init__(self) -> None:
        ltp = replace(DEEP_SPACE, segment_size=SEGMENT_OCTETS, one_way_light_time_s=float(OWLT_S))
        engine = LtpEngine(BundleNode.SITE, BundleNode.PAYLOAD, ltp, entropy=b"site")
        self.link = LtpLink(engine, 100_000)
        self.sender = FrameSender()
        self.extractor = PacketExtractor(accept_encapsulation=True)
        self.up: list[tuple[int, bytes]] = []
        self.sent = 0

    def run(self, seconds: int, begin: int = 0) -> DownlinkFrames:
        """From the start; times are the spacecraft's, the site's a light time later."""
        parts: list[DownlinkFrames] = []
        for t in range(begin, seconds, self.step_s):
            now_ns = START_NS + t * S
            arrived = [octets for at, octets in self.up if at <= now_ns]
            self.up = [(at, octets) for at, octets in self.up if at > now_ns]
            uplink = [Uplink(Carrier.RELAY, octets) for octets in arrived]
            downlink = self.spacecraft.step(now_ns, uplink)
            parts.append(downlink)
            self._hear(now_ns + OWLT_S * S, downlink)
        return DownlinkFrames(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.cadus for part in parts]),
            np.concatenate([part.emission_ns for part in parts]),
            np.concatenate([part.cadu_ns for part in parts]),
        )

    def _hear(self, here_ns: int, downlink: DownlinkFrames) -> None:
        index = index_frames(downlink.frames, self.parameters)
        packets = self.extractor.push(downlink.frames, index, downlink.emission_ns).packets
        for packet in packets.select(packets.version == 7):
            self.link.receive(here_ns, packet)
        for octets in self.link.bundles():
            self.bundles.append((here_ns - OWLT_S * S, parse_bundle(octets)))
        octets = self.sender.send(self.link.take(here_ns))
        if octets:
            self.sent += 1
            if not self.lose_every or self.sent % self.lose_every:
                self.up.append((here_ns + OWLT_S * S, octets))


#: Encoding telemetry costs more than everything that is looked at here.
NO_TELEMETRY = Periods(**dict.fromkeys(Periods.__dataclass_fields__, 0))


def site(scenario: Scenario, **more: Any) -> Site:
    scenario = replace(scenario, period_s=NO_TELEMETRY)
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
    return Site(spacecraft, scenario.downlink.frame_parameters, **more)


def of_service(one: Site, service: int) -> list[tuple[int, Bundle]]:
    return [
        (at, bundle)
        for at, bundle in one.bundles
        if bundle.primary.destination.service_number == service
    ]


def test_bundles_from_mars_arrive_once_and_leave_the_store_when_that_is_known() -> None:
    one = site(scenarios.load("nominal"), lose_every=4, step_s=20)
    one.run(3600)
    science = of_service(one, SCIENCE)
    assert len(science) > 140
    ids = [bundle.id for _, bundle in one.bundles]
    assert len(set(ids)) == len(ids)
    for _, bundle in one.bundles:
        assert violations(bundle) == []
        assert bundle.primary.source.node_number == BundleNode.MARS_ORBITER
        assert bundle.primary.destination.node_number == BundleNode.MISSION_CENTRE
        previous = PREVIOUS_NODE.find(bundle)
        assert previous is not None
        assert previous.node_number == BundleNode.PAYLOAD
        hops = HOP_COUNT.find(bundle)
        assert hops is not None
        assert hops.made == 1
    node = one.spacecraft.relay.node
    assert node.forwarded > 100
    assert node.taken == node.forwarded + sum(node.held())
    # Nothing waits longer than a question and its answer with some to spare.
    assert sum(node.held()) < 120
    assert one.spacecraft.mars is not None
    assert one.spacecraft.mars.orbiter.node.forwarded > 150


def test_an_alert_overtakes_the_bulk_that_waits() -> None:
    # More science than the downlink carries; Mars sees an eruption an hour before the scenario
    # begins and word of it comes to the relay long after the store has filled with science.
    nominal = scenarios.load("nominal")
    mars = Mars(
        science_octets=20_000,
        science_period_s=8,
        bulletin_period_s=0,
        loss=0.0,
        storm=(Storm(start_s=0.0, rise_s=60.0),),
    )
    one = site(replace(nominal, mars=mars), step_s=20)
    one.run(2200)
    (alert_at, alert), *_ = of_service(one, BULLETIN)
    assert json.loads(bytes(alert.payload))["state"] == "alert"
    created_ns = tai_ns_from_dtn_ms(alert.primary.creation.time_ms)
    before = [
        bundle
        for at, bundle in of_service(one, SCIENCE)
        if at > alert_at and tai_ns_from_dtn_ms(bundle.primary.creation.time_ms) < created_ns
    ]
    assert len(before) > 10
    # Light time from Mars, one bundle's time on each link, ticks and a frame to be filled.
    owlt_ns = mars_l4_light_time_ns(alert_at)
    assert alert_at - created_ns - owlt_ns < 45 * S


def test_the_same_uplink_gives_the_same_octets_however_the_steps_are_cut() -> None:
    conjunction = scenarios.load("conjunction")
    runs = [site(conjunction, step_s=50).run(1300) for _ in range(2)]
    assert np.array_equal(runs[0].cadus, runs[1].cadus)
    whole, cut = (Spacecraft(conjunction, seed=3, start_ns=START_NS) for _ in range(2))
    once = whole.step(START_NS + 200 * S)
    pieces = [cut.step(START_NS + t * S // 7) for t in range(0, 7 * 200 + 1, 97)]
    pieces.append(cut.step(START_NS + 200 * S))
    assert np.array_equal(once.cadus, np.concatenate([piece.cadus for piece in pieces]))
    assert np.any(index_frames(once.frames, conjunction.downlink.frame_parameters).vcid == 4)


def test_a_full_store_refuses_and_recovers_when_the_earth_answers() -> None:
    conjunction = scenarios.load("conjunction")
    # What is under way to the Earth and unanswered is three times what the store holds.
    scenario = replace(
        conjunction,
        mars=replace(conjunction.mars, science_period_s=6, science_octets=10_000, storm=()),
        relay=replace(conjunction.relay, store_octets=500_000, to_earth_bit_s=30_000),
        downlink=replace(conjunction.downlink, information_rate_bit_s=64_000),
    )
    one = site(scenario, step_s=25)
    one.run(950)
    node = one.spacecraft.relay.node
    assert node.refused_segments > 0
    assert one.spacecraft.relay.occupancy_percent > 90
    assert node.forwarded == 0
    arrived = len(one.bundles)
    one.run(2000, begin=950)
    assert node.forwarded >= arrived
    assert len(one.bundles) > arrived + 20


def test_in_safe_mode_the_payload_is_silent_and_keeps_what_it_has() -> None:
    safe = TimelineEntry(at_s=200, action="mode", mode="SAFE")
    scenario = replace(scenarios.load("nominal"), timeline=(safe,))
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
    spacecraft.step(START_NS + 205 * S)
    held = spacecraft.relay.node.used_octets
    assert held > 0
    later = spacecraft.step(START_NS + 300 * S)
    index = index_frames(later.frames[20:], scenario.downlink.frame_parameters)
    assert VirtualChannel.RELAY not in index.vcid
    assert spacecraft.relay.node.used_octets == held
