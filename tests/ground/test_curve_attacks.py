"""Who should not get in, and what who is in should not get: with real sockets, as an attacker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zmq

from ground.adapters.zmq_bus import ZmqBus
from ground.answering import CallServer
from ground.command.client import CommandClient
from ground.config import RunSettings, free_base_port
from ground.curve import Curve, is_loopback
from ground.keyring import Keyring, read_trusted, write_secret, write_trusted
from protocols.bus.access import Door
from protocols.bus.envelope import build_envelope
from protocols.errors import LocalError
from spacecraft_sim.adapters.curve import StationKeys
from spacecraft_sim.adapters.zmq_link import ZmqStation
from spacecraft_sim.station_buffer import StationBuffer
from tests.ground.test_curve import Site, heard, until
from tests.site_keys import make_keys


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def quiet(archive: ZmqBus, monitor: ZmqBus, seconds: float) -> None:
    """Of what `monitor` says now nothing reaches `archive`; its last value may come again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        monitor.publish("status.monitor", b"now", time_ns=1)
        assert not any(message.body == b"now" for message in archive.receive(0.02))


# ---------------------------------------------------------------- addresses


def test_only_plain_loopback_addresses_are() -> None:
    for endpoint in ("tcp://127.0.0.1:*", "tcp://localhost:1", "ipc:///run/x", "tcp://[::1]:1"):
        assert is_loopback(endpoint), endpoint
    for endpoint in (
        # ZeroMQ's own syntax: from here to there.
        "tcp://127.0.0.1:0;10.0.0.1:1",
        "tcp://127.0.0.1;10.0.0.1:1",
        "epgm://127.0.0.1;239.192.1.1:1",
        "udp://127.0.0.1:1",
        "tcp://127.0.0.1@10.0.0.1:1",
        "tcp://10.0.0.1@127.0.0.1:1",
        "tcp://lo:1",
        "tcp://localhost.evil.example:1",
        "tcp://LOCALHOST:1",
        "tcp://[localhost]:1",
        "tcp://127.0.0.1.evil.example:1",
        "tcp://127.1:1",
        "tcp://2130706433:1",
        "tcp://::1:1",
        "tcp://[127.0.0.1]:1",
        "tcp://[::ffff:10.0.0.1]:1",
        "tcp://127.0.0.1",
        "tcp://:1",
        "tcp://",
        "",
    ):
        assert not is_loopback(endpoint), endpoint


def test_localhost_is_not_asked_of_a_resolver() -> None:
    """A search list may say that it is another machine."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as ours:
        Curve(context, None).bind(ours, "tcp://localhost:*", Door.COMMAND)
        assert ours.getsockopt_string(zmq.LAST_ENDPOINT).startswith("tcp://127.0.0.1:")


def test_addresses_of_version_six_are_bound_and_connected(tmp_path: Path) -> None:
    with suppress(OSError):
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        make_keys(tmp_path, "command", "operator")
        endpoint = f"tcp://[::1]:{free_base_port()}"
        server = CallServer(endpoint, keyring=Keyring(tmp_path, "command"))
        with closing(server):
            thread = threading.Thread(target=lambda: _answer_once(server))
            thread.start()
            with CommandClient(
                endpoint, actor="operator", keyring=Keyring(tmp_path, "operator")
            ) as client:
                assert client.call("add") == "done"
            thread.join()


def _answer_once(server: CallServer) -> None:
    calls: list[str] = []
    end = time.monotonic() + 20
    while not calls and time.monotonic() < end:
        server.turn(lambda key, operation, arguments: calls.append(key) or "done")
        time.sleep(0.005)


# ---------------------------------------------------------------- the authenticator fails


def test_where_the_authenticator_has_died_nobody_is_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libzmq's own way is to let everybody in, under any name, if nobody answers for ZAP."""
    make_keys(tmp_path, "bus", "archive")
    with zmq.Context() as context, context.socket(zmq.XPUB) as ours:
        ours.setsockopt(zmq.LINGER, 0)
        curve = Curve(context, Keyring(tmp_path, "bus"))
        curve.bind(ours, "tcp://127.0.0.1:*", Door.BUS_OUT)
        endpoint = ours.getsockopt_string(zmq.LAST_ENDPOINT)
        with Subscriber(endpoint, tmp_path, "archive"):
            assert ours.poll(10_000), "while it lives, who is trusted is let in"
            ours.recv()
        # Whatever the reason: it is given a request that ends it.
        monkeypatch.setattr(threading, "excepthook", lambda failed: None)
        monkeypatch.setattr(curve, "_decided", lambda request: 1 / 0)
        assert curve._authenticator is not None
        with Subscriber(endpoint, tmp_path, "archive"):
            curve._authenticator.join(10)
            assert not curve._authenticator.is_alive()
            time.sleep(0.05)
        while ours.poll(100):
            assert ours.recv()[:1] == b"\x00"
        with Subscriber(endpoint, tmp_path, "archive"):
            assert not ours.poll(700), "nobody decides, nobody comes in"
        # And the service does not go on like that.
        curve._looked_s = 0.0
        with pytest.raises(RuntimeError, match="who decides on who is let in has ended"):
            curve.refresh()


