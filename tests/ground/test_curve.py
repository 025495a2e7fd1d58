"""CURVE and ZAP on our sockets: who is let in, to what, with which key, while keys change."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
import zmq

from ground.adapters.journal import FileJournal
from ground.adapters.zmq_broker import Broker
from ground.adapters.zmq_bus import ZmqBus
from ground.adapters.zmq_link import ZmqLink
from ground.answering import CallServer
from ground.asking import NoAnswer
from ground.command.client import CommandClient
from ground.config import RunSettings, free_base_port
from ground.curve import is_loopback
from ground.keyring import Keyring, read_trusted, write_secret, write_trusted
from ground.relay.client import BundleClient
from ground.wiring_services import run_service
from protocols.errors import LocalError
from spacecraft_sim.adapters.curve import StationKeys
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.station_buffer import StationBuffer
from tests.site_keys import fresh_key, make_keys

PATIENCE_S = 20.0


def test_what_is_loopback() -> None:
    for endpoint in ("tcp://127.0.0.1:1", "tcp://127.8.0.3:1", "tcp://[::1]:1", "inproc://x"):
        assert is_loopback(endpoint), endpoint
    for endpoint in (
        "tcp://*:1",
        "tcp://0.0.0.0:1",
        "tcp://[::]:1",
        "tcp://10.0.0.1:1",
        "tcp://h:1",
    ):
        assert not is_loopback(endpoint), endpoint


ELSEWHERE = "tcp://192.0.2.1:9"
OPENERS: dict[str, Callable[[], object]] = {
    "bus": lambda: Broker("tcp://0.0.0.0:9", "tcp://127.0.0.1:9"),
    "publisher": lambda: ZmqBus("x", bus_in=ELSEWHERE, bus_out="tcp://127.0.0.1:9"),
    "subscriber": lambda: ZmqBus("x", bus_in="tcp://127.0.0.1:9", bus_out=ELSEWHERE),
    "link": lambda: ZmqLink("downlink", ELSEWHERE),
    "station": lambda: ZmqStation("tcp://*:9", StationBuffer("s")),
    "calls": lambda: CallServer("tcp://0.0.0.0:9"),
    "command client": lambda: CommandClient(ELSEWHERE),
    "bundle client": lambda: BundleClient(ELSEWHERE),
}


@pytest.mark.parametrize("what", OPENERS)
def test_without_keys_nothing_but_loopback_is_bound_or_connected(what: str) -> None:
    with pytest.raises(LocalError, match="not a loopback address, and nothing protects it"):
        OPENERS[what]()


@pytest.mark.parametrize("service", ["bus", "monitor", "command", "scheduling", "relay"])
def test_a_service_refuses_to_start_elsewhere_without_keys(tmp_path: Path, service: str) -> None:
    settings = RunSettings(
        tmp_path, base_port=free_base_port(), hosts="*=192.0.2.1", relay=True, sync=False
    )
    with pytest.raises(LocalError, match=r"192\.0\.2\.1.* is not a loopback address"):
        run_service(service, settings, lambda: False)


class Site:
    """A broker with keys, in a thread of its own; what tests open is closed in the end."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.keys = directory / "keys"
        make_keys(self.keys, "bus", "receive", "monitor", "archive", "command", "operator")
        self.settings = RunSettings(directory, base_port=free_base_port(), keys=str(self.keys))
        self.stack = stack
        self._directory = directory
        at = self.settings
        self.broker = Broker(at.bus_in, at.bus_out, self.keyring("bus"))
        self.stop = threading.Event()
        stack.callback(self.broker.close)
        self.thread(lambda: self.broker.turn(0.02))

    def keyring(self, name: str) -> Keyring:
        return Keyring(self.keys, name)

    def thread(self, turn: Callable[[], object]) -> None:
        def run() -> None:
            while not self.stop.is_set():
                turn()

        thread = threading.Thread(target=run)
        self.stack.callback(thread.join)
        self.stack.callback(self.stop.set)
        thread.start()

    def bus(self, name: str, source: str = "") -> ZmqBus:
        topics = ("packets",) if name == "receive" else ()
        endpoints = self.settings.replay_endpoints
        bus = ZmqBus(
            source or name,
            bus_in=self.settings.bus_in,
            bus_out=self.settings.bus_out,
            journals={topic: FileJournal(self._directory / topic) for topic in topics},
            replay_endpoint=endpoints.pop(name, ""),
            replay_endpoints=endpoints,
            keyring=self.keyring(name),
            sync=False,
        )
        self.stack.callback(bus.close)
        return bus

    def rotate(self, name: str, in_s: float) -> None:
        """As `l4 keys rotate` does."""
        own = self.keyring(name).own()
        fresh = own.with_key(fresh_key(time.time() + in_s))
        write_trusted(self.keys, fresh)
        write_secret(self.keys / f"{name}.key", fresh.build())

    def revoke(self, name: str) -> None:
        (self.keys / "trusted" / f"{name}.pub").unlink()

    def trust_newest_only(self, name: str) -> None:
        holder = read_trusted(self.keys)[name]
        newest = max(holder.keys, key=lambda key: key.valid_from_s)
        write_trusted(self.keys, replace(holder, keys=(newest,)))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def heard(bus: ZmqBus, sender: ZmqBus, topic: str) -> bool:
    sender.publish(topic, b"x", time_ns=1)
    return any(message.topic == topic for message in bus.receive(0.02))


