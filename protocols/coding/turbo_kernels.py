"""Compiled inner loops of the turbo codes: encoder, and decoder of 32 codewords in lanes.

Each component code is decoded by the BCJR algorithm with logarithms (log-MAP): exact but for the
step of an eighth and a straight line in place of log(1 + exp(−x)).  Max-log-MAP with extrinsic
information times 0.75, two thirds of the work, was tried: at rate 1/6 and −0.3 dB half of the
codewords of 8,920 bits fail instead of one in some hundreds.
"""

# numba ships no types: the docstrings say here what the arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.coding.lanes import (
    LANES,
    load,
    minus,
    minus_wide,
    narrow,
    plus,
    plus_wide,
    signs,
    splat,
    spread,
    store,
    widen,
)
from protocols.coding.soft_symbols import mean_magnitude, quantise, turn
from protocols.coding.turbo_trellis import CERTAIN, STATES, step_back, step_forward

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

#: Greatest soft symbol: 16, in eighths.
LIMIT: Final = 127
#: Steps whose forward metrics are kept at once, 32 KiB; of the others those at every 32nd step are,
#: from which they are computed again.
WINDOW: Final = 32
#: Log-likelihood ratios of a step: data bit, G1, G2, G3.
OUTPUTS: Final = 4


@njit(cache=True)
def encode(bits: U8, order: I32, branches: U8, places: I32, out: U8) -> None:
    """Symbols uint8 [n, m] of both component encoders, of data bits uint8 [n, k].

    order: int32 [k], data bit of each step of the second encoder.  branches: uint8 [16, 2, 6]: data
    bit, G1, G2, G3 and next state of each state and bit that the register takes in, and the latter
    for a data bit of 0.  places: int32 [m]: encoder, step and output of each symbol as
    (encoder · steps + step) · 4 + output.
    """
    n, k = bits.shape
    steps = k + 4
    room = np.empty(2 * steps * OUTPUTS, np.uint8)
    for row in range(n):
        for encoder in range(2):
            state = 0
            for step in range(steps):
                taken = np.int64(0)
                if step < k:
                    bit = bits[row, order[step] if encoder else step]
                    taken = np.int64(bit ^ branches[state, 0, 5])
                at = (encoder * steps + step) * OUTPUTS
                for output in range(OUTPUTS):
                    room[at + output] = branches[state, taken, output]
                state = np.int64(branches[state, taken, 4])
        for i in range(len(places)):
            out[row, i] = room[places[i]]


@njit(cache=True)
def _fill(
    symbols: F32,
    which: I64,
    mean: float,
    places: I32,
    again: I32,
    rows: Any,
    ratios: Any,
    spare: U8,
) -> Any:
    """Log-likelihood ratios int8 [2 · steps · 4, LANES] of the symbols of codewords `which`.

    again: where a symbol is heard a second time, by the second decoder, or −1.
    The mask of the lanes that are not all zero: two decoders would agree about silence.
    """
    rows[:] = 0
    heard = np.uint32(0)
    for lane in range(len(which)):
        part = symbols[which[lane]]
        unscaled = mean_magnitude(part)
        if unscaled > 0:
            heard |= np.uint32(1) << np.uint32(lane)
            quantise(part, mean / unscaled, LIMIT, rows[lane])
    width = rows.shape[1] // LANES
    block = np.empty(LANES * LANES, np.uint8)
    for at in range(width):
        for lane in range(LANES):
            store(block, lane, load(rows, lane * width + at))
        turn(block, spare)
        for i in range(min(LANES, len(places) - at * LANES)):
            value = load(spare, i)
            store(ratios, places[at * LANES + i], value)
            second = again[at * LANES + i]
            if second >= 0:
                store(ratios, second, value)
    return heard


@njit(cache=True, inline="always")
def _prior(ratios: Any, extrinsic: Any, at: Any, place: Any) -> Any:
    """What is known of a step's data bit from outside the component code."""
    return plus_wide(widen(load(ratios, at)), widen(load(extrinsic, place)))


@njit(cache=True)
def _run_forward(
    ratios: Any, base: int, order: I32, begin: int, end: int, extrinsic: Any, metrics: Any
) -> None:
    """Rows 1 … end − begin of metrics from row 0, which is of step `begin`."""
    for step in range(begin, end):
        at = base + OUTPUTS * step
        step_forward(
            metrics,
            step - begin,
            _prior(ratios, extrinsic, at, order[step]),
            widen(load(ratios, at + 1)),
            widen(load(ratios, at + 2)),
            widen(load(ratios, at + 3)),
        )


@njit(cache=True)
def _known_zero(metrics: Any) -> None:
    """Metrics int16 [≥ 1, 16, LANES] of the encoder's first and last state, in row 0."""
    metrics[0] = -CERTAIN
    metrics[0, 0] = 0


