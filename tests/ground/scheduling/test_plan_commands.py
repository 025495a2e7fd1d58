"""`l4 schedule solve … publish` on the example week and on a real one."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ground.cli import app
from ground.schedule_files import save_schedule
from ground.scheduling.requests_antennas import AntennaRow
from ground.scheduling.requests_file import (
    CommitmentRow,
    GapRow,
    Header,
    MissionRow,
    QuotaRow,
    RequestRow,
    TrackRow,
)
from ground.scheduling.requests_views import read_problem
from ground.scheduling.solve import solve
from protocols.errors import LocalError, RemoteError

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "ground/scheduling/examples/week.toml"
Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `l4 schedule …` in an empty folder with week.toml; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "week.toml").write_text(EXAMPLE.read_text())

    def call(*words: str, status: int = 0) -> str:
        result = CliRunner().invoke(app, ["schedule", *words], catch_exceptions=True)
        if isinstance(result.exception, LocalError | RemoteError):
            raise result.exception
        assert result.exit_code == status, (result.output, result.exception)
        return result.stdout

    return call


@pytest.fixture(scope="module")
def solved_week(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The example's best schedule, found once for all who only need one."""
    problem = read_problem(EXAMPLE)
    out = tmp_path_factory.mktemp("week") / "week.json"
    save_schedule(problem, solve(problem, steps=2000).schedule, out)
    return out.read_text()


@pytest.fixture
def begun(run: Run, solved_week: str, tmp_path: Path) -> None:
    """A store with week.toml and week.json in it."""
    (tmp_path / "week.json").write_text(solved_week)
    run("begin", "week.toml", "-s", "week.json")


def test_from_requests_to_a_published_schedule(run: Run, tmp_path: Path) -> None:
    solved = json.loads(run("solve", "week.toml", "--steps", "20000", "-o", "week.json", "--json"))
    assert solved["proven_optimal"]
    checked = json.loads(run("check", "week.toml", "-s", "week.json", "--json"))
    assert checked["valid"]
    assert checked["late_slews"] == solved["late_slews"] == []
    explained = json.loads(run("explain", "week.toml", "-s", "week.json", "--json"))
    assert {"relay-daily.3"} <= {e["request"] for e in explained}
    assert "bearing inspection" in run(
        "explain", "week.toml", "-s", "week.json", "-r", "relay-daily.3"
    )
    run("begin", "week.toml", "-s", "week.json", "--actor", "Ada")
    noon = ("--lost", "DSS-25", "--from", "2026-12-10T12:00:00Z")
    replanned = json.loads(
        run("replan", "published", *noon, "--branch", "lost", "--actor", "Ada", "--json")
    )
    assert replanned["unmoved"] >= 0.9
    assert json.loads(run("diff", "published", "lost", "--json")) == replanned["difference"]
    run("lock", "lost", "perijove", "--why", "no second chance")
    published = json.loads(
        run("publish", "lost", "--why", "gearbox", "--frozen", "2026-12-10T12:00:00Z", "--json")
    )
    assert published["version"] == 4
    assert published["difference"]["count"] == replanned["difference"]["count"]
    log = json.loads(run("log", "--json"))
    assert log["versions"][0]["why"] == "gearbox"
    assert log["branches"] == {"lost": 4, "published": 4}
    assert "no second chance" in run("audit", "-r", "perijove")
    assert "nothing was ever done to request ddor" in run("audit", "-r", "ddor")
    # A calendar's events go by the version that was published.
    assert "SEQUENCE:4" in run("export", "published", "-f", "ics")
    run("conflicts")


@pytest.mark.usefixtures("begun")
def test_an_agency_edits_its_own(run: Run, tmp_path: Path) -> None:
    kim = ("--actor", "Kim", "--agency", "KASA")
    shown = run("show", *kim, "--requests", "mine.toml", "-o", "mine.json")
    assert "perijove" not in shown
    mine = tmp_path / "mine.toml"
    assert "perijove" not in mine.read_text()
    mine.write_text(mine.read_text().replace('minimum = "6h"', 'minimum = "5h"'))
    run("branch", "ours", *kim)
    run("solve", "mine.toml", "--start", "mine.json", "--steps", "10", "-o", "mine.json")
    mine_in = ("commit", "ours", "--requests", "mine.toml", "-s", "mine.json", *kim)
    said = run(*mine_in, "--why", "less")
    assert "request relay-daily.1 (Relay, KASA): edited: minimum_s" in said
    # The files are still of version 1: what Kim has committed since would be undone.
    with pytest.raises(LocalError, match="commit ours … --parent 2"):
        run(*mine_in)
    run(*mine_in, "--parent", "2")
    run("publish", "ours", "--actor", "Ada", "--why", "agreed", "--frozen", "2026-12-01")
    edits = [e for e in json.loads(run("audit", "--json")) if e["action"] == "request"]
    assert {e["detail"] for e in edits} == {"edited: minimum_s"}
    assert {e["agency"] for e in edits} == {"KASA"}
    run("branch", "theirs", *kim)
    with pytest.raises(LocalError, match="is for mission Mars orbiter of NASA"):
        run("commit", "theirs", "--requests", "week.toml", "-s", "week.json", *kim)
    # Kim forgets --agency: what she cannot see in her file is not hers to take away.
    forgot = ("commit", "theirs", "--requests", "mine.toml", "-s", "mine.json", "--actor", "Kim")
    with pytest.raises(LocalError, match="no request of Jupiter orbiter, Mars lander"):
        run(*forgot)
    gone = ("--drop", "Jupiter orbiter", "--drop", "Mars lander", "--drop", "Mars orbiter")
    with pytest.raises(LocalError, match="made from version 1"):
        run(*forgot, *gone)
    run(*forgot, *gone, "--parent", "4")
    assert "dropped" in run("audit")
    assert "{" not in run("audit")


