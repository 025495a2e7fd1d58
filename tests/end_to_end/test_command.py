"""Commands through the real processes; the command service, `receive` and the bus are killed while
some are under way.  Each is executed once, and each shows its way to the end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ground.command.client import CommandClient
from ground.config import (
    BUS,
    COMMAND,
    MONITOR,
    RECEIVE,
    free_base_port,
    prepare_run_directory,
)
from protocols.identifiers import Topic
from tests.end_to_end.site import PATIENCE_S, ROOT, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    settings = prepare_run_directory(
        tmp_path, speed=60, base_port=free_base_port(), snapshot_octets=1 << 20, command=True
    )
    site = Site(settings, Topic.COMMANDS)
    yield site
    site.close()


def client(site: Site, actor: str) -> CommandClient:
    return CommandClient(site.settings.command_endpoint, actor=actor, timeout_s=PATIENCE_S)


def l4(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    run_dir = ("--run-dir", str(site.settings.run_dir))
    command = [sys.executable, "-m", "ground.cli", "command", *arguments, *run_dir]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S)


@pytest.mark.timeout(600)
def test_commands_are_executed_once_whoever_is_killed(site: Site) -> None:
    for name in (BUS, RECEIVE, MONITOR, COMMAND):
        site.start(name)
    site.start_spacecraft(60)
    with client(site, "ann") as ann, client(site, "bob") as bob:

        def link() -> dict[str, Any]:
            return ann.status()["link"]

        site.wait_for(lambda: link()["state"] == "ACTIVE")
        numbers: list[int] = []

        def send(command: str, **arguments: Any) -> None:
            number = ann.add(command, arguments)["number"]
            if ann.arm(number)["hazard"]:
                bob.approve(number)
            ann.send(number)
            numbers.append(number)

        for victim in (COMMAND, RECEIVE, BUS, COMMAND):
            send("TEST_CONNECTION")
            send("TRANSPONDER_COHERENT", SWITCH="ON")
            site.kill(victim)
            send_now = victim != COMMAND
            if send_now:
                send("TEST_CONNECTION")
            site.start(victim)
        send("ARRAY_TURN", ANGLE=1.0)
        shown = [ann.show(number) for number in numbers]

        def ended() -> bool:
            nonlocal shown
            shown = [ann.show(number) for number in numbers]
            return all(one["state"] in ("completed", "failed", "held") for one in shown)

        site.wait_for(ended)
        ends = [(one["state"], one["reason"]) for one in shown]
        assert ends == [("completed", "")] * len(numbers), [one["history"] for one in shown]
        # FARM-1 has counted: as many frames as commands, none twice.
        assert link()["clcw"]["report_value"] == len(numbers)
        assert {one["sequence_count"] for one in shown} == set(range(1, len(numbers) + 1))

    # The same by the command line.
    added = json.loads(l4(site, "add", "test_connection", "--as", "cli", "--json").stdout)
    number = str(added["number"])
    assert json.loads(l4(site, "arm", number, "--as", "cli", "--json").stdout)["armed_by"] == "cli"
    done = l4(site, "send", number, "--as", "cli", "--follow")
    assert done.returncode == 0, done.stderr
    assert "completed" in done.stdout
    refused = l4(site, "add", "ARRAY_TURN", "ANGLE=123")
    assert refused.returncode == 2
    assert refused.stderr == ("l4: command ARRAY_TURN: argument ANGLE: 123; -90..90 deg allowed\n")
    for name in ("spacecraft", COMMAND, MONITOR, RECEIVE, BUS):
        assert site.end(name) == 0, site.logs()
