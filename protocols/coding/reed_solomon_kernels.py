"""Compiled inner loops of the Reed–Solomon codec; see reed_solomon.py for what they are for."""

# numba ships no types: the arguments say here what they are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I16 = npt.NDArray[np.int16]

UNCORRECTABLE = -1
IN_VIRTUAL_FILL = -2


@njit(cache=True, nogil=True)
def remainders(
    flat: U8, stride: int, interleave: int, length: int, table: U64, prefix: U8, out: U64
) -> None:
    """Remainder of x^parity times each codeword's data, as octets sent.

    Codeword c of row i is `flat[i * stride + c + j * interleave]`, j < length.  Its remainder goes
    to `out[i * interleave + c]`, four words of eight octets.  `prefix` [interleave, m] is taken to
    precede the data of each codeword.
    """
    n = len(out) // interleave
    known = prefix.shape[1]
    width = (known + length + 7) // 8
    lead = 8 * width - length
    # Two rows at a time, so that codewords pair up.  Zeros in front change no remainder.
    lanes = 2 * interleave
    octets = np.zeros((lanes, 8 * width), np.uint8)
    words = octets.reshape(lanes * 8 * width).view(np.uint64).reshape(lanes, width)
    for lane in range(lanes):
        for j in range(known):
            octets[lane, lead - known + j] = prefix[lane % interleave, j]
    mask = np.uint64(0xFF)
    zero = np.uint64(0)
    for first in range(0, n, 2):
        rows = min(2, n - first)
        for row in range(rows):
            source = flat[(first + row) * stride :]
            for c in range(interleave):
                column = source[c:]
                target = octets[row * interleave + c][lead:]
                for j in range(length):
                    target[j] = column[j * interleave]
        # Two codewords in flight hide the latency of the table look-ups.
        for c in range(0, rows * interleave, 2):
            d = min(c + 1, rows * interleave - 1)
            p0 = p1 = p2 = p3 = zero
            q0 = q1 = q2 = q3 = zero
            one, two = words[c], words[d]
            for i in range(width):
                x = one[i] ^ p0
                y = two[i] ^ q0
                p0, p1, p2, p3 = p1, p2, p3, zero
                q0, q1, q2, q3 = q1, q2, q3, zero
                for k in range(8):
                    t = table[k, (x >> np.uint64(8 * k)) & mask]
                    p0 ^= t[0]
                    p1 ^= t[1]
                    p2 ^= t[2]
                    p3 ^= t[3]
                    t = table[k, (y >> np.uint64(8 * k)) & mask]
                    q0 ^= t[0]
                    q1 ^= t[1]
                    q2 ^= t[2]
                    q3 ^= t[3]
            o = out[first * interleave + c]
            o[0], o[1], o[2], o[3] = p0, p1, p2, p3
            o = out[first * interleave + d]
            o[0], o[1], o[2], o[3] = q0, q1, q2, q3


@njit(cache=True, nogil=True)
def put_parity(remainder: U64, interleave: int, parity: int, out: U8) -> None:
    """Remainders, interleaved, into the last octets of each row of `out` [n, block length]."""
    octets = remainder.view(np.uint8)
    begin = out.shape[1] - parity * interleave
    for i in range(len(out)):
        target = out[i][begin:]
        for c in range(interleave):
            source = octets[i * interleave + c]
            for j in range(parity):
                target[j * interleave + c] = source[j]


