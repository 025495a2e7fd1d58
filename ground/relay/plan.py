"""The site's contact plan: the published passes, the wire to the mission centre, Mars by geometry.

A contact is when its sender transmits, so the payload's begins a light time before AOS; the site's
is the pass's uplink window.  Outside of passes there is no contact to the payload: bundles wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from protocols.bus.messages import Pass, PassesMessage
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.identifiers import BundleNode
from protocols.navigation.planets import mars_l4_light_time_ns

#: For what is there at all times: before anybody's clock, and after all plans.
_ALWAYS: Final = (0, 1 << 62)
#: Bits a second: on the wire; down from and up to the payload; between it and Mars.
WIRE_BIT_S: Final = 1_000_000_000
DOWN_BIT_S, UP_BIT_S, MARS_BIT_S = 10_000, 500_000, 2_000
NAMES: Final = {int(node): node.name.lower().replace("_", " ") for node in BundleNode}
#: Until the first schedule is known: nothing can be sent to the payload or comes from it.
NO_PASSES: Final = PassesMessage("", 1, 0, 0, 0, ())


def site_plan(passes: PassesMessage | None, now_ns: int) -> ContactPlan:
    """passes: None where the run plans none, and the link is always up.

    Between L4 and Mars the path is open in both directions; its light time is that of now, and a
    plan is made anew with every publication of passes.
    """
    contacts = [
        *_both(BundleNode.SITE, BundleNode.MISSION_CENTRE, WIRE_BIT_S),
        *_both(BundleNode.PAYLOAD, BundleNode.MARS_ORBITER, MARS_BIT_S),
    ]
    mars_ns = mars_l4_light_time_ns(now_ns)
    ranges = [
        Range(*_ALWAYS, BundleNode.SITE, BundleNode.MISSION_CENTRE, 0),
        Range(*_ALWAYS, BundleNode.PAYLOAD, BundleNode.MARS_ORBITER, mars_ns),
    ]
    if passes is None:
        contacts += [
            Contact(*_ALWAYS, BundleNode.PAYLOAD, BundleNode.SITE, DOWN_BIT_S),
            Contact(*_ALWAYS, BundleNode.SITE, BundleNode.PAYLOAD, UP_BIT_S),
        ]
        ranges.append(Range(*_ALWAYS, BundleNode.SITE, BundleNode.PAYLOAD, 499 * 10**9))
    else:
        known = [one for one in passes.passes if one.owlt_aos_ns >= 0]
        down = [(p.aos_ns - p.owlt_aos_ns, p.los_ns - p.owlt_los_ns) for p in known]
        up = [(p.uplink_from_ns, p.uplink_to_ns) for p in known]
        contacts += [
            Contact(*span, BundleNode.PAYLOAD, BundleNode.SITE, DOWN_BIT_S)
            for span in _joined(down)
        ]
        contacts += [
            Contact(*span, BundleNode.SITE, BundleNode.PAYLOAD, UP_BIT_S) for span in _joined(up)
        ]
        ranges += _ranges(known)
    return ContactPlan(tuple(contacts), tuple(ranges), NAMES)


def _both(one: int, other: int, rate_bit_s: int) -> Iterator[Contact]:
    yield Contact(*_ALWAYS, one, other, rate_bit_s)
    yield Contact(*_ALWAYS, other, one, rate_bit_s)


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Passes of two antennas overlap where one hands over to the other: one contact."""
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if begin >= end:
            continue
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _ranges(passes: list[Pass]) -> list[Range]:
    """The light time of each pass, from what leaves first in it to what arrives last."""
    ranges: list[Range] = []
    free_ns = 0
    for one in sorted(passes, key=lambda p: p.aos_ns):
        begin_ns = max(one.aos_ns - one.owlt_aos_ns, free_ns)
        end_ns = one.los_ns + one.owlt_los_ns
        if end_ns > begin_ns:
            owlt_ns = (one.owlt_aos_ns + one.owlt_los_ns) // 2
            ranges.append(Range(begin_ns, end_ns, BundleNode.SITE, BundleNode.PAYLOAD, owlt_ns))
            free_ns = end_ns
    return ranges
