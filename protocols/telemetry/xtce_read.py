"""XTCE 1.2 into a dictionary; what declarations cannot say is refused by element and path."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from construct import (
    BitsInteger,
    Bytes,
    Float16b,
    Float16l,
    Float32b,
    Float32l,
    Float64b,
    Float64l,
    GreedyBytes,
)
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from protocols.errors import LocalError, RemoteError
from protocols.telemetry import xtce_write as names
from protocols.telemetry.calibration import (
    CHARACTER_SETS,
    Calibration,
    Enumeration,
    Polynomial,
    Spline,
    Text,
)
from protocols.telemetry.declaration import (
    PRIMARY_HEADER,
    Condition,
    Dictionary,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
    Spare,
)
from protocols.telemetry.fields import Count
from protocols.telemetry.limits import AnyLimits, EnumerationLimits, Limits, Severity
from protocols.timecodes.cds import CdsFormat
from protocols.timecodes.cuc import CucFormat


class XtceRefused(RemoteError):
    """The document says something that declarations cannot say (or that XTCE does not allow)."""


@dataclass
class Node:
    """An element of which every child and attribute must be asked for, or `finish` refuses it."""

    element: Element
    path: str
    ignore: frozenset[str]
    asked: set[str] = field(default_factory=set[str])

    @property
    def tag(self) -> str:
        return self.element.tag.rsplit("}", 1)[-1]

    def refuse(self, what: str) -> XtceRefused:
        return XtceRefused(f"XTCE {self.path}: {what}")

    def wrap(self, element: Element) -> Node:
        tag = element.tag.rsplit("}", 1)[-1]
        name = element.get("name")
        label = f"{tag}[{name}]" if name else tag
        return Node(element, f"{self.path}/{label}", self.ignore)

    def attribute(self, name: str, default: str | None = None) -> str:
        self.asked.add(name)
        value = self.element.get(name, default)
        if value is None:
            raise self.refuse(f"attribute {name} is missing")
        return value

    def flag(self, name: str, default: bool) -> bool:
        value = self.attribute(name, "true" if default else "false").strip().lower()
        if value not in ("true", "false", "1", "0"):
            raise self.refuse(f"attribute {name}={value!r}; true or false wanted")
        return value in ("true", "1")

    def integer(self, name: str, default: str | None = None) -> int:
        return self._number(self.attribute(name, default), f"attribute {name}", int)

    def real(self, name: str, default: str | None = None) -> float:
        return self._number(self.attribute(name, default), f"attribute {name}", float)

    def _number(self, text: str, what: str, kind: Callable[[str], Any]) -> Any:
        try:
            return kind(text.strip())
        except ValueError as error:
            raise self.refuse(f"{what} is {text!r}; a number wanted") from error

    def text(self) -> str:
        self.asked.add("#text")
        return self.element.text or ""

    def content(self, kind: Callable[[str], Any]) -> Any:
        return self._number(self.text(), "content", kind)

    def children(self, tag: str | None = None) -> list[Node]:
        self.asked.add(tag or "*")
        return [
            node
            for node in (self.wrap(child) for child in self.element if isinstance(child.tag, str))
            if tag in (None, node.tag)
        ]

    def child(self, tag: str) -> Node | None:
        found = self.children(tag)
        if len(found) > 1:
            raise found[1].refuse("more than one; one wanted")
        return found[0] if found else None

    def need(self, tag: str) -> Node:
        found = self.child(tag)
        if found is None:
            raise self.refuse(f"element {tag} is missing")
        return found

    def finish(self) -> None:
        """Refuse whatever was not asked for."""
        for name in self.element.attrib:
            if name.startswith("{"):
                continue
            if name not in self.asked and name not in self.ignore:
                raise self.refuse(f"attribute {name} has no place in a declaration")
        for node in [] if "*" in self.asked else self.children():
            if node.tag not in self.asked and node.tag not in self.ignore:
                raise node.refuse(f"element {node.tag} has no place in a declaration")

    def ancillary(self) -> dict[str, str]:
        """Our own AncillaryData by name; foreign data is refused."""
        block = self.child("AncillaryDataSet")
        found: dict[str, str] = {}
        for item in block.children("AncillaryData") if block else []:
            name = item.attribute("name")
            if not name.startswith("l4."):
                if "AncillaryData" in self.ignore or "AncillaryDataSet" in self.ignore:
                    continue
                raise item.refuse("element AncillaryData has no place in a declaration")
            found[name] = item.text()
            item.finish()
        if block:
            block.finish()
        return found


@dataclass(frozen=True)
class _Open:
    """A size that follows from the packet's length: bits = 8 × packet length field + intercept."""

    intercept: float


