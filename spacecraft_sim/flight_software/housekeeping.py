"""Service 3 and 20: values of on-board parameters, by structure or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from protocols.dictionary.l4_parameters import ON_BOARD
from protocols.dictionary.l4_reports import housekeeping_definition
from protocols.telecommand.verification import FailureCode
from protocols.telemetry.declaration import PacketDefinition
from spacecraft_sim.flight_software.execution import Handlers, Refusal
from spacecraft_sim.flight_software.reports import ReportWriter

#: Structures, and parameters in one: what the memory of the tables holds.
MOST_STRUCTURES: Final = 64
MOST_PARAMETERS: Final = 64


class ParameterPool:
    """The last value of every on-board parameter, engineering; states as numbers."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {
            p.name: p.initial for p in ON_BOARD.values() if p.initial is not None
        }

    def update(self, values: Mapping[str, Any]) -> None:
        self._values.update(values)

    def forget(self, name: str) -> None:
        """What measured it is off."""
        self._values.pop(name, None)

    def known(self, name: str) -> bool:
        """Whether it was measured or set since the start."""
        return name in self._values

    def value(self, name: str) -> float:
        """0 for what was never measured, as memory is after a start."""
        return float(self._values.get(name, 0.0))

    def set(self, name: str, value: float) -> None:
        """Refusal for a parameter that is not to be set, or a value out of its range."""
        parameter = ON_BOARD[name]
        if not parameter.settable or not parameter.minimum <= value <= parameter.maximum:
            raise Refusal(
                FailureCode.ILLEGAL_ARGUMENT,
                f"{name} = {value}; {parameter.minimum}..{parameter.maximum} allowed",
            )
        self._values[name] = value


@dataclass(slots=True)
class Structure:
    interval_s: int
    parameters: tuple[str, ...]
    periodic: bool = False
    definition: PacketDefinition = field(init=False)


class Housekeeping:
    def __init__(self, pool: ParameterPool, reports: ReportWriter) -> None:
        self._pool = pool
        self._reports = reports
        self._structures: dict[int, Structure] = {}
        own = tuple(name for name in ON_BOARD if name.startswith("FSW_"))
        self._define(1, Structure(60, own))
        self.handlers: Handlers = {
            "HK_CREATE": self._create,
            "HK_DELETE": self._delete,
            "HK_ENABLE": lambda a: self._switch(a, periodic=True),
            "HK_DISABLE": lambda a: self._switch(a, periodic=False),
            "HK_REPORT_STRUCTURES": self._describe,
            "HK_ONE_SHOT": self._one_shot,
            "HK_APPEND": self._append,
            "HK_SET_INTERVAL": self._set_interval,
            "PARAMETER_REPORT": self._report_values,
            "PARAMETER_SET": lambda a: self._pool.set(a["PARAMETER"], a["VALUE"]),
        }

    def tick(self, second: int) -> None:
        """Reports that are due in this second (of the on-board clock)."""
        for number, structure in self._structures.items():
            if structure.periodic and second % structure.interval_s == 0:
                self._report(number)

    def _define(self, number: int, structure: Structure) -> None:
        structure.definition = housekeeping_definition(number, structure.parameters)
        self._structures[number] = structure

    def _known(self, number: int) -> Structure:
        if number not in self._structures:
            raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, f"no report structure {number}")
        return self._structures[number]

    def _all_known(self, arguments: Mapping[str, Any]) -> list[int]:
        """All or nothing: a request with one unknown structure changes none."""
        for number in arguments["STRUCTURES"]:
            self._known(number)
        return list(arguments["STRUCTURES"])

    def _create(self, arguments: Mapping[str, Any]) -> None:
        number = arguments["STRUCTURE"]
        if number in self._structures:
            raise Refusal(FailureCode.ALREADY_EXISTS, f"report structure {number} exists")
        if len(self._structures) >= MOST_STRUCTURES:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_STRUCTURES} report structures exist")
        parameters = _distinct(arguments["PARAMETERS"])
        self._define(number, Structure(arguments["INTERVAL"], parameters))
        self._tell(number)

    def _append(self, arguments: Mapping[str, Any]) -> None:
        structure = self._disabled(arguments["STRUCTURE"])
        structure.parameters = _distinct([*structure.parameters, *arguments["PARAMETERS"]])
        self._define(arguments["STRUCTURE"], structure)
        self._tell(arguments["STRUCTURE"])

    def _disabled(self, number: int) -> Structure:
        structure = self._known(number)
        if structure.periodic:
            raise Refusal(FailureCode.STILL_ENABLED, f"report structure {number} is enabled")
        return structure

    def _delete(self, arguments: Mapping[str, Any]) -> None:
        numbers = self._all_known(arguments)
        for number in numbers:
            self._disabled(number)
        for number in numbers:
            self._structures.pop(number, None)

    def _switch(self, arguments: Mapping[str, Any], *, periodic: bool) -> None:
        for number in self._all_known(arguments):
            self._structures[number].periodic = periodic

    def _set_interval(self, arguments: Mapping[str, Any]) -> None:
        self._known(arguments["STRUCTURE"]).interval_s = arguments["INTERVAL"]

    def _describe(self, arguments: Mapping[str, Any]) -> None:
        for number in self._all_known(arguments):
            self._tell(number)

    def _tell(self, number: int) -> None:
        """TM[3,10], also unasked when a structure changes: without it nobody can read TM[3,25]."""
        structure = self._structures[number]
        self._reports.put(
            "HK_STRUCTURE",
            {
                "HKS_STRUCTURE": number,
                "HKS_PERIODIC": "ON" if structure.periodic else "OFF",
                "HKS_INTERVAL": structure.interval_s,
                "HKS_PARAMETER": list(structure.parameters),
                "HKS_GROUPS": 0,
            },
        )

    def _one_shot(self, arguments: Mapping[str, Any]) -> None:
        for number in self._all_known(arguments):
            self._report(number)

    def _report(self, number: int) -> None:
        structure = self._structures[number]
        self._reports.put_definition(
            structure.definition, {name: self._shown(name) for name in structure.parameters}
        )

    def _shown(self, name: str) -> float | str:
        value = self._pool.value(name)
        calibration = ON_BOARD[name].declared.calibration
        labels = dict(getattr(calibration, "labels", ()))
        return labels.get(int(value), "") if labels else value

    def _report_values(self, arguments: Mapping[str, Any]) -> None:
        names = arguments["PARAMETERS"]
        values = [self._pool.value(name) for name in names]
        self._reports.put("PARAMETER_VALUES", {"PAR_PARAMETER": names, "PAR_VALUE": values})


def _distinct(names: list[str]) -> tuple[str, ...]:
    if len(set(names)) != len(names):
        raise Refusal(FailureCode.ALREADY_EXISTS, "a parameter stands twice in the structure")
    if len(names) > MOST_PARAMETERS:
        raise Refusal(FailureCode.NO_ROOM, f"{len(names)} parameters; {MOST_PARAMETERS} allowed")
    return tuple(names)
