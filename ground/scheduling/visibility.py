"""When stations see targets: passes with rise, set, culmination, Sun angle, uplink windows.

A coarse grid with one Earth rotation for all stations finds the passes, interpolation refines their
ends to 10 ms of the model.  The model (`look.py`, `targets.py`, `sky.py`): DE421, an OEM or SGP4,
light time iterated, annual and diurnal aberration, precession, nutation, UT1 and polar motion,
refraction at the ground.  Left out, and what it costs: deflection by the Sun (0.0005° at its limb),
plate motion (0.00002°), antenna flexure.  tests/ground/scheduling/test_visibility_astropy.py holds
it against astropy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ground.scheduling.look import LIMITS, Conditions, Geometry, Look, sun_table
from ground.scheduling.model import ViewPeriod
from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import Target
from protocols.errors import LocalError
from protocols.navigation.crossings import Spans, positive_spans
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64, UniformTable
from protocols.navigation.pointing import axis_starts_deg

#: Cells of a grid (stations × instants) held at a time: 16 MB each of three.
_MOST_CELLS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class UplinkWindow:
    """Transmission [start, end) on the ground reaches the target during [arrival_start, _end)."""

    start_ns: int
    end_ns: int
    arrival_start_ns: int
    arrival_end_ns: int


@dataclass(frozen=True, slots=True)
class Pass:
    """A target above a station's mask; instants TAI ns on the ground, elevations as it points.

    range_km, light_time_s  at culmination
    sun_angle_deg           Sun-Earth-probe angle, least of begin, culmination and end
    aos_limit, los_limit    one of `LIMITS`: why it begins and ends there
    flags                   "sun": nearer to the Sun than the station likes; "keyhole": culminates
                            higher than the drive can follow; "wrap": turns further than the cables
    """

    station: str
    target: str
    aos_ns: int
    los_ns: int
    culmination_ns: int
    aos_azimuth_deg: float
    los_azimuth_deg: float
    culmination_azimuth_deg: float
    max_elevation_deg: float
    range_km: float
    light_time_s: float
    sun_angle_deg: float
    aos_limit: str
    los_limit: str
    flags: tuple[str, ...] = ()
    uplink: tuple[UplinkWindow, ...] = ()

    @property
    def duration_s(self) -> float:
        return (self.los_ns - self.aos_ns) / 1e9

    @property
    def view_period(self) -> ViewPeriod:
        """As the scheduler wants it."""
        return ViewPeriod(self.aos_ns, self.los_ns)


@dataclass(frozen=True, eq=False)
class Passes:
    """Passes of one target over stations, by columns: arrays [n], by station and then by time.

    station   index into `stations`;  aos_limit, los_limit: index into `LIMITS`
    keyhole   culminates higher than the drive can follow
    wrap      no position of the cable wrap lets it be followed to its end
    uplink    windows [k], and the row of the pass that each belongs to (−1: to none)
    """

    target: str
    stations: tuple[Station, ...]
    station: I64
    aos_ns: I64
    los_ns: I64
    culmination_ns: I64
    aos: Look
    los: Look
    culmination: Look
    aos_limit: I64
    los_limit: I64
    keyhole: npt.NDArray[np.bool_]
    wrap: npt.NDArray[np.bool_]
    uplink: tuple[UplinkWindow, ...] = ()
    uplink_row: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.aos_ns)

    @property
    def sun_angle_deg(self) -> F64:
        looks = (self.aos, self.culmination, self.los)
        return np.min([look.sun_angle_deg for look in looks], axis=0)

    def view_periods(self, station: str) -> tuple[ViewPeriod, ...]:
        """Of one station, by time."""
        rows = [i for i, at in enumerate(self.station) if self.stations[at].name == station]
        return tuple(ViewPeriod(int(self.aos_ns[i]), int(self.los_ns[i])) for i in rows)

    def __iter__(self) -> Iterator[Pass]:
        sun_angle = self.sun_angle_deg
        windows: dict[int, list[UplinkWindow]] = {}
        for row, window in zip(self.uplink_row, self.uplink, strict=True):
            windows.setdefault(row, []).append(window)
        for i in range(len(self)):
            station = self.stations[self.station[i]]
            near_sun = sun_angle[i] < station.sun_angle_deg and self.target != "sun"
            raised = (("sun", near_sun), ("keyhole", self.keyhole[i]), ("wrap", self.wrap[i]))
            yield Pass(
                station=station.name,
                target=self.target,
                aos_ns=int(self.aos_ns[i]),
                los_ns=int(self.los_ns[i]),
                culmination_ns=int(self.culmination_ns[i]),
                aos_azimuth_deg=float(self.aos.azimuth_deg[i]),
                los_azimuth_deg=float(self.los.azimuth_deg[i]),
                culmination_azimuth_deg=float(self.culmination.azimuth_deg[i]),
                max_elevation_deg=float(self.culmination.elevation_deg[i]),
                range_km=float(self.culmination.range_km[i]),
                light_time_s=float(self.culmination.light_time_s[i]),
                sun_angle_deg=float(sun_angle[i]),
                aos_limit=LIMITS[self.aos_limit[i]],
                los_limit=LIMITS[self.los_limit[i]],
                flags=tuple(name for name, on in raised if on),
                uplink=tuple(windows.get(i, ())),
            )


def _vertex(left: F64, middle: F64, right: F64) -> F64:
    """Where the parabola through three equal steps has its top, in steps from the middle."""
    bend = left - 2 * middle + right
    return np.clip(0.5 * (left - right) / np.where(bend < 0, bend, -np.inf), -1.0, 1.0)


def _culminations(geometry: Geometry, grid_s: F64, elevation: F64, spans: Spans) -> F64:
    """Instant of the highest elevation in each span, float64 [m]."""
    if not len(spans.series):
        return np.empty(0)
    inner = elevation[:, 1:-1]
    series, at = np.nonzero((inner >= elevation[:, :-2]) & (inner > elevation[:, 2:]))
    at = at + 1
    step = grid_s[1] - grid_s[0]
    peak_s = grid_s[at] + step * _vertex(*(elevation[series, at + k] for k in (-1, 0, 1)))
    # Each peak's span, by one key that sorts by series and then by time.
    length = grid_s[-1] + 2 * step
    key = spans.series * length + spans.start_s
    owner = np.searchsorted(key, series * length + peak_s, side="right") - 1
    inside = owner >= 0
    inside &= (spans.series[owner] == series) & (peak_s <= spans.end_s[owner])
    series, peak_s, owner = series[inside], peak_s[inside], owner[inside]
    fine_s = step / 8
    around = [geometry.elevation(series, peak_s + k * fine_s) for k in (-1, 0, 1)]
    peak_s = peak_s + fine_s * _vertex(*around)
    peak_s = np.clip(peak_s, spans.start_s[owner], spans.end_s[owner])
    # A pass that is cut off, or is limited by the Sun, may be highest at an end.
    every = np.arange(len(spans.series))
    candidates_s = np.concatenate([spans.start_s, spans.end_s, peak_s])
    of = np.concatenate([every, every, owner])
    height = geometry.elevation(spans.series[of], candidates_s)
    order = np.lexsort((height, of))
    best = np.flatnonzero(np.diff(of[order], append=len(every)))
    return candidates_s[order[best]]


def _grid(geometry: Geometry) -> F64:
    """Instants of the coarse search, equally spaced from end to end of the span."""
    sky = geometry.sky
    return np.linspace(0.0, sky.length_s, max(4, int(sky.length_s / geometry.target.step_s) + 2))


def _beyond_wrap(geometry: Geometry, spans: Spans) -> npt.NDArray[np.bool_]:
    """Passes whose azimuths no position of the cable wrap covers."""
    result = np.zeros(len(spans.series), np.bool_)
    narrow = [i for i, s in enumerate(geometry.stations) if s.wrap_deg[1] - s.wrap_deg[0] < 720]
    # With 720° of travel and more, what turns less than a round always fits.
    for row in np.flatnonzero(np.isin(spans.series, narrow)):
        start, end = spans.start_s[row], spans.end_s[row]
        station = geometry.stations[spans.series[row]]
        count = int(np.clip((end - start) / geometry.target.step_s * 2, 16, 400))
        t_s = np.linspace(start, end, count)
        azimuth = geometry.look(np.full(count, spans.series[row]), t_s).azimuth_deg
        result[row] = not axis_starts_deg(station.drive, azimuth)
    return result


def _windows(geometry: Geometry) -> tuple[I64, list[UplinkWindow]]:
    grid_s = _grid(geometry)
    spans = positive_spans(grid_s, geometry.grid(grid_s)[0], geometry.margin)
    times = (spans.start_s, spans.end_s)
    arrivals = (t + geometry.look(spans.series, t).light_time_s for t in times)
    columns = [geometry.sky.tai_ns(t).tolist() for t in (*times, *arrivals)]
    return spans.series, [UplinkWindow(*row) for row in zip(*columns, strict=True)]


def _find(geometry: Geometry, ahead: Geometry | None, *, wrap: bool) -> Passes:
    sky, stations = geometry.sky, tuple(geometry.stations)
    grid_s = _grid(geometry)
    margin, elevation = geometry.grid(grid_s)
    spans = positive_spans(grid_s, margin, geometry.margin)
    top_s = _culminations(geometry, grid_s, elevation, spans)
    aos, los, top = (geometry.look(spans.series, t) for t in (spans.start_s, spans.end_s, top_s))
    aos_ns, los_ns, top_ns = (sky.tai_ns(t) for t in (spans.start_s, spans.end_s, top_s))
    ceiling = np.array([s.elevation_deg[1] for s in stations])
    windows: list[UplinkWindow] = []
    rows: list[int] = []
    if ahead is not None:
        series, windows = _windows(ahead)
        for of, window in zip(series, windows, strict=True):
            own = (spans.series == of) & (aos_ns < window.end_ns) & (los_ns > window.start_ns)
            rows.append(int(np.flatnonzero(own)[0]) if own.any() else -1)
    return Passes(
        target=geometry.target.name,
        stations=stations,
        station=spans.series,
        aos_ns=aos_ns,
        los_ns=los_ns,
        culmination_ns=top_ns,
        aos=aos,
        los=los,
        culmination=top,
        aos_limit=np.where(spans.open_start, 0, geometry.limit(spans.series, spans.start_s)),
        los_limit=np.where(spans.open_end, 0, geometry.limit(spans.series, spans.end_s)),
        keyhole=top.elevation_deg > ceiling[spans.series],
        wrap=_beyond_wrap(geometry, spans) if wrap else np.zeros(len(aos_ns), np.bool_),
        uplink=tuple(windows),
        uplink_row=tuple(rows),
    )


def _joined(parts: Sequence[Passes]) -> Passes:
    """Of groups of stations, in their order."""
    if len(parts) == 1:
        return parts[0]
    stations = np.cumsum([0, *(len(part.stations) for part in parts)])
    rows = np.cumsum([0, *(len(part) for part in parts)])

    def column(name: str) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts])

    def look(name: str) -> Look:
        return Look.joined([getattr(part, name) for part in parts])

    return Passes(
        target=parts[0].target,
        stations=tuple(station for part in parts for station in part.stations),
        station=np.concatenate([p.station + n for p, n in zip(parts, stations, strict=False)]),
        aos=look("aos"),
        los=look("los"),
        culmination=look("culmination"),
        uplink=tuple(window for part in parts for window in part.uplink),
        uplink_row=tuple(
            row + int(n) if row >= 0 else -1
            for part, n in zip(parts, rows, strict=False)
            for row in part.uplink_row
        ),
        **{
            name: column(name)
            for name in (
                "aos_ns", "los_ns", "culmination_ns", "aos_limit", "los_limit", "keyhole", "wrap",
            )
        },
    )  # fmt: skip


def find_passes(
    stations: Sequence[Station],
    target: Target,
    sky: Sky,
    conditions: Conditions | None = None,
    *,
    uplink: bool = False,
    wrap: bool = False,
    sun: UniformTable | None = None,
) -> Passes:
    """All passes of a target over stations within the sky's span, cut off at its ends.

    uplink  also the windows in which a transmission, aimed ahead by the light time and above the
            transmitter's elevation limit, reaches the target
    wrap    also whether the cable wrap lets each pass be followed without interruption
    sun     `sun_table(sky)`, to be shared between targets

    Raises LocalError where the target's place is not known.

    >>> from ground.scheduling.stations import load_stations
    >>> from ground.scheduling.targets import target_named
    >>> from protocols.timecodes.tai import tai_ns_from_utc_iso, utc_iso_from_tai_ns
    >>> sky = Sky(*(tai_ns_from_utc_iso(f"2026-12-0{n}T12:00:00Z") for n in (1, 2)))
    >>> passes = find_passes([load_stations()["YEOJU"]], target_named("l4"), sky)
    >>> [(utc_iso_from_tai_ns(p.aos_ns, 0), round(p.max_elevation_deg)) for p in passes]
    [('2026-12-01T17:58:04Z', 49)]
    """
    if not stations:
        raise LocalError("no station to look from")
    conditions = conditions or Conditions()
    sun = sun if sun is not None else sun_table(sky)
    size = max(1, int(_MOST_CELLS / (sky.length_s / target.step_s + 2)))
    parts: list[Passes] = []
    for i in range(0, len(stations), size):
        group = stations[i : i + size]
        down = Geometry(sky, group, target, conditions, sun=sun)
        up = Geometry(sky, group, target, conditions, uplink=True, sun=sun) if uplink else None
        parts.append(_find(down, up, wrap=wrap))
    return _joined(parts)
