"""`l4 run` as a user starts it: live data, clean end, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ground.config import PORTS, free_base_port

L4 = [sys.executable, "-m", "ground.cli"]


def processes_of(run_dir: Path) -> list[str]:
    found: list[str] = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(run_dir) in command and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(command)
    return found


def where_secrets_are(run_dir: Path, keys: Path) -> list[str]:
    """Argument lists and environments of all processes, and files of the run beside the keys, that
    hold a secret key."""
    files = sorted(keys.glob("*.key"))
    secrets = [
        key["secret"].encode() for file in files for key in json.loads(file.read_text())["keys"]
    ]
    assert len(secrets) > 12
    places = [path for path in run_dir.rglob("*") if path.is_file() and path not in files]
    assert run_dir / "log/monitor.log" in places
    if sys.platform == "linux":
        places += Path("/proc").glob("[0-9]*/cmdline")
        places += Path("/proc").glob("[0-9]*/environ")
    found: list[str] = []
    for place in places:
        with contextlib.suppress(OSError):
            octets = place.read_bytes()
            found += [str(place)] * any(secret in octets for secret in secrets)
    return found


def ports_in_use(base: int) -> list[int]:
    used: list[int] = []
    for port in range(base, base + PORTS):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                used.append(port)
    return used


def l4(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*L4, *arguments], capture_output=True, text=True, timeout=120, check=False, **more
    )


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_a_run_shows_live_data_and_leaves_nothing_behind(
    tmp_path: Path, end: signal.Signals
) -> None:
    """One of them with keys: all of its sockets are then authenticated and encrypted."""
    run_dir = tmp_path / "run"
    secured = end is signal.SIGINT
    if secured:
        assert l4("keys", "new", "--site", "--run-dir", str(run_dir)).returncode == 0
    base = free_base_port()
    options = ("--run-dir", str(run_dir), "--base-port", str(base), "--speed", "60", "--no-view")
    with subprocess.Popen(
        [*L4, "run", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            deadline = time.monotonic() + 90
            values: list[str] = []
            while not values:
                assert run.poll() is None, run.stderr.read() if run.stderr else ""
                assert time.monotonic() < deadline, "no parameter was archived"
                time.sleep(1)
                listed = l4("archive", "list", "--archive", str(run_dir), "--json")
                if listed.returncode == 0:
                    parameters = json.loads(listed.stdout)["parameters"]
                    values = [p["name"] for p in parameters if p["count"] > 1]
            assert "PWR_BUS_VOLTAGE" in values
            second = l4("run", *options)
            assert second.returncode == 2
            assert (
                f"in use by process {run.pid}" in second.stderr or "not all free" in second.stderr
            )
            status = json.loads(l4("status", "--run-dir", str(run_dir), "--json").stdout)
            assert status["problems"] == []
            assert status["link"]["state"] == "OK"
            assert set(status["services"]) == {
                "bus", "receive", "monitor", "archive", "scheduling", "command", "timing", "relay",
                "console",
                "mission_centre",
            }  # fmt: skip
            # Three complexes a third of the Earth apart, and Yeoju: some antenna always sees L4.
            assert status["pass"]["now"] is not None
            if secured:
                assert where_secrets_are(run_dir, run_dir / "keys") == []
        finally:
            run.send_signal(end)
            _, printed = run.communicate(timeout=60)
    if end is not signal.SIGKILL:
        assert run.returncode == 0, printed
    deadline = time.monotonic() + 20
    while processes_of(run_dir) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes_of(run_dir) == []
    assert ports_in_use(base) == []
    assert l4("archive", "check", "--archive", str(run_dir)).stdout == "no problem found\n"


def test_a_recording_goes_through_the_live_services(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "captures" / "l4_relay_nominal_aos.cadu"
    run_dir = tmp_path / "run"
    printed = l4(
        *("run", "--run-dir", str(run_dir), "--replay", str(golden), "--pace", "full"),
        *("--duration", "20", "--no-view", "--json"),
    )
    assert printed.returncode == 0, printed.stderr
    report = json.loads(printed.stdout)
    summary = json.loads(l4("replay", str(golden), "-m", "l4_relay", "--summary", "json").stdout)
    frames = sum(vc["frames"] for vc in report["link"]["virtual_channels"].values())
    assert frames == summary["frames"] == 108
    services = ("bus", "receive", "monitor", "archive", "console")
    assert report["restarts"] == dict.fromkeys(services, 0)
    wanted = sum(
        apid["count"]
        for vc in summary["vcs"].values()
        for number, apid in vc.get("apids", {}).items()
        if number != "2047"
    )
    wanted += summary["vcs"]["4"]["other_packets"]  # of the relay
    listed = l4("archive", "list", "--archive", str(run_dir), "--json")
    assert json.loads(listed.stdout)["counters"]["packets"] == wanted


def test_errors_name_their_cause_in_one_line(tmp_path: Path) -> None:
    for arguments, words in (
        (("replay", "no-such-file", "-m", "danuri"), "no-such-file: No such file or directory"),
        (("replay", "x", "-m", "atlantis"), "atlantis"),
        (("replay", "x", "--frames", "sdlc", "--frame-length", "9"), "tm, aos, uslp"),
        (("archive", "list", "--archive", str(tmp_path)), "no archive here"),
        (("watch", "--run-dir", str(tmp_path)), "no run here"),
        (("replay", "x", "--pace", "-1"), "a factor above 0"),
        (("run", "--replay", "no-such-file"), "no such file"),
        (("run", "--scenario", "nosuch", "--run-dir", "r", "--no-view"), "'nosuch'"),
    ):
        got = l4(*arguments, cwd=tmp_path)
        assert got.returncode == 2, arguments
        assert words in got.stderr
        assert len(got.stderr.strip().splitlines()) == 1, got.stderr


def test_a_link_that_failed_is_no_success(tmp_path: Path) -> None:
    """The seconds count from when `receive` works, and it says at once that there is none."""
    options = ("--no-passes", "--no-console", "--no-view", "--duration", "1")
    done = l4("run", "--radio", "file:///no/such.u8", *options, "--run-dir", "r", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    said = "l4: link downlink FAILED: /no/such.u8: No such file or directory"
    assert done.stderr.splitlines()[-1] == said


def test_a_replay_of_the_wrong_thing_does_not_look_like_success(tmp_path: Path) -> None:
    golden = Path(__file__).parents[1] / "captures" / "l4_relay_nominal_aos.cadu"
    good = l4("replay", str(golden), "-m", "l4_relay", "--input", "cadu", "--summary", "json")
    assert good.returncode == 0, good.stderr
    assert good.stderr == ""
    frames = tmp_path / "frames"
    frames.write_bytes(bytes.fromhex("53") + bytes(1114))
    wrong = l4("replay", str(frames), "--frames", "tm", "--frame-length", "1115")
    assert wrong.returncode == 1
    assert "1 of 1 frames" in wrong.stderr
    empty = tmp_path / "empty"
    empty.touch()
    nothing = l4("replay", str(empty), "-m", "danuri")
    assert nothing.returncode == 1
    assert "nothing was found" in nothing.stderr


def test_importing_protocols_compiles_nothing(tmp_path: Path) -> None:
    program = (
        "import importlib, pkgutil, protocols\n"
        "for m in pkgutil.walk_packages(protocols.__path__, 'protocols.'):\n"
        "    importlib.import_module(m.name)\n"
        "from numba.core import dispatcher\n"
        "import gc\n"
        "kernels = [o for o in gc.get_objects() if isinstance(o, dispatcher.Dispatcher)]\n"
        "ours = [k for k in kernels if k.py_func.__module__.startswith('protocols')]\n"
        "print(len(ours), sum(len(k.overloads) for k in ours))\n"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    got = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    kernels, compiled = map(int, got.stdout.split())
    assert kernels > 10
    assert compiled == 0
    assert list(tmp_path.rglob("*.nbi")) == []
