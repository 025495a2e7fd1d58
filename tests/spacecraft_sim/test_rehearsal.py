"""Twelve hours of a storm: alarm, safe mode by on-board action, recovery by a procedure.

Pure: the spacecraft, its light time as numbers, no process and no clock.  A procedure sees
telemetry as old as light makes it, and its commands arrive as late.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any

from protocols.dictionary.l4_states import Mode
from spacecraft_sim.scenario import Mars, Periods, load
from spacecraft_sim.subsystems.common import TICK_NS
from tests.spacecraft_sim.commanding import Flight, flight

ONE_WAY_S = 499
HOURS = 12


class Operator:
    """Acts on what has reached the ground: nothing of the last 499 seconds."""

    def __init__(self, craft: Flight) -> None:
        self.craft = craft
        self.start_ns = craft.spacecraft.now_ns

    @property
    def elapsed_s(self) -> int:
        """Of the ground; the spacecraft is stepped up to there."""
        return (self.craft.spacecraft.now_ns - self.start_ns) // TICK_NS

    def seen(self, name: str) -> list[dict[str, Any]]:
        horizon_ns = self.craft.spacecraft.now_ns - ONE_WAY_S * TICK_NS
        return [
            values
            for scet_ns, found, values in self.craft.log
            if found == name and scet_ns <= horizon_ns
        ]

    def wait(self, seconds: int) -> None:
        left = HOURS * 3600 - self.elapsed_s
        assert left > 0, "the rehearsal's twelve hours are over"
        self.craft.run(min(seconds, left))

    def wait_for_event(self, identifier: str) -> None:
        while not any(
            values["EVT_ID"] == identifier
            for name in ("EVENTS", "EVENT_HIGH", "EVENT_MEDIUM", "EVENT_LOW", "EVENT_INFORMATION")
            for values in self.seen(name)
        ):
            self.wait(60)

    def send(self, name: str, **arguments: Any) -> list[str]:
        """Send, and wait for the answer: 998 seconds, and what the execution may take."""
        packet = self.craft.sender.packet(name, arguments)
        self.wait(ONE_WAY_S)
        execution_s = 900 if name == "MODE_RECOVER" else 10
        self.craft.run(execution_s, self.craft.sender.uplink(packet))
        self.wait(ONE_WAY_S)
        return self.craft.stages(packet)


def rehearse(seed: int = 3) -> tuple[Flight, str]:
    # Slow telemetry at a low rate: what is rehearsed is the commanding.
    slow = Periods(*[60] * len(fields(Periods)))
    storm = load("storm_safe")
    downlink = replace(storm.downlink, information_rate_bit_s=2_000)
    scenario = replace(storm, period_s=slow, mars=Mars(present=False), downlink=downlink)
    craft = flight(scenario, seed=seed)
    operator = Operator(craft)
    downlink = hashlib.sha256()
    run = craft.run

    def recorded(seconds: int, uplink: Any = ()) -> Any:
        frames = run(seconds, uplink)
        downlink.update(frames.octets)
        return frames

    craft.run = recorded
    operator.wait_for_event("PROTON_WARNING")
    assert operator.send("HK_ENABLE", STRUCTURES=[1])[-1] == "COMPLETION_SUCCESS"
    operator.wait_for_event("PROTONS_EXTREME")
    assert craft.spacecraft.mode is Mode.SAFE
    # Too early: with the instruments on again the flux is measured, and the spacecraft falls back.
    early = operator.send("MODE_RECOVER")
    assert early[-1] == "COMPLETION_FAILURE 34"
    assert craft.spacecraft.mode is Mode.SAFE
    operator.wait(3 * 3600)
    assert operator.send("MEMORY_SCRUB")[:2] == ["ACCEPTANCE_SUCCESS", "START_SUCCESS"]
    assert operator.send("MODE_RECOVER")[-1] == "COMPLETION_SUCCESS"
    assert craft.spacecraft.mode in (Mode.NOMINAL, Mode.STORM)
    assert operator.send("PARAMETER_REPORT", PARAMETERS=["SC_MODE", "FSW_MEMORY_UPSETS"])
    operator.wait(HOURS * 3600 - operator.elapsed_s)
    return craft, downlink.hexdigest()


def test_storm_alarm_safe_mode_procedure_recovery() -> None:
    craft, octets = rehearse()
    assert (craft.spacecraft.now_ns - craft.spacecraft.start_ns) // TICK_NS == HOURS * 3600
    story = [text.split()[0] for text in craft.events()]
    order = ["PROTON_WARNING", "PROTONS_EXTREME", "EVENT_ACTION"]
    places = [story.index(name) for name in order]
    assert places == sorted(places)
    assert craft.spacecraft.software.memory.upsets > 1_000
    changes = [text for text in craft.events() if text.startswith("MODE_CHANGE")]
    assert changes[0].endswith("NOMINAL -> STORM: protons high")
    assert changes[1].endswith("STORM -> SAFE: command: safe")
    # The early attempt, and the one that holds.
    assert [text.split()[2] + text.split()[4].rstrip(":") for text in changes[2:]] == [
        "SAFESTANDBY", "STANDBYSAFE", "SAFESTANDBY", "STANDBYNOMINAL",
    ]  # fmt: skip
    again, same = rehearse()
    assert again.log == craft.log
    assert same == octets
