"""`Bus` over ZeroMQ: PUB and SUB to the broker for speed, the journals for exactness.

Three kinds of socket, all owned by the caller's thread and used only inside its calls:

    PUB, SUB      to the broker; every high-water mark is finite, so both may drop
    ROUTER        answers for this service's journals (`protocols/bus/replay.py`)
    DEALER        one to each service whose journal is followed
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import zmq

from ground.curve import Curve, user_of
from ground.keyring import Keyring
from ground.ports import BusStatistics, Journal, Message, Position
from protocols.bus.access import Door
from protocols.bus.envelope import MAX_BODY_OCTETS, build_envelope, parse_envelope
from protocols.bus.follower import Follower
from protocols.bus.messages import StatusMessage, parse
from protocols.bus.replay import (
    MAX_REPLY_OCTETS,
    MAX_REPLY_RECORDS,
    PullReply,
    build_data,
    build_pull,
    build_record,
    parse_data,
    parse_pull,
    parse_record,
)
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic

#: Messages that a socket may hold.  Bodies are about 1 MiB at most in bulk, so this bounds a
#: socket near 256 MiB at the very worst, and rides out a second of a busy receiver's absence.
HIGH_WATER_MARK = 256
#: Handed to the caller at once; what remains waits in the socket.
MAX_RECEIVED = 256
#: Octets of bodies after which no more is handed over: a service that is behind works in strides
#: short enough to say how it is in between, and holds no more than this.
MAX_RECEIVED_OCTETS = 8 << 20
#: Requests answered in one turn: a crowd of followers must not starve the service itself.
MAX_SERVED = 4
#: So much of a journal a power failure can take.  It is made again from the log before it.
SYNC_S = 0.25
MAX_MESSAGE_OCTETS = MAX_BODY_OCTETS + 4096


def make_socket(context: zmq.Context[zmq.Socket[bytes]], kind: int) -> zmq.Socket[bytes]:
    """Socket with the bounds that all of ours share."""
    socket = context.socket(kind)
    socket.set_hwm(HIGH_WATER_MARK)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE_OCTETS)
    socket.setsockopt(zmq.RECONNECT_IVL, 50)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
    return socket


@dataclass
class _Source:
    """A service whose journals we follow: its socket and a follower for each topic."""

    socket: zmq.Socket[bytes]
    followers: dict[str, Follower] = field(default_factory=dict)


class ZmqBus:
    """See `Bus`.

    source: name of the publishing service, in every message.
    bus_in, bus_out: the broker's endpoints.
    journals: topic → journal; those topics are journaled.
    replay_endpoint: where this service answers for its journals ("" if it has none).
    replay_endpoints: service → such an endpoint of others.
    publishes: False for who only looks, and need not be let in to publish.
    keyring: our keys; None: loopback alone.
    sync: the disk gets the journals in passing, every `SYNC_S`.
    observe: called with each message published, in the caller's thread.
    needed_by: topic of a journal → services that must have finished a record before it may be
        forgotten; how far each is, it says in its status.

    Raises LocalError if `replay_endpoint` is taken, or an endpoint is not loopback and there are no
    keys.
    """

    def __init__(
        self,
        source: str,
        *,
        bus_in: str,
        bus_out: str,
        journals: Mapping[str, Journal] | None = None,
        replay_endpoint: str = "",
        replay_endpoints: Mapping[str, str] | None = None,
        publishes: bool = True,
        keyring: Keyring | None = None,
        bus: str = "bus",
        sync: bool = True,
        observe: Callable[[Message], None] | None = None,
        needed_by: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self._source = source
        self._observe = observe
        self._journals = dict(journals or {})
        self._sync = sync
        self._replay_endpoints = dict(replay_endpoints or {})
        self._counts: Counter[str] = Counter()
        self._prefixes: list[str] = []
        self._sources: dict[str, _Source] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._pub = make_socket(self._context, zmq.PUB)
        # What was published last, "stopped" among it, goes out before a clean end.
        self._pub.setsockopt(zmq.LINGER, 200)
        self._sub = make_socket(self._context, zmq.SUB)
        self._poller.register(self._sub, zmq.POLLIN)
        self._router: zmq.Socket[bytes] | None = None
        try:
            self._curve = Curve(self._context, keyring)
            if publishes:
                self._curve.connect(self._pub, bus_in, bus)
            self._curve.connect(self._sub, bus_out, bus)
            if self._journals and replay_endpoint:
                self._router = make_socket(self._context, zmq.ROUTER)
                try:
                    self._curve.bind(self._router, replay_endpoint, Door.REPLAY)
                except zmq.ZMQError as error:
                    raise LocalError(f"{source}: cannot bind {replay_endpoint}: {error}") from error
                self._poller.register(self._router, zmq.POLLIN)
        except LocalError:
            self._close_sockets(linger_ms=0)
            for journal in self._journals.values():
                journal.close()
            raise
        # By journal, the first record that each has not finished; all, until it says so.
        self._unfinished = {
            topic: dict.fromkeys(services, 0)
            for topic, services in (needed_by or {}).items()
            if topic in self._journals and services
        }
        for topic, services in self._unfinished.items():
            self._journals[topic].needed = 0
            for service in services:
                self._sub.setsockopt(zmq.SUBSCRIBE, f"{Topic.STATUS}.{service}".encode())
        self._closing = threading.Event()
        self._sync_failed: OSError | None = None
        self._syncing = threading.Thread(target=self._sync_in_passing, name="sync", daemon=True)
        if sync and self._journals:
            self._syncing.start()

    # ------------------------------------------------------------ publishing

    def _sync_in_passing(self) -> None:
        done: dict[str, int] = {}
        while not self._closing.wait(SYNC_S):
            for topic, journal in self._journals.items():
                if (end := journal.next_sequence) == done.get(topic):
                    continue
                try:
                    journal.sync()
                except OSError as error:
                    self._sync_failed = error
                    return
                done[topic] = end

    def sync(self) -> None:
        if self._sync:
            for journal in self._journals.values():
                journal.sync()

    def publish(self, topic: str, body: bytes, *, time_ns: int) -> int:
        journal = self._journals.get(topic)
        identity, sequence = "", -1
        if journal is not None:
            if self._sync_failed is not None:
                raise self._sync_failed
            identity = journal.identity
            sequence = journal.append([build_record(time_ns, body)])
        message = Message(topic, self._source, identity, sequence, time_ns, body)
        self._pub.send_multipart(build_envelope(message), copy=len(body) < 65_536)
        self._counts["published"] += 1
        self._counts["published_octets"] += len(body)
        if self._observe is not None:
            self._observe(message)
        return sequence

    def last(self, topic: str) -> Message | None:
        journal = self._journal(topic)
        for message in self.history(topic, journal.next_sequence - 1):
            return message
        return None

    def history(self, topic: str, sequence: int) -> Iterator[Message]:
        journal = self._journal(topic)
        while sequence < journal.next_sequence:
            before = sequence
            for record in journal.read(sequence, max_octets=MAX_REPLY_OCTETS):
                time_ns, body = parse_record(record.payload)
                yield Message(topic, self._source, journal.identity, record.sequence, time_ns, body)
                sequence = record.sequence + 1
            if sequence == before:
                return

    def _journal(self, topic: str) -> Journal:
        if topic not in self._journals:
            raise LocalError(f"{self._source} keeps no journal of {topic!r}")
        return self._journals[topic]

    # ------------------------------------------------------------ receiving

    def subscribe(self, topic_prefix: str) -> None:
        self._prefixes.append(topic_prefix)
        self._sub.setsockopt(zmq.SUBSCRIBE, topic_prefix.encode())

    def follow(self, topic: str, source: str, journal: str, sequence: int) -> None:
        if source not in self._replay_endpoints:
            known = ", ".join(self._replay_endpoints) or "none"
            raise LocalError(f"{source} keeps no journals that we know of; {known} do")
        follower = Follower(topic, source, journal, sequence)
        if source not in self._sources:
            socket = make_socket(self._context, zmq.DEALER)
            # Requests to a service that is away wait in the socket: few, since each is answered
            # when it comes back.  (Not ZMQ_IMMEDIATE: see zmq_link.py.)
            socket.setsockopt(zmq.SNDHWM, 2)
            self._curve.connect(socket, self._replay_endpoints[source], source)
            self._poller.register(socket, zmq.POLLIN)
            self._sources[source] = _Source(socket)
        self._sources[source].followers[topic] = follower
        self._sub.setsockopt(zmq.SUBSCRIBE, topic.encode())

    def receive(self, timeout_s: float) -> list[Message]:
        end_ns = time.monotonic_ns() + round(timeout_s * 1e9)
        self._curve.refresh()
        while True:
            messages = self._drain()
            now_ns = time.monotonic_ns()
            wake_ns = self._ask(now_ns, end_ns)
            if messages or now_ns >= end_ns:
                self._counts["received"] += len(messages)
                return messages
            # Rounded up: waking a little early would spin through the last millisecond.
            self._poller.poll(max(0, -(-(wake_ns - now_ns) // 1_000_000)))

    def _ask(self, now_ns: int, end_ns: int) -> int:
        """Send the requests that are due; when to wake for the next."""
        wake_ns = end_ns
        for source in self._sources.values():
            for follower in source.followers.values():
                # Asked only when there is room for the request: it counts as asked from then on.
                if not source.socket.getsockopt(zmq.EVENTS) & zmq.POLLOUT:  # type: ignore[operator]
                    wake_ns = min(wake_ns, now_ns + 50_000_000)
                    continue
                request = follower.request(now_ns)
                if request is not None:
                    source.socket.send_multipart(build_pull(request), zmq.NOBLOCK)
                wake_ns = min(wake_ns, follower.deadline_ns(now_ns))
        return wake_ns

    def _drain(self) -> list[Message]:
        self._serve()
        messages: list[Message] = []
        octets = 0
        now_ns = time.monotonic_ns()

        def room() -> bool:
            return len(messages) < MAX_RECEIVED and octets < MAX_RECEIVED_OCTETS

        for source in self._sources.values():
            while room() and (parts := _next(source.socket)) is not None:
                octets += sum(map(len, parts))
                try:
                    reply, records = parse_data(parts)
                except RemoteError:
                    self._counts["malformed"] += 1
                    continue
                follower = source.followers.get(reply.topic)
                if follower is not None:
                    messages += follower.reply(reply, records, now_ns)
        while room() and (parts := _next(self._sub)) is not None:
            octets += sum(map(len, parts))
            try:
                message = parse_envelope(parts)
            except RemoteError:
                self._counts["malformed"] += 1
                continue
            if self._unfinished and message.topic == f"{Topic.STATUS}.{message.source}":
                self._note_finished(message)
            source = self._sources.get(message.source)
            follower = source.followers.get(message.topic) if source else None
            if follower is not None and message.journal:
                messages += follower.live(message, now_ns)
            elif any(message.topic.startswith(prefix) for prefix in self._prefixes):
                messages.append(message)
        return messages

    # ------------------------------------------------------------ answering for our journals

    def _serve(self) -> None:
        if self._router is None:
            return
        for _ in range(MAX_SERVED):
            try:
                peer, *rest = self._router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            try:
                request = parse_pull([frame.bytes for frame in rest])
            except RemoteError:
                self._counts["malformed"] += 1
                continue
            if self._curve.secured and request.topic not in self._curve.readable(
                user_of(rest[0]), Door.REPLAY, request.topic
            ):
                self._counts["forbidden"] += 1
                continue
            journal = self._journals.get(request.topic)
            if journal is None:
                self._counts["malformed"] += 1
                continue
            wanted = request.sequence if request.journal == journal.identity else 0
            records: list[bytes] = []
            first = journal.next_sequence
            for record in journal.read(wanted, max_octets=MAX_REPLY_OCTETS):
                first = record.sequence if not records else first
                # A damaged stretch shows as a jump: what follows it goes into the next reply.
                if record.sequence != first + len(records) or len(records) == MAX_REPLY_RECORDS:
                    break
                records.append(record.payload)
            reply = PullReply(
                request.number, request.topic, journal.identity, first, journal.next_sequence
            )
            try:
                self._router.send_multipart([peer.bytes, *build_data(reply, records)], zmq.NOBLOCK)
            except zmq.Again:
                # The asker does not read.  It will ask again when it does.
                self._counts["unanswered"] += 1
            else:
                self._counts["replayed"] += len(records)

    def _note_finished(self, message: Message) -> None:
        if not any(message.source in services for services in self._unfinished.values()):
            return
        try:
            status = parse(StatusMessage, message.body)
        except RemoteError:
            self._counts["malformed"] += 1
            return
        for position in status.positions:
            services = self._unfinished.get(position.topic, {})
            if position.source == self._source and status.service in services:
                journal = self._journals[position.topic]
                ours = position.journal == journal.identity
                services[status.service] = position.sequence + 1 if ours else 0
                journal.needed = min(services.values())

    # ------------------------------------------------------------ how it is

    def positions(self) -> tuple[Position, ...]:
        return tuple(
            Position(f.topic, f.source, f.journal, f.next_sequence - 1, f.head)
            for source in self._sources.values()
            for f in source.followers.values()
        )

    def statistics(self) -> BusStatistics:
        followers = [f for source in self._sources.values() for f in source.followers.values()]
        return BusStatistics(
            published=self._counts["published"],
            published_octets=self._counts["published_octets"],
            received=self._counts["received"],
            malformed=self._counts["malformed"],
            replayed=self._counts["replayed"],
            repeated=sum(f.repeated for f in followers),
            gaps=sum(f.gaps for f in followers),
            recovered=sum(f.recovered for f in followers),
            lost=sum(f.lost for f in followers),
        )

    def close(self) -> None:
        if self._context.closed:
            return
        self._closing.set()
        if self._syncing.is_alive():
            self._syncing.join()
        self._close_sockets()
        for journal in self._journals.values():
            journal.close()

    def _close_sockets(self, linger_ms: int | None = None) -> None:
        sockets = [source.socket for source in self._sources.values()]
        for socket in (*sockets, self._sub, self._pub, self._router):
            if socket is not None:
                socket.close(linger=linger_ms)
        self._context.term()


def _next(socket: zmq.Socket[bytes]) -> list[bytes] | None:
    try:
        return socket.recv_multipart(zmq.NOBLOCK)
    except zmq.Again:
        return None
