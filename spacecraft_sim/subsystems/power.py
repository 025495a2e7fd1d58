"""Solar array, battery and an unregulated bus that follows the battery."""

from __future__ import annotations

from protocols.dictionary.l4_states import ChargeState, EventId, Mode, Severity, Switch
from spacecraft_sim.subsystems.common import TICK_S, Environment, Event
from spacecraft_sim.subsystems.noise import Noise

#: Array output at 1 au, Sun normal, 28 °C, beginning of life.
ARRAY_POWER_W = 3_150.0
ARRAY_TEMPERATURE_COEFFICIENT = -0.0028
BATTERY_CAPACITY_AH = 84.0
BATTERY_RESISTANCE_OHM = 0.028
CHARGE_LIMIT_A = 20.0
#: Li-ion, 8 cells in series: open-circuit voltage over state of charge.
_OCV_V = (24.0, 27.0, 28.4, 29.0, 29.4, 29.8, 30.3, 31.0, 31.7, 32.4, 33.2)

LOADS_W = {
    "platform": 310.0,
    "wheels": 95.0,
    "x_transmitter": 165.0,
    "ka_transmitter": 340.0,
    "optical": 280.0,
    "instruments": 74.0,
    "relay_processor": 145.0,
    "propulsion": 18.0,
}
SAFE_LOADS = frozenset({"platform", "wheels", "x_transmitter", "propulsion"})


def open_circuit_voltage(state_of_charge: float) -> float:
    """Volts of the unloaded battery, state of charge 0..1.

    >>> open_circuit_voltage(0.5), open_circuit_voltage(1.0)
    (29.8, 33.2)
    """
    place = min(max(state_of_charge, 0.0), 1.0) * (len(_OCV_V) - 1)
    index = min(int(place), len(_OCV_V) - 2)
    return _OCV_V[index] + (_OCV_V[index + 1] - _OCV_V[index]) * (place - index)


class Power:
    def __init__(self, noise: Noise, state_of_charge: float, array_health: float) -> None:
        self._noise = noise
        self._health = array_health
        self.state_of_charge = state_of_charge
        self.battery_current_a = 0.0
        self.battery_temperature_c = 14.0
        self.bus_voltage_v = open_circuit_voltage(state_of_charge)
        self.array_current_a = 0.0
        self.array_temperature_c = 62.0
        self.load_w = 0.0
        self.charge_state = ChargeState.TAPER
        self.switches = dict.fromkeys(LOADS_W, True)
        #: Loads that commands have switched off in whatever mode.
        self.commanded_off: set[str] = set()
        self._low = False

    def step(
        self, environment: Environment, mode: Mode, sun_cosine: float, heater_w: float
    ) -> list[Event]:
        """One second: sun_cosine of the angle between array normal and Sun, heaters' load."""
        events: list[Event] = []
        for name in LOADS_W:
            self.switches[name] = not mode.minimal or name in SAFE_LOADS
        if mode == Mode.STORM:
            self.switches["optical"] = False
        for name in self.commanded_off:
            self.switches[name] = False

        flux = 1.0 / environment.sun_distance_au**2
        available_w = (
            ARRAY_POWER_W
            * self._health
            * flux
            * max(sun_cosine, 0.0)
            * (1.0 + ARRAY_TEMPERATURE_COEFFICIENT * (self.array_temperature_c - 28.0))
        )
        sun_facing_c = 62.0 * flux * max(sun_cosine, 0.0) - 80.0 * (1.0 - max(sun_cosine, 0.0))
        self.array_temperature_c += (sun_facing_c - self.array_temperature_c) * (TICK_S / 240.0)

        self.load_w = heater_w + self._noise.normal(2.5)
        for name, watts in LOADS_W.items():
            if self.switches[name]:
                self.load_w += watts
        demand_a = self.load_w / self.bus_voltage_v
        # Above 97 % the charger tapers; what nobody takes stays in the array (shunted).
        taper = min(1.0, max(0.0, (1.0 - self.state_of_charge) / 0.03))
        wanted_a = demand_a + CHARGE_LIMIT_A * taper
        self.array_current_a = min(available_w / self.bus_voltage_v, wanted_a)
        self.battery_current_a = self.array_current_a - demand_a
        self.state_of_charge = min(
            1.0,
            max(0.0, self.state_of_charge + self.battery_current_a / BATTERY_CAPACITY_AH / 3600.0),
        )
        self.bus_voltage_v = (
            open_circuit_voltage(self.state_of_charge)
            + self.battery_current_a * BATTERY_RESISTANCE_OHM
        )
        heat_w = self.battery_current_a**2 * BATTERY_RESISTANCE_OHM
        self.battery_temperature_c += (
            (14.0 + heat_w * 0.35 - self.battery_temperature_c) * TICK_S / 5_400.0
        )

        before = self.charge_state
        if self.battery_current_a < -0.2:
            self.charge_state = ChargeState.DISCHARGE
        elif taper >= 1.0:
            self.charge_state = ChargeState.BULK
        elif taper > 0.02:
            self.charge_state = ChargeState.TAPER
        else:
            self.charge_state = ChargeState.FULL
        if self.charge_state == ChargeState.DISCHARGE != before:
            events.append(
                Event(
                    EventId.BATTERY_DISCHARGING,
                    Severity.LOW,
                    f"battery discharging: array {available_w:.0f} W, load {self.load_w:.0f} W",
                )
            )
        if not self._low and self.state_of_charge < 0.40:
            self._low = True
            events.append(
                Event(
                    EventId.BATTERY_LOW,
                    Severity.HIGH,
                    f"battery at {100 * self.state_of_charge:.1f} %, 40 % is the limit",
                )
            )
        elif self.state_of_charge > 0.45:
            self._low = False
        return events

    def telemetry(self) -> dict[str, float]:
        noise = self._noise.normal
        values: dict[str, float] = {
            "bus_voltage": self.bus_voltage_v + noise(0.004),
            "array_voltage": self.bus_voltage_v + 1.1 + noise(0.01),
            "array_current": self.array_current_a + noise(0.02),
            "array_temperature": self.array_temperature_c + noise(0.1),
            "battery_current": self.battery_current_a + noise(0.02),
            "battery_charge": 100.0 * self.state_of_charge,
            "battery_temperature": self.battery_temperature_c + noise(0.05),
            "load_power": self.load_w,
            "charge_state": self.charge_state,
        }
        for name, on in self.switches.items():
            values[f"{name}_switch"] = Switch(on)
        return values
