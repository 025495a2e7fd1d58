"""A service's own SQLite file: made with its tables, or checked to be what it should be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ground.durable_files import make_directory
from protocols.errors import LocalError


def open_file(
    path: Path | str,
    schema: str,
    version: int,
    what: str,
    *,
    foreign_keys: bool = True,
    any_thread: bool = False,
    migrations: Mapping[int, Callable[[sqlite3.Connection], None]] | None = None,
) -> sqlite3.Connection:
    """A connection in autocommit mode whose commits survive a power failure; ":memory:": no file.

    schema: statements; made in one transaction, with the version, if there is nothing yet.
    any_thread: may use the connection, one at a time; else this one alone.  migrations: version →
    makes a file of that version one of the next, in the transaction that is open then; so a file is
    of one version or another at any instant.  Raises LocalError, naming `what` is kept, for a file
    of another kind, of a version that no migration leads from, or of a newer one.
    """
    if path != ":memory:":
        make_directory(Path(path).parent)
    connection = sqlite3.connect(
        path, isolation_level=None, timeout=30, check_same_thread=not any_thread
    )
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        # What is told to others, or done because of it, is on disk before.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("BEGIN IMMEDIATE")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            # Statement by statement: executescript would commit half of it first.
            for statement in _statements(schema):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version}")
        elif found > version:
            raise LocalError(newer(path, what, found, version))
        elif found != version:
            for step in range(found, version):
                if migrations is None or step not in migrations:
                    raise LocalError(f"{path}: {what} of format {found}, {version} wanted")
                migrations[step](connection)
            connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        connection.close()
        raise LocalError(f"{path} cannot be opened as a store of {what}: {error}") from error
    except LocalError:
        connection.close()
        raise
    return connection


def newer(path: Path | str, what: str, found: object, known: int) -> str:
    """What is said of a file that a later version of this software has written."""
    return (
        f"{path}: {what} of format {found}, written by a newer version than this one, which knows "
        f"formats up to {known}; install that version again, or restore a backup from before it"
    )


def _statements(schema: str) -> Iterator[str]:
    """Each whole, a trigger with what is in it."""
    text = ""
    for part in schema.split(";"):
        text += part + ";"
        if sqlite3.complete_statement(text):
            if text.strip(" \n;"):
                yield text
            text = ""
