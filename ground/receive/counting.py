"""Packets counted by virtual channel and APID as they pass: one walk over their headers."""

# numba ships no types: the arguments say here what they are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.packets.batch import PacketBatch
from protocols.packets.kernels import unwritable

U8 = npt.NDArray[np.uint8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]

_APID_BITS = 11
#: Every number that a batch's `vcid` (uint8) and an APID make together.
_NAMES = 1 << (8 + _APID_BITS)


class Of(IntEnum):
    """Columns of what is counted of an APID.  The last three are sets of small numbers as bits:
    what was seen of the field."""

    COUNT = 0
    OCTETS = 1
    LAST_SEQUENCE = 2
    DISCONTINUITIES = 3
    SHORTEST = 4
    LONGEST = 5
    SECONDARY_HEADER = 6
    TYPES = 7
    FLAGS = 8


_COUNT, _OCTETS, _LAST, _DISCONTINUITIES, _SHORTEST, _LONGEST, _SECONDARY, _TYPES, _FLAGS = (
    int(column) for column in Of
)


@njit(cache=True, nogil=True)
def _tally(
    octets: U8, offsets: I64, vcid: U8, start: int, places: I32, rows: I64, used: int, others: I64
) -> tuple[int, int]:
    """Count packets from number `start` on; rows in use afterwards, and the first packet that
    found no free row (or the number of all)."""
    for i in range(start, len(vcid)):
        at = offsets[i]
        length = offsets[i + 1] - at
        first = np.int64(octets[at])
        if first >> 5:
            # Encapsulation packets have no APID, and may be too short to read one from.
            others[vcid[i], 0] += 1
            others[vcid[i], 1] += length
            continue
        name = np.int64(vcid[i]) << 11 | (first & 7) << 8 | np.int64(octets[at + 1])
        if not places[name]:
            if used == len(rows):
                return used, i
            rows[used, _SHORTEST] = length
            used += 1
            places[name] = used
        row = rows[places[name] - 1]
        flags = np.int64(octets[at + 2]) >> 6
        sequence = (np.int64(octets[at + 2]) & 0x3F) << 8 | np.int64(octets[at + 3])
        # 133.0-B-2 §4.1.3.4.3.4: modulo 16,384.
        if row[_COUNT] and (sequence - row[_LAST]) & 0x3FFF != 1:
            row[_DISCONTINUITIES] += 1
        row[_LAST] = sequence
        row[_COUNT] += 1
        row[_OCTETS] += length
        row[_SHORTEST] = min(row[_SHORTEST], length)
        row[_LONGEST] = max(row[_LONGEST], length)
        row[_SECONDARY] |= 1 << ((first >> 3) & 1)
        # 133.0-B-2 §4.1.3.3.2: packet type 1 is telecommand.
        row[_TYPES] |= 1 << ((first >> 4) & 1)
        row[_FLAGS] |= 1 << flags
    return used, len(vcid)


class PacketCounts:
    """What passed, by (virtual channel, APID), in columns `Of`; other packets by virtual channel.

    Room for the APIDs seen: a few tens on a link, every one of 2^19 at the very worst.
    """

    def __init__(self) -> None:
        # Number of a name's row, from 1.  What is not touched costs address space alone.
        self._places = np.zeros(_NAMES, np.int32)
        self._rows = np.zeros((32, len(Of)), np.int64)
        self._used = 0
        self._others = np.zeros((256, 2), np.int64)

    def add(self, batch: PacketBatch) -> None:
        """Count a batch, in order of arrival."""
        octets, offsets = unwritable(batch.octets), unwritable(batch.offsets)
        vcid = unwritable(batch.vcid)
        at = 0
        while at < len(batch):
            if self._used == len(self._rows):
                self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
            self._used, at = _tally(
                octets, offsets, vcid, at, self._places, self._rows, self._used, self._others
            )

    @property
    def packets(self) -> int:
        return int(self._rows[:, Of.COUNT].sum() + self._others[:, 0].sum())

    @property
    def octets(self) -> int:
        return int(self._rows[:, Of.OCTETS].sum() + self._others[:, 1].sum())

    def rows(self) -> Iterator[tuple[int, int, list[int]]]:
        """(VCID, APID, columns `Of`) of each APID seen, in their order."""
        for name in np.flatnonzero(self._places).tolist():
            row = self._rows[self._places[name] - 1].tolist()
            yield name >> _APID_BITS, name & ((1 << _APID_BITS) - 1), row

    def others(self) -> dict[int, tuple[int, int]]:
        """Packets without an APID: VCID → number, octets."""
        found = np.flatnonzero(self._others[:, 0]).tolist()
        return {vcid: (int(self._others[vcid, 0]), int(self._others[vcid, 1])) for vcid in found}

    def snapshot(self) -> dict[str, list[list[int]]]:
        return {
            "apids": [[vcid, apid, *row] for vcid, apid, row in self.rows()],
            "others": [[vcid, *counts] for vcid, counts in self.others().items()],
        }

    def restore(self, apids: Sequence[Sequence[int]], others: Sequence[Sequence[int]]) -> None:
        """Take up the counts of a snapshot."""
        self._places[:] = 0
        self._rows = np.zeros((max(32, len(apids)), len(Of)), np.int64)
        self._used = len(apids)
        for number, (vcid, apid, *row) in enumerate(apids):
            self._places[vcid << _APID_BITS | apid] = number + 1
            self._rows[number] = row
        self._others[:] = 0
        for vcid, *counts in others:
            self._others[vcid] = counts


__all__ = ["Of", "PacketCounts"]
