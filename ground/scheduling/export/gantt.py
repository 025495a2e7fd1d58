"""Gantt chart of a schedule: what stands where, and its drawing as SVG.

Rows are antennas, grouped by complex, or missions.  A bar is one track: tracking in the mission's
colour with its name on it, set-up and tear-down hatched in the same colour, commitments grey.
Drawings are for dark rooms; nothing is told by colour alone.
"""

from __future__ import annotations

import colorsys
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from ground.scheduling.export.publication import BookedTrack, Publication
from ground.scheduling.model import S_NS, Commitment
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns

View = Literal["antenna", "mission"]

ROW, BAR, GUTTER, TOP, MARGIN = 26, 20, 128, 62, 18
#: Height of the line of hours, at the lower end of TOP.
AXIS = 18
#: Octets of text of this size are so wide on average (DejaVu Sans, 11 px): whether a label fits.
LABEL_PX, CHARACTER_PX = 11, 6.7
_HOUR_NS = 3600 * S_NS
#: Distance of the grid's lines: the first with no more than so many of them.
_GRID_H, _MOST_LINES = (1, 2, 3, 6, 12, 24, 48, 168), 30
#: Golden angle: the hues of neighbours in the list are far apart, however many there are.
_GOLDEN = 0.381966


@dataclass(frozen=True, slots=True)
class Bar:
    """[start_ns, on_ns) set-up, [on_ns, off_ns) tracking, [off_ns, end_ns) tear-down.

    kind: "track" or the commitment's; lane: 0 …, for what overlaps in one row.
    """

    kind: str
    label: str
    mission: str
    details: tuple[str, ...]
    start_ns: int
    on_ns: int
    off_ns: int
    end_ns: int
    lane: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    group: str
    bars: tuple[Bar, ...]
    lanes: int


@dataclass(frozen=True, slots=True)
class Chart:
    view: View
    title: str
    subtitle: str
    start_ns: int
    end_ns: int
    rows: tuple[Row, ...]
    colours: dict[str, str]


def chart(publication: Publication, view: View) -> Chart:
    problem, version = publication.problem, publication.version
    bars: dict[str, list[Bar]] = {}
    groups: dict[str, str] = {}
    if view == "antenna":
        used = {
            name for request in problem.requests for c in request.choices for name in c.antennas
        }
        for antenna in sorted(problem.antennas, key=lambda a: (a.complex, a.name)):
            if antenna.name in used:
                bars[antenna.name], groups[antenna.name] = [], antenna.complex
        for commitment in problem.commitments:
            if commitment.antenna in bars:
                bars[commitment.antenna].append(_commitment(commitment))
    else:
        for mission in sorted(problem.missions, key=lambda m: (m.agency, _natural(m.name))):
            bars[mission.name], groups[mission.name] = [], mission.agency
    for booked in publication.booked:
        for name in booked.track.antennas if view == "antenna" else (booked.request.mission,):
            bars.setdefault(name, []).append(_track(publication, booked, view))
    rows = tuple(_row(name, groups.get(name, ""), found) for name, found in bars.items())
    hours = sum(t.length_s for t in publication.schedule.tracks) / 3600
    return Chart(
        view=view,
        title=f"Antenna schedule {problem.name}, by {view}",
        subtitle=(
            f"version {version}, {publication.status.lower()}, published "
            f"{_minute(publication.generated_ns)} UTC · {len(publication.booked)} tracks, "
            f"{hours:,.1f} h tracking"
        ),
        start_ns=problem.horizon.start_ns,
        end_ns=problem.horizon.end_ns,
        rows=rows,
        colours=colours([mission.name for mission in problem.missions]),
    )


