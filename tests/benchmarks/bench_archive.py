"""The archive beside other ways to keep the same data in files: bulk load, live load, plots."""

from __future__ import annotations

import atexit
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ground.archive.model import TableColumns
from ground.archive.store import ArchiveStore
from protocols.packets.batch import PacketBatch
from tests.benchmarks.harness import Case, PeerMissing

S = 1_000_000_000
T0 = 2_170_000_000 * S
MONTH, YEAR = 30 * 86_400, 365 * 86_400
PARAMETERS, ROWS = 20, 200_000
PACKETS, OCTETS, APIDS = 100_000, 200, 20


class Scratch:
    """A directory for the benchmark's files, emptied before each use and removed at the end."""

    def __init__(self) -> None:
        self._path = Path(tempfile.mkdtemp(prefix="bench-archive-"))
        atexit.register(shutil.rmtree, self._path, ignore_errors=True)

    def file(self, name: str) -> Path:
        for old in self._path.glob(f"{name}*"):
            old.unlink()
        return self._path / name


def put(store: ArchiveStore, scet: np.ndarray, columns: dict[str, np.ndarray]) -> None:
    store.append(
        None,
        PacketBatch.empty(),
        stream="s",
        scet_ns=np.empty(0, np.int64),
        reception_ns=T0,
        tables=[TableColumns("P", None, scet, columns, ert_ns=scet + 499 * S)],
    )


