"""Channel coding and time codes beside named peers.

    .venv/bin/python -m tests.benchmarks --only bench_coding
    .venv/bin/python tests/benchmarks/bench_coding.py

libfec (Debian's libfec-dev) and crcmod are called once a codeword or frame, as their users do; what
the call from Python costs is below a tenth of what they compute.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import crcmod
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from protocols.coding.crc import CRC32, crc16_batch, crc32_batch
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.coding.sync import ASM, FrameSynchroniser
from protocols.timecodes.cds import CdsFormat
from tests.benchmarks.harness import Case, PeerMissing, measure

FRAMES, LENGTH, DEPTH = 2_000, 1_115, 5
CODEWORDS = FRAMES * DEPTH


def _libfec() -> ctypes.CDLL:
    name = ctypes.util.find_library("fec")
    if name is None:
        raise PeerMissing("libfec")
    return ctypes.CDLL(name)


def _random(rows: int, columns: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns), np.uint8)


def crc() -> Iterable[Case]:
    frames = _random(FRAMES, LENGTH)
    octets = [row.tobytes() for row in frames]

    def crcmod_16() -> Callable[[], object]:
        function = crcmod.predefined.mkCrcFun("crc-ccitt-false")
        return lambda: [function(frame) for frame in octets]

    def crcmod_32() -> Callable[[], object]:
        function = crcmod.mkCrcFun(CRC32.polynomial, initCrc=0, rev=False, xorOut=0)
        return lambda: [function(frame) for frame in octets]

    def fastcrc_16() -> Callable[[], object]:
        try:
            from fastcrc import crc16
        except ImportError as error:
            raise PeerMissing("fastcrc") from error
        return lambda: [crc16.ibm_3740(frame) for frame in octets]

    def same(ours: object, theirs: object) -> bool:
        return np.array_equal(ours, theirs)  # type: ignore[arg-type]

    yield Case(
        f"CRC-16 of {LENGTH}-octet frames",
        frames.nbytes,
        "MB/s",
        lambda: crc16_batch(frames),
        {"crcmod": crcmod_16, "fastcrc": fastcrc_16},
        equal=same,
        goals={"crcmod": 10},
    )
    yield Case(
        f"CRC-32 (USLP) of {LENGTH}-octet frames",
        frames.nbytes,
        "MB/s",
        lambda: crc32_batch(frames),
        {"crcmod": crcmod_32},
        equal=same,
        goals={"crcmod": 10},
    )


def reed_solomon(basis: Literal["dual", "conventional"]) -> Iterable[Case]:
    code = ReedSolomon(interleave=DEPTH, basis=basis)
    # libfec's names: ccsds is the dual basis, 8 the same code in the conventional one.
    suffix = "ccsds" if basis == "dual" else "8"
    data = _random(FRAMES, code.data_length, 2)
    blocks = code.encode(data)
    bits = 8 * data.size

    def libfec_encode() -> Callable[[], object]:
        encode = getattr(_libfec(), f"encode_rs_{suffix}")
        rows = [row[c::DEPTH].tobytes() for row in data for c in range(DEPTH)]
        check = ctypes.create_string_buffer(32)

        def work() -> object:
            out: list[bytes] = []
            for row in rows:
                encode(row, check, 0)
                out.append(check.raw)
            return out

        return work

    def same_parity(ours: object, theirs: object) -> bool:
        parity = np.asarray(ours)[:, code.data_length :].reshape(FRAMES, 32, DEPTH)
        return parity.transpose(0, 2, 1).tobytes() == b"".join(theirs)  # type: ignore[arg-type]

    yield Case(
        f"Reed–Solomon (255,223) ×5, {basis} basis, encoding",
        bits,
        "Mbit/s",
        lambda: code.encode(data),
        {"libfec": libfec_encode},
        equal=same_parity,
    )
    # The goals are a prototype's rates; libfec did 177, 124 and 95 Mbit/s beside it.
    for errors, goal, ratio in ((0, 3470.0, 20), (8, 916.0, 7), (16, 576.0, 6)):
        rng = np.random.default_rng(errors)
        received = blocks.reshape(FRAMES, 255, DEPTH).transpose(0, 2, 1).reshape(CODEWORDS, 255)
        received = received.copy()
        for row in received:
            row[rng.choice(255, errors, replace=False)] ^= rng.integers(1, 256, errors, np.uint8)
        interleaved = np.ascontiguousarray(
            received.reshape(FRAMES, DEPTH, 255).transpose(0, 2, 1)
        ).reshape(FRAMES, code.block_length)
        rows = [row.tobytes() for row in received]

        def libfec_decode(rows: list[bytes] = rows) -> Callable[[], object]:
            decode = getattr(_libfec(), f"decode_rs_{suffix}")
            buffer = ctypes.create_string_buffer(255)

            def work() -> object:
                out: list[bytes] = []
                for row in rows:
                    buffer.raw = row
                    decode(buffer, None, 0, 0)
                    out.append(buffer.raw)
                return out

            return work

        def same_data(ours: object, theirs: object) -> bool:
            corrected = np.frombuffer(b"".join(theirs), np.uint8)  # type: ignore[arg-type]
            corrected = corrected.reshape(FRAMES, DEPTH, 255)[:, :, :223].transpose(0, 2, 1)
            return np.array_equal(ours, corrected.reshape(FRAMES, -1))  # type: ignore[arg-type]

        yield Case(
            f"Reed–Solomon (255,223) ×5, {basis} basis, {errors} errors a codeword",
            bits,
            "Mbit/s",
            lambda interleaved=interleaved: code.decode(interleaved).data,
            {"libfec": libfec_decode},
            equal=same_data,
            goals={"libfec": ratio},
            goal_rate=goal,
        )


def randomiser() -> Iterable[Case]:
    frames = _random(FRAMES, LENGTH, 3)
    target = np.empty_like(frames)
    yield Case(
        "randomiser",
        frames.nbytes,
        "GB/s",
        lambda: randomise(frames),
        {"memory copy": lambda: lambda: np.copyto(target, frames)},
        scale=1e9,
    )


def synchroniser() -> Iterable[Case]:
    frames = _random(10 * FRAMES, LENGTH, 4)
    lead = np.tile(np.frombuffer(ASM, np.uint8), (len(frames), 1))
    aligned = np.hstack([lead, frames]).reshape(-1)
    shifted = np.packbits(np.concatenate([np.zeros(3, np.uint8), np.unpackbits(aligned)]))

    def run(stream: np.ndarray, chunk: int) -> np.ndarray:
        synchroniser = FrameSynchroniser(ASM, LENGTH)
        parts = [
            synchroniser.push(stream[at : at + chunk]).frames for at in range(0, len(stream), chunk)
        ]
        parts.append(synchroniser.finish().frames)
        return np.concatenate(parts) if chunk > len(stream) else parts[0]

    def by_find() -> Callable[[], object]:
        """What a receiver without a synchroniser does: octet-aligned, exact markers only."""
        octets = aligned.tobytes()

        def work() -> object:
            out: list[bytes] = []
            at = octets.find(ASM)
            while at >= 0:
                out.append(octets[at + 4 : at + 4 + LENGTH])
                at = octets.find(ASM, at + 4 + LENGTH)
            return out

        return work

    def same(ours: object, theirs: object) -> bool:
        del ours
        whole = run(aligned, 1 << 30)
        return whole.tobytes() == b"".join(theirs)  # type: ignore[arg-type]

    for name, stream in (("octet-aligned", aligned), ("shifted by 3 bits", shifted)):
        for chunk in (1 << 16, 1 << 20):
            yield Case(
                f"synchroniser in lock, {name}, chunks of {chunk >> 10} KiB",
                stream.nbytes,
                "GB/s",
                lambda stream=stream, chunk=chunk: run(stream, chunk),
                {"bytes.find": by_find} if stream is aligned else {},
                scale=1e9,
                equal=same,
                goal_rate=2.0,
            )
    noise = _random(1, 4_000_000, 5).reshape(-1)
    yield Case(
        "synchroniser searching noise, any bit, either polarity, 2 errors",
        8 * noise.size,
        "Mbit/s",
        lambda: FrameSynchroniser(ASM, LENGTH).push(noise),
    )


def time_codes() -> Iterable[Case]:
    agreed = CdsFormat(p_field=True)
    rng = np.random.default_rng(6)
    days, counts = rng.integers(20_000, 25_000, 5_000), rng.integers(0, 86_400_000, 5_000)
    stamps = [
        bytes([0x40]) + int(day).to_bytes(2, "big") + int(ms).to_bytes(4, "big")
        for day, ms in zip(days, counts, strict=True)
    ]
    octets = np.frombuffer(b"".join(stamps), np.uint8).reshape(-1, 7)

    def spacepackets() -> Callable[[], object]:
        try:
            from spacepackets.ccsds.time import CdsShortTimestamp
        except ImportError as error:
            raise PeerMissing("spacepackets") from error
        return lambda: [CdsShortTimestamp.unpack(stamp) for stamp in stamps]

    def same(ours: object, theirs: object) -> bool:
        days = [(stamp.ccsds_days, stamp.ms_of_day) for stamp in theirs]  # type: ignore[attr-defined]
        back = [agreed.build(int(ns)) for ns in np.asarray(ours)]
        return back == [
            bytes([0x40]) + day.to_bytes(2, "big") + ms.to_bytes(4, "big") for day, ms in days
        ]

    yield Case(
        "CDS time codes to TAI",
        len(stamps),
        "M/s",
        lambda: agreed.decode(octets),
        {"spacepackets": spacepackets},
        equal=same,
    )


def cases() -> Iterable[Case]:
    yield from crc()
    yield from reed_solomon("dual")
    yield from reed_solomon("conventional")
    yield from randomiser()
    yield from synchroniser()
    yield from time_codes()


def main() -> None:
    for case in cases():
        result = measure(case)
        peers = "; ".join(
            f"{name} {rate / case.scale:.4g}, ratio {result.ratios[name]:.3g}"
            for name, rate in result.peers.items()
        )
        missing = "".join(f"; {name} missing: {why}" for name, why in result.missing.items())
        goal = f"; goal {case.goal_rate:g}" if case.goal_rate else ""
        print(f"{case.name}: {result.rate / case.scale:.4g} {case.unit}; {peers}{missing}{goal}")


if __name__ == "__main__":
    main()
