"""How schedules, their differences and what they lack are said: as text and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ground.schedule_files import print_json

if TYPE_CHECKING:
    from ground.scheduling.diff import Difference
    from ground.scheduling.explain import Explanation
    from ground.scheduling.handover import Handover
    from ground.scheduling.metrics import Metrics
    from ground.scheduling.model import Problem, Schedule
    from ground.scheduling.proposals import Proposal


def metrics_dict(metrics: Metrics) -> dict[str, Any]:
    return {
        "hours": round(metrics.hours, 4),
        "requested_hours": round(metrics.requested_hours, 4),
        "requests": metrics.requests,
        "satisfied": metrics.satisfied,
        "tracks": metrics.tracks,
        "u_rms": round(metrics.u_rms, 5),
        "u_max": round(metrics.u_max, 5),
        "agency_u_rms": round(metrics.agency_u_rms, 5),
        "agency_u_max": round(metrics.agency_u_max, 5),
    }


def metrics_text(metrics: Metrics) -> str:
    return (
        f"{metrics.hours:.1f} of {metrics.requested_hours:.1f} h, {metrics.satisfied} of "
        f"{metrics.requests} requests, {metrics.tracks} tracks, U_RMS {metrics.u_rms:.3f}, "
        f"U_MAX {metrics.u_max:.3f}"
    )


def handover_dict(late: Handover) -> dict[str, Any]:
    return {
        "antenna": late.antenna,
        "before": late.before.request if late.before else None,
        "after": _track(late.after),
        "request": late.after.request,
        "slew_s": round(late.slew_s, 1),
        "available_s": round(late.available_s, 1) if late.before else None,
        "unwrap": late.unwrap,
        "interrupted": late.interrupted,
        "text": late.text,
    }


def difference_dict(difference: Difference) -> dict[str, Any]:
    return {
        "count": difference.count,
        "unchanged": difference.unchanged,
        "mission_hours": difference.mission_hours,
        "agency_hours": difference.agency_hours,
        "requests": [asdict(change) for change in difference.requests],
        "parts": list(difference.parts),
        "changes": [
            {
                "kind": change.kind,
                "request": change.request,
                "mission": change.mission,
                "agency": change.agency,
                "before": _track(change.before),
                "after": _track(change.after),
            }
            for change in difference.changes
        ],
    }


def _track(track: Any) -> dict[str, Any] | None:
    from ground.scheduling.requests_fields import utc_text

    if track is None:
        return None
    times = {name: utc_text(getattr(track, f"{name}_ns")) for name in ("start", "on", "off", "end")}
    return {"antennas": list(track.antennas), **times}


def print_difference(difference: Difference) -> None:
    for change in difference.changes:
        print(change.text)
    for change in difference.requests:
        print(change.text)
    if difference.parts:
        print(f"also changed: {', '.join(difference.parts)}")
    print(f"{difference.count_text}; {difference.unchanged} tracks unchanged")
    for label, hours in (
        ("mission", difference.mission_hours),
        ("agency", difference.agency_hours),
    ):
        for name, (before, after) in hours.items():
            if abs(after - before) > 1e-6:
                print(f"  {label} {name or '-'}: {before:.1f} -> {after:.1f} h")


def print_explanations(
    problem: Problem,
    schedule: Schedule,
    found: Sequence[Explanation],
    with_proposals: bool,
    as_json: bool,
    if_none: str,
) -> None:
    from ground.scheduling.proposals import propose

    rows = []
    for explanation in found:
        locked = any(t.request == explanation.request.id for t in problem.locks)
        proposals = (
            propose(problem, schedule, explanation.request.id)
            if with_proposals and not locked
            else []
        )
        if as_json:
            rows.append(_explanation_dict(explanation, proposals))
            continue
        print(explanation.text)
        for proposal in proposals:
            cost = f" (others lose {proposal.lost_s / 3600:.1f} h)" if proposal.lost_s else ""
            print(f"  -> {proposal.kind}: {proposal.text}{cost}")
            for change in proposal.changes:
                print(f"       {change}")
        if with_proposals and not proposals:
            print("  -> nothing that was tried makes it fit")
    if as_json:
        print_json(rows)
    elif not found:
        print(if_none)


def _explanation_dict(explanation: Explanation, proposals: Sequence[Proposal]) -> dict[str, Any]:
    from ground.scheduling.requests_fields import interval_texts

    request = explanation.request
    return {
        "request": request.id,
        "mission": request.mission,
        "given_s": explanation.given_s,
        "minimum_s": request.minimum_s,
        "duration_s": request.duration_s,
        "cause": explanation.cause,
        "longest_s": {name: reach.seconds for name, reach in explanation.reach.items()},
        "blocking": list(explanation.blocking),
        "competitors": [
            {
                "request": c.request,
                "mission": c.mission,
                "agency": c.agency,
                "priority": c.priority,
                "antenna": c.antenna,
                "interval": interval_texts(c.interval),
                "blocked_s": c.blocked_s,
            }
            for c in explanation.competitors
        ],
        "proposals": [
            {
                "kind": p.kind,
                "text": p.text,
                "given_s": p.given_s,
                "others_lose_s": p.lost_s,
                "changes": list(p.changes),
            }
            for p in proposals
        ],
    }
