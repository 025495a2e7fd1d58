"""Decoding a batch of packets into one array per parameter, from the declaration's layout.

Packets are grouped by definition; then each part of the layout is gathered for all packets of the
definition at once.  A repeated part is gathered as if its elements were packets.
"""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.packets.batch import PacketBatch
from protocols.telemetry import kernels
from protocols.telemetry.calibration import Polynomial
from protocols.telemetry.declaration import (
    COMPARISONS,
    PRIMARY_HEADER_OCTETS,
    Dictionary,
    PacketDefinition,
    Parameter,
)
from protocols.telemetry.fields import FieldType, Kind
from protocols.telemetry.layout import Slot, StaticPart, VariablePart
from protocols.telemetry.limits import Limits
from protocols.telemetry.sampling import Sampler
from protocols.telemetry.tables import (
    Column,
    DecodedPackets,
    Judged,
    ParameterTable,
    Ragged,
    frozen,
    states_of_raw,
)

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

#: No count of a space packet's elements can be greater (133.0-B-2 §4.1.3.5.3).
MOST_OCTETS = 65542


@dataclass(frozen=True, eq=False)
class PartPlan:
    """A part's fields, sorted by how they are gathered.

    table: int64 [k, 6] for `kernels.gather`; rows: rows needed of each output size;
    columns: for each number slot its size and first row; octets: slots gathered as octets.
    """

    table: I64
    rows: tuple[int, int, int, int]
    columns: tuple[tuple[Slot, int, int], ...]
    octets: tuple[Slot, ...]

    @cached_property
    def named(self) -> tuple[tuple[str, int, np.dtype[Any], int, int | None], ...]:
        """The columns as they are handed out: name, which output, its type there, first row, and
        rows of a repeat."""
        return tuple(
            (
                slot.name,
                SIZES.index(size),
                np.dtype(slot.type.dtype),
                row,
                None if slot.repeat is None else slot.repeat[0],
            )
            for slot, size, row in self.columns
        )


SIZES = (1, 2, 4, 8)


def plan_part(slots: Sequence[Slot]) -> PartPlan:
    rows: dict[int, int] = dict.fromkeys(SIZES, 0)
    table: list[tuple[int, ...]] = []
    columns: list[tuple[Slot, int, int]] = []
    for slot in slots:
        kind = slot.type
        if kind.kind in (Kind.OCTETS, Kind.TIME):
            continue
        size = kind.dtype.itemsize
        columns.append((slot, size, rows[size]))
        count, step = slot.repeat or (1, 0)
        for i in range(count):
            table.append(_row(slot.bit + i * step, kind, size, rows[size]))
            rows[size] += 1
    return PartPlan(
        np.array(table, np.int64).reshape(-1, 6),
        (rows[1], rows[2], rows[4], rows[8]),
        tuple(columns),
        tuple(s for s in slots if s.type.kind in (Kind.OCTETS, Kind.TIME)),
    )


def _row(bit: int, kind: FieldType, size: int, row: int) -> tuple[int, ...]:
    return bit, kind.bits, int(kind.little), int(kind.kind is Kind.SIGNED), size, row


Outputs = tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]


def _outputs(plan: PartPlan, n: int) -> Outputs:
    one, two, four, eight = plan.rows
    return (
        np.empty((one, n), np.uint8),
        np.empty((two, n), np.uint16),
        np.empty((four, n), np.uint32),
        np.empty((eight, n), np.uint64),
    )


def gather_part(
    octets: U8, base: I64, lead: int, plan: PartPlan, raw: dict[str, Column]
) -> Outputs:
    """Columns of a part whose beginnings are `base`, put into `raw`; the rows they are views of.

    lead: octets of the packet before the part, at least.
    """
    outputs = _outputs(plan, len(base))
    octets, base = frozen(octets), frozen(base)
    if len(plan.table):
        kernels.gather(
            octets, base, len(base), lead, -1, *NO_TESTS, NO_WHICH, NO_ROWS, plan.table, *outputs
        )
    _name_columns(octets, base, plan, outputs, raw)
    return outputs


