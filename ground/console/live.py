"""The live stream: each browser gets all there is, and then what has changed.

Changes of a browser that is slow are merged until it takes them, so that what waits for it is never
more than the present itself and the newest events.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from ground.console.context import Context
from ground.console.model import RECENT, ms

#: Changes are gathered for so long.
GATHER_S: Final = 0.1
#: The clock is told at least so often.
CLOCK_S: Final = 2.0
#: Lists that are added to; everything else replaces what it was.
_LISTS: Final = ("events", "commands")


class _Listener:
    def __init__(self) -> None:
        self.pending: dict[str, Any] = {}
        self.ready = asyncio.Event()

    def merge(self, changes: dict[str, Any]) -> None:
        for name, value in changes.items():
            if name == "parameters":
                self.pending.setdefault(name, {}).update(value)
            elif name in _LISTS:
                self.pending[name] = [*self.pending.get(name, ()), *value][-RECENT:]
            else:
                self.pending[name] = value
        self.ready.set()


class Hub:
    """Of all browsers; in the server's event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._listeners: set[_Listener] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def browsers(self) -> int:
        return len(self._listeners)

    def tell(self, changes: dict[str, Any]) -> None:
        """From any thread."""
        if self.loop is not None and changes:
            self.loop.call_soon_threadsafe(self._tell, changes)

    def _tell(self, changes: dict[str, Any]) -> None:
        for listener in self._listeners:
            listener.merge(changes)

    async def serve(self, socket: WebSocket) -> None:
        """One browser, until it goes."""
        self.loop = asyncio.get_running_loop()
        await socket.accept()
        listener = _Listener()
        self._listeners.add(listener)
        reading = asyncio.create_task(_drain(socket))
        try:
            with self._context.lock:
                snapshot = self._context.model.snapshot()
            await self._send(socket, "snapshot", snapshot)
            while not reading.done():
                try:
                    await asyncio.wait_for(listener.ready.wait(), CLOCK_S)
                    await asyncio.sleep(GATHER_S)
                except TimeoutError:
                    pass
                pending, listener.pending = listener.pending, {}
                listener.ready.clear()
                await self._send(socket, "changes", pending)
        except (WebSocketDisconnect, RuntimeError):
            # Gone in the middle of a message.
            pass
        finally:
            self._listeners.discard(listener)
            reading.cancel()

    async def _send(self, socket: WebSocket, kind: str, body: dict[str, Any]) -> None:
        message = {"kind": kind, "now": ms(self._context.clock.now_ns()), **body}
        await socket.send_text(msgspec.json.encode(message).decode())


async def _drain(socket: WebSocket) -> None:
    """Browsers say nothing but that they go."""
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
