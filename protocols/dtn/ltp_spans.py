"""Which octets of a block are there: disjoint, ascending half-open ranges."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator


class Spans:
    """A set of octet offsets as few ranges [start, stop); neighbours are joined.

    >>> spans = Spans(); spans.add(0, 10); spans.add(20, 30); spans.add(10, 12)
    [(0, 10)]
    [(20, 30)]
    [(10, 12)]
    >>> list(spans), spans.gaps(0, 40)
    ([(0, 12), (20, 30)], [(12, 20), (30, 40)])
    """

    __slots__ = ("_starts", "_stops", "octets")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []
        #: How many octets are in the set.
        self.octets = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._starts, self._stops, strict=True)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def stop(self) -> int:
        """The end of the last range; 0 if there is none."""
        return self._stops[-1] if self._stops else 0

    def covers(self, start: int, stop: int) -> bool:
        if start >= stop:
            return True
        place = bisect_right(self._starts, start) - 1
        return place >= 0 and stop <= self._stops[place]

    def add(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Put a range in; the parts of it that were not there yet."""
        if start >= stop:
            return []
        starts, stops = self._starts, self._stops
        if not stops or start > stops[-1]:
            starts.append(start)
            stops.append(stop)
            self.octets += stop - start
            return [(start, stop)]
        if start == stops[-1]:
            stops[-1] = stop
            self.octets += stop - start
            return [(start, stop)]
        new = self.gaps(start, stop)
        if not new:
            return new
        self.octets += sum(b - a for a, b in new)
        first = bisect_left(stops, start)
        last = bisect_right(starts, stop)
        starts[first:last] = [min(start, starts[first]) if first < last else start]
        stops[first:last] = [max(stop, stops[last - 1]) if first < last else stop]
        return new

    def within(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What the set and a range have in common."""
        first = bisect_right(self._stops, start)
        last = bisect_left(self._starts, stop)
        return [
            (max(a, start), min(b, stop))
            for a, b in zip(self._starts[first:last], self._stops[first:last], strict=True)
        ]

    def gaps(self, start: int, stop: int) -> list[tuple[int, int]]:
        """What a range has and the set lacks."""
        found: list[tuple[int, int]] = []
        at = start
        for a, b in self.within(start, stop):
            if a > at:
                found.append((at, a))
            at = b
        if at < stop:
            found.append((at, stop))
        return found
