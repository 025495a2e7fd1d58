"""Commands and their arguments: declared once, built by the ground, parsed by flight software.

An argument is a parameter on its way up: field, unit and calibration are declared as in
`protocols.telemetry.declaration`, and a command's packet is laid out by the same code.  What a
command has beyond a packet: ranges, defaults, hazard, constraints, the reports to expect.
"""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as member_of
from difflib import get_close_matches
from functools import cached_property
from itertools import combinations
from typing import Any, Final

import numpy as np
from construct import Int16ub

from protocols.errors import LocalError, RemoteError
from protocols.packets.pus import (
    CRC_OCTETS,
    PUS_FORMAT,
    PUS_VERSION,
    TC_FIELDS,
    Acknowledgement,
    PusFormat,
    RequestId,
    check_error_control,
    parse_request,
    with_error_control,
)
from protocols.packets.space_packet import parse_packet
from protocols.telecommand.verification import FailureCode, Stage
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.codec import build_packet
from protocols.telemetry.declaration import (
    COMPARISONS,
    Condition,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
    distinct,
)
from protocols.telemetry.fields import Kind

#: Secondary header of a request as parameters, read from the declaration of the codec.
TC_HEADER_PARAMETERS: Final = tuple(
    Parameter(f"PUS_{field.name.upper()}", field.subcon) for field in TC_FIELDS
)
PACKET_CRC: Final = Parameter("PACKET_CRC", Int16ub, description="Packet error control")


class CommandRefused(RemoteError):
    """Octets that are no acceptable command; `code` goes into the acceptance failure report."""

    def __init__(self, message: str, code: FailureCode, *, data: bytes = b"") -> None:
        super().__init__(message, data=data)
        self.code = code


@dataclass(frozen=True)
class Argument(Parameter):
    """One argument: a `Parameter` (its value here is what the operator gives) with its range.

    minimum, maximum: engineering, both allowed; default: taken if none is given, None: must be
    given.

    >>> from construct import Int8ub
    >>> Argument("SPEED", Int8ub, unit="deg/s", maximum=5).allowed
    '0..5 deg/s'
    """

    minimum: float | None = None
    maximum: float | None = None
    default: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        where = f"argument {self.name}"
        ranged = self.minimum is not None or self.maximum is not None
        if ranged and (self.labels or self.type.kind is Kind.OCTETS):
            raise LocalError(f"{where}: a range on a value without a number")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise LocalError(f"{where}: minimum {self.minimum} above maximum {self.maximum}")
        if self.default is not None:
            self.check(self.default)

    @property
    def labels(self) -> tuple[str, ...]:
        """What an enumeration allows; empty for other arguments."""
        known = self.calibration
        return tuple(label for _, label in known.labels) if isinstance(known, Enumeration) else ()

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        if self.labels:
            return " | ".join(self.labels)
        if self.type.kind is Kind.OCTETS:
            what = "text" if isinstance(self.calibration, Text) else "octets"
            return what if self.type.variable else f"{what} of {self.type.bits // 8} octets"
        if self.type.kind is Kind.TIME:
            return "time, TAI ns"
        low, high = self.minimum, self.maximum
        if self.type.is_integer and self.calibration is None:
            low = self.type.minimum if low is None else low
            high = self.type.maximum if high is None else high
        ends = ["" if end is None else f"{end:.10g}" for end in (low, high)]
        return f"{ends[0]}..{ends[1]} {self.unit}".strip()

    def check(self, value: Any) -> None:
        """LocalError, naming value and what is allowed, for an engineering value out of range."""
        wrong = f"argument {self.name}: {value!r}; {self.allowed} allowed"
        if self.labels:
            if not isinstance(value, str) or value not in self.labels:
                raise LocalError(wrong)
            return
        if self.type.kind is Kind.OCTETS:
            text = isinstance(value, str) and isinstance(self.calibration, Text)
            if not text and not isinstance(value, bytes | bytearray | memoryview):
                raise LocalError(wrong)
            return
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise LocalError(wrong)
        number = float(value)
        # What comes back from raw counts may miss the end of its range by a rounding.
        slack = 1e-9 * max(1.0, abs(number))
        if (
            not math.isfinite(number)
            or (self.minimum is not None and number < self.minimum - slack)
            or (self.maximum is not None and number > self.maximum + slack)
        ):
            raise LocalError(wrong)

    def engineering_value(self, raw: Any) -> Any:
        """One raw value as the operator gave it; RemoteError for a number without a label."""
        if self.type.kind is Kind.OCTETS:
            return bytes(raw).decode("latin-1") if isinstance(self.calibration, Text) else raw
        if isinstance(self.calibration, Enumeration):
            for value, label in self.calibration.labels:
                if value == raw:
                    return label
            raise RemoteError(f"argument {self.name}: {raw} has no label; {self.allowed} allowed")
        if self.calibration is None:
            return raw
        return self.engineering(np.array([raw], self.type.dtype))[0].item()


