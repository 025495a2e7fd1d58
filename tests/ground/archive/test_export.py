"""Exports read back with pyarrow and the csv module equal the queries."""

from __future__ import annotations

import csv
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from ground.archive.model import ColumnInfo, TableColumns
from ground.archive.store import ArchiveStore
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import utc_iso_from_tai_ns

S = 1_000_000_000
T0 = 2_170_000_000 * S
INFO = {
    "VOLTS": ColumnInfo("V", "bus voltage"),
    "MODE": ColumnInfo("", "mode", {0: "SAFE", 1: "NOMINAL"}),
    "LOG": ColumnInfo(),
}


def put(store: ArchiveStore, table: TableColumns) -> None:
    store.append(
        None,
        PacketBatch.empty(),
        stream="s",
        scet_ns=np.empty(0, np.int64),
        reception_ns=T0 + 900 * S,
        tables=[table],
    )


def power(scet: np.ndarray) -> TableColumns:
    n = np.arange(len(scet))
    return TableColumns(
        "POWER",
        None,
        scet,
        {
            "VOLTS": (n * 0.25).astype(np.float32),
            "MODE": (n % 3).astype(np.uint8),
            "LOG": np.array([f"line {i % 4}, “quoted”" for i in n.tolist()]),
        },
        {"VOLTS": n % 5 != 2},
        INFO,
        scet + 499 * S,
    )


