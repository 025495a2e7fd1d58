"""The ground's end of the command link: packets into secured, numbered frames in CLTUs.

No clock and no socket.  What `turn` gives is to be radiated; what became of it is told by
`refused`, by CLCWs and by time.  FOP-1 is initiated by itself as soon as a CLCW says that nothing
of ours can be under way any more (docs/cop-1.md); a lockout is left for a person.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from protocols.coding.cltu import build_cltu, transmission
from protocols.dictionary.l4_link import (
    CLTU_CODING,
    TC_MANAGEMENT_SECURITY,
    TC_MAP,
    TC_PARAMETERS,
    TC_VCID,
)
from protocols.errors import LocalError
from protocols.frames.clcw import CLCW
from protocols.frames.fop import Fop, t1_initial_ns
from protocols.frames.fop_notices import Alerted, Confirmed, Failed, Rejected, Suspended
from protocols.frames.fop_table import FopState
from protocols.frames.sdls_frames import protect_tc
from protocols.frames.sdls_initiator import SecurityInitiator
from protocols.frames.tc import FrameType, SequenceFlags, TcFrame, build
from protocols.frames.tc_segments import segments

#: Light time moves on by less than this before FOP-1's timer is set anew.
_T1_STEP_NS: Final = 100_000_000


class Fate(StrEnum):
    """Of one frame of a packet."""

    RECEIVED = "received"
    #: COP-1 has given up on it; it may have arrived.
    LOST = "lost"
    #: It has not arrived and will not, or its packet will not be whole.
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One frame to be radiated.  tag: of the packet, 0: a control command of COP-1; sequence: N(S)
    of a frame of type AD; repeated: sent before."""

    octets: bytes
    frame_type: FrameType
    tag: int
    sequence: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    tag: int
    fate: Fate
    text: str = ""


@dataclass(slots=True)
class _Waiting:
    """Data of one frame that FOP-1 has not been given yet."""

    tag: int
    map_id: int
    flags: SequenceFlags
    data: bytes


