"""The columns of a table of parameters on the bus: what they are once, their values in one piece.

A table of one packet has a hundred columns of one value.  What does not change from message to
message (names, types, calibrations, units) is therefore octets of its own, remembered on both
sides; the values of all columns follow in one piece, and a column is made when it is looked at.

    [head (msgpack octets), rows, values, other columns, limit states]

Values: each column's little-endian octets, one column after the other, in the head's order.  Text
and ragged columns, of which the head knows no type, are the other columns.
"""

# pyright: reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, cast, overload

import numpy as np
import numpy.typing as npt

from protocols.bus.calibrations import CALIBRATION
from protocols.bus.fields import (
    COLUMN,
    DTYPES,
    INTEGER,
    MAX_DIMENSIONS,
    MAX_ENTRIES,
    TEXT,
    Codec,
    mostly_zero,
    pack_plain,
    unpack_plain,
)
from protocols.errors import LocalError, RemoteError
from protocols.telemetry.calibration import Calibration, Enumeration, Text
from protocols.telemetry.tables import Column, Ragged, calibrated

LimitStates = npt.NDArray[np.uint8]
NO_STATES: LimitStates = np.empty(0, np.uint8)
#: Heads remembered: as many as a large mission has packet definitions, in each direction.
REMEMBERED = 4096
#: Types of columns that are not in the values: the table's own SCET, and text or ragged.
SCET, OTHER = "scet", "other"


@dataclass(frozen=True, eq=False)
class ParameterColumn:
    """One parameter over the m rows of its table.

    raw: as in `protocols.telemetry.tables`: [m], [m, count] or `Ragged`; octets have one axis more;
    None: the table's `scet_ns` (a packet's time code).  calibration: what makes engineering values
    of them, None if they are such already.  limit_state: uint8 [m] of `LimitState`, empty if the
    parameter has no limits.
    """

    name: str
    raw: Column
    limit_state: LimitStates
    calibration: Calibration | None = None
    unit: str = ""

    def __post_init__(self) -> None:
        if self.calibration is not None:
            _require_calibrated(self.name, self.calibration, self.raw)

    @cached_property
    def engineering(self) -> Column:
        """Shaped like `raw`: float64 by polynomial and spline, text by enumeration and text."""
        return calibrated(self.calibration, self.raw)


def _require_calibrated(name: str, calibration: Calibration, raw: Column | None) -> None:
    """LocalError unless the calibration can be applied to such values."""
    values = raw.values if isinstance(raw, Ragged) else np.asarray(raw)
    text, labelled = isinstance(calibration, Text), isinstance(calibration, Enumeration)
    kind = "u" if text else "iu" if labelled else "iuf"
    fits = raw is not None and values.dtype.kind in kind
    if text:
        fits = fits and values.itemsize == 1 and (isinstance(raw, Ragged) or values.ndim > 1)
    if not fits:
        raise LocalError(
            f"{name}: {type(calibration).__name__} of {values.dtype} [{values.ndim} axes]"
        )


