"""What two versions differ in: requests, tracks moved, added, dropped, shortened; hours of whom.

>>> from ground.scheduling.model import Antenna, Interval, Mission, Problem, Request
>>> hour = 3600 * 10**9
>>> relay = Request("pass", "Relay", 7200, 3600, ())
>>> problem = Problem("p", Interval(0, 24 * hour), (), (Mission("Relay", "KASA"),), (relay,))
>>> old = Schedule((Track(0, 2 * hour, "pass", ("DSS-25",), 0, 2 * hour),))
>>> new = Schedule((Track(0, 1 * hour, "pass", ("DSS-25",), 0, 1 * hour),))
>>> difference = diff(problem, old, problem, new)
>>> difference.count, difference.agency_hours
({'shortened': 1}, {'KASA': (2.0, 1.0)})
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ground.scheduling.model import Problem, Schedule, Track
from ground.scheduling.requests_fields import utc_text

KINDS = ("moved", "shortened", "lengthened", "added", "dropped", "past")
#: What of a problem may differ besides its requests, as messages call it.
_PARTS = ("name", "horizon", "antennas", "missions", "commitments", "gaps", "quotas", "locks")


@dataclass(frozen=True)
class Change:
    """One track: `kind` of `KINDS`; `before` is None where added, `after` where dropped or past
    (over before the new horizon begins: nobody took it away)."""

    kind: str
    request: str
    mission: str
    agency: str
    before: Track | None
    after: Track | None

    @property
    def text(self) -> str:
        who = f"{self.request} ({self.mission}{', ' + self.agency if self.agency else ''})"
        return f"{self.kind} {who}: {_text(self.before)} -> {_text(self.after)}"


@dataclass(frozen=True)
class RequestChange:
    """`what`: added, removed, past (its window left the horizon), or edited: the fields."""

    request: str
    mission: str
    agency: str
    what: str

    @property
    def text(self) -> str:
        who = f"{self.mission}{', ' + self.agency if self.agency else ''}"
        return f"request {self.request} ({who}): {self.what}"


@dataclass(frozen=True)
class Difference:
    """`mission_hours` and `agency_hours`: tracking (before, after), of whom there is any; what is
    past counts on neither side.  `parts`: what else of the problem differs, as `commitments`."""

    changes: tuple[Change, ...]
    unchanged: int
    mission_hours: Mapping[str, tuple[float, float]]
    agency_hours: Mapping[str, tuple[float, float]]
    requests: tuple[RequestChange, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def count(self) -> dict[str, int]:
        counted = Counter(change.kind for change in self.changes)
        return {kind: counted[kind] for kind in KINDS if counted[kind]}

    @property
    def count_text(self) -> str:
        tracks = ", ".join(f"{n} {kind}" for kind, n in self.count.items()) or "no track changed"
        kinds = Counter(change.what.partition(":")[0] for change in self.requests)
        if not kinds:
            return tracks
        return f"{tracks}; requests: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items())


def _text(track: Track | None) -> str:
    if track is None:
        return "-"
    return f"{' + '.join(track.antennas)} {utc_text(track.on_ns)} … {utc_text(track.off_ns)}"


def diff(problem: Problem, before: Schedule, after_problem: Problem, after: Schedule) -> Difference:
    """From `before` (of `problem`) to `after`.  A request of neither problem has no mission."""
    changes: list[Change] = []
    unchanged = 0
    hours: dict[str, dict[str, list[float]]] = {"mission": {}, "agency": {}}
    for name in sorted(set(before.by_request) | set(after.by_request)):
        old, new = before.by_request.get(name, ()), after.by_request.get(name, ())
        mission, agency = _owner(problem, after_problem, name)
        past = [t for t in old if t not in new and t.end_ns <= after_problem.horizon.start_ns]
        changes += [Change("past", name, mission, agency, track, None) for track in past]
        old = tuple(t for t in old if t not in past)
        for kind, owner in (("mission", mission), ("agency", agency)):
            both = hours[kind].setdefault(owner, [0.0, 0.0])
            both[0] += sum(t.length_s for t in old) / 3600
            both[1] += sum(t.length_s for t in new) / 3600
        unchanged += len(set(old) & set(new))
        for one, other in _pairs(
            [t for t in old if t not in new], [t for t in new if t not in old]
        ):
            changes.append(Change(_kind(one, other), name, mission, agency, one, other))
    changes.sort(key=lambda c: (c.after or c.before, c.kind))  # pyright: ignore[reportArgumentType]
    return Difference(
        tuple(changes),
        unchanged,
        *({name: (a, b) for name, (a, b) in sorted(those.items())} for those in hours.values()),
        requests=tuple(_requests(problem, after_problem)),
        parts=tuple(p for p in _PARTS if getattr(problem, p) != getattr(after_problem, p)),
    )


def _requests(before: Problem, after: Problem) -> Iterator[RequestChange]:
    """Requests added, removed or edited, with the fields that differ."""
    for name in sorted(set(before.request_by_id) | set(after.request_by_id)):
        old, new = before.request_by_id.get(name), after.request_by_id.get(name)
        if old == new:
            continue
        if old is None:
            what = "added"
        elif new is None:
            over = old.window is not None and old.window.end_ns <= after.horizon.start_ns
            what = "past" if over else "removed"
        else:
            fields = [f for f in type(old).__slots__ if getattr(old, f) != getattr(new, f)]
            what = f"edited: {', '.join(fields)}"
        yield RequestChange(name, *_owner(before, after, name), what)


def _owner(problem: Problem, after: Problem, request: str) -> tuple[str, str]:
    for one in (after, problem):
        if found := one.request_by_id.get(request):
            return found.mission, one.agency_of(found)
    return "", ""


def _pairs(old: list[Track], new: list[Track]) -> list[tuple[Track | None, Track | None]]:
    """Each old track with the new one nearest in time; what is left over is dropped or added."""
    pairs: list[tuple[Track | None, Track | None]] = []
    left = list(new)
    for track in old:
        nearest = min(
            left,
            key=lambda t: (abs(t.on_ns - track.on_ns), t.antennas != track.antennas),
            default=None,
        )
        if nearest is not None:
            left.remove(nearest)
        pairs.append((track, nearest))
    return [*pairs, *((None, track) for track in left)]


def _kind(before: Track | None, after: Track | None) -> str:
    if before is None:
        return "added"
    if after is None:
        return "dropped"
    if after.length_s < before.length_s:
        return "shortened"
    return "lengthened" if after.length_s > before.length_s else "moved"
