"""Every rotation in which a carrier can be locked gives the same frames."""

from __future__ import annotations

from itertools import pairwise

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.ambiguity import CodedSymbols, PlainSymbols
from protocols.coding.convolutional import ConvolutionalCode
from protocols.coding.sync import ASM, FrameSynchroniser
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Modulation, Waveform

LENGTH = 300
BPSK, QPSK, OQPSK = (Waveform(m, 1.0) for m in (Modulation.BPSK, Modulation.QPSK, Modulation.OQPSK))
RNG = np.random.default_rng(2)
DATA = RNG.integers(0, 256, (60, LENGTH), np.uint8)
STREAM = np.hstack((np.tile(np.frombuffer(ASM, np.uint8), (60, 1)), DATA)).ravel()


def turned(values: np.ndarray, waveform: Waveform, quarter: int) -> np.ndarray:
    """As received when the carrier is locked so many quarters of a turn away."""
    if waveform.modulation == Modulation.BPSK:
        return values * (-1) ** quarter
    if waveform.staggered:
        # A quarter turn makes I of Q: alternate signs.
        signs = np.where(np.arange(len(values)) % 2, 1, (-1) ** (quarter % 2))
        return values * signs * (-1) ** (quarter // 2)
    points = values.reshape(-1, 2) @ np.array([1, 1j])
    points = points * 1j**quarter
    return np.stack((points.real, points.imag), axis=1).ravel()


def frames_of(octets: np.ndarray) -> set[bytes]:
    synchroniser = FrameSynchroniser(ASM, LENGTH)
    found = (synchroniser.push(octets), synchroniser.finish())
    return {row.tobytes() for part in found for row in part.frames}


def soft(values: np.ndarray, starts: list[int] | None = None) -> SoftSymbols:
    return SoftSymbols(values.astype(np.float32), np.array(starts or [0], np.int64))


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("waveform", [BPSK, QPSK, OQPSK], ids=lambda w: str(w.modulation))
@pytest.mark.parametrize("rate", [None, "1/2", "3/4"])
def test_every_rotation_gives_all_frames(
    waveform: Waveform, quarter: int, rate: str | None
) -> None:
    code = ConvolutionalCode(rate) if rate else None  # type: ignore[arg-type]
    symbols = 1 - 2.0 * (code.encode(STREAM) if code else np.unpackbits(STREAM))
    symbols = symbols[: len(symbols) // 2 * 2]
    # Lost at the beginning: a symbol of BPSK, a pair or half of one.
    symbols = symbols[{BPSK: 1, QPSK: 2, OQPSK: 1}[waveform] :]
    symbols = symbols[: len(symbols) // 2 * 2]
    received = turned(symbols, waveform, quarter)
    deviation = {None: 0.1, "1/2": 0.5, "3/4": 0.35}[rate]
    received = received + np.random.default_rng(quarter).normal(0, deviation, len(received))
    decoder = CodedSymbols(waveform, code) if code else PlainSymbols(waveform, LENGTH)
    octets = np.concatenate((decoder.push(soft(received)), decoder.finish()))
    assert len(frames_of(octets) & {row.tobytes() for row in DATA}) >= len(DATA) - 2


def test_a_slip_costs_the_frames_of_a_block() -> None:
    """A symbol is lost and the phase slips by a quarter, unnoticed by the demodulator."""
    symbols = 1 - 2.0 * ConvolutionalCode().encode(np.tile(STREAM, 3))
    symbols = symbols[: len(symbols) // 2 * 2]
    half = len(symbols) // 4 * 2
    received = np.concatenate((symbols[:half], turned(symbols[half:], QPSK, 1)))
    decoder = CodedSymbols(QPSK, ConvolutionalCode())
    octets = np.concatenate((decoder.push(soft(received)), decoder.finish()))
    assert decoder.changes == 2
    synchroniser = FrameSynchroniser(ASM, LENGTH)
    found = len(synchroniser.push(octets)) + len(synchroniser.finish())
    assert found >= 3 * len(DATA) - 8


@settings(max_examples=20)
@given(st.data())
def test_every_chunking_gives_the_same_octets(data: st.DataObject) -> None:
    coded = data.draw(st.booleans())
    symbols = 1 - 2.0 * (ConvolutionalCode().encode(STREAM) if coded else np.unpackbits(STREAM))
    # A new beginning in the middle: the demodulator has found the carrier again.
    values, starts = symbols[: len(symbols) // 2 * 2].astype(np.float32), [0, len(symbols) // 3]

    def run(cuts: list[int], reload: bool) -> bytes:
        def fresh() -> CodedSymbols | PlainSymbols:
            code = ConvolutionalCode()
            return CodedSymbols(QPSK, code) if coded else PlainSymbols(QPSK, LENGTH)

        decoder = fresh()
        out = b""
        edges = [0, *sorted(cuts), len(values)]
        for number, (begin, end) in enumerate(pairwise(edges)):
            last = number == len(edges) - 2
            inside = [s for s in starts if begin <= s < end or (last and s == end)]
            part = SoftSymbols(values[begin:end], np.array(inside, np.int64), begin)
            out += decoder.push(part).tobytes()
            if reload:
                state = msgpack.unpackb(msgpack.packb(decoder.snapshot()))
                decoder = fresh()
                decoder.restore(state)
        return out + decoder.finish().tobytes()

    cuts = data.draw(st.lists(st.integers(0, len(values)), max_size=8))
    assert run(cuts, data.draw(st.booleans())) == run([], False)
