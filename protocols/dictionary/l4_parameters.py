"""On-board parameters of the L4 relay: what flight software can report, watch and set by number.

A telemetry parameter's number is its packet's APID and its place there (APID × 256 + place), so a
parameter added at the end of a packet renumbers no other.
"""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from construct import Float64b

from protocols.dictionary.l4 import DICTIONARY
from protocols.identifiers import Apid
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import Parameter
from protocols.telemetry.fields import Kind

_PLACES: Final = 256


@dataclass(frozen=True, slots=True)
class OnBoardParameter:
    """number: how commands and reports name it; initial: None for what cannot be set."""

    number: int
    declared: Parameter
    initial: float | None = None
    minimum: float = 0.0
    maximum: float = 0.0

    @property
    def name(self) -> str:
        return self.declared.name

    @property
    def settable(self) -> bool:
        return self.initial is not None


def _from_telemetry() -> list[OnBoardParameter]:
    found: dict[str, OnBoardParameter] = {}
    for definition in DICTIONARY.definitions:
        assert definition.apid is not None
        if definition.apid == Apid.EVENTS:
            continue
        single = {f.name for f in definition.fields if isinstance(f, Parameter)}
        for place, (name, parameter) in enumerate(definition.parameters.items()):
            kind = parameter.type.kind
            if name in single and name not in found and kind not in (Kind.TIME, Kind.OCTETS):
                number = definition.apid * _PLACES + place
                found[name] = OnBoardParameter(number, parameter)
    return list(found.values())


def _own() -> list[OnBoardParameter]:
    """(name, unit, description, initial, minimum, maximum); initial None: a counter."""
    rows: tuple[tuple[str, str, str, float | None, float, float], ...] = (
        ("FSW_CONTACT_LOSS", "h", "Without a command for so long: safe mode", 168.0, 1.0, 720.0),
        ("FSW_SEARCH_PERIOD", "h", "After a lost contact: next antenna after", 4.0, 0.5, 48.0),
        ("FSW_COMMANDS_ACCEPTED", "", "Since the last start", None, 0, 0),
        ("FSW_COMMANDS_REFUSED", "", "Not accepted since the last start", None, 0, 0),
        ("FSW_COMMANDS_FAILED", "", "Accepted, then failed, since the last start", None, 0, 0),
        ("FSW_FRAMES_ACCEPTED", "", "Telecommand frames, by FARM-1 and security", None, 0, 0),
        ("FSW_FRAMES_REJECTED", "", "Telecommand frames, by FARM-1 or security", None, 0, 0),
        ("FSW_SINCE_COMMAND", "s", "Since the last accepted command", None, 0, 0),
        ("FSW_MEMORY_UPSETS", "", "Single-bit errors corrected by the scrubber", None, 0, 0),
        ("FSW_MEMORY_FAILURES", "", "Words with two wrong bits", None, 0, 0),
        ("FSW_SCHEDULED", "", "Activities in the on-board schedule", None, 0, 0),
        ("FSW_PROTON_FLUX", "1/(cm2.s.sr)", "Protons above 12 MeV, last measured", None, 0, 0),
        ("FSW_ANTENNA", "", "Receiving antenna: 0 high gain, 1 and 2 low gain", None, 0, 0),
        ("FSW_FRAMES_INSECURE", "", "Telecommand frames, by link security", None, 0, 0),
        ("FSW_SECURITY_DONE", "", "Procedures of link security executed", None, 0, 0),
        ("FSW_SECURITY_REFUSED", "", "Procedures of link security refused", None, 0, 0),
    )
    return [
        OnBoardParameter(
            Apid.FLIGHT_SOFTWARE * _PLACES + place,
            Parameter(name, Float64b, unit, description=description),
            initial,
            minimum,
            maximum,
        )
        for place, (name, unit, description, initial, minimum, maximum) in enumerate(rows)
    ]


ON_BOARD: Final[Mapping[str, OnBoardParameter]] = {
    parameter.name: parameter for parameter in (*_from_telemetry(), *_own())
}
BY_NUMBER: Final[Mapping[int, OnBoardParameter]] = {p.number: p for p in ON_BOARD.values()}
#: Number to name, for arguments and reports that say which parameter.
NAMES: Final = Enumeration({p.number: p.name for p in ON_BOARD.values()})
SETTABLE: Final = Enumeration({p.number: p.name for p in ON_BOARD.values() if p.settable})
