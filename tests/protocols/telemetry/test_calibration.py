"""Calibrations forth and back, against NumPy's polynomials, exact rationals and scalar loops."""

from __future__ import annotations

import math
import struct
from fractions import Fraction

import numpy as np
import pytest
from construct import (
    BitsInteger,
    Bytes,
    Float16b,
    Float32b,
    Float64b,
    Int8ub,
    Int16sb,
    Int16ub,
    Int32ub,
    Int64ub,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import LocalError
from protocols.packets.batch import PacketBatch
from protocols.telemetry.calibration import Enumeration, Polynomial, Spline, Text
from protocols.telemetry.declaration import Dictionary, PacketDefinition, Parameter, Repeat
from protocols.telemetry.limits import EnumerationLimits, Limits, LimitState

finite = st.floats(-1e3, 1e3).map(lambda x: round(x, 6))


@given(st.lists(finite, min_size=1, max_size=6), st.lists(st.integers(-500, 500), min_size=1))
def test_polynomial_is_the_sum_of_its_terms(coefficients: list[float], raw: list[int]) -> None:
    found = Polynomial(coefficients).apply(raw)
    for x, y in zip(raw, found, strict=True):
        terms = [Fraction(c) * x**k for k, c in enumerate(coefficients)]
        # Horner's rule errs by 2n roundings of the sum of magnitudes (Higham 2002, §5.1).
        bound = 2 * len(terms) * 2.0**-53 * float(sum(abs(t) for t in terms)) * 1.01
        assert abs(y - float(sum(terms))) <= bound + 1e-300


@given(st.integers(0, 65535), st.sampled_from([(-40.0, 0.01), (5.0, -0.25), (0.0, 1e-3, 1e-7)]))
def test_polynomial_inverse_gives_the_raw_value_back(raw: int, c: tuple[float, ...]) -> None:
    parameter = Parameter("P", Int16ub, calibration=Polynomial(c))
    assert parameter.uncalibrate(parameter.engineering(np.array([raw]))).tolist() == [raw]


def test_polynomial_without_inverse_says_where_it_turns() -> None:
    parameter = Parameter("P", Int16sb, calibration=Polynomial((0.0, 0.0, 1.0)))
    with pytest.raises(LocalError, match=r"parameter P: .* turns at raw 0"):
        parameter.uncalibrate([4.0])
    # Monotonic over the field's own range, though not everywhere.
    unsigned = Parameter("P", Int16ub, calibration=Polynomial((0.0, 0.0, 1.0)))
    assert unsigned.uncalibrate([4.0, 0.0, 65535.0**2]).tolist() == [2, 0, 65535]


points = st.lists(st.tuples(st.integers(-99, 99), finite), min_size=2, unique_by=lambda p: p[0])


@given(points, st.booleans(), st.lists(st.integers(-120, 120), min_size=1))
def test_spline_of_order_one_is_numpy_s_interpolation(
    given_points: list[tuple[int, float]], extrapolate: bool, raw: list[int]
) -> None:
    ordered = sorted(given_points)
    x, y = np.array([p[0] for p in ordered]), np.array([p[1] for p in ordered])
    found = Spline(tuple(ordered), 1, extrapolate).apply(raw)
    for value, result in zip(raw, found, strict=True):
        if x[0] <= value <= x[-1]:
            assert result == pytest.approx(np.interp(value, x, y), rel=1e-12, abs=1e-9)
        elif extrapolate:
            a, b = (0, 1) if value < x[0] else (-2, -1)
            slope = (y[b] - y[a]) / (x[b] - x[a])
            assert result == pytest.approx(y[a] + slope * (value - x[a]), rel=1e-9, abs=1e-6)
        else:
            assert math.isnan(result)


def test_spline_of_order_zero_holds_the_lower_point() -> None:
    steps = ((0, 1.0), (10, 2.0), (20, 4.0))
    values = [-1, 0, 9, 10, 19, 20, 21]
    assert Spline(steps, 0, True).apply(values).tolist() == [1, 1, 1, 2, 2, 4, 4]
    held = Spline(steps, 0).apply(values)
    assert np.isnan(held[[0, -1]]).all()


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("order", [0, 1])
def test_spline_of_many_samples_is_that_of_each(dtype: str, order: int) -> None:
    info = np.iinfo(dtype)
    spline = Spline(((info.min, -3.0), (17, 1.1), (info.max, 55.5)), order)
    for middle in (int(info.min) + 20, 60, int(info.max) - 20):
        near = np.array([middle - 20, middle, middle + 7, middle + 20], np.dtype(dtype))
        for many in (np.tile(near, 200), np.tile(near, 200).reshape(-1, 2), near):
            each = np.concatenate([spline.apply(float(value)).reshape(1) for value in many.ravel()])
            assert np.array_equal(spline.apply(many), each.reshape(many.shape))


def test_spline_inverse_and_its_ends() -> None:
    falling = Spline(((0, 100.0), (2000, 20.0), (4095, -50.0)))
    parameter = Parameter("T", BitsInteger(12), calibration=falling)
    raw = np.arange(4096)
    assert np.array_equal(parameter.uncalibrate(parameter.engineering(raw)), raw)
    with pytest.raises(LocalError, match=r"outside the spline's points"):
        parameter.uncalibrate([100.5])


def test_raw_values_that_do_not_fit_are_refused_or_held() -> None:
    parameter = Parameter("P", BitsInteger(4, signed=True), calibration=Polynomial((0.0, 0.5)))
    assert parameter.uncalibrate([3.5, -4.0]).tolist() == [7, -8]
    with pytest.raises(LocalError, match=r"raw value 8.0; -8..7 fit"):
        parameter.uncalibrate([4.0])
    assert parameter.uncalibrate([400.0, -400.0], saturate=True).tolist() == [7, -8]
    with pytest.raises(LocalError, match="not finite"):
        parameter.uncalibrate([math.nan])
    wide = Parameter("W", Int64ub)
    assert wide.to_raw([0, 2**64 - 1]).tolist() == [0, 2**64 - 1]
    assert wide.to_raw([1e30], saturate=True).tolist() == [2**64 - 1]
    with pytest.raises(LocalError, match="fit 32 bits"):
        Parameter("F", Float32b).to_raw([1e39])


@given(st.lists(st.integers(0, 255)), st.sampled_from([np.uint8, np.uint32]))
def test_labels_forth_and_back(raw: list[int], dtype: type) -> None:
    enumeration = Enumeration({0: "OFF", 1: "ON", 200: "FAILED", 201: "FAILED"})
    known = dict(enumeration.labels)
    labels = enumeration.apply(np.array(raw, dtype))
    assert labels.tolist() == [known.get(value, f"#{value}") for value in raw]
    back = enumeration.invert(labels, "P").tolist()
    assert back == [200 if value == 201 else value for value in raw]


def test_labels_of_negative_values_and_of_arrays() -> None:
    enumeration = Enumeration({-1: "BELOW", 1: "ABOVE"})
    raw = np.array([[-1, 1], [0, -128]], np.int8)
    assert enumeration.apply(raw).tolist() == [["BELOW", "ABOVE"], ["#0", "#-128"]]


def test_text_ends_where_it_ends() -> None:
    def row(octets: bytes) -> np.ndarray:
        return np.frombuffer(octets, np.uint8).reshape(1, -1)

    assert Text().apply(row(b"AB\0CD")).tolist() == ["AB"]
    assert Text(terminated=False).apply(row(b"AB\0CD")).tolist() == ["AB\0CD"]
    assert Text().apply(row(b"A\xffB")).tolist() == ["A\ufffdB"]
    assert Text("UTF-16BE").apply(row("Ω".encode("utf-16-be"))).tolist() == ["Ω"]
    with pytest.raises(LocalError, match=r"'TOOLONG' needs 7 octets; 4 allowed"):
        Text().encode("TOOLONG", 4, "P")


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Polynomial(()), "at least one"),
        (lambda: Polynomial((math.nan,)), "all finite"),
        (lambda: Spline(((0, 1.0),)), "2 or more"),
        (lambda: Spline(((0, 1.0), (0, 2.0))), "must rise"),
        (lambda: Spline(((0, 1.0), (1, 2.0)), 3), "order 3"),
        (lambda: Enumeration({}), "at least one"),
        (lambda: Enumeration(((1, "A"), (1, "B"))), "every value once"),
        (lambda: Enumeration({1: "#1"}), "must not be empty or start with"),
        (lambda: Text("EBCDIC"), "EBCDIC"),
    ],
)
def test_impossible_calibrations_are_refused(make: object, says: str) -> None:
    with pytest.raises(LocalError, match=says):
        make()  # pyright: ignore[reportCallIssue]


