"""Services 12 and 19: parameters watched on board, and requests that events set off."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from protocols.dictionary.l4_command_fields import UNLIMITED
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_states import CheckingStatus, CheckType, EventId, Severity
from protocols.identifiers import Apid
from protocols.telecommand.verification import FailureCode
from spacecraft_sim.flight_software.execution import Handlers, Refusal
from spacecraft_sim.flight_software.housekeeping import ParameterPool
from spacecraft_sim.flight_software.reports import ReportWriter
from spacecraft_sim.subsystems.common import Event

MOST_MONITORS: Final = 128
MOST_ACTIONS: Final = 64


@dataclass(slots=True)
class Monitor:
    """A limit check (§6.12.3.2), once a second; `repetition` samples in a row decide.

    events: raised below the low and above the high limit, None: none.
    """

    parameter: str
    repetition: int
    limits: tuple[float, float]
    events: tuple[EventId | None, EventId | None]
    enabled: bool = False
    status: CheckingStatus = CheckingStatus.WITHIN_LIMITS
    previous: CheckingStatus = CheckingStatus.WITHIN_LIMITS
    since_ns: int = 0
    value: float = 0.0
    #: What the last samples say instead of `status`, and how many in a row.
    candidate: CheckingStatus = CheckingStatus.WITHIN_LIMITS
    against: int = 0

    def sample(self, value: float) -> bool:
        """One sample; whether the status changed."""
        found = self._status(value)
        if found is not self.candidate:
            self.candidate, self.against = found, 0
        self.against = self.against + 1 if found is not self.status else 0
        if self.against < self.repetition:
            return False
        self.previous, self.status = self.status, found
        self.against, self.value = 0, value
        return True

    def _status(self, value: float) -> CheckingStatus:
        low, high = self.limits
        if value < low:
            return CheckingStatus.BELOW_LOW_LIMIT
        return CheckingStatus.ABOVE_HIGH_LIMIT if value > high else CheckingStatus.WITHIN_LIMITS

    @property
    def violated(self) -> bool:
        return self.status is not CheckingStatus.WITHIN_LIMITS

    @property
    def crossed(self) -> float:
        """The limit of the last transition."""
        beyond = self.status if self.violated else self.previous
        return self.limits[beyond is CheckingStatus.ABOVE_HIGH_LIMIT]

    @property
    def event(self) -> EventId | None:
        """Of the status."""
        return self.events[self.status is CheckingStatus.ABOVE_HIGH_LIMIT]

    def forget(self) -> None:
        self.status = self.candidate = CheckingStatus.WITHIN_LIMITS
        self.against = 0


def _below(
    parameter: str, repetition: int, limit: float, event: EventId
) -> tuple[str, int, tuple[float, float], tuple[EventId | None, EventId | None]]:
    return parameter, repetition, (limit, UNLIMITED), (event, None)


def _above(
    parameter: str, repetition: int, limit: float, event: EventId
) -> tuple[str, int, tuple[float, float], tuple[EventId | None, EventId | None]]:
    return parameter, repetition, (-UNLIMITED, limit), (None, event)


#: What the spacecraft watches from its start: it has a light-time day to look after itself.
_AT_START: Final = {
    1: _above("FSW_PROTON_FLUX", 10, 10_000.0, EventId.PROTONS_EXTREME),
    2: _below("PWR_BUS_VOLTAGE", 5, 25.5, EventId.BUS_UNDERVOLTAGE),
}
_TO_SAFE: Final = COMMANDS.build("MODE_SET", {"MODE": "SAFE"}, acknowledgement=0)
_ACTIONS_AT_START: Final = (
    EventId.PROTONS_EXTREME,
    EventId.BUS_UNDERVOLTAGE,
    EventId.CONTACT_LOST,
)


class Monitoring:
    """Raises the monitors' events by `raise_event`."""

    def __init__(
        self,
        pool: ParameterPool,
        reports: ReportWriter,
        raise_event: Callable[[Event], None],
    ) -> None:
        self._pool = pool
        self._reports = reports
        self._raise = raise_event
        self._monitors = {n: Monitor(*row, enabled=True) for n, row in _AT_START.items()}
        self._on = True
        self._now_ns = 0
        self.handlers: Handlers = {
            "MONITOR_ENABLE": lambda a: self._switch(a, on=True),
            "MONITOR_DISABLE": lambda a: self._switch(a, on=False),
            "MONITOR_DELETE_ALL": lambda _: self._monitors.clear(),
            "MONITOR_ADD": self._add,
            "MONITOR_DELETE": self._delete,
            "MONITOR_REPORT": self._report,
            "MONITOR_REPORT_VIOLATED": self._report_violated,
            "MONITOR_REPORT_STATUS": self._report_status,
            "MONITORING_ENABLE": lambda _: self._set(on=True),
            "MONITORING_DISABLE": lambda _: self._set(on=False),
        }

    def tick(self, now_ns: int) -> None:
        """One check of every monitor; now_ns: the on-board clock."""
        self._now_ns = now_ns
        if not self._on:
            return
        changed: list[int] = []
        for number, monitor in self._monitors.items():
            # §6.12.3.3: "unchecked" as long as there is no value.
            if not (monitor.enabled and self._pool.known(monitor.parameter)):
                continue
            if monitor.sample(self._pool.value(monitor.parameter)):
                monitor.since_ns = now_ns
                changed.append(number)
        if changed:
            self._reports.put("MONITOR_TRANSITIONS", self._checks(changed))
        for number in changed:
            monitor = self._monitors[number]
            text = f"{monitor.parameter} {monitor.value:.6g}, limit {monitor.crossed:g}"
            if not monitor.violated:
                self._raise(Event(EventId.LIMIT_RESTORED, Severity.INFORMATION, text))
            elif monitor.event is not None:
                above = monitor.status is CheckingStatus.ABOVE_HIGH_LIMIT
                text += ": above" if above else ": below"
                self._raise(Event(monitor.event, Severity.HIGH, text))

    def rearm(self) -> None:
        """What is beyond its limit already raises its event anew if it stays there."""
        for monitor in self._monitors.values():
            monitor.forget()

    def _set(self, *, on: bool) -> None:
        self._on = on

    def _known(self, arguments: Mapping[str, Any]) -> list[int]:
        for number in arguments["MONITORS"]:
            if number not in self._monitors:
                raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, f"no monitor {number}")
        return list(arguments["MONITORS"])

    def _switch(self, arguments: Mapping[str, Any], *, on: bool) -> None:
        for number in self._known(arguments):
            monitor = self._monitors[number]
            # §6.12.3.4: enabled anew it has checked nothing yet.
            monitor.enabled = on
            monitor.forget()

    def _add(self, arguments: Mapping[str, Any]) -> None:
        number = arguments["MONITOR"]
        if number in self._monitors:
            raise Refusal(FailureCode.ALREADY_EXISTS, f"monitor {number} exists")
        if len(self._monitors) >= MOST_MONITORS:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_MONITORS} monitors exist")
        low, high = arguments["LOW_LIMIT"], arguments["HIGH_LIMIT"]
        if low > high:
            raise Refusal(FailureCode.ILLEGAL_ARGUMENT, f"low limit {low:g} above {high:g}")
        self._monitors[number] = Monitor(
            arguments["PARAMETER"],
            arguments["REPETITION"],
            (low, high),
            (_event(arguments["LOW_EVENT"]), _event(arguments["HIGH_EVENT"])),
        )

    def _delete(self, arguments: Mapping[str, Any]) -> None:
        numbers = self._known(arguments)
        for number in numbers:
            if self._monitors[number].enabled:
                raise Refusal(FailureCode.STILL_ENABLED, f"monitor {number} is enabled")
        for number in numbers:
            self._monitors.pop(number, None)

    def _report(self, arguments: Mapping[str, Any]) -> None:
        numbers = self._known(arguments)
        monitors = [self._monitors[number] for number in numbers]
        self._reports.put(
            "MONITOR_DEFINITIONS",
            {
                "MON_MONITOR": numbers,
                "MON_PARAMETER": [m.parameter for m in monitors],
                "MON_ENABLED": ["ON" if m.enabled else "OFF" for m in monitors],
                "MON_REPETITION": [m.repetition for m in monitors],
                "MON_CHECK": [CheckType.LIMIT.name] * len(monitors),
                "MON_LOW_LIMIT": [m.limits[0] for m in monitors],
                "MON_LOW_EVENT": [_name(m.events[0]) for m in monitors],
                "MON_HIGH_LIMIT": [m.limits[1] for m in monitors],
                "MON_HIGH_EVENT": [_name(m.events[1]) for m in monitors],
            },
        )

    def _report_violated(self, _: Mapping[str, Any]) -> None:
        wrong = [number for number, monitor in self._monitors.items() if monitor.violated]
        self._reports.put("MONITORS_VIOLATED", self._checks(wrong), raw=not wrong)

    def _report_status(self, _: Mapping[str, Any]) -> None:
        states = ["ON" if monitor.enabled else "OFF" for monitor in self._monitors.values()]
        self._reports.put(
            "MONITOR_STATUS",
            {"MON_MONITOR": list(self._monitors), "MON_ENABLED": states},
            raw=not states,
        )

    def _checks(self, numbers: list[int]) -> dict[str, Any]:
        monitors = [self._monitors[number] for number in numbers]
        return {
            "MON_MONITOR": numbers,
            "MON_PARAMETER": [m.parameter for m in monitors],
            "MON_VALUE": [m.value for m in monitors],
            "MON_CHECK": [CheckType.LIMIT.name] * len(monitors),
            "MON_LIMIT": [m.crossed for m in monitors],
            "MON_PREVIOUS": [m.previous.name for m in monitors],
            "MON_CURRENT": [m.status.name for m in monitors],
            "MON_SINCE": [m.since_ns for m in monitors],
        }


