"""Routing kernels compiled, or read from the cache, before the first bundle waits for them."""

from __future__ import annotations

from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.routing import Demand, Router


def warm() -> None:
    """Route once, in a plan of two nodes."""
    plan = ContactPlan((Contact(0, 10**12, 1, 2, 8_000),), (Range(0, 10**12, 1, 2, 0),))
    router = Router(1, plan)
    decision = router.route(Demand(2, 100), 0, {2: 0})
    for route in decision.routes:
        router.book(route, 100, 0)
