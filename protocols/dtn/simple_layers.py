"""Convergence layers that are a framing and no more, for peers that speak only these.

STCP (draft-burleigh-dtn-stcp): each bundle behind its length, 32 bits in network byte order; a
length of 0 is a keepalive.  MTCP (draft-ietf-dtn-mtcpcl): each bundle as a CBOR byte string.
UDPCL: a bundle a datagram; four octets of zero are a keepalive (RFC 7122).  None acknowledges: what
was written counts as sent, and what was lost on the way is lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from protocols.dtn.cbor import octets_head
from protocols.errors import RemoteError

#: Longest bundle believed of a stream: it is held in memory until it is whole.
LONGEST: Final = 1 << 30
#: What a UDP datagram over IPv4 can carry.
LONGEST_DATAGRAM: Final = 65_507
UDP_KEEPALIVE: Final = bytes(4)
_LENGTH: Final = struct.Struct(">I")


class Framing(StrEnum):
    STCP = "stcp"
    MTCP = "mtcp"


def _stcp_head(data: bytes) -> tuple[int, int] | None:
    return (_LENGTH.unpack_from(data)[0], 4) if len(data) >= 4 else None


def _mtcp_head(data: bytes) -> tuple[int, int] | None:
    first = data[0]
    if not 0x40 <= first <= 0x5B:
        raise RemoteError(f"MTCP: a byte string wanted, 0x{first:02x} found", data=data[:32])
    if first < 0x58:
        return first - 0x40, 1
    size = 1 << (first - 0x58)
    if len(data) < 1 + size:
        return None
    return int.from_bytes(data[1 : 1 + size], "big"), 1 + size


#: From what is at hand: (octets of the bundle, octets before it), None while its head is cut short.
_HEADS: Final[dict[Framing, Callable[[bytes], tuple[int, int] | None]]] = {
    Framing.STCP: _stcp_head,
    Framing.MTCP: _mtcp_head,
}


def framed(framing: Framing, octets: int) -> bytes:
    """What goes before a bundle of so many octets.

    >>> framed(Framing.STCP, 300).hex(" "), framed(Framing.MTCP, 300).hex(" ")
    ('00 00 01 2c', '59 01 2c')
    """
    return _LENGTH.pack(octets) if framing is Framing.STCP else octets_head(octets)


class StreamFramer:
    """Bundles out of a stream, whatever the pieces."""

    def __init__(self, framing: Framing, longest: int = LONGEST) -> None:
        self._read_head = _HEADS[framing]
        self._framing = framing
        self._longest = longest
        self._head = b""
        self._parts: list[bytes] = []
        self._left = self._held = 0
        self._damage: RemoteError | None = None
        self.keepalives = 0

    def push(self, octets: bytes) -> list[bytes]:
        """Bundles that are whole now.  Raises RemoteError for what no bundle can be, at the next
        call if bundles came before it: the stream is then of no use any more."""
        if self._damage is not None:
            raise self._damage
        found: list[bytes] = []
        try:
            self._split(octets, found)
        except RemoteError as error:
            self._damage = error
            if not found:
                raise
        return found

    @property
    def held(self) -> int:
        """Octets of a bundle that is not whole, or of its head."""
        return self._held + len(self._head)

    @property
    def damaged(self) -> bool:
        """Nothing more can be read of this stream."""
        return self._damage is not None

    def _split(self, octets: bytes, found: list[bytes]) -> None:
        data = self._head + octets if self._head else octets
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                at += len(part)
                self._left -= len(part)
                self._parts.append(part)
                self._held += len(part)
                if not self._left:
                    found.append(b"".join(self._parts))
                    self._parts.clear()
                    self._held = 0
                continue
            head = self._read_head(data[at : at + 9])
            if head is None:
                break
            length, size = head
            if length > self._longest:
                raise RemoteError(
                    f"{self._framing}: bundle of {length} octets, {self._longest} at most"
                )
            at += size
            self._left = length
            self.keepalives += not length
        self._head = data[at:]
