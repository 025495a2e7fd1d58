"""Keys and security associations of the simulated spacecraft, managed from the ground."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from protocols.coding.cltu import build_cltu
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    SIMULATION_KEYS,
    TC_EXPEDITED_KEY_ID,
    TC_KEY_ID,
    TC_MANAGEMENT_KEY_ID,
    TC_MANAGEMENT_MAP,
    TC_MANAGEMENT_SECURITY,
    TC_MAP,
    TC_NEXT_SECURITY,
    TC_PARAMETERS,
    TC_SECURITY,
    TC_VCID,
    CommandKeys,
    security_initiator,
)
from protocols.errors import LocalError, RemoteError
from protocols.frames.sdls import SaState
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.sdls_initiator import Reply, SecurityInitiator
from protocols.frames.sdls_keys import KeyState
from protocols.frames.sdls_procedures import Procedure
from protocols.frames.security_report import FrameSecurityReport
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, build
from protocols.frames.tc_segments import segments
from protocols.identifiers import Carrier
from protocols.packets.pus import RequestId
from protocols.telecommand.verification import FailureCode
from spacecraft_sim.scenario import Mars, Scenario
from spacecraft_sim.spacecraft import DownlinkFrames
from spacecraft_sim.subsystems.common import Uplink
from tests.spacecraft_sim.commanding import Flight, flight

NEW_KEY, NEXT = 10, TC_NEXT_SECURITY.spi
DONE = ["ACCEPTANCE_SUCCESS", "COMPLETION_SUCCESS"]
STARTED = ["ACCEPTANCE_SUCCESS", "START_SUCCESS", "COMPLETION_SUCCESS"]


def entropy(seed: bytes) -> Callable[[int], bytes]:
    """Repeatable, and as a test may have it."""
    counter = iter(range(1_000))
    return lambda octets: hashlib.shake_128(b"%s %d" % (seed, next(counter))).digest(octets)


class Ground:
    """What a command service does with `SecurityInitiator`: builds, sends, and is told."""

    def __init__(self) -> None:
        self.initiator = security_initiator(SIMULATION_KEYS)
        self.craft: Flight = flight(Scenario(mars=Mars(present=False)))
        self._count = 0
        self.downlink: DownlinkFrames | None = None

    def send(
        self, name: str, arguments: dict[str, Any] | None = None, map_id: int = TC_MAP
    ) -> tuple[bytes, list[str]]:
        """The packet, and what became of it."""
        self._count += 1
        packet = COMMANDS.build(name, arguments, sequence_count=self._count)
        spi = self.initiator.spi(map_id)
        room = TC_PARAMETERS.room(TC_VCID) - TC_MANAGEMENT_SECURITY.overhead
        cltus: list[bytes] = []
        for part in segments(map_id, packet, room):
            flags = SequenceFlags(part.sequence_flags)
            frame = TcFrame(TC_VCID, part.data, FrameType.BD, 0, map_id, flags)
            secured = protect_tc(self.initiator.endpoint, spi, frame, TC_PARAMETERS)
            cltus.append(build_cltu(build(secured, TC_PARAMETERS), CLTU_CODING))
        return packet, self.radiate(packet, *cltus)

    def radiate(self, packet: bytes, *cltus: bytes) -> list[str]:
        self.downlink = self.craft.run(3, (Uplink(Carrier.COMMAND, b"".join(cltus)),))
        return self.craft.stages(packet)

    def test(self) -> list[str]:
        return self.send("TEST_CONNECTION")[1]

    def manage(self, pdu: bytes) -> Reply | None:
        """A procedure that has to be executed."""
        packet, stages = self.send("SECURITY_PROCEDURE", {"PDU": pdu}, TC_MANAGEMENT_MAP)
        assert stages == STARTED
        self.initiator.completed(pdu)
        request = RequestId.of(packet)
        replies = self.craft.reports("SECURITY_REPLY")
        mine = [one for one in replies if one["SEC_SEQUENCE"] == request.sequence]
        return self.initiator.read(pdu, mine[0]["SEC_PDU"]) if mine else None

    def refused(self, pdu: bytes) -> None:
        _, stages = self.send("SECURITY_PROCEDURE", {"PDU": pdu}, TC_MANAGEMENT_MAP)
        assert stages == [
            "ACCEPTANCE_SUCCESS", f"START_FAILURE {int(FailureCode.SECURITY_PROCEDURE)}"
        ]  # fmt: skip

    def kept(self) -> None:
        """The ground is killed and comes back from what it kept."""
        kept = json.loads(json.dumps(self.initiator.snapshot(), default=bytes.hex))
        kept["keys"] = [[k, state, bytes.fromhex(value)] for k, state, value in kept["keys"]]
        self.initiator = security_initiator(SIMULATION_KEYS)
        self.initiator.restore(kept)


def test_a_key_rolls_over() -> None:
    """OTAR, verification, activation, a new association, a command under the new key; the old one
    is refused from then on.  The ground comes back from what it kept after every step."""
    ground = Ground()
    initiator = ground.initiator
    random = entropy(b"rollover")
    assert ground.test() == DONE
    old_frame = protect_tc(
        initiator.endpoint,
        TC_SECURITY.spi,
        TcFrame(TC_VCID, COMMANDS.build("TEST_CONNECTION", sequence_count=900), FrameType.BD),
        TC_PARAMETERS,
    )
    old = build_cltu(build(old_frame, TC_PARAMETERS), CLTU_CODING)

    assert ground.manage(initiator.otar([NEW_KEY], random)) is None
    ground.kept()
    initiator = ground.initiator
    reply = ground.manage(initiator.verify([NEW_KEY, TC_KEY_ID], random))
    assert reply is not None
    assert reply.verified == {NEW_KEY: True, TC_KEY_ID: True}
    ground.manage(initiator.activate([NEW_KEY]))
    ground.manage(initiator.rekey(NEXT, NEW_KEY, 5))
    ground.kept()
    initiator = ground.initiator
    with pytest.raises(LocalError, match="KEYED, not operational"):
        initiator.use(TC_MAP, NEXT)
    ground.manage(initiator.start(NEXT))
    ground.manage(initiator.set_window(NEXT, 16))
    # Both are operational: nothing that is under way is lost.
    assert ground.test() == DONE
    initiator.use(TC_MAP, NEXT)
    ground.kept()
    initiator = ground.initiator
    assert initiator.spi(TC_MAP) == NEXT
    assert ground.test() == DONE
    reply = ground.manage(initiator.read_number(NEXT))
    assert reply is not None
    assert (reply.spi, reply.number) == (NEXT, 6)

    ground.manage(initiator.stop(TC_SECURITY.spi))
    ground.manage(initiator.expire(TC_SECURITY.spi))
    ground.manage(initiator.deactivate([TC_KEY_ID]))
    ground.manage(initiator.destroy([TC_KEY_ID]))
    before = ground.craft.spacecraft.software.receiver.statistics.insecure
    assert ground.radiate(old_frame.data[6:-16], old) == []
    statistics = ground.craft.spacecraft.software.receiver.statistics
    assert statistics.insecure == before + 1
    assert statistics.refusals["association not operational"] == 1
    assert ground.test() == DONE

    reply = ground.manage(initiator.inventory())
    assert reply is not None
    states = {NEW_KEY: KeyState.ACTIVE, TC_KEY_ID: KeyState.DESTROYED}
    others = dict.fromkeys((TC_MANAGEMENT_KEY_ID, TC_EXPEDITED_KEY_ID), KeyState.ACTIVE)
    assert reply.keys == {**states, **others}
    reply = ground.manage(initiator.status(NEXT))
    assert reply is not None
    assert reply.last is Procedure.START_SA
    said = [event for event in ground.craft.events() if "SECURITY_CHANGED" in event]
    assert [event.split(" ", 1)[1] for event in said] == [
        "OTAR under master key 100",
        "ACTIVATE_KEYS 10",
        "REKEY_SA of SPI 3 with key 10",
        "START_SA of SPI 3",
        "SET_ARSN_WINDOW of SPI 3",
        "STOP_SA of SPI 1",
        "EXPIRE_SA of SPI 1",
        "DEACTIVATE_KEYS 1",
        "DESTROY_KEYS 1",
    ]
    # The association that is free takes the next key, and so on in turns.
    ground.manage(initiator.otar([NEW_KEY + 1], random))
    ground.manage(initiator.activate([NEW_KEY + 1]))
    ground.manage(initiator.rekey(TC_SECURITY.spi, NEW_KEY + 1))
    ground.manage(initiator.start(TC_SECURITY.spi))
    initiator.use(TC_MAP, TC_SECURITY.spi)
    assert ground.test() == DONE


def test_a_management_key_rolls_over_too() -> None:
    ground = Ground()
    initiator = ground.initiator
    ground.manage(initiator.otar([NEW_KEY], entropy(b"management")))
    ground.manage(initiator.activate([NEW_KEY]))
    ground.manage(initiator.rekey(4, NEW_KEY))
    ground.manage(initiator.start(4))
    initiator.use(TC_MANAGEMENT_MAP, 4)
    ground.manage(initiator.stop(TC_MANAGEMENT_SECURITY.spi))
    assert ground.manage(initiator.ping()) == Reply(Procedure.PING)


def test_what_is_refused_changes_nothing_and_is_told() -> None:
    ground = Ground()
    initiator = ground.initiator
    other = SecurityInitiator(
        security_initiator(CommandKeys(bytes(16), bytes(32), bytes(32))).endpoint,
        master_key_id=100,
    )
    ground.refused(other.otar([NEW_KEY], entropy(b"forged")))
    ground.refused(b"nonsense")
    # The hand that manages cannot cut itself off.
    ground.refused(other.stop(TC_MANAGEMENT_SECURITY.spi))
    ground.refused(other.deactivate([TC_MANAGEMENT_KEY_ID]))
    with pytest.raises(LocalError, match="use` another"):
        initiator.stop(TC_MANAGEMENT_SECURITY.spi)
    endpoint = ground.craft.spacecraft.software.receiver.security
    assert list(endpoint.keys) == [TC_KEY_ID, TC_MANAGEMENT_KEY_ID, TC_EXPEDITED_KEY_ID]
    assert endpoint.association(TC_MANAGEMENT_SECURITY.spi).state is SaState.OPERATIONAL
    refused = [event for event in ground.craft.events() if "SECURITY_REFUSED" in event]
    assert len(refused) == 4
    assert "OTAR: MAC does not agree" in refused[0]
    parameters = ["FSW_SECURITY_DONE", "FSW_SECURITY_REFUSED"]
    ground.send("PARAMETER_REPORT", {"PARAMETERS": parameters})
    assert ground.craft.reports("PARAMETER_VALUES")[-1]["PAR_VALUE"] == [0.0, 4.0]


def test_only_the_management_map_manages_and_it_does_nothing_else() -> None:
    ground = Ground()
    not_authorised = [f"ACCEPTANCE_FAILURE {int(FailureCode.NOT_AUTHORISED)}"]
    pdu = ground.initiator.ping()
    assert ground.send("SECURITY_PROCEDURE", {"PDU": pdu})[1] == not_authorised
    on_management = ground.send("TEST_CONNECTION", None, TC_MANAGEMENT_MAP)
    assert on_management[1] == not_authorised
    inner = COMMANDS.build("SECURITY_PROCEDURE", {"PDU": pdu})
    for name, arguments in (
        ("ACTION_ADD", {"EVENT": "BOOT", "REQUEST": inner}),
        ("SCHEDULE_INSERT", {"RELEASE_TIME": 3_000_000_000_000_000_000, "REQUEST": inner}),
    ):
        stages = ground.send(name, arguments)[1]
        assert f"START_FAILURE {int(FailureCode.NOT_AUTHORISED)}" in stages, name
    assert not ground.craft.reports("SECURITY_REPLY")


def test_frame_security_reports_take_turns_with_clcws() -> None:
    ground = Ground()

    def reports() -> set[FrameSecurityReport]:
        assert ground.downlink is not None
        words = [frame[-6:-2].tobytes() for frame in ground.craft.run(10).frames]
        return {FrameSecurityReport.parse(word) for word in words if word[0] >> 7}

    ground.downlink = ground.craft.run(10)
    assert reports() == set()
    ground.test()
    assert reports() == {FrameSecurityReport(last_spi=1, number=1)}
    packet = COMMANDS.build("TEST_CONNECTION", sequence_count=800)
    association = ground.initiator.endpoint.association(1)
    for number, expected in (
        (0, FrameSecurityReport(True, bad_sequence_number=True, last_spi=1, number=1)),
        (1, FrameSecurityReport(True, bad_mac=True, last_spi=1, number=2)),
    ):
        association.number = number
        frame = protect_tc(
            ground.initiator.endpoint, 1, TcFrame(TC_VCID, packet, FrameType.BD), TC_PARAMETERS
        )
        forged = TcFrame(TC_VCID, frame.data[:-1] + b"\x00", FrameType.BD)
        octets = build(frame if not number else forged, TC_PARAMETERS)
        ground.radiate(packet, build_cltu(octets, CLTU_CODING))
        assert reports() == {expected}
    association.number = 2
    ground.manage(ground.initiator.reset_alarm())
    assert reports() == {FrameSecurityReport(last_spi=2, number=1)}


def test_a_report_is_read_as_others_build_it() -> None:
    """Fields as CryptoLib's frame security report and a Rust implementation have them."""
    octets = bytes.fromhex("ca002aab")
    report = FrameSecurityReport(True, bad_mac=True, last_spi=42, number=0xAB)
    assert FrameSecurityReport.parse(octets) == report
    assert report.build() == octets
    for wrong in (b"", bytes(4), bytes.fromhex("da002aab"), octets + b"\0"):
        with pytest.raises(RemoteError):
            FrameSecurityReport.parse(wrong)


def test_key_files() -> None:
    keys = CommandKeys.parse("00" * 16 + "\n" + "11" * 32 + "\n\n" + "22" * 32 + "\n")
    assert (keys.management, keys.master) == (b"\x11" * 32, b"\x22" * 32)
    assert "11" not in repr(keys)
    assert CommandKeys.parse("00" * 16).master is None
    for text in ("", "00" * 15, "00" * 16 + "\n" + "11" * 16, "key = 00"):
        with pytest.raises(LocalError, match="one key"):
            CommandKeys.parse(text)
    with pytest.raises(LocalError, match="master key"):
        security_initiator(CommandKeys(bytes(16)))


def test_what_is_kept_holds_no_key_and_wants_the_master_key() -> None:
    initiator = security_initiator(SIMULATION_KEYS)
    snapshot = initiator.snapshot()
    assert SIMULATION_KEYS.command not in repr(snapshot).encode()
    assert all(SIMULATION_KEYS.command not in value for _, _, value in snapshot["keys"])
    other = security_initiator(CommandKeys(bytes(16), bytes(32), bytes(32)))
    with pytest.raises(LocalError, match="another master key"):
        other.restore(snapshot)
