"""States of the L4 relay that telemetry names: each number and its label stand here once."""

from __future__ import annotations

from enum import IntEnum


class Switch(IntEnum):
    OFF = 0
    ON = 1


class Mode(IntEnum):
    """Spacecraft mode."""

    SAFE = 0
    STANDBY = 1
    NOMINAL = 2
    STORM = 3
    LAUNCH = 4

    @property
    def minimal(self) -> bool:
        """Whether only that is on which keeps the spacecraft alive."""
        return self in (Mode.SAFE, Mode.LAUNCH)


class Severity(IntEnum):
    """How much an event matters."""

    INFORMATION = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3


class EventId(IntEnum):
    """Numbers of the event packets; the text is for people, the number for procedures."""

    BOOT = 1
    MODE_CHANGE = 2
    TIMELINE = 3
    PLAYBACK = 4
    HEATER_SWITCHED = 16
    BATTERY_DISCHARGING = 17
    BATTERY_LOW = 18
    WHEEL_UNLOADING = 32
    STAR_TRACKER_LOST = 33
    STAR_TRACKER_TRACKING = 34
    UPLINK_LOCK = 48
    UPLINK_LOST = 49
    OPTICAL_STATE = 50
    STORE_WATERMARK = 64
    PROTON_WARNING = 80
    PROTON_CLEARED = 81
    SHOCK_ARRIVAL = 82
    # Raised by flight software and reported by service 5 (l4_reports.py).
    COMMAND_MODE = 96
    FRAME_REJECTED = 97
    CONTACT_LOST = 98
    CONTACT_REGAINED = 99
    SCHEDULE_FAILED = 100
    EVENT_ACTION = 101
    MEMORY_UPSET = 102
    MEMORY_FAILURE = 103
    LIMIT_VIOLATED = 104
    LIMIT_RESTORED = 105
    FAULT_INJECTED = 106
    TRANSFER_ABORTED = 107
    SECURITY_CHANGED = 108
    SECURITY_REFUSED = 109
    PROTONS_EXTREME = 112
    BUS_UNDERVOLTAGE = 113
    FILE_RECEIVED = 116
    FILE_SENT = 117
    FILE_FAILED = 118


class CheckType(IntEnum):
    """What a monitor does with its parameter (ECSS-E-ST-70-41C table 8-6)."""

    EXPECTED_VALUE = 0
    LIMIT = 1
    DELTA = 2


class CheckingStatus(IntEnum):
    """Of a limit check (table 8-8)."""

    WITHIN_LIMITS = 0
    UNCHECKED = 1
    INVALID = 2
    BELOW_LOW_LIMIT = 3
    ABOVE_HIGH_LIMIT = 4


class ChargeState(IntEnum):
    """Battery charge regulator."""

    DISCHARGE = 0
    BULK = 1
    TAPER = 2
    FULL = 3


class AttitudeMode(IntEnum):
    SUN_ACQUISITION = 0
    EARTH_POINTING = 1
    UNLOADING = 2


class StarTracker(IntEnum):
    OFF = 0
    ACQUIRING = 1
    TRACKING = 2
    BLINDED = 3


class ReceiverState(IntEnum):
    """X-band receiver."""

    SEARCHING = 0
    CARRIER_LOCK = 1
    BIT_LOCK = 2


class OpticalState(IntEnum):
    """Optical terminal."""

    OFF = 0
    STOWED = 1
    ACQUIRING = 2
    TRACKING = 3


class InstrumentMode(IntEnum):
    """Proton instrument."""

    OFF = 0
    QUIET = 1
    STORM = 2


class FieldRange(IntEnum):
    """Magnetometer range: ±128 nT in steps of 1/256 nT, or ±2048 nT in steps of 1/16 nT."""

    FINE = 0
    COARSE = 1
