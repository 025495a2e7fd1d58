"""ZeroMQ authentication protocol, version 1.0 (RFC 27/ZAP): who asks to connect, and the answer.

libzmq asks, over an inproc socket, about every client that has proved possession of its CURVE key
(RFC 26/CURVEZMQ); what it is answered decides whether the connection stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from protocols.errors import RemoteError

#: Where libzmq asks.
ENDPOINT: Final = "inproc://zeromq.zap.01"
VERSION: Final = b"1.0"
CURVE: Final = b"CURVE"
#: A CURVE public key, octets.
KEY_OCTETS: Final = 32
OK: Final = b"200"
#: 27/ZAP: "temporary error": the connection is closed, and the client tries again, so that who is
#: trusted later is let in without a restart.  (After a 400 libzmq's client never tries again.)
TRY_AGAIN: Final = b"300"


@dataclass(frozen=True, slots=True)
class ZapRequest:
    """domain: which of our sockets; address: of the client; key: its public key (CURVE)."""

    number: bytes
    domain: str
    address: str
    mechanism: bytes
    key: bytes

    @classmethod
    def parse(cls, parts: Sequence[bytes]) -> ZapRequest:
        """RemoteError: not a request of version 1.0."""
        if len(parts) < 6 or parts[0] != VERSION:
            raise RemoteError("no ZAP 1.0 request", data=b"".join(parts)[:64])
        _, number, domain, address, _, mechanism, *credentials = parts
        if mechanism == CURVE and (len(credentials) != 1 or len(credentials[0]) != KEY_OCTETS):
            raise RemoteError(f"CURVE credentials: one key of {KEY_OCTETS} octets wanted")
        key = credentials[0] if mechanism == CURVE else b""
        return cls(
            number, domain.decode("utf-8", "replace"), address.decode("utf-8", "replace"),
            mechanism, key,
        )  # fmt: skip

    def build(self) -> list[bytes]:
        """The parts of it, as libzmq sends them."""
        credentials = [self.key] if self.mechanism == CURVE else []
        domain, address = self.domain.encode(), self.address.encode()
        return [VERSION, self.number, domain, address, b"", self.mechanism, *credentials]


def build_reply(number: bytes, status: bytes, text: str, user: str = "") -> list[bytes]:
    """user: goes with every message of the connection (its User-Id)."""
    return [VERSION, number, status, text.encode(), user.encode(), b""]
