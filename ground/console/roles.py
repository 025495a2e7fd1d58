"""Roles, and who is signed in as what."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from protocols.errors import LocalError


class Role(IntEnum):
    """Each may do what those before may."""

    VIEWER = 1
    OPERATOR = 2
    APPROVER = 3
    ADMIN = 4


class NotSignedIn(LocalError):
    """Name and password, a session or a token, that are none; or too many attempts."""


@dataclass(frozen=True, slots=True)
class Session:
    """token: the cookie's, known here and to the browser alone; csrf: to be sent with writes;
    token_number: of a script's token, 0: somebody has signed in."""

    name: str
    role: Role
    csrf: str
    token: str = ""
    token_number: int = 0
