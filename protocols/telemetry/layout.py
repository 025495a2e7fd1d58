"""A packet declaration flattened into places: what the array code works from.

A packet is a row of parts.  A static part has fields at fixed bits from its beginning; a variable
part is some number of equal elements (single octets for octets of variable length).  Parts begin
and end on octets.  The first part is static and includes the primary header.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from protocols.errors import LocalError
from protocols.telemetry.fields import Count, FieldType, Kind

if TYPE_CHECKING:
    from protocols.telemetry.declaration import Field, PacketDefinition, Parameter, Spare

PRIMARY_HEADER_BITS = 48


@dataclass(frozen=True)
class Slot:
    """A parameter's place: bits from the part's (or element's) beginning.

    repeat: None for a single value, else (count, bits from one value to the next).
    """

    parameter: Parameter
    bit: int
    repeat: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        return self.parameter.name

    @property
    def type(self) -> FieldType:
        return self.parameter.type


@dataclass(frozen=True)
class StaticPart:
    slots: tuple[Slot, ...]
    octets: int


@dataclass(frozen=True)
class VariablePart:
    """`count` elements of `element_octets`; count None: to the end less what follows.

    opaque: the one slot is octets of variable length, given as a string of octets.
    """

    slots: tuple[Slot, ...]
    element_octets: int
    count: Count | None
    opaque: bool


@dataclass(frozen=True)
class PacketLayout:
    parts: tuple[StaticPart | VariablePart, ...]
    header: tuple[Slot, ...]

    @cached_property
    def fixed_octets(self) -> int:
        """Octets of all static parts, primary header included: the shortest possible packet."""
        return sum(part.octets for part in self.parts if isinstance(part, StaticPart))

    @cached_property
    def variable(self) -> bool:
        return len(self.parts) > 1

    @property
    def prefix(self) -> StaticPart:
        part = self.parts[0]
        assert isinstance(part, StaticPart)
        return part

    @cached_property
    def fixed_slots(self) -> Mapping[str, tuple[int, FieldType]]:
        """Bit from the packet's beginning and type of each unrepeated field at a fixed place."""
        slots = (*self.header, *(slot for slot in self.prefix.slots if slot.repeat is None))
        return {slot.name: (slot.bit, slot.type) for slot in slots}

    @cached_property
    def slots(self) -> Mapping[str, Slot]:
        """Every slot after the primary header, by parameter name."""
        return {slot.name: slot for part in self.parts for slot in part.slots}


def _slots(
    members: tuple[Parameter | Spare, ...], bit: int, repeat: tuple[int, int] | None
) -> list[Slot]:
    from protocols.telemetry.declaration import Spare

    slots: list[Slot] = []
    for member in members:
        if isinstance(member, Spare):
            bit += member.bits
        else:
            slots.append(Slot(member, bit, repeat))
            bit += member.type.bits
    return slots


def lay_out(definition: PacketDefinition) -> PacketLayout:
    """Layout of a declaration; LocalError where parts do not meet on octets, where a count is not
    read from an earlier integer, or where a condition looks at a field without a fixed place."""
    from protocols.telemetry.declaration import Parameter, Spare

    where = f"packet {definition.name}"
    header = tuple(_slots(definition.header, 0, None))
    parts: list[StaticPart | VariablePart] = []
    slots: list[Slot] = []
    bit = PRIMARY_HEADER_BITS
    counts: dict[str, Slot] = {}
    open_part: Field | None = None

    def close() -> None:
        nonlocal slots, bit
        if bit % 8:
            after = slots[-1].name if slots else "its beginning"
            raise LocalError(
                f"{where}: {bit % 8} bits over after {after}; a variable part and the packet's end "
                f"stand on whole octets: add Spare({8 - bit % 8})"
            )
        if bit or not parts:
            parts.append(StaticPart(tuple(slots), bit // 8))
        slots, bit = [], 0

    def check_count(count: Count | None, member: Field, label: str) -> None:
        nonlocal open_part
        if open_part is not None:
            raise LocalError(
                f"{where}: {label}: after a part that runs to the packet's end only fixed fields"
            )
        if count is None:
            open_part = member
        elif count.parameter not in counts:
            raise LocalError(
                f"{where}: {label}: count {count.parameter} is no earlier unsigned integer"
            )

    for member in definition.fields:
        if isinstance(member, Spare):
            bit += member.bits
        elif isinstance(member, Parameter) and not member.type.variable:
            slots.append(Slot(member, bit))
            bit += member.type.bits
            if member.type.kind is Kind.UNSIGNED:
                counts[member.name] = slots[-1]
        elif isinstance(member, Parameter):
            check_count(member.type.length, member, member.name)
            close()
            parts.append(VariablePart((Slot(member, 0),), 1, member.type.length, True))
        elif isinstance(member.count, int):
            size = member.element_bits
            slots += _slots(member.fields, bit, (member.count, size))
            bit += size * member.count
        else:
            check_count(member.count, member, f"repeat of {member.parameters[0].name}")
            close()
            elements = tuple(_slots(member.fields, 0, None))
            parts.append(VariablePart(elements, member.element_bits // 8, member.count, False))
    close()

    layout = PacketLayout(tuple(parts), header)
    # 133.0-B-2 §4.1.3.5.3: the data field has 1 to 65536 octets.
    if layout.fixed_octets > 6 + 65536 or (not layout.variable and layout.fixed_octets < 7):
        raise LocalError(f"{where}: {layout.fixed_octets} octets; 7..65542 allowed")
    for condition in definition.conditions:
        place = layout.fixed_slots.get(condition.parameter)
        if place is None or not place[1].is_integer:
            raise LocalError(
                f"{where}: condition on {condition.parameter}, which is no integer at a fixed place"
            )
        if not place[1].minimum <= condition.value <= place[1].maximum:
            raise LocalError(
                f"{where}: condition {condition.parameter} {condition.operator} {condition.value}; "
                f"{place[1].minimum}..{place[1].maximum} fit the field"
            )
    return layout