@dataclass(frozen=True, slots=True)
class Constraint:
    """Telemetry that must hold before a command may leave, as old as that telemetry is.

    value: a number, a label, or several labels for `in`; within_s: how old (by its SCET, light
    time included) the value may be; reason: for the operator whom it stops.

    >>> Constraint("SC_MODE", "in", ("NOMINAL", "STORM"), reason="array drive off").holds("SAFE")
    False
    """

    parameter: str
    operator: str
    value: float | str | tuple[str, ...]
    within_s: float = 7_200.0
    reason: str = ""

    def __post_init__(self) -> None:
        if self.operator not in (*COMPARISONS, "in"):
            allowed = " ".join((*COMPARISONS, "in"))
            raise LocalError(
                f"constraint on {self.parameter}: operator {self.operator!r}; {allowed} allowed"
            )
        if (self.operator == "in") != isinstance(self.value, tuple):
            raise LocalError(f"constraint on {self.parameter}: several values go with `in` alone")
        if isinstance(self.value, str) and self.operator not in ("==", "!="):
            raise LocalError(f"constraint on {self.parameter}: {self.operator} on a label")

    def holds(self, engineering: float | str) -> bool:
        """Whether a value of the parameter allows the command."""
        if isinstance(self.value, tuple):
            return engineering in self.value
        return bool(COMPARISONS[self.operator](engineering, self.value))

    def __str__(self) -> str:
        value = self.value if not isinstance(self.value, tuple) else "|".join(self.value)
        because = f" ({self.reason})" if self.reason else ""
        return f"{self.parameter} {self.operator} {value}{because}"


