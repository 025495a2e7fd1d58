"""The chain: the same for every cut, from every snapshot; whatever comes in is counted.

Frames recorded and published by Daniel Estévez, CC BY 4.0 (see the README of the shared captures).
"""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput, OcfRuns
from ground.receive.profile import InputKind, LinkProfile, load_profile
from protocols.coding.randomiser import randomise
from protocols.errors import LocalError

MARS = "Mars2020__mars2020_frames.u8"
CHANGE5 = "CE5__ATA_2021-09-18__ce5_frames.u8"
QUEQIAO = "Queqiao__queqiao_rs_frames.u8"
KPLO = "KPLO__camras-2022_08_05_08_44_13_tlm_frames.u8"


class Link(NamedTuple):
    """Octets of a link and what must be known to decode them."""

    octets: bytes
    profile: LinkProfile
    input: InputKind


@cache
def captured(shared: Path, file: str, octets: int | None = None) -> bytes:
    return (shared / "captures" / file).read_bytes()[:octets]


@cache
def cadus(shared: Path, *, shift: int = 0, frames: int = 60) -> bytes:
    """Frames of Mars 2020, coded as the L4 relay's, behind noise, off the octets' grid."""
    code = load_profile("l4_relay").coding.reed_solomon
    assert code is not None
    data = np.frombuffer(captured(shared, MARS), np.uint8).reshape(-1, 1115)[-frames:]
    blocks = randomise(code.encode(data), "ccsds")
    noise = np.random.default_rng(4)
    # Up to 16 octets of a codeword are corrected: 3 in each of the five.
    for block in blocks:
        block[noise.choice(1275, 15, replace=False)] ^= noise.integers(1, 256, 15, np.uint8)
    marker = np.broadcast_to(np.frombuffer(bytes.fromhex("1acffc1d"), np.uint8), (frames, 4))
    stream = np.concatenate([marker, blocks], axis=1).ravel()
    stream = np.concatenate([noise.integers(0, 256, 100, np.uint8), stream, np.zeros(40, np.uint8)])
    if shift:
        bits = np.concatenate([np.ones(shift, np.uint8), np.unpackbits(stream)])
        stream = np.packbits(bits)
    return stream.tobytes()


def link(shared: Path, name: str) -> Link:
    coded = load_profile("l4_relay", scid=168, ocf="absent")
    return {
        "frames": lambda: Link(captured(shared, MARS), load_profile("mars2020"), "frames"),
        "surveyed": lambda: Link(
            captured(shared, CHANGE5), load_profile(frame_length=220, insert_zone=8), "frames"
        ),
        "codewords": lambda: Link(
            captured(shared, QUEQIAO, 252 * 900), load_profile("queqiao", scid="any"), "codewords"
        ),
        "cadu": lambda: Link(cadus(shared), coded, "cadu"),
        "shifted": lambda: Link(cadus(shared, shift=5), coded, "cadu"),
        "packets": lambda: Link(
            b"".join(packets_of(shared)), load_profile(input="packets"), "packets"
        ),
    }[name]()


LINKS = ("frames", "surveyed", "codewords", "cadu", "shifted", "packets")


@cache
def packets_of(shared: Path) -> tuple[bytes, ...]:
    data = captured(shared, MARS)
    chain = ReceiveChain(load_profile("mars2020"), input="frames")
    return tuple(chain.push(data, 0).packets)


def run(chain: ReceiveChain, pieces: Iterable[tuple[bytes, int]]) -> list[ChainOutput]:
    return [*(chain.push(octets, ert_ns) for octets, ert_ns in pieces), chain.finish()]


def outcome(outputs: list[ChainOutput], chain: ReceiveChain) -> dict[str, Any]:
    """Everything that came out, and every count."""
    packets = hashlib.sha256()
    for output in outputs:
        packets.update(np.ascontiguousarray(output.packets.octets))
    columns = {
        name: np.concatenate([getattr(output.packets, name) for output in outputs]).tolist()
        for name in ("length", "vcid", "ert_ns")
    }
    rejected: dict[str, list[tuple[bytes, int]]] = {}
    for one in (one for output in outputs for one in output.rejected):
        pairs = zip(one.frames, one.ert_ns.tolist(), strict=True)
        rejected.setdefault(one.reason, []).extend((f.tobytes(), ert) for f, ert in pairs)
    return {
        "packets": packets.hexdigest(),
        **columns,
        "opaque": [zone for output in outputs for zone in output.opaque],
        "rejected": rejected,
        "damaged": b"".join(part for output in outputs for part in output.damaged),
        "frames": sum(output.frames for output in outputs),
        "summary": chain.summary(),
        "statistics": chain.statistics(),
    }


