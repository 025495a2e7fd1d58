"""What people look at: spectrum and constellation, in the form of `RadioMessage`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]

#: Of a symbol without noise, in a constellation's points.
UNIT = 64


def spectrum_db(samples: npt.NDArray[np.complex64], bins: int = 512) -> F32:
    """Power in each bin, dB against full scale (1.0), lowest frequency first; float32 [bins].

    Blocks of `bins` samples, overlapping by half, each under a Hann window; empty if there are
    fewer samples than that.
    """
    step = bins // 2
    count = (len(samples) - bins) // step + 1
    if count < 1:
        return np.empty(0, np.float32)
    window = np.hanning(bins)
    window /= np.sqrt(np.sum(window**2) * bins)
    blocks = np.lib.stride_tricks.sliding_window_view(samples, bins)[::step][:count]
    power = np.mean(np.abs(np.fft.fft(blocks * window, axis=1)) ** 2, axis=0)
    return np.fft.fftshift(10 * np.log10(power + 1e-30)).astype(np.float32)


def constellation(points: F32, esn0_db: float) -> npt.NDArray[np.int8]:
    """A demodulator's points, whose mean square with their noise is 1, so that a symbol has the
    amplitude `UNIT`; int8 [n, 2], what is beyond ±127 at the edge."""
    ratio = 10 ** (esn0_db / 10)
    scaled = points * (UNIT * np.sqrt(1 + 1 / ratio))
    return np.clip(np.rint(scaled), -127, 127).astype(np.int8)
