"""The files' channel of the command link: authenticated for files, and for nothing else."""

from __future__ import annotations

from pathlib import Path

from protocols.coding.cltu import build_cltu, transmission
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    FILE_SECURITY,
    FILE_VCID,
    SIMULATION_KEY,
    TC_PARAMETERS,
    TC_SECURITY,
    TC_VCID,
    file_security,
    file_uplink,
    security_endpoint,
)
from protocols.dictionary.l4_states import EventId, Severity
from protocols.files.entity import FileEntity, new_peer
from protocols.files.packets import PacketWriter
from protocols.files.records import MemoryStore
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.tc import FrameType, TcFrame, build
from protocols.identifiers import CfdpEntity
from spacecraft_sim.flight_software.command_receiver import CommandReceiver
from spacecraft_sim.flight_software.files import EVENT_LOG, Files
from spacecraft_sim.scenario import FileSettings
from spacecraft_sim.subsystems.common import Event

S = 1_000_000_000


def receiver() -> CommandReceiver:
    return CommandReceiver(security_endpoint(SIMULATION_KEY), file_security(SIMULATION_KEY))


def file_packets(size: int = 3_000) -> list[bytes]:
    store = MemoryStore(Path, files={"x": bytes(size)})
    peer = new_peer(CfdpEntity.SPACECRAFT, owlt_ns=0, longest_pdu=900)
    ground = FileEntity(CfdpEntity.GROUND, [peer], store, 0)
    ground.put(0, "x", "x", peer=CfdpEntity.SPACECRAFT)
    return PacketWriter(telecommand=True).write(ground.take(0, 1 << 20))


def radiated(frame: TcFrame) -> bytes:
    return transmission([build_cltu(build(frame, TC_PARAMETERS), CLTU_CODING)])


def test_files_come_through_and_commands_do_not() -> None:
    one = receiver()
    packets = file_packets()
    command = COMMANDS.build("TEST_CONNECTION", {}, sequence_count=0, source_id=1)
    security = file_security(SIMULATION_KEY)
    received = one.push(file_uplink(security, [*packets, command]))
    assert [found.packet for found in received] == [*packets, command]
    assert all(found.file and not found.management for found in received)
    # A command there is a packet that the file service does not know.
    board = Files(FileSettings(), 0, lambda event: None)
    board.hear(command)
    board.step(0)
    assert board.down() == []


def test_replayed_forged_and_foreign_frames_are_refused() -> None:
    one = receiver()
    packets = file_packets()
    octets = file_uplink(file_security(SIMULATION_KEY), packets)
    assert len(one.push(octets)) == len(packets)
    assert one.push(octets) == []
    assert one.statistics.insecure == len(packets)
    assert one.push(file_uplink(file_security(bytes(16)), packets)) == []
    # The command link's association does not open the files' channel, nor the other way round.
    commands = security_endpoint(SIMULATION_KEY)
    secured = protect_tc(
        commands, TC_SECURITY.spi, TcFrame(TC_VCID, packets[0], FrameType.BD), TC_PARAMETERS
    )
    assert one.push(radiated(TcFrame(FILE_VCID, secured.data, FrameType.BD))) == []
    files = file_security(SIMULATION_KEY, 1_000)
    secured = protect_tc(
        files, FILE_SECURITY.spi, TcFrame(FILE_VCID, packets[0], FrameType.BD), TC_PARAMETERS
    )
    assert one.push(radiated(TcFrame(TC_VCID, secured.data, FrameType.BD))) == []
    assert one.push(radiated(secured))[0].packet == packets[0]


def test_files_move_nothing_of_farm_1() -> None:
    one = receiver()
    before = one.clcw(no_rf_available=False, no_bit_lock=False)
    one.push(file_uplink(file_security(SIMULATION_KEY), file_packets()))
    security = file_security(SIMULATION_KEY, 500)
    secured = protect_tc(
        security, FILE_SECURITY.spi, TcFrame(FILE_VCID, b"x" * 9, FrameType.AD), TC_PARAMETERS
    )
    one.push(radiated(secured))
    assert one.statistics.discarded == 1
    assert one.clcw(no_rf_available=False, no_bit_lock=False) == before


def test_the_computer_restarts_and_the_file_goes_on() -> None:
    events: list[Event] = []
    board = Files(FileSettings(), 0, events.append)
    packets = [packet[6:] for packet in file_packets()]
    assert len(packets) == 6
    for pdu in packets[:3]:
        board._heard.append(pdu)
    board.step(0)
    board.restart()
    for pdu in packets[3:]:
        board._heard.append(pdu)
    board.step(S)
    assert board.store.files == {"x": bytes(3_000)}
    assert [event.event_id for event in events] == [EventId.FILE_RECEIVED]
    assert board.down()


def test_the_event_log_is_a_file_of_bounded_size() -> None:
    board = Files(FileSettings(), 0, lambda event: None)
    for number in range(4_000):
        board.log(Event(EventId.BOOT, Severity.LOW, f"line {number}"))
    log = board.store.files[EVENT_LOG]
    assert len(log) == 65_536
    assert log.endswith(b"line 3999\n")
