"""When the station may transmit, and how far away the spacecraft is: from the published passes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from protocols.bus.messages import Pass, PassesMessage

#: Light time at L4, until station or schedule says better: 1 au.
NOMINAL_OWLT_NS = 499_004_784_000


@dataclass(frozen=True, slots=True)
class Window:
    """Uplink in [start, end); place: the station's antenna."""

    start_ns: int
    end_ns: int
    place: str


@dataclass(frozen=True, slots=True)
class Visibility:
    """passes: the newest list; None: none was heard.  planned: whether this run has passes at all:
    without, the station is always there.  station_owlt_ns: what the link says, −1 if nothing."""

    planned: bool
    passes: PassesMessage | None = None
    station_owlt_ns: int = -1

    def heard(
        self, *, passes: PassesMessage | None = None, station_owlt_ns: int | None = None
    ) -> Visibility:
        """With what was heard now."""
        return replace(
            self,
            passes=self.passes if passes is None else passes,
            station_owlt_ns=self.station_owlt_ns if station_owlt_ns is None else station_owlt_ns,
        )

    def owlt_ns(self, now_ns: int) -> int:
        """One-way light time about an instant: of the pass that is on, else of the next one, else
        what the station says, else that of L4."""
        passes = self.passes.passes if self.passes is not None else ()
        known = [one for one in passes if one.owlt_aos_ns >= 0]
        near = next((one for one in known if one.los_ns > now_ns), known[-1] if known else None)
        if near is not None:
            return _interpolated(near, now_ns)
        return self.station_owlt_ns if self.station_owlt_ns >= 0 else NOMINAL_OWLT_NS

    def transmits(self, now_ns: int, handover_ns: int) -> bool:
        """Whether what is handed over now can go up: the station may transmit now, and still when
        it is there."""
        if self.passes is None:
            return not self.planned
        return any(
            one.transmits(now_ns) and one.transmits(now_ns + handover_ns)
            for one in self.passes.passes
        )

    def window(self, now_ns: int) -> Window | None:
        """The uplink window that is open, or the next one; None if none is planned."""
        if self.passes is None:
            return None
        found = [
            Window(one.uplink_from_ns, one.uplink_to_ns, one.place)
            for one in self.passes.passes
            if one.uplink_to_ns > max(now_ns, one.uplink_from_ns)
        ]
        return min(found, key=lambda one: (one.start_ns, -one.end_ns), default=None)

    def no_uplink(self, now_ns: int) -> str:
        """Why nothing can go up now, in words."""
        window = self.window(now_ns)
        if window is None:
            return "no uplink window is planned"
        if window.start_ns <= now_ns:
            return "the uplink window is closing"
        return f"no uplink window now; the next opens in {(window.start_ns - now_ns) / 1e9:.0f} s"

    def receiving(self, now_ns: int) -> bool:
        """Whether an antenna hears the spacecraft at an instant of the ground."""
        if self.passes is None:
            return not self.planned
        return self.passes.receiving(now_ns) is not None


def _interpolated(one: Pass, now_ns: int) -> int:
    span = one.los_ns - one.aos_ns
    at = min(max(now_ns - one.aos_ns, 0), span)
    return one.owlt_aos_ns + round((one.owlt_los_ns - one.owlt_aos_ns) * at / span)
