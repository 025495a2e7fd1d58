"""Convolutional code against a plain twin, libfec, theory, and Voyager 1's symbols."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding import convolutional_kernels as kernels
from protocols.coding.convolutional import _FINE_MEAN as FINE_MEAN
from protocols.coding.convolutional import _MEAN as MEAN
from protocols.coding.convolutional import (
    PUNCTURING,
    ConvolutionalCode,
    ConvolutionalEncoder,
    ViterbiDecoder,
)
from protocols.errors import LocalError

CODES = st.builds(
    ConvolutionalCode,
    st.sampled_from(list(PUNCTURING)),
    st.sampled_from(["G1", "G2"]),
    st.none() | st.frozensets(st.sampled_from(["G1", "G2"])),
)
SEEDS = st.integers(0, 2**32 - 1)


def plain_encode(code: ConvolutionalCode, bits: list[int]) -> list[int]:
    """Shift register, bit by bit: taps written as the powers of delay in 131.0-B-5 figure 3-1."""
    taps = {"G1": (0, 1, 2, 3, 6), "G2": (0, 2, 3, 5, 6)}
    inverted = code.inverted or ()
    register = [0] * 7
    sent: list[int] = []
    for n, bit in enumerate(bits):
        register = [bit, *register[:6]]
        rows = dict(zip(("G1", "G2"), PUNCTURING[code.rate], strict=True))
        for output in ("G1", "G2") if code.first == "G1" else ("G2", "G1"):
            if rows[output][n % len(rows[output])] == "1":
                symbol = sum(register[delay] for delay in taps[output]) % 2
                sent.append(symbol ^ (output in inverted))
    return sent


def depunctured(code: ConvolutionalCode, symbols: np.ndarray, bits: int) -> np.ndarray:
    """[bits, 2], 0 where nothing was sent."""
    full = np.zeros(2 * bits)
    sent = np.resize(code.kept, 2 * bits).astype(bool)
    full[np.flatnonzero(sent)[: len(symbols)]] = symbols[: sent.sum()]
    return full.reshape(bits, 2)


def plain_viterbi(code: ConvolutionalCode, symbols: np.ndarray, bits: int) -> np.ndarray:
    """The whole stream at once, any state first, the best state last; in plain NumPy."""
    # As many erased pairs behind: whatever state is best at the end, one of them is chosen alike.
    pairs = np.concatenate((depunctured(code, symbols, bits), np.zeros((64, 2))))
    # What the encoder sends for a bit in a state, from its own definition.
    unpunctured = ConvolutionalCode("1/2", code.first, code.inverted)
    sent = np.empty((64, 2, 2), np.int64)
    for state in range(64):
        history = [state >> age & 1 for age in range(5, -1, -1)]
        for bit in (0, 1):
            sent[state, bit] = plain_encode(unpunctured, [*history, bit])[-2:]
    new = np.arange(64)
    lower, upper, newest = new >> 1, (new >> 1) + 32, new & 1
    metrics = np.zeros(64)
    decisions = np.empty((len(pairs), 64), bool)
    for n, pair in enumerate(pairs):
        # Cost: the magnitude of a symbol whose sign contradicts (positive is 0).
        cost = np.where(sent == 1, np.maximum(pair, 0), np.maximum(-pair, 0)).sum(axis=2)
        one, two = metrics[lower] + cost[lower, newest], metrics[upper] + cost[upper, newest]
        decisions[n] = two < one
        metrics = np.minimum(one, two)
    state = int(np.argmin(metrics))
    decoded = np.empty(len(pairs), np.uint8)
    for n in range(len(pairs) - 1, -1, -1):
        decoded[n] = state & 1
        state = (state >> 1) + 32 * int(decisions[n, state])
    return decoded[:bits]


def quantised(code: ConvolutionalCode, symbols: np.ndarray, fine: bool = False) -> np.ndarray:
    """The decoder's soft symbols, by their definition: of a set mean magnitude, limited."""
    symbols = symbols.astype(np.float32)
    gain = np.float32((FINE_MEAN if fine else MEAN[code.rate]) / np.abs(symbols).mean())
    magnitude = np.floor(np.abs(symbols * gain) + np.float32(0.5))
    limit = kernels.FINE_LIMIT if fine else kernels.LIMIT
    return np.sign(symbols) * np.minimum(magnitude, limit)


