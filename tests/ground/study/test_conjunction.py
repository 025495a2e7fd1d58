"""`l4 study conjunction`: against what NASA announced, and against itself."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from ground.cli import main
from ground.scheduling.targets import target_named
from ground.study.conjunction import BANDS, Geometry, Outage, Study, study, total_days
from ground.study.conjunction_plot import draw
from protocols.dtn.contact_plan_formats import read_hdtn, read_ion
from protocols.errors import LocalError
from protocols.timecodes.tai import tai_ns_from_utc_iso

DAY = 86_400 * 10**9


def utc(text: str) -> int:
    return tai_ns_from_utc_iso(text)


@pytest.fixture(scope="module")
def found() -> Study:
    return study(
        utc("2026-01-01"), utc("2046-01-01"), target_named("l4-orbit"), list(BANDS.values())
    )


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2015-06-07", "2015-06-21"),
        ("2017-07-22", "2017-08-01"),
        ("2019-08-28", "2019-09-07"),
        ("2023-11-11", "2023-11-25"),
    ],
)
def test_nasas_command_moratoria_are_the_x_band_outages(first: str, last: str) -> None:
    # As announced, by the day; that of 2015 "the Sun within 2 degrees" (NASA/JPL).
    year = utc(f"{first[:4]}-01-01"), utc(f"{first[:4]}-12-31")
    geometry = Geometry(*year, target_named("l4"))
    (outage,) = geometry.outages(BANDS["x"]).direct
    assert abs(outage.start_ns - utc(f"{first}T12:00:00")) < DAY
    assert abs(outage.end_ns - utc(f"{last}T12:00:00")) < DAY
    (one,) = geometry.conjunctions()
    assert outage.start_ns < one.at_ns < outage.end_ns


def test_mars_goes_behind_the_disc_in_2023() -> None:
    # Of those from 2015 to 2026 it is the only one, "for about one day", "and within two solar
    # radii (0.5 deg) for about three days" (Morabito and Hastrup, IPN Progress Report 42-147).
    geometry = Geometry(utc("2015-01-01"), utc("2026-01-01"), target_named("l4"))
    (disc,) = geometry.outages(replace(BANDS["x"], near_deg=0.0)).direct
    assert utc("2023-11-17") < disc.start_ns < disc.end_ns < utc("2023-11-20")
    assert 0.5 < disc.days < 2.0
    (near,) = geometry.outages(replace(BANDS["x"], near_deg=0.5)).direct
    assert near.days == pytest.approx(3.0, abs=0.5)


def test_twenty_years(found: Study) -> None:
    assert len(found.conjunctions) == 10
    direct = {one.band.name: total_days(one.direct) for one in found.bands}
    assert direct["ka"] < direct["x"] < direct["optical"]
    # The relay's own conjunctions never meet the Earth's.
    assert all(one.around for one in found.bands)
    assert [one.both for one in found.bands] == [(), (), ()]
    for each in found.conjunctions:
        # 2.4 au straight; around, 1 au and √(1 + 1.5² + 1.5) au: 5 to 6 minutes more.
        assert 19 < each.owlt_s / 60 < 23
        assert 5 < (each.owlt_around_s - each.owlt_s) / 60 < 6.5


def test_a_relay_in_a_bad_place_leaves_what_both_ways_lose() -> None:
    # Mercury is behind the Sun itself now and then.
    one = study(utc("2026-01-01"), utc("2036-01-01"), target_named("mercury"), [BANDS["optical"]])
    (optical,) = one.bands
    assert 0 < total_days(optical.both) < total_days(optical.direct)
    for lost in optical.both:
        assert any(o.start_ns - 10**7 <= lost.start_ns < lost.end_ns <= o.end_ns + 10**7
                   for o in optical.direct)  # fmt: skip
        assert any(o.start_ns - 10**7 <= lost.start_ns < lost.end_ns <= o.end_ns + 10**7
                   for o in optical.around)  # fmt: skip


def test_an_outage_at_the_begin_is_known_to_be_cut(found: Study) -> None:
    optical = next(one for one in found.bands if one.band.name == "optical")
    assert [o.cut for o in optical.direct] == [True] + [False] * (len(optical.direct) - 1)
    assert optical.direct[0].start_ns == pytest.approx(utc("2026-01-01"), abs=10**6)


def test_limit_for_days_is_the_inverse_of_the_outage() -> None:
    geometry = Geometry(utc("2027-06-01"), utc("2032-01-01"), target_named("l4"))
    limit = geometry.limit_for(78.0)
    band = replace(BANDS["x"], near_deg=limit)
    longest = max(geometry.outages(band).direct, key=lambda o: o.days)
    assert longest.days == pytest.approx(78.0, abs=0.001)
    with pytest.raises(LocalError, match="no outage of this span"):
        geometry.limit_for(900.0)


def test_the_picture_is_a_png_of_any_study(found: Study) -> None:
    assert draw(found).startswith(b"\x89PNG")
    empty = study(utc("2027-01-01"), utc("2027-03-01"), target_named("l4"), [BANDS["ka"]])
    assert empty.conjunctions == ()
    assert draw(empty).startswith(b"\x89PNG")


class Command:
    """`l4 study conjunction` in this process; the rest of the command line is tested elsewhere."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """(exit status, output, errors)"""
        self._monkeypatch.setattr(sys, "argv", ["l4", "study", "conjunction", *words])
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        return code if isinstance(code, int) else 0, *self._capsys.readouterr()


@pytest.fixture
def l4(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def test_command_json_plot_and_plan_in_one_go(l4: Command, tmp_path: Path) -> None:
    picture, plan = tmp_path / "c.png", tmp_path / "c.ionrc"
    code, out, errors = l4(
        "--from", "2027", "--to", "2029", "--band", "x,ka", "--sep-limit", "x=3", "--json",
        "--plot", str(picture), "--plan", str(plan),
    )  # fmt: skip
    assert code == 0, errors
    report = json.loads(out)
    x, ka = report["bands"]
    assert (x["sep_limit_deg"], ka["sep_limit_deg"]) == (3.0, 1.0)
    assert (x["source"], "Acta" in ka["source"]) == ("stated by the user", True)
    assert x["gained_days"] == x["direct_days"] > 20
    (each,) = report["conjunctions"]
    assert each["days"]["x"]["direct"] == pytest.approx(x["direct_days"], abs=1e-3)
    assert picture.read_bytes().startswith(b"\x89PNG")
    contacts = read_ion(plan.read_text()).contacts
    mars_earth = [c for c in contacts if (c.source, c.dest) == (3, 1)]
    # What lies between its two contacts is the outage of X band, at the sender.
    (gap_ns,) = {b.start_ns - a.end_ns for a, b in pairwise(mars_earth)}
    assert gap_ns / DAY == pytest.approx(x["direct_days"], abs=0.001)
    assert len([c for c in contacts if (c.source, c.dest) == (2, 1)]) == 1


def test_command_table_csv_and_hdtn(l4: Command, tmp_path: Path) -> None:
    span = ("--from", "2028-01-01", "--to", "2028-07-01")
    plan = tmp_path / "plan.json"
    _, out, _ = l4(*span, "--band", "ka", "--plan", str(plan))
    assert "2028-03-21" in out
    assert "5.5 gained" in out
    assert read_hdtn(plan.read_bytes()).contacts
    rows = list(csv.DictReader(io.StringIO(l4(*span, "--band", "ka", "--csv")[1])))
    assert [(row["band"], row["path"]) for row in rows] == [("ka", "direct")]
    assert float(rows[0]["days"]) == pytest.approx(5.47, abs=0.01)


def test_command_says_what_is_wrong(l4: Command) -> None:
    for words, why in (
        (("--band", "s"), "--band 's': of x, ka, optical"),
        (("--sep-limit", "wide"), "DEGREES or BAND=DEGREES wanted"),
        (("--band", "x", "--sep-limit", "ka=2"), "ka is not one of --band x"),
        (("--sep-limit", "70"), "0 up to 60 wanted"),
        (("--from", "2060", "--to", "2061", "--relay", "l4"), "1900 … 2053"),
        (("--from", "2010"), "its states cover 2025-01-01"),
        (("--relay", "mars"), "neither the Sun nor Mars itself"),
        (("--json", "--csv"), "one of --json and --csv"),
    ):
        code, _, errors = l4(*words)
        assert code == 2, words
        assert why in errors
        assert len(errors.splitlines()) == 1


def test_outages_add_up() -> None:
    assert total_days([Outage(0, DAY), Outage(2 * DAY, 5 * DAY, cut=True)]) == 4.0


def test_the_readme_says_what_the_study_finds(found: Study) -> None:
    readme = " ".join((Path(__file__).parents[3] / "README.md").read_text().split())
    x, ka, optical = (total_days(one.direct) for one in found.bands)
    longest = max(o.days for one in found.bands for o in one.direct)
    assert (
        f"down for {x:.0f} days in X band, {ka:.0f} in Ka and {optical:.0f} by laser "
        f"(2°, 1° and 10° from the Sun), up to {longest:.0f} at a time; by way of L4, none"
    ) in readme
