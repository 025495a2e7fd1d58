"""All samples of a parameter as NumPy arrays, read from an Arrow stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.client.errors import GroundError
from protocols.timecodes.tai import unix_ns_from_tai_ns

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Samples:
    """One parameter over a range, ordered by `axis` ("scet" or "ert"); every array has length n.

    scet_ns, ert_ns: int64, TAI ns since 1958.  values: in the parameter's own dtype; codes where
    `labels` (code → text) is not empty; text as objects.  valid: bool; invalid floats are what was
    decoded, mask them with it.  Arrays may be read-only: they are what came, not a copy of it.
    """

    name: str
    unit: str
    axis: str
    scet_ns: I64
    ert_ns: I64
    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    labels: Mapping[int, str]

    def __len__(self) -> int:
        return len(self.scet_ns)

    @property
    def time_ns(self) -> I64:
        """By the axis that was asked for."""
        return self.scet_ns if self.axis == "scet" else self.ert_ns

    @property
    def utc(self) -> npt.NDArray[np.datetime64]:
        """The same as datetime64[ns], UTC; a leap second has the numbers of the one after it."""
        return unix_ns_from_tai_ns(self.time_ns).view("datetime64[ns]")

    def texts(self) -> list[str]:
        """Values as text: labels of codes, numbers as they print."""
        if not self.labels:
            return [str(value) for value in self.values.tolist()]
        return [self.labels.get(code, f"#{code}") for code in self.values.tolist()]


def read_samples(octets: bytes) -> Samples:
    """Of the answer of `/samples`.  GroundError for what is none."""
    import pyarrow as pa  # slow to import: for whoever asks for samples

    try:
        table = pa.ipc.open_stream(pa.py_buffer(octets)).read_all()
        table.validate(full=True)
        return _samples(table)
    except (pa.ArrowException, OSError, LookupError, TypeError, ValueError, AttributeError,
            NotImplementedError) as error:  # fmt: skip
        raise GroundError(f"what came are no samples: {error!r}") from error


def _samples(table: Any) -> Samples:
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    values, valid = _values(table.column("value"))
    return Samples(
        about["name"],
        about["unit"],
        about["axis"],
        _values(table.column("scet_ns"))[0],
        _values(table.column("ert_ns"))[0],
        values,
        valid,
        {int(code): label for code, label in json.loads(about["labels"]).items()},
    )


def _values(column: Any) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Values and which are valid; numbers under a null are kept as they came."""
    import pyarrow as pa

    kind = column.type
    array = column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(_chunks(column))
    valid = np.ones(len(array), np.bool_)
    if array.null_count:
        valid = ~array.is_null().to_numpy(zero_copy_only=False)
    if pa.types.is_string(kind) or pa.types.is_boolean(kind):
        filled = array.fill_null("" if pa.types.is_string(kind) else False)
        return filled.to_numpy(zero_copy_only=False), valid
    dtype = np.dtype(kind.to_pandas_dtype())
    buffer = array.buffers()[1]
    if buffer is None:
        return np.empty(0, dtype), valid
    return np.frombuffer(buffer, dtype, len(array), array.offset * dtype.itemsize), valid


def _chunks(column: Any) -> list[Any]:
    import pyarrow as pa

    return column.chunks or [pa.array([], column.type)]
