"""Between tabulated states: Lagrange on equal steps, Lagrange and Hermite on any.

CCSDS 502.0-B-3 annex F and §5.2.3 (INTERPOLATION, INTERPOLATION_DEGREE) name these methods for
ephemeris messages.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.navigation.geometry import F64

I64 = npt.NDArray[np.int64]

#: Nodes of `UniformTable`: a polynomial of degree 7.  With ω·step = 0.1 its error is 1e-10.
_NODES: Final = 8
#: 1 / Π_{j≠k} (k − j), k = 0..7.
_SCALE: Final = np.array(
    [1.0 / np.prod([k - j for j in range(_NODES) if j != k], dtype=float) for k in range(_NODES)]
)


class UniformTable:
    """A smooth vector function of time, known at equal steps; float64 [n, k], n at least 8.

    start_s  time of row 0; step_s  from row to row.  It is read from start_s to the last row, and
    one step beyond either end before digits are lost.
    """

    __slots__ = ("start_s", "step_s", "values")

    def __init__(self, start_s: float, step_s: float, values: F64) -> None:
        if len(values) < _NODES or values.ndim != 2:
            raise LocalError(
                f"table of shape {values.shape}: [n, k] with n of at least {_NODES} wanted"
            )
        self.start_s, self.step_s = start_s, step_s
        self.values = np.ascontiguousarray(values)

    def _place(self, t_s: F64) -> tuple[I64, F64]:
        x = (t_s - self.start_s) / self.step_s
        first = np.clip(np.floor(x).astype(np.int64) - (_NODES // 2 - 1), 0, len(self.values) - 8)
        return first, x - first

    def __call__(self, t_s: F64) -> F64:
        """Values at `t_s` float64 [m]: float64 [m, k]."""
        first, u = self._place(t_s)
        # Π_{j<k} (u − j) and Π_{j>k} (u − j): no division, so exact at the nodes too.
        weights = np.empty((len(u), _NODES))
        weights[:, 0] = _SCALE[0]
        product = np.ones_like(u)
        for k in range(1, _NODES):
            product = product * (u - (k - 1))
            weights[:, k] = product * _SCALE[k]
        product = np.ones_like(u)
        for k in range(_NODES - 2, -1, -1):
            product = product * (u - (k + 1))
            weights[:, k] *= product
        # One gather of 8 neighbours is six times as fast as eight gathers of one.
        windows = np.lib.stride_tricks.sliding_window_view(self.values, _NODES, axis=0)
        return np.einsum("mkj,mj->mk", windows[first], weights)

    def rate(self, t_s: F64) -> F64:
        """Change per second at `t_s`, float64 [m, k], by the central difference of the table."""
        half = 0.01 * self.step_s
        return (self(t_s + half) - self(t_s - half)) / (2 * half)


def _window(nodes_s: F64, t_s: F64, count: int) -> I64:
    """Index of the first of the `count` nodes around each time, int64 [m]."""
    right = np.searchsorted(nodes_s, t_s, side="right")
    return np.clip(right - (count + 1) // 2, 0, len(nodes_s) - count)


def _check(nodes_s: F64, count: int) -> None:
    if count > len(nodes_s):
        raise LocalError(f"{count} states are needed for this degree, {len(nodes_s)} are there")


def lagrange(nodes_s: F64, values: F64, t_s: F64, degree: int) -> F64:
    """Polynomial through the degree + 1 nodes around each time: float64 [m, k].

    nodes_s [n] ascending, values [n, k], t_s [m].  Raises LocalError with too few nodes.

    >>> t = np.array([0.0, 1.0, 3.0, 4.0])
    >>> lagrange(t, (t**3)[:, np.newaxis], np.array([2.0, 3.5]), 3).ravel()
    array([ 8.   , 42.875])
    """
    count = degree + 1
    _check(nodes_s, count)
    first = _window(nodes_s, t_s, count)
    near = first[:, np.newaxis] + np.arange(count)
    x = nodes_s[near]
    result = np.zeros((len(t_s), values.shape[1]))
    for k in range(count):
        weight = np.ones(len(t_s))
        for j in range(count):
            if j != k:
                weight = weight * (t_s - x[:, j]) / (x[:, k] - x[:, j])
        result += weight[:, np.newaxis] * values[near[:, k]]
    return result


def hermite(nodes_s: F64, values: F64, rates: F64, t_s: F64, degree: int) -> F64:
    """Polynomial that meets value and rate at the (degree + 1) / 2 nodes around each time.

    As `lagrange`, with rates [n, k] per second; an even degree is rounded up to the next odd one.

    >>> t = np.array([0.0, 1.0])
    >>> hermite(t, (t**3)[:, np.newaxis], (3 * t**2)[:, np.newaxis], np.array([0.5]), 3).ravel()
    array([0.125])
    """
    count = (degree + 2) // 2
    _check(nodes_s, count)
    first = _window(nodes_s, t_s, count)
    near = first[:, np.newaxis] + np.arange(count)
    x = nodes_s[near]
    result = np.zeros((len(t_s), values.shape[1]))
    for k in range(count):
        basis, slope = np.ones(len(t_s)), np.zeros(len(t_s))
        for j in range(count):
            if j != k:
                gap = x[:, k] - x[:, j]
                basis = basis * (t_s - x[:, j]) / gap
                slope = slope + 1 / gap
        away = t_s - x[:, k]
        square = basis * basis
        result += ((1 - 2 * slope * away) * square)[:, np.newaxis] * values[near[:, k]]
        result += (away * square)[:, np.newaxis] * rates[near[:, k]]
    return result
