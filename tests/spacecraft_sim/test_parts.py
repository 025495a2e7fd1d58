"""Parts of the spacecraft against a second derivation of what they do."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.dictionary.l4_states import EventId, Mode
from protocols.frames.index import FHP_NONE
from protocols.identifiers import VirtualChannel
from protocols.packets.space_packet import SpacePacket, build_packet, idle_packet, split
from spacecraft_sim.flight_software.idle_data import IdleData
from spacecraft_sim.flight_software.modes import TRANSITIONS, Trigger, next_mode
from spacecraft_sim.flight_software.multiplexer import PRIORITY, Multiplexer
from spacecraft_sim.flight_software.recorder import Recorder
from spacecraft_sim.subsystems.attitude import UNLOAD_AT_RPM, Attitude
from spacecraft_sim.subsystems.common import Environment
from spacecraft_sim.subsystems.noise import Noise
from spacecraft_sim.subsystems.power import BATTERY_CAPACITY_AH, Power
from spacecraft_sim.subsystems.propulsion import Propulsion
from spacecraft_sim.subsystems.space_weather import proton_intensity


def bit_serial(octets: int) -> bytes:
    """1 + D + D² + D²² + D³², one bit at a time, as the books draw it."""
    cells = [1] * 32  # cells[k] is D^(k+1)
    out = []
    for _ in range(8 * octets):
        out.append(cells[31])
        cells = [cells[0] ^ cells[1] ^ cells[21] ^ cells[31], *cells[:31]]
    return np.packbits(np.array(out, np.uint8)).tobytes()


def test_idle_data_is_the_register_of_the_books() -> None:
    octets = 70_000
    assert IdleData().take(octets).tobytes() == bit_serial(octets)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 5000), max_size=30))
def test_idle_data_goes_on_over_frames(lengths: list[int]) -> None:
    source = IdleData()
    pieces = b"".join(source.take(length).tobytes() for length in lengths)
    assert pieces == IdleData().take(max(1, sum(lengths))).tobytes()[: len(pieces)]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(20, 300),
    st.lists(
        st.tuples(st.sampled_from(PRIORITY), st.integers(1, 400), st.integers(0, 3)), max_size=40
    ),
)
def test_multiplexed_zones_hold_every_packet_in_order(
    zone: int, script: list[tuple[VirtualChannel, int, int]]
) -> None:
    latency = 5
    multiplexer = Multiplexer(zone, dict.fromkeys(PRIORITY, latency), 63)
    put: dict[int, list[bytes]] = {vc: [] for vc in PRIORITY}
    zones: dict[int, list[tuple[int, bytes]]] = {vc: [] for vc in PRIORITY}
    t = 0

    def frame() -> None:
        content = multiplexer.next_frame(t)
        if content.zone:
            assert len(content.zone) == zone
            zones[content.vcid].append((content.first_header_pointer, content.zone))

    for number, (vc, size, frames) in enumerate(script):
        packet = build_packet(SpacePacket(apid=vc, data=bytes(size), sequence_count=number))
        multiplexer.put(vc, packet, t)
        put[vc].append(packet)
        for _ in range(frames):
            t += 1
            frame()
    t += latency
    for _ in range(4 * len(script) + sum(size for _, size, _ in script) // zone + 8):
        frame()
    for vc in PRIORITY:
        octets = b"".join(data for _, data in zones[vc])
        batch = split(octets).packets
        found = [packet for packet, idle in zip(batch, batch.is_idle, strict=True) if not idle]
        assert found == put[vc]
        # The pointer of each zone is where its first packet begins.
        starts = set(batch.offsets.tolist()) - {len(octets)}
        for row, (pointer, _) in enumerate(zones[vc]):
            begins = [s - row * zone for s in starts if row * zone <= s < (row + 1) * zone]
            if begins:
                assert pointer == min(begins)
            else:
                assert pointer == FHP_NONE


def test_idle_packets_are_as_long_as_wanted() -> None:
    for length in (7, 8, 100, 1101):
        assert len(idle_packet(length)) == length


def test_modes_follow_the_table_and_every_trigger_is_known_in_every_mode() -> None:
    for mode in Mode:
        for trigger in Trigger:
            assert next_mode(mode, trigger) == TRANSITIONS[mode].get(trigger, mode)
    assert next_mode(Mode.STORM, Trigger.BATTERY_LOW) == Mode.SAFE
    assert next_mode(Mode.SAFE, Trigger.PROTONS_HIGH) == Mode.SAFE


def test_recorder_forgets_the_oldest() -> None:
    recorder = Recorder(100)
    for t in range(30):
        recorder.record(t, bytes([t]) * 10)
    assert recorder.between(0, 100) == [bytes([t]) * 10 for t in range(20, 30)]
    assert recorder.between(22, 23) == [bytes([22]) * 10, bytes([23]) * 10]


def test_battery_charge_is_the_integral_of_its_current() -> None:
    power = Power(Noise(1, "p"), 0.6, 0.9)
    before, ampere_seconds = power.state_of_charge, 0.0
    for _ in range(3000):
        power.step(Environment(), Mode.NOMINAL, 0.3, 40.0)
        ampere_seconds += power.battery_current_a
    drawn = (before - power.state_of_charge) * BATTERY_CAPACITY_AH * 3600
    assert drawn == pytest.approx(-ampere_seconds, rel=1e-9)
    assert drawn > 0


def test_array_gives_less_far_from_the_sun() -> None:
    currents = []
    for distance in (0.983, 1.017):
        power = Power(Noise(1, "p"), 0.5, 0.5)
        for _ in range(60):
            power.step(Environment(sun_distance_au=distance), Mode.NOMINAL, 1.0, 0.0)
        currents.append(power.array_current_a * power.bus_voltage_v)
    # Flux goes with the square; the cooler array gives back some tenths of a per cent.
    assert currents[0] / currents[1] == pytest.approx((1.017 / 0.983) ** 2, rel=0.02)


def test_wheels_gather_sunlight_and_are_unloaded() -> None:
    attitude = Attitude(Noise(1, "a"), 0, 0.99)
    events = []
    for _ in range(200_000):
        events += attitude.step(Environment(), Mode.NOMINAL)
        assert max(abs(rpm) for rpm in attitude.wheel_rpm) < UNLOAD_AT_RPM + 10
        if attitude.thruster_demand:
            break
    assert events[0].event_id == EventId.WHEEL_UNLOADING
    for _ in range(600):
        attitude.step(Environment(), Mode.NOMINAL)
    assert max(abs(rpm) for rpm in attitude.wheel_rpm) < 100
    assert math.isclose(sum(q * q for q in attitude.quaternion), 1.0, abs_tol=1e-12)


def test_pressure_follows_the_gas_law_while_thrusters_burn() -> None:
    propulsion = Propulsion(Noise(1, "t"), 100.0)
    before = propulsion.tank_pressure_bar
    for _ in range(600):
        propulsion.step(1.0, 17.0)
    assert propulsion.propellant_kg < 100.0
    ullage = [210.0 - kg / 1.004 for kg in (100.0, propulsion.propellant_kg)]
    assert propulsion.tank_pressure_bar / before == pytest.approx(ullage[0] / ullage[1], rel=1e-9)
    valves = [propulsion.telemetry()[f"thruster_{n}_valve"].name for n in range(1, 9)]
    assert valves == ["ON", "OFF"] * 4


def test_proton_spectrum_falls_with_energy_and_rises_with_the_storm() -> None:
    energies = np.geomspace(1, 400, 30)
    for storm in (0.0, 0.3, 1.0):
        spectrum = [proton_intensity(e, storm) for e in energies]
        assert all(a > b for a, b in pairwise(spectrum))
    assert proton_intensity(20.0, 1.0) > 1000 * proton_intensity(20.0, 0.0)


@pytest.mark.parametrize("mean", [0.3, 5.0, 19.0, 21.0, 400.0])
def test_counts_are_poissonian(mean: float) -> None:
    noise = Noise(1, "n")
    counts = np.array([noise.poisson(mean) for _ in range(20_000)])
    assert counts.mean() == pytest.approx(mean, rel=0.03)
    assert counts.var() == pytest.approx(mean, rel=0.06)
