"""Loops over octets that NumPy cannot say: classify packets, gather fields, scatter fields.

Every kernel has one signature, so each compiles once.  Field tables are int64 [k, 6] with the
columns named below; values wider than a field's width are cut, bits are counted from the most
significant bit of the octet at `base` (CCSDS bit 0).
"""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np
from numba import int64, njit, uint8, uint16, uint32, uint64

#: Columns of a field table: bit offset, width, little-endian, signed, octets of the column's
#: type, row in the output matrix of that type.
BIT, WIDTH, LITTLE, SIGNED, SIZE, ROW = range(6)
#: Columns of a condition table, after BIT, WIDTH, LITTLE, SIGNED: operator code and value.
OPERATOR, VALUE = 4, 5

#: Packets in one pass over a field table: their octets stay in the cache for all fields.
BLOCK = 2048


@njit(cache=True, inline="always")
def _bits(octets: Any, start: int, bit: int, width: int) -> Any:
    """`width` ≤ 64 bits from `bit` bits after octet `start`, most significant first."""
    first = uint64(start) + uint64(bit >> 3)
    skip = bit & 7
    last = first + uint64((skip + width - 1) >> 3)
    over = 7 - ((skip + width - 1) & 7)
    value = uint64(octets[first] & (0xFF >> skip))
    if last == first:
        return value >> uint64(over)
    for at in range(first + uint64(1), last):
        value = (value << uint64(8)) | uint64(octets[at])
    return (value << uint64(8 - over)) | uint64(octets[last] >> over)


@njit(cache=True, inline="always")
def _load16(octets: Any, p: Any) -> Any:
    return (uint16(octets[p]) << uint16(8)) | uint16(octets[p + uint64(1)])


@njit(cache=True, inline="always")
def _load32(octets: Any, p: Any) -> Any:
    return (
        (uint32(octets[p]) << uint32(24))
        | (uint32(octets[p + uint64(1)]) << uint32(16))
        | (uint32(octets[p + uint64(2)]) << uint32(8))
        | uint32(octets[p + uint64(3)])
    )


@njit(cache=True, inline="always")
def _load64(octets: Any, p: Any) -> Any:
    upper = uint64(_load32(octets, p))
    return (upper << uint64(32)) | uint64(_load32(octets, p + uint64(4)))


@njit(cache=True, inline="always")
def _load32_little(octets: Any, p: Any) -> Any:
    return (
        uint32(octets[p])
        | (uint32(octets[p + uint64(1)]) << uint32(8))
        | (uint32(octets[p + uint64(2)]) << uint32(16))
        | (uint32(octets[p + uint64(3)]) << uint32(24))
    )


@njit(cache=True, inline="always")
def _swap(value: Any, size: int) -> Any:
    swapped = uint64(0)
    for _ in range(size):
        swapped = (swapped << uint64(8)) | (value & uint64(0xFF))
        value = value >> uint64(8)
    return swapped


@njit(cache=True, inline="always")
def _field(octets: Any, start: int, bit: int, width: int, little: int, signed: int) -> Any:
    """A field as 64 bits, sign extended if signed."""
    value = _bits(octets, start, bit, width)
    if little:
        value = _swap(value, width >> 3)
    if signed and width < 64 and (value >> uint64(width - 1)) & uint64(1):
        value = value | (~uint64(0) << uint64(width))
    return value


@njit(cache=True)
def _matches(octets: Any, start: Any, conditions: Any, first: int, last: int) -> bool:
    for k in range(first, last):
        signed = conditions[k, SIGNED]
        value = _field(
            octets, start, conditions[k, BIT], conditions[k, WIDTH], conditions[k, LITTLE], signed
        )
        wanted = uint64(conditions[k, VALUE])
        if signed:
            # Shifts the order of two's complement onto that of unsigned numbers.
            value = value ^ (uint64(1) << uint64(63))
            wanted = wanted ^ (uint64(1) << uint64(63))
        code = conditions[k, OPERATOR]
        if code == 0:
            passed = value == wanted
        elif code == 1:
            passed = value != wanted
        elif code == 2:
            passed = value < wanted
        elif code == 3:
            passed = value <= wanted
        elif code == 4:
            passed = value > wanted
        else:
            passed = value >= wanted
        if not passed:
            return False
    return True


