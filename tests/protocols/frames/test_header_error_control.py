"""The (10,6) code of the AOS header, against Yamcs' published vectors and by exhaustion."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from protocols.errors import RemoteError
from protocols.frames import aos
from protocols.frames.header_error_control import correct_header, header_parity
from protocols.frames.index import index_frames
from protocols.frames.parameters import FrameParameters

#: (version, SCID and VCID; signalling octet; error control), from the unit test of Yamcs'
#: `AosFrameHeaderErrorCorr`.
YAMCS = [(0x1234, 0x56, 0x94DC), (0x369C, 0xFA, 0x457C)]


@pytest.mark.parametrize(("name", "signalling", "parity"), YAMCS)
def test_encoding_equals_yamcs(name: int, signalling: int, parity: int) -> None:
    assert header_parity(np.array([name << 8 | signalling])).tolist() == [parity]


@pytest.mark.parametrize(
    ("name", "signalling", "parity"),
    [(0x1234, 0x56, 0x9400), (0x1211, 0x56, 0x94DC), (0x1234, 0xAA, 0x94DC)],
)
def test_decoding_equals_yamcs(name: int, signalling: int, parity: int) -> None:
    fixed, failed = correct_header(np.array([name << 8 | signalling]), np.array([parity]))
    assert fixed.tolist() == [0x123456]
    assert not failed[0]


def test_every_error_of_two_symbols_is_corrected() -> None:
    word = 0x369CFA << 16 | 0x457C
    patterns = [
        a << 4 * i | b << 4 * j
        for i, j in itertools.combinations(range(10), 2)
        for a in range(16)
        for b in range(16)
    ]
    received = word ^ np.array(patterns)
    fixed, failed = correct_header(received >> 16, received & 0xFFFF)
    assert not failed.any()
    assert (fixed == 0x369CFA).all()


def test_more_than_two_symbols_are_never_taken_for_none() -> None:
    """Distance 5: three and four wrong symbols are told or miscorrected, never seen as intact."""
    rng = np.random.default_rng(1)
    symbols = np.zeros((4000, 10), np.int64)
    for row in symbols:
        row[rng.choice(10, rng.integers(3, 5), replace=False)] = rng.integers(1, 16)
    error = (symbols << (4 * np.arange(10))).sum(axis=1)
    received = (0x369CFA << 16 | 0x457C) ^ error
    fixed, failed = correct_header(received >> 16, received & 0xFFFF)
    intact = header_parity(received >> 16) == received & 0xFFFF
    assert not intact.any()
    assert failed.any()
    assert (fixed[failed] == (received >> 16)[failed]).all()


def test_frames_with_a_damaged_header_are_read() -> None:
    parameters = FrameParameters("aos", 30, scid=0x2B7, frame_header_error_control=True)
    frame = aos.AosFrame(0x2B7, 9, 1234, bytes(20), pointer=0)
    octets = bytearray(aos.build(frame, parameters))
    octets[0] ^= 0x40
    octets[5] ^= 0x07
    parsed = aos.parse(bytes(octets), parameters)
    assert parsed.header_corrected
    assert (parsed.scid, parsed.vcid, parsed.vc_count) == (0x2B7, 9, 1234)
    index = index_frames(np.frombuffer(octets, np.uint8).reshape(1, 30), parameters)
    assert (index.scid[0], index.vcid[0]) == (0x2B7, 9)
    assert index.usable[0]
    octets[1] ^= 0x11
    with pytest.raises(RemoteError, match="beyond repair"):
        aos.parse(bytes(octets), parameters)
    index = index_frames(np.frombuffer(octets, np.uint8).reshape(1, 30), parameters)
    assert index.malformed[0]
