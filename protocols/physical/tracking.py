"""Compiled inner loop of the demodulator: one step a tick, from samples to a soft symbol.

A tick is a symbol or, of OQPSK and GMSK, half of one, whose bit is on the I rail and on the Q rail
in turn.  Samples are turned by the carrier's oscillator as far as the tick's matched filter
reaches; the filter, early and late, is read at the tick; carrier, timing and level follow, and the
next tick stands where timing says.  All of it depends on samples by their number in the stream,
never on how the stream was cut.
"""

# numba ships no types: the docstrings say here what the arguments are.
# pyright: reportMissingTypeStubs=false, reportUntypedFunctionDecorator=false
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false
from __future__ import annotations

from enum import IntEnum
from typing import Any, Final

import numpy as np
from numba import njit


class Field(IntEnum):
    """Of the state, float64.

    PHASE: of the oscillator at the next sample, turns; FREQUENCY: what the loop adds to the
    prediction, turns a sample; RATE: its growth a tick.  PLACE: of the next tick, whole samples
    from the first turned one that is kept, FRACTION: and what is more (apart, as rounding of their
    sum would depend on how the stream was cut); PERIOD: from tick to tick.  POWER: mean square of
    the matched filter's output.  ANGLE: mean cos(Mθ); MAGNITUDE, SQUARE: means of a rail's symbols.
    """

    PHASE = 0
    FREQUENCY = 1
    RATE = 2
    PLACE = 3
    PERIOD = 4
    POWER = 5
    ANGLE = 6
    MAGNITUDE = 7
    SQUARE = 8
    SAMPLE = 9
    TICK = 10
    FRACTION = 11


class Setting(IntEnum):
    """Of the settings, float64: loop gains a tick in the state's units, and what is agreed.

    EPOCH: number of the sample from which the prediction counts its seconds."""

    PHASE_GAIN = 0
    FREQUENCY_GAIN = 1
    RATE_GAIN = 2
    PLACE_GAIN = 3
    PERIOD_GAIN = 4
    POWER_GAIN = 5
    LOCK_GAIN = 6
    THRESHOLD = 7
    SLOPE = 8
    NOMINAL_PERIOD = 9
    PERIOD_RANGE = 10
    SAMPLE_RATE = 11
    EPOCH = 12


class Detector(IntEnum):
    """BPSK: one rail; QPSK: two; STAGGERED: one of two in turn; REAL: one rail whose carrier
    another loop has taken off."""

    BPSK = 0
    QPSK = 1
    STAGGERED = 2
    REAL = 3


(
    _PHASE, _FREQUENCY, _RATE, _PLACE, _PERIOD, _POWER, _ANGLE, _MAGNITUDE, _SQUARE, _SAMPLE, _TICK,
    _FRACTION,
) = map(int, Field)  # fmt: skip
(
    _K_PHASE, _K_FREQUENCY, _K_RATE, _K_PLACE, _K_PERIOD, _K_POWER, _K_LOCK, _THRESHOLD, _SLOPE,
    _NOMINAL, _RANGE, _SAMPLE_RATE, _EPOCH,
) = map(int, Setting)  # fmt: skip
_BPSK, _QPSK, _STAGGERED, _REAL = map(int, Detector)
_TURN: Final = 2 * np.pi


@njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"}, inline="always")
def _filter(re: Any, im: Any, start: int, on: Any, slope: Any) -> Any:
    """Four sums over a filter's length: I and Q on time, I and Q late less early."""
    i = np.float32(0)
    q = np.float32(0)
    di = np.float32(0)
    dq = np.float32(0)
    for k in range(len(on)):
        a = re[start + k]
        b = im[start + k]
        i += on[k] * a
        q += on[k] * b
        di += slope[k] * a
        dq += slope[k] * b
    return i, q, di, dq