class CommandLink:
    """security: the ground's end, says what protects a MAP; margin_ns: what COP-1's answer may
    take beyond twice the light time; window: frames ahead of the last one acknowledged.

    automatic: initiate FOP-1 whenever a CLCW allows it.
    """

    def __init__(
        self,
        security: SecurityInitiator,
        *,
        owlt_ns: int,
        margin_ns: int,
        window: int = 10,
        transmission_limit: int = 3,
    ) -> None:
        self.security = security
        self.automatic = True
        self.margin_ns = margin_ns
        self._owlt_ns = owlt_ns
        self._fop = Fop(
            TC_VCID,
            t1_ns=t1_initial_ns(owlt_ns, margin_ns),
            window=window,
            transmission_limit=transmission_limit,
        )
        self._queue: deque[_Waiting] = deque()
        self._expedited: deque[_Waiting] = deque()
        #: FOP-1's request number of a frame of type AD → tag; N(S) → that number.
        self._tags: dict[int, int] = {}
        self._sent: dict[int, int] = {}
        #: FOP-1's last request of type AD; tag of the last frame of type BD.
        self._last_request = self._last_expedited = 0
        self._directives: dict[int, str] = {}
        #: N(S) → tag of frames given up on, until a CLCW from after them tells what became of them.
        self._doubtful: dict[int, int] = {}
        #: Nothing of ours can be under way, and every CLCW is from after it, from here on.
        self._quiet_ns = 0
        self._clcw: tuple[CLCW, int] | None = None
        self._outcomes: list[Outcome] = []
        self._said: list[str] = []
        self.changed = False

    # What the engine asks ------------------------------------------------------------------------

    @property
    def state(self) -> FopState:
        return self._fop.state

    @property
    def clcw_report(self) -> tuple[CLCW, int] | None:
        """The newest CLCW of our virtual channel, and its ERT."""
        return self._clcw

    def ready(self, *, expedited: bool) -> bool:
        """Whether a packet that is pushed now leaves now."""
        if expedited:
            return not self._expedited
        return (
            self._fop.state is FopState.ACTIVE
            and not self._queue
            and self._fop.outstanding < self._fop.window
        )

    def obstacle(self, map_id: int) -> str:
        """Why frames of a MAP cannot leave, whatever COP-1 does; empty if they can."""
        return self.security.obstacle(map_id)

    def frames_of(self, packet: bytes) -> int:
        """Transfer frames that a packet takes."""
        return len(segments(TC_MAP, packet, _room()))

    def push(
        self, tag: int, packet: bytes, *, expedited: bool = False, map_id: int = TC_MAP
    ) -> int:
        """A packet to be sent; how many frames it takes."""
        parts = [
            _Waiting(tag, map_id, part.sequence_flags, part.data)
            for part in segments(map_id, packet, _room())
        ]
        (self._expedited if expedited else self._queue).extend(parts)
        self.changed = True
        return len(parts)

    def turn(self, now_ns: int, owlt_ns: int, *, transmits: bool) -> list[Outgoing]:
        """What time brings, and what is to be radiated now, if the station can."""
        self._set_light_time(now_ns, owlt_ns)
        if self._fop.next_deadline_ns is not None and now_ns >= self._fop.next_deadline_ns:
            self._fop.timeout(now_ns)
            self._hear(now_ns)
        out: list[Outgoing] = []
        if not transmits:
            return out
        while True:
            if self._expedited and not self.obstacle(self._expedited[0].map_id):
                part = self._expedited.popleft()
                self._fop.send_bd(now_ns, self._secured(part, FrameType.BD))
                self._last_expedited = part.tag
            elif (
                self._queue
                and self._fop.state is FopState.ACTIVE
                and self._fop.can_accept_ad
                and self._fop.outstanding < self._fop.window
                and not self.obstacle(self._queue[0].map_id)
            ):
                part = self._queue.popleft()
                self._last_request = self._fop.send_ad(now_ns, self._secured(part, FrameType.AD))
                self._tags[self._last_request] = part.tag
            frame = self._fop.take()
            if frame is None:
                break
            out.append(self._outgoing(now_ns, frame))
            self._fop.lower_accepts(now_ns, frame.frame_type)
            self._hear(now_ns)
        return out

    def clcw(self, now_ns: int, word: int, first_ert_ns: int, last_ert_ns: int) -> None:
        """The same OCF in frames received between two instants, in the order of the frames."""
        if word >> 31:
            return
        report = CLCW.parse(word.to_bytes(4, "big"))
        if report.vcid != TC_VCID or report.cop_in_effect != 1:
            return
        self._clcw = report, last_ert_ns
        before = self._fop.state
        self._fop.clcw(now_ns, report)
        self._hear(now_ns)
        if before is not FopState.INITIAL:
            return
        if last_ert_ns >= self._quiet_ns:
            self._settle_doubts(report.report_value)
            if self.automatic and not report.lockout:
                self._initiate(now_ns, report)

    def awaits(self, frame_type: FrameType, tag: int) -> bool:
        """Whether COP-1 counts on a frame of type AD or BC; not once it has given up on it."""
        if frame_type is FrameType.BC:
            return self._fop.state is FopState.INITIALISING_WITH_BC
        return tag in self._tags.values()

    def asked_again(self, now_ns: int) -> None:
        """A frame that `turn` gave goes up as much later."""
        self.changed = True
        self._quiet_ns = max(self._quiet_ns, now_ns + 2 * self._owlt_ns + self.margin_ns)

    def refused(self, now_ns: int, frame_type: FrameType) -> None:
        """The station has not radiated a frame and never will."""
        self._fop.lower_rejects(now_ns, frame_type)
        self._hear(now_ns)

    def forget(self, now_ns: int, handover_ns: int) -> None:
        """After a restore: what FOP-1 knows is of long ago, and others, sent since, may be under
        way.  The AD service begins anew with a CLCW from after them."""
        fop = self._fop
        self._fop = Fop(
            TC_VCID,
            t1_ns=fop.t1_ns,
            window=fop.window,
            transmission_limit=fop.transmission_limit,
        )
        for one in (self._queue, self._expedited, self._tags, self._sent, self._doubtful):
            one.clear()
        self._directives.clear()
        self._last_request = self._last_expedited = 0
        self._clcw = None
        self.asked_again(now_ns + handover_ns)

    def outcomes(self) -> list[Outcome]:
        """Fates of frames since the last call."""
        out, self._outcomes = self._outcomes, []
        return out

    def said(self) -> list[str]:
        """What FOP-1 has to tell people, since the last call."""
        out, self._said = self._said, []
        return out

    # Directives ----------------------------------------------------------------------------------

    def direct(self, now_ns: int, directive: str, value: int | None = None) -> str:
        """`initiate`, `unlock`, `set-vr` (with a value), `terminate`; what was done, in words.

        Raises LocalError where it makes no sense now.
        """
        self.changed = True
        if directive == "terminate":
            self.automatic = False
            self._note(self._fop.terminate(now_ns), "terminated")
            self._hear(now_ns)
            return "AD service terminated; `initiate` begins again"
        if self._fop.state is not FopState.INITIAL:
            if directive == "unlock" and not (self._clcw and self._clcw[0].lockout):
                raise LocalError("FARM-1 is not in lockout: there is nothing to unlock")
            raise LocalError(f"FOP-1 is {self._fop.state.name}; `terminate` first")
        text = self._begin(now_ns, directive, value)
        # Not by a directive that was refused: who has ended the AD service wants it to stay so.
        self.automatic = True
        return text

    def _begin(self, now_ns: int, directive: str, value: int | None) -> str:
        """The directives that begin the AD service."""
        if directive == "initiate":
            if self._clcw is None:
                raise LocalError("no CLCW has been heard: what V(S) is is not known")
            if self._clcw[0].lockout:
                raise LocalError("FARM-1 is in lockout: `unlock`")
            if self._clcw[1] < self._quiet_ns:
                # What is under way would move V(R) on, and pass for frames that are numbered now.
                wait_s = max(0, self._quiet_ns - now_ns) / 1e9
                return (
                    "frames of ours may still be under way: the AD service begins by itself with "
                    f"the first CLCW in {wait_s:.0f} s or later"
                )
            self._settle_doubts(self._clcw[0].report_value)
            self._initiate(now_ns, self._clcw[0])
            return f"initiated with V(S) = {self._clcw[0].report_value}; a CLCW confirms it"
        if directive == "unlock":
            if self._clcw is None:
                raise LocalError("no CLCW has been heard: what V(S) is is not known")
            if not self._clcw[0].lockout:
                raise LocalError(
                    "FARM-1 is not in lockout by the last CLCW: there is nothing to unlock; "
                    "`initiate` begins the AD service"
                )
            # What is still under way is discarded: V(R) stays.
            self._settle_doubts(self._clcw[0].report_value)
            self._fop.set_vs(now_ns, self._clcw[0].report_value)
            self._note(self._fop.initiate_with_unlock(now_ns), "unlocked")
            self._hear(now_ns)
            return "Unlock is sent; a CLCW without lockout confirms it"
        if directive == "set-vr":
            if value is None:
                raise LocalError("set-vr: a value 0..255 wanted")
            self._note(self._fop.initiate_with_set_vr(now_ns, value), f"V(R) set to {value}")
            # V(R) will tell nothing more of what was sent before.
            self._doubtful.clear()
            self._hear(now_ns)
            return f"Set V(R) to {value} is sent; a CLCW that expects {value} confirms it"
        raise LocalError(f"directive {directive!r}; initiate, unlock, set-vr, terminate are")

    def _initiate(self, now_ns: int, report: CLCW) -> None:
        """Where FARM-1 waits for a frame that was given up, no CLCW would ever be right: Unlock
        takes its retransmit flag away, and leaves V(R) (232.1-B, E7 of FARM-1)."""
        self._fop.set_vs(now_ns, report.report_value)
        initiate = (
            self._fop.initiate_with_unlock if report.retransmit else self._fop.initiate_with_clcw
        )
        self._note(initiate(now_ns), f"AD service on, next frame {report.report_value}")
        self._hear(now_ns)

    def _note(self, number: int, text: str) -> None:
        self._directives[number] = text

    # Inside --------------------------------------------------------------------------------------

    def _set_light_time(self, now_ns: int, owlt_ns: int) -> None:
        if abs(owlt_ns - self._owlt_ns) >= _T1_STEP_NS:
            self._owlt_ns = owlt_ns
            self._fop.set_t1(now_ns, t1_initial_ns(owlt_ns, self.margin_ns))
            self._hear(now_ns)

    def _secured(self, part: _Waiting, frame_type: FrameType) -> TcFrame:
        frame = TcFrame(
            TC_VCID, part.data, frame_type, map_id=part.map_id, sequence_flags=part.flags
        )
        self.changed = True
        spi = self.security.spi(part.map_id)
        return protect_tc(self.security.endpoint, spi, frame, TC_PARAMETERS)

    def _outgoing(self, now_ns: int, frame: TcFrame) -> Outgoing:
        self.asked_again(now_ns)
        tag, repeated = 0, False
        if frame.frame_type is FrameType.AD:
            number = frame.sequence_number
            repeated = number in self._sent
            tag = self._tags[self._sent.setdefault(number, self._last_request)]
        elif frame.frame_type is FrameType.BD:
            tag = self._last_expedited
        octets = transmission([build_cltu(build(frame, TC_PARAMETERS), CLTU_CODING)])
        return Outgoing(octets, frame.frame_type, tag, frame.sequence_number, repeated)

    def _hear(self, now_ns: int) -> None:
        for notice in self._fop.notices():
            self.changed = True
            if isinstance(notice, Confirmed):
                if notice.request in self._directives:
                    self._said.append(self._directives.pop(notice.request))
                self._settle(notice.request, Fate.RECEIVED)
            elif isinstance(notice, Failed | Rejected):
                if notice.request in self._directives:
                    text = self._directives.pop(notice.request)
                    self._said.append(f"not {text}")
                self._settle(notice.request, Fate.LOST, "not acknowledged")
            elif isinstance(notice, Alerted):
                self._said.append(f"AD service ended: {notice.reason.value}")
            elif isinstance(notice, Suspended):
                self._said.append(f"AD service suspended in {notice.state.name}")

    def _settle(self, request: int, fate: Fate, text: str = "") -> None:
        tag = self._tags.pop(request, None)
        if tag is None:
            return
        numbers = [number for number, one in self._sent.items() if one == request]
        for number in numbers:
            del self._sent[number]
            if fate is Fate.LOST:
                self._doubtful[number] = tag
        self._outcomes.append(Outcome(tag, fate, text))
        if fate is Fate.LOST:
            # The rest of a packet whose first frames may be lost is of no use.
            rest = deque(part for part in self._queue if part.tag != tag)
            if len(rest) < len(self._queue) or not numbers:
                unsent = "not all of its frames were sent; it can be sent again"
                self._outcomes.append(Outcome(tag, Fate.NEVER, unsent))
            self._queue = rest

    def _settle_doubts(self, report_value: int) -> None:
        """Nothing is under way: what FARM-1 expects next tells which frames it has accepted."""
        for number, tag in self._doubtful.items():
            arrived = (report_value - 1 - number) % 256 < 128
            text = "" if arrived else "its frame has not arrived; it can be sent again"
            self._outcomes.append(Outcome(tag, Fate.RECEIVED if arrived else Fate.NEVER, text))
        self.changed |= bool(self._doubtful)
        self._doubtful.clear()

    # Across restarts -----------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        return {
            "fop": self._fop.snapshot(),
            "security": self.security.snapshot(),
            "queue": [_plain(part) for part in self._queue],
            "expedited": [_plain(part) for part in self._expedited],
            "tags": list(self._tags.items()),
            "sent": list(self._sent.items()),
            "doubtful": list(self._doubtful.items()),
            "directives": list(self._directives.items()),
            "last": [self._last_request, self._last_expedited],
            "quiet_ns": self._quiet_ns,
            "owlt_ns": self._owlt_ns,
            "automatic": self.automatic,
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """As it was."""
        self._fop.restore(snapshot["fop"])
        self.security.restore(snapshot["security"])
        self._queue = deque(_waiting(part) for part in snapshot["queue"])
        self._expedited = deque(_waiting(part) for part in snapshot["expedited"])
        self._tags = dict(snapshot["tags"])
        self._sent = dict(snapshot["sent"])
        self._doubtful = dict(snapshot["doubtful"])
        self._directives = dict(snapshot["directives"])
        self._last_request, self._last_expedited = snapshot["last"]
        self._quiet_ns = snapshot["quiet_ns"]
        self._owlt_ns = snapshot["owlt_ns"]
        self.automatic = snapshot["automatic"]

    def listing(self) -> dict[str, Any]:
        """How it is, for people."""
        report = self._clcw
        return {
            "state": self._fop.state.name,
            "vs": self._fop.vs,
            "outstanding": self._fop.outstanding,
            "window": self._fop.window,
            "transmissions": self._fop.transmission_count,
            "t1_s": self._fop.t1_ns / 1e9,
            "timer_ns": self._fop.next_deadline_ns or 0,
            "automatic": self.automatic,
            "clcw": None
            if report is None
            else {
                "ert_ns": report[1],
                "report_value": report[0].report_value,
                **{
                    name: getattr(report[0], name)
                    for name in (
                        "no_rf_available", "no_bit_lock", "lockout", "wait", "retransmit",
                        "farm_b_counter",
                    )
                },
            },
        }  # fmt: skip


def _room() -> int:
    """Octets of a packet in a frame, whatever protects it."""
    return TC_PARAMETERS.room(TC_VCID) - TC_MANAGEMENT_SECURITY.overhead


def _plain(part: _Waiting) -> list[Any]:
    return [part.tag, part.map_id, int(part.flags), part.data]


def _waiting(values: list[Any]) -> _Waiting:
    tag, map_id, flags, data = values
    return _Waiting(tag, map_id, SequenceFlags(flags), data)
