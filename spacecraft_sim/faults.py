"""Faults that a scenario scripts: at a time, something on the spacecraft is no longer as it was."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from protocols.dictionary.l4_commands import Antenna
from spacecraft_sim.scenario import Fault


class Faults:
    """What is broken now.  Times are scenario seconds."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._coming = deque(sorted(faults, key=lambda fault: fault.at_s))
        #: Antennas by which nothing is received, until when.
        self._deaf: dict[Antenna, float] = {}

    def due(self, t_s: float) -> list[Fault]:
        """Faults that begin now."""
        out: list[Fault] = []
        while self._coming and self._coming[0].at_s <= t_s:
            fault = self._coming.popleft()
            if fault.kind == "receiver_deaf":
                self._deaf[Antenna[fault.antenna]] = fault.at_s + fault.duration_s
            out.append(fault)
        return out

    def receives(self, antenna: Antenna, t_s: float) -> bool:
        return t_s >= self._deaf.get(antenna, t_s)
