"""Tracking Data Message, keyword-value notation (CCSDS 503.0-B-2 §3 and §4), both ways.

A message holds segments: metadata, and observables of one kind of measurement each as a series over
time.  Nothing here measures or corrects: values are in the units that the standard gives each
keyword (§3.5), epochs are TAI nanoseconds.

    >>> series = {"RANGE": Series(np.array([0, 60 * 10**9]), np.array([1.0e8, 1.5e8]))}
    >>> segment = TdmSegment(("DSS-35", "L4 RELAY"), series, paths=((1, 2, 1),))
    >>> text = build_tdm(Tdm((segment,), "KASA", "2026-11-28T00:00:00"))
    >>> parse_tdm(text).segments[0].series["RANGE"].values.tolist()
    [100000000.0, 150000000.0]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocols.errors import LocalError, RemoteError
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64
from protocols.navigation.keyword_values import KeywordLines
from protocols.navigation.oem import epoch_text, tai_ns_from_epoch

VERSION: Final = "2.0"
MAX_PARTICIPANTS: Final = 5
_HEADER: Final = ("CCSDS_TDM_VERS", "CREATION_DATE", "ORIGINATOR", "MESSAGE_ID")


def _numbered(name: str) -> dict[str, tuple[str, ...]]:
    return {f"{name}_{n}": () for n in range(1, MAX_PARTICIPANTS + 1)}


#: Table 3-3, and what each value may be; (): anything.
METADATA: Final[Mapping[str, tuple[str, ...]]] = {
    "TRACK_ID": (),
    "DATA_TYPES": (),
    "TIME_SYSTEM": (),
    "START_TIME": (),
    "STOP_TIME": (),
    **_numbered("PARTICIPANT"),
    "MODE": ("SEQUENTIAL", "SINGLE_DIFF"),
    "PATH": (),
    "PATH_1": (),
    "PATH_2": (),
    **_numbered("EPHEMERIS_NAME"),
    "TRANSMIT_BAND": (),
    "RECEIVE_BAND": (),
    "TURNAROUND_NUMERATOR": (),
    "TURNAROUND_DENOMINATOR": (),
    "TIMETAG_REF": ("TRANSMIT", "RECEIVE"),
    "INTEGRATION_INTERVAL": (),
    "INTEGRATION_REF": ("START", "MIDDLE", "END"),
    "FREQ_OFFSET": (),
    "RANGE_MODE": ("COHERENT", "CONSTANT", "ONE_WAY"),
    "RANGE_MODULUS": (),
    "RANGE_UNITS": ("km", "s", "RU"),
    "ANGLE_TYPE": ("AZEL", "RADEC", "XEYN", "XSYE"),
    "REFERENCE_FRAME": (),
    "INTERPOLATION": (),
    "INTERPOLATION_DEGREE": (),
    "DOPPLER_COUNT_BIAS": (),
    "DOPPLER_COUNT_SCALE": (),
    "DOPPLER_COUNT_ROLLOVER": ("YES", "NO"),
    **_numbered("TRANSMIT_DELAY"),
    **_numbered("RECEIVE_DELAY"),
    "DATA_QUALITY": ("RAW", "VALIDATED", "DEGRADED"),
    **{
        f"CORRECTION_{name}": ()
        for name in (
            "ANGLE_1", "ANGLE_2", "DOPPLER", "MAG", "RANGE", "RCS", "RECEIVE", "TRANSMIT",
            "ABERRATION_YEARLY", "ABERRATION_DIURNAL",
        )
    },
    "CORRECTIONS_APPLIED": ("YES", "NO"),
}  # fmt: skip
#: Table 3-5: keyword of an observable → its unit (RANGE: as RANGE_UNITS says).
OBSERVABLES: Final[Mapping[str, str]] = {
    "CARRIER_POWER": "dBW",
    "DOPPLER_COUNT": "",
    "DOPPLER_INSTANTANEOUS": "km/s",
    "DOPPLER_INTEGRATED": "km/s",
    "PC_N0": "dBHz",
    "PR_N0": "dBHz",
    **{f"RECEIVE_PHASE_CT_{n}": "" for n in range(1, MAX_PARTICIPANTS + 1)},
    **{f"TRANSMIT_PHASE_CT_{n}": "" for n in range(1, MAX_PARTICIPANTS + 1)},
    "RANGE": "",
    "RECEIVE_FREQ": "Hz",
    **{f"RECEIVE_FREQ_{n}": "Hz" for n in range(1, MAX_PARTICIPANTS + 1)},
    **{f"TRANSMIT_FREQ_{n}": "Hz" for n in range(1, MAX_PARTICIPANTS + 1)},
    **{f"TRANSMIT_FREQ_RATE_{n}": "Hz/s" for n in range(1, MAX_PARTICIPANTS + 1)},
    "DOR": "s",
    "VLBI_DELAY": "s",
    "ANGLE_1": "deg",
    "ANGLE_2": "deg",
    "CLOCK_BIAS": "s",
    "CLOCK_DRIFT": "s/s",
    "STEC": "TECU",
    "TROPO_DRY": "m",
    "TROPO_WET": "m",
    "PRESSURE": "hPa",
    "RHUMIDITY": "%",
    "TEMPERATURE": "K",
    "MAG": "",
    "RCS": "m**2",
}


@dataclass(frozen=True, eq=False)
class Series:
    """times_tai_ns: int64 [n], ascending; values: float64 [n] in the keyword's unit."""

    times_tai_ns: I64
    values: F64

    def __post_init__(self) -> None:
        n = len(self.times_tai_ns)
        if not n or len(self.values) != n:
            raise LocalError(f"{n} times and {len(self.values)} values: as many, and one at least")
        if np.any(np.diff(self.times_tai_ns) < 0):
            raise LocalError("the times of a series of observables must ascend (§3.4.10)")
        if not np.all(np.isfinite(self.values)):
            raise LocalError("an observable that is not finite")