@njit(cache=True, nogil=True)
def track(
    samples: Any,
    prediction: Any,
    on_time: Any,
    slopes: Any,
    detector: int,
    settings: Any,
    state: Any,
    re: Any,
    im: Any,
    filled: int,
    points: Any,
) -> Any:
    """Follow the carrier through samples; (samples used, turned ones, ticks, lock lost).

    samples: complex64 [n], the first not yet turned one and what follows; prediction: float64,
    coefficients of the frequency in turns a sample over seconds since the sample `EPOCH`.
    on_time, slopes: float32 [places, length], matched filter and late less early by place of a tick
    between two samples.  re, im: float32, turned samples, `filled` of them to begin with.
    points: float32 [m, 2], what is read at each tick, scaled to a mean square of one: on the
    decided axis and across, of QPSK I and Q.
    """
    places, length = on_time.shape
    half = (length - 1) // 2
    used = 0
    ticks = 0
    lost = False
    phase, frequency, rate = state[_PHASE], state[_FREQUENCY], state[_RATE]
    place, fraction, period = np.int64(state[_PLACE]), state[_FRACTION], state[_PERIOD]
    power = state[_POWER]
    angle, magnitude, square = state[_ANGLE], state[_MAGNITUDE], state[_SQUARE]
    sample, tick = state[_SAMPLE], state[_TICK]
    slope = settings[_SLOPE]
    k_power, k_lock = settings[_K_POWER], settings[_K_LOCK]
    least = settings[_NOMINAL] - settings[_RANGE]
    most = settings[_NOMINAL] + settings[_RANGE]
    degree = len(prediction)
    while ticks < len(points):
        row = np.int64(fraction * places + 0.5)
        start = place - half
        if row == places:
            row = 0
            start += 1
        wanted = start + length - filled
        if wanted > len(samples) - used:
            break
        if wanted > 0:
            ahead = 0.0
            if degree:
                t = (sample - settings[_EPOCH] + 0.5 * (wanted - 1)) / settings[_SAMPLE_RATE]
                for c in range(degree - 1, -1, -1):
                    ahead = ahead * t + prediction[c]
            turns = frequency + ahead
            w = -_TURN * turns
            angle_now = -_TURN * phase
            c, s = np.cos(angle_now), np.sin(angle_now)
            dc, ds = np.cos(w), np.sin(w)
            for k in range(wanted):
                x = samples[used + k]
                re[filled + k] = np.float32(x.real * c - x.imag * s)
                im[filled + k] = np.float32(x.real * s + x.imag * c)
                c, s = c * dc - s * ds, c * ds + s * dc
            phase += turns * wanted
            phase -= np.floor(phase)
            filled += wanted
            used += wanted
            sample += wanted
        fi, fq, di, dq = _filter(re, im, start, on_time[row], slopes[row])
        y_i, y_q = np.float64(fi), np.float64(fq)
        strength = y_i * y_i + y_q * y_q
        power += k_power * (strength - power)
        gain = 1.0 / np.sqrt(power + 1e-30)
        y_i *= gain
        y_q *= gain
        late = np.float64(di) * gain
        if detector == _QPSK:
            a = min(max(y_i * slope, -1.0), 1.0)
            b = min(max(y_q * slope, -1.0), 1.0)
            error = a * y_q - b * y_i
            timing = a * late + b * (np.float64(dq) * gain)
            # −cos 4θ from z = y²: Re z² = z_r² − z_i².
            z_r = y_i * y_i - y_q * y_q
            z_i = 2.0 * y_i * y_q
            scale = z_r * z_r + z_i * z_i + 1e-30
            angle += k_lock * ((z_i * z_i - z_r * z_r) / scale - angle)
            points[ticks, 0] = y_i
            points[ticks, 1] = y_q
        else:
            if detector == _STAGGERED and np.int64(tick) & 1:
                y_i, y_q = y_q, -y_i
                late = np.float64(dq) * gain
            a = min(max(y_i * slope, -1.0), 1.0)
            error = a * y_q
            timing = a * late
            if detector != _REAL:
                both = y_i * y_i + y_q * y_q + 1e-30
                angle += k_lock * ((y_i * y_i - y_q * y_q) / both - angle)
            else:
                error = 0.0
            magnitude += k_lock * (abs(y_i) - magnitude)
            square += k_lock * (y_i * y_i - square)
            points[ticks, 0] = y_i
            points[ticks, 1] = y_q
        ticks += 1
        tick += 1.0
        phase += settings[_K_PHASE] * error
        rate += settings[_K_RATE] * error
        frequency += settings[_K_FREQUENCY] * error + rate
        period += settings[_K_PERIOD] * timing
        period = min(max(period, least), most)
        fraction += period + settings[_K_PLACE] * timing
        whole = np.int64(np.floor(fraction))
        place += whole
        fraction -= whole
        if detector in (_STAGGERED, _REAL):
            measure = magnitude * magnitude / (square + 1e-30)
        else:
            measure = angle
        if measure < settings[_THRESHOLD]:
            lost = True
            break
    # What no tick wants any more is dropped from the front.
    first = place - half - 1
    first = min(max(first, 0), filled)
    for k in range(filled - first):
        re[k] = re[first + k]
        im[k] = im[first + k]
    filled -= first
    state[_PHASE], state[_FREQUENCY], state[_RATE] = phase, frequency, rate
    state[_PLACE], state[_FRACTION] = place - first, fraction
    state[_PERIOD], state[_POWER] = period, power
    state[_ANGLE], state[_MAGNITUDE], state[_SQUARE] = angle, magnitude, square
    state[_SAMPLE], state[_TICK] = sample, tick
    return used, filled, ticks, lost
