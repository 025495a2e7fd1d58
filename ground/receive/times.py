"""Earth receive time of octets inside the chain."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import numpy.typing as npt

#: Up to so many Python looks up faster than NumPy.
FEW = 8

I64 = npt.NDArray[np.int64]


class ReceiveTimes:
    """Earth receive time of any octet still in the chain.

    With a bit rate the time goes on within a chunk; without, a chunk's octets share its time.
    """

    def __init__(self, bit_rate: float | None) -> None:
        self._ns_per_bit = 0.0 if bit_rate is None else 1e9 / bit_rate
        self._starts: list[int] = []
        self._erts: list[int] = []

    def add(self, start: int, ert_ns: int) -> None:
        """A chunk begins at octet `start` of the stream; what is known already stays."""
        if self._starts and self._starts[-1] >= start:
            return
        if not self._erts or self._ns_per_bit or self._erts[-1] != ert_ns:
            self._starts.append(start)
            self._erts.append(ert_ns)

    def at(self, bits: I64) -> I64:
        """ERT of bit positions int64 [n] of the stream."""
        if len(bits) <= FEW and not self._ns_per_bit:
            find, octets = bisect_right, (bits >> 3).tolist()
            found = [self._erts[max(find(self._starts, octet) - 1, 0)] for octet in octets]
            return np.array(found, np.int64)
        starts = np.array(self._starts, np.int64)
        erts = np.array(self._erts, np.int64)
        chunk = np.maximum(np.searchsorted(starts, bits >> 3, side="right") - 1, 0)
        ert: I64 = erts[chunk]
        if self._ns_per_bit:
            ert = ert + np.rint((bits - starts[chunk] * 8) * self._ns_per_bit).astype(np.int64)
        return ert

    def forget(self, octet: int) -> None:
        """Octets before this one will not be asked for."""
        keep = bisect_right(self._starts, octet) - 1
        if keep > 0:
            del self._starts[:keep], self._erts[:keep]

    def snapshot(self) -> list[list[int]]:
        return [self._starts[:], self._erts[:]]

    def restore(self, state: list[list[int]]) -> None:
        self._starts, self._erts = list(state[0]), list(state[1])
