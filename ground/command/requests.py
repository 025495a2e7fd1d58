"""A request to the spacecraft from the operator's stack to its completion: record and state table.

The table is all there is to the life cycle; `engine.py` decides which event happens when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from protocols.errors import LocalError


class State(StrEnum):
    """Where a request is."""

    QUEUED = "queued"
    ARMED = "armed"
    APPROVED = "approved"
    WAITING = "waiting"
    HELD = "held"
    RELEASED = "released"
    RADIATED = "radiated"
    EXECUTING = "executing"
    COMPLETED = "completed"
    FAILED = "failed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REMOVED = "removed"


class Event(StrEnum):
    """What happens to a request."""

    ARM = "arm"
    DISARM = "disarm"
    APPROVE = "approve"
    REJECT = "reject"
    SEND = "send"
    HOLD = "hold"
    RELEASE = "release"
    RADIATE = "radiate"
    REFUSE = "refuse"
    ACCEPT = "accept"
    COMPLETE = "complete"
    FAIL = "fail"
    LOSE = "lose"
    EXPIRE = "expire"
    REMOVE = "remove"
    CLOSE = "close"


_S, _E = State, Event
_REPORTED: Final = {_E.ACCEPT: _S.EXECUTING, _E.COMPLETE: _S.COMPLETED, _E.FAIL: _S.FAILED}
#: QUEUED: on the stack.  ARMED, APPROVED: checked and about to be sent; falls back if it is not.
#: WAITING: sent by the operator, for its time, an uplink window, its turn.  HELD: telemetry did not
#: allow it when it was to leave; nothing went up.  RELEASED: handed to the station.  RADIATED:
#: under way, or not answered yet.  EXECUTING: accepted on board.  UNKNOWN: its answer is overdue,
#: or its frame was never acknowledged; a report that comes after all still
#: counts, and a person may close it.
REQUEST_TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    _S.QUEUED: {_E.ARM: _S.ARMED, _E.REMOVE: _S.REMOVED, _E.EXPIRE: _S.EXPIRED},
    _S.ARMED: {
        _E.APPROVE: _S.APPROVED,
        _E.SEND: _S.WAITING,
        _E.DISARM: _S.QUEUED,
        _E.REJECT: _S.QUEUED,
        _E.REMOVE: _S.REMOVED,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.APPROVED: {
        _E.SEND: _S.WAITING,
        _E.DISARM: _S.QUEUED,
        _E.REJECT: _S.QUEUED,
        _E.REMOVE: _S.REMOVED,
        _E.EXPIRE: _S.EXPIRED,
    },
    _S.WAITING: {
        _E.RELEASE: _S.RELEASED,
        _E.HOLD: _S.HELD,
        _E.EXPIRE: _S.EXPIRED,
        _E.REMOVE: _S.REMOVED,
    },
    _S.HELD: {_E.ARM: _S.ARMED, _E.EXPIRE: _S.EXPIRED, _E.REMOVE: _S.REMOVED},
    _S.RELEASED: {
        _E.RADIATE: _S.RADIATED,
        _E.REFUSE: _S.HELD,
        _E.LOSE: _S.UNKNOWN,
        **_REPORTED,
    },
    _S.RADIATED: {_E.LOSE: _S.UNKNOWN, **_REPORTED},
    _S.EXECUTING: {_E.COMPLETE: _S.COMPLETED, _E.FAIL: _S.FAILED, _E.LOSE: _S.UNKNOWN},
    _S.UNKNOWN: {_E.CLOSE: _S.FAILED, **_REPORTED},
    _S.COMPLETED: {},
    _S.FAILED: {},
    _S.EXPIRED: {},
    _S.REMOVED: {},
}
#: States in which nothing has gone up, and nothing more will happen by itself.
ENDED: Final = frozenset((_S.COMPLETED, _S.FAILED, _S.EXPIRED, _S.REMOVED))
#: States of a request that the spacecraft may have or may get.
UNDER_WAY: Final = frozenset((_S.RELEASED, _S.RADIATED, _S.EXECUTING, _S.UNKNOWN))
#: States before it is sent, or sent again.
_NOT_SENT: Final = frozenset((_S.QUEUED, _S.ARMED, _S.APPROVED, _S.HELD))


class StageState(StrEnum):
    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"
    #: Its window has closed without a word.
    OVERDUE = "overdue"


#: Stages before the spacecraft's own reports, by name.
RADIATED, RECEIVED = "radiated", "received"


@dataclass(slots=True)
class StageRecord:
    """One verifier.

    name: `radiated` (the station says so), `received` (FARM-1 has accepted its last frame, by
    CLCW), or a stage of PUS service 1.
    opens_ns, closes_ns: when its answer can be here at the earliest, and should be at the latest;
    0 while not known.  time_ns: when the answer was here; step: of a progress report.
    """

    name: str
    state: StageState = StageState.PENDING
    opens_ns: int = 0
    closes_ns: int = 0
    time_ns: int = 0
    step: int = 0
    detail: str = ""

    def plain(self) -> list[Any]:
        return [
            *(self.name, str(self.state), self.opens_ns, self.closes_ns, self.time_ns),
            *(self.step, self.detail),
        ]

    @classmethod
    def restored(cls, values: list[Any]) -> StageRecord:
        name, state, *rest = values
        return cls(name, StageState(state), *rest)


@dataclass(slots=True)
class Request:
    """A command on its way.  Times: TAI ns at the ground unless they say otherwise, 0: none.

    arguments: as the operator gave them, checked; expedited: type BD, not in sequence.
    earliest_ns, latest_ns: radiation begins in between.  octets: the telecommand packet, from its
    release on; sequence_count: of that packet, −1 before.
    frames, radiated_frames, received_frames: how many transfer frames it takes, and their fates.
    at_spacecraft_ns: when its last octet is there; reply_due_ns: when its last report should be
    here.  armed_by, approved_by, sent_by: who did so last; sent_ns: when it was sent first, which
    is its place in the order in which requests leave.
    """

    number: int
    command: str
    arguments: dict[str, Any]
    actor: str
    created_ns: int
    state: State = State.QUEUED
    expedited: bool = False
    earliest_ns: int = 0
    latest_ns: int = 0
    comment: str = ""
    origin: str = ""
    armed_by: str = ""
    armed_ns: int = 0
    approved_by: str = ""
    sent_by: str = ""
    sent_ns: int = 0
    octets: bytes = b""
    sequence_count: int = -1
    released_ns: int = 0
    frames: int = 0
    radiated_frames: int = 0
    received_frames: int = 0
    radiated_ns: int = 0
    at_spacecraft_ns: int = 0
    reply_due_ns: int = 0
    station: str = ""
    reason: str = ""
    hazard: str = ""
    stages: list[StageRecord] = field(default_factory=list[StageRecord])

    def apply(self, event: Event) -> None:
        """Move by the table; LocalError where it has no such move."""
        allowed = REQUEST_TABLE[self.state]
        if event not in allowed:
            names = ", ".join(allowed) or "nothing"
            raise LocalError(
                f"request {self.number} {self.command} is {self.state}: "
                f"cannot {event}; {names} possible"
            )
        self.state = allowed[event]

    def is_late(self, now_ns: int) -> bool:
        """Whether its latest time is over."""
        return 0 < self.latest_ns < now_ns

    @property
    def sender(self) -> str:
        """Whose order it keeps to: that of the run of a procedure, or of the person who sent it."""
        return f"run {self.origin.partition('/')[0]}" if self.origin else self.sent_by

    @property
    def holds_back(self) -> bool:
        """Sent once, held, and neither sent again nor removed: what its sender sent after it may
        rest on it."""
        return self.sent_ns > 0 and self.state in _NOT_SENT

    def stopped_by(self, others: Iterable[Request]) -> Request | None:
        """That of requests which `holds_back` that this one waits behind: it was sent before it by
        the same sender.  None waits in the BD service, which is for when others cannot leave."""
        if self.state is not State.WAITING or self.expedited:
            return None
        place = self.sent_ns, self.number
        before = (
            one
            for one in others
            if one.holds_back and (one.sent_ns, one.number) < place and one.sender == self.sender
        )
        return next(before, None)

    @property
    def possible(self) -> Mapping[Event, State]:
        """What may happen to it now, and where it is then."""
        return REQUEST_TABLE[self.state]

    def stage(self, name: str) -> StageRecord | None:
        return next((one for one in self.stages if one.name == name), None)

    @property
    def next_stage(self) -> StageRecord | None:
        """The first that is still to come."""
        return next((one for one in self.stages if one.state is StageState.PENDING), None)

    def plain(self) -> dict[str, Any]:
        """As maps, lists and numbers, for store, socket and `--json`."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values["state"] = str(self.state)
        values["stages"] = [one.plain() for one in self.stages]
        return values

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Request:
        known = {name: value for name, value in values.items() if name in cls.__slots__}
        known["state"] = State(known["state"])
        known["stages"] = [StageRecord.restored(one) for one in known["stages"]]
        return cls(**known)
