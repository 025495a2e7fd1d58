"""The terminal console, by its keys, against a console behind a real socket."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ground.client import Ground, Present
from ground.terminal_console import views
from ground.terminal_console.app import TerminalConsole
from protocols.timecodes.tai import unix_ns_from_tai_ns
from tests.ground.client.served import PATIENCE_S, Served, served
from tests.ground.client.test_client import tell
from tests.ground.command.world import START_NS
from tests.ground.console.site import Console

NOW = int(unix_ns_from_tai_ns(START_NS)) / 1e6


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Served]:
    with served(Console(tmp_path)) as one:
        yield one


def screen(app: TerminalConsole) -> str:
    """What is on it, as text."""
    svg = app.export_screenshot()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return " ".join(texts).replace("&#160;", " ").replace("&#x27;", "'")


class Listened(TerminalConsole):
    """Remembers what it has told: notices go by themselves, on a busy machine before one looks."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.told = ""

    def notify(self, message: str, **more: Any) -> None:
        self.told += f"{message}\n"
        super().notify(message, **more)


async def until(pilot: Pilot[None], app: TerminalConsole, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, f"{screen(app)} told: {getattr(app, 'told', '')}"
        await pilot.pause(0.05)


@asynccontextmanager
async def opened(
    ground: Ground, size: tuple[int, int] = (80, 24)
) -> AsyncIterator[tuple[Listened, Pilot[None]]]:
    app = Listened(ground)
    with ground:
        async with app.run_test(size=size) as pilot:
            await until(pilot, app, lambda: app.present.connected)
            yield app, pilot


async def test_an_alarm_is_acknowledged_and_one_is_shelved(site: Served) -> None:
    site.console.raise_alarm()
    async with opened(site.ground("operator")) as (app, pilot):
        await pilot.press("2")
        await until(pilot, app, lambda: "PWR_BUS_VOLTAGE is CRITICAL_LOW" in screen(app))
        assert "1 ALARMS" in screen(app)
        await pilot.press("a")
        states = site.console.model.alarms.alarms
        await until(pilot, app, lambda: states["PWR_BUS_VOLTAGE"].acknowledged_by == "operator")
        tell(site, "THM_X")
        await until(pilot, app, lambda: "THM_X" in screen(app))
        await pilot.press("down", "h", *"soon", "enter", *"test", "enter")
        await until(pilot, app, lambda: "'soon': minutes" in app.told)
        await pilot.press("h", *"90", "enter", *"heater", "enter")
        await until(pilot, app, lambda: states["THM_X"].shelved_by == "operator")
        assert states["THM_X"].reason == "heater"


async def test_a_command_from_the_stack_to_sent_by_two_people(site: Served) -> None:
    async with opened(site.ground("operator")) as (app, pilot):
        await pilot.press("4", "n")
        await until(pilot, app, lambda: len(app.screen_stack) == 2)
        await pilot.press(*"array_turn ANGLE=5")
        await until(pilot, app, lambda: "-90..90 deg" in screen(app))
        assert "second person" in screen(app)
        await pilot.press("enter", "enter")
        await until(pilot, app, lambda: "ARRAY_TURN ANGLE=5" in screen(app))
        await pilot.press("a")
        await until(pilot, app, lambda: "a second person approves" in screen(app))
        # An operator may not approve, and is told why.
        await pilot.press("p")
        await until(pilot, app, lambda: "approver wanted" in app.told)
    async with opened(site.ground("approver"), (120, 40)) as (app, pilot):
        await pilot.press("4")
        await until(pilot, app, lambda: "ARRAY_TURN" in screen(app))
        await pilot.press("p")
        await until(pilot, app, lambda: "send it" in screen(app))
        await pilot.press("S")
        await until(pilot, app, lambda: app.requests[0]["state"] in ("waiting", "held"))


async def test_what_is_wrong_in_a_command_is_told(site: Served) -> None:
    async with opened(site.ground("operator")) as (app, pilot):
        await pilot.press("4", "n")
        await until(pilot, app, lambda: len(app.screen_stack) == 2)
        await pilot.press(*"array_turn ANGLE=95", "enter", "enter")
        await until(pilot, app, lambda: "95; -90..90 deg allowed" in app.told)
        assert app.requests == []


async def test_a_console_that_is_gone_is_said_to_be_and_found_again(site: Served) -> None:
    site.console.raise_alarm()
    async with opened(site.ground("viewer")) as (app, pilot):
        site.stop()
        await until(pilot, app, lambda: "NO CONNECTION" in screen(app))
        assert "what you see is OLD" in screen(app)
        site.start()
        await until(pilot, app, lambda: "NO CONNECTION" not in screen(app))
        # The screen works as before.
        await pilot.press("2")
        await until(pilot, app, lambda: "PWR_BUS_VOLTAGE" in screen(app))


async def test_a_token_that_is_revoked_ends_it(site: Served) -> None:
    app = TerminalConsole(Ground(site.url, "l4_none"))
    async with app.run_test() as pilot:
        for _ in range(100):
            if app.return_code is not None:
                break
            await pilot.pause(0.05)
    assert app.return_code == 2
    app._ground.close()  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0)


