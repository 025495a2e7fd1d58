"""Flight software by its command link: what it executes, refuses, reports, and does by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from protocols.coding.cltu import build_cltu
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import CLTU_CODING, TC_PARAMETERS
from protocols.dictionary.l4_reports import EVERYTHING, housekeeping_definition
from protocols.dictionary.l4_states import Mode
from protocols.frames.clcw import CLCW
from protocols.frames.tc import FrameType, TcFrame, Unlock, build
from protocols.identifiers import Apid, Carrier, VirtualChannel
from protocols.packets.pus import RequestId, check_error_control
from protocols.packets.space_packet import SequenceFlags, split
from protocols.telecommand.verification import FailureCode
from protocols.telemetry.declaration import Dictionary
from spacecraft_sim.scenario import Fault, FlightSoftwareSettings, Mars, Scenario, SpacecraftStart
from spacecraft_sim.spacecraft import DownlinkFrames
from spacecraft_sim.subsystems.common import TICK_NS, Uplink
from tests.spacecraft_sim.commanding import Sender, flight

QUIET = Scenario(mars=Mars(present=False))
DONE = ["ACCEPTANCE_SUCCESS", "COMPLETION_SUCCESS"]
STARTED = ["ACCEPTANCE_SUCCESS", "START_SUCCESS", "COMPLETION_SUCCESS"]
#: AOS: six octets of header and two of M_PDU in front, OCF and FECF behind.
_ZONE = slice(8, -6)


def zones(downlink: DownlinkFrames, channel: VirtualChannel) -> bytes:
    """Packets of a virtual channel from a frame's boundary on; all of them, as nothing is lost."""
    frames = downlink.frames[(downlink.frames[:, 1] & 0x3F) == channel]
    return frames[:, _ZONE].tobytes()


def packets(downlink: DownlinkFrames, channel: VirtualChannel, apid: Apid) -> list[bytes]:
    found = split(zones(downlink, channel)).packets
    return [bytes(p) for p in found if int.from_bytes(bytes(p)[:2], "big") & 0x7FF == apid]


def refused(stage: str, code: FailureCode) -> list[str]:
    before = [] if stage == "ACCEPTANCE" else ["ACCEPTANCE_SUCCESS"]
    return [*before, f"{stage}_FAILURE {int(code)}"]


def test_connection_test_is_answered_with_octets_that_others_read() -> None:
    craft = flight(QUIET)
    packet = craft.sender.packet("TEST_CONNECTION")
    downlink = craft.run(10, craft.sender.uplink(packet))
    reports = packets(downlink, VirtualChannel.EVENTS, Apid.FLIGHT_SOFTWARE)
    for report in reports:
        check_error_control(report)
    decoded = [EVERYTHING.decode(split(report).packets) for report in reports]
    names = [table.definition.name for one in decoded for table in one]
    assert names == ["VERIFY_ACCEPTANCE_SUCCESS", "TEST_REPORT", "VERIFY_COMPLETION_SUCCESS"]
    values = EVERYTHING.definition(names[0]).parse(reports[0])
    assert RequestId(values["VER_PACKET_ID"], values["VER_SEQUENCE"]) == RequestId.of(packet)


def last_clcw(downlink: DownlinkFrames) -> CLCW:
    """Frame security reports, whose first bit is 1, take turns with it."""
    words = [frame[-6:-2].tobytes() for frame in downlink.frames]
    return CLCW.parse([word for word in words if not word[0] >> 7][-1])


def test_the_ocf_is_the_report_of_farm() -> None:
    craft = flight(QUIET)
    words = [CLCW.parse(frame[-6:-2].tobytes()) for frame in craft.run(5).frames]
    assert all(word.no_bit_lock and word.report_value == 0 for word in words)
    craft.command("TEST_CONNECTION")
    craft.command("TEST_CONNECTION")
    word = last_clcw(craft.run(5))
    assert (word.report_value, word.no_bit_lock, word.lockout) == (2, False, False)
    # FARM-1's window is 254 wide: only 129 and 130 are outside of it while 2 is expected.
    craft.sender._number = 130  # pyright: ignore[reportPrivateUsage]
    assert craft.command("TEST_CONNECTION") == []
    word = last_clcw(craft.run(5))
    assert (word.report_value, word.lockout) == (2, True)
    unlock = build(TcFrame(0, Unlock().build(), FrameType.BC), TC_PARAMETERS)
    craft.run(2, (Uplink(Carrier.COMMAND, build_cltu(unlock, CLTU_CODING)),))
    craft.sender._number = 2  # pyright: ignore[reportPrivateUsage]
    assert craft.command("TEST_CONNECTION") == DONE
    word = last_clcw(craft.run(5))
    assert (word.report_value, word.lockout, word.farm_b_counter) == (3, False, 1)


