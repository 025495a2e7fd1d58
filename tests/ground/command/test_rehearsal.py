"""Twelve hours of a storm, through everything that a real one would go through.

The instruments raise an alarm, the spacecraft looks after itself and goes to safe mode, an operator
runs the mission's recovery procedure, and the command service carries it out over eight minutes of
light time: telemetry as frames, commands as CLTUs, reports as packets.  Time alone is of numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from protocols.dictionary.l4_states import Mode
from tests.ground.command.world import START_NS, S, World, quiet

HOURS = 12


def rehearse(store: Path, *, kill_every_s: float = 0.0) -> tuple[World, str]:
    """The world after it, and a digest of all that happened: events, history, records."""
    storm = quiet("storm_safe")
    downlink = replace(storm.downlink, information_rate_bit_s=2_000)
    periods = replace(storm.period_s, status=60, power=60, proton_flux=60, attitude=60)
    world = World(replace(storm, downlink=downlink, period_s=periods), seed=3, store=store)
    end_ns = START_NS + HOURS * 3_600 * S
    killed_ns = START_NS

    def go_on(seconds: float) -> None:
        nonlocal killed_ns
        world.run(min(seconds, (end_ns - world.now_ns) / S), step_s=30)
        if kill_every_s and world.now_ns - killed_ns > kill_every_s * S:
            killed_ns = world.now_ns
            world.kill()

    def seen(text: str) -> bool:
        return any(text in event for event in world.events)

    while not seen("PROTON_WARNING"):
        go_on(60)
    while not seen("STORM -> SAFE"):
        go_on(60)
    # The operator has seen it, eight minutes after it happened.
    run = world.ask("start_run", procedure="storm_recovery", arguments={"CHARGE": 50.0})["number"]
    attempts = 0
    while world.now_ns < end_ns:
        go_on(60)
        listing = world.ask("show_run", run=run)
        for one in world.ask("list", active=True):
            if one["state"] == "armed":
                world.ask("approve", actor="bob", number=one["number"])
        if listing["state"] == "asking":
            attempts += 1
            # The first attempt is too early, as it may be.
            choice = "recover" if attempts != 2 else "wait"
            world.ask("answer_run", run=run, choice=choice)
    history = [
        " ".join(str(one[key]) for key in ("time_ns", "request", "event", "state", "text", "actor"))
        for one in world.ask("history", last=10_000)
    ]
    told = [*world.events, *history, *world.ask("show_run", run=run)["records"]]
    return world, hashlib.sha256("\n".join(told).encode()).hexdigest()


def test_storm_alarm_safe_mode_procedure_recovery(tmp_path: Path) -> None:
    world, digest = rehearse(tmp_path / "first.sqlite")
    assert world.spacecraft.mode in (Mode.NOMINAL, Mode.STORM)
    run = world.ask("show_run", run=1)
    assert run["state"] == "completed", run["records"]
    requests = world.ask("list", last=100)
    assert {one["state"] for one in requests} <= {"completed", "failed"}
    recoveries = [one for one in requests if one["command"] == "MODE_RECOVER"]
    assert recoveries[-1]["state"] == "completed"
    assert all(one["approved_by"] == "bob" for one in recoveries)
    order = ["PROTON_WARNING", "STORM -> SAFE", "SAFE -> STANDBY", "STANDBY -> NOMINAL"]
    places = [next(i for i, e in enumerate(world.events) if text in e) for text in order]
    assert places == sorted(places)
    # Again, with the command service killed every twenty minutes: to the nanosecond the same log.
    _, again = rehearse(tmp_path / "second.sqlite", kill_every_s=1_200)
    assert again == digest
    accepted = [one["sequence_count"] for one in requests]
    assert [count for count in world.executed if count in accepted] == accepted
