"""500 parameters at 10 Hz on the bus, the console, and five open browsers: latency and memory.

    make bench-console ARGS="--seconds 600 --json FILE"

A publisher stands in for the monitor on the real bus: 25 packets of 20 parameters, each ten times a
second and each at a time of its own.  Every value changes every time.  The first parameter of each
packet says when it was published; in each page an observer takes it from the DOM as the browser
shows it and looks at the clock once the frame with it has been painted.  Values that scroll out of
sight are not looked at, nor what was shown while memory was being looked at; all five pages show
the same telemetry view at 1280 × 800.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from ground.config import BUS, CONSOLE, MONITOR, load_settings
from ground.wiring import open_bus, open_clock
from protocols.bus.messages import ParameterColumn, ParametersMessage, ParameterTable
from protocols.identifiers import Topic
from tests.benchmarks.console_site import ConsoleSite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, Page

PACKETS, PARAMETERS, HZ, PAGES = 25, 20, 10.0, 5
PUBLISHER = "publisher"
WANTED_MS = 200
SHARES = {"median": 50, "95 %": 95, "99 %": 99, "99.9 %": 99.9, "longest": 100}
#: Every so often, memory is looked at (which collects the pages' garbage first).
LOOK_S = 20.0
#: Counted from here on: kernels, caches and the pages' own code are warm.
WARM_S = 15.0

#: Latencies as a histogram of milliseconds, so that the observer itself allocates nothing.
OBSERVER = """
([origin, longest]) => {
  const seen = new Map(), waiting = [], counts = new Uint32Array(longest + 1), sight = new Set();
  const painted = new MessageChannel();
  let asked = false;
  painted.port1.onmessage = () => {
    const now = Date.now() - origin;
    for (const t of waiting) counts[Math.max(0, Math.min(longest, now - t))]++;
    waiting.length = 0; asked = false;
  };
  const main = document.getElementById("main");
  const eyes = new IntersectionObserver((all) => {
    for (const one of all) sight[one.isIntersecting ? "add" : "delete"](one.target);
  });
  main.querySelectorAll("section[aria-label^=BENCH]").forEach((section) => eyes.observe(section));
  new MutationObserver(() => {
    for (const section of sight) {
      const cell = section.querySelector("td.num");
      const text = cell.textContent;
      if (seen.get(section.ariaLabel) === text) continue;
      seen.set(section.ariaLabel, text);
      waiting.push(Number(text.replace(/[^0-9]/g, "")));
    }
    if (waiting.length && !asked) {
      asked = true;
      requestAnimationFrame(() => painted.port2.postMessage(0));
    }
  }).observe(main, { subtree: true, childList: true, characterData: true });
  const take = () => { const all = Array.from(counts); counts.fill(0); return all; };
  window.bench = { take, rows: () => seen.size };
}
"""
LONGEST_MS = 5_000
#: When the first value of telemetry is in the DOM, in milliseconds since the navigation began.
FIRST = """
new MutationObserver((_, observer) => {
  if (!document.querySelector("section[aria-label^=BENCH] td.num")) return;
  window.firstData = performance.now(); observer.disconnect();
}).observe(document, { subtree: true, childList: true });
"""
LOADS, WANTED_FIRST_MS, WANTED_OCTETS = 5, 500, 150_000


@dataclass
class Look:
    """Memory at one time, MiB: the console's, and of each page its JavaScript heap after garbage
    collection, the private memory of its process, and its DOM nodes."""

    seconds: float
    console: float
    heaps: list[float] = field(default_factory=list)
    renderers: list[float] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)


def publish(run_dir: str, origin_ms: int, seconds: float) -> None:
    """What the monitor would say; as steadily as this machine lets it."""
    settings = load_settings(run_dir)
    bus, clock = open_bus(settings, MONITOR), open_clock(settings)
    rng = np.random.default_rng(1)
    end = time.monotonic() + seconds
    number, due = 0, time.monotonic()
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        packet = number % PACKETS
        now_ns = np.array([clock.now_ns()])
        noise = rng.normal(0, 1, PARAMETERS)
        stamp = np.array([time.time_ns() // 1_000_000 - origin_ms], np.uint32)
        columns = [
            ParameterColumn(
                f"P{packet:02}_{i:02}",
                stamp if i == 0 else _value(i, number, noise[i]),
                np.array([0 if noise[i] < 2.5 else 1], np.uint8),
                unit="ms" if i == 0 else "V",
            )
            for i in range(PARAMETERS)
        ]
        table = ParameterTable(
            f"BENCH_{packet:02}",
            np.array([number]), now_ns - 499_000_000_000, now_ns, np.zeros(1, bool), columns,
        )  # fmt: skip
        message = ParametersMessage("downlink", "j", number, int(now_ns[0]), number, (table,))
        bus.publish(Topic.PARAMETERS, message.build(), time_ns=int(now_ns[0]))
        bus.receive(0)
        number += 1
        due += 1 / (HZ * PACKETS)
    bus.close()


def _value(i: int, number: int, noise: float) -> np.ndarray:
    return np.array([number + i], np.uint16 if number < 60_000 else np.uint32) if i % 4 == 1 else (
        np.array([28 + noise], np.float32)
    )  # fmt: skip


def first_data(browser: Browser, site: ConsoleSite) -> tuple[float, int]:
    """Milliseconds to the first value in a browser that has nothing in its cache, and octets that
    came until then, compressed, headers included."""
    page = new_page(browser, site)
    page.add_init_script(FIRST)
    session = page.context.new_cdp_session(page)
    octets: list[int] = []
    session.on("Network.loadingFinished", lambda event: octets.append(event["encodedDataLength"]))
    session.send("Network.enable")
    page.goto(f"{site.origin}/#telemetry")
    page.get_by_role("region", name="BENCH_00").wait_for(timeout=60_000)
    took = page.evaluate("window.firstData")
    page.context.close()
    return float(took), int(sum(octets))


def new_page(browser: Browser, site: ConsoleSite) -> Page:
    """Of somebody who is signed in, with a cache of its own."""
    name, _, value = site.cookie.partition("=")
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.add_cookies([{"name": name, "value": value, "url": site.origin}])
    return context.new_page()


class Pages:
    """Those that are open all the time."""

    def __init__(self, browser: Browser, site: ConsoleSite, origin_ms: int, count: int) -> None:
        self.pages: list[Page] = []
        self.sessions: list[CDPSession] = []
        self.errors: list[str] = []
        for _ in range(count):
            page = new_page(browser, site)
            page.on("pageerror", lambda error: self.errors.append(str(error)))
            page.goto(f"{site.origin}/#telemetry")
            page.get_by_role("region", name="BENCH_00").wait_for(timeout=60_000)
            page.evaluate(OBSERVER, [origin_ms, LONGEST_MS])
            self.pages.append(page)
            self.sessions.append(page.context.new_cdp_session(page))

    def latencies(self) -> np.ndarray:
        """Counts by millisecond, of all pages, since the last call."""
        return np.sum([page.evaluate("bench.take()") for page in self.pages], axis=0)

    def look(self, look: Look) -> Look:
        for session in self.sessions:
            session.send("HeapProfiler.collectGarbage")
            look.heaps.append(session.send("Runtime.getHeapUsage")["usedSize"] / 2**20)
            look.nodes.append(session.send("Memory.getDOMCounters")["nodes"])
        look.renderers = [
            process.memory_full_info().uss / 2**20
            for process in chromium()
            if "--type=renderer" in process.cmdline()
        ]
        return look


def chromium() -> list[psutil.Process]:
    """Of this process."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "chrom" in process.name():
                found.append(process)
    return found


