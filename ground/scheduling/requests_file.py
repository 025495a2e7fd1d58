"""The tables of a request file (TOML or JSON, one structure), read and written.

Only form is checked here; what names mean is settled by `requests.build_problem`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ground.documents import json_of, toml_of
from ground.scheduling.model import Interval
from ground.scheduling.requests_antennas import AntennaRow
from ground.scheduling.requests_fields import (
    BOUNDS,
    COUNT,
    DURATION,
    ELEVATION,
    FLAG,
    NUMBER,
    PERIOD,
    SHARE,
    SUN_ANGLE,
    TABLE,
    TEXT,
    TEXTS,
    TIME,
    VIEWS,
    WINDOW,
    WINDOWS,
    RequestFileError,
    key,
    read_table,
    write_table,
)


@dataclass(frozen=True)
class MissionRow:
    """`[[mission]]`.  `target`: a body, l4, l5, an OEM or TLE file beside the request file.

    What limits the view periods computed for it, besides each station's own:
    sun_exclusion_deg      not nearer to the Sun; None: only where the station is optical
    minimum_elevation_deg  mask over those of the stations
    uplink                 only while a transmission, aimed ahead by the light time, reaches it too
    """

    name: str = key(TEXT)
    agency: str = key(TEXT, "")
    links: int = key(COUNT, 1)
    target: str = key(TEXT, "")
    sun_exclusion_deg: float | None = key(SUN_ANGLE, None)
    minimum_elevation_deg: float | None = key(ELEVATION, None)
    uplink: bool = key(FLAG, False)


@dataclass(frozen=True)
class RequestRow:
    """`[[request]]`.  `every` makes one request a period, `gap` binds neighbours."""

    id: str = key(TEXT)
    mission: str = key(TEXT)
    duration: int = key(DURATION)
    minimum: int = key(DURATION, 0)
    setup: int = key(DURATION, 0)
    teardown: int = key(DURATION, 0)
    antennas: tuple[str, ...] = key(TEXTS, ())
    segments: int = key(COUNT, 1)
    segment_minimum: int = key(DURATION, 0)
    window: Interval | None = key(WINDOW, None)  # noqa: RUF009
    windows: tuple[Interval, ...] = key(WINDOWS, ())
    every: int = key(PERIOD, 0)
    gap: tuple[int, int] | None = key(BOUNDS, None)
    priority: float = key(NUMBER, 1.0)
    beam: str = key(TEXT, "")
    views: tuple[tuple[str, tuple[Interval, ...]], ...] | None = key(VIEWS, None)


@dataclass(frozen=True)
class CommitmentRow:
    """`[[commitment]]`: `antenna` is not to be had from `start` to `end`."""

    antenna: str = key(TEXT)
    start: int = key(TIME)
    end: int = key(TIME)
    kind: str = key(TEXT, "maintenance")
    label: str = key(TEXT, "")


@dataclass(frozen=True)
class QuotaRow:
    """`[[quota]]`: at most `maximum` of antenna time, or a `share` of what there is."""

    agency: str = key(TEXT)
    maximum: int | None = key(DURATION, None)
    share: float | None = key(SHARE, None)
    antennas: tuple[str, ...] = key(TEXTS, ())


@dataclass(frozen=True)
class GapRow:
    """`[[gap]]`: from the end of `first` to the begin of `second`."""

    first: str = key(TEXT)
    second: str = key(TEXT)
    gap: tuple[int, int] = key(BOUNDS)


@dataclass(frozen=True)
class TrackRow:
    """`[[lock]]` and `[[published]]`: tracking of a request, without set-up and tear-down."""

    request: str = key(TEXT)
    antennas: tuple[str, ...] = key(TEXTS)
    on: int = key(TIME)
    off: int = key(TIME)


@dataclass(frozen=True)
class Header:
    """`version`: of the store, where the file was written from one; 0: from none."""

    name: str = key(TEXT)
    start: int = key(TIME)
    end: int = key(TIME)
    stations: str = key(TEXT, "")
    version: int = key(COUNT, 0)
    sets: Mapping[str, Any] | None = key(TABLE, None)


@dataclass(frozen=True)
class RequestFile:
    """A request file as written; `build_problem` resolves names and asks for view periods."""

    source: str
    header: Header
    sets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    antenna: tuple[AntennaRow, ...] = ()
    mission: tuple[MissionRow, ...] = ()
    request: tuple[RequestRow, ...] = ()
    commitment: tuple[CommitmentRow, ...] = ()
    quota: tuple[QuotaRow, ...] = ()
    gap: tuple[GapRow, ...] = ()
    lock: tuple[TrackRow, ...] = ()
    published: tuple[TrackRow, ...] = ()


_TABLES: Mapping[str, type] = {
    "antenna": AntennaRow,
    "mission": MissionRow,
    "request": RequestRow,
    "commitment": CommitmentRow,
    "quota": QuotaRow,
    "gap": GapRow,
    "lock": TrackRow,
    "published": TrackRow,
}


def read_requests(path: Path) -> RequestFile:
    """Reads `*.json` as JSON, all else as TOML.  Raises RequestFileError, OSError."""
    return parse_requests(path.read_text(), str(path))


def parse_requests(text: str, source: str = "requests.toml") -> RequestFile:
    """`source` names the text in errors and, by its suffix, its form."""
    try:
        values = json_of(text) if source.endswith(".json") else toml_of(text.encode())
    except ValueError as error:
        raise RequestFileError(f"{source}: {error}") from error
    if not isinstance(values, dict):
        raise RequestFileError(f"{source}: a table wanted, with name, start, end, [[request]], …")
    rows: dict[str, Any] = {}
    for name in _TABLES:
        those = values.pop(name, [])
        if not isinstance(those, list):
            raise RequestFileError(f"{source}: {name}: a list of tables, [[{name}]], wanted")
        rows[name] = those
    known = ", ".join([*Header.__dataclass_fields__, *(f"[[{n}]]" for n in rows)])
    if unknown := [name for name in values if name not in Header.__dataclass_fields__]:
        near = difflib.get_close_matches(unknown[0], rows, 1)
        hint = f"[[{near[0]}]] meant? " if near else ""
        raise RequestFileError(f"{source}: {unknown[0]}: no such key. {hint}Allowed: {known}")
    header = read_table(Header, values, source)
    if header.start >= header.end:
        raise RequestFileError(f"{source}: end = {values['end']}: a time after start wanted")
    tables = {
        name: tuple(
            read_table(table, row, f"{source}: {name} {_name_of(row, number)}")
            for number, row in enumerate(rows[name], start=1)
        )
        for name, table in _TABLES.items()
    }
    sets = {
        name: TEXTS.read(those)
        if isinstance(those, list) and all(isinstance(t, str) and t for t in those)
        else _bad_set(source, name, those)
        for name, those in (header.sets or {}).items()
    }
    return RequestFile(
        source,
        replace(header, sets=None),
        sets=sets,
        **tables,
    )


def _bad_set(source: str, name: str, value: object) -> tuple[str, ...]:
    raise RequestFileError(f"{source}: sets: {name} = {value!r}: {TEXTS.allowed} wanted")


def _name_of(row: object, number: int) -> str:
    if isinstance(row, Mapping):
        for name in ("id", "name", "request", "agency", "antenna"):
            if isinstance(row.get(name), str):
                return f"{number} ({row[name]})"
    return str(number)


def request_file_dict(file: RequestFile) -> dict[str, Any]:
    """The structure of the file; `parse_requests` of it, as JSON or TOML, gives the file again."""
    values = write_table(file.header)
    if file.sets:
        values["sets"] = {name: list(those) for name, those in file.sets.items()}
    for name in _TABLES:
        if rows := getattr(file, name):
            values[name] = [write_table(row) for row in rows]
    return values


def write_requests(file: RequestFile, form: str = "toml") -> str:
    """Text of the file; `form` toml or json."""
    values = request_file_dict(file)
    if form == "json":
        return json.dumps(values, indent=1, default=str) + "\n"
    import tomli_w

    return tomli_w.dumps(values, multiline_strings=False)
