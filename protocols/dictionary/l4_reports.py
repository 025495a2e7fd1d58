"""Service reports of the L4 relay's flight software: PUS packets on an APID of their own.

They are telemetry like any other, declared for the same decoder, and stand beside the packets of
`l4.py`, which have no PUS header.  Housekeeping reports (TM[3,25]) carry what commands put into
them: `housekeeping_definition` makes the declaration for a structure's parameters.
"""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from construct import BytesInteger, Float64b, GreedyBytes, Int8ub, Int16ub, Int32ub

from protocols.dictionary import l4_payload
from protocols.dictionary.l4 import DICTIONARY
from protocols.dictionary.l4_command_fields import EVENTS_OR_NONE, labels
from protocols.dictionary.l4_fields import SCET, TIME_FORMAT
from protocols.dictionary.l4_parameters import NAMES, ON_BOARD
from protocols.dictionary.l4_states import (
    CheckingStatus,
    CheckType,
    EventId,
    Severity,
    Switch,
)
from protocols.errors import LocalError
from protocols.identifiers import Apid
from protocols.packets.pus import PUS_VERSION, TM_FIELDS
from protocols.telecommand.declaration import PACKET_CRC
from protocols.telecommand.verification import SUBTYPES, report_fields
from protocols.telemetry.declaration import (
    Condition,
    Dictionary,
    Field,
    PacketDefinition,
    Parameter,
    Repeat,
)
from protocols.telemetry.fields import Kind

_HEADER: Final = tuple(
    Parameter(f"PUS_{field.name.upper()}", field.subcon, description="Secondary header")
    for field in TM_FIELDS
)


def report(
    name: str, service: int, subtype: int, description: str, *fields: Field, **more: Any
) -> PacketDefinition:
    """TM[service,subtype] of the flight software: PUS header, SCET, fields, error control."""
    conditions = (
        Condition("PUS_VERSION", PUS_VERSION),
        Condition("PUS_SERVICE", service),
        Condition("PUS_SUBTYPE", subtype),
        *more.pop("conditions", ()),
    )
    return PacketDefinition(
        name,
        int(Apid.FLIGHT_SOFTWARE),
        (*_HEADER, SCET, *fields, PACKET_CRC),
        conditions,
        time="SCET",
        description=description,
        **more,
    )


def _number(name: str, field: Any, description: str, **more: Any) -> Parameter:
    return Parameter(name, field, description=description, **more)


def _switch(name: str, description: str) -> Parameter:
    return Parameter(name, Int8ub, calibration=labels(Switch), description=description)


def _event(name: str) -> Parameter:
    return Parameter(name, Int16ub, calibration=labels(EventId), description="Event")


def _parameter(name: str) -> Parameter:
    return Parameter(name, Int16ub, calibration=NAMES, description="On-board parameter")


def _time(name: str, description: str) -> Parameter:
    return Parameter(name, TIME_FORMAT, unit="ns", description=f"{description}, on-board clock")


def _list(count: str, *members: Parameter) -> tuple[Parameter, Repeat]:
    return _number(count, Int8ub, "How many follow"), Repeat(members, count=count)


_VERIFICATION: Final = tuple(
    report(
        f"VERIFY_{stage.name}_{'SUCCESS' if success else 'FAILURE'}",
        1,
        subtype,
        f"{stage.value} of a request {'succeeded' if success else 'failed'}",
        *report_fields(subtype),
    )
    for (stage, success), subtype in SUBTYPES.items()
)
_EVENTS: Final = tuple(
    report(
        f"EVENT_{severity.name}",
        5,
        1 + severity.value,
        f"Event of the flight software, severity {severity.name.lower()}",
        *l4_payload.EVENTS.fields[1:],
    )
    for severity in Severity
)
_MONITOR: Final = _number("MON_MONITOR", Int16ub, "Monitor")
_CHECK_TYPE: Final = Parameter(
    "MON_CHECK", Int8ub, calibration=labels(CheckType), description="Check type"
)


def _status(name: str) -> Parameter:
    return Parameter(
        name, Int8ub, calibration=labels(CheckingStatus), description="Checking status"
    )


