"""Runs of procedures in the command service: kept with their records, moved on at every turn.

A record and what it caused (a request on the stack, armed and sent) are one transaction; after a
kill a run is made again from its records and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from ground.command.desk import Desk
from ground.command.light_time import Visibility
from ground.command.procedures.library import Library
from ground.command.procedures.run_states import RunState
from ground.command.procedures.runner import ProcedureRun, Record, describe
from ground.command.procedures.steps import Send, Verify
from ground.command.procedures.world import RequestStatus, Sample
from ground.command.requests import Request, StageState, State
from ground.command.store import CommandStore
from ground.command.telemetry import Telemetry
from protocols.errors import LocalError

#: Of a run's records, those that people are told of.
_TOLD: Final = frozenset(
    ("start", "ask", "answer", "pause", "resume", "step", "abort", "fail", "complete", "not done")
)
#: States of a request in which nothing more will happen to it by itself.
_STUCK: Final = (State.HELD, State.QUEUED, State.FAILED, State.EXPIRED, State.REMOVED)
#: An uplink that is always open ends never.
_EVER_NS: Final = 10**18


class Grounds(Protocol):
    """What runs see of the engine."""

    visibility: Visibility
    telemetry: Telemetry


class _World:
    """`procedures.world.World` at one instant."""

    def __init__(self, now_ns: int, grounds: Grounds, store: CommandStore, desk: Desk) -> None:
        self._now_ns = now_ns
        self._grounds = grounds
        self._store = store
        self._desk = desk

    def sample(self, parameter: str) -> Sample | None:
        found = self._grounds.telemetry.sample(parameter)
        if found is None:
            return None
        age_s = found.age_s(self._now_ns, self._grounds.visibility.owlt_ns(self._now_ns))
        return Sample(found.value, found.raw, found.scet_ns, found.ert_ns, age_s, found.limit_state)

    def submit(self, send: Send, actor: str, key: str) -> int:
        known = self._store.of_origin(key)
        if known is not None:
            return known.number
        request = self._desk.submit(
            self._now_ns,
            send.command,
            send.arguments,
            actor,
            earliest_ns=send.earliest_ns or 0,
            latest_ns=send.latest_ns or 0,
            comment=f"procedure run {key.replace('/', ', step ')}",
            origin=key,
        )
        self._desk.arm_and_send(self._now_ns, request, actor)
        return request.number

    def request(self, number: int) -> RequestStatus:
        request = self._store.request(number)
        passed = {one.name for one in request.stages if one.state is StageState.PASSED}
        failure = ""
        if request.state in _STUCK:
            failure = f"{request.state}: {request.reason}" if request.reason else request.state
        return RequestStatus(
            number,
            request.command,
            request.state,
            frozenset(passed),
            failure,
            request.at_spacecraft_ns,
        )

    def verify_deadline_ns(self, number: int, stage: str) -> int | None:
        found = self._store.request(number).stage(stage)
        return None if found is None or not found.closes_ns else found.closes_ns

    def next_uplink_window(self, now_ns: int) -> tuple[int, int] | None:
        visibility = self._grounds.visibility
        if not visibility.planned:
            return now_ns, now_ns + _EVER_NS
        window = visibility.window(now_ns)
        return None if window is None else (window.start_ns, window.end_ns)


class Runs:
    """library: reads the procedures anew, as their files are now."""

    def __init__(
        self, store: CommandStore, desk: Desk, grounds: Grounds, library: Callable[[], Library]
    ) -> None:
        self._store = store
        self._desk = desk
        self._grounds = grounds
        self._read = library
        self._library = library()
        self._active: dict[int, ProcedureRun] = {}
        #: Runs that could not be made again, and why.
        self._broken: dict[int, str] = {}
        for number in store.active_runs():
            try:
                self._active[number] = self._restored(number)
            except LocalError as error:
                self._broken[number] = str(error)
        desk.operations |= {
            "start_run": self._start,
            "pause_run": self._on_run("pause"),
            "resume_run": self._on_run("resume"),
            "step_run": self._on_run("step"),
            "abort_run": self._on_run("abort"),
            "answer_run": self._on_run("answer"),
        }
        desk.questions |= {
            "runs": self._list,
            "show_run": self._show,
            "procedures": self._procedures,
        }

    def turn(self, now_ns: int) -> None:
        """Every run goes as far as it can."""
        world = _World(now_ns, self._grounds, self._store, self._desk)
        for number, run in list(self._active.items()):
            with self._store.transaction():
                self._keep(now_ns, number, run, run.advance(now_ns, world))

    def pause_all(self, now_ns: int, actor: str) -> None:
        """After a restore: what they do next may have been done since."""
        for number, run in list(self._active.items()):
            try:
                self._keep(now_ns, number, run, run.pause(now_ns, actor))
            except LocalError:
                # Paused already, or not begun.
                continue

    @property
    def counters(self) -> dict[str, int]:
        """For the service's status."""
        asking = sum(bool(run.listing(0)["question"]) for run in self._active.values())
        return {"runs": len(self._active), "runs_asking": asking, "runs_broken": len(self._broken)}

    def runs_on(self, origin: str) -> bool:
        """Whether the run that a request is from has not ended; empty: it is from none."""
        return bool(origin) and int(origin.partition("/")[0]) in self._active

    # Inside --------------------------------------------------------------------------------------

    def _restored(self, number: int) -> ProcedureRun:
        """LocalError: its procedure has gone, or its records are no run's."""
        kept = self._store.run(number)
        return ProcedureRun(
            self._library.procedure(kept.procedure),
            kept.arguments,
            kept.actor,
            self._library.definitions,
            self._library,
            run=str(number),
            records=self._store.run_records(number),
        )

    def _keep(self, now_ns: int, number: int, run: ProcedureRun, records: list[Record]) -> None:
        if not records:
            return
        self._store.add_run_records(number, records, ended=run.ended)
        for record in records:
            if record["event"] == "not done":
                self._give_up(now_ns, number, run, record)
            if record["event"] in _TOLD or record.get("what", {}).get("kind") == "Say":
                text = record.get("text", "") or str(record.get("value") or "")
                about = f"run {number} {run.procedure.name}: {record['event']} {text}".strip()
                self._store.note(
                    0, now_ns, "procedure", state=str(run.state), text=about, actor=record["actor"]
                )
        if run.ended:
            self._active.pop(number, None)
            if run.state is not RunState.COMPLETED:
                for request in run.requests:
                    self._desk.take_back(now_ns, request, f"run {number} {run.state}")

    def _give_up(self, now_ns: int, number: int, run: ProcedureRun, record: Record) -> None:
        """A step was not done, since its request is held or has waited for too long: where the run
        goes on all the same, what it sends next would wait behind that, or both would go up."""
        request: Request | None = None
        sent = record["what"]["kind"] == Send.__name__
        if sent:
            request = self._store.of_origin(f"{number}/{record['step']}")
        elif record["what"]["kind"] == Verify.__name__:
            asked = record["what"]["request"]
            request = self._store.request(asked) if asked in run.requests else None
        if request is not None and (sent or request.state in _STUCK):
            self._desk.take_back(now_ns, request.number, f"run {number} goes on without it")

    def _start(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        actor = str(arguments.get("actor", ""))
        if not actor:
            raise LocalError("actor '': who runs it wanted")
        self._library = self._read()
        procedure = self._library.procedure(str(arguments.get("procedure", "")))
        given = procedure.complete(arguments.get("arguments") or {})
        number = self._store.add_run(procedure.name, actor, given)
        run = ProcedureRun(
            procedure,
            given,
            actor,
            self._library.definitions,
            self._library,
            run=str(number),
        )
        first = run.step(now_ns, actor) if arguments.get("step") else run.start(now_ns)
        self._active[number] = run
        try:
            self._keep(now_ns, number, run, first)
        except BaseException:
            del self._active[number]
            raise
        return self._listing(now_ns, number, run)

    def _on_run(self, name: str) -> Callable[[int, dict[str, Any]], Any]:
        """What an operator does to a run."""

        def act(now_ns: int, arguments: dict[str, Any]) -> Any:
            number, actor = _run(arguments), str(arguments.get("actor", ""))
            run = self._active.get(number)
            if run is None and name == "abort" and number in self._broken:
                return self._end_broken(now_ns, number, actor)
            if run is None:
                self._store.run(number)
                raise LocalError(f"run {number}: {self._broken.get(number, 'has ended')}")
            more = ()
            if name == "answer":
                more = (str(arguments.get("choice", "")),)
            elif name == "abort":
                more = (str(arguments.get("reason", "")),)
            self._keep(now_ns, number, run, getattr(run, name)(now_ns, actor, *more))
            return self._listing(now_ns, number, run)

        return act

    def _end_broken(self, now_ns: int, number: int, actor: str) -> Any:
        """One that cannot be made again, since its procedure has gone or changed."""
        self._store.end_run(number)
        why = self._broken.pop(number)
        text = f"run {number} aborted; it could not go on: {why}"
        self._store.note(0, now_ns, "procedure", state="aborted", text=text, actor=actor)
        for request in self._store.active():
            if request.origin.startswith(f"{number}/"):
                self._desk.take_back(now_ns, request.number, f"run {number} aborted")
        return self._found(now_ns, number)

    def _listing(self, now_ns: int, number: int, run: ProcedureRun) -> dict[str, Any]:
        listing = run.listing(now_ns)
        notes = [*listing.get("notes", ())]
        for request in map(self._store.request, run.requests if not run.ended else ()):
            if request.state is State.ARMED and request.hazard:
                notes.append(
                    f"request {request.number} {request.command} is hazardous: a second person has "
                    f"to approve it (`l4 command approve {request.number}`)"
                )
        return {**listing, "number": number, "notes": notes}

    def _found(self, now_ns: int, number: int) -> dict[str, Any]:
        if number in self._active:
            return self._listing(now_ns, number, self._active[number])
        kept = self._store.run(number)
        try:
            return self._listing(now_ns, number, self._restored(number))
        except LocalError as error:
            records = self._store.run_records(number)
            return {
                "number": number,
                "procedure": kept.procedure,
                "actor": kept.actor,
                "arguments": dict(kept.arguments),
                "state": "broken" if number in self._broken else "ended",
                "reason": str(error),
                "step": records[-1].get("step", 0) if records else 0,
            }

    def _list(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        numbers = self._store.newest_runs(int(arguments.get("last", 20)))
        return [self._found(now_ns, number) for number in reversed(numbers)]

    def _show(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        number = _run(arguments)
        return {
            **self._found(now_ns, number),
            "records": [describe(record) for record in self._store.run_records(number)],
        }

    def _procedures(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        self._library = self._read()
        return {
            "procedures": [
                {
                    "name": one.name,
                    "description": one.description,
                    "file": str(self._library.files[one.name]),
                    "arguments": [
                        {
                            "name": argument.name,
                            "description": argument.description,
                            "allowed": argument.allowed,
                            "default": argument.default,
                        }
                        for argument in one.arguments
                    ],
                }
                for one in self._library.values()
            ],
            "problems": [str(problem) for problem in self._library.problems],
        }


def _run(arguments: Mapping[str, Any]) -> int:
    number = arguments.get("run")
    if type(number) is not int:
        raise LocalError(f"run {number!r}: the number of a run wanted")
    return number
