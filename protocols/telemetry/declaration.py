"""Parameters, packets and dictionaries: declared once, read in both directions.

The simulator builds packets from these declarations and the ground decodes with them; neither
has a layout of its own.  Names and ideas follow XTCE 1.2 (CCSDS 660.0-B-2), so that a dictionary
can be exchanged as XTCE (`xtce.py`).
"""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import operator as operators
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as member_of
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from construct import BitsInteger

from protocols.errors import LocalError
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline, Text
from protocols.telemetry.fields import Count, FieldType, Kind, as_numbers, read_count, read_field
from protocols.telemetry.limits import AnyLimits, EnumerationLimits

if TYPE_CHECKING:
    from protocols.packets.batch import PacketBatch
    from protocols.telemetry.columns import DictionaryPlan
    from protocols.telemetry.layout import PacketLayout
    from protocols.telemetry.sampling import Sampler
    from protocols.telemetry.tables import DecodedPackets

#: XTCE 1.2 NameType: these characters have a meaning in references.
_FORBIDDEN = frozenset("./:[] \t\n")


def _check_name(name: str, what: str) -> None:
    if not name or _FORBIDDEN & set(name):
        raise LocalError(f"{what} name {name!r}: not empty and none of '. / : [ ]' or spaces")


@dataclass(frozen=True)
class Parameter:
    """One measured value.

    field: construct integer, float, `Bytes`, `GreedyBytes`, or a time code format: how the raw
    value stands in the packet; unit: of the engineering value; calibration: raw → engineering;
    limits: in engineering units; description: one line; notes: as long as needed.

    >>> from construct import Int16ub
    >>> Parameter("BUS_VOLTAGE", Int16ub, unit="V", calibration=Polynomial((0.0, 0.001))).type.bits
    16
    """

    name: str
    field: Any = member_of(compare=False, repr=False)
    unit: str = ""
    calibration: Calibration | None = None
    limits: AnyLimits | None = None
    description: str = ""
    notes: str = ""
    type: FieldType = member_of(init=False)

    def __post_init__(self) -> None:
        _check_name(self.name, "parameter")
        where = f"parameter {self.name}"
        described = read_field(self.field, where)
        object.__setattr__(self, "type", described)
        numeric = described.is_integer or described.kind is Kind.FLOAT
        calibration = self.calibration
        if isinstance(calibration, Polynomial | Spline) and not numeric:
            raise LocalError(f"{where}: {type(calibration).__name__} on {described.kind.value}")
        if isinstance(calibration, Enumeration):
            if not described.is_integer:
                raise LocalError(f"{where}: enumeration on {described.kind.value}; integer wanted")
            for value, label in calibration.labels:
                if not described.minimum <= value <= described.maximum:
                    raise LocalError(
                        f"{where}: label {label!r} of value {value}; "
                        f"{described.minimum}..{described.maximum} fit the field"
                    )
        if isinstance(calibration, Text) and described.kind is not Kind.OCTETS:
            raise LocalError(f"{where}: text on {described.kind.value}; Bytes wanted")
        labelled = isinstance(calibration, Enumeration)
        if isinstance(self.limits, EnumerationLimits):
            if not labelled:
                raise LocalError(f"{where}: enumeration limits without an enumeration")
            listed = {label for _, label in calibration.labels}
            unknown = {*self.limits.warning, *self.limits.critical} - listed
            if unknown:
                raise LocalError(
                    f"{where}: limits name {sorted(unknown)}; labels are {sorted(listed)}"
                )
        elif self.limits is not None and (labelled or not numeric):
            raise LocalError(f"{where}: range limits on a value without a number")

    def engineering(self, raw: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Engineering values of raw values of any shape (octets: last axis is one value)."""
        return raw if self.calibration is None else self.calibration.apply(raw)

    def uncalibrate(
        self, engineering: npt.ArrayLike, *, saturate: bool = False
    ) -> npt.NDArray[Any]:
        """Raw values of engineering values: numbers, labels, or ns for a time code; any shape.

        Integers are rounded to nearest.  Values that the field cannot hold raise LocalError, or
        are held at its end if `saturate`.
        """
        where, kind = f"parameter {self.name}", self.type.kind
        if kind is Kind.OCTETS:
            raise LocalError(f"{where}: octets have no array inverse")
        if isinstance(self.calibration, Enumeration):
            labels = np.asarray(engineering)
            if labels.dtype.kind != "U":
                raise LocalError(f"{where}: labels wanted, {labels.dtype} given")
            return self.to_raw(self.calibration.invert(labels, where), saturate=saturate)
        if isinstance(self.calibration, Polynomial | Spline):
            integer = self.type.is_integer
            low = float(self.type.minimum) if integer else -float(np.finfo(self.type.dtype).max)
            high = float(self.type.maximum) if integer else -low
            value = self.calibration.invert(engineering, low, high, where)
            return self.to_raw(value, saturate=saturate)
        return self.to_raw(engineering, saturate=saturate)

    def to_raw(self, value: npt.ArrayLike, *, saturate: bool = False) -> npt.NDArray[Any]:
        """Numbers in the column's dtype, rounded and checked against what the field can hold."""
        where, described = f"parameter {self.name}", self.type
        given = as_numbers(value)
        if described.kind is Kind.FLOAT:
            with np.errstate(over="ignore", invalid="ignore"):
                narrow = given.astype(described.dtype)
            lost = np.isinf(narrow) & np.isfinite(given)
            if np.any(lost):
                largest = np.finfo(described.dtype).max
                if not saturate:
                    raise LocalError(
                        f"{where}: {given[lost].flat[0]}; ±{largest} fit {described.bits} bits"
                    )
                narrow = np.where(lost, np.copysign(largest, narrow), narrow)
            return narrow
        if described.kind is Kind.TIME:
            return given.astype(np.int64)
        if given.dtype.kind == "f":
            if not np.all(np.isfinite(given)):
                raise LocalError(f"{where}: value that is not finite for an integer field")
            given = np.rint(given)
        elif given.dtype.kind not in "iubO":
            raise LocalError(f"{where}: number wanted, {given.dtype} given")
        low, high = described.minimum, described.maximum
        under, over = given < low, given > high
        if saturate:
            given = np.where(under | over, 0, given)
        elif np.any(under | over):
            bad = given[under | over].flat[0]
            raise LocalError(f"{where}: raw value {bad}; {low}..{high} fit the field")
        # 2**64 - 1 is not a double: the ends are put in after the conversion.
        raw = given.astype(described.dtype)
        if saturate:
            raw = np.where(under, np.array(low, raw.dtype), raw)
            raw = np.where(over, np.array(high, raw.dtype), raw)
        return raw


@dataclass(frozen=True)
class Spare:
    """Bits that mean nothing; built as zeros, not looked at when decoding."""

    bits: int

    def __post_init__(self) -> None:
        if self.bits < 1:
            raise LocalError(f"spare of {self.bits} bits; 1 or more wanted")


@dataclass(frozen=True)
class Repeat:
    """Parameters that recur `count` times: as many values per packet, one array per parameter.

    count: a number; the name of an earlier parameter or `this.NAME * k + c`; or None for
    "to the end of the packet".

    >>> from construct import Int16ub
    >>> Repeat((Parameter("FLUX", Int16ub),), count=8).count
    8
    """

    fields: tuple[Parameter | Spare, ...]
    count: int | Count | None = None

    def __init__(
        self,
        fields: Parameter | Sequence[Parameter | Spare],
        count: Any = None,
    ) -> None:
        members = (fields,) if isinstance(fields, Parameter) else tuple(fields)
        names = [f.name for f in members if isinstance(f, Parameter)]
        where = f"repeat of {', '.join(names)}"
        if not names:
            raise LocalError("repeat without a parameter; at least one wanted")
        for member in members:
            if isinstance(member, Parameter) and member.type.variable:
                raise LocalError(f"{where}: {member.name} has a variable length; fixed wanted")
        if isinstance(count, int):
            if count < 1:
                raise LocalError(f"{where}: count {count}; 1 or more wanted")
        elif count is not None:
            count = read_count(count, where)
        if not isinstance(count, int) and sum(_bits(m) for m in members) % 8:
            raise LocalError(f"{where}: elements of a variable repeat must fill whole octets")
        object.__setattr__(self, "fields", members)
        object.__setattr__(self, "count", count)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(f for f in self.fields if isinstance(f, Parameter))

    @property
    def element_bits(self) -> int:
        return sum(_bits(member) for member in self.fields)


Field = Parameter | Spare | Repeat


def _bits(member: Parameter | Spare) -> int:
    return member.bits if isinstance(member, Spare) else member.type.bits


COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operators.eq,
    "!=": operators.ne,
    "<": operators.lt,
    "<=": operators.le,
    ">": operators.gt,
    ">=": operators.ge,
}