def test_nothing_is_executed_that_is_not_authentic() -> None:
    """Forged with another key, replayed, bit-flipped, without security: counted, not executed."""
    craft = flight(QUIET)
    to_safe = craft.sender.packet("MODE_SET", {"MODE": "SAFE"})
    good = craft.sender.frames(to_safe, FrameType.BD)[0]
    forger = Sender(key=bytes(range(16)))
    bad = [forger.frames(to_safe, FrameType.BD)[0]]
    bare = TcFrame(0, to_safe, FrameType.BD, 0, 0, SequenceFlags.UNSEGMENTED)
    bad.append(build(bare, TC_PARAMETERS))
    rng = np.random.default_rng(5)
    for _ in range(200):
        flipped = bytearray(good)
        for _ in range(int(rng.integers(1, 4))):
            flipped[int(rng.integers(len(good)))] ^= 1 << int(rng.integers(8))
        if bytes(flipped) != good:
            bad.append(bytes(flipped))
    # Flipped in the frame behind its error control: what a forger who can compute a CRC sends.
    for place in range(6, len(good) - 2):
        body = bytearray(good[:-2])
        body[place] ^= 0x10
        from protocols.coding.crc import crc16

        bad.append(bytes(body) + crc16(bytes(body)).to_bytes(2, "big"))
    for start in range(0, len(bad), 40):
        octets = b"".join(build_cltu(one, CLTU_CODING) for one in bad[start : start + 40])
        craft.run(1, (Uplink(Carrier.COMMAND, octets),))
    statistics = craft.spacecraft.software.receiver.statistics
    assert statistics.accepted == 0
    assert statistics.rejected >= len(bad)
    assert statistics.insecure > len(good) - 10
    assert craft.spacecraft.mode is Mode.NOMINAL
    assert not [name for _, name, _ in craft.log if name.startswith("VERIFY_")]
    one = (Uplink(Carrier.COMMAND, build_cltu(good, CLTU_CODING)),)
    craft.run(4, one)
    assert craft.spacecraft.mode is Mode.SAFE
    craft.command("MODE_SET", MODE="STANDBY")
    craft.run(4, one)
    assert craft.spacecraft.mode is Mode.STANDBY
    assert statistics.refusals["sequence number not above the last one"] == 1


def test_a_command_in_pieces_and_noise_between() -> None:
    craft = flight(QUIET)
    packet = craft.sender.packet("TEST_CONNECTION")
    (whole,) = craft.sender.uplink(packet)
    for piece in (b"\x12\x34" * 30, whole.octets[:30], whole.octets[30:]):
        craft.run(1, (Uplink(Carrier.COMMAND, piece),))
    assert craft.stages(packet) == DONE


