"""Commands of the L4 relay's flight software: PUS services, and functions of service 8.

Names: service or subsystem, underscore, verb.  The clause of each service in ECSS-E-ST-70-41C is
§8.S, with S its number.
"""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from construct import GreedyBytes, Int8ub, Int16sb, Int16ub, Int32sb, Int32ub

from protocols.dictionary.l4_command_fields import (
    UNLIMITED,
    choice,
    command,
    count,
    event,
    event_or_none,
    identifier,
    instant,
    many,
    parameter,
    request,
    seconds,
    value,
)
from protocols.dictionary.l4_fields import linear
from protocols.dictionary.l4_link import MANAGEMENT_COMMAND
from protocols.dictionary.l4_parameters import SETTABLE
from protocols.dictionary.l4_states import CheckType, Mode, Switch
from protocols.identifiers import Apid
from protocols.telecommand.declaration import (
    Argument,
    Command,
    CommandDictionary,
    Constraint,
)
from protocols.telecommand.verification import Stage

__all__ = ["COMMANDS", "Antenna", "Function"]


class Function(IntEnum):
    """Functions of service 8, by their identifier on board."""

    MODE = 1
    ARRAY_ANGLE = 2
    INSTRUMENTS = 3
    ANTENNA = 4
    COHERENT = 5
    SCRUB_MEMORY = 6
    DELTA_V = 7
    RECOVER = 8


class Antenna(IntEnum):
    HIGH_GAIN = 0
    LOW_GAIN_1 = 1
    LOW_GAIN_2 = 2


_ALL: Final = (Stage.ACCEPTANCE, Stage.START, Stage.COMPLETION)
_STEPS: Final = (Stage.ACCEPTANCE, Stage.START, Stage.PROGRESS, Stage.COMPLETION)
_FUNCTION: Final = Argument("FUNCTION", Int16ub, description="Function on board")
_ARGUMENT: Final = (
    count(),
    Argument("ARGUMENT_ID", Int8ub, description="Argument of the function"),
)
_AWAKE: Final = Constraint(
    "SC_MODE", "!=", "SAFE", reason="in safe mode the equipment is off or driven by the mode"
)


def _function(
    function: Function, name: str, description: str, *arguments: Argument, **more: Any
) -> Command:
    """No argument, or one, with its number and its identifier before it (figure 8-87)."""
    fixed = [("FUNCTION", function.value)]
    if arguments:
        (argument,) = arguments
        arguments = (*_ARGUMENT, argument)
        fixed += [("NUMBER", 1), ("ARGUMENT_ID", 1)]
    return command(name, 8, 1, description, _FUNCTION, *arguments, fixed=tuple(fixed), **more)


#: NFA: groups of parameters sampled more than once an interval, of which there are none here.
_SUPER_COMMUTATED: Final = Argument(
    "GROUPS", Int8ub, minimum=0, maximum=0, default=0, description="Super-commutated; none"
)
_HOUSEKEEPING: Final = (
    command(
        "HK_CREATE",
        3,
        1,
        "Create a housekeeping report structure, disabled",
        identifier("STRUCTURE", "Report structure"),
        seconds("INTERVAL", "Between reports", 1, 86_400),
        *many(parameter("PARAMETERS")),
        _SUPER_COMMUTATED,
    ),
    command(
        "HK_DELETE",
        3,
        3,
        "Delete report structures that are disabled",
        *many(identifier("STRUCTURES", "Report structure")),
    ),
    command(
        "HK_ENABLE",
        3,
        5,
        "Start periodic reports",
        *many(identifier("STRUCTURES", "Report structure")),
    ),
    command(
        "HK_DISABLE",
        3,
        6,
        "Stop periodic reports",
        *many(identifier("STRUCTURES", "Report structure")),
    ),
    command(
        "HK_REPORT_STRUCTURES",
        3,
        9,
        "Report what structures consist of",
        *many(identifier("STRUCTURES", "Report structure")),
    ),
    command(
        "HK_ONE_SHOT",
        3,
        27,
        "Report once, now, enabled or not",
        *many(identifier("STRUCTURES", "Report structure")),
    ),
    command(
        "HK_APPEND",
        3,
        29,
        "Add parameters to a report structure that is disabled",
        identifier("STRUCTURE", "Report structure"),
        *many(parameter("PARAMETERS")),
        _SUPER_COMMUTATED,
    ),
    command(
        "HK_SET_INTERVAL",
        3,
        31,
        "Change how often a structure is reported",
        count(),
        identifier("STRUCTURE", "Report structure"),
        seconds("INTERVAL", "Between reports", 1, 86_400),
        fixed=(("NUMBER", 1),),
    ),
)