@dataclass(frozen=True)
class ColumnHead:
    """What a column is.

    type: one of DTYPES, SCET or OTHER; shape: of one row; judged: it has limit states.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    judged: bool
    calibration: Calibration | None
    unit: str

    @cached_property
    def row_octets(self) -> int:
        return (
            0 if self.type in (SCET, OTHER) else DTYPES[self.type].itemsize * math.prod(self.shape)
        )


@dataclass(frozen=True, eq=False)
class TableHead:
    """The heads of a table's columns, and where in a row of all of them each column begins."""

    columns: tuple[ColumnHead, ...]

    @cached_property
    def octets(self) -> bytes:
        return pack_plain(
            [
                [h.name, h.type, list(h.shape), h.judged, CALIBRATION.pack(h.calibration), h.unit]
                for h in self.columns
            ]
        )

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Octets of a row before each column; the last is the length of a row."""
        starts = [0]
        for head in self.columns:
            starts.append(starts[-1] + head.row_octets)
        return tuple(starts)

    @cached_property
    def plain(self) -> tuple[int, ...]:
        """Columns that are in the values."""
        return tuple(i for i, h in enumerate(self.columns) if h.type not in (SCET, OTHER))

    @cached_property
    def truths(self) -> tuple[int, ...]:
        return tuple(i for i, head in enumerate(self.columns) if head.type == "|b1")

    @cached_property
    def others(self) -> tuple[int, ...]:
        return tuple(i for i, head in enumerate(self.columns) if head.type == OTHER)

    @cached_property
    def judged(self) -> dict[int, int]:
        """Number of a column with limit states → its row of states."""
        found = [i for i, head in enumerate(self.columns) if head.judged]
        return {column: row for row, column in enumerate(found)}


@lru_cache(REMEMBERED)
def _parse_head(octets: bytes) -> TableHead:
    value = unpack_plain(octets)
    if not isinstance(value, list):
        raise RemoteError("columns without a head", data=octets[:64])
    return TableHead(tuple(_parse_column_head(item) for item in cast(list[object], value)))


def _parse_column_head(value: object) -> ColumnHead:
    if not isinstance(value, list) or len(cast(list[object], value)) != 6:
        raise RemoteError("the head of a column has six entries")
    name, kind, shape, judged, calibration, unit = cast(list[Any], value)
    if kind not in (SCET, OTHER) and kind not in DTYPES:
        raise RemoteError(f"column of {kind!r:.64}, one of {[SCET, OTHER, *DTYPES]} wanted")
    if not isinstance(shape, list) or len(shape) >= MAX_DIMENSIONS or not isinstance(judged, bool):
        raise RemoteError(f"column of shape {shape!r:.64}, judged {judged!r:.64}")
    lengths = tuple(cast(int, INTEGER.unpack(length)) for length in shape)
    if any(not 0 <= length <= MAX_ENTRIES for length in lengths):
        raise RemoteError(f"column of shape {lengths}")
    head = ColumnHead(
        TEXT.unpack(name), kind, lengths, judged, CALIBRATION.unpack(calibration), TEXT.unpack(unit)
    )
    if head.calibration is not None and kind != OTHER:
        dtype = DTYPES["<i8" if kind == SCET else kind]
        try:
            _require_calibrated(head.name, head.calibration, np.empty((0, *lengths), dtype))
        except LocalError as error:
            raise RemoteError(str(error)) from error
    return head


class ParameterColumns(Sequence[ParameterColumn]):
    """The columns of one table of m rows; each is made when it is asked for.

    raws: of each column, None for the table's SCET; states: uint8 [judged columns, m].
    """

    __slots__ = ("_made", "head", "raws", "rows", "scet_ns", "states")

    def __init__(
        self, head: TableHead, rows: int, raws: Sequence[Column | None] | bytes, states: LimitStates
    ) -> None:
        self.head = head
        self.rows = rows
        #: Columns, or the values of all of them as they came.
        self.raws = raws
        self.states = states
        self.scet_ns: npt.NDArray[np.int64] | None = None
        self._made: dict[int, ParameterColumn] = {}

    def __len__(self) -> int:
        return len(self.head.columns)

    @overload
    def __getitem__(self, index: int) -> ParameterColumn: ...
    @overload
    def __getitem__(self, index: slice) -> list[ParameterColumn]: ...
    def __getitem__(self, index: int | slice) -> ParameterColumn | list[ParameterColumn]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        if number not in self._made:
            self._made[number] = self._make(number)
        return self._made[number]

    def __iter__(self) -> Iterator[ParameterColumn]:
        return (self[number] for number in range(len(self)))

    def _make(self, number: int) -> ParameterColumn:
        head = self.head.columns[number]
        row = self.head.judged.get(number)
        state = NO_STATES if row is None else self.states[row]
        return ParameterColumn(head.name, self.raw(number), state, head.calibration, head.unit)

    def raw(self, number: int) -> Column:
        head = self.head.columns[number]
        if head.type == SCET:
            # Before the table has it: what `ParameterColumn` says of a time code.
            return cast(Column, self.scet_ns)
        if not isinstance(self.raws, bytes):
            return cast(Column, self.raws[number])
        shape = (self.rows, *head.shape)
        start = self.head.starts[number] * self.rows
        values = np.frombuffer(self.raws, DTYPES[head.type], math.prod(shape), start)
        return values.reshape(shape)


def table_head(columns: Sequence[ParameterColumn], scet_ns: npt.NDArray[np.int64]) -> TableHead:
    """What such columns are."""
    return TableHead(tuple(_head(column, scet_ns) for column in columns))


def _head(column: ParameterColumn, scet_ns: npt.NDArray[np.int64]) -> ColumnHead:
    raw, shape = cast(Any, column.raw), ()
    if raw is None or raw is scet_ns:
        kind = SCET
    elif isinstance(raw, Ragged) or raw.dtype.kind in "UO":
        kind = OTHER
    else:
        kind, shape = raw.dtype.newbyteorder("<").str, raw.shape[1:]
        if kind not in DTYPES or raw.ndim > MAX_DIMENSIONS:
            raise LocalError(
                f"{column.name}: array {raw.dtype.str}, {raw.ndim} dimensions; "
                f"{list(DTYPES)}, 1..{MAX_DIMENSIONS} wanted"
            )
    judged = len(column.limit_state) > 0
    return ColumnHead(column.name, kind, shape, judged, column.calibration, column.unit)


def joined(columns: Sequence[ParameterColumn], scet_ns: npt.NDArray[np.int64]) -> ParameterColumns:
    """Columns that came one by one."""
    head = table_head(columns, scet_ns)
    m = len(scet_ns)
    raws = [None if h.type == SCET else c.raw for h, c in zip(head.columns, columns, strict=True)]
    states = [column.limit_state for column in columns if len(column.limit_state)]
    for column in columns:
        if len(column.limit_state) not in (0, m):
            raise LocalError(f"{column.name}: limit states for {m} values")
        raw = cast(Any, column.raw)
        if raw is not None and len(raw) != m:
            raise LocalError(f"{column.name}: {len(raw)} of {m} values")
    block = np.array(states, np.uint8).reshape(len(states), m)
    return ParameterColumns(head, m, raws, block)


_STATES = mostly_zero("|u1")


def _pack(columns: ParameterColumns) -> list[object]:
    head = columns.head
    states = _STATES.pack(columns.states.reshape(-1))
    if isinstance(columns.raws, bytes):
        return [head.octets, columns.rows, columns.raws, [], states]
    raws: Sequence[Any] = columns.raws
    values: list[Any] = []
    for number in head.plain:
        array = raws[number]
        if not array.flags.c_contiguous or not array.dtype.isnative:
            array = array.astype(DTYPES[head.columns[number].type], order="C")
        values.append(array)
    octets = b"".join(values)
    if len(octets) != head.starts[-1] * columns.rows:
        raise LocalError(f"{len(octets)} octets in {columns.rows} rows of {head.starts[-1]}")
    others = [COLUMN.pack(raws[number]) for number in head.others]
    return [head.octets, columns.rows, octets, others, states]


def _unpack(value: object) -> ParameterColumns:
    if not isinstance(value, list) or len(cast(list[object], value)) != 5:
        raise RemoteError("five entries where columns are wanted")
    head_octets, rows, octets, others, states = cast(list[Any], value)
    if not isinstance(head_octets, bytes) or not isinstance(octets, bytes):
        raise RemoteError("columns without head or values")
    head = _parse_head(head_octets)
    m = cast(int, INTEGER.unpack(rows))
    if m < 0 or len(octets) != head.starts[-1] * m:
        raise RemoteError(f"{len(octets)} octets in {m} rows of {head.starts[-1]}")
    judged = _STATES.unpack(states)
    if len(judged) != m * len(head.judged):
        raise RemoteError(f"{len(judged)} limit states of {len(head.judged)} columns of {m}")
    block = judged.reshape(len(head.judged), m)
    if not isinstance(others, list) or len(others) != len(head.others):
        raise RemoteError(f"columns that are not {len(head.others)} others")
    columns = ParameterColumns(head, m, octets, block)
    for number in head.truths:
        if octets and np.any(columns[number].raw.view(np.uint8) > 1):  # type: ignore[union-attr]
            raise RemoteError("truth values that are neither 0 nor 1")
    if not others:
        return columns
    raws: list[Column | None] = [
        None if h.type in (SCET, OTHER) else columns.raw(i) for i, h in enumerate(head.columns)
    ]
    for number, other in zip(head.others, others, strict=True):
        found = COLUMN.unpack(other)
        if len(found) != m:
            raise RemoteError(f"{head.columns[number].name}: {len(found)} of {m} values")
        raws[number] = found
    columns = ParameterColumns(head, m, raws, block)
    for number in head.others:
        # Whether the calibration fits is known of these by their values alone.
        try:
            columns[number]
        except LocalError as error:
            raise RemoteError(str(error)) from error
    return columns


#: `ParameterColumns`.
COLUMNS = Codec(_pack, _unpack)

__all__ = [
    "COLUMNS",
    "ColumnHead",
    "ParameterColumn",
    "ParameterColumns",
    "TableHead",
    "joined",
    "table_head",
]