@njit(cache=True)
def classify(
    octets: Any,
    offsets: Any,
    low: int,
    high: int,
    candidate_start: Any,
    candidates: Any,
    condition_start: Any,
    conditions: Any,
    condition_octets: Any,
    shortest: Any,
    exact: Any,
    header_tests: Any,
    which: Any,
    counts: Any,
) -> None:
    """Find the definition of packets low … high.

    which: int32 [n], set to the definition, −1 if none, −2 − definition if its length is wrong;
    counts: int64 [definitions], packets of each that fit are added.
    candidate_start: int64 [2049], candidates of APID a are candidates[start[a]:start[a + 1]].
    header_tests: uint64 [definitions, 2], mask and wanted value of the primary header's 48 bits:
    all conditions that ask for equality there, in one comparison.
    """
    for i in range(low, high):
        start = uint64(offsets[i])
        size = offsets[i + 1] - offsets[i]
        found = -1
        if size >= 7:
            header = (uint64(_load32(octets, start)) << uint64(16)) | uint64(
                _load16(octets, start + uint64(4))
            )
            apid = int64((header >> uint64(32)) & uint64(0x7FF))
            said = int64(header & uint64(0xFFFF)) + 7
            for c in range(candidate_start[apid], candidate_start[apid + 1]):
                d = candidates[c]
                if size < condition_octets[d]:
                    # Too short to tell from its siblings: its own only if it has none.
                    if candidate_start[apid + 1] - candidate_start[apid] == 1:
                        found = -2 - d
                    continue
                if (header & header_tests[d, 0]) != header_tests[d, 1]:
                    continue
                first, last = condition_start[d], condition_start[d + 1]
                if first == last or _matches(octets, start, conditions, first, last):
                    found = d
                    if size != said or size < shortest[d] or (exact[d] and size != shortest[d]):
                        found = -2 - d
                    break
        which[i] = found
        if found >= 0:
            counts[found] += 1


@njit(cache=True)
def group(which: Any, place: Any, order: Any) -> None:
    """Packets of each definition together, each in the batch's order; those of none are left out.

    which: int32 [n], as `classify` sets it; place: int64 [definitions], where each begins in
    `order` int64 [n], moved along.
    """
    for i in range(len(which)):
        d = which[i]
        if d >= 0:
            order[place[d]] = i
            place[d] += 1


@njit(cache=True, inline="always")
def _extend(value: Any, width: int, signed: int) -> Any:
    """Two's complement of `width` bits carried on to 64."""
    sign = uint64(signed) << uint64(width - 1)
    return (value ^ sign) - sign


