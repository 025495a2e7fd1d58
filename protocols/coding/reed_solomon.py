"""Reed–Solomon codes (255,223) and (255,239) of 131.0-B-5 §4.

A codeword is checked by dividing its data by the generator, eight octets a step over tables in the
basis that is sent; one whose remainder is its parity is done.  Only the others go through
Berlekamp–Massey, root search and Forney's formula, with syndromes taken from the remainder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from protocols.coding import reed_solomon_kernels as kernels
from protocols.coding.galois import (
    Basis,
    CodeTables,
    code_tables,
    inverses,
    multiplication_table,
    powers,
)
from protocols.coding.rows import flat_rows
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

#: More errors than the code can correct.
UNCORRECTABLE = kernels.UNCORRECTABLE
#: The errors found lie, at least in part, on fill octets, which are not sent and cannot be wrong.
IN_VIRTUAL_FILL = kernels.IN_VIRTUAL_FILL


@dataclass(frozen=True, eq=False)
class ReedSolomonResult:
    """n decoded blocks.

    data: uint8 [n, data_length]; the data of a codeword that was not corrected are as received.
    corrections: int16 [n, interleave]; octets of the codeword that were wrong, parity and erased
    octets included, or UNCORRECTABLE (−1) or IN_VIRTUAL_FILL (−2): any negative is a failure.
    """

    data: U8
    corrections: npt.NDArray[np.int16]

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """bool [n]: every codeword of the block is right or was corrected."""
        return np.min(self.corrections, axis=1, initial=0) >= 0


@dataclass(frozen=True)
class ReedSolomon:
    """One agreed code; batches of blocks.

    parity: check octets a codeword, 32 (E = 16) or 16 (E = 8).
    interleave: codewords a block, 1–8 (the standard has 1, 2, 3, 4, 5 and 8).
    virtual_fill: octets a codeword, taken as zero and not sent (§4.3.7).
    basis: "dual" is the standard's; "conventional" is what some encoders send.
    known_prefix: octets before the block which the encoder covered though they are not part of it
    (one that began within the sync marker); they stand in the last octets of the virtual fill.
    They count as received: the decoder may correct them.

    Raises LocalError for what no code has.

    >>> ReedSolomon(interleave=5).block_length, ReedSolomon(interleave=5).data_length
    (1275, 1115)
    """

    parity: int = 32
    interleave: int = 1
    virtual_fill: int = 0
    basis: Basis = "dual"
    known_prefix: bytes = b""

    def __post_init__(self) -> None:
        if self.parity not in (16, 32):
            raise LocalError(f"Reed–Solomon parity is {self.parity} octets, 16 or 32 allowed")
        if not 1 <= self.interleave <= 8:
            raise LocalError(f"Reed–Solomon interleave is {self.interleave}, 1 to 8 allowed")
        if not 0 <= self.virtual_fill < 255 - self.parity:
            raise LocalError(
                f"Reed–Solomon virtual fill is {self.virtual_fill} octets a codeword, "
                f"0 to {254 - self.parity} allowed"
            )
        if self.basis not in ("dual", "conventional"):
            raise LocalError(
                f"Reed–Solomon basis is {self.basis!r}, 'dual' or 'conventional' allowed"
            )
        if len(self.known_prefix) > self.virtual_fill * self.interleave:
            raise LocalError(
                f"known prefix of {len(self.known_prefix)} octets is longer than the virtual fill "
                f"of {self.virtual_fill * self.interleave}"
            )

    @property
    def codeword_data_length(self) -> int:
        """Data octets sent in each codeword."""
        return 255 - self.parity - self.virtual_fill

    @property
    def data_length(self) -> int:
        """Data octets of a block."""
        return self.codeword_data_length * self.interleave

    @property
    def block_length(self) -> int:
        """Octets of a block as sent, check octets included."""
        return (255 - self.virtual_fill) * self.interleave

    def encode(self, data: U8) -> U8:
        """uint8 [n, data_length] to uint8 [n, block_length].  LocalError for another shape."""
        self._require(data, self.data_length)
        block = np.empty((len(data), self.block_length), np.uint8)
        block[:, : self.data_length] = data
        kernels.put_parity(self._remainders(data), self.interleave, self.parity, block)
        return block

    def decode(
        self, blocks: U8, erasures: npt.NDArray[np.bool_] | None = None
    ) -> ReedSolomonResult:
        """uint8 [n, block_length], and bool of the same shape, true where an octet is unreliable.

        A codeword with e errors and s erasures is corrected if 2e + s ≤ parity.
        Raises LocalError for another shape.
        """
        self._require(blocks, self.block_length)
        erased = np.empty((0, 0), np.uint8)
        if erasures is not None:
            if erasures.shape != blocks.shape:
                raise LocalError(f"erasures of shape {erasures.shape}, {blocks.shape} wanted")
            erased = np.ascontiguousarray(erasures, np.bool_).view(np.uint8)
        tables = self._tables
        flat, stride = flat_rows(blocks)
        data = blocks[:, : self.data_length].copy()
        corrections = np.empty((len(blocks), self.interleave), np.int16)
        kernels.repair(
            flat,
            stride,
            self.interleave,
            self.codeword_data_length,
            self.parity,
            tables.first_root,
            tables.syndrome,
            tables.search,
            multiplication_table(),
            inverses(),
            powers(),
            tables.to_element,
            tables.to_octet,
            erased,
            erasures is not None,
            self._not_sent,
            self._remainders(blocks),
            data,
            corrections,
        )
        return ReedSolomonResult(data, corrections)

    @cached_property
    def _tables(self) -> CodeTables:
        return code_tables(self.parity, self.basis)

    def _remainders(self, rows: U8) -> U64:
        flat, stride = flat_rows(rows)
        out = np.empty((len(rows) * self.interleave, 4), np.uint64)
        kernels.remainders(
            flat,
            stride,
            self.interleave,
            self.codeword_data_length,
            self._tables.remainder,
            self._prefix,
            out,
        )
        return out

    @cached_property
    def _prefix(self) -> U8:
        """uint8 [interleave, m]: the known prefix as it falls on the codewords."""
        m = -(-len(self.known_prefix) // self.interleave)
        octets = self.known_prefix.rjust(m * self.interleave, b"\0")
        columns = np.frombuffer(octets, np.uint8).reshape(m, self.interleave)
        return np.ascontiguousarray(columns.T)

    @cached_property
    def _not_sent(self) -> npt.NDArray[np.int64]:
        """int64 [interleave]: degree from which on each codeword is fill."""
        known, rest = divmod(len(self.known_prefix), self.interleave)
        extra = np.arange(self.interleave) >= self.interleave - rest
        return 255 - self.virtual_fill + known + extra.astype(np.int64)

    @staticmethod
    def _require(rows: U8, length: int) -> None:
        if rows.ndim != 2 or rows.dtype != np.uint8 or rows.shape[1] != length:
            raise LocalError(f"array of {rows.dtype} {rows.shape}, uint8 [n, {length}] wanted")
