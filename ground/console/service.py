"""console: the process. The bus has a thread, the server the event loop."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import uvicorn

from ground.console.alarms import AlarmState
from ground.console.app import make_app
from ground.console.context import TOPICS, Context
from ground.console.limits import (
    MAX_HEAD_OCTETS,
    MAX_SOCKET_OCTETS,
    HttpLimits,
    bounded_http,
    bounded_loop,
    bounded_sockets,
)
from ground.console.listener import Listener
from ground.ports import Bus, StateStore, Stop
from ground.status import StatusReporter
from protocols.bus.messages import ServiceState, Severity
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic

TURN_S: Final = 0.05
#: Browsers are told of changes at most so often; of the first at once.
GATHER_S: Final = 0.075
#: Alarms are kept at least so often, wall seconds, and whenever somebody has done something.
KEEP_S: Final = 2.0
STATE_VERSION: Final = 1
_LIMITS: Final = HttpLimits()


def server_config(
    app: Any, listener: Listener, limits: HttpLimits = _LIMITS, **more: Any
) -> uvicorn.Config:
    """How the console is served; more: as uvicorn's."""
    return uvicorn.Config(
        app,
        **listener.uvicorn,
        # What it warns of goes where ours does (`ground.logs`), in the form that was asked for.
        log_config=None,
        log_level="warning",
        server_header=False,
        http=bounded_http(limits),
        ws_max_size=MAX_SOCKET_OCTETS,
        ws_per_message_deflate=True,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=MAX_HEAD_OCTETS,
        **more,
    )


def limits_of(listener: Listener, limits: HttpLimits = _LIMITS) -> HttpLimits:
    """Behind a proxy all connections are the proxy's."""
    return replace(limits, per_address=0) if listener.behind_proxy else limits


class ConsoleService:
    """state: alarms, and how far the events were heard; setup_file: where the set-up link is put
    while nobody can sign in."""

    def __init__(
        self,
        context: Context,
        bus: Bus,
        state: StateStore,
        *,
        service: str,
        events_from: str,
        listener: Listener,
        setup_file: Path,
        version: str,
    ) -> None:
        self._context = context
        self._bus = bus
        self._state = state
        self._events_from = events_from
        self._listener = listener
        self._setup_file = setup_file
        self._app = make_app(context, version)
        self._status = StatusReporter(service, context.clock, bus)
        self._position: tuple[str, int] = ("", -1)
        self._malformed = 0
        self._kept_s = self._told_s = 0.0
        self._kept: dict[str, Any] | None = None
        # An older state must not replace a newer; whoever finds it kept by another need not wait.
        self._keeping = threading.Lock()
        self._failed: Exception | None = None
        context.keep = self._keep

    def run(self, stop: Stop) -> None:
        self._restore()
        thread = threading.Thread(target=self._serve_bus, args=(stop,), name="bus", daemon=True)
        limits, at = limits_of(self._listener), self._listener
        server = uvicorn.Server(server_config(self._app, at, limits))
        try:
            sockets = bounded_sockets(at.host, at.port, limits)
        except OSError as error:
            raise LocalError(
                f"console: cannot listen at {at.host}:{at.port}: {error.strerror}"
            ) from error
        thread.start()
        with asyncio.Runner(loop_factory=lambda: bounded_loop(limits)) as runner:
            runner.run(self._serve(server, sockets, stop))
        thread.join(10)
        if self._failed is not None:
            raise self._failed
        self._keep()

    async def _serve(
        self, server: uvicorn.Server, sockets: list[socket.socket], stop: Stop
    ) -> None:
        self._app.state.hub.loop = asyncio.get_running_loop()
        serving = asyncio.create_task(server.serve(sockets=sockets))
        while not server.started and not serving.done():
            await asyncio.sleep(0.02)
        # Whoever finds the link may open it.
        self._tell_setup()
        while not stop() and not serving.done() and self._failed is None:
            await asyncio.sleep(0.1)
        server.should_exit = True
        await serving

    def _tell_setup(self) -> None:
        """The one-time link, in a file that its owner alone can read."""
        token = self._context.accounts.setup_token(self._context.wall_s())
        if token is None:
            self._setup_file.unlink(missing_ok=True)
            return
        self._setup_file.parent.mkdir(parents=True, exist_ok=True)
        self._setup_file.touch(mode=0o600)
        self._setup_file.write_text(f"{self._listener.url}/setup#{token}\n")

    # The bus -------------------------------------------------------------------------------------

    def _restore(self) -> None:
        state = self._state.load()
        if state and state.get("version") == STATE_VERSION:
            self._position = (state["journal"], state["sequence"])
            model = self._context.model
            model.alarms = type(model.alarms)(state["alarms"])
            model.stale = set(state["stale"])

    def _keep(self) -> None:
        """To disk, if it is not what was kept last.  OSError: what was kept last still is."""
        model = self._context.model
        with self._keeping:
            self._kept_s = time.monotonic()
            with self._context.lock:
                state: dict[str, Any] = {
                    "version": STATE_VERSION,
                    "journal": self._position[0],
                    "sequence": self._position[1],
                    "alarms": model.alarms.kept(),
                    "stale": sorted(model.stale),
                }
                model.alarms.changed.clear()
            if state != self._kept:
                self._state.save(state)
                self._kept = state

    def _serve_bus(self, stop: Stop) -> None:
        try:
            self._follow_bus(stop)
        except Exception as error:  # noqa: BLE001 - raised again by `run`
            # Pages without a bus would show a past that looks like now.
            self._failed = error

    def _follow_bus(self, stop: Stop) -> None:
        self._bus.follow(Topic.EVENTS, self._events_from, *self._position)
        for topic in TOPICS:
            self._bus.subscribe(topic)
        self._status.state = ServiceState.RUNNING
        while not stop():
            self._turn()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    def _turn(self) -> None:
        model, now_ns = self._context.model, self._context.clock.now_ns
        due_s = self._told_s + GATHER_S - time.monotonic()
        messages = self._bus.receive(min(TURN_S, max(0.0, due_s)) if model.changed else TURN_S)
        with self._context.lock:
            for message in messages:
                try:
                    model.take(message, now_ns())
                except RemoteError:
                    self._malformed += 1
                if message.topic == Topic.EVENTS and message.journal:
                    self._position = (message.journal, message.sequence)
            model.alarms.tick(now_ns())
            changed = bool(model.alarms.changed)
            if changed:
                model.alarms_changed()
        if model.changed and time.monotonic() - self._told_s >= GATHER_S:
            self._told_s = time.monotonic()
            with self._context.lock:
                changes = model.changes(self._told_s)
            self._app.state.hub.tell(changes)
        if changed or time.monotonic() - self._kept_s >= KEEP_S:
            self._keep()
        self._tick()

    def _tick(self, *, now: bool = False) -> None:
        if not (now or self._status.due):
            return
        browsers = self._app.state.hub.browsers
        shown = self._context.model.alarms.shown
        states = Counter(one.state for one in shown)
        counters = {f"alarms_{state}": states[state] for state in AlarmState if state != "normal"}
        counters["alarms_critical"] = sum(one.severity == Severity.CRITICAL for one in shown)
        for name, radio in self._context.model.radios.items():
            counters[f"frame_lock {name}"] = int(radio["frame_lock"])
            if radio["ebn0_db"] is not None:
                counters[f"ebn0_millidecibels {name}"] = round(radio["ebn0_db"] * 1e3)
        self._status.detail = f"{self._listener.url}, {browsers} looking"
        counters |= {"refused": self._context.accounts.refused, "malformed": self._malformed}
        self._status.tick({"browsers": browsers, **counters}, now=now)
