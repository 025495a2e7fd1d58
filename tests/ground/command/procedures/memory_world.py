"""A world in memory: samples and requests as a test sets them, what was submitted as it came."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ground.command.procedures.definitions import Definitions
from ground.command.procedures.steps import Send
from ground.command.procedures.world import RequestStatus, Sample
from protocols.dictionary.l4_commands import COMMANDS
from protocols.dictionary.l4_reports import EVERYTHING
from protocols.errors import LocalError

S = 1_000_000_000
DEFINITIONS = Definitions(COMMANDS, EVERYTHING.parameters)


@dataclass
class MemoryWorld:
    now_ns: int = 0
    samples: dict[str, tuple[Any, int, Any]] = field(default_factory=dict)
    requests: dict[int, RequestStatus] = field(default_factory=dict)
    sent: list[Send] = field(default_factory=list)
    keys: dict[str, int] = field(default_factory=dict)
    deadlines_ns: dict[int, int] = field(default_factory=dict)
    windows: list[tuple[int, int]] = field(default_factory=list)
    refuse: str = ""

    def put(self, name: str, value: Any, scet_ns: int, limit_state: Any = None) -> None:
        self.samples[name] = (value, scet_ns, limit_state)

    def passed(self, number: int, *stages: str, at_spacecraft_ns: int = 0) -> None:
        status = self.requests[number]
        self.requests[number] = replace(
            status, passed=status.passed | set(stages), at_spacecraft_ns=at_spacecraft_ns
        )

    def failed(self, number: int, why: str) -> None:
        self.requests[number] = replace(self.requests[number], failure=why)

    # The interface ---------------------------------------------------------------------------

    def sample(self, parameter: str) -> Sample | None:
        if parameter not in self.samples:
            return None
        value, scet_ns, limit_state = self.samples[parameter]
        return Sample(value, 0, scet_ns, scet_ns, (self.now_ns - scet_ns) / S, limit_state)

    def submit(self, send: Send, actor: str, key: str) -> int:
        if self.refuse:
            raise LocalError(self.refuse)
        if key not in self.keys:
            COMMANDS.build(send.command, send.arguments)
            self.sent.append(send)
            self.keys[key] = number = len(self.sent)
            self.requests[number] = RequestStatus(number, send.command, "queued")
        return self.keys[key]

    def request(self, number: int) -> RequestStatus:
        if number not in self.requests:
            raise LocalError(f"request {number}: no such request")
        return self.requests[number]

    def verify_deadline_ns(self, number: int, stage: str) -> int | None:
        return self.deadlines_ns.get(number)

    def next_uplink_window(self, now_ns: int) -> tuple[int, int] | None:
        return next((window for window in self.windows if window[1] > now_ns), None)
