"""SatNet's problem and schedule files (Goh et al. 2021, `edwinytgoh/satnet`): real DSN weeks.

Its times are Unix seconds, its durations hours (multiples of 0.1), its set-ups minutes.  A week
runs 12 h longer than seven days, and a request of 8 h or more may be split into 4 h and more.
"""

from __future__ import annotations

import csv
import datetime
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ground.documents import json_of
from ground.scheduling.model import (
    S_NS,
    Antenna,
    Choice,
    Commitment,
    Interval,
    Mission,
    Problem,
    Request,
    Schedule,
    Track,
    ViewPeriod,
)
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_unix_ns, unix_ns_from_tai_ns

SPLIT_FROM_S = 8 * 3600
SEGMENT_MINIMUM_S = 4 * 3600
WEEK_H = 7 * 24 + 12
_TIMES = ("START_TIME", "TRACKING_ON", "TRACKING_OFF", "END_TIME")

_COMPLEXES = {"1": "Goldstone", "2": "Goldstone", "3": "Canberra", "4": "Canberra"}
_COMPLEXES |= {"5": "Madrid", "6": "Madrid"}


def _ns(unix_s: int) -> int:
    return tai_ns_from_unix_ns(int(unix_s) * S_NS)


def _unix_s(tai_ns: int) -> int:
    unix_ns = unix_ns_from_tai_ns(tai_ns)
    if unix_ns % S_NS:
        raise LocalError(f"SatNet writes whole seconds; a track has {unix_ns} ns (Unix)")
    return unix_ns // S_NS


def antenna_of(name: str) -> Antenna:
    """`DSS-25` -> Goldstone, by the first digit of its number, as the DSN numbers them."""
    digits = name.rpartition("-")[2]
    return Antenna(name, complex=_COMPLEXES.get(digits[:1], ""), agency="NASA")


def week_horizon(week: str) -> Interval:
    """`W10_2018` -> Monday 00:00 UTC of the ISO week to 12 h after its end."""
    if not (match := re.fullmatch(r"W(\d+)_(\d{4})", week)):
        raise LocalError(f"week {week!r}: like W10_2018 wanted")
    try:
        monday = datetime.datetime.fromisocalendar(int(match[2]), int(match[1]), 1)
    except ValueError as error:
        raise LocalError(f"week {week!r}: {error}") from error
    begin_s = int(monday.replace(tzinfo=datetime.UTC).timestamp())
    return Interval(_ns(begin_s), _ns(begin_s + WEEK_H * 3600))


def read_request(row: Mapping[str, Any]) -> Request:
    """One request of a SatNet problem file.

    What binds are its view periods, whatever the window says; one without length is none.  A
    minimum of 0 is one of a second: to get nothing is not to be satisfied.
    """
    duration_s = round(row["duration"] * 3600)
    choices = tuple(
        Choice(
            antennas=tuple(sorted(name.split("_"))),
            view_periods=tuple(
                ViewPeriod(_ns(v["TRX ON"]), _ns(v["TRX OFF"]))
                for v in sorted(periods, key=lambda v: v["TRX ON"])
                if v["TRX ON"] < v["TRX OFF"]
            ),
        )
        for name, periods in row["resource_vp_dict"].items()
    )
    seen = [p for choice in choices for p in choice.view_periods]
    starts_ns = [_ns(row["time_window_start"]), *(p.start_ns for p in seen)]
    ends_ns = [_ns(row["time_window_end"]), *(p.end_ns for p in seen)]
    return Request(
        id=str(row["track_id"]),
        mission=str(row["subject"]),
        duration_s=duration_s,
        minimum_s=max(1, round(row["duration_min"] * 3600)),
        choices=choices,
        setup_s=row["setup_time"] * 60,
        teardown_s=row["teardown_time"] * 60,
        segment_minimum_s=SEGMENT_MINIMUM_S if duration_s >= SPLIT_FROM_S else 0,
        segments=duration_s // SEGMENT_MINIMUM_S if duration_s >= SPLIT_FROM_S else 1,
        window=Interval(min(starts_ns), max(ends_ns)),
    )


