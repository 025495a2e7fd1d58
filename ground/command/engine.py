"""What operators ask and what the bus says, turned into changes of the store and into radiations.

No clock and no socket: every entry takes `now_ns` and is one transaction.  After it, `changes`
tells what happened and `to_radiate` what is to be published; a kill between the two loses nothing,
because radiations whose fate is unknown are published again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ground.command.light_time import Visibility
from ground.command.link import CommandLink, Fate, Outgoing
from ground.command.reports import verifications
from ground.command.requests import (
    ENDED,
    RADIATED,
    RECEIVED,
    REQUEST_TABLE,
    UNDER_WAY,
    Event,
    Request,
    StageRecord,
    StageState,
    State,
)
from ground.command.store import CommandStore, OpenUplink
from ground.command.telemetry import Telemetry, violation
from protocols.bus.messages import (
    CommandMessage,
    LinkMessage,
    OcfMessage,
    PacketsMessage,
    ParametersMessage,
    PassesMessage,
    RadiatedMessage,
    UplinkMessage,
    parse,
)
from protocols.errors import LocalError
from protocols.frames.tc import FrameType
from protocols.identifiers import Carrier
from protocols.packets.pus import RequestId
from protocols.telecommand.declaration import Command, CommandDictionary
from protocols.telecommand.verification import FailureCode, Stage, Verification

#: 133.0-B-2 §4.1.3.4.3: sequence counts of 14 bits.
_COUNTS: Final = 1 << 14
_ARMED: Final = (State.ARMED, State.APPROVED)


@dataclass(frozen=True, slots=True)
class Timing:
    """handover_ns: what a radiation may need to reach the antenna; margin_ns: what an answer may
    need beyond light and execution; armed_ns: how long a request stays armed."""

    handover_ns: int
    margin_ns: int
    armed_ns: int


class CommandEngine:
    """One spacecraft's command link.  name: of the service on the bus."""

    def __init__(
        self,
        store: CommandStore,
        commands: CommandDictionary,
        link: CommandLink,
        visibility: Visibility,
        timing: Timing,
        *,
        name: str = "command",
        boot: str = "",
    ) -> None:
        self.store = store
        self.commands = commands
        self.telemetry = Telemetry()
        self.visibility = visibility
        self.timing = timing
        self._link = link
        self._name = name
        state = store.state("engine")
        if state is None:
            if not boot:
                raise LocalError("a new store of commands needs a name that was never used")
            state = {"name": boot, "count": 0, "journal": "", "sequence": -1}
            with store.transaction():
                store.keep_state("engine", state)
        #: name: begins the id of every radiation; count: sequence count of the last packet;
        #: journal, sequence: how far `receive`'s packets were heard.
        self._state: dict[str, Any] = state
        snapshot = store.state("link")
        if snapshot is not None:
            link.restore(snapshot)
        self._said_position = (state["journal"], state["sequence"])
        self._to_radiate: list[UplinkMessage] = []
        self._uplinks = {one.message.id: one for one in store.open_uplinks()}
        self._operations: dict[str, Callable[[int, dict[str, Any]], Any]] = {
            "add": self._add,
            "arm": self._arm,
            "disarm": self._disarm,
            "approve": self._approve,
            "reject": self._reject,
            "send": self._send,
            "remove": self._remove,
            "repeat": self._repeat,
            "link": self._direct,
        }
        self._questions: dict[str, Callable[[int, dict[str, Any]], Any]] = {
            "list": self._list,
            "show": self._show,
            "history": self._history,
            "check": self._check,
            "status": self._status,
        }

    # What leaves ---------------------------------------------------------------------------------

    def to_radiate(self) -> list[UplinkMessage]:
        """New radiations since the last call."""
        out, self._to_radiate = self._to_radiate, []
        return out

    def unanswered(self) -> list[UplinkMessage]:
        """All radiations whose fate is not known, to be said again."""
        return [one.message for one in self._uplinks.values()]

    def changes(self) -> list[CommandMessage]:
        """What was noted since the last call."""
        noted, self.store.noted = self.store.noted, []
        out: list[CommandMessage] = []
        names: dict[int, str] = {0: ""}
        for entry in noted:
            if entry.request not in names:
                names[entry.request] = self.store.request(entry.request).command
            out.append(
                CommandMessage(
                    number=entry.request,
                    command=names[entry.request],
                    state=entry.state,
                    event=entry.event,
                    time_ns=entry.time_ns,
                    text=entry.text,
                    actor=entry.actor,
                )
            )
        return out

    @property
    def position(self) -> tuple[str, int]:
        """How far `receive`'s journal of packets was heard."""
        return self._state["journal"], self._state["sequence"]

    @property
    def counters(self) -> dict[str, int]:
        """For the service's status."""
        active = self.store.active()
        return {
            "on_stack": sum(one.state not in UNDER_WAY for one in active),
            "under_way": sum(one.state in UNDER_WAY - {State.UNKNOWN} for one in active),
            "unknown": sum(one.state is State.UNKNOWN for one in active),
            "unanswered_radiations": len(self._uplinks),
        }

    # What the bus says ---------------------------------------------------------------------------

    def hear_parameters(self, message: ParametersMessage) -> None:
        self.telemetry.take(message)

    def hear_passes(self, message: PassesMessage) -> None:
        self.visibility = self.visibility.heard(passes=message)

    def hear_link(self, message: LinkMessage) -> None:
        owlt_ns = round(message.owlt_s * 1e9) if message.owlt_s >= 0 else -1
        self.visibility = self.visibility.heard(station_owlt_ns=owlt_ns)

    def hear_ocf(self, now_ns: int, message: OcfMessage) -> None:
        """FOP-1 takes CLCWs in the order of their frames, which is that of the message."""
        with self.store.transaction():
            rows = zip(
                message.word.tolist(),
                message.first_ert_ns.tolist(),
                message.last_ert_ns.tolist(),
                strict=True,
            )
            for word, first_ns, last_ns in rows:
                self._link.clcw(now_ns, word, first_ns, last_ns)
            self._settle_link(now_ns)

    def hear_packets(
        self, now_ns: int, message: PacketsMessage, journal: str, sequence: int
    ) -> None:
        """Verification reports; the position is kept with what they changed."""
        self._state["journal"], self._state["sequence"] = journal, sequence
        reports = list(verifications(message))
        if not reports:
            return
        with self.store.transaction():
            for report, ert_ns in reports:
                self._verify(now_ns, report, ert_ns)
            self.save_position()

    def save_position(self) -> None:
        """Keep how far was heard; to be called now and then where nothing else does."""
        if self.position != self._said_position:
            self._said_position = self.position
            with self.store.transaction():
                self.store.keep_state("engine", self._state)

    def hear_radiated(self, now_ns: int, message: RadiatedMessage) -> None:
        """What became of a radiation; one that is known already changes nothing."""
        found = self._uplinks.get(message.id)
        if found is None:
            return
        with self.store.transaction():
            self.store.close_uplink(found.number, message.build())
            if found.request:
                self._fate(now_ns, self.store.request(found.request), message)
            elif message.refused:
                self.store.note(0, now_ns, "refused", text=f"control command: {message.refused}")
            if message.refused:
                self._link.refused(now_ns, _FRAME_TYPES[found.kind])
                self._settle_link(now_ns)
        del self._uplinks[message.id]

    def turn(self, now_ns: int) -> None:
        """What time brings."""
        with self.store.transaction():
            for request in self.store.requests(_TIMED):
                self._pass_time(now_ns, request)
            self._release(now_ns)
            self._radiate(now_ns)
            self._settle_link(now_ns)

    # Operators -----------------------------------------------------------------------------------

    def operate(self, now_ns: int, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """An operator's wish.  key: names it, so that it is done once however often it is asked.

        Raises LocalError, with nothing changed.
        """
        question = self._questions.get(operation)
        if question is not None:
            return question(now_ns, arguments)
        if operation not in self._operations:
            known = ", ".join(sorted((*self._questions, *self._operations)))
            raise LocalError(f"operation {operation!r}; {known} are")
        if key and (known := self.store.reply(key)) is not None:
            return known["result"]
        with self.store.transaction():
            result = self._operations[operation](now_ns, arguments)
            if key:
                self.store.keep_reply(key, {"result": result})
        return result

    def submit(
        self,
        now_ns: int,
        command: str,
        arguments: Mapping[str, Any],
        actor: str,
        *,
        earliest_ns: int = 0,
        latest_ns: int = 0,
        expedited: bool = False,
        comment: str = "",
        origin: str = "",
    ) -> Request:
        """A new request on the stack.  LocalError: it cannot be, as it is."""
        declared = self.commands.command(command)
        given = declared.complete(arguments)
        self._packet(declared, given, 0)
        if latest_ns and latest_ns <= max(now_ns, earliest_ns):
            raise LocalError(f"{command}: the latest time is over, or before the earliest")
        request = Request(
            number=0,
            command=command,
            arguments=given,
            actor=_actor({"actor": actor}),
            created_ns=now_ns,
            expedited=expedited,
            earliest_ns=earliest_ns,
            latest_ns=latest_ns,
            comment=comment,
            origin=origin,
            hazard=declared.hazard,
        )
        with self.store.transaction():
            self.store.add(request)
            self.store.note(
                request.number,
                now_ns,
                "add",
                state=request.state,
                text=comment,
                actor=request.actor,
            )
        return request

    def arm_and_send(self, now_ns: int, request: Request, actor: str) -> Request:
        """Both steps at once, for a procedure whose start was their confirmation; a hazardous
        command stays armed until a second person approves."""
        with self.store.transaction():
            self._move(now_ns, request, Event.ARM, actor=actor)
            request.armed_by, request.armed_ns = actor, now_ns
            if not request.hazard:
                self._sent(now_ns, request, actor)
            self.store.save(request)
        return request

    def _add(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self.submit(
            now_ns,
            _text(arguments, "command"),
            arguments.get("arguments") or {},
            _actor(arguments),
            earliest_ns=int(arguments.get("earliest_ns", 0)),
            latest_ns=int(arguments.get("latest_ns", 0)),
            expedited=bool(arguments.get("expedited", False)),
            comment=str(arguments.get("comment", "")),
            origin=str(arguments.get("origin", "")),
        )
        return self._described(now_ns, request)

    def _repeat(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        old = self._named(arguments)
        request = self.submit(
            now_ns,
            old.command,
            old.arguments,
            _actor(arguments),
            expedited=old.expedited,
            comment=f"again: request {old.number}",
        )
        return self._described(now_ns, request)

    def _arm(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request, actor = self._named(arguments), _actor(arguments)
        if request.latest_ns and now_ns > request.latest_ns:
            raise LocalError(f"request {request.number}: its latest time is over")
        self._move(now_ns, request, Event.ARM, actor=actor)
        request.armed_by, request.armed_ns, request.approved_by = actor, now_ns, ""
        request.reason = ""
        self.store.save(request)
        return self._described(now_ns, request)

    def _disarm(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self._named(arguments)
        self._move(now_ns, request, Event.DISARM, actor=_actor(arguments))
        self.store.save(request)
        return self._described(now_ns, request)

    def _approve(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request, actor = self._named(arguments), _actor(arguments)
        if actor in (request.actor, request.armed_by):
            raise LocalError(
                f"request {request.number}: {actor} has asked for it or armed it; "
                "a second person approves"
            )
        self._move(now_ns, request, Event.APPROVE, actor=actor)
        request.approved_by = actor
        if request.origin:
            # A procedure waits for nothing but this.
            self._sent(now_ns, request, request.armed_by)
        self.store.save(request)
        return self._described(now_ns, request)

    def _reject(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self._named(arguments)
        request.reason = str(arguments.get("reason", "")) or "no reason given"
        self._move(now_ns, request, Event.REJECT, actor=_actor(arguments), text=request.reason)
        self.store.save(request)
        return self._described(now_ns, request)

    def _send(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request, actor = self._named(arguments), _actor(arguments)
        if request.hazard and request.state is not State.APPROVED:
            raise LocalError(
                f"request {request.number} {request.command} is hazardous ({request.hazard}) and "
                f"{request.state}: a second person's approval wanted"
            )
        self._sent(now_ns, request, actor)
        self.store.save(request)
        return self._described(now_ns, request)

    def _sent(self, now_ns: int, request: Request, actor: str) -> None:
        self._move(now_ns, request, Event.SEND, actor=actor)
        request.sent_by, request.sent_ns = actor, now_ns

    def _remove(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self._named(arguments)
        self._move(now_ns, request, Event.REMOVE, actor=_actor(arguments))
        self.store.save(request)
        return self._described(now_ns, request)

    def _direct(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        actor, directive = _actor(arguments), _text(arguments, "directive")
        if directive in ("unlock", "set-vr") and not self._transmits(now_ns):
            raise LocalError(f"{directive}: {self._no_uplink(now_ns)}")
        value = arguments.get("value")
        text = self._link.direct(now_ns, directive, None if value is None else int(value))
        self.store.note(0, now_ns, directive, text=text, actor=actor)
        self._radiate(now_ns)
        self._settle_link(now_ns)
        return text

    # Questions -----------------------------------------------------------------------------------

    def _list(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        if arguments.get("active"):
            found = self.store.active()
        else:
            found = self.store.newest(
                int(arguments.get("last", 20)), int(arguments.get("before", 0))
            )[::-1]
        return [self._described(now_ns, one) for one in found]

    def _show(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self._named(arguments)
        return {
            **self._described(now_ns, request),
            "history": [_entry(one) for one in self.store.history(request.number)],
            "radiations": [
                {
                    "id": message.id,
                    "octets": message.octets,
                    "fate": None if fate is None else _fate_of(fate),
                }
                for message, fate in self.store.radiations(request.number)
            ],
        }

    def _history(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        return [_entry(one) for one in self.store.history(last=int(arguments.get("last", 100)))]

    def _check(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        """Whether a command could be sent now: its packet, and what does not hold."""
        command = self.commands.command(_text(arguments, "command"))
        given = command.complete(arguments.get("arguments") or {})
        return {
            "command": command.name,
            "arguments": given,
            "octets": self._packet(command, given, 0),
            "hazard": command.hazard,
            "violations": self._violations(now_ns, command),
        }

    def _status(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        owlt_ns = self.visibility.owlt_ns(now_ns)
        window = self.visibility.window(now_ns)
        return {
            "time_ns": now_ns,
            "owlt_ns": owlt_ns,
            "transmits": self._transmits(now_ns),
            "window": None
            if window is None
            else {"start_ns": window.start_ns, "end_ns": window.end_ns, "place": window.place},
            "arrives_ns": now_ns + owlt_ns,
            "reply_ns": now_ns + 2 * owlt_ns,
            "link": self._link.listing(),
            **self.counters,
        }

    def described(self, now_ns: int, number: int) -> dict[str, Any]:
        """A request as `list` gives it.  LocalError: there is none."""
        return self._described(now_ns, self.store.request(number))

    def _described(self, now_ns: int, request: Request) -> dict[str, Any]:
        command = self.commands.by_name.get(request.command)
        violations: list[str] = []
        if command is not None and request.state not in ENDED | UNDER_WAY:
            violations = self._violations(now_ns, command)
        return {**request.plain(), "violations": violations}

    # A request's way -----------------------------------------------------------------------------

    def _move(
        self, now_ns: int, request: Request, event: Event, *, text: str = "", actor: str = ""
    ) -> None:
        request.apply(event)
        self.store.note(request.number, now_ns, event, state=request.state, text=text, actor=actor)

    def _named(self, arguments: dict[str, Any]) -> Request:
        number = arguments.get("number")
        if type(number) is not int:
            raise LocalError(f"number {number!r}: that of a request wanted")
        return self.store.request(number)

    def _packet(self, command: Command, arguments: Mapping[str, Any], count: int) -> bytes:
        return self.commands.build(command.name, arguments, sequence_count=count)

    def _violations(self, now_ns: int, command: Command) -> list[str]:
        owlt_ns = self.visibility.owlt_ns(now_ns)
        texts = [
            violation(one, self.telemetry.sample, now_ns, owlt_ns) for one in command.constraints
        ]
        return [text for text in texts if text]

    def _transmits(self, now_ns: int) -> bool:
        return self.visibility.transmits(now_ns, self.timing.handover_ns)

    def _no_uplink(self, now_ns: int) -> str:
        window = self.visibility.window(now_ns)
        if window is None:
            return "no uplink window is planned"
        if window.start_ns <= now_ns:
            return "the uplink window is closing"
        return f"no uplink window now; the next opens in {(window.start_ns - now_ns) / 1e9:.0f} s"

    def _pass_time(self, now_ns: int, request: Request) -> None:
        state = request.state
        if state in _ARMED and now_ns - request.armed_ns > self.timing.armed_ns:
            self._move(now_ns, request, Event.DISARM, text="armed for too long")
            self.store.save(request)
        elif state in (*_ARMED, State.WAITING, State.HELD, State.QUEUED):
            if request.latest_ns and now_ns > request.latest_ns:
                self._move(now_ns, request, Event.EXPIRE, text="its latest time is over")
                self.store.save(request)
        elif state in UNDER_WAY - {State.UNKNOWN}:
            self._overdue(now_ns, request)

    def _overdue(self, now_ns: int, request: Request) -> None:
        late = [
            one
            for one in request.stages
            if one.state is StageState.PENDING and 0 < one.closes_ns < now_ns
        ]
        for one in late:
            one.state = StageState.OVERDUE
            self.store.note(
                request.number, now_ns, "overdue", state=request.state, text=f"{one.name}: no word"
            )
        if not late:
            return
        if request.stages[-1].state is StageState.OVERDUE:
            self._move(
                now_ns, request, Event.LOSE, text=f"no report of its {request.stages[-1].name}"
            )
        self.store.save(request)

    def _release(self, now_ns: int) -> None:
        """Hand over what may leave, in the order in which it was sent by operators."""
        waiting = self.store.requests([State.WAITING])
        if not waiting or not self._transmits(now_ns):
            return
        for request in sorted(waiting, key=lambda one: (one.sent_ns, one.number)):
            if now_ns < request.earliest_ns or not self._link.ready(expedited=request.expedited):
                continue
            command = self.commands.command(request.command)
            violations = self._violations(now_ns, command)
            if violations:
                request.reason = "; ".join(violations)
                self._move(now_ns, request, Event.HOLD, text=request.reason)
                self.store.save(request)
                continue
            self._hand_over(now_ns, request, command)
            self._radiate(now_ns)

    def _hand_over(self, now_ns: int, request: Request, command: Command) -> None:
        count = self._state["count"] = (self._state["count"] + 1) % _COUNTS
        self.store.keep_state("engine", self._state)
        request.sequence_count, request.released_ns = count, now_ns
        request.octets = self._packet(command, request.arguments, count)
        request.frames = self._link.push(
            request.number, request.octets, expedited=request.expedited
        )
        request.radiated_frames = request.received_frames = 0
        names = [RADIATED] + [RECEIVED] * (not request.expedited)
        names += [stage.value for stage in Stage if stage in command.stages]
        request.stages = [StageRecord(name) for name in names]
        self._set_windows(now_ns, request, now_ns + self.timing.handover_ns)
        self._move(now_ns, request, Event.RELEASE, text=f"packet {count}, {request.frames} frames")
        self.store.save(request)

    def _set_windows(self, now_ns: int, request: Request, end_ns: int) -> None:
        """Windows of stages that are to come, for a radiation that ends at `end_ns`."""
        owlt_ns, margin_ns = self.visibility.owlt_ns(now_ns), self.timing.margin_ns
        request.at_spacecraft_ns = end_ns + owlt_ns
        reply_ns = request.at_spacecraft_ns + owlt_ns
        command = self.commands.command(request.command)
        for one in request.stages:
            if one.state is not StageState.PENDING:
                continue
            if one.name == RADIATED:
                one.opens_ns, one.closes_ns = request.released_ns, end_ns + margin_ns
                continue
            long = one.name in (Stage.PROGRESS.value, Stage.COMPLETION.value)
            execution_ns = round(command.execution_s * 1e9) if long else 0
            one.opens_ns, one.closes_ns = reply_ns, reply_ns + execution_ns + margin_ns
        request.reply_due_ns = max(one.closes_ns for one in request.stages)

    def _radiate(self, now_ns: int) -> None:
        """Give what FOP-1 has for the antenna to the bus, after the store."""
        owlt_ns = self.visibility.owlt_ns(now_ns)
        for one in self._link.turn(now_ns, owlt_ns, transmits=self._transmits(now_ns)):
            number = self.store.next_uplink()
            message = UplinkMessage(
                id=f"{self._name}-{self._state['name']}-{number}",
                service=self._name,
                carrier=Carrier.COMMAND,
                octets=one.octets,
                earliest_ns=now_ns,
                latest_ns=now_ns + self.timing.handover_ns,
            )
            kind = tuple(FrameType).index(one.frame_type)
            self.store.add_uplink(number, one.tag, kind, message)
            self._uplinks[message.id] = OpenUplink(number, one.tag, kind, message)
            self._to_radiate.append(message)
            self._note_outgoing(now_ns, one)

    def _note_outgoing(self, now_ns: int, one: Outgoing) -> None:
        if not one.tag:
            self.store.note(0, now_ns, "control", text="control command to FARM-1")
        elif one.repeated:
            request = self.store.request(one.tag)
            # Its answer comes as much later.
            self._set_windows(now_ns, request, now_ns + self.timing.handover_ns)
            self.store.save(request)
            self.store.note(
                one.tag, now_ns, "again", state=request.state, text=f"frame {one.sequence} again"
            )

    def _fate(self, now_ns: int, request: Request, fate: RadiatedMessage) -> None:
        if fate.refused:
            self.store.note(
                request.number, now_ns, "refused", state=request.state, text=fate.refused
            )
            if request.state is State.RELEASED and not request.radiated_frames:
                request.reason = f"not radiated: {fate.refused}"
                request.stages.clear()
                self._move(now_ns, request, Event.REFUSE, text=request.reason)
                self.store.save(request)
            return
        request.radiated_frames += 1
        request.radiated_ns, request.station = fate.end_ns, fate.station
        self._set_windows(now_ns, request, fate.end_ns)
        if request.state is State.RELEASED and request.radiated_frames >= request.frames:
            self._pass(now_ns, request, RADIATED, fate.end_ns)
            self._move(now_ns, request, Event.RADIATE, text=fate.station)
            if len(request.stages) == 1:
                # Sent once, and no report asked for: more will never be known.
                self._move(now_ns, request, Event.COMPLETE, text="radiated; no report asked for")
        self.store.save(request)

    def _settle_link(self, now_ns: int) -> None:
        for outcome in self._link.outcomes():
            request = self.store.request(outcome.tag)
            if outcome.fate is Fate.RECEIVED:
                request.received_frames += 1
                if request.received_frames >= request.frames:
                    self._pass(now_ns, request, RECEIVED, now_ns)
                    if request.stages[-1].name == RECEIVED and request.state is not State.COMPLETED:
                        self._move(now_ns, request, Event.COMPLETE, text="no report asked for")
            else:
                self._lose_frame(now_ns, request, outcome.text)
            self.store.save(request)
        for text in self._link.said():
            self.store.note(0, now_ns, "cop-1", text=text)
        if self._link.changed:
            self._link.changed = False
            self.store.keep_state("link", self._link.snapshot())

    def _lose_frame(self, now_ns: int, request: Request, text: str) -> None:
        """COP-1 has given up on a frame; the spacecraft may have it all the same."""
        stage = request.stage(RECEIVED)
        if stage is None or stage.state is not StageState.PENDING:
            return
        stage.state, stage.time_ns, stage.detail = StageState.FAILED, now_ns, text
        self.store.note(request.number, now_ns, "lost", state=request.state, text=text)
        if request.state in (State.RELEASED, State.RADIATED):
            self._move(now_ns, request, Event.LOSE, text=f"{text}: it may have arrived or not")

    # Reports -------------------------------------------------------------------------------------

    def _pass(
        self, now_ns: int, request: Request, name: str, time_ns: int, detail: str = ""
    ) -> bool:
        """Whether it is news."""
        stage = request.stage(name)
        if stage is None or stage.state is StageState.PASSED:
            return False
        late = stage.state is StageState.OVERDUE
        stage.state, stage.time_ns = StageState.PASSED, time_ns
        stage.detail = detail or ("late" if late else "")
        self.store.note(
            request.number, now_ns, "stage", state=request.state, text=f"{name} {detail}".strip()
        )
        return True

    def _verify(self, now_ns: int, report: Verification, ert_ns: int) -> None:
        request = self.store.with_sequence_count(report.request.sequence_count)
        if request is None or RequestId.of(request.octets) != report.request:
            return
        name = report.stage.value
        stage = request.stage(name)
        if not report.success:
            self._failed(now_ns, request, report, ert_ns)
        elif report.stage is Stage.PROGRESS:
            if stage is not None and report.step > stage.step:
                stage.state, stage.time_ns = StageState.PASSED, ert_ns
                stage.step, stage.detail = report.step, f"step {report.step}"
                self.store.note(
                    request.number, now_ns, "stage", state=request.state, text=f"step {report.step}"
                )
        elif not self._pass(now_ns, request, name, ert_ns):
            return
        if report.success:
            self._imply(request, name, ert_ns)
            if request.state in (State.RELEASED, State.RADIATED, State.UNKNOWN):
                self._move(now_ns, request, Event.ACCEPT)
            last = request.stages[-1].state is StageState.PASSED
            if last and request.state is State.EXECUTING:
                self._move(now_ns, request, Event.COMPLETE)
        self.store.save(request)

    def _imply(self, request: Request, name: str, ert_ns: int) -> None:
        """A report says that all before it went well, whose own word was lost or is to come."""
        for one in request.stages:
            if one.name == name:
                return
            if one.name in (RADIATED, RECEIVED):
                continue
            if one.state in (StageState.PENDING, StageState.OVERDUE):
                one.state, one.time_ns, one.detail = StageState.PASSED, ert_ns, f"implied by {name}"

    def _failed(self, now_ns: int, request: Request, report: Verification, ert_ns: int) -> None:
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
            self._move(now_ns, request, Event.FAIL, text=request.reason)


#: Of an open radiation, by the number kept with it.
_FRAME_TYPES: Final = tuple(FrameType)
_TIMED: Final[Sequence[State]] = [
    state for state in State if state not in ENDED and state is not State.UNKNOWN
]


def _reason(report: Verification) -> str:
    names = {code.value: code.name for code in FailureCode}
    text = report.data.decode("ascii", "replace")
    return f"{names.get(report.code, report.code)} {text}".strip()


def _entry(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _fate_of(body: bytes) -> dict[str, Any]:
    fate = parse(RadiatedMessage, body)
    return {name: getattr(fate, name) for name in ("start_ns", "end_ns", "refused", "station")}


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise LocalError(f"{name} {value!r}: a text wanted")
    return value


def _actor(arguments: Mapping[str, Any]) -> str:
    """Who asks; nobody commands without a name."""
    return _text(arguments, "actor").strip()
