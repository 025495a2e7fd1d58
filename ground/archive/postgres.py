"""The archive on a PostgreSQL server: the same tables, statements and answers as in a file.

    l4 run --archive postgresql://l4@db.example/relay     password: ~/.pgpass or PGPASSFILE

The tables that grow without end are partitioned by their own numbers, which rise as things arrive:
by TimescaleDB where the database has it (hypertables), else plainly, a partition made when the
first row of it comes.  So old data can be moved or dropped by the month, and indexes that are
written to stay small.

One process writes: it holds an advisory lock of the database as long as its connection lasts.
A connection that is lost is not made again here: the error ends the service, and the next start
goes on from the position in the database, as after a kill.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeVar

import asyncpg

from ground.archive.checksums import CHECKED, row_crc
from ground.archive.schema import BUSY_TIMEOUT_S, FORMAT, statements
from ground.server_address import checked_address, shown_address
from ground.sqlite_file import newer
from protocols.errors import LocalError

T = TypeVar("T")

#: Table → the column it is partitioned by, and how many numbers a partition has: some weeks of a
#: mission that fills a link; a quiet one has a partition for years.
PARTITIONS: Final = {
    "packet": ("id", 1 << 25),
    "packet_group": ("id", 1 << 12),
    "value": ("segment", 1 << 12),
    "rollup": ("segment", 1 << 12),
}
#: From so many rows on, COPY is faster than one statement a row.
COPY_ROWS: Final = 16
#: Rows of a SELECT are fetched in batches of about this size.
FETCH_OCTETS: Final = 4 << 20
CONNECT_TIMEOUT_S: Final = 10
#: Of the one writer, among a database's advisory locks ("l4ar").
WRITER_LOCK: Final = 0x6C346172

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class PostgresDatabase:
    """A `ground.archive.database.Database`: asyncpg, one call at a time.

    asyncpg is asynchronous; each connection has an event loop of its own, which runs only while a
    call waits.  So any thread may use it that runs no event loop itself.
    """

    errors: tuple[type[Exception], ...] = FAILURES

    def __init__(self, address: str, *, read_only: bool) -> None:
        """LocalError if the server cannot be reached or does not let us in."""
        self.address = shown_address(address)
        settings = {"application_name": "l4 archive"}
        if read_only:
            settings["default_transaction_read_only"] = "on"
        self._loop = asyncio.new_event_loop()
        self._transaction: Any = None
        #: Partitions known to be there, by table and number.
        self._partitions: set[tuple[str, int]] = set()
        self._hyper = False
        try:
            self._db = self._wait(
                asyncpg.connect(
                    checked_address(address),
                    timeout=CONNECT_TIMEOUT_S,
                    server_settings=settings,
                )
            )
        except (*FAILURES, ValueError) as error:
            self._loop.close()
            raise LocalError(
                f"no archive at {self.address}: {str(error) or type(error).__name__}"
            ) from error

    def _wait(self, call: Coroutine[Any, Any, T] | Any) -> T:
        return self._loop.run_until_complete(call)

    @property
    def in_transaction(self) -> bool:
        return self._transaction is not None

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> PostgresRows:
        rows = PostgresRows(self, _numbered(statement), parameters)
        if not statement.startswith("SELECT"):
            rows.run()
        return rows

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> None:
        self._wait(self._db.executemany(_numbered(statement), list(parameters)))

    def insert(self, table: str, values: Sequence[Any], columns: str = "") -> int:
        if not columns:
            columns, values = _columns(table), (*values, row_crc(*values))
        if table in PARTITIONS:
            number = self.execute("SELECT nextval(?::regclass)", (f"{table}_id",)).fetchone()[0]
            self._have_partitions(table, number, number)
            columns, values = f"id, {columns}", (number, *values)
        marks = ", ".join("?" * len(values))
        statement = f"INSERT INTO {table}({columns}) VALUES({marks}) RETURNING id"
        return self._wait(self._db.fetchval(_numbered(statement), *values))

    def insert_unless(self, table: str, found: str, values: Sequence[Any]) -> int:
        marks = ", ".join(f"?{i + 1}" for i in range(len(values) + 1))
        statement = (
            f"INSERT INTO {table}({_columns(table)}) SELECT {marks} WHERE NOT EXISTS ({found})"
        )
        return self.execute(statement, (*values, row_crc(*values))).rowcount

    def insert_rows(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if table in PARTITIONS:
            key = {"packet": 0, "value": 1, "rollup": 2}[table]
            numbers = [row[key] for row in rows]
            self._have_partitions(table, min(numbers), max(numbers))
        if table == "value":
            # Summaries are doubles here, and the checksum is of what will be read back.
            rows = [(*r[:3], _double(r[3]), _double(r[4]), *r[5:]) for r in rows]
        summed = [(*row, row_crc(*row)) for row in rows]
        columns = _columns(table)
        if len(summed) >= COPY_ROWS:
            names = columns.split(", ")
            self._wait(self._db.copy_records_to_table(table, records=summed, columns=names))
        else:
            marks = ", ".join("?" * len(summed[0]))
            self.executemany(f"INSERT INTO {table}({columns}) VALUES({marks})", summed)

    def _have_partitions(self, table: str, low: int, high: int) -> None:
        if self._hyper:
            return
        _, size = PARTITIONS[table]
        for part in range(low // size, high // size + 1):
            if (table, part) in self._partitions:
                continue
            name = f"{table}_{part}"
            if self.execute("SELECT to_regclass(?)", (name,)).fetchone()[0] is None:
                # Attached, not made in place: that would wait for every reader, and they for it.
                self.execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)")
                self.execute(
                    f"ALTER TABLE {table} ATTACH PARTITION {name}"
                    f" FOR VALUES FROM ({part * size}) TO ({(part + 1) * size})"
                )
            self._partitions.add((table, part))

    def begin(self, *, write: bool) -> None:
        if write:
            transaction = self._db.transaction()
        else:
            transaction = self._db.transaction(isolation="repeatable_read", readonly=True)
        self._wait(transaction.start())
        self._transaction = transaction

    def commit(self) -> None:
        transaction, self._transaction = self._transaction, None
        self._wait(transaction.commit())

    def rollback(self) -> None:
        transaction, self._transaction = self._transaction, None
        self._partitions.clear()
        if transaction is not None and not self._db.is_closed():
            self._wait(transaction.rollback())

    def damage(self) -> Iterator[str]:
        """Rows that do not fit their checksums; a server with data checksums (`initdb -k`) refuses
        to give out a damaged page, which is told as well."""
        for table in CHECKED:
            count = 0
            try:
                for *row, crc in self.execute(f"SELECT {_columns(table)} FROM {table}"):
                    count += crc is not None and crc != row_crc(*row)
            except FAILURES as error:
                yield f"{table}: a row cannot be read: {error}"
                return
            if count:
                yield f"{table}: {count} rows are not what was written"

    # ------------------------------------------------------------ tables

    def prepare_writer(self) -> None:
        """Be the one writer, of a database whose tables are there.  LocalError if another is."""
        if self.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise LocalError(f"{self.address} is a replica, which can only be read from")
        self.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S:g}s'")
        try:
            self.execute("SELECT pg_advisory_lock(?)", (WRITER_LOCK,)).fetchall()
        except asyncpg.LockNotAvailableError as error:
            raise LocalError(f"another process writes the archive {self.address}") from error
        self.execute("SET lock_timeout = 0")
        # What was acknowledged survives the loss of power; a stricter setting of the server stays.
        if self.execute("SHOW synchronous_commit").fetchone()[0] == "off":
            self.execute("SET synchronous_commit = on")
        self._hyper = self._has_timescale()
        if self.execute("SELECT to_regclass('meta')").fetchone()[0] is None:
            self.begin(write=True)
            for statement in postgres_tables(hyper=self._hyper):
                self.execute(statement)
            self.execute("INSERT INTO meta VALUES('format', ?)", (str(FORMAT),))
            self.commit()

    def _has_timescale(self) -> bool:
        """Whether TimescaleDB is (or, before the first table, can be made) part of the database."""
        there = "SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb'"
        return bool(self.execute(there).fetchone()[0])

    def check_format(self) -> None:
        if self.execute("SELECT to_regclass('meta')").fetchone()[0] is None:
            raise LocalError(f"no archive at {self.address}: the database has none of its tables")
        row = self.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()
        if row is not None and row[0].isdecimal() and int(row[0]) > FORMAT:
            raise LocalError(newer(self.address, "archive", row[0], FORMAT))
        if row is None or row[0] != str(FORMAT):
            raise LocalError(f"{self.address} has archive format {row and row[0]}, {FORMAT} wanted")

    def close(self) -> None:
        if self._loop.is_closed():
            return
        try:
            if not self._db.is_closed():
                self._wait(self._db.close(timeout=CONNECT_TIMEOUT_S))
        except FAILURES:
            # It is gone either way, and so is what it had not committed.
            self._db.terminate()
        finally:
            self._loop.close()


class PostgresRows:
    """What a statement gives; a SELECT is made when it is first read."""

    def __init__(self, database: PostgresDatabase, statement: str, parameters: Sequence[Any]):
        self._of = database
        self._statement, self._parameters = statement, parameters
        self.rowcount = -1

    def run(self) -> None:
        status = self._of._wait(self._of._db.execute(self._statement, *self._parameters))
        count = status.rpartition(" ")[2]
        self.rowcount = int(count) if count.isdecimal() else -1

    def fetchone(self) -> Any:
        return self._of._wait(self._of._db.fetchrow(self._statement, *self._parameters))

    def fetchall(self) -> list[Any]:
        return self._of._wait(self._of._db.fetch(self._statement, *self._parameters))

    def __iter__(self) -> Iterator[Any]:
        if not self._of.in_transaction:
            yield from self.fetchall()
            return
        cursor = self._of._wait(self._cursor())
        count = 16
        while rows := self._of._wait(cursor.fetch(count)):
            yield from rows
            if len(rows) < count:
                return
            # Rows are from a few octets to megabytes: as many at a time as make a good batch.
            octets = sum(len(one) for row in islice(rows, 16) for one in row if type(one) is bytes)
            count = min(4 * count, max(16, 16 * FETCH_OCTETS // (octets + 16 * 64)))

    async def _cursor(self) -> Any:
        return await self._of._db.cursor(self._statement, *self._parameters)


def connect_writer(address: str) -> PostgresDatabase:
    """The one writing connection; makes the tables where there are none.  LocalError if the server
    does not let us in, another writes, or another format version wrote it."""
    database = PostgresDatabase(address, read_only=False)
    return _prepared(database, database.prepare_writer, database.check_format)


def connect_reader(address: str) -> PostgresDatabase:
    """A read-only connection; the address may be a replica's."""
    database = PostgresDatabase(address, read_only=True)
    return _prepared(database, database.check_format)


