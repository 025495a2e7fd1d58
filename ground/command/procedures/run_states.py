"""States of a run as a table: `runner.py` decides what happens when."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class RunState(StrEnum):
    """Where a run is.  RUNNING: between two steps; WAITING: in one that is not done yet."""

    LOADED = "loaded"
    RUNNING = "running"
    WAITING = "waiting"
    ASKING = "asking"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"


class RunEvent(StrEnum):
    """What happens to a run."""

    START = "start"
    WAIT = "wait"
    ASK = "ask"
    DONE = "done"
    NOT_DONE = "not done"
    ANSWER = "answer"
    PAUSE = "pause"
    RESUME = "resume"
    STEP = "step"
    ABORT = "abort"
    FAIL = "fail"
    COMPLETE = "complete"


#: What operators do.
BY_OPERATORS: Final = (
    RunEvent.START,
    RunEvent.ANSWER,
    RunEvent.PAUSE,
    RunEvent.RESUME,
    RunEvent.STEP,
    RunEvent.ABORT,
)

_S, _E = RunState, RunEvent
RUN_TABLE: Final[Mapping[RunState, Mapping[RunEvent, RunState]]] = {
    _S.LOADED: {_E.START: _S.RUNNING, _E.STEP: _S.RUNNING, _E.ABORT: _S.ABORTED},
    _S.RUNNING: {
        _E.DONE: _S.RUNNING,
        _E.NOT_DONE: _S.RUNNING,
        _E.WAIT: _S.WAITING,
        _E.ASK: _S.ASKING,
        _E.PAUSE: _S.PAUSED,
        _E.COMPLETE: _S.COMPLETED,
        _E.FAIL: _S.FAILED,
        _E.ABORT: _S.ABORTED,
    },
    _S.WAITING: {
        _E.DONE: _S.RUNNING,
        _E.NOT_DONE: _S.RUNNING,
        _E.PAUSE: _S.PAUSED,
        _E.FAIL: _S.FAILED,
        _E.ABORT: _S.ABORTED,
    },
    _S.ASKING: {
        _E.ANSWER: _S.RUNNING,
        _E.PAUSE: _S.PAUSED,
        _E.FAIL: _S.FAILED,
        _E.ABORT: _S.ABORTED,
    },
    _S.PAUSED: {
        _E.RESUME: _S.RUNNING,
        _E.STEP: _S.RUNNING,
        _E.FAIL: _S.FAILED,
        _E.ABORT: _S.ABORTED,
    },
    _S.COMPLETED: {},
    _S.FAILED: {},
    _S.ABORTED: {},
}
ENDED: Final = frozenset(state for state, moves in RUN_TABLE.items() if not moves)
