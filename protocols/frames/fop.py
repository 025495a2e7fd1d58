"""FOP-1, the sending end of COP-1 (CCSDS 232.1-B-2 §5), one for each virtual channel.

Time is an argument, in ns of any one clock.  Frames to radiate come from `take`, what became of
requests and directives from `notices`.  The service is initiated with a directive first.

    >>> fop = Fop(vcid=1, t1_ns=1_100_000_000_000)
    >>> fop.initiate_without_clcw(0)
    1
    >>> request = fop.send_ad(0, TcFrame(vcid=1, data=b"unit"))
    >>> frame = fop.take()
    >>> frame.sequence_number, fop.next_deadline_ns
    (0, 1100000000000)
    >>> fop.lower_accepts(1, FrameType.AD)
    >>> fop.clcw(998_000_000_000, CLCW(vcid=1, report_value=1))
    >>> [(type(notice).__name__, notice.request) for notice in fop.notices()]
    [('Accepted', 1), ('Confirmed', 1), ('Accepted', 2), ('Confirmed', 2)]
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from protocols.errors import LocalError
from protocols.frames.clcw import CLCW
from protocols.frames.fop_notices import (
    Accepted,
    Alert,
    Alerted,
    Confirmed,
    Failed,
    Notice,
    Rejected,
    Suspended,
)
from protocols.frames.fop_table import FOP_TABLE, FopAction, FopEvent, FopState
from protocols.frames.tc import FrameType, SequenceFlags, SetVr, TcFrame, Unlock

A, E = FopAction, FopEvent


_ALERTS: Final = {
    A.ALERT_LIMIT: Alert.LIMIT,
    A.ALERT_T1: Alert.T1,
    A.ALERT_LOCKOUT: Alert.LOCKOUT,
    A.ALERT_SYNCH: Alert.SYNCH,
    A.ALERT_NNR: Alert.NNR,
    A.ALERT_CLCW: Alert.CLCW,
    A.ALERT_LLIF: Alert.LLIF,
    A.ALERT_TERM: Alert.TERM,
}


def t1_initial_ns(one_way_light_time_ns: int, margin_ns: int) -> int:
    """Timer_Initial_Value: there, back, and the margin.

    The margin covers the frame's radiation, its reception, the wait for the next telemetry frame
    with a CLCW, that frame's reception, and what the light time changes meanwhile.
    """
    if one_way_light_time_ns < 0 or margin_ns <= 0:
        raise LocalError(f"light time {one_way_light_time_ns} ns, margin {margin_ns} ns")
    return 2 * one_way_light_time_ns + margin_ns


@dataclass
class _Sent:
    """A frame on Sent_Queue; request: of type BC that of the directive."""

    frame: TcFrame
    request: int
    to_be_retransmitted: bool = False

    def snapshot(self) -> list[Any]:
        return [*_plain(self.frame), self.request, self.to_be_retransmitted]

    @classmethod
    def restored(cls, values: list[Any]) -> _Sent:
        return cls(_frame(values[:-2]), values[-2], values[-1])


def _plain(frame: TcFrame) -> list[Any]:
    flags = int(frame.sequence_flags)
    kind = frame.frame_type.name
    return [frame.vcid, frame.data, kind, frame.sequence_number, frame.map_id, flags]


def _frame(values: list[Any]) -> TcFrame:
    vcid, data, kind, number, map_id, flags = values
    return TcFrame(vcid, data, FrameType[kind], number, map_id, SequenceFlags(flags))


#: Attributes that a snapshot holds as they are.
_PLAIN: Final = (
    "vs", "nnr", "window", "t1_ns", "transmission_limit", "timeout_type", "transmission_count",
    "suspend_state", "next_deadline_ns", "_requests", "_initiating",
)  # fmt: skip


class Fop:
    """State of one virtual channel.

    window: K, frames ahead of the last one acknowledged, 1 up to FARM-1's positive window (half of
    its W) and below 256.  t1_ns: Timer_Initial_Value, `t1_initial_ns`.  transmission_limit: how
    often the first frame on Sent_Queue is sent at most.  suspend: timeout type 1, the service is
    suspended when the limit is reached without an answer, not terminated.
    """

    def __init__(
        self,
        vcid: int,
        *,
        t1_ns: int,
        window: int = 10,
        transmission_limit: int = 3,
        suspend: bool = False,
    ) -> None:
        if not 0 <= vcid < 64:
            raise LocalError(f"vcid {vcid}: 0..63 for TC")
        self.vcid = vcid
        self.window = self._checked("FOP sliding window", window, 1, 255)
        self.t1_ns = self._checked("T1 initial, ns,", t1_ns, 1, None)
        self.transmission_limit = self._checked("transmission limit", transmission_limit, 1, None)
        self.timeout_type = int(suspend)
        self.state = FopState.INITIAL
        self.vs = 0
        self.nnr = 0
        self.transmission_count = 1
        #: SS, 0 while not suspended.
        self.suspend_state = 0
        self.next_deadline_ns: int | None = None
        self._now_ns = 0
        self._wait: _Sent | None = None
        self._sent: deque[_Sent] = deque()
        self._ready = dict.fromkeys(FrameType, True)
        #: 'Transmit Request for Frame' that `take` has not given out yet, one of each type at most.
        self._out: dict[FrameType, TcFrame] = {}
        self._notices: list[Notice] = []
        self._requests = 0
        #: Directive to initiate the AD service that waits for its confirmation.
        self._initiating: int | None = None

    @staticmethod
    def _checked(what: str, value: int, least: int, most: int | None) -> int:
        if value < least or (most is not None and value > most):
            wanted = f"{least}..{most}" if most is not None else f"at least {least}"
            raise LocalError(f"{what} {value}: {wanted} (232.1-B-2 §5.1)")
        return value

    # Higher procedures -------------------------------------------------------------------------

    @property
    def can_accept_ad(self) -> bool:
        """Whether `send_ad` would be queued and not rejected."""
        return self.state <= FopState.RETRANSMIT_WITH_WAIT and self._wait is None

    @property
    def outstanding(self) -> int:
        """Frames sent and not acknowledged."""
        return len(self._sent)

    def send_ad(self, now_ns: int, frame: TcFrame) -> int:
        """'Request to Transfer FDU', sequence-controlled; the number its notices will carry.

        The frame's number is set here.  Only one request may wait: `can_accept_ad`.
        """
        return self._request(now_ns, frame, FrameType.AD)

    def send_bd(self, now_ns: int, frame: TcFrame) -> int:
        """The same, expedited: sent once, at once, in any state."""
        return self._request(now_ns, frame, FrameType.BD)

    def _request(self, now_ns: int, frame: TcFrame, frame_type: FrameType) -> int:
        if frame.vcid != self.vcid:
            raise LocalError(f"frame of virtual channel {frame.vcid} to the FOP of {self.vcid}")
        self._requests += 1
        entry = _Sent(replace(frame, frame_type=frame_type, sequence_number=0), self._requests)
        if frame_type is FrameType.AD:
            event = E.AD_REQUEST if self._wait is None else E.AD_REQUEST_QUEUE_FULL
        else:
            event = E.BD_REQUEST if self._ready[frame_type] else E.BD_REQUEST_NOT_READY
        self._apply(now_ns, event, entry)
        return entry.request

    def initiate_without_clcw(self, now_ns: int) -> int:
        """Directives return the number that their notices will carry."""
        return self._directive(now_ns, E.INITIATE_WITHOUT_CLCW)

    def initiate_with_clcw(self, now_ns: int) -> int:
        """Confirmed by a CLCW that expects V(S): see `set_vs`."""
        return self._directive(now_ns, E.INITIATE_WITH_CLCW)

    def initiate_with_unlock(self, now_ns: int) -> int:
        """Confirmed by a CLCW without lockout that expects V(S): see `set_vs`."""
        ready = self._ready[FrameType.BC]
        return self._directive(
            now_ns, E.INITIATE_WITH_UNLOCK if ready else E.INITIATE_WITH_UNLOCK_NOT_READY
        )

    def initiate_with_set_vr(self, now_ns: int, value: int) -> int:
        """Confirmed by a CLCW that expects `value`."""
        self._checked("V(R)", value, 0, 255)
        ready = self._ready[FrameType.BC]
        return self._directive(
            now_ns, E.INITIATE_WITH_SET_VR if ready else E.INITIATE_WITH_SET_VR_NOT_READY, value
        )

    def terminate(self, now_ns: int) -> int:
        return self._directive(now_ns, E.TERMINATE)

    def resume(self, now_ns: int) -> int:
        resumes = (E.RESUME_NOT_SUSPENDED, E.RESUME_1, E.RESUME_2, E.RESUME_3, E.RESUME_4)
        return self._directive(now_ns, resumes[self.suspend_state])

    def set_vs(self, now_ns: int, value: int) -> int:
        """V(S): the next frame's number, as a CLCW reports it.  Only in S6, and not suspended."""
        self._checked("V(S)", value, 0, 255)
        suspended = self.state is FopState.INITIAL and self.suspend_state
        return self._directive(now_ns, E.INVALID_DIRECTIVE if suspended else E.SET_VS, value)

    def set_window(self, now_ns: int, value: int) -> int:
        self._checked("FOP sliding window", value, 1, 255)
        return self._directive(now_ns, E.SET_WINDOW, value)

    def set_t1(self, now_ns: int, t1_ns: int) -> int:
        """From the next start of the timer on: as the light time changes."""
        self._checked("T1 initial, ns,", t1_ns, 1, None)
        return self._directive(now_ns, E.SET_T1, t1_ns)

    def set_transmission_limit(self, now_ns: int, value: int) -> int:
        self._checked("transmission limit", value, 1, None)
        return self._directive(now_ns, E.SET_LIMIT, value)

    def set_timeout_type(self, now_ns: int, value: int) -> int:
        self._checked("timeout type", value, 0, 1)
        return self._directive(now_ns, E.SET_TIMEOUT_TYPE, value)

    def _directive(self, now_ns: int, event: FopEvent, qualifier: int = 0) -> int:
        self._requests += 1
        self._apply(now_ns, event, self._requests, qualifier)
        return self._requests

    def notices(self) -> list[Notice]:
        """What happened since the last call, in order."""
        out, self._notices = self._notices, []
        return out

    def snapshot(self) -> dict[str, Any]:
        """All of the state, for `restore`: numbers, names, octets, lists.

        Notices are to be taken first: LocalError while some wait.
        """
        if self._notices:
            raise LocalError(f"{len(self._notices)} notices of FOP-1 were not taken")
        return {
            **{name: getattr(self, name) for name in _PLAIN},
            "vcid": self.vcid,
            "state": int(self.state),
            "wait": self._wait.snapshot() if self._wait else None,
            "sent": [entry.snapshot() for entry in self._sent],
            "ready": {frame_type.name: ready for frame_type, ready in self._ready.items()},
            "out": [_plain(frame) for frame in self._out.values()],
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """As it was; LocalError for a snapshot of another virtual channel.

        A frame that `take` had given out when the snapshot was made counts as taken: whether it was
        radiated or not, the timer mends it, if its acceptance is told.
        """
        if snapshot["vcid"] != self.vcid:
            raise LocalError(f"snapshot of the FOP of {snapshot['vcid']} for that of {self.vcid}")
        for name in _PLAIN:
            setattr(self, name, snapshot[name])
        self.state = FopState(snapshot["state"])
        self._wait = _Sent.restored(snapshot["wait"]) if snapshot["wait"] else None
        self._sent = deque(_Sent.restored(values) for values in snapshot["sent"])
        self._ready = {FrameType[name]: ready for name, ready in snapshot["ready"].items()}
        out = [_frame(values) for values in snapshot["out"]]
        self._out = {frame.frame_type: frame for frame in out}

    # Lower procedures --------------------------------------------------------------------------

    def take(self) -> TcFrame | None:
        """Next frame to radiate; `lower_accepts` or `lower_rejects` shall follow for its type."""
        for frame_type in (FrameType.BC, FrameType.BD, FrameType.AD):
            frame = self._out.pop(frame_type, None)
            if frame is not None:
                return frame
        return None

    def lower_accepts(self, now_ns: int, frame_type: FrameType) -> None:
        """The frame taken last of this type is on its way: the next may come."""
        self._apply(
            now_ns,
            {
                FrameType.AD: E.AD_ACCEPTED,
                FrameType.BC: E.BC_ACCEPTED,
                FrameType.BD: E.BD_ACCEPTED,
            }[frame_type],
        )

    def lower_rejects(self, now_ns: int, frame_type: FrameType) -> None:
        """It cannot be radiated; the AD service is terminated (§5.3, E42, E44, E46)."""
        self._ready[frame_type] = True
        self._apply(
            now_ns,
            {
                FrameType.AD: E.AD_REJECTED,
                FrameType.BC: E.BC_REJECTED,
                FrameType.BD: E.BD_REJECTED,
            }[frame_type],
        )

    def clcw(self, now_ns: int, clcw: CLCW) -> None:
        """A CLCW has arrived; one of another virtual channel or COP is passed over (§5.3.2)."""
        if clcw.vcid == self.vcid and clcw.cop_in_effect == 1:
            self._apply(now_ns, self._clcw_event(clcw), clcw)

    def timeout(self, now_ns: int) -> None:
        """To be called at `next_deadline_ns`; before it nothing happens."""
        if self.next_deadline_ns is None or now_ns < self.next_deadline_ns:
            return
        self.next_deadline_ns = None
        if self.transmission_count < self.transmission_limit:
            event = E.TIMER_SUSPEND_TYPE if self.timeout_type else E.TIMER
        else:
            event = E.TIMER_AT_LIMIT_SUSPEND_TYPE if self.timeout_type else E.TIMER_AT_LIMIT
        self._apply(now_ns, event)

    # The machine -------------------------------------------------------------------------------

    def _clcw_event(self, clcw: CLCW) -> FopEvent:
        """E1 to E15, the conditions of table 5-1."""
        if clcw.version:
            return E.INVALID_CLCW
        if clcw.lockout:
            return E.LOCKOUT
        new = clcw.report_value != self.nnr
        if clcw.report_value == self.vs:
            if clcw.retransmit:
                return E.ALL_RETRANSMIT
            if clcw.wait:
                return E.ALL_WAIT
            return E.ALL_NEW if new else E.ALL_NONE_NEW
        if (clcw.report_value - self.nnr) % 256 > (self.vs - self.nnr) % 256:
            return E.INVALID_NR
        if not clcw.retransmit:
            if clcw.wait:
                return E.SOME_WAIT
            return E.SOME_NEW if new else E.SOME_NONE_NEW
        if self.transmission_limit == 1:
            return E.SOME_LIMIT_ONE_NEW if new else E.SOME_LIMIT_ONE_NONE_NEW
        if new:
            return E.SOME_RETRANSMIT_WAIT_NEW if clcw.wait else E.SOME_RETRANSMIT_NEW
        if self.transmission_count < self.transmission_limit:
            return E.SOME_RETRANSMIT_WAIT if clcw.wait else E.SOME_RETRANSMIT
        return E.SOME_RETRANSMIT_WAIT_AT_LIMIT if clcw.wait else E.SOME_RETRANSMIT_AT_LIMIT

    def _apply(
        self,
        now_ns: int,
        event: FopEvent,
        subject: _Sent | CLCW | int | None = None,
        qualifier: int = 0,
    ) -> None:
        """subject: the request, the CLCW, or the number of the directive."""
        self._now_ns = now_ns
        before = self.state
        transition = FOP_TABLE[before].get(event)
        if transition is None:
            raise LocalError(f"FOP-1: event {event.value} is not applicable in S{before}")
        actions, self.state = transition
        for action in actions:
            self._perform(action, event, before, subject, qualifier)

    def _perform(
        self,
        action: FopAction,
        event: FopEvent,
        before: FopState,
        subject: _Sent | CLCW | int | None,
        qualifier: int,
    ) -> None:
        match action:
            case A.ACCEPT | A.REJECT:
                self._respond(action, event, subject)
            case A.CONFIRM:
                self._confirm(event, subject)
            case A.QUEUE:
                assert isinstance(subject, _Sent)
                self._wait = subject
            case A.TRANSMIT_BD:
                assert isinstance(subject, _Sent)
                self._transmit(subject.frame)
            case A.TRANSMIT_UNLOCK:
                self._transmit_bc(Unlock().build(), subject)
            case A.TRANSMIT_SET_VR:
                self._transmit_bc(SetVr(qualifier).build(), subject)
            case A.REMOVE_ACKNOWLEDGED:
                assert isinstance(subject, CLCW)
                self._remove_acknowledged(subject.report_value)
            case A.RETRANSMIT_AD:
                self._retransmit(FrameType.AD)
            case A.RETRANSMIT_BC:
                self._retransmit(FrameType.BC)
            case A.LOOK_FOR_FDU:
                self._look_for_fdu()
            case A.LOOK_FOR_DIRECTIVE:
                self._look_for_directive()
            case A.START_TIMER:
                self._start_timer()
            case A.CANCEL_TIMER:
                self.next_deadline_ns = None
            case A.INITIALISE:
                self._purge()
                self.transmission_count, self.suspend_state = 1, 0
            case A.RELEASE_BC:
                self._sent.clear()
                self._withdraw(FrameType.BC)
            case A.SET_VS:
                self.vs = self.nnr = qualifier
            case A.SET_PARAMETER:
                self._set_parameter(event, qualifier)
            case A.SUSPEND:
                self.suspend_state = int(before)
                self._notices.append(Suspended(before))
            case A.RESUME:
                self._start_timer()
                self.suspend_state = 0
            case A.AD_READY:
                self._ready[FrameType.AD] = True
            case A.BC_READY:
                self._ready[FrameType.BC] = True
            case A.BD_READY:
                self._ready[FrameType.BD] = True
            case _:
                self._alert(_ALERTS[action])

    def _respond(self, action: FopAction, event: FopEvent, subject: object) -> None:
        request = subject.request if isinstance(subject, _Sent) else subject
        assert isinstance(request, int)
        self._notices.append(Accepted(request) if action is A.ACCEPT else Rejected(request))
        if event in (E.INITIATE_WITH_CLCW, E.INITIATE_WITH_UNLOCK, E.INITIATE_WITH_SET_VR) and (
            action is A.ACCEPT
        ):
            if self._initiating is not None:
                # Suspended while it waited, and never resumed.
                self._notices.append(Failed(self._initiating))
            self._initiating = request

    def _confirm(self, event: FopEvent, subject: object) -> None:
        if event is E.ALL_NONE_NEW:
            # A CLCW confirms the directive that initiated the service.
            request, self._initiating = self._initiating, None
            if request is not None:
                self._notices.append(Confirmed(request))
            return
        assert isinstance(subject, int)
        self._notices.append(Confirmed(subject))

    def _set_parameter(self, event: FopEvent, value: int) -> None:
        if event is E.SET_WINDOW:
            self.window = value
        elif event is E.SET_T1:
            self.t1_ns = value
        elif event is E.SET_LIMIT:
            self.transmission_limit = value
        else:
            self.timeout_type = value

    def _start_timer(self) -> None:
        self.next_deadline_ns = self._now_ns + self.t1_ns

    def _transmit(self, frame: TcFrame) -> None:
        self._ready[frame.frame_type] = False
        self._out[frame.frame_type] = frame

    def _transmit_bc(self, command: bytes, subject: object) -> None:
        """§5.2.5"""
        assert isinstance(subject, int)
        frame = TcFrame(self.vcid, command, FrameType.BC)
        self._sent.append(_Sent(frame, subject))
        self.transmission_count = 1
        self._start_timer()
        self._transmit(frame)

    def _remove_acknowledged(self, report_value: int) -> None:
        """§5.2.8"""
        while self._sent and self.nnr != report_value:
            acknowledged = self._sent.popleft()
            self._notices.append(Confirmed(acknowledged.request))
            self.nnr = (self.nnr + 1) % 256
            self.transmission_count = 1
            out = self._out.get(FrameType.AD)
            if out is not None and out.sequence_number == acknowledged.frame.sequence_number:
                # To be sent again, and not taken yet, as between uplink windows: it is not needed.
                self._withdraw(FrameType.AD)

    def _retransmit(self, frame_type: FrameType) -> None:
        """§5.2.7; what `take` has not given out is withdrawn: it is the lower procedures' abort."""
        self._withdraw(frame_type)
        self.transmission_count += 1
        self._start_timer()
        for entry in self._sent:
            entry.to_be_retransmitted = entry.frame.frame_type is frame_type

    def _look_for_directive(self) -> None:
        """§5.2.9"""
        for entry in self._sent:
            if self._ready[FrameType.BC] and entry.to_be_retransmitted:
                entry.to_be_retransmitted = False
                self._transmit(entry.frame)

    def _look_for_fdu(self) -> None:
        """§5.2.10"""
        if not self._ready[FrameType.AD]:
            return
        for entry in self._sent:
            if entry.to_be_retransmitted:
                entry.to_be_retransmitted = False
                self._transmit(entry.frame)
                return
        if self._wait is None or (self.vs - self.nnr) % 256 >= self.window:
            return
        entry, self._wait = self._wait, None
        self._notices.append(Accepted(entry.request))
        # §5.2.4
        entry.frame = replace(entry.frame, sequence_number=self.vs)
        self.vs = (self.vs + 1) % 256
        if not self._sent:
            self.transmission_count = 1
        self._sent.append(entry)
        self._start_timer()
        self._transmit(entry.frame)

    def _purge(self) -> None:
        """§5.2.2, §5.2.3"""
        for entry in self._sent:
            if entry.frame.frame_type is FrameType.AD:
                self._notices.append(Failed(entry.request))
        self._sent.clear()
        # No frame is unacknowledged any more; the standard lets NN(R) lag behind, which would make
        # reports in S4 and S5 events that its table has no entry for.
        self.nnr = self.vs
        if self._wait is not None:
            self._notices.append(Rejected(self._wait.request))
            self._wait = None
        for frame_type in (FrameType.AD, FrameType.BC):
            self._withdraw(frame_type)

    def _withdraw(self, frame_type: FrameType) -> None:
        """What `take` has not given out."""
        if self._out.pop(frame_type, None) is not None:
            self._ready[frame_type] = True

    def _alert(self, reason: Alert) -> None:
        """§5.2.15"""
        self.next_deadline_ns = None
        self._purge()
        if self._initiating is not None:
            self._notices.append(Failed(self._initiating))
            self._initiating = None
        self._notices.append(Alerted(reason))