def present(**more: object) -> Present:
    block = {
        "ert": NOW - 3_000,
        "scet": NOW - 502_000,
        "packets": 1,
        "stale": False,
        "values": {"PWR_BUS_VOLTAGE": [21.5, "V", "CRITICAL_LOW", NOW - 600_000]},
    }
    one = Present()
    one.take({"kind": "snapshot", "now": NOW, "parameters": {"POWER": {**block, **more}}})
    return one


def line(one: Present, row: int) -> tuple[str, list[str]]:
    key, cells = list(views.telemetry(one, NOW, "", only_bad=False))[row]
    return key, [cell.plain for cell in cells]


def test_stale_values_never_look_fresh() -> None:
    fresh = present()
    assert line(fresh, 0)[1][2:] == ["3 s ago", ""]
    assert line(fresh, 1)[1][2] == "CRITICAL LOW"
    (_, cells) = list(views.telemetry(fresh, NOW, "", only_bad=False))[1]
    assert "red" in str(cells[2].style)
    for old, word in ((present(stale=True), "STALE"), (present(), "OLD")):
        if word == "OLD":
            old.lose("gone")
        for row in (0, 1):
            _, cells = list(views.telemetry(old, NOW, "", only_bad=False))[row]
            assert cells[3].plain == word
            assert "red" not in str(cells[2].style)
            assert cells[0].style == "dim"


def test_the_four_clocks_say_what_cannot_be() -> None:
    one = present()
    assert [text.plain for _, text in views.four_clocks(one, NOW)][1:] == ["unknown"] * 3
    window = {"mission": "L4 relay", "place": "Yeoju", "owlt_s": 499.0, "aos": NOW - 1e3}
    window |= {"los": NOW + 3.6e6, "uplink_from": NOW - 1e3, "uplink_to": NOW + 3.6e6}
    one.passes = {"passes": [window]}
    ground, seen, arrives, reply = (text.plain for _, text in views.four_clocks(one, NOW))
    assert (ground, seen) == (views.clock(NOW), views.clock(NOW - 499e3))
    assert (arrives, reply) == (views.clock(NOW + 499e3), views.clock(NOW + 998e3))
    window["los"] = NOW + 600e3
    assert "in no pass" in views.four_clocks(one, NOW)[3][1].plain
    window["uplink_to"] = NOW - 1
    assert views.four_clocks(one, NOW)[2][1].plain == "no uplink now"


def test_what_a_request_waits_for_is_counted_down() -> None:
    request = {"state": "radiated", "at_spacecraft_ms": NOW + 61e3, "reason": "", "hazard": ""}
    stage = {"name": "acceptance", "state": "pending", "opens_ms": NOW + 560e3, "closes_ms": 0.0}
    request["stages"] = [stage]
    assert views.next_of(request, NOW) == "at the spacecraft in 1 min 01 s"
    assert views.next_of(request, NOW + 62e3) == "acceptance due in 8 min 18 s"
