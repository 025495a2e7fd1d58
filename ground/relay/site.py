"""relay: the site's end of the relay.  Follows `receive`'s packets, publishes the bundles in them.

A bundle is in the journal, and on the disk if the run is to outlive a power failure, before any
report that acknowledges it leaves: what the payload forgets is here.  LTP's own state is not kept.
After a restart, sessions that were half received are reported so and come again; whole bundles that
come again are known by their identity and left out.
"""

from __future__ import annotations

import time
from collections import OrderedDict

from ground.ports import Bus, Clock, Message, StateStore, Stop
from ground.relay.space_link import Situation, SpaceLink
from ground.status import COMPILING, StatusReporter
from ground.warming import settle
from protocols.bus.messages import (
    BundlesMessage,
    DeliveredBundle,
    LinkMessage,
    PacketsMessage,
    PassesMessage,
    RadiatedMessage,
    ServiceState,
    UplinkMessage,
    parse,
)
from protocols.dtn.bundle import Bundle, parse_bundle
from protocols.dtn.bundle_processing import violations
from protocols.dtn.dtn_time import tai_ns_from_dtn_ms
from protocols.errors import RemoteError
from protocols.identifiers import BundleNode, Carrier, Topic
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Longest wait for a message: how late an answer leaves.
TURN_S = 0.1
#: Time between snapshots, wall seconds; a restart hears again what came since.
SNAPSHOT_S = 5.0
#: How long what we ask for may need to reach the antenna, wall seconds.
HANDOVER_S = 3.0
#: Bundles whose identity is remembered, oldest forgotten first.
REMEMBERED = 100_000
#: Bundles a message, and octets after which the next begins.
MESSAGE_OCTETS = 1 << 20
#: Nodes whose applications are served here.
LOCAL_NODES = (BundleNode.SITE, BundleNode.MISSION_CENTRE)

STATE_VERSION = 1


