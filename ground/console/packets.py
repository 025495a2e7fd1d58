"""Packets for people: which subsystem they belong to, and their fields as a list."""

from __future__ import annotations

from math import isfinite
from typing import Any, Final

from ground.console.model import plain, shown
from protocols.errors import ProtocolError
from protocols.packets.batch import PacketBatch
from protocols.telemetry.declaration import Dictionary
from protocols.telemetry.limits import Limits
from protocols.telemetry.tables import calibrated

#: First part of a parameter's name → what the page calls it.
_SUBSYSTEMS: Final = {
    "SC": "Spacecraft",
    "PWR": "Power",
    "THM": "Thermal",
    "ATT": "Attitude",
    "PRP": "Propulsion",
    "TRX": "Transponder",
    "OPT": "Optical terminal",
    "RLY": "Relay payload",
    "PRO": "Protons",
    "SWP": "Solar wind",
    "MAG": "Magnetic field",
}
_OTHERS: Final = "Reports"


def subsystems(dictionary: Dictionary | None) -> dict[str, list[str]]:
    """Packet definitions by subsystem, in the order of the dictionary."""
    out: dict[str, list[str]] = {}
    for definition in dictionary.by_name.values() if dictionary is not None else ():
        prefixes = [name.split("_", 1)[0] for name in definition.parameters]
        known = [_SUBSYSTEMS[one] for one in prefixes if one in _SUBSYSTEMS]
        name = max(known, key=known.count, default=_OTHERS)
        if dictionary is not None and not known and "_" not in definition.name:
            name = definition.name.capitalize()
        out.setdefault(name, []).append(definition.name)
    return out


def limit_lines(dictionary: Dictionary | None) -> dict[str, list[float | None]]:
    """Of parameters with limits, in engineering units: critical low, warning low, warning high,
    critical high; None: open."""
    out: dict[str, list[float | None]] = {}
    for name, parameter in dictionary.parameters.items() if dictionary is not None else ():
        if isinstance(parameter.limits, Limits):
            out[name] = [one if isfinite(one) else None for one in parameter.limits.bounds]
    return out


class PacketTree:
    """A packet's octets to its fields: [name, value, unit, raw] after its definition's name."""

    def __init__(self, dictionary: Dictionary | None) -> None:
        self._dictionary = dictionary

    def __call__(self, octets: bytes) -> dict[str, Any] | None:
        """None for a packet that the dictionary does not know."""
        if self._dictionary is None:
            return None
        try:
            decoded = self._dictionary.decode(PacketBatch.from_packets([octets]))
            for table in decoded:
                return {"definition": table.definition.name, "fields": self._fields(table)}
        except ProtocolError:
            return None
        return None

    def _fields(self, table: Any) -> list[list[Any]]:
        out: list[list[Any]] = []
        for name, parameter in table.definition.parameters.items():
            if name not in table.raw:
                continue
            raw = table.raw[name]
            value = calibrated(parameter.calibration, raw)
            out.append([name, shown(value[0], parameter.unit), parameter.unit, plain(raw[0])])
        return out
