"""Demodulators beside theory, and that nothing depends on how the stream was cut."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.physical import channel
from protocols.physical.demodulator import TRANSITIONS, Event, Reception, State
from protocols.physical.modulator import Modulator
from protocols.physical.residual import ResidualDemodulator, open_demodulator
from protocols.physical.waveform import Modulation, Waveform

RATE = 100e3
#: Waveforms with samples a symbol and the greatest loss against theory, dB.
WAVEFORMS = [
    (Waveform(Modulation.BPSK, RATE), 4.37, 0.1),
    (Waveform(Modulation.BPSK, RATE, rolloff=0.25), 3.2, 0.1),
    (Waveform(Modulation.BPSK, RATE, shaping="nrz"), 8.0, 0.2),
    (Waveform(Modulation.QPSK, RATE), 4.0, 0.15),
    (Waveform(Modulation.OQPSK, RATE, rolloff=0.8), 4.0, 0.3),
    (Waveform(Modulation.GMSK, RATE, bt=0.5), 4.37, 0.1),
    (Waveform(Modulation.GMSK, RATE, bt=0.25), 5.0, 0.3),
    (Waveform(Modulation.PM_PSK, RATE, subcarrier_hz=4 * RATE), 16.0, 0.3),
    (Waveform(Modulation.PM_BIPHASE, RATE, index_rad=1.1), 16.0, 0.4),
    (
        Waveform(
            Modulation.PM_PSK, RATE, index_rad=1.1, subcarrier_hz=2 * RATE, subcarrier="square"
        ),
        32.0,
        0.4,
    ),
]
NAMES = [f"{w.modulation}-{w.subcarrier}-{w.pulse.name}" for w, _sps, _loss in WAVEFORMS]


def transmit(
    waveform: Waveform,
    sps: float,
    symbols: int,
    ebn0_db: float,
    *,
    seed: int = 0,
    frequency: tuple[float, ...] = (12_345.6, 150.0),
    delay: float | None = None,
) -> tuple[np.ndarray, np.ndarray, float]:
    """(bits, noisy samples, sample rate); Eb/N0 of the power that is in the symbols."""
    rng = np.random.default_rng(seed)
    sample_rate = sps * waveform.symbol_rate
    bits = rng.integers(0, 2, symbols * waveform.rails, np.uint8)
    # Where samples are means over their width, edges between two of them would cost power.
    whole = waveform.pulse.name in ("nrz", "bi-phase")
    delay = (40.0 if whole else 40.3) if delay is None else delay
    modulator = Modulator(waveform, sample_rate, delay=delay)
    sent = np.concatenate((modulator.push(bits), modulator.finish()))
    sent = channel.rotate(sent, 0, sample_rate, frequency) * np.complex64(np.exp(0.7j))
    share = 1.0
    if waveform.residual:
        share = ResidualDemodulator(waveform, sample_rate).power_shares()[1]
    esn0_db = ebn0_db + 10 * math.log10(waveform.rails / share)
    noise = channel.noise(len(sent), channel.noise_deviation(esn0_db, sps), rng)
    return bits, (3 * (sent + noise)).astype(np.complex64), sample_rate


def demodulate(
    samples: np.ndarray, waveform: Waveform, sample_rate: float, cuts: list[int] | None = None,
    *, reload: bool = False, **reception: Any,
) -> tuple[np.ndarray, list[int], Any]:  # fmt: skip
    told = Reception(**({"range_hz": 20e3, "rate_hz_s": 500.0} | reception))
    demodulator = open_demodulator(waveform, sample_rate, told)
    parts = []
    for begin, end in pairwise([0, *sorted(cuts or []), len(samples)]):
        parts.append(demodulator.push(samples[begin:end]))
        if reload:
            state = msgpack.unpackb(msgpack.packb(demodulator.snapshot()))
            demodulator = open_demodulator(waveform, sample_rate, told)
            demodulator.restore(state)
    status = demodulator.status
    parts.append(demodulator.finish())
    values = np.concatenate([part.values for part in parts])
    return values, [int(s) for part in parts for s in part.starts], status


def errors(values: np.ndarray, bits: np.ndarray, waveform: Waveform, reach: int = 64) -> int:
    """Least errors over all places and rotations: bits that never came out count as errors."""
    candidates = [values]
    if waveform.staggered:
        candidates.append(values * (1 - 2 * (np.arange(len(values)) % 2)))
    elif waveform.rails == 2:
        pairs = values[: len(values) // 2 * 2].reshape(-1, 2)
        candidates.append(np.stack((pairs[:, 1], -pairs[:, 0]), axis=1).ravel())
    best = len(bits)
    for candidate in candidates:
        got = candidate < 0
        for lag in range(-reach, reach):
            theirs, ours = (got[lag:], bits) if lag >= 0 else (got, bits[-lag:])
            n = min(len(theirs), len(ours))
            wrong = int(np.count_nonzero(theirs[:n] != ours[:n]))
            best = min(best, min(wrong, n - wrong) + len(bits) - n)
    return best


def uncoded(ebn0_db: float) -> float:
    return 0.5 * math.erfc(math.sqrt(10 ** (ebn0_db / 10)))


@pytest.mark.parametrize(("waveform", "sps", "loss_db"), WAVEFORMS, ids=NAMES)
def test_errors_are_those_of_theory(waveform: Waveform, sps: float, loss_db: float) -> None:
    ebn0_db = 2.0
    bits, samples, rate = transmit(waveform, sps, 40_000 // waveform.rails, ebn0_db)
    values, starts, status = demodulate(samples, waveform, rate)
    assert starts == [0]
    assert status.state == State.TRACK
    wrong = errors(values, bits, waveform) / len(bits)
    # Three standard deviations of the count, which is of half as many bits for worse luck.
    spread = 3 * math.sqrt(uncoded(ebn0_db) / len(bits))
    assert uncoded(ebn0_db) - spread < wrong < uncoded(ebn0_db - loss_db) + spread
    seconds = len(samples) / rate
    assert status.offset_hz == pytest.approx(12_345.6 + 150 * seconds, abs=20)
    assert status.symbol_rate == pytest.approx(waveform.symbol_rate, rel=1e-4)
    esn0_db = ebn0_db + 10 * math.log10(waveform.rails)
    assert status.esn0_db == pytest.approx(esn0_db, abs=0.3 + 1.5 * loss_db)


@pytest.mark.parametrize(("waveform", "sps", "loss_db"), WAVEFORMS, ids=NAMES)
def test_nothing_is_lost_at_either_end(waveform: Waveform, sps: float, loss_db: float) -> None:
    """All bits of a recording that begins and ends with the transmission come out."""
    del loss_db
    bits, samples, rate = transmit(waveform, sps, 30_000, 12.0, frequency=(3_000.0,), delay=0.0)
    end = math.ceil(30_000 * sps)
    values, _starts, _status = demodulate(samples[:end], waveform, rate)
    # A few at the beginning, where the carrier is not yet as well known as noise would let it.
    assert errors(values, bits, waveform) <= 8


@settings(max_examples=10)
@given(st.data())
def test_every_chunking_gives_the_same(data: st.DataObject) -> None:
    waveform, sps, _ = data.draw(
        st.sampled_from([WAVEFORMS[0], WAVEFORMS[3], WAVEFORMS[7], WAVEFORMS[9]])
    )
    bits, samples, rate = transmit(waveform, sps, 12_000, 3.0, seed=4)
    del bits
    # A gap makes it lose lock and search again.
    samples[len(samples) // 2 :] *= np.float32(1e-3)
    whole, starts, _ = demodulate(samples, waveform, rate)
    assert len(whole) >= 6_000
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=12))
    cut, cut_starts, _ = demodulate(samples, waveform, rate, cuts, reload=data.draw(st.booleans()))
    assert np.array_equal(whole, cut)
    assert starts == cut_starts


@pytest.mark.parametrize("modulation", [Modulation.BPSK, Modulation.QPSK, Modulation.PM_BIPHASE])
def test_noise_alone_is_no_signal(modulation: Modulation) -> None:
    waveform = Waveform(modulation, RATE)
    noise = channel.noise(150_000, 1.0, np.random.default_rng(5))
    values, starts, status = demodulate(noise, waveform, 4 * RATE)
    assert len(values) == 0
    assert starts == []
    assert status.state == State.SEARCH
    assert math.isnan(status.esn0_db)


def test_another_carrier_is_not_taken_for_the_signal() -> None:
    """One as strong as the signal beside it, and a weak one within."""
    waveform = Waveform(Modulation.BPSK, RATE)
    bits, samples, rate = transmit(waveform, 8.0, 40_000, 5.0)
    t = np.arange(len(samples)) / rate
    beside = 3 * np.exp(2j * np.pi * -151e3 * t) + 0.3 * np.exp(2j * np.pi * 30e3 * t)
    samples = (samples + beside).astype(np.complex64)
    values, starts, _ = demodulate(samples, waveform, rate, range_hz=200e3)
    assert starts == [0]
    assert errors(values, bits, waveform) / len(bits) < uncoded(4.4)


def test_carrier_far_from_where_it_might_be_is_found_by_the_prediction() -> None:
    """Doppler of 200 kHz that grows by 20 kHz/s, known to 500 Hz."""
    waveform = Waveform(Modulation.BPSK, RATE)
    frequency = (200e3, -20e3, 500.0)
    bits, samples, rate = transmit(waveform, 8.0, 60_000, 4.0, frequency=frequency)
    values, starts, status = demodulate(
        samples, waveform, rate, range_hz=2e3, prediction=(199.6e3, -20e3, 500.0)
    )
    assert starts == [0]
    assert errors(values, bits, waveform) / len(bits) < uncoded(3.9)
    seconds = len(samples) / rate
    assert status.offset_hz == pytest.approx(200e3 - 20e3 * seconds + 500 * seconds**2, abs=20)


@pytest.mark.parametrize("modulation", [Modulation.QPSK, Modulation.PM_BIPHASE])
def test_a_prediction_goes_over_into_the_next_without_a_bit_lost(modulation: Modulation) -> None:
    """A tangent every tenth of a second, in the place of one polynomial."""
    waveform = Waveform(modulation, RATE, index_rad=1.1)
    frequency = (-150e3, 30e3, -4e3)
    bits, samples, rate = transmit(waveform, 8.0, 50_000, 9.0, frequency=frequency, delay=40.0)
    told = Reception(range_hz=2e3, rate_hz_s=500.0)
    demodulator = open_demodulator(waveform, rate, told)
    parts, step = [], round(0.1 * rate)
    for begin in range(0, len(samples), step):
        t = begin / rate
        a, b, c = frequency
        demodulator.predict((a + b * t + c * t * t + 300.0, b + 2 * c * t))
        parts.append(demodulator.push(samples[begin : begin + step]))
        state = msgpack.unpackb(msgpack.packb(demodulator.snapshot()))
        demodulator = open_demodulator(waveform, rate, told)
        demodulator.restore(state)
    status = demodulator.status
    parts.append(demodulator.finish())
    values = np.concatenate([part.values for part in parts])
    assert [int(s) for part in parts for s in part.starts] == [0]
    assert errors(values, bits, waveform) / len(bits) < uncoded(8.0)
    seconds = len(samples) / rate
    expected_hz = frequency[0] + frequency[1] * seconds + frequency[2] * seconds**2
    assert status.offset_hz == pytest.approx(expected_hz, abs=100)
    assert status.rate_hz_s == pytest.approx(frequency[1] + 2 * frequency[2] * seconds, rel=0.25)


def test_lock_is_found_again_after_a_fade_and_told() -> None:
    waveform = Waveform(Modulation.BPSK, RATE)
    bits, samples, rate = transmit(waveform, 4.0, 100_000, 4.0)
    del bits
    gone = slice(120_000, 280_000)
    rng = np.random.default_rng(6)
    samples[gone] = channel.noise(160_000, 3 * channel.noise_deviation(4.0, 4.0), rng)
    values, starts, status = demodulate(samples, waveform, rate)
    assert len(starts) == 2
    assert starts[0] == 0
    assert (status.locks, status.losses) == (2, 1)
    # Lost some 0.02 s into the fade, found within a window, 0.02 s, of its end.
    assert 30_000 < starts[1] < 36_000
    assert len(values) - starts[1] > 30_000 - 2_048 - 100


@given(st.lists(st.integers(0, 2_000), max_size=10), st.sampled_from(list(Modulation)))
@settings(max_examples=25)
def test_modulator_in_pieces_sends_the_same(cuts: list[int], modulation: Modulation) -> None:
    waveform = Waveform(modulation, RATE, subcarrier_hz=2 * RATE)
    bits = np.random.default_rng(8).integers(0, 2, 2_000, np.uint8)

    def send(edges: list[int]) -> np.ndarray:
        modulator = Modulator(waveform, 5.3 * RATE, delay=2.7)
        parts = [modulator.push(bits[a:b]) for a, b in pairwise(edges)]
        return np.concatenate((*parts, modulator.finish()))

    whole = send([0, 2_000])
    assert np.array_equal(whole, send([0, *sorted(cuts), 2_000]))
    assert np.mean(np.abs(whole[50:-50]) ** 2) == pytest.approx(1.0, abs=0.07)


def test_table_of_states_is_complete() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


@pytest.mark.parametrize(
    ("what", "make"),
    [
        ("modulation", lambda: Waveform("am", 1.0)),  # type: ignore[arg-type]
        ("symbol rate", lambda: Waveform(Modulation.BPSK, 0.0)),
        ("shaping", lambda: Waveform(Modulation.BPSK, 1.0, shaping="x")),
        ("subcarrier", lambda: Waveform(Modulation.PM_PSK, 10.0, subcarrier_hz=5.0)),
        ("samples a symbol", lambda: open_demodulator(Waveform(Modulation.BPSK, 1.0), 1.5)),
        ("samples a symbol", lambda: Modulator(Waveform(Modulation.BPSK, 1.0), 1.2)),
        ("carrier_bandwidth", lambda: Reception(carrier_bandwidth=1.0)),
        ("range_hz", lambda: Reception(range_hz=-1.0)),
        ("minimum Es/N0", lambda: Reception(minimum_esn0_db=-40.0)),
        ("no residual", lambda: ResidualDemodulator(Waveform(Modulation.BPSK, 1.0), 4.0)),
        (
            "one dimension",
            lambda: open_demodulator(Waveform(Modulation.BPSK, 1.0), 4.0).push(np.zeros((2, 2))),
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(what: str, make: Any) -> None:
    with pytest.raises(LocalError, match=what):
        make()
