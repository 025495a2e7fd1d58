"""`l4 schedule visibility`: when stations see targets.  Heavy imports stay inside the functions."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.look import Geometry
    from ground.scheduling.sky import Sky
    from ground.scheduling.visibility import Pass, Passes

_S = 1_000_000_000
_AU_KM = 149_597_870.7
_MOST_DAYS = 3660.0

EPILOG = """
Examples:

`l4 schedule visibility --station YEOJU --target l4 --from 2026-12-01 --days 7`

`l4 schedule visibility -s DSS-14 -s Canberra -t moon --from 2026-12-01 --to 2026-12-08 --json`

`l4 schedule visibility --station OGS --target mars --weather-seed 1 --plot`

`l4 schedule visibility --station MINE --stations-file mine.toml --target orbit.oem`
"""


def visibility(
    station: Annotated[
        list[str],
        typer.Option(
            "--station", "-s", help="Station, or a complex with all its stations; again for more."
        ),
    ],
    target: Annotated[
        list[str],
        typer.Option(
            "--target",
            "-t",
            help="l4, l5, sun, moon, a planet, an OEM or a TLE file (FILE:NAME); again for more.",
        ),
    ],
    start: Annotated[
        str, typer.Option("--from", help="UTC like 2026-12-01 or 2026-12-01T06:00; default: today.")
    ] = "",
    end: Annotated[str, typer.Option("--to", help="UTC; or --days.")] = "",
    days: Annotated[
        float | None, typer.Option(help="Length of the window in days. [default: 1]")
    ] = None,
    mask: Annotated[
        float | None,
        typer.Option(help="Least elevation in degrees, where it is above the station's own."),
    ] = None,
    airless: Annotated[bool, typer.Option("--airless", help="Without refraction.")] = False,
    exclude_sun: Annotated[
        bool,
        typer.Option(
            "--exclude-sun", help="Radio passes end at the station's Sun angle; else flagged only."
        ),
    ] = False,
    weather_seed: Annotated[
        int | None,
        typer.Option(help="Optical stations: only the clear sky of this seeded weather."),
    ] = None,
    stations_file: Annotated[
        list[Path] | None,
        typer.Option(
            help="TOML with more stations, or with changes to known ones; again for more."
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    plot: Annotated[bool, typer.Option("--plot", help="Elevations over time.")] = False,
) -> None:
    """When stations see targets: rise, set, elevation, range, light time, uplink, Sun angle.

    Times are UTC on the ground; the uplink column says when what is sent from the station reaches
    the spacecraft. Exit status 1 if nothing is ever visible.
    """
    from ground.scheduling.look import Conditions, Geometry, sun_table
    from ground.scheduling.sky import Sky
    from ground.scheduling.stations import load_stations, select_stations
    from ground.scheduling.targets import target_named
    from ground.scheduling.visibility import find_passes

    if json_ + csv_ + plot > 1:
        raise LocalError("one of --json, --csv and --plot at a time")
    start_ns, end_ns = _window(start, end, days)
    stations = select_stations(load_stations(*(stations_file or ())), station)
    targets = [target_named(text) for text in dict.fromkeys(target)]
    conditions = Conditions(mask, refraction=not airless, exclude_sun=exclude_sun)
    sky = Sky(start_ns, end_ns)
    sun = sun_table(sky)
    found = [
        find_passes(stations, one, sky, conditions, uplink=True, wrap=True, sun=sun)
        for one in targets
    ]
    passes = sorted(
        (one for several in found for one in several), key=lambda p: (p.aos_ns, p.station)
    )
    clear = _clear(found, weather_seed)
    if json_:
        print(json.dumps(_report(passes, sky, clear), indent=2))
    elif csv_:
        _print_csv(passes)
    elif plot:
        _print_plot(
            [Geometry(sky, stations, one, conditions, sun=sun) for one in targets], passes, mask
        )
    else:
        _print_table(passes, sky, clear)
    if not passes:
        if not (json_ or csv_ or plot):
            print("nothing is visible in this window")
        raise typer.Exit(1)


def _window(start: str, end: str, days: float | None) -> tuple[int, int]:
    from protocols.timecodes.tai import tai_ns_from_utc_iso

    if end and days is not None:
        raise LocalError("--to and --days: one of the two wanted")
    days = 1.0 if days is None else days
    if not 0 < days <= _MOST_DAYS:
        raise LocalError(f"--days {days:g}: above 0 and at most {_MOST_DAYS:g} wanted")
    try:
        start_ns = tai_ns_from_utc_iso(start or datetime.now(UTC).strftime("%Y-%m-%dT00:00:00Z"))
    except LocalError as error:
        raise LocalError(f"--from {error}") from None
    if not end:
        return start_ns, start_ns + round(days * 86_400 * _S)
    try:
        end_ns = tai_ns_from_utc_iso(end)
    except LocalError as error:
        raise LocalError(f"--to {error}") from None
    if not 0 < end_ns - start_ns <= _MOST_DAYS * 86_400 * _S:
        raise LocalError(
            f"--to {end}: after --from ({start or 'today'}), by at most {_MOST_DAYS:g} days, wanted"
        )
    return start_ns, end_ns


def _clear(found: Sequence[Passes], seed: int | None) -> dict[tuple[str, str, int], Any]:
    """Clear spells of passes over optical stations, by (station, target, AOS)."""
    from ground.scheduling.weather import clear_fraction, clear_view_periods

    result: dict[tuple[str, str, int], Any] = {}
    for passes in found:
        by_name = {station.name: station for station in passes.stations}
        for one in passes:
            station = by_name[one.station]
            if station.clear_sky:
                spells = (
                    None if seed is None else clear_view_periods(station, (one.view_period,), seed)
                )
                key = (one.station, one.target, one.aos_ns)
                result[key] = (clear_fraction(station, one.aos_ns), spells)
    return result


def _record(one: Pass) -> dict[str, Any]:
    from protocols.timecodes.tai import utc_iso_from_tai_ns as utc

    return {
        "station": one.station,
        "target": one.target,
        "aos": utc(one.aos_ns),
        "los": utc(one.los_ns),
        "duration_s": round(one.duration_s, 3),
        "culmination": utc(one.culmination_ns),
        "max_elevation_deg": round(one.max_elevation_deg, 4),
        "aos_azimuth_deg": round(one.aos_azimuth_deg, 4),
        "culmination_azimuth_deg": round(one.culmination_azimuth_deg, 4),
        "los_azimuth_deg": round(one.los_azimuth_deg, 4),
        "range_km": round(one.range_km, 3),
        "one_way_light_time_s": round(one.light_time_s, 6),
        "sun_angle_deg": round(one.sun_angle_deg, 4),
        "aos_limit": one.aos_limit,
        "los_limit": one.los_limit,
        "flags": list(one.flags),
    }


def _report(passes: Sequence[Pass], sky: Sky, clear: dict[Any, Any]) -> dict[str, Any]:
    from protocols.timecodes.tai import utc_iso_from_tai_ns as utc

    records: list[dict[str, Any]] = []
    for one in passes:
        record = _record(one)
        record["uplink"] = [
            {
                "transmit_start": utc(window.start_ns),
                "transmit_end": utc(window.end_ns),
                "arrival_start": utc(window.arrival_start_ns),
                "arrival_end": utc(window.arrival_end_ns),
            }
            for window in one.uplink
        ]
        if (weather := clear.get((one.station, one.target, one.aos_ns))) is not None:
            record["clear_sky_probability"] = weather[0]
            if weather[1] is not None:
                record["clear_sky"] = [[utc(p.start_ns), utc(p.end_ns)] for p in weather[1]]
        records.append(record)
    return {
        "from": utc(sky.start_ns),
        "to": utc(sky.end_ns),
        "ut1_known_until": utc(sky.ut1_known_until_ns, 0),
        "passes": records,
    }


def _print_csv(passes: Sequence[Pass]) -> None:
    from protocols.timecodes.tai import utc_iso_from_tai_ns as utc

    windows = ("transmit_start", "transmit_end", "arrival_start", "arrival_end")
    writer: Any = None
    for one in passes:
        record = _record(one)
        record["flags"] = " ".join(record["flags"])
        up = one.uplink
        record |= dict.fromkeys(windows, "")
        if up:
            instants = (
                up[0].start_ns, up[-1].end_ns, up[0].arrival_start_ns, up[-1].arrival_end_ns,
            )  # fmt: skip
            record |= {name: utc(t) for name, t in zip(windows, instants, strict=True)}
        if writer is None:
            writer = csv.DictWriter(sys.stdout, list(record), lineterminator="\n")
            writer.writeheader()
        writer.writerow(record)


def _clock(t_ns: int, day: str = "") -> str:
    """Time of day; with the date where it is not `day`."""
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    text = utc_iso_from_tai_ns(t_ns, 0)
    date, clock = text[:10], text[11:19]
    return clock if date == day else f"{date[5:]} {clock}"


def _distance(km: float) -> str:
    return f"{km / _AU_KM:.4f} au" if km > 0.05 * _AU_KM else f"{km:,.0f} km"


def _print_table(passes: Sequence[Pass], sky: Sky, clear: dict[Any, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    several = len({(p.station, p.target) for p in passes}) > 1
    title = f"UTC, {utc_iso_from_tai_ns(sky.start_ns, 0)} to {utc_iso_from_tai_ns(sky.end_ns, 0)}"
    if passes and not several:
        title = f"{passes[0].target} from {passes[0].station}, {title}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    columns = ["AOS", "LOS", "lasts", "highest", "at", "range", "light", "uplink there", "Sun", ""]
    for name in (["station", "target"] if several else []) + columns:
        table.add_column(
            name, no_wrap=True, justify="left" if name in ("station", "target", "") else "right"
        )
    for one in passes:
        day = utc_iso_from_tai_ns(one.aos_ns, 0)[:10]
        minutes = round(one.duration_s / 60)
        notes = list(one.flags)
        for end, limit in (("from", one.aos_limit), ("to", one.los_limit)):
            if limit != "mask":
                notes.append(f"{end} {limit}")
        if (weather := clear.get((one.station, one.target, one.aos_ns))) is not None:
            odds, spells = weather
            notes.append(f"clear {odds:.0%}" if spells is None else _spells(spells, one))
        up = ", ".join(
            f"{_clock(w.arrival_start_ns)[6:14]}-{_clock(w.arrival_end_ns)[6:14]}"
            for w in one.uplink
        )
        light = (
            f"{one.light_time_s:.1f} s"
            if one.light_time_s >= 10
            else f"{one.light_time_s * 1e3:.1f} ms"
        )
        row = [
            _clock(one.aos_ns),
            _clock(one.los_ns, day),
            f"{minutes // 60}h{minutes % 60:02d}",
            f"{one.max_elevation_deg:.1f}°",
            _clock(one.culmination_ns, day),
            _distance(one.range_km),
            light,
            up or "none",
            f"{one.sun_angle_deg:.0f}°" if one.sun_angle_deg >= 10 else f"{one.sun_angle_deg:.1f}°",
            ", ".join(notes),
        ]
        table.add_row(*([one.station, one.target] if several else []), *row)
    # A pipe has no width: whole lines there.
    console = Console(width=None if sys.stdout.isatty() else 200)
    if passes:
        console.print(table)
    if sky.end_ns > sky.ut1_known_until_ns:
        known = utc_iso_from_tai_ns(sky.ut1_known_until_ns, 0)[:10]
        print(
            f"UT1 is extrapolated beyond {known} (end of skyfield-data's IERS file): rise and set "
            "may be off by some tenths of a second; upgrade skyfield-data to be exact",
            file=sys.stderr,
        )


def _spells(spells: Any, one: Pass) -> str:
    clear_s = sum(p.length_s for p in spells)
    return f"clear {clear_s / 3600:.1f} h of {one.duration_s / 3600:.1f} h"


def _print_plot(geometries: Sequence[Geometry], passes: Sequence[Pass], mask: float | None) -> None:
    import numpy as np
    import plotext

    from protocols.timecodes.tai import utc_iso_from_tai_ns

    sky = geometries[0].sky
    hours = np.linspace(0, sky.length_s / 3600, 400)
    plotext.plot_size(height=24)
    for geometry in geometries:
        for i, station in enumerate(geometry.stations):
            seen = geometry.look(np.full(len(hours), i), hours * 3600)
            t_ns = sky.tai_ns(hours * 3600)
            inside = np.zeros(len(hours), np.bool_)
            for one in passes:
                if (one.station, one.target) == (station.name, geometry.target.name):
                    inside |= (t_ns >= one.aos_ns) & (t_ns <= one.los_ns)
            if inside.any():
                plotext.scatter(
                    hours[inside].tolist(),
                    seen.elevation_deg[inside].tolist(),
                    marker="braille",
                    label=f"{station.name} {geometry.target.name}",
                )
    if mask is not None:
        plotext.hline(mask)
    ticks = np.linspace(0, hours[-1], 5)
    labels = [utc_iso_from_tai_ns(int(t), 0)[5:16] for t in sky.tai_ns(ticks * 3600)]
    plotext.xticks(ticks.tolist(), labels)
    plotext.ylim(0, 90)
    plotext.title("Elevation in degrees while visible")
    plotext.xlabel("UTC")
    plain = not sys.stdout.isatty() or "NO_COLOR" in os.environ
    plotext.theme("clear" if plain else "default")
    picture = plotext.build()
    print(plotext.uncolorize(picture) if plain else picture)
