"""Countdown timers of LTP, suspended while the remote cannot transmit (RFC 5326 §6.5, §6.6)."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

#: Stopped timers stay in the heap until they are due; beyond this many, and as many as the live
#: ones, the heap is made anew.
STALE_TIMERS: Final = 1_024


class Timer:
    """One expected answer (or sign of life).  `due_ns` None: stopped, or not started yet."""

    __slots__ = (
        "abandoned",
        "answer_ns",
        "due_ns",
        "expired",
        "expiries",
        "queued",
        "suspended",
        "wait_ns",
    )

    def __init__(self, expired: Callable[[int], None]) -> None:
        self.expired = expired
        self.due_ns: int | None = None
        #: When the remote will transmit the answer, §6.5.
        self.answer_ns = 0
        #: Not an answer is awaited but any segment, for so long.
        self.wait_ns: int | None = None
        self.expiries = 0
        self.suspended = False
        #: Not to be started any more: its segment, if it still waits for the link, is not sent.
        self.abandoned = False
        #: Its segment waits for the link.
        self.queued = False


class Timers:
    """All timers of one span.

    light_time_ns and margin_ns may be set anew at any time; running timers keep what they had.
    """

    def __init__(self, light_time_ns: int, margin_ns: int) -> None:
        self.light_time_ns = light_time_ns
        self.margin_ns = margin_ns
        self.remote_transmits = True
        self._heap: list[tuple[int, int, Timer]] = []
        self._count = 0
        #: A dictionary for its order: what happens must not depend on addresses.
        self._running: dict[Timer, None] = {}

    def __len__(self) -> int:
        return len(self._running)

    @property
    def answer_time_ns(self) -> int:
        """From a segment's sending to its answer's arrival, at the latest."""
        return 2 * self.light_time_ns + self.margin_ns

    def start(self, now_ns: int, timer: Timer, wait_ns: int | None = None) -> None:
        """§6.2, §6.3, §6.15: count down to the answer; `wait_ns`: to something else instead."""
        self._running[timer] = None
        timer.wait_ns = wait_ns
        if wait_ns is None:
            timer.answer_ns = now_ns + self.light_time_ns
            wait_ns = self.answer_time_ns
        else:
            timer.answer_ns = now_ns + wait_ns
        if self.remote_transmits:
            timer.suspended = False
            self._schedule(timer, now_ns + wait_ns)
        else:
            timer.suspended = True
            timer.due_ns = None

    def _schedule(self, timer: Timer, due_ns: int) -> None:
        timer.due_ns = due_ns
        self._count += 1
        heapq.heappush(self._heap, (due_ns, self._count, timer))
        if len(self._heap) > STALE_TIMERS + 2 * len(self._running):
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].due_ns]
            heapq.heapify(self._heap)

    def stop(self, timer: Timer) -> None:
        self._running.pop(timer, None)
        timer.due_ns = None
        timer.suspended = False

    def abandon(self, timer: Timer) -> None:
        """Stop for good."""
        timer.abandoned = True
        self.stop(timer)

    def is_running(self, timer: Timer) -> bool:
        """Counting down, or suspended."""
        return timer in self._running

    def suspend(self, now_ns: int) -> None:
        """§6.5: the remote ceases to transmit at `now_ns`; answers due before are under way."""
        self.remote_transmits = False
        for timer in self._running:
            if timer.answer_ns >= now_ns:
                timer.suspended = True
                timer.due_ns = None

    def resume(self, now_ns: int) -> None:
        """§6.6: it begins again at `now_ns`; what it could not send before it sends from now on."""
        self.remote_transmits = True
        for timer in self._running:
            if timer.suspended:
                timer.suspended = False
                if timer.wait_ns is not None:
                    self._schedule(timer, now_ns + timer.wait_ns)
                    continue
                timer.answer_ns = max(timer.answer_ns, now_ns)
                self._schedule(timer, timer.answer_ns + self.light_time_ns + self.margin_ns)

    @property
    def next_due_ns(self) -> int | None:
        heap = self._heap
        while heap and heap[0][0] != heap[0][2].due_ns:
            heapq.heappop(heap)
        return heap[0][0] if heap else None

    def take_due(self, now_ns: int) -> Timer | None:
        """The next timer that has run out; it is stopped."""
        due_ns = self.next_due_ns
        if due_ns is None or due_ns > now_ns:
            return None
        _, _, timer = heapq.heappop(self._heap)
        self._running.pop(timer, None)
        timer.due_ns = None
        return timer
