"""What FOP-1 tells the higher procedures (CCSDS 232.1-B-2 §4.3.2, §5.2.11 to §5.2.16)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocols.frames.fop_table import FopState


class Alert(Enum):
    """§4.3.2.1 reason codes: why the AD service was terminated."""

    LIMIT = "the first frame was transmitted as often as allowed and is asked for again"
    T1 = "no CLCW answered the last transmission allowed in time"
    LOCKOUT = "FARM-1 is in lockout"
    SYNCH = "FARM-1 asks for frames that it has acknowledged, or takes none it asked for"
    NNR = "N(R) lies outside of what was sent and not acknowledged"
    CLCW = "CLCW that makes no sense"
    LLIF = "lower procedures refused a frame"
    TERM = "terminated by directive"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Of a request or directive: taken over.  Of type BD: the last that is heard of it."""

    request: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """Not taken over: nothing of it was sent."""

    request: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Of a request: FARM-1 has accepted it.  Of a directive: done."""

    request: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Negative confirm: sent, never acknowledged; FARM-1 may have accepted it, or may yet."""

    request: int


@dataclass(frozen=True, slots=True)
class Alerted:
    """The AD service was terminated."""

    reason: Alert


@dataclass(frozen=True, slots=True)
class Suspended:
    """The AD service was suspended: `Fop.resume` continues."""

    state: FopState


Notice = Accepted | Rejected | Confirmed | Failed | Alerted | Suspended
