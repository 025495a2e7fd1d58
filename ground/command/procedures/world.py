"""What a running procedure sees of the world: the interface that the command service provides."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from ground.command.procedures.steps import STAGES, Send
from protocols.telemetry.limits import LimitState


@dataclass(frozen=True, slots=True)
class Sample:
    """Newest value of a parameter.

    value: engineering, a label for an enumeration; raw: as it was in the packet; scet_ns, ert_ns:
    generated on board and received, TAI ns; age_s: now less SCET, light time included;
    limit_state: None for a parameter without limits.
    """

    value: float | str | bytes
    raw: float | bytes
    scet_ns: int
    ert_ns: int
    age_s: float
    limit_state: LimitState | None = None


@dataclass(frozen=True, slots=True)
class RequestStatus:
    """How a request is.

    state: for people; passed: stages that are known to have passed; failure: not empty: it will
    not pass another stage, and why (a stage failed; refused, expired or removed on the ground);
    at_spacecraft_ns: when its last octet is (or was) there, 0 while not known.
    """

    number: int
    command: str
    state: str
    passed: frozenset[str] = field(default_factory=frozenset[str])
    failure: str = ""
    at_spacecraft_ns: int = 0

    def has_passed(self, stage: str) -> bool:
        """Also if a later one has: its report may have been lost.

        >>> status = RequestStatus(1, "MODE_SET", "completed", frozenset({"completion"}))
        >>> status.has_passed("acceptance")
        True
        """
        return not self.passed.isdisjoint(STAGES[STAGES.index(stage) :])


class World(Protocol):
    """As it is at the instant that is given to `ProcedureRun.advance`."""

    def sample(self, parameter: str) -> Sample | None:
        """None: never received."""
        ...

    def submit(self, send: Send, actor: str, key: str) -> int:
        """Queue a command; its request's number.

        key: says which step of which run it is; given again, the number is the same and nothing
        more is queued.  Raises LocalError for what is not allowed.
        """
        ...

    def request(self, number: int) -> RequestStatus:
        """LocalError if there is none."""
        ...

    def verify_deadline_ns(self, number: int, stage: str) -> int | None:
        """When the report of a stage is overdue: release + 2 · OWLT + execution + margin.

        None while that is not known, as before its release.
        """
        ...

    def next_uplink_window(self, now_ns: int) -> tuple[int, int] | None:
        """Start and end of the uplink window that is open, else of the next; None: none planned."""
        ...
