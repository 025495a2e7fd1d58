"""From a link's octets to blocks that may be frames: synchronised, derandomised, corrected.

A decoder is the first half of the chain.  There is one for CADUs without codes or with
Reed-Solomon, one for blocks back to back, and one for turbo and LDPC codewords
(`ground/receive/codeblocks.py`); each keeps what it cannot finish yet, and counts.
"""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ground.receive.codewords import BlockDecoder
from ground.receive.profile import LinkProfile
from ground.receive.summary import StreamSummary
from ground.receive.times import ReceiveTimes
from protocols.coding.randomiser import randomise
from protocols.coding.sync import FrameSynchroniser, SyncedFrames

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


class Decoded(NamedTuple):
    """n frames: uint8 [n, frame_length]; uncorrectable: bool [n]; ert_ns: int64 [n]."""

    frames: U8
    uncorrectable: Bools
    ert_ns: I64

    @classmethod
    def none(cls, frame_length: int) -> Decoded:
        empty = np.zeros((0, frame_length), np.uint8)
        return cls(empty, np.zeros(0, np.bool_), np.zeros(0, np.int64))


class Decoder(Protocol):
    """final: what it could not correct is rejected, whatever the frame's FECF says of it."""

    final: ClassVar[bool]

    def push(self, octets: U8, first: int) -> Decoded:
        """Octets of the link of which the first has the number `first`."""
        ...

    def finish(self) -> Decoded: ...

    @property
    def held(self) -> int:
        """Octets that wait for the rest of their block, where blocks are back to back."""
        ...

    @property
    def in_sync(self) -> bool:
        """Sync markers stand where they should; False for an input without any."""
        ...

    def counts(self) -> dict[str, dict[str, int]]:
        """By stage, `sync` and `coding`."""
        ...

    def summary(self) -> dict[str, Any]:
        """What a code found, beyond its counts."""
        ...

    def snapshot(self) -> dict[str, Any]: ...

    def restore(self, state: dict[str, Any]) -> None: ...


class _Blocks:
    """Reed-Solomon code or none, of blocks as they were sent."""

    final: ClassVar[bool] = False

    def __init__(self, profile: LinkProfile, times: ReceiveTimes, counted: StreamSummary) -> None:
        coding = profile.coding
        self._profile, self._times, self._counted = profile, times, counted
        self._codec = None
        if coding.reed_solomon is not None:
            self._codec = BlockDecoder(coding.reed_solomon, coding.known_prefix)

    def _decode(self, blocks: U8, ert_ns: I64) -> Decoded:
        uncorrectable = np.zeros(len(blocks), np.bool_)
        if self._codec is not None and len(blocks):
            result = self._codec.decode(blocks)
            self._counted.add_corrections(result.corrections)
            if result.standard is not None:
                self._counted.add_corrections(result.standard, standard=True)
            failed = result.corrections < 0
            if np.count_nonzero(failed):
                uncorrectable = np.any(failed, axis=1).reshape(len(blocks))
            blocks = result.frames
        return Decoded(blocks, uncorrectable, ert_ns)

    def _coding_counts(self) -> dict[str, dict[str, int]]:
        if self._codec is None:
            return {}
        corrections = self._counted.corrections
        return {
            "coding": {
                "codewords": sum(corrections.values()),
                "clean": corrections[0],
                "corrected": sum(n for value, n in corrections.items() if value > 0),
                "corrected_symbols": sum(v * n for v, n in corrections.items() if v > 0),
                "uncorrectable": sum(n for value, n in corrections.items() if value < 0),
            }
        }

    def summary(self) -> dict[str, Any]:
        if self._codec is None:
            return {}
        coding = self._profile.coding
        return self._counted.corrections_summary(coding.reed_solomon, coding.known_prefix)


class CaduDecoder(_Blocks):
    """A bit or octet stream with sync markers, without codes or with Reed-Solomon."""

    def __init__(self, profile: LinkProfile, times: ReceiveTimes, counted: StreamSummary) -> None:
        super().__init__(profile, times, counted)
        self._coding = coding = profile.coding
        self._sync = FrameSynchroniser(
            marker=coding.asm,
            frame_length=profile.block_length,
            bit_aligned=coding.bit_aligned,
            marker_errors=coding.marker_errors,
            flywheel=coding.flywheel,
            inverted=coding.inverted,
        )
        #: No frame that is still to come begins further back: the synchroniser's own bound.
        self._horizon = (coding.flywheel + 3) * (profile.block_length + len(coding.asm))

    def push(self, octets: U8, first: int) -> Decoded:
        synced = self._sync.push(octets)
        if not len(synced.position):
            self._times.forget(first - self._horizon)
        return self._after_sync(synced)

    def finish(self) -> Decoded:
        return self._after_sync(self._sync.finish())

    def _after_sync(self, synced: SyncedFrames) -> Decoded:
        if not len(synced.position):
            return Decoded.none(self._profile.frame_length)
        ert_ns = self._times.at(synced.position + 8 * len(self._coding.asm))
        self._times.forget(int(synced.position[-1]) >> 3)
        blocks = synced.frames
        if self._coding.randomiser != "none":
            blocks = randomise(blocks, self._coding.randomiser)
        return self._decode(blocks, ert_ns)

    held = 0

    @property
    def in_sync(self) -> bool:
        return self._sync.locked

    def counts(self) -> dict[str, dict[str, int]]:
        return {"sync": integers(self._sync.statistics), **self._coding_counts()}

    def snapshot(self) -> dict[str, Any]:
        return self._sync.snapshot()

    def restore(self, state: dict[str, Any]) -> None:
        self._sync.restore(state)


class BlockCutter(_Blocks):
    """Frames, or codewords as they were before the randomiser, back to back."""

    in_sync = False

    def __init__(
        self,
        profile: LinkProfile,
        times: ReceiveTimes,
        counted: StreamSummary,
        *,
        coded: bool,
    ) -> None:
        super().__init__(profile, times, counted)
        if not coded:
            self._codec = None
        self._length = profile.block_length if coded else profile.frame_length
        self._rest = np.zeros(0, np.uint8)

    def push(self, octets: U8, first: int) -> Decoded:
        data = np.concatenate([self._rest, octets])
        first -= len(self._rest)
        count = len(data) // self._length
        used = count * self._length
        self._rest = data[used:].copy()
        blocks = data[:used].reshape(count, self._length)
        starts = first + np.arange(count, dtype=np.int64) * self._length
        ert_ns = self._times.at(starts * 8)
        self._times.forget(first + used)
        return self._decode(blocks, ert_ns)

    def finish(self) -> Decoded:
        return Decoded.none(self._profile.frame_length)

    @property
    def held(self) -> int:
        return len(self._rest)

    def counts(self) -> dict[str, dict[str, int]]:
        return self._coding_counts()

    def snapshot(self) -> dict[str, Any]:
        return {"rest": self._rest.tobytes()}

    def restore(self, state: dict[str, Any]) -> None:
        self._rest = np.frombuffer(state["rest"], np.uint8)


def integers(statistics: Any) -> dict[str, int]:
    """The integer fields of a dataclass, as counts; a state is none, though its enumeration is."""
    return {
        name.name: int(getattr(statistics, name.name))
        for name in fields(statistics)
        if isinstance(getattr(statistics, name.name), int)
        and not isinstance(getattr(statistics, name.name), Enum)
    }