def test_modes_allow_and_forbid() -> None:
    craft = flight(replace(QUIET, spacecraft=SpacecraftStart(mode="LAUNCH")))
    assert craft.command("ARRAY_TURN", ANGLE=10.0) == refused("START", FailureCode.WRONG_MODE)
    assert craft.command("MODE_SET", MODE="NOMINAL") == refused("START", FailureCode.WRONG_MODE)
    assert craft.command("MODE_SET", MODE="SAFE", wait_s=4) == STARTED
    assert craft.command("MODE_SET", MODE="STORM") == refused("START", FailureCode.WRONG_MODE)
    assert craft.command("PROPULSION_BURN", DURATION=2.0) == refused(
        "START", FailureCode.WRONG_MODE
    )
    stages = craft.command("MODE_RECOVER", wait_s=400)
    assert stages == [*STARTED[:2], *["PROGRESS_SUCCESS"] * 3, STARTED[2]]
    assert craft.spacecraft.mode is Mode.NOMINAL
    before = craft.spacecraft.propulsion.propellant_kg
    assert craft.command("PROPULSION_BURN", DURATION=5.0, wait_s=10) == STARTED
    assert before - craft.spacecraft.propulsion.propellant_kg > 5e-5
    assert craft.command("ARRAY_TURN", ANGLE=-9.0, wait_s=20) == STARTED
    assert craft.spacecraft.array_angle_deg == -9.0
    assert craft.command("INSTRUMENTS_SWITCH", SWITCH="OFF") == DONE
    assert not craft.spacecraft.power.switches["instruments"]
    # Overtaken by safe mode, an execution fails.
    long = craft.sender.packet("PROPULSION_BURN", {"DURATION": 100.0})
    craft.run(3, craft.sender.uplink(long))
    craft.command("MODE_SET", MODE="SAFE", wait_s=4)
    assert craft.stages(long)[-1] == f"COMPLETION_FAILURE {int(FailureCode.ABORTED)}"
    assert not craft.spacecraft.burning


def test_what_is_no_command_is_refused_with_its_code() -> None:
    craft = flight(QUIET)
    packet = craft.sender.packet("TEST_CONNECTION")
    wrong = bytearray(packet)
    wrong[8] = 99
    craft.run(2, craft.sender.uplink(bytes(wrong)))
    assert craft.stages(bytes(wrong)) == refused("ACCEPTANCE", FailureCode.BAD_CRC)


def test_housekeeping_structures_at_run_time() -> None:
    craft = flight(QUIET)
    names = ["SC_MODE", "PWR_BUS_VOLTAGE", "PWR_ARRAY_TEMPERATURE", "FSW_CONTACT_LOSS"]
    create = {"STRUCTURE": 7, "INTERVAL": 3, "PARAMETERS": names[:3]}
    assert craft.command("HK_CREATE", **create) == DONE
    assert craft.command("HK_CREATE", **create) == refused("START", FailureCode.ALREADY_EXISTS)
    assert craft.command("HK_APPEND", STRUCTURE=7, PARAMETERS=names[3:]) == DONE
    assert craft.command("HK_ENABLE", STRUCTURES=[7, 8]) == refused(
        "START", FailureCode.UNKNOWN_IDENTIFIER
    )
    assert craft.command("HK_ENABLE", STRUCTURES=[7]) == DONE
    assert craft.command("HK_DELETE", STRUCTURES=[7]) == refused("START", FailureCode.STILL_ENABLED)
    # Only whole frames are looked at: what came before fills the first ones.
    craft.run(60)
    downlink = craft.run(300)
    channel = zones(downlink, VirtualChannel.HOUSEKEEPING)
    dictionary = Dictionary("HK", (housekeeping_definition(7, names),))
    marker = (0x0800 | Apid.FLIGHT_SOFTWARE).to_bytes(2, "big")
    reports: list[bytes] = []
    at = channel.find(marker)
    while at >= 0:
        length = int.from_bytes(channel[at + 4 : at + 6], "big") + 7
        report = channel[at : at + length]
        if len(report) == length and report[7:9] == bytes((3, 25)):
            reports.append(report)
        at = channel.find(marker, at + 2)
    assert 80 <= len(reports) <= 101
    for report in reports:
        check_error_control(report)
    (table,) = dictionary.decode(split(b"".join(reports)).packets)
    assert set(table.engineering("SC_MODE")) == {"NOMINAL"}
    assert np.all(np.abs(table.engineering("PWR_BUS_VOLTAGE") - 33.2) < 0.5)
    assert set(table.engineering("FSW_CONTACT_LOSS")) == {168.0}
    assert craft.command("HK_SET_INTERVAL", STRUCTURE=7, INTERVAL=60) == DONE
    assert craft.command("HK_DISABLE", STRUCTURES=[7]) == DONE
    assert craft.command("HK_REPORT_STRUCTURES", STRUCTURES=[7]) == DONE
    assert craft.reports("HK_STRUCTURE")[-1] == {
        "HKS_STRUCTURE": 7, "HKS_PERIODIC": "OFF", "HKS_INTERVAL": 60, "HKS_PARAMETER": names,
        "HKS_GROUPS": 0,
    }  # fmt: skip
    assert craft.command("HK_ONE_SHOT", STRUCTURES=[1]) == DONE
    assert craft.reports("HK_1")[-1]["FSW_COMMANDS_FAILED"] == 3
    assert craft.command("HK_DELETE", STRUCTURES=[7]) == DONE


