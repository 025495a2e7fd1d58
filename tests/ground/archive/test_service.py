"""The service as a process, on a real bus: killed again and again while messages come, it holds
each of them once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ground.archive.store import ArchiveStore
from ground.config import MONITOR, RECEIVE, RunSettings, free_base_port, prepare_run_directory
from ground.ports import Bus
from ground.wiring import open_bus
from protocols.bus.messages import Event, EventMessage, PacketsMessage, StatusMessage, parse
from protocols.dictionary.l4 import DICTIONARY
from protocols.errors import LocalError
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch

S = 1_000_000_000
T0 = 2_170_000_000 * S
PATIENCE_S = 60


class Processes:
    """Children that end with the test, whatever happens in it."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, service: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ground", service, "--run-dir"]
        process = subprocess.Popen([*command, str(self._settings.run_dir)])
        self._running.append(process)
        return process

    def stop(self) -> None:
        for process in self._running:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def settings(tmp_path: Path) -> RunSettings:
    return prepare_run_directory(tmp_path, base_port=free_base_port(), sync=False)


@pytest.fixture
def processes(settings: RunSettings):
    children = Processes(settings)
    yield children
    children.stop()


@pytest.fixture
def buses(settings: RunSettings):
    opened = [open_bus(settings, RECEIVE), open_bus(settings, MONITOR)]
    yield opened
    for bus in opened:
        bus.close()


def packets(number: int) -> PacketBatch:
    """POWER and EVENTS packets of a message, by its number."""
    definition = DICTIONARY.definition("POWER")
    octets = []
    for i in range(3):
        values = dict.fromkeys(definition.parameters, 0) | {"SCET": T0 + (number * 3 + i) * S}
        values["PWR_BUS_VOLTAGE"] = 28_000 + number
        octets.append(
            DICTIONARY.encode("POWER", values, sequence_count=(number * 3 + i) % 16384, raw=True)
        )
    return PacketBatch.from_packets(octets, vcid=0, ert_ns=T0 + 500 * S + number)


def publish(receive: Bus, monitor: Bus, number: int) -> None:
    message = PacketsMessage(
        link="downlink",
        packets=packets(number),
        playback=np.zeros(3, np.bool_),
        reception_ns=T0 + 600 * S + number,
        first_packet=number * 3,
    )
    receive.publish(Topic.PACKETS, message.build(), time_ns=T0)
    event = Event("limit", "info", "PWR_BUS_VOLTAGE", str(number), T0 + number, T0, T0)
    told = EventMessage(journal="j", sequence=number, first_event=number, events=(event,))
    monitor.publish(Topic.EVENTS, told.build(), time_ns=T0)


def serve(buses: list[Bus], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for bus in buses:
            bus.receive(0.005)


def stored(settings: RunSettings) -> dict[str, int]:
    """Topic → last sequence in the archive."""
    try:
        with ArchiveStore.open(settings.archive_file, read_only=True) as store:
            return {position.topic: position.sequence for position in store.positions()}
    except LocalError:
        return {}  # the service has not made the file yet


def wait_for(buses: list[Bus], settings: RunSettings, numbers: int) -> None:
    """Until the archive has stored all of both journals."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        serve(buses, 0.1)
        positions = stored(settings)
        if positions == {"packets": numbers - 1, "events": numbers - 1}:
            return
    raise AssertionError(f"the archive stands at {positions}, {numbers - 1} wanted")


def check(settings: RunSettings, numbers: int) -> None:
    with ArchiveStore.open(settings.archive_file, read_only=True) as store:
        assert b"".join(packet.octets for packet in store.packets()) == b"".join(
            packets(number).octets.tobytes() for number in range(numbers)
        )
        volts = store.query("PWR_BUS_VOLTAGE")
        assert volts.scet_ns.tolist() == [T0 + i * S for i in range(3 * numbers)]
        assert volts.values.tolist() == [
            pytest.approx(28 + number / 1000) for number in range(numbers) for _ in range(3)
        ]
        assert volts.reception_ns.tolist() == [T0 + 600 * S + i // 3 for i in range(3 * numbers)]
        assert [event.text for event in store.events()] == [str(n) for n in range(numbers)]
        counters = store.counters()
        assert counters["duplicates"] == 0
        assert counters["packets"] == 3 * numbers
        assert store.integrity().ok


def test_killed_again_and_again_it_holds_everything_once(settings, processes, buses):
    receive, monitor = buses
    chance = random.Random(4)
    processes.start("bus")
    numbers = 0
    for _ in range(3):
        archive = processes.start("archive")
        before = stored(settings)
        # Until it is at work, and then somewhere in its work.
        end = time.monotonic() + PATIENCE_S
        while stored(settings) == before and time.monotonic() < end:
            for _ in range(10):
                publish(receive, monitor, numbers)
                numbers += 1
                serve(buses, 0.01)
        assert stored(settings) != before
        end = time.monotonic() + chance.random() * 0.5
        while time.monotonic() < end:
            publish(receive, monitor, numbers)
            numbers += 1
            serve(buses, 0.005)
        os.kill(archive.pid, signal.SIGKILL)
        archive.wait()
    processes.start("archive")
    wait_for(buses, settings, numbers)
    check(settings, numbers)


def test_it_tells_its_state_and_stops_cleanly(settings, processes, buses):
    receive, monitor = buses
    processes.start("bus")
    archive = processes.start("archive")
    viewer = open_bus(settings, "viewer")
    try:
        viewer.subscribe("status.archive")
        for number in range(5):
            publish(receive, monitor, number)
        # Not a message of this version: counted and stepped over.
        receive.publish(Topic.PACKETS, b"\x00nonsense", time_ns=T0)
        monitor.publish(Topic.EVENTS, b"\x00nonsense", time_ns=T0)
        wait_for(buses, settings, 6)
        end = time.monotonic() + PATIENCE_S
        last = None
        while time.monotonic() < end:
            serve(buses, 0.05)
            for message in viewer.receive(0.05):
                last = parse(StatusMessage, message.body)
            if last and last.state == "running" and last.counters["malformed"] == 2:
                break
        assert last is not None
        assert last.counters["packets"] == 15
        assert last.counters["malformed"] == 2
        assert {position.topic: position.lag for position in last.positions} == {
            "packets": 0,
            "events": 0,
        }
        archive.send_signal(signal.SIGTERM)
        assert archive.wait(PATIENCE_S) == 0
    finally:
        viewer.close()
    check(settings, 5)
