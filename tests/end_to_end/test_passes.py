"""The link of a running site is up when a pass is, and the site says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import icalendar
import pytest

from ground.config import prepare_run_directory
from ground.receive.capture import START, CaptureReader
from ground.scheduling.relay_plan import plan
from ground.scheduling.stations import load_stations, select_stations
from protocols.bus.pass_list import parse_pass_list
from protocols.timecodes.tai import tai_ns_from_utc_iso

L4 = [sys.executable, "-m", "ground.cli"]
S = 10**9
#: World seconds a wall second; the pass ends so many world seconds after the start.
SPEED, LEFT_S = 240.0, 4800


def l4(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*L4, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_nothing_is_received_after_the_pass_and_the_site_says_when_the_next_begins(
    tmp_path: Path,
) -> None:
    over = select_stations(load_stations(), ["YEOJU"])
    begin_ns = tai_ns_from_utc_iso("2026-11-23T01:00:00Z")
    los_ns = plan(begin_ns, over, None).schedule.tracks[0].off_ns
    run_dir = tmp_path / "run"
    # The clock of a run directory goes on: this one begins some minutes before the end of a pass.
    prepare_run_directory(run_dir, speed=SPEED, origin_tai_ns=los_ns - LEFT_S * S)
    options = ("--speed", str(SPEED), "--stations", "YEOJU", "--no-view")
    with subprocess.Popen(
        [*L4, "run", "--run-dir", str(run_dir), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as run:
        try:
            deadline = time.monotonic() + 120
            status: dict = {}
            while not (status.get("pass") and status["pass"]["now"] is None and status["link"]):
                assert run.poll() is None, run.stderr.read() if run.stderr else ""
                assert time.monotonic() < deadline, status
                time.sleep(1)
                got = l4("status", "--run-dir", str(run_dir), "--json").stdout
                status = json.loads(got) if got else {}
            # What arrived before the end is still on its way from the station to the disk, and the
            # station says once a second how it is.
            while not status["link"]["last_ert_ns"] or status["link"]["carrier"]:
                assert time.monotonic() < deadline, status
                time.sleep(1)
                status = json.loads(l4("status", "--run-dir", str(run_dir), "--json").stdout)
            assert status["link"]["state"] == "OK"
            assert status["pass"]["next"]["station"] == "Yeoju"
            before = (run_dir / "schedule" / "passes.json").read_bytes()
            killed = status["services"]["scheduling"]["pid"]
            os.kill(killed, signal.SIGKILL)
            while status["services"]["scheduling"]["pid"] == killed:
                assert time.monotonic() < deadline, status
                time.sleep(0.5)
                status = json.loads(l4("status", "--run-dir", str(run_dir), "--json").stdout)
            # What stations follow is still that; the service goes on from it.
            assert (run_dir / "schedule" / "passes.json").read_bytes() == before
            assert status["services"]["scheduling"]["counters"]["version"] == 1
            printed = l4("status", "--run-dir", str(run_dir)).stdout
            assert "NO PASS" in printed
            assert "next Yeoju" in printed
        finally:
            run.terminate()
            run.communicate(timeout=60)
    passes = parse_pass_list((run_dir / "schedule" / "passes.json").read_bytes())
    assert passes.passes[0].los_ns == los_ns
    received = [c.chunk.ert_ns for c in CaptureReader(run_dir / "capture").read(START)]
    assert len(received) > 100
    assert max(received) < los_ns
    calendar = icalendar.Calendar.from_ical((run_dir / "schedule" / "schedule.ics").read_bytes())
    assert len(calendar.events) == len(passes.passes)


@pytest.mark.parametrize("stations", ["YEOJU,NOSUCH", pytest.param("TWO", marks=pytest.mark.long)])
def test_a_station_that_is_not_known_is_named_at_once(tmp_path: Path, stations: str) -> None:
    got = l4("run", "--run-dir", str(tmp_path / "r"), "--stations", stations, "--no-view")
    assert got.returncode == 2
    assert f"station '{stations.split(',')[-1]}'" in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1


def test_without_passes_the_link_is_always_up(tmp_path: Path) -> None:
    got = l4(
        *("run", "--run-dir", str(tmp_path / "r"), "--no-passes", "--speed", "60"),
        *("--duration", "8", "--no-view", "--json"),
    )
    report = json.loads(got.stdout)
    assert report["pass"] is None
    parts = {
        "bus", "receive", "monitor", "archive", "command", "timing", "relay", "mission_centre",
        "console",
        "spacecraft_sim",
    }  # fmt: skip
    assert set(report["restarts"]) == parts
    assert not (tmp_path / "r" / "schedule").exists()
