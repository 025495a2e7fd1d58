"""Reading an archive.  Every answer comes from one read transaction: a consistent snapshot,
however fast the writer goes on."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.archive import rollup
from ground.archive.columns import (
    TIMES,
    Layout,
    Run,
    decode_times,
    decode_values,
    unpack_column,
    unpack_run,
    unpack_times,
)
from ground.archive.database import Database
from ground.archive.model import (
    MAX_NS,
    MIN_NS,
    Axis,
    ParameterInfo,
    Plot,
    Samples,
)
from ground.archive.segments import load_layouts, read_segment
from protocols.errors import LocalError

I64 = npt.NDArray[np.int64]

#: Samples that a plot in order of arrival reads: some 200 MB while it does.
MOST_BY_ERT: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class _Parameter:
    id: int
    name: str
    unit: str
    #: (layout, position of the column) pairs
    columns: tuple[tuple[Layout, int], ...]


@contextmanager
def snapshot(connection: Database) -> Iterator[None]:
    """One read transaction, unless the connection is in one already."""
    if connection.in_transaction:
        yield
        return
    connection.begin(write=False)
    try:
        yield
    finally:
        connection.rollback()


class Reader:
    """Queries over one connection (reading or writing); not for several threads at once."""

    def __init__(self, connection: Database) -> None:
        self._db = connection
        self._layouts: dict[int, Layout] = {}

    # ------------------------------------------------------------ catalogue

    def parameters(self) -> list[ParameterInfo]:
        with snapshot(self._db):
            rows = self._db.execute(
                "SELECT p.name, p.unit, p.description, p.kind, d.name, l.count,"
                " l.scet_min, l.scet_max, l.ert_min, l.ert_max"
                " FROM parameter p JOIN layout_column c ON c.parameter = p.id"
                " JOIN layout l ON l.id = c.layout JOIN definition d ON d.id = l.definition"
                " WHERE l.count > 0 ORDER BY p.name, d.name"
            ).fetchall()
        found: dict[str, list[Any]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(row)
        return [
            ParameterInfo(
                name,
                parts[0][1],
                parts[0][2],
                parts[0][3],
                tuple(dict.fromkeys(part[4] for part in parts)),
                sum(part[5] for part in parts),
                min(part[6] for part in parts),
                max(part[7] for part in parts),
                min(part[8] for part in parts),
                max(part[9] for part in parts),
            )
            for name, parts in found.items()
        ]

    def definitions(self) -> dict[str, list[str]]:
        """Packet definitions, each with its parameters in the order of their layouts."""
        with snapshot(self._db):
            rows = self._db.execute(
                "SELECT d.name, p.name FROM layout l JOIN definition d ON d.id = l.definition"
                " JOIN layout_column c ON c.layout = l.id JOIN parameter p ON p.id = c.parameter"
                " WHERE l.count > 0 ORDER BY d.id, l.id, c.position"
            ).fetchall()
        found: dict[str, list[str]] = {}
        for definition, parameter in rows:
            names = found.setdefault(definition, [])
            if parameter not in names:
                names.append(parameter)
        return found

    def describe(self, name: str) -> tuple[int, ParameterInfo, np.dtype[Any]]:
        """Id, catalogue entry, and the dtype that holds all of a parameter's values.

        LocalError if the archive has no such parameter.
        """
        parameter = self._parameter(name)
        info = next((info for info in self.parameters() if info.name == name), None)
        if info is None:
            raise LocalError(f"the archive has no samples of {name!r}")
        dtypes = [layout.dtypes[position] for layout, position in parameter.columns]
        return parameter.id, info, np.result_type(*dtypes)

    def rows(self, definition: str) -> int:
        """Rows stored of a packet definition."""
        return self._db.execute(
            "SELECT CAST(coalesce(sum(l.count), 0) AS BIGINT) FROM layout l JOIN definition d"
            " ON d.id = l.definition WHERE d.name = ?",
            (definition,),
        ).fetchone()[0]

    def labels(self, parameter: int) -> Mapping[int, str]:
        rows = self._db.execute("SELECT code, text FROM label WHERE parameter = ?", (parameter,))
        labels: dict[int, str] = dict(rows)
        if any(code < 0 for code in labels) and self._unsigned(parameter):
            return {code % (1 << 64): text for code, text in labels.items()}
        return labels

    def _unsigned(self, parameter: int) -> bool:
        found = "SELECT 1 FROM layout_column WHERE parameter = ? AND dtype = ?"
        return self._db.execute(found, (parameter, "<u8")).fetchone() is not None

    def _layout(self, number: int) -> Layout:
        # Layouts never change, so what is known stays right; new ones appear.
        if number not in self._layouts:
            self._layouts = load_layouts(self._db)
        return self._layouts[number]

    def _parameter(self, name: str) -> _Parameter:
        row = self._db.execute("SELECT id, unit FROM parameter WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise LocalError(f"the archive has no parameter {name!r}")
        columns = self._db.execute(
            "SELECT layout, position FROM layout_column WHERE parameter = ? ORDER BY layout",
            (row[0],),
        ).fetchall()
        return _Parameter(
            row[0],
            name,
            row[1],
            tuple((self._layout(layout), position) for layout, position in columns),
        )

    # ------------------------------------------------------------ samples

    def query(self, name: str, start_ns: int, stop_ns: int, axis: Axis) -> Samples:
        with snapshot(self._db):
            parameter = self._parameter(name)
            parts: list[tuple[I64, npt.NDArray[Any], npt.NDArray[np.bool_] | None]] = []
            for layout, position in parameter.columns:
                parts += self._segment_parts(parameter, layout, position, start_ns, stop_ns, axis)
                parts += self._tail_parts(layout, position, start_ns, stop_ns, axis)
            return self._samples(parameter, parts, start_ns, stop_ns, axis)

    def latest(self, name: str) -> Samples:
        """The sample with the highest SCET (length 1), or none (length 0)."""
        with snapshot(self._db):
            parameter = self._parameter(name)
            last = max(
                (
                    row[0]
                    for layout, _ in parameter.columns
                    for row in self._db.execute(
                        "SELECT scet_max FROM layout WHERE id = ? AND count > 0", (layout.id,)
                    )
                ),
                default=MIN_NS,
            )
            found = self.query(name, last, min(last + 1, MAX_NS), "scet")
        return _take(found, slice(max(0, len(found) - 1), len(found)))

    def _segment_parts(
        self,
        parameter: _Parameter,
        layout: Layout,
        position: int,
        start_ns: int,
        stop_ns: int,
        axis: Axis,
    ):
        dtype = layout.dtypes[position]
        rows = self._db.execute(
            "SELECT s.count, s.scet, s.ert, s.reception, s.packet, v.data, v.valid"
            " FROM segment s JOIN value v ON v.segment = s.id AND v.parameter = ?"
            f" WHERE s.layout = ? AND s.{axis}_max >= ? AND s.{axis}_min < ?"
            " ORDER BY s.scet_min, s.id",
            (parameter.id, layout.id, start_ns, stop_ns),
        )
        key = TIMES.index(axis)
        for count, *blobs, data, valid in rows:
            at = decode_times(blobs[key], count)
            chosen = _range(at, start_ns, stop_ns, ordered=axis == "scet")
            times = np.empty((4, len(at[chosen])), np.int64)
            for i, blob in enumerate(blobs):
                times[i] = (at if i == key else decode_times(blob, count))[chosen]
            mask = None
            if valid is not None:
                mask = decode_values(valid, np.dtype(np.bool_), count)[chosen]
            yield times, decode_values(data, dtype, count)[chosen], mask

    def _tail_parts(self, layout: Layout, position: int, start_ns: int, stop_ns: int, axis: Axis):
        rows = self._db.execute(
            f"SELECT count, data FROM tail WHERE layout = ? AND {axis}_max >= ? AND {axis}_min < ?"
            " ORDER BY scet_min, id",
            (layout.id, start_ns, stop_ns),
        )
        key = TIMES.index(axis)
        for count, blob in rows:
            times = unpack_times(blob, layout, count)
            values, mask = unpack_column(blob, layout, count, position)
            chosen = _range(times[key], start_ns, stop_ns, ordered=False)
            yield times[:, chosen], values[chosen], None if mask is None else mask[chosen]

    def _samples(self, parameter: _Parameter, parts, start_ns: int, stop_ns: int, axis: Axis):
        parts = [part for part in parts if part[0].shape[1]]
        labels = self.labels(parameter.id)
        if parts:
            times = np.concatenate([part[0] for part in parts], axis=1)
            values = np.concatenate([part[1] for part in parts])
            valid = np.concatenate(
                [np.ones(len(part[1]), np.bool_) if part[2] is None else part[2] for part in parts]
            )
        else:
            dtypes = [layout.dtypes[position] for layout, position in parameter.columns]
            times = np.empty((4, 0), np.int64)
            values = np.empty(0, dtypes[0] if dtypes else np.float64)
            valid = np.empty(0, np.bool_)
        samples = Samples(
            parameter.name, parameter.unit, times[0], times[1], times[2], times[3], values, valid,
            labels,
        )  # fmt: skip
        first = times[TIMES.index(axis)]
        step = np.diff(first)
        if np.any(step < 0) or np.any((step == 0) & (np.diff(times[3]) < 0)):
            return _take(samples, np.lexsort((times[3], first)))
        return samples

    # ------------------------------------------------------------ plots

    def plot(self, name: str, start_ns: int, stop_ns: int, points: int) -> Plot:
        if points < 1 or stop_ns <= start_ns:
            raise LocalError(f"plot of {points} points over {start_ns}..{stop_ns}")
        with snapshot(self._db):
            parameter = self._parameter(name)
            if self._interior_rows(parameter, start_ns, stop_ns) <= points:
                samples = self.query(name, start_ns, stop_ns, "scet")
                good = samples.valid
                if samples.values.dtype.kind == "f":
                    good = good & ~np.isnan(samples.values)
                if np.count_nonzero(good) <= points:
                    values = samples.values[good]
                    return Plot(
                        name,
                        parameter.unit,
                        0,
                        samples.scet_ns[good],
                        values,
                        values,
                        values.astype(np.float64),
                        np.ones(len(values), np.int64),
                        samples.labels,
                    )
            width = rollup.bin_width(stop_ns - start_ns, points)
            # Whole bins: widened to the grid, bounded by what int64 can say.
            low = max(start_ns // width * width, MIN_NS)
            high = min(-(-stop_ns // width) * width, MAX_NS)
            parts: list[tuple[int, npt.NDArray[Any]]] = []
            for layout, position in parameter.columns:
                parts += self._rollup_parts(parameter, layout, position, low, high, width)
                for times, values, mask in self._tail_parts(layout, position, low, high, "scet"):
                    order = np.argsort(times[0], kind="stable")
                    parts.append(
                        (
                            width,
                            rollup.reduce_samples(
                                times[0][order],
                                values[order],
                                None if mask is None else mask[order],
                                width,
                            ),
                        )
                    )
            bins = rollup.combine(parts, width)
            labels = self.labels(parameter.id)
        return _plot(name, parameter.unit, width, bins, labels)

    def plot_by_ert(self, name: str, start_ns: int, stop_ns: int, points: int) -> Plot:
        """As `plot`, in order of arrival: from the samples themselves, since summaries are by SCET.

        What arrived at one instant is one bin.  LocalError for a range with more than `MOST_BY_ERT`
        samples.
        """
        if points < 1 or stop_ns <= start_ns:
            raise LocalError(f"plot of {points} points over {start_ns}..{stop_ns}")
        with snapshot(self._db):
            parameter = self._parameter(name)
            rows = self._arrived_rows(parameter, start_ns, stop_ns)
            if rows > MOST_BY_ERT:
                raise LocalError(
                    f"{name}: some {rows:,} samples by ERT, at most {MOST_BY_ERT:,} wanted; a "
                    "shorter range, or SCET"
                )
            samples = self.query(name, start_ns, stop_ns, "ert")
        width = rollup.bin_width(stop_ns - start_ns, points) if len(samples) > points else 1
        bins = rollup.reduce_samples(samples.ert_ns, samples.values, samples.valid, width)
        return _plot(name, samples.unit, width, bins, samples.labels)

    def _arrived_rows(self, parameter: _Parameter, start_ns: int, stop_ns: int) -> int:
        """An upper bound of the rows that arrived in the range."""
        total = 0
        for layout, _ in parameter.columns:
            for table in ("segment", "tail"):
                total += self._db.execute(
                    f"SELECT CAST(coalesce(sum(count), 0) AS BIGINT) FROM {table}"
                    " WHERE layout = ? AND ert_max >= ? AND ert_min < ?",
                    (layout.id, start_ns, stop_ns),
                ).fetchone()[0]
        return total

    def _interior_rows(self, parameter: _Parameter, start_ns: int, stop_ns: int) -> int:
        """Rows of the runs that lie wholly inside: a lower bound of the rows in the range."""
        total = 0
        for layout, _ in parameter.columns:
            for table in ("segment", "tail"):
                total += self._db.execute(
                    f"SELECT CAST(coalesce(sum(count), 0) AS BIGINT) FROM {table}"
                    " WHERE layout = ? AND scet_min >= ? AND scet_max < ?",
                    (layout.id, start_ns, stop_ns),
                ).fetchone()[0]
        return total

    def _rollup_parts(
        self,
        parameter: _Parameter,
        layout: Layout,
        position: int,
        low: int,
        high: int,
        bin_ns: int,
    ):
        """Entries of a layout's segments, each from the widest stored width that fits the bins."""
        dtype = rollup.entry_dtype(layout.dtypes[position])
        segments = [
            row[0]
            for row in self._db.execute(
                "SELECT id FROM segment WHERE layout = ? AND scet_max >= ? AND scet_min < ?",
                (layout.id, low, high),
            )
        ]
        widths = [w for w in rollup.WIDTHS_NS if w <= rollup.source_width(bin_ns)]
        missing = set(segments)
        for width in reversed(widths):
            if not missing:
                return
            blobs: list[bytes] = []
            for segment, data in self._db.execute(
                "SELECT s.id, r.data FROM segment s JOIN rollup r"
                " ON r.parameter = ? AND r.width_ns = ? AND r.segment = s.id"
                " WHERE s.layout = ? AND s.scet_max >= ? AND s.scet_min < ? ORDER BY s.scet_min",
                (parameter.id, width, layout.id, low, high),
            ):
                if segment in missing:
                    missing.discard(segment)
                    blobs.append(data)
            if blobs:
                entries = np.frombuffer(b"".join(blobs), dtype)
                inside = (entries["bucket"] >= low // width) & (
                    entries["bucket"] < -(-high // width)
                )
                yield width, entries[inside]
        for segment in sorted(missing):
            count, scet, data, valid = self._db.execute(
                "SELECT s.count, s.scet, v.data, v.valid FROM segment s JOIN value v"
                " ON v.segment = s.id AND v.parameter = ? WHERE s.id = ?",
                (parameter.id, segment),
            ).fetchone()
            times = decode_times(scet, count)
            chosen = _range(times, low, high, ordered=True)
            mask = None
            if valid is not None:
                mask = decode_values(valid, np.dtype(np.bool_), count)[chosen]
            values = decode_values(data, layout.dtypes[position], count)[chosen]
            yield bin_ns, rollup.reduce_samples(times[chosen], values, mask, bin_ns)

    # ------------------------------------------------------------ whole tables

    def runs(
        self,
        definition: str,
        start_ns: int,
        stop_ns: int,
        parameters: Collection[int] | None = None,
    ) -> Iterator[tuple[Layout, Run]]:
        """All rows of a definition with SCET in the range, a run at a time, with the columns of
        these parameters (None: all); in SCET order within each layout.

        Holds no more than the segments that overlap one instant.  The connection must stay in one
        transaction meanwhile.
        """
        row = self._db.execute("SELECT id FROM definition WHERE name = ?", (definition,)).fetchone()
        if row is None:
            raise LocalError(f"the archive has no packet definition {definition!r}")
        rows = self._db.execute("SELECT id FROM layout WHERE definition = ? ORDER BY id", row)
        layouts = [self._layout(number) for (number,) in rows.fetchall()]
        streams = [
            self._layout_runs(layout, start_ns, stop_ns, parameters)
            for layout in layouts
            if parameters is None or set(parameters) & set(layout.parameters)
        ]
        yield from heapq.merge(*streams, key=lambda item: (int(item[1].times[0][0]), item[0].id))

    def _layout_runs(
        self, layout: Layout, start_ns: int, stop_ns: int, parameters: Collection[int] | None
    ) -> Iterator[tuple[Layout, Run]]:
        kept = layout if parameters is None else layout.subset(parameters)
        sources = self._db.execute(
            "SELECT scet_min, id, 1 FROM segment WHERE layout = ?1 AND scet_max >= ?2"
            " AND scet_min < ?3 UNION ALL"
            " SELECT scet_min, id, 0 FROM tail WHERE layout = ?1 AND scet_max >= ?2"
            " AND scet_min < ?3 ORDER BY 1, 3, 2",
            (layout.id, start_ns, stop_ns),
        ).fetchall()
        pending: list[Run] = []
        for low, number, is_segment in sources:
            done, pending = _cut(pending, low)
            if done is not None:
                yield kept, done
            if is_segment:
                run = read_segment(self._db, kept, number)
            else:
                count, blob = self._db.execute(
                    "SELECT count, data FROM tail WHERE id = ?", (number,)
                ).fetchone()
                run = unpack_run(blob, layout, count, kept).ordered()
            run = run.take(_range(run.times[0], start_ns, stop_ns, ordered=True))
            if len(run):
                pending.append(run)
        if pending:
            yield kept, Run.concatenate(pending).ordered()


def _plot(name: str, unit: str, width: int, bins: npt.NDArray[Any], labels: Any) -> Plot:
    """Of bins as `rollup` makes them."""
    with np.errstate(invalid="ignore"):
        mean = bins["sum"] / bins["count"]
    return Plot(
        name,
        unit,
        width,
        bins["bucket"] * width,
        bins["min"].copy(),
        bins["max"].copy(),
        mean,
        bins["count"].astype(np.int64),
        labels,
    )


def _range(times: I64, start_ns: int, stop_ns: int, *, ordered: bool):
    if ordered:
        low, high = np.searchsorted(times, (start_ns, stop_ns))
        return slice(int(low), int(high))
    return np.flatnonzero((times >= start_ns) & (times < stop_ns))


def _take(samples: Samples, index: Any) -> Samples:
    return Samples(
        samples.name,
        samples.unit,
        samples.scet_ns[index],
        samples.ert_ns[index],
        samples.reception_ns[index],
        samples.packet[index],
        samples.values[index],
        samples.valid[index],
        samples.labels,
    )


def _cut(pending: Sequence[Run], low: int) -> tuple[Run | None, list[Run]]:
    """Rows before `low`, merged, and what is left of each run."""
    if not pending:
        return None, []
    done, rest = [], []
    for run in pending:
        at = int(np.searchsorted(run.times[0], low))
        if at:
            done.append(run.take(slice(0, at)))
        if at < len(run):
            rest.append(run.take(slice(at, None)))
    return (Run.concatenate(done).ordered() if done else None), rest


__all__ = ["Reader", "snapshot"]