def noisy(symbols: np.ndarray, rate: str, ebn0_db: float, seed: int) -> np.ndarray:
    """±1 in white noise, as float32; Eb/N0 counts information bits."""
    numerator, denominator = map(int, rate.split("/"))
    sigma = math.sqrt(0.5 * denominator / numerator * 10 ** (-ebn0_db / 10))
    noise = np.random.default_rng(seed).standard_normal(symbols.shape, np.float32)
    return np.float32(1) - np.float32(2) * symbols + np.float32(sigma) * noise


def decoded(code: ConvolutionalCode, symbols: np.ndarray, **settings: int) -> np.ndarray:
    decoder = ViterbiDecoder(code, **settings)
    return np.concatenate((decoder.push(symbols), decoder.finish()))


def bit_errors(a: np.ndarray, b: np.ndarray) -> int:
    return int(np.bitwise_count(a ^ b).sum())


def random_octets(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, n, np.uint8)


@given(CODES, st.binary(max_size=40), st.integers(0, 40))
@settings(max_examples=100, deadline=None)
def test_encoder_is_the_shift_register(code: ConvolutionalCode, data: bytes, cut: int) -> None:
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).tolist()
    wanted = plain_encode(code, bits)
    assert code.encode(np.frombuffer(data, np.uint8)).tolist() == wanted
    encoder = ConvolutionalEncoder(code)
    assert [*encoder.push(data[:cut]), *encoder.push(data[cut:])] == wanted
    assert code.symbols_of(len(bits)) == len(wanted)
    assert code.bits_of(len(wanted)) == len(bits)


def test_rows_are_encoded_each_on_its_own() -> None:
    rows = random_octets(60, 1).reshape(2, 3, 10)
    code = ConvolutionalCode("3/4")
    together = code.encode(rows)
    assert together.shape == (2, 3, code.symbols_of(80))
    assert np.array_equal(together[1, 2], code.encode(rows[1, 2]))


def test_standard_sequence() -> None:
    # 131.0-B-5 figure 3-1: a single 1 gives the connection vectors, G2 inverted.
    impulse = ConvolutionalCode().encode(np.array([0x80], np.uint8)).reshape(8, 2)
    assert impulse[:7, 0].tolist() == [1, 1, 1, 1, 0, 0, 1]
    assert (1 - impulse[:7, 1]).tolist() == [1, 0, 1, 1, 0, 1, 1]


@given(CODES, st.integers(1, 1024), st.floats(0, 2), SEEDS, st.booleans())
@settings(max_examples=60, deadline=None)
def test_one_segment_is_the_plain_twin(
    code: ConvolutionalCode, bits: int, sigma: float, seed: int, fine: bool
) -> None:
    """Any noise, far beyond what can be decoded: the same path, to the bit."""
    rng = np.random.default_rng(seed)
    sent = code.encode(rng.integers(0, 256, 128, np.uint8))[: code.symbols_of(bits)]
    symbols = (1 - 2.0 * sent + rng.normal(0, sigma, len(sent))).astype(np.float32)
    wanted = plain_viterbi(code, quantised(code, symbols, fine), bits)
    decoder = ViterbiDecoder(code, fine=fine)
    assert len(decoder.push(symbols)) == 0
    assert np.array_equal(decoder.finish(), np.packbits(wanted))
    assert decoder.statistics.bits == bits


