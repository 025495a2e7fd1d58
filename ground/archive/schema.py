"""Tables of the archive's SQLite file, and how connections to it are opened.

Durability.  WAL with `synchronous=FULL`: every commit is on the disk before `append` returns, so
what was acknowledged survives kill -9 and loss of power.  NORMAL would survive kill -9 as well but
may lose the last commits with the power; with commits in groups (at most 5 a second live) the
difference is one fdatasync each, so FULL costs next to nothing (docs/archive.md has the numbers).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

from ground.archive import checksums
from ground.archive.database import SqliteDatabase
from ground.durable_files import make_directory
from ground.sqlite_file import newer
from protocols.errors import LocalError

#: Raised whenever a reader of the old tables would misread the new ones.
FORMAT = 3
#: Read as well, and taken over by the writer: without checksums.
OLD_FORMAT = 2

#: Column blobs are tens of kilobytes; larger pages would make small live commits write more.
PAGE_OCTETS = 8192
#: Checkpoint after 32 MiB of log: bulk loads then copy pages back in long runs.
CHECKPOINT_PAGES = 32 * 1024 * 1024 // PAGE_OCTETS
CACHE_KIB = 64 * 1024
BUSY_TIMEOUT_S = 30.0

#: Packets are located by ERT through blocks of this many consecutive numbers (a power of two).
BLOCK_SHIFT = 12

TABLES = """
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- How far each followed journal is in the archive; written in the transaction of its result.
CREATE TABLE position(
  topic TEXT, source TEXT, journal TEXT NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY(topic, source)) WITHOUT ROWID;
