"""The relay's orbit about Sun-Earth L4 or L5: integrated among the planets, as an OEM.

A spacecraft left alone near L4 swings about it in 219 years (the tadpole) and drifts with whatever
its start was wrong by.  Of all starts, the one is sought whose orbit stays nearest to the point,
60° from the Earth-Moon barycentre, over the whole span: least squares on the six numbers of the
first state.  What remains are the planets' own tugs, ±20,000 km in 26 years, a hundredth of a
degree: the orbit needs no propellant to speak of.

The force is that of Sun, planets and Moon where DE421 has them, with the Sun's Schwarzschild term.
Light pressure (4e-8 of the Sun's pull at 0.02 m²/kg) depends on the spacecraft and is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from ground.scheduling.sky import Sky
from ground.scheduling.targets import TriangularPoint
from protocols.errors import LocalError
from protocols.navigation.geometry import F64
from protocols.navigation.nbody import Force, gravity, integrate, stage_times_s
from protocols.navigation.oem import Oem, OemSegment
from protocols.timecodes.tai import NS_PER_DAY

#: GM in km³/s², by name in the ephemeris: Sun, Earth and Moon of DE421, planets (from Jupiter on
#: with their moons) of DE430, which differ from DE421's by less than 1e-7.
GM_KM3_S2: Final = {
    "sun": 132_712_440_040.944, "mercury": 22_031.780, "venus": 324_858.592,
    "earth": 398_600.436_233, "moon": 4_902.800_076, "mars": 42_828.375_214,
    "jupiter barycenter": 126_712_764.8, "saturn barycenter": 37_940_585.2,
    "uranus barycenter": 5_794_548.6, "neptune barycenter": 6_836_527.100_58,
}  # fmt: skip
#: Of the integration and of the message.  Over 26 years, steps of 2 days end 4 cm elsewhere;
#: Hermite interpolation of degree 11 between the states errs by 15 m: Mercury's tugs are quick.
STEP_DAYS: Final = 16
_DEGREE: Final = 11
#: A fit of less than this says little of what stays and what drifts.
_SHORTEST_DAYS: Final = 3 * STEP_DAYS
#: Small enough to be linear, large enough for 9 digits of the differences.
_VARIATION: Final = np.array([100.0] * 3 + [1e-5] * 3)
_MOST_CORRECTIONS: Final = 10


@dataclass(frozen=True)
class LibrationOrbit:
    """oem: states from start to end.  rms_km, most_km: distances from the moving point."""

    oem: Oem
    rms_km: float
    most_km: float


def libration_orbit(
    point: str,
    start_ns: int,
    end_ns: int,
    *,
    creation_date: str = "",
    progress: Callable[[int, float], None] | None = None,
) -> LibrationOrbit:
    """The orbit that stays nearest to `point` ("l4", "l5") in [start, end], TAI ns.

    creation_date  of the message, UTC as 502.0-B wants it; the caller has the clock
    progress       is told (correction, rms distance in km)

    Raises LocalError for a span that is short or not in the ephemeris.
    """
    if end_ns - start_ns < _SHORTEST_DAYS * NS_PER_DAY:
        raise LocalError(
            f"a libration orbit of {(end_ns - start_ns) / NS_PER_DAY:.1f} days: "
            f"{_SHORTEST_DAYS} or more wanted"
        )
    step_s = STEP_DAYS * 86_400.0
    steps = -(-(end_ns - start_ns) // (STEP_DAYS * NS_PER_DAY))
    sky = Sky(start_ns, start_ns + steps * STEP_DAYS * NS_PER_DAY)
    force = planets_pull(sky, step_s, steps)
    nodes_s = step_s * np.arange(steps + 1.0)
    wanted_km = TriangularPoint(point).barycentric_km(sky, nodes_s)
    path = _nearest(force, wanted_km, _first_guess(sky, point), step_s, steps, progress)
    away = np.linalg.norm(path[:, :3] - wanted_km, axis=1)
    # A millimetre, and a nanometre a second: beyond is only rounding.
    states = np.column_stack([path[:, :3].round(6), path[:, 3:].round(12)])
    segment = OemSegment(
        object_name=f"SUN-EARTH {point.upper()} RELAY",
        object_id=f"{point.upper()}-RELAY",
        center_name="SOLAR SYSTEM BARYCENTER",
        ref_frame="ICRF",
        time_system="TAI",
        epochs_tai_ns=start_ns + np.arange(steps + 1) * (STEP_DAYS * NS_PER_DAY),
        states=states,
        useable_tai_ns=(start_ns, start_ns + steps * STEP_DAYS * NS_PER_DAY),
        interpolation="HERMITE",
        degree=_DEGREE,
        comments=(f"Ballistic orbit nearest to Sun-Earth {point.upper()}, integrated in DE421",),
    )
    oem = Oem((segment,), originator="L4 RELAY GROUND", creation_date=creation_date)
    return LibrationOrbit(oem, float(np.sqrt((away**2).mean())), float(away.max()))


def planets_pull(sky: Sky, step_s: float, steps: int) -> Force:
    """What pulls at the spacecraft from the sky's start on, in `steps` steps."""
    times_s = stage_times_s(0.0, step_s, steps)
    places = np.stack([sky.body_km(name, times_s) for name in GM_KM3_S2], axis=1)
    return gravity(np.array(list(GM_KM3_S2.values())), places, list(GM_KM3_S2).index("sun"))


def _first_guess(sky: Sky, point: str) -> F64:
    """The point's own state at the start; its velocity by differences, which is near enough."""
    half_s = 600.0
    before, at, after = TriangularPoint(point).barycentric_km(sky, np.array([-half_s, 0.0, half_s]))
    return np.concatenate([at, (after - before) / (2 * half_s)])


def _nearest(
    force: Force,
    wanted_km: F64,
    state: F64,
    step_s: float,
    steps: int,
    progress: Callable[[int, float], None] | None,
) -> F64:
    """States [steps + 1, 6], by Gauss and Newton; the slopes from six varied starts."""
    before = np.inf
    for correction in range(_MOST_CORRECTIONS):
        starts = np.vstack([state, state + np.diag(_VARIATION)])
        paths = integrate(force, starts, step_s, steps)
        left = (wanted_km - paths[:, 0, :3]).ravel()
        rms = float(np.sqrt((left**2).sum() / len(wanted_km)))
        if progress is not None:
            progress(correction, rms)
        if before - rms < 1e-3:
            return paths[:, 0]
        before = rms
        slopes = np.stack(
            [(paths[:, 1 + i, :3] - paths[:, 0, :3]).ravel() for i in range(6)], axis=1
        )
        state = state + _VARIATION * np.linalg.lstsq(slopes, left, rcond=None)[0]
    raise LocalError(f"the orbit's distance still changes after {_MOST_CORRECTIONS} corrections")
