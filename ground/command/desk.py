"""What operators may ask of the command service: operations, which change something and are done
once, and questions.

Arguments and results are maps, as they come over the socket; a refusal is a LocalError that says
what was wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from ground.command.arguments import parse_arguments, parse_time
from ground.command.light_time import Visibility
from ground.command.progress import Progress
from ground.command.requests import ENDED, UNDER_WAY, Event, Request, State
from ground.command.store import CommandStore, HistoryEntry
from protocols.bus.messages import RadiatedMessage, parse
from protocols.dictionary.l4_link import MANAGEMENT_COMMAND
from protocols.errors import LocalError
from protocols.telecommand.declaration import Command, CommandDictionary


class Grounds(Protocol):
    """What the desk is told by the engine."""

    visibility: Visibility

    def violations(self, now_ns: int, command: Command) -> list[str]:
        """Constraints that do not hold now, in words."""
        ...

    def transmits(self, now_ns: int) -> bool:
        """Whether what is handed over now can go up."""
        ...

    def direct(self, now_ns: int, directive: str, value: int | None, actor: str) -> str:
        """A directive of COP-1."""
        ...

    def link_listing(self) -> dict[str, Any]: ...

    def obstacle(self, request: Request) -> str:
        """Why it cannot leave now, whatever it is."""
        ...

    def resync_text(self) -> str:
        """After a restore: how far ground and spacecraft are in step; empty: they are."""
        ...

    def runs_on(self, origin: str) -> bool:
        """Whether the run of a procedure that a request is from has not ended."""
        ...

    @property
    def counters(self) -> dict[str, int]: ...


class Desk:
    """Of one store of requests."""

    def __init__(
        self, store: CommandStore, commands: CommandDictionary, progress: Progress, grounds: Grounds
    ) -> None:
        self._store = store
        self._commands = commands
        self._progress = progress
        self._grounds = grounds
        self.operations: dict[str, Callable[[int, dict[str, Any]], Any]] = {
            "add": self._add,
            "repeat": self._repeat,
            "arm": self._step(Event.ARM, self._arm),
            "disarm": self._step(Event.DISARM),
            "approve": self._step(Event.APPROVE, self._approve),
            "reject": self._step(Event.REJECT, _take_reason),
            "send": self._step(Event.SEND, self._send),
            "remove": self._step(Event.REMOVE),
            "close": self._step(Event.CLOSE, _take_reason),
            "link": self._direct,
        }
        #: Those that keep for themselves that they were done once.
        self.keyed: dict[str, Callable[[int, str, dict[str, Any]], Any]] = {}
        self.questions: dict[str, Callable[[int, dict[str, Any]], Any]] = {
            "list": self._list,
            "show": self._show,
            "history": self._history,
            "check": self._check,
            "status": self._status,
        }

    def ask(self, now_ns: int, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        """The result.  key: names an operation, so that it is done once however often it is asked.

        Raises LocalError, with nothing changed.
        """
        if operation in self.questions:
            return self.questions[operation](now_ns, arguments)
        if operation not in self.operations and operation not in self.keyed:
            known = ", ".join(sorted((*self.questions, *self.operations, *self.keyed)))
            raise LocalError(f"operation {operation!r}; {known} are")
        if key and (known := self._store.reply(key)) is not None:
            return known["result"]
        with self._store.transaction():
            if operation in self.keyed:
                result = self.keyed[operation](now_ns, key, arguments)
            else:
                result = self.operations[operation](now_ns, arguments)
            if key:
                self._store.keep_reply(key, {"result": result})
        return result

    # Requests ------------------------------------------------------------------------------------

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
        declared = self._commands.command(command)
        given = declared.complete(arguments)
        # What cannot be built is refused now, not when it should leave.
        self._commands.build(command, given)
        if expedited and command == MANAGEMENT_COMMAND:
            raise LocalError(f"{command}: goes by the AD service alone, in the order it is sent in")
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
            hazard=self._commands.hazard(command, given),
        )
        with self._store.transaction():
            self._store.add(request)
            self._progress.note(now_ns, request, "add", comment, request.actor)
        return request

    def arm_and_send(self, now_ns: int, request: Request, actor: str) -> None:
        """Both steps at once, for a procedure, whose start was their confirmation; a hazardous
        command stays armed until a second person approves."""
        with self._store.transaction():
            self._arm(now_ns, request, {"actor": actor})
            self._progress.move(now_ns, request, Event.ARM, actor=actor)
            if not request.hazard:
                self._send(now_ns, request, {"actor": actor})
                self._progress.move(now_ns, request, Event.SEND, actor=actor)
            self._store.save(request)

    def take_back(self, now_ns: int, number: int, text: str) -> None:
        """Remove a request, if it has not left; whoever calls holds the transaction."""
        request = self._store.request(number)
        if Event.REMOVE in request.possible:
            self._progress.move(now_ns, request, Event.REMOVE, text=text)
            request.reason = text
            self._store.save(request)

    def _add(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        """Arguments as values, or as people write them (`texts`, `earliest`, `latest`)."""
        command = _text(arguments, "command")
        given = arguments.get("arguments") or {}
        if "texts" in arguments:
            given = parse_arguments(self._commands, command, arguments["texts"], now_ns=now_ns)
        times = {
            name: parse_time(arguments[name], now_ns=now_ns)
            if arguments.get(name)
            else int(arguments.get(f"{name}_ns", 0))
            for name in ("earliest", "latest")
        }
        request = self.submit(
            now_ns,
            command,
            given,
            _actor(arguments),
            earliest_ns=times["earliest"],
            latest_ns=times["latest"],
            expedited=bool(arguments.get("expedited", False)),
            comment=str(arguments.get("comment", "")),
        )
        return self.described(now_ns, request)

    def _repeat(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        old = self._store.request(_number(arguments))
        request = self.submit(
            now_ns,
            old.command,
            old.arguments,
            _actor(arguments),
            expedited=old.expedited,
            comment=f"again: request {old.number}",
        )
        return self.described(now_ns, request)

    def _step(
        self,
        event: Event,
        prepare: Callable[[int, Request, dict[str, Any]], None] | None = None,
    ) -> Callable[[int, dict[str, Any]], Any]:
        """An operation that is one event of the table; `prepare` may refuse it."""

        def step(now_ns: int, arguments: dict[str, Any]) -> Any:
            request, actor = self._store.request(_number(arguments)), _actor(arguments)
            if event not in request.possible:
                # The table's own words.
                request.apply(event)
            if prepare is not None:
                prepare(now_ns, request, arguments)
            text = request.reason if event in (Event.REJECT, Event.CLOSE) else ""
            self._progress.move(now_ns, request, event, text=text, actor=actor)
            if event is Event.APPROVE and self._grounds.runs_on(request.origin):
                # Its procedure waits for nothing but this.
                self._send(now_ns, request, {"actor": request.armed_by})
                self._progress.move(now_ns, request, Event.SEND, actor=request.armed_by)
            self._store.save(request)
            return self.described(now_ns, request)

        return step

    def _arm(self, now_ns: int, request: Request, arguments: dict[str, Any]) -> None:
        if request.is_late(now_ns):
            raise LocalError(f"request {request.number}: its latest time is over")
        request.armed_by, request.armed_ns = _actor(arguments), now_ns
        request.approved_by = request.reason = ""

    def _approve(self, now_ns: int, request: Request, arguments: dict[str, Any]) -> None:
        actor = _actor(arguments)
        if actor in (request.actor, request.armed_by):
            raise LocalError(
                f"request {request.number}: {actor} has asked for it or armed it; "
                "a second person approves"
            )
        request.approved_by = actor

    def _send(self, now_ns: int, request: Request, arguments: dict[str, Any]) -> None:
        if request.hazard and request.state is not State.APPROVED:
            raise LocalError(
                f"request {request.number} {request.command} is hazardous ({request.hazard}) and "
                f"{request.state}: a second person's approval wanted"
            )
        request.sent_by = _actor(arguments)
        request.sent_ns = request.sent_ns or now_ns

    def _direct(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        value = arguments.get("value")
        return self._grounds.direct(
            now_ns,
            _text(arguments, "directive"),
            None if value is None else int(value),
            _actor(arguments),
        )

    # Questions -----------------------------------------------------------------------------------

    def _list(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        if arguments.get("active"):
            found = self._store.active()
        else:
            last, before = int(arguments.get("last", 20)), int(arguments.get("before", 0))
            found = self._store.newest(last, before)[::-1]
        held = self._held()
        return [self.described(now_ns, one, held) for one in found]

    def _show(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        request = self._store.request(_number(arguments))
        return {
            **self.described(now_ns, request),
            "history": [_entry(one) for one in self._store.history(request.number)],
            "radiations": [
                {
                    "id": message.id,
                    "octets": message.octets,
                    "fate": None if fate is None else _fate_of(fate),
                }
                for message, fate in self._store.radiations(request.number)
            ],
        }

    def _history(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        return [_entry(one) for one in self._store.history(last=int(arguments.get("last", 100)))]

    def _check(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        """Whether a command could be sent now: its packet, and what does not hold."""
        command = self._commands.command(_text(arguments, "command"))
        given = command.complete(arguments.get("arguments") or {})
        return {
            "command": command.name,
            "arguments": given,
            "octets": self._commands.build(command.name, given),
            "hazard": self._commands.hazard(command.name, given),
            "violations": self._grounds.violations(now_ns, command),
        }

    def _status(self, now_ns: int, arguments: dict[str, Any]) -> Any:
        owlt_ns = self._grounds.visibility.owlt_ns(now_ns)
        window = self._grounds.visibility.window(now_ns)
        return {
            "time_ns": now_ns,
            "owlt_ns": owlt_ns,
            "transmits": self._grounds.transmits(now_ns),
            "window": None
            if window is None
            else {"start_ns": window.start_ns, "end_ns": window.end_ns, "place": window.place},
            "arrives_ns": now_ns + owlt_ns,
            "reply_ns": now_ns + 2 * owlt_ns,
            "link": self._grounds.link_listing(),
            "restored": self._grounds.resync_text(),
            **self._grounds.counters,
        }

    def _held(self) -> list[Request]:
        return [one for one in self._store.active() if one.holds_back]

    def described(
        self, now_ns: int, request: Request, held: Sequence[Request] | None = None
    ) -> dict[str, Any]:
        """As operators see it.  held: what `_held` gives, if it is at hand."""
        command = self._commands.by_name.get(request.command)
        violations: list[str] = []
        if command is not None and request.state not in ENDED | UNDER_WAY:
            violations = self._grounds.violations(now_ns, command)
        if request.state is State.WAITING:
            before = request.stopped_by(self._held() if held is None else held)
            if before is not None:
                violations = [f"request {before.number}, sent before it, is held", *violations]
            obstacle = self._grounds.obstacle(request)
            violations = [obstacle, *violations] if obstacle else violations
        return {**request.plain(), "violations": violations}


def _take_reason(now_ns: int, request: Request, arguments: dict[str, Any]) -> None:
    request.reason = str(arguments.get("reason", "")) or "no reason given"


def _entry(entry: HistoryEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


def _fate_of(body: bytes) -> dict[str, Any]:
    fate = parse(RadiatedMessage, body)
    return {name: getattr(fate, name) for name in ("start_ns", "end_ns", "refused", "station")}


def _number(arguments: Mapping[str, Any]) -> int:
    number = arguments.get("number")
    if type(number) is not int:
        raise LocalError(f"number {number!r}: that of a request wanted")
    return number


def _text(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value.strip():
        raise LocalError(f"{name} {value!r}: a text wanted")
    return value


def _actor(arguments: Mapping[str, Any]) -> str:
    """Who asks; nobody commands without a name."""
    return _text(arguments, "actor").strip()
