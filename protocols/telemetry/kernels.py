"""Loops over octets that NumPy cannot say: classify packets, gather fields, scatter fields.

Every kernel has one signature, so each compiles once.  Field tables are int64 [k, 6] with the
columns named below; values wider than a field's width are cut, bits are counted from the most
significant bit of the octet at `base` (CCSDS bit 0).
"""

from __future__ import annotations

from typing import Any

from numba import njit, uint8, uint16, uint32, uint64

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
    first = start + (bit >> 3)
    skip = bit & 7
    last = first + ((skip + width - 1) >> 3)
    over = 7 - ((skip + width - 1) & 7)
    value = uint64(octets[first] & (0xFF >> skip))
    if last == first:
        return value >> uint64(over)
    for at in range(first + 1, last):
        value = (value << uint64(8)) | uint64(octets[at])
    return (value << uint64(8 - over)) | uint64(octets[last] >> over)


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
def classify(
    octets: Any,
    offsets: Any,
    candidate_start: Any,
    candidates: Any,
    condition_start: Any,
    conditions: Any,
    condition_octets: Any,
    shortest: Any,
    exact: Any,
    which: Any,
    counts: Any,
) -> None:
    """Find each packet's definition.

    which: int32 [n], set to the definition, −1 if none, −2 − definition if its length is wrong;
    counts: int64 [definitions], packets of each that fit.
    candidate_start: int64 [2049], candidates of APID a are candidates[start[a]:start[a + 1]].
    """
    for i in range(len(which)):
        start = offsets[i]
        size = offsets[i + 1] - start
        which[i] = -1
        if size < 7:
            continue
        apid = ((octets[start] & 7) << 8) | octets[start + 1]
        for c in range(candidate_start[apid], candidate_start[apid + 1]):
            d = candidates[c]
            if size < condition_octets[d]:
                # Too short to tell from its siblings: its own only if it is the only candidate.
                if candidate_start[apid + 1] - candidate_start[apid] == 1:
                    which[i] = -2 - d
                continue
            matches = True
            for k in range(condition_start[d], condition_start[d + 1]):
                signed = conditions[k, SIGNED]
                value = _field(
                    octets,
                    start,
                    conditions[k, BIT],
                    conditions[k, WIDTH],
                    conditions[k, LITTLE],
                    signed,
                )
                wanted = uint64(conditions[k, VALUE])
                if signed:
                    # Shifts the order of two's complement onto that of unsigned numbers.
                    value = value ^ (uint64(1) << uint64(63))
                    wanted = wanted ^ (uint64(1) << uint64(63))
                code = conditions[k, OPERATOR]
                if code == 0:
                    matches = value == wanted
                elif code == 1:
                    matches = value != wanted
                elif code == 2:
                    matches = value < wanted
                elif code == 3:
                    matches = value <= wanted
                elif code == 4:
                    matches = value > wanted
                else:
                    matches = value >= wanted
                if not matches:
                    break
            if matches:
                said = ((int(octets[start + 4]) << 8) | int(octets[start + 5])) + 7
                if size != said or size < shortest[d] or (exact[d] and size != shortest[d]):
                    which[i] = -2 - d
                else:
                    which[i] = d
                    counts[d] += 1
                break


@njit(cache=True)
def gather(octets: Any, base: Any, table: Any, o1: Any, o2: Any, o4: Any, o8: Any) -> None:
    """Each field of `table` from each packet at octet `base[i]` into its row of o1, o2, o4 or o8.

    o1 … o8: uint8, uint16, uint32, uint64 [rows, n]: floats and signed values as their bits.
    """
    n = len(base)
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        for f in range(len(table)):
            bit, width, little = table[f, BIT], table[f, WIDTH], table[f, LITTLE]
            row, size, signed = table[f, ROW], table[f, SIZE], table[f, SIGNED]
            at = bit >> 3
            plain = (bit & 7) == 0 and width == 8 * size and not little
            if plain and size == 1:
                out1 = o1[row]
                for i in range(low, high):
                    out1[i] = octets[base[i] + at]
            elif plain and size == 2:
                out2 = o2[row]
                for i in range(low, high):
                    p = base[i] + at
                    out2[i] = (uint16(octets[p]) << 8) | uint16(octets[p + 1])
            elif plain and size == 4:
                out4 = o4[row]
                for i in range(low, high):
                    p = base[i] + at
                    out4[i] = (
                        (uint32(octets[p]) << 24)
                        | (uint32(octets[p + 1]) << 16)
                        | (uint32(octets[p + 2]) << 8)
                        | uint32(octets[p + 3])
                    )
            elif plain and size == 8:
                out8 = o8[row]
                for i in range(low, high):
                    p = base[i] + at
                    out8[i] = (
                        (uint64(octets[p]) << 56)
                        | (uint64(octets[p + 1]) << 48)
                        | (uint64(octets[p + 2]) << 40)
                        | (uint64(octets[p + 3]) << 32)
                        | (uint64(octets[p + 4]) << 24)
                        | (uint64(octets[p + 5]) << 16)
                        | (uint64(octets[p + 6]) << 8)
                        | uint64(octets[p + 7])
                    )
            elif size == 1:
                out1 = o1[row]
                for i in range(low, high):
                    out1[i] = uint8(_field(octets, base[i], bit, width, little, signed))
            elif size == 2:
                out2 = o2[row]
                for i in range(low, high):
                    out2[i] = uint16(_field(octets, base[i], bit, width, little, signed))
            elif size == 4:
                out4 = o4[row]
                for i in range(low, high):
                    out4[i] = uint32(_field(octets, base[i], bit, width, little, signed))
            else:
                out8 = o8[row]
                for i in range(low, high):
                    out8[i] = _field(octets, base[i], bit, width, little, signed)


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
    k = 0
    for i in range(len(start)):
        p = start[i]
        for _ in range(count[i]):
            base[k] = p
            p += size
            k += 1


@njit(cache=True)
def copy_runs(octets: Any, start: Any, count: Any, out: Any) -> None:
    """Octets start[i] … start[i] + count[i], concatenated into `out`."""
    k = 0
    for i in range(len(start)):
        p = start[i]
        for j in range(count[i]):
            out[k + j] = octets[p + j]
        k += count[i]


@njit(cache=True)
def place_runs(octets: Any, start: Any, count: Any, values: Any) -> None:
    """The inverse of `copy_runs`."""
    k = 0
    for i in range(len(start)):
        p = start[i]
        for j in range(count[i]):
            octets[p + j] = values[k + j]
        k += count[i]


@njit(cache=True)
def scatter(octets: Any, base: Any, table: Any, values: Any) -> None:
    """Write fields into zeroed packets: the inverse of `gather`; values uint64 [fields, n]."""
    n = len(base)
    for low in range(0, n, BLOCK):
        high = min(low + BLOCK, n)
        for f in range(len(table)):
            bit, width, little = table[f, BIT], table[f, WIDTH], table[f, LITTLE]
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
