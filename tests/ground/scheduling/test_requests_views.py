"""The example week, with its view periods computed: it is what docs/howto/plan-a-week.md plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from ground.scheduling.model import S_NS, Interval
from ground.scheduling.requests_views import read_problem
from protocols.errors import LocalError

EXAMPLE = Path(__file__).parents[3] / "ground/scheduling/examples/week.toml"


def test_the_example_week() -> None:
    problem = read_problem(EXAMPLE)
    ids = [r.id for r in problem.requests]
    assert ids[:2] == ["relay-daily.1", "relay-daily.2"]
    assert len(problem.gaps) == 6
    ddor = problem.request_by_id["ddor"]
    assert {len(c.antennas) for c in ddor.choices} == {2}
    for choice in ddor.choices:
        sites = {problem.antenna_by_name[name].complex for name in choice.antennas}
        assert "Goldstone" in sites
        assert len(sites) == 2
    lander = problem.request_by_id["lander-relay.1"]
    assert lander.beam == "mars"
    # A baseline sees when both of its antennas see, as two requests of one antenna each tell.
    daily = problem.request_by_id["relay-daily.3"]
    assert daily.window == Interval(
        problem.horizon.start_ns + 2 * 86_400 * S_NS, problem.horizon.start_ns + 3 * 86_400 * S_NS
    )
    for request in problem.requests:
        assert any(choice.view_periods for choice in request.choices), request.id


FILE = """
name = "x"
start = 2026-12-07T00:00:00Z
end = 2026-12-08T00:00:00Z
{}
[[mission]]
name = "m"
target = "{}"
[[request]]
id = "r"
mission = "m"
duration = "1h"
antennas = ["{}"]
"""


@pytest.mark.parametrize(
    ("body", "target", "antenna", "parts"),
    [
        ("", "marz", "DSS-25", ["request 1 (r)", "'marz'", "mars"]),
        ("", "mars", "DSS-99", ["request 1 (r)", "'DSS-99'", "DSS-14"]),
        ('[[antenna]]\nname = "X"', "mars", "X", ["antenna X", "[[antenna]] only", "views"]),
    ],
)
def test_errors_of_targets_and_stations(
    tmp_path: Path, body: str, target: str, antenna: str, parts: list[str]
) -> None:
    path = tmp_path / "week.toml"
    path.write_text(FILE.format(body, target, antenna))
    with pytest.raises(LocalError) as caught:
        read_problem(path)
    for part in [str(path), *parts]:
        assert part in str(caught.value)


def test_targets_and_stations_lie_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "iss.tle").write_text(
        "ISS (ZARYA)\n"
        "1 25544U 98067A   19343.69339541  .00001764  00000-0  38792-4 0  9991\n"
        "2 25544  51.6439 211.2001 0007417  17.6667  85.6398 15.50103472202482\n"
    )
    (tmp_path / "own.toml").write_text(
        '[antennas.ROOF]\nsite = "yeoju"\ndiameter_m = 2.4\nbands = ["S"]\n'
        "latitude_deg = 37.3\nlongitude_deg = 127.6\nheight_m = 100\n"
    )
    path = tmp_path / "week.toml"
    text = FILE.format('stations = "own.toml"', "iss.tle", "ROOF").replace("2026-12", "2019-12")
    path.write_text(text.replace('"1h"', '"5m"'))
    (choice,) = read_problem(path).requests[0].choices
    assert 3 <= len(choice.view_periods) <= 8


def views_of(tmp_path: Path, keys: str, antenna: str = "DSS-25") -> list[Interval]:
    path = tmp_path / "week.toml"
    # Mars is in conjunction with the Sun on 2026-01-09, 0.9 degrees from it.
    text = FILE.format("", "mars", antenna).replace("2026-12-07", "2026-01-09")
    text = (
        text.replace("2026-12-08", "2026-01-10")
        .replace("T00", "T12")
        .replace('"mars"', f'"mars"\n{keys}')
    )
    path.write_text(text)
    (choice,) = read_problem(path).requests[0].choices
    return list(choice.view_periods)


def test_a_mission_limits_its_view_periods(tmp_path: Path) -> None:
    (whole,) = views_of(tmp_path, "")
    (same,) = views_of(tmp_path, "sun_exclusion_deg = 0.2")
    # Refined from another margin: to the model's 10 ms.
    assert abs(same.start_ns - whole.start_ns) < 1e7
    assert abs(same.end_ns - whole.end_ns) < 1e7
    assert views_of(tmp_path, "sun_exclusion_deg = 3") == []
    (high,) = views_of(tmp_path, "minimum_elevation_deg = 20")
    assert whole.start_ns < high.start_ns < high.end_ns < whole.end_ns
    # At DSS-25 transmitting asks for a higher elevation than receiving.
    (both,) = views_of(tmp_path, "uplink = true")
    assert whole.start_ns < both.start_ns < both.end_ns < whole.end_ns


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ("sun_exclusion_deg = 90", "an angle from the Sun of 0 to below 90"),
        ("minimum_elevation_deg = -6", "an elevation of -5 to below 90"),
        ("uplink = 1", "true or false"),
    ],
)
def test_limits_out_of_range_are_named(tmp_path: Path, keys: str, wanted: str) -> None:
    with pytest.raises(LocalError) as caught:
        views_of(tmp_path, keys)
    for part in [keys.split()[0], keys.split()[2], wanted, "mission 1 (m)"]:
        assert part in str(caught.value)
