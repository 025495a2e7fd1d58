"""Schedules for others: calendars, stations, bundle nodes, tables, pictures.

`FORMATS` says what there is; `write` is the one way in.  Each format is one module, imported when
it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ground.scheduling.export.contact_plan import Network
from ground.scheduling.export.publication import Publication
from protocols.errors import LocalError

#: Format → what it is, for help; its usual ending is `SUFFIXES`.
FORMATS = {
    "simple-schedule": "CCSDS 902.1-B Simple Schedule Format (XML)",
    "ics": "iCalendar, one event a track",
    "csv": "one row a track and antenna",
    "parquet": "the same, typed",
    "contact-plan": "ION contacts and ranges (ionadmin)",
    "hdtn": "HDTN contact plan (JSON)",
    "passes": "pass list for stations, commanding and receive chains (JSON)",
    "svg": "Gantt chart by antenna (by mission with --view mission)",
    "png": "the same as PNG",
    "html": "Gantt chart to look into, both views, self-contained",
    "satnet": "SatNet schedule (JSON)",
}

#: What a file's name says; JSON may be four things and has to be named.
SUFFIXES = {
    ".xml": "simple-schedule",
    ".ics": "ics",
    ".csv": "csv",
    ".parquet": "parquet",
    ".ionrc": "contact-plan",
    ".svg": "svg",
    ".png": "png",
    ".html": "html",
    ".htm": "html",
}


def format_of(name: str | None, path: Path | None) -> str:
    """The format named, or the one that the file's ending means.  LocalError if neither says it."""
    if name is not None:
        if name not in FORMATS:
            raise LocalError(f"format {name!r}: one of {', '.join(FORMATS)} wanted")
        return name
    suffix = path.suffix.lower() if path is not None else ""
    if suffix not in SUFFIXES:
        raise LocalError(
            f"{path or 'standard output'}: the ending does not say the format; --format wanted, "
            f"one of {', '.join(FORMATS)}"
        )
    return SUFFIXES[suffix]


def build(
    publication: Publication, name: str, *, view: str = "antenna", network: Network | None = None
) -> bytes:
    """The octets of the format.  view: of the Gantt chart, "antenna" or "mission"; network: node
    numbers and rates of contact plans.  LocalError for what the format cannot say."""
    if view not in ("antenna", "mission"):
        raise LocalError(f"view {view!r}: antenna or mission wanted")
    return _BUILDERS[format_of(name, None)](publication, view, network or Network())


def write(
    publication: Publication,
    name: str,
    path: Path,
    *,
    view: str = "antenna",
    network: Network | None = None,
) -> int:
    """`build` into a file, which is the old one or the whole new one; its octets."""
    octets = build(publication, name, view=view, network=network)
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(octets)
    partial.replace(path)
    return len(octets)


_Build = Callable[[Publication, str, Network], bytes]


def _simple_schedule(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import simple_schedule

    return simple_schedule.build(publication)


def _ics(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import ics

    return ics.build(publication)


def _csv(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import tables

    return tables.build_csv(publication)


def _parquet(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import tables

    return tables.build_parquet(publication)


def _ion(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export.contact_plan import contact_plan
    from protocols.dtn.contact_plan_formats import build_ion

    return build_ion(contact_plan(publication, network))


def _hdtn(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export.contact_plan import contact_plan
    from protocols.dtn.contact_plan_formats import build_hdtn

    return build_hdtn(contact_plan(publication, network))


def _passes(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import passes

    return passes.build(publication)


def _svg(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import gantt

    shown: gantt.View = "mission" if view == "mission" else "antenna"
    return gantt.svg(gantt.chart(publication, shown)).encode() + b"\n"


def _png(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import gantt_png

    return gantt_png.build(publication, view="mission" if view == "mission" else "antenna")


def _html(publication: Publication, view: str, network: Network) -> bytes:
    from ground.scheduling.export import gantt_html

    return gantt_html.build(publication)


def _satnet(publication: Publication, view: str, network: Network) -> bytes:
    import json

    from ground.scheduling.satnet import write_schedule

    rows = write_schedule(publication.problem, publication.schedule)
    return json.dumps(rows, indent=1).encode() + b"\n"


_BUILDERS: dict[str, _Build] = {
    "simple-schedule": _simple_schedule,
    "ics": _ics,
    "csv": _csv,
    "parquet": _parquet,
    "contact-plan": _ion,
    "hdtn": _hdtn,
    "passes": _passes,
    "svg": _svg,
    "png": _png,
    "html": _html,
    "satnet": _satnet,
}
