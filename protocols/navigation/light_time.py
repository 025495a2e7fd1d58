"""One-way light time between two moving ends, solved and not approximated.

The far end moves while the signal is under way: 30 km/s for 499 s is 15,000 km, 50 ms of light
time.  So the equation c·τ = |r_receiver(t + τ) − r_emitter(t)| is iterated; each pass gains a
factor c/v of about 10⁴.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S, distance_km

#: Position of one end, float64 [n, 3] in kilometres, at times float64 [n] in seconds from an
#: epoch of the caller's choice (near, so that float64 keeps nanoseconds).
Trajectory = Callable[[F64], F64]

#: GM of the Sun, km³/s² (DE421 header, IAU-2009 system of constants to its digits).
SUN_GM_KM3_S2: Final = 132_712_440_040.0

#: 1e-12 s is 0.3 mm; with speeds under 0.01 c the limit is never reached.
_TOLERANCE_S: Final = 1e-12
_MOST_ITERATIONS: Final = 12


def shapiro_delay_s(sun_km: F64, emitter_km: F64, receiver_km: F64) -> F64:
    """Delay by the Sun's gravity beyond the geometric light time, float64 [...].

    2GM/c³ · ln((r₁ + r₂ + d) / (r₁ + r₂ − d)) with distances of both ends from the Sun and from
    each other (Moyer, DPTRAJ-ODP formulation §8.3.1, γ = 1).  Between Earth and L4: 10.8 µs.
    """
    r1, r2 = distance_km(sun_km, emitter_km), distance_km(sun_km, receiver_km)
    d = distance_km(emitter_km, receiver_km)
    return 2 * SUN_GM_KM3_S2 / SPEED_OF_LIGHT_KM_S**3 * np.log((r1 + r2 + d) / (r1 + r2 - d))


def _solve(
    known_km: F64,
    other: Trajectory,
    t_s: F64,
    direction: int,
    sun: Trajectory | None,
    tolerance_s: float,
) -> F64:
    light_time_s = distance_km(known_km, other(t_s)) / SPEED_OF_LIGHT_KM_S
    change_s = float("inf")
    for _ in range(_MOST_ITERATIONS):
        other_km = other(t_s + direction * light_time_s)
        better_s = distance_km(known_km, other_km) / SPEED_OF_LIGHT_KM_S
        if sun is not None:
            better_s = better_s + shapiro_delay_s(sun(t_s), known_km, other_km)
        change_s = float(np.max(np.abs(better_s - light_time_s), initial=0.0))
        light_time_s = better_s
        if change_s < tolerance_s:
            return light_time_s
    raise LocalError(
        f"light time still changes by {change_s} s after {_MOST_ITERATIONS} iterations; "
        f"{tolerance_s} s wanted: is an end faster than light?"
    )


def light_time_after_emission_s(
    emitter: Trajectory,
    receiver: Trajectory,
    t_emission_s: F64,
    sun: Trajectory | None = None,
    tolerance_s: float = _TOLERANCE_S,
) -> F64:
    """Light time of signals sent at `t_emission_s`, float64 [n]; with `sun`, gravity included.

    tolerance_s: change at which the iteration ends; the error left is a ten-thousandth of it.  The
    default wants trajectories good to a tenth of a millimetre, an interpolated one needs more.

    >>> earth = lambda t: np.zeros((len(t), 3))
    >>> leaving = lambda t: 299_792.458 * np.stack([10 + 0.1 * t, 0 * t, 0 * t], axis=1)
    >>> light_time_after_emission_s(leaving, earth, np.array([0.0, 5.0]))
    array([10. , 10.5])

    Raises LocalError if the iteration does not converge.
    """
    return _solve(emitter(t_emission_s), receiver, t_emission_s, +1, sun, tolerance_s)


def light_time_before_reception_s(
    emitter: Trajectory,
    receiver: Trajectory,
    t_reception_s: F64,
    sun: Trajectory | None = None,
    tolerance_s: float = _TOLERANCE_S,
) -> F64:
    """Light time of signals received at `t_reception_s`, float64 [n]; as above."""
    return _solve(receiver(t_reception_s), emitter, t_reception_s, -1, sun, tolerance_s)


def light_time_rate(
    emitter_km: F64, emitter_km_s: F64, receiver_km: F64, receiver_km_s: F64
) -> F64:
    """dτ/dt of a downlink per second of emission, float64 [...].

    The emitter's state is at emission, the receiver's at reception.  The received carrier is
    f·1/(1 + rate), to first order in v/c and exactly so in kinematics.
    """
    line = receiver_km - emitter_km
    unit = line / np.sqrt(np.einsum("...i,...i->...", line, line))[..., np.newaxis]
    closing = np.einsum("...i,...i->...", unit, receiver_km_s - emitter_km_s)
    return closing / (SPEED_OF_LIGHT_KM_S - np.einsum("...i,...i->...", unit, receiver_km_s))
