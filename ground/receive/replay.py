"""Replay: a capture through the receive chain, into any number of sinks.

`replay` is what `l4 replay` calls.  Sinks are handed in: this module knows neither the archive nor
the bus, only the few methods of `ReplaySink`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ground.receive.inputs import Input, Piece, open_input
from ground.receive.output import ChainOutput, ChainStatistics
from ground.receive.profile import LinkProfile, load_profile
from ground.receive.radio_receiver import Expect
from ground.receive.sample_chain import Chain, open_chain
from protocols.errors import LocalError

#: Small pieces (datagrams, chunks of a capture) are decoded together up to this many octets, so
#: that the stages work on batches.
BATCH_OCTETS = 1 << 19

#: Longest pause of a paced replay, wall clock: a gap between passes is not waited for.
LONGEST_PAUSE_S = 5.0


class ReplaySink(Protocol):
    """Where a replay goes: a report, the archive, the live bus."""

    def take(self, output: ChainOutput, chain: Chain) -> None:
        """One batch, in order.  `chain` for its statistics and its profile, not to push to."""
        ...

    def finish(self, chain: Chain) -> None:
        """The input has ended; not called if the replay was broken off by an error."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a replay is; total_octets is None for a pipe."""

    octets: int
    total_octets: int | None
    packets: int
    frames: int
    ert_ns: int


@dataclass(frozen=True)
class ReplayResult:
    """What a replay found.

    summary: one JSON object with the keys of the truth file of the public captures.
    statement: what the input was taken for, and how to say otherwise.
    """

    summary: dict[str, Any]
    statement: str
    statistics: ChainStatistics
    profile: LinkProfile
    notes: list[str] = field(default_factory=list[str])


