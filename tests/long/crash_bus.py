"""A network between the services and the broker that delays, doubles and cuts.

    with BadNetwork(listen=(bus_in, bus_out), broker=(broker_in, broker_out), seed=1) as network:
        network.cut_s = 5

Runs in a thread of its own.  What passes one way stays in its order, as over TCP; how long it
takes, and whether it comes once more, is drawn for each message.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from types import TracebackType
from typing import Any, Self

import zmq

#: Of messages that are doubled.
DOUBLED = 0.05
#: Of messages that keep all behind them waiting, and for how long at most, seconds.
DELAYED, LONGEST_DELAY_S = 0.01, 0.5


class _Way:
    """Data one way, subscriptions the other; sockets are made anew after each cut."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.waiting: deque[tuple[float, list[bytes]]] = deque()
        self._ready_s = 0.0
        self.doubled = self.delayed = self.passed = 0

    def take(self, parts: list[bytes], now_s: float) -> None:
        if self._rng.random() < DELAYED:
            self.delayed += 1
            self._ready_s = max(self._ready_s, now_s) + self._rng.uniform(0, LONGEST_DELAY_S)
        due_s = max(now_s, self._ready_s)
        self.waiting.append((due_s, parts))
        if self._rng.random() < DOUBLED:
            self.doubled += 1
            self.waiting.append((due_s, parts))

    def due(self, now_s: float) -> list[list[bytes]]:
        found: list[list[bytes]] = []
        while self.waiting and self.waiting[0][0] <= now_s:
            found.append(self.waiting.popleft()[1])
        self.passed += len(found)
        return found


class BadNetwork:
    """cut_s: set, all connections end and none is taken for so long; what is on the way is lost."""

    def __init__(self, *, listen: tuple[str, str], broker: tuple[str, str], seed: int) -> None:
        self._listen, self._broker = listen, broker
        rng = random.Random(seed)
        self.ways = _Way(rng), _Way(rng)
        self.cut_s = 0.0
        self.cuts = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            context: zmq.Context[Any] = zmq.Context()
            try:
                self._connected(context)
            finally:
                context.destroy(linger=0)
            if self.cut_s:
                self.cuts += 1
                for way in self.ways:
                    way.waiting.clear()
                self._stopping.wait(self.cut_s)
                self.cut_s = 0.0

    def _connected(self, context: zmq.Context[Any]) -> None:
        """(towards the sender, towards the receiver) of each way, until cut or told to end."""
        up = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        down = context.socket(zmq.XSUB), context.socket(zmq.XPUB)
        for socket in (*up, *down):
            socket.set_hwm(0)
            socket.setsockopt(zmq.LINGER, 0)
        # Every subscription goes on: the broker answers each with the values it keeps.
        down[1].setsockopt(zmq.XPUB_VERBOSER, 1)
        up[0].bind(self._listen[0])
        up[1].connect(self._broker[0])
        down[0].connect(self._broker[1])
        down[1].bind(self._listen[1])
        pairs = list(zip(self.ways, (up, down), strict=True))
        poller = zmq.Poller()
        for socket in (*up, *down):
            poller.register(socket, zmq.POLLIN)
        while not (self._stopping.is_set() or self.cut_s):
            ready = dict(poller.poll(5))
            now_s = time.monotonic()
            for way, (data, subscriptions) in pairs:
                if data in ready:
                    for _ in range(1000):
                        try:
                            way.take(data.recv_multipart(zmq.NOBLOCK), now_s)
                        except zmq.Again:
                            break
                if subscriptions in ready:
                    data.send(subscriptions.recv())
                for parts in way.due(now_s):
                    subscriptions.send_multipart(parts)
