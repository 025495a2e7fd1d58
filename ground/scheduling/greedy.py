"""A plain greedy first answer: hardest requests first, each where it hinders others least."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from ground.scheduling.compiled import (
    Answer,
    Compiled,
    CompiledQuota,
    CompiledRequest,
    Occupancy,
    Placement,
)


def greedy(compiled: Compiled, start: Answer | None = None) -> Answer:
    """An allowed answer; keeps what of `start` is allowed, then fills.

    Order: few places to go first (total window length per hour asked), ties by index.  A request
    takes the window that fits it most tightly, at its beginning, in full if any window holds it.
    """
    answer = compiled.empty()
    held = Occupancy(compiled, answer, compiled.locked)
    if start is not None:
        for index, placements in enumerate(start):
            if placements and index not in compiled.locked:
                kept = still_allowed(compiled, held, compiled.requests[index], placements)
                if kept:
                    answer[index] = kept
                    held.add(index, kept)
    fill(compiled, answer, held, order(compiled))
    return answer


def order(compiled: Compiled) -> list[int]:
    def freedom(request: CompiledRequest) -> tuple[float, int]:
        room = sum(hi - lo - request.shortest for _, lo, hi in request.windows)
        return room / request.duration, request.index

    return [r.index for r in sorted(compiled.requests, key=freedom)]


def fill(compiled: Compiled, answer: Answer, held: Occupancy, indices: Sequence[int]) -> None:
    """Places in turn what of the indices has nothing yet; changes `answer` and `held`."""
    for index in indices:
        if answer[index]:
            continue
        placements = _place(compiled, held, compiled.requests[index])
        if placements:
            answer[index] = placements
            held.add(index, placements)


def _place(compiled: Compiled, held: Occupancy, request: CompiledRequest) -> tuple[Placement, ...]:
    windows = held.windows(request)
    best: tuple[Placement, ...] = ()
    best_key = (0, 0, 0)
    for choice, lo, hi in windows:
        length = min(hi - lo, request.duration)
        if length < request.minimum:
            continue
        # Longest first; then one antenna before an array, and the tighter window.
        key = (length, -len(request.antennas[choice]), -(hi - lo))
        placement = (choice, lo, lo + length)
        if (not best or key > best_key) and _allowed(compiled, held, request, (placement,)):
            best, best_key = (placement,), key
    if not best and request.segments > 1:
        best = _split(compiled, held, request, windows)
    return best


def _split(
    compiled: Compiled,
    held: Occupancy,
    request: CompiledRequest,
    windows: list[tuple[int, int, int]],
) -> tuple[Placement, ...]:
    """Segments of the shortest length, from the earliest windows that do not overlap."""
    found: list[Placement] = []
    segment = request.segment_minimum
    for choice, lo, hi in sorted(windows, key=lambda w: w[1]):
        lo = max(lo, found[-1][2] + request.setup + request.teardown) if found else lo
        left = request.duration - sum(off - on for _, on, off in found)
        if hi - lo >= segment and left >= segment and len(found) < request.segments:
            found.append((choice, lo, lo + segment))
    total = sum(off - on for _, on, off in found)
    placements = tuple(found)
    if len(found) < 2 or total < request.minimum:
        return ()
    return placements if _allowed(compiled, held, request, placements) else ()


def still_allowed(
    compiled: Compiled,
    held: Occupancy,
    request: CompiledRequest,
    placements: tuple[Placement, ...],
) -> tuple[Placement, ...]:
    """The placements, in order of time, if every rule allows all of them; else nothing."""
    ordered = tuple(sorted(placements, key=lambda p: p[1]))
    if len(ordered) > request.segments or (
        len(ordered) > 1
        and (
            any(off - on < request.segment_minimum for _, on, off in ordered)
            or any(before[2] > after[1] for before, after in pairwise(ordered))
        )
    ):
        return ()
    windows = held.windows(request)
    for choice, on, off in ordered:
        if not any(c == choice and lo <= on and off <= hi for c, lo, hi in windows):
            return ()
    return ordered if _allowed(compiled, held, request, ordered) else ()


def _allowed(
    compiled: Compiled,
    held: Occupancy,
    request: CompiledRequest,
    placements: tuple[Placement, ...],
) -> bool:
    """What windows alone do not say: lengths, gaps' upper ends, quotas."""
    total = sum(off - on for _, on, off in placements)
    if not request.minimum <= total <= request.duration:
        return False
    for gap in compiled.gaps_of[request.index]:
        before = placements if gap.first == request.index else held.answer.get(gap.first)
        after = placements if gap.second == request.index else held.answer.get(gap.second)
        if before and after and not gap.minimum <= after[0][1] - before[-1][2] <= gap.maximum:
            return False
    return all(
        used(compiled, quota, held.answer) + used(compiled, quota, {request.index: placements})
        <= quota.maximum
        for quota in compiled.quotas
        if request.index in quota.requests
    )


def used(compiled: Compiled, quota: CompiledQuota, answer: dict[int, tuple[Placement, ...]]) -> int:
    """Antenna-seconds of the quota that the placements take."""
    total = 0
    for index, placements in answer.items():
        if index in quota.requests:
            request = compiled.requests[index]
            for choice, on, off in placements:
                count = len(quota.antennas.intersection(request.antennas[choice]))
                total += count * (off - on + request.setup + request.teardown)
    return total
