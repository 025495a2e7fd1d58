"""A procedure taken through to its end where everything goes well: its steps, without a spacecraft.

Commands pass their stages as fast as light allows, telemetry satisfies every condition, questions
get their first choice.  Shows what a Python procedure does, and finds names that there are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.procedure import Context, Procedure, Request, line_of
from ground.command.procedures.steps import (
    STAGES,
    Ask,
    Check,
    Read,
    Send,
    Step,
    Verify,
    WaitUntil,
)
from protocols.errors import LocalError
from protocols.telemetry.calibration import Enumeration

#: A procedure that goes on after so many steps waits for what never comes here.
MOST_STEPS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """One step: its place, in words, when it began after the start, and how long it took."""

    place: str
    text: str
    begun_s: float
    lasted_s: float


def rehearse(
    procedure: Procedure,
    arguments: Mapping[str, Any],
    definitions: Definitions,
    procedures: Mapping[str, Procedure],
    *,
    start_ns: int,
    owlt_s: float,
) -> list[Rehearsed]:
    """owlt_s: one-way light time.  Raises what the procedure raises, as StepFailed."""
    context = Context(definitions, procedures, start_ns)
    steps = procedure.body(context, procedure.complete(arguments))
    done: list[Rehearsed] = []
    #: When each request was there.
    sent: list[tuple[str, int]] = []
    try:
        step = next(steps)
        while True:
            if len(done) >= MOST_STEPS:
                raise LocalError(f"{procedure.name}: no end after {MOST_STEPS:,} steps")
            place, text, begun_ns = line_of(steps, context), str(step), context.now_ns
            result = _result(step, context, sent, owlt_s)
            done.append(
                Rehearsed(
                    place, text, (begun_ns - start_ns) / 1e9, (context.now_ns - begun_ns) / 1e9
                )
            )
            step = steps.send(result)
    except StopIteration:
        return done


def _result(step: Step, context: Context, sent: list[tuple[str, int]], owlt_s: float) -> Any:
    """What a step results in; `context.now_ns` is then when it ended."""
    match step:
        case Send():
            at_ns = max(context.now_ns, step.earliest_ns or 0)
            sent.append((step.command, at_ns + round(owlt_s * 1e9)))
            request = Request(len(sent), step.command)
            if step.wait_for:
                _pass(request.number, step.wait_for, context, sent, owlt_s)
            return request
        case Verify():
            _pass(step.request, step.stage, context, sent, owlt_s)
            return step.stage
        case WaitUntil():
            context.now_ns = max(context.now_ns, step.until_ns)
            return None
        case Check():
            return True
        case Read():
            parameter = context.definitions.parameter(step.parameter)
            if isinstance(parameter.calibration, Enumeration):
                return parameter.calibration.labels[0][1]
            return 0.0
        case Ask():
            return step.choices[0]
        case _:
            return None


def _pass(
    number: int, stage: str, context: Context, sent: list[tuple[str, int]], owlt_s: float
) -> None:
    if STAGES.index(stage) < STAGES.index("received"):
        return
    name, there_ns = sent[number - 1]
    execution_s = context.definitions.command(name).execution_s if stage == "completion" else 0.0
    context.now_ns = max(context.now_ns, there_ns + round((execution_s + owlt_s) * 1e9))
