"""Bundles through a relay: TCPCL in, durable store, routing, TCPCL out; three processes.

The source has its bundles ready and counts a bundle when the relay has acknowledged it, that is
when it is on the relay's disk; the sink takes and acknowledges.  Rate: from the first bundle handed
over until the sink has all of them and the relay's acknowledgements are in.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ground.adapters.tcpcl_transport import TcpclTransport
from ground.ports import BundleArrived, BundleFailed, BundleSent, PeerUp
from protocols.dtn.bundle import Bundle, CrcType, CreationTimestamp, Primary, payload_block
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.dtn.eid import eid
from protocols.dtn.tcpcl import TcpclSettings
from protocols.timecodes.tai import tai_ns_from_unix_ns

_DAY_MS = 86_400_000


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def source(port: int, count: int, octets: int) -> dict[str, Any]:
    """Send `count` bundles to the relay as fast as its window lets us."""
    now_ms = dtn_ms_from_tai_ns(int(tai_ns_from_unix_ns(time.time_ns())))
    payload = bytes(range(256)) * (octets // 256 + 1)
    bundles = [
        Bundle(
            Primary(
                0,
                CrcType.CRC32C,
                eid("ipn:3.7"),
                eid("ipn:1.1"),
                eid("dtn:none"),
                CreationTimestamp(now_ms, n),
                _DAY_MS,
            ),
            (payload_block(payload[:octets]),),
        ).build()
        for n in range(count)
    ]
    transport = TcpclTransport(TcpclSettings(node_id="ipn:1.0"), connect=[("127.0.0.1", port)])
    selector = selectors.DefaultSelector()
    transport.open(selector)
    sent = acknowledged = 0
    up = False
    began = 0.0
    while acknowledged < count:
        for key, mask in selector.select(0.05):
            key.data(mask)
        for event in transport.events:
            if isinstance(event, PeerUp):
                up = True
                began = time.time()
            elif isinstance(event, BundleSent):
                acknowledged += 1
            elif isinstance(event, BundleFailed):
                sys.exit("a bundle failed")
        transport.events.clear()
        if up:
            for _ in range(min(transport.window(2), count - sent)):
                transport.send(2, sent, (bundles[sent],))
                sent += 1
        transport.turn()
    transport.close()
    return {"began": began, "ended": time.time(), "cpu_s": time.process_time()}


def sink(port: int, count: int) -> dict[str, Any]:
    """Take `count` bundles."""
    transport = TcpclTransport(TcpclSettings(node_id="ipn:3.0"), listen=("127.0.0.1", port))
    selector = selectors.DefaultSelector()
    transport.open(selector)
    taken: set[bytes] = set()
    octets = 0
    while len(taken) < count:
        for key, mask in selector.select(0.05):
            key.data(mask)
        for event in transport.events:
            if isinstance(event, BundleArrived):
                # The primary block is what tells bundles apart.
                taken.add(event.octets[:90])
                octets += len(event.octets)
                transport.accept(event.receipt)
        transport.events.clear()
        transport.turn()
    ended = time.time()
    while selector.select(0.2):
        for key, mask in selector.select(0):
            key.data(mask)
        transport.turn()
        if not transport.statistics():
            break
    transport.close()
    return {"ended": ended, "octets": octets, "cpu_s": time.process_time()}


def measure(
    count: int, octets: int, *, sync: bool = True, directory: Path | None = None
) -> dict[str, Any]:
    """One run; rates in bundles/s and Mbit/s of bundles, CPU seconds of each process."""
    with tempfile.TemporaryDirectory(dir=directory) as name:
        here = Path(name)
        relay_port, sink_port = free_port(), free_port()
        (here / "plan.ionrc").write_text(
            "a contact 2020/01/01-00:00:00 2060/01/01-00:00:00 2 1 1000000000\n"
            "a contact 2020/01/01-00:00:00 2060/01/01-00:00:00 2 3 1000000000\n"
            "a range 2020/01/01-00:00:00 2060/01/01-00:00:00 1 2 0\n"
            "a range 2020/01/01-00:00:00 2060/01/01-00:00:00 2 3 0\n"
        )
        (here / "node.toml").write_text(
            f'node = "ipn:2.0"\nlisten = "127.0.0.1:{relay_port}"\nplan = "plan.ionrc"\n'
            f'applications = "tcp://127.0.0.1:{free_port()}"\n'
            f'[[neighbour]]\nnode = "ipn:3.0"\nconnect = "127.0.0.1:{sink_port}"\n'
        )

        def start(*arguments: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.benchmarks.relay", *arguments],
                stdout=subprocess.PIPE,
                text=True,
            )

        taking = start("sink", str(sink_port), str(count))
        relay = start("relay", str(here / "node.toml"), "sync" if sync else "memory")
        sending = start("source", str(relay_port), str(count), str(octets))
        try:
            sent = json.loads(sending.communicate(timeout=300)[0])
            took = json.loads(taking.communicate(timeout=300)[0])
        finally:
            relay.terminate()
            about, _ = relay.communicate(timeout=30)
            for process in (sending, taking):
                process.kill()
        seconds = max(sent["ended"], took["ended"]) - sent["began"]
        return {
            "bundles_s": count / seconds,
            "mbit_s": took["octets"] * 8 / seconds / 1e6,
            "seconds": seconds,
            "cpu_s": {
                "source": sent["cpu_s"],
                "relay": json.loads(about)["cpu_s"],
                "sink": took["cpu_s"],
            },
        }


def relay_process(path: Path, sync: bool) -> dict[str, Any]:
    import signal

    from ground.relay.settings import load_relay_settings
    from ground.wiring_node import run_node

    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
    run_node(load_relay_settings(path), lambda: bool(told), sync=sync)
    return {"cpu_s": time.process_time()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("measure", "source", "sink", "relay"))
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    arguments = options.arguments
    if options.role == "source":
        print(json.dumps(source(*map(int, arguments))))
    elif options.role == "sink":
        print(json.dumps(sink(*map(int, arguments))))
    elif options.role == "relay":
        print(json.dumps(relay_process(Path(arguments[0]), arguments[1] == "sync")))
    else:
        print(json.dumps(measure(*map(int, arguments)), indent=2))


if __name__ == "__main__":
    main()
