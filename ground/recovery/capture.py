"""A run's capture, decoded anew; what `receive` told of it beside that.

    decoded = DecodedCapture(settings)
    told = ToldPackets(JournalReader(settings.journal_dir(RECEIVE, Topic.PACKETS)))
    for first, packets in decoded.batches():
        reception_ns, sequence = told.beside(first, packets)

Decoding does not depend on how the octets were cut into chunks, so one chain in one go gives what
the services were told piece by piece, over any number of restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ground.adapters.journal_reader import JournalReader
from ground.config import RECEIVE, RunSettings
from ground.receive.capture import CapturedChunk, CaptureReader
from ground.receive.carriers import CarrierChains, other_carriers
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from protocols.bus.messages import PacketsMessage, parse
from protocols.bus.replay import parse_record
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch

I64 = npt.NDArray[np.int64]
#: octets done, octets in all
Progress = Callable[[int, int], None]

#: Octets of capture that go through the chain together.
_TOGETHER_OCTETS = 4 << 20
#: Problems of one kind that are told one by one.
_MOST_TOLD = 10


@dataclass
class Stream:
    """Chunks of one run of the sending end.  missing, repeated: (first, last) sequences."""

    first: int
    last: int
    chunks: int = 1
    missing: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    repeated: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def take(self, sequence: int) -> None:
        self.chunks += 1
        if sequence <= self.last:
            self.repeated.append((sequence, sequence))
            return
        if sequence > self.last + 1:
            self.missing.append((self.last + 1, sequence - 1))
        self.last = sequence


class DecodedCapture:
    """`batches` once; then `problems`, a sentence each, and what was found.

    directory: of an antenna's capture; None: the run's only one."""

    def __init__(self, settings: RunSettings, directory: Path | None = None) -> None:
        self._settings = settings
        self._reader = CaptureReader(directory or settings.capture_dir)
        self.streams: dict[str, Stream] = {}
        self.chunks = self.octets = self.packets = self.idle = 0
        self.problems: list[str] = []

    def batches(self, progress: Progress | None = None) -> Iterator[tuple[int, PacketBatch]]:
        """(number of the first packet, packets): all but idle ones, numbered as `receive` does."""
        profile = load_profile(self._settings.mission)
        chain = CarrierChains(ReceiveChain(profile), other_carriers(profile))
        sizes = [path.stat().st_size for _, path in self._reader.files()]
        ends = dict(zip((n for n, _ in self._reader.files()), np.cumsum([0, *sizes]), strict=False))
        group: list[CapturedChunk] = []
        octets = 0
        for captured in self._reader.read():
            self._note(captured)
            group.append(captured)
            octets += len(captured.chunk.octets)
            if octets >= _TOGETHER_OCTETS:
                yield self._decoded(chain, group)
                position = captured.position
                if progress is not None:
                    progress(int(ends[position.file]) + position.offset, sum(sizes))
                group, octets = [], 0
        if group:
            yield self._decoded(chain, group)
        if progress is not None:
            progress(sum(sizes), sum(sizes))
        self._judge()

    def _note(self, captured: CapturedChunk) -> None:
        chunk = captured.chunk
        self.chunks += 1
        self.octets += len(chunk.octets)
        if chunk.stream in self.streams:
            self.streams[chunk.stream].take(chunk.sequence)
        else:
            self.streams[chunk.stream] = Stream(chunk.sequence, chunk.sequence)

    def _decoded(self, chain: CarrierChains, group: list[CapturedChunk]) -> tuple[int, PacketBatch]:
        output = chain.push(group)
        idle = output.packets.is_idle
        packets = output.packets.select(~idle) if idle.any() else output.packets
        first = self.packets
        self.packets += len(packets)
        self.idle += int(np.count_nonzero(idle))
        return first, packets

    def _judge(self) -> None:
        numbers = [number for number, _ in self._reader.files()]
        if numbers and numbers != list(range(numbers[-1] + 1)):
            self.problems.append(
                f"capture: files {sorted(set(range(numbers[-1] + 1)) - set(numbers))} are gone; "
                "what was in them cannot be decoded anew"
            )
        if self._reader.damaged_octets:
            self.problems.append(f"capture: {self._reader.damaged_octets:,} octets are damaged")
        for name, stream in self.streams.items():
            for what, spans in (("missing", stream.missing), ("there twice", stream.repeated)):
                for first, last in spans[:_MOST_TOLD]:
                    self.problems.append(f"capture: chunks {first}..{last} of {name} are {what}")
                if len(spans) > _MOST_TOLD:
                    self.problems.append(f"capture: … {len(spans)} stretches of {name} are {what}")


class ToldPackets:
    """`receive`'s journal of packets, walked along with the capture."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self.identity = reader.identity
        self.problems: list[str] = []
        #: Of the last message that was read: its sequence, and the packets up to its end.
        self.last_sequence = -1
        self.told = 0
        self._messages = self._read()
        self._message: PacketsMessage | None = next(self._messages, None)
        self._sequence = self.last_sequence

    def _read(self) -> Iterator[PacketsMessage]:
        for record in self._reader.records():
            try:
                message = parse(PacketsMessage, parse_record(record.payload)[1])
            except RemoteError as error:
                self._tell(f"journal of packets: record {record.sequence}: {error}")
                continue
            self.last_sequence = record.sequence
            if self.told and message.first_packet != self.told:
                self._tell(
                    f"journal of packets: message {record.sequence} begins with packet "
                    f"{message.first_packet}, {self.told} was next"
                )
            self.told = message.first_packet + len(message.packets)
            yield message

    def beside(self, first: int, packets: PacketBatch) -> tuple[I64, I64]:
        """When each packet was processed (TAI ns), −1 where nobody says; and the sequence of the
        message that told it, or the last that can have (it is deleted, or damaged), −1 where the
        journal does not go so far."""
        reception_ns, sequence = (np.full(len(packets), -1, np.int64) for _ in range(2))
        stop = first + len(packets)
        while (message := self._message) is not None and message.first_packet < stop:
            end = message.first_packet + len(message.packets)
            low, high = max(first, message.first_packet), min(stop, end)
            if low < high:
                self._fill(sequence[: low - first])
                reception_ns[low - first : high - first] = message.reception_ns
                sequence[low - first : high - first] = self._sequence
                here = packets.slice(low - first, high - first)
                there = message.packets.slice(
                    low - message.first_packet, high - message.first_packet
                )
                if not _equal(here, there):
                    self._tell(
                        f"journal of packets: message {self._sequence} tells other packets than "
                        f"the capture gives for {low}..{high - 1}"
                    )
            if end > stop:
                break
            self._message = next(self._messages, None)
            self._sequence = self.last_sequence
        if self._message is not None:
            self._fill(sequence)
        return reception_ns, sequence

    def _fill(self, sequence: I64) -> None:
        """Of packets before the message that is looked at, which no message told."""
        sequence[sequence < 0] = max(self._sequence - 1, 0)

    def finish(self, packets: int) -> None:
        """After the last batch: `packets` are in the capture."""
        for _ in self._messages:
            pass
        self.problems += self._reader.problems
        if self.told > packets:
            self._tell(f"journal of packets: tells of {self.told:,}, the capture holds {packets:,}")

    def _tell(self, text: str) -> None:
        if len(self.problems) < _MOST_TOLD:
            self.problems.append(text)


