"""Tracking data messages: both ways, and what is wrong with one is said by line."""

from __future__ import annotations

import numpy as np
import pytest

from protocols.errors import LocalError, RemoteError
from protocols.navigation.tdm import OBSERVABLES, Series, Tdm, TdmSegment, build_tdm, parse_tdm
from protocols.timecodes.tai import tai_ns_from_utc_iso

START = tai_ns_from_utc_iso("2026-12-01T00:00:00Z")

#: In the words of 503.0-B-2 annex E: two-way coherent tracking, comments, both cases.
TWO_WAY = b"""\
CCSDS_TDM_VERS = 2.0
COMMENT a message of two segments
CREATION_DATE = 2026-335T12:00:00
ORIGINATOR = KASA

META_START
COMMENT range in range units
TIME_SYSTEM = UTC
PARTICIPANT_1 = DSS-35
PARTICIPANT_2 = 2029-017A
MODE = SEQUENTIAL
PATH = 1,2,1
INTEGRATION_INTERVAL = 60.0
INTEGRATION_REF = middle
RANGE_MODE = COHERENT
RANGE_MODULUS = 2.0e+26
RANGE_UNITS = RU
TRANSMIT_DELAY_1 = 7.7e-5
META_STOP

DATA_START
TRANSMIT_FREQ_1 = 2026-335T00:00:00 7166936231.4
RANGE = 2026-335T00:00:10.5 3.9242998e7
COMMENT between
RANGE = 2026-12-01T00:01:10.5 3.9243000e7
DATA_STOP
META_START
TIME_SYSTEM = TAI
PARTICIPANT_1 = DSS-35
PARTICIPANT_2 = DSS-63
PARTICIPANT_3 = 2029-017A
MODE = SINGLE_DIFF
PATH_1 = 3,1
PATH_2 = 3,2
META_STOP
DATA_START
DOR = 2026-12-01T00:00:37 -4.911896106591159e-03
DATA_STOP
"""


def test_a_message_as_the_standard_writes_it() -> None:
    found = parse_tdm(TWO_WAY)
    first, second = found.segments
    assert (found.originator, found.comments) == ("KASA", ("a message of two segments",))
    assert first.participants == ("DSS-35", "2029-017A")
    assert (first.paths, second.paths) == (((1, 2, 1),), ((3, 1), (3, 2)))
    assert first.metadata["RANGE_MODULUS"] == "2.0e+26"
    ranges = first.series["RANGE"]
    assert ranges.times_tai_ns.tolist() == [START + 10_500_000_000, START + 70_500_000_000]
    assert ranges.values.tolist() == [39_242_998.0, 39_243_000.0]
    assert second.series["DOR"].times_tai_ns.tolist() == [START]
    again = parse_tdm(build_tdm(found))
    assert build_tdm(again) == build_tdm(found)
    for one, other in zip(found.segments, again.segments, strict=True):
        assert (one.participants, one.paths, one.metadata, one.comments) == (
            *(other.participants, other.paths, other.metadata, other.comments),
        )
        for name, series in one.series.items():
            assert np.array_equal(series.times_tai_ns, other.series[name].times_tai_ns)
            assert np.array_equal(series.values, other.series[name].values)


def test_every_observable_goes_both_ways() -> None:
    times = START + np.arange(3) * 1_000_000_007
    series = {name: Series(times, np.array([0.1, -2e-17, 3e26])) for name in OBSERVABLES}
    segment = TdmSegment(("A", "B", "C", "D", "E"), series, paths=((1, 2, 3, 4, 5),))
    (found,) = parse_tdm(build_tdm(Tdm((segment,), "X", "2026-12-01T00:00:00"))).segments
    assert list(found.series) == list(OBSERVABLES)
    for one in found.series.values():
        assert one.times_tai_ns.tolist() == times.tolist()
        assert one.values.tolist() == [0.1, -2e-17, 3e26]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"CCSDS_TDM_VERS", b"CCSDS_OEM_VERS", "line 1: CCSDS_TDM_VERS wanted first: is this a"),
        (b"PATH = 1,2,1", b"PATH = 1,3,1", "PATH .1, 3, 1.: numbers 1 to 2"),
        (b"PATH = 1,2,1\n", b"", "0 paths: one, or two"),
        (b"MODE = SEQUENTIAL", b"MODE = Sequential", "MODE 'Sequential': SEQUENTIAL, SINGLE_DIFF"),
        (b"MODE = SEQUENTIAL", b"MOOD = X", "line 11: MOOD is not a keyword of TDM metadata"),
        (b"RANGE = 2026-335T00:00:10.5 3.9242998e7", b"RANGE = 3.9", "line 23: 1 columns"),
        (b"3.9242998e7", b"far", "could not convert string to float: 'far'"),
        (b"3.9242998e7", b"nan", "an observable that is not finite"),
        (b"RANGE = 2026-335", b"RAGE = 2026-335", "line 23: RAGE: no observable"),
        (b"2026-335T00:00:10.5", b"2026-336T00:00:10.5", "times of a series of observables must"),
        (b"DATA_STOP\nMETA_START", b"META_START", "line 26: KEYWORD = value wanted"),
        (b"PARTICIPANT_1 = DSS-35\nPARTICIPANT_2 = 20", b"PARTICIPANT_2 = 20", "PARTICIPANT_1 is"),
        (b"DSS-35", b"\xff\xfe", "TDM: not text"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(old: bytes, new: bytes, words: str) -> None:
    assert old in TWO_WAY
    with pytest.raises(RemoteError, match=words):
        parse_tdm(TWO_WAY.replace(old, new, 1))


def test_a_torn_message_raises_nothing_but_remote_errors() -> None:
    for length in range(0, len(TWO_WAY), 7):
        try:
            parse_tdm(TWO_WAY[:length])
        except RemoteError:
            continue
        # Only where a segment has just ended.
        assert TWO_WAY[:length].rstrip().endswith(b"DATA_STOP")


def test_what_cannot_be_written_is_refused() -> None:
    one = {"RANGE": Series(np.array([START]), np.array([1.0]))}
    with pytest.raises(LocalError, match="6 participants: 1 to 5"):
        TdmSegment(tuple("ABCDEF"), one, paths=((1, 2),))
    with pytest.raises(LocalError, match="RANGE_UNITS 'miles': km, s, RU allowed"):
        TdmSegment(("A", "B"), one, paths=((1, 2),), metadata={"RANGE_UNITS": "miles"})
    with pytest.raises(LocalError, match="START_TIME follows from the segment"):
        TdmSegment(("A", "B"), one, paths=((1, 2),), metadata={"START_TIME": "2026"})
    with pytest.raises(LocalError, match="1 times and 2 values"):
        Series(np.array([START]), np.array([1.0, 2.0]))
