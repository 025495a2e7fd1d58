"""Plots over SCET and ERT with limits, exports as files, and layouts that others open."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from ground.archive.model import ColumnInfo, TableColumns
from ground.archive.store import ArchiveStore
from ground.console.endpoints import PREFIX
from ground.ports import Message
from protocols.bus.messages import StatusMessage
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import unix_ns_from_tai_ns
from tests.ground.command.world import START_NS, S
from tests.ground.console.site import Console, signed_in

#: A sample a second for two hours; the second hour was stored on board and came a day later.
COUNT, LIGHT_NS, DAY_NS = 7_200, 499 * S, 86_400 * S


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    one = Console(tmp_path)
    scet_ns = START_NS + np.arange(COUNT) * S
    late = np.arange(COUNT) >= COUNT // 2
    with ArchiveStore.open(one.archive) as store:
        store.append(
            None,
            PacketBatch.empty(),
            stream="downlink",
            scet_ns=np.empty(0, np.int64),
            reception_ns=START_NS,
            tables=[
                TableColumns(
                    "POWER",
                    None,
                    scet_ns,
                    {"PWR_BUS_VOLTAGE": 30 + np.arange(COUNT) / COUNT},
                    info={"PWR_BUS_VOLTAGE": ColumnInfo("V")},
                    ert_ns=scet_ns + LIGHT_NS + late * DAY_NS,
                )
            ],
        )
    yield one
    one.close()


def unix_ms(tai_ns: int) -> float:
    return int(unix_ns_from_tai_ns(tai_ns)) / 1e6


def test_what_was_stored_on_board_stands_where_it_was_or_where_it_came(console: Console) -> None:
    start, stop = unix_ms(START_NS), unix_ms(START_NS + 2 * DAY_NS)
    asked = {"name": "PWR_BUS_VOLTAGE", "from": start, "to": stop, "points": 1_000}
    with signed_in(console, "viewer") as client:
        scet = client.get(f"{PREFIX}/plot", params=asked).json()
        ert = client.get(f"{PREFIX}/plot", params={**asked, "axis": "ert"}).json()
        wrong = client.get(f"{PREFIX}/plot", params={**asked, "axis": "moon"})
        assert (wrong.status_code, "scet or ert wanted" in wrong.text) == (400, True)
    assert sum(scet["count"]) == sum(ert["count"]) == COUNT
    assert scet["time"][-1] - scet["time"][0] <= 7_200_000
    assert ert["time"][-1] - ert["time"][0] > 86_400_000
    assert (min(ert["minimum"]), max(ert["maximum"])) == (30, 31 - 1 / COUNT)
    assert len(ert["time"]) <= 1_001
    low, warning_low, warning_high, high = scet["limits"]
    assert low < warning_low < 30 < warning_high < high


def test_an_archive_that_lags_is_said_to_be_stale(console: Console) -> None:
    """As a replica does: the archive service has told of more than it holds."""
    archived, now_s = console.model.archived, time.monotonic()

    def behind_s() -> float:
        at = unix_ms(START_NS + 100 * S)
        asked = {"name": "PWR_BUS_VOLTAGE", "from": at - 500, "to": at + 500}
        with signed_in(console, "viewer") as client:
            return client.get(f"{PREFIX}/plot", params=asked).json()["behind_s"]

    assert behind_s() == 0
    status = StatusMessage(
        "archive", "running", 0, 7, 1, 1, counters={"samples": COUNT, "commits": 9}
    )
    console.model.take(Message(Topic.STATUS, "archive", "", 0, 0, status.build()), 0)
    assert behind_s() == 0
    archived.told({"samples": COUNT + 1}, 7, now_s - 42)
    archived.told({"samples": COUNT + 5}, 7, now_s)
    assert 42 <= behind_s() < 60
    # It has caught up but for the last second.
    assert archived.behind_s({"samples": COUNT + 1}, now_s + 1) == 0
    assert archived.behind_s({"samples": COUNT + 1}, now_s + 9) == 9
    # Another archive service, as after a rebuild, begins to tell from what there is.
    archived.told({"samples": 10}, 8, now_s)
    assert archived.behind_s({"samples": 10}, now_s + 9) == 0


def test_a_second_of_a_year(console: Console) -> None:
    at = unix_ms(START_NS + 100 * S)
    asked = {"name": "PWR_BUS_VOLTAGE", "from": at - 500, "to": at + 500}
    with signed_in(console, "viewer") as client:
        found = client.get(f"{PREFIX}/plot", params=asked).json()
        assert (found["time"], found["count"]) == ([at], [1])
        year = {**asked, "from": at - 365 * 86_400_000, "to": at + 86_400_000}
        assert sum(client.get(f"{PREFIX}/plot", params=year).json()["count"]) == COUNT


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_every_sample_comes_as_a_file(console: Console, form: str) -> None:
    asked = {
        "name": "PWR_BUS_VOLTAGE",
        "from": unix_ms(START_NS),
        "to": unix_ms(START_NS + 1_000 * S),
        "format": form,
    }
    with signed_in(console, "viewer") as client:
        found = client.get(f"{PREFIX}/export", params=asked)
        none = client.get(f"{PREFIX}/export", params={**asked, "name": "NOTHING"})
    assert found.headers["content-disposition"] == f'attachment; filename="PWR_BUS_VOLTAGE.{form}"'
    read = pyarrow.parquet.read_table if form == "parquet" else pyarrow.csv.read_csv
    table = read(io.BytesIO(found.content))
    assert table.num_rows == 1_000
    assert table["value"][10].as_py() == pytest.approx(30 + 10 / COUNT)
    assert (none.status_code, "NOTHING" in none.json()["error"]) == (409, True)


def test_a_layout_is_everybodys_to_open_and_its_owners_to_change(console: Console) -> None:
    with signed_in(console, "operator") as client:
        body = {"body": "plots/PWR_BUS_VOLTAGE/ert/3600000"}
        assert client.put(f"{PREFIX}/layouts/power", json=body).status_code == 200
    with signed_in(console, "viewer") as client:
        found = client.get(f"{PREFIX}/layouts").json()
        assert found["power"] == {"owner": "operator", **body}
        refused = client.put(f"{PREFIX}/layouts/power", json={"body": "now"})
        assert (refused.status_code, "operator's" in refused.text) == (409, True)
