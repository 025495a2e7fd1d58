"""Pseudo-randomisers of telemetry (131.0-B-5 §10) and telecommand (231.0-B-4 §6), over batches.

The sequence starts anew with every frame, codeword or codeblock, after the sync marker, and is its
own inverse.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
RandomiserKind = Literal["ccsds", "ccsds-long", "tc"]

#: Kind to (exponents of h(x), first bits sent).  The standard prints the long sequence's seed along
#: the register, 11000111000111000; its last bit is sent first.
_GENERATORS: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    # §10.4.2: x⁸ + x⁷ + x⁵ + x³ + 1, 255 bits, the only one up to 131.0-B-4.
    "ccsds": ((8, 7, 5, 3, 0), "11111111"),
    # §10.4.1: x¹⁷ + x¹⁴ + 1, 131,071 bits.
    "ccsds-long": ((17, 14, 0), "11000111000111000"[::-1]),
    # 231.0-B-4 §6.2: x⁸ + x⁶ + x⁴ + x³ + x² + x + 1, 255 bits.
    "tc": ((8, 6, 4, 3, 2, 1, 0), "11111111"),
}


def sequence(length: int, kind: RandomiserKind = "ccsds") -> U8:
    """First `length` octets of the sequence, most significant bit first; read-only uint8 [length].

    Raises LocalError for an unknown kind.

    >>> sequence(5).tobytes().hex()
    'ff480ec09a'
    """
    if kind not in _GENERATORS:
        raise LocalError(f"randomiser {kind!r}, one of {sorted(_GENERATORS)} wanted")
    if length < 0:
        raise LocalError(f"sequence of {length} octets")
    # Lengths by powers of two, so that many frame lengths share one.
    return _sequence(1 << max(length - 1, 0).bit_length(), kind)[:length]


def randomise(frames: U8, kind: RandomiserKind = "ccsds") -> U8:
    """Frames exclusive-or the sequence; uint8 [n, L] to a new uint8 [n, L].

    Randomises and derandomises alike.
    """
    if frames.ndim != 2 or frames.dtype != np.uint8:
        raise LocalError(f"array of {frames.dtype} {frames.shape}, uint8 [n, length] wanted")
    return np.bitwise_xor(frames, sequence(frames.shape[1], kind))


@lru_cache(maxsize=64)
def _sequence(length: int, kind: str) -> U8:
    exponents, first = _GENERATORS[kind]
    degree = exponents[0]
    # One period, then repeated: bit n + degree is the sum of the bits n + lower exponents.
    period = (1 << degree) - 1
    bits = bytearray(int(bit) for bit in first)
    for n in range(min(period, 8 * length) - degree):
        bits.append(sum(bits[n + exponent] for exponent in exponents[1:]) & 1)
    one_period = np.frombuffer(bytes(bits), np.uint8)
    octets = np.packbits(np.resize(one_period, 8 * length))
    octets.flags.writeable = False
    return octets
