"""From a link's I/Q samples to packets: the face of `ReceiveChain`, a radio receiver before it.

A pure function of the chunks pushed so far.  Where samples are missing, those that are known are
replaced by silence, which loops and decoders outlive; after more than that, or where nobody knows
how many, the receiver looks for its carrier anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.receive.chain import ReceiveChain
from ground.receive.output import ChainOutput, ChainStatistics, nothing
from ground.receive.profile import InputKind, LinkProfile, RadioParameters
from ground.receive.radio_receiver import Expect, RadioReceiver, open_receive_chain
from ground.receive.summary import StreamSummary
from protocols.bus.messages import RadioMessage
from protocols.errors import LocalError, RemoteError
from protocols.physical.sample_block import SampleBlock, parse_sample_block

#: Longest gap that silence stands for.
SILENCE_S: Final = 0.1
#: A block's own time against that by the count of samples: beyond this it holds.
DRIFT_NS: Final = 250_000_000

SNAPSHOT_VERSION = 1

Heard = tuple[npt.NDArray[np.uint8], ChainOutput]

#: silent: samples for which silence stood; lost: samples missing as far as anybody knows; breaks:
#: receivers that ended; malformed: chunks that held no samples; unpredicted: segments for which
#: nobody could say where the carrier should be.
_COUNTS: Final = ("samples", "silent", "lost", "breaks", "malformed", "unpredicted")


class SampleChain:
    """profile: with its radio.  predict: the carrier's Doppler shift; None: it is looked for.
    expect: instead of that, where the carrier stands in the samples.

    Raises LocalError for a profile without a radio.
    """

    def __init__(
        self,
        profile: LinkProfile,
        *,
        predict: Expect | None = None,
        expect: Expect | None = None,
        digests: bool = False,
    ) -> None:
        self._chain = open_receive_chain(profile, digests=digests)
        assert profile.radio is not None
        self._given, self._radio = profile, profile.radio
        self._predict, self._expect = predict, expect
        self._receiver: RadioReceiver | None = None
        self._centre_hz = 0.0
        self._counts = dict.fromkeys(_COUNTS, 0)
        # Of receivers before this one.
        self._locks = self._losses = self._symbols = 0

    # -- the face of a chain -----------------------------------------------------------------

    @property
    def profile(self) -> LinkProfile:
        return self._chain.profile

    @property
    def notes(self) -> list[str]:
        return self._chain.notes

    @property
    def summary_counts(self) -> StreamSummary:
        return self._chain.summary_counts

    def push_chunks(self, chunks: Sequence[tuple[bytes, int]]) -> ChainOutput:
        """Chunks as (octets of a `SampleBlock`, ERT of its first sample).  Nothing that they hold
        raises, but a sample rate too low for the symbols (LocalError)."""
        outputs: list[ChainOutput] = []
        for octets, ert_ns in chunks:
            try:
                block = parse_sample_block(octets)
            except RemoteError:
                self._counts["malformed"] += 1
                outputs.append(self._break_off()[1])
                continue
            outputs.append(self.push(block, ert_ns)[1])
        return ChainOutput.join(outputs) if outputs else nothing()

    def finish(self) -> ChainOutput:
        return self.end()[1]

    def statistics(self) -> ChainStatistics:
        found = self._chain.statistics()
        return ChainStatistics(
            {"radio": self._radio_counts(), **found.counts}, found.virtual_channels
        )

    def summary(self) -> dict[str, Any]:
        return {**self._chain.summary(), "input": "samples", "radio": self._radio_counts()}

    def message(self, station: str, receiver: str) -> RadioMessage | None:
        """How the carrier is heard; None before the first sample."""
        return None if self._receiver is None else self._receiver.message(station, receiver)

    # -- samples -----------------------------------------------------------------------------

    def push(self, block: SampleBlock, ert_ns: int) -> Heard:
        """As `RadioReceiver.push`: octets of the decoded stream, and what the chain made of them.
        LocalError: a sample rate too low for the symbols."""
        heard: list[Heard] = []
        receiver = self._receiver
        self._counts["lost"] += max(block.lost, 0)
        if receiver is not None and (
            block.sample_rate_hz != receiver.sample_rate
            or block.centre_hz != self._centre_hz
            or not 0 <= block.lost <= SILENCE_S * receiver.sample_rate
        ):
            heard.append(self._break_off())
            receiver = None
        samples = block.samples()
        if len(samples):
            if receiver is None:
                receiver = self._begin(block, ert_ns)
            elif block.lost:
                self._counts["silent"] += block.lost
                samples = np.concatenate([np.zeros(block.lost, np.complex64), samples])
                ert_ns -= round(block.lost / receiver.sample_rate * 1e9)
            if abs(ert_ns - receiver.time_ns) > DRIFT_NS:
                receiver.start_ns += ert_ns - receiver.time_ns
            self._counts["samples"] += len(samples)
            heard.append(receiver.push(samples))
        return _joined(heard)

    def end(self) -> Heard:
        """What is still in it."""
        octets, output = self._break_off()
        return octets, ChainOutput.join([output, self._chain.finish()])

    def _begin(self, block: SampleBlock, ert_ns: int) -> RadioReceiver:
        self._centre_hz = block.centre_hz
        self._receiver = self._open(block.sample_rate_hz, ert_ns)
        return self._receiver

    def _open(self, sample_rate: float, start_ns: int) -> RadioReceiver:
        return RadioReceiver(
            self._given,
            sample_rate=sample_rate,
            start_ns=start_ns,
            reception=self._radio.reception(),
            expect=self._expect or expectation(self._radio, self._centre_hz, self._predicted()),
            chain=self._chain,
            first_symbol=self._symbols,
        )

    def _predicted(self) -> Expect | None:
        predict = self._predict
        if predict is None:
            return None

        def predicted(ert_ns: int, seconds: float) -> tuple[float, ...]:
            try:
                return predict(ert_ns, seconds)
            except LocalError:
                # A trajectory that has ended: the carrier is looked for without it.
                self._counts["unpredicted"] += 1
                return (0.0,)

        return predicted

    def _break_off(self) -> Heard:
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return _joined([])
        heard = receiver.break_off()
        self._counts["breaks"] += 1
        self._locks += receiver.status.locks
        self._losses += receiver.status.losses
        self._symbols = receiver.symbols
        return heard

    def _radio_counts(self) -> dict[str, int]:
        status = None if self._receiver is None else self._receiver.status
        return {
            **self._counts,
            "locks": self._locks + (status.locks if status else 0),
            "losses": self._losses + (status.losses if status else 0),
        }

    # -- state -------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """As `ReceiveChain.snapshot`."""
        receiver = self._receiver
        return {
            "version": SNAPSHOT_VERSION,
            "chain": self._chain.snapshot(),
            "centre_hz": self._centre_hz,
            "counts": dict(self._counts),
            "before": [self._locks, self._losses, self._symbols],
            "receiver": None
            if receiver is None
            else [receiver.sample_rate, receiver.start_ns, receiver.snapshot()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a snapshot.  LocalError if it is of another profile, input or version."""
        if state.get("version") != SNAPSHOT_VERSION or "receiver" not in state:
            raise LocalError("the snapshot is not of a chain of samples of this version")
        self._chain.restore(state["chain"])
        self._centre_hz = state["centre_hz"]
        self._counts |= state["counts"]
        self._locks, self._losses, self._symbols = state["before"]
        self._receiver = None
        if state["receiver"] is not None:
            sample_rate, start_ns, receiver = state["receiver"]
            self._receiver = self._open(sample_rate, start_ns)
            self._receiver.restore(receiver)


