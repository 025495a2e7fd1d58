"""All samples of a parameter, as an Arrow stream: columns in binary, which notebooks read without
copying and every other tool of data reads too.

A stream is made slice by slice of time while it is sent: neither end of it nor the archive's file
is held for longer than one slice takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

import numpy as np
from starlette.responses import StreamingResponse

from ground.console.context import Archive, Context
from ground.console.endpoints import TAI_NS, Call, Parameter, Route
from ground.console.handling import in_thread

#: Samples in a slice, and bins of the counts by which slices are cut.
SLICE, BINS = 250_000, 4_000
ARROW: Final = "application/vnd.apache.arrow.stream"
_LEAST, _MOST = -(2**63), 2**63 - 1


def sample_routes(context: Context) -> list[Route]:
    def samples(call: Call) -> Any:
        query = call.query
        name, axis = query["name"], query["axis"]
        with context.archive() as archive:
            labels = archive.query(name, 0, 0, axis).labels
            with archive.reader() as reader:
                _, info, dtype = reader.describe(name)
            edges = _edges(archive, info, axis, query["from_ns"], query["to_ns"])
        coded = json.dumps({str(code): label for code, label in labels.items()})
        about = {"name": name, "unit": info.unit, "axis": axis, "labels": coded}
        return StreamingResponse(_stream(context, about, dtype, edges), media_type=ARROW)

    return [
        Route(
            "GET",
            "/samples",
            in_thread(samples),
            "Every sample of a parameter from an instant up to another, in their order: an Arrow "
            "stream of scet_ns, ert_ns (TAI) and value (null: invalid)",
            parameters=(
                Parameter("name", str, "Name"),
                Parameter(
                    "from_ns", int, "TAI nanoseconds", _LEAST + 1, _LEAST, _MOST, format=TAI_NS
                ),
                Parameter("to_ns", int, "TAI nanoseconds", _MOST, _LEAST, _MOST, format=TAI_NS),
                Parameter("axis", str, "Their order", "scet", choices=("scet", "ert")),
            ),
            media_type=ARROW,
        )
    ]


def _edges(archive: Archive, info: Any, axis: str, start: int, stop: int) -> list[int]:
    """Of slices that cover start..stop, each of some `SLICE` samples."""
    first = info.first_scet_ns if axis == "scet" else info.first_ert_ns
    last = info.last_scet_ns if axis == "scet" else info.last_ert_ns
    low, high = min(max(start, first), stop), max(min(stop, last + 1), start)
    inner: Any = []
    if low < high and info.kind != "text":
        # Not evenly: a clock that was set to its epoch once would make one slice of all the rest.
        bins = archive.plot(info.name, low, high, BINS, axis)
        sums = np.cumsum(bins.count)
        cuts = np.searchsorted(sums, np.arange(SLICE, sums[-1] if len(sums) else 0, SLICE)) + 1
        inner = np.unique(bins.time_ns[cuts[cuts < len(sums)]]).tolist()
    elif low < high:
        inner = range(low, high, max(1, (last + 1 - first) * SLICE // max(info.count, SLICE)))
    # What comes before and after is covered too: samples may have come meanwhile.
    return [start, *(one for one in inner if start < one < stop), stop]


def _stream(
    context: Context, about: dict[str, str], dtype: np.dtype[Any], edges: list[int]
) -> Iterator[bytes]:
    import pyarrow as pa  # slow to import: for whoever asks for this

    text = dtype.kind not in "biuf"
    kind = pa.string() if text else pa.from_numpy_dtype(dtype)
    columns = [("scet_ns", pa.int64()), ("ert_ns", pa.int64()), ("value", kind)]
    schema = pa.schema(columns, metadata=about)
    sink = _Sink()
    with pa.ipc.new_stream(pa.PythonFile(sink, "w"), schema) as writer:
        for start_ns, stop_ns in pairwise(edges):
            with context.archive() as archive:
                found = archive.query(about["name"], start_ns, stop_ns, about["axis"])
            if len(found):
                values = found.values if text else found.values.astype(dtype, copy=False)
                invalid = None if found.valid.all() else ~found.valid
                value = pa.array(values, type=kind, mask=invalid)
                arrays = [pa.array(found.scet_ns), pa.array(found.ert_ns), value]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
            yield from sink.take()
    yield from sink.take()


class _Sink:
    """What has been written and not yet sent."""

    closed = False

    def __init__(self) -> None:
        self._chunks: list[bytes] = []

    def write(self, octets: Any) -> int:
        self._chunks.append(bytes(octets))
        return len(octets)

    def flush(self) -> None: ...

    def close(self) -> None: ...

    def take(self) -> list[bytes]:
        chunks, self._chunks = self._chunks, []
        return chunks