@njit(cache=True, inline="always")
def _gather_block(
    octets: Any,
    base: Any,
    low: Any,
    high: Any,
    lead: int,
    table: Any,
    o1: Any,
    o2: Any,
    o4: Any,
    o8: Any,
) -> None:
    # Indices are unsigned: Numba then leaves out the wrap-around of negative ones, and LLVM joins
    # the loads of a field's octets into one.
    for f in range(len(table)):
        bit, width, little = table[f, BIT], table[f, WIDTH], table[f, LITTLE]
        row, size, signed = table[f, ROW], table[f, SIZE], table[f, SIGNED]
        at = uint64(bit >> 3)
        aligned = (bit & 7) == 0 and width == 8 * size
        # The window of 4 or 8 octets that ends with the field; `lead` keeps it inside `octets`.
        end = uint64((bit + width + 7) >> 3)
        over = uint64((8 - ((bit + width) & 7)) & 7)
        span = (((bit & 7) + width) + 7) >> 3
        mask = (~uint64(0)) >> uint64(64 - width)
        four = not little and span <= 4 and lead + end >= 4
        eight = not little and span <= 8 and lead + end >= 8
        if size == 1 and aligned:
            for i in range(low, high):
                o1[row, i] = octets[uint64(base[i]) + at]
        elif size == 1 and span == 1:
            for i in range(low, high):
                value = (uint64(octets[uint64(base[i]) + at]) >> over) & mask
                o1[row, i] = uint8(_extend(value, width, signed))
        elif size == 2 and span == 2 and not little:
            for i in range(low, high):
                value = (uint64(_load16(octets, uint64(base[i]) + at)) >> over) & mask
                o2[row, i] = uint16(_extend(value, width, signed))
        elif size == 4 and aligned and not little:
            for i in range(low, high):
                o4[row, i] = _load32(octets, uint64(base[i]) + at)
        elif size == 2 and four:
            for i in range(low, high):
                window = uint64(_load32(octets, uint64(base[i]) + end - uint64(4)))
                o2[row, i] = uint16(_extend((window >> over) & mask, width, signed))
        elif size == 4 and eight:
            for i in range(low, high):
                window = _load64(octets, uint64(base[i]) + end - uint64(8))
                o4[row, i] = uint32(_extend((window >> over) & mask, width, signed))
        elif size == 8 and eight:
            for i in range(low, high):
                window = _load64(octets, uint64(base[i]) + end - uint64(8))
                o8[row, i] = _extend((window >> over) & mask, width, signed)
        elif size == 4 and aligned:
            for i in range(low, high):
                o4[row, i] = _load32_little(octets, uint64(base[i]) + at)
        else:
            for i in range(low, high):
                value = _field(octets, base[i], bit, width, little, signed)
                if size == 1:
                    o1[row, i] = uint8(value)
                elif size == 2:
                    o2[row, i] = uint16(value)
                elif size == 4:
                    o4[row, i] = uint32(value)
                else:
                    o8[row, i] = value


@njit(cache=True)
def gather(
    octets: Any,
    base: Any,
    n: int,
    lead: int,
    wanted: int,
    candidate_start: Any,
    candidates: Any,
    condition_start: Any,
    conditions: Any,
    condition_octets: Any,
    shortest: Any,
    exact: Any,
    header_tests: Any,
    which: Any,
    counts: Any,
    table: Any,
    o1: Any,
    o2: Any,
    o4: Any,
    o8: Any,
) -> bool:
    """Each field of `table` from each packet at octet `base[i]` into its row of o1, o2, o4 or o8.

    lead: octets that exist before every base; o1 … o8: uint8, uint16, uint32, uint64 [rows, n]:
    floats and signed values as their bits.

    wanted −1: the caller has checked that every field lies within `octets`.  Else `base` are the
    offsets of a batch [n + 1], and each block is classified first: False at the first packet that
    is not of definition `wanted`.  Reading the octets once from memory rather than twice is worth
    a quarter of the time.
    """
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        if wanted >= 0:
            classify(
                octets,
                base,
                low,
                high,
                candidate_start,
                candidates,
                condition_start,
                conditions,
                condition_octets,
                shortest,
                exact,
                header_tests,
                which,
                counts,
            )
            if counts[wanted] != high:
                return False
        _gather_block(octets, base, uint64(low), uint64(high), lead, table, o1, o2, o4, o8)
    return True


@njit(cache=True)
def gather_octets(octets: Any, base: Any, bit: int, out: Any) -> None:
    """`out.shape[1]` octets from `bit` bits after each base, on any bit; out: uint8 [n, size]."""
    at, skip = bit >> 3, bit & 7
    for i in range(len(base)):
        p = base[i] + at
        for k in range(out.shape[1]):
            if skip == 0:
                out[i, k] = octets[p + k]
            else:
                out[i, k] = uint8((octets[p + k] << skip) | (octets[p + k + 1] >> (8 - skip)))


