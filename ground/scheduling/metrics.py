"""What a schedule is worth: hours, satisfied requests, and what each mission or agency misses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ground.scheduling.model import S_NS, Problem, Schedule


@dataclass(frozen=True)
class Metrics:
    """Hours count a request's tracking once (an array is one), capped at the requested duration.

    U_i is the unsatisfied fraction of the requested hours of mission (agency) i; U_RMS and U_MAX
    are over missions, as in Goh et al. 2021, SatNet.
    """

    requested_s: int
    tracking_s: int
    antenna_s: int
    requests: int
    satisfied: int
    tracks: int
    unsatisfied_by_mission: Mapping[str, float]
    unsatisfied_by_agency: Mapping[str, float]

    @property
    def hours(self) -> float:
        return self.tracking_s / 3600

    @property
    def requested_hours(self) -> float:
        return self.requested_s / 3600

    @cached_property
    def u_rms(self) -> float:
        return root_mean_square(self.unsatisfied_by_mission.values())

    @cached_property
    def u_max(self) -> float:
        return max(self.unsatisfied_by_mission.values(), default=0.0)

    @cached_property
    def agency_u_rms(self) -> float:
        return root_mean_square(self.unsatisfied_by_agency.values())

    @cached_property
    def agency_u_max(self) -> float:
        return max(self.unsatisfied_by_agency.values(), default=0.0)


def root_mean_square(values: Iterable[float]) -> float:
    found = list(values)
    return math.sqrt(sum(v * v for v in found) / len(found)) if found else 0.0


def allocated_s(problem: Problem, schedule: Schedule) -> dict[str, int]:
    """Tracking seconds of every request of the problem, capped at its duration."""
    given = {}
    for request in problem.requests:
        tracks = schedule.by_request.get(request.id, ())
        total_s = sum(t.off_ns - t.on_ns for t in tracks) // S_NS
        given[request.id] = min(total_s, request.duration_s)
    return given


def measure(problem: Problem, schedule: Schedule) -> Metrics:
    given = allocated_s(problem, schedule)
    wanted: dict[str, dict[str, int]] = {"mission": {}, "agency": {}}
    got: dict[str, dict[str, int]] = {"mission": {}, "agency": {}}
    for request in problem.requests:
        for kind, name in (("mission", request.mission), ("agency", problem.agency_of(request))):
            wanted[kind][name] = wanted[kind].get(name, 0) + request.duration_s
            got[kind][name] = got[kind].get(name, 0) + given[request.id]
    unsatisfied = {
        kind: {name: 1 - got[kind][name] / wanted[kind][name] for name in sorted(wanted[kind])}
        for kind in wanted
    }
    return Metrics(
        requested_s=sum(request.duration_s for request in problem.requests),
        tracking_s=sum(given.values()),
        antenna_s=sum((t.end_ns - t.start_ns) // S_NS * len(t.antennas) for t in schedule.tracks),
        requests=len(problem.requests),
        satisfied=sum(given[r.id] >= r.minimum_s for r in problem.requests),
        tracks=len(schedule.tracks),
        unsatisfied_by_mission=unsatisfied["mission"],
        unsatisfied_by_agency=unsatisfied["agency"],
    )
