"""Monopropellant blow-down propulsion: tank, lines and eight thrusters."""

from __future__ import annotations

from typing import Any

from protocols.dictionary.l4_states import Switch
from spacecraft_sim.subsystems.common import TICK_S
from spacecraft_sim.subsystems.noise import Noise

THRUSTERS = 8
TANK_VOLUME_L = 210.0
PROPELLANT_DENSITY_KG_L = 1.004
#: Pressurant filled at 22.1 bar over 150 kg of hydrazine at 20 °C.
_FILL_BAR = 22.1
_FILL_KG = 150.0
_FLOW_KG_S_PER_BAR = 2.1e-5
_CATALYST_BED_C = 118.0
_FIRING_C = 640.0


class Propulsion:
    def __init__(self, noise: Noise, propellant_kg: float) -> None:
        self._noise = noise
        self.propellant_kg = propellant_kg
        self.tank_temperature_c = 17.0
        self.tank_pressure_bar = 0.0
        self.line_pressure_bar = 0.0
        self._bed_c = [_CATALYST_BED_C] * THRUSTERS
        self._firing = [False] * THRUSTERS
        self.on_time_ms = [0] * THRUSTERS
        self.firings = 0
        self.latch_valve_open = True
        self._pressurise()

    def _pressurise(self) -> None:
        """Ideal gas in what the propellant leaves of the tank."""
        ullage_l = TANK_VOLUME_L - self.propellant_kg / PROPELLANT_DENSITY_KG_L
        fill_l = TANK_VOLUME_L - _FILL_KG / PROPELLANT_DENSITY_KG_L
        warmth = (self.tank_temperature_c + 273.15) / 293.15
        self.tank_pressure_bar = _FILL_BAR * fill_l / ullage_l * warmth

    def step(self, demand: float, tank_temperature_c: float) -> None:
        """One second with thrusters 1, 3, 5 and 7 at `demand` (0..1) of their duty cycle."""
        self.tank_temperature_c = tank_temperature_c
        used_kg = 0.0
        for index in range(THRUSTERS):
            fires = demand > 0.0 and index % 2 == 0 and self.latch_valve_open
            if fires:
                duty = demand * (0.10 + 0.01 * index)
                self.on_time_ms[index] += round(1000 * duty * TICK_S)
                used_kg += _FLOW_KG_S_PER_BAR * self.tank_pressure_bar * duty * TICK_S
                if not self._firing[index]:
                    self.firings += 1
            self._firing[index] = fires
            aim_c, memory_s = (_FIRING_C, 12.0) if fires else (_CATALYST_BED_C, 420.0)
            self._bed_c[index] += (aim_c - self._bed_c[index]) * TICK_S / memory_s
        self.propellant_kg = max(0.0, self.propellant_kg - used_kg)
        self._pressurise()
        self.line_pressure_bar = self.tank_pressure_bar - (0.35 if demand > 0.0 else 0.02)

    def telemetry(self) -> dict[str, Any]:
        noise = self._noise.normal
        values: dict[str, Any] = {
            "tank_pressure": self.tank_pressure_bar + noise(0.004),
            "line_pressure": self.line_pressure_bar + noise(0.004),
            "tank_wall_temperature": self.tank_temperature_c + noise(0.03),
            "propellant_mass": self.propellant_kg,
            "firings": self.firings,
            "latch_valve": Switch(self.latch_valve_open),
        }
        for index in range(THRUSTERS):
            values[f"thruster_{index + 1}_valve"] = Switch(self._firing[index])
        values["thruster_temperature"] = [bed_c + noise(0.5) for bed_c in self._bed_c]
        values["thruster_on_time"] = [total & 0xFFFF_FFFF for total in self.on_time_ms]
        return values