@pytest.fixture
def store(tmp_path: Path):
    with ArchiveStore.open(tmp_path / "a.sqlite") as opened:
        put(opened, power(T0 + np.arange(10_000) * S))
        # Backfill into the middle, and a tail.
        put(opened, power(T0 + np.arange(9_000) * S // 2 + 7))
        put(opened, power(T0 + np.arange(20_000, 20_003) * S))
        put(
            opened,
            TableColumns(
                "ODD",
                None,
                np.array([T0]),
                {"NEW": np.array([7], np.int64)},
                ert_ns=np.array([T0]),
            ),
        )
        yield opened


def test_parquet_a_file_a_definition(store: ArchiveStore, tmp_path: Path):
    told: list[tuple[int, int]] = []
    files = store.export_parquet(tmp_path / "out", progress=lambda *counts: told.append(counts))
    assert sorted(path.name for path in files) == ["ODD.parquet", "POWER.parquet"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "ODD.parquet",
        "POWER.parquet",
    ], "nothing half-written is left"
    assert told[-1] == (19_004, 19_004)
    table = pq.read_table(tmp_path / "out" / "POWER.parquet")
    volts = store.query("VOLTS")
    assert table["scet_tai_ns"].to_pylist() == volts.scet_ns.tolist()
    assert table["ert_tai_ns"].to_pylist() == volts.ert_ns.tolist()
    assert table["VOLTS"].to_pylist() == [
        value if ok else None
        for value, ok in zip(volts.values.tolist(), volts.valid.tolist(), strict=True)
    ]
    assert table["MODE"].to_pylist() == store.query("MODE").texts()
    assert set(table["MODE"].to_pylist()) == {"SAFE", "NOMINAL", "#2"}
    assert table["LOG"].to_pylist() == store.query("LOG").texts()
    assert str(table.schema.field("VOLTS").type) == "float"
    assert table.schema.field("VOLTS").metadata == {
        b"unit": b"V",
        b"description": b"bus voltage",
        b"kind": b"number",
    }
    assert b'"1": "NOMINAL"' in table.schema.field("MODE").metadata[b"labels"]
    assert table.schema.metadata[b"definition"] == b"POWER"
    first = table["scet"][0].as_py().isoformat(timespec="milliseconds")
    assert first.replace("+00:00", "Z") == utc_iso_from_tai_ns(T0)


def test_parquet_long_form_of_a_range(store: ArchiveStore, tmp_path: Path):
    start, stop = T0 + 100 * S, T0 + 5_000 * S
    (file,) = store.export_parquet(
        tmp_path / "some.parquet", names=["MODE", "VOLTS", "LOG"], start_ns=start, stop_ns=stop
    )
    table = pq.read_table(file)
    at = 0
    for name in ("MODE", "VOLTS", "LOG"):
        wanted = store.query(name, start, stop)
        part = table.slice(at, len(wanted))
        at += len(wanted)
        assert set(part["parameter"].to_pylist()) == {name}
        assert part["scet_tai_ns"].to_pylist() == wanted.scet_ns.tolist()
        if name != "LOG":
            assert part["value"].to_pylist() == [
                value if ok else None
                for value, ok in zip(wanted.values.tolist(), wanted.valid.tolist(), strict=True)
            ]
        if name != "VOLTS":
            assert part["text"].to_pylist() == wanted.texts()
    assert at == len(table)


def test_csv(store: ArchiveStore, tmp_path: Path):
    store.export_csv(tmp_path / "out")
    with (tmp_path / "out" / "POWER.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    volts, log = store.query("VOLTS"), store.query("LOG").texts()
    assert [int(row["scet_tai_ns"]) for row in rows] == volts.scet_ns.tolist()
    assert [row["LOG"] for row in rows] == log
    for row, value, ok in zip(rows, volts.values.tolist(), volts.valid.tolist(), strict=True):
        assert row["VOLTS [V]"] == "" if not ok else float(row["VOLTS [V]"]) == value
    first = rows[0]["scet"]
    assert first.replace(" ", "T") == utc_iso_from_tai_ns(T0, decimals=9)


def test_layouts_of_one_definition_share_a_file(store: ArchiveStore, tmp_path: Path):
    later = power(T0 + np.arange(30_000, 30_002) * S)
    columns = {**later.columns, "EXTRA": np.array([1.5, 2.5])}
    columns["VOLTS"] = np.array([1.0, 1 / 3])
    put(store, replace(later, columns=columns))
    table = pq.read_table(store.export_parquet(tmp_path / "out")[0])
    assert table["VOLTS"].to_pylist()[-2:] == [1.0, 1 / 3]
    assert str(table.schema.field("VOLTS").type) == "double"
    assert table["EXTRA"].to_pylist()[-3:] == [None, 1.5, 2.5]


def test_unknown_names_leave_no_file(store: ArchiveStore, tmp_path: Path):
    with pytest.raises(LocalError, match="no parameter 'NONE'"):
        store.export_csv(tmp_path / "none.csv", names=["VOLTS", "NONE"])
    assert not (tmp_path / "none.csv").exists()
    with pytest.raises(RuntimeError, match="enough"):
        store.export_parquet(tmp_path / "half.parquet", names=["VOLTS"], progress=_stop)
    assert not list(tmp_path.glob("half*"))


def _stop(done: int, total: int) -> None:
    raise RuntimeError("enough")


def test_times_that_utc_cannot_say_are_null(tmp_path: Path):
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        scet = np.array([-(2**63) + 1, 0, 2**63 - 2])
        put(store, TableColumns("P", None, scet, {"X": np.arange(3.0)}, ert_ns=scet))
        table = pq.read_table(store.export_parquet(tmp_path / "out")[0])
    assert table["scet_tai_ns"].to_pylist() == scet.tolist()
    assert [value.as_py() is None for value in table["scet"]] == [True, False, True]


def test_memory_does_not_grow_with_the_archive(tmp_path: Path):
    peaks = []
    with ArchiveStore.open(tmp_path / "a.sqlite") as store:
        for million in range(2):
            times = T0 + (million * 1_000_000 + np.arange(1_000_000)) * S
            put(store, TableColumns("P", None, times, {"X": times / 7}, ert_ns=times))
            for _ in range(1 + (million == 0)):  # the first run also loads what is loaded once
                tracemalloc.start()
                store.export_parquet(tmp_path / "out")
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            peaks.append(peak)
    assert peaks[1] < 1.2 * peaks[0] < 60e6
