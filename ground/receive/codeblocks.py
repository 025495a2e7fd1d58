"""Turbo and LDPC codewords of a link, to frames: of soft symbols, or of octets as hard ones.

Where a stream of frames was sliced (131.0-B-5 §8), the codewords' information is strung together
again and frames are found in it by their own marker.  A frame that a failed codeword touches, or
that spans a place where codeblocks are missing, is handed out as uncorrectable.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt

from ground.receive.decoding import Decoded, integers
from ground.receive.profile import LinkProfile
from ground.receive.times import ReceiveTimes
from protocols.coding.codeblocks import CodeblockCoding, CodeblockResult
from protocols.coding.soft_sync import SoftFrames, SoftSynchroniser
from protocols.coding.sync import FrameSynchroniser, SyncedFrames
from protocols.errors import LocalError
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Modulation, Waveform

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Octets taken as hard symbols at a time: 32 times as many octets of symbols.
_PIECE: Final = 1 << 16
_HARD: Final = Waveform(Modulation.BPSK, 1.0)
_NO_STARTS: Final = np.empty(0, np.int64)


def hard_symbols(octets: U8, first: int) -> SoftSymbols:
    """±1 for the bits of octets, of which the first bit is symbol `first` of the stream."""
    values = 1.0 - 2.0 * np.unpackbits(octets).astype(np.float32)
    return SoftSymbols(values, _NO_STARTS, first)


def synchroniser(
    coding: CodeblockCoding, flywheel: int, waveform: Waveform | None = None
) -> SoftSynchroniser:
    """waveform: None for hard symbols, of which only the sign may be wrong."""
    marker, length = coding.marker_bits, coding.symbols
    return SoftSynchroniser(waveform or _HARD, marker, length, flywheel=flywheel)


class CodeblockDecoder:
    """waveform: of the soft symbols that `push_symbols` is given, None where octets come.
    marked: codeblocks have markers; else codewords, not randomised, stand back to back."""

    final: ClassVar[bool] = True

    def __init__(
        self,
        profile: LinkProfile,
        times: ReceiveTimes,
        waveform: Waveform | None = None,
        *,
        marked: bool = True,
    ) -> None:
        coding = profile.coding.codeblocks
        assert coding is not None
        self._profile, self._times, self.coding = profile, times, coding
        self._keep_stream = waveform is not None
        self._stream: list[U8] = []
        self._odd_bits = np.empty(0, np.uint8)
        self._sync: SoftSynchroniser | None = None
        self._rest = np.empty(0, np.uint8)
        if marked:
            self._sync = synchroniser(coding, profile.coding.flywheel, waveform)
        elif coding.sliced or coding.symbols % 8:
            raise LocalError(
                f"link profile {profile.name!r}: codewords without markers must be whole octets "
                "and a frame each; --input cadu"
            )
        else:
            self.coding = replace(coding, randomiser="none")
        self._slices = _Slices(profile, coding) if coding.sliced else None
        self._counts: Counter[str] = Counter()
        self._iterations: Counter[int] = Counter()

    # -- in and out --------------------------------------------------------------------------

    def push(self, octets: U8, first: int) -> Decoded:
        if self._sync is None:
            return self._push_bare(octets, first)
        parts: list[Decoded] = []
        for at in range(0, len(octets), _PIECE):
            hard = hard_symbols(octets[at : at + _PIECE], 8 * (first + at))
            parts.append(self.push_symbols(hard))
        return self._joined(parts)

    def push_symbols(self, symbols: SoftSymbols) -> Decoded:
        """Soft symbols, that follow on those before as they say themselves."""
        assert self._sync is not None
        return self._decode(self._sync.push(symbols))

    def finish(self) -> Decoded:
        parts: list[Decoded] = []
        if self._sync is not None:
            parts.append(self._decode(self._sync.finish()))
        if self._slices is not None:
            parts.append(self._sliced(self._slices.finish()))
        return self._joined(parts)

    def take_stream(self) -> U8:
        """The coded stream since the last call, markers and codeblocks as they were sent; where a
        codeword failed, hard decisions.  Whole octets; of soft symbols alone."""
        bits = np.concatenate([self._odd_bits, *self._stream])
        self._stream = []
        whole = len(bits) // 8 * 8
        self._odd_bits = bits[whole:]
        return np.packbits(bits[:whole])

    @property
    def held(self) -> int:
        return len(self._rest)

    @property
    def in_sync(self) -> bool:
        return self._sync is not None and self._sync.locked

    # -- stages ------------------------------------------------------------------------------

    def _push_bare(self, octets: U8, first: int) -> Decoded:
        data = np.concatenate([self._rest, octets])
        first -= len(self._rest)
        length = self.coding.symbols // 8
        count = len(data) // length
        self._rest = data[count * length :].copy()
        bits = np.unpackbits(data[: count * length].reshape(count, length), axis=1)
        found = self.coding.decode(1.0 - 2.0 * bits.astype(np.float32))
        starts = first + np.arange(count, dtype=np.int64) * length
        ert_ns = self._times.at(8 * starts)
        self._times.forget(first + count * length)
        self._count(found)
        return Decoded(found.data, ~found.converged[:, 0], ert_ns)

    def _decode(self, blocks: SoftFrames) -> Decoded:
        assert self._sync is not None
        self._counts["codeblocks"] += len(blocks)
        self._counts["inverted"] += int(np.count_nonzero(blocks.inverted))
        if not len(blocks):
            self._forget()
            return Decoded.none(self._profile.frame_length)
        found = self.coding.decode(blocks.symbols)
        self._count(found)
        if self._keep_stream:
            for bits in found.bits:
                self._stream += [self.coding.marker_bits, bits]
        begins = blocks.position + len(self.coding.marker_bits)
        if self._slices is not None:
            decoded = self._sliced(self._slices.push(found, begins))
        else:
            decoded = Decoded(found.data, ~found.converged[:, 0], self._times.at(begins))
        self._forget()
        return decoded

    def _sliced(self, found: tuple[U8, npt.NDArray[np.bool_], I64]) -> Decoded:
        frames, touched, places = found
        return Decoded(frames, touched, self._times.at(places))

    def _forget(self) -> None:
        assert self._sync is not None
        first = self._sync.first
        if self._slices is not None:
            first = min(first, self._slices.first)
        self._times.forget(first >> 3)

    def _joined(self, parts: list[Decoded]) -> Decoded:
        if len(parts) == 1:
            return parts[0]
        parts = [Decoded.none(self._profile.frame_length), *parts]
        return Decoded(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    # -- counts ------------------------------------------------------------------------------

    def _count(self, found: CodeblockResult) -> None:
        good = found.converged
        self._counts["codewords"] += good.size
        self._counts["uncorrectable"] += int(np.count_nonzero(~good))
        self._counts["corrected"] += int(np.count_nonzero(found.corrected))
        self._counts["corrected_symbols"] += int(found.corrected.sum(dtype=np.int64))
        for value, count in enumerate(np.bincount(found.iterations.ravel()).tolist()):
            if count:
                self._iterations[value] += count

    def counts(self) -> dict[str, dict[str, int]]:
        found = self._counts
        clean = found["codewords"] - found["uncorrectable"] - found["corrected"]
        coding = {
            "codewords": found["codewords"],
            "clean": clean,
            "corrected": found["corrected"],
            "corrected_symbols": found["corrected_symbols"],
            "uncorrectable": found["uncorrectable"],
            "iterations": sum(value * n for value, n in self._iterations.items()),
        }
        counts = {"coding": coding}
        if self._sync is not None:
            blocks = {
                "frames": found["codeblocks"],
                "inverted_frames": found["inverted"],
                "locks": self._sync.locks,
                "locks_lost": self._sync.losses,
            }
            counts = {"sync": blocks, "coding": coding}
        if self._slices is not None:
            counts["slices"] = self._slices.counts()
        return counts

    def summary(self) -> dict[str, Any]:
        coding = self.coding
        good = self._counts["codewords"] - self._counts["uncorrectable"]
        symbols = good * coding.word_symbols
        rate = self._counts["corrected_symbols"] / symbols if symbols else None
        return {
            "codewords": self._counts["codewords"],
            "failed_codewords": self._counts["uncorrectable"],
            "iterations_histogram": {str(v): n for v, n in sorted(self._iterations.items())},
            "symbol_error_rate": rate,
        }

    # -- state -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        return {
            "rest": self._rest.tobytes(),
            "sync": None if self._sync is None else self._sync.snapshot(),
            "slices": None if self._slices is None else self._slices.snapshot(),
            "counts": dict(self._counts),
            "iterations": sorted(self._iterations.items()),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._rest = np.frombuffer(state["rest"], np.uint8)
        if self._sync is not None:
            self._sync.restore(state["sync"])
        if self._slices is not None:
            self._slices.restore(state["slices"])
        self._counts = Counter(state["counts"])
        self._iterations = Counter(dict(state["iterations"]))


class _Slices:
    """The information of codeblocks end to end, and the frames in it."""

    def __init__(self, profile: LinkProfile, coding: CodeblockCoding) -> None:
        link = profile.coding
        self._coding = coding
        self._sync = FrameSynchroniser(
            marker=link.asm,
            frame_length=profile.frame_length,
            bit_aligned=link.bit_aligned,
            marker_errors=link.marker_errors,
            flywheel=link.flywheel,
            # The code sync marker has told which way round it is.
            inverted=False,
        )
        self._marker_bits = 8 * len(link.asm)
        self._frame_bits = 8 * profile.frame_length
        #: No frame that is still to come begins further back, in bits of information.
        self._horizon = (link.flywheel + 3) * self._sync.period_bits
        self._word_bits = 8 * coding.code.data_length
        self._bits = 0
        self._missing = 0
        #: Of the codeblocks still wanted: bit of information, and symbol of the stream, of the
        #: first; and the information that is not to be trusted, from bit to bit.  Where codeblocks
        #: are missing, these two are the same.
        self._starts: list[int] = []
        self._places: list[int] = []
        self._doubtful: list[tuple[int, int]] = []

    @property
    def first(self) -> int:
        """No frame that is still to come begins before this symbol of the stream."""
        return self._places[0] if self._places else 1 << 62

    def push(self, found: CodeblockResult, begins: I64) -> tuple[U8, npt.NDArray[np.bool_], I64]:
        """Codeblocks whose symbols begin at `begins` [n]: frames, whether they are not to be
        trusted, and the symbol at which each begins."""
        period = self._coding.period
        for begin, good in zip(begins.tolist(), found.converged, strict=True):
            if self._places and begin - self._places[-1] != period:
                self._missing += 1
                self._doubtful.append((self._bits, self._bits))
            self._starts.append(self._bits)
            self._places.append(begin)
            for word in np.flatnonzero(~good).tolist():
                at = self._bits + word * self._word_bits
                self._doubtful.append((at, at + self._word_bits))
            self._bits += self._coding.words * self._word_bits
        return self._after_sync(self._sync.push(found.data.reshape(-1)))

    def finish(self) -> tuple[U8, npt.NDArray[np.bool_], I64]:
        return self._after_sync(self._sync.finish())

    def _after_sync(self, synced: SyncedFrames) -> tuple[U8, npt.NDArray[np.bool_], I64]:
        begins = synced.position + self._marker_bits
        touched = np.zeros(len(synced), np.bool_)
        for low, high in self._doubtful:
            touched |= (begins < high) & (begins + self._frame_bits > low)
        places = np.array([self._place(bit) for bit in begins.tolist()], np.int64)
        self._forget()
        return synced.frames, touched, places

    def _place(self, bit: int) -> int:
        """The symbol that a bit of information was sent as: the codes are systematic."""
        block = bisect_right(self._starts, bit) - 1
        word, rest = divmod(bit - self._starts[block], self._word_bits)
        return self._places[block] + word * self._coding.word_symbols + rest

    def _forget(self) -> None:
        keep = self._bits - self._horizon
        # The newest stays: what follows is told from it to be missing or not.
        done = min(bisect_right(self._starts, keep), len(self._starts)) - 1
        if done > 0:
            del self._starts[:done], self._places[:done]
        if self._doubtful and self._doubtful[0][1] < keep:
            self._doubtful = [one for one in self._doubtful if one[1] >= keep]

    def counts(self) -> dict[str, int]:
        return {**integers(self._sync.statistics), "codeblocks_missing": self._missing}

    def snapshot(self) -> dict[str, Any]:
        return {
            "sync": self._sync.snapshot(),
            "bits": [self._bits, self._missing],
            "starts": list(self._starts),
            "places": list(self._places),
            "doubtful": [list(one) for one in self._doubtful],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._sync.restore(state["sync"])
        self._bits, self._missing = map(int, state["bits"])
        self._starts, self._places = list(state["starts"]), list(state["places"])
        self._doubtful = [(int(low), int(high)) for low, high in state["doubtful"]]
