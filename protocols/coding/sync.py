"""Frame synchronisation by the attached sync marker (131.0-B-5 §9), however the stream is cut.

The markers decide, not the clock: a frame is given out once its own marker was seen; where markers
are missed, the frames between are given out when the next one stands where it should (flywheel).
If none does, search begins anew right after the last marker seen, so a slip costs only the frame
in which it happened.  What is found depends on the octets alone, never on how they were cut.

    SEARCH    a marker with at most `marker_errors` errors    → VERIFY
    VERIFY    the next marker where it should be              → LOCK
              none: the frame counts if its marker was exact  → SEARCH
    LOCK      the next marker, in either polarity             → LOCK
              none                                            → FLYWHEEL
    FLYWHEEL  a marker where it should be                     → LOCK
              `flywheel` missed in a row and one more         → SEARCH
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.coding.sync_kernel import Count, Event, Field, State, synchronise
from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Markers of 131.0-B-5 §9: of frames without, or with convolutional or Reed–Solomon coding and of
#: LDPC 223/255; of LDPC rates 1/2, 2/3, 4/5; of the turbo codes, by rate.
ASM: Final = bytes.fromhex("1acffc1d")
ASM_LDPC: Final = bytes.fromhex("034776c7272895b0")
ASM_TURBO: Final = {
    "1/2": ASM_LDPC,
    "1/3": bytes.fromhex("25d5c0ce8990f6c9461bf79c"),
    "1/4": bytes.fromhex("034776c7272895b0fcb88938d8d76a4f"),
    "1/6": bytes.fromhex("25d5c0ce8990f6c9461bf79cda2a3f31766f0936b9e40863"),
}

#: The synchroniser as a table: state → event → next state.
TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.SEARCH: {Event.MARKER: State.VERIFY},
    State.VERIFY: {Event.MARKER: State.LOCK, Event.NO_MARKER: State.SEARCH},
    State.LOCK: {
        Event.MARKER: State.LOCK,
        Event.NO_MARKER: State.FLYWHEEL,
        Event.EXHAUSTED: State.SEARCH,
    },
    State.FLYWHEEL: {
        Event.MARKER: State.LOCK,
        Event.NO_MARKER: State.FLYWHEEL,
        Event.EXHAUSTED: State.SEARCH,
    },
}


# Looking up a member of an enumeration takes longer than the rest of a short call.
_STATE, _CURSOR, _ANCHOR = int(Field.STATE), int(Field.CURSOR), int(Field.ANCHOR)
_SEARCH: Final = int(State.SEARCH)
_LOCKED: Final = (int(State.LOCK), int(State.FLYWHEEL))


def _transition_array() -> I64:
    array = np.full((len(State), len(Event)), -1, np.int64)
    for state, row in TRANSITIONS.items():
        for event, following in row.items():
            array[state, event] = following
    array.flags.writeable = False
    return array


_TRANSITIONS: Final = _transition_array()


@dataclass(frozen=True, eq=False)
class SyncedFrames:
    """m frames in the order of their markers.

    frames: uint8 [m, frame_length], upright, without the marker.
    position: int64 [m], bit of the whole stream at which the marker begins.
    marker_errors: int64 [m], wrong bits of the marker; beyond the tolerance in a flywheel frame.
    inverted: bool [m], the stream was inverted there.
    """

    frames: U8
    position: I64
    marker_errors: I64
    inverted: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.frames)


@dataclass(frozen=True)
class SyncStatistics:
    """Counts since the beginning.

    bits: pushed; skipped_bits: neither in a frame given out nor in its marker, up to the last one.
    unverified_frames: given out though no marker followed where one should.
    candidates_rejected: marker-like bits that proved to be none.
    """

    state: State
    bits: int
    frames: int
    marker_errors: int
    inverted_frames: int
    unverified_frames: int
    flywheel_frames: int
    locks: int
    locks_lost: int
    polarity_changes: int
    candidates_rejected: int
    skipped_bits: int


class FrameSynchroniser:
    """Finds the frames of one stream.

    marker: any whole number of octets, two or more; frame_length: octets after the marker.
    bit_aligned: markers may begin at any bit; else at whole octets of the stream only.
    marker_errors: bits that may be wrong in a marker; flywheel: markers that may be missed in a
    row.
    inverted: take inverted markers too, and turn their frames upright.

    Keeps at most (flywheel + 2) frames and a marker.  Raises LocalError for impossible values.
    """

    def __init__(
        self,
        marker: bytes = ASM,
        frame_length: int = 1115,
        *,
        bit_aligned: bool = True,
        marker_errors: int = 2,
        flywheel: int = 2,
        inverted: bool = True,
    ) -> None:
        bits = 8 * len(marker)
        if len(marker) < 2:
            raise LocalError(f"sync marker of {len(marker)} octets, 2 or more wanted")
        if frame_length < 1:
            raise LocalError(f"frame length is {frame_length} octets, 1 or more wanted")
        if not 0 <= marker_errors <= bits // 4:
            raise LocalError(
                f"{marker_errors} marker errors, 0 to {bits // 4} of {bits} bits allowed"
            )
        if not 0 <= flywheel <= 1000:
            raise LocalError(f"flywheel over {flywheel} markers, 0 to 1000 allowed")
        self._marker = bytes(marker)
        self._frame_length = frame_length
        self._bit_aligned = bit_aligned
        self._tolerance = marker_errors
        self._flywheel = flywheel
        self._accept_inverted = inverted
        padded = self._marker.ljust(-(-len(marker) // 8) * 8, b"\0")
        self._marker_words = np.frombuffer(padded, ">u8").astype(np.uint64)
        step = 1 if bit_aligned else 8
        self._settings = np.array([bits, step, marker_errors, flywheel, inverted], np.int64)
        self._period_bits = bits + 8 * frame_length
        self._state = np.zeros(len(Field), np.int64)
        self._counts = np.zeros(len(Count), np.int64)
        #: Octets not done with, and the bit of the stream at which they begin.
        self._rest = np.empty(0, np.uint8)
        self._base = 0
        self._pushed_bits = 0

    @property
    def statistics(self) -> SyncStatistics:
        counts = {count.name.lower(): int(self._counts[count]) for count in Count}
        state = State(int(self._state[Field.STATE]))
        return SyncStatistics(state=state, bits=self._pushed_bits, **counts)

    def push(self, octets: bytes | bytearray | memoryview | U8) -> SyncedFrames:
        """Take the next octets of the stream, give the frames that they complete."""
        chunk = np.frombuffer(octets, np.uint8)
        self._pushed_bits += 8 * len(chunk)
        output = _Output(self, len(self._rest) + len(chunk))
        if len(self._rest):
            # What is left over is joined with just enough to be done with it, and the rest of a
            # large chunk is read in place.
            enough = 2 * (self._period_bits // 8) + len(self._marker)
            joined = np.concatenate((self._rest, chunk[:enough]))
            done = self._run(joined, output, final=False)
            if len(chunk) <= enough:
                self._rest = joined[done:].copy()
                return output.frames()
            if done >= len(self._rest):
                chunk = chunk[done - len(self._rest) :]
            else:
                chunk = np.concatenate((joined, chunk[enough:]))[done:]
        done = self._run(chunk, output, final=False)
        self._rest = chunk[done:].copy()
        return output.frames()

    def finish(self) -> SyncedFrames:
        """The stream has ended: give what is complete; a later push begins to search anew."""
        output = _Output(self, len(self._rest))
        self._run(self._rest, output, final=True)
        end = self._pushed_bits
        self._counts[Count.SKIPPED_BITS] += end - int(self._state[Field.COVERED])
        self._state[:] = 0
        self._state[Field.CURSOR] = self._state[Field.COVERED] = self._base = end
        self._rest = np.empty(0, np.uint8)
        return output.frames()

    def _run(self, octets: U8, output: _Output, *, final: bool) -> int:
        """Synchronise over octets that begin at `self._base`; how many are done with."""
        view = octets[:]
        view.flags.writeable = False
        while True:
            output.filled = synchronise(
                view,
                self._base,
                final,
                self._marker_words,
                self._settings,
                _TRANSITIONS,
                self._state,
                self._counts,
                output.octets,
                output.about,
                output.filled,
            )
            if not output.grow_if_full():
                break
        searching = self._state[_STATE] == _SEARCH
        keep_from = int(self._state[_CURSOR if searching else _ANCHOR])
        done = min((keep_from - self._base) // 8, len(octets))
        self._base += 8 * done
        return done

    @property
    def locked(self) -> bool:
        """Markers stand where they should, or did a moment ago."""
        return int(self._state[_STATE]) in _LOCKED

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {
            **self._agreement(),
            "state": self._state.tolist(),
            "counts": self._counts.tolist(),
            "rest": self._rest.tobytes(),
            "base": self._base,
            "pushed_bits": self._pushed_bits,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go on from a snapshot.  Raises LocalError if it was made with other parameters."""
        for name, value in self._agreement().items():
            if snapshot.get(name) != value:
                raise LocalError(f"snapshot has {name} {snapshot.get(name)!r}, {value!r} wanted")
        self._state[:] = snapshot["state"]
        self._counts[:] = snapshot["counts"]
        self._rest = np.frombuffer(snapshot["rest"], np.uint8)
        self._base = int(snapshot["base"])
        self._pushed_bits = int(snapshot["pushed_bits"])

    def _agreement(self) -> dict[str, Any]:
        return {
            "marker": self._marker,
            "frame_length": self._frame_length,
            "bit_aligned": self._bit_aligned,
            "marker_errors": self._tolerance,
            "flywheel": self._flywheel,
            "inverted": self._accept_inverted,
        }

    @property
    def period_bits(self) -> int:
        """From one marker to the next."""
        return self._period_bits

    @property
    def frame_length(self) -> int:
        return self._frame_length

    @property
    def spare_rows(self) -> int:
        """Rows that must be free before a step of the kernel."""
        return self._flywheel + 1


class _Output:
    """Arrays for the frames of one call, grown in the rare case that frames overlap."""

    def __init__(self, owner: FrameSynchroniser, octets: int) -> None:
        rows = 8 * octets // owner.period_bits + 1 + owner.spare_rows
        self._spare = owner.spare_rows
        self.filled = 0
        self.octets = np.empty((rows, owner.frame_length), np.uint8)
        self.about = np.empty((rows, 3), np.int64)

    def grow_if_full(self) -> bool:
        rows = len(self.octets)
        if self.filled + self._spare <= rows:
            return False
        self.octets = np.concatenate((self.octets, np.empty_like(self.octets)))
        self.about = np.concatenate((self.about, np.empty_like(self.about)))
        return True

    def frames(self) -> SyncedFrames:
        n = self.filled
        octets = self.octets[:n]
        if 4 * n < len(self.octets):
            # Not to keep the room of a chunk alive for a frame or two.
            octets = octets.copy()
        position, errors, inverted = self.about[:n].T.copy()
        return SyncedFrames(octets, position, errors, inverted != 0)
