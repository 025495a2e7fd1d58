"""Reed–Solomon against libfec, reedsolo, a plain twin by another algorithm, and Queqiao."""

from __future__ import annotations

import ctypes
import json
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import reedsolo
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.galois import (
    dual_from_conventional,
    generator_polynomial,
    multiplication_table,
)
from protocols.coding.reed_solomon import IN_VIRTUAL_FILL, UNCORRECTABLE, ReedSolomon
from protocols.errors import LocalError

CODES = st.builds(
    lambda parity, interleave, fill, basis: ReedSolomon(parity, interleave, fill, basis),
    st.sampled_from([32, 16]),
    st.integers(1, 8),
    st.integers(0, 220),
    st.sampled_from(["dual", "conventional"]),
)
SEEDS = st.integers(0, 2**32 - 1)


class PlainTwin:
    """One full codeword at a time, in plain Python, by Euclid's algorithm (Sugiyama et al.)."""

    def __init__(self, parity: int, basis: str) -> None:
        self.parity, self.first_root = parity, 128 - parity // 2
        self.exp, value = [], 1
        for _ in range(255):
            self.exp.append(value)
            value = value << 1 ^ (0x187 if value & 0x80 else 0)
        self.log = {value: i for i, value in enumerate(self.exp)}
        # Taltab of the Berlekamp matrix in 131.0-B-5 annex F, one column for each α^i.
        columns = [0x7B, 0xAF, 0x99, 0xFA, 0x86, 0xEC, 0xEF, 0x8D]
        self.to_octet = []
        for element in range(256):
            octet = element if basis == "conventional" else 0
            for bit in range(8 if basis == "dual" else 0):
                octet ^= columns[bit] if element >> bit & 1 else 0
            self.to_octet.append(octet)
        self.to_element = [self.to_octet.index(octet) for octet in range(256)]

    def mul(self, a: int, b: int) -> int:
        return self.exp[(self.log[a] + self.log[b]) % 255] if a and b else 0

    def inv(self, a: int) -> int:
        return self.exp[-self.log[a] % 255]

    def value(self, poly: list[int], at: int) -> int:
        total = 0
        for coefficient in reversed(poly):
            total = self.mul(total, at) ^ coefficient
        return total

    def times(self, a: list[int], b: list[int]) -> list[int]:
        out = [0] * (len(a) + len(b) - 1)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                out[i + j] ^= self.mul(x, y)
        return out

    @staticmethod
    def degree(poly: list[int]) -> int:
        return max((i for i, c in enumerate(poly) if c), default=-1)

    def decode(self, octets: bytes, erased: list[int]) -> tuple[bytes, int]:
        """The corrected codeword and the number of octets changed, or as received and −1."""
        word = [self.to_element[o] for o in reversed(octets)]  # word[i] belongs to x^i
        roots = [self.exp[11 * (self.first_root + j) % 255] for j in range(self.parity)]
        syndromes = [self.value(word, root) for root in roots]
        if not any(syndromes):
            return octets, 0
        if len(erased) > self.parity:
            return octets, -1
        gamma = [1]
        for position in erased:
            gamma = self.times(gamma, [1, self.exp[11 * (254 - position) % 255]])
        modified = self.times(syndromes, gamma)[: self.parity]
        r0, r1 = [0] * self.parity + [1], modified
        t0, t1 = [0], [1]
        while 2 * self.degree(r1) >= self.parity + len(erased):
            quotient_times = r0[:]
            quotient = [0] * len(r0)
            lead = self.inv(r1[self.degree(r1)])
            while self.degree(quotient_times) >= self.degree(r1):
                shift = self.degree(quotient_times) - self.degree(r1)
                factor = self.mul(quotient_times[self.degree(quotient_times)], lead)
                quotient[shift] ^= factor
                for i, c in enumerate(r1[: self.degree(r1) + 1]):
                    quotient_times[i + shift] ^= self.mul(c, factor)
            product = self.times(quotient, t1)
            width = max(len(product), len(t0))
            fresh = [0] * width
            for i in range(width):
                fresh[i] = (product[i] if i < len(product) else 0) ^ (t0[i] if i < len(t0) else 0)
            r0, r1, t0, t1 = r1, quotient_times, t1, fresh[: self.degree(fresh) + 1]
        locator = self.times(t1, gamma)
        if not locator or not locator[0]:
            return octets, -1
        found = [i for i in range(255) if not self.value(locator, self.exp[-11 * i % 255])]
        if len(found) != self.degree(locator):
            return octets, -1
        # Magnitudes by solving the syndrome equations: Gauss, nothing of Forney's formula.
        size = len(found)
        rows = [
            [self.exp[11 * (self.first_root + j) * i % 255] for i in found] + [syndromes[j]]
            for j in range(size)
        ]
        for column in range(size):
            pivot = next(r for r in range(column, size) if rows[r][column])
            rows[column], rows[pivot] = rows[pivot], rows[column]
            scale = self.inv(rows[column][column])
            rows[column] = [self.mul(scale, c) for c in rows[column]]
            for r in range(size):
                if r != column and rows[r][column]:
                    factor = rows[r][column]
                    rows[r] = [
                        a ^ self.mul(factor, b) for a, b in zip(rows[r], rows[column], strict=True)
                    ]
        for i, row in zip(found, rows, strict=True):
            word[i] ^= row[-1]
        if any(self.value(word, root) for root in roots):
            return octets, -1
        return bytes(self.to_octet[e] for e in reversed(word)), sum(row[-1] != 0 for row in rows)


