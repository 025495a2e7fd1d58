"""Why a request gets nothing, or less than it asks for: which rule, which competitors, what helps.

The rules are put on one after another — view periods, horizon, commitments, the mission's own
tracks and gaps, quota, the others' tracks — and the first under which the wanted length no longer
fits is the cause.  Proposals are in `proposals.py`; each is proved by a schedule that passes
`rules.violations` for the changed problem.

    for explanation in explain(problem, schedule):
        print(explanation.text)
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from ground.scheduling.compiled import Compiled, CompiledRequest, Occupancy, Window
from ground.scheduling.greedy import used
from ground.scheduling.metrics import allocated_s
from ground.scheduling.model import S_NS, Interval, Problem, Request, Schedule
from ground.scheduling.requests_fields import duration_text, utc_text
from protocols.errors import LocalError

#: What may be the cause, in the order in which the rules are put on.
CAUSES = {
    "no-view": "no antenna of its choices sees the target in its window",
    "view-too-short": "no view period is long enough (a window cuts what it does not hold)",
    "horizon": "the horizon cuts its view periods short",
    "commitment": "commitments take its view periods",
    "own-tracks": "its mission's own tracks, or gaps to them, leave no room",
    "quota": "its agency's quota is used up",
    "competitors": "tracks of others hold the antennas",
    "open": "there is room for it: the schedule is not finished",
}


@dataclass(frozen=True)
class Competitor:
    """A track in the way: of whom, and which part of the request's windows it takes."""

    request: str
    mission: str
    agency: str
    priority: float
    antenna: str
    interval: Interval
    blocked_s: int


@dataclass(frozen=True)
class Reach:
    """The most tracking that one of the steps allows, and on which antennas."""

    seconds: int
    antennas: str = ""


@dataclass(frozen=True)
class Explanation:
    """`cause` is a key of `CAUSES`; `reach` says what each step still allows, in its order.

    wanted_s    the minimum if the request gets nothing, else its whole duration
    blocking    commitments of the cause `commitment`, as text
    """

    request: Request
    given_s: int
    wanted_s: int
    cause: str
    reach: dict[str, Reach]
    competitors: tuple[Competitor, ...]
    blocking: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        request = self.request
        got = f"{duration_text(self.given_s)} of {duration_text(request.duration_s)}"
        window = f", window {span_text(request.window)}" if request.window else ""
        lines = [
            f"{request.id} ({request.mission}): {got}, minimum {duration_text(request.minimum_s)}"
            f"{window}",
            f"  {self.cause}: {CAUSES[self.cause]}",
        ]
        steps = [f"{name} {duration_text(r.seconds)}" for name, r in self.reach.items()]
        lines.append(f"  longest possible after each step: {', '.join(steps)}")
        lines += [f"  {text}" for text in self.blocking]
        for c in self.competitors:
            who = f"{c.request} ({c.mission}{', ' + c.agency if c.agency else ''}"
            lines.append(
                f"  {c.antenna} {span_text(c.interval)}: {who}, priority {c.priority:g}) "
                f"takes {duration_text(c.blocked_s)}"
            )
        return "\n".join(lines)


def span_text(interval: Interval) -> str:
    """`2018-03-05T10:00:00Z … 12:30:00Z`, the day once where both have it."""
    begin, end = utc_text(interval.start_ns), utc_text(interval.end_ns)
    return f"{begin} … {end[11:] if end[:10] == begin[:10] else end}"


def explain(
    problem: Problem, schedule: Schedule, requests: Collection[str] = (), competitors: int = 8
) -> list[Explanation]:
    """One explanation for each of the named requests, or for all that get less than they ask.

    A request that gets all it asks for has none.  At most so many `competitors`, the longest
    first.  Raises LocalError for an unknown request.
    """
    for name in requests:
        if name not in problem.request_by_id:
            near = [r for r in problem.request_by_id if r.startswith(f"{name}.")]
            near = near or difflib.get_close_matches(name, problem.request_by_id, 3)
            hint = f"; {', '.join(near)} meant?" if near else ""
            raise LocalError(f"request {name!r} is not one of {problem.name}{hint}")
    given = allocated_s(problem, schedule)
    wanted = [
        r
        for r in problem.requests
        if given[r.id] < r.duration_s and (not requests or r.id in requests)
    ]
    if not wanted:
        return []
    steps = _Steps(problem, schedule)
    return [steps.explain(r, given[r.id], competitors) for r in wanted]


