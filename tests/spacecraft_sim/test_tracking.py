"""Range and Doppler of the simulated link against the geometry, by other means."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.errors import LocalError
from protocols.navigation.geometry import SPEED_OF_LIGHT_KM_S
from protocols.navigation.tdm import parse_tdm
from protocols.timecodes.tai import tai_ns_from_utc_iso
from spacecraft_sim.__main__ import main
from spacecraft_sim.channel import EphemerisLightTime, FixedLightTime, Station, open_ephemeris
from spacecraft_sim.scenario import TrackingSettings
from spacecraft_sim.tracking import tracking_data

START = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")
YEOJU = Station("YEOJU", 37.2, 127.6, 100.0)
CLEAN = TrackingSettings(range_noise_m=0.0, doppler_noise_mm_s=0.0, transponder_delay_ns=0.0)
HOUR = 3_600 * 10**9


@pytest.fixture(scope="module")
def light_time() -> Iterator[EphemerisLightTime]:
    ephemeris, timescale = open_ephemeris()
    yield EphemerisLightTime(ephemeris, timescale, YEOJU)
    ephemeris.close()


def data(light_time: Any, settings: TrackingSettings = CLEAN, hours: float = 24) -> Any:
    return tracking_data(
        light_time,
        settings,
        station="YEOJU",
        start_ns=START,
        end_ns=START + round(hours * HOUR),
        seed=3,
    )


def test_range_is_the_light_time_that_frames_and_commands_have(
    light_time: EphemerisLightTime,
) -> None:
    """The interpolated one, from emission, by which everything else travels."""
    for segment in data(light_time).segments:
        ranges = segment.series["RANGE"]
        for received_ns, round_trip_s in zip(
            ranges.times_tai_ns[::60], ranges.values[::60], strict=True
        ):
            turned_ns = int(received_ns) - light_time.before_reception_ns(int(received_ns))
            sent_ns = int(received_ns) - round(round_trip_s * 1e9)
            (up_ns,) = light_time.uplink_ns(np.array([sent_ns])).tolist()
            assert abs(sent_ns + up_ns - turned_ns) <= 2


def test_doppler_is_the_velocity_along_the_line_of_sight(light_time: EphemerisLightTime) -> None:
    """At the middle of the count: the Earth's turn bends it by ω³·R·T²/24c = 1e-12.  And, to first
    order, from velocities."""
    (segment, *_) = data(light_time, hours=4).segments
    frequency = segment.series["RECEIVE_FREQ_1"]
    (sent_hz,) = segment.series["TRANSMIT_FREQ_1"].values
    turned_hz = sent_hz * 880 / 749
    middle_ns = int(frequency.times_tai_ns[100])
    step_ns = 10**9
    _, down_s = light_time.round_trip_s(np.array([middle_ns - step_ns, middle_ns + step_ns]))
    up_s, _ = light_time.round_trip_s(np.array([middle_ns - step_ns, middle_ns + step_ns]))
    rate = (np.diff(up_s)[0] + np.diff(down_s)[0]) / 2
    assert frequency.values[100] / turned_hz - 1 == pytest.approx(-rate, abs=3e-12)
    position, velocity = light_time.state_km(middle_ns - round(down_s[0] * 1e9))
    antenna = light_time._trajectories(middle_ns)[1]  # pyright: ignore[reportPrivateUsage]
    here, there = antenna(np.array([0.0, 1.0]))
    line = (position - here) / np.linalg.norm(position - here)
    recession_km_s = line @ (velocity - (there - here))
    # v²/c is 3 m/s.
    assert abs(np.diff(down_s)[0] / 2 * SPEED_OF_LIGHT_KM_S - recession_km_s) < 5e-3
    assert abs(recession_km_s) > 0.05


def test_it_measures_only_over_its_mask_and_once_a_rise(light_time: EphemerisLightTime) -> None:
    message = data(light_time)
    times = np.concatenate([one.series["RANGE"].times_tai_ns for one in message.segments])
    assert light_time.elevation_deg(times).min() >= 10
    minute = 60 * 10**9
    grid = np.arange(START // minute + 1, (START + 24 * HOUR) // minute + 1) * minute
    assert len(times) == np.count_nonzero(light_time.elevation_deg(grid) >= 10)
    # L4 is 60 degrees from the Sun: up for some ten hours a day.
    assert 8 < len(times) / 60 < 14
    with pytest.raises(LocalError, match="YEOJU: L4 is never 89 deg up for 60 s between"):
        data(light_time, replace(CLEAN, mask_deg=89.0))


def test_noise_is_as_large_as_it_says_and_the_same_for_an_instant() -> None:
    still = FixedLightTime(499.0)
    settings = TrackingSettings(range_noise_m=2.0, doppler_noise_mm_s=0.5, interval_s=15.0)
    (segment,) = data(still, settings, hours=20).segments
    ranges, frequency = segment.series["RANGE"], segment.series["RECEIVE_FREQ_1"]
    one_way_m = (ranges.values - 998.0 - 1.4e-6) * SPEED_OF_LIGHT_KM_S * 1e3 / 2
    assert np.std(one_way_m) == pytest.approx(2.0, rel=0.05)
    assert abs(np.mean(one_way_m)) < 0.15
    turned_hz = 7_167_000_000 * 880 / 749
    one_way_mm_s = (frequency.values / turned_hz - 1) * SPEED_OF_LIGHT_KM_S * 1e6 / 2
    # Over 15 s twice what it is over 60 s.
    assert np.std(one_way_mm_s) == pytest.approx(1.0, rel=0.05)
    later = tracking_data(
        still, settings, station="YEOJU", start_ns=START + 5 * HOUR, end_ns=START + 6 * HOUR, seed=3
    )
    part = later.segments[0].series["RANGE"]
    at = np.searchsorted(ranges.times_tai_ns, part.times_tai_ns)
    assert np.array_equal(ranges.values[at], part.values)


def test_the_command_writes_the_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pass.tdm"
    arguments = ["--tracking", str(file), "--duration", "7200", "--light-time", "499", "--json"]
    assert main([*arguments, "--station", "YEOJU,37.2,127.6,100"]) == 0
    told = json.loads(capsys.readouterr().out)
    (segment,) = parse_tdm(file.read_bytes()).segments
    assert told["measurements"] == len(segment.series["RANGE"].values) == 120
    assert segment.participants == ("YEOJU", "L4 RELAY")
    first = file.read_bytes()
    assert main([*arguments, "--station", "YEOJU,37.2,127.6,100"]) == 0
    assert file.read_bytes() == first
    with pytest.raises(SystemExit):
        main([*arguments, "--station", "YEOJU,north"])
    assert "'YEOJU,north': NAME,LATITUDE,LONGITUDE,METRES wanted" in capsys.readouterr().err
