"""Captures of several antennas beside what `receive` has told of them: all of it, each once.

    captures = AntennaCaptures(settings)
    for packets, reception_ns, playback in captures.packets(limit, progress, seen): …

What the merger told is not made again but proven, by another way than the merger's: each packet of
its journal must stand in the capture of the antenna that it is said to be from; each that an
antenna's capture gives, up to the last that was told from it, must be told, from that antenna or
another; and no two that are told may be one transmission that two antennas heard.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from ground.adapters.journal_reader import JournalReader
from ground.config import RECEIVE, RunSettings
from ground.receive.seen import SAME_NS, Seen, name_of, parts_of
from ground.recovery.capture import DecodedCapture, Progress
from protocols.bus.messages import PacketsMessage, parse
from protocols.bus.replay import parse_record
from protocols.errors import LocalError, RemoteError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
#: Packets, when each was processed (TAI ns), whether it is stored data; None: its channel says.
Given = tuple[PacketBatch, I64, Flags | None]

_NOBODY: Final = -1


class _Told:
    """The merger's journal as columns, one row a packet, in the order of telling."""

    def __init__(self, reader: JournalReader, receivers: tuple[str, ...]) -> None:
        self.identity = reader.identity
        self.problems: list[str] = []
        #: Of the journal's first record: what was before it is deleted.
        self.first_sequence = self.last_sequence = -1
        #: ERT of the newest packet in the first message: about where the journal begins.
        self.begins_ns = 0
        names, times, origins = array("Q"), array("q"), array("q")
        for sequence, message in _messages(reader, self.problems):
            if self.first_sequence < 0:
                self.first_sequence = sequence
                self.begins_ns = int(message.packets.ert_ns.max())
            self.last_sequence = sequence
            known = message.origin in receivers
            origin = receivers.index(message.origin) if known else _NOBODY
            names.extend(_names(message.packets).tolist())
            times.extend(message.packets.ert_ns.tolist())
            origins.extend([origin] * len(message.packets))
        self.problems += reader.problems
        self.names: U64 = np.frombuffer(names, np.uint64) if names else np.zeros(0, np.uint64)
        self.ert_ns: I64 = np.frombuffer(times, np.int64) if times else np.zeros(0, np.int64)
        self.origin: I64 = np.frombuffer(origins, np.int64) if origins else np.zeros(0, np.int64)
        self._order = np.lexsort((self.ert_ns, self.names))
        self._sorted = self.names[self._order]
        #: Bits of the antennas whose captures give a copy; whether the one it is from does.
        self.by = np.zeros(len(self.names), np.int64)
        self.proven = np.zeros(len(self.names), np.bool_)

    def match(self, antenna: int, packets: PacketBatch) -> I64:
        """int64 [n]: row of the told packet that each is a copy of, −1: it was not told."""
        names, times = _names(packets), packets.ert_ns.tolist()
        low = np.searchsorted(self._sorted, names, "left").tolist()
        high = np.searchsorted(self._sorted, names, "right").tolist()
        rows = np.full(len(packets), -1, np.int64)
        bit = 1 << antenna
        for n, at_ns in enumerate(times):
            nearest_ns = SAME_NS + 1
            for row in self._order[low[n] : high[n]].tolist():
                away_ns = abs(int(self.ert_ns[row]) - at_ns)
                if away_ns < nearest_ns and not self.by[row] & bit:
                    nearest_ns, rows[n] = away_ns, row
            if rows[n] >= 0:
                row = rows[n]
                self.by[row] |= bit
                self.proven[row] |= nearest_ns == 0 and self.origin[row] == antenna
        return rows

    @property
    def twice(self) -> int:
        """Packets told as two that are one transmission: no antenna has heard both."""
        before, after = self._order[:-1], self._order[1:]
        same = self.names[before] == self.names[after]
        same &= np.abs(self.ert_ns[after] - self.ert_ns[before]) <= SAME_NS
        same &= (self.by[before] & self.by[after]) == 0
        return int(np.count_nonzero(same & (self.by[before] != 0) & (self.by[after] != 0)))


@dataclass
class _Untold:
    """Of one antenna's capture: what no message tells, with its place in the capture; the place of
    the last that was told from this antenna."""

    antenna: int
    batches: list[tuple[I64, PacketBatch]] = field(default_factory=list[tuple[I64, PacketBatch]])
    last: int = -1


