"""Pulses against what defines them elsewhere: the spectrum, Nyquist's criterion, GMSK's phase."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.physical import pulses
from protocols.physical.modulator import Modulator
from protocols.physical.waveform import Modulation, Waveform


@pytest.mark.parametrize("rolloff", [0.2, 0.35, 0.5, 1.0])
def test_root_raised_cosine_has_the_spectrum_that_its_name_says(rolloff: float) -> None:
    pulse = pulses.root_raised_cosine(rolloff)
    t = np.arange(-512, 512) / 16
    spectrum = np.abs(np.fft.fft(pulse.taps(t, 1 / 16))) / 16
    f = np.abs(np.fft.fftfreq(len(t), 1 / 16))
    inside = np.clip((f - (1 - rolloff) / 2) / rolloff, 0, 1)
    wanted = np.cos(np.pi / 2 * inside)
    # What is cut off beyond the reach.
    off = np.sqrt(np.mean((spectrum - wanted) ** 2) / np.mean(wanted**2))
    assert off < 0.02


@pytest.mark.parametrize(
    "pulse",
    [*map(pulses.root_raised_cosine, (0.2, 0.35, 0.5)), pulses.RECTANGULAR, pulses.BI_PHASE],
    ids=lambda p: p.name,
)
def test_matched_filter_sees_one_symbol_and_none_of_its_neighbours(pulse: pulses.Pulse) -> None:
    assert pulse.autocorrelation(0.0) == pytest.approx(1.0, abs=0.01)
    for lag in (1, 2, 3):
        assert pulse.autocorrelation(lag) == pytest.approx(0.0, abs=3e-3)


@pytest.mark.parametrize(("bt", "least"), [(0.25, 0.98), (0.5, 0.995)])
def test_first_laurent_pulse_carries_nearly_all_of_gmsk(bt: float, least: float) -> None:
    """The modulator integrates frequency; the sum of Laurent's first pulses is compared with it."""
    waveform = Waveform(Modulation.GMSK, 1.0, bt=bt)
    bits = np.random.default_rng(1).integers(0, 2, 400, np.uint8)
    sps = 8
    sent = Modulator(waveform, sps).push(bits)
    # Precoded: bit k is on I or Q in turn; its pulse is fitted by least squares.
    t = (np.arange(len(sent))[:, None] / sps - np.arange(400)) / 2
    best = 0.0
    for delay in np.arange(0, 4, 1 / 8):
        values = waveform.pulse.taps(t - delay / 2, 1 / sps) * (1 - 2.0 * bits)
        for sign in (1j, -1j):
            made = values[:, 0::2].sum(axis=1) + sign * values[:, 1::2].sum(axis=1)
            cut = slice(80, len(sent) - 80)
            share = abs(np.vdot(made[cut], sent[cut])) / (
                np.linalg.norm(made[cut]) * np.linalg.norm(sent[cut])
            )
            best = max(best, float(share))
    assert best > least
