"""The schedule that missions share (`store.py`), as a running site reads it and enters its passes.

held = others_of(path)(horizon)          what other missions and the network hold
enter(path, request, track, actor, why, now_ns)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from ground.scheduling.model import Commitment, Interval, Request, Schedule, Track
from ground.scheduling.pass_desk import Others
from ground.scheduling.relay_plan import MISSION
from ground.scheduling.store import PUBLISHED, ScheduleStore
from ground.scheduling.versions import PASS, Actor
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Why a version of the store names the branch that a pass came by.
_BRANCH: Final = "pass"


def others_of(path: Path) -> Others:
    """Of the store's published version; nothing while there is no store."""

    def others(horizon: Interval) -> list[Commitment]:
        if not path.is_file():
            return []
        with ScheduleStore.open(path) as store:
            seen = store.read(PUBLISHED)
        missions = {request.id: request.mission for request in seen.problem.requests}
        passes = [
            Commitment(antenna, track.occupied, PASS, missions[track.request])
            for track in seen.schedule.tracks
            if missions[track.request] != MISSION
            for antenna in track.antennas
        ]
        return [
            replace(one, interval=inside)
            for one in (*seen.problem.commitments, *passes)
            if (inside := one.interval.intersection(horizon)) is not None
        ]

    return others


def enter(path: Path, request: Request, track: Track, actor: str, why: str, now_ns: int) -> bool:
    """The mission's pass into the shared schedule, in the actor's name; whether it is in there.

    False: there is no store, or the mission takes no part in it.  Entered again: done once.
    LocalError: it breaks the shared schedule's rules, or has no place in its horizon.
    """
    if not path.is_file():
        return False
    with ScheduleStore.open(path) as store:
        whole = store.read(PUBLISHED).problem
        mission = whole.mission_by_name.get(MISSION)
        if mission is None:
            return False
        if request.id in whole.request_by_id:
            return True
        who = Actor(actor, mission.agency)
        seen = store.read(PUBLISHED, who)
        branch = f"{_BRANCH}-{request.id.replace(':', '')}-{seen.info.id}"
        store.commit(
            branch,
            replace(seen.problem, requests=(*seen.problem.requests, request)),
            Schedule((*seen.schedule.tracks, track)),
            who,
            why,
            now_ns,
            parent=seen.info.id,
            begin=True,
        )
        store.publish(branch, who, f"{why} ({utc_iso_from_tai_ns(track.on_ns, 0)})", now_ns)
    return True
