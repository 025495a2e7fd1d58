"""Compiled inner loops of the Viterbi decoder: 32 segments of a stream side by side in lanes.

Metrics are costs: the sum of the magnitudes of symbols that
contradict the path.  They wrap modulo 256 or 65,536 and are never normalised: no state's metric can
exceed another's by more than the weight of the cheapest way between them, 8 symbols of at most the
limit, and 10 · LIMIT < 128 leaves room for one more branch (Hekstra, IEEE Trans. Comm. 37, 1989).
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
    count_ones,
    greater,
    load,
    minus,
    plus,
    signs,
    splat,
    spread,
    store,
)
from protocols.coding.soft_symbols import mean_magnitude, turn
from protocols.coding.trellis import best_state, step_back, step_forward

U8 = npt.NDArray[np.uint8]
U32 = npt.NDArray[np.uint32]
I64 = npt.NDArray[np.int64]
F32 = npt.NDArray[np.float32]

#: Magnitude of the strongest soft symbol with metrics of 8 bits: 25 levels.
LIMIT: Final = 12
#: With metrics of 16 bits: 127 levels.
FINE_LIMIT: Final = 63
#: Negative symbols of magnitude m are kept as this − m, so that 0 keeps its sign too.
_NEGATIVE: Final = -64
#: Steps between two transpositions: 32 symbols of each lane.
BLOCK: Final = 16


@njit(cache=True)
def _quantise(symbols: F32, gain: Any, limit: int, out: Any) -> None:
    """Symbols as octets of magnitude up to limit; NaN becomes +0."""
    gain = np.float32(gain)
    top = np.float32(limit)
    half = np.float32(0.5)
    zero = np.float32(0)
    for i in range(len(symbols)):
        scaled = symbols[i] * gain
        magnitude = abs(scaled) + half
        magnitude = magnitude if magnitude < top + half else top + half
        magnitude = magnitude if scaled == scaled else zero
        level = np.int32(magnitude)
        out[i] = np.int8(np.int32(_NEGATIVE) - level if scaled < zero else level)


@njit(cache=True)
def fill(
    symbols: F32,
    first: I64,
    mean: float,
    limit: int,
    kept: Any,
    whole: bool,
    steps: int,
    rows: Any,
    room: Any,
) -> None:
    """Soft symbols of each lane's segment, scaled by their own mean, as octets.

    symbols: float32, what has been received; first: int64 [lanes], index of the lane's first
    symbol, negative where the stream has not begun.  mean: magnitude wanted, limit: the greatest.
    kept: uint8 [m], which of the encoder's symbols are sent, beginning at the segment's first
    step; whole: all are.
    rows: int8 [LANES, ≥ 2 · steps] gets two symbols a step, 0 where none was sent or received.
    room: int8 [≥ 2 · steps].
    """
    sent = 0
    if whole:
        sent = 2 * steps
    else:
        period = len(kept)
        for i in range(2 * steps):
            sent += kept[i % period]
    for lane in range(LANES):
        row = rows[lane]
        row[:] = 0
        if lane >= len(first):
            continue
        begin = max(first[lane], 0)
        end = min(first[lane] + sent, len(symbols))
        if end <= begin:
            continue
        part = symbols[begin:end]
        unscaled = mean_magnitude(part)
        gain = mean / unscaled if unscaled > 0 else 0.0
        lead = begin - first[lane]
        if whole:
            _quantise(part, gain, limit, row[lead:])
        else:
            _quantise(part, gain, limit, room)
            at = 0
            j = 0
            for i in range(2 * steps):
                if kept[j]:
                    if at >= lead and at - lead < len(part):
                        row[i] = room[at - lead]
                    at += 1
                j += 1
                if j == len(kept):
                    j = 0


@njit(cache=True)
def search(
    rows: Any,
    warm_up: int,
    steps: int,
    swapped: bool,
    g1_inverted: bool,
    g2_inverted: bool,
    metrics: Any,
    spare: Any,
    rows_of_block: U8,
    turned: U8,
    decisions: U32,
    hard: U32,
    ends: U32,
) -> None:
    """Add, compare, select over all steps (a multiple of BLOCK) of 32 lanes.

    rows: int8 [LANES, 2 · steps] of `fill`.  swapped: the symbol of G2 comes first.
    metrics, spare: uint8 or int16 [64 · LANES]; rows_of_block, turned: uint8 [LANES · LANES].
    decisions: uint32 [steps − warm_up, 64] is for `step_back`.  hard: uint32 [steps, 2] gets the
    lanes whose symbols are negative, ends: uint32 [6] the bits of the best state.
    """
    metrics[:] = 0
    row_vectors = rows.shape[1] // LANES
    for block in range(steps // BLOCK):
        for lane in range(LANES):
            store(rows_of_block, lane, load(rows, lane * row_vectors + block))
        turn(rows_of_block, turned)
        for step in range(BLOCK):
            t = block * BLOCK + step
            first, second = load(turned, 2 * step), load(turned, 2 * step + 1)
            hard[t, 0], hard[t, 1] = signs(first), signs(second)
            zero, offset = splat(0), splat(_NEGATIVE)
            # What it costs to say that the symbol was a 0 (sent as positive) or a 1.
            first_1, first_0 = greater(first, zero), greater(minus(offset, first), zero)
            second_1, second_0 = greater(second, zero), greater(minus(offset, second), zero)
            if swapped:
                first_0, first_1, second_0, second_1 = second_0, second_1, first_0, first_1
            if g1_inverted:
                first_0, first_1 = first_1, first_0
            if g2_inverted:
                second_0, second_1 = second_1, second_0
            # Decisions of the warm-up are overwritten.
            row = max(t - warm_up, 0)
            a, b = plus(first_0, second_0), plus(first_0, second_1)
            c, d = plus(first_1, second_0), plus(first_1, second_1)
            if step % 2 == 0:
                step_forward(metrics, spare, decisions, row, a, b, c, d)
            else:
                step_forward(spare, metrics, decisions, row, a, b, c, d)
    index = best_state(metrics)
    for bit in range(6):
        shifted = index
        for _ in range(7 - bit):
            shifted = plus(shifted, shifted)
        ends[bit] = signs(shifted)


@njit(cache=True)
def trace_back(decisions: U32, steps: int, wanted: int, ends: U32, bits: U32) -> None:
    """Follow the decisions back over `steps`; the first `wanted` bits, and the six before them.

    bits: uint32 [6 + wanted] gets the lanes whose bit is 1.
    """
    a, b, c = ends[0], ends[1], ends[2]
    d, e, f = ends[3], ends[4], ends[5]
    for t in range(steps - 1, -1, -1):
        if t < wanted:
            bits[6 + t] = a
        a, b, c, d, e, f = b, c, d, e, f, step_back(decisions, t, a, b, c, d, e, f)
    bits[5], bits[4], bits[3], bits[2], bits[1], bits[0] = a, b, c, d, e, f


@njit(cache=True)
def pack(
    bits: U32,
    hard: U32,
    kept: Any,
    swapped: bool,
    g1_inverted: bool,
    g2_inverted: bool,
    count: I64,
    room: U8,
    out: Any,
) -> int:
    """Bits of lanes into octets of segments; how many hard decisions the encoder contradicts.

    bits: of `trace_back`; hard: uint32 [≥ wanted, 2], of the same steps.  kept: as in `fill`, from
    the first wanted step.  swapped: the symbol of G2 comes first.
    count: int64 [lanes], bits wanted of each lane.
    out: uint8 [lanes, wanted / 8].
    """
    lanes = len(count)
    wanted = len(bits) - 6
    every = np.uint32(0)
    shortest = wanted
    for lane in range(lanes):
        every |= np.uint32(1) << np.uint32(lane)
        shortest = min(shortest, count[lane])
    errors = 0
    ones = np.uint32(0xFFFFFFFF)
    for octet in range(wanted // 8):
        packed = splat(0)
        for t in range(8 * octet, 8 * octet + 8):
            now = bits[t + 6]
            packed = minus(plus(packed, packed), spread(now))
            valid = every
            if t >= shortest:
                valid = np.uint32(0)
                for lane in range(lanes):
                    if t < count[lane]:
                        valid |= np.uint32(1) << np.uint32(lane)
            # 171 and 133 octal: taps 0 1 2 3 6 and 0 2 3 5 6.
            common = now ^ bits[t + 4] ^ bits[t + 3] ^ bits[t]
            g1, g2 = common ^ bits[t + 5], common ^ bits[t + 1]
            if g1_inverted:
                g1 ^= ones
            if g2_inverted:
                g2 ^= ones
            one, two = (g2, g1) if swapped else (g1, g2)
            at = 2 * t % len(kept)
            if kept[at]:
                errors += count_ones((one ^ hard[t, 0]) & valid)
            if kept[at + 1]:
                errors += count_ones((two ^ hard[t, 1]) & valid)
        store(room, 0, packed)
        for lane in range(lanes):
            out[lane, octet] = room[lane]
    return errors


def workspace(
    warm_up: int, segment: int, steps: int, *, fine: bool = False
) -> tuple[npt.NDArray[Any], ...]:
    """Memory of `decode`, kept from call to call: to get it anew takes as long as a small call.

    fine: metrics are of 16 bits.
    """
    return (
        np.empty((LANES, 2 * steps), np.int8),
        np.empty(2 * steps, np.int8),
        np.empty((2, 64 * LANES), np.int16 if fine else np.uint8),
        np.empty((3, LANES * LANES), np.uint8),
        np.empty((steps - warm_up, 64), np.uint32),
        np.empty((steps, 2), np.uint32),
        np.empty(6, np.uint32),
        np.empty(6 + segment, np.uint32),
    )


@njit(cache=True)
def decode(
    symbols: F32,
    first: int,
    stride: int,
    bits: int,
    mean: float,
    limit: int,
    kept: Any,
    warm_up: int,
    segment: int,
    steps: int,
    swapped: bool,
    g1_inverted: bool,
    g2_inverted: bool,
    work: Any,
    out: Any,
) -> int:
    """Decode the segments of out, uint8 [n, segment / 8]; give the count of symbol errors.

    symbols: float32; first: index in it of the first segment's first symbol, before the warm-up,
    negative where the stream has not begun; stride: symbols of a segment.  bits: wanted in all.
    mean, limit, kept: as in `fill`.  warm_up, segment, steps: bits of a segment's window.
    work: `workspace` of the last three.
    """
    rows, room, metrics, octets, decisions, hard, ends, decoded = work
    whole = len(kept) == 2
    errors = 0
    for done in range(0, len(out), LANES):
        lanes = min(LANES, len(out) - done)
        starts = first + stride * np.arange(done, done + lanes)
        wanted = np.minimum(bits - segment * np.arange(done, done + lanes), segment)
        fill(symbols, starts, mean, limit, kept, whole, steps, rows, room)
        search(
            rows, warm_up, steps, swapped, g1_inverted, g2_inverted,
            metrics[0], metrics[1], octets[0], octets[1], decisions, hard, ends,
        )  # fmt: skip
        trace_back(decisions, steps - warm_up, segment, ends, decoded)
        errors += pack(
            decoded, hard[warm_up:], kept, swapped, g1_inverted, g2_inverted, wanted, octets[2],
            out[done : done + lanes],
        )  # fmt: skip
    return errors
