"""What stations see of a target at any instant: azimuth, elevation, range, Sun; what limits it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from ground.scheduling.sky import Sky
from ground.scheduling.stations import Station
from ground.scheduling.targets import Body, Target
from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S
from protocols.navigation.interpolation import I64, UniformTable
from protocols.navigation.topocentric import (
    EARTH_RATE_RAD_S,
    azimuth_elevation_deg,
    refraction_deg,
)

#: Why a pass begins or ends where it does.
LIMITS: Final = ("window", "mask", "terrain", "sun angle", "daylight")
#: Nearer than this, what the target moves while light crosses the Earth matters.
_NEAR_KM: Final = 2e6


@dataclass(frozen=True)
class Conditions:
    """What counts as visible.

    least_elevation_deg  mask over those of the stations, as the antenna points; None: theirs alone
    refraction           False: an airless Earth, masks taken geometrically
    exclude_sun          radio: a pass ends where the Sun is nearer than the station's sun_angle_deg
                         (else it is only flagged); optical stations always exclude it
    """

    least_elevation_deg: float | None = None
    refraction: bool = True
    exclude_sun: bool = False

    def __post_init__(self) -> None:
        least = self.least_elevation_deg
        if least is not None and not -5 <= least < 90:
            raise LocalError(f"mask {least}°: an elevation of −5 to 90 degrees is allowed")


@dataclass(frozen=True, eq=False)
class Look:
    """What stations see of a target at instants; all float64 [n].

    azimuth_deg, elevation_deg   elevation as the antenna points, refraction included
    range_km, light_time_s       one way
    sun_angle_deg                Sun-Earth-probe angle, seen from the station
    """

    azimuth_deg: F64
    elevation_deg: F64
    range_km: F64
    light_time_s: F64
    sun_angle_deg: F64

    @staticmethod
    def joined(parts: Sequence[Look]) -> Look:
        names = [field.name for field in fields(Look)]
        return Look(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _norm(vectors: F64) -> F64:
    return np.sqrt(np.einsum("ni,ni->n", vectors, vectors))


def _angle_deg(a: F64, b: F64) -> F64:
    return np.degrees(np.arctan2(_norm(np.cross(a, b)), np.einsum("ni,ni->n", a, b)))


def _table(sky: Sky, target: Target, *, uplink: bool) -> UniformTable:
    nodes_s = sky.nodes_s(target.node_s)
    values = target.apparent_km(sky, nodes_s, uplink=uplink)
    return UniformTable(float(nodes_s[0]), target.node_s, values)


def sun_table(sky: Sky) -> UniformTable:
    """The Sun's geocentric apparent place, which every `Geometry` of one sky shares."""
    return _table(sky, Body("sun"), uplink=False)