@dataclass(frozen=True)
class Condition:
    """`raw value of parameter` `operator` `value`: one of the tests that choose a definition."""

    parameter: str
    value: int
    operator: str = "=="

    def __post_init__(self) -> None:
        if self.operator not in COMPARISONS:
            raise LocalError(
                f"condition on {self.parameter}: operator {self.operator!r}; "
                f"one of {' '.join(COMPARISONS)} allowed"
            )

    @property
    def interval(self) -> tuple[float, float]:
        """Smallest and greatest integer that pass; `!=` passes everything for this purpose."""
        low, high = -np.inf, np.inf
        if self.operator in ("==", ">=", ">"):
            low = self.value + (self.operator == ">")
        if self.operator in ("==", "<=", "<"):
            high = self.value - (self.operator == "<")
        return low, high


#: 133.0-B-2 §4.1.3; the names are those that XTCE files for space packets use.
PRIMARY_HEADER: tuple[Parameter, ...] = (
    Parameter("VERSION", BitsInteger(3), description="Packet version number"),
    Parameter("TYPE", BitsInteger(1), description="Packet type, 0 is telemetry"),
    Parameter("SEC_HDR_FLG", BitsInteger(1), description="Secondary header flag"),
    Parameter("PKT_APID", BitsInteger(11), description="Application process identifier"),
    Parameter("SEQ_FLGS", BitsInteger(2), description="Sequence flags, 3 is unsegmented"),
    Parameter("SRC_SEQ_CTR", BitsInteger(14), description="Packet sequence count"),
    Parameter("PKT_LEN", BitsInteger(16), description="Octets of the packet data field − 1"),
)
PRIMARY_HEADER_OCTETS = 6