_EVENTS: Final = (
    command("EVENT_ENABLE", 5, 5, "Report events again", *many(event("EVENTS"))),
    command("EVENT_DISABLE", 5, 6, "Do not report events", *many(event("EVENTS"))),
    command("EVENT_REPORT_DISABLED", 5, 7, "List the events that are not reported"),
)

_FUNCTIONS: Final = (
    _function(
        Function.MODE,
        "MODE_SET",
        "Go to a spacecraft mode; completed when the mode is reached",
        choice("MODE", Mode, "Spacecraft mode"),
        stages=_ALL,
        execution_s=60.0,
    ),
    _function(
        Function.RECOVER,
        "MODE_RECOVER",
        "Leave safe mode: to standby, attitude by star tracker, then nominal; a step each",
        hazard="equipment comes on; with the cause still there the spacecraft falls back",
        constraints=(
            Constraint("SC_MODE", "==", "SAFE", reason="recovery begins in safe mode"),
            Constraint("PWR_BATTERY_CHARGE", ">=", 45.0, reason="all loads come on"),
        ),
        stages=_STEPS,
        execution_s=900.0,
    ),
    _function(
        Function.ARRAY_ANGLE,
        "ARRAY_TURN",
        "Turn the solar array away from the Sun by an angle",
        Argument(
            "ANGLE",
            Int16sb,
            unit="deg",
            calibration=linear(0.01),
            minimum=-90.0,
            maximum=90.0,
            description="Array normal to Sun",
        ),
        hazard="above 60 deg the battery discharges",
        constraints=(_AWAKE,),
        stages=_ALL,
        execution_s=180.0,
    ),
    _function(
        Function.INSTRUMENTS,
        "INSTRUMENTS_SWITCH",
        "Space-weather instruments on or off",
        choice("SWITCH", Switch, "Power"),
        constraints=(_AWAKE,),
    ),
    _function(
        Function.ANTENNA,
        "ANTENNA_SELECT",
        "Receive by another antenna",
        choice("ANTENNA", Antenna, "Receiving antenna"),
        hazard="by a low-gain antenna only the lowest command rate is received",
    ),
    _function(
        Function.COHERENT,
        "TRANSPONDER_COHERENT",
        "Downlink carrier follows the uplink or the oscillator on board",
        choice("SWITCH", Switch, "Coherent mode"),
    ),
    _function(
        Function.SCRUB_MEMORY,
        "MEMORY_SCRUB",
        "Read all memory and correct single-bit errors, a quarter each step",
        stages=_STEPS,
        execution_s=240.0,
    ),
    _function(
        Function.DELTA_V,
        "PROPULSION_BURN",
        "Orbit correction by the four axial thrusters",
        Argument(
            "DURATION",
            Int32ub,
            unit="s",
            calibration=linear(0.001),
            minimum=0.1,
            maximum=1_800.0,
            description="Thrusters on",
        ),
        hazard="changes the orbit; uses propellant that does not come back",
        constraints=(
            Constraint("SC_MODE", "==", "NOMINAL", reason="attitude control holds the burn"),
            Constraint("PRP_LATCH_VALVE", "==", "ON", reason="propellant must flow"),
        ),
        stages=_ALL,
        execution_s=1_860.0,
    ),
)

_TIME: Final = (
    command(
        "TIME_REPORT_RATE",
        9,
        1,
        "Time packets every 2^EXPONENT seconds",
        Argument("EXPONENT", Int8ub, description="Of 2; §6.9.3", minimum=0, maximum=8),
    ),
    command(
        "CLOCK_ADJUST",
        9,
        128,
        "Set the on-board clock forward or back",
        Argument("OFFSET", Int32sb, unit="us", description="Added to the clock"),
        hazard="time tags of the on-board schedule keep their values: what lies in the gap runs",
    ),
)

_ACTIVITIES: Final = (
    Argument("SOURCE", Int16ub, default=0, description="Who sent the scheduled request"),
    Argument(
        "APID",
        Int16ub,
        minimum=0,
        maximum=2_046,
        default=int(Apid.FLIGHT_SOFTWARE),
        description="Of the scheduled request",
    ),
    Argument(
        "SEQUENCE_COUNT",
        Int16ub,
        minimum=0,
        maximum=16_383,
        description="Of the scheduled request",
    ),
)

