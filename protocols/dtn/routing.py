"""Schedule-aware bundle routing: which neighbour a bundle goes to (CCSDS 734.3-B-1).

The standard lets an implementation decide how many routes it computes (§3.2.6.9.1) and ranks what
it has (§3.2.8.1.4 a): earliest projected bundle arrival, fewest contacts, latest termination,
smallest entry node.  Here the ranking holds for all routes that exist: the search itself knows the
bundle's size, priority and lifetime, the backlog and the volume left, so that routes that §3.2.6.9
would ignore are never made, and none is hidden behind them.

A route visits a node once.  For a bundle sent whole, the volume limit of a route (§3.2.6.8) needs
no rule of its own: each contact must take all of it before it ends, so no later end can cut it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from protocols.dtn.contact_graph import PRIORITIES, ContactGraph, Overbooked
from protocols.dtn.contact_plan import Contact, ContactPlan, PlanChange, diff, uncollected
from protocols.dtn.routing_kernels import NEVER, Query, best_route, timed
from protocols.errors import LocalError
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: A bundle that never expires.
NO_EXPIRY_NS: Final = int(NEVER)
BULK, NORMAL, EXPEDITED = range(PRIORITIES)
_PRIORITY_NAMES: Final = ("bulk", "normal", "expedited")
#: Octets are float64 where they meet rates; so much is exact.
_EVC_LIMIT: Final = 2**53
_NOTHING: Final = np.empty(0, np.int64)
#: A rank behind that of any route.
_LAST: Final = (2**63, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Demand:
    """What routing must know of a bundle.

    evc_octets: estimated volume consumption (§2.4.3): its size with the convergence layer's
    overhead.  excluded: nodes it must not be given to next (§3.2.5.2): the one that it came from,
    and those that refused it.  critical: to every plausible neighbour.  may_fragment: anticipatory
    fragmentation (§3.2.8.2) is allowed where no route takes it whole.
    """

    dest: int
    evc_octets: int
    priority: int = BULK
    expiry_ns: int = NO_EXPIRY_NS
    critical: bool = False
    may_fragment: bool = False
    excluded: frozenset[int] = frozenset()
    least_confidence: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.evc_octets < _EVC_LIMIT:
            raise LocalError(f"bundle of {self.evc_octets} octets; 1 to {_EVC_LIMIT - 1} wanted")
        if not 0 <= self.priority < PRIORITIES:
            raise LocalError(f"priority {self.priority}: 0 (bulk), 1 (normal) or 2 (expedited)")


@dataclass(frozen=True, slots=True)
class Route:
    """A route and what it means for one bundle; times TAI.

    departures_ns, arrivals_ns: first octet's transmission and last octet's arrival (§3.2.6.3,
    §3.2.6.6), contact by contact; the first departure is the earliest transmission opportunity
    (§3.2.6.2).  volume_limit_octets: §3.2.6.8.10, before this bundle is booked.
    """

    contacts: tuple[Contact, ...]
    departures_ns: tuple[int, ...]
    arrivals_ns: tuple[int, ...]
    volume_limit_octets: int
    confidence: float

    @property
    def entry(self) -> int:
        """Entry node (§1.4): the neighbour that gets the bundle."""
        return self.contacts[0].dest

    @property
    def arrival_ns(self) -> int:
        """Projected bundle arrival time (§3.2.6.7)."""
        return self.arrivals_ns[-1]

    @property
    def termination_ns(self) -> int:
        """Earliest end of its contacts (§2.3.2.1)."""
        return min(c.end_ns for c in self.contacts)

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Smaller is better (§3.2.8.1.4 a)."""
        return self.arrival_ns, len(self.contacts), -self.termination_ns, self.entry

    def __str__(self) -> str:
        nodes = "→".join(
            str(n) for n in (self.contacts[0].source, *(c.dest for c in self.contacts))
        )
        return (
            f"{nodes}: sent {utc_iso_from_tai_ns(self.departures_ns[0], 0)}, there "
            f"{utc_iso_from_tai_ns(self.arrival_ns, 0)}, {len(self.contacts)} contacts, usable "
            f"until {utc_iso_from_tai_ns(self.termination_ns, 0)}, room for "
            f"{self.volume_limit_octets:,} octets"
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """routes: the best, or for a critical bundle the best by each neighbour, best first; or none.

    fragment_octets: no route takes the bundle whole; the one named takes a first fragment of so
    much volume.
    """

    routes: tuple[Route, ...] = ()
    fragment_octets: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of a bundle by one neighbour, and why (for people).

    clause: the rule of §3.2.6.9 that refuses it, or of §3.2.8.1.4 by which it is ranked.
    """

    entry: int
    chosen: bool
    why: str
    clause: str
    route: Route | None = None

    def __str__(self) -> str:
        mark = "chosen" if self.chosen else "not chosen"
        route = f"; {self.route}" if self.route else ""
        return f"via {self.entry}: {mark}: {self.why} (§{self.clause}){route}"


@dataclass(frozen=True, slots=True)
class Reload:
    """lost: contacts with bookings that the new plan has no more; their bundles need new routes."""

    change: PlanChange
    lost: tuple[Contact, ...]
    overbooked: tuple[Overbooked, ...]
    unranged: tuple[Contact, ...]


@dataclass(slots=True)
class Router:
    """Routing at one node.  Time, backlog and bundles are arguments; it keeps plan and bookings.

    owlt_margin_ratio: see `ContactGraph`.
    """

    node: int
    plan: ContactPlan
    owlt_margin_ratio: float = 0.0
    graph: ContactGraph = field(init=False)

    def __post_init__(self) -> None:
        self.graph = ContactGraph(self.plan, self.owlt_margin_ratio)

    # ------------------------------------------------------------ choosing

    def route(
        self, demand: Demand, now_ns: int, backlog: Mapping[int, int] | None = None
    ) -> Decision:
        """The best route now.

        backlog: octets queued here for each neighbour ahead of this bundle, that is of its
        priority or above (§3.2.6.2 b).
        """
        query = self._query(demand, now_ns, backlog)
        if query is None:
            return Decision()
        if demand.critical:
            routes = [
                route
                for entry in self.neighbours()
                if (route := self._find(self._only(query, entry))) is not None
            ]
            if routes:
                return Decision(tuple(sorted(routes, key=lambda r: r.rank)))
        elif (route := self._find(query)) is not None:
            return Decision((route,))
        if demand.may_fragment:
            # The smallest piece shows the best way for a first fragment.
            piece = self._find(query._replace(evc=1))
            if piece is not None:
                limit = min(piece.volume_limit_octets, demand.evc_octets)
                return Decision((piece,), fragment_octets=limit)
        return Decision()

    def alternatives(
        self, demand: Demand, now_ns: int, backlog: Mapping[int, int] | None = None
    ) -> Iterator[Route]:
        """Routes from the best on, each once (§3.2.6.10; Yen's loopless paths, Lawler's rule)."""
        query = self._query(demand, now_ns, backlog)
        best = self._find(query) if query is not None else None
        if query is None or best is None:
            return
        given: set[tuple[Contact, ...]] = set()
        # Candidates with the number of contacts that they share with the route they left.
        candidates: dict[tuple[Contact, ...], tuple[Route, int]] = {best.contacts: (best, 0)}
        while candidates:
            contacts = min(candidates, key=lambda c: (candidates[c][0].rank, c))
            route, shared = candidates.pop(contacts)
            given.add(contacts)
            yield route
            for length in range(shared, len(contacts)):
                spur = self._spur(query, route, length, given)
                if spur is not None and spur.contacts not in given:
                    candidates.setdefault(spur.contacts, (spur, length))

    def neighbours(self) -> list[int]:
        """Nodes that this one has contacts to, by number."""
        here = self.graph.index.get(self.node)
        if here is None:
            return []
        a = self.graph.arrays
        links = a.link_dest[a.out_first[here] : a.out_first[here + 1]]
        return [self.graph.numbers[i] for i in links.tolist()]

    # ------------------------------------------------------------ booking

    def book(self, route: Route, evc_octets: int, priority: int) -> tuple[Overbooked, ...]:
        """Take the bundle's volume off each contact (§3.2.8.1.2).

        Returns which contacts from this node lower priorities have now booked in vain: that much
        of their bundles must be routed again.
        """
        for c in route.contacts:
            self.graph.book(c.key, evc_octets, priority)
        first = route.contacts[0]
        left = self.graph.remaining_octets(first.key, BULK)
        return (Overbooked(first, -left),) if left is not None and left < 0 else ()

    def release(self, route: Route, evc_octets: int, priority: int) -> None:
        """Give back what `book` took: the bundle expired, or is routed again."""
        for c in route.contacts:
            self.graph.book(c.key, -evc_octets, priority)

    @uncollected()
    def reload(self, plan: ContactPlan, now_ns: int) -> Reload:
        """Change to another plan while running; what is booked stays booked."""
        change = diff(self.plan, plan)
        if not change:
            return Reload(change, (), self.graph.overbooked(), self.graph.unranged)
        self.graph, lost = self.graph.reloaded(plan, now_ns)
        self.plan = plan
        return Reload(change, lost, self.graph.overbooked(), self.graph.unranged)

    # ------------------------------------------------------------ explaining

    def explain(
        self, demand: Demand, now_ns: int, backlog: Mapping[int, int] | None = None
    ) -> tuple[Judgement, ...]:
        """Each neighbour's best route, and why the bundle takes it or not; the chosen first."""
        chosen = {route.entry: route for route in self.route(demand, now_ns, backlog).routes}
        best = next(iter(chosen.values()), None)
        query = self._query(demand, now_ns, backlog)
        judgements = [
            self._judge(demand, query, entry, chosen.get(entry), best)
            for entry in self.neighbours()
        ]
        return tuple(
            sorted(judgements, key=lambda j: (not j.chosen, j.route.rank if j.route else _LAST))
        )

    def _judge(
        self,
        demand: Demand,
        query: Query | None,
        entry: int,
        chosen: Route | None,
        best: Route | None,
    ) -> Judgement:
        def refused(why: str, clause: str, route: Route | None = None) -> Judgement:
            return Judgement(entry, False, why, clause, route)

        if query is None:
            return refused(f"the plan has no contact to or from {demand.dest}", "3.2.2")
        if chosen is not None:
            why = "best of all routes" if chosen is best else "critical: best by this neighbour"
            return Judgement(entry, True, why, "3.2.8.1.4", chosen)
        if entry in demand.excluded:
            return refused("excluded: the bundle came from it, or it refused it", "3.2.6.9 b")
        only = self._only(query, entry)
        route = self._find(only)
        if route is not None and best is not None:
            return refused(_worse(route, best), "3.2.8.1.4 a", route)
        # Each rule is dropped until a route appears: the last one dropped is what refuses it.
        late = self._find(only._replace(deadline=NO_EXPIRY_NS))
        if late is not None:
            expiry = utc_iso_from_tai_ns(demand.expiry_ns, 0)
            return refused(f"arrives after it expires at {expiry}", "3.2.6.9 e", late)
        full = self._find(only._replace(deadline=NO_EXPIRY_NS, priority=-1))
        if full is not None:
            return refused(self._fullest(full, demand), "3.2.6.9 f, g", full)
        free = only._replace(
            deadline=NO_EXPIRY_NS, priority=-1, backlog=np.zeros_like(only.backlog)
        )
        if (queued := self._find(free)) is not None:
            return refused("its contacts end before the queue is sent", "3.2.6.9 d", queued)
        if (short := self._find(free._replace(evc=1))) is not None:
            return refused(
                f"no contact on the way is long enough for {demand.evc_octets:,} octets",
                "3.2.6.9 g",
                short,
            )
        if (unsure := self._find(free._replace(evc=1, least_confidence=0.0))) is not None:
            return refused(
                f"a contact's confidence is below {demand.least_confidence:g}", "2.3.1", unsure
            )
        return refused(f"no contacts lead from it to {demand.dest} any more", "3.2.6.10")

    def _fullest(self, route: Route, demand: Demand) -> str:
        left, contact = min(
            (self.graph.remaining_octets(c.key, demand.priority) or 0, c) for c in route.contacts
        )
        return (
            f"{contact} has {max(left, 0):,} octets left for {_PRIORITY_NAMES[demand.priority]} "
            f"bundles, {demand.evc_octets:,} wanted"
        )

    # ------------------------------------------------------------ searching

    def _query(
        self, demand: Demand, now_ns: int, backlog: Mapping[int, int] | None
    ) -> Query | None:
        """None if the plan does not know this node or the destination, or they are one."""
        index = self.graph.index
        source, dest = index.get(self.node), index.get(demand.dest)
        if source is None or dest is None or source == dest:
            return None
        octets = np.zeros(len(index), np.float64)
        for node, queued in (backlog or {}).items():
            if node in index:
                octets[index[node]] = queued
        entries = everywhere = self.graph.everywhere
        if demand.excluded:
            entries = everywhere.copy()
            entries[[index[node] for node in demand.excluded if node in index]] = False
        return Query(
            source,
            dest,
            now_ns,
            demand.expiry_ns,
            demand.evc_octets,
            demand.priority,
            demand.least_confidence,
            octets,
            everywhere,
            entries,
            _NOTHING,
        )

    def _only(self, query: Query, entry: int) -> Query:
        entries = np.zeros_like(query.entries)
        at = self.graph.index[entry]
        entries[at] = query.entries[at]
        return query._replace(entries=entries)

    def _find(self, query: Query) -> Route | None:
        places = best_route(self.graph.arrays, query)
        return self._timed(query, places) if places.size else None

    def _spur(
        self, query: Query, route: Route, length: int, given: set[tuple[Contact, ...]]
    ) -> Route | None:
        """The best route that shares its first `length` contacts with this, and differs next."""
        root = route.contacts[:length]
        places = [self._place(c) for c in root]
        index = self.graph.index
        banned = [self._place(c[length]) for c in given if c[:length] == root and len(c) > length]
        spur = query._replace(banned=np.array(banned, np.int64))
        if root:
            allowed = query.allowed.copy()
            allowed[[query.source, *(index[c.dest] for c in root[:-1])]] = False
            spur = spur._replace(
                source=index[root[-1].dest],
                ready=route.arrivals_ns[length - 1],
                backlog=np.zeros_like(query.backlog),
                entries=allowed,
                allowed=allowed,
            )
        rest = best_route(self.graph.arrays, spur)
        if not rest.size:
            return None
        return self._timed(query, np.concatenate((np.array(places, np.int64), rest)))

    def _place(self, contact: Contact) -> int:
        place = self.graph.place(contact.key)
        if place is None:
            raise LocalError(f"{contact} is not in the plan")
        return place

    def _timed(self, query: Query, places: NDArray[np.int64]) -> Route:
        departures, arrivals, limit = timed(self.graph.arrays, query, places)
        contacts = tuple(map(self.graph.contact, places.tolist()))
        confidence = math.prod(c.confidence for c in contacts)
        return Route(
            contacts, tuple(departures.tolist()), tuple(arrivals.tolist()), limit, confidence
        )


def _worse(route: Route, best: Route) -> str:
    arrival, contacts, termination, _ = (
        ours - theirs for ours, theirs in zip(route.rank, best.rank, strict=True)
    )
    if arrival:
        return f"arrives {arrival / 1e9:,.3f} s later than by {best.entry}"
    if contacts:
        return f"arrives as early as by {best.entry}, by {contacts} contacts more"
    if termination:
        return f"equal to the route by {best.entry}, but ends {termination / 1e9:,.3f} s sooner"
    return f"equal to the route by {best.entry}, whose number is smaller"
