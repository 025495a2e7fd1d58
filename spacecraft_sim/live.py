"""Spacecraft, channel and station on one clock."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.channel import Channel
from spacecraft_sim.flight_software.transmitter import CarrierFrames
from spacecraft_sim.optical_channel import OpticalChannel
from spacecraft_sim.passes import AlwaysTracking, Tracking
from spacecraft_sim.spacecraft import Spacecraft
from spacecraft_sim.station_buffer import StationBuffer
from spacecraft_sim.station_uplink import StationUplink
from spacecraft_sim.subsystems.common import Uplink
from spacecraft_sim.world_clock import WorldClock

#: Wall seconds that one call of `step` covers: encoding ten packets costs as much as a thousand.
_STRIDE_S = 1.0
#: The same where no light time allows to work ahead; what arrives is late by up to so much.
_SHORTEST_STRIDE_S = 0.1
#: Wall seconds that a turn computes at most, but for the last step it begins: a machine that is
#: late still tells the ground every second that it is there.
_TURN_S = 0.5
_STATE_PERIOD_S = 1.0
#: Frames that wait for the station to be told its passes: ten hours of 16 kbit/s.
_HELD_FRAMES = 65_536
#: World nanoseconds without an optical frame, after which nothing is heard.
_HEARD_NS = 2 * 10**9


class OpticalDown:
    """The optical carrier's end here: telescopes of their own, which know no passes."""

    def __init__(self, channel: OpticalChannel, buffer: StationBuffer, cadu_ns: int) -> None:
        self.channel = channel
        self._buffer = buffer
        self._cadu_ns = cadu_ns
        self._in_flight: deque[tuple[int, bytes]] = deque()
        self._last_ns = -1

    def sent(self, frames: CarrierFrames) -> None:
        received = self.channel.downlink(frames.cadus, frames.cadu_ns)
        self._in_flight.extend(
            zip(received.ert_ns.tolist(), map(bytes, received.cadus), strict=True)
        )

    def advance(self, now_ns: int) -> None:
        """Frames whose last octet arrived by `now_ns` go into the station's buffer."""
        while self._in_flight and self._in_flight[0][0] + self._cadu_ns <= now_ns:
            ert_ns, octets = self._in_flight.popleft()
            self._buffer.put(ert_ns, octets)
            self._last_ns = ert_ns

    def heard(self, now_ns: int) -> bool:
        """Whether frames arrive; now_ns: up to which it is known what does."""
        return self._last_ns >= 0 and now_ns - self._last_ns < _HEARD_NS + 2 * self._cadu_ns


@dataclass(slots=True)
class Antenna:
    """A station with a modem, a receiver and a transmitter of its own.

    later_ns: by which it hears everything after the first antenna, as it stands elsewhere on Earth.
    """

    buffer: StationBuffer
    station: ZmqStation
    tracking: Tracking
    later_ns: int = 0


