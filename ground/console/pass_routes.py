"""Passes planned by operators: when antennas see the spacecraft, a what-if, and publishing it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ground.console.accounts import Role
from ground.console.context import Context
from ground.console.endpoints import UNIX_MS, Call, Route
from ground.console.handling import described, in_thread, tai_ns

Instant = Annotated[float, Meta(ge=0, le=4e12, extra_json_schema={"format": UNIX_MS})]
Antenna = Annotated[str, Meta(min_length=1, max_length=64)]


class PassWanted(msgspec.Struct, forbid_unknown_fields=True):
    """Tracking over an antenna, milliseconds since 1970 UTC at the ground."""

    antenna: Antenna
    begin: Instant
    end: Instant


class NewPass(msgspec.Struct, forbid_unknown_fields=True):
    """A pass to be published.  version: of the pass list that it was tried on."""

    antenna: Antenna
    begin: Instant
    end: Instant
    version: Annotated[int, Meta(ge=1, le=2**53)]
    why: Annotated[str, Meta(min_length=1, max_length=500)]


def pass_routes(context: Context) -> list[Route]:
    """What scheduling is asked."""

    def asked(call: Call, operation: str, **more: Any) -> Any:
        body: PassWanted | NewPass = call.body
        arguments = {
            "antenna": body.antenna,
            "begin_ns": tai_ns(body.begin),
            "end_ns": tai_ns(body.end),
            **more,
        }
        return described(context.scheduling(call.actor, operation, arguments))

    def views(call: Call) -> Any:
        return described(context.scheduling(call.actor, "views", {}))

    def publish(call: Call) -> Any:
        body: NewPass = call.body
        return asked(call, "publish", version=body.version, why=body.why)

    both = (409, 503)
    return [
        Route("GET", "/passes/views", in_thread(views),
              "When antennas see the spacecraft, and what is free of that", errors=both),
        Route("POST", "/passes/try", in_thread(lambda c: asked(c, "try")),
              "What if there were this pass; nothing is written", Role.OPERATOR, PassWanted,
              errors=both),
        Route("POST", "/passes", in_thread(publish), "Publish a pass", Role.OPERATOR, NewPass,
              errors=both, name="publish_pass"),
    ]  # fmt: skip
