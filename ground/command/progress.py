"""What becomes of a request: its moves through the table, its stages, their windows.

Every change is noted in the history; whoever calls holds the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ground.command.requests import (
    RADIATED,
    RECEIVED,
    REQUEST_TABLE,
    Event,
    Request,
    StageRecord,
    StageState,
    State,
)
from ground.command.store import CommandStore
from protocols.bus.messages import RadiatedMessage
from protocols.packets.pus import RequestId
from protocols.telecommand.declaration import Command, CommandDictionary
from protocols.telecommand.verification import FailureCode, Stage, Verification

#: What the spacecraft may have, or may get, and whose frames COP-1 watches over.
_UNACCEPTED: Final = (State.RELEASED, State.RADIATED)


@dataclass(frozen=True, slots=True)
class Timing:
    """handover_ns: what a radiation may need to reach the antenna; margin_ns: what an answer may
    need beyond light and execution; armed_ns: how long a request stays armed."""

    handover_ns: int
    margin_ns: int
    armed_ns: int


class Progress:
    """Of the requests in a store."""

    def __init__(self, store: CommandStore, commands: CommandDictionary, timing: Timing) -> None:
        self._store = store
        self._commands = commands
        self.timing = timing

    def note(self, now_ns: int, request: Request, event: str, text: str, actor: str = "") -> None:
        """Something that moves nothing."""
        self._store.note(request.number, now_ns, event, state=request.state, text=text, actor=actor)

    def move(
        self, now_ns: int, request: Request, event: Event, *, text: str = "", actor: str = ""
    ) -> None:
        """By the table; LocalError where it has no such move.  To be saved by the caller."""
        request.apply(event)
        self.note(now_ns, request, event, text, actor)

    # The way up ----------------------------------------------------------------------------------

    def begin(self, now_ns: int, request: Request, command: Command, owlt_ns: int) -> None:
        """It is handed over: its stages, and when they can be expected."""
        request.released_ns = now_ns
        request.radiated_frames = request.received_frames = 0
        names = [RADIATED] + [RECEIVED] * (not request.expedited)
        names += [stage.value for stage in Stage if stage in command.stages]
        request.stages = [StageRecord(name) for name in names]
        self.expect(request, now_ns + self.timing.handover_ns, owlt_ns)
        text = f"packet {request.sequence_count}, {request.frames} frames"
        self.move(now_ns, request, Event.RELEASE, text=text)
        self._store.save(request)

    def expect(self, request: Request, end_ns: int, owlt_ns: int) -> None:
        """Windows of the stages to come, for a radiation that ends at `end_ns`: there and back at
        the speed of light, what the execution takes, and a margin."""
        margin_ns = self.timing.margin_ns
        request.at_spacecraft_ns = end_ns + owlt_ns
        reply_ns = request.at_spacecraft_ns + owlt_ns
        command = self._commands.by_name.get(request.command)
        for one in request.stages:
            if one.state is not StageState.PENDING:
                continue
            if one.name == RADIATED:
                one.opens_ns, one.closes_ns = request.released_ns, end_ns + margin_ns
                continue
            long = one.name in (Stage.PROGRESS.value, Stage.COMPLETION.value)
            # A dictionary of later may have it no more.
            execution_ns = round(command.execution_s * 1e9) if long and command else 0
            one.opens_ns, one.closes_ns = reply_ns, reply_ns + execution_ns + margin_ns
        request.reply_due_ns = max(one.closes_ns for one in request.stages)

    def radiated(
        self, now_ns: int, request: Request, fate: RadiatedMessage, owlt_ns: int, *, again: bool
    ) -> None:
        """The station has sent a frame of it, or never will; again: it had been sent before."""
        if fate.refused:
            self.note(now_ns, request, "refused", fate.refused)
            # A frame that COP-1 has repeated may be up by the other radiation: its CLCW will tell.
            alone = not self._store.was_repeated(request.number)
            if request.state is State.RELEASED and not request.radiated_frames and alone:
                request.reason = f"not radiated: {fate.refused}"
                request.stages.clear()
                self.move(now_ns, request, Event.REFUSE, text=request.reason)
                self._store.save(request)
            return
        if not request.stages:
            # Held, since a frame before this one was refused: it cannot arrive whole.
            self.note(now_ns, request, "radiated", "in vain: a frame before it was refused")
            return
        request.radiated_frames += not again
        request.radiated_ns, request.station = fate.end_ns, fate.station
        self.expect(request, fate.end_ns, owlt_ns)
        if request.state is State.RELEASED and request.radiated_frames >= request.frames:
            self._pass(now_ns, request, RADIATED, fate.end_ns)
            self.move(now_ns, request, Event.RADIATE, text=fate.station)
            if len(request.stages) == 1:
                # Sent once, and no report asked for: more will never be known.
                self.move(now_ns, request, Event.COMPLETE, text="radiated; no report asked for")
        self._store.save(request)

    def received(self, now_ns: int, request: Request) -> None:
        """FARM-1 has accepted a frame of it."""
        request.received_frames += 1
        if request.stages and request.received_frames >= request.frames:
            self._pass(now_ns, request, RECEIVED, now_ns)
            last = request.stages[-1].name == RECEIVED
            if last and Event.COMPLETE in REQUEST_TABLE[request.state]:
                self.move(now_ns, request, Event.COMPLETE, text="no report asked for")
        self._store.save(request)

    def lost(self, now_ns: int, request: Request, text: str) -> None:
        """COP-1 has given up on a frame; the spacecraft may have it all the same."""
        stage = request.stage(RECEIVED)
        if stage is None or stage.state not in (StageState.PENDING, StageState.OVERDUE):
            return
        stage.state, stage.time_ns, stage.detail = StageState.FAILED, now_ns, text
        self.note(now_ns, request, "lost", text)
        if request.state in _UNACCEPTED:
            self.move(now_ns, request, Event.LOSE, text=f"{text}: it may have arrived or not")
        self._store.save(request)

    def never_arrived(self, now_ns: int, request: Request, text: str) -> None:
        """FARM-1 has said, after all that was under way, that it has not accepted its frames."""
        if request.state is State.UNKNOWN:
            request.reason = text
            self.move(now_ns, request, Event.FAIL, text=text)
            self._store.save(request)

    def overdue(self, now_ns: int, request: Request) -> None:
        """Stages whose windows have closed without a word."""
        late = [
            one
            for one in request.stages
            if one.state is StageState.PENDING and 0 < one.closes_ns < now_ns
        ]
        for one in late:
            one.state = StageState.OVERDUE
            self.note(now_ns, request, "overdue", f"{one.name}: no word")
        # Also where an earlier stage is reported after the last one's window.
        lost = bool(request.stages) and request.stages[-1].state is StageState.OVERDUE
        if lost and request.state is not State.UNKNOWN:
            text = f"no report of its {request.stages[-1].name}"
            self.move(now_ns, request, Event.LOSE, text=text)
        elif not late:
            return
        self._store.save(request)

    # The way down --------------------------------------------------------------------------------

    def reported(self, now_ns: int, report: Verification, ert_ns: int) -> Request | None:
        """A report of service 1, received at `ert_ns`; one known already changes nothing.

        The request if this has completed it.
        """
        request = self._store.with_sequence_count(report.request.sequence_count)
        if request is None or RequestId.of(request.octets) != report.request:
            return None
        before = request.state
        if not report.success:
            self._fail(now_ns, request, report, ert_ns)
        elif self._succeed(now_ns, request, report, ert_ns):
            self._imply(request, report.stage.value, ert_ns)
            if request.state in (*_UNACCEPTED, State.UNKNOWN):
                self.move(now_ns, request, Event.ACCEPT)
            done = request.stages[-1].state is StageState.PASSED
            if done and request.state is State.EXECUTING:
                self.move(now_ns, request, Event.COMPLETE)
        self._store.save(request)
        return request if request.state is State.COMPLETED and request.state is not before else None

    def _pass(self, now_ns: int, request: Request, name: str, time_ns: int) -> bool:
        """Whether it is news."""
        stage = request.stage(name)
        if stage is None or stage.state is StageState.PASSED:
            return False
        stage.detail = "late" if stage.state is StageState.OVERDUE else ""
        stage.state, stage.time_ns = StageState.PASSED, time_ns
        self.note(now_ns, request, "stage", name)
        return True

    def _succeed(self, now_ns: int, request: Request, report: Verification, ert_ns: int) -> bool:
        if report.stage is not Stage.PROGRESS:
            return self._pass(now_ns, request, report.stage.value, ert_ns)
        stage = request.stage(report.stage.value)
        if stage is None or report.step <= stage.step:
            return False
        stage.state, stage.time_ns = StageState.PASSED, ert_ns
        stage.step, stage.detail = report.step, f"step {report.step}"
        self.note(now_ns, request, "stage", stage.detail)
        return True

    def _imply(self, request: Request, name: str, ert_ns: int) -> None:
        """A report says that all before it went well, whose own word was lost or is to come."""
        for one in request.stages:
            if one.name == name:
                return
            open_ = one.state in (StageState.PENDING, StageState.OVERDUE)
            if open_ and one.name not in (RADIATED, RECEIVED):
                one.state, one.time_ns, one.detail = StageState.PASSED, ert_ns, f"implied by {name}"

    def _fail(self, now_ns: int, request: Request, report: Verification, ert_ns: int) -> None:
        name = report.stage.value
        stage = request.stage(name)
        if stage is None:
            # Failures are always reported (§6.1.4), asked for or not.
            stage = StageRecord(name)
            request.stages.append(stage)
        if stage.state is StageState.FAILED:
            return
        stage.state, stage.time_ns, stage.detail = StageState.FAILED, ert_ns, _reason(report)
        request.reason = f"{name}: {stage.detail}"
        if Event.FAIL in REQUEST_TABLE[request.state]:
            self.move(now_ns, request, Event.FAIL, text=request.reason)


def _reason(report: Verification) -> str:
    names = {code.value: code.name for code in FailureCode}
    text = report.data.decode("ascii", "replace")
    return f"{names.get(report.code, report.code)} {text}".strip()
