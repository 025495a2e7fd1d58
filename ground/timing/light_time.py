"""One-way light time of what a station receives: solved from the geometry, gravity included.

The spacecraft is at the triangular point that leads the Earth–Moon barycentre; a mission whose
orbit is determined puts its trajectory here.  What is left of error is the Earth's orientation
(UT1 beyond its file: 1.1 µs) and the place of the antenna's axes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from protocols.navigation.geometry import F64, triangular_point
from protocols.navigation.light_time import light_time_before_reception_s

I64 = npt.NDArray[np.int64]

_DAY_NS: Final = 86_400 * 10**9
#: Julian date, TAI, of 1958-01-01.
_EPOCH_JD: Final = 2_436_204.5
#: The station's word against the geometry: beyond this, its light time is another world's (a run
#: with `--light-time`), and holds.
DISAGREEING_S: Final = 0.25


class GeometricLightTime:
    """ephemeris, timescale: skyfield's; itrf_km: the antenna's place, [3]."""

    def __init__(self, ephemeris: Any, timescale: Any, itrf_km: tuple[float, ...]) -> None:
        from skyfield.toposlib import ITRSPosition
        from skyfield.units import Distance

        self._timescale = timescale
        self._sun = ephemeris["sun"]
        self._barycentre = ephemeris["earth barycenter"]
        self._antenna = ephemeris["earth"] + ITRSPosition(Distance(km=np.array(itrf_km)))

    def before_reception_ns(self, ert_ns: I64) -> I64:
        """Light time of what arrives at these instants, int64 [n]."""
        if not len(ert_ns):
            return np.empty(0, np.int64)
        epoch_ns = int(ert_ns[0])
        days, rest_ns = divmod(epoch_ns, _DAY_NS)

        def time(t_s: F64) -> Any:
            return self._timescale.tai_jd(_EPOCH_JD + days, (rest_ns / 1e9 + t_s) / 86_400.0)

        def sun(t_s: F64) -> F64:
            return self._sun.at(time(t_s)).position.km.T

        def spacecraft(t_s: F64) -> F64:
            t = time(t_s)
            primary, secondary = self._sun.at(t), self._barycentre.at(t)
            place, _ = triangular_point(
                (secondary.position.km - primary.position.km).T,
                (secondary.velocity.km_per_s - primary.velocity.km_per_s).T,
            )
            return place + primary.position.km.T

        def antenna(t_s: F64) -> F64:
            return self._antenna.at(time(t_s)).position.km.T

        t_s = (ert_ns - epoch_ns) / 1e9
        found_s = light_time_before_reception_s(spacecraft, antenna, t_s, sun)
        return np.rint(found_s * 1e9).astype(np.int64)


class StationLightTime:
    """The geometry's light time, unless the station that is connected says quite another."""

    def __init__(self, geometry: GeometricLightTime) -> None:
        self._geometry = geometry
        self._fixed_ns: int | None = None

    @property
    def fixed_ns(self) -> int | None:
        return self._fixed_ns

    def hear(self, owlt_s: float, last_ert_ns: int) -> None:
        """What the link says (`LinkMessage`); negative: nothing."""
        if owlt_s < 0 or last_ert_ns <= 0:
            return
        (own_ns,) = self._geometry.before_reception_ns(np.array([last_ert_ns], np.int64)).tolist()
        differs = abs(own_ns / 1e9 - owlt_s) > DISAGREEING_S
        self._fixed_ns = round(1e9 * owlt_s) if differs else None

    def before_reception_ns(self, ert_ns: I64) -> I64:
        if self._fixed_ns is not None:
            return np.full(len(ert_ns), self._fixed_ns, np.int64)
        return self._geometry.before_reception_ns(ert_ns)
