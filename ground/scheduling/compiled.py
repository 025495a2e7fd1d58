"""A problem made ready for search: whole seconds from the horizon's begin, commitments cut out.

A placement is a tuple (choice index, on_s, off_s); an answer holds a tuple of them, in order of
begin, for each request: empty where the request gets nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from ground.scheduling.model import S_NS, Problem, Request, Schedule, Track, track_of
from protocols.errors import LocalError

Placement = tuple[int, int, int]
Answer = list[tuple[Placement, ...]]
#: [choice index, lo_s, hi_s]: tracking may lie anywhere inside.
Window = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class CompiledRequest:
    index: int
    id: str
    mission: int
    duration: int
    minimum: int
    setup: int
    teardown: int
    segment_minimum: int
    segments: int
    priority: float
    beam: str
    antennas: tuple[tuple[int, ...], ...]
    windows: tuple[Window, ...]

    @property
    def shortest(self) -> int:
        """No track of the request is shorter."""
        return min(self.minimum, self.segment_minimum) if self.segments > 1 else self.minimum


@dataclass(frozen=True, slots=True)
class CompiledGap:
    first: int
    second: int
    minimum: int
    maximum: int


@dataclass(frozen=True, slots=True)
class CompiledQuota:
    requests: frozenset[int]
    antennas: frozenset[int]
    maximum: int


class Compiled:
    """`problem` in indices and seconds.  Raises LocalError for locks that cannot be held."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.origin_ns = problem.horizon.start_ns
        self.length = (problem.horizon.end_ns - self.origin_ns) // S_NS
        self.antennas = [a.name for a in problem.antennas]
        self.mspa = [a.mspa for a in problem.antennas]
        self.missions = [m.name for m in problem.missions]
        self.links = [m.links for m in problem.missions]
        antenna_index = {name: i for i, name in enumerate(self.antennas)}
        mission_index = {name: i for i, name in enumerate(self.missions)}
        self.agencies = sorted({m.agency for m in problem.missions})
        self.agency = [self.agencies.index(m.agency) for m in problem.missions]
        blocked = self._blocked()
        self.requests = [
            self._request(i, r, antenna_index, mission_index, blocked)
            for i, r in enumerate(problem.requests)
        ]
        self.index = {r.id: r.index for r in self.requests}
        self.mission_requests: list[list[int]] = [[] for _ in self.missions]
        for request in self.requests:
            self.mission_requests[request.mission].append(request.index)
        self.requested = [
            sum(self.requests[i].duration for i in those) for those in self.mission_requests
        ]
        self.gaps = [
            CompiledGap(self.index[g.first], self.index[g.second], g.minimum_s, g.maximum_s)
            for g in problem.gaps
        ]
        self.gaps_of: list[list[CompiledGap]] = [[] for _ in self.requests]
        for gap in self.gaps:
            self.gaps_of[gap.first].append(gap)
            self.gaps_of[gap.second].append(gap)
        self.quotas = [
            CompiledQuota(
                frozenset(
                    r.index
                    for r in self.requests
                    if problem.missions[r.mission].agency == quota.agency
                ),
                frozenset(antenna_index[name] for name in quota.antennas or self.antennas),
                quota.maximum_s,
            )
            for quota in problem.quotas
        ]
        self.locked = self._locked()

    def _blocked(self) -> list[list[tuple[int, int]]]:
        """Commitments by antenna, in seconds, rounded outwards."""
        found = []
        for name in self.antennas:
            those = self.problem.commitments_by_antenna[name]
            found.append(
                [
                    (
                        (c.interval.start_ns - self.origin_ns) // S_NS,
                        -((self.origin_ns - c.interval.end_ns) // S_NS),
                    )
                    for c in those
                ]
            )
        return found

    def _request(
        self,
        index: int,
        request: Request,
        antenna_index: dict[str, int],
        mission_index: dict[str, int],
        blocked: list[list[tuple[int, int]]],
    ) -> CompiledRequest:
        shortest = request.minimum_s
        if request.segments > 1:
            shortest = min(shortest, request.segment_minimum_s)
        windows: list[Window] = []
        antennas = []
        for number, choice in enumerate(request.choices):
            those = tuple(antenna_index[name] for name in choice.antennas)
            antennas.append(those)
            blocks = sorted(
                (begin - request.teardown_s, end + request.setup_s)
                for antenna in those
                for begin, end in blocked[antenna]
            )
            for period in choice.view_periods:
                lo = max(-((self.origin_ns - period.start_ns) // S_NS), request.setup_s)
                hi = (period.end_ns - self.origin_ns) // S_NS
                hi = min(hi, self.length - request.teardown_s)
                windows += [(number, a, b) for a, b in free(lo, hi, blocks, shortest)]
        return CompiledRequest(
            index=index,
            id=request.id,
            mission=mission_index[request.mission],
            duration=request.duration_s,
            minimum=request.minimum_s,
            setup=request.setup_s,
            teardown=request.teardown_s,
            segment_minimum=request.segment_minimum_s,
            segments=request.segments,
            priority=request.priority,
            beam=request.beam,
            antennas=tuple(antennas),
            windows=tuple(sorted(windows, key=lambda w: (w[1], w[0]))),
        )

    def _locked(self) -> dict[int, tuple[Placement, ...]]:
        """A request with a locked track keeps exactly its locked tracks."""
        found: dict[int, list[Track]] = {}
        for track in self.problem.locks:
            found.setdefault(self.index[track.request], []).append(track)
        locked = {}
        for index, tracks in found.items():
            request = self.requests[index]
            total_ns = sum(t.off_ns - t.on_ns for t in tracks)
            if total_ns < request.minimum * S_NS:
                raise LocalError(
                    f"lock: the tracks of {request.id} last {total_ns / S_NS:g} s, less than its "
                    f"minimum of {request.minimum} s"
                )
            locked[index] = tuple(sorted((self.placement(t) for t in tracks), key=lambda p: p[1]))
        return locked

    def placement(self, track: Track) -> Placement:
        """Raises LocalError if the request does not list the antennas or a time is no second."""
        index = self.index[track.request]
        those = tuple(self.antennas.index(name) for name in track.antennas)
        if those not in self.requests[index].antennas:
            raise LocalError(f"track of {track.request}: {'_'.join(track.antennas)} not requested")
        on_ns, off_ns = track.on_ns - self.origin_ns, track.off_ns - self.origin_ns
        if on_ns % S_NS or off_ns % S_NS:
            raise LocalError(
                f"track of {track.request}: whole seconds from the horizon's begin wanted"
            )
        return self.requests[index].antennas.index(those), on_ns // S_NS, off_ns // S_NS

    def schedule(self, answer: Answer) -> Schedule:
        tracks = []
        for request, placements in zip(self.requests, answer, strict=True):
            source = self.problem.requests[request.index]
            for choice, on, off in placements:
                antennas = source.choices[choice].antennas
                on_ns, off_ns = self.origin_ns + on * S_NS, self.origin_ns + off * S_NS
                tracks.append(track_of(source, antennas, on_ns, off_ns))
        return Schedule(tuple(tracks))

    def empty(self) -> Answer:
        return [self.locked.get(r.index, ()) for r in self.requests]

    def given(self, answer: Answer, index: int) -> int:
        """Tracking seconds of a request."""
        return sum(off - on for _, on, off in answer[index])


def free(
    lo: int, hi: int, blocks: Iterable[tuple[int, int]], shortest: int
) -> list[tuple[int, int]]:
    """What of [lo, hi] is left between sorted blocks, where at least `shortest` long."""
    found = []
    for begin, end in blocks:
        if end <= lo:
            continue
        if begin >= hi:
            break
        if begin - lo >= shortest:
            found.append((lo, begin))
        lo = end
    if hi - lo >= shortest:
        found.append((lo, hi))
    return found


class Occupancy:
    """Who holds which antenna and which mission's link when, of a part of an answer."""

    def __init__(self, compiled: Compiled, answer: Answer, indices: Iterable[int]) -> None:
        self.compiled = compiled
        self.antenna: list[list[tuple[int, int, int]]] = [[] for _ in compiled.antennas]
        self.link: list[list[tuple[int, int, int]]] = [[] for _ in compiled.missions]
        self.answer: dict[int, tuple[Placement, ...]] = {}
        for index in indices:
            self._hold(index, answer[index])
        for held in (*self.antenna, *self.link):
            held.sort()
        self.longest = max((e - s for held in self.antenna for s, e, _ in held), default=0)

    def _hold(self, index: int, placements: tuple[Placement, ...]) -> None:
        request = self.compiled.requests[index]
        self.answer[index] = placements
        for choice, on, off in placements:
            for antenna in request.antennas[choice]:
                held = (on - request.setup, off + request.teardown, index)
                self.antenna[antenna].append(held)
            self.link[request.mission].append((on, off, index))

    def add(self, index: int, placements: tuple[Placement, ...]) -> None:
        self._hold(index, placements)
        request = self.compiled.requests[index]
        for choice, on, off in placements:
            for antenna in request.antennas[choice]:
                self.antenna[antenna].sort()
            self.longest = max(self.longest, off - on + request.setup + request.teardown)
        self.link[request.mission].sort()

    def windows(self, request: CompiledRequest) -> list[Window]:
        """Windows of the request that the held tracks leave, each at least `shortest` long.

        Antennas with `mspa` and missions with several links count as taken only where their last
        place is taken; what a beam allows beyond that is for the caller's model to use.
        """
        compiled = self.compiled
        found = []
        first, last, latest_on, earliest_off = self._gap_limits(request)
        links = self.link[request.mission]
        if compiled.links[request.mission] > 1:
            links = _full(links, compiled.links[request.mission])
        for choice, lo, hi in request.windows:
            lo, hi = max(lo, first), min(hi, last)
            if hi - lo < request.shortest:
                continue
            blocks = []
            for antenna in request.antennas[choice]:
                held = self.antenna[antenna]
                if compiled.mspa[antenna] > 1 and request.beam:
                    held = self._others(antenna, request.beam)
                begin = bisect_left(held, (lo - request.setup - self.longest,))
                for start, end, _ in held[begin:]:
                    if start - request.teardown >= hi:
                        break
                    if end + request.setup > lo:
                        blocks.append((start - request.teardown, end + request.setup))
            blocks += [(on, off) for on, off, _ in links if off > lo and on < hi]
            if blocks:
                blocks.sort()
                found += [(choice, a, b) for a, b in free(lo, hi, blocks, request.shortest)]
            else:
                found.append((choice, lo, hi))
        if request.segments == 1:
            # Of a split request only the first (last) track is bound so.
            found = [w for w in found if w[1] <= latest_on and w[2] >= earliest_off]
        return found

    def _others(self, antenna: int, beam: str) -> list[tuple[int, int, int]]:
        """Tracks that leave no place for one of the beam: other beams, and a full beam."""
        requests = self.compiled.requests
        same = [h for h in self.antenna[antenna] if requests[h[2]].beam == beam]
        other = [h for h in self.antenna[antenna] if requests[h[2]].beam != beam]
        return sorted(other + _full(same, self.compiled.mspa[antenna]))

    def _gap_limits(self, request: CompiledRequest) -> tuple[int, int, int, int]:
        """Where gaps to held requests let tracking lie, begin at the latest, end at the earliest.

        Necessary; exact only for one track.
        """
        lo, hi = 0, self.compiled.length
        latest_on, earliest_off = hi, lo
        for gap in self.compiled.gaps_of[request.index]:
            if gap.second == request.index and (held := self.answer.get(gap.first)):
                lo = max(lo, held[-1][2] + gap.minimum)
                latest_on = min(latest_on, held[-1][2] + gap.maximum)
            if gap.first == request.index and (held := self.answer.get(gap.second)):
                hi = min(hi, held[0][1] - gap.minimum)
                earliest_off = max(earliest_off, held[0][1] - gap.maximum)
        return lo, hi, latest_on, earliest_off


def _full(held: list[tuple[int, int, int]], places: int) -> list[tuple[int, int, int]]:
    """Intervals in which `places` of the held ones overlap."""
    edges = sorted([(s, 1) for s, _, _ in held] + [(e, -1) for _, e, _ in held])
    found, count, since = [], 0, 0
    for at, step in edges:
        if count >= places and at > since:
            found.append((since, at, -1))
        count += step
        since = at
    return found