@pytest.mark.usefixtures("begun")
def test_files_of_two_versions_do_not_go_together(run: Run) -> None:
    run("replan", "published", "--branch", "try")
    run("show", "published", "--requests", "one.toml")
    run("show", "try", "-o", "two.json")
    with pytest.raises(LocalError, match=r"one.toml of version 1, two.json of version 2: --parent"):
        run("commit", "try", "--requests", "one.toml", "-s", "two.json")
    with pytest.raises(LocalError, match="--branch no: of a branch or version"):
        run("replan", "week.toml", "-s", "week.json", "--branch", "no")


@pytest.mark.usefixtures("begun")
def test_the_horizon_rolls(run: Run, tmp_path: Path) -> None:
    now = "2026-12-10T00:00:00Z"
    text = (tmp_path / "week.toml").read_text()
    (tmp_path / "next.toml").write_text(text.replace("end = 2026-12-14", "end = 2026-12-16", 1))
    rolled = json.loads(run("roll", "next", "next.toml", "--now", now, "--json"))
    assert rolled["difference"]["count"] == {}
    assert "horizon" in rolled["difference"]["parts"]
    run("solve", "next", "--steps", "2000", "-o", "next.json")
    run("commit", "next", "-s", "next.json")
    run("publish", "next", "--why", "two days more", "--frozen", now)
    with pytest.raises(LocalError, match="network scheduler's to roll"):
        run("roll", "again", "next.toml", "--agency", "KASA")


@pytest.mark.usefixtures("begun")
def test_an_agency_replans_its_own(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("L4_AGENCY", "KASA")
    noon = ("--lost", "DSS-25", "--from", "2026-12-10T12:00:00Z")
    own = json.loads(run("replan", "published", *noon, "--branch", "lost", "--json"))
    assert {c["agency"] for c in own["difference"]["changes"]} <= {"KASA"}
    assert {e["agency"] for e in json.loads(run("audit", "--json"))[:-1]} == {"KASA"}
    with pytest.raises(LocalError, match="'perijove' is not one of"):
        run("explain", "published", "-r", "perijove")
    assert "perijove gets all" in run("explain", "published", "-r", "perijove", "--agency", "NASA")


def test_a_real_week_through_the_commands(shared: Path, run: Run) -> None:
    folder = shared / "satnet"
    week = ("--week", "W10_2018", "--maintenance", str(folder / "maintenance.csv"))
    problems = str(folder / "problems.json")
    run("solve", problems, *week, "--steps", "500", "-o", "a.json")
    noon = ("--lost", "DSS-63", "--from", "2018-03-07T12:00:00Z")
    report = json.loads(
        run("replan", problems, *week, "-s", "a.json", *noon, "-o", "b.json", "--json")
    )
    assert report["unmoved"] >= 0.95
    assert report["broken"]
    difference = json.loads(
        run("diff", "a.json", "b.json", "--requests", problems, *week, "--json")
    )
    # The file of requests does not know that the antenna was lost.
    assert difference | {"parts": ["commitments"]} == report["difference"]
    assert "VALID" in run("check", problems, *week, "-s", "b.json")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("solve", "no.toml"), "'no.toml': no such file, and no store"),
        (("solve", "week.toml", "--objective", "joy"), "--objective 'joy': hours, satisfied"),
        (("solve", "week.toml", "--objective", "hours=x"), "u_max"),
        (("solve", "week.toml", "--objective", "hours,joy"), "in their order, as satisfied,hours"),
        (("solve", "week.toml", "--objective", "change,hours"), "has nothing published"),
        (("solve", "week.toml", "--seconds", "1", "--steps", "1"), "one of the two"),
        (("check", "week.toml"), "--schedule"),
        (("check", "week.toml", "-s", "week.toml"), "week.toml: not JSON"),
        (("replan", "week.toml", "-s", "e.json", "--lost", "DSS-25"), "--from UTC wanted"),
        (
            ("replan", "week.toml", "-s", "e.json", "--lost", "X", "--from", "2026-12-09"),
            "antenna X is not one of week-50",
        ),
        (
            ("replan", "week.toml", "-s", "e.json", "--lost", "DSS-25", "--from", "noon"),
            "--from: 'noon' is not a UTC time",
        ),
        (("explain", "week.toml", "-s", "e.json", "-r", "z"), "'z' is not one of week-50"),
        (("solve", "week.toml", "--maintenance", "x.csv"), "only with --week"),
    ],
)
def test_what_is_refused_is_named(
    run: Run, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    (tmp_path / "e.json").write_text("[]")
    with pytest.raises((LocalError, RemoteError), match=re.escape(message)):
        run(*words)


def test_the_howto_names_every_key() -> None:
    text = (ROOT / "docs/howto/plan-a-week.md").read_text()
    rows = (
        Header, MissionRow, RequestRow, AntennaRow, CommitmentRow, QuotaRow, GapRow, TrackRow
    )  # fmt: skip
    names = {field.name for row in rows for field in dataclasses.fields(row)}
    assert {n for n in names if f"`{n}`" not in text and f"[{n}]" not in text} == set()
