"""mqtt_bridge: tells a broker what the bus says; hears nothing from it.

Journals of QoS 1 topics are followed, and their positions kept, as far as the broker has
acknowledged.  While it is away, or slower than we are, nothing is taken from the bus: the journals
keep it.  Live topics are states, of which a new connection says the last again, or QoS 0.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final, NoReturn

import aiomqtt

from ground.config import COMMAND, MONITOR
from ground.mqtt_bridge.outbox import Entry, Outbox, Publication
from ground.mqtt_bridge.publications import Publisher
from ground.mqtt_bridge.settings import BrokerSettings
from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.status import StatusReporter
from protocols.bus.messages import ServiceState
from protocols.errors import RemoteError
from protocols.identifiers import Topic

#: Longest wait for the bus, wall seconds.
TURN_S: Final = 0.03
#: Publications on their way at once; mosquitto takes 20 of QoS 1 from one client unless it is told
#: otherwise, and lets the others wait in the socket.
WINDOW: Final = 20
#: Publications that may wait here; beyond them nothing is taken from the bus.
MAX_WAITING: Final = 1_000
#: Between tries to connect, and between snapshots, wall seconds.
RETRY_S: Final = (0.2, 5.0)
SNAPSHOT_S: Final = 0.5
#: A broker that says nothing for so long has gone: to an acknowledgement, to a ping.  Nothing is
#: lost by waiting; ten seconds ended connections to brokers that were only slow.
TIMEOUT_S: Final = 30.0
KEEPALIVE_S: Final = 30
#: For the last word, and for the broker to take leave.
FAREWELL_S: Final = 3.0

STATE_VERSION: Final = 1

#: Topic of the tree → (topic of the bus, who journals it; "": nobody, it is live).
SOURCES: Final = {
    "events": (Topic.EVENTS, MONITOR),
    "alarms": (Topic.EVENTS, MONITOR),
    "commands": (Topic.COMMANDS, COMMAND),
    "link": (Topic.LINK, ""),
    "passes": (Topic.PASSES, ""),
    "time": (Topic.TIME, ""),
    "status": (Topic.STATUS, ""),
}

#: A place in the outbox and what stands there; no place: nobody asks whether it came.
Item = tuple[tuple[Entry, int] | None, Publication]


class MqttBridge:
    """state: positions and alarms that the broker has acknowledged."""

    def __init__(
        self, settings: BrokerSettings, bus: Bus, clock: Clock, state: StateStore, *, service: str
    ) -> None:
        self._settings = settings
        self._tls = settings.tls_context()
        self._publisher = Publisher(settings)
        self._outbox = Outbox()
        self._bus = bus
        self._state = state
        self._status = StatusReporter(service, clock, bus)
        self._followed = {topic for topic, source in self._topics() if source}
        self._queue: asyncio.Queue[Item] = asyncio.Queue()
        self._connected = False
        self._connections = self._published = self._malformed = 0
        self._saved: dict[str, tuple[str, int]] = {}
        self._saved_s = 0.0

    def _topics(self) -> set[tuple[str, str]]:
        telemetry_source = MONITOR if self._settings.telemetry_qos else ""
        sources = {"telemetry": (Topic.PARAMETERS, telemetry_source), **SOURCES}
        return {sources[topic] for topic in self._settings.topics}

    def run(self, stop: Stop) -> None:
        asyncio.run(self._run(stop))

    async def _run(self, stop: Stop) -> None:
        self._status.announce(ServiceState.WAITING, f"connecting to {self._address}")
        self._recover()
        for topic, source in sorted(self._topics()):
            if source:
                position = self._outbox.positions.get(topic, ("", -1))
                self._bus.follow(topic, source, *position)
            else:
                self._bus.subscribe(topic)
        session: asyncio.Task[NoReturn] | None = None
        retry_s, retry_at = RETRY_S[0], 0.0
        while not stop():
            if session is None and time.monotonic() >= retry_at:
                session = asyncio.create_task(self._session())
            if session is not None and session.done():
                # Soon at first, so that a broker that was restarted misses little; then rarely.
                retry_s = RETRY_S[0] if self._connected else min(2 * retry_s, RETRY_S[1])
                retry_at = time.monotonic() + retry_s
                self._away(session)
                session = None
            messages: list[Message] = []
            if self._connected and self._queue.qsize() < MAX_WAITING:
                messages = self._bus.receive(0)
                for message in messages:
                    self._take(message)
            self._save(wait=False)
            self._tick()
            await asyncio.sleep(0 if messages else TURN_S)
        if session is not None:
            session.cancel()
            await asyncio.wait([session])
        self._save(wait=True)
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    # ------------------------------------------------------------ from the bus

    def _take(self, message: Message) -> None:
        try:
            made = self._publisher.publications(message)
        except RemoteError:
            # A version that we do not know: counted and stepped over, the journal keeps it.
            self._malformed += 1
            made = []
        if message.topic in self._followed:
            entry = self._outbox.add(message.topic, message.journal, message.sequence, made)
            for number, publication in enumerate(made):
                self._queue.put_nowait(((entry, number), publication))
            return
        for publication in made:
            if self._outbox.tell(publication):
                self._queue.put_nowait((None, publication))

    # ------------------------------------------------------------ to the broker

    @property
    def _address(self) -> str:
        return f"{self._settings.host}:{self._settings.port}"

    def _client(self) -> aiomqtt.Client:
        settings, will = self._settings, self._publisher.online(False)
        logger = logging.getLogger("mqtt")
        logger.setLevel(logging.ERROR)
        return aiomqtt.Client(
            settings.host,
            settings.port,
            username=settings.user or None,
            password=settings.password or None,
            # The same always: a connection of ours that the broker still believes in ends when we
            # connect, and its will comes before our "online", not minutes after.
            identifier=f"l4r-{settings.mission}-{settings.node}-bridge",
            # What was not acknowledged is in the outbox; a session there would keep it twice.
            clean_session=True,
            will=aiomqtt.Will(will.topic, will.payload, qos=will.qos, retain=True),
            tls_context=self._tls,
            timeout=TIMEOUT_S,
            keepalive=KEEPALIVE_S,
            max_inflight_messages=WINDOW,
            logger=logger,
        )

    async def _session(self) -> NoReturn:
        """One connection, until it is lost (MqttError) or cancelled."""
        self._queue = queue = asyncio.Queue()
        async with self._client() as client:
            self._connections += 1
            try:
                async with asyncio.TaskGroup() as tasks:
                    await _publish(client, self._publisher.online(True))
                    for publication in self._outbox.to_repeat():
                        queue.put_nowait((None, publication))
                    for entry, number in self._outbox.unsaid():
                        queue.put_nowait(((entry, number), entry.publications[number]))
                    self._connected = True
                    for _ in range(WINDOW):
                        tasks.create_task(self._send(client, queue))
                    # We subscribe to nothing: this only ends, by MqttError, with the connection.
                    async for _ in client.messages:
                        pass
            except asyncio.CancelledError:
                # Who waits for a broker that does not answer would be ended by the watchdog.
                client.timeout = FAREWELL_S
                await _publish(client, self._publisher.online(False))
                raise
        raise aiomqtt.MqttError("the connection has ended")

    async def _send(self, client: aiomqtt.Client, queue: asyncio.Queue[Item]) -> None:
        """One of those that publish: each takes the next and hands it to the socket in one step, so
        that the queue's order is the connection's; then it waits for the acknowledgement."""
        task = asyncio.current_task()
        assert task is not None
        # Not for ever: before Python 3.12 `wait_for`, in `publish`, forgets that it was cancelled
        # when what it waits for comes at the same instant.
        while not task.cancelling():
            place, publication = await queue.get()
            await _publish(client, publication)
            self._published += 1
            if place is not None:
                self._outbox.acknowledge(*place)

    def _away(self, session: asyncio.Task[NoReturn]) -> None:
        """Why the connection ended is said; what is no fault of the broker's is raised."""
        error: BaseException | None = session.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if not isinstance(error, aiomqtt.MqttError | OSError):
            raise error or AssertionError("a session has no end of its own")
        self._connected = False
        self._queue = asyncio.Queue()
        self._status.state = ServiceState.WAITING
        self._status.detail = f"no broker at {self._address}: {error}"

    # ------------------------------------------------------------ positions and status

    def _recover(self) -> None:
        state = self._state.load()
        if not state or state.get("version") != STATE_VERSION or state["base"] != self._base:
            return
        self._saved = {topic: (journal, n) for topic, journal, n in state["positions"]}
        self._outbox.positions.update(self._saved)
        for topic, payload in state["alarms"]:
            self._outbox.states[topic] = Publication(topic, payload, 1, True)

    @property
    def _base(self) -> str:
        """Positions are of one broker and tree: another is told from the journals' start."""
        return f"{self._address} {self._settings.base}"

    def _save(self, *, wait: bool) -> None:
        positions = self._outbox.positions
        now_s = time.monotonic()
        if positions == self._saved or not (wait or now_s - self._saved_s >= SNAPSHOT_S):
            return
        self._saved, self._saved_s = dict(positions), now_s
        alarms = f"{self._settings.base}/alarms/"
        self._state.save(
            {
                "version": STATE_VERSION,
                "base": self._base,
                "positions": [[topic, *position] for topic, position in positions.items()],
                "alarms": [
                    [topic, state.payload]
                    for topic, state in self._outbox.states.items()
                    if topic.startswith(alarms)
                ],
            },
            wait=wait,
        )

    def _tick(self, *, now: bool = False) -> None:
        if not (now or self._status.due):
            return
        if self._connected and not now:
            self._status.state = ServiceState.RUNNING
            self._status.detail = f"{self._published:,} messages to {self._address}"
        self._status.tick(
            {
                "published": self._published,
                "acknowledged": self._outbox.acknowledged,
                "waiting": self._queue.qsize(),
                "unacknowledged": len(self._outbox),
                "connections": self._connections,
                "malformed": self._malformed,
            },
            now=now,
        )


async def _publish(client: aiomqtt.Client, publication: Publication) -> None:
    """Returns when the broker has acknowledged (QoS 1), or the socket has taken it (QoS 0)."""
    client.pending_calls_threshold = WINDOW + 1
    await client.publish(
        publication.topic, publication.payload, qos=publication.qos, retain=publication.state
    )
