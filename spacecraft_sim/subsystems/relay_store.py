"""The relay's bundle store: occupancy and bundles by priority, as figures."""

from __future__ import annotations

from protocols.dictionary.l4_states import EventId, Severity
from spacecraft_sim.subsystems.common import Event
from spacecraft_sim.subsystems.noise import Noise

CAPACITY_OCTETS = 64 * 2**30
#: RFC 5050's three classes of service; the names that relay operators still plan by.
PRIORITIES = ("bulk", "normal", "expedited")
_MEAN_OCTETS = (400_000, 60_000, 4_000)
_SHARE = (0.25, 0.60, 0.15)
_WATERMARKS = (50, 80, 95)


class RelayStore:
    def __init__(self, noise: Noise, occupancy: float, inflow_bundles_s: float) -> None:
        self._noise = noise
        self._inflow = inflow_bundles_s
        mean = sum(s * m for s, m in zip(_SHARE, _MEAN_OCTETS, strict=True))
        held = occupancy * CAPACITY_OCTETS / mean
        self.bundles = [int(held * share) for share in _SHARE]
        self._octets = [n * m for n, m in zip(self.bundles, _MEAN_OCTETS, strict=True)]
        self.received = 0
        self.forwarded = 0
        self.refused = 0
        self.in_octets_s = 0
        self.out_octets_s = 0
        self._mark = max((m for m in _WATERMARKS if 100 * occupancy >= m), default=0)

    @property
    def used_octets(self) -> int:
        return sum(self._octets)

    def step(self, out_rate_bit_s: float, *, on: bool) -> list[Event]:
        """One second: bundles arrive, the most urgent leave at the given rate; nothing if off."""
        self.in_octets_s = self.out_octets_s = 0
        if not on:
            return []
        for index, share in enumerate(_SHARE):
            arrived = self._noise.poisson(self._inflow * share)
            if not arrived:
                continue
            size = max(1, int(arrived * _MEAN_OCTETS[index] * (1 + 0.2 * self._noise.normal())))
            self.received += arrived
            if self.used_octets + size > CAPACITY_OCTETS:
                self.refused += arrived
                continue
            self.bundles[index] += arrived
            self._octets[index] += size
            self.in_octets_s += size
        budget = int(out_rate_bit_s / 8)
        for index in (2, 1, 0):
            if not self.bundles[index] or budget <= 0:
                continue
            mean = max(1, self._octets[index] // self.bundles[index])
            leave = min(self.bundles[index], budget // mean)
            octets = self._octets[index] if leave == self.bundles[index] else leave * mean
            self.bundles[index] -= leave
            self._octets[index] -= octets
            self.forwarded += leave
            self.out_octets_s += octets
            budget -= octets
        percent = 100 * self.used_octets / CAPACITY_OCTETS
        mark = max((m for m in _WATERMARKS if percent >= m), default=0)
        before, self._mark = self._mark, mark
        if mark > before:
            return [
                Event(
                    EventId.STORE_WATERMARK,
                    Severity.HIGH if mark >= 95 else Severity.LOW,
                    f"relay store at {percent:.1f} %, passed {mark} %",
                )
            ]
        return []

    def telemetry(self) -> dict[str, float]:
        values: dict[str, float] = {
            "store_used": self.used_octets,
            "store_occupancy": 100 * self.used_octets / CAPACITY_OCTETS,
            "bundles_received": self.received & 0xFFFF_FFFF,
            "bundles_forwarded": self.forwarded & 0xFFFF_FFFF,
            "bundles_refused": self.refused & 0xFFFF_FFFF,
            "inflow": self.in_octets_s,
            "outflow": self.out_octets_s,
        }
        for name, count in zip(PRIORITIES, self.bundles, strict=True):
            values[f"bundles_{name}"] = count
        return values
