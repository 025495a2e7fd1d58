"""`l4 study link`: light time, Doppler, Sun angles, and what stands in the way."""

from __future__ import annotations

import csv
import json
import sys
from typing import Annotated, Any

import typer

from protocols.errors import LocalError

EPILOG = """
Examples:

`l4 study link mars earth --from 2028-03-01 --to 2028-04-15` — Mars' downlink through a conjunction

`l4 study link l4-orbit mars --from 2026 --to 2030 --step 86400 --csv` — for a spreadsheet
"""

_MOST_ROWS = 1_000_000
_COLUMNS = (
    "received_utc", "light_time_s", "range_rate_km_s", "doppler_ppm", "sun_angle_receiver_deg",
    "sun_angle_emitter_deg", "behind",
)  # fmt: skip


def link(
    emitter: Annotated[str, typer.Argument(help="earth, mars, l4-orbit, l4, moon, an OEM …")],
    receiver: Annotated[str, typer.Argument(help="The same; `earth` is its centre.")],
    start: Annotated[str, typer.Option("--from", help="Year, or UTC like 2026-12-01.")],
    end: Annotated[str, typer.Option("--to", help="Year (to its end), or UTC.")],
    step: Annotated[float, typer.Option(min=1, help="Seconds from line to line.")] = 86_400.0,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """What a signal from one place to another goes through, for each instant of its reception.

    The range rate is positive while the way gets longer, Doppler (parts per million) while the
    carrier is received higher. Sun angles are those between the Sun and the other end, as seen.
    """
    from ground.study.years import span_ns

    if json_ and csv_:
        raise LocalError("one of --json and --csv at a time")
    start_ns, end_ns = span_ns(start, end)
    count = (end_ns - start_ns) / 1e9 / step
    if not 0 < count <= _MOST_ROWS:
        raise LocalError(
            f"--from {start} --to {end} --step {step:g}: {count:.0f} lines; "
            f"1 to {_MOST_ROWS} wanted"
        )
    rows = _rows(emitter, receiver, start_ns, end_ns, step)
    if json_:
        print(json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], indent=1))
    elif csv_:
        out = csv.writer(sys.stdout)
        out.writerow(_COLUMNS)
        out.writerows(rows)
    else:
        _print_table(rows)


def _rows(emitter: str, receiver: str, start_ns: int, end_ns: int, step_s: float) -> list[tuple]:
    import numpy as np

    from ground.scheduling.sky import Sky
    from ground.scheduling.targets import Body
    from ground.study.links import LinkPath
    from ground.study.trajectories import place_named, table
    from protocols.navigation.geometry import SPEED_OF_LIGHT_KM_S
    from protocols.navigation.rays import RADII_KM, doppler_factor
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    ends = place_named(emitter), place_named(receiver)
    if ends[0].name == ends[1].name:
        raise LocalError(f"{emitter} to {receiver}: two different places wanted")
    sky = Sky(start_ns, end_ns)
    names = {"mars", "moon", "venus", "mercury"} - {one.name for one in ends}
    path = LinkPath(
        table(sky, ends[0]),
        table(sky, ends[1]),
        table(sky, Body("sun")),
        blockers={name: table(sky, Body(name)) for name in sorted(names)},
    )
    t_s = np.arange(0.0, sky.length_s, step_s)
    rays = path.received(t_s)
    per_emission = rays.light_time_rate(
        path.emitter.rate(rays.emission_s), path.receiver.rate(rays.reception_s)
    )
    factor = doppler_factor(per_emission)
    # Of the instant of reception: a second there is 1 + rate seconds of emission's.
    rate_km_s = SPEED_OF_LIGHT_KM_S * per_emission * factor
    behind = np.full(len(t_s), "", dtype="<U8")
    for name, place in {**path.blockers, "sun": path.sun}.items():
        if name not in (ends[0].name, ends[1].name):
            behind[rays.miss_km(place) < RADII_KM[name]] = name
    aspects = path.aspects(rays)
    return list(
        zip(
            [utc_iso_from_tai_ns(ns, 0) for ns in sky.tai_ns(t_s).tolist()],
            rays.light_time_s.round(6).tolist(),
            rate_km_s.round(6).tolist(),
            (1e6 * (factor - 1)).round(6).tolist(),
            aspects.receiver_deg.round(6).tolist(),
            aspects.emitter_deg.round(6).tolist(),
            behind.tolist(),
            strict=True,
        )
    )


def _print_table(rows: list[Any]) -> None:
    print(
        f"{'received, UTC':16}  {'light, s':>10}  {'km/s':>8}  {'ppm':>9}  "
        f"{'Sun at receiver':>15}  {'emitter':>8}  behind"
    )
    for when, light, rate, ppm, at_receiver, at_emitter, behind in rows:
        print(
            f"{when[:16].replace('T', ' '):16}  {light:10.3f}  {rate:8.3f}  {ppm:9.3f}  "
            f"{at_receiver:14.3f}°  {at_emitter:7.3f}°  {behind}"
        )
