"""Operators' end of the command service: `l4 command`, the console, scripts.

    with CommandClient(settings.command_endpoint, actor="ann") as client:
        request = client.add("TEST_CONNECTION")
        client.arm(request["number"])
        client.send(request["number"])
        client.show(request["number"])["stages"]

Times are TAI ns.  A request comes as the map that `ground.command.requests.Request.plain` makes.
A call is said again until it is answered, and done once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ground.asking import CallClient
from ground.keyring import Keyring


class CommandClient(CallClient):
    """endpoint: the service's; actor: who commands; keyring: our keys.

    LocalError where it does not answer in time, or refuses.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        actor: str = "",
        timeout_s: float = 10.0,
        keyring: Keyring | None = None,
    ) -> None:
        super().__init__(
            endpoint,
            name="command service",
            actor=actor,
            timeout_s=timeout_s,
            server="command",
            keyring=keyring,
        )

    def add(
        self,
        command: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        earliest_ns: int = 0,
        latest_ns: int = 0,
        expedited: bool = False,
        comment: str = "",
    ) -> dict[str, Any]:
        """Put a command on the stack."""
        return self.call(
            "add",
            command=command,
            arguments=dict(arguments or {}),
            earliest_ns=earliest_ns,
            latest_ns=latest_ns,
            expedited=expedited,
            comment=comment,
        )

    def arm(self, number: int) -> dict[str, Any]:
        """First of two steps."""
        return self.call("arm", number=number)

    def disarm(self, number: int) -> dict[str, Any]:
        return self.call("disarm", number=number)

    def approve(self, number: int) -> dict[str, Any]:
        """A second person's word for a hazardous command that is armed."""
        return self.call("approve", number=number)

    def reject(self, number: int, reason: str) -> dict[str, Any]:
        return self.call("reject", number=number, reason=reason)

    def send(self, number: int) -> dict[str, Any]:
        """Second of two steps: it leaves when time, window and constraints allow."""
        return self.call("send", number=number)

    def remove(self, number: int) -> dict[str, Any]:
        """Take one back that has not left."""
        return self.call("remove", number=number)

    def close_request(self, number: int, reason: str) -> dict[str, Any]:
        """One whose end will never be known: failed, for the reason given."""
        return self.call("close", number=number, reason=reason)

    def repeat(self, number: int) -> dict[str, Any]:
        """The same once more, on the stack."""
        return self.call("repeat", number=number)

    def check(self, command: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Packet of a command, and the constraints that do not hold now."""
        return self.call("check", command=command, arguments=dict(arguments or {}))

    # Link security

    def security(self, action: str, *numbers: int) -> dict[str, Any]:
        """Put a procedure of 355.1-B on the stack; `use` acts at once, on the ground alone."""
        return self.call("security", action=action, numbers=list(numbers))

    def keys(self) -> dict[str, Any]:
        """Keys and associations by state; no key itself."""
        return self.call("keys")

    # Procedures

    def procedures(self) -> dict[str, Any]:
        """What there is, and what is wrong with files."""
        return self.call("procedures")

    def start_run(
        self, procedure: str, arguments: Mapping[str, Any] | None = None, *, step: bool = False
    ) -> dict[str, Any]:
        """Start a procedure; step: pause after its first step."""
        return self.call(
            "start_run", procedure=procedure, arguments=dict(arguments or {}), step=step
        )

    def pause_run(self, run: int) -> dict[str, Any]:
        return self.call("pause_run", run=run)

    def resume_run(self, run: int) -> dict[str, Any]:
        return self.call("resume_run", run=run)

    def step_run(self, run: int) -> dict[str, Any]:
        """Go on for one step."""
        return self.call("step_run", run=run)

    def abort_run(self, run: int, reason: str = "") -> dict[str, Any]:
        """End it; what it has sent stays sent."""
        return self.call("abort_run", run=run, reason=reason)

    def answer_run(self, run: int, choice: str) -> dict[str, Any]:
        """What it asked."""
        return self.call("answer_run", run=run, choice=choice)

    def runs(self, last: int = 20) -> Any:
        """Oldest first."""
        return self.call("runs", last=last)

    def show_run(self, run: int) -> dict[str, Any]:
        """With its records, a line each."""
        return self.call("show_run", run=run)

    # Questions

    def list(self, *, last: int = 20, active: bool = False) -> list[dict[str, Any]]:
        return self.call("list", last=last, active=active)

    def show(self, number: int) -> dict[str, Any]:
        """With history and radiations."""
        return self.call("show", number=number)

    def history(self, last: int = 100) -> list[dict[str, Any]]:
        return self.call("history", last=last)

    def status(self) -> dict[str, Any]:
        """Uplink window, light time, COP-1."""
        return self.call("status")

    def link(self, directive: str, value: int | None = None) -> str:
        """A directive of COP-1: initiate, unlock, set-vr, terminate."""
        return self.call("link", directive=directive, value=value)
