"""What a construct field says, as numbers: the one place where declarations are read.

The interpreted codec (`codec.py`), the columnar decoder (`columns.py`) and the XTCE writer all
take their layout from here, so that no second description of a packet exists.
"""

# construct and Numba ship no types: what comes out of them is annotated where it enters our code.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from construct import (
    Adapter,
    BitsInteger,
    Bytes,
    BytesInteger,
    Bytewise,
    Construct,
    ConstructError,
    Float16b,
    Float16l,
    Float32b,
    Float32l,
    Float64b,
    Float64l,
    FormatField,
    GreedyBytes,
    Renamed,
)

from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import TIME_INVALID_NS


@runtime_checkable
class TimeCode(Protocol):
    """A time code format (protocols.timecodes): its values are integer TAI nanoseconds."""

    @property
    def size(self) -> int: ...

    @property
    def construct(self) -> Any: ...

    def decode(self, octets: npt.NDArray[np.uint8], /) -> npt.NDArray[np.int64]: ...

    def encode(self, time_ns: npt.NDArray[np.int64], /) -> npt.NDArray[np.uint8]: ...


def as_numbers(value: Any) -> npt.NDArray[Any]:
    """`np.asarray`, but lists that mix integers below and above 2⁶³ stay exact.

    NumPy makes them float64, which rounds.
    """
    array = np.asarray(value)
    if array.dtype.kind == "f" and not isinstance(value, np.ndarray):
        exact = np.asarray(value, object)
        if exact.size and all(isinstance(v, int) for v in exact.ravel()):
            return exact
    return array


class Kind(Enum):
    UNSIGNED = "unsigned"
    SIGNED = "signed"
    FLOAT = "float"
    OCTETS = "octets"
    TIME = "time"


@dataclass(frozen=True)
class Count:
    """`parameter × scale + offset`: how many elements or octets a variable part has."""

    parameter: str
    scale: int = 1
    offset: int = 0

    def __call__(self, context: Mapping[str, Any]) -> int:
        return int(context[self.parameter]) * self.scale + self.offset

    def inverse(self, count: int, where: str) -> int:
        value, rest = divmod(count - self.offset, self.scale)
        if rest or value < 0:
            raise LocalError(
                f"{where}: {count} elements cannot be said by {self.parameter} "
                f"(× {self.scale} + {self.offset})"
            )
        return value


