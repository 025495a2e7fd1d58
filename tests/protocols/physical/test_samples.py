"""Formats of I/Q samples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.physical.sample_block import (
    UNKNOWN,
    SampleBlock,
    build_sample_block,
    parse_sample_block,
)
from protocols.physical.samples import SAMPLE_FORMATS, SampleFormat, sample_format
from tests.strategies import sample_blocks

FORMATS = pytest.mark.parametrize("known", SAMPLE_FORMATS.values(), ids=lambda known: known.name)


@FORMATS
@given(seed=st.integers(0, 2**32), count=st.integers(0, 50))
def test_octets_to_samples_and_back_are_the_same_octets(
    known: SampleFormat, seed: int, count: int
) -> None:
    codes = np.random.default_rng(seed).integers(0, 256, known.octets * count, np.uint8)
    if known.name == "cf32_le":
        codes = codes.view("<u4") & 0xBFFFFFFF  # no infinity, no NaN
    octets = codes.tobytes()
    samples = known.to_complex(octets)
    assert samples.shape == (count,)
    assert known.to_octets(samples) == octets
    if known.name != "cf32_le":
        assert count == 0 or max(abs(samples.real).max(), abs(samples.imag).max()) <= 1


@FORMATS
def test_beyond_full_scale_is_the_last_code(known: SampleFormat) -> None:
    if known.name == "cf32_le":
        return
    back = known.to_complex(known.to_octets(np.array([3 - 3j], np.complex64)))
    assert back.real[0] == pytest.approx(1, abs=0.01)
    assert back.imag[0] == -1


def test_the_sigmf_package_reads_the_same_samples(tmp_path) -> None:
    sigmf = pytest.importorskip("sigmf")
    octets = np.random.default_rng(1).integers(0, 255, 800, np.uint8).tobytes()
    for known in SAMPLE_FORMATS.values():
        if known.name == "cf32_le":
            octets = np.random.default_rng(1).normal(size=200).astype("<f4").tobytes()
        path = tmp_path / f"{known.name}.sigmf-data"
        path.write_bytes(octets)
        recording = sigmf.SigMFFile(data_file=path, global_info={"core:datatype": known.name})
        theirs = recording.read_samples()
        ours = known.to_complex(octets)
        if known.name == "cu8":  # theirs is (x − 128) / 128, ours (x − 127.5) / 127.5
            assert abs(theirs - ours).max() <= 2**0.5 / 128
        else:
            np.testing.assert_array_equal(theirs, ours)


def test_half_samples_and_unknown_names_are_errors() -> None:
    with pytest.raises(RemoteError, match="3 octets are no whole samples of ci8"):
        sample_format("ci8").to_complex(b"abc")
    with pytest.raises(LocalError, match="'ci4': one of cf32_le, ci16_le"):
        sample_format("ci4")


@given(sample_blocks())
def test_a_block_is_read_as_it_was_built(block: SampleBlock) -> None:
    octets = build_sample_block(block)
    assert parse_sample_block(octets) == block
    assert build_sample_block(parse_sample_block(octets)) == octets
    assert octets.endswith(block.octets)


@given(st.binary(max_size=60) | st.builds(lambda rest: b"L4IQ\x01" + rest, st.binary(max_size=60)))
def test_what_is_no_block_is_the_others_fault(octets: bytes) -> None:
    try:
        found = parse_sample_block(octets)
    except RemoteError as error:
        culprit = error.data
    else:
        culprit = build_sample_block(found)
    assert octets.startswith(culprit)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"sample_rate_hz": 0.0}, "sample rate of 0"),
        ({"centre_hz": float("nan")}, "centre of nan"),
        ({"lost": -2}, "-2 samples lost"),
        ({"octets": b"123"}, "no whole samples of cu8"),
    ],
)
def test_a_block_that_cannot_be_is_refused(wrong: dict[str, object], why: str) -> None:
    right = {"sample_rate_hz": 1e6, "centre_hz": 0.0, "lost": UNKNOWN, "octets": b"12"}
    with pytest.raises(LocalError, match=why):
        SampleBlock(sample_format("cu8"), **(right | wrong))  # type: ignore[arg-type]