def housekeeping(rows: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """1 Hz; slow float32 with noise, as telemetry is."""
    rng = np.random.default_rng(1)
    times = T0 + np.arange(rows) * S
    return times, {
        f"P{i}": (np.sin(np.arange(rows) / (500 + i)) + rng.normal(0, 0.01, rows)).astype("f4")
        for i in range(PARAMETERS)
    }


def bulk(scratch: Scratch) -> Case:
    times, columns = housekeeping(ROWS)

    def ours() -> None:
        with ArchiveStore.open(scratch.file("bulk.sqlite")) as store:
            put(store, times, columns)

    def sqlite_rows() -> Callable[[], object]:
        # A tenth: a row a sample takes long.
        part = times[: ROWS // 10].tolist()
        values = [column[: ROWS // 10].tolist() for column in columns.values()]

        def work() -> None:
            db = _plain(scratch.file("rows.sqlite"))
            db.execute("CREATE TABLE s(p INTEGER, t INTEGER, v REAL, PRIMARY KEY(p, t))")
            db.execute("BEGIN")
            for number, column in enumerate(values):
                rows = zip([number] * len(part), part, column, strict=True)
                db.executemany("INSERT INTO s VALUES(?, ?, ?)", rows)
            db.execute("COMMIT")
            db.close()

        return work

    def parquet() -> Callable[[], object]:
        table = pa.table({"t": times, "ert": times + 499 * S, **columns})
        return lambda: pq.write_table(table, scratch.file("bulk.parquet"), compression="zstd")

    def duckdb_table() -> Callable[[], object]:
        try:
            import duckdb
        except ImportError as error:
            raise PeerMissing("duckdb") from error
        table = pa.table({"t": times, "ert": times + 499 * S, **columns})

        def work() -> None:
            with duckdb.connect(str(scratch.file("bulk.duckdb"))) as db:
                db.register("given", table)
                db.execute("CREATE TABLE s AS SELECT * FROM given")

        return work

    return Case(
        f"archive: bulk load, {PARAMETERS} parameters",
        PARAMETERS * ROWS,
        "Msample/s",
        ours,
        {"SQLite, a row a sample": sqlite_rows, "Parquet": parquet, "DuckDB": duckdb_table},
        peer_units={"SQLite, a row a sample": PARAMETERS * ROWS / 10},
        goal_rate=2.0,
    )


def live(scratch: Scratch) -> Case:
    """Five packets a transaction: what a 25 Hz link does to the service, which gathers 0.2 s."""
    times, columns = housekeeping(2_000)

    def ours() -> None:
        with ArchiveStore.open(scratch.file("live.sqlite")) as store:
            for first in range(0, len(times), 5):
                some = slice(first, first + 5)
                put(store, times[some], {name: v[some] for name, v in columns.items()})

    def sqlite_rows() -> Callable[[], object]:
        def work() -> None:
            db = _plain(scratch.file("liverows.sqlite"))
            db.execute("CREATE TABLE s(p INTEGER, t INTEGER, v REAL, PRIMARY KEY(p, t))")
            for first in range(0, len(times), 5):
                db.execute("BEGIN")
                for row in range(first, first + 5):
                    time = int(times[row])
                    rows = [(p, time, float(v[row])) for p, v in enumerate(columns.values())]
                    db.executemany("INSERT INTO s VALUES(?, ?, ?)", rows)
                db.execute("COMMIT")
            db.close()

        return work

    return Case(
        "archive: live load, a packet of 20 parameters, 5 a commit",
        PARAMETERS * len(times),
        "ksample/s",
        ours,
        {"SQLite, a row a sample": sqlite_rows},
        scale=1e3,
    )


def received() -> tuple[PacketBatch, np.ndarray]:
    """Packets of 20 APIDs on four virtual channels, and their SCET."""
    octets = np.random.default_rng(2).integers(0, 256, (PACKETS, OCTETS), np.uint8)
    number = np.arange(PACKETS)
    octets[:, 0], octets[:, 1] = 8, number % APIDS
    count = number // APIDS % 16384
    octets[:, 2], octets[:, 3] = 0xC0 | count >> 8, count & 0xFF
    octets[:, 4], octets[:, 5] = 0, OCTETS - 7
    scet = T0 + number * S // 100
    batch = PacketBatch(
        octets.reshape(-1),
        np.arange(PACKETS + 1) * OCTETS,
        (number % 4).astype(np.uint8),
        scet + 499 * S,
    )
    return batch, scet


def packet_rows(scratch: Scratch) -> Case:
    batch, scet = received()
    number = np.arange(PACKETS)

    def ours() -> None:
        with ArchiveStore.open(scratch.file("packets.sqlite")) as store:
            for low in range(0, PACKETS, 20_000):
                part = slice(low, low + 20_000)
                store.append(
                    None,
                    batch.slice(low, low + 20_000),
                    stream="s",
                    scet_ns=scet[part],
                    reception_ns=T0,
                )

    def bare() -> Callable[[], object]:
        rows = list(zip(number.tolist(), scet.tolist(), list(batch), strict=True))

        def work() -> None:
            db = _plain(scratch.file("bare.sqlite"))
            db.execute("CREATE TABLE p(id INTEGER PRIMARY KEY, t INTEGER, octets BLOB)")
            for low in range(0, PACKETS, 20_000):
                db.execute("BEGIN")
                db.executemany("INSERT INTO p VALUES(?, ?, ?)", rows[low : low + 20_000])
                db.execute("COMMIT")
            db.close()

        return work

    return Case(
        f"archive: packets of {OCTETS} octets, identity checked",
        PACKETS,
        "kpacket/s",
        ours,
        {"SQLite, bare rows of 3 columns": bare},
        scale=1e3,
        goal_rate=300.0,
    )


def plots(scratch: Scratch) -> Iterable[Case]:
    rng = np.random.default_rng(3)
    path = scratch.file("year.sqlite")
    values = np.cumsum(rng.normal(size=YEAR))
    times = T0 + np.arange(YEAR) * S
    with ArchiveStore.open(path) as writer:
        for low in range(0, YEAR, 1 << 20):
            part = slice(low, low + (1 << 20))
            put(writer, times[part], {"X": values[part]})
    parquet_file = scratch.file("month.parquet")
    pq.write_table(pa.table({"t": times[:MONTH], "v": values[:MONTH]}), parquet_file)
    store = ArchiveStore.open(path, read_only=True)
    width = store.plot("X", T0, T0 + MONTH * S).width_ns

    def month() -> object:
        return store.plot("X", T0, T0 + MONTH * S)

    def from_parquet() -> Callable[[], object]:
        def work() -> object:
            table = pq.read_table(parquet_file)
            t, v = table["t"].to_numpy(), table["v"].to_numpy()
            bins = t // width
            starts = np.flatnonzero(np.diff(bins, prepend=-1))
            return (
                np.minimum.reduceat(v, starts),
                np.maximum.reduceat(v, starts),
                np.add.reduceat(v, starts) / np.diff(starts, append=len(v)),
            )

        return work

    def equal(ours: object, peer: object) -> bool:
        # The first and last bin of ours reach beyond the month; those between are the same.
        low, high, mean = peer  # type: ignore[misc]
        inner = slice(0, len(low) - 1)
        return (
            np.array_equal(ours.minimum[inner], low[inner])  # type: ignore[attr-defined]
            and np.array_equal(ours.maximum[inner], high[inner])  # type: ignore[attr-defined]
            and np.allclose(ours.mean[inner], mean[inner], rtol=1e-12)  # type: ignore[attr-defined]
        )

    yield Case(
        "archive: plot a month of 1 Hz at 1,600 points",
        1,
        "plot/s",
        month,
        {"Parquet and NumPy": from_parquet},
        scale=1,
        equal=equal,
        goal_rate=50,  # 20 ms
    )
    yield Case(
        "archive: plot a year of 1 Hz at 1,600 points",
        1,
        "plot/s",
        lambda: store.plot("X", T0, T0 + YEAR * S),
        scale=1,
        goal_rate=10,  # 100 ms
    )
    yield Case(
        "archive: query a day of 1 Hz, every sample",
        86_400,
        "Msample/s",
        lambda: store.query("X", T0 + 40 * 86_400 * S, T0 + 41 * 86_400 * S),
    )


def cases() -> Iterable[Case]:
    scratch = Scratch()
    yield bulk(scratch)
    yield live(scratch)
    yield packet_rows(scratch)
    yield from plots(scratch)


def _plain(path: Path) -> sqlite3.Connection:
    """A peer with the same promise: WAL, and every commit on the disk."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    return db