@dataclass(frozen=True)
class PacketDefinition:
    """One kind of packet: which packets are meant, and the fields after the primary header.

    apid: the packets' APID, None for any; conditions: further tests, all of which must hold, on
    fields of the primary header or fields at a fixed place; time: the time code parameter that
    is the packet's SCET; secondary_header: the primary header's flag, by default whether `time`
    is given.

    >>> from construct import Int8ub, Int16ub
    >>> fields = (Parameter("BUS_VOLTAGE", Int16ub), Parameter("MODE", Int8ub))
    >>> PacketDefinition("POWER", 16, fields).layout.fixed_octets
    9
    """

    name: str
    apid: int | None
    fields: tuple[Field, ...]
    conditions: tuple[Condition, ...] = ()
    time: str | None = None
    description: str = ""
    notes: str = ""
    secondary_header: bool | None = None
    header: tuple[Parameter, ...] = member_of(default=PRIMARY_HEADER, repr=False)

    def __post_init__(self) -> None:
        _check_name(self.name, "packet")
        where = f"packet {self.name}"
        object.__setattr__(self, "fields", tuple(self.fields))
        object.__setattr__(self, "conditions", tuple(self.conditions))
        if self.secondary_header is None:
            object.__setattr__(self, "secondary_header", self.time is not None)
        # 133.0-B-2 §4.1.3.3.4: eleven bits; all ones are idle packets, which carry no parameters.
        if self.apid is not None and not 0 <= self.apid < 0x7FF:
            raise LocalError(f"{where}: APID {self.apid}; 0..2046 allowed")
        if [p.type.bits for p in self.header] != [p.type.bits for p in PRIMARY_HEADER]:
            raise LocalError(f"{where}: header fields are not those of the packet primary header")
        names = [p.name for p in (*self.header, *self.parameters.values())]
        listed = [p.name for f in self.fields for p in _parameters_of(f)]
        twice = {name for name in listed if listed.count(name) > 1} | (
            {p.name for p in self.header} & set(listed)
        )
        if twice:
            raise LocalError(f"{where}: {sorted(twice)} declared twice; each name once")
        if not listed and not self.fields:
            raise LocalError(f"{where}: no field; a packet data field has at least one octet")
        for condition in self.conditions:
            if condition.parameter not in names:
                raise LocalError(f"{where}: condition on {condition.parameter}, which it lacks")
        if self.time is not None:
            if self.time not in listed:
                raise LocalError(f"{where}: time {self.time!r} is none of its parameters")
            if self.parameters[self.time].type.kind is not Kind.TIME:
                raise LocalError(f"{where}: time {self.time!r} is not a time code")
        _ = self.layout

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter after the primary header by name, in the packet's order."""
        return {p.name: p for f in self.fields for p in _parameters_of(f)}

    @cached_property
    def layout(self) -> PacketLayout:
        from protocols.telemetry.layout import lay_out

        return lay_out(self)

    @cached_property
    def construct(self) -> Any:
        """Construct of the whole packet, primary header included.

        Its value is a flat container: raw value of each parameter, a list for a repeated one,
        bytes for octets, integer TAI ns for a time code.
        """
        from protocols.telemetry.codec import packet_construct

        return packet_construct(self)

    def parse(self, packet: bytes) -> dict[str, Any]:
        """Raw values of one packet, interpreted; RemoteError if it does not fit exactly."""
        from protocols.telemetry.codec import parse_packet

        return parse_packet(self, packet)


