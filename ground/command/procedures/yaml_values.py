"""Variables of a YAML procedure: what is known of them at load, and their values put in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ground.command.procedures.expressions import VARIABLE
from protocols.telecommand.declaration import Argument, Command
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.fields import Kind

#: Variables by name, as a procedure runs.
Values = dict[str, Any]
#: What is known at load of a variable: how it was declared, which command it is a request of,
#: among which choices it is; None: nothing; its name: a request of a command that there is not.
Scope = dict[str, Argument | Command | tuple[str, ...] | str | None]


def keep_common(scope: Scope, other: Scope) -> None:
    """Forget what is not known on both ways to a step."""
    for name in set(scope) - set(other):
        del scope[name]


def names(value: Any) -> list[str]:
    """Variables in a value."""
    if isinstance(value, str):
        return [found["name"] or found["braced"] for found in VARIABLE.finditer(value)]
    if isinstance(value, list):
        return [name for one in value for name in names(one)]
    return []


def filled(value: Any, values: Mapping[str, Any]) -> Any:
    """A value with its variables put in; one that is nothing but a variable keeps its type."""
    if isinstance(value, list):
        return [filled(one, values) for one in value]
    if not isinstance(value, str):
        return value
    whole = VARIABLE.fullmatch(value)
    if whole is not None:
        return values[whole["name"] or whole["braced"]]
    return VARIABLE.sub(lambda found: str(values[found["name"] or found["braced"]]), value)


def literals(value: Any, scope: Scope) -> list[Any]:
    """What can be checked of a value before its variables are known."""
    if not names(value):
        return [value]
    if not isinstance(value, str) or VARIABLE.fullmatch(value) is None:
        return []
    known = scope.get(names(value)[0])
    if isinstance(known, tuple):
        return list(known)
    if not isinstance(known, Argument):
        return []
    if isinstance(known.calibration, Enumeration):
        return [label for _, label in known.calibration.labels]
    ends = (known.minimum, known.maximum, known.default)
    return [end for end in ends if end is not None]


def time_arguments(command: Command | None) -> frozenset[str]:
    given = () if command is None else command.given
    return frozenset(
        one.name
        for one in given
        if one.type.kind is Kind.TIME and command and one.name not in command.repeated
    )
