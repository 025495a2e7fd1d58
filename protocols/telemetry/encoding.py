"""Columns to packets: the inverse of `columns.py`, for the simulator and for tests at scale."""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.telemetry import kernels
from protocols.telemetry.calibration import Text
from protocols.telemetry.codec import check_names, header_values
from protocols.telemetry.columns import plan_part
from protocols.telemetry.declaration import PRIMARY_HEADER_OCTETS, PacketDefinition, Parameter
from protocols.telemetry.fields import Kind
from protocols.telemetry.layout import Slot, StaticPart, VariablePart
from protocols.telemetry.tables import Ragged, frozen

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]


def _pattern(values: npt.NDArray[Any]) -> U64:
    """Numbers of any column type as their bits in 64."""
    if values.dtype.kind == "f":
        values = np.ascontiguousarray(values).view(f"u{values.dtype.itemsize}")
    return (
        values.astype(np.uint64) if values.dtype.kind == "u" else values.astype(np.int64).view("u8")
    )


def _numbers(parameter: Parameter, values: Any, *, raw: bool, saturate: bool) -> npt.NDArray[Any]:
    convert = parameter.to_raw if raw else parameter.uncalibrate
    return convert(values, saturate=saturate)


def _octet_rows(parameter: Parameter, values: Any) -> npt.NDArray[np.uint8]:
    """Fixed octets or text of any shape as uint8 [..., length]."""
    length = parameter.type.bits // 8
    array = np.asarray(values)
    if array.dtype.kind == "U" and isinstance(parameter.calibration, Text):
        where = f"parameter {parameter.name}"
        rows = [parameter.calibration.encode(str(v), length, where) for v in array.ravel()]
        return np.frombuffer(b"".join(rows), np.uint8).reshape(*array.shape, length)
    if array.dtype.kind in "OS":
        flat = [bytes(v) for v in np.asarray(values, object).ravel()]
        if any(len(v) != length for v in flat):
            raise LocalError(f"parameter {parameter.name}: {length} octets each wanted")
        shape = np.asarray(values, object).shape
        return np.frombuffer(b"".join(flat), np.uint8).reshape(*shape, length)
    if array.dtype != np.uint8 or array.shape[-1:] != (length,):
        raise LocalError(
            f"parameter {parameter.name}: {array.dtype} {array.shape}; uint8 [.., {length}] wanted"
        )
    return array


def _rows_of(values: Any) -> Ragged:
    if isinstance(values, Ragged):
        return values
    return Ragged.from_rows(values)


def _flat(rows: Any) -> Any:
    """The values of rows one after another; see `as_numbers` for why lists stay lists."""
    filled = [row for row in rows if len(row)]
    if filled and all(isinstance(row, np.ndarray) for row in filled):
        return np.concatenate(filled)
    return [v for row in filled for v in row] or np.empty(0, np.uint8)


