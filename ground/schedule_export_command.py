"""`l4 schedule export`: a schedule for calendars, stations, bundle nodes, tables and eyes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ground.schedule_files import (
    DEFAULT_STORE,
    AsJson,
    Maintenance,
    ScheduleFile,
    Source,
    Store,
    Week,
    clock_ns,
    load,
    print_json,
    utc,
)
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.export.publication import LightTime, Status
    from ground.scheduling.model import Interval, Problem

EPILOG = """
Examples:

`l4 schedule export published --out week.html` — a chart to look into, of the published schedule

`l4 schedule export requests.toml -s schedule.json -o week.ics` — for people's calendars

`l4 schedule export problems.json --week W10_2018 -s schedule.json -f passes --light-time 18=1200`

`l4 schedule export published -o relay.ionrc --target "L4 relay=l4" --node "L4 relay=7"`

Formats, guessed from the file's ending where it says them: simple-schedule (.xml: CCSDS 902.1-B),
ics, csv, parquet, contact-plan (.ionrc), hdtn (JSON), passes (JSON), svg, png, html, satnet (JSON).
"""

_STATUSES = ("TEST", "PROVISIONAL", "OPERATIONAL", "OTHER")


def export(
    source: Source,
    week: Week = "",
    maintenance: Maintenance = None,
    schedule: ScheduleFile = None,
    store: Store = DEFAULT_STORE,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write here. [default: standard output]")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", "-f", help="Format, where --out does not say it.")
    ] = None,
    view: Annotated[str, typer.Option(help="Rows of svg and png: antenna or mission.")] = "antenna",
    version: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Number of this publication; calendars go by it. [default: the store's, else 1]",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        str, typer.Option(help="TEST, PROVISIONAL, OPERATIONAL or OTHER.")
    ] = "OPERATIONAL",
    light_time: Annotated[
        list[str] | None,
        typer.Option(help="MISSION=SECONDS, or SECONDS for all others; repeat for more."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="MISSION=TARGET (as of `visibility`): compute its light time."),
    ] = None,
    node: Annotated[
        list[str] | None,
        typer.Option(help="NAME=NUMBER of a mission or station in contact plans (ipn:NUMBER.0)."),
    ] = None,
    downlink_rate: Annotated[int, typer.Option(min=8, help="Of contact plans, bit/s.")] = 16_000,
    uplink_rate: Annotated[int, typer.Option(min=8, help="Of contact plans, bit/s.")] = 2_000,
    generated: Annotated[
        str, typer.Option(help="UTC time of publication. [default: now]", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a schedule for others: calendar, pass list, contact plan, tables, Gantt chart."""
    from ground.scheduling import export as exports
    from ground.scheduling.export.contact_plan import Network
    from ground.scheduling.export.publication import Publication

    if as_json and out is None:
        raise LocalError("--json: says what was written to --out FILE, which is missing")
    name = exports.format_of(format_, out)
    problem, found, stored = load(source, week, maintenance, schedule, store)
    times, uplink = _geometry(problem, light_time or (), target or ())
    publication = Publication(
        problem=problem,
        schedule=found,
        generated_ns=_generated_ns(generated),
        version=version or stored or 1,
        status=_status(status),
        light_time=times,
        uplink=uplink,
    )
    network = Network(
        {key: _integer(value, "--node") for key, value in _pairs(node or (), "--node")},
        downlink_bit_s=downlink_rate,
        uplink_bit_s=uplink_rate,
    )
    if out is not None:
        octets = exports.write(publication, name, out, view=view, network=network)
        if as_json:
            tracks = len(found.tracks)
            print_json({"file": str(out), "format": name, "tracks": tracks, "octets": octets})
            return
        print(f"{out}: {exports.FORMATS[name]}, {len(found.tracks)} tracks, {octets:,} octets")
        return
    if name in ("png", "parquet") and sys.stdout.isatty():
        raise LocalError(f"{name} on a terminal: --out FILE wanted")
    sys.stdout.buffer.write(exports.build(publication, name, view=view, network=network))


def _status(text: str) -> Status:
    for known in _STATUSES:
        if text.upper() == known:
            return known
    raise LocalError(f"--status {text!r}: one of {', '.join(_STATUSES)} wanted")


def _generated_ns(text: str) -> int:
    return utc(text, "--generated") if text else clock_ns()


def _pairs(texts: Iterable[str], option: str) -> Iterable[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not equals or not name or not value:
            raise LocalError(f"{option} {text!r}: NAME=VALUE wanted")
        yield name, value


def _integer(text: str, option: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise LocalError(f"{option}: {text!r} is no whole number") from None


_Uplink = dict[tuple[str, str], tuple["Interval", ...]]


def _geometry(
    problem: Problem, fixed: Iterable[str], targets: Iterable[str]
) -> tuple[LightTime, _Uplink]:
    """Light times as stated or computed, and when the antennas may transmit to what is computed."""
    from ground.scheduling.export.publication import light_time_table, no_light_time

    seconds: dict[str, float] = {}
    for text in fixed:
        name, _, value = text.rpartition("=")
        try:
            seconds[name] = float(value)
        except ValueError:
            raise LocalError(f"--light-time {text!r}: MISSION=SECONDS wanted") from None
        if not 0 <= seconds[name] <= 100_000:
            raise LocalError(f"--light-time {text!r}: 0..100000 s allowed")
    computed = dict(_pairs(targets, "--target"))
    for name in (*filter(None, seconds), *computed):
        if name not in problem.mission_by_name:
            known = ", ".join(sorted(problem.mission_by_name))
            raise LocalError(f"mission {name!r} is not one of {problem.name}, which has {known}")
    if not computed:
        return light_time_table(seconds, no_light_time), {}
    from ground.scheduling.export.light_time import modelled
    from ground.scheduling.export.passes import whole_seconds
    from ground.scheduling.sky import Sky
    from ground.scheduling.stations import load_stations
    from ground.scheduling.targets import target_named
    from ground.scheduling.visibility import find_passes

    stations = [s for s in load_stations().values() if s.name in problem.antenna_by_name]
    sky = Sky(problem.horizon.start_ns, problem.horizon.end_ns)
    uplink: _Uplink = {}
    for mission, name in computed.items():
        for one in find_passes(stations, target_named(name), sky, uplink=True):
            windows = tuple(whole_seconds(w.start_ns, w.end_ns) for w in one.uplink)
            key = mission, one.station
            uplink[key] = (*uplink.get(key, ()), *windows)
    return light_time_table(seconds, modelled(sky, stations, computed)), uplink
