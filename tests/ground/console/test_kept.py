"""An alarm's acknowledgement that was answered is on disk; one that cannot be kept is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.state_file import StateFile
from ground.config import CONSOLE, MONITOR
from ground.console.alarms import Alarms, AlarmState
from ground.console.listener import Listener
from ground.console.service import ConsoleService
from tests.ground.console.site import Console, signed_in


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path)
    yield console
    console.close()


def service(console: Console, state: Path) -> ConsoleService:
    """Around the console's application; its loop does not run: nobody keeps anything in passing."""
    return ConsoleService(
        console.context,
        LoopbackBus(CONSOLE, LoopbackExchange()),
        StateFile(state),
        service=CONSOLE,
        events_from=MONITOR,
        listener=Listener("127.0.0.1", 0, "http://127.0.0.1:0"),
        setup_file=state.with_name("setup"),
        version="0",
    )


def kept(state: Path) -> Any:
    found = StateFile(state).load()
    assert found is not None
    return Alarms(found["alarms"]).alarms["PWR_BUS_VOLTAGE"]


def test_an_acknowledgement_is_on_disk_when_it_is_answered(
    console: Console, tmp_path: Path
) -> None:
    state = tmp_path / "console.state"
    service(console, state)
    console.raise_alarm()
    with signed_in(console, "operator") as client:
        answer = client.post("/api/v1/alarms/PWR_BUS_VOLTAGE/acknowledge")
    assert answer.status_code == 200, answer.text
    # Killed here: whoever is started next reads this.
    assert kept(state).state is AlarmState.ACKNOWLEDGED
    assert kept(state).acknowledged_by == "operator"


def test_what_the_disk_does_not_take_is_not_answered_as_done(
    console: Console, tmp_path: Path
) -> None:
    state = tmp_path / "console.state"
    service(console, state)
    console.raise_alarm()
    # In the way of the file that would replace the state.
    state.with_name("console.state.new").mkdir()
    with signed_in(console, "operator") as client:
        answer = client.post("/api/v1/alarms/PWR_BUS_VOLTAGE/acknowledge")
        assert answer.status_code == 503
        assert "disk" in answer.text
        state.with_name("console.state.new").rmdir()
        assert client.post("/api/v1/alarms/PWR_BUS_VOLTAGE/shelve", json={
            "minutes": 5, "reason": "seen"}).status_code == 200  # fmt: skip
    assert kept(state).acknowledged_by == "operator"
