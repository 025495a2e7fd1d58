"""Mars: an orbiter with something to say, and the way between it and L4.

The orbiter lives on the spacecraft's ticks.  What it sends is at L4 a light time later; so that the
relay has work from its first tick on, the orbiter has been there a light time longer.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable

from protocols.dtn.contact_plan import ContactPlan
from protocols.dtn.eid import ipn
from protocols.identifiers import BundleNode
from protocols.navigation.planets import mars_l4_light_time_ns
from protocols.timecodes.tai import utc_iso_from_tai_ns
from spacecraft_sim.flight_software.space_node import BULLETIN, SCIENCE, SpaceNode
from spacecraft_sim.scenario import Mars as MarsSettings
from spacecraft_sim.subsystems.common import TICK_NS
from spacecraft_sim.subsystems.noise import Noise
from spacecraft_sim.subsystems.space_weather import WARNING_PFU, proton_intensity

_STORE_OCTETS = 256 << 20
_LIFETIME_S = {SCIENCE: 14 * 86_400, BULLETIN: 86_400}
#: Middle and width of the energies that the bulletin's flux is summed over, MeV.
_BANDS_MEV = ((17.0, 13.0), (32.0, 15.0), (49.0, 20.0), (71.0, 25.0), (103.0, 40.0))


def proton_flux_pfu(storm: float) -> float:
    """Protons/(cm² s sr) from 10 MeV on."""
    return sum(proton_intensity(energy, storm) * width for energy, width in _BANDS_MEV)


class MarsOrbiter:
    """Science in bulk, and bulletins of its particle detector before everything else."""

    def __init__(
        self,
        settings: MarsSettings,
        plan: ContactPlan,
        noise: Noise,
        start_ns: int,
        entropy: bytes,
    ) -> None:
        self._settings = settings
        self._noise = noise
        self._bulletins = self._sequence = 0
        self._alert = False
        self._bulletin_due_ns = 0
        self.node = SpaceNode(
            BundleNode.MARS_ORBITER,
            _STORE_OCTETS,
            plan,
            {BundleNode.PAYLOAD: settings.to_relay_bit_s},
            start_ns,
            entropy=entropy,
        )

    def tick(self, t_ns: int, t_s: int) -> None:
        """One second of work; t_s: of the scenario, negative before its begin."""
        settings = self._settings
        if settings.science_period_s and t_s % settings.science_period_s == 0:
            self._science(t_ns)
        storm = max((one.level(float(t_s)) for one in settings.storm), default=0.0)
        flux = proton_flux_pfu(storm)
        alert = flux >= WARNING_PFU
        periodic = settings.bulletin_period_s and t_ns >= self._bulletin_due_ns
        if alert != self._alert or periodic:
            self._bulletin_due_ns = t_ns + settings.bulletin_period_s * TICK_NS
            self._alert = alert
            self._bulletin(t_ns, flux)

    def _science(self, t_ns: int) -> None:
        self._sequence += 1
        head = f"Mars orbiter, observation {self._sequence}, {utc_iso_from_tai_ns(t_ns, 0)}\n"
        body = head.encode()
        # Instrument data after compression: no pattern is left in it.
        body += self._noise.octets(max(0, self._settings.science_octets - len(body)))
        self._send(t_ns, SCIENCE, body)

    def _bulletin(self, t_ns: int, flux: float) -> None:
        self._bulletins += 1
        report = {
            "bulletin": self._bulletins,
            "utc": utc_iso_from_tai_ns(t_ns, 0),
            "at": "Mars",
            "state": "alert" if self._alert else "quiet",
            "protons_above_10_mev_pfu": round(flux, 3),
        }
        self._send(t_ns, BULLETIN, json.dumps(report).encode())

    def _send(self, t_ns: int, service: int, payload: bytes) -> None:
        centre = ipn(BundleNode.MISSION_CENTRE, service)
        self.node.originate(t_ns, service, centre, payload, _LIFETIME_S[service])


class Mars:
    """Orbiter and both ways to L4; `step` once a tick."""

    def __init__(self, settings: MarsSettings, plan: ContactPlan, seed: int, start_ns: int) -> None:
        self._loss = settings.loss
        self._noise = Noise(seed, "mars_way")
        self._start_ns = start_ns
        ahead = mars_l4_light_time_ns(start_ns) // TICK_NS
        self.orbiter = MarsOrbiter(
            settings,
            plan,
            Noise(seed, "mars_orbiter"),
            start_ns - ahead * TICK_NS,
            b"Mars orbiter %d" % seed,
        )
        #: (arrival, packet), in order of arrival each: the light time changes slower than time.
        self._down: deque[tuple[int, bytes]] = deque()
        self._up: deque[tuple[int, bytes]] = deque()
        self.lost = 0
        for tick in range(-ahead, 0):
            self._one_tick(start_ns + tick * TICK_NS)

    def _one_tick(self, t_ns: int) -> None:
        light_time_ns = mars_l4_light_time_ns(t_ns)
        node = self.orbiter.node
        node.light_time(BundleNode.PAYLOAD, light_time_ns)
        while self._up and self._up[0][0] <= t_ns:
            node.receive(t_ns, BundleNode.PAYLOAD, self._up.popleft()[1])
        self.orbiter.tick(t_ns, (t_ns - self._start_ns) // TICK_NS)
        node.turn(t_ns)
        for packet in node.take(t_ns, BundleNode.PAYLOAD):
            self._leave(self._down, t_ns + light_time_ns, packet)

    def _leave(self, way: deque[tuple[int, bytes]], arrival_ns: int, packet: bytes) -> None:
        if self._noise.uniform() < self._loss:
            self.lost += 1
        else:
            way.append((arrival_ns, packet))

    def step(self, t_ns: int, packets: Iterable[bytes]) -> list[bytes]:
        """Packets that left L4 for Mars at this tick in; those that arrive from there out."""
        light_time_ns = mars_l4_light_time_ns(t_ns)
        for packet in packets:
            self._leave(self._up, t_ns + light_time_ns, packet)
        self._one_tick(t_ns)
        arrived: list[bytes] = []
        while self._down and self._down[0][0] <= t_ns:
            arrived.append(self._down.popleft()[1])
        return arrived
