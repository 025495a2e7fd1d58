"""`l4 study conjunction`: what the Sun takes of Earth-Mars links, and what the relay gives back."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.study.conjunction import Band, Conjunction, Outage, Study

EPILOG = """
Examples:

`l4 study conjunction --from 2026 --to 2045` — outages of X, Ka, optical links, without and with L4

`l4 study conjunction --plot conjunctions.png` — as a picture

`l4 study conjunction --band optical --sep-limit 5 --mars-limit 0 --json` — other limits

`l4 study conjunction --band x --sep-limit 3 --plan mars.ionrc` — contact plan for ION (.json: HDTN)

`l4 study conjunction --longest 78` — the limit under which the longest outage lasts 78 days
"""

_PATHS = ("direct", "around", "both")
#: An outage is put to the conjunction that it contains, or that is no further away.
_NEAR_DAYS = 60.0
_DAY_NS = 86_400 * 10**9


def conjunction(
    start: Annotated[str, typer.Option("--from", help="Year, or UTC like 2026-12-01.")] = "2026",
    end: Annotated[str, typer.Option("--to", help="Year (to its end), or UTC.")] = "2045",
    band: Annotated[str, typer.Option(help="Of x, ka and optical.")] = "x,ka,optical",
    sep_limit: Annotated[
        list[str] | None,
        typer.Option(
            help="Least Sun angle, degrees, at the Earth and at the relay: 3, or x=3 for one band; "
            "again for more.",
            show_default="x=2, ka=1, optical=10",
        ),
    ] = None,
    mars_limit: Annotated[
        list[str] | None,
        typer.Option(help="The same at Mars.", show_default="x=0, ka=0, optical=3"),
    ] = None,
    relay: Annotated[
        str, typer.Option(help="l4-orbit, l4, l5, a planet, or an OEM file.")
    ] = "l4-orbit",
    longest: Annotated[
        float | None,
        typer.Option(
            min=0, help="Only: under which limit does the longest outage last these days?"
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")] = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV, an outage a line.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture (PNG).")] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="Write the contact plan of Earth (ipn:1), relay (2) and Mars (3)."),
    ] = None,
    plan_band: Annotated[
        str, typer.Option(help="Whose limits it keeps.", show_default="the first")
    ] = "",
    plan_rate: Annotated[
        int, typer.Option(min=8, help="Rate of every contact of it, bit/s.")
    ] = 1_000_000,
) -> None:
    """Outages of Earth-Mars links behind the Sun, straight and with the relay about Sun-Earth L4.

    Of links to the Earth, by what the Earth receives. The Moon, weather and stations' view are left
    out (`l4 schedule visibility` has them). 20 years take two seconds.
    """
    from ground.scheduling.targets import target_named
    from ground.study.conjunction import Geometry, study
    from ground.study.years import span_ns

    if json_ and csv_:
        raise LocalError("one of --json and --csv at a time")
    start_ns, end_ns = span_ns(start, end)
    target = target_named(relay)
    if longest is not None:
        limit_deg = Geometry(start_ns, end_ns, target).limit_for(longest)
        if json_:
            print(json.dumps({"longest_days": longest, "sep_limit_deg": round(limit_deg, 4)}))
        else:
            print(
                f"the longest outage lasts {longest:g} days where {limit_deg:.2f} deg from the Sun "
                "are wanted at the Earth"
            )
        return
    bands = _bands(band, sep_limit or [], mars_limit or [])
    chosen = _plan_band(bands, plan_band) if plan else None
    begin = time.monotonic()
    found = study(start_ns, end_ns, target, bands, _progress(begin))
    if plot is not None:
        _progress(begin)("plot")
        from ground.study.conjunction_plot import draw

        plot.write_bytes(draw(found))
    if plan is not None and chosen is not None:
        _progress(begin)("contact plan")
        plan.write_bytes(_plan(found, chosen, target, plan_rate, hdtn=plan.suffix == ".json"))
    _progress(begin)("")
    if json_:
        print(json.dumps(_report(found), indent=2))
    elif csv_:
        _print_csv(found)
    else:
        _print_table(found)
        for what, path in (("plot", plot), ("contact plan", plan)):
            if path is not None:
                print(f"{what}: {path}")


def _progress(begin: float) -> Any:
    """One line on a terminal, gone at the end."""

    def tell(what: str) -> None:
        if sys.stderr.isatty():
            text = f"{time.monotonic() - begin:5.1f} s  {what} …" if what else ""
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    return tell


def _bands(text: str, near: Sequence[str], mars: Sequence[str]) -> list[Band]:
    from ground.study.conjunction import BANDS

    names = list(dict.fromkeys(name.strip().lower() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in BANDS]
    if unknown or not names:
        raise LocalError(f"--band {text!r}: of {', '.join(BANDS)}, with commas between")
    limits = {name: {} for name in names}
    for option, key, texts in (
        ("--sep-limit", "near_deg", near),
        ("--mars-limit", "mars_deg", mars),
    ):
        for one in texts:
            name, equals, value = one.rpartition("=")
            if equals and name.strip().lower() not in names:
                raise LocalError(f"{option} {one!r}: {name} is not one of --band {text}")
            try:
                degrees = float(value)
            except ValueError:
                raise LocalError(f"{option} {one!r}: DEGREES or BAND=DEGREES wanted") from None
            for each in [name.strip().lower()] if equals else names:
                limits[each][key] = degrees
    return [
        replace(BANDS[name], **limits[name], source="stated by the user")
        if limits[name]
        else BANDS[name]
        for name in names
    ]


def _plan_band(bands: Sequence[Band], wanted: str) -> Band:
    for band in bands:
        if wanted.strip().lower() in ("", band.name):
            return band
    raise LocalError(f"--plan-band {wanted!r}: one of {', '.join(b.name for b in bands)} wanted")


def _plan(found: Study, band: Band, relay: Any, rate: int, *, hdtn: bool) -> bytes:
    from ground.scheduling.sky import NODE_S
    from ground.scheduling.targets import Body
    from ground.study.plan import Hop, Network, Node, contact_plan
    from ground.study.trajectories import Earth
    from protocols.dtn.contact_plan_formats import build_hdtn, build_ion

    near, mars = band.near_deg, band.mars_deg
    network = Network(
        [Node("earth", 1, Earth()), Node(relay.name, 2, relay), Node("mars", 3, Body("mars"))],
        [
            Hop("mars", "earth", rate, rate, mars, near),
            Hop("mars", relay.name, rate, rate, mars, near),
            Hop(relay.name, "earth", rate, rate, near, near),
        ],
        blockers=(),
        step_s=NODE_S,
    )
    plan = contact_plan(network, found.start_ns, found.end_ns)
    return build_hdtn(plan) if hdtn else build_ion(plan)


def _of(outages: Iterable[Outage], one: Conjunction) -> list[Outage]:
    """Those of one conjunction."""
    reach_ns = _NEAR_DAYS * _DAY_NS
    return [o for o in outages if o.start_ns - reach_ns < one.at_ns < o.end_ns + reach_ns]


def _days(outages: Iterable[Outage]) -> str:
    """Their sum; `+` behind what may be longer than the study sees."""
    found = list(outages)
    cut = "+" if any(o.cut for o in found) else ""
    return f"{sum(o.days for o in found):.2f}{cut}" if found else "0"


def _print_table(found: Study) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from ground.study.conjunction import longest_days, total_days
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    relay = found.relay.upper()
    # As wide as a terminal of 80 columns.
    table = Table(
        title="Mars behind the Sun: days without a link to the Earth, alone → with the relay",
        title_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("conjunction", no_wrap=True)
    table.add_column("angle", justify="right", no_wrap=True)
    table.add_column("light, around", justify="right", no_wrap=True)
    for one in found.bands:
        table.add_column(one.band.name, justify="right", no_wrap=True)
    for each in found.conjunctions:
        table.add_row(
            utc_iso_from_tai_ns(each.at_ns, 0)[:10],
            f"{each.angle_deg:.2f}°",
            f"{each.owlt_s / 60:.1f}, {each.owlt_around_s / 60:.1f} min",
            *(
                f"{_days(_of(one.direct, each))} → {_days(_of(one.both, each))}"
                for one in found.bands
            ),
        )
    # Lost elsewhere than at a conjunction: before the Sun, by the limit at Mars.
    elsewhere: list[str] = []
    for one in found.bands:
        rest = [
            [o for o in outages if not any(_of([o], each) for each in found.conjunctions)]
            for outages in (one.direct, one.both)
        ]
        elsewhere.append(" → ".join(_days(outages) for outages in rest) if any(rest) else "")
    if any(elsewhere):
        table.add_row("opposition", "", "", *elsewhere)
    table.add_section()
    table.add_row(
        "total", "", "", *(f"{_days(one.direct)} → {_days(one.both)}" for one in found.bands)
    )
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    span_days = (found.end_ns - found.start_ns) / _DAY_NS
    for one in found.bands:
        band = one.band
        lost, left = total_days(one.direct), total_days(one.both)
        print(
            f"{band.name}: {lost:.1f} of {span_days:.0f} days without a link, longest "
            f"{longest_days(one.direct):.1f}; {left:.1f} with {relay}: {lost - left:.1f} gained"
        )
        print(
            f"   limits: {band.near_deg:g} deg from the Sun at the Earth and at the relay, "
            f"{band.mars_deg:g} at Mars;\n   {band.source}"
        )
    if any(o.cut for one in found.bands for o in one.direct):
        print("+: goes on beyond the study")


def _print_csv(found: Study) -> None:
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    out = csv.writer(sys.stdout)
    out.writerow(["band", "path", "start_utc", "end_utc", "days", "cut"])
    for one in found.bands:
        for path in _PATHS:
            for o in getattr(one, path):
                ends = (utc_iso_from_tai_ns(ns, 0) for ns in (o.start_ns, o.end_ns))
                out.writerow([one.band.name, path, *ends, f"{o.days:.4f}", int(o.cut)])


def _report(found: Study) -> dict[str, Any]:
    from ground.study.conjunction import longest_days, total_days
    from protocols.timecodes.tai import utc_iso_from_tai_ns

    def outage(one: Outage) -> dict[str, Any]:
        return {
            "start": utc_iso_from_tai_ns(one.start_ns, 0),
            "end": utc_iso_from_tai_ns(one.end_ns, 0),
            "days": round(one.days, 4),
            "cut": one.cut,
        }

    bands: list[dict[str, Any]] = []
    for one in found.bands:
        direct, both = total_days(one.direct), total_days(one.both)
        bands.append(
            {
                "band": one.band.name,
                "sep_limit_deg": one.band.near_deg,
                "mars_limit_deg": one.band.mars_deg,
                "source": one.band.source,
                "direct_days": round(direct, 4),
                "with_relay_days": round(both, 4),
                "gained_days": round(direct - both, 4),
                "longest_direct_days": round(longest_days(one.direct), 4),
                "longest_with_relay_days": round(longest_days(one.both), 4),
                **{path: [outage(o) for o in getattr(one, path)] for path in _PATHS},
            }
        )
    return {
        "from": utc_iso_from_tai_ns(found.start_ns, 0),
        "to": utc_iso_from_tai_ns(found.end_ns, 0),
        "relay": found.relay,
        "bands": bands,
        "conjunctions": [
            {
                "at": utc_iso_from_tai_ns(one.at_ns, 0),
                "angle_deg": round(one.angle_deg, 4),
                "light_time_s": round(one.owlt_s, 3),
                "light_time_around_s": round(one.owlt_around_s, 3),
                "days": {
                    b.band.name: {
                        path: round(sum(o.days for o in _of(getattr(b, path), one)), 4)
                        for path in _PATHS
                    }
                    for b in found.bands
                },
            }
            for one in found.conjunctions
        ],
    }
