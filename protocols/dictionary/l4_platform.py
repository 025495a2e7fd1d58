"""Packets of the platform: computer, power, thermal, attitude, propulsion, transponder."""
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from construct import (
    BitsInteger,
    Float32b,
    Int8ub,
    Int16sb,
    Int16ub,
    Int24ub,
    Int32sb,
    Int32ub,
)

from protocols.dictionary.l4_fields import THERMISTOR, linear, number, packet, state, switches
from protocols.dictionary.l4_states import (
    AttitudeMode,
    ChargeState,
    Mode,
    ReceiverState,
    StarTracker,
    Switch,
)
from protocols.identifiers import Apid
from protocols.telemetry.calibration import Polynomial
from protocols.telemetry.declaration import Parameter, Repeat, Spare
from protocols.telemetry.limits import Limits

STATUS = packet(
    Apid.STATUS,
    (
        state("SC_MODE", 4, Mode, "Spacecraft mode", (Mode.STORM,), (Mode.SAFE,)),
        state("SC_CLOCK_TRACEABLE", 1, Switch, "On-board time follows TAI"),
        Spare(3),
        number("SC_BOOT_COUNT", Int16ub, "", "Starts of the on-board computer"),
        number("SC_UPTIME", Int32ub, "s", "Since the last start"),
        number("SC_FRAMES", Int32ub, "", "Transfer frames sent since the last start"),
        number("SC_PACKETS", Int32ub, "", "Packets generated since the last start"),
        number("SC_EVENTS", Int16ub, "", "Events raised since the last start"),
        number("SC_CPU_LOAD", Int8ub, "%", "Of the on-board computer", linear(0.5), (None, 85.0)),
    ),
    "On-board computer, modes and downlink counters",
)

POWER = packet(
    Apid.POWER,
    (
        number(
            "PWR_BUS_VOLTAGE",
            Int16ub,
            "V",
            "Unregulated main bus",
            linear(0.001),
            (27.5, 33.6),
            (25.0, 34.2),
        ),
        number("PWR_ARRAY_VOLTAGE", Int16ub, "V", "Solar array", linear(0.001)),
        number("PWR_ARRAY_CURRENT", Int16ub, "A", "Solar array", linear(0.002)),
        Parameter(
            "PWR_ARRAY_TEMPERATURE",
            BitsInteger(12),
            "degC",
            THERMISTOR,
            Limits((-90.0, 85.0), (-110.0, 110.0), 3),
            "Solar array, rear side",
        ),
        Spare(4),
        number("PWR_BATTERY_CURRENT", Int16sb, "A", "Charging is positive", linear(0.005)),
        number(
            "PWR_BATTERY_CHARGE",
            Int16ub,
            "%",
            "State of charge",
            linear(0.01),
            (50.0, None),
            (40.0, None),
        ),
        number(
            "PWR_BATTERY_TEMPERATURE",
            Int16sb,
            "degC",
            "Hottest cell",
            linear(0.01),
            (0.0, 30.0),
            (-5.0, 40.0),
        ),
        number("PWR_LOAD_POWER", Int16ub, "W", "All loads", linear(0.05), (None, 1900.0)),
        state(
            "PWR_CHARGE_STATE",
            2,
            ChargeState,
            "Charge regulator",
            warning=(ChargeState.DISCHARGE,),
        ),
        Spare(6),
        *switches(
            "PWR_PLATFORM_SWITCH",
            "PWR_WHEELS_SWITCH",
            "PWR_X_TRANSMITTER_SWITCH",
            "PWR_KA_TRANSMITTER_SWITCH",
            "PWR_OPTICAL_SWITCH",
            "PWR_INSTRUMENTS_SWITCH",
            "PWR_RELAY_PROCESSOR_SWITCH",
            "PWR_PROPULSION_SWITCH",
        ),
    ),
    "Solar array, battery, loads and bus",
)


def _node(name: str, description: str, low: float, high: float) -> Parameter:
    return Parameter(
        f"THM_{name}_TEMPERATURE",
        BitsInteger(12),
        "degC",
        THERMISTOR,
        Limits((low, high), (low - 10.0, high + 10.0), 2),
        description,
    )


THERMAL = packet(
    Apid.THERMAL,
    (
        _node("SUN_PANEL", "Panel facing the Sun", -20.0, 75.0),
        _node("ANTI_SUN_PANEL", "Panel facing away", -60.0, 10.0),
        _node("ELECTRONICS", "Electronics deck", 0.0, 45.0),
        _node("BATTERY_BAY", "Battery compartment", 5.0, 25.0),
        _node("TANK", "Propellant tank", 10.0, 30.0),
        _node("PROPELLANT_LINES", "Propellant lines", 8.0, 35.0),
        _node("X_AMPLIFIER", "X-band amplifier", -15.0, 55.0),
        _node("KA_AMPLIFIER", "Ka-band amplifier", -15.0, 62.0),
        _node("LASER_BENCH", "Optical bench of the laser terminal", 8.0, 24.0),
        _node("TELESCOPE", "Telescope tube", -30.0, 10.0),
        _node("STAR_TRACKER", "Star tracker baffle", -30.0, 15.0),
        _node("MAGNETOMETER_BOOM", "End of the boom", -90.0, 0.0),
        *switches(
            "THM_BATTERY_BAY_HEATER",
            "THM_TANK_HEATER",
            "THM_PROPELLANT_LINES_HEATER",
            "THM_LASER_BENCH_HEATER",
        ),
        Spare(4),
    ),
    "Temperatures by thermistor, heater states",
)

