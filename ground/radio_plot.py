"""How a recording was heard, as a picture: spectrum, constellation, Eb/N0, frequency, frames."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_BLUE, _GREY = "#1f6fb4", "#888888"


def draw(path: Path, course: Any, *, title: str) -> None:
    """course: of `l4 radio decode`; the spectrum and constellation are those of its last lock."""
    figure = Figure(figsize=(12, 7), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    grid = figure.add_gridspec(2, 3)
    spectrum = figure.add_subplot(grid[0, :2])
    points = figure.add_subplot(grid[0, 2])
    ebn0 = figure.add_subplot(grid[1, 0])
    offset = figure.add_subplot(grid[1, 1])
    frames = figure.add_subplot(grid[1, 2])
    message = course.locked or course.last
    _spectrum(spectrum, message)
    _constellation(points, message)
    for axes, values, label in (
        (ebn0, course.ebn0_db, "Eb/N0, dB"),
        (offset, course.offset_hz, "carrier, Hz"),
        (frames, course.frames, "good frames"),
    ):
        axes.plot(course.t_s, values, color=_BLUE, linewidth=1.5)
        axes.set_xlabel("s from the first sample")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.ticklabel_format(axis="y", useOffset=False)
    figure.savefig(path)


def _spectrum(axes: Any, message: Any) -> None:
    axes.set_ylabel("dB of full scale a bin")
    axes.grid(alpha=0.3)
    bins = len(message.spectrum)
    if not bins:
        axes.set_title("no spectrum")
        return
    hertz = message.spectrum_centre_hz + message.spectrum_span_hz * (np.arange(bins) / bins - 0.5)
    scale, unit = (1e6, "MHz") if message.spectrum_span_hz > 2e6 else (1e3, "kHz")
    axes.plot(hertz / scale, message.spectrum, color=_BLUE, linewidth=1)
    if message.carrier_lock:
        axes.axvline(message.carrier_offset_hz / scale, color=_GREY, linestyle="--", linewidth=1)
    axes.set_xlabel(f"{unit} from the centre")
    axes.set_title(f"{message.modulation}, {message.symbol_rate:,.1f} symbols/s")


def _constellation(axes: Any, message: Any) -> None:
    found = np.asarray(message.constellation, np.float64) / 64
    axes.scatter(found[:, 0], found[:, 1], s=6, color=_BLUE, alpha=0.6)
    axes.axhline(0, color=_GREY, linewidth=0.6)
    axes.axvline(0, color=_GREY, linewidth=0.6)
    axes.set_xlim(-2, 2)
    axes.set_ylim(-2, 2)
    axes.set_aspect("equal")
    axes.set_title(f"Eb/N0 {message.ebn0_db:.1f} dB" if message.symbol_lock else "no symbol lock")
