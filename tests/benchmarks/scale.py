"""`make bench-scale`: what grows with followers, parameters, years and consoles, with figures.

--only bus,monitor,years,consoles   (all of them)
--years N                           of 1 Hz of one parameter, the longest archive
--clients N,N,N                     WebSocket clients of one console

Each line says the load at its end.  Processes are real, sockets on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import zmq

from ground.archive.store import ArchiveStore
from ground.config import BUS, CONSOLE, MONITOR, free_base_port, prepare_run_directory
from ground.monitor.decoding import Decoder
from ground.receive.chain import ReceiveChain
from ground.receive.profile import load_profile
from ground.wiring import open_bus, open_clock
from protocols.bus.columns import ParameterColumn
from protocols.bus.messages import PacketsMessage, ParametersMessage, ParameterTable
from protocols.dictionary.l4_reports import EVERYTHING
from spacecraft_sim.scenario import Mars, Scenario
from spacecraft_sim.spacecraft import Spacecraft
from tests.benchmarks.bench_archive import T0, YEAR, S, put
from tests.benchmarks.console_site import ConsoleSite

TOPIC = "parameters"
SECONDS = 5.0
#: Parameters of a table message, and tables a second: 500 parameters at 1 Hz.
PARAMETERS, TABLES = 25, 20


def say(*cells: object) -> None:
    load = f"{os.getloadavg()[0]:.1f}"
    print("| " + " | ".join(map(str, [*cells, load])) + " |", flush=True)


def head(*names: str) -> None:
    print(f"\n| {' | '.join([*names, 'load'])} |\n|{' --- |' * (len(names) + 1)}", flush=True)


# -- the bus ---------------------------------------------------------------------------------


def table_message(number: int, now_ns: int, stamp: int = 0) -> ParametersMessage:
    """One packet of PARAMETERS parameters, as `monitor` tells it; the first one is `stamp`."""
    columns = [
        ParameterColumn(
            f"P{number % TABLES:02}_{i:02}",
            np.array([stamp if i == 0 else number + i], np.uint32),
            np.zeros(1, np.uint8),
            unit="ms" if i == 0 else "V",
        )
        for i in range(PARAMETERS)
    ]
    times = np.array([now_ns])
    name = f"BENCH_{number % TABLES:02}"
    table = ParameterTable(name, np.array([number]), times, times, np.zeros(1, bool), columns)
    return ParametersMessage("downlink", "j", number, now_ns, number, (table,))


def drain(endpoint: str, followers: int, seconds: float, counts: Any, ready: Any) -> None:
    """So many subscribers; messages and octets of the one that got fewest, of all."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sockets = []
    for _ in range(followers):
        socket = context.socket(zmq.SUB)
        socket.connect(endpoint)
        socket.setsockopt(zmq.SUBSCRIBE, TOPIC.encode())
        sockets.append(socket)
    poller = zmq.Poller()
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    got, octets = dict.fromkeys(sockets, 0), 0
    ready.set()
    began: float | None = None
    last = time.monotonic()
    while began is None or time.monotonic() - last < 1.0:
        for socket, _ in poller.poll(200):
            for _ in range(200):
                try:
                    message = socket.recv_multipart(zmq.NOBLOCK)
                except zmq.Again:
                    break
                got[socket] += 1
                octets += sum(map(len, message))
                last = time.monotonic()
                began = began or last
    counts.put((sum(got.values()), octets, min(got.values()), last - (began or last)))
    context.destroy(linger=0)


