"""Spacecraft modes as a table, and the triggers that on-board monitoring raises."""

from __future__ import annotations

from enum import Enum

from protocols.dictionary.l4_states import EventId, Mode


class Trigger(Enum):
    BATTERY_LOW = "battery low"
    PROTONS_HIGH = "protons high"
    PROTONS_CLEARED = "protons cleared"
    TO_SAFE = "timeline: safe"
    TO_STANDBY = "timeline: standby"
    TO_NOMINAL = "timeline: nominal"
    COMMAND_SAFE = "command: safe"
    COMMAND_STANDBY = "command: standby"
    COMMAND_NOMINAL = "command: nominal"
    COMMAND_STORM = "command: storm"


_TOLD = {
    Trigger.TO_SAFE: Mode.SAFE,
    Trigger.TO_STANDBY: Mode.STANDBY,
    Trigger.TO_NOMINAL: Mode.NOMINAL,
    Trigger.COMMAND_SAFE: Mode.SAFE,
    Trigger.COMMAND_STANDBY: Mode.STANDBY,
    Trigger.COMMAND_NOMINAL: Mode.NOMINAL,
    Trigger.COMMAND_STORM: Mode.STORM,
}
#: {mode: {trigger: next mode}}; a trigger that a mode does not list is ignored there.
TRANSITIONS: dict[Mode, dict[Trigger, Mode]] = {
    # Separation is detected on board and ends in safe mode; nothing else ends launch mode.
    Mode.LAUNCH: {Trigger.TO_SAFE: Mode.SAFE, Trigger.COMMAND_SAFE: Mode.SAFE},
    # From safe mode to storm mode there is no way but through recovery.
    Mode.SAFE: {
        trigger: mode for trigger, mode in _TOLD.items() if trigger is not Trigger.COMMAND_STORM
    },
    Mode.STANDBY: {**_TOLD, Trigger.BATTERY_LOW: Mode.SAFE},
    Mode.NOMINAL: {
        **_TOLD,
        Trigger.BATTERY_LOW: Mode.SAFE,
        Trigger.PROTONS_HIGH: Mode.STORM,
    },
    Mode.STORM: {
        **_TOLD,
        Trigger.BATTERY_LOW: Mode.SAFE,
        Trigger.PROTONS_CLEARED: Mode.NOMINAL,
    },
}
#: Which events are triggers.
FROM_EVENT = {
    EventId.BATTERY_LOW: Trigger.BATTERY_LOW,
    EventId.PROTON_WARNING: Trigger.PROTONS_HIGH,
    EventId.PROTON_CLEARED: Trigger.PROTONS_CLEARED,
}


def next_mode(mode: Mode, trigger: Trigger) -> Mode:
    """The mode after a trigger.

    >>> next_mode(Mode.NOMINAL, Trigger.PROTONS_HIGH).name
    'STORM'
    >>> next_mode(Mode.SAFE, Trigger.PROTONS_HIGH).name
    'SAFE'
    """
    return TRANSITIONS[mode].get(trigger, mode)
