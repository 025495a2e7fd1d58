"""LTP over the space link as a convergence layer: packets from the bus in, uplink asked for there.

A report that acknowledges a bundle leaves only when the node's store has the bundle on disk
(`accept`), and so does the memory of how far `receive`'s journal was heard.  LTP's own state is not
kept: after a restart, what was half received is reported so and comes again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from selectors import BaseSelector
from typing import Any, Final

from ground.ports import (
    BundleArrived,
    BundleFailed,
    BundleSent,
    Bus,
    Clock,
    LinkState,
    LinkStatistics,
    Message,
    PeerUp,
    StateStore,
    TransportEvent,
)
from ground.relay.space_link import Situation, SpaceLink
from protocols.bus.messages import (
    LinkMessage,
    PacketsMessage,
    PassesMessage,
    RadiatedMessage,
    UplinkMessage,
    parse,
)
from protocols.dtn.ltp_segments import SessionId
from protocols.errors import RemoteError
from protocols.identifiers import BundleNode, Carrier, Topic

#: How late an answer leaves, wall seconds.
TURN_S: Final = 0.05
#: Time between snapshots, wall seconds; a restart hears again what came since.
SNAPSHOT_S: Final = 5.0
#: How long what we ask for may need to reach the antenna, wall seconds.
HANDOVER_S: Final = 3.0
#: Until a bundle for which there was no room is offered again, wall seconds.
AGAIN_S: Final = 1.0

STATE_VERSION = 1


class SpaceTransport:
    """See `BundleTransport`; its one neighbour is the relay payload.

    passes: the run plans passes; before the first plan is known nothing is sent up.
    boot: another at each start, so that no radiation's name is used twice.
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
        self.name = "LTP over the space link"
        self.events: list[TransportEvent] = []
        self._link = link
        self._bus = bus
        self._clock = clock
        self._state = state
        self._service = service
        self._source = source
        self._has_passes = passes
        self._boot = boot
        self._handover_ns = round(HANDOVER_S / clock.wall_seconds(1.0) * 1e9)
        #: The newest schedule that was heard of.
        self.passes: PassesMessage | None = None
        self._owlt_s = -1.0
        self._transmits = False
        self._position: tuple[str, int] = ("", -1)
        self._saved_s = self._offered_s = time.monotonic()
        #: Bundles that the node has not on disk yet, by receipt; those that it had no room for.
        self._offered: dict[int, bytes] = {}
        self._refused: set[int] = set()
        self._receipts = 0
        self._tokens: dict[SessionId, Any] = {}
        self.newest_ns: int | None = None
        self.counts = dict.fromkeys(
            ("arrived", "malformed", "uplink_messages", "uplink_radiated", "uplink_refused"), 0
        )

    def open(self, selector: BaseSelector) -> None:
        state = self._state.load()
        if state and state.get("version") == STATE_VERSION:
            self._position = (state["journal"], state["sequence"])
        self._bus.follow(Topic.PACKETS, self._source, *self._position)
        for topic in (Topic.PASSES, Topic.LINK, Topic.RADIATED):
            self._bus.subscribe(topic)
        self.events.append(PeerUp(BundleNode.PAYLOAD))

    # ------------------------------------------------------------ bundles

    def window(self, neighbour: int) -> int:
        now_ns = self._clock.now_ns()
        free = self._transmits and not self._offered and self._link.ltp.ready(now_ns)
        return int(neighbour == BundleNode.PAYLOAD and free)

    def send(self, neighbour: int, token: Any, segments: Sequence[bytes | memoryview]) -> None:
        self._tokens[self._link.ltp.send(b"".join(segments))] = token

    def accept(self, receipt: Any) -> None:
        self._offered.pop(receipt, None)
        self._refused.discard(receipt)

    def refuse(self, receipt: Any) -> None:
        # LTP has taken it already: it is kept, and no report leaves, until there is room.
        self._refused.add(receipt)

    def pause(self, neighbour: int, paused: bool) -> None:
        """Without reports the payload waits by itself."""

    # ------------------------------------------------------------ the work

    def turn(self) -> None:
        now_ns = self._clock.now_ns()
        messages = self._bus.receive(0)
        situation = self._situation(now_ns)
        self._transmits = situation.transmits
        self._link.situation(now_ns, situation)
        for message in messages:
            try:
                self._take(now_ns, message)
            except RemoteError:
                self.counts["malformed"] += 1
        wall_s = time.monotonic()
        if self._refused and wall_s - self._offered_s >= AGAIN_S:
            self._offered_s = wall_s
            again, self._refused = self._refused, set()
            self.events += [
                BundleArrived(BundleNode.PAYLOAD, self._offered[one], one) for one in sorted(again)
            ]
        if self._offered:
            return
        for octets in self._link.take(now_ns):
            self._send_up(now_ns, octets)
        for outcome in self._link.ltp.outcomes():
            token = self._tokens.pop(outcome.session, None)
            if token is not None:
                sent = BundleSent(token) if outcome.arrived else BundleFailed(token, False)
                self.events.append(sent)
        if wall_s - self._saved_s >= SNAPSHOT_S:
            self._save()

    def _take(self, now_ns: int, message: Message) -> None:
        if message.topic == Topic.PACKETS:
            # Stepped over even if it is none: the journal keeps it.
            self._position = (message.journal, message.sequence)
            packets = parse(PacketsMessage, message.body)
            self.newest_ns = packets.reception_ns
            for octets in self._link.hear(now_ns, packets.packets):
                self._receipts += 1
                self.counts["arrived"] += 1
                self._offered[self._receipts] = octets
                self.events.append(BundleArrived(BundleNode.PAYLOAD, octets, self._receipts))
        elif message.topic == Topic.PASSES:
            self.passes = parse(PassesMessage, message.body)
        elif message.topic == Topic.LINK:
            self._owlt_s = parse(LinkMessage, message.body).owlt_s
        elif message.topic == Topic.RADIATED:
            fate = parse(RadiatedMessage, message.body)
            if fate.service == self._service:
                self.counts["uplink_refused" if fate.refused else "uplink_radiated"] += 1

    def _situation(self, now_ns: int) -> Situation:
        passes = self.passes
        if passes is None:
            return Situation(not self._has_passes, not self._has_passes, self._owlt_s)
        transmits = any(
            one.transmits(now_ns) and one.transmits(now_ns + self._handover_ns)
            for one in passes.passes
        )
        arrival_ns = now_ns + round(max(0.0, self._owlt_s) * 1e9)
        return Situation(transmits, passes.receiving(arrival_ns) is not None, self._owlt_s)

    def _send_up(self, now_ns: int, octets: bytes) -> None:
        # Not asked for again when nobody answers: LTP sends again what was lost, wherever it was.
        self.counts["uplink_messages"] += 1
        message = UplinkMessage(
            id=f"{self._service}-{self._boot}-{self.counts['uplink_messages']}",
            service=self._service,
            carrier=Carrier.RELAY,
            octets=octets,
            earliest_ns=now_ns,
            latest_ns=now_ns + 2 * self._handover_ns,
        )
        self._bus.publish(Topic.UPLINK, message.build(), time_ns=now_ns)

    def _save(self) -> None:
        self._saved_s = time.monotonic()
        journal, sequence = self._position
        if sequence >= 0:
            self._state.save(
                {"version": STATE_VERSION, "journal": journal, "sequence": sequence}, wait=False
            )

    def wait_s(self) -> float | None:
        return TURN_S

    def statistics(self) -> tuple[LinkStatistics, ...]:
        ltp = self._link.ltp
        return (
            LinkStatistics(
                name=f"ipn:{BundleNode.PAYLOAD}.0",
                state=LinkState.OK if self._transmits else LinkState.UNAVAILABLE,
                detail="" if self._transmits else "no uplink now",
                chunks_in=self.counts["arrived"],
                octets_in=ltp.received_octets,
                chunks_out=self.counts["uplink_messages"],
                octets_out=ltp.sent_octets,
                owlt_s=self._owlt_s,
            ),
        )

    def close(self) -> None:
        if not self._offered:
            self._save()
