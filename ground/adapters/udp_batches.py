"""Many UDP datagrams in one system call, where the kernel can (Linux: UDP_SEGMENT and UDP_GRO).

Python has no sendmmsg.  Linux takes datagrams of one size, the last may be shorter, as one buffer
with the size beside it, and gives out the same way what came together; elsewhere each datagram is
a call of its own.  What goes over the wire is the same.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Sequence
from typing import Final

#: <linux/udp.h>; not in Python's socket module.
_SOL_UDP: Final = 17
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
#: Datagrams in one buffer (UDP_MAX_SEGMENTS of kernels before 6.9), octets in one buffer.
_MOST_DATAGRAMS: Final = 64
_MOST_OCTETS: Final = 65_507
_LONGEST_DATAGRAM: Final = 65_535
#: Longer ones gain nothing from company.
_WORTH_JOINING: Final = 9_000
_SIZE: Final = struct.Struct("=H")
_GRO_SIZE: Final = struct.Struct("=i")


class UdpBatches:
    """A connected, non-blocking UDP socket; it stays the caller's to close.

    join: False sends and takes each datagram by itself.
    """

    def __init__(self, own: socket.socket, *, join: bool = True) -> None:
        self._socket = own
        self._joins = False
        self._gro = False
        if sys.platform == "linux":
            try:
                own.setsockopt(_SOL_UDP, _UDP_GRO, int(join))
                self._gro = self._joins = join
            except OSError:
                # A kernel before 5.0, or a network without it: one call a datagram.
                self._gro = self._joins = False

    def send(self, datagrams: Sequence[bytes]) -> int:
        """Send in order; how many left before the kernel's buffer was full (all, mostly)."""
        sent = 0
        while sent < len(datagrams):
            stop = self._joinable(datagrams, sent) if self._joins else sent + 1
            try:
                if stop - sent == 1:
                    self._socket.send(datagrams[sent])
                else:
                    size = _SIZE.pack(len(datagrams[sent]))
                    self._socket.sendmsg(
                        [b"".join(datagrams[sent:stop])], [(_SOL_UDP, _UDP_SEGMENT, size)]
                    )
            except BlockingIOError:
                return sent
            except OSError:
                if stop - sent == 1:
                    raise
                # The path's MTU is below the datagrams, or the device cannot: singly from now on.
                self._joins = False
                continue
            sent = stop
        return sent

    @staticmethod
    def _joinable(datagrams: Sequence[bytes], first: int) -> int:
        """Where the run of datagrams of the first's size ends, one shorter included."""
        size = len(datagrams[first])
        if not 0 < size <= _WORTH_JOINING:
            return first + 1
        stop, most = first + 1, first + min(_MOST_DATAGRAMS, _MOST_OCTETS // size)
        while stop < min(most, len(datagrams)):
            following = len(datagrams[stop])
            if not 0 < following <= size:
                break
            stop += 1
            if following < size:
                break
        return stop

    def receive(self, most: int = 4_096) -> list[bytes]:
        """Datagrams that have come, `most` or a few more; none if none has."""
        found: list[bytes] = []
        own = self._socket
        try:
            while len(found) < most:
                if not self._gro:
                    found.append(own.recv(_LONGEST_DATAGRAM))
                    continue
                octets, beside, _, _ = own.recvmsg(_LONGEST_DATAGRAM, 64)
                size = next(
                    (
                        _GRO_SIZE.unpack(value[:4])[0]
                        for level, kind, value in beside
                        if level == _SOL_UDP and kind == _UDP_GRO
                    ),
                    len(octets),
                )
                if size >= len(octets):
                    found.append(octets)
                else:
                    found += [octets[at : at + size] for at in range(0, len(octets), size)]
        except BlockingIOError:
            pass
        except OSError:
            # What the network answers to a datagram of ours; what came before it is still good.
            if not found:
                raise
        return found
