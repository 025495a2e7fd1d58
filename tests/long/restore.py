"""A site is backed up, goes on, loses everything, is restored, and goes on with the spacecraft that
it had.

    make trial-restore

Real processes, the real simulator.  Commands of both services, procedures of link security, files
and bundles are sent before the backup, between backup and loss, and after the restore.  Every
command is executed once, nothing is refused on board, and no number of a request, a transaction, a
packet or a bundle means two things.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ground.adapters.journal import FileJournal
from ground.command.client import CommandClient
from ground.command.reports import verifications
from ground.config import (
    BUS,
    COMMAND,
    MISSION_CENTRE,
    MONITOR,
    RECEIVE,
    RELAY,
    free_base_port,
    load_settings,
    prepare_run_directory,
)
from ground.doctor.finding import Level
from ground.doctor.site import restored as examined
from ground.recovery.backup import back_up, restore
from ground.relay.client import BundleClient
from protocols.bus.messages import PacketsMessage, parse
from protocols.bus.replay import parse_record
from protocols.identifiers import BundleNode, Topic
from protocols.telecommand.verification import Stage
from tests.end_to_end.site import PATIENCE_S, Site

SERVICES = (BUS, RECEIVE, MONITOR, MISSION_CENTRE, RELAY, COMMAND)
SOURCE = f"ipn:{int(BundleNode.SITE)}.7"
LIGHT_TIME_S = 30.0


@dataclass
class Sent:
    """What was given out in one part of the trial; counts: sequence counts of packets."""

    requests: list[int] = field(default_factory=list[int])
    counts: list[int] = field(default_factory=list[int])
    files: list[str] = field(default_factory=list[str])
    bundles: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])


def send(site: Site, local: Path, label: str) -> Sent:
    """Five commands, one of type BD, one procedure, a file, three bundles; all to their end."""
    sent = Sent()
    endpoint, relay = site.settings.command_endpoint, site.settings.relay_applications
    with (
        CommandClient(endpoint, actor="ann", timeout_s=PATIENCE_S) as ann,
        CommandClient(endpoint, actor="bob", timeout_s=PATIENCE_S) as bob,
    ):

        def go(number: int) -> None:
            if ann.arm(number)["hazard"]:
                bob.approve(number)
            ann.send(number)
            sent.requests.append(number)

        for _ in range(5):
            go(ann.add("TEST_CONNECTION", {})["number"])
        go(ann.add("TEST_CONNECTION", {}, expedited=True)["number"])
        go(ann.security("ping")["number"])
        local.write_bytes(label.encode() * 200)
        sent.files.append(ann.call("file-put", path=str(local), name=f"trial/{label}")["id"])

        def ended() -> bool:
            states = [ann.show(number)["state"] for number in sent.requests]
            files = {one["id"]: one["state"] for one in ann.call("file-list")}
            bad = {"failed", "held", "unknown"} & {*states, *files.values()}
            assert not bad, [ann.show(number) for number in sent.requests]
            return set(states) == {"completed"} and files[sent.files[0]] == "complete"

        site.wait_for(ended)
        sent.counts = [ann.show(number)["sequence_count"] for number in sent.requests]
    with BundleClient(relay, timeout_s=PATIENCE_S) as client:
        client.register(SOURCE)
        for number in range(3):
            # Of the node's own number, and of the application's.
            for source in ("", SOURCE):
                done = client.send(
                    f"ipn:{int(BundleNode.MISSION_CENTRE)}.1",
                    f"{label} {number} {source}".encode(),
                    source=source,
                )
                sent.bundles.append((len(source), *done["creation"]))
    return sent


def link(site: Site) -> dict[str, Any]:
    with CommandClient(site.settings.command_endpoint, actor="eve", timeout_s=PATIENCE_S) as asked:
        return asked.status()


def trial(directory: Path) -> list[str]:
    """Sentences; empty: all is well."""
    run, backup, scenario = directory / "run", directory / "backup", "nominal"
    settings = prepare_run_directory(
        run, speed=60, base_port=free_base_port(), snapshot_octets=1 << 20, command=True, relay=True
    )
    site = Site(settings)
    try:
        for name in SERVICES:
            site.start(name)
        site.start_spacecraft(LIGHT_TIME_S, scenario)
        site.wait_for(lambda: link(site)["link"]["state"] == "ACTIVE")
        before = send(site, directory / "file", "before")
        with CommandClient(settings.command_endpoint, actor="ann", timeout_s=PATIENCE_S) as ann:
            left = ann.add("TEST_CONNECTION", {})["number"]
        back_up(settings, backup)
        lost = send(site, directory / "file", "lost")
        for name in reversed(SERVICES):
            site.kill(name)
        # The spacecraft and its station know nothing of it; their log is ours to keep.
        log = (run / "spacecraft.log").read_bytes()
        clock = (run / "clock.json").read_bytes()
        shutil.rmtree(run)
        restore(backup, run)
        assert (run / "clock.json").read_bytes() == clock
        (run / "spacecraft.log").write_bytes(log)
        site.settings = load_settings(run)
        for name in SERVICES:
            site.start(name)
        began = time.monotonic()
        site.wait_for(lambda: "not in step" in link(site)["restored"])
        problems = [
            f"doctor says {one.text}" for one in examined(site.settings) if one.level is Level.OK
        ]
        site.wait_for(lambda: not link(site)["restored"])
        print(f"in step after {time.monotonic() - began:.0f} s of the wall, 60 times as much there")
        after = send(site, directory / "file", "after")
        with CommandClient(settings.command_endpoint, actor="ann", timeout_s=PATIENCE_S) as ann:
            found, listed = ann.show(left), ann.list(last=100)
        if found["state"] != "queued" or "may have been sent" not in found["reason"]:
            problems.append(f"request {left} was on the stack: {found['state']} {found['reason']}")
        for what in ("requests", "counts", "files", "bundles"):
            given = Counter(one for part in (before, lost, after) for one in getattr(part, what))
            twice = [one for one, times in given.items() if times > 1]
            if twice:
                problems.append(f"{what} given out twice: {twice}")
        unknown = [one for one in listed if one["state"] in ("unknown", "held", "failed")]
        problems += [f"request {one['number']} is {one['state']}" for one in unknown]
        for name in reversed((*SERVICES, "spacecraft")):
            site.end(name)
        problems += _on_board(site, before, lost, after)
    finally:
        site.close()
    return problems


def _on_board(site: Site, before: Sent, lost: Sent, after: Sent) -> list[str]:
    """By the spacecraft's reports in the journal, which goes on where the backup ends."""
    accepted: set[tuple[int, int]] = set()
    refused: list[int] = []
    journal = FileJournal(site.settings.journal_dir(RECEIVE, Topic.PACKETS))
    for record in journal.read(0, max_octets=1 << 40):
        message = parse(PacketsMessage, parse_record(record.payload)[1])
        for report, ert_ns in verifications(message):
            count = report.request.sequence_count
            if not report.success:
                refused.append(count)
            elif report.stage is Stage.ACCEPTANCE:
                accepted.add((count, ert_ns))
    journal.close()
    times = Counter(count for count, _ in accepted)
    problems = [f"packet {count} was refused" for count in refused]
    problems += [
        f"packet {count} was accepted {times[count]} times"
        for count in (*before.counts, *after.counts)
        if times[count] != 1
    ]
    again = [count for count in lost.counts if times[count]]
    if again:
        problems.append(f"packets {again}, sent before the loss, were accepted after it")
    return problems


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="restore-") as name:
        problems = trial(Path(name))
    print(json.dumps(problems, indent=1) if problems else "all executed once, nothing refused")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
