"""Generators of the LDPC codes, derived from their parity-check matrices.

Circulants of size z are polynomials modulo x^z − 1 over GF(2): shift s is x^−s.  So the equations
Q u + P p = 0 between information u and parity p have few unknowns, each a polynomial, and the
generator is W = P⁻¹ Q (131.0-B-5 §7.4.3), an array of dense circulants.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from protocols.coding.ldpc_codes import QuasiCyclic
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
#: Spectra of circulants, along the last axis.
C128 = npt.NDArray[np.complex128]


def power_of_two_generator(matrix: QuasiCyclic, information: int) -> U8:
    """uint8 [information, parity, z]: first column of each circulant of W.

    `information`: circulants of information in a row.  z is a power of two, which makes x^z − 1 a
    power of x − 1: a polynomial is invertible if it has an odd number of terms, and its z-th power
    is then 1.
    """
    work = _polynomials(matrix)
    # P first, so that elimination turns it into the identity and Q into W.
    work = np.concatenate((work[:, information:], work[:, :information]), axis=1)
    for step in range(matrix.rows):
        odd = np.flatnonzero(work[step:, step].sum(axis=1) % 2)
        if not len(odd):
            raise LocalError("the parity part of the parity-check matrix is singular")
        pivot = step + int(odd[0])
        work[[step, pivot]] = work[[pivot, step]]
        inverse = _inverse(work[step, step])
        work[step] = _product(work[step], inverse)
        others = np.delete(np.arange(matrix.rows), step)
        work[others] ^= _product(work[step][None], work[others, step][:, None])
    return np.ascontiguousarray(work[:, matrix.rows :].transpose(1, 0, 2))


def c2_generator(matrix: QuasiCyclic) -> U8:
    """uint8 [14, 2, 511]: first rows of the circulants B of the (8176, 7154) subcode.

    131.0-B-5 §7.3.4: the 511th and 1022nd element of each solution z shall be 0.  All circulants
    have an even number of terms, so that the equations say nothing modulo x − 1; modulo
    h = (x^511 − 1) / (x − 1), of degree 510, the solution is unique and lacks the 511th term.
    """
    ones = (1 << 511) - 1
    entries = [[_integer(p) for p in row] for row in _polynomials(matrix)]
    (a, b), (c, d) = entries[0][14:], entries[1][14:]
    inverse = _inverse_modulo(_times(a, d, ones) ^ _times(b, c, ones), ones)
    out = np.empty((14, 2, 511), np.uint8)
    for i in range(14):
        one, two = entries[0][i], entries[1][i]
        pair = (
            _times(inverse, _times(d, one, ones) ^ _times(b, two, ones), ones),
            _times(inverse, _times(c, one, ones) ^ _times(a, two, ones), ones),
        )
        for j, solution in enumerate(pair):
            out[i, j] = [solution >> power & 1 for power in range(511)]
    return out


def encode(bits: U8, spectrum: C128, size: int) -> U8:
    """Parity uint8 [n, parity · z] of bits uint8 [n, information · z].

    spectrum: complex128 [z // 2 + 1, information, parity], `spectrum_of` the generator.
    """
    blocks = bits.reshape(len(bits), bits.shape[1] // size, size)
    transformed = np.fft.rfft(blocks, axis=2).transpose(2, 0, 1)
    # Sums of at most a few thousand ones: double precision is exact after rounding.
    parity = np.fft.irfft((transformed @ spectrum).transpose(1, 2, 0), size, axis=2)
    return (
        (np.rint(parity).astype(np.int64) & 1)
        .astype(np.uint8)
        .reshape(len(bits), spectrum.shape[2] * size)
    )


def spectrum_of(generator: U8) -> C128:
    """complex128 [z // 2 + 1, information, parity] of circulants uint8 [information, parity, z]."""
    return np.ascontiguousarray(np.fft.rfft(generator, axis=2).transpose(2, 0, 1))


def _polynomials(matrix: QuasiCyclic) -> U8:
    """uint8 [rows, columns, z]: coefficients, lowest power first."""
    out = np.zeros((matrix.rows, matrix.columns, matrix.size), np.uint8)
    for row, column, shift in matrix.circulants:
        out[row, column, -shift % matrix.size] ^= 1
    return out


def _product(a: U8, b: U8) -> U8:
    """Polynomials modulo x^z − 1, along the last axis."""
    size = a.shape[-1]
    product = np.fft.irfft(np.fft.rfft(a) * np.fft.rfft(b), size)
    return (np.rint(product).astype(np.int64) & 1).astype(np.uint8)


def _inverse(a: U8) -> U8:
    """1 / a modulo x^z − 1, z a power of two: a^(z − 1), the product of a^1, a^2, a^4 …"""
    size = len(a)
    inverse = np.zeros(size, np.uint8)
    inverse[0] = 1
    power = 1
    while power < size:
        squared = np.bincount(np.flatnonzero(a) * power % size, minlength=size) & 1
        inverse = _product(inverse, squared.astype(np.uint8))
        power *= 2
    return inverse


def _integer(polynomial: U8) -> int:
    return sum(1 << int(power) for power in np.flatnonzero(polynomial))


def _times(a: int, b: int, modulus: int) -> int:
    product = 0
    while b:
        lowest = b & -b
        product ^= a * lowest
        b ^= lowest
    return _divided(product, modulus)[1]


def _divided(a: int, by: int) -> tuple[int, int]:
    """Quotient and remainder of polynomials over GF(2)."""
    quotient = 0
    while (excess := a.bit_length() - by.bit_length()) >= 0:
        quotient ^= 1 << excess
        a ^= by << excess
    return quotient, a


def _inverse_modulo(a: int, modulus: int) -> int:
    """Extended Euclid."""
    old, new = modulus, _divided(a, modulus)[1]
    old_factor, new_factor = 0, 1
    while new:
        quotient, remainder = _divided(old, new)
        old, new = new, remainder
        longer = 0
        for power in range(quotient.bit_length()):
            if quotient >> power & 1:
                longer ^= new_factor << power
        old_factor, new_factor = new_factor, old_factor ^ longer
    if old != 1:
        raise LocalError("the parity part of the parity-check matrix is singular")
    return _divided(old_factor, modulus)[1]