def test_parameters_are_set_and_reported() -> None:
    craft = flight(QUIET)
    assert craft.command("PARAMETER_SET", PARAMETER="FSW_CONTACT_LOSS", VALUE=24.0) == DONE
    too_much = craft.command("PARAMETER_SET", PARAMETER="FSW_CONTACT_LOSS", VALUE=1e6)
    assert too_much == refused("START", FailureCode.ILLEGAL_ARGUMENT)
    assert craft.command("PARAMETER_REPORT", PARAMETERS=["FSW_CONTACT_LOSS", "SC_MODE"]) == DONE
    assert craft.reports("PARAMETER_VALUES")[-1]["PAR_VALUE"] == [24.0, 2.0]


def test_events_can_be_silenced() -> None:
    craft = flight(QUIET)
    assert craft.command("EVENT_DISABLE", EVENTS=["MODE_CHANGE"]) == DONE
    craft.command("MODE_SET", MODE="STANDBY")
    assert not [text for text in craft.events() if text.startswith("MODE_CHANGE")]
    craft.command("EVENT_REPORT_DISABLED")
    assert craft.reports("EVENTS_DISABLED")[-1] == {"EVD_EVENT": ["MODE_CHANGE"]}
    assert craft.command("EVENT_ENABLE", EVENTS=["MODE_CHANGE"]) == DONE
    craft.command("MODE_SET", MODE="NOMINAL")
    assert [text for text in craft.events() if text.startswith("MODE_CHANGE")]


def test_the_schedule_releases_by_the_on_board_clock() -> None:
    settings = FlightSoftwareSettings(clock_offset_s=100.0)
    craft = flight(replace(QUIET, flight_software=settings))
    clock_ns = craft.spacecraft.clock.read(craft.spacecraft.now_ns)
    later = craft.sender.packet("MODE_SET", {"MODE": "STANDBY"})
    never = craft.sender.packet("MODE_SET", {"MODE": "SAFE"})
    insert: dict[str, Any] = {"RELEASE_TIME": clock_ns + 30 * TICK_NS, "REQUEST": later}
    assert craft.command("SCHEDULE_INSERT", **insert) == DONE
    insert = {"RELEASE_TIME": clock_ns + 40 * TICK_NS, "REQUEST": never}
    assert craft.command("SCHEDULE_INSERT", **insert) == DONE
    late = {"RELEASE_TIME": clock_ns, "REQUEST": never}
    assert craft.command("SCHEDULE_INSERT", **late) == refused("START", FailureCode.TOO_LATE)
    broken = {"RELEASE_TIME": clock_ns + 40 * TICK_NS, "REQUEST": never[:-1]}
    assert craft.command("SCHEDULE_INSERT", **broken) == refused("START", FailureCode.WRONG_LENGTH)
    names = {"SEQUENCE_COUNT": RequestId.of(never).sequence_count}
    assert craft.command("SCHEDULE_SHIFT", OFFSET=500, **names) == DONE
    assert craft.command("SCHEDULE_SUMMARY") == DONE
    assert [t - clock_ns for t in craft.reports("SCHEDULE_SUMMARY")[-1]["SCH_RELEASE"]] == [
        30 * TICK_NS, 540 * TICK_NS,
    ]  # fmt: skip
    assert craft.command("SCHEDULE_REPORT") == DONE
    assert [r["SCH_REQUEST"] for r in craft.reports("SCHEDULE_DETAIL")] == [later, never]
    assert craft.command("SCHEDULE_DELETE", **names) == DONE
    assert craft.command("SCHEDULE_DELETE", **names) == refused(
        "START", FailureCode.UNKNOWN_IDENTIFIER
    )
    assert craft.spacecraft.mode is Mode.NOMINAL
    craft.run(30)
    assert craft.spacecraft.mode is Mode.STANDBY
    assert craft.stages(later) == STARTED


