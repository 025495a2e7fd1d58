"""The live stream: each browser gets all there is, and then what has changed.

What has changed is put into JSON once for all of them, by parts.  A browser says with any word that
it has shown what came last, and gets the next after that; what has changed meanwhile is merged by
part.  So no more waits for it than the present itself and the newest events, and what a slow one
shows is no older than it takes to show it.  A script that says nothing gets all at the pace of its
connection.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from ground.console.context import Context
from ground.console.model import RECENT, ms

#: The clock is told at least so often.
CLOCK_S: Final = 2.0
#: Whether somebody is still signed in is asked so often, wall seconds.
SIGNED_IN_S: Final = 2.0
#: Why a stream is closed: sign in again.
NOT_SIGNED_IN: Final = 4401
#: Lists that are added to; everything else replaces what it was.
_LISTS: Final = ("events", "commands")
#: Parameters by packet, receivers by name: each replaces its own.
_BY_NAME: Final = ("parameters", "radios")

Parts = dict[str, Any]


def _parts(changes: dict[str, Any]) -> Parts:
    """The same in JSON, as far apart as it may have to be merged."""

    def encoded(value: Any) -> msgspec.Raw:
        return msgspec.Raw(msgspec.json.encode(value))

    parts: Parts = {}
    for name, value in changes.items():
        if name in _BY_NAME:
            parts[name] = {one: encoded(block) for one, block in value.items()}
        elif name in _LISTS:
            parts[name] = [encoded(one) for one in value]
        else:
            parts[name] = encoded(value)
    return parts


class _Listener:
    """One browser.  sent, shown: messages."""

    def __init__(self) -> None:
        self.sent = self.shown = 0
        self.gone = False
        self.awake = asyncio.Event()
        self._parts: Parts = {}
        self._text: str | None = None

    @property
    def free(self) -> bool:
        """It has shown what it was sent, or never says so."""
        return self.shown in (0, self.sent)

    @property
    def waiting(self) -> bool:
        return bool(self._parts)

    def merge(self, parts: Parts, text: str) -> None:
        self._text = None if self._parts else text
        for name, value in parts.items():
            if name in _BY_NAME:
                self._parts[name] = {**self._parts.get(name, {}), **value}
            elif name in _LISTS:
                self._parts[name] = [*self._parts.get(name, ()), *value][-RECENT:]
            else:
                self._parts[name] = value
        self.awake.set()

    def take(self) -> tuple[Parts, str | None]:
        """What waits, and its text if that is known."""
        taken = self._parts, self._text
        self._parts, self._text = {}, None
        return taken


class Hub:
    """Of all browsers; in the server's event loop."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._listeners: set[_Listener] = set()
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def browsers(self) -> int:
        return len(self._listeners)

    @property
    def paced(self) -> int:
        """Browsers that say what they have shown, and are sent no more than that."""
        return sum(listener.shown > 0 for listener in self._listeners)

    def tell(self, changes: dict[str, Any]) -> None:
        """From the thread that changes the model: nothing in it changes meanwhile."""
        if self.loop is None or not changes or not self._listeners:
            return
        parts = _parts(changes)
        self.loop.call_soon_threadsafe(self._tell, parts, self._text("changes", parts))

    def _tell(self, parts: Parts, text: str) -> None:
        for listener in self._listeners:
            listener.merge(parts, text)

    async def serve(self, socket: WebSocket, signed_in: Callable[[], Awaitable[bool]]) -> None:
        """One browser, until it goes or is not signed in any more: signed out, removed, or with a
        token that was revoked."""
        self.loop = asyncio.get_running_loop()
        await socket.accept()
        listener = _Listener()
        self._listeners.add(listener)
        reading = asyncio.create_task(_hear(socket, listener))
        try:
            with self._context.lock:
                snapshot = self._text("snapshot", self._context.model.snapshot())
            await self._send(socket, listener, snapshot)
            asked_s = time.monotonic()
            while not listener.gone:
                if time.monotonic() - asked_s >= SIGNED_IN_S:
                    asked_s = time.monotonic()
                    if not await signed_in():
                        await socket.close(code=NOT_SIGNED_IN)
                        return
                listener.awake.clear()
                if not (listener.free and listener.waiting):
                    try:
                        await asyncio.wait_for(listener.awake.wait(), CLOCK_S)
                        continue
                    except TimeoutError:
                        if not listener.free:
                            continue
                parts, text = listener.take()
                await self._send(socket, listener, text or self._text("changes", parts))
        except (WebSocketDisconnect, RuntimeError):
            # Gone in the middle of a message.
            pass
        finally:
            self._listeners.discard(listener)
            reading.cancel()

    def _text(self, kind: str, body: dict[str, Any]) -> str:
        message = {"kind": kind, "now": ms(self._context.clock.now_ns()), **body}
        return msgspec.json.encode(message).decode()

    async def _send(self, socket: WebSocket, listener: _Listener, text: str) -> None:
        listener.sent += 1
        await socket.send_text(text)


async def _hear(socket: WebSocket, listener: _Listener) -> None:
    """Browsers say that they have shown what came, and that they go."""
    try:
        while True:
            await socket.receive_text()
            listener.shown = min(listener.shown + 1, listener.sent)
            listener.awake.set()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        listener.gone = True
        listener.awake.set()
