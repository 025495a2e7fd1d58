"""The state table of FOP-1, CCSDS 232.1-B-2 table 5-1: every event in every state.

Where the public implementations of it disagree (dariol83/ccsds, ccsds-cop), the choice and its
reason stand at the row.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Final


class FopState(IntEnum):
    """§5.1.2; the numbers are the standard's, S1 to S6."""

    ACTIVE = 1
    RETRANSMIT_WITHOUT_WAIT = 2
    RETRANSMIT_WITH_WAIT = 3
    INITIALISING_WITHOUT_BC = 4
    INITIALISING_WITH_BC = 5
    INITIAL = 6


class FopEvent(Enum):
    """Rows of the table, in its order.

    ALL_…: N(R) = V(S), all frames are acknowledged.  SOME_…: NN(R) ≤ N(R) < V(S).  NONE_NEW and
    NEW: whether N(R) = NN(R) or not.
    """

    ALL_NONE_NEW = "E1"
    ALL_NEW = "E2"
    ALL_WAIT = "E3"
    ALL_RETRANSMIT = "E4"
    SOME_NONE_NEW = "E5"
    SOME_NEW = "E6"
    SOME_WAIT = "E7"
    SOME_LIMIT_ONE_NEW = "E101"
    SOME_LIMIT_ONE_NONE_NEW = "E102"
    SOME_RETRANSMIT_NEW = "E8"
    SOME_RETRANSMIT_WAIT_NEW = "E9"
    SOME_RETRANSMIT = "E10"
    SOME_RETRANSMIT_WAIT = "E11"
    SOME_RETRANSMIT_AT_LIMIT = "E12"
    SOME_RETRANSMIT_WAIT_AT_LIMIT = "E103"
    INVALID_NR = "E13"
    LOCKOUT = "E14"
    INVALID_CLCW = "E15"
    TIMER = "E16"
    TIMER_SUSPEND_TYPE = "E104"
    TIMER_AT_LIMIT = "E17"
    TIMER_AT_LIMIT_SUSPEND_TYPE = "E18"
    AD_REQUEST = "E19"
    AD_REQUEST_QUEUE_FULL = "E20"
    BD_REQUEST = "E21"
    BD_REQUEST_NOT_READY = "E22"
    INITIATE_WITHOUT_CLCW = "E23"
    INITIATE_WITH_CLCW = "E24"
    INITIATE_WITH_UNLOCK = "E25"
    INITIATE_WITH_UNLOCK_NOT_READY = "E26"
    INITIATE_WITH_SET_VR = "E27"
    INITIATE_WITH_SET_VR_NOT_READY = "E28"
    TERMINATE = "E29"
    RESUME_NOT_SUSPENDED = "E30"
    RESUME_1 = "E31"
    RESUME_2 = "E32"
    RESUME_3 = "E33"
    RESUME_4 = "E34"
    SET_VS = "E35"
    SET_WINDOW = "E36"
    SET_T1 = "E37"
    SET_LIMIT = "E38"
    SET_TIMEOUT_TYPE = "E39"
    INVALID_DIRECTIVE = "E40"
    AD_ACCEPTED = "E41"
    AD_REJECTED = "E42"
    BC_ACCEPTED = "E43"
    BC_REJECTED = "E44"
    BD_ACCEPTED = "E45"
    BD_REJECTED = "E46"


class FopAction(Enum):
    """§5.2.  ALERT_…: 'ALERT' with its reason."""

    REMOVE_ACKNOWLEDGED = "remove acknowledged frames from Sent_Queue"
    RETRANSMIT_AD = "initiate AD retransmission"
    RETRANSMIT_BC = "initiate BC retransmission"
    LOOK_FOR_FDU = "look for FDU"
    LOOK_FOR_DIRECTIVE = "look for directive"
    QUEUE = "add to Wait_Queue"
    START_TIMER = "start timer"
    CANCEL_TIMER = "cancel timer"
    ACCEPT = "ACCEPT"
    REJECT = "REJECT"
    CONFIRM = "CONFIRM"
    INITIALISE = "initialize"
    RELEASE_BC = "release copy of BC frame"
    TRANSMIT_UNLOCK = "transmit BC frame (Unlock)"
    TRANSMIT_SET_VR = "transmit BC frame (Set V(R))"
    TRANSMIT_BD = "transmit BD frame"
    SET_VS = "V(S) = NN(R) = qualifier"
    SET_PARAMETER = "set parameter to qualifier"
    SUSPEND = "SS = state, SUSPEND"
    RESUME = "RESUME"
    AD_READY = "AD_Out_Flag = ready"
    BC_READY = "BC_Out_Flag = ready"
    BD_READY = "BD_Out_Flag = ready"
    ALERT_LIMIT = "ALERT [limit]"
    ALERT_T1 = "ALERT [T1]"
    ALERT_LOCKOUT = "ALERT [lockout]"
    ALERT_SYNCH = "ALERT [synch]"
    ALERT_NNR = "ALERT [NN(R)]"
    ALERT_CLCW = "ALERT [CLCW]"
    ALERT_LLIF = "ALERT [LLIF]"
    ALERT_TERM = "ALERT [term]"


