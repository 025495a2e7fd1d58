"""Demodulator: I/Q samples to soft symbols, in pieces of any size.

    SEARCH    a carrier in the window (`acquisition.py`)          → VERIFY
              none: half a window on
    VERIFY    as many symbols as are averaged, in lock            → TRACK
              lock lost: they are thrown away, half a window on   → SEARCH
    TRACK     lock lost: search begins anew where it was          → SEARCH

Tracking begins with the first sample of the window in which the carrier was found, so what came
while it was being looked for is not lost; at the end of the stream the last window, however short,
is searched and what was not yet verified is given out.

Soft symbols are positive for 0.  In which of the modulation's 2 or 4 equal places the carrier's
phase was locked is not known here: a sync marker or a decoder tells, for as long as
`SoftSymbols.starts` says nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError
from protocols.physical import lock
from protocols.physical.acquisition import Acquisition, Found
from protocols.physical.prediction import Prediction
from protocols.physical.tracking import Detector, Field, Setting, track
from protocols.physical.waveform import Modulation, Waveform

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
C64 = npt.NDArray[np.complex64]


class State(IntEnum):
    SEARCH = 0
    VERIFY = 1
    TRACK = 2


class Event(IntEnum):
    FOUND = 0
    NOT_FOUND = 1
    CONFIRMED = 2
    LOST = 3


#: The receiver as a table: state → event → next state.
TRANSITIONS: Final[dict[State, dict[Event, State]]] = {
    State.SEARCH: {Event.FOUND: State.VERIFY, Event.NOT_FOUND: State.SEARCH},
    State.VERIFY: {Event.CONFIRMED: State.TRACK, Event.LOST: State.SEARCH},
    State.TRACK: {Event.LOST: State.SEARCH},
}

#: Ticks stand on one of so many places a symbol: rounding costs less than 0.001 dB.
_PLACES: Final = 256
#: Samples through the kernel at a time: in the cache with what is made of them.
_SLICE: Final = 1 << 15
#: The symbol clock may be off by so much: far more than any oscillator, far less than a neighbour.
_CLOCK_RANGE: Final = 1e-3


@dataclass(frozen=True)
class Reception:
    """What the receiver is told of the carrier.

    range_hz: it stands within ± this of the prediction; rate_hz_s: and drifts by less than this.
    prediction: coefficients cᵢ of the predicted frequency Σ cᵢ tⁱ Hz, t seconds since the first
    sample (Doppler as expected and what the tuner leaves).
    minimum_esn0_db: weakest symbols that count as lock, which also sets how long is averaged; None:
    −3 dB of a bit in the symbol.
    carrier_bandwidth, timing_bandwidth: of the loops, noise bandwidth in units of the symbol rate.
    Where oscillators are quiet, half the carrier's gains QPSK 0.03 dB.  The symbol clock may be
    50 ppm off.
    """

    range_hz: float = 0.0
    rate_hz_s: float = 0.0
    prediction: tuple[float, ...] = ()
    minimum_esn0_db: float | None = None
    carrier_bandwidth: float = 1e-3
    timing_bandwidth: float = 2e-4

    def __post_init__(self) -> None:
        for name, value, most in (
            ("range_hz", self.range_hz, 1e10),
            ("rate_hz_s", self.rate_hz_s, 1e9),
        ):
            if not 0 <= value <= most:
                raise LocalError(f"{name} is {value}; 0 to {most:g} wanted")
        for name, value in (
            ("carrier_bandwidth", self.carrier_bandwidth),
            ("timing_bandwidth", self.timing_bandwidth),
        ):
            if not 1e-6 <= value <= 0.05:
                raise LocalError(f"{name} is {value} symbol rates; 1e-6 to 0.05 wanted")
        if self.minimum_esn0_db is not None and not -12 <= self.minimum_esn0_db <= 20:
            raise LocalError(f"minimum Es/N0 is {self.minimum_esn0_db} dB; −12 to 20 wanted")


@dataclass(frozen=True, eq=False)
class SoftSymbols:
    """values: float32 [n], positive for 0, the mean square of signal and noise together being one.

    starts: int64, symbols of the whole stream (counted from 0) before which something is missing:
    the carrier was found, or found again.  first: number of values[0].
    """

    values: F32
    starts: I64
    first: int = 0

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class DemodulatorStatus:
    """offset_hz: of the carrier from the centre, as of the newest sample; rate_hz_s: its drift.

    esn0_db: of a symbol of the modulation, NaN without lock; level_db: mean power of the symbols'
    band against 1.  samples: pushed; symbols: soft ones given out; locks, losses: so far.
    """

    state: State
    offset_hz: float
    rate_hz_s: float
    symbol_rate: float
    esn0_db: float
    level_db: float
    samples: int
    symbols: int
    locks: int
    losses: int


class Demodulator:
    """Receiver of one carrier that is suppressed; `residual.py` has that of the others, whose
    bi-phase symbols come here as real samples without a carrier.

    Keeps at most a window and a half of samples.  Raises LocalError for what cannot be.
    """

    def __init__(
        self, waveform: Waveform, sample_rate: float, reception: Reception | None = None
    ) -> None:
        reception = Reception() if reception is None else reception
        self.waveform = waveform
        self.reception = reception
        self.sample_rate = float(sample_rate)
        self._sps = sample_rate / waveform.pulse_rate
        if self._sps < 2 or sample_rate < 1.5 * waveform.symbol_rate:
            raise LocalError(
                f"sample rate of {sample_rate} for {waveform.symbol_rate} symbols/s;"
                " at least 2 samples a symbol wanted"
            )
        self._detector = (
            Detector.REAL
            if waveform.modulation == Modulation.PM_BIPHASE
            else Detector.STAGGERED
            if waveform.staggered
            else Detector.QPSK
            if waveform.modulation == Modulation.QPSK
            else Detector.BPSK
        )
        self._ticks_a_symbol = 2 if waveform.staggered else 1
        self._order = {Detector.QPSK: 4, Detector.BPSK: 2}.get(self._detector, 0)
        self._minimum_db = (
            -3.0 + 10 * math.log10(waveform.rails)
            if reception.minimum_esn0_db is None
            else reception.minimum_esn0_db
        )
        self._window_symbols = _window_symbols(waveform, self._minimum_db)
        self._acquisition = Acquisition(
            waveform,
            self._sps,
            self._window_symbols,
            reception.range_hz / sample_rate,
            reception.rate_hz_s / sample_rate**2,
        )
        self._filters()
        self._settings = self._loops()
        self._begin()

    def _filters(self) -> None:
        """Matched filter, and late less early, for each place that a tick can have."""
        sps, pulse = self._sps, self.waveform.pulse
        places = max(1, round(_PLACES / sps))
        reach = max(pulse.receive_reach, pulse.reach + pulse.early)
        half = math.ceil(reach * sps + 0.5)
        length = -(-(2 * half + 1) // 8) * 8
        k = np.arange(length) - half
        t = (k - np.arange(places)[:, None] / places) / sps
        width = 1 / sps
        on_time = pulse.receive_taps(t, width) / sps
        late = pulse.taps(t - pulse.early, width) - pulse.taps(t + pulse.early, width)
        self._on_time = on_time.astype(np.float32)
        self._slopes = (late / sps).astype(np.float32)
        self._half = (length - 1) // 2
        # `half` of the kernel is that of the padded length.
        shift = self._half - half
        if shift:
            self._on_time = np.ascontiguousarray(np.roll(self._on_time, shift, axis=1))
            self._slopes = np.ascontiguousarray(np.roll(self._slopes, shift, axis=1))
        self._length = length

    def _loops(self) -> F64:
        """Gains of the loops: a third-order one of the carrier, a second-order one of timing."""
        reception, ticks = self.reception, self._ticks_a_symbol
        design_db = self._minimum_db + 2
        slope, phase_slope, timing_slope = _detector_slopes(
            self._detector, self.waveform, design_db
        )
        period = self._sps / ticks
        # Kaplan and Hegarty, table of loop filters: third order, B = 0.7845 w.
        w = reception.carrier_bandwidth / ticks / 0.7845
        turn = 2 * np.pi * phase_slope
        v = reception.timing_bandwidth / ticks / 0.53
        threshold, lasts = self._lock()
        self._verify_ticks = max(self._window_symbols * ticks, math.ceil(lasts))
        settings = np.zeros(len(Setting))
        settings[Setting.PHASE_GAIN] = 2.4 * w / turn
        settings[Setting.FREQUENCY_GAIN] = 1.1 * w**2 / turn / period
        settings[Setting.RATE_GAIN] = w**3 / turn / period
        settings[Setting.PLACE_GAIN] = 1.414 * v * self._sps / timing_slope
        settings[Setting.PERIOD_GAIN] = v**2 * self._sps / timing_slope
        settings[Setting.POWER_GAIN] = 1 / 512
        settings[Setting.LOCK_GAIN] = 1 / lasts
        settings[Setting.THRESHOLD] = threshold
        settings[Setting.SLOPE] = slope
        settings[Setting.NOMINAL_PERIOD] = period
        settings[Setting.PERIOD_RANGE] = period * _CLOCK_RANGE
        settings[Setting.SAMPLE_RATE] = self.sample_rate
        return settings

    def _lock(self) -> tuple[float, float]:
        """(statistic below which lock is lost, ticks over which it is averaged)."""
        none, least = lock.expected(self._order, -15.0), lock.expected(self._order, self._rail_db)
        margin = (least - none) / 2
        lasts = self._window_symbols * self._ticks_a_symbol / 4
        if self._order == 0:
            # Deviates by 0.5 over the root of twice the ticks: five times that is the margin.
            lasts = max(lasts, (2.5 / margin) ** 2 / 2)
        return none + margin, lasts

    @property
    def _rail_db(self) -> float:
        """Of a rail's symbol where the statistic is a rail's."""
        shared = self.waveform.rails if self._order == 0 else 1
        return self._minimum_db - 10 * math.log10(shared)

    def _begin(self) -> None:
        self._state = State.SEARCH
        self._expect(Prediction(self.reception.prediction, self.sample_rate))
        self._raw = np.zeros(0, np.complex64)
        #: Of `_raw`'s first sample; where the search stands; samples pushed.
        self._raw_at = self._cursor = self._samples = 0
        self._symbols: int = 0
        self._locks: int = 0
        self._losses: int = 0
        self._track = np.zeros(len(Field))
        self._turned = np.zeros((2, 0), np.float32)
        self._pending: list[F32] = []
        self._verified = 0
        self._points = np.zeros((0, 2), np.float32)

    # -- in and out --------------------------------------------------------------------------

    def push(self, samples: npt.ArrayLike) -> SoftSymbols:
        """The next samples, complex64 [n].  Raises LocalError for another shape."""
        chunk = np.ascontiguousarray(samples, np.complex64)
        if chunk.ndim != 1:
            raise LocalError(f"samples of shape {chunk.shape}, one dimension wanted")
        self._samples += len(chunk)
        self._raw = np.concatenate((self._raw, chunk)) if len(self._raw) else chunk
        out = self._run(final=False)
        self._raw = self._raw.copy() if len(self._raw) < len(chunk) else self._raw
        return out

    def finish(self) -> SoftSymbols:
        """The stream has ended: the symbols still on their way.  A later push begins anew."""
        end = self._samples
        parts = _Parts(self._symbols)
        self._run(final=True, parts=parts)
        if self._state != State.SEARCH:
            # Silence for what the filter of the last symbols reaches beyond the end.
            self._raw = np.concatenate((self._raw, np.zeros(self._length, np.complex64)))
            self._follow(parts, until=end)
            if self._state == State.VERIFY:
                parts.extend(self._pending)
        self._symbols = parts.total
        out = parts.symbols()
        symbols, locks, losses = self._symbols, self._locks, self._losses
        self._begin()
        self._symbols, self._locks, self._losses = symbols, locks, losses
        return out

    def predict(self, coefficients: Sequence[float]) -> None:
        """Another prediction, Σ cᵢ tⁱ Hz, t in seconds since the next sample pushed.  It holds from
        there on, and where the search stands; a carrier that is tracked goes on as it is."""
        before, state = self._prediction, self._track
        self._expect(Prediction(tuple(coefficients), self.sample_rate, self._samples))
        if self._state == State.SEARCH:
            return
        at, now = float(state[Field.SAMPLE]), self._prediction
        state[Field.FREQUENCY] += (before.hz(at) - now.hz(at)) / self.sample_rate
        growth = (before.hz_s(at) - now.hz_s(at)) / self.sample_rate**2
        state[Field.RATE] += growth * state[Field.PERIOD]

    def _expect(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._settings[Setting.EPOCH] = prediction.epoch

    def _run(self, *, final: bool, parts: _Parts | None = None) -> SoftSymbols:
        parts = _Parts(self._symbols) if parts is None else parts
        while True:
            if self._state == State.SEARCH:
                if not self._search(final=final):
                    break
            elif not self._follow(parts):
                break
        self._symbols = parts.total
        return parts.symbols()

    def _go(self, event: Event) -> None:
        self._state = TRANSITIONS[self._state][event]

    # -- search ------------------------------------------------------------------------------

    def _search(self, *, final: bool) -> bool:
        """Look into the next window; False if more samples are wanted."""
        window = self._acquisition.window
        begin = self._cursor - self._raw_at
        samples = self._raw[begin : begin + window]
        if len(samples) < window and not (final and len(samples) > 16 * self._sps):
            return False
        found = self._acquisition.search(self._prediction.taken_off(samples, self._cursor))
        if found is None:
            self._go(Event.NOT_FOUND)
            self._skip()
            return True
        self._go(Event.FOUND)
        self._start(found)
        return True

    def _skip(self) -> None:
        """Half a window on; what the filter of a first tick there wants is kept."""
        self._cursor += self._acquisition.window // 2
        self._drop(self._cursor - self._length)

    def _drop(self, sample: int) -> None:
        """Forget samples before this one."""
        cut = min(max(sample - self._raw_at, 0), len(self._raw))
        self._raw = self._raw[cut:]
        self._raw_at += cut

    def _start(self, found: Found) -> None:
        """Loops set to what was found, at the sample where the first tick's filter begins."""
        first = self._cursor - self._half - 1
        lead = np.zeros(max(self._raw_at - first, 0), np.complex64)
        if len(lead):  # the stream's beginning: silence before it
            self._raw = np.concatenate((lead, self._raw))
            self._raw_at = first
        back = float(first - self._cursor)
        window = self._acquisition.window
        at_start = found.offset - found.rate * window / 2
        turns = found.turns + back * (at_start + found.rate * back / 2)
        before, now = self._prediction.turns([first, self._cursor])
        turns += float(before - now)
        ticks = self._ticks_a_symbol
        state = self._track
        state[:] = 0
        state[Field.PHASE] = turns % 1.0
        state[Field.FREQUENCY] = at_start + found.rate * back
        state[Field.RATE] = found.rate * self._sps / ticks
        state[Field.PLACE] = self._half + 1 + math.floor(found.timing)
        state[Field.FRACTION] = found.timing % 1.0
        state[Field.PERIOD] = self._sps / ticks
        state[Field.POWER] = found.power
        minimum = self._rail_db
        if self._order == 0:
            state[Field.SQUARE] = 0.5
            state[Field.MAGNITUDE] = math.sqrt(0.5 * lock.expected(0, minimum))
        else:
            state[Field.ANGLE] = lock.expected(self._order, minimum)
        state[Field.SAMPLE] = first
        self._turned = np.zeros((2, 0), np.float32)
        self._verified = 0
        self._pending = []

    # -- tracking ----------------------------------------------------------------------------

    def _follow(self, parts: _Parts, until: int | None = None) -> bool:
        """Track through what is there; True if lock was lost and the search is to go on.

        until: sample behind which no tick is wanted.
        """
        state = self._track
        while True:
            begin = int(state[Field.SAMPLE]) - self._raw_at
            samples = self._raw[begin : begin + _SLICE]
            kept = self._turned.shape[1]
            room = np.empty((2, kept + len(samples)), np.float32)
            room[:, :kept] = self._turned
            points = np.empty((int(room.shape[1] / state[Field.PERIOD] * 1.01) + 4, 2), np.float32)
            _used, filled, ticks, lost = track(
                samples, self._prediction.turns_a_sample, self._on_time, self._slopes,
                int(self._detector), self._settings, state, room[0], room[1], kept, points,
            )  # fmt: skip
            self._turned = room[:, :filled].copy()
            points = points[:ticks]
            if until is not None and ticks:
                # Ticks are counted back from the next one, which stands at PLACE.
                following = state[Field.SAMPLE] - filled + state[Field.PLACE]
                back = np.arange(int(ticks), 0, -1, dtype=np.float64) * float(state[Field.PERIOD])
                points = points[following - back < until]
            self._take(points, parts)
            if lost:
                self._lose()
                return True
            if self._state == State.TRACK:
                self._drop(int(state[Field.SAMPLE]))
            if not ticks:
                return False

    def _take(self, points: F32, parts: _Parts) -> None:
        if len(points) >= 512:
            self._points = points[-512:].copy()
        elif len(points):
            self._points = np.concatenate((self._points, points))[-512:]
        values = points.ravel() if self._detector == Detector.QPSK else points[:, 0]
        if self._state == State.TRACK:
            parts.append(values.copy() if self._detector == Detector.QPSK else values)
            return
        self._pending.append(values.copy())
        self._verified += len(points)
        if self._verified >= self._verify_ticks:
            self._go(Event.CONFIRMED)
            self._locks += 1
            parts.extend(self._pending)
            self._pending = []

    def _lose(self) -> None:
        if self._state == State.TRACK:
            self._losses += 1
            self._cursor = int(self._track[Field.SAMPLE])
            self._go(Event.LOST)
            self._drop(self._cursor - self._length)
        else:
            self._pending = []
            self._go(Event.LOST)
            self._skip()

    # -- what can be asked -------------------------------------------------------------------

    @property
    def status(self) -> DemodulatorStatus:
        state = self._track
        tracking = self._state != State.SEARCH
        predicted = self._prediction.hz(float(state[Field.SAMPLE]))
        ticks = self._ticks_a_symbol
        rate = state[Field.RATE] / state[Field.PERIOD] if tracking else 0.0
        return DemodulatorStatus(
            state=self._state,
            offset_hz=float(state[Field.FREQUENCY]) * self.sample_rate + predicted,
            rate_hz_s=float(rate) * self.sample_rate**2 + self._prediction.hz_s(self._samples),
            symbol_rate=self.sample_rate / float(state[Field.PERIOD] * ticks)
            * (self.waveform.symbol_rate / self.waveform.pulse_rate)
            if tracking
            else self.waveform.symbol_rate,
            esn0_db=self._esn0_db() if tracking else math.nan,
            level_db=10 * math.log10(max(float(state[Field.POWER]), 1e-30)),
            samples=self._samples,
            symbols=self._symbols,
            locks=self._locks,
            losses=self._losses,
        )  # fmt: skip

    def _esn0_db(self) -> float:
        state = self._track
        if self._order:
            return lock.esn0_db(self._order, float(state[Field.ANGLE]))
        ratio = float(state[Field.MAGNITUDE] ** 2 / (state[Field.SQUARE] + 1e-30))
        rails_db = 10 * math.log10(self.waveform.rails)
        return lock.esn0_db(0, ratio) + rails_db

    def oscillator_turns(self, samples: npt.ArrayLike) -> F64:
        """Where the carrier's phase will be at samples of these numbers, as it was last tracked."""
        state = self._track
        ahead = np.asarray(samples, np.float64) - state[Field.SAMPLE]
        turns: F64 = state[Field.PHASE] + state[Field.FREQUENCY] * ahead
        return turns

    @property
    def constellation(self) -> F32:
        """float32 [at most 512, 2]: the newest symbols, on the decided axis and across."""
        return self._points

    def snapshot(self) -> dict[str, Any]:
        """All there is to go on from, in types that msgpack knows."""
        return {
            "state": int(self._state),
            "counts": [
                self._raw_at, self._cursor, self._samples, self._symbols, self._locks,
                self._losses, self._verified,
            ],
            "raw": self._raw.tobytes(),
            "track": self._track.tolist(),
            "turned": self._turned.tobytes(),
            "pending": [part.tobytes() for part in self._pending],
            "prediction": self._prediction.snapshot(),
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the snapshot of a demodulator of the same waveform and reception."""
        self._begin()
        self._state = State(state["state"])
        self._expect(self._prediction.restored(state["prediction"]))
        (
            self._raw_at, self._cursor, self._samples, self._symbols, self._locks, self._losses,
            self._verified,
        ) = map(int, state["counts"])  # fmt: skip
        self._raw = np.frombuffer(state["raw"], np.complex64)
        self._track[:] = state["track"]
        self._turned = np.frombuffer(state["turned"], np.float32).reshape(2, -1).copy()
        self._pending = [np.frombuffer(part, np.float32) for part in state["pending"]]


class _Parts:
    """Soft symbols of one call, and where in the stream something is missing before them."""

    def __init__(self, total: int) -> None:
        self.total = self._first = total
        self._values: list[F32] = []
        self._starts: list[int] = []

    def append(self, values: F32) -> None:
        self._values.append(values)
        self.total += len(values)

    def extend(self, parts: Sequence[F32]) -> None:
        """What was held back since the carrier was found."""
        self._starts.append(self.total)
        for part in parts:
            self.append(part)

    def symbols(self) -> SoftSymbols:
        values = np.concatenate(self._values) if self._values else np.empty(0, np.float32)
        return SoftSymbols(
            np.ascontiguousarray(values), np.array(self._starts, np.int64), self._first
        )


def _window_symbols(waveform: Waveform, minimum_esn0_db: float) -> int:
    """So many that the line of the weakest signal stands 15 to 20 dB above the noise."""
    g = 10 ** (minimum_esn0_db / 10)
    if waveform.modulation == Modulation.QPSK:
        # Variance of (1 + n)⁴ over the line's power.
        wanted = 32 * (16 / g + 72 / g**2 + 96 / g**3 + 24 / g**4 + 1)
    else:
        wanted = 200 * (2 / g + 1 / g**2 + 1)
    if waveform.modulation == Modulation.OQPSK:
        wanted *= 8  # its lines are as weak as its bandwidth is narrow
    return int(2 ** np.clip(np.ceil(np.log2(wanted)), 10, 14))


def _detector_slopes(
    detector: Detector, waveform: Waveform, esn0_db: float
) -> tuple[float, float, float]:
    """(steepness of the soft decision, what the carrier's detector gives for a radian, and the
    timing's for a symbol) at this Es/N0, symbols having a mean square of one with their noise."""
    rails = 2 if detector == Detector.QPSK else 1
    g = 10 ** (esn0_db / 10)
    if detector == Detector.STAGGERED:
        g /= waveform.rails
    amplitude = math.sqrt(g / (1 + g) / rails)
    deviation = math.sqrt(1 / (1 + g) / 2)
    steep = amplitude / deviation**2
    x = np.linspace(-6.0, 6.0, 2001)
    density = np.exp(-x * x / 2) / math.sqrt(2 * np.pi) * (x[1] - x[0])
    v = amplitude + deviation * x
    d = np.clip(steep * v, -1, 1)
    with_symbol = float(np.sum(density * d))
    product = float(np.sum(density * d * v))
    inside = float(np.sum(density * (np.abs(steep * v) < 1))) * steep
    across = deviation**2 + (amplitude**2 if rails == 2 else 0.0)
    if detector == Detector.STAGGERED:
        # Between its own symbols a rail still has most of its power.
        across = deviation**2 + 0.5 * amplitude**2
    phase_slope = rails * (product - inside * across)
    pulse = waveform.pulse
    h = 1e-2
    edge = pulse.autocorrelation(pulse.early + h) - pulse.autocorrelation(pulse.early - h)
    timing_slope = rails * with_symbol * amplitude * 2 * abs(edge) / (2 * h)
    return steep, max(phase_slope, 0.05), timing_slope
