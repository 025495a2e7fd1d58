"""The two ways in which an exchange can go wrong.

`LocalError`: we broke a rule (a wrong argument, an impossible configuration): a bug or a
mistaken setting on this side.  `RemoteError`: what came from outside breaks the rule; it carries
the octets, so that nothing received is lost with the message.
"""

from __future__ import annotations


class ProtocolError(ValueError):
    """Base of both; catch it only at an outermost border."""


class LocalError(ProtocolError):
    """A value of ours that the standard or our configuration does not allow."""


class RemoteError(ProtocolError):
    """Received octets that the standard does not allow.

    `data` holds the offending octets (or their beginning), `offset` the octet at which they
    stopped making sense.
    """

    def __init__(self, message: str, *, data: bytes = b"", offset: int = 0) -> None:
        super().__init__(message)
        self.data = data
        self.offset = offset
