"""How the L4 relay declares commands: service, subtype, arguments of the kinds that recur."""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import sys
from enum import IntEnum
from typing import Any, Final

from construct import Float64b, GreedyBytes, Int8ub, Int16ub, Int32ub

from protocols.dictionary.l4_fields import TIME_FORMAT
from protocols.dictionary.l4_parameters import NAMES
from protocols.dictionary.l4_states import EventId
from protocols.identifiers import Apid
from protocols.packets.pus import PusFormat
from protocols.telecommand.declaration import Argument, Command
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import Repeat, Spare

#: Both secondary headers without spare; reports carry the SCET of all packets.
PUS_FORMAT: Final = PusFormat(time=TIME_FORMAT)
#: A limit that no value crosses.
UNLIMITED: Final = sys.float_info.max
#: Identifiers of services: of report structures, monitors, stores; 0 is none.
MOST_IDENTIFIERS: Final = 65_535


def labels(states: type[IntEnum]) -> Enumeration:
    return Enumeration({state.value: state.name for state in states})


EVENTS_OR_NONE: Final = Enumeration({0: "NONE", **{one.value: one.name for one in EventId}})


def choice(name: str, states: type[IntEnum], description: str, **more: Any) -> Argument:
    """A state by its name, in an octet."""
    return Argument(name, Int8ub, calibration=labels(states), description=description, **more)


def identifier(name: str, description: str) -> Argument:
    return Argument(name, Int16ub, description=description, minimum=1, maximum=MOST_IDENTIFIERS)


def parameter(name: str = "PARAMETER") -> Argument:
    return Argument(name, Int16ub, calibration=NAMES, description="On-board parameter")


def event(name: str = "EVENT") -> Argument:
    return Argument(
        name, Int16ub, calibration=labels(EventId), description="Event by its identifier"
    )


def event_or_none(name: str, description: str) -> Argument:
    """0: none (note 3 of figure 8-115)."""
    return Argument(
        name, Int16ub, calibration=EVENTS_OR_NONE, description=description, default="NONE"
    )


def instant(name: str, description: str) -> Argument:
    """By the on-board clock."""
    return Argument(name, TIME_FORMAT, unit="ns", description=description)


def value(name: str, description: str, **more: Any) -> Argument:
    """An on-board parameter's, as 64-bit floating point whatever the parameter is."""
    return Argument(name, Float64b, description=description, **more)


def seconds(name: str, description: str, low: int, high: int, **more: Any) -> Argument:
    return Argument(
        name, Int32ub, unit="s", description=description, minimum=low, maximum=high, **more
    )


def request(description: str) -> Argument:
    """A whole request packet within this one; what is left of the packet."""
    return Argument("REQUEST", GreedyBytes, description=description)


def count(name: str = "NUMBER") -> Argument:
    return Argument(name, Int8ub, description="How many follow")


def many(argument: Argument) -> tuple[Argument, Repeat]:
    """N and N values of an argument: what the standard calls an N-fold list."""
    return count(), Repeat(argument, count="NUMBER")


def command(
    name: str,
    service: int,
    subtype: int,
    description: str,
    *arguments: Argument | Spare | Repeat,
    **more: Any,
) -> Command:
    """A request to the flight software."""
    return Command(
        name,
        int(Apid.FLIGHT_SOFTWARE),
        service,
        subtype,
        arguments,
        description,
        form=PUS_FORMAT,
        **more,
    )
