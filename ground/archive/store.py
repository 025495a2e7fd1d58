"""The archive: what was received, in one SQLite file or on a PostgreSQL server, written by one
process and read by many.

    with ArchiveStore.open(path) as store:
        store.append(position, packets, stream="dss-24", scet_ns=…, reception_ns=…, tables=…)
        store.plot("BATTERY_VOLTAGE", start_ns, stop_ns)

Everything that one `append` brings, with the position of the journal it came from, is one
transaction: after a kill at any instant the file holds it all or not at all, and following the
journal from `position()` stores each message exactly once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np

from ground.archive import schema
from ground.archive.database import Database
from ground.archive.ingest import Ingest
from ground.archive.model import (
    I64,
    MAX_NS,
    MIN_NS,
    Appended,
    Axis,
    Flags,
    Integrity,
    ParameterInfo,
    Plot,
    Position,
    Progress,
    Samples,
    StoredPacket,
    TableColumns,
)
from ground.archive.query import Reader
from ground.archive.records import find_problems, read_events, read_packets
from ground.server_address import is_address
from protocols.bus.messages import Event
from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch


class ArchiveStore:
    """One archive; implements `ground.archive.model.Store`.

    Open it for writing once, and with `read_only=True` as often as wanted, from any process.  Not
    for several threads at once; iterators (`packets`, `events`, exports) have connections of their
    own and may run while the store is appended to: they see the state at their beginning.
    """

    def __init__(
        self,
        where: Path | str,
        connection: Database,
        connect_reader: Callable[[], Database],
        *,
        read_only: bool,
    ) -> None:
        self.where = where
        self.read_only = read_only
        self._db = connection
        self._connect_reader = connect_reader
        self._reader = Reader(connection)
        self._ingest = None if read_only else Ingest(connection)
        self._depth = 0

    @classmethod
    def open(cls, where: Path | str, *, read_only: bool = False) -> ArchiveStore:
        """where: a file, or a server's address (`postgresql://…`).

        LocalError if it is not an archive, of another format, written by another process, or
        (read-only) not there.
        """
        if is_address(where):
            from ground.archive import server  # only where one is used

            where, module = str(where), server
        else:
            where, module = Path(where), schema
        connect_reader = partial(module.connect_reader, where)  # pyright: ignore[reportArgumentType]
        try:
            connection = connect_reader() if read_only else module.connect_writer(where)  # pyright: ignore[reportArgumentType]
            return cls(where, connection, connect_reader, read_only=read_only)
        except sqlite3.DatabaseError as error:
            raise LocalError(f"{where} cannot be opened as an archive: {error}") from error

    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What reading raises where the engine fails, or finds damage."""
        return self._db.errors

    def __enter__(self) -> ArchiveStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._db.close()

    # ------------------------------------------------------------ writing

    @contextmanager
    def group(self) -> Iterator[None]:
        """One transaction around several appends (one disk wait for all of them).

        OSError if the file cannot be written (disk full, locked, damaged); nothing is stored then.
        """
        ingest = self._writable()
        if self._depth:
            # A part that failed has failed the whole: nothing may commit around it.
            yield
            return
        try:
            self._db.begin(write=True)
            self._depth = 1
            yield
            self._db.commit()
        except BaseException as error:
            if self._db.in_transaction:
                self._db.rollback()
            if isinstance(error, self._db.errors):
                _reload(ingest, self._db)
                raise OSError(f"archive {self.where}: {error}") from error
            ingest.reload()
            raise
        finally:
            self._depth = 0

    def append(
        self,
        position: Position | None,
        packets: PacketBatch,
        *,
        stream: str,
        scet_ns: I64,
        reception_ns: int | I64,
        playback: Flags | None = None,
        tables: Sequence[TableColumns] = (),
    ) -> Appended:
        """Store packets and the parameters decoded from them, and the position they came from.

        scet_ns: int64 [n], `NO_SCET` where unknown.  reception_ns: one or [n].  A position at or
        before the stored one of its journal stores nothing (`Appended.replayed`).  A packet whose
        stream, VC, APID, sequence count and SCET are known is dropped and counted.  LocalError
        (and nothing stored) if columns disagree or a table cannot be archived.
        """
        n = len(packets)
        if len(scet_ns) != n or (playback is not None and len(playback) != n):
            raise LocalError(f"{n} packets, {len(scet_ns)} scet_ns, playback {playback!r}")
        # At least one, for tables that come without packets.
        received = np.broadcast_to(np.asarray(reception_ns, np.int64), max(n, 1))
        flags = np.zeros(n, np.bool_) if playback is None else np.asarray(playback, np.bool_)
        with self.group():
            if not self._advance(position):
                return Appended(replayed=True)
            return self._writable().append(
                packets, stream, np.asarray(scet_ns, np.int64), received, flags, tables
            )

    def append_events(self, position: Position | None, events: Sequence[Event]) -> int:
        """Store events with the position they came from; how many (0 if replayed).

        An event that is stored already is told again by a journal that was begun anew: left out.
        """
        with self.group():
            if not self._advance(position):
                return 0
            stored = 0
            for event in events:
                stored += self._db.insert_unless(
                    "event",
                    "SELECT 1 FROM event WHERE scet_ns = ?5 AND ert_ns = ?6 AND kind = ?1"
                    " AND name = ?3 AND text = ?4 AND playback = ?8",
                    (
                        event.kind,
                        event.severity,
                        event.name,
                        event.text,
                        event.scet_ns,
                        event.ert_ns,
                        event.reception_ns,
                        int(event.playback),
                        event.value,
                        event.threshold,
                        event.before,
                        event.after,
                    ),
                )
            self._writable().count(events=stored)
            return stored

    def remember(self, key: str, value: str) -> None:
        """Keep a service's own text, in the transaction of the `group` around it."""
        with self.group():
            self._db.execute(
                "INSERT INTO meta VALUES(?, ?)"
                " ON CONFLICT(key) DO UPDATE SET value = excluded.value",
                (f"service.{key}", value),
            )

    def recall(self, key: str) -> str | None:
        """What was remembered last; None: nothing."""
        row = self._db.execute(
            "SELECT value FROM meta WHERE key = ?", (f"service.{key}",)
        ).fetchone()
        return None if row is None else row[0]

    def _advance(self, position: Position | None) -> bool:
        """False if the archive holds the result of this position already."""
        if position is None:
            return True
        stored = self.position(position.topic, position.source)
        if (
            stored is not None
            and stored.journal == position.journal
            and position.sequence <= stored.sequence
        ):
            return False
        self._db.execute(
            "INSERT INTO position VALUES(?, ?, ?, ?)"
            " ON CONFLICT(topic, source) DO UPDATE SET journal = excluded.journal,"
            " sequence = excluded.sequence",
            (position.topic, position.source, position.journal, position.sequence),
        )
        return True

    def compact(self, steps: int = 1) -> int:
        """Merge overlapping (backfilled) and small segments, at most `steps` merges, each a
        transaction of its own; how many were made.  Answers of queries do not change."""
        ingest = self._writable()
        made = 0
        for layout in list(ingest.layouts.values()):
            while made < steps:
                with self.group():
                    if not ingest.runs.compact_step(layout):
                        break
                made += 1
        return made

    def _writable(self) -> Ingest:
        if self._ingest is None:
            raise LocalError(f"{self.where} was opened for reading")
        return self._ingest

    # ------------------------------------------------------------ reading

    def position(self, topic: str, source: str) -> Position | None:
        """Where to follow a journal from; None: from its start."""
        row = self._db.execute(
            "SELECT journal, sequence FROM position WHERE topic = ? AND source = ?", (topic, source)
        ).fetchone()
        return None if row is None else Position(topic, source, *row)

    def positions(self) -> list[Position]:
        rows = self._db.execute("SELECT topic, source, journal, sequence FROM position")
        return [Position(*row) for row in rows]

    def counters(self) -> dict[str, int]:
        """packets, duplicates (conflicts among them), copies, samples, samples_without_scet,
        events, since the archive began."""
        names = (
            "packets", "duplicates", "conflicts", "copies", "samples", "samples_without_scet",
            "events",
        )  # fmt: skip
        return dict.fromkeys(names, 0) | dict(self._db.execute("SELECT name, value FROM counter"))

    def parameters(self) -> list[ParameterInfo]:
        """Every parameter that has samples, by name."""
        return self._reader.parameters()

    def query(
        self, name: str, start_ns: int = MIN_NS, stop_ns: int = MAX_NS, axis: Axis = "scet"
    ) -> Samples:
        """All samples with start_ns <= time < stop_ns on the axis, ordered by it.

        LocalError if the archive has no such parameter.
        """
        return self._reader.query(name, start_ns, stop_ns, _axis(axis))

    def plot(
        self, name: str, start_ns: int, stop_ns: int, points: int = 1600, axis: Axis = "scet"
    ) -> Plot:
        """At most points + 1 bins of minimum, maximum, mean and count over SCET; the samples
        themselves where they are no more than `points`.  LocalError as `query`; by ERT also for a
        range of many samples (`Reader.plot_by_ert`)."""
        if _axis(axis) == "ert":
            return self._reader.plot_by_ert(name, start_ns, stop_ns, points)
        return self._reader.plot(name, start_ns, stop_ns, points)

    def latest(self, name: str) -> Samples:
        """The sample with the highest SCET: length 1, or 0 if there is none.  LocalError as
        `query`."""
        return self._reader.latest(name)

    def packets(
        self,
        *,
        apid: int | None = None,
        vcid: int | None = None,
        stream: str | None = None,
        playback: bool | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        axis: Axis = "ert",
    ) -> Iterator[StoredPacket]:
        """Packets with start_ns <= time < stop_ns, ordered by the axis, then by arrival.  Packets
        that do not tell their SCET are listed by ERT only."""
        with self._snapshot() as connection:
            yield from read_packets(
                connection,
                apid=apid,
                vcid=vcid,
                stream=stream,
                playback=playback,
                start_ns=start_ns,
                stop_ns=stop_ns,
                axis=_axis(axis),
            )

    def events(
        self,
        *,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        axis: Axis = "scet",
        name: str | None = None,
    ) -> Iterator[Event]:
        """Events with start_ns <= time < stop_ns, ordered by the axis."""
        with self._snapshot() as connection:
            yield from read_events(
                connection, start_ns=start_ns, stop_ns=stop_ns, axis=_axis(axis), name=name
            )

    @contextmanager
    def reader(self) -> Iterator[Reader]:
        """Queries on a connection and a snapshot of their own: what is committed now."""
        with self._snapshot() as connection:
            yield Reader(connection)

    @contextmanager
    def _snapshot(self) -> Iterator[Database]:
        connection = self._connect_reader()
        try:
            connection.begin(write=False)
            yield connection
        finally:
            connection.close()

    def integrity(self) -> Integrity:
        """The engine's own check, each row against its checksum, and that counts agree."""
        problems: list[str] = []
        with self._snapshot() as connection:
            try:
                problems = find_problems(connection)
            except connection.errors as error:
                problems.append(f"it is damaged: {error}")
        return Integrity(tuple(problems))

    # ------------------------------------------------------------ export

    def export_parquet(
        self,
        target: Path,
        *,
        names: Sequence[str] | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Write Parquet: into the directory `target` one file a packet definition; with `names`,
        one file `target` in long form (a row a sample).  Bounded memory; progress(rows done,
        rows in all).  Returns the files written."""
        from ground.archive import export  # pyarrow's Parquet is slow to import

        with self.reader() as reader:
            return export.export(reader, target, "parquet", names, start_ns, stop_ns, progress)

    def export_csv(
        self,
        target: Path,
        *,
        names: Sequence[str] | None = None,
        start_ns: int = MIN_NS,
        stop_ns: int = MAX_NS,
        progress: Progress | None = None,
    ) -> list[Path]:
        """As `export_parquet`, in CSV (units in the header line)."""
        from ground.archive import export  # pyarrow's Parquet is slow to import

        with self.reader() as reader:
            return export.export(reader, target, "csv", names, start_ns, stop_ns, progress)


def _reload(ingest: Ingest, connection: Database) -> None:
    """After the engine failed; where it is gone altogether there is nothing to read, and whoever
    goes on hears the same error again."""
    with suppress(*connection.errors):
        ingest.reload()


def _axis(axis: Axis) -> Axis:
    # It becomes part of an SQL statement.
    if axis not in ("scet", "ert"):
        raise LocalError(f"axis {axis!r}: scet or ert wanted")
    return axis
