"""What a searching process does: ruin and recreate, and CP-SAT where kernels do not know the rules.

A run is a sequence of cycles, each an annealing from hot to cold of growing length: the first ends
soon, so that there is a good answer early, the last has most of the time.  A round is a part of a
cycle; between rounds the processes exchange answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from ground.scheduling.compiled import Answer, Compiled
from ground.scheduling.model import Problem
from ground.scheduling.neighbourhood import Chooser
from ground.scheduling.objective import Judge, Objective
from ground.scheduling.ruin import Annealer, movable
from ground.scheduling.subproblem import Limits, Subproblem

#: Share of the run that each cycle takes, its rounds, and the temperature in hours of tracking at
#: which it begins: later ones shall not forget all that earlier ones found.
CYCLES = ((0.1, 4, 1.5), (0.25, 8, 0.8), (0.65, 20, 0.8))
#: At which each ends.
COLD_H = 0.08
#: Steps between two looks at the clock, some tens of milliseconds.
BATCH = 500
#: Steps of ruin and recreate that a second of CP-SAT stands for where work is counted.
STEPS_A_SECOND = 15_000


@dataclass(frozen=True)
class Round:
    """begin and end: shares of the run; hot and cold: temperatures at these, in hours."""

    number: int
    begin: float
    end: float
    hot: float
    cold: float
    first: bool
    late: bool


def rounds() -> Iterator[Round]:
    number, at = 0, 0.0
    for share, count, hot_h in CYCLES:
        ratio = COLD_H / hot_h
        for k in range(count):
            yield Round(
                number,
                at + share * k / count,
                at + share * (k + 1) / count,
                hot_h * ratio ** (k / count),
                hot_h * ratio ** ((k + 1) / count),
                first=k == 0,
                late=k >= 0.7 * count,
            )
            number += 1
        at += share


@dataclass(frozen=True)
class Report:
    """Of a round: the best answer since the last `Worker.take`, and how many steps it took."""

    value: float
    answer: Answer
    steps: int


class Worker:
    """Holds an answer and improves it round by round."""

    def __init__(self, problem: Problem, objective: Objective, answer: Answer, seed: int) -> None:
        self.judge = Judge(Compiled(problem), objective)
        self.seed = seed
        self.unit = self.judge.unit
        compiled = self.judge.compiled
        known = movable(compiled)
        self.exact = [i for i in range(len(known)) if not known[i] and i not in compiled.locked]
        self.chooser = Chooser(compiled, seed)
        self.annealer = Annealer(self.judge, answer)
        self.anneals = bool(known.any())
        self.calls = 0

    def take(self, answer: Answer) -> None:
        self.annealer.load(answer)

    def run(self, task: Round, seconds: float | None, steps: int | None) -> Report:
        """A round of so many seconds, or of so much work."""
        exact = 0.0 if not self.exact else 0.4 if self.anneals else 1.0
        done = 0
        if exact:
            done += self._exactly(seconds and seconds * exact, steps and round(steps * exact))
        if self.anneals:
            rest = 1 - exact
            done += self._anneal(task, seconds and seconds * rest, steps and round(steps * rest))
        return Report(self.annealer.best_value, self.annealer.answer(), done)

    def _anneal(self, task: Round, seconds: float | None, steps: int | None) -> int:
        begin, done, share = time.monotonic(), 0, 0.0
        while share < 1.0:
            now = BATCH if steps is None else min(BATCH, steps - done)
            hot = task.hot * (task.cold / task.hot) ** share * self.unit
            self.calls += 1
            self.annealer.run(self.seed * 1_000_003 + self.calls, now, hot, hot)
            done += now
            if steps is not None:
                share = done / steps
            elif seconds:
                share = (time.monotonic() - begin) / seconds
            else:
                break
        return done

    def _exactly(self, seconds: float | None, steps: int | None) -> int:
        """CP-SAT neighbourhoods around requests whose rules the kernels do not know."""
        begin, done = time.monotonic(), 0
        answer, value = self.annealer.answer(), self.annealer.best_value
        limit = 0.2
        while True:
            left = None if seconds is None else seconds - (time.monotonic() - begin)
            if (left is not None and left <= 0.02) or (steps is not None and done >= steps):
                break
            drawn = self.chooser.draw(answer, self.exact)
            outcome = Subproblem(self.judge, answer, drawn.free, drawn.elastic).solve(
                Limits(limit, 1e9 if left is None else left), self.seed + self.calls
            )
            self.calls += 1
            done += round(limit * STEPS_A_SECOND)
            found = value if outcome.answer is None else self.judge.value(outcome.answer)
            self.chooser.learn(drawn.kind, found > value + 1e-9, outcome.optimal)
            if outcome.answer is not None and found >= value:
                answer, value = outcome.answer, found
        self.annealer.load(answer)
        return done


def warm(problem: Problem, objective: Objective) -> None:
    """Compiles the kernels (on a machine's first run), so that no search waits for them."""
    compiled = Compiled(problem)
    if compiled.requests:
        Annealer(Judge(compiled, objective), compiled.empty()).run(1, 1, 1.0, 1.0)
