"""CADUs to packets: marker, derandomiser, Reed-Solomon, FECF, extraction, one core.

Yamcs decodes such a link at 47 Mbit/s (5.12.8, measured once on this kind of machine); it is not on
the package registries, so the table names it as missing.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Callable, Iterable

import crcmod.predefined
import numpy as np

from ground.receive.chain import ReceiveChain
from ground.receive.profile import LinkProfile, load_profile
from protocols.coding.randomiser import randomise
from protocols.coding.reed_solomon import ReedSolomon
from protocols.frames.parameters import FrameParameters
from protocols.packets.assembly import FrameMultiplexer
from protocols.packets.space_packet import SpacePacket, build_packet
from tests.benchmarks.harness import Case, PeerMissing

FRAMES = 12_000
MARKER = bytes.fromhex("1ACFFC1D")


def _link(symbol_errors: int) -> tuple[np.ndarray, int]:
    """CADUs of the L4 relay's link full of packets, uint8 [n, 1279], and octets of packets."""
    rng = np.random.default_rng(1)
    parameters = FrameParameters(kind="aos", frame_length=1115, fecf="crc16", ocf=True, scid=0x4C)
    multiplexer = FrameMultiplexer(parameters)
    total = 0
    count = 0
    while total < FRAMES * 1099:
        data = rng.bytes(int(rng.integers(40, 400)))
        packet = build_packet(SpacePacket(16 + count % 20, data, sequence_count=count & 0x3FFF))
        multiplexer.push(count % 4, packet)
        total += len(packet)
        count += 1
    frames = multiplexer.take()
    blocks = randomise(ReedSolomon(interleave=5).encode(frames), "ccsds")
    marker = np.broadcast_to(np.frombuffer(MARKER, np.uint8), (len(blocks), 4))
    cadus = np.ascontiguousarray(np.concatenate([marker, blocks], axis=1))
    if symbol_errors:
        for row in cadus:
            for codeword in range(5):
                at = rng.choice(255, symbol_errors, replace=False) * 5 + codeword + 4
                row[at] ^= rng.integers(1, 256, symbol_errors, dtype=np.uint8)
    return cadus, len(frames)


#: Code, frame length, and the part of the channel's bits that arrive wrong.
CODES: tuple[tuple[str, dict[str, str | int], int, float], ...] = (
    ("turbo 1/6", {"turbo": "1/6"}, 1115, 0.15),
    ("turbo 1/2", {"turbo": "1/2"}, 1115, 0.03),
    ("LDPC AR4JA 1/2 1024", {"ldpc": "AR4JA 1/2 1024"}, 128, 0.03),
    ("LDPC AR4JA 1/2 16384", {"ldpc": "AR4JA 1/2 16384"}, 2048, 0.03),
    ("LDPC C2", {"ldpc": "C2"}, 892, 0.002),
    ("sliced LDPC C2", {"ldpc": "C2", "ldpc_slice": 4}, 1115, 0.002),
)


def _coded(
    flags: dict[str, str | int], length: int, wrong: float
) -> tuple[LinkProfile, np.ndarray]:
    """Profile, and octets of a link with turbo or LDPC codes, two megabits of frames."""
    profile = load_profile(
        frames="aos",
        frame_length=length,
        fecf="present",
        ocf="absent",
        scid=0x4C,
        content="packets",
        randomiser="ccsds",
        **flags,
    )
    rng = np.random.default_rng(2)
    multiplexer = FrameMultiplexer(profile.frame_parameters())
    for count in range(800):
        multiplexer.push(1, build_packet(SpacePacket(5, rng.bytes(320), sequence_count=count)))
    frames = multiplexer.take(fill=True)
    coding = profile.coding.codeblocks
    assert coding is not None
    if coding.sliced:
        marker = np.frombuffer(profile.coding.asm, np.uint8)
        stream = np.concatenate([np.concatenate([marker, frame]) for frame in frames])
        stream = np.pad(stream, (0, -len(stream) % coding.data_length))
        frames = stream.reshape(-1, coding.data_length)
    bits = coding.encode(frames).ravel()
    return profile, np.packbits(bits ^ (rng.random(bits.size) < wrong))


