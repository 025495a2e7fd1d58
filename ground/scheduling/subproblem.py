"""One neighbourhood as a CP-SAT model: the free requests anew, all others as they are.

Each segment of a free request has one start and one size; a literal per window that the held
tracks leave says where it lies.  Elastic requests keep the windows they are in but may be moved
and stretched in them.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import dataclass

from ortools.sat.python import cp_model

from ground.scheduling.compiled import Answer, CompiledRequest, Occupancy, Placement
from ground.scheduling.greedy import used
from ground.scheduling.objective import Judge

#: The value's unit inside the model: one second of tracking at weight 1 is 1000.
SCALE = 1000
#: U_i is counted in so many parts; squares are convex, chords between breakpoints lie above them.
PARTS = 1000


@dataclass(frozen=True)
class Limits:
    """Of one CP-SAT call.  `deterministic` time is CP-SAT's own count of work, about a second."""

    deterministic: float = 1.0
    seconds: float = 1e9
    gap: float = 0.0
    workers: int = 1


@dataclass(frozen=True)
class Outcome:
    answer: Answer | None
    optimal: bool


@dataclass
class _Segment:
    request: CompiledRequest
    start: cp_model.IntVar
    size: cp_model.IntVar
    end: cp_model.IntVar
    present: cp_model.IntVar
    #: choice index -> (literal, [(window literal, lo, hi)])
    choices: dict[int, tuple[cp_model.IntVar, list[tuple[cp_model.IntVar, int, int]]]]


