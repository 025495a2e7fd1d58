"""Files and transactions of the ground's CFDP entity on disk; they survive kill -9 and power loss.

    DIRECTORY/transfers.sqlite   records, spans of octets received, the next transaction number
    DIRECTORY/spool/             what is sent, as it was when asked for; parts of what is received
    DIRECTORY/received/          files received, under the names that they were sent to

`commit` writes in an order in which every prefix is right: data, then which of them are there and
what became of the transaction, then the name under which a whole file appears.  A rename or removal
that is missing after a kill is done when the store is opened.
"""

# msgpack ships no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import msgpack

from ground.durable_files import make_directory, sync_directory, sync_file
from ground.sqlite_file import open_file
from protocols.errors import LocalError
from protocols.files.records import (
    LARGEST_FILE,
    Key,
    Kind,
    Record,
    State,
    wrong_name,
)
from protocols.files.spans import Spans, add

FORMAT: Final = 1
#: Left free on the disk when a file is accepted.
_SPARE_OCTETS: Final = 64 << 20
_READ_OCTETS: Final = 1 << 20
_SCHEMA = """
CREATE TABLE record (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL, number INTEGER NOT NULL, body BLOB NOT NULL,
    UNIQUE (source, number)) STRICT;
CREATE TABLE span (
    source INTEGER NOT NULL, number INTEGER NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL
) STRICT;
CREATE INDEX span_key ON span (source, number);
CREATE TABLE delivery (
    source INTEGER NOT NULL, number INTEGER NOT NULL, name TEXT NOT NULL) STRICT;
CREATE TABLE next (number INTEGER NOT NULL) STRICT;
INSERT INTO next VALUES (1);
"""


