"""What every `Bus` adapter does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ground.adapters.journal import FileJournal
from ground.adapters.loopback import LoopbackBus, LoopbackExchange
from ground.adapters.zmq_broker import Broker
from ground.adapters.zmq_bus import ZmqBus
from ground.config import RunSettings, free_base_port
from ground.keyring import Keyring
from ground.ports import Bus, Message
from protocols.errors import LocalError
from tests.site_keys import keyring, make_keys

#: Journaled by `receive` in these tests.
PACKETS, OPAQUE = "packets", "opaque"
#: Generous: a loaded machine is slow, and a message that comes ends the wait.
PATIENCE_S = 10.0


class LoopbackSite:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._exchange = LoopbackExchange()

    def open(self, service: str, journal: str = "journal") -> Bus:
        return LoopbackBus(service, self._exchange, _journals(self._directory / journal, service))

    def close(self) -> None: ...


class ZmqSite:
    """A broker in a thread of its own; the thread alone touches the broker's sockets."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._settings = RunSettings(directory, base_port=free_base_port())
        self._stop = threading.Event()
        broker = Broker(self._settings.bus_in, self._settings.bus_out, self._keys("bus"))

        def run() -> None:
            while not self._stop.is_set():
                broker.turn(0.02)
            broker.close()

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def _keys(self, name: str) -> Keyring | None:
        return None

    def open(self, service: str, journal: str = "journal") -> Bus:
        endpoints = self._settings.replay_endpoints
        return ZmqBus(
            service,
            bus_in=self._settings.bus_in,
            bus_out=self._settings.bus_out,
            journals=_journals(self._directory / journal, service),
            replay_endpoint=endpoints.pop(service, ""),
            replay_endpoints=endpoints,
            keyring=self._keys(service),
            sync=False,
        )

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


class CurveSite(ZmqSite):
    """The same with keys: authenticated and encrypted."""

    def __init__(self, directory: Path) -> None:
        make_keys(directory / "keys", "bus", "receive", "archive", "operator")
        super().__init__(directory)

    def _keys(self, name: str) -> Keyring:
        return keyring(self._directory / "keys", name)


def _journals(directory: Path, service: str) -> dict[str, FileJournal]:
    topics = (PACKETS, OPAQUE) if service == "receive" else ()
    return {topic: FileJournal(directory / topic, segment_octets=4000) for topic in topics}


SITES: dict[str, type[LoopbackSite] | type[ZmqSite]] = {
    "curve": CurveSite,
    "loopback": LoopbackSite,
    "zmq": ZmqSite,
}
Open = Callable[..., Bus]


