"""Whether a step is done, at an instant, as the world is: a pure function of both."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ground.command.procedures.steps import (
    LIMIT_OPERATORS,
    AnyOf,
    Ask,
    Check,
    Condition,
    Read,
    Say,
    Send,
    Step,
    Telemetry,
    Verify,
    WaitFor,
    WaitUntil,
    WaitWindow,
    plain,
)
from ground.command.procedures.world import World
from protocols.errors import LocalError
from protocols.telemetry.declaration import COMPARISONS
from protocols.telemetry.limits import severity

S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Done:
    """value: the step's result, as maps, lists, numbers and text."""

    value: Any = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class NotDone:
    """The step has failed."""

    text: str


@dataclass(frozen=True, slots=True)
class Pending:
    """Not yet.

    text: what it waits for, and how that is now; deadline_ns: when time alone changes that; carry:
    what the step has to know when it is looked at again.
    """

    text: str
    deadline_ns: int | None = None
    carry: Any = None


Outcome = Done | NotDone | Pending


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where a step is looked at.

    since_ns: when the step began; stood_still_ns: for how long of that the run was paused, by
    which time-outs are later; carry: of the last `Pending`.
    """

    now_ns: int
    world: World
    actor: str
    key: str
    since_ns: int
    stood_still_ns: int = 0
    carry: Any = None

    def time_out_ns(self, seconds: float | None) -> int | None:
        return None if seconds is None else self.since_ns + self.stood_still_ns + round(seconds * S)


@dataclass(frozen=True, slots=True)
class Verdict:
    """holds: None where telemetry does not say; values: what it rests on."""

    holds: bool | None
    text: str
    values: dict[str, Any] = field(default_factory=dict[str, Any])


def judge(condition: Condition, world: World) -> Verdict:
    """Whether a condition holds; data older than it allows does not count at all."""
    if isinstance(condition, Telemetry):
        return _judge_one(condition, world)
    verdicts = [judge(one, world) for one in condition.conditions]
    # Three values: one that decides, else one that is not known, else the other.
    decides = isinstance(condition, AnyOf)
    held = [verdict.holds for verdict in verdicts]
    holds = decides if decides in held else None if None in held else not decides
    values = {name: value for verdict in verdicts for name, value in verdict.values.items()}
    return Verdict(holds, "; ".join(verdict.text for verdict in verdicts), values)


def _judge_one(test: Telemetry, world: World) -> Verdict:
    sample = world.sample(test.parameter)
    if sample is None:
        return Verdict(None, f"{test.parameter} never received; {test} wanted")
    text = f"{test.parameter} is {_number(sample.value)}, {sample.age_s:,.0f} s old; {test} wanted"
    if sample.age_s > test.within_s:
        return Verdict(None, text)
    if test.after_request:
        there_ns = world.request(test.after_request).at_spacecraft_ns
        if not there_ns or sample.scet_ns < there_ns:
            return Verdict(None, text)
    if isinstance(sample.value, float) and math.isnan(sample.value):
        return Verdict(None, text)
    if test.operator in LIMIT_OPERATORS:
        if sample.limit_state is None:
            return Verdict(None, f"{test.parameter} has no limits; {test} wanted")
        same = severity(sample.limit_state).name.lower() == test.value
        holds = same == (test.operator == "is")
    elif isinstance(test.value, tuple):
        holds = sample.value in test.value
    elif isinstance(test.value, str) != isinstance(sample.value, str):
        return Verdict(None, text)
    else:
        holds = bool(COMPARISONS[test.operator](sample.value, test.value))
    return Verdict(holds, text, {test.parameter: plain(sample.value)})


def _number(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def evaluate(step: Step, at: Moment) -> Outcome:
    """One look at a step.  A `Send` hands over its command, once a key."""
    try:
        return _EVALUATE[type(step)](step, at)
    except LocalError as error:
        return NotDone(str(error))


def _send(step: Send, at: Moment) -> Outcome:
    number = at.carry
    if number is None:
        number = at.world.submit(step, at.actor, at.key)
    if not step.wait_for:
        return Done(number, f"request {number}")
    found = _stage(number, step.wait_for, step.timeout_s, at)
    return Done(number, f"request {number}, {found.text}") if isinstance(found, Done) else found


def _verify(step: Verify, at: Moment) -> Outcome:
    return _stage(step.request, step.stage, step.timeout_s, at)


def _stage(number: int, stage: str, timeout_s: float | None, at: Moment) -> Outcome:
    status = at.world.request(number)
    who = f"request {number} {status.command}"
    if status.has_passed(stage):
        return Done(stage, f"{stage} passed")
    if status.failure:
        return NotDone(f"{who}: no {stage}: {status.failure}")
    deadline_ns = at.time_out_ns(timeout_s)
    if timeout_s is None:
        deadline_ns = at.world.verify_deadline_ns(number, stage)
    if deadline_ns is not None and at.now_ns >= deadline_ns:
        return NotDone(f"{who}: no word of {stage} in time; it is {status.state}")
    return Pending(f"{stage} of {who}, which is {status.state}", deadline_ns, number)


def _wait_for(step: WaitFor, at: Moment) -> Outcome:
    verdict = judge(step.condition, at.world)
    if verdict.holds:
        return Done(verdict.values, verdict.text)
    deadline_ns = at.time_out_ns(step.timeout_s)
    if deadline_ns is not None and at.now_ns >= deadline_ns:
        return NotDone(f"time-out after {step.timeout_s:,.10g} s: {verdict.text}")
    return Pending(verdict.text, deadline_ns)


def _wait_until(step: WaitUntil, at: Moment) -> Outcome:
    return Done() if at.now_ns >= step.until_ns else Pending(str(step), step.until_ns)


def _wait_window(step: WaitWindow, at: Moment) -> Outcome:
    window = at.world.next_uplink_window(at.now_ns)
    opened = window is not None and window[0] <= at.now_ns < window[1]
    if opened == (step.edge == "open"):
        return Done()
    time_out_ns = at.time_out_ns(step.timeout_s)
    if time_out_ns is not None and at.now_ns >= time_out_ns:
        return NotDone(f"time-out after {step.timeout_s:,.10g} s: uplink window not {step.edge}")
    # The plan may change: the instant is where to look again.
    change_ns = None if window is None else window[1] if opened else window[0]
    known = [at_ns for at_ns in (time_out_ns, change_ns) if at_ns is not None]
    planned = "" if window else "; none is planned"
    return Pending(f"{step}{planned}", min(known, default=None))


def _check(step: Check, at: Moment) -> Outcome:
    verdict = judge(step.condition, at.world)
    holds = step.unknown if verdict.holds is None else verdict.holds
    return NotDone(f"not known: {verdict.text}") if holds is None else Done(holds, verdict.text)


def _read(step: Read, at: Moment) -> Outcome:
    sample = at.world.sample(step.parameter)
    if sample is None:
        return NotDone(f"{step.parameter} never received")
    if sample.age_s > step.within_s:
        return NotDone(
            f"{step.parameter} is {sample.age_s:,.0f} s old; {step.within_s:,.10g} s allowed"
        )
    return Done(plain(sample.value), f"{step.parameter} is {_number(sample.value)}")


def _ask(step: Ask, at: Moment) -> Outcome:
    return Pending(step.text)


def _say(step: Say, at: Moment) -> Outcome:
    return Done(None, step.text)


_EVALUATE: Final[dict[type, Callable[[Any, Moment], Outcome]]] = {
    Send: _send,
    Verify: _verify,
    WaitFor: _wait_for,
    WaitUntil: _wait_until,
    WaitWindow: _wait_window,
    Check: _check,
    Read: _read,
    Ask: _ask,
    Say: _say,
}