def _event(name: str) -> EventId | None:
    return EventId.__members__.get(name)


def _name(event: EventId | None) -> str:
    return "NONE" if event is None else event.name


class EventActions:
    """Service 19; `check` refuses a request that would never be accepted."""

    def __init__(self, reports: ReportWriter, check: Callable[[bytes], None]) -> None:
        self._reports = reports
        self._check = check
        self._on = True
        #: Event to (request, enabled).
        self._actions: dict[EventId, tuple[bytes, bool]] = dict.fromkeys(
            _ACTIONS_AT_START, (_TO_SAFE, True)
        )
        self.handlers: Handlers = {
            "ACTION_ADD": self._add,
            "ACTION_DELETE": self._delete,
            "ACTION_DELETE_ALL": lambda _: self._actions.clear(),
            "ACTION_ENABLE": lambda a: self._switch(a, on=True),
            "ACTION_DISABLE": lambda a: self._switch(a, on=False),
            "ACTION_REPORT_STATUS": self._report_status,
            "ACTIONS_ENABLE": lambda _: self._set(on=True),
            "ACTIONS_DISABLE": lambda _: self._set(on=False),
        }

    def action(self, event: EventId) -> bytes | None:
        """The request that an event sets off."""
        request, enabled = self._actions.get(event, (b"", False))
        return request if enabled and self._on else None

    def _set(self, *, on: bool) -> None:
        self._on = on

    def _add(self, arguments: Mapping[str, Any]) -> None:
        event, request = EventId[arguments["EVENT"]], bytes(arguments["REQUEST"])
        self._check(request)
        if self._actions.get(event, (b"", False))[1]:
            raise Refusal(FailureCode.STILL_ENABLED, f"the action of {event.name} is enabled")
        if event not in self._actions and len(self._actions) >= MOST_ACTIONS:
            raise Refusal(FailureCode.NO_ROOM, f"{MOST_ACTIONS} actions exist")
        self._actions[event] = (request, False)

    def _known(self, arguments: Mapping[str, Any]) -> EventId:
        event = EventId[arguments["EVENT"]]
        if event not in self._actions:
            raise Refusal(FailureCode.UNKNOWN_IDENTIFIER, f"{event.name} has no action")
        return event

    def _delete(self, arguments: Mapping[str, Any]) -> None:
        event = self._known(arguments)
        if self._actions[event][1]:
            raise Refusal(FailureCode.STILL_ENABLED, f"the action of {event.name} is enabled")
        del self._actions[event]

    def _switch(self, arguments: Mapping[str, Any], *, on: bool) -> None:
        event = self._known(arguments)
        self._actions[event] = (self._actions[event][0], on)

    def _report_status(self, _: Mapping[str, Any]) -> None:
        self._reports.put(
            "ACTION_STATUS",
            {
                "ACT_APID": [int(Apid.FLIGHT_SOFTWARE)] * len(self._actions),
                "ACT_EVENT": [event.name for event in self._actions],
                "ACT_ENABLED": ["ON" if on else "OFF" for _, on in self._actions.values()],
            },
            raw=not self._actions,
        )
