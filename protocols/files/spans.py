"""Sets of octets of a file, as sorted, disjoint, non-adjacent [start, end).

>>> spans: Spans = []
>>> add(spans, 0, 10); add(spans, 20, 30); add(spans, 10, 15)
>>> spans, gaps(spans, 40)
([(0, 15), (20, 30)], [(15, 20), (30, 40)])
>>> remove(spans, 12, 22), spans
(True, [(0, 12), (22, 30)])
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

Spans = list[tuple[int, int]]


def _touched(spans: Spans, start: int, end: int) -> tuple[int, int]:
    """Which spans overlap or adjoin [start, end): from index to index."""
    first = bisect_left(spans, (start, start))
    if first and spans[first - 1][1] >= start:
        first -= 1
    return first, bisect_right(spans, (end, end), lo=first) if end > start else first


def add(spans: Spans, start: int, end: int) -> None:
    """Octets that now belong to it."""
    if end <= start:
        return
    if spans and start == spans[-1][1]:
        # In order, nearly always.
        spans[-1] = (spans[-1][0], end)
        return
    first, last = _touched(spans, start, end)
    while last < len(spans) and spans[last][0] <= end:
        last += 1
    if first < last:
        start, end = min(start, spans[first][0]), max(end, spans[last - 1][1])
    spans[first:last] = [(start, end)]


def remove(spans: Spans, start: int, end: int) -> bool:
    """Octets that no longer do; whether any did."""
    if end <= start:
        return False
    first, last = _touched(spans, start, end)
    while last < len(spans) and spans[last][0] < end:
        last += 1
    kept: Spans = []
    changed = False
    for begin, stop in spans[first:last]:
        if stop <= start or begin >= end:
            kept.append((begin, stop))
            continue
        changed = True
        if begin < start:
            kept.append((begin, start))
        if stop > end:
            kept.append((end, stop))
    if changed:
        spans[first:last] = kept
    return changed


def gaps(spans: Spans, end: int) -> Spans:
    """What is missing of [0, end)."""
    out: Spans = []
    at = 0
    for start, stop in spans:
        if start >= end:
            break
        if start > at:
            out.append((at, start))
        at = max(at, stop)
    if at < end:
        out.append((at, end))
    return out


def total(spans: Spans) -> int:
    """Octets in it."""
    return sum(end - start for start, end in spans)
