"""Service data units on the MAPs of a TC virtual channel: blocked, segmented, multiplexed, joined.

MAP packet processing, MAP generation and MAP multiplexing of 232.0-B-4 §4.3, and their inverses of
§4.4.

    >>> map_multiplexer = MapMultiplexer(room=4)
    >>> map_multiplexer.push(0, b"abcdef")
    >>> [(s.map_id, s.sequence_flags.name, s.data) for s in map_multiplexer.take_all()]
    [(0, 'FIRST', b'abcd'), (0, 'LAST', b'ef')]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from protocols.errors import LocalError
from protocols.frames.tc import SequenceFlags, TcFrame

#: Of a space packet, 133.0-B-2 §4.1.3.5.3: a unit that becomes longer is dropped.
LONGEST_UNIT: Final = 65_542


@dataclass(frozen=True, slots=True)
class Segment:
    """Content of one frame on one MAP."""

    map_id: int
    sequence_flags: SequenceFlags
    data: bytes


def segments(map_id: int, unit: bytes, room: int) -> list[Segment]:
    """A unit in as many frames of `room` octets as it needs.  Raises LocalError for no octets."""
    if not unit:
        raise LocalError("a service data unit without octets")
    if len(unit) <= room:
        return [Segment(map_id, SequenceFlags.UNSEGMENTED, unit)]
    parts = [unit[at : at + room] for at in range(0, len(unit), room)]
    flags = [SequenceFlags.CONTINUING] * len(parts)
    flags[0], flags[-1] = SequenceFlags.FIRST, SequenceFlags.LAST
    return [Segment(map_id, flag, part) for flag, part in zip(flags, parts, strict=True)]


def block(units: Iterable[bytes], room: int) -> list[bytes]:
    """Blocking: as many whole packets after one another as a frame takes.

    Those that are longer than a frame stay alone, to be segmented.
    """
    out: list[bytes] = []
    for unit in units:
        if out and len(out[-1]) + len(unit) <= room:
            out[-1] += unit
        else:
            out.append(unit)
    return out


class MapMultiplexer:
    """Units of several MAPs in turn, a frame of each; a MAP's own units keep their order.

    room: octets of data in a frame (`TcParameters.room`, less security header and trailer).
    """

    def __init__(self, room: int) -> None:
        if room < 1:
            raise LocalError(f"room for {room} octets in a frame")
        self.room = room
        self._queues: dict[int, deque[Segment]] = {}

    def push(self, map_id: int, unit: bytes) -> None:
        """Raises LocalError for a MAP that is none, or no octets."""
        if not 0 <= map_id < 64:
            raise LocalError(f"MAP {map_id}: 0..63 (232.0-B-4 §4.1.3.2.2.3)")
        self._queues.setdefault(map_id, deque()).extend(segments(map_id, unit, self.room))

    def take(self) -> Segment | None:
        """Content of the next frame."""
        for map_id in tuple(self._queues):
            queue = self._queues.pop(map_id)
            if queue:
                segment = queue.popleft()
                # To the end of the dictionary: the others come first now.
                self._queues[map_id] = queue
                return segment
        return None

    def take_all(self) -> list[Segment]:
        return list(iter(self.take, None))


@dataclass
class ReassemblyStatistics:
    """Units delivered, and those begun and dropped, by reason; stray: segments of no unit begun."""

    units: int = 0
    superseded: int = 0
    too_long: int = 0
    stray: int = 0


class MapReassembler:
    """The inverse, for one virtual channel and one frame type.

    Frames of type AD arrive complete and in order; of type BD some may be missing, and a unit that
    misses one in its middle is not told from a shorter one: its user has to check it (a packet has
    its length, PUS its own CRC).  At most `longest` octets are kept a MAP.
    """

    def __init__(self, longest: int = LONGEST_UNIT) -> None:
        if longest < 1:
            raise LocalError(f"longest unit of {longest} octets")
        self.longest = longest
        self.statistics = ReassemblyStatistics()
        self._begun: dict[int, bytearray] = {}

    def push(self, segment: Segment | TcFrame) -> bytes | None:
        """The unit that ends with this segment, or the blocked packets of it."""
        map_id, flags = segment.map_id, segment.sequence_flags
        if flags in (SequenceFlags.UNSEGMENTED, SequenceFlags.FIRST):
            if self._begun.pop(map_id, None) is not None:
                self.statistics.superseded += 1
            if flags is SequenceFlags.UNSEGMENTED:
                self.statistics.units += 1
                return segment.data
            self._begun[map_id] = bytearray()
        begun = self._begun.get(map_id)
        if begun is None:
            self.statistics.stray += 1
            return None
        begun += segment.data
        if len(begun) > self.longest:
            del self._begun[map_id]
            self.statistics.too_long += 1
            return None
        if flags is not SequenceFlags.LAST:
            return None
        del self._begun[map_id]
        self.statistics.units += 1
        return bytes(begun)