def _parameters_of(member: Field) -> tuple[Parameter, ...]:
    if isinstance(member, Parameter):
        return (member,)
    return member.parameters if isinstance(member, Repeat) else ()


def distinct(a: PacketDefinition, b: PacketDefinition) -> bool:
    """Whether no packet can match both: they differ in APID or in one field's allowed values."""
    if a.apid is not None and b.apid is not None and a.apid != b.apid:
        return True
    slots_a, slots_b = a.layout.fixed_slots, b.layout.fixed_slots
    for place in {slots_a[c.parameter] for c in a.conditions} & {
        slots_b[c.parameter] for c in b.conditions
    }:
        mine = [c for c in a.conditions if slots_a[c.parameter] == place]
        theirs = [c for c in b.conditions if slots_b[c.parameter] == place]
        low = max(c.interval[0] for c in (*mine, *theirs))
        high = min(c.interval[1] for c in (*mine, *theirs))
        if low > high:
            return True
        barred = {c.value for c in (*mine, *theirs) if c.operator == "!="}
        if high - low < len(barred) + 1 and all(
            value in barred for value in range(int(low), int(high) + 1)
        ):
            return True
    return False


def _same(a: Parameter, b: Parameter) -> bool:
    """Whether two declarations are one parameter, wider in one packet than in the other perhaps."""
    if a == b:
        return True
    alike = a.type.is_integer and (a.type.kind, a.type.dtype) == (b.type.kind, b.type.dtype)
    return alike and replace(a, field=b.field) == b