CREATE TABLE counter(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

-- Packets.  A channel is what packets of one kind have in common; apid is NULL for what is not a
-- space packet.  scet_ns is NULL where the packet does not tell it.
CREATE TABLE channel(
  id INTEGER PRIMARY KEY, stream TEXT NOT NULL, vcid INTEGER NOT NULL, apid INTEGER,
  playback INTEGER NOT NULL, packets INTEGER NOT NULL, scet_max INTEGER);
CREATE TABLE packet(
  id INTEGER PRIMARY KEY, channel INTEGER NOT NULL, scet_ns INTEGER, sequence_count INTEGER,
  ert_ns INTEGER NOT NULL, reception_ns INTEGER NOT NULL, octets BLOB NOT NULL, crc INTEGER);
CREATE UNIQUE INDEX packet_identity ON packet(channel, scet_ns, sequence_count);
CREATE TABLE packet_block(id INTEGER PRIMARY KEY, ert_min INTEGER, ert_max INTEGER);
-- Many packets of one channel that came together (packet_groups.py); number_max: of their numbers;
-- `length` of them all, or `lengths`; SCET bounds are NULL where none tells its SCET.
CREATE TABLE packet_group(
  id INTEGER PRIMARY KEY, channel INTEGER NOT NULL, count INTEGER NOT NULL,
  number_max INTEGER NOT NULL, scet_min INTEGER, scet_max INTEGER, ert_min INTEGER,
  ert_max INTEGER, length INTEGER, number BLOB NOT NULL, scet BLOB NOT NULL,
  sequence BLOB NOT NULL, ert BLOB NOT NULL, reception BLOB NOT NULL, lengths BLOB,
  octets BLOB NOT NULL, crc INTEGER);
CREATE INDEX packet_group_scet ON packet_group(channel, scet_min, scet_max);
CREATE INDEX packet_group_ert ON packet_group(ert_min, ert_max, channel);
CREATE INDEX packet_group_number ON packet_group(number_max, count);
-- Same identity as a stored packet but other octets: not a duplicate, so its octets are kept here.
CREATE TABLE packet_conflict(
  id INTEGER PRIMARY KEY, channel INTEGER NOT NULL, scet_ns INTEGER, sequence_count INTEGER,
  ert_ns INTEGER NOT NULL, reception_ns INTEGER NOT NULL, octets BLOB NOT NULL, crc INTEGER);
CREATE VIEW packets AS
  SELECT p.id AS number, c.stream, c.vcid, c.apid, p.sequence_count, p.scet_ns, p.ert_ns,
         p.reception_ns, c.playback, p.octets
  FROM packet p JOIN channel c ON c.id = p.channel;

-- Parameters.  A layout is the list of columns that the packets of a definition gave at one time;
-- it never changes: other columns or types make a new layout.
CREATE TABLE definition(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE parameter(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, unit TEXT NOT NULL,
  description TEXT NOT NULL, kind TEXT NOT NULL);
CREATE TABLE label(
  parameter INTEGER, code INTEGER, text TEXT NOT NULL, PRIMARY KEY(parameter, code)) WITHOUT ROWID;
CREATE TABLE layout(
  id INTEGER PRIMARY KEY, definition INTEGER NOT NULL, count INTEGER NOT NULL,
  scet_min INTEGER, scet_max INTEGER, ert_min INTEGER, ert_max INTEGER);
CREATE TABLE layout_column(
  layout INTEGER, position INTEGER, parameter INTEGER NOT NULL, dtype TEXT NOT NULL,
  PRIMARY KEY(layout, position)) WITHOUT ROWID;
CREATE INDEX layout_column_parameter ON layout_column(parameter, layout);

-- Tail: small runs of rows, all columns in one blob, until there are enough for a segment.
CREATE TABLE tail(
  id INTEGER PRIMARY KEY, layout INTEGER NOT NULL, generation INTEGER NOT NULL,
  count INTEGER NOT NULL, scet_min INTEGER, scet_max INTEGER, ert_min INTEGER, ert_max INTEGER,
  data BLOB NOT NULL, crc INTEGER);
CREATE INDEX tail_layout ON tail(layout, scet_min);

-- Segments: sorted by (scet, packet); times once a segment, values once a parameter.
CREATE TABLE segment(
  id INTEGER PRIMARY KEY, layout INTEGER NOT NULL, count INTEGER NOT NULL,
  scet_min INTEGER, scet_max INTEGER, ert_min INTEGER, ert_max INTEGER,
  scet BLOB NOT NULL, ert BLOB NOT NULL, reception BLOB NOT NULL, packet BLOB NOT NULL,
  crc INTEGER);
CREATE INDEX segment_layout ON segment(layout, scet_min, scet_max, ert_min, ert_max, count);
CREATE TABLE value(
  parameter INTEGER, segment INTEGER, valid_count INTEGER NOT NULL, minimum, maximum, mean REAL,
  data BLOB NOT NULL, valid BLOB, crc INTEGER);
CREATE UNIQUE INDEX value_key ON value(parameter, segment);
CREATE INDEX value_segment ON value(segment);
CREATE TABLE rollup(
  parameter INTEGER, width_ns INTEGER, segment INTEGER, entries INTEGER NOT NULL,
  data BLOB NOT NULL, crc INTEGER, PRIMARY KEY(parameter, width_ns, segment)) WITHOUT ROWID;

CREATE TABLE event(
  id INTEGER PRIMARY KEY, kind TEXT, severity TEXT, name TEXT, text TEXT, scet_ns INTEGER,
  ert_ns INTEGER, reception_ns INTEGER, playback INTEGER, value TEXT, threshold TEXT,
  before TEXT, after TEXT, crc INTEGER);
CREATE INDEX event_scet ON event(scet_ns);
CREATE INDEX event_ert ON event(ert_ns);
"""


def statements() -> Iterator[str]:
    """`TABLES`, one by one, without the comments."""
    bare = "\n".join(line for line in TABLES.splitlines() if not line.startswith("--"))
    return (one.strip() for one in bare.split(";") if one.strip())


@cache
def columns() -> dict[str, tuple[str, ...]]:
    """Of each table."""
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(TABLES)
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        names = "SELECT name FROM pragma_table_info(?)"
        return {
            table: tuple(name for (name,) in db.execute(names, (table,))) for (table,) in tables
        }


def connect_writer(path: Path) -> SqliteDatabase:
    """The one writing connection; creates the file and its tables.  LocalError for a file that
    another format version wrote."""
    make_directory(path.parent)
    connection = SqliteDatabase(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size={PAGE_OCTETS}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        # Some builds overwrite what is deleted with zeros: the tail would be written twice.
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("BEGIN IMMEDIATE")
        if not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            # Statement by statement: executescript would commit half of it first.
            for statement in statements():
                connection.execute(statement)
            connection.execute("INSERT INTO meta VALUES('format', ?)", (str(FORMAT),))
        else:
            _migrate(connection, _format(connection, path))
        connection.execute("COMMIT")
        _check_format(connection, path, (FORMAT,))
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> SqliteDatabase:
    """A read-only connection, for any process, while another writes."""
    if not path.is_file():
        raise LocalError(f"no archive at {path}")
    connection = SqliteDatabase(
        f"{path.absolute().as_uri()}?mode=ro",
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        _check_format(connection, path, (FORMAT, OLD_FORMAT))
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, found: str | None) -> None:
    """An older file becomes one of this format, in the transaction that is open."""
    if found == "1":
        # Before packets were grouped, which is all that format 2 added.
        for statement in statements():
            if "packet_group" in statement:
                connection.execute(statement.replace(", crc INTEGER", ""))
    if found in ("1", "2"):
        checksums.add_columns(connection)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'format'", (str(FORMAT),))


def _format(connection: sqlite3.Connection, path: Path) -> str | None:
    try:
        row = connection.execute("SELECT value FROM meta WHERE key='format'").fetchone()
    except sqlite3.DatabaseError as error:
        raise LocalError(f"{path} is not an archive: {error}") from error
    return None if row is None else row[0]


def _check_format(connection: sqlite3.Connection, path: Path, known: tuple[int, ...]) -> None:
    found = _format(connection, path)
    if found is not None and found.isdecimal() and int(found) > FORMAT:
        raise LocalError(newer(path, "archive", found, FORMAT))
    if found in ("1", str(OLD_FORMAT)):
        raise LocalError(
            f"{path} has archive format {found}; it becomes one of format {FORMAT} when a service, "
            "or `l4 replay --archive`, opens it for writing"
        )
    if found not in [str(one) for one in known]:
        raise LocalError(f"{path} has archive format {found}, {FORMAT} wanted")
