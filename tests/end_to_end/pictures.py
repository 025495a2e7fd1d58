"""Pictures of every view in both themes, of a site at work: `make pictures`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, expect

from ground.config import RunSettings
from ground.wiring import open_clock
from protocols.timecodes.tai import utc_iso_from_tai_ns


def take_pictures(page: Page, settings: RunSettings, folder: Path) -> None:
    """page: signed in as an administrator; a hazardous command waits for its approval."""
    folder.mkdir(parents=True, exist_ok=True)
    _hear_a_radio(settings)
    views = page.get_by_label("Views").get_by_role("link").all_inner_texts()
    for theme in ("light", "dark"):
        while page.evaluate("document.documentElement.dataset.theme") != theme:
            page.get_by_role("button", name="Dark or light").click()
        for view in (re.sub(r"[\s\d]+$", "", one) for one in views):
            page.get_by_label("Views").get_by_role("link", name=re.compile(f"^{view}")).click()
            expect(page.get_by_role("main", name=view)).to_be_visible()
            if view == "Plots":
                _two_plots(page)
            page.wait_for_timeout(2_500)
            page.screenshot(path=folder / f"{view.lower()}-{theme}.png")
            if view == "Passes":
                _what_if(page)
                page.screenshot(path=folder / f"passes-plan-{theme}.png")


def _two_plots(page: Page) -> None:
    for label, name in (("Parameter", "PWR_BUS_VOLTAGE"), ("Add", "PRO_INTEGRAL_FLUX")):
        box = page.get_by_role("combobox", name=label)
        box.select_text()
        page.keyboard.type(name)
        page.keyboard.press("Enter")
    page.get_by_role("button", name="1 h").click()


def _what_if(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Plan a pass")).click()
    free = page.get_by_role("table", name="Free")
    free.get_by_role("button", name=re.compile("^Take ")).last.click(timeout=60_000)
    expect(page.get_by_role("region", name="What if")).to_contain_text("first command")
    page.wait_for_timeout(500)


def _hear_a_radio(settings: RunSettings) -> None:
    """The simulated spacecraft's wave, through `l4 radio decode` into this console."""
    recording = settings.run_dir / "pictures.sigmf-meta"
    now = utc_iso_from_tai_ns(open_clock(settings).now_ns(), decimals=0)
    wave = ["--iq", str(recording), "--duration", "4", "--light-time", "499", "--start-utc", now]
    decode = ["radio", "decode", str(recording), "-m", "l4_relay", "--show", str(settings.run_dir)]
    for module, arguments in (("spacecraft_sim", wave), ("ground.cli", decode)):
        subprocess.run([sys.executable, "-m", module, *arguments], check=True, capture_output=True)
