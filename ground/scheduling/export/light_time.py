"""One-way light time of missions whose place is known, for uplink windows and contact plans."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ground.scheduling.export.publication import LightTime
from ground.scheduling.look import Conditions, Geometry
from ground.scheduling.model import S_NS
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import target_named


def modelled(sky: Sky, stations: Sequence[Station], targets: Mapping[str, str]) -> LightTime:
    """Of what the station receives at an instant; targets: by mission, as `target_named` has them.

    What is sent then travels as long within the 2 · OWLT · range rate / c that the spacecraft
    moves meanwhile: 2 ms for L4.  LocalError for a target that is not known.
    """
    geometry = {
        mission: Geometry(sky, stations, target_named(target), Conditions())
        for mission, target in targets.items()
    }
    index = {station.name: i for i, station in enumerate(stations)}

    def light_time(mission: str, antenna: str, ground_ns: int) -> int | None:
        if mission not in geometry or antenna not in index:
            return None
        t_s = np.array([(ground_ns - sky.start_ns) / S_NS])
        look = geometry[mission].look(np.array([index[antenna]]), t_s)
        return round(float(look.light_time_s[0]) * S_NS)

    return light_time
