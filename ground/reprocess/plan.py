"""A capture cut into parts: consecutive chunks of one day (UTC, by Earth receive time).

Where the cuts are depends on the capture alone, not on who works on it or in what order; chunks
that are appended to a capture change its last part and nothing before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ground.receive.capture import CapturePosition, CaptureReader
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Cuts are looked for so many octets apart.
STRETCH_OCTETS = 1 << 20


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive chunks of one file and one day."""

    day: str
    begin: CapturePosition
    end: CapturePosition
    octets: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one task decodes: chunks behind `begin` up to `end`.

    day, number: its name; a day of more than a part's octets has several.  check: where the last
    stretch before `begin` begins, None for a capture's first part; tail: where its own last one
    does.  last: the capture ends with it.
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

    @property
    def name(self) -> str:
        return f"day={self.day}/part-{self.number:04d}"

    def described(self) -> dict[str, Any]:
        """Of JSON's types: two parts are the same if these are."""
        return {
            "capture": Path(self.capture).name,
            "day": self.day,
            "number": self.number,
            "begin": list(self.begin),
            "end": list(self.end),
            "octets": self.octets,
            "last": self.last,
        }


def scan(capture: str, file: str, stretch_octets: int) -> list[Stretch]:
    """The stretches of one file of a capture; any process that sees the file may call it."""
    numbers = {path.name: number for number, path in CaptureReader(Path(capture)).files()}
    number = numbers[Path(file).name]
    found: list[Stretch] = []
    begin, octets, day, until = CapturePosition(number, 0), 0, "", -1
    end = begin
    for position, chunk in CaptureReader(Path(file)).read():
        # A day's name is asked for once a day: it costs as much as a chunk.
        if not 0 <= chunk.ert_ns - until + _DAY_NS < _DAY_NS or octets >= stretch_octets:
            today, until = _day(chunk.ert_ns)
            if octets and (today != day or octets >= stretch_octets):
                found.append(Stretch(day, begin, end, octets))
                begin, octets = end, 0
            day = today
        end = CapturePosition(number, position.offset)
        octets += len(chunk.octets)
    if end != begin:
        found.append(Stretch(day, begin, end, octets))
    return found


_DAY_NS = 86_400 * 10**9


def _day(ert_ns: int) -> tuple[str, int]:
    """The UTC day of an instant, and the instant (TAI ns) up to which it is surely that day."""
    text = utc_iso_from_tai_ns(ert_ns, decimals=0)
    hours, minutes, seconds = (int(part) for part in text[11:19].split(":"))
    # A leap second makes a day longer, never shorter than this says by more than itself.
    left = max(0, 86_399 - (3600 * hours + 60 * minutes + seconds)) * 10**9
    return text[:10], ert_ns + left


class Plan:
    """Parts of a capture, and how far back a decoder begins that is to know what came before."""

    def __init__(
        self, capture: str, stretches: Sequence[Stretch], part_octets: int, numbers: Counter[str]
    ) -> None:
        """numbers: of parts by day, counted on through the captures of one plan."""
        self._stretches = [one for one in stretches if one.octets]
        self._begins = [one.begin for one in self._stretches]
        self.parts: list[Part] = []
        group: list[int] = []
        cuts: list[list[int]] = []
        octets = 0
        for index, one in enumerate(self._stretches):
            if group and (one.day != self._stretches[group[0]].day or octets >= part_octets):
                cuts.append(group)
                group, octets = [], 0
            group.append(index)
            octets += one.octets
        if group:
            cuts.append(group)
        for place, group in enumerate(cuts):
            first, final = self._stretches[group[0]], self._stretches[group[-1]]
            before = self._stretches[group[0] - 1] if group[0] else None
            self.parts.append(
                Part(
                    capture,
                    first.day,
                    numbers[first.day],
                    first.begin,
                    final.end,
                    sum(self._stretches[i].octets for i in group),
                    None if before is None else before.begin,
                    final.begin,
                    place == len(cuts) - 1,
                )
            )
            numbers[first.day] += 1

    def warm_up(self, part: Part, octets: int) -> CapturePosition | None:
        """The beginning of a stretch so many octets before a part, or of more; None: the capture's
        beginning, so that nothing came before."""
        at = bisect_right(self._begins, part.begin) - 1
        while at > 0 and octets > 0:
            at -= 1
            octets -= self._stretches[at].octets
        return None if at == 0 else self._begins[at]


def capture_files(captures: Iterable[Path]) -> list[tuple[str, str]]:
    """(capture, file) of all files, in order."""
    return [
        (str(capture), str(path))
        for capture in captures
        for _, path in CaptureReader(capture).files()
    ]


__all__ = ["Part", "Plan", "Stretch", "capture_files", "scan"]
