"""What would make a request fit, each proposal proved: its schedule keeps every rule.

Tried are: room that is there already, a lower minimum, a shifted window, another antenna on which
the mission is tracked elsewhere, a commitment, lock-in of links, gap or quota lifted, and (with
CP-SAT) an exchange: the least that others lose when the request is put first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ground.scheduling.compiled import Compiled, CompiledRequest, Occupancy
from ground.scheduling.explain import span_text
from ground.scheduling.greedy import fill
from ground.scheduling.metrics import allocated_s
from ground.scheduling.model import (
    S_NS,
    Choice,
    Interval,
    Problem,
    Request,
    Schedule,
    Track,
    ViewPeriod,
)
from ground.scheduling.objective import Judge, Objective
from ground.scheduling.repair import answer_of, rivals, solve_around
from ground.scheduling.requests import intersect
from ground.scheduling.requests_fields import duration_text
from ground.scheduling.rules import violations
from protocols.errors import LocalError

#: A minimum lowered to less than that is not worth a proposal.
LEAST_TRACK_S = 900
#: In an exchange the request counts so many times as much as the others.
FIRST = 50.0
#: And a track is moved only where that saves the others so many hours.
CHANGE_H = 0.25
FREED = 16


@dataclass(frozen=True)
class Proposal:
    """`problem` is the changed one, `schedule` keeps its rules and gives the request `given_s`.

    kind        room, minimum, window, antenna, commitment, links, gap, quota or exchange
    changes     tracks of others that are moved, shortened or dropped, as text
    lost_s      what the others lose in all (negative: they gain)
    """

    kind: str
    text: str
    problem: Problem
    schedule: Schedule
    given_s: int
    changes: tuple[str, ...] = ()
    lost_s: int = 0


def propose(problem: Problem, schedule: Schedule, request: str, exchange: bool = True, seed: int = 1
            ) -> list[Proposal]:  # fmt: skip
    """Proposals for one request, those that cost others least first; none if nothing helps.

    Raises LocalError for an unknown request or one that a lock holds.
    """
    wanted = problem.request_by_id.get(request)
    if wanted is None:
        raise LocalError(f"request {request!r} is not one of {problem.name}")
    if any(lock.request == request for lock in problem.locks):
        raise LocalError(f"request {request} is locked: unlock it first")
    given_s = allocated_s(problem, schedule)[request]
    found = []
    for kind, text, changed in _variants(problem, schedule, wanted):
        placed = _placed(changed, schedule, request)
        if placed is not None and (proposal := _proposal(
            kind, text, changed, schedule, placed, request, given_s)):  # fmt: skip
            found.append(proposal)
            if kind == "room":
                return found
    if exchange and (proposal := _exchange(problem, schedule, request, given_s, seed)):
        found.append(proposal)
    return sorted(found, key=lambda p: p.lost_s)


def _proposal(
    kind: str,
    text: str,
    changed: Problem,
    before: Schedule,
    after: Schedule,
    request: str,
    given_s: int,
) -> Proposal | None:
    """None where the schedule is not allowed or wins nothing: then nothing is proved."""
    then = allocated_s(changed, after)
    if then[request] <= given_s or violations(changed, after):
        return None
    now = allocated_s(changed, before)
    lost_s = sum(now[name] - then[name] for name in now if name != request)
    tracks = " and ".join(_track_text(t) for t in after.by_request[request])
    return Proposal(
        kind=kind,
        text=f"{text}: {duration_text(then[request])} on {tracks}",
        problem=changed,
        schedule=after,
        given_s=then[request],
        changes=tuple(_changes(changed, before, after, request)),
        lost_s=lost_s,
    )


def _track_text(track: Track) -> str:
    return f"{' + '.join(track.antennas)} {span_text(track.tracking)}"


def _changes(problem: Problem, before: Schedule, after: Schedule, request: str) -> Iterator[str]:
    for name in sorted(set(before.by_request) | set(after.by_request)):
        old, new = before.by_request.get(name, ()), after.by_request.get(name, ())
        if name == request or old == new:
            continue
        source = problem.request_by_id[name]
        agency = problem.agency_of(source)
        who = f"{name} ({source.mission}{', ' + agency if agency else ''})"
        lost_s = int(sum(t.length_s for t in old) - sum(t.length_s for t in new))
        to = " and ".join(_track_text(t) for t in new)
        if not new:
            yield f"drop {who}, {duration_text(lost_s)}"
        elif lost_s > 0:
            yield f"shorten {who} by {duration_text(lost_s)}: {to}"
        elif lost_s < 0:
            yield f"lengthen {who} by {duration_text(-lost_s)}: {to}"
        else:
            yield f"move {who} to {to}"


def _with(problem: Problem, request: Request) -> Problem:
    return replace(
        problem, requests=tuple(request if r.id == request.id else r for r in problem.requests)
    )


def _compiled(
    problem: Problem, schedule: Schedule, request: str
) -> tuple[Compiled, Occupancy, int]:
    compiled = Compiled(replace(problem, published=None))
    index = compiled.index[request]
    answer = answer_of(compiled, schedule)
    others = [i for i in range(len(answer)) if i != index]
    return compiled, Occupancy(compiled, answer, others), index


def _placed(problem: Problem, schedule: Schedule, request: str) -> Schedule | None:
    """The schedule with the request placed greedily in free room, all others as they are."""
    compiled, held, index = _compiled(problem, schedule, request)
    answer = answer_of(compiled, schedule)
    answer[index] = ()
    fill(compiled, answer, held, [index])
    return compiled.schedule(answer) if answer[index] else None


def _variants(
    problem: Problem, schedule: Schedule, request: Request
) -> Iterator[tuple[str, str, Problem]]:
    yield "room", "there is room", problem
    yield from _lower_minimum(problem, schedule, request)
    yield from _shifted(problem, schedule, request)
    yield from _antennas(problem, request)
    yield from _lifted(problem, request)


def _lower_minimum(
    problem: Problem, schedule: Schedule, request: Request
) -> Iterator[tuple[str, str, Problem]]:
    short = replace(request, minimum_s=min(LEAST_TRACK_S, request.minimum_s))
    compiled, held, index = _compiled(_with(problem, short), schedule, request.id)
    free = held.windows(compiled.requests[index])
    longest = max((hi - lo for _, lo, hi in free), default=0)
    whole = min(longest, request.duration_s) // 60 * 60
    if LEAST_TRACK_S <= whole < request.minimum_s:
        text = f"minimum {duration_text(whole)} instead of {duration_text(request.minimum_s)}"
        yield "minimum", text, _with(problem, replace(request, minimum_s=whole))


def mission_views(problem: Problem, mission: str) -> dict[tuple[str, ...], list[Interval]]:
    """When each antenna set sees the mission, as far as its requests' view periods tell."""
    seen: dict[tuple[str, ...], list[Interval]] = {}
    for request in problem.requests:
        if request.mission == mission:
            for choice in request.choices:
                seen.setdefault(choice.antennas, []).extend(choice.view_periods)
    return {antennas: _merged(periods) for antennas, periods in seen.items()}


