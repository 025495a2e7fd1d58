"""What is tracked: bodies of the ephemeris, Sun-Earth L4 and L5, OEM files, two-line elements.

A target gives its *geocentric apparent* place: where an observer at the Earth's centre would have
to look at an instant (downlink: light time back and aberration) or to send (uplink: light time
ahead).  What an antenna away from the centre sees follows in `visibility.py`.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np

from ground.scheduling.sky import NODE_S, Sky
from protocols.errors import LocalError
from protocols.navigation.geometry import (
    F64,
    SPEED_OF_LIGHT_KM_S,
    TRIANGULAR_POINT_ANGLE_RAD,
    triangular_point,
)
from protocols.navigation.light_time import (
    light_time_after_emission_s,
    light_time_before_reception_s,
)
from protocols.navigation.oem import Oem, parse_oem
from protocols.timecodes.tai import utc_iso_from_tai_ns

#: Name here → name in DE421; giants stand for themselves by their system's barycentre, at most
#: 0.0001° away.
BODIES: Final = {
    "sun": "sun", "moon": "moon", "mercury": "mercury", "venus": "venus", "mars": "mars",
    "jupiter": "jupiter barycenter", "saturn": "saturn barycenter",
    "uranus": "uranus barycenter", "neptune": "neptune barycenter", "pluto": "pluto barycenter",
}  # fmt: skip
#: Last change of the iterated light time; what is left then is less than a metre.
_LIGHT_TIME_S: Final = 1e-5
#: Coarse step of the search for a target that rises and sets with the Earth's rotation only.
SLOW_STEP_S: Final = 600.0
#: GM in km³/s² (DE421 header): how fast something may move about its OEM's centre.
_GM: Final = {
    "EARTH": 398_600.436, "MOON": 4_902.8, "MARS": 42_828.4, "VENUS": 324_858.6,
    "SUN": 1.3271244e11, "JUPITER BARYCENTER": 126_712_764.0, "JUPITER": 126_686_535.0,
}  # fmt: skip
_CENTRES: Final = {
    "SUN": "sun", "MOON": "moon", "EARTH": "earth", "MARS": "mars", "VENUS": "venus",
    "EARTH BARYCENTER": "earth barycenter", "EARTH-MOON BARYCENTER": "earth barycenter",
    "MARS BARYCENTER": "mars barycenter", "JUPITER BARYCENTER": "jupiter barycenter",
    "SATURN BARYCENTER": "saturn barycenter",
}  # fmt: skip
#: `l4-orbit`: made by `l4 study orbit` (howto/study-conjunctions.md), shipped.
_L4_ORBIT: Final = "l4_orbit.oem"
_BARYCENTRE: Final = ("SOLAR SYSTEM BARYCENTER", "SSB")
_FRAMES: Final = ("ICRF", "GCRF", "EME2000", "J2000")


def _step_of_orbit_s(radius_km: float, gm_km3_s2: float) -> float:
    """A sixtieth of the period of the circular orbit of that radius, 20 s … `SLOW_STEP_S`."""
    period_s = 2 * np.pi * np.sqrt(radius_km**3 / gm_km3_s2)
    return float(np.clip(period_s / 60, 20.0, SLOW_STEP_S))


@dataclass(frozen=True)
class Target(ABC):
    """name  as on the command line; step_s  coarse step of the search; node_s  of its table."""

    name: str

    @property
    def step_s(self) -> float:
        return SLOW_STEP_S

    @property
    def node_s(self) -> float:
        return NODE_S

    @abstractmethod
    def apparent_km(self, sky: Sky, t_s: F64, *, uplink: bool) -> F64:
        """Geocentric apparent place and distance at t_s [n]: float64 [n, 4].

        Columns 0-2: true equator and equinox of date, km, aberration of the Earth's centre applied;
        column 3: c times the light time, km.
        """

    def check_span(self, sky: Sky) -> None:
        """Raises LocalError where the target's place is not known in all of the span."""
        return


class BarycentricTarget(Target):
    """A target with a barycentric trajectory."""

    @abstractmethod
    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        """Position relative to the solar system's barycentre, ICRS axes, float64 [n, 3]."""

    def apparent_km(self, sky: Sky, t_s: F64, *, uplink: bool) -> F64:
        def own(times_s: F64) -> F64:
            return self.barycentric_km(sky, times_s)

        if uplink:
            sign, light_s = (
                1,
                light_time_after_emission_s(sky.earth_km, own, t_s, tolerance_s=_LIGHT_TIME_S),
            )
        else:
            sign, light_s = (
                -1,
                light_time_before_reception_s(own, sky.earth_km, t_s, tolerance_s=_LIGHT_TIME_S),
            )
        place = own(t_s + sign * light_s) - sky.earth_km(t_s)
        # First order in v/c: the next is 0.001″.
        place -= sign * light_s[:, np.newaxis] * sky.earth_km_s(t_s)
        return np.column_stack([sky.true_of_date(place, t_s), SPEED_OF_LIGHT_KM_S * light_s])


