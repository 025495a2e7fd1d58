"""Orbit Ephemeris Message, keyword-value notation (CCSDS 502.0-B-3 §5, KVN §7), both ways.

A message holds segments: metadata and states of one object in one frame.  States are read between
their epochs as the segment asks (INTERPOLATION), never across segments.  Covariance blocks are
skipped: nothing here uses them, and `build` does not write them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date
from typing import Final

import numpy as np

from protocols.errors import LocalError, RemoteError
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64, hermite, lagrange
from protocols.navigation.keyword_values import KeywordLines
from protocols.timecodes.tai import (
    NS_PER_DAY,
    tai_ns_from_utc_iso,
    utc_day_of_tai_ns,
    utc_iso_from_tai_ns,
)

#: Scale − TAI in nanoseconds for the uniform scales (502.0-B-3 annex B2; TDB beside them below).
_OFFSET_NS: Final = {"TAI": 0, "TT": 32_184_000_000, "GPS": -19_000_000_000}
TIME_SYSTEMS: Final = ("UTC", *_OFFSET_NS, "TDB")
INTERPOLATIONS: Final = ("LINEAR", "LAGRANGE", "HERMITE")
#: What is used where the message leaves it open: exact for the orbit types that we plan for.
_DEFAULT: Final = ("HERMITE", 7)

_MANDATORY: Final = (
    "OBJECT_NAME", "OBJECT_ID", "CENTER_NAME", "REF_FRAME", "TIME_SYSTEM", "START_TIME",
    "STOP_TIME",
)  # fmt: skip
_OPTIONAL: Final = (
    "REF_FRAME_EPOCH", "USEABLE_START_TIME", "USEABLE_STOP_TIME", "INTERPOLATION",
    "INTERPOLATION_DEGREE",
)  # fmt: skip
_HEADER: Final = ("CCSDS_OEM_VERS", "CLASSIFICATION", "CREATION_DATE", "ORIGINATOR", "MESSAGE_ID")


def _tdb_minus_tt_ns(tt_ns: int) -> int:
    """Periodic difference, 30 µs exact (Astronomical Almanac, p. B7)."""
    days = (tt_ns - 15_340 * NS_PER_DAY - NS_PER_DAY // 2) / NS_PER_DAY  # from J2000.0
    g = math.radians(357.53 + 0.985_600_28 * days)
    return round((0.001_657 * math.sin(g) + 0.000_022 * math.sin(2 * g)) * 1e9)


def tai_ns_from_epoch(text: str, time_system: str) -> int:
    """TAI nanoseconds of an epoch as written in the message (§7.5.10; both calendars).

    >>> utc, tai = "2026-12-01T00:00:00", "2026-335T00:00:37"
    >>> tai_ns_from_epoch(utc, "UTC") - tai_ns_from_epoch(tai, "TAI")
    0

    Raises LocalError for a text that is not a time, and for an unknown time system.
    """
    if time_system == "UTC":
        return tai_ns_from_utc_iso(text)
    day, of_day = utc_day_of_tai_ns(tai_ns_from_utc_iso(text))
    own_ns = day * NS_PER_DAY + of_day
    if time_system == "TDB":
        return own_ns - _OFFSET_NS["TT"] - _tdb_minus_tt_ns(own_ns)
    if time_system not in _OFFSET_NS:
        raise LocalError(f"TIME_SYSTEM {time_system}: one of {', '.join(TIME_SYSTEMS)} is read")
    return own_ns - _OFFSET_NS[time_system]


def epoch_text(tai_ns: int, time_system: str, decimals: int = 6) -> str:
    """The inverse: calendar text in that time system, to `decimals` of a second (truncated)."""
    if time_system == "UTC":
        return utc_iso_from_tai_ns(tai_ns, decimals).rstrip("Z")
    if time_system == "TDB":
        tt_ns = tai_ns + _OFFSET_NS["TT"]
        own_ns = tt_ns + _tdb_minus_tt_ns(tt_ns)
    elif time_system in _OFFSET_NS:
        own_ns = tai_ns + _OFFSET_NS[time_system]
    else:
        raise LocalError(f"TIME_SYSTEM {time_system}: one of {', '.join(TIME_SYSTEMS)} is written")
    day, of_day = divmod(own_ns, NS_PER_DAY)
    calendar = date.fromordinal(date(1958, 1, 1).toordinal() + day).isoformat()
    seconds, ns = divmod(of_day, 10**9)
    text = f"{calendar}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    return text + (f".{ns:09d}"[: decimals + 1] if decimals else "")


@dataclass(frozen=True, eq=False)
class OemSegment:
    """States of one object.

    epochs_tai_ns  int64 [n], ascending
    states         float64 [n, 6]: position km, velocity km/s, in `ref_frame` about `center_name`
    useable_tai_ns first and last instant that may be interpolated; START/STOP where not given
    """

    object_name: str
    object_id: str
    center_name: str
    ref_frame: str
    time_system: str
    epochs_tai_ns: I64
    states: F64
    useable_tai_ns: tuple[int, int]
    interpolation: str = _DEFAULT[0]
    degree: int = _DEFAULT[1]
    ref_frame_epoch: str = ""
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.epochs_tai_ns)
        if n < 2 or self.states.shape != (n, 6):
            raise LocalError(
                f"OEM segment of {self.object_name}: {n} epochs and states {self.states.shape}: "
                "at least 2, and [n, 6], wanted"
            )
        if not np.all(np.diff(self.epochs_tai_ns) > 0):
            raise LocalError(f"OEM segment of {self.object_name}: epochs must ascend")
        if self.interpolation not in INTERPOLATIONS:
            raise LocalError(
                f"INTERPOLATION {self.interpolation}: one of {', '.join(INTERPOLATIONS)} wanted"
            )
        if not 1 <= self.degree <= 31:
            raise LocalError(f"INTERPOLATION_DEGREE {self.degree}: 1 to 31 wanted")

    def positions_km(self, t_tai_ns: I64) -> F64:
        """Positions at times int64 [m] inside `useable_tai_ns`: float64 [m, 3] (not checked)."""
        origin = int(self.epochs_tai_ns[0])
        nodes_s = (self.epochs_tai_ns - origin) / 1e9
        t_s = (t_tai_ns - origin) / 1e9
        position, velocity = self.states[:, :3], self.states[:, 3:]
        if self.interpolation == "HERMITE":
            degree = min(self.degree, 2 * len(nodes_s) - 1)
            return hermite(nodes_s, position, velocity, t_s, degree)
        degree = 1 if self.interpolation == "LINEAR" else min(self.degree, len(nodes_s) - 1)
        return lagrange(nodes_s, position, t_s, degree)


@dataclass(frozen=True)
class Oem:
    """An orbit ephemeris message."""

    segments: tuple[OemSegment, ...]
    originator: str = ""
    creation_date: str = ""
    version: str = "2.0"
    message_id: str = ""
    comments: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.segments:
            raise LocalError("OEM without a segment")

    @property
    def span_tai_ns(self) -> tuple[int, int]:
        """First and last instant that some segment covers."""
        return (
            min(s.useable_tai_ns[0] for s in self.segments),
            max(s.useable_tai_ns[1] for s in self.segments),
        )

    def positions_km(self, t_tai_ns: I64) -> F64:
        """Positions at times int64 [m]: float64 [m, 3] km; the later segment where two overlap.

        Raises LocalError, which names the first instant that no segment covers.
        """
        result = np.empty((len(t_tai_ns), 3))
        missing = np.ones(len(t_tai_ns), np.bool_)
        for segment in reversed(self.segments):
            first, last = segment.useable_tai_ns
            here = missing & (t_tai_ns >= first) & (t_tai_ns <= last)
            if here.any():
                result[here] = segment.positions_km(t_tai_ns[here])
                missing &= ~here
        if missing.any():
            first, last = (utc_iso_from_tai_ns(t) for t in self.span_tai_ns)
            raise LocalError(
                f"OEM of {self.segments[0].object_name} has no state for "
                f"{utc_iso_from_tai_ns(int(t_tai_ns[missing][0]))}; it covers {first} to {last}"
            )
        return result


def _segment(lines: KeywordLines) -> OemSegment:
    lines.expect("META_START")
    meta, comments = lines.metadata(
        (*_MANDATORY, *_OPTIONAL), _MANDATORY, clause="502.0-B-3 table 5-3"
    )
    system = meta["TIME_SYSTEM"].upper()
    epochs: list[int] = []
    states: list[list[float]] = []
    try:
        while (line := lines.peek()) is not None and line != "META_START":
            if line.startswith("COMMENT"):
                comments = (*comments, line[7:].strip())
            elif line == "COVARIANCE_START":
                while lines.take() != "COVARIANCE_STOP":
                    pass
                continue
            else:
                parts = line.split()
                if len(parts) not in (7, 10):
                    lines.fail(f"{len(parts)} columns: epoch and 6 (or 9) numbers wanted")
                epochs.append(tai_ns_from_epoch(parts[0], system))
                numbers = [float(part) for part in parts[1:7]]
                if not all(math.isfinite(number) for number in numbers):
                    lines.fail("a state that is not finite")
                states.append(numbers)
            lines.take()
        first = meta.get("USEABLE_START_TIME") or meta["START_TIME"]
        last = meta.get("USEABLE_STOP_TIME") or meta["STOP_TIME"]
        return OemSegment(
            object_name=meta["OBJECT_NAME"],
            object_id=meta["OBJECT_ID"],
            center_name=meta["CENTER_NAME"].upper(),
            ref_frame=meta["REF_FRAME"].upper(),
            time_system=system,
            epochs_tai_ns=np.array(epochs, np.int64),
            states=np.array(states, np.float64).reshape(len(epochs), 6),
            useable_tai_ns=(tai_ns_from_epoch(first, system), tai_ns_from_epoch(last, system)),
            interpolation=meta.get("INTERPOLATION", _DEFAULT[0]).upper(),
            degree=int(meta.get("INTERPOLATION_DEGREE", _DEFAULT[1])),
            ref_frame_epoch=meta.get("REF_FRAME_EPOCH", ""),
            comments=comments,
        )
    except RemoteError:
        raise
    except (LocalError, ValueError, OverflowError) as error:
        # Our own checks speak of what the message says: it is the message that is wrong.  (An
        # OverflowError is of a year that 64 bits of nanoseconds do not reach.)
        lines.fail(str(error))


def parse_oem(octets: bytes) -> Oem:
    """Read a message.  Raises RemoteError, which names line and keyword and carries the line."""
    lines = KeywordLines(octets, "OEM")
    header, comments = lines.header(
        "CCSDS_OEM_VERS", _HEADER, until="META_START", clause="502.0-B-3 table 5-2"
    )
    segments: list[OemSegment] = []
    while lines.peek() is not None:
        segments.append(_segment(lines))
    if not segments:
        lines.fail("no META_START: the message has no segment")
    return Oem(
        tuple(segments),
        originator=header.get("ORIGINATOR", ""),
        creation_date=header.get("CREATION_DATE", ""),
        version=header["CCSDS_OEM_VERS"],
        message_id=header.get("MESSAGE_ID", ""),
        comments=comments,
    )


def build_oem(oem: Oem) -> bytes:
    """Write a message: epochs to the nanosecond, states with all their digits.

    `parse_oem(build_oem(x))` has the states, epochs and metadata of x exactly (TDB: to 1 ns).
    """
    out = [f"CCSDS_OEM_VERS = {oem.version}"]
    out += [f"COMMENT {comment}" for comment in oem.comments]
    out += [
        f"CREATION_DATE = {oem.creation_date}",
        f"ORIGINATOR = {oem.originator}",
    ]
    if oem.message_id:
        out.append(f"MESSAGE_ID = {oem.message_id}")
    for segment in oem.segments:
        system = segment.time_system
        first, last = (epoch_text(int(segment.epochs_tai_ns[i]), system, 9) for i in (0, -1))
        useable = [epoch_text(t, system, 9) for t in segment.useable_tai_ns]
        out += ["", "META_START", *(f"COMMENT {comment}" for comment in segment.comments)]
        out += [
            f"OBJECT_NAME = {segment.object_name}",
            f"OBJECT_ID = {segment.object_id}",
            f"CENTER_NAME = {segment.center_name}",
            f"REF_FRAME = {segment.ref_frame}",
        ]
        if segment.ref_frame_epoch:
            out.append(f"REF_FRAME_EPOCH = {segment.ref_frame_epoch}")
        out += [
            f"TIME_SYSTEM = {system}",
            f"START_TIME = {first}",
            f"USEABLE_START_TIME = {useable[0]}",
            f"USEABLE_STOP_TIME = {useable[1]}",
            f"STOP_TIME = {last}",
            f"INTERPOLATION = {segment.interpolation}",
            f"INTERPOLATION_DEGREE = {segment.degree}",
            "META_STOP",
        ]
        for epoch, state in zip(
            segment.epochs_tai_ns.tolist(), segment.states.tolist(), strict=True
        ):
            out.append(
                " ".join([epoch_text(epoch, system, 9), *(repr(number) for number in state)])
            )
    return ("\n".join(out) + "\n").encode()
