"""XTCE 1.2 into a dictionary; what declarations cannot say is refused by element and path."""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from xml.etree.ElementTree import ParseError

from construct import GreedyBytes
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from protocols.errors import LocalError
from protocols.telemetry import xtce_elements as names
from protocols.telemetry.calibration import Enumeration
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
from protocols.telemetry.xtce_node import Node, XtceRefused
from protocols.telemetry.xtce_types import (
    TYPES,
    OpenEnd,
    Size,
    encoding_size,
    local_name,
    operand,
    read_multiple,
    read_value,
)


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
        return local_name(base, base.attribute("containerRef")) if base else None

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
            # Slopes like 8/24 are rounded; a wrong intercept is off by eight bits at least.
            if abs(intercept - 8 * (7 - made.layout.fixed_octets)) > 1e-3:
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
        name, calibrated = operand(node)
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
            name = local_name(node, node.attribute("parameterRef"))
            node.finish()
            return [self.member(name, node)]
        if node.tag == "ContainerRefEntry" and not nested:
            container = local_name(node, node.attribute("containerRef"))
            repeat = node.child("RepeatEntry")
            node.finish()
            if container not in self.containers:
                raise node.refuse(f"container {container!r} is not declared")
            target = self.containers[container]
            if self.base_of(target) is not None:
                raise node.refuse(f"container {container!r} has a base container")
            members: list[Field]
            if repeat is None:
                members = self.entries(target, nested=True)
            else:
                count = repeat.need("Count")
                size = read_value(self, count)
                repeat.finish()
                members = [self.repeated(self.entries(target, nested=True), size, 1, node)]
            self.finish_container(target)
            return members
        if node.tag == "ArrayParameterRefEntry" and not nested:
            name = local_name(node, node.attribute("parameterRef"))
            node.finish()
            return [self.array(name, node)]
        raise node.refuse(f"element {node.tag} has no place in a declaration")

    def repeated(self, members: Iterable[Field], size: Size, unit: int, node: Node) -> Repeat:
        """A repeat whose count is `size` / `unit`."""
        fields = [m for m in members if isinstance(m, Parameter | Spare)]
        first = next((m.name for m in fields if isinstance(m, Parameter)), "")
        if size.parameter is None:
            return Repeat(fields, int(size.intercept / unit))
        if size.parameter == self.length_name:
            bits = sum(m.bits if isinstance(m, Spare) else m.type.bits for m in fields)
            factor = 1 if unit > 1 else bits
            if abs(size.slope * factor - 8) > 1e-9:
                raise node.refuse(f"count of {size.slope:g} × packet length; 8 bits each wanted")
            self.open[first] = size.intercept * factor
            return Repeat(fields, None)
        return Repeat(fields, read_multiple(size, unit, node))

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
        first, last = read_value(self, start), read_value(self, end)
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
            bits = encoding_size(self, kind.need("BinaryDataEncoding")).intercept
            return Spare(int(bits))
        container = declared.ancillary().get(names.REPEAT)
        if container is not None:
            if container not in self.containers:
                raise declared.refuse(f"AncillaryData {names.REPEAT}: no container {container!r}")
            size = encoding_size(self, kind.need("BinaryDataEncoding"))
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
        name = local_name(node, name)
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
        build = TYPES.get(kind.tag)
        if build is None:
            raise kind.refuse(f"element {kind.tag} has no place in a declaration")
        unit, described, calibration, limits = build(self, kind)
        if isinstance(described, OpenEnd):
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


def read(document: bytes, ignore: Iterable[str]) -> Dictionary:
    try:
        # XTCE needs no document type: entities are how XML bombs are built.
        element = fromstring(document, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise XtceRefused(f"XTCE: no XML document: {error}", data=document[:64]) from error
    tag = element.tag.rsplit("}", 1)[-1]
    root = Node(element, f"/{tag}[{element.get('name')}]", frozenset(ignore))
    try:
        return Reader(root).dictionary()
    except LocalError as error:
        raise XtceRefused(f"XTCE {root.path}: {error}") from error
