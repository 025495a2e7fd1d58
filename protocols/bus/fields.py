"""How a message's fields become octets: one declaration, read in both directions.

A message is a frozen dataclass whose fields carry a `Codec`; `build_message` and `parse_message`
derive both directions from it.  Arrays go as `[dtype, shape, octets]` and come back as read-only
views of the received octets (`numpy.frombuffer`, no copy of the values).

msgpack is the carrier; everything it yields is checked here, so that received octets raise
`RemoteError` and nothing else.
"""

# msgpack ships no types: what comes out of it is annotated in `pack_plain` and `unpack_plain`.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Protocol, TypeVar, cast

import msgpack
import numpy as np
import numpy.typing as npt

from protocols.errors import LocalError, RemoteError
from protocols.packets.batch import PacketBatch
from protocols.telemetry.tables import Ragged

#: No message has more entries than this in one list or map: a table of 4,096 parameters, a batch's
#: events.  Values of which there are many travel as arrays.
MAX_ENTRIES = 65_536
MAX_TEXT_OCTETS = 65_536
_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1

#: What an array may hold: fixed-size numbers, little-endian, so that decoding is a view.
DTYPES = {
    code: np.dtype(code)
    for code in ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f4", "<f8")
}

Pack = Callable[[Any], Any]
Unpack = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class Codec:
    """Both directions of one field: to what msgpack can say, and back with every check."""

    pack: Pack
    unpack: Unpack


# ---------------------------------------------------------------- msgpack, guarded


class Map:
    """A received map; each accessor checks presence and type and raises `RemoteError`."""

    __slots__ = ("_octets", "entries")

    def __init__(self, entries: Mapping[str, object], octets: bytes = b"") -> None:
        self.entries = entries
        self._octets = octets[:64]

    def get(self, key: str) -> object:
        if key not in self.entries:
            raise RemoteError(f"field {key!r} is missing", data=self._octets)
        return self.entries[key]

    def has(self, key: str) -> bool:
        return key in self.entries

    def integer(self, key: str) -> int:
        return cast(int, self._take(key, INTEGER))

    def text(self, key: str) -> str:
        return cast(str, self._take(key, TEXT))

    def _take(self, key: str, codec: Codec) -> object:
        try:
            return codec.unpack(self.get(key))
        except RemoteError as error:
            raise RemoteError(f"{key}: {error}", data=self._octets) from error


def pack_map(entries: Mapping[str, object]) -> bytes:
    """LocalError if an entry is not a plain value."""
    return pack_plain(entries)


def unpack_map(octets: bytes) -> Map:
    """RemoteError unless the octets are exactly one map with text keys."""
    value = unpack_plain(octets)
    if not isinstance(value, dict):
        raise RemoteError(f"{type(value).__name__} where a map is wanted", data=octets[:64])
    return Map(cast(dict[str, object], value), octets)


def pack_plain(value: object) -> bytes:
    """LocalError unless it is made of plain values."""
    try:
        return cast(bytes, msgpack.packb(value, use_bin_type=True))
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalError(f"value that msgpack cannot carry: {error}") from error


def _refuse_extension(code: int, octets: bytes) -> object:
    raise RemoteError(f"msgpack extension {code}", data=octets[:64])


def unpack_plain(octets: bytes) -> object:
    """RemoteError unless the octets are one value of bounded size."""
    try:
        return msgpack.unpackb(
            octets,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ENTRIES,
            max_map_len=MAX_ENTRIES,
            max_str_len=MAX_TEXT_OCTETS,
        )
    except RemoteError:
        raise
    except (ValueError, TypeError, OverflowError, msgpack.exceptions.UnpackException) as error:
        raise RemoteError(f"not msgpack: {error}", data=octets[:64]) from error


# ---------------------------------------------------------------- codecs


def _wrong(value: object, wanted: str) -> RemoteError:
    return RemoteError(f"{type(value).__name__} where {wanted} is wanted")


def _unpack_integer(value: object) -> int:
    # bool is an int in Python and not in msgpack.
    if not isinstance(value, int) or isinstance(value, bool):
        raise _wrong(value, "an integer")
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise RemoteError(f"integer {value} does not fit 64 bits")
    return value


