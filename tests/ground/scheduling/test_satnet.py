"""SatNet files there and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ground.scheduling.model import Schedule
from ground.scheduling.satnet import (
    read_problem,
    read_request,
    read_schedule,
    week_horizon,
    write_problem,
    write_schedule,
)
from protocols.errors import LocalError, RemoteError
from protocols.timecodes.tai import tai_ns_from_utc_iso

MONDAY_S = 1520208000  # 2018-03-05T00:00:00Z, ISO week 10
ROW = {
    "subject": 521,
    "user": "521_0",
    "duration": 8.3,
    "duration_min": 6.6,
    "resources": [["DSS-34"], ["DSS-36", "DSS-35"]],
    "track_id": "one",
    "setup_time": 60,
    "teardown_time": 15,
    "time_window_start": MONDAY_S,
    "time_window_end": MONDAY_S + 180000,
    "resource_vp_dict": {
        "DSS-34": [{"RISE": 1, "SET": 2, "TRX ON": MONDAY_S + 7, "TRX OFF": MONDAY_S + 50000}],
        "DSS-36_DSS-35": [
            {"RISE": 1, "SET": 2, "TRX ON": MONDAY_S + 90000, "TRX OFF": MONDAY_S + 150000},
            {"RISE": 1, "SET": 2, "TRX ON": MONDAY_S, "TRX OFF": MONDAY_S + 40000},
        ],
    },
}
MAINTENANCE = f"""week,year,starttime,endtime,antenna
10.0,2018,{MONDAY_S - 100},{MONDAY_S + 3600},DSS-34
10.0,2018,{MONDAY_S + 700000},{MONDAY_S + 700100},DSS-34
10.0,2018,{MONDAY_S},{MONDAY_S + 3600},DSS-99
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    problems, maintenance = tmp_path / "problems.json", tmp_path / "maintenance.csv"
    problems.write_text(json.dumps({"W10_2018": [ROW]}))
    maintenance.write_text(MAINTENANCE)
    return problems, maintenance


def test_reads_what_the_fields_mean(files: tuple[Path, Path]) -> None:
    problem = read_problem(*files, "W10_2018")
    assert problem.horizon.start_ns == tai_ns_from_utc_iso("2018-03-05T00:00:00Z")
    assert problem.horizon.end_ns == tai_ns_from_utc_iso("2018-03-12T12:00:00Z")
    (request,) = problem.requests
    assert (request.duration_s, request.minimum_s) == (29880, 23760)
    assert (request.setup_s, request.teardown_s) == (3600, 900)
    assert (request.segments, request.segment_minimum_s) == (2, 14400)
    assert [c.name for c in request.choices] == ["DSS-34", "DSS-35_DSS-36"]
    first = request.choices[0].view_periods[0]
    assert first.start_ns == tai_ns_from_utc_iso("2018-03-05T00:00:07Z")
    # Maintenance of other antennas and other weeks is left out, the rest cut to the week.
    (commitment,) = problem.commitments
    assert commitment.interval.start_ns == problem.horizon.start_ns
    assert commitment.interval.length_s == 3600


def test_view_periods_bind_whatever_the_window_says() -> None:
    begin, end = MONDAY_S + 90000, MONDAY_S + 150000
    views = {"DSS-34": [{"TRX ON": begin, "TRX OFF": end}, {"TRX ON": end, "TRX OFF": end}]}
    late = {"time_window_start": begin + 600, "resource_vp_dict": views}
    request = read_request({**ROW, **late})
    (period,) = request.choices[0].view_periods
    assert period.length_s == 60000
    assert request.window is not None
    assert request.window.start_ns == period.start_ns


def test_no_minimum_is_a_second() -> None:
    assert read_request({**ROW, "duration_min": 0.0}).minimum_s == 1


def test_real_weeks_round_trip(shared: Path) -> None:
    folder = shared / "satnet"
    for week in ("W10_2018", "W20_2018", "W50_2018"):
        problem = read_problem(folder / "problems.json", folder / "maintenance.csv", week)
        rows = json.loads(json.dumps(write_problem(problem)))
        assert tuple(read_request(row) for row in rows) == problem.requests


def test_schedule_round_trip(files: tuple[Path, Path]) -> None:
    problem = read_problem(*files, "W10_2018")
    rows = [
        {
            "RESOURCE": antenna,
            "SC": 521,
            "START_TIME": MONDAY_S + 6400,
            "TRACKING_ON": MONDAY_S + 10000,
            "TRACKING_OFF": MONDAY_S + 39880,
            "END_TIME": MONDAY_S + 40780,
            "TRACK_ID": "one",
        }
        for antenna in ("DSS-35", "DSS-36")
    ]
    schedule = read_schedule(problem, rows)
    assert len(schedule.tracks) == 1
    assert schedule.tracks[0].antennas == ("DSS-35", "DSS-36")
    assert write_schedule(problem, schedule) == rows
    assert write_schedule(problem, Schedule()) == []


def test_what_is_wrong_is_named(files: tuple[Path, Path], tmp_path: Path) -> None:
    problems, maintenance = files
    with pytest.raises(LocalError, match=r"W30_2018.* holds W10_2018"):
        read_problem(problems, maintenance, "W30_2018")
    with pytest.raises(LocalError, match="like W10_2018"):
        week_horizon("week 10")
    with pytest.raises(LocalError, match="W60_2018"):
        week_horizon("W60_2018")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps({"W10_2018": [{**ROW, "duration": 0}]}))
    with pytest.raises(RemoteError, match=r"broken\.json, W10_2018: request one: minimum_s"):
        read_problem(broken, None, "W10_2018")
    broken.write_text("{")
    with pytest.raises(RemoteError, match="not JSON"):
        read_problem(broken, None, "W10_2018")
    broken.write_text(json.dumps({"W10_2018": [{"track_id": "x"}]}))
    with pytest.raises(RemoteError, match="not a SatNet request"):
        read_problem(broken, None, "W10_2018")
    maintenance.write_text("starttime,endtime,antenna\n1,x,DSS-34\n")
    with pytest.raises(RemoteError, match=r"maintenance.csv:2"):
        read_problem(problems, maintenance, "W10_2018")
    problem = read_problem(problems, None, "W10_2018")
    with pytest.raises(RemoteError, match="schedule row 0"):
        read_schedule(problem, [{"TRACK_ID": "one"}])
