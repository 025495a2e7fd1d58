"""The best route through a contact graph, exactly (CCSDS 734.3-B §3.2.6, §3.2.8.1.4).

Nodes are labelled, not contacts: whoever is at a node earlier can do all that one can who comes
later, so the earliest arrival at each node is enough for the first key, projected bundle arrival.
It is not for the others: a route that reaches a relay later, but by fewer contacts, may wait for
the same last contact.  So they are settled among the nodes that lie on some route of the earliest
arrival (`_latest_departures` finds them, usually few): fewest contacts by layers, then the latest
termination time, then the smallest entry node, each by asking again for a route that is better.

Contacts of a link are sorted and do not overlap, so that each is found by bisection.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

#: int64 inside kernels; NumPy's and Python's integers mix there, which their types do not.
Int = Any

NEVER: Final[Int] = np.int64(2**63 - 1)
BEFORE: Final[Int] = np.int64(-(2**63))

I64 = NDArray[np.int64]
F64 = NDArray[np.float64]


class GraphArrays(NamedTuple):
    """m contacts by (link, start), L links by (source, dest), n nodes by number."""

    start: I64
    end: I64
    owlt: I64  # with its margin
    later_owlt: I64  # least of this contact's and of later ones' of its link
    rate: F64  # bit/s
    confidence: F64
    remaining: I64  # [3, m]: maximum transmission volume in octets, by priority (§3.2.6.8.8)
    link_first: I64  # [L + 1]
    link_source: I64
    link_dest: I64
    out_first: I64  # [n + 1], into links
    in_first: I64  # [n + 1], into in_links
    in_links: I64


class Query(NamedTuple):
    """What the search is for; node indices, TAI ns.

    priority −1: whatever volume is left.  banned: contacts that may not be the first.
    """

    source: int
    dest: int
    ready: int
    deadline: int
    evc: int
    priority: int
    least_confidence: float
    backlog: F64  # [n] octets queued at the source for each neighbour
    allowed: NDArray[np.bool_]  # [n] nodes that may be on the route
    entries: NDArray[np.bool_]  # [n] nodes that may be the first
    banned: I64


#: A radiation latency that no contact has room for.
_TOO_LONG: Final[Int] = np.int64(2**61)


@njit(cache=True)
def radiation_ns(octets: float, rate_bit_s: float) -> Int:
    """Radiation latency (§3.2.6.4), rounded up."""
    ns = np.ceil(octets * 8e9 / rate_bit_s)
    return np.int64(ns) if ns < 2.0**61 else _TOO_LONG


@njit(cache=True)
def _among(banned: I64, contact: Int) -> bool:
    found = False
    for other in banned:
        found |= other == contact
    return found


@njit(cache=True)
def _first_reaching(values: I64, low: Int, high: Int, wanted: Int) -> Int:
    while low < high:
        middle = (low + high) // 2
        if values[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low


@njit(cache=True)
def _link_of(g: Any, contact: Int) -> Int:
    return _first_reaching(g.link_first, 0, g.link_first.size, contact + 1) - 1


@njit(cache=True)
def _usable(g: Any, q: Any, contact: Int, theta: Int) -> bool:
    return (
        g.end[contact] >= theta
        and g.confidence[contact] >= q.least_confidence
        and (q.priority < 0 or g.remaining[q.priority, contact] >= q.evc)
    )


@njit(cache=True)
def _hop(g: Any, q: Any, link: Int, ready: Int, theta: Int) -> tuple[Int, Int]:
    """(last octet's arrival at the other end, contact) of a bundle that is here from `ready` on."""
    high = g.link_first[link + 1]
    best, chosen = NEVER, np.int64(-1)
    for i in range(_first_reaching(g.end, g.link_first[link], high, ready), high):
        if g.start[i] + g.later_owlt[i] >= best:
            break
        if not _usable(g, q, i, theta):
            continue
        begin = max(g.start[i], ready)
        latency = radiation_ns(q.evc, g.rate[i])
        if latency > g.end[i] - begin:
            continue
        arrival = begin + latency + g.owlt[i]
        if arrival < best:
            best, chosen = arrival, np.int64(i)
    return best, chosen


@njit(cache=True)
def _first_hop(g: Any, q: Any, link: Int, theta: Int) -> tuple[Int, Int]:
    """The same at the source: after its backlog (§3.2.6.2), and not by a banned contact."""
    high = g.link_first[link + 1]
    best, chosen = NEVER, np.int64(-1)
    backlog = q.backlog[g.link_dest[link]]
    for i in range(_first_reaching(g.end, g.link_first[link], high, q.ready + 1), high):
        if g.start[i] + g.later_owlt[i] >= best:
            break
        begin = max(g.start[i], q.ready)
        lien = radiation_ns(max(backlog, 0.0), g.rate[i])
        backlog -= (g.end[i] - begin) * g.rate[i] / 8e9
        if not _usable(g, q, i, theta):
            continue
        latency = radiation_ns(q.evc, g.rate[i])
        if lien + latency > g.end[i] - begin or _among(q.banned, i):
            continue
        arrival = begin + lien + latency + g.owlt[i]
        if arrival < best:
            best, chosen = arrival, np.int64(i)
    return best, chosen


@njit(cache=True)
def _earliest(g: Any, q: Any) -> I64:
    """Earliest arrival at each node, as far as the destination; NEVER elsewhere."""
    arrival = np.full(g.out_first.size - 1, NEVER)
    done = np.zeros(arrival.size, np.bool_)
    arrival[q.source] = q.ready
    heap: list[tuple[Int, Int]] = [(np.int64(q.ready), np.int64(q.source))]
    while heap:
        ready, node = heappop(heap)
        if done[node]:
            continue
        done[node] = True
        if node == q.dest:
            break
        for link in range(g.out_first[node], g.out_first[node + 1]):
            other = g.link_dest[link]
            if done[other] or not q.allowed[other]:
                continue
            # Most links need no look at their contacts: at light's speed it is too late already.
            soonest = ready + g.later_owlt[g.link_first[link]]
            if soonest >= min(arrival[other], arrival[q.dest]) or soonest > q.deadline:
                continue
            if node == q.source:
                if not q.entries[other]:
                    continue
                there, _ = _first_hop(g, q, link, BEFORE)
            else:
                there, _ = _hop(g, q, link, ready, BEFORE)
            if there < arrival[other] and there <= q.deadline:
                arrival[other] = there
                heappush(heap, (there, np.int64(other)))
    return arrival


@njit(cache=True)
def _latest_ready(g: Any, q: Any, link: Int, by: Int, not_before: Int) -> Int:
    """Latest time to have the bundle here and still bring it over the link by then, or BEFORE."""
    low = g.link_first[link]
    i = _first_reaching(g.start, low, g.link_first[link + 1], by) - 1
    while i >= low and g.end[i] >= not_before:
        if _usable(g, q, i, BEFORE):
            latency = radiation_ns(q.evc, g.rate[i])
            latest = min(g.end[i], by - g.owlt[i])
            if latest - g.start[i] >= latency:
                return latest - latency
        i -= 1
    return BEFORE


@njit(cache=True)
def _latest_departures(g: Any, q: Any, arrival: I64) -> I64:
    """When each node must have the bundle for the earliest arrival; BEFORE off all such routes."""
    latest = np.full(arrival.size, BEFORE)
    latest[q.dest] = arrival[q.dest]
    heap: list[tuple[Int, Int]] = [(-arrival[q.dest], np.int64(q.dest))]
    while heap:
        negative, node = heappop(heap)
        by = -negative
        if by != latest[node]:
            continue
        for k in range(g.in_first[node], g.in_first[node + 1]):
            link = g.in_links[k]
            other = g.link_source[link]
            # Nodes that the search did not settle can only be reached too late.
            if other == q.source or arrival[other] >= by:
                continue
            ready = _latest_ready(g, q, link, by, arrival[other])
            if ready >= arrival[other] and ready > latest[other]:
                latest[other] = ready
                heappush(heap, (-ready, np.int64(other)))
    return latest


@njit(cache=True)
def _fewest_contacts(g: Any, q: Any, latest: I64, most: Int, theta: Int, entry_below: Int) -> I64:
    """The route of fewest contacts, at most `most`, of the earliest arrival; empty if none.

    theta: every contact ends then or later.  entry_below: its entry node's index is smaller.
    """
    n = latest.size
    best = np.full(n, NEVER)
    taken = np.full((most, n), -1, np.int64)
    fresh = np.zeros(n, np.bool_)
    fresh[q.source] = True
    for layer in range(most):
        before = best.copy()
        upcoming = np.zeros(n, np.bool_)
        for node in range(n):
            if not fresh[node]:
                continue
            for link in range(g.out_first[node], g.out_first[node + 1]):
                other = g.link_dest[link]
                if latest[other] == BEFORE:
                    continue
                if node == q.source:
                    if other >= entry_below or not q.entries[other]:
                        continue
                    there, contact = _first_hop(g, q, link, theta)
                else:
                    there, contact = _hop(g, q, link, before[node], theta)
                if there < best[other] and there <= latest[other]:
                    best[other] = there
                    taken[layer, other] = contact
                    upcoming[other] = True
        if best[q.dest] <= latest[q.dest]:
            route = np.empty(layer + 1, np.int64)
            node = q.dest
            for k in range(layer, -1, -1):
                # At the fewest contacts each layer added one to every part of the route.
                route[k] = taken[k, node]
                node = g.link_source[_link_of(g, route[k])]
            return route
        fresh = upcoming
    return np.empty(0, np.int64)


@njit(cache=True)
def best_route(g: Any, q: Any) -> I64:
    """Contacts of the best route by §3.2.8.1.4 a), of all that can be; empty if there is none."""
    arrival = _earliest(g, q)
    if arrival[q.dest] == NEVER:
        return np.empty(0, np.int64)
    latest = _latest_departures(g, q, arrival)
    n = latest.size
    route = _fewest_contacts(g, q, latest, (latest != BEFORE).sum(), BEFORE, n)
    while True:
        later = _fewest_contacts(g, q, latest, route.size, g.end[route].min() + 1, n)
        if not later.size:
            break
        route = later
    theta = g.end[route].min()
    while True:
        entry = g.link_dest[_link_of(g, route[0])]
        smaller = _fewest_contacts(g, q, latest, route.size, theta, entry)
        if not smaller.size:
            return route
        route = smaller


@njit(cache=True)
def timed(g: Any, q: Any, route: I64) -> tuple[I64, I64, Int]:
    """First octets' departures, last octets' arrivals and volume limit (§3.2.6.2 to §3.2.6.8)."""
    departures, arrivals = np.empty_like(route), np.empty_like(route)
    ready = q.ready
    for hop, contact in enumerate(route):
        begin = max(g.start[contact], ready)
        if hop == 0:
            link = _link_of(g, contact)
            backlog = q.backlog[g.link_dest[link]]
            # §3.2.6.2 c to g: less what earlier contacts of the link can still send.
            first = _first_reaching(g.end, g.link_first[link], contact, ready + 1)
            for i in range(first, contact):
                backlog -= (g.end[i] - max(g.start[i], ready)) * g.rate[i] / 8e9
            begin += radiation_ns(max(backlog, 0.0), g.rate[contact])
        departures[hop] = begin
        ready = begin + radiation_ns(q.evc, g.rate[contact]) + g.owlt[contact]
        arrivals[hop] = ready
    limit, stop = NEVER, NEVER
    for hop in range(route.size - 1, -1, -1):
        contact = route[hop]
        stop = min(stop, g.end[contact])
        octets = (stop - departures[hop]) * g.rate[contact] / 8e9
        # A contact without end carries more than int64 can say.
        if octets < limit:
            limit = np.int64(octets)
        if q.priority >= 0:
            limit = min(limit, g.remaining[q.priority, contact])
    return departures, arrivals, limit
