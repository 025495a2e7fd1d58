"""The station file: complete, sourced, extended by users, and clear about mistakes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from ground.scheduling.satnet import read_problem
from ground.scheduling.stations import (
    FIELDS,
    PLACES,
    Station,
    load_stations,
    read_tables,
    select_stations,
)
from protocols.errors import LocalError

STATIONS = load_stations()
TABLES = read_tables()


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in TABLES for name in TABLES[group]]
)
def test_every_value_has_a_source_or_is_marked_as_assumed(group: str, name: str) -> None:
    table = TABLES[group][name]
    values = set(table) & ({*FIELDS, *PLACES} - {"note"})
    sourced, assumed = set(table.get("sources", {})), set(table.get("assumed", []))
    assert values == sourced | assumed
    assert not sourced & assumed


def test_every_source_named_is_explained_at_the_head() -> None:
    text = (Path(__file__).parents[3] / "ground/scheduling/stations.toml").read_text()
    named = {
        source
        for group in TABLES.values()
        for table in group.values()
        for source in table.get("sources", {}).values()
    }
    head = text[: text.index("[sites.")]
    assert [source for source in named if f"# {source} " not in head] == []


def test_satnets_antennas_are_all_known(shared: Path) -> None:
    problem = read_problem(shared / "satnet/problems.json", None, "W10_2018")
    assert {antenna.name for antenna in problem.antennas} <= set(STATIONS)


@pytest.mark.parametrize(
    ("complex_", "latitude", "longitude"),
    [
        ("Goldstone", 35.3, -116.9),
        ("Canberra", -35.4, 148.98),
        ("Madrid", 40.43, -4.25),
        ("Yeoju", 37.207, 127.622),
        ("New Norcia", -31.05, 116.19),
        ("Cebreros", 40.45, -4.37),
        ("Malargüe", -35.78, -69.40),
    ],
)
def test_antennas_stand_where_their_complex_is(
    complex_: str, latitude: float, longitude: float
) -> None:
    members = [s for s in STATIONS.values() if s.complex == complex_]
    assert members
    for station in members:
        lat, lon, height = station.geodetic
        assert abs(lat - latitude) < 0.15
        assert abs(lon - longitude) < 0.15
        assert 0 < height < 2500
    # Two antennas never stand on each other.
    places = np.array([s.itrf_km for s in members])
    apart = np.linalg.norm(places[:, None] - places, axis=2) + np.eye(len(members))
    assert apart.min() > 0.03


def test_the_scheduler_gets_name_complex_and_agency() -> None:
    antenna = STATIONS["DSS-43"].antenna
    assert (antenna.name, antenna.complex, antenna.agency) == ("DSS-43", "Canberra", "NASA")


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


ANTENNA = """
[antennas.MINE]
site = "yeoju"
type = "esa-35m"
"""


def test_a_users_antenna_takes_what_it_lacks_from_type_then_site(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        ANTENNA + "latitude_deg = 10\nlongitude_deg = 20\nheight_m = 0\ndiameter_m = 13.0\n",
    )
    mine = load_stations(path)["MINE"]
    assert mine.diameter_m == 13.0
    assert mine.slew_deg_s == STATIONS["YEOJU"].slew_deg_s
    assert (mine.complex, mine.humidity) == ("Yeoju", 0.6)
    assert mine.geodetic == pytest.approx((10, 20, 0), abs=1e-6)
    assert set(STATIONS) < set(load_stations(path))


def test_a_known_antenna_may_be_moved(tmp_path: Path) -> None:
    path = write(
        tmp_path, "[antennas.DSS-14]\nlatitude_deg = 35\nlongitude_deg = -117\nheight_m = 900\n"
    )
    moved = load_stations(path)["DSS-14"]
    assert moved.geodetic[0] == pytest.approx(35)
    assert moved.diameter_m == 70


PLACE = "latitude_deg = 10\nlongitude_deg = 20\nheight_m = 0\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[antennas.X", "mine.toml: not TOML"),
        ("[stations.X]\na = 1", r"\[stations\]: one of sites, types, antennas"),
        (ANTENNA + "latitude_deg = 91\nlongitude_deg = 1\nheight_m = 1", "latitude_deg = 91: -90"),
        (ANTENNA, "either itrf_m"),
        (ANTENNA + "itrf_m = [1, 2, 3]", "not on the Earth's surface"),
        (ANTENNA + PLACE + "slew = 1", r"antennas.MINE.slew: not a key here .keys: complex"),
        (ANTENNA + PLACE + "slew_deg = 1", r"slew_deg: not a key here; slew_deg_s\?"),
        (ANTENNA + PLACE + "bands = ['Q']", "a list of S, X, K, Ka, optical"),
        (ANTENNA + PLACE + "elevation_deg = [20, 10]", "the first must be below the second"),
        (ANTENNA + PLACE + "wrap_deg = [-90, 90]", "360° or more of travel"),
        (ANTENNA + PLACE + "horizon = [[0, 5], [0, 6]]", "azimuths must ascend"),
        (ANTENNA + PLACE + "kind = 'optical'", "needs clear_sky"),
        (ANTENNA + PLACE + "setup_s = 1.5", "whole number"),
        (ANTENNA.replace("yeoju", "yoju") + PLACE, r"no such site; yeoju\?"),
        (ANTENNA.replace('site = "yeoju"\n', "") + PLACE, "site is missing"),
        ("[sites.new]\nhumidity = 60", "sites.new.humidity = 60: 0 to 1 is allowed"),
    ],
)
def test_mistakes_name_file_key_value_and_what_is_allowed(
    tmp_path: Path, text: str, why: str
) -> None:
    with pytest.raises(LocalError, match=why):
        load_stations(write(tmp_path, text))


def test_a_complex_names_all_of_its_antennas_once() -> None:
    names = [s.name for s in select_stations(STATIONS, ["DSS-43", "canberra"])]
    assert names[0] == "DSS-43"
    assert len(names) == len(set(names)) == 5
    with pytest.raises(LocalError, match="not known"):
        select_stations(STATIONS, ["DSS-99"])


def test_the_mask_is_the_highest_of_drive_terrain_and_what_is_asked() -> None:
    station = Station(
        name="X", site="x", itrf_km=STATIONS["YEOJU"].itrf_km, diameter_m=1, bands=("X",),
        elevation_deg=(6.0, 90.0), uplink_elevation_deg=10.0,
        horizon=((10.0, 0.0), (90.0, 20.0), (350.0, 0.0)),
    )  # fmt: skip

    def at(azimuth: float, **options: object) -> float:
        return float(np.interp(azimuth, *station.mask(refraction=False, **options)))  # type: ignore[arg-type]

    assert at(90.0) == 20
    assert at(50.0) == 10
    assert at(20.0) == 6
    assert at(0.0) == at(360.0) == 6
    assert at(20.0, uplink=True) == 10
    assert at(20.0, least_deg=15.0) == 15
    seen = station.mask(15.0)[1].min()
    assert 14.9 < seen < 15 - 0.05
    assert math.isclose(at(90.0, least_deg=15.0), 20)
