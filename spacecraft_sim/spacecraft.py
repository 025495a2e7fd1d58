"""The L4 relay: steps in, downlink out; no clock, no I/O, no randomness but the seed's.

The spacecraft lives on whole seconds (ticks).  `step` catches up with the time it is given, so the
downlink depends on the seed, the scenario, the start and what came up, never on how often it was
called.
"""

from __future__ import annotations

import copy
import heapq
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols.dictionary.l4_reports import REPORTS
from protocols.dictionary.l4_states import EventId, Mode, Severity, StarTracker, Switch
from protocols.frames.clcw import CLCW
from protocols.identifiers import Apid, BundleNode, Carrier, VirtualChannel
from protocols.navigation.geometry import earth_sun_distance_au
from protocols.navigation.planets import mars_l4_light_time_ns
from spacecraft_sim.faults import Faults
from spacecraft_sim.flight_software.computer import FlightSoftware
from spacecraft_sim.flight_software.files import Files
from spacecraft_sim.flight_software.framing import zone_length
from spacecraft_sim.flight_software.modes import FROM_EVENT, Trigger, next_mode
from spacecraft_sim.flight_software.onboard_clock import OnBoardClock, Wander
from spacecraft_sim.flight_software.packet_stores import RECORDER_STORE
from spacecraft_sim.flight_software.packets import Packet, PacketStore
from spacecraft_sim.flight_software.recorder import Recorder
from spacecraft_sim.flight_software.space_node import plan_of, relay_hops
from spacecraft_sim.flight_software.transmitter import CarrierFrames, Transmitter
from spacecraft_sim.mars import Mars
from spacecraft_sim.scenario import Fault, Scenario, TimelineEntry
from spacecraft_sim.subsystems.attitude import Attitude
from spacecraft_sim.subsystems.common import TICK_NS, Environment, Event, Uplink
from spacecraft_sim.subsystems.noise import Noise
from spacecraft_sim.subsystems.optical import OpticalTerminal
from spacecraft_sim.subsystems.power import Power
from spacecraft_sim.subsystems.propulsion import Propulsion
from spacecraft_sim.subsystems.relay_payload import RelayPayload
from spacecraft_sim.subsystems.space_weather import SpaceWeather
from spacecraft_sim.subsystems.thermal import Thermal
from spacecraft_sim.subsystems.transponder import Transponder

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: What the payload takes the way to the Earth for; L4 keeps its distance within two per cent.
_EARTH_LIGHT_TIME_NS = 499_000_000_000
#: Ticks taken before frames are built: bounds memory when a call has to catch up with days.
_BLOCK_TICKS = 600
#: Once a telecommand frame came through link security, one frame of so many has the frame security
#: report in its operational control field, the others the CLCW.
_SECURITY_REPORT_FRAMES = 8
#: What waits on the playback channel; enough that it is never short of packets.
_PLAYBACK_FRAMES = 8


@dataclass(frozen=True, eq=False)
class DownlinkFrames(CarrierFrames):
    """Those of X band whose first octet left in one step; optical: those that left by light,
    where the scenario has that."""

    optical: CarrierFrames | None = None


Observer = Callable[[str, int, Mapping[str, Any]], None]


