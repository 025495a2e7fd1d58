"""Limits in engineering units, the state of each sample, and persistence.

XTCE 1.2 StaticAlarmRanges (rangeForm "outside") and EnumerationAlarmList; bounds are inclusive:
a value equal to a bound is within limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError

U8 = npt.NDArray[np.uint8]


class LimitState(IntEnum):
    """State of a sample; a greater number is never less severe."""

    NOMINAL = 0
    WARNING_LOW = 1
    WARNING_HIGH = 2
    WARNING = 3
    #: No engineering value to judge (NaN).
    UNDEFINED = 4
    CRITICAL_LOW = 5
    CRITICAL_HIGH = 6
    CRITICAL = 7


class Severity(IntEnum):
    NOMINAL = 0
    WARNING = 1
    CRITICAL = 2


def severity(state: int) -> Severity:
    """How bad a `LimitState` is; a value that cannot be judged warns."""
    if state == LimitState.NOMINAL:
        return Severity.NOMINAL
    return Severity.WARNING if state <= LimitState.UNDEFINED else Severity.CRITICAL


Range = tuple[float | None, float | None]


def _checked(name: str, bounds: Range | None) -> tuple[float, float]:
    low, high = bounds or (None, None)
    low = -np.inf if low is None else float(low)
    high = np.inf if high is None else float(high)
    if not low <= high:
        raise LocalError(f"{name} limits {bounds}: low ≤ high wanted")
    return low, high


@dataclass(frozen=True)
class Limits:
    """Nominal while low ≤ value ≤ high; None leaves a side open.

    persistence: consecutive samples in a new state before `LimitMonitor` reports it.
    """

    warning: Range | None = None
    critical: Range | None = None
    persistence: int = 1

    def __post_init__(self) -> None:
        warning, critical = _checked("warning", self.warning), _checked("critical", self.critical)
        if self.warning is None and self.critical is None:
            raise LocalError("limits without a range; warning or critical wanted")
        if self.warning and self.critical:
            low_ok = critical[0] <= warning[0] or warning[0] == -np.inf
            high_ok = critical[1] >= warning[1] or warning[1] == np.inf
            if not (low_ok and high_ok):
                raise LocalError(
                    f"critical limits {self.critical} lie inside warning limits {self.warning}"
                )
        if self.persistence < 1:
            raise LocalError(f"persistence {self.persistence}; 1 or more wanted")

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """critical low, warning low, warning high, critical high; infinite where open."""
        warning, critical = _checked("warning", self.warning), _checked("critical", self.critical)
        return critical[0], warning[0], warning[1], critical[1]

    def state(self, engineering: npt.ArrayLike) -> U8:
        """`LimitState` of each value; uint8, the shape of `engineering`."""
        value = np.asarray(engineering, np.float64)
        critical_low, warning_low, warning_high, critical_high = self.bounds
        state = np.zeros(value.shape, np.uint8)
        state[value < warning_low] = LimitState.WARNING_LOW
        state[value > warning_high] = LimitState.WARNING_HIGH
        state[value < critical_low] = LimitState.CRITICAL_LOW
        state[value > critical_high] = LimitState.CRITICAL_HIGH
        state[value != value] = LimitState.UNDEFINED
        return state


@dataclass(frozen=True)
class EnumerationLimits:
    """Labels that warn, labels that are critical; `unlisted` is the severity of `#value`."""

    warning: tuple[str, ...] = ()
    critical: tuple[str, ...] = ()
    unlisted: Severity = Severity.WARNING
    persistence: int = 1

    def __post_init__(self) -> None:
        both = set(self.warning) & set(self.critical)
        if both:
            raise LocalError(f"labels {sorted(both)} are both warning and critical")
        if not self.warning and not self.critical:
            raise LocalError("enumeration limits without a label; one wanted")
        if self.persistence < 1:
            raise LocalError(f"persistence {self.persistence}; 1 or more wanted")

    def state(self, engineering: npt.ArrayLike) -> U8:
        text = np.asarray(engineering, np.str_)
        code = {Severity.NOMINAL: 0, Severity.WARNING: 3, Severity.CRITICAL: 7}[self.unlisted]
        state = np.where(np.char.startswith(text, "#"), code, 0).astype(np.uint8)
        state[np.isin(text, self.warning)] = LimitState.WARNING
        state[np.isin(text, self.critical)] = LimitState.CRITICAL
        return state


AnyLimits = Limits | EnumerationLimits


class Watch(IntEnum):
    """State of one parameter's persistence count."""

    STEADY = 0
    PENDING = 1


class Sample(IntEnum):
    """What a sample is, seen from the reported state."""

    SAME = 0
    NEW = 1
    REPEATED = 2
    PERSISTENT = 3


