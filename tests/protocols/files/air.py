"""Two entities, 499 light seconds apart, on a clock of numbers: losses, resets, a rate."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

S = 1_000_000_000
OWLT_NS = 499 * S


class Entity(Protocol):
    """What `FileEntity` is to a link, or whoever stands in for one."""

    def hear(self, now_ns: int, pdus: Sequence[bytes]) -> None: ...

    def take(self, now_ns: int, room: int) -> list[bytes]: ...

    @property
    def waiting(self) -> bool: ...

    @property
    def next_deadline_ns(self) -> int | None: ...


class Air:
    """loss: of PDUs, each way; reset: of entities, each turn.  An entity is made by its maker,
    again after a reset; log: PDUs that left, by side."""

    def __init__(
        self,
        makers: Sequence[Callable[[int], Entity]],
        *,
        loss: float = 0.0,
        seed: int = 0,
        reset: float = 0.0,
        octets_s: int = 125_000,
        turn_s: int = 10,
        owlt_ns: int = OWLT_NS,
        drop: Callable[[int, bytes], bool] | None = None,
    ) -> None:
        self.now_ns = 0
        self._random = random.Random(seed)
        self._makers = makers
        self._loss, self._reset, self._room = loss, reset, octets_s * turn_s
        self._turn_ns, self._owlt_ns = turn_s * S, owlt_ns
        self._drop = drop
        self.ends = [make(0) for make in makers]
        self.ways: tuple[deque[tuple[int, bytes]], ...] = (deque(), deque())
        self.log: tuple[list[bytes], list[bytes]] = ([], [])
        self.resets = 0

    def turn(self) -> None:
        for side, way in enumerate(self.ways):
            due: list[bytes] = []
            while way and way[0][0] <= self.now_ns:
                due.append(way.popleft()[1])
            if due:
                self.ends[side].hear(self.now_ns, due)
            for pdu in self.ends[side].take(self.now_ns, self._room):
                self.log[side].append(pdu)
                lost = self._random.random() < self._loss
                if not lost and not (self._drop and self._drop(side, pdu)):
                    self.ways[1 - side].append((self.now_ns + self._owlt_ns, pdu))
            if self._reset and self._random.random() < self._reset:
                self.resets += 1
                self.ends[side] = self._makers[side](self.now_ns)

    def run(self, until: Callable[[], bool], *, days: float = 20) -> bool:
        """Until it holds; whether it did within so many days."""
        end_ns = self.now_ns + round(days * 86_400 * S)
        while not until():
            if self.now_ns >= end_ns:
                return False
            self.turn()
            if until():
                break
            deadlines = [end.next_deadline_ns for end in self.ends]
            events = [one for one in deadlines if one is not None]
            events += [way[0][0] for way in self.ways if way]
            busy = any(end.waiting for end in self.ends)
            next_ns = self.now_ns + self._turn_ns
            self.now_ns = next_ns if busy else max(min(events, default=end_ns), self.now_ns + 1)
        return True
