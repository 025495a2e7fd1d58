"""The fields of a request file: each is declared once and read and written from that.

A table of the file is a frozen dataclass; each of its fields carries a `Kind`, which knows how its
value stands in the file, what is allowed (for the message when it is not), and the way back.
"""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ground.scheduling.model import S_NS, Interval
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns

T = TypeVar("T")


@dataclass(frozen=True)
class Kind:
    """How one value stands in the file.  `read` raises ValueError, which `read_table` explains."""

    allowed: str
    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: value


class RequestFileError(LocalError):
    """What is wrong in a request file: file, table, key, value, and what was allowed."""


_UNITS_S = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(
    r"(?:(\d+)d)?\s*(?:(\d+(?:\.\d+)?)h)?\s*(?:(\d+)\s*m(?:in)?)?\s*(?:(\d+)s)?", re.ASCII
)


def duration_s(text: Any) -> int:
    """Whole seconds of `8h`, `7.5h`, `1h30m`, `45m`, `1d12h`, `90s`; ValueError for all else.

    A bare number is refused: one reader takes it for hours, the next for minutes.
    """
    if not isinstance(text, str) or not text.strip():
        raise ValueError("not a duration")
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a duration")
    days, hours, minutes, seconds = match.groups()
    total_s = int(days or 0) * 86_400 + int(minutes or 0) * 60 + int(seconds or 0)
    hours_s = float(hours or 0) * 3600
    if abs(hours_s - round(hours_s)) > 1e-6:
        raise ValueError("not whole seconds")
    return total_s + round(hours_s)


def _period(text: Any) -> int:
    if (seconds := duration_s(text)) == 0:
        raise ValueError("no time at all")
    return seconds


def duration_text(seconds: int) -> str:
    """`5400` -> `1h30m`; the inverse of `duration_s`."""
    if seconds == 0:
        return "0s"
    parts, left = [], seconds
    for unit in ("h", "m", "s"):
        count, left = divmod(left, _UNITS_S[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def utc_ns(value: Any) -> int:
    """TAI ns of a UTC time: text as in 301.0-B, or a date or date-time of TOML."""
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        value = value.isoformat()
    elif isinstance(value, datetime.date):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError("not a UTC time")
    return tai_ns_from_utc_iso(value)


def utc_text(tai_ns: int) -> str:
    """UTC with as many decimals as the instant has."""
    decimals = 0 if tai_ns % S_NS == 0 else 9
    return utc_iso_from_tai_ns(tai_ns, decimals)


def _interval(value: Any) -> Interval:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("not a pair of times")
    return Interval(utc_ns(value[0]), utc_ns(value[1]))


def interval_texts(interval: Interval) -> list[str]:
    return [utc_text(interval.start_ns), utc_text(interval.end_ns)]


def _intervals(value: Any) -> tuple[Interval, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError("not a list of pairs")
    return tuple(_interval(pair) for pair in value)


def _views(value: Any) -> tuple[tuple[str, tuple[Interval, ...]], ...]:
    if not isinstance(value, Mapping):
        raise ValueError("not a table")
    return tuple((str(name), _intervals(periods)) for name, periods in value.items())


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise ValueError("not a list")
    return tuple(_text(item) for item in value)


def _whole(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError("not a whole number")
        return value

    return read


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise ValueError("not a number")
    return float(value)


def _share(value: Any) -> float:
    number = _number(value)
    if number > 1:
        raise ValueError("above 1")
    return number


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("not true or false")
    return value


def _angle(least: float, most: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("not a number")
        if not least <= value < most:
            raise ValueError("out of range")
        return float(value)

    return read


def _bounds(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ValueError("not a pair")
    least, most = (duration_s(item) for item in value)
    if least > most:
        raise ValueError("the first is longer than the second")
    return least, most


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("not a table")
    return dict(value)


TEXT = Kind("text", _text)
TEXTS = Kind('a list of texts, as ["DSS-25", "DSS-34"]', _texts, list)
DURATION = Kind("a duration with its unit, as 8h, 45m, 1h30m or 90s", duration_s, duration_text)
PERIOD = Kind("a duration above 0 with its unit, as 24h", _period, duration_text)
TIME = Kind("a UTC time, as 2026-12-07T08:00:00Z", utc_ns, utc_text)
WINDOW = Kind("a begin and an end in UTC, as [2026-12-07T08:00:00Z, 2026-12-07T20:00:00Z]",
              _interval, interval_texts)  # fmt: skip
WINDOWS = Kind(
    "a list of windows, each [begin, end] in UTC",
    _intervals,
    lambda value: [interval_texts(i) for i in value],
)
VIEWS = Kind(
    'a table of antennas with their view periods, as {"DSS-25" = [[begin, end], …]}',
    _views,
    lambda value: {name: [interval_texts(i) for i in periods] for name, periods in value},
)
COUNT = Kind("a whole number, 1 or more", _whole(1))
NUMBER = Kind("a number above 0", _number)
SHARE = Kind("a share above 0 and up to 1", _share)
FLAG = Kind("true or false", _flag)
ELEVATION = Kind("an elevation of -5 to below 90 degrees", _angle(-5, 90))
SUN_ANGLE = Kind("an angle from the Sun of 0 to below 90 degrees", _angle(0, 90))
BOUNDS = Kind(
    'the shortest and the longest, as ["12h", "20h"]',
    _bounds,
    lambda value: [duration_text(value[0]), duration_text(value[1])],
)
TABLE = Kind("a table", _table, dict)


def key(kind: Kind, default: Any = dataclasses.MISSING) -> Any:
    """A field of a table; without a default the key must stand there."""
    return dataclasses.field(default=default, metadata={"kind": kind})


def read_table(table: type[T], values: Any, where: str) -> T:
    """An object of the dataclass `table`; `where` names file and table in errors."""
    if not isinstance(values, Mapping):
        raise RequestFileError(f"{where}: {values!r}: a table wanted")
    fields = {f.name: f for f in dataclasses.fields(table)}  # pyright: ignore[reportArgumentType]
    for name in values:
        if name not in fields:
            near = difflib.get_close_matches(str(name), fields, 1)
            hint = f"; {near[0]} meant?" if near else ""
            raise RequestFileError(
                f"{where}: {name}: no such key{hint} Allowed: {', '.join(fields)}"
                if hint
                else f"{where}: {name}: no such key. Allowed: {', '.join(fields)}"
            )
    found = {}
    for name, field in fields.items():
        kind: Kind = field.metadata["kind"]
        if name in values:
            try:
                found[name] = kind.read(values[name])
            except ValueError as error:
                reason = f" ({error})" if isinstance(error, LocalError) else ""
                raise RequestFileError(
                    f"{where}: {name} = {values[name]!r}: {kind.allowed} wanted{reason}"
                ) from error
        elif field.default is dataclasses.MISSING:
            raise RequestFileError(f"{where}: {name} is missing: {kind.allowed} wanted")
    try:
        return table(**found)
    except LocalError as error:
        raise RequestFileError(f"{where}: {error}") from error


def write_table(row: Any) -> dict[str, Any]:
    """What `read_table` reads; keys that have their default are left out."""
    written = {}
    for field in dataclasses.fields(row):
        value = getattr(row, field.name)
        if value != field.default:
            written[field.name] = field.metadata["kind"].write(value)
    return written