class Geometry:
    """A target as seen from stations: tabulated once, read at any instant of the sky's span.

    With `uplink`, the direction is where a transmission must be sent to meet the target, and the
    transmitters' elevation limits hold.  Stations are given by their index.
    """

    def __init__(
        self,
        sky: Sky,
        stations: Sequence[Station],
        target: Target,
        conditions: Conditions,
        *,
        uplink: bool = False,
        sun: UniformTable | None = None,
    ) -> None:
        target.check_span(sky)
        self.sky, self.stations, self.target = sky, stations, target
        self.conditions, self._sign = conditions, 1 if uplink else -1
        self._table = _table(sky, target, uplink=uplink)
        self._sun = sun if sun is not None else sun_table(sky)
        self._near = bool(self._table.values[:, 3].min() < _NEAR_KM)
        self._site = np.array([s.itrf_km for s in stations])
        self._axes = np.array([s.east_north_up for s in stations])
        x, y = self._site[:, 0], self._site[:, 1]
        # ω × r
        self._carried = EARTH_RATE_RAD_S * np.column_stack([-y, x, np.zeros(len(stations))])
        self._n = np.array([s.refractivity for s in stations])
        masks = [
            s.mask(conditions.least_elevation_deg, uplink=uplink, refraction=conditions.refraction)
            for s in stations
        ]
        self._floor = np.array([elevation.min() for _, elevation in masks])
        self._terrain = {i: mask for i, mask in enumerate(masks) if np.ptp(mask[1]) > 0}
        # 0 and nan: the Sun is no matter.
        self._sun_limit = np.array(
            [
                s.sun_angle_deg if s.kind == "optical" or conditions.exclude_sun else 0.0
                for s in stations
            ]
        )
        if target.name == "sun":
            self._sun_limit[:] = 0.0
        self._night = np.array(
            [np.nan if s.sun_elevation_deg is None else s.sun_elevation_deg for s in stations]
        )
        special = (self._sun_limit > 0) | ~np.isnan(self._night)
        special[list(self._terrain)] = True
        self._special = np.flatnonzero(special).tolist()

    def _centre(self, t_s: F64) -> tuple[F64, F64, F64 | None]:
        """Seen from the Earth's centre: (place, distance, rate of the place), Earth-fixed."""
        place = self._table(t_s)
        fixed = self.sky.earth_fixed(place[:, :3], t_s)
        if not self._near:
            return fixed, place[:, 3], None
        return fixed, place[:, 3], self.sky.earth_fixed(self._table.rate(t_s)[:, :3], t_s)

    def _from(
        self, station: int | I64, fixed: F64, distance_km: F64, rate_km_s: F64 | None
    ) -> tuple[F64, F64]:
        """(line of sight [n, 3] Earth-fixed, range_km [n]) at a station, or at one for each row."""
        line = fixed - self._site[station]
        range_km = distance_km + _norm(line) - _norm(fixed)
        light_s = (range_km / SPEED_OF_LIGHT_KM_S)[:, np.newaxis]
        if rate_km_s is not None:
            # The table has the centre's light time; the target moves on in the difference.
            early_s = (distance_km - range_km)[:, np.newaxis] / SPEED_OF_LIGHT_KM_S
            line = line - self._sign * early_s * rate_km_s
            range_km = distance_km + _norm(line) - _norm(fixed)
        # Diurnal aberration.
        return line - self._sign * light_s * self._carried[station], range_km

    def _sun_line(self, station: int | I64, t_s: F64) -> F64:
        return self.sky.earth_fixed(self._sun(t_s)[:, :3], t_s) - self._site[station]

    def _elevation_deg(self, station: int | I64, line: F64) -> F64:
        up = self._axes[station, 2]
        height = line @ up if up.ndim == 1 else np.einsum("ni,ni->n", line, up)
        return np.degrees(np.arcsin(height / _norm(line)))

    def _azimuth_elevation_deg(self, station: int | I64, line: F64) -> tuple[F64, F64]:
        axes = self._axes[station]
        return azimuth_elevation_deg(
            line @ axes.T if axes.ndim == 2 else np.einsum("nij,nj->ni", axes, line)
        )

    def _limits(
        self, station: int, t_s: F64, line: F64, elevation_deg: F64
    ) -> list[tuple[int, F64]]:
        """(index in LIMITS, margin in degrees) of each condition at one station."""
        if station in self._terrain:
            azimuth, _ = self._azimuth_elevation_deg(station, line)
            ground = np.interp(azimuth, *self._terrain[station])
            # In this order: where the terrain is no higher than the mask, the mask it is.
            found = [(1, elevation_deg - self._floor[station]), (2, elevation_deg - ground)]
        else:
            found = [(1, elevation_deg - self._floor[station])]
        if self._sun_limit[station] > 0 or not np.isnan(self._night[station]):
            sun = self._sun_line(station, t_s)
            if self._sun_limit[station] > 0:
                found.append((3, _angle_deg(line, sun) - self._sun_limit[station]))
            if not np.isnan(self._night[station]):
                found.append((4, self._night[station] - self._elevation_deg(station, sun)))
        return found

    def grid(self, t_s: F64) -> tuple[F64, F64]:
        """(margin, geometric elevation) in degrees of every station: float64 [stations, n]."""
        centre = self._centre(t_s)
        elevation = np.empty((len(self.stations), len(t_s)))
        margin = np.empty_like(elevation)
        plain = set() if self._near else set(range(len(self.stations))) - set(self._special)
        if plain:
            self._far_elevations(*centre[:2], sorted(plain), elevation)
        for i in range(len(self.stations)):
            if i in plain:
                np.subtract(elevation[i], self._floor[i], out=margin[i])
                continue
            line, _ = self._from(i, *centre)
            elevation[i] = self._elevation_deg(i, line)
            limits = self._limits(i, t_s, line, elevation[i])
            margin[i] = limits[0][1]
            for _, other in limits[1:]:
                np.minimum(margin[i], other, out=margin[i])
        return margin, elevation

    def _far_elevations(self, fixed: F64, distance_km: F64, stations: list[int], out: F64) -> None:
        """Elevations of far targets into rows of `out`: `_from` and `_elevation_deg` in one.

        All scalar products are one matrix product; a third of the time of a year's search.  The
        range in the diurnal aberration is the centre's, which is 10 m of two million km.
        """
        square = np.einsum("ni,ni->n", fixed, fixed)
        light_s = self._sign * distance_km / SPEED_OF_LIGHT_KM_S
        for i in stations:
            site, up, carried = self._site[i], self._axes[i, 2], self._carried[i]
            products = np.stack([up, 2 * site, 2 * carried]) @ fixed.T
            # Being carried is to the east: level, and square to the place itself.
            length = square - products[1] - light_s * products[2]
            length += site @ site + light_s * light_s * (carried @ carried)
            np.sqrt(length, out=length)
            np.arcsin((products[0] - up @ site) / length, out=out[i])
            np.degrees(out[i], out=out[i])

    def elevation(self, station: I64, t_s: F64) -> F64:
        """Geometric elevation in degrees, a station for each instant."""
        line, _ = self._from(station, *self._centre(t_s))
        return self._elevation_deg(station, line)

    def margin(self, station: I64, t_s: F64) -> F64:
        """The least margin of all conditions, a station for each instant: float64 [n]."""
        line, _ = self._from(station, *self._centre(t_s))
        elevation = self._elevation_deg(station, line)
        result = elevation - self._floor[station]
        for i in self._special:
            here = np.flatnonzero(station == i)
            if len(here):
                limits = self._limits(i, t_s[here], line[here], elevation[here])
                result[here] = np.min([margin for _, margin in limits], axis=0)
        return result

    def limit(self, station: I64, t_s: F64) -> I64:
        """Which condition is the tightest: index in LIMITS, int64 [n]."""
        result = np.ones(len(t_s), np.int64)
        for i in self._special:
            here = np.flatnonzero(station == i)
            line, _ = self._from(i, *self._centre(t_s[here]))
            limits = self._limits(i, t_s[here], line, self._elevation_deg(i, line))
            tightest = np.argmin([margin for _, margin in limits], axis=0)
            result[here] = np.array([kind for kind, _ in limits])[tightest]
        return result

    def look(self, station: I64, t_s: F64) -> Look:
        """What each station sees at its instant."""
        line, range_km = self._from(station, *self._centre(t_s))
        azimuth, elevation = self._azimuth_elevation_deg(station, line)
        if self.conditions.refraction:
            elevation = elevation + refraction_deg(elevation, self._n[station])
        return Look(
            azimuth,
            elevation,
            range_km,
            range_km / SPEED_OF_LIGHT_KM_S,
            _angle_deg(line, self._sun_line(station, t_s)),
        )
