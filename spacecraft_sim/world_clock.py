"""World time: TAI, `speed` times as fast as the wall, from an origin that all processes share."""

from __future__ import annotations

import json
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns


@dataclass(frozen=True)
class WorldClock:
    """TAI now = origin_tai_ns + (wall now − origin_unix_ns) · speed.

    The wall is read once; from then on the monotonic clock counts, so that a step of the wall's
    time does not make a step of 60 times that here.
    """

    origin_tai_ns: int
    origin_unix_ns: int
    speed: float
    _began_ns: int = field(default_factory=time.monotonic_ns)
    _began_unix_ns: int = field(default_factory=time.time_ns)

    def __post_init__(self) -> None:
        if not 0 < self.speed <= 1e6:
            raise LocalError(f"speed {self.speed}; above 0, at most 1,000,000 wanted")

    @classmethod
    def starting(cls, speed: float, start_tai_ns: int | None) -> WorldClock:
        """A clock of one's own, beginning now; by default at the wall's time."""
        now = time.time_ns()
        origin = int(tai_ns_from_unix_ns(now)) if start_tai_ns is None else start_tai_ns
        return cls(origin, now, speed)

    @classmethod
    def from_file(cls, path: Path) -> WorldClock:
        """From the supervisor's clock file: JSON, or TOML if its name ends so."""
        text = path.read_text("utf-8")
        try:
            values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
            return cls(
                int(values["origin_tai_ns"]), int(values["origin_unix_ns"]), float(values["speed"])
            )
        except (ValueError, KeyError, TypeError) as error:
            raise LocalError(
                f"clock file {path}: {error!r}; origin_tai_ns, origin_unix_ns and speed wanted"
            ) from error

    def now_ns(self) -> int:
        wall_ns = self._began_unix_ns + time.monotonic_ns() - self._began_ns
        elapsed_ns = wall_ns - self.origin_unix_ns
        # Integer part and fraction of the speed apart: a float would lose nanoseconds in a day.
        whole = int(self.speed)
        return self.origin_tai_ns + elapsed_ns * whole + round(elapsed_ns * (self.speed - whole))
