"""pcapng blocks (draft-ietf-opsawg-pcapng §3, §4): declared once, walked fast.

The headers are construct declarations; the walker's `struct` formats are derived from them, so a
block costs a microsecond to read instead of the twenty that a construct parse takes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from construct import Const, FormatField, Renamed, Struct

from protocols.errors import RemoteError

# Named here, with their type: construct's own `Int16ul` and so on are functions to a type checker.
U16 = FormatField("<", "H")
U32 = FormatField("<", "L")
U64 = FormatField("<", "Q")
S64 = FormatField("<", "q")

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 0x00000001
PACKET = 0x00000002
SIMPLE_PACKET = 0x00000003
ENHANCED_PACKET = 0x00000006

BYTE_ORDER_MAGIC = 0x1A2B3C4D
LINKTYPE_USER0 = 147

OPTION_END = 0
OPTION_COMMENT = 1
OPTION_SHB_USERAPPL = 4
OPTION_IF_NAME = 2
OPTION_IF_TSRESOL = 9
OPTION_IF_TSOFFSET = 14
OPTION_EPB_PACKETID = 5

#: Larger blocks are taken for damage: Wireshark itself refuses packets above 256 KiB on ordinary
#: link types, and a length field read from noise must not make us believe in gigabytes.
MAX_BLOCK_OCTETS = 16 << 20

# §3.1: every block is type, total length, body, total length again.
BLOCK_HEADER = Struct("type" / U32, "total_length" / U32)

# §4.1; section length -1: not specified, as befits a file that grows.
SECTION_HEADER_BODY = Struct(
    "magic" / Const(BYTE_ORDER_MAGIC, U32),
    "major" / Const(1, U16),
    "minor" / U16,
    "section_length" / S64,
)

# §4.2
INTERFACE_DESCRIPTION_BODY = Struct("link_type" / U16, "reserved" / U16, "snap_length" / U32)

# §4.3: the timestamp is one 64-bit number, its upper half first whatever the byte order.
ENHANCED_PACKET_BODY = Struct(
    "interface" / U32,
    "timestamp_high" / U32,
    "timestamp_low" / U32,
    "captured_length" / U32,
    "original_length" / U32,
)

# §4.4
SIMPLE_PACKET_BODY = Struct("original_length" / U32)

# Appendix A: obsolete, still written by old programs.
PACKET_BODY = Struct(
    "interface" / U16,
    "drops" / U16,
    "timestamp_high" / U32,
    "timestamp_low" / U32,
    "captured_length" / U32,
    "original_length" / U32,
)

# §3.5
OPTION_HEADER = Struct("code" / U16, "length" / U16)


def layout_of(declaration: Struct, order: str = "<") -> struct.Struct:
    """The `struct` layout of a declaration made of fixed numbers only."""
    codes: list[str] = []
    for member in declaration.subcons:
        inner: Any = member
        while isinstance(inner, (Renamed, Const)):
            inner = inner.subcon
        codes.append(inner.fmtstr[-1])
    return struct.Struct(order + "".join(codes))


def padded(octets: bytes) -> bytes:
    return octets + bytes(-len(octets) % 4)


@dataclass(slots=True)
class Layouts:
    """Layouts of the section's byte order."""

    order: str
    header: struct.Struct
    interface: struct.Struct
    enhanced: struct.Struct
    simple: struct.Struct
    packet: struct.Struct
    option: struct.Struct

    @classmethod
    def of(cls, order: str) -> Layouts:
        return cls(
            order,
            *(
                layout_of(declaration, order)
                for declaration in (
                    BLOCK_HEADER,
                    INTERFACE_DESCRIPTION_BODY,
                    ENHANCED_PACKET_BODY,
                    SIMPLE_PACKET_BODY,
                    PACKET_BODY,
                    OPTION_HEADER,
                )
            ),
        )


LITTLE = Layouts.of("<")
BIG = Layouts.of(">")


def build_option(code: int, value: bytes) -> bytes:
    return LITTLE.option.pack(code, len(value)) + padded(value)


def build_block(block_type: int, body: bytes) -> bytes:
    """Block with body, which is a multiple of 4 octets."""
    header = LITTLE.header.pack(block_type, len(body) + 12)
    return header + body + header[4:]


#: What ends every list of options that we write (§3.5).
END_OF_OPTIONS = build_option(OPTION_END, b"")


def options(view: memoryview, layouts: Layouts) -> Iterator[tuple[int, bytes]]:
    """Options of a block; a broken list ends where it breaks (§3.5 allows to ignore the rest)."""
    at = 0
    while at + 4 <= len(view):
        code, length = layouts.option.unpack_from(view, at)
        if code == OPTION_END or at + 4 + length > len(view):
            return
        yield code, bytes(view[at + 4 : at + 4 + length])
        at += 4 + length + (-length % 4)


class Incomplete(RemoteError):
    """The octets end inside a block: more may come, or the tail is torn."""


def walk(
    view: memoryview, start: int = 0, layouts: Layouts = LITTLE
) -> Iterator[tuple[int, int, memoryview, Layouts]]:
    """Whole blocks from `start`: (offset, type, body, layouts of the section).

    layouts: of the section that `start` lies in, unless a section header stands there.
    Raises RemoteError at the first block that is not sound, Incomplete at one that is not whole;
    its `offset` says where, so that a reader can stop, cut, or look for the next block.
    """
    at = start
    end = len(view)
    while at < end:
        if end - at < 12:
            raise Incomplete(f"block at {at}: {end - at} octets are no block", offset=at)
        block_type, total = layouts.header.unpack_from(view, at)
        if block_type == SECTION_HEADER:
            magic = int.from_bytes(view[at + 8 : at + 12], "little")
            if magic == BYTE_ORDER_MAGIC:
                layouts = LITTLE
            elif magic == int.from_bytes(BYTE_ORDER_MAGIC.to_bytes(4, "big"), "little"):
                layouts = BIG
            else:
                raise RemoteError(f"section at {at}: byte-order magic {magic:#010x}", offset=at)
            _type, total = layouts.header.unpack_from(view, at)
        if total < 12 or total % 4 or total > MAX_BLOCK_OCTETS:
            raise RemoteError(f"block at {at}: total length {total}", offset=at)
        if at + total > end:
            raise Incomplete(
                f"block at {at}: {total} octets announced, {end - at} there", offset=at
            )
        if view[at + 4 : at + 8] != view[at + total - 4 : at + total]:
            raise RemoteError(f"block at {at}: the two total lengths differ", offset=at)
        yield at, block_type, view[at + 8 : at + total - 4], layouts
        at += total


def resynchronise(view: memoryview, start: int, layouts: Layouts = LITTLE) -> int:
    """Offset of the next sound block after damage at `start`, or the end of the view.

    Blocks begin on 4-octet boundaries; both copies of the length must agree.
    """
    for match in _BLOCK_TYPES[layouts.order].finditer(view, start + (-start % 4)):
        at = match.start()
        if at % 4 or at + 12 > len(view):
            continue
        _block_type, total = layouts.header.unpack_from(view, at)
        if (
            12 <= total <= MAX_BLOCK_OCTETS
            and total % 4 == 0
            and at + total <= len(view)
            and view[at + 4 : at + 8] == view[at + total - 4 : at + total]
        ):
            return at
    return len(view)


_BLOCK_TYPES = {
    layouts.order: re.compile(
        b"|".join(
            re.escape(struct.pack(layouts.order + "I", block_type))
            for block_type in (SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET)
        )
    )
    for layouts in (LITTLE, BIG)
}
