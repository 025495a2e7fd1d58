"""Request files with stations and visibility: from the file's name to the problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ground.scheduling.model import Interval, Problem
from ground.scheduling.requests import ViewFunction, build_problem, intersect, read_requests
from ground.scheduling.requests_antennas import AntennaRow
from ground.scheduling.requests_file import MissionRow, RequestFile
from ground.scheduling.stations import Station, load_stations
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.targets import Target


def read_problem(path: Path) -> Problem:
    """The problem of a request file; view periods are computed where it gives none.

    Raises LocalError, which names file, table, key, value and what is allowed; OSError.
    """
    file = read_requests(path)
    folder = path.parent
    own = [folder / file.header.stations] if file.header.stations else []
    stations = load_stations(*own)
    return build_problem(file, view_function(file, folder, stations), antenna_rows(stations))


def read_pointing(path: Path) -> tuple[dict[str, Station], dict[str, Target]]:
    """Stations by name and targets by mission of a request file; missions without target are left
    out.
    """
    file = read_requests(path)
    own = [path.parent / file.header.stations] if file.header.stations else []
    targets = {row.name: _target_of(row.target, path.parent) for row in file.mission if row.target}
    return load_stations(*own), targets


def antenna_rows(stations: dict[str, Station]) -> list[AntennaRow]:
    return [
        AntennaRow(s.name, s.complex, s.agency, s.mspa, s.diameter_m) for s in stations.values()
    ]


def view_function(file: RequestFile, folder: Path, stations: dict[str, Station]) -> ViewFunction:
    """Visibility of the file's targets, for all stations at once; missions that differ in name only
    share it.

    OEM and TLE files are looked for beside the request file.
    """
    names = {row.name for row in file.antenna}
    seen: dict[MissionRow, dict[str, list[Interval]]] = {}

    def views(mission: MissionRow, antenna: str, span: Interval) -> Sequence[Interval]:
        if antenna not in stations:
            # An antenna of the file's own has no place: its views must be given.
            hint = " (it stands in [[antenna]] only)" if antenna in names else ""
            raise LocalError(
                f"antenna {antenna}{hint} is in no station file, so nothing says what it sees; "
                "give views, or add it to a station file"
            )
        sought = replace(mission, name="", agency="", links=1)
        if sought not in seen:
            seen[sought] = _views_of(sought, folder, list(stations.values()), span)
        return seen[sought][antenna]

    return views


def _target_of(target: str, folder: Path) -> Target:
    from ground.scheduling.targets import target_named

    beside = folder / target
    before = target.rpartition(":")[0]
    here = beside.is_file() or (bool(before) and (folder / before).is_file())
    return target_named(str(beside) if here else target)


def _views_of(
    mission: MissionRow, folder: Path, stations: list[Station], span: Interval
) -> dict[str, list[Interval]]:
    # Skyfield and its ephemeris: only where something is asked for.
    from ground.scheduling.look import Conditions
    from ground.scheduling.sky import Sky
    from ground.scheduling.visibility import find_passes

    found = _target_of(mission.target, folder)
    nearest = mission.sun_exclusion_deg
    if nearest is not None:
        # A telescope's own limit is of its optics: a mission may ask for more, not for less.
        stations = [
            replace(s, sun_angle_deg=max(nearest, s.sun_angle_deg * (s.kind == "optical")))
            for s in stations
        ]
    passes = find_passes(
        stations,
        found,
        Sky(span.start_ns, span.end_ns),
        Conditions(mission.minimum_elevation_deg, exclude_sun=nearest is not None),
        uplink=mission.uplink,
    )
    views = {
        s.name: [Interval(p.start_ns, p.end_ns) for p in passes.view_periods(s.name)]
        for s in stations
    }
    if mission.uplink:
        reached: dict[str, list[Interval]] = {s.name: [] for s in stations}
        for one in passes:
            reached[one.station] += [Interval(w.start_ns, w.end_ns) for w in one.uplink]
        views = {name: intersect(those, reached[name]) for name, those in views.items()}
    return views
