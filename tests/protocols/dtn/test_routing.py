"""Routes against every route there is, and the rules that choose, book and explain them."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.dtn.contact_graph import ContactGraph, Overbooked
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.routing import BULK, EXPEDITED, NORMAL, Demand, Route, Router
from protocols.errors import LocalError
from protocols.timecodes.tai import NS_PER_SECOND as S
from tests.protocols.dtn.plans import ONE_SECOND_OCTETS, every_route, random_plan

seeds = st.integers(0, 2**32 - 1)


def plan_of(*contacts: tuple[int, int, int, int], owlt_s: int = 1, rate: int = 8000) -> ContactPlan:
    """(source, dest, start, end) in seconds; a thousand octets a second."""
    return ContactPlan(
        tuple(Contact(start * S, end * S, a, b, rate) for a, b, start, end in contacts),
        tuple(Range(start * S, end * S, a, b, owlt_s * S) for a, b, start, end in contacts),
    )


def ranks(routes: list[Route]) -> list[tuple[int, int, int, int]]:
    return [route.rank for route in routes]


# ---------------------------------------------------------------- the best route


def test_the_tutorials_example() -> None:
    """Fraire, De Jonckère, Burleigh (2021), figures 3 and 6: A to E, by delivery time."""
    a, b, c, d, e = range(1, 6)
    plan = plan_of(
        (a, b, 0, 60), (b, c, 0, 60), (a, c, 0, 60), (c, d, 0, 30), (a, e, 10, 20),
        (d, e, 0, 10), (d, e, 30, 40), (d, e, 50, 60),
        rate=8 * 10**9,
    )  # fmt: skip
    # One octet takes a nanosecond at each of the contacts, so light seconds are left.
    routes = list(Router(a, plan).alternatives(Demand(e, 1), 0))
    found = [(r.arrival_ns // S, [c.dest for c in r.contacts]) for r in routes]
    assert found[0] == (3, [c, d, e])
    assert [f for f in found if f[1] != [b, c, d, e]] == [
        (3, [c, d, e]),
        (11, [e]),
        (31, [c, d, e]),
        (51, [c, d, e]),
    ]
    # The figure leaves out those by B, which arrive later or with a contact more.
    assert [f for f in found if f[1] == [b, c, d, e]] == [
        (4, [b, c, d, e]),
        (31, [b, c, d, e]),
        (51, [b, c, d, e]),
    ]


@given(seeds, st.integers(0, 20), st.integers(1, 4000), st.integers(0, 2))
def test_the_best_of_all_routes_by_the_four_keys(
    seed: int, now_s: int, octets: int, priority: int
) -> None:
    rng = random.Random(seed)
    plan = random_plan(rng)
    backlog = {node: rng.choice((0, 0, 1000, 8000)) for node in range(1, 8)}
    excluded = frozenset(rng.sample(range(1, 8), rng.choice((0, 0, 1, 2))))
    expiry_ns = rng.choice((10**15, 40 * S))
    margin = rng.choice((0.0, 0.25))
    router = Router(1, plan, margin)
    remaining: dict[tuple[int, int, int], int] = {}
    for c in rng.sample(plan.contacts, len(plan.contacts) // 3):
        # Any earlier traffic, of any priority: what is left for ours is what counts.
        taken, by = rng.randint(0, c.volume_octets), rng.randint(0, 2)
        router.graph.book(c.key, taken, by)
        remaining[c.key] = c.volume_octets - (taken if by >= priority else 0)
    for dest in range(2, 8):
        demand = Demand(dest, octets, priority, expiry_ns, excluded=excluded)
        expected = sorted(
            every_route(
                plan,
                1,
                demand,
                now_s * S,
                backlog=backlog,
                remaining=remaining,
                margin=Fraction(margin),
            )
        )
        found = list(router.route(demand, now_s * S, backlog).routes)
        assert ranks(found) == [rank for rank, _ in expected[:1]]
        critical = Demand(dest, octets, priority, expiry_ns, critical=True, excluded=excluded)
        best_by_entry = {rank[3]: rank for rank, _ in reversed(expected)}
        found = list(router.route(critical, now_s * S, backlog).routes)
        assert ranks(found) == sorted(best_by_entry.values())


@given(seeds, st.integers(1, 4000))
def test_alternatives_are_all_routes_in_order(seed: int, octets: int) -> None:
    rng = random.Random(seed)
    plan = random_plan(rng, nodes=5, pairs=9)
    router = Router(1, plan)
    backlog = {node: rng.choice((0, 3000)) for node in range(1, 6)}
    for dest in (2, 3):
        demand = Demand(dest, octets, excluded=frozenset({5}))
        expected = sorted(every_route(plan, 1, demand, 0, backlog=backlog))
        found = list(router.alternatives(demand, 0, backlog))
        assert len({r.contacts for r in found}) == len(found)
        assert {r.contacts for r in found} == {contacts for _, contacts in expected}
        assert ranks(found) == [rank for rank, _ in expected]


@given(seeds, st.integers(1, 4000), st.integers(0, 30))
def test_the_volume_limit_is_that_of_the_standard(seed: int, octets: int, now_s: int) -> None:
    """§3.2.6.8.5 to .10, written out."""
    rng = random.Random(seed)
    plan = random_plan(rng)
    router = Router(1, plan)
    for c in plan.contacts:
        router.graph.book(c.key, rng.randint(0, c.volume_octets // 2), NORMAL)
    for route in islice(router.alternatives(Demand(2, octets), now_s * S), 5):
        limits = []
        for i, c in enumerate(route.contacts):
            effective_stop_ns = min(later.end_ns for later in route.contacts[i:])
            duration = Fraction(effective_stop_ns - route.departures_ns[i], S)
            volume = duration * c.rate_bit_s / 8
            mtv = router.graph.remaining_octets(c.key, BULK)
            limits.append(min(int(volume), mtv if mtv is not None else 0))
        assert route.volume_limit_octets == min(limits)
        assert route.volume_limit_octets >= octets


def test_waiting_for_the_same_contact_the_fewer_contacts_win() -> None:
    # By 2 and 3 the bundle is at 4 long before it is there by 4's own contact; both then wait.
    plan = plan_of((1, 2, 0, 9), (2, 4, 0, 9), (1, 4, 20, 30), (4, 5, 40, 50))
    (route,) = Router(1, plan).route(Demand(5, 1000), 0).routes
    assert [c.dest for c in route.contacts] == [4, 5]


def test_the_route_that_is_usable_longer_wins() -> None:
    plan = plan_of((1, 2, 0, 10), (1, 3, 0, 11), (2, 4, 20, 30), (3, 4, 20, 30))
    assert Router(1, plan).route(Demand(4, 1000), 0).routes[0].entry == 3


def test_a_later_contact_nearer_by_can_be_earlier() -> None:
    far = Contact(0, 10 * S, 1, 2, 8000)
    near = Contact(10 * S, 20 * S, 1, 2, 8000)
    plan = ContactPlan(
        (far, near), (Range(0, 10 * S, 1, 2, 60 * S), Range(10 * S, 20 * S, 1, 2, 1 * S))
    )
    assert Router(1, plan).route(Demand(2, 1000), 0).routes[0].contacts == (near,)


# ---------------------------------------------------------------- volume and priorities


def test_contacts_fill_up_and_the_next_is_taken() -> None:
    router = Router(1, plan_of((1, 2, 0, 2), (1, 2, 10, 12), (1, 3, 4, 9), (3, 2, 0, 99)))
    demand = Demand(2, 1000)
    entries: list[tuple[int, int]] = []
    for _ in range(10):
        decision = router.route(demand, 0)
        if not decision.routes:
            break
        (route,) = decision.routes
        assert router.book(route, demand.evc_octets, demand.priority) == ()
        entries.append((route.contacts[0].start_ns // S, route.entry))
    assert entries == [(0, 2)] * 2 + [(4, 3)] * 5 + [(10, 2)] * 2
    assert Router(1, router.plan).route(demand, 0).routes
    assert "0 octets left for bulk bundles, 1,000 wanted" in str(router.explain(demand, 0)[0])


def test_expedited_bundles_push_bulk_ones_off_and_say_so() -> None:
    router = Router(1, plan_of((1, 2, 0, 2), (1, 2, 10, 12)))
    bulk, alert = Demand(2, 1500, BULK), Demand(2, 1500, EXPEDITED)
    (route,) = router.route(bulk, 0).routes
    assert router.book(route, bulk.evc_octets, bulk.priority) == ()
    assert router.route(bulk, 0).routes[0].contacts[0].start_ns == 10 * S
    (first,) = router.route(alert, 0).routes
    assert first.contacts == route.contacts
    overbooked = router.book(first, alert.evc_octets, alert.priority)
    assert overbooked == (Overbooked(route.contacts[0], 1000),) == router.graph.overbooked()
    # The bulk bundle is routed again, and all is well.
    router.release(route, bulk.evc_octets, bulk.priority)
    assert router.graph.overbooked() == ()
    assert router.graph.remaining_octets(first.contacts[0].key, BULK) == 500
    assert router.graph.remaining_octets(first.contacts[0].key, EXPEDITED) == 500
    router.release(first, alert.evc_octets, alert.priority)
    assert router.graph.remaining_octets(first.contacts[0].key, BULK) == 2000


def test_the_queue_delays_and_earlier_contacts_relieve_it() -> None:
    """§3.2.6.2, by hand: 3,000 octets queued, 2,000 of them go by the first contact."""
    router = Router(1, plan_of((1, 2, 0, 2), (1, 2, 10, 20)))
    (route,) = router.route(Demand(2, 4000), 0, {2: 3000}).routes
    assert (route.departures_ns, route.arrivals_ns) == ((11 * S,), (16 * S,))
    # A second later only 1,000 of them do.
    (route,) = router.route(Demand(2, 4000), 1 * S, {2: 3000}).routes
    assert route.departures_ns == (12 * S,)
    assert not router.route(Demand(2, 4000), 0, {2: 9000}).routes
    assert router.explain(Demand(2, 4000), 0, {2: 9000})[0].clause == "3.2.6.9 d"


def test_a_first_fragment_goes_where_nothing_takes_the_whole() -> None:
    router = Router(1, plan_of((1, 2, 0, 5), (1, 3, 0, 9), (3, 2, 6, 9)))
    assert not router.route(Demand(2, 7000), 0).routes
    decision = router.route(Demand(2, 7000, may_fragment=True), 0)
    assert decision.fragment_octets == 5000
    assert decision.routes[0].entry == 2
    assert router.route(Demand(2, 4000, may_fragment=True), 0).fragment_octets is None


# ---------------------------------------------------------------- reload


def test_a_reload_keeps_what_is_booked() -> None:
    plan = plan_of((1, 2, 0, 10), (1, 2, 20, 30), (1, 3, 0, 10), (3, 2, 0, 40))
    router = Router(1, plan)
    demand = Demand(2, 2000, NORMAL)
    routes = []
    for _ in range(9):
        (route,) = router.route(demand, 0).routes
        router.book(route, demand.evc_octets, demand.priority)
        routes.append(route)
    same = router.reload(plan, 0)
    assert not same.change
    assert not same.lost
    # 1→2 at 0 s becomes shorter than what it carries; 1→2 at 20 s begins 3 s later; 1→3 is gone.
    changed = plan_of((1, 2, 0, 5), (1, 2, 23, 30), (3, 2, 0, 40), (4, 1, 0, 5))
    done = router.reload(changed, 0)
    assert str(done.change) == (
        "contacts: 2 added, 2 removed, 1 changed; ranges: 3 added, 3 removed"
    )
    gone = plan.contacts[1]
    assert gone.dest == 3
    assert done.lost == (gone,)
    first, moved = changed.contacts[0], changed.contacts[3]
    assert done.overbooked == (Overbooked(first, 5000),)
    assert router.graph.remaining_octets(moved.key, BULK) == 7000 - sum(
        2000 for r in routes if r.contacts[0] == plan.contacts[3]
    )
    # Once a contact is over, nobody asks what was booked on it.
    assert router.reload(plan, 60 * S).lost == ()


@given(seeds, seeds)
def test_a_reloaded_router_routes_like_a_fresh_one(seed: int, other: int) -> None:
    before, after = (random_plan(random.Random(s)) for s in (seed, other))
    router = Router(1, before)
    router.reload(after, 0)
    fresh = Router(1, after)
    for dest in range(2, 8):
        demand = Demand(dest, ONE_SECOND_OCTETS)
        assert router.route(demand, 0) == fresh.route(demand, 0)


def test_contacts_without_a_range_are_named_and_not_used() -> None:
    plan = plan_of((1, 2, 0, 10))
    unranged = Contact(0, S, 2, 3, 8)
    router = Router(1, ContactPlan((*plan.contacts, unranged), plan.ranges))
    assert router.graph.unranged == (unranged,)
    assert not router.route(Demand(3, 1), 0).routes


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=30))
def test_least_light_time_of_this_and_later_contacts(links: list[tuple[int, int]]) -> None:
    """Light times that change from contact to contact, by link."""
    contacts, ranges = [], []
    for i, (link, owlt_s) in enumerate(links):
        contacts.append(Contact(i * S, (i + 1) * S, 1, 2 + link, 8))
        ranges.append(Range(i * S, (i + 1) * S, 1, 2 + link, owlt_s * S))
    graph = ContactGraph(ContactPlan(tuple(contacts), tuple(ranges)))
    for place in range(len(links)):
        c = graph.contact(place)
        later = [
            owlt_s * S
            for i, (link, owlt_s) in enumerate(links)
            if 2 + link == c.dest and i * S >= c.start_ns
        ]
        assert graph.arrays.later_owlt[place] == min(later)
    assert np.array_equal(np.sort(graph.arrays.start), np.arange(len(links)) * S)


# ---------------------------------------------------------------- refusals and explanations


@pytest.mark.parametrize(
    ("demand", "entry", "clause", "words"),
    [
        (Demand(4, 1000), 2, "3.2.8.1.4", "best of all routes"),
        (Demand(4, 1000), 3, "3.2.8.1.4 a", "arrives 18.000 s later than by 2"),
        (Demand(4, 1000, excluded=frozenset({2})), 2, "3.2.6.9 b", "excluded"),
        (Demand(4, 1000, excluded=frozenset({2})), 3, "3.2.8.1.4", "best of all routes"),
        (Demand(4, 1000, expiry_ns=20 * S), 3, "3.2.6.9 e", "after it expires at 1958-01-01T"),
        (Demand(4, 8000), 2, "3.2.6.9 g", "no contact on the way is long enough for 8,000"),
        (Demand(4, 1000, NORMAL), 6, "3.2.6.9 f, g", "500 octets left for normal bundles, 1,000"),
        (Demand(4, 1000), 5, "3.2.6.10", "no contacts lead from it to 4"),
        (Demand(9, 1000), 2, "3.2.2", "no contact to or from 9"),
        (Demand(4, 1000, least_confidence=0.9), 3, "2.3.1", "confidence is below 0.9"),
        (Demand(4, 1000, critical=True), 3, "3.2.8.1.4", "critical: best by this neighbour"),
    ],
)
def test_each_neighbour_is_explained(demand: Demand, entry: int, clause: str, words: str) -> None:
    plan = plan_of(
        (1, 2, 0, 7),
        (1, 3, 0, 9),
        (2, 4, 0, 60),
        (3, 4, 20, 60),
        (1, 5, 0, 9),
        (1, 6, 0, 9),
        (6, 4, 0, 60),
    )
    unsure = tuple(c._replace(confidence=0.5) if c.source == 3 else c for c in plan.contacts)
    router = Router(1, ContactPlan(unsure, plan.ranges))
    router.graph.book((1, 6, 0), 8500, EXPEDITED)
    judgements = router.explain(demand, 0)
    assert [j.chosen for j in judgements] == sorted((j.chosen for j in judgements), reverse=True)
    (judgement,) = [j for j in judgements if j.entry == entry]
    assert judgement.clause == clause
    assert words in str(judgement)


@given(seeds, st.integers(1, 9000), st.booleans())
def test_what_is_explained_is_what_is_done(seed: int, octets: int, critical: bool) -> None:
    rng = random.Random(seed)
    router = Router(1, random_plan(rng))
    for c in router.plan.contacts[::3]:
        router.graph.book(c.key, c.volume_octets, rng.randint(0, 2))
    backlog = {node: rng.choice((0, 5000)) for node in range(1, 8)}
    demand = Demand(2, octets, NORMAL, 45 * S, critical=critical)
    routes = set(router.route(demand, 0, backlog).routes)
    judgements = router.explain(demand, 0, backlog)
    assert {j.route for j in judgements if j.chosen} == routes
    assert [j.entry for j in judgements if j.chosen] == [
        r.entry for r in router.route(demand, 0, backlog).routes
    ]
    assert sorted(j.entry for j in judgements) == router.neighbours()
    assert all(str(j) for j in judgements)


def test_no_route_to_oneself_or_from_outside_the_plan() -> None:
    plan = plan_of((1, 2, 0, 9))
    assert not Router(1, plan).route(Demand(1, 1), 0).routes
    assert not Router(7, plan).route(Demand(2, 1), 0).routes
    assert Router(7, plan).explain(Demand(2, 1), 0) == ()
    assert not Router(1, ContactPlan()).route(Demand(2, 1), 0).routes


def test_settings_out_of_bounds_are_named() -> None:
    with pytest.raises(LocalError, match="bundle of 0 octets"):
        Demand(2, 0)
    with pytest.raises(LocalError, match="priority 3"):
        Demand(2, 1, 3)
    with pytest.raises(LocalError, match="OWLT margin 1 of the light time"):
        Router(1, ContactPlan(), 1.0)