def _pack_integer(value: object) -> int:
    integer = int(cast(int, value))
    if not _INT64_MIN <= integer <= _INT64_MAX:
        raise LocalError(f"integer {integer} does not fit 64 bits")
    return integer


def _unpack_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(value, "a number")
    return float(value)


def _unpack_text(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong(value, "text")
    return value


def _unpack_octets(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise _wrong(value, "octets")
    return value


def _unpack_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")
    return value


INTEGER = Codec(_pack_integer, _unpack_integer)
NUMBER = Codec(float, _unpack_number)
TEXT = Codec(str, _unpack_text)
FLAG = Codec(bool, _unpack_flag)
OCTETS = Codec(bytes, _unpack_octets)


#: [rows], [rows, repeats], and for repeated octets [rows, repeats, length].
MAX_DIMENSIONS = 3


def array(*dtypes: str, dimensions: int = 1) -> Codec:
    """Array of one of the dtypes named (default: any in DTYPES), of 1 to so many dimensions."""
    allowed = frozenset(dtypes or DTYPES)
    # By dtype as it comes: asking NumPy for its code costs more than all the rest.
    codes: dict[np.dtype[Any], str] = {DTYPES[code]: code for code in allowed}

    def pack(value: npt.ArrayLike) -> list[object]:
        values = np.asarray(value)
        code = codes.get(values.dtype)
        if code is None and (swapped := values.dtype.newbyteorder("<")) in codes:
            code, values = codes[swapped], values.astype(swapped)
        if code is None or not 1 <= values.ndim <= dimensions:
            raise LocalError(
                f"array {values.dtype.str}, {values.ndim} dimensions; "
                f"{sorted(allowed)}, 1..{dimensions} wanted"
            )
        if not values.flags.c_contiguous:
            values = np.ascontiguousarray(values)
        return [code, list(values.shape), values.reshape(-1).view(np.uint8).data]

    def unpack(value: object) -> npt.NDArray[Any]:
        if not isinstance(value, list) or len(cast(list[object], value)) != 3:
            raise _wrong(value, "an array")
        code, shape, octets = cast(list[object], value)
        if not isinstance(code, str) or code not in allowed:
            raise RemoteError(f"array of {code!r}, {sorted(allowed)} wanted")
        if not isinstance(shape, list) or not 1 <= len(cast(list[object], shape)) <= dimensions:
            raise RemoteError(f"array shape {shape!r}, 1..{dimensions} dimensions wanted")
        if not isinstance(octets, bytes):
            raise _wrong(octets, "octets")
        dtype = DTYPES[code]
        lengths = cast(list[int], shape)
        count, rest = divmod(len(octets), dtype.itemsize)
        # One axis, nearly always.  (What only equals the length, 1.0 or true, is told below.)
        if lengths == [count] and type(lengths[0]) is int and not rest and code != "|b1":
            return np.frombuffer(octets, dtype)
        lengths = [_unpack_integer(length) for length in cast(list[object], shape)]
        if min(lengths) < 0 or math.prod(lengths) * dtype.itemsize != len(octets):
            raise RemoteError(f"array {code} {lengths} in {len(octets)} octets")
        if code == "|b1" and octets.count(0) + octets.count(1) != len(octets):
            raise RemoteError("truth values that are neither 0 nor 1")
        return np.frombuffer(octets, dtype).reshape(lengths)

    return Codec(pack, unpack)


#: So many zeros are at hand.
FEW_ZEROS = 4096


def mostly_zero(dtype: str) -> Codec:
    """Array [n], sent as n alone where all of it is zero: flags and limit states, that is, nearly
    always."""
    full = array(dtype)
    zero, some = np.zeros(1, DTYPES[dtype]), np.zeros(FEW_ZEROS, DTYPES[dtype])
    some.flags.writeable = False

    def pack(value: npt.ArrayLike) -> object:
        values = np.asarray(value)
        zeros = values.ndim == 1 and not np.count_nonzero(values)
        return len(values) if zeros else full.pack(values)

    def unpack(value: object) -> npt.NDArray[Any]:
        if isinstance(value, list):
            return full.unpack(cast(list[object], value))
        length = _unpack_integer(value)
        if length < 0:
            raise RemoteError(f"array of {length} zeros")
        if length <= FEW_ZEROS:
            return some[:length]
        # No memory for them: whoever sent the number may lie.
        return np.broadcast_to(zero, length)

    return Codec(pack, unpack)


def list_of(codec: Codec) -> Codec:
    def unpack(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _wrong(value, "a list")
        return tuple(codec.unpack(item) for item in cast(list[object], value))

    return Codec(lambda items: [codec.pack(item) for item in items], unpack)


def map_of(codec: Codec) -> Codec:
    """Map from text to the given."""

    def unpack(value: object) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(value, "a map")
        return {
            _unpack_text(key): codec.unpack(item)
            for key, item in cast(dict[object, object], value).items()
        }

    def pack(entries: Mapping[str, Any]) -> dict[str, Any]:
        return {_text_key(key): codec.pack(item) for key, item in entries.items()}

    return Codec(pack, unpack)


def _text_key(key: object) -> str:
    if not isinstance(key, str):
        raise LocalError(f"map key {key!r} is not text")
    return key


_CODES = array("|u1", "<i4", dimensions=MAX_DIMENSIONS)
_LABELS = list_of(TEXT)
_NUMBERS = array(dimensions=MAX_DIMENSIONS)
_ENDS = array("<i8")


def _pack_column(values: npt.ArrayLike | Ragged) -> object:
    if isinstance(values, Ragged):
        return {"values": _pack_column(values.values), "offsets": _ENDS.pack(values.offsets)}
    column = np.asarray(values)
    if column.dtype.kind not in "UO":
        return _NUMBERS.pack(column)
    labels, codes = np.unique(column.astype(np.str_), return_inverse=True)
    dtype = np.uint8 if len(labels) <= 256 else np.int32
    return {
        "labels": _LABELS.pack(labels),
        "codes": _CODES.pack(codes.astype(dtype).reshape(column.shape)),
    }


def _unpack_column(value: object, *, ragged: bool = True) -> npt.NDArray[Any] | Ragged:
    if isinstance(value, list):
        return _NUMBERS.unpack(cast(list[object], value))
    if not isinstance(value, dict):
        raise _wrong(value, "a column")
    entries = Map(cast(dict[str, object], value))
    if ragged and entries.has("offsets"):
        values = _unpack_column(entries.get("values"), ragged=False)
        offsets = _ENDS.unpack(entries.get("offsets"))
        check_offsets(offsets, len(values), "ragged column")
        return Ragged(cast(npt.NDArray[Any], values), offsets)
    labels = _LABELS.unpack(entries.get("labels"))
    codes = _CODES.unpack(entries.get("codes"))
    if codes.size and not (codes.min() >= 0 and codes.max() < len(labels)):
        raise RemoteError(f"text codes {codes.min()}..{codes.max()} of {len(labels)} labels")
    # Objects, not fixed-width text: n references to the few labels, whatever the labels' length.
    table = np.empty(len(labels), np.object_)
    table[:] = labels
    return table[codes]


def check_offsets(offsets: npt.NDArray[np.int64], total: int, what: str) -> None:
    """RemoteError unless the offsets int64 [n + 1] cut `total` octets into n pieces: one that runs
    backwards or past the end would make every later reader index astray."""
    if (
        not len(offsets)
        or offsets[0] != 0
        or offsets[-1] != total
        or np.count_nonzero(offsets[1:] < offsets[:-1])
    ):
        raise RemoteError(f"{what}: offsets do not run from 0 to {total}")


#: One row a packet: numbers, or text (sent as codes into a list of labels); [m], [m, …] or ragged.
COLUMN = Codec(_pack_column, _unpack_column)


#: The same, or None.
OPTIONAL_COLUMN = Codec(
    lambda values: None if values is None else _pack_column(values),
    lambda value: None if value is None else _unpack_column(value),
)


_OCTETS, _OFFSETS = array("|u1"), array("<i8")


def _pack_batch(batch: PacketBatch) -> list[object]:
    return [
        _OCTETS.pack(batch.octets),
        _OFFSETS.pack(batch.offsets),
        _OCTETS.pack(batch.vcid),
        _OFFSETS.pack(batch.ert_ns),
    ]


def _unpack_batch(value: object) -> PacketBatch:
    if not isinstance(value, list) or len(cast(list[object], value)) != 4:
        raise _wrong(value, "a packet batch")
    octets, offsets, vcid, ert_ns = cast(list[object], value)
    columns = (
        _OCTETS.unpack(octets),
        _OFFSETS.unpack(offsets),
        _OCTETS.unpack(vcid),
        _OFFSETS.unpack(ert_ns),
    )
    check_offsets(columns[1], len(columns[0]), "packet batch")
    try:
        return PacketBatch(*columns)
    except LocalError as error:
        raise RemoteError(str(error)) from error


BATCH = Codec(_pack_batch, _unpack_batch)


# ---------------------------------------------------------------- dataclasses


class Declared(Protocol):
    """A dataclass each of whose fields has a codec."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


M = TypeVar("M", bound=Declared)


def declare(codec: Codec, **options: Any) -> Any:
    """Dataclass field that travels by `codec`; `options` as of `dataclasses.field`."""
    return dataclasses.field(metadata={"codec": codec}, **options)


def nested(kind: type[Declared]) -> Codec:
    """A declared dataclass as a field of another."""
    return Codec(to_map, lambda value: from_map(kind, value))


@cache
def _codecs(kind: type[Declared]) -> tuple[tuple[str, Codec], ...]:
    return tuple((field.name, field.metadata["codec"]) for field in dataclasses.fields(kind))


@cache
def _defaulted(kind: type[Declared]) -> frozenset[str]:
    missing = dataclasses.MISSING
    return frozenset(
        field.name
        for field in dataclasses.fields(kind)
        if field.default is not missing or field.default_factory is not missing
    )


def to_map(message: Declared) -> dict[str, object]:
    entries: dict[str, object] = {}
    name = ""
    try:
        for name, codec in _codecs(type(message)):
            entries[name] = codec.pack(getattr(message, name))
    except (LocalError, TypeError, ValueError) as error:
        raise LocalError(f"{type(message).__name__}.{name}: {error}") from error
    return entries


def from_map(kind: type[M], value: object) -> M:
    """RemoteError if a field without a default is missing, or one is wrong.  Unknown fields are a
    newer sender's: ignored; those with a default may not have been known to an older one."""
    if not isinstance(value, dict):
        raise _wrong(value, kind.__name__)
    entries = cast(dict[str, object], value)
    values: dict[str, object] = {}
    for name, codec in _codecs(kind):
        if name not in entries:
            if name in _defaulted(kind):
                continue
            raise RemoteError(f"{kind.__name__}.{name} is missing")
        try:
            values[name] = codec.unpack(entries[name])
        except RemoteError as error:
            raise RemoteError(f"{kind.__name__}.{name}: {error}") from error
    try:
        return kind(**values)
    except LocalError as error:
        # What the class itself refuses came from outside here.
        raise RemoteError(f"{kind.__name__}: {error}") from error


def build_message(message: Declared, version: int) -> bytes:
    """Body of a message; LocalError if a value does not fit its field."""
    return pack_plain([type(message).__name__, version, to_map(message)])


def parse_message(kind: type[M], version: int, body: bytes) -> M:
    """The message in a body.  RemoteError if it is not one of this kind and version."""
    value = unpack_plain(body)
    if not isinstance(value, list) or len(cast(list[object], value)) != 3:
        raise RemoteError("body is not a message", data=body[:64])
    name, found, fields = cast(list[object], value)
    if name != kind.__name__ or found != version:
        raise RemoteError(
            f"message {name!r} version {found!r}, {kind.__name__} version {version} wanted",
            data=body[:64],
        )
    try:
        return from_map(kind, fields)
    except RemoteError as error:
        raise RemoteError(str(error), data=body[:64]) from error
