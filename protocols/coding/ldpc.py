"""LDPC codes: AR4JA and C2 (131.0-B-5 §7), (128, 64) and (512, 256) of telecommand (231.0-B-4 §4).

Bits and octets are most significant bit first.  Soft symbols are positive for 0 and negative for 1,
as log-likelihood ratios are; their scale does not matter, every codeword is scaled by its own mean.

    >>> code = LdpcCode("AR4JA 1/2 1024")
    >>> data = np.arange(256, dtype=np.uint8).reshape(2, 128)
    >>> symbols = 1.0 - 2.0 * np.unpackbits(code.encode(data), axis=1)
    >>> result = code.decode(symbols)
    >>> bool((result.data == data).all()), result.converged.tolist()
    (True, [True, True])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.coding import ldpc_codes, ldpc_generator, ldpc_kernels
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]

#: Names of the codes.
LDPC_CODES: Final = (
    *(f"AR4JA {r} {k}" for r in ldpc_codes.AR4JA_BLOCKS for k in ldpc_codes.AR4JA_INFORMATION_BITS),
    "C2",
    *(f"TC {n}" for n in ldpc_codes.TC_CODEWORD_BITS),
)
#: 131.0-B-5 §7.3.5: C2 leaves out 18 leading zeros of the (8176, 7154) code and appends 2.
_C2_LEFT_OUT: Final = 18
_C2_APPENDED: Final = 2
#: Iterations of a first pass over all codewords; those that need more are gathered again, so that
#: a few hard ones do not hold up the others of their group.
_FIRST_PASS: Final = 12
#: Mean magnitude of the decoder's symbols, by family or rate: that of log-likelihood
#: ratios, in quarters, near the Eb/N0 where one codeword in a hundred fails.  With more signal, and
#: thus too small ratios, all that is lost is margin.
_MEAN: Final = {"1/2": 12.5, "2/3": 17.5, "4/5": 25.0, "C2": 32.0, "TC 128": 20.0, "TC 512": 16.0}


@dataclass(frozen=True, eq=False)
class LdpcResult:
    """n codewords in the order given.

    data: uint8 [n, data_length], as decided, whether right or not.
    iterations: int16 [n], that were used.
    converged: bool [n], all parity checks are satisfied.
    """

    data: U8
    iterations: npt.NDArray[np.int16]
    converged: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True, eq=False)
class _Tables:
    """Of one code, shared by all that use it."""

    matrix: ldpc_codes.QuasiCyclic
    spectrum: npt.NDArray[np.complex128]
    starts: npt.NDArray[np.int32]
    variables: npt.NDArray[np.int32]


@dataclass(frozen=True)
class LdpcCode:
    """One of `LDPC_CODES`; LocalError for another name."""

    name: str

    def __post_init__(self) -> None:
        if self.name not in LDPC_CODES:
            raise LocalError(f"LDPC code is {self.name!r}, one of {', '.join(LDPC_CODES)} wanted")

    @property
    def _family(self) -> str:
        """A rate of AR4JA; of the others the name."""
        return self.name.split()[1] if self.name.startswith("AR4JA") else self.name

    @property
    def data_length(self) -> int:
        """Octets of information in a codeword."""
        if self.name == "C2":
            return 892
        if self.name.startswith("TC "):
            return self.block_length // 2
        return int(self.name.split()[2]) // 8

    @property
    def block_length(self) -> int:
        """Octets of a codeword as sent."""
        if self.name == "C2":
            return 1020
        if self.name.startswith("TC "):
            return int(self.name.split()[1]) // 8
        blocks = ldpc_codes.AR4JA_BLOCKS[self.name.split()[1]]
        return self.data_length * (blocks + 2) // blocks

    @property
    def parity_check_matrix(self) -> ldpc_codes.QuasiCyclic:
        """Punctured columns, and those that C2 leaves out, included."""
        return _tables(self.name).matrix

    def encode(self, data: U8) -> U8:
        """Codewords uint8 [n, block_length] of data uint8 [n, data_length].

        Raises LocalError for another shape.
        """
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != self.data_length:
            raise LocalError(
                f"array of {data.dtype} {data.shape}, uint8 [n, {self.data_length}] wanted"
            )
        tables = _tables(self.name)
        size = tables.matrix.size
        bits = np.unpackbits(data, axis=1)
        if self.name == "C2":
            bits = np.pad(bits, ((0, 0), (_C2_LEFT_OUT, 0)))
        parts: list[U8] = []
        # In pieces, as the spectra take a hundred times the room of the bits.
        for some in np.array_split(bits, -(-bits.size // (1 << 22)) or 1):
            parity = ldpc_generator.encode(some, tables.spectrum, size)
            if self.name == "C2":
                parity = np.pad(parity, ((0, 0), (0, _C2_APPENDED)))
            else:
                parity = parity[:, : 8 * (self.block_length - self.data_length)]
            parts.append(np.packbits(parity, axis=1))
        return np.concatenate((data, np.concatenate(parts)), axis=1)

    def decode(self, symbols: npt.ArrayLike, *, iterations: int = 100) -> LdpcResult:
        """Soft symbols [n, 8 · block_length], float32, int8 or what converts to float32.

        iterations: at most.  The result of a codeword does not depend on those beside it.  NaN
        counts as erased; a codeword of zeros does not converge.  Raises LocalError for another
        shape.
        """
        received = np.asarray(symbols)
        width = 8 * self.block_length
        if received.ndim != 2 or received.shape[1] != width:
            raise LocalError(f"symbols of shape {received.shape}, [n, {width}] wanted")
        if not 1 <= iterations <= 10_000:
            raise LocalError(f"{iterations} iterations, 1 to 10,000 allowed")
        rows = np.ascontiguousarray(received, np.float32).view()
        rows.flags.writeable = False
        tables = _tables(self.name)
        lead = _C2_LEFT_OUT if self.name == "C2" else 0
        sent = width - _C2_APPENDED if self.name == "C2" else width
        data = np.empty((len(rows), self.data_length), np.uint8)
        used = np.zeros(len(rows), np.int16)
        which = np.arange(len(rows))
        for limit in sorted({min(_FIRST_PASS, iterations), iterations}):
            ldpc_kernels.decode(
                rows,
                which,
                _MEAN[self._family],
                lead,
                sent,
                tables.matrix.columns * tables.matrix.size,
                8 * self.data_length,
                tables.starts,
                tables.variables,
                limit,
                data,
                used,
            )
            which = np.flatnonzero(used < 0)
        return LdpcResult(data, np.abs(used), used > 0)


@lru_cache(maxsize=len(LDPC_CODES))
def _tables(name: str) -> _Tables:
    if name == "C2":
        matrix = ldpc_codes.c2()
        generator = ldpc_generator.c2_generator(matrix)
    elif name.startswith("TC "):
        matrix = ldpc_codes.telecommand(int(name.split()[1]))
        generator = ldpc_generator.power_of_two_generator(matrix, 4)
    else:
        _, rate, bits = name.split()
        matrix = ldpc_codes.ar4ja(rate, int(bits))
        generator = ldpc_generator.power_of_two_generator(matrix, 4 * ldpc_codes.AR4JA_BLOCKS[rate])
    ones = matrix.ones()
    if name.startswith("AR4JA"):
        # Punctured variables know nothing at first: the checks that meet one of them each go
        # first, then those that meet two.
        third = matrix.rows * matrix.size // 3
        ones = np.concatenate((ones[ones[:, 0] >= 2 * third], ones[ones[:, 0] < 2 * third]))
    _, starts = np.unique(ones[:, 0], return_index=True)
    starts = np.append(np.sort(starts), len(ones)).astype(np.int32)
    return _Tables(
        matrix,
        ldpc_generator.spectrum_of(generator),
        starts,
        ones[:, 1].astype(np.int32),
    )
