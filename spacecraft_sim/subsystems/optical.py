"""Optical terminal: acquires, tracks, loses and re-acquires its partner."""

from __future__ import annotations

from protocols.dictionary.l4_states import EventId, Mode, OpticalState, Severity
from spacecraft_sim.subsystems.common import Event
from spacecraft_sim.subsystems.noise import Drift, Noise

#: Spiral scan over the partner's uncertainty cone.
_ACQUISITION_S = 45
_LOSS_PER_S = 1 / 5_400.0
_OTHERS_BIT_S = 50e6


class OpticalTerminal:
    """rate_bit_s: of frames while it tracks; None: of a link that carries nothing of ours."""

    def __init__(self, noise: Noise, rate_bit_s: int | None = None) -> None:
        self._noise = noise
        self._rate_bit_s = _OTHERS_BIT_S if rate_bit_s is None else float(rate_bit_s)
        self.state = OpticalState.TRACKING
        self._since_s = 0
        self._fade_db = Drift(noise, 1.2, 20.0)
        self._jitter = Drift(noise, 0.18, 5.0)
        self.laser_c = 20.5

    def step(self, mode: Mode, laser_bench_c: float) -> list[Event]:
        """One second."""
        self.laser_c = laser_bench_c
        self._fade_db.step()
        self._jitter.step()
        self._since_s += 1
        wanted = self.state
        if mode == Mode.SAFE:
            wanted = OpticalState.OFF
        elif mode == Mode.STORM:
            wanted = OpticalState.STOWED
        elif self.state in (OpticalState.OFF, OpticalState.STOWED):
            wanted = OpticalState.ACQUIRING
        elif self.state == OpticalState.ACQUIRING:
            if self._since_s >= _ACQUISITION_S:
                wanted = OpticalState.TRACKING
        elif self._noise.uniform() < _LOSS_PER_S:
            wanted = OpticalState.ACQUIRING
        if wanted == self.state:
            return []
        before, self.state, self._since_s = self.state, wanted, 0
        return [
            Event(
                EventId.OPTICAL_STATE,
                Severity.LOW,
                f"optical terminal {before.name.lower()} -> {wanted.name.lower()}",
            )
        ]

    @property
    def rate_bit_s(self) -> float:
        """What the optical link carries now."""
        return self._rate_bit_s if self.tracking else 0.0

    @property
    def tracking(self) -> bool:
        return self.state == OpticalState.TRACKING

    def telemetry(self) -> dict[str, float]:
        tracking = self.tracking
        return {
            "optical_state": self.state,
            "received_power": 0.9 * 10 ** (self._fade_db.value / 10) if tracking else 0.0,
            "pointing_jitter": abs(0.6 + self._jitter.value) if tracking else 0.0,
            "laser_temperature": self.laser_c + self._noise.normal(0.02),
            "laser_current": 1.84 + self._noise.normal(0.002) if tracking else 0.0,
            "scan_step": self._since_s if self.state == OpticalState.ACQUIRING else 0,
            "optical_rate": self.rate_bit_s,
        }
