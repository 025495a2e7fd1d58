"""Predicted Doppler shift of a carrier, as receivers are told it: a polynomial a segment."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ground.scheduling.look import Conditions, Geometry
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import Target
from protocols.errors import LocalError

#: Geometry is tabulated for spans on this grid, so that every process predicts the same.
_SPAN_NS: Final = 6 * 3600 * 10**9
_MARGIN_NS: Final = 600 * 10**9
#: Half the interval over which a light time's growth is taken.
_HALF_S: Final = 0.5
#: A polynomial of this degree through a minute of the fastest pass is good to a hertz in X band.
_DEGREE: Final = 5


class DopplerPrediction:
    """Of what one station hears of a target that sends at `frequency_hz`, one way: the sender's own
    oscillator.  LocalError: a frequency that is none."""

    def __init__(self, target: Target, station: Station, frequency_hz: float) -> None:
        if not 0 < frequency_hz < math.inf:
            raise LocalError(f"frequency {frequency_hz} Hz: above 0 wanted")
        self._target, self._station, self._frequency_hz = target, station, frequency_hz
        self._geometry: Geometry | None = None
        self._number = -1

    def __call__(self, ert_ns: int, seconds: float) -> tuple[float, ...]:
        """Coefficients cᵢ of Σ cᵢ tⁱ Hz, t in seconds since `ert_ns` (TAI), good for `seconds`.

        LocalError: a time that the target's trajectory, or the ephemeris, does not cover.
        """
        if seconds * 1e9 > _MARGIN_NS - 2e9:
            raise LocalError(f"{seconds:g} s: at most {_MARGIN_NS / 1e9 - 2:g} s wanted")
        geometry = self._at(ert_ns)
        angles = np.pi * (np.arange(_DEGREE + 3) + 0.5) / (_DEGREE + 3)
        t_s = seconds * (0.5 - 0.5 * np.cos(angles))
        first_s = (ert_ns - geometry.sky.start_ns) / 1e9
        here = np.zeros(len(t_s), np.int64)
        early = geometry.look(here, first_s + t_s - _HALF_S).light_time_s
        late = geometry.look(here, first_s + t_s + _HALF_S).light_time_s
        shift_hz = -self._frequency_hz * (late - early) / (2 * _HALF_S)
        fit = np.polynomial.Polynomial.fit(t_s, shift_hz, _DEGREE, domain=[0.0, seconds])
        return tuple(float(c) for c in fit.convert().coef)

    def _at(self, ert_ns: int) -> Geometry:
        number = ert_ns // _SPAN_NS
        if self._geometry is None or number != self._number:
            start_ns = number * _SPAN_NS
            sky = Sky(start_ns - _MARGIN_NS, start_ns + _SPAN_NS + _MARGIN_NS)
            self._geometry = Geometry(sky, [self._station], self._target, Conditions())
            self._number = number
        return self._geometry


__all__ = ["DopplerPrediction"]