def _merged(periods: list[Interval]) -> list[Interval]:
    found: list[Interval] = []
    for period in sorted(periods, key=lambda p: (p.start_ns, p.end_ns)):
        if found and period.start_ns <= found[-1].end_ns:
            last = found.pop()
            period = Interval(last.start_ns, max(last.end_ns, period.end_ns))
        found.append(Interval(period.start_ns, period.end_ns))
    return found


def _choice(antennas: tuple[str, ...], periods: list[Interval]) -> Choice:
    return Choice(antennas, tuple(ViewPeriod(p.start_ns, p.end_ns) for p in periods))


def _shifted(
    problem: Problem, schedule: Schedule, request: Request
) -> Iterator[tuple[str, str, Problem]]:
    """The least widening of the window, earlier and later, that lets the minimum in; or all that is
    wanted, where the request has its minimum already."""
    window = request.window
    if window is None:
        return
    seen = mission_views(problem, request.mission)
    whole = request.segments == 1 and request.id in schedule.by_request
    wide = replace(
        request,
        window=None,
        minimum_s=request.duration_s if whole else request.minimum_s,
        choices=tuple(_choice(c.antennas, seen[c.antennas]) for c in request.choices),
    )
    compiled, held, index = _compiled(_with(problem, wide), schedule, request.id)
    probe = compiled.requests[index]
    for earlier in (True, False):
        edge_ns = _edge_ns(compiled, held, probe, window, earlier)
        if edge_ns is None:
            continue
        wider = Interval(min(window.start_ns, edge_ns), max(window.end_ns, edge_ns))
        choices = tuple(
            _choice(c.antennas, intersect(seen[c.antennas], [wider])) for c in request.choices
        )
        shift_s = abs(edge_ns - (window.start_ns if earlier else window.end_ns)) // S_NS
        where = "begins earlier" if earlier else "ends later"
        text = f"a window that {where} by {duration_text(shift_s)}"
        yield "window", text, _with(problem, replace(request, window=wider, choices=choices))


