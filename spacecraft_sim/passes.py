"""When the station's antenna is on the spacecraft: by the ground's pass list, or always."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from protocols.bus.messages import Pass, PassesMessage
from protocols.bus.pass_list import parse_pass_list
from protocols.errors import RemoteError
from protocols.identifiers import MISSION_L4_RELAY

#: Wall seconds between looks at the file.
_LOOK_S = 0.5


class Tracking(Protocol):
    """What the antenna does at an instant of the ground, TAI ns."""

    @property
    def known(self) -> bool:
        """False until the station has been told its passes for the first time."""
        ...

    def station(self, now_ns: int) -> str:
        """Who tracks; empty if that is not told apart, or nobody does."""
        ...

    def hears(self, begin_ns: int, end_ns: int) -> bool:
        """Whether all of what arrives in [begin, end) is received."""
        ...

    def transmits(self, now_ns: int) -> bool: ...


class AlwaysTracking:
    """A link that is up whenever the channel is."""

    known = True

    def station(self, now_ns: int) -> str:
        return ""

    def hears(self, begin_ns: int, end_ns: int) -> bool:
        return True

    def transmits(self, now_ns: int) -> bool:
        return True


def tracks(antenna: str, one: Pass) -> bool:
    """Whether a pass is over an antenna, called by its own name, its station's, or `dsn` for any of
    the Deep Space Network's; an empty name: any.

    >>> one = Pass(0, 9, "p", "l4", "Goldstone", "DSS-26_DSS-24", 0, 9, 0, 9)
    >>> [tracks(name, one) for name in ("", "dss24", "goldstone", "dsn", "yeoju")]
    [True, True, True, True, False]
    """
    wanted = _plain(antenna)
    names = [_plain(name) for name in (one.station, *one.antenna.split("_"))]
    return wanted in ("", *names) or (wanted == "dsn" and any(n.startswith("dss") for n in names))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


class PassFile:
    """Passes of one mission from a file that the ground replaces with each schedule it publishes.

    A list that cannot be read is said once in `problem`; the one before stays in force, as a
    station goes on with the schedule it has.

    antenna: whose passes alone; empty: all.
    """

    def __init__(self, path: Path, mission: str = MISSION_L4_RELAY, *, antenna: str = "") -> None:
        self._path = path
        self._antenna = antenna
        self._mission = mission
        self._list: PassesMessage | None = None
        self._stamp: tuple[int, int] | None = None
        self._looked_s = -_LOOK_S
        self.problem = ""

    def _passes(self) -> tuple[Pass, ...]:
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._look()
        return () if self._list is None else self._list.passes

    def _look(self) -> None:
        try:
            status = self._path.stat()
            # The inode, too: a replaced file may have the time of the one before.
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return
            found = parse_pass_list(self._path.read_bytes()).of(self._mission)
            mine = tuple(one for one in found.passes if tracks(self._antenna, one))
            self._list = replace(found, passes=mine)
            self._stamp, self.problem = stamp, ""
        except FileNotFoundError:
            return
        except (OSError, RemoteError) as error:
            self.problem = f"{self._path}: {error}"

    @property
    def known(self) -> bool:
        self._passes()
        return self._list is not None

    def _on(self, now_ns: int) -> Pass | None:
        self._passes()
        return None if self._list is None else self._list.receiving(now_ns)

    def station(self, now_ns: int) -> str:
        on = self._on(now_ns)
        return "" if on is None else on.place

    def hears(self, begin_ns: int, end_ns: int) -> bool:
        # A handover from one station to the next leaves nothing out where their passes meet.
        at_ns = begin_ns
        for one in self._passes():
            if one.aos_ns <= at_ns < one.los_ns:
                at_ns = one.los_ns
                if at_ns >= end_ns:
                    return True
        return False

    def transmits(self, now_ns: int) -> bool:
        return any(one.transmits(now_ns) for one in self._passes())
