"""Who is in whose way: the small neighbourhoods with which one request or a few are fitted in."""

from __future__ import annotations

from collections.abc import Collection

from ground.scheduling.compiled import Answer, Compiled
from ground.scheduling.model import Schedule
from ground.scheduling.objective import Judge


def answer_of(compiled: Compiled, schedule: Schedule) -> Answer:
    """The schedule's placements; locks first.  Raises LocalError for a track not requested."""
    answer = compiled.empty()
    for name, tracks in schedule.by_request.items():
        index = compiled.index[name]
        answer[index] = tuple(sorted((compiled.placement(t) for t in tracks), key=lambda p: p[1]))
    return answer


def rivals(compiled: Compiled, answer: Answer, index: int, most: int) -> set[int]:
    """At most so many requests whose tracks are in the way of its windows, longest first.

    On its antennas, and on its mission's link.
    """
    request = compiled.requests[index]
    by_antenna: dict[int, list[tuple[int, int]]] = {}
    for choice, lo, hi in request.windows:
        for antenna in request.antennas[choice]:
            by_antenna.setdefault(antenna, []).append((lo - request.setup, hi + request.teardown))
    in_way: dict[int, int] = {}
    for other in compiled.requests:
        if other.index in compiled.locked or other.index == index:
            continue
        for choice, on, off in answer[other.index]:
            begin, end = on - other.setup, off + other.teardown
            overlap = sum(
                max(0, min(end, hi) - max(begin, lo))
                for antenna in other.antennas[choice]
                for lo, hi in by_antenna.get(antenna, ())
            )
            if other.mission == request.mission:
                overlap += sum(max(0, min(off, hi) - max(on, lo)) for _, lo, hi in request.windows)
            if overlap:
                in_way[other.index] = in_way.get(other.index, 0) + overlap
    return set(sorted(in_way, key=lambda i: (-in_way[i], i))[:most])


def solve_around(
    judge: Judge,
    answer: Answer,
    free: Collection[int],
    most_elastic: int,
    deterministic: float,
    seconds: float,
    seed: int,
) -> Answer | None:
    """The best answer with `free` anew; tracks next to their windows may give way in theirs."""
    from ground.scheduling.subproblem import Limits, Subproblem

    compiled = judge.compiled
    elastic: set[int] = set()
    for index in sorted(free):
        elastic |= rivals(compiled, answer, index, most_elastic)
    limits = Limits(deterministic=deterministic, seconds=max(0.05, seconds))
    return Subproblem(judge, answer, free, elastic - set(free)).solve(limits, seed).answer
