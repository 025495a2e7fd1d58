"""The bundle node on a virtual clock: alone, and chains of them through contacts and losses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from protocols.dtn.bundle import Bundle, BundleFlags, parse_bundle
from protocols.dtn.bundle_extensions import BUNDLE_AGE, HOP_COUNT, PREVIOUS_NODE, HopCount
from protocols.dtn.bundle_reports import Reason, Status
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.eid import eid, ipn
from protocols.dtn.node import Node
from protocols.dtn.node_queue import COPY_STATES, Copy, CopyEvent, CopyState
from protocols.dtn.node_settings import MemoryStore, NodeSettings, Rule, Verdict
from protocols.dtn.routing import BULK, EXPEDITED, Demand, Router
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2027-03-01T00:00:00Z")
S = 1_000_000_000
HOUR_MS = 3_600_000


def plan_of(*contacts: tuple[int, int, int, int, int], owlt_s: float = 1.0) -> ContactPlan:
    """(from s, to s, source, dest, octets a second)."""
    made = tuple(
        Contact(T0 + a * S, T0 + b * S, source, dest, rate * 8)
        for a, b, source, dest, rate in contacts
    )
    pairs = {(min(c.source, c.dest), max(c.source, c.dest)) for c in made}
    start, end = min(c.start_ns for c in made), max(c.end_ns for c in made)
    ranges = tuple(Range(start, end, a, b, round(owlt_s * S)) for a, b in sorted(pairs))
    return ContactPlan(made, ranges)


def node_of(number: int, plan: ContactPlan, **settings: object) -> Node:
    return Node(
        NodeSettings(node=ipn(number, 0), **settings),  # type: ignore[arg-type]
        Router(number, plan),
        MemoryStore(),
        T0,
    )


def bundle_from(
    node: Node, destination: str, payload: bytes = b"L4", now_ns: int = T0, **more: object
) -> Bundle:
    source = ipn(node.number, 1)
    lifetime_ms = more.pop("lifetime_ms", 24 * HOUR_MS)
    return node.made(
        now_ns,
        source,
        eid(destination),
        payload,
        lifetime_ms=lifetime_ms,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )


CHAIN = plan_of(
    *((0, 86_400, a, b, 10_000) for a, b in ((1, 2), (2, 3), (3, 4), (4, 3), (3, 2), (2, 1)))
)


def carried(node: Node, neighbour: int, now_ns: int) -> Iterator[tuple[Copy, bytes]]:
    while (copy := node.take(neighbour, now_ns)) is not None:
        yield copy, b"".join(node.outgoing(copy, now_ns))


def test_a_bundle_goes_through_and_is_delivered_once_its_application_says_so() -> None:
    nodes = {n: node_of(n, CHAIN) for n in (1, 2, 3)}
    nodes[1].send(T0, bundle_from(nodes[1], "ipn:3.7", b"hello"))
    octets = b""
    for here, there in ((1, 2), (2, 3)):
        nodes[here].link(there, True, T0)
        ((copy, octets),) = carried(nodes[here], there, T0 + 5 * S)
        assert nodes[there].offer(T0 + 6 * S, octets, here) is Verdict.STORED
        nodes[here].sent(copy, T0 + 7 * S)
        assert not nodes[here].held
    assert PREVIOUS_NODE.find(parse_bundle(octets)) == eid("ipn:2.0")
    # Nobody is registered: it is kept, not deleted.
    (held,) = nodes[3].deliveries(eid("ipn:3.7"))
    assert nodes[3].bundle(held.ref).payload == b"hello"
    nodes[3].delivered(held.ref, T0 + 8 * S)
    assert not nodes[3].held
    assert nodes[3].offer(T0 + 9 * S, octets, 2) is Verdict.DUPLICATE
    with pytest.raises(LocalError, match="not one that waits"):
        nodes[3].delivered(held.ref, T0 + 9 * S)


def test_age_and_hops_count_up_behind_unchanged_blocks() -> None:
    relay = node_of(2, CHAIN)
    sender = node_of(1, CHAIN)
    made = bundle_from(sender, "ipn:3.7")
    unknown = replace(made.blocks[0], type=200, number=5, data=b"keep me")
    blocks = (
        BUNDLE_AGE.block(1_000, 2),
        HOP_COUNT.block(HopCount(10, 3), 3),
        unknown,
        *made.blocks,
    )
    assert relay.offer(T0, made.with_blocks(blocks).build(), 1) is Verdict.STORED
    relay.link(3, True, T0)
    ((_, octets),) = carried(relay, 3, T0 + 4 * S)
    bundle = parse_bundle(octets)
    assert BUNDLE_AGE.find(bundle) == 5_000
    assert HOP_COUNT.find(bundle) == HopCount(10, 4)
    assert bundle.block(5) == unknown


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        (lambda b: b, Verdict.STORED, None),
        (
            lambda b: b.with_blocks((HOP_COUNT.block(HopCount(2, 3), 2), *b.blocks)),
            Verdict.DELETED,
            Reason.HOP_LIMIT_EXCEEDED,
        ),
        (
            lambda b: b.with_blocks((BUNDLE_AGE.block(1, 2), BUNDLE_AGE.block(1, 3), *b.blocks)),
            Verdict.DELETED,
            Reason.BLOCK_UNINTELLIGIBLE,
        ),
        (
            lambda b: b.with_blocks((replace(b.blocks[0], type=200, number=9, flags=4), *b.blocks)),
            Verdict.DELETED,
            Reason.BLOCK_UNSUPPORTED,
        ),
    ],
)
def test_what_a_bundle_breaks_is_reported_to_whom_it_names(
    change: object, verdict: Verdict, reason: Reason | None
) -> None:
    sender, relay = node_of(1, CHAIN), node_of(2, CHAIN)
    flags = BundleFlags.REPORT_DELETION
    made = bundle_from(sender, "ipn:3.7", flags=flags, report_to=eid("ipn:1.0"))
    octets = change(made).build()  # type: ignore[operator]
    assert relay.offer(T0, octets, 1) is verdict
    relay.link(1, True, T0)
    reports = [octets for _, octets in carried(relay, 1, T0 + S)]
    if reason is None:
        assert reports == []
        return
    assert sender.offer(T0 + 2 * S, reports[0], 2) is Verdict.STORED
    (report,) = sender.reports
    assert report.reason == reason
    assert set(report.times_ms) == {Status.DELETED}
    assert report.creation == made.primary.creation
    assert relay.counts.deleted == {reason.name: 1}


def test_malformed_octets_are_counted_and_taken() -> None:
    relay = node_of(2, CHAIN)
    assert relay.offer(T0, b"\x9f\x00\xff", 1) is Verdict.DELETED
    assert relay.counts.malformed == 1
    assert not relay.held


def test_reports_are_bounded_whatever_is_asked_for() -> None:
    relay = node_of(2, CHAIN, reports_per_s=2.0)
    sender = node_of(1, CHAIN)
    for _ in range(20):
        made = bundle_from(
            sender, "ipn:3.7", flags=BundleFlags.REPORT_RECEPTION, report_to=eid("ipn:1.0")
        )
        relay.offer(T0 + S, made.build(), 1)
    assert relay.counts.reports_sent == 2
    assert relay.counts.reports_withheld == 18


def test_an_alert_goes_first_and_on_every_open_path() -> None:
    diamond = plan_of(
        (0, 3_600, 1, 2, 1_000),
        (0, 3_600, 1, 3, 500),
        (0, 3_600, 2, 4, 1_000),
        (0, 3_600, 3, 4, 500),
    )
    rules = (
        Rule(destination="ipn:*.77", priority=EXPEDITED, critical=True),
        Rule(source="ipn:1.*", priority=BULK),
    )
    node = node_of(1, diamond, rules=rules)
    for n in range(5):
        node.send(T0, bundle_from(node, "ipn:4.1", b"bulk %d" % n))
    node.send(T0, bundle_from(node, "ipn:4.77", b"protons"))
    for neighbour in (2, 3):
        node.link(neighbour, True, T0)
        copies = list(carried(node, neighbour, T0 + S))
        assert parse_bundle(copies[0][1]).payload == b"protons"
        for copy, _ in copies:
            node.sent(copy, T0 + 2 * S)
    assert not node.held
    assert node.counts.forwarded == 7


def test_full_it_refuses_bulk_first_and_recovers_by_itself() -> None:
    rules = (
        Rule(destination="ipn:*.77", priority=EXPEDITED),
        Rule(priority=BULK),
    )
    relay = node_of(2, CHAIN, quota_octets=10_000, rules=rules)
    sender = node_of(1, CHAIN)

    def offered(service: int) -> Verdict:
        made = bundle_from(sender, f"ipn:3.{service}", bytes(900))
        return relay.offer(T0, made.build(), 1)

    verdicts = [offered(1) for _ in range(12)]
    taken = verdicts.count(Verdict.STORED)
    assert taken == 8
    assert verdicts[taken:] == [Verdict.REFUSED] * (12 - taken)
    assert offered(77) is Verdict.STORED
    assert offered(77) is Verdict.STORED
    assert offered(77) is Verdict.REFUSED
    relay.link(3, True, T0)
    for copy, _ in carried(relay, 3, T0 + S):
        relay.sent(copy, T0 + 2 * S)
    assert relay.held_octets == 0
    assert offered(1) is Verdict.STORED


def test_lifetimes_end_wherever_the_bundle_is() -> None:
    relay = node_of(2, CHAIN)
    sender = node_of(1, CHAIN)
    for destination in ("ipn:3.7", "ipn:2.7", "ipn:99.7"):
        made = bundle_from(sender, destination, lifetime_ms=10_000)
        assert relay.offer(T0, made.build(), 1) is Verdict.STORED
    deadline = relay.next_deadline_ns(T0)
    assert deadline is not None
    assert deadline <= T0 + 10 * S
    relay.turn(T0 + 9 * S)
    assert len(relay.held) == 3
    relay.turn(T0 + 10 * S)
    assert not relay.held
    assert relay.counts.expired == 3
    late = bundle_from(sender, "ipn:3.7", lifetime_ms=1)
    assert relay.offer(T0 + 20 * S, late.build(), 1) is Verdict.DELETED


def test_a_contact_that_ends_before_the_queue_is_sent_gives_its_bundles_another_route() -> None:
    plan = plan_of(
        (0, 100, 1, 2, 1_000),
        (0, 900, 2, 4, 1_000),
        (500, 900, 1, 3, 1_000),
        (500, 900, 3, 4, 1_000),
    )
    node = node_of(1, plan)
    node.send(T0, bundle_from(node, "ipn:4.1"))
    # The neighbour never comes up.
    (copy,) = node.queues[2].queued()
    assert copy.state is CopyState.QUEUED
    assert node.take(2, T0 + S) is None
    node.turn(T0 + 100 * S)
    assert node.queues[2].queued() == []
    assert [c.ref for c in node.queues[3].queued()] == [copy.ref]
    assert node.counts.rerouted == 1


def test_another_plan_moves_what_it_leaves_without_contact_and_finds_what_had_no_route() -> None:
    first = plan_of((0, 900, 1, 2, 1_000), (0, 900, 2, 4, 1_000))
    node = node_of(1, first)
    node.send(T0, bundle_from(node, "ipn:4.1"))
    node.send(T0, bundle_from(node, "ipn:5.1"))
    (stranded,) = (h for h in node.listing() if h.why)
    assert "no route" in stranded.why
    second = plan_of((0, 900, 1, 3, 1_000), (0, 900, 3, 4, 1_000), (0, 900, 3, 5, 1_000))
    reload = node.reload(second, T0 + S)
    assert len(reload.lost) == 2
    assert len(node.queues[3].queued()) == 2
    assert [h.why for h in node.listing()] == ["", ""]
    assert node.queues[2].queued() == []


def test_a_neighbour_that_refused_is_not_asked_again() -> None:
    diamond = plan_of(
        (0, 900, 1, 2, 1_000), (0, 900, 2, 4, 1_000), (0, 900, 1, 3, 1_000), (0, 900, 3, 4, 900)
    )
    node = node_of(1, diamond)
    node.send(T0, bundle_from(node, "ipn:4.1"))
    node.link(2, True, T0)
    copy = node.take(2, T0)
    assert copy is not None
    node.failed(copy, T0 + S, refused=True)
    assert len(node.queues[3].queued()) == 1
    node.link(3, True, T0)
    other = node.take(3, T0 + S)
    assert other is not None
    node.failed(other, T0 + 2 * S, refused=True)
    (held,) = node.listing()
    assert "no route" in held.why
    # What the layer says of it later changes nothing.
    node.sent(copy, T0 + 3 * S)
    assert len(node.held) == 1


def test_a_limit_below_the_contacts_rate_holds() -> None:
    node = node_of(1, CHAIN, limits_bit_s={2: 8_000.0})
    node.link(2, True, T0)
    for _ in range(50):
        node.send(T0, bundle_from(node, "ipn:4.1", bytes(900)))
    sent = 0
    for second in range(0, 200, 1):
        for _ in range(20):
            copy = node.take(2, T0 + second * S)
            if copy is None:
                break
            sent += copy.octets
            node.sent(copy, T0 + second * S)
        assert sent <= 1_000 * (second + 1) + 1_000
        due = node.queues[2].next_credit_ns(T0 + second * S)
        assert due is None or due > T0 + second * S
    assert node.held == {}


def test_a_contact_too_small_takes_a_fragment_and_the_destination_puts_them_together() -> None:
    plan = plan_of((0, 30, 1, 2, 1_000), (100, 130, 1, 2, 1_000))
    payload = random.Random(7).randbytes(40_000)
    node, sink = node_of(1, plan), node_of(2, plan)
    node.send(T0, bundle_from(node, "ipn:2.7", payload))
    assert node.counts.fragmented >= 1
    node.link(2, True, T0)
    for t in (0, 100):
        # The layer below takes no more than the contact carries.
        room = 30_000
        while room > 0 and (copy := node.take(2, T0 + t * S)) is not None:
            octets = b"".join(node.outgoing(copy, T0 + t * S))
            room -= len(octets)
            assert parse_bundle(octets).primary.is_fragment
            assert sink.offer(T0 + t * S + S, octets, 1) is Verdict.STORED
            node.sent(copy, T0 + t * S)
            assert (room < 1_500) == (t == 0)
            if t == 0:
                break
        node.turn(T0 + t * S + 40 * S)
        assert sink.deliveries(eid("ipn:2.7")) == [] or t == 100
    (whole,) = sink.deliveries(eid("ipn:2.7"))
    assert sink.bundle(whole.ref).payload == payload
    assert len(sink.held) == 1
    assert sink.counts.reassembled == 1
    assert not node.held


def test_what_a_store_held_is_held_again() -> None:
    store = MemoryStore()
    settings = NodeSettings(node=ipn(2, 0))
    node = Node(settings, Router(2, CHAIN), store, T0)
    sender = node_of(1, CHAIN)
    forward, here = bundle_from(sender, "ipn:3.7", b"a"), bundle_from(sender, "ipn:2.7", b"b")
    gone = bundle_from(sender, "ipn:2.7", b"c")
    for made in (forward, here, gone):
        node.offer(T0, made.build(), 1)
    node.delivered(node.deliveries(eid("ipn:2.7"))[1].ref, T0)
    again = Node(
        settings,
        Router(2, CHAIN),
        store,
        T0 + S,
        recovered=list(store.bundles.values()),
        seen=store.seen,
    )
    assert {h.ref for h in again.held.values()} == {h.ref for h in node.held.values()}
    assert again.held_octets == node.held_octets
    for made in (forward, here, gone):
        assert again.offer(T0 + S, made.build(), 1) is Verdict.DUPLICATE
    again.link(3, True, T0 + S)
    ((copy, _),) = carried(again, 3, T0 + S)
    again.sent(copy, T0 + S)
    fresh = bundle_from(sender, "ipn:3.7", b"d")
    assert again.offer(T0 + S, fresh.build(), 1) is Verdict.STORED
    assert max(again.held) > max(node.held)


def test_what_has_gone_leaves_nothing_behind_but_its_identifier() -> None:
    """Lifetimes are long and bundles many: neither expiries nor withdrawn copies pile up."""
    plan = plan_of((0, 1_000, 2, 3, 10**8), *((t, t + 5, 2, 4, 10**6) for t in range(0, 900, 10)))
    node = node_of(2, plan, remembered=500)
    node.link(3, True, T0)
    sender = node_of(1, plan)
    for n in range(12_000):
        octets = bundle_from(sender, "ipn:3.7", b"%d" % n).build()
        assert node.offer(T0 + n, octets, 1) is Verdict.STORED
        for copy, _ in carried(node, 3, T0 + n):
            node.sent(copy, T0 + n)
    assert not node.held
    assert len(node._expiries) <= 10_001
    assert len(node._seen) == 500
    for n in range(50):
        node.offer(T0, bundle_from(sender, "ipn:4.7", b"%d" % n).build(), 1)
    for t in range(0, 800, 10):
        node.turn(T0 + t * 10**9)
        assert node.queues[4].waiting == 50
    assert sum(map(len, node.queues[4]._queues)) <= 100


def test_a_link_without_end_or_limit_has_room() -> None:
    plan = ContactPlan((Contact(0, 1 << 62, 1, 2, 10**11),), (Range(0, 1 << 62, 1, 2, 0),))
    route = Router(1, plan).route(Demand(2, 1_000), T0).routes[0]
    assert route.volume_limit_octets > 10**15


def test_deliveries_are_the_urgent_ones_first_and_no_more_than_asked_for() -> None:
    urgent = Rule(destination="*", priority=EXPEDITED, at_most_octets=100)
    node = node_of(2, CHAIN, rules=(urgent,))
    sender = node_of(1, CHAIN)
    for n in range(40):
        payload = bytes([n]) * (1 if n % 4 == 3 else 200)
        node.offer(T0, bundle_from(sender, "ipn:2.7", payload).build(), 1)
    endpoint = eid("ipn:2.7")
    assert node.waiting_for(endpoint) == 40
    order = [node.bundle(held.ref).payload[0] for held in node.deliveries(endpoint)]
    assert order == [*range(3, 40, 4), *(n for n in range(40) if n % 4 != 3)]
    assert node.deliveries(endpoint, 5) == node.deliveries(endpoint)[:5]
    for held in node.deliveries(endpoint):
        node.delivered(held.ref, T0)
    assert node.waiting_for(endpoint) == 0


def test_every_state_and_event_is_in_the_table() -> None:
    assert set(COPY_STATES) == set(CopyState)
    assert {event for row in COPY_STATES.values() for event in row} == set(CopyEvent)
    copy = Copy(1, 10, 3, None, 110, 1)  # type: ignore[arg-type]
    with pytest.raises(LocalError, match="the neighbour has it while queued"):
        copy.on(CopyEvent.SENT)


@pytest.mark.parametrize("seed", range(20))
def test_a_chain_with_late_contacts_losses_and_kills_delivers_all_once(seed: int) -> None:
    """Transfers are lost, or their acknowledgement is; nodes are made anew from their stores."""
    rng = random.Random(seed)
    contacts: list[tuple[int, int, int, int, int]] = []
    for a, b in ((1, 2), (2, 3), (3, 4)):
        for k in range(12):
            begin = k * 600 + rng.randrange(300)
            contacts += [
                (begin, begin + rng.randrange(60, 300), x, y, 2_000) for x, y in ((a, b), (b, a))
            ]
    plan = plan_of(*contacts, owlt_s=5)
    stores = {n: MemoryStore() for n in (1, 2, 3, 4)}
    settings = {n: NodeSettings(node=ipn(n, 0), retry_s=30.0) for n in stores}

    def start(n: int, now_ns: int) -> Node:
        store = stores[n]
        node = Node(
            settings[n],
            Router(n, plan),
            store,
            now_ns,
            recovered=list(store.bundles.values()),
            seen=store.seen,
        )
        for neighbour in (n - 1, n + 1):
            if neighbour in stores:
                node.link(neighbour, True, now_ns)
        return node

    nodes = {n: start(n, T0) for n in stores}
    wanted = [rng.randbytes(rng.randrange(10, 4_000)) for _ in range(25)]
    for payload in wanted:
        nodes[1].send(T0, bundle_from(nodes[1], "ipn:4.7", payload))
    got: list[bytes] = []
    for step in range(0, 8_000, 10):
        now_ns = T0 + step * S
        for n in stores:
            if rng.random() < 0.01:
                nodes[n] = start(n, now_ns)
            node = nodes[n]
            node.turn(now_ns)
            for neighbour in (n - 1, n + 1):
                if neighbour not in stores:
                    continue
                for copy, octets in carried(node, neighbour, now_ns):
                    fate = rng.random()
                    if fate < 0.2:
                        node.failed(copy, now_ns)
                        continue
                    verdict = nodes[neighbour].offer(now_ns, octets, n)
                    assert verdict in (Verdict.STORED, Verdict.DUPLICATE)
                    if fate < 0.3:
                        # It arrived, and nobody here heard so.
                        node.failed(copy, now_ns)
                    else:
                        node.sent(copy, now_ns)
        for held in nodes[4].deliveries(eid("ipn:4.7")):
            got.append(bytes(nodes[4].bundle(held.ref).payload))
            nodes[4].delivered(held.ref, now_ns)
    assert sorted(got) == sorted(wanted)
    assert all(not node.held for node in nodes.values())
    assert all(not store.bundles for store in stores.values())
