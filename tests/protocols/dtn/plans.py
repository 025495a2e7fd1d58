"""Contact plans for tests, and three other ways to find the best route through them.

`every_route` tries all routes, contact by contact, in exact fractions: right by its plainness.
`earliest_by_time_expansion` is networkx: a graph whose nodes are (node, second).
`earliest_by_aiodtnsim` is the search of D3TN's simulator for SABR.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import ceil

import networkx as nx
from aiodtnsim.simulation.cgr.tvdijkstra import tvdijkstra
from tvgutil.contact_plan import SimplePredictedContactTuple
from tvgutil.tvg import TVG

from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.routing import Demand
from protocols.timecodes.tai import NS_PER_SECOND

#: Octets of a bundle and a rate at which they take one second.
ONE_SECOND_OCTETS, ONE_SECOND_BIT_S = 1000, 8000


def random_plan(
    rng: random.Random, *, nodes: int = 7, pairs: int = 14, horizon_s: int = 60, most: int = 3
) -> ContactPlan:
    """Radiation latencies of 1, 2 or 4 s, light times of 0 to 8 s: ties are common."""
    contacts: list[Contact] = []
    ranges: list[Range] = []
    every = [(a, b) for a in range(1, nodes + 1) for b in range(1, nodes + 1) if a != b]
    for one, other in rng.sample(every, pairs):
        s = 0
        for _ in range(rng.randint(1, most)):
            start_s = s + rng.randint(0, horizon_s // 3)
            s = start_s + rng.randint(1, horizon_s // 3)
            rate = ONE_SECOND_BIT_S // rng.choice((1, 1, 2, 4))
            owlt_s = rng.choice((0, 0, 1, 2, 8))
            contacts.append(Contact(start_s * NS_PER_SECOND, s * NS_PER_SECOND, one, other, rate))
            ranges.append(
                Range(
                    start_s * NS_PER_SECOND, s * NS_PER_SECOND, one, other, owlt_s * NS_PER_SECOND
                )
            )
    return ContactPlan(tuple(contacts), tuple(ranges))


def earliest_by_time_expansion(plan: ContactPlan, source: int, dest: int, now_s: int) -> int | None:
    """Second at which the last octet of ONE_SECOND_OCTETS arrives; None if never."""
    graph: nx.DiGraph[tuple[int, int]] = nx.DiGraph()
    seconds = {now_s}
    for c, owlt_ns in zip(plan.contacts, plan.owlts_ns(), strict=True):
        assert owlt_ns is not None
        latency_s = ONE_SECOND_OCTETS * 8 // c.rate_bit_s
        owlt_s = owlt_ns // NS_PER_SECOND
        begin_s, end_s = c.start_ns // NS_PER_SECOND, c.end_ns // NS_PER_SECOND
        for s in range(begin_s, end_s - latency_s + 1):
            graph.add_edge((c.source, s), (c.dest, s + latency_s + owlt_s))
            seconds |= {s, s + latency_s + owlt_s}
    for node in plan.nodes | {source}:
        nx.add_path(graph, [(node, s) for s in range(now_s, max(seconds) + 1)])
    reached = nx.descendants(graph, (source, now_s))
    return min((s for node, s in reached if node == dest), default=None)


def every_route(
    plan: ContactPlan,
    source: int,
    demand: Demand,
    now_ns: int,
    *,
    backlog: Mapping[int, int] | None = None,
    remaining: Mapping[tuple[int, int, int], int] | None = None,
    margin: Fraction = Fraction(0),
) -> Iterator[tuple[tuple[int, int, int, int], tuple[Contact, ...]]]:
    """(rank, contacts) of every route that §3.2.6.9 leaves, in any order.

    remaining: maximum transmission volume for the bundle's priority, where it is not the volume.
    """
    owlts = dict(zip(plan.contacts, plan.owlts_ns(), strict=True))
    bundle_bits = 8 * demand.evc_octets

    def ns(octets: Fraction | int, c: Contact) -> int:
        return ceil(Fraction(octets * 8 * NS_PER_SECOND) / c.rate_bit_s)

    def transmission_opportunity(c: Contact) -> int:
        queue = Fraction((backlog or {}).get(c.dest, 0))
        for prior in plan.contacts:
            if (prior.source, prior.dest) == (c.source, c.dest) and prior.start_ns < c.start_ns:
                usable_ns = max(0, prior.end_ns - max(prior.start_ns, now_ns))
                queue -= Fraction(usable_ns * prior.rate_bit_s, 8 * NS_PER_SECOND)
        return max(c.start_ns, now_ns) + ns(max(queue, Fraction(0)), c)

    def search(
        route: tuple[Contact, ...], ready_ns: int
    ) -> Iterator[tuple[tuple[int, int, int, int], tuple[Contact, ...]]]:
        at = route[-1].dest if route else source
        if at == demand.dest:
            yield (ready_ns, len(route), -min(c.end_ns for c in route), route[0].dest), route
            return
        visited = {source, *(c.dest for c in route)}
        for c in plan.contacts:
            owlt_ns = owlts[c]
            if c.source != at or c.dest in visited or owlt_ns is None:
                continue
            if not route and (c.dest in demand.excluded or c.end_ns <= now_ns):
                continue
            if c.confidence < demand.least_confidence:
                continue
            left = (remaining or {}).get(c.key)
            if (c.volume_octets if left is None else left) * 8 < bundle_bits:
                continue
            begin_ns = transmission_opportunity(c) if not route else max(c.start_ns, ready_ns)
            sent_ns = begin_ns + ns(demand.evc_octets, c)
            arrival_ns = sent_ns + owlt_ns + ceil(owlt_ns * margin)
            if sent_ns <= c.end_ns and arrival_ns <= demand.expiry_ns:
                yield from search((*route, c), arrival_ns)

    if source != demand.dest:
        yield from search((), now_ns)


def aiodtnsim_graph(plan: ContactPlan) -> TVG:
    """The plan as aiodtnsim takes it: contacts of each link by start, seconds."""
    vertices: dict[int, set[int]] = {node: set() for node in plan.nodes}
    edges: dict[tuple[int, int], list[SimplePredictedContactTuple]] = {}
    for c, owlt_ns in zip(plan.contacts, plan.owlts_ns(), strict=True):
        assert owlt_ns is not None
        vertices[c.source].add(c.dest)
        edges.setdefault((c.source, c.dest), []).append(
            SimplePredictedContactTuple(
                tx_node=c.source,
                rx_node=c.dest,
                start_time=c.start_ns / NS_PER_SECOND,
                end_time=c.end_ns / NS_PER_SECOND,
                bit_rate=c.rate_bit_s,
                probability=c.confidence,
                delay=owlt_ns / NS_PER_SECOND,
            )
        )
    return TVG(vertices, edges, contact_type=SimplePredictedContactTuple)


def earliest_by_aiodtnsim(graph: TVG, source: int, dest: int, now_s: int) -> int | None:
    """Best-case delivery, whole seconds."""
    if not {source, dest} <= graph.vertices.keys():
        return None
    result = tvdijkstra(
        graph,
        source,
        dest_node=dest,
        start_time=now_s,
        node_blacklist=set(),
        contact_blacklist=set(),
    )
    return round(result.get_metrics(dest).eat) if result.is_reachable(dest) else None
