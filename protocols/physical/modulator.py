"""Modulator: bits to I/Q samples at any sample rate, in pieces of any size.

The mean power is one.  A bit of 0 is sent as +1, as soft symbols say it; of QPSK and OQPSK the
first bit of two goes to I (401.0-B).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.physical import modulator_kernels as kernels
from protocols.physical.pulses import GAUSSIAN_REACH, gaussian_frequency, square_wave
from protocols.physical.waveform import Modulation, Waveform

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
C64 = npt.NDArray[np.complex64]

#: Places in a symbol at which a pulse is tabulated: what rounding to one costs stands 60 dB below.
_PLACES: Final = 1024


class Modulator:
    """One transmission.

    sample_rate: samples/s, at least 1.5 times the symbol rate (2 if it has a residual carrier).
    delay: samples from the first one to the beginning of the first symbol, any real ≥ 0.
    """

    def __init__(self, waveform: Waveform, sample_rate: float, *, delay: float = 0.0) -> None:
        self.waveform = waveform
        self.samples_per_symbol = sample_rate / waveform.symbol_rate
        if self.samples_per_symbol < 1.5:
            raise LocalError(
                f"sample rate of {sample_rate} for {waveform.symbol_rate} symbols/s;"
                " at least 1.5 samples a symbol wanted"
            )
        self._sample_rate = sample_rate
        sps = self.samples_per_symbol
        gmsk = waveform.modulation == Modulation.GMSK
        reach = GAUSSIAN_REACH if gmsk else waveform.pulse.reach
        self._around = math.ceil(reach + 0.5)
        places = (np.arange(_PLACES) / _PLACES - 0.5)[:, None]
        instants: F64 = places - np.arange(-self._around, self._around + 1)
        # GMSK: turns a sample, a bit turning the phase by a quarter in all.
        values = (
            gaussian_frequency(instants, waveform.bt) / (2 * math.pi * sps)
            if gmsk
            else waveform.pulse.taps(instants, 1 / sps)
        )
        self._taps: F32 = values.astype(np.float32)
        self._rails = waveform.rails
        self._taps *= np.float32(math.sqrt(1 / self._rails))
        late = sps / 2 if waveform.staggered else 0.0
        self._centres = (delay + sps / 2, delay + sps / 2 + late)
        self._lead = [np.zeros(self._around, np.float32) for _ in range(self._rails)]
        #: Symbols before `_lead`'s first, samples given, and GMSK's phase in turns.
        self._symbols = -self._around
        self._samples: int = 0
        self._odd: U8 = np.empty(0, np.uint8)
        self._turns = 0.0
        self._precoder = (1.0, 0)

    def push(self, bits: npt.ArrayLike) -> C64:
        """Samples, complex64 [m], that the next bits (0 or 1; uint8 [n]) complete."""
        fresh = np.concatenate((self._odd, np.asarray(bits, np.uint8)))
        whole = len(fresh) // self._rails * self._rails
        self._odd = fresh[whole:]
        levels = (1.0 - 2.0 * fresh[:whole]).astype(np.float32)
        if self.waveform.modulation == Modulation.GMSK:
            levels = self._precode(levels)
        return self._shape([levels[i :: self._rails] for i in range(self._rails)])

    def retime(self, samples_per_symbol: float) -> None:
        """Symbols take so many samples from the next sample on: the sender's clock as it is heard
        from a changing distance.  No symbol is cut: the one that is on only becomes longer or
        shorter.  The change is to be small (1e-3): the pulse is not made anew."""
        n, scale = self._samples, samples_per_symbol / self.samples_per_symbol
        self._centres = tuple(n - (n - one) * scale for one in self._centres)
        self.samples_per_symbol = samples_per_symbol

    @property
    def place(self) -> float:
        """Of the next sample in symbols from the beginning of the first one on; how many samples
        have been given is `samples`."""
        return (self._samples - self._centres[0]) / self.samples_per_symbol + 0.5

    @property
    def samples(self) -> int:
        return self._samples

    def finish(self) -> C64:
        """The rest, until the last symbol has died away."""
        silent = np.zeros(2 * self._around + 1, np.float32)
        return self._shape([silent] * self._rails)

    def _precode(self, levels: F32) -> F32:
        """So that bits come out of an OQPSK receiver as they went in (401.0-B, 413.0-G)."""
        last, number = self._precoder
        before = np.concatenate((np.array([last], np.float32), levels[:-1]))
        signs = 1.0 - 2.0 * ((np.arange(len(levels)) + number) % 2)
        if len(levels):
            self._precoder = (float(levels[-1]), (number + len(levels)) % 2)
        return (levels * before * signs).astype(np.float32)

    def _shape(self, fresh: list[F32]) -> C64:
        rails = [np.concatenate(pair) for pair in zip(self._lead, fresh, strict=True)]
        sps = self.samples_per_symbol
        # A sample needs the symbols up to `around` behind the one whose place it is in.
        known = self._symbols + len(rails[0]) - self._around
        end: int = max(math.ceil((known - 0.5) * sps + self._centres[0]), self._samples)
        count = end - self._samples
        shaped = [
            kernels.shape(
                rail, self._symbols, self._taps, self._samples, count, sps, self._centres[i]
            )
            for i, rail in enumerate(rails)
        ]
        self._samples = end
        # Kept: what the next sample needs before its own symbol, and one more for rounding.
        first = math.floor((end - self._centres[1]) / sps) - self._around - 2
        cut = min(max(first - self._symbols, 0), len(rails[0]))
        self._lead = [rail[cut:].copy() for rail in rails]
        self._symbols += cut
        return self._carrier(shaped, end - count)

    def _carrier(self, shaped: list[F32], first: int) -> C64:
        out = np.empty(len(shaped[0]), np.complex64)
        waveform = self.waveform
        match waveform.modulation:
            case Modulation.GMSK:
                turns: F64 = self._turns + np.cumsum(shaped[0], dtype=np.float64)
                if len(turns):
                    self._turns = float(turns[-1]) % 1.0
                out[:] = np.exp(2j * np.pi * turns)
            case Modulation.PM_PSK:
                t: F64 = np.arange(len(out), dtype=np.float64) + first
                t *= waveform.subcarrier_hz / self._sample_rate
                if waveform.subcarrier == "square":
                    # As mean samples of what has two values: the carrier's share is constant.
                    width = waveform.subcarrier_hz / self._sample_rate
                    wave = square_wave(t + width / 2 - 0.25, width)
                    out.real = math.cos(waveform.index_rad)
                    out.imag = math.sin(waveform.index_rad) * shaped[0] * wave
                    return out
                tone = np.sin(2 * np.pi * t)
                out[:] = np.exp(1j * waveform.index_rad * shaped[0] * tone)
            case Modulation.PM_BIPHASE:
                out[:] = np.exp(1j * waveform.index_rad * shaped[0])
            case _:
                out.real = shaped[0]
                out.imag = shaped[1] if len(shaped) == 2 else 0.0
        return out
