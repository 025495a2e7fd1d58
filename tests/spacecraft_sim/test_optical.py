"""Frames by light: lost in clouds and nowhere else, known to both ends; what was in them again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.dictionary.l4_states import OpticalState
from protocols.dtn.bundle import parse_bundle
from protocols.dtn.dtn_time import tai_ns_from_dtn_ms
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.space_frames import SEGMENT_OCTETS, FrameSender
from protocols.errors import LocalError
from protocols.frames.index import index_frames
from protocols.identifiers import BundleNode, Carrier
from protocols.packets.extraction import PacketExtractor
from spacecraft_sim import scenario as scenarios
from spacecraft_sim.channel import FixedLightTime
from spacecraft_sim.clouds import Clouds
from spacecraft_sim.optical_channel import OpticalChannel
from spacecraft_sim.optical_settings import OpticalDownlink, OpticalSettings, OpticalStation
from spacecraft_sim.scenario import Mars, Periods, Scenario, TimelineEntry
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.subsystems.common import Uplink

START_NS = 2_177_452_800 * 10**9
S = 10**9
OWLT_S = 499
LIGHT = FixedLightTime(float(OWLT_S))
QUIET = Periods(**dict.fromkeys(Periods.__dataclass_fields__, 0))


def sky(fraction: float, correlation_s: float, name: str = "Yeoju", seed: int = 3) -> Clouds:
    return Clouds(name, fraction, correlation_s, seed=seed, start_ns=START_NS)


def light(**more: object) -> OpticalSettings:
    """Two telescopes under fast weather."""
    stations = OpticalStation("Yeoju", 0.5, 90.0), OpticalStation("Tenerife", 0.5, 60.0)
    return replace(OpticalSettings(present=True, station=stations), **more)  # type: ignore[arg-type]


# The sky -----------------------------------------------------------------------------------------


def test_clouds_take_their_fraction_and_forget_with_their_time() -> None:
    t_ns = START_NS + np.arange(200_000, dtype=np.int64) * 10 * S
    cloudy = ~sky(0.3, 400.0).clear(t_ns)
    assert cloudy.mean() == pytest.approx(0.3, abs=0.02)
    x = cloudy - cloudy.mean()
    for lag in (10, 40):
        correlation = np.mean(x[:-lag] * x[lag:]) / np.mean(x * x)
        assert correlation == pytest.approx(np.exp(-lag * 10 / 400), abs=0.05)


def test_a_sky_is_its_seeds_and_its_names_however_it_is_asked() -> None:
    t_ns = START_NS + np.arange(3000, dtype=np.int64) * S
    whole = sky(0.5, 50.0)
    expected = whole.clear(t_ns)
    asked = sky(0.5, 50.0)
    backwards = np.concatenate([asked.clear(part) for part in np.array_split(t_ns, 7)])
    assert np.array_equal(expected, backwards)
    by_spells = np.ones(len(t_ns), bool)
    for begin, end in whole.spells(int(t_ns[-1]) + 1):
        by_spells &= ~((t_ns >= begin) & (t_ns < end))
    assert np.array_equal(expected, by_spells)
    for other in (sky(0.5, 50.0, name="Tenerife"), sky(0.5, 50.0, seed=4)):
        assert not np.array_equal(expected, other.clear(t_ns))
    assert sky(0.0, 50.0).clear(t_ns).all()
    assert not sky(1.0, 50.0).clear(t_ns).any()
    with pytest.raises(LocalError, match="clouds over Yeoju"):
        sky(1.5, 50.0)


# Frames ------------------------------------------------------------------------------------------


def test_frames_are_lost_in_clouds_and_nowhere_else_and_both_ends_know() -> None:
    settings = light(downlink=OpticalDownlink(information_rate_bit_s=32_000))
    scenario = Scenario(mars=Mars(present=False), period_s=QUIET, optical=settings)
    spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
    way = OpticalChannel(settings, LIGHT, 3, START_NS)
    sent = spacecraft.step(START_NS + 300 * S).optical
    assert sent is not None
    assert len(sent) == 300 * 32_000 // (8 * 892) + 1
    received = way.downlink(sent.cadus, sent.cadu_ns)
    # By the spells of each sky, asked for on their own: lost is what arrives when all are cloudy.
    arrival = sent.cadu_ns + OWLT_S * S
    lost = np.ones(len(arrival), bool)
    for one in way.skies.values():
        cloudy = np.zeros(len(arrival), bool)
        for begin, end in one.spells(int(arrival[-1]) + 1):
            cloudy |= (arrival >= begin) & (arrival < end)
        lost &= cloudy
    assert 0.1 < lost.mean() < 0.6
    assert np.array_equal(received.ert_ns, arrival[~lost])
    assert (way.counts.sent, way.counts.clouded) == (len(sent), lost.sum())
    # The ground corrects all of those, and knows the others by the count of virtual channel 63.
    chain = ReceiveChain(load_profile("l4_relay_optical"))
    chain.push(received.cadus, 0)
    chain.finish()
    counts = chain.statistics().counts
    assert counts["frames"]["good"] == counts["frames"]["frames"] == len(received)
    # Bits of markers are corrected by nobody: 32 of 8,192.
    corrected = counts["coding"]["corrected_symbols"]
    assert corrected == pytest.approx(way.counts.bits_flipped, rel=0.02)
    (channel,) = chain.statistics().virtual_channels.values()
    seen = np.flatnonzero(~lost)
    assert channel["missing"] == lost[seen[0] : seen[-1]].sum()


def test_nothing_leaves_by_light_while_the_terminal_does_not_track() -> None:
    storm = TimelineEntry(100.0, "mode", "SAFE")
    scenario = Scenario(
        mars=Mars(present=False),
        timeline=(storm,),
        optical=light(downlink=OpticalDownlink(information_rate_bit_s=32_000)),
    )
    told: list[tuple[int, dict[str, object]]] = []
    spacecraft = Spacecraft(
        scenario,
        seed=1,
        start_ns=START_NS,
        observer=lambda name, t_ns, values: (
            told.append((t_ns, dict(values))) if name == "OPTICAL" else None
        ),
    )
    sent = spacecraft.step(START_NS + 200 * S).optical
    assert sent is not None
    assert sent.emission_ns.max() < START_NS + 101 * S
    assert spacecraft.optical.state is OpticalState.OFF
    # Housekeeping says what it carries, and when it does not.
    rates = {values["OPT_OPTICAL_STATE"]: values["OPT_OPTICAL_RATE"] for _, values in told}
    assert rates == {OpticalState.TRACKING: 32_000.0, OpticalState.OFF: 0.0}


# What is in them ---------------------------------------------------------------------------------


class Site:
    """LTP of the ground's relay, heard by light through clouds and by X band."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.spacecraft = Spacecraft(scenario, seed=1, start_ns=START_NS)
        self.way = OpticalChannel(scenario.optical, LIGHT, 5, START_NS)
        ltp = replace(DEEP_SPACE, segment_size=SEGMENT_OCTETS, one_way_light_time_s=float(OWLT_S))
        engine = LtpEngine(BundleNode.SITE, BundleNode.PAYLOAD, ltp, entropy=b"site")
        self.link = LtpLink(engine, 100_000)
        self.sender = FrameSender()
        self.extractors = [PacketExtractor(accept_encapsulation=True) for _ in range(2)]
        self.up: list[tuple[int, bytes]] = []
        self.bundles: list[tuple[int, bytes]] = []
        self.by_light = self.by_radio = 0

    def run(self, seconds: int, step_s: int = 20) -> None:
        for t in range(0, seconds, step_s):
            now_ns = START_NS + t * S
            uplink = [Uplink(Carrier.RELAY, octets) for at, octets in self.up if at <= now_ns]
            self.up = [one for one in self.up if one[0] > now_ns]
            down = self.spacecraft.step(now_ns, uplink)
            here_ns = now_ns + OWLT_S * S
            assert down.optical is not None
            arrived = self.way.downlink(down.optical.frames, down.optical.emission_ns)
            self.by_light += self._hear(here_ns, 0, arrived.cadus)
            self.by_radio += self._hear(here_ns, 1, down.frames)
            self.bundles += [(here_ns, octets) for octets in self.link.bundles()]
            octets = self.sender.send(self.link.take(here_ns))
            if octets:
                self.up.append((here_ns + OWLT_S * S, octets))

    def _hear(self, here_ns: int, carrier: int, frames: np.ndarray) -> int:
        optical, radio = self.scenario.optical.downlink, self.scenario.downlink
        parameters = (radio if carrier else optical).frame_parameters
        index = index_frames(frames, parameters)
        times = np.full(len(frames), here_ns, np.int64)
        packets = self.extractors[carrier].push(frames, index, times).packets
        found = packets.select(packets.version == 7)
        for packet in found:
            self.link.receive(here_ns, packet)
        return len(found)