Cell = tuple[tuple[FopAction, ...], FopState] | None
A, E, S = FopAction, FopEvent, FopState
_S1, _S2, _S3, _S4, _S5, _S6 = FopState

_IGNORE: Final[tuple[FopAction, ...]] = ()
#: Columns of "stay where you are", and of "not applicable".
_STAY: Final = tuple(FopState)
_NA: Final = None


def _everywhere(*actions: FopAction, to: tuple[FopState, ...] = _STAY) -> tuple[Cell, ...]:
    return tuple((actions, state) for state in to)


def _to(state: FopState, *actions: FopAction) -> Cell:
    return actions, state


def _alert(action: FopAction) -> Cell:
    return (action,), _S6


_CLCW, _SYNCH, _NNR = _alert(A.ALERT_CLCW), _alert(A.ALERT_SYNCH), _alert(A.ALERT_NNR)
_LOCKOUT, _LIMIT, _T1 = _alert(A.ALERT_LOCKOUT), _alert(A.ALERT_LIMIT), _alert(A.ALERT_T1)
_IGNORED_6: Final = _to(_S6)
_SUSPEND: Final = _to(_S6, A.SUSPEND)
_ACKNOWLEDGED = (A.REMOVE_ACKNOWLEDGED,)
_AGAIN = (A.RETRANSMIT_AD, A.LOOK_FOR_FDU)
_TERMINATED: Final = _to(_S6, A.ACCEPT, A.ALERT_TERM, A.CONFIRM)
_DONE = (A.ACCEPT, A.SET_PARAMETER, A.CONFIRM)


def _clcw(s1: Cell, s2: Cell, s3: Cell, s4: Cell = _NA, s5: Cell = _NA) -> tuple[Cell, ...]:
    """In S6 every CLCW is ignored."""
    return s1, s2, s3, s4, s5, _IGNORED_6


def _same(cell: Cell) -> tuple[Cell, ...]:
    """The same in S1, S2 and S3, not applicable in S4 and S5 (nothing is outstanding there)."""
    return _clcw(cell, cell, cell)


def _initiate(cell: Cell) -> tuple[Cell, ...]:
    """AD service is initiated from S6 alone."""
    return (*_everywhere(A.REJECT)[:5], cell)