def test_monitors_raise_events_and_actions_follow() -> None:
    craft = flight(QUIET)
    request = COMMANDS.build("MODE_SET", {"MODE": "STANDBY"}, sequence_count=9_000)
    assert craft.command("ACTION_ADD", EVENT="LIMIT_VIOLATED", REQUEST=request) == DONE
    assert craft.command("ACTION_ENABLE", EVENT="LIMIT_VIOLATED") == DONE
    monitor = {
        "MONITOR": 9, "PARAMETER": "PWR_BUS_VOLTAGE", "REPETITION": 5,
        "HIGH_LIMIT": 20.0, "HIGH_EVENT": "LIMIT_VIOLATED",
    }  # fmt: skip
    assert craft.command("MONITOR_ADD", **monitor) == DONE
    craft.run(10)
    assert craft.spacecraft.mode is Mode.NOMINAL
    assert craft.command("MONITOR_ENABLE", MONITORS=[9]) == DONE
    craft.run(10)
    assert craft.spacecraft.mode is Mode.STANDBY
    (transition,) = craft.reports("MONITOR_TRANSITIONS")
    assert (transition["MON_MONITOR"], transition["MON_LIMIT"]) == ([9], [20.0])
    assert transition["MON_PREVIOUS"] == ["WITHIN_LIMITS"]
    assert transition["MON_CURRENT"] == ["ABOVE_HIGH_LIMIT"]
    assert craft.command("MONITOR_REPORT_VIOLATED") == DONE
    assert craft.reports("MONITORS_VIOLATED")[-1]["MON_MONITOR"] == [9]
    assert craft.command("MONITOR_REPORT", MONITORS=[9]) == DONE
    definition = craft.reports("MONITOR_DEFINITIONS")[-1]
    assert (definition["MON_HIGH_LIMIT"], definition["MON_LOW_EVENT"]) == ([20.0], ["NONE"])
    turned = {**monitor, "MONITOR": 8, "LOW_LIMIT": 30.0}
    assert craft.command("MONITOR_ADD", **turned) == refused("START", FailureCode.ILLEGAL_ARGUMENT)
    assert craft.command("MONITOR_DELETE", MONITORS=[9]) == refused(
        "START", FailureCode.STILL_ENABLED
    )
    assert craft.command("MONITOR_DISABLE", MONITORS=[9]) == DONE
    assert craft.command("MONITOR_REPORT_STATUS") == DONE
    assert craft.reports("MONITOR_STATUS")[-1]["MON_ENABLED"] == ["ON", "ON", "OFF"]
    assert craft.command("MONITOR_DELETE", MONITORS=[9]) == DONE
    assert craft.command("ACTIONS_DISABLE") == DONE
    assert craft.command("ACTION_DISABLE", EVENT="LIMIT_VIOLATED") == DONE
    assert craft.command("ACTION_REPORT_STATUS") == DONE
    assert craft.reports("ACTION_STATUS")[-1]["ACT_ENABLED"] == ["ON", "ON", "ON", "OFF"]
    assert craft.command("ACTION_DELETE", EVENT="LIMIT_VIOLATED") == DONE


