"""Replayed captures into Parquet without an archive: `l4 replay --parquet DIR`.

A file a packet definition, a row a packet in the order of the capture, a column a parameter in
engineering units.  Repeats of variable length have a file of their own, a row an element; `packet`
(number of the packet in the capture, idle packets left out) joins the two.  A definition that
becomes another in flight goes on in `NAME~2.parquet`: a file has one schema.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet

from ground.archive.decoding import Decoder
from ground.archive.export import file_name, labelled, time_arrays, time_fields
from ground.archive.model import NO_SCET, ColumnInfo, TableColumns

#: Packets gathered before they are decoded and written: a row group of each file.
GROUP_OCTETS = 8 << 20


class ParquetSink:
    """Fits the receive chain's replay (`take`, `finish`); a context, which names the files when all
    that was given is written and leaves nothing behind if the replay broke off.

    directory: made if it is not there; files in it of the same names are replaced.
    """

    def __init__(self, directory: Path, decoder: Decoder) -> None:
        self._directory = directory
        self._decoder = decoder
        self._pending: list[Any] = []
        self._octets = 0
        self._packets = 0
        self._files: dict[str, list[_File]] = {}
        self._complete = False

    @property
    def rows(self) -> dict[str, int]:
        """File name → rows."""
        return {file.name: file.rows for files in self._files.values() for file in files}

    def __enter__(self) -> ParquetSink:
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for files in self._files.values():
            for file in files:
                file.close(keep=self._complete)

    def take(self, output: Any, chain: Any) -> None:
        packets = output.packets
        packets = packets.select(~packets.is_idle) if packets.is_idle.any() else packets
        if len(packets):
            self._pending.append(packets)
            self._octets += len(packets.octets)
        if self._octets >= GROUP_OCTETS:
            self._write()

    def finish(self, chain: Any) -> None:
        self._write()
        self._complete = True

    def _write(self) -> None:
        if not self._pending:
            return
        packets = type(self._pending[0]).concatenate(self._pending)
        self._pending, self._octets = [], 0
        decoded = self._decoder.decode(packets)
        for table in decoded.tables:
            assert table.rows is not None  # the decoder names each row's packet
            timed = bool((decoded.scet_ns[table.rows] != NO_SCET).any())
            self._file_of(table, timed).write(table, packets.ert_ns, self._packets)
        self._packets += len(packets)

    def _file_of(self, table: TableColumns, timed: bool) -> _File:
        """The definition's file that has the table's columns, the newest first."""
        files = self._files.setdefault(table.definition, [])
        for file in reversed(files):
            if file.fits(table, timed=timed):
                return file
        name = file_name(table.definition)
        # Two definitions' names may be one as a file's.
        taken = [n for n in self.rows if n == f"{name}.parquet" or n.startswith(f"{name}~")]
        number = f"~{len(taken) + 1}" if taken else ""
        files.append(_File(self._directory / f"{name}{number}.parquet", table, timed=timed))
        return files[-1]


class _File:
    """One definition's file; its columns are those of the first table.

    timed: packets tell their generation time, some of them perhaps not; else there is no SCET to be
    written.
    """

    def __init__(self, path: Path, table: TableColumns, *, timed: bool) -> None:
        self.rows = 0
        self._timed = timed
        self._described = _described(table)
        self.name = path.name
        self._path = path
        self._partial = self._path.with_name(self._path.name + ".part")
        times = ("scet", "ert") if timed else ("ert",)
        fields = [*time_fields(times), pa.field("packet", pa.int64())]
        # Dictionaries of numbers take as long again as all the rest and save little under zstd;
        # times and numbers of packets step evenly.
        even = {field.name: "DELTA_BINARY_PACKED" for field in fields}
        fields += [_field(name, column, table.info[name]) for name, column in table.columns.items()]
        text = [field.name for field in fields if pa.types.is_string(field.type)]
        self._schema = pa.schema(fields, metadata={"definition": table.definition})
        self._labels = {name: table.info[name].labels for name in table.columns}
        self._writer = pa_parquet.ParquetWriter(
            self._partial,
            self._schema,
            compression="zstd",
            use_dictionary=text,  # pyright: ignore[reportArgumentType]
            column_encoding=even,
        )

    def fits(self, table: TableColumns, *, timed: bool) -> bool:
        return (self._timed or not timed) and self._described == _described(table)

    def write(self, table: TableColumns, ert_ns: np.ndarray, first_packet: int) -> None:
        rows = table.rows
        assert rows is not None
        times = (table.scet_ns, ert_ns[rows]) if self._timed else (ert_ns[rows],)
        arrays = [*time_arrays(times), pa.array(rows + first_packet)]
        for name, column in table.columns.items():
            labels = self._labels[name]
            arrays.append(labelled(labels, column) if labels else pa.array(column))
        arrays = [array.cast(field.type) for array, field in zip(arrays, self._schema, strict=True)]
        self.rows += len(rows)
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self, *, keep: bool) -> None:
        self._writer.close()
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _described(table: TableColumns) -> list[tuple[str, ColumnInfo]]:
    return [(name, table.info[name]) for name in table.columns]


def _field(name: str, column: np.ndarray, info: ColumnInfo) -> pa.Field:
    metadata = {"unit": info.unit, "description": info.description}
    if info.labels:
        metadata["labels"] = json.dumps({str(code): text for code, text in info.labels.items()})
    text = bool(info.labels) or column.dtype.kind in "OU"
    return pa.field(
        name, pa.string() if text else pa.from_numpy_dtype(column.dtype), True, metadata
    )


__all__ = ["ParquetSink"]
