from __future__ import annotations

import numpy as np
import pytest

from protocols.physical import lock


@pytest.mark.parametrize("esn0_db", [-5.0, 0.0, 6.0])
def test_statistics_are_those_of_noisy_symbols(esn0_db: float) -> None:
    rng = np.random.default_rng(3)
    n = 400_000
    ratio = 10 ** (esn0_db / 10)
    noise = (rng.standard_normal(n) + 1j * rng.standard_normal(n)) * np.sqrt(0.5 / ratio)
    angle = np.angle(1 + noise)
    for order in (2, 4):
        assert np.mean(np.cos(order * angle)) == pytest.approx(
            float(lock.angle_statistic(order, ratio)), abs=0.005
        )
        assert lock.esn0_db(order, lock.expected(order, esn0_db)) == pytest.approx(esn0_db)
    rail = (1 + noise).real
    seen = np.mean(np.abs(rail)) ** 2 / np.mean(rail**2)
    assert seen == pytest.approx(float(lock.rail_statistic(ratio)), abs=0.003)
