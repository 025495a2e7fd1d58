"""Codewords of soft codes are found, in every rotation and where the codes still work."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.ldpc import LdpcCode
from protocols.coding.soft_sync import TRANSITIONS, Event, SoftSynchroniser, State
from protocols.coding.sync import ASM_LDPC, ASM_TURBO
from protocols.coding.turbo import TurboCode
from protocols.errors import LocalError
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Modulation, Waveform

MARKER = np.unpackbits(np.frombuffer(ASM_LDPC, np.uint8))
BPSK, QPSK, OQPSK = (Waveform(m, 1.0) for m in (Modulation.BPSK, Modulation.QPSK, Modulation.OQPSK))


def stream(words: np.ndarray, marker: np.ndarray = MARKER) -> np.ndarray:
    lead = np.tile(marker, (len(words), 1))
    return 1.0 - 2.0 * np.hstack((lead, words)).ravel()


def turned(values: np.ndarray, waveform: Waveform, quarter: int) -> np.ndarray:
    if waveform.modulation == Modulation.BPSK:
        return values * (-1) ** quarter
    if waveform.staggered:
        return values * np.where(np.arange(len(values)) % 2, 1, (-1) ** quarter)
    points = values[: len(values) // 2 * 2].reshape(-1, 2) @ np.array([1, 1j]) * 1j**quarter
    return np.stack((points.real, points.imag), axis=1).ravel()


def noisy(values: np.ndarray, esn0_db: float, seed: int) -> np.ndarray:
    deviation = np.sqrt(0.5 * 10 ** (-esn0_db / 10))
    rng = np.random.default_rng(seed)
    return (values + rng.normal(0, deviation, len(values))).astype(np.float32)


def run(
    synchroniser: SoftSynchroniser, values: np.ndarray, cuts: list[int], starts: list[int]
) -> tuple[np.ndarray, list[int]]:
    parts = []
    edges = [0, *sorted(cuts), len(values)]
    for number, (begin, end) in enumerate(pairwise(edges)):
        last = number == len(edges) - 2
        inside = [s for s in starts if begin <= s < end or (last and s == end)]
        part = SoftSymbols(values[begin:end].astype(np.float32), np.array(inside, np.int64), begin)
        parts.append(synchroniser.push(part))
        fresh = msgpack.unpackb(msgpack.packb(synchroniser.snapshot()))
        synchroniser.restore(fresh)
    parts.append(synchroniser.finish())
    return (
        np.concatenate([p.symbols for p in parts]),
        [int(x) for p in parts for x in p.position],
    )


@pytest.mark.parametrize("waveform", [BPSK, QPSK, OQPSK], ids=lambda w: str(w.modulation))
@pytest.mark.parametrize("quarter", range(4))
def test_every_rotation_gives_all_codewords(waveform: Waveform, quarter: int) -> None:
    """At 1.5 dB Eb/N0, after 77 symbols of nothing in particular."""
    code = LdpcCode("AR4JA 1/2 1024")
    data = np.random.default_rng(1).integers(0, 256, (12, code.data_length), np.uint8)
    before = 1.0 - 2.0 * np.random.default_rng(2).integers(0, 2, 77)
    sent = np.concatenate((before, stream(np.unpackbits(code.encode(data), axis=1))))
    sent = np.append(sent, np.ones(len(sent) % 2))
    received = noisy(turned(sent, waveform, quarter), 1.75 - 3.01, quarter)
    length = 8 * code.block_length
    symbols, position = run(SoftSynchroniser(waveform, MARKER, length), received, [], [0])
    assert position == [77 + i * (64 + length) for i in range(12)]
    assert (code.decode(symbols).data == data).all(axis=1).sum() >= 11


def test_turbo_codewords_at_one_sixth_are_found_below_the_noise() -> None:
    """Es/N0 of −7.3 dB; the marker is as long in symbols as the code is slow."""
    code = TurboCode("1/6", 1784)
    data = np.random.default_rng(3).integers(0, 256, (5, code.data_length), np.uint8)
    marker = np.unpackbits(np.frombuffer(ASM_TURBO["1/6"], np.uint8))
    received = noisy(stream(code.encode(data), marker), -7.3, 5)
    symbols, position = run(SoftSynchroniser(BPSK, marker, code.symbols), received, [], [0])
    assert position == [i * (192 + code.symbols) for i in range(5)]
    assert (code.decode(symbols).data == data).all()


def test_a_slip_and_a_single_frame() -> None:
    words = np.random.default_rng(6).integers(0, 2, (9, 500), np.uint8)
    clean = stream(words)
    at = 4 * 564 + 200
    slipped = np.concatenate((clean[:at], -clean[at + 1 :]))
    symbols, position = run(SoftSynchroniser(BPSK, MARKER, 500), slipped, [], [0])
    assert [i * 564 for i in range(5)] + [i * 564 - 1 for i in range(5, 9)] == position
    whole = [i for i in range(9) if i != 4]
    assert np.array_equal((symbols < 0)[whole], words[whole] > 0)
    symbols, position = run(SoftSynchroniser(BPSK, MARKER, 500), clean[:600], [], [0])
    assert position == [0]


@settings(max_examples=25)
@given(st.data())
def test_every_chunking_gives_the_same(data: st.DataObject) -> None:
    words = np.random.default_rng(7).integers(0, 2, (14, 201), np.uint8)
    values = noisy(stream(words), 0.0, 8)
    # Markers missing, more than the flywheel bears; a new beginning at an odd place.
    for gone in (3, 7, 8, 9):
        values[gone * 265 : gone * 265 + 64] = 0.01
    starts = [0, 11 * 265 + 33]
    whole = run(SoftSynchroniser(QPSK, MARKER, 201, flywheel=2), values, [], starts)
    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=10))
    cut = run(SoftSynchroniser(QPSK, MARKER, 201, flywheel=2), values, cuts, starts)
    assert np.array_equal(whole[0], cut[0])
    assert whole[1] == cut[1]
    assert len(whole[1]) >= 9


def test_noise_holds_no_codeword() -> None:
    noise = np.random.default_rng(9).normal(0, 1, 60_000)
    assert run(SoftSynchroniser(QPSK, MARKER, 2_000), noise, [], [0])[1] == []


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(LocalError, match="16 bits"):
        SoftSynchroniser(BPSK, MARKER[:8], 100)
    with pytest.raises(LocalError, match="impossible"):
        SoftSynchroniser(BPSK, MARKER, 0)
    assert set(TRANSITIONS) == set(State)
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)
