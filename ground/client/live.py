"""The present, as it changes: a snapshot first, then what is new, over one WebSocket.

A server that is gone is said to be gone: `connected` is False, and what was known is old.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ground.client.errors import NotReachable, NotSignedIn

#: The server speaks at least every two seconds: after so long without a word it is gone.
SILENCE_S: Final = 7.0
#: Between two attempts, the first and the longest.
AGAIN_S, AGAIN_AT_MOST_S = 0.25, 5.0
#: Events and changes of commands that are kept.
RECENT: Final = 200
#: Lists that are added to; everything else replaces what it was.
_LISTS: Final = ("events", "commands")
#: Parameters by packet, receivers by name: each replaces its own.
_BY_NAME: Final = ("parameters", "radios")


@dataclass(frozen=True, slots=True)
class Value:
    """Newest live value of a parameter.  state: of its limits, "" if it has none; ert, scet,
    since: Unix ms; stale: it has stopped coming, or nobody can know."""

    value: Any
    unit: str
    state: str
    since: float
    scet: float
    ert: float
    stale: bool


@dataclass
class Present:
    """What the console knows now, as the API gives it.

    parameters: by packet definition; radios: by receiver; times in it are Unix milliseconds of the
    ground's clock, which runs `speed` times as fast as the wall.  connected: False: all of it is
    old, since `heard_monotonic_s`.  changed: what the last message was about.
    """

    connected: bool = False
    why: str = ""
    speed: float = 1.0
    now: float = 0.0
    heard_monotonic_s: float = 0.0
    changed: frozenset[str] = frozenset()
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])
    radios: dict[str, Any] = field(default_factory=dict[str, Any])
    events: list[Any] = field(default_factory=list[Any])
    commands: list[Any] = field(default_factory=list[Any])
    alarms: list[Any] = field(default_factory=list[Any])
    services: dict[str, Any] = field(default_factory=dict[str, Any])
    link: Any = None
    passes: Any = None
    time: Any = None
    more: dict[str, Any] = field(default_factory=dict[str, Any])

    def take(self, message: Mapping[str, Any]) -> None:
        """A message of the stream."""
        body = {name: value for name, value in message.items() if name not in ("kind", "now")}
        whole = message["kind"] == "snapshot"
        if whole:
            self.parameters, self.radios, self.events, self.commands = {}, {}, [], []
        self.now, self.heard_monotonic_s = message["now"], time.monotonic()
        self.connected, self.why = True, ""
        self.changed = frozenset(body)
        for name, value in body.items():
            if name in _BY_NAME:
                getattr(self, name).update(value)
            elif name in _LISTS:
                setattr(self, name, [*getattr(self, name), *value][-RECENT:])
            elif name in ("alarms", "services", "link", "passes", "time"):
                setattr(self, name, value)
            else:
                self.more[name] = value

    def lose(self, why: str) -> None:
        self.connected, self.why, self.changed = False, why, frozenset()

    @property
    def now_ms(self) -> float:
        """The ground's clock at this moment."""
        return self.now + (time.monotonic() - self.heard_monotonic_s) * 1e3 * self.speed

    def value(self, name: str) -> Value | None:
        """Of a parameter; None: it has not been heard of."""
        found: Value | None = None
        for block in self.parameters.values():
            if name in block["values"] and (found is None or block["scet"] > found.scet):
                value, unit, state, since = block["values"][name]
                stale = block["stale"] or not self.connected
                found = Value(value, unit, state, since, block["scet"], block["ert"], stale)
        return found


async def follow(
    url: str,
    headers: Mapping[str, str],
    speed: Callable[[], float],
    *,
    reconnect: bool,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[Present, None]:
    """The same `Present` again and again, whenever it has changed or the server is lost.

    speed: asks the server how fast its clock runs, in a thread.  reconnect: try for ever; else it
    ends with the connection.  Raises NotSignedIn.
    """
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidHandshake, InvalidStatus, WebSocketException

    present = Present()
    wait_s = AGAIN_S
    while True:
        try:
            present.speed = await asyncio.to_thread(speed)
            async with connect(url, additional_headers=headers, max_size=None, ssl=tls) as socket:
                while True:
                    text = await asyncio.wait_for(socket.recv(), SILENCE_S)
                    present.take(json.loads(text))
                    wait_s = AGAIN_S
                    yield present
                    # Any word says that it was shown: what comes next is then no older than that.
                    await socket.send("shown")
        except InvalidStatus as error:
            if error.response.status_code in (401, 403):
                raise NotSignedIn("sign in, or give a token", status=401, call=url) from error
            present.lose(f"{url}: {error}")
        except NotReachable as error:
            present.lose(str(error))
        except TimeoutError:
            present.lose(f"{url} has been silent for {SILENCE_S:.0f} s")
        except (OSError, WebSocketException, InvalidHandshake) as error:
            present.lose(f"{url}: {error}")
        yield present
        if not reconnect:
            return
        await asyncio.sleep(wait_s)
        wait_s = min(2 * wait_s, AGAIN_AT_MOST_S)
