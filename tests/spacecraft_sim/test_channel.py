"""The way to the ground: exact light time, seeded damage that no batching changes."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.navigation.geometry import ASTRONOMICAL_UNIT_KM, SPEED_OF_LIGHT_KM_S
from spacecraft_sim.channel import (
    Channel,
    EphemerisLightTime,
    FixedLightTime,
    Station,
    expiry_note,
    open_ephemeris,
)
from spacecraft_sim.scenario import ChannelSettings, Interval

START_NS = 2_177_452_837 * 10**9
SECOND = 10**9


@pytest.fixture(scope="module")
def geometry() -> Iterator[EphemerisLightTime]:
    # filterwarnings = error: that skyfield-data has expired must not reach anyone raw.
    ephemeris, timescale = open_ephemeris()
    yield EphemerisLightTime(ephemeris, timescale)
    ephemeris.close()


def test_light_time_is_that_of_one_astronomical_unit(geometry: EphemerisLightTime) -> None:
    days = START_NS + np.arange(0, 366, 5) * 86_400 * SECOND
    light_time_s = geometry.downlink_ns(days) / 1e9
    au_s = ASTRONOMICAL_UNIT_KM / SPEED_OF_LIGHT_KM_S
    # Eccentricity 0.0167 moves it by 8.3 s about 499.0 s.
    assert light_time_s.min() == pytest.approx(au_s * (1 - 0.0167), abs=0.6)
    assert light_time_s.max() == pytest.approx(au_s * (1 + 0.0167), abs=0.6)


def test_interpolation_is_exact_to_rounding(geometry: EphemerisLightTime) -> None:
    times = START_NS + np.arange(0, 86_400, 617) * SECOND + 123_456_789
    for down, given_ns in ((True, geometry.downlink_ns), (False, geometry.uplink_ns)):
        solved = geometry._solve(times, down=down) * 1e9
        assert np.abs(given_ns(times) - solved).max() < 0.7


def test_light_time_closes_on_skyfields_own_positions(geometry: EphemerisLightTime) -> None:
    """An independent sum: where the antenna is when the signal is there, by Skyfield's API."""
    t_ns = START_NS + 40 * 86_400 * SECOND
    tau_ns = int(geometry.downlink_ns(np.array([t_ns]))[0])
    spacecraft, _ = geometry.state_km(t_ns)
    arrival = geometry._time(t_ns + tau_ns, np.zeros(1))
    antenna = geometry._antenna.at(arrival).position.km.T[0]
    sun_delay_s = 10.8e-6
    distance_s = np.linalg.norm(antenna - spacecraft) / SPEED_OF_LIGHT_KM_S
    assert tau_ns / 1e9 == pytest.approx(distance_s + sun_delay_s, abs=3e-7)


def test_what_arrives_now_left_a_light_time_ago(geometry: EphemerisLightTime) -> None:
    now = START_NS + 77 * SECOND
    tau_ns = geometry.before_reception_ns(now)
    assert geometry.downlink_ns(np.array([now - tau_ns]))[0] == pytest.approx(tau_ns, abs=1)


def test_expired_orientation_data_is_told_in_one_line_with_its_cost() -> None:
    equator = Station("Equator", 0.0, 0.0, 0.0)
    note = expiry_note(datetime.date(2100, 1, 1), equator)
    assert note is not None
    assert "\n" not in note
    # 465.1 m/s for 0.9 s and the pole's 18 m: 0.44 km, 1.5 us.
    assert re.search(r"within 0\.44 km, light time within 1\.5 us", note)
    polar = expiry_note(datetime.date(2100, 1, 1), Station("Pole", 90.0, 0.0, 0.0))
    assert polar is not None
    assert "within 0.02 km" in polar
    assert expiry_note(datetime.date(2020, 1, 1), equator) is None


SETTINGS = ChannelSettings(
    bit_error_rate=1e-4,
    frame_loss=0.05,
    noise=(Interval(20.0, 30.0, 1e-2),),
    outage=(Interval(40.0, 50.0),),
)


def frames(n: int) -> tuple[np.ndarray, np.ndarray]:
    octets = np.random.default_rng(5).integers(0, 256, (n, 64), np.uint8)
    return octets, START_NS + np.arange(n) * SECOND // 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=10))
def test_damage_does_not_depend_on_batching(cuts: list[int]) -> None:
    octets, emission = frames(600)
    whole = Channel(SETTINGS, FixedLightTime(0.0), 3, START_NS).downlink(octets, emission)
    channel = Channel(SETTINGS, FixedLightTime(0.0), 3, START_NS)
    edges = [0, *sorted(cuts), 600]
    parts = [channel.downlink(octets[a:b], emission[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([p.cadus for p in parts]), whole.cadus)
    np.testing.assert_array_equal(np.concatenate([p.ert_ns for p in parts]), whole.ert_ns)


def test_damage_is_what_was_asked_for_and_is_counted() -> None:
    octets, emission = frames(6000)
    emission = START_NS + np.arange(6000) * SECOND // 100
    channel = Channel(SETTINGS, FixedLightTime(0.0), 3, START_NS)
    received = channel.downlink(octets, emission)
    counts = channel.counts
    t_s = (received.ert_ns - START_NS) / 1e9
    assert not np.any((t_s >= 40) & (t_s < 50))
    assert counts.in_outage == 1000
    assert counts.lost == pytest.approx(0.05 * 5000, rel=0.25)
    assert len(received) == 6000 - counts.in_outage - counts.lost
    kept = np.searchsorted(emission, received.ert_ns)
    flipped = np.unpackbits(received.cadus ^ octets[kept], axis=1).sum(axis=1)
    assert flipped.sum() == counts.bits_flipped
    assert (flipped > 0).sum() == counts.damaged
    noisy = (t_s >= 20) & (t_s < 30)
    assert flipped[noisy].mean() == pytest.approx(512 * 1e-2, rel=0.1)
    assert flipped[~noisy].mean() == pytest.approx(512 * 1e-4, rel=0.3)


def test_a_clean_channel_changes_nothing() -> None:
    octets, emission = frames(50)
    channel = Channel(ChannelSettings(), FixedLightTime(499.0), 1, START_NS)
    received = channel.downlink(octets, emission)
    np.testing.assert_array_equal(received.cadus, octets)
    np.testing.assert_array_equal(received.ert_ns, emission + 499 * SECOND)


def test_carrier_is_gone_in_an_outage_and_before_the_start() -> None:
    channel = Channel(SETTINGS, FixedLightTime(0.0), 1, START_NS)
    heard: list[Any] = [channel.carrier(START_NS + t * SECOND) for t in (-1, 0, 39, 40, 49, 50)]
    assert heard == [False, True, True, False, False, True]
