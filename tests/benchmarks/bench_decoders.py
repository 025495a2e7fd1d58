"""Soft decoders beside named peers: Viterbi (GNU Radio, libfec), LDPC (ldpc), turbo (IT++).

    .venv/bin/python -m tests.benchmarks --only bench_decoders

GNU Radio is Debian's package, run by the system's Python in a process of its own, IT++ Debian's
libitpp-dev, called by a program compiled here; libfec is called through ctypes, ldpc is from PyPI.
The Viterbi decoders get soft symbols quantised as they want them, ours gets float32.
"""

from __future__ import annotations

import atexit
import ctypes
import ctypes.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from protocols.coding.convolutional import ConvolutionalCode, ViterbiDecoder
from protocols.coding.ldpc import LdpcCode
from protocols.coding.turbo import TurboCode, permutation
from tests.benchmarks.harness import Case, PeerMissing

HERE = Path(__file__).resolve().parent
BITS = 2_400_000
#: Codewords that the slow peers are given.
SOME, FEW = 60, 4
#: Noise at which none of the decoders errs on these bits, so that all outputs are the data.
SIGMA = 0.5


def _libfec() -> ctypes.CDLL:
    name = ctypes.util.find_library("fec")
    if name is None:
        raise PeerMissing("libfec (Debian libfec0)")
    library = ctypes.CDLL(name)
    library.create_viterbi27.restype = ctypes.c_void_p
    library.init_viterbi27.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.update_viterbi27_blk.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
    library.chainback_viterbi27.argtypes = [
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_uint,
        ctypes.c_uint,
    ]
    return library


def _octets(symbols: np.ndarray) -> np.ndarray:
    return np.clip(np.round(127.5 - 50 * symbols), 0, 255).astype(np.uint8)


def _scratch() -> Path:
    scratch = Path(tempfile.mkdtemp(prefix="bench-decoders-"))
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    return scratch


