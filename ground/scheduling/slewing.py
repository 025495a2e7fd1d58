"""From pass to pass on one antenna: slew time, and which way round the cable wrap leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ground.scheduling.look import Conditions, Geometry
from ground.scheduling.model import Interval
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import Target
from protocols.errors import LocalError
from protocols.navigation.pointing import axis_starts_deg, slew, unwrapped_deg


@dataclass(frozen=True, slots=True)
class Turn:
    """A track and the slew that leads to it.

    slew_s       from the track before (from where the antenna stood, for the first)
    spare_s      time between both tracks less the slew; negative: they cannot follow each other
    unwrap       the antenna turned back by more than half a round
    axis_deg     where the azimuth axis stands when the track begins and when it ends
    interrupted  no wrap position holds the whole track: it must be interrupted to unwrap
    """

    target: str
    track: Interval
    slew_s: float
    spare_s: float
    unwrap: bool
    axis_deg: tuple[float, float]
    interrupted: bool


def turns(
    station: Station,
    tracks: Sequence[tuple[Target, Interval]],
    sky: Sky,
    *,
    parked_deg: tuple[float, float] = (0.0, 90.0),
    conditions: Conditions | None = None,
) -> list[Turn]:
    """The slews between tracks of one station, in their order; `parked_deg`: axis and elevation.

    Of the wrap positions that hold the whole next track, the nearest is taken.  Raises LocalError
    for tracks out of order or outside the sky's span.
    """
    conditions = conditions or Conditions()
    geometries: dict[str, Geometry] = {}
    axis, elevation = parked_deg
    before_ns: int | None = None
    result: list[Turn] = []
    drive = station.drive
    for target, track in tracks:
        if before_ns is not None and track.start_ns < before_ns:
            raise LocalError(f"tracks of {station.name} overlap or are out of order")
        if not (sky.start_ns <= track.start_ns and track.end_ns <= sky.end_ns):
            raise LocalError(f"a track of {station.name} lies outside the span of the sky given")
        if target.name not in geometries:
            geometries[target.name] = Geometry(sky, [station], target, conditions)
        start_s = (track.start_ns - sky.start_ns) / 1e9
        step_s = min(60.0, target.step_s / 4)
        t_s = start_s + np.linspace(0.0, track.length_s, 2 + int(track.length_s / step_s))
        seen = geometries[target.name].look(np.zeros(len(t_s), np.int64), t_s)
        starts = axis_starts_deg(drive, seen.azimuth_deg)
        turned = unwrapped_deg(seen.azimuth_deg)
        interrupted = not starts
        if interrupted:
            # Begin at the end of the wrap that lasts longest.
            first, towards = float(turned[0]), np.sign(turned[-1] - turned[0])
            least, most = drive.wrap_deg
            options = [first + 360 * k for k in range(-4, 5) if least <= first + 360 * k <= most]
            starts = [min(options) if towards > 0 else max(options)]
        move = slew(drive, axis, elevation, starts, float(seen.elevation_deg[0]))
        spare_s = (
            float("inf") if before_ns is None else (track.start_ns - before_ns) / 1e9 - move.seconds
        )
        axis = move.axis_deg + float(turned[-1] - turned[0])
        if interrupted:
            axis = float(np.clip(axis, *drive.wrap_deg))
        elevation = float(seen.elevation_deg[-1])
        result.append(
            Turn(
                target.name, track, move.seconds, spare_s, move.unwrap, (move.axis_deg, axis),
                interrupted,
            )
        )  # fmt: skip
        before_ns = track.end_ns
    return result