def cut(octets: bytes, sizes: list[int]) -> list[bytes]:
    parts: list[bytes] = []
    at = 0
    for size in sizes:
        parts.append(octets[at : at + size])
        at += size
    return [*parts, octets[at:]]


SIZES = st.lists(
    st.one_of(st.integers(0, 9), st.integers(200, 1300), st.integers(5000, 90000)), max_size=25
)


@cache
def whole(shared: Path, name: str) -> dict[str, Any]:
    """The link decoded in one push."""
    octets, profile, kind = link(shared, name)
    chain = ReceiveChain(profile, input=kind)
    return outcome(run(chain, [(octets, 7)]), chain)


def test_what_the_links_hold(shared: Path) -> None:
    """The cases below compare something."""
    assert len(whole(shared, "frames")["length"]) == 813
    assert len(whole(shared, "surveyed")["length"]) == 2139
    assert len(whole(shared, "packets")["length"]) == 813
    assert len(whole(shared, "codewords")["rejected"]["uncorrectable"]) > 10


def test_what_the_coded_links_hold(shared: Path) -> None:
    for name in ("cadu", "shifted"):
        found = whole(shared, name)
        # The last 60 frames of the file: 4 of them failed their FECF when they were received.
        assert found["summary"]["frames"] == 60
        assert found["summary"]["crc_fail"] == 4
        assert found["summary"]["stages"]["coding"]["corrected_symbols"] == 60 * 15
    assert whole(shared, "shifted")["packets"] == whole(shared, "cadu")["packets"]


@settings(max_examples=25, deadline=None)
@given(sizes=SIZES)
@pytest.mark.parametrize("name", LINKS)
def test_any_cut_gives_the_same(name: str, sizes: list[int], shared: Path) -> None:
    octets, profile, kind = link(shared, name)
    chain = ReceiveChain(profile, input=kind)
    outputs = run(chain, [(part, 7) for part in cut(octets, sizes)])
    assert outcome(outputs, chain) == whole(shared, name)


@settings(max_examples=15, deadline=None)
@given(sizes=SIZES, stop=st.integers(0, 25))
@pytest.mark.parametrize("name", LINKS)
def test_a_snapshot_continues_as_if_nothing_had_been(
    name: str, sizes: list[int], stop: int, shared: Path
) -> None:
    octets, profile, kind = link(shared, name)
    parts = cut(octets, sizes)
    first = ReceiveChain(profile, input=kind)
    outputs = [first.push(part, 7) for part in parts[:stop]]
    state = msgpack.unpackb(msgpack.packb(first.snapshot()), strict_map_key=False)
    second = ReceiveChain(profile, input=kind)
    second.push(octets[:5000], 1)  # whatever it did before is forgotten
    second.restore(state)
    outputs += run(second, [(part, 7) for part in parts[stop:]])
    assert outcome(outputs, second) == whole(shared, name)


@settings(max_examples=20, deadline=None)
@given(sizes=SIZES)
@pytest.mark.parametrize("name", ["cadu", "shifted", "frames"])
def test_receive_times_follow_the_bit_rate(name: str, sizes: list[int], shared: Path) -> None:
    """1 Mbit/s is 8 µs an octet: each frame's time is that of its own first bit."""
    octets, profile, kind = link(shared, name)
    profile = replace(profile, bit_rate=1e6)
    chain = ReceiveChain(profile, input=kind)
    parts = cut(octets, sizes)
    starts = np.cumsum([0, *(len(part) for part in parts[:-1])]).tolist()
    chunks = [(part, 10**18 + 8000 * at) for part, at in zip(parts, starts, strict=True)]
    together = ReceiveChain(profile, input=kind)
    joined = outcome([together.push_chunks(chunks), together.finish()], together)
    outputs = run(chain, chunks)
    result = outcome(outputs, chain)
    assert joined == result
    times = {ert for one in result["rejected"]["crc_fail"] for ert in one[1:]} | set(
        result["ert_ns"]
    )
    if name == "frames":
        wanted = {10**18 + 8000 * 1115 * i for i in range(950)}
    else:
        # 100 octets of noise, then markers of 4 octets and blocks of 1275; a bit lasts 1 µs.
        shift = 5000 if name == "shifted" else 0
        wanted = {10**18 + shift + 8000 * (104 + 1279 * i) for i in range(60)}
    assert times <= wanted
    assert len(times) > len(wanted) // 2