def _prepared(database: PostgresDatabase, *steps: Any) -> PostgresDatabase:
    try:
        for step in steps:
            step()
    except FAILURES as error:
        database.close()
        raise LocalError(f"{database.address} cannot be opened as an archive: {error}") from error
    except BaseException:
        database.close()
        raise
    return database


def postgres_tables(*, hyper: bool = False) -> Iterator[str]:
    """The tables of `schema.TABLES`, as PostgreSQL says it; hyper: as TimescaleDB's."""
    for statement in statements():
        table = next((t for t in PARTITIONS if f"CREATE TABLE {t}(" in statement), None)
        # Partitions have their own sequences of numbers: `insert` draws from one for all of them.
        identity = "" if table else " GENERATED BY DEFAULT AS IDENTITY"
        made = statement.replace(") WITHOUT ROWID", ")")
        made = re.sub(r"id INTEGER PRIMARY KEY", f"id BIGINT{identity} PRIMARY KEY", made)
        for ours, theirs in (
            ("minimum, maximum,", "minimum REAL, maximum REAL,"),
            ("INTEGER", "BIGINT"),
            ("BLOB", "BYTEA"),
            ("REAL", "DOUBLE PRECISION"),
            # Names in the order of their octets, as in a file.
            (" TEXT", ' TEXT COLLATE "C"'),
            # A unique index of a partitioned table would have to name the number itself; that an
            # identity comes once is `Ingest`'s business, here as there.
            ("UNIQUE INDEX packet_identity", "INDEX packet_identity"),
        ):
            made = made.replace(ours, theirs)
        if table is None:
            yield made
            continue
        column, size = PARTITIONS[table]
        yield made if hyper else f"{made} PARTITION BY RANGE ({column})"
        if column == "id":
            yield f"CREATE SEQUENCE {table}_id"
        if hyper:
            yield (
                f"SELECT create_hypertable('{table}', '{column}', chunk_time_interval => {size})"
            )
        for blob in re.findall(r"(\w+) BYTEA", made):
            # They come compressed.
            yield f"ALTER TABLE {table} ALTER COLUMN {blob} SET STORAGE EXTERNAL"


def _columns(table: str) -> str:
    return ", ".join((*CHECKED[table], "crc"))


def _double(value: float | None) -> float | None:
    return None if value is None else float(value)


@lru_cache(maxsize=512)
def _numbered(statement: str) -> str:
    """SQLite's markers as PostgreSQL's: `?` and `?2` become `$1` and `$2`."""
    count = 0

    def number(match: re.Match[str]) -> str:
        nonlocal count
        count += 1
        return f"${match[1] or count}"

    return re.sub(r"\?(\d*)", number, statement)


__all__ = ["PostgresDatabase", "connect_reader", "connect_writer", "postgres_tables"]
