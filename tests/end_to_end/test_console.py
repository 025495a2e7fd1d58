"""The console in a real browser on a real site: sign in, live data, an alarm, a command's way."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from ground.archive.model import TableColumns
from ground.archive.store import ArchiveStore
from ground.config import (
    ARCHIVE,
    BUS,
    COMMAND,
    CONSOLE,
    MISSION_CENTRE,
    MONITOR,
    RECEIVE,
    RELAY,
    SCHEDULING,
    free_base_port,
    prepare_run_directory,
)
from ground.wiring import open_clock
from protocols.packets.batch import PacketBatch
from tests.end_to_end.accessibility import problems, tabbed, unnamed
from tests.end_to_end.pictures import take_pictures
from tests.end_to_end.site import Site

PASSWORD = "correct horse battery"
PATIENCE_MS = 90_000
YEAR = "YEAR_OF_IT"
SERVICES = (
    *(BUS, RECEIVE, MONITOR, ARCHIVE, SCHEDULING, COMMAND),
    *(RELAY, MISSION_CENTRE, CONSOLE),
)
#: A proton storm on the spacecraft, and an orbiter of Mars that has much to say.
SCENARIO = """
[mars]
science_period_s = 20
science_octets = 1_000
[[storm]]
start_s = -1800
rise_s = 600
decay_s = 1e6
peak = 1.0
"""


def write_year(path: Path, now_ns: int) -> None:
    """A sample a minute, and one a second for two days in the middle."""
    day = 86_400
    begin, middle = -365 * day, -365 * day // 2
    seconds = np.concatenate(
        [
            np.arange(begin, middle - day, 60),
            np.arange(middle - day, middle + day),
            np.arange(middle + day, 0, 60),
        ]
    )
    scet_ns = now_ns + seconds * 10**9
    values = np.sin(seconds / 1e5) + np.sin(seconds / 10)
    with ArchiveStore.open(path) as store:
        store.append(
            None,
            PacketBatch.empty(),
            stream="year",
            scet_ns=np.empty(0, np.int64),
            reception_ns=now_ns,
            tables=[TableColumns("YEAR", None, scet_ns, {YEAR: values}, ert_ns=scet_ns + 10**9)],
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = prepare_run_directory(
        tmp_path,
        speed=60,
        base_port=free_base_port(),
        command=True,
        console=True,
        passes=True,
        relay=True,
    )
    site = Site(settings)
    settings.archive_file.parent.mkdir(exist_ok=True)
    write_year(settings.archive_file, open_clock(settings).now_ns())
    for name in SERVICES:
        site.start(name)
    (tmp_path / "scenario.toml").write_text(SCENARIO)
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


def go(page: Page, view: str) -> None:
    page.get_by_label("Views").get_by_role("link", name=view, exact=True).click()


def zoom_from_a_year_to_a_second(page: Page) -> None:
    """By dragging over the middle of the plot, where the archive has a sample each second."""
    go(page, "Plots")
    page.get_by_role("combobox", name="Parameter").select_text()
    page.keyboard.type(YEAR)
    page.keyboard.press("Enter")
    page.get_by_role("button", name="1 y").click()
    chart = page.get_by_role("region", name=YEAR, exact=True)
    # A year ago is where the archive begins.
    expect(chart).to_contain_text(re.compile(r"69\d \d\d\d samples in \d+ bins of [\d ]+ s"))
    plot = chart.get_by_role("img", name=f"Plot of {YEAR}")
    for part in (0.004, 0.004, 0.01, 0.03):
        over = plot.locator(".u-over").bounding_box()
        assert over is not None
        middle, half, y = over["x"] + over["width"] / 2, over["width"] * part, over["y"] + 40
        # Not all of its text: what is under the mouse changes without a zoom.
        told = re.search(r"\d+ samples in [^·]+", chart.inner_text())
        assert told is not None
        before = page.url
        page.mouse.move(middle - half, y)
        page.mouse.down()
        page.mouse.move(middle + half, y, steps=2)
        page.mouse.up()
        expect(page).not_to_have_url(before)
        expect(chart).not_to_contain_text(told.group().strip())
    expect(chart).to_contain_text(re.compile(r"[1-9] samples in [1-9] bins of one sample"))
    low, high = map(float, page.url.rsplit("/", 1)[1].split("-"))
    assert high - low < 3_000


def send_a_file(page: Page) -> None:
    go(page, "Files")
    page.get_by_label("File", exact=True).set_input_files(
        {"name": "limits.bin", "mimeType": "application/octet-stream", "buffer": bytes(300)}
    )
    page.get_by_role("button", name="Send file").click()
    row = (
        page.get_by_role("table", name="Transfers").get_by_role("row").filter(has_text="limits.bin")
    )
    expect(row).to_contain_text("complete", timeout=PATIENCE_MS)


def plan_a_pass(page: Page, other: Page) -> None:
    """What if, then published; somebody else sees it."""
    go(page, "Passes")
    page.get_by_role("button", name=re.compile("Plan a pass")).click()
    free = page.get_by_role("table", name="Free")
    free.get_by_role("button", name=re.compile("^Take ")).last.click(timeout=PATIENCE_MS)
    what_if = page.get_by_role("region", name="What if")
    expect(what_if).to_contain_text("POSSIBLE")
    expect(what_if).to_contain_text("first command of this pass")
    what_if.get_by_label("Why").fill("a look at the storm")
    what_if.get_by_role("button", name="Publish pass").click()
    expect(page.get_by_role("main").get_by_role("status")).to_contain_text("Published as version")
    go(other, "Passes")
    planning = page.get_by_role("region", name="Plan a pass", exact=True)
    antenna = planning.get_by_label("Antenna").input_value()
    chart = other.get_by_role("group", name="Passes by antenna")
    expect(chart).to_contain_text(re.compile(antenna, re.IGNORECASE))


def follow_a_bundle(page: Page) -> None:
    """From the spacecraft's store by the site's node to its destination."""
    go(page, "Relay")
    expect(page.get_by_role("region", name="On board")).to_contain_text("RLY_")
    expect(page.get_by_role("region", name="Node")).to_contain_text("ipn:")
    row = page.get_by_role("table", name="Delivered").get_by_role("row").nth(1)
    expect(row).to_contain_text("ipn:", timeout=PATIENCE_MS)
    # Mars to here by way of L4 cannot be quicker than light.
    way = re.search(r"(?:(\d+) h )?(\d+) min", row.inner_text())
    assert way is not None
    assert int(way[1] or 0) * 60 + int(way[2]) >= 3


def nobody_is_shut_out(page: Page) -> None:
    """Every view in both themes: contrast, names, keyboard, width."""
    wrong: list[str] = []
    views = page.get_by_label("Views").get_by_role("link").all_inner_texts()
    for theme in ("light", "dark"):
        page.get_by_role("button", name="Dark or light").click()
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        for view in (re.sub(r"[\s\d]+$", "", one) for one in views):
            page.get_by_label("Views").get_by_role("link", name=re.compile(f"^{view}")).click()
            expect(page.get_by_role("main", name=view)).to_be_visible()
            page.wait_for_timeout(150)
            found = problems(page)
            if theme == "dark":
                found += unnamed(page)
                if view in ("Now", "Plots", "Passes"):
                    reached, caught = tabbed(page)
                    found += caught
                    assert len(reached) > len(views)
            wrong += [f"{theme} {view}: {one}" for one in found]
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Command palette")).to_be_visible()
    wrong += [f"palette: {one}" for one in (*problems(page), *unnamed(page))]
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Command palette")).to_be_hidden()
    assert not wrong, "\n".join(wrong)


@pytest.mark.program("chromium")
@pytest.mark.timeout(500)
def test_two_operators_at_work(site: Site, browser: Browser) -> None:
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

    # Both see what either does.
    bob.get_by_label("Views").get_by_role("link", name="Alarms").click()
    seen = bob.get_by_role("table", name="Alarms").get_by_role("row")
    expect(seen.filter(has_text="PRO_INTEGRAL_FLUX")).to_contain_text("seen by ann")

    zoom_from_a_year_to_a_second(ann)
    send_a_file(ann)
    plan_a_pass(ann, bob)
    follow_a_bundle(ann)
    nobody_is_shut_out(ann)
    assert errors == []
    if folder := os.environ.get("L4_PICTURES"):
        choose(ann, "command array_turn")
        ann.get_by_label(re.compile("^ANGLE")).fill("8")
        ann.get_by_role("button", name="Put on the stack").click()
        requests.get_by_role("button", name="Arm").click()
        take_pictures(ann, site.settings, Path(folder))

    # Nobody is told that something works which does not: the station goes, who judges telemetry
    # goes, the server hangs and goes, and the page says so.
    go(ann, "Now")
    of_pass, limits = (ann.get_by_role("region", name=one) for one in ("Pass", "Out of limits"))
    expect(of_pass).to_contain_text("UPLINK")
    expect(limits).not_to_contain_text("when last heard of")
    site.kill("spacecraft")
    expect(of_pass).to_contain_text(re.compile("STATION NOT REACHED|NO PASS"), timeout=PATIENCE_MS)
    expect(of_pass).not_to_contain_text("UPLINK OPEN")
    expect(limits).to_contain_text("packets have stopped coming", timeout=PATIENCE_MS)
    site.kill(MONITOR)
    expect(ann.get_by_role("banner")).to_contain_text("MONITOR IS SILENT", timeout=PATIENCE_MS)
    assert ann.title().startswith("OLD · ")
    site.processes[CONSOLE].send_signal(signal.SIGSTOP)
    expect(ann.get_by_text("NO CONNECTION")).to_be_visible(timeout=PATIENCE_MS)
    site.kill(CONSOLE)
    site.start(CONSOLE)
    expect(ann.get_by_text("NO CONNECTION")).to_be_hidden(timeout=PATIENCE_MS)
    # Of the monitor this console has never heard, and says so all the same; bob has lost nothing
    # else than ann.
    expect(ann.get_by_role("banner")).to_contain_text("MONITOR IS SILENT")
    site.start(MONITOR)
    for page in (ann, bob):
        banner = page.get_by_role("banner")
        expect(banner).to_contain_text("connected again after", timeout=PATIENCE_MS)
        banner.get_by_role("button", name="Seen").click()
        expect(banner).not_to_contain_text("connected again")
    assert errors == []
