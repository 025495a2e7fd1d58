"""Frame synchroniser: what it must find, that cutting changes nothing, and a bitwise twin."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.coding.sync import (
    ASM,
    ASM_LDPC,
    TRANSITIONS,
    FrameSynchroniser,
    SyncedFrames,
    SyncStatistics,
)
from protocols.coding.sync_kernel import Event, State
from protocols.errors import LocalError

LENGTH = 20


def bits_of(octets: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(octets, np.uint8))


def make_frames(rng: np.random.Generator, n: int, length: int = LENGTH) -> np.ndarray:
    return rng.integers(0, 256, (n, length), np.uint8)


def cadus(frames: np.ndarray, marker: bytes = ASM) -> np.ndarray:
    """Bits of marker and frame, one after the other."""
    lead = np.tile(np.frombuffer(marker, np.uint8), (len(frames), 1))
    return np.unpackbits(np.hstack([lead, frames]))


def joined(parts: list[SyncedFrames]) -> tuple[list[bytes], list[int], list[int], list[bool]]:
    frames = [row.tobytes() for part in parts for row in part.frames]
    position = [int(p) for part in parts for p in part.position]
    errors = [int(e) for part in parts for e in part.marker_errors]
    inverted = [bool(i) for part in parts for i in part.inverted]
    return frames, position, errors, inverted


def run(octets: bytes, cuts: list[int] | None = None, **kwargs: Any) -> tuple[Any, SyncStatistics]:
    synchroniser = FrameSynchroniser(
        kwargs.pop("marker", ASM), kwargs.pop("length", LENGTH), **kwargs
    )
    edges = [0, *sorted(cuts or []), len(octets)]
    parts = [synchroniser.push(octets[a:b]) for a, b in pairwise(edges)]
    parts.append(synchroniser.finish())
    return joined(parts), synchroniser.statistics


class Twin:
    """The same rules, bit by bit in plain Python, over the whole stream at once."""

    def __init__(self, marker: bytes, length: int, k: int, flywheel: int, step: int, either: bool):
        self.marker = bits_of(marker)
        self.m, self.t = len(self.marker), 8 * (len(marker) + length)
        self.k, self.flywheel, self.step, self.either = k, flywheel, step, either
        self.out: list[tuple[bytes, int, int, bool]] = []

    def distance(self, at: int) -> int:
        return int((self.bits[at : at + self.m] != self.marker).sum())

    def marker_at(self, at: int, k: int) -> tuple[int, bool] | None:
        d = self.distance(at)
        if d <= k:
            return d, False
        if self.either and d >= self.m - k:
            return self.m - d, True
        return None

    def find(self, begin: int, end: int, k: int) -> int | None:
        at = -(-begin // self.step) * self.step
        while at < end:
            if self.marker_at(at, k):
                return at
            at += self.step
        return None

    def emit(self, at: int, errors: int, inverted: bool) -> None:
        frame = self.bits[at + self.m : at + self.t] ^ inverted
        self.out.append((np.packbits(frame).tobytes(), at, errors, inverted))

    def run(self, octets: bytes) -> list[tuple[bytes, int, int, bool]]:
        self.bits = bits_of(octets)
        end = len(self.bits)
        cursor = 0
        while (at := self.find(cursor, end - self.m + 1, self.k)) is not None:
            errors, inverted = self.marker_at(at, self.k) or (0, False)
            following = at + self.t
            if following > end:
                cursor = at + self.step  # incomplete, as is every later one
                continue
            if following + self.m > end:
                better = self.find(at + self.step, end - self.t + 1, 0) if errors else None
                if better is None:
                    self.emit(at, errors, inverted)
                cursor = following if better is None else better
                continue
            hit = self.marker_at(following, self.k)
            if hit is None or hit[1] != inverted:
                within = self.find(at + self.step, following, 0) if not errors else at + self.step
                if within is None:
                    self.emit(at, errors, inverted)
                cursor = following if within is None else within
                continue
            self.emit(at, errors, inverted)
            cursor = self.locked(following, hit, end)
        return self.out

    def locked(self, at: int, mark: tuple[int, bool], end: int) -> int:
        """From a good marker on; where to search once the lock is lost."""
        while at + self.t <= end:
            self.emit(at, *mark)
            for missed in range(self.flywheel + 1):
                following = at + (missed + 1) * self.t
                if following + self.m > end:
                    return self.tail(at, missed, end)
                hit = self.marker_at(following, self.k)
                if hit:
                    for n in range(1, missed + 1):
                        d = self.distance(at + n * self.t)
                        way = hit[1] if hit[1] == mark[1] else 2 * d > self.m
                        self.emit(at + n * self.t, self.m - d if way else d, way)
                    at, mark = following, hit
                    break
            else:
                return at + self.m
        return end

    def tail(self, at: int, missed: int, end: int) -> int:
        if not missed:
            return end
        taken = 0
        for n in range(1, missed + 1):
            here = at + n * self.t
            d = self.distance(here)
            way = self.either and 2 * d > self.m
            d = self.m - d if way else d
            if here + self.t > end or d > self.m // 4:
                break
            self.emit(here, d, way)
            taken = n
        return at + (taken + 1) * self.t if taken else at + self.m


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """Frames in pieces, with noise, slips, inversions and bit errors between and inside."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    parts: list[np.ndarray] = []
    for kind in draw(st.lists(st.sampled_from("fffffnsieam"), max_size=14)):
        if kind == "n":
            parts.append(rng.integers(0, 2, int(rng.integers(1, 300)), np.uint8))
        elif kind == "m":
            parts.append(bits_of(ASM))
        else:
            bits = cadus(make_frames(rng, int(rng.integers(1, 4))))
            if kind == "s":
                cut = int(rng.integers(0, len(bits)))
                bits = np.delete(bits, slice(cut, cut + int(rng.integers(1, 9))))
            elif kind == "i":
                bits = bits ^ 1
            elif kind == "e":
                bits = bits ^ (rng.random(len(bits)) < 0.03)
            elif kind == "a":
                bits[: int(rng.integers(1, 32))] = 0
            parts.append(bits.astype(np.uint8))
    return np.packbits(np.concatenate([*parts, np.zeros(0, np.uint8)])).tobytes()


