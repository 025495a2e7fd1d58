"""Pulse shapes: what one symbol looks like, and the matched filters of them.

Time is in symbols.  A pulse has unit energy, so that its matched filter gives each symbol with its
own amplitude, and noise of the density of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pulse:
    """reach: it is nothing outside ±reach.

    mean: (t, width) → the pulse's mean from t − width/2 to t + width/2; what an edge means to
    samples that are `width` apart.  early: how far the timing detector looks to both sides.
    neighbour: weight in the receive filter of the matched filter a symbol before and behind, for
    pulses that reach into the next symbol (`equaliser`).
    """

    name: str
    reach: float
    mean: Callable[[F64, float], F64]
    early: float
    neighbour: float = 0.0

    @property
    def receive_reach(self) -> float:
        return self.reach + (1.0 if self.neighbour else 0.0)

    def receive_taps(self, instants: F64, width: float) -> F64:
        """The matched filter, with its equaliser where it has one."""
        taps = self.taps(instants, width)
        if self.neighbour:
            beside = self.taps(instants - 1, width) + self.taps(instants + 1, width)
            taps = taps + self.neighbour * beside
        return taps

    def taps(self, instants: F64, width: float) -> F64:
        """Values at `instants`, of samples `width` apart."""
        inside = np.abs(instants) <= self.reach + width / 2
        return np.where(inside, self.mean(instants, width), 0.0)

    def autocorrelation(self, lag: float) -> float:
        """∫ p(t) p(t + lag) dt."""
        step = 1 / 256
        t = np.arange(-self.reach - 1, self.reach + 1, step)
        return float(np.sum(self.taps(t, step) * self.taps(t + lag, step)) * step)


def _rectangle(t: F64, width: float) -> F64:
    return (np.clip(t + width / 2, -0.5, 0.5) - np.clip(t - width / 2, -0.5, 0.5)) / width


def _bi_phase(t: F64, width: float) -> F64:
    def integral(t: F64) -> F64:
        return np.maximum(0.5 - np.abs(t), 0.0)

    return (integral(t + width / 2) - integral(t - width / 2)) / width


def square_wave(turns: F64, width: float) -> F64:
    """The sign of cos(2π turns), as its mean over `width` turns, less than half of one."""
    inside = 0.25 - np.abs(turns - np.floor(turns + 0.5))
    out: F64 = np.clip(2 * inside / width, -1.0, 1.0)
    return out


#: NRZ: the level lasts one symbol.
RECTANGULAR = Pulse("nrz", 0.5, _rectangle, 0.25)
#: Bi-phase-L: high for half a symbol, low for the other half (Manchester).
BI_PHASE = Pulse("bi-phase", 0.5, _bi_phase, 0.125)


@cache
def root_raised_cosine(rolloff: float) -> Pulse:
    """Cut off where what is missing stands 40 dB below; the flatter the roll-off, the longer."""

    def value(t: F64, width: float) -> F64:
        del width
        b = rolloff
        x = 4 * b * t
        with np.errstate(divide="ignore", invalid="ignore"):
            numerator = np.sin(np.pi * t * (1 - b)) + x * np.cos(np.pi * t * (1 + b))
            regular = numerator / (np.pi * t * (1 - x * x))
        at_pole = (b / np.sqrt(2)) * (
            (1 + 2 / np.pi) * np.sin(np.pi / (4 * b)) + (1 - 2 / np.pi) * np.cos(np.pi / (4 * b))
        )
        regular = np.where(np.abs(np.abs(x) - 1) < 1e-9, at_pole, regular)
        out: F64 = np.where(np.abs(t) < 1e-9, 1 - b + 4 * b / np.pi, regular)
        return out

    reach = 5.0 if rolloff >= 0.45 else 6.0 if rolloff >= 0.3 else 8.0
    return Pulse(f"rrc {rolloff:g}", reach, value, 0.125)


#: Steps of a bit in tables of Gaussian pulses.
_STEPS: Final = 256
#: Bits on each side within which the frequency pulse of GMSK is kept (BT ≥ 0.2).
GAUSSIAN_REACH: Final = 2.5


@cache
def _gaussian(bt: float) -> tuple[F64, F64]:
    """(t in bits, frequency pulse) with integral π/2, what a bit turns the phase by."""
    t = np.arange(-3 * _STEPS, 3 * _STEPS + 1) / _STEPS
    k = 2 * np.pi * bt / np.sqrt(np.log(2))
    pulse = _tail(k * (t - 0.5)) - _tail(k * (t + 0.5))
    pulse[np.abs(t) > GAUSSIAN_REACH] = 0.0
    return t, pulse * (np.pi / 2) / (pulse.sum() / _STEPS)


def gaussian_frequency(t: F64, bt: float) -> F64:
    """Frequency pulse of GMSK, radians a bit, at t bits from its middle."""
    at, pulse = _gaussian(bt)
    out: F64 = np.interp(t, at, pulse, 0.0, 0.0)
    return out


def _tail(x: F64) -> F64:
    """Gaussian tail probability Q(x), by integration: NumPy has no erf."""
    grid = np.linspace(-40.0, 40.0, 1 << 17)
    density = np.exp(-grid * grid / 2) / np.sqrt(2 * np.pi)
    below: F64 = np.cumsum(density) * (grid[1] - grid[0])
    return 1.0 - np.interp(x, grid, below)


@cache
def laurent(bt: float) -> Pulse:
    """First pulse of Laurent's decomposition of GMSK, which carries nearly all of its energy.

    In units of two bits, as which precoded GMSK is received: OQPSK of half the rate.
    """
    length = round(2 * GAUSSIAN_REACH)
    # Phase response from 0 to π/2 over `length` bits, and its mirror image beyond.
    steps = np.cumsum(_gaussian(bt)[1]) / _STEPS
    rise = steps[_STEPS // 2 :][: length * _STEPS + 1]
    rise = rise * ((np.pi / 2) / rise[-1])
    psi = np.concatenate((rise, np.pi / 2 - rise[1:]))
    s: F64 = np.sin(psi)
    total = (length + 1) * _STEPS
    product: F64 = np.ones(total + 1)
    for i in range(length):
        product *= s[i * _STEPS : i * _STEPS + total + 1]
    at: F64 = (np.arange(total + 1) / _STEPS - (length + 1) / 2) / 2
    step = 0.5 / _STEPS
    product /= np.sqrt(np.sum(product**2) * step)

    def value(t: F64, width: float) -> F64:
        del width
        out: F64 = np.interp(t, at, product, left=0.0, right=0.0)
        return out

    matched = Pulse(f"gmsk {bt:g}", (length + 1) / 4, value, 0.125)
    return replace(matched, neighbour=equaliser(matched))


#: Es/N0 for which an equaliser is made: between those of coded and uncoded links, 5 dB either way
#: cost 0.01 dB.
_EQUALISED_AT: Final = 10**0.3


def equaliser(pulse: Pulse) -> float:
    """Wiener's filter of three taps, a symbol apart behind the matched filter: its middle one is 1,
    this is the others."""
    lags = np.arange(-3, 4)
    across = np.array([pulse.autocorrelation(abs(float(lag))) for lag in lags])
    # Outputs of the matched filter at −1, 0, 1: what symbols −2 … 2 give, and coloured noise.
    symbols = np.array([[across[3 + k - i] for k in range(-2, 3)] for i in (-1, 0, 1)])
    noise = np.array([[across[3 + k - i] for k in (-1, 0, 1)] for i in (-1, 0, 1)])
    moments = symbols @ symbols.T + noise / (2 * _EQUALISED_AT)
    weights = np.linalg.solve(moments, symbols[:, 2])
    return float(weights[0] / weights[1])
