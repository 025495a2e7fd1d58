"""Orbit ephemeris messages: reading, writing, interpolation between states, errors that teach."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import LocalError, RemoteError
from protocols.navigation.oem import (
    INTERPOLATIONS,
    TIME_SYSTEMS,
    Oem,
    OemSegment,
    build_oem,
    epoch_text,
    parse_oem,
    tai_ns_from_epoch,
)
from protocols.timecodes.tai import tai_ns_from_utc_iso

# After the example of CCSDS 502.0-B-3 annex G (figure G-8): comments, useable times, two segments.
EXAMPLE = b"""CCSDS_OEM_VERS = 2.0
COMMENT example
CREATION_DATE = 1996-11-04T17:22:31
ORIGINATOR = NASA/JPL

META_START
OBJECT_NAME = MARS GLOBAL SURVEYOR
OBJECT_ID = 1996-062A
CENTER_NAME = MARS BARYCENTER
REF_FRAME = EME2000
TIME_SYSTEM = UTC
START_TIME = 1996-12-18T12:00:00.331
USEABLE_START_TIME = 1996-12-18T12:01:00.331
USEABLE_STOP_TIME = 1996-12-18T12:02:00.331
STOP_TIME = 1996-12-18T12:03:00.331
INTERPOLATION = HERMITE
INTERPOLATION_DEGREE = 7
META_STOP
COMMENT This file was produced by M.R. Somebody
1996-12-18T12:00:00.331 2789.619 -280.045 -1746.755 4.73372 -2.49586 -1.04195
1996-12-18T12:01:00.331 2783.419 -308.143 -1877.071 5.18604 -2.42124 -1.99608
1996-12-18T12:02:00.331 2776.033 -336.859 -2008.682 5.63678 -2.33951 -1.94687
1996-353T12:03:00.331 2768.0 -365.0 -2140.0 5.8 -2.3 -1.9

