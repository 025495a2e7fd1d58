"""What the command service must never forget, in one SQLite file that survives power loss.

Requests with their octets, what happened to each (append-only), radiations and their fates,
replies to operators (an operation that is repeated for want of a reply is done once), and the state
of FOP-1 and link security.  Everything that one event changes is one transaction; what leaves for
the bus leaves after it.

    with store.transaction():
        store.save(request)
        store.note(request.number, now_ns, "arm", actor="ann")
"""

# msgpack ships no complete types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportMissingTypeStubs=false
from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgpack

from ground.command.requests import ENDED, Request, State
from ground.sqlite_file import open_file
from protocols.bus.messages import UplinkMessage, parse
from protocols.errors import LocalError

#: 1: before requests had origins and procedures were run; later files of format 1 had them all the
#: same, so that the migration looks.
FORMAT: Final = 2
#: Replies kept for operations that are repeated, newest.
_REPLIES: Final = 10_000
_SCHEMA = """
CREATE TABLE request (
    number INTEGER PRIMARY KEY, state TEXT NOT NULL, sequence_count INTEGER NOT NULL,
    origin TEXT NOT NULL, body BLOB NOT NULL) STRICT;
CREATE UNIQUE INDEX request_origin ON request (origin) WHERE origin != '';
CREATE INDEX request_state ON request (state);
CREATE INDEX request_sequence ON request (sequence_count, number);
CREATE TABLE history (
    id INTEGER PRIMARY KEY, request INTEGER NOT NULL, time_ns INTEGER NOT NULL,
    actor TEXT NOT NULL, event TEXT NOT NULL, state TEXT NOT NULL, text TEXT NOT NULL) STRICT;
CREATE INDEX history_request ON history (request);
CREATE TABLE uplink (
    number INTEGER PRIMARY KEY, request INTEGER NOT NULL, kind INTEGER NOT NULL,
    again INTEGER NOT NULL, attempt INTEGER NOT NULL, message BLOB NOT NULL, fate BLOB) STRICT;
CREATE INDEX uplink_open ON uplink (number) WHERE fate IS NULL;
CREATE TABLE run (
    number INTEGER PRIMARY KEY, procedure TEXT NOT NULL, actor TEXT NOT NULL,
    arguments BLOB NOT NULL, ended INTEGER NOT NULL) STRICT;
CREATE TABLE run_record (
    run INTEGER NOT NULL REFERENCES run, number INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (run, number)) STRICT, WITHOUT ROWID;
CREATE TABLE reply (key TEXT PRIMARY KEY, id INTEGER NOT NULL, body BLOB NOT NULL) STRICT;
CREATE TABLE state (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
"""
#: A request is shown, and an operation answered, as fast after years.
_INDEXES: Final = (
    "CREATE INDEX IF NOT EXISTS uplink_request ON uplink (request)",
    "CREATE INDEX IF NOT EXISTS reply_id ON reply (id)",
)


def _with_origins(db: sqlite3.Connection) -> None:
    """Format 1 to 2: `request.origin`, and tables for runs of procedures."""
    columns = {row[1] for row in db.execute("PRAGMA table_info(request)")}
    if "origin" not in columns:
        # Made anew: rows are written by the order of their columns.
        for statement in (
            "ALTER TABLE request RENAME TO request_1",
            "DROP INDEX IF EXISTS request_state",
            "DROP INDEX IF EXISTS request_sequence",
            "CREATE TABLE request (number INTEGER PRIMARY KEY, state TEXT NOT NULL,"
            " sequence_count INTEGER NOT NULL, origin TEXT NOT NULL, body BLOB NOT NULL) STRICT",
            "INSERT INTO request SELECT number, state, sequence_count, '', body FROM request_1",
            "DROP TABLE request_1",
            "CREATE UNIQUE INDEX request_origin ON request (origin) WHERE origin != ''",
            "CREATE INDEX request_state ON request (state)",
            "CREATE INDEX request_sequence ON request (sequence_count, number)",
        ):
            db.execute(statement)
    for statement in (
        "CREATE TABLE IF NOT EXISTS run (number INTEGER PRIMARY KEY, procedure TEXT NOT NULL,"
        " actor TEXT NOT NULL, arguments BLOB NOT NULL, ended INTEGER NOT NULL) STRICT",
        "CREATE TABLE IF NOT EXISTS run_record (run INTEGER NOT NULL REFERENCES run,"
        " number INTEGER NOT NULL, body BLOB NOT NULL, PRIMARY KEY (run, number))"
        " STRICT, WITHOUT ROWID",
    ):
        db.execute(statement)


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One thing that happened; request: 0 if to none."""

    id: int
    request: int
    time_ns: int
    actor: str
    event: str
    state: str
    text: str


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run of a procedure, without its records."""

    procedure: str
    actor: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OpenUplink:
    """A radiation whose fate is not known.  request: 0: of none; kind: of its frame, place in
    `FrameType`; again: the frame had been sent before; attempt: how often the station was asked
    for this radiation."""

    number: int
    request: int
    kind: int
    again: bool
    attempt: int
    message: UplinkMessage


