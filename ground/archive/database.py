"""The SQL engine under an archive: what its tables need of one, and SQLite as one.

Statements are written once, in the SQL that SQLite and PostgreSQL share, with SQLite's markers of
parameters (`?`, `?1`); `greatest` and `least` leave NULL out, as PostgreSQL's do.  What differs is
behind these few methods: how rows are brought in quickly, where ids come from, how a transaction
begins, what the engine knows of its own damage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from ground.archive import checksums


class Rows(Protocol):
    """What a statement gives; of `SELECT`, it may be read while other statements are made."""

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    @property
    def rowcount(self) -> int: ...


class Database(Protocol):
    """One connection; not for several threads at once."""

    #: What it raises when the engine fails.
    errors: tuple[type[Exception], ...]

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, statement: str, parameters: Sequence[Any] = (), /) -> Rows: ...

    def executemany(self, statement: str, parameters: Iterable[Sequence[Any]], /) -> Any: ...

    def insert(self, table: str, values: Sequence[Any], columns: str = "") -> int:
        """One row of a table that has an `id`, which the engine chooses and which is returned.
        columns: of the values, for a table without checksums (`checksums.CHECKED`)."""
        ...

    def insert_unless(self, table: str, found: str, values: Sequence[Any]) -> int:
        """One row with its checksum unless a SELECT finds something; how many were written."""
        ...

    def insert_rows(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        """Whole rows with their checksums, ids included: many at a time."""
        ...

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Rows as they are, checksums included where the table has any: many at a time."""
        ...

    def begin(self, *, write: bool) -> None:
        """A transaction: reading sees one state until its end, writing is alone."""
        ...

    def commit(self) -> None: ...

    def rollback(self) -> None: ...

    def damage(self) -> Iterator[str]:
        """What the engine itself finds wrong with what is stored, a sentence each."""
        ...

    def close(self) -> None: ...


class SqliteDatabase(sqlite3.Connection):
    """A `Database`: `sqlite3.connect(…, factory=SqliteDatabase, isolation_level=None)`."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        for name, function in (("greatest", max), ("least", min)):
            self.create_function(name, -1, _of_some(function), deterministic=True)
        checksums.register(self)

    def insert(self, table: str, values: Sequence[Any], columns: str = "") -> int:
        if columns:
            marks = ", ".join("?" * len(values))
            statement = f"INSERT INTO {table}({columns}) VALUES({marks})"
        else:
            statement = checksums.insert(table)
        cursor = self.execute(statement, values)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def insert_unless(self, table: str, found: str, values: Sequence[Any]) -> int:
        statement = checksums.insert(table, f"WHERE NOT EXISTS ({found})")
        return self.execute(statement, values).rowcount

    def insert_rows(self, table: str, rows: Sequence[Sequence[Any]]) -> None:
        self.executemany(checksums.insert(table), rows)

    def load(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table}({', '.join(columns)}) VALUES({marks})", rows)

    def begin(self, *, write: bool) -> None:
        self.execute("BEGIN IMMEDIATE" if write else "BEGIN")

    def damage(self) -> Iterator[str]:
        for (text,) in self.execute("PRAGMA quick_check(20)"):
            if text != "ok":
                yield f"SQLite: {text}"
        yield from checksums.find_changed(self)


def _of_some(function: Any) -> Any:
    def of_some(*values: Any) -> Any:
        return function((value for value in values if value is not None), default=None)

    return of_some


__all__ = ["Database", "Rows", "SqliteDatabase"]
