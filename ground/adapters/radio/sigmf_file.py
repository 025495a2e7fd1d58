"""`sigmf:FILE.sigmf-meta`: recordings of I/Q samples, read as if they came in now, and written.

What is written can be opened at any instant, also after a kill: metadata stand before the first
sample and are replaced whole (a new capture segment after each loss), data are appended.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from ground.adapters.radio.adapter import (
    UNKNOWN,
    Adapter,
    Block,
    Face,
    Loss,
    Malformed,
    Result,
    Signal,
)
from ground.adapters.radio.address import Option, choice, number, options
from ground.adapters.radio.frame_file import Pace
from ground.adapters.radio.peer import Peer
from protocols.errors import LocalError, RemoteError
from protocols.physical.samples import SAMPLE_FORMATS, sample_format
from protocols.physical.sigmf import Recording, Segment, build_metadata, parse_metadata

META: Final = ".sigmf-meta"
DATA: Final = ".sigmf-data"
#: Samples of a block.
BLOCK_SAMPLES: Final = 1 << 15
#: Between two waits for the disk, wall seconds.
SYNC_S: Final = 1.0


def paths(path: Path) -> tuple[Path, Path]:
    """Metadata and data of a recording named by either, or without its ending."""
    if path.suffix == ".sigmf":
        raise LocalError(f"{path}: an archive; unpack it (it is a tar), name the {META}")
    stem = path.with_suffix("") if path.suffix in (META, DATA) else path
    return stem.with_name(stem.name + META), stem.with_name(stem.name + DATA)


def read_recording(path: Path) -> tuple[Recording, Path]:
    """What a recording is, and where its samples are.

    LocalError: it is not there; RemoteError: it is no SigMF."""
    meta, data = paths(path)
    try:
        recording = parse_metadata(meta.read_bytes())
        data.stat()
    except OSError as error:
        raise LocalError(f"{error.filename}: {error.strerror}") from error
    return recording, data


class SigMFWriter:
    """Samples into a new recording; `write` is a capture of an adapter.

    LocalError: it is there already, unless it may be replaced.
    """

    def __init__(
        self, path: Path, signal: Signal, *, description: str = "", replace: bool = False
    ) -> None:
        self.meta, self.data = paths(path)
        if not replace and (self.meta.exists() or self.data.exists()):
            raise LocalError(f"{self.meta} is there already")
        self.signal = signal
        self.samples = 0
        #: Samples and those missing between them, as far as anybody knows.
        self._index = 0
        self._description = description
        self._segments: list[Segment] = []
        self._retuned = False
        self._file: BinaryIO = self.data.open("wb", buffering=0)
        self._synced_s = time.monotonic()
        self._save()

    def write(self, blocks: Sequence[Block]) -> None:
        """LocalError: samples of another format than the first."""
        for block in blocks:
            if not self._segments or block.lost or self._retuned:
                self._index += max(block.lost, 0)
                # Of the first nothing is missing yet.
                unknown = block.lost == UNKNOWN and self._segments
                index = None if unknown else self._index
                self._segments.append(
                    Segment(self.samples, index, self.signal.centre_hz, block.ert_ns)
                )
                self._retuned = False
                self._save()
            self._file.write(block.octets)
            count = len(block.octets) // self.signal.format.octets
            self.samples += count
            self._index += count
        if time.monotonic() - self._synced_s > SYNC_S:
            os.fsync(self._file.fileno())
            self._synced_s = time.monotonic()

    def retune(self, signal: Signal) -> None:
        """What follows is of another centre frequency: a new segment.

        LocalError: of another format or rate, which a recording cannot have."""
        if (signal.format, signal.sample_rate_hz) != (
            self.signal.format,
            self.signal.sample_rate_hz,
        ) and self.samples:
            raise LocalError(
                f"{self.meta}: {signal.format.name} at {signal.sample_rate_hz:g} samples/s cannot "
                f"follow {self.signal.format.name} at {self.signal.sample_rate_hz:g}"
            )
        self.signal = signal
        # Before the next block, which knows its time.
        self._retuned = True

    def _save(self) -> None:
        recording = Recording(
            self.signal.format,
            self.signal.sample_rate_hz,
            tuple(self._segments) or (Segment(0, 0, self.signal.centre_hz),),
            self._description,
            {"core:recorder": "l4 radio record"},
        )
        new = self.meta.with_suffix(".new")
        with new.open("wb") as file:
            file.write(build_metadata(recording))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.meta)

    def close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
        self._save()


class SigMFAdapter(Adapter):
    """Blocks do not reach over a capture segment: where samples are missing a `Loss` says so."""

    SUMMARY = "recordings of I/Q samples (SigMF), to be received or written"
    ADDRESS = "sigmf:FILE.sigmf-meta"
    FACE = Face.SAMPLES
    OPTIONS = options(
        pace=Option(number, 0.0, "1: as fast as recorded, 2: twice as fast; 0: as it is taken"),
        mode=Option(choice("read", "write"), "read", "read, or write (a new recording)"),
        format=Option(choice(*SAMPLE_FORMATS), "cf32_le", "of what is written"),
        rate=Option(number, 0.0, "samples a second of what is written"),
        freq=Option(number, 0.0, "centre frequency of what is written, Hz"),
    )
    TRANSMITS = True
    WAITS = True
    REPEATS = True

    _file: BinaryIO | None = None
    _writer: SigMFWriter | None = None

    @property
    def receives(self) -> bool:
        return self.options["mode"] == "read"

    @property
    def transmits(self) -> bool:
        return not self.receives

    def recording(self) -> Sequence[Path]:
        return paths(Path(self.address.rest))

    def connect(self) -> None:
        path, chosen = Path(self.address.rest), self.options
        if self.transmits:
            self.signal = Signal(sample_format(chosen["format"]), chosen["rate"], chosen["freq"])
            self._writer = SigMFWriter(path, self.signal)
            return
        try:
            self._recording, data = read_recording(path)
        except RemoteError as error:
            # It will not become another by being read again.
            raise LocalError(f"{path}: {error}") from error
        self._file = data.open("rb", buffering=0)
        self._at = 0
        self._segments = list(self._recording.segments)
        self._losses = list(self._recording.losses[1:])
        self.signal = Signal(
            self._recording.format, self._recording.sample_rate_hz, self._segments[0].centre_hz
        )
        self._pace = Pace(chosen["pace"] * self._recording.sample_rate_hz)
        if chosen["pace"] and not self._recording.sample_rate_hz:
            raise LocalError(f"{path}: pace={chosen['pace']:g}, and the sample rate is not known")

    def disconnect(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def read(self, timeout_s: float) -> Sequence[Result]:
        assert self._file is not None
        assert self.signal is not None
        if not self._pace.wait(timeout_s):
            return ()
        results: list[Result] = []
        segments = self._segments
        # The next segment begins here: what is missing before it, another frequency.
        while len(segments) > 1 and segments[1].start <= self._at:
            segments.pop(0)
            if lost := self._losses.pop(0):
                results.append(Loss("gap", lost))
            self.signal = Signal(
                self.signal.format, self.signal.sample_rate_hz, segments[0].centre_hz
            )
        size = self.signal.format.octets
        count = BLOCK_SAMPLES
        if len(segments) > 1:
            count = min(count, segments[1].start - self._at)
        octets = self._file.read(count * size)
        if not octets and not results:
            raise EOFError("end of the recording")
        whole = len(octets) // size * size
        if whole:
            results.append(Block(octets[:whole], self._ert_ns(segments[0])))
        if whole < len(octets):
            results.append(Malformed(octets[whole:], "half a sample at the end"))
        self._at += whole // size
        self._pace.passed(whole // size)
        return results

    def _ert_ns(self, segment: Segment) -> int:
        rate = self._recording.sample_rate_hz
        if not segment.ert_ns or not rate:
            return 0
        return segment.ert_ns + round((self._at - segment.start) * 1e9 / rate)

    def write(self, octets: bytes) -> bool:
        assert self._writer is not None
        self._writer.write((Block(octets, self._now_ns()),))
        return True

    @classmethod
    def peer(cls) -> Peer:
        return SigMFPeer()


class SigMFPeer(Peer):
    """A recording that is there before it is read, in as many segments as there are blocks."""

    block_octets = 8 * 1024

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory()
        folder = Path(self._directory.name)
        self._path, self._out = folder / f"in{META}", folder / f"out{META}"
        self.uri = f"sigmf:{self._path}"
        self.out_uri = f"sigmf:{self._out}?mode=write&rate=1e6"

    def send(self, blocks: Sequence[bytes]) -> None:
        writer = SigMFWriter(self._path, Signal(sample_format("cf32_le"), 1e6, 8.4e9), replace=True)
        writer.write([Block(octets, number + 1) for number, octets in enumerate(blocks)])
        writer.close()

    def received(self) -> bytes:
        return paths(self._out)[1].read_bytes()

    def close(self) -> None:
        self._directory.cleanup()


__all__ = ["SigMFAdapter", "SigMFWriter", "read_recording"]