def by_kind() -> dict[str, list[psutil.Process]]:
    """Chromium's processes: the pages', the one that puts pictures together, all others."""
    found: dict[str, list[psutil.Process]] = {"pages": [], "compositor": [], "browser": []}
    for process in chromium():
        command = process.cmdline()
        kind = "pages" if "--type=renderer" in command else "browser"
        found["compositor" if "--type=gpu-process" in command else kind].append(process)
    return found


def cpu_s(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


@dataclass
class Outcome:
    """latency_ms: counts of values shown, by milliseconds; cpu: cores used, by process."""

    seconds: float
    pages: int
    wanted_ms: int = WANTED_MS
    latency_ms: list[int] = field(default_factory=list)
    worst_by_interval: list[int] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)
    rows_seen: int = 0
    load: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    octets: int = 0

    def share(self, percent: float) -> int:
        """Milliseconds within which so many of the values were on the screen."""
        totals = np.cumsum(self.latency_ms)
        return int(np.searchsorted(totals, totals[-1] * percent / 100))

    @property
    def within(self) -> float:
        return 100 * sum(self.latency_ms[: WANTED_MS + 1]) / max(1, sum(self.latency_ms))


@contextlib.contextmanager
def opened_browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        yield browser
        browser.close()


def run(seconds: float, pages: int, profile: Path | None = None) -> Outcome:
    """From the first process to the last look."""
    outcome = Outcome(seconds, pages)
    with tempfile.TemporaryDirectory(prefix="bench-console-") as directory:
        site = ConsoleSite(Path(directory))
        try:
            origin_ms = time.time_ns() // 1_000_000
            whole_s = seconds + WARM_S + 120
            site.start(
                PUBLISHER, "tests.benchmarks.console_browsers",
                *("--publish", directory, str(origin_ms), str(whole_s)),
            )  # fmt: skip
            with opened_browser() as browser:
                for _ in range(LOADS):
                    first_ms, outcome.octets = first_data(browser, site)
                    outcome.first_ms.append(first_ms)
                shown = Pages(browser, site, origin_ms, pages)
                _follow(outcome, shown, site, seconds, profile)
        finally:
            site.close()
    return outcome