class _Columns:
    """The caller's columns turned into raw ones, [n] or [n, count] or `Ragged`."""

    def __init__(
        self,
        definition: PacketDefinition,
        columns: Mapping[str, Any],
        n: int,
        *,
        raw: bool,
        saturate: bool,
    ) -> None:
        self.n = n
        self.values: dict[str, Any] = {}
        slots = definition.layout.slots
        variable = {
            slot.name: part
            for part in definition.layout.parts
            if isinstance(part, VariablePart)
            for slot in part.slots
        }
        for name, given in columns.items():
            parameter = definition.parameters.get(name)
            if parameter is None:
                self.values[name] = np.broadcast_to(np.asarray(given), (n,))
            elif name in variable:
                self.values[name] = self._ragged(
                    parameter, variable[name], given, raw=raw, saturate=saturate
                )
            else:
                self.values[name] = self._fixed(slots[name], given, raw=raw, saturate=saturate)

    def _fixed(self, slot: Slot, given: Any, *, raw: bool, saturate: bool) -> npt.NDArray[Any]:
        if slot.type.kind is Kind.OCTETS:
            values = _octet_rows(slot.parameter, given)
            shape = (self.n, *(slot.repeat or ())[:1], slot.type.bits // 8)
        else:
            values = _numbers(slot.parameter, given, raw=raw, saturate=saturate)
            shape = (self.n, *(slot.repeat or ())[:1])
        try:
            return np.broadcast_to(values, shape)
        except ValueError as error:
            raise LocalError(
                f"parameter {slot.name}: shape {values.shape}; {shape} wanted"
            ) from error

    def _ragged(
        self, parameter: Parameter, part: VariablePart, given: Any, *, raw: bool, saturate: bool
    ) -> Ragged:
        if part.opaque:
            if isinstance(parameter.calibration, Text) and not isinstance(given, Ragged):
                where = f"parameter {parameter.name}"
                given = [
                    parameter.calibration.encode(v, None, where) if isinstance(v, str) else v
                    for v in given
                ]
            rows = _rows_of(given)
            values: npt.NDArray[Any] = rows.values
        elif parameter.type.kind is Kind.OCTETS:
            lengths = given.lengths if isinstance(given, Ragged) else [len(row) for row in given]
            flat = given.values if isinstance(given, Ragged) else [v for row in given for v in row]
            rows = Ragged(np.empty(0), np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
            empty = np.empty((0, parameter.type.bits // 8), np.uint8)
            values = _octet_rows(parameter, flat) if len(flat) else empty
        else:
            lengths = given.lengths if isinstance(given, Ragged) else [len(row) for row in given]
            rows = Ragged(np.empty(0), np.concatenate(([0], np.cumsum(lengths))).astype(np.int64))
            flat = given.values if isinstance(given, Ragged) else _flat(given)
            values = _numbers(parameter, flat, raw=raw, saturate=saturate)
        if len(rows) != self.n:
            raise LocalError(f"parameter {parameter.name}: {len(rows)} rows; {self.n} wanted")
        return Ragged(values, rows.offsets)


def _batch_size(columns: Mapping[str, Any], definition: PacketDefinition) -> int:
    """Packets in the columns: the length of the first that has one."""
    for name, given in columns.items():
        listed = isinstance(given, Ragged | list | tuple) or getattr(given, "ndim", 0) > 0
        if name in definition.parameters and listed:
            return len(given)
    raise LocalError(f"packet {definition.name}: no column with a length; one wanted")


def encode_batch(
    definition: PacketDefinition,
    columns: Mapping[str, Any],
    *,
    sequence_count: int | npt.NDArray[np.integer],
    raw: bool,
    saturate: bool,
    vcid: int,
    ert_ns: int | npt.NDArray[np.int64],
) -> PacketBatch:
    """See `Dictionary.encode_batch`."""
    check_names(definition, set(columns))
    n = _batch_size(columns, definition)
    given = _Columns(definition, columns, n, raw=raw, saturate=saturate)
    values = given.values
    header = header_values(definition)
    for condition in definition.conditions:
        if condition.operator == "==":
            values.setdefault(condition.parameter, np.broadcast_to(condition.value, (n,)))
    length = np.full(n, definition.layout.fixed_octets, np.int64)
    for part in definition.layout.parts:
        if isinstance(part, VariablePart):
            length += _check_counts(part, values) * part.element_octets
    if n and (
        length.max() > PRIMARY_HEADER_OCTETS + 65536 or length.min() <= PRIMARY_HEADER_OCTETS
    ):
        raise LocalError(
            f"packet {definition.name}: {length.min()}..{length.max()} octets; 7..65542 allowed"
        )
    names = [p.name for p in definition.header]
    counted = np.asarray(sequence_count, np.int64)
    header_columns: dict[str, Any] = {
        name: np.broadcast_to(np.int64(v), (n,)) for name, v in header.items()
    }
    header_columns[names[5]] = (counted if counted.ndim else counted + np.arange(n)) & 0x3FFF
    header_columns[names[6]] = length - PRIMARY_HEADER_OCTETS - 1
    values = header_columns | values

    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(length, out=offsets[1:])
    octets = np.zeros(offsets[-1], np.uint8)
    cursor = offsets[:-1]
    for index, part in enumerate(definition.layout.parts):
        if isinstance(part, StaticPart):
            slots = (*definition.layout.header, *part.slots) if index == 0 else part.slots
            _scatter(octets, cursor, slots, values)
            cursor = cursor + part.octets
            continue
        first = values[part.slots[0].name]
        count = first.lengths
        if part.opaque:
            values_of = np.ascontiguousarray(first.values, np.uint8)
            kernels.place_runs(octets, frozen(cursor), frozen(count), frozen(values_of))
        else:
            base = np.empty(int(count.sum()), np.int64)
            kernels.spread(frozen(cursor), frozen(count), part.element_octets, base)
            flat = {slot.name: values[slot.name].values for slot in part.slots}
            _scatter(octets, base, part.slots, flat)
        cursor = cursor + count * part.element_octets
    return PacketBatch(
        octets,
        offsets,
        np.full(n, vcid, np.uint8),
        np.broadcast_to(np.asarray(ert_ns, np.int64), (n,)).copy(),
    )


def _check_counts(part: VariablePart, values: dict[str, Any]) -> I64:
    """Element counts of a variable part; puts the count parameter in, or checks the given one."""
    name = part.slots[0].name
    count: I64 = values[name].lengths
    for slot in part.slots[1:]:
        if not np.array_equal(values[slot.name].lengths, count):
            raise LocalError(f"parameters {name} and {slot.name}: different counts in one repeat")
    if part.count is not None:
        said, rest = np.divmod(count - part.count.offset, part.count.scale)
        if np.any(rest) or np.any(said < 0):
            raise LocalError(
                f"parameter {name}: counts that {part.count.parameter} "
                f"(× {part.count.scale} + {part.count.offset}) cannot say"
            )
        if not np.array_equal(values.setdefault(part.count.parameter, said), said):
            raise LocalError(f"parameter {name}: counts differ from {part.count.parameter}")
    return count


def _scatter(
    octets: npt.NDArray[np.uint8],
    base: I64,
    slots: tuple[Slot, ...],
    values: Mapping[str, Any],
) -> None:
    plan = plan_part(slots)
    patterns = np.empty((len(plan.table), len(base)), np.uint64)
    row = 0
    for slot, _, _ in plan.columns:
        low, high = slot.type.minimum, slot.type.maximum
        column = values[slot.name]
        if slot.type.is_integer and len(column) and (column.min() < low or column.max() > high):
            raise LocalError(
                f"parameter {slot.name}: {column.min()}..{column.max()}; "
                f"{low}..{high} fit the field"
            )
        if slot.repeat is None:
            patterns[row] = _pattern(column)
            row += 1
        else:
            patterns[row : row + slot.repeat[0]] = _pattern(column).T
            row += slot.repeat[0]
    if len(plan.table):
        kernels.scatter(octets, frozen(base), plan.table, patterns)
    for slot in plan.octets:
        block = values[slot.name]
        if slot.type.time is not None:
            times = np.ascontiguousarray(block, np.int64)
            coded = slot.type.time.encode(times.reshape(-1))
            block = coded.reshape(*times.shape, slot.type.time.size)
        count, step = slot.repeat or (1, 0)
        for i in range(count):
            piece = block if slot.repeat is None else block[:, i]
            rows = frozen(np.ascontiguousarray(piece, np.uint8))
            kernels.scatter_octets(octets, frozen(base), slot.bit + i * step, rows)