@dataclass(frozen=True)
class Command:
    """One command: a PUS request with its arguments, and what an operator has to know of it.

    arguments: fields of the application data; fixed: arguments whose raw value makes this command
    what it is (a function identifier), never asked for.
    hazard: what may go wrong; not empty: a second person approves.
    stages: whose success reports the request asks for; execution_s: how long completion may take
    on board.
    """

    name: str
    apid: int
    service: int
    subtype: int
    arguments: tuple[Argument | Spare | Repeat, ...] = ()
    description: str = ""
    fixed: tuple[tuple[str, int], ...] = ()
    hazard: str = ""
    constraints: tuple[Constraint, ...] = ()
    stages: tuple[Stage, ...] = (Stage.ACCEPTANCE, Stage.COMPLETION)
    execution_s: float = 5.0
    form: PusFormat = member_of(default=PUS_FORMAT, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.description:
            raise LocalError(f"command {self.name}: no description; an operator needs one")
        for argument in self.every_argument.values():
            if not argument.description:
                raise LocalError(f"command {self.name}: argument {argument.name} not described")
        unknown = {name for name, _ in self.fixed} - set(self.every_argument)
        if unknown:
            raise LocalError(f"command {self.name}: fixed {sorted(unknown)} are no arguments")
        _ = self.definition

    @property
    def hazardous(self) -> bool:
        return bool(self.hazard)

    @property
    def described(self) -> dict[str, Any]:
        """As maps, lists and texts, for who offers it to people."""
        return {
            "name": self.name,
            "service": self.service,
            "subtype": self.subtype,
            "description": self.description,
            "hazard": self.hazard,
            "arguments": [
                {
                    "name": one.name,
                    "description": one.description,
                    "allowed": one.allowed,
                    "labels": list(one.labels),
                    "unit": one.unit,
                    "default": one.default,
                    "list": one.name in self.repeated,
                }
                for one in self.given
            ],
            "constraints": [str(one) for one in self.constraints],
            "stages": [one.value for one in self.stages],
            "execution_s": self.execution_s,
        }

    @property
    def acknowledgement(self) -> Acknowledgement:
        """Flags that ask for every stage of `stages`."""
        flags = Acknowledgement.NONE
        for stage in self.stages:
            flags |= stage.acknowledgement
        return flags

    @cached_property
    def every_argument(self) -> Mapping[str, Argument]:
        """Arguments by name, fixed ones and those of repeats included."""
        members = [m for f in self.arguments for m in (f.fields if isinstance(f, Repeat) else (f,))]
        return {m.name: m for m in members if isinstance(m, Argument)}

    @cached_property
    def repeated(self) -> frozenset[str]:
        """Arguments that are lists."""
        repeats = (f for f in self.arguments if isinstance(f, Repeat))
        return frozenset(p.name for repeat in repeats for p in repeat.parameters)

    @cached_property
    def given(self) -> tuple[Argument, ...]:
        """What an operator gives, in the packet's order: neither fixed nor counts of repeats."""
        counts = {
            f.count.parameter
            for f in self.arguments
            if isinstance(f, Repeat) and f.count is not None and not isinstance(f.count, int)
        }
        hidden = {name for name, _ in self.fixed} | counts
        return tuple(a for name, a in self.every_argument.items() if name not in hidden)

    @cached_property
    def definition(self) -> PacketDefinition:
        """The whole packet, primary header to error control."""
        spare = 8 * self.form.tc_spare_octets
        fields: tuple[Field, ...] = (
            *TC_HEADER_PARAMETERS,
            *((Spare(spare),) if spare else ()),
            *self.arguments,
            PACKET_CRC,
        )
        return PacketDefinition(
            self.name,
            self.apid,
            fields,
            (
                Condition("TYPE", 1),
                Condition("PUS_VERSION", PUS_VERSION),
                Condition("PUS_SERVICE", self.service),
                Condition("PUS_SUBTYPE", self.subtype),
                *(Condition(name, value) for name, value in self.fixed),
            ),
            description=self.description,
            secondary_header=True,
        )

    def complete(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with defaults put in, all checked.

        Raises LocalError for one that is unknown, missing, or out of range.
        """
        names = [argument.name for argument in self.given]
        unknown = sorted(set(arguments) - set(names))
        if unknown:
            raise LocalError(
                f"command {self.name}: no argument {', '.join(unknown)}; it has {', '.join(names)}"
            )
        values: dict[str, Any] = {}
        for argument in self.given:
            value = arguments.get(argument.name, argument.default)
            if value is None:
                raise LocalError(
                    f"command {self.name}: argument {argument.name} wanted ({argument.allowed})"
                )
            try:
                self._check(argument, value)
            except LocalError as error:
                raise LocalError(f"command {self.name}: {error}") from error
            values[argument.name] = value
        return values

    def _check(self, argument: Argument, value: Any) -> None:
        if argument.name not in self.repeated:
            argument.check(value)
            return
        if not isinstance(value, Sequence) or isinstance(value, str | bytes):
            raise LocalError(f"argument {argument.name}: {value!r}; a list of values wanted")
        if not value:
            raise LocalError(f"argument {argument.name}: no value; one or more wanted")
        for one in value:
            argument.check(one)


@dataclass(frozen=True, slots=True)
class Commanded:
    """A command as it was sent: which, with what (engineering values), under which name."""

    command: Command
    arguments: Mapping[str, Any]
    request: RequestId
    source_id: int = 0
    acknowledgement: int = Acknowledgement.ALL

    def wants(self, stage: Stage) -> bool:
        """Whether the success of a stage is to be reported."""
        return bool(self.acknowledgement & stage.acknowledgement)


@dataclass(frozen=True)
class CommandDictionary:
    """All commands of a spacecraft; no packet is two of them."""

    name: str
    commands: tuple[Command, ...]
    description: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "commands", tuple(self.commands))
        if len(self.by_name) != len(self.commands):
            names = [command.name for command in self.commands]
            twice = sorted({name for name in names if names.count(name) > 1})
            raise LocalError(f"command dictionary {self.name}: {twice} declared twice")
        for rivals in self._by_type.values():
            for one, other in combinations(rivals, 2):
                if not distinct(one.definition, other.definition):
                    raise LocalError(
                        f"command dictionary {self.name}: {one.name} and {other.name} could both "
                        f"be one packet; give each its own `fixed` value of one argument"
                    )

    @cached_property
    def by_name(self) -> Mapping[str, Command]:
        return {command.name: command for command in self.commands}

    @cached_property
    def _by_type(self) -> Mapping[tuple[int, int, int], tuple[Command, ...]]:
        found: dict[tuple[int, int, int], tuple[Command, ...]] = {}
        for command in self.commands:
            key = (command.apid, command.service, command.subtype)
            found[key] = (*found.get(key, ()), command)
        return found

    def command(self, name: str) -> Command:
        """LocalError for a name that is none."""
        if name not in self.by_name:
            near = get_close_matches(name.upper(), self.by_name, n=5, cutoff=0.5)
            hint = f"{', '.join(near)} are near" if near else f"{len(self.by_name)} are known"
            raise LocalError(f"no command {name!r}; {hint}")
        return self.by_name[name]

    def hazard(self, name: str, arguments: Mapping[str, Any]) -> str:
        """What may go wrong with a command, or with a request that it carries to be executed later;
        empty: nothing.  Raises LocalError for an unknown command."""
        command = self.command(name)
        if command.hazard:
            return command.hazard
        for value in arguments.values():
            if not isinstance(value, bytes):
                continue
            try:
                carried = self.parse(value)
            except CommandRefused:
                # No request, or one that is refused on board as here.
                continue
            if hazard := self.hazard(carried.command.name, carried.arguments):
                return f"{carried.command.name}: {hazard}"
        return ""

    def build(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        sequence_count: int = 0,
        source_id: int = 0,
        acknowledgement: int | None = None,
    ) -> bytes:
        """A command's packet from engineering values.

        acknowledgement: which successes to report, by default those of the command's stages.
        Raises LocalError for an unknown command and for arguments that are not allowed.
        """
        command = self.command(name)
        flags = command.acknowledgement if acknowledgement is None else acknowledgement
        header = {"PUS_ACKNOWLEDGEMENT": int(flags), "PUS_SOURCE_ID": source_id}
        values = {**header, **command.complete(arguments or {}), "PACKET_CRC": 0}
        return with_error_control(
            build_packet(
                command.definition,
                values,
                sequence_count=sequence_count,
                raw=False,
                saturate=False,
            )
        )

    def parse(self, octets: bytes) -> Commanded:
        """The command that a packet is, every argument checked as before it was sent.

        Raises CommandRefused, with the code for the verification report.
        """
        if not self.commands:
            raise CommandRefused("no commands are known", FailureCode.UNKNOWN_COMMAND, data=octets)
        try:
            apid = parse_packet(octets).apid
        except RemoteError as error:
            raise CommandRefused(str(error), FailureCode.WRONG_LENGTH, data=octets) from error
        try:
            check_error_control(octets)
        except RemoteError as error:
            raise CommandRefused(str(error), FailureCode.BAD_CRC, data=octets) from error
        try:
            request = parse_request(octets, self.commands[0].form)
        except RemoteError as error:
            raise CommandRefused(str(error), FailureCode.WRONG_LENGTH, data=octets) from error
        if all(command.apid != apid for command in self.commands):
            raise CommandRefused(f"APID {apid} is unknown", FailureCode.UNKNOWN_APID, data=octets)
        rivals = self._by_type.get((apid, request.service, request.subtype), ())
        where = f"TC[{request.service},{request.subtype}]"
        for command in rivals:
            if not _has_fixed(command, octets):
                continue
            try:
                raw = command.definition.parse(octets)
            except RemoteError as error:
                raise CommandRefused(
                    f"{where}: {error}", FailureCode.WRONG_LENGTH, data=octets
                ) from error
            return Commanded(
                command,
                self._arguments(command, raw, octets),
                RequestId.of(octets),
                request.source_id,
                request.acknowledgement,
            )
        raise CommandRefused(f"{where} is unknown", FailureCode.UNKNOWN_COMMAND, data=octets)

    def _arguments(self, command: Command, raw: Mapping[str, Any], octets: bytes) -> dict[str, Any]:
        try:
            values = {
                argument.name: [argument.engineering_value(one) for one in raw[argument.name]]
                if argument.name in command.repeated
                else argument.engineering_value(raw[argument.name])
                for argument in command.given
            }
            return command.complete(values)
        except (LocalError, RemoteError) as error:
            raise CommandRefused(
                f"{command.name}: {error}", FailureCode.ILLEGAL_ARGUMENT, data=octets
            ) from error


def _has_fixed(command: Command, octets: bytes) -> bool:
    """Whether the packet has the command's fixed values, whatever else is in it."""
    bits = int.from_bytes(octets, "big")
    for name, value in command.fixed:
        start, kind = command.definition.layout.fixed_slots[name]
        after = 8 * len(octets) - start - kind.bits
        if after < 8 * CRC_OCTETS or bits >> after & (1 << kind.bits) - 1 != value:
            return False
    return True
