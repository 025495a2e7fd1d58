"""`l4 schedule export`: formats by ending or name, errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import icalendar
import pytest

from ground.cli import main
from ground.schedule_files import load_problem, load_schedule
from ground.scheduling import export, relay_plan
from ground.scheduling.requests import request_file
from ground.scheduling.requests_file import write_requests
from ground.scheduling.stations import load_stations, select_stations
from protocols.bus.pass_list import parse_pass_list
from protocols.dtn.contact_plan_formats import read_ion
from protocols.errors import RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso

NOW_NS = tai_ns_from_utc_iso("2026-11-23T01:30:00Z")


def l4(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "ground.cli", "schedule", "export", *arguments],
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Arguments: requests and schedule, as a running site leaves them in its directory."""
    folder = tmp_path_factory.mktemp("schedule")
    stations = select_stations(load_stations(), relay_plan.STATIONS)
    publication = relay_plan.plan(NOW_NS, stations, None)
    requests, schedule = folder / "requests.json", folder / "schedule.json"
    requests.write_text(write_requests(request_file(publication.problem), "json"))
    export.write(publication, "satnet", schedule)
    return str(requests), "-s", str(schedule)


def test_a_schedule_of_a_run_goes_to_a_file_of_the_kind_its_name_says(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "week.ics"
    got = l4(*files, "-o", str(out), "--version", "7")
    assert got.returncode == 0, got.stderr
    assert b"iCalendar" in got.stdout
    said = json.loads(l4(*files, "-o", str(out), "--version", "7", "--json").stdout)
    tracks = len(json.loads(Path(files[2]).read_bytes()))
    octets = out.stat().st_size
    assert said == {"file": str(out), "format": "ics", "tracks": tracks, "octets": octets}
    calendar = icalendar.Calendar.from_ical(out.read_bytes())
    assert {event["SEQUENCE"] for event in calendar.events} == {7}
    assert len(calendar.events) == len(json.loads(Path(files[2]).read_bytes()))


def test_a_simple_schedule_is_read_wherever_a_schedule_is_wanted(
    files: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "week.xml"
    assert l4(*files, "-o", str(out)).returncode == 0
    problem = load_problem(files[0], "", None)
    assert load_schedule(problem, out) == load_schedule(problem, Path(files[2]))
    (tmp_path / "no.xml").write_text("[]")
    with pytest.raises(RemoteError, match="simple schedule: "):
        load_schedule(problem, tmp_path / "no.xml")


def test_light_times_are_given_or_computed(files: tuple[str, ...]) -> None:
    given = parse_pass_list(l4(*files, "-f", "passes", "--light-time", "L4 relay=500.5").stdout)
    assert {p.owlt_aos_ns for p in given.passes} == {500_500_000_000}
    computed = parse_pass_list(l4(*files, "-f", "passes", "--target", "L4 relay=l4").stdout)
    assert all(492e9 < p.owlt_aos_ns < 493e9 for p in computed.passes)
    # A transmitter needs more elevation than a receiver: it may begin later and must end sooner.
    home = next(p for p in computed.passes if p.station == "Yeoju")
    assert home.uplink_from_ns - home.aos_ns > 600e9
    assert home.los_ns - home.uplink_to_ns > 600e9
    plan = read_ion(
        l4(
            *files, "-f", "contact-plan", "--light-time", "60", "--node", "L4 relay=9"
        ).stdout.decode()
    )
    assert set(plan.owlts_ns()) == {60_000_000_000}
    assert all(9 in (c.source, c.dest) for c in plan.contacts)


def test_wrong_arguments_are_named_in_one_line(
    files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (("-o", "x.pdf"), "x.pdf: the ending does not say the format"),
        (("-f", "pdf"), "format 'pdf'"),
        (("-f", "svg", "--view", "station"), "view 'station': antenna or mission"),
        (("-f", "hdtn"), '--light-time "L4 relay=SECONDS"'),
        (("-f", "hdtn", "--light-time", "L5=3"), "mission 'L5' is not one of"),
        (("-f", "hdtn", "--light-time", "L4 relay=-1"), "0..100000 s allowed"),
        (("-f", "hdtn", "--node", "L4 relay"), "--node 'L4 relay': NAME=VALUE"),
        (("-f", "hdtn", "--node", "L4 relay=x"), "'x' is no whole number"),
        (("-f", "csv", "--status", "MAYBE"), "--status 'MAYBE'"),
    ):
        monkeypatch.setattr(sys, "argv", ["l4", "schedule", "export", *files, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2, arguments
        said = capsys.readouterr().err
        assert words in said
        assert len(said.strip().splitlines()) == 1, said