SETTINGS = st.fixed_dictionaries(
    {
        "bit_aligned": st.booleans(),
        "marker_errors": st.integers(0, 4),
        "flywheel": st.integers(0, 3),
        "inverted": st.booleans(),
    }
)


@settings(max_examples=200, deadline=None)
@given(streams(), SETTINGS)
def test_as_the_plain_twin(octets: bytes, kwargs: dict[str, Any]):
    twin = Twin(
        ASM, LENGTH, kwargs["marker_errors"], kwargs["flywheel"],
        1 if kwargs["bit_aligned"] else 8, kwargs["inverted"],
    )  # fmt: skip
    expected = twin.run(octets)
    got, statistics = run(octets, **kwargs)
    assert list(zip(*got, strict=True)) == expected
    assert statistics.frames == len(expected)
    assert statistics.bits == 8 * len(octets)
    assert statistics.marker_errors == sum(errors for _, _, errors, _ in expected)
    assert statistics.inverted_frames == sum(inverted for *_, inverted in expected)
    used = np.zeros(8 * len(octets), np.bool_)
    for _, at, _, _ in expected:
        used[at : at + twin.t] = True
    assert statistics.skipped_bits == int((~used).sum())


@settings(max_examples=100, deadline=None)
@given(streams(), SETTINGS, st.lists(st.integers(0, 400), max_size=30))
def test_chunking_changes_nothing(octets: bytes, kwargs: dict[str, Any], cuts: list[int]):
    assert run(octets, [min(c, len(octets)) for c in cuts], **kwargs) == run(octets, **kwargs)


@settings(max_examples=20, deadline=None)
@given(streams(), SETTINGS)
def test_octet_by_octet(octets: bytes, kwargs: dict[str, Any]):
    assert run(octets, list(range(len(octets))), **kwargs) == run(octets, **kwargs)


