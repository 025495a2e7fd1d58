"""The shipped orbit about L4: made again, and against scipy's DOP853 with places by jplephem."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import skyfield_data
from jplephem.spk import SPK
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicHermiteSpline

from ground.cli import main
from ground.scheduling.sky import Sky
from ground.scheduling.targets import OemTarget, TriangularPoint, target_named
from ground.study.libration import GM_KM3_S2, libration_orbit
from protocols.errors import LocalError
from protocols.navigation.geometry import angle_at_rad, distance_km
from protocols.navigation.oem import OemSegment, build_oem, parse_oem
from protocols.timecodes.tai import tai_ns_from_utc_iso

DAY = 86_400 * 10**9
#: TDB seconds of J2000 and back, by what TAI counts from; TDB − TT (2 ms) is 50 m of the planets'
#: way, the same for all of them.
J2000_TAI_S = 15_340.5 * 86_400 - 32.184
#: NAIF numbers of what pulls: (centre, body) segments to be added up.
CHAINS = {
    "sun": [(0, 10)], "mercury": [(0, 1), (1, 199)], "venus": [(0, 2), (2, 299)],
    "earth": [(0, 3), (3, 399)], "moon": [(0, 3), (3, 301)], "mars": [(0, 4), (4, 499)],
    "jupiter barycenter": [(0, 5)], "saturn barycenter": [(0, 6)],
    "uranus barycenter": [(0, 7)], "neptune barycenter": [(0, 8)],
}  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> OemSegment:
    target = target_named("l4-orbit")
    assert isinstance(target, OemTarget)
    (segment,) = target.oem.segments
    return segment


def dop853(start: np.ndarray, first_tai_ns: int, days: np.ndarray) -> np.ndarray:
    """States after so many days, by another integrator, another reader of DE421, Newton and PN."""
    folder = Path(skyfield_data.__file__).parent / "data"
    begin_s = first_tai_ns / 1e9 - J2000_TAI_S
    grid_s = np.arange(-86_400.0, (days[-1] + 2) * 86_400.0, 21_600.0)
    places = {}
    with SPK.open(f"{folder}/de421.bsp") as kernel:
        for name, chain in CHAINS.items():
            p, v = 0.0, 0.0
            for pair in chain:
                at, rate = kernel[pair].compute_and_differentiate(
                    2_451_545.0, (begin_s + grid_s) / 86_400
                )
                p, v = p + at, v + rate / 86_400
            places[name] = CubicHermiteSpline(grid_s, np.asarray(p).T, np.asarray(v).T)
    c2 = 299_792.458**2

    def slope(t_s: float, y: np.ndarray) -> np.ndarray:
        total = np.zeros(3)
        for name, place in places.items():
            away = place(t_s) - y[:3]
            total += GM_KM3_S2[name] / np.linalg.norm(away) ** 3 * away
            if name == "sun":
                gm, r, v = GM_KM3_S2[name], -away, y[3:]
                size = np.linalg.norm(r)
                total += gm / (c2 * size**3) * ((4 * gm / size - v @ v) * r + 4 * (r @ v) * v)
        return np.concatenate([y[3:], total])

    span = (0.0, days[-1] * 86_400.0)
    found = solve_ivp(
        slope, span, start, method="DOP853", rtol=1e-12, atol=1e-6, t_eval=days * 86_400.0
    )
    assert found.success
    return found.y.T


def test_five_years_agree_with_dop853_to_a_hundred_metres(shipped: OemSegment) -> None:
    # At the message's states and in the middle between them, which interpolation must give.
    days = np.arange(0.0, 5 * 365.0, 8.0)
    other = dop853(shipped.states[0], int(shipped.epochs_tai_ns[0]), days)
    at_ns = shipped.epochs_tai_ns[0] + (days * DAY).astype(np.int64)
    ours = shipped.positions_km(at_ns)
    apart = np.linalg.norm(ours - other[:, :3], axis=1)
    assert apart.max() < 0.1


def test_the_shipped_orbit_is_what_the_command_makes(shipped: OemSegment) -> None:
    first, last = tai_ns_from_utc_iso("2025-01-01"), tai_ns_from_utc_iso("2051-01-01")
    made = libration_orbit("l4", first, last)
    (segment,) = made.oem.segments
    np.testing.assert_array_equal(segment.epochs_tai_ns, shipped.epochs_tai_ns)
    # Least squares over 26 years: another machine's rounding moves it by centimetres.
    np.testing.assert_allclose(segment.states[:, :3], shipped.states[:, :3], atol=0.01, rtol=0)
    assert made.most_km < 20_400
    assert made.rms_km < 8_800


def test_it_stays_near_the_point_and_is_seen_at_sixty_degrees(shipped: OemSegment) -> None:
    sky = Sky(tai_ns_from_utc_iso("2026-01-01"), tai_ns_from_utc_iso("2046-01-01"))
    t_s = np.arange(0.0, sky.length_s, 5 * 86_400.0)
    target = target_named("l4-orbit")
    assert isinstance(target, OemTarget)
    place = target.barycentric_km(sky, t_s)
    point = TriangularPoint("l4").barycentric_km(sky, t_s)
    assert distance_km(place, point).max() < 20_400
    sun, earth = sky.body_km("sun", t_s), sky.earth_km(t_s)
    seen = np.degrees(angle_at_rad(earth, sun, place))
    # The Earth's own monthly wobble is 4,700 km of 150 million.
    np.testing.assert_allclose(seen, 60, atol=0.02)


def test_the_command_writes_a_message_that_reads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "l5.oem"
    words = ["study", "orbit", "--point", "l5", "--from", "2030", "--to", "2031", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["l4", *words])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code in (0, None)
    assert "km at most" in capsys.readouterr().out
    oem = parse_oem(out.read_bytes())
    assert build_oem(oem) == out.read_bytes()
    assert oem.segments[0].object_name == "SUN-EARTH L5 RELAY"


def test_refusals() -> None:
    first = tai_ns_from_utc_iso("2026-01-01")
    with pytest.raises(LocalError, match="48 or more wanted"):
        libration_orbit("l4", first, first + 30 * DAY)
    with pytest.raises(LocalError, match="1900 … 2053"):
        libration_orbit("l4", first, first + 40 * 365 * DAY)
