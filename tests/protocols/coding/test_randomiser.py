"""Both sequences against the octets the standard prints and a register that shifts bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from protocols.coding.randomiser import RandomiserKind, randomise, sequence
from protocols.errors import LocalError

KINDS: tuple[RandomiserKind, ...] = ("ccsds", "ccsds-long", "tc")


def register(degree: int, taps: tuple[int, ...], state: int, octets: int) -> bytes:
    """Fibonacci register as drawn in 131.0-B-5 figures 10-2 and 10-3, cell 0 to the output."""
    out = bytearray()
    for _ in range(octets):
        octet = 0
        for _ in range(8):
            octet = octet << 1 | state & 1
            fed_back = sum(state >> tap for tap in taps) & 1
            state = state >> 1 | fed_back << degree - 1
        out.append(octet)
    return bytes(out)


def test_first_octets_of_the_standard():
    assert sequence(5, "ccsds").tobytes().hex() == "ff480ec09a"
    # 131.0-B-5 §10.4.3 note 2: 0001 1100 0111 0001 1011 1001 0001 1011 1010 1001.
    assert sequence(5, "ccsds-long").tobytes().hex() == "1c71b91ba9"
    # 231.0-B-4 §6.2 prints the first 40 bits; the rest as public decoders have them.
    octets = "ff399e5a68e906f56c892fa1315e08c052a8bbae4ec2c7ed66dc38d4f886503d"
    assert sequence(32, "tc").tobytes().hex() == octets


def test_against_a_shifting_register():
    assert sequence(600, "ccsds").tobytes() == register(8, (0, 3, 5, 7), 0xFF, 600)
    assert sequence(600, "tc").tobytes() == register(8, (0, 1, 2, 3, 4, 6), 0xFF, 600)
    # Two periods and a bit: 131,071 bits are no whole number of octets.
    n = 2 * 131_071 // 8 + 5
    assert sequence(n, "ccsds-long").tobytes() == register(17, (0, 14), 0b11000111000111000, n)


@pytest.mark.parametrize(("kind", "period"), [("ccsds", 255), ("ccsds-long", 131_071), ("tc", 255)])
def test_period_is_maximal(kind: RandomiserKind, period: int):
    bits = np.unpackbits(sequence(period // 4 + 8, kind))
    assert np.array_equal(bits[:period], bits[period : 2 * period])
    # A maximal-length sequence has one more 1 than 0 in a period.
    assert int(bits[:period].sum()) == (period + 1) // 2


@settings(max_examples=50)
@given(
    nps.arrays(np.uint8, st.tuples(st.integers(0, 4), st.integers(0, 600))), st.sampled_from(KINDS)
)
def test_is_its_own_inverse(frames: np.ndarray, kind: RandomiserKind):
    coded = randomise(frames, kind)
    assert np.array_equal(randomise(coded, kind), frames)
    for row, original in zip(coded, frames, strict=True):
        assert np.array_equal(row, original ^ sequence(frames.shape[1], kind))


def test_refusals():
    with pytest.raises(LocalError, match="tc"):
        sequence(5, "turbo")  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="length"):
        randomise(np.zeros(5, np.uint8))
    with pytest.raises(LocalError, match="-1"):
        sequence(-1)
    with pytest.raises(ValueError, match="read-only"):
        sequence(5)[0] = 0
