"""Non-blocking sockets of the bundle layers: listening, connecting, writing what is taken."""

from __future__ import annotations

import errno
import socket
from typing import Final

from protocols.errors import LocalError

Address = tuple[str, int]
#: Buffers in one call (Linux and macOS allow 1,024).
_BUFFERS: Final = 1_000


def family_of(address: Address) -> int:
    """IPv6 where the host is written so."""
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def cannot_listen(name: str, address: Address, error: OSError) -> LocalError:
    """What to raise where an address cannot be had."""
    return LocalError(f"{name}: cannot listen at {address[0]}:{address[1]}: {error.strerror}")


def listening(name: str, address: Address) -> socket.socket:
    """A TCP socket that listens.  LocalError where the address cannot be had."""
    listener = socket.socket(family_of(address))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind(address)
        listener.listen(64)
    except OSError as error:
        listener.close()
        raise cannot_listen(name, address, error) from error
    return listener


def address_of(sock: socket.socket) -> str:
    """The other end's host; empty where it has gone already."""
    try:
        return str(sock.getpeername()[0])
    except OSError:
        return ""


def connecting(address: Address) -> tuple[socket.socket | None, str]:
    """A TCP socket on its way to an address; None and why, if that is known at once."""
    sock = socket.socket(family_of(address))
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        status = sock.connect_ex(address)
    except socket.gaierror as error:
        why = f"{address[0]}: {error.strerror}"
    else:
        if status in (0, errno.EINPROGRESS):
            return sock, ""
        why = error_name(status)
    sock.close()
    return None, why


def connect_error(sock: socket.socket) -> str:
    """Why a connection did not come about; empty if it did."""
    status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return error_name(status) if status else ""


def error_name(status: int) -> str:
    """As ECONNREFUSED."""
    return errno.errorcode.get(status, str(status))


def send_some(sock: socket.socket, output: list[bytes | memoryview]) -> int | None:
    """Write from the front of `output` and take it out; octets written, None if there is no room
    now.  OSError: the connection is gone."""
    try:
        count = left = sock.sendmsg(output[:_BUFFERS])
    except (BlockingIOError, InterruptedError):
        return None
    done = 0
    while done < len(output) and left >= len(output[done]):
        left -= len(output[done])
        done += 1
    del output[:done]
    if left:
        output[0] = memoryview(output[0])[left:]
    return count
