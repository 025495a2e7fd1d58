"""The way between the spacecraft and the station: light time, noise, losses, outages; seeded."""

from __future__ import annotations

import contextlib
import datetime
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from protocols.navigation.geometry import triangular_point
from protocols.navigation.light_time import (
    Trajectory,
    light_time_after_emission_s,
    light_time_before_reception_s,
)
from spacecraft_sim.scenario import ChannelSettings
from spacecraft_sim.station_uplink import Radiation
from spacecraft_sim.subsystems.common import Uplink

I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

_DAY_NS = 86_400 * 10**9
#: Julian date, TAI, of 1958-01-01.
_EPOCH_JD = 2_436_204.5
#: Earth's rotation, rad/s, and equatorial radius, km (IERS conventions 2010, table 1.1 and 1.2).
_EARTH_RATE_RAD_S = 7.292115e-5
_EARTH_RADIUS_KM = 6378.1366
_LIGHT_KM_S = 299_792.458
#: |UT1 − UTC| is kept below this by leap seconds (ITU-R TF.460).
_UT1_BOUND_S = 0.9

#: Nodes kept a direction: a month's.
_MOST_NODES = 10_000


class LightTime(Protocol):
    """One-way light time of signals that leave at given TAI nanoseconds."""

    def downlink_ns(self, emission_ns: I64) -> I64: ...

    def uplink_ns(self, emission_ns: I64) -> I64: ...

    def before_reception_ns(self, reception_ns: int) -> int:
        """Light time of what arrives at the station at this instant."""
        ...

    def round_trip_s(self, reception_ns: I64) -> tuple[F64, F64]:
        """Light times up and down, float64 [n] seconds each, of what a transponder answered at once
        and the station received at these instants."""
        ...

    def elevation_deg(self, reception_ns: I64) -> F64:
        """Of the spacecraft over the station's horizon; [n], without refraction."""
        ...


@dataclass(frozen=True)
class FixedLightTime:
    """The same both ways, whatever the geometry; 0 removes it."""

    seconds: float

    def downlink_ns(self, emission_ns: I64) -> I64:
        return np.full(np.shape(emission_ns), round(self.seconds * 1e9), np.int64)

    uplink_ns = downlink_ns

    def before_reception_ns(self, reception_ns: int) -> int:
        return round(self.seconds * 1e9)

    def round_trip_s(self, reception_ns: I64) -> tuple[F64, F64]:
        one_way = np.full(np.shape(reception_ns), self.seconds)
        return one_way, one_way

    def elevation_deg(self, reception_ns: I64) -> F64:
        """Always at the zenith: nothing turns."""
        return np.full(np.shape(reception_ns), 90.0)


