"""A dictionary as XTCE 1.2 (OMG XTCE 20180204, CCSDS 660.0-B-2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree

from protocols.errors import LocalError
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline, Text
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Count, Kind
from protocols.telemetry.limits import AnyLimits, EnumerationLimits, Range, Severity
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat

NAMESPACE = "http://www.omg.org/spec/XTCE/20180204"
SCHEMA = "https://www.omg.org/spec/XTCE/20180204/SpaceSystem.xsd"
ROOT_CONTAINER = "CCSDSPacket"

#: Names of AncillaryData by which an import recovers what XTCE has no words for.
SPARE = "l4.spare"
REPEAT = "l4.repeat"
PARAMETER = "l4.parameter"
TIME_CODE = "l4.time-code"
SCET_PARAMETER = "l4.scet"
SECONDARY_HEADER = "l4.secondary-header"
UNLISTED = "l4.unlisted"
UNIT = "l4.unit"

#: 133.0-B-2 §4.1.3.5.3; XTCE asks for an upper bound of variable strings.
LONGEST_BITS = 8 * 65536

Arrays = Literal["portable", "standard"]
Element = ElementTree.Element

#: XML 1.0 §2.2: characters that no XML document can hold.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _make(tag: str, *children: Element | None, **attributes: Any) -> Element:
    element = ElementTree.Element(f"xtce:{tag}")
    for name, value in attributes.items():
        if value is not None and value != "":
            element.set(name, _checked(str(value)))
    element.extend([child for child in children if child is not None])
    return element


def _checked(text: str) -> str:
    if _NO_XML.search(text):
        raise LocalError(f"XTCE: {text!r} has a character that XML cannot hold")
    return text


def _notes(text: str) -> Element | None:
    return _text("LongDescription", text) if text else None


def _text(tag: str, text: str) -> Element:
    element = _make(tag)
    element.text = _checked(text)
    return element


def _ancillary(values: Sequence[tuple[str, Any]]) -> Element | None:
    found: list[Element] = []
    for name, value in values:
        if value is not None:
            item = _make("AncillaryData", name=name)
            item.text = _checked(str(value))
            found.append(item)
    return _make("AncillaryDataSet", *found) if found else None


def _number(value: float) -> str:
    """Shortest text that reads back as the same double."""
    return repr(float(value))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _reference(parameter: str) -> Element:
    return _make("ParameterInstanceRef", parameterRef=parameter, useCalibratedValue="false")


def _dynamic(parameter: str, slope: float, intercept: float) -> Element:
    adjustment = _make("LinearAdjustment", slope=_number(slope), intercept=_number(intercept))
    return _make("DynamicValue", _reference(parameter), adjustment)


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
            _make(
                "SequenceContainer",
                _make("EntryList", *entries),
                name=ROOT_CONTAINER,
                abstract="true",
            )
        )
        self.length_name = header[6].name
        for apid in dict.fromkeys(d.apid for d in self.dictionary.definitions):
            self.packets(apid, [d for d in self.dictionary.definitions if d.apid == apid])
        root = _make(
            "SpaceSystem",
            _notes(self.dictionary.notes),
            _make(
                "TelemetryMetaData",
                _make("ParameterTypeSet", *self.types.values()),
                _make("ParameterSet", *self.parameters.values()),
                _make("ContainerSet", *self.containers),
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
            _make(
                "SequenceContainer",
                _make("EntryList", *self.entries(prefix, first)),
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
            _make(
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
                comparisons[0] if len(comparisons) == 1 else _make("ComparisonList", *comparisons)
            )
            criteria = _make("RestrictionCriteria", listed)
        return _make("BaseContainer", criteria, containerRef=container)

    def packet(
        self,
        definition: PacketDefinition,
        members: Sequence[Field],
        base: str,
        conditions: Sequence[Condition],
    ) -> None:
        usual = definition.secondary_header == (definition.time is not None)
        self.containers.append(
            _make(
                "SequenceContainer",
                _notes(definition.notes),
                _ancillary(
                    [
                        (SCET_PARAMETER, definition.time),
                        (
                            SECONDARY_HEADER,
                            None if usual else _flag(bool(definition.secondary_header)),
                        ),
                    ]
                ),
                _make("EntryList", *self.entries(members, definition)),
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
        made = self.type_of(parameter, definition)
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
        return _make("ParameterRefEntry", parameterRef=name)

    def parameter(self, parameter: Parameter, name: str, type_name: str) -> Element:
        """The XTCE parameter; one of another name says for which of ours it stands."""
        return _make(
            "Parameter",
            _notes(parameter.notes),
            _ancillary([(PARAMETER, None if name == parameter.name else parameter.name)]),
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
            self.types[kind] = _make(
                "BinaryParameterType",
                _ancillary([(SPARE, spare.bits)]),
                _make(
                    "BinaryDataEncoding",
                    _make("SizeInBits", _text("FixedValue", str(spare.bits))),
                ),
                name=f"{name}_Type",
            )
            self.parameters[kind] = _make("Parameter", name=name, parameterTypeRef=f"{name}_Type")
        return _make("ParameterRefEntry", parameterRef=self.parameters[kind].get("name"))

    def members(self, repeat: Repeat) -> list[Element]:
        return [
            self.spare(member) if isinstance(member, Spare) else self.entry(member)
            for member in repeat.fields
        ]

    def element_container(self, repeat: Repeat) -> str:
        name = self.container_name(f"{repeat.parameters[0].name}_ELEMENT")
        self.containers.append(
            _make(
                "SequenceContainer",
                _make("EntryList", *self.members(repeat)),
                name=name,
            )
        )
        return name

    def fixed_repeat(self, repeat: Repeat, count: int) -> list[Element]:
        """A parameter of its own for each value: every reader can decode that."""
        if self.arrays == "standard":
            return [self.standard_repeat(repeat, _text("FixedValue", str(count)), str(count - 1))]
        entries: list[Element] = []
        for index in range(count):
            for member in repeat.fields:
                if isinstance(member, Spare):
                    entries.append(self.spare(member))
                    continue
                self.types.setdefault(member.name, self.type_of(member, None))
                key = f"{member.name}[{index}]"
                if key not in self.parameters:
                    name = self.fresh(f"{member.name}_{index}")
                    self.parameters[key] = self.parameter(member, name, f"{member.name}_Type")
                name = self.parameters[key].get("name")
                entries.append(_make("ParameterRefEntry", parameterRef=name))
        entries[0].extend([_ancillary([(REPEAT, f"{count} x {len(repeat.fields)}")])])
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
            count = _dynamic(name, slope, intercept)
            return self.standard_repeat(repeat, count, _dynamic(name, slope, intercept - 1))
        size = self.size(repeat.count, bits, definition, what)
        key = f"{what}[{ElementTree.tostring(size)}]"
        if key not in self.parameters:
            name = self.fresh(f"{what}_ELEMENTS")
            self.types[key] = _make(
                "BinaryParameterType",
                _make("BinaryDataEncoding", _make("SizeInBits", size)),
                name=f"{name}_Type",
            )
            self.parameters[key] = _make(
                "Parameter",
                _ancillary([(REPEAT, self.element_container(repeat))]),
                name=name,
                parameterTypeRef=f"{name}_Type",
            )
        return _make("ParameterRefEntry", parameterRef=self.parameters[key].get("name"))

    def standard_repeat(self, repeat: Repeat, count: Element, last: str | Element) -> Element:
        """RepeatEntry of a container, or an array for a single parameter."""
        if len(repeat.fields) > 1:
            return _make(
                "ContainerRefEntry",
                _make("RepeatEntry", _make("Count", count)),
                containerRef=self.element_container(repeat),
            )
        (parameter,) = repeat.parameters
        self.types.setdefault(parameter.name, self.type_of(parameter, None))
        dimension = _make(
            "Dimension",
            _make("StartingIndex", _text("FixedValue", "0")),
            _make("EndingIndex", _text("FixedValue", last) if isinstance(last, str) else last),
        )
        key = f"{parameter.name}[{ElementTree.tostring(dimension)}]"
        if key not in self.parameters:
            array = self.fresh(f"{parameter.name}_ARRAY")
            self.types[key] = _make(
                "ArrayParameterType",
                _make("DimensionList", dimension),
                name=f"{array}_Type",
                arrayTypeRef=f"{parameter.name}_Type",
            )
            self.parameters[key] = self.parameter(parameter, array, f"{array}_Type")
        name = self.parameters[key].get("name")
        return _make("ArrayParameterRefEntry", parameterRef=name)

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
            return _dynamic(*self.to_the_end(definition, what))
        return _dynamic(count.parameter, element_bits * count.scale, element_bits * count.offset)

    # Types

    def type_of(self, parameter: Parameter, definition: PacketDefinition | None) -> Element:
        described, calibration = parameter.type, parameter.calibration
        name = f"{parameter.name}_Type"
        if described.kind is Kind.TIME:
            return self.time_type(parameter, name)
        units = None
        if parameter.unit:
            units = _make("UnitSet", _text("Unit", parameter.unit))
        if described.kind is Kind.OCTETS:
            if described.variable:
                size = self.size(described.length, 8, definition, f"parameter {parameter.name}")
            else:
                size = _text("FixedValue", str(described.bits))
            if isinstance(calibration, Text):
                encoding = _string(calibration, size, fixed=not described.variable)
                return _make("StringParameterType", units, encoding, name=name)
            encoding = _make("BinaryDataEncoding", _make("SizeInBits", size))
            return _make("BinaryParameterType", units, encoding, name=name)
        signed = described.kind is Kind.SIGNED
        if described.kind is Kind.FLOAT:
            encoding = _make(
                "FloatDataEncoding",
                _calibrator(calibration),
                sizeInBits=described.bits,
                encoding="IEEE754_1985",
                byteOrder=_byte_order(described.little),
            )
        else:
            encoding = _make(
                "IntegerDataEncoding",
                _calibrator(calibration),
                sizeInBits=described.bits,
                encoding="twosComplement" if signed else "unsigned",
                byteOrder=_byte_order(described.little),
            )
        alarm = _alarm(parameter.limits)
        if isinstance(calibration, Enumeration):
            labels = [
                _make("Enumeration", value=value, label=label)
                for value, label in calibration.labels
            ]
            listed = _make("EnumerationList", *labels)
            return _make("EnumeratedParameterType", units, encoding, listed, alarm, name=name)
        if described.is_integer and calibration is None:
            return _make(
                "IntegerParameterType",
                units,
                encoding,
                alarm,
                name=name,
                sizeInBits=described.bits,
                signed=_flag(signed),
            )
        bits = 64 if calibration is not None else max(described.bits, 32)
        return _make("FloatParameterType", units, encoding, alarm, name=name, sizeInBits=bits)

    def time_type(self, parameter: Parameter, name: str) -> Element:
        """Times in TAI seconds since 1958 where a scale can say it; else octets and their name."""
        time = parameter.type.time
        if isinstance(time, CucFormat):
            words = (
                f"CUC coarse={time.coarse_octets} fine={time.fine_octets} "
                f"epoch_tai_ns={time.epoch_tai_ns} p_field={int(time.p_field)}"
            )
        elif isinstance(time, CdsFormat):
            words = (
                f"CDS day={time.day_octets} submillisecond={time.submillisecond_octets} "
                f"epoch_tai_ns={time.epoch_tai_ns} p_field={int(time.p_field)} scale={time.scale}"
            )
        else:
            raise LocalError(f"XTCE: parameter {parameter.name}: time code {time!r} has no name")
        if isinstance(time, CucFormat) and not time.p_field:
            inner = _make(
                "IntegerDataEncoding", sizeInBits=parameter.type.bits, encoding="unsigned"
            )
            encoding = _make(
                "Encoding",
                inner,
                units="seconds",
                scale=_number(2.0 ** (-8 * time.fine_octets)),
                offset=_number(time.epoch_tai_ns / 1e9),
            )
        else:
            size = _text("FixedValue", str(parameter.type.bits))
            inner = _make("BinaryDataEncoding", _make("SizeInBits", size))
            encoding = _make("Encoding", inner, units="seconds")
        unit = None if parameter.unit == "ns" else parameter.unit
        return _make(
            "AbsoluteTimeParameterType",
            _ancillary([(TIME_CODE, words), (UNIT, unit)]),
            encoding,
            _make("ReferenceTime", _text("Epoch", "TAI")),
            name=name,
        )


def _byte_order(little: bool) -> str | None:
    return "leastSignificantByteFirst" if little else None


def _string(text: Text, size: Element | None, *, fixed: bool) -> Element:
    ends = fixed if text.terminated is None else text.terminated
    nul = "0000" if text.encoding.startswith("UTF-16") else "00"
    termination = _text("TerminationChar", nul) if ends else None
    if fixed:
        sized = _make("SizeInBits", _make("Fixed", size), termination)
    else:
        sized = _make("Variable", size, termination, maxSizeInBits=LONGEST_BITS)
    return _make("StringDataEncoding", sized, encoding=text.encoding)


def _calibrator(calibration: Calibration | None) -> Element | None:
    if isinstance(calibration, Polynomial):
        terms = [
            _make("Term", coefficient=_number(c), exponent=exponent)
            for exponent, c in enumerate(calibration.coefficients)
        ]
        return _make("DefaultCalibrator", _make("PolynomialCalibrator", *terms))
    if isinstance(calibration, Spline):
        points = [
            _make("SplinePoint", raw=_number(x), calibrated=_number(y))
            for x, y in calibration.points
        ]
        if len(points) < 2:
            raise LocalError(f"XTCE: spline {calibration.points}: two points or more wanted")
        spline = _make(
            "SplineCalibrator",
            *points,
            order=calibration.order,
            extrapolate=_flag(calibration.extrapolate),
        )
        return _make("DefaultCalibrator", spline)
    return None


def _range(tag: str, bounds: Range | None) -> Element | None:
    if bounds is None:
        return None
    low, high = bounds
    return _make(
        tag,
        minInclusive=None if low is None else _number(low),
        maxInclusive=None if high is None else _number(high),
    )


def _alarm(limits: AnyLimits | None) -> Element | None:
    if limits is None:
        return None
    if isinstance(limits, EnumerationLimits):
        unlisted = None if limits.unlisted is Severity.WARNING else limits.unlisted.name.lower()
        levels = [("warning", label) for label in limits.warning]
        levels += [("critical", label) for label in limits.critical]
        alarms = [
            _make("EnumerationAlarm", alarmLevel=level, enumerationLabel=label)
            for level, label in levels
        ]
        return _make(
            "DefaultAlarm",
            _ancillary([(UNLISTED, unlisted)]),
            _make("EnumerationAlarmList", *alarms),
            minViolations=limits.persistence,
        )
    ranges = _make(
        "StaticAlarmRanges",
        _range("WarningRange", limits.warning),
        _range("CriticalRange", limits.critical),
    )
    return _make("DefaultAlarm", ranges, minViolations=limits.persistence)


def write(dictionary: Dictionary, arrays: Arrays) -> bytes:
    root = _Writer(dictionary, arrays).document()
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"
