"""What browsers get: the newest live values, and every packet's fields."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from ground.console.alarms import Alarms
from ground.console.model import ConsoleModel
from ground.console.packets import PacketTree, subsystems
from ground.ports import Message
from protocols.bus.messages import PacketsMessage, ParametersMessage
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
