"""Request files with stations and visibility: from the file's name to the problem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ground.scheduling.model import Interval, Problem
from ground.scheduling.requests import ViewFunction, build_problem, read_requests
from ground.scheduling.requests_antennas import AntennaRow
from ground.scheduling.requests_file import RequestFile
from ground.scheduling.stations import Station, load_stations
from protocols.errors import LocalError


def read_problem(path: Path) -> Problem:
    """The problem of a request file; view periods are computed where it gives none.

    Raises LocalError, which names file, table, key, value and what is allowed; OSError.
    """
    file = read_requests(path)
    folder = path.parent
    own = [folder / file.header.stations] if file.header.stations else []
    stations = load_stations(*own)
    return build_problem(file, view_function(file, folder, stations), antenna_rows(stations))


def antenna_rows(stations: dict[str, Station]) -> list[AntennaRow]:
    return [
        AntennaRow(s.name, s.complex, s.agency, s.mspa, s.diameter_m) for s in stations.values()
    ]


def view_function(file: RequestFile, folder: Path, stations: dict[str, Station]) -> ViewFunction:
    """Visibility of the file's targets; each target is computed once, for all stations at once.

    OEM and TLE files are looked for beside the request file.
    """
    names = {row.name for row in file.antenna}
    seen: dict[str, dict[str, list[Interval]]] = {}

    def views(target: str, antenna: str, span: Interval) -> Sequence[Interval]:
        if antenna not in stations:
            # An antenna of the file's own has no place: its views must be given.
            hint = " (it stands in [[antenna]] only)" if antenna in names else ""
            raise LocalError(
                f"antenna {antenna}{hint} is in no station file, so nothing says what it sees; "
                "give views, or add it to a station file"
            )
        if target not in seen:
            seen[target] = _views_of(target, folder, list(stations.values()), span)
        return seen[target][antenna]

    return views


def _views_of(
    target: str, folder: Path, stations: list[Station], span: Interval
) -> dict[str, list[Interval]]:
    # Skyfield and its ephemeris: only where something is asked for.
    from ground.scheduling.sky import Sky
    from ground.scheduling.targets import target_named
    from ground.scheduling.visibility import find_passes

    beside = folder / target
    before = target.rpartition(":")[0]
    here = beside.is_file() or (bool(before) and (folder / before).is_file())
    found = target_named(str(beside) if here else target)
    passes = find_passes(stations, found, Sky(span.start_ns, span.end_ns))
    return {
        s.name: [Interval(p.start_ns, p.end_ns) for p in passes.view_periods(s.name)]
        for s in stations
    }