def _name_columns(
    octets: U8, base: I64, plan: PartPlan, outputs: Outputs, raw: dict[str, Column]
) -> None:
    """Views of the gathered rows by name, and the columns that are octets."""
    n = len(base)
    octets, base = frozen(octets), frozen(base)
    views: dict[np.dtype[Any], npt.NDArray[Any]] = {}
    for name, output, dtype, row, count in plan.named:
        values = views.get(dtype)
        if values is None:
            values = views[dtype] = outputs[output].view(dtype)
        raw[name] = values[row] if count is None else values[row : row + count].T
    for slot in plan.octets:
        count, step = slot.repeat or (1, 0)
        size = slot.type.bits // 8
        block = np.empty((count, n, size), np.uint8)
        for i in range(count):
            kernels.gather_octets(octets, base, slot.bit + i * step, block[i])
        found: npt.NDArray[Any] = block
        if slot.type.time is not None:
            found = slot.type.time.decode(block.reshape(-1, size)).reshape(count, n)
        raw[slot.name] = found[0] if slot.repeat is None else np.moveaxis(found, 0, 1)


@dataclass(frozen=True, eq=False)
class JudgePlan:
    """What `kernels.judge_all` is told of a definition's parameters with limits.

    names: of the rows of table; the other members are its arguments.
    """

    names: tuple[str, ...]
    table: I64
    coefficients: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]
    states_of: U8


@dataclass(frozen=True, eq=False)
class DefinitionPlan:
    definition: PacketDefinition
    parts: tuple[tuple[StaticPart | VariablePart, PartPlan], ...]

    @cached_property
    def judging(self) -> JudgePlan | None:
        """None: nothing here can be judged in one call."""
        return None if self.definition.layout.variable else plan_judging(self)


def plan_judging(plan: DefinitionPlan) -> JudgePlan | None:
    """Numbers with range limits are compared; where calibration or limits are anything else,
    columns of 8 and 16 bits get a table of the state of each raw value that can be."""
    names: list[str] = []
    table: list[tuple[int, ...]] = []
    coefficients: list[float] = []
    bounds: list[tuple[float, ...]] = []
    states_of: list[U8] = []
    for slot, size, row in plan.parts[0][1].columns:
        parameter = plan.definition.parameters.get(slot.name)
        if parameter is None or parameter.limits is None:
            continue
        limits, calibration = parameter.limits, parameter.calibration
        dtype = np.dtype(slot.type.dtype)
        kind, used, edges = -1, (), (0.0,) * 4
        if isinstance(limits, Limits) and isinstance(calibration, Polynomial | None):
            if dtype.str[1:] not in kernels.JUDGED:
                continue
            kind = kernels.JUDGED.index(dtype.str[1:])
            used = () if calibration is None else calibration.coefficients
            edges = limits.bounds
        elif size > 2 or dtype.kind not in "iu":
            continue
        rows = 1 if slot.repeat is None else slot.repeat[0]
        if not rows:
            continue
        place = sum(map(len, states_of))
        table.append((size, row, rows, kind, len(coefficients), len(used), place))
        names.append(slot.name)
        coefficients += used
        bounds.append(edges)
        if kind < 0:
            every = np.arange(1 << 8 * size, dtype=f"u{size}").view(dtype)
            states_of.append(states_of_raw(parameter, every))
    if not names:
        return None
    return JudgePlan(
        tuple(names),
        frozen(np.array(table, np.int64)),
        frozen(np.array(coefficients, np.float64)),
        frozen(np.array(bounds, np.float64)),
        frozen(np.concatenate([np.empty(0, np.uint8), *states_of])),
    )


Array = npt.NDArray[Any]
Tests = tuple[Array, Array, Array, Array, Array, Array, Array, Array]


NO_ROWS = np.empty(0, np.int64)
NO_WHICH = np.empty(0, np.int32)
NO_TESTS: Tests = (
    *(NO_ROWS, NO_ROWS, NO_ROWS),
    np.empty((0, 6), np.int64),
    *(NO_ROWS, NO_ROWS, np.empty(0, np.bool_), np.empty((0, 2), np.uint64)),
)