class Subscriber:
    def __init__(self, endpoint: str, keys: Path, name: str) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self.socket = self._context.socket(zmq.SUB)
        own, bus = Keyring(keys, name).own().keys[0], read_trusted(keys)["bus"].keys[0]
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.setsockopt(zmq.CURVE_SECRETKEY, own.secret.encode())
        self.socket.setsockopt(zmq.CURVE_PUBLICKEY, own.public.encode())
        self.socket.setsockopt(zmq.CURVE_SERVERKEY, bus.public.encode())
        self.socket.subscribe("")
        self.socket.connect(endpoint)

    def __enter__(self) -> zmq.Socket[Any]:
        return self.socket

    def __exit__(self, *error: object) -> None:
        self.socket.close()
        self._context.term()


# ---------------------------------------------------------------- on the wire


@pytest.mark.parametrize(
    "octets",
    [
        # ZMTP 1.0: an anonymous greeting and a subscription to everything.
        b"\x01\x00" + b"\x02\x00\x01",
        # ZMTP 2.0: signature, revision 1, SUB, no identity, the same subscription.
        b"\xff" + bytes(8) + b"\x7f\x01\x02" + b"\x00\x00" + b"\x00\x01\x01",
        # ZMTP 3.0 with NULL: READY of a SUB, then the subscription.
        b"\xff" + bytes(8) + b"\x7f\x03\x00NULL".ljust(22, b"\0") + bytes(33)
        + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" + b"\x00\x01\x01",
        # ZMTP 3.0 with CURVE said, and a command of NULL's in the place of HELLO.
        b"\xff" + bytes(8) + b"\x7f\x03\x00CURVE".ljust(22, b"\0") + bytes(33)
        + b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB" + b"\x00\x01\x01",
    ],
)  # fmt: skip
def test_older_protocols_and_no_security_hear_nothing(site: Site, octets: bytes) -> None:
    monitor, archive = site.bus("monitor"), site.bus("archive")
    archive.subscribe("status")
    port = int(site.settings.bus_out.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(octets)
        until(lambda: heard(archive, monitor, "status.monitor"))
        stranger.settimeout(0.2)
        told = b""
        with suppress(TimeoutError, ConnectionError):
            while octet := stranger.recv(4096):
                told += octet
        assert b"status" not in told
        assert b"monitor" not in told


def test_a_handshake_that_is_played_again_opens_nothing(site: Site) -> None:
    """All that a client sent, recorded on its way and sent once more."""
    port = int(site.settings.bus_in.rpartition(":")[2])
    recorded = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def relay() -> None:
            client, _ = listener.accept()
            with client, socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=_pump, args=(server, client, None))
                back.start()
                _pump(client, server, recorded)
                back.join()

        between = threading.Thread(target=relay)
        between.start()
        monitor = ZmqBus(
            "monitor",
            bus_in=f"tcp://127.0.0.1:{listener.getsockname()[1]}",
            bus_out=site.settings.bus_out,
            keyring=site.keyring("monitor"),
        )
        with closing(monitor):
            archive = site.bus("archive")
            archive.subscribe("status")
            until(lambda: heard(archive, monitor, "status.monitor"))
        between.join()
    assert len(recorded) > 500
    while archive.receive(0.05):
        pass
    before = site.broker.counts["messages"]
    with socket.create_connection(("127.0.0.1", port)) as again, suppress(ConnectionError):
        again.sendall(recorded)
        time.sleep(0.3)
    assert site.broker.counts["messages"] == before
    assert not archive.receive(0.05)


