"""An archive on a server: opened to write and to read, copied into a file, put in its place again.

Whoever asks often (a console) opens the archive for each question.  So connections for reading are
not closed but kept for the next: at most IDLE_MOST of an address, for at most IDLE_S.  How many are
in use at a time is for those to bound who ask; a second bound here could only make two that each
want another wait for each other.
"""

from __future__ import annotations

import atexit
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Final

from asyncpg import LockNotAvailableError

from ground.archive import schema
from ground.archive.database import SqliteDatabase
from ground.archive.postgres import FAILURES, PostgresDatabase
from ground.archive.postgres_schema import PARTITIONS
from ground.archive.transfer import Progress, copy_rows
from protocols.errors import LocalError

IDLE_MOST: Final = 8
IDLE_S: Final = 60.0
#: Where a new archive is made, before it takes the old one's place.
_MAKING: Final = "l4_rebuilding"
#: Where the old one is kept then, with a number.
_KEPT: Final = "archive_damaged_"


def connect_writer(address: str) -> PostgresDatabase:
    """The one writing connection; makes the tables where there are none.  LocalError if the server
    does not let us in, another writes, or another format version wrote it."""
    database = PostgresDatabase(address, read_only=False)
    return _prepared(database, database.prepare_writer, database.check_format)


def connect_reader(address: str) -> PostgresDatabase:
    """A read-only connection; the address may be a replica's."""
    while (idle := _IDLE.take(address)) is not None:
        # The server may have been started anew since: asking says so, and what it is now.
        try:
            idle.check_format()
        except FAILURES:
            idle.close_for_good()
        except BaseException:
            idle.close_for_good()
            raise
        else:
            return idle
    database = _Reader(address)
    return _prepared(database, database.check_format)


def _prepared(database: PostgresDatabase, *steps: Callable[[], None]) -> PostgresDatabase:
    try:
        for step in steps:
            step()
    except FAILURES as error:
        _close(database)
        raise LocalError(f"{database.address} cannot be opened as an archive: {error}") from error
    except BaseException:
        _close(database)
        raise
    return database


def _close(database: PostgresDatabase) -> None:
    database.close_for_good() if isinstance(database, _Reader) else database.close()


# ---------------------------------------------------------------- connections that wait for a use


class _Reader(PostgresDatabase):
    """`close` gives it to whoever asks next."""

    def __init__(self, address: str) -> None:
        self._key = address
        super().__init__(address, read_only=True)

    def close(self) -> None:
        if self._db is None:
            return
        if self.in_transaction:
            self.rollback()
        # Ours is at its end: whoever still had it would speak in the middle of another's question.
        successor, self._db = copy(self), None
        _IDLE.give(self._key, successor)

    def close_for_good(self) -> None:
        super().close()


class _Idle:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        #: By address: (since when, connection), the one that was used last at the end.
        self._waiting: dict[str, list[tuple[float, _Reader]]] = defaultdict(list)

    def take(self, address: str) -> _Reader | None:
        with self._lock:
            waiting = self._waiting[address]
            found = waiting.pop()[1] if waiting else None
            old = self._old(waiting)
        _close_all(old)
        return found

    def give(self, address: str, database: _Reader) -> None:
        with self._lock:
            waiting = self._waiting[address]
            waiting.append((time.monotonic(), database))
            old = self._old(waiting)
        _close_all(old)

    @staticmethod
    def _old(waiting: list[tuple[float, _Reader]]) -> list[_Reader]:
        end = time.monotonic() - IDLE_S
        count = max(len(waiting) - IDLE_MOST, sum(since < end for since, _ in waiting))
        old = [database for _, database in waiting[:count]]
        del waiting[:count]
        return old

    def close(self) -> None:
        with self._lock:
            old = [one for waiting in self._waiting.values() for _, one in waiting]
            self._waiting.clear()
        _close_all(old)


def _close_all(databases: list[_Reader]) -> None:
    for database in databases:
        database.close_for_good()


_IDLE: Final = _Idle()
#: Whoever waits is closed.
close_idle: Final = _IDLE.close
atexit.register(close_idle)


# ---------------------------------------------------------------- copies


def copy_to_file(address: str, path: Path, progress: Progress | None = None) -> None:
    """One moment of the archive, with the positions it holds, as an SQLite file; others may write
    meanwhile.  LocalError: it cannot be read."""
    database = PostgresDatabase(address, read_only=False)
    try:
        database.check_format()
        database.begin(write=False)
        with closing(SqliteDatabase(path, isolation_level=None)) as file:
            file.execute(f"PRAGMA page_size = {schema.PAGE_OCTETS}")
            # A copy that is broken off is no copy.
            file.execute("PRAGMA journal_mode = OFF")
            file.execute("PRAGMA synchronous = OFF")
            file.execute("BEGIN")
            for statement in schema.statements():
                file.execute(statement)
            copy_rows(database, file, progress)
            file.execute("COMMIT")
    except (*FAILURES, sqlite3.Error) as error:
        raise LocalError(f"{database.address} cannot be copied into {path}: {error}") from error
    finally:
        database.close()


