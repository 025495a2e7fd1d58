"""Who may change what of a schedule: actors, what they see, what they may bring in.

An agency sees its own requests and everybody's passes; it edits its own requests.  What it sees is
a problem that it can solve: the passes of the others stand in it as commitments.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ground.scheduling.model import Commitment, Interval, Problem, Schedule, Track
from ground.scheduling.requests_fields import utc_text
from protocols.errors import LocalError

#: The kind of a commitment that is a pass of someone else.
PASS = "pass"


@dataclass(frozen=True)
class Actor:
    """A person of an agency; without an agency: a scheduler of the network, who may do all."""

    name: str
    agency: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            raise LocalError("actor without a name: who publishes must be known")

    def __str__(self) -> str:
        return f"{self.name} ({self.agency or 'network scheduler'})"

    def owns(self, problem: Problem, request: str) -> bool:
        found = problem.request_by_id.get(request)
        return not self.agency or (found is not None and problem.agency_of(found) == self.agency)


class NotAllowedError(LocalError):
    """An actor wants to change what is another agency's."""


def view_of(problem: Problem, schedule: Schedule, actor: Actor) -> tuple[Problem, Schedule]:
    """The problem as the actor sees it, and its own tracks in it."""
    if not actor.agency:
        return problem, schedule
    own = {r.id for r in problem.requests if actor.owns(problem, r.id)}
    others = tuple(
        Commitment(antenna, track.occupied, PASS, problem.request_by_id[track.request].mission)
        for track in schedule.tracks
        if track.request not in own
        for antenna in track.antennas
    )
    seen = replace(
        problem,
        missions=tuple(m for m in problem.missions if m.agency == actor.agency),
        requests=tuple(r for r in problem.requests if r.id in own),
        commitments=(*problem.commitments, *others),
        gaps=tuple(g for g in problem.gaps if g.first in own and g.second in own),
        quotas=tuple(q for q in problem.quotas if q.agency == actor.agency),
        locks=tuple(t for t in problem.locks if t.request in own),
        published=None,
    )
    return seen, Schedule(tuple(t for t in schedule.tracks if t.request in own))


def own_part(problem: Problem, schedule: Schedule, actor: Actor) -> tuple[object, ...]:
    """What `merged` would replace."""
    seen, tracks = view_of(problem, schedule, actor)
    if not actor.agency:
        return replace(seen, published=None), tracks
    return seen.requests, seen.gaps, seen.locks, tracks


def merged(
    problem: Problem, schedule: Schedule, actor: Actor, edited: Problem, tracks: Schedule
) -> tuple[Problem, Schedule]:
    """The whole problem and schedule with the actor's own part replaced by the edited one.

    Raises NotAllowedError where the edit holds a request or a track of another agency.
    """
    if not actor.agency:
        return edited, tracks
    for request in edited.requests:
        mission = problem.mission_by_name.get(request.mission)
        other = problem.request_by_id.get(request.id)
        if mission is None or mission.agency != actor.agency:
            whose = f"mission {request.mission} of {mission.agency or 'nobody'}" if mission else (
                f"unknown mission {request.mission}")  # fmt: skip
            raise NotAllowedError(f"{actor}: request {request.id} is for {whose}")
        if other is not None and not actor.owns(problem, request.id):
            raise NotAllowedError(f"{actor}: request {request.id} is of {problem.agency_of(other)}")
    own = {r.id for r in edited.requests}
    for track in (*tracks.tracks, *edited.locks):
        if track.request not in own:
            raise NotAllowedError(f"{actor}: the track of {track.request} is another agency's")
    others = {r.id for r in problem.requests if not actor.owns(problem, r.id)}
    by_id = edited.request_by_id
    kept = [by_id.get(r.id, r) for r in problem.requests if r.id in others or r.id in by_id]
    added = [r for r in edited.requests if r.id not in problem.request_by_id]
    whole = replace(
        problem,
        requests=(*kept, *added),
        gaps=(
            *(g for g in problem.gaps if g.first in others or g.second in others),
            *edited.gaps,
        ),
        locks=(*(t for t in problem.locks if t.request in others), *edited.locks),
    )
    foreign = tuple(t for t in schedule.tracks if t.request in others)
    return whole, Schedule((*foreign, *tracks.tracks))


def check_allowed(
    problem: Problem, before: Schedule, after_problem: Problem, after: Schedule, actor: Actor
) -> None:
    """Raises NotAllowedError if anything but the actor's own requests and tracks differs.

    What a network scheduler tried on the branch (a quota, an antenna lost) is not for an agency to
    publish either.
    """
    if not actor.agency:
        return
    for name in sorted(set(before.by_request) | set(after.by_request)):
        if before.by_request.get(name) == after.by_request.get(name):
            continue
        # A request of its own may be new, or gone.
        owner = problem if name in problem.request_by_id else after_problem
        if not actor.owns(owner, name):
            request = owner.request_by_id.get(name)
            whose = owner.agency_of(request) if request else "another agency"
            raise NotAllowedError(
                f"{actor}: this moves {name} of {whose}; a network scheduler must publish it"
            )
    one, other = _of_others(problem, actor), _of_others(after_problem, actor)
    if changed := [what for what in one if one[what] != other[what]]:
        raise NotAllowedError(
            f"{actor}: this changes {', '.join(changed)} of others or of the network; a network "
            "scheduler must publish it"
        )


