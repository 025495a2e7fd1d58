"""Packets that come many at a time: a row for some thousands of them instead of a row each.

SQLite takes about 140,000 rows a second, and an optical link brings five times as many packets.
So what one append brings of one channel is one row if it is LEAST packets or more: times, counts
and lengths as compressed columns, all octets in one blob.  A live link of some packets a second
never comes to that, and its packets stay rows that any SQL tool can read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from heapq import heappop, heappush, heapreplace
from typing import Any

import numpy as np
import numpy.typing as npt

from ground.archive.columns import decode_times, decode_values, encode_times, encode_values
from ground.archive.database import Database
from ground.archive.model import NO_SCET, Axis
from protocols.packets.batch import PacketBatch

I64 = npt.NDArray[np.int64]

#: Packets of one channel in one append that become a group: at a commit five times a second the
#: channel then brings 2,500 packets a second or more.
LEAST = 512
#: A group is read whole: these bound what a reader holds of one.
MOST = 65_536
MOST_OCTETS = 8 << 20
#: Groups kept decoded while late packets are looked up among them.
REMEMBERED = 4

_COLUMNS = "channel, count, number, scet, sequence, ert, reception, length, lengths, octets"
Row = tuple[int, int, int | None, int | None, int, int, bytes]


@dataclass(frozen=True, eq=False)
class Group:
    """n packets of one channel in the order of arrival.

    number, scet_ns (`NO_SCET`: not told), ert_ns, reception_ns: int64 [n]; sequence: int32 [n],
    −1 for what is not a space packet; octets: of packet i from offsets[i] to offsets[i + 1].
    """

    channel: int
    number: I64
    scet_ns: I64
    sequence: npt.NDArray[np.int32]
    ert_ns: I64
    reception_ns: I64
    offsets: I64
    octets: bytes

    def packet(self, index: int) -> bytes:
        return self.octets[self.offsets[index] : self.offsets[index + 1]]

    @cached_property
    def _by_scet(self) -> tuple[I64, npt.NDArray[np.intp]]:
        order = np.argsort(self.scet_ns, kind="stable")
        return self.scet_ns[order], order

    def find(self, scet_ns: int, sequence: int) -> bytes | None:
        times, order = self._by_scet
        low, high = np.searchsorted(times, [scet_ns, scet_ns + 1])
        for index in order[low:high].tolist():
            if self.sequence[index] == sequence:
                return self.packet(index)
        return None

    def rows(self, axis: Axis, start_ns: int, stop_ns: int) -> Iterator[tuple[int, int, Row]]:
        """(time on the axis, number, row as of the table `packet`), in that order."""
        times = self.scet_ns if axis == "scet" else self.ert_ns
        inside = np.flatnonzero((times >= start_ns) & (times < stop_ns))
        inside = inside[np.lexsort((self.number[inside], times[inside]))]
        for index in inside.tolist():
            number, scet = int(self.number[index]), int(self.scet_ns[index])
            sequence = int(self.sequence[index])
            row = (
                number,
                self.channel,
                None if scet == NO_SCET else scet,
                None if sequence < 0 else sequence,
                int(self.ert_ns[index]),
                int(self.reception_ns[index]),
                self.packet(index),
            )
            yield int(times[index]), number, row


def write_groups(
    db: Database,
    channel: int,
    packets: PacketBatch,
    number: I64,
    scet_ns: I64,
    sequence: I64,
    reception_ns: I64,
) -> None:
    """Store packets of one channel; columns [n]; the caller owns the transaction."""
    start = 0
    while start < len(packets):
        limit = packets.offsets[start] + MOST_OCTETS
        stop = max(start + 1, int(np.searchsorted(packets.offsets, limit, "right")) - 1)
        stop = min(stop, start + MOST, len(packets))
        part = packets.slice(start, stop)
        here = slice(start, stop)
        length, lengths, octets = _encode_octets(part)
        timed = scet_ns[here][scet_ns[here] != NO_SCET]
        db.insert(
            "packet_group",
            (
                channel,
                len(part),
                encode_times(number[here]),
                encode_times(scet_ns[here]),
                encode_values(sequence[here].astype(np.int32)),
                encode_times(part.ert_ns),
                encode_times(reception_ns[here]),
                length,
                lengths,
                octets,
                int(number[stop - 1]),
                int(timed.min()) if len(timed) else None,
                int(timed.max()) if len(timed) else None,
                int(part.ert_ns.min()),
                int(part.ert_ns.max()),
            ),
        )
        start = stop


def _encode_octets(packets: PacketBatch) -> tuple[int | None, bytes | None, bytes]:
    """(length of all packets or None, else their lengths, their octets)."""
    length = packets.length
    if np.all(length == length[0]):
        # Octet k of all packets side by side: the fields of a packet resemble themselves in the
        # next packet, not each other.
        n = int(length[0])
        return n, None, encode_values(packets.octets.view(f"V{n}") if n > 1 else packets.octets)
    return None, encode_values(length.astype(np.uint32)), encode_values(packets.octets)


def _decode(row: tuple[Any, ...]) -> Group:
    channel, count, number, scet, sequence, ert, reception, length, lengths, octets = row
    if lengths is None:
        offsets = np.arange(count + 1, dtype=np.int64) * length
        plain = decode_values(octets, np.dtype(f"V{length}"), count).tobytes()
    else:
        offsets = np.zeros(count + 1, np.int64)
        np.cumsum(decode_values(lengths, np.dtype(np.uint32), count), out=offsets[1:])
        plain = decode_values(octets, np.dtype(np.uint8), int(offsets[-1])).tobytes()
    return Group(
        channel,
        decode_times(number, count),
        decode_times(scet, count),
        decode_values(sequence, np.dtype(np.int32), count),
        decode_times(ert, count),
        decode_times(reception, count),
        offsets,
        plain,
    )


def read_group(db: Database, group: int) -> Group:
    return _decode(
        db.execute(f"SELECT {_COLUMNS} FROM packet_group WHERE id = ?", (group,)).fetchone()
    )


def walk_groups(
    db: Database, channels: Collection[int], start_ns: int, stop_ns: int, axis: Axis
) -> Iterator[Row]:
    """Packets of all groups of these channels, ordered by the axis, then by arrival; a group is
    held from its first packet to its last."""
    waiting = [
        (first, group)
        for first, group, channel in db.execute(
            f"SELECT {axis}_min, id, channel FROM packet_group"
            f" WHERE {axis}_max >= ? AND {axis}_min < ? ORDER BY {axis}_min DESC, id DESC",
            (start_ns, stop_ns),
        )
        if channel in channels
    ]
    heap: list[tuple[int, int, Row, Iterator[tuple[int, int, Row]]]] = []
    while heap or waiting:
        if waiting and (not heap or waiting[-1][0] <= heap[0][0]):
            rows = read_group(db, waiting.pop()[1]).rows(axis, start_ns, stop_ns)
            for first in rows:
                heappush(heap, (*first, rows))
                break
            continue
        _time, _number, row, rows = heap[0]
        yield row
        following = next(rows, None)
        if following is None:
            heappop(heap)
        else:
            heapreplace(heap, (*following, rows))


class GroupLookup:
    """Finds single packets in groups; remembers the last groups it looked into."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: dict[int, Group] = {}

    def forget(self) -> None:
        """After a rollback: numbers of groups may come to stand for others."""
        self._known.clear()

    def find(self, channel: int, scet_ns: int, sequence: int) -> bytes | None:
        rows = self._db.execute(
            "SELECT id FROM packet_group WHERE channel = ? AND scet_min <= ?2 AND scet_max >= ?2",
            (channel, scet_ns),
        ).fetchall()
        for (group,) in rows:
            if group not in self._known:
                while len(self._known) >= REMEMBERED:
                    del self._known[next(iter(self._known))]
                self._known[group] = read_group(self._db, group)
            found = self._known[group].find(scet_ns, sequence)
            if found is not None:
                return found
        return None


__all__ = ["LEAST", "Group", "GroupLookup", "read_group", "walk_groups", "write_groups"]
