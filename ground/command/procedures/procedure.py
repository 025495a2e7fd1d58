"""A procedure: its name, its arguments, and the generator that makes its steps.

The generator gets what a `Context` gives it and the results of its steps, and nothing else: no
clock, no file, no chance.  Run again with the same results it takes the same steps, which is how a
run goes on after a restart.
"""
# construct ships no types.
# pyright: reportMissingTypeStubs=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, Final, Literal, NoReturn

from construct import Float64b, GreedyBytes, Int8ub, Int64sb

from ground.command.procedures.definitions import Definitions, instant, nearest
from ground.command.procedures.expressions import literal, parse_condition, parse_instant
from ground.command.procedures.steps import (
    Ask,
    Check,
    Condition,
    Read,
    Say,
    Send,
    Step,
    Verify,
    WaitFor,
    WaitUntil,
    WaitWindow,
)
from protocols.errors import LocalError
from protocols.telecommand.declaration import Argument
from protocols.telemetry.calibration import Enumeration, Text
from protocols.telemetry.fields import Kind
from protocols.timecodes.cuc import CucFormat

#: What yields steps and gets their results.
Steps = Generator[Step, Any, Any]
#: Procedures that call each other end here, before Python does.
DEEPEST_CALL: Final = 10
_TYPES: Final[Mapping[str, tuple[Any, Any]]] = {
    "integer": (Int64sb, None),
    "number": (Float64b, None),
    "text": (GreedyBytes, Text()),
    "time": (CucFormat(), None),
}
ARGUMENT_TYPES: Final = (*_TYPES, "choice")
ARGUMENT_KEYS: Final = (
    *("type", "description", "unit", "minimum", "maximum", "default", "choices"),
)


class StepFailed(LocalError):
    """A step was not done; raised in the procedure, which may catch it."""


@dataclass(frozen=True, slots=True)
class Request:
    """What `send` results in."""

    number: int
    command: str

    def __str__(self) -> str:
        return f"request {self.number} {self.command}"


@dataclass(frozen=True, slots=True)
class Outline:
    """A step as its procedure's file has it, for people.

    depth: of branches; place: line; least_s: how long it takes at least; round_trips: light times
    there and back on top; most_s: its time-out; by: an operator's answer is waited for.
    """

    depth: int
    place: str
    text: str
    least_s: float = 0.0
    round_trips: int = 0
    most_s: float | None = None
    by_operator: bool = False