def test_bundles_that_clouds_took_are_sent_again() -> None:
    """Uncoded and without errors, so that clouds alone take anything."""
    downlink = OpticalDownlink(information_rate_bit_s=16_000, ldpc="none")
    scenario = Scenario(
        period_s=QUIET,
        mars=Mars(science_period_s=60, bulletin_period_s=0, loss=0.0, to_relay_bit_s=64_000),
        optical=light(downlink=downlink, relay_bit_s=12_000, bit_error_rate=0.0),
    )
    one = Site(scenario)
    one.run(9000)
    assert one.way.counts.clouded > 1000
    assert one.by_radio == 0
    # When each was made, by the minute, and how long it took.
    took_s: dict[int, float] = {}
    for at_ns, octets in one.bundles:
        made_ns = tai_ns_from_dtn_ms(parse_bundle(octets).primary.creation.time_ms)
        assert made_ns not in took_s
        took_s[made_ns] = (at_ns - made_ns) / 1e9
    first_ns, quickest_s = min(took_s), min(took_s.values())
    # All of those for which there was time to be sent six times.
    end_ns = START_NS + (9000 + OWLT_S) * S - round((quickest_s + 11 * OWLT_S) * 1e9)
    made = list(range(first_ns, end_ns, 60 * S))
    assert len(made) > 40
    assert not set(made) - set(took_s)
    # What clouds had taken came a round trip later or two, all else at once.
    later_s = np.array([took_s[t_ns] - quickest_s for t_ns in made])
    assert 5 < np.count_nonzero(later_s > 2 * OWLT_S - 60) < len(made) - 5


def test_the_scenario_says_what_cannot_be() -> None:
    for text, words in (
        ("[optical]\nstation = []", "no station"),
        ("[optical.downlink]\nocf = true", "has neither"),
        ("[optical.downlink]\nframe_length = 1000", "carries 892 octets"),
        ("[[optical.station]]\ncloud_fraction = 2.0", "0..1 allowed"),
    ):
        with pytest.raises(scenarios.ScenarioError, match=words):
            scenarios.loads(text)
    assert scenarios.load("optical").optical.present
