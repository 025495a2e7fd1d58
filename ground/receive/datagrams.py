"""What network captures carry: pcap and pcapng records, and the UDP payloads inside them.

Works on octets in pieces, so that a file and a pipe are the same thing.  Nothing raises on
received octets: what cannot be read is counted by reason in `skipped`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from construct import FormatField, Struct

from ground.receive import pcapng
from protocols.errors import RemoteError

U8B, U16B, U32B = (FormatField(">", code) for code in "BHL")
U16, U32 = pcapng.U16, pcapng.U32
S32 = FormatField("<", "l")

# draft-ietf-opsawg-pcap §4, §5
PCAP_FILE_HEADER = Struct(
    "magic" / U32,
    "major" / U16,
    "minor" / U16,
    "zone" / S32,
    "accuracy" / U32,
    "snap_length" / U32,
    "link_type" / U32,
)
PCAP_RECORD_HEADER = Struct(
    "seconds" / U32, "fraction" / U32, "captured_length" / U32, "length" / U32
)
#: magic as read little-endian -> (byte order, nanoseconds per unit of the fraction).
PCAP_MAGIC = {
    0xA1B2C3D4: ("<", 1000),
    0xA1B23C4D: ("<", 1),
    0xD4C3B2A1: (">", 1000),
    0x4D3CB2A1: (">", 1),
}

# RFC 791 §3.1, RFC 8200 §3, RFC 768
IPV4_HEADER = Struct(
    "version_ihl" / U8B,
    "service" / U8B,
    "total_length" / U16B,
    "identification" / U16B,
    "flags_offset" / U16B,
    "ttl" / U8B,
    "protocol" / U8B,
    "checksum" / U16B,
    "source" / U32B,
    "destination" / U32B,
)
IPV6_HEADER = Struct(
    "version_class_flow" / U32B,
    "payload_length" / U16B,
    "next_header" / U8B,
    "hop_limit" / U8B,
)
UDP_HEADER = Struct(
    "source_port" / U16B,
    "destination_port" / U16B,
    "length" / U16B,
    "checksum" / U16B,
)

_IPV4 = pcapng.layout_of(IPV4_HEADER, ">")
_IPV6 = pcapng.layout_of(IPV6_HEADER, ">")
_UDP = pcapng.layout_of(UDP_HEADER, ">")

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
_VLAN_TAGS = (0x8100, 0x88A8, 0x9100)
PROTOCOL_UDP = 17
# RFC 8200 §4: hop-by-hop, routing, destination options; each gives its own length.
_IPV6_EXTENSIONS = (0, 43, 60)
_IPV6_FRAGMENT = 44

# IETF registry of pcap link types
NULL, ETHERNET, RAW_BSD, RAW_OPENBSD, RAW, LOOP, LINUX_SLL = 0, 1, 12, 14, 101, 108, 113
USER0, USER15, IPV4, IPV6, LINUX_SLL2 = 147, 162, 228, 229, 276
LINK_TYPE_NAMES = {
    NULL: "loopback",
    ETHERNET: "Ethernet",
    RAW_BSD: "raw IP",
    RAW_OPENBSD: "raw IP",
    RAW: "raw IP",
    LOOP: "loopback",
    LINUX_SLL: "Linux cooked",
    USER0: "USER0",
    IPV4: "raw IPv4",
    IPV6: "raw IPv6",
    LINUX_SLL2: "Linux cooked v2",
}

#: A record longer than this is damage; see pcapng.MAX_BLOCK_OCTETS.
MAX_RECORD_OCTETS = pcapng.MAX_BLOCK_OCTETS

#: Datagrams in reassembly at a time; fragments of the oldest are given up beyond it.
MAX_REASSEMBLIES = 64


class Record(NamedTuple):
    """One captured packet; unix_ns counts from 1970 in UTC without leap seconds."""

    link_type: int
    unix_ns: int
    octets: bytes


def link_type_name(link_type: int) -> str:
    return LINK_TYPE_NAMES.get(link_type, f"link type {link_type}")


def is_pcap(head: bytes) -> bool:
    return len(head) >= 4 and int.from_bytes(head[:4], "little") in PCAP_MAGIC


def is_pcapng(head: bytes) -> bool:
    return head[:4] == pcapng.SECTION_HEADER.to_bytes(4, "big") and head[8:12] in (
        pcapng.BYTE_ORDER_MAGIC.to_bytes(4, "little"),
        pcapng.BYTE_ORDER_MAGIC.to_bytes(4, "big"),
    )


class PcapParser:
    """Records of a classic pcap file that arrives in pieces."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._held = b""
        self._broken = False
        self._header: tuple[str, int, int] | None = None

    def push(self, octets: bytes) -> Iterator[Record]:
        if self._broken:
            self.skipped["octets after damage"] += len(octets)
            return
        data = self._held + octets
        at = 0
        if self._header is None:
            if len(data) < PCAP_FILE_HEADER.sizeof():
                self._held = data
                return
            order, unit_ns = PCAP_MAGIC.get(int.from_bytes(data[:4], "little"), ("", 0))
            if not order:
                self._damage(data, 0)
                return
            layout = pcapng.layout_of(PCAP_FILE_HEADER, order)
            *_rest, link_type = layout.unpack_from(data)
            # §4: the upper bits of the last word are not part of the link type.
            self._header = (order, unit_ns, link_type & 0xFFFF)
            at = layout.size
        order, unit_ns, link_type = self._header
        record = pcapng.layout_of(PCAP_RECORD_HEADER, order)
        while len(data) - at >= record.size:
            seconds, fraction, captured, _length = record.unpack_from(data, at)
            if captured > MAX_RECORD_OCTETS:
                self._damage(data, at)
                return
            if len(data) - at - record.size < captured:
                break
            at += record.size
            yield Record(
                link_type, seconds * 1_000_000_000 + fraction * unit_ns, data[at : at + captured]
            )
            at += captured
        self._held = data[at:]

    def finish(self) -> None:
        if self._held:
            self.skipped["octets of a torn record"] += len(self._held)
            self._held = b""

    def _damage(self, data: bytes, at: int) -> None:
        # Classic pcap has no marks to find the next record by.
        self.skipped["octets after damage"] += len(data) - at
        self._held, self._broken = b"", True