class LiveDownlink:
    """`turn` does what is due now.  others: antennas beside the first; each hears and transmits in
    its own passes.

    What the spacecraft does at t is seen here at t + light time, and depends on nothing sent after
    t − light time.  So it is computed when it is needed, a stride ahead, and the frames wait in
    flight until their last octet arrives.
    """

    def __init__(
        self,
        spacecraft: Spacecraft,
        channel: Channel,
        buffer: StationBuffer,
        station: ZmqStation,
        clock: WorldClock,
        tracking: Tracking | None = None,
        optical: OpticalDown | None = None,
        others: Sequence[Antenna] = (),
    ) -> None:
        self._spacecraft = spacecraft
        self._channel = channel
        self._antennas = (Antenna(buffer, station, tracking or AlwaysTracking()), *others)
        self._clock = clock
        self._optical = optical
        #: Frames that came while no antenna was on the spacecraft.
        self.out_of_pass = 0
        uplink = spacecraft.scenario.uplink
        self.transmitters = tuple(
            StationUplink(one.tracking, uplink.rates_bit_s) for one in self._antennas
        )
        self._cadu_ns = int(spacecraft.scenario.downlink.cadu_duration_ns)
        self._computed_ns = spacecraft.start_ns - 1
        # World nanoseconds that a step covers of what is late: so many as cost little.
        self._step_ns = int(_STRIDE_S * clock.speed * 1e9)
        #: (last octet's arrival, first octet's arrival, octets), in order.
        self._in_flight: deque[tuple[int, int, bytes]] = deque()
        #: (the last octet's arrival at the spacecraft, order of sending, octets): a heap, since a
        #: short burst may overtake a long one on the other carrier.
        self._uplink: list[tuple[int, int, Uplink]] = []
        self._sent_up = 0
        self._state_due = 0.0

    def advance(self, now_ns: int, light_time_ns: int) -> None:
        """Frames whose last octet arrived by `now_ns` go into the station's buffer, if they came
        within a pass."""
        seen_ns = now_ns - light_time_ns
        stride_ns = int(_STRIDE_S * self._clock.speed * 1e9)
        shortest_ns = int(_SHORTEST_STRIDE_S * self._clock.speed * 1e9)
        if seen_ns > self._computed_ns + (0 if light_time_ns else shortest_ns):
            # Uplink of which nobody knows yet arrives after now + light time.
            self._catch_up(seen_ns + min(stride_ns, 2 * light_time_ns))
        if self._optical is not None:
            self._optical.advance(now_ns)
        known = all(one.tracking.known for one in self._antennas)
        if not known and len(self._in_flight) < _HELD_FRAMES:
            # The ground is still planning: what the passes say of these frames is not known yet.
            return
        while self._in_flight and self._in_flight[0][0] <= now_ns:
            end_ns, ert_ns, octets = self._in_flight.popleft()
            hearing = [one for one in self._antennas if one.tracking.hears(ert_ns, end_ns)]
            for one in hearing:
                one.buffer.put(ert_ns + one.later_ns, octets)
            self.out_of_pass += not hearing

    def _catch_up(self, until_ns: int) -> None:
        """To `until_ns`, or as far as a turn's time takes it: the next turn goes on."""
        began_s = before_s = time.monotonic()
        while self._computed_ns < until_ns and before_s - began_s < _TURN_S:
            ahead_ns = until_ns - self._computed_ns
            # One step wherever there is no backlog: short ones cost as much as long ones.
            self._compute(
                self._computed_ns + (ahead_ns if ahead_ns < 2 * self._step_ns else self._step_ns)
            )
            after_s = time.monotonic()
            if after_s - before_s > _TURN_S:
                self._step_ns = max(self._step_ns // 2, 1)
            elif after_s - before_s < _TURN_S / 4:
                self._step_ns *= 2
            before_s = after_s

    def known_ns(self, now_ns: int, light_time_ns: int) -> int:
        """Up to when it is known what arrives here: before `now_ns` where the machine is late."""
        return min(now_ns, self._computed_ns + light_time_ns)

    def _compute(self, until_ns: int) -> None:
        while self._uplink and self._uplink[0][0] <= until_ns:
            arrival_ns, _, uplink = heapq.heappop(self._uplink)
            self._step(arrival_ns)
            self._step(arrival_ns, (uplink,))
        self._step(until_ns)
        self._computed_ns = until_ns

    def _step(self, until_ns: int, uplink: Sequence[Uplink] = ()) -> None:
        downlink = self._spacecraft.step(until_ns, uplink)
        if self._optical is not None and downlink.optical is not None:
            self._optical.sent(downlink.optical)
        if not len(downlink.cadus):
            return
        received = self._channel.downlink(downlink.cadus, downlink.cadu_ns)
        for cadu, ert_ns in zip(received.cadus, received.ert_ns.tolist(), strict=True):
            self._in_flight.append((ert_ns + self._cadu_ns, ert_ns, cadu.tobytes()))

    def _send_up(self, now_ns: int) -> None:
        for antenna, transmitter in zip(self._antennas, self.transmitters, strict=True):
            for radiation in transmitter.advance(now_ns):
                arrived = self._channel.uplink(radiation)
                if arrived is not None:
                    arrival_ns, uplink = arrived
                    heapq.heappush(self._uplink, (arrival_ns, self._sent_up, uplink))
                    self._sent_up += 1
            antenna.station.send_radiated(transmitter.answers())

    def turn(self, timeout_s: float) -> None:
        """Everything due now, then up to `timeout_s` of waiting for the ground."""
        now_ns = self._clock.now_ns()
        light_time_ns = self._channel.light_time.before_reception_ns(now_ns)
        self.advance(now_ns, light_time_ns)
        for antenna, transmitter in zip(self._antennas, self.transmitters, strict=True):
            for message in antenna.station.exchange(timeout_s / len(self._antennas)):
                transmitter.request(self._clock.now_ns(), message)
        self._send_up(self._clock.now_ns())
        wall = time.monotonic()
        if wall < self._state_due:
            return
        self._state_due = wall + _STATE_PERIOD_S
        # Being late ourselves is no cloud.
        known_ns = self.known_ns(now_ns, light_time_ns)
        others = () if self._optical is None else (self._optical.heard(known_ns),)
        for number, one in enumerate(self._antennas):
            heard = one.tracking.hears(now_ns, now_ns + 1)
            one.station.send_state(
                carrier=heard and self._channel.carrier(now_ns - light_time_ns),
                owlt_s=light_time_ns / 1e9,
                station=one.tracking.station(now_ns),
                transmits=one.tracking.transmits(now_ns),
                # The telescopes give what they hear to the first station.
                others=others if number == 0 else (),
            )
