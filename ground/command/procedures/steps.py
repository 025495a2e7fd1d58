"""Steps of a procedure and conditions on telemetry: frozen values, no behaviour but their text.

Instants are TAI ns, durations seconds.  A procedure yields one step after another; `evaluation.py`
says when one is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, Final, Literal

import numpy as np

from protocols.errors import LocalError
from protocols.telecommand.verification import Stage
from protocols.telemetry.declaration import COMPARISONS
from protocols.telemetry.limits import Severity
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: What is reported of a request, in order: the station's word, FARM-1's by CLCW, then PUS
#: service 1.  A later stage that has passed says that the earlier ones have.
STAGES: Final = (
    "radiated",
    "received",
    *(stage.value for stage in Stage if stage is not Stage.ROUTING),
)
#: Tests of a value, and of its limits.
VALUE_OPERATORS: Final = (*COMPARISONS, "in")
LIMIT_OPERATORS: Final = ("is", "is not")
SEVERITIES: Final = tuple(severity.name.lower() for severity in Severity)


def check_stage(stage: str) -> None:
    """LocalError for what is no stage."""
    if stage not in STAGES:
        raise LocalError(f"stage {stage!r}; {', '.join(STAGES)} allowed")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """One test of the newest value of a parameter; never without how old the value may be.

    operator: a comparison, `in`, or `is`, `is not` with a severity of its limits; value: number,
    label, several labels for `in`; within_s: how old the value may be by its SCET, light time
    included; after_request: 0, or a request: the value must have been generated after that was
    at the spacecraft.

    >>> str(Telemetry("SC_MODE", "in", ("NOMINAL", "STORM"), within_s=1_800))
    'SC_MODE in NOMINAL|STORM within 1,800 s'
    """

    parameter: str
    operator: str
    value: float | str | tuple[float | str, ...]
    within_s: float
    after_request: int = 0

    def __post_init__(self) -> None:
        where = f"condition on {self.parameter}"
        allowed = (*VALUE_OPERATORS, *LIMIT_OPERATORS)
        if self.operator not in allowed:
            raise LocalError(f"{where}: operator {self.operator!r}; {', '.join(allowed)} allowed")
        if isinstance(self.value, bool) or not isinstance(self.value, int | float | str | tuple):
            raise LocalError(f"{where}: value {self.value!r}; a number or a label wanted")
        if (self.operator == "in") != isinstance(self.value, tuple):
            raise LocalError(f"{where}: several values go with `in` alone")
        if self.operator in LIMIT_OPERATORS and self.value not in SEVERITIES:
            raise LocalError(f"{where}: limits {self.value!r}; {', '.join(SEVERITIES)} allowed")
        if isinstance(self.value, str) and self.operator in ("<", "<=", ">", ">="):
            raise LocalError(f"{where}: {self.operator} on a label; == or != allowed")
        if not self.within_s > 0:
            raise LocalError(f"{where}: within {self.within_s} s; more than 0 wanted")

    def __str__(self) -> str:
        value = "|".join(map(str, self.value)) if isinstance(self.value, tuple) else self.value
        after = f" after request {self.after_request}" if self.after_request else ""
        return f"{self.parameter} {self.operator} {value} within {self.within_s:,.10g} s{after}"


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of several conditions."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " and ".join(map(_bracketed, self.conditions))


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One or more of several conditions."""

    conditions: tuple[Condition, ...]

    def __str__(self) -> str:
        return " or ".join(map(_bracketed, self.conditions))


Condition = Telemetry | AllOf | AnyOf


