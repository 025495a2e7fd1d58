"""A bundle node: what RFC 9171 §5 asks of one, with routes from a contact plan; no I/O, no clock.

    node = Node(settings, Router(number, plan), store, now_ns)
    verdict = node.offer(now_ns, octets, came_from)       # from a neighbour
    node.send(now_ns, bundle)                             # from an application
    while copy := node.take(neighbour, now_ns): …         # to a neighbour that is up
    node.sent(copy, now_ns) / node.failed(copy, now_ns)
    for ref in node.deliveries(endpoint): …; node.delivered(ref, now_ns)
    node.turn(now_ns)                                     # at `next_deadline_ns` at the latest

The relay aboard, the ground's relay and the simulated orbiter are all this node; what differs is
the store that it is given and the layers that carry what it hands out.

A bundle is held until every neighbour that was to have it has it, its application has it, or its
lifetime is over.  Where a bundle goes is decided when it comes, and again when its contact ends
before it was sent, when sending fails, and when there is another plan.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from itertools import chain, islice
from typing import Final

from protocols.dtn.bundle import (
    Bundle,
    BundleFlags,
    CrcType,
    CreationTimestamp,
    Primary,
    parse_bundle,
    payload_block,
)
from protocols.dtn.bundle_extensions import PREVIOUS_NODE
from protocols.dtn.bundle_fragments import Reassembly, fragment
from protocols.dtn.bundle_processing import (
    PROCESSABLE,
    expiry_ns,
    forwarded,
    hop_limit_exceeded,
    receive,
    violations,
)
from protocols.dtn.bundle_reports import Reason, Status, StatusReport
from protocols.dtn.contact_plan import ContactPlan
from protocols.dtn.dtn_time import NEVER_NS, dtn_ms_from_tai_ns
from protocols.dtn.eid import NULL_ENDPOINT, Eid
from protocols.dtn.node_queue import CLASSES, Copy, CopyEvent, CopyState, NeighbourQueue
from protocols.dtn.node_settings import BundleStore, NodeSettings, Seen, Stored, Verdict
from protocols.dtn.routing import NO_EXPIRY_NS, Demand, Reload, Route, Router
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import NS_PER_MS

#: Estimated volume consumption: what layers below add to a bundle (§2.4.3 of 734.3-B-1: at least
#: 3 %, or 100 octets).
_OVERHEAD: Final = 0.03
_LEAST_OVERHEAD: Final = 100
#: A decision stands for so many others of the same kind, for so long, and while its contact has
#: ample room.
_ALIKE: Final = 200
_REMEMBERED_NS: Final = 20 * NS_PER_MS
_AMPLE: Final = 1_000
#: Octets of parsed bundles kept beside their metadata: what was just received goes out again soon.
_PARSED_OCTETS: Final = 64 << 20
#: What the objects of one take besides.
_PARSED_OVERHEAD: Final = 1_000
#: Entries for bundles that are gone, among those of when bundles expire.
_STALE_EXPIRIES: Final = 10_000
#: Strangers decide how many come.
_REPORTS_KEPT: Final = 1_000
#: Status reports live so long.
_REPORT_LIFETIME_MS: Final = 86_400_000


@dataclass(slots=True, eq=False)
class Held:
    """A bundle that the node holds; its octets are in the store.

    endpoint: the one here that it is for, None of bundles in transit.  copies: by neighbour.
    excluded: neighbours that it must not go to (§5.4: it came from there, or they refused it).
    report_flags: the status reports that it asks for.  unit: of a fragment, what its data unit is
    known by.
    parsed: of bundles handled just now.  why: in words, where it goes nowhere yet.
    """

    ref: int
    digest: bytes
    source: Eid
    destination: Eid
    octets: int
    priority: int
    critical: bool
    expiry_ns: int
    received_ns: int
    came_from: int
    may_fragment: bool
    report_flags: int
    unit: tuple[Eid, CreationTimestamp] | None = None
    endpoint: Eid | None = None
    copies: dict[int, Copy] = field(default_factory=dict[int, Copy])
    excluded: frozenset[int] = frozenset()
    parsed: Bundle | None = None
    why: str = ""

    @property
    def rank(self) -> int:
        """0 critical, 1 expedited, 2 normal, 3 bulk."""
        return 0 if self.critical else 3 - self.priority


@dataclass(slots=True)
class NodeCounts:
    """Bundles since the start; deleted: by `Reason`'s name."""

    received: int = 0
    sent_here: int = 0
    forwarded: int = 0
    delivered: int = 0
    duplicates: int = 0
    refused: int = 0
    malformed: int = 0
    expired: int = 0
    fragmented: int = 0
    reassembled: int = 0
    rerouted: int = 0
    reports_sent: int = 0
    reports_withheld: int = 0
    deleted: dict[str, int] = field(default_factory=dict[str, int])


