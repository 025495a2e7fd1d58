"""Limit states at their bounds, and persistence against a sample-by-sample model."""

from __future__ import annotations

import math
from itertools import pairwise

import msgpack
import numpy as np
import pytest
from construct import Float64b, Int8ub
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.telemetry.calibration import Enumeration
from protocols.telemetry.declaration import Parameter
from protocols.telemetry.limits import (
    PERSISTENCE,
    EnumerationLimits,
    LimitMonitor,
    Limits,
    LimitState,
    LimitTransition,
    Sample,
    Severity,
    Watch,
    severity,
)

LIMITS = Limits((10.0, 20.0), (5.0, 25.0))


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (4.999, LimitState.CRITICAL_LOW),
        (5.0, LimitState.WARNING_LOW),
        (9.999, LimitState.WARNING_LOW),
        (10.0, LimitState.NOMINAL),
        (20.0, LimitState.NOMINAL),
        (20.001, LimitState.WARNING_HIGH),
        (25.0, LimitState.WARNING_HIGH),
        (25.001, LimitState.CRITICAL_HIGH),
        (math.inf, LimitState.CRITICAL_HIGH),
        (-math.inf, LimitState.CRITICAL_LOW),
        (math.nan, LimitState.UNDEFINED),
    ],
)
def test_bounds_are_inclusive(value: float, state: LimitState) -> None:
    assert LIMITS.state([value]).tolist() == [state]


def test_open_sides_and_severities() -> None:
    high = Limits(warning=(None, 1.0))
    assert high.state([-1e300, 1.0, 2.0]).tolist() == [0, 0, LimitState.WARNING_HIGH]
    assert [severity(state) for state in LimitState] == [
        Severity.NOMINAL,
        Severity.WARNING,
        Severity.WARNING,
        Severity.WARNING,
        Severity.WARNING,
        Severity.CRITICAL,
        Severity.CRITICAL,
        Severity.CRITICAL,
    ]


def test_labels_warn_and_numbers_without_label_too() -> None:
    limits = EnumerationLimits(("ODD",), ("BAD",))
    assert limits.state(["OK", "ODD", "BAD", "#9"]).tolist() == [
        0, LimitState.WARNING, LimitState.CRITICAL, LimitState.WARNING,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Limits(), "without a range"),
        (lambda: Limits((5.0, 1.0)), "low ≤ high"),
        (lambda: Limits((0.0, 9.0), (1.0, 8.0)), "inside warning"),
        (lambda: Limits((0.0, 9.0), persistence=0), "persistence 0"),
        (lambda: EnumerationLimits(), "without a label"),
        (lambda: EnumerationLimits(("A",), ("A",)), "both warning and critical"),
        (
            lambda: Parameter("P", Int8ub, limits=EnumerationLimits(("A",))),
            "without an enumeration",
        ),
        (
            lambda: Parameter(
                "P", Int8ub, calibration=Enumeration({0: "B"}), limits=EnumerationLimits(("A",))
            ),
            r"limits name \['A'\]; labels are \['B'\]",
        ),
        (
            lambda: Parameter("P", Int8ub, calibration=Enumeration({0: "B"}), limits=LIMITS),
            "without a number",
        ),
    ],
)
def test_impossible_limits_are_refused(make: object, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        make()  # pyright: ignore[reportCallIssue]


def model(states: list[int], persistence: int) -> list[tuple[int, int, int, int]]:
    """Sample by sample, from the definition: (previous, state, first sample, confirming sample)."""
    reported, found = 0, []
    for i in range(len(states)):
        run = states[max(0, i - persistence + 1) : i + 1]
        if len(run) == persistence and set(run) == {states[i]} and states[i] != reported:
            start = i
            while start and states[start - 1] == states[i]:
                start -= 1
            found.append((reported, states[i], start, i))
            reported = states[i]
    return found


VALUE_OF = {0: 15.0, 1: 7.0, 2: 22.0, 5: 0.0, 6: 30.0, 4: math.nan}


@given(
    st.lists(st.sampled_from(list(VALUE_OF)), max_size=60),
    st.integers(1, 4),
    st.lists(st.integers(0, 60), max_size=4),
)
@settings(deadline=None, max_examples=200)
def test_monitor_equals_the_model_however_samples_are_cut(
    states: list[int], persistence: int, cuts: list[int]
) -> None:
    parameter = Parameter(
        "P", Float64b, limits=Limits(LIMITS.warning, LIMITS.critical, persistence)
    )
    values = np.array([VALUE_OF[s] for s in states])
    times = np.arange(len(states), dtype=np.int64) * 1000
    monitor = LimitMonitor()
    found: list[LimitTransition] = []
    edges = sorted({0, len(states), *(c for c in cuts if c < len(states))})
    for low, high in pairwise(edges):
        # A restart between any two pieces changes nothing.
        kept = msgpack.unpackb(msgpack.packb(monitor.snapshot()))
        monitor = LimitMonitor()
        monitor.restore(kept)
        found += monitor.push(parameter, times[low:high], values[low:high])
    assert [
        (t.previous, t.state, t.scet_ns // 1000, t.confirmed_ns // 1000) for t in found
    ] == model(states, persistence)
    last = found[-1].state if found else 0
    assert monitor.reported("P") == last


def test_the_table_is_complete() -> None:
    assert set(PERSISTENCE) == set(Watch)
    for watch, row in PERSISTENCE.items():
        # A steady parameter has no candidate that could be repeated.
        assert set(row) == set(Sample) - ({Sample.REPEATED} if watch is Watch.STEADY else set())
        assert row[Sample.PERSISTENT] is Watch.STEADY


def test_a_parameter_without_limits_is_silent() -> None:
    assert LimitMonitor().push(Parameter("P", Int8ub), np.zeros(1, np.int64), np.ones(1)) == []
