"""Where the work is done: in this process, in others of this machine, on a Dask cluster.

Tasks may be done more than once (a worker that was thought lost finishes after all): what they
leave behind is the same each time, and appears in one step.

Whoever reaches a Dask scheduler or worker can have it run anything: without TLS only a scheduler on
a loopback address is spoken to.
"""

from __future__ import annotations

import logging
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from ground.reprocess.software import software
from protocols.bus.access import is_loopback_host
from protocols.errors import LocalError

#: How often a task may lose its worker, or fail, before the whole is given up.
TRIES = 4
#: So long a scheduler without any worker is waited for, at the beginning and whenever all are lost.
NO_WORKERS_S = 60.0
#: Tasks that a worker's thread has before it: it never waits for the client.
AHEAD = 2
#: So often it is asked how many workers there are.
LOOKED_AT_S = 2.0


class ClusterError(Exception):
    """A task failed for good, or the cluster is gone."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of a certificate authority, and of a certificate of it with its key."""

    authority: Path
    certificate: Path
    key: Path


class Cluster(Protocol):
    def width(self) -> int:
        """So many tasks at a time keep it busy."""
        ...

    def submit(self, index: int, function: Callable[..., Any], /, *arguments: Any) -> None:
        """Have it done; `results` gives the index with what it returned."""
        ...

    def results(self) -> Iterator[tuple[int, Any]]:
        """What is done, as it comes, until nothing is left; more may be submitted meanwhile."""
        ...


class Here:
    """One after another, in this process."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Callable[..., Any], tuple[Any, ...]]] = deque()

    def width(self) -> int:
        return 1

    def submit(self, index: int, function: Callable[..., Any], /, *arguments: Any) -> None:
        self._waiting.append((index, function, arguments))

    def results(self) -> Iterator[tuple[int, Any]]:
        while self._waiting:
            index, function, arguments = self._waiting.popleft()
            yield index, function(*arguments)


class Dask:
    """By a `distributed.Client`."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._futures: dict[Any, int] = {}
        self._done: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads, self._asked = 0, -LOOKED_AT_S

    def width(self) -> int:
        return max(1, AHEAD * self._workers())

    def _workers(self) -> int:
        """Threads of all workers, asked for now and then; 0: there is none, or no scheduler."""
        if time.monotonic() - self._asked >= LOOKED_AT_S:
            try:
                told = self._client.scheduler_info(n_workers=-1)["workers"]
                self._threads = sum(int(one["nthreads"]) for one in told.values())
            except (OSError, TimeoutError):
                self._threads = 0
            self._asked = time.monotonic()
        return self._threads

    def submit(self, index: int, function: Callable[..., Any], /, *arguments: Any) -> None:
        # The same call may be wanted again: with other neighbours, or after it was lost.
        future = self._client.submit(function, *arguments, pure=False, retries=TRIES - 1)
        self._futures[future] = index
        future.add_done_callback(self._done.put)

    def results(self) -> Iterator[tuple[int, Any]]:
        lost_since: float | None = None
        while self._futures:
            try:
                future = self._done.get(timeout=1.0)
            except queue.Empty:
                if self._client.status not in ("running", "connecting"):
                    raise ClusterError(f"the scheduler is {self._client.status}") from None
                now = time.monotonic()
                lost_since = None if self._workers() else lost_since or now
                if lost_since is not None and now - lost_since > NO_WORKERS_S:
                    raise ClusterError(f"no worker for {NO_WORKERS_S:.0f} s") from None
                continue
            lost_since = None
            index = self._futures.pop(future)
            try:
                found = future.result()
            except LocalError:
                raise
            except Exception as error:
                if self._client.status != "running":
                    raise ClusterError("its scheduler is gone") from error
                raise ClusterError(f"{type(error).__name__}: {error}") from error
            future.release()
            yield index, found

    def check_workers(self) -> None:
        """LocalError: there are none, or some are of another version than this."""
        try:
            self._client.wait_for_workers(1, timeout=NO_WORKERS_S)
        except TimeoutError as error:
            raise LocalError(
                f"the scheduler has no worker after {NO_WORKERS_S:.0f} s; start some: "
                "dask worker ADDRESS --nthreads 1"
            ) from error
        said = self._client.run(software, on_error="return")
        others = {address: one for address, one in said.items() if one != software()}
        if others:
            described = "; ".join(
                f"{address} is {one}"
                if isinstance(one, str)
                else f"{address} cannot say what it is ({type(one).__name__}: {one})"
                for address, one in sorted(others.items())
            )
            raise LocalError(f"workers of another version: {described}; this is {software()}")


@contextmanager
def open_cluster(where: str, workers: int, tls: Tls | None = None) -> Iterator[Cluster]:
    """where: "local", or a scheduler's address; workers: of a local one, 0: this process; tls: of a
    scheduler at tls://, None: as Dask's own configuration says."""
    if where == "local" and workers == 0:
        yield Here()
        return
    if where != "local":
        check_address(where)
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise LocalError(
            "Dask is not installed: pip install 'l4-relay-ground[cluster]', or --workers 0"
        ) from error

    # What they say of workers that come and go is for Dask's own dashboard.
    quiet = logging.CRITICAL
    for name in ("", ".client", ".comm", ".core", ".nanny", ".scheduler", ".worker", ".utils"):
        logging.getLogger(f"distributed{name}").setLevel(quiet)
    settings = {"distributed.scheduler.allowed-failures": TRIES}
    with config.set(settings):
        if where == "local":
            with (
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    # Any port, lest a second one warns that it is not the usual; no dashboard.
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    silence_logs=quiet,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield Dask(client)
            return
        security = _security(where, tls)
        try:
            client = Client(where, timeout=10, security=security)
        except (OSError, TimeoutError) as error:
            raise LocalError(
                f"--cluster {where}: no scheduler answers ({error.__cause__ or error})"
            ) from error
        with client:
            found = Dask(client)
            found.check_workers()
            yield found


def check_address(where: str) -> None:
    """LocalError: no address of a scheduler, or one that others can reach too, without TLS."""
    parts = urlsplit(where)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or port is None:
        raise LocalError(f"--cluster {where!r}: local, tcp://HOST:PORT or tls://HOST:PORT")
    if parts.scheme == "tcp" and not is_loopback_host(parts.hostname):
        raise LocalError(
            f"--cluster {where}: {parts.hostname} is not a loopback address, and whoever reaches a "
            "scheduler without TLS runs programs on its workers; tls:// with --tls-ca, --tls-cert "
            "and --tls-key (docs/howto/reprocess-years.md)"
        )


def _security(where: str, tls: Tls | None) -> Any:
    from distributed import Security

    if where.startswith("tcp:"):
        return Security()
    if tls is not None:
        for file in (tls.authority, tls.certificate, tls.key):
            if not file.is_file():
                raise LocalError(f"--cluster {where}: no file {file}")
        return Security(
            require_encryption=True,
            tls_ca_file=str(tls.authority),
            tls_client_cert=str(tls.certificate),
            tls_client_key=str(tls.key),
        )
    security = Security(require_encryption=True)
    if not security.get_tls_config_for_role("client").get("ca_file"):
        raise LocalError(
            f"--cluster {where}: --tls-ca, --tls-cert and --tls-key wanted, or the like in Dask's "
            "configuration (distributed.comm.tls)"
        )
    return security


__all__ = ["Cluster", "ClusterError", "Dask", "Here", "Tls", "check_address", "open_cluster"]