def _edge_ns(
    compiled: Compiled, held: Occupancy, probe: CompiledRequest, window: Interval, earlier: bool
) -> int | None:
    """Begin (end) of the wider window, as near to the old one as free room for a minimum lets."""
    begin = -((compiled.origin_ns - window.start_ns) // S_NS)
    end = (window.end_ns - compiled.origin_ns) // S_NS
    edges = []
    for _, lo, hi in held.windows(probe):
        if hi - lo < probe.minimum:
            continue
        if earlier and lo < begin:
            edges.append(min(hi, end) - probe.minimum)
        elif not earlier and hi > end:
            edges.append(max(lo, begin) + probe.minimum)
    edges = [e for e in edges if (e < begin if earlier else e > end)]
    if not edges:
        return None
    return compiled.origin_ns + (max(edges) if earlier else min(edges)) * S_NS


def _antennas(problem: Problem, request: Request) -> Iterator[tuple[str, str, Problem]]:
    """Antenna sets that other requests of the mission name, and this one does not."""
    named = {c.antennas for c in request.choices}
    for antennas, periods in sorted(mission_views(problem, request.mission).items()):
        inside = intersect(periods, [request.window]) if request.window else periods
        if antennas not in named and inside:
            more = replace(request, choices=(*request.choices, _choice(antennas, inside)))
            yield "antenna", f"{' + '.join(antennas)} as well", _with(problem, more)


def _lifted(problem: Problem, request: Request) -> Iterator[tuple[str, str, Problem]]:
    names = {name for choice in request.choices for name in choice.antennas}
    for commitment in problem.commitments:
        if commitment.antenna in names and any(
            commitment.interval.overlaps(p)
            for c in request.choices
            if commitment.antenna in c.antennas
            for p in c.view_periods
        ):
            rest = tuple(c for c in problem.commitments if c is not commitment)
            text = (
                f"without {commitment.kind} of {commitment.antenna} "
                f"{span_text(commitment.interval)}"
            )
            yield "commitment", text, replace(problem, commitments=rest)
    mission = problem.mission_by_name[request.mission]
    more = replace(mission, links=mission.links + 1)
    missions = tuple(more if m.name == mission.name else m for m in problem.missions)
    text = f"{more.links} links at a time for {mission.name}"
    yield "links", text, replace(problem, missions=missions)
    for gap in problem.gaps:
        if request.id in (gap.first, gap.second):
            rest = tuple(g for g in problem.gaps if g is not gap)
            yield "gap", f"without the gap {gap.first} to {gap.second}", replace(problem, gaps=rest)
    for quota in problem.quotas:
        if quota.agency == problem.agency_of(request):
            sets = max((len(c.antennas) for c in request.choices), default=1)
            around = request.setup_s + request.teardown_s
            maximum_s = quota.maximum_s + sets * (request.duration_s + around)
            higher = replace(quota, maximum_s=maximum_s)
            quotas = tuple(higher if q is quota else q for q in problem.quotas)
            text = f"a quota of {duration_text(maximum_s)} for {quota.agency}"
            yield "quota", text, replace(problem, quotas=quotas)


def _exchange(
    problem: Problem, schedule: Schedule, request: str, given_s: int, seed: int
) -> Proposal | None:
    """The request first, the tracks in its way anew around it: what the others lose at least."""
    wanted = problem.request_by_id[request]
    first = _with(problem, replace(wanted, priority=wanted.priority * FIRST))
    compiled = Compiled(replace(first, published=schedule))
    index = compiled.index[request]
    judge = Judge(compiled, Objective(hours=1.0, change=CHANGE_H))
    answer = answer_of(compiled, schedule)
    free = {index} | rivals(compiled, answer, index, FREED)
    found = solve_around(judge, answer, free, FREED, 1.0, 10.0, seed)
    if found is None:
        return None
    after = compiled.schedule(found)
    return _proposal("exchange", "others give way", problem, schedule, after, request, given_s)
