"""Bundle nodes with their stores, TCPCL and applications, over loopback, in one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ground.config import free_base_port
from ground.relay.client import BundleClient
from ground.relay.settings import load_relay_settings
from ground.relay.warming import warm
from ground.wiring_node import run_node
from protocols.errors import LocalError


class Chain:
    """Nodes 1 … n in a row, each connected to the next by TCPCL, each a thread."""

    def __init__(self, directory: Path, n: int, extra: str = "") -> None:
        self.directory = directory
        base = free_base_port()
        self.tcp = {i: base + i for i in range(1, n + 1)}
        self.agents = {i: f"tcp://127.0.0.1:{base + n + i}" for i in range(1, n + 1)}
        self.said: dict[int, list[str]] = {i: [] for i in self.tcp}
        self._stops: dict[int, threading.Event] = {}
        self._threads: dict[int, threading.Thread] = {}
        plan = ""
        for a in range(1, n):
            for x, y in ((a, a + 1), (a + 1, a)):
                plan += f"a contact 2020/01/01-00:00:00 2060/01/01-00:00:00 {x} {y} 100000000\n"
            plan += f"a range 2020/01/01-00:00:00 2060/01/01-00:00:00 {a} {a + 1} 0\n"
        (directory / "plan.ionrc").write_text(plan)
        for i in self.tcp:
            connect = ""
            if i < n:
                connect = (
                    f'[[neighbour]]\nnode = "ipn:{i + 1}.0"\n'
                    f'connect = "127.0.0.1:{self.tcp[i + 1]}"\n'
                )
            (directory / f"{i}.toml").write_text(
                f'node = "ipn:{i}.0"\nname = "node {i}"\nstore = "store{i}"\n'
                f'applications = "{self.agents[i]}"\nlisten = "127.0.0.1:{self.tcp[i]}"\n'
                f'plan = "plan.ionrc"\n{extra}\n{connect}'
            )

    def start(self, i: int) -> None:
        settings = load_relay_settings(self.directory / f"{i}.toml")
        stop = self._stops[i] = threading.Event()
        thread = self._threads[i] = threading.Thread(
            target=run_node, args=(settings, stop.is_set), kwargs={"said": self.said[i].append}
        )
        thread.start()

    def stop(self, i: int) -> None:
        self._stops.pop(i).set()
        self._threads.pop(i).join(20)

    def stop_all(self) -> None:
        for i in list(self._stops):
            self.stop(i)


@contextmanager
def chain_of(directory: Path, n: int, extra: str = "") -> Iterator[Chain]:
    # On a machine's first run kernels compile for longer than a client waits.
    warm()
    chain = Chain(directory, n, extra)
    try:
        for i in chain.tcp:
            chain.start(i)
        yield chain
    finally:
        chain.stop_all()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_bundles_go_through_a_chain_and_come_once(tmp_path: Path) -> None:
    with chain_of(tmp_path, 3) as chain, ExitStack() as stack:
        sender = stack.enter_context(BundleClient(chain.agents[1]))
        taker = stack.enter_context(BundleClient(chain.agents[3]))
        sender.register("ipn:1.7")
        taker.register("ipn:3.7")
        wanted = [b"%d" % n + bytes(n * 50) for n in range(100)]
        for payload in wanted:
            assert sender.send("ipn:3.7", payload, source="ipn:1.7")["verdict"] == "stored"
        got: list[bytes] = []
        until(lambda: got.extend(take(taker)) or len(got) >= len(wanted))
        assert sorted(got) == sorted(wanted)
        for i in (1, 2, 3):
            until(lambda i=i: status(chain, i)["held_bundles"] == 0)
        relay = status(chain, 2)
        assert relay["counts"]["forwarded"] == len(wanted)
        assert {n["number"]: n["up"] for n in relay["neighbours"]} == {1: True, 3: True}
        assert relay["held_octets"] == 0


def fill(sender: BundleClient) -> int:
    """Send until the store is full; how many it took."""
    for n in range(200):
        try:
            sender.send("ipn:3.7", b"%4d" % n + bytes(500), source="ipn:1.7")
        except LocalError as error:
            if "the store is full" in str(error):
                return n
            raise
    raise AssertionError("the store never got full")


def take(client: BundleClient) -> list[bytes]:
    found = client.receive(0.2)
    for delivery in found:
        client.acknowledge(delivery)
    return [delivery.payload for delivery in found]


def status(chain: Chain, i: int) -> dict:
    with BundleClient(chain.agents[i]) as client:
        return client.ask("status")


def test_what_a_node_took_it_has_after_it_was_stopped(tmp_path: Path) -> None:
    with chain_of(tmp_path, 3) as chain:
        chain.stop(3)
        with BundleClient(chain.agents[1]) as sender:
            sender.register("ipn:1.7")
            for n in range(20):
                sender.send("ipn:3.7", b"%d" % n, source="ipn:1.7")
        until(lambda: status(chain, 2)["held_bundles"] == 20)
        chain.stop(2)
        chain.start(2)
        assert status(chain, 2)["held_bundles"] == 20
        chain.start(3)
        with BundleClient(chain.agents[3]) as taker:
            taker.register("ipn:3.7")
            got: list[bytes] = []
            until(lambda: got.extend(take(taker)) or len(got) >= 20)
        assert len(set(got)) == 20


def test_a_full_store_refuses_and_goes_on_when_it_has_room(tmp_path: Path) -> None:
    with chain_of(tmp_path, 3, "[quota]\noctets = 30000\n") as chain:
        chain.stop(3)
        with BundleClient(chain.agents[1]) as sender:
            sender.register("ipn:1.7")
            sent = fill(sender)
            until(lambda: any("refused: the store is full" in s for s in chain.said[2]))
            chain.start(3)
            with BundleClient(chain.agents[3]) as taker:
                taker.register("ipn:3.7")
                got: list[bytes] = []
                until(lambda: got.extend(take(taker)) or len(got) >= sent)
                assert len(set(got)) == sent
        until(lambda: any("taken again" in s for s in chain.said[2]))


def test_what_is_asked_wrongly_is_refused_by_name(tmp_path: Path) -> None:
    with chain_of(tmp_path, 1) as chain, BundleClient(chain.agents[1]) as client:
        for arguments, words in (
            ({"destination": "http://x", "payload": b""}, "endpoint 'http://x'"),
            ({"payload": b""}, "argument 'destination' is missing"),
            ({"destination": "ipn:3.1", "payload": b"", "source": "ipn:9.1"}, "no endpoint of"),
        ):
            with pytest.raises(LocalError, match=words):
                client.ask("send", **arguments)
        with pytest.raises(LocalError, match="not of ipn:1"):
            client.register("ipn:2.1")
        with pytest.raises(LocalError, match="no bundle 77"):
            client.ask("drop", ref=77)


def test_routes_say_why_and_plans_change_while_it_runs(tmp_path: Path) -> None:
    with chain_of(tmp_path, 2) as chain, BundleClient(chain.agents[1]) as client:
        (route,) = client.ask("routes", destination="ipn:2.7")
        assert route["chosen"]
        assert route["via"] == 2
        assert client.ask("routes", destination="ipn:9.7")[0]["chosen"] is False
        client.send("ipn:9.7", b"far")
        (held,) = client.ask("held")
        assert "no route" in held["why"]
        plan = tmp_path / "plan.ionrc"
        plan.write_text(
            plan.read_text()
            + "a contact 2020/01/01-00:00:00 2060/01/01-00:00:00 2 9 1000\n"
            + "a range 2020/01/01-00:00:00 2060/01/01-00:00:00 2 9 0\n"
        )
        assert client.ask("reload")["added"] == 1
        assert client.ask("routes", destination="ipn:9.7")[0]["chosen"] is True
        until(lambda: client.ask("held") == [])
        assert {(c["source"], c["dest"]) for c in client.ask("contacts")} == {
            (1, 2),
            (2, 1),
            (2, 9),
        }
        with BundleClient(chain.agents[2]) as other:
            until(lambda: len(other.ask("held")) == 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('node = "dtn://x/"', "ipn:N.0 wanted"),
        ('node = "ipn:1.0"\nwho = 1', "who is not a key"),
        ('node = "ipn:1.0"\nlisten = "4556"', '"HOST:PORT" wanted'),
        ('node = "ipn:1.0"\nplan = "none.ionrc"', "No such file"),
        ('node = "ipn:1.0"\n[[rule]]\npriority = "urgent"', "bulk, normal, expedited"),
        ('node = "ipn:1.0"\n[quota]\noctets = "1"', "octets = '1', int wanted"),
        ("node = ", "Invalid value"),
    ],
)
def test_settings_that_are_wrong_are_named(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(line)
    with pytest.raises(LocalError, match=words) as caught:
        load_relay_settings(path)
    assert str(path) in str(caught.value)