_SCHEDULE: Final = (
    command("SCHEDULE_ENABLE", 11, 1, "Release scheduled requests at their times"),
    command("SCHEDULE_DISABLE", 11, 2, "Keep scheduled requests; those whose time comes are lost"),
    command(
        "SCHEDULE_RESET", 11, 3, "Delete all scheduled requests and disable", hazard="all gone"
    ),
    command(
        "SCHEDULE_INSERT",
        11,
        4,
        "Release a request at a time of the on-board clock",
        count(),
        instant("RELEASE_TIME", "When the request is released"),
        request("The request's packet"),
        fixed=(("NUMBER", 1),),
    ),
    command(
        "SCHEDULE_DELETE",
        11,
        5,
        "Delete a scheduled request",
        count(),
        *_ACTIVITIES,
        fixed=(("NUMBER", 1),),
    ),
    command(
        "SCHEDULE_SHIFT",
        11,
        7,
        "Move a scheduled request in time",
        Argument("OFFSET", Int32sb, unit="s", description="Added to the release time"),
        count(),
        *_ACTIVITIES,
        fixed=(("NUMBER", 1),),
    ),
    command(
        "SCHEDULE_SHIFT_ALL",
        11,
        15,
        "Move all scheduled requests in time",
        Argument("OFFSET", Int32sb, unit="s", description="Added to every release time"),
    ),
    command("SCHEDULE_REPORT", 11, 16, "Report all scheduled requests with their octets"),
    command("SCHEDULE_SUMMARY", 11, 17, "Report identifiers and times of all scheduled requests"),
)

_MONITORS: Final = identifier("MONITORS", "Monitor")
_MONITORING: Final = (
    command("MONITOR_ENABLE", 12, 1, "Start monitors", *many(_MONITORS)),
    command("MONITOR_DISABLE", 12, 2, "Stop monitors", *many(_MONITORS)),
    command("MONITOR_DELETE_ALL", 12, 4, "Delete all monitors", hazard="nothing is watched then"),
    command(
        "MONITOR_ADD",
        12,
        5,
        "Watch a parameter: an event when it has been beyond a limit so often in a row",
        count(),
        identifier("MONITOR", "Monitor"),
        parameter(),
        Argument("REPETITION", Int8ub, description="Samples that say the same", minimum=1),
        Argument("CHECK", Int8ub, description="Check type"),
        value("LOW_LIMIT", "Engineering value; none if not given", default=-UNLIMITED),
        event_or_none("LOW_EVENT", "Event below the low limit"),
        value("HIGH_LIMIT", "Engineering value; none if not given", default=UNLIMITED),
        event_or_none("HIGH_EVENT", "Event above the high limit"),
        fixed=(("NUMBER", 1), ("CHECK", CheckType.LIMIT.value)),
    ),
    command("MONITOR_DELETE", 12, 6, "Delete monitors that are disabled", *many(_MONITORS)),
    command("MONITOR_REPORT", 12, 8, "Report what monitors check", *many(_MONITORS)),
    command("MONITOR_REPORT_VIOLATED", 12, 10, "List the monitors beyond their limits"),
    command("MONITOR_REPORT_STATUS", 12, 13, "Report whether each monitor is enabled"),
    command("MONITORING_ENABLE", 12, 15, "Monitoring as a whole on"),
    command(
        "MONITORING_DISABLE", 12, 16, "Monitoring as a whole off", hazard="nothing is watched then"
    ),
)

_TRANSFER: Final = (
    identifier("TRANSFER", "Large message transfer"),
    Argument("PART_NUMBER", Int16ub, description="From 1", minimum=1),
    Argument("PART", GreedyBytes, description="Octets of the large packet"),
)
_LARGE: Final = (
    command("LARGE_FIRST", 13, 9, "First part of a packet too long for one frame", *_TRANSFER),
    command("LARGE_INTERMEDIATE", 13, 10, "A part between first and last", *_TRANSFER),
    command(
        "LARGE_LAST",
        13,
        11,
        "Last part; the packet is then executed",
        *_TRANSFER,
        hazard="whatever the parts are is executed",
    ),
)

