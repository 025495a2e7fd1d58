"""What a schedule is judged by: a weighted sum of terms (in a strict order: `lexicographic`)."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ground.scheduling.compiled import Answer, Compiled, Placement
from protocols.errors import LocalError


@dataclass(frozen=True)
class Objective:
    """Weights of the terms; the value, greater is better, is their sum.

    hours        per tracking hour, times the request's priority
    satisfied    per request with at least its minimum
    u_square     per unit of sum(U_i ** 2) over missions, subtracted
    u_max        per unit of max(U_i) over missions, subtracted
    agency_square, agency_max   the same over agencies
    change       per published track that is not held exactly, subtracted

    unit         what an hour of tracking is worth to the search's temperatures; 0: by the weights
    """

    hours: float = 0.0
    satisfied: float = 0.0
    u_square: float = 0.0
    u_max: float = 0.0
    agency_square: float = 0.0
    agency_max: float = 0.0
    change: float = 0.0
    unit: float = 0.0

    def __post_init__(self) -> None:
        weights = [getattr(self, name) for name in TERMS]
        if min(weights) < 0 or max(weights) <= 0:
            raise LocalError(f"{self}: weights of 0 or more, one above 0, wanted")


TERMS = tuple(f.name for f in fields(Objective) if f.name != "unit")

HOURS = Objective(hours=1.0)
SATISFIED = Objective(satisfied=10.0, hours=0.01)
#: Both figures of fairness: U_MAX leads while a mission stands out, then the squares do.
FAIRNESS = Objective(u_square=100.0, u_max=40.0, hours=0.001)
#: Published tracks stay; hours decide where a moved track wins more than 8 h.
LEAST_CHANGE = Objective(hours=1.0, change=8.0)

OBJECTIVES = {
    "hours": HOURS,
    "satisfied": SATISFIED,
    "fairness": FAIRNESS,
    "least-change": LEAST_CHANGE,
}


class Judge:
    """Values of answers of one problem under one objective."""

    def __init__(self, compiled: Compiled, objective: Objective) -> None:
        self.compiled = compiled
        self.objective = objective
        self.requested = compiled.requested
        self.agency_requested = [0] * len(compiled.agencies)
        for mission, seconds in enumerate(compiled.requested):
            self.agency_requested[compiled.agency[mission]] += seconds
        self.published: dict[int, list[Placement]] = {}
        published = compiled.problem.published
        if published is not None and objective.change:
            for track in published.tracks:
                if track.request in compiled.index:
                    try:
                        placement = compiled.placement(track)
                    except LocalError:
                        # Its antenna set is no longer asked for: it is moved in any answer.
                        continue
                    self.published.setdefault(compiled.index[track.request], []).append(placement)

    @property
    def unit(self) -> float:
        """About what one hour of tracking is worth: the scale of temperatures.

        The squares are taken where a tenth of a mission's hours is missing.
        """
        objective, requests = self.objective, self.compiled.requests
        if objective.unit:
            return objective.unit
        if not requests:
            return 1.0
        hours = sum(request.duration for request in requests) / 3600
        unit = objective.hours * sum(request.priority for request in requests) / len(requests)
        unit += objective.satisfied * len(requests) / hours
        for weight, totals in (
            (objective.u_square + objective.u_max, self.requested),
            (objective.agency_square + objective.agency_max, self.agency_requested),
        ):
            wanted = [total / 3600 for total in totals if total]
            unit += 0.2 * weight * len(wanted) / max(1.0, sum(wanted))
        return unit or 1.0

    def missing(self, answer: Answer) -> list[int]:
        """Requested seconds that each mission does not get."""
        compiled = self.compiled
        return [
            requested - sum(compiled.given(answer, i) for i in those)
            for requested, those in zip(self.requested, compiled.mission_requests, strict=True)
        ]

    def agency_missing(self, missing: list[int]) -> list[int]:
        found = [0] * len(self.agency_requested)
        for mission, seconds in enumerate(missing):
            found[self.compiled.agency[mission]] += seconds
        return found

    def value(self, answer: Answer) -> float:
        objective, compiled = self.objective, self.compiled
        total = sum(
            objective.hours * request.priority * compiled.given(answer, request.index) / 3600
            + (objective.satisfied if answer[request.index] else 0.0)
            for request in compiled.requests
        )
        missing = self.missing(answer)
        total -= _unfairness(missing, self.requested, objective.u_square, objective.u_max)
        total -= _unfairness(
            self.agency_missing(missing),
            self.agency_requested,
            objective.agency_square,
            objective.agency_max,
        )
        for index, placements in self.published.items():
            moved = sum(p not in answer[index] for p in placements)
            total -= objective.change * moved
        return total


def _unfairness(missing: list[int], requested: list[int], square: float, worst: float) -> float:
    if not square and not worst:
        return 0.0
    fractions = [m / r for m, r in zip(missing, requested, strict=True) if r]
    return square * sum(u * u for u in fractions) + worst * max(fractions, default=0.0)
