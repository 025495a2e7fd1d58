"""Bundles, RFC 9171 §4: primary block, canonical blocks, their CRCs; parsed and built.

`PRIMARY_FIELDS` and `CANONICAL_FIELDS` are the layouts, read in both directions.  What was parsed
keeps its octets, so that blocks which nobody changes go on as they came; `dataclasses.replace`
makes a block without them, which is encoded anew.

Only what no reader could make sense of is refused here.  What the RFC forbids beyond that (a
primary block without CRC, two age blocks …) is for `bundle_processing.violations`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

from protocols.coding.crc import crc16_x25, crc32c_whole
from protocols.dtn import cbor
from protocols.dtn.cbor import (
    BREAK,
    EXTENT,
    INDEFINITE_ARRAY,
    UINT,
    Cbor,
    Checksum,
    array,
    items,
    malformed,
    record,
)
from protocols.dtn.eid import EID, Eid
from protocols.errors import LocalError

T = TypeVar("T")

VERSION: Final = 7
PAYLOAD_NUMBER: Final = 1
#: Blocks of one bundle.  Each costs a look at all others in places; bundles have fewer than ten.
MOST_BLOCKS: Final = 256


class BundleFlags:
    """Bundle processing control flags, §4.2.3: bits of an integer (an IntFlag is slow)."""

    IS_FRAGMENT: Final = 0x000001
    ADMINISTRATIVE_RECORD: Final = 0x000002
    MUST_NOT_FRAGMENT: Final = 0x000004
    ACKNOWLEDGEMENT_REQUESTED: Final = 0x000020
    STATUS_TIME_REQUESTED: Final = 0x000040
    REPORT_RECEPTION: Final = 0x004000
    REPORT_FORWARDING: Final = 0x010000
    REPORT_DELIVERY: Final = 0x020000
    REPORT_DELETION: Final = 0x040000
    REPORTS: Final = 0x074000


class BlockFlags:
    """Block processing control flags, §4.2.4: bits of an integer."""

    REPLICATE: Final = 0x01
    REPORT_IF_UNPROCESSABLE: Final = 0x02
    DELETE_BUNDLE_IF_UNPROCESSABLE: Final = 0x04
    DISCARD_IF_UNPROCESSABLE: Final = 0x10
    ASSIGNED: Final = 0x17


class BlockType(IntEnum):
    """§9.1, and RFC 9172 §11.1."""

    PAYLOAD = 1
    PREVIOUS_NODE = 6
    BUNDLE_AGE = 7
    HOP_COUNT = 10
    INTEGRITY = 11
    CONFIDENTIALITY = 12


class CrcType:
    """§4.2.1: integers (a member of an IntEnum costs a sixth of what encoding its block takes)."""

    NONE: Final = 0
    X25: Final = 1
    CRC32C: Final = 2


class CreationTimestamp(NamedTuple):
    """§4.2.7.  time_ms: DTN time, milliseconds since 2000-01-01 UTC without leap seconds; 0 if the
    source has no clock."""

    time_ms: int
    sequence: int


TIMESTAMP: Final = array("creation timestamp", UINT, UINT, made=CreationTimestamp._make)

#: Primary block after the version, §4.3.1.
PRIMARY_FIELDS: Final[dict[str, Cbor[Any]]] = {
    "flags": UINT,
    "crc_type": UINT,
    "destination": EID,
    "source": EID,
    "report_to": EID,
    "creation": TIMESTAMP,
    "lifetime_ms": UINT,
}
#: What follows in the primary block of a fragment.
FRAGMENT_FIELDS: Final[dict[str, Cbor[Any]]] = {"fragment_offset": UINT, "total_length": UINT}
#: Canonical block, §4.3.2, its block-type-specific data read as where they stand.
CANONICAL_FIELDS: Final[dict[str, Cbor[Any]]] = {
    "type": UINT,
    "number": UINT,
    "flags": UINT,
    "crc_type": UINT,
    "data": EXTENT,
}

#: Begins most bundles: a primary block with CRC that is no fragment's.
_HEAD_9: Final = bytes((0x89, VERSION))
_PRIMARY = record("primary block", PRIMARY_FIELDS)
_FRAGMENT = items("fragment fields", *FRAGMENT_FIELDS.values())
_CANONICAL = record("canonical block", CANONICAL_FIELDS)

#: By CRC type, 0 aside.
_CRCS: Final = {
    CrcType.X25: Checksum(crc16_x25, b"\x42\0\0", struct.Struct(">BH").pack),
    CrcType.CRC32C: Checksum(crc32c_whole, b"\x44\0\0\0\0", struct.Struct(">BI").pack),
}


def _encoder(
    name: str, layout: dict[str, Cbor[Any]], version: bytes, crc_type: int
) -> Callable[[Any], bytes]:
    """From a block's attributes to its octets."""
    count = len(layout) + len(version) + (1 if crc_type else 0)
    return record(name, layout, bytes((0x80 | count,)) + version, _CRCS.get(crc_type)).write


