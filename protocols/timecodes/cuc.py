"""CCSDS unsegmented time code (301.0-B-4 §3.2) to and from TAI nanoseconds."""

# construct ships no types: what comes out of it is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from construct import (
    BitsInteger,
    BitStruct,
    Bytes,
    BytesInteger,
    ConstructError,
    ExprAdapter,
    If,
    Struct,
    this,
)

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import NS_PER_SECOND, TIME_INVALID_NS

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]

#: 301.0-B-4 §3.2.2: time code identification.
_CODE_CCSDS_EPOCH: Final = 0b001
_CODE_AGENCY_EPOCH: Final = 0b010
_INT64_MAX: Final = 2**63 - 1

#: 301.0-B-4 §3.2.2.  A third octet is not defined, so a second extension flag is refused.
CUC_P_FIELD: Final = Struct(
    "first"
    / BitStruct(
        "extension" / BitsInteger(1),
        "code" / BitsInteger(3),
        "coarse_minus_one" / BitsInteger(2),
        "fine" / BitsInteger(2),
    ),
    "second"
    / If(
        this.first.extension,
        BitStruct(
            "extension" / BitsInteger(1),
            "additional_coarse" / BitsInteger(2),
            "additional_fine" / BitsInteger(3),
            "mission_defined" / BitsInteger(2),
        ),
    ),
)


def _rounded_division(numerator: int, denominator: int) -> int:
    """Nearest integer, a half up."""
    return (2 * numerator + denominator) // (2 * denominator)


