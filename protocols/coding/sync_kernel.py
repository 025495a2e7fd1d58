"""Compiled inner loop of the frame synchroniser; sync.py says what it does and why."""

# numba ships no types: the arguments say here what they are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]


class State(IntEnum):
    SEARCH = 0
    VERIFY = 1
    LOCK = 2
    FLYWHEEL = 3


class Event(IntEnum):
    MARKER = 0
    NO_MARKER = 1
    EXHAUSTED = 2


class Field(IntEnum):
    """Places in the state array; positions count bits from the beginning of the stream."""

    STATE = 0
    #: First position not yet searched.
    CURSOR = 1
    #: Marker of the candidate, or the last one seen.
    ANCHOR = 2
    ANCHOR_ERRORS = 3
    ANCHOR_INVERTED = 4
    #: The anchor's frame has been given out.
    EMITTED = 5
    #: Markers missed since the anchor.
    MISSES = 6
    #: End of the last frame given out.
    COVERED = 7


class Count(IntEnum):
    """Places in the array of counts."""

    FRAMES = 0
    MARKER_ERRORS = 1
    INVERTED_FRAMES = 2
    UNVERIFIED_FRAMES = 3
    FLYWHEEL_FRAMES = 4
    LOCKS = 5
    LOCKS_LOST = 6
    POLARITY_CHANGES = 7
    CANDIDATES_REJECTED = 8
    SKIPPED_BITS = 9


_SEARCH, _VERIFY, _LOCK, _FLYWHEEL = (int(state) for state in State)
_MARKER, _NO_MARKER, _EXHAUSTED = (int(event) for event in Event)
(_STATE, _CURSOR, _ANCHOR, _ERRORS, _INVERTED, _EMITTED, _MISSES, _COVERED) = (
    int(field) for field in Field
)
_N_FRAMES, _N_ERRORS, _N_INVERTED, _N_UNVERIFIED, _N_FLYWHEEL = (int(c) for c in list(Count)[:5])
_N_LOCKS, _N_LOST, _N_POLARITY, _N_REJECTED, _N_SKIPPED = (int(c) for c in list(Count)[5:])