def _ours(stream: np.ndarray, profile: LinkProfile | None = None) -> list[bytes]:
    chain = ReceiveChain(profile or load_profile("l4_relay"))
    found: list[np.ndarray] = []
    for start in range(0, len(stream), 1 << 20):
        found.append(chain.push(stream[start : start + (1 << 20)], 0).packets.octets)
    found.append(chain.finish().packets.octets)
    return found


def _numpy_and_libfec(cadus: np.ndarray) -> Callable[[], object]:
    """What one would write with NumPy, libfec and crcmod: frames by fixed stride, no resync."""
    name = ctypes.util.find_library("fec")
    if name is None:
        raise PeerMissing("libfec (make tools)")
    decode = ctypes.CDLL(name).decode_rs_ccsds
    crc = crcmod.predefined.mkCrcFun("crc-ccitt-false")
    sequence = np.unpackbits(
        np.frombuffer(bytes(randomise(np.zeros((1, 1275), np.uint8), "ccsds")[0]), np.uint8)
    )
    sequence = np.packbits(sequence)

    def run() -> list[bytes]:
        blocks = cadus[:, 4:] ^ sequence
        pending: dict[int, bytearray] = {}
        found: list[bytes] = []
        for block in blocks:
            words = np.ascontiguousarray(block.reshape(255, 5).T)
            for word in words:
                decode(word.ctypes.data_as(ctypes.c_char_p), None, 0, 0)
            frame = np.ascontiguousarray(words[:, :223].T).tobytes()
            if crc(frame):
                continue
            vcid = frame[1] & 0x3F
            pointer = int.from_bytes(frame[6:8], "big") & 0x7FF
            zone = frame[8:1109]
            held = pending.setdefault(vcid, bytearray())
            if not held and pointer < 0x7FE:
                zone = zone[pointer:]
            held += zone
            while len(held) > 6:
                length = int.from_bytes(held[4:6], "big") + 7
                if len(held) < length:
                    break
                found.append(bytes(held[:length]))
                del held[:length]
        return found

    return run


def _yamcs() -> Callable[[], object]:
    raise PeerMissing("a Java program, not on the package registries; 47 Mbit/s when measured")


def _equal(ours: object, peer: object) -> bool:
    """Same octets in packets, virtual channels aside (the order of completion is the same)."""
    return b"".join(part.tobytes() for part in ours) == b"".join(peer)  # type: ignore[attr-defined]


def cases() -> Iterable[Case]:
    for errors in (0, 1, 8):
        cadus, frames = _link(errors)
        stream = cadus.reshape(-1)
        few = cadus[:600]
        yield Case(
            name=f"CADUs to packets, {errors} symbol errors a codeword",
            units=frames * 1279 * 8,
            unit="Mbit/s",
            ours=lambda stream=stream: _ours(stream),
            peers={
                "NumPy + libfec + crcmod": lambda few=few: _numpy_and_libfec(few),
                "Yamcs": _yamcs,
            },
            peer_units={"NumPy + libfec + crcmod": len(few) * 1279 * 8},
            goals={"Yamcs": 50.0},
            goal_rate=2400.0 if errors == 0 else None,
        )
    small = few.reshape(-1)
    assert _equal(_ours(small), _numpy_and_libfec(few)())
    for name, flags, length, wrong in CODES:
        profile, stream = _coded(flags, length, wrong)
        yield Case(
            name=f"CADUs to packets, {name}, {100 * wrong:g} % wrong bits, bits of packets",
            units=800 * 8 * 326,
            unit="Mbit/s",
            ours=lambda stream=stream, profile=profile: _ours(stream, profile),
            goal_rate=1.0,
        )
