"""Commands: what is built is parsed, what is not allowed is refused on both sides."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pytest
from construct import Int8ub, Int16ub
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import EVERYTHING, housekeeping_definition
from protocols.errors import LocalError, RemoteError
from protocols.packets.pus import (
    Request,
    build_request,
    parse_report,
    parse_request,
    with_error_control,
)
from protocols.telecommand.declaration import (
    Argument,
    Command,
    CommandDictionary,
    CommandRefused,
    Constraint,
)
from protocols.telecommand.verification import FailureCode, Stage
from protocols.telemetry.calibration import Enumeration, Polynomial
from protocols.telemetry.fields import Kind


def value_of(argument: Argument) -> st.SearchStrategy[Any]:
    """Anything that the argument allows; numbers as its field resolves them."""
    if isinstance(argument.calibration, Enumeration):
        return st.sampled_from([label for _, label in argument.calibration.labels])
    kind = argument.type.kind
    if kind is Kind.OCTETS:
        return st.binary(max_size=40)
    if kind is Kind.TIME:
        # Whole milliseconds come back from 60 ns steps rounded: whole seconds are exact.
        return st.integers(0, 2**32 - 1).map(lambda s: s * 10**9)
    if kind is Kind.FLOAT:
        return st.floats(-1e12, 1e12)
    low = argument.type.minimum if argument.minimum is None else argument.minimum
    high = argument.type.maximum if argument.maximum is None else argument.maximum
    if isinstance(argument.calibration, Polynomial):
        step = argument.calibration.coefficients[1]
        return st.integers(round(low / step), round(high / step)).map(lambda n: n * step)
    return st.integers(int(low), int(high))


@st.composite
def arguments_of(draw: st.DrawFn, command: Command) -> dict[str, Any]:
    length = draw(st.integers(1, 5))
    return {
        a.name: [draw(value_of(a)) for _ in range(length)]
        if a.name in command.repeated
        else draw(value_of(a))
        for a in command.given
    }


@settings(max_examples=100, deadline=None)
@given(st.data(), st.sampled_from(COMMANDS.commands), st.integers(0, 0x3FFF))
def test_every_command_comes_back(data: st.DataObject, command: Command, count: int) -> None:
    arguments = data.draw(arguments_of(command))
    packet = COMMANDS.build(command.name, arguments, sequence_count=count, source_id=5)
    found = COMMANDS.parse(packet)
    assert found.command is command
    for name, value in arguments.items():
        # Numbers come back as their raw count times the step.
        number = isinstance(value, float)
        assert found.arguments[name] == (pytest.approx(value) if number else value)
    assert (found.request.sequence_count, found.source_id) == (count, 5)
    assert found.acknowledgement == command.acknowledgement
    assert COMMANDS.build(command.name, found.arguments, sequence_count=count, source_id=5) == (
        packet
    )


def test_every_command_is_named_described_and_hazards_say_why() -> None:
    for command in COMMANDS.commands:
        assert re.fullmatch(r"[A-Z][A-Z0-9_]*", command.name)
        assert len(command.description) > 10
        for constraint in command.constraints:
            assert constraint.parameter in EVERYTHING.parameters
            assert constraint.reason
        assert Stage.ACCEPTANCE in command.stages
        assert Stage.COMPLETION in command.stages


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_arbitrary_octets_are_refused_or_parsed(noise: bytes, data: st.DataObject) -> None:
    command = data.draw(st.sampled_from(COMMANDS.commands))
    mangled = with_error_control(
        build_request(Request(command.apid, command.service, command.subtype, noise))
    )
    for octets in (noise, mangled, mangled[:-1]):
        with contextlib.suppress(CommandRefused):
            found = COMMANDS.parse(octets)
            assert COMMANDS.parse(COMMANDS.build(found.command.name, found.arguments))
        for parse in (parse_request, parse_report):
            with contextlib.suppress(RemoteError):
                parse(octets)


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"\x18", FailureCode.WRONG_LENGTH),
        (build_request(Request(100, 17, 1))[:-1] + b"\x00", FailureCode.BAD_CRC),
        (build_request(Request(99, 17, 1)), FailureCode.UNKNOWN_APID),
        (build_request(Request(100, 99, 1)), FailureCode.UNKNOWN_COMMAND),
        (build_request(Request(100, 17, 1, b"x")), FailureCode.WRONG_LENGTH),
        (build_request(Request(100, 8, 1, b"\xff\xff\x00")), FailureCode.UNKNOWN_COMMAND),
        (build_request(Request(100, 8, 1, b"\x00\x01\x01\x01\x09")), FailureCode.ILLEGAL_ARGUMENT),
        (
            build_request(Request(100, 8, 1, b"\x00\x02\x01\x01\x7f\xff")),
            FailureCode.ILLEGAL_ARGUMENT,
        ),
    ],
)
def test_refusals_have_their_code(octets: bytes, code: FailureCode) -> None:
    with pytest.raises(CommandRefused) as refused:
        COMMANDS.parse(octets)
    assert refused.value.code is code


def test_every_bit_matters() -> None:
    packet = COMMANDS.build("MODE_SET", {"MODE": "SAFE"}, sequence_count=3)
    for bit in range(8 * len(packet)):
        flipped = bytearray(packet)
        flipped[bit // 8] ^= 0x80 >> bit % 8
        with pytest.raises(CommandRefused):
            COMMANDS.parse(bytes(flipped))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("MODE_SAT", {}, "no command 'MODE_SAT'"),
        ("MODE_SET", {}, "MODE_SET: argument MODE wanted .SAFE | STANDBY"),
        ("MODE_SET", {"MODE": "SAVE"}, "'SAVE'; SAFE | STANDBY"),
        ("MODE_SET", {"MODE": "SAFE", "X": 1}, "no argument X; it has MODE"),
        ("ARRAY_TURN", {"ANGLE": 90.1}, "ANGLE: 90.1; -90..90 deg allowed"),
        ("ARRAY_TURN", {"ANGLE": "90"}, "'90'; -90..90 deg"),
        ("ARRAY_TURN", {"ANGLE": float("nan")}, "nan; -90..90 deg"),
        ("EVENT_ENABLE", {"EVENTS": "BOOT"}, "a list of values wanted"),
        ("EVENT_ENABLE", {"EVENTS": []}, "no value; one or more wanted"),
    ],
)
def test_the_ground_refuses_what_is_not_allowed(
    name: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(LocalError, match=message):
        COMMANDS.build(name, arguments)


def test_declarations_that_cannot_be_are_refused() -> None:
    kind = Argument("KIND", Int8ub, description="Kind")
    with pytest.raises(LocalError, match="minimum 5 above maximum 4"):
        Argument("A", Int8ub, minimum=5, maximum=4)
    with pytest.raises(LocalError, match=r"argument A: 9; \.\.4 allowed|argument A: 9; 0\.\.4"):
        Argument("A", Int8ub, maximum=4, default=9)
    with pytest.raises(LocalError, match="no description"):
        Command("A", 1, 8, 1)
    with pytest.raises(LocalError, match=r"fixed \['B'\] are no arguments"):
        Command("A", 1, 8, 1, (kind,), "x", fixed=(("B", 1),))
    one = Command("ONE", 1, 8, 1, (kind,), "x", fixed=(("KIND", 1),))
    same = Command("OTHER", 1, 8, 1, (kind,), "x")
    with pytest.raises(LocalError, match="ONE and OTHER could both be one packet"):
        CommandDictionary("D", (one, same))
    with pytest.raises(LocalError, match=r"\['ONE'\] declared twice"):
        CommandDictionary("D", (one, one))
    with pytest.raises(LocalError, match="operator '~'"):
        Constraint("A", "~", 1)
    with pytest.raises(LocalError, match="several values"):
        Constraint("A", "in", "B")
    Command("FINE", 1, 8, 1, (Argument("A", Int16ub, description="x"),), "x")


def test_a_structure_of_what_is_no_parameter() -> None:
    with pytest.raises(LocalError, match="no on-board parameter SC_MOOD"):
        housekeeping_definition(4, ["SC_MODE", "SC_MOOD"])
