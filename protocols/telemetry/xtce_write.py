"""A dictionary as XTCE 1.2 (OMG XTCE 20180204, CCSDS 660.0-B-2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree

from protocols.errors import LocalError
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Count
from protocols.telemetry.xtce_elements import (
    PARAMETER,
    REPEAT,
    SCET_PARAMETER,
    SECONDARY_HEADER,
    SPARE,
    Element,
    add,
    ancillary,
    dynamic,
    flag,
    leaf,
    make,
    notes,
    parameter_type,
)

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"
SCHEMA = "https://www.omg.org/spec/XTCE/20180204/SpaceSystem.xsd"
ROOT_CONTAINER = "CCSDSPacket"

Arrays = Literal["portable", "standard"]


class _Writer:
    def __init__(self, dictionary: Dictionary, arrays: Arrays) -> None:
        self.dictionary = dictionary
        self.arrays = arrays
        self.types: dict[str, Element] = {}
        self.parameters: dict[str, Element] = {}
        self.containers: list[Element] = []
        self.container_names: set[str] = {ROOT_CONTAINER}
        self.taken = set(dictionary.parameters) | {p.name for p in dictionary.definitions[0].header}

    def document(self) -> Element:
        header = self.dictionary.definitions[0].header
        entries = [self.entry(parameter) for parameter in header]
        self.containers.append(
            make(
                "SequenceContainer",
                make("EntryList", *entries),
                name=ROOT_CONTAINER,
                abstract="true",
            )
        )
        self.length_name = header[6].name
        for apid in dict.fromkeys(d.apid for d in self.dictionary.definitions):
            self.packets(apid, [d for d in self.dictionary.definitions if d.apid == apid])
        root = make(
            "SpaceSystem",
            notes(self.dictionary.notes),
            make(
                "TelemetryMetaData",
                make("ParameterTypeSet", *self.types.values()),
                make("ParameterSet", *self.parameters.values()),
                make("ContainerSet", *self.containers),
            ),
            name=self.dictionary.name,
            shortDescription=self.dictionary.description,
        )
        root.set("xmlns:xtce", NAMESPACE)
        root.set("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance")
        root.set("xsi:schemaLocation", f"{NAMESPACE} {SCHEMA}")
        return root

    def fresh(self, name: str) -> str:
        """A parameter name for XTCE alone, which the dictionary does not use."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name

    # Containers

    def packets(self, apid: int | None, definitions: list[PacketDefinition]) -> None:
        """Containers of one APID's packets: conditions on the body need a common base container,
        because a restriction can only look at what the base has decoded."""
        header = {p.name for p in definitions[0].header}
        in_body = {c.parameter for d in definitions for c in d.conditions} - header
        if not in_body:
            for definition in definitions:
                conditions = self.apid_condition(definition) + definition.conditions
                self.packet(definition, definition.fields, ROOT_CONTAINER, conditions)
            return
        if apid is None and len(self.dictionary.definitions) > len(definitions):
            raise LocalError(
                f"XTCE: packet {definitions[0].name} without APID cannot be told from others by "
                f"{sorted(in_body)}: XTCE would have to decode those before it has chosen"
            )
        first = definitions[0]
        size = 1 + max(
            index
            for index, member in enumerate(first.fields)
            if isinstance(member, Parameter) and member.name in in_body
        )
        prefix = first.fields[:size]
        for definition in definitions:
            if definition.fields[:size] != prefix:
                raise LocalError(
                    f"XTCE: packets {first.name} and {definition.name} of APID {apid} begin "
                    f"differently before {sorted(in_body)}, which tells them apart"
                )
        base = self.container_name(f"APID_{'ANY' if apid is None else apid}")
        criteria = self.apid_condition(first)
        self.containers.append(
            make(
                "SequenceContainer",
                make("EntryList", *self.entries(prefix, first)),
                self.base(ROOT_CONTAINER, criteria),
                name=base,
                abstract="true",
            )
        )
        for definition in definitions:
            self.packet(definition, definition.fields[size:], base, definition.conditions)

    def container_name(self, name: str) -> str:
        names = self.container_names | set(self.dictionary.by_name)
        while name in names:
            name += "_"
        self.container_names.add(name)
        return name

    def apid_condition(self, definition: PacketDefinition) -> tuple[Condition, ...]:
        if definition.apid is None:
            return ()
        return (Condition(definition.header[3].name, definition.apid),)

    def base(self, container: str, conditions: Sequence[Condition]) -> Element:
        comparisons = [
            make(
                "Comparison",
                parameterRef=c.parameter,
                useCalibratedValue="false",
                comparisonOperator=c.operator,
                value=str(c.value),
            )
            for c in conditions
        ]
        criteria = None
        if comparisons:
            listed = (
                comparisons[0] if len(comparisons) == 1 else make("ComparisonList", *comparisons)
            )
            criteria = make("RestrictionCriteria", listed)
        return make("BaseContainer", criteria, containerRef=container)

    def packet(
        self,
        definition: PacketDefinition,
        members: Sequence[Field],
        base: str,
        conditions: Sequence[Condition],
    ) -> None:
        usual = definition.secondary_header == (definition.time is not None)
        self.containers.append(
            make(
                "SequenceContainer",
                notes(definition.notes),
                ancillary(
                    [
                        (SCET_PARAMETER, definition.time),
                        (
                            SECONDARY_HEADER,
                            None if usual else flag(bool(definition.secondary_header)),
                        ),
                    ]
                ),
                make("EntryList", *self.entries(members, definition)),
                self.base(base, conditions),
                name=definition.name,
                shortDescription=definition.description,
            )
        )

    # Entries

    def entries(self, members: Sequence[Field], definition: PacketDefinition) -> list[Element]:
        found: list[Element] = []
        for member in members:
            if isinstance(member, Spare):
                found.append(self.spare(member))
            elif isinstance(member, Parameter):
                found.append(self.entry(member, definition))
            elif isinstance(member.count, int):
                found += self.fixed_repeat(member, member.count)
            else:
                found.append(self.variable_repeat(member, definition))
        return found

    def entry(self, parameter: Parameter, definition: PacketDefinition | None = None) -> Element:
        size = None
        if parameter.type.variable:
            size = self.size(parameter.type.length, 8, definition, f"parameter {parameter.name}")
        made = parameter_type(parameter, size)
        known = self.types.setdefault(parameter.name, made)
        if ElementTree.tostring(known) == ElementTree.tostring(made):
            name, key = parameter.name, parameter.name
        else:
            # Octets to the end of two packets: one parameter here, two sizes and types in XTCE.
            assert definition is not None
            key = f"{parameter.name} in {definition.name}"
            name = self.fresh(f"{parameter.name}_{definition.name}")
            made.set("name", f"{name}_Type")
            self.types[key] = made
        if key not in self.parameters:
            self.parameters[key] = self.parameter(parameter, name, f"{made.get('name')}")
        return make("ParameterRefEntry", parameterRef=name)

    def parameter(self, parameter: Parameter, name: str, type_name: str) -> Element:
        """The XTCE parameter; one of another name says for which of ours it stands."""
        return make(
            "Parameter",
            notes(parameter.notes),
            ancillary([(PARAMETER, None if name == parameter.name else parameter.name)]),
            name=name,
            parameterTypeRef=type_name,
            shortDescription=parameter.description,
        )

    def spare(self, spare: Spare) -> Element:
        """Padding as a parameter of its own: not every reader knows LocationInContainerInBits."""
        kind = f"{SPARE}.{spare.bits}"
        name = f"SPARE_{spare.bits}_BITS"
        if kind not in self.types:
            name = self.fresh(name)
            self.types[kind] = make(
                "BinaryParameterType",
                ancillary([(SPARE, spare.bits)]),
                make(
                    "BinaryDataEncoding",
                    make("SizeInBits", leaf("FixedValue", str(spare.bits))),
                ),
                name=f"{name}_Type",
            )
            self.parameters[kind] = make("Parameter", name=name, parameterTypeRef=f"{name}_Type")
        return make("ParameterRefEntry", parameterRef=self.parameters[kind].get("name"))

    def members(self, repeat: Repeat) -> list[Element]:
        return [
            self.spare(member) if isinstance(member, Spare) else self.entry(member)
            for member in repeat.fields
        ]

    def element_container(self, repeat: Repeat) -> str:
        name = self.container_name(f"{repeat.parameters[0].name}_ELEMENT")
        self.containers.append(
            make(
                "SequenceContainer",
                make("EntryList", *self.members(repeat)),
                name=name,
            )
        )
        return name

    def fixed_repeat(self, repeat: Repeat, count: int) -> list[Element]:
        """A parameter of its own for each value: every reader can decode that."""
        if self.arrays == "standard":
            return [self.standard_repeat(repeat, leaf("FixedValue", str(count)), str(count - 1))]
        entries: list[Element] = []
        for index in range(count):
            for member in repeat.fields:
                if isinstance(member, Spare):
                    entries.append(self.spare(member))
                    continue
                self.types.setdefault(member.name, parameter_type(member, None))
                key = f"{member.name}[{index}]"
                if key not in self.parameters:
                    name = self.fresh(f"{member.name}_{index}")
                    self.parameters[key] = self.parameter(member, name, f"{member.name}_Type")
                name = self.parameters[key].get("name")
                entries.append(make("ParameterRefEntry", parameterRef=name))
        add(entries[0], ancillary([(REPEAT, f"{count} x {len(repeat.fields)}")]))
        return entries

    def variable_repeat(self, repeat: Repeat, definition: PacketDefinition) -> Element:
        """All elements as one string of octets, and a container that says what an element is."""
        what, bits = repeat.parameters[0].name, repeat.element_bits
        if self.arrays == "standard":
            if repeat.count is None:
                name, slope, intercept = self.to_the_end(definition, what)
                slope, intercept = slope / bits, intercept / bits
            else:
                assert isinstance(repeat.count, Count)
                name, slope = repeat.count.parameter, float(repeat.count.scale)
                intercept = float(repeat.count.offset)
            count = dynamic(name, slope, intercept)
            return self.standard_repeat(repeat, count, dynamic(name, slope, intercept - 1))
        size = self.size(repeat.count, bits, definition, what)
        key = f"{what}[{ElementTree.tostring(size)}]"
        if key not in self.parameters:
            name = self.fresh(f"{what}_ELEMENTS")
            self.types[key] = make(
                "BinaryParameterType",
                make("BinaryDataEncoding", make("SizeInBits", size)),
                name=f"{name}_Type",
            )
            self.parameters[key] = make(
                "Parameter",
                ancillary([(REPEAT, self.element_container(repeat))]),
                name=name,
                parameterTypeRef=f"{name}_Type",
            )
        return make("ParameterRefEntry", parameterRef=self.parameters[key].get("name"))

    def standard_repeat(self, repeat: Repeat, count: Element, last: str | Element) -> Element:
        """RepeatEntry of a container, or an array for a single parameter."""
        if len(repeat.fields) > 1:
            return make(
                "ContainerRefEntry",
                make("RepeatEntry", make("Count", count)),
                containerRef=self.element_container(repeat),
            )
        (parameter,) = repeat.parameters
        self.types.setdefault(parameter.name, parameter_type(parameter, None))
        dimension = make(
            "Dimension",
            make("StartingIndex", leaf("FixedValue", "0")),
            make("EndingIndex", leaf("FixedValue", last) if isinstance(last, str) else last),
        )
        key = f"{parameter.name}[{ElementTree.tostring(dimension)}]"
        if key not in self.parameters:
            array = self.fresh(f"{parameter.name}_ARRAY")
            self.types[key] = make(
                "ArrayParameterType",
                make("DimensionList", dimension),
                name=f"{array}_Type",
                arrayTypeRef=f"{parameter.name}_Type",
            )
            self.parameters[key] = self.parameter(parameter, array, f"{array}_Type")
        name = self.parameters[key].get("name")
        return make("ArrayParameterRefEntry", parameterRef=name)

    def to_the_end(self, definition: PacketDefinition, what: str) -> tuple[str, float, float]:
        """Bits left for a part that runs to the packet's end: packet length × 8 + a constant."""
        for member in definition.fields:
            counted = member.count if isinstance(member, Repeat) else None
            if isinstance(member, Parameter):
                counted = member.type.length
            if isinstance(counted, Count):
                raise LocalError(
                    f"XTCE: {what} in packet {definition.name} takes what {counted.parameter} "
                    "leaves of the packet; an XTCE size depends on one parameter alone"
                )
        return self.length_name, 8.0, 8.0 * (7 - definition.layout.fixed_octets)

    def size(
        self, count: Any, element_bits: int, definition: PacketDefinition | None, what: str
    ) -> Element:
        if count is None:
            if definition is None:
                raise LocalError(f"XTCE: {what} has no packet to run to the end of")
            return dynamic(*self.to_the_end(definition, what))
        return dynamic(count.parameter, element_bits * count.scale, element_bits * count.offset)


def write(dictionary: Dictionary, arrays: Arrays) -> bytes:
    root = _Writer(dictionary, arrays).document()
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
