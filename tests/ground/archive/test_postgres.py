"""What only a server can do wrong, or right; its answers are tests/contracts/test_store.py's.

Here the server waits for the disk as in operation.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ground import server_address
from ground.archive import postgres, postgres_schema
from ground.archive import server as archive_server
from ground.archive.model import Position
from ground.archive.store import ArchiveStore
from protocols.errors import LocalError
from tests import certificates, postgres_server
from tests.conftest import _missing
from tests.ground.archive import test_crash

APPENDS = 40


@pytest.fixture(scope="module")
def server() -> Iterator[postgres_server.Server]:
    if missing := postgres_server.missing():
        _missing(f"program {missing}")
    with postgres_server.server(durable=True) as one:
        yield one


def put(store: ArchiveStore, number: int) -> None:
    packets, scet, table = test_crash.batch(number)
    store.append(
        Position("packets", "receive", "j", number),
        packets,
        stream="s",
        scet_ns=scet,
        reception_ns=number,
        tables=[table],
    )


def everything(store: ArchiveStore) -> list[Any]:
    found = store.query("VALUE")
    plot = store.plot("VALUE", test_crash.T0 - 10**13, test_crash.T0 + 10**13, 20)
    return [
        found.scet_ns.tolist(),
        found.values.tolist(),
        plot.mean.tolist(),
        list(store.packets()),
        store.parameters(),
        store.counters(),
    ]


def test_kills_of_writer_and_server(server: postgres_server.Server):
    """What was acknowledged is there, once, whoever is killed."""
    where = server.empty("killed")
    last = test_crash.killed_again_and_again(where, 2)
    with pytest.raises(OSError, match="archive postgresql"), ArchiveStore.open(where) as store:  # noqa: PT012
        for number in range(last + 1, last + 1000):
            put(store, number)
            if number == last + 15:
                server.kill()
    server.start(durable=True)
    assert test_crash.holds_what_was_said(where, last + 15) == last + 15
    with ArchiveStore.open(where) as store:
        put(store, last + 16)
    assert test_crash.holds_what_was_said(where, last + 16) == last + 16


def test_a_connection_is_kept_for_the_next_question(server: postgres_server.Server):
    """And another made where the server has been started anew."""
    where = server.empty("asked")
    with ArchiveStore.open(where) as store:
        put(store, 0)

    def ask() -> int:
        with ArchiveStore.open(where, read_only=True) as reading:
            assert len(reading.query("VALUE")) > 0
            return reading._db.execute("SELECT pg_backend_pid()").fetchone()[0]

    archive_server.close_idle()
    first = ask()
    assert ask() == first
    with ArchiveStore.open(where, read_only=True) as reading:
        walk = reading.packets()
        next(walk)
        assert ask() != first, "two are in use"
        del walk
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'asked'"
    many = [ArchiveStore.open(where, read_only=True) for _ in range(12)]
    for one in many:
        one.close()
        one.close()  # What it had is another's by now.
    assert server.sql(count)[0][0] <= archive_server.IDLE_MOST
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'asked' AND state = 'idle'"
    assert server.sql(idle)[0][0] == server.sql(count)[0][0], "nobody is left in a transaction"
    server.kill()
    with pytest.raises(LocalError, match="no archive at"):
        ask()
    server.start(durable=True)
    assert ask() > 0


def test_a_connection_is_lost_in_the_middle_of_a_batch(server: postgres_server.Server):
    """Nothing of it is there, and the store goes on no more: its owner begins again."""
    where = server.empty("cut")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'cut'"
    with ArchiveStore.open(where) as store:
        put(store, 0)
        with pytest.raises(OSError, match="archive postgresql"), store.group():  # noqa: PT012
            put(store, 1)
            server.sql(cut)
            put(store, 2)
        with pytest.raises(OSError, match="closed"):
            put(store, 3)
    with ArchiveStore.open(where) as store:
        assert store.position("packets", "receive") == Position("packets", "receive", "j", 0)
        put(store, 1)


def test_limits_of_the_server_for_everybody_do_not_end_a_batch(server: postgres_server.Server):
    where = server.empty("limited")
    for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
        server.sql(f"ALTER DATABASE limited SET {limit} = '20ms';")
    with ArchiveStore.open(where) as store, store.group():
        put(store, 0)
        time.sleep(0.1)
        put(store, 1)


def test_a_database_of_another_encoding_is_refused(server: postgres_server.Server):
    server.sql("CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(LocalError, match="encoding LATIN1"):
        ArchiveStore.open(f"{server.address}/latin")


def test_a_server_elsewhere_must_show_its_certificate(tmp_path: Path, monkeypatch: Any):
    """127.0.0.1 stands for another machine here."""
    monkeypatch.setattr(server_address, "is_loopback_host", lambda host: False)
    authority, wrong = (tmp_path / name for name in ("right", "wrong"))
    for directory in (authority, wrong):
        directory.mkdir()
    right = certificates.Authority(authority)
    certificates.Authority(wrong)
    with postgres_server.directory() as home:
        shown = right.issue("db")
        for path in shown:
            shutil.copy(path, home / path.name)
            os.chown(home / path.name, *postgres_server.owner())
            (home / path.name).chmod(0o600)
        tls = [f"ssl_cert_file={home / 'db.pem'}", f"ssl_key_file={home / 'db.key'}"]
        with postgres_server.server("ssl=on", *tls) as one:
            where = one.empty("far")
            with ArchiveStore.open(f"{where}?sslrootcert={right.file}") as store:
                put(store, 0)
                using = "SELECT count(*) FROM pg_stat_ssl WHERE ssl AND pid = pg_backend_pid()"
                assert store._db.execute(using).fetchone()[0] == 1
            with pytest.raises(LocalError, match="certificate verify failed"):
                ArchiveStore.open(f"{where}?sslrootcert={wrong / 'ca.pem'}")
            with pytest.raises(LocalError, match="verify-full wanted"):
                ArchiveStore.open(f"{where}?sslmode=require")


def test_a_replica_answers_as_the_server_does(server: postgres_server.Server):
    where = server.empty("replicated")
    with ArchiveStore.open(where) as store, postgres_server.directory() as home:
        for number in range(APPENDS):
            put(store, number)
        subprocess.run(
            [*postgres_server.as_user(), postgres_server.program("pg_basebackup") or "",
             "-d", f"{server.address}/postgres", "-D", str(home / "data"), "-R", "-c", "fast",
             "--no-sync"],
            check=True, cwd="/",
        )  # fmt: skip
        replica = postgres_server.Server(home / "data", postgres_server.free_port())
        replica.start("hot_standby=on")
        try:
            put(store, APPENDS)
            read_from = f"{replica.address}/replicated"
            end = time.monotonic() + 30
            with ArchiveStore.open(read_from, read_only=True) as copy:
                while copy.position("packets", "receive") != store.position("packets", "receive"):
                    assert time.monotonic() < end, "the replica does not follow"
                    time.sleep(0.02)
                assert everything(copy) == everything(store)
            with pytest.raises(LocalError, match="is a replica"):
                ArchiveStore.open(read_from)
        finally:
            replica.stop()


def test_partitions_come_as_numbers_rise(
    server: postgres_server.Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Also while somebody reads, who goes on seeing what was; and exports are those of a file."""
    sizes = {"packet": ("id", 64), "packet_group": ("id", 2), "value": ("segment", 2)}
    for module in (postgres, postgres_schema):
        monkeypatch.setattr(module, "PARTITIONS", sizes | {"rollup": ("segment", 3)})
    monkeypatch.setattr("ground.archive.segments.TAIL_ROWS", 150)
    monkeypatch.setattr("ground.archive.packet_groups.LEAST", 30)
    where = server.empty("parted")
    with ArchiveStore.open(where) as store, ArchiveStore.open(tmp_path / "a.sqlite") as file:
        for number in range(APPENDS):
            put(file, number)
            if number == 5:
                walk = store.packets()
                first = next(walk)
                before = store.counters()["packets"]
            put(store, number)
        assert first.number == 1
        assert sum(1 for _ in walk) == before - 1
        assert everything(store) == everything(file)
        assert store.compact(100) == file.compact(100)
        assert store.integrity().problems == ()
        for form in ("csv", "parquet"):
            for one, name in ((store, "server"), (file, "file")):
                getattr(one, f"export_{form}")(tmp_path / name)
            assert (tmp_path / f"server/P.{form}").read_bytes() == (
                tmp_path / f"file/P.{form}"
            ).read_bytes()
    parts = dict(
        server.sql("SELECT inhparent::regclass::text, count(*) FROM pg_inherits"
                   " JOIN pg_class ON oid = inhrelid AND relkind = 'r' GROUP BY 1", "parted")
    )  # fmt: skip
    assert set(parts) == {"packet", "packet_group", "value"} | (set(parts) & {"rollup"})
    assert min(parts.values()) > 2


