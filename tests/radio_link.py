"""A whole link for trials: frames to I/Q samples with an unknown carrier, and back to frames.

Used by the suite's short forms, `tests/benchmarks/bench_radio.py` and `tests/long/radio.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from protocols.coding.ambiguity import CodedSymbols, PlainSymbols
from protocols.coding.convolutional import ConvolutionalCode, ConvolutionalEncoder
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.sync import ASM, FrameSynchroniser
from protocols.physical import channel
from protocols.physical.demodulator import Reception
from protocols.physical.modulator import Modulator
from protocols.physical.residual import open_demodulator
from protocols.physical.waveform import Modulation, Waveform


@dataclass(frozen=True)
class Coding:
    """interleave 0: no Reed–Solomon code; data: octets of a frame then."""

    convolutional: ConvolutionalCode | None = field(default_factory=ConvolutionalCode)
    interleave: int = 5
    data: int = 1115

    @property
    def reed_solomon(self) -> ReedSolomon | None:
        return ReedSolomon(interleave=self.interleave) if self.interleave else None

    @property
    def data_length(self) -> int:
        code = self.reed_solomon
        return code.data_length if code else self.data

    @property
    def block_length(self) -> int:
        code = self.reed_solomon
        return code.block_length if code else self.data

    @property
    def rate(self) -> float:
        """Data bits a channel symbol, the marker not counted."""
        rate = self.data_length / self.block_length
        if self.convolutional:
            bits, _, symbols = self.convolutional.rate.partition("/")
            rate *= int(bits) / int(symbols)
        return rate


@dataclass(frozen=True)
class Impairments:
    """frequency: coefficients of the carrier's offset, Hz over seconds; phase_turns; delay in
    samples; phase_noise: dBc/Hz at 1 kHz; tones: (offset Hz, dB against the carrier); fades:
    (begin s, end s, dB); clock: relative error of the symbol rate."""

    frequency: tuple[float, ...] = ()
    phase_turns: float = 0.0
    delay: float = 0.0
    phase_noise: float | None = None
    tones: tuple[tuple[float, float], ...] = ()
    fades: tuple[tuple[float, float, float], ...] = ()
    clock: float = 0.0


def frames(coding: Coding, count: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (count, coding.data_length), np.uint8)


def cadus(coding: Coding, data: np.ndarray) -> np.ndarray:
    code = coding.reed_solomon
    blocks = randomise(code.encode(data) if code else data, "ccsds")
    return np.hstack((np.tile(np.frombuffer(ASM, np.uint8), (len(blocks), 1)), blocks))


def esn0_db(coding: Coding, waveform: Waveform, ebn0_db: float) -> float:
    return ebn0_db + 10 * math.log10(coding.rate * waveform.rails)


class Transmitter:
    """Frames to noisy samples, in pieces."""

    def __init__(
        self,
        waveform: Waveform,
        sample_rate: float,
        coding: Coding,
        ebn0_db: float,
        impairments: Impairments,
        rng: np.random.Generator,
    ) -> None:
        self.sample_rate = sample_rate
        self._impairments = impairments
        self._coding = coding
        self._encoder = ConvolutionalEncoder(coding.convolutional) if coding.convolutional else None
        self._modulator = Modulator(
            waveform, sample_rate / (1 + impairments.clock), delay=impairments.delay
        )
        sps = sample_rate / waveform.symbol_rate
        self.deviation = channel.noise_deviation(esn0_db(coding, waveform, ebn0_db), sps)
        self._rng = rng
        self._at = 0
        self._wander = (
            None
            if impairments.phase_noise is None
            else channel.PhaseNoise(impairments.phase_noise, sample_rate, rng)
        )

    def send(self, data: np.ndarray) -> np.ndarray:
        octets = cadus(self._coding, data).ravel()
        bits = self._encoder.push(octets) if self._encoder else np.unpackbits(octets)
        return self._channel(self._modulator.push(bits))

    def finish(self) -> np.ndarray:
        return self._channel(self._modulator.finish())

    def _channel(self, samples: np.ndarray) -> np.ndarray:
        at, made = self._at, self._impairments
        self._at += len(samples)
        t = (np.arange(len(samples)) + at) / self.sample_rate
        if self._wander is not None:
            samples = self._wander.apply(samples)
        coefficients = made.frequency or (0.0,)
        samples = channel.rotate(samples, at, self.sample_rate, coefficients)
        samples = samples * np.complex64(np.exp(2j * np.pi * made.phase_turns))
        for begin, end, db in made.fades:
            samples[(t >= begin) & (t < end)] *= np.float32(10 ** (db / 20))
        for offset, db in made.tones:
            turns = offset * t
            tone = np.exp(2j * np.pi * (turns - np.floor(turns))) * 10 ** (db / 20)
            samples = samples + tone.astype(np.complex64)
        return samples + channel.noise(len(samples), self.deviation, self._rng)


class Receiver:
    """Samples to frames: demodulator, decoder, synchroniser, Reed–Solomon."""

    def __init__(
        self, waveform: Waveform, sample_rate: float, coding: Coding, reception: Reception
    ) -> None:
        self.demodulator = open_demodulator(waveform, sample_rate, reception)
        self.symbols = (
            CodedSymbols(waveform, coding.convolutional)
            if coding.convolutional
            else PlainSymbols(waveform, coding.block_length)
        )
        self.sync = FrameSynchroniser(ASM, coding.block_length, marker_errors=4, flywheel=3)
        self._code = coding.reed_solomon

    def push(self, samples: np.ndarray) -> np.ndarray:
        return self._frames(self.sync.push(self.symbols.push(self.demodulator.push(samples))))

    def finish(self) -> np.ndarray:
        octets = (self.symbols.push(self.demodulator.finish()), self.symbols.finish())
        found = [self._frames(self.sync.push(part)) for part in octets]
        return np.concatenate((*found, self._frames(self.sync.finish())))

    def _frames(self, found: object) -> np.ndarray:
        blocks = randomise(found.frames, "ccsds")  # type: ignore[attr-defined]
        return self._code.decode(blocks).data if self._code else blocks


def run(
    waveform: Waveform,
    samples_per_symbol: float,
    coding: Coding,
    ebn0_db: float,
    count: int,
    *,
    seed: int,
    reception: Reception | None = None,
    impairments: Impairments | None = None,
    piece: int = 20,
) -> tuple[np.ndarray, np.ndarray, Receiver]:
    """(frames sent, frames received, receiver); unknown carrier, phase and timing by default."""
    rng = np.random.default_rng(seed)
    sample_rate = samples_per_symbol * waveform.symbol_rate
    if impairments is None:
        wide = 0.2 * waveform.symbol_rate
        impairments = Impairments(
            frequency=(rng.uniform(-wide, wide), rng.uniform(-1, 1) * 1e-7 * wide**2),
            phase_turns=rng.uniform(),
            delay=rng.uniform(0, 5 * samples_per_symbol),
        )
    if reception is None:
        # Noise is all there is: QPSK, whose detector hears more of it, gains by a narrower loop.
        reception = Reception(
            range_hz=0.25 * waveform.symbol_rate,
            rate_hz_s=2e-7 * waveform.symbol_rate**2,
            carrier_bandwidth=5e-4 if waveform.modulation == Modulation.QPSK else 1e-3,
        )
    sender = Transmitter(waveform, sample_rate, coding, ebn0_db, impairments, rng)
    receiver = Receiver(waveform, sample_rate, coding, reception)
    sent: list[np.ndarray] = []
    got: list[np.ndarray] = []
    for data in _pieces(coding, count, piece, rng):
        sent.append(data)
        got.append(receiver.push(sender.send(data)))
    got += [receiver.push(sender.finish()), receiver.finish()]
    return np.concatenate(sent), np.concatenate(got), receiver


def _pieces(
    coding: Coding, count: int, piece: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    for at in range(0, count, piece):
        yield frames(coding, min(piece, count - at), rng)


def right(sent: np.ndarray, got: np.ndarray) -> np.ndarray:
    """bool [sent]: which frames came out, octet for octet."""
    received = {row.tobytes() for row in got}
    return np.array([row.tobytes() in received for row in sent], bool)
