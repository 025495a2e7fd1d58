"""CSV and Parquet: one row a track and antenna, UTC for people beside TAI nanoseconds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ground.scheduling.export.publication import Publication
from ground.scheduling.model import S_NS, Schedule, Track
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Of a schedule: a decade of every antenna there is has fewer.
MOST_ROWS = 1_000_000
_TIMES = ("start", "on", "off", "end")
COLUMNS = (
    *("track", "request", "mission", "agency", "antenna", "station", "antennas"),
    *(f"{name}_utc" for name in _TIMES),
    *(f"{name}_tai_ns" for name in _TIMES),
    *("tracking_s", "version"),
)


def rows(publication: Publication) -> list[dict[str, Any]]:
    """antennas: all of the track's, joined by `_`; start … on: set-up, off … end: tear-down."""
    problem = publication.problem
    found: list[dict[str, Any]] = []
    for booked in publication.booked:
        track = booked.track
        times = {name: getattr(track, f"{name}_ns") for name in _TIMES}
        for antenna in track.antennas:
            found.append(
                {
                    "track": booked.id,
                    "request": booked.request.id,
                    "mission": booked.request.mission,
                    "agency": problem.agency_of(booked.request),
                    "antenna": antenna,
                    "station": problem.antenna_by_name[antenna].complex,
                    "antennas": booked.antenna,
                    **{f"{name}_utc": utc_iso_from_tai_ns(ns) for name, ns in times.items()},
                    **{f"{name}_tai_ns": ns for name, ns in times.items()},
                    "tracking_s": (track.off_ns - track.on_ns) / S_NS,
                    "version": publication.version,
                }
            )
    return found


def build_csv(publication: Publication) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(publication))
    return text.getvalue().encode()


def read_csv(path: Path) -> Schedule:
    """RemoteError if it is not such a table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return _schedule(csv.DictReader(file), path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise RemoteError(f"{path}: no table in CSV: {error}") from error


def build_parquet(publication: Publication) -> bytes:
    """UTC as timestamps that other tools know as such."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from protocols.timecodes.tai import unix_ns_from_tai_ns

    table = rows(publication)
    columns: dict[str, pa.Array] = {}
    for name in COLUMNS:
        values = [row[name] for row in table]
        if name.endswith("_utc"):
            ns = [unix_ns_from_tai_ns(row[name.replace("_utc", "_tai_ns")]) for row in table]
            columns[name] = pa.array(ns, pa.timestamp("ns", tz="UTC"))
        elif name.endswith("_tai_ns") or name == "version":
            columns[name] = pa.array(values, pa.int64())
        elif name == "tracking_s":
            columns[name] = pa.array(values, pa.float64())
        else:
            columns[name] = pa.array(values, pa.string())
    octets = io.BytesIO()
    pq.write_table(pa.table(columns), octets)
    return octets.getvalue()


def read_parquet(path: Path) -> Schedule:
    """RemoteError if it is not such a table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = ["request", "antenna", *(f"{name}_tai_ns" for name in _TIMES)]
    try:
        # Equal rows cost next to nothing in a file, and all of their memory here.
        count = pq.read_metadata(path).num_rows
        if count > MOST_ROWS:
            raise RemoteError(f"{path}: {count:,} rows, {MOST_ROWS:,} at most")
        rows = pq.read_table(path, columns=wanted).to_pylist()
    except RemoteError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        # OSError: what is damaged, too, is said so.
        raise RemoteError(f"{path}: {error}") from error
    return _schedule(rows, path)


def _schedule(table: Iterable[Mapping[str, Any]], path: Path) -> Schedule:
    groups: dict[tuple[str, int, int, int, int], list[str]] = {}
    for number, row in enumerate(table, start=1):
        try:
            start, on, off, end = (int(row[f"{name}_tai_ns"]) for name in _TIMES)
            groups.setdefault((row["request"], start, on, off, end), []).append(row["antenna"])
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteError(f"{path}, row {number}: {error!r}") from error
    try:
        return Schedule(
            tuple(
                Track(on, off, request, tuple(sorted(antennas)), start, end)
                for (request, start, on, off, end), antennas in groups.items()
            )
        )
    except (LocalError, TypeError) as error:
        raise RemoteError(f"{path}: {error}") from error
