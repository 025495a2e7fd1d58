"""What browsers get: the newest live values, and every packet's fields."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from ground.console.alarms import Alarms
from ground.console.model import RADIO_S, ConsoleModel
from ground.console.packets import PacketTree, subsystems
from ground.ports import Message
from protocols.bus.messages import PacketsMessage, ParametersMessage, RadioMessage, StatusMessage
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.identifiers import Topic
from tests.ground.command.world import START_NS, World


class Listening(World):
    """Keeps what the monitor would publish, and every packet."""

    def __init__(self) -> None:
        self.parameters: list[ParametersMessage] = []
        self.seen: list[bytes] = []
        super().__init__()
        hear_parameters, hear_packets = self.engine.hear_parameters, self.engine.hear_packets

        def parameters(message: ParametersMessage) -> None:
            self.parameters.append(message)
            hear_parameters(message)

        def packets(now_ns: int, message: PacketsMessage, journal: str, sequence: int) -> None:
            self.seen += list(message.packets)
            hear_packets(now_ns, message, journal, sequence)

        self.engine.hear_parameters = parameters  # type: ignore[method-assign]
        self.engine.hear_packets = packets  # type: ignore[method-assign]


@pytest.fixture(scope="module")
def world() -> Iterator[Listening]:
    world = Listening()
    number = world.command("PARAMETER_REPORT", expedited=True, PARAMETERS=["SC_MODE"])
    world.until(lambda: world.state(number) == "completed", 2_000)
    world.run(60)
    return world


def test_the_model_shows_the_newest_and_tells_what_has_changed(world: Listening) -> None:
    model = ConsoleModel(Alarms())
    for i, message in enumerate(world.parameters):
        model.take(
            Message(Topic.PARAMETERS, "monitor", "j", i, START_NS, message.build()), START_NS
        )
    shown = model.parameters["POWER"]
    value, unit, state, _ = shown["values"]["PWR_BUS_VOLTAGE"]
    newest = world.engine.telemetry.sample("PWR_BUS_VOLTAGE")
    assert newest is not None
    assert (value, unit, state) == (newest.value, "V", "NOMINAL")
    assert "SCET" not in shown["values"]
    assert set(model.changes()["parameters"]) == set(model.parameters)
    assert model.changes() == {}
    # All of it is JSON.
    msgspec.json.encode(model.snapshot())


def test_every_packet_of_the_downlink_has_fields(world: Listening) -> None:
    tree = PacketTree(EVERYTHING)
    found = [tree(packet) for packet in world.seen if packet[0] >> 5 == 0]
    assert all(one is not None for one in found)
    names = {one["definition"] for one in found if one is not None}
    assert {"STATUS", "POWER", "PARAMETER_VALUES", "VERIFY_COMPLETION_SUCCESS"} <= names
    msgspec.json.encode(found)


def test_every_packet_belongs_to_a_subsystem() -> None:
    groups = subsystems(EVERYTHING)
    assert groups["Power"] == ["POWER"]
    assert {name for names in groups.values() for name in names} == set(EVERYTHING.by_name)


def heard(second: int, spectrum: np.ndarray) -> Message:
    body = RadioMessage(
        station="Yeoju",
        receiver="yeoju-x",
        time_ns=START_NS + second,
        modulation="QPSK",
        carrier_lock=True,
        symbol_lock=False,
        frame_lock=False,
        carrier_offset_hz=3_200.0,
        symbol_rate=20_000.0,
        ebn0_db=float("nan"),
        level_db=-18.0,
        spectrum_centre_hz=0.0,
        spectrum_span_hz=160_000.0,
        spectrum=spectrum.astype("<f4"),
        constellation=np.array([[64, -45]], np.int8),
    )
    topic = f"{Topic.RADIO}.yeoju-x"
    return Message(topic, "radio", "", second, START_NS + second, body.build())


def test_a_receivers_spectrum_keeps_its_lines_and_is_told_seldom() -> None:
    model = ConsoleModel(Alarms())
    spectrum = np.full(3_000, -90.0)
    spectrum[1_234] = -12.0
    model.take(heard(0, spectrum), START_NS)
    shown = model.changes(wall_s=100.0)["radios"]["yeoju-x"]
    assert len(shown["spectrum"]) == 500
    assert shown["spectrum"][1_234 // 6] == -12.0
    assert sorted(set(shown["spectrum"])) == [-90.0, -12.0]
    assert (shown["ebn0_db"], shown["constellation"]) == (None, [[64, -45]])
    model.take(heard(1, spectrum), START_NS)
    assert model.changes(wall_s=100.0 + RADIO_S / 2) == {}
    later = model.changes(wall_s=100.0 + RADIO_S)["radios"]["yeoju-x"]
    assert later["time"] > shown["time"] - 1e-3
    assert model.changes(wall_s=200.0) == {}
    # Samples of whatever day: it has been heard when they last went on.
    model.take(heard(1, spectrum), START_NS + 10**10)
    silent = model.changes(wall_s=300.0)["radios"]["yeoju-x"]
    model.take(heard(10**9, spectrum), START_NS + 10**10)
    fresh = model.changes(wall_s=400.0)["radios"]["yeoju-x"]
    assert (silent["heard"], fresh["heard"] - silent["heard"]) == (later["heard"], 10_000.0)
    msgspec.json.encode(model.snapshot())


def test_a_service_that_is_never_heard_is_among_those_of_the_site() -> None:
    model = ConsoleModel(Alarms(), expected=("monitor", "archive"))
    status = StatusMessage("monitor", "running", START_NS, START_NS, 1, 1)
    model.take(Message("status.monitor", "monitor", "", -1, 0, status.build()), START_NS)
    shown = model.snapshot()["services"]
    assert (shown["monitor"]["state"], shown["archive"]["state"]) == ("running", "unknown")
    assert (shown["archive"]["time"], shown["archive"]["counters"]) == (0, {})
    assert "not heard" in shown["archive"]["detail"]
    assert set(shown["monitor"]) == set(shown["archive"])
