"""A broker beside the trial's site, and somebody who listens to it from the first message on.

Every event and every change of a request that the journals hold must have been heard by him, at
least once (QoS 1), in whatever state the bridge was killed.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Self

from ground.adapters.journal_reader import JournalReader
from ground.config import COMMAND, MONITOR, RunSettings
from protocols.bus.messages import EventMessage, parse
from protocols.bus.replay import parse_record
from protocols.identifiers import Topic
from tests.ground.mqtt_bridge.mosquitto import Mosquitto, heard

PATIENCE_S = 60.0


class Broker:
    """`address` for the site; `audit` after it has come to rest."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # It is not the one that is killed; writing its store at each change it would fall behind.
        self._mosquitto = Mosquitto(directory, persistent=False)
        self.address = f"mqtt://localhost:{self._mosquitto.port}"
        self._file = directory / "heard.txt"
        session = ("-c", "-i", "trial", "-q", "1", "-F", "%t %r %p")
        topics = ("-t", "l4r/+/+/+/events/#", "-t", "l4r/+/+/+/commands/#")
        with self._file.open("wb") as out:
            self._listener = subprocess.Popen(
                self._mosquitto.command("mosquitto_sub", *session, *topics), stdout=out
            )
        log = directory / "mosquitto.log"
        deadline = time.monotonic() + PATIENCE_S
        while "as trial" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.kill()
        self._listener.wait()
        self._mosquitto.kill()

    def audit(self, settings: RunSettings) -> tuple[dict[str, int], list[str]]:
        """Counts and problems."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            # Anew each time: that packets have stopped is told while we look.
            told = _told(settings)
            came = Counter(one.body["id"] for one in heard(self._file.read_text()))
            if not (missing := told - set(came)) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        counts = {"mqtt": len(told), "mqtt again": sum(came.values()) - len(came)}
        problems: list[str] = []
        if missing:
            some = sorted(missing)[:5]
            problems.append(f"MQTT: {len(missing)} of {len(told)} never came: {some}")
        if strange := set(came) - _told(settings):
            problems.append(f"MQTT: {len(strange)} are in no journal: {sorted(strange)[:5]}")
        return counts, problems


def _told(settings: RunSettings) -> set[str]:
    """What the journals hold, by the identity of its publications."""
    found: set[str] = set()
    for service, topic in ((MONITOR, Topic.EVENTS), (COMMAND, Topic.COMMANDS)):
        reader = JournalReader(settings.journal_dir(service, topic))
        for record in reader.records():
            count = 1
            if service == MONITOR:
                count = len(parse(EventMessage, parse_record(record.payload)[1]).events)
            name = f"{reader.identity}:{record.sequence}"
            found |= {f"{name}:{number}" for number in range(count)}
        assert not reader.problems, json.dumps(reader.problems)
    return found