@njit(cache=True)
def _decode_component(
    ratios: Any,
    base: int,
    order: I32,
    extrinsic: Any,
    decided: U32,
    waiting: Any,
    metrics: Any,
    kept: Any,
    behind: Any,
) -> Any:
    """One component code, once.  The lanes of `waiting` that decide otherwise than before.

    base: vector of ratios at which this code's begin.  order: int32 [k + 4], data bit of each
    step.  extrinsic: int8 [k + 4, LANES], what the other code has told of each bit; gets what this
    one tells.  decided: uint32 [k], lanes whose bit is 1, of those of `waiting` brought up to date.
    metrics: int16 [WINDOW + 1, 16, LANES]; kept: int16 [windows, 16, LANES].
    """
    steps, k = len(order), len(decided)
    windows = (steps + WINDOW - 1) // WINDOW
    _known_zero(metrics)
    for window in range(windows):
        begin = window * WINDOW
        kept[window] = metrics[0]
        end = min(begin + WINDOW, steps)
        _run_forward(ratios, base, order, begin, end, extrinsic, metrics)
        if window + 1 < windows:
            metrics[0] = metrics[WINDOW]
    _known_zero(behind)
    changed = np.uint32(0)
    for window in range(windows - 1, -1, -1):
        begin = window * WINDOW
        end = min(begin + WINDOW, steps)
        if window + 1 < windows:
            metrics[0] = kept[window]
            _run_forward(ratios, base, order, begin, end, extrinsic, metrics)
        for step in range(end - 1, begin - 1, -1):
            at = base + OUTPUTS * step
            place = order[step]
            prior = _prior(ratios, extrinsic, at, place)
            ratio = step_back(
                behind,
                metrics,
                step - begin,
                prior,
                widen(load(ratios, at + 1)),
                widen(load(ratios, at + 2)),
                widen(load(ratios, at + 3)),
            )
            if step < k:
                store(extrinsic, place, narrow(minus_wide(ratio, prior)))
                bits = signs(narrow(ratio))
                changed |= bits ^ decided[place]
                decided[place] = (decided[place] & ~waiting) | (bits & waiting)
    return changed & waiting


@njit(cache=True)
def decode(
    symbols: F32,
    which: I64,
    mean: float,
    orders: I32,
    places: I32,
    again: I32,
    limit: int,
    data: U8,
    iterations: Any,
) -> None:
    """Decode the codewords `which` of symbols, float32 [n, m].

    mean: magnitude of the symbols after scaling.  orders: int32 [2, k + 4], data bit of each step.
    data: uint8 [n, k / 8]; iterations: int16 [n], −limit where
    the two codes did not decide alike three times running.
    """
    steps = orders.shape[1]
    k = steps - 4
    width = (len(places) + LANES - 1) // LANES
    rows = np.empty((LANES, width * LANES), np.int8)
    ratios = np.zeros((2 * steps * OUTPUTS, LANES), np.int8)
    extrinsic = np.empty((steps, LANES), np.int8)
    spare = np.empty(LANES * LANES, np.uint8)
    decided = np.empty(k, np.uint32)
    metrics = np.empty((WINDOW + 1, STATES, LANES), np.int16)
    kept = np.empty(((steps + WINDOW - 1) // WINDOW, STATES, LANES), np.int16)
    behind = np.empty((1, STATES, LANES), np.int16)
    octets = np.empty(LANES, np.uint8)
    for first in range(0, len(which), LANES):
        group = which[first : first + LANES]
        waiting = _fill(symbols, group, mean, places, again, rows, ratios, spare)
        extrinsic[:] = 0
        decided[:] = 0
        for lane in range(len(group)):
            iterations[group[lane]] = -limit
        doubted = waiting
        for half in range(2 * limit):
            encoder = half % 2
            changed = _decode_component(
                ratios, encoder * steps * OUTPUTS, orders[encoder], extrinsic, decided, waiting,
                metrics, kept, behind,
            )  # fmt: skip
            settled = waiting & ~(changed | doubted)
            for lane in range(len(group)):
                if settled & (np.uint32(1) << np.uint32(lane)):
                    iterations[group[lane]] = half // 2 + 1
            waiting &= ~settled
            if waiting == 0:
                break
            # Once is not enough: of 1,000 wrong codewords some three, with a wrong bit or two, are
            # agreed on once, and go on to be corrected.
            doubted = changed if half > 0 else waiting
        for octet in range(k // 8):
            packed = splat(0)
            for i in range(8 * octet, 8 * octet + 8):
                packed = minus(plus(packed, packed), spread(decided[i]))
            store(octets, 0, packed)
            for lane in range(len(group)):
                data[group[lane], octet] = octets[lane]
