"""Turbo codes of 131.0-B-5 §6: rates 1/2, 1/3, 1/4 and 1/6, four block lengths.

Octets are most significant bit first.  Soft symbols are positive for 0 and negative for 1, as
log-likelihood ratios are; their scale does not matter, every codeword is scaled by its own mean.

A codeword has (k + 4) / r symbols, at rate 1/3 no whole number of octets: symbols are an octet
each, 0 or 1.  The randomiser of §10 is not applied here.

    >>> code = TurboCode("1/3", 1784)
    >>> data = np.arange(446, dtype=np.uint8).reshape(2, 223)
    >>> result = code.decode(1.0 - 2.0 * code.encode(data))
    >>> bool((result.data == data).all()), result.converged.tolist()
    (True, [True, True])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from protocols.coding import turbo_kernels
from protocols.coding.turbo_trellis import MEMORY, STATES, branch
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
Rate = Literal["1/2", "1/3", "1/4", "1/6"]

#: Symbols in the order of sending (131.0-B-5 §6.3, figures 6-2 and 6-3): encoder, and output: the
#: data bit (0) or G1, G2, G3.  At rate 1/2, where every other one is left out, of two bits.
OUTPUTS: Final[dict[Rate, tuple[str, ...]]] = {
    "1/2": ("a0 a1", "a0 b1"),
    "1/3": ("a0 a1 b1",),
    "1/4": ("a0 a2 a3 b1",),
    "1/6": ("a0 a1 a2 a3 b1 b3",),
}
#: Information bits of a codeword (131.0-B-5 table 6-1): 1, 2, 4 or 5 times 1,784.
LENGTHS: Final = (1784, 3568, 7136, 8920)
#: 131.0-B-5 §6.3 g).
_PRIMES: Final = (31, 37, 43, 47, 53, 59, 61, 67)
#: Iterations of a first pass over all codewords; those that need more are gathered again, so that
#: a few hard ones do not hold up the others of their group.
_FIRST_PASS: Final = 10
#: Mean magnitude of the decoder's symbols: that of log-likelihood ratios, in eighths, near the
#: Eb/N0 where one codeword in a hundred fails.
_MEAN: Final[dict[Rate, float]] = {"1/2": 21.5, "1/3": 14.0, "1/4": 11.0, "1/6": 8.2}


def permutation(length: int) -> I32:
    """Data bit, counted from 0, of each step of the second encoder (131.0-B-5 §6.3 g)."""
    k1, k2 = 8, length // 8
    s = np.arange(length)
    m, i = s % 2, s // (2 * k2)
    j = s // 2 - i * k2
    t = (19 * i + 1) % (k1 // 2)
    c = (np.array(_PRIMES)[t % 8] * j + 21 * m) % k2
    return (2 * (t + c * k1 // 2 + 1) - m - 1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class TurboResult:
    """n codewords in the order given.

    data: uint8 [n, data_length], as decided, whether right or not.
    iterations: int16 [n], that were used.
    converged: bool [n], both component codes decided alike about every bit, three times running.
    The data is wrong all the same where what was received is nearer to another codeword, some tens
    of symbols from the one sent: what the FECF is for.
    """

    data: U8
    iterations: npt.NDArray[np.int16]
    converged: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, eq=False)
class _Tables:
    """Of one code, shared by all that use it: arguments of the kernels."""

    orders: I32
    branches: U8
    places: I32
    again: I32


@dataclass(frozen=True)
class TurboCode:
    """rate: of `OUTPUTS`; length: information bits, of `LENGTHS`.  LocalError for others."""

    rate: Rate = "1/2"
    length: int = 8920

    def __post_init__(self) -> None:
        if self.rate not in OUTPUTS:
            raise LocalError(
                f"turbo code of rate {self.rate!r}, one of {', '.join(OUTPUTS)} wanted"
            )
        if self.length not in LENGTHS:
            raise LocalError(f"turbo code of {self.length!r} bits, one of {LENGTHS} wanted")

    @property
    def data_length(self) -> int:
        """Octets of information in a codeword."""
        return self.length // 8

    @property
    def symbols(self) -> int:
        """Symbols of a codeword as sent."""
        return (self.length + MEMORY) * int(self.rate[2:])

    def encode(self, data: U8) -> U8:
        """Symbols (0 or 1), uint8 [n, symbols], of data uint8 [n, data_length].

        Raises LocalError for another shape.
        """
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != self.data_length:
            raise LocalError(
                f"array of {data.dtype} {data.shape}, uint8 [n, {self.data_length}] wanted"
            )
        tables = _tables(self.rate, self.length)
        out = np.empty((len(data), self.symbols), np.uint8)
        bits = np.unpackbits(data, axis=1)
        turbo_kernels.encode(bits, tables.orders[1], tables.branches, tables.places, out)
        return out

    def decode(self, symbols: npt.ArrayLike, *, iterations: int = 25) -> TurboResult:
        """Soft symbols [n, symbols], float32, int8 or what converts to float32.

        iterations: at most, of both component codes; a codeword is done when the two agree.  (The
        FECF does not stop it: asked 50 times, its 16 bits would let pass one in 1,300 of the
        frames that fail.)  The result of a codeword does not depend on those beside it, and
        32 take no longer than one.  NaN counts as erased; a codeword of zeros does not converge.
        Raises LocalError for another shape.
        """
        received = np.asarray(symbols)
        if received.ndim != 2 or received.shape[1] != self.symbols:
            raise LocalError(f"symbols of shape {received.shape}, [n, {self.symbols}] wanted")
        if not 1 <= iterations <= 10_000:
            raise LocalError(f"{iterations} iterations, 1 to 10,000 allowed")
        rows = np.ascontiguousarray(received, np.float32).view()
        rows.flags.writeable = False
        tables = _tables(self.rate, self.length)
        data = np.empty((len(rows), self.data_length), np.uint8)
        used = np.zeros(len(rows), np.int16)
        which = np.arange(len(rows))
        for limit in sorted({min(_FIRST_PASS, iterations), iterations}):
            turbo_kernels.decode(
                rows,
                which,
                _MEAN[self.rate],
                tables.orders,
                tables.places,
                tables.again,
                limit,
                data,
                used,
            )
            which = np.flatnonzero(used < 0)
        return TurboResult(data, np.abs(used), used > 0)


@lru_cache(maxsize=len(OUTPUTS) * len(LENGTHS))
def _tables(rate: Rate, length: int) -> _Tables:
    steps = length + MEMORY
    order = permutation(length)
    tail = np.arange(length, steps, dtype=np.int32)
    orders = np.stack((np.arange(steps, dtype=np.int32), np.concatenate((order, tail))))
    branches = np.array(
        [
            [
                [*branch(state, taken), 2 * state % STATES + taken, branch(state, 0)[0]]
                for taken in (0, 1)
            ]
            for state in range(STATES)
        ],
        np.uint8,
    )
    pattern = [outputs.split() for outputs in OUTPUTS[rate]]
    sent = [(step, name) for step in range(steps) for name in pattern[step % len(pattern)]]
    places = [("ab".index(name[0]) * steps + step) * 4 + int(name[1]) for step, name in sent]
    # The second decoder hears data bits in its own order; those of its tail are not sent.
    inverse = np.argsort(order)
    again = [
        4 * (steps + int(inverse[step])) if name == "a0" and step < length else -1
        for step, name in sent
    ]
    return _Tables(orders, branches, np.array(places, np.int32), np.array(again, np.int32))
