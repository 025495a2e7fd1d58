"""How the L4 relay declares a field: time code, thermistor, numbers, states and switches."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

from construct import BitsInteger

from protocols.dictionary.l4_states import Switch
from protocols.identifiers import Apid
from protocols.telemetry.calibration import Calibration, Enumeration, Polynomial, Spline
from protocols.telemetry.declaration import Field, PacketDefinition, Parameter
from protocols.telemetry.limits import EnumerationLimits, Limits
from protocols.timecodes.cuc import CucFormat

#: 301.0-B-4 §3.2: level 1, the CCSDS epoch 1958-01-01 TAI.
TIME_FORMAT: Final = CucFormat(coarse_octets=4, fine_octets=3, epoch_tai_ns=0, p_field=False)
SCET: Final = Parameter("SCET", TIME_FORMAT, unit="ns", description="Generation time, TAI")

#: Thermistor with its bridge: 12-bit counts over temperature, strongly bent at both ends.
THERMISTOR: Final = Spline(
    (
        (0, 125.0),
        (280, 88.0),
        (700, 61.0),
        (1300, 38.5),
        (2000, 19.5),
        (2700, 1.5),
        (3300, -19.0),
        (3700, -43.0),
        (3950, -73.0),
        (4095, -115.0),
    )
)


def linear(step: float, start: float = 0.0) -> Polynomial:
    """Engineering value = start + step × raw."""
    return Polynomial((start, step))


def number(
    name: str,
    field: Any,
    unit: str,
    description: str,
    calibration: Calibration | None = None,
    warning: tuple[float | None, float | None] | None = None,
    critical: tuple[float | None, float | None] | None = None,
    persistence: int = 2,
) -> Parameter:
    """A measured number; limits must hold for `persistence` samples before they are reported."""
    limits = Limits(warning, critical, persistence) if warning or critical else None
    return Parameter(name, field, unit, calibration, limits, description)


def state(
    name: str,
    bits: int,
    states: type[IntEnum],
    description: str,
    warning: tuple[IntEnum, ...] = (),
    critical: tuple[IntEnum, ...] = (),
) -> Parameter:
    """A state of so many bits, its labels those of the enumeration."""
    limits = None
    if warning or critical:
        limits = EnumerationLimits(
            tuple(state.name for state in warning), tuple(state.name for state in critical)
        )
    return Parameter(
        name,
        BitsInteger(bits),
        "",
        Enumeration({state.value: state.name for state in states}),
        limits,
        description,
    )


def switches(*names: str) -> tuple[Parameter, ...]:
    """One bit each."""
    return tuple(state(name, 1, Switch, "Switch state as read back") for name in names)


def packet(
    apid: Apid, fields: tuple[Field, ...], description: str, name: str = "", **more: Any
) -> PacketDefinition:
    """A packet of this spacecraft: SCET first, then the fields."""
    return PacketDefinition(
        name or apid.name, int(apid), (SCET, *fields), time="SCET", description=description, **more
    )