def bus(followers: int, rate: float | None) -> None:
    """rate: messages a second, None: as fast as one publisher can; a socket for each follower."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as home:
        settings = prepare_run_directory(Path(home) / "run", base_port=free_base_port())
        site = ConsoleSite.__new__(ConsoleSite)
        site.settings, site.processes = settings, {}
        broker = site.start(BUS, "ground", BUS, "--run-dir", str(settings.run_dir))
        spawn = multiprocessing.get_context("spawn")
        counts, ready = spawn.Queue(), spawn.Event()
        follower = spawn.Process(
            target=drain, args=(settings.bus_out, followers, SECONDS, counts, ready)
        )
        follower.start()
        publisher = open_bus(settings, MONITOR)
        try:
            ready.wait(60)
            time.sleep(1.5)
            messages = [table_message(i, 10**18).build() for i in range(TABLES)]
            before, sent = broker.cpu_times(), 0
            begin = time.monotonic()
            # What queues do not hold is lost here; services ask the journal for it.
            while time.monotonic() - begin < SECONDS:
                if rate is not None:
                    time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
                for message in messages:
                    publisher.publish(TOPIC, message, time_ns=0)
                publisher.receive(0)
                sent += TABLES
            took = time.monotonic() - begin
            total, octets, least, over = counts.get(timeout=60)
            after = broker.cpu_times()
            cpu = after.user + after.system - before.user - before.system
            say(
                followers, f"{sent / took:,.0f}", f"{total / over:,.0f}",
                f"{octets / over / 1e6:,.1f}", f"{cpu / over:.0%}",
                f"{total / cpu:,.0f}", f"{least / sent:.0%}",
            )  # fmt: skip
        finally:
            publisher.close()
            follower.join(20)
            for process in site.processes.values():
                process.terminate()
                process.wait(20)


# -- the monitor -------------------------------------------------------------------------------


def monitor() -> None:
    """Packets of the L4 relay to parameters, limits and events: one process, CPU seconds."""
    chain = ReceiveChain(load_profile("l4_relay"))
    craft = Spacecraft(Scenario(mars=Mars(present=False)), seed=3, start_ns=T0)
    cadus = craft.step(T0 + 1_800 * S).cadus
    packets = chain.push(cadus.tobytes(), T0).packets
    packets = packets.select(~packets.is_idle)
    for at_once in (1, 10, 100, 1_000):
        decoder = Decoder(EVERYTHING)
        decoder.warm()
        parameters, took, most = 0, 0.0, min(len(packets), 300 * at_once)
        for low in range(0, most, at_once):
            some = packets.slice(low, min(low + at_once, most))
            message = PacketsMessage("downlink", some, np.zeros(len(some), np.bool_), T0, low)
            begin = time.process_time()
            tables = decoder.decode(message).tables
            took += time.process_time() - begin
            parameters += sum(len(table.scet_ns) * len(table.columns) for table in tables)
        say(at_once, f"{most / took:,.0f}", f"{parameters / took:,.0f}")


# -- years of archive ---------------------------------------------------------------------------


def years(longest: int) -> None:
    rng = np.random.default_rng(3)
    month = YEAR // 12
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as home:
        path = Path(home) / "archive.sqlite"
        written = 0
        for name, seconds in (
            ("a month", month),
            ("a year", YEAR),
            (f"{longest} years", longest * YEAR),
        ):
            begin = time.monotonic()
            with ArchiveStore.open(path) as store:
                while written < seconds:
                    rows = min(1 << 20, seconds - written)
                    times = T0 + (written + np.arange(rows)) * S
                    put(store, times, {"X": np.cumsum(rng.normal(size=rows))})
                    written += rows
            write_s = time.monotonic() - begin
            size = sum(one.stat().st_size for one in Path(home).iterdir())
            with ArchiveStore.open(path, read_only=True) as store:
                whole = _median(lambda: store.plot("X", T0, T0 + seconds * S, 1_200))  # noqa: B023
                day_ns = T0 + seconds // 2 * S
                day = _median(lambda: store.plot("X", day_ns, day_ns + 86_400 * S, 1_200))  # noqa: B023
                latest = _median(lambda: store.latest("X"))
            say(
                name, f"{seconds / 1e6:,.1f}", f"{size / 1e6:,.0f}", f"{whole * 1e3:,.1f}",
                f"{day * 1e3:,.1f}", f"{latest * 1e3:,.2f}", f"{write_s:,.0f}",
            )  # fmt: skip


def _median(work: Callable[[], object], runs: int = 7) -> float:
    took = []
    for _ in range(runs):
        begin = time.monotonic()
        work()
        took.append(time.monotonic() - begin)
    return statistics.median(took)


# -- consoles ------------------------------------------------------------------------------------


def publish(site: ConsoleSite, origin_s: float, stop: threading.Event) -> None:
    """PARAMETERS · TABLES parameters at 1 Hz; the first of each packet says when it left, in ms."""
    publisher, clock = open_bus(site.settings, MONITOR), open_clock(site.settings)
    number, due = 0, time.monotonic()
    while not stop.wait(max(0.0, due - time.monotonic())):
        stamp = round((time.monotonic() - origin_s) * 1e3)
        now_ns = clock.now_ns()
        publisher.publish(TOPIC, table_message(number, now_ns, stamp).build(), time_ns=now_ns)
        publisher.receive(0)
        number, due = number + 1, due + 1 / TABLES
    publisher.close()


def watch(url: str, cookie: str, clients: int, seconds: float, origin_s: float, out: Any) -> None:
    """So many WebSockets in one process; from some of them the latency, from all octets."""
    out.put(asyncio.run(_watch(url, cookie, clients, seconds, origin_s)))


async def _watch(
    url: str, cookie: str, clients: int, seconds: float, origin_s: float
) -> tuple[int, int, list[float]]:
    from websockets.asyncio.client import connect
    from websockets.exceptions import InvalidMessage

    octets, late, open_ = 0, [], 0

    async def one(number: int) -> None:
        nonlocal octets, open_
        # The console takes only so many of an address: these are of several.
        local = (f"127.0.0.{2 + number // 50}", 0)
        opened = connect(
            url, additional_headers={"Cookie": cookie}, max_size=None, open_timeout=60,
            local_addr=local,
        )  # fmt: skip
        async with opened as socket:
            open_ += 1
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                message = await asyncio.wait_for(socket.recv(), 30)
                octets += len(message)
                if number < 5:
                    now_ms = (time.monotonic() - origin_s) * 1e3
                    stamps = _stamps(json.loads(message))
                    late.extend(now_ms - stamp for stamp in stamps)

    async def refused(number: int) -> None:
        with contextlib.suppress(InvalidMessage, ConnectionError):
            await one(number)

    await asyncio.gather(*(refused(number) for number in range(clients)))
    return open_, octets, late


def _stamps(message: Any) -> list[float]:
    """What the first parameters of the packets in a message of the live stream say."""
    return [
        shown[0]
        for block in message.get("parameters", {}).values()
        for name, shown in block["values"].items()
        if name.endswith("_00")
    ]


def consoles(clients: int) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as home:
        site = ConsoleSite(Path(home) / "run")
        stop, origin_s = threading.Event(), time.monotonic()
        told = threading.Thread(target=publish, args=(site, origin_s, stop))
        told.start()
        try:
            spawn = multiprocessing.get_context("spawn")
            out = spawn.Queue()
            url = site.origin.replace("http", "ws") + "/api/v1/live"
            process = site.process(CONSOLE)
            watcher = spawn.Process(
                target=watch, args=(url, site.cookie, clients, 2 * SECONDS, origin_s, out)
            )
            watcher.start()
            time.sleep(3.0)
            before, begin = process.cpu_times(), time.monotonic()
            opened, octets, late = out.get(timeout=120)
            after, took = process.cpu_times(), time.monotonic() - begin
            watcher.join(20)
            cpu = after.user + after.system - before.user - before.system
            late.sort()
            steady = late[len(late) // 10 :]
            say(
                clients, opened, f"{cpu / took:.0%}",
                f"{process.memory_info().rss / 1e6:,.0f}", f"{octets / took / 1e6:,.1f}",
                f"{statistics.median(steady):,.0f}" if steady else "–",
                f"{steady[int(0.99 * len(steady))]:,.0f}" if steady else "–",
            )  # fmt: skip
        finally:
            stop.set()
            told.join()
            site.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="bus,monitor,years,consoles")
    parser.add_argument("--years", type=int, default=10)
    parser.add_argument("--followers", default="1,5,50")
    parser.add_argument("--clients", default="5,50,350,500")
    arguments = parser.parse_args()
    wanted = arguments.only.split(",")
    print(f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB")
    if "bus" in wanted:
        head("followers", "sent a second", "delivered a second", "MB/s", "broker's core",
             "delivered a core second", "of what was sent")  # fmt: skip
        for rate in (1_000.0, None):
            for followers in map(int, arguments.followers.split(",")):
                bus(followers, rate)
    if "monitor" in wanted:
        head("packets a message", "packets a core second", "parameters a core second")
        monitor()
    if "years" in wanted:
        head("1 Hz of", "Msamples", "MB", "plot of all, ms", "plot of a day, ms", "latest, ms",
             "written in, s")  # fmt: skip
        years(arguments.years)
    if "consoles" in wanted:
        head("clients", "connected", "console's core", "MB of memory", "MB/s to all",
             "latency, ms", "99 %, ms")  # fmt: skip
        for clients in map(int, arguments.clients.split(",")):
            consoles(clients)


if __name__ == "__main__":
    main()
