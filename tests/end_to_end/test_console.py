"""The console in a real browser on a real site: sign in, live data, an alarm, a command's way."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ground.config import (
    ARCHIVE,
    BUS,
    COMMAND,
    CONSOLE,
    MONITOR,
    RECEIVE,
    free_base_port,
    prepare_run_directory,
)
from tests.end_to_end.site import Site

PASSWORD = "correct horse battery"
PATIENCE_MS = 90_000


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = prepare_run_directory(
        tmp_path, speed=60, base_port=free_base_port(), command=True, console=True
    )
    site = Site(settings)
    for name in (BUS, RECEIVE, MONITOR, ARCHIVE, COMMAND, CONSOLE):
        site.start(name)
    (tmp_path / "scenario.toml").write_text(
        "[mars]\npresent = false\n[[storm]]\nstart_s = -1800\nrise_s = 600\ndecay_s = 1e6\n"
        "peak = 1.0\n"
    )
    site.start_spacecraft(60, str(tmp_path / "scenario.toml"))
    yield site
    site.close()


@pytest.fixture
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def opened(browser: Browser, url: str, errors: list[str]) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.set_default_timeout(30_000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(url)
    return page


def enter(page: Page, name: str, button: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name=button).click()
    expect(page.get_by_text("Ground UTC")).to_be_visible(timeout=PATIENCE_MS)


def choose(page: Page, words: str) -> None:
    """By the palette, without a mouse."""
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill(words)
    expect(page.get_by_role("option").first).to_be_visible()
    page.keyboard.press("Enter")


@pytest.mark.program("chromium")
@pytest.mark.timeout(400)
def test_sign_in_alarm_command_and_plot(site: Site, browser: Browser) -> None:
    errors: list[str] = []
    link = site.settings.console_dir / "setup-link"
    site.wait_for(link.exists)
    time.sleep(0.5)
    url = link.read_text().strip()
    ann = opened(browser, url, errors)
    enter(ann, "ann", "Set up")
    home = url.split("/setup")[0]
    # The link was for once.
    late = opened(browser, url, errors)
    late.get_by_label("Name").fill("eve")
    late.get_by_label("Password").fill(PASSWORD)
    late.get_by_role("button", name="Set up").click()
    expect(late.get_by_role("alert")).to_contain_text("has been used")

    # A second person, who may approve.
    views = ann.get_by_label("Views")
    views.get_by_role("link", name="People").click()
    ann.get_by_label("Name").fill("bob")
    ann.get_by_label("Their role").select_option("approver")
    ann.get_by_label("Password").fill(PASSWORD)
    ann.get_by_role("button", name="Add").click()
    expect(ann.get_by_label("Role of bob")).to_be_visible()

    # Live data.
    views.get_by_role("link", name="Telemetry").click()
    power = ann.get_by_role("region", name="POWER", exact=True)
    expect(power.get_by_text("PWR_BUS_VOLTAGE")).to_be_visible(timeout=PATIENCE_MS)

    # An alarm, seen and acknowledged without a mouse.
    views.get_by_role("link", name="Alarms").click()
    alarms = ann.get_by_role("table", name="Alarms")
    expect(alarms.get_by_text("PRO_INTEGRAL_FLUX").first).to_be_visible(timeout=PATIENCE_MS)
    choose(ann, "acknowledge pro_integral")
    row = alarms.get_by_role("row").filter(has_text="PRO_INTEGRAL_FLUX")
    expect(row.get_by_text("acknowledged", exact=True)).to_be_visible()
    expect(row).to_contain_text("seen by ann")

    # A hazardous command: armed by one, approved by another, sent, and watched to its end.
    choose(ann, "command array_turn")
    ann.get_by_label(re.compile("^ANGLE")).fill("5")
    ann.get_by_role("button", name="Put on the stack").click()
    requests = ann.get_by_role("table", name="Requests")
    requests.get_by_role("button", name="Arm").click()
    expect(requests).to_contain_text("a second person approves")
    bob = opened(browser, home, errors)
    enter(bob, "bob", "Sign in")
    bob.get_by_label("Views").get_by_role("link", name="Commands").click()
    bob.get_by_role("button", name="Approve").click()
    ann.get_by_role("button", name="Send").click()
    expect(requests).to_contain_text("at the spacecraft in", timeout=PATIENCE_MS)
    requests.get_by_text("ARRAY_TURN").click()
    expect(ann.get_by_role("table", name="Stages")).to_contain_text("completion")
    expect(requests.get_by_text("completed")).to_be_visible(timeout=PATIENCE_MS)

    # A plot, from a year to what is there.
    views.get_by_role("link", name="Plots").click()
    ann.get_by_role("button", name="1 y").click()
    expect(ann.get_by_text(re.compile(r"samples in \d+ bins"))).to_be_visible()
    for _ in range(12):
        ann.get_by_role("button", name="Zoom in").click()
    expect(ann.get_by_text("fixed; a span above")).to_be_visible()

    # Nobody is told that something works which does not: the server goes, and the page says so.
    site.kill(CONSOLE)
    expect(ann.get_by_text("NO CONNECTION")).to_be_visible(timeout=PATIENCE_MS)
    site.start(CONSOLE)
    expect(ann.get_by_text("NO CONNECTION")).to_be_hidden(timeout=PATIENCE_MS)
    assert errors == []