@dataclass(frozen=True, eq=False)
class TdmSegment:
    """participants: names, the first is number 1; series: by keyword of `OBSERVABLES`.

    paths: the signal's way by participants' numbers; two of them for differenced observables.
    metadata: other keywords of `METADATA`.
    """

    participants: tuple[str, ...]
    series: Mapping[str, Series]
    paths: tuple[tuple[int, ...], ...]
    time_system: str = "UTC"
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.participants) <= MAX_PARTICIPANTS:
            raise LocalError(f"{len(self.participants)} participants: 1 to {MAX_PARTICIPANTS}")
        if not self.series:
            raise LocalError("a TDM segment without an observable")
        for name in self.series:
            if name not in OBSERVABLES:
                raise LocalError(f"{name}: no observable of 503.0-B-2 table 3-5")
        if len(self.paths) not in (1, 2):
            raise LocalError(f"{len(self.paths)} paths: one, or two of differenced observables")
        for path in self.paths:
            if len(path) < 2 or not all(1 <= one <= len(self.participants) for one in path):
                raise LocalError(f"PATH {path}: numbers 1 to {len(self.participants)}, two or more")
        for name, value in self.metadata.items():
            _check(name, value)
            if name in _OWN or name.startswith("PARTICIPANT_"):
                raise LocalError(f"{name} follows from the segment; not among its metadata")


@dataclass(frozen=True)
class Tdm:
    """A tracking data message; creation_date: UTC."""

    segments: tuple[TdmSegment, ...]
    originator: str
    creation_date: str
    message_id: str = ""
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.segments:
            raise LocalError("TDM without a segment")


#: Written from the segment's own fields.
_OWN: Final = ("TIME_SYSTEM", "START_TIME", "STOP_TIME", "PATH", "PATH_1", "PATH_2")


def _check(name: str, value: str) -> None:
    if name not in METADATA:
        raise LocalError(f"{name} is not a keyword of TDM metadata (503.0-B-2 table 3-3)")
    allowed = METADATA[name]
    # Upper or lower case, but not mixed (§4.3.4).
    if allowed and value not in {*allowed, *map(str.lower, allowed), *map(str.upper, allowed)}:
        raise LocalError(f"{name} {value!r}: {', '.join(allowed)} allowed")


# Out -----------------------------------------------------------------------------------------


