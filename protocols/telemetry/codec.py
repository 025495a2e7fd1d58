"""One packet at a time, interpreted by construct: the reference that the array code must equal."""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# Its subclasses extend what it names with an underscore.
# pyright: reportPrivateUsage=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from construct import (
    Array,
    Bitwise,
    Construct,
    ConstructError,
    Container,
    Padding,
    SizeofError,
    Struct,
)

from protocols.errors import LocalError, RemoteError
from protocols.telemetry.calibration import Text
from protocols.telemetry.declaration import (
    PRIMARY_HEADER_OCTETS,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Count, Kind
from protocols.telemetry.layout import VariablePart


def _members(members: tuple[Parameter | Spare, ...], *, in_bits: bool) -> Struct:
    built: list[Any] = []
    for member in members:
        if isinstance(member, Spare):
            built.append(Padding(member.bits if in_bits else member.bits // 8))
        else:
            built.append(member.name / member.type.construct(in_bits=in_bits))
    return Struct(*built)


def _on_octets(members: tuple[Field, ...]) -> bool:
    """Whether every field is whole octets, so that no bit stream is needed."""
    sizes: list[int] = []
    for member in members:
        inner = member.fields if isinstance(member, Repeat) else (member,)
        sizes += [m.bits if isinstance(m, Spare) else m.type.bits for m in inner]
    return all(size % 8 == 0 for size in sizes)


class _Static(Construct):
    """Fields at fixed places; repeated ones come out as one list per parameter."""

    def __init__(self, members: tuple[Field, ...]) -> None:
        super().__init__()
        self.members = members
        in_bits = not _on_octets(members)
        built: list[Any] = []
        for index, member in enumerate(members):
            if isinstance(member, Repeat):
                assert isinstance(member.count, int)
                element = _members(member.fields, in_bits=in_bits)
                built.append(f"repeat{index}" / Array(member.count, element))
            else:
                built += _members((member,), in_bits=in_bits).subcons
        self.subcon: Any = Bitwise(Struct(*built)) if in_bits else Struct(*built)

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        parsed = self.subcon._parsereport(stream, context, path)
        flat = Container()
        for index, member in enumerate(self.members):
            if isinstance(member, Parameter):
                flat[member.name] = parsed[member.name]
            elif isinstance(member, Repeat):
                for p in member.parameters:
                    flat[p.name] = [element[p.name] for element in parsed[f"repeat{index}"]]
        return flat

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        nested: dict[str, Any] = dict(obj)
        for index, member in enumerate(self.members):
            if isinstance(member, Repeat):
                nested[f"repeat{index}"] = _elements(member, obj)
        self.subcon._build(nested, stream, context, path)
        return obj

    def _sizeof(self, context: Any, path: str) -> int:
        return self.subcon._sizeof(context, path)


def _elements(repeat: Repeat, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    columns = {p.name: values[p.name] for p in repeat.parameters}
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise LocalError(f"repeat: parameters of one repeat have {lengths} values; equal wanted")
    size = next(iter(lengths.values()))
    return [{name: column[i] for name, column in columns.items()} for i in range(size)]


class PacketStruct(Construct):
    """The whole packet; its value is a flat container of raw values by parameter name."""

    def __init__(self, definition: PacketDefinition) -> None:
        super().__init__()
        self.definition = definition
        self.length_name = definition.header[6].name
        self.header = _Static(definition.header)
        self.parts: list[_Static | Parameter | Repeat] = []
        static: list[Field] = []
        for member in definition.fields:
            loose = isinstance(member, Parameter) and member.type.variable
            if loose or (isinstance(member, Repeat) and not isinstance(member.count, int)):
                if static:
                    self.parts.append(_Static(tuple(static)))
                    static = []
                assert isinstance(member, Parameter | Repeat)
                self.parts.append(member)
            else:
                static.append(member)
        if static:
            self.parts.append(_Static(tuple(static)))
        self.element: dict[int, Any] = {
            id(part): _members(part.fields, in_bits=not _on_octets(part.fields))
            for part in self.parts
            if isinstance(part, Repeat)
        }
        for part in self.parts:
            if isinstance(part, Repeat) and not _on_octets(part.fields):
                self.element[id(part)] = Bitwise(self.element[id(part)])

    def _octets_after(self, index: int, values: Mapping[str, Any]) -> int:
        """Octets of the parts after `index`, whose counts have all been read by then."""
        total = 0
        for part in self.parts[index + 1 :]:
            if isinstance(part, _Static):
                total += part.sizeof()
            else:
                count = part.count if isinstance(part, Repeat) else part.type.length
                assert isinstance(count, Count)
                size = part.element_bits // 8 if isinstance(part, Repeat) else 1
                total += size * count(values)
        return total

    def _parse(self, stream: Any, context: Any, path: str) -> Any:
        start = stream.tell()
        values = self.header._parsereport(stream, context, path)
        end = start + PRIMARY_HEADER_OCTETS + values[self.length_name] + 1
        for index, part in enumerate(self.parts):
            if isinstance(part, _Static):
                values.update(part._parsereport(stream, context, path))
                continue
            size = part.element_bits // 8 if isinstance(part, Repeat) else 1
            count = part.count if isinstance(part, Repeat) else part.type.length
            if isinstance(count, Count):
                number = count(values)
            else:
                number, rest = divmod(end - stream.tell() - self._octets_after(index, values), size)
                if rest:
                    raise ConstructError(f"{rest} octets over after {number} elements", path=path)
            if number < 0:
                raise ConstructError(f"{number} elements", path=path)
            if isinstance(part, Parameter):
                data = stream.read(number)
                if len(data) != number:
                    raise ConstructError(
                        f"{part.name}: {len(data)} octets left of {number}", path=path
                    )
                values[part.name] = data
            else:
                element = self.element[id(part)]
                parsed = [element._parsereport(stream, context, path) for _ in range(number)]
                for p in part.parameters:
                    values[p.name] = [item[p.name] for item in parsed]
        if stream.tell() != end:
            raise ConstructError(f"fields end at octet {stream.tell() - start}, not {end - start}")
        return values

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> Any:
        self.header._build(obj, stream, context, path)
        for part in self.parts:
            if isinstance(part, _Static):
                part._build(obj, stream, context, path)
            elif isinstance(part, Parameter):
                stream.write(obj[part.name])
            else:
                for element in _elements(part, obj):
                    self.element[id(part)]._build(element, stream, context, path)
        return obj

    def _sizeof(self, context: Any, path: str) -> int:
        if self.definition.layout.variable:
            raise SizeofError(path=path)
        return self.definition.layout.fixed_octets


def packet_construct(definition: PacketDefinition) -> PacketStruct:
    return PacketStruct(definition)


def parse_packet(definition: PacketDefinition, packet: bytes) -> dict[str, Any]:
    """Raw values by name; RemoteError if the octets do not fit the definition exactly."""
    try:
        values = definition.construct.parse(packet)
    except (ConstructError, ValueError) as error:
        message = f"packet {definition.name}: {error}".replace("\n", "; ")
        raise RemoteError(message, data=packet) from error
    said = PRIMARY_HEADER_OCTETS + values[definition.header[6].name] + 1
    if said != len(packet):
        raise RemoteError(
            f"packet {definition.name}: {len(packet)} octets, the header says {said}",
            data=packet,
            offset=min(said, len(packet)),
        )
    return {name: value for name, value in values.items() if not name.startswith("_")}


def check_names(definition: PacketDefinition, given: set[str]) -> None:
    """LocalError for values that belong to no field, and for fields without a value."""
    header = {p.name for p in definition.header[:6]}
    unknown = given - header - set(definition.parameters)
    if unknown:
        raise LocalError(f"packet {definition.name}: no parameter {sorted(unknown)}")
    missing = set(definition.parameters) - given - implied_names(definition)
    if missing:
        raise LocalError(f"packet {definition.name}: no value for {sorted(missing)}")


def implied_names(definition: PacketDefinition) -> set[str]:
    """Fields that need no value: counts follow from lengths, fixed values from conditions."""
    counts = {
        part.count.parameter
        for part in definition.layout.parts
        if isinstance(part, VariablePart) and part.count is not None
    }
    return counts | {c.parameter for c in definition.conditions if c.operator == "=="}


def header_values(definition: PacketDefinition) -> dict[str, int]:
    """Primary header before a packet's own numbers are put in (133.0-B-2 §4.1.3)."""
    names = [p.name for p in definition.header]
    flag = int(bool(definition.secondary_header))
    values = dict(zip(names, (0, 0, flag, definition.apid or 0, 3, 0, 0), strict=True))
    for condition in definition.conditions:
        if condition.operator == "==" and condition.parameter in values:
            values[condition.parameter] = condition.value
    return values


def _raw_value(parameter: Parameter, value: Any, *, raw: bool, saturate: bool) -> Any:
    if parameter.type.kind is Kind.OCTETS:
        if isinstance(value, str):
            if not isinstance(parameter.calibration, Text) or raw:
                raise LocalError(f"parameter {parameter.name}: octets wanted, text given")
            length = None if parameter.type.variable else parameter.type.bits // 8
            return parameter.calibration.encode(value, length, f"parameter {parameter.name}")
        octets = bytes(value)
        if not parameter.type.variable and len(octets) * 8 != parameter.type.bits:
            raise LocalError(
                f"parameter {parameter.name}: {len(octets)} octets; "
                f"{parameter.type.bits // 8} wanted"
            )
        return octets
    convert = parameter.to_raw if raw else parameter.uncalibrate
    return convert(value, saturate=saturate).tolist()


def build_packet(
    definition: PacketDefinition,
    values: Mapping[str, Any],
    *,
    sequence_count: int,
    raw: bool,
    saturate: bool,
) -> bytes:
    """One packet; see `Dictionary.encode`."""
    check_names(definition, set(values))
    obj: dict[str, Any] = header_values(definition)
    obj[definition.header[5].name] = sequence_count & 0x3FFF
    for condition in definition.conditions:
        if condition.operator == "==":
            obj[condition.parameter] = condition.value
    slots = definition.layout.slots
    for name, value in values.items():
        parameter = definition.parameters.get(name)
        if parameter is None:
            obj[name] = int(value)
        elif parameter.type.kind is Kind.OCTETS and _repeated(definition, name):
            obj[name] = [_raw_value(parameter, v, raw=raw, saturate=saturate) for v in value]
        else:
            obj[name] = _raw_value(parameter, value, raw=raw, saturate=saturate)
        slot = slots.get(name)
        if slot is not None and slot.repeat is not None and len(obj[name]) != slot.repeat[0]:
            raise LocalError(f"parameter {name}: {len(obj[name])} values; {slot.repeat[0]} wanted")
    octets = definition.layout.fixed_octets
    for part in definition.layout.parts:
        if not isinstance(part, VariablePart):
            continue
        name = part.slots[0].name
        number = len(obj[name])
        octets += number * part.element_octets
        if part.count is not None:
            implied = part.count.inverse(number, f"parameter {name}")
            if obj.setdefault(part.count.parameter, implied) != implied:
                raise LocalError(
                    f"parameter {name}: {number} elements, but {part.count.parameter} "
                    f"is {obj[part.count.parameter]}, not {implied}"
                )
    if octets > PRIMARY_HEADER_OCTETS + 65536:
        raise LocalError(f"packet {definition.name}: {octets} octets; 65542 allowed")
    if octets <= PRIMARY_HEADER_OCTETS:
        raise LocalError(f"packet {definition.name}: empty data field; 1 octet or more wanted")
    obj[definition.header[6].name] = octets - PRIMARY_HEADER_OCTETS - 1
    try:
        return definition.construct.build(obj)
    except ConstructError as error:
        raise LocalError(f"packet {definition.name}: {error}") from error


def _repeated(definition: PacketDefinition, name: str) -> bool:
    return any(
        isinstance(member, Repeat) and name in {p.name for p in member.parameters}
        for member in definition.fields
    )
