"""The loop of a bundle node on the ground: transports and applications around it, its store below.

One thread waits on sockets and does all the node's work; a second one writes.  While a commit is
being written the next one fills, so that one `fdatasync` serves as many bundles as came meanwhile.
What a neighbour or an application is told of a bundle is told when its commit has ended.
"""

from __future__ import annotations

import contextlib
import queue
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

from ground.ports import (
    BundleArrived,
    BundleFailed,
    BundleSent,
    BundleTransport,
    Clock,
    PeerDown,
    PeerUp,
    Stop,
)
from protocols.dtn.node import Node
from protocols.dtn.node_settings import Verdict

#: Longest wait of the loop, wall seconds: it asks whether to stop so often.
TURN_S: Final = 0.2
#: How often the node looks at its clock while there is traffic.
NODE_TURN_S: Final = 0.05
#: After a disk that would not take a commit, until it is tried again.
DISK_RETRY_S: Final = 1.0
#: A neighbour that was refused is read again when so much of the quota is free.
FREE_AGAIN: Final = 0.1
#: Why a neighbour went is kept for people.
Said = Callable[[str], None]


class CommitLog(Protocol):
    """The part of the store that makes things durable."""

    @property
    def pending(self) -> bool: ...

    def begin_commit(self) -> Any: ...

    def end_commit(self, commit: Any, now_ns: int) -> None: ...


class Applications(Protocol):
    """Sockets of applications (see `agents.py`).  busy: there is more to do at once."""

    @property
    def busy(self) -> bool: ...

    def open(self, selector: selectors.BaseSelector) -> None: ...

    def turn(self) -> None: ...

    def close(self) -> None: ...


class _Committer(threading.Thread):
    """Writes commits; `bell` becomes readable when one is done."""

    def __init__(self) -> None:
        super().__init__(name="commit", daemon=True)
        self.bell, self._ring = socket.socketpair()
        self.bell.setblocking(False)
        self._work: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.done: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
        self.start()

    def submit(self, commit: Any) -> None:
        self._work.put(commit)

    def run(self) -> None:
        while (commit := self._work.get()) is not None:
            error = None
            try:
                commit.write()
            except OSError as caught:
                error = caught
            self.done.put(error)
            self._ring.send(b".")

    def stop(self) -> None:
        self._work.put(None)
        self.join()
        self.bell.close()
        self._ring.close()


