"""Compiled helpers of the soft decoders: the scale of symbols, and the turn from rows to lanes."""

# numba ships no types: the docstrings say here what the arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.coding.lanes import LANES, high, load, low, store

F32 = npt.NDArray[np.float32]


@njit(cache=True, fastmath={"reassoc", "nsz"})
def mean_magnitude(symbols: F32) -> Any:
    """Mean magnitude of the finite ones of a float32 row, 0 if there are none."""
    total = np.float32(0)
    count = np.int32(0)
    for i in range(len(symbols)):
        magnitude = abs(symbols[i])
        finite = magnitude < np.float32(1e30)
        total += magnitude if finite else np.float32(0)
        count += np.int32(finite)
    return total / count if count > 0 else np.float32(0)


@njit(cache=True)
def quantise(symbols: Any, gain: Any, limit: Any, out: Any) -> None:
    """Symbols times gain as int8 of magnitude up to limit; NaN becomes 0."""
    gain = np.float32(gain)
    top = np.float32(limit) + np.float32(0.5)
    half = np.float32(0.5)
    zero = np.float32(0)
    for i in range(len(symbols)):
        scaled = symbols[i] * gain
        magnitude = abs(scaled) + half
        magnitude = magnitude if magnitude < top else top
        magnitude = magnitude if scaled == scaled else zero
        level = np.int32(magnitude)
        out[i] = np.int8(-level if scaled < zero else level)


@njit(cache=True)
def turn(block: Any, out: Any) -> None:
    """Transpose 32 × 32 octets, by five perfect shuffles.  `block` is overwritten."""
    for step in range(5):
        source, target = (block, out) if step % 2 == 0 else (out, block)
        for i in range(LANES // 2):
            upper, lower = load(source, i), load(source, i + LANES // 2)
            store(target, 2 * i, low(upper, lower))
            store(target, 2 * i + 1, high(upper, lower))