@njit(cache=True)
def spread(start: Any, count: Any, size: int, base: Any) -> None:
    """Octet of each element: start[i], start[i] + size, … count[i] of them, packet by packet."""
    k = uint64(0)
    for i in range(len(start)):
        p = start[i]
        for _ in range(count[i]):
            base[k] = p
            p += size
            k += uint64(1)


@njit(cache=True)
def copy_runs(octets: Any, start: Any, count: Any, out: Any) -> None:
    """Octets start[i] … start[i] + count[i], concatenated into `out`."""
    k = uint64(0)
    for i in range(len(start)):
        p = uint64(start[i])
        size = uint64(count[i])
        for j in range(size):
            out[k + j] = octets[p + j]
        k += size


@njit(cache=True)
def place_runs(octets: Any, start: Any, count: Any, values: Any) -> None:
    """The inverse of `copy_runs`."""
    k = uint64(0)
    for i in range(len(start)):
        p = uint64(start[i])
        size = uint64(count[i])
        for j in range(size):
            octets[p + j] = values[k + j]
        k += size


@njit(cache=True)
def scatter(octets: Any, base: Any, table: Any, values: Any) -> None:
    """Write fields into zeroed packets: the inverse of `gather`; values uint64 [fields, n]."""
    n = len(base)
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        for f in range(len(table)):
            bit, width, little = table[f, BIT], table[f, WIDTH], table[f, LITTLE]
            if (bit & 7) == 0 and (width & 7) == 0 and not little:
                octet_count = uint64(width >> 3)
                first = uint64(bit >> 3)
                for i in range(low, high):
                    value = values[f, i]
                    p = uint64(base[i]) + first
                    for k in range(octet_count, uint64(0), -1):
                        octets[p + uint64(k) - uint64(1)] = uint8(value)
                        value = value >> uint64(8)
                continue
            for i in range(low, high):
                value = values[f, i]
                if little:
                    value = _swap(value, width >> 3)
                at = base[i] + ((bit + width - 1) >> 3)
                over = 7 - ((bit + width - 1) & 7)
                left = width
                while left > 0:
                    taken = min(left, 8 - over)
                    piece = value & ((uint64(1) << uint64(taken)) - uint64(1))
                    octets[at] |= uint8(piece << uint64(over))
                    value = value >> uint64(taken)
                    left -= taken
                    at -= 1
                    over = 0


@njit(cache=True)
def scatter_octets(octets: Any, base: Any, bit: int, values: Any) -> None:
    """Write octets on any bit into zeroed packets: the inverse of `gather_octets`."""
    at, skip = bit >> 3, bit & 7
    for i in range(len(base)):
        p = base[i] + at
        for k in range(values.shape[1]):
            if skip == 0:
                octets[p + k] = values[i, k]
            else:
                octets[p + k] |= values[i, k] >> skip
                octets[p + k + 1] |= uint8(values[i, k] << (8 - skip))


@njit(cache=True)
def _widen(raw: Any, kind: int, low: int, high: int, value: Any) -> None:
    """Values low … high of a column, given as its octets, as float64."""
    n = high - low
    if kind == 0:
        for i in range(n):
            value[i] = raw[low + i]
    elif kind == 1:
        u2 = raw.view(np.uint16)
        for i in range(n):
            value[i] = u2[low + i]
    elif kind == 2:
        u4 = raw.view(np.uint32)
        for i in range(n):
            value[i] = u4[low + i]
    elif kind == 3:
        u8 = raw.view(np.uint64)
        for i in range(n):
            value[i] = u8[low + i]
    elif kind == 4:
        i1 = raw.view(np.int8)
        for i in range(n):
            value[i] = i1[low + i]
    elif kind == 5:
        i2 = raw.view(np.int16)
        for i in range(n):
            value[i] = i2[low + i]
    elif kind == 6:
        i4 = raw.view(np.int32)
        for i in range(n):
            value[i] = i4[low + i]
    elif kind == 7:
        i8 = raw.view(np.int64)
        for i in range(n):
            value[i] = i8[low + i]
    elif kind == 8:
        f4 = raw.view(np.float32)
        for i in range(n):
            value[i] = f4[low + i]
    else:
        f8 = raw.view(np.float64)
        for i in range(n):
            value[i] = f8[low + i]


