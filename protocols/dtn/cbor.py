"""CBOR as bundles use it (RFC 8949 with the core deterministic encoding, RFC 9171 §4.1).

A `Cbor` is one type of item, read and written: layouts of blocks are put together from these as
other layouts here are from construct's (decision 0008 says why not construct, and not cbor2).
Readers take octets and a position and give the value and the position after it; what is not the
shortest encoding, and what ends early, is a RemoteError.  Nothing is allocated for a length that
the octets at hand cannot hold.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from protocols.errors import LocalError, RemoteError

UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, TAG, SIMPLE = range(8)
#: First octets of an indefinite-length array, and its end.
INDEFINITE_ARRAY: Final = 0x9F
BREAK: Final = 0xFF
LARGEST: Final = 2**64 - 1
#: Items within items, where the content is not ours to know (ids of other schemes, parameters of
#: other security contexts); no block type defined so far has more than 4.
DEEPEST: Final = 16
#: Octets that an error keeps.
_KEPT: Final = 256

T = TypeVar("T")
Read = Callable[[bytes, int], tuple[T, int]]

# Values below 256, encoded.
_STRING_HEADS: Final = [bytes((BYTES << 5 | length,)) for length in range(24)]
_SHORT: Final = [bytes((v,)) if v < 24 else bytes((24, v)) for v in range(256)]
#: Additional information → argument behind the first octet, the least that needs so many octets,
#: octets of the whole head.
_ARGUMENTS: Final = {
    24: (struct.Struct(">B").unpack_from, 24, 2),
    25: (struct.Struct(">H").unpack_from, 1 << 8, 3),
    26: (struct.Struct(">I").unpack_from, 1 << 16, 5),
    27: (struct.Struct(">Q").unpack_from, 1 << 32, 9),
}
_pack_16, _pack_32, _pack_64 = (struct.Struct(layout).pack for layout in (">BH", ">BI", ">BQ"))


def malformed(message: str, data: bytes, at: int) -> RemoteError:
    """The error for octets that stopped making sense at `at`."""
    return RemoteError(f"{message} at octet {at}", data=bytes(data[:_KEPT]), offset=at)


def head(major: int, argument: int) -> bytes:
    """Head of an item, in the shortest form.  Raises LocalError outside 0 … 2^64 − 1."""
    first = major << 5
    if not 0 <= argument <= LARGEST:
        raise LocalError(f"{argument} is no CBOR argument, 0..2^64-1 wanted")
    if argument < 24:
        return bytes((first | argument,))
    if argument < 1 << 8:
        return bytes((first | 24, argument))
    if argument < 1 << 16:
        return _pack_16(first | 25, argument)
    if argument < 1 << 32:
        return _pack_32(first | 26, argument)
    return _pack_64(first | 27, argument)


def read_head(data: bytes, at: int) -> tuple[int, int, int]:
    """(major type, argument, next position) of a definite item's head."""
    try:
        first = data[at]
    except IndexError:
        raise malformed("item missing", data, at) from None
    information = first & 31
    if information < 24:
        return first >> 5, information, at + 1
    if information not in _ARGUMENTS:
        raise malformed(f"head 0x{first:02x} of no definite item", data, at)
    unpack, least, size = _ARGUMENTS[information]
    try:
        (argument,) = unpack(data, at + 1)
    except struct.error:
        raise malformed("item cut short", data, at) from None
    if argument < least and first >> 5 != SIMPLE:
        raise malformed(f"{argument} is not in its shortest form", data, at)
    return first >> 5, argument, at + size


def read_unsigned(data: bytes, at: int) -> tuple[int, int]:
    """Unsigned integer."""
    try:
        first = data[at]
    except IndexError:
        raise malformed("unsigned integer missing", data, at) from None
    if first < 24:
        return first, at + 1
    if first > 27:
        raise malformed(f"unsigned integer wanted, 0x{first:02x} found", data, at)
    unpack, least, size = _ARGUMENTS[first]
    try:
        (value,) = unpack(data, at + 1)
    except struct.error:
        raise malformed("unsigned integer cut short", data, at) from None
    if value < least:
        raise malformed(f"{value} is not in its shortest form", data, at)
    return value, at + size


def write_unsigned(value: int) -> bytes:
    """Raises LocalError outside 0 … 2^64 − 1."""
    if 0 <= value < 256:
        return _SHORT[value]
    if 1 << 32 <= value <= LARGEST:
        return _pack_64(27, value)
    return _pack_32(26, value) if 1 << 16 <= value < 1 << 32 else head(UNSIGNED, value)


def _read_integer(data: bytes, at: int) -> tuple[int, int]:
    major, argument, after = read_head(data, at)
    if major > NEGATIVE:
        raise malformed(f"integer wanted, major type {major} found", data, at)
    return (argument if major == UNSIGNED else -1 - argument), after


def _write_integer(value: int) -> bytes:
    return write_unsigned(value) if value >= 0 else head(NEGATIVE, -1 - value)