@settings(max_examples=50, deadline=None)
@given(streams(), SETTINGS, st.integers(0, 400))
def test_snapshot_in_the_middle(octets: bytes, kwargs: dict[str, Any], cut: int):
    first = FrameSynchroniser(ASM, LENGTH, **kwargs)
    before = first.push(octets[:cut])
    saved = msgpack.unpackb(msgpack.packb(first.snapshot()))
    second = FrameSynchroniser(ASM, LENGTH, **kwargs)
    second.restore(saved)
    assert joined([before, second.push(octets[cut:]), second.finish()]) == run(octets, **kwargs)[0]
    assert second.statistics == run(octets, **kwargs)[1]


@pytest.mark.parametrize("shift", range(8))
@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("marker", [ASM, ASM_LDPC, b"\xeb\x90", ASM_LDPC + ASM + b"\x35\x7a\x11"])
def test_every_bit_offset_and_polarity(shift: int, inverted: bool, marker: bytes):
    rng = np.random.default_rng(shift)
    frames = make_frames(rng, 6, 33)
    lead = np.zeros(shift + 16, np.uint8)
    bits = np.concatenate([lead, cadus(frames, marker) ^ inverted])
    (got, position, errors, flags), statistics = run(
        np.packbits(bits).tobytes(), marker=marker, length=33, marker_errors=0
    )
    assert got == [row.tobytes() for row in frames]
    assert position == [shift + 16 + i * 8 * (len(marker) + 33) for i in range(6)]
    assert errors == [0] * 6
    assert flags == [inverted] * 6
    assert (statistics.locks, statistics.locks_lost) == (1, 0)


def test_last_frame_without_a_marker_behind_it():
    """Lone frames and last frames count: gr-satellites and others lose them."""
    rng = np.random.default_rng(3)
    for n in (1, 2, 5):
        frames = make_frames(rng, n)
        (got, *_), statistics = run(np.packbits(cadus(frames)).tobytes())
        assert got == [row.tobytes() for row in frames]
        assert statistics.skipped_bits == 0


@pytest.mark.parametrize("flywheel", [0, 1, 3])
def test_flywheel_over_missed_markers(flywheel: int):
    rng = np.random.default_rng(4)
    frames = make_frames(rng, 12)
    bits = cadus(frames)
    period = 8 * (4 + LENGTH)
    for i in range(5, 5 + flywheel):
        bits[i * period : i * period + 32] = rng.integers(0, 2, 32)  # whatever, far from a marker
        bits[i * period : i * period + 12] ^= 1
    (got, position, errors, _), statistics = run(np.packbits(bits).tobytes(), flywheel=flywheel)
    assert got == [row.tobytes() for row in frames]
    assert statistics.flywheel_frames == flywheel == sum(e > 2 for e in errors)
    assert statistics.locks_lost == 0
    assert position == [i * period for i in range(12)]


def test_a_slip_costs_one_frame():
    """A bit lost inside frame 4: that frame is damaged, all others are found, in whatever phase."""
    rng = np.random.default_rng(5)
    frames = make_frames(rng, 10)
    bits = np.delete(cadus(frames), 4 * 8 * (4 + LENGTH) + 100)
    (got, *_), statistics = run(np.packbits(bits).tobytes())
    assert [i for i in range(10) if frames[i].tobytes() not in got] == [4]
    assert (statistics.locks, statistics.locks_lost, statistics.state) == (2, 1, State.SEARCH)


def test_polarity_turns_while_locked():
    rng = np.random.default_rng(6)
    frames = make_frames(rng, 8)
    bits = cadus(frames)
    bits[4 * 8 * (4 + LENGTH) :] ^= 1
    (got, _, _, inverted), statistics = run(np.packbits(bits).tobytes())
    assert got == [row.tobytes() for row in frames]
    assert inverted == [False] * 4 + [True] * 4
    assert (statistics.polarity_changes, statistics.locks_lost) == (1, 0)
    (got, *_), _ = run(np.packbits(bits).tobytes(), inverted=False)
    assert got == [row.tobytes() for row in frames[:4]]


