"""After a change — an antenna lost, a new commitment or request — the least different schedule.

What the change does not touch stays; what it breaks is shortened or moved into free time.  Then a
short, cool annealing lets other tracks give way, each at the price of a change; requests with rules
that it does not know (gaps, quotas, beams) are placed by CP-SAT with the few tracks in their way.
What has begun (set-up included) before `now_ns` is the past and stays as it was.

    problem = with_commitment(problem, "DSS-25", Interval(noon_ns, sunday_ns), kind="outage")
    replanned = replan(problem, published, now_ns=noon_ns)
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, replace

from ground.scheduling.compiled import Answer, Compiled, CompiledRequest, Occupancy, Placement
from ground.scheduling.greedy import fill, still_allowed
from ground.scheduling.model import (
    S_NS,
    Choice,
    Commitment,
    Interval,
    Problem,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.objective import Judge, Objective
from ground.scheduling.repair import rivals, solve_around
from ground.scheduling.ruin import Annealer, movable
from ground.scheduling.rules import violations
from protocols.errors import LocalError

#: A published track is moved only where that wins more than so many hours of tracking.
CHANGE_H = 0.5
#: And no more than this fraction of them in all: people have made their plans.
MOST_MOVED = 0.04
#: Where the price lets more than that move, it is raised to so many times itself, in turn.
PRICES = (1, 2, 4, 16)
#: Requests freed around one broken request by CP-SAT.
FREED = 14
#: Annealing: so many steps (about 1.5 s for a real week), from and to these temperatures in hours.
#: Hotter, it would first shake the published schedule and then look for it again.
STEPS, BATCH = 50_000, 1_000
HOT_H, COLD_H = 0.3, 0.02


@dataclass(frozen=True)
class Replanned:
    """`problem`: with `published` and, as locks, the past.  Tracks are those of the published.

    broken      tracks that the change forbids
    kept        of the others, those that stand exactly
    moved       of the others, those that do not
    abandoned   requests with a past that no longer reach their minimum; their tracks are gone
    """

    problem: Problem
    schedule: Schedule
    broken: tuple[Track, ...]
    kept: tuple[Track, ...]
    moved: tuple[Track, ...]
    abandoned: tuple[str, ...]
    seconds: float

    @property
    def unmoved(self) -> float:
        """Fraction of the tracks not broken that stand exactly."""
        others = len(self.kept) + len(self.moved)
        return len(self.kept) / others if others else 1.0


def with_commitment(
    problem: Problem, antenna: str, interval: Interval, kind: str = "outage", label: str = ""
) -> Problem:
    """Raises LocalError for an unknown antenna or an interval wholly outside the horizon."""
    inside = interval.intersection(problem.horizon)
    if inside is None:
        raise LocalError(f"{kind} of {antenna}: outside the horizon of {problem.name}")
    commitment = Commitment(antenna, inside, kind, label)
    return replace(problem, commitments=(*problem.commitments, commitment))


def replan(
    problem: Problem,
    published: Schedule,
    now_ns: int | None = None,
    wanted: Collection[str] = (),
    seconds: float = 2.5,
    seed: int = 1,
    change_h: float = CHANGE_H,
) -> Replanned:
    """The schedule of the changed problem that differs least from the published one.

    `wanted` are requests to fit in besides those that the change broke; `problem.locks` are kept.
    `seconds` bounds the search, which ends sooner when nothing is left to try.  Raises LocalError
    if a lock cannot be held under the change (it names the lock).
    """
    began = time.monotonic()
    now_ns = problem.horizon.start_ns if now_ns is None else now_ns
    unknown = [name for name in wanted if name not in problem.request_by_id]
    if unknown:
        raise LocalError(f"request {unknown[0]!r} is not one of {problem.name}")
    published = Schedule(tuple(t for t in published.tracks if t.request in problem.request_by_id))
    forbidden = _forbidden(problem, published)
    for lock in problem.locks:
        if lock in forbidden:
            raise LocalError(
                f"lock: {lock.request} on {'_'.join(lock.antennas)} cannot be held: "
                f"{forbidden[lock]}; unlock it first"
            )
    past = {t for t in published.tracks if t.start_ns < now_ns and t not in forbidden}
    cuts = [cut for t in forbidden if t.start_ns < now_ns and (cut := _cut(problem, t))]
    future = _Future(problem, published, past, set(forbidden), cuts, now_ns)
    compiled = Compiled(future.problem)
    search = _Search(compiled, future, set(wanted), change_h, seed, began + seconds)
    tracks = [*future.held, *compiled.schedule(search.run()).tracks]
    schedule, abandoned = _settle(problem, Schedule(tuple(tracks)))
    held = set(schedule.tracks)
    others = [t for t in published.tracks if t not in forbidden]
    return Replanned(
        problem=replace(problem, published=published),
        schedule=schedule,
        broken=tuple(sorted(forbidden)),
        kept=tuple(t for t in others if t in held),
        moved=tuple(t for t in others if t not in held),
        abandoned=abandoned,
        seconds=time.monotonic() - began,
    )


def _forbidden(problem: Problem, published: Schedule) -> dict[Track, str]:
    """Published tracks that the problem no longer allows, each with the reason."""
    found = {}
    for track in published.tracks:
        request = problem.request_by_id[track.request]
        choice = request.choice(track.antennas)
        if choice is None:
            found[track] = "its antennas are no longer requested"
        elif not any(p.contains(track.tracking) for p in choice.view_periods):
            found[track] = "it is no longer inside a view period"
        elif (
            track.on_ns - track.start_ns != request.setup_s * S_NS
            or track.end_ns - track.off_ns != request.teardown_s * S_NS
        ):
            found[track] = "its set-up or tear-down is another now"
        for antenna in track.antennas:
            for commitment in problem.commitments_by_antenna.get(antenna, ()):
                if commitment.interval.overlaps(track.occupied):
                    found[track] = f"{commitment.kind} of {antenna}"
    return found


def _cut(problem: Problem, track: Track) -> Track | None:
    """A track in progress up to the commitment that breaks it off, if that much is of use."""
    request = problem.request_by_id[track.request]
    begins = [
        c.interval.start_ns
        for antenna in track.antennas
        for c in problem.commitments_by_antenna[antenna]
        if c.interval.overlaps(track.occupied)
    ]
    if not begins:
        return None
    off_ns = min(track.off_ns, min(begins) - request.teardown_s * S_NS)
    least_s = request.segment_minimum_s if request.segments > 1 else request.minimum_s
    if off_ns - track.on_ns < least_s * S_NS:
        return None
    return track_of(request, track.antennas, track.on_ns, off_ns)


class _Future:
    """The problem of what is still open: views from now on, the past locked or held apart.

    A request that has some tracks in the past and lost others asks for the remainder only; its
    past tracks, and what a broken-off one had, are `held` and stand as commitments.
    """

    def __init__(
        self,
        problem: Problem,
        published: Schedule,
        past: set[Track],
        forbidden: set[Track],
        cuts: list[Track],
        now_ns: int,
    ) -> None:
        self.published = published
        self.now_ns = now_ns
        self.held: list[Track] = []
        locks = list(problem.locks)
        commitments = list(problem.commitments)
        apart: dict[str, list[Track]] = {}
        for name, tracks in published.by_request.items():
            begun = [t for t in cuts if t.request == name]
            if not begun and not any(t in past for t in tracks):
                continue
            if any(t in forbidden for t in tracks):
                apart[name] = [*(t for t in tracks if t not in forbidden), *begun]
            else:
                locks += [t for t in tracks if t not in locks]
        for name, tracks in apart.items():
            self.held += tracks
            locks = [t for t in locks if t.request != name]
            commitments += [
                Commitment(a, t.occupied, "pass", name) for t in tracks for a in t.antennas
            ]
        requests = []
        locked = {t.request for t in locks}
        for request in problem.requests:
            if request.id in locked:
                requests.append(request)
                continue
            cut = [t.tracking for name in apart for t in apart[name]
                   if problem.request_by_id[name].mission == request.mission]  # fmt: skip
            if request.id in apart:
                request = _remainder(request, apart[request.id])
            requests.append(_from(request, now_ns, cut))
        self.problem = replace(
            problem,
            requests=tuple(requests),
            commitments=tuple(commitments),
            locks=tuple(locks),
            published=Schedule(tuple(t for t in published.tracks if t not in self.held)),
        )


def _remainder(request: Request, done: list[Track]) -> Request:
    done_s = int(sum(t.length_s for t in done))
    left_s = request.duration_s - done_s
    segments = request.segments - len(done)
    least_s = max(request.minimum_s - done_s, request.segment_minimum_s, 1)
    if segments < 1 or left_s < least_s:
        return replace(request, choices=())
    return replace(
        request,
        duration_s=left_s,
        minimum_s=least_s,
        segments=segments,
    )


def _from(request: Request, now_ns: int, cut: list[Interval]) -> Request:
    """The request with view periods in which a track can still begin, without the cut ones."""
    from_ns = now_ns + request.setup_s * S_NS
    choices = []
    for choice in request.choices:
        periods: list[Interval] = [
            ViewPeriod(max(p.start_ns, from_ns), p.end_ns)
            for p in choice.view_periods
            if p.end_ns > from_ns
        ]
        for hole in cut:
            periods = [
                ViewPeriod(a, b)
                for p in periods
                for a, b in (
                    (p.start_ns, min(p.end_ns, hole.start_ns)),
                    (max(p.start_ns, hole.end_ns), p.end_ns),
                )
                if a < b
            ]
        choices.append(Choice(choice.antennas, tuple(periods)))  # pyright: ignore[reportArgumentType]
    return replace(request, choices=tuple(choices))


class _Search:
    def __init__(
        self,
        compiled: Compiled,
        future: _Future,
        wanted: set[str],
        change_h: float,
        seed: int,
        deadline: float,
    ) -> None:
        self.compiled = compiled
        self.judge = Judge(compiled, Objective(hours=1.0, change=change_h))
        self.seed = seed
        self.deadline = deadline
        self.now_s = (future.now_ns - compiled.origin_ns) // S_NS
        self.before: Answer = [
            tuple(sorted(self._placements(r, future.problem.published), key=lambda p: p[1]))
            for r in compiled.requests
        ]
        self.wanted = {compiled.index[name] for name in wanted}
        self.remainders = {compiled.index[t.request] for t in future.held}

    def _placements(self, request: CompiledRequest, published: Schedule | None) -> list[Placement]:
        found = []
        for track in (published or Schedule()).by_request.get(request.id, ()):
            try:
                found.append(self.compiled.placement(track))
            except LocalError:
                continue  # its antennas are no longer asked for: it is broken, not held
        return found

    def run(self) -> Answer:
        answer, held, affected = self._keep()
        lost = sorted(affected, key=lambda i: -self.compiled.requests[i].duration)
        fill(self.compiled, answer, held, lost)
        known = movable(self.compiled)
        exact = {i for i in affected if not known[i]}
        if any(known[r.index] and r.windows for r in self.compiled.requests):
            answer = self._anneal(answer, share=0.5 if exact else 1.0)
        return self._exactly(answer, exact) if exact else answer

    def _keep(self) -> tuple[Answer, Occupancy, set[int]]:
        """What of the published placements still stands, and which requests lost something."""
        compiled = self.compiled
        answer = compiled.empty()
        held = Occupancy(compiled, answer, compiled.locked)
        affected = set(self.wanted) | self.remainders
        for request in compiled.requests:
            index = request.index
            if index in compiled.locked or not self.before[index]:
                continue
            kept = tuple(p for p in self.before[index] if _inside(request.windows, p))
            if kept != self.before[index]:
                affected.add(index)
                kept = kept or self._shortened(request, self.before[index])
            kept = kept and still_allowed(compiled, held, request, kept)
            if kept:
                answer[index] = kept
                held.add(index, kept)
            else:
                affected.add(index)
        return answer, held, affected

    def _shortened(
        self, request: CompiledRequest, placements: tuple[Placement, ...]
    ) -> tuple[Placement, ...]:
        """The longest part of a broken placement that its windows still hold."""
        parts = [
            (choice, max(on, lo), min(off, hi))
            for choice, on, off in placements
            for other, lo, hi in request.windows
            if other == choice and min(off, hi) - max(on, lo) >= request.minimum
        ]
        return (max(parts, key=lambda p: p[2] - p[1]),) if parts else ()

    def _anneal(self, answer: Answer, share: float) -> Answer:
        """The best answer on the way that moves no more than `MOST_MOVED` of the tracks.

        Where a change at its price pays too often (a published schedule far from the best), the
        price is raised.  Counted steps: the answer does not depend on the machine unless time ends.
        """
        begin = time.monotonic()
        until = begin + share * (self.deadline - begin)
        best, most = answer, self._hours(answer)
        for price in PRICES:
            change = self.judge.objective.change * price
            judge = Judge(self.compiled, replace(self.judge.objective, change=change))
            annealer = Annealer(judge, answer)
            moved = 0.0
            for done in range(0, STEPS, BATCH):
                heat = HOT_H * (COLD_H / HOT_H) ** (done / STEPS) * judge.unit
                annealer.run(self.seed * 1_000_003 + done, BATCH, heat, heat)
                found = annealer.answer()
                moved = self._moved(found)
                if moved <= 1 and self._hours(found) > most:
                    best, most = found, self._hours(found)
                # Far beyond what may move, cooling does not bring it back.
                if moved > 4 or time.monotonic() >= until:
                    break
            if moved <= 1 or time.monotonic() >= until:
                break
        return best

    def _hours(self, answer: Answer) -> float:
        compiled = self.compiled
        return sum(r.priority * compiled.given(answer, r.index) for r in compiled.requests) / 3600

    def _moved(self, answer: Answer) -> float:
        """Published tracks that could stand and do not, in units of what may move."""
        could = stand = 0
        for request in self.compiled.requests:
            placements = self.before[request.index]
            if request.index in self.compiled.locked:
                could, stand = could + len(placements), stand + len(placements)
                continue
            open_ = [p for p in placements if _inside(request.windows, p)]
            could += len(open_)
            stand += sum(p in answer[request.index] for p in open_)
        return (could - stand) / max(1, MOST_MOVED * could)

    def _exactly(self, answer: Answer, affected: set[int]) -> Answer:
        """CP-SAT around the requests until none of them gains."""
        compiled, judge = self.compiled, self.judge
        best = judge.value(answer)
        tired: set[int] = set()
        # All broken ones at once first: they compete with each other most of all.
        rounds: list[set[int]] = [set(affected)]
        while time.monotonic() < self.deadline:
            if rounds:
                free = rounds.pop()
            else:
                short = [
                    i
                    for i in sorted(affected - tired)
                    if compiled.given(answer, i) < compiled.requests[i].duration
                ]
                if not short:
                    break
                worst = max(
                    short, key=lambda i: compiled.requests[i].duration - compiled.given(answer, i)
                )
                tired.add(worst)
                free = {worst} | rivals(compiled, answer, worst, FREED)
            found = solve_around(
                judge, answer, free, 2 * FREED, 0.4, self.deadline - time.monotonic(), self.seed
            )
            if found is not None and (value := judge.value(found)) > best + 1e-9:
                gained = {i for i in range(len(answer)) if found[i] != answer[i]}
                answer, best = found, value
                affected = affected | {
                    i for i in gained if compiled.given(answer, i) < compiled.requests[i].duration
                }
                tired -= gained
        return answer


def _inside(windows: tuple[tuple[int, int, int], ...], placement: Placement) -> bool:
    choice, on, off = placement
    return any(c == choice and lo <= on and off <= hi for c, lo, hi in windows)


def _settle(problem: Problem, schedule: Schedule) -> tuple[Schedule, tuple[str, ...]]:
    """Drops requests whose past no longer reaches the minimum; raises if rules are broken."""
    abandoned = []
    for name, tracks in schedule.by_request.items():
        request = problem.request_by_id[name]
        if sum(t.off_ns - t.on_ns for t in tracks) < request.minimum_s * S_NS:
            abandoned.append(name)
    schedule = Schedule(tuple(t for t in schedule.tracks if t.request not in abandoned))
    if broken := violations(problem, schedule):
        raise LocalError(f"replan of {problem.name}: {broken[0]}")
    return schedule, tuple(abandoned)
