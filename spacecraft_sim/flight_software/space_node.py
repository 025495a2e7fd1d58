"""The bundle node with LTP links, as it flies: the relay payload and the orbiter of Mars are one.

A bundle stays in the store until the next node's LTP engine says that it has all of it.  When the
store is nearly full, segments of blocks that need several are dropped as if lost on the way: the
reports say so, and the sender tries again later, when there may be room.  What fits into one
segment, which alerts do, is still taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from protocols.dtn.bundle_extensions import HOP_COUNT, HopCount
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.eid import Eid, ipn
from protocols.dtn.ltp_blocks import segment_from_packet
from protocols.dtn.ltp_engine import LtpEngine
from protocols.dtn.ltp_link import LtpLink
from protocols.dtn.ltp_parameters import DEEP_SPACE
from protocols.dtn.ltp_segments import DataSegment, SegmentType, SessionId, parse_segment
from protocols.dtn.node import Node
from protocols.dtn.node_queue import Copy
from protocols.dtn.node_settings import MemoryStore, NodeSettings, Rule, Verdict
from protocols.dtn.routing import BULK, EXPEDITED, Router
from protocols.dtn.space_frames import SEGMENT_OCTETS
from protocols.errors import RemoteError
from protocols.identifiers import BundleNode

#: Services at which the orbiter speaks and its mission centre listens.
SCIENCE, BULLETIN = 1, 2
#: Word of a storm goes before everything else, at every node; science is what waits.
RULES: Final = (
    Rule(destination=f"ipn:*.{BULLETIN}", priority=EXPEDITED),
    Rule(destination=f"ipn:*.{SCIENCE}", priority=BULK),
)
_HOP_LIMIT: Final = 32
#: Of the store, filled to which blocks of several segments are taken.
_NEARLY_FULL: Final = 0.97
_YEARS_NS: Final = 20 * 365 * 86_400 * 10**9
_WIRE_BIT_S: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Hop:
    """A link of the plan, both ways: rates in bits a second, light time in nanoseconds."""

    one: int
    other: int
    forward_bit_s: int
    back_bit_s: int
    owlt_ns: int


def plan_of(hops: Iterable[Hop], start_ns: int) -> ContactPlan:
    """Links that are always there, from `start_ns` on; that they are not is LTP's to bear, since
    nobody tells the spacecraft the stations' passes."""
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for hop in hops:
        span = (start_ns, start_ns + _YEARS_NS)
        contacts.append(Contact(*span, hop.one, hop.other, hop.forward_bit_s))
        contacts.append(Contact(*span, hop.other, hop.one, hop.back_bit_s))
        ranges.append(Range(*span, hop.one, hop.other, hop.owlt_ns))
    names = {int(node): node.name.lower().replace("_", " ") for node in BundleNode}
    return ContactPlan(tuple(contacts), tuple(ranges), names)


def relay_hops(
    to_earth_bit_s: int, to_mars_bit_s: int, from_mars_bit_s: int, mars_ns: int, earth_ns: int
) -> tuple[Hop, ...]:
    """Mars, L4, the site, the mission centre."""
    node = BundleNode
    return (
        Hop(node.MARS_ORBITER, node.PAYLOAD, from_mars_bit_s, to_mars_bit_s, mars_ns),
        Hop(node.PAYLOAD, node.SITE, to_earth_bit_s, to_earth_bit_s, earth_ns),
        Hop(node.SITE, node.MISSION_CENTRE, _WIRE_BIT_S, _WIRE_BIT_S, 0),
    )


