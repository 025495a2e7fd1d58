"""From I/Q samples to frames: short forms of `make trial-radio`."""

from __future__ import annotations

import pytest

from protocols.physical.waveform import Modulation, Waveform
from tests.long.radio import fly, loss_of_reed_solomon, theory_of_reed_solomon
from tests.radio_link import Coding, Impairments, right, run


@pytest.mark.parametrize(
    ("modulation", "coding", "ebn0_db", "count"),
    [
        (Modulation.BPSK, Coding(), 2.7, 60),
        (Modulation.QPSK, Coding(), 2.7, 60),
        (Modulation.OQPSK, Coding(), 3.4, 30),
        (Modulation.GMSK, Coding(), 3.4, 30),
        (Modulation.QPSK, Coding(convolutional=None), 6.9, 40),
    ],
)  # fmt: skip
def test_all_frames_come_out(
    modulation: Modulation, coding: Coding, ebn0_db: float, count: int
) -> None:
    sent, got, receiver = run(Waveform(modulation, 1e6), 4, coding, ebn0_db, count, seed=11)
    assert right(sent, got).all()
    assert len(got) == count
    assert receiver.demodulator.status.losses == 0


@pytest.mark.parametrize("ppm", [-50, 50])
def test_a_symbol_clock_that_is_off_costs_no_frame(ppm: int) -> None:
    off = Impairments(frequency=(1e4,), phase_turns=0.1, delay=3.3, clock=ppm * 1e-6)
    waveform = Waveform(Modulation.BPSK, 1e6)
    sent, got, _ = run(waveform, 4, Coding(), 4.0, 12, seed=1, impairments=off)
    assert right(sent, got).all()


def test_pass_with_doppler_noise_interference_and_a_fade() -> None:
    """20 s of it; `make trial-radio ARGS="pass"` has ten minutes."""
    result = fly(20.0)
    assert result.lost_outside == 0
    assert result.recovery_s < 1.0
    assert result.losses == 1
    assert result.received < result.sent


def test_theory_is_theory() -> None:
    """Where the frame error rate is what theory says, nothing is lost."""
    assert loss_of_reed_solomon(6.0, theory_of_reed_solomon(6.0)) == pytest.approx(0, abs=1e-3)
