"""The broker: what services publish on one side, others subscribe to on the other.

XSUB takes everything (so that last values are known before anyone asks), XPUB gives each
subscriber what it asked for.  With XPUB_VERBOSE every subscription is seen, also the second one to
a topic, and is answered with the last value of the retained topics that match: a late joiner
starts with the present state.  (All subscribers of that topic get the value again; retained topics
are states, so repeating one says nothing new.)

With keys it is XPUB_MANUAL: a subscription is seen with the name of who asks, and counts as we
enter it: as far as the role may read.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections import Counter
from collections.abc import Callable
from typing import Final

import zmq

from ground.adapters.zmq_bus import make_socket
from ground.curve import Curve, user_of
from ground.keyring import Keyring
from ground.ports import Stop
from protocols.bus.access import Door
from protocols.bus.envelope import MAX_TOPIC_OCTETS, source_of
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic

#: Topics whose last value is kept, by beginning.
RETAINED = (
    Topic.LINK.encode(),
    Topic.RADIO.encode() + b".",
    Topic.OCF.encode(),
    Topic.PASSES.encode(),
    Topic.TIME.encode(),
    Topic.STATUS.encode() + b".",
)
#: There is one a service and one a link; beyond this somebody invents topics.
MAX_RETAINED = 1024
#: Forwarded in one turn before the other side is looked at.
MAX_FORWARDED = 1000


#: From malloc.h.
_M_MMAP_THRESHOLD: Final = -3
#: What is as large is taken from the system each time.
LARGE_OCTETS: Final = 128 * 1024


def give_memory_back() -> None:
    """Of this process: what messages took that waited for a slow subscriber goes back to the system
    when they are gone.  glibc raises its threshold for memory of its own to the largest that was
    freed, and kept all of a crowd's (100 MiB) for good; elsewhere there is no such setting."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_OCTETS)


