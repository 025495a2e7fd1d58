"""Turbo and LDPC codes as a link uses them: randomised codewords behind a marker.

Of one transfer frame (131.0-B-5 §6, §7) a codeblock is one codeword behind the attached sync
marker.  Of a stream of sync-marked transfer frames (§8) it is 1 to 8 LDPC codewords behind a code
sync marker; frames, each with the attached sync marker before it, lie in their information end to
end, wherever a codeword begins.  The randomiser runs over a whole codeblock, not over its marker.

    >>> coding = CodeblockCoding(LdpcCode("C2"), randomiser="ccsds")
    >>> data = np.arange(1784, dtype=np.uint8).reshape(2, 892)
    >>> sent = coding.encode(data)
    >>> sent.shape, np.packbits(sent[0, :32]).tobytes().hex()
    ((2, 8192), '1acffc1d')
    >>> result = coding.decode(1.0 - 2.0 * sent[:, 32:].astype(np.float32))
    >>> bool((result.data == data).all()), result.corrected.tolist()
    (True, [[0], [0]])
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from protocols.coding.ldpc import LdpcCode
from protocols.coding.randomiser import RandomiserKind, sequence
from protocols.coding.sync import ASM, ASM_LDPC, ASM_TURBO
from protocols.coding.turbo import TurboCode
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
#: 131.0-B-5 §12, managed parameters: LDPC codewords in a codeblock of a sliced stream.
MOST_CODEWORDS: Final = 8
#: Longest transfer frame of a sliced stream, octets (131.0-B-5 §11.9), by kind of frame.
LONGEST_SLICED: Final = {"tm": 2048, "aos": 2048, "uslp": 65_536}


def marker_of(code: TurboCode | LdpcCode) -> bytes:
    """131.0-B-5 §9.3: the attached sync marker of frames that are a codeword each.

    §8.2.2 gives the code sync marker of a sliced stream the same lengths, 32 bits with C2 and 64
    with AR4JA; its patterns are taken to be these, too.
    """
    if isinstance(code, TurboCode):
        return ASM_TURBO[code.rate]
    return ASM if code.name == "C2" else ASM_LDPC


@dataclass(frozen=True, eq=False)
class CodeblockResult:
    """n codeblocks of m codewords in the order given.

    data: uint8 [n, m · data_length of a codeword], as decided, whether right or not.
    bits: uint8 [n, symbols], the codeblocks' symbols as they were sent, still randomised; hard
    decisions of what was received where a codeword failed.
    converged: bool [n, m]; iterations: int16 [n, m].
    corrected: int32 [n, m], symbols of the codeword that had arrived wrong; 0 where it failed.
    """

    data: U8
    bits: U8
    converged: npt.NDArray[np.bool_]
    iterations: npt.NDArray[np.int16]
    corrected: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.data)


@dataclass(frozen=True)
class CodeblockCoding:
    """What the two ends have agreed on.

    codewords: 0: a codeblock is one transfer frame; else so many LDPC codewords of a sliced stream.
    marker: empty: the code's own.  Raises LocalError for what does not go together.
    """

    code: TurboCode | LdpcCode
    randomiser: RandomiserKind | Literal["none"] = "none"
    codewords: int = 0
    marker: bytes = b""

    def __post_init__(self) -> None:
        if not 0 <= self.codewords <= MOST_CODEWORDS:
            raise LocalError(
                f"{self.codewords} codewords in a codeblock; 1 to {MOST_CODEWORDS} allowed, or 0 "
                "for frames that are a codeword each"
            )
        if self.codewords and isinstance(self.code, TurboCode):
            raise LocalError("a stream of frames is sliced into LDPC codewords, not turbo ones")
        if isinstance(self.code, LdpcCode) and self.code.name.startswith("TC "):
            raise LocalError(f"LDPC code {self.code.name!r} is telecommand's; AR4JA or C2 wanted")
        if self.marker and not 4 <= len(self.marker) <= 32:
            raise LocalError(f"marker of {len(self.marker)} octets, 4 to 32 wanted")
        if not self.marker:
            object.__setattr__(self, "marker", marker_of(self.code))

    @property
    def sliced(self) -> bool:
        return self.codewords > 0

    @property
    def words(self) -> int:
        """Codewords in a codeblock."""
        return max(self.codewords, 1)

    @property
    def word_symbols(self) -> int:
        """Symbols of a codeword."""
        code = self.code
        return code.symbols if isinstance(code, TurboCode) else 8 * code.block_length

    @property
    def symbols(self) -> int:
        """Of a codeblock, without its marker."""
        return self.words * self.word_symbols

    @property
    def data_length(self) -> int:
        """Octets of information in a codeblock."""
        return self.words * self.code.data_length

    @property
    def period(self) -> int:
        """Symbols from one marker to the next."""
        return 8 * len(self.marker) + self.symbols

    @cached_property
    def marker_bits(self) -> U8:
        return np.unpackbits(np.frombuffer(self.marker, np.uint8))

    @cached_property
    def _pattern(self) -> U8:
        """The randomiser's bits over a codeblock."""
        if self.randomiser == "none":
            return np.zeros(self.symbols, np.uint8)
        return np.unpackbits(sequence(-(-self.symbols // 8), self.randomiser))[: self.symbols]

    @cached_property
    def _signs(self) -> F32:
        return (1.0 - 2.0 * self._pattern).astype(np.float32)

    def encode(self, data: U8) -> U8:
        """Bits, uint8 [n, period], of uint8 [n, data_length].  LocalError for another shape."""
        if data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != self.data_length:
            raise LocalError(
                f"array of {data.dtype} {data.shape}, uint8 [n, {self.data_length}] wanted"
            )
        out = np.empty((len(data), self.period), np.uint8)
        out[:, : len(self.marker_bits)] = self.marker_bits
        np.bitwise_xor(self._words(data), self._pattern, out=out[:, len(self.marker_bits) :])
        return out

    def _words(self, data: U8) -> U8:
        """Codewords side by side, uint8 [n, symbols]."""
        words = np.ascontiguousarray(data).reshape(-1, self.code.data_length)
        coded = self.code.encode(words)
        if isinstance(self.code, LdpcCode):
            coded = np.unpackbits(coded, axis=1)
        return coded.reshape(len(data), self.symbols)

    def decode(self, symbols: F32) -> CodeblockResult:
        """Of soft symbols, float32 [n, symbols], positive for 0; hard ones are ±1.

        The result of a codeblock does not depend on those beside it.
        """
        n = len(symbols)
        plain = symbols * self._signs
        words = plain.reshape(n * self.words, self.word_symbols)
        found = self.code.decode(words)
        data = found.data.reshape(n, self.data_length)
        received = plain < 0
        sent = self._words(data)
        shape = (n, self.words)
        converged = found.converged.reshape(shape)
        wrong = (sent != received).reshape(*shape, self.word_symbols)
        corrected = np.where(converged, np.count_nonzero(wrong, axis=2), 0).astype(np.int32)
        failed = ~converged
        if failed.any():
            by_word = sent.reshape(*shape, self.word_symbols)
            by_word[failed] = received.reshape(by_word.shape)[failed]
        return CodeblockResult(
            data, sent ^ self._pattern, converged, found.iterations.reshape(shape), corrected
        )
