"""CCSDS day segmented time code (301.0-B-4 §3.3) to and from TAI nanoseconds."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from construct import (
    BitsInteger,
    BitStruct,
    Bytes,
    BytesInteger,
    ConstructError,
    ExprAdapter,
    Struct,
)

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import (
    NS_PER_DAY,
    NS_PER_MS,
    TIME_INVALID_NS,
    day_length_s,
    day_length_s_array,
    day_start_tai_ns,
    day_start_tai_ns_array,
    utc_day_of_tai_ns,
    utc_day_of_tai_ns_array,
)

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: 301.0-B-4 §3.3.2: time code identification.
_CODE_CDS: Final = 0b100

#: 301.0-B-4 §3.3.2.  The code has no second octet, so the extension flag must be 0.
CDS_P_FIELD: Final = BitStruct(
    "extension" / BitsInteger(1),
    "code" / BitsInteger(3),
    "agency_epoch" / BitsInteger(1),
    "day_24_bits" / BitsInteger(1),
    "submillisecond" / BitsInteger(2),
)

#: Submillisecond units in a millisecond, by octets of the segment: absent, µs, ps.
_UNITS_PER_MS: Final = {0: 1, 2: 1_000, 4: 1_000_000_000}
# int64 nanoseconds end 106,751 days after the epoch; whole days below that are accepted.
_DAY_LIMIT: Final = (2**63 - 1) // NS_PER_DAY


@dataclass(frozen=True)
class CdsFormat:
    """One agreed CDS layout; octets to and from integer TAI nanoseconds.

    day_octets: 2 or 3.  submillisecond_octets: 0 (ms), 2 (µs) or 4 (ps).
    epoch_tai_ns: 0 is the CCSDS epoch, the day 1958-01-01; else an agency epoch, which must be a
    midnight of `scale`.
    scale: "utc", as the standard has it: days are UTC days, and the last millisecond of a day with
    a leap second is 86,400,999.  "tai" is for missions whose days all have 86,400 s.
    p_field: whether the code is preceded by its P-field.

    A time between two codes is built as the nearest, a half up; picoseconds are parsed likewise.
    A millisecond or submillisecond count that its day does not have is refused.

    >>> CdsFormat().build(1_861_920_036_500_000_000).hex()  # in the leap second of 2016-12-31
    '542d05265df4'
    """

    day_octets: int = 2
    submillisecond_octets: int = 0
    epoch_tai_ns: int = 0
    p_field: bool = False
    scale: Literal["utc", "tai"] = "utc"

    def __post_init__(self) -> None:
        if self.day_octets not in (2, 3):
            raise LocalError(f"CDS day_octets is {self.day_octets}, 2 or 3 allowed")
        if self.submillisecond_octets not in _UNITS_PER_MS:
            raise LocalError(
                f"CDS submillisecond_octets is {self.submillisecond_octets}, 0, 2 or 4 allowed"
            )
        if self.scale not in ("utc", "tai"):
            raise LocalError(f"CDS scale is {self.scale!r}, 'utc' or 'tai' allowed")
        if self.scale == "utc" and self.epoch_tai_ns and utc_day_of_tai_ns(self.epoch_tai_ns)[1]:
            raise LocalError(f"CDS epoch {self.epoch_tai_ns} ns TAI is not a UTC midnight")

    @classmethod
    def from_p_field(cls, octets: bytes, epoch_tai_ns: int = 0) -> CdsFormat:
        """Format told by the P-field that `octets` begins with (`p_field=True`).

        `epoch_tai_ns` is used for level 2 codes alone.  Raises RemoteError, and LocalError for a
        level 2 code without it.
        """
        try:
            field: Any = CDS_P_FIELD.parse(bytes(octets[:1]))
        except ConstructError as error:
            raise RemoteError("CDS P-field is missing", data=bytes(octets)) from error
        if field.extension or field.code != _CODE_CDS or field.submillisecond == 3:
            raise RemoteError(f"{octets[:1].hex()} is not a CDS P-field", data=bytes(octets))
        if field.agency_epoch and not epoch_tai_ns:
            raise LocalError(f"CDS P-field {octets[:1].hex()} names an agency epoch: none given")
        epoch = epoch_tai_ns if field.agency_epoch else 0
        return cls(2 + field.day_24_bits, 2 * field.submillisecond, epoch, p_field=True)

    @cached_property
    def p_field_octets(self) -> bytes:
        """The P-field of this format, whether or not it is sent."""
        return CDS_P_FIELD.build(
            {
                "extension": 0,
                "code": _CODE_CDS,
                "agency_epoch": bool(self.epoch_tai_ns),
                "day_24_bits": self.day_octets == 3,
                "submillisecond": self.submillisecond_octets // 2,
            }
        )

    @property
    def size(self) -> int:
        """Octets of the code, P-field included if there is one."""
        return int(self.p_field) + self.day_octets + 4 + self.submillisecond_octets

    @cached_property
    def construct(self) -> Any:
        """The declaration; its value is the time as int TAI ns."""
        fields: list[Any] = []
        if self.p_field:
            fields.append("p_field" / Bytes(1))
        fields += ["day" / BytesInteger(self.day_octets), "ms" / BytesInteger(4)]
        if self.submillisecond_octets:
            fields.append("sub" / BytesInteger(self.submillisecond_octets))
        return ExprAdapter(Struct(*fields), self._time_of, self._fields_of)

    def parse(self, octets: bytes) -> int:
        """TAI ns of exactly `size` octets.  Raises RemoteError."""
        if len(octets) != self.size:
            raise RemoteError(
                f"CDS of {len(octets)} octets, {self.size} wanted", data=bytes(octets)
            )
        return int(self.construct.parse(octets))

    def build(self, tai_ns: int) -> bytes:
        """`size` octets.  Raises LocalError for a time before the epoch or beyond the counter."""
        return bytes(self.construct.build(tai_ns))

    def decode(self, octets: U8) -> I64:
        """uint8 [n, size] to int64 [n]; TIME_INVALID_NS exactly where `parse` raises."""
        if octets.ndim != 2 or octets.shape[1] != self.size:
            raise LocalError(f"CDS array of shape {octets.shape}, [n, {self.size}] wanted")
        at = int(self.p_field)
        day = _big_endian(octets, at, self.day_octets)
        at += self.day_octets
        ms = _big_endian(octets, at, 4)
        sub = _big_endian(octets, at + 4, self.submillisecond_octets)
        valid = (day < _DAY_LIMIT - max(self._epoch_day, 0)) & (sub < self._units_per_ms)
        day = np.where(valid, day, 0) + self._epoch_day
        if self.scale == "utc":
            valid &= ms < day_length_s_array(day) * 1_000
            start = day_start_tai_ns_array(day)
        else:
            valid &= ms < 86_400_000
            start = day * NS_PER_DAY + self._tai_phase_ns
        if self._units_per_ms > NS_PER_MS:
            sub_ns = (sub + 500) // 1_000
        else:
            sub_ns = sub * (NS_PER_MS // self._units_per_ms)
        result = start + np.where(valid, ms, 0) * NS_PER_MS + sub_ns
        if self.p_field:
            valid &= octets[:, 0] == self.p_field_octets[0]
        return np.where(valid, result, TIME_INVALID_NS)

    def encode(self, tai_ns: I64) -> U8:
        """int64 [n] to uint8 [n, size].  Raises LocalError as `build` does."""
        times = np.asarray(tai_ns, np.int64)
        if times.ndim != 1:
            raise LocalError(f"times of shape {times.shape}, [n] wanted")
        rounded = times
        if self._step_ns > 1:
            steps, beyond = np.divmod(times - self._tai_phase_ns, self._step_ns)
            steps += 2 * beyond >= self._step_ns
            rounded = steps * self._step_ns + self._tai_phase_ns
        if self.scale == "utc":
            day, of_day = utc_day_of_tai_ns_array(rounded)
        else:
            day, of_day = np.divmod(rounded - self._tai_phase_ns, NS_PER_DAY)
        day = day - self._epoch_day
        bad = (day < 0) | (day >= 1 << 8 * self.day_octets)
        if bad.any():
            self._refuse(int(times[np.argmax(bad)]))
        ms, ns = np.divmod(of_day, NS_PER_MS)
        octets = np.empty((len(times), self.size), np.uint8)
        at = int(self.p_field)
        if at:
            octets[:, 0] = self.p_field_octets[0]
        _put_big_endian(octets, at, self.day_octets, day)
        _put_big_endian(octets, at + self.day_octets, 4, ms)
        sub = ns * self._units_per_ms // NS_PER_MS
        _put_big_endian(octets, at + self.day_octets + 4, self.submillisecond_octets, sub)
        return octets

    @cached_property
    def _units_per_ms(self) -> int:
        return _UNITS_PER_MS[self.submillisecond_octets]

    @property
    def _step_ns(self) -> int:
        return max(NS_PER_MS // self._units_per_ms, 1)

    @cached_property
    def _epoch_day(self) -> int:
        """Days from 1958-01-01 to the epoch's day, in the calendar of `scale`."""
        if not self.epoch_tai_ns:
            return 0
        if self.scale == "utc":
            return utc_day_of_tai_ns(self.epoch_tai_ns)[0]
        return self.epoch_tai_ns // NS_PER_DAY

    @cached_property
    def _tai_phase_ns(self) -> int:
        """Where days begin in TAI; a UTC day always begins on a whole second."""
        return self.epoch_tai_ns % NS_PER_DAY if self.scale == "tai" else 0

    def _refuse(self, tai_ns: int) -> None:
        raise LocalError(
            f"TAI {tai_ns} ns does not fit CDS with {self.day_octets} day octets "
            f"from epoch {self.epoch_tai_ns} ns"
        )

    def _time_of(self, fields: Any, context: Any) -> int:
        if self.p_field and fields.p_field != self.p_field_octets:
            raise RemoteError(
                f"CDS P-field {fields.p_field.hex()}, {self.p_field_octets.hex()} agreed",
                data=fields.p_field,
            )
        if fields.day >= _DAY_LIMIT - max(self._epoch_day, 0):
            raise RemoteError(f"CDS day {fields.day} is beyond int64 nanoseconds")
        day, units = fields.day + self._epoch_day, self._units_per_ms
        sub = fields.sub if self.submillisecond_octets else 0
        utc = self.scale == "utc"
        ms_of_day = day_length_s(day) * 1_000 if utc else 86_400_000
        if fields.ms >= ms_of_day or sub >= units:
            raise RemoteError(
                f"CDS says ms {fields.ms} of {ms_of_day}, submillisecond {sub} of {units}"
            )
        start = day_start_tai_ns(day) if utc else day * NS_PER_DAY + self._tai_phase_ns
        return start + fields.ms * NS_PER_MS + (2 * sub * NS_PER_MS + units) // (2 * units)

    def _fields_of(self, tai_ns: int, context: Any) -> dict[str, Any]:
        step, phase = self._step_ns, self._tai_phase_ns
        rounded = (2 * (int(tai_ns) - phase) + step) // (2 * step) * step + phase
        if self.scale == "utc":
            day, of_day = utc_day_of_tai_ns(rounded)
        else:
            day, of_day = divmod(rounded - phase, NS_PER_DAY)
        day -= self._epoch_day
        if not 0 <= day < 1 << 8 * self.day_octets:
            self._refuse(tai_ns)
        ms, ns = divmod(of_day, NS_PER_MS)
        sub = ns * self._units_per_ms // NS_PER_MS
        return {"p_field": self.p_field_octets, "day": day, "ms": ms, "sub": sub}


def _big_endian(octets: U8, start: int, count: int) -> I64:
    value = np.zeros(len(octets), np.int64)
    for column in range(start, start + count):
        value = (value << 8) | octets[:, column]
    return value


def _put_big_endian(octets: U8, start: int, count: int, value: I64) -> None:
    for index in range(count):
        octets[:, start + index] = (value >> (8 * (count - 1 - index))) & 0xFF
