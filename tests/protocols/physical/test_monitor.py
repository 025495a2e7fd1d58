from __future__ import annotations

import numpy as np
import pytest

from protocols.physical.monitor import UNIT, constellation, spectrum_db


def test_a_tone_stands_in_its_bin_with_its_power_and_noise_has_its_own() -> None:
    rng = np.random.default_rng(1)
    t = np.arange(40_000)
    tone = 0.5 * np.exp(2j * np.pi * 0.25 * t)
    noise = 0.01 * (rng.standard_normal(len(t)) + 1j * rng.standard_normal(len(t)))
    seen = spectrum_db((tone + noise).astype(np.complex64))
    assert len(seen) == 512
    assert int(np.argmax(seen)) == 384
    # Hann spreads a tone over 1.5 bins.
    assert 10 * np.log10(np.sum(10 ** (seen / 10))) == pytest.approx(20 * np.log10(0.5), abs=0.05)
    assert np.median(seen) == pytest.approx(10 * np.log10(2e-4 / 512), abs=0.5)
    assert len(spectrum_db(np.zeros(100, np.complex64))) == 0


def test_points_are_scaled_to_symbols_without_noise() -> None:
    rng = np.random.default_rng(2)
    received = np.stack((rng.choice([-1.0, 1.0], 5_000), np.zeros(5_000)), axis=1)
    received += rng.normal(0, np.sqrt(0.5 / 4), received.shape)
    points = (received / np.sqrt(np.mean(np.sum(received**2, axis=1)))).astype(np.float32)
    seen = constellation(points, 10 * np.log10(4))
    assert seen.dtype == np.int8
    assert np.mean(np.abs(seen[:, 0].astype(int))) == pytest.approx(UNIT, rel=0.03)
