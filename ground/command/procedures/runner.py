"""One run of a procedure: its states as a table, its records, and how it goes on from them.

Whatever happens to a run is a record, and the run is nothing but its records: live and after a
restart they go through the same code, which moves the state by the table and hands results to the
procedure's generator.  Any beginning of the records is a run that can go on.

    run = ProcedureRun(procedure, {"CHARGE": 60}, "ann", definitions, library, run="17")
    keep(run.start(now_ns))
    keep(run.advance(now_ns, world))          # whenever telemetry, a report or a deadline comes
    again = ProcedureRun(procedure, {"CHARGE": 60}, "ann", definitions, library, run="17",
                         records=kept)
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.evaluation import Done, Moment, NotDone, Pending, S, evaluate
from ground.command.procedures.procedure import (
    Context,
    Procedure,
    Request,
    StepFailed,
    Steps,
    line_of,
)
from ground.command.procedures.run_states import BY_OPERATORS, ENDED, RUN_TABLE, RunEvent, RunState
from ground.command.procedures.steps import Ask, Send, Step, plain
from ground.command.procedures.world import World
from protocols.errors import LocalError, ProtocolError
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: A record, of maps, lists, numbers, text and octets: it may be kept as msgpack.
Record = dict[str, Any]


_S, _E = RunState, RunEvent
#: Events of the step that is on.
_OF_STEP: Final = frozenset((_E.WAIT, _E.ASK, _E.DONE, _E.NOT_DONE, _E.ANSWER))
#: Of one `advance`: a procedure that never waits does not keep the service from everything else.
MOST_AT_ONCE: Final = 200
#: Of one run: each is a record to be kept and replayed.
MOST_STEPS: Final = 20_000


class ProcedureRun:
    """arguments: given by the operator, checked here; actor: who runs it, in whose name commands
    are queued; run: its identifier, with which each step's is unique for ever; records: what has
    happened so far.  Raises LocalError for arguments that are not allowed and for records that are
    no run's.
    """

    def __init__(
        self,
        procedure: Procedure,
        arguments: Mapping[str, Any],
        actor: str,
        definitions: Definitions,
        procedures: Mapping[str, Procedure],
        *,
        run: str,
        records: Sequence[Record] = (),
    ) -> None:
        self.procedure = procedure
        self.actor = actor
        self.run = run
        self.state = _S.LOADED
        self.records: list[Record] = []
        self._definitions, self._procedures = definitions, procedures
        self._steps: Steps | None = None
        self._context: Context | None = None
        self._step: Step | None = None
        self._what: Any = None
        self._place = ""
        self._number = 0
        #: How it ends, once the generator has.
        self._end: tuple[RunEvent, str] | None = None
        self._diverged = ""
        #: Of the step that is on: its first WAIT or ASK, what it carries, time in pauses.
        self._since_ns: int | None = None
        self._carry: Any = None
        self._stood_still_ns = 0
        self._paused_ns = 0
        self._stepping = self._stepped = False
        self._waits_for = ""
        self._deadline_ns: int | None = None
        self._requests: list[int] = []
        #: A run that has ended is its records: its procedure may have changed or gone since.
        self._over = bool(records) and _E(records[-1]["event"]) in (_E.COMPLETE, _E.FAIL, _E.ABORT)
        self.arguments = dict(arguments) if self._over else procedure.complete(arguments)
        for record in records:
            self._apply(record)

    # What operators do ---------------------------------------------------------------------------

    def start(self, now_ns: int, actor: str = "") -> list[Record]:
        """LocalError, as from the others, where the table has no such event."""
        return [self._record(_E.START, now_ns, actor or self.actor, **self._identity())]

    def pause(self, now_ns: int, actor: str) -> list[Record]:
        """At once; the step that is on stays, and its own time-out stands still."""
        return [self._record(_E.PAUSE, now_ns, actor)]

    def resume(self, now_ns: int, actor: str) -> list[Record]:
        return [self._record(_E.RESUME, now_ns, actor)]

    def step(self, now_ns: int, actor: str) -> list[Record]:
        """Go on until one step has ended, then pause."""
        identity = self._identity() if self.state is _S.LOADED else {}
        return [self._record(_E.STEP, now_ns, actor, **identity)]

    def abort(self, now_ns: int, actor: str, reason: str = "") -> list[Record]:
        """End it.  What becomes of commands that it has queued is for whoever keeps the run."""
        return [self._record(_E.ABORT, now_ns, actor, text=reason)]

    def answer(self, now_ns: int, actor: str, choice: str) -> list[Record]:
        if self.state is _S.ASKING:
            assert isinstance(self._step, Ask)
            if choice not in self._step.choices:
                allowed = ", ".join(self._step.choices)
                raise LocalError(f"run {self.run}: answer {choice!r}; {allowed} allowed")
        return [self._of_step(_E.ANSWER, now_ns, choice, actor=actor)]

    # What time and the world do ------------------------------------------------------------------

    def advance(self, now_ns: int, world: World) -> list[Record]:
        """Go on as far as the world allows; the new records, to be kept with what they caused.

        If not all of them are kept, a run made of those that are does the rest again, and
        commands are handed over under the same keys.
        """
        new: list[Record] = []
        while len(new) < MOST_AT_ONCE:
            record = self._next(now_ns, world)
            if record is None:
                break
            new.append(record)
        return new

    @property
    def next_deadline_ns(self) -> int | None:
        """When to call `advance` even if nothing has come; None: time alone changes nothing."""
        return self._deadline_ns if self.state in (_S.RUNNING, _S.WAITING) else None

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def requests(self) -> tuple[int, ...]:
        """Numbers of the requests that it has queued."""
        return tuple(self._requests)

    def listing(self, now_ns: int) -> dict[str, Any]:
        """How the run is, for people: what it does, since when, what it waits for, what is left."""
        deadline_ns = self.next_deadline_ns if self.state is _S.WAITING else None
        question = self._step if self.state is _S.ASKING else None
        started = self.records[0] if self.records else {}
        notes = []
        if started.get("digest", self.procedure.digest) != self.procedure.digest:
            notes.append("its file has changed since it was started")
        return {
            "run": self.run,
            "procedure": self.procedure.name,
            "description": self.procedure.description,
            "arguments": plain(self.arguments),
            "actor": self.actor,
            "state": str(self.state),
            "stepping": self._stepping,
            "step": self._number,
            "place": self._place,
            "doing": "" if self._step is None or self.ended else str(self._step),
            "since_ns": None if self.ended else self._since_ns,
            "waits_for": self._waits_for if self.state is _S.WAITING else "",
            "deadline_ns": deadline_ns,
            "left_s": None if deadline_ns is None else max(0.0, (deadline_ns - now_ns) / S),
            "question": question.text if isinstance(question, Ask) else "",
            "choices": list(question.choices) if isinstance(question, Ask) else [],
            "requests": list(self._requests),
            "reason": self.records[-1].get("text", "") if self.ended else "",
            "notes": notes,
        }

    # Inside --------------------------------------------------------------------------------------

    def _next(self, now_ns: int, world: World) -> Record | None:
        if self.ended or self.state is _S.LOADED:
            return None
        if self._diverged:
            return self._record(_E.FAIL, now_ns, "", text=self._diverged)
        if self.state not in (_S.RUNNING, _S.WAITING):
            return None
        if self._end is not None:
            event, text = self._end
            return self._record(event, now_ns, "", text=text)
        if self._number > MOST_STEPS:
            return self._record(_E.FAIL, now_ns, "", text=f"more than {MOST_STEPS:,} steps")
        if self._stepped:
            return self._record(_E.PAUSE, now_ns, "", text="after one step")
        step = self._step
        assert step is not None
        if isinstance(step, Ask):
            return self._of_step(_E.ASK, now_ns, None, text=step.text)
        moment = Moment(
            now_ns,
            world,
            self.actor,
            f"{self.run}/{self._number}",
            now_ns if self._since_ns is None else self._since_ns,
            self._stood_still_ns,
            self._carry,
        )
        match evaluate(step, moment):
            case Done(value, text):
                return self._of_step(_E.DONE, now_ns, value, text=text)
            case NotDone(text):
                return self._of_step(_E.NOT_DONE, now_ns, None, text=text)
            case Pending(text, deadline_ns, carry):
                record = None
                if self.state is _S.RUNNING:
                    record = self._of_step(_E.WAIT, now_ns, carry, text=text)
                self._waits_for, self._deadline_ns = text, deadline_ns
                return record

    def _identity(self) -> Record:
        return {
            "run": self.run,
            "procedure": self.procedure.name,
            "digest": self.procedure.digest,
            "arguments": plain(self.arguments),
        }

    def _of_step(
        self, event: RunEvent, now_ns: int, value: Any, *, actor: str = "", text: str = ""
    ) -> Record:
        return self._record(
            event,
            now_ns,
            actor,
            step=self._number,
            what=self._what,
            place=self._place,
            value=value,
            text=text,
        )

    def _record(self, event: RunEvent, now_ns: int, actor: str, **more: Any) -> Record:
        record: Record = {"event": str(event), "t_ns": now_ns, "actor": actor, **more}
        self._apply(record)
        return record

    def _apply(self, record: Record) -> None:
        """One record, live or kept: state by the table, times, and the generator."""
        event, t_ns = RunEvent(record["event"]), record["t_ns"]
        moves = RUN_TABLE[self.state]
        if event not in moves:
            possible = ", ".join(one for one in BY_OPERATORS if one in moves) or "nothing"
            raise LocalError(
                f"run {self.run} of {self.procedure.name} is {self.state}: "
                f"cannot {event}; {possible} possible"
            )
        before, self.state = self.state, moves[event]
        self.records.append(record)
        self._deadline_ns = t_ns
        if self.state is _S.PAUSED:
            self._paused_ns = t_ns
        elif before is _S.PAUSED and self._since_ns is not None:
            self._stood_still_ns += t_ns - self._paused_ns
        if event in (_E.START, _E.STEP, _E.RESUME, _E.PAUSE):
            self._stepping, self._stepped = event is _E.STEP, False
        if before is _S.LOADED and event is not _E.ABORT:
            self._begin(record)
        elif event in _OF_STEP:
            self._take(event, record)
        if self.ended and self._steps is not None:
            self._close()

    def _begin(self, record: Record) -> None:
        if self._over:
            return
        if record["procedure"] != self.procedure.name or record["arguments"] != plain(
            self.arguments
        ):
            self._diverged = (
                f"the record is of {record['procedure']} with {record['arguments']}, not of "
                f"{self.procedure.name} with {plain(self.arguments)}"
            )
            return
        self._context = Context(
            self._definitions, self._procedures, record["t_ns"], actor=self.actor
        )
        context = self._context
        # Made inside: a body that is no generator function fails the run, not the service.
        self._move(lambda: next(self._made(context)))

    def _made(self, context: Context) -> Steps:
        self._steps = self.procedure.body(context, dict(self.arguments))
        return self._steps

    def _take(self, event: RunEvent, record: Record) -> None:
        """What a record of a step says: that it waits, or how it ended."""
        if event in (_E.WAIT, _E.ASK):
            if self._since_ns is None:
                self._since_ns = record["t_ns"]
            self._carry = record["value"]
        elif self._stepping:
            self._stepped = True
        kind = record["what"]["kind"]
        if kind == Send.__name__ and record["value"] is not None:
            self._note_request(record["value"])
        if self._over or self._diverged:
            self._number, self._place = record["step"], record["place"]
            return
        if record["step"] != self._number or record["what"] != self._what:
            self._diverged = _differs(record, self._number, self._what, self._place)
            return
        if event in (_E.WAIT, _E.ASK):
            return
        step, steps, context = self._step, self._steps, self._context
        assert step is not None
        assert steps is not None
        assert context is not None
        context.now_ns = max(context.now_ns, record["t_ns"])
        self._since_ns, self._carry, self._stood_still_ns = None, None, 0
        if event is _E.NOT_DONE:
            text = record["text"]
            self._move(lambda: steps.throw(StepFailed(text)))
            return
        value: Any = record["value"]
        result: Any = Request(value, step.command) if isinstance(step, Send) else value
        self._move(lambda: steps.send(result))

    def _note_request(self, number: int) -> None:
        if number not in self._requests:
            self._requests.append(number)

    def _move(self, resume: Callable[[], Step]) -> None:
        """Let the generator go on to its next step, or its end."""
        assert self._context is not None
        self._step, self._what = None, None
        try:
            step = resume()
            if not isinstance(step, Step):
                raise LocalError(f"{step!r} is no step; p.send(…), p.wait_for(…) … wanted")
            self._what = plain(step)
        except StopIteration:
            self._end = (_E.COMPLETE, "")
        except ProtocolError as error:
            self._end = (_E.FAIL, self._where(error) + str(error))
        # A procedure is an operator's program: what it raises ends its run, not the service.
        except Exception as error:  # noqa: BLE001 - kept as the run's failure
            self._end = (_E.FAIL, f"{self._where(error)}{type(error).__name__}: {error}")
        else:
            self._step = step
            self._number += 1
            assert self._steps is not None
            self._place = line_of(self._steps, self._context)

    def _where(self, error: Exception) -> str:
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            if PurePath(frame.filename) == PurePath(self.procedure.source):
                return f"{PurePath(frame.filename).name}:{frame.lineno}: "
        assert self._context is not None
        return f"{self._context.place}: " if self._context.place else ""

    def _close(self) -> None:
        """GeneratorExit in the procedure; steps that it would still take are not taken."""
        assert self._steps is not None
        try:
            self._steps.close()
        # It has ended all the same.
        except Exception as error:  # noqa: BLE001 - kept for people
            self._waits_for = f"{type(error).__name__} on its end: {error}"


def _differs(record: Record, number: int, what: Any, place: str) -> str:
    """Both steps, and where they part."""
    was, now = record["what"], what or {"kind": "its end"}
    different = [
        f"{name}: {was.get(name)!r} then, {now.get(name)!r} now"
        for name in {**was, **now}
        if was.get(name) != now.get(name)
    ]
    if record["step"] != number and not different:
        different = [f"step {record['step']} then, {number} now"]
    return (
        f"run again, the procedure does not take the steps of its record: step {record['step']} "
        f"({record['place']}; now {place or 'the end'}): {'; '.join(different)}"
    )


def describe(record: Record) -> str:
    """A record as a line for people."""
    at = utc_iso_from_tai_ns(record["t_ns"], 0)
    what = record.get("what")
    parts = [at, record["event"]]
    if what is not None:
        parts.append(f"{record['step']} {what['kind']} {record['place']}".strip())
    if record["event"] == _E.ANSWER:
        parts.append(str(record["value"]))
    parts += [text for text in (record.get("text", ""), record["actor"]) if text]
    return "  ".join(parts)
