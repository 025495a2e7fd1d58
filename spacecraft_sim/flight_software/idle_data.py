"""What fills frames that carry only idle data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_CELLS = 32
_TAPS = (1, 2, 22, 32)
#: Octets made at once: 8·1024 is a power of two, see below.
_BLOCK = 1024


class IdleData:
    """Output of the 32-cell register 1 + D + D² + D²² + D³², begun with ones, never restarted.

    732.1-B-3 annex H, and the same register for AOS and TM.  Over GF(2) the recurrence squares
    termwise: what holds for bits n, n−1, n−2, n−22, n−32 holds for any power of two times these
    distances.  So after a start bit by bit, whole blocks of octets follow from four earlier ones.

    >>> IdleData().take(8).tobytes().hex()
    'ffffffff6db6d861'
    """

    def __init__(self) -> None:
        bits = [1] * _CELLS
        while len(bits) < 8 * _CELLS:
            bits.append(bits[-1] ^ bits[-2] ^ bits[-22] ^ bits[-32])
        octets = bytearray(np.packbits(np.array(bits, np.uint8)).tobytes())
        while len(octets) < _CELLS * _BLOCK:
            octets.append(octets[-1] ^ octets[-2] ^ octets[-22] ^ octets[-32])
        self._made = np.frombuffer(bytes(octets), np.uint8)
        self._taken = 0

    def take(self, length: int) -> npt.NDArray[np.uint8]:
        """The next octets of the sequence, uint8 [length]."""
        while len(self._made) - self._taken < length:
            tail = self._made[-_CELLS * _BLOCK :]
            blocks = [tail[len(tail) - tap * _BLOCK :][:_BLOCK] for tap in _TAPS]
            fresh = blocks[0] ^ blocks[1] ^ blocks[2] ^ blocks[3]
            # What was taken goes, except the history that the recurrence reads.
            keep = min(self._taken, len(self._made) - _CELLS * _BLOCK)
            self._made = np.concatenate([self._made[keep:], fresh])
            self._taken -= keep
        octets = self._made[self._taken : self._taken + length]
        self._taken += length
        return octets