#: Column types that `judge` reads, in the order of its `kind`.
JUDGED = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8")


@njit(cache=True)
def judge(
    raw: Any, kind: int, coefficients: Any, bounds: Any, engineering: Any, state: Any
) -> None:
    """Calibrate by a polynomial, by Horner's rule, and compare with limits.

    raw: the octets of a column of type JUDGED[kind]; coefficients: float64, c0 first, empty for
    none; bounds: float64 [4], critical low, warning low, warning high, critical high; state:
    uint8 [n], set to LimitState; engineering: float64 [n], or [BLOCK] to work in without
    coefficients.
    """
    # One simple loop per step, so that each is done several values at a time.
    n = len(state)
    degree = len(coefficients) - 1
    critical_low, warning_low, warning_high, critical_high = bounds
    lowest, highest = max(critical_low, warning_low), min(critical_high, warning_high)
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        value = engineering[low:high] if degree >= 0 else engineering[: high - low]
        _widen(raw, kind, low, high, value)
        if degree == 1:
            c0, c1 = coefficients[0], coefficients[1]
            for i in range(high - low):
                value[i] = c1 * value[i] + c0
        elif degree >= 0:
            for i in range(high - low):
                x = value[i]
                y = coefficients[degree]
                for k in range(degree - 1, -1, -1):
                    y = y * x + coefficients[k]
                value[i] = y
        nominal = 0
        for i in range(high - low):
            nominal += int64(value[i] >= lowest) & int64(value[i] <= highest)
        states = state[low:high]
        if nominal == high - low:
            states[:] = 0
            continue
        for i in range(high - low):
            x = value[i]
            found = uint8(0)
            found = uint8(1) if x < warning_low else found
            found = uint8(2) if x > warning_high else found
            found = uint8(5) if x < critical_low else found
            found = uint8(6) if x > critical_high else found
            states[i] = uint8(4) if x != x else found


@njit(cache=True, nogil=True)
def judge_all(
    o1: Any,
    o2: Any,
    o4: Any,
    o8: Any,
    plan: Any,
    coefficients: Any,
    bounds: Any,
    states_of: Any,
    work: Any,
    states: Any,
    extremes: Any,
) -> None:
    """Limit states of several columns that `gather` has filled, in one call.

    plan: int64 [k, 7]: octets of the type, first row, rows (elements of a repeat, of which the
    worst counts), kind as of `judge`, or −1 for a column of 8 or 16 bits whose states are
    looked up; first and number of its coefficients, first of its looked-up states.
    work: float64, room for n and for BLOCK; states: uint8 [k, n], set; extremes: uint8 [k, 2], set
    to the least and greatest of each.
    """
    n = states.shape[1]
    one = np.empty(n, np.uint8)
    for k in range(len(plan)):
        size, first, rows, kind, begin, count, place = plan[k]
        for row in range(first, first + rows):
            found = states[k] if row == first else one
            if kind < 0 and size == 1:
                for i in range(n):
                    found[i] = states_of[place + int64(o1[row, i])]
            elif kind < 0:
                for i in range(n):
                    found[i] = states_of[place + int64(o2[row, i])]
            else:
                used = coefficients[begin : begin + count]
                if size == 1:
                    judge(o1[row], kind, used, bounds[k], work, found)
                elif size == 2:
                    judge(o2[row].view(np.uint8), kind, used, bounds[k], work, found)
                elif size == 4:
                    judge(o4[row].view(np.uint8), kind, used, bounds[k], work, found)
                else:
                    judge(o8[row].view(np.uint8), kind, used, bounds[k], work, found)
            if row != first:
                for i in range(n):
                    states[k, i] = max(states[k, i], one[i])
        least, most = uint8(255), uint8(0)
        for i in range(n):
            least, most = min(least, states[k, i]), max(most, states[k, i])
        extremes[k, 0], extremes[k, 1] = least, most
