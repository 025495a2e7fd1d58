"""Codewords of soft symbols by their sync marker, in whatever place the carrier's phase was locked.

LDPC and turbo codes want soft symbols, at Es/N0 where one marker in ten has more errors than a
bit-wise search may allow: the marker is correlated with the soft symbols, in every rotation that
the modulation has, and a frame begins where two markers stand a frame apart, alike in rotation and
sign.  From then on each marker only has to be there, and says whether its frame is inverted.

    SEARCH    two markers a frame apart in one rotation     → LOCK
    LOCK      the next marker is there                      → LOCK
              as many as `flywheel` missing in a row        → LOCK, frames held back until one is
              one more                                      → SEARCH, behind the last one seen
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.coding.ambiguity import rotations
from protocols.errors import LocalError
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Waveform

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]


class State(IntEnum):
    SEARCH = 0
    LOCK = 1


class Event(IntEnum):
    FOUND = 0
    NOT_FOUND = 1
    MISSING = 2
    END = 3


TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.SEARCH: {Event.FOUND: State.LOCK, Event.NOT_FOUND: State.SEARCH, Event.END: State.SEARCH},
    State.LOCK: {Event.FOUND: State.LOCK, Event.MISSING: State.SEARCH, Event.END: State.SEARCH},
}

#: Correlations of noise deviate by 1 in these units.  A pair above the first is found by chance
#: once in 10⁴ frames of search; one marker above the last in one lock of 400.
_PAIR: Final = 6.0
_SINGLE: Final = 5.0
_ALONE: Final = 3.0
#: Frames' symbols that are looked at in one go.
_PIECE: Final = 8

_Frame = tuple[F32, int, float, bool]


@dataclass(frozen=True, eq=False)
class SoftFrames:
    """symbols: float32 [m, n], upright, without the marker; position: int64 [m], symbol of the
    stream at which the marker begins; correlation: float32 [m], of the marker with what stood
    there, −1 to 1; inverted: bool [m]."""

    symbols: F32
    position: I64
    correlation: F32
    inverted: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.symbols)


class SoftSynchroniser:
    """marker: bits, uint8 [k], k ≥ 16; length: symbols of a frame behind it.

    Keeps at most `flywheel` + 3 frames.  Raises LocalError for what cannot be."""

    def __init__(
        self, waveform: Waveform, marker: npt.ArrayLike, length: int, *, flywheel: int = 3
    ) -> None:
        bits = np.asarray(marker, np.uint8)
        if bits.ndim != 1 or len(bits) < 16 or bits.max() > 1:
            raise LocalError(f"sync marker of shape {bits.shape}; 16 bits or more wanted")
        if length < 1 or flywheel < 0:
            raise LocalError(f"frames of {length} symbols, flywheel {flywheel}: impossible")
        self._turns: tuple[Callable[[F32], F32], ...] = rotations(waveform)
        self._period = len(bits) + length
        self._signs = (1.0 - 2.0 * bits).astype(np.float32)
        self._flywheel = flywheel
        self._begin()
        self._first = 0
        self._locks = self._losses = 0

    def _begin(self) -> None:
        self._state = State.SEARCH
        #: What may still be wanted, one row a rotation; a symbol that waits for its pair.
        self._rest = np.empty((len(self._turns), 0), np.float32)
        self._odd = np.empty(0, np.float32)
        #: In lock: where in `_rest` the frame begins, its rotation and sign; frames held back.
        self._at = self._turn = 0
        self._sign = 1.0
        self._held: list[_Frame] = []

    @property
    def locks(self) -> int:
        """How often frames were found."""
        return self._locks

    @property
    def losses(self) -> int:
        """How often they were lost again while symbols went on."""
        return self._losses

    @property
    def locked(self) -> bool:
        """Markers stand where they should, or did a moment ago."""
        return self._state == State.LOCK

    @property
    def first(self) -> int:
        """No frame that is still to come begins before this symbol of the stream."""
        return self._first

    def push(self, symbols: SoftSymbols) -> SoftFrames:
        """Frames that the symbols complete."""
        found: list[_Frame] = []
        begin = 0
        for edge in [int(s) - symbols.first for s in symbols.starts]:
            self._take_all(symbols.values[begin:edge], found)
            self._end(found)
            self._first = symbols.first + edge
            begin = edge
        self._take_all(symbols.values[begin:], found)
        return self._frames(found)

    def finish(self) -> SoftFrames:
        """The stream has ended: what its last symbols hold."""
        found: list[_Frame] = []
        self._end(found)
        return self._frames(found)

    def _go(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    def _take_all(self, values: F32, found: list[_Frame]) -> None:
        """In pieces: each frame found moves what is behind it."""
        piece = _PIECE * self._period
        for at in range(0, max(len(values), 1), piece):
            self._take(values[at : at + piece], found)

    def _take(self, values: F32, found: list[_Frame]) -> None:
        fresh = np.concatenate((self._odd, values))
        whole = len(fresh) // 2 * 2 if len(self._turns) > 1 else len(fresh)
        self._odd = fresh[whole:].copy()
        rows = np.stack([turn(fresh[:whole]) for turn in self._turns])
        self._rest = np.concatenate((self._rest, rows), axis=1)
        size = len(self._signs)
        while True:
            known = self._rest.shape[1]
            if self._state == State.SEARCH:
                if known < 2 * self._period + size:
                    return
                self._search()
            elif known < self._at + self._period + size:
                return
            else:
                self._follow(found)

    def _search(self) -> None:
        """Look for a pair whose first marker begins within a period."""
        best = (0.0, 0, 0, 1.0)
        for turn, row in enumerate(self._rest):
            score = self._correlate(row[: 2 * self._period + len(self._signs) - 1])
            first, second = score[: self._period], score[self._period :]
            pair = np.where(first * second > 0, (first + second) / math.sqrt(2), 0.0)
            at = int(np.argmax(np.abs(pair)))
            if abs(pair[at]) > best[0]:
                best = (float(abs(pair[at])), at, turn, math.copysign(1.0, float(pair[at])))
        strength, at, turn, sign = best
        if strength < _PAIR:
            self._go(Event.NOT_FOUND)
            self._drop(self._period)
            return
        self._go(Event.FOUND)
        self._locks += 1
        self._drop(at)
        self._turn, self._sign = turn, sign

    def _correlate(self, values: F32) -> npt.NDArray[np.float64]:
        """Of the marker with what begins at each place, in deviations of noise."""
        size = len(self._signs)
        squares = np.concatenate(([0.0], np.cumsum(values.astype(np.float64) ** 2)))
        energy = squares[size:] - squares[:-size]
        total = np.correlate(values.astype(np.float64), self._signs.astype(np.float64))
        return total / np.sqrt(np.maximum(energy, 1e-30))

    def _drop(self, count: int) -> None:
        self._rest = self._rest[:, count:].copy()
        self._first += count
        self._at = 0

    def _frame(self, turn: int, at: int, score: float, sign: float) -> _Frame:
        values = self._rest[turn, at + len(self._signs) : at + self._period] * np.float32(sign)
        coefficient = sign * score / math.sqrt(len(self._signs))
        return values, self._first + at, coefficient, sign < 0

    def _score(self, turn: int, at: int) -> float:
        return float(self._correlate(self._rest[turn, at : at + len(self._signs)])[0])

    def _current(self) -> _Frame:
        score = self._score(self._turn, self._at)
        if abs(score) >= _ALONE:
            self._sign = math.copysign(1.0, score)
        return self._frame(self._turn, self._at, score, self._sign)

    def _follow(self, found: list[_Frame]) -> None:
        """Take the frame at `_at`, as the marker behind it is there or not."""
        self._held.append(self._current())
        self._at += self._period
        if abs(self._score(self._turn, self._at)) >= _ALONE:
            self._go(Event.FOUND)
            found += self._held
            self._held = []
            self._drop(self._at)
        elif len(self._held) > self._flywheel:
            # The first one's own marker was seen; what is behind it is searched anew.
            self._go(Event.MISSING)
            self._losses += 1
            found.append(self._held[0])
            self._held = []
            self._drop(len(self._signs))

    def _end(self, found: list[_Frame]) -> None:
        """Whole frames that a stream which ends still holds; one alone in search, if it is sure."""
        found += self._held
        known = self._rest.shape[1]
        if self._state == State.LOCK:
            while known >= self._at + self._period:
                found.append(self._current())
                self._at += self._period
        elif known >= self._period:
            size = len(self._signs)
            scores = np.stack(
                [self._correlate(row[: known - self._period + size]) for row in self._rest]
            )
            turn, at = np.unravel_index(int(np.argmax(np.abs(scores))), scores.shape)
            score = float(scores[turn, at])
            if abs(score) >= _SINGLE:
                found.append(self._frame(int(turn), int(at), score, math.copysign(1.0, score)))
        self._go(Event.END)
        self._first += known + len(self._odd)
        self._begin()

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {
            "state": int(self._state),
            "rest": self._rest.tobytes(),
            "odd": self._odd.tobytes(),
            "lock": [self._first, self._at, self._turn],
            "sign": self._sign,
            "counts": [self._locks, self._losses],
            "held": [[f.tobytes(), at, c, inverted] for f, at, c, inverted in self._held],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the snapshot of a synchroniser of the same settings."""
        self._state = State(state["state"])
        rows = np.frombuffer(state["rest"], np.float32)
        self._rest = rows.reshape(len(self._turns), -1).copy()
        self._odd = np.frombuffer(state["odd"], np.float32).copy()
        self._first, self._at, self._turn = map(int, state["lock"])
        self._sign = float(state["sign"])
        self._locks, self._losses = map(int, state["counts"])
        self._held = [
            (np.frombuffer(f, np.float32), int(at), float(c), bool(inverted))
            for f, at, c, inverted in state["held"]
        ]

    def _frames(self, found: list[_Frame]) -> SoftFrames:
        length = self._period - len(self._signs)
        return SoftFrames(
            np.array([f[0] for f in found], np.float32).reshape(-1, length),
            np.array([f[1] for f in found], np.int64),
            np.array([f[2] for f in found], np.float32),
            np.array([f[3] for f in found], np.bool_),
        )
