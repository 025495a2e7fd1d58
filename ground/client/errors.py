"""Why a call did not do what was asked."""

from __future__ import annotations

from protocols.errors import LocalError


class GroundError(LocalError):
    """Base.  status: of HTTP, 0: no answer; call: what was asked of whom."""

    def __init__(self, text: str, *, status: int = 0, call: str = "") -> None:
        super().__init__(f"{text} ({call})" if call else text)
        self.status = status
        self.call = call


class NotReachable(GroundError):
    """The console, or a service that it asks, does not answer."""


class NotSignedIn(GroundError):
    """No token, password or session that is one."""


class NotAllowed(GroundError):
    """Not with this role."""


class Refused(GroundError):
    """A value that is not allowed, or not possible now; the text says what would be."""


KINDS = {401: NotSignedIn, 403: NotAllowed, 503: NotReachable}