@pytest.fixture(params=sorted(SITES))
def open_bus(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens the bus of a service; a service opened again is closed first."""
    site = SITES[request.param](tmp_path)
    opened: dict[str, Bus] = {}

    def again(service: str, journal: str = "journal") -> Bus:
        if service in opened:
            opened.pop(service).close()
        opened[service] = site.open(service, journal)
        return opened[service]

    yield again
    for bus in opened.values():
        bus.close()
    site.close()


def collect(bus: Bus, count: int, *others: Bus) -> list[Message]:
    """Receive until so many have come; the others answer for their journals meanwhile."""
    found: list[Message] = []
    deadline = time.monotonic() + PATIENCE_S
    while len(found) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} messages"
        found += bus.receive(0.01)
        for other in others:
            other.receive(0)
    return found


def nothing_more(bus: Bus, *others: Bus, wait_s: float = 0.15) -> None:
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline:
        assert bus.receive(0.01) == []
        for other in others:
            other.receive(0)


def test_a_late_joiner_gets_the_last_value_of_a_retained_topic(open_bus: Open) -> None:
    sender, early = open_bus("receive"), open_bus("early")
    early.subscribe("link")
    # Until the connection stands, what is published goes nowhere: that is "best effort".
    seen: list[Message] = []
    for number in range(500):
        sender.publish("link", str(number).encode(), time_ns=number)
        seen += early.receive(0.01)
        if seen:
            break
    late = open_bus("late")
    late.subscribe("link")
    message = collect(late, 1)[0]
    assert message.body == str(number).encode()
    assert (message.topic, message.source, message.sequence) == ("link", "receive", -1)
    assert (message.journal, message.time_ns) == ("", number)


def test_a_prefix_is_enough(open_bus: Open) -> None:
    sender, watcher = open_bus("receive"), open_bus("watcher")
    watcher.subscribe("status")
    seen: list[Message] = []
    for _ in range(500):
        sender.publish("status.receive", b"s", time_ns=0)
        sender.publish("link", b"l", time_ns=0)
        seen += watcher.receive(0.01)
        if seen:
            break
    assert {message.topic for message in seen} == {"status.receive"}


def test_a_follower_gets_every_message_once_in_order_from_the_start(open_bus: Open) -> None:
    sender = open_bus("receive")
    for number in range(20):
        assert sender.publish(PACKETS, bytes([number]) * 300, time_ns=number) == number
        sender.publish(OPAQUE, b"other", time_ns=0)
    follower = open_bus("archive")
    follower.follow(PACKETS, "receive", "", -1)
    messages = collect(follower, 20, sender)
    for number in range(20, 40):
        sender.publish(PACKETS, bytes([number]) * 300, time_ns=number)
    messages += collect(follower, 20, sender)
    nothing_more(follower, sender)
    assert [message.sequence for message in messages] == list(range(40))
    assert [message.body for message in messages] == [bytes([n]) * 300 for n in range(40)]
    assert [message.time_ns for message in messages] == list(range(40))
    assert len({message.journal for message in messages}) == 1
    position = follower.positions()[0]
    assert (position.topic, position.source, position.sequence) == (PACKETS, "receive", 39)
    assert position.journal == messages[0].journal
    assert position.lag == 0


def test_a_follower_takes_up_where_it_was(open_bus: Open) -> None:
    sender, follower = open_bus("receive"), open_bus("archive")
    follower.follow(PACKETS, "receive", "", -1)
    for number in range(10):
        sender.publish(PACKETS, bytes([number]), time_ns=0)
    last = collect(follower, 10, sender)[-1]
    follower.close()
    for number in range(10, 15):
        sender.publish(PACKETS, bytes([number]), time_ns=0)
    follower = open_bus("archive")
    follower.follow(PACKETS, "receive", last.journal, 6)
    assert [m.sequence for m in collect(follower, 8, sender)] == list(range(7, 15))


def test_a_sender_restarts_without_a_gap(open_bus: Open) -> None:
    sender, follower = open_bus("receive"), open_bus("archive")
    follower.follow(PACKETS, "receive", "", -1)
    sender.publish(PACKETS, b"0", time_ns=0)
    collect(follower, 1, sender)
    sender = open_bus("receive")
    assert sender.publish(PACKETS, b"1", time_ns=0) == 1
    assert [m.body for m in collect(follower, 1, sender)] == [b"1"]
    nothing_more(follower, sender)


def test_another_journal_is_given_from_its_start(open_bus: Open) -> None:
    sender, follower = open_bus("receive"), open_bus("archive")
    follower.follow(PACKETS, "receive", "", -1)
    for _ in range(5):
        sender.publish(PACKETS, b"old", time_ns=0)
    old = collect(follower, 5, sender)[0].journal
    sender = open_bus("receive", "another journal")
    for number in range(3):
        sender.publish(PACKETS, bytes([number]), time_ns=0)
    messages = collect(follower, 3, sender)
    assert [m.body for m in messages] == [b"\0", b"\1", b"\2"]
    assert [m.sequence for m in messages] == [0, 1, 2]
    assert messages[0].journal != old
    nothing_more(follower, sender)


def test_both_topics_of_a_service_are_followed_each_in_its_order(open_bus: Open) -> None:
    sender, follower = open_bus("receive"), open_bus("archive")
    for number in range(30):
        sender.publish((PACKETS, OPAQUE)[number % 2], bytes([number]), time_ns=0)
    follower.follow(PACKETS, "receive", "", -1)
    follower.follow(OPAQUE, "receive", "", -1)
    messages = collect(follower, 30, sender)
    for first, topic in enumerate((PACKETS, OPAQUE)):
        mine = [m.body[0] for m in messages if m.topic == topic]
        assert mine == list(range(first, 30, 2))


def test_a_service_reads_its_own_journal(open_bus: Open) -> None:
    sender = open_bus("receive")
    assert sender.last(PACKETS) is None
    for number in range(30):
        sender.publish(PACKETS, bytes([number]) * 200, time_ns=number)
    sender = open_bus("receive")
    last = sender.last(PACKETS)
    assert last is not None
    assert (last.sequence, last.body, last.time_ns) == (29, bytes([29]) * 200, 29)
    history = list(sender.history(PACKETS, 3))
    assert [m.sequence for m in history] == list(range(3, 30))
    assert {(m.topic, m.source, m.journal) for m in history} == {(PACKETS, "receive", last.journal)}
    assert list(sender.history(PACKETS, 30)) == []
    with pytest.raises(LocalError, match="no journal"):
        sender.last("link")


def test_positions_that_are_none_are_refused(open_bus: Open) -> None:
    bus = open_bus("archive")
    with pytest.raises(LocalError, match="position"):
        bus.follow(PACKETS, "receive", "", 3)


def test_what_goes_over_the_bus_is_counted(open_bus: Open) -> None:
    sender, follower = open_bus("receive"), open_bus("archive")
    for _ in range(4):
        sender.publish(PACKETS, b"12345", time_ns=0)
    follower.follow(PACKETS, "receive", "", -1)
    collect(follower, 4, sender)
    counts = sender.statistics()
    assert (counts.published, counts.published_octets) == (4, 20)
    assert follower.statistics().received == 4
    assert follower.statistics().lost == 0


def test_receive_waits_no_longer_than_asked(open_bus: Open) -> None:
    bus = open_bus("archive")
    began = time.monotonic()
    assert bus.receive(0.05) == []
    assert time.monotonic() - began >= 0.045
    assert bus.receive(0) == []
