"""When Mars cannot be heard because the Sun stands between, and what a relay at L4 changes.

The way home is followed ray by ray: what the Earth receives at an instant left Mars a light time
before, or left L4, where it had come from Mars, or not.  All outages are of the Earth's reception.
Each link is clear while at either end the other one is far enough from the Sun, and not behind it.
The way out is the same links in the other direction, shifted by less than a light time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np

from ground.scheduling.sky import NODE_S, Sky
from ground.scheduling.targets import Body, Target
from ground.study.links import Aspects, LinkPath
from ground.study.trajectories import Earth, table
from protocols.errors import LocalError
from protocols.navigation.crossings import Margin, positive_spans
from protocols.navigation.geometry import F64
from protocols.navigation.interpolation import I64
from protocols.timecodes.tai import NS_PER_DAY

#: The angle at the Sun's side changes by 0.3° a day: nothing is missed in steps of six hours.
_STEP_S: Final = NODE_S
_BISECTIONS: Final = 40


@dataclass(frozen=True)
class Band:
    """near_deg: least Sun angle at the Earth and at L4; mars_deg: at Mars."""

    name: str
    near_deg: float
    mars_deg: float
    source: str

    def __post_init__(self) -> None:
        for value in (self.near_deg, self.mars_deg):
            if not 0 <= value < 60:
                raise LocalError(
                    f"band {self.name}: a Sun angle of {value:g}°; 0 up to 60 wanted, which is "
                    "where the Earth sees L4"
                )


#: Radio: the ray passes one corona, whichever end it is looked at from, and the limits below are
#: said of the end that is 1 au from the Sun; so Mars has none of its own.
BANDS: Final = {
    "x": Band(
        "x",
        2.0,
        0.0,
        "telemetry degrades from about 2 deg (Acta Astronautica 118, 246-250); NASA's command "
        "moratorium of 2015 held as long",
    ),
    "ka": Band(
        "ka", 1.0, 0.0, "telemetry degrades from about 1 deg (Acta Astronautica 118, 246-250)"
    ),
    "optical": Band(
        "optical",
        10.0,
        3.0,
        "ground telescopes for Mars are designed for 3 to 10 deg (IPN Progress Report 42-162); "
        "at Mars our assumption",
    ),
}


@dataclass(frozen=True)
class Outage:
    """[start, end) of reception on the Earth, TAI ns; cut: it began before the study or goes on."""

    start_ns: int
    end_ns: int
    cut: bool = False

    @property
    def days(self) -> float:
        return (self.end_ns - self.start_ns) / NS_PER_DAY


@dataclass(frozen=True)
class BandOutages:
    """direct: Mars to Earth; around: Mars to the relay to Earth; both: neither way is open."""

    band: Band
    direct: tuple[Outage, ...]
    around: tuple[Outage, ...]
    both: tuple[Outage, ...]


@dataclass(frozen=True)
class Conjunction:
    """Mars behind the Sun: instant and Sun-Earth-Mars angle of the least separation as seen.

    owlt_s, owlt_around_s: light time from Mars straight, and by way of the relay
    """

    at_ns: int
    angle_deg: float
    owlt_s: float
    owlt_around_s: float


@dataclass(frozen=True, eq=False)
class Curves:
    """Every six hours of reception: Sun-Earth-Mars, Sun-relay-Mars and Sun-Earth-relay angles."""

    t_ns: I64
    earth_mars_deg: F64
    relay_mars_deg: F64
    earth_relay_deg: F64


@dataclass(frozen=True)
class Study:
    start_ns: int
    end_ns: int
    relay: str
    bands: tuple[BandOutages, ...]
    conjunctions: tuple[Conjunction, ...]
    curves: Curves = field(repr=False)


def total_days(outages: Sequence[Outage]) -> float:
    return sum(outage.days for outage in outages)


def longest_days(outages: Sequence[Outage]) -> float:
    return max((outage.days for outage in outages), default=0.0)


class Links(NamedTuple):
    """Mars to Earth; relay to Earth; Mars to relay."""

    direct: LinkPath
    last: LinkPath
    first: LinkPath


class Geometry:
    """Earth, Mars, relay and Sun over a span, made once for any number of bands."""

    def __init__(self, start_ns: int, end_ns: int, relay: Target) -> None:
        if relay.name in ("mars", "sun"):
            raise LocalError(f"relay {relay.name}: neither the Sun nor Mars itself wanted")
        # Light from Mars by way of the relay is an hour old at most.
        self._sky = Sky(start_ns - 2 * 3600 * 10**9, end_ns)
        self.start_ns, self.end_ns, self.relay = start_ns, end_ns, relay
        self._earth, self._mars, self._relay, self._sun = (
            table(self._sky, target) for target in (Earth(), Body("mars"), relay, Body("sun"))
        )
        first_s = (start_ns - self._sky.start_ns) / 1e9
        count = int((self._sky.length_s - first_s) / _STEP_S) + 4
        self.grid_s = np.linspace(first_s, self._sky.length_s, count)

        # What the bands have in common; by far the most of the work.
        self._on_grid = self._aspects(self.grid_s)

    def links(self, band: Band) -> Links:
        near, far = band.near_deg, band.mars_deg
        return Links(
            LinkPath(self._mars, self._earth, self._sun, far, near),
            LinkPath(self._relay, self._earth, self._sun, near, near),
            LinkPath(self._mars, self._relay, self._sun, far, near),
        )

    def _aspects(self, t_s: F64) -> tuple[Aspects, Aspects, Aspects]:
        """Of the three links, as the Earth receives at `t_s`."""
        direct, last, first = self.links(BANDS["x"])
        home = last.received(t_s)
        # Forwarded as it arrives.
        out = first.received(home.emission_s)
        return direct.aspects(direct.received(t_s)), last.aspects(home), first.aspects(out)

    def outages(self, band: Band) -> BandOutages:
        links = self.links(band)

        def margins(aspects: tuple[Aspects, Aspects, Aspects]) -> F64:
            """Straight, around, the better of both: [3, n]."""
            straight, last, first = (
                link.margin_deg(one) for link, one in zip(links, aspects, strict=True)
            )
            around = np.minimum(last, first)
            return np.stack([straight, around, np.maximum(straight, around)])

        def closed(series: I64, t_s: F64) -> F64:
            return -margins(self._aspects(t_s))[series, np.arange(len(t_s))]

        return BandOutages(band, *self._closed(-margins(self._on_grid), closed))

    def _closed(self, values: F64, closed: Margin) -> list[tuple[Outage, ...]]:
        """Spans in which each series of values [k, n] on the grid is positive."""
        spans = positive_spans(self.grid_s, values, closed)
        ends = (self._sky.tai_ns(spans.start_s).tolist(), self._sky.tai_ns(spans.end_s).tolist())
        cut = (spans.open_start | spans.open_end).tolist()
        found: list[list[Outage]] = [[] for _ in values]
        for series, *one in zip(spans.series.tolist(), *ends, cut, strict=True):
            found[series].append(Outage(*one))
        return [tuple(outages) for outages in found]

    def _separation_deg(self, t_s: F64) -> F64:
        direct = LinkPath(self._mars, self._earth, self._sun)
        return np.degrees(direct.received(t_s).angle_rad("receiver", self._sun))

    def conjunctions(self) -> tuple[Conjunction, ...]:
        angle = self._on_grid[0].receiver_deg
        # Mars is outside of the Earth's orbit: its angle is least behind the Sun, and only there.
        least = np.flatnonzero((angle[1:-1] < angle[:-2]) & (angle[1:-1] <= angle[2:])) + 1
        at_s = self.grid_s[least]
        width_s = float(self.grid_s[1] - self.grid_s[0])
        # The square is a parabola however near it comes; each round is a tenth as wide.
        for _ in range(5):
            left, middle, right = (
                self._separation_deg(at_s + k * width_s) ** 2 for k in (-1, 0, 1)
            )
            bend = left - 2 * middle + right
            at_s = at_s + width_s * np.clip(0.5 * (left - right) / bend, -1, 1)
            width_s *= 0.1
        direct, last, first = self.links(BANDS["x"])
        home = last.received(at_s)
        out = first.received(home.emission_s)
        columns = (
            self._sky.tai_ns(at_s).tolist(),
            self._separation_deg(at_s).tolist(),
            direct.received(at_s).light_time_s.tolist(),
            (home.light_time_s + out.light_time_s).tolist(),
        )
        return tuple(Conjunction(*row) for row in zip(*columns, strict=True))

    def curves(self) -> Curves:
        direct, last, first = self._on_grid
        return Curves(
            self._sky.tai_ns(self.grid_s),
            direct.receiver_deg,
            first.receiver_deg,
            last.receiver_deg,
        )

    def limit_for(self, days: float) -> float:
        """Least Sun angle at the Earth under which the longest direct outage lasts so many days.

        Raises LocalError for more days than an angle under 60° explains.
        """
        low, high = 0.0, 59.9
        if self._longest_days(high) < days:
            raise LocalError(f"no outage of this span lasts {days:g} days, however wide the limit")
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if self._longest_days(middle) < days:
                low = middle
            else:
                high = middle
        return high

    def _longest_days(self, limit_deg: float) -> float:
        def closed(_: I64, t_s: F64) -> F64:
            return limit_deg - self._separation_deg(t_s)

        values = limit_deg - self._on_grid[0].receiver_deg[np.newaxis]
        (outages,) = self._closed(values, closed)
        # Cut ones do not count: how long they are is not known.
        return longest_days([outage for outage in outages if not outage.cut])


def study(
    start_ns: int,
    end_ns: int,
    relay: Target,
    bands: Sequence[Band],
    progress: Callable[[str], None] = lambda what: None,
) -> Study:
    """Outages in [start, end), TAI ns.  Raises LocalError outside of the ephemeris or the orbit.

    progress: is told what is done next
    """
    if end_ns - start_ns < 2 * NS_PER_DAY:
        raise LocalError("a study of two days or more wanted")
    progress("planets")
    geometry = Geometry(start_ns, end_ns, relay)
    found: list[BandOutages] = []
    for band in bands:
        progress(f"{band.name} band")
        found.append(geometry.outages(band))
    progress("conjunctions")
    return Study(
        start_ns, end_ns, relay.name, tuple(found), geometry.conjunctions(), geometry.curves()
    )
