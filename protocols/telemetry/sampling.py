"""Parameters of some packets only, where a link brings more than anybody looks at.

Of each packet definition and virtual channel at most so many packets a second are decoded, spread
evenly: the first in each slot of Earth receive time.  What comes no faster is decoded in full.  The
choice depends on the packets and their order alone, not on load or on how they were cut.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from protocols.errors import LocalError
from protocols.packets.batch import I64, PacketBatch

SECOND_NS = 1_000_000_000
#: More than this a second is no sample that anybody looks at.
MOST_HZ = 1000


class Sampler:
    """hz: packets a second of one definition and virtual channel, 1 to `MOST_HZ` (LocalError).
    always: definitions of which every packet counts, such as reports of events.

    offered, chosen: packets with a definition so far, and those of them that were decoded.
    """

    def __init__(self, hz: int, *, always: Collection[str] = ()) -> None:
        if not 1 <= hz <= MOST_HZ:
            raise LocalError(f"sample of {hz} packets a second, 1..{MOST_HZ} wanted")
        self.hz = hz
        self.offered = self.chosen = 0
        self._period_ns = SECOND_NS // hz
        self._always = frozenset(always)
        # By definition and virtual channel: the slot that has its packet.
        self._last: dict[tuple[str, int], int] = {}

    def choose(self, definition: str, batch: PacketBatch, rows: I64) -> I64:
        """Those of the rows of a batch, all of one definition, whose parameters are wanted."""
        self.offered += len(rows)
        if definition not in self._always:
            slot = batch.ert_ns[rows] // self._period_ns
            vcid = batch.vcid[rows]
            keep = np.zeros(len(rows), np.bool_)
            for channel in np.unique(vcid).tolist():
                mine = np.flatnonzero(vcid == channel)
                slots = slot[mine]
                before = np.empty_like(slots)
                before[1:] = slots[:-1]
                before[0] = self._last.get((definition, channel), int(slots[0]) - 1)
                keep[mine] = slots != before
                self._last[definition, channel] = int(slots[-1])
            rows = rows[keep]
        self.chosen += len(rows)
        return rows

    def snapshot(self) -> dict[str, Any]:
        """Everything that decides the future, of types that msgpack can store."""
        last = [[*name, slot] for name, slot in sorted(self._last.items())]
        return {"hz": self.hz, "offered": self.offered, "chosen": self.chosen, "last": last}

    def restore(self, snapshot: Mapping[str, Any] | None) -> None:
        """Go on from a snapshot; from the beginning if there is none or it is of another rate."""
        if snapshot is None or snapshot["hz"] != self.hz:
            return
        self.offered, self.chosen = snapshot["offered"], snapshot["chosen"]
        self._last = {(definition, vcid): slot for definition, vcid, slot in snapshot["last"]}


def sampling_counts(sampler: Sampler | None) -> dict[str, int]:
    """For a service's status: empty if every packet is decoded."""
    if sampler is None:
        return {}
    return {"packets_offered": sampler.offered, "packets_sampled": sampler.chosen}


def sampling_text(sampler: Sampler | None) -> str:
    """For people: "" if every packet is decoded."""
    if sampler is None or sampler.chosen == sampler.offered:
        return ""
    share = sampler.offered / max(1, sampler.chosen)
    return f"parameters sampled: 1 packet in {share:.1f}, at most {sampler.hz} a second of a kind"


__all__ = ["MOST_HZ", "Sampler", "sampling_counts", "sampling_text"]
