"""Operators plan a pass of the relay: what could be, what would be, and publishing it.

    desk = PassDesk(stations, others=others_of(store))
    desk.views(now_ns, published)                          when antennas see the spacecraft
    desk.plan(now_ns, published, Wanted("DSS-25", begin_ns, end_ns))   a what-if; writes nothing
    desk.plan(…).publication                               what would be published

A pass takes the place of the mission's own passes at that time, since it holds one link: those are
shortened, split or given up.  Nothing changes what has begun, except that it may end sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ground.scheduling.export.light_time import modelled
from ground.scheduling.export.passes import passes, whole_seconds
from ground.scheduling.export.publication import Publication
from ground.scheduling.model import (
    S_NS,
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
from ground.scheduling.relay_plan import AGENCY, MISSION, SHORTEST_S, TARGET, locked
from ground.scheduling.rules import violations
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import target_named
from ground.scheduling.visibility import Pass as View
from ground.scheduling.visibility import find_passes
from protocols.bus.messages import Pass, PassesMessage
from protocols.errors import LocalError
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: What other missions and the network hold of the antennas, within an interval.
Others = Callable[[Interval], Sequence[Commitment]]
#: Between a proposal and the begin of its set-up: for people to think in.
LEAD_S = 900
#: A window shorter than that gives the antenna no time to lock.
LEAST_S = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """Tracking [begin, end) over an antenna, whole seconds; set-up and tear-down come on top."""

    antenna: str
    begin_ns: int
    end_ns: int


@dataclass(frozen=True)
class Planned:
    """A what-if.  conflicts: who else holds the antenna; problems: why it may not be published, in
    words (none: it may); changes: what becomes of the mission's own passes, in words; before: the
    pass list that it was tried on; publication: None where there are problems."""

    wanted: Wanted
    before: PassesMessage
    conflicts: tuple[Commitment, ...] = ()
    problems: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    track: Track | None = None
    request: Request | None = None
    one: Pass | None = None
    publication: Publication | None = field(default=None, repr=False)


class PassDesk:
    """stations: by name, of which the radio antennas are offered."""

    def __init__(self, stations: Mapping[str, Station], others: Others) -> None:
        self.stations = {s.name: s for s in stations.values() if s.kind == "radio"}
        self._others = others

    def views(self, now_ns: int, published: PassesMessage) -> list[dict[str, Any]]:
        """Of every antenna from now to the end of what is published: [aos, los), the windows in
        which it may transmit, what others hold of it, and what is free of them, long enough."""
        horizon = Interval(now_ns, max(published.horizon_end_ns, now_ns + 1))
        held = self._held(horizon)
        found = []
        for view in self._seen(horizon, self.stations.values()):
            station = self.stations[view.station]
            begin_ns = max(view.aos_ns, now_ns + (station.setup_s + LEAD_S) * S_NS)
            taken = [c for c in held if c.antenna == view.station]
            free = [
                part
                for part in _free(begin_ns, view.los_ns, taken, station)
                if part[1] - part[0] >= SHORTEST_S * S_NS
            ]
            found.append(
                {
                    "antenna": view.station,
                    "complex": station.complex,
                    "agency": station.agency,
                    "aos_ns": view.aos_ns,
                    "los_ns": view.los_ns,
                    "elevation_deg": round(view.max_elevation_deg, 1),
                    "sun_angle_deg": round(view.sun_angle_deg, 1),
                    "light_time_s": view.light_time_s,
                    "uplink": _spans((w.start_ns, w.end_ns) for w in view.uplink),
                    "free": _spans(free),
                    "held": [
                        _held_plain(c) for c in taken if c.interval.overlaps(view.view_period)
                    ],
                }
            )
        return sorted(found, key=lambda one: (one["aos_ns"], one["antenna"]))

    def plan(self, now_ns: int, published: PassesMessage, wanted: Wanted) -> Planned:
        """LocalError for an antenna that is none, and a window that is none."""
        station = self.stations.get(wanted.antenna)
        if station is None:
            known = ", ".join(self.stations)
            raise LocalError(f"antenna {wanted.antenna!r}: one of {known} wanted")
        begin_ns, end_ns = (ns // S_NS * S_NS for ns in (wanted.begin_ns, wanted.end_ns))
        if not 0 < end_ns - begin_ns <= 2 * 86_400 * S_NS:
            raise LocalError(
                f"{_span(begin_ns, end_ns)}: begin before end, at most two days, wanted"
            )
        wanted = Wanted(wanted.antenna, begin_ns, end_ns)
        refused = _refusals(now_ns, published, wanted, station)
        if wanted.end_ns > published.horizon_end_ns or wanted.begin_ns < now_ns - 86_400 * S_NS:
            # Nothing is known of that time.
            return Planned(wanted, published, problems=refused)
        return self._tried(now_ns, published, wanted, station, refused)

    # Inside --------------------------------------------------------------------------------------

    def _seen(self, horizon: Interval, stations: Iterable[Station]) -> list[View]:
        sky = Sky(horizon.start_ns, horizon.end_ns)
        return list(find_passes(list(stations), target_named(TARGET), sky, uplink=True))

    def _held(self, horizon: Interval) -> list[Commitment]:
        return [c for c in self._others(horizon) if c.antenna in self.stations]

    def _tried(
        self,
        now_ns: int,
        published: PassesMessage,
        wanted: Wanted,
        station: Station,
        refused: Sequence[str],
    ) -> Planned:
        own = [p for p in published.passes if p.mission == MISSION]
        request = _request(wanted, station)
        track = track_of(request, (station.name,), wanted.begin_ns, wanted.end_ns)
        kept, changes, begun = _making_room(own, track, station, now_ns)
        problems = [*refused, *begun]
        horizon = Interval(
            min([published.horizon_start_ns, track.start_ns, *(p.setup_ns for p in own)]),
            max([published.horizon_end_ns, track.end_ns, *(p.release_ns for p in own)]),
        )
        names = {*(p.antenna for p in own), station.name}
        stations = [s for s in self.stations.values() if s.name in names]
        views = self._seen(horizon, stations)
        held = [c for c in self._held(horizon) if c.antenna in names]
        mine = [v for v in views if v.station == station.name]
        if not any(v.aos_ns <= track.on_ns and track.off_ns <= v.los_ns for v in mine):
            around = Interval(track.start_ns - 43_200 * S_NS, track.end_ns + 43_200 * S_NS)
            near = [_span(v.aos_ns, v.los_ns) for v in mine if v.view_period.overlaps(around)]
            sees = " and ".join(near) if near else "at no time near it"
            problems.append(f"{station.name} does not see the spacecraft all that time, but {sees}")
        conflicts = [c for c in held if c.antenna == station.name]
        conflicts = [c for c in conflicts if c.interval.overlaps(track.occupied)]
        problems += [f"{station.name} is held: {_held_text(c)}" for c in conflicts]
        before = _problem(horizon, stations, [locked(p) for p in own], held)
        after = _problem(horizon, stations, [*map(locked, kept), (request, track)], held)
        broken = set(violations(after, Schedule(after.locks))) - set(
            violations(before, Schedule(before.locks))
        )
        # R5 has been said, with who it is.
        problems += sorted(text for text in broken if not text.startswith("R5"))
        sky = Sky(horizon.start_ns, horizon.end_ns)
        publication = Publication(
            problem=after,
            schedule=Schedule(after.locks),
            generated_ns=now_ns,
            version=published.version + 1,
            light_time=modelled(sky, stations, {MISSION: TARGET}),
            uplink={
                (MISSION, s.name): tuple(
                    whole_seconds(w.start_ns, w.end_ns)
                    for v in views
                    if v.station == s.name
                    for w in v.uplink
                )
                for s in stations
            },
        )
        one = next(p for p in passes(publication).passes if p.id == f"{request.id}.1")
        return Planned(
            wanted=wanted,
            before=published,
            conflicts=tuple(conflicts),
            problems=tuple(problems),
            changes=tuple(changes),
            track=track,
            request=request,
            one=one,
            publication=None if problems else publication,
        )


def plain(planned: Planned, now_ns: int) -> dict[str, Any]:
    """For operators: the what-if as a map, instants TAI ns, 0 where there is none."""
    one, wanted = planned.one, planned.wanted
    arrival = one.uplink_arrival_ns if one is not None else None
    windows = [(p.uplink_from_ns, p.uplink_to_ns, p.owlt_aos_ns) for p in planned.before.passes]
    first = min(
        (max(start, now_ns) + owlt for start, end, owlt in windows if end > max(now_ns, start)),
        default=0,
    )
    out: dict[str, Any] = {
        "antenna": wanted.antenna,
        "version": planned.before.version,
        "possible": planned.publication is not None,
        "problems": list(planned.problems),
        "conflicts": [_held_plain(c) for c in planned.conflicts],
        "changes": list(planned.changes),
        "aos_ns": wanted.begin_ns,
        "los_ns": wanted.end_ns,
        "arrival_without_ns": first,
    }
    if one is None:
        return out
    uplink = one.uplink_from_ns < one.uplink_to_ns
    owlt_ns = max(one.owlt_aos_ns, 0)
    return out | {
        "place": one.place,
        "setup_ns": one.setup_ns,
        "release_ns": one.release_ns,
        "uplink_from_ns": one.uplink_from_ns if uplink else 0,
        "uplink_to_ns": one.uplink_to_ns if uplink else 0,
        "owlt_s": owlt_ns / S_NS,
        # What is seen at its begin left the spacecraft then.
        "scet_from_ns": one.aos_ns - owlt_ns,
        "scet_to_ns": one.los_ns - owlt_ns,
        "arrival_ns": arrival[0] if arrival and uplink else 0,
        "arrival_to_ns": arrival[1] if arrival and uplink else 0,
        "reply_ns": arrival[0] + owlt_ns if arrival and uplink else 0,
        "last_answered_ns": one.last_answered_ns or 0,
    }


def _refusals(
    now_ns: int, published: PassesMessage, wanted: Wanted, station: Station
) -> tuple[str, ...]:
    """What needs no sky to be seen."""
    found: list[str] = []
    if wanted.end_ns - wanted.begin_ns < LEAST_S * S_NS:
        found.append(f"{_span(wanted.begin_ns, wanted.end_ns)}: at least {LEAST_S} s wanted")
    setup_ns = wanted.begin_ns - station.setup_s * S_NS
    if setup_ns < now_ns:
        found.append(
            f"set-up of {station.name} takes {station.setup_s // 60} min and would have begun at "
            f"{_said(setup_ns)}; begin at {_said(now_ns + (station.setup_s + 60) * S_NS)} or later"
        )
    if wanted.end_ns > published.horizon_end_ns:
        found.append(
            f"passes are planned until {_said(published.horizon_end_ns)}; what is later comes when "
            "the plan goes on"
        )
    return tuple(found)


def _making_room(
    own: Sequence[Pass], track: Track, station: Station, now_ns: int
) -> tuple[list[Pass], list[str], list[str]]:
    """The mission's other passes around a track: those kept, what changes, what forbids it."""
    kept: list[Pass] = []
    changes: list[str] = []
    problems: list[str] = []
    for one in own:
        same = one.antenna == station.name
        before_ns = track.start_ns - (one.release_ns - one.los_ns if same else 0)
        after_ns = track.end_ns + (one.aos_ns - one.setup_ns if same else 0)
        first_ns, second_ns = (before_ns, after_ns) if same else (track.on_ns, track.off_ns)
        if one.los_ns <= first_ns or second_ns <= one.aos_ns:
            kept.append(one)
            continue
        parts = [(one.aos_ns, min(first_ns, one.los_ns)), (max(second_ns, one.aos_ns), one.los_ns)]
        parts = [(a, b) for a, b in parts if b - a >= SHORTEST_S * S_NS]
        was = f"{one.place} {_span(one.aos_ns, one.los_ns)}"
        if one.setup_ns <= now_ns and (not parts or parts[0][0] != one.aos_ns):
            problems.append(f"{was}: its set-up has begun; begin after it has brought 30 min")
            kept.append(one)
            continue
        kept += [_cut(one, a, b) for a, b in parts]
        if not parts:
            changes.append(f"{was} is given up")
        else:
            rest = " and ".join(_span(a, b) for a, b in parts)
            changes.append(f"{was} becomes {rest}")
    return kept, changes, problems