class RelayLoop:
    """node, log: made of each other.  transports: each neighbour by the first that reaches it.

    said: told in words what an operator should read (neighbours that come and go, a full disk).
    """

    def __init__(
        self,
        node: Node,
        log: CommitLog,
        transports: Sequence[BundleTransport],
        clock: Clock,
        *,
        applications: Applications | None = None,
        said: Said | None = None,
    ) -> None:
        self.node = node
        self.transports = list(transports)
        self.disk_error = ""
        self._log = log
        self._clock = clock
        self._applications = applications
        self._say = said or (lambda text: None)
        self._selector = selectors.DefaultSelector()
        self._committer = _Committer()
        self._commit: Any = None
        self._retry_s = 0.0
        self._by_neighbour: dict[int, BundleTransport] = {}
        self._paused: set[int] = set()
        self._waiting: list[Callable[[], None]] = []
        self._committing: list[Callable[[], None]] = []
        self._node_turn_s = 0.0
        self._selector.register(self._committer.bell, selectors.EVENT_READ, self._committed)
        for transport in self.transports:
            transport.open(self._selector)
        if applications is not None:
            applications.open(self._selector)

    # ------------------------------------------------------------ the loop

    def run(self, stop: Stop, each_turn: Callable[[], None] | None = None) -> None:
        """Until told to stop; then what waits is written."""
        try:
            while not stop():
                self.turn()
                if each_turn is not None:
                    each_turn()
        finally:
            self.close()

    def turn(self, longest_s: float = TURN_S) -> None:
        """Wait for something to do, and do it."""
        for key, mask in self._selector.select(self._wait_s(longest_s)):
            key.data(mask)
        now_ns = self._clock.now_ns()
        for transport in self.transports:
            if transport.events:
                events, transport.events = transport.events, []
                self._take(transport, events, now_ns)
        if self._applications is not None:
            self._applications.turn()
        wall_s = time.monotonic()
        if wall_s >= self._node_turn_s:
            self._node_turn_s = wall_s + NODE_TURN_S
            self.node.turn(now_ns)
            self._resume()
        self._send(now_ns)
        self._begin_commit(wall_s)
        for transport in self.transports:
            transport.turn()

    def _wait_s(self, longest_s: float) -> float:
        if any(transport.events for transport in self.transports):
            return 0.0
        if self._applications is not None and self._applications.busy:
            return 0.0
        waits = [longest_s]
        waits += [w for t in self.transports if (w := t.wait_s()) is not None]
        now_ns = self._clock.now_ns()
        deadline_ns = self.node.next_deadline_ns(now_ns)
        if deadline_ns is not None:
            due_s = self._clock.wall_seconds(max(0, deadline_ns - now_ns) / 1e9)
            waits.append(max(due_s, self._node_turn_s - time.monotonic()))
        return max(0.0, min(waits))

    def close(self) -> None:
        """Finish the commit under way, write what waits, close all."""
        if self._commit is not None:
            self._end_commit(self._committer.done.get())
        if self._commit is None and self._log.pending:
            self._begin_commit(time.monotonic())
            if self._commit is not None:
                self._end_commit(self._committer.done.get())
        for transport in self.transports:
            with contextlib.suppress(OSError):
                transport.turn()
            transport.close()
        if self._applications is not None:
            self._applications.close()
        self._selector.unregister(self._committer.bell)
        self._committer.stop()
        self._selector.close()

    # ------------------------------------------------------------ neighbours

    def _take(self, transport: BundleTransport, events: list[Any], now_ns: int) -> None:
        node = self.node
        for event in events:
            if isinstance(event, BundleArrived):
                verdict = Verdict.REFUSED
                if not self.disk_error:
                    verdict = node.offer(now_ns, event.octets, event.neighbour)
                if verdict is Verdict.REFUSED:
                    transport.refuse(event.receipt)
                    self._pause(transport, event.neighbour)
                else:
                    self._waiting.append(partial(transport.accept, event.receipt))
            elif isinstance(event, BundleSent):
                node.sent(event.token, now_ns)
            elif isinstance(event, BundleFailed):
                node.failed(event.token, now_ns, refused=event.refused)
            elif isinstance(event, PeerUp):
                self._by_neighbour[event.neighbour] = transport
                node.link(event.neighbour, True, now_ns)
                self._say(f"ipn:{event.neighbour}.0 is there by {transport.name}")
            elif isinstance(event, PeerDown):
                if self._by_neighbour.get(event.neighbour) is transport:
                    del self._by_neighbour[event.neighbour]
                    node.link(event.neighbour, False, now_ns)
                self._say(f"ipn:{event.neighbour}.0 is gone: {event.why}")

    def _pause(self, transport: BundleTransport, neighbour: int) -> None:
        if neighbour not in self._paused:
            self._paused.add(neighbour)
            transport.pause(neighbour, True)
            why = self.disk_error or "the store is full"
            self._say(f"bundles from ipn:{neighbour}.0 are refused: {why}")

    def _resume(self) -> None:
        settings = self.node.settings
        room = min(settings.shares) * (1 - FREE_AGAIN)
        if (
            self._paused
            and not self.disk_error
            and self.node.held_octets <= room * settings.quota_octets
            and len(self.node.held) <= room * settings.quota_bundles
        ):
            for neighbour in self._paused:
                if (transport := self._by_neighbour.get(neighbour)) is not None:
                    transport.pause(neighbour, False)
                self._say(f"bundles from ipn:{neighbour}.0 are taken again")
            self._paused.clear()

    def _send(self, now_ns: int) -> None:
        node = self.node
        for neighbour, transport in self._by_neighbour.items():
            window = transport.window(neighbour)
            while window > 0:
                copy = node.take(neighbour, now_ns)
                if copy is None:
                    break
                transport.send(neighbour, copy, node.outgoing(copy, now_ns))
                window -= 1
                if not window:
                    window = transport.window(neighbour)

    # ------------------------------------------------------------ what is on disk

    def when_durable(self, call: Callable[[], None]) -> None:
        """Call it once all that the node has put in its store so far is on disk."""
        self._waiting.append(call)

    def _begin_commit(self, wall_s: float) -> None:
        if self._commit is not None or (self.disk_error and wall_s < self._retry_s):
            return
        if not self._log.pending:
            self._tell(self._waiting)
            return
        self._commit = self._log.begin_commit()
        self._committing, self._waiting = self._waiting, []
        self._committer.submit(self._commit)

    def _committed(self, mask: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._committer.bell.recv(64)
        if self._commit is not None and not self._committer.done.empty():
            self._end_commit(self._committer.done.get())

    def _end_commit(self, error: OSError | None) -> None:
        commit = self._commit
        if error is not None:
            # It stands where it stood: written again at the same place.
            if not self.disk_error:
                self._say(f"bundles cannot be written: {error.strerror}")
            self.disk_error = f"the disk: {error.strerror}"
            timer = threading.Timer(DISK_RETRY_S, self._committer.submit, (commit,))
            timer.daemon = True
            timer.start()
            return
        if self.disk_error:
            self._say("bundles are written again")
            self.disk_error = ""
        self._commit = None
        self._log.end_commit(commit, self._clock.now_ns())
        self._tell(self._committing)

    def _tell(self, calls: list[Callable[[], None]]) -> None:
        for call in calls:
            call()
        calls.clear()


def links_of(loop: RelayLoop) -> list[dict[str, Any]]:
    """Each transport's links, as `l4 relay status` shows them."""
    return [
        {name: getattr(link, name) for name in link.__dataclass_fields__}
        for transport in loop.transports
        for link in transport.statistics()
    ]
