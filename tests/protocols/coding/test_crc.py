"""CRCs: published values, the bit-by-bit register, and the batch forms against crcmod."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from protocols.coding.crc import CRC16, CRC32, Crc, crc16, crc16_batch, crc32, crc32_batch
from protocols.errors import LocalError


def shift_register(data: bytes, check: Crc) -> int:
    """732.1-B annex B as drawn: one shift a bit."""
    register, top = check.preset, 1 << check.width - 1
    for octet in data:
        for bit in range(7, -1, -1):
            feed = bool(register & top) != bool(octet >> bit & 1)
            register = (register << 1) & (2 * top - 1)
            if feed:
                register ^= check.polynomial & (2 * top - 1)
    return register


def test_published_values():
    # The check value of CRC-16/CCITT-FALSE in every catalogue, and ECSS-E-ST-70-41C's vectors.
    assert crc16(b"123456789") == 0x29B1
    for octets, check in (
        ("0000", 0x1D0F),
        ("000000", 0xCC9C),
        ("abcdef01", 0x04A2),
        ("1456f89a0001", 0x7FD5),
    ):
        assert crc16(bytes.fromhex(octets)) == check
    # Yamcs' vector for the Proximity-1 check.
    assert crc32(bytes.fromhex("12345678")) == 0x34D74CB3


@given(st.binary(max_size=60))
def test_single_values_against_the_register(data: bytes):
    assert crc16(data) == shift_register(data, CRC16)
    assert crc32(data) == shift_register(data, CRC32)
    assert crc16(data + crc16(data).to_bytes(2, "big")) == 0
    assert crc32(data + crc32(data).to_bytes(4, "big")) == 0


FRAMES = nps.arrays(
    np.uint8,
    st.tuples(
        st.sampled_from([0, 1, 3, 63, 64, 65, 130]),
        st.one_of(st.integers(0, 40), st.integers(0, 700)),
    ),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(FRAMES, st.integers(0, 2**32 - 1))
def test_batch_against_crcmod(frames: np.ndarray, seed: int):
    # Hypothesis fills most elements alike; adding noise reaches every path of the kernels.
    frames = frames ^ np.random.default_rng(seed).integers(0, 256, frames.shape, np.uint8)
    got16, got32 = crc16_batch(frames), crc32_batch(frames)
    assert (got16.dtype, got32.dtype) == (np.uint16, np.uint32)
    assert got16.tolist() == [crc16(row.tobytes()) for row in frames]
    assert got32.tolist() == [crc32(row.tobytes()) for row in frames]


def test_every_length_to_some_hundreds():
    rng = np.random.default_rng(1)
    for length in range(700):
        frames = rng.integers(0, 256, (2, length), np.uint8)
        assert crc16_batch(frames).tolist() == [crc16(row.tobytes()) for row in frames], length
        assert crc32_batch(frames).tolist() == [crc32(row.tobytes()) for row in frames], length


def test_views_and_read_only_arrays():
    frames = np.random.default_rng(2).integers(0, 256, (70, 50), np.uint8)
    read_only = np.frombuffer(frames.tobytes(), np.uint8).reshape(frames.shape)
    for view in (frames[:, :-2], frames[::3], frames[::-1], frames[:, ::2], read_only, frames.T):
        assert crc16_batch(view).tolist() == [crc16(row.tobytes()) for row in view]


def test_refusals():
    for wrong in (np.zeros(4, np.uint8), np.zeros((2, 2), np.int64)):
        with pytest.raises(LocalError, match="uint8"):
            crc16_batch(wrong)


def test_real_frames(shared):
    """STEREO-A carries a frame error control field: it is right in every frame of the recording."""
    path = shared / "captures" / "STEREO-A__stereo-a_bg2bhc_frames_20220924_1035.raw"
    frames = np.fromfile(path, np.uint8).reshape(-1, 1115)
    stored = frames[:, -2].astype(np.uint16) << 8 | frames[:, -1]
    assert np.array_equal(crc16_batch(frames[:, :-2]), stored)
    assert not crc16_batch(frames).any()