class PcapngParser:
    """Records of a pcapng file that arrives in pieces; goes on behind damage."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        self._held = b""
        self._layouts = pcapng.LITTLE
        # (link type, timestamp units per second, offset in seconds, snap length)
        self._interfaces: list[tuple[int, int, int, int]] = []

    def push(self, octets: bytes) -> Iterator[Record]:
        yield from self._parse(self._held + octets, final=False)

    def finish(self) -> Iterator[Record]:
        yield from self._parse(self._held, final=True)

    def _parse(self, data: bytes, *, final: bool) -> Iterator[Record]:
        view = memoryview(data)
        at = 0
        while at < len(view):
            try:
                for offset, block_type, body, layouts in pcapng.walk(view, at, self._layouts):
                    self._layouts = layouts
                    at = offset + len(body) + 12
                    record = self._block(block_type, body, layouts)
                    if record is not None:
                        yield record
            except pcapng.Incomplete as error:
                at = error.offset
                if not final:
                    break
                sound = pcapng.resynchronise(view, at + 4, self._layouts)
                self.skipped["octets of damage"] += sound - at
                at = sound
            except RemoteError as error:
                sound = pcapng.resynchronise(view, error.offset + 4, self._layouts)
                if sound == len(view) and not final:
                    # The next block may begin in the last octets.
                    sound = max(error.offset + 4, len(view) - 8)
                self.skipped["octets of damage"] += sound - error.offset
                at = sound
                if sound >= len(view) - 8 and not final:
                    break
        self._held = data[at:]

    def _block(self, block_type: int, body: memoryview, layouts: pcapng.Layouts) -> Record | None:
        if block_type == pcapng.SECTION_HEADER:
            self._interfaces.clear()
            return None
        if block_type == pcapng.INTERFACE_DESCRIPTION:
            self._describe(body, layouts)
            return None
        layout = {
            pcapng.ENHANCED_PACKET: layouts.enhanced,
            pcapng.PACKET: layouts.packet,
            pcapng.SIMPLE_PACKET: layouts.simple,
        }.get(block_type)
        if layout is None:
            return None
        if len(body) < layout.size:
            self.skipped["short packet blocks"] += 1
            return None
        number, unit_time = 0, 0
        if block_type == pcapng.ENHANCED_PACKET:
            number, high, low, captured, _length = layout.unpack_from(body)
            unit_time = (high << 32) | low
        elif block_type == pcapng.PACKET:
            number, _drops, high, low, captured, _length = layout.unpack_from(body)
            unit_time = (high << 32) | low
        else:
            (captured,) = layout.unpack_from(body)
        if number >= len(self._interfaces):
            self.skipped["packets of an unknown interface"] += 1
            return None
        link_type, units, offset_s, snap_length = self._interfaces[number]
        if block_type == pcapng.SIMPLE_PACKET and snap_length:
            captured = min(captured, snap_length)
        if layout.size + captured > len(body):
            self.skipped["packets longer than their block"] += 1
            return None
        octets = bytes(body[layout.size : layout.size + captured])
        unix_ns = unit_time * 1_000_000_000 // units + offset_s * 1_000_000_000
        return Record(link_type, unix_ns, octets)

    def _describe(self, body: memoryview, layouts: pcapng.Layouts) -> None:
        layout = layouts.interface
        if len(body) < layout.size:
            self.skipped["short interface blocks"] += 1
            return
        link_type, _reserved, snap_length = layout.unpack_from(body)
        units, offset_s = 1_000_000, 0
        little = "little" if layouts.order == "<" else "big"
        for code, value in pcapng.options(body[layout.size :], layouts):
            if code == pcapng.OPTION_IF_TSRESOL and len(value) == 1:
                # §4.2: the highest bit chooses between powers of 2 and of 10.
                units = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** (value[0] & 0x7F)
            elif code == pcapng.OPTION_IF_TSOFFSET and len(value) == 8:
                offset_s = int.from_bytes(value, little, signed=True)
        self._interfaces.append((link_type, units, offset_s, snap_length))


class UdpExtractor:
    """UDP payloads of link-layer packets; USER0..15 packets are given as they are.

    port: only payloads to this destination port.  `ports` counts payloads by destination port,
    `skipped` everything else by reason.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port
        self.ports: Counter[int] = Counter()
        self.skipped: Counter[str] = Counter()
        self._fragments: dict[tuple[int, int, int], list[tuple[int, bool, bytes]]] = {}

    def payload(self, record: Record) -> bytes | None:
        octets = record.octets
        link_type = record.link_type
        if USER0 <= link_type <= USER15:
            return octets
        if link_type == ETHERNET:
            at, ether_type = 14, int.from_bytes(octets[12:14], "big")
            while ether_type in _VLAN_TAGS and at + 4 <= len(octets):
                ether_type = int.from_bytes(octets[at + 2 : at + 4], "big")
                at += 4
        elif link_type == LINUX_SLL:
            at, ether_type = 16, int.from_bytes(octets[14:16], "big")
        elif link_type == LINUX_SLL2:
            at, ether_type = 20, int.from_bytes(octets[0:2], "big")
        elif link_type in (NULL, LOOP, RAW, RAW_BSD, RAW_OPENBSD, IPV4, IPV6):
            # The address family numbers of loopback differ by system; IP says its version itself.
            at = 4 if link_type in (NULL, LOOP) else 0
            version = octets[at] >> 4 if len(octets) > at else 0
            ether_type = {4: ETHERTYPE_IPV4, 6: ETHERTYPE_IPV6}.get(version, 0)
        else:
            return self._skip(f"packets of {link_type_name(link_type)}")
        if ether_type == ETHERTYPE_IPV4:
            return self._ipv4(octets, at)
        if ether_type == ETHERTYPE_IPV6:
            return self._ipv6(octets, at)
        return self._skip("packets that are not IP")

    def _skip(self, reason: str) -> None:
        self.skipped[reason] += 1

    def _ipv4(self, octets: bytes, at: int) -> bytes | None:
        if len(octets) < at + _IPV4.size:
            return self._skip("packets cut short")
        version_ihl, _, total, identification, flags, _, protocol, _, source, _ = _IPV4.unpack_from(
            octets, at
        )
        start = at + (version_ihl & 0x0F) * 4
        end = at + total if total else len(octets)  # 0: left to the network card when sending
        if version_ihl >> 4 != 4 or start < at + _IPV4.size or end < start:
            return self._skip("broken IP headers")
        if protocol != PROTOCOL_UDP:
            return self._skip("packets that are not UDP")
        if end > len(octets):
            return self._skip("packets cut short")
        body = octets[start:end]
        if flags & 0x3FFF:
            whole = self._reassemble(
                (source, identification, protocol),
                (flags & 0x1FFF) * 8,
                bool(flags & 0x2000),
                body,
            )
            if whole is None:
                return None
            body = whole
        return self._udp(body)

    def _reassemble(
        self, key: tuple[int, int, int], offset: int, more: bool, body: bytes
    ) -> bytes | None:
        """RFC 791 §3.2, without the timer: the number of datagrams held is bounded instead."""
        parts = self._fragments.setdefault(key, [])
        parts.append((offset, more, body))
        parts.sort()
        whole = b""
        for start, follows, part in parts:
            if start != len(whole):
                break
            whole += part
            if not follows:
                del self._fragments[key]
                return whole
        if len(self._fragments) > MAX_REASSEMBLIES or len(parts) > 65536 // 8:
            self._fragments.pop(next(iter(self._fragments)))
            self._skip("datagrams with missing fragments")
        return None

    def _ipv6(self, octets: bytes, at: int) -> bytes | None:
        if len(octets) < at + 40:
            return self._skip("packets cut short")
        first, length, following, _hops = _IPV6.unpack_from(octets, at)
        if first >> 28 != 6:
            return self._skip("broken IP headers")
        at += 40
        end = at + length
        if end > len(octets):
            return self._skip("packets cut short")
        while following in _IPV6_EXTENSIONS and at + 8 <= end:
            following, at = octets[at], at + (octets[at + 1] + 1) * 8
        if following == _IPV6_FRAGMENT:
            return self._skip("IPv6 fragments")
        if following != PROTOCOL_UDP:
            return self._skip("packets that are not UDP")
        return self._udp(octets[at:end])

    def _udp(self, body: bytes) -> bytes | None:
        if len(body) < _UDP.size:
            return self._skip("packets cut short")
        _source, port, length, _checksum = _UDP.unpack_from(body)
        if length < _UDP.size or length > len(body):
            return self._skip("broken UDP headers")
        if self.port is not None and port != self.port:
            return self._skip("payloads to other ports")
        self.ports[port] += 1
        return body[_UDP.size : length]