def _count_bits(typing_context: Any, value: Any) -> Any:
    """Bits set in a uint64: one instruction, which no NumPy function that Numba knows gives."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


_popcount: Any = intrinsic(_count_bits)


@njit(cache=True, nogil=True)
def _distance(octets: U8, bit: int, marker: U64, marker_bits: int) -> int:
    """Bits in which the stream at `bit` differs from the marker (64 bits a word, left-aligned)."""
    errors = 0
    byte, shift = bit >> 3, np.uint64(bit & 7)
    done = 0
    for w in range(len(marker)):
        count = min(64, marker_bits - done)
        value = np.uint64(0)
        for k in range((count + 7) >> 3):
            value |= np.uint64(octets[byte + 8 * w + k]) << np.uint64(56 - 8 * k)
        if shift:
            value <<= shift
            # The last bits of the word lie in one octet more.
            last = (count + 7) >> 3
            spill = np.uint64(octets[byte + 8 * w + last]) >> (np.uint64(8) - shift)
            value |= spill << np.uint64(64 - 8 * last)
        mask = np.uint64(0xFFFFFFFFFFFFFFFF) << np.uint64(64 - count)
        errors += _popcount((value ^ marker[w]) & mask)
        done += count
    return errors


@njit(cache=True, nogil=True)
def _find(
    octets: U8,
    begin: int,
    end: int,
    step: int,
    marker: U64,
    marker_bits: int,
    tolerance: int,
    inverted: bool,
) -> int:
    """First bit position in begin..end − 1 at which the marker stands, or −1.

    Every position below `end` must have the whole marker within `octets`.
    """
    count = min(64, marker_bits)
    drop = np.uint64(64 - count)
    wanted = marker[0] >> drop
    size = len(octets)
    byte = begin >> 3
    first = begin & 7
    value = np.uint64(0)
    for k in range(8):
        octet = octets[byte + k] if byte + k < size else np.uint8(0)
        value = (value << np.uint64(8)) | np.uint64(octet)
    # Below `tolerance` errors, or above `limit`: one comparison of unsigned numbers.
    limit = np.uint64(count - tolerance if inverted else count + 1)
    tolerated = np.uint64(tolerance)
    while 8 * byte + first < end:
        following = np.uint64(octets[byte + 8]) if byte + 8 < size else np.uint64(0)
        hits = 0
        if step == 8:
            errors = np.uint64(_popcount((value >> drop) ^ wanted))
            hits = int((errors <= tolerated) | (errors >= limit))
        else:
            # All eight at once and without a branch: this loop decides the speed of a search.
            for shift in range(8):
                s = np.uint64(shift)
                window = ((value << s) | (following >> (np.uint64(8) - s))) >> drop
                errors = np.uint64(_popcount(window ^ wanted))
                hits |= int((errors <= tolerated) | (errors >= limit)) << shift
        if hits:
            for shift in range(first, 8):
                bit = 8 * byte + shift
                if bit >= end:
                    return -1
                if (hits >> shift) & 1:
                    distance = _distance(octets, bit, marker, marker_bits)
                    if distance <= tolerance or (inverted and distance >= marker_bits - tolerance):
                        return bit
        first = 0
        value = (value << np.uint64(8)) | following
        byte += 1
    return -1


@njit(cache=True, nogil=True)
def _take(octets: U8, bit: int, inverted: bool, row: U8) -> None:
    """Octets from bit position `bit` on, upright, into `row`."""
    shift = bit & 7
    source = octets[bit >> 3 :]
    flip = np.uint8(0xFF if inverted else 0)
    if shift == 0:
        if inverted:
            for j in range(len(row)):
                row[j] = source[j] ^ flip
        else:
            for j in range(len(row)):
                row[j] = source[j]
        return
    left, right = np.uint8(shift), np.uint8(8 - shift)
    following = source[1:]
    for j in range(len(row)):
        row[j] = np.uint8((source[j] << left) | (following[j] >> right)) ^ flip


@njit(cache=True, nogil=True)
def synchronise(
    octets: U8,
    base: int,
    final: bool,
    marker: U64,
    settings: I64,
    transitions: I64,
    state: I64,
    counts: I64,
    frames: U8,
    about: I64,
    filled: int,
) -> int:
    """Go on from `state` as far as `octets` allow; the new number of filled rows.

    octets: stream from bit `base` on; final: no more will come.  marker: 64 bits a word,
    left-aligned.  settings: marker bits, step of the search in bits, tolerance, flywheel, inverted.
    frames, about: rows to fill; about [rows, 3] is position, marker errors, inverted.
    Returns early, to be called again, when fewer than flywheel + 1 rows are free.
    """
    marker_bits, step, tolerance, flywheel = settings[0], settings[1], settings[2], settings[3]
    inverted = settings[4] != 0
    available = base + 8 * len(octets)
    period = marker_bits + 8 * frames.shape[1]
    # A marker with more errors than the tolerance may still be told from chance (32 bits: 8 errors
    # by chance in 0.35 %): decides about frames at the very end, where no later marker can.
    plausible = marker_bits // 4

    while filled + flywheel + 1 <= len(frames):
        now = state[_STATE]
        anchor = state[_ANCHOR]

        if now == _SEARCH:
            end = available - marker_bits + 1
            if state[_CURSOR] >= end:
                return filled
            found = _find(
                octets,
                state[_CURSOR] - base,
                end - base,
                step,
                marker,
                marker_bits,
                tolerance,
                inverted,
            )
            if found < 0:
                state[_CURSOR] = (end + step - 1) // step * step
                return filled
            distance = _distance(octets, found, marker, marker_bits)
            state[_ANCHOR] = base + found
            state[_INVERTED] = int(2 * distance > marker_bits)
            state[_ERRORS] = min(distance, marker_bits - distance)
            state[_STATE] = transitions[now, _MARKER]
            continue

        misses = state[_MISSES] if now == _FLYWHEEL else 0
        expected = anchor + (misses + 1) * period

        if now == _LOCK and not state[_EMITTED]:
            if expected > available:
                return filled
            _emit(octets, base, anchor, state[_ERRORS], state[_INVERTED], period, state, counts,
                  frames, about, filled)  # fmt: skip
            filled += 1
            state[_EMITTED] = 1

        if expected + marker_bits > available:
            if not final:
                return filled
            if now == _LOCK or anchor + period > available:
                return filled
            if now == _VERIFY:
                # Unconfirmed, but complete.  A later exact marker with a complete frame is better.
                limit = available - period + 1
                better = -1
                if state[_ERRORS] > 0 and anchor + step < limit:
                    better = _find(
                        octets,
                        anchor + step - base,
                        limit - base,
                        step,
                        marker,
                        marker_bits,
                        0,
                        inverted,
                    )
                if better >= 0:
                    counts[_N_REJECTED] += 1
                    state[_CURSOR] = base + better
                else:
                    _emit(octets, base, anchor, state[_ERRORS], state[_INVERTED], period, state,
                          counts, frames, about, filled)  # fmt: skip
                    filled += 1
                    counts[_N_UNVERIFIED] += 1
                    state[_CURSOR] = expected
                state[_STATE] = transitions[now, _NO_MARKER]
                continue
            taken = 0
            for m in range(1, misses + 1):
                at = anchor + m * period
                if at + period > available:
                    break
                distance = _distance(octets, at - base, marker, marker_bits)
                turned = inverted and 2 * distance > marker_bits
                near = marker_bits - distance if turned else distance
                if near > plausible:
                    break
                _emit(octets, base, at, near, int(turned), period, state, counts,
                      frames, about, filled)  # fmt: skip
                filled += 1
                taken += 1
                counts[_N_FLYWHEEL] += 1
            if taken == 0:
                counts[_N_LOST] += 1
                state[_CURSOR] = anchor + marker_bits
            else:
                state[_CURSOR] = anchor + (taken + 1) * period
            state[_STATE] = transitions[now, _EXHAUSTED]
            continue

        distance = _distance(octets, expected - base, marker, marker_bits)
        turned = int(inverted and distance >= marker_bits - tolerance)
        hit = distance <= tolerance or turned == 1

        if now == _VERIFY:
            if hit and turned == state[_INVERTED]:
                _emit(octets, base, anchor, state[_ERRORS], state[_INVERTED], period, state, counts,
                      frames, about, filled)  # fmt: skip
                filled += 1
                counts[_N_LOCKS] += 1
                state[_ANCHOR] = expected
                state[_ERRORS] = marker_bits - distance if turned else distance
                state[_EMITTED] = 0
                state[_STATE] = transitions[now, _MARKER]
                continue
            state[_CURSOR] = anchor + step
            if state[_ERRORS] == 0:
                # An exact marker is hardly chance: its frame counts, unless another exact marker
                # within shows that part of it is missing.
                within = _find(
                    octets,
                    anchor + step - base,
                    expected - base,
                    step,
                    marker,
                    marker_bits,
                    0,
                    inverted,
                )
                if within < 0:
                    _emit(octets, base, anchor, state[_ERRORS], state[_INVERTED], period, state,
                          counts, frames, about, filled)  # fmt: skip
                    filled += 1
                    counts[_N_UNVERIFIED] += 1
                    state[_CURSOR] = expected
                else:
                    counts[_N_REJECTED] += 1
                    state[_CURSOR] = base + within
            else:
                counts[_N_REJECTED] += 1
            state[_STATE] = transitions[now, _NO_MARKER]
            continue

        if hit:
            for m in range(1, misses + 1):
                at = anchor + m * period
                own = _distance(octets, at - base, marker, marker_bits)
                # Between markers of one polarity that polarity holds; else the nearer one.
                way = turned
                if turned != state[_INVERTED]:
                    way = int(2 * own > marker_bits)
                own = marker_bits - own if way else own
                _emit(octets, base, at, own, way, period, state, counts,
                      frames, about, filled)  # fmt: skip
                filled += 1
                counts[_N_FLYWHEEL] += 1
            if turned != state[_INVERTED]:
                counts[_N_POLARITY] += 1
            state[_ANCHOR] = expected
            state[_ERRORS] = marker_bits - distance if turned else distance
            state[_INVERTED] = turned
            state[_EMITTED] = 0
            state[_STATE] = transitions[now, _MARKER]
        elif misses + 1 > flywheel:
            # The slip may lie in the frame after the last marker seen: search from there.
            counts[_N_LOST] += 1
            state[_CURSOR] = anchor + marker_bits
            state[_STATE] = transitions[now, _EXHAUSTED]
        else:
            state[_MISSES] = misses + 1
            state[_STATE] = transitions[now, _NO_MARKER]
    return filled


@njit(cache=True, nogil=True)
def _emit(
    octets: U8,
    base: int,
    at: int,
    marker_errors: int,
    turned: int,
    period: int,
    state: I64,
    counts: I64,
    frames: U8,
    about: I64,
    row: int,
) -> None:
    """The frame whose marker stands at `at` into the next row, and all that is counted with it."""
    begin = at + period - 8 * frames.shape[1] - base
    _take(octets, begin, turned != 0, frames[row])
    about[row, 0] = at
    about[row, 1] = marker_errors
    about[row, 2] = turned
    counts[_N_FRAMES] += 1
    counts[_N_ERRORS] += marker_errors
    counts[_N_INVERTED] += turned
    counts[_N_SKIPPED] += max(0, at - state[_COVERED])
    state[_COVERED] = max(state[_COVERED], at + period)
