"""Packets of the L4 relay's payload, and its events."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from construct import (
    Bytes,
    BytesInteger,
    Float32b,
    Float32l,
    Int8ub,
    Int16sb,
    Int16sl,
    Int16ub,
    Int16ul,
    Int32ub,
    Int32ul,
    this,
)

from protocols.dictionary.l4_fields import linear, number, packet, state
from protocols.dictionary.l4_states import (
    EventId,
    FieldRange,
    InstrumentMode,
    OpticalState,
    Severity,
    Switch,
)
from protocols.identifiers import Apid
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.declaration import Condition, PacketDefinition, Parameter, Repeat, Spare

OPTICAL = packet(
    Apid.OPTICAL,
    (
        state("OPT_OPTICAL_STATE", 8, OpticalState, "Optical terminal"),
        number("OPT_RECEIVED_POWER", Float32l, "nW", "At the tracking sensor"),
        number("OPT_POINTING_JITTER", Int16ul, "urad", "RMS over a second", linear(0.001)),
        number("OPT_LASER_TEMPERATURE", Int16sl, "degC", "Laser", linear(0.01), (5.0, 30.0)),
        number("OPT_LASER_CURRENT", Float32l, "A", "Pump current"),
        number("OPT_SCAN_STEP", Int16ul, "", "Step of the acquisition spiral"),
        number("OPT_OPTICAL_RATE", Int32ul, "bit/s", "What the link carries"),
    ),
    "Optical terminal; its controller is little-endian",
)

RELAY = packet(
    Apid.RELAY,
    (
        number("RLY_STORE_USED", BytesInteger(6), "octet", "Octets held"),
        number(
            "RLY_STORE_OCCUPANCY",
            Int16ub,
            "%",
            "Of the store",
            linear(0.01),
            (None, 80.0),
            (None, 95.0),
            1,
        ),
        number("RLY_BUNDLES_BULK", Int32ub, "", "Bundles held, bulk"),
        number("RLY_BUNDLES_NORMAL", Int32ub, "", "Bundles held, normal"),
        number("RLY_BUNDLES_EXPEDITED", Int32ub, "", "Bundles held, expedited"),
        number("RLY_BUNDLES_RECEIVED", Int32ub, "", "Since the last start"),
        number("RLY_BUNDLES_FORWARDED", Int32ub, "", "Since the last start"),
        number("RLY_BUNDLES_REFUSED", Int32ub, "", "For want of room"),
        number("RLY_INFLOW", Int32ub, "octet/s", "In the last second"),
        number("RLY_OUTFLOW", Int32ub, "octet/s", "In the last second"),
    ),
    "Relay store",
)

EVENTS = packet(
    Apid.EVENTS,
    (
        Parameter(
            "EVT_ID",
            Int16ub,
            "",
            Enumeration({event.value: event.name for event in EventId}),
            None,
            "Which event",
        ),
        state(
            "EVT_SEVERITY",
            4,
            Severity,
            "How much it matters",
            (Severity.MEDIUM,),
            (Severity.HIGH,),
        ),
        Spare(4),
        number("EVT_COUNT", Int16ub, "", "Events since the last start"),
        number("EVT_LENGTH", Int8ub, "octet", "Length of the text"),
        Parameter(
            "EVT_TEXT", Bytes(this.EVT_LENGTH), "", Text("US-ASCII"), None, "Text for people"
        ),
    ),
    "One event; the text's length varies",
)

PROTON_FLUX = packet(
    Apid.PROTON_FLUX,
    (
        state("PRO_INSTRUMENT_MODE", 2, InstrumentMode, "Proton instrument"),
        Spare(6),
        number("PRO_ACCUMULATION", Int8ub, "s", "Time over which is counted"),
        number("PRO_LIVE_TIME", Int16ub, "%", "Of the accumulation", linear(0.01)),
        number(
            "PRO_INTEGRAL_FLUX",
            Float32b,
            "1/(cm2.s.sr)",
            "Protons above 12 MeV",
            None,
            (None, 10.0),
            (None, 1000.0),
        ),
        number("PRO_CHANNELS", Int8ub, "", "Energy channels that follow"),
        Repeat(
            number("PRO_COUNTS", Int32ub, "", "Protons counted, from low to high energy"),
            count=this.PRO_CHANNELS,
        ),
    ),
    "Protons by energy channel",
)

SOLAR_WIND = packet(
    Apid.SOLAR_WIND,
    (
        number("SWP_WIND_SPEED", Int16ub, "km/s", "Bulk speed", linear(0.05), (None, 700.0)),
        number("SWP_WIND_DENSITY", Int16ub, "1/cm3", "Protons", linear(0.005)),
        number("SWP_WIND_TEMPERATURE", Float32b, "K", "Protons"),
        number("SWP_ALPHA_RATIO", Int8ub, "%", "Helium to hydrogen", linear(0.1)),
        number("SWP_FLOW_AZIMUTH", Int16sb, "deg", "Flow direction", linear(0.005)),
        number("SWP_FLOW_ELEVATION", Int16sb, "deg", "Flow direction", linear(0.005)),
    ),
    "Solar wind protons",
)


def _magnetometer(span: FieldRange, step_nt: float) -> PacketDefinition:
    samples = tuple(
        number(f"MAG_{span.name}_B{axis}", Int16sb, "nT", "Field, body axes", linear(step_nt))
        for axis in "XYZ"
    )
    return packet(
        Apid.MAGNETOMETER,
        (
            state("MAG_RANGE", 1, FieldRange, "Range of the vectors"),
            state("MAG_BURST", 1, Switch, "Four times the vectors"),
            state("MAG_CALIBRATING", 1, Switch, "Calibration coil"),
            Spare(5),
            number("MAG_SENSOR_TEMPERATURE", Int16sb, "degC", "Sensor", linear(0.01)),
            number("MAG_SAMPLES", Int8ub, "", "Vectors that follow, evenly over one second"),
            Repeat(samples, count=this.MAG_SAMPLES),
        ),
        f"Magnetic field in the {span.name.lower()} range",
        name=f"MAGNETOMETER_{span.name}",
        conditions=(Condition("MAG_RANGE", span.value),),
    )


MAGNETOMETER_FINE = _magnetometer(FieldRange.FINE, 1 / 256)
MAGNETOMETER_COARSE = _magnetometer(FieldRange.COARSE, 1 / 16)
