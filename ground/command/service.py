"""command: the process around `CommandEngine`, with bus, operators' socket and clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from ground.answering import CallServer
from ground.command.engine import CommandEngine
from ground.ports import Bus, Clock, Message, Stop
from ground.status import StatusReporter
from protocols.bus.messages import (
    BusMessage,
    CommandMessage,
    LinkMessage,
    OcfMessage,
    PacketsMessage,
    ParametersMessage,
    PassesMessage,
    RadiatedMessage,
    ServiceState,
    parse,
)
from protocols.errors import RemoteError
from protocols.identifiers import Topic

#: Longest wait for the bus: what an operator asks is answered as late.
TURN_S: Final = 0.03
#: A radiation whose fate is unknown is said again so often, wall seconds.
REPEAT_S: Final = 2.0
#: How far was heard is kept at least so often, wall seconds.
POSITION_S: Final = 5.0


class CommandService:
    """source: `receive`'s name on the bus."""

    def __init__(
        self,
        engine: CommandEngine,
        bus: Bus,
        clock: Clock,
        server: CallServer,
        *,
        service: str,
        source: str,
    ) -> None:
        self._engine = engine
        self._bus = bus
        self._clock = clock
        self._server = server
        self._service = service
        self._source = source
        self._status = StatusReporter(service, clock, bus)
        self._newest_ns: int | None = None
        self._malformed = 0
        self._takes: dict[str, Callable[[int, Message], None]] = {
            Topic.PACKETS: self._packets,
            Topic.PARAMETERS: lambda now_ns, m: engine.hear_parameters(
                parse(ParametersMessage, m.body)
            ),
            Topic.PASSES: lambda now_ns, m: engine.hear_passes(parse(PassesMessage, m.body)),
            Topic.LINK: lambda now_ns, m: engine.hear_link(parse(LinkMessage, m.body)),
            Topic.OCF: lambda now_ns, m: engine.hear_ocf(now_ns, parse(OcfMessage, m.body)),
            Topic.RADIATED: self._radiated,
        }

    def run(self, stop: Stop) -> None:
        self._status.announce(ServiceState.RECOVERING, "")
        told = self._bus.last(Topic.COMMANDS)
        self._engine.recover_changes(parse(CommandMessage, told.body) if told else None)
        self._bus.follow(Topic.PACKETS, self._source, *self._engine.position)
        for topic in self._takes:
            if topic != Topic.PACKETS:
                self._bus.subscribe(topic)
        repeat_s = position_s = 0.0
        self._status.state = ServiceState.RUNNING
        while not stop():
            for message in self._bus.receive(TURN_S):
                take = self._takes.get(message.topic)
                if take is None:
                    continue
                try:
                    take(self._clock.now_ns(), message)
                except RemoteError:
                    self._malformed += 1
            self._server.turn(self._asked)
            self._engine.turn(self._clock.now_ns())
            self._tell()
            wall_s = time.monotonic()
            if wall_s - repeat_s >= REPEAT_S:
                repeat_s = wall_s
                for message in self._engine.unanswered():
                    self._publish(Topic.UPLINK, message, message.earliest_ns)
            if wall_s - position_s >= POSITION_S:
                position_s = wall_s
                self._engine.save_position()
            self._tick()
        self._engine.save_position()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    def _asked(self, key: str, operation: str, arguments: dict[str, Any]) -> Any:
        return self._engine.operate(self._clock.now_ns(), key, operation, arguments)

    def _packets(self, now_ns: int, message: Message) -> None:
        packets = parse(PacketsMessage, message.body)
        self._newest_ns = packets.reception_ns
        self._engine.hear_packets(now_ns, packets, message.journal, message.sequence)

    def _radiated(self, now_ns: int, message: Message) -> None:
        fate = parse(RadiatedMessage, message.body)
        if fate.service == self._service:
            self._engine.hear_radiated(now_ns, fate)

    def _tell(self) -> None:
        for message in self._engine.to_radiate():
            self._publish(Topic.UPLINK, message, message.earliest_ns)
        for change in self._engine.changes():
            self._publish(Topic.COMMANDS, change, change.time_ns)

    def _publish(self, topic: str, message: BusMessage, time_ns: int) -> None:
        self._bus.publish(topic, message.build(), time_ns=time_ns)

    def _tick(self, *, now: bool = False) -> None:
        if not (now or self._status.due):
            return
        counters = self._engine.counters
        cop = self._engine.link_listing()["state"]
        detail = f"{counters['under_way']} under way, COP-1 {cop.lower()}"
        self._status.detail = self._engine.resync_text() or detail
        self._status.tick(
            {**counters, "malformed": self._malformed}, newest_ns=self._newest_ns, now=now
        )
