"""A station and a bus in memory: for tests, and to run a chain in one process.

`LoopbackStation` numbers what is put into it and keeps it until it is acknowledged, as a real
station does; any number of `LoopbackLink`s may be opened on it, one after the other.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping

from ground.ports import (
    BusStatistics,
    Journal,
    LinkChunk,
    LinkState,
    LinkStatistics,
    Message,
    Position,
)
from protocols.bus.envelope import build_envelope, parse_envelope
from protocols.bus.messages import RadiatedMessage, UplinkMessage
from protocols.bus.replay import build_record, parse_record
from protocols.errors import LocalError

#: Chunks kept for a receiver that is away; the oldest go first, and are counted.
MAX_HELD = 4096


class LoopbackStation:
    """The sending end: `put` on one side, a `LoopbackLink` on the other.

    Empties itself only by acknowledgement; `lost_chunks` counts what did not fit.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        self.uplink: list[bytes] = []
        self._fates: dict[str, RadiatedMessage] = {}
        self.present = True
        self.lost_chunks = 0
        self.held: deque[LinkChunk] = deque()
        self._next = 0

    def put(self, octets: bytes, ert_ns: int) -> None:
        self.held.append(LinkChunk(self.stream, self._next, ert_ns, octets))
        self._next += 1
        if len(self.held) > MAX_HELD:
            self.held.popleft()
            self.lost_chunks += 1

    def radiate(self, uplink: UplinkMessage) -> RadiatedMessage:
        """At its earliest time, in no time at all, once."""
        if uplink.id not in self._fates:
            self.uplink.append(uplink.octets)
            at_ns = uplink.earliest_ns
            self._fates[uplink.id] = RadiatedMessage(
                uplink.id, uplink.service, uplink.carrier, at_ns, at_ns
            )
        return self._fates[uplink.id]

    def acknowledge(self, stream: str, sequence: int) -> None:
        while stream == self.stream and self.held and self.held[0].sequence <= sequence:
            self.held.popleft()


class LoopbackLink:
    """See `Link`."""

    def __init__(self, name: str, station: LoopbackStation) -> None:
        self._name = name
        self._station = station
        self._taken: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._radiated: list[RadiatedMessage] = []
        self._last_ert_ns = 0
        self._enabled = True
        self._open = False

    def open(self, resume: dict[str, int]) -> None:
        self._taken = dict(resume)
        self._open = True

    def receive(self, timeout_s: float) -> list[LinkChunk]:
        last = self._taken.get(self._station.stream, -1)
        chunks: list[LinkChunk] = []
        if self.statistics().state is LinkState.OK:
            chunks = [chunk for chunk in self._station.held if chunk.sequence > last]
        if not chunks:
            time.sleep(timeout_s)
            return []
        self._taken[self._station.stream] = chunks[-1].sequence
        self._counts["chunks_in"] += len(chunks)
        self._counts["octets_in"] += sum(len(chunk.octets) for chunk in chunks)
        self._last_ert_ns = max(chunk.ert_ns for chunk in chunks)
        return chunks

    def last(self) -> list[LinkChunk]:
        return []

    def acknowledge(self, stream: str, sequence: int) -> None:
        self._station.acknowledge(stream, sequence)

    def send(self, uplink: UplinkMessage) -> bool:
        if self.statistics().state is not LinkState.OK:
            return False
        self._counts["chunks_out"] += 1
        self._counts["octets_out"] += len(uplink.octets)
        self._radiated.append(self._station.radiate(uplink))
        return True

    def radiated(self) -> list[RadiatedMessage]:
        radiated, self._radiated = self._radiated, []
        return radiated

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def statistics(self) -> LinkStatistics:
        state, detail = LinkState.OK, ""
        if not self._enabled:
            state, detail = LinkState.DISABLED, "by the operator"
        elif not self._open:
            state, detail = LinkState.UNAVAILABLE, "not open"
        elif not self._station.present:
            state, detail = LinkState.UNAVAILABLE, "the station is away"
        return LinkStatistics(
            name=self._name,
            state=state,
            detail=detail,
            last_ert_ns=self._last_ert_ns,
            lost_chunks=self._station.lost_chunks,
            carrier=state is LinkState.OK,
            transmits=True,
            **self._counts,
        )

    def close(self) -> None:
        self._open = False


