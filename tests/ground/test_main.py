"""`python -m ground SERVICE`: how it starts, refuses, and ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ground.config import free_base_port, prepare_run_directory
from ground.ports import Bus
from ground.supervisor import EXIT_WITH_STDIN
from ground.wiring import open_viewer
from protocols.bus.messages import ServiceState, StatusMessage, parse

ROOT = Path(__file__).parents[2]


def start(run_dir: Path, service: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ground", service, "--run-dir", str(run_dir)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def wait_for_status(bus: Bus, service: str, state: ServiceState) -> StatusMessage:
    for _ in range(300):
        for message in bus.receive(0.1):
            status = parse(StatusMessage, message.body)
            if (status.service, status.state) == (service, state):
                return status
    raise AssertionError(f"{service} never said {state}")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "standard input"])
def test_a_service_ends_cleanly_when_told(tmp_path: Path, how: str) -> None:
    settings = prepare_run_directory(tmp_path, base_port=free_base_port())
    asked = {EXIT_WITH_STDIN: "1"} if how == "standard input" else {}
    process = start(tmp_path, "bus", **asked)
    viewer = open_viewer(settings, "viewer", ["status"])
    try:
        wait_for_status(viewer, "bus", ServiceState.RUNNING)
    finally:
        viewer.close()
    if how == "standard input":
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
    else:
        process.send_signal(signal.Signals[how])
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    # Its log, and nothing that went wrong.
    assert [line for line in errors.splitlines() if " info " not in line] == []


def test_systemd_is_told_of_readiness_turns_and_the_end(tmp_path: Path) -> None:
    """As sd_notify(3) says it; with an address in the file system, as systemd gives one."""
    prepare_run_directory(tmp_path, base_port=free_base_port())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = str(tmp_path / "notify")
        manager.bind(address)
        manager.settimeout(30)
        process = start(tmp_path, "bus", NOTIFY_SOCKET=address)
        first = manager.recv(4096).decode().splitlines()
        assert first == ["WATCHDOG=1", "READY=1", "STATUS=running"]
        assert manager.recv(4096) == b"WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)
        assert "STOPPING=1" in manager.recv(4096).decode().splitlines()


def test_standard_input_means_nothing_unless_asked_for(tmp_path: Path) -> None:
    settings = prepare_run_directory(tmp_path, base_port=free_base_port())
    process = start(tmp_path, "bus")
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    viewer = open_viewer(settings, "viewer", ["status"])
    try:
        first = wait_for_status(viewer, "bus", ServiceState.RUNNING)
        assert wait_for_status(viewer, "bus", ServiceState.RUNNING).pid == first.pid
    finally:
        viewer.close()
        process.terminate()
        process.communicate(timeout=20)


@pytest.mark.parametrize(
    ("toml", "service", "named"),
    [
        ("base_port = 80\n", "bus", "base_port 80"),
        ('mission = "nowhere"\n', "receive", "nowhere"),
        ("nonsense", "monitor", "run.toml"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, toml: str, service: str, named: str) -> None:
    (tmp_path / "run.toml").write_text(toml)
    process = start(tmp_path, service)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert named in errors
    assert len(errors.splitlines()) == 1