@dataclass(frozen=True)
class CucFormat:
    """One agreed CUC layout; octets to and from integer TAI nanoseconds.

    coarse_octets: 1–7, seconds; fine_octets: 0–10, binary fraction of the second.
    epoch_tai_ns: 0 is the CCSDS epoch (level 1), anything else an agency epoch (level 2).
    p_field: whether the code is preceded by its P-field; its second octet is there when
    coarse_octets > 4 or fine_octets > 3, or if long_p_field says that it is sent all the same.

    Between a code's resolution and the nanosecond values are rounded to nearest, a half up, both
    ways: `build(parse(x)) == x` with up to 3 fine octets, `parse(build(t)) == t` from 4 on.

    >>> CucFormat(coarse_octets=4, fine_octets=2).build(1_500_000_000).hex()
    '000000018000'
    """

    coarse_octets: int = 4
    fine_octets: int = 3
    epoch_tai_ns: int = 0
    p_field: bool = False
    long_p_field: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.coarse_octets <= 7:
            raise LocalError(f"CUC coarse_octets is {self.coarse_octets}, 1 to 7 allowed")
        if not 0 <= self.fine_octets <= 10:
            raise LocalError(f"CUC fine_octets is {self.fine_octets}, 0 to 10 allowed")

    @classmethod
    def from_p_field(cls, octets: bytes, epoch_tai_ns: int = 0) -> CucFormat:
        """Format told by the P-field that `octets` begins with (`p_field=True`).

        `epoch_tai_ns` is used for level 2 codes alone, where it must be known otherwise.
        Raises RemoteError if the octets are no CUC P-field, LocalError for a level 2 code without
        `epoch_tai_ns`.
        """
        coarse, fine, code = cls._read_p_field(bytes(octets))
        if code == _CODE_AGENCY_EPOCH and not epoch_tai_ns:
            raise LocalError(f"CUC P-field {octets[:1].hex()} names an agency epoch: none given")
        epoch = epoch_tai_ns if code == _CODE_AGENCY_EPOCH else 0
        # The second octet may be there and add nothing, or what the first had room for.
        needless = bool(octets[0] & 0x80) and coarse <= 4 and fine <= 3
        return cls(coarse, fine, epoch, p_field=True, long_p_field=needless)

    @staticmethod
    def _read_p_field(octets: bytes) -> tuple[int, int, int]:
        try:
            field: Any = CUC_P_FIELD.parse(octets)
        except ConstructError as error:
            raise RemoteError("CUC P-field is cut off", data=octets) from error
        first, second = field.first, field.second
        if first.code not in (_CODE_CCSDS_EPOCH, _CODE_AGENCY_EPOCH) or (
            second and second.extension
        ):
            raise RemoteError(f"{octets[:2].hex()} is not a CUC P-field", data=octets)
        coarse, fine = first.coarse_minus_one + 1, first.fine
        if second:
            coarse, fine = coarse + second.additional_coarse, fine + second.additional_fine
        return coarse, fine, first.code

    @cached_property
    def p_field_octets(self) -> bytes:
        """The P-field of this format, whether or not it is sent."""
        coarse, fine = min(self.coarse_octets, 4), min(self.fine_octets, 3)
        extended = self.coarse_octets > 4 or self.fine_octets > 3 or self.long_p_field
        return CUC_P_FIELD.build(
            {
                "first": {
                    "extension": extended,
                    "code": _CODE_AGENCY_EPOCH if self.epoch_tai_ns else _CODE_CCSDS_EPOCH,
                    "coarse_minus_one": coarse - 1,
                    "fine": fine,
                },
                "second": {
                    "extension": 0,
                    "additional_coarse": self.coarse_octets - coarse,
                    "additional_fine": self.fine_octets - fine,
                    "mission_defined": 0,
                },
            }
        )

    @cached_property
    def _p_size(self) -> int:
        return len(self.p_field_octets) if self.p_field else 0

    @cached_property
    def size(self) -> int:
        """Octets of the code, P-field included if there is one."""
        return self._p_size + self.coarse_octets + self.fine_octets

    @cached_property
    def construct(self) -> Any:
        """The declaration; its value is the time as int TAI ns."""
        fields: list[Any] = []
        if self.p_field:
            fields.append("p_field" / Bytes(self._p_size))
        fields.append("coarse" / BytesInteger(self.coarse_octets))
        if self.fine_octets:
            fields.append("fine" / BytesInteger(self.fine_octets))
        return ExprAdapter(Struct(*fields), self._time_of, self._fields_of)

    def parse(self, octets: bytes) -> int:
        """TAI ns of exactly `size` octets.  Raises RemoteError."""
        if len(octets) != self.size:
            raise RemoteError(
                f"CUC of {len(octets)} octets, {self.size} wanted", data=bytes(octets)
            )
        return int(self.construct.parse(octets))

    def build(self, tai_ns: int) -> bytes:
        """`size` octets.  Raises LocalError for a time before the epoch or beyond the counter."""
        return bytes(self.construct.build(tai_ns))

    def decode(self, octets: U8) -> I64:
        """uint8 [n, size] to int64 [n]; TIME_INVALID_NS exactly where `parse` raises."""
        if octets.ndim != 2 or octets.shape[1] != self.size:
            raise LocalError(f"CUC array of shape {octets.shape}, [n, {self.size}] wanted")
        # Here, not above: whoever only writes time codes does not wait for Numba.
        from protocols.timecodes import cuc_kernels as kernels

        rows = np.ascontiguousarray(octets, np.uint8).view()
        rows.flags.writeable = False
        result = np.empty(len(rows), np.int64)
        limit = self._coarse_limit
        kernels.decode(
            rows,
            self._p_size,
            self.coarse_octets,
            self.fine_octets,
            self.epoch_tai_ns,
            limit,
            result,
        )
        if self.p_field:
            result[~self._p_field_matches(octets)] = TIME_INVALID_NS
        return result

    def encode(self, tai_ns: I64) -> U8:
        """int64 [n] to uint8 [n, size].  Raises LocalError as `build` does."""
        since = np.asarray(tai_ns, np.int64)
        if since.ndim != 1:
            raise LocalError(f"times of shape {since.shape}, [n] wanted")
        if self.epoch_tai_ns:
            since = since - self.epoch_tai_ns
        seconds, remainder = np.divmod(since, NS_PER_SECOND)
        ticks, carry = _fraction_ticks(remainder.astype(np.uint64), self.fine_octets)
        seconds = seconds + carry.astype(np.int64)
        bad = (since < 0) | (seconds >= 1 << 8 * self.coarse_octets)
        if bad.any():
            self._refuse(int(np.asarray(tai_ns)[np.argmax(bad)]))
        octets = np.empty((len(since), self.size), np.uint8)
        at = self._p_size
        if at:
            octets[:, :at] = np.frombuffer(self.p_field_octets, np.uint8)
        _put_big_endian(octets, at, self.coarse_octets, seconds.astype(np.uint64))
        at += self.coarse_octets
        for (start, width), chunk in zip(_CHUNKS, ticks, strict=True):
            count = min(max(self.fine_octets - start, 0), width)
            _put_big_endian(octets, at + start, count, chunk)
        return octets

    def _p_field_matches(self, octets: U8) -> npt.NDArray[np.bool_]:
        # Octets that say the same as ours in another way (3 + 1 coarse octets) are rare enough for
        # a parse each, once per distinct value.
        p_size = self._p_size
        distinct, inverse = np.unique(octets[:, :p_size], axis=0, return_inverse=True)
        same = [self._same_p_field(row.tobytes()) for row in distinct]
        return np.array(same, np.bool_)[inverse.reshape(-1)]

    def _same_p_field(self, octets: bytes) -> bool:
        code = _CODE_AGENCY_EPOCH if self.epoch_tai_ns else _CODE_CCSDS_EPOCH
        try:
            return self._read_p_field(octets) == (self.coarse_octets, self.fine_octets, code)
        except RemoteError:
            return False

    def _refuse(self, tai_ns: int) -> None:
        raise LocalError(
            f"TAI {tai_ns} ns does not fit CUC {self.coarse_octets}+{self.fine_octets} octets "
            f"from epoch {self.epoch_tai_ns} ns"
        )

    @cached_property
    def _coarse_limit(self) -> int:
        """Largest coarse count whose every fraction stays within int64 nanoseconds."""
        return (_INT64_MAX - max(self.epoch_tai_ns, 0)) // NS_PER_SECOND - 1

    def _time_of(self, fields: Any, context: Any) -> int:
        if self.p_field and not self._same_p_field(fields.p_field):
            raise RemoteError(
                f"CUC P-field {fields.p_field.hex()}, {self.p_field_octets.hex()} agreed",
                data=fields.p_field,
            )
        if fields.coarse > self._coarse_limit:
            raise RemoteError(f"CUC time of {fields.coarse} s is beyond int64 nanoseconds")
        fine = fields.fine if self.fine_octets else 0
        fraction_ns = _rounded_division(fine * NS_PER_SECOND, 1 << 8 * self.fine_octets)
        return self.epoch_tai_ns + fields.coarse * NS_PER_SECOND + fraction_ns

    def _fields_of(self, tai_ns: int, context: Any) -> dict[str, Any]:
        since = int(tai_ns) - self.epoch_tai_ns
        ticks = _rounded_division(since << 8 * self.fine_octets, NS_PER_SECOND)
        if since < 0 or ticks >= 1 << 8 * (self.coarse_octets + self.fine_octets):
            self._refuse(tai_ns)
        coarse, fine = divmod(ticks, 1 << 8 * self.fine_octets)
        return {"p_field": self.p_field_octets, "coarse": coarse, "fine": fine}