class SpaceNode:
    """rates_bit_s: of the link to each neighbour.  entropy: see `LtpEngine`."""

    def __init__(
        self,
        number: int,
        store_octets: int,
        plan: ContactPlan,
        rates_bit_s: dict[int, int],
        start_ns: int,
        *,
        entropy: bytes,
    ) -> None:
        settings = NodeSettings(
            node=ipn(number, 0),
            quota_octets=store_octets,
            shares=(1.0, 1.0, 1.0),
            rules=RULES,
        )
        self.node = Node(settings, Router(number, plan), MemoryStore(), start_ns)
        parameters = replace(DEEP_SPACE, segment_size=SEGMENT_OCTETS)
        self.links: dict[int, LtpLink] = {}
        for neighbour, rate_bit_s in rates_bit_s.items():
            secret = entropy + b" %d" % neighbour
            engine = LtpEngine(number, neighbour, parameters, entropy=secret)
            self.links[neighbour] = LtpLink(engine, rate_bit_s)
            self.node.link(neighbour, True, start_ns)
        self._under_way: dict[tuple[int, SessionId], Copy] = {}
        #: Bundles that LTP took when there was still room, and that found none: (from, octets).
        self._overflow: list[tuple[int, bytes]] = []
        self.refused_segments = 0

    # ------------------------------------------------------------ what telemetry says

    @property
    def used_octets(self) -> int:
        return self.node.held_octets + sum(len(octets) for _, octets in self._overflow)

    @property
    def capacity_octets(self) -> int:
        return self.node.settings.quota_octets

    @property
    def forwarded(self) -> int:
        return self.node.counts.forwarded

    @property
    def taken(self) -> int:
        """Bundles in the store since the start."""
        counts = self.node.counts
        known = counts.duplicates + counts.refused + sum(counts.deleted.values())
        return counts.received + counts.sent_here - known + counts.expired

    def held(self) -> list[int]:
        """Bundles by priority: bulk, normal, expedited."""
        found = [0, 0, 0]
        for one in self.node.held.values():
            found[one.priority] += 1
        return found

    # ------------------------------------------------------------ bundles

    def originate(
        self, now_ns: int, service: int, destination: Eid, payload: bytes, lifetime_s: int
    ) -> Verdict:
        """A bundle of our own."""
        node = self.node
        source = ipn(node.number, service)
        lifetime_ms = lifetime_s * 1000
        bundle = node.made(now_ns, source, destination, payload, lifetime_ms=lifetime_ms)
        hops = HOP_COUNT.block(HopCount(_HOP_LIMIT, 0), bundle.free_number())
        return node.send(now_ns, bundle.with_blocks((hops, *bundle.blocks)))

    def light_time(self, neighbour: int, light_time_ns: int) -> None:
        """One way, now."""
        self.links[neighbour].engine.light_time(light_time_ns / 1e9)

    def rate(self, neighbour: int, bit_s: int) -> None:
        """Of the link to a neighbour from now on; the plan's stays what it is."""
        self.links[neighbour].rate_bit_s = bit_s

    def receive(self, now_ns: int, neighbour: int, packet: bytes) -> None:
        """A packet from a neighbour's link."""
        full = self._overflow or self.used_octets > _NEARLY_FULL * self.capacity_octets
        if full and _of_several(packet):
            self.refused_segments += 1
            return
        link = self.links[neighbour]
        link.receive(now_ns, packet)
        for octets in link.bundles():
            self._offer(now_ns, neighbour, octets)

    def _offer(self, now_ns: int, neighbour: int, octets: bytes) -> None:
        if self.node.offer(now_ns, octets, neighbour) is Verdict.REFUSED:
            self._overflow.append((neighbour, octets))

    def turn(self, now_ns: int) -> None:
        """To be called before bundles are taken: lifetimes, and bundles that found no room."""
        deadline_ns = self.node.next_deadline_ns(now_ns)
        if deadline_ns is not None and deadline_ns <= now_ns:
            self.node.turn(now_ns)
        if self._overflow:
            overflow, self._overflow = self._overflow, []
            for neighbour, octets in overflow:
                self._offer(now_ns, neighbour, octets)

    def take(self, now_ns: int, neighbour: int) -> list[bytes]:
        """Packets that leave for a neighbour by now."""
        node, link = self.node, self.links[neighbour]
        packets = link.take(now_ns)
        while link.ready(now_ns):
            copy = node.take(neighbour, now_ns)
            if copy is None:
                break
            session = link.send(b"".join(node.outgoing(copy, now_ns)))
            self._under_way[neighbour, session] = copy
            packets += link.take(now_ns)
        for outcome in link.outcomes():
            copy = self._under_way.pop((neighbour, outcome.session))
            if outcome.arrived:
                node.sent(copy, now_ns)
            else:
                node.failed(copy, now_ns)
        return packets


def _of_several(packet: bytes) -> bool:
    """Whether it holds a data segment of a block that is sent in more than one."""
    try:
        segment = parse_segment(segment_from_packet(packet))
    except RemoteError:
        return False
    if not isinstance(segment, DataSegment):
        return False
    return segment.kind is not SegmentType.RED_EOB or segment.offset > 0
