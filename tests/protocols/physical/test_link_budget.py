"""Link budgets against published ones and against physics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from protocols.errors import LocalError
from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM
from protocols.physical.link_budget import (
    BOLTZMANN_J_K,
    Dish,
    RadioLink,
    Weather,
    ebn0_db,
    space_loss_db,
)


def test_space_loss_of_known_distances() -> None:
    # The textbook's geostationary link: 205.6 dB at 12.45 GHz and 36,600 km.
    assert space_loss_db(12.45e9, 36_600.0) == pytest.approx(205.6, abs=0.05)
    # 92.45 + 20 log f/GHz + 20 log d/km.
    expected = 92.45 + 20 * math.log10(8.42) + 20 * math.log10(ASTRONOMICAL_UNIT_KM)
    assert space_loss_db(8.42e9, ASTRONOMICAL_UNIT_KM) == pytest.approx(expected, abs=0.01)


def test_power_is_conserved_through_antennas_and_space() -> None:
    """The same in watts, from the areas alone: P · A_t · A_r / (λ·d)²."""
    frequency_hz, range_km = 8.42e9, 1.5e8
    link = RadioLink(frequency_hz, 55.0, Dish(1.5, 0.55), Dish(34.0, 0.71), 20.0)
    clear = Weather(zenith_db=0.0)
    wavelength_m = 299_792_458 / frequency_hz
    areas = 0.55 * math.pi * 0.75**2 * 0.71 * math.pi * 17.0**2
    received_w = 55.0 * areas / (wavelength_m * range_km * 1e3) ** 2
    density = BOLTZMANN_J_K * (20.0 + 2.725)
    found = link.cn0_db_hz(range_km, clear, 90.0)
    assert found == pytest.approx(10 * math.log10(received_w / density), abs=1e-9)
    assert ebn0_db(found, 1e6) == pytest.approx(found - 60)


def test_weather_takes_from_the_signal_and_adds_noise() -> None:
    weather = Weather(zenith_db=0.3, physical_k=270.0)
    assert weather.attenuation_db(np.array([90.0, 30.0])) == pytest.approx([0.3, 0.6])
    # Opaque, it is as bright as it is warm; absent, the sky is cold.
    assert Weather(zenith_db=60.0).sky_k(90.0) == pytest.approx(270.0, abs=0.01)
    assert Weather(zenith_db=0.0).sky_k(20.0) == pytest.approx(2.725)
    link = RadioLink(32e9, 100.0, Dish(1.5), Dish(34.0), 25.0)
    elevation = np.array([90.0, 45.0, 20.0, 10.0])
    found = link.cn0_db_hz(1.5e8, weather, elevation)
    assert np.all(np.diff(found) < 0)
    # At 10 degrees: 1.73 dB of loss, 92 K of sky.
    passed = 10 ** (-0.3 / math.sin(math.radians(10)) / 10)
    sky = 270 * (1 - passed) + 2.725 * passed
    assert link.system_k(weather, 10.0) == pytest.approx(25 + sky)


def test_a_beam_is_half_as_strong_half_its_width_off() -> None:
    dish = Dish(34.0)
    width_deg = 70 * (299_792_458 / 8.42e9) / 34
    assert dish.loss_db(8.42e9, width_deg / 2) == pytest.approx(3.0)
    with pytest.raises(LocalError, match="dish of -1 m and efficiency"):
        Dish(-1)