@njit(cache=True, nogil=True)
def repair(
    flat: U8,
    stride: int,
    interleave: int,
    length: int,
    parity: int,
    first_root: int,
    syndrome_table: U64,
    search_table: U8,
    product: U8,
    inverse: U8,
    beta: U8,
    to_element: U8,
    to_octet: U8,
    erased: Any,
    with_erasures: bool,
    not_sent: Any,
    remainder: U64,
    data: U8,
    corrections: I16,
) -> None:
    """Correct `data` [n, length * interleave] in place where a remainder differs from the parity.

    `remainder` is of the received data, as `remainders` gives it.  `erased` is uint8 [n, block
    length], looked at if `with_erasures`.  `not_sent` [interleave] is the degree from which on a
    codeword is zero.  `corrections` [n, interleave] gets the number of octets of the codeword that
    were wrong, UNCORRECTABLE or IN_VIRTUAL_FILL.
    """
    n = len(data)
    total = length + parity
    difference = np.zeros(32, np.uint8)
    difference_words = difference.view(np.uint64)
    syndrome = np.zeros(32, np.uint8)
    # Last syndrome first, so that `reversed_syndrome[31 − r:]` runs from syndrome r downwards.
    reversed_syndrome = np.zeros(96, np.uint8)
    syndrome_words = syndrome.view(np.uint64)
    remainder_octets = remainder.view(np.uint8)
    locator = np.zeros(64, np.uint8)
    # Multiplying the previous locator by x moves its beginning `front` instead of its octets.
    previous_room = np.zeros(128, np.uint8)
    swap = np.zeros(64, np.uint8)
    evaluator = np.zeros(64, np.uint8)
    values = np.zeros(256, np.uint8)
    value_words = values.view(np.uint64)
    ones, tops = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    degrees = np.zeros(64, np.int64)
    changes = np.zeros(64, np.uint8)
    for i in range(n):
        block = flat[i * stride :]
        for c in range(interleave):
            check = block[length * interleave + c :]
            mine = remainder_octets[i * interleave + c]
            for j in range(parity):
                difference[j] = mine[j] ^ check[j * interleave]
            if (
                difference_words[0]
                | difference_words[1]
                | difference_words[2]
                | difference_words[3]
            ) == 0:
                corrections[i, c] = 0
                continue
            corrections[i, c] = UNCORRECTABLE

            # Syndromes: the remainder's value at each root of g.
            s0 = s1 = s2 = s3 = np.uint64(0)
            for j in range(parity):
                t = syndrome_table[2 * j, difference[j] & 15]
                u = syndrome_table[2 * j + 1, difference[j] >> 4]
                s0 ^= t[0] ^ u[0]
                s1 ^= t[1] ^ u[1]
                s2 ^= t[2] ^ u[2]
                s3 ^= t[3] ^ u[3]
            syndrome_words[0], syndrome_words[1] = s0, s1
            syndrome_words[2], syndrome_words[3] = s2, s3
            for j in range(32):
                reversed_syndrome[31 - j] = syndrome[j]

            # Berlekamp–Massey, begun with the locator of the erasures.
            locator[:] = 0
            locator[0] = 1
            erasures = 0
            if with_erasures:
                for j in range(total):
                    if erased[i, j * interleave + c]:
                        erasures += 1
                        if erasures > parity:
                            break
                        scaled = product[beta[total - 1 - j]]
                        for k in range(erasures, 0, -1):
                            locator[k] ^= scaled[locator[k - 1]]
            if erasures > parity:
                continue
            previous_room[:] = 0
            front = 64
            for k in range(erasures + 1):
                previous_room[front + k] = locator[k]
            order = erasures
            last = erasures  # degree of the previous locator, moved along
            for r in range(erasures, parity):
                window = reversed_syndrome[31 - r :]
                discrepancy = np.uint8(0)
                for k in range(order + 1):
                    discrepancy ^= product[locator[k], window[k]]
                last += 1
                front -= 1
                if discrepancy == 0:
                    continue
                scaled = product[discrepancy]
                previous = previous_room[front:]
                if 2 * order <= r + erasures:
                    back = product[inverse[discrepancy]]
                    for k in range(order + 1):
                        swap[k] = back[locator[k]]
                    for k in range(last + 1):
                        locator[k] ^= scaled[previous[k]]
                    previous_room[:] = 0
                    front = 64
                    previous = previous_room[front:]
                    for k in range(order + 1):
                        previous[k] = swap[k]
                    last = order
                    order = r + 1 + erasures - order
                else:
                    for k in range(last + 1):
                        locator[k] ^= scaled[previous[k]]
            degree = 0
            for k in range(parity + 1):
                if locator[k] != 0:
                    degree = k
            if degree == 0 or degree != order or 2 * degree - erasures > parity:
                continue

            # The locator's value at every position, half a coefficient at a time.
            values[:] = 0
            for k in range(degree + 1):
                low = search_table[k, 0, locator[k] & 15]
                high = search_table[k, 1, locator[k] >> 4]
                for j in range(256):
                    values[j] ^= low[j] ^ high[j]
            found = 0
            in_fill = False
            values[255] = 1
            for w in range(32):
                v = value_words[w]
                # Zero exactly if none of the eight octets is.
                if ((v - ones) & ~v & tops) == 0:
                    continue
                for j in range(8 * w, 8 * w + 8):
                    if values[j] == 0:
                        if found < degree:
                            degrees[found] = j
                        found += 1
                        in_fill |= j >= not_sent[c]
            if in_fill:
                corrections[i, c] = IN_VIRTUAL_FILL
                continue
            if found != degree:
                continue

            # Forney's values: evaluator over the locator's derivative.
            for k in range(degree):
                window = reversed_syndrome[31 - k :]
                e = np.uint8(0)
                for j in range(k + 1):
                    e ^= product[locator[j], window[j]]
                evaluator[k] = e
            changed = 0
            for f in range(degree):
                at = degrees[f]
                inverse_at = (255 - at) % 255
                by = product[beta[inverse_at]]
                by_square = product[beta[2 * inverse_at % 255]]
                numerator = np.uint8(0)
                for k in range(degree - 1, -1, -1):
                    numerator = by[numerator] ^ evaluator[k]
                derivative = np.uint8(0)
                for k in range((degree - 1) // 2, -1, -1):
                    derivative = by_square[derivative] ^ locator[2 * k + 1]
                # X^(1 − first root) Ω(1/X) / Λ′(1/X)
                scale = beta[((first_root + 254) * inverse_at) % 255]
                changes[f] = product[product[numerator, inverse[derivative]], scale]
                changed += changes[f] != 0
            for f in range(degree):
                j = total - 1 - degrees[f]
                if 0 <= j < length:
                    at = j * interleave + c
                    data[i, at] = to_octet[to_element[data[i, at]] ^ changes[f]]
            corrections[i, c] = changed
