"""Tokens for scripts: one's own are made, listed and revoked; an administrator sees everybody's."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ground.console.accounts import Role
from ground.console.context import Context
from ground.console.endpoints import Call, Parameter, Route
from ground.console.handling import in_person, in_thread
from ground.console.tokens import MOST_DAYS, Token


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """A token of one's own.  label: what it is for; role: at most one's own."""

    label: Annotated[str, Meta(min_length=1, max_length=200)]
    role: Annotated[str, Meta(pattern="^(viewer|operator|approver|admin)$")] = "viewer"
    days: Annotated[int, Meta(ge=1, le=MOST_DAYS)] = 90


def token_routes(context: Context) -> list[Route]:
    tokens = context.accounts.tokens

    def theirs(call: Call) -> str:
        """Whose tokens this caller may see: "" is everybody's."""
        assert call.session is not None
        return "" if call.session.role is Role.ADMIN else call.actor

    def listed(call: Call) -> Any:
        return [_shown(one) for one in tokens.all(theirs(call))]

    def make(call: Call) -> Any:
        in_person(call, "tokens are made")
        body: NewToken = call.body
        role = Role[body.role.upper()]
        now_s = context.wall_s()
        made = tokens.make(call.actor, role, body.label, days=body.days, now_s=now_s)
        return {**_shown(made), "token": made.secret}

    def revoke(call: Call) -> Any:
        tokens.revoke(call.path["number"], theirs(call))
        return {}

    number = Parameter("number", int, "Number", minimum=1, maximum=2**53)
    return [
        Route("GET", "/tokens", in_thread(listed), "Tokens of scripts; admin: everybody's"),
        Route("POST", "/tokens", in_thread(make), "A token of one's own, told this once",
              Role.VIEWER, NewToken),
        Route("DELETE", "/tokens/{number}", in_thread(revoke), "Revoke a token", Role.VIEWER, None,
              (number,), name="revoke_token"),
    ]  # fmt: skip


def _shown(one: Token) -> dict[str, Any]:
    """Times are Unix seconds of the wall."""
    return {
        "number": one.number,
        "name": one.name,
        "role": one.role.name.lower(),
        "label": one.label,
        "made_s": one.made_s,
        "until_s": one.until_s,
        "used_s": one.used_s,
    }