class Subproblem:
    """Build with the free and elastic requests, then `solve`."""

    def __init__(
        self,
        judge: Judge,
        answer: Answer,
        free: Collection[int],
        elastic: Collection[int] = (),
    ) -> None:
        self.judge = judge
        self.compiled = judge.compiled
        self.answer = answer
        self.model = cp_model.CpModel()
        elastic = [i for i in elastic if i not in free and answer[i]]
        self.free = sorted(set(free) - set(self.compiled.locked))
        self.elastic = sorted(set(elastic) - set(self.compiled.locked))
        self.moving = [*self.free, *self.elastic]
        moving = set(self.moving)
        held = [i for i in range(len(answer)) if i not in moving]
        self.held = Occupancy(self.compiled, answer, held)
        self.segments: dict[int, list[_Segment]] = {}
        self._on_antenna: list[list[tuple[cp_model.IntervalVar, str]]] = [
            [] for _ in self.compiled.antennas
        ]
        self._on_link: list[list[cp_model.IntervalVar]] = [[] for _ in self.compiled.missions]
        for index in self.free:
            self._request(self.compiled.requests[index], elastic=False)
        for index in self.elastic:
            self._request(self.compiled.requests[index], elastic=True)
        self._resources()
        self._gaps()
        self._quotas()
        self._objective()

    # Requests

    def _request(self, request: CompiledRequest, elastic: bool) -> None:
        model, name = self.model, request.index
        windows = self.held.windows(request)
        now = self.answer[name]
        if elastic:
            windows = [
                w for w in windows if any(w[0] == c and w[1] <= a and b <= w[2] for c, a, b in now)
            ]
        count = min(request.segments, len(now) if elastic else request.segments)
        if count > 1 and not elastic:
            # Two segments need room for both: in two windows, or one that is long enough.
            room = sum((hi - lo) // request.segment_minimum for _, lo, hi in windows)
            count = min(count, room)
        segments = []
        for number in range(count):
            shortest = request.shortest if count > 1 else request.minimum
            those = [w for w in windows if w[2] - w[1] >= shortest]
            if those:
                segments.append(self._segment(request, those, shortest, number))
        self.segments[name] = segments
        if elastic:
            for number, segment in enumerate(segments):
                model.add(segment.present == 1)
                choice, on, off = now[number]
                for other, (_, inner) in segment.choices.items():
                    for literal, lo, hi in inner:
                        if not (other == choice and lo <= on and off <= hi):
                            model.add(literal == 0)
        self._whole(request, segments)
        self._hint(segments, now)

    def _segment(
        self,
        request: CompiledRequest,
        windows: list[tuple[int, int, int]],
        shortest: int,
        number: int,
    ) -> _Segment:
        model = self.model
        lo, hi = min(w[1] for w in windows), max(w[2] for w in windows)
        longest = min(request.duration, max(w[2] - w[1] for w in windows))
        start = model.new_int_var(lo, hi - shortest, "")
        size = model.new_int_var_from_domain(
            cp_model.Domain.from_intervals([[0, 0], [shortest, longest]]), ""
        )
        end = model.new_int_var(lo, hi, "")
        present = model.new_bool_var("")
        model.add(start + size == end)
        model.add(size >= shortest).only_enforce_if(present)
        model.add(size == 0).only_enforce_if(~present)
        model.add(start == lo).only_enforce_if(~present)
        choices = {}
        literals = []
        for choice in sorted({w[0] for w in windows}):
            inner = []
            for _, a, b in (w for w in windows if w[0] == choice):
                literal = model.new_bool_var("")
                model.add(start >= a).only_enforce_if(literal)
                model.add(end <= b).only_enforce_if(literal)
                inner.append((literal, a, b))
            literals += [literal for literal, _, _ in inner]
            if len(inner) == 1:
                taken = inner[0][0]
            else:
                taken = model.new_bool_var("")
                model.add(sum(literal for literal, _, _ in inner) == taken)
            choices[choice] = (taken, inner)
            for antenna in request.antennas[choice]:
                interval = model.new_optional_interval_var(
                    start - request.setup,
                    size + (request.setup + request.teardown),
                    end + request.teardown,
                    taken,
                    "",
                )
                self._on_antenna[antenna].append((interval, request.beam))
        model.add_exactly_one([*literals, ~present])
        self._on_link[request.mission].append(
            model.new_optional_interval_var(start, size, end, present, "")
        )
        return _Segment(request, start, size, end, present, choices)

    def _whole(self, request: CompiledRequest, segments: list[_Segment]) -> None:
        model = self.model
        if not segments:
            return
        first = segments[0]
        if len(segments) == 1:
            return
        for before, after in itertools.pairwise(segments):
            model.add_implication(after.present, before.present)
            model.add(before.end <= after.start).only_enforce_if(after.present)
        second = segments[1]
        total = sum(segment.size for segment in segments)
        model.add(total <= request.duration)
        model.add(total >= request.minimum).only_enforce_if(first.present)
        # With a second one, every segment keeps to the shortest length of a split.
        model.add(first.size >= request.segment_minimum).only_enforce_if(second.present)
        for segment in segments[1:]:
            model.add(segment.size >= request.segment_minimum).only_enforce_if(segment.present)

    def _hint(self, segments: list[_Segment], now: tuple[Placement, ...]) -> None:
        model = self.model
        for number, segment in enumerate(segments):
            here = now[number] if number < len(now) else None
            model.add_hint(segment.present, here is not None)
            if here is None:
                model.add_hint(segment.size, 0)
            else:
                model.add_hint(segment.start, here[1])
                model.add_hint(segment.size, here[2] - here[1])
                model.add_hint(segment.end, here[2])
            for choice, (taken, inner) in segment.choices.items():
                mine = here is not None and choice == here[0]
                inside = False
                for literal, lo, hi in inner:
                    fits = mine and here is not None and lo <= here[1] and here[2] <= hi
                    model.add_hint(literal, fits and not inside)
                    inside = inside or fits
                if len(inner) > 1:
                    model.add_hint(taken, mine)

    # What they share

    def _resources(self) -> None:
        model, compiled = self.model, self.compiled
        for antenna, intervals in enumerate(self._on_antenna):
            if compiled.mspa[antenna] == 1 or not any(beam for _, beam in intervals):
                if len(intervals) > 1:
                    model.add_no_overlap([interval for interval, _ in intervals])
            elif intervals:
                self._shared_antenna(antenna, intervals)
        for mission, intervals in enumerate(self._on_link):
            if compiled.links[mission] == 1:
                if len(intervals) > 1:
                    model.add_no_overlap(intervals)
            elif intervals:
                fixed = [
                    model.new_fixed_size_interval_var(on, off - on, "")
                    for on, off, _ in self.held.link[mission]
                ]
                together = [*intervals, *fixed]
                model.add_cumulative(together, [1] * len(together), compiled.links[mission])

    def _shared_antenna(
        self, antenna: int, intervals: list[tuple[cp_model.IntervalVar, str]]
    ) -> None:
        """Up to `mspa` of one beam; another beam, or a request without one, excludes."""
        model, places = self.model, self.compiled.mspa[antenna]
        requests = self.compiled.requests
        together = list(intervals)
        for start, end, index in self.held.antenna[antenna]:
            if requests[index].beam:
                fixed = model.new_fixed_size_interval_var(start, end - start, "")
                together.append((fixed, requests[index].beam))
        model.add_cumulative(
            [interval for interval, _ in together],
            [1 if beam else places for _, beam in together],
            places,
        )
        for position, (one, beam) in enumerate(intervals):
            for other, other_beam in intervals[position + 1 :]:
                if beam and other_beam and beam != other_beam:
                    model.add_no_overlap([one, other])

    def _gaps(self) -> None:
        model, moving = self.model, set(self.moving)
        for gap in self.compiled.gaps:
            if not moving & {gap.first, gap.second}:
                continue
            ends: list[tuple[object, list[cp_model.IntVar]]] = []
            if gap.first in moving:
                for number, segment in enumerate(those := self.segments[gap.first]):
                    last = [segment.present]
                    if number + 1 < len(those):
                        last.append(~those[number + 1].present)  # type: ignore[arg-type]
                    ends.append((segment.end, last))
            elif held := self.answer[gap.first]:
                ends.append((held[-1][2], []))
            if gap.second in moving:
                begins = [(s.start, [s.present]) for s in self.segments[gap.second][:1]]
            else:
                begins = [(p[1], []) for p in self.answer[gap.second][:1]]
            for end, ended in ends:
                for begin, begun in begins:
                    both = [*ended, *begun]
                    model.add(begin - end >= gap.minimum).only_enforce_if(both)  # type: ignore
                    model.add(begin - end <= gap.maximum).only_enforce_if(both)  # type: ignore

    def _quotas(self) -> None:
        model = self.model
        for quota in self.compiled.quotas:
            terms = []
            for index in self.moving:
                if index not in quota.requests:
                    continue
                for segment in self.segments[index]:
                    request = segment.request
                    around = request.setup + request.teardown
                    most = max(len(a) for a in request.antennas)
                    taken = model.new_int_var(0, most * (request.duration + around), "")
                    for choice, (literal, _) in segment.choices.items():
                        count = len(quota.antennas.intersection(request.antennas[choice]))
                        if count:
                            model.add(taken >= count * (segment.size + around)).only_enforce_if(
                                literal
                            )
                    terms.append(taken)
            if terms:
                held = used(self.compiled, quota, self.held.answer)
                model.add(sum(terms) + held <= quota.maximum)

    # Objective

    def _objective(self) -> None:
        objective, model = self.judge.objective, self.model
        terms = []
        hours = objective.hours * SCALE
        for index in self.moving:
            request = self.compiled.requests[index]
            for number, segment in enumerate(self.segments[index]):
                if weight := round(hours * request.priority):
                    terms.append(weight * segment.size)
                if number == 0 and objective.satisfied:
                    terms.append(round(objective.satisfied * SCALE * 3600) * segment.present)
        if objective.u_square or objective.u_max:
            terms += self._fairness(
                self.compiled.mission_requests,
                self.judge.requested,
                objective.u_square,
                objective.u_max,
            )
        if objective.agency_square or objective.agency_max:
            groups: list[list[int]] = [[] for _ in self.compiled.agencies]
            for request in self.compiled.requests:
                groups[self.compiled.agency[request.mission]].append(request.index)
            terms += self._fairness(
                groups,
                self.judge.agency_requested,
                objective.agency_square,
                objective.agency_max,
            )
        terms += self._changes(objective.change)
        model.maximize(sum(terms))

    def _fairness(
        self, groups: list[list[int]], requested: list[int], square: float, worst: float
    ) -> list[cp_model.LinearExpr]:
        """Minus the weighted sum of squares and maximum of the groups' unsatisfied fractions."""
        model, moving = self.model, set(self.moving)
        unit = SCALE * 3600
        terms, tops, floor = [], [], 0
        for group, total in zip(groups, requested, strict=True):
            if not total:
                continue
            inside = [i for i in group if i in moving]
            given = sum(self.compiled.given(self.answer, i) for i in group if i not in moving)
            if not inside:
                floor = max(floor, -(-(total - given) * PARTS * PARTS // total))
                continue
            sizes = [s.size for i in inside for s in self.segments[i]]
            missing = model.new_int_var(0, total, "")
            model.add(missing == total - given - sum(sizes))
            if worst:
                tops.append((missing, total))
            if square:
                least = max(
                    0, total - given - sum(self.compiled.requests[i].duration for i in inside)
                )
                terms.append(-self._square(missing, least, total - given, total, square * unit))
        if worst and tops:
            top = model.new_int_var(floor, PARTS * PARTS, "")
            for missing, total in tops:
                model.add(top * total >= missing * (PARTS * PARTS))
            terms.append(-round(worst * unit / (PARTS * PARTS)) * top)
        return terms

    def _square(
        self, missing: cp_model.IntVar, lo: int, hi: int, total: int, weight: float
    ) -> cp_model.IntVar:
        """weight * (missing / total) ** 2 from above by chords; exact at their ends."""
        model = self.model
        cost = model.new_int_var(0, int(weight * (hi / total) ** 2) + 2, "")
        pieces = max(2, min(24, round((hi - lo) / total * 40)))
        ends = sorted({lo + (hi - lo) * k // pieces for k in range(pieces + 1)})
        for a, b in itertools.pairwise(ends):
            slope = weight * (a + b) / total**2
            # Integers: the chord's slope is rounded, its value at `a` is kept.
            whole = round(slope)
            model.add(cost >= whole * (missing - a) + int(weight * (a / total) ** 2))
        return cost

    def _changes(self, weight: float) -> list[cp_model.LinearExpr]:
        if not weight:
            return []
        model, terms = self.model, []
        for index in self.moving:
            for choice, on, off in self.judge.published.get(index, ()):
                kept = []
                for segment in self.segments[index]:
                    if choice not in segment.choices:
                        continue
                    same = model.new_bool_var("")
                    model.add_implication(same, segment.choices[choice][0])
                    model.add(segment.start == on).only_enforce_if(same)
                    model.add(segment.end == off).only_enforce_if(same)
                    kept.append(same)
                if kept:
                    model.add_at_most_one(kept)
                    terms.append(round(weight * SCALE * 3600) * sum(kept))
        return terms

    def solve(self, limits: Limits, seed: int) -> Outcome:
        """The best found, or None where nothing was found in the limits."""
        solver = cp_model.CpSolver()
        parameters = solver.parameters
        parameters.num_workers = limits.workers
        parameters.random_seed = seed
        parameters.max_deterministic_time = limits.deterministic
        parameters.max_time_in_seconds = limits.seconds
        parameters.cp_model_probing_level = 0
        parameters.linearization_level = 2
        # Its handler swallows Ctrl-C and, when it is done, resets it to killing the process: the
        # solver's user would lose what it has found.
        parameters.catch_sigint_signal = False
        if limits.gap:
            parameters.absolute_gap_limit = limits.gap
        status = solver.solve(self.model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return Outcome(None, False)
        answer = list(self.answer)
        for index, segments in self.segments.items():
            found = []
            for segment in segments:
                if solver.boolean_value(segment.present):
                    choice = next(
                        c
                        for c, (taken, _) in segment.choices.items()
                        if solver.boolean_value(taken)
                    )
                    found.append((choice, solver.value(segment.start), solver.value(segment.end)))
            answer[index] = tuple(found)
        return Outcome(answer, status == cp_model.OPTIMAL)
