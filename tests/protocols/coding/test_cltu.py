"""BCH codewords and CLTUs: published octets, every error pattern, any chunking and bit offset."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding import bch
from protocols.coding.cltu import CltuCoding, CltuDecoder, CltuState, build_cltu, transmission
from protocols.coding.ldpc import LdpcCode
from protocols.coding.randomiser import sequence
from protocols.errors import LocalError

PUBLISHED = tomllib.loads(
    (Path(__file__).resolve().parents[2] / "captures" / "tc.toml").read_text()
)
CODINGS = [
    CltuCoding("bch", randomised=False),
    CltuCoding("bch"),
    CltuCoding("ldpc-128"),
    CltuCoding("ldpc-128", tail=False),
    CltuCoding("ldpc-512"),
]


def test_published_codewords() -> None:
    for vector in PUBLISHED["bch"]:
        codeword = bytes.fromhex(vector["codeword"])
        information = bytes.fromhex(vector["information"])
        assert bch.encode(information) == codeword
        assert bch.decode(codeword, "ted") == (information, 0)
    for vector in PUBLISHED["ldpc"]:
        code = LdpcCode(vector["code"])
        for row, parity in vector["rows"].items():
            bits = np.zeros((1, 8 * code.data_length), np.uint8)
            bits[0, int(row) - 1] = 1
            (block,) = code.encode(np.packbits(bits, axis=1))
            assert block[code.data_length :].tobytes().hex() == parity
    for vector in PUBLISHED["sequence"]:
        cltu = build_cltu(b"x", CltuCoding(vector["code"]))
        assert cltu.startswith(bytes.fromhex(vector["start"]))
        assert cltu.endswith(bytes.fromhex(vector["tail"]))
    for vector in PUBLISHED["cltu"]:
        plain = CltuCoding("bch", randomised=False)
        octets, data = (bytes.fromhex(vector[name]) for name in ("octets", "data"))
        assert build_cltu(data, plain) == octets
        (unit,) = CltuDecoder(plain).push(octets)
        assert unit.data.rstrip(b"\x55") == data
    for vector in PUBLISHED["randomised"]:
        cltu = build_cltu(bytes.fromhex(vector["frame"]), CltuCoding("bch"))
        assert cltu[2:9].hex() == vector["information"]


@given(st.binary(min_size=1, max_size=70))
def test_ldpc_codewords_are_randomised_each_anew(data: bytes) -> None:
    """231.0-B-4 §6, written out: after encoding, from the first bit of every codeword."""
    for name, code in (("ldpc-128", LdpcCode("TC 128")), ("ldpc-512", LdpcCode("TC 512"))):
        coding = CltuCoding(name)  # type: ignore[arg-type]
        wanted = coding.start
        size = code.data_length
        for at in range(0, len(data), size):
            part = data[at : at + size].ljust(size, b"\x55")
            (block,) = code.encode(np.frombuffer(part, np.uint8)[None])
            wanted += (block ^ sequence(code.block_length, "tc")).tobytes()
        assert build_cltu(data, coding) == wanted + coding.tail_sequence


def remainder(bits: list[int]) -> list[int]:
    """Long division by g(x) of 231.0-B-4 §3.3, bit by bit."""
    bits = bits + [0] * 7
    for i in range(len(bits) - 7):
        if bits[i]:
            for j, tap in enumerate((1, 1, 0, 0, 0, 1, 0, 1)):
                bits[i + j] ^= tap
    return bits[-7:]


@given(st.binary(min_size=7, max_size=7))
def test_parity_is_the_complemented_remainder(information: bytes) -> None:
    bits = [int(bit) for bit in np.unpackbits(np.frombuffer(information, np.uint8))]
    wanted = [1 - bit for bit in remainder(bits)] + [0]
    (last,) = np.packbits(np.array(wanted, np.uint8))
    assert bch.encode(information) == information + bytes([last])


def flip(octets: bytes, *places: int) -> bytes:
    changed = bytearray(octets)
    for place in places:
        changed[place // 8] ^= 0x80 >> place % 8
    return bytes(changed)


def test_every_pattern_of_errors() -> None:
    information = bytes.fromhex("c0ffee12345678")
    codeword = bch.encode(information)
    for place in range(63):
        assert bch.decode(flip(codeword, place), "sec") == (information, 1)
        assert bch.decode(flip(codeword, place), "ted") is None
        assert bch.decode(flip(codeword, place, 63), "sec") is None
    for places in itertools.combinations(range(63), 2):
        assert bch.decode(flip(codeword, *places), "sec") is None
        assert bch.decode(flip(codeword, *places), "ted") is None
    for places in itertools.combinations(range(63), 3):
        assert bch.decode(flip(codeword, *places), "ted") is None
    assert bch.decode(flip(codeword, 63), "sec") == (information, 0)


def test_tail_is_no_codeword_even_with_an_error() -> None:
    tail = bytes.fromhex("c5c5c5c5c5c5c579")
    assert bch.decode(tail, "ted") is None
    assert bch.decode(tail, "sec") is None
    for place in range(64):
        assert bch.decode(flip(tail, place), "sec") is None


@pytest.mark.parametrize("coding", CODINGS, ids=str)
@settings(max_examples=25)
@given(st.data())
def test_any_chunking_and_offset(coding: CltuCoding, data: st.DataObject) -> None:
    frames = data.draw(st.lists(st.binary(min_size=1, max_size=80), min_size=1, max_size=4))
    stream = transmission([build_cltu(frame, coding) for frame in frames], idle_octets=64)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8))
    bits = np.concatenate((np.array([1, 0, 1], np.uint8)[: data.draw(st.integers(0, 3))], bits))
    if data.draw(st.booleans()):
        bits = 1 - bits
    decoder = CltuDecoder(coding)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bits)), max_size=6)))
    found = []
    for start, end in itertools.pairwise([0, *cuts, len(bits)]):
        found += decoder.push_bits(bits[start:end])
    fill = coding.information_length
    assert [unit.data for unit in found] == [
        frame + b"\x55" * (-len(frame) % fill) for frame in frames
    ]
    assert not any(unit.truncated or unit.start_errors for unit in found)
    assert decoder.statistics.cltus == len(frames)
    position = 0
    for unit in found:
        start = np.unpackbits(np.frombuffer(coding.start, np.uint8)) ^ np.uint8(unit.inverted)
        assert np.array_equal(bits[unit.position : unit.position + len(start)], start)
        assert unit.position >= position
        position = unit.position


def test_one_error_in_each_codeword_and_in_the_start() -> None:
    coding = CltuCoding("bch")
    frame = bytes(range(35))
    cltu = build_cltu(frame, coding)
    rng = np.random.default_rng(1)
    for _ in range(50):
        places = [int(rng.integers(16))] + [16 + 64 * i + int(rng.integers(63)) for i in range(5)]
        damaged = flip(cltu, *places)
        (unit,) = CltuDecoder(coding).push(b"\x55" * 8 + damaged)
        assert (unit.data, unit.corrected, unit.start_errors) == (frame, 5, 1)
        assert CltuDecoder(coding, mode="ted").push(b"\x55" * 8 + damaged) == []


def test_what_follows_a_rejected_codeword_is_not_given_out() -> None:
    coding = CltuCoding("bch")
    frame = bytes(range(35))
    damaged = flip(build_cltu(frame, coding), 16 + 128 + 5, 16 + 128 + 9)
    decoder = CltuDecoder(coding)
    (unit,) = decoder.push(damaged)
    assert unit.data == frame[:14]
    # The next is found.
    (unit,) = decoder.push(build_cltu(frame, coding))
    assert unit.data == frame


def test_channel_lost_and_back() -> None:
    coding = CltuCoding("bch")
    cltu = build_cltu(bytes(35), coding)
    decoder = CltuDecoder(coding)
    assert decoder.push(cltu[:20]) == []
    (unit,) = decoder.deactivate()
    assert (unit.data, unit.truncated) == (bytes(14), True)
    assert decoder.push(cltu) == []
    with pytest.raises(LocalError, match="CHANNEL_DEACTIVATION while INACTIVE"):
        decoder.deactivate()
    decoder.activate()
    (unit,) = decoder.push(cltu)
    assert (unit.data, unit.position) == (bytes(35), 8 * (20 + len(cltu)))


def test_a_cltu_without_end_is_bounded() -> None:
    coding = CltuCoding("bch", randomised=False)
    decoder = CltuDecoder(coding, longest=70)
    found = decoder.push(coding.start + bch.encode(bytes(7)) * 1000)
    assert [len(unit.data) for unit in found] == [70]
    assert (found[0].truncated, decoder.statistics.too_long) == (True, 1)
    assert decoder.state is CltuState.SEARCH


def test_noise_makes_no_frames() -> None:
    """Octets without a start sequence, and what false starts give."""
    rng = np.random.default_rng(2)
    for coding in CODINGS:
        decoder = CltuDecoder(coding, mode="ted")
        found = decoder.push(rng.bytes(40_000))
        assert sum(len(unit.data) for unit in found) <= 4 * coding.information_length
        assert decoder.statistics.empty <= 25


@pytest.mark.parametrize(("code", "ebn0_db"), [("ldpc-128", 5.2), ("ldpc-512", 3.3)])
def test_soft_symbols_in_noise(code: str, ebn0_db: float) -> None:
    """CLTUs at an Eb/N0 at which a codeword in 10⁴ or fewer fails; hard decisions lose some."""
    coding = CltuCoding(code)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    frames = [rng.bytes(64) for _ in range(100)]
    stream = transmission([build_cltu(frame, coding) for frame in frames], idle_octets=64)
    sent = np.unpackbits(np.frombuffer(stream, np.uint8)).astype(np.float32)
    sigma = np.sqrt(10 ** (-ebn0_db / 10))
    noisy = 1 - 2 * sent + sigma * rng.standard_normal(len(sent)).astype(np.float32)
    found = CltuDecoder(coding).push_symbols(noisy)
    assert [unit.data for unit in found] == frames
    hard = CltuDecoder(coding).push_bits((noisy < 0).astype(np.uint8))
    assert len([unit for unit in hard if unit.data in frames]) < len(frames)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: CltuCoding("turbo"),  # type: ignore[arg-type]
        lambda: CltuCoding("ldpc-128", randomised=False),
        lambda: CltuCoding("ldpc-512", tail=True),
        lambda: CltuCoding("bch", tail=False),
        lambda: build_cltu(b"", CltuCoding()),
        lambda: CltuDecoder(CltuCoding(), start_errors=8),
        lambda: CltuDecoder(CltuCoding(), longest=6),
        lambda: bch.encode(bytes(6)),
        lambda: bch.decode(bytes(7), "sec"),
        lambda: bch.decode(bytes(8), "tmr"),  # type: ignore[arg-type]
    ],
)
def test_mistakes_are_named(wrong: object) -> None:
    with pytest.raises(LocalError):
        wrong()  # type: ignore[operator]