ATTITUDE = packet(
    Apid.ATTITUDE,
    (
        state(
            "ATT_ATTITUDE_MODE",
            4,
            AttitudeMode,
            "Attitude control mode",
            (AttitudeMode.UNLOADING,),
            (AttitudeMode.SUN_ACQUISITION,),
        ),
        state(
            "ATT_STAR_TRACKER_STATE",
            4,
            StarTracker,
            "Star tracker",
            (StarTracker.ACQUIRING, StarTracker.BLINDED),
        ),
        *(
            number(
                f"ATT_QUATERNION_{axis}",
                Int32sb,
                "",
                "Body from inertial frame, scalar is W",
                linear(2.0**-31),
            )
            for axis in "XYZW"
        ),
        *(
            number(f"ATT_RATE_{axis}", Float32b, "deg/s", "Body rate", None, (-0.6, 0.6))
            for axis in "XYZ"
        ),
        *(
            number(
                f"ATT_WHEEL_{wheel}_SPEED",
                Int16sb,
                "rpm",
                "Reaction wheel",
                linear(0.2),
                (-3600.0, 3600.0),
                (-4200.0, 4200.0),
            )
            for wheel in range(1, 5)
        ),
        *(
            number(f"ATT_WHEEL_{wheel}_TORQUE", Int16sb, "N.m", "Reaction wheel", linear(1e-5))
            for wheel in range(1, 5)
        ),
        number(
            "ATT_SUN_ANGLE",
            Int16ub,
            "deg",
            "Array normal to Sun",
            linear(0.005),
            (None, 10.0),
            (None, 40.0),
        ),
    ),
    "Attitude, rates and wheels",
)

PROPULSION = packet(
    Apid.PROPULSION,
    (
        number(
            "PRP_TANK_PRESSURE",
            Int16ub,
            "bar",
            "Pressurant over propellant",
            # The transducer bends by a tenth of a per cent over its range.
            Polynomial((-0.5, 6.0e-4, 1.0e-11)),
            (6.0, 24.0),
            (5.0, 26.0),
        ),
        number(
            "PRP_LINE_PRESSURE",
            Int16ub,
            "bar",
            "Behind the latch valve",
            Polynomial((-0.5, 6.0e-4, 1.0e-11)),
            (5.5, 24.0),
        ),
        number(
            "PRP_TANK_WALL_TEMPERATURE", Int16sb, "degC", "Tank wall", linear(0.01), (10.0, 30.0)
        ),
        number("PRP_PROPELLANT_MASS", Int24ub, "kg", "By book-keeping", linear(1e-5)),
        number("PRP_FIRINGS", Int32ub, "", "Thruster pulses trains since launch"),
        state("PRP_LATCH_VALVE", 1, Switch, "Latch valve; ON is open"),
        Spare(7),
        *switches(*(f"PRP_THRUSTER_{thruster}_VALVE" for thruster in range(1, 9))),
        Repeat(
            (
                number(
                    "PRP_THRUSTER_TEMPERATURE",
                    Int16ub,
                    "degC",
                    "Catalyst bed, thrusters 1 to 8",
                    linear(0.02, -100.0),
                    (90.0, 750.0),
                ),
                number("PRP_THRUSTER_ON_TIME", Int32ub, "ms", "Total, thrusters 1 to 8"),
            ),
            count=8,
        ),
    ),
    "Tank, lines and thrusters",
)

TRANSPONDER = packet(
    Apid.TRANSPONDER,
    (
        state("TRX_RECEIVER_STATE", 2, ReceiverState, "X-band receiver"),
        state("TRX_COHERENT", 1, Switch, "Downlink carrier follows the uplink"),
        state("TRX_RANGING", 1, Switch, "Ranging channel"),
        state("TRX_KA_TRANSMITTER", 1, Switch, "Ka-band transmitter"),
        Spare(3),
        number(
            "TRX_UPLINK_LEVEL", Int16sb, "dBm", "Received carrier", linear(0.01), (-135.0, -80.0)
        ),
        number("TRX_UPLINK_OFFSET", Int32sb, "Hz", "Carrier loop stress", linear(0.1)),
        number("TRX_X_TRANSMIT_POWER", Int16sb, "dBm", "X-band output", linear(0.01), (46.0, 49.0)),
        number("TRX_KA_TRANSMIT_POWER", Int16sb, "dBm", "Ka-band output", linear(0.01)),
        number("TRX_X_AMPLIFIER_TEMPERATURE", Int16sb, "degC", "Tube collector", linear(0.01)),
        number("TRX_KA_AMPLIFIER_TEMPERATURE", Int16sb, "degC", "Tube collector", linear(0.01)),
        number("TRX_SYMBOL_RATE", Int32ub, "symbol/s", "Downlink symbols"),
        number("TRX_UPLINK_OCTETS", Int32ub, "", "Received since the last start"),
        number("TRX_UPLINK_BURSTS", Int16ub, "", "Seconds in which octets came"),
    ),
    "X/Ka-band transponder",
)
