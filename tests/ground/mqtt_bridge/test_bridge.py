"""The bridge's process between the real bus and a real broker; both are killed in traffic."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ground.adapters.zmq_bus import MAX_RECEIVED
from ground.config import BUS, COMMAND, MONITOR, MQTT_BRIDGE, free_base_port, prepare_run_directory
from ground.monitor.decoding import Decoder
from ground.monitor.l4_events import ON_BOARD
from ground.mqtt_bridge.service import MAX_WAITING, WINDOW
from ground.ports import Bus
from ground.wiring import open_bus, open_clock
from protocols.bus.messages import (
    BusMessage,
    CommandMessage,
    Event,
    EventMessage,
    LinkMessage,
    PacketsMessage,
    ParametersMessage,
)
from protocols.bus.replay import MAX_REPLY_RECORDS
from protocols.dictionary.l4 import DICTIONARY
from protocols.identifiers import Topic
from protocols.packets.batch import PacketBatch
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.certificates import Authority
from tests.end_to_end.site import ROOT, Site
from tests.ground.mqtt_bridge.mosquitto import PATIENCE_S, Mosquitto, heard

pytestmark = pytest.mark.program("mosquitto", "mosquitto_sub")
BASE = "l4r/v1/l4_relay/ground"
T0 = tai_ns_from_utc_iso("2026-11-28T12:00:00Z")
S = 1_000_000_000
STATUS = {
    "SCET": T0, "SC_MODE": "NOMINAL", "SC_CLOCK_TRACEABLE": "ON", "SC_BOOT_COUNT": 1,
    "SC_UPTIME": 86400, "SC_FRAMES": 9000, "SC_PACKETS": 30000, "SC_EVENTS": 2,
    "SC_CPU_LOAD": 91.0,
}  # fmt: skip


class Ground:
    """Bus and bridge as processes; `monitor` and `command` are this test, with their journals."""

    def __init__(self, directory: Path, broker: Mosquitto, **settings: str) -> None:
        self.broker = broker
        prepared = prepare_run_directory(
            directory / "run",
            base_port=free_base_port(),
            **{"mqtt": f"mqtt://localhost:{broker.port}", **settings},
        )
        self.site = Site(prepared)
        self.monitor, self.command = open_bus(prepared, MONITOR), open_bus(prepared, COMMAND)
        self.clock = open_clock(prepared)
        self.told: list[str] = []
        self.site.start(BUS)
        self.site.start(MQTT_BRIDGE)

    def publish(self, bus: Bus, topic: str, message: BusMessage) -> None:
        bus.publish(topic, message.build(), time_ns=self.clock.now_ns())

    def event(self, name: str, after: str = "WARNING_HIGH", *, playback: bool = False) -> None:
        event = Event(
            *("limit", "warning", name, f"{name} is {after}", T0, T0 + 499 * S, T0 + 500 * S),
            playback=playback,
            after=after,
        )
        self.publish(self.monitor, Topic.EVENTS, EventMessage("r", 0, len(self.told), (event,)))

    def traffic(self, seconds: float) -> None:
        """Events and command changes, each with a name of its own."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            number = len(self.told)
            name = f"P{number}"
            if number % 2:
                self.event(name)
            else:
                change = CommandMessage(number, name, "released", "released", T0, id=number + 1)
                self.publish(self.command, Topic.COMMANDS, change)
            self.told.append(name)
            self.serve()

    def serve(self) -> None:
        self.monitor.receive(0.002)
        self.command.receive(0.002)
        self.site.look()

    def wait_for(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < deadline, (self.site.status, self.site.logs())
            self.serve()

    def online(self) -> bool:
        status = self.site.status.get(MQTT_BRIDGE)
        process = self.site.processes[MQTT_BRIDGE]
        return status is not None and status.pid == process.pid and status.state == "running"

    def close(self) -> None:
        self.site.close()
        self.monitor.close()
        self.command.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(tmp_path)
    yield broker
    broker.kill()


@pytest.fixture
def ground(tmp_path: Path, broker: Mosquitto) -> Iterator[Ground]:
    ground = Ground(tmp_path, broker)
    yield ground
    ground.close()


def test_nothing_of_qos_1_is_lost_whoever_is_killed(ground: Ground, broker: Mosquitto) -> None:
    site = ground.site
    with broker.subscriber(f"{BASE}/+/#") as path:

        def names() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for one in heard(path.read_text()):
                group = one.topic.removeprefix(f"{BASE}/").split("/")[0]
                if group in ("events", "commands"):
                    name = one.body.get("name") or one.body["command"]
                    found.setdefault(name, set()).add(one.body["id"])
            return found

        ground.wait_for(ground.online)
        # A subscription that the broker has not yet would be a loss of the subscriber's.
        ground.wait_for(lambda: "bridge/online" in path.read_text())
        for _ in range(2):
            ground.traffic(0.2)
            # A broker that has stopped acknowledging: what was handed to it dies with it …
            broker.signal(signal.SIGSTOP)
            ground.traffic(0.4)
            broker.kill()
            ground.traffic(0.3)
            broker.start()
            ground.wait_for(lambda: set(ground.told) <= set(names()))
            # … and with the bridge, long enough after its snapshot to see which place it keeps.
            broker.signal(signal.SIGSTOP)
            ground.traffic(0.8)
            site.kill(MQTT_BRIDGE)
            broker.signal(signal.SIGCONT)
            ground.traffic(0.2)
            site.start(MQTT_BRIDGE)
            ground.wait_for(ground.online)
        ground.wait_for(lambda: set(ground.told) <= set(names()))
        found = names()
        # Copies have one id, others have others.
        assert {len(ids) for ids in found.values()} == {1}
        assert len(set.union(*found.values())) == len(ground.told) == len(found)
        firsts = list(dict.fromkeys(
            one.body["name"] for one in heard(path.read_text()) if "/events/" in one.topic
        ))  # fmt: skip
        assert firsts == ground.told[1::2]
        ground.wait_for(ground.online)
        assert site.status[MQTT_BRIDGE].counters["malformed"] == 0
    assert site.end(MQTT_BRIDGE) == 0, site.logs()
    (online,) = broker.retained(f"{BASE}/bridge/online", count=1)
    assert online.body == {"online": False}


def test_states_are_retained_and_the_last_will_tells_of_a_death(
    ground: Ground, broker: Mosquitto
) -> None:
    site = ground.site
    ground.wait_for(ground.online)
    ground.event("VOLTAGE", "CRITICAL_HIGH")
    ground.event("VOLTAGE", "NOMINAL", playback=True)
    ground.event("CURRENT", "NOMINAL")
    ground.publish(ground.monitor, Topic.LINK, LinkMessage("down/link", T0, "OK", "", owlt_s=499.0))
    ground.wait_for(lambda: site.status[MQTT_BRIDGE].counters["acknowledged"] >= 5)

    def states() -> dict[str, object]:
        found = broker.retained(f"{BASE}/#")
        assert all(one.retained for one in found)
        return {one.topic.removeprefix(f"{BASE}/"): one.body for one in found}

    def check(online: bool) -> None:
        found: dict[str, object] = {}

        def complete() -> bool:
            found.update(states())
            return {"alarms/limit/CURRENT", "link/down_link", "status/mqtt_bridge"} <= set(found)

        ground.wait_for(complete)
        assert found["bridge/online"] == {"online": online}
        alarm = found["alarms/limit/VOLTAGE"]
        assert isinstance(alarm, dict)
        assert (alarm["after"], alarm["playback"]) == ("CRITICAL_HIGH", False)
        assert alarm["ert"] == "2026-11-28T12:08:19.000000Z"
        link = found["link/down_link"]
        assert isinstance(link, dict)
        assert (link["state"], link["owlt_s"], link["last_ert"]) == ("OK", 499.0, None)
        assert not [topic for topic in found if topic.startswith(("events/", "commands/"))]

    check(online=True)
    # A broker that has forgotten all is told again, by the bridge that was there …
    broker.kill()
    (broker.directory / "mosquitto.db").unlink()
    broker.start()
    connections = site.status[MQTT_BRIDGE].counters["connections"]
    ground.wait_for(lambda: site.status[MQTT_BRIDGE].counters["connections"] > connections)
    ground.wait_for(lambda: site.status[MQTT_BRIDGE].counters["waiting"] == 0)
    check(online=True)
    site.kill(MQTT_BRIDGE)
    ground.wait_for(lambda: states().get("bridge/online") == {"online": False})
    check(online=False)
    # … and alarms also by the next one, which has heard of none.
    broker.kill()
    (broker.directory / "mosquitto.db").unlink()
    broker.start()
    site.start(MQTT_BRIDGE)
    ground.wait_for(lambda: "alarms/limit/VOLTAGE" in states())


@pytest.mark.program("mosquitto_pub", "mosquitto_passwd")
def test_tls_password_and_the_access_list_of_the_document(tmp_path: Path) -> None:
    """Telemetry of a real packet at QoS 1, read by the one user who may."""
    certificate, key = Authority(tmp_path).issue("broker")
    document = (ROOT / "docs/howto/mqtt.md").read_text()
    access = re.search(r"```\n(user bridge.*?)```", document, re.S)
    assert access is not None
    (tmp_path / "acl").write_text(access[1])
    passwords = tmp_path / "passwords"
    passwords.write_text("bridge:kept secret\nviewer:seen\n")
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    broker = Mosquitto(
        tmp_path,
        f"certfile {certificate}",
        f"keyfile {key}",
        "allow_anonymous false",
        f"password_file {passwords}",
        f"acl_file {tmp_path}/acl",
    )
    file = tmp_path / "broker.toml"
    file.touch(0o600)
    file.write_text(
        'user = "bridge"\npassword = "kept secret"\nauthority = "ca.pem"\ntelemetry_qos = 1\n'
    )
    ground = Ground(tmp_path, broker, mqtt=f"mqtts://localhost:{broker.port}", mqtt_file=str(file))
    viewer = ("--cafile", str(tmp_path / "ca.pem"), "-u", "viewer", "-P", "seen")
    try:
        packet = DICTIONARY.encode("STATUS", STATUS)
        packets = PacketBatch.from_packets([packet, packet], ert_ns=[T0 + 499 * S] * 2)
        decoded = Decoder(DICTIONARY, ON_BOARD).decode(
            PacketsMessage("l", packets, np.array([False, True]), T0 + 500 * S, 0)
        )
        parameters = ParametersMessage("l", "r", 0, T0 + 500 * S, 0, decoded.tables)
        online = ("-t", f"{BASE}/bridge/online")
        with broker.subscriber(f"{BASE}/telemetry/#", *online, *viewer) as path:
            ground.wait_for(ground.online)
            ground.wait_for(lambda: '{"online": true}' in path.read_text())
            ground.publish(ground.monitor, Topic.PARAMETERS, parameters)
            ground.wait_for(lambda: path.read_text().count("/telemetry/") >= 2)
            live, stored = [one for one in heard(path.read_text()) if "/telemetry/" in one.topic]
        assert live.topic == f"{BASE}/telemetry/STATUS"
        assert live.body["scet"].startswith("2026-11-28T12:00:00")
        assert live.body["ert"] == "2026-11-28T12:08:19.000000Z"
        assert (live.body["playback"], stored.body["playback"]) == (False, True)
        assert live.body["parameters"]["SC_CPU_LOAD"] == {
            "value": 91.0, "raw": 182, "unit": "%", "limit": "WARNING_HIGH",
        }  # fmt: skip
        (newest,) = broker.retained(f"{BASE}/telemetry/#", *viewer, count=1)
        assert newest.body["id"] == live.body["id"]
        # Nobody without a password; the viewer's word is not passed on, and the bridge hears none.
        forged = ["-t", f"{BASE}/bridge/online", "-r", "-m", '{"online": "forged"}']
        refused = subprocess.run(
            broker.command("mosquitto_pub", *viewer[:2], *forged), capture_output=True
        )
        assert refused.returncode != 0
        subprocess.run(broker.command("mosquitto_pub", *viewer, *forged), check=True)
        (alive,) = broker.retained(f"{BASE}/bridge/online", *viewer, count=1)
        assert alive.body == {"online": True}
        process = ground.site.processes[MQTT_BRIDGE]
        said = subprocess.run(
            ["ps", "-o", "args=", "-p", str(process.pid)], capture_output=True, text=True
        ).stdout
        assert "mqtt_bridge" in said
        assert "kept secret" not in said + ground.site.logs()
    finally:
        ground.close()
        broker.kill()


@pytest.mark.program("mosquitto_pub")
def test_a_broker_that_knows_its_clients_by_their_certificates(tmp_path: Path) -> None:
    """No password anywhere: the bridge is who its certificate says, and the list goes by that."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue("broker")
    ours, our_key = authority.issue("bridge")
    theirs, their_key = authority.issue("viewer")
    (tmp_path / "acl").write_text(
        "user bridge\ntopic write l4r/#\n\nuser viewer\ntopic read l4r/#\n"
    )
    broker = Mosquitto(
        tmp_path,
        f"cafile {authority.file}",
        f"certfile {certificate}",
        f"keyfile {key}",
        "require_certificate true",
        "use_identity_as_username true",
        f"acl_file {tmp_path}/acl",
    )
    file = tmp_path / "broker.toml"
    file.write_text(f'authority = "ca.pem"\ncertificate = "{ours}"\nkey = "{our_key}"\n')
    ground = Ground(tmp_path, broker, mqtt=f"mqtts://localhost:{broker.port}", mqtt_file=str(file))
    trusted = ("--cafile", str(authority.file))
    viewer = (*trusted, "--cert", str(theirs), "--key", str(their_key))
    try:
        ground.wait_for(ground.online)
        (alive,) = broker.retained(f"{BASE}/bridge/online", *viewer, count=1)
        assert alive.body == {"online": True}
        forged = ["-t", f"{BASE}/bridge/online", "-r", "-m", '{"online": "forged"}']
        nobody = subprocess.run(
            broker.command("mosquitto_pub", *trusted, *forged), capture_output=True
        )
        assert nobody.returncode != 0
        subprocess.run(broker.command("mosquitto_pub", *viewer, *forged), check=True)
        (alive,) = broker.retained(f"{BASE}/bridge/online", *viewer, count=1)
        assert alive.body == {"online": True}
    finally:
        ground.close()
        broker.kill()


def test_a_slow_broker_holds_back_the_bus_and_not_our_memory(tmp_path: Path) -> None:
    """8,000 events for a broker that has stopped reading; then it goes on."""
    # What one reply of the journal brings may be beyond the bound; an event is two publications.
    most = MAX_WAITING + 2 * (MAX_REPLY_RECORDS + MAX_RECEIVED) + WINDOW
    broker = Mosquitto(tmp_path, persistent=False)
    ground = Ground(tmp_path, broker)

    def counter(name: str) -> int:
        return ground.site.status[MQTT_BRIDGE].counters[name]

    try:
        with broker.subscriber(f"{BASE}/events/#", "-t", f"{BASE}/bridge/online") as path:
            ground.wait_for(ground.online)
            ground.wait_for(lambda: "bridge/online" in path.read_text())
            broker.signal(signal.SIGSTOP)
            names = [f"P{number}" for number in range(8_000)]
            for name in names:
                ground.event(name)
            ground.wait_for(lambda: counter("waiting") >= MAX_WAITING)
            ground.traffic(1.2)
            assert counter("waiting") < most < 2 * len(names)
            assert counter("unacknowledged") < most
            broker.signal(signal.SIGCONT)
            wanted = [*names, *ground.told[1::2]]
            ground.wait_for(lambda: path.read_text().count("/events/") >= len(wanted))
            # The connection was never lost, so that nothing comes twice.
            events = [one for one in heard(path.read_text()) if "/events/" in one.topic]
            assert [one.body["name"] for one in events] == wanted
            assert counter("connections") == 1
    finally:
        ground.close()
        broker.kill()
