"""Ground stations from TOML: where each antenna stands, what it may see and how it moves.

`stations.toml` beside this file holds the stations that come with the package; a file of the same
form given by a user adds to it, key by key (docs/howto/add-a-station.md).  An antenna takes what it
does not say itself from its type, then from its site.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from ground.documents import toml_of
from ground.scheduling.model import Antenna
from protocols.errors import LocalError
from protocols.navigation.geometry import F64
from protocols.navigation.pointing import Drive
from protocols.navigation.topocentric import (
    east_north_up,
    geodetic_from_itrf_km,
    geometric_elevation_deg,
    itrf_from_geodetic_km,
    optical_refractivity,
    radio_refractivity,
)

KINDS: Final = ("radio", "optical")
BANDS: Final = ("S", "X", "K", "Ka", "optical")


@dataclass(frozen=True)
class Station:
    """One antenna or telescope.

    itrf_km               Earth-fixed place of its axes' crossing, float64 [3]
    elevation_deg         (least, most) elevation of its drive, as it points: refraction included
    uplink_elevation_deg  least elevation at which it may transmit
    horizon               terrain: (azimuth, elevation) in degrees by azimuth, linear in between
    sun_angle_deg         nearer to the Sun a pass is flagged (radio) or not possible (optical)
    sun_elevation_deg     the Sun must be lower than this (optical by night); None: day and night
    clear_sky             probability of a cloud-free line of sight, January to December
    clear_sky_hours       mean length of a clear spell
    """

    name: str
    site: str
    itrf_km: tuple[float, float, float]
    diameter_m: float
    bands: tuple[str, ...]
    kind: str = "radio"
    complex: str = ""
    agency: str = ""
    note: str = ""
    elevation_deg: tuple[float, float] = (10.0, 90.0)
    uplink_elevation_deg: float = 10.0
    horizon: tuple[tuple[float, float], ...] = ()
    slew_deg_s: tuple[float, float] = (0.4, 0.4)
    wrap_deg: tuple[float, float] = (-270.0, 270.0)
    sun_angle_deg: float = 0.0
    sun_elevation_deg: float | None = None
    clear_sky: tuple[float, ...] = ()
    clear_sky_hours: float = 24.0
    setup_s: int = 0
    teardown_s: int = 0
    mspa: int = 1
    temperature_c: float = 15.0
    humidity: float = 0.5
    pressure_hpa: float | None = None

    @cached_property
    def geodetic(self) -> tuple[float, float, float]:
        """(latitude_deg, longitude_deg, height_m) on WGS 84."""
        return geodetic_from_itrf_km(np.array(self.itrf_km))

    @cached_property
    def east_north_up(self) -> F64:
        return east_north_up(*self.geodetic[:2])

    @cached_property
    def refractivity(self) -> float:
        """N at the ground; pressure by height in the standard atmosphere where none is given."""
        pressure_hpa = self.pressure_hpa
        if pressure_hpa is None:
            # ICAO standard atmosphere, troposphere.
            pressure_hpa = 1013.25 * (1 - 2.25577e-5 * self.geodetic[2]) ** 5.25588
        if self.kind == "optical":
            return optical_refractivity(pressure_hpa, self.temperature_c)
        return radio_refractivity(pressure_hpa, self.temperature_c, self.humidity)

    @property
    def drive(self) -> Drive:
        return Drive(*self.slew_deg_s, wrap_deg=self.wrap_deg)

    @property
    def antenna(self) -> Antenna:
        """As the scheduler knows it."""
        return Antenna(self.name, complex=self.complex, agency=self.agency, mspa=self.mspa)

    def mask(
        self, least_deg: float | None = None, *, uplink: bool = False, refraction: bool = True
    ) -> tuple[F64, F64]:
        """(azimuth, geometric elevation) below which nothing is seen: float64 [k] each, k ≥ 2.

        The highest of drive limit, terrain, `least_deg` and, for uplink, the transmitter's limit;
        read it linearly.  The refraction is taken off here, so that a search can stay geometric.
        """
        floor = max(
            self.elevation_deg[0],
            self.uplink_elevation_deg if uplink else -90.0,
            -90.0 if least_deg is None else least_deg,
        )
        azimuth, elevation = np.array([0.0, 360.0]), np.full(2, floor)
        if self.horizon:
            table = np.array(self.horizon)
            # Every corner, also those where the terrain passes through the floor, at 0.5° besides.
            azimuth = np.unique(np.concatenate([np.arange(0.0, 360.5, 0.5), table[:, 0]]))
            elevation = np.maximum(
                np.interp(azimuth, table[:, 0], table[:, 1], period=360.0), floor
            )
        if refraction:
            elevation = geometric_elevation_deg(elevation, self.refractivity)
        return azimuth, elevation

    def ceiling_deg(self, *, refraction: bool = True) -> float:
        """Geometric elevation above which the drive cannot follow."""
        most = self.elevation_deg[1]
        return (
            float(geometric_elevation_deg(np.array(most), self.refractivity))
            if (refraction and most < 90.0)
            else most
        )


# ---- reading ------------------------------------------------------------------------------------


def _number(least: float, most: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number is wanted")
        if not (math.isfinite(value) and least <= value <= most):
            raise ValueError(f"{least:g} to {most:g} is allowed")
        return float(value)

    return check


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number {least} to {most} is wanted")
        return value

    return check


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("text is wanted")
    return value


def _pair(least: float, most: float) -> Callable[[Any], tuple[float, float]]:
    number = _number(least, most)

    def check(value: Any) -> tuple[float, float]:
        if not isinstance(value, list) or len(value) != 2:
            raise ValueError("two numbers in brackets are wanted")
        first, second = number(value[0]), number(value[1])
        return first, second

    return check


def _rising(least: float, most: float) -> Callable[[Any], tuple[float, float]]:
    pair = _pair(least, most)

    def check(value: Any) -> tuple[float, float]:
        first, second = pair(value)
        if first >= second:
            raise ValueError("the first must be below the second")
        return first, second

    return check


def _one_of(allowed: Iterable[str]) -> Callable[[Any], str]:
    names = tuple(allowed)

    def check(value: Any) -> str:
        if value not in names:
            raise ValueError(f"one of {', '.join(names)} is allowed")
        return value

    return check


def _bands(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or any(band not in BANDS for band in value):
        raise ValueError(f"a list of {', '.join(BANDS)} is wanted")
    return tuple(value)


def _itrf(value: Any) -> tuple[float, float, float]:
    if not isinstance(value, list) or len(value) != 3:
        raise ValueError("three numbers in metres are wanted")
    x, y, z = (_number(-1e7, 1e7)(part) / 1e3 for part in value)
    if not 6300 < math.sqrt(x * x + y * y + z * z) < 6400:
        raise ValueError("this is not on the Earth's surface: metres, and all three, wanted")
    return x, y, z


def _horizon(value: Any) -> tuple[tuple[float, float], ...]:
    if not isinstance(value, list) or len(value) < 2:
        raise ValueError("a list of [azimuth, elevation] is wanted, two or more")
    points = [_pair(-10, 360)(point) for point in value]
    if any(not 0 <= azimuth <= 360 for azimuth, _ in points):
        raise ValueError("azimuths 0 to 360 are allowed")
    if any(not -10 <= elevation <= 80 for _, elevation in points):
        raise ValueError("elevations −10 to 80 are allowed")
    if any(a[0] >= b[0] for a, b in pairwise(points)):
        raise ValueError("azimuths must ascend")
    return tuple(points)


def _months(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or len(value) != 12:
        raise ValueError("twelve probabilities, January to December, are wanted")
    return tuple(_number(0.01, 0.99)(part) for part in value)


#: Every key of an antenna; a type or a site may hold any of them but place, site and type.
FIELDS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "complex": _text,
    "agency": _text,
    "note": _text,
    "kind": _one_of(KINDS),
    "diameter_m": _number(0.1, 500),
    "bands": _bands,
    "elevation_deg": _rising(-5, 90),
    "uplink_elevation_deg": _number(-5, 90),
    "horizon": _horizon,
    "slew_deg_s": _pair(1e-4, 100),
    "wrap_deg": _rising(-1080, 1080),
    "sun_angle_deg": _number(0, 90),
    "sun_elevation_deg": _number(-90, 90),
    "clear_sky": _months,
    "clear_sky_hours": _number(1, 1000),
    "setup_s": _whole(0, 86_400),
    "teardown_s": _whole(0, 86_400),
    "mspa": _whole(1, 64),
    "temperature_c": _number(-60, 60),
    "humidity": _number(0, 1),
    "pressure_hpa": _number(300, 1100),
}
PLACES: Final[Mapping[str, Callable[[Any], Any]]] = {
    "itrf_m": _itrf,
    "latitude_deg": _number(-90, 90),
    "longitude_deg": _number(-360, 360),
    "height_m": _number(-500, 9000),
}
_LINKS: Final = ("site", "type")
_PROVENANCE: Final = ("sources", "assumed")


def _close(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(names), n=1)
    return f"; {near[0]}?" if near else ""


def _values(where: str, table: Any, allowed: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise LocalError(f"{where}: a table is wanted")
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in _PROVENANCE or key in _LINKS:
            continue
        if key not in allowed:
            names = ", ".join(allowed)
            raise LocalError(f"{where}.{key}: not a key here{_close(key, allowed)} (keys: {names})")
        try:
            values[key] = allowed[key](value)
        except ValueError as error:
            raise LocalError(f"{where}.{key} = {value!r}: {error}") from None
    return values


def _station(file: str, name: str, table: dict[str, Any], merged: dict[str, Any]) -> Station:
    where = f"{file}: antennas.{name}"
    own = _values(where, table, {**FIELDS, **PLACES})
    shared: dict[str, Any] = {}
    for link, tables in (("site", "sites"), ("type", "types")):
        wanted = table.get(link)
        if wanted is None:
            if link == "site":
                raise LocalError(f"{where}: site is missing (one of {', '.join(merged['sites'])})")
            continue
        if not isinstance(wanted, str) or wanted not in merged[tables]:
            known = ", ".join(merged[tables])
            raise LocalError(
                f"{where}.{link} = {wanted!r}: no such {link}{_close(wanted, merged[tables])} "
                f"(there are {known})"
            )
        shared |= _values(f"{file}: {tables}.{wanted}", merged[tables][wanted], FIELDS)
    geodetic = [key for key in ("latitude_deg", "longitude_deg", "height_m") if key in own]
    if ("itrf_m" in own) == bool(geodetic) or len(geodetic) not in (0, 3):
        raise LocalError(
            f"{where}: either itrf_m = [x, y, z] or latitude_deg, longitude_deg and height_m wanted"
        )
    place = own.pop("itrf_m", None)
    if place is None:
        latitude, longitude, height = (
            own.pop(key) for key in ("latitude_deg", "longitude_deg", "height_m")
        )
        x, y, z = (float(part) for part in itrf_from_geodetic_km(latitude, longitude, height))
        place = (x, y, z)
    values = {**shared, **own}
    for key in ("diameter_m", "bands"):
        if key not in values:
            raise LocalError(f"{where}: {key} is missing; neither its type nor its site has it")
    station = Station(name=name, site=table["site"], itrf_km=place, **values)
    if station.kind == "optical" and not station.clear_sky:
        raise LocalError(f"{where}: an optical station needs clear_sky (twelve probabilities)")
    try:
        _ = station.drive
    except LocalError as error:
        raise LocalError(f"{where}: {error}") from None
    return station


def read_tables(*files: Path) -> dict[str, dict[str, Any]]:
    """The package's tables and the files' over them: {"sites": …, "types": …, "antennas": …}."""
    merged: dict[str, dict[str, Any]] = {"sites": {}, "types": {}, "antennas": {}}
    own = resources.files("ground.scheduling").joinpath("stations.toml").read_bytes()
    texts = [("stations.toml", own)]
    texts += [(str(path), path.read_bytes()) for path in files]
    for file, octets in texts:
        try:
            tables = toml_of(octets)
        except ValueError as error:
            raise LocalError(f"{file}: not TOML: {error}") from None
        for group, entries in tables.items():
            if group not in merged:
                raise LocalError(
                    f"{file}: [{group}]: one of sites, types, antennas wanted"
                    f"{_close(group, merged)}"
                )
            for name, table in entries.items():
                if not isinstance(table, dict):
                    raise LocalError(f"{file}: {group}.{name}: a table is wanted")
                before = merged[group].get(name, {})
                if group == "antennas" and set(table) & set(PLACES):
                    # A new place replaces the old one, whichever way it was written.
                    before = {key: value for key, value in before.items() if key not in PLACES}
                merged[group][name] = {**before, **table, "_file": file}
    return merged


def load_stations(*files: Path) -> dict[str, Station]:
    """Every station by name, the package's and those of `files`, which go before it.

    Raises LocalError, which names file, key, value and what is allowed; OSError for a file that
    cannot be read.
    """
    merged = read_tables(*files)
    origin = {
        (group, name): table.pop("_file")
        for group, tables in merged.items()
        for name, table in tables.items()
    }
    # Sites and types that no antenna uses are checked as well: a slip should not wait.
    for group in ("sites", "types"):
        for name, table in merged[group].items():
            _values(f"{origin[group, name]}: {group}.{name}", table, FIELDS)
    return {
        name: _station(origin["antennas", name], name, table, merged)
        for name, table in merged["antennas"].items()
    }


def select_stations(stations: Mapping[str, Station], names: Iterable[str]) -> list[Station]:
    """Stations by name, or all of a complex or site by its name; in the order asked for.

    >>> stations = load_stations()
    >>> [s.name for s in select_stations(stations, ["yeoju", "Canberra"])]
    ['YEOJU', 'DSS-34', 'DSS-35', 'DSS-36', 'DSS-43', 'DSS-45']

    Raises LocalError, which lists what there is.
    """
    chosen: dict[str, Station] = {}
    for name in names:
        wanted = name.strip().casefold()
        found = [s for s in stations.values() if s.name.casefold() == wanted] or [
            s for s in stations.values() if wanted in (s.complex.casefold(), s.site.casefold())
        ]
        if not found:
            every = ", ".join(stations)
            complexes = ", ".join(dict.fromkeys(s.complex for s in stations.values() if s.complex))
            raise LocalError(
                f"station {name!r}: not known{_close(name.upper(), stations)} (stations: {every}; "
                f"complexes: {complexes}; --stations-file FILE adds others)"
            )
        chosen |= {station.name: station for station in found}
    return list(chosen.values())
