"""Parquet and CSV, written as they are read: no more in memory than segments that overlap.

Wide form: a file a packet definition, a row a packet, a column a parameter.  Long form (when
parameters are named): one file, a row a sample.  Times come twice: `scet` as a UTC timestamp for
people and tools, `scet_tai_ns` as the exact integer (UTC timestamps cannot tell a leap second
from its successor).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from ground.archive.columns import TIMES
from ground.archive.model import MAX_NS, NO_SCET, ParameterInfo, Progress
from ground.archive.query import Reader
from protocols.errors import LocalError
from protocols.timecodes.tai import unix_ns_from_tai_ns

Form = Literal["parquet", "csv"]
#: Rows of one Parquet row group or CSV block.
ROWS = 65_536
#: TAI − Unix is some 3.8e17 ns: times this close to the ends of int64 have no UTC timestamp.
_NO_UTC_NS = 1 << 59

Write = Callable[[pa.RecordBatch], None]


@dataclass(frozen=True, slots=True)
class _Column:
    id: int
    info: ParameterInfo
    type: pa.DataType
    labels: Mapping[int, str]


def export(
    reader: Reader,
    target: Path,
    form: Form,
    names: Sequence[str] | None,
    start_ns: int,
    stop_ns: int,
    progress: Progress | None,
) -> list[Path]:
    """Export into a directory (wide) or a file (long); a file appears under its name when it is
    complete.  LocalError for an unknown parameter."""
    target = Path(target)
    if names is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        columns = [_column(reader, name) for name in names]
        counted = _Counted(progress, sum(column.info.count for column in columns))
        _write(target, form, _long_schema(), _long(reader, columns, start_ns, stop_ns), counted)
        return [target]
    target.mkdir(parents=True, exist_ok=True)
    definitions = reader.definitions()
    counted = _Counted(progress, sum(reader.rows(definition) for definition in definitions))
    files = []
    for definition, parameters in definitions.items():
        columns = [_column(reader, name) for name in parameters]
        file = target / f"{file_name(definition)}.{form}"
        schema = _wide_schema(definition, columns, form)
        _write(file, form, schema, _wide(reader, definition, columns, start_ns, stop_ns), counted)
        files.append(file)
    return files


class _Counted:
    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, rows: int) -> None:
        self._done += rows
        if self._progress is not None:
            self._progress(self._done, self._total)


def _write(
    file: Path, form: Form, schema: pa.Schema, batches: Iterator[list[pa.Array]], counted: _Counted
) -> None:
    partial = file.with_name(file.name + ".part")
    try:
        with ExitStack() as stack:
            if form == "parquet":
                writer = stack.enter_context(
                    pa_parquet.ParquetWriter(partial, schema, compression="zstd")
                )
            else:
                writer = stack.enter_context(pa_csv.CSVWriter(partial, schema))
            for arrays in batches:
                batch = pa.RecordBatch.from_arrays(arrays, schema=schema)
                for at in range(0, len(batch), ROWS):
                    writer.write_batch(batch.slice(at, ROWS))
                counted.add(len(batch))
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


# ---------------------------------------------------------------- schemas


def time_fields(names: Sequence[str]) -> list[pa.Field]:
    """Two fields a time: a UTC timestamp, and TAI ns as an exact integer."""
    fields = []
    for name in names:
        fields.append(pa.field(name, pa.timestamp("ns", tz="UTC"), metadata={"unit": "UTC"}))
        meaning = {"unit": "ns", "description": "TAI since 1958-01-01T00:00:00 TAI"}
        fields.append(pa.field(f"{name}_tai_ns", pa.int64(), metadata=meaning))
    return fields


def _wide_schema(definition: str, columns: Sequence[_Column], form: Form) -> pa.Schema:
    fields = [*time_fields(TIMES[:3]), pa.field("packet", pa.int64())]
    for column in columns:
        info = column.info
        # CSV has no other place for the unit.
        name = f"{info.name} [{info.unit}]" if form == "csv" and info.unit else info.name
        metadata = {"unit": info.unit, "description": info.description, "kind": info.kind}
        if info.kind == "enumeration":
            metadata["labels"] = json.dumps({str(k): v for k, v in column.labels.items()})
        fields.append(pa.field(name, column.type, metadata=metadata))
    return pa.schema(fields, metadata={"definition": definition})


def _long_schema() -> pa.Schema:
    return pa.schema(
        [
            pa.field("parameter", pa.string()),
            *time_fields(TIMES[:3]),
            pa.field("packet", pa.int64()),
            pa.field("value", pa.float64()),
            pa.field("text", pa.string()),
            pa.field("unit", pa.string()),
        ]
    )


def _column(reader: Reader, name: str) -> _Column:
    number, info, dtype = reader.describe(name)
    if info.kind == "number":
        return _Column(number, info, pa.from_numpy_dtype(dtype), {})
    return _Column(number, info, pa.string(), reader.labels(number))


# ---------------------------------------------------------------- rows


def _wide(
    reader: Reader, definition: str, columns: Sequence[_Column], start_ns: int, stop_ns: int
) -> Iterator[list[pa.Array]]:
    for layout, run in reader.runs(definition, start_ns, stop_ns):
        arrays = time_arrays(run.times[:3])
        arrays.append(pa.array(run.times[3]))
        for column in columns:
            if column.id not in layout.parameters:
                arrays.append(pa.nulls(len(run), column.type))
                continue
            at = layout.parameters.index(column.id)
            arrays.append(_values(column, run.values[at], run.valid[at]))
        yield arrays


def _long(
    reader: Reader, columns: Sequence[_Column], start_ns: int, stop_ns: int
) -> Iterator[list[pa.Array]]:
    for column in columns:
        for definition in column.info.definitions:
            for layout, run in reader.runs(definition, start_ns, stop_ns, {column.id}):
                at = layout.parameters.index(column.id)
                n, values, valid = len(run), run.values[at], run.valid[at]
                missing = None if valid is None else ~valid
                if column.info.kind == "text":
                    numbers = pa.nulls(n, pa.float64())
                else:
                    numbers = pa.array(values.astype(np.float64), mask=missing)
                text = column.info.kind != "number"
                yield [
                    _constant(column.info.name, n),
                    *time_arrays(run.times[:3]),
                    pa.array(run.times[3]),
                    numbers,
                    _values(column, values, valid) if text else pa.nulls(n, pa.string()),
                    _constant(column.info.unit, n),
                ]


def time_arrays(times: Sequence[npt.NDArray[np.int64]]) -> list[pa.Array]:
    """The arrays of `time_fields`, from TAI ns; times without a UTC timestamp are null there."""
    arrays = []
    for tai in times:
        outside = (tai > MAX_NS - _NO_UTC_NS) | (tai < NO_SCET + _NO_UTC_NS)
        unix = unix_ns_from_tai_ns(np.where(outside, 0, tai))
        mask = outside if outside.any() else None
        arrays.append(pa.array(unix, mask=mask).cast(pa.timestamp("ns", tz="UTC")))
        arrays.append(pa.array(tai))
    return arrays


def _values(
    column: _Column, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None
) -> pa.Array:
    missing = None if valid is None else ~valid
    if not pa.types.is_string(column.type):
        return pa.array(values, mask=missing).cast(column.type)
    return labelled(column.labels, values, missing)


def labelled(
    labels: Mapping[int, str],
    values: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_] | None = None,
) -> pa.Array:
    """Codes as their labels; a code without one is shown as its number: nothing received is
    hidden."""
    codes, which = np.unique(values, return_inverse=True)
    texts = pa.array([labels.get(code, f"#{code}") for code in codes.tolist()], pa.string())
    return texts.take(pa.array(which.astype(np.int64), mask=missing))


def _constant(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def file_name(definition: str) -> str:
    """A file name from a definition's name; LocalError if nothing of it is left."""
    name = re.sub(r"[^\w.-]+", "_", definition).strip(".")
    if not name:
        raise LocalError(f"packet definition {definition!r} gives no file name")
    return name


__all__ = ["export", "file_name", "labelled", "time_arrays", "time_fields"]
