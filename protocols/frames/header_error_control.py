"""AOS frame header error control: the shortened Reed–Solomon (10,6) code of 732.0-B §4.1.2.6.

Symbols of 4 bits over GF(2^4) with x^4 + x + 1; generator g(x) = (x + α^6)(x + α^7)(x + α^8)(x +
α^9) = x^4 + α^3 x^3 + α x^2 + α^3 x + 1; two symbol errors are corrected.  The protected 24 bits
are the first two header octets (version, SCID, VCID) and the signalling octet.

The code is linear, so parity is an XOR of table rows, and the difference of received and computed
parity names its error pattern: one look-up decodes a whole array of headers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from protocols.frames.columns import I64, Bool

_FIELD_POLYNOMIAL = 0x13
_FIRST_ROOT = 6
_DATA_SYMBOLS = 6
_PARITY_SYMBOLS = 4


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 16:
            a ^= _FIELD_POLYNOMIAL
        b >>= 1
    return product


@lru_cache(maxsize=1)
def _generator() -> list[int]:
    polynomial, root = [1], 1
    for power in range(_FIRST_ROOT + _PARITY_SYMBOLS):
        if power >= _FIRST_ROOT:
            shifted = [*polynomial, 0]
            for position, coefficient in enumerate(polynomial):
                shifted[position + 1] ^= _multiply(coefficient, root)
            polynomial = shifted
        root = _multiply(root, 2)
    return polynomial


def _parity_of_symbols(symbols: list[int]) -> int:
    """Remainder of the systematic encoding, the reference from which the tables are made."""
    remainder = [0] * _PARITY_SYMBOLS
    for symbol in symbols:
        feedback = symbol ^ remainder[0]
        remainder = [*remainder[1:], 0]
        for position in range(_PARITY_SYMBOLS):
            remainder[position] ^= _multiply(feedback, _generator()[position + 1])
    return int.from_bytes(
        bytes([remainder[0] << 4 | remainder[1], remainder[2] << 4 | remainder[3]]), "big"
    )


@lru_cache(maxsize=1)
def _parity_table() -> npt.NDArray[np.int64]:
    """Parity of one data symbol alone, int64 [6, 16]."""
    table = np.zeros((_DATA_SYMBOLS, 16), np.int64)
    for position in range(_DATA_SYMBOLS):
        for value in range(16):
            symbols = [0] * _DATA_SYMBOLS
            symbols[position] = value
            table[position, value] = _parity_of_symbols(symbols)
    return table


@lru_cache(maxsize=1)
def _correction_table() -> npt.NDArray[np.int64]:
    """Error pattern in the 24 protected bits by parity difference, −1 if more than two symbols."""
    parity = _parity_table()
    # One symbol error each: (its parity difference, its pattern in the protected bits).
    single: list[tuple[int, int, int]] = []
    for value in range(1, 16):
        for position in range(_DATA_SYMBOLS):
            shift = 4 * (_DATA_SYMBOLS - 1 - position)
            single.append((position, int(parity[position, value]), value << shift))
        for position in range(_PARITY_SYMBOLS):
            shift = 4 * (_PARITY_SYMBOLS - 1 - position)
            single.append((_DATA_SYMBOLS + position, value << shift, 0))
    table = np.full(1 << 16, -1, np.int64)
    table[0] = 0
    for position, difference, pattern in single:
        table[difference] = pattern
        for other, more, also in single:
            if other > position:
                table[difference ^ more] = pattern ^ also
    return table


def header_parity(protected: I64) -> I64:
    """Frame header error control field of `protected`: int64 [n] of 24 bits, result 16 bits."""
    table = _parity_table()
    parity = np.zeros_like(protected)
    for position in range(_DATA_SYMBOLS):
        parity ^= table[position][(protected >> (4 * (_DATA_SYMBOLS - 1 - position))) & 0xF]
    return parity


def correct_header(protected: I64, received: I64) -> tuple[I64, Bool]:
    """Corrected 24 protected bits, and where more than two symbols are wrong (bits unchanged)."""
    difference = header_parity(protected) ^ received
    pattern = _correction_table()[difference]
    failed = pattern < 0
    return protected ^ np.where(failed, 0, pattern), failed