@dataclass(frozen=True, eq=False)
class DictionaryPlan:
    """Tables for `kernels.classify`, and each definition's parts."""

    candidate_start: I64
    candidates: I64
    condition_start: I64
    conditions: I64
    condition_octets: I64
    shortest: I64
    exact: npt.NDArray[np.bool_]
    header_tests: npt.NDArray[np.uint64]
    definitions: tuple[DefinitionPlan, ...]

    @property
    def tests(self) -> Tests:
        """The arguments that `kernels.classify` and `kernels.gather` share."""
        return (
            self.candidate_start,
            self.candidates,
            self.condition_start,
            self.conditions,
            self.condition_octets,
            self.shortest,
            self.exact,
            self.header_tests,
        )


def plan_definition(definition: PacketDefinition) -> DefinitionPlan:
    return DefinitionPlan(
        definition, tuple((part, plan_part(part.slots)) for part in definition.layout.parts)
    )


def plan_dictionary(dictionary: Dictionary) -> DictionaryPlan:
    by_apid: list[list[int]] = [[] for _ in range(2048)]
    conditions: list[tuple[int, ...]] = []
    condition_start, condition_octets = [0], list[int]()
    header_tests: list[tuple[int, int]] = []
    for index, definition in enumerate(dictionary.definitions):
        for apid in range(2047) if definition.apid is None else (definition.apid,):
            by_apid[apid].append(index)
        reach = mask = wanted = 0
        for condition in definition.conditions:
            bit, kind = definition.layout.fixed_slots[condition.parameter]
            left = 8 * PRIMARY_HEADER_OCTETS - bit - kind.bits
            if (
                (condition.operator, kind.kind, kind.little) == ("==", Kind.UNSIGNED, False)
                and left >= 0
                and 0 <= condition.value < 1 << kind.bits
            ):
                mine = ((1 << kind.bits) - 1) << left
                if (wanted ^ condition.value << left) & mask & mine == 0:
                    mask, wanted = mask | mine, wanted | condition.value << left
                    continue
            code = list(COMPARISONS).index(condition.operator)
            value = np.uint64(condition.value & 0xFFFF_FFFF_FFFF_FFFF).astype(np.int64)
            conditions.append((*_row(bit, kind, 0, 0)[:4], code, int(value)))
            reach = max(reach, (bit + kind.bits + 7) // 8)
        condition_start.append(len(conditions))
        condition_octets.append(reach)
        header_tests.append((mask, wanted))
    layouts = [definition.layout for definition in dictionary.definitions]
    return DictionaryPlan(
        np.cumsum([0] + [len(found) for found in by_apid]).astype(np.int64),
        np.array([d for found in by_apid for d in found], np.int64),
        np.array(condition_start, np.int64),
        np.array(conditions, np.int64).reshape(-1, 6),
        np.array(condition_octets, np.int64),
        np.array([layout.fixed_octets for layout in layouts], np.int64),
        np.array([not layout.variable for layout in layouts], np.bool_),
        np.array(header_tests, np.uint64),
        tuple(plan_definition(definition) for definition in dictionary.definitions),
    )


def decode(
    dictionary: Dictionary, batch: PacketBatch, sampler: Sampler | None = None
) -> DecodedPackets:
    """See `Dictionary.decode`."""
    plan = dictionary.plan
    n = len(batch)
    none = np.empty(0, np.int64)
    if n == 0:
        return DecodedPackets([], none, {})
    which = np.empty(n, np.int32)
    counts = np.zeros(len(plan.definitions), np.int64)
    octets, offsets = frozen(batch.octets), frozen(batch.offsets)
    kernels.classify(octets, offsets, 0, 1, *plan.tests, which, counts)
    first = plan.definitions[max(int(which[0]), 0)]
    if sampler is None and counts.sum() == 1 and not first.definition.layout.variable:
        table = _sweep(plan, first, batch, which)
        if table is not None:
            return DecodedPackets([table], none, {})
    counts[:] = 0
    kernels.classify(octets, offsets, 0, n, *plan.tests, which, counts)
    tables: list[ParameterTable] = []
    wrong: dict[int, I64] = {}
    order = np.empty(n, np.int64)
    ends = np.cumsum(counts)
    fitting = int(ends[-1])
    kernels.group(which, ends - counts, order)
    present = np.flatnonzero(counts).tolist()
    for index, end in zip(present, ends[present].tolist(), strict=True):
        chosen = plan.definitions[index]
        rows = order[end - int(counts[index]) : end]
        if sampler is not None:
            rows = sampler.choose(chosen.definition.name, batch, rows)
        rows, bad, found = _decode_rows(chosen, batch, rows)
        if len(rows):
            tables.append(_table(chosen, rows, found, batch))
        if len(bad):
            wrong[index] = bad
    if fitting == n:
        unmatched = none
    else:
        unmatched = np.flatnonzero(which == -1)
        misfits = np.flatnonzero(which < -1)
        for index in np.unique(-2 - which[misfits]).tolist():
            mine = misfits[which[misfits] == -2 - index]
            wrong[index] = np.union1d(wrong.get(index, none), mine)
    named = {plan.definitions[index].definition.name: wrong[index] for index in sorted(wrong)}
    return DecodedPackets(tables, unmatched, named)


def _table(plan: DefinitionPlan, rows: I64, found: Found, batch: PacketBatch) -> ParameterTable:
    raw, outputs = found
    ordered = {name: raw[name] for name in plan.definition.parameters}
    judge = None
    if outputs is not None:
        judge = partial(judge_gathered, plan, outputs)
    return ParameterTable(plan.definition, rows, ordered, batch, judge)


def judge_gathered(plan: DefinitionPlan, outputs: Outputs) -> Judged | None:
    """States of all parameters that `DefinitionPlan.judging` covers, in one call."""
    judging = plan.judging
    if judging is None:
        return None
    n = outputs[0].shape[1]
    states = np.empty((len(judging.names), n), np.uint8)
    extremes = np.empty((len(judging.names), 2), np.uint8)
    kernels.judge_all(
        *outputs,
        judging.table,
        judging.coefficients,
        judging.bounds,
        judging.states_of,
        np.empty(max(n, kernels.BLOCK), np.float64),
        states,
        extremes,
    )
    return Judged(judging.names, states, extremes)


def _sweep(
    plan: DictionaryPlan, chosen: DefinitionPlan, batch: PacketBatch, which: npt.NDArray[np.int32]
) -> ParameterTable | None:
    """A batch of one fixed-length definition, the usual case; None if it is not."""
    part = chosen.parts[0][1]
    outputs = _outputs(part, len(batch))
    counts = np.zeros(len(plan.definitions), np.int64)
    wanted = int(which[0])
    arguments = (*plan.tests, which, counts, part.table, *outputs)
    octets, offsets = frozen(batch.octets), frozen(batch.offsets)
    if not kernels.gather(octets, offsets, len(batch), 0, wanted, *arguments):
        return None
    raw: dict[str, Column] = {}
    _name_columns(batch.octets, batch.offsets[:-1], part, outputs, raw)
    return _table(chosen, np.arange(len(batch)), (raw, outputs), batch)


#: Columns by name, and the rows that they are views of (None: they come from several).
Found = tuple[dict[str, Column], Outputs | None]


def _decode_rows(plan: DefinitionPlan, batch: PacketBatch, rows: I64) -> tuple[I64, I64, Found]:
    """Rows that fit, rows that do not, and the columns of those that fit."""
    base = batch.offsets[:-1] if len(rows) == len(batch) else batch.offsets[rows]
    layout = plan.definition.layout
    raw: dict[str, Column] = {}
    if not layout.variable:
        outputs = gather_part(batch.octets, base, 0, plan.parts[0][1], raw)
        return rows, rows[:0], (raw, outputs)
    end = batch.offsets[1:] if len(rows) == len(batch) else batch.offsets[rows + 1]
    fits = np.ones(len(rows), np.bool_)
    cursor = base
    left, lead = layout.fixed_octets, 0
    for part, part_plan in plan.parts:
        if isinstance(part, StaticPart):
            gather_part(batch.octets, cursor, lead, part_plan, raw)
            lead = PRIMARY_HEADER_OCTETS
            cursor = cursor + part.octets
            left -= part.octets
            continue
        room = end - cursor - left
        if part.count is None:
            count = room // part.element_octets
        else:
            column = raw[part.count.parameter]
            assert isinstance(column, np.ndarray)
            wide = column.astype(np.uint64)
            said = np.minimum(wide, np.uint64(MOST_OCTETS)).astype(np.int64)
            count = said * part.count.scale + part.count.offset
            fine = (wide <= MOST_OCTETS) & (count >= 0) & (count * part.element_octets <= room)
            fits &= fine
            count = np.where(fine, count, 0)
        raw.update(_gather_variable(batch.octets, cursor, count, part, part_plan))
        cursor = cursor + count * part.element_octets
    fits &= cursor == end
    if not fits.all():
        # Rare, so not fast: decode again what fits, rather than carry gaps in every column.
        kept = rows[fits]
        good, _, found = _decode_rows(plan, batch, kept) if len(kept) else (kept, kept, (raw, None))
        return good, rows[~fits], found
    return rows, rows[:0], (raw, None)


def _gather_variable(
    octets: U8, start: I64, count: I64, part: VariablePart, plan: PartPlan
) -> dict[str, Column]:
    offsets = np.zeros(len(count) + 1, np.int64)
    np.cumsum(count, out=offsets[1:])
    total = int(offsets[-1])
    if part.opaque:
        octets_found = np.empty(total, np.uint8)
        kernels.copy_runs(frozen(octets), frozen(start), frozen(count), octets_found)
        return {part.slots[0].name: Ragged(octets_found, offsets)}
    base = np.empty(total, np.int64)
    kernels.spread(frozen(start), frozen(count), part.element_octets, base)
    flat: dict[str, Column] = {}
    gather_part(octets, base, PRIMARY_HEADER_OCTETS, plan, flat)
    columns: dict[str, Column] = {}
    for name, values in flat.items():
        assert isinstance(values, np.ndarray)
        columns[name] = Ragged(values, offsets)
    return columns


def header_column(table: ParameterTable, name: str) -> npt.NDArray[Any]:
    """See `ParameterTable.header`."""
    slots = [slot for slot in table.definition.layout.header if slot.name == name]
    raw: dict[str, Column] = {}
    gather_part(table.batch.octets, table.batch.offsets[table.rows], 0, plan_part(slots), raw)
    column = raw[name]
    assert isinstance(column, np.ndarray)
    return column


def calibrate_and_judge(
    parameter: Parameter,
    raw: npt.NDArray[Any],
    engineering: npt.NDArray[Any],
    state: U8,
) -> npt.NDArray[Any]:
    """Engineering values and limit states of a number with range limits, in one pass.

    Equal to `parameter.engineering` and `limits.state` after it, without their temporaries.
    state: uint8 [n], written; engineering: float64 [n], written and returned if there is a
    polynomial, else `raw` is returned.
    """
    limits, calibration = parameter.limits, parameter.calibration
    assert isinstance(limits, Limits)
    calibrated = isinstance(calibration, Polynomial)
    coefficients = np.array(calibration.coefficients if calibrated else (), np.float64)
    # NumPy has half-precision floats, Numba has none.
    column = raw.astype(np.float32) if raw.dtype.itemsize == 2 and raw.dtype.kind == "f" else raw
    kernels.judge(
        frozen(np.ascontiguousarray(column).view(np.uint8)),
        kernels.JUDGED.index(column.dtype.str[1:]),
        coefficients,
        np.array(limits.bounds),
        engineering if calibrated else np.empty(kernels.BLOCK, np.float64),
        state,
    )
    return engineering if calibrated else raw