class LoopbackExchange:
    """What `LoopbackBus`es have in common: the last values and each other."""

    def __init__(self, retained: tuple[str, ...] = ("link", "passes", "status.")) -> None:
        self.retained = retained
        self.last: dict[str, Message] = {}
        self.buses: dict[str, LoopbackBus] = {}


class LoopbackBus:
    """See `Bus`.  Messages go through the envelope's octets, so that what is not sent over a real
    bus is not sent here either."""

    def __init__(
        self, source: str, exchange: LoopbackExchange, journals: Mapping[str, Journal] | None = None
    ) -> None:
        self._source = source
        self._exchange = exchange
        self._journals = dict(journals or {})
        self._prefixes: list[str] = []
        self._followed: dict[tuple[str, str], list[object]] = {}
        self._waiting: deque[Message] = deque()
        self._counts: Counter[str] = Counter()
        exchange.buses[source] = self

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> int:
        journal, identity, sequence = self._journals.get(topic), "", -1
        if journal is not None:
            identity = journal.identity
            sequence = journal.append([build_record(time_ns, body)])
        message = parse_envelope(
            build_envelope(Message(topic, self._source, identity, sequence, time_ns, body))
        )
        if topic.startswith(self._exchange.retained):
            self._exchange.last[topic] = message
        for bus in self._exchange.buses.values():
            bus._deliver(message)
        self._counts["published"] += 1
        self._counts["published_octets"] += len(body)
        return sequence

    def _deliver(self, message: Message) -> None:
        if (message.topic, message.source) not in self._followed and message.topic.startswith(
            tuple(self._prefixes)
        ):
            self._waiting.append(message)

    def sync(self) -> None:
        for journal in self._journals.values():
            journal.sync()

    def subscribe(self, topic_prefix: str) -> None:
        self._prefixes.append(topic_prefix)
        for topic, message in self._exchange.last.items():
            if topic.startswith(topic_prefix):
                self._waiting.append(message)

    def follow(self, topic: str, source: str, journal: str, sequence: int) -> None:
        if sequence < -1 or (not journal and sequence != -1):
            raise LocalError(f"({journal!r}, {sequence}) is not a position in a journal")
        self._followed[topic, source] = [journal, sequence]

    def receive(self, timeout_s: float) -> list[Message]:
        messages = list(self._waiting)
        self._waiting.clear()
        for (topic, source), position in self._followed.items():
            owner = self._exchange.buses.get(source)
            if owner is None:
                continue
            journal = owner._journal(topic)
            if position[0] != journal.identity:
                position[:] = [journal.identity, -1]
            known = position[1]
            assert isinstance(known, int)
            for message in owner.history(topic, known + 1):
                self._counts["lost"] += message.sequence - known - 1
                known = message.sequence
                messages.append(message)
            position[1] = known
        if not messages:
            time.sleep(timeout_s)
        self._counts["received"] += len(messages)
        return messages

    def _journal(self, topic: str) -> Journal:
        if topic not in self._journals:
            raise LocalError(f"{self._source} keeps no journal of {topic!r}")
        return self._journals[topic]

    def last(self, topic: str) -> Message | None:
        journal = self._journal(topic)
        for message in self.history(topic, journal.next_sequence - 1):
            return message
        return None

    def history(self, topic: str, sequence: int) -> Iterator[Message]:
        journal = self._journal(topic)
        sequence = max(sequence, journal.first_sequence)
        while sequence < journal.next_sequence:
            for record in journal.read(sequence, max_octets=1 << 20):
                time_ns, body = parse_record(record.payload)
                sequence = record.sequence + 1
                yield Message(topic, self._source, journal.identity, record.sequence, time_ns, body)

    def positions(self) -> tuple[Position, ...]:
        found: list[Position] = []
        for (topic, source), (journal, sequence) in self._followed.items():
            owner = self._exchange.buses.get(source)
            head = owner._journal(topic).next_sequence - 1 if owner else -1
            assert isinstance(journal, str)
            assert isinstance(sequence, int)
            found.append(Position(topic, source, journal, sequence, head))
        return tuple(found)

    def statistics(self) -> BusStatistics:
        return BusStatistics(**self._counts)

    def close(self) -> None:
        self._exchange.buses.pop(self._source, None)
        for journal in self._journals.values():
            journal.close()