class Spacecraft:
    """scenario, seed and start_ns (TAI ns, taken down to a whole second) determine everything.

    observer: called with definition name, SCET and engineering values of every packet before it
    is encoded: what the ground should find.
    """

    def __init__(
        self, scenario: Scenario, *, seed: int, start_ns: int, observer: Observer | None = None
    ) -> None:
        self.scenario = scenario
        self._observer = observer
        self.start_ns = start_ns - start_ns % TICK_NS
        begin = scenario.spacecraft
        self.mode = Mode[begin.mode]

        def noise(name: str) -> Noise:
            return Noise(seed, name)

        downlink = scenario.downlink
        self.power = Power(noise("power"), begin.battery_charge, begin.array_health)
        self.thermal = Thermal(noise("thermal"))
        self.attitude = Attitude(noise("attitude"), self.start_ns, begin.wheel_momentum)
        self.propulsion = Propulsion(noise("propulsion"), begin.propellant_kg)
        self.transponder = Transponder(noise("transponder"), round(downlink.channel_bit_s))
        light = scenario.optical
        rate_bit_s = light.downlink.information_rate_bit_s if light.present else None
        self.optical = OpticalTerminal(noise("optical"), rate_bit_s)
        relay, mars = scenario.relay, scenario.mars
        hops = relay_hops(
            relay.to_earth_bit_s,
            relay.to_mars_bit_s,
            mars.to_relay_bit_s,
            mars_l4_light_time_ns(self.start_ns),
            _EARTH_LIGHT_TIME_NS,
        )
        # From before the orbiter's first bundle on.
        plan = plan_of(hops, self.start_ns - 3600 * TICK_NS)
        self.relay = RelayPayload(relay, plan, self.start_ns, b"relay payload %d" % seed)
        self.mars = Mars(mars, plan, seed, self.start_ns) if mars.present else None
        self._from_mars: list[bytes] = []
        self.space_weather = SpaceWeather(noise("space_weather"))
        self._noise = noise("computer")

        latency = scenario.max_latency_s
        self._transmitter = Transmitter(downlink, latency, self.start_ns)
        self._multiplexer = self._transmitter.multiplexer
        #: What leaves by light, and from when on the terminal tracks its partner or does not.
        self._laser = None
        if scenario.optical.present:
            self._laser = Transmitter(scenario.optical.downlink, latency, self.start_ns)
        self._by_light: deque[Packet] = deque()
        self._tracks: deque[tuple[int, bool]] = deque([(self.start_ns, False)])
        self._packets = PacketStore()
        settings = scenario.flight_software
        self.clock = OnBoardClock(
            self.start_ns,
            settings.clock_drift_ppm,
            round(1e9 * settings.clock_offset_s),
            Wander(settings.clock_ageing_ppb_day, settings.clock_temperature_ppb, seed),
        )
        #: Degrees that the solar array stands off the Sun.
        self.array_angle_deg = 0.0
        self.burning = False
        self.software = FlightSoftware(
            self,
            self.clock,
            Recorder(begin.recorder_octets),
            noise("memory"),
            settings.keys,
            settings.contact_loss_h,
            self._record,
            partial(Files, scenario.files, _EARTH_LIGHT_TIME_NS),
        )
        if settings.time_report_exponent >= 0:
            self.software.time_exponent = settings.time_report_exponent
        self._faults = Faults(scenario.fault)
        self._arrived: deque[Packet] = deque()
        #: Of the block: telemetry that is recorded, reports that are not, the payload's and files.
        self._recorded: list[Packet] = []
        self._reported: list[Packet] = []
        self._relayed: list[Packet] = []
        #: (when, store, packets); None: the store's retrieval ends.
        self._playbacks: deque[tuple[int, int, list[bytes] | None]] = deque()
        self._playing: deque[tuple[int, int, bytes]] = deque()
        #: Time packets that are due: since when, the clock of then.
        self._time_due: deque[tuple[int, OnBoardClock]] = deque()
        self._time_packets = 0
        #: (from when, CLCW, frame security report if there is one): what the operational control
        #: field says.
        self._words: deque[tuple[int, int, int | None]] = deque(
            [(self.start_ns, self._clcw_word(), None)]
        )
        self._timeline = deque(sorted(scenario.timeline, key=lambda entry: entry.at_s))
        self._tick = 0
        self._events = 0
        self._uplink: list[Uplink] = []
        self._environment = Environment()
        self._periods = {
            Apid[name.upper()]: getattr(scenario.period_s, name)
            for name in scenario.period_s.__dataclass_fields__
        }
        text = f"computer started, mode {self.mode.name}"
        self._raise([Event(EventId.BOOT, Severity.INFORMATION, text)], self.start_ns)

    @property
    def now_ns(self) -> int:
        """The next tick's time."""
        return self.start_ns + self._tick * TICK_NS

    @property
    def packets_generated(self) -> int:
        return self._packets.count

    def step(self, now_ns: int, uplink: Sequence[Uplink] = ()) -> DownlinkFrames:
        """Advance to `now_ns` (TAI ns); what came up is taken at the next tick.

        Returns the frames that began to leave since the last step: none if time did not advance.
        """
        self._uplink += uplink
        parts = [self._block(now_ns)]
        while self.now_ns <= now_ns:
            parts.append(self._block(now_ns))
        if len(parts) == 1:
            return parts[0]
        light = [part.optical for part in parts if part.optical is not None]
        return DownlinkFrames(*_joined(parts), CarrierFrames(*_joined(light)) if light else None)

    def _block(self, now_ns: int) -> DownlinkFrames:
        """Up to `_BLOCK_TICKS` ticks, then the frames that begin before the next one."""
        for _ in range(_BLOCK_TICKS):
            if self.now_ns > now_ns:
                break
            self._one_tick()
        end_ns = min(now_ns, self.now_ns - 1)
        self._record()
        # Both in order of time; of the same second telemetry first.
        self._arrived.extend(heapq.merge(self._recorded, self._relayed, key=_generated))
        self._recorded.clear()
        self._relayed.clear()
        sent = self._transmitter.until(end_ns, self._prepare)
        light = None if self._laser is None else self._laser.until(end_ns, self._prepare_light)
        return DownlinkFrames(sent.frames, sent.cadus, sent.emission_ns, sent.cadu_ns, light)

    def _prepare(self, frame: int, t_ns: int) -> int:
        """What X band's next frame may take; its operational control field."""
        self._queue_packets(t_ns)
        self._queue_time(t_ns)
        while len(self._words) > 1 and self._words[1][0] <= t_ns:
            self._words.popleft()
        _, clcw, report = self._words[0]
        return clcw if report is None or frame % _SECURITY_REPORT_FRAMES else report

    def _prepare_light(self, frame: int, t_ns: int) -> int | None:
        """The same of the optical terminal, which sends nothing while it does not track."""
        assert self._laser is not None
        while len(self._tracks) > 1 and self._tracks[1][0] <= t_ns:
            self._tracks.popleft()
        while self._by_light and self._by_light[0].t_ns <= t_ns:
            packet = self._by_light.popleft()
            self._laser.multiplexer.put(packet.vc, packet.octets, packet.t_ns)
        return 0 if self._tracks[0][1] else None

    def _queue_packets(self, t_ns: int) -> None:
        """Everything generated up to `t_ns` goes to its virtual channel, and what is played back
        as far as the channel has room: the rest can still be called off."""
        while self._arrived and self._arrived[0].t_ns <= t_ns:
            packet = self._arrived.popleft()
            self._multiplexer.put(packet.vc, packet.octets, packet.t_ns)
        while self._playbacks and self._playbacks[0][0] <= t_ns:
            at_ns, store, packets = self._playbacks.popleft()
            if packets is None:
                self._playing = deque(one for one in self._playing if one[1] != store)
            else:
                self._playing.extend((at_ns, store, old) for old in packets)
        room = _PLAYBACK_FRAMES * self.scenario.downlink.frame_length
        while self._playing and self._multiplexer.waiting(VirtualChannel.PLAYBACK) < room:
            at_ns, _, old = self._playing.popleft()
            self._multiplexer.put(VirtualChannel.PLAYBACK, old, at_ns)

    def _queue_time(self, t_ns: int) -> None:
        """A time packet says when the frame leaves that it begins in: put in only if it will."""
        events = VirtualChannel.EVENTS
        if not self._time_due or self._time_due[0][0] > t_ns:
            return
        if self._multiplexer.waiting(events) >= zone_length(self.scenario.downlink):
            return
        _, clock = self._time_due.popleft()
        packet = REPORTS.encode(
            "TIME_REPORT",
            {"TIM_EXPONENT": self.software.time_exponent or 0, "SCET": clock.read(t_ns)},
            sequence_count=self._time_packets,
        )
        self._time_packets = (self._time_packets + 1) % (1 << 14)
        self._multiplexer.put_now(events, packet, t_ns)

    def _record(self) -> None:
        """Encode what was sampled so far; it is in the packet stores from then on."""
        packets = list(heapq.merge(self._packets.flush(), self._reported, key=_generated))
        self._reported.clear()
        for packet in packets:
            self.software.stores.record(packet)
        self._recorded += packets

    def _one_tick(self) -> None:
        t_ns = self.now_ns
        t_s = float(self._tick)
        self._tick += 1
        uplink, self._uplink = self._uplink, []
        commands = b"".join(one.octets for one in uplink if one.carrier is Carrier.COMMAND)
        world = self._environment
        world.sun_distance_au = earth_sun_distance_au(t_ns)
        world.storm = max((storm.level(t_s) for storm in self.scenario.storm), default=0.0)
        world.shock = max((storm.shock_level(t_s) for storm in self.scenario.storm), default=0.0)
        while self._timeline and self._timeline[0].at_s <= t_s:
            self._scheduled(self._timeline.popleft(), t_ns)
        for fault in self._faults.due(t_s):
            self._break(fault)
        if not self._faults.receives(self.software.contact.antenna, t_s):
            commands = b""

        if self.mode.minimal:
            # Sun acquisition turns array and spacecraft together: a stuck drive no longer matters.
            self.array_angle_deg = 0.0
        events = self.attitude.step(world, self.mode)
        sun_cosine = self.attitude.sun_cosine * math.cos(math.radians(self.array_angle_deg))
        events += self.power.step(world, self.mode, sun_cosine, self.thermal.heater_w)
        events += self.thermal.step(world, self.mode, self.power.switches, self.attitude.sun_cosine)
        demand = 1.0 if self.burning else self.attitude.thruster_demand
        self.propulsion.step(demand, self.thermal.temperature("tank"))
        events += self.transponder.step(self.mode, commands)
        events += self.optical.step(self.mode, self.thermal.temperature("laser_bench"))
        self._point_laser(t_ns)
        events += self._relay(t_ns, uplink)
        events += self.space_weather.step(world, on=self.power.switches["instruments"])
        self._raise(events, t_ns)
        for event in events:
            if event.event_id in FROM_EVENT:
                self._change_mode(FROM_EVENT[event.event_id], t_ns)
        self._compute(t_ns, commands)

        words = self._clcw_word(), self.software.security_report()
        if words != self._words[-1][1:]:
            self._words.append((t_ns, *words))
        self._sample(t_ns)
        self._report(t_ns)

    def _point_laser(self, t_ns: int) -> None:
        """Bundles and files go by light while the terminal tracks, as fast as that carries them."""
        tracks = self._laser is not None and self.optical.tracking
        if tracks == self._tracks[-1][1]:
            return
        self._tracks.append((t_ns, tracks))
        settings, slow = self.scenario.optical, self.scenario
        self.relay.node.rate(
            BundleNode.SITE, settings.relay_bit_s if tracks else slow.relay.to_earth_bit_s
        )
        self.software.files.rate(settings.files_bit_s if tracks else slow.files.to_earth_bit_s)

    def _downward(self, packets: list[Packet]) -> None:
        """Packets of the payload and of files, to the carrier that takes them now."""
        if self._tracks[-1][1]:
            self._by_light.extend(packets)
        else:
            self._relayed += packets

    def _compute(self, t_ns: int, commands: bytes) -> None:
        """The on-board computer's second."""
        protons = self.space_weather.integral_pfu
        measured = protons if self.power.switches["instruments"] else None
        # What it watches it reads itself, however seldom it is sent.
        self.software.pool.update({"PWR_BUS_VOLTAGE": self.power.bus_voltage_v})
        self.software.step(t_ns, commands, measured, protons)
        for store, packets in self.software.stores.retrievals():
            self._playbacks.append((t_ns, store, packets))
        scet_ns = self.clock.read(t_ns)
        self._downward(
            [
                Packet(t_ns, VirtualChannel.FILES, packet, scet_ns)
                for packet in self.software.files.down()
            ]
        )
        if self.software.time_due:
            self.software.time_due = False
            self._time_due.append((t_ns, copy.copy(self.clock)))

    def _report(self, t_ns: int) -> None:
        reports = self.software.flush(t_ns)
        self._reported += reports
        if self._observer is not None and reports:
            for name, values in self.software.reports.last:
                self._observer(name, self.clock.read(t_ns), values)

    # What flight software can do: `flight_software.platform.Platform` -------------------------

    def command_mode(self, mode: Mode) -> None:
        self._change_mode(Trigger[f"COMMAND_{mode.name}"], self.now_ns - TICK_NS)

    def reachable(self, mode: Mode) -> bool:
        name = f"COMMAND_{mode.name}"
        return name in Trigger.__members__ and next_mode(self.mode, Trigger[name]) == mode

    def switch_instruments(self, *, on: bool) -> None:
        (self.power.commanded_off.discard if on else self.power.commanded_off.add)("instruments")

    def set_coherent(self, *, on: bool) -> None:
        self.transponder.coherent = on

    @property
    def tracking_stars(self) -> bool:
        return self.attitude.star_tracker == StarTracker.TRACKING

    def _break(self, fault: Fault) -> None:
        if fault.kind == "memory_failure":
            self.software.memory.fail()
        elif fault.kind == "array_stuck":
            self.array_angle_deg = fault.angle_deg
        elif fault.kind == "clock_jump":
            self.clock.adjust(round(1e9 * fault.offset_s))

    def _relay(self, t_ns: int, uplink: Sequence[Uplink]) -> list[Event]:
        carried = b"".join(one.octets for one in uplink if one.carrier is Carrier.RELAY)
        on = self.power.switches["relay_processor"]
        self.relay.node.light_time(BundleNode.SITE, _EARTH_LIGHT_TIME_NS)
        self.relay.node.light_time(BundleNode.MARS_ORBITER, mars_l4_light_time_ns(t_ns))
        events, to_earth, to_mars = self.relay.step(t_ns, carried, self._from_mars, on=on)
        scet_ns = self.clock.read(t_ns)
        self._downward([Packet(t_ns, VirtualChannel.RELAY, packet, scet_ns) for packet in to_earth])
        self._from_mars = [] if self.mars is None else self.mars.step(t_ns, to_mars)
        return events

    def _raise(self, events: list[Event], t_ns: int) -> None:
        for event in events:
            self.software.files.log(event)
            self.software.act_on(event.event_id)
            if not self.software.reported(event.event_id):
                continue
            self._events += 1
            values = {
                "EVT_ID": event.event_id,
                "EVT_SEVERITY": event.severity,
                "EVT_COUNT": self._events & 0xFFFF,
                "EVT_TEXT": event.text,
            }
            self._put("EVENTS", t_ns, values)

    def _change_mode(self, trigger: Trigger, t_ns: int) -> None:
        mode = next_mode(self.mode, trigger)
        if mode == self.mode:
            return
        severity = Severity.HIGH if mode == Mode.SAFE else Severity.MEDIUM
        text = f"mode {self.mode.name} -> {mode.name}: {trigger.value}"
        self.mode = mode
        self._raise([Event(EventId.MODE_CHANGE, severity, text)], t_ns)

    def _scheduled(self, entry: TimelineEntry, t_ns: int) -> None:
        if entry.action == "mode":
            self._change_mode(Trigger[f"TO_{entry.mode}"], t_ns)
        elif entry.action == "array_angle":
            self.array_angle_deg = entry.angle_deg
        else:
            text = f"playback of {entry.from_s:.0f} s to {entry.to_s:.0f} s"
            self._raise([Event(EventId.PLAYBACK, Severity.INFORMATION, text)], t_ns)
            window = [
                self.clock.read(round(1e9 * t) + self.start_ns) for t in (entry.from_s, entry.to_s)
            ]
            packets = self.software.stores.between(RECORDER_STORE, *window)
            self._playbacks.append((t_ns, RECORDER_STORE, packets))

    def _clcw_word(self) -> int:
        """FARM-1's report with the receiver's flags (232.0-B-4 §4.2)."""
        return _word(self.software.clcw(self.transponder.receiver))

    def _put(self, name: str, t_ns: int, values: Mapping[str, Any]) -> None:
        scet_ns = self.clock.read(t_ns)
        self._packets.put(name, t_ns, scet_ns, values)
        self.software.pool.update(values)
        if self._observer is not None:
            self._observer(name, scet_ns, values)

    def _due(self, apid: Apid) -> bool:
        period = self._periods[apid]
        return period > 0 and (self._tick - 1) % period == 0

    def _sample(self, t_ns: int) -> None:
        """Put the packets that are due at this tick."""
        if self._due(Apid.STATUS):
            self._put("STATUS", t_ns, self._status())
        if self._due(Apid.POWER):
            self._put("POWER", t_ns, _named("PWR_", self.power.telemetry()))
        if self._due(Apid.THERMAL):
            self._put("THERMAL", t_ns, _named("THM_", self.thermal.telemetry()))
        if self._due(Apid.ATTITUDE):
            self._put("ATTITUDE", t_ns, _named("ATT_", self.attitude.telemetry()))
        if self._due(Apid.PROPULSION):
            self._put("PROPULSION", t_ns, _named("PRP_", self.propulsion.telemetry()))
        if self._due(Apid.TRANSPONDER):
            values = self.transponder.telemetry(
                self.thermal.temperature("x_amplifier"), self.thermal.temperature("ka_amplifier")
            )
            self._put("TRANSPONDER", t_ns, _named("TRX_", values))
        if self._due(Apid.OPTICAL):
            self._put("OPTICAL", t_ns, _named("OPT_", self.optical.telemetry()))
        if self._due(Apid.RELAY):
            self._put("RELAY", t_ns, _named("RLY_", self.relay.telemetry()))
        if not self.power.switches["instruments"]:
            return
        if self._due(Apid.PROTON_FLUX):
            self._put("PROTON_FLUX", t_ns, _named("PRO_", self.space_weather.protons()))
        if self._due(Apid.SOLAR_WIND):
            self._put("SOLAR_WIND", t_ns, _named("SWP_", self.space_weather.wind()))
        if self._due(Apid.MAGNETOMETER):
            values = _named("MAG_", self.space_weather.field())
            span = values["MAG_RANGE"].name
            for axis, column in zip("XYZ", values.pop("MAG_SAMPLES"), strict=True):
                values[f"MAG_{span}_B{axis}"] = column
            self._put(f"MAGNETOMETER_{span}", t_ns, values)

    def _status(self) -> dict[str, Any]:
        elapsed_ns = (self._tick - 1) * TICK_NS
        return {
            "SC_MODE": self.mode,
            "SC_CLOCK_TRACEABLE": Switch.ON,
            "SC_BOOT_COUNT": self.scenario.spacecraft.boot_count,
            "SC_UPTIME": self._tick - 1,
            "SC_FRAMES": self.scenario.downlink.frames_before_ns(elapsed_ns) & 0xFFFF_FFFF,
            "SC_PACKETS": self._packets.count & 0xFFFF_FFFF,
            "SC_EVENTS": self._events & 0xFFFF,
            "SC_CPU_LOAD": 38.0 + self._noise.normal(2.0) + 12.0 * self._environment.storm,
        }


def _joined(parts: Sequence[CarrierFrames]) -> tuple[U8, U8, I64, I64]:
    return (
        np.concatenate([part.frames for part in parts]),
        np.concatenate([part.cadus for part in parts]),
        np.concatenate([part.emission_ns for part in parts]),
        np.concatenate([part.cadu_ns for part in parts]),
    )


def _generated(packet: Packet) -> int:
    return packet.t_ns


@cache
def _word(word: CLCW) -> int:
    return int.from_bytes(word.build(), "big")


@cache
def _name(prefix: str, key: str) -> str:
    return prefix + key.upper()


def _named(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    """Subsystem values under the dictionary's names."""
    return {_name(prefix, key): value for key, value in values.items()}