_STORE: Final = Argument("STORE", Int8ub, description="Packet store", minimum=1)
_STORES: Final = many(Argument("STORES", Int8ub, description="Packet store", minimum=1))
_STORAGE: Final = (
    command("STORE_ENABLE", 15, 1, "Store packets", *_STORES),
    command("STORE_DISABLE", 15, 2, "Do not store packets", *_STORES),
    command(
        "STORE_RETRIEVE",
        15,
        9,
        "Send what a store holds from a span of generation times",
        count(),
        _STORE,
        instant("FROM", "Earliest packet's time"),
        instant("TO", "Latest packet's time"),
        fixed=(("NUMBER", 1),),
        stages=_ALL,
    ),
    command(
        "STORE_DELETE_CONTENT",
        15,
        11,
        "Forget packets up to a time",
        instant("UNTIL", "Latest packet's time"),
        *_STORES,
        hazard="packets that have not been received on the ground are lost",
    ),
    command("STORE_SUMMARY", 15, 12, "Report what stores hold", *_STORES),
    command("STORE_ABORT", 15, 17, "Stop retrievals by time", *_STORES),
    command(
        "STORE_CREATE",
        15,
        20,
        "Create a packet store, disabled",
        count(),
        _STORE,
        Argument("SIZE", Int32ub, unit="octet", description="Capacity", minimum=1_024),
        Argument("APID", Int16ub, description="Packets stored", minimum=0, maximum=2_046),
        fixed=(("NUMBER", 1),),
    ),
    command(
        "STORE_DELETE", 15, 21, "Delete stores that are disabled", *_STORES, hazard="with content"
    ),
)

_TEST: Final = (command("TEST_CONNECTION", 17, 1, "Are you alive? Answered by a report"),)

#: §6.19.3: an event is named by its application process too; one in a request.
_EVENT_SYSTEM: Final = (
    count(),
    Argument("APID", Int16ub, description="That raises the event"),
    event(),
)
_OURS: Final = (("NUMBER", 1), ("APID", int(Apid.FLIGHT_SOFTWARE)))
_EVENT_ACTION: Final = (
    command(
        "ACTION_ADD",
        19,
        1,
        "Execute a request whenever an event is raised; disabled until enabled",
        *_EVENT_SYSTEM,
        request("The request's packet"),
        fixed=_OURS,
    ),
    command("ACTION_DELETE", 19, 2, "Delete an event's action", *_EVENT_SYSTEM, fixed=_OURS),
    command("ACTION_DELETE_ALL", 19, 3, "Delete all actions", hazard="events cause nothing then"),
    command("ACTION_ENABLE", 19, 4, "Execute an event's action", *_EVENT_SYSTEM, fixed=_OURS),
    command("ACTION_DISABLE", 19, 5, "Keep an event's action", *_EVENT_SYSTEM, fixed=_OURS),
    command("ACTION_REPORT_STATUS", 19, 6, "Report which actions are enabled"),
    command("ACTIONS_ENABLE", 19, 8, "Event-action as a whole on"),
    command("ACTIONS_DISABLE", 19, 9, "Event-action as a whole off", hazard="events cause nothing"),
)

_PARAMETERS: Final = (
    command("PARAMETER_REPORT", 20, 1, "Report values", *many(parameter("PARAMETERS"))),
    command(
        "PARAMETER_SET",
        20,
        3,
        "Set an on-board parameter",
        count(),
        Argument("PARAMETER", Int16ub, calibration=SETTABLE, description="Settable parameter"),
        value("VALUE", "Engineering value"),
        fixed=(("NUMBER", 1),),
    ),
)

_SECURITY: Final = (
    command(
        MANAGEMENT_COMMAND,
        128,
        1,
        "Manage keys and security associations (355.1-B); on the management MAP alone",
        Argument("PDU", GreedyBytes, description="Extended procedures PDU"),
        hazard="a link whose keys differ at its ends is closed",
        stages=_ALL,
    ),
)

COMMANDS: Final = CommandDictionary(
    "L4_RELAY_COMMANDS",
    (
        *_HOUSEKEEPING,
        *_EVENTS,
        *_FUNCTIONS,
        *_TIME,
        *_SCHEDULE,
        *_MONITORING,
        *_LARGE,
        *_STORAGE,
        *_TEST,
        *_EVENT_ACTION,
        *_PARAMETERS,
        *_SECURITY,
    ),
    "Commands of the L4 relay spacecraft",
)
