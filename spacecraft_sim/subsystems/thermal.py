"""Lumped thermal nodes: each relaxes to what surrounds it; heaters by thermostat."""

from __future__ import annotations

from dataclasses import dataclass

from protocols.dictionary.l4_states import EventId, Mode, Severity, Switch
from spacecraft_sim.subsystems.common import TICK_S, Environment, Event
from spacecraft_sim.subsystems.noise import Noise


@dataclass(frozen=True, slots=True)
class Node:
    """equilibrium_c: at 1 au with its load on; off_drop_k: how much colder with the load off;
    sun_share: 0 in the shade .. 1 in full Sun; heater (W, and its thermostat's two limits)."""

    name: str
    equilibrium_c: float
    off_drop_k: float
    sun_share: float
    time_constant_s: float
    load: str = "platform"
    heater_w: float = 0.0
    heater_on_c: float = -200.0
    heater_off_c: float = -200.0
    heater_gain_k_per_w: float = 0.0


NODES = (
    Node("sun_panel", 48.0, 0.0, 0.9, 1_800.0),
    Node("anti_sun_panel", -38.0, 0.0, 0.0, 2_400.0),
    Node("electronics", 24.0, 14.0, 0.1, 5_400.0, "relay_processor"),
    Node("battery_bay", 6.0, 0.0, 0.1, 7_200.0, "platform", 24.0, 10.0, 15.0, 0.6),
    Node("tank", 8.0, 0.0, 0.1, 14_400.0, "platform", 18.0, 15.0, 19.0, 0.9),
    Node("propellant_lines", 2.0, 0.0, 0.1, 1_200.0, "platform", 12.0, 11.0, 17.0, 1.8),
    Node("x_amplifier", 36.0, 30.0, 0.0, 900.0, "x_transmitter"),
    Node("ka_amplifier", 44.0, 38.0, 0.0, 780.0, "ka_transmitter"),
    Node("laser_bench", 20.5, 20.0, 0.0, 3_600.0, "optical", 30.0, 16.0, 17.5, 0.5),
    Node("telescope", -12.0, 4.0, 0.2, 5_000.0, "optical"),
    Node("star_tracker", -8.0, 0.0, 0.0, 1_500.0),
    Node("magnetometer_boom", -64.0, 0.0, 0.3, 600.0),
)
HEATERS = tuple(node.name for node in NODES if node.heater_w)


class Thermal:
    def __init__(self, noise: Noise) -> None:
        self._noise = noise
        self._temperature = [node.equilibrium_c for node in NODES]
        self._heater = [False] * len(NODES)
        for index, node in enumerate(NODES):
            if node.heater_w:
                self._temperature[index] = 0.5 * (node.heater_on_c + node.heater_off_c)
                self._heater[index] = noise.uniform() < 0.5
        self.heater_w = 0.0

    def step(
        self, environment: Environment, mode: Mode, switches: dict[str, bool], sun_cosine: float
    ) -> list[Event]:
        """One second; `switches` says which loads warm their node."""
        events: list[Event] = []
        # Radiation balance: absolute temperature goes with the square root of 1/distance.
        sun_k = 150.0 * (max(sun_cosine, 0.0) ** 0.25 / environment.sun_distance_au**0.5 - 1.0)
        self.heater_w = 0.0
        for index, node in enumerate(NODES):
            aim = node.equilibrium_c + node.sun_share * sun_k
            if not switches[node.load]:
                aim -= node.off_drop_k
            if node.heater_w:
                now = self._temperature[index]
                on = self._heater[index]
                if (not on and now < node.heater_on_c) or (on and now > node.heater_off_c):
                    on = self._heater[index] = not on
                    events.append(
                        Event(
                            EventId.HEATER_SWITCHED,
                            Severity.INFORMATION,
                            f"heater {node.name} {'on' if on else 'off'} at {now:.1f} degC",
                        )
                    )
                if on:
                    aim += node.heater_w * node.heater_gain_k_per_w
                    self.heater_w += node.heater_w
            self._temperature[index] += (aim - self._temperature[index]) * (
                TICK_S / node.time_constant_s
            )
        return events

    def temperature(self, name: str) -> float:
        """Degrees Celsius of a node."""
        return self._temperature[_INDEX[name]]

    def telemetry(self) -> dict[str, float]:
        values: dict[str, float] = {
            f"{node.name}_temperature": self._temperature[index] + self._noise.normal(0.03)
            for index, node in enumerate(NODES)
        }
        for index, node in enumerate(NODES):
            if node.heater_w:
                values[f"{node.name}_heater"] = Switch(self._heater[index])
        return values


_INDEX = {node.name: index for index, node in enumerate(NODES)}
