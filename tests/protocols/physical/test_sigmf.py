"""Metadata of recordings, checked by the specification's own package."""

from __future__ import annotations

import json

import pytest
import sigmf
from hypothesis import given, settings
from hypothesis import strategies as st
from sigmf.sigmffile import SigMFFile

from protocols.errors import RemoteError
from protocols.physical.sample_block import UNKNOWN
from protocols.physical.samples import SAMPLE_FORMATS, sample_format
from protocols.physical.sigmf import Recording, Segment, build_metadata, parse_metadata
from protocols.timecodes.tai import tai_ns_from_utc_iso

T = tai_ns_from_utc_iso("2026-11-22T21:00:00.123456789Z")


@st.composite
def recordings(draw: st.DrawFn) -> Recording:
    segments = [Segment(0, draw(st.integers(0, 100)), 8.4e9, T)]
    before = segments[0].index or 0
    for _ in range(draw(st.integers(0, 4))):
        count, lost = draw(st.integers(1, 1000)), draw(st.integers(-1, 1000))
        last = segments[-1]
        before += count + max(lost, 0)
        index = None if lost == UNKNOWN else before
        segments.append(Segment(last.start + count, index, 8.4e9, draw(st.just(T))))
    known = draw(st.sampled_from(sorted(SAMPLE_FORMATS)))
    return Recording(sample_format(known), draw(st.floats(1, 1e9)), tuple(segments), "a pass")


@settings(max_examples=20)
@given(recordings())
def test_parse_gives_what_was_built_and_the_schema_allows_it(recording: Recording) -> None:
    octets = build_metadata(recording)
    assert parse_metadata(octets) == recording
    theirs = SigMFFile(metadata=json.loads(octets))
    theirs.validate()
    assert theirs.get_global_field("core:datatype") == recording.format.name
    assert theirs.get_global_field("core:sample_rate") == recording.sample_rate_hz
    captures = theirs.get_captures()
    assert [capture["core:sample_start"] for capture in captures] == [
        segment.start for segment in recording.segments
    ]
    assert captures[0]["core:datetime"] == "2026-11-22T21:00:00.123456789Z"


def test_metadata_of_the_sigmf_package_are_read() -> None:
    theirs = SigMFFile(global_info={"core:datatype": "ci8", "core:sample_rate": 2.4e6})
    theirs.add_capture(0, {"core:frequency": 2.2e9, "core:datetime": "2026-11-22T21:00:00Z"})
    theirs.add_capture(500, {"core:frequency": 2.3e9, "core:global_index": 900})
    ours = parse_metadata(theirs.dumps().encode())
    assert ours.format is sample_format("ci8")
    assert ours.sample_rate_hz == 2.4e6
    assert ours.segments == (
        Segment(0, 0, 2.2e9, tai_ns_from_utc_iso("2026-11-22T21:00:00Z")),
        Segment(500, 900, 2.3e9),
    )
    assert ours.losses == (0, 400)
    assert sigmf.__specification__.startswith("1.")


def test_what_is_missing_before_a_segment_is_what_indices_say() -> None:
    segments = (Segment(0, 7), Segment(10, 20), Segment(30, None), Segment(40, 55), Segment(50, 3))
    recording = Recording(sample_format("cu8"), 1e6, segments)
    assert recording.losses == (0, 3, UNKNOWN, 5, UNKNOWN)
    assert parse_metadata(build_metadata(recording)) == recording


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no SigMF"),
        ('{"captures": []}', "no SigMF"),
        ('{"global": {"core:datatype": "rf32_le"}, "captures": []}', "rf32_le: cf32_le"),
        (
            '{"global": {"core:datatype": "ci8", "core:num_channels": 2}, "captures": []}',
            "2 channels",
        ),
        (
            '{"global": {"core:datatype": "ci8"}, "captures": [{"core:sample_start": 5}]}',
            r"begin at samples \[5\]",
        ),
        (
            '{"global": {"core:datatype": "ci8"}, "captures": [{"core:sample_start": 0,'
            ' "core:datetime": "yesterday"}]}',
            "yesterday",
        ),
    ],
)
def test_what_cannot_be_read_is_named(text: str, says: str) -> None:
    with pytest.raises(RemoteError, match=says):
        parse_metadata(text.encode())


@given(st.binary(max_size=60))
def test_any_octets_raise_only_remote_errors(octets: bytes) -> None:
    with pytest.raises(RemoteError):
        parse_metadata(octets)
