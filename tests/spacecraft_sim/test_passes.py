"""The station receives and transmits in its passes only, by whatever list is in force."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from protocols.bus.messages import Pass, PassesMessage, RadiatedMessage, UplinkMessage
from protocols.bus.pass_list import build_pass_list
from protocols.identifiers import Carrier
from spacecraft_sim import passes, scenario
from spacecraft_sim.channel import Channel, FixedLightTime
from spacecraft_sim.live import Antenna, LiveDownlink
from spacecraft_sim.passes import AlwaysTracking, PassFile
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_buffer import StationBuffer
from spacecraft_sim.subsystems.common import Uplink

S = 10**9
START_NS = 2_180_000_000 * S
OWLT_S = 100


@pytest.fixture(autouse=True)
def _look_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "_LOOK_S", 0.0)


def write(path: Path, *aos_los_s: tuple[float, float], uplink: bool = True) -> None:
    found: list[Pass] = []
    for i, (aos_s, los_s) in enumerate(aos_los_s):
        aos, los = (START_NS + round(t * S) for t in (aos_s, los_s))
        names = (str(i), "L4 relay", "Yeoju", "YEOJU")
        found.append(Pass(aos, los, *names, aos, los, aos, los if uplink else aos))
    message = PassesMessage("l4", 1, START_NS, START_NS, START_NS, tuple(found))
    partial = path.with_suffix(".part")
    partial.write_text(build_pass_list(message))
    partial.replace(path)


def test_the_list_that_was_published_last_is_in_force(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    tracking = PassFile(path)
    assert not tracking.known
    write(path, (0, 10))
    assert tracking.known
    assert tracking.station(START_NS) == "Yeoju"
    assert [tracking.transmits(START_NS + t * S) for t in (-1, 0, 9, 10)] == [0, 1, 1, 0]
    write(path, (20, 30), uplink=False)
    assert [tracking.station(START_NS + t * S) for t in (0, 20)] == ["", "Yeoju"]
    assert not tracking.transmits(START_NS + 25 * S)


def test_passes_of_other_missions_are_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    write(path, (0, 10))
    assert PassFile(path).transmits(START_NS)
    other = PassFile(path, mission="Psyche")
    assert other.known
    assert not other.transmits(START_NS)
    assert not other.hears(START_NS, START_NS + 1)


def test_a_list_that_is_none_is_told_and_the_one_before_stays(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    write(path, (0, 10))
    tracking = PassFile(path)
    assert tracking.hears(START_NS, START_NS + 1)
    path.write_text("{")
    assert tracking.hears(START_NS, START_NS + 1)
    assert "not JSON" in tracking.problem
    write(path, (0, 10))
    assert tracking.hears(START_NS, START_NS + 1)
    assert tracking.problem == ""
    path.unlink()
    assert tracking.hears(START_NS, START_NS + 1)


def test_what_a_pass_cuts_is_lost_and_what_a_handover_meets_is_not(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    write(path, (0, 10), (10, 20), (21, 30))
    tracking = PassFile(path)
    spans = {(-1, 1): 0, (0, 10): 1, (9, 11): 1, (19, 20): 1, (19, 20.5): 0, (20.5, 22): 0}
    heard = {
        (a, b): tracking.hears(START_NS + round(a * S), START_NS + round(b * S)) for a, b in spans
    }
    assert heard == spans


class Ground:
    """Stands for the socket: keeps what was said, gives uplink when told to."""

    def __init__(self) -> None:
        self.uplink: list[UplinkMessage] = []
        self.radiated: list[RadiatedMessage] = []
        self.states: list[dict[str, object]] = []

    def exchange(self, timeout_s: float) -> list[UplinkMessage]:
        taken, self.uplink = self.uplink, []
        return taken

    def send_radiated(self, messages: list[RadiatedMessage]) -> None:
        self.radiated += messages

    def send_state(self, **state: object) -> None:
        self.states.append(state)


class Clock:
    speed = 1.0

    def __init__(self) -> None:
        self.t_ns = START_NS

    def now_ns(self) -> int:
        return self.t_ns


def live(
    tracking: PassFile | AlwaysTracking, others: Sequence[Antenna] = ()
) -> tuple[LiveDownlink, StationBuffer, Ground, Clock]:
    nominal = scenario.load("nominal")
    begin_ns = START_NS - OWLT_S * S
    spacecraft = Spacecraft(nominal, seed=1, start_ns=begin_ns)
    channel = Channel(nominal.channel, FixedLightTime(OWLT_S), 1, begin_ns)
    buffer, ground, clock = StationBuffer("s"), Ground(), Clock()
    made = LiveDownlink(spacecraft, channel, buffer, ground, clock, tracking, others=others)  # type: ignore[arg-type]
    return made, buffer, ground, clock


def arrivals(buffer: StationBuffer) -> list[int]:
    """ERT of everything in the buffer."""
    found = []
    while chunks := list(buffer.unsent()):
        found += [chunk.ert_ns for chunk in chunks]
        buffer.acknowledge(chunks[-1].sequence)
    return found


def test_only_frames_of_the_passes_come_and_they_are_all_there(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    write(path, (20, 60.5), (90, 120))
    gated, always = live(PassFile(path)), live(AlwaysTracking())
    for one, _, _, clock in (gated, always):
        for t in range(0, 150, 5):
            clock.t_ns = START_NS + t * S
            one.turn(0)
    frame_ns = scenario.load("nominal").downlink.frame_time_ns(1)

    def inside(ert_ns: int) -> bool:
        t_s, end_s = (ert_ns - START_NS) / S, (ert_ns + frame_ns - START_NS) / S
        return (t_s >= 20 and end_s <= 60.5) or (t_s >= 90 and end_s <= 120)

    everything, received = arrivals(always[1]), arrivals(gated[1])
    assert received == [ert for ert in everything if inside(ert)]
    assert 50 < len(received) < len(everything)
    assert gated[0].out_of_pass == len(everything) - len(received)


def test_frames_wait_for_the_first_list_and_are_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    one, buffer, _, clock = live(PassFile(path))
    clock.t_ns = START_NS + 30 * S
    one.turn(0)
    assert arrivals(buffer) == []
    write(path, (0, 60))
    one.turn(0)
    assert min(arrivals(buffer)) < START_NS + S
    assert one.out_of_pass == 0


def test_uplink_goes_up_in_the_window_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "passes.json"
    write(path, (0, 10))
    one, _, ground, clock = live(PassFile(path))
    monkeypatch.setattr("spacecraft_sim.live._STATE_PERIOD_S", 0.0)
    for t, octets in ((5, b"up"), (15, b"lost")):
        clock.t_ns = START_NS + t * S
        name, at_ns = octets.decode(), clock.t_ns
        message = UplinkMessage(name, "relay", Carrier.RELAY, octets, at_ns, at_ns + 60 * S)
        ground.uplink.append(message)
        one.turn(0)
    # 16 bits at 1 Mbit/s, then the light time.
    arrival_ns = START_NS + (5 + OWLT_S) * S + 16_000
    assert one._uplink == [(arrival_ns, 0, Uplink(Carrier.RELAY, b"up"))]
    went, lost = ground.radiated
    assert (went.id, went.start_ns, went.end_ns) == (
        "up",
        START_NS + 5 * S,
        START_NS + 5 * S + 16_000,
    )
    assert (went.refused, went.station) == ("", "Yeoju")
    assert (lost.id, lost.start_ns, lost.refused) == ("lost", 0, "no uplink window is open")
    told = [(s["station"], s["transmits"], s["carrier"]) for s in ground.states]
    assert told == [("Yeoju", True, True), ("", False, False)]


def test_a_list_replaced_within_one_tick_of_the_file_system_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "passes.json"
    write(path, (0, 10))
    before = path.stat()
    tracking = PassFile(path)
    assert tracking.hears(START_NS, START_NS + 1)
    write(path, (20, 30))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not tracking.hears(START_NS, START_NS + 1)


def test_two_antennas_hear_and_transmit_each_in_its_own_passes(tmp_path: Path) -> None:
    """Yeoju from 10 to 60 s, Goldstone from 40 to 90 s: in between both hear the same."""
    path, later_ns = tmp_path / "passes.json", 11_000_000
    found: list[Pass] = []
    for station, antenna, begin_s, end_s in (("Yeoju", "YEOJU", 10, 60), ("X", "DSS-26", 40, 90)):
        aos, los = START_NS + begin_s * S, START_NS + end_s * S
        found.append(Pass(aos, los, antenna, "L4 relay", station, antenna, aos, los, aos, los))
    message = PassesMessage("l4", 1, START_NS, START_NS, START_NS, tuple(found))
    path.write_text(build_pass_list(message))
    other, there = StationBuffer("t"), Ground()
    antenna = Antenna(other, there, PassFile(path, antenna="dsn"), later_ns)  # type: ignore[arg-type]
    one, buffer, here, clock = live(PassFile(path, antenna="yeoju"), [antenna])
    for t in range(100):
        now_ns = clock.t_ns = START_NS + t * S
        if t == 70:
            for name, at in (("y", here), ("d", there)):
                asked = UplinkMessage(name, "t", Carrier.COMMAND, b"x", now_ns, now_ns + S)
                at.uplink.append(asked)
        one.turn(0)
    at_yeoju, at_goldstone = (
        [(ert - late - START_NS) / S for ert in arrivals(heard)]
        for heard, late in ((buffer, 0), (other, later_ns))
    )
    both = sorted(set(at_yeoju) & set(at_goldstone))
    assert both == [t for t in at_yeoju if t >= 40] == [t for t in at_goldstone if t <= both[-1]]
    assert min(at_yeoju) < 12 < 40 < both[0] < 42 < 57 < both[-1] < 60 < 87 < max(at_goldstone)
    assert [bool(fate.refused) for fate in (*here.radiated, *there.radiated)] == [True, False]
