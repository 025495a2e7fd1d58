"""The relay payload: its bundle node, the receiver of the Ka-band uplink, and what it measures."""

from __future__ import annotations

from protocols.dictionary.l4_states import EventId, Severity
from protocols.dtn.contact_plan import ContactPlan
from protocols.dtn.space_frames import FrameReceiver
from protocols.identifiers import BundleNode
from spacecraft_sim.flight_software.space_node import SpaceNode
from spacecraft_sim.scenario import RelaySettings
from spacecraft_sim.subsystems.common import Event

_WATERMARKS = (50, 80, 95)
_NAMES = ("bulk", "normal", "expedited")


class RelayPayload:
    """`step` once a tick; off, it neither hears nor sends and keeps what it has."""

    def __init__(
        self, settings: RelaySettings, plan: ContactPlan, start_ns: int, entropy: bytes
    ) -> None:
        self.node = SpaceNode(
            BundleNode.PAYLOAD,
            settings.store_octets,
            plan,
            {
                BundleNode.SITE: settings.to_earth_bit_s,
                BundleNode.MARS_ORBITER: settings.to_mars_bit_s,
            },
            start_ns,
            entropy=entropy,
        )
        self._receiver: FrameReceiver | None = None
        self._mark = 0
        self._in_octets_s = self._out_octets_s = 0

    def step(
        self, t_ns: int, uplink: bytes, from_mars: list[bytes], *, on: bool
    ) -> tuple[list[Event], list[bytes], list[bytes]]:
        """One second.  uplink: octets of the relay carrier; from_mars: packets.  Events, packets to
        the Earth, packets to Mars."""
        self._in_octets_s = self._out_octets_s = 0
        if not on:
            return [], [], []
        node = self.node
        if uplink:
            # Made when first needed: most files never hear an uplink.
            self._receiver = self._receiver or FrameReceiver()
            for packet in self._receiver.receive(uplink):
                self._in_octets_s += len(packet)
                node.receive(t_ns, BundleNode.SITE, packet)
        for packet in from_mars:
            self._in_octets_s += len(packet)
            node.receive(t_ns, BundleNode.MARS_ORBITER, packet)
        node.turn(t_ns)
        to_earth = node.take(t_ns, BundleNode.SITE)
        to_mars = node.take(t_ns, BundleNode.MARS_ORBITER)
        self._out_octets_s = sum(map(len, to_earth)) + sum(map(len, to_mars))
        return self._watermark(), to_earth, to_mars

    @property
    def occupancy_percent(self) -> float:
        return 100 * self.node.used_octets / self.node.capacity_octets

    def _watermark(self) -> list[Event]:
        percent = self.occupancy_percent
        mark = max((m for m in _WATERMARKS if percent >= m), default=0)
        # A store that breathes about a mark passes it once.
        if mark < self._mark and percent > self._mark - 5:
            return []
        before, self._mark = self._mark, mark
        if mark <= before:
            return []
        severity = Severity.HIGH if mark >= 95 else Severity.LOW
        text = f"relay store at {percent:.1f} %, passed {mark} %"
        return [Event(EventId.STORE_WATERMARK, severity, text)]

    def telemetry(self) -> dict[str, float]:
        node = self.node
        values: dict[str, float] = {
            "store_used": node.used_octets,
            "store_occupancy": self.occupancy_percent,
            "bundles_received": node.taken & 0xFFFF_FFFF,
            "bundles_forwarded": node.forwarded & 0xFFFF_FFFF,
            "bundles_refused": node.refused_segments & 0xFFFF_FFFF,
            "inflow": self._in_octets_s,
            "outflow": self._out_octets_s,
        }
        for name, count in zip(_NAMES, node.held(), strict=True):
            values[f"bundles_{name}"] = count
        return values
