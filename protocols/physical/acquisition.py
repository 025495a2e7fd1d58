"""Finding a carrier with suppressed carrier: frequency, rate, phase and timing of one window.

The spectrum of a window is cleared of narrow peaks that no modulated signal has (carriers of
others), the band with the most power is passed through the matched filter, timing is read off its
power's cycle (Oerder and Meyr 1988), and the carrier off the line that the symbols' second or
fourth power has.  The rails of OQPSK and GMSK being half a symbol apart, their square has two lines
a symbol rate apart instead, which say carrier and timing together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.physical.waveform import Modulation, Waveform

C128 = npt.NDArray[np.complex128]
F64 = npt.NDArray[np.float64]

#: Samples of a symbol behind the matched filter.
_OVER: Final = 4
#: A window of noise alone is taken for a signal once in so many; tracking then finds out.
_FALSE: Final = 1e-4
#: Bands that are looked into, those with the most power first.
_BANDS: Final = 3
#: Bins whose median says how strong a spectrum is there, and how far above it a bin may stand:
#: of 10⁵ bins of noise one or none does.
_NEIGHBOURS: Final = 64
_PEAK: Final = 16.0
#: Share of a window that is faded in and out, so that a strong carrier stays in a few bins.
_TAPER: Final = 0.2
#: Share of a band's power in one line beyond which it is nobody's symbols.
_LINE: Final = 0.25


@dataclass(frozen=True)
class Found:
    """offset: frequency in cycles a sample, rate: its growth a sample, both in the window's middle;
    turns: the carrier's phase at the window's first sample; timing: samples from there to the first
    symbol's middle, 0 ≤ timing < samples a symbol; power: of matched filter's output.
    strength: the line above the noise beside it, a ratio.
    """

    offset: float
    rate: float
    turns: float
    timing: float
    power: float
    strength: float


_NOTHING: Final = Found(0.0, 0.0, 0.0, 0.0, 1.0, 0.0)


class Acquisition:
    """symbols: in a window, a power of two.  sps: samples a symbol (of a rail, if staggered).

    range_offset: greatest offset from the centre, cycles a sample; range_rate: of its growth a
    sample.
    """

    def __init__(
        self, waveform: Waveform, sps: float, symbols: int, range_offset: float, range_rate: float
    ) -> None:
        self._symbols = symbols
        self._sps = sps
        self._staggered = waveform.staggered
        self._order = 4 if waveform.modulation == Modulation.QPSK else 2
        self.window = round(symbols * sps)
        self._taper = _taper(self.window)
        # Offsets are counted in bins of the window; a band is tried every eighth of a symbol rate.
        most = min(range_offset, 0.5) * self.window
        step = symbols / 8
        count = int(np.floor(most / step + 0.5))
        self._offsets = np.rint(np.arange(-count, count + 1) * step).astype(np.int64)
        if len(self._offsets) > 1 and range_offset >= 0.5:
            self._offsets = self._offsets[:-1]
        # Pulse's spectrum on the bins around the middle of a band.
        bins = _OVER * symbols
        self._bins = np.fft.fftfreq(bins, 1 / bins).astype(np.int64)
        t = self._bins / _OVER
        pulse = waveform.pulse.taps(t, 1 / _OVER) / _OVER
        response = np.conj(np.fft.fft(pulse))
        response[np.abs(self._bins) > self.window // 2] = 0.0
        self._response: C128 = response
        self._rates = self._rate_grid(range_rate)
        cells = 2 * symbols * len(self._rates) * min(len(self._offsets), _BANDS)
        self._threshold = float(np.log(cells / _FALSE))

    def _rate_grid(self, range_rate: float) -> F64:
        """So close that the line's phase at the window's ends is off by less than a quarter π."""
        step = 2 / (self._order * self.window**2)
        count = int(np.ceil(range_rate / step - 0.5)) if range_rate > 0 else 0
        return (np.arange(-count, count + 1) * step).astype(np.float64)

    def search(self, samples: npt.NDArray[np.complex64]) -> Found | None:
        """The carrier in a window of `window` samples; fewer count as followed by silence."""
        faded = samples * self._taper[: len(samples)]
        spectrum = without_peaks(np.fft.fft(faded, self.window))
        best: Found | None = None
        for offset in self._loudest(np.abs(spectrum) ** 2):
            found = self._look(spectrum, int(offset))
            if best is None or found.strength > best.strength:
                best = found
        return best if best is not None and best.strength > self._threshold else None

    def _loudest(self, power: F64) -> Any:
        if len(self._offsets) <= _BANDS:
            return self._offsets
        # Power of every band at once: a correlation of the spectrum with the pulse's.
        weight = np.zeros(self.window)
        np.add.at(weight, self._bins % self.window, np.abs(self._response) ** 2)
        through = np.fft.ifft(np.fft.fft(power) * np.conj(np.fft.fft(weight))).real
        order = np.argsort(through[self._offsets % self.window])[::-1]
        return self._offsets[order[:_BANDS]]

    def _look(self, spectrum: C128, offset: int) -> Found:
        band = spectrum[(offset + self._bins) % self.window] * self._response
        scale = len(band) / self.window
        filtered = np.fft.ifft(band) * scale
        if self._staggered:
            return self._look_staggered(filtered, offset)
        by_place = np.mean(np.abs(filtered.reshape(-1, _OVER)) ** 2, axis=0)
        cycle = np.sum(by_place * np.exp(-2j * np.pi * np.arange(_OVER) / _OVER))
        timing = float(-np.angle(cycle) / (2 * np.pi)) % 1.0
        # The same band, moved so that symbols stand at its first of four samples.
        band = band * np.exp(2j * np.pi * self._bins * timing / self._symbols)
        symbols = np.fft.ifft(band.reshape(_OVER, self._symbols).sum(axis=0)) / self.window
        symbols *= self._symbols
        k = np.arange(self._symbols, dtype=np.float64) + timing
        if _is_line(symbols):
            return _NOTHING
        line = symbols**self._order
        if self._order == 4:
            line = -line  # QPSK's points stand between the axes
        strength, frequency, rate, phase = self._line(line, k)
        slope = offset / self._symbols + frequency / self._order  # cycles a symbol
        return self._found(
            slope, rate / self._order, phase / self._order, timing,
            float(np.mean(np.abs(symbols) ** 2)), strength,
        )  # fmt: skip

    def _look_staggered(self, filtered: C128, offset: int) -> Found:
        """Two lines, at twice the offset and half the symbols' cycle above and below it."""
        k = np.arange(len(filtered)) / _OVER
        if _is_line(filtered):
            return _NOTHING
        square = filtered**2
        shift = 2 * self._symbols
        best = (-1.0, 0, 0.0)
        for rate in self._rates * self._sps**2 * 2:
            power = np.abs(np.fft.fft(_straightened(square, k, rate), 2 * len(square))) ** 2
            both = np.roll(power, -shift) + np.roll(power, shift)
            # Beyond a quarter of the symbol rate the same lines would count as another's.
            both[self._symbols : -self._symbols] = 0.0
            at = int(np.argmax(both))
            value = float(both[at] / np.mean(power))
            if value > best[0]:
                best = (value, at, float(rate))
        strength, at, rate = best
        turned = _straightened(square, k, rate)

        def pair(frequency: float) -> tuple[complex, complex]:
            upper = np.sum(turned * np.exp(-2j * np.pi * (frequency + 1) * k))
            lower = np.sum(turned * np.exp(-2j * np.pi * (frequency - 1) * k))
            return complex(upper), complex(lower)

        bins = 2 * len(square)
        rough = ((at + bins // 2) % bins - bins // 2) / (2 * self._symbols)
        fine = _refined(rough, self._symbols, lambda f: sum(map(abs, pair(f))))
        upper, lower = pair(fine)
        turns = float(np.angle(upper) + np.angle(lower)) / (8 * np.pi)
        timing = float(np.angle(lower) - np.angle(upper)) / (4 * np.pi) % 1.0
        slope = offset / self._symbols + fine / 2
        power = float(np.mean(np.abs(filtered) ** 2))
        return self._found(slope, rate / 2, turns, timing, power, strength / 2)

    def _line(self, line: C128, k: F64) -> tuple[float, float, float, float]:
        """(strength, frequency in cycles a symbol, growth, phase at k = 0 in turns)."""
        n = len(line)
        best = (-1.0, 0, 0.0)
        for rate in self._rates * self._sps**2 * self._order:
            power = np.abs(np.fft.fft(_straightened(line, k, rate), 2 * n)) ** 2
            at = int(np.argmax(power))
            value = float(power[at] / np.mean(power))
            if value > best[0]:
                best = (value, at, float(rate))
        strength, at, rate = best
        turned = _straightened(line, k, rate)

        def sum_at(frequency: float) -> complex:
            return complex(np.sum(turned * np.exp(-2j * np.pi * frequency * k)))

        rough = ((at + n) % (2 * n) - n) / (2 * n)
        fine = _refined(rough, n, lambda f: abs(sum_at(f)))
        return strength, fine, rate, float(np.angle(sum_at(fine))) / (2 * np.pi)

    def _found(
        self, slope: float, rate: float, turns: float, timing: float, power: float, strength: float
    ) -> Found:
        """slope, rate in cycles a symbol; turns: at k = 0 of a line whose curvature is about the
        middle."""
        half = self._symbols / 2
        return Found(
            offset=slope / self._sps,
            rate=rate / self._sps**2,
            # Phase without curvature at k = 0, and what the curvature adds there.
            turns=turns + rate * half**2 / 2,
            timing=timing * self._sps,
            power=power,
            strength=strength,
        )


def without_peaks(spectrum: C128) -> C128:
    """Without bins that stand far above those around them, and their skirts."""
    n = len(spectrum) // _NEIGHBOURS * _NEIGHBOURS
    if n == 0:
        return spectrum
    power = np.abs(spectrum) ** 2
    usual = np.median(power[:n].reshape(-1, _NEIGHBOURS), axis=1) / np.log(2)
    usual = np.append(np.repeat(usual, _NEIGHBOURS), np.full(len(power) - n, usual[-1]))
    above = power > _PEAK * usual
    if not above.any():
        return spectrum
    skirts = above.copy()
    for shift in range(1, 4):
        skirts |= np.roll(above, shift) | np.roll(above, -shift)
    cleared = spectrum.copy()
    cleared[skirts] = 0.0
    return cleared


def _taper(length: int) -> F64:
    """1 in the middle; half a cosine at both ends."""
    ramp = max(1, int(length * _TAPER / 2))
    window = np.ones(length)
    window[:ramp] = 0.5 - 0.5 * np.cos(np.pi * (np.arange(ramp) + 0.5) / ramp)
    window[-ramp:] = window[:ramp][::-1]
    return window


def _is_line(values: C128) -> bool:
    power = np.abs(np.fft.fft(values)) ** 2
    return bool(power.max() > _LINE * power.sum())


def _straightened(values: C128, k: F64, rate: float) -> C128:
    """With a drift of `rate` cycles a symbol, and as much a symbol, about the middle taken off."""
    middle = (k[-1] + k[0]) / 2 + (k[1] - k[0]) / 2
    out: C128 = values * np.exp(-1j * np.pi * rate * (k - middle) ** 2)
    return out


def _refined(rough: float, symbols: int, height: Callable[[float], float]) -> float:
    """The top of a line that stands within half a bin of 1/symbols."""
    grid = rough + np.linspace(-0.5, 0.5, 9) / symbols
    top = _vertex(np.array([height(float(f)) for f in grid]))
    return float(grid[0] + top * (grid[1] - grid[0]))


def _vertex(values: F64) -> float:
    """Index, with fractions, of the top of the parabola through the greatest and its neighbours."""
    at = int(np.clip(np.argmax(values), 1, len(values) - 2))
    a, b, c = values[at - 1 : at + 2]
    curve = a - 2 * b + c
    return at + (0.5 * float((a - c) / curve) if curve < 0 else 0.0)
