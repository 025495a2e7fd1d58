"""Receiver of phase modulation with residual carrier: PCM/PSK/PM and PCM/PM/bi-phase.

A loop follows the carrier that modulation leaves over and turns it onto the real axis; what is
across it is the phase that the symbols made, and goes to a `Demodulator` of its own: as BPSK on a
subcarrier, or as bi-phase symbols that need no carrier any more.

A square subcarrier is found and followed by its first harmonic, which has 8/π² of its power; once
it is, what is in phase with it is multiplied by the square wave itself and has all of it.
"""

# numba ships no types: the docstrings say here what the kernel's arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numba import njit

from protocols.errors import LocalError
from protocols.physical.demodulator import (
    Demodulator,
    DemodulatorStatus,
    Reception,
    SoftSymbols,
    State,
)
from protocols.physical.prediction import Prediction
from protocols.physical.pulses import square_wave
from protocols.physical.waveform import Modulation, Waveform

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
C64 = npt.NDArray[np.complex64]
C128 = npt.NDArray[np.complex128]

#: Symbols in the window that is searched; an eighth of them is averaged for lock.
_WINDOW: Final = 4096
#: A window of noise has a line as strong once in so many.
_FALSE: Final = 1e-6
#: Mean cosine of the carrier's phase, a symbol at a time, below which it is lost; noise alone
#: gives 0 ± 0.02.
_LOCK: Final = 0.1
#: Symbols through a square subcarrier at a time: its phase is taken from what was tracked before.
_BLOCK: Final = 64
#: What multiplying noise by ±1, and not by a cosine, makes of its deviation, undone.
_LEVEL: Final = math.sqrt(0.5)
#: A subcarrier stands where the carrier's loop has put it, but for its transmitter's clock.
_SUBCARRIER_RANGE: Final = 2e-5


class Field(IntEnum):
    """Of the loop's state: turns, turns a sample, and its growth a step; mean cosine; samples."""

    PHASE = 0
    FREQUENCY = 1
    RATE = 2
    COSINE = 3
    SAMPLE = 4


_PHASE, _FREQUENCY, _RATE, _COSINE, _SAMPLE = map(int, Field)


@njit(cache=True, nogil=True)
def follow_carrier(
    samples: Any,
    step: int,
    prediction: Any,
    epoch: int,
    sample_rate: float,
    gains: Any,
    lock_gain: float,
    threshold: float,
    state: Any,
    out: Any,
) -> Any:
    """Turn samples by the loop's oscillator; (samples used, carrier lost).

    samples: complex64; step: samples from one decision of the loop to the next, always whole ones;
    prediction: turns a sample, coefficients over seconds since the sample `epoch`; gains: of phase,
    frequency and rate;
    out: complex64, the real part of each is what was across the carrier.
    """
    phase, frequency, rate = state[_PHASE], state[_FREQUENCY], state[_RATE]
    cosine, sample = state[_COSINE], state[_SAMPLE]
    used = 0
    lost = False
    while used + step <= len(samples):
        t = (sample - epoch + 0.5 * (step - 1)) / sample_rate
        ahead = 0.0
        for c in range(len(prediction) - 1, -1, -1):
            ahead = ahead * t + prediction[c]
        turns = frequency + ahead
        c, s = np.cos(-2 * np.pi * phase), np.sin(-2 * np.pi * phase)
        dc, ds = np.cos(-2 * np.pi * turns), np.sin(-2 * np.pi * turns)
        total_i = 0.0
        total_q = 0.0
        for k in range(step):
            x = samples[used + k]
            i = x.real * c - x.imag * s
            q = x.real * s + x.imag * c
            total_i += i
            total_q += q
            out[used + k] = np.complex64(q)
            c, s = c * dc - s * ds, c * ds + s * dc
        used += step
        sample += step
        phase += turns * step
        size = np.sqrt(total_i * total_i + total_q * total_q) + 1e-30
        error = total_q / size
        cosine += lock_gain * (total_i / size - cosine)
        phase += gains[0] * error
        phase -= np.floor(phase)
        rate += gains[2] * error
        frequency += gains[1] * error + rate
        if cosine < threshold:
            lost = True
            break
    state[_PHASE], state[_FREQUENCY], state[_RATE] = phase, frequency, rate
    state[_COSINE], state[_SAMPLE] = cosine, sample
    return used, lost


