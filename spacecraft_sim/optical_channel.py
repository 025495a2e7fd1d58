"""The way of light to the ground: frames arrive where the sky is clear; seeded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spacecraft_sim.channel import LightTime, Received, flip
from spacecraft_sim.clouds import Clouds
from spacecraft_sim.optical_settings import OpticalSettings

I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]


@dataclass
class OpticalCounts:
    """The truth that the ground's counts are compared with; clouded: frames that no station saw."""

    sent: int = 0
    clouded: int = 0
    bits_flipped: int = 0


class OpticalChannel:
    """start_ns: spacecraft time of the scenario's second 0; the sky begins when what left then
    arrives."""

    def __init__(
        self, settings: OpticalSettings, light_time: LightTime, seed: int, start_ns: int
    ) -> None:
        self.settings = settings
        self.counts = OpticalCounts()
        self._light_time = light_time
        begin_ns = start_ns + int(light_time.downlink_ns(np.array([start_ns], np.int64))[0])
        self.skies = {
            one.name: Clouds(
                one.name, one.cloud_fraction, one.correlation_s, seed=seed, start_ns=begin_ns
            )
            for one in settings.station
        }
        self._errors = np.random.default_rng([seed, *b"optical bits"])

    def clear(self, arrival_ns: I64) -> npt.NDArray[np.bool_]:
        """Whether any station sees the spacecraft at these instants."""
        return np.any([sky.clear(arrival_ns) for sky in self.skies.values()], axis=0)

    def downlink(self, cadus: U8, emission_ns: I64) -> Received:
        """Whole CADUs that left at `emission_ns` (int64 [n]) as they arrive."""
        ert_ns = emission_ns + self._light_time.downlink_ns(emission_ns)
        seen = self.clear(ert_ns)
        self.counts.sent += len(cadus)
        self.counts.clouded += int(np.count_nonzero(~seen))
        # Drawn for every frame, so that clouds do not move the errors behind them.
        errors = self._errors.binomial(
            8 * cadus.shape[1], self.settings.bit_error_rate, size=len(cadus)
        )
        places = self._errors.integers(1 << 62, size=len(cadus))
        rows = np.flatnonzero(seen)
        received = cadus[rows]
        for row, (count, seed) in enumerate(zip(errors[rows], places[rows], strict=True)):
            flip(received[row], int(count), np.random.default_rng(int(seed)))
        self.counts.bits_flipped += int(errors[rows].sum())
        return Received(received, ert_ns[rows])
