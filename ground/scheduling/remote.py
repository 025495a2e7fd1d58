"""A worker in a process of its own.

Numba and OR-Tools are imported in `serve` and not above it: whoever starts the process waits until
it has read its arguments, a whole problem, and it reads them after importing this module.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from ground.scheduling.compiled import Answer
from ground.scheduling.model import Problem
from ground.scheduling.objective import Objective
from ground.scheduling.processes import start_without_interrupt

if TYPE_CHECKING:
    from ground.scheduling.worker import Report, Round


def serve(
    pipe: Connection, problem: Problem, objective: Objective, answer: Answer, seed: int
) -> None:
    """Body of a process: (round, answer or None, seconds, steps) -> Report, until None comes."""
    from ground.scheduling.worker import Worker

    worker = Worker(problem, objective, answer, seed)
    pipe.send("ready")
    while (message := pipe.recv()) is not None:
        task, given, seconds, steps = message
        if given is not None:
            worker.take(given)
        pipe.send(worker.run(task, seconds, steps))


class Remote:
    """Spawned, so that it inherits no threads."""

    def __init__(self, problem: Problem, objective: Objective, answer: Answer, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(
            target=serve, args=(other, problem, objective, answer, seed), daemon=True
        )
        start_without_interrupt(self.process)
        other.close()
        self.ready = False

    def is_ready(self, wait: bool) -> bool:
        if not self.ready and (wait or self.pipe.poll()):
            self._receive()
            self.ready = True
        return self.ready

    def _receive(self) -> Any:
        try:
            return self.pipe.recv()
        except EOFError:
            self.process.join()
            raise RuntimeError(
                f"a searching process ended by itself, status {self.process.exitcode}"
            ) from None

    def begin(
        self, task: Round, answer: Answer | None, seconds: float | None, steps: int | None
    ) -> None:
        self.pipe.send((task, answer, seconds, steps))

    def end(self) -> Report:
        return self._receive()

    def close(self) -> None:
        try:
            self.pipe.send(None)
        except (BrokenPipeError, OSError):
            # It has gone already: that is what was wanted.
            self.process.join(0)
        self.process.join(1)
        if self.process.is_alive():
            self.process.terminate()
            self.process.join()
        self.pipe.close()