def replay(
    path: Path | BinaryIO,
    profile: LinkProfile | None = None,
    *,
    input: str | None = None,
    port: int | None = None,
    pace: float | None = None,
    ert_ns: int = 0,
    digests: bool = True,
    sinks: Sequence[ReplaySink] = (),
    progress: Callable[[Progress], None] | None = None,
    prediction: Callable[[LinkProfile], Expect | None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> ReplayResult:
    """Send a capture through the chain.

    path: a file, a capture directory, or a binary stream (standard input).
    profile: None will do for space packets back to back.
    input: one of `inputs.CHOICES` if the input is not what it looks like; port: UDP port in pcap.
    pace: None as fast as possible, 1.0 as recorded, N times as fast as recorded; captures without
        times need the profile's bit rate for a pace.
    ert_ns: ERT of the first octet (TAI ns) for captures without times.
    prediction: asked, for a capture of I/Q samples, for the carrier's Doppler shift.
    digests: SHA-256 of the packets in the summary.
    sleep, monotonic: the wall clock that a pace is kept by.

    Raises LocalError for what cannot be opened or agreed on; nothing for what is in the capture.
    """
    with open_timed(
        path,
        profile,
        input=input,
        port=port,
        pace=pace,
        ert_ns=ert_ns,
        sleep=sleep,
        monotonic=monotonic,
    ) as timed:
        opened = timed.opened
        predict = None
        if opened.kind == "samples" and prediction is not None:
            predict = prediction(timed.profile)
        chain = open_chain(timed.profile, input=opened.kind, predict=predict, digests=digests)
        # A pipe may be live: what has come is shown, not held back for a batch.
        at_once = pace is not None or opened.total_octets is None
        batches = _batched(timed.pieces, paced=at_once)
        _run(chain, batches, opened.total_octets, sinks, progress)
    summary = chain.summary()
    summary["detected"] = opened.statement
    if opened.skipped:
        summary["skipped"] = dict(sorted(opened.skipped.items()))
    return ReplayResult(
        summary, opened.statement, chain.statistics(), chain.profile, list(chain.notes)
    )


@dataclass(frozen=True, slots=True)
class TimedInput:
    """An opened capture, the profile it is read with, and its pieces, each with its ERT."""

    opened: Input
    profile: LinkProfile
    pieces: Iterable[Piece]


@contextmanager
def open_timed(
    path: Path | BinaryIO,
    profile: LinkProfile | None = None,
    *,
    input: str | None = None,
    port: int | None = None,
    pace: float | None = None,
    ert_ns: int = 0,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[TimedInput]:
    """Open a capture for replay; arguments and errors as of `replay`.  With a pace the pieces
    wait until they are due."""
    if pace is not None and pace <= 0:
        raise LocalError(f"pace {pace}: a number above 0 is allowed")
    with open_input(path, profile, choice=input, port=port) as opened:
        if profile is None:
            if opened.kind != "packets":
                raise LocalError(
                    f"{opened.statement}: frames want --mission NAME or --frame-length N"
                )
            profile = load_profile(input="packets")
        untimed = opened.container == "file" and not profile.bit_rate
        if pace is not None and untimed and opened.total_octets is not None:
            raise LocalError("the input has no times: a pace wants --bit-rate N (bits per second)")
        pieces = _timed(opened.pieces, profile, ert_ns)
        if pace is not None:
            if opened.kind != "samples":
                pieces = _cut(pieces, profile)
            pieces = _paced(pieces, pace, sleep, monotonic)
        yield TimedInput(opened, profile, pieces)


def _run(
    chain: Chain,
    batches: Iterable[list[Piece]],
    total_octets: int | None,
    sinks: Sequence[ReplaySink],
    progress: Callable[[Progress], None] | None,
) -> None:
    frames = 0
    for pieces in batches:
        output = chain.push_chunks([(piece.octets, piece.ert_ns) for piece in pieces])
        frames += output.frames
        for sink in sinks:
            sink.take(output, chain)
        if progress is not None:
            consumed, ert_ns = pieces[-1].consumed, pieces[-1].ert_ns
            packets = chain.summary_counts.packets
            progress(Progress(consumed, total_octets, packets, frames, ert_ns))
    output = chain.finish()
    for sink in sinks:
        sink.take(output, chain)
    for sink in sinks:
        sink.finish(chain)


def _timed(pieces: Iterable[Piece], profile: LinkProfile, ert_ns: int) -> Iterable[Piece]:
    """Pieces with a time each: that of the capture, or of the bit rate from `ert_ns` on."""
    octets = 0
    for piece in pieces:
        if piece.ert_ns < 0:
            at = ert_ns
            if profile.bit_rate:
                at += round(octets * 8 / profile.bit_rate * 1e9)
            octets += len(piece.octets)
            yield piece._replace(ert_ns=at)
        else:
            yield piece


def _paced(
    pieces: Iterable[Piece],
    pace: float,
    sleep: Callable[[float], None],
    monotonic: Callable[[], float],
) -> Iterable[Piece]:
    """Wait before each piece for the time that passed on the link since the one before."""
    last: int | None = None
    due = monotonic()
    for piece in pieces:
        if last is not None and piece.ert_ns > last:
            due += min((piece.ert_ns - last) / 1e9 / pace, LONGEST_PAUSE_S)
            wait = due - monotonic()
            if wait > 0:
                sleep(wait)
            else:
                # Decoding takes longer than the link did: what is owed does not pile up.
                due = max(due, monotonic() - LONGEST_PAUSE_S)
        last = piece.ert_ns
        yield piece


def _cut(pieces: Iterable[Piece], profile: LinkProfile) -> Iterable[Piece]:
    """Large pieces of a file, cut so that a tenth of a second of the link comes at a time."""
    for piece in pieces:
        if not profile.bit_rate:
            yield piece
            continue
        step = max(int(profile.bit_rate / 80), 1)
        for start in range(0, len(piece.octets), step):
            yield Piece(
                piece.octets[start : start + step],
                piece.ert_ns + round(start * 8 / profile.bit_rate * 1e9),
                piece.consumed - len(piece.octets) + min(start + step, len(piece.octets)),
            )


def _batched(pieces: Iterable[Piece], *, paced: bool) -> Iterable[list[Piece]]:
    """Pieces that go through the chain together."""
    held: list[Piece] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece.octets)
        if paced or size >= BATCH_OCTETS:
            yield held
            held, size = [], 0
    if held:
        yield held
