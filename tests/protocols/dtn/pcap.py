"""Bundles out of the captures of other implementations: Ethernet, UDP, TCP, and what is above.

Just enough of each convergence layer to cut bundles out; our own implementations of them are tested
elsewhere, and are not used here so that a fault of theirs cannot hide one of the codec's.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path


def packets(path: Path) -> Iterator[tuple[int, tuple[int, int], int, bytes]]:
    """(IP protocol, ports, TCP sequence number, payload) of a classic pcap of Ethernet frames."""
    octets = path.read_bytes()
    at = 24
    while at < len(octets):
        (length,) = struct.unpack_from("<I", octets, at + 8)
        frame = octets[at + 16 : at + 16 + length]
        at += 16 + length
        ip = frame[14:]
        start = 4 * (ip[0] & 15)
        segment = ip[start : struct.unpack_from(">H", ip, 2)[0]]
        ports = struct.unpack_from(">HH", segment)
        if ip[9] == 17:
            yield 17, ports, 0, segment[8:]
        elif ip[9] == 6:
            sequence = struct.unpack_from(">I", segment, 4)[0]
            yield 6, ports, sequence, segment[4 * (segment[12] >> 4) :]


def streams(path: Path) -> dict[tuple[int, int], bytes]:
    """Octets of each direction of each TCP connection."""
    parts: dict[tuple[int, int], dict[int, bytes]] = defaultdict(dict)
    for protocol, ports, sequence, payload in packets(path):
        if protocol == 6 and payload:
            parts[ports][sequence] = payload
    return {ports: b"".join(p for _, p in sorted(found.items())) for ports, found in parts.items()}


def _sdnv(octets: bytes, at: int) -> tuple[int, int]:
    value = 0
    while True:
        value = value << 7 | octets[at] & 127
        at += 1
        if not octets[at - 1] & 128:
            return value, at


def ltp_blocks(path: Path) -> list[bytes]:
    """Red parts that arrived whole, of RFC 5326 data segments."""
    segments: dict[tuple[int, int, int], dict[int, bytes]] = defaultdict(dict)
    ends: dict[tuple[int, int, int], int] = {}
    for protocol, ports, _, octets in packets(path):
        # Data segments of version 0 of any colour; keep-alives of other protocols are shorter.
        if protocol != 17 or len(octets) < 8 or octets[0] > 7:
            continue
        kind = octets[0] & 15
        engine, at = _sdnv(octets, 1)
        session, at = _sdnv(octets, at)
        at += 1
        client, at = _sdnv(octets, at)
        offset, at = _sdnv(octets, at)
        length, at = _sdnv(octets, at)
        if client != 1:
            continue
        if kind in (1, 2, 3):
            _, at = _sdnv(octets, at)
            _, at = _sdnv(octets, at)
        key = (ports[1], engine, session)
        segments[key][offset] = octets[at : at + length]
        if kind in (2, 3):
            ends[key] = offset + length
    whole: list[bytes] = []
    for key, end in ends.items():
        block = bytearray()
        for offset, data in sorted(segments[key].items()):
            if offset == len(block):
                block += data
        if len(block) == end:
            whole.append(bytes(block))
    return whole