@dataclass(frozen=True)
class Station:
    """Geodetic position of the antenna (WGS 84)."""

    name: str = "Cebreros"
    latitude_deg: float = 40.452689
    longitude_deg: float = -4.367550
    elevation_m: float = 794.0


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """skyfield-data warns of each expired file at every call; `expiry_note` says it once, with
    numbers, instead."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def open_ephemeris() -> tuple[Any, Any]:
    """(ephemeris, timescale) of skyfield-data, from the installed package; nothing is fetched."""
    import skyfield_data
    from skyfield.api import Loader

    with _quiet():
        load = Loader(skyfield_data.get_skyfield_data_path(), verbose=False)
    return load("de421.bsp"), load.timescale(builtin=False)


def expiry_note(today: datetime.date, station: Station) -> str | None:
    """One line for the operator if the Earth-orientation file has expired, with what it costs.

    Beyond the file, UT1 − UTC is only known to stay within ±0.9 s: the Earth may be turned by so
    much, which moves the antenna along its parallel.  Polar motion (under 0.6″, 18 m) adds less
    than a twentieth.
    """
    from skyfield_data.expirations import get_all

    expired = get_all()["finals2000A.all"]
    if today < expired:
        return None
    speed_km_s = _EARTH_RATE_RAD_S * _EARTH_RADIUS_KM * math.cos(math.radians(station.latitude_deg))
    shift_km = speed_km_s * _UT1_BOUND_S + 0.018
    return (
        f"Earth orientation data (skyfield-data) expired on {expired}: UT1-UTC is known only to "
        f"+-{_UT1_BOUND_S} s, so {station.name} is placed within {shift_km:.2f} km, light time "
        f"within {1e6 * shift_km / _LIGHT_KM_S:.1f} us; upgrade skyfield-data to be exact"
    )


class EphemerisLightTime:
    """From L4, 60° ahead of the Earth–Moon barycentre about the Sun, to an antenna on the Earth.

    The barycentre and not the Earth leads the point: the Earth's own monthly wobble of 4,700 km
    is none of the spacecraft's.  Solved exactly at nodes five minutes apart, light time with
    the Sun's gravity; in between by cubic interpolation, whose error (the antenna turns 1.25°
    between nodes) is a tenth of a nanosecond.
    """

    _NODE_NS = 300 * 10**9

    def __init__(self, ephemeris: Any, timescale: Any, station: Station | None = None) -> None:
        from skyfield.api import wgs84

        place = station or Station()
        self._timescale = timescale
        self._sun = ephemeris["sun"]
        self._barycentre = ephemeris["earth barycenter"]
        self._place = wgs84.latlon(place.latitude_deg, place.longitude_deg, place.elevation_m)
        self._antenna = ephemeris["earth"] + self._place
        self._nodes: dict[bool, dict[int, float]] = {True: {}, False: {}}

    def _time(self, epoch_ns: int, t_s: F64) -> Any:
        days, rest = divmod(epoch_ns, _DAY_NS)
        return self._timescale.tai_jd(_EPOCH_JD + days, (rest / 1e9 + t_s) / 86_400.0)

    def state_km(self, t_tai_ns: int) -> tuple[F64, F64]:
        """Position and velocity of the spacecraft, barycentric, km and km/s, [3] each."""
        t = self._time(t_tai_ns, np.zeros(1))
        sun, secondary = self._sun.at(t), self._barycentre.at(t)
        p, v = triangular_point(
            (secondary.position.km - sun.position.km).T,
            (secondary.velocity.km_per_s - sun.velocity.km_per_s).T,
        )
        return (p + sun.position.km.T)[0], (v + sun.velocity.km_per_s.T)[0]

    def _trajectories(self, epoch_ns: int) -> tuple[Trajectory, Trajectory, Trajectory]:
        """Spacecraft, antenna and Sun over seconds from an epoch; barycentric, km."""

        def sun(t_s: F64) -> F64:
            return self._sun.at(self._time(epoch_ns, t_s)).position.km.T

        def spacecraft(t_s: F64) -> F64:
            t = self._time(epoch_ns, t_s)
            primary, secondary = self._sun.at(t), self._barycentre.at(t)
            p, _ = triangular_point(
                (secondary.position.km - primary.position.km).T,
                (secondary.velocity.km_per_s - primary.velocity.km_per_s).T,
            )
            return p + primary.position.km.T

        def antenna(t_s: F64) -> F64:
            return self._antenna.at(self._time(epoch_ns, t_s)).position.km.T

        return spacecraft, antenna, sun

    def _solve(self, t_ns: I64, *, down: bool) -> F64:
        """Light time at emission times [n], solved, in seconds."""
        epoch_ns = int(t_ns[0])
        spacecraft, antenna, sun = self._trajectories(epoch_ns)
        t_s = (t_ns - epoch_ns) / 1e9
        ends = (spacecraft, antenna) if down else (antenna, spacecraft)
        return light_time_after_emission_s(*ends, t_s, sun)

    def round_trip_s(self, reception_ns: I64) -> tuple[F64, F64]:
        """Solved exactly, without interpolation: to 0.1 ps, what a Doppler count needs."""
        if not len(reception_ns):
            return np.empty(0), np.empty(0)
        epoch_ns = int(reception_ns[0])
        spacecraft, antenna, sun = self._trajectories(epoch_ns)
        t_s = (reception_ns - epoch_ns) / 1e9
        down_s = light_time_before_reception_s(spacecraft, antenna, t_s, sun)
        up_s = light_time_before_reception_s(antenna, spacecraft, t_s - down_s, sun)
        return up_s, down_s

    def elevation_deg(self, reception_ns: I64) -> F64:
        if not len(reception_ns):
            return np.empty(0)
        epoch_ns = int(reception_ns[0])
        spacecraft, antenna, sun = self._trajectories(epoch_ns)
        t_s = (reception_ns - epoch_ns) / 1e9
        down_s = light_time_before_reception_s(spacecraft, antenna, t_s, sun)
        ray = spacecraft(t_s - down_s) - antenna(t_s)
        up = self._place.rotation_at(self._time(epoch_ns, t_s))[2].T
        sine = np.einsum("ni,ni->n", ray, up) / np.linalg.norm(ray, axis=1)
        return np.degrees(np.arcsin(sine))

    def _interpolated(self, t_ns: I64, *, down: bool) -> I64:
        if not len(t_ns):
            return np.empty(0, np.int64)
        node = t_ns // self._NODE_NS
        around = node[:, np.newaxis] + np.arange(-1, 3)
        needed, place = np.unique(around, return_inverse=True)
        known = self._nodes[down]
        missing = [n for n in needed.tolist() if n not in known]
        if missing:
            if len(known) > _MOST_NODES:
                known = self._nodes[down] = {n: known[n] for n in needed.tolist() if n in known}
            solved = self._solve(np.array(missing, np.int64) * self._NODE_NS, down=down)
            known.update(zip(missing, solved.tolist(), strict=True))
        table = np.array([known[n] for n in needed.tolist()])
        a, b, c, d = table[place.reshape(around.shape)].T
        x = (t_ns % self._NODE_NS) / self._NODE_NS
        # Lagrange's cubic through the four nodes around, in differences from b to keep digits.
        a, c, d = a - b, c - b, d - b
        value = b + x * (c - a / 3 - d / 6 + x * ((a + c) / 2 + x * (d / 6 - c / 2 - a / 6)))
        return np.rint(value * 1e9).astype(np.int64)

    def downlink_ns(self, emission_ns: I64) -> I64:
        return self._interpolated(np.asarray(emission_ns, np.int64), down=True)

    def uplink_ns(self, emission_ns: I64) -> I64:
        return self._interpolated(np.asarray(emission_ns, np.int64), down=False)

    def before_reception_ns(self, reception_ns: int) -> int:
        light_time_ns = 500 * 10**9
        # Each pass gains a factor of 10⁴; the third is exact.
        for _ in range(3):
            emission_ns = np.array([reception_ns - light_time_ns], np.int64)
            light_time_ns = int(self.downlink_ns(emission_ns)[0])
        return light_time_ns


@dataclass(frozen=True, eq=False)
class Received:
    """CADUs at the antenna.

    cadus: uint8 [m, cadu_length]; ert_ns: int64 [m], TAI ns of the first octet's arrival.
    """

    cadus: U8
    ert_ns: I64

    def __len__(self) -> int:
        return len(self.ert_ns)


def flip(octets: U8, count: int, random: np.random.Generator) -> None:
    """So many bits of these octets."""
    places = random.choice(8 * len(octets), count, replace=False)
    np.bitwise_xor.at(octets, places >> 3, (0x80 >> (places & 7)).astype(np.uint8))


@dataclass
class ChannelCounts:
    """What happened on the way; the truth that the ground's counts are compared with."""

    sent: int = 0
    lost: int = 0
    in_outage: int = 0
    bits_flipped: int = 0
    damaged: int = 0
    sent_up: int = 0
    lost_up: int = 0
    damaged_up: int = 0


