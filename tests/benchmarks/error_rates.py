"""Error rates of the codes in white noise, ideally synchronised, beside theory and named peers.

    python -m tests.benchmarks.error_rates
    python -m tests.benchmarks.error_rates --only LDPC --scale 0.1 --seed 2

Data, encoder, noise and decoder are the project's.  Eb/N0 is per information bit, at the nominal
rate of turbo codes.  A loss in dB is how much less Eb/N0 the reference needs for what was measured:
by theory, or along the measured slope.  `--scale` changes how many frames are tried.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from protocols.coding.convolutional import ConvolutionalCode, ViterbiDecoder
from protocols.coding.ldpc import LdpcCode
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.turbo import TurboCode
from protocols.physical.channel import noise, noise_deviation
from tests.benchmarks.harness import PeerMissing

F32 = np.ndarray
#: Iterations of the exact sum-product decoder; 130.1-G's curves are of as many or fewer.
EXACT_ITERATIONS = 200
#: Symbols that are made at once.
BATCH = 4_000_000


@dataclass(frozen=True)
class Count:
    """wrong of tried, by us; by the peer on the same symbols, or what a reference says."""

    wrong: int
    tried: int
    reference: float | None = None
    whose: str = ""
    #: Frames that failed though the decoder said it was sure.
    unnoticed: int = 0

    @property
    def rate(self) -> float:
        return self.wrong / self.tried


@dataclass(frozen=True)
class Point:
    """One line.  goal: greatest error rate; loss_goal_db: greatest loss against the reference."""

    name: str
    ebn0_db: float
    tried: int
    measure: Callable[[float, int, np.random.Generator], Count]
    goal: float | None = None
    #: Gives the loss in dB of a measured rate.
    loss: Callable[[Count, float], float] | None = None
    loss_goal_db: float = 0.1


def received(sent: np.ndarray, esn0_db: float, rng: np.random.Generator) -> F32:
    """Soft symbols float32 of symbols 0 or 1, of the same shape."""
    deviation = noise_deviation(esn0_db, 1.0)
    both = noise(-(-sent.size // 2), deviation, rng).view(np.float32)[: sent.size]
    return both.reshape(sent.shape) + (1 - 2 * sent.astype(np.float32))


def octets(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    return rng.integers(0, 256, (n, length), np.uint8)


def decibels(ratio: float) -> float:
    return 10 * math.log10(ratio)


def batches(tried: int, symbols: int) -> Iterator[int]:
    """Sizes that add up to tried."""
    most = max(1, BATCH // symbols)
    for at in range(0, tried, most):
        yield min(most, tried - at)


def q(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


def loss_by(theory: Callable[[float], float]) -> Callable[[Count, float], float]:
    """How much less Eb/N0 theory needs for the measured rate."""

    def loss(count: Count, ebn0_db: float) -> float:
        low, high = ebn0_db - 3, ebn0_db + 3
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if theory(middle) > count.rate else (low, middle)
        return ebn0_db - low

    return loss


def published(curve: dict[float, float]) -> Callable[[float], float]:
    """A curve of Eb/N0 in dB to an error rate, its logarithm straight between points and beyond."""
    at, logs = np.array(sorted(curve)), np.log([curve[x] for x in sorted(curve)])

    def rate(ebn0_db: float) -> float:
        k = int(np.clip(np.searchsorted(at, ebn0_db), 1, len(at) - 1))
        slope = (logs[k] - logs[k - 1]) / (at[k] - at[k - 1])
        return math.exp(logs[k] + slope * (ebn0_db - at[k]))

    return rate


# ---- uncoded and Reed–Solomon alone ----------------------------------------------------------


def uncoded_theory(ebn0_db: float) -> float:
    return q(math.sqrt(2 * 10 ** (ebn0_db / 10)))


def uncoded(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
    wrong = 0
    for n in batches(tried, 1):
        sent = rng.integers(0, 2, n, np.uint8)
        wrong += int(np.count_nonzero((received(sent, ebn0_db, rng) < 0) != sent))
    return Count(wrong, tried, uncoded_theory(ebn0_db), "theory")


OUTER = ReedSolomon(interleave=5)
OUTER_RATE = 223 / 255


def reed_solomon_theory(ebn0_db: float) -> float:
    """A frame fails if one of its five codewords has more than 16 wrong octets."""
    symbol = 1 - (1 - uncoded_theory(ebn0_db + decibels(OUTER_RATE))) ** 8
    good = sum(math.comb(255, e) * symbol**e * (1 - symbol) ** (255 - e) for e in range(17))
    return 1 - good**5


def reed_solomon(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
    wrong = 0
    for n in batches(tried, 8 * OUTER.block_length):
        data = octets(rng, n, OUTER.data_length)
        sent = np.unpackbits(OUTER.encode(data), axis=1)
        hard = received(sent, ebn0_db + decibels(OUTER_RATE), rng) < 0
        decoded = OUTER.decode(np.packbits(hard, axis=1))
        wrong += int(np.count_nonzero((decoded.data != data).any(axis=1)))
    return Count(wrong, tried, reed_solomon_theory(ebn0_db), "theory")


# ---- concatenated ----------------------------------------------------------------------------


def libfec_concatenated(symbols: F32, bits: int) -> np.ndarray:
    """The same by libfec, told the first and the last state: data uint8 [n, 1115]."""
    name = ctypes.util.find_library("fec")
    if name is None:
        raise PeerMissing("libfec (Debian libfec0)")
    library = ctypes.CDLL(name)
    library.create_viterbi27.restype = ctypes.c_void_p
    handle = ctypes.c_void_p(library.create_viterbi27(bits))
    # libfec wants G2 first, nothing inverted, and octets around 127.5.
    pairs = (symbols.reshape(-1, 2) * (1, -1))[:, ::-1]
    soft = np.ascontiguousarray(np.clip(np.round(127.5 - 32 * pairs), 0, 255).astype(np.uint8))
    out = np.empty(bits // 8, np.uint8)
    library.init_viterbi27(handle, 0)
    library.update_viterbi27_blk(handle, ctypes.c_void_p(soft.ctypes.data), bits + 6)
    library.chainback_viterbi27(handle, ctypes.c_void_p(out.ctypes.data), bits, 0)
    library.delete_viterbi27(handle)
    words = out.reshape(-1, 255, 5).transpose(0, 2, 1).reshape(-1, 255)
    buffer = ctypes.create_string_buffer(255)
    decoded = np.empty_like(words)
    for word, into in zip(words, decoded, strict=True):
        buffer.raw = word.tobytes()
        library.decode_rs_ccsds(buffer, None, 0, 0)
        into[:] = np.frombuffer(buffer, np.uint8)
    return decoded[:, :223].reshape(-1, 5, 223).transpose(0, 2, 1).reshape(-1, 1115)


def concatenated_frames(
    ebn0_db: float, tried: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, F32, np.ndarray]]:
    """In batches: what was sent, the soft symbols, what was decoded."""
    inner = ConvolutionalCode()
    esn0_db = ebn0_db + decibels(OUTER_RATE / 2)
    for n in batches(tried, 16 * OUTER.block_length):
        data = octets(rng, n, OUTER.data_length)
        stream = OUTER.encode(data).reshape(-1)
        # Another octet of zeros brings the encoder to the state that libfec is told.
        symbols = received(inner.encode(np.append(stream, np.uint8(0))), esn0_db, rng)
        decoder = ViterbiDecoder(inner, fine=True)
        decoded = np.concatenate((decoder.push(symbols), decoder.finish()))[:-1]
        yield data, symbols, OUTER.decode(decoded.reshape(n, -1)).data


#: Bit error rates of figure 6-7 of 130.1-G-3, interleaving 5, as read off it by gnuradio-4's tests
#: of its decoders (to a tenth of a decibel's grid); the book itself was not at hand.
CONCATENATED_BITS = {2.0: 2.9e-3, 2.1: 8.0e-4, 2.3: 2.2e-5}


def concatenated_bits(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
    wrong = bits = 0
    for data, _, frames in concatenated_frames(ebn0_db, tried, rng):
        wrong += int(np.unpackbits(frames ^ data).sum())
        bits += 8 * data.size
    return Count(wrong, bits, CONCATENATED_BITS[ebn0_db], "130.1-G, read off")


def concatenated(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
    """k = 7, r = 1/2 and RS (255,223) × 5: frames of 8,920 bits, without markers between them."""
    wrong = theirs = 0
    whose = "libfec"
    for data, symbols, frames in concatenated_frames(ebn0_db, tried, rng):
        wrong += int(np.count_nonzero((frames != data).any(axis=1)))
        try:
            bits = 8 * OUTER.block_length * len(data)
            frames = libfec_concatenated(symbols[: -2 * 2], bits)
            theirs += int(np.count_nonzero((frames != data).any(axis=1)))
        except PeerMissing as missing:
            whose = f"missing: {missing}"
    return Count(wrong, tried, None if "missing" in whose else theirs / tried, whose)


# ---- LDPC ------------------------------------------------------------------------------------


def exact_sum_product(code: LdpcCode, variance: float) -> Callable[[F32], np.ndarray]:
    """Flooding belief propagation in double precision, of the PyPI package ldpc."""
    try:
        from ldpc import BpDecoder
        from scipy.sparse import csr_matrix
    except ImportError as error:
        raise PeerMissing("ldpc (PyPI)") from error
    matrix = code.parity_check_matrix
    ones = matrix.ones()
    shape = (matrix.rows * matrix.size, matrix.columns * matrix.size)
    h = csr_matrix((np.ones(len(ones), np.uint8), (ones[:, 0], ones[:, 1])), shape)
    decoder = BpDecoder(
        h,
        error_rate=0.1,
        max_iter=EXACT_ITERATIONS,
        bp_method="product_sum",
        input_vector_type="received_vector",
    )
    # C2 leaves out 18 zeros before and sends two behind.
    lead, sent = (18, 8158) if code.name == "C2" else (0, 8 * code.block_length)

    def decode(symbols: F32) -> np.ndarray:
        out: list[np.ndarray] = []
        received = np.zeros(shape[1], np.uint8)
        wrong = np.full(shape[1], 0.5)
        wrong[:lead] = 1e-12
        for row in symbols[:, :sent]:
            received[lead : lead + sent] = row < 0
            wrong[lead : lead + sent] = 1 / (1 + np.exp(2 * np.abs(row.astype(float)) / variance))
            decoder.update_channel_probs(wrong)
            out.append(decoder.decode(received)[lead : lead + 8 * code.data_length])
        return np.packbits(np.array(out), axis=1)

    return decode


#: Frame error rates that AFF3CT publishes of its decoders (github.com/aff3ct/error_rate_references,
#: 100 frames in error a point): flooding with approximate min*, 100 iterations; layered
#: sum-product, 50 iterations.
AFF3CT = {
    "AR4JA 1/2 4096": {0.8: 7.38e-1, 0.9: 3.50e-1, 1.0: 9.59e-2, 1.1: 1.07e-2, 1.2: 8.89e-4},
    "TC 128": {2.5: 1.41e-1, 3.0: 4.96e-2, 3.5: 1.03e-2, 4.0: 1.52e-3},
}


def ldpc(name: str, exact: int) -> Callable[[float, int, np.random.Generator], Count]:
    """exact: codewords, the first ones, that the peer decodes too: it takes 1,000 times as long."""
    code = LdpcCode(name)
    rate = code.data_length / code.block_length

    def measure(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
        esn0_db = ebn0_db + decibels(rate)
        wrong = unnoticed = theirs = ours_of_those = done = 0
        whose = "exact sum-product"
        for n in batches(tried, 8 * code.block_length):
            data = octets(rng, n, code.data_length)
            symbols = received(np.unpackbits(code.encode(data), axis=1), esn0_db, rng)
            result = code.decode(symbols)
            bad = (result.data != data).any(axis=1)
            wrong += int(bad.sum())
            unnoticed += int((bad & result.converged).sum())
            some = min(n, exact - done)
            if some > 0 and "missing" not in whose:
                try:
                    peer = exact_sum_product(code, noise_deviation(esn0_db, 1.0) ** 2)
                    theirs += int((peer(symbols[:some]) != data[:some]).any(axis=1).sum())
                    ours_of_those += int(bad[:some].sum())
                    done += some
                except PeerMissing as missing:
                    whose = f"missing: {missing}"
        if not done:
            curve = AFF3CT.get(name, {})
            whose = "AFF3CT" if ebn0_db in curve else ""
            return Count(wrong, tried, curve.get(ebn0_db), whose, unnoticed)
        whose += f", {done} of them: {theirs} to our {ours_of_those}"
        return Count(wrong, tried, theirs / done, whose, unnoticed)

    return measure


# ---- turbo -----------------------------------------------------------------------------------

#: Frame error rates of JPL's decoder with 10 iterations: tables A-3 and A-4 of module 207 of the
#: DSN's 810-005, as a public simulator copies them (github.com/skyswordx/chencode-hw); the document
#: itself was not at hand.
TABLES = {
    ("1/2", 1784): {1.0: 7.5529e-2, 1.2: 7.9605e-3, 1.4: 3.2503e-4},
    ("1/3", 3568): {0.3: 5.1557e-2, 0.4: 9.0463e-3},
    ("1/3", 7136): {0.2: 1.0761e-1, 0.3: 1.0989e-2},
    ("1/3", 8920): {0.2: 9.7752e-2, 0.3: 8.9847e-3},
    ("1/2", 8920): {0.8: 1.8939e-1, 0.9: 2.0309e-2, 1.0: 8.4691e-4},
}


def turbo(rate: str, length: int) -> Callable[[float, int, np.random.Generator], Count]:
    code = TurboCode(rate, length)  # type: ignore[arg-type]

    def measure(ebn0_db: float, tried: int, rng: np.random.Generator) -> Count:
        wrong = unnoticed = 0
        for n in batches(tried, code.symbols):
            data = octets(rng, n, code.data_length)
            esn0_db = ebn0_db - decibels(int(rate[2:]))
            result = code.decode(received(code.encode(data), esn0_db, rng))
            bad = (result.data != data).any(axis=1)
            wrong += int(bad.sum())
            unnoticed += int((bad & result.converged).sum())
        table = TABLES.get((rate, length), {})
        return Count(wrong, tried, table.get(ebn0_db), "810-005" if table else "", unnoticed)

    return measure


# ---- all of them -----------------------------------------------------------------------------


def points() -> Iterator[Point]:
    for ebn0_db in (4.0, 6.0, 8.0):
        tried = 20_000_000
        yield Point("uncoded", ebn0_db, tried, uncoded, loss=loss_by(uncoded_theory))
    for ebn0_db, tried in ((5.8, 2_000), (6.0, 6_000), (6.2, 20_000)):
        loss = loss_by(reed_solomon_theory)
        yield Point("RS (255,223) × 5", ebn0_db, tried, reed_solomon, loss=loss)
    name = "k = 7, r = 1/2 with RS (255,223) × 5"
    for ebn0_db, tried, goal in ((2.0, 2_000, None), (2.2, 10_000, 1.5e-2), (2.4, 20_000, 1e-3)):
        yield Point(name, ebn0_db, tried, concatenated, goal)
    loss = loss_by(published(CONCATENATED_BITS))
    for ebn0_db, tried in ((2.0, 4_000), (2.1, 8_000), (2.3, 40_000)):
        yield Point(f"{name}, bits", ebn0_db, tried, concatenated_bits, loss=loss)
    # As many codewords as give the exact decoder some tens of errors where it is quick enough.
    for name, ebn0_db, tried, exact in (
        ("AR4JA 1/2 1024", 1.5, 40_000, 4_000),
        ("AR4JA 2/3 1024", 2.2, 40_000, 4_000),
        ("AR4JA 4/5 1024", 3.2, 40_000, 4_000),
        ("AR4JA 1/2 4096", 1.1, 8_000, 400),
        ("AR4JA 2/3 4096", 1.8, 8_000, 400),
        ("AR4JA 4/5 4096", 2.8, 8_000, 400),
        ("AR4JA 1/2 16384", 0.8, 2_000, 60),
        ("AR4JA 2/3 16384", 1.5, 2_000, 60),
        ("AR4JA 4/5 16384", 2.5, 2_000, 60),
        ("C2", 3.5, 8_000, 600),
    ):
        yield Point(f"LDPC {name}", ebn0_db, tried, ldpc(name, exact))
    for name, ebn0_db, tried in (
        ("AR4JA 1/2 4096", 1.0, 4_000),
        ("AR4JA 1/2 4096", 1.1, 20_000),
        ("AR4JA 1/2 4096", 1.2, 100_000),
        ("TC 128", 3.0, 40_000),
        ("TC 128", 3.5, 200_000),
        ("TC 128", 4.0, 400_000),
    ):
        loss = loss_by(published(AFF3CT[name]))
        yield Point(f"LDPC {name}, published", ebn0_db, tried, ldpc(name, 0), loss=loss)
    for rate, length, ebn0_db, tried, goal in (
        ("1/2", 1784, 1.0, 6_000, None),
        ("1/2", 1784, 1.2, 20_000, None),
        ("1/3", 3568, 0.3, 2_000, None),
        ("1/3", 3568, 0.4, 6_000, None),
        ("1/3", 7136, 0.2, 1_000, None),
        ("1/3", 7136, 0.3, 4_000, None),
        ("1/3", 8920, 0.2, 1_000, None),
        ("1/3", 8920, 0.3, 4_000, None),
        ("1/2", 8920, 0.9, 4_000, 1e-2),
        ("1/4", 8920, 0.0, 4_000, None),
        ("1/6", 8920, -0.3, 4_000, 5e-2),
    ):
        name = f"turbo {rate}, {length} bits"
        yield Point(name, ebn0_db, tried, turbo(rate, length), goal)


def line(point: Point, count: Count, seconds: float) -> str:
    text = (
        f"{point.name:38} {point.ebn0_db:5.2f} dB  {count.wrong:8,} of {count.tried:10,}"
        f"  {count.rate:9.3g}"
    )
    if count.reference is not None:
        text += f"  {count.reference:9.3g} ({count.whose})"
    elif count.whose:
        text += f"  ({count.whose})"
    if point.loss is not None:
        loss = point.loss(count, point.ebn0_db)
        verdict = "met" if loss <= point.loss_goal_db else "MISSED"
        text += f"  loss {loss:+.3f} dB, {verdict} ≤ {point.loss_goal_db:g}"
    if point.goal is not None:
        text += f"  {'met' if count.rate <= point.goal else 'MISSED'} ≤ {point.goal:g}"
    if count.unnoticed:
        text += f"  {count.unnoticed} taken for right"
    return f"{text}  {seconds:.0f} s"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", default="", help="points whose name has this in it")
    parser.add_argument("--scale", type=float, default=1.0, help="times as many frames")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}, frames × {arguments.scale:g}; tried, wrong, rate, reference")
    for point in points():
        if arguments.only not in point.name:
            continue
        begun = time.process_time()
        rng = np.random.default_rng(arguments.seed)
        tried = max(1, round(point.tried * arguments.scale))
        count = point.measure(point.ebn0_db, tried, rng)
        print(line(point, count, time.process_time() - begun), flush=True)


if __name__ == "__main__":
    main()
