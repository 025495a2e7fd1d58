"""The anytime solver: greedy at once, then better and better answers until time or work is up.

    solution = solve(problem, HOURS, seconds=60, workers=2, on_progress=print)
    solution.schedule, solution.metrics.hours

With `steps` instead of `seconds` the answer depends on problem, objective, seed, workers and steps
alone: work is counted, no clock is read.

Numba and OR-Tools are imported where they are needed, after the greedy answer: on a fresh machine
importing and compiling take many times as long as that answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ground.scheduling.compiled import Answer, Compiled
from ground.scheduling.greedy import greedy
from ground.scheduling.metrics import Metrics, measure
from ground.scheduling.model import Problem, Schedule
from ground.scheduling.objective import HOURS, Judge, Objective
from ground.scheduling.rules import violations
from protocols.errors import LocalError

if TYPE_CHECKING:
    from ground.scheduling.worker import Report

#: Problems of so few requests are given to CP-SAT as a whole first: it proves its answer best.
SMALL = 16


@dataclass(frozen=True)
class Progress:
    """value: of the objective, greater is better; steps: of all workers.

    phase  greedy, initial, exact, search: an answer better than those before; "compiling": no new
           answer, the kernels of the search are loaded now, or compiled on a machine's first run
    """

    elapsed_s: float
    value: float
    metrics: Metrics
    phase: str
    steps: int


@dataclass(frozen=True)
class Solution:
    """optimal: proven, of the objective; interrupted: by Ctrl-C; curve: the answers on the way.

    elapsed_s   without prepared_s, in which the kernels were loaded or compiled
    """

    schedule: Schedule
    value: float
    metrics: Metrics
    optimal: bool
    elapsed_s: float
    steps: int
    curve: tuple[Progress, ...]
    interrupted: bool = False
    prepared_s: float = 0.0


OnProgress = Callable[[Progress], None]


class _Run:
    def __init__(self, problem: Problem, objective: Objective, on_progress: OnProgress | None):
        self.begin = time.monotonic()
        self.problem = problem
        self.judge = Judge(Compiled(problem), objective)
        self.on_progress = on_progress
        self.curve: list[Progress] = []
        self.steps = 0
        self.prepared_s = 0.0
        self.answer: Answer = self.judge.compiled.empty()
        self.value = self.judge.value(self.answer)

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.begin

    def schedule(self) -> Schedule:
        return self.judge.compiled.schedule(self.answer)

    def better(self, answer: Answer, value: float, phase: str) -> None:
        if self.curve and value <= self.value + 1e-9:
            return
        self.answer, self.value = answer, value
        self.curve.append(self._report(phase))

    def _report(self, phase: str) -> Progress:
        metrics = measure(self.problem, self.schedule())
        progress = Progress(self.elapsed_s, self.value, metrics, phase, self.steps)
        if self.on_progress is not None:
            self.on_progress(progress)
        return progress

    def prepare(self) -> None:
        """Loads or compiles the kernels, outside the clock: else a short search had none left."""
        self._report("compiling")
        begin = time.monotonic()
        from ground.scheduling.worker import warm

        warm(self.problem, self.judge.objective)
        self.prepared_s = time.monotonic() - begin
        self.begin += self.prepared_s

    def solution(self, optimal: bool = False, interrupted: bool = False) -> Solution:
        schedule = self.schedule()
        return Solution(
            schedule,
            self.value,
            measure(self.problem, schedule),
            optimal,
            self.elapsed_s,
            self.steps,
            tuple(self.curve),
            interrupted,
            self.prepared_s,
        )


def solve(
    problem: Problem,
    objective: Objective = HOURS,
    *,
    seconds: float | None = None,
    steps: int | None = None,
    seed: int = 1,
    workers: int = 1,
    initial: Schedule | None = None,
    on_progress: OnProgress | None = None,
) -> Solution:
    """An allowed schedule, as good as the time (`seconds`) or work (`steps` a worker) lets it be.

    initial      where to begin; what of it is not allowed is left out
    workers      processes; answers are exchanged between them
    seconds      of search; loading the kernels, or compiling them on a machine's first run, comes
                 on top, after the first answer (`Solution.prepared_s`)
    on_progress  called with every better answer, and before compiling, in this process
    Ctrl-C ends the search early: the solution so far, marked `interrupted`.
    Raises LocalError for limits that are not positive, and for locks that cannot be held.
    """
    if (seconds is None) == (steps is None):
        raise LocalError("solve: either seconds or steps wanted")
    if (seconds is not None and seconds <= 0) or (steps is not None and steps <= 0):
        raise LocalError(f"solve: seconds {seconds}, steps {steps}: above 0 wanted")
    if workers < 1:
        raise LocalError(f"solve: workers {workers}: 1 or more wanted")
    run = _Run(problem, objective, on_progress)
    if problem.locks and (broken := violations(problem, Schedule(problem.locks))):
        raise LocalError(f"locks of {problem.name} cannot be held: {broken[0]}")
    compiled = run.judge.compiled
    first = greedy(compiled)
    run.better(first, run.judge.value(first), "greedy")
    if initial is not None:
        # In an order of tracks that the schedule itself gives, its tracks take their places first.
        kept = greedy(compiled, _placements(compiled, initial))
        run.better(kept, run.judge.value(kept), "initial")
    try:
        if len(compiled.requests) <= SMALL and _whole(run, seconds, steps, seed):
            return run.solution(optimal=True)
        _rounds(run, seconds, steps, seed, workers)
    except KeyboardInterrupt:
        # Who stops an anytime solver wants what it has.
        return run.solution(interrupted=True)
    return run.solution()


def _placements(compiled: Compiled, schedule: Schedule) -> Answer:
    answer: Answer = [() for _ in compiled.requests]
    for request, tracks in schedule.by_request.items():
        if request in compiled.index:
            try:
                placements = tuple(compiled.placement(t) for t in tracks)
            except LocalError:
                # Its antennas are no longer asked for: the request is placed anew.
                continue
            answer[compiled.index[request]] = placements
    return answer


def _whole(run: _Run, seconds: float | None, steps: int | None, seed: int) -> bool:
    """CP-SAT on the whole problem; True if its answer is proven best."""
    from ground.scheduling.subproblem import Limits, Subproblem

    compiled, objective = run.judge.compiled, run.judge.objective
    movable = [r.index for r in compiled.requests if r.index not in compiled.locked]
    limits = Limits(2.0, 1e9 if seconds is None else seconds / 2)
    outcome = Subproblem(run.judge, run.answer, movable).solve(limits, seed)
    if outcome.answer is not None:
        run.better(outcome.answer, run.judge.value(outcome.answer), "exact")
    # Fairness is modelled by chords: its optimum is that of the model, not of the squares.
    chords = objective.u_square or objective.u_max
    chords = chords or objective.agency_square or objective.agency_max
    return outcome.optimal and not chords


def _rounds(run: _Run, seconds: float | None, steps: int | None, seed: int, workers: int) -> None:
    compiled, objective = run.judge.compiled, run.judge.objective
    if not any(r.windows and r.index not in compiled.locked for r in compiled.requests):
        return
    run.prepare()
    from ground.scheduling.remote import Remote
    from ground.scheduling.worker import Worker, rounds

    remotes = [Remote(run.problem, objective, run.answer, seed + k) for k in range(1, workers)]
    try:
        own = Worker(run.problem, objective, run.answer, seed)
        shares: list[Answer | None] = [None] * workers
        for task in rounds():
            length_s = length = None
            if seconds is not None:
                length_s = seconds * task.end - run.elapsed_s
                if length_s <= 0:
                    continue
            if steps is not None:
                length = max(1, round(steps * task.end) - round(steps * task.begin))
            active = [r for r in remotes if r.is_ready(wait=steps is not None)]
            places = [remotes.index(r) + 1 for r in active]
            for remote, place in zip(active, places, strict=True):
                remote.begin(task, shares[place], length_s, length)
                shares[place] = None
            if shares[0] is not None:
                own.take(shares[0])
                shares[0] = None
            reports: dict[int, Report] = {0: own.run(task, length_s, length)}
            reports |= {p: r.end() for r, p in zip(active, places, strict=True)}
            run.steps += sum(report.steps for report in reports.values())
            for place in sorted(reports):
                run.better(reports[place].answer, reports[place].value, "search")
            _exchange(run, task.late, reports, shares)
    finally:
        for remote in remotes:
            remote.close()


def _exchange(
    run: _Run, late: bool, reports: dict[int, Report], shares: list[Answer | None]
) -> None:
    """Late in a cycle, where it is cold, all go on from the best; else each goes its way."""
    if late:
        for place, report in reports.items():
            if report.value < run.value - 1e-9:
                shares[place] = run.answer