#: {state: {event: next}}; entering STEADY on PERSISTENT reports a transition.
PERSISTENCE: dict[Watch, dict[Sample, Watch]] = {
    Watch.STEADY: {
        Sample.SAME: Watch.STEADY,
        Sample.NEW: Watch.PENDING,
        Sample.PERSISTENT: Watch.STEADY,
    },
    Watch.PENDING: {
        Sample.SAME: Watch.STEADY,
        Sample.NEW: Watch.PENDING,
        Sample.REPEATED: Watch.PENDING,
        Sample.PERSISTENT: Watch.STEADY,
    },
}


@dataclass(frozen=True)
class LimitTransition:
    """A parameter's reported state changed.

    scet_ns: SCET of the first sample in the new state; confirmed_ns: of the sample that made the
    persistence count full; value: engineering value at that sample.
    """

    parameter: str
    previous: LimitState
    state: LimitState
    scet_ns: int
    confirmed_ns: int
    value: Any

    @property
    def severity(self) -> Severity:
        return severity(self.state)


@dataclass
class _Track:
    watch: Watch = Watch.STEADY
    reported: int = LimitState.NOMINAL
    candidate: int = LimitState.NOMINAL
    count: int = 0
    since_ns: int = 0


class Limited(Protocol):
    """What the monitor asks of a parameter declaration."""

    @property
    def name(self) -> str: ...

    @property
    def limits(self) -> AnyLimits | None: ...


@dataclass
class LimitMonitor:
    """Turns samples into transitions; samples of one parameter are given in order of SCET."""

    _tracks: dict[str, _Track] = field(default_factory=dict[str, _Track])

    def steady(self, parameter: str, state: int) -> bool:
        """Whether samples that are all in `state` would tell nothing new."""
        track = self._tracks.get(parameter)
        if track is None:
            return state == LimitState.NOMINAL
        return track.watch is Watch.STEADY and track.reported == state

    def push(
        self,
        parameter: Limited,
        scet_ns: npt.NDArray[np.int64],
        engineering: npt.NDArray[Any],
        state: U8 | None = None,
    ) -> list[LimitTransition]:
        """Transitions caused by these samples; all three arrays [n].

        `state` may be given where it is already known (`ParameterTable.limit_state`).
        """
        limits = parameter.limits
        if limits is None or not len(scet_ns):
            return []
        if state is None:
            state = limits.state(engineering)
        track = self._tracks.setdefault(parameter.name, _Track())
        if track.watch is Watch.STEADY and not np.any(state != track.reported):
            return []
        # Runs of equal state: a long nominal stretch costs one step, not one per sample.
        starts = np.concatenate(([0], np.flatnonzero(np.diff(state)) + 1))
        stops = np.append(starts[1:], len(state))
        found: list[LimitTransition] = []
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            confirmed = self._run(track, limits, int(state[start]), start, stop, scet_ns)
            if confirmed is not None:
                found.append(
                    LimitTransition(
                        parameter.name,
                        LimitState(track.reported),
                        LimitState(track.candidate),
                        track.since_ns,
                        int(scet_ns[confirmed]),
                        engineering[confirmed].item(),
                    )
                )
                track.reported = track.candidate
        return found

    @staticmethod
    def _run(
        track: _Track,
        limits: AnyLimits,
        state: int,
        start: int,
        stop: int,
        scet_ns: npt.NDArray[np.int64],
    ) -> int | None:
        """Feed samples start..stop, all in `state`; the index that confirmed it, if one did."""
        before = 0
        if state == track.reported:
            event = Sample.SAME
        else:
            fresh = track.watch is Watch.STEADY or state != track.candidate
            if fresh:
                track.candidate, track.since_ns = state, int(scet_ns[start])
            else:
                before = track.count
            track.count = before + stop - start
            if track.count >= limits.persistence:
                event = Sample.PERSISTENT
            else:
                event = Sample.NEW if fresh else Sample.REPEATED
        track.watch = PERSISTENCE[track.watch][event]
        return start + limits.persistence - before - 1 if event is Sample.PERSISTENT else None

    def reported(self, parameter: str) -> LimitState:
        track = self._tracks.get(parameter)
        return LimitState(track.reported) if track else LimitState.NOMINAL

    def snapshot(self) -> dict[str, list[int]]:
        """Everything the monitor knows, msgpack-able."""
        return {
            name: [int(t.watch), int(t.reported), int(t.candidate), t.count, t.since_ns]
            for name, t in self._tracks.items()
        }

    def restore(self, snapshot: Mapping[str, list[int]]) -> None:
        self._tracks = {
            name: _Track(Watch(watch), reported, candidate, count, since_ns)
            for name, (watch, reported, candidate, count, since_ns) in snapshot.items()
        }