#: Up to ten fine octets as three chunks: (first octet, octets).
_CHUNKS: Final = ((0, 4), (4, 4), (8, 2))


def _put_big_endian(octets: U8, start: int, count: int, value: U64) -> None:
    for index in range(count):
        octets[:, start + index] = (value >> np.uint64(8 * (count - 1 - index))) & np.uint64(0xFF)


def _fraction_ticks(remainder_ns: U64, fine_octets: int) -> tuple[list[U64], U64]:
    """Fraction rounded to `fine_octets`: right-aligned chunks, and whether it came to a second."""
    billion = np.uint64(NS_PER_SECOND)
    counts = [min(max(fine_octets - first, 0), width) for first, width in _CHUNKS]
    chunks: list[U64] = []
    for count in counts:
        # remainder < 2^30 and at most 32 bits more: no overflow.
        scaled = remainder_ns << np.uint64(8 * count)
        chunks.append(scaled // billion)
        remainder_ns = scaled % billion
    carry = (remainder_ns * np.uint64(2) >= billion).astype(np.uint64)
    for index in (2, 1, 0):
        bits = np.uint64(8 * counts[index])
        total = chunks[index] + carry
        carry = total >> bits
        chunks[index] = total & ((np.uint64(1) << bits) - np.uint64(1))
    return chunks, carry