def _process(command: list[str], bits: Path, name: str) -> Callable[[], object]:
    """Starts a peer's process; each call decodes all symbols once, and gives `bits`."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    atexit.register(process.kill)
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline() != "ready\n":
        raise PeerMissing(name)

    def work() -> np.ndarray:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        process.stdout.readline()  # type: ignore[union-attr]
        return np.fromfile(bits, np.uint8)

    return work


def _gnuradio(soft: np.ndarray) -> Callable[[], object]:
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        raise PeerMissing("GNU Radio (a system Python)")
    scratch = _scratch()
    soft.tofile(scratch / "soft")
    bits = scratch / "bits"
    script = str(HERE / "peer_gnuradio_viterbi.py")
    command = [python, script, str(scratch / "soft"), str(bits)]
    return _process(command, bits, "GNU Radio (Debian gnuradio)")


def _itpp(length: int, symbols: np.ndarray, sigma: float) -> Callable[[], object]:
    """IT++ with log-MAP, 25 iterations at most and its own stopping rule, of codewords of rate 1/3.

    It wants the tails one after the other, and the data bits of the second too, which are not sent.
    """
    scratch = _scratch()
    program, bits = scratch / "peer", scratch / "bits"
    source = str(HERE / "peer_itpp_turbo.cpp")
    flags = ["-O3", "-march=native", "-litpp", "-o", str(program)]
    try:
        subprocess.run(["g++", source, *flags], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerMissing("IT++ (Debian libitpp-dev, g++)") from error
    body, tail = symbols[:, : 3 * length], symbols[:, 3 * length :].reshape(-1, 4, 3)
    second = np.stack((np.zeros_like(tail[..., 2]), tail[..., 2]), axis=-1)
    parts = (body, tail[..., :2].reshape(-1, 8), second.reshape(-1, 8))
    np.concatenate(parts, axis=1).astype(np.float64).tofile(scratch / "soft")
    permutation(length).tofile(scratch / "order")
    files = (str(scratch / "order"), str(scratch / "soft"), str(bits))
    return _process([str(program), str(length), *files, str(sigma)], bits, "IT++")


def viterbi() -> Iterable[Case]:
    rng = np.random.default_rng(1)
    data = rng.integers(0, 256, BITS // 8, np.uint8)
    code = ConvolutionalCode()
    symbols = 1 - 2.0 * code.encode(data) + rng.normal(0, SIGMA, 2 * BITS)
    symbols = symbols.astype(np.float32)

    def ours() -> np.ndarray:
        decoder = ViterbiDecoder(code)
        return np.concatenate((decoder.push(symbols), decoder.finish()))

    def equal(got: object, theirs: object) -> bool:
        """GNU Radio keeps back its last frame; libfec gives octets, GNU Radio a bit an octet."""
        peer = np.asarray(theirs)
        if peer.max() <= 1:
            peer = np.packbits(peer)
        same = np.array_equal(np.asarray(got)[: len(peer)], peer)
        return same and len(peer) > 0.95 * len(data) and np.array_equal(np.asarray(got), data)

    block = 8_000

    def libfec() -> Callable[[], object]:
        """Blocks of 1,000 octets, each told its first and its last state."""
        library = _libfec()
        # libfec wants G2 first, and nothing inverted.
        pairs = (symbols.reshape(-1, 2) * (1, -1))[:, ::-1]
        soft = np.ascontiguousarray(_octets(pairs)).reshape(-1, 2 * block)
        ends = [0, *(int(octet) & 63 for octet in data[block // 8 - 1 :: block // 8])]
        handle = library.create_viterbi27(block)
        out = np.empty((len(soft), block // 8), np.uint8)
        buffer = ctypes.create_string_buffer(block // 8)

        def work() -> object:
            for i, row in enumerate(soft):
                library.init_viterbi27(handle, ends[i])
                library.update_viterbi27_blk(handle, row.ctypes.data, block)
                library.chainback_viterbi27(handle, buffer, block - 6, ends[i + 1])
                out[i] = np.frombuffer(buffer, np.uint8)
                # The last six bits are the state that it was told.
                out[i, -1] = (out[i, -1] & 0xC0) | ends[i + 1]
            return out.ravel()

        return work

    yield Case(
        "Viterbi k=7 r=1/2, soft float32",
        BITS,
        "Mbit/s",
        ours,
        {"GNU Radio": lambda: _gnuradio(_octets(symbols)), "libfec": libfec},
        equal=equal,
        peer_units={"GNU Radio": BITS},
        goals={"GNU Radio": 1, "libfec": 3},
    )
    eight_bits = np.clip(np.round(40 * symbols), -127, 127).astype(np.int8)
    yield Case(
        "Viterbi k=7 r=1/2, soft int8, segments of 4,096 bits",
        BITS,
        "Mbit/s",
        lambda: ViterbiDecoder(code, segment_bits=4096).push(eight_bits),
    )
    for chunk in (4096, 65536):
        yield Case(
            f"Viterbi k=7 r=1/2, pushes of {chunk} symbols",
            BITS,
            "Mbit/s",
            lambda chunk=chunk: _pushed(ViterbiDecoder(code), symbols, chunk),
        )
    for rate in ("3/4", "7/8"):
        punctured = ConvolutionalCode(rate)  # type: ignore[arg-type]
        sent = (1 - 2.0 * punctured.encode(data)).astype(np.float32)
        yield Case(
            f"Viterbi k=7 punctured {rate}",
            BITS,
            "Mbit/s",
            lambda sent=sent, punctured=punctured: ViterbiDecoder(punctured).push(sent),
        )
    encoded = np.resize(data, (269, 1115))
    yield Case(
        "convolutional encoder r=1/2, frames of 1,115 octets",
        8 * encoded.size,
        "Mbit/s",
        lambda: code.encode(encoded),
    )


def _pushed(decoder: ViterbiDecoder, symbols: np.ndarray, chunk: int) -> None:
    for at in range(0, len(symbols), chunk):
        decoder.push(symbols[at : at + chunk])


def ldpc() -> Iterable[Case]:
    settings = (
        ("AR4JA 1/2 1024", 2.5, 4096),
        ("AR4JA 1/2 1024", 1.75, 2048),
        ("AR4JA 2/3 1024", 2.6, 4096),
        ("AR4JA 4/5 1024", 4.0, 4096),
        ("AR4JA 1/2 4096", 1.5, 512),
        ("AR4JA 1/2 16384", 1.2, 64),
        ("C2", 4.0, 512),
    )
    for name, ebn0_db, n in settings:
        code = LdpcCode(name)
        rng = np.random.default_rng(2)
        data = rng.integers(0, 256, (n, code.data_length), np.uint8)
        sent = np.unpackbits(code.encode(data), axis=1)
        rate = code.data_length / code.block_length
        variance = 0.5 / rate * 10 ** (-ebn0_db / 10)
        noise = rng.standard_normal(sent.shape, np.float32)
        symbols = (1 - 2 * sent.astype(np.float32)) + np.float32(variance**0.5) * noise

        def package(
            code: LdpcCode = code,
            symbols: np.ndarray = symbols[:SOME],
            variance: float = variance,
        ) -> Callable[[], object]:
            """The PyPI package `ldpc`: hard decisions and the probability of each being wrong."""
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
                max_iter=100,
                bp_method="minimum_sum",
                ms_scaling_factor=0.75,
                input_vector_type="received_vector",
            )
            received = np.zeros((len(symbols), shape[1]), np.uint8)
            wrong = np.full((len(symbols), shape[1]), 0.5)
            received[:, : symbols.shape[1]] = symbols < 0
            ratios = 2 * np.abs(symbols.astype(np.float64)) / variance
            wrong[:, : symbols.shape[1]] = 1 / (1 + np.exp(ratios))

            def work() -> object:
                out: list[np.ndarray] = []
                for bits, probability in zip(received, wrong, strict=True):
                    decoder.update_channel_probs(probability)
                    out.append(decoder.decode(bits)[: 8 * code.data_length])
                return np.packbits(np.array(out), axis=1)

            return work

        def equal(ours: object, theirs: object) -> bool:
            return np.array_equal(np.asarray(ours)[:SOME], np.asarray(theirs))

        with_peer = (name, ebn0_db) == ("AR4JA 1/2 1024", 2.5)
        yield Case(
            f"LDPC {name} at {ebn0_db} dB",
            8 * data.size,
            "Mbit/s",
            lambda code=code, symbols=symbols: code.decode(symbols).data,
            {"ldpc": package} if with_peer else {},
            equal=equal,
            peer_units={"ldpc": 8 * SOME * code.data_length},
            goals={"ldpc": 4} if with_peer else {},
            goal_rate=1.0,
        )
    code = LdpcCode("AR4JA 1/2 1024")
    data = np.random.default_rng(3).integers(0, 256, (2048, 128), np.uint8)
    yield Case("LDPC AR4JA 1/2 1024, encoder", 8 * data.size, "Mbit/s", lambda: code.encode(data))


def turbo() -> Iterable[Case]:
    """Near the Eb/N0 where one codeword in a hundred fails, and where next to none does."""
    for rate, length, ebn0_db, n in (
        ("1/2", 8920, 0.9, 128),
        ("1/2", 8920, 1.5, 256),
        ("1/3", 8920, 1.0, 256),
        ("1/4", 8920, 0.0, 128),
        ("1/6", 8920, -0.3, 128),
        ("1/6", 8920, 0.5, 256),
        ("1/2", 1784, 1.3, 1024),
    ):
        code = TurboCode(rate, length)  # type: ignore[arg-type]
        rng = np.random.default_rng(4)
        data = rng.integers(0, 256, (n, code.data_length), np.uint8)
        sent = code.encode(data)
        sigma = (0.5 * int(rate[2:]) * 10 ** (-ebn0_db / 10)) ** 0.5
        noise = rng.standard_normal(sent.shape, np.float32)
        symbols = (1 - 2 * sent.astype(np.float32)) + np.float32(sigma) * noise
        with_peer = rate == "1/3"

        def itpp(
            length: int = length, symbols: np.ndarray = symbols[:FEW], sigma: float = sigma
        ) -> Callable[[], object]:
            return _itpp(length, symbols, sigma)

        def equal(ours: object, theirs: object) -> bool:
            return np.array_equal(np.asarray(ours)[:FEW].ravel(), np.packbits(np.asarray(theirs)))

        yield Case(
            f"turbo {rate}, {length} bits at {ebn0_db} dB",
            8 * data.size,
            "Mbit/s",
            lambda code=code, symbols=symbols: code.decode(symbols).data,
            {"IT++": itpp} if with_peer else {},
            equal=equal,
            peer_units={"IT++": FEW * length},
            goal_rate=1.0,
        )
    code = TurboCode("1/2", 8920)
    one = code.encode(np.random.default_rng(5).integers(0, 256, (1, 1115), np.uint8))
    symbol = (1 - 2 * one.astype(np.float32)) + np.float32(0.7) * np.random.default_rng(
        6
    ).standard_normal(one.shape, np.float32)
    yield Case(
        "turbo 1/2, 8920 bits, codewords one by one",
        code.length,
        "Mbit/s",
        lambda: code.decode(symbol).data,
    )
    data = np.random.default_rng(7).integers(0, 256, (256, 1115), np.uint8)
    yield Case("turbo 1/2, 8920 bits, encoder", 8 * data.size, "Mbit/s", lambda: code.encode(data))


def cases() -> Iterable[Case]:
    yield from viterbi()
    yield from ldpc()
    yield from turbo()
