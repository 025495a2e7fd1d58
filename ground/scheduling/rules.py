"""Whether a schedule is allowed: our own check, written against the rules and not the solvers.

The first nine are those of SatNet's benchmark (R1 … R9), the others are ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from ground.scheduling.model import S_NS, Problem, Request, Schedule, Track


def violations(problem: Problem, schedule: Schedule) -> list[str]:
    """One line for each broken rule; an allowed schedule has none.

    R1 inside the horizon · R2 a requested antenna set, inside one of its view periods · R3 set-up
    and tear-down as requested · R4 an antenna does one thing at a time (or one beam, `mspa`) ·
    R5 nothing overlaps a commitment · R6 a mission has no more links than it can hold · R7 splits
    as the request allows · R8 at least the minimum · R9 at most the duration · R10 gaps of
    periodic requests · R11 quotas · R12 locks kept.
    """
    return [
        *_tracks(problem, schedule),
        *_antennas(problem, schedule),
        *_links(problem, schedule),
        *_requests(problem, schedule),
        *_gaps(problem, schedule),
        *_quotas(problem, schedule),
        *_locks(problem, schedule),
    ]


def _tracks(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for track in schedule.tracks:
        request = problem.request_by_id.get(track.request)
        if request is None:
            yield f"R2 {track.request}: no such request"
            continue
        if not problem.horizon.contains(track.occupied):
            yield f"R1 {track.request}: outside the horizon"
        choice = request.choice(track.antennas)
        if choice is None:
            yield f"R2 {track.request}: antennas {'_'.join(track.antennas)} not requested"
        elif not any(period.contains(track.tracking) for period in choice.view_periods):
            yield f"R2 {track.request}: not inside one view period of {choice.name}"
        if (
            track.on_ns - track.start_ns != request.setup_s * S_NS
            or track.end_ns - track.off_ns != request.teardown_s * S_NS
        ):
            yield f"R3 {track.request}: wrong set-up or tear-down"


def _antennas(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for name, tracks in schedule.by_antenna.items():
        if name not in problem.antenna_by_name:
            yield f"R2 {name}: no such antenna"
            continue
        by_begin = sorted(tracks, key=lambda t: t.start_ns)
        holding: list[Track] = []
        for track in by_begin:
            holding = [t for t in holding if t.end_ns > track.start_ns] + [track]
            if len(holding) > 1 and not _one_beam(problem, name, holding):
                yield f"R4 {name}: {' and '.join(t.request for t in holding)} overlap"
        for track in by_begin:
            for commitment in problem.commitments_by_antenna[name]:
                if commitment.interval.overlaps(track.occupied):
                    yield f"R5 {name}: {track.request} in {commitment.kind}"


def _one_beam(problem: Problem, antenna: str, tracks: list[Track]) -> bool:
    requests = [problem.request_by_id.get(t.request) for t in tracks]
    beams = {request.beam if request else "" for request in requests}
    return (
        len(tracks) <= problem.antenna_by_name[antenna].mspa and len(beams) == 1 and "" not in beams
    )


def _links(problem: Problem, schedule: Schedule) -> Iterator[str]:
    by_mission: dict[str, list[Track]] = {}
    for track in schedule.tracks:
        if request := problem.request_by_id.get(track.request):
            by_mission.setdefault(request.mission, []).append(track)
    for mission, tracks in by_mission.items():
        links = problem.mission_by_name[mission].links
        holding: list[Track] = []
        for track in tracks:
            holding = [t for t in holding if t.off_ns > track.on_ns] + [track]
            if len(holding) > links:
                names = " and ".join(t.request for t in holding)
                yield f"R6 mission {mission}: {names} at once, {links} allowed"


def _requests(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for name, tracks in schedule.by_request.items():
        request = problem.request_by_id.get(name)
        if request is not None:
            yield from _request(request, tracks)


def _request(request: Request, tracks: tuple[Track, ...]) -> Iterator[str]:
    total_ns = sum(t.off_ns - t.on_ns for t in tracks)
    if len(tracks) > request.segments:
        yield f"R7 {request.id}: {len(tracks)} tracks, {request.segments} allowed"
    if len(tracks) > 1:
        for track in tracks:
            if track.off_ns - track.on_ns < request.segment_minimum_s * S_NS:
                yield f"R7 {request.id}: a segment is shorter than {request.segment_minimum_s} s"
        for first, second in combinations(tracks, 2):
            # A request is one stream of data, even of a mission with several links.
            if first.tracking.overlaps(second.tracking):
                yield f"R7 {request.id}: two of its segments overlap"
    if total_ns < request.minimum_s * S_NS:
        yield f"R8 {request.id}: {total_ns / S_NS:g} s, minimum {request.minimum_s} s"
    if total_ns > request.duration_s * S_NS:
        yield f"R9 {request.id}: {total_ns / S_NS:g} s, requested {request.duration_s} s"


def _gaps(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for gap in problem.gaps:
        before = schedule.by_request.get(gap.first)
        after = schedule.by_request.get(gap.second)
        if before and after:
            gap_ns = min(t.on_ns for t in after) - max(t.off_ns for t in before)
            if not gap.minimum_s * S_NS <= gap_ns <= gap.maximum_s * S_NS:
                yield (
                    f"R10 {gap.first} to {gap.second}: gap {gap_ns / S_NS:g} s, "
                    f"{gap.minimum_s} … {gap.maximum_s} s allowed"
                )


def _quotas(problem: Problem, schedule: Schedule) -> Iterator[str]:
    for quota in problem.quotas:
        antennas = set(quota.antennas or problem.antenna_by_name)
        used_ns = sum(
            (track.end_ns - track.start_ns) * len(antennas.intersection(track.antennas))
            for track in schedule.tracks
            if (request := problem.request_by_id.get(track.request)) is not None
            and problem.agency_of(request) == quota.agency
        )
        if used_ns > quota.maximum_s * S_NS:
            yield (
                f"R11 {quota.agency}: {used_ns / S_NS:g} antenna-seconds, {quota.maximum_s} allowed"
            )


def _locks(problem: Problem, schedule: Schedule) -> Iterator[str]:
    held = set(schedule.tracks)
    for lock in problem.locks:
        if lock not in held:
            yield f"R12 {lock.request}: its locked track is not in the schedule"
