"""The predicted Doppler shift beside the simulator's, whose geometry is code of its own."""

from __future__ import annotations

import numpy as np
import pytest

from ground.scheduling.doppler import DopplerPrediction
from ground.scheduling.stations import load_stations, select_stations
from ground.scheduling.targets import target_named
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso
from spacecraft_sim.__main__ import light_time_model
from spacecraft_sim.channel import Station
from spacecraft_sim.radio_wave import X_DOWNLINK_HZ

S = 10**9


def test_it_is_the_shift_of_the_wave_that_arrives() -> None:
    (station,) = select_stations(load_stations(), ("CEB",))
    predicted = DopplerPrediction(target_named("l4"), station, X_DOWNLINK_HZ)
    light_time, ephemeris = light_time_model(None, Station())
    try:
        for utc in ("2026-11-28T06:00:00Z", "2026-11-28T11:59:30Z", "2026-11-28T16:00:00Z"):
            start_ns = tai_ns_from_utc_iso(utc)
            coefficients = predicted(start_ns, 60.0)
            t_s = np.linspace(0.0, 60.0, 7)
            shift_hz = np.polynomial.polynomial.polyval(t_s, coefficients)
            edges_ns = start_ns + np.rint(np.add.outer([-0.5, 0.5], t_s) * S).astype(np.int64)
            early, late = (light_time.round_trip_s(one)[1] for one in edges_ns)
            expected_hz = -X_DOWNLINK_HZ * (late - early)
            # 15 kHz either way over a day; UT1 of two files and the place of the antenna apart.
            assert shift_hz == pytest.approx(expected_hz, abs=3.0)
            assert np.ptp(shift_hz - expected_hz) < 0.05
            # Another process, another day's first question: the same to the last bit.
            again = DopplerPrediction(target_named("l4"), station, X_DOWNLINK_HZ)
            again(start_ns + 3600 * S, 60.0)
            assert again(start_ns, 60.0) == coefficients
    finally:
        ephemeris.close()


def test_what_cannot_be_is_refused() -> None:
    (station,) = select_stations(load_stations(), ("CEB",))
    with pytest.raises(LocalError, match="frequency 0"):
        DopplerPrediction(target_named("l4"), station, 0.0)
    with pytest.raises(LocalError, match="at most"):
        DopplerPrediction(target_named("l4"), station, 8.4e9)(2_000_000_000 * S, 3600.0)