class AntennaCaptures:
    """`packets` once; then `problems`, a sentence each, and what was found."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._receivers = settings.antenna_receivers
        for receiver in self._receivers:
            directory = settings.capture_of(receiver)
            if not directory.is_dir():
                raise LocalError(
                    f"{directory}: no capture of {receiver}; copy it here from "
                    f"{settings.host(receiver)}, where it runs (rsync -a)"
                )
        self._told = _Told(self._journal(), self._receivers)
        self.identity, self.last_sequence = self._told.identity, self._told.last_sequence
        self.chunks = self.octets = self.waiting = 0
        self.problems: list[str] = []

    def _journal(self) -> JournalReader:
        return JournalReader(self._settings.journal_dir(RECEIVE, Topic.PACKETS))

    def packets(
        self,
        limit: int,
        progress: Progress | None = None,
        seen: Callable[[PacketBatch], None] | None = None,
    ) -> Iterator[Given]:
        """Up to message `limit` of the journal; what comes behind is counted in `waiting`."""
        tell = seen or (lambda packets: None)
        untold = [self._compared(number, progress, tell) for number in range(len(self._receivers))]
        before, waiting = self._sorted(untold)
        for packets in before:
            yield packets, packets.ert_ns, None
        self.waiting = sum(map(len, waiting))
        for packets in waiting:
            tell(packets)
        row = 0
        for sequence, message in _messages(self._journal(), []):
            proven = self._told.proven[row : row + len(message.packets)]
            row += len(message.packets)
            if sequence > limit:
                self.waiting += int(np.count_nonzero(proven))
                continue
            packets = message.packets.select(proven)
            when = np.full(len(packets), message.reception_ns, np.int64)
            yield packets, when, message.playback[proven]
        self._judge()

    def _compared(
        self, antenna: int, progress: Progress | None, tell: Callable[[PacketBatch], None]
    ) -> _Untold:
        receiver, told = self._receivers[antenna], self._told
        decoded = DecodedCapture(self._settings, self._settings.capture_of(receiver))
        found = _Untold(antenna)
        for first, packets in decoded.batches(progress):
            rows = told.match(antenna, packets)
            own = (rows >= 0) & (told.origin[rows] == antenna) if len(told.names) else rows >= 0
            if own.any():
                found.last = first + int(np.flatnonzero(own)[-1])
                tell(packets.select(own))
            rest = rows < 0
            if rest.any():
                found.batches.append((first + np.flatnonzero(rest), packets.select(rest)))
        self.chunks += decoded.chunks
        self.octets += decoded.octets
        self.problems += [f"{receiver}: {text}" for text in decoded.problems]
        return found

    def _sorted(self, untold: list[_Untold]) -> tuple[list[PacketBatch], list[PacketBatch]]:
        """Of what was not told: packets from before the journal begins, and those that `receive`
        has not got to, each once; what it has passed over is a problem."""
        told = self._told
        earlier: list[tuple[int, PacketBatch]] = []
        later: list[tuple[int, PacketBatch]] = []
        for one in untold:
            missing = 0
            for places, packets in one.batches:
                before = np.full(len(packets), not told.identity)
                if told.first_sequence > 0:
                    before |= packets.ert_ns <= told.begins_ns + SAME_NS
                passed = ~before & (places < one.last)
                missing += int(np.count_nonzero(passed))
                earlier.append((one.antenna, packets.select(before)))
                later.append((one.antenna, packets.select(~before & ~passed)))
            if missing:
                self.problems.append(
                    f"{self._receivers[one.antenna]}: {missing:,} packets of its capture were "
                    "never told, and later ones were"
                )
        return _each_once(earlier), _each_once(later)

    def _judge(self) -> None:
        told = self._told
        for number, receiver in enumerate(self._receivers):
            lost = int(np.count_nonzero(~told.proven & (told.origin == number)))
            if lost:
                self.problems.append(
                    f"journal of packets: tells {lost:,} of {receiver} that its capture does not "
                    "give"
                )
        if strange := int(np.count_nonzero(told.origin == _NOBODY)):
            self.problems.append(
                f"journal of packets: {strange:,} are of no antenna of {self._settings.receivers}"
            )
        if told.twice:
            self.problems.append(
                f"journal of packets: {told.twice:,} that two antennas heard are told twice"
            )
        self.problems += told.problems


def _each_once(found: list[tuple[int, PacketBatch]]) -> list[PacketBatch]:
    """In the order of their ERT, by what the merger goes by."""
    antennas = np.repeat([antenna for antenna, _ in found], [len(p) for _, p in found])
    packets = PacketBatch.concatenate([p for _, p in found])
    if not len(packets):
        return []
    order = np.argsort(packets.ert_ns, kind="stable")
    packets, antennas = packets.select(order), antennas[order]
    parts = list(parts_of(packets.octets, packets.offsets))
    seen, vcids, times = Seen(), packets.vcid.tolist(), packets.ert_ns.tolist()
    fresh = [
        bool(seen.fresh(int(antennas[n]), [part], [vcids[n]], [times[n]])[0])
        for n, part in enumerate(parts)
    ]
    return [packets.select(np.array(fresh))]


def _messages(reader: JournalReader, problems: list[str]) -> Iterator[tuple[int, PacketsMessage]]:
    for record in reader.records():
        try:
            yield record.sequence, parse(PacketsMessage, parse_record(record.payload)[1])
        except RemoteError as error:
            problems.append(f"journal of packets: record {record.sequence}: {error}")


def _names(packets: PacketBatch) -> U64:
    parts = parts_of(packets.octets, packets.offsets)
    vcids = packets.vcid.tolist()
    return np.array([name_of(p, v) for p, v in zip(parts, vcids, strict=True)], np.uint64)


__all__ = ["AntennaCaptures", "Given"]
