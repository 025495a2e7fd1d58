"""Columns against construct: over random declarations both give the same values, both ways."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from construct import (
    BitsInteger,
    Bytes,
    BytesInteger,
    Float16b,
    Float32b,
    Float32l,
    Float64b,
    Float64l,
    GreedyBytes,
    Int8sb,
    Int8ub,
    Int16sl,
    Int16ub,
    Int24ul,
    Int32ub,
    Int32ul,
    Int64sb,
    Int64ul,
    this,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher

from protocols.errors import LocalError, RemoteError
from protocols.packets.batch import PacketBatch
from protocols.telemetry import kernels
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Kind
from protocols.telemetry.layout import VariablePart
from protocols.telemetry.limits import Limits
from protocols.telemetry.tables import ParameterTable, Ragged
from protocols.telemetry.xtce import export_xtce, import_xtce
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat
from protocols.timecodes.tai import TIME_INVALID_NS

ROOT = Path(__file__).parents[3]
RELAXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

OCTET_FIELDS = (
    Int8ub, Int8sb, Int16ub, Int16sl, Int24ul, Int32ub, Int32ul, Int64sb, Int64ul,
    Float16b, Float32b, Float32l, Float64b, Float64l,
    BytesInteger(5, signed=True), BytesInteger(7, swapped=True), Bytes(3),
    CucFormat(4, 3), CucFormat(4, 2, p_field=True), CdsFormat(2, 2),
)  # fmt: skip


@st.composite
def bit_fields(draw: st.DrawFn) -> Any:
    if draw(st.integers(0, 3)):
        return BitsInteger(draw(st.integers(1, 64)), signed=draw(st.booleans()))
    return BitsInteger(8 * draw(st.integers(2, 8)), signed=draw(st.booleans()), swapped=True)


fields = st.one_of(st.sampled_from(OCTET_FIELDS), bit_fields())


@st.composite
def definitions(draw: st.DrawFn) -> PacketDefinition:
    """Any packet: static runs at any bit, fixed and variable repeats, octets, an open end."""
    number = iter(range(1000))
    members: list[Any] = []
    bits = 0

    def parameter(field: Any) -> Parameter:
        return Parameter(f"P{next(number)}", field)

    def fill() -> None:
        nonlocal bits
        if bits % 8:
            members.append(Spare(8 - bits % 8))
        bits = 0

    def elements() -> tuple[list[Any], int]:
        inner: list[Any] = [parameter(f) for f in draw(st.lists(fields, min_size=1, max_size=3))]
        return inner, sum(p.type.bits for p in inner)

    for _ in range(draw(st.integers(1, 6))):
        kind = draw(
            st.sampled_from(["field", "field", "field", "spare", "fixed", "counted", "octets"])
        )
        if kind == "field":
            member = parameter(draw(fields))
            members.append(member)
            bits += member.type.bits
        elif kind == "spare":
            members.append(Spare(draw(st.integers(1, 20))))
            bits += members[-1].bits
        elif kind == "fixed":
            inner, size = elements()
            count = draw(st.integers(1, 4))
            members.append(Repeat(inner, count))
            bits += size * count
        else:
            count = parameter(draw(st.sampled_from([Int8ub, Int16ub, BitsInteger(3), Int32ul])))
            members.append(count)
            bits += count.type.bits
            fill()
            if kind == "octets":
                members.append(parameter(Bytes(this[count.name])))
            else:
                inner, size = elements()
                if size % 8:
                    inner.append(Spare(8 - size % 8))
                members.append(
                    Repeat(inner, draw(st.sampled_from([count.name, this[count.name] * 2])))
                )
    fill()
    open_end = draw(st.sampled_from(["none", "octets", "elements", "tail"]))
    if open_end == "elements":
        inner, size = elements()
        members.append(Repeat([*inner, Spare(8 - size % 8)] if size % 8 else inner))
    elif open_end != "none":
        members.append(parameter(GreedyBytes))
        if open_end == "tail":
            members.append(parameter(Int16ub))
    if all(isinstance(m, Spare) for m in members):
        members.append(parameter(Int8ub))
    return PacketDefinition("RANDOM", draw(st.integers(0, 2046)), tuple(members))


def raw_values(draw: st.DrawFn, parameter: Parameter, count: int | None) -> Any:
    """One raw value, or a list of `count`."""
    described = parameter.type
    if described.is_integer:
        one: st.SearchStrategy[Any] = st.integers(described.minimum, described.maximum)
    elif described.kind is Kind.FLOAT:
        one = st.floats(width=described.bits)
    elif described.kind is Kind.TIME:
        one = st.integers(10**6, 4 * 10**9).map(lambda s: s * 1_000_000_000)
    else:
        one = st.binary(min_size=described.bits // 8, max_size=described.bits // 8)
    return draw(one) if count is None else [draw(one) for _ in range(count)]


@st.composite
def packets(draw: st.DrawFn, definition: PacketDefinition) -> dict[str, Any]:
    """Raw values of one packet, counts left out."""
    values: dict[str, Any] = {}
    counts = {
        part.count.parameter
        for part in definition.layout.parts
        if isinstance(part, VariablePart) and part.count
    }
    for part in definition.layout.parts:
        if isinstance(part, VariablePart):
            most = 3 if part.count is None else 3 * part.count.scale
            step = part.count.scale if part.count else 1
            count = draw(st.integers(0, most // step)) * step
            for slot in part.slots:
                values[slot.name] = (
                    draw(st.binary(min_size=count, max_size=count))
                    if part.opaque
                    else raw_values(draw, slot.parameter, count)
                )
        else:
            for slot in part.slots:
                if slot.name not in counts:
                    count = slot.repeat[0] if slot.repeat else None
                    values[slot.name] = raw_values(draw, slot.parameter, count)
    if definition.layout.fixed_octets == 6 and not any(
        len(v) for v in values.values() if isinstance(v, list | bytes)
    ):
        # The data field has at least one octet (133.0-B-2 §4.1.3.5.3).
        part = next(p for p in definition.layout.parts if isinstance(p, VariablePart))
        for slot in part.slots:
            values[slot.name] = b"\x00" if part.opaque else raw_values(draw, slot.parameter, 1)
    return values


def plain(table: ParameterTable, row: int, name: str) -> Any:
    """A column's row as construct would give it."""
    column = table.raw[name]
    octets = table.definition.parameters[name].type.kind is Kind.OCTETS
    value = column[row]
    if not octets:
        return value.tolist()
    part_opaque = isinstance(column, Ragged) and column.values.ndim == 1
    if part_opaque or value.ndim == 1:
        return value.tobytes()
    return [v.tobytes() for v in value]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, float) and math.isnan(a):
        return isinstance(b, float) and math.isnan(b)
    return bool(a == b)