def _encoders(
    name: str, layout: dict[str, Cbor[Any]], version: bytes = b""
) -> dict[int, Callable[[Any], bytes]]:
    return {crc: _encoder(name, layout, version, crc) for crc in (0, *_CRCS)}


#: CRC type → encoder.
_encode_primary = _encoders("primary block", PRIMARY_FIELDS, bytes((VERSION,)))
_encode_fragment = _encoders("primary block", PRIMARY_FIELDS | FRAGMENT_FIELDS, bytes((VERSION,)))
_encode_canonical = _encoders("canonical block", CANONICAL_FIELDS)

# Enumerations and flags as plain integers where every bundle passes: an enumeration's attribute
# costs as much as reading a field.
_PAYLOAD: Final = int(BlockType.PAYLOAD)
_IS_FRAGMENT: Final = BundleFlags.IS_FRAGMENT


def _no_crc_type(crc_type: int) -> LocalError:
    return LocalError(f"CRC type {crc_type}, 0, 1 or 2 wanted")


def _read_end(
    data: bytes, start: int, at: int, left: int | None, crc_type: int, check_crc: bool
) -> int:
    """Position after a block whose fields end at `at`: CRC, and break if it is indefinite.

    left: items that the array's head still promises, None where it does not say.
    """
    if left == 1 and check_crc and (checksum := _CRCS.get(crc_type)):
        # What most blocks end with, in one comparison; what is wrong is found out below.
        zeros = checksum.zeros
        end = at + len(zeros)
        if checksum.pack(zeros[0], checksum.function(data[start:at] + zeros)) == data[at:end]:
            return end
    if left is not None and left != (1 if crc_type else 0):
        raise malformed(f"block with {left} items after its fields, CRC type {crc_type}", data, at)
    tail = b"\xff" if left is None else b""
    if not crc_type:
        end = at
    elif crc_type not in _CRCS:
        raise malformed(f"CRC type {crc_type}, 0, 1 or 2 wanted", data, start)
    else:
        checksum = _CRCS[crc_type]
        zeros = checksum.zeros
        end = at + len(zeros)
        if end > len(data) or data[at] != zeros[0]:
            raise malformed(f"CRC of {len(zeros) - 1} octets wanted", data, at)
        if check_crc:
            crc = checksum.function(data[start:at] + (zeros + tail if tail else zeros))
            given = int.from_bytes(data[at + 1 : end], "big")
            if crc != given:
                raise malformed(f"CRC {given:#x}, {crc:#x} computed, of the block", data, start)
    if left is not None:
        return end
    if data[end : end + 1] != tail:
        raise malformed("end of an indefinite-length block wanted", data, end)
    return end + 1


@dataclass(frozen=True, slots=True)
class Primary:
    """Primary block, §4.3.1.

    lifetime_ms: after the creation time.  fragment_offset and total_length (octets of the whole
    application data unit): of fragments only.
    """

    flags: int
    crc_type: int
    destination: Eid
    source: Eid
    report_to: Eid
    creation: CreationTimestamp
    lifetime_ms: int
    fragment_offset: int | None = None
    total_length: int | None = None
    octets: bytes = field(init=False, default=b"", compare=False, repr=False)

    @property
    def is_fragment(self) -> bool:
        """The bundle is a fragment."""
        return bool(self.flags & BundleFlags.IS_FRAGMENT)

    @property
    def is_administrative(self) -> bool:
        """The payload is an administrative record."""
        return bool(self.flags & BundleFlags.ADMINISTRATIVE_RECORD)

    def encode(self) -> bytes:
        """Deterministic encoding, which is also the canonical form (RFC 9172 §4).

        Raises LocalError for a value outside its field.
        """
        encoders = _encode_primary
        if self.flags & _IS_FRAGMENT:
            if self.fragment_offset is None or self.total_length is None:
                raise LocalError("fragment without fragment_offset and total_length")
            encoders = _encode_fragment
        elif self.fragment_offset is not None or self.total_length is not None:
            raise LocalError("fragment_offset or total_length without the fragment flag")
        if self.crc_type not in encoders:
            raise _no_crc_type(self.crc_type)
        return encoders[self.crc_type](self)


