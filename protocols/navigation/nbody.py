"""Motion of a spacecraft among bodies whose places are known: Gauss-Legendre collocation.

Gauss-Legendre collocation with s stages is an implicit Runge-Kutta method of order 2s, symplectic
and symmetric; its coefficients follow from the Legendre nodes, so none is typed in.  The stages lie
at known instants: the bodies' places are asked for once, for all steps together, and the stages are
solved by fixed-point iteration, which near L4 gains two digits a round.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from protocols.errors import LocalError
from protocols.navigation.geometry import F64, SPEED_OF_LIGHT_KM_S

#: Acceleration in km/s² of positions and velocities float64 [m, s, 3] at a slice of s stages of the
#: flat list of instants that the force was made for.
Force = Callable[[slice, F64, F64], F64]
_STAGES: Final = 8
_MOST_ROUNDS: Final = 60


def _collocation(stages: int) -> tuple[F64, F64, F64]:
    """(nodes c [s], matrix A [s, s], weights b [s]) on the unit interval."""
    x, w = np.polynomial.legendre.leggauss(stages)
    # ∫ of each Lagrange polynomial of the nodes, by way of the Legendre series that it is.
    vander = np.polynomial.legendre.legvander(x, stages - 1)
    integral = np.zeros((stages, stages))
    for k in range(stages):
        unit = np.zeros(stages)
        unit[k] = 1.0
        integral[:, k] = np.polynomial.legendre.legval(
            x, np.polynomial.legendre.legint(unit, lbnd=-1)
        )
    return (x + 1) / 2, integral @ np.linalg.inv(vander) / 2, w / 2


def stage_times_s(start_s: float, step_s: float, steps: int) -> F64:
    """Instants at which the force will be asked for, float64 [steps · 8] in the order of time."""
    c, _, _ = _collocation(_STAGES)
    return (start_s + step_s * (np.arange(steps)[:, np.newaxis] + c)).ravel()


def gravity(gm_km3_s2: F64, places_km: F64, relativity_of: int | None = None) -> Force:
    """The pull of point masses: gm [k], places at all stage times float64 [n, k, 3].

    relativity_of: index of the body (the Sun) whose Schwarzschild term is added: GM/(c²r³) ·
    ((4GM/r − v²) r + 4 (r·v) v), the body taken to be at rest (IERS Conventions 2010 eq. 10.12).
    """

    def force(stages: slice, r_km: F64, v_km_s: F64) -> F64:
        # [batch, stage, body, 3]
        away = places_km[np.newaxis, stages] - r_km[:, :, np.newaxis]
        square = np.einsum("mskj,mskj->msk", away, away)
        total = np.einsum("k,msk,mskj->msj", gm_km3_s2, square**-1.5, away)
        if relativity_of is not None:
            gm = gm_km3_s2[relativity_of]
            r = -away[:, :, relativity_of]
            distance = np.sqrt(square[:, :, relativity_of])[..., np.newaxis]
            speed2 = np.einsum("msj,msj->ms", v_km_s, v_km_s)[..., np.newaxis]
            rv = np.einsum("msj,msj->ms", r, v_km_s)[..., np.newaxis]
            scale = gm / (SPEED_OF_LIGHT_KM_S**2 * distance**3)
            total += scale * ((4 * gm / distance - speed2) * r + 4 * rv * v_km_s)
        return total

    return force


def integrate(force: Force, states: F64, step_s: float, steps: int) -> F64:
    """States at the ends of all steps: float64 [steps + 1, m, 6] of m spacecraft at once.

    states     float64 [m, 6]: positions km, velocities km/s at the start
    step_s     negative integrates backwards
    force      made for `stage_times_s(start, step_s, steps)`

    Raises LocalError where the iteration does not settle: the step is too long for the motion.
    """
    c, a, b = _collocation(_STAGES)
    # Position stages directly from accelerations: r_i = r + c_i h v + h² Σ (A²)_ij a_j.
    a2, b2 = a @ a, b @ a
    h = step_s
    result = np.empty((steps + 1, *states.shape))
    result[0] = states
    r, v = states[:, np.newaxis, :3], states[:, np.newaxis, 3:]
    pull = None
    # Rounding errors of thousands of steps would add up to metres: what each sum lost is kept
    # (Kahan), and goes into the next.
    lost_r, lost_v = np.zeros_like(r), np.zeros_like(v)
    for step in range(steps):
        stages = slice(step * _STAGES, (step + 1) * _STAGES)
        drift = r + c[:, np.newaxis] * (h * v)
        if pull is None:
            pull = np.zeros((len(states), _STAGES, 3))
        last = np.inf
        for _ in range(_MOST_ROUNDS):
            now = force(stages, drift + h * h * (a2 @ pull), v + h * (a @ pull))
            change = float(np.abs(now - pull).max())
            size = float(np.abs(now).max())
            pull = now
            # Down to rounding, where it no longer shrinks.
            if change <= 4e-16 * size or (change < 1e-13 * size and change >= last):
                break
            last = change
        else:
            raise LocalError(
                f"step {step} of {h} s does not settle in {_MOST_ROUNDS} rounds (last change "
                f"{last:.1e} km/s²): a shorter step is wanted"
            )
        add_r = h * v + h * h * (b2 @ pull)[:, np.newaxis] - lost_r
        add_v = h * (b @ pull)[:, np.newaxis] - lost_v
        new_r, new_v = r + add_r, v + add_v
        lost_r, lost_v = (new_r - r) - add_r, (new_v - v) - add_v
        r, v = new_r, new_v
        result[step + 1] = np.concatenate([r[:, 0], v[:, 0]], axis=1)
    return result
