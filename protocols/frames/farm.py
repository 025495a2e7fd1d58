"""FARM-1, the receiving end of COP-1 (CCSDS 232.1-B-2 §6), one for each virtual channel.

`FARM_TABLE` is the standard's table 6-1.  Frames come validated, that is, parsed by
`tc.parse`; what it refuses counts as event E9.

    >>> farm = Farm(vcid=1)
    >>> farm.receive(TcFrame(vcid=1, sequence_number=0, data=b"unit"))
    b'unit'
    >>> farm.clcw().report_value
    1
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from protocols.errors import LocalError, RemoteError
from protocols.frames.clcw import CLCW
from protocols.frames.tc import (
    ControlCommand,
    FrameType,
    SetVr,
    TcFrame,
    Unlock,
    parse_control_command,
)


class FarmState(Enum):
    OPEN = "S1"
    WAIT = "S2"
    LOCKOUT = "S3"


class FarmEvent(Enum):
    """§6.3; E11 is `Farm.clcw`, which changes nothing."""

    EXPECTED_BUFFER = "E1"
    EXPECTED_NO_BUFFER = "E2"
    POSITIVE_WINDOW = "E3"
    NEGATIVE_WINDOW = "E4"
    OUTSIDE_WINDOW = "E5"
    TYPE_BD = "E6"
    UNLOCK = "E7"
    SET_VR = "E8"
    INVALID = "E9"
    BUFFER_RELEASE = "E10"
    CLCW_TIME = "E11"


class FarmAction(Enum):
    """§6.2, and what the table sets beside: wait and lockout are the states S2 and S3."""

    ACCEPT = "accept"
    DISCARD = "discard"
    REPORT = "report"
    COUNT_VR = "V(R) + 1"
    SET_VR = "V(R) = V*(R)"
    COUNT_B = "FARM-B counter + 1"
    SET_RETRANSMIT = "retransmit = 1"
    RESET_RETRANSMIT = "retransmit = 0"
    SET_WAIT = "wait = 1"
    RESET_WAIT = "wait = 0"
    SET_LOCKOUT = "lockout = 1"
    RESET_LOCKOUT = "lockout = 0"


Transition = tuple[tuple[FarmAction, ...], FarmState]

_A, _S = FarmAction, FarmState
_DISCARD = (_A.DISCARD,)
#: Table 6-1.  No entry: "not applicable", E1 in S2.
FARM_TABLE: Final[dict[FarmState, dict[FarmEvent, Transition]]] = {
    _S.OPEN: {
        FarmEvent.EXPECTED_BUFFER: ((_A.ACCEPT, _A.COUNT_VR, _A.RESET_RETRANSMIT), _S.OPEN),
        FarmEvent.EXPECTED_NO_BUFFER: ((_A.DISCARD, _A.SET_RETRANSMIT, _A.SET_WAIT), _S.WAIT),
        FarmEvent.POSITIVE_WINDOW: ((_A.DISCARD, _A.SET_RETRANSMIT), _S.OPEN),
        FarmEvent.NEGATIVE_WINDOW: (_DISCARD, _S.OPEN),
        FarmEvent.OUTSIDE_WINDOW: ((_A.DISCARD, _A.SET_LOCKOUT), _S.LOCKOUT),
        FarmEvent.TYPE_BD: ((_A.ACCEPT, _A.COUNT_B), _S.OPEN),
        FarmEvent.UNLOCK: ((_A.COUNT_B, _A.RESET_RETRANSMIT), _S.OPEN),
        FarmEvent.SET_VR: ((_A.COUNT_B, _A.RESET_RETRANSMIT, _A.SET_VR), _S.OPEN),
        FarmEvent.INVALID: (_DISCARD, _S.OPEN),
        FarmEvent.BUFFER_RELEASE: ((), _S.OPEN),
        FarmEvent.CLCW_TIME: ((_A.REPORT,), _S.OPEN),
    },
    _S.WAIT: {
        FarmEvent.EXPECTED_NO_BUFFER: (_DISCARD, _S.WAIT),
        FarmEvent.POSITIVE_WINDOW: (_DISCARD, _S.WAIT),
        FarmEvent.NEGATIVE_WINDOW: (_DISCARD, _S.WAIT),
        FarmEvent.OUTSIDE_WINDOW: ((_A.DISCARD, _A.SET_LOCKOUT), _S.LOCKOUT),
        FarmEvent.TYPE_BD: ((_A.ACCEPT, _A.COUNT_B), _S.WAIT),
        FarmEvent.UNLOCK: ((_A.COUNT_B, _A.RESET_RETRANSMIT, _A.RESET_WAIT), _S.OPEN),
        FarmEvent.SET_VR: (
            (_A.COUNT_B, _A.RESET_RETRANSMIT, _A.RESET_WAIT, _A.SET_VR),
            _S.OPEN,
        ),
        FarmEvent.INVALID: (_DISCARD, _S.WAIT),
        FarmEvent.BUFFER_RELEASE: ((_A.RESET_WAIT,), _S.OPEN),
        FarmEvent.CLCW_TIME: ((_A.REPORT,), _S.WAIT),
    },
    _S.LOCKOUT: {
        FarmEvent.EXPECTED_BUFFER: (_DISCARD, _S.LOCKOUT),
        FarmEvent.EXPECTED_NO_BUFFER: (_DISCARD, _S.LOCKOUT),
        FarmEvent.POSITIVE_WINDOW: (_DISCARD, _S.LOCKOUT),
        FarmEvent.NEGATIVE_WINDOW: (_DISCARD, _S.LOCKOUT),
        FarmEvent.OUTSIDE_WINDOW: (_DISCARD, _S.LOCKOUT),
        FarmEvent.TYPE_BD: ((_A.ACCEPT, _A.COUNT_B), _S.LOCKOUT),
        FarmEvent.UNLOCK: (
            (_A.COUNT_B, _A.RESET_RETRANSMIT, _A.RESET_WAIT, _A.RESET_LOCKOUT),
            _S.OPEN,
        ),
        FarmEvent.SET_VR: ((_A.COUNT_B,), _S.LOCKOUT),
        FarmEvent.INVALID: (_DISCARD, _S.LOCKOUT),
        FarmEvent.BUFFER_RELEASE: ((_A.RESET_WAIT,), _S.LOCKOUT),
        FarmEvent.CLCW_TIME: ((_A.REPORT,), _S.LOCKOUT),
    },
}


@dataclass
class FarmStatistics:
    """Frames by what became of them, and how often a lockout began."""

    accepted_ad: int = 0
    accepted_bd: int = 0
    control_commands: int = 0
    discarded: int = 0
    lockouts: int = 0


class Farm:
    """State of one virtual channel.

    window: W, an even number from 2 to 254, half of it on each side of V(R) (§6.1.8).
    """

    def __init__(self, vcid: int, *, window: int = 254) -> None:
        if not 0 <= vcid < 64:
            raise LocalError(f"vcid {vcid}: 0..63 for TC")
        if not 2 <= window <= 254 or window % 2:
            raise LocalError(f"FARM sliding window {window}: even, 2..254 (232.1-B-2 §6.1.8.2)")
        self.vcid = vcid
        self.window = window
        self.state = FarmState.OPEN
        self.vr = 0
        self.lockout = False
        self.wait = False
        self.retransmit = False
        self.farm_b_counter = 0
        self.statistics = FarmStatistics()

    def receive(self, frame: TcFrame, *, buffer_available: bool = True) -> bytes | None:
        """The data of a frame that is accepted: of type AD in order and once, of type BD as it is.

        buffer_available: whether the user can take the data of a type-AD frame now; when it can
        again, `release_buffer`.  Raises LocalError for a frame of another virtual channel.
        """
        if frame.vcid != self.vcid:
            raise LocalError(f"frame of virtual channel {frame.vcid} to the FARM of {self.vcid}")
        command: ControlCommand | None = None
        if frame.frame_type is FrameType.AD:
            event = self._sequence_event(frame.sequence_number, buffer_available)
        elif frame.frame_type is FrameType.BD:
            event = FarmEvent.TYPE_BD
        else:
            try:
                command = parse_control_command(frame.data)
            except RemoteError:
                event = FarmEvent.INVALID
            else:
                event = FarmEvent.UNLOCK if isinstance(command, Unlock) else FarmEvent.SET_VR
        actions = self._apply(event, command)
        if FarmAction.ACCEPT not in actions:
            return None
        if event is FarmEvent.TYPE_BD:
            self.statistics.accepted_bd += 1
        else:
            self.statistics.accepted_ad += 1
        return frame.data

    def invalid_frame(self) -> None:
        """E9: what arrived was refused by `tc.parse`, or by link security."""
        self._apply(FarmEvent.INVALID, None)

    def release_buffer(self) -> None:
        """E10: there is room again for type-AD data."""
        self._apply(FarmEvent.BUFFER_RELEASE, None)

    def clcw(self, *, no_rf_available: bool = False, no_bit_lock: bool = False) -> CLCW:
        """E11: the report of now."""
        return CLCW(
            vcid=self.vcid,
            report_value=self.vr,
            no_rf_available=no_rf_available,
            no_bit_lock=no_bit_lock,
            lockout=self.lockout,
            wait=self.wait,
            retransmit=self.retransmit,
            farm_b_counter=self.farm_b_counter & 0x3,
        )

    def _sequence_event(self, number: int, buffer_available: bool) -> FarmEvent:
        """§6.1.8, figure 6-1: where N(S) lies in the sliding window."""
        ahead = (number - self.vr) % 256
        half = self.window // 2
        if ahead == 0:
            # In S2 the buffer is taken whatever the caller says: it has not released it.
            free = buffer_available and self.state is not FarmState.WAIT
            return FarmEvent.EXPECTED_BUFFER if free else FarmEvent.EXPECTED_NO_BUFFER
        if ahead < half:
            return FarmEvent.POSITIVE_WINDOW
        if ahead >= 256 - half:
            return FarmEvent.NEGATIVE_WINDOW
        return FarmEvent.OUTSIDE_WINDOW

    def _apply(self, event: FarmEvent, command: ControlCommand | None) -> tuple[FarmAction, ...]:
        actions, self.state = FARM_TABLE[self.state][event]
        for action in actions:
            match action:
                case FarmAction.COUNT_VR:
                    self.vr = (self.vr + 1) % 256
                case FarmAction.SET_VR:
                    assert isinstance(command, SetVr)
                    self.vr = command.value
                case FarmAction.COUNT_B:
                    self.farm_b_counter = (self.farm_b_counter + 1) % 256
                    self.statistics.control_commands += command is not None
                case FarmAction.SET_RETRANSMIT | FarmAction.RESET_RETRANSMIT:
                    self.retransmit = action is FarmAction.SET_RETRANSMIT
                case FarmAction.SET_WAIT | FarmAction.RESET_WAIT:
                    self.wait = action is FarmAction.SET_WAIT
                case FarmAction.SET_LOCKOUT | FarmAction.RESET_LOCKOUT:
                    self.lockout = action is FarmAction.SET_LOCKOUT
                    self.statistics.lockouts += self.lockout
                case FarmAction.DISCARD:
                    self.statistics.discarded += 1
                case FarmAction.ACCEPT | FarmAction.REPORT:
                    pass
        return actions
