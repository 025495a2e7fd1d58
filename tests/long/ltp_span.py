"""Two LTP engines and the space between them, on a virtual clock."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_parameters import LtpParameters, Notice, RedPartReceived

SECOND_NS = 1_000_000_000


class Span:
    """Engines 1 and 2; every segment is lost, doubled or held up with its own probability.

    `notices[engine_id]`: (time, notice) in order; `delivered`: time at which each session's red
    part came to engine 2 (a second delivery raises).
    """

    def __init__(
        self,
        parameters: LtpParameters,
        seed: int,
        *,
        loss: float = 0.0,
        duplication: float = 0.0,
        jitter_ns: int = 0,
        segment_ns: int = 0,
        watch: Callable[[int, bytes], None] | None = None,
    ) -> None:
        self.random = random.Random(seed)
        self.light_time_ns = round(parameters.one_way_light_time_s * SECOND_NS)
        self.loss = loss
        self.duplication = duplication
        self.jitter_ns = jitter_ns
        self.segment_ns = segment_ns
        self.watch = watch
        self.now_ns = 0
        self.engines = {
            engine_id: LtpEngine(
                engine_id, 3 - engine_id, parameters, entropy=b"%d %d" % (seed, engine_id)
            )
            for engine_id in (1, 2)
        }
        self.notices: dict[int, list[tuple[int, Notice]]] = {1: [], 2: []}
        self.delivered: dict[int, int] = {}
        self.data: dict[int, bytes] = {}
        self.sent = {1: 0, 2: 0}
        self._arrivals: list[tuple[int, int, int, bytes]] = []
        self._count = 0
        self._free_ns = {1: 0, 2: 0}

    def _transmit(self) -> None:
        for engine_id, engine in self.engines.items():
            if not engine.has_segments:
                continue
            for octets in engine.take(self.now_ns):
                self.sent[engine_id] += 1
                if self.watch is not None:
                    self.watch(engine_id, octets)
                left_ns = max(self.now_ns, self._free_ns[engine_id]) + self.segment_ns
                self._free_ns[engine_id] = left_ns
                self._put(engine_id, left_ns, octets)
                if self.duplication and self.random.random() < self.duplication:
                    self._put(engine_id, left_ns, octets)

    def _put(self, engine_id: int, left_ns: int, octets: bytes) -> None:
        if self.loss and self.random.random() < self.loss:
            return
        late_ns = round(self.random.random() * self.jitter_ns) if self.jitter_ns else 0
        self._count += 1
        arrival_ns = left_ns + self.light_time_ns + late_ns
        heapq.heappush(self._arrivals, (arrival_ns, self._count, 3 - engine_id, octets))

    def _collect(self) -> None:
        for engine_id, engine in self.engines.items():
            for notice in engine.notices():
                self.notices[engine_id].append((self.now_ns, notice))
                if isinstance(notice, RedPartReceived):
                    number = notice.session.number
                    assert number not in self.delivered, f"session {number} delivered twice"
                    self.delivered[number] = self.now_ns
                    self.data[number] = notice.data

    def step(self, until_ns: int) -> bool:
        """To the next event, if there is one by then."""
        self._transmit()
        self._collect()
        times = [e.next_deadline_ns for e in self.engines.values()]
        if self._arrivals:
            times.append(self._arrivals[0][0])
        known = [time for time in times if time is not None]
        if not known or min(known) > until_ns:
            self.now_ns = max(self.now_ns, until_ns)
            return False
        self.now_ns = max(self.now_ns, min(known))
        while self._arrivals and self._arrivals[0][0] <= self.now_ns:
            _, _, engine_id, octets = heapq.heappop(self._arrivals)
            self.engines[engine_id].receive(self.now_ns, octets)
        for engine in self.engines.values():
            engine.timeout(self.now_ns)
        self._collect()
        return True

    def run(self, until_ns: int) -> None:
        while self.step(until_ns):
            pass

    def is_idle(self) -> bool:
        """Nothing is under way, and no session is open at either end."""
        return not self._arrivals and all(
            not (s.sending or s.receiving or s.timers or s.queued_control)
            and not (s.send_buffer or s.receive_buffer)
            for s in (engine.statistics() for engine in self.engines.values())
        )
