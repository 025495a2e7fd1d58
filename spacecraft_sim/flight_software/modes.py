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


_TIMELINE = {
    Trigger.TO_SAFE: Mode.SAFE,
    Trigger.TO_STANDBY: Mode.STANDBY,
    Trigger.TO_NOMINAL: Mode.NOMINAL,
}
#: {mode: {trigger: next mode}}; a trigger that a mode does not list is ignored there.
TRANSITIONS: dict[Mode, dict[Trigger, Mode]] = {
    Mode.SAFE: _TIMELINE,
    Mode.STANDBY: {**_TIMELINE, Trigger.BATTERY_LOW: Mode.SAFE},
    Mode.NOMINAL: {
        **_TIMELINE,
        Trigger.BATTERY_LOW: Mode.SAFE,
        Trigger.PROTONS_HIGH: Mode.STORM,
    },
    Mode.STORM: {
        **_TIMELINE,
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
