"""Exact optima of small problems: one Boolean a complete plan of a request, solved by CP-SAT.

Shares nothing with the solvers or the bound but the data model.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations

import numpy as np
from ortools.sat.python import cp_model

from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Request,
    Schedule,
    Track,
    ViewPeriod,
    track_of,
)


def random_problem(seed: int, unit_s: int = 1) -> Problem:
    """Three antennas, arrays, splits, commitments, a mission with two links; 22 … 35 units."""
    rng = np.random.default_rng(seed)
    length = int(rng.integers(22, 36))
    start_ns = int(rng.integers(0, 10**9)) * S_NS

    def interval(kind, begin, end):
        return kind(start_ns + int(begin) * unit_s * S_NS, start_ns + int(end) * unit_s * S_NS)

    antennas = ("A", "B", "C")
    sets = (("A",), ("B",), ("C",), ("A", "B"), ("B", "C"), ("A", "B", "C"))
    requests = []
    for index in range(int(rng.integers(3, 7))):
        duration = int(rng.integers(2, 9))
        split = duration >= 6 and rng.random() < 0.7
        segment = int(rng.integers(max(2, duration // 3), duration // 2 + 1)) if split else 0
        chosen = rng.choice(len(sets), size=int(rng.integers(1, 3 if split else 4)), replace=False)
        choices = []
        for c in sorted(chosen):
            begin = int(rng.integers(0, length - 8))
            cut = begin + int(rng.integers(3, 10))
            periods = [(begin, min(cut, length))]
            if cut + 4 < length and rng.random() < 0.5:
                periods.append((cut + 1, min(cut + 1 + int(rng.integers(3, 8)), length)))
            choices.append(Choice(sets[c], tuple(interval(ViewPeriod, *p) for p in periods)))
        requests.append(
            Request(
                id=f"r{index}",
                mission=f"m{int(rng.integers(0, 3))}",
                duration_s=duration * unit_s,
                minimum_s=int(rng.integers(max(1, duration // 2), duration + 1)) * unit_s,
                choices=tuple(choices),
                setup_s=int(rng.integers(0, 3)) * unit_s,
                teardown_s=int(rng.integers(0, 2)) * unit_s,
                segment_minimum_s=segment * unit_s,
                segments=duration // segment if split else 1,
            )
        )
    commitments = []
    for antenna in antennas:
        if rng.random() < 0.6:
            begin = int(rng.integers(0, length - 4))
            inside = interval(Interval, begin, begin + int(rng.integers(1, 5)))
            commitments.append(Commitment(antenna, inside))
    return Problem(
        name=f"random {seed}",
        horizon=interval(Interval, 0, length),
        antennas=tuple(Antenna(a) for a in antennas),
        missions=(Mission("m0"), Mission("m1"), Mission("m2", links=2)),
        requests=tuple(requests),
        commitments=tuple(commitments),
    )


def _tracks(problem: Problem, request: Request, unit_ns: int) -> list[Track]:
    found = []
    shortest = min(request.minimum_s, request.segment_minimum_s or request.minimum_s)
    for choice in request.choices:
        for period in choice.view_periods:
            for on in range(period.start_ns, period.end_ns, unit_ns):
                for off in range(on + unit_ns, period.end_ns + 1, unit_ns):
                    if not shortest * S_NS <= off - on <= request.duration_s * S_NS:
                        continue
                    track = track_of(request, choice.antennas, on, off)
                    if problem.horizon.contains(track.occupied) and not any(
                        commitment.interval.overlaps(track.occupied)
                        for antenna in choice.antennas
                        for commitment in problem.commitments_by_antenna[antenna]
                    ):
                        found.append(track)
    return found


def _plans(problem: Problem, request: Request, unit_ns: int) -> list[tuple[Track, ...]]:
    tracks = _tracks(problem, request, unit_ns)
    plans = [(t,) for t in tracks if t.off_ns - t.on_ns >= request.minimum_s * S_NS]
    segments = [t for t in tracks if t.off_ns - t.on_ns >= request.segment_minimum_s * S_NS]
    for number in range(2, request.segments + 1):
        for plan in combinations(segments, number):
            total_ns = sum(t.off_ns - t.on_ns for t in plan)
            if not request.minimum_s * S_NS <= total_ns <= request.duration_s * S_NS:
                continue
            apart = all(not a.tracking.overlaps(b.tracking) for a, b in combinations(plan, 2))
            clear = all(
                not (a.occupied.overlaps(b.occupied) and set(a.antennas) & set(b.antennas))
                for a, b in combinations(plan, 2)
            )
            if apart and clear:
                plans.append(plan)
    return plans


def optimum(problem: Problem, objective: str, unit_s: int = 1) -> tuple[float, Schedule]:
    """The best value over whole units of "seconds", "requests", "u_rms_square" or "u_max".

    The last two are rounded down to multiples of 1e-6.  "requests, seconds" is the most seconds of
    the schedules with the most requests, found by solving twice; "seconds, requests" likewise.
    """
    unit_ns = unit_s * S_NS
    model = cp_model.CpModel()
    used = defaultdict(list)
    linked = defaultdict(list)
    counts: dict[str, list[cp_model.LinearExpr]] = {"seconds": [], "requests": []}
    chosen = []
    got = defaultdict(list)
    for request in problem.requests:
        mine = []
        for plan in _plans(problem, request, unit_ns):
            variable = model.new_bool_var("")
            mine.append(variable)
            chosen.append((variable, plan))
            units = sum(t.off_ns - t.on_ns for t in plan) // unit_ns
            counts["seconds"].append(units * variable)
            counts["requests"].append(1 * variable)
            got[request.mission].append(units * variable)
            for track in plan:
                for antenna in track.antennas:
                    for at in range(track.start_ns, track.end_ns, unit_ns):
                        used[antenna, at].append(variable)
                for at in range(track.on_ns, track.off_ns, unit_ns):
                    linked[request.mission, at].append(variable)
        model.add_at_most_one(mine)
    for those in used.values():
        model.add_at_most_one(those)
    for (mission, _), those in linked.items():
        model.add(sum(those) <= problem.mission_by_name[mission].links)
    first, _, second = objective.partition(", ")
    if first in counts:
        model.maximize(sum(counts[first]))
    else:
        parts = []
        for mission in {r.mission for r in problem.requests}:
            asked = sum(r.duration_s for r in problem.requests if r.mission == mission) // unit_s
            power = 2 if objective == "u_rms_square" else 1
            table = [int(1e6 * (1 - h / asked) ** power) for h in range(asked + 1)]
            hours = model.new_int_var(0, asked, "")
            model.add(hours == sum(got[mission]))
            part = model.new_int_var(0, 10**6, "")
            model.add_element(hours, table, part)
            parts.append(part)
        if objective == "u_max":
            worst = model.new_int_var(0, 10**6, "")
            model.add_max_equality(worst, parts)
            model.minimize(worst)
        else:
            model.minimize(sum(parts))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    if second:
        model.add(sum(counts[first]) == round(solver.objective_value))
        model.maximize(sum(counts[second]))
        status = solver.solve(model)
    assert status == cp_model.OPTIMAL, solver.status_name(status)
    schedule = Schedule(tuple(t for v, plan in chosen if solver.value(v) for t in plan))
    value = solver.objective_value
    if (second or first) == "seconds":
        value *= unit_s
    elif first not in counts:
        value /= 1e6
    return value, schedule