@RELAXED
@given(st.data())
def test_columns_equal_construct_both_ways(data: st.DataObject) -> None:
    definition = data.draw(definitions())
    dictionary = Dictionary("D", (definition,))
    values = data.draw(st.lists(packets(definition), min_size=1, max_size=4))
    single = [
        dictionary.encode("RANDOM", v, raw=True, sequence_count=5 + i) for i, v in enumerate(values)
    ]
    columns: dict[str, Any] = {}
    for name in values[0]:
        rows = [v[name] for v in values]
        part = next(p for p in definition.layout.parts if name in {s.name for s in p.slots})
        described = definition.parameters[name].type
        if isinstance(part, VariablePart):
            columns[name] = rows
        elif described.kind is Kind.OCTETS:
            columns[name] = np.array(
                [[list(o) for o in r] if isinstance(r, list) else list(r) for r in rows], np.uint8
            )
        else:
            columns[name] = np.array(rows, described.dtype)
    batch = dictionary.encode_batch("RANDOM", columns, raw=True, sequence_count=5)
    assert list(batch) == single

    found = dictionary.decode(batch)
    assert not len(found.unmatched)
    assert not len(found.wrong_length)
    (table,) = found
    assert table.rows.tolist() == list(range(len(values)))
    for row, packet in enumerate(single):
        parsed = definition.parse(packet)
        for name in definition.parameters:
            assert same(plain(table, row, name), parsed[name]), name
        for name, value in values[row].items():
            if definition.parameters[name].type.kind is not Kind.TIME:
                assert same(parsed[name], value), name
        for parameter in definition.header:
            assert table.header(parameter.name)[row] == parsed[parameter.name]


@RELAXED
@given(st.data())
def test_any_octets_give_the_same_values_or_the_same_refusal(data: st.DataObject) -> None:
    definition = data.draw(definitions())
    dictionary = Dictionary("D", (definition,))
    octets: list[bytes] = []
    for _ in range(data.draw(st.integers(1, 5))):
        body = data.draw(st.binary(min_size=1, max_size=80))
        if data.draw(st.booleans()) and not definition.layout.variable:
            body = body.ljust(definition.layout.fixed_octets - 6, b"\x5a")
        if data.draw(st.booleans()):
            good = dictionary.encode("RANDOM", data.draw(packets(definition)), raw=True)
            body = (good[6:] + body)[: data.draw(st.integers(1, len(good) + 3))]
        header = (definition.apid or 0).to_bytes(2, "big") + b"\xc0\x00"
        said = len(body) - 1 + (data.draw(st.integers(0, 9)) == 0)
        octets.append(header + said.to_bytes(2, "big") + body)
    batch = PacketBatch.from_packets(octets)
    found = dictionary.decode(batch)
    assert not len(found.unmatched)
    good_rows = [] if not found else found[0].rows.tolist()
    assert sorted(good_rows + found.wrong_length.tolist()) == list(range(len(octets)))
    for row in found.wrong_length:
        with pytest.raises(RemoteError):
            definition.parse(octets[row])
    for at, row in enumerate(good_rows):
        parsed = definition.parse(octets[row])
        for name in definition.parameters:
            assert same(plain(found[0], at, name), parsed[name]), name


