"""Loss of contact: how long no command came, and by which antenna to listen then."""

from __future__ import annotations

from collections.abc import Callable

from protocols.dictionary.l4_commands import Antenna
from protocols.dictionary.l4_states import EventId, Severity
from spacecraft_sim.flight_software.housekeeping import ParameterPool
from spacecraft_sim.subsystems.common import Event


class Contact:
    """Counts whole seconds; its limits are the parameters FSW_CONTACT_LOSS, FSW_SEARCH_PERIOD."""

    def __init__(self, pool: ParameterPool, raise_event: Callable[[Event], None]) -> None:
        self._pool = pool
        self._raise = raise_event
        self.silent_s = 0
        self.lost = False
        self.antenna = Antenna.HIGH_GAIN

    def command(self) -> None:
        """A command was accepted."""
        self.silent_s = 0
        if self.lost:
            self.lost = False
            text = f"commands come again by {self.antenna.name}"
            self._raise(Event(EventId.CONTACT_REGAINED, Severity.INFORMATION, text))

    def select(self, antenna: Antenna) -> None:
        self.antenna = antenna

    def tick(self) -> None:
        self.silent_s += 1
        limit_s = round(3600 * self._pool.value("FSW_CONTACT_LOSS"))
        if not self.lost:
            if self.silent_s >= limit_s:
                self.lost = True
                hours = self.silent_s / 3600
                text = f"no command for {hours:.4g} h: antenna search"
                self._raise(Event(EventId.CONTACT_LOST, Severity.HIGH, text))
            return
        period_s = round(3600 * self._pool.value("FSW_SEARCH_PERIOD"))
        if (self.silent_s - limit_s) % max(1, period_s) == 0:
            self.antenna = Antenna((self.antenna + 1) % len(Antenna))
