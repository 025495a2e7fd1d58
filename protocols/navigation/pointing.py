"""How an azimuth-elevation antenna gets from one place of the sky to another; its cable wrap.

The azimuth axis turns further than once around, but not for ever: cables run through it.  An *axis
angle* is where it stands between its ends; the azimuth on the sky is the axis angle modulo 360°.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64


@dataclass(frozen=True, slots=True)
class Drive:
    """Rates in degrees a second, the azimuth axis' travel [least, most] in degrees.

    settle_s  is added to every slew.  Raises LocalError for rates that are not positive or a
    travel under 360°, with which parts of the sky could not be seen at all.
    """

    azimuth_rate_deg_s: float
    elevation_rate_deg_s: float
    wrap_deg: tuple[float, float] = (-270.0, 270.0)
    settle_s: float = 0.0

    def __post_init__(self) -> None:
        if not (self.azimuth_rate_deg_s > 0 and self.elevation_rate_deg_s > 0):
            raise LocalError(
                f"slew rates {self.azimuth_rate_deg_s} and {self.elevation_rate_deg_s} deg/s: "
                "above 0 wanted"
            )
        least, most = self.wrap_deg
        if most - least < 360:
            raise LocalError(f"cable wrap {least}..{most}°: 360° or more of travel wanted")


@dataclass(frozen=True, slots=True)
class Slew:
    """seconds  until the antenna stands there; axis_deg  where its azimuth axis then stands.

    unwrap: the short way round was not free, the axis had to turn back.
    """

    seconds: float
    axis_deg: float
    unwrap: bool


def unwrapped_deg(azimuth_deg: F64) -> F64:
    """An azimuth history [n] without its steps at 360°, each within 180° of the one before.

    >>> unwrapped_deg(np.array([350.0, 10.0, 20.0]))
    array([350., 370., 380.])
    """
    return np.degrees(np.unwrap(np.radians(azimuth_deg))) if len(azimuth_deg) else azimuth_deg


def axis_starts_deg(drive: Drive, azimuth_deg: F64) -> list[float]:
    """Axis angles at which a track with this azimuth history may begin, so as to need no unwrap.

    azimuth_deg float64 [n], sampled so that it turns less than 180° between samples.  Empty: the
    track turns further than the wrap allows from any start, it must be interrupted.

    >>> drive = Drive(0.8, 0.8, (-270.0, 270.0))
    >>> axis_starts_deg(drive, np.array([100.0, 180.0, 260.0]))
    [-260.0, 100.0]
    >>> axis_starts_deg(drive, np.array([80.0, 180.0, 280.0]))
    []
    """
    history = unwrapped_deg(np.asarray(azimuth_deg, np.float64))
    least, most = drive.wrap_deg
    low, high = float(history.min()), float(history.max())
    first = int(np.ceil((least - low) / 360))
    last = int(np.floor((most - high) / 360))
    return [float(history[0]) + 360 * turn for turn in range(first, last + 1)]


def slew(
    drive: Drive,
    axis_deg: float,
    elevation_deg: float,
    starts_deg: list[float],
    to_elevation_deg: float,
) -> Slew:
    """The quickest slew from an axis angle and elevation to one of `starts_deg`.

    Both axes turn together; the slower one decides.  Raises LocalError without a start.

    >>> drive = Drive(0.5, 0.5)
    >>> slew(drive, 260.0, 10.0, [-80.0], 20.0)
    Slew(seconds=680.0, axis_deg=-80.0, unwrap=True)
    >>> slew(drive, 260.0, 10.0, [280.0 - 360, 240.0], 60.0)
    Slew(seconds=100.0, axis_deg=240.0, unwrap=False)
    """
    if not starts_deg:
        raise LocalError("no axis angle to slew to: the track turns further than the cable wrap")
    best = min(starts_deg, key=lambda start: abs(start - axis_deg))
    turn = abs(best - axis_deg)
    seconds = max(
        turn / drive.azimuth_rate_deg_s,
        abs(to_elevation_deg - elevation_deg) / drive.elevation_rate_deg_s,
    )
    return Slew(seconds + drive.settle_s, best, turn > 180.0 + 1e-9)