@dataclass(frozen=True)
class FieldType:
    """One field's encoding.

    bits: width, 0 for octets of variable length; little: least significant octet first;
    length: where a variable length (octets) comes from, None for "to the end of the packet";
    time: the time code format of a TIME field.
    """

    kind: Kind
    bits: int
    little: bool = False
    length: Count | None = None
    time: TimeCode | None = None

    @property
    def variable(self) -> bool:
        return self.bits == 0

    @property
    def is_integer(self) -> bool:
        return self.kind in (Kind.UNSIGNED, Kind.SIGNED)

    @property
    def minimum(self) -> int:
        return -(1 << (self.bits - 1)) if self.kind is Kind.SIGNED else 0

    @property
    def maximum(self) -> int:
        return (1 << (self.bits - (self.kind is Kind.SIGNED))) - 1

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """NumPy type of a column: the smallest that holds the field."""
        if self.kind is Kind.FLOAT:
            return np.dtype(f"f{self.bits // 8}")
        if self.kind is Kind.TIME:
            return np.dtype(np.int64)
        if self.kind is Kind.OCTETS:
            return np.dtype(np.uint8)
        size = next(octets for octets in (1, 2, 4, 8) if self.bits <= 8 * octets)
        return np.dtype(f"{'i' if self.kind is Kind.SIGNED else 'u'}{size}")

    def construct(self, *, in_bits: bool) -> Any:
        """The construct that reads and builds this field in a bit stream; canonical per type."""
        if self.is_integer:
            signed = self.kind is Kind.SIGNED
            if in_bits:
                return BitsInteger(self.bits, signed=signed, swapped=self.little)
            return BytesInteger(self.bits // 8, signed=signed, swapped=self.little)
        if self.kind is Kind.FLOAT:
            big = {16: Float16b, 32: Float32b, 64: Float64b}
            low = {16: Float16l, 32: Float32l, 64: Float64l}
            inner = (low if self.little else big)[self.bits]
        elif self.kind is Kind.TIME:
            assert self.time is not None
            inner = _TimeField(self.time)
        else:
            inner = Bytes(self.bits // 8)
        return Bytewise(inner) if in_bits else inner


class _TimeField(Adapter):
    """A time code whose invalid octets read as TIME_INVALID_NS, as they do in columns."""

    def __init__(self, time: TimeCode) -> None:
        super().__init__(Bytes(time.size))
        self.time = time

    def _decode(self, obj: Any, context: Any, path: str) -> int:
        try:
            return int(self.time.construct.parse(obj))
        except (ConstructError, RemoteError):
            return TIME_INVALID_NS

    def _encode(self, obj: Any, context: Any, path: str) -> bytes:
        return bytes(self.time.construct.build(obj))


@dataclass
class _Recorder(Mapping[str, int]):
    """Stands in for a parsing context to learn which fields an expression reads."""

    value: int
    names: list[str] = field(default_factory=list[str])

    def __getitem__(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.value

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def read_count(expression: Any, where: str) -> Count:
    """`this.N`, `this.N * 2 + 4`, or a field's name, as a `Count`."""
    if isinstance(expression, Count):
        return expression
    if isinstance(expression, str):
        return Count(expression)
    if not callable(expression):
        raise LocalError(f"{where}: count {expression!r} is not an integer, a name or this.NAME")
    at = {value: _Recorder(value) for value in (0, 1, 2, 1000)}
    result: dict[int, Any]
    try:
        result = {value: expression(recorder) for value, recorder in at.items()}
    except (TypeError, AttributeError, KeyError) as error:
        raise LocalError(f"{where}: count {expression!r} cannot be evaluated: {error}") from error
    names = at[0].names
    if len(names) != 1:
        raise LocalError(f"{where}: count {expression!r} reads {names}; exactly one field allowed")
    offset, scale = result[0], result[1] - result[0]
    linear = all(result[value] == offset + scale * value for value in result)
    if not linear or scale != int(scale) or scale < 1 or offset != int(offset):
        raise LocalError(f"{where}: count {expression!r} is not field × positive integer + integer")
    return Count(names[0], int(scale), int(offset))


_FORMATS = {
    "B": (Kind.UNSIGNED, 8),
    "H": (Kind.UNSIGNED, 16),
    "L": (Kind.UNSIGNED, 32),
    "Q": (Kind.UNSIGNED, 64),
    "b": (Kind.SIGNED, 8),
    "h": (Kind.SIGNED, 16),
    "l": (Kind.SIGNED, 32),
    "q": (Kind.SIGNED, 64),
    "e": (Kind.FLOAT, 16),
    "f": (Kind.FLOAT, 32),
    "d": (Kind.FLOAT, 64),
}


def read_field(declared: Any, where: str) -> FieldType:
    """The type that a construct field (or a time code format) declares.

    Raises LocalError for what has no columnar form: adapters, native byte order, integers wider
    than 64 bits.
    """
    if isinstance(declared, FieldType):
        return declared
    if isinstance(declared, Renamed):
        return read_field(declared.subcon, where)
    if isinstance(declared, FormatField):
        order, code = declared.fmtstr[0], declared.fmtstr[1]
        if order == "=":
            raise LocalError(f"{where}: native byte order; name it (Int16ub or Int16ul)")
        if code not in _FORMATS:
            raise LocalError(f"{where}: format {code!r}; one of {' '.join(_FORMATS)} allowed")
        kind, bits = _FORMATS[code]
        return FieldType(kind, bits, little=order == "<" and bits > 8)
    if isinstance(declared, BytesInteger | BitsInteger):
        unit = 8 if isinstance(declared, BytesInteger) else 1
        length, swapped = declared.length, declared.swapped
        if not isinstance(length, int) or callable(swapped):
            raise LocalError(f"{where}: integer of variable width; a constant wanted")
        bits = length * unit
        if not 1 <= bits <= 64:
            raise LocalError(f"{where}: integer of {bits} bits; 1..64 allowed")
        if swapped and bits % 8:
            raise LocalError(f"{where}: {bits} bits little-endian; whole octets wanted")
        kind = Kind.SIGNED if declared.signed else Kind.UNSIGNED
        return FieldType(kind, bits, little=bool(swapped) and bits > 8)
    if isinstance(declared, Bytes):
        if isinstance(declared.length, int):
            if declared.length < 1:
                raise LocalError(f"{where}: {declared.length} octets; at least 1 wanted")
            return FieldType(Kind.OCTETS, 8 * declared.length)
        return FieldType(Kind.OCTETS, 0, length=read_count(declared.length, where))
    if isinstance(declared, type(GreedyBytes)):
        return FieldType(Kind.OCTETS, 0)
    if not isinstance(declared, Construct) and isinstance(declared, TimeCode):
        return FieldType(Kind.TIME, 8 * declared.size, time=declared)
    raise LocalError(
        f"{where}: {declared!r} has no columnar form; allowed are construct integers, floats, "
        "Bytes, GreedyBytes and time code formats (labels and text belong in `calibration`)"
    )
