"""A proven bound in a process of its own, beside the search; what it reported last is proven."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.connection import Connection

from ground.scheduling.bound import (
    Bound,
    lower_bound_u_max,
    lower_bound_u_rms,
    upper_bound_hours,
    upper_bound_requests,
)
from ground.scheduling.model import Problem
from ground.scheduling.processes import start_without_interrupt

#: What bounds an objective is judged by; in turn, each with its share of the seconds.
BOUNDS = {
    "hours": (("hours", upper_bound_hours),),
    "satisfied": (("satisfied", upper_bound_requests),),
    "fairness": (("u_rms", lower_bound_u_rms), ("u_max", lower_bound_u_max)),
}


def _prove(pipe: Connection, problem: Problem, kind: str, seconds: float) -> None:
    for name, function in BOUNDS[kind]:

        def report(bound: Bound, name: str = name) -> None:
            pipe.send((name, bound.value))

        function(problem, seconds=seconds / len(BOUNDS[kind]), on_progress=report)
    pipe.send(None)


class BoundProcess:
    """Starts at once; `latest` never waits, `finish` waits for the seconds to end."""

    def __init__(self, problem: Problem, kind: str, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_prove, args=(other, problem, kind, seconds), daemon=True
        )
        start_without_interrupt(self.process)
        other.close()
        # The kernels may have to be compiled first.
        self.patience_s = time.monotonic() + seconds + 60
        self.bounds: dict[str, float] = {}
        self.done = False

    def latest(self) -> dict[str, float]:
        """Proven so far, by name of the metric."""
        while not self.done and self.pipe.poll():
            self._take()
        return self.bounds

    def _take(self) -> None:
        try:
            message = self.pipe.recv()
        except EOFError:
            # The process has gone: what it reported stays proven.
            message = None
        if message is None:
            self.done = True
        else:
            name, value = message
            self.bounds[name] = value

    def finish(self) -> dict[str, float]:
        while not self.done and self.pipe.poll(max(0.0, self.patience_s - time.monotonic())):
            self._take()
        return self.bounds

    def close(self) -> None:
        if self.process.is_alive():
            self.process.terminate()
        self.process.join()
        self.pipe.close()
