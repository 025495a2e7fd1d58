"""When a margin is positive: its spans from a coarse grid, their ends refined to milliseconds.

The margin is any continuous function of time that says by how much a condition is met: elevation
above the mask, an angle beyond an exclusion, or the least of several such.  Many series (one an
antenna, say) are searched together; a *series* is a row of the grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64

#: Margin of series int64 [m] at times float64 [m], float64 [m].
Margin = Callable[[I64, F64], F64]
_MOST_STEPS = 60


@dataclass(frozen=True, slots=True)
class Spans:
    """Where the margin is positive, by series and then by time; all arrays [m].

    open_start, open_end: the span touches that end of the grid and may go on beyond it.
    """

    series: I64
    start_s: F64
    end_s: F64
    open_start: npt.NDArray[np.bool_]
    open_end: npt.NDArray[np.bool_]


def refine(
    margin: Margin, series: I64, low_s: F64, high_s: F64, f_low: F64, f_high: F64, within_s: float
) -> F64:
    """A root in each bracket [low, high] with margins of opposite sign: float64 [m].

    Regula falsi in Anderson and Björck's form, bisecting where that is slow; each answer lies
    within `within_s` of a change of sign.
    """
    a, b, fa, fb = low_s.copy(), high_s.copy(), f_low.copy(), f_high.copy()
    root = np.where(np.abs(fa) < np.abs(fb), a, b)
    todo = np.flatnonzero((fa != 0) & (fb != 0))
    for step in range(_MOST_STEPS):
        if not len(todo):
            break
        lo, hi, flo, fhi = a[todo], b[todo], fa[todo], fb[todo]
        guess = hi - fhi * (hi - lo) / (fhi - flo)
        if step % 4 == 3:
            guess = 0.5 * (lo + hi)
        value = margin(series[todo], guess)
        # b is always the newest point, a the other side of the root.
        crossed = value * fhi < 0
        factor = 1 - value / fhi
        factor = np.where(factor > 0, factor, 0.5)
        a[todo] = np.where(crossed, hi, lo)
        fa[todo] = np.where(crossed, fhi, flo * factor)
        b[todo], fb[todo] = guess, value
        root[todo] = guess
        # Done where the last move was small, and so is what the local slope still promises.
        slope = np.abs((fhi - value) / np.where(hi == guess, 1.0, hi - guess))
        left = np.abs(value) / np.maximum(slope, 1e-300)
        done = (value == 0) | (left < 0.1 * within_s) | (np.abs(b[todo] - a[todo]) < within_s)
        todo = todo[~done]
    return root


def _vertices(grid_s: F64, values: F64, sign: int) -> tuple[I64, I64, F64]:
    """(series, index, time) of inner extrema (sign +1: maxima) that may hide a double crossing."""
    f = sign * values
    inner = f[:, 1:-1]
    # A peak below zero (or, for minima, a dip above): the parabola through three points tells
    # how far it may reach.
    at = (inner >= f[:, :-2]) & (inner > f[:, 2:]) & (inner <= 0)
    series, index = np.nonzero(at)
    index = index + 1
    left, mid, right = f[series, index - 1], f[series, index], f[series, index + 1]
    bend = left - 2 * mid + right
    shift = 0.5 * (left - right) / np.where(bend == 0, 1.0, bend)
    rise = -0.125 * (left - right) ** 2 / np.where(bend == 0, 1.0, bend)
    # Twice the parabola's rise and the sample's bend: margins with a kink reach no higher.
    near = mid + 2 * rise + 0.25 * np.abs(bend) > 0
    step = grid_s[1] - grid_s[0]
    return series[near], index[near], (grid_s[index] + shift * step)[near]


def positive_spans(grid_s: F64, values: F64, margin: Margin, within_s: float = 0.01) -> Spans:
    """Spans in which the margin is positive, their ends within `within_s`.

    grid_s float64 [n], equally spaced; values float64 [series, n] = margin there.  Spans (and
    gaps) shorter than a step are found where the three samples around them tell of an extremum.

    >>> t = np.arange(0.0, 10.0, 0.5)
    >>> spans = positive_spans(t, np.sin(t)[np.newaxis], lambda series, t: np.sin(t), 1e-9)
    >>> spans.start_s.round(6), spans.end_s.round(6), spans.open_end
    (array([0.      , 6.283185]), array([3.141593, 9.424778]), array([False, False]))
    """
    n = values.shape[1]
    positive = values > 0
    change_row, change_at = np.nonzero(positive[:, 1:] != positive[:, :-1])
    brackets = [
        (
            change_row,
            grid_s[change_at],
            grid_s[change_at + 1],
            values[change_row, change_at],
            values[change_row, change_at + 1],
        )
    ]
    for sign in (1, -1):
        row, index, time_s = _vertices(grid_s, values, sign)
        if not len(row):
            continue
        peak = margin(row, time_s)
        found = sign * peak > 0
        row, index, time_s, peak = row[found], index[found], time_s[found], peak[found]
        for other in (-1, 1):
            brackets.append((row, grid_s[index + other], time_s, values[row, index + other], peak))
    row = np.concatenate([b[0] for b in brackets])
    low, high, f_low, f_high = (
        np.concatenate([np.asarray(b[i], np.float64) for b in brackets]) for i in range(1, 5)
    )
    root = refine(margin, row, low, high, f_low, f_high, within_s)

    # Roots in time order begin and end spans in turn; a series that starts positive has one more.
    starts_up, ends_up = np.flatnonzero(positive[:, 0]), np.flatnonzero(positive[:, n - 1])
    event_row = np.concatenate([starts_up, row, ends_up])
    event_s = np.concatenate(
        [np.full(len(starts_up), grid_s[0]), root, np.full(len(ends_up), grid_s[-1])]
    )
    kind = np.concatenate(
        [np.full(len(starts_up), -1), np.zeros(len(row), int), np.full(len(ends_up), 1)]
    )
    order = np.lexsort((kind, event_s, event_row))
    event_row, event_s, kind = event_row[order], event_s[order], kind[order]
    start, end = event_s[0::2], event_s[1::2]
    keep = end > start
    return Spans(
        event_row[0::2][keep].astype(np.int64),
        start[keep],
        end[keep],
        kind[0::2][keep] == -1,
        kind[1::2][keep] == 1,
    )