class _Steps:
    """The problem with every minimum lowered to a second, so that what is too short is seen too."""

    def __init__(self, problem: Problem, schedule: Schedule) -> None:
        self.problem = problem
        self.schedule = schedule
        short = tuple(
            replace(r, minimum_s=1, segment_minimum_s=1 if r.segments > 1 else 0)
            for r in problem.requests
        )
        probe = replace(problem, requests=short, published=None)
        self.compiled = Compiled(probe)
        self.uncommitted = Compiled(replace(probe, commitments=(), locks=()))
        self.answer = self.compiled.empty()
        for name, tracks in schedule.by_request.items():
            index = self.compiled.index[name]
            self.answer[index] = tuple(
                sorted((self.compiled.placement(t) for t in tracks), key=lambda p: p[1])
            )

    def explain(self, request: Request, given_s: int, most: int) -> Explanation:
        index = self.compiled.index[request.id]
        probe = self.compiled.requests[index]
        wanted_s = request.duration_s if given_s else request.minimum_s
        own = [i for i in self.compiled.mission_requests[probe.mission] if i != index]
        own += [i for gap in self.compiled.gaps_of[index] for i in (gap.first, gap.second)]
        mine = Occupancy(self.compiled, self.answer, {i for i in own if i != index})
        others = [r.index for r in self.compiled.requests if r.index != index]
        free = mine.windows(probe)
        begin_ns = self.compiled.origin_ns
        views = [
            (number, (p.start_ns - begin_ns) // S_NS, (p.end_ns - begin_ns) // S_NS)
            for number, choice in enumerate(request.choices)
            for p in choice.view_periods
        ]
        reach = {
            "view": _reach(request, views),
            "horizon": _reach(request, self.uncommitted.requests[index].windows),
            "commitments": _reach(request, probe.windows),
            "own tracks": _reach(request, free),
            "quota": self._quota(request, _reach(request, free)),
        }
        everyone = Occupancy(self.compiled, self.answer, others)
        left = _reach(request, everyone.windows(probe))
        reach["others"] = min(left, reach["quota"], key=lambda r: r.seconds)
        cause = "no-view" if not views else "open"
        if views:
            names = (
                "view-too-short",
                "horizon",
                "commitment",
                "own-tracks",
                "quota",
                "competitors",
            )
            for name, step in zip(names, reach.values(), strict=True):
                if step.seconds < wanted_s:
                    cause = name
                    break
        return Explanation(
            request=request,
            given_s=given_s,
            wanted_s=wanted_s,
            cause=cause,
            reach=reach,
            competitors=tuple(self._competitors(probe, free)[:most]),
            blocking=tuple(self._blocking(request)) if cause == "commitment" else (),
        )

    def _quota(self, request: Request, reach: Reach) -> Reach:
        """What the agency's quotas leave of it."""
        index = self.compiled.index[request.id]
        around = request.setup_s + request.teardown_s
        seconds = reach.seconds
        rest = {i: p for i, p in enumerate(self.answer) if i != index}
        for quota in self.compiled.quotas:
            if index in quota.requests:
                sets = [len(quota.antennas.intersection(a)) for a in
                        self.compiled.requests[index].antennas]  # fmt: skip
                if count := min(sets, default=0):
                    left = quota.maximum - used(self.compiled, quota, rest)
                    seconds = min(seconds, max(0, left // count - around))
        return Reach(seconds, reach.antennas)

    def _competitors(self, probe: CompiledRequest, free: Iterable[Window]) -> list[Competitor]:
        """Tracks of others on antennas of the request, while it could otherwise be tracked."""
        compiled, problem = self.compiled, self.problem
        free = list(free)
        found: list[Competitor] = []
        for other in compiled.requests:
            if other.index == probe.index or other.mission == probe.mission:
                continue
            source = problem.requests[other.index]
            for choice, on, off in self.answer[other.index]:
                begin, end = on - other.setup, off + other.teardown
                for antenna in other.antennas[choice]:
                    blocked = max(
                        (
                            min(end + probe.setup, hi) - max(begin - probe.teardown, lo)
                            for number, lo, hi in free
                            if antenna in probe.antennas[number]
                        ),
                        default=0,
                    )
                    if blocked > 0:
                        at_ns = compiled.origin_ns + begin * S_NS
                        found.append(
                            Competitor(
                                request=other.id,
                                mission=source.mission,
                                agency=problem.agency_of(source),
                                priority=source.priority,
                                antenna=compiled.antennas[antenna],
                                interval=Interval(at_ns, at_ns + (end - begin) * S_NS),
                                blocked_s=blocked,
                            )
                        )
        return sorted(found, key=lambda c: (-c.blocked_s, c.interval, c.antenna))

    def _blocking(self, request: Request) -> list[str]:
        found = {}
        for choice in request.choices:
            for name in choice.antennas:
                for commitment in self.problem.commitments_by_antenna[name]:
                    if any(commitment.interval.overlaps(p) for p in choice.view_periods):
                        label = f" ({commitment.label})" if commitment.label else ""
                        text = f"{name} {span_text(commitment.interval)}: {commitment.kind}{label}"
                        found[text] = None
        return list(found)


def _reach(request: Request, windows: Iterable[Window]) -> Reach:
    """What fits in these windows: one track, or segments in windows one after another."""
    lengths = sorted(((hi - lo, number) for number, lo, hi in windows), reverse=True)
    if not lengths:
        return Reach(0)
    longest, number = lengths[0]
    total = min(longest, request.duration_s)
    if request.segments > 1:
        # Windows of several antennas may overlap in time: counted once, by a sweep.
        parts = 0
        count, edge = 0, None
        for _, lo, hi in sorted(windows, key=lambda w: w[2]):
            begin = lo if edge is None else max(lo, edge)
            if hi - begin >= request.segment_minimum_s and count < request.segments:
                parts, count, edge = parts + hi - begin, count + 1, hi
        total = max(total, min(parts, request.duration_s))
    return Reach(total, "_".join(request.choices[number].antennas))
