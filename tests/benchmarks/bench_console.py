"""A year of one parameter at 1 Hz, 31.5 million samples, plotted through the console's HTTP API.

The year is written by the archive's own writer; bus and console are processes.  A call is the whole
request over a connection that is open: session, query, JSON, gzip.  "Cold": the kernel has been
told to forget the archive's pages first.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ground.archive.store import ArchiveStore
from protocols.timecodes.tai import unix_ns_from_tai_ns
from tests.benchmarks.bench_archive import T0, YEAR, S, put
from tests.benchmarks.console_site import ConsoleSite
from tests.benchmarks.harness import Case

DAY = 86_400
SPANS = {"year": YEAR, "month": 30 * DAY, "day": DAY, "hour": 3_600, "second": 1}
POINTS = 1_200


def write_year(path: Path, seconds: int = YEAR) -> None:
    """X, a random walk at 1 Hz from T0 on."""
    rng = np.random.default_rng(3)
    values = np.cumsum(rng.normal(size=seconds))
    times = T0 + np.arange(seconds) * S
    with ArchiveStore.open(path) as store:
        for low in range(0, seconds, 1 << 20):
            part = slice(low, low + (1 << 20))
            put(store, times[part], {"X": values[part]})


def cases() -> Iterable[Case]:
    directory = Path(tempfile.mkdtemp(prefix="bench-console-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    site = ConsoleSite(directory)
    atexit.register(site.close)
    archive = site.settings.archive_file
    archive.parent.mkdir(exist_ok=True)
    write_year(archive)

    def plot(name: str, *, cold: bool) -> Callable[[], object]:
        # About the middle: the second is inside an hour, a day, a month that are plotted, too.
        begin = T0 if name == "year" else T0 + YEAR * S // 2
        from_ms, to_ms = (
            unix_ns_from_tai_ns(at_ns) / 1e6 for at_ns in (begin, begin + SPANS[name] * S)
        )
        path = f"/api/v1/plot?name=X&from={from_ms}&to={to_ms}&points={POINTS}"
        found = json.loads(site.get(path, encoding="identity")[0])
        assert SPANS[name] <= sum(found["count"]) < SPANS[name] * (1 + 2 / POINTS) + 2, name
        assert len(found["time"]) <= POINTS + 1

        def work() -> object:
            if cold:
                forget(archive)
            return site.get(path)

        return work

    for cold in (False, True):
        for name in SPANS:
            yield Case(
                f"console: plot a {name} of a year of 1 Hz over HTTP{', cold' if cold else ''}",
                1,
                "plot/s",
                plot(name, cold=cold),
                scale=1,
                goal_rate=10,  # 100 ms
            )


def forget(path: Path) -> None:
    """The kernel's cached pages of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