def _cut(one: Pass, aos_ns: int, los_ns: int) -> Pass:
    """What is left of a pass; the part with its begin keeps its name."""
    uplink_ns = min(max(one.uplink_from_ns, aos_ns), los_ns)
    name = one.id if aos_ns == one.aos_ns else f"{one.antenna}-{_utc(aos_ns)}.1"
    return replace(
        one,
        id=name,
        aos_ns=aos_ns,
        los_ns=los_ns,
        setup_ns=aos_ns - (one.aos_ns - one.setup_ns),
        release_ns=los_ns + (one.release_ns - one.los_ns),
        uplink_from_ns=uplink_ns,
        uplink_to_ns=max(min(one.uplink_to_ns, los_ns), uplink_ns),
    )


def _request(wanted: Wanted, station: Station) -> Request:
    length_s = (wanted.end_ns - wanted.begin_ns) // S_NS
    return Request(
        id=f"{station.name}-{_utc(wanted.begin_ns)}",
        mission=MISSION,
        duration_s=length_s,
        minimum_s=length_s,
        choices=(Choice((station.name,), (ViewPeriod(wanted.begin_ns, wanted.end_ns),)),),
        setup_s=station.setup_s,
        teardown_s=station.teardown_s,
        priority=3.0,
    )


def _problem(
    horizon: Interval,
    stations: Sequence[Station],
    held: Sequence[tuple[Request, Track]],
    others: Sequence[Commitment],
) -> Problem:
    return Problem(
        name=TARGET,
        horizon=horizon,
        antennas=tuple(station.antenna for station in stations),
        missions=(Mission(MISSION, AGENCY),),
        requests=tuple(request for request, _ in held),
        locks=tuple(sorted(track for _, track in held)),
        commitments=tuple(others),
    )


