"""Short forms of `make bench-errors`: frame error rates through encoder, noise and decoder."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.error_rates import (
    concatenated,
    loss_by,
    reed_solomon,
    reed_solomon_theory,
    uncoded,
    uncoded_theory,
)


def test_uncoded_is_on_theory() -> None:
    count = uncoded(6.0, 2_000_000, np.random.default_rng(1))
    # Some 4,800 errors: three deviations are 0.04 dB.
    assert abs(loss_by(uncoded_theory)(count, 6.0)) < 0.05


def test_reed_solomon_alone_is_on_theory() -> None:
    count = reed_solomon(5.7, 600, np.random.default_rng(2))
    # Some 120 frames of 600: three deviations are 0.06 dB.
    assert abs(loss_by(reed_solomon_theory)(count, 5.7)) < 0.1


@pytest.mark.parametrize(("ebn0_db", "frames", "most"), [(2.0, 200, 60), (2.4, 1_000, 3)])
def test_concatenated_code(ebn0_db: float, frames: int, most: int) -> None:
    """Of 8,920 bits, interleave 5; libfec's decoders on the same symbols are no better."""
    count = concatenated(ebn0_db, frames, np.random.default_rng(3))
    assert count.wrong <= most
    if count.reference is not None:
        theirs = count.reference * frames
        assert count.wrong <= theirs + 3 * np.sqrt(theirs + 1)