def read_extent(data: bytes, at: int, major: int = BYTES) -> tuple[slice, int]:
    """Where a definite byte string's octets stand; of another major type if told so."""
    if data[at : at + 1] == b"\x59" and major == BYTES and data[at + 1 : at + 2] > b"\0":
        # 256 … 65,535 octets, as most payloads have.
        length, start = int.from_bytes(data[at + 1 : at + 3], "big"), at + 3
    else:
        found, length, start = read_head(data, at)
        if found != major:
            raise malformed(f"string of major type {major} wanted, {found} found", data, at)
    end = start + length
    if end > len(data):
        raise malformed(f"string of {length} octets, {len(data) - start} are left", data, at)
    return slice(start, end), end


def _read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    extent, after = read_extent(data, at)
    return data[extent], after


def octets_head(length: int) -> bytes:
    """Head of a definite byte string."""
    if 256 <= length < 65536:
        return _pack_16(0x59, length)
    return _STRING_HEADS[length] if length < 24 else head(BYTES, length)


def write_octets(octets: bytes | memoryview) -> bytes:
    """Definite byte string."""
    return octets_head(len(octets)) + octets


def read_count(data: bytes, at: int) -> tuple[int, int]:
    """Items of a definite array, bounded by the octets that are left for them."""
    major, count, after = read_head(data, at)
    if major != ARRAY:
        raise malformed(f"array wanted, major type {major} found", data, at)
    if count > len(data) - after:
        raise malformed(f"array of {count} items in {len(data) - after} octets", data, at)
    return count, after


def _read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    octet = data[at : at + 1]
    if octet not in (b"\xf4", b"\xf5"):
        raise malformed("true or false wanted", data, at)
    return octet == b"\xf5", at + 1


def skip(data: bytes, at: int) -> int:
    """Position after one definite item of any kind."""
    open_items = [1]
    while open_items:
        if not open_items[-1]:
            open_items.pop()
            continue
        open_items[-1] -= 1
        major, argument, after = read_head(data, at)
        if major in (BYTES, TEXT):
            if argument > len(data) - after:
                raise malformed(f"string of {argument} octets is cut short", data, at)
            after += argument
        elif major in (ARRAY, MAP, TAG):
            if argument > len(data) - after and major != TAG:
                raise malformed(f"{argument} items in {len(data) - after} octets", data, at)
            if len(open_items) > DEEPEST:
                raise malformed(f"items nested more than {DEEPEST} deep", data, at)
            open_items.append(1 if major == TAG else argument * (2 if major == MAP else 1))
        at = after
    return at


def _read_any(data: bytes, at: int) -> tuple[bytes, int]:
    after = skip(data, at)
    return data[at:after], after


@dataclass(frozen=True, slots=True)
class Cbor(Generic[T]):
    """One type of item: its reader and its writer.

    inline: what the writer does to the value {v} as an expression, where that is less than a call.
    numbers: of an array of that many unsigned integers, and made: what becomes of their tuple; a
    layout around it then reads them without a call.
    """

    name: str
    read: Read[T]
    write: Callable[[T], bytes]
    inline: str = ""
    numbers: int = 0
    made: Callable[[tuple[int, ...]], Any] = tuple

    def parse(self, octets: bytes | memoryview) -> T:
        """The one item that the octets are.  Raises RemoteError."""
        data = bytes(octets)
        value, after = self.read(data, 0)
        if after != len(data):
            raise malformed(f"{len(data) - after} octets after the {self.name}", data, after)
        return value


#: Most are small numbers, which need no call, or lifetimes and times.
_UINT_INLINE: Final = (
    "short[{v}] if 0 <= {v} < 256 else pack_32(26, {v}) if 65536 <= {v} < 4294967296"
    " else unsigned({v})"
)
UINT: Final = Cbor("unsigned integer", read_unsigned, write_unsigned, _UINT_INLINE)
INTEGER: Final = Cbor("integer", _read_integer, _write_integer)
#: Written without copying them.
_OCTETS_INLINE: Final = "octets_head(len({v})), {v}"
OCTETS: Final = Cbor("byte string", _read_bytes, write_octets, _OCTETS_INLINE)
#: The same, read as the slice of what is read that holds the octets.
EXTENT: Final[Cbor[Any]] = Cbor("byte string", read_extent, cast(Any, write_octets), _OCTETS_INLINE)
BOOLEAN: Final = Cbor("boolean", _read_boolean, lambda value: b"\xf5" if value else b"\xf4")
#: Any item, as its encoding.
ANY: Final = Cbor("item", _read_any, lambda octets: octets)


def _reading(name: str) -> str:
    """Statements that read one unsigned integer, small ones without a call."""
    call = f"{name}, at = read_unsigned(data, at)"
    return f"  {name} = data[at]\n  if {name} < 24: at += 1\n  else: {call}\n"