def test_who_is_not_trusted_is_kept_out_and_let_in_when_it_is(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    archive = site.bus("archive")
    archive.subscribe("status")
    trusted = (site.keys / "trusted/monitor.pub").read_text()
    site.revoke("monitor")
    monitor = site.bus("monitor")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        assert not heard(archive, monitor, "status.monitor")
    said = caplog.text
    fingerprint = site.keyring("monitor").own().keys[0].fingerprint
    assert f"bus: refused key {fingerprint} from 127.0.0.1 at bus.in: not trusted there" in said
    (site.keys / "trusted/monitor.pub").write_text(trusted)
    until(lambda: heard(archive, monitor, "status.monitor"))


def test_a_client_without_a_key_or_with_a_wrong_servers_hears_nothing(site: Site) -> None:
    with zmq.Context() as context, context.socket(zmq.SUB) as plain:
        plain.setsockopt(zmq.LINGER, 0)
        plain.subscribe("")
        plain.connect(site.settings.bus_out)
        archive, monitor = site.bus("archive"), site.bus("monitor")
        archive.subscribe("status")
        until(lambda: heard(archive, monitor, "status.monitor"))
        assert not plain.poll(200)
    # Who sits at the address without the bus's key is told nothing either.
    other = site.keys.with_name("other")
    make_keys(other, "bus", "archive")
    archive = ZmqBus(
        "archive",
        bus_in=site.settings.bus_in,
        bus_out=site.settings.bus_out,
        keyring=Keyring(other, "archive"),
    )
    with closing(archive):
        archive.subscribe("status")
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            assert not heard(archive, monitor, "status.monitor")


@pytest.mark.parametrize(
    ("name", "source", "topic"),
    [
        ("archive", "archive", "parameters"),
        ("monitor", "monitor", "uplink"),
        ("monitor", "receive", "packets"),
        ("monitor", "monitor", "status.receive"),
        ("operator", "l4-watch", "events"),
    ],
)
def test_a_role_publishes_its_own_topics_in_its_own_name(
    site: Site, name: str, source: str, topic: str
) -> None:
    archive = site.bus("archive")
    archive.subscribe("")
    insider = site.bus(name, source)
    # Refused, on a connection that carries what it may send.
    end = time.monotonic() + PATIENCE_S
    while not site.broker.counts["forbidden"]:
        assert not heard(archive, insider, topic)
        assert time.monotonic() < end
    assert not heard(archive, insider, topic)
    until(lambda: heard(archive, insider, f"status.{source}") or name != source)


def test_a_door_opens_for_its_roles_and_a_person_calls_in_the_own_name(site: Site) -> None:
    endpoint = site.settings.command_endpoint
    server = CallServer(endpoint, keyring=site.keyring("command"))
    site.stack.callback(server.close)
    calls: list[tuple[str, object]] = []

    def handle(key: str, operation: str, arguments: dict[str, object]) -> str:
        calls.append((operation, arguments["actor"]))
        return "done"

    def turn() -> None:
        server.turn(handle)
        time.sleep(0.005)

    site.thread(turn)
    make_keys(site.keys, "console")
    for name, actor in (("operator", "operator"), ("console", "ann")):
        with CommandClient(endpoint, actor=actor, keyring=site.keyring(name)) as client:
            assert client.call("add") == "done"
    for name, error, said in (
        ("operator", LocalError, "the key is operator's: not in the name of 'ann'"),
        ("monitor", NoAnswer, "does not trust monitor's key"),
    ):
        keys = site.keyring(name)
        with (
            CommandClient(endpoint, actor="ann", timeout_s=0.5, keyring=keys) as client,
            pytest.raises(error, match=said),
        ):
            client.call("approve")
    assert calls == [("add", "operator"), ("add", "ann")]


def test_who_is_revoked_is_cut_off_and_the_others_come_back(site: Site) -> None:
    monitor, archive, operator = site.bus("monitor"), site.bus("archive"), site.bus("operator")
    for bus in (archive, operator):
        bus.subscribe("status")
        until(lambda bus=bus: heard(bus, monitor, "status.monitor"))
    site.revoke("operator")
    time.sleep(0.7)
    operator.receive(0)
    until(lambda: heard(archive, monitor, "status.monitor"))
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        assert not heard(operator, monitor, "status.monitor")


def test_keys_change_under_traffic_and_nothing_is_lost(site: Site) -> None:
    """Server's, publisher's and follower's keys, all at once; then the old ones are revoked."""
    receive, archive = site.bus("receive"), site.bus("archive")
    sent: list[int] = []

    def publish() -> None:
        sent.append(receive.publish("packets", len(sent).to_bytes(4, "big"), time_ns=1))
        receive.receive(0.001)

    site.thread(publish)
    archive.follow("packets", "receive", "", -1)
    got: list[int] = []

    def take() -> int:
        got.extend(int.from_bytes(message.body, "big") for message in archive.receive(0.02))
        return len(got)

    until(lambda: take() > 50)
    old = {name: site.keyring(name).own().in_force(time.time()) for name in ("bus", "receive")}
    for name in ("bus", "receive", "archive"):
        site.rotate(name, 1)
    end = time.monotonic() + 2.2
    while time.monotonic() < end:
        take()
    for name in ("bus", "receive", "archive"):
        assert site.keyring(name).own().in_force(time.time()) != old.get(name)
        site.trust_newest_only(name)
    # Nobody who still used an old key would come back from this.
    end = time.monotonic() + 1.2
    while time.monotonic() < end:
        take()
    site.stop.set()
    time.sleep(0.05)
    target = len(sent)

    def complete() -> bool:
        receive.receive(0)
        site.broker.turn(0)
        return take() >= target

    until(complete)
    assert got == list(range(target))
    assert archive.statistics().lost == 0
    assert site.broker.counts["forbidden"] == 0


def test_the_live_bus_itself_goes_on_with_new_keys(site: Site) -> None:
    """Not only the journals: what nobody keeps arrives again over the renewed connections."""
    monitor, archive = site.bus("monitor"), site.bus("archive")
    archive.subscribe("status")
    until(lambda: heard(archive, monitor, "status.monitor"))
    for name in ("bus", "monitor", "archive"):
        site.rotate(name, 0)
    time.sleep(1.2)
    for name in ("bus", "monitor", "archive"):
        site.trust_newest_only(name)
    time.sleep(0.7)
    archive.receive(0)
    monitor.receive(0)
    until(lambda: heard(archive, monitor, "status.monitor"))


def test_a_link_goes_on_with_new_keys(tmp_path: Path) -> None:
    make_keys(tmp_path, "receive", "spacecraft_sim")
    endpoint = f"tcp://127.0.0.1:{free_base_port()}"
    buffer = StationBuffer("run")
    station = ZmqStation(endpoint, buffer, StationKeys(tmp_path))
    link = ZmqLink("downlink", endpoint, keyring=Keyring(tmp_path, "receive"))
    got: list[int] = []

    def turn() -> int:
        buffer.put(len(got), b"chunk") if len(buffer) < 5 else None
        station.exchange(0.002)
        station.send_state(carrier=True, owlt_s=499.0)
        for chunk in link.receive(0.002):
            got.append(chunk.sequence)
            link.acknowledge(chunk.stream, chunk.sequence)
        return len(got)

    with closing(station), closing(link):
        link.open({})
        until(lambda: turn() > 20)
        for name in ("receive", "spacecraft_sim"):
            fresh = Keyring(tmp_path, name).own().with_key(fresh_key(time.time()))
            write_secret(tmp_path / f"{name}.key", fresh.build())
            write_trusted(tmp_path, replace(fresh, keys=fresh.keys[-1:]))
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            turn()
        before = len(got)
        until(lambda: turn() > before + 20)
    assert got == list(range(len(got)))


def test_key_files_that_everybody_may_read_are_refused(tmp_path: Path) -> None:
    make_keys(tmp_path, "bus", "spacecraft_sim")
    for mode, fine in ((0o600, True), (0o400, True), (0o640, True), (0o644, False), (0o620, False)):
        (tmp_path / "bus.key").chmod(mode)
        (tmp_path / "spacecraft_sim.key").chmod(mode)
        if fine:
            assert Keyring(tmp_path, "bus").own().name == "bus"
            StationKeys(tmp_path)
            continue
        with pytest.raises(LocalError, match="others can read or change it"):
            Keyring(tmp_path, "bus").own()
        with pytest.raises(LocalError, match="others can read or change it"):
            StationKeys(tmp_path)


def test_a_service_without_its_key_says_how_it_gets_one(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", "bus")
    settings = RunSettings(tmp_path, base_port=free_base_port())
    assert settings.keys_dir == tmp_path / "keys"
    with pytest.raises(LocalError, match=r"monitor has no key in .*: `l4 keys new monitor`"):
        run_service("monitor", settings, lambda: True)
    make_keys(tmp_path / "keys", "monitor")
    (tmp_path / "keys/trusted/bus.pub").unlink()
    with pytest.raises(LocalError, match=r"no public key of bus in .*`l4 keys trust FILE`"):
        run_service("monitor", settings, lambda: True)