def _pump(source: socket.socket, sink: socket.socket, kept: bytearray | None) -> None:
    with suppress(OSError):
        while octets := source.recv(65_536):
            if kept is not None:
                kept += octets
            sink.sendall(octets)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


# ---------------------------------------------------------------- who is in


def test_who_may_read_is_divided_by_topic(site: Site) -> None:
    make_keys(site.keys, "guest", "viewer")
    monitor, command = site.bus("monitor"), site.bus("command")
    readers = {name: _reader(site, name) for name in ("guest", "viewer", "operator")}
    got: dict[str, set[str]] = {name: set() for name in readers}

    def turn() -> bool:
        monitor.publish("parameters", b"p", time_ns=1)
        for topic in ("commands", "uplink"):
            command.publish(topic, b"c", time_ns=1)
        for name, reader in readers.items():
            got[name] |= {message.topic for message in reader.receive(0.02)}
        return {"parameters", "commands", "uplink"} <= got["operator"] and all(
            "parameters" in topics for topics in got.values()
        )

    until(turn)
    for _ in range(10):
        turn()
    assert got["guest"] <= {"parameters", "status.bus"}
    assert got["viewer"] - {"status.bus"} == {"parameters", "commands"}
    # By name it is not given either.
    readers["guest"].subscribe("uplink")
    readers["guest"].subscribe("command")
    until(lambda: turn() and site.broker.counts["unreadable"] >= 2)
    for _ in range(10):
        turn()
    assert got["guest"] <= {"parameters", "status.bus"}


def _reader(site: Site, name: str) -> ZmqBus:
    bus = ZmqBus(
        f"l4-{name}",
        bus_in=site.settings.bus_in,
        bus_out=site.settings.bus_out,
        publishes=False,
        replay_endpoints=site.settings.replay_endpoints,
        keyring=site.keyring(name),
    )
    site.stack.callback(bus.close)
    bus.subscribe("")
    return bus


def test_journals_are_read_by_topic_too(site: Site) -> None:
    receive = site.bus("receive")
    make_keys(site.keys, "scheduling", "guest")
    receive.publish("packets", b"x", time_ns=1)
    guest, mqtt = _reader(site, "guest"), site.bus("command", "command")
    for bus in (guest, mqtt):
        bus.follow("packets", "receive", "", -1)
    got: list[bytes] = []

    def turn(bus: ZmqBus) -> list[bytes]:
        receive.receive(0.005)
        got.extend(m.body for m in bus.receive(0.02) if m.topic == "packets")
        return got

    until(lambda: turn(guest))
    got.clear()
    until(lambda: turn(mqtt))
    # A role that follows journals, but not this one.
    own = site.keyring("guest").own()
    write_trusted(site.keys, replace(own, role="viewer"))
    commands = ZmqBus(
        "receive",
        bus_in=site.settings.bus_in,
        bus_out=site.settings.bus_out,
        keyring=site.keyring("receive"),
    )
    site.stack.callback(commands.close)
    assert not receive._curve.readable("guest", Door.REPLAY, "uplink")
    assert not receive._curve.readable("nobody", Door.REPLAY, "packets")


