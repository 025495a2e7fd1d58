"""The L4 relay's dictionary: complete, named by rule, true in both directions."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dictionary import l4_states
from protocols.dictionary.l4 import DICTIONARY, TIME_FORMAT
from protocols.dictionary.l4_fields import THERMISTOR
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.identifiers import Apid
from protocols.packets.batch import PacketBatch
from protocols.packets.space_packet import SpacePacket, build_packet
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import PacketDefinition
from protocols.telemetry.fields import Kind

DEFINITIONS = [pytest.param(d, id=d.name) for d in DICTIONARY.definitions]


@pytest.mark.parametrize("definition", DEFINITIONS)
def test_every_parameter_is_named_described_and_dated(definition: PacketDefinition) -> None:
    assert definition.time == "SCET"
    assert next(iter(definition.parameters)) == "SCET"
    assert definition.description
    prefixes = {name.split("_")[0] for name in definition.parameters if name != "SCET"}
    assert len(prefixes) == 1
    for name, parameter in definition.parameters.items():
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", name)
        assert parameter.description, name


def test_every_apid_but_idle_has_its_packet() -> None:
    known = {d.apid for d in EVERYTHING.definitions} | EVERYTHING.foreign
    assert known == {int(a) for a in Apid} - {int(Apid.IDLE)}


def test_labels_are_those_of_the_states() -> None:
    known = {
        tuple((state.value, state.name) for state in kind)
        for kind in vars(l4_states).values()
        if isinstance(kind, type) and issubclass(kind, l4_states.IntEnum) and len(kind)
    }
    labelled = [
        p.calibration.labels
        for p in DICTIONARY.parameters.values()
        if isinstance(p.calibration, Enumeration)
    ]
    assert len(labelled) > 20
    assert all(labels in known for labels in labelled)


def test_thermistor_is_monotonic_and_fine_enough() -> None:
    counts = np.arange(4096)
    celsius = THERMISTOR.apply(counts)
    steps = np.diff(celsius)
    assert np.all(steps < 0)
    warm = (celsius[:-1] > -60) & (celsius[:-1] < 80)
    assert np.abs(steps[warm]).max() < 0.15


def raw_values(definition: PacketDefinition, draw: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    repeats = draw(st.integers(0, 20))
    for name, parameter in definition.parameters.items():
        slot = definition.layout.slots.get(name)
        kind = parameter.type
        if kind.kind is Kind.TIME:
            one: Any = st.integers(0, 2**32 - 2).map(lambda s: s * 10**9)
        elif kind.kind is Kind.OCTETS:
            values[name] = draw(st.binary(max_size=255))
            continue
        elif kind.kind is Kind.FLOAT:
            one = st.floats(width=32, allow_nan=False, allow_infinity=False)
        else:
            one = st.integers(kind.minimum, kind.maximum)
        if name == "MAG_RANGE":
            one = st.just(int("COARSE" in definition.name))
        elif name in ("PRO_CHANNELS", "MAG_SAMPLES"):
            one = st.just(repeats)
        elif name == "EVT_LENGTH":
            continue
        fixed = slot.repeat[0] if slot is not None and slot.repeat else None
        variable = name == "PRO_COUNTS" or name.startswith(("MAG_FINE_", "MAG_COARSE_"))
        count = fixed if fixed is not None else repeats if variable else None
        values[name] = (
            draw(one) if count is None else draw(st.lists(one, min_size=count, max_size=count))
        )
    return values


@settings(max_examples=25, deadline=None)
@given(st.data())
@pytest.mark.parametrize("definition", DEFINITIONS)
def test_any_raw_values_come_back(definition: PacketDefinition, data: st.DataObject) -> None:
    values = raw_values(definition, data.draw)
    packet = DICTIONARY.encode(definition.name, values, raw=True)
    parsed = definition.parse(packet)
    decoded = DICTIONARY.decode(PacketBatch.from_packets([packet]))
    (table,) = decoded
    assert table.definition is definition
    for name, value in values.items():
        assert list(np.atleast_1d(np.asarray(parsed[name]))) == list(
            np.atleast_1d(np.asarray(value))
        ), name
        column = np.asarray(table.raw[name][0])
        if isinstance(value, bytes):
            assert column.astype(np.uint8).tobytes() == value
        else:
            assert column.tolist() == value, name


def test_scet_resolves_sixty_nanoseconds() -> None:
    t_ns = 2_177_452_837 * 10**9 + 123_456_789
    assert abs(TIME_FORMAT.parse(TIME_FORMAT.build(t_ns)) - t_ns) <= 30
    assert TIME_FORMAT.size == 7


def test_packets_of_files_are_not_missed_from_telemetry() -> None:
    packets = [
        build_packet(SpacePacket(int(Apid.FILES), b"pdu")),
        build_packet(SpacePacket(99, b"nobody's")),
        b"\xe0",  # 133.1-B: an idle encapsulation packet
    ]
    batch = PacketBatch.from_packets(packets)
    unmatched = EVERYTHING.decode(batch).unmatched
    assert len(unmatched) == 3
    assert EVERYTHING.undefined(batch, unmatched) == 1
