"""Parameters from one process to another, through the journal and the broker, each exactly once.

The peer sends what most ground software sends: one message a packet, a map from name to value.
"""

from __future__ import annotations

import atexit
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgpack
import numpy as np
import zmq

from ground.config import free_base_port, prepare_run_directory
from ground.ports import Bus
from ground.wiring import open_bus
from protocols.bus.columns import ParameterColumn
from protocols.bus.messages import ParametersMessage, ParameterTable, parse
from protocols.telemetry.calibration import Polynomial
from tests.benchmarks.harness import Case
from tests.site_keys import make_keys

ROOT = Path(__file__).resolve().parents[2]
MESSAGES, ROWS, PARAMETERS = 40, 1000, 40
VALUES = MESSAGES * ROWS * PARAMETERS
PEER_PACKETS = 20_000
PATIENCE_S = 60.0
#: A topic that the archive may publish, also where there are keys.
GO = "status.archive"

SENDER = """
import sys
from tests.benchmarks import bench_bus
bench_bus.send(sys.argv[1])
"""


def table_message(first_row: int) -> ParametersMessage:
    rng = np.random.default_rng(first_row)
    times = np.arange(first_row, first_row + ROWS, dtype=np.int64)
    columns = tuple(
        ParameterColumn(
            name=f"PARAMETER_{i}",
            raw=rng.integers(0, 65536, ROWS, np.uint16),
            limit_state=np.zeros(ROWS, np.uint8),
            calibration=Polynomial((-50.0, 0.01)),
            unit="V",
        )
        for i in range(PARAMETERS)
    )
    table = ParameterTable("HK", times, times, times, np.zeros(ROWS, bool), columns)
    return ParametersMessage("downlink", "j", first_row, 0, first_row, (table,))


def send(run_dir: str) -> None:
    """The sending process: as `monitor` does, on demand."""
    from ground.config import load_settings

    bus = open_bus(load_settings(run_dir), "monitor")
    bus.subscribe(GO)
    messages = [table_message(number * ROWS) for number in range(MESSAGES)]
    while True:
        for _ in bus.receive(1.0):
            for message in messages:
                bus.publish("parameters", message.build(), time_ns=0)
                bus.receive(0)


class Exchange:
    """Broker, sender, and this process as the receiver.  secured: over CURVE."""

    def __init__(self, *, secured: bool = False) -> None:
        directory = Path(tempfile.mkdtemp(prefix="bench-bus-"))
        self._settings = prepare_run_directory(
            directory, base_port=free_base_port(), journal_octets=1 << 30
        )
        if secured:
            make_keys(directory / "keys", "bus", "monitor", "archive")
        self._processes = [
            subprocess.Popen([sys.executable, *command, str(directory)], cwd=ROOT)
            for command in (("-m", "ground", "bus", "--run-dir"), ("-c", SENDER))
        ]
        self._bus: Bus = open_bus(self._settings, "archive")
        self._bus.follow("parameters", "monitor", "", -1)
        atexit.register(self._close, directory)
        deadline = time.monotonic() + PATIENCE_S
        # The first round also waits until everybody is connected.
        while not self._round(asking=True):
            assert time.monotonic() < deadline

    def _round(self, *, asking: bool = False) -> float:
        self._bus.publish(GO, b"", time_ns=0)
        total, count = 0.0, 0
        quiet = time.monotonic() + (0.5 if asking else PATIENCE_S)
        while count < MESSAGES:
            messages = self._bus.receive(0.05)
            for message in messages:
                table = parse(ParametersMessage, message.body).tables[0]
                # Each value is looked at: one sum a column.
                total += sum(float(c.engineering.sum()) for c in table.columns)  # type: ignore[union-attr]
                count += 1
            if not messages and not count and time.monotonic() > quiet:
                return 0.0
        return total

    def __call__(self) -> float:
        return self._round()

    def _close(self, directory: Path) -> None:
        self._bus.close()
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        shutil.rmtree(directory, ignore_errors=True)


PEER_SENDER = """
import sys, msgpack, zmq
context = zmq.Context()
push, go = context.socket(zmq.PUSH), context.socket(zmq.PULL)
push.bind_to_random_port("tcp://127.0.0.1"); go.bind_to_random_port("tcp://127.0.0.1")
print(push.last_endpoint.decode(), go.last_endpoint.decode(), flush=True)
names = [f"PARAMETER_{i}" for i in range(int(sys.argv[2]))]
while go.recv():
    for packet in range(int(sys.argv[1])):
        push.send(msgpack.packb({name: packet + 0.5 for name in names}))
"""


def one_message_a_packet() -> Callable[[], float]:
    sender = subprocess.Popen(
        [sys.executable, "-c", PEER_SENDER, str(PEER_PACKETS), str(PARAMETERS)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sender.stdout is not None
    endpoints = sender.stdout.readline().split()
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    pull, go = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    pull.connect(endpoints[0])
    go.connect(endpoints[1])

    def close() -> None:
        sender.kill()
        sender.wait()
        context.destroy(linger=0)

    atexit.register(close)

    def work() -> float:
        go.send(b"go")
        return sum(sum(msgpack.unpackb(pull.recv()).values()) for _ in range(PEER_PACKETS))

    return work


def cases() -> Iterable[Case]:
    yield Case(
        name="parameters over the bus, journaled and exactly once",
        units=VALUES,
        unit="Mvalue/s",
        ours=Exchange(),
        peers={"pyzmq + msgpack, a map a packet, not journaled": one_message_a_packet},
        peer_units={"pyzmq + msgpack, a map a packet, not journaled": PEER_PACKETS * PARAMETERS},
        goal_rate=3.0,
    )
    yield Case(
        name="the same, authenticated and encrypted (CURVE)",
        units=VALUES,
        unit="Mvalue/s",
        ours=Exchange(secured=True),
        peers={"without keys": Exchange()},
        peer_units={"without keys": VALUES},
    )
