"""The L4 relay's own passes for the coming days, over Yeoju and the Deep Space Network.

Each view period of each antenna is one request, Yeoju's before the DSN's; the relay holds one link,
so the greedy answer cuts them against each other and hands over from antenna to antenna.  It takes
milliseconds, and near enough to all of the time is covered that no solver could add a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ground.scheduling.compiled import Compiled
from ground.scheduling.export.light_time import modelled
from ground.scheduling.export.passes import passes, whole_seconds
from ground.scheduling.export.publication import Publication
from ground.scheduling.greedy import greedy
from ground.scheduling.model import (
    S_NS,
    Choice,
    Interval,
    Mission,
    Problem,
    Request,
    Track,
    ViewPeriod,
    track_of,
)
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import find_passes
from protocols.bus.messages import Pass, PassesMessage
from protocols.identifiers import MISSION_L4_RELAY
from protocols.timecodes.tai import utc_iso_from_tai_ns

MISSION, AGENCY, TARGET = MISSION_L4_RELAY, "KASA", "l4"
#: The relay's home, then one 34 m antenna of each complex of the DSN.
STATIONS = ("YEOJU", "DSS-26", "DSS-36", "DSS-56")

#: Planned ahead; planned anew when less than `RENEW_S` of it is left.
HORIZON_S = 4 * 86_400
RENEW_S = 2 * 86_400
#: Before now: what is on now has been set up already, and a world that runs fast is hours further
#: when the first plan is made; what arrived meanwhile is judged by it, too.
LEAD_S = 12 * 3600
#: A shorter contact is not worth turning an antenna.
SHORTEST_S = 1800
#: Of a home pass, or of the pass that a start begins in: so much of it is kept against the others.
_KEPT = 0.8


@dataclass(frozen=True)
class _View:
    station: Station
    period: ViewPeriod
    uplink: tuple[Interval, ...]


def is_due(published: PassesMessage | None, now_ns: int) -> bool:
    """Whether the published passes do not reach far enough."""
    return published is None or published.horizon_end_ns - now_ns < RENEW_S * S_NS


def plan(now_ns: int, stations: Sequence[Station], published: PassesMessage | None) -> Publication:
    """The schedule from now on.  Published passes stay exactly as they are until they have ended
    `LEAD_S` ago: what arrived in one just before now may not have been judged by it yet.

    Raises LocalError where the ephemeris ends.
    """
    # Whole seconds: schedules are read by people, and solvers count in them.
    start_ns = (now_ns // S_NS - LEAD_S) * S_NS
    horizon = Interval(start_ns, start_ns + (LEAD_S + HORIZON_S) * S_NS)
    kept = [p for p in published.passes if p.release_ns > start_ns] if published else []
    if kept:
        first_ns = min(start_ns, min(p.setup_ns for p in kept) // S_NS * S_NS)
        horizon = Interval(first_ns, horizon.end_ns)
    sky = Sky(horizon.start_ns, horizon.end_ns)
    found = find_passes(stations, target_named(TARGET), sky, uplink=True)
    views = [
        _View(
            station=next(s for s in stations if s.name == one.station),
            period=one.view_period,
            uplink=tuple(whole_seconds(w.start_ns, w.end_ns) for w in one.uplink),
        )
        for one in found
        # What the horizon cuts off is for the next plan: it would end a pass for no reason.
        if one.los_ns < horizon.end_ns
    ]
    problem = _problem(horizon, now_ns, stations, views, kept)
    compiled = Compiled(problem)
    schedule = compiled.schedule(greedy(compiled))
    return Publication(
        problem=problem,
        schedule=schedule,
        generated_ns=now_ns,
        version=published.version + 1 if published else 1,
        light_time=modelled(sky, stations, {MISSION: TARGET}),
        uplink={
            (MISSION, station.name): tuple(
                w for v in views if v.station is station for w in v.uplink
            )
            for station in stations
        },
    )


def published_passes(publication: Publication, before: PassesMessage | None) -> PassesMessage:
    """The passes to be told; of those that stay as they were told, not a nanosecond differs."""
    message = passes(publication)
    told = {(p.id, p.aos_ns, p.los_ns): p for p in before.passes} if before else {}
    those = tuple(told.get((p.id, p.aos_ns, p.los_ns), p) for p in message.passes)
    return replace(message, passes=those, horizon_end_ns=max((p.los_ns for p in those), default=0))


def _problem(
    horizon: Interval,
    now_ns: int,
    stations: Sequence[Station],
    views: Iterable[_View],
    kept: Sequence[Pass],
) -> Problem:
    requests: list[Request] = []
    locks: list[Track] = []
    for one in kept:
        request, track = locked(one)
        requests.append(request)
        locks.append(track)
    # What is published is not planned again, not even to prolong it.
    planned_ns = max((p.los_ns for p in kept), default=horizon.start_ns)
    rank = {station.name: i for i, station in enumerate(stations)}
    fresh = [v for v in views if v.period.end_ns - planned_ns >= SHORTEST_S * S_NS]
    on_now = [v for v in fresh if v.period.start_ns <= now_ns and planned_ns <= now_ns]
    first = max(
        on_now, key=lambda v: (v.station.name == stations[0].name, v.period.end_ns), default=None
    )
    for view in sorted(
        fresh, key=lambda v: (v is not first, rank[v.station.name], v.period.start_ns)
    ):
        request = _request(view, planned_ns, important=view is first or not rank[view.station.name])
        if request is not None:
            requests.append(request)
    return Problem(
        name=TARGET,
        horizon=horizon,
        antennas=tuple(station.antenna for station in stations),
        missions=(Mission(MISSION, AGENCY),),
        requests=tuple(requests),
        locks=tuple(locks),
    )


def _request(view: _View, planned_ns: int, *, important: bool) -> Request | None:
    """One contact, as long as the view period allows; None if what is left of it is too short."""
    # Rounded inwards to seconds.
    begin_ns = -(-max(view.period.start_ns, planned_ns) // S_NS) * S_NS
    length_s = (view.period.end_ns - begin_ns) // S_NS
    if length_s < SHORTEST_S:
        return None
    station = view.station
    return Request(
        id=f"{station.name}-{utc_iso_from_tai_ns(begin_ns, decimals=0)[:16]}",
        mission=MISSION,
        duration_s=length_s,
        minimum_s=max(SHORTEST_S, round(_KEPT * length_s)) if important else SHORTEST_S,
        choices=(Choice((station.name,), (ViewPeriod(begin_ns, begin_ns + length_s * S_NS),)),),
        setup_s=station.setup_s,
        teardown_s=station.teardown_s,
        priority=2.0 if important else 1.0,
    )


def locked(one: Pass) -> tuple[Request, Track]:
    """A published pass as the request that it fulfils."""
    antennas = tuple(one.antenna.split("_"))
    length_s = (one.los_ns - one.aos_ns) // S_NS
    request = Request(
        id=one.id.rpartition(".")[0],
        mission=one.mission,
        duration_s=length_s,
        minimum_s=length_s,
        choices=(Choice(antennas, (ViewPeriod(one.aos_ns, one.los_ns),)),),
        setup_s=(one.aos_ns - one.setup_ns) // S_NS,
        teardown_s=(one.release_ns - one.los_ns) // S_NS,
    )
    return request, track_of(request, antennas, one.aos_ns, one.los_ns)