def _equal(a: PacketBatch, b: PacketBatch) -> bool:
    return (
        len(a) == len(b)
        and np.array_equal(a.length, b.length)
        and np.array_equal(_octets(a), _octets(b))
        and np.array_equal(a.vcid, b.vcid)
        and np.array_equal(a.ert_ns, b.ert_ns)
    )


def _octets(batch: PacketBatch) -> npt.NDArray[np.uint8]:
    return batch.octets[batch.offsets[0] : batch.offsets[-1]]


class OneCapture:
    """The run's only capture beside the journal, as `AntennaCaptures` is of several."""

    def __init__(self, settings: RunSettings) -> None:
        if not settings.capture_dir.is_dir():
            raise LocalError(f"{settings.capture_dir}: no capture; nothing can be made from it")
        self._decoded = DecodedCapture(settings)
        self._told = ToldPackets(JournalReader(settings.journal_dir(RECEIVE, Topic.PACKETS)))
        self.identity = self._told.identity
        self.chunks = self.octets = self.waiting = 0
        self.problems: list[str] = []
        self.last_sequence = -1

    def packets(
        self,
        limit: int,
        progress: Progress | None = None,
        seen: Callable[[PacketBatch], None] | None = None,
    ) -> Iterator[tuple[PacketBatch, I64, npt.NDArray[np.bool_] | None]]:
        """See `AntennaCaptures.packets`."""
        for first, packets in self._decoded.batches(progress):
            if seen is not None:
                seen(packets)
            reception_ns, sequence = self._told.beside(first, packets)
            if self.identity:
                # What no message tells comes by the journal, when `receive` has told it.
                kept = (sequence >= 0) & (sequence <= limit)
                self.waiting += int(np.count_nonzero(~kept))
                packets, reception_ns = packets.select(kept), reception_ns[kept]
            yield packets, np.where(reception_ns < 0, packets.ert_ns, reception_ns), None
        self._told.finish(self._decoded.packets)
        self.last_sequence = self._told.last_sequence
        self.chunks, self.octets = self._decoded.chunks, self._decoded.octets
        self.problems = [*self._decoded.problems, *self._told.problems]


__all__ = ["DecodedCapture", "OneCapture", "Progress", "ToldPackets"]