@dataclass
class Channel:
    """start_ns: spacecraft time of the scenario's second 0, for its noise and outages."""

    settings: ChannelSettings
    light_time: LightTime
    seed: int
    start_ns: int
    counts: ChannelCounts = field(default_factory=ChannelCounts)

    def __post_init__(self) -> None:
        # A stream for each purpose: what is drawn for a frame does not depend on how many frames
        # come in one call.
        self._loss, self._errors, self._places, self._up = (
            np.random.default_rng([self.seed, *purpose])
            for purpose in (b"loss", b"bits", b"where", b"up")
        )

    def downlink(self, cadus: U8, emission_ns: I64) -> Received:
        """Whole CADUs that left at `emission_ns` (int64 [n]) as they arrive."""
        n = len(cadus)
        self.counts.sent += n
        t_s = (emission_ns - self.start_ns) / 1e9
        out = np.zeros(n, np.bool_)
        for interval in self.settings.outage:
            out |= (t_s >= interval.from_s) & (t_s < interval.to_s)
        self.counts.in_outage += int(out.sum())
        # Drawn for every frame, so that an outage does not move the losses after it.
        lost = self._loss.random(n) < self.settings.frame_loss
        self.counts.lost += int((lost & ~out).sum())
        rate = np.full(n, self.settings.bit_error_rate)
        for interval in self.settings.noise:
            here = (t_s >= interval.from_s) & (t_s < interval.to_s)
            rate = np.where(here, np.maximum(rate, interval.bit_error_rate), rate)
        received = cadus
        bits = 8 * cadus.shape[1]
        errors = self._errors.binomial(bits, rate) if np.any(rate > 0) else np.zeros(n, np.int64)
        kept = ~(out | lost)
        if np.any(errors):
            received = cadus.copy()
            for row in np.flatnonzero(errors):
                flip(received[row], int(errors[row]), self._places)
            self.counts.bits_flipped += int(errors[kept].sum())
            self.counts.damaged += int((errors[kept] > 0).sum())
        return Received(
            received[kept], emission_ns[kept] + self.light_time.downlink_ns(emission_ns[kept])
        )

    def carrier(self, emission_ns: int) -> bool:
        """Whether the antenna hears what left the spacecraft at this time."""
        t_s = (emission_ns - self.start_ns) / 1e9
        return t_s >= 0 and not any(one.from_s <= t_s < one.to_s for one in self.settings.outage)

    def uplink(self, radiation: Radiation) -> tuple[int, Uplink] | None:
        """What the station radiated as it reaches the spacecraft, with the last octet's arrival
        there, TAI ns; None if nothing of it does."""
        sent = np.array([radiation.end_ns], np.int64)
        arrival_ns = radiation.end_ns + int(self.light_time.uplink_ns(sent)[0])
        octets = np.frombuffer(radiation.uplink.octets, np.uint8)
        bits = 8 * len(octets)
        self.counts.sent_up += 1
        lost = self._up.random() < self.settings.uplink_loss
        errors = int(self._up.binomial(bits, self.settings.uplink_bit_error_rate))
        if lost or not self.carrier(arrival_ns):
            self.counts.lost_up += 1
            return None
        if errors:
            self.counts.damaged_up += 1
            octets = octets.copy()
            flip(octets, errors, self._up)
        return arrival_ns, Uplink(radiation.uplink.carrier, octets.tobytes())