@dataclass(frozen=True)
class Body(BarycentricTarget):
    """A body of the ephemeris, by its centre."""

    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        return sky.body_km(BODIES[self.name], t_s)


@dataclass(frozen=True)
class TriangularPoint(BarycentricTarget):
    """Sun-Earth L4 (ahead) or L5 (behind): the Earth-Moon barycentre's orbit turned by 60°.

    The same as the spacecraft simulator's orbit, see `protocols.navigation.geometry`.
    """

    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        t = sky.time(t_s)
        sun, secondary = (sky.ephemeris[name].at(t) for name in ("sun", "earth barycenter"))
        sign = 1 if self.name == "l4" else -1
        p, _ = triangular_point(
            (secondary.position.km - sun.position.km).T,
            (secondary.velocity.km_per_s - sun.velocity.km_per_s).T,
            sign * TRIANGULAR_POINT_ANGLE_RAD,
        )
        return p + sun.position.km.T


@dataclass(frozen=True)
class OemTarget(BarycentricTarget):
    """An orbit ephemeris message (CCSDS 502.0-B)."""

    oem: Oem

    def __post_init__(self) -> None:
        first = self.oem.segments[0]
        for segment in self.oem.segments:
            if (segment.ref_frame, segment.center_name) != (first.ref_frame, first.center_name):
                raise LocalError(
                    f"{self.name}: segments in {first.ref_frame} about {first.center_name} and in "
                    f"{segment.ref_frame} about {segment.center_name}: split the message"
                )
            if segment.ref_frame not in _FRAMES:
                raise LocalError(
                    f"{self.name}: REF_FRAME {segment.ref_frame}: one of {', '.join(_FRAMES)} is "
                    "understood; write the message in one of these"
                )
            if segment.center_name not in (*_CENTRES, *_BARYCENTRE):
                raise LocalError(
                    f"{self.name}: CENTER_NAME {segment.center_name}: one of "
                    f"{', '.join((*_CENTRES, *_BARYCENTRE))} is understood"
                )

    @property
    def step_s(self) -> float:
        return min(
            (
                _step_of_orbit_s(
                    float(np.sqrt((s.states[:, :3] ** 2).sum(axis=1).min())), _GM["EARTH"]
                )
                for s in self.oem.segments
                if s.center_name == "EARTH"
            ),
            default=SLOW_STEP_S,
        )

    @property
    def node_s(self) -> float:
        steps = [
            _step_of_orbit_s(
                float(np.sqrt((s.states[:, :3] ** 2).sum(axis=1).min())), _GM[s.center_name]
            )
            for s in self.oem.segments
            if s.center_name in _GM and s.center_name != "SUN"
        ]
        # No coarser than the message itself, whose polynomial is continued beyond its ends.
        steps += [float(np.median(np.diff(s.epochs_tai_ns))) / 1e9 for s in self.oem.segments]
        return max(10.0, min([*steps, 3600.0]))

    def check_span(self, sky: Sky) -> None:
        first, last = self.oem.span_tai_ns
        if sky.start_ns < first or sky.end_ns > last:
            raise LocalError(
                f"{self.name}: its states cover {utc_iso_from_tai_ns(first, 0)} to "
                f"{utc_iso_from_tai_ns(last, 0)}, wanted are "
                f"{utc_iso_from_tai_ns(sky.start_ns, 0)} to {utc_iso_from_tai_ns(sky.end_ns, 0)}"
            )

    def barycentric_km(self, sky: Sky, t_s: F64) -> F64:
        from skyfield.framelib import ICRS_to_J2000

        first, last = self.oem.span_tai_ns
        t_ns = sky.tai_ns(t_s)
        before, after = t_ns < first, t_ns > last
        place = self.oem.positions_km(np.clip(t_ns, first, last))
        # The table's outermost nodes and the light time reach a little beyond the message.
        segment = self.oem.segments[0]
        place[before] = segment.positions_km(t_ns[before])
        place[after] = self.oem.segments[-1].positions_km(t_ns[after])
        if segment.ref_frame in ("EME2000", "J2000"):
            place = place @ ICRS_to_J2000
        if segment.center_name in _BARYCENTRE:
            return place
        return place + sky.body_km(_CENTRES[segment.center_name], t_s)