@given(st.lists(st.binary(max_size=40), max_size=20))
@settings(max_examples=100, deadline=None)
def test_garbage_is_reported_never_raised(octets: list[bytes]) -> None:
    one = PacketDefinition("ONE", 1, (Parameter("A", Int8ub),))
    two = PacketDefinition("TWO", 2, (Parameter("N", Int8ub), Repeat(Parameter("B", Int16ub), "N")))
    found = Dictionary("D", (one, two)).decode(PacketBatch.from_packets(octets))
    rows = [*found.unmatched, *found.wrong_length, *(r for t in found for r in t.rows)]
    assert sorted(rows) == list(range(len(octets)))


def test_mixed_packets_are_grouped_by_apid_and_by_values() -> None:
    common = (Parameter("SID", BitsInteger(4, signed=True)), Parameter("SUB", BitsInteger(12)))
    dictionary = Dictionary(
        "D",
        (
            PacketDefinition(
                "NEGATIVE", 5, (*common, Parameter("A", Int8ub)), (Condition("SID", 0, "<"),)
            ),
            PacketDefinition("ZERO", 5, (*common, Parameter("B", Int16ub)), (Condition("SID", 0),)),
            PacketDefinition(
                "SEGMENTED",
                5,
                (*common, Parameter("C", Int32ub)),
                (
                    Condition("SID", 0, ">"),
                    Condition("SEQ_FLGS", 3, "!="),
                    Condition("SUB", 5, ">="),
                ),
            ),
            PacketDefinition("OTHER", 6, (Parameter("D", Int8ub),)),
        ),
    )
    octets = [
        dictionary.encode("NEGATIVE", {"SID": -8, "SUB": 1, "A": 7}),
        dictionary.encode("ZERO", {"SUB": 4095, "B": 9}),
        dictionary.encode("SEGMENTED", {"SID": 1, "SUB": 5, "C": 1, "SEQ_FLGS": 1}),
        dictionary.encode("SEGMENTED", {"SID": 1, "SUB": 4, "C": 1, "SEQ_FLGS": 1}),
        dictionary.encode("OTHER", {"D": 1}),
        dictionary.encode("NEGATIVE", {"SID": -1, "SUB": 2, "A": 8}),
        dictionary.encode("ZERO", {"SUB": 0, "B": 10})[:-1],
    ]
    found = dictionary.decode(PacketBatch.from_packets(octets))
    assert {t.definition.name: t.rows.tolist() for t in found} == {
        "NEGATIVE": [0, 5],
        "ZERO": [1],
        "SEGMENTED": [2],
        "OTHER": [4],
    }
    assert found.unmatched.tolist() == [3]
    assert {n: r.tolist() for n, r in found.wrong_length_of.items()} == {"ZERO": [6]}
    negative = found.table("NEGATIVE")
    assert negative is not None
    assert negative.raw["SID"].tolist() == [-8, -1]


#: Fields of the primary header: first bit, bits (133.0-B-2 §4.1.3).
HEADER = {"VERSION": (0, 3), "TYPE": (3, 1), "SEC_HDR_FLG": (4, 1), "SEQ_FLGS": (16, 2)}


@given(
    st.lists(
        st.sampled_from(sorted(HEADER)).flatmap(
            lambda name: st.tuples(
                st.just(name),
                st.integers(0, (1 << HEADER[name][1]) - 1),
                st.sampled_from(["==", "==", "!=", "<=", ">"]),
            )
        ),
        max_size=4,
    ),
    st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=20),
)
@settings(max_examples=100, deadline=None)
def test_header_conditions_of_any_kind(
    conditions: list[tuple[str, int, str]], headers: list[int]
) -> None:
    definition = PacketDefinition(
        "A", None, (Parameter("X", Int8ub),), tuple(Condition(*one) for one in conditions)
    )
    compared = {
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
    }

    def fits(header: int) -> bool:
        if header >> 16 & 0x7FF == 0x7FF:
            return False
        found = {name: header >> 32 - bit - n & (1 << n) - 1 for name, (bit, n) in HEADER.items()}
        return all(compared[operator](found[name], value) for name, value, operator in conditions)

    octets = [header.to_bytes(4, "big") + b"\0\0\1" for header in headers]
    found = Dictionary("D", (definition,)).decode(PacketBatch.from_packets(octets))
    wanted = [i for i, header in enumerate(headers) if fits(header)]
    assert [int(row) for table in found for row in table.rows] == wanted


