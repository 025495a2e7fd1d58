"""Mistakes in a declaration are told when it is made: value, what is allowed, and where."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from construct import (
    BitsInteger,
    Bytes,
    BytesInteger,
    CString,
    Enum,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32un,
    this,
)

from protocols.errors import LocalError, RemoteError
from protocols.packets.space_packet import SPACE_PACKET_HEADER
from protocols.telemetry.calibration import Enumeration, Polynomial, Text
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Count
from protocols.timecodes.cuc import CucFormat

A, B = Parameter("A", Int8ub), Parameter("B", Int16ub)
FLOATED = Parameter("N", Int8ub)


def packet(
    *fields: object, name: str = "P", apid: int | None = 1, **more: object
) -> PacketDefinition:
    return PacketDefinition(name, apid, fields, **more)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Parameter("A.B", Int8ub), r"parameter name 'A.B'"),
        (lambda: Parameter("A", Enum(Int8ub, ON=1)), "parameter A: .* no columnar form"),
        (lambda: Parameter("A", CString("ascii")), "no columnar form"),
        (lambda: Parameter("A", Int32un), "native byte order"),
        (lambda: Parameter("A", BitsInteger(65)), "65 bits; 1..64 allowed"),
        (lambda: Parameter("A", BytesInteger(this.N)), "variable width"),
        (lambda: Parameter("A", BitsInteger(12, swapped=True)), "12 bits little-endian"),
        (lambda: Parameter("A", Bytes(0)), "0 octets"),
        (lambda: Parameter("A", Bytes(this.N * this.M)), "exactly one field allowed"),
        (lambda: Parameter("A", Bytes(this.N * this.N)), "not field × positive integer"),
        (lambda: Parameter("A", Bytes(4), calibration=Polynomial((0, 1))), "Polynomial on octets"),
        (lambda: Parameter("A", Int8ub, calibration=Text()), "text on unsigned"),
        (
            lambda: Parameter("A", BitsInteger(2), calibration=Enumeration({4: "X"})),
            r"label 'X' of value 4; 0..3 fit",
        ),
        (lambda: Spare(0), "spare of 0 bits"),
        (lambda: Repeat((Spare(8),), 2), "without a parameter"),
        (lambda: Repeat(A, 0), "repeat of A: count 0"),
        (lambda: Repeat(Parameter("R", GreedyBytes), 2), "R has a variable length"),
        (lambda: Repeat(Parameter("R", BitsInteger(12)), "N"), "must fill whole octets"),
        (lambda: Condition("A", 1, "~"), "operator '~'"),
        (lambda: packet(A, apid=2047), "packet P: APID 2047; 0..2046"),
        (lambda: packet(), "no field"),
        (lambda: packet(A, A), r"\['A'\] declared twice"),
        (lambda: packet(Parameter("PKT_APID", Int8ub)), "PKT_APID"),
        (lambda: packet(Parameter("X", BitsInteger(3))), r"3 bits over after X.*add Spare\(5\)"),
        (lambda: packet(Repeat(A, "N")), "count N is no earlier unsigned integer"),
        (lambda: packet(Repeat(A, "N"), FLOATED), "count N is no earlier"),
        (
            lambda: packet(Parameter("G", GreedyBytes), FLOATED, Repeat(A, "N")),
            "after a part that runs to the packet's end only fixed",
        ),
        (lambda: packet(A, conditions=(Condition("Z", 1),)), "condition on Z, which it lacks"),
        (lambda: packet(A, conditions=(Condition("A", 256),)), "condition A == 256; 0..255 fit"),
        (
            lambda: packet(FLOATED, Repeat(A, "N"), B, conditions=(Condition("B", 1),)),
            "no integer at a fixed place",
        ),
        (lambda: packet(A, time="T"), "time 'T' is none of its parameters"),
        (lambda: packet(A, time="A"), "time 'A' is not a time code"),
        (lambda: packet(*[Parameter(f"W{i}", Bytes(60000)) for i in range(2)]), "7..65542"),
        (lambda: Dictionary("D", ()), "no packet definition"),
        (lambda: Dictionary("D", (packet(A), packet(B))), "packet P declared twice"),
        (
            lambda: Dictionary("D", (packet(A), packet(B, name="Q"))),
            r"packets P and Q could both match one packet \(APID 1\)",
        ),
        (
            lambda: Dictionary("D", (packet(A), packet(Parameter("A", Int16ub), name="Q", apid=2))),
            "parameter A is declared differently in P and Q",
        ),
    ],
)
def test_mistakes_are_told_at_once(make: object, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        make()  # pyright: ignore[reportCallIssue]


@pytest.mark.parametrize(
    ("first", "second", "apart"),
    [
        ([("A", 1, "==")], [("A", 2, "==")], True),
        ([("A", 1, "==")], [("A", 1, "!=")], True),
        ([("A", 5, "<")], [("A", 5, ">=")], True),
        ([("A", 5, "<=")], [("A", 5, ">=")], False),
        ([("A", 4, ">"), ("A", 6, "<")], [("A", 5, "!=")], True),
        ([("A", 1, "!=")], [("A", 2, "!=")], False),
        ([("A", 1, "==")], [("SEQ_FLGS", 3, "==")], False),
        ([("TYPE", 0, "=="), ("A", 1, "==")], [("TYPE", 1, "==")], True),
    ],
)
def test_definitions_of_one_apid_must_exclude_each_other(
    first: list[tuple[str, int, str]], second: list[tuple[str, int, str]], apart: bool
) -> None:
    one = packet(A, conditions=tuple(Condition(*c) for c in first))
    two = packet(A, B, name="Q", conditions=tuple(Condition(*c) for c in second))
    if apart:
        Dictionary("D", (one, two))
    else:
        with pytest.raises(LocalError, match="could both match"):
            Dictionary("D", (one, two))


def test_counts_are_read_from_expressions() -> None:
    assert Repeat(A, this.N * 3 + 1).count == Count("N", 3, 1)
    assert Repeat(A, this.N - 1).count == Count("N", 1, -1)
    assert Repeat(A, "N").count == Count("N")
    assert Parameter("X", Bytes(2 * this.N)).type.length == Count("N", 2)


def test_values_are_checked_by_name() -> None:
    definition = packet(
        A, FLOATED, Repeat((B, Parameter("C", Int8ub)), "N"), conditions=(Condition("A", 9),)
    )
    dictionary = Dictionary("D", (definition,))
    octets = dictionary.encode("P", {"B": [1, 2], "C": [3, 4]}, sequence_count=16384 + 5)
    assert octets.hex() == "0001c005000709020001030002" + "04"
    for values, says in (
        ({"B": [1]}, r"no value for \['C'\]"),
        ({"B": [1], "C": [1], "D": 1}, r"no parameter \['D'\]"),
        ({"B": [1], "C": [1, 2]}, "have .* values; equal wanted"),
        ({"B": [1], "C": [1], "N": 2}, "1 elements, but N is 2"),
        ({"B": [65536], "C": [1]}, "raw value 65536; 0..65535 fit"),
        ({"B": ["x"], "C": [1]}, "number wanted"),
    ):
        with pytest.raises(LocalError, match=says):
            dictionary.encode("P", values)
    columns = {"B": [[1], [2, 3]], "C": [[1], [2]]}
    with pytest.raises(LocalError, match="different counts in one repeat"):
        dictionary.encode_batch("P", columns)
    with pytest.raises(LocalError, match="no packet 'Q'"):
        dictionary.encode("Q", {})


def test_packet_longer_than_a_space_packet_is_refused() -> None:
    dictionary = Dictionary("D", (packet(Parameter("G", GreedyBytes)),))
    assert len(dictionary.encode("P", {"G": bytes(65536)})) == 65542
    with pytest.raises(LocalError, match="65543 octets"):
        dictionary.encode("P", {"G": bytes(65537)})
    with pytest.raises(LocalError, match="empty data field"):
        dictionary.encode("P", {"G": b""})


def test_parse_names_what_does_not_fit() -> None:
    definition = packet(A, B)
    good = Dictionary("D", (definition,)).encode("P", {"A": 1, "B": 2})
    with pytest.raises(RemoteError, match="packet P") as error:
        definition.parse(good[:-1])
    assert error.value.data == good[:-1]
    with pytest.raises(RemoteError, match="10 octets, the header says 9"):
        definition.parse(good + b"\0")


def test_declaring_and_building_load_no_numba() -> None:
    """`l4 --help` and the simulator's start must not wait for a compiler."""
    code = (
        "import sys; from construct import Int8ub;"
        "from protocols.telemetry.declaration import *;"
        "d = Dictionary('D', (PacketDefinition('P', 1, (Parameter('A', Int8ub),)),));"
        "assert d.encode('P', {'A': 1})[6:] == bytes([1]);"
        "import protocols.telemetry.xtce;"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_time_codes_are_values_in_nanoseconds() -> None:
    definition = packet(Parameter("T", CucFormat(4, 2)), A, time="T")
    dictionary = Dictionary("D", (definition,))
    times = np.array([0, 10**18, 10**18 + 500_000_000])
    batch = dictionary.encode_batch("P", {"T": times, "A": [1, 2, 3]})
    (table,) = dictionary.decode(batch)
    assert np.array_equal(table.scet_ns, times)
    assert table.header("SEC_HDR_FLG").tolist() == [1, 1, 1]
    assert table.header("SRC_SEQ_CTR").tolist() == [0, 1, 2]


def test_the_primary_header_is_that_of_the_space_packet() -> None:
    definition = packet(A, apid=0x2A5)
    octets = Dictionary("D", (definition,)).encode("P", {"A": 7}, sequence_count=0x1234)
    header = SPACE_PACKET_HEADER.parse(octets)
    said = [definition.parse(octets)[p.name] for p in definition.header]
    assert [value for name, value in header.items() if not name.startswith("_")] == said