def _limit_event(name: str) -> Parameter:
    return Parameter(name, Int16ub, calibration=EVENTS_OR_NONE, description="Event beyond it")


#: Figures 8-128 and 8-129.
_CHECK: Final = (
    _MONITOR,
    _parameter("MON_PARAMETER"),
    _CHECK_TYPE,
    _number("MON_VALUE", Float64b, "Engineering value at the transition"),
    _number("MON_LIMIT", Float64b, "Crossed; engineering value"),
    _status("MON_PREVIOUS"),
    _status("MON_CURRENT"),
    _time("MON_SINCE", "When it went there"),
)
_TRANSFER: Final = (
    _number("LPT_TRANSFER", Int16ub, "Large message transfer"),
    _number("LPT_PART_NUMBER", Int16ub, "From 1"),
    _number("LPT_PART", GreedyBytes, "Octets of the large packet"),
)
_STRUCTURE: Final = _number("HKS_STRUCTURE", Int16ub, "Report structure")
_ACTIVITY: Final = (
    _time("SCH_RELEASE", "Release time"),
    _number("SCH_SOURCE", Int16ub, "Who sent the request"),
    _number("SCH_APID", Int16ub, "Of the request"),
    _number("SCH_SEQUENCE_COUNT", Int16ub, "Of the request"),
)

#: §8.9.3 with the report generation rate; SCET is the clock when the frame in which the packet
#: begins began to leave, so that with its ERT nothing but light time lies between.
TIME_REPORT: Final = PacketDefinition(
    "TIME_REPORT",
    int(Apid.TIME),
    (_number("TIM_EXPONENT", Int8ub, "A report every 2^n seconds"), SCET),
    time="SCET",
    secondary_header=False,
    description="On-board clock at the beginning of the frame that the packet begins in",
)