def test_what_somebody_changes_is_noticed(server: postgres_server.Server):
    where = server.empty("changed")
    with ArchiveStore.open(where) as store:
        for number in range(APPENDS):
            put(store, number)
        assert store.integrity().problems == ()
        server.sql("UPDATE packet SET ert_ns = ert_ns + 1 WHERE id IN (3, 5)", "changed")
        assert store.integrity().problems == ("packet: 2 rows are not what was written",)


def test_one_writes_others_are_told(server: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(postgres, "BUSY_TIMEOUT_S", 0.1)
    where = server.empty("written")
    with pytest.raises(LocalError, match="has none of its tables"):
        ArchiveStore.open(where, read_only=True)
    with ArchiveStore.open(where) as store:
        with pytest.raises(LocalError, match=r"another process writes .*/written"):
            ArchiveStore.open(where)
        with ArchiveStore.open(where, read_only=True) as reading:
            with pytest.raises(LocalError, match="opened for reading"):
                put(reading, 0)
            put(store, 0)
            assert len(reading.query("VALUE")) == 1
    server.sql("UPDATE meta SET value = '99' WHERE key = 'format'", "written")
    for read_only in (False, True):
        with pytest.raises(LocalError, match="format 99"):
            ArchiveStore.open(where, read_only=read_only)


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("postgresql://l4:secret@127.0.0.1/relay", "on show"),
        ("postgresql://127.0.0.1/relay?password=secret", "on show"),
        ("postgresql://127.0.0.1", "USER@HOST"),
        ("postgresql:///relay", "USER@HOST"),
        ("postgresql://127.0.0.1:port/relay", "port"),
        ("postgresql://l4@127.0.0.1/relay?sslpassword=secret", "on show"),
        ("postgresql://l4@192.0.2.1/relay?sslmode=disable", "verify-full wanted"),
        ("postgresql://l4@192.0.2.1/relay?sslmode=verify-ca", "verify-full wanted"),
        ("postgresql://127.0.0.1,192.0.2.1/relay?sslmode=prefer", "verify-full wanted"),
        ("postgresql:///relay?host=192.0.2.1&sslmode=allow", "verify-full wanted"),
        ("postgresql://l4@127.0.0.1:9/relay", "no archive at postgresql://l4@127.0.0.1:9/relay"),
    ],
)
def test_addresses_that_lead_nowhere(address: str, why: str):
    with pytest.raises(LocalError, match=why) as caught:
        ArchiveStore.open(address)
    assert "secret" not in str(caught.value)


def test_arrays_of_every_kind_of_number(server: postgres_server.Server):
    """uint64 above what BIGINT holds is in blobs; summaries keep it as a float."""
    with ArchiveStore.open(server.empty("numbers")) as store:
        times = test_crash.T0 + np.arange(9_000) * 10**9
        values = np.full(9_000, 2**64 - 1, np.uint64)
        table = test_crash.TableColumns("Q", None, times, {"BIG": values}, ert_ns=times)
        store.append(None, test_crash.PacketBatch.empty(), stream="s",
                     scet_ns=np.empty(0, np.int64), reception_ns=1, tables=[table])  # fmt: skip
        assert store.query("BIG").values[-1] == 2**64 - 1
        assert store.plot("BIG", int(times[0]), int(times[-1]), 10).maximum.max() == 2**64 - 1
