"""What a service tells who supervises it, in systemd's protocol (sd_notify(3)): datagrams of
`VARIABLE=value` lines to the Unix socket that NOTIFY_SOCKET names; `@` stands for an abstract one.

`l4 run` speaks the same protocol from the other end (`ground/supervisor.py`).
"""

from __future__ import annotations

import os
import socket


class Notifier:
    """`tell` does nothing where nobody supervises, and never waits: a supervisor that does not
    read must not hold up what it supervises."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) if address else None
        if self._socket is not None:
            self._socket.setblocking(False)

    def tell(self, *lines: str) -> bool:
        """Whether it was handed over."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            # Full, or its other end is being restarted: the next one, a second later, will do.
            return False
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