_ROWS: Final[dict[FopEvent, tuple[Cell, ...]]] = {
    E.ALL_NONE_NEW: _clcw(
        _to(_S1),
        _SYNCH,
        _SYNCH,
        _to(_S1, A.CONFIRM, A.CANCEL_TIMER),
        _to(_S1, A.CONFIRM, A.RELEASE_BC, A.CANCEL_TIMER),
    ),
    E.ALL_NEW: _same(_to(_S1, *_ACKNOWLEDGED, A.CANCEL_TIMER, A.LOOK_FOR_FDU)),
    # In S5 what FARM-1 said before the control command arrived is no error: lockout, wait,
    # retransmit and another V(R) are what the command is sent for.  dariol83/ccsds alerts on wait.
    E.ALL_WAIT: _clcw(_CLCW, _CLCW, _CLCW, _CLCW, _to(_S5)),
    E.ALL_RETRANSMIT: _clcw(_SYNCH, _SYNCH, _SYNCH, _SYNCH, _to(_S5)),
    E.SOME_NONE_NEW: _clcw(_to(_S1), _SYNCH, _SYNCH),
    E.SOME_NEW: _same(_to(_S1, *_ACKNOWLEDGED, A.LOOK_FOR_FDU)),
    E.SOME_WAIT: _same(_CLCW),
    E.SOME_LIMIT_ONE_NEW: _same(_to(_S6, *_ACKNOWLEDGED, A.ALERT_LIMIT)),
    E.SOME_LIMIT_ONE_NONE_NEW: _same(_LIMIT),
    E.SOME_RETRANSMIT_NEW: _same(_to(_S2, *_ACKNOWLEDGED, *_AGAIN)),
    E.SOME_RETRANSMIT_WAIT_NEW: _same(_to(_S3, *_ACKNOWLEDGED)),
    # S2: what this asks for is already under way.
    E.SOME_RETRANSMIT: _clcw(_to(_S2, *_AGAIN), _to(_S2), _to(_S2, *_AGAIN)),
    E.SOME_RETRANSMIT_WAIT: _same(_to(_S3)),
    E.SOME_RETRANSMIT_AT_LIMIT: _same(_to(_S2)),
    E.SOME_RETRANSMIT_WAIT_AT_LIMIT: _same(_to(_S3)),
    E.INVALID_NR: _clcw(_NNR, _NNR, _NNR, _NNR, _to(_S5)),
    E.LOCKOUT: _clcw(_LOCKOUT, _LOCKOUT, _LOCKOUT, _LOCKOUT, _to(_S5)),
    E.INVALID_CLCW: _clcw(_CLCW, _CLCW, _CLCW, _CLCW, _CLCW),
    E.TIMER: (
        _to(_S1, *_AGAIN),
        _to(_S2, *_AGAIN),
        _to(_S3),
        _T1,
        _to(_S5, A.RETRANSMIT_BC, A.LOOK_FOR_DIRECTIVE),
        _NA,
    ),
    # S5: ccsds-cop has no entry; SS, 0 to 4, cannot hold it, so it is as for timeout type 0.
    E.TIMER_SUSPEND_TYPE: (
        _to(_S1, *_AGAIN),
        _to(_S2, *_AGAIN),
        _to(_S3),
        _SUSPEND,
        _to(_S5, A.RETRANSMIT_BC, A.LOOK_FOR_DIRECTIVE),
        _NA,
    ),
    E.TIMER_AT_LIMIT: (_T1, _T1, _T1, _T1, _T1, _NA),
    E.TIMER_AT_LIMIT_SUSPEND_TYPE: (_SUSPEND, _SUSPEND, _SUSPEND, _SUSPEND, _T1, _NA),
    E.AD_REQUEST: (
        _to(_S1, A.QUEUE, A.LOOK_FOR_FDU),
        _to(_S2, A.QUEUE, A.LOOK_FOR_FDU),
        _to(_S3, A.QUEUE),
        *_everywhere(A.REJECT)[3:],
    ),
    E.AD_REQUEST_QUEUE_FULL: _everywhere(A.REJECT),
    E.BD_REQUEST: _everywhere(A.ACCEPT, A.TRANSMIT_BD),
    E.BD_REQUEST_NOT_READY: _everywhere(A.REJECT),
    E.INITIATE_WITHOUT_CLCW: _initiate(_to(_S1, A.ACCEPT, A.INITIALISE, A.CONFIRM)),
    E.INITIATE_WITH_CLCW: _initiate(_to(_S4, A.ACCEPT, A.INITIALISE, A.START_TIMER)),
    E.INITIATE_WITH_UNLOCK: _initiate(_to(_S5, A.ACCEPT, A.INITIALISE, A.TRANSMIT_UNLOCK)),
    E.INITIATE_WITH_UNLOCK_NOT_READY: _everywhere(A.REJECT),
    E.INITIATE_WITH_SET_VR: _initiate(
        _to(_S5, A.ACCEPT, A.INITIALISE, A.SET_VS, A.TRANSMIT_SET_VR)
    ),
    E.INITIATE_WITH_SET_VR_NOT_READY: _everywhere(A.REJECT),
    # S6: frames of a suspended service stay in Sent_Queue until it is resumed or initiated again.
    E.TERMINATE: (*(_TERMINATED,) * 5, _to(_S6, A.ACCEPT, A.CONFIRM)),
    E.RESUME_NOT_SUSPENDED: _everywhere(A.REJECT),
    E.RESUME_1: (*(_NA,) * 5, _to(_S1, A.ACCEPT, A.RESUME, A.CONFIRM)),
    E.RESUME_2: (*(_NA,) * 5, _to(_S2, A.ACCEPT, A.RESUME, A.CONFIRM)),
    E.RESUME_3: (*(_NA,) * 5, _to(_S3, A.ACCEPT, A.RESUME, A.CONFIRM)),
    E.RESUME_4: (*(_NA,) * 5, _to(_S4, A.ACCEPT, A.RESUME, A.CONFIRM)),
    # In S6 while suspended it is rejected, which `Fop` sees to by E40.
    E.SET_VS: _initiate(_to(_S6, A.ACCEPT, A.SET_VS, A.CONFIRM)),
    E.SET_WINDOW: _everywhere(*_DONE),
    E.SET_T1: _everywhere(*_DONE),
    E.SET_LIMIT: _everywhere(*_DONE),
    E.SET_TIMEOUT_TYPE: _everywhere(*_DONE),
    E.INVALID_DIRECTIVE: _everywhere(A.REJECT),
    E.AD_ACCEPTED: (
        _to(_S1, A.AD_READY, A.LOOK_FOR_FDU),
        _to(_S2, A.AD_READY, A.LOOK_FOR_FDU),
        *_everywhere(A.AD_READY)[2:],
    ),
    E.AD_REJECTED: _everywhere(A.ALERT_LLIF, to=(_S6,) * 6),
    E.BC_ACCEPTED: (
        *_everywhere(A.BC_READY)[:4],
        _to(_S5, A.BC_READY, A.LOOK_FOR_DIRECTIVE),
        _to(_S6, A.BC_READY),
    ),
    E.BC_REJECTED: _everywhere(A.ALERT_LLIF, to=(_S6,) * 6),
    # BD requests are accepted when they are passed on (E21), once.
    E.BD_ACCEPTED: _everywhere(A.BD_READY),
    E.BD_REJECTED: _everywhere(A.ALERT_LLIF, to=(_S6,) * 6),
}

#: {state: {event: (actions, next state)}}; no entry: "not applicable".
FOP_TABLE: Final[dict[FopState, dict[FopEvent, tuple[tuple[FopAction, ...], FopState]]]] = {
    state: {event: cell for event, row in _ROWS.items() if (cell := row[state - 1]) is not None}
    for state in FopState
}
