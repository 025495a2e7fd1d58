"""Soft symbols to octets, where it is not known how the carrier's phase was locked.

A demodulator locks in any of the modulation's equal places.  Half a turn is left to the frame
synchroniser, which takes inverted markers too, and to which a convolutional code is transparent.
What else there is (a quarter turn of QPSK; alternate symbols inverted of OQPSK and GMSK; the first
symbol of a pair or of a puncturing pattern) is a hypothesis, and the likeliest one is taken: the
one with the fewest symbols that the Viterbi decoder had to correct or, without such a code, with
the most sync markers.  It is asked again for every block, so that a slip costs a block at most.

Blocks stand where they stand in the stream: what comes out does not depend on how it was cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.coding.convolutional import ConvolutionalCode, ViterbiDecoder
from protocols.coding.sync import ASM
from protocols.errors import LocalError
from protocols.physical.demodulator import SoftSymbols
from protocols.physical.waveform import Modulation, Waveform

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]

#: Symbols by which hypotheses are judged: their error rates, 0.11 where the code ends and 0.13 and
#: more for a wrong one, are then known to 0.004.
BLOCK: Final = 8192
#: A hypothesis is asked about again from this rate of corrected symbols on.
_DOUBTFUL: Final = 0.12
#: And left for one that is better by so much.
_BETTER: Final = 0.01
#: Symbols of a block of which the hypotheses without a code are judged, at least so many frames.
_FRAMES: Final = 4
_MARKER_ERRORS: Final = 3


def _as_is(values: F32) -> F32:
    return values


def _quarter_turn(values: F32) -> F32:
    """Pairs (I, Q) turned back by a quarter."""
    pairs = values[: len(values) // 2 * 2].reshape(-1, 2)
    return np.stack((pairs[:, 1], -pairs[:, 0]), axis=1).ravel()


def _alternate(values: F32) -> F32:
    turned = values.copy()
    turned[1::2] *= -1
    return turned


def rotations(waveform: Waveform) -> tuple[Callable[[F32], F32], ...]:
    """What can be done to soft symbols, of blocks of even length, besides inverting all of them."""
    if waveform.staggered:
        return (_as_is, _alternate)
    if waveform.modulation == Modulation.QPSK:
        return (_as_is, _quarter_turn)
    return (_as_is,)


class _Blocks:
    """Cuts what comes into blocks counted from where the stream last began."""

    def __init__(self, length: int) -> None:
        self._length = length
        self._rest = np.empty(0, np.float32)

    def push(self, symbols: SoftSymbols) -> list[tuple[F32, bool]]:
        """(block, the stream ends behind it)."""
        edges = [int(s) - symbols.first for s in symbols.starts] + [len(symbols.values)]
        out: list[tuple[F32, bool]] = []
        begin = 0
        for i, edge in enumerate(edges):
            last = i == len(edges) - 1
            stream = np.concatenate((self._rest, symbols.values[begin:edge]))
            whole = len(stream) // self._length * self._length
            parts = [stream[at : at + self._length] for at in range(0, whole, self._length)]
            out += [(part, False) for part in parts]
            self._rest = stream[whole:]
            if not last:
                out.append((self._rest, True))
                self._rest = np.empty(0, np.float32)
            begin = edge
        self._rest = self._rest.copy()
        return out

    def finish(self) -> list[tuple[F32, bool]]:
        rest, self._rest = self._rest, np.empty(0, np.float32)
        return [(rest, True)]

    def snapshot(self) -> dict[str, Any]:
        return {"rest": self._rest.tobytes()}

    def restore(self, state: dict[str, Any]) -> None:
        self._rest = np.frombuffer(state["rest"], np.float32).copy()


class CodedSymbols:
    """Viterbi decoder of symbols in unknown rotation, whose first one may be any of the pattern."""

    def __init__(self, waveform: Waveform, code: ConvolutionalCode) -> None:
        self.code = code
        self._rotations = rotations(waveform)
        pattern = int(code.kept.sum())
        self._hypotheses = [
            (turn, offset) for turn in range(len(self._rotations)) for offset in range(pattern)
        ]
        self._blocks = _Blocks(BLOCK)
        self._chosen: int | None = None
        self._decoder: ViterbiDecoder | None = None
        self._errors = self._compared = self._changes = 0

    @property
    def changes(self) -> int:
        """How often a hypothesis was chosen."""
        return self._changes

    @property
    def symbol_error_rate(self) -> float:
        """Of the symbols decoded so far, as the decoder corrected them; NaN without any."""
        now = self._decoder.statistics if self._decoder is not None else None
        errors = self._errors + (now.symbol_errors if now else 0)
        compared = self._compared + (now.compared if now else 0)
        return errors / compared if compared else float("nan")

    def push(self, symbols: SoftSymbols) -> U8:
        """Octets, most significant bit first, of what the symbols complete."""
        return self._join(self._blocks.push(symbols))

    def finish(self) -> U8:
        return self._join(self._blocks.finish())

    def _join(self, blocks: list[tuple[F32, bool]]) -> U8:
        parts: list[U8] = []
        for block, ends in blocks:
            if len(block):
                parts += self._decode(block)
            if ends:
                parts += self._end()
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _decode(self, block: F32) -> list[U8]:
        if self._decoder is None:
            return self._begin(block, self._best(block)[0])
        before = self._decoder.statistics
        octets = self._decoder.push(self._turned(block))
        after = self._decoder.statistics
        compared = after.compared - before.compared
        rate = (after.symbol_errors - before.symbol_errors) / max(compared, 1)
        if rate > _DOUBTFUL:
            best, best_rate = self._best(block)
            if best != self._chosen and best_rate < rate - _BETTER:
                return [octets, *self._end(), *self._begin(block, best)]
        return [octets]

    def _best(self, block: F32) -> tuple[int, float]:
        rates = [self._rate(block, number) for number in range(len(self._hypotheses))]
        best = int(np.argmin(rates))
        return best, rates[best]

    def _rate(self, block: F32, number: int) -> float:
        turn, offset = self._hypotheses[number]
        trial = ViterbiDecoder(self.code, fine=True)
        trial.push(self._rotations[turn](block)[offset:])
        trial.finish()
        rate = trial.statistics.symbol_error_rate
        return rate if rate == rate else 1.0

    def _begin(self, block: F32, number: int) -> list[U8]:
        self._chosen = number
        self._changes += 1
        self._decoder = ViterbiDecoder(self.code, fine=True)
        return [self._decoder.push(self._turned(block)[self._hypotheses[number][1] :])]

    def _turned(self, block: F32) -> F32:
        assert self._chosen is not None
        return self._rotations[self._hypotheses[self._chosen][0]](block)

    def _end(self) -> list[U8]:
        if self._decoder is None:
            return []
        octets = self._decoder.finish()
        statistics = self._decoder.statistics
        self._errors += statistics.symbol_errors
        self._compared += statistics.compared
        self._decoder = None
        return [octets]

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {
            "blocks": self._blocks.snapshot(),
            "chosen": self._chosen,
            "decoder": None if self._decoder is None else self._decoder.snapshot(),
            "counts": [self._errors, self._compared, self._changes],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._blocks.restore(state["blocks"])
        self._chosen = state["chosen"]
        self._decoder = None
        if state["decoder"] is not None:
            self._decoder = ViterbiDecoder(self.code, fine=True)
            self._decoder.restore(state["decoder"])
        self._errors, self._compared, self._changes = map(int, state["counts"])


class PlainSymbols:
    """Hard decisions on symbols without a convolutional code, in unknown rotation.

    frame_length: octets from the end of one sync marker to the next one's beginning.
    """

    def __init__(self, waveform: Waveform, frame_length: int, marker: bytes = ASM) -> None:
        if not 2 <= len(marker) <= 8:
            raise LocalError(f"sync marker of {len(marker)} octets, 2 to 8 wanted")
        self._rotations = rotations(waveform)
        self._marker = np.unpackbits(np.frombuffer(marker, np.uint8))
        length = _FRAMES * 8 * (len(marker) + frame_length) if len(self._rotations) > 1 else 64
        self._blocks = _Blocks(-(-length // 8) * 8)
        self._chosen = 0
        self._changes = 0

    @property
    def changes(self) -> int:
        """How often another rotation was chosen."""
        return self._changes

    def push(self, symbols: SoftSymbols) -> U8:
        """Octets, most significant bit first, of what the symbols complete."""
        return self._join(self._blocks.push(symbols))

    def finish(self) -> U8:
        return self._join(self._blocks.finish())

    def _join(self, blocks: list[tuple[F32, bool]]) -> U8:
        if len(self._rotations) == 1:
            return self._packed(blocks)
        parts = [np.packbits(self._decide(block)) for block, _ends in blocks]
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _packed(self, blocks: list[tuple[F32, bool]]) -> U8:
        """Blocks in one go where there is nothing to choose; only a stream's end is filled up."""
        parts: list[U8] = []
        run: list[F32] = []
        for block, ends in blocks:
            run.append(block)
            if ends:
                parts.append(np.packbits(np.concatenate(run) < 0))
                run = []
        if run:
            parts.append(np.packbits(np.concatenate(run) < 0))
        return np.concatenate(parts) if parts else np.empty(0, np.uint8)

    def _decide(self, block: F32) -> npt.NDArray[np.bool_]:
        """The rotation with the most markers; none anywhere says nothing."""
        bits = [turn(block) < 0 for turn in self._rotations]
        counts = [self._markers(b) for b in bits]
        best = int(np.argmax(counts))
        if counts[best] > counts[self._chosen]:
            self._chosen = best
            self._changes += 1
        return bits[self._chosen]

    def _markers(self, bits: npt.NDArray[np.bool_]) -> int:
        """Markers and inverted ones, with up to three errors."""
        n = len(bits) - len(self._marker) + 1
        if n <= 0:
            return 0
        distance = np.zeros(n, np.uint8)
        for i, bit in enumerate(self._marker):
            distance += bits[i : i + n] != bool(bit)
        upright = distance <= _MARKER_ERRORS
        return int(np.count_nonzero(upright | (distance >= len(self._marker) - _MARKER_ERRORS)))

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {"blocks": self._blocks.snapshot(), "chosen": [self._chosen, self._changes]}

    def restore(self, state: dict[str, Any]) -> None:
        self._blocks.restore(state["blocks"])
        self._chosen, self._changes = map(int, state["chosen"])
