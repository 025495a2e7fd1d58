"""`make trial-routes`: earliest arrivals on 10,000 random plans, against two other programs.

networkx searches a graph of (node, second), with light times that change from contact to contact
and radiation latencies; aiodtnsim's search for SABR (`tvdijkstra`) knows neither, so it gets light
times by link and a bundle of one octet, whose nanoseconds do not count.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable

from protocols.dtn.contact_plan import ContactPlan, Range
from protocols.dtn.routing import Demand, Router
from protocols.timecodes.tai import NS_PER_SECOND
from tests.protocols.dtn.plans import (
    ONE_SECOND_OCTETS,
    aiodtnsim_graph,
    earliest_by_aiodtnsim,
    earliest_by_time_expansion,
    random_plan,
)

NODES = 7


def against_networkx(rng: random.Random) -> tuple[int, int]:
    """(destinations reached, not reached) of one plan; AssertionError where we differ."""
    plan = random_plan(rng, nodes=NODES)
    now_s = rng.randint(0, 30)
    router = Router(1, plan)
    reached = 0
    for dest in range(2, NODES + 1):
        routes = router.route(Demand(dest, ONE_SECOND_OCTETS), now_s * NS_PER_SECOND).routes
        ours = routes[0].arrival_ns if routes else None
        theirs = earliest_by_time_expansion(plan, 1, dest, now_s)
        assert ours == (None if theirs is None else theirs * NS_PER_SECOND), (plan, dest, now_s)
        reached += ours is not None
    return reached, NODES - 1 - reached


def against_aiodtnsim(rng: random.Random) -> tuple[int, int]:
    plan = random_plan(rng, nodes=NODES)
    owlts = {(c.source, c.dest): rng.randint(0, 8) * NS_PER_SECOND for c in plan.contacts}
    plan = ContactPlan(
        tuple(c._replace(rate_bit_s=8 * 10**9) for c in plan.contacts),
        tuple(
            Range(c.start_ns, c.end_ns, c.source, c.dest, owlts[c.source, c.dest])
            for c in plan.contacts
        ),
    )
    now_s = rng.randint(0, 30)
    router = Router(1, plan)
    graph = aiodtnsim_graph(plan)
    reached = 0
    for dest in sorted(plan.nodes - {1}):
        routes = router.route(Demand(dest, 1), now_s * NS_PER_SECOND).routes
        ours = routes[0].arrival_ns // NS_PER_SECOND if routes else None
        assert ours == earliest_by_aiodtnsim(graph, 1, dest, now_s), (plan, dest, now_s)
        reached += ours is not None
    return reached, len(plan.nodes - {1}) - reached


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=734)
    arguments = parser.parse_args()
    trials: dict[str, Callable[[random.Random], tuple[int, int]]] = {
        "networkx, time-expanded graph": against_networkx,
        "aiodtnsim, tvdijkstra": against_aiodtnsim,
    }
    for name, trial in trials.items():
        rng = random.Random(arguments.seed)
        begin = time.perf_counter()
        asked = [trial(rng) for _ in range(arguments.plans)]
        found, none = (sum(column) for column in zip(*asked, strict=True))
        print(
            f"{name}: {arguments.plans:,} plans, {found + none:,} destinations: {found:,} earliest "
            f"arrivals equal, {none:,} out of reach for both; {time.perf_counter() - begin:.0f} s"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