def read_problem(problems: Path, maintenance: Path | None, week: str) -> Problem:
    """The week of a problem file, with the maintenance that touches it."""
    try:
        weeks = json_of(problems.read_bytes())
    except ValueError as error:
        raise RemoteError(f"{problems}: not JSON: {error}") from error
    if not isinstance(weeks, dict) or week not in weeks:
        known = ", ".join(weeks) if isinstance(weeks, dict) else "no weeks"
        raise LocalError(f"week {week!r} is not in {problems}, which holds {known}")
    horizon = week_horizon(week)
    try:
        requests = tuple(read_request(row) for row in weeks[week])
    except LocalError as error:
        raise RemoteError(f"{problems}, {week}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
        # JSON as Python reads it has NaN, and numbers that are infinite.
        raise RemoteError(f"{problems}, {week}: not a SatNet request: {error!r}") from error
    names = {a for r in requests for c in r.choices for a in c.antennas}
    return Problem(
        name=week,
        horizon=horizon,
        antennas=tuple(antenna_of(name) for name in sorted(names)),
        missions=tuple(Mission(name) for name in sorted({r.mission for r in requests})),
        requests=requests,
        commitments=read_maintenance(maintenance, horizon, names) if maintenance else (),
    )


def read_maintenance(path: Path, horizon: Interval, antennas: set[str]) -> tuple[Commitment, ...]:
    """What of a maintenance file lies in the horizon, cut to it, for these antennas."""
    found = []
    with path.open(newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            try:
                begin, end, name = int(row["starttime"]), int(row["endtime"]), row["antenna"]
            except (KeyError, TypeError, ValueError) as error:
                raise RemoteError(f"{path}:{line}: not a maintenance row: {error!r}") from error
            if name not in antennas or end <= begin:
                continue
            if inside := Interval(_ns(begin), _ns(end)).intersection(horizon):
                found.append(Commitment(name, inside))
    return tuple(sorted(found, key=lambda c: (c.antenna, c.interval)))


def write_problem(problem: Problem) -> list[dict[str, Any]]:
    """The problem's requests as SatNet rows (of what SatNet can say: no links, gaps, quotas)."""
    rows = []
    for request in problem.requests:
        periods = [p for choice in request.choices for p in choice.view_periods]
        window = request.window or problem.horizon
        rows.append(
            {
                "subject": int(request.mission) if request.mission.isdigit() else request.mission,
                "user": f"{request.mission}_0",
                "duration": request.duration_s / 3600,
                "duration_min": request.minimum_s / 3600,
                "resources": [list(choice.antennas) for choice in request.choices],
                "track_id": request.id,
                "setup_time": request.setup_s // 60,
                "teardown_time": request.teardown_s // 60,
                "time_window_start": _unix_s(
                    min([window.start_ns, *(p.start_ns for p in periods)])
                ),
                "time_window_end": _unix_s(max([window.end_ns, *(p.end_ns for p in periods)])),
                "resource_vp_dict": {
                    choice.name: [
                        {
                            "RISE": _unix_s(p.start_ns),
                            "SET": _unix_s(p.end_ns),
                            "TRX ON": _unix_s(p.start_ns),
                            "TRX OFF": _unix_s(p.end_ns),
                        }
                        for p in choice.view_periods
                    ]
                    for choice in request.choices
                },
            }
        )
    return rows


def write_schedule(problem: Problem, schedule: Schedule) -> list[dict[str, Any]]:
    """SatNet's schedule: one row a physical antenna; rows of one track share its four times."""
    rows = []
    for track in schedule.tracks:
        mission = problem.request_by_id[track.request].mission
        for antenna in track.antennas:
            rows.append(
                {
                    "RESOURCE": antenna,
                    "SC": int(mission) if mission.isdigit() else mission,
                    "START_TIME": _unix_s(track.start_ns),
                    "TRACKING_ON": _unix_s(track.on_ns),
                    "TRACKING_OFF": _unix_s(track.off_ns),
                    "END_TIME": _unix_s(track.end_ns),
                    "TRACK_ID": track.request,
                }
            )
    return rows


def read_schedule(problem: Problem, rows: list[dict[str, Any]]) -> Schedule:
    """Inverse of `write_schedule`: rows with the same request and times are one track."""
    groups: dict[tuple[str, int, int, int, int], list[str]] = {}
    for index, row in enumerate(rows):
        try:
            start, on, off, end = (int(row[key]) for key in _TIMES)
            key = (str(row["TRACK_ID"]), start, on, off, end)
            groups.setdefault(key, []).append(str(row["RESOURCE"]))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise RemoteError(f"schedule row {index}: {error!r}") from error
    tracks = []
    for (request, start, on, off, end), antennas in groups.items():
        if request not in problem.request_by_id:
            raise RemoteError(f"schedule: request {request} is not one of {problem.name}")
        try:
            times = (_ns(on), _ns(off), _ns(start), _ns(end))
            tracks.append(Track(*times[:2], request, tuple(sorted(antennas)), *times[2:]))
        except (LocalError, OverflowError) as error:
            raise RemoteError(f"schedule, request {request}: {error}") from error
    return Schedule(tuple(tracks))