def test_an_invalid_time_code_is_kept_as_invalid() -> None:
    definition = PacketDefinition(
        "T", 1, (Parameter("TIME", CdsFormat(2, 2)), Parameter("A", Int8ub)), time="TIME"
    )
    dictionary = Dictionary("D", (definition,))
    good = dictionary.encode("T", {"TIME": 10**18, "A": 1})
    bad = good[:8] + b"\xff\xff\xff\xff" + good[12:]
    (table,) = dictionary.decode(PacketBatch.from_packets([good, bad]))
    assert table.scet_ns.tolist() == [10**18, TIME_INVALID_NS]
    assert definition.parse(bad)["TIME"] == TIME_INVALID_NS


def test_a_batch_larger_than_a_block_and_one_with_a_late_stranger() -> None:
    definition = PacketDefinition("A", 1, (Parameter("X", Int32ub), Parameter("Y", BitsInteger(8))))
    dictionary = Dictionary("D", (definition,))
    n = 5000
    batch = dictionary.encode_batch("A", {"X": np.arange(n), "Y": np.arange(n) % 256})
    (table,) = dictionary.decode(batch)
    assert np.array_equal(table.raw["X"], np.arange(n))
    stranger = PacketBatch.from_packets([b"\x00\x02" + batch.packet(0)[2:]])
    found = dictionary.decode(PacketBatch.concatenate([batch, stranger]))
    assert found.unmatched.tolist() == [n]
    assert np.array_equal(found[0].raw["Y"], np.arange(n) % 256)


def test_an_empty_row_does_not_round_its_neighbours() -> None:
    definition = PacketDefinition(
        "A", 1, (Parameter("N", Int8ub), Repeat(Parameter("X", Int64sb), "N"))
    )
    dictionary = Dictionary("D", (definition,))
    batch = dictionary.encode_batch("A", {"X": [[], [2**53 + 1]]})
    (table,) = dictionary.decode(batch)
    assert table.raw["X"][1].tolist() == [2**53 + 1]


def _signatures() -> dict[str, int]:
    """How many signatures each kernel has after decoding octets of every origin: those out of
    bytes are read-only, those of a batch builder are not."""
    definition = PacketDefinition(
        "A",
        1,
        (
            Parameter("T", CucFormat(4, 3)),
            Parameter("N", Int8ub),
            Repeat(Parameter("X", Int16ub), "N"),
            Parameter("KEY", Bytes(2)),
            Parameter("REST", GreedyBytes),
        ),
    )
    fixed = PacketDefinition(
        "B", 2, (Parameter("Y", Int16ub, limits=Limits((0, 9))), Parameter("Z", Float32b))
    )
    dictionary = Dictionary("D", (definition, fixed))
    built = PacketBatch.concatenate(
        [
            dictionary.encode_batch(
                "A", {"T": [10**18], "X": [[1, 2]], "KEY": [b"ab"], "REST": [b"cd"]}, raw=True
            ),
            dictionary.encode_batch("B", {"Y": [1, 2], "Z": [1.0, 2.0]}),
        ]
    )
    for batch in (
        built,
        PacketBatch.from_packets(list(built)),
        built.slice(1, 3),
        built.slice(0, 1),
    ):
        for table in dictionary.decode(batch):
            for name in table.raw:
                table.limit_state(name)
    return {
        name: len(kernel.signatures)
        for name, kernel in vars(kernels).items()
        if isinstance(kernel, Dispatcher) and kernel.signatures and not name.startswith("_")
    }


def test_each_kernel_compiles_for_one_signature() -> None:
    # In a process of its own: other tests call kernels as they like.
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found
    assert set(found.values()) == {1}, found


@RELAXED
@given(definitions(), st.sampled_from(["portable", "standard"]))
def test_xtce_gives_any_declaration_back(definition: PacketDefinition, arrays: Any) -> None:
    dictionary = Dictionary("D", (definition,))
    variable = [p for p in definition.layout.parts if isinstance(p, VariablePart)]
    if len({p.count is None for p in variable}) == 2:
        # The one thing XTCE cannot say: a size that depends on two parameters.
        with pytest.raises(LocalError, match="leaves of the packet"):
            export_xtce(dictionary, arrays=arrays)
        return
    document = export_xtce(dictionary, arrays=arrays)
    again = import_xtce(document)
    assert again == dictionary
    assert export_xtce(again, arrays=arrays) == document


if __name__ == "__main__":
    print(json.dumps(_signatures()))