COVARIANCE_START
EPOCH = 1996-12-18T12:01:00.331
3.33e-04
COVARIANCE_STOP
"""


def test_the_standards_example_is_read() -> None:
    oem = parse_oem(EXAMPLE)
    segment = oem.segments[0]
    assert (oem.originator, oem.version, oem.comments) == ("NASA/JPL", "2.0", ("example",))
    assert segment.object_name == "MARS GLOBAL SURVEYOR"
    assert (segment.interpolation, segment.degree) == ("HERMITE", 7)
    assert segment.states.shape == (4, 6)
    assert segment.states[1].tolist() == [
        2783.419,
        -308.143,
        -1877.071,
        5.18604,
        -2.42124,
        -1.99608,
    ]
    assert segment.epochs_tai_ns[3] == tai_ns_from_utc_iso("1996-12-18T12:03:00.331Z")
    assert segment.useable_tai_ns[0] == segment.epochs_tai_ns[1]


def test_a_time_outside_the_useable_span_is_refused_by_name() -> None:
    oem = parse_oem(EXAMPLE)
    with pytest.raises(LocalError, match=r"no state for 1996-12-18T12:00:00.331Z; it covers"):
        oem.positions_km(oem.segments[0].epochs_tai_ns[:1])


def test_time_systems_are_apart_by_what_they_are() -> None:
    text = "2026-12-01T00:00:00"
    tai = tai_ns_from_epoch(text, "TAI")
    seconds = {name: (tai - tai_ns_from_epoch(text, name)) / 1e9 for name in TIME_SYSTEMS}
    assert seconds["UTC"] == -37
    assert seconds["TT"] == 32.184
    assert seconds["GPS"] == -19
    assert abs(seconds["TDB"] - 32.184) < 0.0017


def test_tdb_agrees_with_skyfield() -> None:
    from skyfield.api import load

    ts = load.timescale(builtin=True)
    for text in ("2026-01-01T00:00:00", "2026-04-04T12:00:00", "2026-10-10T06:00:00"):
        tai_ns = tai_ns_from_epoch(text, "TDB")
        t = ts.tai_jd(2_436_204.5 + tai_ns // (86_400 * 10**9), tai_ns % (86_400 * 10**9) / 8.64e13)
        tdb_minus_tai_s = (t.tdb_fraction - t.tai_fraction) * 86_400
        own_ns = (tai_ns_from_epoch(text, "TAI") - tai_ns) / 1e9
        assert abs(tdb_minus_tai_s - own_ns) < 5e-5


# Past 1972, where UTC began: before it its offset is not whole seconds.
INSTANTS = st.integers(
    tai_ns_from_utc_iso("1975-01-01T00:00:00Z"), tai_ns_from_utc_iso("2050-01-01T00:00:00Z")
)


@given(INSTANTS, st.sampled_from(TIME_SYSTEMS))
def test_epochs_survive_being_written(t_ns: int, system: str) -> None:
    again = tai_ns_from_epoch(epoch_text(t_ns, system, 9), system)
    assert abs(again - t_ns) <= (1 if system == "TDB" else 0)


@st.composite
def messages(draw: st.DrawFn) -> Oem:
    segments = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(2, 6))
        first = draw(INSTANTS)
        steps = draw(st.lists(st.integers(1, 10**13), min_size=n - 1, max_size=n - 1))
        epochs = first + np.cumsum([0, *steps])
        numbers = st.floats(-1e10, 1e10, allow_nan=False)
        states = np.array(draw(st.lists(numbers, min_size=6 * n, max_size=6 * n))).reshape(n, 6)
        segments.append(
            OemSegment(
                object_name=draw(st.sampled_from(["L4 RELAY", "X"])),
                object_id="2027-001A",
                center_name=draw(st.sampled_from(["EARTH", "SUN"])),
                ref_frame="ICRF",
                time_system=draw(st.sampled_from(["UTC", "TAI", "TT", "GPS"])),
                epochs_tai_ns=epochs.astype(np.int64),
                states=states,
                useable_tai_ns=(int(epochs[0]), int(epochs[-1])),
                interpolation=draw(st.sampled_from(INTERPOLATIONS)),
                degree=draw(st.integers(1, 9)),
                comments=tuple(draw(st.lists(st.sampled_from(["a", "b c"]), max_size=2))),
            )
        )
    return Oem(tuple(segments), originator="US", creation_date="2026-11-22T00:00:00")


@given(messages())
def test_what_is_written_reads_back(oem: Oem) -> None:
    octets = build_oem(oem)
    again = parse_oem(octets)
    assert build_oem(again) == octets
    for a, b in zip(oem.segments, again.segments, strict=True):
        assert np.array_equal(a.epochs_tai_ns, b.epochs_tai_ns)
        assert np.array_equal(a.states, b.states)
        for name in ("object_name", "center_name", "interpolation", "degree", "comments"):
            assert getattr(a, name) == getattr(b, name)
        assert a.useable_tai_ns == b.useable_tai_ns


@given(st.binary(max_size=300) | st.integers(0, len(EXAMPLE)).map(lambda n: EXAMPLE[:n]))
def test_what_is_no_message_raises_remote_error_only(octets: bytes) -> None:
    with contextlib.suppress(RemoteError):
        parse_oem(octets)


@given(st.integers(0, len(EXAMPLE) - 1), st.integers(32, 126))
def test_a_changed_character_raises_remote_error_only(place: int, character: int) -> None:
    octets = EXAMPLE[:place] + bytes([character]) + EXAMPLE[place + 1 :]
    with contextlib.suppress(RemoteError):
        parse_oem(octets)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (b"CENTER_NAME = MARS BARYCENTER\n", b"", "CENTER_NAME is missing"),
        (b"REF_FRAME", b"REF_FRAMES", r"line 10: REF_FRAMES is not a keyword"),
        (b"= UTC", b"= SCLK", "TIME_SYSTEM SCLK: one of UTC"),
        (b"-308.143 ", b"", "line 21: 6 columns"),
        (b"-308.143", b"nan", "line 21: a state that is not finite"),
        (b"12:02:00.331 ", b"12:00:30.331 ", "epochs must ascend"),
        (b"= HERMITE", b"= CHEBYSHEV", "INTERPOLATION CHEBYSHEV: one of LINEAR"),
        (b"CCSDS_OEM_VERS", b"CCSDS_OPM_VERS", "is this an OEM"),
    ],
)
def test_errors_name_line_and_keyword(old: bytes, new: bytes, why: str) -> None:
    with pytest.raises(RemoteError, match=why) as caught:
        parse_oem(EXAMPLE.replace(old, new))
    assert caught.value.data


def _orbit(t_s: np.ndarray) -> np.ndarray:
    """A circular orbit, 7000 km, inclined."""
    rate = np.sqrt(398_600.436 / 7000.0**3)
    c, s = np.cos(rate * t_s), np.sin(rate * t_s)
    place = np.column_stack([c, 0.6 * s, 0.8 * s]) * 7000
    velocity = np.column_stack([-s, 0.6 * c, 0.8 * c]) * 7000 * rate
    return np.hstack([place, velocity])


@pytest.mark.parametrize(
    ("interpolation", "degree", "within_km"),
    [("HERMITE", 7, 1e-6), ("LAGRANGE", 9, 1e-5), ("HERMITE", 3, 2e-3), ("LINEAR", 1, 4.0)],
)
def test_between_states_the_orbit_is_met(interpolation: str, degree: int, within_km: float) -> None:
    nodes_s = np.arange(0, 6001, 60.0)
    first = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")
    epochs = first + (nodes_s * 1e9).astype(np.int64)
    segment = OemSegment(
        "SAT", "1", "EARTH", "GCRF", "UTC", epochs, _orbit(nodes_s),
        (int(epochs[0]), int(epochs[-1])), interpolation, degree,
    )  # fmt: skip
    t_s = np.random.default_rng(1).uniform(600, 5400, 500)
    found = Oem((segment,)).positions_km(first + (t_s * 1e9).astype(np.int64))
    error = np.abs(found - _orbit(t_s)[:, :3]).max()
    assert error < within_km
    if interpolation == "LINEAR":
        assert error > 0.5
