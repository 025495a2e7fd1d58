"""Commands from the stack to their last report, with the spacecraft, its light time and COP-1."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.command.requests import ENDED, REQUEST_TABLE, UNDER_WAY, State
from protocols.bus.messages import Pass, PassesMessage
from protocols.coding.cltu import build_cltu, transmission
from protocols.dictionary.l4_link import CLTU_CODING, TC_PARAMETERS
from protocols.errors import LocalError
from protocols.frames.tc import FrameType, TcFrame, build
from tests.ground.command.world import OWLT_NS, START_NS, TIMING, S, World


def begun(world: World) -> World:
    """COP-1 has been initiated by a CLCW."""
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 900)
    return world


def test_table_ends_where_it_says() -> None:
    reached = {State.QUEUED}
    for moves in REQUEST_TABLE.values():
        reached |= set(moves.values())
    assert reached == set(State)
    assert {state for state in State if not REQUEST_TABLE[state]} == ENDED
    assert not ENDED & UNDER_WAY


def test_a_command_shows_where_it_is_on_its_way() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    world.turn()
    shown = world.ask("show", number=number)
    assert shown["state"] == "radiated"
    # The last octet left, and reaches the spacecraft one light time later; nothing answers sooner
    # than after two.
    assert shown["at_spacecraft_ns"] == shown["radiated_ns"] + OWLT_NS
    windows = {name: (opens, closes) for name, _, opens, closes, *_ in shown["stages"]}
    assert windows["acceptance"][0] == shown["radiated_ns"] + 2 * OWLT_NS
    assert windows["acceptance"][1] == windows["acceptance"][0] + TIMING.margin_ns
    world.run(2 * OWLT_NS / S - 10)
    assert world.stages(number) == {
        "radiated": "passed", "received": "pending", "acceptance": "pending",
        "completion": "pending",
    }  # fmt: skip
    world.run(60)
    assert world.state(number) == "completed"
    stages = world.ask("show", number=number)["stages"]
    assert all(opens <= at <= closes for _, _, opens, closes, at, *_ in stages)
    (entry,) = [one for one in world.ask("history") if one["event"] == "send"]
    assert (entry["actor"], entry["request"]) == ("ann", number)
    (radiation,) = world.ask("show", number=number)["radiations"]
    assert radiation["fate"]["end_ns"] == shown["radiated_ns"]


def test_two_steps_and_a_second_person() -> None:
    world = World()
    number = world.ask("add", command="ARRAY_TURN", arguments={"ANGLE": 5})["number"]
    with pytest.raises(LocalError, match=r"request 1 ARRAY_TURN is queued: cannot send; arm"):
        world.ask("send", number=number)
    world.ask("arm", number=number)
    with pytest.raises(LocalError, match=r"hazardous \(above 60 deg"):
        world.ask("send", number=number)
    with pytest.raises(LocalError, match="ann has asked for it or armed it"):
        world.ask("approve", number=number)
    assert world.ask("reject", actor="bob", number=number, reason="not now")["state"] == "queued"
    world.ask("arm", number=number)
    # An approval is of what was armed: after disarming it is none.
    world.ask("approve", actor="bob", number=number)
    world.ask("disarm", number=number)
    world.ask("arm", number=number)
    with pytest.raises(LocalError, match="approval wanted"):
        world.ask("send", number=number)
    with pytest.raises(LocalError, match="actor '': a text wanted"):
        world.ask("arm", actor="", number=number)
    with pytest.raises(LocalError, match="request 9: no such request"):
        world.ask("arm", number=9)


def test_an_armed_request_falls_back_and_a_late_one_expires() -> None:
    world = World()
    first = world.ask("add", command="TEST_CONNECTION")["number"]
    second = world.ask("add", command="TEST_CONNECTION", latest_ns=START_NS + 900 * S)["number"]
    world.ask("arm", number=first)
    world.run(TIMING.armed_ns / S + 10, step_s=30)
    assert world.state(first) == "queued"
    world.run(400, step_s=30)
    assert world.state(second) == "expired"
    with pytest.raises(LocalError, match="latest time is over"):
        world.ask("add", command="TEST_CONNECTION", latest_ns=START_NS)


def test_constraints_are_checked_at_release_against_telemetry_as_old_as_it_is() -> None:
    world = World()
    number = world.command("MODE_RECOVER")
    text = world.ask("show", number=number)["violations"][0]
    assert "SC_MODE has not been received" in text
    begun(world)
    # Nothing has been received because nobody has listened for long: that is waited for.
    assert world.state(number) == "waiting"
    world.run(60)
    shown = world.ask("show", number=number)
    assert shown["state"] == "held"
    assert "it is NOMINAL" in shown["reason"]
    assert not shown["octets"]
    assert not shown["radiations"]
    # The same telemetry, too old: no frame for more than two hours.
    world.ask("arm", number=number)
    sample = world.engine.telemetry.sample("SC_MODE")
    assert sample is not None
    age_s = sample.age_s(world.now_ns, OWLT_NS)
    assert 499 <= age_s < 540
    world.now_ns = sample.ert_ns + 7_200 * S
    assert "7699 s old, 7200 s allowed" in world.ask("show", number=number)["violations"][0]


def test_an_operation_that_is_asked_twice_is_done_once() -> None:
    world = World()
    asked = {"actor": "ann", "command": "TEST_CONNECTION"}
    first = world.engine.operate(world.now_ns, "key 1", "add", asked)
    again = world.engine.operate(world.now_ns + S, "key 1", "add", asked)
    assert again == first
    assert [one["number"] for one in world.ask("list")] == [1]
    with pytest.raises(LocalError, match="no command 'TEST_CONECTION'; TEST_CONNECTION"):
        world.engine.operate(world.now_ns, "key 2", "add", {**asked, "command": "TEST_CONECTION"})
    assert len(world.ask("history")) == 1


def passes(*windows: tuple[float, float]) -> PassesMessage:
    """Passes whose uplink windows these are, seconds from the beginning."""
    return PassesMessage(
        "l4", 1, START_NS, START_NS, START_NS + 10**15,
        tuple(
            Pass(
                aos_ns=START_NS + round(start * S),
                los_ns=START_NS + round((end + 1_100) * S),
                id=f"pass {start}",
                mission="L4 relay",
                station="Yeoju",
                antenna="YEOJU",
                setup_ns=START_NS + round(start * S) - 60 * S,
                release_ns=START_NS + round((end + 1_200) * S),
                uplink_from_ns=START_NS + round(start * S),
                uplink_to_ns=START_NS + round(end * S),
                owlt_aos_ns=OWLT_NS,
                owlt_los_ns=OWLT_NS,
            )
            for start, end in windows
        ),
    )  # fmt: skip


def test_release_waits_for_the_uplink_window() -> None:
    world = World(passes=passes((600, 900), (4_000, 5_000)))
    number = world.command("TEST_CONNECTION")
    world.run(595)
    assert world.state(number) == "waiting"
    window = world.ask("status")["window"]
    assert window["start_ns"] == START_NS + 600 * S
    assert window["place"] == "Yeoju"
    # COP-1 is initiated with the first CLCW of the pass, and the command leaves in it.
    world.run(60)
    assert world.state(number) == "radiated"
    late = world.ask("add", command="TEST_CONNECTION", earliest_ns=START_NS + 3_000 * S)["number"]
    for operation in ("arm", "send"):
        world.ask(operation, number=late)
    world.run(1_300)
    assert (world.state(number), world.state(late)) == ("completed", "waiting")
    with pytest.raises(LocalError, match="no uplink window now; the next opens in"):
        world.ask("link", directive="unlock")
    world.until(lambda: world.state(late) != "waiting", 3_000)
    assert 4_000 <= (world.now_ns - START_NS) / S <= 4_010


def test_what_the_station_refuses_has_not_gone_up() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    for _ in range(3):
        # It reaches the station when its time is over, and is asked for again: so often.
        world.engine.turn(world.now_ns)
        (message,) = world.engine.to_radiate()
        world.now_ns += 60 * S
        world.station.request(world.now_ns, message)
        world.station.advance(world.now_ns)
        (fate,) = world.station.answers()
        assert "latest time" in fate.refused
        world.engine.hear_radiated(world.now_ns, fate)
    shown = world.ask("show", number=number)
    assert shown["state"] == "held"
    assert "latest time" in shown["reason"]
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)
    world.ask("arm", number=number)
    world.ask("send", number=number)
    world.run(1_200)
    assert world.state(number) == "completed"
    assert world.spacecraft.software.receiver.statistics.accepted == 1


def test_no_answer_leaves_it_unknown_until_a_report_comes_or_a_person_closes_it() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    world.turn()
    world._loss = 1.0  # pyright: ignore[reportPrivateUsage]
    # COP-1 repeats it, and then gives up; one that is sent once is overdue sooner.
    expedited = world.command("TEST_CONNECTION", expedited=True)
    world.run(2_500, step_s=20)
    assert (world.state(number), world.state(expedited)) == ("radiated", "unknown")
    assert set(world.stages(expedited).values()) == {"passed", "overdue"}
    world.run(1_200, step_s=20)
    assert world.state(number) == "unknown"
    assert world.stages(number)["received"] == "failed"
    assert world.ask("close", number=number, reason="telemetry shows nothing")["state"] == "failed"


def test_expedited_frames_pass_cop_1_by() -> None:
    world = World()
    number = world.command("TEST_CONNECTION", expedited=True)
    world.turn()
    # No CLCW has been heard, and it leaves all the same.
    assert world.state(number) == "radiated"
    assert "received" not in world.stages(number)
    world.run(1_100)
    assert world.state(number) == "completed"


def test_a_lockout_waits_for_a_person() -> None:
    world = begun(World())
    # A frame number outside of FARM-1's window, as a ground that has lost its count would send.
    frame = build(TcFrame(0, b"count lost", FrameType.AD, 127), TC_PARAMETERS)
    octets = transmission([build_cltu(frame, CLTU_CODING)])
    world.send_up(octets)
    world.run(1_100)
    link = world.ask("status")["link"]
    assert link["clcw"]["lockout"]
    assert link["state"] == "INITIAL"
    number = world.command("TEST_CONNECTION")
    world.run(60)
    assert world.state(number) == "waiting"
    with pytest.raises(LocalError, match="FARM-1 is in lockout: `unlock`"):
        world.ask("link", directive="initiate")
    world.ask("link", directive="unlock")
    world.until(lambda: world.state(number) == "completed", 4_000)
    assert not world.ask("status")["link"]["clcw"]["lockout"]


def test_a_long_packet_takes_several_frames() -> None:
    world = begun(World())
    number = world.command("PARAMETER_REPORT", PARAMETERS=["SC_MODE"] * 255)
    world.turn()
    assert world.ask("show", number=number)["frames"] == 1
    octets = b"\xaa" * 2_500
    long = world.command("SCHEDULE_INSERT", RELEASE_TIME=world.now_ns, REQUEST=octets)
    world.turn()
    assert world.ask("show", number=long)["frames"] == 3
    world.until(lambda: world.state(long) in ("failed", "completed"), 3_000)
    shown = world.ask("show", number=long)
    # It arrived whole: what was in it is no request.
    assert shown["state"] == "failed"
    assert shown["received_frames"] == 3
    assert shown["reason"].startswith(("start: ", "completion: ", "acceptance: "))


@pytest.mark.parametrize("step", range(5))
def test_killed_at_any_step_it_is_executed_once(tmp_path: Path, step: int) -> None:
    world = begun(World(store=tmp_path / "command.sqlite"))
    if step == 0:
        world.kill()
    number = world.ask("add", command="PARAMETER_SET", arguments=_SET)["number"]
    world.ask("arm", number=number)
    world.ask("send", number=number)
    if step == 1:
        world.kill()
    # Handed over in the store, and not on the bus yet.
    world.engine.turn(world.now_ns)
    if step == 2:
        world.kill()
    world.turn()
    if step == 3:
        world.kill()
    world.run(700)
    if step == 4:
        world.kill()
    world.until(lambda: world.state(number) == "completed", 5_000)
    receiver = world.spacecraft.software.receiver.statistics
    assert (receiver.accepted, receiver.rejected) == (1, 0)
    # And the next one goes on where it stopped: numbers of frames and of security.
    after = world.command("TEST_CONNECTION")
    world.run(1_200)
    assert world.state(after) == "completed"
    assert world.spacecraft.software.receiver.statistics.rejected == 0


_SET = {"PARAMETER": "FSW_CONTACT_LOSS", "VALUE": 30.0}


def test_thirty_percent_lost_both_ways_and_killed_meanwhile(tmp_path: Path) -> None:
    world = begun(World(loss=0.3, store=tmp_path / "command.sqlite", seed=5))
    numbers = [world.command("TEST_CONNECTION") for _ in range(12)]
    for _ in range(4):
        world.run(1_500, step_s=10)
        world.kill()
    world.until(lambda: all(world.state(n) in ("completed", "unknown") for n in numbers), 40_000)
    executed = [count for count in world.executed if count in range(1, 13)]
    assert executed == sorted(set(executed))
    for number in numbers:
        shown = world.ask("show", number=number)
        if shown["state"] == "completed":
            assert shown["sequence_count"] in executed
    # COP-1 carries them all through unless it gives up, which is reported.
    assert sum(world.state(n) == "completed" for n in numbers) >= 8


def test_changes_that_a_kill_kept_from_being_told_are_told_after_it(tmp_path: Path) -> None:
    world = World(store=tmp_path / "command.sqlite")
    world.command("TEST_CONNECTION")
    told = world.engine.changes()
    assert [change.event for change in told][:3] == ["add", "arm", "send"]
    world.command("TEST_CONNECTION")
    # Noted on disk, and killed before any of it was published.
    world.kill()
    world.engine.recover_changes(told[-1])
    again = world.engine.changes()
    assert [(c.number, c.event) for c in again][:3] == [(2, "add"), (2, "arm"), (2, "send")]
    everything = [*told, *again]
    assert [change.id for change in everything] == list(range(1, len(everything) + 1))
    assert world.engine.changes() == []
    world.engine.recover_changes(None)
    assert world.engine.changes() == everything
