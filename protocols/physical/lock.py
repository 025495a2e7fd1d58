"""How sure a phase is: from the angles of noisy symbols to their Es/N0, and back.

The mean of cos(Mθ) over symbols, θ being the angle from the nearest place without noise, does not
depend on the level: 0 without signal or without lock, 1 without noise.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]

_ESN0_DB: Final = np.linspace(-15.0, 40.0, 1101)


def angle_statistic(order: int, esn0: npt.ArrayLike) -> F64:
    """Mean of cos(Mθ) in lock; order M: 2 of BPSK, 4 of QPSK; esn0: Es/N0 as a ratio."""
    g = np.asarray(esn0, np.float64)
    e = np.exp(-g)
    if order == 2:
        return 1 - (1 - e) / g
    return 1 - 4 / g + 6 / g**2 * (1 - e) - 2 / g * e


def rail_statistic(esn0: npt.ArrayLike) -> F64:
    """Mean magnitude squared over mean square of a rail's symbols; 2/π without signal.

    esn0: of the one bit that a rail's symbol carries.
    """
    a = np.sqrt(2 * np.atleast_1d(np.asarray(esn0, np.float64)))
    x = np.linspace(-12.0, 12.0, 4001)
    density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi) * (x[1] - x[0])
    magnitude = (np.abs(a[:, None] + x) * density).sum(axis=1)
    return (magnitude**2 / (1 + a**2)).reshape(np.shape(esn0))


@cache
def _table(order: int) -> F64:
    """Of `_ESN0_DB`; order 0: the rail's statistic."""
    esn0 = 10 ** (_ESN0_DB / 10)
    table = rail_statistic(esn0) if order == 0 else angle_statistic(order, esn0)
    return np.maximum.accumulate(table)


def expected(order: int, esn0_db: float) -> float:
    """The statistic in lock at this Es/N0."""
    return float(np.interp(esn0_db, _ESN0_DB, _table(order)))


def esn0_db(order: int, statistic: float) -> float:
    """Es/N0 (of the symbol, of a rail's for order 0) at which the statistic is expected."""
    return float(np.interp(statistic, _table(order), _ESN0_DB))
