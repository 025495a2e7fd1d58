"""Tables of the field and the two Reed–Solomon codes of 131.0-B-5 §4, computed from its text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]

#: §4.3.3: F(x) = x⁸ + x⁷ + x² + x + 1 over GF(2).
FIELD_POLYNOMIAL: Final = 0x187
#: §4.3.4: g(x) = ∏ (x − α^(11 j)), j from 128 − E to 127 + E.
ROOT_STEP: Final = 11
ORDER: Final = 255

Basis = Literal["dual", "conventional"]


@lru_cache
def multiplication_table() -> U8:
    """uint8 [256, 256]: products in the conventional basis."""
    table = np.zeros((256, 256), np.uint8)
    power = np.arange(256, dtype=np.uint16)
    for bit in range(8):
        table ^= np.where(np.arange(256)[:, None] >> bit & 1, power[None, :], 0).astype(np.uint8)
        power = power << 1
        power = np.where(power & 0x100, power ^ FIELD_POLYNOMIAL, power)
    return table


@lru_cache
def powers() -> U8:
    """uint8 [255]: β^i with β = α^11, the generator's step, itself a primitive element."""
    product = multiplication_table()
    alpha_11 = 1
    for _ in range(ROOT_STEP):
        alpha_11 = int(product[alpha_11, 2])
    values = [1]
    while len(values) < ORDER:
        values.append(int(product[values[-1], alpha_11]))
    return np.array(values, np.uint8)


@lru_cache
def inverses() -> U8:
    """uint8 [256]: reciprocal in the conventional basis; 0 for 0, which has none."""
    values = np.zeros(256, np.uint8)
    values[powers()] = powers()[-np.arange(ORDER) % ORDER]
    return values


@lru_cache
def dual_from_conventional() -> U8:
    """uint8 [256]: the octet that is sent for a field element (§4.3.9 and annex F).

    Bit z_i, sent i-th, is the trace of the element times α^(117 i): a linear map, no bit reversal.
    """
    product = multiplication_table()
    alpha = [1]
    for _ in range(ORDER - 1):
        alpha.append(int(product[alpha[-1], 2]))
    element = np.arange(256)
    octets = np.zeros(256, np.uint8)
    for i in range(8):
        value = product[element, alpha[117 * i % ORDER]]
        trace = np.zeros(256, np.uint8)
        for _ in range(8):
            trace ^= value
            value = product[value, value]
        octets |= trace << (7 - i)
    return octets


@dataclass(frozen=True, eq=False)
class CodeTables:
    """What the kernels look up for a code in a basis; octets are as sent, elements conventional.

    parity: 2E.  remainder: uint64 [8, 256, 4], octet k of eight times x^(parity + 7 − k) modulo g,
    as the first `parity` of 32 octets.  syndrome: uint64 [64, 16, 4], what half an octet of the
    remainder adds to the 32 syndromes; [2 i] the low half.  search: uint8 [33, 2, 16, 256], what
    half of coefficient j adds to a locator's value at all 255 positions.
    to_element, to_octet: uint8 [256], between octets and elements.
    """

    parity: int
    first_root: int
    remainder: U64
    syndrome: U64
    search: U8
    to_element: U8
    to_octet: U8


def generator_polynomial(parity: int) -> U8:
    """uint8 [parity + 1]: g(x) in the conventional basis, leading coefficient first."""
    product, beta = multiplication_table(), powers()
    first_root = 128 - parity // 2
    g = np.array([1], np.uint8)
    for j in range(parity):
        shifted = np.append(g, np.uint8(0))
        shifted[1:] ^= product[g, beta[(first_root + j) % ORDER]]
        g = shifted
    return g


@lru_cache
def code_tables(parity: int, basis: Basis) -> CodeTables:
    product, beta = multiplication_table(), powers()
    to_octet = dual_from_conventional() if basis == "dual" else np.arange(256, dtype=np.uint8)
    to_element = np.argsort(to_octet).astype(np.uint8)
    first_root = 128 - parity // 2

    g = generator_polynomial(parity)
    elements = to_element  # row b of a table is for the octet b
    remainder = np.zeros((8, 256, 32), np.uint8)
    # b · x^parity mod g, then times x for each octet further ahead.
    row = product[elements[:, None], g[None, 1:]]
    for ahead in range(8):
        remainder[7 - ahead, :, :parity] = to_octet[row]
        row = np.pad(row[:, 1:], ((0, 0), (0, 1))) ^ product[row[:, :1], g[None, 1:]]

    syndrome = np.zeros((64, 16, 32), np.uint8)
    for i in range(parity):
        degree = parity - 1 - i
        at_root = beta[(first_root + np.arange(parity)) * degree % ORDER]
        for half in range(2):
            values = to_element[np.arange(16) << 4 * half]
            syndrome[2 * i + half, :, :parity] = product[values[:, None], at_root[None, :]]

    search = np.zeros((33, 2, 16, 256), np.uint8)
    for j in range(parity + 1):
        at_position = beta[-j * np.arange(ORDER) % ORDER]
        for half in range(2):
            values = np.arange(16) << 4 * half
            search[j, half, :, :ORDER] = product[values[:, None], at_position[None, :]]

    return CodeTables(
        parity=parity,
        first_root=first_root,
        remainder=remainder.view(np.uint64),
        syndrome=syndrome.view(np.uint64),
        search=search,
        to_element=to_element,
        to_octet=to_octet,
    )
