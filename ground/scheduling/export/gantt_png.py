"""The Gantt chart as PNG, by matplotlib; the same rows, colours and labels as the SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

from ground.scheduling.export.gantt import (
    BAR,
    ROW,
    Bar,
    Chart,
    View,
    chart,
    fitted,
    grid,
    groups,
    stands,
)
from ground.scheduling.export.publication import Publication
from ground.scheduling.model import S_NS

_DPI = 100
_BACK, _EVEN, _TEXT, _DIM = "#12161c", "#1a2029", "#d5dbe3", "#8d99a8"
#: Around the plot, px: left for names, top for title and hours, bottom for the legend's lines.
_LEFT, _TOP, _RIGHT, _LEGEND_ROW = 128, 70, 20, 20


def build(publication: Publication, *, view: View = "antenna", width: int = 2200) -> bytes:
    """`width` in px; the height follows from the rows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    found = chart(publication, view)
    drawn = {bar.mission for row in found.rows for bar in row.bars if bar.kind == "track"}
    missions = [name for name in found.colours if name in drawn]
    columns = max(4, width // 170)
    legend_px = 16 + _LEGEND_ROW * -(-(len(missions) + 2) // columns)
    plot_px = ROW * sum(row.lanes for row in found.rows)
    height = _TOP + plot_px + legend_px
    # A figure without pyplot: no global state, no window system.
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor=_BACK)
    FigureCanvasAgg(figure)
    axes: Any = figure.add_axes(
        (
            _LEFT / width,
            legend_px / height,
            (width - _LEFT - _RIGHT) / width,
            plot_px / height,
        ),
        facecolor=_BACK,
    )
    _draw(axes, found, (width - _LEFT - _RIGHT) / (found.end_ns - found.start_ns))
    figure.text(12 / width, 1 - 24 / height, found.title, color=_TEXT, size=13, weight="bold")
    figure.text(12 / width, 1 - 42 / height, f"{found.subtitle} · times UTC", color=_DIM, size=8.5)
    handles = [
        Patch(facecolor="#aab4c0", edgecolor=_BACK, hatch="////", label="set-up, tear-down"),
        Patch(facecolor="#5a636e", edgecolor=_BACK, label="maintenance"),
        *(Patch(facecolor=found.colours[name], label=name) for name in missions),
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        ncols=columns,
        frameon=False,
        labelcolor=_TEXT,
        fontsize=8,
        borderaxespad=0.3,
        handleheight=1.1,
    )
    octets = io.BytesIO()
    with warnings.catch_warnings():
        # A name in letters that matplotlib's font lacks gets boxes here; SVG and HTML show it.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure.savefig(octets, format="png", facecolor=_BACK)
    return octets.getvalue()


def _draw(axes: Any, found: Chart, px_ns: float) -> None:
    def x(ns: int) -> float:
        # Hours since the begin: matplotlib's floats would lose seconds in nanoseconds of TAI.
        return (ns - found.start_ns) / (3600 * S_NS)

    px_h = px_ns * 3600 * S_NS
    top = 0
    for name, first, last in groups(found):
        if name:
            lies = not stands(name, last - first)
            axes.text(
                -(_LEFT - 12) / px_h, (first + last) / 2, name, color=_DIM, va="center",
                ha="left" if lies else "center", rotation=0 if lies else 90, size=7.5,
            )  # fmt: skip
        if first:
            axes.plot((-(_LEFT - 4) / px_h, x(found.end_ns)), (first, first), color=_TEXT,
                      linewidth=0.7, zorder=5, clip_on=False)  # fmt: skip
    for index, row in enumerate(found.rows):
        if index % 2:
            axes.axhspan(top, top + ROW * row.lanes, color=_EVEN, zorder=0, linewidth=0)
        axes.text(-8 / px_h, top + ROW / 2, row.name, color=_TEXT, ha="right", va="center", size=8)
        for bar in row.bars:
            _bar(axes, found, bar, x, px_h, top + ROW * bar.lane + (ROW - BAR) / 2)
        top += ROW * row.lanes
    for ns, label, midnight in grid(found):
        axes.axvline(x(ns), color="#55626f" if midnight else "#2b3440", linewidth=0.8, zorder=1)
        axes.text(
            x(ns), -5, label, color=_TEXT if midnight else _DIM, ha="center", va="bottom",
            size=8, weight="bold" if midnight else "normal",
        )  # fmt: skip
    axes.set_xlim(0, x(found.end_ns))
    axes.set_ylim(top, 0)
    axes.set_axis_off()


def _bar(
    axes: Any, found: Chart, bar: Bar, x: Callable[[int], float], px_h: float, y: float
) -> None:
    on, off = x(bar.on_ns), x(bar.off_ns)
    if bar.kind == "track":
        colour = found.colours[bar.mission]
        edges = [(x(bar.start_ns), on - x(bar.start_ns)), (off, x(bar.end_ns) - off)]
        axes.broken_barh(
            [edge for edge in edges if edge[1] > 0], (y + 3, BAR - 6),
            facecolor=colour, edgecolor=_BACK, hatch="//////", linewidth=0, zorder=2,
        )  # fmt: skip
    else:
        colour = "#5a636e"
    axes.broken_barh(
        [(on, off - on)], (y, BAR), facecolor=colour, edgecolor="#0b0e12", linewidth=0.8, zorder=3
    )
    # Clipped at the edges, a label stands in what is seen.
    left, right = max(on, 0.0), min(off, x(found.end_ns))
    label = fitted(bar.label, (right - left) * px_h)
    if label:
        axes.text(
            (left + right) / 2, y + BAR / 2, label, ha="center", va="center", size=7.5, zorder=4,
            color="#0b0e12" if bar.kind == "track" else "#e6eaef", clip_on=True,
            weight="bold" if bar.kind == "track" else "normal",
        )  # fmt: skip
