"""A bundle node in space: a store and its links over LTP; no clock.  The relay payload and the
orbiter of Mars are one each.

A bundle stays in the store until the next node's LTP engine says that it has all of it.  When the
store is full, data segments are dropped as if lost on the way: the reports say so, and the sender
tries again later, when there may be room.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from protocols.dtn.bundle import (
    Bundle,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
)
from protocols.dtn.bundle_extensions import HOP_COUNT, HopCount
from protocols.dtn.bundle_processing import (
    expiry_ns,
    forwarded,
    hop_limit_exceeded,
    violations,
)
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.dtn.eid import Eid, ipn
from protocols.dtn.ltp_blocks import segment_from_packet
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.ltp_segments import SegmentType, SessionId
from protocols.dtn.routing import BULK, EXPEDITED
from protocols.dtn.space_frames import SEGMENT_OCTETS
from protocols.errors import RemoteError
from protocols.timecodes.tai import NS_PER_MS

PRIORITIES: Final = 3
_HOP_LIMIT: Final = 32
#: Bundles remembered as seen: a sender that heard no report sends a bundle again.
_REMEMBERED: Final = 100_000
#: Most severe first: urgent bundles leave first, of the same urgency the oldest.
_Rank = tuple[int, int]


@dataclass(eq=False, slots=True)
class _Held:
    bundle: Bundle
    octets: int
    priority: int
    order: int
    neighbour: int
    received_ns: int
    expiry_ns: int
    gone: bool = False


class SpaceNode:
    """neighbours: rate of the link to each, bits a second; default_neighbour: who gets bundles
    for nodes that are no neighbours.  expedited: services whose bundles go before all others.
    entropy: see `LtpEngine`."""

    def __init__(
        self,
        number: int,
        store_octets: int,
        neighbours: Mapping[int, int],
        *,
        default_neighbour: int,
        expedited: Collection[int],
        entropy: bytes,
    ) -> None:
        self.number = number
        self.capacity_octets = store_octets
        self._default = default_neighbour
        self._expedited = frozenset(expedited)
        parameters = replace(DEEP_SPACE, segment_size=SEGMENT_OCTETS)
        self.links = {
            neighbour: LtpLink(
                LtpEngine(number, neighbour, parameters, entropy=entropy + b" %d" % neighbour),
                rate_bit_s,
            )
            for neighbour, rate_bit_s in neighbours.items()
        }
        self._queues: dict[int, list[tuple[_Rank, _Held]]] = {n: [] for n in neighbours}
        self._under_way: dict[tuple[int, SessionId], _Held] = {}
        self._seen: OrderedDict[object, None] = OrderedDict()
        self._order = self._sequence = 0
        self.held = [0] * PRIORITIES
        self.used_octets = 0
        self.received = self.forwarded = self.refused = self.deleted = 0

    # ------------------------------------------------------------ bundles

    def originate(
        self, now_ns: int, service: int, destination: Eid, payload: bytes, lifetime_s: int
    ) -> None:
        """A bundle of our own; refused (and counted) if the store is full."""
        self._sequence += 1
        primary = Primary(
            flags=0,
            crc_type=CrcType.CRC32C,
            destination=destination,
            source=ipn(self.number, service),
            report_to=ipn(self.number, 0),
            creation=CreationTimestamp(dtn_ms_from_tai_ns(now_ns), self._sequence),
            lifetime_ms=lifetime_s * 1000,
        )
        hops = HOP_COUNT.block(HopCount(_HOP_LIMIT, 0), 2)
        self._accept(now_ns, Bundle(primary, (hops, payload_block(payload))), None)

    def _accept(self, now_ns: int, bundle: Bundle, came_from: int | None) -> None:
        size = len(bundle.build())
        if self.used_octets + size > self.capacity_octets:
            self.refused += 1
            return
        if bundle.id in self._seen:
            return
        self._seen[bundle.id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.received += 1
        destination = bundle.primary.destination
        node = destination.node_number
        neighbour = node if node in self.links else self._default
        if neighbour == came_from or node == self.number or node is None:
            # Nobody here waits for it, and back is not the way.
            self.deleted += 1
            return
        urgent = destination.service_number in self._expedited
        priority = EXPEDITED if urgent else BULK
        held = _Held(
            bundle, size, priority, self._order, neighbour, now_ns, expiry_ns(bundle, now_ns)
        )
        self._order += 1
        self.used_octets += size
        self.held[priority] += 1
        self._queue(held)

    def _queue(self, held: _Held) -> None:
        heapq.heappush(self._queues[held.neighbour], ((-held.priority, held.order), held))

    def _remove(self, held: _Held) -> None:
        self.used_octets -= held.octets
        self.held[held.priority] -= 1

    def _next(self, now_ns: int, neighbour: int) -> _Held | None:
        queue = self._queues[neighbour]
        while queue:
            held = heapq.heappop(queue)[1]
            if held.expiry_ns > now_ns:
                return held
            self.deleted += 1
            self._remove(held)
        return None

    # ------------------------------------------------------------ links

    def light_time(self, neighbour: int, light_time_ns: int) -> None:
        """One way, now."""
        self.links[neighbour].engine.light_time(light_time_ns / 1e9)

    def receive(self, now_ns: int, neighbour: int, packet: bytes) -> None:
        """A packet from a neighbour's link."""
        link = self.links[neighbour]
        if self.used_octets + len(packet) > self.capacity_octets and _is_data(packet):
            self.refused += 1
            return
        link.receive(now_ns, packet)
        for octets in link.bundles():
            try:
                bundle = parse_bundle(octets)
            except RemoteError:
                self.deleted += 1
                continue
            if violations(bundle):
                self.deleted += 1
            else:
                self._accept(now_ns, bundle, neighbour)

    def take(self, now_ns: int, neighbour: int) -> list[bytes]:
        """Packets that leave for a neighbour by now."""
        link = self.links[neighbour]
        packets = link.take(now_ns)
        while link.ready(now_ns):
            held = self._next(now_ns, neighbour)
            if held is None:
                break
            residence_ms = (now_ns - held.received_ns) // NS_PER_MS
            hop = held.bundle.primary.source.node_number != self.number
            leaving = forwarded(held.bundle, ipn(self.number, 0), residence_ms, hop=hop)
            if hop_limit_exceeded(leaving):
                self.deleted += 1
                self._remove(held)
                continue
            self._under_way[neighbour, link.send(leaving.build())] = held
            packets += link.take(now_ns)
        for outcome in link.outcomes():
            held = self._under_way.pop((neighbour, outcome.session))
            if outcome.arrived:
                self.forwarded += 1
                self._remove(held)
            else:
                self._queue(held)
        return packets


def _is_data(packet: bytes) -> bool:
    """Whether an encapsulation packet holds a data segment: low half of LTP's first octet."""
    try:
        return segment_from_packet(packet)[0] & 0x0F <= SegmentType.GREEN_EOB
    except (RemoteError, IndexError):
        return False
