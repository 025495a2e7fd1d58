"""Which requests a step of the search frees: regions of antennas and time, conflicts, missions.

Indexed by what the answer holds, so that the cost of a choice does not grow with the problem.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ground.scheduling.compiled import Answer, Compiled


@dataclass(frozen=True)
class Neighbourhood:
    kind: str
    free: frozenset[int]
    elastic: frozenset[int]


class Chooser:
    """Draws neighbourhoods; kinds that improved the answer lately are drawn more often."""

    def __init__(self, compiled: Compiled, seed: int, size: int = 30) -> None:
        self.compiled = compiled
        self.random = random.Random(seed)
        self.kinds: dict[str, Callable[[Answer, int], set[int]]] = {
            "region": self._region,
            "ejection": self._ejection,
            "complex": self._complex,
            "mission": self._mission,
        }
        self.weight = dict.fromkeys(self.kinds, 1.0)
        self.size = dict.fromkeys(self.kinds, float(size))
        self.short: list[int] = []
        by_complex: dict[str, list[int]] = {}
        for index, antenna in enumerate(compiled.problem.antennas):
            by_complex.setdefault(antenna.complex or antenna.name, []).append(index)
        self.complexes = list(by_complex.values())
        self.day = max(1, min(86400, compiled.length))

    def draw(self, answer: Answer, around: Sequence[int] = ()) -> Neighbourhood:
        """`around`: requests of which some are freed in any case."""
        self._index(answer)
        kind = self.random.choices(list(self.kinds), list(self.weight.values()))[0]
        size = max(4, round(self.size[kind]))
        free = self.kinds[kind](answer, size)
        if around:
            free.update(self.random.sample(around, min(len(around), max(2, size // 3))))
        free -= set(self.compiled.locked)
        return Neighbourhood(kind, frozenset(free), frozenset(self._around(free, answer)))

    def learn(self, kind: str, gained: bool, optimal: bool) -> None:
        """Sizes grow where CP-SAT proves its answer best in time, and shrink where it cannot."""
        self.weight[kind] = 0.95 * self.weight[kind] + 0.05 * (3.0 if gained else 0.2)
        factor = 1.05 if optimal else 0.96
        self.size[kind] = min(400.0, max(6.0, self.size[kind] * factor))

    def _index(self, answer: Answer) -> None:
        compiled = self.compiled
        self.tracks: list[list[tuple[int, int, int]]] = [[] for _ in compiled.antennas]
        self.short = []
        for request in compiled.requests:
            total = 0
            for choice, on, off in answer[request.index]:
                total += off - on
                for antenna in request.antennas[choice]:
                    held = (on - request.setup, off + request.teardown, request.index)
                    self.tracks[antenna].append(held)
            if total < request.duration and request.index not in compiled.locked:
                self.short.append(request.index)
        for held in self.tracks:
            held.sort()

    def _in_region(self, antennas: list[int], lo: int, hi: int) -> set[int]:
        return {
            index
            for antenna in antennas
            for start, end, index in self.tracks[antenna]
            if start < hi and end > lo
        }

    def _wanting(self, antennas: list[int], lo: int, hi: int, most: int) -> list[int]:
        """Requests that get less than they ask for and could be tracked in the region."""
        those = set(antennas)
        found = []
        for index in self.random.sample(self.short, len(self.short)):
            request = self.compiled.requests[index]
            for choice, a, b in request.windows:
                if min(b, hi) - max(a, lo) >= request.shortest // 2 and those.intersection(
                    request.antennas[choice]
                ):
                    found.append(index)
                    break
            if len(found) >= most:
                break
        return found

    def _seed_time(self) -> int:
        """Somewhere in a window of a request that wants more, or anywhere."""
        if self.short and self.random.random() < 0.7:
            request = self.compiled.requests[self.random.choice(self.short)]
            if request.windows:
                _, a, b = self.random.choice(request.windows)
                return self.random.randint(a, b)
        return self.random.randint(0, self.compiled.length)

    def _grow(self, antennas: list[int], answer: Answer, size: int) -> set[int]:
        """Widen a time window over the antennas until the region holds `size` requests."""
        centre, half = self._seed_time(), 3600
        most = max(2, size // 3)
        while True:
            lo, hi = centre - half, centre + half
            inside = self._in_region(antennas, lo, hi)
            if len(inside) >= size - most or half > self.compiled.length:
                return inside | set(self._wanting(antennas, lo, hi, size - len(inside)))
            half = round(half * 1.25)

    def _region(self, answer: Answer, size: int) -> set[int]:
        """All antennas, a slice of time."""
        return self._grow(list(range(len(self.tracks))), answer, size)

    def _complex(self, answer: Answer, size: int) -> set[int]:
        """The antennas of one complex (or two), a longer slice."""
        count = 1 if len(self.complexes) == 1 else self.random.choice((1, 1, 2))
        antennas = [a for c in self.random.sample(self.complexes, count) for a in c]
        return self._grow(antennas, answer, size)

    def _ejection(self, answer: Answer, size: int) -> set[int]:
        """A request that wants more, those in its way, those in their way."""
        if not self.short:
            return self._region(answer, size)
        free: set[int] = set()
        queue = [self.random.choice(self.short)]
        while len(free) < size and queue:
            index = queue.pop(self.random.randrange(len(queue)))
            if index in free:
                continue
            free.add(index)
            request = self.compiled.requests[index]
            rivals: set[int] = set()
            windows = list(request.windows)
            for choice, lo, hi in self.random.sample(windows, min(3, len(windows))):
                lo, hi = lo - request.setup, hi + request.teardown
                rivals |= self._in_region(list(request.antennas[choice]), lo, hi)
            queue += sorted(rivals - free)
        return free

    def _mission(self, answer: Answer, size: int) -> set[int]:
        """All requests of a mission, then those in the way of its windows."""
        compiled = self.compiled
        start = self.random.choice(self.short) if self.short else 0
        mission = compiled.requests[start].mission
        those = compiled.mission_requests[mission]
        free = set(self.random.sample(those, min(len(those), max(2, size // 3))))
        rivals: set[int] = set()
        for index in sorted(free):
            request = compiled.requests[index]
            for choice, on, off in answer[index]:
                rivals |= self._in_region(list(request.antennas[choice]), on - 7200, off + 7200)
        rest = sorted(rivals - free)
        self.random.shuffle(rest)
        free.update(rest[: max(0, size - len(free))])
        return free if len(free) > 3 else self._ejection(answer, size)

    def _around(self, free: set[int], answer: Answer) -> set[int]:
        """Tracks next to the free ones on their antennas: they may be moved and stretched."""
        found: set[int] = set()
        for held in self.tracks:
            for position, (_, _, index) in enumerate(held):
                if index in free:
                    for near in (position - 1, position + 1):
                        if 0 <= near < len(held) and held[near][2] not in free:
                            found.add(held[near][2])
        return found