def test_lone_frames_far_apart():
    rng = np.random.default_rng(7)
    frames = make_frames(rng, 5)
    parts: list[np.ndarray] = []
    for i in range(5):
        parts += [cadus(frames[i : i + 1]), np.zeros(500 + 13 * i, np.uint8)]
    (got, *_), statistics = run(np.packbits(np.concatenate(parts)).tobytes())
    assert got == [row.tobytes() for row in frames]
    assert statistics.unverified_frames == 5


def test_markers_only_are_bounded():
    """The worst a stream can do: a marker every four octets.  No frame is given out twice."""
    octets = ASM * 50_000
    synchroniser = FrameSynchroniser(ASM, 1115)
    frames = sum(len(synchroniser.push(octets[i : i + 999])) for i in range(0, len(octets), 999))
    frames += len(synchroniser.finish())
    assert frames <= len(octets) // 1119 + 1
    assert synchroniser.statistics.candidates_rejected > 40_000


@settings(max_examples=30, deadline=None)
@given(streams(), st.integers(0, 3))
def test_what_is_kept_is_bounded(octets: bytes, flywheel: int):
    synchroniser = FrameSynchroniser(ASM, LENGTH, flywheel=flywheel)
    for i in range(0, len(octets), 7):
        synchroniser.push(octets[i : i + 7])
        assert len(synchroniser.snapshot()["rest"]) <= (flywheel + 2) * (4 + LENGTH) + 5


def test_kinds_of_octets():
    octets = np.packbits(cadus(make_frames(np.random.default_rng(8), 3))).tobytes()
    expected = run(octets)[0]
    for chunk in (bytearray(octets), memoryview(octets), np.frombuffer(octets, np.uint8)):
        synchroniser = FrameSynchroniser(ASM, LENGTH)
        assert joined([synchroniser.push(chunk), synchroniser.finish()]) == expected
    writable = np.frombuffer(octets, np.uint8).copy()
    FrameSynchroniser(ASM, LENGTH).push(writable)
    assert writable.flags.writeable


def test_a_new_stream_after_the_end():
    frames = make_frames(np.random.default_rng(9), 4)
    octets = np.packbits(cadus(frames)).tobytes()
    synchroniser = FrameSynchroniser(ASM, LENGTH)
    once = joined([synchroniser.push(octets), synchroniser.finish()])
    again = joined([synchroniser.push(octets), synchroniser.finish()])
    assert again[0] == once[0]
    assert again[1] == [p + 8 * len(octets) for p in once[1]]


def test_table_is_what_the_documentation_says():
    assert set(TRANSITIONS) == set(State)
    # Whatever happens, a marker leads towards lock and exhaustion to a new search.
    assert all(row[Event.MARKER] in (State.VERIFY, State.LOCK) for row in TRANSITIONS.values())
    exhausted = [row[Event.EXHAUSTED] for row in TRANSITIONS.values() if Event.EXHAUSTED in row]
    assert exhausted == [State.SEARCH, State.SEARCH]


def test_refusals():
    for kwargs in (
        {"marker": b"\x1a"}, {"frame_length": 0}, {"marker_errors": 9}, {"flywheel": -1},
        {"marker_errors": -1},
    ):  # fmt: skip
        with pytest.raises(LocalError, match=r"wanted|allowed"):
            FrameSynchroniser(**kwargs)
    with pytest.raises(LocalError, match="frame_length"):
        FrameSynchroniser(ASM, 5).restore(FrameSynchroniser(ASM, 6).snapshot())


def test_real_frames_through_noise(shared):
    """KPLO's 220-octet frames, given markers and a bit offset: all come out as they went in."""
    path = shared / "captures" / "KPLO__camras-2022_08_05_08_44_13_tlm_frames.u8"
    frames = np.fromfile(path, np.uint8).reshape(-1, 220)
    rng = np.random.default_rng(10)
    bits = np.concatenate([rng.integers(0, 2, 1003, np.uint8), cadus(frames) ^ 1])
    octets = np.packbits(bits).tobytes()
    (got, *_), _ = run(octets, list(range(0, len(octets), 4096)), length=220)
    assert got == [row.tobytes() for row in frames]
