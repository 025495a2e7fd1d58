"""Alarms, after ISA-18.2: one for each parameter or event that calls for somebody.

An alarm persists until it is acknowledged *and* its cause has gone; it can be shelved for a while,
with a reason.  Only what is live raises one: stored data that is played back says nothing of now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from protocols.bus.messages import Event, EventKind, Severity
from protocols.errors import LocalError


class AlarmState(StrEnum):
    """ISA-18.2 §5.2: with its letters A to G where they apply."""

    NORMAL = "normal"
    UNACKNOWLEDGED = "unacknowledged"
    ACKNOWLEDGED = "acknowledged"
    #: The cause has gone before anybody acknowledged.
    RETURNED = "returned"
    SHELVED = "shelved"


class AlarmEvent(StrEnum):
    RAISE = "raise"
    CLEAR = "clear"
    ACKNOWLEDGE = "acknowledge"
    SHELVE = "shelve"
    UNSHELVE = "unshelve"


_S, _E = AlarmState, AlarmEvent
#: Of a shelved alarm, raising and clearing are remembered and change no state.
ALARM_TABLE: Final[Mapping[AlarmState, Mapping[AlarmEvent, AlarmState]]] = {
    _S.NORMAL: {_E.RAISE: _S.UNACKNOWLEDGED, _E.CLEAR: _S.NORMAL},
    _S.UNACKNOWLEDGED: {
        _E.RAISE: _S.UNACKNOWLEDGED,
        _E.CLEAR: _S.RETURNED,
        _E.ACKNOWLEDGE: _S.ACKNOWLEDGED,
        _E.SHELVE: _S.SHELVED,
    },
    _S.ACKNOWLEDGED: {
        # Worse than before: somebody has to look again.
        _E.RAISE: _S.UNACKNOWLEDGED,
        _E.CLEAR: _S.NORMAL,
        _E.SHELVE: _S.SHELVED,
    },
    _S.RETURNED: {
        _E.RAISE: _S.UNACKNOWLEDGED,
        _E.CLEAR: _S.RETURNED,
        _E.ACKNOWLEDGE: _S.NORMAL,
        _E.SHELVE: _S.SHELVED,
    },
    _S.SHELVED: {
        _E.RAISE: _S.SHELVED,
        _E.CLEAR: _S.SHELVED,
        _E.UNSHELVE: _S.UNACKNOWLEDGED,
    },
}
LONGEST_SHELF_S: Final = 24 * 3_600
_RANK: Final = {"info": 0, "warning": 1, "critical": 2}


@dataclass(slots=True)
class Alarm:
    """name: of its parameter or event; times TAI ns, 0: not yet.

    active: the cause is there; raised_ns: by SCET; since_ns: of the present state, ground time.
    """

    name: str
    state: AlarmState = AlarmState.NORMAL
    severity: str = "warning"
    text: str = ""
    value: str = ""
    active: bool = False
    raised_ns: int = 0
    received_ns: int = 0
    since_ns: int = 0
    count: int = 0
    acknowledged_by: str = ""
    shelved_by: str = ""
    shelved_until_ns: int = 0
    reason: str = ""

    def apply(self, event: AlarmEvent, now_ns: int) -> None:
        """LocalError where the table has no such move."""
        moves = ALARM_TABLE[self.state]
        if event not in moves:
            raise LocalError(f"alarm {self.name} is {self.state}: cannot {event}")
        if moves[event] is not self.state:
            self.state, self.since_ns = moves[event], now_ns


class Alarms:
    """All of them by name; `changed` are those to be kept and told."""

    def __init__(self, kept: Mapping[str, Any] | None = None) -> None:
        self.alarms: dict[str, Alarm] = {}
        self.changed: set[str] = set()
        for name, values in (kept or {}).items():
            self.alarms[name] = Alarm(**{**values, "state": AlarmState(values["state"])})

    def kept(self) -> dict[str, Any]:
        """For the next start."""
        return {name: {**asdict(one), "state": str(one.state)} for name, one in self.alarms.items()}

    @property
    def shown(self) -> list[Alarm]:
        """Those that are not normal, worst and newest first."""
        found = [one for one in self.alarms.values() if one.state is not AlarmState.NORMAL]
        return sorted(found, key=lambda one: (-_RANK[one.severity], -one.since_ns))

    def hear(self, event: Event, now_ns: int) -> None:
        """What the monitor tells; stored data is passed over."""
        if event.playback:
            return
        if event.kind in (EventKind.LIMIT, EventKind.STALE, EventKind.FRESH):
            bad = event.kind == EventKind.STALE or (
                event.kind == EventKind.LIMIT and event.after != "NOMINAL"
            )
            # Between two passes everything is silent, which the monitor tells as information.
            if bad and event.severity == Severity.INFO:
                return
            self._set(event, now_ns, bad=bad)
        elif event.kind == EventKind.SPACECRAFT and event.severity != Severity.INFO:
            # It has happened: there is nothing to come back from.
            self._set(event, now_ns, bad=True)
            self._set(event, now_ns, bad=False)

    def _set(self, event: Event, now_ns: int, *, bad: bool) -> None:
        alarm = self.alarms.get(event.name)
        if alarm is None:
            if not bad:
                return
            alarm = self.alarms[event.name] = Alarm(event.name)
        if not bad:
            alarm.active = False
            alarm.apply(AlarmEvent.CLEAR, now_ns)
            self.changed.add(event.name)
            return
        worse = _RANK[event.severity] > _RANK[alarm.severity] or not alarm.active
        alarm.active, alarm.severity = True, event.severity
        alarm.text, alarm.value = event.text, event.value
        alarm.raised_ns, alarm.received_ns = event.scet_ns, event.reception_ns
        alarm.count += 1
        if worse or alarm.state is not AlarmState.ACKNOWLEDGED:
            alarm.apply(AlarmEvent.RAISE, now_ns)
        self.changed.add(event.name)

    def _named(self, name: str) -> Alarm:
        if name not in self.alarms:
            raise LocalError(f"no alarm {name!r}")
        return self.alarms[name]

    def acknowledge(self, name: str, who: str, now_ns: int) -> Alarm:
        alarm = self._named(name)
        alarm.apply(AlarmEvent.ACKNOWLEDGE, now_ns)
        alarm.acknowledged_by = who
        self.changed.add(name)
        return alarm

    def shelve(self, name: str, who: str, until_ns: int, reason: str, now_ns: int) -> Alarm:
        """LocalError without a reason, or for longer than a day."""
        if not reason.strip():
            raise LocalError("shelve: a reason wanted")
        if not now_ns < until_ns <= now_ns + LONGEST_SHELF_S * 10**9:
            raise LocalError("shelve: an end within a day wanted")
        alarm = self._named(name)
        alarm.apply(AlarmEvent.SHELVE, now_ns)
        alarm.shelved_by, alarm.shelved_until_ns, alarm.reason = who, until_ns, reason
        self.changed.add(name)
        return alarm

    def unshelve(self, name: str, now_ns: int) -> Alarm:
        """Back to be looked at; to rest at once if its cause has gone meanwhile."""
        alarm = self._named(name)
        alarm.apply(AlarmEvent.UNSHELVE, now_ns)
        if not alarm.active:
            alarm.apply(AlarmEvent.CLEAR, now_ns)
        alarm.shelved_by, alarm.shelved_until_ns, alarm.reason = "", 0, ""
        self.changed.add(name)
        return alarm

    def tick(self, now_ns: int) -> None:
        """Shelves end."""
        for alarm in list(self.alarms.values()):
            if alarm.state is AlarmState.SHELVED and now_ns >= alarm.shelved_until_ns:
                self.unshelve(alarm.name, now_ns)