def test_a_packet_store_gives_back_what_was_sent() -> None:
    craft = flight(QUIET)
    create = {"STORE": 2, "SIZE": 100_000, "APID": int(Apid.POWER)}
    assert craft.command("STORE_CREATE", **create) == DONE
    assert craft.command("STORE_ENABLE", STORES=[2]) == DONE
    clock = craft.spacecraft.clock
    begin, end = (clock.read(craft.spacecraft.now_ns + t * TICK_NS) for t in (0, 19))
    sent = craft.run(40)
    assert craft.command("STORE_SUMMARY", STORES=[2]) == DONE
    content = craft.reports("STORE_CONTENT")[-1]
    assert content["STO_ENABLED"] == ["ON"]
    # In steps of the time code: to the next one.
    span = {"FROM": begin - 60, "TO": end + 60}
    packet = craft.sender.packet("STORE_RETRIEVE", {"STORE": 2, **span})
    downlink = craft.run(20, craft.sender.uplink(packet))
    assert craft.stages(packet) == STARTED
    again = packets(downlink, VirtualChannel.PLAYBACK, Apid.POWER)
    assert len(again) == 20
    first = zones(sent, VirtualChannel.HOUSEKEEPING)
    assert all(old in first for old in again[5:15])
    backwards = {"STORE": 2, "FROM": begin, "TO": begin - TICK_NS}
    assert craft.command("STORE_RETRIEVE", **backwards) == refused(
        "START", FailureCode.ILLEGAL_ARGUMENT
    )
    assert craft.command("STORE_DELETE_CONTENT", UNTIL=begin + 10**12, STORES=[2]) == DONE
    assert craft.command("STORE_DELETE", STORES=[2]) == refused("START", FailureCode.STILL_ENABLED)
    assert craft.command("STORE_DISABLE", STORES=[2]) == DONE
    assert craft.command("STORE_DELETE", STORES=[2]) == DONE
    assert craft.command("STORE_SUMMARY", STORES=[2]) == refused(
        "START", FailureCode.UNKNOWN_IDENTIFIER
    )


def test_a_retrieval_can_be_called_off() -> None:
    craft = flight(QUIET)
    begin = craft.spacecraft.now_ns
    craft.run(900)
    span = {"FROM": begin, "TO": begin + 900 * TICK_NS}
    craft.command("STORE_RETRIEVE", STORE=1, **span)
    assert craft.command("STORE_ABORT", STORES=[1]) == DONE
    playback = zones(craft.run(400), VirtualChannel.PLAYBACK)
    held = craft.spacecraft.software.stores
    assert 0 < len(playback) < sum(map(len, held.between(1, *span.values()))) / 5


def test_a_large_packet_comes_in_parts() -> None:
    craft = flight(QUIET)
    large = craft.sender.packet("PARAMETER_REPORT", {"PARAMETERS": ["SC_MODE"] * 200})
    parts = [large[:200], large[200:300], large[300:]]
    names = ("LARGE_FIRST", "LARGE_INTERMEDIATE", "LARGE_LAST")
    for number, (name, part) in enumerate(zip(names, parts, strict=True), 1):
        sent = {"TRANSFER": 3, "PART_NUMBER": number, "PART": part}
        assert craft.command(name, **sent) == DONE
    assert craft.stages(large) == DONE
    # Its report is longer than a packet may be and comes back in parts.
    assert len(craft.reports("PARAMETER_VALUES")[0]["PAR_VALUE"]) == 200
    last = {"TRANSFER": 4, "PART_NUMBER": 1, "PART": b"x"}
    assert craft.command("LARGE_FIRST", **last) == DONE
    craft.run(700)
    assert craft.reports("LARGE_ABORTED") == [{"LPT_TRANSFER": 4, "LPT_REASON": 1}]
    assert craft.command("LARGE_LAST", **{**last, "PART_NUMBER": 2}) == refused(
        "START", FailureCode.UNKNOWN_IDENTIFIER
    )


def test_a_report_too_long_for_a_packet_comes_in_parts() -> None:
    craft = flight(QUIET)
    craft.run(20)
    packet = craft.sender.packet("PARAMETER_REPORT", {"PARAMETERS": ["SC_MODE"] * 200})
    downlink = craft.run(30, craft.sender.uplink(packet))
    channel = zones(downlink, VirtualChannel.HOUSEKEEPING)
    # The first packet's beginning was in the frame before.
    channel = channel[channel.index(b"\x08\x64") :]
    found = [p for p in split(channel).packets if bytes(p)[:2] == b"\x08\x64"]
    values = [EVERYTHING.definition(n).parse(bytes(p)) for n, p in zip(
        ("LARGE_FIRST", "LARGE_INTERMEDIATE", "LARGE_LAST"), found, strict=True
    )]  # fmt: skip
    whole = b"".join(v["LPT_PART"] for v in values)
    check_error_control(whole)
    assert EVERYTHING.definition("PARAMETER_VALUES").parse(whole)["PAR_VALUE"] == [2.0] * 200


