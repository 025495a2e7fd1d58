"""Contact plans from geometry, against Skyfield's observations, and a router that uses them."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from ground.scheduling.sky import Sky
from ground.scheduling.stations import load_stations
from ground.scheduling.targets import target_named
from ground.study.plan import Hop, Network, Node, contact_plan
from ground.study.trajectories import Earth, MarsOrbiter
from protocols.bus.messages import Pass
from protocols.dtn.contact_plan import ContactPlan
from protocols.dtn.contact_plan_formats import build_hdtn, build_ion, read_hdtn, read_ion
from protocols.dtn.routing import Demand, Router
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

S, DAY = 10**9, 86_400 * 10**9
#: The Sun is between Mars and the Earth: conjunction of 2028-03-21.
BEHIND_THE_SUN = tai_ns_from_utc_iso("2028-03-21T00:00:00Z")
IN_THE_OPEN = tai_ns_from_utc_iso("2027-09-01T00:00:00Z")
ORBITER, L4, YEOJU, GOLDSTONE, CENTRE = 20, 10, 30, 31, 40


@pytest.fixture(scope="module")
def network() -> Network:
    stations = load_stations()
    orbiter = MarsOrbiter(radius_km=3_796.0, inclination_deg=92.6)
    return Network(
        nodes=[
            Node("orbiter", ORBITER, orbiter),
            Node("l4", L4, target_named("l4")),
            Node("YEOJU", YEOJU, stations["YEOJU"]),
            Node("DSS-26", GOLDSTONE, stations["DSS-26"]),
            Node("centre", CENTRE),
        ],
        hops=[
            Hop("orbiter", "l4", 1_000_000, 100_000, 1.0, 2.0),
            *(
                hop
                for station in ("YEOJU", "DSS-26")
                for hop in (
                    Hop("orbiter", station, 500_000, 2_000, 1.0, 2.0),
                    Hop("l4", station, 1_000_000, 2_000, 2.0, 2.0),
                    Hop(station, "centre", 10**9, 10**9),
                )
            ),
        ],
    )


@pytest.fixture(scope="module")
def behind(network: Network) -> ContactPlan:
    return contact_plan(network, BEHIND_THE_SUN, BEHIND_THE_SUN + 2 * DAY)


@pytest.fixture(scope="module")
def in_the_open(network: Network) -> ContactPlan:
    return contact_plan(network, IN_THE_OPEN, IN_THE_OPEN + DAY)


def test_behind_the_sun_the_way_leads_through_l4(behind: ContactPlan) -> None:
    pairs = {(c.source, c.dest) for c in behind.contacts}
    assert not pairs & {(ORBITER, YEOJU), (ORBITER, GOLDSTONE), (YEOJU, ORBITER)}
    assert {(ORBITER, L4), (L4, ORBITER), (L4, YEOJU), (L4, GOLDSTONE)} <= pairs
    demand = Demand(dest=CENTRE, evc_octets=10_000, priority=1, expiry_ns=BEHIND_THE_SUN + 2 * DAY)
    decision = Router(ORBITER, behind).route(demand, BEHIND_THE_SUN)
    (route,) = decision.routes
    assert route.entry == L4


def test_in_the_open_the_straight_way_is_taken(in_the_open: ContactPlan) -> None:
    now_ns = next(
        c.start_ns for c in in_the_open.contacts if (c.source, c.dest) == (ORBITER, GOLDSTONE)
    )
    demand = Demand(dest=CENTRE, evc_octets=10_000, priority=1, expiry_ns=IN_THE_OPEN + DAY)
    (route,) = Router(ORBITER, in_the_open).route(demand, now_ns).routes
    assert route.entry == GOLDSTONE


def skyfields(start_ns: int, t_s: np.ndarray) -> tuple[Any, Any, Any]:
    """Skyfield's own observations from Yeoju: Mars and the Sun; and the sky."""
    from skyfield.api import wgs84

    sky = Sky(start_ns, start_ns + DAY)
    station = load_stations()["YEOJU"]
    latitude, longitude, height_m = station.geodetic
    site = sky.ephemeris["earth"] + wgs84.latlon(latitude, longitude, height_m)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        at = site.at(sky.time(t_s))
        return at.observe(sky.ephemeris["mars"]), at.observe(sky.ephemeris["sun"]), sky


def test_downlink_is_open_exactly_while_mars_is_up_and_the_orbiter_is_not_behind_it(
    network: Network, in_the_open: ContactPlan
) -> None:
    t_s = np.arange(3600.0, 80_000.0, 61.0)
    mars, _, _ = skyfields(IN_THE_OPEN, t_s)
    elevation_deg = mars.apparent().altaz()[0].degrees
    # Behind the disc: the orbiter further away than Mars, and less than its radius beside it.
    light_s = mars.light_time * 86_400
    orbiter = network.by_name["orbiter"].place
    assert isinstance(orbiter, MarsOrbiter)
    wide = Sky(IN_THE_OPEN - DAY, IN_THE_OPEN + 2 * DAY)
    sent_s = t_s - light_s
    beside = orbiter.barycentric_km(wide, sent_s + 86_400) - wide.body_km("mars", sent_s + 86_400)
    line = mars.position.km.T / np.linalg.norm(mars.position.km, axis=0)[:, np.newaxis]
    depth = np.einsum("ni,ni->n", beside, line)
    off = np.linalg.norm(beside - depth[:, np.newaxis] * line, axis=1)
    least_deg = load_stations()["YEOJU"].mask(None, uplink=False, refraction=False)[1].min()
    up = elevation_deg > least_deg
    clear = (depth < 0) | (off > 3_389.5)
    # Within half a minute of a change, refraction and the orbiter's own light time decide.
    sure = (np.abs(elevation_deg - least_deg) > 1.0) & (np.abs(off - 3_389.5) > 60)
    sent_ns = IN_THE_OPEN + np.rint(sent_s * 1e9).astype(np.int64)
    contacts = [c for c in in_the_open.contacts if (c.source, c.dest) == (ORBITER, YEOJU)]
    in_contact = np.zeros(len(t_s), bool)
    for c in contacts:
        in_contact |= (sent_ns >= c.start_ns) & (sent_ns < c.end_ns)
    assert len(contacts) > 3
    assert sure.sum() > 1000
    np.testing.assert_array_equal(in_contact[sure], (up & clear)[sure])


