"""Where the work is done: in this process, in others of this machine, on a Dask cluster.

Tasks may be done more than once (a worker that was thought lost finishes after all): what they
leave behind is the same each time, and appears in one step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from protocols.errors import LocalError

#: How often a task may lose its worker, or fail, before the whole is given up.
TRIES = 4


class ClusterError(Exception):
    """A task failed for good, or the cluster is gone."""


class Cluster(Protocol):
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

    def submit(self, index: int, function: Callable[..., Any], /, *arguments: Any) -> None:
        self._waiting.append((index, function, arguments))

    def results(self) -> Iterator[tuple[int, Any]]:
        while self._waiting:
            index, function, arguments = self._waiting.popleft()
            yield index, function(*arguments)


class Dask:
    """By a `distributed.Client`."""

    def __init__(self, client: Any) -> None:
        from distributed import as_completed

        self._client = client
        self._futures: dict[Any, int] = {}
        self._done = as_completed()

    def submit(self, index: int, function: Callable[..., Any], /, *arguments: Any) -> None:
        # The same call may be wanted again: with other neighbours, or after it was lost.
        future = self._client.submit(function, *arguments, pure=False, retries=TRIES - 1)
        self._futures[future] = index
        self._done.add(future)

    def results(self) -> Iterator[tuple[int, Any]]:
        while self._futures:
            future = next(self._done)
            index = self._futures.pop(future)
            try:
                found = future.result()
            except LocalError:
                raise
            except Exception as error:
                raise ClusterError(f"{type(error).__name__}: {error}") from error
            future.release()
            yield index, found


@contextmanager
def open_cluster(where: str, workers: int) -> Iterator[Cluster]:
    """where: "local", or a scheduler's address; workers: of a local one, 0: this process."""
    if where == "local" and workers == 0:
        yield Here()
        return
    try:
        from dask import config
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise LocalError(
            "Dask is not installed: pip install 'l4-relay-ground[cluster]', or --workers 0"
        ) from error
    import logging

    # What they say of workers that come and go is for Dask's own dashboard.
    quiet = logging.CRITICAL
    for name in ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler"):
        logging.getLogger(name).setLevel(quiet)
    settings = {"distributed.scheduler.allowed-failures": TRIES}
    with config.set(settings):
        if where == "local":
            with (
                LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,  # pyright: ignore[reportArgumentType] none is served
                    silence_logs=quiet,
                ) as cluster,
                Client(cluster) as client,
            ):
                yield Dask(client)
            return
        if not where.startswith(("tcp://", "tls://")):
            raise LocalError(f"--cluster {where!r}: local, tcp://HOST:PORT or tls://HOST:PORT")
        try:
            client = Client(where, timeout=10)
        except (OSError, TimeoutError) as error:
            raise LocalError(f"--cluster {where}: no scheduler answers") from error
        with client:
            yield Dask(client)


__all__ = ["Cluster", "ClusterError", "Dask", "Here", "open_cluster"]
