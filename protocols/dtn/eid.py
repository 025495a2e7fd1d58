"""Endpoint identifiers: `dtn` and `ipn` (RFC 9171 §4.2.5), `ipn` with allocators (RFC 9758)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from protocols.dtn import cbor
from protocols.dtn.cbor import Cbor, malformed
from protocols.errors import LocalError, RemoteError

#: RFC 9171 §9.6.
SCHEME_DTN: Final = 1
SCHEME_IPN: Final = 2
#: RFC 9758 §3.4.2: "this node", whichever it is; such a bundle never leaves its node (§5.4).
LOCAL_NODE: Final = 2**32 - 1
#: Longest encoding; names in use have some tens of octets.
LONGEST: Final = 1024
#: Encodings remembered, so that an endpoint seen before costs one look-up: at most 8 MiB of names.
_REMEMBERED: Final = 8192

#: RFC 9171 §4.2.5.1.1: "//" node-name "/" demux, visible ASCII.
_DTN: Final = re.compile(r"//[!-.0-~]+/[!-~]*")
_IPN: Final = re.compile(r"(?:(0|[1-9][0-9]*)\.)?(0|[1-9][0-9]*|!)\.(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Eid:
    """One endpoint identifier; `eid("ipn:2.1")` and `read_eid` make them.

    name: the text after the scheme (dtn, "none" for the null endpoint), (fully qualified node
    number, service number) (ipn), or the encoded scheme-specific part (any other scheme).  The
    fully qualified node number has the allocator in its upper 32 bits (RFC 9758 §3.3.1), so both
    spellings of an ipn identifier are equal; `octets` is the spelling that we got or would send.
    """

    scheme: int
    name: str | tuple[int, int] | bytes
    octets: bytes = field(compare=False, repr=False)

    def __str__(self) -> str:
        if isinstance(self.name, str):
            return f"dtn:{self.name}"
        if isinstance(self.name, bytes):
            return f"scheme {self.scheme}:{self.name.hex()}"
        allocator, node = divmod(self.name[0], 1 << 32)
        if self.is_local_node:
            return f"ipn:!.{self.name[1]}"
        return f"ipn:{f'{allocator}.' if allocator else ''}{node}.{self.name[1]}"

    @property
    def is_null(self) -> bool:
        """`dtn:none`, or `ipn:0.0` (RFC 9758 §5.2)."""
        return self.name == "none" or self.name == (0, 0)

    @property
    def is_local_node(self) -> bool:
        """RFC 9758 §3.4.2."""
        return self.scheme == SCHEME_IPN and self.node_number == LOCAL_NODE

    @property
    def is_plain_ipn(self) -> bool:
        """An `ipn` endpoint of a node that is neither null nor LocalNode."""
        name = self.name
        return isinstance(name, tuple) and 0 < name[0] < LOCAL_NODE

    @property
    def is_singleton(self) -> bool:
        """At most one node is its member: not a dtn demux that begins with a tilde."""
        return not (isinstance(self.name, str) and "/~" in self.name[2:])

    @property
    def node_number(self) -> int | None:
        """Fully qualified node number of an ipn identifier."""
        return self.name[0] if isinstance(self.name, tuple) else None

    @property
    def service_number(self) -> int | None:
        """Service number of an ipn identifier."""
        return self.name[1] if isinstance(self.name, tuple) else None

    @property
    def node(self) -> Eid:
        """Identifier of the node: service 0, or an empty demux; itself in other schemes."""
        if isinstance(self.name, tuple):
            return ipn(self.name[0], 0)
        if isinstance(self.name, str) and self.name != "none":
            return eid(f"dtn:{self.name[: self.name.index('/', 2) + 1]}")
        return self


def ipn(node_number: int, service_number: int) -> Eid:
    """`ipn` identifier of a fully qualified node number.  Raises LocalError above 2^64 − 1.

    Two elements with the default allocator, which RFC 9171 readers know, three with any other.
    """
    allocator, node = divmod(node_number, 1 << 32)
    numbers = (allocator, node, service_number) if allocator else (node, service_number)
    if allocator >> 32:
        raise LocalError(f"node number {node_number}, 0..2^64-1 wanted")
    octets = bytes((0x82, SCHEME_IPN)) + cbor.list_of("ipn", cbor.UINT).write(numbers)
    return Eid(SCHEME_IPN, (node_number, service_number), octets)


@lru_cache(_REMEMBERED)
def eid(text: str) -> Eid:
    """Identifier of its URI.  Raises LocalError for what is none.

    >>> eid("ipn:977000.12.1").octets.hex(" ")
    '82 02 83 1a 00 0e e8 68 0c 01'
    >>> str(eid("dtn://mars.l4/storm").node)
    'dtn://mars.l4/'
    """
    scheme, _, rest = text.partition(":")
    if scheme == "ipn" and (match := _IPN.fullmatch(rest)):
        allocator, node, service = match.groups(default="0")
        number = LOCAL_NODE if node == "!" else int(node)
        # Without an allocator the number may be a fully qualified one.
        in_range = number < 1 << (64 if match[1] is None else 32)
        if in_range and int(allocator) < 1 << 32 and int(service) < 1 << 64:
            return ipn((int(allocator) << 32) + number, int(service))
    if scheme == "dtn" and (rest == "none" or _DTN.fullmatch(rest)):
        name = b"\0" if rest == "none" else cbor.head(cbor.TEXT, len(rest)) + rest.encode("ascii")
        if len(name) <= LONGEST - 2:
            return Eid(SCHEME_DTN, rest, bytes((0x82, SCHEME_DTN)) + name)
    raise LocalError(
        f"endpoint {text!r}: ipn:NODE.SERVICE, ipn:ALLOCATOR.NODE.SERVICE, dtn://NODE/NAME or "
        f"dtn:none wanted, of at most {LONGEST} octets"
    )


@lru_cache(_REMEMBERED)
def _decoded(octets: bytes) -> Eid:
    """Identifier of its whole encoding."""
    count, at = cbor.read_count(octets, 0)
    if count != 2:
        raise malformed(f"endpoint identifier of {count} items, 2 wanted", octets, 0)
    scheme, at = cbor.read_unsigned(octets, at)
    if scheme == SCHEME_IPN:
        numbers, _ = cbor.list_of("ipn", cbor.UINT).read(octets, at)
        if len(numbers) == 2:
            return Eid(scheme, (numbers[0], numbers[1]), octets)
        # RFC 9758 §6.1.2, and §6.3 for the ranges.
        if len(numbers) == 3 and numbers[0] < 1 << 32 and numbers[1] < 1 << 32:
            return Eid(scheme, ((numbers[0] << 32) + numbers[1], numbers[2]), octets)
        raise malformed(f"ipn identifier of {numbers}", octets, at)
    if scheme == SCHEME_DTN:
        if octets[at:] == b"\0":
            return Eid(scheme, "none", octets)
        extent, _ = cbor.read_extent(octets, at, cbor.TEXT)
        text = octets[extent].decode("ascii", "replace")
        if not _DTN.fullmatch(text):
            raise malformed(f"dtn name {text!r}, //NODE/NAME wanted", octets, at)
        return Eid(scheme, text, octets)
    return Eid(scheme, octets[at:], octets)


#: Octets of the head of an unsigned integer by its first; 0 for other items.
_SIZE: Final = bytes([1] * 24 + [2, 3, 5, 9] + [0] * 228)
_TWO_NUMBERS: Final = b"\x82\x02\x82"
_NAME: Final = b"\x82\x01"
_NONE: Final = b"\x82\x01\x00"


def read_eid(data: bytes, at: int) -> tuple[Eid, int]:
    """Endpoint identifier at a position, and the position after it.  Raises RemoteError."""
    try:
        # The usual spellings, sized without reading them; `_decoded` refuses what they are not.
        beginning = data[at : at + 3]
        if beginning == _NONE:
            return NULL_ENDPOINT, at + 3
        if beginning == _TWO_NUMBERS:
            middle = at + 3 + _SIZE[data[at + 3]]
            after = middle + _SIZE[data[middle]]
        elif beginning[:2] == _NAME and 0x60 <= beginning[2] < 0x78:
            after = at + 3 + beginning[2] - 0x60
        else:
            after = cbor.skip(data, at)
    except IndexError:
        raise malformed("endpoint identifier is cut short", data, at) from None
    if after - at > LONGEST:
        raise malformed(f"endpoint identifier of {after - at} octets, {LONGEST} at most", data, at)
    try:
        return _decoded(data[at:after]), after
    except RemoteError as error:
        raise malformed(str(error), data, at) from error


def _write_eid(value: Eid) -> bytes:
    return value.octets


EID: Final = Cbor("endpoint identifier", read_eid, _write_eid, inline="{v}.octets")
NULL_ENDPOINT: Final = eid("dtn:none")
