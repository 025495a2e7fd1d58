"""The picture of a conjunction study: PNG."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Final

import matplotlib.dates as dates
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ground.study.conjunction import Outage, Study, longest_days, total_days
from protocols.timecodes.tai import NS_PER_DAY, unix_ns_from_tai_ns, utc_iso_from_tai_ns

#: Of outages on the straight way and on the way around, wide limits pale.
_DIRECT: Final = ("#7a1f12", "#c8452f", "#eda28f", "#f6d5cc")
_AROUND: Final = ("#123f63", "#2f7ab8", "#97c3e6", "#cfe2f2")
_TEXT, _GRID = "#20262c", "#d5dade"
#: Days around a conjunction that are drawn; that of the relay is 85 to 200 days before (L5: after).
_REACH: Final = 210
_DPI: Final = 110


def draw(found: Study) -> bytes:
    """Above: how near Mars is to the Sun over the years, from the Earth and from the relay.  Below:
    each conjunction, with the outages of every band on either way.
    """
    rows = max(1, len(found.conjunctions))
    height = 4.3 + 0.36 * rows
    # A figure without pyplot: no global state, no window system.
    figure = Figure(figsize=(12.0, height), dpi=_DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    top, below = figure.subplots(2, 1, height_ratios=(2.6, 0.36 * rows + 0.8))
    _angles(top, found)
    _conjunctions(below, found)
    octets = io.BytesIO()
    figure.savefig(octets, format="png", metadata={"Software": "l4 study conjunction"})
    return octets.getvalue()


def _moments(tai_ns: Any) -> Any:
    return np.asarray(unix_ns_from_tai_ns(tai_ns)).astype("datetime64[ns]")


def _plain(axes: Any) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(colors=_TEXT, labelsize=9)


def _angles(axes: Any, found: Study) -> None:
    curves = found.curves
    when = _moments(curves.t_ns)
    axes.plot(when, curves.earth_mars_deg, color=_DIRECT[1], lw=1.3, label="seen from the Earth")
    axes.plot(
        when, curves.relay_mars_deg, color=_AROUND[1], lw=1.3, label=f"seen from {found.relay}"
    )
    for one in found.bands:
        axes.axhline(one.band.near_deg, color=_TEXT, lw=0.7, ls=(0, (4, 3)))
        axes.text(
            1.003, one.band.near_deg, f"{one.band.name} {one.band.near_deg:g}°",
            transform=axes.get_yaxis_transform(), va="center", size=8, color=_TEXT,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_ylim(0.1, 200)
    axes.set_yticks([0.1, 1, 10, 100], ["0.1°", "1°", "10°", "100°"])
    axes.set_xlim(when[0], when[-1])
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(axes.xaxis.get_major_locator()))
    axes.grid(axis="y", color=_GRID, lw=0.6)
    axes.set_title("Angle between Mars and the Sun", loc="left", size=11, color=_TEXT)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9)
    _plain(axes)


def _conjunctions(axes: Any, found: Study) -> None:
    # The widest first, so that the narrower ones lie upon it.
    order = sorted(found.bands, key=lambda one: -one.band.near_deg)
    shade = {one.band.name: min(len(order) - 1 - i, 3) for i, one in enumerate(order)}
    reach = [-20.0, 20.0]
    for row, each in enumerate(found.conjunctions):
        for one in order:
            for outages, colours, height in (
                (one.direct, _DIRECT, 0.72),
                (one.around, _AROUND, 0.72),
                (one.both, ("black",) * 4, 0.16),
            ):
                colour = colours[shade[one.band.name]]
                reach += _bars(axes, row, each.at_ns, outages, colour, height)
    labels = [
        f"{utc_iso_from_tai_ns(each.at_ns, 0)[:10]}  {each.angle_deg:.2f}°"
        for each in found.conjunctions
    ]
    axes.set_yticks(range(len(labels)), labels, family="monospace")
    axes.set_ylim(max(1, len(labels)) - 0.4, -0.6)
    axes.set_xlim(min(reach) - 10, max(reach) + 10)
    axes.set_xlabel("days from the conjunction", size=9, color=_TEXT)
    axes.grid(axis="x", color=_GRID, lw=0.6)
    axes.set_axisbelow(True)
    years = [utc_iso_from_tai_ns(ns, 0)[:4] for ns in (found.start_ns, found.end_ns - NS_PER_DAY)]
    summary = "   ".join(
        f"{one.band.name} {total_days(one.direct):.0f} → {total_days(one.both):.0f} days "
        f"(longest {longest_days(one.direct):.0f})"
        for one in found.bands
    )
    axes.set_title(
        f"Links lost {years[0]}-{years[1]}, without → with {found.relay}:   {summary}",
        loc="left", size=10.5, color=_TEXT,
    )  # fmt: skip
    handles = [
        Patch(facecolor=colours[shade[one.band.name]], label=f"{way}, {one.band.name}")
        for way, colours in (("Mars-Earth", _DIRECT), (f"Mars-{found.relay}-Earth", _AROUND))
        for one in reversed(order)
    ]
    handles.append(Patch(facecolor="black", label="both ways closed"))
    below = -0.16 if len(labels) > 4 else -0.3
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, below),
        ncols=4, frameon=False, fontsize=9,
    )  # fmt: skip
    _plain(axes)


def _bars(
    axes: Any, row: int, at_ns: int, outages: Sequence[Outage], colour: str, height: float
) -> list[float]:
    """How far the bars reach, days."""
    ends: list[float] = []
    for one in outages:
        first, last = ((ns - at_ns) / NS_PER_DAY for ns in (one.start_ns, one.end_ns))
        if first > -_REACH and last < _REACH:
            axes.barh(row, last - first, left=first, height=height, color=colour, lw=0)
            ends += [first, last]
    return ends
