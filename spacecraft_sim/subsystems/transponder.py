"""X/Ka-band transponder: uplink lock and counters, transmitters, ranging."""

from __future__ import annotations

from protocols.dictionary.l4_states import EventId, Mode, ReceiverState, Severity, Switch
from spacecraft_sim.subsystems.common import Event
from spacecraft_sim.subsystems.noise import Drift, Noise

#: DSN channel 18 in X band, MHz: 7,166.9 up; 8,420.4 down (turn-around ratio 880/749).
X_UPLINK_HZ = 7_167_000_000
X_TURNAROUND = (880, 749)
#: Without a carrier for this long the receiver falls back to searching.
_HOLD_S = 900


class Transponder:
    def __init__(self, noise: Noise, symbol_rate_hz: float) -> None:
        self._noise = noise
        self.receiver = ReceiverState.CARRIER_LOCK
        self._agc = Drift(noise, 0.25, 120.0)
        self._loop_hz = Drift(noise, 60.0, 900.0)
        self._tx_dbm = Drift(noise, 0.03, 600.0)
        self.symbol_rate_hz = symbol_rate_hz
        self.uplink_octets = 0
        self.uplink_bursts = 0
        self._silent_s = 0
        self.ka_on = True
        self.coherent = True

    def step(self, mode: Mode, uplink: bytes) -> list[Event]:
        """One second, in which `uplink` arrived."""
        events: list[Event] = []
        self._agc.step()
        self._loop_hz.step()
        self._tx_dbm.step()
        self.ka_on = not mode.minimal
        if uplink:
            self.uplink_octets += len(uplink)
            self.uplink_bursts += 1
            self._silent_s = 0
            if self.receiver != ReceiverState.BIT_LOCK:
                self.receiver = ReceiverState.BIT_LOCK
                events.append(
                    Event(
                        EventId.UPLINK_LOCK,
                        Severity.INFORMATION,
                        f"uplink bit lock, {len(uplink)} octets",
                    )
                )
        elif self.receiver == ReceiverState.BIT_LOCK:
            self._silent_s += 1
            if self._silent_s > _HOLD_S:
                self.receiver = ReceiverState.CARRIER_LOCK
                events.append(
                    Event(EventId.UPLINK_LOST, Severity.INFORMATION, "uplink bit lock lost")
                )
        return events

    def telemetry(self, x_amplifier_c: float, ka_amplifier_c: float) -> dict[str, float]:
        return {
            "receiver_state": self.receiver,
            "coherent": Switch(self.coherent),
            "ranging": Switch(self.coherent),
            "ka_transmitter": Switch(self.ka_on),
            "uplink_level": -118.0 + self._agc.value,
            "uplink_offset": self._loop_hz.value,
            "x_transmit_power": 47.4 + self._tx_dbm.value,
            "ka_transmit_power": 50.1 + self._tx_dbm.value if self.ka_on else -30.0,
            "x_amplifier_temperature": x_amplifier_c,
            "ka_amplifier_temperature": ka_amplifier_c,
            "symbol_rate": self.symbol_rate_hz,
            "uplink_octets": self.uplink_octets & 0xFFFF_FFFF,
            "uplink_bursts": self.uplink_bursts & 0xFFFF,
        }