def _natural(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdigit() else (1 << 62, name)


def colours(missions: list[str]) -> dict[str, str]:
    """`#rrggbb` by mission, light enough for black text; the same missions, the same colours."""
    found: dict[str, str] = {}
    for index, name in enumerate(sorted(missions, key=_natural)):
        lightness = (0.66, 0.76, 0.58)[index % 3]
        r, g, b = colorsys.hls_to_rgb(index * _GOLDEN % 1.0, lightness, 0.62)
        found[name] = f"#{round(255 * r):02x}{round(255 * g):02x}{round(255 * b):02x}"
    return found


def _track(publication: Publication, booked: BookedTrack, view: View) -> Bar:
    track, request = booked.track, booked.request
    agency = publication.problem.agency_of(request)
    antennas = " + ".join(track.antennas)
    asked_s = request.duration_s
    return Bar(
        kind="track",
        label=request.mission if view == "antenna" else antennas,
        mission=request.mission,
        details=(
            f"{request.mission}{f' ({agency})' if agency else ''} over {antennas}",
            f"request {request.id}, {asked_s / 3600:g} h asked, priority {request.priority:g}",
            f"set-up {_minute(track.start_ns)}",
            f"AOS {_minute(track.on_ns)}",
            f"LOS {_minute(track.off_ns)}  ({_hours(track.on_ns, track.off_ns)})",
            f"free {_minute(track.end_ns)}",
        ),
        start_ns=track.start_ns,
        on_ns=track.on_ns,
        off_ns=track.off_ns,
        end_ns=track.end_ns,
    )


def _commitment(commitment: Commitment) -> Bar:
    begin, end = commitment.interval.start_ns, commitment.interval.end_ns
    label = commitment.label or commitment.kind
    details = (
        f"{label} of {commitment.antenna}",
        f"{_minute(begin)} to {_minute(end)}  ({_hours(begin, end)})",
    )
    return Bar(commitment.kind, label, "", details, begin, begin, end, end)


def _row(name: str, group: str, bars: list[Bar]) -> Row:
    """What overlaps (several spacecraft in one beam, several links of a mission) gets lanes."""
    free_ns: list[int] = []
    placed: list[Bar] = []
    for bar in sorted(bars, key=lambda b: (b.start_ns, b.end_ns)):
        lane = next((i for i, ns in enumerate(free_ns) if ns <= bar.start_ns), len(free_ns))
        if lane == len(free_ns):
            free_ns.append(0)
        free_ns[lane] = bar.end_ns
        placed.append(
            Bar(
                *(bar.kind, bar.label, bar.mission, bar.details),
                *(bar.start_ns, bar.on_ns, bar.off_ns, bar.end_ns, lane),
            )
        )
    return Row(name, group, tuple(placed), max(1, len(free_ns)))


def _minute(tai_ns: int) -> str:
    return utc_iso_from_tai_ns(tai_ns, decimals=0)[:16].replace("T", " ")


def _hours(begin_ns: int, end_ns: int) -> str:
    minutes = round((end_ns - begin_ns) / S_NS / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def grid(chart: Chart) -> Iterator[tuple[int, str, bool]]:
    """(instant, label, whether a day begins), from the first whole step of UTC on."""
    span_h = (chart.end_ns - chart.start_ns) / _HOUR_NS
    step_h = next((h for h in _GRID_H if span_h / h <= _MOST_LINES), _GRID_H[-1])
    day = utc_iso_from_tai_ns(chart.start_ns, decimals=0)[:10]
    at_ns = tai_ns_from_utc_iso(f"{day}T00:00:00Z")
    while at_ns <= chart.end_ns:
        iso = utc_iso_from_tai_ns(at_ns, decimals=0)
        if at_ns >= chart.start_ns:
            midnight = iso[11:16] == "00:00"
            yield at_ns, f"{iso[5:10]}" if midnight else iso[11:16], midnight
        at_ns += step_h * _HOUR_NS


def groups(chart: Chart) -> Iterator[tuple[str, int, int]]:
    """(name, top, bottom) of each run of rows of one group, in px from the first row's top."""
    top = first = 0
    name: str | None = None
    for row in chart.rows:
        if row.group != name:
            if name is not None:
                yield name, first, top
            name, first = row.group, top
        top += ROW * row.lanes
    if name is not None:
        yield name, first, top


def stands(name: str, height_px: float) -> bool:
    """Whether a group's name fits along its rows; else it lies before the first."""
    return height_px >= CHARACTER_PX * len(name) + 4


# ---------------------------------------------------------------- SVG

STYLE = """
.gantt { background: #12161c; font: 11px "DejaVu Sans", Verdana, sans-serif; }
.gantt text { fill: #d5dbe3; }
.gantt .title { font-size: 16px; font-weight: bold; }
.gantt .sub, .gantt .hour { fill: #8d99a8; }
.gantt .day { font-weight: bold; }
.gantt .even { fill: #1a2029; } .gantt .odd { fill: #151a21; }
.gantt .line { stroke: #2b3440; } .gantt .midnight { stroke: #55626f; }
.gantt .group { stroke: #8d99a8; }
.gantt .on { stroke: #0b0e12; }
.gantt .label { fill: #0b0e12; font-weight: bold; pointer-events: none; }
.gantt .busy { fill: #5a636e; stroke: #0b0e12; }
.gantt .busylabel { fill: #e6eaef; pointer-events: none; }
.gantt .bar:hover .on, .gantt .bar:hover .busy { stroke: #ffffff; stroke-width: 2; }
"""


def svg(chart: Chart, *, width: int = 1800, legend: bool = True) -> str:
    """One self-contained drawing, `width` px wide; details of a bar are its tooltip."""
    plot = width - GUTTER - MARGIN
    scale = plot / (chart.end_ns - chart.start_ns)

    def x(ns: int) -> float:
        clipped = min(max(ns, chart.start_ns), chart.end_ns)
        return GUTTER + (clipped - chart.start_ns) * scale

    body = TOP + sum(ROW * row.lanes for row in chart.rows)
    entries = _legend(chart, width) if legend else []
    height = body + MARGIN + (24 * (1 + max((e[1] for e in entries), default=0)) if entries else 0)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="gantt" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label={quoteattr(chart.title)}>',
        f"<style>{STYLE}</style>",
        "<defs>",
        # Over the mission's colour: strokes that a colour-blind eye and a printer show too.
        # Each drawing has its own: a page with several may show only one, and one that is hidden
        # lends nothing.
        f'<pattern id="{_hatch(chart)}" width="6" height="6" patternUnits="userSpaceOnUse" '
        'patternTransform="rotate(45)"><rect width="3" height="6" fill="#12161c" '
        'fill-opacity="0.65"/></pattern>',
        "</defs>",
        f'<rect width="{width}" height="{height}" fill="#12161c"/>',
    ]
    top = TOP
    for index, row in enumerate(chart.rows):
        shade = "even" if index % 2 else "odd"
        tall = ROW * row.lanes
        out.append(f'<rect class="{shade}" x="0" y="{top}" width="{width}" height="{tall}"/>')
        top += tall
    for ns, _, midnight in grid(chart):
        kind = "midnight" if midnight else "line"
        out.append(
            f'<line class="{kind}" x1="{x(ns):.1f}" x2="{x(ns):.1f}" y1="{TOP}" y2="{body}"/>'
        )
    top = TOP
    for row in chart.rows:
        for bar in row.bars:
            if bar.end_ns > chart.start_ns and bar.start_ns < chart.end_ns:
                out += _bar(chart, bar, x, top + ROW * bar.lane + (ROW - BAR) / 2)
        top += ROW * row.lanes
    out += [
        f'<line class="group" x1="4" x2="{width - MARGIN}" y1="{TOP + first}" y2="{TOP + first}"/>'
        for _, first, _ in groups(chart)
        if first
    ]
    # What a page that scrolls keeps in sight, on grounds of its own: the page moves these groups.
    out.append('<g class="names">')
    top = TOP
    for index, row in enumerate(chart.rows):
        shade = "even" if index % 2 else "odd"
        tall = ROW * row.lanes
        out.append(
            f'<rect class="{shade}" x="0" y="{top}" width="{GUTTER}" height="{tall}"/>'
            f'<text x="{GUTTER - 8}" y="{top + 17}" text-anchor="end" font-weight="bold">'
            f"{escape(row.name)}</text>"
        )
        top += tall
    for name, first, last in groups(chart):
        if name:
            y = TOP + (first + last) / 2
            if stands(name, last - first):
                place = f'transform="translate(16 {y}) rotate(-90)" text-anchor="middle"'
            else:
                place = f'x="6" y="{y + 4}" font-size="10"'
            out.append(f'<text class="sub" {place}>{escape(name)}</text>')
    for left, line, mission in entries:
        y = body + MARGIN + 24 * line
        out += _key(chart, mission, left, y)
    out += [
        f'<text class="title" x="12" y="22">{escape(chart.title)}</text>',
        f'<text class="sub" x="12" y="40">{escape(chart.subtitle)} · times UTC</text>',
        "</g>",
        f'<g class="axis"><rect x="0" y="{TOP - AXIS}" width="{width}" height="{AXIS}" '
        'fill="#12161c"/>',
    ]
    out += [
        f'<text class="{"day" if midnight else "hour"}" x="{x(ns):.1f}" y="{TOP - 6}" '
        f'text-anchor="middle">{label}</text>'
        for ns, label, midnight in grid(chart)
    ]
    out.append("</g>")
    out.append("</svg>")
    return "\n".join(out)


def _hatch(chart: Chart) -> str:
    return f"hatch-{chart.view}"


def _bar(chart: Chart, bar: Bar, x: Callable[[int], float], y: float) -> Iterator[str]:
    details = "\n".join(bar.details)
    # Its whole label, for a page that has more room when it is zoomed.
    given = f"data-mission={quoteattr(bar.mission)} data-label={quoteattr(bar.label)}"
    yield f'<g class="bar" {given}><title>{escape(details)}</title>'
    on, off = x(bar.on_ns), x(bar.off_ns)
    if bar.kind == "track":
        colour = chart.colours[bar.mission]
        for begin, end in ((bar.start_ns, bar.on_ns), (bar.off_ns, bar.end_ns)):
            if x(end) > x(begin):
                place = f'x="{x(begin):.1f}" y="{y + 3}" width="{x(end) - x(begin):.1f}"'
                yield f'<rect {place} height="{BAR - 6}" fill="{colour}"/>'
                yield f'<rect {place} height="{BAR - 6}" fill="url(#{_hatch(chart)})"/>'
        place = f'x="{on:.1f}" y="{y}" width="{max(off - on, 0.5):.1f}" height="{BAR}"'
        yield f'<rect class="on" {place} rx="2" fill="{colour}"/>'
    else:
        place = f'x="{on:.1f}" y="{y}" width="{max(off - on, 0.5):.1f}" height="{BAR}"'
        yield f'<rect class="busy" {place} rx="2"/>'
    label = fitted(bar.label, off - on)
    if label:
        kind = "label" if bar.kind == "track" else "busylabel"
        middle = (on + off) / 2
        yield (
            f'<text class="{kind}" x="{middle:.1f}" y="{y + 14}" text-anchor="middle">'
            f"{escape(label)}</text>"
        )
    yield "</g>"


def fitted(label: str, width_px: float) -> str:
    """The label, or its numbers alone (DSS-65: 65), or its beginning; nothing if even that would
    say too little.

    >>> fitted("DSS-25 + DSS-26", 60)
    '25 + 26'
    """
    room = int((width_px - 4) / CHARACTER_PX)
    for text in (label, re.sub(r"[A-Za-z]+-(?=\d)", "", label)):
        if len(text) <= room:
            return text
    return label[: room - 1] + "…" if room >= 5 and "-" not in label else ""


_KINDS = ("set-up and tear-down", "maintenance or other commitment")


def _legend(chart: Chart, width: int) -> list[tuple[float, int, str]]:
    """(x, line, mission or kind) for all that is drawn."""
    drawn = {bar.mission for row in chart.rows for bar in row.bars if bar.kind == "track"}
    left, line = 12.0, 0
    entries: list[tuple[float, int, str]] = []
    for name in (*_KINDS, *(m for m in chart.colours if m in drawn)):
        wide = 30 + CHARACTER_PX * len(name) + 12
        if left + wide > width:
            left, line = 12.0, line + 1
        entries.append((left, line, name))
        left += wide
    return entries


def _key(chart: Chart, name: str, left: float, y: float) -> Iterator[str]:
    place = f'x="{left:.1f}" y="{y}" width="22" height="14"'
    if name == _KINDS[0]:
        yield f'<rect {place} fill="#aab4c0"/><rect {place} fill="url(#{_hatch(chart)})"/>'
    elif name == _KINDS[1]:
        yield f'<rect class="busy" {place}/>'
    else:
        yield f'<rect {place} rx="2" fill="{chart.colours[name]}"/>'
    yield f'<text x="{left + 28:.1f}" y="{y + 11}">{escape(name)}</text>'