@given(
    st.lists(st.integers(0, 2**16 - 1), min_size=1, max_size=30),
    st.lists(finite, min_size=1, max_size=4),
    st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4).map(sorted),
)
@settings(deadline=None, max_examples=60)
def test_one_pass_equals_calibration_then_limits(
    raw: list[int], coefficients: list[float], bounds: list[float]
) -> None:
    limits = Limits((bounds[1], bounds[2]), (bounds[0], bounds[3]))
    parameter = Parameter("P", Int16ub, calibration=Polynomial(coefficients), limits=limits)
    plain = Parameter("Q", Int16ub, limits=limits)
    dictionary = Dictionary("D", (PacketDefinition("A", 1, (parameter, plain)),))
    batch = dictionary.encode_batch("A", {"P": raw, "Q": raw}, raw=True)
    (table,) = dictionary.decode(batch)
    state = table.limit_state("P")
    wanted = parameter.engineering(np.array(raw))
    assert np.array_equal(table.engineering("P"), wanted)
    assert np.array_equal(state, limits.state(wanted))
    assert np.array_equal(table.limit_state("Q"), limits.state(raw))
    assert table.engineering("Q") is table.raw["Q"]


COLUMNS = (
    BitsInteger(8), BitsInteger(16), BitsInteger(32), BitsInteger(64),
    BitsInteger(8, signed=True), BitsInteger(16, signed=True), BitsInteger(32, signed=True),
    BitsInteger(64, signed=True), Float16b, Float32b, Float64b,
)  # fmt: skip