@dataclass(frozen=True)
class Dictionary:
    """All packets of a spacecraft; no packet matches two definitions.

    A parameter name means the same parameter in every packet that carries it; packets may give it
    fields of different widths, if their columns are of one type.

    foreign: APIDs of packets that are none of telemetry, but somebody's: files, for one.
    """

    name: str
    definitions: tuple[PacketDefinition, ...]
    description: str = ""
    notes: str = ""
    foreign: frozenset[int] = frozenset()

    def __post_init__(self) -> None:
        _check_name(self.name, "dictionary")
        object.__setattr__(self, "definitions", tuple(self.definitions))
        if not self.definitions:
            raise LocalError(f"dictionary {self.name}: no packet definition; one or more wanted")
        seen: dict[str, PacketDefinition] = {}
        known: dict[str, tuple[Parameter, str]] = {}
        for definition in self.definitions:
            if definition.name in seen:
                raise LocalError(f"dictionary {self.name}: packet {definition.name} declared twice")
            if definition.header != self.definitions[0].header:
                raise LocalError(f"dictionary {self.name}: {definition.name} has another header")
            for other in seen.values():
                if not distinct(definition, other):
                    raise LocalError(
                        f"dictionary {self.name}: packets {other.name} and {definition.name} could "
                        f"both match one packet (APID {definition.apid}); give each a condition on "
                        "the same field with different values"
                    )
            seen[definition.name] = definition
            for name, parameter in definition.parameters.items():
                before = known.setdefault(name, (parameter, definition.name))
                if not _same(before[0], parameter):
                    raise LocalError(
                        f"dictionary {self.name}: parameter {name} is declared differently in "
                        f"{before[1]} and {definition.name}"
                    )

    def undefined(self, packets: PacketBatch, unmatched: npt.NDArray[np.integer[Any]]) -> int:
        """How many of the packets that match nothing ought to: encapsulation packets belong to
        whoever is named in them, and `foreign` ones to somebody, too."""
        space = packets.version[unmatched] == 0
        ours = ~np.isin(packets.apid[unmatched], list(self.foreign))
        return int(np.count_nonzero(space & ours))

    @cached_property
    def by_name(self) -> Mapping[str, PacketDefinition]:
        return {definition.name: definition for definition in self.definitions}

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """Every parameter of every packet by name."""
        return {n: p for definition in self.definitions for n, p in definition.parameters.items()}

    def definition(self, name: str) -> PacketDefinition:
        if name not in self.by_name:
            raise LocalError(f"dictionary {self.name}: no packet {name!r}; {sorted(self.by_name)}")
        return self.by_name[name]

    @cached_property
    def plan(self) -> DictionaryPlan:
        """Tables for the array code."""
        from protocols.telemetry.columns import plan_dictionary

        return plan_dictionary(self)

    # The array code is imported at first use: declaring a dictionary must not load Numba.

    def decode(self, batch: PacketBatch, sampler: Sampler | None = None) -> DecodedPackets:
        """A list of `ParameterTable`, one per definition found, with the packets that fit none.

        sampler: chooses the packets of which there are rows; None: all of them.

        Never raises on received octets: see `DecodedPackets.unmatched` and `.wrong_length`.
        """
        from protocols.telemetry.columns import decode

        return decode(self, batch, sampler)

    def encode(
        self,
        name: str,
        values: Mapping[str, Any],
        *,
        sequence_count: int = 0,
        raw: bool = False,
        saturate: bool = False,
    ) -> bytes:
        """One space packet from engineering values (raw values if `raw`).

        Counts of repeats may be left out; they follow from the lengths.  Raises LocalError for a
        missing, unknown or impossible value.
        """
        from protocols.telemetry.codec import build_packet

        return build_packet(
            self.definition(name), values, sequence_count=sequence_count, raw=raw, saturate=saturate
        )

    def encode_batch(
        self,
        name: str,
        columns: Mapping[str, Any],
        *,
        sequence_count: int | npt.NDArray[np.integer] = 0,
        raw: bool = False,
        saturate: bool = False,
        vcid: int = 0,
        ert_ns: int | npt.NDArray[np.int64] = 0,
    ) -> PacketBatch:
        """As `encode`, n packets from columns of n; counts up from `sequence_count` if it is one.

        Repeated parameters: [n, count], or a `Ragged`/list of arrays for a variable count.
        """
        from protocols.telemetry.encoding import encode_batch

        return encode_batch(
            self.definition(name),
            columns,
            sequence_count=sequence_count,
            raw=raw,
            saturate=saturate,
            vcid=vcid,
            ert_ns=ert_ns,
        )
