"""From I/Q samples to packets: demodulator, symbol decoder, and the receive chain behind them.

A pure function of the samples pushed so far, as the chain is; how it hears its carrier is told as a
`RadioMessage`.  The ERT of frames is that of the samples that completed them, less the block in
which they came: good to a few milliseconds, and not a measurement.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput
from ground.receive.profile import LinkProfile
from protocols.bus.messages import RadioMessage
from protocols.coding.ambiguity import CodedSymbols, PlainSymbols
from protocols.errors import LocalError
from protocols.physical.demodulator import DemodulatorStatus, Reception, SoftSymbols, State
from protocols.physical.monitor import constellation, spectrum_db
from protocols.physical.residual import open_demodulator
from protocols.physical.waveform import Waveform

C64 = npt.NDArray[np.complex64]
U8 = npt.NDArray[np.uint8]
#: Where the carrier is expected from an ERT (TAI ns) on, for so many seconds: coefficients cᵢ of
#: Σ cᵢ tⁱ Hz from the samples' centre.  The same arguments give the same answer, in any process.
Expect = Callable[[int, float], tuple[float, ...]]
#: An expectation is for so long.
SEGMENT_S: Final = 60.0
#: Newest samples that a spectrum is of, and points of a constellation.
_SAMPLES: Final = 16_384
_POINTS: Final = 256
#: Eb/N0 under which no turbo or LDPC code of the standard decodes.
_WEAKEST_DB: Final = -1.0
#: The least that a demodulator takes.
_FAINTEST_DB: Final = -12.0


def _as_weak(profile: LinkProfile, waveform: Waveform, reception: Reception) -> Reception:
    """Symbols as weak as the code allows count as lock, where nobody has said."""
    if profile.coding.codeblocks is None or reception.minimum_esn0_db is not None:
        return reception
    weakest_db = _WEAKEST_DB + 10 * math.log10(profile.rate * waveform.rails)
    return replace(reception, minimum_esn0_db=max(weakest_db, _FAINTEST_DB))


def open_receive_chain(profile: LinkProfile, *, digests: bool = False) -> ReceiveChain:
    """What takes a receiver's octets, or its soft symbols where the codes want those.  LocalError:
    the profile has no radio."""
    if profile.radio is None:
        raise LocalError(
            f"link profile {profile.name!r} does not say how its carrier is modulated; its mission "
            "file wants a section [radio], or --modulation and --symbol-rate"
        )
    waveform = profile.radio.waveform() if profile.coding.codeblocks is not None else None
    return ReceiveChain(profile, input="cadu", digests=digests, waveform=waveform)


class RadioReceiver:
    """profile: with its radio; start_ns: ERT of the first sample; expect: of the carrier's
    frequency, asked once a segment; chain: what takes octets or symbols on, a new one unless given,
    first_symbol: and how many it has had from receivers before this one.
    Raises LocalError for a profile without a radio, or a sample rate that is too low."""

    def __init__(
        self,
        profile: LinkProfile,
        *,
        sample_rate: float,
        start_ns: int,
        reception: Reception | None = None,
        expect: Expect | None = None,
        chain: ReceiveChain | None = None,
        first_symbol: int = 0,
    ) -> None:
        if profile.radio is None:
            raise LocalError(
                f"link profile {profile.name!r} does not say how its carrier is modulated; give "
                "--modulation and --symbol-rate"
            )
        self.waveform = profile.radio.waveform()
        # Turbo and LDPC codes take soft symbols: the chain is given those.
        soft = profile.coding.codeblocks is not None
        self.chain = open_receive_chain(profile) if chain is None else chain
        self.sample_rate, self.start_ns = sample_rate, start_ns
        self._expect, self._segment = expect, max(1, round(SEGMENT_S * sample_rate))
        self._first_symbol = first_symbol
        self._demodulator = open_demodulator(
            self.waveform, sample_rate, _as_weak(profile, self.waveform, reception or Reception())
        )
        code = profile.radio.code
        self._symbols: PlainSymbols | CodedSymbols | None = None
        if code is not None:
            self._symbols = CodedSymbols(self.waveform, code)
        elif not soft:
            self._symbols = PlainSymbols(self.waveform, profile.block_length, profile.coding.asm)
        #: Data bits in a symbol of the modulation, the marker not counted.
        self._data_bits = self.waveform.rails * profile.rate
        if code is not None:
            bits, _, symbols = code.rate.partition("/")
            self._data_bits *= int(bits) / int(symbols)
        self._taken = 0
        self._newest = np.empty(0, np.complex64)

    @property
    def status(self) -> DemodulatorStatus:
        return self._demodulator.status

    @property
    def samples(self) -> int:
        """Pushed so far."""
        return self._taken

    @property
    def ebn0_db(self) -> float:
        """Of a bit of the frames; NaN without lock."""
        return self.status.esn0_db - 10 * math.log10(self._data_bits)

    @property
    def time_ns(self) -> int:
        """ERT of the newest sample."""
        return self.start_ns + round(self._taken / self.sample_rate * 1e9)

    def push(self, samples: C64) -> tuple[U8, ChainOutput]:
        """The octets of the decoded stream, and what the chain made of them; of turbo and LDPC
        codes the coded stream as it was sent, which a chain of octets decodes again."""
        if self._expect is None:
            return self._push(samples)
        # Cut where expectations change, wherever the blocks were.
        parts: list[tuple[U8, ChainOutput]] = []
        at = 0
        while at < len(samples) or not parts:
            into = self._taken % self._segment
            if not into:
                self._demodulator.predict(self._expect(self.time_ns, SEGMENT_S))
            parts.append(self._push(samples[at : at + self._segment - into]))
            at += self._segment - into
        return np.concatenate([o for o, _ in parts]), ChainOutput.join([c for _, c in parts])

    def _push(self, samples: C64) -> tuple[U8, ChainOutput]:
        begin_ns = self.time_ns
        self._taken += len(samples)
        # A recording ends with a block of any size.
        self._newest = np.concatenate([self._newest, samples[-_SAMPLES:]])[-_SAMPLES:]
        return self._decode(self._demodulator.push(samples), begin_ns)

    def finish(self) -> tuple[U8, ChainOutput]:
        """What is still in it."""
        octets, output = self.break_off()
        return octets, ChainOutput.join([output, self.chain.finish()])

    def break_off(self) -> tuple[U8, ChainOutput]:
        """The samples end here, the chain may go on: what demodulator and decoder still hold."""
        first = self._decode(self._demodulator.finish(), self.time_ns)
        if self._symbols is None:
            # An edge without symbols: nothing follows on those before.
            end = np.array([first_symbol := self.symbols], np.int64)
            edge = SoftSymbols(np.empty(0, np.float32), end, first_symbol)
            outputs = [first[1], self.chain.push_symbols(edge, self.time_ns)]
            octets = self.chain.take_stream()
        else:
            octets = self._symbols.finish()
            outputs = [first[1], self.chain.push(octets, self.time_ns)]
        outputs.append(self.chain.break_off())
        return np.concatenate([first[0], octets]), ChainOutput.join(outputs)

    def snapshot(self) -> dict[str, Any]:
        """All but the chain's, whose own snapshot stands beside it."""
        return {
            "taken": self._taken,
            "demodulator": self._demodulator.snapshot(),
            "symbols": None if self._symbols is None else self._symbols.snapshot(),
            "first_symbol": self._first_symbol,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from the snapshot of a receiver of the same profile, rate and reception."""
        self._taken = state["taken"]
        self._demodulator.restore(state["demodulator"])
        if self._symbols is not None:
            self._symbols.restore(state["symbols"])
        self._first_symbol = state["first_symbol"]

    @property
    def symbols(self) -> int:
        """Soft symbols of the demodulator, with those of receivers before it."""
        return self._first_symbol + self._demodulator.status.symbols

    def _decode(self, symbols: SoftSymbols, begin_ns: int) -> tuple[U8, ChainOutput]:
        if self._symbols is None:
            before = self._first_symbol
            symbols = SoftSymbols(symbols.values, symbols.starts + before, symbols.first + before)
            output = self.chain.push_symbols(symbols, begin_ns)
            return self.chain.take_stream(), output
        octets = self._symbols.push(symbols)
        return octets, self.chain.push(octets, begin_ns)

    # How it hears --------------------------------------------------------------------------------

    def message(self, station: str, receiver: str) -> RadioMessage:
        """For whoever looks."""
        status = self.status
        locked = status.state == State.TRACK
        return RadioMessage(
            station=station,
            receiver=receiver,
            time_ns=self.time_ns,
            modulation=self.waveform.modulation,
            carrier_lock=status.state != State.SEARCH,
            symbol_lock=locked,
            frame_lock=locked and self.chain.in_sync,
            carrier_offset_hz=status.offset_hz,
            symbol_rate=status.symbol_rate,
            ebn0_db=self.ebn0_db,
            level_db=status.level_db,
            spectrum_centre_hz=0.0,
            spectrum_span_hz=self.sample_rate,
            spectrum=spectrum_db(self._newest),
            constellation=self._points(status) if locked else np.empty((0, 2), np.int8),
        )

    def _points(self, status: DemodulatorStatus) -> npt.NDArray[np.int8]:
        points = self._demodulator.constellation
        if self.waveform.staggered:
            # Each has its decided axis first; two together are a symbol.
            points = points[: len(points) // 2 * 2, 0].reshape(-1, 2)
        power = float(np.mean(np.sum(points**2, axis=1))) if len(points) else 1.0
        return constellation(points[-_POINTS:] / np.float32(math.sqrt(power)), status.esn0_db)