class Place:
    """The archive's place on a server, held: nobody else writes there.

    with held(address) as place:
        place.put(path)            what the file holds; returns where the old one is kept
    """

    def __init__(self, database: PostgresDatabase) -> None:
        self._db = database
        self.address = database.address

    @property
    def empty(self) -> bool:
        return not self._db.has_tables()

    def put(self, made: Path, progress: Progress | None = None) -> str | None:
        """An archive file's rows in the place of what is there, in one step: until then readers see
        the old one.  Its tables are kept in a schema whose name is returned (None: there were
        none).  LocalError: it cannot be done; nothing has changed then."""
        try:
            return self._put(made, progress)
        except (*FAILURES, sqlite3.Error) as error:
            self._give_up()
            why = str(error)
            if isinstance(error, LockNotAvailableError):
                why = f"somebody reads for longer than {schema.BUSY_TIMEOUT_S:g} s"
            raise LocalError(f"{made} cannot be put in the place of {self.address}: {why}") from (
                error
            )

    def _give_up(self) -> None:
        with suppress(*FAILURES):
            if self._db.in_transaction:
                self._db.rollback()
            self._db.execute(f"DROP SCHEMA IF EXISTS {_MAKING} CASCADE")

    def _put(self, made: Path, progress: Progress | None) -> str | None:
        db = self._db
        (home,) = db.execute("SELECT current_schema()").fetchone()
        if home is None:
            raise LocalError(f"{self.address}: no schema on the search path of this user")
        db.execute(f"DROP SCHEMA IF EXISTS {_MAKING} CASCADE")
        db.begin(write=True)
        db.execute(f"CREATE SCHEMA {_MAKING}")
        db.execute(f"SET LOCAL search_path = {_MAKING}")
        db.make_tables()
        with closing(schema.connect_reader(made)) as file:
            file.begin(write=False)
            copy_rows(file, db, progress)
        _go_on_numbering(db)
        db.commit()
        kept = self._swap(home)
        db.execute(f"ANALYZE {', '.join(schema.columns())}")
        return kept

    def _swap(self, home: str) -> str | None:
        db = self._db
        db.begin(write=True)
        # Whoever reads at length is waited for, and those behind us for so long as well.
        db.execute(f"SET LOCAL lock_timeout = '{schema.BUSY_TIMEOUT_S:g}s'")
        kept = None
        if old := _relations(db, home):
            taken = {name for (name,) in db.execute("SELECT nspname::text FROM pg_namespace")}
            number = 1
            while (kept := f"{_KEPT}{number}") in taken:
                number += 1
            db.execute(f"CREATE SCHEMA {kept}")
            _move(db, old, kept)
        _move(db, _relations(db, _MAKING), home)
        db.execute(f"DROP SCHEMA {_MAKING}")
        db.commit()
        return kept


def _go_on_numbering(db: PostgresDatabase) -> None:
    """After rows that came with their numbers."""
    for table, names in schema.columns().items():
        if names[0] != "id":
            continue
        sequence = "pg_get_serial_sequence(?, 'id')"
        if table in PARTITIONS:
            sequence = "?::regclass"
        named = f"{table}_id" if table in PARTITIONS else table
        db.execute(
            f"SELECT setval({sequence}, max(id) + 1, false) FROM {table}", (named,)
        ).fetchall()


#: An archive's tables with their partitions, its view and the sequences that no column owns.
_RELATIONS: Final = """
    SELECT format('%I.%I', relnamespace::regnamespace, relname), relkind::text FROM pg_class
    WHERE relnamespace = to_regnamespace(?1) AND relkind IN ('r', 'p', 'v', 'S') AND (
      relname = ANY(?2) OR oid IN (
        SELECT inhrelid FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent
        WHERE parent.relnamespace = to_regnamespace(?1) AND parent.relname = ANY(?2)))"""


def _relations(db: PostgresDatabase, home: str) -> list[tuple[str, str]]:
    """(name with its schema, kind)."""
    ours = [*schema.columns(), "packets", *(f"{table}_id" for table in PARTITIONS)]
    return [tuple(row) for row in db.execute(_RELATIONS.strip(), (home, ours)).fetchall()]


def _move(db: PostgresDatabase, relations: list[tuple[str, str]], home: str) -> None:
    words = {"v": "VIEW", "S": "SEQUENCE"}
    for name, kind in relations:
        db.execute(f'ALTER {words.get(kind, "TABLE")} {name} SET SCHEMA "{home}"')


@contextmanager
def held(address: str) -> Iterator[Place]:
    """LocalError: the server cannot be reached, or another process writes there."""
    database = PostgresDatabase(address, read_only=False)
    try:
        database.be_writer()
        yield Place(database)
    except FAILURES as error:
        raise LocalError(f"{database.address}: {error}") from error
    finally:
        with suppress(*FAILURES):
            if database.in_transaction:
                database.rollback()
        database.close()


__all__ = ["Place", "close_idle", "connect_reader", "connect_writer", "copy_to_file", "held"]