@dataclass(frozen=True, slots=True)
class Checksum:
    """What ends a layout: function, taken over the octets with `zeros` in its own place, and how it
    is packed behind the first of these, a byte string's head."""

    function: Callable[[bytes], int]
    zeros: bytes
    pack: Callable[[int, int], bytes]


def _unrolled(
    name: str,
    fields: Mapping[str, Cbor[Any]],
    values: str,
    prefix: bytes,
    checksum: Checksum | None = None,
) -> Cbor[Any]:
    """Reader and writer of items in sequence behind fixed octets.

    values: how the writer gets the fields out of what it is given, `_`.
    Written out field by field from the declaration, as dataclasses does for `__init__`: a loop over
    the fields took twice as long, and every bundle passes here a dozen times.
    """
    scope: dict[str, Any] = {
        "short": _SHORT,
        "unsigned": write_unsigned,
        "pack_32": _pack_32,
        "octets_head": octets_head,
        "read_unsigned": read_unsigned,
        "cut_short": partial(malformed, f"{name} is cut short"),
    }
    reads, writes = "", ""
    for field, kind in fields.items():
        scope[f"read_{field}"], scope[f"write_{field}"] = kind.read, kind.write
        scope[f"made_{field}"] = kind.made
        if kind is UINT:
            reads += _reading(field)
        elif kind.numbers:
            parts = [f"{field}_{i}" for i in range(kind.numbers)]
            reads += (
                f"  if data[at] != {ARRAY << 5 | kind.numbers}: read_{field}(data, at)\n  at += 1\n"
            )
            reads += "".join(_reading(part) for part in parts)
            reads += f"  {field} = made_{field}(({', '.join(parts)},))\n"
        else:
            reads += f"  {field}, at = read_{field}(data, at)\n"
        writes += f"{kind.inline.format(v=field) or f'write_{field}({field})'}, "
    names = "".join(f"{field}, " for field in fields)
    whole = f"b''.join(({prefix!r}, {writes}))"
    if checksum is not None:
        scope |= {"check": checksum.function, "pack": checksum.pack}
        zeros = checksum.zeros
        whole = (
            f"(_ := b''.join(({prefix!r}, {writes}{zeros!r})))[:{-len(zeros)}]"
            f" + pack({zeros[0]}, check(_))"
        )
    source = (
        f"def read(data, at):\n try:\n{reads} except IndexError: raise cut_short(data, at)\n"
        f" return ({names}), at\n"
        f"def write(_):\n {values}\n return {whole}\n"
    )
    exec(source, scope)
    return Cbor(name, scope["read"], scope["write"])


def items(name: str, *types: Cbor[Any], prefix: bytes = b"") -> Cbor[tuple[Any, ...]]:
    """Items one after another without an array around them, as a tuple.

    prefix: fixed octets that the writer puts before them, and the reader's caller has read.
    """
    fields = {f"v{i}": kind for i, kind in enumerate(types)}
    return _unrolled(name, fields, f"{''.join(f'{field}, ' for field in fields)}= _", prefix)


def record(
    name: str,
    fields: Mapping[str, Cbor[Any]],
    prefix: bytes = b"",
    checksum: Checksum | None = None,
) -> Cbor[Any]:
    """Items one after another, written from an object's attributes of these names, read as a tuple.

    prefix, checksum: what the writer puts around them; the reader knows neither.
    """
    values = "; ".join(f"{field} = _.{field}" for field in fields)
    return _unrolled(name, fields, values, prefix, checksum)


def array(
    name: str, *types: Cbor[Any], made: Callable[[tuple[Any, ...]], Any] = tuple
) -> Cbor[Any]:
    """Array of exactly these items; made: what becomes of the tuple of their values."""
    wanted = head(ARRAY, len(types))
    content = items(name, *types, prefix=wanted)
    read_content = content.read
    inline, numbers = "", 0
    if all(item is UINT for item in types):
        numbers = len(types)
        inline = f"{wanted!r}, " + ", ".join(
            _UINT_INLINE.format(v=f"{{v}}[{i}]") for i in range(numbers)
        )

    def read(data: bytes, at: int) -> tuple[Any, int]:
        after = at + len(wanted)
        if data[at:after] != wanted:
            count, _ = read_count(data, at)
            raise malformed(f"{name} of {count} items, {len(types)} wanted", data, at)
        values, after = read_content(data, after)
        return made(values), after

    return Cbor(name, read, content.write, inline, numbers, made)


def list_of(name: str, item: Cbor[T]) -> Cbor[tuple[T, ...]]:
    """Array of any number of one type of item."""

    def read(data: bytes, at: int) -> tuple[tuple[T, ...], int]:
        count, at = read_count(data, at)
        values: list[T] = []
        for _ in range(count):
            value, at = item.read(data, at)
            values.append(value)
        return tuple(values), at

    def write(values: Sequence[T]) -> bytes:
        return head(ARRAY, len(values)) + b"".join([item.write(value) for value in values])

    return Cbor(name, read, write)
