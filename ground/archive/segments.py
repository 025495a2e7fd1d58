"""Writing parameter rows: a tail of small runs that grows into segments, and compaction.

A log-structured merge without threads: every step runs in the transaction of the append that
made it necessary, so a kill leaves either all of it or none.

    append ──▶ tail run, generation 0 ──32 of them──▶ generation 1 ──▶ … ──8,192 rows──▶ segment
       └────── large batches ───────────────────────────────────────────────────────────▶ segment
                                      small or overlapping segments ── compact_step ────▶ segments
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import numpy as np

from ground.archive import rollup
from ground.archive.columns import (
    TEXT,
    Layout,
    Run,
    decode_times,
    decode_values,
    encode_times,
    encode_values,
    pack_run,
    unpack_run,
)
from ground.archive.database import Database

#: Rows of a full segment: 18 hours at 1 Hz; one column decodes in about a millisecond.
SEGMENT_ROWS = 65_536
#: A tail of this many rows becomes a segment, and so does a batch at once.
TAIL_ROWS = 8_192
#: Runs of one generation that are merged into one of the next: a reader finds at most this many
#: runs a generation, and a row is rewritten three times before it is in a segment.
FAN = 32
#: Values merged in one compaction step: bounds memory (some 100 MB) and the transaction (a second).
STEP_VALUES = 4_000_000


class RunWriter:
    """Writes runs through one connection; the caller owns the transactions.

    After a rollback call `reload`: what is remembered of the tail is then read again.
    """

    def __init__(self, connection: Database) -> None:
        self._db = connection
        self._tail: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
        self.reload()

    def reload(self) -> None:
        self._tail.clear()
        rows = self._db.execute("SELECT layout, id, generation, count FROM tail ORDER BY id")
        for layout, number, generation, count in rows:
            self._tail[layout].append((number, generation, count))

    def write(self, layout: Layout, run: Run) -> None:
        """Store rows of a layout, in any order."""
        scet, ert = run.times[0], run.times[1]
        self._db.execute(
            "UPDATE layout SET count = count + ?1,"
            " scet_min = least(scet_min, ?2), scet_max = greatest(scet_max, ?3),"
            " ert_min = least(ert_min, ?4), ert_max = greatest(ert_max, ?5)"
            " WHERE id = ?6",
            (len(run), *_bounds(scet), *_bounds(ert), layout.id),
        )
        if len(run) >= TAIL_ROWS:
            self._write_segments(layout, run)
            return
        self._write_tail(layout, run, 0)
        tail = self._tail[layout.id]
        if sum(count for _, _, count in tail) >= TAIL_ROWS:
            self._write_segments(layout, self._take_tail(layout, {number for number, _, _ in tail}))
            return
        generation = 0
        while True:
            same = {number for number, at, _ in tail if at == generation}
            if len(same) < FAN:
                return
            generation += 1
            self._write_tail(layout, self._take_tail(layout, same), generation)
            tail = self._tail[layout.id]

    def flush(self, layout: Layout) -> None:
        """Turn the whole tail of a layout into a segment, however small."""
        numbers = {number for number, _, _ in self._tail[layout.id]}
        if numbers:
            self._write_segments(layout, self._take_tail(layout, numbers))

    def _write_tail(self, layout: Layout, run: Run, generation: int) -> None:
        number = self._db.insert(
            "tail",
            (
                layout.id,
                generation,
                len(run),
                *_bounds(run.times[0]),
                *_bounds(run.times[1]),
                pack_run(run),
            ),
        )
        self._tail[layout.id].append((number, generation, len(run)))

    def _take_tail(self, layout: Layout, numbers: set[int]) -> Run:
        """Remove these tail runs and return their rows, in the order of arrival."""
        rows = self._db.execute(
            "SELECT id, count, data FROM tail WHERE layout = ? ORDER BY id", (layout.id,)
        ).fetchall()
        runs = [
            unpack_run(data, layout, count) for number, count, data in rows if number in numbers
        ]
        self._db.executemany("DELETE FROM tail WHERE id = ?", [(number,) for number in numbers])
        self._tail[layout.id] = [run for run in self._tail[layout.id] if run[0] not in numbers]
        return Run.concatenate(runs)

    def _write_segments(self, layout: Layout, run: Run) -> None:
        run = run.ordered()
        # Equal pieces rather than full ones and a crumb.
        pieces = -(-len(run) // SEGMENT_ROWS)
        edges = np.linspace(0, len(run), pieces + 1).astype(int).tolist()
        for low, high in pairwise(edges):
            self._write_segment(layout, run.take(slice(low, high)))

    def _write_segment(self, layout: Layout, run: Run) -> None:
        scet, ert, reception, packet = run.times
        segment = self._db.insert(
            "segment",
            (
                layout.id,
                len(run),
                *_bounds(scet),
                *_bounds(ert),
                *(encode_times(column) for column in (scet, ert, reception, packet)),
            ),
        )
        values, rollups = [], []
        widths = rollup.RollUp(scet)
        for parameter, column, valid in zip(layout.parameters, run.values, run.valid, strict=True):
            if valid is not None and valid.all():
                valid = None
            # One bucket over all: the same reduction as everywhere else.
            levels = widths.levels(column, valid)
            total = rollup.reduce_entries(
                levels[-1][1] if levels else rollup.reduce_samples(scet, column, valid, 1 << 62),
                1 << 62,
            )
            count, low, high, mean = 0, None, None, None
            for entry in total:  # two where a segment spans the zero of the scale
                count += int(entry["count"])
                low = entry["min"].item() if low is None else min(low, entry["min"].item())
                high = entry["max"].item() if high is None else max(high, entry["max"].item())
            if count:
                with np.errstate(invalid="ignore"):
                    mean = float(total["sum"].sum()) / count
            values.append(
                (
                    parameter,
                    segment,
                    count,
                    _sql_number(low),
                    _sql_number(high),
                    _sql_number(mean),
                    encode_values(column),
                    None if valid is None else encode_values(valid),
                )
            )
            rollups += [
                (parameter, width, segment, len(entries), entries.tobytes())
                for width, entries in levels
            ]
        self._db.insert_rows("value", values)
        self._db.insert_rows("rollup", rollups)

    def compact_step(self, layout: Layout) -> bool:
        """Merge the first group of segments that overlap or are small; False if there is none."""
        group = self._group_to_merge(layout)
        if not group:
            return False
        runs = [read_segment(self._db, layout, segment) for segment in sorted(group)]
        for segment in group:
            self._db.executemany(
                "DELETE FROM rollup WHERE parameter = ? AND width_ns = ? AND segment = ?",
                [(p, w, segment) for p in layout.parameters for w in rollup.WIDTHS_NS],
            )
            self._db.execute("DELETE FROM value WHERE segment = ?", (segment,))
            self._db.execute("DELETE FROM segment WHERE id = ?", (segment,))
        self._write_segments(layout, Run.concatenate(runs))
        return True

    def _group_to_merge(self, layout: Layout) -> list[int]:
        """Neighbours in SCET that overlap (no more than STEP_VALUES allows) or that together fill
        one segment and are at least four, so that none is rewritten for every newcomer."""
        rows = self._db.execute(
            "SELECT id, count, scet_min, scet_max FROM segment WHERE layout = ?"
            " ORDER BY scet_min, id",
            (layout.id,),
        )
        most = max(2, STEP_VALUES // (SEGMENT_ROWS * max(1, len(layout.codes))))
        group: list[int] = []
        small: list[int] = []
        small_rows = 0
        end = None
        for number, count, low, high in rows:
            if end is not None and low < end:
                group.append(number)
                end = max(end, high)
                if len(group) >= most:
                    return group
                continue
            if len(group) > 1:
                return group
            group, end = [number], high
            if small_rows + count > SEGMENT_ROWS:
                if len(small) >= 4:
                    return small
                small, small_rows = [], 0
            small.append(number)
            small_rows += count
        if len(group) > 1:
            return group
        return small if len(small) >= 4 else []


def read_segment(connection: Database, layout: Layout, segment: int) -> Run:
    """All columns of a segment."""
    count, *blobs = connection.execute(
        "SELECT count, scet, ert, reception, packet FROM segment WHERE id = ?", (segment,)
    ).fetchone()
    found = {
        parameter: (data, valid)
        for parameter, data, valid in connection.execute(
            "SELECT parameter, data, valid FROM value WHERE segment = ?", (segment,)
        )
    }
    scet, ert, reception, packet = (decode_times(blob, count) for blob in blobs)
    values, masks = [], []
    for parameter, dtype in zip(layout.parameters, layout.dtypes, strict=True):
        data, valid = found[parameter]
        values.append(decode_values(data, dtype, count))
        masks.append(None if valid is None else decode_values(valid, np.dtype(np.bool_), count))
    return Run((scet, ert, reception, packet), tuple(values), tuple(masks))


def load_layouts(connection: Database) -> dict[int, Layout]:
    """All layouts by id."""
    columns: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for layout, parameter, dtype in connection.execute(
        "SELECT layout, parameter, dtype FROM layout_column ORDER BY layout, position"
    ):
        columns[layout].append((parameter, dtype))
    return {
        number: Layout(
            number,
            definition,
            tuple(parameter for parameter, _ in columns[number]),
            tuple(code for _, code in columns[number]),
        )
        for number, definition in connection.execute("SELECT id, definition FROM layout")
    }


def _bounds(times: np.ndarray) -> tuple[int, int]:
    return int(times.min()), int(times.max())


def _sql_number(value: float | int | None) -> float | int | None:
    """SQLite integers end at 63 bits: larger ones are kept as REAL here; the blobs are exact.  NaN,
    which it has not, is NULL on a server as well."""
    if isinstance(value, int) and value > (1 << 63) - 1:
        return float(value)
    return None if value != value else value


__all__ = ["FAN", "SEGMENT_ROWS", "TAIL_ROWS", "TEXT", "RunWriter", "load_layouts", "read_segment"]