class CommandStore:
    """One file of one process; one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        #: What was noted, this transaction's last, until `CommandEngine.changes` takes it.
        self.noted: list[HistoryEntry] = []

    @classmethod
    def open(cls, path: Path | str) -> CommandStore:
        """Makes the file if it is not there (":memory:": none).  LocalError: it is another kind."""
        connection = open_file(
            path, _SCHEMA, FORMAT, "commands", foreign_keys=False, any_thread=True,
            migrations={1: _with_origins},
        )  # fmt: skip
        # Not in the schema: files that were made without them get them here.
        for statement in _INDEXES:
            connection.execute(statement)
        return cls(connection)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is written inside; nests into the one that is on."""
        if self._db.in_transaction:
            yield
            return
        # What earlier transactions have noted is not told yet.
        noted = len(self.noted)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            del self.noted[noted:]
            raise
        self._db.execute("COMMIT")

    # Numbers -------------------------------------------------------------------------------------

    def _next(self, table: str) -> int:
        """Above all that are there, and all that a restore has skipped."""
        (last,) = self._db.execute(f"SELECT COALESCE(MAX(number), 0) FROM {table}").fetchone()
        return max(last, (self.state("skipped") or {}).get(table, 0)) + 1

    def skip(self, count: int, now_ns: int, text: str) -> None:
        """So many numbers of each kind, and ids of history, may have been given out that are not
        here: none of them is given out again."""
        skipped = {table: self._next(table) - 1 + count for table in ("request", "run", "uplink")}
        self.keep_state("skipped", skipped)
        (last,) = self._db.execute("SELECT COALESCE(MAX(id), 0) FROM history").fetchone()
        entry = HistoryEntry(last + 1 + count, 0, now_ns, "", "restored", "", text)
        self._db.execute(
            "INSERT INTO history (id, request, time_ns, actor, event, state, text) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (entry.id, 0, now_ns, "", "restored", "", text),
        )
        self.noted.append(entry)

    # Requests ------------------------------------------------------------------------------------

    def add(self, request: Request) -> None:
        """A new request gets its number here."""
        request.number = self._next("request")
        self.save(request)

    def save(self, request: Request) -> None:
        self._db.execute(
            "INSERT INTO request VALUES (?, ?, ?, ?, ?) ON CONFLICT (number) DO UPDATE SET "
            "state = excluded.state, sequence_count = excluded.sequence_count, "
            "body = excluded.body",
            (
                *(request.number, request.state, request.sequence_count, request.origin),
                _pack(request.plain()),
            ),
        )

    def request(self, number: int) -> Request:
        """LocalError if there is none of that number."""
        row = self._db.execute("SELECT body FROM request WHERE number = ?", (number,)).fetchone()
        if row is None:
            raise LocalError(f"request {number}: no such request")
        return Request.restored(_unpack(row[0]))

    def requests(self, states: Sequence[State]) -> list[Request]:
        """In these states, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._db.execute(
            f"SELECT body FROM request WHERE state IN ({marks}) ORDER BY number", states
        )
        return [Request.restored(_unpack(body)) for (body,) in rows]

    def active(self) -> list[Request]:
        """All that have not ended, oldest first."""
        return self.requests([state for state in State if state not in ENDED])

    def newest(self, count: int, before: int = 0) -> list[Request]:
        """The last ones (before a number), newest first."""
        rows = self._db.execute(
            "SELECT body FROM request WHERE ? = 0 OR number < ? ORDER BY number DESC LIMIT ?",
            (before, before, count),
        )
        return [Request.restored(_unpack(body)) for (body,) in rows]

    def with_sequence_count(self, count: int) -> Request | None:
        """The newest whose packet had this sequence count."""
        row = self._db.execute(
            "SELECT body FROM request WHERE sequence_count = ? ORDER BY number DESC LIMIT 1",
            (count,),
        ).fetchone()
        return None if row is None else Request.restored(_unpack(row[0]))

    def of_origin(self, origin: str) -> Request | None:
        """That which a step of a procedure has made."""
        row = self._db.execute("SELECT body FROM request WHERE origin = ?", (origin,)).fetchone()
        return None if row is None else Request.restored(_unpack(row[0]))

    # Runs of procedures --------------------------------------------------------------------------

    def add_run(self, procedure: str, actor: str, arguments: Mapping[str, Any]) -> int:
        """Its number."""
        number = self._next("run")
        self._db.execute(
            "INSERT INTO run (number, procedure, actor, arguments, ended) VALUES (?, ?, ?, ?, 0)",
            (number, procedure, actor, _pack(dict(arguments))),
        )
        return number

    def run(self, number: int) -> KeptRun:
        """LocalError if there is none of that number."""
        row = self._db.execute(
            "SELECT procedure, actor, arguments FROM run WHERE number = ?", (number,)
        ).fetchone()
        if row is None:
            raise LocalError(f"run {number}: no such run")
        return KeptRun(row[0], row[1], _unpack(row[2]))

    def active_runs(self) -> list[int]:
        rows = self._db.execute("SELECT number FROM run WHERE ended = 0 ORDER BY number")
        return [number for (number,) in rows]

    def newest_runs(self, count: int) -> list[int]:
        """Newest first."""
        rows = self._db.execute("SELECT number FROM run ORDER BY number DESC LIMIT ?", (count,))
        return [number for (number,) in rows]

    def add_run_records(self, run: int, records: Sequence[dict[str, Any]], *, ended: bool) -> None:
        (first,) = self._db.execute(
            "SELECT COUNT(*) FROM run_record WHERE run = ?", (run,)
        ).fetchone()
        self._db.executemany(
            "INSERT INTO run_record VALUES (?, ?, ?)",
            [(run, first + i, _pack(record)) for i, record in enumerate(records)],
        )
        if ended:
            self.end_run(run)

    def end_run(self, run: int) -> None:
        self._db.execute("UPDATE run SET ended = 1 WHERE number = ?", (run,))

    def run_records(self, run: int) -> list[dict[str, Any]]:
        rows = self._db.execute("SELECT body FROM run_record WHERE run = ? ORDER BY number", (run,))
        return [_unpack(body) for (body,) in rows]

    # History -------------------------------------------------------------------------------------

    def note(
        self,
        request: int,
        time_ns: int,
        event: str,
        *,
        state: str = "",
        text: str = "",
        actor: str = "",
    ) -> None:
        cursor = self._db.execute(
            "INSERT INTO history (request, time_ns, actor, event, state, text) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (request, time_ns, actor, event, state, text),
        )
        assert cursor.lastrowid is not None
        self.noted.append(
            HistoryEntry(cursor.lastrowid, request, time_ns, actor, event, state, text)
        )

    def history(self, request: int | None = None, last: int = 1_000) -> list[HistoryEntry]:
        """Of a request, or of all, oldest first."""
        where = "" if request is None else "WHERE request = ?"
        values = (last,) if request is None else (request, last)
        rows = self._db.execute(
            f"SELECT * FROM (SELECT * FROM history {where} ORDER BY id DESC LIMIT ?) ORDER BY id",
            values,
        )
        return [HistoryEntry(*row) for row in rows]

    def history_after(self, last_id: int) -> list[HistoryEntry]:
        """All that was noted after an entry, oldest first."""
        rows = self._db.execute("SELECT * FROM history WHERE id > ? ORDER BY id", (last_id,))
        return [HistoryEntry(*row) for row in rows]

    # Radiations ----------------------------------------------------------------------------------

    def next_uplink(self) -> int:
        """A number that no radiation had."""
        return self._next("uplink")

    def add_uplink(self, uplink: OpenUplink) -> None:
        self._db.execute(
            "INSERT INTO uplink VALUES (?, ?, ?, ?, ?, ?, NULL)",
            (
                *(uplink.number, uplink.request, uplink.kind, uplink.again, uplink.attempt),
                uplink.message.build(),
            ),
        )

    def open_uplinks(self) -> list[OpenUplink]:
        rows = self._db.execute(
            "SELECT number, request, kind, again, attempt, message FROM uplink "
            "WHERE fate IS NULL ORDER BY number"
        )
        return [
            OpenUplink(number, request, kind, bool(again), attempt, parse(UplinkMessage, body))
            for number, request, kind, again, attempt, body in rows
        ]

    def recall_uplinks(self) -> None:
        """Radiations whose fate is not known are asked about as before, and not radiated any more:
        who knows one tells its fate, who does not is asked too late."""
        for one in self.open_uplinks():
            message = replace(one.message, latest_ns=one.message.earliest_ns)
            self._db.execute(
                "UPDATE uplink SET message = ? WHERE number = ?", (message.build(), one.number)
            )

    def is_overtaken(self, uplink: OpenUplink) -> bool:
        """Whether the station was asked for another radiation of its kind after it."""
        row = self._db.execute(
            "SELECT 1 FROM uplink WHERE number > ? AND kind = ? LIMIT 1",
            (uplink.number, uplink.kind),
        ).fetchone()
        return row is not None

    def was_repeated(self, request: int) -> bool:
        """Whether the station was asked for a frame of a request that had been sent before."""
        row = self._db.execute(
            "SELECT 1 FROM uplink WHERE request = ? AND again LIMIT 1", (request,)
        ).fetchone()
        return row is not None

    def close_uplink(self, number: int, fate: bytes) -> None:
        self._db.execute("UPDATE uplink SET fate = ? WHERE number = ?", (fate, number))

    def radiations(self, request: int) -> list[tuple[UplinkMessage, bytes | None]]:
        """What went up for a request, and the body of its fate."""
        rows = self._db.execute(
            "SELECT message, fate FROM uplink WHERE request = ? ORDER BY number", (request,)
        )
        return [(parse(UplinkMessage, message), fate) for message, fate in rows]

    # Replies and states --------------------------------------------------------------------------

    def reply(self, key: str) -> dict[str, Any] | None:
        """The answer to an operation that was done already."""
        row = self._db.execute("SELECT body FROM reply WHERE key = ?", (key,)).fetchone()
        return None if row is None else _unpack(row[0])

    def keep_reply(self, key: str, reply: dict[str, Any]) -> None:
        (last,) = self._db.execute("SELECT COALESCE(MAX(id), 0) FROM reply").fetchone()
        self._db.execute("INSERT INTO reply VALUES (?, ?, ?)", (key, last + 1, _pack(reply)))
        self._db.execute("DELETE FROM reply WHERE id <= ?", (last + 1 - _REPLIES,))

    def state(self, name: str) -> Any:
        """None if it was never kept."""
        row = self._db.execute("SELECT body FROM state WHERE name = ?", (name,)).fetchone()
        return None if row is None else _unpack(row[0])

    def keep_state(self, name: str, value: Any) -> None:
        self._db.execute(
            "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET body = excluded.body",
            (name, _pack(value)),
        )


def _pack(value: Any) -> bytes:
    packed = msgpack.packb(value, use_bin_type=True)
    assert packed is not None
    return packed


def _unpack(octets: bytes) -> Any:
    return msgpack.unpackb(octets, raw=False, strict_map_key=False)