def _bracketed(condition: Condition) -> str:
    return str(condition) if isinstance(condition, Telemetry) else f"({condition})"


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a command to the queue; its result is the request.

    earliest_ns, latest_ns: radiation begins in between, None: as soon as may be, no end.
    wait_for: a stage that must have passed before the procedure goes on, "": none; timeout_s: in
    place of the stage's own deadline.
    """

    command: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    earliest_ns: int | None = None
    latest_ns: int | None = None
    wait_for: str = ""
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.wait_for:
            check_stage(self.wait_for)
        first, last = self.earliest_ns, self.latest_ns
        if first is not None and last is not None and first > last:
            raise LocalError(
                f"send {self.command}: earliest {utc_iso_from_tai_ns(first, 0)} is after "
                f"latest {utc_iso_from_tai_ns(last, 0)}"
            )

    def __str__(self) -> str:
        given = "".join(f" {name}={_short(value)}" for name, value in self.arguments.items())
        ends = [
            f", {word} {utc_iso_from_tai_ns(at, 0)}"
            for word, at in (("from", self.earliest_ns), ("until", self.latest_ns))
            if at is not None
        ]
        wait = f", wait for {self.wait_for}" if self.wait_for else ""
        return f"send {self.command}{given}{''.join(ends)}{wait}"


@dataclass(frozen=True, slots=True)
class Verify:
    """Wait until a stage of a request has passed.

    timeout_s: from the step's beginning; None: until its report is overdue, which is release + 2 ·
    OWLT + execution + margin as the world says.
    """

    request: int
    stage: str = "completion"
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        check_stage(self.stage)

    def __str__(self) -> str:
        return f"verify {self.stage} of request {self.request}"


@dataclass(frozen=True, slots=True)
class WaitFor:
    """Wait until telemetry satisfies a condition; timeout_s None: for ever."""

    condition: Condition
    timeout_s: float | None

    def __str__(self) -> str:
        return f"wait for {self.condition}"


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Wait until an instant."""

    until_ns: int

    def __str__(self) -> str:
        return f"wait until {utc_iso_from_tai_ns(self.until_ns, 0)}"


@dataclass(frozen=True, slots=True)
class WaitWindow:
    """Wait until an uplink window is open, or none is; done at once if that is so."""

    edge: Literal["open", "closed"]
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        if self.edge not in ("open", "closed"):
            raise LocalError(f"uplink window {self.edge!r}; open or closed wanted")

    def __str__(self) -> str:
        return f"wait until the uplink window is {self.edge}"


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a condition holds now.

    unknown: the result where telemetry is missing or too old; None: the step fails then, since
    neither branch would rest on anything.
    """

    condition: Condition
    unknown: bool | None = None

    def __str__(self) -> str:
        return f"check {self.condition}"


@dataclass(frozen=True, slots=True)
class Read:
    """The newest value of a parameter; fails if it is older than within_s."""

    parameter: str
    within_s: float

    def __str__(self) -> str:
        return f"read {self.parameter} within {self.within_s:,.10g} s"


@dataclass(frozen=True, slots=True)
class Ask:
    """A question to the operator; its result is one of the choices."""

    text: str
    choices: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.choices or len(set(self.choices)) != len(self.choices):
            raise LocalError(f"ask {self.text!r}: choices {self.choices}; different ones wanted")

    def __str__(self) -> str:
        return f"ask {self.text!r} ({' | '.join(self.choices)})"


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the run's record."""

    text: str

    def __str__(self) -> str:
        return f"say {self.text!r}"


Step = Send | Verify | WaitFor | WaitUntil | WaitWindow | Check | Read | Ask | Say


def plain(value: Any) -> Any:
    """As maps, lists, numbers, text and octets, the same before and after msgpack; LocalError for
    what is none of them.

    >>> plain(Verify(7, "start"))
    {'kind': 'Verify', 'request': 7, 'stage': 'start', 'timeout_s': None}
    """
    if is_dataclass(value) and not isinstance(value, type):
        members = {f.name: plain(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, **members}
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, np.generic):
        return plain(value.item())
    # Subclasses too (a label that is a str): they come back from the disk as what they are.
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, bytes):
        return bytes(value)
    if value is None:
        return None
    raise LocalError(f"{value!r} of type {type(value).__name__} cannot be recorded")


def _short(value: Any) -> str:
    # Nothing but an instant is as great as that.
    if isinstance(value, int) and value >= 10**18:
        return utc_iso_from_tai_ns(value, 0)
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
