"""The mission centre's applications: what comes for them goes into a journal, each bundle once.

A bundle is delivered when the journal has it; one that the node gives again, because it was killed
before it had noted that, is known by its identity.
"""

from __future__ import annotations

from collections import OrderedDict

from ground.ports import Bus, Clock
from protocols.bus.messages import BundlesMessage, DeliveredBundle, parse
from protocols.dtn.bundle import Bundle, parse_bundle
from protocols.dtn.dtn_time import tai_ns_from_dtn_ms
from protocols.dtn.eid import ipn
from protocols.dtn.node import Node
from protocols.identifiers import BundleNode, Topic
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Science, and bulletins of the orbiter's particle detector.
SERVICES = (1, 2)
#: Bundles whose identity is remembered, oldest forgotten first.
REMEMBERED = 100_000
#: Octets after which the next message begins.
MESSAGE_OCTETS = 1 << 20


class MissionCentre:
    """`turn` after each turn of the node's loop."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._known: OrderedDict[str, None] = OrderedDict()
        self.endpoints = [ipn(BundleNode.MISSION_CENTRE, service) for service in SERVICES]
        self.bundles = self.repeated = 0
        self.last = ""
        for message in bus.history(Topic.BUNDLES, 0):
            told = parse(BundlesMessage, message.body)
            self.bundles = told.first_bundle + len(told.bundles)
            for one in told.bundles:
                self._remember(parse_bundle(one.octets))

    def turn(self, node: Node) -> None:
        now_ns = self._clock.now_ns()
        for endpoint in self.endpoints:
            if endpoint not in node.endpoints:
                node.register(endpoint)
            waiting = node.deliveries(endpoint)
            if not waiting:
                continue
            part: list[DeliveredBundle] = []
            for held in waiting:
                bundle = node.bundle(held.ref)
                if self._remember(bundle):
                    part.append(self._delivered(now_ns, bundle))
                else:
                    self.repeated += 1
                if sum(len(one.octets) for one in part) >= MESSAGE_OCTETS:
                    self._publish(now_ns, part)
                    part = []
            if part:
                self._publish(now_ns, part)
            self._bus.sync()
            for held in waiting:
                node.delivered(held.ref, now_ns)

    def _delivered(self, now_ns: int, bundle: Bundle) -> DeliveredBundle:
        primary = bundle.primary
        created_ms = primary.creation.time_ms
        created_ns = tai_ns_from_dtn_ms(created_ms) if created_ms else 0
        self.last = f"last from {primary.source} at {utc_iso_from_tai_ns(now_ns, 0)}"
        return DeliveredBundle(
            str(primary.source), str(primary.destination), created_ns, now_ns, bundle.build()
        )

    def _publish(self, now_ns: int, part: list[DeliveredBundle]) -> None:
        message = BundlesMessage(self.bundles, tuple(part))
        self._bus.publish(Topic.BUNDLES, message.build(), time_ns=now_ns)
        self.bundles += len(part)

    def _remember(self, bundle: Bundle) -> bool:
        """False if it was known."""
        name = str(bundle.id)
        if name in self._known:
            return False
        self._known[name] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True
