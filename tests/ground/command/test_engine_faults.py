"""What goes wrong between command service, station and operators, one thing at a time."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from ground.answering import CallServer
from ground.command.client import CommandClient
from ground.command.engine import CommandEngine
from ground.command.link import CommandLink
from ground.command.store import CommandStore
from ground.config import free_base_port
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import security_initiator
from protocols.errors import LocalError
from protocols.packets.pus import RequestId
from protocols.telecommand.verification import Stage, Verification
from tests.ground.command.test_engine import begun, passes
from tests.ground.command.test_security import manage
from tests.ground.command.world import LIBRARY, OWLT_NS, START_NS, TIMING, S, World
from tests.long.commands import trial


def fate_of(message: UplinkMessage, *, refused: str = "", at_ns: int = 0) -> RadiatedMessage:
    return RadiatedMessage(
        *(message.id, message.service, message.carrier, at_ns, at_ns + S, refused, "Yeoju")
    )


def handed_over(world: World) -> list[UplinkMessage]:
    """What the engine wants radiated now; the station never hears of it."""
    world.engine.turn(world.now_ns)
    return world.engine.to_radiate()


def test_a_refused_call_takes_nothing_back_that_others_have_done() -> None:
    world = World()
    add = {"actor": "ann", "command": "TEST_CONNECTION"}
    number = world.engine.operate(world.now_ns, "1", "add", add)["number"]
    with pytest.raises(LocalError, match="cannot send"):
        world.engine.operate(world.now_ns, "2", "send", {"actor": "ann", "number": number})
    assert [one.event for one in world.engine.changes()] == ["add"]


def test_a_frame_that_goes_up_behind_one_that_was_refused_changes_nothing() -> None:
    world = begun(World())
    octets = b"\xaa" * 2_500
    number = world.command("SCHEDULE_INSERT", RELEASE_TIME=world.now_ns, REQUEST=octets)
    first, second, third = handed_over(world)
    for attempt in range(3):
        world.engine.hear_radiated(world.now_ns, fate_of(first, refused="too late"))
        if attempt < 2:
            (first,) = world.engine.to_radiate()
    assert world.state(number) == "held"
    for message in (second, third):
        world.engine.hear_radiated(world.now_ns, fate_of(message, at_ns=world.now_ns))
    assert world.state(number) == "held"
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)


def test_a_station_that_comes_back_after_hours_sends_nothing_that_was_given_up() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    expedited = world.command("TEST_CONNECTION", expedited=True)
    lost = handed_over(world)
    for _ in range(4):
        # FOP-1 repeats and gives up; the station is dead.
        world.now_ns += 2 * OWLT_NS + 300 * S
        lost += handed_over(world)
    assert world.state(number) == world.state(expedited) == "unknown"
    assert len(lost) == 4
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)
    for message in lost:
        world.engine.hear_radiated(world.now_ns, fate_of(message, refused="hours too late"))
    # Neither are they sent now, nor do they end the service that has begun since.
    assert handed_over(world) == []
    assert not world.engine.unanswered()
    assert world.ask("status")["link"]["state"] == "ACTIVE"


def test_a_lost_frame_is_repeated_before_its_answer_is_overdue() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    world._loss = 1.0  # pyright: ignore[reportPrivateUsage]
    world.turn()
    world._loss = 0.0  # pyright: ignore[reportPrivateUsage]
    world.until(lambda: world.state(number) == "completed", 3_000)
    states = {one["state"] for one in world.ask("show", number=number)["history"]}
    assert "unknown" not in states
    with pytest.raises(LocalError, match="COP-1's 120000000000 ns and the handover's"):
        CommandEngine(
            CommandStore.open(":memory:"),
            COMMANDS,
            CommandLink(security_initiator(world.keys), owlt_ns=OWLT_NS, margin_ns=120 * S),
            world.engine.visibility,
            replace(TIMING, margin_ns=120 * S),
            lambda: LIBRARY,
            bytes,
            boot="narrow",
        )


def test_initiating_waits_for_what_is_under_way() -> None:
    world = begun(World())
    numbers = [world.command("TEST_CONNECTION") for _ in range(2)]
    world.run(60)
    world.ask("link", directive="terminate")
    assert {world.state(number) for number in numbers} == {"unknown"}
    # Numbered now, a frame would have the number of one that is under way.
    assert "may still be under way" in world.ask("link", directive="initiate")
    third = world.command("TEST_CONNECTION")
    world.run(300)
    assert world.state(third) == "waiting"
    world.until(lambda: world.state(third) == "completed", 4_000)
    assert {world.state(number) for number in numbers} == {"completed"}
    assert len(world.executed) == len(set(world.executed)) == 3


def test_v_r_that_was_set_tells_nothing_of_frames_before() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    handed_over(world)
    world.ask("link", directive="terminate")
    assert world.state(number) == "unknown"
    world.ask("link", directive="set-vr", value=9)
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)
    world.ask("link", directive="terminate")
    world.run(2_000, step_s=20)
    # N(S) = 0 is behind V(R) = 9, and was never there.
    assert world.stages(number)["received"] != "passed"
    assert world.state(number) == "unknown"


def test_what_cannot_be_built_or_protected_any_more_is_held() -> None:
    world = begun(World())
    gone = world.command("TEST_CONNECTION")
    request = world.engine.store.request(gone)
    # As if a later version of the dictionary had it no more.
    request.command = "GONE"
    world.engine.store.save(request)
    behind = world.command("TEST_CONNECTION")
    world.run(10)
    assert world.state(gone) == "held"
    assert world.ask("show", number=gone)["reason"].startswith("no command 'GONE'")
    # What the same person has sent after it may rest on it.
    assert world.state(behind) == "waiting"
    assert world.ask("show", number=behind)["violations"] == [
        f"request {gone}, sent before it, is held"
    ]
    world.ask("remove", number=gone)
    for action, *numbers in (("otar", 10), ("activate", 10), ("rekey", 3, 10), ("start", 3)):
        manage(world, str(action), *map(int, numbers))
    stop = world.ask("security", action="stop", numbers=[3])["number"]
    world.ask("arm", number=stop)
    world.ask("approve", actor="bob", number=stop)
    world.ask("send", number=stop)
    # While it is on its way to be stopped, it is taken into use.
    world.ask("security", action="use", numbers=[0, 3])
    world.until(lambda: world.state(stop) == "completed", 3_000)
    number = world.command("TEST_CONNECTION")
    world.run(10)
    assert world.state(behind) == "completed"
    assert world.state(number) == "held"
    assert world.ask("show", number=number)["reason"] == "MAP 0 goes under SPI 3, which is KEYED"
    world.ask("security", action="use", numbers=[0, 1])
    world.ask("arm", number=number)
    world.ask("send", number=number)
    world.until(lambda: world.state(number) == "completed", 3_000)


def test_a_number_without_room_is_refused_and_the_service_goes_on() -> None:
    world = World()
    endpoint = f"tcp://127.0.0.1:{free_base_port()}"
    server = CallServer(endpoint)
    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.005):
            server.turn(partial(world.engine.operate, world.now_ns))
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with CommandClient(endpoint, actor="ann") as client:
            with pytest.raises(LocalError, match="show: OverflowError: Python int too large"):
                client.show(2**63)
            assert client.add("TEST_CONNECTION")["number"] == 1
    finally:
        stop.set()
        thread.join()


def test_a_file_of_commands_gets_the_indexes_that_it_was_made_without(tmp_path: Path) -> None:
    path = tmp_path / "command.sqlite"
    CommandStore.open(path).close()
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP INDEX uplink_request")
        old.execute("DROP INDEX reply_id")
    CommandStore.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        (plan,) = db.execute("EXPLAIN QUERY PLAN SELECT message FROM uplink WHERE request = 7")
    assert "uplink_request" in plan[3]


def lose(world: World) -> None:
    """What the engine wants radiated now goes up, and is never heard."""
    world._loss = 1.0  # pyright: ignore[reportPrivateUsage]
    world.turn()
    world._loss = 0.0  # pyright: ignore[reportPrivateUsage]


def test_a_repetition_behind_frames_of_type_bd_is_no_replay() -> None:
    world = begun(World())
    lost = [world.command("TEST_CONNECTION") for _ in range(2)]
    lose(world)
    expedited = [world.command("TEST_CONNECTION", expedited=True) for _ in range(2)]
    world.until(lambda: all(world.state(one) == "completed" for one in (*lost, *expedited)), 4_000)
    assert world.spacecraft.software.receiver.statistics.insecure == 0
    assert len(world.executed) == len(set(world.executed)) == 4


def test_a_frame_of_type_bd_is_not_asked_for_again_behind_another() -> None:
    world = begun(World())
    first, second = (world.command("TEST_CONNECTION", expedited=True) for _ in range(2))
    messages = handed_over(world)
    assert len(messages) == 2
    for message in messages:
        world.engine.hear_radiated(world.now_ns, fate_of(message, refused="too late"))
    # The numbers of link security rise: the first would be a replay where the second has gone.
    (again,) = world.engine.to_radiate()
    assert world.state(first) == "held"
    assert again.octets == messages[1].octets
    assert world.state(second) == "released"


def test_management_goes_by_the_ad_service_alone() -> None:
    with pytest.raises(LocalError, match="SECURITY_PROCEDURE: goes by the AD service alone"):
        World().ask("add", command="SECURITY_PROCEDURE", arguments={"PDU": b"\x00"}, expedited=True)


def test_the_bd_services_key_rolls_over() -> None:
    world = begun(World())
    for action, *numbers in (("otar", 11), ("activate", 11), ("rekey", 7, 11), ("start", 7)):
        manage(world, str(action), *map(int, numbers))
    world.ask("security", action="use", numbers=[2, 7])
    for action, *numbers in (("stop", 6), ("expire", 6), ("deactivate", 4)):
        manage(world, str(action), *map(int, numbers))
    number = world.command("TEST_CONNECTION", expedited=True)
    world.until(lambda: world.state(number) == "completed", 3_000)


def test_nothing_goes_up_after_its_latest_time() -> None:
    world = begun(World())
    early = world.ask("add", command="TEST_CONNECTION", latest_ns=world.now_ns + 600 * S)
    later = world.ask("add", command="TEST_CONNECTION")
    for one in (early, later):
        world.ask("arm", number=one["number"])
        world.ask("send", number=one["number"])
    lose(world)
    world.until(lambda: world.state(early["number"]) == "failed", 4_000)
    shown = world.ask("show", number=early["number"])
    assert "not sent again: its latest time is over" in [one["text"] for one in shown["history"]]
    assert len(shown["radiations"]) == 1
    # The AD service has ended with it: what went up behind it was discarded, and is known to be.
    assert world.state(later["number"]) == "failed"
    assert world.executed == []
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)
    again = world.ask("repeat", number=later["number"])["number"]
    world.ask("arm", number=again)
    world.ask("send", number=again)
    world.until(lambda: world.state(again) == "completed", 3_000)


def test_the_station_is_given_no_later_time_than_the_operator_gave() -> None:
    world = begun(World())
    latest_ns = world.now_ns + 4 * S
    for expedited in (False, True):
        number = world.ask(
            "add", command="TEST_CONNECTION", latest_ns=latest_ns, expedited=expedited
        )["number"]
        world.ask("arm", number=number)
        world.ask("send", number=number)
    messages = handed_over(world)
    assert [one.latest_ns for one in messages] == [latest_ns, latest_ns]
    world.now_ns = latest_ns + 1
    for message in messages:
        world.engine.hear_radiated(world.now_ns, fate_of(message, refused="too late"))
    assert not world.engine.to_radiate()
    world.engine.turn(world.now_ns)
    assert {world.state(one) for one in (number - 1, number)} == {"expired"}


def test_unlock_without_a_lockout_is_refused() -> None:
    world = begun(World())
    world.command("TEST_CONNECTION")
    world.run(60)
    with pytest.raises(LocalError, match="not in lockout: there is nothing to unlock"):
        world.ask("link", directive="unlock")
    world.ask("link", directive="terminate")
    with pytest.raises(LocalError, match="not in lockout by the last CLCW"):
        world.ask("link", directive="unlock")


def test_stages_of_a_request_that_cop_1_gave_up_become_overdue() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    handed_over(world)
    world.ask("link", directive="terminate")
    assert world.state(number) == "unknown"
    world.now_ns += 4 * OWLT_NS
    handed_over(world)
    assert world.state(number) == "unknown"
    assert world.stages(number)["completion"] == "overdue"


def test_requests_leave_in_the_order_in_which_they_were_sent_first() -> None:
    world = begun(World())
    others = world.command("TEST_CONNECTION")
    first, second = (world.command("ARRAY_TURN", ANGLE=5.0) for _ in range(2))
    turn_array(world, first, 1e9)
    world.run(10)
    # Somebody else's, and the BD service's, do not wait.
    bob = world.ask("add", actor="bob", command="TEST_CONNECTION")["number"]
    world.ask("arm", actor="bob", number=bob)
    world.ask("send", actor="bob", number=bob)
    expedited = world.command("TEST_CONNECTION", expedited=True)
    world.run(10)
    assert world.state(first) == "held"
    assert world.state(second) == "waiting"
    assert {world.state(one) for one in (bob, expedited, others)} == {"radiated"}
    # Put right and sent again, it is the first one still.
    turn_array(world, first, 5.0)
    world.ask("arm", number=first)
    world.ask("approve", actor="bob", number=first)
    world.run(5)
    assert world.state(second) == "waiting"
    world.ask("send", number=first)
    world.until(lambda: world.state(second) == "completed", 3_000)
    counts = [world.ask("show", number=one)["sequence_count"] for one in (first, second)]
    assert counts[0] < counts[1]


def turn_array(world: World, number: int, angle: float) -> None:
    """Another argument than the operator gave, as a dictionary of another version would see it."""
    request = world.engine.store.request(number)
    request.arguments = {"ANGLE": angle}
    world.engine.store.save(request)


def test_a_frame_acknowledged_before_its_repetition_could_leave_is_not_repeated() -> None:
    plan = passes((0, 300), (2_400, 4_000))
    # Of the second pass, the downlink comes before the uplink window, as always.
    first, second = plan.passes
    early = replace(second, aos_ns=second.aos_ns - 300 * S, setup_ns=second.setup_ns - 300 * S)
    world = begun(World(passes=replace(plan, passes=(first, early))))
    world.run(250)
    number = world.command("TEST_CONNECTION")
    world.run(850)
    # The answers are lost until COP-1 would repeat the frame, which no window allows.
    world._loss = 1.0  # pyright: ignore[reportPrivateUsage]
    world.run(400)
    world._loss = 0.0  # pyright: ignore[reportPrivateUsage]
    world.until(lambda: world.stages(number)["received"] == "passed", 1_000)
    later = world.command("TEST_CONNECTION")
    world.until(lambda: world.state(later) == "completed", 3_000)
    assert [len(world.ask("show", number=one)["radiations"]) for one in (number, later)] == [1, 1]
    assert len(world.executed) == 2


def test_a_directive_that_is_refused_does_not_begin_what_was_ended() -> None:
    world = begun(World())
    world.ask("link", directive="terminate")
    for refused in (
        {"directive": "unlock"},
        {"directive": "set-vr"},
        {"directive": "set-vr", "value": 256},
        {"directive": "begin"},
    ):
        with pytest.raises(LocalError):
            world.ask("link", actor="bob", **refused)
    world.run(100)
    assert world.ask("status")["link"]["state"] == "INITIAL"
    world.ask("link", directive="initiate")
    world.until(lambda: world.ask("status")["link"]["state"] == "ACTIVE", 3_000)


def test_a_late_report_of_an_early_stage_does_not_keep_a_request_open_for_ever() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    handed_over(world)
    world.now_ns += 6_000 * S
    handed_over(world)
    assert world.state(number) == "unknown"
    request = RequestId.of(world.ask("show", number=number)["octets"])
    for stage, state in ((Stage.ACCEPTANCE, "unknown"), (Stage.COMPLETION, "completed")):
        with world.engine.store.transaction():
            world.engine.progress.reported(world.now_ns, Verification(request, stage), world.now_ns)
        handed_over(world)
        assert world.state(number) == state


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_nothing_is_held_that_went_up_by_another_radiation(order: tuple[int, int]) -> None:
    world = begun(World(passes=passes((0, 1_500), (20_000, 24_000))))
    world.run(250)
    number = world.command("TEST_CONNECTION")
    (first,) = handed_over(world)
    # The station sends it, and what it says of that is not heard before the frame is repeated.
    world.send_up(first.octets)
    sent_ns = world.now_ns
    world.now_ns += 1_130 * S
    (second,) = handed_over(world)
    world.now_ns = START_NS + 1_499 * S
    fates = (
        fate_of(first, at_ns=sent_ns),
        fate_of(second, refused="no uplink window is open"),
    )
    for one in order:
        world.engine.hear_radiated(world.now_ns, fates[one])
    assert world.state(number) != "held"
    world.until(lambda: world.state(number) == "completed", 3_000)
    assert len(world.executed) == 1


def test_a_frame_given_up_after_its_answer_was_overdue_is_known_not_to_have_arrived() -> None:
    world = begun(World(passes=passes((0, 300), (20_000, 24_000))))
    number = world.command("MODE_SET", MODE="SAFE")
    # No window allows the repetition, and completion is not overdue yet.
    handed_over(world)
    world.run(1_150)
    assert world.state(number) == "released"
    assert world.stages(number)["received"] == "overdue"
    world.ask("link", directive="terminate")
    assert world.state(number) == "unknown"
    world.until(lambda: world.state(number) == "failed", 2_000)
    assert not world.executed


def test_a_packet_whose_last_frames_never_left_has_failed() -> None:
    world = begun(World())
    for _ in range(9):
        world.command("TEST_CONNECTION")
    octets = b"\xaa" * 2_500
    number = world.command("SCHEDULE_INSERT", RELEASE_TIME=world.now_ns, REQUEST=octets)
    world.run(30)
    assert world.ask("status")["link"]["outstanding"] == 10
    world.ask("link", directive="terminate")
    assert world.state(number) == "failed"
    reason = "not all of its frames were sent; it can be sent again"
    assert world.ask("show", number=number)["reason"] == reason


def test_what_waits_for_its_first_telemetry_is_not_overtaken() -> None:
    world = begun(World())
    first = world.command("MODE_RECOVER")
    second = world.command("TEST_CONNECTION")
    expedited = world.command("TEST_CONNECTION", expedited=True)
    states = []
    for _ in range(2):
        handed_over(world)
        states.append([world.state(one) for one in (first, second, expedited)])
        world.now_ns += 12 * S
    assert states == [["waiting", "waiting", "released"], ["held", "waiting", "released"]]


def test_a_hazardous_request_within_another_wants_a_second_person() -> None:
    world = begun(World())
    within = world.engine.commands.build("MODE_RECOVER")
    twice = world.engine.commands.build(
        "SCHEDULE_INSERT", {"RELEASE_TIME": world.now_ns, "REQUEST": within}
    )
    for octets in (within, twice):
        arguments = {"RELEASE_TIME": world.now_ns, "REQUEST": octets}
        asked = {"command": "SCHEDULE_INSERT", "arguments": arguments}
        assert "equipment comes on" in world.ask("check", **asked)["hazard"]
        number = world.ask("add", **asked)["number"]
        world.ask("arm", number=number)
        with pytest.raises(LocalError, match="a second person's approval wanted"):
            world.ask("send", number=number)
    test = world.engine.commands.build("TEST_CONNECTION")
    harmless = {"RELEASE_TIME": world.now_ns, "REQUEST": test}
    assert not world.ask("check", command="SCHEDULE_INSERT", arguments=harmless)["hazard"]


@pytest.mark.parametrize("seed", [0, 4])
def test_every_request_ends_as_what_the_spacecraft_did_with_it(tmp_path: Path, seed: int) -> None:
    """The short form of `python -m tests.long.commands`."""
    ends = trial(seed, tmp_path)
    assert ends["completed"] > 10


def test_a_refused_frame_of_type_bd_leaves_the_ad_service_alone() -> None:
    world = begun(World())
    number = world.command("TEST_CONNECTION")
    world.run(60)
    latest_ns = world.now_ns + S
    expedited = world.ask("add", command="TEST_CONNECTION", latest_ns=latest_ns, expedited=True)
    world.ask("arm", number=expedited["number"])
    world.ask("send", number=expedited["number"])
    (message,) = handed_over(world)
    world.now_ns = latest_ns + 1
    world.engine.hear_radiated(world.now_ns, fate_of(message, refused="too late"))
    assert world.ask("status")["link"]["state"] == "ACTIVE"
    world.until(lambda: world.state(number) == "completed", 3_000)
    assert world.state(expedited["number"]) == "expired"
