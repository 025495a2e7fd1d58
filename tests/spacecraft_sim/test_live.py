"""A machine that is late computes in steps, tells the ground meanwhile, and is no cloud."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from spacecraft_sim import live
from spacecraft_sim.channel import Channel, FixedLightTime
from spacecraft_sim.live import LiveDownlink, OpticalDown
from spacecraft_sim.optical_channel import OpticalChannel
from spacecraft_sim.optical_settings import OpticalDownlink, OpticalSettings, OpticalStation
from spacecraft_sim.scenario import Scenario
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_buffer import StationBuffer

S = 10**9
START_NS = 2_180_000_000 * S
OWLT_S = 100
SPEED = 6.0


class Wall:
    """Stands for time.monotonic; computing takes of it."""

    s = 0.0

    def monotonic(self) -> float:
        return self.s


class Slow(Spacecraft):
    """Of which so many seconds are computed in a wall second."""

    wall: Wall
    pace = 100.0

    def step(self, now_ns: int, uplink: Sequence[Any] = ()) -> Any:
        before_ns = getattr(self, "_stepped_ns", self.start_ns)
        self._stepped_ns = now_ns
        self.wall.s += (now_ns - before_ns) / 1e9 / self.pace
        return super().step(now_ns, uplink)


class Ground:
    """Keeps when it was told what."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.told: list[tuple[float, bool]] = []

    def exchange(self, timeout_s: float) -> list[Any]:
        self.wall.s += 0.01
        return []

    def send_radiated(self, messages: list[Any]) -> None:
        assert not messages

    def send_state(self, *, others: tuple[bool, ...], **state: object) -> None:
        self.told.append((self.wall.s, others[0]))


class Clock:
    speed = SPEED

    def __init__(self, wall: Wall) -> None:
        self.wall = wall

    def now_ns(self) -> int:
        return START_NS + int(self.wall.s * SPEED * 1e9)


@pytest.mark.parametrize("pace", [3.0, 30.0])
def test_a_backlog_is_no_silence_and_no_cloud(monkeypatch: pytest.MonkeyPatch, pace: float) -> None:
    """pace: below the clock's 6 it never catches up, above it does."""
    wall = Wall()
    monkeypatch.setattr(live, "time", wall)
    optical = OpticalSettings(
        present=True,
        downlink=OpticalDownlink(information_rate_bit_s=16_000),
        station=(OpticalStation(name="clear", cloud_fraction=0.0),),
    )
    begin_ns = START_NS - OWLT_S * S
    scenario = Scenario(optical=optical)
    spacecraft = Slow(scenario, seed=1, start_ns=begin_ns)
    spacecraft.wall, spacecraft.pace = wall, pace
    light_time = FixedLightTime(OWLT_S)
    channel = Channel(scenario.channel, light_time, 1, begin_ns)
    buffer, ground = StationBuffer("radio"), Ground(wall)
    down = OpticalDown(
        OpticalChannel(optical, light_time, 1, begin_ns),
        StationBuffer("optical"),
        int(optical.downlink.cadu_duration_ns),
    )
    made = LiveDownlink(spacecraft, channel, buffer, ground, Clock(wall), optical=down)  # type: ignore[arg-type]
    while wall.s < 3:
        made.turn(0)
    wall.s += 8  # the machine did something else
    late_s = wall.s
    ground.told.clear()
    while wall.s < late_s + 12:
        made.turn(0)
    silences = [b - a for (a, _), (b, _) in zip(ground.told, ground.told[1:], strict=False)]
    assert max([ground.told[0][0] - late_s, *silences]) < 2.5
    assert all(heard for _, heard in ground.told)
    now_ns = Clock(wall).now_ns()
    assert (now_ns - made.known_ns(now_ns, OWLT_S * S) < SPEED * S) == (pace > SPEED)
