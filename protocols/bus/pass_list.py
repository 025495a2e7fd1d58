"""The pass list: what a schedule tells stations, commanding and receive chains, as JSON.

One object a pass, each instant twice: TAI nanoseconds for programs, UTC for people.  What is read
back are the nanoseconds alone, so that the UTC may have any precision.
"""

from __future__ import annotations

import json
from typing import Any, cast

from protocols.bus.messages import Pass, PassesMessage
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import utc_iso_from_tai_ns

FORMAT = "l4-pass-list-1"

#: In order of time, as JSON names them (`_tai_ns` and `_utc` follow).
_TIMES = ("setup", "aos", "los", "release")


def build_pass_list(message: PassesMessage) -> str:
    """JSON text; `parse_pass_list` gives the message back."""
    return json.dumps(
        {
            "format": FORMAT,
            "schedule": message.schedule,
            "version": message.version,
            **_instant("generated", message.generated_ns),
            **_instant("horizon_start", message.horizon_start_ns),
            **_instant("horizon_end", message.horizon_end_ns),
            "passes": [_pass(p) for p in message.passes],
        },
        indent=2,
    )


def _instant(name: str, ns: int) -> dict[str, int | str]:
    return {f"{name}_tai_ns": ns, f"{name}_utc": utc_iso_from_tai_ns(ns)}


def _window(start_ns: int, end_ns: int) -> dict[str, int | str]:
    return _instant("from", start_ns) | _instant("to", end_ns)


def _pass(p: Pass) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": p.id,
        "mission": p.mission,
        "station": p.station,
        "antenna": p.antenna,
    }
    for name in _TIMES:
        entry |= _instant(name, getattr(p, f"{name}_ns"))
    entry["one_way_light_time_ns"] = None
    if p.owlt_aos_ns >= 0:
        entry["one_way_light_time_ns"] = {"aos": p.owlt_aos_ns, "los": p.owlt_los_ns}
    entry["uplink_at_ground"] = _window(p.uplink_from_ns, p.uplink_to_ns)
    arrival = p.uplink_arrival_ns
    entry["uplink_at_spacecraft"] = _window(*arrival) if arrival else None
    last_ns = p.last_answered_ns
    entry["last_uplink_answered"] = _instant("at", last_ns) if last_ns is not None else None
    return entry


def parse_pass_list(text: str | bytes) -> PassesMessage:
    """The message of a pass list.  RemoteError names the field that is missing or wrong."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RemoteError(f"pass list: not JSON: {error}") from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:  # pyright: ignore[reportUnknownMemberType]
        raise RemoteError(f"pass list: format {FORMAT!r} wanted")
    table = cast(dict[str, Any], document)
    where = "pass list"
    try:
        passes = table["passes"]
        if not isinstance(passes, list):
            raise RemoteError("pass list: passes: a list wanted")
        found: list[Pass] = []
        for index, entry in enumerate(cast(list[dict[str, Any]], passes)):
            where = f"pass list, pass {index}"
            found.append(_read(entry, where))
        where = "pass list"
        return PassesMessage(
            schedule=_text(table, "schedule", where),
            version=_integer(table, "version", where),
            generated_ns=_integer(table, "generated_tai_ns", where),
            horizon_start_ns=_integer(table, "horizon_start_tai_ns", where),
            horizon_end_ns=_integer(table, "horizon_end_tai_ns", where),
            passes=tuple(found),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RemoteError(f"{where}: {error!r}") from error
    except LocalError as error:
        raise RemoteError(f"{where}: {error}") from error


def _read(entry: dict[str, Any], where: str) -> Pass:
    light_time: dict[str, Any] | None = entry["one_way_light_time_ns"]
    uplink: dict[str, Any] = entry["uplink_at_ground"]
    owlt = light_time if light_time is not None else {"aos": -1, "los": -1}
    return Pass(
        id=_text(entry, "id", where),
        mission=_text(entry, "mission", where),
        station=_text(entry, "station", where),
        antenna=_text(entry, "antenna", where),
        uplink_from_ns=_integer(uplink, "from_tai_ns", where),
        uplink_to_ns=_integer(uplink, "to_tai_ns", where),
        owlt_aos_ns=_integer(owlt, "aos", where),
        owlt_los_ns=_integer(owlt, "los", where),
        **{f"{name}_ns": _integer(entry, f"{name}_tai_ns", where) for name in _TIMES},
    )


def _integer(table: dict[str, Any], name: str, where: str) -> int:
    value = table[name]
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise RemoteError(f"{where}: {name} = {value!r}; an integer of 64 bits wanted")
    return value


def _text(table: dict[str, Any], name: str, where: str) -> str:
    value = table[name]
    if not isinstance(value, str):
        raise RemoteError(f"{where}: {name} = {value!r}; text wanted")
    return value