@pytest.mark.parametrize("rate", list(PUNCTURING))
def test_many_segments_are_the_plain_twin(rate: str) -> None:
    """Hard decisions, so that every segment is scaled alike; errors as often as can be decoded."""
    code = ConvolutionalCode(rate)  # type: ignore[arg-type]
    rng = np.random.default_rng(2)
    sent = code.encode(rng.integers(0, 256, 2_000, np.uint8))
    wrong = {"1/2": 0.03, "2/3": 0.012, "3/4": 0.008, "5/6": 0.004, "7/8": 0.002}[rate]
    symbols = np.where(sent ^ (rng.random(len(sent)) < wrong), -1.0, 1.0)
    wanted = np.packbits(plain_viterbi(code, quantised(code, symbols), 16_000))
    for segment_bits in (64, 1024, 4096):
        assert np.array_equal(decoded(code, symbols, segment_bits=segment_bits), wanted)


@given(CODES, st.lists(st.integers(0, 9000), max_size=12), st.integers(0, 9000), SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_chunking_gives_the_same(
    code: ConvolutionalCode, cuts: list[int], length: int, seed: int
) -> None:
    """Pure noise, where survivors merge late: still the same bits, the same counts."""
    symbols = np.random.default_rng(seed).normal(0, 1, length).astype(np.float32)
    whole = ViterbiDecoder(code, segment_bits=256)
    wanted = np.concatenate((whole.push(symbols), whole.finish()))
    assert whole.statistics.bits == code.bits_of(length)
    assert len(wanted) == -(-code.bits_of(length) // 8)
    pieces = ViterbiDecoder(code, segment_bits=256)
    got = []
    for begin, end in pairwise([0, *sorted(min(cut, length) for cut in cuts), length]):
        got.append(pieces.push(symbols[begin:end]))
        resumed = ViterbiDecoder(code, segment_bits=256)
        resumed.restore(pieces.snapshot())
        pieces = resumed
    got.append(pieces.finish())
    assert np.array_equal(np.concatenate(got), wanted)
    assert pieces.statistics == whole.statistics


def test_a_large_chunk_after_a_small_one() -> None:
    """Longer than what is copied: read in place behind the join."""
    code = ConvolutionalCode("3/4")
    symbols = np.random.default_rng(14).normal(0, 1, 700_001).astype(np.float32)
    wanted = decoded(code, symbols)
    decoder = ViterbiDecoder(code)
    cuts = [0, 999, 400_000, 400_001, 700_001]
    got = [decoder.push(symbols[begin:end]) for begin, end in pairwise(cuts)]
    assert np.array_equal(np.concatenate((*got, decoder.finish())), wanted)


def test_finish_begins_a_new_stream() -> None:
    code = ConvolutionalCode("5/6")
    data = random_octets(700, 3)
    symbols = 1.0 - 2.0 * code.encode(data)
    decoder = ViterbiDecoder(code)
    for _ in range(3):
        assert np.array_equal(np.concatenate((decoder.push(symbols), decoder.finish())), data)
    assert decoder.statistics.bits == 3 * 5600
    assert decoder.statistics.symbol_errors == 0


def test_a_bit_waits_for_its_segment_at_most() -> None:
    code = ConvolutionalCode()
    decoder = ViterbiDecoder(code, segment_bits=128)
    for pushed in range(1, 2_000):
        decoder.push(np.ones(2, np.float32))
        assert pushed - decoder.statistics.bits < 128 + 112


def test_symbol_errors_are_counted_by_encoding_again() -> None:
    for rate in ("1/2", "7/8"):
        code = ConvolutionalCode(rate, "G2")
        data = random_octets(20_001, 4)
        sent = code.encode(data)
        symbols = noisy(sent, rate, 7.5, 5)
        decoder = ViterbiDecoder(code)
        got = np.concatenate((decoder.push(symbols), decoder.finish()))
        wanted = int(((symbols < 0) != code.encode(got)).sum())
        # The state before the stream is not known: its first bits may be encoded otherwise.
        assert abs(decoder.statistics.symbol_errors - wanted) <= 6
        assert decoder.statistics.compared == decoder.statistics.symbols == len(sent)
        assert wanted > 100


def test_scale_sign_and_kind_of_symbols() -> None:
    code = ConvolutionalCode()
    data = random_octets(3_000, 6)
    symbols = noisy(code.encode(data), "1/2", 5, 7)
    wanted = decoded(code, symbols)
    assert np.array_equal(wanted, data)
    assert np.array_equal(decoded(code, symbols.astype(np.float64) * 1e-20), wanted)
    assert np.array_equal(decoded(code, symbols * np.float32(1e20)), wanted)
    octets = np.clip(np.round(symbols * 40), -127, 127).astype(np.int8)
    assert np.array_equal(decoded(code, octets), data)
    # The code is transparent: what is inverted decodes to the inverse.
    assert bit_errors(decoded(code, -symbols), ~data) <= 12


def test_erased_and_impossible_symbols_do_no_harm() -> None:
    code = ConvolutionalCode()
    data = random_octets(3_000, 8)
    symbols = noisy(code.encode(data), "1/2", 8, 9)
    symbols[100::17] = np.nan
    symbols[5::1001] = np.inf
    assert np.array_equal(decoded(code, symbols), data)
    assert len(decoded(code, np.zeros(10_000))) == 625
    assert len(decoded(code, np.full(10_000, np.nan))) == 625
    assert len(decoded(code, np.empty(0))) == 0


class LibFec:
    """viterbi27 of libfec: G2 first, nothing inverted; soft symbols 0 (a 0) to 255 (a 1)."""

    def __init__(self) -> None:
        name = ctypes.util.find_library("fec")
        if name is None:
            pytest.skip("program libfec is missing")
        self.library = ctypes.CDLL(name)
        self.library.create_viterbi27.restype = ctypes.c_void_p
        for function in ("init", "update", "chainback", "delete"):
            suffix = "_blk" if function == "update" else ""
            getattr(self.library, f"{function}_viterbi27{suffix}").argtypes = {
                "init": [ctypes.c_void_p, ctypes.c_int],
                "update": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int],
                "chainback": [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint],
                "delete": [ctypes.c_void_p],
            }[function]

    def decode(self, pairs: np.ndarray) -> np.ndarray:
        """pairs: [bits, 2] around ±1; the encoder began and ends (six bits more) in state 0."""
        bits = len(pairs)
        soft = np.clip(np.round(127.5 - 32 * pairs), 0, 255).astype(np.uint8)
        handle = self.library.create_viterbi27(bits)
        out = ctypes.create_string_buffer(bits // 8 + 1)
        self.library.init_viterbi27(handle, 0)
        self.library.update_viterbi27_blk(handle, soft.tobytes(), bits)
        self.library.chainback_viterbi27(handle, out, bits - 6, 0)
        self.library.delete_viterbi27(handle)
        return np.frombuffer(out.raw, np.uint8)[: (bits - 6) // 8]


@pytest.mark.parametrize(
    ("rate", "ebn0_db"), [("1/2", 2.5), ("2/3", 3.0), ("3/4", 3.5), ("5/6", 4.0), ("7/8", 4.5)]
)
def test_errs_no_more_than_libfec(rate: str, ebn0_db: float) -> None:
    """The same noise through both, punctured symbols as erasures to libfec.

    Both decode the same maximum-likelihood path, but for the quantisation: 25 levels here, 256
    there, which is worth 0.03 dB or 8 % of the errors.
    """
    library = LibFec()
    code = ConvolutionalCode(rate, "G2", frozenset())  # type: ignore[arg-type]
    data = random_octets(400_000, 10)
    data[-1] &= 0xC0
    symbols = noisy(code.encode(data), rate, ebn0_db, 11)
    theirs = library.decode(depunctured(code, symbols, 8 * len(data)))
    ours = decoded(code, symbols)
    their_errors = bit_errors(theirs, data[: len(theirs)])
    our_errors = bit_errors(ours[: len(theirs)], data[: len(theirs)])
    assert their_errors > 1_000
    assert our_errors < 1.12 * their_errors


@pytest.mark.parametrize("ebn0_db", [3.5, 4.0])
def test_bit_error_rate_is_theory(ebn0_db: float) -> None:
    """Union bound from the code's weight spectrum, tight at these Eb/N0.

    Spectrum: Odenwalder 1970, in every textbook; the bound holds for infinitely fine symbols, and
    0.03 dB are granted for ours.
    """
    spectrum = {10: 36, 12: 211, 14: 1404, 16: 11633, 18: 77433, 20: 502690, 22: 3322763}

    def bound(ebn0: float) -> float:
        return sum(
            weight * 0.5 * math.erfc(math.sqrt(distance * 0.5 * ebn0))
            for distance, weight in spectrum.items()
        )

    code = ConvolutionalCode()
    data = random_octets(1_500_000, 12)
    symbols = noisy(code.encode(data), "1/2", ebn0_db, 13)
    rate = bit_errors(decoded(code, symbols), data) / (8 * len(data))
    assert 0.5 * bound(10 ** (ebn0_db / 10)) < rate < bound(10 ** ((ebn0_db - 0.03) / 10)) * 1.15


def test_voyager_1(shared: Path) -> None:
    """Real symbols by Daniel Estévez (CC BY 4.0): markers, corrections and frames as published.

    Voyager's Reed–Solomon code is not that of 131.0-B: field 0x11D and first root α.
    """
    folder = shared / "captures"
    name = "Voyager1__2020__symbols_0011.f32"
    truth = json.loads((folder / "truth.json").read_text())["coded"][name]
    # The truth's polarity is of symbols that are positive for 1.
    symbols = -truth["polarity"] * np.fromfile(folder / name, np.float32)[truth["pair_offset"] :]
    code = ConvolutionalCode(first="G2")
    decoder = ViterbiDecoder(code)
    ours = np.unpackbits(np.concatenate((decoder.push(symbols), decoder.finish())))
    fine = np.unpackbits(decoded(code, symbols, fine=True))
    assert 0 < decoder.statistics.symbol_error_rate < 0.1
    most_likely = plain_viterbi(code, symbols.astype(np.float64), len(symbols) // 2)
    assert np.count_nonzero(ours[: len(most_likely)] != most_likely) < 0.005 * len(most_likely)
    marker = np.unpackbits(np.frombuffer(bytes.fromhex("03915ED3"), np.uint8))
    outer = reedsolo.RSCodec(32, fcr=1, prim=0x11D)
    for bits in (ours, fine, most_likely):
        windows = np.lib.stride_tricks.sliding_window_view(bits, 32)
        found = np.flatnonzero((windows == marker).all(axis=1)).tolist()
        assert found == truth["asm_03915ED3_exact_bit_positions_after_ML_viterbi"]
        for frame in truth["frames"]:
            begin = frame["start_bit"]
            words = np.packbits(bits[begin : begin + 4 * 239 * 8]).reshape(239, 4)
            corrected = [outer.decode(bytes(16) + word.tobytes()) for word in words.T]
            block = np.array([list(whole[16:]) for _, whole, _ in corrected], np.uint8).T
            assert hashlib.sha256(block.tobytes()).hexdigest() == frame["sha256_239x4"]
            corrections = [len(wrong) for _, _, wrong in corrected]
            # With 25 levels a symbol may be decided otherwise, for better or for worse.
            tolerance = 1 if bits is ours else 0
            assert np.abs(np.subtract(corrections, frame["rs_corrections"])).max() <= tolerance


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ConvolutionalCode("4/5"),  # type: ignore[arg-type]
        lambda: ConvolutionalCode(first="G3"),  # type: ignore[arg-type]
        lambda: ConvolutionalCode(inverted=frozenset({"G3"})),  # type: ignore[arg-type]
        lambda: ConvolutionalCode().encode(np.zeros(4)),  # type: ignore[arg-type]
        lambda: ViterbiDecoder(ConvolutionalCode(), segment_bits=4),
        lambda: ViterbiDecoder(ConvolutionalCode()).push(np.zeros((2, 2))),
    ],
)
def test_mistakes_are_named(wrong: object) -> None:
    with pytest.raises(LocalError):
        wrong()  # type: ignore[operator]