def test_who_sends_messages_where_subscriptions_are_taken_reads_nobody_elses(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """libzmq queues such a message without its connection: the next subscriptions would be entered
    for one another's (an operator's for a guest)."""
    make_keys(site.keys, "guest")
    command = site.bus("command")
    context = site.stack.enter_context(zmq.Context[Any]())
    guest, second = (site.stack.enter_context(context.socket(zmq.XSUB)) for _ in range(2))
    curve = Curve(context, site.keyring("guest"))
    curve.connect(guest, site.settings.bus_out, "bus")
    guest.send(b"\x01parameters")
    until(lambda: site.broker.counts["subscriptions"])
    # All at once: its message, an operator's subscription, one of its own by another connection.
    held = threading.Lock()
    original = site.broker.turn

    with held:
        site.broker.turn = lambda timeout_s: (held.acquire(), held.release(), original(timeout_s))  # type: ignore[method-assign]
        time.sleep(0.1)
        guest.send(b"no subscription")
        time.sleep(0.1)
        operator = _reader(site, "operator")
        time.sleep(0.6)
        curve.connect(second, site.settings.bus_out, "bus")
        second.send(b"\x01status")
        time.sleep(0.6)
    until(lambda: heard(operator, command, "uplink"))
    for _ in range(20):
        heard(operator, command, "uplink")
    topics: set[bytes] = set()
    for one in (guest, second):
        while one.poll(50):
            topics.add(one.recv_multipart()[0])
    assert not any(topic.startswith((b"uplink", b"commands")) for topic in topics)
    assert "guest is shut out of bus.out" in caplog.text


def answering(site: Site) -> tuple[CallServer, list[object], Callable[[], None]]:
    """A command service that says "done" at each turn, and in whose names it was called."""
    server = CallServer(site.settings.command_endpoint, keyring=site.keyring("command"))
    site.stack.callback(server.close)
    calls: list[object] = []

    def turn() -> None:
        server.turn(lambda key, operation, arguments: calls.append(arguments["actor"]) or "done")

    return server, calls, turn


def test_a_call_of_somebody_who_was_revoked_is_nobodys(site: Site) -> None:
    """It was sent before the connection was cut off: without a name it would be in any name."""
    endpoint = site.settings.command_endpoint
    server, calls, turn = answering(site)

    stop = threading.Event()

    def serve() -> None:
        while not stop.wait(0.005):
            turn()

    thread = threading.Thread(target=serve)
    thread.start()
    keys = site.keyring("operator")
    with CommandClient(endpoint, actor="operator", timeout_s=10, keyring=keys) as client:
        client.call("add")
        stop.set()
        thread.join()
        assert calls == ["operator"]
        # In the queue of a server that is busy, when its key is revoked.
        client.actor, client._timeout_s = "ann", 0.2
        with pytest.raises(LocalError):
            client.call("approve")
        site.revoke("operator")
        server._curve._reread()
        # A server whose next look at the files is not due yet.
        server._curve._looked_s = time.monotonic()
        for _ in range(10):
            turn()
            time.sleep(0.01)
    assert calls == ["operator"]


def test_a_person_who_leaves_out_the_name_calls_in_the_own(site: Site) -> None:
    """Or one person would be two: by name, and by none."""
    endpoint = site.settings.command_endpoint
    _server, calls, turn = answering(site)

    def again() -> None:
        turn()
        time.sleep(0.005)

    site.thread(again)
    with CommandClient(endpoint, actor="", keyring=site.keyring("operator")) as client:
        client.call("add")
    assert calls == ["operator"]


def test_who_has_a_smaller_role_now_is_cut_off(site: Site) -> None:
    endpoint = site.settings.command_endpoint
    server = CallServer(endpoint, keyring=site.keyring("command"))
    site.stack.callback(server.close)

    def turn() -> None:
        server.turn(lambda key, operation, arguments: "done")
        time.sleep(0.005)

    site.thread(turn)
    with CommandClient(
        endpoint, actor="operator", timeout_s=5, keyring=site.keyring("operator")
    ) as client:
        assert client.call("add") == "done"
        write_trusted(site.keys, replace(site.keyring("operator").own(), role="viewer"))
        time.sleep(0.8)
        client._timeout_s = 1
        with pytest.raises(LocalError):
            client.call("add")


@pytest.mark.parametrize(
    ("source", "topic"),
    [
        ("receive.yeoju", "link.dss36"),
        ("receive.yeoju", "ocf.dss36"),
        ("receive.yeoju", "link"),
        ("receive.yeoju", "ocf"),
        ("receive", "packets"),
    ],
)
def test_an_antennas_receiver_speaks_for_its_own(site: Site, source: str, topic: str) -> None:
    make_keys(site.keys, "receive.yeoju")
    archive = site.bus("archive")
    archive.subscribe("")
    insider = site.bus("receive.yeoju", source)
    end = time.monotonic() + 20
    while not site.broker.counts["forbidden"]:
        assert not heard(archive, insider, topic)
        assert time.monotonic() < end


def test_a_name_is_as_the_authenticator_says_not_as_the_envelope(site: Site) -> None:
    """What PUB sends is checked by its connection: nothing a message holds says who sent it."""
    context = site.stack.enter_context(zmq.Context[Any]())
    pub = site.stack.enter_context(context.socket(zmq.PUB))
    pub.setsockopt(zmq.LINGER, 0)
    Curve(context, site.keyring("archive")).connect(pub, site.settings.bus_in, "bus")
    operator = _reader(site, "operator")
    from ground.ports import Message

    end = time.monotonic() + 20
    while not site.broker.counts["forbidden"]:
        pub.send_multipart(build_envelope(Message("uplink", "command", "", -1, 1, b"x")))
        assert all(m.topic.startswith("status") for m in operator.receive(0.02))
        assert time.monotonic() < end


# ---------------------------------------------------------------- files


def test_a_file_that_is_none_is_trusted_in_nobodys_name_and_stops_no_revocation(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, archive = site.bus("monitor"), site.bus("archive")
    archive.subscribe("status")
    until(lambda: heard(archive, monitor, "status.monitor"))
    # Half written, as `cp` leaves it for an instant.
    half = (site.keys / "trusted/operator.pub").read_text()[:60]
    (site.keys / "trusted/operator.pub").write_text(half)
    (site.keys / "trusted/._archive.pub").write_bytes(b"\x00\x05\x16\x07")
    os.mkfifo(site.keys / "trusted/fifo.pub")
    (site.keys / "trusted/directory.pub").mkdir()
    site.revoke("monitor")
    time.sleep(0.7)
    archive.receive(0)
    quiet(archive, monitor, 0.5)
    said = caplog.text
    assert "operator.pub: no key file" in said
    assert "fifo.pub: no file" in said
    assert half not in said
    with pytest.raises(LocalError, match=r"directory\.pub: Is a directory"):
        Keyring(site.keys, "bus").trusted()


@pytest.mark.parametrize("what", ["", "trusted", "trusted/monitor.pub"])
def test_where_others_may_write_they_would_say_who_is_trusted(tmp_path: Path, what: str) -> None:
    keys = tmp_path / "keys"
    make_keys(keys, "bus", "monitor", "spacecraft_sim")
    (keys / what).chmod(0o777 if not what.endswith(".pub") else 0o666)
    with pytest.raises(LocalError, match=r"mode 0[67].., others can change it; `chmod"):
        Keyring(keys, "bus").trusted()
    if what.endswith(".pub"):
        assert "monitor" not in StationKeys(keys)._trusted
    else:
        with pytest.raises(LocalError, match="others can read or change it"):
            StationKeys(keys)


def test_keys_of_another_owner_are_not_ours(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    make_keys(tmp_path, "bus", "spacecraft_sim")
    for name in ("bus", "spacecraft_sim"):
        os.chown(tmp_path / f"{name}.key", 65_534, -1)
    with pytest.raises(LocalError, match="its owner is user 65534, who can change it"):
        Keyring(tmp_path, "bus").own()
    with pytest.raises(LocalError, match="its owner is user 65534, who can change it"):
        StationKeys(tmp_path)


def test_a_secret_is_never_written_into_what_lies_there(tmp_path: Path) -> None:
    make_keys(tmp_path, "bus")
    bait = tmp_path / "bait"
    bait.write_text("")
    bait.chmod(0o666)
    for name in ("bus.key.new", f".bus.key.{os.getpid()}.new"):
        (tmp_path / name).symlink_to(bait)
    old = os.umask(0)
    try:
        write_secret(tmp_path / "bus.key", Keyring(tmp_path, "bus").own().build())
    finally:
        os.umask(old)
    assert bait.read_text() == ""
    assert (tmp_path / "bus.key").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "bus.key").is_symlink()


# ---------------------------------------------------------------- the station


def test_the_station_takes_nothing_of_who_was_revoked(tmp_path: Path) -> None:
    from protocols.bus.link import build_uplink
    from protocols.bus.messages import UplinkMessage

    make_keys(tmp_path, "receive", "spacecraft_sim")
    endpoint = f"tcp://127.0.0.1:{free_base_port()}"
    keys = StationKeys(tmp_path)
    station = ZmqStation(endpoint, StationBuffer("run"), keys)
    context: zmq.Context[Any] = zmq.Context()
    with closing(station):
        client = context.socket(zmq.DEALER)
        client.setsockopt(zmq.LINGER, 0)
        Curve(context, Keyring(tmp_path, "receive")).connect(client, endpoint, "spacecraft_sim")
        asked = UplinkMessage("a-1", "command", "command", b"x", 1, 2)
        client.send_multipart(build_uplink(asked))
        until(lambda: station.exchange(0.02))
        client.send_multipart(build_uplink(asked))
        time.sleep(0.2)
        (tmp_path / "trusted/receive.pub").unlink()
        keys._reread()
        keys._looked_s = time.monotonic()
        assert station.exchange(0.1) == []
        client.close()
    context.term()


# ---------------------------------------------------------------- floods


def test_connections_without_a_key_take_no_service_down(tmp_path: Path) -> None:
    """Each takes a descriptor of the broker's until the time for its handshake is over; where there
    are none left, key files could not be read, and the broker ended."""
    make_keys(tmp_path / "keys", "bus", "monitor", "archive")
    settings = RunSettings(tmp_path, base_port=free_base_port(), sync=False)
    (tmp_path / "run.toml").write_text(f"base_port = {settings.base_port}\n")
    command = [sys.executable, "-m", "ground", "bus", "--run-dir", str(tmp_path)]
    broker = subprocess.Popen(
        ["bash", "-c", 'ulimit -n 100; exec "$@"', "bash", *command],
        stderr=subprocess.PIPE,
        text=True,
    )
    with ExitStack() as stack:
        monitor, archive, late = (
            stack.enter_context(
                closing(
                    ZmqBus(
                        name,
                        bus_in=settings.bus_in,
                        bus_out=settings.bus_out,
                        keyring=Keyring(tmp_path / "keys", name),
                    )
                )
            )
            for name in ("monitor", "archive", "archive")
        )
        archive.subscribe("status")
        until(lambda: heard(archive, monitor, "status.monitor"))
        port = int(settings.bus_out.rpartition(":")[2])
        for n in range(150):
            source = f"127.0.3.{1 + n}" if sys.platform == "linux" else "127.0.0.1"
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 5, (source, 0)))
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            heard(archive, monitor, "status.monitor")
        assert broker.poll() is None
        # Those who are in go on, and who comes now gets in when the time of the others is over.
        until(lambda: heard(archive, monitor, "status.monitor"))
        late.subscribe("status")
        until(lambda: heard(late, monitor, "status.monitor"))
        broker.terminate()
        assert "keys cannot be read: Too many open files" in broker.communicate(timeout=20)[1]
