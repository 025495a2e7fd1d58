"""Codeblocks of turbo and LDPC codes, against their parts put together by hand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from protocols.coding.codeblocks import CodeblockCoding
from protocols.coding.ldpc import LdpcCode
from protocols.coding.randomiser import randomise
from protocols.coding.turbo import LENGTHS, OUTPUTS, TurboCode
from protocols.errors import LocalError

RNG = np.random.default_rng(8)
#: 131.0-B-5 §9.3, printed again.
MARKERS = {
    "1/2": "034776c7272895b0",
    "1/3": "25d5c0ce8990f6c9461bf79c",
    "1/4": "034776c7272895b0fcb88938d8d76a4f",
    "1/6": "25d5c0ce8990f6c9461bf79cda2a3f31766f0936b9e40863",
    "C2": "1acffc1d",
}


def data(coding: CodeblockCoding, count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, coding.data_length), np.uint8)


@pytest.mark.parametrize("rate", list(OUTPUTS))
@pytest.mark.parametrize("kind", ["none", "ccsds", "ccsds-long"])
def test_a_turbo_codeblock_is_marker_and_randomised_codeword(rate: str, kind: str) -> None:
    code = TurboCode(rate, LENGTHS[0])  # type: ignore[arg-type]
    coding = CodeblockCoding(code, randomiser=kind)  # type: ignore[arg-type]
    frames = data(coding, 3)
    sent = coding.encode(frames)
    marker = bytes.fromhex(MARKERS[rate])
    assert sent.shape == (3, 8 * len(marker) + (LENGTHS[0] + 4) * int(rate[2:]))
    assert np.packbits(sent[:, : 8 * len(marker)]).tobytes() == 3 * marker
    bits = code.encode(frames)
    if kind != "none":
        padded = np.pad(np.packbits(bits, axis=1), ((0, 0), (0, 1)))
        bits = np.unpackbits(randomise(padded, kind), axis=1)[:, : bits.shape[1]]  # type: ignore[arg-type]
    assert np.array_equal(sent[:, 8 * len(marker) :], bits)


@pytest.mark.parametrize(
    ("name", "codewords"), [("AR4JA 1/2 1024", 0), ("C2", 0), ("AR4JA 4/5 1024", 8), ("C2", 3)]
)
def test_an_ldpc_codeblock_is_marker_and_randomised_codewords(name: str, codewords: int) -> None:
    code = LdpcCode(name)
    coding = CodeblockCoding(code, "ccsds-long", codewords)
    information = data(coding, 2)
    octets = np.packbits(coding.encode(information), axis=1)
    marker = bytes.fromhex(MARKERS.get(name, MARKERS["1/2"]))
    for row, block in zip(information, octets, strict=True):
        words = code.encode(row.reshape(max(codewords, 1), code.data_length))
        # The randomiser starts once a codeblock, not once a codeword.
        plain = randomise(words.reshape(1, -1), "ccsds-long")
        assert block.tobytes() == marker + plain.tobytes()


@pytest.mark.parametrize(
    "coding",
    [
        CodeblockCoding(TurboCode("1/3", 1784), "ccsds"),
        CodeblockCoding(LdpcCode("AR4JA 1/2 1024"), "ccsds", 3),
    ],
    ids=str,
)
def test_what_was_corrected_is_counted_and_what_failed_is_told(coding: CodeblockCoding) -> None:
    information = data(coding, 4)
    sent = coding.encode(information)[:, len(coding.marker_bits) :]
    hard = 1.0 - 2.0 * sent.astype(np.float32)
    words = hard.reshape(4, coding.words, -1)
    hit = [2, 0, 9, 5]
    for row, count in enumerate(hit):
        words[row, 0, RNG.choice(coding.word_symbols, count, replace=False)] *= -1
    # The last word of the third codeblock is noise.
    words[2, -1] = RNG.choice([-1.0, 1.0], coding.word_symbols)
    result = coding.decode(hard)
    good = np.ones((4, coding.words), bool)
    good[2, -1] = False
    assert np.array_equal(result.converged, good)
    expected = np.zeros((4, coding.words), int)
    expected[:, 0] = hit
    assert np.array_equal(result.corrected, np.where(good, expected, 0))
    whole = [0, 1, 3]
    assert np.array_equal(result.data[whole], information[whole])
    assert np.array_equal(result.bits[whole], sent[whole])
    received = (words[2, -1] < 0).astype(np.uint8)
    assert np.array_equal(result.bits[2].reshape(coding.words, -1)[-1], received)


@pytest.mark.parametrize(
    ("words", "make"),
    [
        ("9 codewords", lambda: CodeblockCoding(LdpcCode("C2"), codewords=9)),
        ("not turbo ones", lambda: CodeblockCoding(TurboCode(), codewords=1)),
        ("telecommand's", lambda: CodeblockCoding(LdpcCode("TC 128"))),
        ("4 to 32", lambda: CodeblockCoding(LdpcCode("C2"), marker=b"\x1a\xcf")),
        ("uint8", lambda: CodeblockCoding(LdpcCode("C2")).encode(np.zeros((1, 891), np.uint8))),
    ],
)
def test_what_cannot_be_agreed_on_is_refused(words: str, make: Callable[[], object]) -> None:
    with pytest.raises(LocalError, match=words):
        make()
