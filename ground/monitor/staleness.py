"""Which packets have stopped coming.

Judged by ERT against ERT where the link still brings others (exact, whatever the speed of the world
and the light time), and against the clock, with some grace, where the link brings nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.bus.messages import EventKind

S = 1_000_000_000

#: Missed periods of its own after which a packet counts as stale.
PERIODS = 5
#: Packets faster than this are judged as if they came this often: frames are filled and sent in
#: bursts, so that single seconds say nothing.
SHORTEST_PERIOD_NS = 2 * S


#: Steps between packets that are remembered.
REMEMBERED = 8


@dataclass(slots=True)
class Rhythm:
    """steps_ns: distances of the last SCETs; scet_ns, ert_ns: of the newest packet."""

    steps_ns: list[int] = field(default_factory=list)
    scet_ns: int = 0
    ert_ns: int = 0
    stale: bool = False

    @property
    def period_ns(self) -> int:
        """What to expect, 0 while unknown: the longest step seen lately but for one, since one
        pause must not teach that pauses are normal, and two show that the rate has changed."""
        return sorted(self.steps_ns)[-2] if len(self.steps_ns) > 1 else 0


class Staleness:
    """Rhythm of each packet definition; live packets only."""

    def __init__(self) -> None:
        self.rhythms: dict[str, Rhythm] = {}
        self.newest_ert_ns = 0
        # What comes old is a backlog, of a ground that starts or a station that was not reached:
        # it shows that somebody is behind, and not that anything is missing.
        self._caught_up = False
        # The newest ERT when it was last looked at, and when that was another one.
        self._looked_ert_ns = self._came_ns = -1

    def seen(
        self, definition: str, scet_ns: npt.NDArray[np.int64], ert_ns: npt.NDArray[np.int64]
    ) -> bool:
        """Live packets came, [m] in order; True if the definition was stale and is no longer."""
        rhythm = self.rhythms.setdefault(definition, Rhythm())
        newest_ns = int(scet_ns[-1])
        if len(scet_ns) == 1:
            # Of a frame's packets the usual number, and NumPy takes ten times as long for it.
            steps = [newest_ns - rhythm.scet_ns] if rhythm.scet_ns else []
            rhythm.ert_ns = max(rhythm.ert_ns, int(ert_ns[0]))
        else:
            before = [rhythm.scet_ns] if rhythm.scet_ns else []
            apart = np.diff(np.concatenate((np.array(before, np.int64), scet_ns)))
            steps = apart[apart > 0][-REMEMBERED:].tolist()
            rhythm.ert_ns = max(rhythm.ert_ns, int(ert_ns.max()))
        kept = [step for step in steps if step > 0]
        if kept:
            rhythm.steps_ns = [*rhythm.steps_ns, *kept][-REMEMBERED:]
        rhythm.scet_ns = newest_ns
        self.newest_ert_ns = max(self.newest_ert_ns, rhythm.ert_ns)
        fresh, rhythm.stale = rhythm.stale, False
        return fresh

    def due(self, now_ns: int, grace_ns: int) -> list[str]:
        """Definitions that become stale now.

        grace_ns: by how much the ground may be behind the antenna without anything being wrong.
        """
        if self.newest_ert_ns != self._looked_ert_ns:
            self._looked_ert_ns, self._came_ns = self.newest_ert_ns, now_ns
            self._caught_up = now_ns - self.newest_ert_ns <= grace_ns
        elif now_ns - self._came_ns > grace_ns:
            # Old or not, nothing comes any more.
            self._caught_up = True
        reference_ns = self.newest_ert_ns
        if self._caught_up:
            reference_ns = max(reference_ns, now_ns - grace_ns)
        found: list[str] = []
        for definition, rhythm in self.rhythms.items():
            period_ns = rhythm.period_ns
            if rhythm.stale or not period_ns:
                continue
            patience_ns = PERIODS * max(period_ns, SHORTEST_PERIOD_NS)
            if reference_ns - rhythm.ert_ns > patience_ns:
                rhythm.stale = True
                found.append(definition)
        return found

    def told(self, kind: str, definition: str) -> None:
        """An event of ours, read back from the journal: the state that it announced."""
        if kind in (EventKind.STALE, EventKind.FRESH):
            self.rhythms.setdefault(definition, Rhythm()).stale = kind == EventKind.STALE

    def snapshot(self) -> dict[str, Any]:
        rhythms = {
            name: [rhythm.steps_ns, rhythm.scet_ns, rhythm.ert_ns, rhythm.stale]
            for name, rhythm in self.rhythms.items()
        }
        return {
            "newest_ert_ns": self.newest_ert_ns,
            "caught_up": self._caught_up,
            "rhythms": rhythms,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        self.newest_ert_ns = self._looked_ert_ns = snapshot["newest_ert_ns"]
        self._caught_up = snapshot["caught_up"]
        self.rhythms = {name: Rhythm(*values) for name, values in snapshot["rhythms"].items()}
