"""What is chosen for LTP with one remote engine, and what its sessions tell the client."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocols.dtn.ltp_segments import SERIAL_LIMIT, SessionId
from protocols.errors import LocalError

SECOND_NS: Final = 1_000_000_000
#: A segment that carries one octet of any block and a report of one claim fit in this.
SHORTEST_SEGMENT: Final = 96
#: What a UDP datagram over IPv4 holds (65,535 less 20 and 8).
LONGEST_SEGMENT: Final = 65_507


class ReportScope(Enum):
    """How much a report covers; RFC 5326 §6.11 allows both."""

    #: From the upper bound of the report before to the checkpoint's: nothing is said twice.
    MINIMAL = "minimal"
    #: From 0 to the highest octet received: any one report makes up for all that were lost
    #: ("where bandwidth economy is not critical").
    FULL = "full"


@dataclass(frozen=True, slots=True)
class LtpParameters:
    """Limits and times of the engine's dealings with one remote engine.

    one_way_light_time_s: of the span now; `LtpEngine.light_time` changes it as geometry does.
    margin_s: what an answer may need beyond twice that (queues and processing at both ends).
    final_checkpoints: that many of the red part's last segments are checkpoints, the last (EORP)
      always; the others are discretionary (§6.11).  checkpoint_every: every so many, 0 none.
    checkpoint_copies, report_copies: times that each is sent at once.  A copy of a checkpoint makes
      the receiver send its reports again (§6.8 b), a copy of a report is redundant and only
      acknowledged (§6.13): for spans where waiting for a timer costs more than a segment.  The RFC
      says what a receiver does with copies; that a sender makes them before a timer has run out it
      neither asks for nor forbids.
    retransmission_limit: expiries of one timer before the session is cancelled (§6.7, §6.8, §6.16).
    cycle_limit: rounds of retransmission before it is (§6.13, reason 5).
    inactivity_limit_s: a session that hears nothing for so long, while the remote could transmit,
      is given up (734.1-B); None: 3 × retransmission_limit × the time to an answer.
    """

    one_way_light_time_s: float = 0.0
    margin_s: float = 1.0
    segment_size: int = 1_400
    final_checkpoints: int = 1
    checkpoint_every: int = 0
    checkpoint_copies: int = 1
    report_copies: int = 1
    report_scope: ReportScope = ReportScope.MINIMAL
    retransmission_limit: int = 10
    cycle_limit: int = 30
    inactivity_limit_s: float | None = None
    client_services: frozenset[int] = frozenset((1, 2))
    #: Bounds, each against a peer (or a client) that does not stop.  A block is held whole.
    longest_block: int = 1 << 26
    #: Octets of unfinished blocks, counted with `PART_OVERHEAD` for each piece held.
    receive_buffer: int = 1 << 28
    send_buffer: int = 1 << 28
    receiving_sessions: int = 10_000
    sending_sessions: int = 10_000
    #: Sessions remembered after they closed: a late segment neither opens one again nor goes
    #: without an answer.
    closed_sessions: int = 20_000
    #: Reports received or issued in one session.
    reports: int = 1_000
    #: Claims in one report segment; more make more segments (§6.11).
    claims: int = 64
    #: Reports, acknowledgements and cancellations that wait for the link.
    control_queue: int = 50_000

    def __post_init__(self) -> None:
        for name, least, most in (
            ("one_way_light_time_s", 0, 1e6),
            ("margin_s", 1e-6, 1e6),
            ("segment_size", SHORTEST_SEGMENT, LONGEST_SEGMENT),
            ("final_checkpoints", 1, 1_000),
            ("checkpoint_every", 0, 1_000_000),
            ("checkpoint_copies", 1, 16),
            ("report_copies", 1, 16),
            ("retransmission_limit", 1, 1_000),
            ("cycle_limit", 1, 1_000),
            ("longest_block", 1, 1 << 40),
            ("receive_buffer", 1, 1 << 50),
            ("send_buffer", 1, 1 << 50),
            ("receiving_sessions", 1, 1 << 24),
            ("sending_sessions", 1, SERIAL_LIMIT >> 2),
            ("closed_sessions", 1, 1 << 24),
            ("reports", 1, 1 << 20),
            ("claims", 1, 10_000),
            ("control_queue", 1, 1 << 24),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise LocalError(f"LTP {name} {value}: {least} to {most} wanted")
        if self.inactivity_limit_s is not None and self.inactivity_limit_s <= 0:
            raise LocalError(f"LTP inactivity_limit_s {self.inactivity_limit_s}: above 0 wanted")


#: For spans of light-minutes with losses of many per cent; tests/long/ltp.py shows what each gains.
DEEP_SPACE: Final = LtpParameters(
    margin_s=5.0,
    final_checkpoints=2,
    checkpoint_copies=2,
    report_scope=ReportScope.FULL,
    retransmission_limit=30,
)


@dataclass(frozen=True, slots=True)
class RedPartReceived:
    """§7.3; once a session.  `end_of_block`: there is no green part."""

    session: SessionId
    client_service: int
    data: bytes
    end_of_block: bool


@dataclass(frozen=True, slots=True)
class GreenSegmentReceived:
    """§7.2; each octet of the green part at most once, in any order."""

    session: SessionId
    client_service: int
    offset: int
    data: bytes
    end_of_block: bool


@dataclass(frozen=True, slots=True)
class TransmissionComplete:
    """§7.4: all was sent, and the red part is known to be received."""

    session: SessionId


@dataclass(frozen=True, slots=True)
class TransmissionCancelled:
    """§7.5; `by_remote`: the receiver cancelled."""

    session: SessionId
    reason: int
    by_remote: bool


@dataclass(frozen=True, slots=True)
class ReceptionCancelled:
    """§7.6; `by_remote`: the sender cancelled."""

    session: SessionId
    reason: int
    by_remote: bool


Notice = (
    RedPartReceived
    | GreenSegmentReceived
    | TransmissionComplete
    | TransmissionCancelled
    | ReceptionCancelled
)
