"""`python -m tests.benchmarks.relay_growth`: the bundle node as bundles pile up and go by.

Node and log in one process, without network and without waiting for the disk; CPU time.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ground.adapters.bundle_log import BundleLog
from protocols.dtn.bundle import Bundle, CrcType, CreationTimestamp, Primary, payload_block
from protocols.dtn.contact_plan import Contact, ContactPlan, Range
from protocols.dtn.dtn_time import dtn_ms_from_tai_ns
from protocols.dtn.eid import NULL_ENDPOINT, eid, ipn
from protocols.dtn.node import Node
from protocols.dtn.node_settings import NodeSettings
from protocols.dtn.routing import Router
from protocols.timecodes.tai import tai_ns_from_utc_iso

T0 = tai_ns_from_utc_iso("2027-03-01T00:00:00Z")
HOUR_NS = 3_600 * 10**9
MS_NS = 10**6
DAY_MS = 86_400_000
BATCH = 200


def plan() -> ContactPlan:
    """From node 2 to 3: for an hour in an hour, and from the 50th hour on."""
    always = (T0 - HOUR_NS, T0 + 100 * HOUR_NS)
    return ContactPlan(
        (
            Contact(*always, 2, 1, 10**10),
            Contact(*always, 1, 2, 10**10),
            Contact(T0 + HOUR_NS, T0 + 2 * HOUR_NS, 2, 3, 10**9),
            Contact(T0 + 50 * HOUR_NS, T0 + 100 * HOUR_NS, 2, 3, 10**9),
        ),
        (Range(*always, 1, 2, 0), Range(*always, 2, 3, 0)),
    )


def bundles(count: int) -> Iterator[bytes]:
    source, destination = eid("ipn:1.1"), eid("ipn:3.1")
    payload = payload_block(bytes(900))
    for n in range(count):
        creation = CreationTimestamp(dtn_ms_from_tai_ns(T0), n)
        primary = Primary(4, CrcType.CRC32C, destination, source, NULL_ENDPOINT, creation, DAY_MS)
        yield Bundle(primary, (payload,)).build()


def node_of(log: BundleLog, now_ns: int) -> Node:
    settings = NodeSettings(node=ipn(2, 0), quota_octets=1 << 40, quota_bundles=10**8)
    recovered, seen = log.recovered(), log.seen(now_ns)
    return Node(settings, Router(2, plan()), log, now_ns, recovered=recovered, seen=seen)


def peak_mb() -> int:
    """KiB on Linux, octets on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak >> (20 if sys.platform == "darwin" else 10)


def through(directory: Path, count: int) -> None:
    """As many as come go on at once; lifetimes are long."""
    log = BundleLog(directory, sync=False)
    now_ns = T0 + HOUR_NS + 1
    node = node_of(log, now_ns)
    node.link(3, True, now_ns)
    began = time.process_time()
    for n, octets in enumerate(bundles(count), 1):
        node.offer(now_ns, octets, 1)
        if n % BATCH == 0:
            while (copy := node.take(3, now_ns)) is not None:
                node.outgoing(copy, now_ns)
                node.sent(copy, now_ns)
            log.commit(now_ns)
            now_ns += MS_NS
        if n % (count // 4) == 0:
            took_us = (time.process_time() - began) / (count // 4) * 1e6
            files = [path.stat().st_size for path in directory.iterdir()]
            print(
                f"{n:>9,} went by: {took_us:5.1f} µs each, {len(node.held)} held, peak {peak_mb()} "
                f"MB, {len(files)} files of {sum(files) / 1e6:.0f} MB"
            )
            began = time.process_time()
    log.close()


def held(directory: Path, count: int) -> None:
    """All wait for a contact, miss it, and are there again after a restart."""
    log = BundleLog(directory, sync=False)
    node = node_of(log, T0)
    began = time.process_time()
    for n, octets in enumerate(bundles(count)):
        node.offer(T0 + n // BATCH * MS_NS, octets, 1)
        if n % BATCH == 0:
            log.commit(T0)
    log.commit(T0)
    took_us = (time.process_time() - began) / count * 1e6
    print(f"{node.queues[3].waiting:>9,} wait: {took_us:.1f} µs each, peak {peak_mb()} MB")
    began = time.process_time()
    node.turn(T0 + HOUR_NS - 1)
    print(f"{'':10}a look at the clock: {(time.process_time() - began) * 1e3:.3f} ms")
    now_ns = T0 + 2 * HOUR_NS + 1
    began = time.process_time()
    node.turn(now_ns)
    took_s = time.process_time() - began
    print(f"{'':10}another route for {node.counts.rerouted:,}: {took_s:.2f} s")
    log.close()
    began = time.process_time()
    log = BundleLog(directory, sync=False)
    node = node_of(log, now_ns)
    print(f"{'':10}a restart with {len(node.held):,}: {time.process_time() - began:.2f} s")
    log.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--bundles", type=int, default=100_000)
    options = parser.parse_args()
    for work in (through, held):
        with tempfile.TemporaryDirectory() as directory:
            work(Path(directory), options.bundles)


if __name__ == "__main__":
    main()