def build_tdm(tdm: Tdm) -> bytes:
    """The message: epochs to the nanosecond, values with all their digits."""
    lines = [f"CCSDS_TDM_VERS = {VERSION}", *(f"COMMENT {one}" for one in tdm.comments)]
    lines += [f"CREATION_DATE = {tdm.creation_date}", f"ORIGINATOR = {tdm.originator}"]
    lines += [f"MESSAGE_ID = {tdm.message_id}"] * bool(tdm.message_id)
    for segment in tdm.segments:
        lines += _segment_lines(segment)
    return ("\n".join(lines) + "\n").encode()


def _segment_lines(segment: TdmSegment) -> list[str]:
    system = segment.time_system
    first = min(int(one.times_tai_ns[0]) for one in segment.series.values())
    last = max(int(one.times_tai_ns[-1]) for one in segment.series.values())
    values = {
        "TIME_SYSTEM": system,
        "START_TIME": epoch_text(first, system, 9),
        "STOP_TIME": epoch_text(last, system, 9),
        **{f"PARTICIPANT_{n}": name for n, name in enumerate(segment.participants, 1)},
        **{
            f"PATH_{n}" if len(segment.paths) > 1 else "PATH": ",".join(map(str, path))
            for n, path in enumerate(segment.paths, 1)
        },
        **segment.metadata,
    }
    lines = ["META_START", *(f"COMMENT {one}" for one in segment.comments)]
    # Keywords in the order of the table (§4.3.3).
    lines += [f"{name} = {values[name]}" for name in METADATA if name in values]
    lines += ["META_STOP", "DATA_START"]
    for name, series in segment.series.items():
        lines += [
            f"{name} = {epoch_text(t_ns, system, 9)} {value!r}"
            for t_ns, value in zip(
                series.times_tai_ns.tolist(), series.values.tolist(), strict=True
            )
        ]
    return [*lines, "DATA_STOP"]


# In ------------------------------------------------------------------------------------------


def parse_tdm(octets: bytes) -> Tdm:
    """Read a message.  Raises RemoteError, which names line and keyword and carries the line."""
    lines = KeywordLines(octets, "TDM")
    header, comments = lines.header(
        "CCSDS_TDM_VERS", _HEADER, until="META_START", clause="503.0-B-2 table 3-2"
    )
    segments: list[TdmSegment] = []
    while lines.peek() is not None:
        segments.append(_segment(lines))
    if not segments:
        lines.fail("no META_START: the message has no segment")
    return Tdm(
        tuple(segments),
        originator=header.get("ORIGINATOR", ""),
        creation_date=header.get("CREATION_DATE", ""),
        message_id=header.get("MESSAGE_ID", ""),
        comments=comments,
    )


def _segment(lines: KeywordLines) -> TdmSegment:
    lines.expect("META_START")
    meta, comments = lines.metadata(
        METADATA, ("TIME_SYSTEM", "PARTICIPANT_1"), clause="503.0-B-2 table 3-3"
    )
    system = meta["TIME_SYSTEM"].upper()
    lines.expect("DATA_START")
    found: dict[str, tuple[list[int], list[float]]] = {}
    try:
        for name, value in meta.items():
            _check(name, value)
        while lines.peek() != "DATA_STOP":
            name, text = lines.keyword()
            if name == "COMMENT":
                continue
            if name not in OBSERVABLES:
                lines.fail(f"{name}: no observable of 503.0-B-2 table 3-5", taken=True)
            parts = text.split()
            if len(parts) != 2:
                lines.fail(f"{len(parts)} columns: epoch and measurement wanted", taken=True)
            times, values = found.setdefault(name, ([], []))
            times.append(tai_ns_from_epoch(parts[0], system))
            values.append(float(parts[1]))
        lines.take()
        participants: list[str] = []
        while (name := f"PARTICIPANT_{len(participants) + 1}") in meta:
            participants.append(meta.pop(name))
        paths = [meta[name] for name in ("PATH", "PATH_1", "PATH_2") if name in meta]
        return TdmSegment(
            tuple(participants),
            {
                name: Series(np.array(times, np.int64), np.array(values, np.float64))
                for name, (times, values) in found.items()
            },
            paths=tuple(tuple(map(int, path.split(","))) for path in paths),
            time_system=system,
            metadata={name: value for name, value in meta.items() if name not in _OWN},
            comments=comments,
        )
    except RemoteError:
        raise
    except (LocalError, ValueError, OverflowError) as error:
        # Our own checks speak of what the message says: it is the message that is wrong.
        lines.fail(str(error), taken=True)
