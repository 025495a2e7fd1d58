"""A PostgreSQL server of a test's own: a directory, a loopback port, gone at the end."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

#: Where Debian keeps what it does not put on PATH.
_ELSEWHERE = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def program(name: str) -> str | None:
    """Where a program of PostgreSQL is, on PATH or where Debian keeps it; None: nowhere."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, _ELSEWHERE)])
    return shutil.which(name, path=path)


def missing() -> str | None:
    """The program that is not here, if one is not."""
    return next((name for name in ("initdb", "postgres", "pg_ctl") if program(name) is None), None)


class Server:
    """One server; `empty(database)` makes one to work in."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        self._databases: set[str] = set()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://l4@127.0.0.1:{self.port}"

    def empty(self, database: str) -> str:
        """Its address, with nothing in it."""
        if database in self._databases:
            # A good deal quicker than another database.
            self.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
        else:
            self.sql(f"CREATE DATABASE {database}")
            self._databases.add(database)
        return f"{self.address}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[asyncpg.Record]:
        import asyncio

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(f"{self.address}/{database}")
            try:
                return await (connection.execute if ";" in statement else connection.fetch)(
                    statement
                )
            finally:
                await connection.close()

        return asyncio.run(ask())

    def start(self, *settings: str, durable: bool = False) -> None:
        """durable: as in operation; else without waiting for the disk (a test's data may go)."""
        options = [f"-cport={self.port}", "-clisten_addresses=127.0.0.1"]
        options += ["-cunix_socket_directories=", "-cmax_connections=40"]
        if not durable:
            options += ["-cfsync=off", "-csynchronous_commit=on", "-cfull_page_writes=off"]
        options += [f"-c{one}" for one in settings]
        log = (self.home.parent / f"{self.home.name}.log").open("ab")
        with log:
            self.process = subprocess.Popen(
                [*as_user(), program("postgres") or "", "-D", str(self.home), *options],
                stdout=log, stderr=log, cwd="/", start_new_session=True,
            )  # fmt: skip
        end = time.monotonic() + 60
        while True:
            try:
                self.sql("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                if time.monotonic() > end or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """As a power failure would, but for the disk's cache."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def stop(self) -> None:
        if self.process is None:
            return
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None


def as_user() -> list[str]:
    """PostgreSQL does not run as root: who else, then."""
    if os.getuid() != 0:
        return []
    return ["setpriv", "--reuid", _user(), "--regid", str(pwd.getpwnam(_user()).pw_gid),
            "--clear-groups", "--"]  # fmt: skip


def _user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("no user postgres or nobody, and root may not run a server")


def owner() -> tuple[int, int]:
    """Of what the server must be able to read."""
    entry = pwd.getpwnam(_user()) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    return entry.pw_uid, entry.pw_gid


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def directory() -> Iterator[Path]:
    """One that the server's user can reach and write; pytest's own are its user's alone."""
    home = Path(tempfile.mkdtemp(prefix="l4-postgres-"))
    try:
        if os.getuid() == 0:
            os.chown(home, *owner())
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def server(*settings: str, durable: bool = False) -> Iterator[Server]:
    """A fresh one with user `l4`, running."""
    with directory() as home:
        subprocess.run(
            [*as_user(), program("initdb") or "", "-D", str(home / "data"), "-U", "l4",
             "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-k"],
            check=True, stdout=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        one = Server(home / "data", free_port())
        try:
            one.start(*settings, durable=durable)
            yield one
        finally:
            one.stop()
