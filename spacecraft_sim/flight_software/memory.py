"""Memory with single-error correction: upsets come with protons, two in a word are too many."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from protocols.dictionary.l4_states import EventId, Severity
from spacecraft_sim.subsystems.common import Event
from spacecraft_sim.subsystems.noise import Noise

#: Upsets a second: of galactic particles, and for every proton/(cm² s sr) above 12 MeV.
QUIET_RATE_HZ: Final = 2e-4
RATE_HZ_PER_PFU: Final = 2e-5
#: An upset hits a word that has an error already; the odds grow with errors not yet scrubbed.
WORDS: Final = 1 << 18
#: The scrubber passes every word so often by itself.
_SCRUB_PERIOD_S: Final = 3_600


class Memory:
    """on_failure: what is lost where two bits of a word are wrong; it says what that was."""

    def __init__(
        self, noise: Noise, raise_event: Callable[[Event], None], on_failure: Callable[[], str]
    ) -> None:
        self._noise = noise
        self._raise = raise_event
        self._lose = on_failure
        self.upsets = 0
        self.failures = 0
        #: Errors since the last pass of the scrubber.
        self.latent = 0
        self._age_s = 0

    def tick(self, protons_pfu: float) -> None:
        self._age_s += 1
        if self._age_s >= _SCRUB_PERIOD_S:
            self.scrubbed()
        rate = QUIET_RATE_HZ + RATE_HZ_PER_PFU * protons_pfu
        # One draw a second decides nearly always: most seconds have none.
        if self._noise.uniform() < math.exp(-rate):
            return
        for _ in range(max(1, self._noise.poisson(rate))):
            self.upsets += 1
            if self._noise.uniform() < self.latent / WORDS:
                self.fail()
            else:
                self.latent += 1

    def scrubbed(self) -> None:
        self.latent = 0
        self._age_s = 0

    def fail(self) -> None:
        """Two wrong bits in one word."""
        self.failures += 1
        text = f"uncorrectable memory error: {self._lose()}"
        self._raise(Event(EventId.MEMORY_FAILURE, Severity.MEDIUM, text))
