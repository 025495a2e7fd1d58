"""Replayed captures into Parquet without an archive: `l4 replay --parquet DIR`.

A file a packet definition, a row a packet in the order of the capture, a column a parameter in
engineering units.  Repeats of variable length have a file of their own, a row an element; `packet`
(number of the packet in the capture, idle packets left out) joins the two.
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
        self._files: dict[str, _File] = {}
        self._complete = False

    def __enter__(self) -> ParquetSink:
        self._directory.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
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
            if table.definition not in self._files:
                timed = bool((decoded.scet_ns[table.rows[:1]] != NO_SCET).any())
                self._files[table.definition] = _File(self._directory, table, timed=timed)
            self._files[table.definition].write(table, packets.ert_ns, self._packets)
        self._packets += len(packets)


class _File:
    """One definition's file; its columns are those of the first table.

    timed: the packets tell their generation time; else there is no SCET to be written.
    """

    def __init__(self, directory: Path, table: TableColumns, *, timed: bool) -> None:
        self._timed = timed
        self._path = directory / f"{file_name(table.definition)}.parquet"
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

    def write(self, table: TableColumns, ert_ns: np.ndarray, first_packet: int) -> None:
        rows = table.rows
        assert rows is not None
        times = (table.scet_ns, ert_ns[rows]) if self._timed else (ert_ns[rows],)
        arrays = [*time_arrays(times), pa.array(rows + first_packet)]
        for name, column in table.columns.items():
            labels = self._labels[name]
            arrays.append(labelled(labels, column) if labels else pa.array(column))
        arrays = [array.cast(field.type) for array, field in zip(arrays, self._schema, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self, *, keep: bool) -> None:
        self._writer.close()
        if keep:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _field(name: str, column: np.ndarray, info: ColumnInfo) -> pa.Field:
    metadata = {"unit": info.unit, "description": info.description}
    if info.labels:
        metadata["labels"] = json.dumps({str(code): text for code, text in info.labels.items()})
    text = bool(info.labels) or column.dtype.kind in "OU"
    return pa.field(
        name, pa.string() if text else pa.from_numpy_dtype(column.dtype), True, metadata
    )


__all__ = ["ParquetSink"]
