"""The terminal console on a real site: live telemetry, a command from the stack to its report."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ground.client import Ground
from ground.config import (
    BUS,
    COMMAND,
    CONSOLE,
    MONITOR,
    RECEIVE,
    free_base_port,
    prepare_run_directory,
)
from ground.terminal_console.app import TerminalConsole
from tests.end_to_end.site import PATIENCE_S, Site
from tests.ground.terminal_console.test_terminal import screen

PASSWORD = "correct horse battery"


async def until(pilot: Pilot[None], app: TerminalConsole, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline, screen(app)
        await pilot.pause(0.2)


async def pressed_until_done(
    pilot: Pilot[None], app: TerminalConsole, key: str, words: str
) -> None:
    """A service that is too slow to answer is told as an error, and asked again by the operator."""
    for _ in range(6):
        await pilot.press(key)
        deadline = time.monotonic() + 12
        while time.monotonic() < deadline:
            await pilot.pause(0.2)
            if words not in screen(app):
                return


@pytest.mark.timeout(400)
async def test_telemetry_and_a_command_by_keys(tmp_path: Path) -> None:
    settings = prepare_run_directory(
        tmp_path, speed=60, base_port=free_base_port(), command=True, console=True
    )
    site = Site(settings)
    try:
        for name in (BUS, RECEIVE, MONITOR, COMMAND, CONSOLE):
            site.start(name)
        (tmp_path / "scenario.toml").write_text("[mars]\npresent = false\n")
        site.start_spacecraft(60, str(tmp_path / "scenario.toml"))
        site.wait_for(lambda: settings.setup_link.exists() and CONSOLE in site.status)
        url, token = settings.setup_link.read_text().strip().split("/setup#")
        with Ground(url) as first:
            first.set_up(token, "ann", PASSWORD)
        with Ground.signed_in(url, "ann", PASSWORD) as ground:
            app = TerminalConsole(ground)
            async with app.run_test(size=(80, 24)) as pilot:
                await pilot.press("slash", *"BUS_VOLTAGE", "enter")
                await until(pilot, app, lambda: "PWR_BUS_VOLTAGE" in screen(app))
                assert "STALE" not in screen(app)
                await pilot.press("4", "n")
                await until(pilot, app, lambda: len(app.screen_stack) == 2)
                await pilot.press(*"TEST_CONNECTION", "enter", "enter")
                await until(pilot, app, lambda: "arm it" in screen(app))
                await pressed_until_done(pilot, app, "a", "arm it")
                await until(pilot, app, lambda: "send it" in screen(app))
                await pressed_until_done(pilot, app, "S", "send it")
                await until(pilot, app, lambda: "at the spacecraft in" in screen(app))
                await until(pilot, app, lambda: "completed" in screen(app))
                site.kill(CONSOLE)
                await until(pilot, app, lambda: "what you see is OLD" in screen(app))
                site.start(CONSOLE)
                await until(pilot, app, lambda: "NO CONNECTION" not in screen(app))
    finally:
        site.close()