class FileStore:
    """`TransferStore` in a directory of one process.  LocalError: another process uses it."""

    def __init__(self, directory: Path) -> None:
        self.received = directory / "received"
        self._spool = directory / "spool"
        for one in (self.received, self._spool):
            make_directory(one)
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._connection = self._opened(directory)
        except BaseException:
            os.close(self._lock)
            raise
        self._parts: dict[Key, int] = {}
        self._spans: dict[Key, Spans] = {}
        #: Since the last commit.
        self._written: dict[Key, Spans] = {}
        self._deliveries: dict[Key, str] = {}
        self._discarded: set[Key] = set()
        self._saved: dict[Key, Record] = {}
        self._forgotten: set[Key] = set()
        self._finish_deliveries()
        self._sweep()

    def _opened(self, directory: Path) -> sqlite3.Connection:
        try:
            # Of ours, not SQLite's exclusive mode: that would lock out the online backup as well.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LocalError(f"{directory}: another process transfers files here") from error
        return open_file(
            directory / "transfers.sqlite", _SCHEMA, FORMAT, "transfers", any_thread=True
        )

    def close(self) -> None:
        for descriptor in self._parts.values():
            os.close(descriptor)
        self._parts.clear()
        self._connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    # Records -------------------------------------------------------------------------------------

    def next_number(self) -> int:
        (number,) = self._connection.execute("SELECT number FROM next").fetchone()
        self._connection.execute("UPDATE next SET number = number + 1")
        return number

    def skip_numbers(self, count: int) -> None:
        """So many may have been given out that are not known here."""
        self._connection.execute("UPDATE next SET number = number + ?", (count,))

    def records(self) -> list[Record]:
        found = self._connection.execute("SELECT body FROM record ORDER BY id")
        return [_record(body) for (body,) in found]

    def save(self, record: Record) -> None:
        self._saved[record.key] = record

    def forget(self, key: Key) -> None:
        self._saved.pop(key, None)
        self._forgotten.add(key)
        self.discard(key)

    # Files ---------------------------------------------------------------------------------------

    def hold(self, key: Key, name: str) -> int:
        path = Path(name)
        if not path.is_file():
            raise LocalError(f"{name}: no such file")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise LocalError(f"{name}: {size} octets; {LARGEST_FILE} are the most")
        held = self._held(key)
        try:
            shutil.copyfile(path, held)
        except OSError as error:
            held.unlink(missing_ok=True)
            raise LocalError(f"{name}: {error.strerror or error}") from error
        sync_file(held)
        sync_directory(self._spool)
        # Of the copy: the file may have grown meanwhile.
        return held.stat().st_size

    def read(self, key: Key, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor(key, self._held(key)), length, offset)

    def accept(self, key: Key, name: str, size: int) -> str:
        wrong = wrong_name(name)
        if wrong:
            return wrong
        target = self.received / name
        if target.is_dir():
            return f"name {name!r}: a directory"
        if any(one.is_file() for one in target.parents if one != self.received):
            return f"name {name!r}: a part of it is a file"
        if size > LARGEST_FILE:
            return f"{size} octets; {LARGEST_FILE} are the most"
        free = shutil.disk_usage(self.received).free - _SPARE_OCTETS
        return "" if size <= free else f"{size} octets and room for {max(free, 0)}"

    def write(self, key: Key, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if end > LARGEST_FILE:
            raise PermissionError(f"offset {end}: {LARGEST_FILE} is the end")
        os.pwrite(self._descriptor(key, self._part(key)), data, offset)
        add(self._present(key), offset, end)
        add(self._written.setdefault(key, []), offset, end)

    def spans(self, key: Key) -> Spans:
        return list(self._present(key))

    def octets(self, key: Key, length: int) -> Iterable[bytes]:
        held = self._held(key)
        descriptor = self._descriptor(key, held if held.exists() else self._part(key))
        for at in range(0, length, _READ_OCTETS):
            yield os.pread(descriptor, min(_READ_OCTETS, length - at), at)

    def deliver(self, key: Key, name: str) -> None:
        # An empty file has no part yet.
        self._descriptor(key, self._part(key))
        self._written.setdefault(key, [])
        self._deliveries[key] = name

    def discard(self, key: Key) -> None:
        if key not in self._deliveries:
            self._discarded.add(key)

    def path(self, name: str) -> Path:
        return Path(name)

    # All at once ---------------------------------------------------------------------------------

    def commit(self) -> None:
        if not (self._written or self._saved or self._discarded or self._forgotten):
            return
        for key in self._written:
            if key not in self._discarded:
                os.fdatasync(self._descriptor(key, self._part(key)))
        execute, many = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        many(
            "INSERT INTO span VALUES (?, ?, ?, ?)",
            [(*key, *span) for key, spans in self._written.items() for span in spans],
        )
        many(
            "INSERT INTO record (source, number, body) VALUES (?, ?, ?) "
            "ON CONFLICT (source, number) DO UPDATE SET body = excluded.body",
            [(*key, _packed(record)) for key, record in self._saved.items()],
        )
        many(
            "INSERT INTO delivery VALUES (?, ?, ?)",
            [(*key, name) for key, name in self._deliveries.items()],
        )
        gone = [*self._discarded, *self._deliveries]
        many("DELETE FROM span WHERE source = ? AND number = ?", gone)
        many("DELETE FROM record WHERE source = ? AND number = ?", list(self._forgotten))
        execute("COMMIT")
        for key in gone:
            self._release(key)
        for key in self._discarded:
            self._held(key).unlink(missing_ok=True)
            self._part(key).unlink(missing_ok=True)
        if self._deliveries:
            self._finish_deliveries()
        for pending in (self._written, self._saved, self._deliveries):
            pending.clear()
        self._discarded.clear()
        self._forgotten.clear()

    def _finish_deliveries(self) -> None:
        """Parts that are whole get their names; what is done already is not done again."""
        rows = self._connection.execute("SELECT source, number, name FROM delivery").fetchall()
        for source, number, name in rows:
            part, target = self._part((source, number)), self.received / name
            if part.exists():
                make_directory(target.parent)
                part.replace(target)
                sync_directory(target.parent)
        if rows:
            self._connection.execute("DELETE FROM delivery")

    def _sweep(self) -> None:
        """What is in the spool and belongs to nothing that goes on."""
        going = {record.key for record in self.records() if not record.state.ended}
        kept = {path(key) for key in going for path in (self._held, self._part)}
        for path in self._spool.iterdir():
            if path not in kept:
                path.unlink()
        # Octets of a part that is gone (as in a backup between two of its files) come again.
        for source, number in self._connection.execute(
            "SELECT DISTINCT source, number FROM span"
        ).fetchall():
            if not self._part((source, number)).exists():
                self._connection.execute(
                    "DELETE FROM span WHERE source = ? AND number = ?", (source, number)
                )

    def _held(self, key: Key) -> Path:
        return self._spool / f"{key[0]}-{key[1]}.send"

    def _part(self, key: Key) -> Path:
        return self._spool / f"{key[0]}-{key[1]}.part"

    def _descriptor(self, key: Key, path: Path) -> int:
        if key not in self._parts:
            new = not path.exists()
            self._parts[key] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            if new:
                # Which octets are there is written elsewhere: the part must be there, too.
                sync_directory(self._spool)
        return self._parts[key]

    def _present(self, key: Key) -> Spans:
        if key not in self._spans:
            spans: Spans = []
            rows = self._connection.execute(
                "SELECT start, stop FROM span WHERE source = ? AND number = ? ORDER BY start", key
            )
            for start, stop in rows:
                add(spans, start, stop)
            self._spans[key] = spans
        return self._spans[key]

    def _release(self, key: Key) -> None:
        descriptor = self._parts.pop(key, None)
        if descriptor is not None:
            os.close(descriptor)
        self._spans.pop(key, None)


def _packed(record: Record) -> bytes:
    packed = msgpack.packb(asdict(record))
    assert packed is not None
    return packed


def _record(body: bytes) -> Record:
    plain: dict[str, Any] = msgpack.unpackb(body)
    for name in ("origin", "answered_by"):
        if plain[name] is not None:
            plain[name] = tuple(plain[name])
    plain["messages"] = tuple(plain["messages"])
    return Record(**{**plain, "kind": Kind(plain["kind"]), "state": State(plain["state"])})