REPORTS: Final = Dictionary(
    "L4_RELAY_REPORTS",
    (
        TIME_REPORT,
        *_VERIFICATION,
        report(
            "HK_STRUCTURE",
            3,
            10,
            "What a housekeeping report structure consists of",
            _STRUCTURE,
            _switch("HKS_PERIODIC", "Reported periodically"),
            _number("HKS_INTERVAL", Int32ub, "Between reports", unit="s"),
            *_list("HKS_NUMBER", _parameter("HKS_PARAMETER")),
            _number("HKS_GROUPS", Int8ub, "Super-commutated parameters: none"),
        ),
        report(
            "HK_REPORT",
            3,
            25,
            "Values of a housekeeping report structure",
            _STRUCTURE,
            _number("HKS_VALUES", GreedyBytes, "One after the other, each in whole octets"),
        ),
        *_EVENTS,
        report(
            "EVENTS_DISABLED",
            5,
            8,
            "Events that are not reported",
            *_list("EVD_NUMBER", _event("EVD_EVENT")),
        ),
        report(
            "SCHEDULE_DETAIL",
            11,
            10,
            "One scheduled request",
            _number("SCH_NUMBER", Int8ub, "Requests in this report, 1"),
            _time("SCH_TIME", "Release time"),
            _number("SCH_REQUEST", GreedyBytes, "Its packet"),
        ),
        report(
            "SCHEDULE_SUMMARY",
            11,
            13,
            "Identifiers and times of all scheduled requests",
            *_list("SCH_COUNT", *_ACTIVITY),
        ),
        report(
            "MONITOR_DEFINITIONS",
            12,
            9,
            "What monitors check",
            *_list(
                "MON_NUMBER",
                _MONITOR,
                _parameter("MON_PARAMETER"),
                _switch("MON_ENABLED", "Whether it checks"),
                _number("MON_REPETITION", Int8ub, "Samples that say the same"),
                _CHECK_TYPE,
                _number("MON_LOW_LIMIT", Float64b, "Engineering value"),
                _limit_event("MON_LOW_EVENT"),
                _number("MON_HIGH_LIMIT", Float64b, "Engineering value"),
                _limit_event("MON_HIGH_EVENT"),
            ),
        ),
        report(
            "MONITORS_VIOLATED",
            12,
            11,
            "Monitors beyond their limits",
            *_list("MON_NUMBER", *_CHECK),
        ),
        report(
            "MONITOR_TRANSITIONS",
            12,
            12,
            "Monitors that went beyond their limits or came back",
            *_list("MON_NUMBER", *_CHECK),
        ),
        report(
            "MONITOR_STATUS",
            12,
            14,
            "Which monitors are enabled",
            *_list("MON_NUMBER", _MONITOR, _switch("MON_ENABLED", "Whether it checks")),
        ),
        *(
            report(f"LARGE_{name}", 13, subtype, "Part of a packet too long for one", *_TRANSFER)
            for name, subtype in (("FIRST", 1), ("INTERMEDIATE", 2), ("LAST", 3))
        ),
        report(
            "LARGE_ABORTED",
            13,
            16,
            "An uplink transfer that was given up",
            _number("LPT_TRANSFER", Int16ub, "Large message transfer"),
            _number("LPT_REASON", Int8ub, "1: time-out, 2: parts out of order, 3: too long"),
        ),
        report(
            "STORE_CONTENT",
            15,
            13,
            "What packet stores hold",
            *_list(
                "STO_NUMBER",
                _number("STO_STORE", Int8ub, "Packet store"),
                _switch("STO_ENABLED", "Whether it stores"),
                _time("STO_OLDEST", "Oldest packet"),
                _time("STO_NEWEST", "Newest packet"),
                _number("STO_OCTETS", BytesInteger(4), "Held", unit="octet"),
                _number("STO_SIZE", BytesInteger(4), "Capacity", unit="octet"),
            ),
        ),
        report("TEST_REPORT", 17, 2, "Yes"),
        report(
            "SECURITY_REPLY",
            128,
            2,
            "Answer to a procedure of link security (355.1-B)",
            _number("SEC_PACKET_ID", Int16ub, "First header word of the request"),
            _number("SEC_SEQUENCE", Int16ub, "Second header word of the request"),
            _number("SEC_PDU", GreedyBytes, "Extended procedures PDU"),
        ),
        report(
            "ACTION_STATUS",
            19,
            7,
            "Which actions are enabled",
            *_list(
                "ACT_NUMBER",
                _number("ACT_APID", Int16ub, "That raises the event"),
                _event("ACT_EVENT"),
                _switch("ACT_ENABLED", "Is executed"),
            ),
        ),
        report(
            "PARAMETER_VALUES",
            20,
            2,
            "Values of on-board parameters",
            *_list(
                "PAR_NUMBER",
                _parameter("PAR_PARAMETER"),
                _number("PAR_VALUE", Float64b, "Engineering value; a state's number"),
            ),
        ),
    ),
    "Service reports of the L4 relay's flight software",
)
#: Everything that the spacecraft sends.
EVERYTHING: Final = Dictionary(
    "L4_RELAY",
    (*DICTIONARY.definitions, *REPORTS.definitions),
    "Telemetry and service reports of the L4 relay spacecraft",
    foreign=frozenset({int(Apid.FILES)}),
)


def housekeeping_definition(structure: int, parameters: Sequence[str]) -> PacketDefinition:
    """TM[3,25] of one structure: its parameters in order, each widened to whole octets.

    The result replaces the general `HK_REPORT` for that structure: decode with a dictionary made
    of such definitions.  Raises LocalError for what is no on-board parameter.
    """
    unknown = [name for name in parameters if name not in ON_BOARD]
    if unknown:
        raise LocalError(f"structure {structure}: no on-board parameter {', '.join(unknown)}")
    return report(
        f"HK_{structure}",
        3,
        25,
        f"Housekeeping report structure {structure}",
        _STRUCTURE,
        *(_widened(ON_BOARD[name].declared) for name in parameters),
        conditions=(Condition("HKS_STRUCTURE", structure),),
    )


def _widened(parameter: Parameter) -> Parameter:
    if parameter.type.kind is Kind.FLOAT:
        return parameter
    octets = -(-parameter.type.bits // 8)
    return replace(parameter, field=BytesInteger(octets, signed=parameter.type.kind is Kind.SIGNED))
