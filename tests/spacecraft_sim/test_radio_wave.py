"""The simulated spacecraft's wave through the ground's own demodulator and decoders."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sigmf

from protocols.coding.convolutional import ConvolutionalCode
from protocols.errors import LocalError
from protocols.physical.demodulator import DemodulatorStatus, Reception
from protocols.physical.samples import sample_format
from protocols.timecodes.tai import tai_ns_from_utc_iso
from spacecraft_sim.__main__ import main
from spacecraft_sim.adapters.sigmf_file import SigmfOutput
from spacecraft_sim.channel import (
    EphemerisLightTime,
    FixedLightTime,
    LightTime,
    Station,
    open_ephemeris,
)
from spacecraft_sim.radio_wave import X_DOWNLINK_HZ, RadioWave, waveform
from spacecraft_sim.scenario import Interval, Mars, RadioSettings, Scenario
from spacecraft_sim.spacecraft import Spacecraft
from tests.radio_link import Coding, Receiver

START = tai_ns_from_utc_iso("2027-01-01T02:00:00Z")
QUIET = Scenario(mars=Mars(present=False))
STILL = FixedLightTime(499.0)


@pytest.fixture(scope="module")
def light_time() -> Iterator[EphemerisLightTime]:
    ephemeris, timescale = open_ephemeris()
    yield EphemerisLightTime(ephemeris, timescale, Station("YEOJU", 37.2, 127.6, 100.0))
    ephemeris.close()


def wave(scenario: Scenario, light_time: LightTime = STILL, sps: float = 4.0) -> RadioWave:
    rate = sps * waveform(scenario).symbol_rate
    return RadioWave(scenario, light_time, start_ns=START, seed=5, sample_rate=rate)


def with_radio(**values: object) -> Scenario:
    return replace(QUIET, radio=replace(RadioSettings(), **values))  # type: ignore[arg-type]


def heard(
    one: RadioWave, frames: int, reception: Reception
) -> tuple[DemodulatorStatus, np.ndarray]:
    """How the demodulator stood at the last sample, and the frames."""
    code = one.scenario.radio.convolutional
    coding = Coding(convolutional=None if code == "none" else ConvolutionalCode(rate=code))  # type: ignore[arg-type]
    receiver = Receiver(one.waveform, one.sample_rate, coding, reception)
    count = round(frames * one.scenario.downlink.frame_time_ns(1) / 1e9 * one.sample_rate)
    found = [receiver.push(one.read(count // 8)) for _ in range(8)]
    status = receiver.demodulator.status
    return status, np.concatenate([*found, receiver.finish()])


def sent(one: RadioWave, frames: int) -> np.ndarray:
    """By the spacecraft that is asked for frames and not for a wave."""
    start_ns = one.spacecraft.start_ns
    spacecraft = Spacecraft(one.scenario, seed=5, start_ns=start_ns)
    end = one.first_frame + frames
    downlink = spacecraft.step(start_ns + one.scenario.downlink.frame_time_ns(end) - 1)
    return downlink.frames[one.first_frame :]


def test_frames_come_out_as_they_went_in_with_the_doppler_of_the_geometry(
    light_time: EphemerisLightTime,
) -> None:
    one = wave(QUIET, light_time)
    # What the station would tune to, but for 1 kHz.
    reception = Reception(range_hz=15_000.0, rate_hz_s=5.0)
    status, frames = heard(one, 10, reception)
    expected = sent(one, 10)
    assert len(frames) >= 8
    places = [np.flatnonzero((expected == frame).all(axis=1)) for frame in frames]
    numbers = [int(place[0]) for place in places]
    assert numbers == list(range(numbers[0], numbers[0] + len(frames)))
    middle = one.hearing(START + round(status.samples / one.sample_rate * 1e9))
    assert status.offset_hz == pytest.approx(middle.doppler_hz, abs=3)
    assert abs(middle.doppler_hz) > 1_000
    # 55 W from a dish of 1.5 m, 34 m on the Earth: 63 dBHz, of which 42 dB are the bits'.
    assert 62 < middle.cn0_db_hz < 65
    rate = 10 * np.log10(one.waveform.symbol_rate)
    assert status.esn0_db == pytest.approx(middle.cn0_db_hz - rate, abs=1.0)


def test_the_carrier_turns_as_the_light_time_says(light_time: EphemerisLightTime) -> None:
    """Without noise and modulation: its phase between two instants is that of the light times."""
    scenario = with_radio(
        modulation="pm/bi-phase", index_rad=0.1, convolutional="none", receiver_k=1.0,
        transmit_w=1e4, station_m=100.0, phase_noise_dbc_hz=0.0,
    )  # fmt: skip
    one = wave(scenario, light_time, sps=2.0)
    samples = one.read(round(4 * one.sample_rate))
    at = np.arange(0, len(samples), 512)
    _, down_s = light_time.round_trip_s(
        START + np.rint(at / one.sample_rate * 1e9).astype(np.int64)
    )
    turns = -(down_s - down_s[0]) * X_DOWNLINK_HZ
    carrier = samples[at] * np.exp(-2j * np.pi * turns)
    phase = np.unwrap(np.angle(carrier))
    # The modulation's 0.1 rad stays; nothing turns.
    assert abs(np.polyfit(at / one.sample_rate, phase, 1)[0]) < 0.05


def test_symbols_keep_the_clock_of_the_sender(light_time: EphemerisLightTime) -> None:
    one = wave(QUIET, light_time)
    one.read(round(30 * one.sample_rate))
    modulator = one._modulator  # pyright: ignore[reportPrivateUsage]
    reception_ns = START + round(modulator.samples / one.sample_rate * 1e9)
    emission_ns = reception_ns - light_time.before_reception_ns(reception_ns)
    first_ns = one.spacecraft.start_ns + QUIET.downlink.frame_time_ns(one.first_frame)
    place = (emission_ns - first_ns) / 1e9 * one.waveform.symbol_rate
    assert modulator.place == pytest.approx(place, abs=1e-3)


def test_an_outage_is_silence_and_the_noise_is_the_budgets() -> None:
    outage = (Interval(34.0, 36.0),)
    one = wave(replace(QUIET, channel=replace(QUIET.channel, outage=outage)))
    samples = one.read(round(8 * one.sample_rate))
    power = np.abs(samples) ** 2
    t = np.arange(len(power)) / one.sample_rate
    # The first sample left 30 s after the start.
    quiet, loud = power[(t > 4.1) & (t < 5.9)].mean(), power[(t > 1) & (t < 3)].mean()
    esn0_db = one.hearing(START).cn0_db_hz - 10 * np.log10(one.waveform.symbol_rate)
    assert 10 * np.log10((loud - quiet) / quiet * 4) == pytest.approx(esn0_db, abs=0.2)
    assert 10 * np.log10(loud) == pytest.approx(-12.0, abs=0.2)


def test_the_same_seed_gives_the_same_samples_in_pieces_of_any_size() -> None:
    first, second = wave(QUIET), wave(QUIET)
    whole = first.read(100_000)
    pieces = [second.read(count) for count in (1, 4_999, 30_000, 65_000)]
    assert np.array_equal(np.concatenate(pieces), whole)


@pytest.mark.parametrize(
    ("radio", "sps"),
    [
        ({"modulation": "pm/psk", "subcarrier_hz": 60e3, "subcarrier": "square"}, 16.0),
        ({"modulation": "gmsk", "bt": 0.25}, 4.0),
    ],
)
def test_a_scenario_says_subcarrier_and_bt(radio: dict[str, object], sps: float) -> None:
    one = wave(with_radio(convolutional="none", **radio), sps=sps)
    for key, value in radio.items():
        assert getattr(one.waveform, key) == value
    _, frames = heard(one, 4, Reception(range_hz=500.0))
    expected = sent(one, 4)
    assert len(frames) >= 2
    assert all((expected == frame).all(axis=1).any() for frame in frames)


def test_what_does_not_go_together_is_said() -> None:
    with pytest.raises(LocalError, match="or more wanted, twice the 18353"):
        wave(QUIET, sps=1.5)
    with pytest.raises(LocalError, match=r"73413\.5: 156707 or more wanted"):
        wave(with_radio(modulation="pm/psk", subcarrier_hz=60e3, convolutional="none"))
    with pytest.raises(LocalError, match="subcarrier of 0"):
        wave(with_radio(modulation="pm/psk"))


def test_a_recording_is_what_the_sigmf_package_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "pass.sigmf-meta"
    arguments = ["--iq", str(file), "--duration", "2", "--light-time", "499", "--json"]
    assert main([*arguments, "--start-utc", "2027-01-01T02:00:00Z", "--seed", "5"]) == 0
    told = json.loads(capsys.readouterr().out)
    recording = sigmf.sigmffile.fromfile(str(file))
    recording.validate()
    assert recording.get_global_field("core:sample_rate") == told["sample_rate"]
    assert recording.get_captures()[0]["core:datetime"] == "2027-01-01T02:00:00.000000000Z"
    samples = recording.read_samples()
    expected = wave(Scenario(), STILL).read(len(samples))
    assert told["samples"] == len(samples)
    assert np.abs(samples - expected).max() < 1 / 32768
    with pytest.raises(LocalError, match="a name that ends in"):
        SigmfOutput(
            tmp_path / "x.iq", sample_format("cf32_le"),
            sample_rate=1.0, frequency_hz=0.0, start_ns=0, description="",
        )  # fmt: skip
