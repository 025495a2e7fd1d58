"""The life cycle of ISA-18.2, and that stored data never begins one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.console.alarms import ALARM_TABLE, Alarms, AlarmState
from protocols.errors import LocalError
from tests.ground.command.world import START_NS, S
from tests.ground.console.site import Console


@pytest.fixture
def console(tmp_path: Path) -> Console:
    return Console(tmp_path)


def state(console: Console) -> str:
    return str(console.model.alarms.alarms["PWR_BUS_VOLTAGE"].state)


def test_it_persists_until_it_is_acknowledged_and_gone(console: Console) -> None:
    alarms = console.model.alarms
    console.raise_alarm()
    assert state(console) == "unacknowledged"
    back = {"severity": "info", "after": "NOMINAL", "before": "CRITICAL_LOW"}
    console.raise_alarm(**back)
    assert state(console) == "returned"
    console.raise_alarm()
    alarms.acknowledge("PWR_BUS_VOLTAGE", "ann", START_NS)
    assert state(console) == "acknowledged"
    console.raise_alarm(**back)
    assert state(console) == "normal"
    assert alarms.shown == []


def test_worse_than_what_was_acknowledged_is_new(console: Console) -> None:
    console.raise_alarm(severity="warning", after="WARNING_LOW")
    console.model.alarms.acknowledge("PWR_BUS_VOLTAGE", "ann", START_NS)
    console.raise_alarm(severity="warning", after="WARNING_LOW")
    assert state(console) == "acknowledged"
    console.raise_alarm()
    assert state(console) == "unacknowledged"


def test_stored_data_raises_nothing(console: Console) -> None:
    console.raise_alarm(playback=True)
    assert console.model.alarms.alarms == {}


def test_shelved_for_a_while_with_a_reason(console: Console) -> None:
    alarms = console.model.alarms
    console.raise_alarm()
    with pytest.raises(LocalError, match="a reason wanted"):
        alarms.shelve("PWR_BUS_VOLTAGE", "ann", START_NS + 60 * S, " ", START_NS)
    with pytest.raises(LocalError, match="within a day"):
        alarms.shelve("PWR_BUS_VOLTAGE", "ann", START_NS + 10**15, "test", START_NS)
    alarms.shelve("PWR_BUS_VOLTAGE", "ann", START_NS + 60 * S, "sensor is broken", START_NS)
    console.raise_alarm()
    alarms.tick(START_NS + 59 * S)
    assert state(console) == "shelved"
    alarms.tick(START_NS + 60 * S)
    assert state(console) == "unacknowledged"
    again = Alarms(alarms.kept())
    assert again.kept() == alarms.kept()


def test_the_table_has_every_state() -> None:
    assert set(ALARM_TABLE) == set(AlarmState)
