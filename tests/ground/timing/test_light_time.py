"""The ground's light time against the simulator's, which is another program."""

from __future__ import annotations

import numpy as np
import pytest

from ground.scheduling.sky import open_ephemeris
from ground.scheduling.stations import load_stations
from ground.timing.light_time import GeometricLightTime, StationLightTime
from protocols.timecodes.tai import tai_ns_from_utc_iso
from spacecraft_sim.channel import EphemerisLightTime
from spacecraft_sim.channel import open_ephemeris as open_of_the_channel

S = 1_000_000_000


@pytest.fixture(scope="module")
def geometry() -> GeometricLightTime:
    # One for the whole process: whoever closes it closes everybody's.
    ephemeris, timescale, _ = open_ephemeris()
    return GeometricLightTime(ephemeris, timescale, load_stations()["CEB"].itrf_km)


def test_it_is_the_channels_within_the_antennas_place(geometry: GeometricLightTime) -> None:
    of_the_channel, timescale = open_of_the_channel()
    channel = EphemerisLightTime(of_the_channel, timescale)
    for start in ("2026-03-01T00:00:00Z", "2027-09-01T12:00:00Z"):
        emission_ns = tai_ns_from_utc_iso(start) + np.arange(0, 2 * 86_400, 3_600) * S
        owlt_ns = channel.downlink_ns(emission_ns)
        found_ns = geometry.before_reception_ns(emission_ns + owlt_ns)
        # Two surveys of one antenna, some metres apart, and nothing that comes and goes with a day.
        assert np.abs(found_ns - owlt_ns).max() < 100
        assert np.ptp(owlt_ns) > 1_000_000
    of_the_channel.close()
    assert len(geometry.before_reception_ns(np.empty(0, np.int64))) == 0


def test_a_station_of_another_world_is_believed(geometry: GeometricLightTime) -> None:
    ert_ns = np.array([tai_ns_from_utc_iso("2026-12-01T00:00:00Z")])
    true_ns = geometry.before_reception_ns(ert_ns)
    light_time = StationLightTime(geometry)
    light_time.hear(int(true_ns[0]) / 1e9 + 0.01, int(ert_ns[0]))
    assert light_time.before_reception_ns(ert_ns).tolist() == true_ns.tolist()
    light_time.hear(12.5, int(ert_ns[0]))
    assert light_time.before_reception_ns(ert_ns).tolist() == [12_500_000_000]
    light_time.hear(-1.0, int(ert_ns[0]))
    assert light_time.fixed_ns == 12_500_000_000