def corrupt(
    rng: np.random.Generator, blocks: np.ndarray, code: ReedSolomon, errors: int
) -> np.ndarray:
    """`errors` wrong octets in every codeword of every block."""
    received = blocks.copy()
    for row in received:
        for c in range(code.interleave):
            at = rng.choice(255 - code.virtual_fill, errors, replace=False) * code.interleave + c
            row[at] ^= rng.integers(1, 256, errors, np.uint8)
    return received


def test_field_and_generator_of_the_standard(libfec: ctypes.CDLL):
    table = (ctypes.c_ubyte * 256).in_dll(libfec, "Taltab")
    assert dual_from_conventional().tolist() == list(table)
    for parity in (16, 32):
        g = generator_polynomial(parity)
        # §4.3.4: g(x) is its own mirror image, which fixes the first root.
        assert np.array_equal(g, g[::-1])
        theirs = reedsolo.rs_generator_poly(parity, 128 - parity // 2, 0xAD)
        assert g.tolist() == list(theirs)


@pytest.fixture(scope="module", autouse=True)
def _reedsolo_field():
    reedsolo.init_tables(0x187)


@pytest.mark.parametrize("parity", [16, 32])
@pytest.mark.parametrize("fill", [0, 3, 100])
def test_encoder_against_libfec_and_reedsolo(libfec: ctypes.CDLL, parity: int, fill: int):
    rng = np.random.default_rng(parity + fill)
    conventional = ReedSolomon(parity, 1, fill, "conventional")
    data = rng.integers(0, 256, (20, conventional.data_length), np.uint8)
    coded = conventional.encode(data)
    codec = reedsolo.RSCodec(parity, fcr=128 - parity // 2, generator=0xAD, prim=0x187)
    handle = libfec.init_rs_char(8, 0x187, 128 - parity // 2, 11, parity, fill)
    for row, sent in zip(data, coded, strict=True):
        assert sent.tobytes() == bytes(codec.encode(row.tobytes()))
        check = ctypes.create_string_buffer(parity)
        libfec.encode_rs_char(ctypes.c_void_p(handle), row.tobytes(), check)
        assert sent[-parity:].tobytes() == check.raw
    libfec.free_rs_char(ctypes.c_void_p(handle))
    if parity == 32:
        for row, sent in zip(data, ReedSolomon(virtual_fill=fill).encode(data), strict=True):
            check = ctypes.create_string_buffer(32)
            libfec.encode_rs_ccsds(row.tobytes(), check, fill)
            assert sent[-32:].tobytes() == check.raw


@settings(max_examples=60, deadline=None)
@given(CODES, st.integers(0, 3), SEEDS)
def test_interleaved_block_is_its_codewords(code: ReedSolomon, n: int, seed: int):
    data = np.random.default_rng(seed).integers(0, 256, (n, code.data_length), np.uint8)
    blocks = code.encode(data)
    assert blocks.shape == (n, code.block_length)
    assert np.array_equal(blocks[:, : code.data_length], data)
    single = ReedSolomon(code.parity, 1, code.virtual_fill, code.basis)
    for c in range(code.interleave):
        assert np.array_equal(
            blocks[:, c :: code.interleave], single.encode(data[:, c :: code.interleave])
        )
    decoded = code.decode(blocks)
    assert np.array_equal(decoded.data, data)
    assert not decoded.corrections.any()
    assert decoded.ok.all()


@settings(max_examples=60, deadline=None)
@given(CODES, SEEDS, st.data())
def test_up_to_e_errors_are_corrected(code: ReedSolomon, seed: int, draw: st.DataObject):
    rng = np.random.default_rng(seed)
    errors = draw.draw(st.integers(0, min(code.parity // 2, 255 - code.virtual_fill)))
    data = rng.integers(0, 256, (3, code.data_length), np.uint8)
    decoded = code.decode(corrupt(rng, code.encode(data), code, errors))
    assert np.array_equal(decoded.data, data)
    assert (decoded.corrections == errors).all()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([32, 16]),
    st.sampled_from(["dual", "conventional"]),
    st.integers(0, 20),
    st.integers(0, 36),
    SEEDS,
)
def test_errors_and_erasures_as_the_plain_twin(
    parity: int, basis: str, errors: int, erasures: int, seed: int
):
    """Within 2e + s ≤ 2E both correct; beyond it both fail, or miscorrect to the same word."""
    rng = np.random.default_rng(seed)
    code = ReedSolomon(parity, 1, 0, basis)  # type: ignore[arg-type]
    data = rng.integers(0, 256, (1, code.data_length), np.uint8)
    sent = code.encode(data)
    at = rng.choice(255, min(errors + erasures, 255), replace=False)
    received = sent.copy()
    received[0, at] ^= rng.integers(0, 256, len(at), np.uint8)
    mask = np.zeros(sent.shape, np.bool_)
    mask[0, at[errors:]] = True
    decoded = code.decode(received, mask)
    word, count = PlainTwin(parity, basis).decode(received[0].tobytes(), at[errors:].tolist())
    assert decoded.corrections[0, 0] == count
    assert decoded.data[0].tobytes() == word[: code.data_length]
    wrong = np.flatnonzero(received[0] != sent[0])
    if 2 * int((~mask[0, wrong]).sum()) + erasures <= parity:
        assert np.array_equal(decoded.data, data)
        assert count == len(wrong)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(0, 18), st.integers(0, 12), st.integers(0, 100))
def test_decoder_against_libfec(
    libfec: ctypes.CDLL, seed: int, errors: int, erasures: int, fill: int
):
    rng = np.random.default_rng(seed)
    code = ReedSolomon(virtual_fill=fill)
    data = rng.integers(0, 256, (4, code.data_length), np.uint8)
    received = corrupt(rng, code.encode(data), code, errors)
    mask = np.zeros(received.shape, np.bool_)
    for row in mask:
        row[rng.choice(255 - fill, erasures, replace=False)] = True
    decoded = code.decode(received, mask)
    for i in range(4):
        buffer = ctypes.create_string_buffer(received[i].tobytes(), 255 - fill)
        positions = (ctypes.c_int * 255)(*np.flatnonzero(mask[i]).tolist())
        count = libfec.decode_rs_ccsds(buffer, positions, erasures, fill)
        # libfec does not look whether 2e + s ≤ 32 and then may give what is no codeword.
        theirs = np.frombuffer(buffer.raw, np.uint8)
        right = np.array_equal(code.encode(theirs[None, : code.data_length])[0], theirs)
        if count >= 0 and right and all(positions[k] >= 0 for k in range(count)):
            assert decoded.data[i].tobytes() == buffer.raw[: code.data_length]
            # libfec counts erased octets that were right all along; we count what was wrong.
            changed = sum(a != b for a, b in zip(received[i].tobytes(), buffer.raw, strict=True))
            assert decoded.corrections[i, 0] == changed
        else:
            assert decoded.corrections[i, 0] < 0
            assert np.array_equal(decoded.data[i], received[i, : code.data_length])


@settings(max_examples=30, deadline=None)
@given(CODES, SEEDS)
def test_noise_passes_through_unchanged(code: ReedSolomon, seed: int):
    noise = np.random.default_rng(seed).integers(0, 256, (2, code.block_length), np.uint8)
    decoded = code.decode(noise)
    for i in range(2):
        for c in range(code.interleave):
            if decoded.corrections[i, c] < 0:
                part = slice(c, code.data_length, code.interleave)
                assert np.array_equal(decoded.data[i, part], noise[i, part])


def test_wrong_octets_in_the_fill_are_told_apart():
    """What only errors in the fill could explain is a failure with a name of its own."""
    full, short = ReedSolomon(), ReedSolomon(virtual_fill=10)
    data = np.arange(223, dtype=np.uint8)[None, :]
    tail = full.encode(data)[:, 10:]  # its first ten octets are not zero but cut off
    decoded = short.decode(tail)
    assert decoded.corrections.tolist() == [[IN_VIRTUAL_FILL]]
    assert not decoded.ok.any()
    assert np.array_equal(decoded.data, tail[:, :-32])
    prefix = ReedSolomon(virtual_fill=10, known_prefix=data[0, :10].tobytes())
    assert prefix.decode(tail).corrections.tolist() == [[0]]
    wrong_prefix = ReedSolomon(virtual_fill=10, known_prefix=bytes(5) + data[0, 5:10].tobytes())
    assert wrong_prefix.decode(tail).corrections.tolist() == [[4]]  # octet 0 is 0 in both


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(1, 40), SEEDS)
def test_prefix_falls_on_interleaved_codewords(interleave: int, length: int, seed: int):
    rng = np.random.default_rng(seed)
    fill = -(-length // interleave)
    prefix = rng.integers(0, 256, length, np.uint8)
    code = ReedSolomon(32, interleave, fill, known_prefix=prefix.tobytes())
    data = rng.integers(0, 256, (3, code.data_length), np.uint8)
    lead = np.concatenate([np.zeros(fill * interleave - length, np.uint8), prefix])
    whole = ReedSolomon(32, interleave).encode(np.hstack([np.tile(lead, (3, 1)), data]))
    assert np.array_equal(code.encode(data), whole[:, fill * interleave :])
    decoded = code.decode(corrupt(rng, code.encode(data), code, 16))
    assert np.array_equal(decoded.data, data)
    assert (decoded.corrections == 16).all()


def test_queqiao(shared):
    """Real codewords of an encoder whose register still held the sync marker's tail.

    Data by Daniel Estévez, CC BY 4.0.  Read plainly every locator points into the virtual fill.
    With 00 CF FC 1D before them, and the last octet left out, the words decode: one octet, the 00
    which is a guess, is corrected in nearly all.
    """
    captures = shared / "captures"
    name = "Queqiao__queqiao_rs_frames.u8"
    truth = json.loads((captures / "truth.json").read_text())["coded"][name]
    words = np.fromfile(captures / name, np.uint8).reshape(-1, 252)
    assert len(words) == truth["codewords"]
    # The file's author wrote −3 for failure and −2 for an error found within the fill.
    ours = {UNCORRECTABLE: "-3", IN_VIRTUAL_FILL: "-2"}

    def histogram(corrections: np.ndarray) -> dict[str, int]:
        counts = Counter(corrections.ravel().tolist())
        return {ours.get(value, str(value)): count for value, count in counts.items()}

    plain = ReedSolomon(virtual_fill=3).decode(words)
    assert histogram(plain.corrections) == truth["naive_rs252_220_dual_corrected_symbol_histogram"]
    code = ReedSolomon(virtual_fill=4, known_prefix=bytes.fromhex("00cffc1d"))
    decoded = code.decode(words[:, :251])
    assert histogram(decoded.corrections) == truth["with_asm_tail_prefix_00cffc1d_histogram"]


def test_refusals_name_the_value():
    wrong: list[Callable[[], object]] = [
        lambda: ReedSolomon(parity=20),
        lambda: ReedSolomon(interleave=9),
        lambda: ReedSolomon(virtual_fill=223),
        lambda: ReedSolomon(basis="reversed"),  # type: ignore[arg-type]
        lambda: ReedSolomon(known_prefix=b"x"),
        lambda: ReedSolomon().encode(np.zeros((1, 224), np.uint8)),
        lambda: ReedSolomon().decode(np.zeros((1, 254), np.uint8)),
        lambda: ReedSolomon().decode(np.zeros(255, np.uint8)),
        lambda: ReedSolomon().decode(np.zeros((1, 255), np.int16)),  # type: ignore[arg-type]
        lambda: ReedSolomon().decode(np.zeros((1, 255), np.uint8), np.zeros((1, 223), np.bool_)),
    ]
    for call in wrong:
        with pytest.raises(LocalError, match=r"allowed|wanted|longer"):
            call()


def test_product_table_is_a_field():
    product = multiplication_table()
    assert (np.sort(product[1:, 1:], axis=1) == np.arange(1, 256)).all()
    assert product[2, 0x80] == 0x87
