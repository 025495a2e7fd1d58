"""Metadata of a SigMF recording (SigMF 1.2): one channel of I/Q samples, as JSON.

Written and read here as far as a receiver needs it; other keys are left alone by whoever reads.  A
recording begins a new capture segment wherever samples are missing: `core:global_index` then runs
ahead of `core:sample_start`, or is not there where nobody knows by how much.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, cast

from protocols.errors import RemoteError
from protocols.physical.sample_block import UNKNOWN
from protocols.physical.samples import SAMPLE_FORMATS, SampleFormat
from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns

VERSION: Final = "1.2.0"


@dataclass(frozen=True, slots=True)
class Segment:
    """Samples without a gap.

    start: number of the first in the file; index: in the stream, those lost counted, None if nobody
    knows how many were; ert_ns: of the first, TAI ns, 0 if not known.
    """

    start: int
    index: int | None
    centre_hz: float = 0.0
    ert_ns: int = 0


@dataclass(frozen=True, slots=True)
class Recording:
    """sample_rate_hz: 0 if not known.  segments: in order, the first at sample 0.  more: further
    keys of the global object, with their prefix."""

    format: SampleFormat
    sample_rate_hz: float = 0.0
    segments: tuple[Segment, ...] = (Segment(0, 0),)
    description: str = ""
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def losses(self) -> tuple[int, ...]:
        """Samples missing before each segment, or `UNKNOWN`."""
        lost = [0]
        index = self.segments[0].index or 0
        for before, after in pairwise(self.segments):
            index += after.start - before.start
            given = index if after.index is None else after.index
            # Backwards it is another stream's.
            known = after.index is not None and given >= index
            lost.append(given - index if known else UNKNOWN)
            index = given
        return tuple(lost)


def build_metadata(recording: Recording) -> bytes:
    """The text of a `.sigmf-meta` file."""
    whole: dict[str, Any] = {
        "core:datatype": recording.format.name,
        "core:version": VERSION,
        "core:num_channels": 1,
        **recording.more,
    }
    if recording.sample_rate_hz:
        whole["core:sample_rate"] = recording.sample_rate_hz
    if recording.description:
        whole["core:description"] = recording.description
    captures: list[dict[str, Any]] = []
    for segment in recording.segments:
        capture: dict[str, Any] = {"core:sample_start": segment.start}
        if segment.index is not None:
            capture["core:global_index"] = segment.index
        if segment.centre_hz:
            capture["core:frequency"] = segment.centre_hz
        if segment.ert_ns:
            capture["core:datetime"] = utc_iso_from_tai_ns(segment.ert_ns, decimals=9)
        captures.append(capture)
    text = json.dumps({"global": whole, "captures": captures, "annotations": []}, indent=2)
    return text.encode() + b"\n"


def parse_metadata(octets: bytes) -> Recording:
    """RemoteError: no SigMF, or a recording that this package cannot read, with the reason."""
    try:
        found = json.loads(octets)
        whole = _object(found["global"])
        captures = [_object(capture) for capture in found["captures"]]
        name = str(whole["core:datatype"])
        segments = tuple(_segment(capture) for capture in captures)
        rate = float(whole.get("core:sample_rate", 0))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise RemoteError(f"no SigMF metadata: {error!r}", data=octets[:64]) from error
    if name not in SAMPLE_FORMATS:
        known = ", ".join(SAMPLE_FORMATS)
        raise RemoteError(f"SigMF datatype {name}: {known} can be read", data=octets[:64])
    if whole.get("core:num_channels", 1) != 1:
        raise RemoteError(f"SigMF of {whole['core:num_channels']} channels: one can be read")
    if any(capture.get("core:header_bytes") for capture in captures):
        raise RemoteError("SigMF with header_bytes between samples cannot be read")
    starts = [segment.start for segment in segments]
    if starts != sorted(starts) or starts[:1] not in ([], [0]) or rate < 0:
        raise RemoteError(f"SigMF captures begin at samples {starts[:8]}, rate {rate}")
    more = {key: value for key, value in whole.items() if key not in _KNOWN}
    return Recording(
        SAMPLE_FORMATS[name],
        rate,
        segments or (Segment(0, 0),),
        str(whole.get("core:description", "")),
        more,
    )


_KNOWN: Final = (
    *("core:datatype", "core:version", "core:num_channels"),
    *("core:sample_rate", "core:description"),
)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"an object wanted, not {value!r}")
    return cast(dict[str, Any], value)


def _segment(capture: Mapping[str, Any]) -> Segment:
    start = int(capture["core:sample_start"])
    time = capture.get("core:datetime")
    index = capture.get("core:global_index", None if start else 0)
    return Segment(
        start,
        None if index is None else int(index),
        float(capture.get("core:frequency", 0)),
        tai_ns_from_utc_iso(str(time)) if time else 0,
    )


__all__ = ["Recording", "Segment", "build_metadata", "parse_metadata"]
