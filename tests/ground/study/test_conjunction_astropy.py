"""Outage days of 2026 to 2045 against astropy: its own planets, its own geometry, hour by hour.

astropy's built-in ephemeris is ERFA's (epv00, plan94), analytic series that share nothing with
DE421: Mars is good to a few seconds of arc, which is a minute of a conjunction's day.
"""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units as u
from astropy.constants import c
from astropy.coordinates import get_body_barycentric_posvel
from astropy.time import Time
from scipy.interpolate import CubicSpline

from ground.scheduling.targets import target_named
from ground.study.conjunction import BANDS, Study, study, total_days
from protocols.timecodes.tai import tai_ns_from_utc_iso

LIGHT_KM_DAY = c.to_value(u.km / u.day)


@pytest.fixture(scope="module")
def found() -> dict[str, Study]:
    span = tai_ns_from_utc_iso("2026-01-01"), tai_ns_from_utc_iso("2046-01-01")
    return {
        name: study(*span, target_named(name), list(BANDS.values())) for name in ("l4", "l4-orbit")
    }


def places(days: np.ndarray) -> dict[str, np.ndarray]:
    """Barycentric km of Sun, Earth, Mars and L4, so many days (TDB) into 2026."""
    # TDB, UTC + 69.184 s: astropy does not know the leap seconds to come, and says so.
    t = Time("2026-01-01T00:01:09.184", scale="tdb") + days * u.day
    found: dict[str, np.ndarray] = {}
    motion: dict[str, np.ndarray] = {}
    for body in ("sun", "earth", "mars"):
        r, v = get_body_barycentric_posvel(body, t, ephemeris="builtin")
        found[body], motion[body] = r.xyz.to_value(u.km).T, v.xyz.to_value(u.km / u.day).T
    # The Earth about the Sun, sixty degrees on: Rodrigues' formula about the orbit's normal.
    r, v = (table["earth"] - table["sun"] for table in (found, motion))
    normal = np.cross(r, v)
    normal /= np.linalg.norm(normal, axis=1)[:, np.newaxis]
    found["l4"] = r * 0.5 + np.cross(normal, r) * np.sqrt(0.75) + found["sun"]
    return found


def between_deg(corner: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = a - corner, b - corner
    cosine = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.fixture(scope="module")
def seen() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By receiver: (angle at it, at Mars) between the Sun and the other end, every hour; light time
    from Mars allowed for.  Splines through days, since the series are slow: good to a kilometre.
    """
    days = np.arange(-2.0, 7308.0)
    at = {body: CubicSpline(days, table) for body, table in places(days).items()}
    t = np.arange(0, 7305 * 24) / 24
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for receiver in ("earth", "l4"):
        here, sun = at[receiver](t), at["sun"](t)
        light = np.linalg.norm(at["mars"](t) - here, axis=1) / LIGHT_KM_DAY
        mars = at["mars"](t - light)
        found[receiver] = between_deg(here, sun, mars), between_deg(mars, sun, here)
    return found


@pytest.mark.parametrize("name", list(BANDS))
def test_direct_outage_days_agree(name: str, found: dict[str, Study], seen: dict) -> None:
    at_earth, at_mars = seen["earth"]
    band = BANDS[name]
    closed = (at_earth < band.near_deg) | (at_mars < band.mars_deg)
    ours = next(one for one in found["l4"].bands if one.band.name == name)
    # Counting hours errs by up to one an outage, half of it each way.
    edges = 2 * len(ours.direct)
    assert total_days(ours.direct) == pytest.approx(closed.sum() / 24, abs=edges * 0.5 / 24)
    starts = np.flatnonzero(~closed[:-1] & closed[1:]) + 1
    own = [o.start_ns for o in ours.direct if not o.cut]
    first = tai_ns_from_utc_iso("2026-01-01")
    hours = (np.array(own) - first) / 3.6e12
    # Each begins in the hour that astropy finds, to two minutes (plan94's seconds of arc).
    assert np.all((hours > starts - 1 - 0.1) & (hours < starts + 0.1))


@pytest.mark.parametrize("name", list(BANDS))
def test_outage_days_of_the_relays_link_agree(
    name: str, found: dict[str, Study], seen: dict
) -> None:
    at_l4, at_mars = seen["l4"]
    band = BANDS[name]
    closed = (at_l4 < band.near_deg) | (at_mars < band.mars_deg)
    ours = next(one for one in found["l4"].bands if one.band.name == name)
    edges = 2 * len(ours.around)
    # astropy's L4 leads the Earth and ours the Earth-Moon barycentre: 0.002°, ten minutes.
    assert total_days(ours.around) == pytest.approx(closed.sum() / 24, abs=edges * 0.7 / 24)
    # Its gain: at no hour of twenty years are both ways closed.
    at_earth, at_mars_earth = seen["earth"]
    closed_direct = (at_earth < band.near_deg) | (at_mars_earth < band.mars_deg)
    # The relay heard 499 s earlier what the Earth hears now: a hundredth of what lies between.
    assert not (closed & closed_direct).any()
    assert ours.both == ()


@pytest.mark.parametrize("name", list(BANDS))
def test_the_orbit_and_the_point_give_the_same_days(name: str, found: dict[str, Study]) -> None:
    point, orbit = (
        next(one for one in found[relay].bands if one.band.name == name)
        for relay in ("l4", "l4-orbit")
    )
    assert total_days(point.direct) == total_days(orbit.direct)
    # 20,400 km at 2.4 au are 0.003°, 15 minutes an end.
    assert total_days(point.around) == pytest.approx(
        total_days(orbit.around), abs=2 * len(orbit.around) * 0.02
    )
