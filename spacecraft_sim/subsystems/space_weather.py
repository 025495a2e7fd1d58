"""Space-weather instruments: proton fluxes by energy, solar wind, magnetic field."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from protocols.dictionary.l4_states import EventId, FieldRange, InstrumentMode, Severity, Switch
from spacecraft_sim.subsystems.common import Environment, Event
from spacecraft_sim.subsystems.noise import Drift, Noise

#: Lower edges of the differential proton channels, MeV; the first six are always sent, all of
#: them once the instrument has switched to its storm mode.
PROTON_EDGES_MEV = (0.8, 1.6, 3.2, 6.5, 12.0, 25.0, 40.0, 60.0, 85.0, 125.0, 200.0, 300.0, 500.0)
#: Middle (geometric mean) and width of each channel, MeV.
_BANDS = tuple((math.sqrt(low * high), high - low) for low, high in pairwise(PROTON_EDGES_MEV))
QUIET_CHANNELS = 6
STORM_CHANNELS = len(_BANDS)
#: First channel of the integral flux: everything above 12 MeV.
_INTEGRAL_FROM = 4
GEOMETRIC_FACTOR_CM2_SR = 0.6
ACCUMULATION_S = 4
#: NOAA's S1 threshold: 10 protons/(cm² s sr) above 10 MeV.
WARNING_PFU = 10.0
#: Vectors a packet, one packet a second.
SAMPLES_QUIET, SAMPLES_BURST = 16, 64


def proton_intensity(energy_mev: float, storm: float) -> float:
    """Protons/(cm² s sr MeV): galactic and quiet-time background plus the storm's power law."""
    background = 0.5 * energy_mev**-1.6 + 1.2e-4
    if storm <= 0.0:
        return background
    # Log-linear rise over five decades; at its peak about 3,000 pfu above 10 MeV (an S3 storm).
    strength = 10 ** (5.0 * storm - 5.0)
    return background + strength * 4.2e4 * energy_mev**-1.9 * math.exp(-energy_mev / 90.0)


class SpaceWeather:
    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self.mode = InstrumentMode.QUIET
        self._speed = Drift(noise, 18.0, 7_200.0)
        self._density = Drift(noise, 0.9, 3_600.0)
        self._field = [Drift(noise, 1.6, 1_800.0) for _ in range(3)]
        self._ripple = [Drift(noise, 0.25, 4.0) for _ in range(3)]
        self._shock = 0.0
        self._storm = 0.0
        self._warned = False
        self._shocked = False
        self.integral_pfu = 0.0

    def step(self, environment: Environment, *, on: bool) -> list[Event]:
        """One second."""
        events: list[Event] = []
        self._storm, self._shock = environment.storm, environment.shock
        for drift in (self._speed, self._density, *self._field, *self._ripple):
            drift.step()
        self.integral_pfu = sum(
            proton_intensity(middle, self._storm) * width
            for middle, width in _BANDS[_INTEGRAL_FROM:]
        )
        if not on:
            self.mode = InstrumentMode.OFF
        else:
            stormy = self.integral_pfu > WARNING_PFU * (0.5 if self._warned else 1.0)
            self.mode = InstrumentMode.STORM if stormy else InstrumentMode.QUIET
            if stormy != self._warned:
                self._warned = stormy
                events.append(
                    Event(
                        EventId.PROTON_WARNING if stormy else EventId.PROTON_CLEARED,
                        Severity.HIGH if stormy else Severity.INFORMATION,
                        f"protons above 12 MeV: {self.integral_pfu:.1f} pfu, "
                        f"threshold {WARNING_PFU:.0f}",
                    )
                )
        if self._shock > 0.5 and not self._shocked:
            self._shocked = True
            events.append(
                Event(
                    EventId.SHOCK_ARRIVAL,
                    Severity.MEDIUM,
                    f"interplanetary shock: {self.wind_speed_km_s:.0f} km/s",
                )
            )
        elif self._shock < 0.1:
            self._shocked = False
        return events

    @property
    def wind_speed_km_s(self) -> float:
        return 410.0 + self._speed.value + 520.0 * self._shock

    def protons(self) -> dict[str, Any]:
        """Counts of the last accumulation; as many channels as the instrument's mode sends."""
        if self.mode == InstrumentMode.OFF:
            number = 0
        else:
            number = STORM_CHANNELS if self.mode == InstrumentMode.STORM else QUIET_CHANNELS
        live = 1.0 - 0.35 * self._storm
        counts: list[int] = []
        for middle, width in _BANDS[:number]:
            rate = proton_intensity(middle, self._storm) * width
            counts.append(
                self._noise.poisson(rate * GEOMETRIC_FACTOR_CM2_SR * ACCUMULATION_S * live)
            )
        return {
            "instrument_mode": self.mode,
            "accumulation": ACCUMULATION_S,
            "live_time": 100.0 * live,
            "integral_flux": self.integral_pfu,
            "counts": counts,
        }

    def wind(self) -> dict[str, float]:
        shock = self._shock
        noise = self._noise.normal
        return {
            "wind_speed": self.wind_speed_km_s + noise(2.0),
            "wind_density": max(0.1, 5.5 + self._density.value) * (1 + 2.8 * shock) + noise(0.05),
            "wind_temperature": 9.0e4 * (1 + 6.0 * shock) * (1 + noise(0.02)),
            "alpha_ratio": max(0.0, 4.0 + 6.0 * shock + noise(0.1)),
            "flow_azimuth": noise(1.2) + 3.0 * shock,
            "flow_elevation": noise(1.0) - 2.0 * shock,
        }

    def field(self) -> dict[str, Any]:
        """Vectors of the last second, one list an axis; four times as many in burst mode."""
        burst = self._shock > 0.2
        number = SAMPLES_BURST if burst else SAMPLES_QUIET
        base = (-3.1, 2.9, 0.4)
        gain = 1.0 + 5.5 * self._shock
        samples = [
            [centre + self._noise.normal(0.05 * gain) for _ in range(number)]
            for centre in (
                (base[axis] + self._field[axis].value) * gain + self._ripple[axis].value
                for axis in range(3)
            )
        ]
        return {
            "range": FieldRange.COARSE if self._shock > 0.05 else FieldRange.FINE,
            "burst": Switch(burst),
            "calibrating": Switch.OFF,
            "sensor_temperature": -64.0 + self._noise.normal(0.05),
            "samples": samples,
        }