class ResidualDemodulator:
    """The same face as `Demodulator`, for waveforms with residual carrier.

    `Reception.carrier_bandwidth` is that of the carrier's loop.  Raises LocalError for what cannot
    be.
    """

    def __init__(
        self, waveform: Waveform, sample_rate: float, reception: Reception | None = None
    ) -> None:
        if not waveform.residual:
            raise LocalError(f"{waveform.modulation} has no residual carrier")
        if waveform.modulation == Modulation.PM_PSK and sample_rate < 2 * waveform.edge_hz:
            raise LocalError(
                f"sample rate of {sample_rate:g} for a subcarrier of {waveform.subcarrier_hz:g} Hz "
                f"and {waveform.symbol_rate:g} symbols/s; at least {2 * waveform.edge_hz:g} wanted"
            )
        self.waveform = waveform
        self.reception = reception = Reception() if reception is None else reception
        self.sample_rate = float(sample_rate)
        sps = sample_rate / waveform.symbol_rate
        self._step = max(1, round(sps))
        self._square = waveform.subcarrier == "square" and waveform.subcarrier_hz > 0
        self._window = round(_WINDOW * sps)
        w = reception.carrier_bandwidth / 0.7845
        turn = 2 * np.pi * self._slope()
        gains = (2.4 * w / turn, 1.1 * w**2 / turn / self._step, w**3 / turn / self._step)
        self._gains = np.array(gains)
        self._inner_waveform = waveform
        inner = replace(
            reception, range_hz=0.0, rate_hz_s=0.0, prediction=(), carrier_bandwidth=1e-3
        )
        if waveform.modulation == Modulation.PM_PSK:
            self._inner_waveform = Waveform(Modulation.BPSK, waveform.symbol_rate, shaping="nrz")
            inner = replace(inner, range_hz=_SUBCARRIER_RANGE * waveform.subcarrier_hz)
        self._inner_reception = inner
        self._samples = self._symbols = self._locks = self._losses = 0
        self._begin()

    def _slope(self) -> float:
        """Of the mean sine of a symbol's phase, a radian: less where noise is as strong."""
        minimum_db = self.reception.minimum_esn0_db
        minimum = 10 ** ((-3.0 if minimum_db is None else minimum_db) / 10)
        carrier, data = self.power_shares()
        g = 2 * minimum * carrier / data
        # Mean resultant length of noisy phases, within 5 % (for its limits √(πg/4) and 1).
        return math.sqrt(g * np.pi / 4 / (1 + g * np.pi / 4))

    def power_shares(self) -> tuple[float, float]:
        """Shares of the power in the carrier and in the symbols (the subcarrier's first lines)."""
        m = self.waveform.index_rad
        if self.waveform.modulation == Modulation.PM_BIPHASE or self._square:
            return math.cos(m) ** 2, math.sin(m) ** 2
        angle = 2 * np.pi * np.arange(256) / 256
        carrier = float(np.mean(np.cos(m * np.sin(angle))))
        first = float(np.mean(np.sin(m * np.sin(angle)) * np.sin(angle)))
        return carrier**2, 2 * first**2

    def _begin(self) -> None:
        self._locked = False
        self._prediction = Prediction(self.reception.prediction, self.sample_rate)
        self._raw = np.zeros(0, np.complex64)
        self._raw_at = 0
        self._track = np.zeros(len(Field))
        self._inner: Demodulator | None = None

    def push(self, samples: npt.ArrayLike) -> SoftSymbols:
        """The next samples, complex64 [n].  Raises LocalError for another shape."""
        chunk = np.ascontiguousarray(samples, np.complex64)
        if chunk.ndim != 1:
            raise LocalError(f"samples of shape {chunk.shape}, one dimension wanted")
        self._samples += len(chunk)
        self._raw = np.concatenate((self._raw, chunk))
        return self._run(final=False)

    def finish(self) -> SoftSymbols:
        """The stream has ended: the symbols still on their way.  A later push begins anew."""
        parts = [self._run(final=True)]
        if self._inner is not None:
            if len(self._raw):
                # Less than a step of the loop: it would not be heard any more.
                padded = np.append(self._raw, np.zeros(self._step - len(self._raw), np.complex64))
                parts.append(self._inner.push(self._across(padded)[0][: len(self._raw)]))
            parts.append(self._end())
        out = self._joined(parts)
        self._begin()
        return out

    def predict(self, coefficients: Sequence[float]) -> None:
        """As `Demodulator.predict`."""
        before, state = self._prediction, self._track
        number = self._raw_at + len(self._raw)
        self._prediction = now = Prediction(tuple(coefficients), self.sample_rate, number)
        if not self._locked:
            return
        at = float(state[Field.SAMPLE])
        state[Field.FREQUENCY] += (before.hz(at) - now.hz(at)) / self.sample_rate
        growth = (before.hz_s(at) - now.hz_s(at)) / self.sample_rate**2
        state[Field.RATE] += growth * self._step

    def _run(self, *, final: bool) -> SoftSymbols:
        parts: list[SoftSymbols] = []
        while True:
            if not self._locked:
                window = self._raw[: self._window]
                if len(window) < self._window and not (final and len(window) > 16 * self._step):
                    break
                if not self._search(window):
                    self._drop(min(self._window // 2, len(self._raw)))
                continue
            used = len(self._raw) // self._step * self._step
            if self._square:
                # Blocks stand where they stand in the stream, however it was cut.
                block = _BLOCK * self._step
                used = block if used >= block else used * final
            if not used:
                break
            out, lost = self._across(self._raw[:used])
            assert self._inner is not None
            parts.append(self._inner.push(out))
            self._drop(len(out))
            if lost:
                parts.append(self._end())
                self._losses += 1
                self._locked = False
        return self._joined(parts)

    def _across(self, samples: C64) -> tuple[C64, bool]:
        out = np.empty(len(samples), np.complex64)
        begin = int(self._track[Field.SAMPLE])
        used, lost = follow_carrier(
            samples, self._step, self._prediction.turns_a_sample, self._prediction.epoch,
            self.sample_rate, self._gains, 8 / _WINDOW, _LOCK, self._track, out,
        )  # fmt: skip
        out = out[:used]
        if self.waveform.modulation == Modulation.PM_PSK:
            width = self.waveform.subcarrier_hz / self.sample_rate
            turns = (np.arange(used) + begin) * width
            across, out = out.real, out * np.exp(-2j * np.pi * (turns - np.floor(turns)))
            if self._square and self._inner is not None:
                out = self._in_phase(across, out, turns, width)
        return out.astype(np.complex64), bool(lost)

    def _in_phase(self, across: F32, out: C128, turns: F64, width: float) -> C128:
        """`out` with all harmonics in phase with the subcarrier, where its phase is known."""
        assert self._inner is not None
        status = self._inner.status
        if status.state != State.TRACK:
            return out
        phase = self._inner.oscillator_turns(status.samples + np.arange(len(out)))
        turned = out * np.exp(-2j * np.pi * phase)
        turned.real = _LEVEL * across * square_wave(turns + phase, width)
        return turned * np.exp(2j * np.pi * phase)

    def _drop(self, count: int) -> None:
        self._raw = self._raw[count:].copy()
        self._raw_at += count

    def _end(self) -> SoftSymbols:
        assert self._inner is not None
        out = self._inner.finish()
        self._inner = None
        return out

    def _joined(self, parts: list[SoftSymbols]) -> SoftSymbols:
        starts: list[int] = []
        for part in parts:
            # An inner demodulator counts from its own beginning.
            starts += [self._symbols + int(s) - part.first for s in part.starts]
            self._symbols += len(part)
        values = np.concatenate([part.values for part in parts] or [np.empty(0, np.float32)])
        first = self._symbols - len(values)
        return SoftSymbols(values, np.array(starts, np.int64), first)

    def _search(self, samples: C64) -> bool:
        """The strongest line in the range; the loop is set to it at the window's first sample."""
        rate, n = self.sample_rate, self._window
        samples = self._prediction.taken_off(samples, self._raw_at)
        step = 2 / n**2
        most = self.reception.rate_hz_s / rate**2
        count = math.ceil(most / step - 0.5) if most > 0 else 0
        k = np.arange(len(samples)) - n / 2
        offsets = np.fft.fftfreq(2 * n)
        inside = np.abs(offsets) <= self.reception.range_hz / rate + 2 / n
        best = (0.0, 0.0, 0.0, 0.0)
        for growth in np.arange(-count, count + 1) * step:
            turned = samples * np.exp(-1j * np.pi * growth * k * k)
            power = np.abs(np.fft.fft(turned, 2 * n)) ** 2
            strength = np.where(inside, power, 0.0)
            at = int(np.argmax(strength))
            value = float(strength[at] / np.median(power)) * math.log(2)
            if value > best[0]:
                grid = offsets[at] + np.linspace(-0.5, 0.5, 9) / n
                sums = [abs(np.sum(turned * np.exp(-2j * np.pi * f * k))) for f in grid]
                fine = float(grid[int(np.argmax(sums))])
                phase = float(np.angle(np.sum(turned * np.exp(-2j * np.pi * fine * k))))
                best = (value, fine, float(growth), phase / (2 * np.pi))
        strength, frequency, growth, middle = best
        if strength < math.log(2 * n * (2 * count + 1) / _FALSE):
            return False
        state = self._track
        half = n / 2
        turns = middle - frequency * half + growth * half**2 / 2
        turns += float(self._prediction.turns(self._raw_at))
        state[:] = 0
        state[Field.PHASE] = turns % 1.0
        state[Field.FREQUENCY] = frequency - growth * half
        state[Field.RATE] = growth * self._step
        state[Field.COSINE] = 4 * _LOCK
        state[Field.SAMPLE] = self._raw_at
        self._inner = Demodulator(self._inner_waveform, rate, self._inner_reception)
        self._locked = True
        self._locks += 1
        return True

    @property
    def status(self) -> DemodulatorStatus:
        """Of the carrier's loop where it is about the carrier, else of the symbols' receiver."""
        state = self._track
        at = float(state[Field.SAMPLE])
        predicted = self._prediction.hz(at)
        if self._inner is None:
            return DemodulatorStatus(
                State.SEARCH, predicted, 0.0, self.waveform.symbol_rate, math.nan, -300.0,
                self._samples, self._symbols, self._locks, self._losses,
            )  # fmt: skip
        return replace(
            self._inner.status,
            offset_hz=float(state[Field.FREQUENCY]) * self.sample_rate + predicted,
            rate_hz_s=float(state[Field.RATE]) / self._step * self.sample_rate**2
            + self._prediction.hz_s(at),
            samples=self._samples,
            symbols=self._symbols,
            locks=self._locks,
            losses=self._losses,
        )

    @property
    def constellation(self) -> F32:
        return self._inner.constellation if self._inner else np.zeros((0, 2), np.float32)

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {
            "locked": self._locked,
            "raw": self._raw.tobytes(),
            "counts": [self._raw_at, self._samples, self._symbols, self._locks, self._losses],
            "track": self._track.tolist(),
            "inner": None if self._inner is None else self._inner.snapshot(),
            "prediction": self._prediction.snapshot(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the snapshot of a demodulator of the same waveform and reception."""
        self._begin()
        self._locked = bool(state["locked"])
        self._prediction = self._prediction.restored(state["prediction"])
        self._raw = np.frombuffer(state["raw"], np.complex64).copy()
        self._raw_at, self._samples, self._symbols, self._locks, self._losses = map(
            int, state["counts"]
        )
        self._track[:] = state["track"]
        if state["inner"] is not None:
            self._inner = Demodulator(self._inner_waveform, self.sample_rate, self._inner_reception)
            self._inner.restore(state["inner"])


def open_demodulator(
    waveform: Waveform, sample_rate: float, reception: Reception | None = None
) -> Demodulator | ResidualDemodulator:
    """The receiver that this waveform wants."""
    kind = ResidualDemodulator if waveform.residual else Demodulator
    return kind(waveform, sample_rate, reception)