class Broker:
    """Both sockets and the retained values; `turn` does what there is to do.

    keyring: then a message goes on only if its sender's role may publish it, in its own name.

    Raises LocalError if an endpoint is taken, or not loopback and there are no keys.
    """

    def __init__(self, bus_in: str, bus_out: str, keyring: Keyring | None = None) -> None:
        names = (
            "messages",
            "octets",
            "subscriptions",
            "repeated",
            "malformed",
            "forbidden",
            "unreadable",
        )
        self.counts: Counter[str] = Counter(dict.fromkeys(names, 0))
        self._retained: dict[bytes, list[zmq.Frame]] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._xsub = make_socket(self._context, zmq.XSUB)
        self._xpub = make_socket(self._context, zmq.XPUB)
        self._xpub.setsockopt(zmq.XPUB_VERBOSE if keyring is None else zmq.XPUB_MANUAL, 1)
        self._out_of_step = False
        self._curve: Curve | None = None
        doors = ((self._xsub, bus_in, Door.BUS_IN), (self._xpub, bus_out, Door.BUS_OUT))
        try:
            self._curve = Curve(self._context, keyring)
            for socket, endpoint, door in doors:
                try:
                    self._curve.bind(socket, endpoint, door)
                except zmq.ZMQError as error:
                    raise LocalError(f"bus: cannot bind {endpoint}: {error}") from error
        except LocalError:
            self.close(linger_ms=0)
            raise
        self._xsub.send(b"\x01")
        self._poller = zmq.Poller()
        self._poller.register(self._xsub, zmq.POLLIN)
        self._poller.register(self._xpub, zmq.POLLIN)

    def turn(self, timeout_s: float) -> None:
        """Wait for traffic at most so long, then forward what is there."""
        assert self._curve is not None
        self._curve.refresh()
        for socket, _events in self._poller.poll(round(timeout_s * 1000)):
            if socket is self._xsub:
                self._forward()
            else:
                self._answer_subscriptions()

    def publish(self, parts: list[bytes]) -> None:
        """A message of the broker's own (its status)."""
        self._give([zmq.Frame(part) for part in parts])

    def _forward(self) -> None:
        for _ in range(MAX_FORWARDED):
            try:
                frames = self._xsub.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            if len(frames) != 3 or len(frames[0]) > MAX_TOPIC_OCTETS:
                self.counts["malformed"] += 1
                continue
            if self._curve is not None and self._curve.secured and not self._allowed(frames):
                self.counts["forbidden"] += 1
                continue
            self._give(frames)

    def _allowed(self, frames: list[zmq.Frame]) -> bool:
        assert self._curve is not None
        try:
            source = source_of(frames[1].bytes)
        except RemoteError:
            return False
        topic = frames[0].bytes.decode("ascii", "replace")
        return self._curve.may_publish(user_of(frames[0]), source, topic)

    def _give(self, frames: list[zmq.Frame]) -> None:
        topic = frames[0].bytes
        if topic.startswith(RETAINED) and (
            topic in self._retained or len(self._retained) < MAX_RETAINED
        ):
            self._retained[topic] = frames
        self.counts["messages"] += 1
        self.counts["octets"] += len(frames[2])
        # XPUB drops for a subscriber at its high-water mark and never waits.
        self._xpub.send_multipart(frames, copy=False)

    def _answer_subscriptions(self) -> None:
        for _ in range(MAX_FORWARDED):
            try:
                frame = self._xpub.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                self._out_of_step = False
                return
            request = frame.bytes
            if request[:1] not in (b"\x00", b"\x01"):
                self._no_subscription(user_of(frame))
            elif self._out_of_step:
                # Said again by all when their connections are ended.
                continue
            elif request[:1] == b"\x01":
                self._subscribe(request[1:], user_of(frame))
            else:
                self._unsubscribe(request[1:], user_of(frame))

    def _no_subscription(self, user: str) -> None:
        """Nobody sends messages to where subscriptions are taken but who means harm: libzmq 4.3.5
        queues one without its connection, so that each subscription after it, until all are read,
        would be entered for another's (xpub.cpp, `_pending_pipes`)."""
        self.counts["malformed"] += 1
        if self._curve is not None and self._curve.secured:
            self._out_of_step = True
            self._curve.bar(user, Door.BUS_OUT)

    def _readable(self, asked: bytes, user: str) -> list[bytes]:
        assert self._curve is not None
        if not self._curve.secured:
            return [asked]
        topic = asked.decode("ascii", "replace")
        found = self._curve.readable(user, Door.BUS_OUT, topic)
        return [asked] if topic in found else [one.encode() for one in found]

    def _subscribe(self, asked: bytes, user: str) -> None:
        self.counts["subscriptions"] += 1
        readable = self._readable(asked, user) if len(asked) <= MAX_TOPIC_OCTETS else []
        if not readable:
            self.counts["unreadable"] += 1
            return
        if self._curve is not None and self._curve.secured:
            for topic in readable:
                self._xpub.setsockopt(zmq.SUBSCRIBE, topic)
        for topic, frames in self._retained.items():
            if topic.startswith(tuple(readable)):
                self._xpub.send_multipart(frames, copy=False)
                self.counts["repeated"] += 1

    def _unsubscribe(self, asked: bytes, user: str) -> None:
        # What was entered in the place of a wider one stays: a subscription of its own to the same
        # topic may stand beside it, and whoever wants it no more drops it at its end.
        if (
            self._curve is not None
            and self._curve.secured
            and self._readable(asked, user) == [asked]
        ):
            self._xpub.setsockopt(zmq.UNSUBSCRIBE, asked)

    @property
    def retained(self) -> int:
        return len(self._retained)

    @property
    def refused(self) -> int:
        """Connections, for their key; who is refused tries again and again."""
        return 0 if self._curve is None else self._curve.refused

    def close(self, linger_ms: int = 200) -> None:
        self._xsub.close(linger=linger_ms)
        self._xpub.close(linger=linger_ms)
        self._context.term()


def run_broker(broker: Broker, stop: Stop, report: Callable[[], list[bytes] | None]) -> None:
    """Forward until `stop`.  `report` gives a message of the broker's own when one is due."""
    while not stop():
        broker.turn(0.1)
        message = report()
        if message is not None:
            broker.publish(message)
