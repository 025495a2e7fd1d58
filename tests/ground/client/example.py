"""The console that `docs/howto/client.md` talks to."""

from __future__ import annotations

import atexit
import tempfile
from pathlib import Path

import numpy as np

from ground.archive.model import ColumnInfo, TableColumns
from ground.archive.store import ArchiveStore
from tests.ground.archive.test_export import S, put
from tests.ground.client.served import Served
from tests.ground.command.world import START_NS
from tests.ground.console.site import Console


def example_site() -> Served:
    """An hour of a voltage once a second, until now; one alarm."""
    directory = tempfile.TemporaryDirectory()
    atexit.register(directory.cleanup)
    console = Console(Path(directory.name))
    with ArchiveStore.open(Path(directory.name) / "archive.sqlite") as store:
        n = np.arange(3_600)
        scet = START_NS + (n + 1) * S
        table = TableColumns(
            "POWER",
            None,
            scet,
            {"PWR_BUS_VOLTAGE": 28 + 0.5 * np.sin(n / 100)},
            info={"PWR_BUS_VOLTAGE": ColumnInfo("V", "Bus voltage")},
            ert_ns=scet + 499 * S,
        )
        put(store, table)
    console.clock.ns = START_NS + 3_600 * S + S // 2
    console.raise_alarm()
    return Served(console)
