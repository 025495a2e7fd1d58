"""ASN.1's basic encoding rules (X.690) as SLE's modules need them: types that read and build.

A type is declared once and read in both directions, as construct's are:

    STOP = Sequence(StopInvocation, CREDENTIALS, INVOKE_ID)
    STOP.build(StopInvocation(None, 7)); STOP.parse(octets)

SLE's modules have implicit tags; a tagged CHOICE is tagged explicitly all the same (X.680 §31.2.7).
What is built has definite lengths, as short as they can be, and strings in one piece (DER).  All
that BER allows is read: indefinite lengths, strings in pieces, lengths longer than they need be.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields
from enum import IntEnum
from typing import Any, Final, NamedTuple

from protocols.errors import LocalError, RemoteError

_CONTEXT: Final = 0x80
_CONSTRUCTED: Final = 0x20
_INDEFINITE: Final = 0x80
#: X.690 §8.1.3.5: octets of a length, 127 are reserved.
_MOST_LENGTH_OCTETS: Final = 126
#: Values within one another; SLE's modules have less than ten.
_DEEPEST: Final = 16
#: Octets of an object identifier; the modules' own have less than ten.
_MOST_OBJECT_OCTETS: Final = 64
#: Octets of an integer: SLE has none beyond 32 bits, and the sign.
_MOST_INTEGER_OCTETS: Final = 9


def identifier(number: int, *, context: bool = True, constructed: bool = False) -> bytes:
    """Identifier octets (X.690 §8.1.2).

    >>> identifier(8, constructed=True).hex(), identifier(104).hex()
    ('a8', '9f68')
    """
    first = (_CONTEXT if context else 0) | (_CONSTRUCTED if constructed else 0)
    if number < 31:
        return bytes([first | number])
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes([first | 31, *reversed(digits)])


def length_octets(length: int) -> bytes:
    """X.690 §8.1.3, as short as it can be."""
    if length < 0x80:
        return bytes([length])
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([0x80 | len(octets), *octets])


def _content(data: bytes, at: int, end: int, first: int) -> tuple[int, int, int]:
    """Where the content of the value whose length stands at `at` begins and ends, and where the
    next value begins.  first: the first of its identifier octets."""
    constructed = first & _CONSTRUCTED
    if at >= end:
        raise RemoteError("BER: cut short before a length", data=data, offset=at)
    first = data[at]
    at += 1
    length = first
    if first == _INDEFINITE and constructed:
        stop = _end_of_contents(data, at, end)
        return at, stop, stop + 2
    if first >= 0x80:
        octets = first & 0x7F
        if not 1 <= octets <= _MOST_LENGTH_OCTETS or at + octets > end:
            raise RemoteError(f"BER: length 0x{first:02x}…", data=data, offset=at - 1)
        length = int.from_bytes(data[at : at + octets])
        at += octets
    if length > end - at:
        raise RemoteError(
            f"BER: a value of {length} octets where {end - at} are left", data=data, offset=at
        )
    return at, at + length, at + length


def _end_of_contents(data: bytes, at: int, end: int) -> int:
    """Where the two octets stand that end an indefinite length (X.690 §8.1.5)."""
    depth = 1
    while at < end:
        first = data[at]
        at += 1
        if first & 0x1F == 0x1F:
            while at < end and data[at] >= 0x80:
                at += 1
            at += 1
        if at < end and first & _CONSTRUCTED and data[at] == _INDEFINITE:
            at += 1
            depth += 1
            if depth > _DEEPEST:
                raise RemoteError(f"BER: more than {_DEEPEST} values deep", data=data, offset=at)
            continue
        start, stop, at = _content(data, at, end, first)
        if first == 0 and start == stop:
            depth -= 1
            if not depth:
                return start - 2
    raise RemoteError("BER: no end of contents", data=data, offset=end)


class Type(ABC):
    """One type of a module.  `identifier` stands before its values."""

    identifier: bytes = b""

    @abstractmethod
    def content(self, data: bytes, start: int, stop: int) -> Any:
        """The value whose content is data[start:stop].  RemoteError: it is none."""

    @abstractmethod
    def octets(self, value: Any) -> bytes:
        """The content of a value.  LocalError: the type does not allow it."""

    def fits(self, data: bytes, at: int) -> bool:
        return data.startswith(self.identifier, at)

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        """The value at `at`, and where the next one begins."""
        if not self.fits(data, at):
            raise RemoteError(
                f"BER: {self!r} wanted, {data[at : at + 2].hex() or 'nothing'} found",
                data=data,
                offset=at,
            )
        start, stop, at = _content(data, at + len(self.identifier), end, self.identifier[0])
        return self.content(data, start, stop), at

    def parse(self, octets: bytes) -> Any:
        """The value that these octets are, all of them.  RemoteError: they are none."""
        value, end = self.read(octets, 0, len(octets))
        if end != len(octets):
            raise RemoteError(
                f"BER: {len(octets) - end} octets behind {self!r}", data=octets, offset=end
            )
        return value

    def build(self, value: Any) -> bytes:
        octets = self.octets(value)
        return self.identifier + length_octets(len(octets)) + octets

    def tagged(self, number: int) -> Type:
        """The same with tag [number]."""
        constructed = bool(self.identifier[0] & _CONSTRUCTED)
        other = copy.copy(self)
        other.identifier = identifier(number, constructed=constructed)
        return other

    def __repr__(self) -> str:
        return f"{type(self).__name__} ({self.identifier.hex()})"


class Null(Type):
    identifier = b"\x05"

    def content(self, data: bytes, start: int, stop: int) -> None:
        if stop != start:
            raise RemoteError("BER: NULL with content", data=data, offset=start)

    def octets(self, value: None) -> bytes:
        return b""


class Integer(Type):
    """low..high, or one of an IntEnum."""

    identifier = b"\x02"

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def content(self, data: bytes, start: int, stop: int) -> Any:
        if not 1 <= stop - start <= _MOST_INTEGER_OCTETS:
            raise RemoteError(f"BER: INTEGER of {stop - start} octets", data=data, offset=start)
        value = int.from_bytes(data[start:stop], signed=True)
        if not self._low <= value <= self._high:
            raise RemoteError(
                f"BER: INTEGER {value}, {self._low}..{self._high} allowed", data=data, offset=start
            )
        return value

    def octets(self, value: int) -> bytes:
        if not self._low <= value <= self._high:
            raise LocalError(f"INTEGER {value}, {self._low}..{self._high} allowed")
        # One bit more than its value has: the sign.
        return int(value).to_bytes((value + (value < 0)).bit_length() // 8 + 1, signed=True)


class Enumerated(Integer):
    """An INTEGER with names for all of its values."""

    def __init__(self, of: type[IntEnum]) -> None:
        super().__init__(min(of), max(of))
        self._of = of

    def content(self, data: bytes, start: int, stop: int) -> Any:
        value = super().content(data, start, stop)
        try:
            return self._of(value)
        except ValueError as error:
            raise RemoteError(
                f"BER: {value} is no {self._of.__name__}", data=data, offset=start
            ) from error


class OctetString(Type):
    """Of low..high octets."""

    identifier = b"\x04"

    def __init__(self, low: int, high: int) -> None:
        self._low, self._high = low, high

    def _in_pieces(self, data: bytes, at: int) -> bool:
        own = self.identifier
        return data.startswith(bytes([own[0] | _CONSTRUCTED]) + own[1:], at)

    def fits(self, data: bytes, at: int) -> bool:
        return data.startswith(self.identifier, at) or self._in_pieces(data, at)

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        if data.startswith(self.identifier, at) or not self._in_pieces(data, at):
            return super().read(data, at, end)
        at += len(self.identifier)
        start, stop, at = _content(data, at, end, _CONSTRUCTED)
        octets = _joined(data, start, stop, self._high, 1)
        return self.content(octets, 0, len(octets)), at

    def content(self, data: bytes, start: int, stop: int) -> Any:
        if not self._low <= stop - start <= self._high:
            raise RemoteError(
                f"BER: a string of {stop - start} octets, {self._low}..{self._high} allowed",
                data=data,
                offset=start,
            )
        return data[start:stop]

    def octets(self, value: Any) -> bytes:
        if not self._low <= len(value) <= self._high:
            raise LocalError(f"a string of {len(value)}, {self._low}..{self._high} octets allowed")
        return value


def _joined(data: bytes, at: int, end: int, most: int, depth: int) -> bytes:
    """The pieces of a string (X.690 §8.7.3), each one of octets whatever the string is of."""
    if depth > _DEEPEST:
        raise RemoteError(f"BER: pieces {_DEEPEST} deep", data=data, offset=at)
    joined = bytearray()
    while at < end:
        first = data[at]
        if first & ~_CONSTRUCTED != OctetString.identifier[0]:
            raise RemoteError("BER: a piece of no OCTET STRING", data=data, offset=at)
        start, stop, at = _content(data, at + 1, end, first)
        in_pieces = first & _CONSTRUCTED
        joined += _joined(data, start, stop, most, depth + 1) if in_pieces else data[start:stop]
        if len(joined) > most:
            raise RemoteError(f"BER: a string of more than {most} octets", data=data, offset=at)
    return bytes(joined)


class VisibleString(OctetString):
    """Printable ASCII, as str."""

    identifier = b"\x1a"

    def content(self, data: bytes, start: int, stop: int) -> str:
        octets: bytes = super().content(data, start, stop)
        if any(not 0x20 <= octet <= 0x7E for octet in octets):
            raise RemoteError("BER: VisibleString with other octets", data=data, offset=start)
        return octets.decode("ascii")

    def octets(self, value: str) -> bytes:
        if not all(" " <= letter <= "~" for letter in value):
            raise LocalError(f"{value!r}: printable ASCII wanted")
        return super().octets(value.encode("ascii"))


class ObjectIdentifier(Type):
    """As a tuple of its numbers."""

    identifier = b"\x06"

    def content(self, data: bytes, start: int, stop: int) -> tuple[int, ...]:
        # First: numbers of any length take quadratic time.
        if not 0 < stop - start <= _MOST_OBJECT_OCTETS or data[stop - 1] >= 0x80:
            raise RemoteError("BER: no OBJECT IDENTIFIER", data=data, offset=start)
        numbers: list[int] = []
        number = 0
        for octet in data[start:stop]:
            number = number << 7 | octet & 0x7F
            if octet < 0x80:
                numbers.append(number)
                number = 0
        first = min(numbers[0] // 40, 2)
        return (first, numbers[0] - 40 * first, *numbers[1:])

    def octets(self, value: tuple[int, ...]) -> bytes:
        return b"".join(map(_base_128, (40 * value[0] + value[1], *value[2:])))


def _base_128(number: int) -> bytes:
    digits = [number & 0x7F]
    while number := number >> 7:
        digits.append(0x80 | number & 0x7F)
    return bytes(reversed(digits))


class Sequence(Type):
    """SEQUENCE: a dataclass, its fields in the order of its types."""

    identifier = b"\x30"

    def __init__(self, of: type[Any], *types: Type) -> None:
        self.of = of
        self._types = types
        self._names = [field.name for field in fields(of)][: len(types)]

    def content(self, data: bytes, start: int, stop: int) -> Any:
        values: list[Any] = []
        for of in self._types:
            value, start = of.read(data, start, stop)
            values.append(value)
        if start != stop:
            raise RemoteError(
                f"BER: {stop - start} octets too many in {self!r}", data=data, offset=start
            )
        return self.of(*values)

    def octets(self, value: Any) -> bytes:
        return b"".join(
            of.build(getattr(value, name))
            for of, name in zip(self._types, self._names, strict=True)
        )

    def __repr__(self) -> str:
        return self.of.__name__


class SequenceOf(Type):
    """SEQUENCE OF, at most so many: a tuple."""

    identifier = b"\x30"

    def __init__(self, of: Type, most: int) -> None:
        self._of, self._most = of, most

    def content(self, data: bytes, start: int, stop: int) -> tuple[Any, ...]:
        values: list[Any] = []
        while start < stop:
            if len(values) == self._most:
                raise RemoteError(f"BER: more than {self._most} elements", data=data, offset=start)
            value, start = self._of.read(data, start, stop)
            values.append(value)
        return tuple(values)

    def octets(self, value: tuple[Any, ...]) -> bytes:
        if len(value) > self._most:
            raise LocalError(f"{len(value)} elements, {self._most} allowed")
        return b"".join(map(self._of.build, value))


class SetOf(SequenceOf):
    """SET OF: a tuple, in any order."""

    identifier = b"\x31"


class Untagged(Type):
    """A CHOICE: it has no identifier of its own, its alternatives have."""

    def content(self, data: bytes, start: int, stop: int) -> Any:
        raise NotImplementedError

    def octets(self, value: Any) -> bytes:
        raise NotImplementedError

    def tagged(self, number: int) -> Type:
        return _Explicit(self, number)


class _Explicit(Type):
    """Another tag around a value with its own."""

    def __init__(self, of: Type, number: int) -> None:
        self._of = of
        self.identifier = identifier(number, constructed=True)

    def content(self, data: bytes, start: int, stop: int) -> Any:
        value, end = self._of.read(data, start, stop)
        if end != stop:
            raise RemoteError("BER: more than one value in a tag", data=data, offset=end)
        return value

    def octets(self, value: Any) -> bytes:
        return self._of.build(value)


class Chosen(NamedTuple):
    """A value of a `Choice`."""

    name: str
    value: Any = None


class Choice(Untagged):
    """CHOICE of named alternatives: `Chosen`."""

    def __init__(self, **alternatives: tuple[int, Type]) -> None:
        self._types = {name: of.tagged(number) for name, (number, of) in alternatives.items()}

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        for name, of in self._types.items():
            if of.fits(data, at):
                value, at = of.read(data, at, end)
                return Chosen(name, value), at
        raise _none_of(", ".join(self._types), data, at)

    def build(self, value: Chosen) -> bytes:
        return self._types[value.name].build(value.value)


class OrNull(Untagged):
    """CHOICE of a NULL and something: None or its value."""

    def __init__(self, null: int, number: int, of: Type) -> None:
        self._null = Null().tagged(null)
        self._type = of.tagged(number)

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        return (self._null if self._null.fits(data, at) else self._type).read(data, at, end)

    def build(self, value: Any) -> bytes:
        return self._null.build(None) if value is None else self._type.build(value)


class OneOf(Untagged):
    """CHOICE whose alternatives are sequences: an object of one of their classes."""

    def __init__(self, alternatives: Mapping[int, Sequence | Type]) -> None:
        self._types = {number: of.tagged(number) for number, of in alternatives.items()}
        self._by_class: dict[type[object], Sequence] = {
            of.of: of for of in self._types.values() if isinstance(of, Sequence)
        }

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        for of in self._types.values():
            if of.fits(data, at):
                return of.read(data, at, end)
        raise _none_of("one of " + ", ".join(map(repr, self._types.values())), data, at)

    def build(self, value: object) -> bytes:
        kind = type(value)
        of = self._by_class.get(kind)
        if of is None:
            raise LocalError(f"{kind.__name__} is none of {list(self._by_class)}")
        return of.build(value)


def _none_of(what: str, data: bytes, at: int) -> RemoteError:
    found = data[at : at + 3].hex() or "nothing"
    return RemoteError(f"BER: {what} wanted, {found} found", data=data, offset=at)


__all__ = [
    "Choice",
    "Chosen",
    "Enumerated",
    "Integer",
    "Null",
    "ObjectIdentifier",
    "OctetString",
    "OneOf",
    "OrNull",
    "Sequence",
    "SequenceOf",
    "SetOf",
    "Type",
    "Untagged",
    "VisibleString",
    "identifier",
    "length_octets",
]
