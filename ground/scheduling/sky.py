"""Earth, Sun and planets over a span of time: JPL's ephemeris and the Earth's rotation.

Ephemeris and Earth orientation come from skyfield-data: DE421 (1899-2053) and IERS finals2000A.
UT1 − UTC and polar motion are applied.  The last year of the IERS file is prediction and beyond its
end UT1 is extrapolated: skyfield-data 7.0 (file to August 2026) was 0.1 s off at its end, 0.2 s in
December 2026 and 0.4 s in June 2027, by the file of November 2026.  Rise and set err by as much, an
azimuth by 15″ a second.  Polar motion stays as it was last (0.3″ at most).  Precession and nutation
are IAU 2006/2000A; the observed offsets of the celestial pole (under 0.001″) are left out.

Times are seconds from the span's first instant; what turns slowly is tabulated every six hours and
interpolated, so that a year of any number of antennas costs 1,500 nutation series.
"""

from __future__ import annotations

import atexit
import functools
import threading
import warnings
from typing import Any, Final

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64, UniformTable
from protocols.timecodes.tai import NS_PER_DAY, day_start_tai_ns, utc_iso_from_tai_ns

#: Julian date, TAI, of 1958-01-01T00:00:00 TAI.
_EPOCH_JD: Final = 2_436_204.5
_MJD_1958: Final = 36_204
#: Nutation's shortest terms last 5 days; a degree-7 polynomial through 6 h steps is good to 1e-12.
NODE_S: Final = 21_600.0
#: Earth rotation angle per UT1 second times UT1's own rate, rad/s (IERS Conventions 2010 eq. 5.15).
_TURN_RAD_S: Final = 2 * np.pi * 1.002_737_811_911_354_48 / 86_400
_ARCSEC: Final = np.pi / 648_000
#: DE421, as TAI ns: 1899-07-29 to 2053-10-09, less a day's light time at either end.
COVERED_NS: Final = (-58 * 365 * NS_PER_DAY, 95 * 365 * NS_PER_DAY)

_lock = threading.Lock()


@functools.cache
def open_ephemeris() -> tuple[Any, Any, int]:
    """(ephemeris, timescale with polar motion, last instant of known UT1), nothing fetched."""
    import skyfield_data
    from skyfield.api import Loader, Timescale
    from skyfield.data import iers

    with warnings.catch_warnings():
        # skyfield-data warns of each expired file at every call; the module docstring and
        # docs/howto/add-a-station.md say what it costs.
        warnings.simplefilter("ignore", RuntimeWarning)
        folder = skyfield_data.get_skyfield_data_path()
    ephemeris: Any = Loader(folder, verbose=False)("de421.bsp")
    atexit.register(ephemeris.close)
    with open(f"{folder}/finals2000A.all", "rb") as file:
        finals = iers.parse_x_y_dut1_from_finals_all(file)
    daily_tt, daily_delta_t, leap_dates, leap_offsets = iers.build_timescale_arrays(
        finals["utc_mjd"], finals["dut1"]
    )
    timescale = Timescale((daily_tt, daily_delta_t), leap_dates, leap_offsets)
    iers.install_polar_motion_table(timescale, finals)
    known_ns = day_start_tai_ns(int(finals["utc_mjd"][-1]) - _MJD_1958)
    return ephemeris, timescale, known_ns


class Sky:
    """The Earth among the planets from `start_ns` to `end_ns`, TAI.

    Vectors are float64 [n, 3].  *True of date* is the true equator and equinox of the instant,
    *Earth-fixed* is ITRF.  Raises LocalError for a span outside the ephemeris.
    """

    def __init__(self, start_ns: int, end_ns: int) -> None:
        if not COVERED_NS[0] <= start_ns < end_ns <= COVERED_NS[1]:
            raise LocalError(
                f"{utc_iso_from_tai_ns(start_ns)} to {utc_iso_from_tai_ns(end_ns)}: a span in "
                "1900 … 2053 wanted, which the ephemeris DE421 covers"
            )
        self.start_ns, self.end_ns = start_ns, end_ns
        self.length_s = (end_ns - start_ns) / 1e9
        with _lock:
            self.ephemeris, self.timescale, self.ut1_known_until_ns = open_ephemeris()
        self._earth = self.ephemeris["earth"]

    @functools.cached_property
    def _rotation(self) -> tuple[UniformTable, UniformTable]:
        """What turns slowly, made when the first asks: decades of planets need none of it."""
        nodes_s = self.nodes_s(NODE_S)
        t = self.time(nodes_s)
        # What is left of sidereal time after its steady turn: UT1, precession, nutation.
        turn = np.unwrap(t.gast * np.pi / 12 - _TURN_RAD_S * nodes_s)
        _, x, y = t.polar_motion_angles()
        matrix = np.moveaxis(t.M, 2, 0).reshape(len(nodes_s), 9)
        return (
            UniformTable(nodes_s[0], NODE_S, np.column_stack([turn, x, y])),
            UniformTable(nodes_s[0], NODE_S, matrix),
        )

    def _slow(self, t_s: F64) -> F64:
        return self._rotation[0](t_s)

    def _precession(self, t_s: F64) -> F64:
        return self._rotation[1](t_s)

    def nodes_s(self, step_s: float) -> F64:
        """Times of a table to be read in the whole span: its own, and four beyond each end."""
        return step_s * np.arange(-4.0, np.ceil(self.length_s / step_s) + 5)

    def time(self, t_s: F64) -> Any:
        """skyfield's Time of seconds from `start_ns`."""
        days, rest_ns = divmod(self.start_ns, NS_PER_DAY)
        return self.timescale.tai_jd(_EPOCH_JD + days, (rest_ns / 1e9 + t_s) / 86_400.0)

    def tai_ns(self, t_s: F64) -> I64:
        return self.start_ns + np.rint(t_s * 1e9).astype(np.int64)

    def body_km(self, name: str, t_s: F64) -> F64:
        """Barycentric ICRS position of a body of the ephemeris, km."""
        return self.ephemeris[name].at(self.time(t_s)).position.km.T

    def earth_km(self, t_s: F64) -> F64:
        return self._earth.at(self.time(t_s)).position.km.T

    def earth_km_s(self, t_s: F64) -> F64:
        return self._earth.at(self.time(t_s)).velocity.km_per_s.T

    def sidereal_rad(self, t_s: F64) -> F64:
        """Greenwich apparent sidereal time [n]."""
        return self._slow(t_s)[:, 0] + _TURN_RAD_S * t_s

    def true_of_date(self, icrs: F64, t_s: F64) -> F64:
        """Vectors [n, 3] turned from ICRS axes to the true equator and equinox."""
        return np.einsum("nij,nj->ni", self._precession(t_s).reshape(-1, 3, 3), icrs)

    def earth_fixed(self, true_of_date: F64, t_s: F64) -> F64:
        """Vectors [n, 3] turned from the true equator and equinox to ITRF."""
        slow = self._slow(t_s)
        angle = slow[:, 0] + _TURN_RAD_S * t_s
        c, s = np.cos(angle), np.sin(angle)
        x, y, z = true_of_date.T
        xe, ye = c * x + s * y, c * y - s * x
        # Polar motion is under 3e-6 rad: its square is 1e-11.
        xp, yp = slow[:, 1] * _ARCSEC, slow[:, 2] * _ARCSEC
        return np.column_stack([xe + xp * z, ye - yp * z, z - xp * xe + yp * ye])
