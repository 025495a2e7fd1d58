"""Ground time: the wall clock, or one N times as fast from an origin that all processes share."""

from __future__ import annotations

import json
import time
from pathlib import Path

from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns


class ScaledClock:
    """`Clock` that was `origin_tai_ns` when the wall said `origin_unix_ns`, and runs `speed` times
    as fast as the wall.

    The wall is read once; from then on the monotonic clock counts, so that a step of the wall's
    time neither reverses this one nor, at high speed, throws it hours ahead.
    """

    def __init__(self, origin_tai_ns: int, origin_unix_ns: int, speed: float = 1.0) -> None:
        if not 0 < speed <= 1e6:
            raise LocalError(f"clock speed {speed}: above 0, at most 1,000,000 wanted")
        self.speed = speed
        self._since_ns = time.monotonic_ns()
        elapsed = time.time_ns() - origin_unix_ns
        self._then_ns = origin_tai_ns + _scaled(elapsed, speed)

    @classmethod
    def wall(cls) -> ScaledClock:
        now = time.time_ns()
        return cls(int(tai_ns_from_unix_ns(now)), now)

    def now_ns(self) -> int:
        return self._then_ns + _scaled(time.monotonic_ns() - self._since_ns, self.speed)

    def wall_seconds(self, world_seconds: float) -> float:
        return world_seconds / self.speed


def _scaled(interval_ns: int, speed: float) -> int:
    # Integers as long as possible: a float holds 53 bits, which is 104 days of nanoseconds.
    return interval_ns * int(speed) if speed == int(speed) else round(interval_ns * speed)


def open_clock_file(path: Path) -> ScaledClock:
    """Clock of a run (its file: see `ground.config`), the wall clock if it has none.

    LocalError if the file is there and makes no sense.
    """
    try:
        origin = json.loads(path.read_text())
    except FileNotFoundError:
        return ScaledClock.wall()
    except ValueError as error:
        raise LocalError(f"{path}: not a clock file: {error}") from error
    try:
        return ScaledClock(
            int(origin["origin_tai_ns"]), int(origin["origin_unix_ns"]), float(origin["speed"])
        )
    except (KeyError, TypeError, ValueError) as error:
        raise LocalError(f"{path}: not a clock file: {error!r}") from error