@dataclass(frozen=True)
class Procedure:
    """source: its file; digest: of the file's octets; outline: None if only running it tells."""

    name: str
    description: str
    arguments: tuple[Argument, ...]
    body: Callable[[Context, Mapping[str, Any]], Steps]
    source: str = ""
    digest: str = ""
    outline: tuple[Outline, ...] | None = None

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments with defaults, checked as a command's are; LocalError if not allowed.

        Numbers and times may be given as text, as operators type them.
        """
        known = {argument.name: argument for argument in self.arguments}
        for name in given:
            if name not in known:
                raise LocalError(
                    f"procedure {self.name}: no argument {name!r}{nearest(name, known)}"
                )
        values: dict[str, Any] = {}
        for name, argument in known.items():
            value = given.get(name, argument.default)
            if value is None:
                raise LocalError(
                    f"procedure {self.name}: argument {name} wanted ({argument.allowed})"
                )
            try:
                value = _typed(argument, value)
                argument.check(value)
            except LocalError as error:
                raise LocalError(f"procedure {self.name}: {error}") from error
            values[name] = value
        return values


def _typed(argument: Argument, value: Any) -> Any:
    number = argument.type.is_integer or argument.type.kind is Kind.FLOAT
    if number and isinstance(value, str) and argument.calibration is None:
        return literal(value)
    return instant(argument, value)


def declare_argument(name: str, declared: Mapping[str, Any]) -> Argument:
    """An argument from its declaration in a file, keys `ARGUMENT_KEYS`; LocalError if it is wrong.

    >>> declare_argument("CHARGE", {"type": "number", "unit": "%", "minimum": 45}).allowed
    '45.. %'
    """
    where = f"argument {name}"
    for key in declared:
        if key not in ARGUMENT_KEYS:
            raise LocalError(f"{where}: no key {key!r}{nearest(str(key), ARGUMENT_KEYS)}")
    kind = declared.get("type")
    if kind not in ARGUMENT_TYPES:
        raise LocalError(f"{where}: type {kind!r}; {', '.join(ARGUMENT_TYPES)} allowed")
    if (kind == "choice") != ("choices" in declared):
        raise LocalError(f"{where}: choices go with type choice, and it with them")
    for end in ("minimum", "maximum"):
        value = declared.get(end)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise LocalError(f"{where}: {end} {value!r}; a number wanted")
    if kind == "choice":
        choices = declared["choices"]
        if (
            not isinstance(choices, list | tuple)
            or not choices
            or not all(isinstance(one, str) for one in choices)
            or len(set(choices)) != len(choices)
        ):
            raise LocalError(f"{where}: choices {choices!r}; a list of different texts wanted")
        field, calibration = Int8ub, Enumeration(dict(enumerate(choices)))
    else:
        field, calibration = _TYPES[kind]
    argument = Argument(
        name,
        field,
        unit=str(declared.get("unit", "")),
        calibration=calibration,
        minimum=declared.get("minimum"),
        maximum=declared.get("maximum"),
        description=str(declared.get("description", "")),
    )
    default = declared.get("default")
    return argument if default is None else replace(argument, default=instant(argument, default))


class Context:
    """What a procedure makes its steps with (`p`).

    start_ns: when the run was started; now_ns: when the last step was done, which is all the time
    that a procedure knows.  Methods raise LocalError for commands, arguments, parameters and
    labels that there are not, before anything is sent.
    """

    #: What `yield` raises where a step was not done.
    StepFailed = StepFailed

    def __init__(
        self,
        definitions: Definitions,
        procedures: Mapping[str, Procedure],
        start_ns: int,
        actor: str = "",
    ) -> None:
        self.definitions = definitions
        self.start_ns = start_ns
        self.now_ns = start_ns
        self.actor = actor
        #: Line of the step that is being made, where Python's own would say nothing.
        self.place = ""
        self._procedures = procedures
        self._depth = 0

    def send(
        self,
        command: str,
        /,
        arguments: Mapping[str, Any] | None = None,
        *,
        earliest: str | int | None = None,
        latest: str | int | None = None,
        wait_for: str = "",
        timeout_s: float | None = None,
        **more: Any,
    ) -> Send:
        """Queue a command, its arguments by name; results in a `Request`."""
        given = {**(arguments or {}), **more}
        return self.checked(
            Send(
                command,
                self.definitions.complete(command, given),
                None if earliest is None else self.instant_ns(earliest),
                None if latest is None else self.instant_ns(latest),
                wait_for,
                timeout_s,
            )
        )

    def wait_for(
        self,
        condition: str | Condition,
        *,
        timeout_s: float | None,
        within_s: float | None = None,
        after: Request | None = None,
    ) -> WaitFor:
        """Wait for telemetry, as "SC_MODE == SAFE"; within_s: no older than that."""
        return self.checked(WaitFor(self.condition(condition, within_s, after), timeout_s))

    def check(
        self,
        condition: str | Condition,
        *,
        within_s: float | None = None,
        after: Request | None = None,
        unknown: bool | None = None,
    ) -> Check:
        """Results in True or False; fails for telemetry that is too old, unless `unknown` says."""
        return self.checked(Check(self.condition(condition, within_s, after), unknown))

    def read(self, parameter: str, *, within_s: float) -> Read:
        """Results in the value."""
        return self.checked(Read(parameter, within_s))

    def verify(
        self, request: Request, stage: str = "completion", *, timeout_s: float | None = None
    ) -> Verify:
        """Wait for a stage of a request."""
        self.definitions.check_stage(self.definitions.command(request.command), stage)
        return Verify(request.number, stage, timeout_s)

    def wait(self, seconds: float) -> WaitUntil:
        return WaitUntil(self.now_ns + round(seconds * 1e9))

    def wait_until(self, when: str | int) -> WaitUntil:
        """When: TAI ns, a UTC text, or as "start + 10 min"."""
        return WaitUntil(self.instant_ns(when))

    def wait_window(
        self, edge: Literal["open", "closed"], *, timeout_s: float | None = None
    ) -> WaitWindow:
        """Wait until an uplink window is open, or none."""
        return WaitWindow(edge, timeout_s)

    def ask(self, text: str, *choices: str) -> Ask:
        """Results in the operator's choice."""
        return Ask(text, choices)

    def say(self, text: str) -> Say:
        return Say(text)

    def call(self, name: str, /, **arguments: Any) -> Steps:
        """Another procedure's steps, as `yield from p.call("start_of_pass")`; in its result."""
        found = self._procedures.get(name)
        if found is None:
            raise StepFailed(f"no procedure {name!r}{nearest(name, self._procedures)}")
        values = found.complete(arguments)
        if self._depth >= DEEPEST_CALL:
            raise StepFailed(f"call of {name}: {DEEPEST_CALL} calls deep; do they call each other?")
        self._depth += 1
        try:
            return (yield from found.body(self, values))
        finally:
            self._depth -= 1

    def fail(self, reason: str) -> NoReturn:
        """End the procedure as failed, unless whoever called it catches that."""
        raise StepFailed(reason)

    def condition(
        self, condition: str | Condition, within_s: float | None, after: Request | None = None
    ) -> Condition:
        """A condition from its text."""
        if not isinstance(condition, str):
            return condition
        return parse_condition(condition, within_s, after.number if after else 0)

    def instant_ns(self, when: str | int) -> int:
        return parse_instant(when, start_ns=self.start_ns, now_ns=self.now_ns)

    def checked(self, step: Any) -> Any:
        self.definitions.check(step)
        return step


def line_of(steps: Steps, context: Context) -> str:
    """Where the step that was yielded last stands: file and line."""
    innermost: Any = steps
    while getattr(innermost, "gi_yieldfrom", None) is not None:
        innermost = innermost.gi_yieldfrom
    file = PurePath(innermost.gi_code.co_filename)
    # A generator of this package: it has said which line of YAML it stands for.
    if file.parent == PurePath(__file__).parent:
        return context.place
    return f"{file.name}:{innermost.gi_frame.f_lineno}"
