"""The ZeroMQ bus with a real broker process: slow subscribers, a killed broker, noise."""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import zmq

from ground.adapters.journal import FileJournal
from ground.adapters.zmq_broker import MAX_RETAINED
from ground.adapters.zmq_bus import HIGH_WATER_MARK, ZmqBus
from ground.config import RunSettings, free_base_port, prepare_run_directory
from ground.ports import Message
from ground.status import StatusReporter
from ground.wiring import open_bus, open_clock, open_viewer
from protocols.bus.messages import ServiceState, StatusMessage, parse
from protocols.errors import LocalError

ROOT = Path(__file__).parents[3]


class BusProcess:
    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "ground", "bus", "--run-dir", str(self.settings.run_dir)]
        self._process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def end(self, how: signal.Signals) -> tuple[int, str]:
        os.kill(self._process.pid, how)
        assert self._process.stderr is not None
        errors = self._process.stderr.read()
        self._process.stderr.close()
        return self._process.wait(10), errors


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[BusProcess]:
    settings = prepare_run_directory(tmp_path, base_port=free_base_port(), sync=False)
    process = BusProcess(settings)
    yield process
    status, errors = process.end(signal.SIGTERM)
    assert status == 0
    assert [line for line in errors.splitlines() if " info " not in line] == []


def receive_until(bus: ZmqBus, count: int, *served: ZmqBus) -> list[Message]:
    found: list[Message] = []
    deadline = time.monotonic() + 20
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count}"
        found += bus.receive(0.01)
        for other in served:
            other.receive(0)
    return found


def until_connected(sender: ZmqBus, receiver: ZmqBus) -> None:
    deadline = time.monotonic() + 20
    receiver.subscribe("link")
    while not receiver.receive(0.02):
        assert time.monotonic() < deadline
        sender.publish("link", b"", time_ns=0)
    while receiver.receive(0.1):
        pass


def test_a_journal_forgets_what_its_followers_have_finished(broker: BusProcess) -> None:
    """The archive sleeps through more than the journal keeps, and gets all of it."""
    settings = dataclasses.replace(
        broker.settings, journal_octets=128 * 1024, journal_segment_octets=64 * 1024
    )
    receive, archive = open_bus(settings, "receive"), open_bus(settings, "archive")
    assert isinstance(receive, ZmqBus)
    assert isinstance(archive, ZmqBus)
    archive_says = StatusReporter("archive", open_clock(settings), archive)
    monitor_says = StatusReporter(
        "monitor", open_clock(settings), monitor := open_bus(settings, "monitor")
    )
    assert isinstance(monitor, ZmqBus)

    def held() -> int:
        return next(iter(receive.history("packets", 0))).sequence

    try:
        until_connected(receive, archive)
        for i in range(100):
            receive.publish("packets", bytes([i]) * 10_000, time_ns=i)
        assert held() == 0
        archive.follow("packets", "receive", "", -1)
        monitor.follow("packets", "receive", "", -1)
        assert [m.sequence for m in receive_until(archive, 100, receive)] == list(range(100))
        # One that needs it has it: not yet all.
        archive_says.tick({}, now=True)
        receive.receive(0.2)
        receive.publish("packets", bytes(70_000), time_ns=100)
        assert held() == 0
        receive_until(monitor, 101, receive)
        deadline = time.monotonic() + 20
        while held() < 50:
            assert time.monotonic() < deadline
            for says, bus in ((archive_says, archive), (monitor_says, monitor)):
                bus.receive(0)
                says.tick({}, now=True)
            receive.receive(0.05)
            receive.publish("packets", bytes(70_000), time_ns=101)
        assert archive.statistics().lost == monitor.statistics().lost == 0
    finally:
        for bus in (receive, archive, monitor):
            bus.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_what_waited_for_a_slow_subscriber_is_given_back(broker: BusProcess) -> None:
    one, slow = open_bus(broker.settings, "monitor"), open_bus(broker.settings, "a")
    assert isinstance(one, ZmqBus)
    assert isinstance(slow, ZmqBus)
    process = psutil.Process(broker.pid)

    def own() -> int:
        memory = process.memory_info()
        return memory.rss - memory.shared

    try:
        until_connected(one, slow)
        begin = own()
        octets = random.Random(1)
        highest = 0
        # More than the sleeper's own side holds; of any size, as messages are.
        for _ in range(3 * HIGH_WATER_MARK):
            one.publish("link", bytes(octets.randrange(20_000, 600_000)), time_ns=0)
            time.sleep(0.001)
            highest = max(highest, own())
        assert highest > begin + (30 << 20)
        deadline = time.monotonic() + 20
        while own() > begin + (8 << 20):
            assert time.monotonic() < deadline, (begin, highest, own())
            slow.receive(0.05)
    finally:
        one.close()
        slow.close()


def test_a_subscriber_that_sleeps_through_thousands_gets_them_all(broker: BusProcess) -> None:
    receive, archive = open_bus(broker.settings, "receive"), open_bus(broker.settings, "archive")
    assert isinstance(receive, ZmqBus)
    assert isinstance(archive, ZmqBus)
    try:
        archive.follow("packets", "receive", "", -1)
        until_connected(receive, archive)
        count = 20 * HIGH_WATER_MARK
        body = bytes(8000)
        for number in range(count):
            receive.publish("packets", number.to_bytes(4, "big") + body, time_ns=number)
        messages = receive_until(archive, count, receive)
        assert [message.sequence for message in messages] == list(range(count))
        assert all(m.body[:4] == m.sequence.to_bytes(4, "big") for m in messages)
        statistics = archive.statistics()
        # More than all high-water marks on the way can hold, so some came from the journal.
        assert statistics.recovered > 0
        assert statistics.lost == 0
        assert receive.statistics().replayed >= statistics.recovered
    finally:
        receive.close()
        archive.close()


