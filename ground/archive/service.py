"""archive: follows `receive`'s packets and `monitor`'s events into the store.

Messages are gathered for at most COMMIT_S or COMMIT_OCTETS and stored in one transaction with the
positions they came from; a restart follows both journals from there.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import numpy as np

from ground.archive.decoding import Decoder
from ground.archive.model import Position, Store
from ground.ports import Bus, Clock, Message, Stop
from ground.status import COMPILING, StatusReporter
from ground.warming import settle
from protocols.bus.messages import EventMessage, PacketsMessage, ServiceState, parse
from protocols.errors import RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.telemetry.sampling import sampling_counts, sampling_text

#: Longest time, wall seconds, that a message waits for others to share its transaction.
COMMIT_S = 0.2
#: Between looks for messages while they are few: each look costs as much as a message, and nobody
#: waits for the archive.
LOOK_S = 0.02
#: More than this in one look are not few.
FEW_OCTETS = 1 << 20
#: Octets that fill a transaction at once: bounds memory, and keeps catching up in long strides.
COMMIT_OCTETS = 8 << 20
#: Longest wait for a message: the time it takes to notice a stop.
TURN_S = 0.2
#: Between looks for segments to merge, when there is nothing else to do.
COMPACT_S = 10.0
#: Under which the store keeps what the decoder learnt.
_LEARNT = "dictionary"


class ArchiveService:
    """`packets_from`, `events_from`: the services whose journals are followed."""

    def __init__(
        self,
        store: Store,
        decoder: Decoder,
        bus: Bus,
        clock: Clock,
        *,
        service: str,
        packets_from: str,
        events_from: str,
    ) -> None:
        self._store = store
        self._decoder = decoder
        self._bus = bus
        self._followed = {str(Topic.PACKETS): packets_from, str(Topic.EVENTS): events_from}
        self._status = StatusReporter(service, clock, bus)
        self._pending: list[Message] = []
        self._pending_octets = 0
        self._since_s = 0.0
        self._compacted_s = time.monotonic()
        self._newest_ns: int | None = None
        self._learnt = json.dumps({})
        self._counts: Counter[str] = Counter(commits=0, malformed=0, compactions=0)

    def run(self, stop: Stop) -> None:
        self._status.announce(ServiceState.RECOVERING, COMPILING)
        self._decoder.warm()
        learnt = self._store.recall(_LEARNT)
        if learnt is not None:
            self._decoder.restore(json.loads(learnt))
            self._learnt = learnt
        settle()
        for topic, source in self._followed.items():
            position = self._store.position(topic, source)
            journal, sequence = (position.journal, position.sequence) if position else ("", -1)
            self._bus.follow(topic, source, journal, sequence)
        while not stop():
            self._gather()
            if self._due():
                self._commit()
            if not self._pending and not self._lag():
                self._status.state = ServiceState.RUNNING
                self._compact()
            self._tick()
        # What was received in the meantime is in the journals: it is asked for again.
        self._commit()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    def _gather(self) -> None:
        wait_s = TURN_S
        if self._pending:
            wait_s = max(0.0, self._since_s + COMMIT_S - time.monotonic())
        messages = self._bus.receive(wait_s)
        if messages and not self._pending:
            self._since_s = time.monotonic()
        octets = 0
        for message in messages:
            if message.topic in self._followed:
                self._pending.append(message)
                octets += len(message.body)
        self._pending_octets += octets
        if messages and octets < FEW_OCTETS and not self._lag():
            time.sleep(LOOK_S)

    def _due(self) -> bool:
        waited = time.monotonic() - self._since_s >= COMMIT_S
        return bool(self._pending) and (waited or self._pending_octets >= COMMIT_OCTETS)

    def _lag(self) -> int:
        return sum(position.lag for position in self._bus.positions())

    # ------------------------------------------------------------ storing

    def _commit(self) -> None:
        if not self._pending:
            return
        messages, self._pending, self._pending_octets = self._pending, [], 0
        with self._store.group():
            together: list[tuple[Message, PacketsMessage]] = []
            for message in messages:
                try:
                    if message.topic == Topic.EVENTS:
                        events = parse(EventMessage, message.body)
                        self._store.append_events(_position(message), events.events)
                        continue
                    packets = parse(PacketsMessage, message.body)
                except RemoteError:
                    # A version that we do not know: counted and stepped over, the journal keeps it.
                    self._counts["malformed"] += 1
                    self._step_over(message, together)
                    together = []
                    continue
                if together and not _alike(together[-1], (message, packets)):
                    self._store_packets(together)
                    together = []
                together.append((message, packets))
            self._store_packets(together)
        self._counts["commits"] += 1

    def _step_over(self, message: Message, before: list[tuple[Message, PacketsMessage]]) -> None:
        """The position moves past a message of which nothing can be stored."""
        self._store_packets(before)
        self._store.append_events(_position(message), ())

    def _store_packets(self, together: list[tuple[Message, PacketsMessage]]) -> None:
        """Consecutive messages of one link as one batch: decoding costs by the call."""
        if not together:
            return
        bodies = [body for _, body in together]
        packets = PacketBatch.concatenate([body.packets for body in bodies])
        counts = [len(body.packets) for body in bodies]
        decoded = self._decoder.decode(packets)
        self._store.append(
            _position(together[-1][0]),
            packets,
            stream=bodies[0].link,
            scet_ns=decoded.scet_ns,
            reception_ns=np.repeat([body.reception_ns for body in bodies], counts),
            playback=np.concatenate([body.playback for body in bodies]),
            tables=decoded.tables,
        )
        learnt = json.dumps(self._decoder.snapshot(), separators=(",", ":"))
        if learnt != self._learnt:
            # In one transaction with the position, so that a restart goes on as it would have.
            self._store.remember(_LEARNT, learnt)
            self._learnt = learnt
        self._newest_ns = bodies[-1].reception_ns

    def _compact(self) -> None:
        if time.monotonic() - self._compacted_s < COMPACT_S:
            return
        made = self._store.compact(1)
        self._counts["compactions"] += made
        # Go on at the next turn while there is work; turns are short, so messages do not wait.
        if not made:
            self._compacted_s = time.monotonic()

    def _tick(self, *, now: bool = False) -> None:
        if now or self._status.due:
            sampler = self._decoder.sampler
            counters = {**self._store.counters(), **self._decoder.counts, **self._counts}
            counters |= sampling_counts(sampler)
            if self._status.state is ServiceState.RUNNING or sampler is not None:
                self._status.detail = sampling_text(sampler)
            self._status.tick(counters, newest_ns=self._newest_ns, now=now)


def _position(message: Message) -> Position:
    return Position(message.topic, message.source, message.journal, message.sequence)


def _alike(a: tuple[Message, PacketsMessage], b: tuple[Message, PacketsMessage]) -> bool:
    """Whether two messages may be stored under the position of the second."""
    return a[0].journal == b[0].journal and a[1].link == b[1].link


__all__ = ["ArchiveService"]