@pytest.mark.parametrize("field", COLUMNS)
@pytest.mark.parametrize("coefficients", [(), (3.0,), (1.0, -0.5), (1.0, 2.0, 1e-9)])
def test_one_pass_over_every_column_type(field: object, coefficients: tuple[float, ...]) -> None:
    limits = Limits((-100.0, 1000.0), (-1e9, 1e9))
    calibration = Polynomial(coefficients) if coefficients else None
    parameter = Parameter("P", field, calibration=calibration, limits=limits)
    dictionary = Dictionary("D", (PacketDefinition("A", 1, (parameter,)),))
    rng = np.random.default_rng(4)
    octets = rng.integers(0, 256, (5000, 6 + parameter.type.bits // 8)).astype(np.uint8)
    octets[:, :6] = [0, 1, 0xC0, 0, 0, parameter.type.bits // 8 - 1]
    octets[:2500, 6] = 0  # a block of small values, one of any
    (table,) = dictionary.decode(PacketBatch.from_packets([row.tobytes() for row in octets]))
    state = table.limit_state("P")
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = parameter.engineering(table.raw["P"])
        assert np.array_equal(table.engineering("P"), wanted, equal_nan=wanted.dtype.kind == "f")
        assert np.array_equal(state, limits.state(wanted))


@pytest.mark.parametrize("n", [1, 7, 5000])
def test_judging_a_whole_table_is_judging_each_of_its_parameters(n: int) -> None:
    limits = Limits((-100.0, 1000.0), (-1e9, 1e9))
    labels = Enumeration({0: "OK", 1: "ODD", 100: "BAD"})
    states = EnumerationLimits(("ODD",), ("BAD",))
    line = Polynomial((1.0, -0.5))
    # Knots beyond which there is no value, and a fall: nothing that a comparison could stand for.
    curve = Spline(((10, -2e9), (60, 500.0), (100, 2000.0), (120, 0.0)))
    fields: list[Parameter | Repeat] = [
        Parameter(f"C{at}", field, limits=limits, calibration=line if at % 2 else None)
        for at, field in enumerate(COLUMNS)
    ]
    narrow = [Int8ub, Int16ub, BitsInteger(8, signed=True), BitsInteger(16, signed=True), Int32ub]
    for at, field in enumerate(narrow):
        fields.append(Parameter(f"S{at}", field, limits=limits, calibration=curve))
        fields.append(Parameter(f"E{at}", field, limits=states, calibration=labels))
    pair = Parameter("PAIR", Int16ub, limits=limits, calibration=curve)
    fields += [Repeat(Parameter("THREE", Float32b, limits=limits), 3), Repeat(pair, 2)]
    definition = PacketDefinition("A", 1, tuple(fields))
    size = definition.layout.fixed_octets
    octets = np.random.default_rng(4).integers(0, 256, (n, size)).astype(np.uint8)
    octets[:, :6] = np.frombuffer(struct.pack(">HHH", 1, 0xC000, size - 7), np.uint8)
    (table,) = Dictionary("D", (definition,)).decode(PacketBatch(
        octets.reshape(-1), np.arange(n + 1) * size, np.zeros(n, np.uint8), np.zeros(n, np.int64)
    ))  # fmt: skip
    judged = table.judge()
    # All but half-precision floats and what has too many raw values to look them up.
    assert set(definition.parameters) - set(judged.names) <= {
        "S4",
        "E4",
        f"C{COLUMNS.index(Float16b)}",
    }
    for name, found, extremes in zip(judged.names, judged.states, judged.extremes, strict=True):
        parameter = definition.parameters[name]
        assert parameter.limits is not None
        with np.errstate(over="ignore", invalid="ignore"):
            wanted = parameter.limits.state(parameter.engineering(table.raw[name]))
        wanted = wanted if wanted.ndim == 1 else wanted.max(axis=1)
        assert np.array_equal(found, wanted), name
        assert extremes.tolist() == [wanted.min(), wanted.max()]
        assert table.limit_state(name) is table.limit_state(name)


def test_states_of_repeats_are_the_worst_and_of_nothing_nominal() -> None:
    limits = Limits((0.0, 10.0), (-5.0, 20.0))
    mode = Parameter(
        "MODE",
        Int8ub,
        calibration=Enumeration({0: "OK", 1: "ODD", 2: "BAD"}),
        limits=EnumerationLimits(("ODD",), ("BAD",)),
    )
    dictionary = Dictionary(
        "D",
        (
            PacketDefinition(
                "A",
                1,
                (
                    mode,
                    Repeat(Parameter("PAIR", Float64b, limits=limits), 2),
                    Parameter("N", Int8ub),
                    Repeat(Parameter("MANY", Int16sb, limits=limits), "N"),
                    Parameter("KEY", Bytes(2)),
                ),
            ),
        ),
    )
    batch = dictionary.encode_batch(
        "A",
        {
            "MODE": [0, 1, 2, 3],
            "PAIR": [[1, 2], [11, 21], [-1, math.nan], [5, -6]],
            "MANY": [[], [1, 11], [21, -1], [3]],
            "KEY": [b"ab"] * 4,
        },
        raw=True,
    )
    (table,) = dictionary.decode(batch)
    state = LimitState
    assert table.limit_state("MODE").tolist() == [
        state.NOMINAL, state.WARNING, state.CRITICAL, state.WARNING,
    ]  # fmt: skip
    assert table.limit_state("PAIR").tolist() == [
        state.NOMINAL, state.CRITICAL_HIGH, state.UNDEFINED, state.CRITICAL_LOW,
    ]  # fmt: skip
    assert table.limit_state("MANY").tolist() == [
        state.NOMINAL, state.WARNING_HIGH, state.CRITICAL_HIGH, state.NOMINAL,
    ]  # fmt: skip
    assert table.limit_state("KEY").tolist() == [0] * 4
    with pytest.raises(LocalError, match="no parameter 'NOPE'"):
        table.limit_state("NOPE")


def test_an_empty_batch_decodes_to_nothing() -> None:
    dictionary = Dictionary("D", (PacketDefinition("A", 1, (Parameter("X", Int8ub),)),))
    found = dictionary.decode(PacketBatch.empty())
    assert list(found) == []
    assert len(found.unmatched) == len(found.wrong_length) == 0