class RelayService:
    """One `source` (a receiver's name on the bus), one payload.

    passes: the run plans passes; before the first plan is known nothing is sent up.
    """

    def __init__(
        self,
        link: SpaceLink,
        bus: Bus,
        clock: Clock,
        state: StateStore,
        *,
        service: str,
        source: str,
        passes: bool,
        boot: str,
    ) -> None:
        self._link = link
        self._bus = bus
        self._clock = clock
        self._state = state
        self._service = service
        self._source = source
        self._status = StatusReporter(service, clock, bus)
        self._has_passes = passes
        self._passes: PassesMessage | None = None
        self._owlt_s = -1.0
        #: Names of this process's radiations: another at each start, so that none is used again.
        self._boot = boot
        self._handover_ns = round(HANDOVER_S / clock.wall_seconds(1.0) * 1e9)
        self._position: tuple[str, int] = ("", -1)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._newest_ns: int | None = None
        self._bundles = self._repeated = self._malformed = self._undeliverable = 0
        self._sent = self._radiated = self._refused = 0
        self._last = ""
        self._saved_s = time.monotonic()

    def run(self, stop: Stop) -> None:
        self._recover()
        self._status.state, self._status.detail = ServiceState.RUNNING, ""
        while not stop():
            self._turn(self._bus.receive(TURN_S))
            if time.monotonic() - self._saved_s >= SNAPSHOT_S:
                self._save(wait=False)
            self._tick()
        self._save()
        self._status.state = ServiceState.STOPPED
        self._tick(now=True)

    # ------------------------------------------------------------ recovery

    def _recover(self) -> None:
        self._status.announce(ServiceState.RECOVERING, COMPILING)
        settle()
        for message in self._bus.history(Topic.BUNDLES, 0):
            told = parse(BundlesMessage, message.body)
            self._bundles = told.first_bundle + len(told.bundles)
            for one in told.bundles:
                self._remember(parse_bundle(one.octets))
        state = self._state.load()
        if state and state.get("version") == STATE_VERSION:
            self._position = (state["journal"], state["sequence"])
        self._bus.follow(Topic.PACKETS, self._source, *self._position)
        for topic in (Topic.PASSES, Topic.LINK, Topic.RADIATED):
            self._bus.subscribe(topic)

    def _save(self, *, wait: bool = True) -> None:
        self._saved_s = time.monotonic()
        # The snapshot must not know of more than the journal has kept.
        self._bus.sync()
        journal, sequence = self._position
        self._state.save(
            {"version": STATE_VERSION, "journal": journal, "sequence": sequence}, wait=wait
        )

    # ------------------------------------------------------------ the work

    def _turn(self, messages: list[Message]) -> None:
        now_ns = self._clock.now_ns()
        self._link.situation(now_ns, self._situation(now_ns))
        arrived: list[bytes] = []
        for message in messages:
            try:
                arrived += self._take(now_ns, message)
            except RemoteError as error:
                self._malformed += 1
                self._status.detail = f"{message.topic} from {message.source}: {error}"
        if arrived:
            self._deliver(now_ns, arrived)
        for octets in self._link.take(now_ns):
            self._send_up(now_ns, octets)

    def _take(self, now_ns: int, message: Message) -> list[bytes]:
        if message.topic == Topic.PACKETS:
            # Stepped over even if it is none: the journal keeps it.
            self._position = (message.journal, message.sequence)
            packets = parse(PacketsMessage, message.body)
            self._newest_ns = packets.reception_ns
            return self._link.hear(now_ns, packets.packets)
        if message.topic == Topic.PASSES:
            self._passes = parse(PassesMessage, message.body)
        elif message.topic == Topic.LINK:
            self._owlt_s = parse(LinkMessage, message.body).owlt_s
        elif message.topic == Topic.RADIATED:
            fate = parse(RadiatedMessage, message.body)
            if fate.service == self._service:
                self._radiated += not fate.refused
                self._refused += bool(fate.refused)
        return []

    def _situation(self, now_ns: int) -> Situation:
        passes = self._passes
        if passes is None:
            return Situation(not self._has_passes, not self._has_passes, self._owlt_s)
        transmits = any(
            one.transmits(now_ns) and one.transmits(now_ns + self._handover_ns)
            for one in passes.passes
        )
        arrival_ns = now_ns + round(max(0.0, self._owlt_s) * 1e9)
        hears = passes.receiving(arrival_ns) is not None
        return Situation(transmits, hears, self._owlt_s)

    def _deliver(self, now_ns: int, arrived: list[bytes]) -> None:
        part: list[DeliveredBundle] = []
        size = 0
        for octets in arrived:
            bundle = self._accepted(octets)
            if bundle is None:
                continue
            primary = bundle.primary
            created_ms = primary.creation.time_ms
            created_ns = tai_ns_from_dtn_ms(created_ms) if created_ms else 0
            source, destination = str(primary.source), str(primary.destination)
            part.append(DeliveredBundle(source, destination, created_ns, now_ns, octets))
            size += len(octets)
            self._last = f"last from {source} at {utc_iso_from_tai_ns(now_ns, 0)}"
            if size >= MESSAGE_OCTETS:
                self._publish(now_ns, part)
                part, size = [], 0
        if part:
            self._publish(now_ns, part)
        self._bus.sync()

    def _publish(self, now_ns: int, part: list[DeliveredBundle]) -> None:
        message = BundlesMessage(self._bundles, tuple(part))
        self._bus.publish(Topic.BUNDLES, message.build(), time_ns=now_ns)
        self._bundles += len(part)

    def _accepted(self, octets: bytes) -> Bundle | None:
        """None, and counted, for what is no bundle, not for us, or here already."""
        try:
            bundle = parse_bundle(octets)
        except RemoteError:
            self._malformed += 1
            return None
        if violations(bundle):
            self._malformed += 1
        elif bundle.primary.destination.node_number not in LOCAL_NODES:
            self._undeliverable += 1
        elif not self._remember(bundle):
            self._repeated += 1
        else:
            return bundle
        return None

    def _remember(self, bundle: Bundle) -> bool:
        """False if it was known."""
        name = str(bundle.id)
        if name in self._known:
            return False
        self._known[name] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return True

    def _send_up(self, now_ns: int, octets: bytes) -> None:
        # Not asked for again when nobody answers: LTP sends again what was lost, wherever it was.
        self._sent += 1
        message = UplinkMessage(
            id=f"{self._service}-{self._boot}-{self._sent}",
            service=self._service,
            carrier=Carrier.RELAY,
            octets=octets,
            earliest_ns=now_ns,
            latest_ns=now_ns + 2 * self._handover_ns,
        )
        self._bus.publish(Topic.UPLINK, message.build(), time_ns=now_ns)

    def _tick(self, *, now: bool = False) -> None:
        ltp = self._link.ltp.engine.statistics()
        counters = {
            "bundles": self._bundles,
            "repeated": self._repeated,
            "malformed": self._malformed,
            "undeliverable": self._undeliverable,
            "uplink_messages": self._sent,
            "uplink_radiated": self._radiated,
            "uplink_refused": self._refused,
            "ltp_receiving": ltp.receiving,
            "ltp_segments_received": ltp.segments_received,
            "ltp_segments_sent": ltp.segments_sent,
        }
        if self._status.state is ServiceState.RUNNING:
            self._status.detail = f"{self._bundles:,} bundles" + (
                f", {self._last}" if self._last else ""
            )
        self._status.tick(counters, newest_ns=self._newest_ns, now=now)
