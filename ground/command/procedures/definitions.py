"""Commands and parameters of a mission, as procedures are checked against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ground.command.procedures.steps import (
    LIMIT_OPERATORS,
    AllOf,
    AnyOf,
    Check,
    Condition,
    Read,
    Send,
    Step,
    Telemetry,
    WaitFor,
    check_stage,
)
from protocols.errors import LocalError
from protocols.telecommand.declaration import Argument, Command, CommandDictionary
from protocols.telecommand.verification import Stage
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.declaration import Parameter
from protocols.telemetry.fields import Kind
from protocols.timecodes.tai import tai_ns_from_utc_iso


def nearest(name: str, known: Iterable[str]) -> str:
    """`; nearest: …` with names that look alike, or where there are few, all.

    >>> nearest("SC_MOD", ["SC_MODE", "PWR_BUS_VOLTAGE"])
    '; nearest: SC_MODE'
    """
    names = list(known)
    found = get_close_matches(str(name).upper(), names, 3, 0.6) or get_close_matches(
        str(name), names, 3, 0.6
    )
    if not found and len(names) <= 8:
        return f"; {', '.join(names) or 'none'} known"
    return f"; nearest: {', '.join(found)}" if found else f"; {len(names)} others are known"


@dataclass(frozen=True)
class Definitions:
    """parameters: of telemetry, by name."""

    commands: CommandDictionary
    parameters: Mapping[str, Parameter]

    def command(self, name: str) -> Command:
        """LocalError, with the nearest names, for a name that is none."""
        found = self.commands.by_name.get(name)
        if found is None:
            raise LocalError(f"no command {name!r}{nearest(name, self.commands.by_name)}")
        return found

    def parameter(self, name: str) -> Parameter:
        found = self.parameters.get(name)
        if found is None:
            raise LocalError(f"no parameter {name!r}{nearest(name, self.parameters)}")
        return found

    def check_argument(self, command: Command, name: str, value: Any) -> Any:
        """One argument's value, a UTC text made TAI ns; LocalError for what is not allowed."""
        given = {argument.name: argument for argument in command.given}
        if name not in given:
            raise LocalError(f"{command.name} has no argument {name!r}{nearest(name, given)}")
        return self._checked(given[name], value, repeated=name in command.repeated)

    def _checked(self, argument: Argument, value: Any, *, repeated: bool) -> Any:
        if not repeated:
            value = instant(argument, value)
            argument.check(value)
            return value
        if not isinstance(value, list | tuple) or not value:
            raise LocalError(f"argument {argument.name}: {value!r}; a list of values wanted")
        return [self._checked(argument, one, repeated=False) for one in value]

    def complete(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """A command's arguments with defaults, all checked; LocalError for what is not allowed."""
        command = self.command(name)
        return command.complete(
            {key: self.check_argument(command, key, value) for key, value in arguments.items()}
        )

    def check_stage(self, command: Command, stage: str) -> None:
        """LocalError for a stage that the command's requests do not report."""
        check_stage(stage)
        silent = [one.value for one in Stage if one not in command.stages]
        if stage in silent:
            told = ", ".join(("radiated", "received", *(one.value for one in command.stages)))
            raise LocalError(f"stage {stage!r}: {command.name} reports {told}")

    def check_condition(self, condition: Condition) -> None:
        """LocalError for parameters and labels that there are not."""
        if isinstance(condition, AllOf | AnyOf):
            for one in condition.conditions:
                self.check_condition(one)
            return
        self._check_test(condition)

    def _check_test(self, test: Telemetry) -> None:
        parameter = self.parameter(test.parameter)
        if test.operator in LIMIT_OPERATORS:
            if parameter.limits is None:
                raise LocalError(f"{test.parameter} has no limits; compare its value")
            return
        values = test.value if isinstance(test.value, tuple) else (test.value,)
        if isinstance(parameter.calibration, Enumeration):
            labels = [label for _, label in parameter.calibration.labels]
            for value in values:
                if value not in labels:
                    allowed = " | ".join(labels)
                    raise LocalError(f"{test.parameter}: {value!r}; {allowed} allowed")
            if test.operator not in ("==", "!=", "in"):
                raise LocalError(f"{test.parameter}: {test.operator} on a label; == != in allowed")
        elif parameter.type.kind is not Kind.OCTETS:
            for value in values:
                if isinstance(value, str):
                    raise LocalError(f"{test.parameter}: {value!r}; a number wanted")
        elif not isinstance(parameter.calibration, Text):
            raise LocalError(f"{test.parameter} is octets; nothing to compare")

    def check(self, step: Step) -> None:
        """LocalError for a step whose names or values there are not."""
        match step:
            case Send():
                self.complete(step.command, step.arguments)
                if step.wait_for:
                    self.check_stage(self.command(step.command), step.wait_for)
            case WaitFor() | Check():
                self.check_condition(step.condition)
            case Read():
                self.parameter(step.parameter)
            case _:
                pass


def instant(argument: Argument, value: Any) -> Any:
    """A UTC text for an argument that is a time, as TAI ns; any other value as it is."""
    if argument.type.kind is Kind.TIME and isinstance(value, str):
        try:
            return tai_ns_from_utc_iso(value)
        except LocalError as error:
            raise LocalError(f"argument {argument.name}: {error}") from error
    return value
