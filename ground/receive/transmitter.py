"""Which of several antennas transmits, and which has been given what to radiate.

    transmitter.turn(now_ns, able, closed)       receivers whose station can transmit, best first
    transmitter.route(now_ns, message)           whom to give it to; None: nobody now
    transmitter.settled(source, id, end_ns)      what became of it is known

One antenna transmits.  Another takes its place when it is lost or an operator says so, and then
only when all that the one before was given is over, whatever became of it: two never radiate at
once.  An id stays with the antenna that it was given to, for ever: whoever repeats it is answered
there or not at all, since only that station knows whether it was radiated.  What was given is on
disk before it is given.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final

from ground.durable_files import make_directory, replace_file, sync_file
from protocols.bus.access import antenna_of
from protocols.bus.messages import UplinkMessage
from protocols.errors import LocalError
from protocols.identifiers import Carrier

#: An antenna that cannot transmit for so long, wall seconds, while another can, is lost.
LOST_S: Final = 5.0
#: What no station is slower than, bit/s: by when the longest radiation is over.
LEAST_BIT_S: Final = {Carrier.COMMAND: 1_000, Carrier.RELAY: 100_000}
#: World seconds for which it is known whom an id was given to: nobody repeats it longer.
KEPT_NS: Final = 7 * 86_400 * 10**9
#: Lines after which the file is written anew.
_MOST_LINES: Final = 20_000


class State(StrEnum):
    """TRANSMITS: the antenna in force is given what is to go up; CHANGES: nobody is given anything
    until what it was given is over."""

    TRANSMITS = "transmits"
    CHANGES = "changes"


class Event(StrEnum):
    """LOST: it cannot transmit, and another can; BACK: it can again; ORDERED: an operator wants
    another; OVER: nothing that it was given can be on its way any more, and another can."""

    LOST = "lost"
    BACK = "back"
    ORDERED = "ordered"
    OVER = "over"


TABLE: Final[Mapping[State, Mapping[Event, State]]] = {
    State.TRANSMITS: {Event.LOST: State.CHANGES, Event.ORDERED: State.CHANGES},
    State.CHANGES: {
        Event.BACK: State.TRANSMITS,
        Event.OVER: State.TRANSMITS,
        Event.ORDERED: State.CHANGES,
    },
}


@dataclass(slots=True)
class _Given:
    """to: a receiver; until_ns: its radiation is over by then, ground time, whatever became of it;
    over_ns: the same, once its station has told what did."""

    to: str
    until_ns: int
    over_ns: int


class Transmitter:
    """sources: the receivers' names on the bus, the preferred first.  path: of the file.

    margin_ns: by which stations' clocks may differ.  sync: wait for the disk.
    """

    def __init__(
        self,
        sources: Sequence[str],
        path: Path,
        *,
        margin_ns: int,
        sync: bool = True,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sources = tuple(sources)
        self._path = path
        self._margin_ns = margin_ns
        self._sync = sync
        self._clock_s = clock_s
        self.state = State.TRANSMITS
        self.active = self._sources[0]
        #: Whom an operator wants; empty: whoever can.
        self.wanted = ""
        self._given: dict[str, _Given] = {}
        self._able_s = clock_s()
        self._able = False
        self._file: BinaryIO | None = None
        self._lines = 0

    def open(self, now_ns: int) -> None:
        """Read what was given before.  A line that was being written was never acted upon."""
        old = self._path.read_bytes() if self._path.exists() else b""
        for line in old.split(b"\n")[:-1]:
            try:
                entry = json.loads(line)
                if "active" in entry:
                    self.active = str(entry["active"])
                else:
                    self._given[str(entry["id"])] = _given(entry)
            except (ValueError, KeyError, TypeError):
                continue
        if self.active not in self._sources:
            # Of a site with other antennas.
            self.active = self._sources[0]
        self._rewrite(now_ns)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _rewrite(self, now_ns: int) -> None:
        self.close()
        self._given = {
            name: one for name, one in self._given.items() if one.until_ns > now_ns - KEPT_NS
        }
        lines = [_line(active=self.active)]
        lines += [_line(id=i, to=g.to, until_ns=g.until_ns) for i, g in self._given.items()]
        make_directory(self._path.parent)
        replace_file(self._path, b"".join(lines))
        self._file = self._path.open("ab", buffering=0)
        self._lines = len(lines)

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line)
        self._lines += 1
        if self._sync:
            sync_file(self._path)

    # ------------------------------------------------------------ who transmits

    def order(self, source: str, able: Sequence[str]) -> None:
        """An operator wants this one.  LocalError: it is none, or cannot."""
        if source not in self._sources:
            known = ", ".join(map(antenna_of, self._sources))
            raise LocalError(f"antenna {antenna_of(source)!r}: one of {known} wanted")
        if source not in able:
            raise LocalError(
                f"antenna {antenna_of(source)!r} cannot transmit now: no link or no uplink window"
            )
        if source != (self.wanted or self.active):
            self.wanted = source
            self._step(Event.ORDERED)

    def turn(self, now_ns: int, able: Sequence[str], closed: Sequence[str] = ()) -> bool:
        """What time and the antennas' words bring; whether another one transmits now.

        closed: receivers whose station says that it does not transmit now, of itself.
        """
        now_s = self._clock_s()
        self._able = self.active in able
        if self._able:
            self._able_s = now_s
        if self.wanted not in able:
            self.wanted = ""
        if self.state is State.TRANSMITS:
            lost = self.active in closed or now_s - self._able_s >= LOST_S
            if able and not self._able and lost:
                self._step(Event.LOST)
            return False
        if self._able and self.wanted in ("", self.active):
            self.wanted = ""
            self._step(Event.BACK)
            return False
        next_one = self.wanted or next(iter(able), "")
        if not next_one or now_ns <= self.over_ns:
            return False
        self.active, self.wanted, self._able, self._able_s = next_one, "", True, now_s
        self._write(_line(active=next_one))
        self._step(Event.OVER)
        return True

    def _step(self, event: Event) -> None:
        self.state = TABLE[self.state][event]

    @property
    def gives_to(self) -> str:
        """The antenna that is given what goes up now; empty: none, while one takes over."""
        return antenna_of(self.active) if self.state is State.TRANSMITS else ""

    @property
    def over_ns(self) -> int:
        """When all that the antenna in force was given is over, ground time."""
        mine = (one.over_ns for one in self._given.values() if one.to == self.active)
        return max(mine, default=0)

    # ------------------------------------------------------------ what it is given

    def route(self, now_ns: int, message: UplinkMessage) -> str | None:
        """Whom to give a message to; whoever has it has it already."""
        known = self._given.get(message.id)
        if known is not None:
            return known.to
        if self.state is not State.TRANSMITS or not self._able:
            # Whoever repeats it finds somebody later; what was given to one who is away would be
            # of unknown fate.
            return None
        if self._lines >= _MOST_LINES:
            self._rewrite(now_ns)
        longest_ns = len(message.octets) * 8 * 10**9 // LEAST_BIT_S[Carrier(message.carrier)]
        until_ns = max(now_ns, message.latest_ns) + longest_ns + self._margin_ns
        self._given[message.id] = _Given(self.active, until_ns, until_ns)
        self._write(_line(id=message.id, to=self.active, until_ns=until_ns))
        return self.active

    def settled(self, source: str, name: str, end_ns: int) -> None:
        """Its station says what became of it; end_ns: 0 if it was refused."""
        known = self._given.get(name)
        if known is not None and known.to == source:
            # Not kept on disk: whoever forgets it waits longer.
            known.over_ns = min(known.until_ns, end_ns + self._margin_ns if end_ns else 0)


def _given(entry: Mapping[str, str | int]) -> _Given:
    until_ns = int(entry["until_ns"])
    return _Given(str(entry["to"]), until_ns, until_ns)


def _line(**entry: str | int) -> bytes:
    return json.dumps(entry).encode() + b"\n"
