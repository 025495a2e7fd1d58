"""The console of `tests/ground/console/site.py` behind a real socket, killed and started again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from ground.client import Ground
from ground.console.accounts import Role
from tests.ground.console.site import Console

PATIENCE_S = 20.0


class Served:
    """`console` at `url`; `stop` and `start` again at the same port."""

    def __init__(self, console: Console) -> None:
        self.console = console
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            self.console.app,
            host="127.0.0.1",
            port=self.port,
            log_level="error",
            timeout_graceful_shutdown=10,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + PATIENCE_S
        while not self._server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive()
        self._server = self._thread = None

    def token(self, name: str, role: Role | None = None) -> str:
        """Of a person named like their role."""
        tokens, now_s = self.console.accounts.tokens, self.console.wall_s
        return tokens.make(name, role or Role[name.upper()], "test", days=1, now_s=now_s).secret

    def ground(self, name: str) -> Ground:
        return Ground(self.url, self.token(name))


@contextmanager
def served(console: Console) -> Iterator[Served]:
    one = Served(console)
    try:
        yield one
    finally:
        one.stop()
        console.close()
