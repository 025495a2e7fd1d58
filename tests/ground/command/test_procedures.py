"""The procedures that come with the mission, run to their end on the simulated spacecraft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.library import Library
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.errors import LocalError
from tests.ground.command.test_engine import begun
from tests.ground.command.world import S, World


def running(name: str, **arguments: Any) -> tuple[World, int]:
    world = begun(World())
    run = world.ask("start_run", procedure=name, arguments=arguments)["number"]
    return world, run


def ended(world: World, run: int, limit_s: float = 12_000) -> dict[str, Any]:
    """The run after its end, every hazardous command approved by another person."""

    def is_over() -> bool:
        for one in world.ask("list", active=True):
            if one["state"] == "armed":
                world.ask("approve", actor="bob", number=one["number"])
        return world.ask("show_run", run=run)["state"] not in ("running", "waiting", "asking")

    world.until(is_over, limit_s)
    return world.ask("show_run", run=run)


def test_start_of_pass() -> None:
    world, run = running("start_of_pass")
    shown = ended(world, run)
    assert shown["state"] == "completed", shown["records"]
    assert len(world.executed) == 1
    assert any("the spacecraft answers" in one for one in shown["records"])


def test_instruments_on() -> None:
    world = begun(World())
    off = world.command("INSTRUMENTS_SWITCH", SWITCH="OFF")
    world.until(lambda: world.state(off) == "completed")
    # What was measured before is no word of what is now.
    world.run(2_000)
    run = world.ask("start_run", procedure="instruments_on", arguments={})["number"]
    shown = ended(world, run)
    assert shown["state"] == "completed", shown["records"]
    assert any("instruments on, protons at" in one for one in shown["records"])
    assert [one["command"] for one in world.ask("list")] == ["INSTRUMENTS_SWITCH"] * 2


def test_retrieve_telemetry() -> None:
    world = begun(World())
    world.run(600)
    now_ns = world.now_ns
    arguments = {"STORE": 1, "FROM": now_ns - 900 * S, "TO": now_ns - 600 * S}
    run = world.ask("start_run", procedure="retrieve_telemetry", arguments=arguments)["number"]
    shown = ended(world, run)
    assert shown["state"] == "completed", shown["records"]


def test_a_run_that_is_aborted_takes_back_what_has_not_left() -> None:
    world = begun(World())
    safe = world.command("MODE_SET", MODE="SAFE")
    world.until(lambda: world.state(safe) == "completed")
    world.run(1_200)
    arguments = {"FADE": "faded", "CHARGE": 45.0}
    run = world.ask("start_run", procedure="storm_recovery", arguments=arguments)["number"]
    world.until(lambda: world.ask("show_run", run=run)["state"] == "asking", 20_000)
    world.ask("answer_run", run=run, choice="recover")
    world.until(lambda: world.ask("list", active=True) != [])
    (armed,) = world.ask("list", active=True)
    assert (armed["command"], armed["state"]) == ("MODE_RECOVER", "armed")
    # It waits as long as its run does, and says for what.
    world.run(1_000)
    (listed,) = world.ask("runs")
    assert listed["notes"] == [
        f"request {armed['number']} MODE_RECOVER is hazardous: a second person has to approve it "
        f"(`l4 command approve {armed['number']}`)"
    ]
    world.ask("abort_run", run=run, reason="not now")
    assert world.state(armed["number"]) == "removed"
    assert world.ask("show", number=armed["number"])["reason"] == f"run {run} aborted"
    with pytest.raises(LocalError, match="is removed: cannot approve"):
        world.ask("approve", actor="bob", number=armed["number"])


OTHERWISE = """
def procedure(p):
    "Recovers, or asks whether the spacecraft is alive."
    try:
        yield p.send("MODE_RECOVER", wait_for="completion")
    except p.StepFailed as failure:
        yield p.say(f"{failure}")
        yield p.send("TEST_CONNECTION", wait_for="completion")
"""


def test_a_run_that_goes_on_does_not_wait_behind_its_own_request_that_is_held(
    tmp_path: Path,
) -> None:
    (tmp_path / "otherwise.py").write_text(OTHERWISE)
    library = Library(Definitions(COMMANDS, EVERYTHING.parameters), [tmp_path])
    world = begun(World(library=library))
    # By telemetry it is not in safe mode: the request is held.
    world.run(300)
    run = world.ask("start_run", procedure="otherwise", arguments={})["number"]
    shown = ended(world, run, 3_000)
    assert shown["state"] == "completed", shown["records"]
    given_up, sent = world.ask("list")
    assert (given_up["command"], given_up["state"]) == ("MODE_RECOVER", "removed")
    assert given_up["reason"] == f"run {run} goes on without it"
    assert (sent["command"], sent["state"]) == ("TEST_CONNECTION", "completed")


def test_a_run_whose_procedure_has_gone_can_be_ended(tmp_path: Path) -> None:
    world = begun(World(store=tmp_path / "command.sqlite"))
    off = world.command("INSTRUMENTS_SWITCH", SWITCH="OFF")
    world.until(lambda: world.state(off) == "completed")
    world.run(2_000)
    run = world.ask("start_run", procedure="instruments_on", arguments={})["number"]
    world.turn()
    world.engine.store._db.execute("UPDATE run SET procedure = 'gone'")  # pyright: ignore[reportPrivateUsage]
    world.kill()
    assert world.engine.counters["runs_broken"] == 1
    (request,) = (one for one in world.ask("list") if one["comment"].startswith("procedure run"))
    world.ask("abort_run", run=run, reason="its procedure has gone")
    assert world.engine.counters["runs_broken"] == 0
    with pytest.raises(LocalError, match="has ended"):
        world.ask("abort_run", run=run)
    assert request["state"] in ("radiated", "released")
    assert world.state(request["number"]) == request["state"]
