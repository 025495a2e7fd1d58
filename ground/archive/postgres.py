"""The archive on a PostgreSQL server: the same tables, statements and answers as in a file.

    l4 run --archive postgresql://l4@db.example/relay     password: ~/.pgpass or PGPASSFILE

The tables that grow without end are partitioned by their own numbers, which rise as things arrive:
by TimescaleDB where the database has it (hypertables), else plainly, a partition made when the
first row of it comes.  So old data can be moved or dropped by the month, and indexes that are
written to stay small.

PostgreSQL keeps no NUL in a text, telemetry does: it travels escaped (`_escaped`), so that a text
comes back as it was.

One process writes: it holds an advisory lock of the database as long as its connection lasts.
A connection that is lost is not made again here: the error ends the service, and the next start
goes on from the position in the database, as after a kill.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, TypeVar

import asyncpg

from ground.archive.checksums import CHECKED, row_crc
from ground.archive.postgres_schema import PARTITIONS, postgres_tables
from ground.archive.schema import BUSY_TIMEOUT_S, FORMAT
from ground.server_address import checked_address, shown_address, tls_mode
from ground.sqlite_file import newer
from protocols.errors import LocalError

T = TypeVar("T")

#: From so many rows on, COPY is faster than one statement a row.
COPY_ROWS: Final = 16
#: Rows of a SELECT are fetched in batches of about this size.
FETCH_OCTETS: Final = 4 << 20
CONNECT_TIMEOUT_S: Final = 10
#: Of the one writer, among a database's advisory locks ("l4ar").
WRITER_LOCK: Final = 0x6C346172

#: An end that has vanished without a word is noticed after some 30 + 3 · 10 s, by either side: the
#: server gives its locks to the next writer then.
KEEPALIVE: Final = {"idle": 30, "interval": 10, "count": 3}
_KEEPALIVE_OPTIONS: Final = {
    "TCP_KEEPIDLE": KEEPALIVE["idle"],
    "TCP_KEEPALIVE": KEEPALIVE["idle"],  # macOS
    "TCP_KEEPINTVL": KEEPALIVE["interval"],
    "TCP_KEEPCNT": KEEPALIVE["count"],
    "TCP_USER_TIMEOUT": 60_000,
}
#: What a server's administrator may have set for everybody, and what writes and copies must not be
#: ended by.
UNLIMITED: Final = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}

FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


class PostgresDatabase:
    """A `ground.archive.database.Database`: asyncpg, one call at a time.

    asyncpg is asynchronous; each connection has an event loop of its own, which runs only while a
    call waits.  So any thread may use it that runs no event loop itself.
    """

    errors: tuple[type[Exception], ...] = FAILURES

    def __init__(self, address: str, *, read_only: bool) -> None:
        """LocalError if the server cannot be reached or does not let us in."""
        checked_address(address)
        self.address = shown_address(address)
        settings = {"application_name": "l4 archive"}
        settings |= {f"tcp_keepalives_{name}": str(value) for name, value in KEEPALIVE.items()}
        if read_only:
            settings["default_transaction_read_only"] = "on"
        else:
            settings |= UNLIMITED
        self._loop = asyncio.new_event_loop()
        self._transaction: Any = None
        #: Partitions known to be there, by table and number.
        self._partitions: set[tuple[str, int]] = set()
        self._hyper = False
        self._db: Any = None
        try:
            self._db = self._wait(
                asyncpg.connect(
                    address,
                    timeout=CONNECT_TIMEOUT_S,
                    server_settings=settings,
                    ssl=tls_mode(address),
                )
            )
            _keep_alive(self._db)
            escaping = self._db.set_type_codec(
                "text", schema="pg_catalog", encoder=_escaped, decoder=_unescaped, format="binary"
            )
            self._wait(escaping)
        except BaseException as error:
            if self._db is not None:
                self._db.terminate()
            self._loop.close()
            if not isinstance(error, (*FAILURES, ValueError)):
                raise
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
        if table == "value":
            # Summaries are doubles here, and the checksum is of what will be read back.
            rows = [(*r[:3], _double(r[3]), _double(r[4]), *r[5:]) for r in rows]
        self.load(table, (*CHECKED[table], "crc"), [(*row, row_crc(*row)) for row in rows])

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        if table in PARTITIONS:
            key = columns.index(PARTITIONS[table][0])
            numbers = [row[key] for row in rows]
            self._have_partitions(table, min(numbers), max(numbers))
        if len(rows) >= COPY_ROWS:
            self._wait(self._db.copy_records_to_table(table, records=rows, columns=columns))
        else:
            marks = ", ".join("?" * len(columns))
            self.executemany(f"INSERT INTO {table}({', '.join(columns)}) VALUES({marks})", rows)

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
        if transaction is None or self._db.is_closed():
            return
        try:
            self._wait(transaction.rollback())
        except FAILURES:
            # The connection is lost, though nobody had told us: with it, what was begun.
            self._db.terminate()

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

    def be_writer(self) -> None:
        """The one process that writes this database, as long as the connection lasts.  LocalError
        if another is, or nobody can."""
        if self.execute("SELECT pg_is_in_recovery()").fetchone()[0]:
            raise LocalError(f"{self.address} is a replica, which can only be read from")
        encoding = self.execute("SHOW server_encoding").fetchone()[0]
        if encoding != "UTF8":
            raise LocalError(
                f"{self.address} has the encoding {encoding}, which cannot hold every text; "
                "UTF8 wanted (CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0)"
            )
        self.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S:g}s'")
        try:
            self.execute("SELECT pg_advisory_lock(?)", (WRITER_LOCK,)).fetchall()
        except asyncpg.LockNotAvailableError as error:
            raise LocalError(f"another process writes the archive {self.address}") from error
        self.execute("SET lock_timeout = 0")
        # What was acknowledged survives the loss of power; a stricter setting of the server stays.
        if self.execute("SHOW synchronous_commit").fetchone()[0] == "off":
            self.execute("SET synchronous_commit = on")

    def has_tables(self) -> bool:
        return self.execute("SELECT to_regclass('meta')").fetchone()[0] is not None

    def make_tables(self) -> None:
        """All of them, empty, in the transaction that is open."""
        there = "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = ?"
        timescale = self.execute(there, ("timescaledb",)).fetchone()
        for statement in postgres_tables(hyper=timescale and timescale[0]):
            made = self.execute(statement)
            if statement.startswith("SELECT"):
                made.fetchall()
        self.know_tables()

    def know_tables(self) -> None:
        """How those are partitioned that are there: TimescaleDB may have come after them."""
        plain = "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('packet')"
        self._hyper = not self.execute(plain).fetchone()[0]
        self._partitions.clear()

    def prepare_writer(self) -> None:
        """Be the one writer, of a database whose tables are there."""
        self.be_writer()
        if self.has_tables():
            self.know_tables()
            return
        self.begin(write=True)
        self.make_tables()
        self.execute("INSERT INTO meta VALUES('format', ?)", (str(FORMAT),))
        self.commit()

    def check_format(self) -> None:
        if not self.has_tables():
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


def _keep_alive(db: Any) -> None:
    # asyncpg has no parameter for it, and hands out no transport.
    end = db._transport.get_extra_info("socket")
    if end is None or end.family not in (socket.AF_INET, socket.AF_INET6):
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_OPTIONS.items():
        if hasattr(socket, name):
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _escaped(text: str) -> bytes:
    """NUL as ESC 0, ESC twice: the only character that PostgreSQL has not, one-to-one."""
    if "\0" in text or "\x1b" in text:
        text = text.replace("\x1b", "\x1b\x1b").replace("\0", "\x1b0")
    return text.encode()


def _unescaped(octets: bytes) -> str:
    text = bytes(octets).decode()
    return _ESCAPE.sub(lambda m: "\0" if m[1] == "0" else m[1], text) if "\x1b" in text else text


_ESCAPE: Final = re.compile("\x1b(.)", re.DOTALL)

__all__ = ["FAILURES", "PostgresDatabase"]
