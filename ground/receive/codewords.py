"""Reed-Solomon blocks of a link, also of encoders that covered more than they sent."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from protocols.coding.reed_solomon import ReedSolomon
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]

#: Symbols of a codeword (131.0-B-5 §4.3.1).
CODEWORD = 255


class DecodedBlocks(NamedTuple):
    """n blocks.

    frames: uint8 [n, data_length]; corrections: int16 [n, interleave], negative if not corrected;
    standard: the same read as the standard says, without the prefix; None if there is no prefix.
    """

    frames: U8
    corrections: npt.NDArray[np.int16]
    standard: npt.NDArray[np.int16] | None


class BlockDecoder:
    """Decoder of one agreed code.

    known_prefix: octets that the encoder covered and that are not part of the block; they stand in
    place of the last octets of the virtual fill.  An encoder that began within the sync marker can
    cover more symbols than a codeword has.  Then the codeword is read from the prefix on, and the
    octets that find no room at the end of the block are left for the code to find: a cyclic code's
    word may be read from any symbol on, and the first of the prefix shares its place with the last
    of the block (α^255 = 1).  Such a prefix wants interleave 1.
    """

    def __init__(self, code: ReedSolomon, known_prefix: bytes = b"") -> None:
        self._code = code
        self._standard: ReedSolomon | None = None
        self._prefix = b""
        self.block_length, self.data_length = code.block_length, code.data_length
        if not known_prefix:
            return
        self._standard = code
        if len(known_prefix) <= code.virtual_fill * code.interleave:
            self._code = replace(code, known_prefix=known_prefix)
            return
        over = len(known_prefix) - code.virtual_fill
        if code.interleave != 1 or over >= code.parity:
            raise LocalError(
                f"known prefix of {len(known_prefix)} octets: more than the virtual fill of "
                f"{code.virtual_fill} wants interleave 1, and fewer than {code.parity} too many"
            )
        self._prefix = known_prefix
        self._code = replace(code, virtual_fill=0)

    def decode(self, blocks: U8) -> DecodedBlocks:
        """uint8 [n, block_length] to frames and corrections."""
        standard = None if self._standard is None else self._standard.decode(blocks).corrections
        if not self._prefix:
            result = self._code.decode(blocks)
            return DecodedBlocks(result.data, result.corrections, standard)
        prefix = np.frombuffer(self._prefix, np.uint8)
        length = len(prefix)
        words = np.empty((len(blocks), CODEWORD), np.uint8)
        words[:, :length] = prefix
        words[:, length:] = blocks[:, : CODEWORD - length]
        result = self._code.decode(words)
        # Part of the frame lies where this reading has its parity: encode to have it corrected.
        whole = self._code.encode(result.data)
        frames = blocks[:, : self.data_length].copy()
        good = result.ok
        frames[good] = whole[good, length : length + self.data_length]
        return DecodedBlocks(frames, result.corrections, standard)
