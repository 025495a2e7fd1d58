"""Compiled inner loop of the modulator."""

# numba ships no types: the docstrings say here what the arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def shape(
    symbols: Any, first_symbol: int, taps: Any, first: int, count: int, sps: float, centre: float
) -> Any:
    """Samples `first` … of Σ a_k p((n − centre)/sps − k), float32 [count].

    symbols: float32, the first of them number `first_symbol`; what is before or behind them is 0.
    taps: float32 [places, 2 around + 1], the pulse around the middle of a symbol.
    """
    places, width = taps.shape
    around = width // 2
    out = np.empty(count, np.float32)
    for i in range(count):
        u = (first + i - centre) / sps
        symbol = np.int64(np.floor(u + 0.5))
        place = np.int64(np.floor((u - symbol + 0.5) * places + 0.5))
        if place == places:
            place = 0
            symbol += 1
        start = symbol - around - first_symbol
        row = taps[place]
        total = np.float32(0)
        if start >= 0 and start + width <= len(symbols):
            for j in range(width):
                total += row[j] * symbols[start + j]
        else:
            for j in range(width):
                if 0 <= start + j < len(symbols):
                    total += row[j] * symbols[start + j]
        out[i] = total
    return out
