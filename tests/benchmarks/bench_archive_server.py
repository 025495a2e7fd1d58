"""The archive on a PostgreSQL server beside the same archive in a file; both wait for the disk."""

from __future__ import annotations

import asyncio
import atexit
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import asyncpg
import numpy as np

from ground.archive import server as archive_server
from ground.archive.store import ArchiveStore
from tests import postgres_server
from tests.benchmarks.bench_archive import (
    MONTH,
    PARAMETERS,
    ROWS,
    T0,
    S,
    Scratch,
    housekeeping,
    put,
    received,
)
from tests.benchmarks.harness import Case, PeerMissing

A_FILE = "SQLite"
CONNECTED = "a connection for each question"


def bulk(server: postgres_server.Server, scratch: Scratch) -> Case:
    times, columns = housekeeping(ROWS)

    def load(where: Callable[[], object]) -> Callable[[], object]:
        def work() -> None:
            with ArchiveStore.open(where()) as store:  # type: ignore[arg-type]
                put(store, times, columns)

        return work

    def rows() -> Callable[[], object]:
        part = times[: ROWS // 10].tolist()
        values = [column[: ROWS // 10].tolist() for column in columns.values()]

        async def copy(address: str) -> None:
            db = await asyncpg.connect(address)
            await db.execute(
                "CREATE TABLE s(p BIGINT, t BIGINT, v DOUBLE PRECISION, PRIMARY KEY(p, t))"
            )
            async with db.transaction():
                for number, column in enumerate(values):
                    records = zip([number] * len(part), part, column, strict=True)
                    await db.copy_records_to_table("s", records=records)
            await db.close()

        return lambda: asyncio.run(copy(server.empty("bench_rows")))

    return Case(
        f"archive server: bulk load, {PARAMETERS} parameters",
        PARAMETERS * ROWS,
        "Msample/s",
        load(lambda: server.empty("bench")),
        {A_FILE: lambda: load(lambda: scratch.file("bulk.sqlite")), "COPY, a row a sample": rows},
        peer_units={"COPY, a row a sample": PARAMETERS * ROWS / 10},
    )


def live(server: postgres_server.Server, scratch: Scratch) -> Case:
    times, columns = housekeeping(2_000)

    def load(where: Callable[[], object]) -> Callable[[], object]:
        def work() -> None:
            with ArchiveStore.open(where()) as store:  # type: ignore[arg-type]
                for first in range(0, len(times), 5):
                    some = slice(first, first + 5)
                    put(store, times[some], {name: v[some] for name, v in columns.items()})

        return work

    return Case(
        "archive server: live load, a packet of 20 parameters, 5 a commit",
        PARAMETERS * len(times),
        "ksample/s",
        load(lambda: server.empty("bench")),
        {A_FILE: lambda: load(lambda: scratch.file("live.sqlite"))},
        scale=1e3,
    )


def packets(server: postgres_server.Server, scratch: Scratch) -> Case:
    batch, scet = received()

    def load(where: Callable[[], object]) -> Callable[[], object]:
        def work() -> None:
            with ArchiveStore.open(where()) as store:  # type: ignore[arg-type]
                store.append(None, batch, stream="s", scet_ns=scet, reception_ns=T0)

        return work

    return Case(
        "archive server: packets of 200 octets",
        len(batch),
        "kpacket/s",
        load(lambda: server.empty("bench")),
        {A_FILE: lambda: load(lambda: scratch.file("packets.sqlite"))},
        scale=1e3,
    )


def reading(server: postgres_server.Server, scratch: Scratch) -> Iterable[Case]:
    rng = np.random.default_rng(3)
    times, values = T0 + np.arange(MONTH) * S, np.cumsum(rng.normal(size=MONTH))
    where, path = server.empty("bench_month"), scratch.file("month.sqlite")
    for one in (where, path):
        with ArchiveStore.open(one) as store:
            for low in range(0, MONTH, 1 << 20):
                part = slice(low, low + (1 << 20))
                put(store, times[part], {"X": values[part]})

    def question(
        place: object, ask: Callable[[ArchiveStore], object], *, anew: bool = False
    ) -> Callable[[], object]:
        # Opened for each, as the console does.
        def work() -> object:
            if anew:
                archive_server.close_idle()
            with ArchiveStore.open(place, read_only=True) as store:  # type: ignore[arg-type]
                return ask(store)

        return work

    for name, units, unit, scale, ask in (
        ("plot a month of 1 Hz at 1,600 points", 1, "plot/s", 1,
         lambda store: store.plot("X", T0, T0 + MONTH * S)),
        ("query a day of 1 Hz, every sample", 86_400, "Msample/s", 1e6,
         lambda store: store.query("X", T0 + 4 * 86_400 * S, T0 + 5 * 86_400 * S)),
    ):  # fmt: skip
        yield Case(
            f"archive server: {name}",
            units,
            unit,
            question(where, ask),
            {
                A_FILE: lambda ask=ask: question(path, ask),
                CONNECTED: lambda ask=ask: question(where, ask, anew=True),
            },
            scale=scale,
        )


def cases() -> Iterable[Case]:
    if missing := postgres_server.missing():
        print(f"archive server: {PeerMissing(missing)} is missing; `make tools` installs it")
        return
    scratch, stack = Scratch(), ExitStack()
    atexit.register(stack.close)
    server = stack.enter_context(postgres_server.server(durable=True))
    assert server.process is not None
    if hasattr(os, "sched_setaffinity"):
        # We are pinned to one core; a server has its own.
        os.sched_setaffinity(server.process.pid, range(os.cpu_count() or 1))
    yield bulk(server, scratch)
    yield live(server, scratch)
    yield packets(server, scratch)
    yield from reading(server, scratch)