@dataclass(frozen=True, slots=True)
class Block:
    """Canonical block, §4.3.2.

    data: block-type-specific; of a parsed payload a view into what was parsed.
    """

    type: int
    number: int
    flags: int
    crc_type: int
    data: bytes | memoryview
    octets: bytes | memoryview = field(init=False, default=b"", compare=False, repr=False)

    def encode(self) -> bytes:
        """Deterministic encoding.  Raises LocalError for a value outside its field."""
        if self.crc_type not in _encode_canonical:
            raise _no_crc_type(self.crc_type)
        return _encode_canonical[self.crc_type](self)


def payload_block(data: bytes | memoryview, *, flags: int = 0, crc_type: int = 2) -> Block:
    """Payload block; its number is always 1 (§4.1)."""
    return Block(_PAYLOAD, PAYLOAD_NUMBER, flags, crc_type, data)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: primary block, and canonical blocks with the payload last."""

    primary: Primary
    blocks: tuple[Block, ...]

    @property
    def payload(self) -> bytes | memoryview:
        """Application data unit, or the extent of it that a fragment has."""
        return self.blocks[-1].data

    @property
    def id(self) -> tuple[Eid, CreationTimestamp, int | None, int | None]:
        """What identifies a bundle, §4.3.1: source, creation timestamp, and of a fragment its
        offset and payload length."""
        primary = self.primary
        if primary.fragment_offset is None:
            return primary.source, primary.creation, None, None
        return primary.source, primary.creation, primary.fragment_offset, len(self.payload)

    def block(self, number: int) -> Block | None:
        """Canonical block of that number."""
        for block in self.blocks:
            if block.number == number:
                return block
        return None

    def of_type(self, block_type: int) -> Iterator[Block]:
        """Blocks of a type, in their order."""
        return (block for block in self.blocks if block.type == block_type)

    def free_number(self) -> int:
        """Lowest block number that none has."""
        taken = {block.number for block in self.blocks}
        return next(number for number in range(2, len(taken) + 3) if number not in taken)

    def with_blocks(self, blocks: Iterable[Block]) -> Bundle:
        """The same primary block before other blocks."""
        return Bundle(self.primary, tuple(blocks))

    def replacing(self, *changed: Block) -> Bundle:
        """Blocks of the same numbers replaced."""
        by_number = {block.number: block for block in changed}
        return self.with_blocks(by_number.get(block.number, block) for block in self.blocks)

    def without(self, *numbers: int) -> Bundle:
        """Blocks of these numbers removed."""
        return self.with_blocks(block for block in self.blocks if block.number not in numbers)

    def segments(self) -> list[bytes | memoryview]:
        """Octets of the bundle in pieces, for `writev`: unchanged blocks are not copied."""
        return [
            b"\x9f",
            self.primary.octets or self.primary.encode(),
            *[block.octets or block.encode() for block in self.blocks],
            b"\xff",
        ]

    def build(self) -> bytes:
        """Octets of the bundle; unchanged blocks as they came.

        Raises LocalError for a value outside its field, and unless the payload stands last.

        >>> from protocols.dtn.eid import eid
        >>> primary = Primary(0, CrcType.X25, eid("ipn:2.1"), eid("ipn:1.1"), eid("dtn:none"),
        ...                   CreationTimestamp(0, 7), 60_000)
        >>> Bundle(primary, (payload_block(b"L4"),)).build().hex(" ")
        '9f 89 07 00 01 82 02 82 02 01 82 02 82 01 01 82 01 00 82 00 07 19 ea 60 42 66 51
         86 01 01 00 02 42 4c 34 44 74 85 ec 6c ff'
        """
        blocks = self.blocks
        block = blocks[-1] if blocks else None
        if block and len(blocks) == 1 and block.type == _PAYLOAD and block.number == PAYLOAD_NUMBER:
            primary = self.primary.octets or self.primary.encode()
            return b"".join((b"\x9f", primary, block.octets or block.encode(), b"\xff"))
        _check_blocks(blocks)
        return b"".join(self.segments())


def _check_blocks(blocks: tuple[Block, ...]) -> None:
    numbers = [block.number for block in blocks]
    if not blocks or blocks[-1].type != _PAYLOAD or numbers[-1] != PAYLOAD_NUMBER:
        raise LocalError("the last block of a bundle is its payload block, number 1 (§4.1)")
    if len(blocks) > MOST_BLOCKS or len({0, *numbers}) <= len(numbers):
        raise LocalError(
            f"block numbers {numbers}: each once, none 0, at most {MOST_BLOCKS} (§4.1)"
        )
    if any(block.type == _PAYLOAD for block in blocks[:-1]):
        raise LocalError("two payload blocks (§4.1)")


def _received(kind: type[T]) -> Callable[..., T]:
    """Constructor of a frozen dataclass for received values, its last field first.

    The generated one of a frozen class pays a call for every field, a quarter of what decoding a
    bundle takes; this one fills a twin of the same slots that is not frozen, and renames it.
    """
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    twin = type(kind.__name__, (), {"__slots__": tuple(names)})
    scope: dict[str, Any] = {"twin": twin, "kind": kind}
    stores = "".join(f" o.{name} = {name}\n" for name in names)
    defaults = [f"{n}=None" if n in FRAGMENT_FIELDS else n for n in [names[-1], *names[:-1]]]
    exec(
        f"def make({', '.join(defaults)}):\n o = twin()\n{stores} o.__class__ = kind\n return o",
        scope,
    )
    return scope["make"]


_received_primary = _received(Primary)
_received_block = _received(Block)
_received_bundle = _received(Bundle)


def _array_head(data: bytes, at: int) -> tuple[int | None, int]:
    """Items of a block's array, None if it is of indefinite length."""
    first = data[at] if at < len(data) else 0
    if 0x80 <= first < 0x98:
        return first & 31, at + 1
    return (None, at + 1) if first == INDEFINITE_ARRAY else cbor.read_count(data, at)


