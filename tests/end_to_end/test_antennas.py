"""Two antennas on hosts of their own meet at the site over CURVE: every packet once.

Hosts are network namespaces where this machine allows them (Linux, root), else loopback addresses.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ground.adapters.zmq_broker import Broker
from ground.config import RunSettings, free_base_port, prepare_run_directory
from ground.keyring import Keyring
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.supervisor import EXIT_WITH_STDIN
from ground.wiring import open_bus
from ground.wiring_services import run_service
from protocols.bus.messages import PacketsMessage, parse
from protocols.timecodes.tai import tai_ns_from_utc_iso
from tests.site_keys import make_keys

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/captures/l4_relay_nominal_aos.cadu"
CADU_OCTETS = 1279
T0 = tai_ns_from_utc_iso("2026-11-28T12:00:00Z")
STEP_NS = 100_000_000
PATIENCE_S = 120.0
#: Each misses frames that the other hears; 15 ms of light lie between them.
MISSED = {"yeoju": "20:40", "dss36": "60:80"}
DELAY_NS = {"yeoju": 0, "dss36": 15_000_000}


class Host:
    """Where an antenna's processes run: `command` is what goes before theirs."""

    def __init__(self, address: str, centre: str, command: tuple[str, ...] = ()) -> None:
        self.address, self.centre, self.command = address, centre, command


def namespaces(stack: ExitStack) -> dict[str, Host]:
    """A namespace an antenna, with a cable to this one; none where they are not allowed."""
    if sys.platform != "linux" or os.geteuid() or shutil.which("ip") is None:
        return {}
    hosts: dict[str, Host] = {}
    for i, antenna in enumerate(MISSED, 1):
        name = f"l4-{os.getpid()}-{i}"
        here, there = f"l4h{os.getpid()}{i}"[:15], f"l4t{os.getpid()}{i}"[:15]
        centre, address = f"10.77.{i}.1", f"10.77.{i}.2"
        inside = ("ip", "-n", name)
        for command in (
            ("ip", "netns", "add", name),
            ("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name),
            ("ip", "addr", "add", f"{centre}/30", "dev", here),
            ("ip", "link", "set", here, "up"),
            (*inside, "addr", "add", f"{address}/30", "dev", there),
            (*inside, "link", "set", there, "up"),
            (*inside, "link", "set", "lo", "up"),
        ):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                return {}
            if "netns" in command and "add" in command and command[1] == "netns":
                stack.callback(subprocess.run, ("ip", "netns", "del", name), capture_output=True)
        hosts[antenna] = Host(address, centre, ("ip", "netns", "exec", name))
    return hosts


@pytest.fixture
def hosts() -> Iterator[dict[str, Host]]:
    with ExitStack() as stack:
        found = namespaces(stack)
        if not found and sys.platform != "linux":
            pytest.skip("neither namespaces nor loopback addresses beside 127.0.0.1")
        yield found or {
            antenna: Host(f"127.0.0.{i}", "127.0.0.1") for i, antenna in enumerate(MISSED, 2)
        }


class Antenna:
    """A receiver and its modem, as processes on their host, with a run directory of their own."""

    def __init__(self, name: str, host: Host, base: int, directory: Path, keys: Path) -> None:
        self._host, self._name, self._directory = host, name, directory
        prepare_run_directory(
            directory,
            base_port=base,
            receivers=",".join(MISSED),
            hosts=f"*={host.centre},receive.{name}={host.address}",
            keys=str(keys),
        )
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.start(
            "modem",
            *("tests.end_to_end.antenna", str(GOLDEN), str(CADU_OCTETS)),
            *(f"tcp://{host.address}:{base + 2}", str(keys)),
            *(str(T0 + DELAY_NS[name]), str(STEP_NS), MISSED[name]),
        )
        self.start_receiver()

    def start(self, what: str, *command: str) -> None:
        with (self._directory / f"{what}.log").open("ab") as log:
            self._processes[what] = subprocess.Popen(
                [*self._host.command, sys.executable, "-m", *command],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=os.environ | {EXIT_WITH_STDIN: "1"},
            )

    def start_receiver(self) -> None:
        self.start("receive", "ground", f"receive.{self._name}", "--run-dir", str(self._directory))

    def end(self, what: str, how: signal.Signals) -> None:
        process = self._processes.pop(what)
        process.send_signal(how)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(PATIENCE_S)

    def close(self) -> None:
        for what in list(self._processes):
            self.end(what, signal.SIGKILL)

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self._directory.glob("*.log"))


def test_two_antennas_on_hosts_of_their_own_are_one_stream(
    tmp_path: Path, hosts: dict[str, Host]
) -> None:
    keys = tmp_path / "keys"
    receivers = [f"receive.{name}" for name in MISSED]
    make_keys(keys, "bus", "receive", *receivers, "archive", "spacecraft_sim")
    base = free_base_port()
    elsewhere = ",".join(f"receive.{name}={host.address}" for name, host in hosts.items())
    settings = RunSettings(
        tmp_path / "site",
        base_port=base,
        receivers=",".join(MISSED),
        hosts=elsewhere,
        listen="0.0.0.0" if hosts["yeoju"].command else "",
        keys=str(keys),
        sync=False,
    )
    expected = [
        packet
        for packet in ReceiveChain(load_profile("l4_relay")).push(GOLDEN.read_bytes(), T0).packets
        if int.from_bytes(packet[:2], "big") & 0x7FF != 0x7FF
    ]
    got: list[bytes] = []
    with ExitStack() as stack:
        stop = threading.Event()
        broker = Broker(
            settings.bound(settings.bus_in),
            settings.bound(settings.bus_out),
            Keyring(keys, "bus"),
        )
        stack.callback(broker.close)

        def forward() -> None:
            while not stop.is_set():
                broker.turn(0.02)

        def merge(ended: threading.Event) -> threading.Thread:
            thread = threading.Thread(
                target=run_service, args=("receive", settings, ended.is_set), daemon=True
            )
            thread.start()
            return thread

        forwarding = threading.Thread(target=forward)
        stack.callback(forwarding.join)
        stack.callback(stop.set)
        forwarding.start()
        antennas = {}
        for name, host in hosts.items():
            antennas[name] = Antenna(name, host, base, tmp_path / name, keys)
            stack.callback(antennas[name].close)
        archive = open_bus(settings, "archive")
        stack.callback(archive.close)
        archive.follow("packets", "receive", "", -1)
        by: set[str] = set()

        def take(until: int) -> None:
            deadline = time.monotonic() + PATIENCE_S
            while len(got) < until:
                logs = "\n".join(antenna.logs() for antenna in antennas.values())
                assert time.monotonic() < deadline, (len(got), until, logs)
                for message in archive.receive(0.05):
                    if message.topic == "packets":
                        body = parse(PacketsMessage, message.body)
                        by.add(body.origin.partition(".")[2])
                        got.extend(body.packets)

        ended = threading.Event()
        thread = merge(ended)
        take(1)
        # One receiver is killed and started again; the merging ends and begins again.
        antennas["yeoju"].end("receive", signal.SIGKILL)
        ended.set()
        thread.join(PATIENCE_S)
        ended = threading.Event()
        thread = merge(ended)
        antennas["yeoju"].start_receiver()
        take(len(expected) - 5)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            got.extend(
                packet
                for message in archive.receive(0.05)
                if message.topic == "packets"
                for packet in parse(PacketsMessage, message.body).packets
            )
        ended.set()
        thread.join(PATIENCE_S)
    assert sorted(got) == sorted(expected)
    assert by == set(MISSED)