def test_without_a_bit_rate_a_frame_has_the_time_of_its_chunk(shared: Path) -> None:
    octets, profile, kind = link(shared, "frames")
    chain = ReceiveChain(profile, input=kind)
    # The second chunk begins within the third frame, which therefore belongs to the first.
    first, second = chain.push(octets[:2500], 100), chain.push(octets[2500:4460], 200)
    assert (first.frames, second.frames) == (2, 2)
    assert set(first.packets.ert_ns) | set(second.packets.ert_ns) == {100, 200}
    assert set(first.packets.ert_ns) == {100}
    third = [
        ert
        for p, ert in zip(second.packets, second.packets.ert_ns, strict=True)
        if p in octets[2230:3345]
    ]
    assert set(third) <= {100}


def test_an_empty_chunk_tells_no_time(shared: Path) -> None:
    octets, profile, kind = link(shared, "frames")
    chain = ReceiveChain(profile, input=kind)
    first = chain.push_chunks([(octets[:2230], 100)])
    second = chain.push_chunks([(b"", 5), (octets[2230:22300], 100)])
    assert first.frames + second.frames == 20
    assert set(first.packets.ert_ns) | set(second.packets.ert_ns) == {100}


def test_rejected_frames_are_handed_out_as_they_came(shared: Path) -> None:
    octets, profile, kind = link(shared, "frames")
    chain = ReceiveChain(profile, input=kind)
    rejected = chain.push(octets, 0).rejected
    assert {one.reason for one in rejected} == {"crc_fail"}
    wanted = [octets[i * 1115 : (i + 1) * 1115] for i in (927, 928, 929, 949)]
    assert [frame.tobytes() for one in rejected for frame in one.frames] == wanted
    foreign = ReceiveChain(load_profile("danuri"), input="frames")
    octets = captured(shared, KPLO)
    (one,) = foreign.push(octets, 0).rejected
    assert one.reason == "foreign"
    assert one.frames.tobytes() == octets[711 * 220 : 712 * 220]


def test_snapshot_refuses_what_does_not_fit(shared: Path) -> None:
    octets, profile, kind = link(shared, "frames")
    chain = ReceiveChain(profile, input=kind)
    chain.push(octets[:5000], 0)
    state = chain.snapshot()
    for other in (
        ReceiveChain(load_profile("mars2020", scid=3), input=kind),
        ReceiveChain(profile, input="cadu"),
    ):
        with pytest.raises(LocalError, match="another link profile"):
            other.restore(state)
    with pytest.raises(LocalError, match="digests"):
        ReceiveChain(profile, input=kind, digests=True).snapshot()
    with pytest.raises(LocalError, match="no frame length"):
        ReceiveChain(load_profile(input="packets"), input="frames")


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(st.binary(max_size=3000), max_size=6),
    name=st.sampled_from(["danuri", "aditya_l1", "queqiao", "l4_relay", "flags", "uslp"]),
    kind=st.sampled_from(["cadu", "codewords", "frames", "packets"]),
)
def test_noise_is_counted_and_raises_nothing(
    parts: list[bytes], name: str, kind: InputKind
) -> None:
    profile = {
        "flags": lambda: load_profile(frame_length=64, packet_versions="0,7"),
        "uslp": lambda: load_profile(frames="uslp", frame_length=64, fecf="crc32"),
    }.get(name, lambda: load_profile(name))()
    chain = ReceiveChain(profile, input=kind, digests=True)
    outputs = run(chain, [(part, 0) for part in parts])
    account(outputs, chain, b"".join(parts))


def account(outputs: list[ChainOutput], chain: ReceiveChain, octets: bytes) -> None:
    """Nothing is lost: each frame and each octet of a data field is under exactly one count."""
    counts = chain.statistics().counts
    assert counts["input"]["octets"] == len(octets)
    if chain.input == "packets":
        packets = sum(len(output.packets.octets) for output in outputs)
        damaged = sum(len(part) for output in outputs for part in output.damaged)
        assert packets + damaged + counts["input"]["held"] == len(octets)
        assert damaged == counts["input"].get("damaged_octets", 0)
        return
    frames = counts["frames"]
    assert frames["frames"] == sum(output.frames for output in outputs)
    for reason in ("uncorrectable", "crc_fail", "foreign", "malformed"):
        handed = [r for output in outputs for r in output.rejected if r.reason == reason]
        assert sum(len(r.frames) for r in handed) == frames[reason]
    taken = sum(vc["frames"] for vc in chain.statistics().virtual_channels.values())
    assert taken == frames["good"] - frames["channels_refused"]
    if chain.input != "cadu":
        block = (
            chain.profile.block_length if chain.input == "codewords" else chain.profile.frame_length
        )
        assert frames["frames"] * block + counts["input"]["held"] == len(octets)
    summary = chain.summary()
    packets = sum(len(output.packets) for output in outputs)
    counted = [vc["space_packets"] + vc.get("other_packets", 0) for vc in summary["vcs"].values()]
    if not any("/" in name for name in summary["vcs"]):
        assert sum(counted) == packets