def test_ranges_are_the_light_time_to_half_a_second(in_the_open: ContactPlan) -> None:
    t_s = np.arange(3600.0, 80_000.0, 1000.0)
    mars, _, _ = skyfields(IN_THE_OPEN, t_s)
    light_s = mars.light_time * 86_400
    for at_s, true_s in zip(t_s, light_s, strict=True):
        now_ns = IN_THE_OPEN + round((at_s - true_s) * 1e9)
        (found,) = [
            r.owlt_ns / 1e9
            for r in in_the_open.ranges
            if (r.one, r.other) == (ORBITER, YEOJU) and r.start_ns <= now_ns < r.end_ns
        ]
        assert abs(found - true_s) < 0.56  # rounding, the station's 21 ms, the orbit's 13 ms


def test_all_of_the_span_has_a_range(in_the_open: ContactPlan) -> None:
    assert None not in in_the_open.owlts_ns()


def test_only_booked_passes_where_there_is_a_schedule(network: Network) -> None:
    first, last = BEHIND_THE_SUN + 20 * 3600 * S, BEHIND_THE_SUN + 40 * 3600 * S
    booked = Pass(
        id="a.1", mission="L4 relay", station="YEOJU", antenna="YEOJU",
        setup_ns=first, aos_ns=first, los_ns=last, release_ns=last,
        uplink_from_ns=first + 3600 * S, uplink_to_ns=last,
    )  # fmt: skip
    passes = {("l4", "YEOJU"): [booked], ("l4", "DSS-26"): []}
    plan = contact_plan(network, BEHIND_THE_SUN, BEHIND_THE_SUN + 2 * DAY, passes)
    down = [c for c in plan.contacts if (c.source, c.dest) == (L4, YEOJU)]
    up = [c for c in plan.contacts if (c.source, c.dest) == (YEOJU, L4)]
    assert not [c for c in plan.contacts if GOLDSTONE in (c.source, c.dest) and L4 in c[2:4]]
    # Sent a light time (497 s) before the pass begins; up when its transmitter may.
    assert [(c.start_ns - first) // S for c in down] == [-497]
    assert [(c.end_ns - last) // S for c in down] == [-498]
    assert [(c.start_ns, c.end_ns) for c in up] == [(first + 3600 * S, last)]


def test_plans_pass_through_ion_and_hdtn(in_the_open: ContactPlan) -> None:
    back = read_ion(build_ion(in_the_open).decode())
    assert back.contacts == in_the_open.contacts
    assert back.ranges == in_the_open.ranges
    again = read_hdtn(build_hdtn(in_the_open))
    assert len(again.contacts) == len(in_the_open.contacts)


def test_refusals(network: Network) -> None:
    with pytest.raises(LocalError, match="different numbers"):
        Network([Node("a", 1), Node("b", 1)], [])
    with pytest.raises(LocalError, match="c is not a node"):
        Network([Node("a", 1), Node("b", 2)], [Hop("a", "c", 1, 1)])
    stations = Network(network.nodes, [Hop("YEOJU", "DSS-26", 1, 1)])
    with pytest.raises(LocalError, match="see nothing in common"):
        contact_plan(stations, IN_THE_OPEN, IN_THE_OPEN + DAY)
    with pytest.raises(LocalError, match="1900 … 2053"):
        contact_plan(network, tai_ns_from_utc_iso("2060-01-01T00:00:00Z"), 2**62)
    with pytest.raises(LocalError, match="sphere of influence"):
        MarsOrbiter(radius_km=1e6)


def test_the_moon_stands_in_the_way_when_skyfield_sees_it_there() -> None:
    # Of the occultations of Mars that the Earth's centre saw too: 5 May 2024.
    start = tai_ns_from_utc_iso("2024-05-04")
    sky = Sky(start, start + 3 * DAY)
    t_s = np.arange(0.0, 3 * 86_400.0, 60.0)
    here = sky.ephemeris["earth"].at(sky.time(t_s))
    mars, moon = (here.observe(sky.ephemeris[name]) for name in ("mars", "moon"))
    apart = mars.separation_from(moon).radians
    hidden = apart < np.arcsin(1_737.4 / moon.distance().km)
    first = int(np.flatnonzero(hidden)[0])
    at_ns = start + int(t_s[first]) * S
    network = Network(
        [Node("earth", 1, Earth()), Node("mars", 2, target_named("mars"))],
        [Hop("mars", "earth", 1_000, 0)],
    )
    plan = contact_plan(network, at_ns - DAY // 2, at_ns + DAY // 2)
    before, after = plan.contacts
    light_s = mars.light_time[first] * 86_400
    gap_s = np.array([before.end_ns - at_ns, after.start_ns - at_ns]) / 1e9 + light_s
    last = first + int(np.argmin(hidden[first:])) - 1
    # It comes and goes within the minute that Skyfield was asked in.
    assert last - first > 20
    assert -61 < gap_s[0] <= 2
    assert t_s[last] - t_s[first] - 2 <= gap_s[1] < t_s[last] - t_s[first] + 61
