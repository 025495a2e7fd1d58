"""A UDP socket to receive by, which knows how much the kernel has dropped."""

from __future__ import annotations

import ipaddress
import select
import socket
import struct
import sys
import time
from typing import Final

from ground.adapters.sockets import family_of

#: <asm-generic/socket.h>; not in Python's socket module.  The count of datagrams that found the
#: socket's buffer full comes beside each datagram.
_SO_RXQ_OVFL: Final = 40
_DROPS: Final = struct.Struct("=I")
#: Asked for; the kernel gives what net.core.rmem_max allows.
BUFFER_OCTETS: Final = 8 << 20
_LONGEST: Final = 65_535
#: Datagrams in one read.
_MOST: Final = 1024


class DatagramSocket:
    """Bound to an address; a multicast group is joined.  OSError as of the system."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.socket(family_of((host, port)), socket.SOCK_DGRAM)
        try:
            self._set_up(host, port)
        except BaseException:
            self.socket.close()
            raise
        self._dropped = 0

    def _set_up(self, host: str, port: int) -> None:
        own = self.socket
        own.setblocking(False)
        own.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_OCTETS)
        if sys.platform == "linux":
            own.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
        group = _multicast(host)
        if group is not None:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        own.bind((host, port))
        if isinstance(group, ipaddress.IPv4Address):
            own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group.packed + bytes(4))
        elif group is not None:
            own.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group.packed + struct.pack("@I", 0)
            )

    def receive(self, timeout_s: float) -> tuple[list[bytes], int]:
        """Datagrams, and how many the kernel has dropped before the last of them; waits at most so
        long for the first, and as long again for more."""
        found: list[bytes] = []
        dropped = self._dropped
        if not select.select([self.socket], [], [], timeout_s)[0]:
            return found, 0
        # Where other threads of the process are busy each call may wait for the interpreter: what
        # has come is given out after a while, and does not wait until there is no more.
        deadline = time.monotonic() + timeout_s
        try:
            while len(found) < _MOST and (not found or time.monotonic() < deadline):
                octets, beside, _, _ = self.socket.recvmsg(_LONGEST, 64)
                found.append(octets)
                for level, kind, value in beside:
                    if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                        dropped = _DROPS.unpack(value[: _DROPS.size])[0]
        except BlockingIOError:
            pass
        # A count of 32 bits that wraps.
        more, self._dropped = (dropped - self._dropped) % (1 << 32), dropped
        return found, more

    def close(self) -> None:
        self.socket.close()


def _multicast(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address if address.is_multicast else None


__all__ = ["DatagramSocket"]