def _of_others(problem: Problem, actor: Actor) -> dict[str, object]:
    """What of the problem is not the actor's to change, by what it is called in messages."""
    own = {r.id for r in problem.requests if actor.owns(problem, r.id)}
    return {
        "name or horizon": (problem.name, problem.horizon),
        "antennas": problem.antennas,
        "missions": problem.missions,
        "requests": {r for r in problem.requests if r.id not in own},
        "commitments": problem.commitments,
        "gaps": {g for g in problem.gaps if not {g.first, g.second} <= own},
        "quotas": problem.quotas,
        "locks": {t for t in problem.locks if t.request not in own},
    }


def check_past(before: Schedule, after: Schedule, horizon: Interval, now_ns: int) -> None:
    """Rolling horizon: raises LocalError if a track that has begun by `now_ns` differs.

    A track in progress may still be cut short or broken off (its antenna was lost).  A request that
    thereby falls below its minimum is given up with what it had: that is no schedule for it any
    more.  What ended before the new `horizon` begins has left it.
    """
    held = set(after.tracks)
    begun = [
        t
        for t in before.tracks
        if t.start_ns < now_ns and (t.end_ns > now_ns or horizon.start_ns < t.end_ns)
    ]
    for track in begun:
        if track in held or (track.end_ns > now_ns and _cut(track, after)):
            continue
        given_up = track.request not in after.by_request
        if given_up and any(t.end_ns > now_ns for t in before.by_request[track.request]):
            continue
        raise LocalError(
            f"{track.request} on {'_'.join(track.antennas)} began at {utc_text(track.start_ns)}, "
            f"before {utc_text(now_ns)}: the past stays as it is"
        )
    for track in after.tracks:
        if track.start_ns < now_ns and track not in begun and not _prolongs(track, begun):
            raise LocalError(
                f"{track.request} would begin at {utc_text(track.start_ns)}, before "
                f"{utc_text(now_ns)}: the past stays as it is"
            )


def _cut(track: Track, after: Schedule) -> bool:
    """Dropped from now on, or ended sooner: what is left of it began when it did."""
    left = [t for t in after.by_request.get(track.request, ()) if t.antennas == track.antennas]
    return all(t.start_ns >= track.start_ns for t in left)


def _prolongs(track: Track, begun: list[Track]) -> bool:
    return any(
        t.request == track.request and t.antennas == track.antennas and t.start_ns == track.start_ns
        for t in begun
    )


def frozen(schedule: Schedule, until_ns: int) -> tuple[Track, ...]:
    """Tracks that have begun by then: the locks of a rolling horizon."""
    return tuple(t for t in schedule.tracks if t.start_ns < until_ns)


def roll_forward(problem: Problem, before: Problem, published: Schedule, now_ns: int) -> Problem:
    """The next horizon's problem on top of what is published.

    Published tracks of its own requests are its `published`, those of requests that have begun its
    locks; those of requests that it does not hold any more stand as commitments.  Raises LocalError
    where a pass that is not over would leave the schedule, or one of its past would change.
    """
    start_ns = problem.horizon.start_ns
    leaving = [t for t in published.tracks if t.start_ns < start_ns and t.end_ns > now_ns]
    cut = [t for t in published.tracks if t.start_ns < start_ns < t.end_ns]
    if lost := sorted({*leaving, *cut}):
        raise LocalError(
            f"{problem.name} begins at {utc_text(start_ns)}, and {lost[0].request} "
            f"({utc_text(lost[0].start_ns)} … {utc_text(lost[0].end_ns)}) would leave what is "
            f"published{f', and {len(lost) - 1} more' if lost[1:] else ''}: let it begin at "
            f"{utc_text(lost[0].start_ns)} or sooner"
        )
    published = Schedule(tuple(t for t in published.tracks if t.start_ns >= start_ns))
    for track in frozen(published, now_ns):
        if track.request not in problem.request_by_id:
            raise LocalError(
                f"{problem.name} does not hold request {track.request}, whose track began at "
                f"{utc_text(track.start_ns)}: keep the request (`l4 schedule show --requests FILE` "
                "writes it), or begin the plan later"
            )
    own = [t for t in published.tracks if t.request in problem.request_by_id]
    foreign = tuple(
        Commitment(antenna, inside, PASS, before.request_by_id[t.request].mission)
        for t in published.tracks
        if t.request not in problem.request_by_id
        and (inside := t.occupied.intersection(problem.horizon)) is not None
        for antenna in t.antennas
        if antenna in problem.antenna_by_name
    )
    # A split request that has begun keeps all its tracks: a lock on some of them would be the whole
    # of what it gets.
    begun_ids = {t.request for t in frozen(published, now_ns)}
    begun = tuple(t for t in own if t.request in begun_ids and t not in problem.locks)
    return replace(
        problem,
        commitments=(*problem.commitments, *foreign),
        locks=(*problem.locks, *begun),
        published=Schedule(tuple(own)),
    )
