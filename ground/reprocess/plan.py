"""A capture cut into parts: consecutive chunks of one day (UTC, by Earth receive time).

Where the cuts are depends on the capture alone, not on who works on it or in what order; chunks
that are appended to a capture change its last part and nothing before it.
"""

from __future__ import annotations

import hashlib
import struct
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ground.ports import LinkChunk
from ground.receive.capture import CapturePosition, CaptureReader
from protocols.timecodes.tai import (
    NS_PER_SECOND,
    utc_day_of_tai_ns,
    utc_iso_from_tai_ns,
)

#: Cuts are looked for so many octets apart; at least so many are compared where two parts join.
STRETCH_OCTETS = 1 << 20
#: How late a chunk may be behind midnight and count to the day that has begun.
LATE_NS = 60 * NS_PER_SECOND


class Stretch(NamedTuple):
    """Consecutive chunks of one file and one day; times are TAI ns.

    digest: of its chunks, `ChunkDigest`.
    """

    day: str
    begin: CapturePosition
    end: CapturePosition
    octets: int
    first_ns: int
    last_ns: int
    digest: str


_CHUNK = struct.Struct("<QqQ")


class ChunkDigest:
    """What chunks hold and when and whence they came, in their order: which octets of a capture
    results were made of is told by this, not by the names of files."""

    def __init__(self) -> None:
        self._hash, self._stream = hashlib.sha256(), ""

    def add(self, chunk: LinkChunk) -> None:
        if chunk.stream != self._stream:
            self._stream = chunk.stream
            self._hash.update(f"\n{self._stream}\n".encode())
        octets = chunk.octets
        self._hash.update(_CHUNK.pack(chunk.sequence, chunk.ert_ns, len(octets)) + octets)

    def take(self) -> str:
        """The digest of all since the last call."""
        found = self._hash.hexdigest()[:32]
        self._hash, self._stream = hashlib.sha256(), ""
        return found


@dataclass(frozen=True, slots=True)
class Scanned:
    """One file looked through; octets that are no sound block, and blocks that are no chunks."""

    stretches: list[Stretch]
    damaged_octets: int
    torn_octets: int
    foreign_blocks: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one task decodes: chunks behind `begin` up to `end`.

    day, number: its name; a day of more than a part's octets has several.  check: from where its
    packets are compared with those of the part before, None for a capture's first part; tail: from
    where those of the part behind it are.  last: the capture ends with it.
    """

    capture: str
    day: str
    number: int
    begin: CapturePosition
    end: CapturePosition
    octets: int
    check: CapturePosition | None
    tail: CapturePosition
    last: bool
    stretches: tuple[Stretch, ...] = field(repr=False)

    @property
    def name(self) -> str:
        return f"day={self.day}/part-{self.number:04d}"

    def described(self) -> dict[str, Any]:
        """Of JSON's types: two parts are the same if these are."""
        return {
            "capture": self.capture,
            "day": self.day,
            "number": self.number,
            "begin": list(self.begin),
            "end": list(self.end),
            "octets": self.octets,
            "first_ns": self.stretches[0].first_ns,
            "last_ns": self.stretches[-1].last_ns,
            "last": self.last,
            "stretches": [[list(one.begin), one.octets, one.digest] for one in self.stretches],
        }


def same_part(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Of `described`: the same chunks under the same name, wherever the capture lies now."""
    return {**one, "capture": ""} == {**other, "capture": ""}


def scan(file: str, number: int, stretch_octets: int) -> Scanned:
    """One file of a capture, which is its `number`-th; any process that sees the file may do it."""
    found: list[Stretch] = []
    digest = ChunkDigest()
    begin = end = CapturePosition(number, 0)
    octets, day, today, first_ns, last_ns = 0, "", _Day(), 0, 0
    reader = CaptureReader(Path(file))

    def close() -> None:
        found.append(Stretch(day, begin, end, octets, first_ns, last_ns, digest.take()))

    for position, chunk in reader.read():
        now = today.of(chunk.ert_ns)
        if end != begin and (now != day or octets >= stretch_octets):
            close()
            begin, octets = end, 0
        if end == begin:
            day, first_ns = now, chunk.ert_ns
        last_ns = chunk.ert_ns
        digest.add(chunk)
        end = CapturePosition(number, position.offset)
        octets += len(chunk.octets)
    if end != begin:
        close()
    return Scanned(found, reader.damaged_octets, reader.torn_octets, reader.foreign_blocks)


class _Day:
    """The UTC day of instants; asked for only where another begins or ended: it costs as much as a
    chunk.  Several streams do not pass midnight together: what is late by less than `LATE_NS`
    belongs to the day that has begun, lest a day end in hundreds of parts."""

    def __init__(self) -> None:
        self._name, self._begin_ns, self._end_ns = "", 0, 0

    def of(self, ert_ns: int) -> str:
        if not self._begin_ns - LATE_NS <= ert_ns < self._end_ns:
            self._name = utc_iso_from_tai_ns(ert_ns, decimals=0)[:10]
            self._begin_ns = ert_ns - utc_day_of_tai_ns(ert_ns)[1]
            # A leap second, behind this end, is asked for each time, and is still the same day.
            self._end_ns = self._begin_ns + 86_400 * NS_PER_SECOND
        return self._name


class Plan:
    """Parts of a capture, and how far back a decoder begins that is to know what came before."""

    def __init__(
        self, capture: str, stretches: Sequence[Stretch], part_octets: int, numbers: Counter[str]
    ) -> None:
        """numbers: of parts by day, counted on through the captures of one plan."""
        self._stretches = list(stretches)
        self._begins = [one.begin for one in self._stretches]
        self.parts: list[Part] = []
        firsts: list[int] = []
        octets = 0
        for index, one in enumerate(self._stretches):
            if not firsts or one.day != self._stretches[firsts[-1]].day or (octets >= part_octets):
                firsts.append(index)
                octets = 0
            octets += one.octets
        for first, behind in zip(firsts, [*firsts[1:], len(self._stretches)], strict=True):
            mine = tuple(self._stretches[first:behind])
            day = mine[0].day
            self.parts.append(
                Part(
                    capture,
                    day,
                    numbers[day],
                    mine[0].begin,
                    mine[-1].end,
                    sum(one.octets for one in mine),
                    self._begins[self._compared(first)] if first else None,
                    self._begins[self._compared(behind)],
                    behind == len(self._stretches),
                    mine,
                )
            )
            numbers[day] += 1

    def _compared(self, at: int) -> int:
        """The stretch from which on there is enough to be compared before the `at`-th."""
        octets = 0
        while at > 0 and octets < STRETCH_OCTETS:
            at -= 1
            octets += self._stretches[at].octets
        return at

    def warm_up(self, part: Part, octets: int) -> CapturePosition | None:
        """The beginning of a stretch so many octets before what is compared, or of more; None: the
        capture's beginning, so that nothing came before."""
        if part.check is None:
            return None
        at = bisect_right(self._begins, part.check) - 1
        while at > 0 and octets > 0:
            at -= 1
            octets -= self._stretches[at].octets
        return None if at == 0 else self._begins[at]


def capture_files(captures: Iterable[Path]) -> list[tuple[str, int, str]]:
    """(capture, number, file) of all files, in order."""
    return [
        (str(capture), number, str(path))
        for capture in captures
        for number, path in CaptureReader(capture).files()
    ]


__all__ = [
    "ChunkDigest",
    "Part",
    "Plan",
    "Scanned",
    "Stretch",
    "capture_files",
    "same_part",
    "scan",
]