def _joined(heard: list[Heard]) -> Heard:
    if len(heard) == 1:
        return heard[0]
    octets = [np.empty(0, np.uint8), *(one for one, _ in heard)]
    return np.concatenate(octets), ChainOutput.join([nothing(), *(one for _, one in heard)])


def expectation(radio: RadioParameters, centre_hz: float, predict: Expect | None) -> Expect | None:
    """Where its carrier should stand in samples about `centre_hz` (0: tuned to it): what the tuner
    leaves, and the predicted Doppler shift; None: about the middle."""
    tuned = radio.frequency_hz and centre_hz
    offset_hz = radio.frequency_hz - centre_hz if tuned else 0.0
    if predict is None:
        return (lambda _ert_ns, _seconds: (offset_hz,)) if offset_hz else None

    def expected(ert_ns: int, seconds: float) -> tuple[float, ...]:
        shift = predict(ert_ns, seconds)
        return (offset_hz + shift[0], *shift[1:])

    return expected


Chain = ReceiveChain | SampleChain


def open_chain(
    profile: LinkProfile,
    *,
    input: InputKind | None = None,
    predict: Expect | None = None,
    digests: bool = False,
) -> Chain:
    """What decodes this profile's link; arguments as of the chains."""
    if (input or profile.input) == "samples":
        return SampleChain(profile, predict=predict, digests=digests)
    return ReceiveChain(profile, input=input, digests=digests)


__all__ = ["Chain", "SampleChain", "expectation", "open_chain"]