def _follow(
    outcome: Outcome, shown: Pages, site: ConsoleSite, seconds: float, profile: Path | None
) -> None:
    pause = shown.pages[0].wait_for_timeout
    pause(WARM_S * 1000)
    ours = {name: [site.process(name)] for name in (BUS, CONSOLE, PUBLISHER)}
    before = {name: cpu_s(found) for name, found in ours.items()}
    browser = by_kind()
    browser_before = {kind: cpu_s(some) for kind, some in browser.items()}
    shown.latencies()
    counts = np.zeros(LONGEST_MS + 1, np.int64)
    begin = time.monotonic()
    if profile is not None:
        _profile(shown, profile, pause)
    while True:
        at = time.monotonic() - begin
        rss = site.process(CONSOLE).memory_info().rss / 2**20
        outcome.looks.append(shown.look(Look(at, rss)))
        outcome.load.append(os.getloadavg()[0])
        # Collecting garbage by force and reading the maps of eleven processes hold the pages up.
        shown.latencies()
        if at >= seconds:
            break
        pause(1000 * max(0.1, min(LOOK_S, seconds - at)))
        some = shown.latencies()
        outcome.worst_by_interval.append(int(np.flatnonzero(some).max(initial=0)))
        counts += some
    took = time.monotonic() - begin
    outcome.latency_ms = counts.tolist()
    outcome.cpu = {name: (cpu_s(ours[name]) - before[name]) / took for name in ours}
    for kind, some in browser.items():
        outcome.cpu[kind] = (cpu_s(some) - browser_before[kind]) / took
    outcome.rows_seen = int(shown.pages[0].evaluate("bench.rows()"))
    outcome.errors = shown.errors


def _profile(shown: Pages, path: Path, pause: Any) -> None:
    """Ten seconds of a page's JavaScript, for Chromium's developer tools."""
    session = shown.sessions[0]
    session.send("Profiler.enable")
    session.send("Profiler.start")
    pause(10_000)
    path.write_text(json.dumps(session.send("Profiler.stop")["profile"]))


def growth(values: list[float]) -> float:
    """Median of the last quarter less that of the second: what garbage collection leaves varies
    from one look to the next by more than this."""
    quarter = max(1, len(values) // 4)
    return median(values[-quarter:]) - median(values[quarter : 2 * quarter] or values)


def show(console: Console, outcome: Outcome) -> None:
    shares = {name: outcome.share(percent) for name, percent in SHARES.items()}
    told = ", ".join(f"{name} {value} ms" for name, value in shares.items())
    met = "met" if shares["99 %"] <= WANTED_MS else "MISSED"
    console.print(
        f"{PACKETS * PARAMETERS} parameters at {HZ:g} Hz, {outcome.pages} pages,"
        f" {outcome.seconds:.0f} s; published on the bus → painted: {told};"
        f" {outcome.within:.3f} % within {WANTED_MS} ms ({met} at 99 %),"
        f" {sum(outcome.latency_ms):,} values looked at"
    )
    first_ms = median(outcome.first_ms)
    console.print(
        f"first value in an empty browser after {first_ms:.0f} ms"
        f" ({'met' if first_ms <= WANTED_FIRST_MS else 'MISSED'}: {WANTED_FIRST_MS}; median of"
        f" {LOADS}, {min(outcome.first_ms):.0f} to {max(outcome.first_ms):.0f}),"
        f" {outcome.octets / 1000:.1f} kB with all headers"
        f" ({'met' if outcome.octets <= WANTED_OCTETS else 'MISSED'}: {WANTED_OCTETS / 1000:.0f})"
    )
    table = Table(
        "s", "console MB", "JS heap of each page, MB", "process of each page, MB", "nodes"
    )
    step = max(1, len(outcome.looks) // 15)
    for look in [*outcome.looks[::step], outcome.looks[-1]]:
        table.add_row(
            f"{look.seconds:.0f}",
            f"{look.console:.1f}",
            " ".join(f"{one:.2f}" for one in look.heaps),
            " ".join(f"{one:.0f}" for one in look.renderers),
            " ".join(map(str, look.nodes)),
        )
    console.print(table)
    for what, values in (
        ("console", [look.console for look in outcome.looks]),
        ("JS heaps together", [sum(look.heaps) for look in outcome.looks]),
        ("pages' processes together", [sum(look.renderers) for look in outcome.looks]),
    ):
        console.print(
            f"{what}: {values[0]:.1f} → {max(values):.1f} at most → {values[-1]:.1f} MB;"
            f" last quarter against the second {growth(values):+.2f} MB"
        )
    cores = ", ".join(f"{name} {value:.2f}" for name, value in outcome.cpu.items())
    console.print(f"cores used: {cores}; packets in sight {outcome.rows_seen}")
    console.print(
        f"worst of each {LOOK_S:.0f} s: {outcome.worst_by_interval} ms; errors in pages:"
        f" {len(outcome.errors)}; load of the machine"
        f" {min(outcome.load):.1f} to {max(outcome.load):.1f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=600.0, help="of measuring")
    parser.add_argument("--pages", type=int, default=PAGES, help="browsers that look")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--profile", type=Path, help="ten seconds of a page as .cpuprofile")
    parser.add_argument("--publish", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        directory, origin_ms, seconds = arguments.publish
        publish(directory, int(origin_ms), float(seconds))
        return 0
    outcome = run(arguments.seconds, arguments.pages, arguments.profile)
    console = Console(width=None if sys.stdout.isatty() else 160)
    show(console, outcome)
    console.print(
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(outcome)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