@dataclass(frozen=True)
class _Size:
    """bits = fixed, or parameter × slope + intercept."""

    parameter: str | None
    slope: float
    intercept: float


def _operand(node: Node) -> tuple[str, bool]:
    """A reference to a parameter, and whether its calibrated value is meant."""
    name = _local(node, node.attribute("parameterRef"))
    if node.integer("instance", "0") != 0:
        raise node.refuse("attribute instance: only the parameter's last value can be meant")
    return name, node.flag("useCalibratedValue", True)


def _local(node: Node, reference: str) -> str:
    if "/" in reference or "[" in reference:
        raise node.refuse(f"reference {reference!r} into another space system or structure")
    return reference


class Reader:
    def __init__(self, root: Node) -> None:
        self.root = root
        if root.tag != "SpaceSystem":
            raise root.refuse("the root element must be SpaceSystem")
        data = root.need("TelemetryMetaData")
        self.types = self.named(data.child("ParameterTypeSet"))
        self.parameters = self.named(data.child("ParameterSet"))
        self.containers = self.named(data.need("ContainerSet"))
        data.finish()
        self.length_name = ""
        self.read_parameters: dict[str, Parameter] = {}
        #: Sizes that only the finished packet can confirm: parameter → the intercept it was given.
        self.open: dict[str, float] = {}
        self.open_intercept: dict[str, float] = {}

    @staticmethod
    def named(block: Node | None) -> dict[str, Node]:
        found: dict[str, Node] = {}
        for node in block.children() if block else []:
            name = node.attribute("name")
            if name in found:
                raise node.refuse("declared twice")
            found[name] = node
        return found

    def dictionary(self) -> Dictionary:
        root = self.root
        notes = root.child("LongDescription")
        # The document's own history; a declaration's history is kept by version control.
        root.child("Header")
        parents = {name: self.base_of(node) for name, node in self.containers.items()}
        inherited = {parent for parent in parents.values() if parent}
        referenced = {
            entry.element.get("containerRef")
            for node in self.containers.values()
            for entry in node.need("EntryList").children("ContainerRefEntry")
        }
        referenced |= {node.ancillary().get(names.REPEAT) for node in self.parameters.values()}
        definitions: list[PacketDefinition] = []
        for name, node in self.containers.items():
            if node.flag("abstract", False):
                continue
            if parents[name] is None and name in referenced:
                continue
            definitions.append(self.packet(name, parents, inherited))
        if not definitions:
            raise root.refuse("no concrete SequenceContainer")
        made = Dictionary(
            root.attribute("name"),
            tuple(definitions),
            root.attribute("shortDescription", ""),
            notes.text() if notes else "",
        )
        root.finish()
        return made

    # Containers

    def base_of(self, node: Node) -> str | None:
        base = node.child("BaseContainer")
        return _local(base, base.attribute("containerRef")) if base else None

    def chain(self, name: str, parents: dict[str, str | None]) -> list[str]:
        """From the root container to `name`."""
        found = [name]
        while (parent := parents[found[0]]) is not None:
            if parent not in self.containers or parent in found:
                raise self.containers[found[0]].refuse(f"base container {parent!r}")
            found.insert(0, parent)
        return found

    def packet(
        self, name: str, parents: dict[str, str | None], inherited: set[str]
    ) -> PacketDefinition:
        node = self.containers[name]
        chain = self.chain(name, parents)
        members: list[Field] = []
        self.open = {}
        leading = self.containers[chain[0]].need("EntryList").children()[:7]
        self.length_name = leading[-1].element.get("parameterRef", "") if leading else ""
        for container in chain:
            members += self.entries(self.containers[container], nested=False)
        header, body = self.split_header(node, members)
        conditions = [c for container in chain for c in self.criteria(self.containers[container])]
        if name in inherited:
            conditions += self.exceptions(name, parents)
        by_apid = [c for c in conditions if c.parameter == header[3].name and c.operator == "=="]
        if len({c.value for c in by_apid}) > 1:
            raise node.refuse(f"more than one APID: {[c.value for c in by_apid]}")
        apid = by_apid[0].value if by_apid else None
        rest = [c for c in dict.fromkeys(conditions) if c not in by_apid]
        extra = node.ancillary()
        secondary = extra.pop(names.SECONDARY_HEADER, None)
        time = extra.pop(names.SCET_PARAMETER, None)
        notes = node.child("LongDescription")
        for container in chain:
            self.finish_container(self.containers[container])
        try:
            made = PacketDefinition(
                name,
                apid,
                tuple(body),
                tuple(rest),
                time,
                node.attribute("shortDescription", ""),
                notes.text() if notes else "",
                None if secondary is None else secondary == "true",
                header,
            )
        except LocalError as error:
            raise node.refuse(str(error)) from error
        for parameter, intercept in self.open.items():
            if intercept != 8 * (7 - made.layout.fixed_octets):
                raise node.refuse(
                    f"{parameter} takes {intercept / 8:+g} octets from the packet length; only "
                    f"what the other fields leave ({7 - made.layout.fixed_octets:+d}) can be said"
                )
        return made

    def finish_container(self, node: Node) -> None:
        node.attribute("name")
        node.flag("abstract", False)
        # A base container's own words are about no packet in particular.
        node.attribute("shortDescription", "")
        node.child("LongDescription")
        node.child("AncillaryDataSet")
        node.finish()

    def split_header(
        self, node: Node, members: Sequence[Field]
    ) -> tuple[tuple[Parameter, ...], Sequence[Field]]:
        """The primary header's seven fields, which every packet's container must begin with."""
        header = tuple(m for m in members[:7] if isinstance(m, Parameter))
        widths = [p.type.bits for p in header]
        if widths != [p.type.bits for p in PRIMARY_HEADER]:
            raise node.refuse(
                f"fields of {widths} bits first; a space packet's primary header "
                "(3, 1, 1, 11, 2, 14, 16) wanted"
            )
        return header, members[7:]

    def exceptions(self, name: str, parents: dict[str, str | None]) -> list[Condition]:
        """A concrete container is for packets that none of its heirs takes."""
        opposite = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
        found: list[Condition] = []
        for heir, parent in parents.items():
            if parent == name:
                criteria = self.criteria(self.containers[heir])
                if len(criteria) != 1:
                    raise self.containers[heir].refuse(
                        f"RestrictionCriteria of {len(criteria)} comparisons on {name}, which is "
                        "not abstract: what is left to it cannot be said as comparisons"
                    )
                only = criteria[0]
                found.append(replace(only, operator=opposite[only.operator]))
        return found

    def criteria(self, node: Node) -> list[Condition]:
        base = node.child("BaseContainer")
        if base is None:
            return []
        base.attribute("containerRef")
        restriction = base.child("RestrictionCriteria")
        base.finish()
        if restriction is None:
            return []
        listed = restriction.child("ComparisonList")
        if listed is not None:
            found = [self.comparison(node) for node in listed.children("Comparison")]
            listed.finish()
        else:
            only = restriction.child("Comparison")
            found = [self.comparison(only)] if only else []
        restriction.finish()
        return found

    def comparison(self, node: Node) -> Condition:
        name, calibrated = _operand(node)
        operator = node.attribute("comparisonOperator", "==")
        text = node.attribute("value")
        node.finish()
        parameter = self.parameter(name, node)
        if calibrated and isinstance(parameter.calibration, Enumeration):
            if operator not in ("==", "!="):
                raise node.refuse(f"attribute comparisonOperator {operator!r} on labels")
            values = [v for v, label in parameter.calibration.labels if label == text]
            if len(values) != 1:
                raise node.refuse(f"label {text!r} of {name} stands for {len(values)} values")
            return Condition(name, values[0], operator)
        if calibrated and parameter.calibration is not None:
            raise node.refuse(f"comparison with the calibrated value of {name}")
        try:
            return Condition(name, int(text, 10), operator)
        except ValueError as error:
            raise node.refuse(f"attribute value {text!r}; an integer wanted") from error

    # Entries

    def entries(self, node: Node, *, nested: bool) -> list[Field]:
        """Fields of one container's own entries."""
        found: list[Field] = []
        pending = node.need("EntryList").children()
        index = 0
        while index < len(pending):
            entry = pending[index]
            location = entry.child("LocationInContainerInBits")
            if location is not None:
                found += self.gap(location)
            repeat = entry.ancillary().get(names.REPEAT)
            if repeat is not None:
                count, size = self.unrolled(entry, repeat)
                group = pending[index : index + count * size]
                found.append(self.join(entry, group, count, size))
                index += count * size
                continue
            found += self.entry(entry, nested=nested)
            index += 1
        return found

    @staticmethod
    def gap(location: Node) -> list[Field]:
        if location.attribute("referenceLocation", "previousEntry") != "previousEntry":
            raise location.refuse("attribute referenceLocation other than previousEntry")
        value = location.need("FixedValue")
        bits = value.content(int)
        value.finish()
        location.finish()
        if bits < 0:
            raise location.refuse(f"{bits} bits: fields cannot overlap")
        return [Spare(bits)] if bits else []

    @staticmethod
    def unrolled(entry: Node, text: str) -> tuple[int, int]:
        match = re.fullmatch(r"(\d{1,5}) x (\d{1,5})", text)
        if match is None or "0" in match.groups():
            raise entry.refuse(f"AncillaryData {names.REPEAT} is {text!r}")
        return int(match[1]), int(match[2])

    def join(self, entry: Node, group: list[Node], count: int, size: int) -> Repeat:
        """Entries that were written one by one, back into a repeat."""
        members: list[Field] = []
        for node in group:
            node.child("AncillaryDataSet")
            members += self.entry(node, nested=True)
        first = members[:size]
        if len(members) != count * size or first * count != members:
            raise entry.refuse(f"AncillaryData {names.REPEAT}: the entries do not recur")
        return Repeat([m for m in first if isinstance(m, Parameter | Spare)], count)

    def entry(self, node: Node, *, nested: bool) -> list[Field]:
        node.attribute("shortDescription", "")
        if node.tag == "ParameterRefEntry":
            name = _local(node, node.attribute("parameterRef"))
            node.finish()
            return [self.member(name, node)]
        if node.tag == "ContainerRefEntry" and not nested:
            container = _local(node, node.attribute("containerRef"))
            repeat = node.child("RepeatEntry")
            node.finish()
            if container not in self.containers:
                raise node.refuse(f"container {container!r} is not declared")
            target = self.containers[container]
            if self.base_of(target) is not None:
                raise node.refuse(f"container {container!r} has a base container")
            if repeat is None:
                members = self.entries(target, nested=True)
            else:
                count = repeat.need("Count")
                size = self.value(count)
                repeat.finish()
                members = [self.repeated(self.entries(target, nested=True), size, 1, node)]
            self.finish_container(target)
            return members
        if node.tag == "ArrayParameterRefEntry" and not nested:
            name = _local(node, node.attribute("parameterRef"))
            node.finish()
            return [self.array(name, node)]
        raise node.refuse(f"element {node.tag} has no place in a declaration")

    def repeated(self, members: Iterable[Field], size: _Size, unit: int, node: Node) -> Repeat:
        """A repeat whose count is `size` / `unit`."""
        fields = [m for m in members if isinstance(m, Parameter | Spare)]
        first = next((m.name for m in fields if isinstance(m, Parameter)), "")
        if size.parameter is None:
            return Repeat(fields, int(size.intercept / unit))
        if size.parameter == self.length_name:
            bits = sum(m.bits if isinstance(m, Spare) else m.type.bits for m in fields)
            factor = 1 if unit > 1 else bits
            if size.slope * factor != 8:
                raise node.refuse(f"count of {size.slope:g} × packet length; 8 bits each wanted")
            self.open[first] = size.intercept * factor
            return Repeat(fields, None)
        return Repeat(fields, self.count(size, unit, node))

    @staticmethod
    def count(size: _Size, unit: int, node: Node) -> Count:
        scale, offset = size.slope / unit, size.intercept / unit
        if scale != int(scale) or offset != int(offset) or scale < 1 or size.parameter is None:
            raise node.refuse(
                f"LinearAdjustment of {size.slope:g} and {size.intercept:g}: multiples of "
                f"{unit} wanted"
            )
        return Count(size.parameter, int(scale), int(offset))

    def array(self, name: str, node: Node) -> Repeat:
        if name not in self.parameters:
            raise node.refuse(f"parameter {name!r} is not declared")
        declared = self.parameters[name]
        kind = self.type_node(declared)
        if kind.tag != "ArrayParameterType":
            raise node.refuse(f"parameter {name!r} is no array")
        dimensions = kind.need("DimensionList").children("Dimension")
        if len(dimensions) != 1:
            raise kind.refuse(f"{len(dimensions)} dimensions; one wanted")
        start, end = dimensions[0].need("StartingIndex"), dimensions[0].need("EndingIndex")
        first, last = self.value(start), self.value(end)
        dimensions[0].finish()
        if first.parameter is not None or first.intercept != 0:
            raise start.refuse("0 wanted")
        element = self.make(declared, self.type_named(kind, kind.attribute("arrayTypeRef")))
        kind.attribute("name")
        kind.finish()
        size = replace(last, intercept=last.intercept + 1)
        return self.repeated([element], size, 1, node)

    def member(self, name: str, node: Node) -> Field:
        """A parameter reference: a parameter, a spare, or a string of elements."""
        if name not in self.parameters:
            raise node.refuse(f"parameter {name!r} is not declared")
        declared = self.parameters[name]
        kind = self.type_node(declared)
        spare = kind.ancillary().get(names.SPARE)
        if spare is not None:
            bits = self.encoding_size(kind.need("BinaryDataEncoding")).intercept
            return Spare(int(bits))
        container = declared.ancillary().get(names.REPEAT)
        if container is not None:
            if container not in self.containers:
                raise declared.refuse(f"AncillaryData {names.REPEAT}: no container {container!r}")
            size = self.encoding_size(kind.need("BinaryDataEncoding"))
            members = self.entries(self.containers[container], nested=True)
            bits = sum(
                m.bits if isinstance(m, Spare) else m.type.bits
                for m in members
                if isinstance(m, Parameter | Spare)
            )
            return self.repeated(members, size, bits, node)
        return self.parameter(name, node)

    # Parameters and types

    def type_node(self, parameter: Node) -> Node:
        return self.type_named(parameter, parameter.attribute("parameterTypeRef"))

    def type_named(self, node: Node, name: str) -> Node:
        name = _local(node, name)
        if name not in self.types:
            raise node.refuse(f"parameter type {name!r} is not declared")
        return self.types[name]

    def parameter(self, name: str, node: Node) -> Parameter:
        if name not in self.parameters:
            raise node.refuse(f"parameter {name!r} is not declared")
        if name not in self.read_parameters:
            declared = self.parameters[name]
            self.read_parameters[name] = self.make(declared, self.type_node(declared))
        made = self.read_parameters[name]
        if made.type.variable and made.type.length is None:
            self.open[made.name] = self.open_intercept[name]
        return made

    def make(self, declared: Node, kind: Node) -> Parameter:
        """The parameter of an XTCE parameter and the type of its value."""
        declared.attribute("parameterTypeRef")
        xtce_name = declared.attribute("name")
        name = declared.ancillary().get(names.PARAMETER, xtce_name)
        notes = declared.child("LongDescription")
        short = declared.attribute("shortDescription", "")
        declared.finish()
        build = _TYPES.get(kind.tag)
        if build is None:
            raise kind.refuse(f"element {kind.tag} has no place in a declaration")
        unit, described, calibration, limits = build(self, kind)
        if isinstance(described, _Open):
            self.open_intercept[xtce_name] = described.intercept
            described = GreedyBytes
        kind.attribute("name")
        kind.ancillary()
        kind.finish()
        try:
            return Parameter(
                name, described, unit, calibration, limits, short, notes.text() if notes else ""
            )
        except LocalError as error:
            raise declared.refuse(str(error)) from error

    def value(self, node: Node) -> _Size:
        """An IntegerValueType."""
        fixed = node.child("FixedValue")
        if fixed is not None:
            size = _Size(None, 0.0, float(fixed.content(int)))
            fixed.finish()
        else:
            dynamic = node.need("DynamicValue")
            size = self.dynamic(dynamic)
        node.finish()
        return size

    def dynamic(self, node: Node) -> _Size:
        reference = node.need("ParameterInstanceRef")
        name, calibrated = _operand(reference)
        reference.finish()
        if calibrated and self.parameter(name, reference).calibration is not None:
            raise reference.refuse(f"size from the calibrated value of {name}")
        slope, intercept = 1.0, 0.0
        adjustment = node.child("LinearAdjustment")
        if adjustment is not None:
            slope, intercept = adjustment.real("slope"), adjustment.real("intercept", "0")
            adjustment.finish()
        node.finish()
        return _Size(name, slope, intercept)

    def encoding_size(self, encoding: Node) -> _Size:
        size = self.value(encoding.need("SizeInBits"))
        _plain_order(encoding)
        encoding.finish()
        return size

    def octets(self, size: _Size, node: Node) -> Any:
        """The field of octets of a size in bits."""
        if size.parameter is None:
            if size.intercept <= 0 or size.intercept % 8:
                raise node.refuse(f"{size.intercept:g} bits; whole octets wanted")
            return Bytes(int(size.intercept) // 8)
        if size.parameter == self.length_name:
            if size.slope != 8:
                raise node.refuse(f"{size.slope:g} × packet length; 8 bits each wanted")
            return _Open(size.intercept)
        count = self.count(size, 8, node)
        return Bytes(count)


def _plain_order(encoding: Node) -> bool:
    """Whether the octets come least significant first; bits must come most significant first."""
    if encoding.attribute("bitOrder", "mostSignificantBitFirst") != "mostSignificantBitFirst":
        raise encoding.refuse("attribute bitOrder leastSignificantBitFirst")
    order = encoding.attribute("byteOrder", "mostSignificantByteFirst")
    if order not in ("mostSignificantByteFirst", "leastSignificantByteFirst"):
        raise encoding.refuse(f"attribute byteOrder {order!r}")
    return order == "leastSignificantByteFirst"


# Parameter types: each gives unit, construct field, calibration and limits.

TypeParts = tuple[str, Any, Calibration | None, AnyLimits | None]


def _unit(kind: Node) -> str:
    block = kind.child("UnitSet")
    if block is None:
        return ""
    units = block.children("Unit")
    block.finish()
    if len(units) > 1:
        raise units[1].refuse("more than one unit")
    for unit in units:
        text = unit.text().strip()
        unit.finish()
        return text
    return ""


def _encoding(kind: Node, *allowed: str) -> Node:
    found = [
        node
        for tag in (
            "IntegerDataEncoding",
            "FloatDataEncoding",
            "BinaryDataEncoding",
            "StringDataEncoding",
        )
        for node in kind.children(tag)
    ]
    if len(found) != 1:
        raise kind.refuse(f"{len(found)} data encodings; one wanted")
    if found[0].tag not in allowed:
        raise found[0].refuse(f"element {found[0].tag} in {kind.tag}")
    return found[0]


_SIGNED = {
    "unsigned": False,
    "twosComplement": True,
    # Not in the schema, but seen in files and known to other readers.
    "twosCompliment": True,
    "signed": True,
}
_FLOATS = {16: (Float16b, Float16l), 32: (Float32b, Float32l), 64: (Float64b, Float64l)}


def _numeric(encoding: Node) -> tuple[Any, Calibration | None]:
    """Field and calibrator of an integer or float encoding."""
    little = _plain_order(encoding)
    if encoding.tag == "IntegerDataEncoding":
        bits = encoding.integer("sizeInBits", "8")
        form = encoding.attribute("encoding", "unsigned")
        if form not in _SIGNED:
            raise encoding.refuse(f"attribute encoding {form!r}")
        if not 1 <= bits <= 64 or (little and bits % 8):
            raise encoding.refuse(f"attribute sizeInBits {bits}, byteOrder {little=}")
        described: Any = BitsInteger(bits, signed=_SIGNED[form], swapped=little and bits > 8)
    else:
        bits = encoding.integer("sizeInBits", "32")
        # XTCE 1.2 spells it both ways; 1.1 knows IEEE754_1985 alone.
        form = encoding.attribute("encoding", "IEEE754_1985")
        if form not in ("IEEE754", "IEEE754_1985") or bits not in _FLOATS:
            raise encoding.refuse(f"attribute encoding {form!r} of {bits} bits")
        described = _FLOATS[bits][little]
    calibration = None
    block = encoding.child("DefaultCalibrator")
    if block is not None:
        calibration = _calibration(block)
    encoding.finish()
    return described, calibration


def _calibration(block: Node) -> Calibration:
    polynomial, spline = block.child("PolynomialCalibrator"), block.child("SplineCalibrator")
    block.finish()
    try:
        if polynomial is not None:
            terms: dict[int, float] = {}
            for term in polynomial.children("Term"):
                exponent = term.integer("exponent")
                if not 0 <= exponent <= 32 or exponent in terms:
                    raise term.refuse(f"attribute exponent {exponent}; 0..32, each once")
                terms[exponent] = term.real("coefficient")
                term.finish()
            polynomial.finish()
            highest = max(terms, default=-1)
            return Polynomial([terms.get(exponent, 0.0) for exponent in range(highest + 1)])
        if spline is not None:
            points: list[tuple[float, float]] = []
            for point in spline.children("SplinePoint"):
                point.integer("order", "1")
                points.append((point.real("raw"), point.real("calibrated")))
                point.finish()
            order, extrapolate = spline.integer("order", "1"), spline.flag("extrapolate", False)
            spline.finish()
            return Spline(tuple(points), order, extrapolate)
    except LocalError as error:
        raise block.refuse(str(error)) from error
    raise block.refuse("no PolynomialCalibrator or SplineCalibrator")


def _persistence(alarm: Node) -> int:
    return alarm.integer("minViolations", "1")


def _range(ranges: Node, tag: str) -> tuple[float | None, float | None] | None:
    node = ranges.child(tag)
    if node is None:
        return None
    bounds = tuple(
        node.real(name) if name in node.element.attrib else None
        for name in ("minInclusive", "maxInclusive")
    )
    node.finish()
    return bounds[0], bounds[1]


def _limits(kind: Node) -> Limits | None:
    alarm = kind.child("DefaultAlarm")
    if alarm is None:
        return None
    ranges = alarm.need("StaticAlarmRanges")
    persistence = _persistence(alarm)
    alarm.finish()
    if ranges.attribute("rangeForm", "outside") != "outside":
        raise ranges.refuse("attribute rangeForm other than outside")
    warning, critical = _range(ranges, "WarningRange"), _range(ranges, "CriticalRange")
    ranges.finish()
    try:
        return Limits(warning, critical, persistence)
    except LocalError as error:
        raise alarm.refuse(str(error)) from error


def _enumeration_limits(kind: Node) -> EnumerationLimits | None:
    alarm = kind.child("DefaultAlarm")
    if alarm is None:
        return None
    unlisted = alarm.ancillary().get(names.UNLISTED, "warning").upper()
    if unlisted not in Severity.__members__:
        raise alarm.refuse(f"AncillaryData {names.UNLISTED} is {unlisted!r}")
    if alarm.attribute("defaultAlarmLevel", "normal") != "normal":
        raise alarm.refuse("attribute defaultAlarmLevel other than normal")
    labels: dict[str, list[str]] = {"normal": [], "warning": [], "critical": []}
    listed = alarm.need("EnumerationAlarmList")
    for item in listed.children("EnumerationAlarm"):
        level = item.attribute("alarmLevel")
        if level not in labels:
            raise item.refuse(f"attribute alarmLevel {level!r}; {sorted(labels)} can be said")
        labels[level].append(item.attribute("enumerationLabel"))
        item.finish()
    listed.finish()
    persistence = _persistence(alarm)
    alarm.finish()
    try:
        return EnumerationLimits(
            tuple(labels["warning"]), tuple(labels["critical"]), Severity[unlisted], persistence
        )
    except LocalError as error:
        raise alarm.refuse(str(error)) from error


def _integer_type(reader: Reader, kind: Node) -> TypeParts:
    described, calibration = _numeric(_encoding(kind, "IntegerDataEncoding"))
    # Size and sign of the host's variable, which no array needs to be told.
    kind.attribute("sizeInBits", "32")
    kind.flag("signed", True)
    return _unit(kind), described, calibration, _limits(kind)


def _float_type(reader: Reader, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding", "FloatDataEncoding")
    described, calibration = _numeric(encoding)
    if encoding.tag == "IntegerDataEncoding" and calibration is None:
        # An integer that XTCE calls a float: its engineering value is the same number as a double.
        calibration = Polynomial((0.0, 1.0))
    kind.attribute("sizeInBits", "32")
    return _unit(kind), described, calibration, _limits(kind)


def _enumerated_type(reader: Reader, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding")
    described, calibration = _numeric(encoding)
    if calibration is not None:
        raise encoding.refuse("element DefaultCalibrator of an enumeration")
    listed = kind.need("EnumerationList")
    labels: list[tuple[int, str]] = []
    for item in listed.children("Enumeration"):
        labels.append((item.integer("value"), item.attribute("label")))
        item.finish()
    listed.finish()
    try:
        enumeration = Enumeration(tuple(labels))
    except LocalError as error:
        raise listed.refuse(str(error)) from error
    return _unit(kind), described, enumeration, _enumeration_limits(kind)


def _boolean_type(reader: Reader, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "IntegerDataEncoding")
    described, calibration = _numeric(encoding)
    if calibration is not None or described.length != 1:
        raise encoding.refuse("a boolean of more than one bit, or calibrated")
    labels = {
        0: kind.attribute("zeroStringValue", "False"),
        1: kind.attribute("oneStringValue", "True"),
    }
    return _unit(kind), described, Enumeration(labels), None


def _binary_type(reader: Reader, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "BinaryDataEncoding")
    return _unit(kind), reader.octets(reader.encoding_size(encoding), encoding), None, None


def _string_type(reader: Reader, kind: Node) -> TypeParts:
    encoding = _encoding(kind, "StringDataEncoding")
    characters = encoding.attribute("encoding", "UTF-8")
    if characters not in CHARACTER_SETS:
        raise encoding.refuse(f"attribute encoding {characters!r}")
    _plain_order(encoding)
    sized, variable = encoding.child("SizeInBits"), encoding.child("Variable")
    encoding.finish()
    block = sized or variable
    if block is None:
        raise encoding.refuse("element SizeInBits or Variable is missing")
    ending = block.child("TerminationChar")
    if ending is not None:
        nul = "0000" if characters.startswith("UTF-16") else "00"
        if (ending.text().strip() or nul) != nul:
            raise ending.refuse(f"terminated by {ending.text()!r}; {nul} wanted")
        ending.finish()
    if sized is not None:
        size = reader.value(sized.need("Fixed"))
    else:
        block.integer("maxSizeInBits")
        size = reader.dynamic(block.need("DynamicValue"))
    block.finish()
    usual = (ending is not None) == (sized is not None)
    text = Text(characters, None if usual else ending is not None)
    return _unit(kind), reader.octets(size, encoding), text, None


def _time_encoding(kind: Node) -> tuple[Node, float, float]:
    """Inner encoding, and seconds = scale × value + offset."""
    encoding = kind.need("Encoding")
    if encoding.attribute("units", "seconds") != "seconds":
        raise encoding.refuse("attribute units other than seconds")
    scale, offset = encoding.real("scale", "1"), encoding.real("offset", "0")
    inner = _encoding(encoding, "IntegerDataEncoding", "FloatDataEncoding", "BinaryDataEncoding")
    encoding.finish()
    return inner, scale, offset


_TIME_CODE = re.compile(r"(CUC|CDS)((?: [a-z_]+=[a-z0-9-]+)+)")


def _time_code(kind: Node, words: str) -> Any:
    match = _TIME_CODE.fullmatch(words)
    try:
        if match is None:
            raise ValueError(words)
        said = dict(item.split("=", 1) for item in match[2].split())
        epoch, p_field = int(said.pop("epoch_tai_ns")), said.pop("p_field") == "1"
        if match[1] == "CUC":
            return CucFormat(int(said["coarse"]), int(said["fine"]), epoch, p_field)
        day, sub = int(said["day"]), int(said["submillisecond"])
        scale = said["scale"]
        return CdsFormat(day, sub, epoch, p_field, "tai" if scale == "tai" else "utc")
    except (ValueError, KeyError) as error:
        raise kind.refuse(f"AncillaryData {names.TIME_CODE} is {words!r}") from error


def _absolute_time_type(reader: Reader, kind: Node) -> TypeParts:
    inner, scale, offset = _time_encoding(kind)
    reference = kind.need("ReferenceTime")
    epoch = reference.need("Epoch")
    reference.finish()
    if epoch.text().strip() != "TAI":
        raise epoch.refuse(f"epoch {epoch.text()!r}; TAI wanted")
    ancillary = kind.ancillary()
    unit = ancillary.get(names.UNIT, "ns")
    words = ancillary.get(names.TIME_CODE)
    if inner.tag == "BinaryDataEncoding":
        size = reader.encoding_size(inner)
        if words is None:
            raise inner.refuse("a time in octets without the name of its code")
        code = _time_code(kind, words)
        if size.intercept != 8 * code.size:
            raise inner.refuse(f"{size.intercept:g} bits; {8 * code.size} are a {words}")
        return unit, code, None, None
    described, calibration = _numeric(inner)
    if words is not None:
        return unit, _time_code(kind, words), None, None
    fine = next((k for k in range(11) if scale == 2.0 ** (-8 * k)), None)
    plain = inner.tag == "IntegerDataEncoding" and calibration is None
    if fine is None or not plain or described.signed or described.length % 8:
        raise inner.refuse(f"a time of scale {scale!r}: only a CUC can be said, 2^-8k of a second")
    try:
        code = CucFormat(described.length // 8 - fine, fine, round(offset * 1e9))
    except LocalError as error:
        raise inner.refuse(str(error)) from error
    return unit, code, None, None


def _relative_time_type(reader: Reader, kind: Node) -> TypeParts:
    inner, scale, offset = _time_encoding(kind)
    if inner.tag == "BinaryDataEncoding":
        raise inner.refuse("element BinaryDataEncoding in RelativeTimeParameterType")
    described, calibration = _numeric(inner)
    if (scale, offset) != (1.0, 0.0):
        if calibration is not None:
            raise inner.refuse("element DefaultCalibrator beside scale and offset")
        calibration = Polynomial((offset, scale))
    return "s", described, calibration, None


_TYPES: dict[str, Callable[[Reader, Node], TypeParts]] = {
    "IntegerParameterType": _integer_type,
    "FloatParameterType": _float_type,
    "EnumeratedParameterType": _enumerated_type,
    "BooleanParameterType": _boolean_type,
    "BinaryParameterType": _binary_type,
    "StringParameterType": _string_type,
    "AbsoluteTimeParameterType": _absolute_time_type,
    "RelativeTimeParameterType": _relative_time_type,
}


def read(document: bytes, ignore: Iterable[str]) -> Dictionary:
    try:
        # XTCE needs no document type: entities are how XML bombs are built.
        element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise XtceRefused(f"XTCE: no XML document: {error}", data=document[:64]) from error
    tag = element.tag.rsplit("}", 1)[-1]
    root = Node(element, f"/{tag}[{element.get('name')}]", frozenset(ignore))
    try:
        return Reader(root).dictionary()
    except LocalError as error:
        raise XtceRefused(f"XTCE {root.path}: {error}") from error