@dataclass(slots=True)
class _Remembered:
    """A decision, and for how many more bundles it may stand."""

    routes: tuple[Route, ...]
    until_ns: int
    evc_octets: int
    more: int = _ALIKE


def digest_of(bundle: Bundle) -> bytes:
    """16 octets that identify the bundle, or the fragment (§4.3.1)."""
    source, creation, offset, length = bundle.id
    name = b"%b %d %d" % (source.octets, creation.time_ms, creation.sequence)
    if offset is not None:
        name += b" %d %d" % (offset, length)
    return blake2b(name, digest_size=16).digest()


def _previous(bundle: Bundle) -> int:
    """The node that forwarded it, by its own word (§4.4.1), or else the source's; 0: not known."""
    try:
        node = PREVIOUS_NODE.find(bundle) or bundle.primary.source
    except RemoteError:
        return 0
    return node.node_number or 0


class Node:
    """store: where bundles are; recovered and seen: what it held when this node was last up."""

    def __init__(
        self,
        settings: NodeSettings,
        router: Router,
        store: BundleStore,
        now_ns: int,
        *,
        recovered: Iterable[Stored] = (),
        seen: Iterable[Seen] = (),
        next_ref: int = 1,
    ) -> None:
        number = settings.node.node_number
        if number != router.node:
            raise LocalError(f"router of node {router.node} for node {number}")
        self.settings = settings
        self.number = router.node
        self.router = router
        self.counts = NodeCounts()
        self.held: dict[int, Held] = {}
        self.held_octets = 0
        self.queues: dict[int, NeighbourQueue] = {}
        #: The latest status reports on bundles of ours, for whoever shows them.
        self.reports: deque[StatusReport] = deque(maxlen=_REPORTS_KEPT)
        self._store = store
        self._next_ref = next_ref
        self._by_digest: dict[bytes, int] = {}
        self._seen: dict[bytes, int] = {}
        self._expiries: list[tuple[int, int]] = []
        self._waiting: dict[int, Held] = {}
        self._endpoints: set[Eid] = set()
        #: By endpoint and rank; in each the oldest first, since references only grow.
        self._local: dict[Eid, tuple[dict[int, Held], ...]] = {}
        self._units: dict[tuple[Eid, CreationTimestamp], dict[int, Held]] = {}
        self._decisions: dict[tuple[int | None, int, bool, frozenset[int]], _Remembered] = {}
        self._parsed: dict[int, int] = {}
        self._parsed_octets = 0
        self._last_ms, self._sequence = 0, 0
        self._report_credit, self._report_ns = settings.reports_per_s, now_ns
        self._retry_ns = now_ns
        for one in seen:
            self._seen[one.digest] = one.until_ns
        self._plan_queues(now_ns)
        for stored in recovered:
            self._next_ref = max(self._next_ref, stored.ref + 1)
            self._recall(now_ns, parse_bundle(stored.octets, check_crc=False), stored)

    # ------------------------------------------------------------ bundles in

    def offer(self, now_ns: int, octets: bytes, came_from: int) -> Verdict:
        """A bundle from a neighbour, §5.6; came_from: its number, 0 if its layer does not say it.

        After STORED, DUPLICATE and DELETED the neighbour may be told that we have it (once the
        store is durable); after REFUSED it may not.
        """
        self.counts.received += 1
        try:
            bundle = parse_bundle(octets)
            wrong = violations(bundle)
        except RemoteError:
            # §5.6: nothing is known of it that a report could say.
            self.counts.malformed += 1
            self._count_deleted(Reason.BLOCK_UNINTELLIGIBLE)
            return Verdict.DELETED
        digest = digest_of(bundle)
        if self._is_known(digest, now_ns):
            self.counts.duplicates += 1
            return Verdict.DUPLICATE
        if not came_from:
            came_from = _previous(bundle)
        received = receive(bundle, PROCESSABLE)
        expires_ns = expiry_ns(bundle, now_ns)
        self._report(now_ns, bundle, Status.RECEIVED)
        if wrong or received.delete:
            unsupported = received.delete and not wrong
            reason = Reason.BLOCK_UNSUPPORTED if unsupported else Reason.BLOCK_UNINTELLIGIBLE
            return self._discarded(now_ns, bundle, reason)
        if received.report:
            self._report(now_ns, bundle, Status.RECEIVED, Reason.BLOCK_UNSUPPORTED)
        if expires_ns <= now_ns:
            self.counts.expired += 1
            return self._discarded(now_ns, bundle, Reason.LIFETIME_EXPIRED)
        if hop_limit_exceeded(bundle):
            return self._discarded(now_ns, bundle, Reason.HOP_LIMIT_EXCEEDED)
        if received.bundle is not bundle:
            bundle = received.bundle
            octets = bundle.build()
        return self._admit(now_ns, bundle, octets, came_from, digest, expires_ns)

    def send(self, now_ns: int, bundle: Bundle) -> Verdict:
        """A bundle of an application here, §5.2."""
        source = bundle.primary.source
        if not source.is_null and not self._is_here(source):
            raise LocalError(f"source {source} is no endpoint of {self.settings.node}")
        digest = digest_of(bundle)
        if self._is_known(digest, now_ns):
            self.counts.duplicates += 1
            return Verdict.DUPLICATE
        expires_ns = expiry_ns(bundle, now_ns)
        verdict = self._admit(now_ns, bundle, bundle.build(), 0, digest, expires_ns)
        self.counts.sent_here += verdict is Verdict.STORED
        return verdict

    def _is_known(self, digest: bytes, now_ns: int) -> bool:
        """Held, or gone and remembered."""
        return digest in self._by_digest or self._seen.get(digest, 0) > now_ns

    def creation(self, now_ns: int) -> CreationTimestamp:
        """The next creation timestamp of this node: no two are the same (§4.2.7)."""
        time_ms = max(dtn_ms_from_tai_ns(now_ns), self._last_ms)
        self._sequence = self._sequence + 1 if time_ms == self._last_ms else 0
        self._last_ms = time_ms
        return CreationTimestamp(time_ms, self._sequence)

    def _admit(
        self,
        now_ns: int,
        bundle: Bundle,
        octets: bytes,
        came_from: int,
        digest: bytes,
        expires_ns: int,
    ) -> Verdict:
        stored = Stored(self._next_ref, now_ns, came_from, octets)
        held = self._described(bundle, stored, digest, expires_ns)
        share = self.settings.shares[held.priority]
        if (
            self.held_octets + held.octets > share * self.settings.quota_octets
            or len(self.held) >= share * self.settings.quota_bundles
        ):
            self.counts.refused += 1
            return Verdict.REFUSED
        self._next_ref += 1
        self._store.put(stored)
        self._hold(now_ns, held, bundle)
        return Verdict.STORED

    def _keep(self, now_ns: int, bundle: Bundle, received_ns: int, came_from: int) -> None:
        """Into the store, quota or not: made here of what was in it."""
        stored = Stored(self._next_ref, received_ns, came_from, bundle.build())
        self._next_ref += 1
        self._store.put(stored)
        self._recall(now_ns, bundle, stored)

    def _recall(self, now_ns: int, bundle: Bundle, stored: Stored) -> None:
        digest = digest_of(bundle)
        if self._is_known(digest, now_ns):
            # Its fragments were put together, and the end came before these were forgotten.
            self._store.remove(stored.ref, None)
            return
        expires_ns = expiry_ns(bundle, stored.received_ns)
        self._hold(now_ns, self._described(bundle, stored, digest, expires_ns), bundle)

    def _described(self, bundle: Bundle, stored: Stored, digest: bytes, expires_ns: int) -> Held:
        primary = bundle.primary
        size = len(stored.octets)
        flags = primary.flags
        priority, critical = self.settings.classify(primary.source, primary.destination, size)
        came_from = stored.came_from
        return Held(
            ref=stored.ref,
            digest=digest,
            source=primary.source,
            destination=primary.destination,
            octets=size,
            priority=priority,
            critical=critical,
            expiry_ns=expires_ns,
            received_ns=stored.received_ns,
            came_from=came_from,
            may_fragment=not flags & BundleFlags.MUST_NOT_FRAGMENT,
            report_flags=flags & BundleFlags.REPORTS,
            unit=(primary.source, primary.creation) if primary.is_fragment else None,
            excluded=frozenset((came_from,)) if came_from else frozenset(),
        )

    def _is_here(self, endpoint: Eid) -> bool:
        number = endpoint.node_number
        return number == self.number if number is not None else endpoint.node == self.settings.node

    def _hold(self, now_ns: int, held: Held, bundle: Bundle) -> None:
        self.held[held.ref] = held
        self.held_octets += held.octets
        self._by_digest[held.digest] = held.ref
        if held.expiry_ns < NEVER_NS:
            heappush(self._expiries, (held.expiry_ns, held.ref))
            if len(self._expiries) > 2 * len(self.held) + _STALE_EXPIRIES:
                # Most bundles go long before they expire.
                held_now = self.held
                self._expiries = [pair for pair in self._expiries if pair[1] in held_now]
                heapify(self._expiries)
        if self._is_here(held.destination):
            self._arrived(now_ns, held, bundle)
            return
        self._keep_parsed(held, bundle)
        self._dispatch(now_ns, held)

    # ------------------------------------------------------------ delivery here

    def register(self, endpoint: Eid) -> None:
        """An application takes what comes for this endpoint.  LocalError for another node's."""
        if not self._is_here(endpoint):
            raise LocalError(f"endpoint {endpoint} is not of {self.settings.node}")
        self._endpoints.add(endpoint)

    def unregister(self, endpoint: Eid) -> None:
        """What comes is kept until somebody registers again, or it expires."""
        self._endpoints.discard(endpoint)

    @property
    def endpoints(self) -> frozenset[Eid]:
        """Registered endpoints."""
        return frozenset(self._endpoints)

    def deliveries(self, endpoint: Eid, most: int | None = None) -> list[Held]:
        """The first bundles for an endpoint that its application has not acknowledged: urgent ones
        first, of each class the oldest."""
        waiting = (w.values() for w in self._local.get(endpoint, ()))
        return list(islice(chain.from_iterable(waiting), most))

    def waiting_for(self, endpoint: Eid) -> int:
        """How many bundles `deliveries` gives without a limit."""
        return sum(map(len, self._local.get(endpoint, ())))

    def delivered(self, ref: int, now_ns: int) -> None:
        """Its application has it."""
        held = self.held.get(ref)
        if held is None or held.endpoint is None:
            raise LocalError(f"bundle {ref} is not one that waits for an application here")
        self.counts.delivered += 1
        self._report(now_ns, self.bundle(ref), Status.DELIVERED)
        self._forget(held, now_ns)

    def _arrived(self, now_ns: int, held: Held, bundle: Bundle) -> None:
        """§5.7: for this node."""
        held.endpoint = held.destination
        if held.unit is not None:
            self._reassemble(now_ns, held, held.unit, bundle)
        elif bundle.primary.is_administrative:
            try:
                self.reports.append(StatusReport.parse(bundle.payload))
            except RemoteError:
                self.counts.malformed += 1
            self._forget(held, now_ns)
        else:
            local = self._local.get(held.destination)
            if local is None:
                local = self._local[held.destination] = tuple({} for _ in range(CLASSES))
            local[held.rank][held.ref] = held

    def _reassemble(
        self, now_ns: int, held: Held, unit: tuple[Eid, CreationTimestamp], bundle: Bundle
    ) -> None:
        """§5.9.  Fragments stay held, each by itself, until the data unit is whole."""
        held.why = "fragment, others are missing"
        parts = self._units.setdefault(unit, {})
        parts[held.ref] = held
        if sum(part.octets for part in parts.values()) < (bundle.primary.total_length or 0):
            return
        reassembly = Reassembly(self.settings.longest_adu)
        whole = None
        for ref in parts:
            try:
                whole = reassembly.push(self.bundle(ref)) or whole
            except RemoteError as error:
                parts[ref].why = str(error)
        if whole is None:
            return
        first_ns = min(part.received_ns for part in parts.values())
        self.counts.reassembled += 1
        fragments = list(parts.values())
        self._keep(now_ns, whole, first_ns, held.came_from)
        for part in fragments:
            self._forget(part, now_ns)

    # ------------------------------------------------------------ routes

    def _demand(self, held: Held, evc_octets: int) -> Demand:
        return Demand(
            dest=held.destination.node_number or 0,
            evc_octets=evc_octets,
            priority=held.priority,
            expiry_ns=min(held.expiry_ns, NO_EXPIRY_NS),
            critical=held.critical,
            may_fragment=held.may_fragment,
            excluded=held.excluded,
        )

    def _backlog(self, rank: int) -> dict[int, int]:
        return {n: q.backlog_octets(rank) for n, q in self.queues.items()}

    def _dispatch(self, now_ns: int, held: Held) -> None:
        """§5.4: choose where it goes, and queue it there."""
        if held.destination.node_number is None:
            held.why = "no route: only ipn nodes are in contact plans"
            self._waiting[held.ref] = held
            return
        evc_octets = held.octets + max(int(held.octets * _OVERHEAD), _LEAST_OVERHEAD)
        kind = (held.destination.node_number, held.priority, held.critical, held.excluded)
        routes = self._still_good(self._decisions.get(kind), held, evc_octets, now_ns)
        if not routes:
            demand = self._demand(held, evc_octets)
            decision = self.router.route(demand, now_ns, self._backlog(held.rank))
            routes = decision.routes
            if routes and decision.fragment_octets is not None:
                if self._fragmented(now_ns, held, decision.fragment_octets):
                    return
                routes = ()
            elif routes:
                until_ns = now_ns + _REMEMBERED_NS
                self._decisions[kind] = _Remembered(routes, until_ns, evc_octets)
        if not routes:
            held.why = "no route in the contact plan before it expires"
            self._waiting[held.ref] = held
            return
        held.why = ""
        for route in routes:
            self._queue(held, route, evc_octets, now_ns)

    def _still_good(
        self, known: _Remembered | None, held: Held, evc_octets: int, now_ns: int
    ) -> tuple[Route, ...]:
        if (
            known is None
            or now_ns >= known.until_ns
            or evc_octets > known.evc_octets
            or not known.more
        ):
            return ()
        for route in known.routes:
            first = route.contacts[0]
            left = self.router.graph.remaining_octets(first.key, held.priority) or 0
            ample = _AMPLE * evc_octets
            if (
                left < ample
                or route.volume_limit_octets < ample
                or route.arrival_ns + _REMEMBERED_NS > held.expiry_ns
                or now_ns >= first.end_ns
            ):
                return ()
        known.more -= 1
        return known.routes

    def _queue(self, held: Held, route: Route, evc_octets: int, now_ns: int) -> None:
        copy = Copy(held.ref, held.octets, held.rank, route, evc_octets, held.priority)
        held.copies[route.entry] = copy
        self.queue(route.entry, now_ns).put(copy)
        for overbooked in self.router.book(route, evc_octets, held.priority):
            self._displace(overbooked.contact.dest, overbooked.octets, now_ns)

    def _displace(self, neighbour: int, octets: int, now_ns: int) -> None:
        """Lower priorities gave way on a contact (§3.2.8.1.2): the last of them go another way."""
        queue = self.queues[neighbour]
        for copy in queue.last(octets):
            self._reroute(copy, now_ns)

    def _fragmented(self, now_ns: int, held: Held, evc_octets: int) -> bool:
        """§5.8: a first part of so much volume, and the rest; False if that cannot be."""
        bundle = self.bundle(held.ref)
        around = held.octets - len(bundle.payload)
        room = evc_octets - max(int(evc_octets * _OVERHEAD), _LEAST_OVERHEAD) - around - 24
        if not 0 < room < len(bundle.payload):
            return False
        parts = fragment(bundle, room)
        self.counts.fragmented += 1
        self._forget(held, now_ns)
        for part in parts:
            self._keep(now_ns, part, held.received_ns, held.came_from)
        return True

    def _reroute(self, copy: Copy, now_ns: int) -> None:
        """Its contact is over, gone from the plan or overbooked."""
        held = self.held[copy.ref]
        self._withdraw(held, copy)
        self.counts.rerouted += 1
        if not held.copies:
            self._dispatch(now_ns, held)

    def _withdraw(self, held: Held, copy: Copy) -> None:
        neighbour = copy.route.entry
        self.queues[neighbour].withdraw(copy)
        self.router.release(copy.route, copy.evc_octets, copy.priority)
        del held.copies[neighbour]

    # ------------------------------------------------------------ neighbours

    def queue(self, neighbour: int, now_ns: int) -> NeighbourQueue:
        """What waits for a neighbour; made when first asked for."""
        found = self.queues.get(neighbour)
        if found is None:
            limit = self.settings.limits_bit_s.get(neighbour)
            found = self.queues[neighbour] = NeighbourQueue(neighbour, limit_bit_s=limit)
            found.plan(self.router.plan, self.number, now_ns)
        return found

    def link(self, neighbour: int, up: bool, now_ns: int) -> None:
        """The layer below can, or can no longer, reach the neighbour."""
        self.queue(neighbour, now_ns).up = up

    def take(self, neighbour: int, now_ns: int) -> Copy | None:
        """The next bundle for a neighbour whose contact is on; its octets: `outgoing`."""
        queue = self.queues.get(neighbour)
        while queue is not None:
            copy = queue.take(now_ns)
            if copy is None or self.held[copy.ref].expiry_ns > now_ns:
                return copy
            self._expire(self.held[copy.ref], now_ns)
        return None

    def outgoing(self, copy: Copy, now_ns: int) -> list[bytes | memoryview]:
        """Octets to send, in pieces: previous node, age and hop count as of now (§5.4)."""
        held = self.held[copy.ref]
        residence_ms = (now_ns - held.received_ns) // NS_PER_MS
        bundle = self.bundle(held.ref)
        hop = held.came_from != 0
        return forwarded(bundle, self.settings.node, residence_ms, hop=hop).segments()

    def sent(self, copy: Copy, now_ns: int) -> None:
        """The neighbour has it, as far as its layer can tell."""
        if copy.state is not CopyState.SENDING:
            return
        held, queue = self._ended(copy, CopyEvent.SENT)
        queue.sent_bundles += 1
        queue.sent_octets += copy.octets
        self.counts.forwarded += 1
        if held.report_flags & BundleFlags.REPORT_FORWARDING:
            self._report(now_ns, self.bundle(held.ref), Status.FORWARDED)
        if not held.copies:
            self._forget(held, now_ns)

    def failed(self, copy: Copy, now_ns: int, *, refused: bool = False) -> None:
        """It did not get there.  refused: by the neighbour, which is not asked again (§5.4)."""
        if copy.state is not CopyState.SENDING:
            return
        held, queue = self._ended(copy, CopyEvent.FAILED)
        queue.failed += 1
        self.router.release(copy.route, copy.evc_octets, copy.priority)
        if refused:
            held.excluded |= {queue.number}
        if not held.copies:
            self._dispatch(now_ns, held)

    def _ended(self, copy: Copy, event: CopyEvent) -> tuple[Held, NeighbourQueue]:
        """A copy that was being sent is no more: its bundle, and the queue that it came from."""
        copy.on(event)
        queue = self.queues[copy.route.entry]
        queue.sending -= 1
        held = self.held[copy.ref]
        del held.copies[queue.number]
        return held, queue

    # ------------------------------------------------------------ time

    def turn(self, now_ns: int) -> None:
        """Whatever time brings: lifetimes and contacts that end, another try for what waits."""
        while self._expiries and self._expiries[0][0] <= now_ns:
            _, ref = heappop(self._expiries)
            held = self.held.get(ref)
            if held is not None:
                self._expire(held, now_ns)
        for queue in self.queues.values():
            for copy in queue.overdue(now_ns):
                self._reroute(copy, now_ns)
        if self._waiting and now_ns >= self._retry_ns:
            self._retry(now_ns)

    def _retry(self, now_ns: int) -> None:
        self._retry_ns = now_ns + round(self.settings.retry_s * 1e9)
        waiting, self._waiting = self._waiting, {}
        for held in sorted(waiting.values(), key=lambda h: (h.rank, h.ref)):
            self._dispatch(now_ns, held)

    def next_deadline_ns(self, now_ns: int) -> int | None:
        """When `turn` or `take` has something to do next, if nothing else happens."""
        times = [self._expiries[0][0]] if self._expiries else []
        if self._waiting:
            times.append(self._retry_ns)
        for queue in self.queues.values():
            if any(queue.waiting_octets):
                times += [
                    t
                    for t in (queue.next_change_ns(now_ns), queue.next_credit_ns(now_ns))
                    if t is not None
                ]
        return min(times, default=None)

    # ------------------------------------------------------------ what an operator changes

    def configure(self, settings: NodeSettings, now_ns: int) -> None:
        """Other rules, quotas and limits from now on; what is held keeps its class."""
        if settings.node != self.settings.node:
            raise LocalError(f"node {self.settings.node} cannot become {settings.node}")
        self.settings = settings
        for number, queue in self.queues.items():
            queue.limit_bit_s = settings.limits_bit_s.get(number)
        self._decisions.clear()

    def reload(self, plan: ContactPlan, now_ns: int) -> Reload:
        """Another contact plan: what was booked on contacts that are gone finds another way, and
        what had none is tried again."""
        reload = self.router.reload(plan, now_ns)
        self._decisions.clear()
        self._plan_queues(now_ns)
        lost = {contact.key for contact in reload.lost}
        for queue in list(self.queues.values()):
            for copy in queue.queued():
                if any(contact.key in lost for contact in copy.route.contacts):
                    self._reroute(copy, now_ns)
        for overbooked in reload.overbooked:
            if overbooked.contact.source == self.number:
                self._displace(overbooked.contact.dest, overbooked.octets, now_ns)
        self._retry(now_ns)
        return reload

    def _plan_queues(self, now_ns: int) -> None:
        for neighbour in self.router.neighbours():
            self.queue(neighbour, now_ns)
        for queue in self.queues.values():
            queue.plan(self.router.plan, self.number, now_ns)

    def drop(self, ref: int, now_ns: int) -> None:
        """Delete a bundle on an operator's word."""
        held = self.held.get(ref)
        if held is None:
            raise LocalError(f"no bundle {ref} is held")
        self._report(now_ns, self.bundle(ref), Status.DELETED, Reason.TRANSMISSION_CANCELED)
        self._count_deleted(Reason.TRANSMISSION_CANCELED)
        self._forget(held, now_ns)

    # ------------------------------------------------------------ what is held

    def bundle(self, ref: int) -> Bundle:
        """A bundle held, parsed."""
        return self.held[ref].parsed or parse_bundle(self._store.get(ref), check_crc=False)

    def listing(self) -> Iterator[Held]:
        """All that is held, urgent ones first, then the oldest."""
        return iter(sorted(self.held.values(), key=lambda h: (h.rank, h.received_ns, h.ref)))

    def _keep_parsed(self, held: Held, bundle: Bundle) -> None:
        held.parsed = bundle
        self._parsed[held.ref] = size = held.octets + _PARSED_OVERHEAD
        self._parsed_octets += size
        while self._parsed_octets > _PARSED_OCTETS:
            ref = next(iter(self._parsed))
            self._drop_parsed(self.held[ref])

    def _drop_parsed(self, held: Held) -> None:
        held.parsed = None
        self._parsed_octets -= self._parsed.pop(held.ref, 0)

    def _expire(self, held: Held, now_ns: int) -> None:
        """§5.5."""
        self.counts.expired += 1
        self._count_deleted(Reason.LIFETIME_EXPIRED)
        if held.report_flags & BundleFlags.REPORT_DELETION:
            self._report(now_ns, self.bundle(held.ref), Status.DELETED, Reason.LIFETIME_EXPIRED)
        self._forget(held, now_ns)

    def _discarded(self, now_ns: int, bundle: Bundle, reason: Reason) -> Verdict:
        self._count_deleted(reason)
        self._report(now_ns, bundle, Status.DELETED, reason)
        return Verdict.DELETED

    def _count_deleted(self, reason: Reason) -> None:
        self.counts.deleted[reason.name] = self.counts.deleted.get(reason.name, 0) + 1

    def _forget(self, held: Held, now_ns: int) -> None:
        for copy in list(held.copies.values()):
            self._withdraw(held, copy)
        ref = held.ref
        del self.held[ref]
        self.held_octets -= held.octets
        del self._by_digest[held.digest]
        self._waiting.pop(ref, None)
        self._drop_parsed(held)
        if held.endpoint is not None and (local := self._local.get(held.endpoint)) is not None:
            local[held.rank].pop(ref, None)
            if not any(local):
                del self._local[held.endpoint]
        if held.unit in self._units:
            self._units[held.unit].pop(ref, None)
            if not self._units[held.unit]:
                del self._units[held.unit]
        seen = self._remember(held, now_ns)
        self._store.remove(ref, seen)

    def _remember(self, held: Held, now_ns: int) -> Seen | None:
        if held.expiry_ns <= now_ns:
            return None
        self._seen[held.digest] = held.expiry_ns
        while len(self._seen) > self.settings.remembered:
            del self._seen[next(iter(self._seen))]
        return Seen(held.digest, held.expiry_ns)

    # ------------------------------------------------------------ reports

    def _report(
        self, now_ns: int, bundle: Bundle, status: Status, reason: Reason = Reason.NO_INFORMATION
    ) -> None:
        """A status report if the bundle asks for it (§6.1, §6.2) and the rate allows it."""
        primary = bundle.primary
        wanted = primary.flags & status.flag
        if not wanted or primary.is_administrative or primary.report_to.is_null:
            return
        gained = (now_ns - self._report_ns) / 1e9 * self.settings.reports_per_s
        most = max(self.settings.reports_per_s, 1.0)
        self._report_credit = min(self._report_credit + gained, most)
        self._report_ns = now_ns
        if self._report_credit < 1:
            self.counts.reports_withheld += 1
            return
        self._report_credit -= 1
        time_ms = dtn_ms_from_tai_ns(now_ns)
        payload = StatusReport.about(bundle, status, reason, time_ms).build()
        report = self.made(
            now_ns,
            self.settings.node,
            primary.report_to,
            payload,
            lifetime_ms=_REPORT_LIFETIME_MS,
            flags=BundleFlags.ADMINISTRATIVE_RECORD,
        )
        digest, expires_ns = digest_of(report), expiry_ns(report, now_ns)
        verdict = self._admit(now_ns, report, report.build(), 0, digest, expires_ns)
        if verdict is Verdict.STORED:
            self.counts.reports_sent += 1

    def made(
        self,
        now_ns: int,
        source: Eid,
        destination: Eid,
        payload: bytes,
        *,
        lifetime_ms: int,
        flags: int = 0,
        report_to: Eid = NULL_ENDPOINT,
        crc_type: int = CrcType.CRC32C,
    ) -> Bundle:
        """A bundle of this node's, its creation timestamp the next one."""
        creation = self.creation(now_ns)
        primary = Primary(flags, crc_type, destination, source, report_to, creation, lifetime_ms)
        return Bundle(primary, (payload_block(payload, crc_type=crc_type),))