#: Real captures as they are mutated, and how much of them; a million octets together are hit.
MUTATED = [
    (MARS, "mars2020", "frames"),
    ("STEREO-A__stereo-a_bg2bhc_frames_20220924_1035.raw", "stereo_a", "frames"),
    ("ArtemisI__equl_frames.u8", "equuleus", "frames"),
    (CHANGE5, "change5", "frames"),
    (KPLO, "danuri", "frames"),
    ("Aditya-L1__aditya_frames.u8", "aditya_l1", "frames"),
    ("Lucy__lucy_frames_eb3frn_20211020_235911.u8", "lucy", "frames"),
    (
        "Tianwen-2__tw2-lowdr_2026_06_08_13_21_35_8428.159MHz_1.00Msps_ci16_le_frames.u8",
        "tianwen2",
        "frames",
    ),
    (QUEQIAO, "queqiao", "codewords"),
    ("coded", "l4_relay", "cadu"),
]
HITS_EACH = 100_000


def mutate(octets: bytes, unit: int, noise: np.random.Generator, hits: int) -> bytes:
    """Frames doubled, dropped, put out of order and cut; then octets of what is left flipped."""
    frames = [octets[at : at + unit] for at in range(0, len(octets), unit)]
    for _ in range(len(frames) // 10):
        i, j = noise.integers(0, len(frames), 2).tolist()
        what = noise.integers(0, 4)
        if what == 0:
            frames[i], frames[j] = frames[j], frames[i]
        elif what == 1:
            frames.insert(j, frames[i])
        elif what == 2:
            del frames[i]
        else:
            frames[i] = frames[i][: int(noise.integers(0, unit))]
    data = np.frombuffer(b"".join(frames), np.uint8).copy()
    hits = min(hits, len(data))
    at = noise.choice(len(data), hits, replace=False)
    data[at] ^= noise.integers(1, 256, hits, np.uint8)
    return data.tobytes()


@pytest.mark.parametrize(("file", "mission", "kind"), MUTATED, ids=[m[1] for m in MUTATED])
def test_a_million_mutated_octets_of_real_captures(
    file: str, mission: str, kind: InputKind, shared: Path
) -> None:
    profile = load_profile(mission)
    if file == "coded":
        profile = replace(profile, scid=168, ocf=False)
    octets = cadus(shared) if file == "coded" else captured(shared, file)
    unit = profile.block_length if kind == "codewords" else profile.frame_length
    noise = np.random.default_rng(2024)
    hit = 0
    rounds = 0
    # Kernels are loaded before anything is measured.
    run(ReceiveChain(profile, input=kind, digests=True), [(octets, 0)])
    tracemalloc.start()
    try:
        # A few octets a frame leave most of it to be decoded; many leave nothing as it was.
        share = 0.0005
        while hit < HITS_EACH:
            hits = max(int(len(octets) * share), 1)
            share = min(share * 4, 0.5)
            damaged = mutate(octets, unit, noise, hits)
            chain = ReceiveChain(profile, input=kind, digests=True)
            sizes = noise.integers(1, 40_000, len(damaged) // 20_000).tolist()
            tracemalloc.reset_peak()
            before, _peak = tracemalloc.get_traced_memory()
            outputs = [chain.push(part, 0) for part in cut(damaged, sizes)]
            outputs.append(chain.finish())
            _now, peak = tracemalloc.get_traced_memory()
            # The outputs, held here, are no larger than the input; beside them stand the buffers
            # of a slice, and room for one begun packet in each channel (twice, and twice again
            # while it grows), whose pages the system gives only when they are written.
            channels = len(chain.statistics().virtual_channels) + 1
            assert peak - before < 4 * len(damaged) + (16 << 20) + 8 * 65_542 * channels
            account(outputs, chain, damaged)
            hit += hits
            rounds += 1
    finally:
        tracemalloc.stop()
    assert rounds > 2


def test_runs_of_control_fields_are_told_apart_by_kind() -> None:
    word = np.array([1, 1, 1 << 31, 1, 2, 1 << 31, (1 << 31) + 1, 2], np.uint32)
    runs = OcfRuns.of(word, np.arange(8, dtype=np.int64) * 10)
    assert runs.word.tolist() == [1, 1 << 31, 2, (1 << 31) + 1]
    assert runs.frames.tolist() == [3, 2, 2, 1]
    assert runs.first_ert_ns.tolist() == [0, 20, 40, 60]
    assert runs.last_ert_ns.tolist() == [30, 50, 70, 60]