def _read_primary(data: bytes, start: int, check_crc: bool) -> tuple[Primary, int]:
    if data[start : start + 2] == _HEAD_9:
        count, at = 9, start + 2
    else:
        count, at = _array_head(data, start)
        version, at = cbor.read_unsigned(data, at)
        if version != VERSION:
            raise malformed(f"bundle protocol version {version}, 7 wanted", data, start)
    values, at = _PRIMARY.read(data, at)
    flags, crc_type = values[0], values[1]
    size = 8
    if flags & _IS_FRAGMENT:
        fragment, at = _FRAGMENT.read(data, at)
        values += fragment
        size = 10
    end = _read_end(data, start, at, None if count is None else count - size, crc_type, check_crc)
    return _received_primary(data[start:end], *values), end


def _read_block(data: bytes, view: memoryview, start: int, check_crc: bool) -> tuple[Block, int]:
    first = data[start]
    if 0x80 <= first < 0x98:
        left, at = (first & 31) - 5, start + 1
    else:
        count, at = _array_head(data, start)
        left = None if count is None else count - 5
    extent: slice[int, int, None]
    (block_type, number, flags, crc_type, extent), at = _CANONICAL.read(data, at)
    end = _read_end(data, start, at, left, crc_type, check_crc)
    content = view[extent] if block_type == _PAYLOAD else data[extent]
    return _received_block(view[start:end], block_type, number, flags, crc_type, content), end


def parse_bundle(octets: bytes | memoryview, *, check_crc: bool = True) -> Bundle:
    """The one bundle that the octets are; the payload is not copied.

    check_crc: computed and compared for every block that has one (§5.6).
    Raises RemoteError: octets missing or left over, encodings that are not deterministic (§4.1;
    definite-length bundles among them), wrong CRCs, blocks out of place or numbered twice.
    """
    bundle, end = read_bundle(octets, check_crc=check_crc)
    if end != len(octets):
        raise malformed(f"{len(octets) - end} octets after the bundle", bytes(octets), end)
    return bundle


def read_bundle(
    octets: bytes | memoryview, at: int = 0, *, check_crc: bool = True
) -> tuple[Bundle, int]:
    """The bundle at a position (several stand in one LTP block, RFC 9171 leaves it open), and the
    position after it.  Raises RemoteError as `parse_bundle`."""
    data = octets if isinstance(octets, bytes) else bytes(octets)
    if data[at : at + 1] != b"\x9f":
        raise malformed("bundle does not begin as an array of indefinite length", data, at)
    view = memoryview(data)
    primary, at = _read_primary(data, at + 1, check_crc)
    blocks: list[Block] = []
    numbers = {0}
    size = len(data)
    number = 0
    while at < size and data[at] != BREAK:
        if number == PAYLOAD_NUMBER:
            raise malformed("block after the payload block", data, at)
        if len(blocks) == MOST_BLOCKS:
            raise malformed(f"more than {MOST_BLOCKS} blocks", data, at)
        block, after = _read_block(data, view, at, check_crc)
        number = block.number
        if number in numbers or (number == PAYLOAD_NUMBER) != (block.type == _PAYLOAD):
            raise malformed(f"block of type {block.type} with number {number}", data, at)
        numbers.add(number)
        blocks.append(block)
        at = after
    if at >= size:
        raise malformed("bundle is cut short", data, at)
    if number != PAYLOAD_NUMBER:
        raise malformed("bundle without payload block", data, at)
    return _received_bundle(tuple(blocks), primary), at + 1
