"""What of a carrier arrives: range, antennas, weather, noise (the form of DSN 810-005, module 105).

Decibels add up: C/N0 = EIRP − space loss − attenuation + G/T + 228.6.  What depends on elevation is
the way through the atmosphere, which takes from the signal and adds its own noise.

    >>> dish = Dish(diameter_m=34.0, efficiency=0.71)
    >>> round(dish.gain_db(8.42e9), 1)
    68.1
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S

#: Boltzmann's constant, J/K: exact (SI of 2019).
BOLTZMANN_J_K: Final = 1.380649e-23
#: Of the sky behind the atmosphere, K.
COSMIC_K: Final = 2.725
#: The atmosphere is taken as flat, which below this elevation it is not.
_LEAST_ELEVATION_DEG: Final = 5.0


def space_loss_db(frequency_hz: float, range_km: npt.ArrayLike) -> F64:
    """Free space between isotropic antennas, dB; range_km [n]."""
    turns = 4 * np.pi * np.asarray(range_km, np.float64) * frequency_hz / SPEED_OF_LIGHT_KM_S
    return 20 * np.log10(turns)


@dataclass(frozen=True, slots=True)
class Dish:
    """A parabolic antenna; efficiency: of its aperture, all of its losses in it."""

    diameter_m: float
    efficiency: float = 0.6

    def __post_init__(self) -> None:
        if not (self.diameter_m > 0 and 0 < self.efficiency <= 1):
            raise LocalError(
                f"dish of {self.diameter_m} m and efficiency {self.efficiency}: above 0, and above "
                "0 and at most 1, wanted"
            )

    def gain_db(self, frequency_hz: float) -> float:
        """On its axis, dBi."""
        wavelength_m = SPEED_OF_LIGHT_KM_S * 1e3 / frequency_hz
        return 10 * math.log10(self.efficiency * (math.pi * self.diameter_m / wavelength_m) ** 2)

    def loss_db(self, frequency_hz: float, off_axis_deg: float) -> float:
        """Of a small pointing error: the parabola of a beam 70 λ/D degrees wide at half power."""
        wavelength_m = SPEED_OF_LIGHT_KM_S * 1e3 / frequency_hz
        width_deg = 70 * wavelength_m / self.diameter_m
        return 12 * (off_axis_deg / width_deg) ** 2


@dataclass(frozen=True, slots=True)
class Weather:
    """zenith_db: attenuation straight up at the carrier's frequency; physical_k: of the air."""

    zenith_db: float = 0.04
    physical_k: float = 270.0

    def attenuation_db(self, elevation_deg: npt.ArrayLike) -> F64:
        """On the way at an elevation, [n]; under 5 degrees as at 5."""
        elevation = np.maximum(np.asarray(elevation_deg, np.float64), _LEAST_ELEVATION_DEG)
        return self.zenith_db / np.sin(np.radians(elevation))

    def sky_k(self, elevation_deg: npt.ArrayLike) -> F64:
        """Noise temperature of the sky as it is seen through the weather, K."""
        passed = 10 ** (-self.attenuation_db(elevation_deg) / 10)
        return self.physical_k * (1 - passed) + COSMIC_K * passed


@dataclass(frozen=True, slots=True)
class RadioLink:
    """One direction.  transmit_w: into the antenna's feed; losses_db: of pointing, polarisation,
    circuits, added up; receiver_k: noise of receiver and antenna without the sky."""

    frequency_hz: float
    transmit_w: float
    transmitter: Dish
    receiver: Dish
    receiver_k: float
    losses_db: float = 0.0

    @property
    def eirp_dbw(self) -> float:
        return 10 * math.log10(self.transmit_w) + self.transmitter.gain_db(self.frequency_hz)

    def system_k(self, weather: Weather, elevation_deg: npt.ArrayLike) -> F64:
        """Operating noise temperature, K, [n]."""
        return self.receiver_k + weather.sky_k(elevation_deg)

    def g_over_t_db(self, weather: Weather, elevation_deg: npt.ArrayLike) -> F64:
        """Of the receiving station, dB/K, [n]."""
        gain_db = self.receiver.gain_db(self.frequency_hz)
        return gain_db - 10 * np.log10(self.system_k(weather, elevation_deg))

    def cn0_db_hz(
        self, range_km: npt.ArrayLike, weather: Weather, elevation_deg: npt.ArrayLike
    ) -> F64:
        """Total power against noise density, dBHz, [n]."""
        return (
            self.eirp_dbw
            - self.losses_db
            - space_loss_db(self.frequency_hz, range_km)
            - weather.attenuation_db(elevation_deg)
            + self.g_over_t_db(weather, elevation_deg)
            - 10 * math.log10(BOLTZMANN_J_K)
        )


def ebn0_db(cn0_db_hz: npt.ArrayLike, information_bit_s: float) -> F64:
    """Energy of a bit of information against noise density, all power being the data's."""
    return np.asarray(cn0_db_hz, np.float64) - 10 * math.log10(information_bit_s)
