"""A proven bound in a process of its own, beside the search; what it reported last is proven."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from ground.scheduling.model import Problem
from ground.scheduling.processes import start_without_interrupt

if TYPE_CHECKING:
    from ground.scheduling.bound import Bound

#: What bounds an objective is judged by; in turn, each with its share of the seconds.
METRICS = {
    "hours": ("hours",),
    "satisfied": ("satisfied",),
    "fairness": ("u_rms", "u_max"),
}
#: What loading the kernels may take, or compiling them on a machine's first run: not counted.
_PREPARE_S = 45.0
#: A proof under way when the seconds are over may end (0.2 s for a week of the DSN).
_GRACE_S = 2.0


def _prove(pipe: Connection, problem: Problem, kind: str, seconds: float) -> None:
    """Sends (metric, value, whether after any step), and once the monotonic instant of readiness.

    That clock is the machine's, the same for all of its processes.
    """
    # Numba: here only, the parent has a first answer to give.
    from ground.scheduling import bound

    functions = {
        "hours": bound.upper_bound_hours,
        "satisfied": bound.upper_bound_requests,
        "u_rms": bound.lower_bound_u_rms,
        "u_max": bound.lower_bound_u_max,
    }

    def prove(name: str, seconds: float) -> None:
        def report(found: Bound) -> None:
            pipe.send((name, found.value, found.steps > 0))

        functions[name](problem, seconds=seconds, on_progress=report)

    names = METRICS[kind]
    for name in names:
        # One step and its proof: compiles all kernels, and no metric is left without a bound.
        prove(name, 0.0)
    pipe.send(time.monotonic())
    for name in names:
        prove(name, seconds / len(names))
    pipe.send(None)


class BoundProcess:
    """Starts at once; `latest` never waits, `finish` waits for the seconds to end, no longer.

    The seconds count from when the kernels are ready.

    bounds   proven so far, by name of the metric
    trivial  of these, the ones that follow from the requests alone (all that is asked, or 0)
    """

    def __init__(self, problem: Problem, kind: str, seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe(duplex=False)
        self.process = context.Process(
            target=_prove, args=(other, problem, kind, seconds), daemon=True
        )
        self.seconds = seconds
        self.upper = kind != "fairness"
        self.end_s = time.monotonic() + _PREPARE_S
        self.ready = False
        start_without_interrupt(self.process)
        other.close()
        self.bounds: dict[str, float] = {}
        self.trivial: set[str] = set()
        self.done = False

    @property
    def left_s(self) -> float:
        """How long `finish` would wait at most."""
        return 0.0 if self.done else max(0.0, self.end_s - time.monotonic())

    def latest(self) -> dict[str, float]:
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
        elif isinstance(message, float):
            self.ready = True
            self.end_s = message + self.seconds + _GRACE_S
        else:
            name, value, stepped = message
            # Its second run begins anew, with what is trivial.
            best = self.bounds.get(name)
            if best is None or (value < best if self.upper else value > best):
                self.bounds[name] = value
                (self.trivial.discard if stepped else self.trivial.add)(name)

    def finish(self, on_wait: Callable[[float], None] | None = None) -> dict[str, float]:
        """`on_wait` is told how many seconds at most it may take, if it is not done already."""
        self.latest()
        if on_wait is not None and not self.done and self.left_s > 0:
            on_wait(self.left_s)
        while not self.done and self.pipe.poll(self.left_s):
            self._take()
        self.done = True
        return self.bounds

    def close(self) -> None:
        if self.process.is_alive():
            self.process.terminate()
        self.process.join()
        self.pipe.close()