def test_a_killed_broker_comes_back_and_nothing_journaled_is_missed(broker: BusProcess) -> None:
    receive, archive = open_bus(broker.settings, "receive"), open_bus(broker.settings, "archive")
    assert isinstance(receive, ZmqBus)
    assert isinstance(archive, ZmqBus)
    try:
        archive.follow("packets", "receive", "", -1)
        until_connected(receive, archive)
        receive.publish("packets", b"0", time_ns=0)
        receive_until(archive, 1, receive)
        broker.end(signal.SIGKILL)
        for number in range(1, 50):
            receive.publish("packets", str(number).encode(), time_ns=0)
        # The journals answer without any broker.
        assert [m.sequence for m in receive_until(archive, 49, receive)] == list(range(1, 50))
        broker.start()
        until_connected(receive, archive)
        receive.publish("packets", b"50", time_ns=0)
        assert [m.sequence for m in receive_until(archive, 1, receive)] == [50]
    finally:
        receive.close()
        archive.close()


def test_the_broker_says_how_it_is(broker: BusProcess) -> None:
    viewer = open_viewer(broker.settings, "viewer", ["status"])
    assert isinstance(viewer, ZmqBus)
    try:
        status = parse(StatusMessage, receive_until(viewer, 1)[0].body)
        assert (status.service, status.state) == ("bus", ServiceState.RUNNING)
        assert status.rss_octets > 1_000_000
        assert status.pid > 0
    finally:
        viewer.close()


def test_noise_in_the_broker_and_on_the_replay_socket_does_no_harm(broker: BusProcess) -> None:
    receive, archive = open_bus(broker.settings, "receive"), open_bus(broker.settings, "archive")
    assert isinstance(receive, ZmqBus)
    assert isinstance(archive, ZmqBus)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        archive.follow("packets", "receive", "", -1)
        until_connected(receive, archive)
        publisher = context.socket(zmq.PUB)
        publisher.connect(broker.settings.bus_in)
        dealer = context.socket(zmq.DEALER)
        dealer.connect(broker.settings.replay_endpoints["receive"])
        deadline = time.monotonic() + 20
        while not (archive.statistics().malformed and receive.statistics().malformed >= 3):
            assert time.monotonic() < deadline
            for noise in ([b"packets"], [b"packets", b"\xc1", b""], [b"packets"] * 9, [b""] * 3):
                publisher.send_multipart(noise)
            for noise in ([b""], [b"PULL"], [b"PULL", b"\x93\xa1x\x01\x80"], [b"PULL", b"\xff"]):
                dealer.send_multipart(noise)
            archive.receive(0.02)
            receive.receive(0.02)
        receive.publish("packets", b"good", time_ns=0)
        assert [m.body for m in receive_until(archive, 1, receive)] == [b"good"]
    finally:
        context.destroy(linger=0)
        receive.close()
        archive.close()


def test_invented_topics_do_not_fill_the_brokers_memory(broker: BusProcess) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    viewer = open_viewer(broker.settings, "viewer", ["status.bus"])
    assert isinstance(viewer, ZmqBus)
    try:
        publisher = context.socket(zmq.PUB)
        publisher.set_hwm(0)
        publisher.connect(broker.settings.bus_in)
        receive_until(viewer, 1)
        deadline = time.monotonic() + 20
        retained = 0
        while retained < MAX_RETAINED:
            assert time.monotonic() < deadline
            for number in range(2 * MAX_RETAINED):
                publisher.send_multipart([f"status.{number}".encode(), b"", b""])
            for message in viewer.receive(1.5):
                retained = parse(StatusMessage, message.body).counters["retained"]
        assert retained == MAX_RETAINED
    finally:
        context.destroy(linger=0)
        viewer.close()


def test_a_second_service_of_the_same_name_is_refused(tmp_path: Path) -> None:
    settings = RunSettings(tmp_path, base_port=free_base_port())
    first = open_bus(settings, "receive")
    try:
        with pytest.raises(LocalError, match="another process"):
            open_bus(settings, "receive")
        other = RunSettings(tmp_path / "other", base_port=settings.base_port)
        with pytest.raises(LocalError, match="cannot bind"):
            open_bus(other, "receive")
    finally:
        first.close()


def test_a_second_broker_says_why_it_cannot_start(broker: BusProcess) -> None:
    viewer = open_viewer(broker.settings, "viewer", ["status"])
    assert isinstance(viewer, ZmqBus)
    try:
        receive_until(viewer, 1)
        second = subprocess.run(
            [sys.executable, "-m", "ground", "bus", "--run-dir", str(broker.settings.run_dir)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert second.returncode == 2
        assert "cannot bind" in second.stderr
        assert "Traceback" not in second.stderr
    finally:
        viewer.close()


def test_following_a_service_without_journals_is_refused(tmp_path: Path) -> None:
    journals = {"packets": FileJournal(tmp_path)}
    bus = ZmqBus("x", bus_in="tcp://127.0.0.1:1", bus_out="tcp://127.0.0.1:1", journals=journals)
    try:
        with pytest.raises(LocalError, match="archive keeps no journals"):
            bus.follow("packets", "archive", "", -1)
    finally:
        bus.close()