@dataclass(frozen=True)
class TleTarget(Target):
    """Two-line elements, propagated by SGP4 (AIAA 2006-6753).

    SGP4's own frame (true equator, mean equinox) is used as it is; near the Earth light time and
    aberration are those of the motion relative to it.
    """

    line1: str
    line2: str

    def __post_init__(self) -> None:
        from sgp4.io import verify_checksum

        try:
            verify_checksum(self.line1, self.line2)
            satellite = self._satellite()
        except (ValueError, IndexError) as error:
            raise LocalError(f"{self.name}: not a two-line element set: {error}") from error
        if satellite.error:
            raise LocalError(f"{self.name}: SGP4 refuses these elements (error {satellite.error})")

    def _satellite(self) -> Any:
        from sgp4.api import Satrec

        return Satrec.twoline2rv(self.line1, self.line2)

    @property
    def step_s(self) -> float:
        satellite = self._satellite()
        perigee_km = satellite.a * (1 - satellite.ecco) * satellite.radiusearthkm
        return _step_of_orbit_s(perigee_km, _GM["EARTH"])

    @property
    def node_s(self) -> float:
        return self.step_s

    def apparent_km(self, sky: Sky, t_s: F64, *, uplink: bool) -> F64:
        from skyfield.sgp4lib import theta_GMST1982

        satellite = self._satellite()
        sign = 1 if uplink else -1

        def teme_km(times_s: F64) -> F64:
            t = sky.time(times_s)
            # SGP4 counts UTC; leap seconds do not fall into its Julian dates.
            fraction = t.tai_fraction - t._leap_seconds() / 86_400.0
            errors, r, _ = satellite.sgp4_array(t.whole * np.ones_like(fraction), fraction)
            if errors.any():
                bad = int(np.flatnonzero(errors)[0])
                when = utc_iso_from_tai_ns(int(sky.tai_ns(times_s[bad : bad + 1])[0]), 0)
                raise LocalError(
                    f"{self.name}: SGP4 fails at {when} (error {errors[bad]}): elements too old?"
                )
            return r

        r = teme_km(t_s)
        light_s = np.sqrt((r**2).sum(axis=1)) / SPEED_OF_LIGHT_KM_S
        for _ in range(2):
            r = teme_km(t_s + sign * light_s)
            light_s = np.sqrt((r**2).sum(axis=1)) / SPEED_OF_LIGHT_KM_S
        # From the mean equinox of 1982's sidereal time to the true one.
        t = sky.time(t_s)
        turn = sky.sidereal_rad(t_s) - theta_GMST1982(t.whole, t.ut1_fraction)[0]
        c, s = np.cos(turn), np.sin(turn)
        true = np.column_stack([c * r[:, 0] - s * r[:, 1], s * r[:, 0] + c * r[:, 1], r[:, 2]])
        return np.column_stack([true, SPEED_OF_LIGHT_KM_S * light_s])


def _read_tle(path: Path, wanted: str) -> TleTarget:
    # Names may be in any encoding; the elements themselves are ASCII.
    text = path.read_bytes().decode("utf-8", "replace")
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    found: dict[str, tuple[str, str]] = {}
    for i in range(len(lines) - 1):
        if re.match(r"1 ", lines[i]) and re.match(r"2 ", lines[i + 1]):
            titled = i > 0 and not re.match(r"[12] ", lines[i - 1])
            name = lines[i - 1].removeprefix("0 ").strip() if titled else lines[i][2:7].strip()
            found[name] = (lines[i], lines[i + 1])
    if not found:
        raise LocalError(f"{path}: no two-line elements (lines beginning with '1 ' and '2 ') found")
    if not wanted and len(found) == 1:
        wanted = next(iter(found))
    if wanted not in found:
        names = ", ".join(list(found)[:12])
        raise LocalError(
            f"{path}: {'which satellite?' if not wanted else f'no {wanted!r}.'} It has {names}; "
            f"write {path}:NAME"
        )
    return TleTarget(wanted, *found[wanted])


@functools.cache
def l4_orbit() -> OemTarget:
    """The relay on its ballistic orbit about L4, 2025 to 2050; within 20,400 km of the point."""
    octets = resources.files("ground.scheduling").joinpath(_L4_ORBIT).read_bytes()
    return OemTarget("l4-orbit", parse_oem(octets))


def target_named(text: str) -> Target:
    """What a person means: a body, `l4`, `l5`, `l4-orbit`, an OEM or a TLE file (`FILE:NAME`).

    >>> target_named("Moon").name
    'moon'

    Raises LocalError, which lists what is allowed.
    """
    name = text.strip().lower()
    if name in ("l4", "l5"):
        return TriangularPoint(name)
    if name == "l4-orbit":
        return l4_orbit()
    if name in BODIES:
        return Body(name)
    path, wanted = Path(text), ""
    if not path.is_file() and ":" in text:
        before, _, wanted = text.rpartition(":")
        path = Path(before)
    if not path.is_file():
        raise LocalError(
            f"target {text!r}: neither one of l4, l5, l4-orbit, {', '.join(BODIES)}, nor a file "
            "(an OEM, or two-line elements; FILE:NAME for one satellite of many)"
        )
    octets = path.read_bytes()
    if b"CCSDS_OEM_VERS" in octets[:4096]:
        oem = parse_oem(octets)
        return OemTarget(oem.segments[0].object_name, oem)
    return _read_tle(path, wanted)
