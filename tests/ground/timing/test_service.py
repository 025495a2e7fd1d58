"""From the simulated spacecraft's frames to topic `time`, over restarts."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from ground import status as ground_status
from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.timing import service
from ground.timing.correlation import Correlation
from ground.timing.light_time import I64
from ground.timing.reports import time_reports
from ground.timing.service import TimingService, load_correlation
from protocols.bus.messages import PacketsMessage, TimeMessage, parse
from protocols.identifiers import VirtualChannel
from spacecraft_sim.scenario import Fault, Mars, Scenario
from spacecraft_sim.spacecraft import Spacecraft

S = 1_000_000_000
T0 = 2_170_000_000 * S
OWLT_NS = 499 * S + 123_456_789
#: Of a whole run, seconds, and when the clock jumps in it.
SECONDS, JUMP_S = 3_000, 1_500


class WorldClock:
    t_ns = T0 + SECONDS * S + OWLT_NS

    def now_ns(self) -> int:
        return self.t_ns

    def wall_seconds(self, world_seconds: float) -> float:
        return world_seconds


class KnownLightTime:
    def before_reception_ns(self, ert_ns: I64) -> I64:
        return np.full(len(ert_ns), OWLT_NS, np.int64)

    def hear(self, owlt_s: float, last_ert_ns: int) -> None: ...


@pytest.fixture(scope="module")
def craft() -> tuple[Spacecraft, list[PacketsMessage]]:
    """A spacecraft at its end, and what receive made of its frames, every tenth of them lost."""
    jump = Fault(at_s=JUMP_S, kind="clock_jump", offset_s=0.25)
    spacecraft = Spacecraft(Scenario(mars=Mars(present=False), fault=(jump,)), seed=3, start_ns=T0)
    downlink = spacecraft.step(T0 + SECONDS * S)
    chain = ReceiveChain(load_profile("l4_relay"))
    messages: list[PacketsMessage] = []
    first = 0
    for number, cadu in enumerate(downlink.cadus):
        if number % 10 == 7:
            continue
        ert_ns = int(downlink.emission_ns[number]) + OWLT_NS
        packets = chain.push(cadu.tobytes(), ert_ns).packets
        packets = packets.select(~packets.is_idle)
        if len(packets):
            playback = packets.vcid == VirtualChannel.PLAYBACK
            messages.append(PacketsMessage("l", packets, playback, ert_ns, first))
            first += len(packets)
    return spacecraft, messages


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.exchange = LoopbackExchange()
        journals = {"packets": FileJournal(directory / "packets")}
        self.receive = LoopbackBus("receive", self.exchange, journals)
        self.viewer = LoopbackBus("viewer", self.exchange, {})
        self.viewer.subscribe("time")
        self.state = StateFile(directory / "timing.state")

    def run(self, turns: int) -> None:
        bus = LoopbackBus("timing", self.exchange, {})
        counter = itertools.count()
        timing = TimingService(
            Correlation(), KnownLightTime(), bus, WorldClock(), self.state,
            service="timing", source="receive",
        )  # fmt: skip
        try:
            timing.run(lambda: next(counter) >= turns)
        finally:
            bus.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "TURN_S", 0.0)
    monkeypatch.setattr(service, "REPEAT_S", 0.0)
    monkeypatch.setattr(ground_status, "CONNECTING_S", 0.0)


@pytest.mark.usefixtures("quick")
def test_the_clock_of_the_spacecraft_is_known_over_restarts(
    tmp_path: Path, craft: tuple[Spacecraft, list[PacketsMessage]]
) -> None:
    spacecraft, messages = craft
    site = Site(tmp_path)
    parts = 4
    for part in range(parts):
        begin, end = (len(messages) * n // parts for n in (part, part + 1))
        for message in messages[begin:end]:
            site.receive.publish("packets", message.build(), time_ns=0)
        site.run(20)
    told = [parse(TimeMessage, m.body) for m in site.viewer.receive(0.0) if m.topic == "time"]
    newest = told[-1]
    # A report each 64 s, some lost with their frames; each is taken once.
    assert 35 <= newest.reports <= SECONDS // 64 + 1
    assert newest.segments == 2
    assert newest.outliers == 0
    assert newest.drift_ppb == pytest.approx(80, abs=3)
    correlation = load_correlation(site.state)
    assert correlation is not None
    assert sum(one.reports for one in correlation.segments) == newest.reports
    assert correlation.segments[1].start_ns - T0 >= JUMP_S * S
    t_ns = T0 + SECONDS * S
    found_ns, error_ns = correlation.onboard_of(t_ns)
    assert abs(found_ns - spacecraft.clock.read(t_ns)) <= min(error_ns, 500)
    assert newest.time_ns == WorldClock.t_ns
    assert newest.age_s > OWLT_NS / 1e9


def test_a_report_is_the_clock_when_its_frames_first_bit_left(
    craft: tuple[Spacecraft, list[PacketsMessage]],
) -> None:
    spacecraft, messages = craft
    onboard_ns, ert_ns = (
        np.concatenate(columns) for columns in zip(*map(time_reports, messages), strict=True)
    )
    assert len(onboard_ns) > 35
    for shown_ns, left_ns in zip(onboard_ns.tolist(), (ert_ns - OWLT_NS).tolist(), strict=True):
        jumped_ns = 0 if left_ns > T0 + JUMP_S * S else 250_000_000
        # The time code's resolution is all that is between.
        assert abs(shown_ns - (spacecraft.clock.read(left_ns) - jumped_ns)) <= 30