def test_time_packets_say_when_their_frame_left() -> None:
    """With ERT and light time they give the clock: here to its resolution of 60 ns."""
    settings = FlightSoftwareSettings(clock_drift_ppm=20.0, clock_offset_s=1.5)
    craft = flight(replace(QUIET, flight_software=settings))
    craft.command("TIME_REPORT_RATE", EXPONENT=3)
    downlink = craft.run(200)
    found = 0
    for frame, emission_ns in zip(downlink.frames, downlink.emission_ns, strict=True):
        at = bytes(frame[_ZONE]).find(b"\x00\x00\xc0")
        if frame[1] & 0x3F == VirtualChannel.EVENTS and at >= 0:
            packet = bytes(frame[_ZONE])[at : at + 14]
            scet_ns = EVERYTHING.definition("TIME_REPORT").parse(packet)["SCET"]
            assert abs(scet_ns - craft.spacecraft.clock.read(int(emission_ns))) <= 60
            found += 1
    assert found == 25
    drift = craft.spacecraft.clock.read(craft.spacecraft.now_ns) - craft.spacecraft.now_ns
    assert drift == pytest.approx(1.5e9 + 20e-6 * 202e9, abs=1e5)
    before = craft.spacecraft.clock.read(craft.spacecraft.start_ns)
    craft.command("CLOCK_ADJUST", OFFSET=-1_500_000)
    after = craft.spacecraft.clock.read(craft.spacecraft.start_ns)
    assert after - before == -1_500_000_000


def test_lost_contact_is_searched_for_on_another_antenna() -> None:
    deaf = Fault(at_s=10.0, kind="receiver_deaf", antenna="HIGH_GAIN")
    settings = FlightSoftwareSettings(contact_loss_h=1.0)
    craft = flight(replace(QUIET, fault=(deaf,), flight_software=settings))
    assert craft.command("PARAMETER_SET", PARAMETER="FSW_SEARCH_PERIOD", VALUE=0.5) == DONE
    craft.run(3590)
    assert craft.spacecraft.mode is Mode.NOMINAL
    craft.run(20)
    assert craft.spacecraft.mode is Mode.SAFE
    assert craft.command("TEST_CONNECTION") == []
    craft.run(1800)
    craft.sender._number = 1  # pyright: ignore[reportPrivateUsage]
    assert craft.command("TEST_CONNECTION") == DONE
    assert "CONTACT_REGAINED commands come again by LOW_GAIN_1" in craft.events()


def test_memory_failures_are_reported_and_cost_the_schedule() -> None:
    fault = Fault(at_s=20.0, kind="memory_failure")
    craft = flight(replace(QUIET, fault=(fault,)))
    request = craft.sender.packet("TEST_CONNECTION")
    when = craft.spacecraft.now_ns + 60 * TICK_NS
    craft.command("SCHEDULE_INSERT", RELEASE_TIME=when, REQUEST=request)
    craft.run(90)
    assert craft.stages(request) == []
    assert [text for text in craft.events() if "scheduled request 1 lost" in text]
    assert craft.command("MEMORY_SCRUB", wait_s=200).count("PROGRESS_SUCCESS") == 4


def test_octets_do_not_depend_on_the_steps() -> None:
    """Commands that read stores, time packets and retrievals included."""

    def octets(steps: tuple[int, ...]) -> tuple[bytes, list[Any]]:
        craft = flight(QUIET)
        begin = craft.spacecraft.now_ns
        plan = (
            ("TIME_REPORT_RATE", {"EXPONENT": 4}),
            ("STORE_RETRIEVE", {"STORE": 1, "FROM": begin, "TO": begin + 150 * TICK_NS}),
            ("STORE_SUMMARY", {"STORES": [1]}),
        )
        out = b""
        for number, (name, arguments) in enumerate(plan):
            packet = craft.sender.packet(name, arguments)
            uplink = craft.sender.uplink(packet)
            left = 200 + number
            while left:
                step = min(left, steps[left % len(steps)])
                out += craft.run(step, uplink).octets
                uplink, left = (), left - step
        return out, craft.log

    assert octets((1_000,)) == octets((1, 7, 30))
