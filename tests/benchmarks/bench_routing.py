"""Best route and plan reload, 50 nodes, 10³ to 10⁵ contacts.

The peer is aiodtnsim's search for SABR: earliest arrival alone, while ours also weighs volume,
priority, backlog and lifetime, settles ties by the standard's four keys and times the route.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.contact_plan_formats import build_ion, read_ion
from protocols.dtn.routing import Demand, Router
from protocols.timecodes.tai import NS_PER_SECOND, tai_ns_from_utc_iso
from tests.benchmarks.harness import Case, PeerMissing

NODES = 50
HORIZON_S = 30 * 86_400
QUERIES = 100
BEGIN_NS = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")
PEER = "aiodtnsim tvdijkstra"


def plan_of(count: int) -> ContactPlan:
    """About `count` contacts over all links, or one each on `count` of them."""
    rng = random.Random(count)
    links = [(a, b) for a in range(1, NODES + 1) for b in range(1, NODES + 1) if a != b]
    rng.shuffle(links)
    each = max(1, round(count / len(links)))
    spacing_s = HORIZON_S // each
    contacts: list[Contact] = []
    ranges: list[Range] = []
    for a, b in links[: max(1, round(count / each))]:
        ns = BEGIN_NS + rng.randrange(spacing_s) * NS_PER_SECOND
        owlt_ns = rng.randint(1, 600) * NS_PER_SECOND
        for i in range(each):
            end_ns = ns + rng.randint(60, max(120, spacing_s // 2)) * NS_PER_SECOND
            contacts.append(Contact(ns, end_ns, a, b, 8 * 10**9))
            # A range for two contacts or so, as our own exports have them.
            begin_ns = ranges.pop().start_ns if i % 2 else ns
            ranges.append(Range(begin_ns, end_ns, a, b, owlt_ns))
            ns = end_ns + rng.randint(10, spacing_s // 2 + 11) * NS_PER_SECOND
    return ContactPlan(tuple(contacts), tuple(ranges))


def queries() -> list[tuple[int, int, int]]:
    """(source, destination, second)."""
    rng = random.Random(1)
    return [
        (*rng.sample(range(1, NODES + 1), 2), rng.randrange(HORIZON_S // 3)) for _ in range(QUERIES)
    ]


def ours(plan: ContactPlan) -> Callable[[], list[int | None]]:
    graph = Router(1, plan).graph
    routers: dict[int, Router] = {}
    for source, _, _ in queries():
        # The layout is the same for each node.
        routers[source] = Router(source, ContactPlan())
        routers[source].plan, routers[source].graph = plan, graph

    def work() -> list[int | None]:
        arrivals: list[int | None] = []
        for source, dest, s in queries():
            routes = routers[source].route(Demand(dest, 1), BEGIN_NS + s * NS_PER_SECOND).routes
            # One octet at 8 Gbit/s takes a nanosecond at each contact.
            arrivals.append((routes[0].arrival_ns - BEGIN_NS) // NS_PER_SECOND if routes else None)
        return arrivals

    return work


def peer(plan: ContactPlan) -> Callable[[], Callable[[], list[int | None]]]:
    def set_up() -> Callable[[], list[int | None]]:
        try:
            from tests.protocols.dtn.plans import aiodtnsim_graph, earliest_by_aiodtnsim
        except ImportError as error:
            raise PeerMissing(str(error)) from error
        graph = aiodtnsim_graph(plan)
        begin_s = BEGIN_NS // NS_PER_SECOND

        def work() -> list[int | None]:
            arrivals = [earliest_by_aiodtnsim(graph, a, b, begin_s + s) for a, b, s in queries()]
            return [None if s is None else s - begin_s for s in arrivals]

        return work

    return set_up


def reload_of(plan: ContactPlan) -> Callable[[], int]:
    """Text of the new plan to a router that can answer by it; every twentieth contact differs."""
    router = Router(1, plan)
    for c in plan.contacts[::7]:
        router.graph.book(c.key, 1000, 1)
    changed = tuple(
        c._replace(end_ns=c.end_ns - NS_PER_SECOND) if i % 20 == 0 else c
        for i, c in enumerate(plan.contacts)
    )
    texts = [build_ion(each).decode() for each in (plan, ContactPlan(changed, plan.ranges))]
    turn = 0

    def work() -> int:
        nonlocal turn
        turn += 1
        done = router.reload(read_ion(texts[turn % 2]), BEGIN_NS)
        assert not done.lost
        return len(done.change.changed)

    return work


def cases() -> Iterable[Case]:
    for power in (3, 4, 5):
        plan = plan_of(10**power)
        yield Case(
            name=f"best route, {NODES} nodes, 10^{power} contacts",
            units=QUERIES,
            unit="kroute/s",
            scale=1e3,
            ours=ours(plan),
            peers={PEER: peer(plan)},
            equal=lambda a, b: a == b,
            goal_rate=1.0,
        )
    yield Case(
        name="plan reload from ION commands, 10^5 contacts",
        units=len(plan.contacts),
        unit="kcontact/s",
        scale=1e3,
        ours=reload_of(plan),
        goal_rate=100.0,
    )
