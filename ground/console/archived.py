"""How far what the console reads is behind what the archive has written: a replica may lag, and
what it answers is then not the present.

The archive service says about once a second how much it has stored; a replica holds what it holds.
So it is behind since the first time that more was told.  No clock of another machine has a part in
it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

#: Status messages that are remembered: an hour.  Who is further behind is so "at least".
KEPT: Final = 3_600
#: A replica is always behind by the way to it, and we hear of it once a second.
TOLERATED_S: Final = 3.0

#: Counters of rows that only grow.
_COUNTED: Final = ("packets", "events", "samples")


class Archived:
    def __init__(self) -> None:
        self._told: deque[tuple[float, int]] = deque(maxlen=KEPT)
        self._started = 0.0

    def told(self, counters: Mapping[str, int], started: float, now_s: float) -> None:
        """By the archive service, at `now_s` of a clock of ours that only runs on; started: its
        own beginning, since when nothing is taken back."""
        if started != self._started:
            self._told.clear()
            self._started = started
        total = _total(counters)
        if not self._told or total > self._told[-1][1]:
            self._told.append((now_s, total))

    def behind_s(self, counters: Mapping[str, int], now_s: float) -> float:
        """Of a store with these counters; 0: what it holds is what was told, or nearly so."""
        have = _total(counters)
        since_s = next((told_s for told_s, total in self._told if total > have), now_s)
        return now_s - since_s if now_s - since_s > TOLERATED_S else 0.0


def _total(counters: Mapping[str, int]) -> int:
    return sum(counters.get(name, 0) for name in _COUNTED)


__all__ = ["Archived"]