def _free(
    begin_ns: int, end_ns: int, taken: Sequence[Commitment], station: Station
) -> list[tuple[int, int]]:
    """Of [begin, end), what is left when set-up and tear-down, too, keep off what others hold."""
    parts = [(begin_ns, end_ns)]
    for one in taken:
        first_ns = one.interval.start_ns - station.teardown_s * S_NS
        second_ns = one.interval.end_ns + station.setup_s * S_NS
        parts = [
            piece
            for a, b in parts
            for piece in ((a, min(b, first_ns)), (max(a, second_ns), b))
            if piece[0] < piece[1]
        ]
    return parts


def _spans(found: Iterable[tuple[int, int]]) -> list[dict[str, int]]:
    return [{"from_ns": a, "to_ns": b} for a, b in found]


def _held_plain(one: Commitment) -> dict[str, Any]:
    return {
        "antenna": one.antenna,
        "kind": one.kind,
        "who": one.label,
        "from_ns": one.interval.start_ns,
        "to_ns": one.interval.end_ns,
    }


def _held_text(one: Commitment) -> str:
    who = f" of {one.label}" if one.label else ""
    return f"{one.kind}{who} {_span(one.interval.start_ns, one.interval.end_ns)}"


def _utc(ns: int) -> str:
    return utc_iso_from_tai_ns(ns, decimals=0)[:16]


def _said(ns: int) -> str:
    return _utc(ns).replace("T", " ")


def _span(begin_ns: int, end_ns: int) -> str:
    """UTC, for people.

    >>> _span(2_000_000_000_000_000_000, 2_000_000_000_000_000_000 + 3600 * S_NS)
    '2021-05-18 03:32 to 04:32'
    """
    begin, end = _said(begin_ns), _said(end_ns)
    return f"{begin} to {end[11:] if end[:10] == begin[:10] else end}"
