"""Twelve hours of a storm: alarm, safe mode by on-board action, recovery by a procedure.

Pure: the spacecraft, its light time as numbers, no process and no clock.  A procedure sees
telemetry as old as light makes it, and its commands arrive as late.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, replace
from enum import Enum
from typing import Any

import msgpack

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.library import Library, shipped
from ground.command.procedures.run_states import RunState
from ground.command.procedures.runner import ProcedureRun, describe
from ground.command.procedures.steps import Send
from ground.command.procedures.world import RequestStatus, Sample
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.dictionary.l4_states import Mode
from protocols.packets.pus import RequestId
from spacecraft_sim.scenario import Mars, Periods, load
from spacecraft_sim.subsystems.common import TICK_NS
from tests.spacecraft_sim.commanding import Flight, flight

ONE_WAY_S = 499
HOURS = 12
STEP_S = 60
_SEEN = frozenset({"SC_MODE", "PWR_BATTERY_CHARGE", "ATT_STAR_TRACKER_STATE"})


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


class LightTimeWorld:
    """The world of a procedure: telemetry that has reached the ground, commands on their way."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._under_way: deque[tuple[int, bytes]] = deque()
        self._newest: dict[str, deque[tuple[int, Any]]] = {}
        self._keys: dict[str, int] = {}
        self.requests: list[tuple[Send, bytes, int]] = []

    def observe(self, name: str, scet_ns: int, values: Mapping[str, Any]) -> None:
        for parameter in _SEEN & set(values):
            one = values[parameter]
            kept = one.name if isinstance(one, Enum) else float(one)
            self._newest.setdefault(parameter, deque(maxlen=60)).append((scet_ns, kept))

    @property
    def now_ns(self) -> int:
        return self._operator.craft.spacecraft.now_ns

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds // STEP_S):
            arrived: list[bytes] = []
            while self._under_way and self._under_way[0][0] <= self.now_ns:
                arrived.append(self._under_way.popleft()[1])
            craft = self._operator.craft
            craft.run(STEP_S, craft.sender.uplink(*arrived) if arrived else ())

    def sample(self, parameter: str) -> Sample | None:
        horizon_ns = self.now_ns - ONE_WAY_S * TICK_NS
        for scet_ns, value in reversed(self._newest.get(parameter, ())):
            if scet_ns <= horizon_ns:
                ert_ns = scet_ns + ONE_WAY_S * TICK_NS
                return Sample(value, 0, scet_ns, ert_ns, (self.now_ns - scet_ns) / TICK_NS)
        return None

    def submit(self, send: Send, actor: str, key: str) -> int:
        if key not in self._keys:
            packet = self._operator.craft.sender.packet(send.command, send.arguments)
            there_ns = self.now_ns + ONE_WAY_S * TICK_NS
            self._under_way.append((there_ns, packet))
            self.requests.append((send, packet, there_ns))
            self._keys[key] = len(self.requests)
        return self._keys[key]

    def request(self, number: int) -> RequestStatus:
        send, packet, there_ns = self.requests[number - 1]
        horizon_ns = self.now_ns - ONE_WAY_S * TICK_NS
        sequence = RequestId.of(packet).sequence
        passed, failure = set(), ""
        for scet_ns, name, values in self._operator.craft.log:
            if scet_ns > horizon_ns or values.get("VER_SEQUENCE") != sequence:
                continue
            _, stage, success = name.split("_")
            if success == "SUCCESS":
                passed.add(stage.lower())
            else:
                failure = f"{stage.lower()} failed: {values['VER_CODE']}"
        return RequestStatus(number, send.command, "sent", frozenset(passed), failure, there_ns)

    def verify_deadline_ns(self, number: int, stage: str) -> int:
        send, _, there_ns = self.requests[number - 1]
        execution_s = COMMANDS.command(send.command).execution_s
        return there_ns + round((ONE_WAY_S + execution_s + 2 * STEP_S) * TICK_NS)

    def next_uplink_window(self, now_ns: int) -> tuple[int, int]:
        return 0, 1 << 62


def recover(world: LightTimeWorld, answers: list[str]) -> ProcedureRun:
    """`storm_recovery` as it is shipped, killed and started again from its records every hour."""
    definitions = Definitions(COMMANDS, EVERYTHING.parameters)
    library = Library(definitions, [shipped()])
    assert not library.problems

    def made(records: list[bytes]) -> ProcedureRun:
        return ProcedureRun(
            library.procedure("storm_recovery"),
            {"FADE": "faded"},
            "ann",
            definitions,
            library,
            run="1",
            records=[msgpack.unpackb(record) for record in records],
        )

    run, disk, minutes = made([]), list[bytes](), 0
    disk += map(msgpack.packb, run.start(world.now_ns))
    while True:
        disk += map(msgpack.packb, run.advance(world.now_ns, world))
        if run.ended:
            return run
        if run.state is RunState.ASKING:
            disk += map(msgpack.packb, run.answer(world.now_ns, "ann", answers.pop(0)))
            continue
        world.pass_time(STEP_S)
        minutes += 1
        if minutes % 60 == 0:
            run = made(disk)


def rehearse(seed: int = 3) -> tuple[Flight, str]:
    # Slow telemetry at a low rate: what is rehearsed is the commanding.
    slow = Periods(*[60] * len(fields(Periods)))
    storm = load("storm_safe")
    downlink = replace(storm.downlink, information_rate_bit_s=2_000)
    scenario = replace(storm, period_s=slow, mars=Mars(present=False), downlink=downlink)
    worlds: list[LightTimeWorld] = []
    craft = flight(
        scenario, seed=seed, observer=lambda *packet: [one.observe(*packet) for one in worlds]
    )
    operator = Operator(craft)
    world = LightTimeWorld(operator)
    worlds.append(world)
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
    recovery = recover(world, ["wait", "recover"])
    assert recovery.state is RunState.COMPLETED, [describe(one) for one in recovery.records]
    assert craft.spacecraft.mode in (Mode.NOMINAL, Mode.STORM)
    assert [send.command for send, _, _ in world.requests] == [
        "MEMORY_SCRUB", "MODE_RECOVER", "PARAMETER_REPORT",
    ]  # fmt: skip
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
