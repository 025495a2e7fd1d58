"""Clear sky over optical stations: a climatology's odds, and seeded weather that obeys it.

Hours are clear or cloudy.  A two-state Markov chain keeps the month's clear fraction p and the mean
clear spell L: a clear hour turns cloudy with probability 1/L, a cloudy one clear with
p / (1 − p) / L.  The chain starts anew each calendar year (UTC), from a stream of its own for each
station, year and seed, so that any window of a year has the same weather as the whole year.
"""

from __future__ import annotations

import functools
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from ground.scheduling.model import Interval, ViewPeriod
from ground.scheduling.stations import Station
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_unix_ns, unix_ns_from_tai_ns

_HOUR_NS = 3600 * 10**9


def _check(station: Station) -> None:
    if not station.clear_sky:
        raise LocalError(f"station {station.name}: no clear_sky in its entry, so no weather")


def clear_fraction(station: Station, t_tai_ns: int) -> float:
    """Probability of a cloud-free line of sight in the month of that instant.

    Raises LocalError for a station without a climatology.
    """
    _check(station)
    month = datetime.fromtimestamp(unix_ns_from_tai_ns(int(t_tai_ns)) / 1e9, UTC).month
    return station.clear_sky[month - 1]


@functools.lru_cache(maxsize=256)
def _year(
    name: str, clear_sky: tuple[float, ...], clear_hours: float, year: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Clear or not, each hour of a year, bool [8760 or 8784]."""
    first = datetime(year, 1, 1, tzinfo=UTC)
    hours = int((datetime(year + 1, 1, 1, tzinfo=UTC) - first).total_seconds() // 3600)
    month_of = np.concatenate(
        [
            np.full(
                int(
                    (
                        datetime(year + m // 12, m % 12 + 1, 1, tzinfo=UTC)
                        - datetime(year, m, 1, tzinfo=UTC)
                    ).total_seconds()
                    // 3600
                ),
                m - 1,
            )
            for m in range(1, 13)
        ]
    )
    draws = np.random.default_rng([seed, year, *name.encode()]).random(hours)
    odds = np.array(clear_sky)
    # A spell of cloud cannot be shorter than an hour: very clear months get longer clear spells.
    to_cloud = np.minimum(1 / clear_hours, (1 - odds) / odds)
    to_clear = to_cloud * odds / (1 - odds)
    clear = np.empty(hours, np.bool_)
    now = bool(draws[0] < odds[0])
    for hour, (month, draw) in enumerate(zip(month_of.tolist(), draws.tolist(), strict=True)):
        if hour:
            now = draw >= to_cloud[month] if now else draw < to_clear[month]
        clear[hour] = now
    return clear


def clear_spells(station: Station, window: Interval, seed: int) -> list[Interval]:
    """Spells of clear sky within a window, whole hours UTC cut off at its ends.

    The same for every window that covers an instant.  Raises LocalError for a station without a
    climatology.
    """
    _check(station)
    start, end = (unix_ns_from_tai_ns(t) for t in (window.start_ns, window.end_ns))
    spells: list[tuple[int, int]] = []
    for year in range(
        datetime.fromtimestamp(start / 1e9, UTC).year,
        datetime.fromtimestamp(end / 1e9, UTC).year + 1,
    ):
        origin = int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * 10**9
        clear = _year(station.name, station.clear_sky, station.clear_sky_hours, year, seed)
        edges = np.flatnonzero(np.diff(np.concatenate([[False], clear, [False]]).astype(np.int8)))
        for a, b in edges.reshape(-1, 2).tolist():
            spells.append((origin + a * _HOUR_NS, origin + b * _HOUR_NS))
    found: list[Interval] = []
    for a, b in spells:
        if b <= start or a >= end:
            continue
        first, last = (
            max(window.start_ns, tai_ns_from_unix_ns(a)),
            min(window.end_ns, tai_ns_from_unix_ns(b)),
        )
        if found and found[-1].end_ns == first:
            found[-1] = Interval(found[-1].start_ns, last)
        elif first < last:
            found.append(Interval(first, last))
    return found


def clear_view_periods(
    station: Station, view_periods: tuple[ViewPeriod, ...], seed: int
) -> tuple[ViewPeriod, ...]:
    """The parts of view periods with clear sky in the seeded weather; radio stations: all."""
    if not station.clear_sky:
        return view_periods
    result: list[ViewPeriod] = []
    for period in view_periods:
        for spell in clear_spells(station, period, seed):
            result.append(ViewPeriod(spell.start_ns, spell.end_ns))
    return tuple(result)
