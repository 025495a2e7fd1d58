"""The site's plan follows the passes."""

from __future__ import annotations

from ground.relay.plan import DOWN_BIT_S, NO_PASSES, UP_BIT_S, site_plan
from protocols.bus.messages import Pass, PassesMessage
from protocols.dtn.routing import Demand, Router
from protocols.identifiers import BundleNode
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2027-01-01T00:00:00Z")
S = 10**9
OWLT = 499 * S


def pass_of(begin_s: int, end_s: int, antenna: str = "YEOJU") -> Pass:
    begin, end = T0 + begin_s * S, T0 + end_s * S
    uplink = begin + 600 * S, end - 600 * S
    return Pass(
        begin,
        end,
        f"{antenna}-{begin_s}",
        "L4 relay",
        antenna,
        antenna,
        begin,
        end,
        *uplink,
        OWLT,
        OWLT,
    )


def schedule(*passes: Pass) -> PassesMessage:
    return PassesMessage("relay", 1, T0, T0, T0 + 86_400 * S, passes)


def test_contacts_are_when_their_sender_transmits() -> None:
    plan = site_plan(schedule(pass_of(10_000, 30_000)), T0)
    (down,) = [c for c in plan.contacts if c.dest == BundleNode.SITE and c.rate_bit_s == DOWN_BIT_S]
    assert (down.start_ns, down.end_ns) == (T0 + 10_000 * S - OWLT, T0 + 30_000 * S - OWLT)
    (up,) = [c for c in plan.contacts if c.rate_bit_s == UP_BIT_S]
    assert (up.start_ns, up.end_ns) == (T0 + 10_600 * S, T0 + 29_400 * S)
    assert (up.source, up.dest) == (BundleNode.SITE, BundleNode.PAYLOAD)


def test_passes_that_hand_over_are_one_contact() -> None:
    passes = schedule(pass_of(10_000, 30_000), pass_of(28_000, 50_000, "DSS-26"))
    plan = site_plan(passes, T0)
    downs = [c for c in plan.contacts if c.dest == BundleNode.SITE and c.rate_bit_s == DOWN_BIT_S]
    assert [c.end_ns - c.start_ns for c in downs] == [40_000 * S]
    assert plan.owlts_ns().count(None) == 0


def test_a_bundle_for_mars_waits_for_the_pass_and_then_goes() -> None:
    router = Router(BundleNode.SITE, site_plan(NO_PASSES, T0))
    demand = Demand(BundleNode.MARS_ORBITER, 1_000)
    assert router.route(demand, T0).routes == ()
    router.reload(site_plan(schedule(pass_of(10_000, 30_000)), T0), T0)
    (route,) = router.route(demand, T0).routes
    assert [c.dest for c in route.contacts] == [BundleNode.PAYLOAD, BundleNode.MARS_ORBITER]
    assert route.departures_ns[0] == T0 + 10_600 * S
    # 478 s on from L4 to Mars on this day.
    assert 470 * S < route.arrival_ns - route.departures_ns[1] < 490 * S


def test_without_passes_the_link_is_always_up() -> None:
    router = Router(BundleNode.SITE, site_plan(None, T0))
    (route,) = router.route(Demand(BundleNode.MARS_ORBITER, 1_000), T0).routes
    assert route.departures_ns[0] == T0
